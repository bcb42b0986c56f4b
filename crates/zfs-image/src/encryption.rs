//! Encrypted datasets: which are, and the keys that they are written with.
//!
//! OpenZFS draws its keys, salts and initialization vectors at random. Here they are
//! derived, so that the same input gives the same bytes, and so that no pair of key and
//! vector ever serves two messages, which in GCM and CCM would give both of them away:
//!
//! ```text
//! file with the key -> wrapping key W          PBKDF2 for a passphrase
//! HKDF(W, seed, dataset) -> master key, HMAC key, vector key V, salt of all its blocks
//! HMAC(V, object, block, contents) -> vector of a block, its first 96 bits
//! ```
//!
//! - The vector follows from all that is encrypted or covered by the MAC, and from where
//!   it belongs. Two messages with one vector would be two inputs on which HMAC-SHA512
//!   agrees in 96 bits: as unlikely as a random vector drawn twice. This is the
//!   construction of SIV (Rogaway and Shrimpton, 2006), with OpenZFS's modes inside.
//!   OpenZFS does the same, without the place, for blocks to be deduplicated.
//! - Everything comes from W, never from a passphrase itself: whoever tries passphrases
//!   has to go through PBKDF2 for each.
//! - The seed is that of the specification and of names, sizes and times of all files:
//!   other images have other keys, and other salts of passphrases. It is no secret.
//! - A kernel that goes on with the pool draws a salt of its own when it loads the key,
//!   and so encrypts with other block keys than those here.
//!
//! What reproducible output costs: whoever has two images made with one key sees which
//! blocks are the same at the same place in both. Within an image nothing of the kind
//! can be seen.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::Zeroizing;
use zfs_ondisk::crypt::{
    DataKey, HMAC_KEY_SIZE, IV_SIZE, KeyFormat, MASTER_KEY_SIZE, Nonce, SALT_SIZE, Suite, WRAPPING_KEY_SIZE,
    WrappedKey, WrappingKey,
};
use zfs_ondisk::property::StoredValue;

use crate::block::Address;
use crate::error::Error;
use crate::guids::Seed;
use crate::plan::Dataset;
use crate::settings::Properties;
use crate::spec::DatasetSpec;

/// Values of the property `encryption`.
const ENCRYPTION_ON: u64 = 1;
const ENCRYPTION_OFF: u64 = 2;
/// What `encryption=on` stands for (`ZIO_CRYPT_ON_VALUE`).
const DEFAULT_SUITE: Suite = Suite::Aes256Gcm;
/// The property `pbkdf2iters` where it is not given (`DEFAULT_PBKDF2_ITERATIONS`).
const DEFAULT_ITERATIONS: u64 = 350_000;
/// Bytes that a passphrase has (`MIN_PASSPHRASE_LEN`, `MAX_PASSPHRASE_LEN`).
const PASSPHRASE: std::ops::RangeInclusive<usize> = 8..=512;

/// The contents of a file with the key of an encryption root, as `keylocation=file://`
/// would have it: 32 bytes, 64 hexadecimal digits, or a passphrase in the first line.
/// Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct KeyFile(Zeroizing<Vec<u8>>);

impl KeyFile {
    /// With these contents.
    pub fn new(contents: Vec<u8>) -> Self {
        Self(Zeroizing::new(contents))
    }

    /// What is in the file.
    pub fn contents(&self) -> &[u8] {
        &self.0
    }

