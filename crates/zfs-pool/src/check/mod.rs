//! Examines a whole pool.
//!
//! Everything that is referenced is read and verified, in all copies: the meta
//! object set, every dataset and every snapshot, each block once. What was met
//! is then compared with what the pool's own records say: space maps, block
//! trees and their counts, ZAPs, directories and link counts, and the accounting
//! of datasets, users and groups. This includes what `zdb` and a scrub do not look
//! at, and what makes a kernel stop later.
//!
//! # Snapshots
//!
//! A block is examined with the oldest snapshot that has it, or else with the dataset. So is an object. The files of
//! a file system are compared with each other (names, link counts, space by owner) in the dataset as it is now, and in
//! snapshots only on demand ([`Options::every_snapshot`]): that takes a walk over all files for each of them.
//!
//! # Threads
//!
//! One object set is examined after the other. Within it, each block of dnodes is a job, and so is what is below an
//! indirect block of the first level. What a job finds is collected apart from all others' and merged when it is
//! done; the report does not depend on the order in which that happens.
//!
//! # Memory
//!
//! [`Options::memory`] bounds it, whatever the pool's size. Besides the pool's cache of blocks and a few blocks for
//! each thread, there are
//!
//! - references to space, 24 bytes for each copy of a block, and names and attributes of the files of one dataset, 16
//!   bytes for each name and 32 for each file: what is beyond the limit is sorted and written to a temporary file
//!   without a name, and merged in the end;
//! - the allocated ranges of one metaslab at a time;
//! - sums for each owner of files in one dataset, and a record for each dataset and snapshot;
//! - at most 10,000 findings.
#![warn(clippy::missing_errors_doc)]

mod batch;
mod block;
mod claims;
mod dnode;
mod dsl;
mod features;
mod files;
mod findings;
mod labels;
mod lists;
mod paths;
mod pointer;
mod references;
mod removal;
mod space;
#[cfg(test)]
mod tests;
mod totals;
mod tree;
mod work;
mod zap;
mod zil;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::Error;
use crate::pool::{MOS, OpenOptions, Pool};
use crate::spill::Sorter;
use crate::vdev::{Vdev, VdevKind};
use batch::{Batch, step};
use findings::{Findings, Place};
use tree::Job;
use work::Queue;

pub use findings::{BlockPlace, CopyPlace, Finding, Kind, Report};

/// Numbers of what is examined, in the order of the findings.
const LABELS: u32 = 0;
const MOS_SET: u32 = 1;
const FIRST_DATASET: u32 = 2;
const SPACE: u32 = u32::MAX - 1;

/// Parts of the memory that records of space, and of files, may take.
const CLAIMS_PART: u64 = 4;
const FILES_PART: u64 = 8;
/// The least memory that is reckoned with.
const LEAST_MEMORY: u64 = 1 << 20;

/// How a pool is to be examined.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that read and verify.
    pub threads: usize,
    /// Bytes of memory to use at most.
    pub memory: u64,
    /// Folder for what does not fit into memory.
    pub scratch: PathBuf,
    /// Whether the files of every snapshot are compared with each other, not only those of the datasets as they are.
    pub every_snapshot: bool,
}

impl Default for Options {
    /// A thread for each processor, 256 MiB, temporary files where the system has them.
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().map_or(1, usize::from),
            memory: 256 << 20,
            scratch: std::env::temp_dir(),
            every_snapshot: false,
        }
    }
}

