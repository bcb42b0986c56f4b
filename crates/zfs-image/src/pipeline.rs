//! Reading, compressing and checksumming in parallel, with results in order.
//!
//! Batches of blocks go to a few threads and come back in the order in which
//! they were submitted, whoever was done first, so that where they are written
//! does not depend on the number of threads. Nor does the order of the writes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tree::{NodeId, Tree};

use crate::block::{Address, Encoded, Encoder, Format, Output};
use crate::directory::Directory;
use crate::error::Error;
use crate::store::{Identity, Store};
use crate::vdev::{Run, Vdevs};

/// Where the contents of blocks come from.
#[derive(Clone)]
pub(crate) enum Source<'a> {
    /// A regular file of the tree.
    File(NodeId),
    /// The entries of a directory.
    Directory(Arc<Directory<'a>>),
    /// An extended attribute of a node, by its index.
    Xattr(NodeId, usize),
}

/// Consecutive blocks of one object.
pub(crate) struct Piece<'a> {
    pub(crate) source: Source<'a>,
    /// What they have in common: that of block 0.
    pub(crate) identity: Identity,
    pub(crate) blocks: Range<u64>,
}

/// What one thread does at a time.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub(crate) pieces: Vec<Piece<'a>>,
    /// The most bytes that the output can take.
    pub(crate) bytes: u64,
}

/// The blocks of a batch, encoded.
pub(crate) struct EncodedBatch {
    pub(crate) blocks: Vec<(Identity, Encoded)>,
    output: Output,
    /// [`Batch::bytes`].
    cost: u64,
}

/// Outputs whose memory can be used again, the last one first: it may still be in a cache.
type Spare = Arc<Mutex<Vec<Output>>>;

/// An output, what of it goes where, and its cost.
struct Write(Output, Vec<Run>, u64);

enum Done {
    Encoded(u64, Result<EncodedBatch, Error>),
    Written(Result<(), Error>, u64),
}

/// The threads and what is under way.
pub(crate) struct Pipeline<'a> {
    batches: Sender<(u64, Batch<'a>)>,
    writes: Sender<Write>,
    results: Receiver<Done>,
    spare: Spare,
    early: BTreeMap<u64, Result<EncodedBatch, Error>>,
    submitted: u64,
    received: u64,
    /// Bytes that the outputs under way can take, and may.
    under_way: u64,
    limit: u64,
    /// Outputs that are being written.
    writing: u64,
}