    /// The wrapping key, or what is wrong with the file.
    fn wrapping_key(&self, key: &RootKey, salt: u64) -> Result<WrappingKey, String> {
        match key.format {
            KeyFormat::Raw => match <&[u8; WRAPPING_KEY_SIZE]>::try_from(self.0.as_slice()) {
                Ok(bytes) => Ok(WrappingKey::from_raw(bytes)),
                Err(_) => Err(format!("its key has {} bytes, where keyformat=raw wants 32", self.0.len())),
            },
            KeyFormat::Hex => WrappingKey::from_hex(self.0.strip_suffix(b"\n").unwrap_or(&self.0))
                .ok_or_else(|| "its key is not what keyformat=hex wants: 64 hexadecimal digits".to_owned()),
            KeyFormat::Passphrase => {
                let line = self.0.split(|&byte| byte == b'\n').next().unwrap_or_default();
                if !PASSPHRASE.contains(&line.len()) {
                    return Err(format!("its passphrase has {} bytes, where 8 to 512 are expected", line.len()));
                }
                Ok(WrappingKey::from_passphrase(line, salt, key.iterations))
            }
        }
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile")
    }
}

/// How a dataset is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encryption {
    pub(crate) suite: Suite,
    /// Index of its encryption root.
    pub(crate) root: usize,
    /// What the wrapping key of that is made from.
    pub(crate) key: RootKey,
}

/// What an encryption root says of its wrapping key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RootKey {
    pub(crate) format: KeyFormat,
    /// Iterations of PBKDF2; 0 if it is no passphrase.
    pub(crate) iterations: u32,
}

/// How dataset `index`, which comes after its parent, is to be encrypted.
pub(crate) fn of(spec: &DatasetSpec, index: usize, parent: Option<&Dataset>) -> Result<Option<Encryption>, Error> {
    let failed = |what: &str| Err(Error::Spec(format!("dataset {}: {what}", spec.name)));
    let properties = Properties(vec![&spec.properties]);
    let own = |name: &str| match properties.own(name) {
        Some(StoredValue::Number(number)) => Some(*number),
        _ => None,
    };
    let inherited = parent.and_then(|parent| parent.encryption);
    let suite = match own("encryption") {
        None => inherited.map(|above| above.suite),
        Some(ENCRYPTION_OFF) => None,
        Some(ENCRYPTION_ON) => Some(DEFAULT_SUITE),
        Some(number) => Suite::from_number(number),
    };
    let format = own("keyformat").and_then(KeyFormat::from_number);
    let Some(suite) = suite else {
        return match (format, own("pbkdf2iters"), &spec.key) {
            (None, None, None) => Ok(None),
            _ => failed("it has a key, but not encryption=on"),
        };
    };
    let Some(format) = format else {
        return match (inherited, &spec.key) {
            (_, Some(_)) => failed("it has a key, but no keyformat=passphrase, hex or raw"),
            (None, _) => failed("encryption needs keyformat=passphrase, hex or raw"),
            (Some(_), None) if own("pbkdf2iters").is_some() || properties.own("keylocation").is_some() => {
                failed("it has the key of the dataset above; keyformat= would give it one of its own")
            }
            (Some(above), None) => Ok(Some(Encryption { suite, ..above })),
        };
    };
    if spec.key.is_none() {
        return failed("its key is missing: --key NAME=FILE gives it");
    }
    let iterations = match (format, own("pbkdf2iters")) {
        (KeyFormat::Passphrase, given) => given.unwrap_or(DEFAULT_ITERATIONS),
        (_, None) => 0,
        (_, Some(_)) => return failed("pbkdf2iters is for keyformat=passphrase"),
    };
    let Ok(iterations) = u32::try_from(iterations) else { return failed("pbkdf2iters is too large") };
    Ok(Some(Encryption { suite, root: index, key: RootKey { format, iterations } }))
}

/// What is stored of the keys of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct StoredKey {
    pub(crate) wrapped: WrappedKey,
    /// The salt of the passphrase of its encryption root; 0 if it has none.
    pub(crate) salt: u64,
}

/// The keys of datasets, by their index. Clones have those of their origins.
#[derive(Default)]
pub(crate) struct Keys {
    /// What their blocks are encrypted with.
    pub(crate) ciphers: Vec<Option<Cipher>>,
    /// What is stored of that.
    pub(crate) stored: Vec<Option<StoredKey>>,
}

