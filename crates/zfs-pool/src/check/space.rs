//! Which space is referenced, against which is allocated.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;

use zfs_ondisk::object::ObjectId;
use zfs_ondisk::spacemap::Change;

use super::batch::{Batch, step};
use super::claims::{Claim, Owner, Said, Source, WORDS};
use super::findings::Kind;
use super::removal::Referenced;
use super::{Checker, FIRST_DATASET, MOS_SET, SPACE, State, lock};
use crate::error::Error;
use crate::object::ObjectSet;
use crate::pool::MOS;
use crate::space::{Metaslab, Metaslabs, RangeSet, byte_range, for_each_entry};
use crate::spill::{Sorted, Sorter};

pub(super) use crate::space::recorded;

/// Owners of a block that a message names.
const MOST_OWNERS: usize = 3;
/// Memory for the logs of space maps.
pub(super) const LOGS_PART: u64 = 8;
/// The most sectors of a record: longer ranges are several.
const LONGEST: u64 = (1 << 24) << 9;

/// All that is said of what begins at one place.
#[derive(Default)]
struct Group {
    /// The different sizes that are said, the largest last.
    sizes: Vec<u64>,
    owners: Vec<Owner>,
    pointers: u64,
    checkpoint: bool,
    /// A further copy of a block, or what was moved from a vdev: how often is not known.
    uncounted: bool,
    /// How often a block that is there was read.
    visits: u64,
    /// What the table of clones counts beyond the first reference.
    clones: u64,
    /// What tables of deduplicated blocks count.
    dedup: u64,
}

impl Group {
    fn add(&mut self, said: &Said) {
        let count = said.owner.object.0;
        self.visits += u64::from(said.source.is_visit());
        match said.source {
            Source::Pointer | Source::Dedup => {
                self.pointers += 1;
                if self.owners.len() < MOST_OWNERS && !self.owners.contains(&said.owner) {
                    self.owners.push(said.owner);
                }
            }
            Source::Checkpoint => self.checkpoint = true,
            Source::Moved | Source::Between | Source::Copy => self.uncounted = true,
            Source::CloneTable => return self.clones = self.clones.saturating_add(count),
            Source::DedupTable => return self.dedup = self.dedup.saturating_add(count),
            Source::CheckpointMap => return,
        }
        if !self.sizes.contains(&said.size) && self.sizes.len() < 8 {
            self.sizes.push(said.size);
        }
    }

    /// How many pointers there must be.
    fn expected(&self) -> u64 {
        self.dedup.max(1).saturating_add(self.clones)
    }
}

