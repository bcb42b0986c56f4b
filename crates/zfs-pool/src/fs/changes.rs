//! Which objects differ between two states of an object set, found without reading what they have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::dnode;
use zfs_ondisk::object::ObjectId;

use crate::block::order_of;
use crate::error::Error;
use crate::object::{Object, ObjectSet, pointer_at, slots_at, slots_per_block};

/// The numbers of the objects whose dnodes differ between two object sets, in order. A dnode has the pointers to all
/// that belongs to its object, so that no other object differs.
///
/// A block that both have in common is at the same place and has the same birth in both, and is not read. That makes it
/// fast between a snapshot and what became of it; between strangers it finds nearly all objects.
///
/// # Errors
/// If a block of dnodes, or an indirect block that leads to it, cannot be read.
pub fn changed_objects(older: &ObjectSet, newer: &ObjectSet) -> Result<Vec<ObjectId>, Error> {
    let (a, b) = (older.meta(), newer.meta());
    let mut changed = Vec::new();
    for block in changed_blocks(&a, &b)? {
        let first = block.saturating_mul(slots_per_block(a.dnode()));
        let (old, new) = (dnodes(&a, block)?, dnodes(&b, block)?);
        let slots = old.keys().chain(new.keys().filter(|slot| !old.contains_key(*slot)));
        let start = changed.len();
        changed.extend(
            slots.filter(|slot| old.get(*slot) != new.get(*slot)).map(|slot| ObjectId(first.saturating_add(*slot))),
        );
        changed[start..].sort_unstable();
    }
    Ok(changed)
}

/// The dnodes in a block of an array of dnodes, by their slots.
fn dnodes(meta: &Object, block: u64) -> Result<BTreeMap<u64, Vec<u8>>, Error> {
    let mut found = BTreeMap::new();
    let pointer = meta.block_pointer(block)?;
    if pointer.is_hole() {
        return Ok(found);
    }
    let contents = meta.read_block(block)?;
    let view = View::new(&contents, order_of(&pointer));
    let mut slot = 0;
    while slot < contents.len() / dnode::SLOT_SIZE {
        let slots = slots_at(&view, slot).map_err(|error| meta.failed(error))?;
        let bytes = view
            .bytes(slot * dnode::SLOT_SIZE, slots * dnode::SLOT_SIZE)
            .map_err(Error::truncated("block of dnodes"))
            .map_err(|error| meta.failed(error))?;
        if bytes[0] != 0 {
            found.insert(slot as u64, bytes.to_vec());
        }
        slot += slots;
    }
    Ok(found)
}

/// The data blocks of two objects that are not the same, by number.
fn changed_blocks(a: &Object, b: &Object) -> Result<Vec<u64>, Error> {
    let shape = |object: &Object| (object.dnode().data_block_sectors, object.dnode().indirect_shift);
    if shape(a) != shape(b) {
        return Err(a.failed(Error::Malformed {
            what: "size of the blocks of dnodes",
            found: a.dnode().data_block_size().to_string(),
            expected: "that of the other dataset",
        }));
    }
    let bits = a.indirect_bits();
    let top = u32::from(a.dnode().levels.max(b.dnode().levels));
    let mut changed = Vec::new();
    let mut pending = vec![Pair { a: Node::Top, b: Node::Top, level: top, number: 0 }];
    while let Some(pair) = pending.pop() {
        if let (Node::Pointer(a), Node::Pointer(b)) = (&pair.a, &pair.b)
            && a == b
        {
            continue;
        }
        if pair.level == 0 {
            // What is behind the last block of both is none of theirs.
            if pair.number > a.dnode().max_block_id.max(b.dnode().max_block_id) {
                continue;
            }
            changed.push(pair.number);
            continue;
        }
        let (ours, theirs) = (children(a, &pair.a, pair.level)?, children(b, &pair.b, pair.level)?);
        // The first one is to be next.
        for index in (0..ours.len().max(theirs.len())).rev() {
            let number = (pair.number << bits) + index as u64;
            let (a, b) = (ours.node(a, index)?, theirs.node(b, index)?);
            let same = matches!((&a, &b), (Node::Pointer(a), Node::Pointer(b)) if a == b);
            if !same {
                pending.push(Pair { a, b, level: pair.level - 1, number });
            }
        }
    }
    Ok(changed)
}

/// A place in both block trees.
struct Pair {
    a: Node,
    b: Node,
    level: u32,
    number: u64,
}

enum Node {
    /// A block, or a hole.
    Pointer(BlockPointer),
    /// A level above all blocks of the object: the dnode, or what would be there if the tree were higher.
    Top,
}

enum Children {
    None,
    Top,
    Pointers(Vec<BlockPointer>),
    Block(Arc<[u8]>, ByteOrder),
}

fn children(object: &Object, node: &Node, level: u32) -> Result<Children, Error> {
    Ok(match node {
        Node::Top if level == u32::from(object.dnode().levels) => Children::Pointers(object.dnode().pointers.clone()),
        Node::Top => Children::Top,
        Node::Pointer(pointer) if pointer.is_hole() => Children::None,
        Node::Pointer(pointer) => {
            let block = object.indirect_block(pointer, level).map_err(|error| object.failed(error))?;
            Children::Block(block, order_of(pointer))
        }
    })
}

impl Children {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Top => 1,
            Self::Pointers(pointers) => pointers.len(),
            Self::Block(block, _) => block.len() / zfs_ondisk::blkptr::SIZE,
        }
    }

    fn node(&self, object: &Object, index: usize) -> Result<Node, Error> {
        Ok(match self {
            Self::Top if index == 0 => Node::Top,
            Self::Pointers(pointers) if index < pointers.len() => Node::Pointer(pointers[index]),
            Self::Block(block, order) if index < self.len() => {
                Node::Pointer(pointer_at(block, *order, index).map_err(|error| object.failed(error))?)
            }
            _ => Node::Pointer(BlockPointer::HOLE),
        })
    }
}
