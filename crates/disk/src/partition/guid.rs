//! GUIDs as UEFI stores them.

use std::fmt;

use crate::bytes::{array, le16, le32};

/// A GUID, its first three fields stored little-endian (UEFI specification, appendix A).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    pub(super) fn read(bytes: &[u8], offset: usize) -> Self {
        Self(array(bytes, offset))
    }

    /// Whether it is all zeros, as that of an unused entry is.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:04x}-{:04x}-", le32(&self.0, 0), le16(&self.0, 4), le16(&self.0, 6))?;
        for (index, byte) in self.0.iter().enumerate().skip(8) {
            let dash = if index == 10 { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_as_people_write_it() {
        // The type of FreeBSD's ZFS partitions, byte by byte as on a disk.
        let bytes = [0xba, 0x7c, 0x6e, 0x51, 0xcf, 0x6e, 0xd6, 0x11, 0x8f, 0xf8, 0x00, 0x02, 0x2d, 0x09, 0x71, 0x2b];
        assert_eq!(Guid(bytes).to_string(), "516e7cba-6ecf-11d6-8ff8-00022d09712b");
        assert!(Guid::default().is_zero());
    }
}
