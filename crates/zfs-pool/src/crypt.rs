//! Encrypted datasets: the keys that the user gave, and how object sets are read
//! with them or without.
//!
//! Without its key, of an encrypted dataset can be read: its name, properties and
//! space, its block trees with the fixed parts of its dnodes, and what ZFS only
//! authenticates. All checksums, and the MACs of indirect blocks, are verified.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;
use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::crypt::{self, DataKey, KeyFormat, Suite, Version, WRAPPING_KEY_SIZE, WrappedKey, WrappingKey, entry};
use zfs_ondisk::dnode::Dnode;
use zfs_ondisk::object::{ObjectId, ObjectType};

use crate::dataset::{Dataset, read_dir};
use crate::error::Error;
use crate::object::{Object, ObjectSet};
use crate::pool::{MOS, Pool};
use crate::zap::Zap;

/// More iterations of PBKDF2 are refused: they would take minutes. OpenZFS has no
/// limit, and makes 350,000.
const MAX_ITERATIONS: u64 = 100_000_000;

/// What a user has for encrypted datasets. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub enum Secret {
    /// For encryption roots with `keyformat=passphrase`.
    Passphrase(Zeroizing<Vec<u8>>),
    /// For those with `keyformat=raw` and `keyformat=hex`.
    Key(WrappingKey),
}

impl Secret {
    /// The passphrase in a file: like OpenZFS, the first line without its end.
    pub fn passphrase_in(contents: &[u8]) -> Self {
        let line = contents.split(|&byte| byte == b'\n').next().unwrap_or_default();
        Self::Passphrase(Zeroizing::new(line.to_vec()))
    }

    /// The key in a file: 32 bytes, or 64 hexadecimal digits that a newline may
    /// follow. `None` if it is neither.
    pub fn key_in(contents: &[u8]) -> Option<Self> {
        if let Ok(raw) = <&[u8; WRAPPING_KEY_SIZE]>::try_from(contents) {
            return Some(Self::Key(WrappingKey::from_raw(raw)));
        }
        let digits = contents.strip_suffix(b"\n").unwrap_or(contents);
        WrappingKey::from_hex(digits).map(Self::Key)
    }

    fn fits(&self, format: KeyFormat) -> bool {
        matches!(self, Self::Passphrase(_)) == (format == KeyFormat::Passphrase)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "passphrase",
            Self::Key(_) => "key",
        })
    }
}

/// How a dataset is encrypted.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// The object of the MOS with its key. Snapshots and clones share it.
    pub key_object: ObjectId,
    /// The property `encryption`.
    pub suite: Suite,
    /// The property `encryptionroot`: the dataset whose wrapping key its key is
    /// encrypted with.
    pub root: String,
    /// The property `keyformat`.
    pub format: KeyFormat,
    /// The property `pbkdf2iters`; 0 unless the format is a passphrase.
    pub iterations: u64,
    salt: u64,
    wrapped: WrappedKey,
}

/// Why what is encrypted in a dataset cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The dataset or snapshot.
    pub dataset: String,
    /// Its encryption root, whose key is needed.
    pub root: String,
    /// In which form that key is.
    pub format: KeyFormat,
    /// How many keys of that form were tried, and are wrong.
    pub tried: usize,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataset, root, format, tried } = self;
        let what = if *format == KeyFormat::Passphrase { "passphrase" } else { "key" };
        match tried {
            0 if dataset == root => write!(f, "{root} is encrypted, and its {what} was not given"),
            0 => write!(f, "{dataset} is encrypted, and the {what} of its encryption root {root} was not given"),
            1 => write!(f, "the {what} is wrong for {root}"),
            _ => write!(f, "each of the {tried} {what}s is wrong for {root}"),
        }
    }
}

impl Pool {
    /// Adds a secret. It is tried, after those that were added before, on every
    /// encryption root of its form whose datasets are opened from now on.
    pub fn add_secret(&self, secret: Secret) {
        self.keys().lock().secrets.push(secret);
    }

    /// The lock that secrets were tried on in vain, if one of these secrets has opened nothing else either: it is
    /// wrong, or for another pool.
    pub fn wrong_secret(&self) -> Option<Lock> {
        let state = self.keys().lock();
        let is_useless = |number: usize, lock: &Lock| {
            state.secrets.get(number).is_some_and(|secret| secret.fits(lock.format)) && !state.used.contains(&number)
        };
        let is_wrong = |lock: &&Lock| (0..state.secrets.len()).any(|number| is_useless(number, lock));
        state.refused.values().find(is_wrong).cloned()
    }
}

