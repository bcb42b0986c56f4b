//! What a ZAP is made of, for those who look at the structure and not at the
//! entries.

use super::fat::Header;
use super::{Entry, micro};
use crate::bytes::View;

/// The layout of a ZAP and the fields of its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Structure {
    /// One block of slots (`mzap_phys_t`).
    Micro {
        /// What the hashes begin with.
        salt: u64,
        /// How names are normalized (`U8_TEXTPREP_*`).
        norm_flags: u64,
        /// Slots for entries, used and free.
        slots: u64,
    },
    /// A table of hashes (`zap_phys_t`).
    Fat(FatStructure),
}

/// The header of a fat ZAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FatStructure {
    /// Bytes of each of its blocks.
    pub block_size: u64,
    /// First block of the pointer table; 0 if that is in the header.
    pub table_block: u64,
    /// Blocks of the pointer table; 0 if that is in the header.
    pub table_blocks: u64,
    /// The pointer table has `2^table_shift` pointers.
    pub table_shift: u32,
    /// The first block that was never used.
    pub free_block: u64,
    /// Leaves.
    pub leaves: u64,
    /// Entries.
    pub entries: u64,
    /// What the hashes begin with.
    pub salt: u64,
    /// How names are normalized (`U8_TEXTPREP_*`).
    pub norm_flags: u64,
    /// [`super::FLAG_HASH64`] and its neighbours.
    pub flags: u64,
}

/// A leaf of a fat ZAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafStructure {
    /// The number of its block.
    pub block: u64,
    /// The first bits of the hashes of its entries, as a number.
    pub prefix: u64,
    /// How many bits those are.
    pub prefix_len: u32,
    /// How many pointers of the table lead to it.
    pub pointers: u64,
    /// Chunks, used and free.
    pub chunks: u64,
    /// Free chunks, as it counts them.
    pub free_chunks: u64,
    /// The entries and their hashes, by hash.
    pub entries: Vec<(u64, Entry)>,
}

impl Structure {
    pub(super) fn micro(view: View<'_>, norm_flags: u64) -> Self {
        Self::Micro { salt: micro::salt(view), norm_flags, slots: micro::slot_count(view) as u64 }
    }

    pub(super) fn fat(header: &Header) -> Self {
        Self::Fat(FatStructure {
            block_size: header.shape.block_len() as u64,
            table_block: header.table.block,
            table_blocks: header.table.blocks,
            table_shift: header.table.shift,
            free_block: header.free_block,
            leaves: header.leaf_count,
            entries: header.entry_count,
            salt: header.salt,
            norm_flags: header.norm_flags,
            flags: header.flags,
        })
    }

    /// What the hashes begin with.
    pub fn salt(&self) -> u64 {
        match self {
            Self::Micro { salt, .. } => *salt,
            Self::Fat(fat) => fat.salt,
        }
    }
}
