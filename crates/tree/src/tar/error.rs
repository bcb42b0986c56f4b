//! What can be wrong with an archive.

use std::io;

use crate::error::PathBytes;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It ends before its end marker (two blocks of zeros) or within an entry.
    #[error("the archive is truncated")]
    Truncated,
    /// A header's bytes do not add up to the sum it states.
    #[error("not a tar header: the checksum is {stored}, the bytes add up to {computed}")]
    Checksum {
        /// The sum in the header.
        stored: i64,
        /// The sum of the header's bytes.
        computed: i64,
    },
    /// A number is malformed or out of range.
    #[error("the {field} field is not a valid number")]
    Number {
        /// Which field or keyword.
        field: &'static str,
    },
    /// An extended header is malformed.
    #[error("bad extended header: {why}")]
    Pax {
        /// What is wrong.
        why: &'static str,
    },
    /// A header that is kept in memory is larger than any sensible one.
    #[error("a header of {size} bytes is larger than {limit}")]
    HeaderTooLarge {
        /// Its size.
        size: u64,
        /// The largest that is accepted.
        limit: u64,
    },
    /// The map of a sparse file is malformed.
    #[error("bad map of a sparse file: {why}")]
    Sparse {
        /// What is wrong.
        why: &'static str,
    },
    /// A type of entry that cannot be kept, such as a part of a multi-volume archive.
    #[error("{path} is of the unsupported type '{}'", char::from(*kind).escape_default())]
    Type {
        /// The entry.
        path: PathBytes,
        /// The typeflag.
        kind: u8,
    },
    /// A hard link's target is not in the archive before it, nor in an earlier source.
    #[error("{path} is a hard link to {target}, which is not there")]
    NoLinkTarget {
        /// The link.
        path: PathBytes,
        /// What it should be linked to.
        target: PathBytes,
    },
    /// A hard link to a directory.
    #[error("{path} is a hard link to the directory {target}")]
    LinkToDirectory {
        /// The link.
        path: PathBytes,
        /// The directory.
        target: PathBytes,
    },
    /// An access control list is malformed.
    #[error("bad ACL entry '{entry}'")]
    Acl {
        /// The text of the entry.
        entry: PathBytes,
    },
    /// The compressed stream is damaged.
    #[error("cannot decompress: {source}")]
    Compression {
        /// What the decoder says.
        source: io::Error,
    },
}
