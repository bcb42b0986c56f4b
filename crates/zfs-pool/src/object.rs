//! Object sets and objects.

use std::sync::Arc;

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::dnode::{self, Dnode};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::objset;

use crate::block::{BadCopy, order_of};
use crate::crypt::{Access, Lock};
use crate::error::Error;
use crate::pool::Pool;
use crate::walk::{Blocks, Walk};
use crate::zap::Zap;

/// An object set: the MOS, a file system, a volume, or a snapshot of one.
/// Clones share everything.
#[derive(Clone)]
pub struct ObjectSet(Arc<Inner>);

struct Inner {
    pool: Pool,
    name: String,
    pointer: BlockPointer,
    order: ByteOrder,
    root: objset::ObjectSet,
    access: Access,
}

impl ObjectSet {
    /// Opens the object set whose root `pointer` leads to; `name` is for messages.
    /// Of one that is encrypted, nothing encrypted can be read: see
    /// [`Dataset::objects`](crate::Dataset::objects).
    ///
    /// # Errors
    /// If the root cannot be read.
    pub fn open(pool: &Pool, name: &str, pointer: &BlockPointer) -> Result<Self, Error> {
        Self::open_with(pool, name, pointer, Access::Plain)
    }

    pub(crate) fn open_with(pool: &Pool, name: &str, pointer: &BlockPointer, access: Access) -> Result<Self, Error> {
        let in_root = |error: Error| error.in_object(name, ObjectId(0));
        let block = pool.block(pointer, &access).map_err(in_root)?;
        let order = order_of(pointer);
        let root = objset::ObjectSet::read(&View::new(&block, order)).map_err(|error| in_root(error.into()))?;
        Ok(Self(Arc::new(Inner { pool: pool.clone(), name: name.to_owned(), pointer: *pointer, order, root, access })))
    }

    /// The pool that it is in.
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// What messages call it: the dataset's name, or "MOS".
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Why what is encrypted in it cannot be read; `None` if it can, or nothing is.
    pub fn lock(&self) -> Option<&Lock> {
        match &self.0.access {
            Access::Locked(lock) => Some(lock),
            _ => None,
        }
    }

    /// The contents of one of its blocks; see [`Pool::read_block`]. They are
    /// decrypted, and their MAC is verified.
    ///
    /// # Errors
    /// As [`Pool::read_block`], [`Error::Locked`] if the block is encrypted and the
    /// key is not there, or [`Error::Crypt`] if its MAC does not hold.
    pub fn read_block(&self, pointer: &BlockPointer) -> Result<Vec<u8>, Error> {
        self.pool().read_block_with(pointer, &self.0.access)
    }

    /// The same, into a buffer that may have been used before.
    fn read_block_into(&self, pointer: &BlockPointer, block: &mut Vec<u8>) -> Result<(), Error> {
        self.pool().read_block_into(pointer, &self.0.access, block)
    }

    /// Reads all copies of one of its blocks; see [`Pool::verify_block`]. With the
    /// key, the MAC is verified, too.
    ///
    /// # Errors
    /// As [`Pool::verify_block`], or [`Error::Crypt`] if the MAC does not hold.
    pub fn verify_block(&self, pointer: &BlockPointer) -> Result<Vec<BadCopy>, Error> {
        self.pool().verify_block_with(pointer, &self.0.access)
    }

    /// The same as [`ObjectSet::verify_block`], for a block whose contents are wanted soon.
    pub(crate) fn verify_and_keep(&self, pointer: &BlockPointer) -> Result<Vec<BadCopy>, Error> {
        self.pool().verify_and_keep(pointer, &self.0.access)
    }

    /// The same as [`ObjectSet::read_block`], from the cache if it is there.
    pub(crate) fn block(&self, pointer: &BlockPointer) -> Result<Arc<[u8]>, Error> {
        self.pool().block(pointer, &self.0.access)
    }

    /// The pointer to its root.
    pub fn pointer(&self) -> &BlockPointer {
        &self.0.pointer
    }

    /// Its root.
    pub fn root(&self) -> &objset::ObjectSet {
        &self.0.root
    }

    /// What it is, if that is known.
    pub fn kind(&self) -> Option<objset::Kind> {
        objset::Kind::from_number(self.0.root.kind)
    }

    /// The object whose contents are the dnodes of all others.
    pub fn meta(&self) -> Object {
        self.inner_object(ObjectId(0), &self.0.root.meta_dnode)
    }

