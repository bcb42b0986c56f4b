//! Keys: the user's, and those of datasets.

use std::fmt;

use hkdf::Hkdf;
use sha1::Sha1;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::suite::Message;
use super::{Error, HMAC_KEY_SIZE, IV_SIZE, MAC_SIZE, MASTER_KEY_SIZE, SALT_SIZE, Suite, Version};

/// Bytes of a wrapping key, whatever the suite of the dataset (`WRAPPING_KEY_LEN`).
pub const WRAPPING_KEY_SIZE: usize = 32;

/// The key that the keys of datasets are encrypted with. It is what the user has,
/// or is made from that.
#[derive(Clone)]
pub struct WrappingKey(Zeroizing<[u8; WRAPPING_KEY_SIZE]>);

impl WrappingKey {
    /// The key that these bytes are.
    pub fn from_raw(bytes: &[u8; WRAPPING_KEY_SIZE]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The key that 64 hexadecimal digits are, of either case.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut key = Self(Zeroizing::default());
        if digits.len() != 2 * WRAPPING_KEY_SIZE {
            return None;
        }
        for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(key)
    }

    /// The key that PBKDF2 with HMAC-SHA1 makes from a passphrase, the salt of its
    /// encryption root and a number of iterations.
    pub fn from_passphrase(passphrase: &[u8], salt: u64, iterations: u32) -> Self {
        let mut key = Self(Zeroizing::default());
        pbkdf2::pbkdf2_hmac::<Sha1>(passphrase, &salt.to_le_bytes(), iterations, &mut *key.0);
        key
    }

    /// Fills `to` with bytes that follow from this key and from `purpose`, and that
    /// tell nothing of the key: HKDF with SHA-512. No part of the format; it is for
    /// those who must make the same keys from the same key again.
    ///
    /// # Panics
    /// If `to` is longer than 255 hashes.
    pub fn derive(&self, purpose: &[u8], to: &mut [u8]) {
        let derived = Hkdf::<Sha512>::new(None, &*self.0).expand(purpose, to);
        assert!(derived.is_ok(), "HKDF gives up to 255 hashes");
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey")
    }
}

/// The wrapping key is not the one that a key was encrypted with; or the
/// encrypted key was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wrapping key is wrong")]
pub struct WrongKey;

/// The keys of a dataset as they are stored, encrypted with a wrapping key. The
/// fields are named for their [`entry`](super::entry).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// What the dataset is encrypted with; these keys in the same mode, but with a
    /// key of 256 bits.
    pub suite: Suite,
    /// What the MACs cover.
    pub version: Version,
    /// What names the key.
    pub guid: u64,
    /// The initialization vector.
    pub iv: [u8; IV_SIZE],
    /// The MAC.
    pub mac: [u8; MAC_SIZE],
    /// The encrypted master key; bytes beyond the suite's key size are not used.
    pub master_key: [u8; MASTER_KEY_SIZE],
    /// The encrypted HMAC key.
    pub hmac_key: [u8; HMAC_KEY_SIZE],
}

impl WrappedKey {
    /// Decrypts the keys.
    ///
    /// # Errors
    /// [`WrongKey`] if their MAC does not hold.
    pub fn unwrap(&self, key: &WrappingKey) -> Result<DataKey, WrongKey> {
        let size = self.suite.key_size();
        let mut keys = Zeroizing::new([0; MASTER_KEY_SIZE + HMAC_KEY_SIZE]);
        let keys = &mut keys[..size + HMAC_KEY_SIZE];
        keys[..size].copy_from_slice(&self.master_key[..size]);
        keys[size..].copy_from_slice(&self.hmac_key);
        let aad = self.aad();
        let message = Message { key: &*key.0, iv: &self.iv, aad: &aad };
        self.suite.wrapping().decrypt(&message, keys, &self.mac).map_err(|_| WrongKey)?;
        let mut data_key = DataKey {
            suite: self.suite,
            version: self.version,
            master: Zeroizing::default(),
            hmac: Zeroizing::new([0; HMAC_KEY_SIZE]),
        };
        data_key.master[..size].copy_from_slice(&keys[..size]);
        data_key.hmac.copy_from_slice(&keys[size..]);
        Ok(data_key)
    }

