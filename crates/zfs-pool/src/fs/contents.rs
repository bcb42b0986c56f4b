//! The bytes of a file or volume: at any place, by ranges of data, or all in order.

use std::collections::VecDeque;
use std::ops::{Deref, Range};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use zfs_ondisk::blkptr::{BlockPointer, Kind};
use zfs_ondisk::checksum::Checksum;

use crate::error::Error;
use crate::object::Object;
use crate::walk::Blocks;

/// Bytes of blocks that a thread reads at a time: large against what it costs to hand work over.
const BATCH: u64 = 1 << 20;
/// The most blocks that a thread reads at a time.
const BATCH_BLOCKS: usize = 256;
/// Bytes compared at a time.
const COMPARED: usize = 1 << 20;

/// The bytes of a file or volume.
#[derive(Clone)]
pub struct Contents {
    object: Object,
    size: u64,
}

impl Contents {
    /// The first `size` bytes of an object.
    pub(crate) fn new(object: Object, size: u64) -> Self {
        Self { object, size }
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The object that they are in.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Reads from `offset` on into `buf`, and gives the number of bytes read: less than `buf` has at the end only.
    ///
    /// # Errors
    /// If a block cannot be read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let rest = self.size.saturating_sub(offset);
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        self.object.read_at(offset, &mut buf[..count])?;
        Ok(count)
    }

    /// The ranges of bytes that hold data; between them are holes. They are blocks, merged where they adjoin.
    pub fn extents(&self) -> Extents {
        Extents { blocks: self.object.blocks(), block_size: self.block_size(), size: self.size, current: None }
    }

    /// All data in order, holes left out, read ahead by up to `threads` threads besides that of the caller. What is in
    /// memory is bounded by their number and the size of a block. A block that cannot be read does not end it.
    pub fn pieces(&self, threads: usize) -> Pieces {
        Pieces {
            reader: PieceReader {
                object: self.object.clone(),
                block_size: self.block_size(),
                size: self.size,
                spare: Spare::default(),
            },
            blocks: self.object.blocks(),
            threads: threads.max(1),
            workers: None,
            under_way: VecDeque::new(),
            ready: VecDeque::new(),
            exhausted: false,
        }
    }

