//! How much room a pool has, and how much of it is taken, as ZFS counts it
//! (`spa_misc.c`, `metaslab.c`, `dsl_pool.c`).

use std::collections::BTreeMap;

use zfs_ondisk::bpobj;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::spacemap::{self, Change, Header};

use crate::error::Error;
use crate::object::{Object, ObjectSet};
use crate::pool::Pool;
use crate::space::{MAX_METASLABS, read_words};
use crate::unflushed::{self, Unflushed};
use crate::vdev::{Vdev, VdevKind};

/// The share of the pool that stays free, as a shift (`spa_slop_shift`).
const SLOP_SHIFT: u32 = 5;
const MIN_SLOP: u64 = 128 << 20;
const MAX_SLOP: u64 = 128 << 30;
/// Vdevs with more metaslabs than this set one apart for the intent log
/// (`zfs_embedded_slog_min_ms`).
const EMBEDDED_LOG_MIN_METASLABS: u64 = 64;

/// What a top-level vdev is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Everything.
    Normal,
    /// Metadata and small blocks.
    Special,
    /// Deduplication tables.
    Dedup,
    /// The intent log.
    Log,
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Class::Normal => "normal",
            Class::Special => "special",
            Class::Dedup => "dedup",
            Class::Log => "log",
        })
    }
}

/// The room that the vdevs of a pool have.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// The vdevs that can be allocated from, by their numbers.
    pub vdevs: BTreeMap<u32, VdevCapacity>,
    /// Bytes that datasets can be given, without parity (`spa_dspace`).
    pub usable: u64,
    /// Of those, bytes that no dataset is given (`spa_get_slop_space`).
    pub slop: u64,
    /// Bytes that only the checkpoint holds.
    pub checkpoint: u64,
    /// Bytes that are to be freed, and still count.
    pub deferred: u64,
}

/// The room that a top-level vdev has.
#[derive(Clone, Copy, Debug)]
pub struct VdevCapacity {
    /// What it is for.
    pub class: Class,
    /// Its metaslabs.
    pub metaslabs: u64,
    /// Bytes of a metaslab.
    pub metaslab_size: u64,
    /// Metaslabs begin and end at multiples of this: a group of draid. 1 for others.
    pub alignment: u64,
    /// The metaslab that is set apart for the intent log.
    pub embedded_log: Option<u64>,
    /// Of 512 bytes that are allocated, how many are not parity, as a share of 512
    /// (`vdev_deflate_ratio`).
    pub deflate_ratio: u64,
    /// Whether nothing new is allocated, as while it is being removed.
    pub is_nonallocating: bool,
}

/// What is allocated in the vdevs of a pool, as their space maps sum it up.
#[derive(Clone, Debug, Default)]
pub struct Allocation {
    /// By the numbers of the vdevs.
    pub vdevs: BTreeMap<u32, VdevAllocation>,
}

/// What is allocated in a top-level vdev.
#[derive(Clone, Copy, Debug, Default)]
pub struct VdevAllocation {
    /// Allocated bytes, with parity.
    pub allocated: u64,
    /// How scattered the free space is, in percent; `None` where the space maps do not
    /// record it.
    pub fragmentation: Option<u64>,
}

impl Capacity {
    /// Finds out how much room a pool has.
    ///
    /// # Errors
    /// If the meta object set cannot be read.
    pub fn of(pool: &Pool) -> Result<Self, Error> {
        let mos = pool.mos()?;
        let mut vdevs = BTreeMap::new();
        let mut checkpoint = 0u64;
        for vdev in pool.vdevs() {
            let shift = vdev.metaslab_shift;
            if vdev.metaslab_array == 0 || shift == 0 || shift >= 64 || matches!(vdev.kind, VdevKind::Hole) {
                continue;
            }
            let metaslabs = vdev.metaslab_count();
            if metaslabs > MAX_METASLABS {
                return Err(Error::Malformed {
                    what: "number of metaslabs of a vdev",
                    found: metaslabs.to_string(),
                    expected: "at most 2^20",
                });
            }
            let mut capacity = VdevCapacity {
                class: class_of(pool, &mos, vdev)?,
                metaslabs,
                metaslab_size: 1 << shift,
                alignment: vdev.metaslab_alignment(),
                embedded_log: None,
                deflate_ratio: vdev.deflate_ratio(),
                is_nonallocating: config_number(pool, vdev.id, "non_allocating") != 0,
            };
            if capacity.class == Class::Normal && metaslabs > EMBEDDED_LOG_MIN_METASLABS {
                // Which one it is matters only where their sizes differ.
                let is_uniform = capacity.alignment <= 1;
                capacity.embedded_log = Some(if is_uniform { 0 } else { emptiest_metaslab(&mos, vdev, metaslabs)? });
            }
            vdevs.insert(vdev.id as u32, capacity);
            checkpoint = checkpoint.saturating_add(checkpoint_space(&mos, vdev)?);
        }
        let deflates = pool.directory_number("deflate")? == Some(1);
        let sum = |of: &dyn Fn(&VdevCapacity) -> u64| vdevs.values().map(of).fold(0u64, u64::saturating_add);
        let deflated = |vdev: &VdevCapacity, size: u64| {
            if deflates { (size >> 9).saturating_mul(vdev.deflate_ratio) } else { size }
        };
        // Sizes are deflated metaslab by metaslab, each a whole number of sectors.
        let is_normal = |vdev: &VdevCapacity| vdev.class == Class::Normal;
        let log_of = |vdev: &VdevCapacity| vdev.embedded_log.map_or(0, |index| vdev.size_of(index));
        let raw = sum(&|vdev| {
            let size = vdev.size().saturating_sub(log_of(vdev));
            if is_normal(vdev) && !vdev.is_nonallocating { deflated(vdev, size) } else { 0 }
        });
        let embedded_log = sum(&|vdev| deflated(vdev, log_of(vdev)));
        let slop = (raw >> SLOP_SHIFT).min(MAX_SLOP);
        let slop = slop - embedded_log.min(slop >> 1);
        let slop = slop.max((raw >> 1).min(MIN_SLOP));
        // Blocks that are referenced more often than they are stored give room.
        let shared = Dedup::of(pool)?.saved().saturating_add(Cloned::of(pool)?.saved);
        Ok(Self { vdevs, usable: raw.saturating_add(shared), slop, checkpoint, deferred: deferred(pool, &mos)? })
    }