/// Is told how far a check is, from any thread.
pub trait Progress: Sync {
    /// The check begins: `bytes` are allocated.
    fn start(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Blocks that take so many bytes were verified.
    fn bytes(&self, count: u64) {
        let _ = count;
    }

    /// A dataset or snapshot is examined next, or the MOS, or the space maps.
    fn stage(&self, name: &str) {
        let _ = name;
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Examines a whole pool with the usual options; see the [module](self).
///
/// # Errors
/// Only if nothing can be examined, or there is no room for temporary files. Whatever else fails is a [`Finding`].
pub fn check(pool: &Pool) -> Result<Report, Error> {
    check_with(pool, &Options::default(), &Silent)
}

/// Examines a whole pool; see the [module](self).
///
/// # Errors
/// As [`check`].
pub fn check_with(pool: &Pool, options: &Options, progress: &dyn Progress) -> Result<Report, Error> {
    let claims = Sorter::new((options.memory.max(LEAST_MEMORY) / CLAIMS_PART) as usize, &options.scratch);
    progress.start(space::recorded(pool).unwrap_or(0));
    let newest = |knows_checkpoint, claims| walk(pool, options, progress, State::Newest { knows_checkpoint }, claims);
    let Some(checkpoint) = checkpoint_of(pool) else {
        let Walked { report, repeated, .. } = newest(false, claims)?;
        return Ok(Report { bytes: report.bytes.saturating_sub(repeated), ..report });
    };
    // Both states together are what is allocated.
    let kept = match checkpoint {
        Ok(checkpoint) => walk(&checkpoint, options, progress, State::Checkpoint, claims)?,
        Err(error) => {
            let message = format!("the checkpoint cannot be opened: {error}");
            let findings = vec![Finding::new(Kind::Unreadable, message)];
            Walked { report: Report { findings, ..Report::default() }, claims, is_complete: false, repeated: 0 }
        }
    };
    let Walked { mut report, repeated, .. } = newest(kept.is_complete, kept.claims)?;
    report.add_checkpoint(kept.report);
    Ok(Report { bytes: report.bytes.saturating_sub(repeated), ..report })
}

/// The state of a pool that its checkpoint keeps, if there is one.
fn checkpoint_of(pool: &Pool) -> Option<Result<Pool, Error>> {
    // What cannot be read is found later.
    pool.checkpoint().ok()??;
    let devices = pool.labels().iter().map(|labels| labels.device.clone()).collect();
    Some(Pool::open_with(devices, &OpenOptions { checkpoint: true, ..OpenOptions::default() }))
}

/// A state of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The one that a checkpoint keeps.
    Checkpoint,
    /// The newest one.
    Newest {
        /// Whether all that the checkpoint references was claimed.
        knows_checkpoint: bool,
    },
}

/// What came of the walk through one state of a pool.
struct Walked {
    report: Report,
    claims: Sorter<{ claims::WORDS }>,
    /// Whether all that is referenced was met.
    is_complete: bool,
    /// Bytes that all walks read more than once.
    repeated: u64,
}

/// Walks through one state of a pool. At the end of the newest one, space is compared with what all walks claimed.
fn walk(
    pool: &Pool,
    options: &Options,
    progress: &dyn Progress,
    state: State,
    claims: Sorter<{ claims::WORDS }>,
) -> Result<Walked, Error> {
    let mos = pool.mos()?;
    let memory = options.memory.max(LEAST_MEMORY);
    let checker = Checker {
        pool,
        options,
        progress,
        state,
        queue: Queue::new(options.threads),
        findings: Mutex::default(),
        claims: Mutex::new(claims),
        files_memory: (memory / FILES_PART) as usize,
        counts: Counts::default(),
        away: away(pool),
        names: Mutex::default(),
        incomplete: AtomicBool::new(false),
        failed: Mutex::default(),
    };
    thread::scope(|scope| {
        // However this ends, the threads are sent home.
        let _closing = Closing(&checker.queue);
        for _ in 1..options.threads.max(1) {
            // Where no more threads can be had, those that there are do the work.
            let _ = thread::Builder::new().spawn_scoped(scope, || checker.queue.serve(|job| checker.run(job)));
        }
        checker.everything(&mos)
    })?;
    checker.report()
}

/// The leaves of a pool with the top-level vdevs that they belong to.
fn leaves(pool: &Pool) -> impl Iterator<Item = (&Vdev, &Vdev)> {
    pool.vdevs().flat_map(|vdev| vdev.leaves().into_iter().map(move |leaf| (vdev, leaf)))
}

/// The devices that cannot have everything.
fn away(pool: &Pool) -> HashMap<u64, AtomicU64> {
    let is_away = |leaf: &Vdev| match &leaf.kind {
        VdevKind::Leaf { device, is_stale, .. } => device.is_none() || *is_stale,
        _ => false,
    };
    leaves(pool).filter(|(_, leaf)| is_away(leaf)).map(|(_, leaf)| (leaf.guid, AtomicU64::new(0))).collect()
}

struct Closing<'a>(&'a Queue<Job>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What was examined so far.
#[derive(Default)]
struct Counts {
    blocks: AtomicU64,
    bytes: AtomicU64,
    objects: AtomicU64,
    datasets: AtomicU64,
    allocated: AtomicU64,
    repeated: AtomicU64,
}

struct Checker<'a> {
    pool: &'a Pool,
    options: &'a Options,
    progress: &'a dyn Progress,
    state: State,
    queue: Queue<Job>,
    findings: Mutex<Findings>,
    /// References to space: see [`claims::Claim`].
    claims: Mutex<Sorter<{ claims::WORDS }>>,
    /// Bytes for the tables of the files of one dataset.
    files_memory: usize,
    counts: Counts,
    /// Bad copies on each device that is missing or was away, by its GUID.
    away: HashMap<u64, AtomicU64>,
    /// Names of the datasets, by their numbers.
    names: Mutex<Vec<String>>,
    /// Whether some of what is referenced cannot be met.
    incomplete: AtomicBool,
    /// Why a temporary file could not be written or read.
    failed: Mutex<Option<io::Error>>,
}

impl Checker<'_> {
    fn everything(&self, mos: &crate::object::ObjectSet) -> Result<(), Error> {
        if self.state != State::Checkpoint {
            self.labels();
        }
        self.progress.stage(MOS);
        let walk = tree::Walk { full: true, ..tree::Walk::default() };
        let (totals, _) = self.object_set(mos, MOS_SET, walk);
        let mut batch = Batch::new(MOS_SET, MOS);
        batch.at_step(step::FEATURES);
        self.mos_features(&mut batch, totals.features);
        self.merge(batch);
        match self.pool.all_datasets() {
            Ok(datasets) => {
                *lock(&self.names) = datasets.iter().map(|dataset| dataset.name.clone()).collect();
                self.datasets(mos, datasets);
            }
            Err(error) => {
                self.is_incomplete();
                self.at_step(step::DATASETS, |batch| batch.failed(None, &error));
            }
        }
        self.deferred_frees(mos);
        if self.state != State::Checkpoint {
            self.progress.stage("space maps");
            self.space(mos);
        }
        Ok(())
    }

