//! Vdevs that were removed, or are being removed.
//!
//! Pointers to a removed vdev lead through its mapping to other vdevs, and take space there. What of an entry of the
//! mapping no pointer leads to any more is counted as obsolete.

use std::collections::{BTreeMap, HashSet};

use zfs_ondisk::blkptr::Dva;
use zfs_ondisk::bytes::View;
use zfs_ondisk::indirect::{Entry, Header};
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::spacemap::Change;

use super::Checker;
use super::MOS_SET;
use super::batch::Batch;
use super::claims::{Claim, Owner, Said, Source};
use super::findings::Kind;
use super::lists::for_each_in_list;
use super::space::LOGS_PART;
use crate::block::order_of;
use crate::error::Error;
use crate::facts::{self, Progress};
use crate::object::{Object, ObjectSet};
use crate::pool::Pool;
use crate::space::{Metaslabs, byte_range, for_each_entry};
use crate::vdev::{Indirect, MAX_REMOVALS, Vdev, VdevKind};

/// Names in the table of a top-level vdev.
const OBSOLETE_MAP: &str = "com.delphix:indirect_obsolete_sm";
const PRECISE: &str = "com.delphix:obsolete_counts_are_precise";
/// Names in the object directory: blocks that are obsolete and not counted yet, and a mapping that is being condensed.
const OBSOLETE_LIST: &str = "com.delphix:obsolete_bpobj";
const CONDENSING: &str = "com.delphix:condensing_indirect";
/// Where the configuration of a vdev has the object with its mapping.
const MAPPING: &str = "com.delphix:indirect_object";
/// A kind of mismatch is told of so many entries of a mapping.
const MOST_TOLD: usize = 16;

/// How much of each entry of the mappings of removed vdevs is referenced, by vdev.
#[derive(Default)]
pub(super) struct Referenced(BTreeMap<u32, Vec<u64>>);

impl Referenced {
    /// Notes that a part of a removed vdev is referenced: each part once, in order.
    pub(super) fn add(&mut self, pool: &Pool, vdev: u32, offset: u64, size: u64) {
        let Some(VdevKind::Indirect(indirect)) = pool.vdev(vdev).map(|vdev| &vdev.kind) else { return };
        let sums = self.0.entry(vdev).or_insert_with(|| vec![0; indirect.entries().len()]);
        spread(indirect.entries(), offset, size, |index, bytes| {
            if let Some(sum) = sums.get_mut(index) {
                *sum = sum.saturating_add(bytes);
            }
        });
    }
}

/// Distributes a range over the entries of a mapping.
fn spread(entries: &[Entry], offset: u64, size: u64, mut each: impl FnMut(usize, u64)) {
    let end = offset.saturating_add(size);
    let of = |entry: &Entry| entry.source..entry.source.saturating_add(entry.target.asize);
    let first = entries.partition_point(|entry| of(entry).end <= offset);
    for (index, entry) in entries.iter().enumerate().skip(first).take_while(|(_, entry)| entry.source < end) {
        let range = of(entry);
        each(index, range.end.min(end).saturating_sub(range.start.max(offset)));
    }
}

