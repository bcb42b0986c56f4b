//! GUIDs as UEFI stores them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::bytes::{array, le16, le32};

/// A GUID, its first three fields stored little-endian (UEFI specification, appendix A).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    pub(super) fn read(bytes: &[u8], offset: usize) -> Self {
        Self(array(bytes, offset))
    }

    /// A GUID that follows from `seed` and what it is for, in the form of a random
    /// one (version 4, RFC 9562).
    pub fn derived(seed: &[u8], purpose: &str) -> Self {
        let hash = Sha256::new_with_prefix((seed.len() as u64).to_le_bytes()).chain_update(seed);
        let digest: [u8; 32] = hash.chain_update(purpose).finalize().into();
        let mut bytes: [u8; 16] = array(&digest, 0);
        let [_, _, _, _, _, _, _, version, variant, ..] = &mut bytes;
        *version = *version & 0x0f | 0x40;
        *variant = *variant & 0x3f | 0x80;
        Self(bytes)
    }

    /// A GUID of its five fields, as people write it.
    pub const fn new(a: u32, b: u16, c: u16, rest: [u8; 8]) -> Self {
        let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let [d0, d1, d2, d3, d4, d5, d6, d7] = rest;
        Self([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7])
    }

    /// Whether it is all zeros, as that of an unused entry is.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl FromStr for Guid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let fields: Vec<&str> = text.split('-').collect();
            let [a, b, c, d, e] = fields[..] else { return None };
            let lengths = [a, b, c, d, e].map(str::len) == [8, 4, 4, 4, 12];
            let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
            let rest = u64::from_str_radix(&[d, e].concat(), 16).ok().filter(|_| lengths && digits)?;
            let a = u32::from_str_radix(a, 16).ok()?;
            let (b, c) = (u16::from_str_radix(b, 16).ok()?, u16::from_str_radix(c, 16).ok()?);
            Some(Self::new(a, b, c, rest.to_be_bytes()))
        };
        parse().ok_or_else(|| "a GUID such as 516e7cba-6ecf-11d6-8ff8-00022d09712b was expected".to_owned())
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
        assert_eq!("516e7cba-6ecf-11d6-8ff8-00022d09712B".parse(), Ok(Guid(bytes)));
        assert!("516e7cba-6ecf-11d6-8ff8-00022d0971+b".parse::<Guid>().is_err());
        assert!(Guid::default().is_zero());
    }

    #[test]
    fn derived_guids_have_the_form_of_random_ones() {
        let guid = Guid::derived(b"seed", "disk").to_string();
        assert_eq!((&guid[14..15], guid.len()), ("4", 36));
        assert!("89ab".contains(&guid[19..20]), "{guid}");
        assert_ne!(guid, Guid::derived(b"seed", "partition").to_string());
    }
}