    /// The tables of the space used by user, by group and by project, those
    /// that there are.
    pub fn accounting(&self) -> [Option<Object>; 3] {
        let root = &self.0.root;
        let tables = [
            (objset::USERUSED_OBJECT, &root.user_used),
            (objset::GROUPUSED_OBJECT, &root.group_used),
            (objset::PROJECTUSED_OBJECT, &root.project_used),
        ];
        tables.map(|(number, dnode)| dnode.as_ref().map(|dnode| self.inner_object(ObjectId(number as u64), dnode)))
    }

    /// The object with a number.
    ///
    /// # Errors
    /// [`Error::NotAllocated`] if there is none, or if its dnode cannot be read.
    pub fn object(&self, id: ObjectId) -> Result<Object, Error> {
        self.find(id).map_err(|error| error.in_object(self.name(), id))
    }

    /// All objects in order. At most one block of dnodes is in memory, besides
    /// the indirect blocks that lead to it.
    pub fn objects(&self) -> Objects {
        Objects { set: self.clone(), blocks: self.meta().blocks(), block: None, next: ObjectId(0) }
    }

    fn inner_object(&self, id: ObjectId, dnode: &Dnode) -> Object {
        Object { set: self.clone(), id, order: self.0.order, dnode: dnode.clone() }
    }

    fn find(&self, id: ObjectId) -> Result<Object, Error> {
        let meta = self.meta();
        let per_block = slots_per_block(&meta.dnode);
        let pointer = meta.block_pointer(id.0 / per_block)?;
        // Number 0 is the array of dnodes itself and has no slot.
        if pointer.is_hole() || id.0 == 0 {
            return Err(Error::NotAllocated);
        }
        let block = self.block(&pointer)?;
        let view = View::new(&block, order_of(&pointer));
        // From the start of the block, so that the inside of a large dnode is not
        // taken for a small one.
        let wanted = (id.0 % per_block) as usize;
        let mut slot = 0;
        while slot < wanted {
            slot += slots_at(&view, slot)?;
        }
        if slot != wanted {
            return Err(Error::NotAllocated);
        }
        let dnode = self.0.access.visible(dnode_at(&view, slot)?.ok_or(Error::NotAllocated)?);
        Ok(Object { set: self.clone(), id, order: view.order(), dnode })
    }
}

impl std::fmt::Debug for ObjectSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "object set {} at {:?}", self.0.name, self.0.pointer)
    }
}

/// Slots for dnodes in a block of an array of dnodes; at least one.
pub(crate) fn slots_per_block(meta: &Dnode) -> u64 {
    (meta.data_block_size() / dnode::SLOT_SIZE).max(1) as u64
}

/// The slots that the dnode at `slot` takes, or 1 if that is free.
pub(crate) fn slots_at(view: &View<'_>, slot: usize) -> Result<usize, Error> {
    let at = slot * dnode::SLOT_SIZE;
    let bytes = view.bytes(at, dnode::SLOT_SIZE).map_err(Error::truncated("block of dnodes"))?;
    Ok(if bytes[0] == 0 { 1 } else { 1 + usize::from(bytes[12]) })
}

fn dnode_at(view: &View<'_>, slot: usize) -> Result<Option<Dnode>, Error> {
    let size = slots_at(view, slot)? * dnode::SLOT_SIZE;
    let slots = view.view(slot * dnode::SLOT_SIZE, size).map_err(Error::truncated("block of dnodes"))?;
    Ok(Dnode::read(&slots)?)
}

/// An object: its dnode, and through it its contents.
#[derive(Clone)]
pub struct Object {
    set: ObjectSet,
    id: ObjectId,
    order: ByteOrder,
    dnode: Dnode,
}

impl Object {
    /// The object set that it is in.
    pub fn set(&self) -> &ObjectSet {
        &self.set
    }

    /// Its number.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Its dnode.
    pub fn dnode(&self) -> &Dnode {
        &self.dnode
    }