    fn report(self) -> Result<Walked, Error> {
        let claims = self.claims.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(Error::scratch(&self.options.scratch, source));
        }
        let mut findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut missing_copies = 0;
        for (number, (vdev, leaf)) in (0..).zip(leaves(self.pool)) {
            let name = labels::name_of(leaf);
            let message = match (leaf.device(), self.away.get(&leaf.guid)) {
                (None, _) => format!("{name} of vdev {} was not given: blocks were examined without it", vdev.id),
                (_, Some(copies)) if count(copies) > 0 => {
                    missing_copies += count(copies);
                    format!("{name} was away when something was written: {} copies on it are old", count(copies))
                }
                _ => continue,
            };
            findings.add(Place { set: LABELS, number, ..Place::default() }, Finding::new(Kind::MissingDevice, message));
        }
        let report = Report {
            blocks: count(&self.counts.blocks),
            bytes: count(&self.counts.bytes),
            objects: count(&self.counts.objects),
            datasets: count(&self.counts.datasets),
            allocated: count(&self.counts.allocated),
            missing_copies,
            ..findings.report()
        };
        let repeated = count(&self.counts.repeated);
        Ok(Walked { report, claims, is_complete: !self.incomplete.into_inner(), repeated })
    }

    /// Adds what was found to what is known.
    fn merge(&self, batch: Batch) {
        let Batch { findings, omitted, mut claims, blocks, bytes, objects, .. } = batch;
        if self.state == State::Checkpoint {
            claims::of_checkpoint(&mut claims);
        }
        self.counts.blocks.fetch_add(blocks, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.objects.fetch_add(objects, Ordering::Relaxed);
        self.progress.bytes(bytes);
        if !findings.is_empty() {
            let mut all = lock(&self.findings);
            for (place, finding) in findings {
                all.add(place, finding);
            }
            for (kind, count) in omitted {
                all.count(kind, count);
            }
        }
        if !claims.is_empty() {
            let result = lock(&self.claims).extend(&claims);
            self.scratch(result);
        }
    }

    /// Adds what is found in a step that is about the pool.
    fn at_step(&self, step: u64, fill: impl FnOnce(&mut Batch)) {
        let mut batch = Batch::new(SPACE, MOS);
        batch.at_step(step);
        fill(&mut batch);
        self.merge(batch);
    }

    /// Notes that a temporary file failed; what was asked of it otherwise.
    fn scratch<T>(&self, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| _ = lock(&self.failed).get_or_insert(error)).ok()
    }
}

/// Locks what no thread leaves half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