    /// Bytes that datasets can take altogether (`dsl_pool_adjustedsize`).
    pub fn adjusted(&self) -> u64 {
        self.usable.saturating_sub(self.checkpoint).saturating_sub(self.deferred).saturating_sub(self.slop)
    }

    /// The size of the pool, with parity, without logs.
    pub fn size(&self) -> u64 {
        let sizes = self.vdevs.values().filter(|vdev| vdev.class != Class::Log).map(VdevCapacity::size);
        sizes.fold(0, u64::saturating_add)
    }
}

impl VdevCapacity {
    /// Bytes of all metaslabs.
    pub fn size(&self) -> u64 {
        match self.alignment {
            0 | 1 => self.metaslabs.saturating_mul(self.metaslab_size),
            _ => (0..self.metaslabs).map(|index| self.size_of(index)).fold(0, u64::saturating_add),
        }
    }

    /// Bytes of one metaslab (`vdev_draid_metaslab_init`).
    fn size_of(&self, index: u64) -> u64 {
        let alignment = self.alignment.max(1);
        let start = index.saturating_mul(self.metaslab_size);
        let skipped = start.checked_next_multiple_of(alignment).map_or(0, |aligned| aligned - start);
        self.metaslab_size.saturating_sub(skipped) / alignment * alignment
    }
}

impl Allocation {
    /// Sums up the space maps of a pool, with the logs of what was not yet written to
    /// them.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn of(pool: &Pool, capacity: &Capacity) -> Result<Self, Error> {
        let mos = pool.mos()?;
        let unflushed = unflushed_changes(pool)?;
        let mut vdevs = BTreeMap::new();
        for (&id, room) in &capacity.vdevs {
            let Some(vdev) = pool.vdev(id) else { continue };
            vdevs.insert(id, allocation_of(&mos, vdev, room, &unflushed)?);
        }
        Ok(Self { vdevs })
    }

    /// Allocated bytes of all vdevs but logs.
    pub fn total(&self, capacity: &Capacity) -> u64 {
        let counts = |id: &u32| capacity.vdevs.get(id).is_some_and(|vdev| vdev.class != Class::Log);
        let allocated = self.vdevs.iter().filter(|(id, _)| counts(id)).map(|(_, vdev)| vdev.allocated);
        allocated.fold(0, u64::saturating_add)
    }

    /// How scattered the free space of the vdevs for everything is, in percent.
    pub fn fragmentation(&self, capacity: &Capacity) -> Option<u64> {
        let (mut sum, mut space) = (0u128, 0u128);
        for (id, room) in capacity.vdevs.iter().filter(|(_, room)| room.class == Class::Normal) {
            let size = u128::from(room.size() - room.embedded_log.map_or(0, |index| room.size_of(index)));
            sum += u128::from(self.vdevs.get(id)?.fragmentation?) * size;
            space += size;
        }
        u64::try_from(sum.checked_div(space)?).ok()
    }
}