impl Checker<'_> {
    /// Claims the space that parts of a vdev that is being removed were copied to: those that are still allocated there.
    pub(super) fn claim_copied(&self, mos: &ObjectSet, batch: &mut Batch) -> Result<(), Error> {
        let removal = facts::removal(self.pool)?.filter(|removal| removal.progress == Progress::Running);
        let Some(id) = removal.map(|removal| removal.vdev) else { return Ok(()) };
        let children = self.pool.config().list("vdev_tree")?.lists("children")?;
        let is_wanted = |config: &&NvList| config.u64("id") == Ok(id) && config.contains(MAPPING);
        let Some(config) = children.iter().find(is_wanted) else { return Ok(()) };
        let indirect = Indirect::of(config, mos)?;
        let owner = Owner { set: MOS_SET, object: indirect.object() };
        let mut metaslabs =
            Metaslabs::new(self.pool, (self.options.memory / LOGS_PART) as usize, &self.options.scratch)?;
        while let Some(metaslab) = metaslabs.next()? {
            for range in metaslab.allocated.iter().filter(|_| u64::from(metaslab.vdev) == id) {
                spread(indirect.entries(), range.start, range.end - range.start, |index, size| {
                    let Some(entry) = indirect.entries().get(index) else { return };
                    let offset = entry.target.offset.saturating_add(range.start.saturating_sub(entry.source));
                    let said = Said { vdev: entry.target.vdev, offset, size, source: Source::Moved, owner };
                    batch.claims.extend(said.pack());
                });
                self.hand_on(batch);
            }
        }
        Ok(())
    }

    /// Compares what is referenced of removed vdevs with what they count as obsolete.
    pub(super) fn compare_removed(
        &self,
        mos: &ObjectSet,
        mut referenced: Referenced,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        for vdev in self.pool.vdevs() {
            let VdevKind::Indirect(indirect) = &vdev.kind else { continue };
            let entries = indirect.entries();
            let sums = referenced.0.remove(&(vdev.id as u32)).unwrap_or_else(|| vec![0; entries.len()]);
            let Some(Obsolete { bytes, is_precise }) = self.obsolete(mos, vdev, indirect)? else { continue };
            let mut told = 0;
            for ((entry, referenced), obsolete) in entries.iter().zip(sums).zip(bytes) {
                let unused = entry.target.asize.saturating_sub(referenced);
                if (obsolete > unused || is_precise && obsolete < unused) && told < MOST_TOLD {
                    told += 1;
                    let message = format!(
                        "removed vdev {}, {:#x}: {unused} of {} bytes are not referenced, {obsolete} are counted as obsolete",
                        vdev.id, entry.source, entry.target.asize
                    );
                    batch.finding(Kind::References, Some(indirect.object()), message);
                }
            }
        }
        Ok(())
    }

    /// How much of each entry of a mapping is counted as obsolete; `None` if it is not counted.
    ///
    /// That is the sum of what was counted when the mapping was last condensed, of what became obsolete since, of what
    /// was to be counted in a condensation that is under way, and of what is not counted yet of snapshots that were
    /// destroyed (as `zdb_load_obsolete_counts` has it).
    fn obsolete(&self, mos: &ObjectSet, vdev: &Vdev, indirect: &Indirect) -> Result<Option<Obsolete>, Error> {
        let mapping = mos.object(indirect.object())?;
        let header =
            Header::read(&mapping.bonus()).map_err(Error::truncated("header of a mapping of a removed vdev"))?;
        let Some(counts) = header.counts_object.filter(|&object| object != 0) else { return Ok(None) };
        let entries = indirect.entries();
        let mut bytes = read_counts(&mos.object(ObjectId(counts))?, entries.len())?;
        let mut add = |offset, size| {
            spread(entries, offset, size, |index, part| {
                if let Some(count) = bytes.get_mut(index) {
                    *count = count.saturating_add(part);
                }
            });
        };
        let (mut maps, mut is_precise) = (Vec::new(), false);
        if vdev.top_zap != 0 {
            let mut table = mos.object(ObjectId(vdev.top_zap))?.zap()?;
            maps.extend(table.number(OBSOLETE_MAP)?);
            is_precise = table.number(PRECISE)?.unwrap_or(0) != 0;
        }
        if let [id, map, ..] = facts::directory_words(self.pool, CONDENSING)?[..]
            && id == vdev.id
        {
            maps.push(map);
        }
        for map in maps.into_iter().filter(|&map| map != 0) {
            for_each_entry(mos, ObjectId(map), |entry| {
                if let Some(range) = byte_range(&entry, 0, 0).filter(|_| entry.change == Change::Allocated) {
                    add(range.start, range.end - range.start);
                }
            })?;
        }
        if let Some(list) = self.pool.directory_entry(OBSOLETE_LIST)? {
            for_each_in_list(mos, list, &mut HashSet::new(), &mut |pointer| {
                let moved = pointer.dvas().filter(|dva| u64::from(dva.vdev) == vdev.id);
                moved.for_each(|dva| add(dva.offset, dva.asize));
            })?;
        }
        Ok(Some(Obsolete { bytes, is_precise }))
    }

    /// Whether a vdev was removed, and has no space of its own.
    pub(super) fn is_indirect(&self, vdev: u32) -> bool {
        self.pool.vdev(vdev).is_some_and(|vdev| matches!(vdev.kind, VdevKind::Indirect(_)))
    }
}

/// What of a mapping is counted as obsolete.
struct Obsolete {
    /// By entry.
    bytes: Vec<u64>,
    /// Whether it is counted since the vdev was removed, so that nothing is left out.
    is_precise: bool,
}

/// The first `count` numbers of 32 bits of an object.
fn read_counts(object: &Object, count: usize) -> Result<Vec<u64>, Error> {
    let mut counts = Vec::with_capacity(count);
    let mut block = 0;
    while counts.len() < count {
        let order = order_of(&object.block_pointer(block)?);
        let contents = object.read_block(block)?;
        let view = View::new(&contents, order);
        for index in 0..(contents.len() / 4).min(count - counts.len()) {
            counts.push(view.u32(index * 4).map_err(Error::truncated("counts of a removed vdev"))?.into());
        }
        block += 1;
    }
    Ok(counts)
}

/// Claims the space that a part of a removed vdev was moved to.
pub(super) fn claim_moved(pool: &Pool, vdev: u32, offset: u64, size: u64, owner: Owner, to: &mut Vec<Claim>) {
    let said =
        |part: Dva, source| Said { vdev: part.vdev, offset: part.offset, size: part.asize, source, owner }.pack();
    let mut waiting = vec![(Dva { vdev, offset, asize: size, gang: false }, 0)];
    while let Some((part, removals)) = waiting.pop() {
        match pool.vdev(part.vdev).map(|vdev| &vdev.kind) {
            Some(VdevKind::Indirect(indirect)) if removals < MAX_REMOVALS => {
                let length = usize::try_from(part.asize).unwrap_or(usize::MAX);
                if removals > 0 {
                    to.extend(said(part, Source::Between));
                }
                // What the mapping does not have is found when the block is read.
                let parts = indirect.resolve(part.offset, length).unwrap_or_default();
                waiting.extend(parts.into_iter().map(|part| (part, removals + 1)));
            }
            _ if removals > 0 => to.extend(said(part, Source::Moved)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: u64, asize: u64) -> Entry {
        Entry { source, target: Dva { vdev: 1, offset: 0, asize, gang: false } }
    }

    #[test]
    fn a_range_is_spread_over_the_entries_that_it_is_in() {
        let entries = [entry(0, 1000), entry(1000, 500), entry(3000, 500)];
        let parts = |offset, size| {
            let mut parts = Vec::new();
            spread(&entries, offset, size, |index, bytes| parts.push((index, bytes)));
            parts
        };
        assert_eq!(parts(900, 200), [(0, 100), (1, 100)]);
        assert_eq!(parts(1000, 500), [(1, 500)]);
        assert_eq!(parts(0, 10_000), [(0, 1000), (1, 500), (2, 500)]);
        assert_eq!(parts(1500, 1500), []);
        assert_eq!(parts(3400, u64::MAX), [(2, 100)]);
    }
}
