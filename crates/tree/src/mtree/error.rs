//! What can be wrong with a manifest.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, PathBytes};

/// What is wrong with a line of a manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A line is longer than any sensible one.
    #[error("a line is longer than {limit} bytes")]
    LineTooLong {
        /// The longest that is accepted, in bytes.
        limit: usize,
    },
    /// A backslash stands before something that vis(3) does not write.
    #[error("bad escape in '{word}'")]
    Escape {
        /// The word it stands in.
        word: PathBytes,
    },
    /// A line that begins with `/` is neither `/set` nor `/unset` nor a path.
    #[error("bad value: '{word}'")]
    Value {
        /// The keyword with its value.
        word: PathBytes,
    },
    /// A keyword lacks its value.
    #[error("{keyword} needs a value")]
    NoValue {
        /// The keyword.
        keyword: PathBytes,
    },
    /// A user or group name that no table knows, without a number on the same line.
    #[error("unknown {what} name {name}; the tables are FreeBSD's own, etc/master.passwd and etc/group below the root")]
    UnknownName {
        /// "user" or "group".
        what: &'static str,
        /// The name.
        name: PathBytes,
    },
    /// A `..` that would leave the tree.
    #[error("path leaves the tree: {path}")]
    LeavesTree {
        /// The path.
        path: PathBytes,
    },
    /// `link` and `contents`, or one of them and a type that does not go with it.
    #[error("{path}: type and keywords do not go together")]
    Contradiction {
        /// The path.
        path: PathBytes,
    },
    /// A symbolic link without `link`, or a device without `device`.
    #[error("{path} needs the keyword {keyword}")]
    Missing {
        /// The path.
        path: PathBytes,
        /// What is missing.
        keyword: &'static str,
    },
    /// The file that an entry speaks of cannot be examined.
    #[error("{path}: cannot examine {}: {source}", file.display())]
    NoFile {
        /// The path in the tree.
        path: PathBytes,
        /// The file on the host.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file that an entry takes its contents from is not a regular file.
    #[error("{path}: {} is not a regular file", file.display())]
    NotRegular {
        /// The path in the tree.
        path: PathBytes,
        /// The file on the host.
        file: PathBuf,
    },
    /// The file is not as long as the manifest says.
    #[error("{path}: the manifest says {stated} bytes, the file has {found}")]
    Size {
        /// The path in the tree.
        path: PathBytes,
        /// The value of `size`.
        stated: u64,
        /// The size of the file in bytes.
        found: u64,
    },
    /// The entry does not fit into the tree.
    #[error(transparent)]
    Tree(Box<Error>),
}

impl From<Error> for ManifestError {
    fn from(error: Error) -> ManifestError {
        match error {
            Error::LeavesTree { path } => ManifestError::LeavesTree { path },
            error => ManifestError::Tree(Box::new(error)),
        }
    }
}