impl Checker<'_> {
    /// Compares the space that is allocated with that which is referenced.
    pub(super) fn space(&self, mos: &ObjectSet) {
        self.at_step(step::TABLES, |batch| {
            for result in [
                self.clone_tables(mos, batch),
                self.dedup_tables(mos, batch),
                self.checkpoint_maps(mos, batch),
                self.claim_copied(mos, batch),
            ] {
                if let Err(error) = result {
                    self.is_incomplete();
                    batch.failed(None, &error);
                }
            }
        });
        let result = self.unknown_references(mos);
        let mut batch = Batch::new(SPACE, MOS);
        batch.at_step(step::SPACE);
        let done = match result {
            Err(error) => Err(error),
            Ok(Some(reason)) => {
                batch.finding(Kind::NotChecked, None, format!("space was not compared: {reason}"));
                Ok(())
            }
            Ok(None) => self.compare_space(mos, &mut batch),
        };
        if let Err(error) = done {
            batch.failed(None, &error);
        }
        self.merge(batch);
    }

    fn compare_space(&self, mos: &ObjectSet, batch: &mut Batch) -> Result<(), Error> {
        let memory = (self.options.memory / LOGS_PART) as usize;
        let mut metaslabs = Metaslabs::new(self.pool, memory, &self.options.scratch)?;
        let claims = std::mem::replace(&mut *lock(&self.claims), Sorter::new(0, &self.options.scratch));
        let mut claims = Claims {
            sorted: self.claims_of(claims)?,
            checker: self,
            referenced: Referenced::default(),
            removed: (0, 0),
        };
        let complete = !self.incomplete.load(Ordering::Acquire);
        let mut unlisted = 0u64;
        loop {
            match metaslabs.next() {
                Ok(Some(metaslab)) => {
                    let lost = self.compare_metaslab(metaslab, &mut claims, complete, batch)?;
                    unlisted = unlisted.saturating_add(lost);
                }
                Ok(None) => break,
                Err(error) => batch.failed(None, &error),
            }
        }
        claims.outside(u32::MAX, u64::MAX, batch)?;
        if complete {
            self.compare_removed(mos, claims.referenced, batch)?;
        }
        for (object, fault) in metaslabs.take_faults() {
            batch.finding(Kind::SpaceMap, Some(object), fault);
        }
        if !complete {
            let message = format!(
                "{unlisted} bytes are allocated and not referenced by what can be read: what is lost may take them, and was not checked"
            );
            batch.finding(Kind::NotChecked, None, message);
        }
        Ok(())
    }

    fn claims_of(&self, claims: Sorter<WORDS>) -> Result<Sorted<WORDS>, Error> {
        claims.sorted().map_err(|source| Error::scratch(&self.options.scratch, source))
    }

    /// Compares one metaslab; gives the bytes that are allocated and not referenced, if not all could be read.
    fn compare_metaslab(
        &self,
        metaslab: Metaslab,
        claims: &mut Claims<'_>,
        complete: bool,
        batch: &mut Batch,
    ) -> Result<u64, Error> {
        let Metaslab { vdev, range, allocated: mut left, faults } = metaslab;
        for (object, fault) in faults {
            batch.finding(Kind::SpaceMap, Some(object), fault);
        }
        self.counts.allocated.fetch_add(left.bytes(), Ordering::Relaxed);
        claims.outside(vdev, range.start, batch)?;
        // What only the checkpoint has, as a map says; and as the checkpoint itself says.
        let mut kept = RangeSet::default();
        while let Some((offset, group)) = claims.group(vdev, range.end, &mut kept)? {
            self.compare_group(vdev, offset, &group, complete, batch);
            let Some(&size) = group.sizes.iter().max() else { continue };
            self.read_again(group.visits.saturating_sub(1).saturating_mul(size));
            let block = offset..offset.saturating_add(size);
            if let Err(part) = left.remove(block.clone()) {
                let owners = self.owners(&group);
                let message = format!("is referenced{owners}, and not allocated or by several blocks: {part:x?}");
                self.space_finding(Kind::DoublyAllocated, vdev, block.clone(), &message, &group, batch);
            }
            if group.checkpoint && group.pointers == 0 && !group.uncounted && kept.remove(block.clone()).is_err() {
                let message = "is referenced by the checkpoint only, but its map does not say so";
                self.space_finding(Kind::SpaceMap, vdev, block, message, &group, batch);
            }
        }
        for part in kept.iter() {
            if self.state == (State::Newest { knows_checkpoint: true }) {
                let message =
                    "is kept for the checkpoint according to its map, but the checkpoint does not reference it";
                self.space_finding(Kind::SpaceMap, vdev, part.clone(), message, &Group::default(), batch);
            }
            let _ = left.remove(part);
        }
        if !complete {
            return Ok(left.bytes());
        }
        for part in left.iter() {
            let message = "is allocated and not referenced";
            self.space_finding(Kind::Leaked, vdev, part, message, &Group::default(), batch);
        }
        Ok(0)
    }

    /// Notes that blocks were read again, as several references lead to them.
    fn read_again(&self, bytes: u64) {
        self.counts.repeated.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether what is said of one place holds together.
    fn compare_group(&self, vdev: u32, offset: u64, group: &Group, complete: bool, batch: &mut Batch) {
        let (size, expected) = (group.sizes.iter().max().copied().unwrap_or(0), group.expected());
        let block = offset..offset.saturating_add(size);
        let owners = self.owners(group);
        if group.sizes.len() > 1 {
            let message = format!("blocks of {:?} bytes begin there{owners}", group.sizes);
            self.space_finding(Kind::DoublyAllocated, vdev, block.clone(), &message, group, batch);
        }
        if group.uncounted && group.pointers > 0 {
            let message = format!("is a copy of one block and the only one of another{owners}");
            self.space_finding(Kind::DoublyAllocated, vdev, block.clone(), &message, group, batch);
        }
        let is_table = group.clones > 0 || group.dedup > 0;
        // Only the checkpoint, or only what was moved, may have it.
        let is_other = group.pointers == 0 && !is_table;
        if group.pointers == expected || is_other || (!complete && group.pointers < expected) {
            return;
        }
        let message = format!("is referenced {} times, expected {expected}{owners}", group.pointers);
        let kind = if is_table { Kind::References } else { Kind::DoublyAllocated };
        self.space_finding(kind, vdev, block, &message, group, batch);
    }

    fn space_finding(&self, kind: Kind, vdev: u32, range: Range<u64>, what: &str, group: &Group, batch: &mut Batch) {
        let message = format!("vdev {vdev}, {:#x}..{:#x} {what}", range.start, range.end);
        let owner = group.owners.first();
        batch.space_finding(kind, owner.map(|owner| (self.set_name(owner.set), owner.object)), message);
    }

    /// Who references a block, for messages.
    fn owners(&self, group: &Group) -> String {
        let owners: Vec<String> =
            group.owners.iter().map(|owner| format!("{}, object {}", self.set_name(owner.set), owner.object)).collect();
        if owners.is_empty() { String::new() } else { format!(" (by {})", owners.join("; ")) }
    }

    fn set_name(&self, set: u32) -> String {
        if set == MOS_SET {
            return MOS.to_owned();
        }
        let index = set.checked_sub(FIRST_DATASET).map(|index| index as usize);
        let names = lock(&self.names);
        index.and_then(|index| names.get(index).cloned()).unwrap_or_else(|| "another dataset".into())
    }

    /// The maps of the space that only the checkpoint has.
    fn checkpoint_maps(&self, mos: &ObjectSet, batch: &mut Batch) -> Result<(), Error> {
        for vdev in self.pool.vdevs().filter(|vdev| vdev.top_zap != 0 && vdev.metaslab_array != 0) {
            let map = mos.object(ObjectId(vdev.top_zap))?.zap()?.number("com.delphix:pool_checkpoint_sm")?;
            let Some(map) = map else { continue };
            let mut faults = 0u64;
            for_each_entry(mos, ObjectId(map), |entry| {
                let range = byte_range(&entry, vdev.ashift, 0).filter(|range| range.end <= vdev.asize);
                let Some(mut range) = range.filter(|_| entry.change == Change::Freed) else {
                    faults += 1;
                    return;
                };
                while range.start < range.end {
                    let size = (range.end - range.start).min(LONGEST);
                    let owner = Owner { set: MOS_SET, object: ObjectId(map) };
                    let said =
                        Said { vdev: vdev.id as u32, offset: range.start, size, source: Source::CheckpointMap, owner };
                    batch.claims.extend(said.pack());
                    range.start += size;
                }
                self.hand_on(batch);
            })?;
            if faults > 0 {
                let message = format!("{faults} entries of the checkpoint's map are beyond the vdev, or not freed");
                batch.finding(Kind::SpaceMap, Some(ObjectId(map)), message);
            }
        }
        Ok(())
    }

    /// Why not everything that is referenced was met, if so.
    fn unknown_references(&self, mos: &ObjectSet) -> Result<Option<String>, Error> {
        if let Some(id) = self.pool.directory_entry("bptree_obj")? {
            let object = mos.object(id)?;
            let word = |index| object.bonus_word(index, "tree of blocks");
            if word(0)? != word(1)? {
                return Ok(Some("datasets are being destroyed".into()));
            }
        }
        if let Some(id) = self.pool.directory_entry("com.delphix:deleted_clones")?
            && mos.object(id)?.zap()?.iter().next().is_some()
        {
            return Ok(Some("clones are being destroyed".into()));
        }
        Ok(None)
    }
}

