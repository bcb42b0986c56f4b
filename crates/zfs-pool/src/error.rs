//! Why something of a pool cannot be read.

use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::bytes::Truncated;
use zfs_ondisk::nvlist::NvError;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::zap::ZapError;
use zfs_ondisk::{dnode, objset, sa};

use crate::block::BadCopy;
use crate::crypt::Lock;

/// Why something of a pool cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device itself cannot be read.
    #[error("{device}: byte {offset}: {source}")]
    Io {
        /// Name of the device.
        device: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// No device was given.
    #[error("no device was given")]
    NoDevice,
    /// None of the four labels of a device is that of a pool.
    #[error("{device} is no member of a ZFS pool: {reason}")]
    NoLabel {
        /// Name of the device.
        device: String,
        /// What is wrong with its first label.
        reason: String,
    },
    /// The devices do not belong together.
    #[error("the devices belong to several pools: {first} and {second}")]
    SeveralPools {
        /// A device and its pool.
        first: String,
        /// Another device and its pool.
        second: String,
    },
    /// No valid uberblock, or none of the transaction group asked for.
    #[error("{}", no_uberblock(wanted, found))]
    NoUberblock {
        /// The transaction group asked for.
        wanted: Option<u64>,
        /// Those that there are, the newest first.
        found: Vec<u64>,
    },
    /// The newest state of the pool cannot be opened.
    #[error("the newest state, txg {txg}, cannot be opened: {source}{}", newest_clause(missing, readable))]
    Newest {
        /// Its transaction group.
        txg: u64,
        /// Devices that were not found, by their paths.
        missing: Vec<String>,
        /// The newest transaction group whose state can be opened.
        readable: Option<u64>,
        /// What is wrong with the newest.
        source: Box<Error>,
    },
    /// The pool has no checkpoint.
    #[error("the pool has no checkpoint")]
    NoCheckpoint,
    /// A vdev of a type that this reader does not know.
    #[error("vdev {id} is of type '{kind}', which is not supported yet")]
    UnsupportedVdev {
        /// Number of the top-level vdev.
        id: u64,
        /// Its type.
        kind: String,
    },
    /// Features that readers must know, and this one does not, between quotation marks.
    #[error("the pool has features that are needed for reading and not supported yet: '{0}'")]
    UnsupportedFeature(String),
    /// The pool is of a version that no ZFS reads, or of one before features
    /// that this reader does not know.
    #[error("the pool is of version {0}, expected 1 to 28 or 5000")]
    Version(u64),
    /// A block is encrypted, and was not read through its dataset.
    #[error("{0:?}: the block is encrypted, and it is not known for which dataset")]
    Encrypted(Box<BlockPointer>),
    /// A block is encrypted, and the key of its dataset is missing or wrong.
    #[error("{0}")]
    Locked(Box<Lock>),
    /// A block of an encrypted dataset is not what was written.
    #[error("{pointer:?}: {source}")]
    Crypt {
        /// The pointer.
        pointer: Box<BlockPointer>,
        /// What is wrong.
        source: zfs_ondisk::crypt::Error,
    },
    /// A block pointer has an impossible field.
    #[error("{pointer:?}: {field} is {value}, expected {expected}")]
    Pointer {
        /// The pointer.
        pointer: Box<BlockPointer>,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        expected: String,
    },
    /// No copy of a block can be read.
    #[error("{pointer:?}: no copy can be read: {}", list(copies))]
    Unreadable {
        /// The pointer.
        pointer: Box<BlockPointer>,
        /// What is wrong with each copy.
        copies: Vec<BadCopy>,
    },
    /// A block's contents are those that were written, but cannot be decompressed.
    #[error("{pointer:?}: {source}")]
    Decompress {
        /// The pointer.
        pointer: Box<BlockPointer>,
        /// What is wrong.
        source: zfs_ondisk::compress::Error,
    },
    /// The object does not exist.
    #[error("the object is not allocated")]
    NotAllocated,
    /// A structure ends too early.
    #[error("{what}: {source}")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// Where, and what was expected.
        source: Truncated,
    },
    /// A structure has a value that it cannot have.
    #[error("{what} is {found}, expected {expected}")]
    Malformed {
        /// Structure and field.
        what: &'static str,
        /// The value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A dnode is damaged.
    #[error(transparent)]
    Dnode(#[from] dnode::Error),
    /// The root of an object set is damaged.
    #[error(transparent)]
    ObjectSet(#[from] objset::Error),
    /// System attributes are damaged.
    #[error(transparent)]
    Attributes(#[from] sa::Error),
    /// A ZAP is damaged.
    #[error(transparent)]
    Zap(#[from] ZapError),
    /// The history is damaged.
    #[error(transparent)]
    History(#[from] zfs_ondisk::history::Error),
    /// An nvlist is damaged.
    #[error(transparent)]
    NvList(#[from] NvError),
    /// Something is wrong with an object.
    #[error("{object_set}, object {object}: {source}")]
    Object {
        /// Name of the object set: "MOS" or that of a dataset.
        object_set: String,
        /// The object.
        object: ObjectId,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A temporary file cannot be made, written or read.
    #[error("a temporary file in {folder}: {source}; another folder for it may have more room")]
    Scratch {
        /// The folder.
        folder: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no such dataset or snapshot.
    #[error("there is no dataset '{0}'")]
    NoDataset(String),
    /// There is no such file.
    #[error("{dataset}: there is no file '{path}'; the nearest that exists is '{nearest}'")]
    NoFile {
        /// The dataset.
        dataset: String,
        /// Path from its root.
        path: String,
        /// The longest beginning of the path that exists.
        nearest: String,
    },
    /// Symbolic links lead in a circle, or it seems so.
    #[error("{dataset}: '{path}' leads through too many symbolic links")]
    Links {
        /// The dataset.
        dataset: String,
        /// Path from its root.
        path: String,
    },
    /// A block is not in the pool on purpose.
    #[error("the block was left out of a redacted send")]
    Redacted,
    /// Something was asked of a file of another type.
    #[error("the file is not a {0}")]
    NotA(&'static str),
}

impl Error {
    /// The error with the object in which it occurred, unless it has one.
    pub(crate) fn in_object(self, object_set: &str, object: ObjectId) -> Self {
        match self {
            Self::Object { .. } => self,
            source => Self::Object { object_set: object_set.to_owned(), object, source: Box::new(source) },
        }
    }

    /// The error of a temporary file.
    pub(crate) fn scratch(folder: &std::path::Path, source: std::io::Error) -> Self {
        Self::Scratch { folder: folder.display().to_string(), source }
    }

    /// For `map_err`: the error of a structure that ends too early.
    pub(crate) fn truncated(what: &'static str) -> impl Fn(Truncated) -> Self {
        move |source| Self::Truncated { what, source }
    }

    /// The error without the object in which it occurred.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Object { source, .. } => source.cause(),
            other => other,
        }
    }
}

fn no_uberblock(wanted: &Option<u64>, found: &[u64]) -> String {
    let there = match (found.first(), found.last()) {
        (Some(newest), Some(oldest)) if newest != oldest => format!("; there are some of txg {oldest} to {newest}"),
        (Some(only), _) => format!("; there is one of txg {only}"),
        _ => String::new(),
    };
    let which = wanted.map_or(String::new(), |txg| format!(" of txg {txg}"));
    format!("no uberblock{which} was found in the labels{there}")
}

fn newest_clause(missing: &[String], readable: &Option<u64>) -> String {
    let mut clause = String::new();
    if !missing.is_empty() {
        clause.push_str(&format!("; devices were not found: {}", missing.join(", ")));
    }
    if let Some(txg) = readable {
        clause.push_str(&format!("; the newest state that can be opened is txg {txg}"));
    }
    clause
}

fn list(copies: &[BadCopy]) -> String {
    let copies: Vec<String> = copies.iter().map(BadCopy::to_string).collect();
    if copies.is_empty() { "it has none".into() } else { copies.join("; ") }
}
