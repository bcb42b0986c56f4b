//! Reading, compressing and checksumming in parallel, with results in order.
//!
//! Batches of blocks go to a few threads and come back in the order in which
//! they were submitted, whoever was done first, so that what is written does
//! not depend on the number of threads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tree::{NodeId, Tree};

use crate::block::{Encoded, Encoder, Format, Output};
use crate::directory::Directory;
use crate::error::Error;
use crate::store::Identity;

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
    pub(crate) output: Output,
    pub(crate) blocks: Vec<(Identity, Encoded)>,
    cost: u64,
}

/// The threads and what is under way.
pub(crate) struct Pipeline<'a> {
    jobs: Sender<(u64, Batch<'a>)>,
    results: Receiver<(u64, Result<EncodedBatch, Error>)>,
    spare: Arc<Mutex<Vec<Output>>>,
    early: BTreeMap<u64, Result<EncodedBatch, Error>>,
    submitted: u64,
    received: u64,
    /// Bytes that the outputs under way can take, and may.
    under_way: u64,
    limit: u64,
}

impl<'a> Pipeline<'a> {
    /// Starts `threads` threads that encode files of `tree`, with outputs of
    /// `limit` bytes at most under way.
    pub(crate) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        threads: usize,
        limit: u64,
        tree: &'a Tree,
        format: &'a Format,
    ) -> Self
    where
        'a: 'scope,
    {
        let (jobs, queue) = unbounded::<(u64, Batch<'a>)>();
        let (done, results) = unbounded();
        let spare = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..threads {
            let (queue, done, spare) = (queue.clone(), done.clone(), Arc::clone(&spare));
            scope.spawn(move || {
                let mut encoder = Encoder::new(format);
                for (number, batch) in queue {
                    let buffer = spare.lock().map_or(None, |mut spare| spare.pop()).unwrap_or_default();
                    // Nobody receives any more once another batch has failed.
                    if done.send((number, encode(tree, &mut encoder, &batch, buffer))).is_err() {
                        return;
                    }
                }
            });
        }
        Self { jobs, results, spare, early: BTreeMap::new(), submitted: 0, received: 0, under_way: 0, limit }
    }

    /// Hands a batch to the threads.
    pub(crate) fn submit(&mut self, batch: Batch<'a>) {
        self.under_way += batch.bytes;
        // The threads hold the other end until `jobs` is dropped.
        let _ = self.jobs.send((self.submitted, batch));
        self.submitted += 1;
    }

    /// Whether a result should be received before the next batch is submitted.
    pub(crate) fn is_full(&self) -> bool {
        self.under_way >= self.limit
    }

    /// The result of the next batch in order; `None` if none is under way.
    pub(crate) fn receive(&mut self) -> Option<Result<EncodedBatch, Error>> {
        if self.received == self.submitted {
            return None;
        }
        let result = loop {
            if let Some(result) = self.early.remove(&self.received) {
                break result;
            }
            let (number, result) = self.results.recv().ok()?;
            self.early.insert(number, result);
        };
        self.received += 1;
        if let Ok(batch) = &result {
            self.under_way -= batch.cost;
        }
        Some(result)
    }

    /// Gives the memory of a batch back to the threads.
    pub(crate) fn recycle(&self, batch: EncodedBatch) {
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(batch.output);
        }
    }
}

fn encode(tree: &Tree, encoder: &mut Encoder<'_>, batch: &Batch<'_>, mut output: Output) -> Result<EncodedBatch, Error> {
    output.clear();
    let mut blocks = Vec::new();
    for Piece { source, identity, blocks: range } in &batch.pieces {
        let Identity { policy, object_type, level, logical_size, .. } = identity;
        let mut encode = |fill: &dyn Fn(u64, &mut [u8]) -> Result<(), Error>| {
            for block in range.clone() {
                let encoded = encoder
                    .encode(policy, *object_type, *level, *logical_size, &mut output, |to| fill(block, to))?;
                blocks.push((*identity, encoded));
            }
            Ok::<(), Error>(())
        };
        match source {
            Source::File(node) => {
                let content = tree.open(*node)?;
                let (size, block_size) = (content.size(), *logical_size as u64);
                encode(&|block, to| {
                    let offset = block * block_size;
                    let length = size.saturating_sub(offset).min(block_size) as usize;
                    to[length..].fill(0);
                    Ok(content.read_exact_at(&mut to[..length], offset)?)
                })
            }
            Source::Xattr(node, index) => {
                let value = &tree.xattrs(*node)[*index].value;
                encode(&|block, to| {
                    let rest = &value[block as usize * to.len()..];
                    let length = rest.len().min(to.len());
                    to[..length].copy_from_slice(&rest[..length]);
                    to[length..].fill(0);
                    Ok(())
                })
            }
            Source::Directory(directory) => encode(&|block, to| {
                to.copy_from_slice(&directory.block(block)?);
                Ok(())
            }),
        }?;
    }
    Ok(EncodedBatch { output, blocks, cost: batch.bytes })
}