/// The keys of the datasets that are encrypted.
pub(crate) fn keys(specs: &[DatasetSpec], datasets: &[Dataset], seed: &Seed) -> Result<Keys, Error> {
    let mut roots: Vec<Option<(WrappingKey, u64)>> = Vec::with_capacity(datasets.len());
    for (index, dataset) in datasets.iter().enumerate() {
        let key = match dataset.encryption {
            Some(Encryption { root, key, .. }) if root == index => {
                let salt = match key.format {
                    KeyFormat::Passphrase => seed.number(&format!("salt of the passphrase of {}", dataset.name)),
                    KeyFormat::Raw | KeyFormat::Hex => 0,
                };
                let file = specs.iter().find(|spec| spec.name == dataset.name).and_then(|spec| spec.key.as_ref());
                let wrapping = file.ok_or_else(|| "its key is missing".to_owned());
                let wrapping = wrapping.and_then(|file| file.wrapping_key(&key, salt));
                Some((wrapping.map_err(|what| Error::Spec(format!("dataset {}: {what}", dataset.name)))?, salt))
            }
            _ => None,
        };
        roots.push(key);
    }
    let keys = datasets.iter().map(|dataset| match dataset.encryption {
        Some(encryption) if dataset.origin.is_none() => {
            let Some((wrapping, salt)) = &roots[encryption.root] else { return Ok(None) };
            let (cipher, wrapped) = Cipher::derive(wrapping, encryption.suite, &dataset.name, seed)?;
            Ok(Some((cipher, StoredKey { wrapped, salt: *salt })))
        }
        _ => Ok(None),
    });
    let keys = keys.collect::<Result<Vec<_>, Error>>()?;
    let (ciphers, stored) = keys.into_iter().map(Option::unzip).unzip();
    Ok(Keys { ciphers, stored })
}

/// What the blocks of a dataset are encrypted with.
pub(crate) struct Cipher {
    pub(crate) key: DataKey,
    vectors: Zeroizing<[u8; HMAC_KEY_SIZE]>,
    salt: [u8; SALT_SIZE],
}

impl Cipher {
    /// That of a dataset, and its keys as they are stored.
    fn derive(wrapping: &WrappingKey, suite: Suite, name: &str, seed: &Seed) -> Result<(Self, WrappedKey), Error> {
        let purpose =
            |what: &str| [b"tine zfs-image 1: ", what.as_bytes(), &seed.key_context(), name.as_bytes()].concat();
        let mut master = Zeroizing::new([0; MASTER_KEY_SIZE]);
        let mut hmac = Zeroizing::new([0; HMAC_KEY_SIZE]);
        let mut vectors = Zeroizing::new([0; HMAC_KEY_SIZE]);
        let mut salt = [0; SALT_SIZE];
        wrapping.derive(&purpose("master key"), &mut *master);
        wrapping.derive(&purpose("HMAC key"), &mut *hmac);
        wrapping.derive(&purpose("vectors"), &mut *vectors);
        wrapping.derive(&purpose("salt"), &mut salt);
        let key = DataKey::new(suite, &master, &hmac);
        let guid = seed.number(&format!("GUID of the key of {name}"));
        // The vector of the two keys follows from them, as those of blocks do, with a
        // key that all datasets of the encryption root have in common.
        let mut shared = Zeroizing::new([0; HMAC_KEY_SIZE]);
        wrapping.derive(b"tine zfs-image 1: vectors of keys", &mut *shared);
        let iv = vector(&shared, &[&guid.to_le_bytes(), &[suite as u8], &*master, &*hmac]);
        let wrapped = key.wrap(wrapping, guid, iv)?;
        Ok((Self { key, vectors, salt }, wrapped))
    }

