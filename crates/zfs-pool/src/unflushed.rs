//! Changes of allocated space that the space maps of metaslabs do not have yet: the logs of a whole pool, one for each
//! transaction group (feature `log_spacemap`).

use std::collections::BTreeMap;
use std::ops::Range;

use zfs_ondisk::object::ObjectId;
use zfs_ondisk::spacemap::Change;

use crate::error::Error;
use crate::object::ObjectSet;
use crate::pool::{MOS, Pool};
use crate::space::{Faults, MAX_METASLABS, byte_range, for_each_entry, read_words};

/// Binary logarithm of the units of the logs.
const SHIFT: u64 = 9;

/// A change that a metaslab has not taken over.
pub(crate) struct Unflushed {
    pub(crate) vdev: u32,
    pub(crate) metaslab: u64,
    pub(crate) change: Change,
    /// In bytes of the vdev's allocatable space.
    pub(crate) range: Range<u64>,
}

/// Calls `each` with the changes in order, and gives contradictions and the objects that have them.
pub(crate) fn for_each(pool: &Pool, mut each: impl FnMut(Unflushed)) -> Result<Vec<(ObjectId, String)>, Error> {
    let mos = pool.mos()?;
    let logs = logs(pool, &mos)?;
    if logs.is_empty() {
        return Ok(Vec::new());
    }
    let taken_over = taken_over(pool, &mos)?;
    let mut all = Vec::new();
    for (txg, log) in logs {
        let mut faults = Faults::default();
        for_each_entry(&mos, log, |entry| {
            let Some(range) = byte_range(&entry, SHIFT, 0) else {
                return faults.add(format!("{entry:?} is beyond any vdev"));
            };
            let id = entry.vdev.unwrap_or(0);
            let vdev = pool.vdev(id).filter(|vdev| vdev.metaslab_array != 0 && vdev.metaslab_shift < 64);
            // The log may be about a vdev that was removed since.
            let Some(vdev) = vdev else { return };
            let metaslab = range.start >> vdev.metaslab_shift;
            if range.end > (metaslab + 1).checked_shl(vdev.metaslab_shift as u32).unwrap_or(u64::MAX) {
                return faults.add(format!("{range:x?} is in several metaslabs of vdev {id}"));
            }
            let since = taken_over.get(&id).and_then(|txgs| txgs.get(metaslab as usize));
            if txg >= since.copied().unwrap_or(0) && metaslab >> 32 == 0 {
                each(Unflushed { vdev: id, metaslab, change: entry.change, range });
            }
        })?;
        all.extend(faults.0.into_iter().map(|fault| (log, fault)));
    }
    Ok(all)
}

/// The logs, by transaction group.
fn logs(pool: &Pool, mos: &ObjectSet) -> Result<BTreeMap<u64, ObjectId>, Error> {
    let mut logs = BTreeMap::new();
    let Some(directory) = pool.directory_entry("com.delphix:log_spacemap_zap")? else { return Ok(logs) };
    for entry in mos.object(directory)?.zap()?.iter() {
        let entry = entry?;
        let txg = std::str::from_utf8(&entry.name).ok().and_then(|name| u64::from_str_radix(name, 16).ok());
        let (Some(txg), Some(log)) = (txg, entry.number()) else {
            let error = Error::Malformed {
                what: "an entry of the table of space map logs",
                found: String::from_utf8_lossy(&entry.name).into_owned(),
                expected: "a number and an object",
            };
            return Err(error.in_object(MOS, directory));
        };
        logs.insert(txg, ObjectId(log));
    }
    Ok(logs)
}

/// By vdev and metaslab, the transaction group from which on changes are in the logs only.
fn taken_over(pool: &Pool, mos: &ObjectSet) -> Result<BTreeMap<u32, Vec<u64>>, Error> {
    let mut txgs = BTreeMap::new();
    for vdev in pool.vdevs().filter(|vdev| vdev.top_zap != 0 && vdev.metaslab_array != 0) {
        let mut table = mos.object(ObjectId(vdev.top_zap))?.zap()?;
        if let Some(object) = table.number("com.delphix:ms_unflushed_phys_txgs")? {
            let count = vdev.metaslab_count().min(MAX_METASLABS);
            txgs.insert(vdev.id as u32, read_words(&mos.object(ObjectId(object))?, count)?);
        }
    }
    Ok(txgs)
}