/// Records about space in order.
struct Claims<'a> {
    sorted: Sorted<WORDS>,
    checker: &'a Checker<'a>,
    /// What is referenced of removed vdevs.
    referenced: Referenced,
    /// The place on a removed vdev that was met last.
    removed: (u32, u64),
}

impl Claims<'_> {
    fn next(&mut self) -> Result<Option<Said>, Error> {
        let next = self.sorted.next();
        Ok(next.map_err(|source| Error::scratch(&self.checker.options.scratch, source))?.as_ref().map(Said::unpack))
    }

    fn peek(&self) -> Option<Said> {
        self.sorted.peek().map(|record: &Claim| Said::unpack(record))
    }

    /// All that is said of the next place that is on the vdev and before `end`. The ranges that a checkpoint keeps are
    /// added to `kept`.
    fn group(&mut self, vdev: u32, end: u64, kept: &mut RangeSet) -> Result<Option<(u64, Group)>, Error> {
        let within = |said: &Said| said.vdev == vdev && said.offset < end;
        let mut group: Option<(u64, Group)> = None;
        while let Some(said) = self.peek().filter(within) {
            if group.as_ref().is_some_and(|(offset, _)| *offset != said.offset) {
                break;
            }
            self.next()?;
            if said.source == Source::CheckpointMap {
                // What is said twice is found when it is not there to be removed.
                let _ = kept.add(said.offset..said.offset.saturating_add(said.size));
                continue;
            }
            group.get_or_insert_with(|| (said.offset, Group::default())).1.add(&said);
        }
        Ok(group)
    }

    /// Passes over what is before a place, outside of all metaslabs.
    fn outside(&mut self, vdev: u32, offset: u64, batch: &mut Batch) -> Result<(), Error> {
        let mut by_vdev: BTreeMap<u32, u64> = BTreeMap::new();
        while self.peek().is_some_and(|said| (said.vdev, said.offset) < (vdev, offset)) {
            let Some(said) = self.next()? else { break };
            if !self.checker.is_indirect(said.vdev) {
                *by_vdev.entry(said.vdev).or_default() += 1;
                continue;
            }
            // What only the checkpoint references counts as obsolete. Several references may lead to one block.
            let is_first = (said.vdev, said.offset) >= self.removed;
            if is_first && said.source.is_reference() {
                self.referenced.add(self.checker.pool, said.vdev, said.offset, said.size);
                self.removed = (said.vdev, said.offset.saturating_add(said.size));
            } else if !is_first && said.source.is_visit() {
                self.checker.read_again(said.size);
            }
        }
        for (vdev, count) in by_vdev {
            let message = format!("vdev {vdev}: {count} references lead to space that is in no metaslab");
            batch.finding(Kind::DoublyAllocated, None, message);
        }
        Ok(())
    }
}
