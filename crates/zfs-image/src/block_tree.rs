//! The tree of indirect blocks over an object's data, made in one pass.

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::dnode::{Dnode, INDIRECT_SHIFT};
use zfs_ondisk::object::{ObjectId, ObjectType};

use crate::block::{Address, Policies};
use crate::error::Error;
use crate::store::Store;

/// Pointers in an indirect block.
const FANOUT: usize = 1 << (INDIRECT_SHIFT as usize - 7);

/// The pointers of an object that are not yet in an indirect block on the
/// device: less than one block of them a level.
pub(crate) struct BlockTree {
    object_type: ObjectType,
    policies: Policies,
    levels: Vec<Vec<BlockPointer>>,
    count: u64,
    allocated: u64,
}

/// A finished tree, for the dnode of its object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) top: BlockPointer,
    pub(crate) levels: u8,
    /// The largest block id.
    pub(crate) max_block_id: u64,
    /// Space that data and indirect blocks use.
    pub(crate) allocated: u64,
}

impl Finished {
    /// Writes the tree into the dnode of its object.
    pub(crate) fn describe(&self, dnode: &mut Dnode) {
        dnode.pointers = vec![self.top];
        dnode.levels = self.levels;
        dnode.max_block_id = self.max_block_id;
        dnode.used += self.allocated;
    }
}

impl BlockTree {
    /// An empty tree whose indirect blocks are stored by `policies`.
    pub(crate) fn new(object_type: ObjectType, policies: Policies) -> Self {
        Self { object_type, policies, levels: vec![Vec::new()], count: 0, allocated: 0 }
    }

    /// Adds the pointer to the next block of data.
    pub(crate) fn push(&mut self, store: &mut Store<'_>, pointer: BlockPointer) -> Result<(), Error> {
        self.count += 1;
        self.add(store, 0, pointer)
    }

    /// Adds `count` holes. Whole indirect blocks of holes are not made.
    pub(crate) fn push_holes(&mut self, store: &mut Store<'_>, count: u64) -> Result<(), Error> {
        self.count += count;
        self.add_holes(store, 0, count)
    }

    /// The type of the object.
    pub(crate) fn object_type(&self) -> ObjectType {
        self.object_type
    }

    /// Blocks added so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Completes the tree.
    pub(crate) fn finish(mut self, store: &mut Store<'_>) -> Result<Finished, Error> {
        let mut level = 0;
        while level + 1 < self.levels.len() || self.levels[level].len() > 1 {
            if !self.levels[level].is_empty() {
                self.flush(store, level)?;
            }
            level += 1;
        }
        Ok(Finished {
            top: self.levels[level].first().copied().unwrap_or(BlockPointer::HOLE),
            levels: level as u8 + 1,
            max_block_id: self.count.saturating_sub(1),
            allocated: self.allocated,
        })
    }

    fn add(&mut self, store: &mut Store<'_>, level: usize, pointer: BlockPointer) -> Result<(), Error> {
        self.make_room(store, level)?;
        self.allocated += store.shape().used_by(&pointer);
        self.levels[level].push(pointer);
        Ok(())
    }

    fn add_holes(&mut self, store: &mut Store<'_>, level: usize, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            self.make_room(store, level)?;
            let pending = &mut self.levels[level];
            if pending.is_empty() && count > FANOUT as u64 {
                let whole = (count - 1) / FANOUT as u64;
                self.add_level(level + 1);
                self.add_holes(store, level + 1, whole)?;
                count -= whole * FANOUT as u64;
                continue;
            }
            let some = count.min((FANOUT - pending.len()) as u64);
            pending.resize(pending.len() + some as usize, BlockPointer::HOLE);
            count -= some;
        }
        Ok(())
    }

    /// A full block of pointers is written when the next pointer comes, so that
    /// the last block of a level is there when the tree is finished.
    fn make_room(&mut self, store: &mut Store<'_>, level: usize) -> Result<(), Error> {
        if self.levels[level].len() == FANOUT { self.flush(store, level) } else { Ok(()) }
    }

    fn flush(&mut self, store: &mut Store<'_>, level: usize) -> Result<(), Error> {
        self.add_level(level + 1);
        let pointers = std::mem::take(&mut self.levels[level]);
        let fill = pointers.iter().map(BlockPointer::fill).sum();
        let indirect = if pointers.iter().all(BlockPointer::is_hole) {
            BlockPointer::HOLE
        } else {
            let mut block = vec![0; FANOUT * blkptr::SIZE];
            for (index, pointer) in pointers.iter().enumerate() {
                pointer.write(&mut block, index * blkptr::SIZE);
            }
            let above = level as u8 + 1;
            let address = Address { object_type: self.object_type, level: above, object: ObjectId(0), block: 0 };
            store.write(&self.policies.of(self.object_type, above), address, fill, &block)?
        };
        self.add(store, level + 1, indirect)
    }

    fn add_level(&mut self, level: usize) {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
    }
}
