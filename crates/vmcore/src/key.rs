//! The key block of an encrypted dump: before the data on a disk, in a file of its own after savecore(8)
//! (`struct kerneldumpkey` in `sys/kerneldump.h`).
//!
//! One byte for the cipher, 32 for the initial vector, a big-endian 32-bit size, and so many bytes: the key, encrypted
//! to an RSA public key. It is padded with zeros to a whole number of blocks.

use std::fmt;

use crate::bytes::{array, be32};

/// The most bytes that an encrypted key has (`KERNELDUMP_ENCKEY_MAX_SIZE`): an RSA modulus of 16384 bits.
pub const MAX_ENCRYPTED_KEY: usize = 16384 / 8;

const IV: usize = 1;
const KEY_SIZE: usize = 33;
const KEY: usize = 37;

/// How the data are encrypted (`KERNELDUMP_ENC_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES in CBC mode, with a key of 256 bits.
    Aes256Cbc,
    /// ChaCha20, with a nonce and a counter of 64 bits each.
    ChaCha20,
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cipher::Aes256Cbc => "aes256-cbc",
            Cipher::ChaCha20 => "chacha20",
        })
    }
}

/// A key block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpKey {
    /// How the data are encrypted.
    pub cipher: Cipher,
    /// The initial vector. AES uses the first 16 bytes, ChaCha20 the first 8.
    pub iv: [u8; 32],
    /// The key, encrypted to an RSA public key: as many bytes as its modulus has.
    pub encrypted_key: Vec<u8>,
}

/// Why bytes are no key block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are not enough of them.
    #[error("the key of the dump is cut short: it has {size} bytes and should have {expected} or more")]
    Short {
        /// How many there are.
        size: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The cipher is not known.
    #[error("the dump is encrypted in a way that is not known (number {number}): AES-256-CBC (1) and ChaCha20 (2) are")]
    Cipher {
        /// Its number.
        number: u8,
    },
    /// The encrypted key is too long, or empty.
    #[error("the encrypted key is said to have {size} bytes: 1 to 2048 are possible")]
    Size {
        /// Its size.
        size: u32,
    },
}

impl DumpKey {
    /// Reads a key block. What follows the key is padding.
    ///
    /// # Errors
    /// If it is cut short, or its fields are none that are possible.
    pub fn parse(bytes: &[u8]) -> Result<DumpKey, Error> {
        let short = |expected| Error::Short { size: bytes.len(), expected };
        if bytes.len() < KEY {
            return Err(short(KEY));
        }
        let cipher = match bytes.first() {
            Some(1) => Cipher::Aes256Cbc,
            Some(2) => Cipher::ChaCha20,
            number => return Err(Error::Cipher { number: number.copied().unwrap_or(0) }),
        };
        let size = be32(bytes, KEY_SIZE);
        let length = usize::try_from(size).ok().filter(|length| (1..=MAX_ENCRYPTED_KEY).contains(length));
        let end = KEY + length.ok_or(Error::Size { size })?;
        let encrypted_key = bytes.get(KEY..end).ok_or(short(end))?.to_vec();
        Ok(DumpKey { cipher, iv: array(bytes, IV), encrypted_key })
    }

    /// The bytes of the key block, padded to whole blocks of `block_size` bytes.
    pub fn build(&self, block_size: usize) -> Vec<u8> {
        let number = match self.cipher {
            Cipher::Aes256Cbc => 1,
            Cipher::ChaCha20 => 2,
        };
        let size = u32::try_from(self.encrypted_key.len()).unwrap_or(u32::MAX);
        let mut bytes = [&[number][..], &self.iv, &size.to_be_bytes(), &self.encrypted_key].concat();
        bytes.resize(bytes.len().next_multiple_of(block_size.max(1)), 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_built_is_read_back(chacha in any::<bool>(), iv in any::<[u8; 32]>(),
                                       encrypted_key in proptest::collection::vec(any::<u8>(), 1..600)) {
            let cipher = if chacha { Cipher::ChaCha20 } else { Cipher::Aes256Cbc };
            let key = DumpKey { cipher, iv, encrypted_key };
            let bytes = key.build(512);
            prop_assert_eq!(bytes.len() % 512, 0);
            prop_assert_eq!(DumpKey::parse(&bytes), Ok(key));
        }

        #[test]
        fn any_bytes_are_a_key_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = DumpKey::parse(&bytes);
        }
    }

    #[test]
    fn impossible_keys_are_refused_with_what_is_wrong() {
        let key = DumpKey { cipher: Cipher::ChaCha20, iv: [7; 32], encrypted_key: vec![1; 256] };
        let bytes = key.build(1);
        assert_eq!(DumpKey::parse(&bytes[..20]), Err(Error::Short { size: 20, expected: 37 }));
        assert_eq!(DumpKey::parse(&bytes[..292]), Err(Error::Short { size: 292, expected: 293 }));
        let mut other = bytes.clone();
        other[0] = 9;
        assert_eq!(DumpKey::parse(&other), Err(Error::Cipher { number: 9 }));
        let mut huge = bytes;
        huge[33] = 0xff;
        assert_eq!(DumpKey::parse(&huge), Err(Error::Size { size: 0xff00_0100 }));
    }
}