    /// Whether these are the same bytes as `other`. Blocks that are known to be the same are not read.
    ///
    /// # Errors
    /// If a block that has to be compared cannot be read.
    pub fn same_as(&self, other: &Self) -> Result<bool, Error> {
        if self.size != other.size {
            return Ok(false);
        }
        let size = self.block_size();
        if size != other.block_size() {
            return self.compare(other, 0..self.size);
        }
        let (mut ours, mut theirs) = (self.object.blocks().peekable(), other.object.blocks().peekable());
        loop {
            let next = |found: Option<&Result<(u64, BlockPointer), Error>>| match found {
                Some(Ok((number, _))) => *number,
                // An error is the next thing to be met, wherever it is.
                Some(Err(_)) => 0,
                None => u64::MAX,
            };
            let (first, second) = (next(ours.peek()), next(theirs.peek()));
            let number = first.min(second);
            let a = if first == number { ours.next().transpose()? } else { None };
            let b = if second == number { theirs.next().transpose()? } else { None };
            match (a, b) {
                (None, None) => return Ok(true),
                (Some((_, a)), Some((_, b))) if same_block(&a, &b) => {}
                _ => {
                    let start = number.saturating_mul(size);
                    let end = start.saturating_add(size).min(self.size);
                    if !self.compare(other, start..end)? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    fn compare(&self, other: &Self, range: Range<u64>) -> Result<bool, Error> {
        let (mut ours, mut theirs) = (vec![0; COMPARED], vec![0; COMPARED]);
        let mut offset = range.start;
        while offset < range.end {
            let count = (range.end - offset).min(COMPARED as u64) as usize;
            self.object.read_at(offset, &mut ours[..count])?;
            other.object.read_at(offset, &mut theirs[..count])?;
            if ours[..count] != theirs[..count] {
                return Ok(false);
            }
            offset += count as u64;
        }
        Ok(true)
    }

    fn block_size(&self) -> u64 {
        self.object.dnode().data_block_size() as u64
    }
}

/// Whether two pointers lead to the same contents for certain: to the same place, or to what has the same strong
/// checksum.
fn same_block(a: &BlockPointer, b: &BlockPointer) -> bool {
    let alike = a.checksum() == b.checksum()
        && a.compression() == b.compression()
        && a.logical_size() == b.logical_size()
        && a.physical_size() == b.physical_size()
        && a.is_little_endian() == b.is_little_endian();
    let strong = Checksum::from_number(a.checksum()).is_some_and(|checksum| {
        matches!(checksum, Checksum::Sha256 | Checksum::Sha512 | Checksum::Skein | Checksum::Edonr | Checksum::Blake3)
    });
    a == b || (alike && strong && a.kind() == Kind::Data && b.kind() == Kind::Data && a.digest() == b.digest())
}

/// The ranges of a file that hold data.
pub struct Extents {
    blocks: Blocks,
    block_size: u64,
    size: u64,
    current: Option<Range<u64>>,
}

impl Iterator for Extents {
    type Item = Result<Range<u64>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        for found in self.blocks.by_ref() {
            let number = match found {
                Ok((number, _)) => number,
                Err(error) => return Some(Err(error)),
            };
            let start = number.saturating_mul(self.block_size);
            let end = start.saturating_add(self.block_size).min(self.size);
            if start >= end {
                break;
            }
            match &mut self.current {
                Some(current) if current.end == start => current.end = end,
                current => {
                    if let Some(done) = current.replace(start..end) {
                        return Some(Ok(done));
                    }
                }
            }
        }
        self.current.take().map(Ok)
    }
}

/// A block of a file or volume, cut to its end.
#[derive(Debug)]
pub struct Piece {
    /// Where it is. Empty for an indirect block that cannot be read: what is lost with it is not known.
    pub range: Range<u64>,
    /// Its bytes, as many as the range has.
    pub bytes: Result<PieceBytes, Error>,
}

/// The bytes of a [`Piece`]. Their memory serves the next one when they are dropped.
#[derive(Debug)]
pub struct PieceBytes {
    bytes: Vec<u8>,
    spare: Spare,
}

/// Buffers that are not in use: as many as ever were at a time.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

impl Deref for PieceBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PieceBytes {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

/// The data of a file in order: [`Contents::pieces`].
pub struct Pieces {
    reader: PieceReader,
    blocks: Blocks,
    threads: usize,
    /// Where work goes, once there is enough of it.
    workers: Option<SyncSender<Job>>,
    under_way: VecDeque<(Arc<Batch>, Receiver<Vec<Piece>>)>,
    ready: VecDeque<Piece>,
    exhausted: bool,
}

/// Blocks that are read together; an error of an indirect block stands where its blocks would.
type Batch = Vec<(u64, BlockPointer)>;

struct Job {
    batch: Arc<Batch>,
    reply: SyncSender<Vec<Piece>>,
}

#[derive(Clone)]
struct PieceReader {
    object: Object,
    block_size: u64,
    size: u64,
    spare: Spare,
}

impl PieceReader {
    fn read(&self, batch: &Batch) -> Vec<Piece> {
        batch.iter().filter_map(|(number, pointer)| self.piece(*number, pointer)).collect()
    }

    fn piece(&self, number: u64, pointer: &BlockPointer) -> Option<Piece> {
        let start = number.checked_mul(self.block_size)?;
        let end = start.saturating_add(self.block_size).min(self.size);
        if start >= end {
            return None;
        }
        // Fresh memory costs more than to fill it.
        let bytes = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let mut piece = PieceBytes { bytes, spare: self.spare.clone() };
        let read = self.object.read_uncached(pointer, &mut piece.bytes);
        piece.bytes.resize((end - start) as usize, 0);
        Some(Piece { range: start..end, bytes: read.map(|()| piece) })
    }
}

impl Pieces {
    /// The next blocks to be read, and the error that ended them early.
    fn next_batch(&mut self) -> (Batch, Option<Error>) {
        let mut batch = Batch::new();
        let mut bytes = 0;
        while bytes < BATCH && batch.len() < BATCH_BLOCKS {
            match self.blocks.next() {
                // Blocks behind the end of the file are none of its bytes.
                Some(Ok((number, _))) if number.saturating_mul(self.reader.block_size) >= self.reader.size => {
                    self.exhausted = true;
                }
                Some(Ok(found)) => {
                    batch.push(found);
                    bytes += self.reader.block_size;
                    continue;
                }
                Some(Err(error)) => return (batch, Some(error)),
                None => self.exhausted = true,
            }
            break;
        }
        (batch, None)
    }

    /// Hands out work until enough is under way.
    fn fill(&mut self) {
        while !self.exhausted && self.ready.is_empty() && self.under_way.len() < 2 * self.threads {
            let (batch, error) = self.next_batch();
            // A short file is not worth a thread.
            if self.workers.is_none() && (self.exhausted || error.is_some()) {
                self.ready.extend(self.reader.read(&batch));
                self.ready.extend(error.map(lost));
                continue;
            }
            self.hand_out(batch);
            if let Some(error) = error {
                // In its turn.
                let (reply, answer) = mpsc::sync_channel(1);
                let _ = reply.send(vec![lost(error)]);
                self.under_way.push_back((Arc::default(), answer));
            }
        }
    }

    fn hand_out(&mut self, batch: Batch) {
        let workers = self.workers.get_or_insert_with(|| start_workers(&self.reader, self.threads));
        let (reply, answer) = mpsc::sync_channel(1);
        let batch = Arc::new(batch);
        // Where there is no worker, the answer does not come, and the caller reads itself.
        let _ = workers.send(Job { batch: batch.clone(), reply });
        self.under_way.push_back((batch, answer));
    }
}

/// What is known of blocks whose pointers cannot be read.
fn lost(error: Error) -> Piece {
    Piece { range: 0..0, bytes: Err(error) }
}

fn start_workers(reader: &PieceReader, threads: usize) -> SyncSender<Job> {
    let (jobs, queue) = mpsc::sync_channel::<Job>(2 * threads);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let (reader, queue) = (reader.clone(), queue.clone());
        let work = move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                // No more jobs: whoever asked has gone.
                let Ok(Job { batch, reply }) = next else { return };
                let _ = reply.send(reader.read(&batch));
            }
        };
        // With fewer threads it only takes longer.
        let _ = thread::Builder::new().name("read-ahead".to_owned()).spawn(work);
    }
    jobs
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            self.fill();
            if !self.ready.is_empty() {
                continue;
            }
            let (batch, answer) = self.under_way.pop_front()?;
            let pieces = answer.recv().unwrap_or_else(|_| self.reader.read(&batch));
            self.ready.extend(pieces);
        }
    }
}