fn allocation_of(
    mos: &ObjectSet,
    vdev: &Vdev,
    room: &VdevCapacity,
    unflushed: &BTreeMap<(u32, u64), i64>,
) -> Result<VdevAllocation, Error> {
    let maps = read_words(&mos.object(ObjectId(vdev.metaslab_array))?, room.metaslabs)?;
    let mut metaslabs = Vec::new();
    for (index, map) in (0..).zip(maps) {
        let change = unflushed.get(&(vdev.id as u32, index)).copied().unwrap_or(0);
        // One that was never used has no map.
        if map == 0 {
            metaslabs.push((change.max(0) as u64, Some(0), 0));
            continue;
        }
        let object = mos.object(ObjectId(map))?;
        let header = header(&object)?;
        let allocated = header.allocated.saturating_add(change).max(0) as u64;
        metaslabs.push((allocated, fragmentation_of(&object, vdev.ashift), header.allocated));
    }
    let allocated = metaslabs.iter().map(|metaslab| metaslab.0).fold(0, u64::saturating_add);
    // The emptiest one is for the intent log.
    if room.embedded_log.is_some()
        && let Some((index, _)) = metaslabs.iter().enumerate().min_by_key(|(_, metaslab)| metaslab.2)
    {
        metaslabs.remove(index);
    }
    let (mut sum, mut total, mut valid) = (0u128, 0u128, 0);
    for (allocated, fragmentation, _) in &metaslabs {
        let Some(fragmentation) = fragmentation else { continue };
        let free = u128::from(room.metaslab_size.saturating_sub(*allocated) / 512);
        sum += u128::from(*fragmentation) * free;
        total += free;
        valid += 1;
    }
    let is_known = valid >= metaslabs.len().div_ceil(2);
    let fragmentation = sum.checked_div(total).filter(|_| is_known).and_then(|percent| u64::try_from(percent).ok());
    Ok(VdevAllocation { allocated, fragmentation })
}

/// How scattered the free space of a metaslab is, in percent.
fn fragmentation_of(map: &Object, ashift: u64) -> Option<u64> {
    let buckets = spacemap::histogram(&map.bonus())?;
    Some(spacemap::fragmentation(&buckets, ashift as u32).unwrap_or(0))
}

fn header(object: &Object) -> Result<Header, Error> {
    Header::read(&object.bonus())
        .map_err(Error::truncated("header of a space map"))
        .map_err(|error| object.failed(error))
}

/// By vdev and metaslab, the bytes that the logs of the pool allocate, less those that
/// they free, since the metaslab took them over.
fn unflushed_changes(pool: &Pool) -> Result<BTreeMap<(u32, u64), i64>, Error> {
    let mut changes = BTreeMap::new();
    unflushed::for_each(pool, |Unflushed { vdev, metaslab, change, range }| {
        let sum = changes.entry((vdev, metaslab)).or_insert(0i64);
        let length = range.end - range.start;
        *sum = match change {
            Change::Allocated => sum.saturating_add_unsigned(length),
            Change::Freed => sum.saturating_sub_unsigned(length),
        };
    })?;
    Ok(changes)
}

/// The metaslab in which the least is allocated: the one that OpenZFS sets apart for
/// the intent log.
fn emptiest_metaslab(mos: &ObjectSet, vdev: &Vdev, metaslabs: u64) -> Result<u64, Error> {
    let maps = read_words(&mos.object(ObjectId(vdev.metaslab_array))?, metaslabs)?;
    let mut emptiest = (u64::MAX, 0);
    for (index, map) in (0..).zip(maps) {
        let allocated = match map {
            0 => 0,
            map => header(&mos.object(ObjectId(map))?)?.allocated as u64,
        };
        emptiest = emptiest.min((allocated, index));
    }
    Ok(emptiest.1)
}

fn class_of(pool: &Pool, mos: &ObjectSet, vdev: &Vdev) -> Result<Class, Error> {
    if vdev.is_log {
        return Ok(Class::Log);
    }
    let tree = config_of(pool, vdev.id);
    let mut bias = tree.and_then(|tree| tree.str("alloc_bias").ok()).map(str::to_owned);
    if bias.is_none() && vdev.top_zap != 0 {
        let mut zap = mos.object(ObjectId(vdev.top_zap))?.zap()?;
        bias = zap.lookup(b"org.zfsonlinux:allocation_bias")?.and_then(|entry| entry.text());
    }
    // The text is padded with NULs.
    Ok(match bias.as_deref().map(|bias| bias.trim_end_matches('\0')) {
        Some("special") => Class::Special,
        Some("dedup") => Class::Dedup,
        Some("log") => Class::Log,
        _ => Class::Normal,
    })
}

/// The configuration of a top-level vdev.
fn config_of(pool: &Pool, id: u64) -> Option<&zfs_ondisk::nvlist::NvList> {
    let children = pool.config().list("vdev_tree").and_then(|tree| tree.lists("children")).ok()?;
    children.iter().find(|child| child.u64("id") == Ok(id))
}

fn config_number(pool: &Pool, id: u64, name: &str) -> u64 {
    config_of(pool, id).and_then(|config| config.u64(name).ok()).unwrap_or(0)
}

