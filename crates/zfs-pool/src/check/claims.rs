//! Which space is referenced, against which is allocated.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bpobj::Header;
use zfs_ondisk::bytes::View;
use zfs_ondisk::object::ObjectId;

use super::{Checker, Finding, Kind};
use crate::block::{GANG_HEADER_SIZE, order_of};
use crate::error::Error;
use crate::object::ObjectSet;
use crate::pool::{MOS, Pool};
use crate::space::{RangeSet, allocated};

/// A reference to space: vdev, offset, length.
type Claim = (u32, u64, u64);

/// All references that were met.
#[derive(Default)]
pub(super) struct Claims {
    all: Vec<Claim>,
    /// Those to deduplicated blocks, which any number of pointers lead to.
    dedup: Vec<Claim>,
}

impl Claims {
    /// Notes that a block is referenced.
    pub(super) fn claim(&mut self, pool: &Pool, pointer: &BlockPointer) {
        let mut parts_claimed = false;
        for dva in pointer.dvas() {
            // What is allocated for the parts counts as the header's, too.
            let header = GANG_HEADER_SIZE as u64;
            let size = match pool.vdev(dva.vdev) {
                Some(vdev) if dva.gang => vdev.allocated_size(header, pointer.physical_birth()),
                _ if dva.gang => header,
                _ => dva.asize,
            };
            let claim = (dva.vdev, dva.offset, size);
            if pointer.is_dedup() { &mut self.dedup } else { &mut self.all }.push(claim);
            // All copies of the header lead to the same parts.
            if dva.gang && !parts_claimed {
                for part in pool.gang_parts(pointer, dva).unwrap_or_default() {
                    parts_claimed = true;
                    self.claim(pool, &part);
                }
            }
        }
    }
}

impl Checker<'_> {
    /// Compares the space that is allocated with that which is referenced.
    pub(super) fn space(&mut self, mos: &ObjectSet) {
        let pool = self.pool;
        for name in ["sync_bplist", "free_bpobj"] {
            if let Err(error) = self.claim_list(mos, name) {
                self.failed(MOS, None, &error);
            }
        }
        if let Some(reason) = self.unknown_references() {
            self.finding(Kind::NotChecked, MOS, None, format!("space was not compared: {reason}"));
            return;
        }
        let allocated = match allocated(pool) {
            Ok(allocated) => allocated,
            Err(error) => return self.failed(MOS, None, &error),
        };
        for (object, fault) in allocated.faults {
            self.finding(Kind::SpaceMap, MOS, Some(object), fault);
        }
        self.report.allocated = allocated.vdevs.values().map(RangeSet::bytes).sum();
        let cloned = match cloned_blocks(pool, mos) {
            Ok(cloned) => cloned,
            Err(error) => {
                self.failed(MOS, None, &error);
                HashMap::new()
            }
        };
        let mut left = allocated.vdevs;
        for (claim, times) in self.take_claims() {
            let allowed = 1 + cloned.get(&(claim.0, claim.1)).copied().unwrap_or(0);
            let range = claim.1..claim.1.saturating_add(claim.2);
            if times != allowed {
                let message = format!("is referenced {times} times, expected {allowed}");
                self.space_finding(Kind::DoublyAllocated, claim.0, range.clone(), &message);
            }
            let removed = match left.get_mut(&claim.0) {
                Some(set) => set.remove(range.clone()).map_err(|part| format!("{part:x?}")),
                None => Err("there are no metaslabs".into()),
            };
            if let Err(part) = removed {
                let message = format!("is referenced, and not allocated or by several blocks: {part}");
                self.space_finding(Kind::DoublyAllocated, claim.0, range, &message);
            }
        }
        for (vdev, set) in left {
            for range in set.iter() {
                self.space_finding(Kind::Leaked, vdev, range, "is allocated and not referenced");
            }
        }
    }

    fn space_finding(&mut self, kind: Kind, vdev: u32, range: Range<u64>, what: &str) {
        let message = format!("vdev {vdev}, {:#x}..{:#x} {what}", range.start, range.end);
        self.add(Finding { kind, dataset: None, object: None, path: None, message });
    }

    /// Every claim with the number of times that it was made; once for those to
    /// deduplicated blocks.
    fn take_claims(&mut self) -> Vec<(Claim, u64)> {
        let mut claims = std::mem::take(&mut self.claims);
        claims.dedup.sort_unstable();
        claims.dedup.dedup();
        claims.all.append(&mut claims.dedup);
        claims.all.sort_unstable();
        claims.all.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as u64)).collect()
    }

    /// Why not everything that is referenced was met, if so.
    fn unknown_references(&self) -> Option<String> {
        let states = [
            ("com.delphix:zpool_checkpoint", "the pool has a checkpoint"),
            ("com.delphix:removing", "a vdev is being removed"),
            ("bptree_obj", "datasets are being destroyed"),
            ("com.delphix:deleted_clones", "clones are being destroyed"),
        ];
        states.into_iter().find_map(|(name, reason)| match self.pool.directory_entry(name) {
            Ok(None) => None,
            Ok(Some(id)) => self.is_in_use(id, name).then(|| reason.to_owned()),
            Err(error) => Some(error.to_string()),
        })
    }

    /// Whether one of these states is more than a leftover.
    fn is_in_use(&self, id: ObjectId, name: &str) -> bool {
        let in_use = || -> Result<bool, Error> {
            let object = self.pool.mos()?.object(id)?;
            match name {
                "bptree_obj" => {
                    let word = |index: usize| object.bonus().u64(index * 8).map_err(Error::truncated("tree of blocks"));
                    Ok(word(0)? != word(1)?)
                }
                "com.delphix:deleted_clones" => Ok(object.zap()?.iter().next().is_some()),
                _ => Ok(true),
            }
        };
        in_use().unwrap_or(true)
    }

    /// Claims the blocks of a list: freed, but not yet free.
    fn claim_list(&mut self, mos: &ObjectSet, name: &str) -> Result<(), Error> {
        let Some(id) = self.pool.directory_entry(name)? else { return Ok(()) };
        for_each_in_list(mos, id, &mut HashSet::new(), &mut |pointer| self.claims.claim(self.pool, pointer))
    }
}

