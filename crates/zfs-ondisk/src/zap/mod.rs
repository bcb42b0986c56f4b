//! The ZFS attribute processor: named values in an object (`sys/zap.h`,
//! `sys/zap_impl.h`, `sys/zap_leaf.h`; ZFS on-disk specification, chapter 5).
//!
//! Directories, property lists and most tables of a pool are ZAPs. There are two
//! layouts. A micro ZAP ([`micro`]) is one block of 64-byte slots for names
//! shorter than 50 bytes with one 64-bit integer each. A fat ZAP ([`FatZap`])
//! is an extendible hash table: a header block, leaf blocks that hold the
//! entries whose hashes begin with the leaf's prefix, and a table of pointers to
//! the leaves, indexed by the first bits of the hash.
//!
//! [`Reader`] reads both, block by block. For writing, a caller lends its names
//! and values as [`Entries`]; [`ZapContents`] is the convenient form for the small
//! ZAPs of a pool.

mod contents;
mod fat;
mod hash;
mod leaf;
pub mod micro;
mod reader;
mod structure;

pub use contents::{ZapBlocks, ZapContents};
pub use fat::FatZap;
pub use hash::{HashBits, hash_key, hash_name};
pub use reader::{Iter, Reader};
pub use structure::{FatStructure, LeafStructure, Structure};

/// The block size of fat ZAPs, as a power of two, unless chosen otherwise
/// (`fzap_default_block_shift`).
pub const FAT_BLOCK_SHIFT: u32 = 14;

/// The longest name in bytes, without the NUL: 1023 in directories of datasets
/// with the `longname` property (`ZAP_MAXNAMELEN_NEW`). Everywhere else OpenZFS takes
/// 255 (`ZAP_MAXNAMELEN`).
pub const MAX_NAME: usize = 1023;

/// The largest value in bytes (`ZAP_MAXVALUELEN`).
pub const MAX_VALUE: usize = 8 << 10;

/// The hash has 48 significant bits instead of 28 (`ZAP_FLAG_HASH64`).
pub const FLAG_HASH64: u64 = 1;
/// Names are arrays of 64-bit integers (`ZAP_FLAG_UINT64_KEY`).
pub const FLAG_UINT64_KEY: u64 = 2;
/// The first integer of the name is its hash (`ZAP_FLAG_PRE_HASHED_KEY`).
pub const FLAG_PRE_HASHED_KEY: u64 = 4;

/// Names that differ in case only hash alike (`U8_TEXTPREP_TOUPPER`).
pub const NORM_TO_UPPER: u64 = 2;

const BLOCK_TYPE_LEAF: u64 = 1 << 63;
const BLOCK_TYPE_HEADER: u64 = (1 << 63) + 1;
const BLOCK_TYPE_MICRO: u64 = (1 << 63) + 3;

/// A ZAP that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZapError {
    /// A field has a value that it cannot have.
    #[error("ZAP block {block}: {expected} expected, found {found:#x}")]
    Corrupt {
        /// The block's number in the object.
        block: u64,
        /// What was expected.
        expected: &'static str,
        /// What is there.
        found: u64,
    },
    /// A block ends too early.
    #[error("ZAP block {block}: {source}")]
    Truncated {
        /// The block's number in the object.
        block: u64,
        /// Where, and what was expected.
        source: crate::bytes::Truncated,
    },
}

/// Entries that cannot be written as a ZAP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name is empty, contains a NUL, or is longer than [`MAX_NAME`].
    #[error("{0:?} cannot be a name in a ZAP: 1 to {MAX_NAME} bytes without NUL expected")]
    Name(String),
    /// Two entries have the same name.
    #[error("the name {0:?} occurs twice")]
    Duplicate(String),
    /// A value is larger than [`MAX_VALUE`] or than a leaf.
    #[error("the value of {name:?} is {size} bytes long, too large for a ZAP")]
    Value {
        /// The entry's name.
        name: String,
        /// The value's size in bytes.
        size: usize,
    },
    /// More names have the same hash than a leaf has room for; another salt
    /// distributes them otherwise.
    #[error("{count} names with the same hash do not fit into one leaf of a ZAP; choose another salt")]
    Collisions {
        /// How many names.
        count: usize,
    },
    /// The hash of a name that is not ASCII depends on Unicode's normal forms,
    /// which this writer does not know.
    #[error("{0:?} is not ASCII: such names are not supported where names are normalized")]
    Normalized(String),
    /// More than 2^32 - 1 entries, or a block size that OpenZFS does not take.
    #[error("a ZAP of {entries} entries in blocks of 2^{block_shift} bytes is not supported")]
    Size {
        /// The number of entries.
        entries: usize,
        /// The block size as a power of two.
        block_shift: u32,
    },
    /// Not a micro ZAP: see [`micro::fits`].
    #[error("{0:?} does not fit into a micro ZAP")]
    NotMicro(String),
}

/// An entry that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without its NUL. With [`FLAG_UINT64_KEY`], the key's integers,
    /// each as eight bytes, most significant first.
    pub name: Vec<u8>,
    /// The size of the value's integers in bytes: 1, 2, 4 or 8.
    pub integer_size: u8,
    /// The integers of the value.
    pub values: Vec<u64>,
    /// The collision differentiator: unique among names of the same hash.
    pub cd: u32,
}

