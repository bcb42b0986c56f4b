//! Allocated space, as the space maps of a pool have it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use zfs_ondisk::bytes::View;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::spacemap::{Change, Entry, Header};

use crate::block::order_of;
use crate::error::Error;
use crate::object::{Object, ObjectSet};
use crate::pool::Pool;
use crate::spacemap::SpaceMap;
use crate::spill::{Sorted, Sorter};
use crate::unflushed::{self, Unflushed};

/// The most metaslabs that a vdev has: a few hundred are usual, and OpenZFS does
/// not make more than 131072 (`zfs_vdev_ms_count_limit`).
pub(crate) const MAX_METASLABS: u64 = 1 << 20;

/// Ranges of bytes that neither overlap nor adjoin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// Adds a range, no byte of which is in the set.
    ///
    /// # Errors
    /// The first range of the set that overlaps it; then nothing is added.
    pub fn add(&mut self, range: Range<u64>) -> Result<(), Range<u64>> {
        if range.is_empty() {
            return Ok(());
        }
        let before = self.0.range(..range.start).next_back().map(|(&start, &end)| start..end);
        if let Some(before) = before.clone().filter(|before| before.end > range.start) {
            return Err(before);
        }
        let after = self.0.range(range.start..).next().map(|(&start, &end)| start..end);
        if let Some(after) = after.clone().filter(|after| after.start < range.end) {
            return Err(after);
        }
        let mut merged = range.clone();
        if let Some(before) = before.filter(|before| before.end == range.start) {
            merged.start = before.start;
        }
        if let Some(after) = after.filter(|after| after.start == range.end) {
            self.0.remove(&after.start);
            merged.end = after.end;
        }
        self.0.insert(merged.start, merged.end);
        Ok(())
    }

    /// Removes a range, every byte of which is in the set.
    ///
    /// # Errors
    /// The first part that is not; then nothing is removed.
    pub fn remove(&mut self, range: Range<u64>) -> Result<(), Range<u64>> {
        if range.is_empty() {
            return Ok(());
        }
        let around = self.0.range(..=range.start).next_back().map(|(&start, &end)| start..end);
        let Some(around) = around.filter(|around| around.end > range.start) else {
            let next = self.0.range(range.start..).next().map_or(range.end, |(&start, _)| start);
            return Err(range.start..next.min(range.end));
        };
        if around.end < range.end {
            let next = self.0.range(around.end..).next().map_or(range.end, |(&start, _)| start);
            return Err(around.end..next.min(range.end));
        }
        self.0.remove(&around.start);
        if around.start < range.start {
            self.0.insert(around.start, range.start);
        }
        if range.end < around.end {
            self.0.insert(range.end, around.end);
        }
        Ok(())
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// How many bytes are in the set.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }
}

/// What is allocated, and what is wrong with the maps that say so.
#[derive(Clone, Debug, Default)]
pub struct Allocated {
    /// Allocated ranges by top-level vdev, in bytes of its allocatable space.
    pub vdevs: BTreeMap<u32, RangeSet>,
    /// Contradictions within the space maps, and the object that has them.
    pub faults: Vec<(ObjectId, String)>,
}

/// Reads all space maps of a pool, with the logs of what was not yet written to
/// them (feature `log_spacemap`). All of it is in memory at once: see [`Metaslabs`] for large pools.
///
/// # Errors
/// If one of them cannot be read.
pub fn allocated(pool: &Pool) -> Result<Allocated, Error> {
    let mut metaslabs = Metaslabs::new(pool, LOG_MEMORY, &std::env::temp_dir())?;
    let mut allocated = Allocated::default();
    for vdev in pool.vdevs().filter(|vdev| vdev.metaslab_array != 0) {
        allocated.vdevs.entry(vdev.id as u32).or_default();
    }
    while let Some(metaslab) = metaslabs.next()? {
        let set = allocated.vdevs.entry(metaslab.vdev).or_default();
        for range in metaslab.allocated.iter() {
            // Metaslabs do not overlap.
            let _ = set.add(range);
        }
        allocated.faults.extend(metaslab.faults);
    }
    allocated.faults.extend(metaslabs.take_faults());
    Ok(allocated)
}

/// What is allocated in one metaslab.
#[derive(Clone, Debug)]
pub struct Metaslab {
    /// Number of the top-level vdev.
    pub vdev: u32,
    /// What part of it the metaslab is, in bytes of its allocatable space.
    pub range: Range<u64>,
    /// The allocated ranges.
    pub allocated: RangeSet,
    /// Contradictions within the space map, and the object that has them.
    pub faults: Vec<(ObjectId, String)>,
}

/// Memory for the logs of a pool that is small.
const LOG_MEMORY: usize = 16 << 20;

/// The metaslabs of a pool in order, each with what is allocated in it; the others are not in memory.
pub struct Metaslabs {
    pool: Pool,
    mos: ObjectSet,
    /// What the logs say: vdev and metaslab; sequence; change and offset; length.
    logs: Sorted<4>,
    faults: Vec<(ObjectId, String)>,
    scratch: PathBuf,
    /// Vdevs yet to come, the next one last.
    vdevs: Vec<u32>,
    current: Option<Current>,
}