    /// Encrypts in place what is stored of a block of level 0; gives its nonce and MAC.
    pub(crate) fn seal(&self, address: &Address, stored: &mut [u8]) -> Result<(Nonce, [u8; 16]), Error> {
        let place = [address.object.0.to_le_bytes(), address.block.to_le_bytes()].concat();
        let encrypted = address.object_type.is_encrypted();
        let iv = if encrypted { vector(&self.vectors, &[&place, stored]) } else { [0; IV_SIZE] };
        let nonce = Nonce { salt: self.salt, iv };
        let mac = self.key.seal(address.object_type, &nonce, stored)?;
        Ok((nonce, mac))
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

/// An initialization vector that follows from a message, of whose parts all but the last
/// have fixed lengths.
fn vector(key: &[u8; HMAC_KEY_SIZE], message: &[&[u8]]) -> [u8; IV_SIZE] {
    let mut hmac: Hmac<Sha512> =
        Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    message.iter().for_each(|part| hmac.update(part));
    let mut iv = [0; IV_SIZE];
    iv.copy_from_slice(&hmac.finalize().into_bytes()[..IV_SIZE]);
    iv
}

#[cfg(test)]
mod tests {
    use zfs_ondisk::object::{ObjectId, ObjectType};

    use super::*;
    use crate::spec::PoolSpec;

    fn derive(wrapping: u8, name: &str) -> (Cipher, WrappedKey) {
        let seed = Seed::of_spec(&PoolSpec::new("pool"));
        Cipher::derive(&WrappingKey::from_raw(&[wrapping; 32]), Suite::Aes256Gcm, name, &seed).unwrap()
    }

    fn nonce((cipher, _): &(Cipher, WrappedKey), block: u64, contents: &[u8]) -> Nonce {
        let address = Address { object_type: ObjectType::PLAIN_FILE_CONTENTS, level: 0, object: ObjectId(7), block };
        cipher.seal(&address, &mut contents.to_vec()).unwrap().0
    }

    #[test]
    fn a_vector_follows_from_key_place_and_contents() {
        let keys = derive(1, "pool/a");
        let first = nonce(&keys, 0, b"contents");
        assert_eq!(first, nonce(&derive(1, "pool/a"), 0, b"contents"));
        for other in [
            nonce(&keys, 1, b"contents"),
            nonce(&keys, 0, b"content"),
            nonce(&derive(2, "pool/a"), 0, b"contents"),
            nonce(&derive(1, "pool/b"), 0, b"contents"),
        ] {
            assert_ne!(first.iv, other.iv);
        }
    }

    #[test]
    fn the_keys_of_a_dataset_open_with_the_wrapping_key_and_are_those_of_no_other() {
        let (a, b) = (derive(1, "pool/a").1, derive(1, "pool/b").1);
        assert!(a.unwrap(&WrappingKey::from_raw(&[1; 32])).is_ok());
        assert!(a.unwrap(&WrappingKey::from_raw(&[2; 32])).is_err());
        assert_ne!((a.iv, a.master_key), (b.iv, b.master_key));
    }

    #[test]
    fn a_key_file_is_what_its_format_says() {
        let check = |format, contents: &[u8]| {
            KeyFile::new(contents.to_vec()).wrapping_key(&RootKey { format, iterations: 1 }, 1).map(drop)
        };
        assert_eq!(check(KeyFormat::Raw, &[0; 32]), Ok(()));
        assert!(check(KeyFormat::Raw, &[0; 33]).unwrap_err().contains("33 bytes"));
        assert_eq!(check(KeyFormat::Hex, &[&[b'a'; 64][..], b"\n"].concat()), Ok(()));
        assert!(check(KeyFormat::Hex, &[b'x'; 64]).is_err());
        assert_eq!(check(KeyFormat::Passphrase, b"12345678\nmore"), Ok(()));
        assert!(check(KeyFormat::Passphrase, b"1234567\nmore").unwrap_err().contains("7 bytes"));
        assert_eq!(format!("{:?}", KeyFile::new(b"12345678".to_vec())), "KeyFile");
    }
}
