//! Writing a qcow2 image while its disk is being made, in any order.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Compression;
use super::write::{CLUSTER, Cluster, Encoder, Image};
use crate::error::Error;
use crate::image::blocks::is_zero;
use crate::image::write::Target;
use crate::write_at::WriteAt;

/// Clusters that a thread encodes at a time.
const BATCH: usize = 16;
/// Batches that wait for each thread, or for their turn.
const AHEAD: usize = 3;
/// The entry of a cluster that is being encoded. It is no offset.
const UNDER_WAY: u64 = 1;

/// A qcow2 image as a disk to write to, in any order, each byte once.
///
/// It takes the place of a raw disk that would be converted. Clusters are encoded by several threads as soon as all of
/// their bytes are there, and stand in this order; those that remain come at the end. So the same writes in the same
/// order give the same image, whatever the threads.
///
/// Memory is bounded by some megabytes for each thread, some bytes for each cluster, and the clusters that are written in
/// part.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex;
/// use disk::WriteAt;
/// use disk::image::{AnyOrder, Target};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let out = Mutex::new(Vec::new());
/// if let Some(image) = AnyOrder::new(Target::Qcow2Zstd, 2, &out) {
///     image.write_all_at(b"behind", 1 << 20)?;
///     image.write_all_at(b"before", 0)?;
///     image.set_size(2 << 20)?;
///     image.finish()?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct AnyOrder<'a>(Mutex<State<'a>>);

struct State<'a> {
    image: Image<'a>,
    size: u64,
    /// Clusters of which some bytes are there.
    partial: BTreeMap<u64, Partial>,
    /// Clusters that are whole, and are to be encoded.
    batch: Batch,
    encoders: Encoders,
}

struct Partial {
    bytes: Vec<u8>,
    /// How many of them were written.
    written: usize,
}

/// Clusters with their numbers.
type Batch = Vec<(u64, Vec<u8>)>;
type Encoded = Result<Vec<(u64, Cluster)>, Error>;

impl<'a> AnyOrder<'a> {
    /// An image that is written to `out`, which is empty; `None` if `target` is not qcow2.
    pub fn new(target: Target, threads: usize, out: &'a dyn WriteAt) -> Option<Self> {
        let compression = match target {
            Target::Qcow2 => None,
            Target::Qcow2Deflate => Some(Compression::Deflate),
            Target::Qcow2Zstd => Some(Compression::Zstd),
            _ => return None,
        };
        Some(Self(Mutex::new(State {
            image: Image::new(out, compression),
            size: 0,
            partial: BTreeMap::new(),
            batch: Batch::new(),
            encoders: Encoders::start(compression, threads),
        })))
    }

    /// Completes the image, once all of the disk that is not zeros is written, and its size is set.
    ///
    /// # Errors
    /// If it cannot be written, or the disk is too large for it.
    pub fn finish(self) -> Result<(), Error> {
        let mut state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (number, Partial { bytes, .. }) in std::mem::take(&mut state.partial) {
            state.encode(number, bytes)?;
        }
        let State { mut image, size, batch, mut encoders, .. } = state;
        encoders.give(batch, &mut image)?;
        encoders.finish(&mut image)?;
        image.finish(size)
    }
}

impl WriteAt for AnyOrder<'_> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.write(bytes, offset).map_err(|error| match error {
            Error::Write { source } => source,
            error => io::Error::other(error),
        })
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size = size;
        Ok(())
    }
}

impl State<'_> {
    fn write(&mut self, mut bytes: &[u8], mut offset: u64) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (number, within) = (offset / CLUSTER, (offset % CLUSTER) as usize);
            let (part, rest) = bytes.split_at(bytes.len().min(CLUSTER as usize - within));
            if self.image.entry(number).is_none_or(|entry| *entry != 0) {
                return Err(Error::Impossible(format!("the disk at byte {offset} is written twice")));
            }
            if part.len() == CLUSTER as usize {
                self.encode(number, part.to_vec())?;
            } else {
                let fresh = || Partial { bytes: vec![0; CLUSTER as usize], written: 0 };
                let partial = self.partial.entry(number).or_insert_with(fresh);
                if let Some(place) = partial.bytes.get_mut(within..within + part.len()) {
                    place.copy_from_slice(part);
                }
                partial.written += part.len();
                if partial.written >= CLUSTER as usize
                    && let Some(Partial { bytes, .. }) = self.partial.remove(&number)
                {
                    self.encode(number, bytes)?;
                }
            }
            offset += part.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Has a cluster encoded, unless it is zeros.
    fn encode(&mut self, number: u64, cluster: Vec<u8>) -> Result<(), Error> {
        if is_zero(&cluster) {
            return Ok(());
        }
        if let Some(entry) = self.image.entry(number) {
            *entry = UNDER_WAY;
        }
        self.batch.push((number, cluster));
        if self.batch.len() == BATCH {
            self.encoders.give(std::mem::take(&mut self.batch), &mut self.image)?;
        }
        Ok(())
    }
}

/// Threads that encode. Each gets every n-th batch, so the order is known without numbers.
struct Encoders {
    workers: Vec<Worker>,
    given: usize,
    taken: usize,
}

struct Worker {
    jobs: SyncSender<Batch>,
    results: Receiver<Encoded>,
}

impl Encoders {
    fn start(compression: Option<Compression>, threads: usize) -> Self {
        let worker = |_| {
            let (jobs, to_do) = sync_channel::<Batch>(AHEAD);
            let (done, results) = sync_channel(AHEAD);
            thread::spawn(move || {
                let mut encoder = Encoder::new(compression);
                // Either end hangs up when the work has come to an end.
                for batch in to_do {
                    let encode = |(number, cluster)| Ok((number, encoder.encode(cluster)?));
                    if done.send(batch.into_iter().map(encode).collect()).is_err() {
                        return;
                    }
                }
            });
            Worker { jobs, results }
        };
        Self { workers: (0..threads.max(1)).map(worker).collect(), given: 0, taken: 0 }
    }

    /// Gives a batch to the next thread, and the image what is done if too much is under way.
    fn give(&mut self, batch: Batch, image: &mut Image<'_>) -> Result<(), Error> {
        if self.given - self.taken == self.workers.len() * AHEAD {
            self.take(image)?;
        }
        if let Some(worker) = self.workers.get(self.given % self.workers.len()) {
            // A worker that is gone is noticed where its result is missing.
            let _ = worker.jobs.send(batch);
        }
        self.given += 1;
        Ok(())
    }

    /// Gives the image the next batch.
    fn take(&mut self, image: &mut Image<'_>) -> Result<(), Error> {
        let worker = self.workers.get(self.taken % self.workers.len());
        let Some(encoded) = worker.and_then(|worker| worker.results.recv().ok()) else {
            return Err(Error::Impossible("a thread that compresses has ended early".to_owned()));
        };
        self.taken += 1;
        encoded?.iter().try_for_each(|(number, cluster)| image.add(*number, cluster))
    }

    fn finish(&mut self, image: &mut Image<'_>) -> Result<(), Error> {
        while self.taken < self.given {
            self.take(image)?;
        }
        Ok(())
    }
}