/// Bytes of a vdev that only the checkpoint holds.
fn checkpoint_space(mos: &ObjectSet, vdev: &Vdev) -> Result<u64, Error> {
    if vdev.top_zap == 0 {
        return Ok(0);
    }
    let map = mos.object(ObjectId(vdev.top_zap))?.zap()?.number("com.delphix:pool_checkpoint_sm")?;
    let Some(map) = map else { return Ok(0) };
    // Its entries are what was freed since.
    Ok(header(&mos.object(ObjectId(map))?)?.allocated.min(0).unsigned_abs())
}

/// Bytes on the list of blocks that are freed in the next transaction groups.
fn deferred(pool: &Pool, mos: &ObjectSet) -> Result<u64, Error> {
    let Some(id) = pool.directory_entry("sync_bplist")? else { return Ok(0) };
    let object = mos.object(id)?;
    let header = bpobj::Header::read(&object.bonus()).map_err(Error::truncated("header of a list of blocks"));
    Ok(header.map_err(|error| object.failed(error))?.used)
}

/// What deduplication saves (`ddt_stat_t`, `sys/fs/zfs.h`), in bytes without parity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dedup {
    /// Stored.
    pub stored: u64,
    /// Referenced.
    pub referenced: u64,
}

impl Dedup {
    /// Reads the statistics of the deduplication tables.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn of(pool: &Pool) -> Result<Self, Error> {
        let mut sum = Self::default();
        let Some(statistics) = pool.directory_entry("DDT-statistics")? else { return Ok(sum) };
        for entry in pool.mos()?.object(statistics)?.zap()?.iter() {
            // A histogram by the number of references: blocks, logical, physical and
            // allocated size, and these four again times the references.
            for bucket in entry?.values.chunks_exact(8) {
                sum.stored = sum.stored.wrapping_add(bucket.get(3).copied().unwrap_or(0));
                sum.referenced = sum.referenced.wrapping_add(bucket.get(7).copied().unwrap_or(0));
            }
        }
        Ok(sum)
    }

    /// What would be stored without.
    pub fn saved(&self) -> u64 {
        self.referenced.saturating_sub(self.stored)
    }

    /// Referenced bytes of 100 stored ones.
    pub fn ratio(&self) -> u64 {
        ratio(self.referenced, self.stored)
    }
}

/// What the cloning of blocks saves (`brt_vdev_phys_t`, `brt.c`), in bytes without parity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cloned {
    /// Stored once and referenced several times.
    pub used: u64,
    /// What would be stored besides without.
    pub saved: u64,
}

impl Cloned {
    /// Reads the statistics of the tables of references.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn of(pool: &Pool) -> Result<Self, Error> {
        let mut sum = Self::default();
        for vdev in pool.vdevs() {
            let Some(id) = pool.directory_entry(&format!("com.fudosecurity:brt:vdev:{}", vdev.id))? else { continue };
            let object = pool.mos()?.object(id)?;
            let word = |index| object.bonus_word(index, "header of a table of references");
            sum.used = sum.used.saturating_add(word(5)?);
            sum.saved = sum.saved.saturating_add(word(6)?);
        }
        Ok(sum)
    }

    /// Referenced bytes of 100 stored ones.
    pub fn ratio(&self) -> u64 {
        ratio(self.used.saturating_add(self.saved), self.used)
    }
}

/// `whole` in hundredths of `part`; 100 if there is none.
pub fn ratio(whole: u64, part: u64) -> u64 {
    let hundredths = (u128::from(whole) * 100).checked_div(u128::from(part));
    hundredths.map_or(100, |ratio| u64::try_from(ratio).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_of_nothing_is_one() {
        assert_eq!((ratio(0, 0), ratio(3, 2), ratio(u64::MAX, 1)), (100, 150, u64::MAX));
    }

    #[test]
    fn metaslabs_of_draid_are_made_of_whole_groups() {
        let mut vdev = VdevCapacity {
            class: Class::Normal,
            metaslabs: 3,
            metaslab_size: 100,
            alignment: 1,
            embedded_log: None,
            deflate_ratio: 512,
            is_nonallocating: false,
        };
        assert_eq!(vdev.size(), 300);
        vdev.alignment = 30;
        // From 0 to 90, from 120 to 180, from 210 to 300.
        assert_eq!([0, 1, 2].map(|index| vdev.size_of(index)), [90, 60, 90]);
        assert_eq!(vdev.size(), 240);
    }

    #[test]
    fn what_is_held_back_is_no_more_than_there_is() {
        let capacity = Capacity { vdevs: BTreeMap::new(), usable: 100, slop: 50, checkpoint: 30, deferred: 30 };
        assert_eq!((capacity.size(), capacity.adjusted()), (0, 0));
    }
}
