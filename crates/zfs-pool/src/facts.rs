//! What a pool records about itself besides its contents: errors that were found,
//! scans, removals and expansions of vdevs, spares and caches, intent logs.

use zfs_ondisk::bytes::View;
use zfs_ondisk::feature::Feature;
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::zil;

use crate::block::order_of;
use crate::dataset::{Dataset, DatasetKind, entries_of};
use crate::error::Error;
use crate::features::{Activity, features};
use crate::pool::{DIRECTORY, Pool, read_nvlist};

/// How far a job of ZFS is (`dsl_scan_state_t`, `sys/fs/zfs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It was not begun.
    None,
    /// It was running.
    Running,
    /// It has ended.
    Finished,
    /// It was stopped.
    Canceled,
}

impl Progress {
    fn of(state: u64) -> Self {
        match state {
            1 | 4 => Self::Running,
            2 => Self::Finished,
            3 => Self::Canceled,
            _ => Self::None,
        }
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Canceled => "canceled",
        })
    }
}

/// The last scrub or resilver (`dsl_scan_phys_t`, `sys/dsl_scan.h`).
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    /// Whether it restores copies rather than checking them.
    pub is_resilver: bool,
    /// How far it is.
    pub progress: Progress,
    /// When it began and ended: seconds since 1970, 0 for not yet.
    pub times: [u64; 2],
    /// Errors that it met.
    pub errors: u64,
}

/// The removal of a top-level vdev (`spa_removing_phys_t`, `sys/spa_impl.h`).
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    /// How far it is.
    pub progress: Progress,
    /// The vdev.
    pub vdev: u64,
    /// Bytes that are to be copied, and that were.
    pub bytes: [u64; 2],
}

/// The widening of a raidz vdev.
#[derive(Clone, Copy, Debug)]
pub struct Expansion {
    /// The vdev.
    pub vdev: u64,
    /// How far it is.
    pub progress: Progress,
}

/// A dataset whose intent log is not empty: what was written to it last is in no
/// transaction group yet, and is not seen here.
#[derive(Clone, Debug)]
pub struct IntentLog {
    /// The dataset.
    pub dataset: String,
    /// Whether it was claimed by a pool that was imported since.
    pub is_claimed: bool,
}

/// The number of damaged places that the pool's error log lists.
///
/// # Errors
/// If it cannot be read.
pub fn error_count(pool: &Pool) -> Result<u64, Error> {
    let mos = pool.mos()?;
    let by_dataset = features(pool)?
        .iter()
        .any(|feature| feature.known == Some(Feature::HeadErrlog) && feature.activity == Activity::Active);
    let mut count = 0u64;
    for log in ["errlog_last", "errlog_scrub"] {
        let Some(object) = pool.directory_number(log)?.filter(|&object| object != 0) else { continue };
        if !by_dataset {
            count = count.saturating_add(mos.object(ObjectId(object))?.zap()?.count()?);
            continue;
        }
        for entry in entries_of(&mos, ObjectId(object))?.into_values() {
            let of_dataset = ObjectId(entry.number().unwrap_or(0));
            count = count.saturating_add(mos.object(of_dataset)?.zap()?.count()?);
        }
    }
    Ok(count)
}

/// The configurations of the pool's spares (`spares`) or caches (`l2cache`).
///
/// # Errors
/// If they cannot be read.
pub fn auxiliary(pool: &Pool, kind: &str) -> Result<Vec<NvList>, Error> {
    let Some(object) = pool.directory_entry(kind)? else { return Ok(Vec::new()) };
    let list = read_nvlist(&pool.mos()?, object)?;
    if !list.contains(kind) {
        return Ok(Vec::new());
    }
    Ok(list.lists(kind)?.to_vec())
}

/// The last scrub or resilver, if there was one.
///
/// # Errors
/// If the object directory cannot be read.
pub fn scan(pool: &Pool) -> Result<Option<Scan>, Error> {
    let words = directory_words(pool, "scan")?;
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    Ok((word(0) != 0).then(|| Scan {
        is_resilver: word(0) == 2,
        progress: Progress::of(word(1)),
        times: [word(7), word(8)],
        errors: word(13),
    }))
}

/// The last removal of a vdev, if there was one.
///
/// # Errors
/// If the object directory cannot be read.
pub fn removal(pool: &Pool) -> Result<Option<Removal>, Error> {
    let words = directory_words(pool, "com.delphix:removing")?;
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    Ok((word(0) != 0).then(|| Removal { progress: Progress::of(word(0)), vdev: word(1), bytes: [word(5), word(6)] }))
}

/// The raidz vdevs that were widened, or are being.
///
/// # Errors
/// If their tables cannot be read.
pub fn expansions(pool: &Pool) -> Result<Vec<Expansion>, Error> {
    let mos = pool.mos()?;
    let mut expansions = Vec::new();
    for vdev in pool.vdevs().filter(|vdev| vdev.top_zap != 0) {
        let table = entries_of(&mos, ObjectId(vdev.top_zap))?;
        if let Some(state) = table.get("org.openzfs:raidz_expand_state").and_then(|entry| entry.number()) {
            expansions.push(Expansion { vdev: vdev.id, progress: Progress::of(state) });
        }
    }
    Ok(expansions)
}

/// The datasets whose intent logs are not empty.
///
/// # Errors
/// If the list of datasets or the root of one of them cannot be read.
pub fn intent_logs(pool: &Pool) -> Result<Vec<IntentLog>, Error> {
    let mut logs = Vec::new();
    for dataset in pool.all_datasets()? {
        if dataset.kind == DatasetKind::Head
            && let Some(is_claimed) = intent_log(pool, &dataset)?
        {
            logs.push(IntentLog { dataset: dataset.name, is_claimed });
        }
    }
    Ok(logs)
}

/// Whether the intent log of a dataset was claimed, if it has content.
fn intent_log(pool: &Pool, dataset: &Dataset) -> Result<Option<bool>, Error> {
    let Some(objects) = dataset.objects()? else { return Ok(None) };
    let view = View::new(&objects.root().zil_header, order_of(objects.pointer()));
    let header = zil::Header::read(&view).map_err(Error::truncated("header of an intent log"))?;
    if header.log.is_hole() {
        return Ok(None);
    }
    // The chain ends in a block that was allocated and not written.
    Ok(pool.read_stored(&header.log).is_ok().then_some(header.claim_txg != 0))
}

/// The integers that the object directory has under a name.
pub(crate) fn directory_words(pool: &Pool, name: &str) -> Result<Vec<u64>, Error> {
    let mut directory = pool.mos()?.object(DIRECTORY)?.zap()?;
    Ok(directory.lookup(name.as_bytes())?.map(|entry| entry.values).unwrap_or_default())
}
