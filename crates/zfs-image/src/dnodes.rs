//! The array of dnodes of an object set, written in the order of its objects.

use zfs_ondisk::dnode::{BLOCK_SIZE, Dnode, SLOT_SIZE, SLOTS_PER_BLOCK};
use zfs_ondisk::object::{ObjectId, ObjectType};

use crate::block::{Address, Policies};
use crate::block_tree::BlockTree;
use crate::error::Error;
use crate::store::Store;

/// The dnodes of an object set: one block of them under way.
pub(crate) struct DnodeArray {
    policies: Policies,
    tree: BlockTree,
    block: Vec<u8>,
    /// Dnodes in the block.
    fill: u64,
}

impl DnodeArray {
    pub(crate) fn new(policies: Policies) -> Self {
        let tree = BlockTree::new(ObjectType::DNODE, policies);
        Self { policies, tree, block: vec![0; BLOCK_SIZE], fill: 0 }
    }

    /// Adds the dnode of `object`, which comes after all that were added before.
    pub(crate) fn put(&mut self, store: &mut Store<'_>, object: ObjectId, dnode: &Dnode) -> Result<(), Error> {
        let block = object.0 / SLOTS_PER_BLOCK as u64;
        while self.tree.count() < block {
            self.flush(store)?;
        }
        let slot = object.0 as usize % SLOTS_PER_BLOCK;
        dnode.write(&mut self.block[slot * SLOT_SIZE..]);
        self.fill += 1;
        Ok(())
    }

    /// Completes the array: its own dnode.
    pub(crate) fn finish(mut self, store: &mut Store<'_>) -> Result<Dnode, Error> {
        self.flush(store)?;
        let finished = self.tree.finish(store)?;
        let mut dnode = Dnode::new(ObjectType::DNODE, BLOCK_SIZE);
        finished.describe(&mut dnode);
        dnode.fill_pointers();
        Ok(dnode)
    }

    fn flush(&mut self, store: &mut Store<'_>) -> Result<(), Error> {
        let policy = self.policies.of(ObjectType::DNODE, 0);
        let block = self.tree.count();
        let address = Address { object_type: ObjectType::DNODE, level: 0, object: ObjectId(0), block };
        let pointer = store.write(&policy, address, self.fill, &self.block)?;
        self.block.fill(0);
        self.fill = 0;
        self.tree.push(store, pointer)
    }
}
