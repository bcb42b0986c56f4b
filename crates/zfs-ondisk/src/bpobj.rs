//! Lists of block pointers to free later (`bpobj_phys_t`, `sys/bpobj.h`), and
//! the deadlists made of them (`dsl_deadlist_phys_t`, `sys/dsl_deadlist.h`).

use crate::bytes::{Truncated, View};

/// Bytes of the bonus buffer of a list that may contain other lists.
pub const SIZE_V2: usize = 48;
/// Bytes of a block of a list (`SPA_OLD_MAXBLOCKSIZE`).
pub const BLOCK_SIZE: usize = 128 << 10;
/// Bytes of the bonus buffer of a deadlist: three totals and padding.
pub const DEADLIST_HEADER_SIZE: usize = 320;

/// The bonus buffer of a list (`bpobj_phys_t`). Fields that a list of an older
/// version lacks are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Block pointers in this list itself.
    pub pointers: u64,
    /// Bytes allocated by the blocks of this list and of those in it.
    pub used: u64,
    /// The same after compression, before rounding and copies.
    pub compressed: u64,
    /// The same before compression.
    pub uncompressed: u64,
    /// Object with the numbers of the lists in this one, 0 for none.
    pub sublists: u64,
    /// How many lists are in this one.
    pub sublist_count: u64,
}

impl Header {
    /// Reads the bonus buffer.
    ///
    /// # Errors
    /// [`Truncated`] if it is shorter than that of the first version.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        let later = |index: usize| view.u64(index * 8).unwrap_or(0);
        Ok(Self {
            pointers: view.u64(0)?,
            used: view.u64(8)?,
            compressed: later(2),
            uncompressed: later(3),
            sublists: later(4),
            sublist_count: later(5),
        })
    }
}

/// The totals in the bonus buffer of a deadlist (`dsl_deadlist_phys_t`), in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadlistHeader {
    /// Allocated by its blocks.
    pub used: u64,
    /// The same after compression, before rounding and copies.
    pub compressed: u64,
    /// The same before compression.
    pub uncompressed: u64,
}

impl DeadlistHeader {
    /// Reads the bonus buffer.
    ///
    /// # Errors
    /// [`Truncated`] if it is too short.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        Ok(Self { used: view.u64(0)?, compressed: view.u64(8)?, uncompressed: view.u64(16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;

    #[test]
    fn a_list_of_the_first_version_has_no_sublists() {
        let words: Vec<u8> = [3u64, 4096].into_iter().flat_map(u64::to_le_bytes).collect();
        let header = Header::read(&View::new(&words, ByteOrder::Little)).unwrap();
        assert_eq!(header, Header { pointers: 3, used: 4096, ..Header::default() });
    }

    #[test]
    fn a_deadlist_has_three_totals() {
        let words: Vec<u8> = [1u64, 2, 3].into_iter().flat_map(u64::to_le_bytes).collect();
        let header = DeadlistHeader::read(&View::new(&words, ByteOrder::Little)).unwrap();
        assert_eq!((header.used, header.compressed, header.uncompressed), (1, 2, 3));
        assert!(DeadlistHeader::read(&View::new(&words[..20], ByteOrder::Little)).is_err());
    }
}
