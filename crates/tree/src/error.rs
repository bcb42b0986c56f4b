//! What can go wrong while a tree is put together or read, and what is merely worth saying.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::mtree::ManifestError;
use crate::tar::ArchiveError;

/// A path or name made of bytes, shown with control characters and invalid UTF-8 escaped as `\xNN`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PathBytes(pub Box<[u8]>);

impl PathBytes {
    pub(crate) fn new(bytes: impl AsRef<[u8]>) -> PathBytes {
        PathBytes(bytes.as_ref().into())
    }
}

impl fmt::Display for PathBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PathBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Why a tree could not be built or one of its files not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: a verb, such as "open" or "read directory".
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file name is longer than ZFS and most other file systems allow.
    #[error("name of {length} bytes is longer than 255: {path}")]
    NameTooLong {
        /// Where it stands in the tree.
        path: PathBytes,
        /// Its length in bytes.
        length: usize,
    },
    /// A symbolic link points to a path longer than a FreeBSD kernel accepts (`MAXPATHLEN` - 1).
    #[error("symbolic link {path} has a target of {length} bytes, longer than 1023")]
    TargetTooLong {
        /// The link, in the tree.
        path: PathBytes,
        /// The target's length in bytes.
        length: usize,
    },
    /// A name or path holds a NUL byte, a name is empty, or a target is empty.
    #[error("invalid name: {path:?}")]
    InvalidName {
        /// The offending path.
        path: PathBytes,
    },
    /// A path has a `..` component that would leave (or could leave) the tree.
    #[error("path leaves the tree: {path}")]
    LeavesTree {
        /// The path as it was given.
        path: PathBytes,
    },
    /// A path runs through something that is not a directory.
    #[error("{path} lies under {parent}, which is not a directory")]
    NotDirectory {
        /// The path being added.
        path: PathBytes,
        /// The component that is not a directory.
        parent: PathBytes,
    },
    /// The root of the tree can only be a directory.
    #[error("the root of the tree must be a directory")]
    RootNotDirectory,
    /// More names, bytes of names or sources than the tree can hold (2^32 - 1 each; 65,535 sources).
    #[error("too many {what} for one tree")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
    },
    /// A user or group name that no table knows.
    #[error("unknown {what} name {name}; give a number, or a directory that has master.passwd and group")]
    UnknownName {
        /// "user" or "group".
        what: &'static str,
        /// The name.
        name: PathBytes,
    },
    /// An archive is damaged or holds what cannot be kept.
    #[error("{} at byte {offset}: {what}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// Where in the archive, uncompressed.
        offset: u64,
        /// What is wrong.
        what: ArchiveError,
    },
    /// A line of a manifest cannot be followed.
    #[error("{}:{line}: {what}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        what: ManifestError,
    },
    /// An option's text could not be understood.
    #[error("bad {what} '{text}': {why}")]
    BadOption {
        /// Which kind of option.
        what: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it, or what would be right.
        why: &'static str,
    },
    /// A file in a directory source is not the file any more that was there when it was scanned.
    #[error("{path} changed while it was read: {why}")]
    Changed {
        /// The file.
        path: PathBytes,
        /// What changed.
        why: &'static str,
    },
    /// A file turned out shorter than it was when it was scanned.
    #[error("{path} changed size while it was read: {expected} bytes when scanned, end of file at {found}")]
    ChangedSize {
        /// The file.
        path: PathBytes,
        /// Bytes it had when it was scanned.
        expected: u64,
        /// Bytes that were there.
        found: u64,
    },
    /// A tree was asked for although one of its sources had failed.
    #[error("a source of the tree could not be read to its end")]
    Incomplete,
    /// The contents were asked of something that has none.
    #[error("{path} is not a regular file")]
    NotRegular {
        /// The path in the tree.
        path: PathBytes,
    },
    /// A read beyond the end of a file was asked for.
    #[error("read of {length} bytes at {offset} passes the end of {path}")]
    ReadPastEnd {
        /// The file.
        path: PathBytes,
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        length: usize,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Error {
        Error::Io { action, path: path.into(), source: source.into() }
    }
}

/// Something that was left out or passed over, which the user should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A socket: file systems do not carry them.
    Socket {
        /// Where it was found.
        path: PathBytes,
    },
    /// Something that is none of the types that a tree can hold, such as a whiteout or a door.
    UnknownType {
        /// Where it was found.
        path: PathBytes,
    },
    /// A file flag of a name that FreeBSD does not have; none of the file's flags are kept.
    UnknownFlag {
        /// The file.
        path: PathBytes,
        /// The flag.
        flag: PathBytes,
    },
    /// A keyword that mtree(5) does not describe. It is passed over; told once for each manifest.
    UnknownKeyword {
        /// The manifest.
        manifest: PathBuf,
        /// The first line that has it.
        line: u64,
        /// The keyword.
        keyword: PathBytes,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Socket { path } => write!(f, "{path}: socket skipped"),
            Warning::UnknownType { path } => {
                write!(f, "{path}: skipped: neither file, directory, link, device nor FIFO")
            }
            Warning::UnknownFlag { path, flag } => {
                write!(f, "{path}: unknown file flag {flag}; no flags set")
            }
            Warning::UnknownKeyword { manifest, line, keyword } => {
                write!(f, "{}:{line}: unknown keyword {keyword} passed over", manifest.display())
            }
        }
    }
}
