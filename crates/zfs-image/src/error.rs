//! Why an image cannot be built.

use std::io;
use std::path::PathBuf;

use zfs_ondisk::{checksum, crypt, label, nvlist, sa, zap};

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] tree::Error),
    /// The image cannot be written.
    #[error("{path}: writing the image failed: {source}", path = path.display())]
    Write {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Spec(String),
    /// The image is too small for its contents.
    #[error("the contents do not fit into an image of {size} bytes: at least {needed} bytes are needed")]
    TooSmall {
        /// Size asked for in bytes.
        size: u64,
        /// Size that would do in bytes.
        needed: u64,
    },
    /// Two names of one file belong to different datasets.
    #[error(
        "{first} and {second} are hard links to one file, but belong to the datasets {first_dataset} and \
         {second_dataset}; a link cannot cross datasets"
    )]
    CrossLink {
        /// A name of the file.
        first: String,
        /// The dataset it belongs to.
        first_dataset: String,
        /// Another name of it.
        second: String,
        /// The dataset that one belongs to.
        second_dataset: String,
    },
    /// More memory is needed than allowed.
    #[error("{what} takes {needed} bytes of memory and {limit} are allowed")]
    Memory {
        /// What needs it.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The attributes of a file do not fit.
    #[error("{path}: {source}")]
    Attributes {
        /// The file's path in the tree.
        path: String,
        /// Why.
        source: sa::TooLong,
    },
    /// A directory or table cannot be written.
    #[error("{object}: {source}")]
    Zap {
        /// The directory's path in the tree, or what the table is.
        object: String,
        /// Why.
        source: zap::PlanError,
    },
    /// A checksum cannot be computed.
    #[error(transparent)]
    Checksum(#[from] checksum::Error),
    /// A block cannot be encrypted.
    #[error("a block cannot be encrypted: {0}")]
    Crypt(#[from] crypt::Error),
    /// A thread ended before its work was done.
    #[error("a thread stopped in the middle of its work")]
    Stopped,
    /// A list of names and values cannot be packed.
    #[error(transparent)]
    NvList(#[from] nvlist::NvError),
    /// A label cannot be made.
    #[error(transparent)]
    Label(#[from] label::Error),
}