impl Dataset {
    /// How it is encrypted; `None` if it is not.
    ///
    /// # Errors
    /// If that cannot be read, or is not known to this reader.
    pub fn encryption(&self) -> Result<Option<Encryption>, Error> {
        let mos = self.pool().mos()?;
        let directory = mos.object(self.dir_object)?;
        if !directory.dnode().object_type.is_zap() {
            return Ok(None);
        }
        let Some(key) = directory.zap()?.number(crypt::KEY_OBJECT)? else { return Ok(None) };
        let object = mos.object(ObjectId(key))?;
        let mut read = Reader { zap: object.zap()?, object: &object };
        let wrapped = WrappedKey {
            suite: read.known(entry::SUITE, "encryption suite", Suite::from_number)?,
            version: match read.zap.number(entry::VERSION)? {
                None => Version::V0,
                Some(_) => read.known(entry::VERSION, "version of the encryption", Version::from_number)?,
            },
            guid: read.number(entry::GUID)?,
            iv: read.bytes(entry::IV)?,
            mac: read.bytes(entry::MAC)?,
            master_key: read.bytes(entry::MASTER_KEY)?,
            hmac_key: read.bytes(entry::HMAC_KEY)?,
        };
        let root = ObjectId(read.number(entry::ROOT)?);
        Ok(Some(Encryption {
            key_object: object.id(),
            suite: wrapped.suite,
            root: match self.ancestor(&mos, root)? {
                Some(name) => name,
                None => self.pool().directory_name(root)?,
            },
            format: read.known(entry::KEY_FORMAT, "key format", KeyFormat::from_number)?,
            iterations: read.zap.number(entry::PBKDF2_ITERATIONS)?.unwrap_or(0),
            salt: read.zap.number(entry::PBKDF2_SALT)?.unwrap_or(0),
            wrapped,
        }))
    }

    /// Its name, or that of a dataset above it, if `directory` is of that.
    fn ancestor(&self, mos: &ObjectSet, directory: ObjectId) -> Result<Option<String>, Error> {
        let mut name = self.name.split('@').next().unwrap_or_default();
        let (mut id, mut parent) = (self.dir_object, ObjectId(self.dir.parent));
        while id != directory {
            match name.rsplit_once('/') {
                Some((above, _)) => name = above,
                None => return Ok(None),
            }
            id = parent;
            parent = ObjectId(read_dir(mos, id)?.parent);
        }
        Ok(Some(name.to_owned()))
    }

    /// What its object set is read with.
    pub(crate) fn access(&self) -> Result<Access, Error> {
        let Some(encryption) = self.encryption()? else { return Ok(Access::Plain) };
        let unlocked = self.pool().keys().unlock(&encryption);
        Ok(match unlocked.map_err(|error| error.in_object(MOS, encryption.key_object))? {
            Ok(key) => Access::Open(encryption.key_object, key),
            Err(tried) => {
                let Encryption { root, format, .. } = encryption;
                let lock = Lock { dataset: self.name.clone(), root, format, tried };
                if tried > 0 {
                    self.pool().keys().lock().refused.insert(lock.root.clone(), lock.clone());
                }
                Access::Locked(Box::new(lock))
            }
        })
    }
}

fn missing(what: &'static str) -> Error {
    Error::Malformed { what, found: "missing".into(), expected: "one" }
}

/// The entries of the ZAP of a key.
struct Reader<'a> {
    zap: Zap,
    object: &'a Object,
}

impl Reader<'_> {
    fn number(&mut self, name: &'static str) -> Result<u64, Error> {
        self.zap.number(name)?.ok_or_else(|| self.object.failed(missing(name)))
    }

    /// A number that stands for something.
    fn known<T>(&mut self, name: &'static str, what: &'static str, from: fn(u64) -> Option<T>) -> Result<T, Error> {
        let number = self.number(name)?;
        from(number).ok_or_else(|| {
            let found = format!("{number} ('{name}')");
            self.object.failed(Error::Malformed { what, found, expected: "one that is known" })
        })
    }

    fn bytes<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], Error> {
        let entry = self.zap.lookup(name.as_bytes())?;
        let bytes = entry.ok_or_else(|| self.object.failed(missing(name)))?.bytes().unwrap_or_default();
        <[u8; N]>::try_from(bytes).map_err(|bytes| {
            let found = format!("{} bytes long", bytes.len());
            self.object.failed(Error::Malformed { what: name, found, expected: "its proper length" })
        })
    }
}

/// The secrets that were given, and the keys that they led to.
#[derive(Default)]
pub(crate) struct Keys(Mutex<Unlocked>);

#[derive(Default)]
struct Unlocked {
    secrets: Vec<Secret>,
    /// The numbers of those that were right for something.
    used: BTreeSet<usize>,
    /// By encryption root, what none of them was right for.
    refused: BTreeMap<String, Lock>,
    /// By the number of the passphrase, its salt and its iterations: making one
    /// takes a good part of a second.
    wrapping: HashMap<(usize, u64, u32), WrappingKey>,
    /// By the object of the MOS with the wrapped key.
    data: HashMap<ObjectId, Arc<DataKey>>,
}