    /// The bonus buffer, in the byte order of the dnode; empty if it is encrypted
    /// and the [key](ObjectSet::lock) is not there.
    pub fn bonus(&self) -> View<'_> {
        View::new(&self.dnode.bonus, self.order)
    }

    /// The 64-bit word at an index of the bonus buffer; `what` is for messages.
    pub(crate) fn bonus_word(&self, index: usize, what: &'static str) -> Result<u64, Error> {
        self.bonus().u64(index * 8).map_err(Error::truncated(what)).map_err(|error| self.failed(error))
    }

    /// The contents of the spill block, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn spill(&self) -> Result<Option<Arc<[u8]>>, Error> {
        let Some(pointer) = self.dnode.spill.filter(|pointer| !pointer.is_hole()) else {
            return Ok(None);
        };
        let block = self.set.block(&pointer).map_err(|error| self.failed(error))?;
        Ok(Some(block))
    }

    /// The pointer to a data block; a hole if it was never written.
    ///
    /// # Errors
    /// If an indirect block cannot be read.
    pub fn block_pointer(&self, block: u64) -> Result<BlockPointer, Error> {
        self.descend(block).map_err(|error| self.failed(error))
    }

    /// The contents of a data block, [`Dnode::data_block_size`] bytes long.
    ///
    /// # Errors
    /// If it, or an indirect block that leads to it, cannot be read, or it was left out of a redacted send.
    pub fn read_block(&self, block: u64) -> Result<Arc<[u8]>, Error> {
        let pointer = self.block_pointer(block)?;
        let size = self.dnode.data_block_size();
        if pointer.is_hole() {
            return Ok(vec![0; size].into());
        }
        self.refuse_redacted(&pointer)?;
        let contents = self.set.block(&pointer).map_err(|error| self.failed(error))?;
        if contents.len() == size {
            return Ok(contents);
        }
        // A fault of the writer, which the check reports.
        let mut padded = contents.to_vec();
        padded.resize(size, 0);
        Ok(padded.into())
    }

    /// Makes `block` the contents of that which a pointer of this object leads to. It is not kept: for what is read
    /// once.
    ///
    /// # Errors
    /// If it cannot be read, or was left out of a redacted send.
    pub(crate) fn read_uncached(&self, pointer: &BlockPointer, block: &mut Vec<u8>) -> Result<(), Error> {
        self.refuse_redacted(pointer)?;
        self.set.read_block_into(pointer, block).map_err(|error| self.failed(error))
    }

    /// What was left out is not there; it is no zeros.
    fn refuse_redacted(&self, pointer: &BlockPointer) -> Result<(), Error> {
        if pointer.kind() == blkptr::Kind::Redacted { Err(self.failed(Error::Redacted)) } else { Ok(()) }
    }

    /// Fills `buf` with the contents from `offset` on; zeros where nothing was
    /// written.
    ///
    /// # Errors
    /// If a block cannot be read, or was left out of a redacted send.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let size = self.dnode.data_block_size() as u64;
        let mut done = 0;
        while done < buf.len() {
            let Some(at) = offset.checked_add(done as u64) else {
                buf[done..].fill(0);
                return Ok(());
            };
            let within = (at % size) as usize;
            let part = (size as usize - within).min(buf.len() - done);
            let to = &mut buf[done..done + part];
            if self.block_pointer(at / size)?.is_hole() {
                to.fill(0);
            } else {
                to.copy_from_slice(&self.read_block(at / size)?[within..within + part]);
            }
            done += part;
        }
        Ok(())
    }

    /// The pointers to all data blocks that are no holes, with their numbers.
    pub fn blocks(&self) -> Blocks {
        self.blocks_from(0)
    }

    /// The same from block `first` on.
    pub fn blocks_from(&self, first: u64) -> Blocks {
        Blocks::new(Walk::new(self, first))
    }

    /// The pointers to all blocks of all levels that are no holes, each before
    /// those it leads to.
    pub fn walk(&self) -> Walk {
        Walk::new(self, 0)
    }

    /// The object's contents as a ZAP.
    ///
    /// # Errors
    /// If they are none.
    pub fn zap(&self) -> Result<Zap, Error> {
        Zap::open(self)
    }

    /// An error as one in this object.
    pub(crate) fn failed(&self, error: Error) -> Error {
        error.in_object(self.set.name(), self.id)
    }

    /// Bits of a block's number that an indirect block resolves.
    pub(crate) fn indirect_bits(&self) -> u32 {
        u32::from(self.dnode.indirect_shift) - blkptr::SIZE.ilog2()
    }

    fn descend(&self, block: u64) -> Result<BlockPointer, Error> {
        let bits = self.indirect_bits();
        let top = u32::from(self.dnode.levels) - 1;
        let index = block.checked_shr(bits * top).unwrap_or(0) as usize;
        let Some(&(mut pointer)) = self.dnode.pointers.get(index) else {
            return Ok(BlockPointer::HOLE);
        };
        for level in (0..top).rev() {
            if pointer.is_hole() {
                return Ok(pointer);
            }
            let indirect = self.indirect_block(&pointer, level + 1)?;
            let index = block.checked_shr(bits * level).unwrap_or(0) & ((1 << bits) - 1);
            pointer = pointer_at(&indirect, order_of(&pointer), index as usize)?;
        }
        Ok(pointer)
    }

    pub(crate) fn indirect_block(&self, pointer: &BlockPointer, level: u32) -> Result<Arc<[u8]>, Error> {
        let expected = 1 << self.dnode.indirect_shift;
        let impossible = |field, value: u64, expected: u64| Error::Pointer {
            pointer: Box::new(*pointer),
            field,
            value,
            expected: expected.to_string(),
        };
        if u32::from(pointer.level()) != level {
            return Err(impossible("level", pointer.level().into(), level.into()));
        }
        if pointer.logical_size() as u64 != expected {
            let size = pointer.logical_size() as u64;
            return Err(impossible("size of an indirect block", size, expected));
        }
        self.set.block(pointer)
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, object {} ({})", self.set.name(), self.id, self.dnode.object_type)
    }
}