impl<'a> Pipeline<'a> {
    /// Starts `threads` threads that encode files of `tree`, and one that writes to
    /// `vdevs`, with outputs of `limit` bytes at most under way.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        threads: usize,
        limit: u64,
        tree: &'a Tree,
        format: &'a Format,
        vdevs: Vdevs<'a>,
    ) -> Self
    where
        'a: 'scope,
    {
        let (batches, queue) = unbounded::<(u64, Batch<'a>)>();
        let (writes, write_queue) = unbounded::<Write>();
        let (done, results) = unbounded();
        let spare = Spare::default();
        for _ in 0..threads {
            let (queue, done, spare) = (queue.clone(), done.clone(), Arc::clone(&spare));
            scope.spawn(move || {
                let mut encoder = Encoder::new(format);
                for (number, batch) in queue {
                    let output = take(&spare);
                    // Nobody receives any more once something has failed.
                    if done.send(Done::Encoded(number, encode(tree, &mut encoder, &batch, output))).is_err() {
                        return;
                    }
                }
            });
        }
        // One thread writes: a file takes one write at a time, and others would
        // only wait for it.
        let returned = Arc::clone(&spare);
        scope.spawn(move || {
            let mut scratch = Vec::new();
            for Write(output, runs, cost) in write_queue {
                let written = runs.iter().try_for_each(|run| vdevs.write(run, output.as_bytes(), &mut scratch));
                if let Ok(mut spare) = returned.lock() {
                    spare.push(output);
                }
                if done.send(Done::Written(written, cost)).is_err() {
                    return;
                }
            }
        });
        let early = BTreeMap::new();
        Self { batches, writes, results, spare, early, submitted: 0, received: 0, under_way: 0, limit, writing: 0 }
    }

    /// Hands a batch to the threads.
    pub(crate) fn submit(&mut self, batch: Batch<'a>) {
        self.under_way += batch.bytes;
        // The threads hold the other end until this one is dropped.
        let _ = self.batches.send((self.submitted, batch));
        self.submitted += 1;
    }

    /// Has the blocks of a batch written where they belong.
    pub(crate) fn write(&mut self, batch: EncodedBatch, runs: Vec<Run>) {
        self.writing += 1;
        let _ = self.writes.send(Write(batch.output, runs, batch.cost));
    }

    /// Has what waits in the store written, before all that comes after.
    pub(crate) fn write_waiting(&mut self, store: &mut Store<'_>) {
        let cost = store.waiting() as u64;
        if cost > 0 {
            let (output, runs) = store.take_waiting(take(&self.spare));
            self.writing += 1;
            self.under_way += cost;
            let _ = self.writes.send(Write(output, runs, cost));
        }
    }

    /// Whether the outputs under way take so much that no other batch should be submitted.
    pub(crate) fn is_full(&self) -> bool {
        self.under_way >= self.limit
    }

    /// Whether batches are under way that [`Self::next`] has not given.
    pub(crate) fn is_encoding(&self) -> bool {
        self.received < self.submitted
    }

    /// The next batch in order, if it is encoded.
    ///
    /// # Errors
    /// What went wrong with this batch, or with one being written.
    pub(crate) fn next(&mut self) -> Result<Option<EncodedBatch>, Error> {
        while let Ok(done) = self.results.try_recv() {
            self.note(done)?;
        }
        let batch = self.early.remove(&self.received);
        self.received += u64::from(batch.is_some());
        batch.transpose()
    }

    /// Waits until a thread has encoded or written a batch that is under way.
    pub(crate) fn wait(&mut self) -> Result<(), Error> {
        // The threads end before this only if one of them panicked.
        let done = self.results.recv().map_err(|_| Error::Stopped)?;
        self.note(done)
    }

    /// Waits until everything is written.
    pub(crate) fn wait_for_writes(&mut self) -> Result<(), Error> {
        while self.writing > 0 {
            self.wait()?;
        }
        Ok(())
    }

    fn note(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Encoded(number, batch) => {
                self.early.insert(number, batch);
                Ok(())
            }
            Done::Written(result, cost) => {
                self.writing -= 1;
                self.under_way -= cost;
                result
            }
        }
    }
}

fn take(spare: &Spare) -> Output {
    spare.lock().map_or(None, |mut spare| spare.pop()).unwrap_or_default()
}

fn encode(
    tree: &Tree,
    encoder: &mut Encoder<'_>,
    batch: &Batch<'_>,
    mut output: Output,
) -> Result<EncodedBatch, Error> {
    output.truncate(0);
    let mut blocks = Vec::new();
    for Piece { source, identity, blocks: range } in &batch.pieces {
        let contents = Contents::open(tree, source)?;
        for block in range.clone() {
            let address = Address { block, ..identity.address };
            let encoded = encoder.encode(&identity.policy, &address, identity.logical_size, &mut output, |to| {
                contents.read(block, to)
            })?;
            blocks.push((*identity, encoded));
        }
    }
    Ok(EncodedBatch { output, blocks, cost: batch.bytes })
}

/// A source that is open.
enum Contents<'a> {
    File(tree::Content),
    Directory(&'a Directory<'a>),
    Bytes(&'a [u8]),
}

impl<'a> Contents<'a> {
    fn open(tree: &'a Tree, source: &'a Source<'_>) -> Result<Self, Error> {
        Ok(match source {
            Source::File(node) => Self::File(tree.open(*node)?),
            Source::Directory(directory) => Self::Directory(directory),
            Source::Xattr(node, index) => Self::Bytes(&tree.xattrs(*node)[*index].value),
        })
    }

    /// Reads a block.
    fn read(&self, block: u64, to: &mut [u8]) -> Result<(), Error> {
        let offset = block * to.len() as u64;
        match self {
            Self::File(content) => content.read_exact_at(within(content.size(), offset, to), offset)?,
            Self::Directory(directory) => to.copy_from_slice(&directory.block(block)?),
            Self::Bytes(bytes) => {
                let to = within(bytes.len() as u64, offset, to);
                to.copy_from_slice(&bytes[offset as usize..][..to.len()]);
            }
        }
        Ok(())
    }
}

/// The part of the block at `offset` that lies within `size` bytes; the rest of
/// the block is cleared.
fn within(size: u64, offset: u64, block: &mut [u8]) -> &mut [u8] {
    let length = size.saturating_sub(offset).min(block.len() as u64) as usize;
    let (data, rest) = block.split_at_mut(length);
    rest.fill(0);
    data
}