struct Current {
    vdev: u32,
    maps: std::iter::Enumerate<std::vec::IntoIter<u64>>,
}

impl Metaslabs {
    /// Reads the logs of what was not yet written to the space maps. What does not fit into `memory` bytes of it goes
    /// to a file in `scratch`.
    ///
    /// # Errors
    /// If a log cannot be read.
    pub fn new(pool: &Pool, memory: usize, scratch: &Path) -> Result<Self, Error> {
        let mos = pool.mos()?;
        let (mut sorter, mut failed, mut sequence) = (Sorter::new(memory, scratch), None, 0);
        let faults = unflushed::for_each(pool, |Unflushed { vdev, metaslab, change, range }| {
            sequence += 1;
            let freed = u64::from(change == Change::Freed);
            let place = u64::from(vdev) << 32 | metaslab;
            let record = [place, sequence, range.start | freed, range.end - range.start];
            failed = failed.take().or(sorter.extend(&[record]).err());
        })?;
        if let Some(source) = failed {
            return Err(Error::scratch(scratch, source));
        }
        let mut vdevs: Vec<u32> =
            pool.vdevs().filter(|vdev| vdev.metaslab_array != 0).map(|vdev| vdev.id as u32).collect();
        vdevs.sort_unstable_by(|a, b| b.cmp(a));
        let logs = sorter.sorted().map_err(|source| Error::scratch(scratch, source))?;
        Ok(Self { pool: pool.clone(), mos, logs, faults, scratch: scratch.to_owned(), vdevs, current: None })
    }

    /// The next metaslab. One that was never used is given, too.
    ///
    /// # Errors
    /// If its space map cannot be read. The next call gives the next metaslab.
    #[allow(clippy::should_implement_trait, reason = "the item would be a result of an option")]
    pub fn next(&mut self) -> Result<Option<Metaslab>, Error> {
        loop {
            if let Some(current) = &mut self.current {
                let id = current.vdev;
                if let Some((index, map)) = current.maps.next() {
                    return self.metaslab(id, index as u64, map).map(Some);
                }
                self.current = None;
            }
            let Some(id) = self.vdevs.pop() else { return Ok(None) };
            let Some(vdev) = self.pool.vdev(id) else { continue };
            let array = ObjectId(vdev.metaslab_array);
            let count = vdev.metaslab_count();
            if count > MAX_METASLABS {
                let fault = format!("vdev {id} has {count} metaslabs, expected at most {MAX_METASLABS}");
                self.faults.push((array, fault));
                continue;
            }
            let maps = read_words(&self.mos.object(array)?, count)?;
            self.current = Some(Current { vdev: id, maps: maps.into_iter().enumerate() });
        }
    }

    /// Contradictions that are not those of one metaslab, and the object that has them.
    pub fn take_faults(&mut self) -> Vec<(ObjectId, String)> {
        std::mem::take(&mut self.faults)
    }

    fn metaslab(&mut self, id: u32, index: u64, map: u64) -> Result<Metaslab, Error> {
        let vdev = self.pool.vdev(id);
        let (ashift, shift) = vdev.map_or((0, 0), |vdev| (vdev.ashift, vdev.metaslab_shift));
        let range = index << shift..(index + 1).checked_shl(shift as u32).unwrap_or(u64::MAX);
        let start = vdev.map_or(range.start, |vdev| vdev.metaslab_start(index));
        let mut set = RangeSet::default();
        let mut faults = Faults::default();
        // A metaslab that was never used has no space map.
        if map != 0 {
            let mut sum = 0i64;
            let header = for_each_entry(&self.mos, ObjectId(map), |entry| {
                let Some(part) = byte_range(&entry, ashift, start) else {
                    return faults.add(format!("{entry:?} is beyond any vdev"));
                };
                if part.end > range.end {
                    return faults.add(format!("{part:x?} is beyond metaslab {index} of vdev {id}"));
                }
                let length = (part.end - part.start) as i64;
                sum = sum.wrapping_add(if entry.change == Change::Allocated { length } else { -length });
                apply(&mut set, entry.change, part, &mut faults);
            })?;
            if header.allocated != sum {
                let recorded = header.allocated;
                faults.add(format!("{sum} bytes are allocated, its header says {recorded}"));
            }
        }
        let key = u64::from(id) << 32 | index;
        let scratch = |source| Error::scratch(&self.scratch, source);
        while self.logs.peek().is_some_and(|record| record[0] <= key) {
            let Some([place, _, offset, length]) = self.logs.next().map_err(scratch)? else { break };
            if place == key {
                let change = if offset & 1 == 0 { Change::Allocated } else { Change::Freed };
                let start = offset & !1;
                apply(&mut set, change, start..start.saturating_add(length), &mut faults);
            }
        }
        let faults = faults.0.into_iter().map(|fault| (ObjectId(map), fault)).collect();
        Ok(Metaslab { vdev: id, range, allocated: set, faults })
    }
}

