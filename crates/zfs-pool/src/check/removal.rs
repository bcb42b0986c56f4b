//! Vdevs that were removed, or are being removed.
//!
//! Pointers to a removed vdev lead through its mapping to other vdevs, and take space there. What of an entry of the
//! mapping no pointer leads to any more is counted as obsolete.

use std::collections::BTreeMap;

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
use super::space::LOGS_PART;
use crate::block::order_of;
use crate::error::Error;
use crate::facts::{self, Progress};
use crate::object::{Object, ObjectSet};
use crate::pool::Pool;
use crate::space::{Metaslabs, byte_range, for_each_entry};
use crate::vdev::{Indirect, Vdev, VdevKind};

/// Vdevs removed one after the other lead to each other; more than these in a row do not.
const MAX_REMOVALS: usize = 64;

/// Name in the table of a top-level vdev.
const OBSOLETE_MAP: &str = "com.delphix:indirect_obsolete_sm";
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
            let Some(obsolete) = obsolete(mos, vdev, indirect)? else { continue };
            let mut told = 0;
            for ((entry, referenced), obsolete) in entries.iter().zip(sums).zip(obsolete) {
                let unused = entry.target.asize.saturating_sub(referenced);
                // Too little may be counted: some waits to be counted, and some is after another removal only.
                if obsolete > unused && told < MOST_TOLD {
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

    /// Whether a vdev was removed, and has no space of its own.
    pub(super) fn is_indirect(&self, vdev: u32) -> bool {
        self.pool.vdev(vdev).is_some_and(|vdev| matches!(vdev.kind, VdevKind::Indirect(_)))
    }
}

/// How much of each entry of a mapping is counted as obsolete; `None` if it is not counted.
fn obsolete(mos: &ObjectSet, vdev: &Vdev, indirect: &Indirect) -> Result<Option<Vec<u64>>, Error> {
    let mapping = mos.object(indirect.object())?;
    let header = Header::read(&mapping.bonus()).map_err(Error::truncated("header of a mapping of a removed vdev"))?;
    let Some(counts) = header.counts_object.filter(|&object| object != 0) else { return Ok(None) };
    let mut obsolete = read_counts(&mos.object(ObjectId(counts))?, indirect.entries().len())?;
    if vdev.top_zap == 0 {
        return Ok(Some(obsolete));
    }
    let mut table = mos.object(ObjectId(vdev.top_zap))?.zap()?;
    if let Some(map) = table.number(OBSOLETE_MAP)? {
        for_each_entry(mos, ObjectId(map), |entry| {
            if let Some(range) = byte_range(&entry, 0, 0).filter(|_| entry.change == Change::Allocated) {
                spread(indirect.entries(), range.start, range.end - range.start, |index, bytes| {
                    if let Some(count) = obsolete.get_mut(index) {
                        *count = count.saturating_add(bytes);
                    }
                });
            }
        })?;
    }
    Ok(Some(obsolete))
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
    let mut waiting = vec![(Dva { vdev, offset, asize: size, gang: false }, 0)];
    while let Some((part, removals)) = waiting.pop() {
        match pool.vdev(part.vdev).map(|vdev| &vdev.kind) {
            Some(VdevKind::Indirect(indirect)) if removals < MAX_REMOVALS => {
                let length = usize::try_from(part.asize).unwrap_or(usize::MAX);
                // What the mapping does not have is found when the block is read.
                let parts = indirect.resolve(part.offset, length).unwrap_or_default();
                waiting.extend(parts.into_iter().map(|part| (part, removals + 1)));
            }
            _ if removals > 0 => {
                let Dva { vdev, offset, asize: size, .. } = part;
                to.extend(Said { vdev, offset, size, source: Source::Moved, owner }.pack());
            }
            _ => {}
        }
    }
}
