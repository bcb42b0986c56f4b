//! Writes small tables as objects.

use zfs_ondisk::dnode::Dnode;
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::zap::{Params, ZapContents};

use crate::block::{Address, Policies};
use crate::block_tree::BlockTree;
use crate::error::Error;
use crate::store::Store;

/// Writes the blocks of a table: the dnode of its object.
pub(crate) fn write(
    store: &mut Store<'_>,
    policies: &Policies,
    (object, object_type): (ObjectId, ObjectType),
    contents: &ZapContents,
    params: Params,
) -> Result<Dnode, Error> {
    let table = contents.blocks(params).map_err(|source| Error::Zap { object: object_type.to_string(), source })?;
    write_blocks(store, policies, (object, object_type), table.block_size, table.blocks.iter().map(Vec::as_slice))
}

/// Writes the blocks of an object: its dnode.
pub(crate) fn write_blocks<'b>(
    store: &mut Store<'_>,
    policies: &Policies,
    (object, object_type): (ObjectId, ObjectType),
    block_size: usize,
    blocks: impl Iterator<Item = &'b [u8]>,
) -> Result<Dnode, Error> {
    let mut tree = BlockTree::new(object_type, *policies);
    for (number, block) in (0..).zip(blocks) {
        let address = Address { object_type, level: 0, object, block: number };
        let pointer = store.write(&policies.of(object_type, 0), address, 1, block)?;
        tree.push(store, pointer)?;
    }
    let mut dnode = Dnode::new(object_type, block_size);
    tree.finish(store)?.describe(&mut dnode);
    Ok(dnode)
}