/// Bytes allocated according to the headers of the space maps, without the logs.
pub(crate) fn recorded(pool: &Pool) -> Result<u64, Error> {
    let mos = pool.mos()?;
    let mut sum = 0u64;
    for vdev in pool.vdevs().filter(|vdev| vdev.metaslab_array != 0) {
        let count = vdev.metaslab_count();
        if count > MAX_METASLABS {
            continue;
        }
        for map in read_words(&mos.object(ObjectId(vdev.metaslab_array))?, count)? {
            if map != 0 {
                let map = SpaceMap::open(&mos.object(ObjectId(map))?)?;
                sum = sum.saturating_add_signed(map.header().allocated);
            }
        }
    }
    Ok(sum)
}

/// Contradictions in one map; a damaged one has no end of them.
#[derive(Default)]
pub(crate) struct Faults(pub(crate) Vec<String>);

impl Faults {
    const MOST: usize = 16;

    pub(crate) fn add(&mut self, fault: String) {
        if self.0.len() < Self::MOST {
            self.0.push(fault);
        }
    }
}

fn apply(set: &mut RangeSet, change: Change, range: Range<u64>, faults: &mut Faults) {
    let result = match change {
        Change::Allocated => set.add(range.clone()).map_err(|other| format!("is allocated already ({other:x?})")),
        Change::Freed => set.remove(range.clone()).map_err(|part| format!("is not allocated ({part:x?})")),
    };
    if let Err(fault) = result {
        faults.add(format!("{:?}: {range:x?} {fault}", change));
    }
}

/// The bytes of an entry in the allocatable space of its vdev.
pub(crate) fn byte_range(entry: &Entry, shift: u64, start: u64) -> Option<Range<u64>> {
    let bytes = |units: u64| units.checked_mul(1 << shift);
    let start = bytes(entry.offset)?.checked_add(start)?;
    Some(start..start.checked_add(bytes(entry.length)?)?)
}

/// Calls `each` with the entries of a space map, and gives its header.
pub(crate) fn for_each_entry(mos: &ObjectSet, id: ObjectId, mut each: impl FnMut(Entry)) -> Result<Header, Error> {
    let map = SpaceMap::open(&mos.object(id)?)?;
    let header = *map.header();
    for entry in map {
        each(entry?);
    }
    Ok(header)
}

/// The first `count` 64-bit words of an object.
pub(crate) fn read_words(object: &Object, count: u64) -> Result<Vec<u64>, Error> {
    let mut words = Vec::new();
    let per_block = (object.dnode().data_block_size() / 8) as u64;
    let mut block = 0;
    while (words.len() as u64) < count {
        let pointer = object.block_pointer(block)?;
        let contents = object.read_block(block)?;
        let view = View::new(&contents, order_of(&pointer));
        for index in 0..per_block.min(count - words.len() as u64) {
            words.push(view.u64(index as usize * 8).map_err(Error::truncated("array of numbers"))?);
        }
        block += 1;
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn adjoining_ranges_become_one() {
        let mut set = RangeSet::default();
        set.add(0..10).unwrap();
        set.add(20..30).unwrap();
        set.add(10..20).unwrap();
        assert_eq!((set.iter().next(), set.iter().count(), set.bytes()), (Some(0..30), 1, 30));
    }

    #[test]
    fn an_overlap_is_told() {
        let mut set = RangeSet::default();
        set.add(10..20).unwrap();
        assert_eq!(set.add(19..25), Err(10..20));
        assert_eq!(set.add(5..11), Err(10..20));
        assert_eq!(set.add(10..20), Err(10..20));
    }

    #[test]
    fn what_is_not_there_cannot_be_removed() {
        let mut set = RangeSet::default();
        set.add(10..20).unwrap();
        assert_eq!(set.remove(15..25), Err(20..25));
        assert_eq!(set.remove(5..12), Err(5..10));
        assert_eq!(set.remove(12..15), Ok(()));
        assert_eq!(set.iter().collect::<Vec<_>>(), [10..12, 15..20]);
    }

    proptest! {
        #[test]
        fn a_set_is_what_a_bitmap_is(steps in proptest::collection::vec((any::<bool>(), 0u64..64, 1u64..16), 0..100)) {
            let mut set = RangeSet::default();
            let mut bitmap = [false; 80];
            for (add, start, length) in steps {
                let range = start..start + length;
                let bits = &mut bitmap[start as usize..(start + length) as usize];
                let possible = bits.iter().all(|&bit| bit != add);
                let done = if add { set.add(range) } else { set.remove(range) };
                prop_assert_eq!(done.is_ok(), possible);
                if possible {
                    bits.fill(add);
                }
            }
            let expected: Vec<u64> = (0..80).filter(|&index| bitmap[index as usize]).collect();
            prop_assert_eq!(set.iter().flatten().collect::<Vec<_>>(), expected);
        }
    }
}