/// The header of a list of block pointers.
pub(super) fn list_header(mos: &ObjectSet, id: ObjectId) -> Result<Header, Error> {
    let object = mos.object(id)?;
    Header::read(&object.bonus())
        .map_err(Error::truncated("header of a list of blocks"))
        .map_err(|error| object.failed(error))
}

/// Calls `each` with the pointers of a list and of all lists in it, those `seen`
/// before left out: many lists contain the same empty one.
pub(super) fn for_each_in_list(
    mos: &ObjectSet,
    id: ObjectId,
    seen: &mut HashSet<ObjectId>,
    each: &mut impl FnMut(&BlockPointer),
) -> Result<(), Error> {
    if !seen.insert(id) {
        return Ok(());
    }
    let header = list_header(mos, id)?;
    let object = mos.object(id)?;
    let malformed =
        |what, found: u64, expected| object.failed(Error::Malformed { what, found: found.to_string(), expected });
    let mut left = header.pointers;
    for found in object.blocks() {
        let (number, pointer) = found?;
        let contents = object.read_block(number)?;
        let view = View::new(&contents, order_of(&pointer));
        for index in 0..(contents.len() / blkptr::SIZE).min(usize::try_from(left).unwrap_or(usize::MAX)) {
            let pointer =
                BlockPointer::read(&view, index * blkptr::SIZE).map_err(Error::truncated("list of blocks"))?;
            each(&pointer);
            left -= 1;
        }
    }
    if left != 0 {
        return Err(malformed("length of a list of blocks", header.pointers, "no more than its blocks hold"));
    }
    if header.sublists == 0 {
        return Ok(());
    }
    let sublists = mos.object(ObjectId(header.sublists))?;
    let mut word = [0; 8];
    for index in 0..header.sublist_count {
        // A list of 2^60 would end here, too: what is not written is object 0.
        sublists.read_at(index * 8, &mut word)?;
        let order = order_of(&sublists.block_pointer(index * 8 / sublists.dnode().data_block_size() as u64)?);
        let id = View::new(&word, order).u64(0).map_err(Error::truncated("list of lists"))?;
        for_each_in_list(mos, ObjectId(id), seen, each)?;
    }
    Ok(())
}

/// How many more references there are to blocks that were cloned, by vdev and
/// offset: the block reference tables.
fn cloned_blocks(pool: &Pool, mos: &ObjectSet) -> Result<HashMap<(u32, u64), u64>, Error> {
    let mut cloned = HashMap::new();
    let mut tables = BTreeMap::new();
    for vdev in pool.vdevs() {
        let name = format!("com.fudosecurity:brt:vdev:{}", vdev.id);
        if let Some(id) = pool.directory_entry(&name)? {
            tables.insert(vdev.id as u32, id);
        }
    }
    for (vdev, id) in tables {
        let object = mos.object(id)?;
        let entries = object.bonus().u64(0).map_err(Error::truncated("block reference table"))?;
        if entries == 0 {
            continue;
        }
        for entry in mos.object(ObjectId(entries))?.zap()?.iter() {
            let entry = entry?;
            let key: Option<[u8; 8]> = entry.name.as_slice().try_into().ok();
            // The count is an integer, or its bytes as they are in memory.
            let count = match (entry.integer_size, entry.bytes()) {
                (1, Some(bytes)) => bytes.try_into().ok().map(u64::from_le_bytes),
                _ => entry.number(),
            };
            if let (Some(key), Some(count)) = (key, count) {
                cloned.insert((vdev, u64::from_be_bytes(key)), count);
            }
        }
    }
    Ok(cloned)
}
