//! Dnodes (`dnode_phys_t`, `sys/dnode.h`): the heads of objects.
//!
//! A dnode takes one or more slots of 512 bytes in an array of dnodes. After 64
//! bytes of fixed fields come its block pointers, its bonus buffer and, where a
//! flag says so, at the very end, the pointer to a spill block:
//!
//! ```text
//! 0   type  indirect shift  levels  pointers  bonus type  checksum  compress  flags
//! 8   data block size in sectors (16 bit)  bonus length (16 bit)  extra slots (8 bit)
//! 16  largest block id   24  space used   32-63 padding
//! 64  1 to 3 block pointers, bonus, spill pointer
//! ```

use crate::blkptr::{self, BlockPointer, SECTOR_SHIFT};
use crate::bytes::{Put, Truncated, View};
use crate::object::ObjectType;

/// Bytes of a slot, and of the smallest dnode.
pub const SLOT_SIZE: usize = 512;
/// Bytes of a block of dnodes.
pub const BLOCK_SIZE: usize = 1 << 14;
/// Slots in a block of dnodes.
pub const SLOTS_PER_BLOCK: usize = BLOCK_SIZE / SLOT_SIZE;
/// Binary logarithm of the indirect blocks that OpenZFS makes.
pub const INDIRECT_SHIFT: u8 = 17;

/// `dn_used` counts bytes, not sectors.
pub const FLAG_USED_BYTES: u8 = 1 << 0;
/// The space is counted in the user and group accounting objects.
pub const FLAG_USERUSED_ACCOUNTED: u8 = 1 << 1;
/// There is a spill block.
pub const FLAG_SPILL_BLKPTR: u8 = 1 << 2;
/// The object is counted in the user, group and project accounting objects.
pub const FLAG_USEROBJUSED_ACCOUNTED: u8 = 1 << 3;

const CORE_SIZE: usize = 64;
/// The most pointers of a dnode (`DN_MAX_NBLKPTR`).
const MAX_POINTERS: usize = 3;

/// The head of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Dnode {
    /// What the object holds.
    pub object_type: ObjectType,
    /// Binary logarithm of the size of its indirect blocks in bytes.
    pub indirect_shift: u8,
    /// Levels of the block tree: 1 if the pointers here point to data.
    pub levels: u8,
    /// What the bonus buffer holds.
    pub bonus_type: ObjectType,
    /// Number of the checksum function asked for; 0 inherits.
    pub checksum: u8,
    /// Number of the compression function asked for; 0 inherits.
    pub compression: u8,
    /// `FLAG_...`; [`FLAG_SPILL_BLKPTR`] follows [`Dnode::spill`].
    pub flags: u8,
    /// Size of a data block in sectors of 512 bytes.
    pub data_block_sectors: u16,
    /// Slots after the first one.
    pub extra_slots: u8,
    /// The largest block id there is, 0 for an empty object too.
    pub max_block_id: u64,
    /// Space used on disk by all blocks of all levels and copies: bytes, or
    /// sectors without [`FLAG_USED_BYTES`].
    pub used: u64,
    /// One to three pointers at the top of the block tree.
    pub pointers: Vec<BlockPointer>,
    /// The bonus buffer.
    pub bonus: Vec<u8>,
    /// The pointer to the spill block of system attributes.
    pub spill: Option<BlockPointer>,
}

/// Why bytes are not a dnode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends too early.
    #[error("dnode: {0}")]
    Truncated(#[from] Truncated),
    /// A field has a value that no dnode has.
    #[error("dnode: {field} is {value}, expected {expected}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        expected: &'static str,
    },
}

impl Dnode {
    /// A dnode of one slot with one empty block pointer, no bonus and data
    /// blocks of `data_block_size` bytes.
    pub fn new(object_type: ObjectType, data_block_size: usize) -> Self {
        Self {
            object_type,
            indirect_shift: INDIRECT_SHIFT,
            levels: 1,
            bonus_type: ObjectType::NONE,
            checksum: 0,
            compression: 0,
            flags: FLAG_USED_BYTES,
            data_block_sectors: (data_block_size >> SECTOR_SHIFT) as u16,
            extra_slots: 0,
            max_block_id: 0,
            used: 0,
            pointers: vec![BlockPointer::HOLE],
            bonus: Vec::new(),
            spill: None,
        }
    }

    /// Gives a dnode without bonus buffer as many pointers as OpenZFS would
    /// (`deduce_nblkptr`): what receives a raw stream makes them so, and the MAC of the
    /// dnode covers the number.
    pub fn fill_pointers(&mut self) {
        self.pointers.resize(MAX_POINTERS, BlockPointer::HOLE);
    }

    /// Slots that the dnode takes.
    pub fn slots(&self) -> usize {
        1 + self.extra_slots as usize
    }

    /// Size of a data block in bytes.
    pub fn data_block_size(&self) -> usize {
        (self.data_block_sectors as usize) << SECTOR_SHIFT
    }

    /// Space used on disk in bytes.
    pub fn used_bytes(&self) -> u64 {
        if self.flags & FLAG_USED_BYTES != 0 { self.used } else { self.used.saturating_mul(1 << SECTOR_SHIFT) }
    }

