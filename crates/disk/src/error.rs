//! Why a disk image or a partition table cannot be read or made.

use std::io;

/// Why a disk image or a partition table cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or disk cannot be read.
    #[error("{name}: {source}")]
    Io {
        /// Its name.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// A structure has a value that it cannot have.
    #[error("{what} is {found}, expected {expected}")]
    Malformed {
        /// Structure and field.
        what: &'static str,
        /// The value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A format has a part that this reader does not know.
    #[error("{what} is not supported{}", clause(.way_out))]
    Unsupported {
        /// The part.
        what: String,
        /// What to do instead; empty if nothing helps.
        way_out: &'static str,
    },
    /// The disk that an image is to be made of cannot be read.
    #[error("the disk cannot be read at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// An image cannot be written.
    #[error("the image cannot be written: {source}")]
    Write {
        /// What the system says.
        source: io::Error,
    },
    /// What is asked for cannot be, such as a partition larger than its disk.
    #[error("{0}")]
    Impossible(String),
    /// The file that an image is based on cannot be used.
    #[error("the image is based on '{backing}', {why}")]
    Backing {
        /// The file, as the image names it.
        backing: String,
        /// Why it cannot be used, and the way out.
        why: String,
    },
}

fn clause(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl Error {
    pub(crate) fn write(source: io::Error) -> Self {
        Self::Write { source }
    }

    pub(crate) fn malformed(
        what: &'static str,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Self {
        Self::Malformed { what, found: found.to_string(), expected: expected.to_string() }
    }
}