impl Keys {
    fn lock(&self) -> std::sync::MutexGuard<'_, Unlocked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a dataset, or how many secrets were tried in vain.
    fn unlock(&self, encryption: &Encryption) -> Result<Result<Arc<DataKey>, usize>, Error> {
        let mut state = self.lock();
        let Unlocked { secrets, used, wrapping, data, .. } = &mut *state;
        if let Some(key) = data.get(&encryption.key_object) {
            return Ok(Ok(key.clone()));
        }
        let mut tried = 0;
        for (number, secret) in secrets.iter().enumerate().filter(|(_, secret)| secret.fits(encryption.format)) {
            tried += 1;
            let key = match secret {
                Secret::Key(key) => key,
                Secret::Passphrase(passphrase) => {
                    let (salt, iterations) = (encryption.salt, iterations(encryption.iterations)?);
                    wrapping
                        .entry((number, salt, iterations))
                        .or_insert_with(|| WrappingKey::from_passphrase(passphrase, salt, iterations))
                }
            };
            if let Ok(key) = encryption.wrapped.unwrap(key) {
                let key = Arc::new(key);
                data.insert(encryption.key_object, key.clone());
                used.insert(number);
                return Ok(Ok(key));
            }
        }
        Ok(Err(tried))
    }
}

fn iterations(number: u64) -> Result<u32, Error> {
    u32::try_from(number).ok().filter(|_| (1..=MAX_ITERATIONS).contains(&number)).ok_or_else(|| Error::Malformed {
        what: "the number of iterations of PBKDF2",
        found: number.to_string(),
        expected: "1 to 100 million",
    })
}

/// What an object set is read with.
#[derive(Clone)]
pub(crate) enum Access {
    /// It is not encrypted.
    Plain,
    /// It is, and its key is not there.
    Locked(Box<Lock>),
    /// With this key, which is in this object of the MOS.
    Open(ObjectId, Arc<DataKey>),
}

impl Access {
    /// Whether the contents of a block can be had.
    pub(crate) fn permits(&self, pointer: &BlockPointer) -> Result<(), Error> {
        match self {
            _ if !pointer.is_encrypted() => Ok(()),
            Self::Open(..) => Ok(()),
            // Only the bonus buffers in it are encrypted; see `visible`.
            Self::Locked(_) if pointer.object_type() == ObjectType::DNODE => Ok(()),
            Self::Locked(lock) => Err(Error::Locked(lock.clone())),
            Self::Plain => Err(Error::Encrypted(Box::new(*pointer))),
        }
    }

    /// Turns what is stored of a block into what was there before it was
    /// encrypted, in place, and verifies the MAC: as far as there is a key.
    pub(crate) fn decrypt(&self, pointer: &BlockPointer, stored: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Open(_, key) => key.open(pointer, stored).map_err(|source| failed(pointer, source)),
            _ => self.permits(pointer),
        }
    }

    /// A dnode without what cannot be read of it.
    pub(crate) fn visible(&self, mut dnode: Dnode) -> Dnode {
        if matches!(self, Self::Locked(_)) && dnode.bonus_type.is_encrypted() {
            dnode.bonus.clear();
        }
        dnode
    }

    /// What tells blocks apart that look different with different keys, for the
    /// cache: 0 without a key.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Open(object, _) => object.0,
            _ => 0,
        }
    }
}

/// Verifies the MAC of an indirect block, which takes no key.
pub(crate) fn verify_pointers(pointer: &BlockPointer, contents: &[u8]) -> Result<(), Error> {
    crypt::verify_pointers(pointer, contents).map_err(|source| failed(pointer, source))
}

fn failed(pointer: &BlockPointer, source: crypt::Error) -> Error {
    Error::Crypt { pointer: Box::new(*pointer), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(dataset: &str, format: KeyFormat, tried: usize) -> String {
        Lock { dataset: dataset.into(), root: "zroot/secret".into(), format, tried }.to_string()
    }

    #[test]
    fn a_lock_names_the_encryption_root_and_what_is_needed() {
        assert_eq!(lock("zroot/secret", KeyFormat::Hex, 0), "zroot/secret is encrypted, and its key was not given");
        assert_eq!(
            lock("zroot/secret/a@s", KeyFormat::Passphrase, 0),
            "zroot/secret/a@s is encrypted, and the passphrase of its encryption root zroot/secret was not given"
        );
        assert_eq!(lock("zroot/secret/a", KeyFormat::Passphrase, 1), "the passphrase is wrong for zroot/secret");
        assert_eq!(lock("zroot/secret/a", KeyFormat::Raw, 2), "each of the 2 keys is wrong for zroot/secret");
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_its_file() {
        for contents in ["correct horse", "correct horse\n", "correct horse\nnot this\n"] {
            let Secret::Passphrase(found) = Secret::passphrase_in(contents.as_bytes()) else { panic!("no passphrase") };
            assert_eq!(found.as_slice(), b"correct horse");
        }
    }

    #[test]
    fn a_key_file_has_32_bytes_or_64_digits() {
        assert!(Secret::key_in(&[b'\n'; 32]).is_some());
        assert!(Secret::key_in(&[b'a'; 64]).is_some());
        assert!(Secret::key_in(&[&[b'a'; 64][..], b"\n"].concat()).is_some());
        for wrong in [&[b'a'; 33][..], &[b'x'; 64], &[b'a'; 65], b""] {
            assert!(Secret::key_in(wrong).is_none());
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secrets = [Secret::passphrase_in(b"hush"), Secret::key_in(&[b'a'; 32]).unwrap()];
        assert_eq!(format!("{secrets:?}"), "[passphrase, key]");
    }
}
