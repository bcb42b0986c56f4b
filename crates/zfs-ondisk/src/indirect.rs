//! The mapping of a vdev that was removed (`sys/vdev_indirect_mapping.h`): an
//! object of the MOS whose contents are entries in the order of their sources, and
//! whose bonus buffer has a header.

use crate::blkptr::Dva;
use crate::bytes::{Truncated, View};

/// Bytes of an entry (`vdev_indirect_mapping_entry_phys_t`).
pub const ENTRY_SIZE: usize = 24;

/// The header of a mapping (`vdev_indirect_mapping_phys_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The end of the space that is mapped, in bytes.
    pub max_offset: u64,
    /// How many bytes are mapped.
    pub bytes_mapped: u64,
    /// How many entries there are.
    pub entries: u64,
    /// The object with the number of bytes of each entry that are no longer in use;
    /// the first version of the header does not have it.
    pub counts_object: Option<u64>,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Truncated`] if it is too short.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            max_offset: view.u64(0)?,
            bytes_mapped: view.u64(8)?,
            entries: view.u64(16)?,
            counts_object: view.u64(24).ok(),
        })
    }
}

/// Where a part of the vdev is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it was, in bytes from the start of the vdev's allocatable space.
    pub source: u64,
    /// Where it is, and how long.
    pub target: Dva,
}

impl Entry {
    /// Reads the entry at `offset` of a mapping.
    ///
    /// # Errors
    /// [`Truncated`] if the mapping is too short.
    pub fn read(view: &View<'_>, offset: usize) -> Result<Self, Truncated> {
        // The highest bit of the first word is a mark that zdb uses.
        Ok(Self { source: view.u64(offset)? << 1 >> 1 << 9, target: Dva::read(view, offset + 8)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::{ByteOrder, Put};

    #[test]
    fn an_entry_says_where_a_part_was_and_is() {
        let mut bytes = [0; ENTRY_SIZE];
        bytes.put_u64(0, 1 << 63 | 0x10);
        bytes.put_u64(8, 3 << 32 | 0x20);
        bytes.put_u64(16, 0x40);
        let entry = Entry::read(&View::new(&bytes, ByteOrder::Little), 0).unwrap();
        let target = Dva { vdev: 3, offset: 0x8000, asize: 0x4000, gang: false };
        assert_eq!(entry, Entry { source: 0x2000, target });
    }

    #[test]
    fn a_header_of_the_first_version_has_no_counts() {
        let bytes: Vec<u8> = [7u64, 8, 9].iter().flat_map(|word| word.to_be_bytes()).collect();
        let header = Header::read(&View::new(&bytes, ByteOrder::Big)).unwrap();
        assert_eq!(header, Header { max_offset: 7, bytes_mapped: 8, entries: 9, counts_object: None });
    }
}