pub(crate) fn pointer_at(block: &[u8], order: ByteOrder, index: usize) -> Result<BlockPointer, Error> {
    BlockPointer::read(&View::new(block, order), index * blkptr::SIZE).map_err(Error::truncated("indirect block"))
}

/// The objects in a block of dnodes, of which `first` is the first slot's. Behind a damaged dnode, nothing can be
/// known.
pub(crate) fn dnodes_of<'a>(
    set: &'a ObjectSet,
    block: &'a [u8],
    order: ByteOrder,
    first: ObjectId,
) -> impl Iterator<Item = Result<Object, Error>> + 'a {
    let view = View::new(block, order);
    let slots = block.len() / dnode::SLOT_SIZE;
    let mut slot = 0;
    std::iter::from_fn(move || {
        while slot < slots {
            let id = ObjectId(first.0.saturating_add(slot as u64));
            let found = slots_at(&view, slot).and_then(|count| Ok((count, dnode_at(&view, slot)?)));
            match found {
                Ok((count, None)) => slot += count,
                Ok((count, Some(dnode))) => {
                    slot += count;
                    let dnode = set.0.access.visible(dnode);
                    return Some(Ok(Object { set: set.clone(), id, order, dnode }));
                }
                Err(error) => {
                    slot = slots;
                    return Some(Err(error.in_object(set.name(), id)));
                }
            }
        }
        None
    })
}

/// All objects of an object set.
pub struct Objects {
    set: ObjectSet,
    blocks: Blocks,
    block: Option<(Arc<[u8]>, ByteOrder)>,
    /// The next slot to look at, in `block` if that is some.
    next: ObjectId,
}

impl Objects {
    /// Goes to the next block of dnodes.
    fn advance(&mut self) -> Option<Result<(), Error>> {
        let (number, pointer) = match self.blocks.next()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let meta = self.set.meta();
        self.next = ObjectId(number.saturating_mul(slots_per_block(meta.dnode())));
        match self.set.block(&pointer) {
            Ok(block) => self.block = Some((block, order_of(&pointer))),
            Err(error) => return Some(Err(error.in_object(self.set.name(), self.next))),
        }
        Some(Ok(()))
    }

    /// The next object of the current block, if it has one more.
    fn in_block(&mut self) -> Option<Result<Object, Error>> {
        let (block, order) = self.block.as_ref()?;
        let view = View::new(block, *order);
        let slots = block.len() / dnode::SLOT_SIZE;
        let per_block = slots_per_block(self.set.meta().dnode());
        loop {
            let slot = (self.next.0 % per_block) as usize;
            let id = self.next;
            let found = slots_at(&view, slot).and_then(|count| {
                self.next.0 += count as u64;
                dnode_at(&view, slot)
            });
            // The number of the next block is set when that is read.
            let ends = found.is_err() || slot + 1 >= slots || self.next.0 / per_block != id.0 / per_block;
            let object = match found {
                Ok(None) => None,
                Ok(Some(dnode)) => {
                    let dnode = self.set.0.access.visible(dnode);
                    Some(Ok(Object { set: self.set.clone(), id, order: *order, dnode }))
                }
                Err(error) => Some(Err(error.in_object(self.set.name(), id))),
            };
            if ends {
                self.block = None;
                return object;
            }
            if object.is_some() {
                return object;
            }
        }
    }
}

impl Iterator for Objects {
    type Item = Result<Object, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.in_block() {
                return Some(found);
            }
            if let Err(error) = self.advance()? {
                return Some(Err(error));
            }
        }
    }
}
