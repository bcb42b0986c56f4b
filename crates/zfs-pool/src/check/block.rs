//! Blocks one by one: which copies are bad, and where.

use std::sync::atomic::Ordering;

use zfs_ondisk::blkptr::BlockPointer;

use super::Checker;
use super::batch::{Batch, kind_of};
use super::findings::{BlockPlace, CopyPlace, Kind};
use crate::block::BadCopy;
use crate::error::Error;
use crate::object::Object;

impl Checker<'_> {
    /// Tells what came of reading all copies of a block; gives whether one of them is good.
    pub(super) fn tell_copies(
        &self,
        object: &Object,
        place: &BlockPlace,
        result: Result<Vec<BadCopy>, Error>,
        batch: &mut Batch,
    ) -> bool {
        let pointer = &place.pointer;
        let error = match result {
            Err(error) => error,
            Ok(bad) => {
                let copies = self.copies(bad);
                if !copies.is_empty() {
                    let what = if copies.len() == 1 { "a copy is bad" } else { "copies are bad" };
                    let message = format!("{pointer:?}: {what}");
                    batch.block_finding(Kind::BadCopy, object.id(), *place, copies, message);
                }
                return true;
            }
        };
        let kind = kind_of(&error);
        let (message, copies) = match error {
            Error::Unreadable { copies, .. } if !copies.is_empty() => {
                (format!("{pointer:?}: no copy can be read"), self.copies(copies))
            }
            error => (error.to_string(), Vec::new()),
        };
        batch.block_finding(kind, object.id(), *place, copies, message);
        false
    }

    /// Where bad copies are. Those on devices that were away are counted only: that they were is told once.
    fn copies(&self, bad: Vec<BadCopy>) -> Vec<CopyPlace> {
        let is_away = |copy: &BadCopy| {
            let away = copy.place.as_ref().and_then(|place| self.away.get(&place.guid));
            away.inspect(|count| _ = count.fetch_add(1, Ordering::Relaxed)).is_some()
        };
        let place = |copy: BadCopy| CopyPlace {
            vdev: copy.vdev,
            offset: copy.offset,
            device: copy.place.map(|place| (place.name, place.offset)),
            fault: copy.fault,
        };
        bad.into_iter().filter(|copy| !is_away(copy)).map(place).collect()
    }
}

/// A block of an object, not its spill block.
pub(super) fn place_of(object: &Object, pointer: &BlockPointer, level: u32, number: u64) -> BlockPlace {
    let size = object.dnode().data_block_size() as u64;
    let blocks = 1u64.checked_shl(object.indirect_bits() * level).unwrap_or(u64::MAX);
    BlockPlace {
        level,
        number: Some(number),
        offset: number.saturating_mul(blocks).saturating_mul(size),
        length: blocks.saturating_mul(size),
        pointer: *pointer,
    }
}
