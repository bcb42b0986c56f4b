//! Lists of block pointers: what is to be freed, deadlists, livelists.

use std::collections::HashSet;

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bpobj::{DeadlistHeader, Header};
use zfs_ondisk::bytes::View;
use zfs_ondisk::object::{ObjectId, ObjectType};

use super::Checker;
use super::MOS_SET;
use super::batch::{Batch, step};
use super::claims::{Owner, claim};
use super::findings::Kind;
use super::totals::Space;
use crate::block::order_of;
use crate::error::Error;
use crate::object::ObjectSet;

/// The bit of the fill count of a pointer in a livelist that says that the block was freed (`BP_GET_FREE`).
const FREED: u64 = 1;

/// What a deadlist, or a livelist, is made of.
#[derive(Default)]
pub(super) struct Deadlist {
    /// What its blocks take.
    pub(super) total: Space,
    /// Its lists: the transaction group after which the blocks of one were born, and what they take.
    pub(super) parts: Vec<(u64, Space)>,
}

impl Deadlist {
    /// Bytes allocated by the blocks born after a transaction group. A list has those born after its own and until
    /// that of the next one.
    pub(super) fn born_after(&self, txg: u64) -> u64 {
        self.parts.iter().filter(|(since, _)| *since >= txg).map(|(_, space)| space.used).fold(0, u64::wrapping_add)
    }
}

impl Checker<'_> {
    /// Claims the blocks that are freed, but not yet free.
    pub(super) fn deferred_frees(&self, mos: &ObjectSet) {
        for (step, name) in (step::LISTS..).zip(["sync_bplist", "free_bpobj"]) {
            self.at_step(step, |batch| {
                let owner = |id| Owner { set: MOS_SET, object: id };
                let result = self.pool.directory_entry(name).and_then(|id| match id {
                    Some(id) => for_each_in_list(mos, id, &mut HashSet::new(), &mut |pointer| {
                        claim(self.pool, pointer, owner(id), &mut batch.claims);
                        self.hand_on(batch);
                    }),
                    None => Ok(()),
                });
                if let Err(error) = result {
                    batch.failed(None, &error);
                }
            });
        }
    }

    /// Compares the totals of a deadlist with those of its lists, and theirs with their blocks. Where one list is all,
    /// as it was before pool version 26, it is taken for two: of the blocks born until `split`, and after it.
    pub(super) fn deadlist(
        &self,
        mos: &ObjectSet,
        id: ObjectId,
        split: u64,
        batch: &mut Batch,
    ) -> Result<Deadlist, Error> {
        if mos.object(id)?.dnode().bonus_type == ObjectType::DEADLIST_HDR {
            return self.lists_by_birth(mos, id, false, batch);
        }
        let mut after = Space::default();
        let total = self.list(mos, id, false, batch, |pointer, space| {
            if pointer.birth() > split {
                after.add(space);
            }
        })?;
        Ok(Deadlist { total, parts: vec![(0, total.less(after)), (split, after)] })
    }

    /// The same of a deadlist of several lists, or of a livelist: `signed`, as what was freed counts less there.
    pub(super) fn lists_by_birth(
        &self,
        mos: &ObjectSet,
        id: ObjectId,
        signed: bool,
        batch: &mut Batch,
    ) -> Result<Deadlist, Error> {
        let object = mos.object(id)?;
        let header = DeadlistHeader::read(&object.bonus()).map_err(Error::truncated("header of a deadlist"))?;
        let recorded = Space { used: header.used, compressed: header.compressed, uncompressed: header.uncompressed };
        let mut deadlist = Deadlist::default();
        for entry in object.zap()?.iter() {
            let entry = entry?;
            // The key is the number itself, in memory as a word and here as text.
            let since = std::str::from_utf8(&entry.name).ok().and_then(|name| u64::from_str_radix(name, 16).ok());
            let Some(since) = since else {
                let message = format!("{:?} is no transaction group", String::from_utf8_lossy(&entry.name));
                batch.finding(Kind::Dataset, Some(id), message);
                continue;
            };
            let space = self.list(mos, ObjectId(entry.number().unwrap_or(0)), signed, batch, |_, _| ())?;
            deadlist.parts.push((since, space));
            deadlist.total.add(space);
        }
        if deadlist.total != recorded {
            let message = format!("the deadlist says {recorded:?}, its lists {:?}", deadlist.total);
            batch.finding(Kind::Accounting, Some(id), message);
        }
        Ok(deadlist)
    }

    /// Compares the totals of a list with its blocks, each of which is handed to `each`, and gives them as recorded.
    fn list(
        &self,
        mos: &ObjectSet,
        id: ObjectId,
        signed: bool,
        batch: &mut Batch,
        mut each: impl FnMut(&BlockPointer, Space),
    ) -> Result<Space, Error> {
        let mut sum = Space::default();
        for_each_in_list(mos, id, &mut HashSet::new(), &mut |pointer| {
            let space = Space::of(self.pool, pointer);
            each(pointer, space);
            if signed && pointer.fill() & FREED != 0 { sum = sum.less(space) } else { sum.add(space) }
        })?;
        let header = list_header(mos, id)?;
        let recorded = Space { used: header.used, compressed: header.compressed, uncompressed: header.uncompressed };
        if sum != recorded {
            let message = format!("the list of blocks says {recorded:?}, its blocks take {sum:?}");
            batch.finding(Kind::Accounting, Some(id), message);
        }
        Ok(recorded)
    }
}

/// The header of a list of block pointers.
fn list_header(mos: &ObjectSet, id: ObjectId) -> Result<Header, Error> {
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
    // Lists in lists in lists, without end for all that a damaged pool may say.
    let mut waiting = vec![id];
    seen.insert(id);
    while let Some(id) = waiting.pop() {
        let header = list_header(mos, id)?;
        let object = mos.object(id)?;
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
            let found = header.pointers.to_string();
            let what = "length of a list of blocks";
            return Err(object.failed(Error::Malformed { what, found, expected: "no more than its blocks hold" }));
        }
        if header.sublists == 0 {
            continue;
        }
        let sublists = mos.object(ObjectId(header.sublists))?;
        let mut word = [0; 8];
        let first = waiting.len();
        for index in 0..header.sublist_count {
            // A list of 2^60 would end here, too: what is not written is object 0.
            sublists.read_at(index * 8, &mut word)?;
            let order = order_of(&sublists.block_pointer(index * 8 / sublists.dnode().data_block_size() as u64)?);
            let id = View::new(&word, order).u64(0).map_err(Error::truncated("list of lists"))?;
            if id == 0 {
                let error =
                    Error::Malformed { what: "number of a list in a list", found: "0".into(), expected: "an object" };
                return Err(sublists.failed(error));
            }
            if seen.insert(ObjectId(id)) {
                waiting.push(ObjectId(id));
            }
        }
        if let Some(added) = waiting.get_mut(first..) {
            added.reverse();
        }
    }
    Ok(())
}