impl Entry {
    /// The value, if it is one integer of any size.
    pub fn number(&self) -> Option<u64> {
        match self.values[..] {
            [n] => Some(n),
            _ => None,
        }
    }

    /// The value as bytes, if its integers are bytes.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        (self.integer_size == 1).then(|| self.values.iter().map(|&v| v as u8).collect())
    }

    /// The value as a string without the NUL that ends it, if its integers are
    /// bytes of UTF-8.
    pub fn text(&self) -> Option<String> {
        let mut bytes = self.bytes()?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        String::from_utf8(bytes).ok()
    }
}

/// The value of an entry to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// One 64-bit integer.
    Number(u64),
    /// 64-bit integers.
    Numbers(&'a [u64]),
    /// 16-bit integers.
    Shorts(&'a [u16]),
    /// Bytes; a string ends in a NUL of its own.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The size of the integers in bytes.
    fn integer_size(self) -> u8 {
        match self {
            Value::Number(_) | Value::Numbers(_) => 8,
            Value::Shorts(_) => 2,
            Value::Bytes(_) => 1,
        }
    }

    /// The number of integers.
    fn count(self) -> usize {
        match self {
            Value::Number(_) => 1,
            Value::Numbers(v) => v.len(),
            Value::Shorts(v) => v.len(),
            Value::Bytes(v) => v.len(),
        }
    }

    /// The size of the value in bytes.
    fn size(self) -> usize {
        self.count() * usize::from(self.integer_size())
    }
}

/// The entries of a ZAP to be written, which stay with the caller.
///
/// The order of the entries decides the order of equal hashes, and thereby
/// bytes on the disk: it must be the same in every run.
pub trait Entries {
    /// The number of entries.
    fn len(&self) -> usize;
    /// The name of entry `index`, without a NUL.
    fn name(&self, index: usize) -> &[u8];
    /// The value of entry `index`.
    fn value(&self, index: usize) -> Value<'_>;
    /// Whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a ZAP is written with besides its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// What the hash begins with; never zero.
    pub salt: u64,
    /// How names are normalized before they are hashed and compared
    /// (`U8_TEXTPREP_*`): 0, or the flags of the dataset's `normalization` and
    /// `casesensitivity`.
    pub norm_flags: u64,
    /// The block size of a fat ZAP as a power of two.
    pub block_shift: u32,
}

impl Params {
    /// Names as they are, blocks of 16 KiB. The salt is made odd, as OpenZFS does,
    /// so that it is never zero.
    pub fn new(salt: u64) -> Self {
        Params { salt: salt | 1, norm_flags: 0, block_shift: FAT_BLOCK_SHIFT }
    }

    /// The same with flags of normalization.
    #[must_use]
    pub fn normalized(self, norm_flags: u64) -> Self {
        Params { norm_flags, ..self }
    }

    /// The hash of a name in a ZAP with these parameters: 28 bits, at the top.
    fn hash(&self, name: &[u8]) -> Result<u64, PlanError> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) {
            return Err(PlanError::Name(lossy(name)));
        }
        if self.norm_flags != 0 && !name.is_ascii() {
            return Err(PlanError::Normalized(lossy(name)));
        }
        // No normal form changes ASCII: only the case is left.
        Ok(if self.norm_flags & NORM_TO_UPPER != 0 {
            hash_name(self.salt, &name.to_ascii_uppercase(), HashBits::Short)
        } else {
            hash_name(self.salt, name, HashBits::Short)
        })
    }
}

/// The entries' hashes and numbers, sorted, each packed into 64 bits: there are
/// a million in a large directory.
#[derive(Clone, Debug)]
struct Order(Vec<u64>);

impl Order {
    fn new<E: Entries + ?Sized>(entries: &E, params: &Params) -> Result<Self, PlanError> {
        let len = entries.len();
        if u32::try_from(len).is_err() {
            return Err(PlanError::Size { entries: len, block_shift: params.block_shift });
        }
        let mut order = (0..len)
            .map(|i| Ok(params.hash(entries.name(i))? >> 4 | i as u64))
            .collect::<Result<Vec<_>, PlanError>>()?;
        order.sort_unstable();
        let order = Order(order);
        order.refuse_duplicates(entries)?;
        Ok(order)
    }

    /// The hash of the entry in place `at`.
    fn hash(&self, at: usize) -> u64 {
        self.0[at] >> 32 << 36
    }

    /// The caller's number of the entry in place `at`.
    fn index(&self, at: usize) -> usize {
        self.0[at] as u32 as usize
    }

    /// The place behind the run of equal hashes that begins in place `at`.
    fn run_end(&self, at: usize) -> usize {
        let hash = self.hash(at);
        at + self.0[at..].partition_point(|packed| packed >> 32 << 36 == hash)
    }

    fn refuse_duplicates<E: Entries + ?Sized>(&self, entries: &E) -> Result<(), PlanError> {
        let mut at = 0;
        while at < self.0.len() {
            let end = self.run_end(at);
            if end - at > 1 {
                let mut names: Vec<_> = (at..end).map(|i| entries.name(self.index(i))).collect();
                names.sort_unstable();
                if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
                    return Err(PlanError::Duplicate(lossy(twice[0])));
                }
            }
            at = end;
        }
        Ok(())
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests;