    /// Reads the dnode at the start of `view`, which holds the slots from its
    /// first on. `None` if that slot is free.
    ///
    /// # Errors
    /// If a field cannot be, or the dnode is longer than `view`.
    pub fn read(view: &View<'_>) -> Result<Option<Self>, Error> {
        let object_type = ObjectType(view.u8(0)?);
        if object_type == ObjectType::NONE {
            return Ok(None);
        }
        let field = |field, value: u64, valid: bool, expected| {
            if valid { Ok(()) } else { Err(Error::Field { field, value, expected }) }
        };
        let (indirect_shift, levels, pointers) = (view.u8(1)?, view.u8(2)?, view.u8(3)? as usize);
        field("type", object_type.0.into(), object_type.is_valid(), "a known object type")?;
        field("indirect block shift", indirect_shift.into(), (10..=24).contains(&indirect_shift), "10 to 24")?;
        field("number of levels", levels.into(), (1..=16).contains(&levels), "1 to 16")?;
        field("number of block pointers", pointers as u64, (1..=3).contains(&pointers), "1 to 3")?;
        let (bonus_type, flags, extra_slots) = (ObjectType(view.u8(4)?), view.u8(7)?, view.u8(12)?);
        let (data_block_sectors, bonus_size) = (view.u16(8)?, view.u16(10)? as usize);
        field("data block size", data_block_sectors.into(), data_block_sectors != 0, "1 sector or more")?;
        let end = (1 + extra_slots as usize) * SLOT_SIZE;
        let bonus_start = CORE_SIZE + pointers * blkptr::SIZE;
        let has_spill = flags & FLAG_SPILL_BLKPTR != 0;
        let bonus_end = end - if has_spill { blkptr::SIZE } else { 0 };
        field(
            "bonus length",
            bonus_size as u64,
            bonus_start + bonus_size <= bonus_end,
            "no more than the dnode has room for",
        )?;
        Ok(Some(Self {
            object_type,
            indirect_shift,
            levels,
            bonus_type,
            checksum: view.u8(5)?,
            compression: view.u8(6)?,
            flags,
            data_block_sectors,
            extra_slots,
            max_block_id: view.u64(16)?,
            used: view.u64(24)?,
            pointers: (0..pointers)
                .map(|index| BlockPointer::read(view, CORE_SIZE + index * blkptr::SIZE))
                .collect::<Result<_, _>>()?,
            bonus: view.bytes(bonus_start, bonus_size)?.to_vec(),
            spill: if has_spill { Some(BlockPointer::read(view, bonus_end)?) } else { None },
        }))
    }

    /// Writes the dnode to the start of `to`, which holds zeros.
    ///
    /// # Panics
    /// If pointers, bonus and spill pointer do not fit the dnode's slots.
    pub fn write(&self, to: &mut [u8]) {
        let to = &mut to[..self.slots() * SLOT_SIZE];
        let bonus_start = CORE_SIZE + self.pointers.len() * blkptr::SIZE;
        let bonus_end = to.len() - if self.spill.is_some() { blkptr::SIZE } else { 0 };
        assert!(bonus_start + self.bonus.len() <= bonus_end, "bonus too long for its dnode");
        let flags = self.flags & !FLAG_SPILL_BLKPTR | if self.spill.is_some() { FLAG_SPILL_BLKPTR } else { 0 };
        to.put_bytes(
            0,
            &[
                self.object_type.0,
                self.indirect_shift,
                self.levels,
                self.pointers.len() as u8,
                self.bonus_type.0,
                self.checksum,
                self.compression,
                flags,
            ],
        );
        to.put_u16(8, self.data_block_sectors);
        to.put_u16(10, self.bonus.len() as u16);
        to.put_u8(12, self.extra_slots);
        to.put_u64(16, self.max_block_id);
        to.put_u64(24, self.used);
        for (index, pointer) in self.pointers.iter().enumerate() {
            pointer.write(to, CORE_SIZE + index * blkptr::SIZE);
        }
        to.put_bytes(bonus_start, &self.bonus);
        if let Some(spill) = &self.spill {
            spill.write(to, bonus_end);
        }
    }
}

/// The most bytes of bonus in a dnode of `slots` slots with `pointers` block
/// pointers, with or without a pointer to a spill block.
pub fn bonus_capacity(slots: usize, pointers: usize, spill: bool) -> usize {
    slots * SLOT_SIZE - CORE_SIZE - (pointers + usize::from(spill)) * blkptr::SIZE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bytes::ByteOrder;

    #[test]
    fn a_dnode_is_read_as_it_was_written() {
        let mut dnode = Dnode::new(ObjectType::PLAIN_FILE_CONTENTS, 131072);
        dnode.extra_slots = 1;
        dnode.bonus_type = ObjectType::SA;
        dnode.bonus = (0..bonus_capacity(2, 1, true)).map(|i| i as u8).collect();
        dnode.spill = Some(BlockPointer::embedded(ObjectType::SA, 512, 2, b"spill", 4));
        dnode.flags |= FLAG_SPILL_BLKPTR;
        dnode.max_block_id = 77;
        let mut bytes = [0; 1024];
        dnode.write(&mut bytes);
        assert_eq!(Dnode::read(&View::new(&bytes, ByteOrder::Little)), Ok(Some(dnode)));
    }

    #[test]
    fn a_bonus_longer_than_the_dnode_is_an_error() {
        let mut bytes = [0; 512];
        Dnode::new(ObjectType::DSL_DIR, 512).write(&mut bytes);
        bytes.put_u16(10, 321);
        let error = Dnode::read(&View::new(&bytes, ByteOrder::Little)).unwrap_err();
        assert_eq!(error.to_string(), "dnode: bonus length is 321, expected no more than the dnode has room for");
    }

    proptest! {
        #[test]
        fn garbage_is_no_reason_to_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            let _ = Dnode::read(&View::new(&bytes, ByteOrder::Big));
        }
    }
}
