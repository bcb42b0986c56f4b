//! Walking the block tree of an object.

use std::sync::Arc;

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bytes::ByteOrder;

use crate::block::order_of;
use crate::error::Error;
use crate::object::{Object, pointer_at};

/// The pointers to the data blocks of an object that are no holes.
pub struct Blocks(Walk);

impl Blocks {
    pub(crate) fn new(walk: Walk) -> Self {
        Self(walk)
    }
}

impl Iterator for Blocks {
    type Item = Result<(u64, BlockPointer), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next()? {
                Ok(visit) if visit.level > 0 => {}
                // In order: there are only more of these behind it.
                Ok(visit) if visit.number > self.0.object.dnode().max_block_id => return None,
                Ok(visit) => return Some(Ok((visit.number, visit.pointer))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A walk over the block tree of an object, from the top down and in order, past
/// blocks that cannot be read. Only the indirect blocks above the current place
/// are in memory.
pub struct Walk {
    object: Object,
    /// Where to begin.
    first: u64,
    frames: Vec<Frame>,
    /// The indirect block visited last, to be walked next.
    pending: Option<Visit>,
}

/// A pointer of a block tree that is no hole.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// The pointer.
    pub pointer: BlockPointer,
    /// Its level: 0 for data.
    pub level: u32,
    /// Number of the block among those of its level.
    pub number: u64,
}

struct Frame {
    pointers: Pointers,
    level: u32,
    /// Number of the first block that is pointed to.
    base: u64,
    next: u64,
}

enum Pointers {
    Top(Vec<BlockPointer>),
    Block(Arc<[u8]>, ByteOrder),
}

impl Walk {
    pub(crate) fn new(object: &Object, first: u64) -> Self {
        let mut walk = Self { object: object.clone(), first, frames: Vec::new(), pending: None };
        let top = u32::from(object.dnode().levels) - 1;
        walk.push(Pointers::Top(object.dnode().pointers.clone()), top, 0);
        walk
    }

    fn push(&mut self, pointers: Pointers, level: u32, base: u64) {
        let bits = self.object.indirect_bits() * level;
        let first = self.first.checked_shr(bits).unwrap_or(0);
        self.frames.push(Frame { pointers, level, base, next: first.saturating_sub(base) });
    }

    fn enter(&mut self, visit: Visit) -> Result<(), Error> {
        let block = self.object.indirect_block(&visit.pointer, visit.level)?;
        let bits = self.object.indirect_bits();
        let base = visit.number.checked_shl(bits).filter(|base| base >> bits == visit.number);
        // Numbers that do not fit 64 bits belong to no block.
        if let Some(base) = base {
            let order = order_of(&visit.pointer);
            self.push(Pointers::Block(block, order), visit.level - 1, base);
        }
        Ok(())
    }
}

impl Frame {
    fn pointer(&self) -> Option<Result<BlockPointer, Error>> {
        let index = self.next as usize;
        match &self.pointers {
            Pointers::Top(pointers) => pointers.get(index).copied().map(Ok),
            Pointers::Block(block, order) => {
                (index < block.len() / blkptr::SIZE).then(|| pointer_at(block, *order, index))
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Result<Visit, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(visit) = self.pending.take()
            && let Err(error) = self.enter(visit)
        {
            return Some(Err(self.object.failed(error)));
        }
        loop {
            let frame = self.frames.last_mut()?;
            let Some(pointer) = frame.pointer() else {
                self.frames.pop();
                continue;
            };
            let Some(number) = frame.base.checked_add(frame.next) else {
                self.frames.pop();
                continue;
            };
            frame.next += 1;
            let level = frame.level;
            match pointer {
                Ok(pointer) if pointer.is_hole() => {}
                Ok(pointer) => {
                    let visit = Visit { pointer, level, number };
                    self.pending = Some(visit).filter(|_| level > 0);
                    return Some(Ok(visit));
                }
                Err(error) => return Some(Err(self.object.failed(error))),
            }
        }
    }
}