    /// What the MAC covers besides the keys.
    fn aad(&self) -> Vec<u8> {
        let words = [self.guid, self.suite as u64, self.version as u64];
        let count = match self.version {
            Version::V0 => 1,
            Version::V1 => 3,
        };
        words[..count].iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// The keys of a dataset.
pub struct DataKey {
    pub(super) suite: Suite,
    pub(super) version: Version,
    /// The suite's key size of it is used.
    master: Zeroizing<[u8; MASTER_KEY_SIZE]>,
    pub(super) hmac: Zeroizing<[u8; HMAC_KEY_SIZE]>,
}

impl DataKey {
    /// A key of the current version. Of `master`, the suite's key size is used.
    pub fn new(suite: Suite, master: &[u8; MASTER_KEY_SIZE], hmac: &[u8; HMAC_KEY_SIZE]) -> Self {
        Self { suite, version: Version::V1, master: Zeroizing::new(*master), hmac: Zeroizing::new(*hmac) }
    }

    /// Encrypts the keys with a wrapping key. `guid` names them; no other keys may be
    /// encrypted with the same wrapping key and the same `iv`.
    ///
    /// # Errors
    /// None that a suite would give for so short a message.
    pub fn wrap(&self, key: &WrappingKey, guid: u64, iv: [u8; IV_SIZE]) -> Result<WrappedKey, Error> {
        let mut wrapped = WrappedKey {
            suite: self.suite,
            version: self.version,
            guid,
            iv,
            mac: [0; MAC_SIZE],
            master_key: [0; MASTER_KEY_SIZE],
            hmac_key: [0; HMAC_KEY_SIZE],
        };
        let size = self.suite.key_size();
        let mut keys = Zeroizing::new([&self.master[..size], &self.hmac[..]].concat());
        let aad = wrapped.aad();
        wrapped.mac = self.suite.wrapping().encrypt(&Message { key: &*key.0, iv: &iv, aad: &aad }, &mut keys)?;
        wrapped.master_key[..size].copy_from_slice(&keys[..size]);
        wrapped.hmac_key.copy_from_slice(&keys[size..]);
        Ok(wrapped)
    }

    /// The suite that the dataset is encrypted with.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The key of blocks with a salt: HKDF with SHA-512, the master key as the
    /// key material, no salt, and the block's salt as the information. The suite's
    /// key size of it is used.
    pub(super) fn block_key(&self, salt: &[u8; SALT_SIZE]) -> Zeroizing<[u8; MASTER_KEY_SIZE]> {
        let mut key = Zeroizing::new([0; MASTER_KEY_SIZE]);
        let size = self.suite.key_size();
        // HKDF refuses only what is longer than 255 hashes.
        _ = Hkdf::<Sha512>::new(None, &self.master[..size]).expand(salt, &mut key[..size]);
        key
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey of {}", self.suite)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Encrypts keys, of either version.
    pub(in super::super) fn wrap(
        suite: Suite,
        version: Version,
        key: &WrappingKey,
        master: [u8; 32],
        hmac: [u8; 64],
    ) -> WrappedKey {
        let keys = DataKey { version, ..DataKey::new(suite, &master, &hmac) };
        keys.wrap(key, 0x1234_5678, [3; IV_SIZE]).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_passphrase_makes_the_key_that_pbkdf2_says() {
        // RFC 6070 has no salt of 8 bytes: these are Python's hashlib.pbkdf2_hmac("sha1",
        // b"password", struct.pack("<Q", 0x0123456789abcdef), 1000, 32).
        let key = WrappingKey::from_passphrase(b"password", 0x0123_4567_89ab_cdef, 1000);
        assert_eq!(hex(&*key.0), "36ebf42905c9d9ded845ed4ea5a92763bda29e35da824306b9e33b2f42c4723e");
    }

    #[test]
    fn a_hexadecimal_key_has_64_digits() {
        let digits = b"000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
        let key = WrappingKey::from_hex(digits).unwrap();
        assert_eq!(*key.0, std::array::from_fn(|index| index as u8));
        assert!(WrappingKey::from_hex(&digits[1..]).is_none());
        assert!(WrappingKey::from_hex(&[digits.as_slice(), b"0"].concat()).is_none());
        assert!(WrappingKey::from_hex(&digits.map(|digit| if digit == b'F' { b'g' } else { digit })).is_none());
    }

    #[test]
    fn the_key_of_a_block_is_hkdf_of_master_key_and_salt() {
        let wrapping = WrappingKey::from_raw(&[1; 32]);
        let key = wrap(Suite::Aes256Gcm, Version::V1, &wrapping, [0x0b; 32], [2; 64]).unwrap(&wrapping).unwrap();
        // Python: HMAC-SHA512 by hand, prk = hmac(64 zeros, 32 * 0b), hmac(prk, salt + 01)[:32].
        assert_eq!(
            hex(&*key.block_key(&[0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7])),
            "1250602e4334311e7ce1e83180253989d38d713bcdab6710e0e80b54d4d4da94"
        );
    }

    #[test]
    fn keys_are_not_printed() {
        let wrapping = WrappingKey::from_raw(&[0x41; 32]);
        let key = wrap(Suite::Aes128Ccm, Version::V0, &wrapping, [0x41; 32], [0x41; 64]).unwrap(&wrapping).unwrap();
        assert_eq!(format!("{wrapping:?} {key:?}"), "WrappingKey DataKey of aes-128-ccm");
    }

    proptest! {
        #[test]
        fn keys_are_unwrapped_with_their_wrapping_key_only(
            suite in proptest::sample::select(&Suite::ALL[..]),
            version in prop_oneof![Just(Version::V0), Just(Version::V1)],
            wrapping: [u8; 32], master: [u8; 32], hmac_half: [u8; 32], bit in 0usize..8 * 16,
        ) {
            let mut hmac = [0; 64];
            hmac[..32].copy_from_slice(&hmac_half);
            let key = WrappingKey::from_raw(&wrapping);
            let wrapped = wrap(suite, version, &key, master, hmac);
            let unwrapped = wrapped.unwrap(&key).unwrap();
            let size = suite.key_size();
            prop_assert_eq!(&unwrapped.master[..size], &master[..size]);
            prop_assert_eq!(*unwrapped.hmac, hmac);

            let mut other = wrapping;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(wrapped.unwrap(&WrappingKey::from_raw(&other)).is_err());
            let mut changed = wrapped.clone();
            changed.hmac_key[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(changed.unwrap(&key).is_err());
            let mut changed = wrapped;
            changed.guid ^= 1;
            prop_assert!(changed.unwrap(&key).is_err());
        }
    }
}
