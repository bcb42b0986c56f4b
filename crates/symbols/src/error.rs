//! What can go wrong, said so that a user can act on it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::memory::MemoryError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a question has no answer. Cheap to clone: a failed step is remembered and told again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// A file is not ELF, or its ELF structures contradict themselves.
    #[error("{file}: {reason}")]
    Elf {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A separate debug file belongs to another build.
    #[error("{file} does not belong to {image}: {reason}")]
    Mismatch {
        /// The debug file.
        file: String,
        /// The image that it was offered for.
        image: String,
        /// Which of the two marks differs: build id or checksum.
        reason: String,
    },
    /// An image has no DWARF.
    #[error("{image}: no debug information")]
    NoDebugInfo {
        /// Name of the image.
        image: String,
    },
    /// DWARF that cannot be used.
    #[error("{image}: damaged debug information at {place}: {reason}")]
    Dwarf {
        /// Name of the image.
        image: String,
        /// What was being read.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that no image has.
    #[error("no {kind} {name} in {images}")]
    NotFound {
        /// What was looked for: "symbol", "type", "variable".
        kind: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        images: String,
    },
    /// A structure without the field.
    #[error("{ty} has no field {field} in {image}")]
    NoField {
        /// C name of the structure.
        ty: String,
        /// The field.
        field: String,
        /// The image that defines the structure.
        image: String,
    },
    /// A type of which only the name is known.
    #[error("{ty} is declared but not defined in {image}")]
    Incomplete {
        /// C name of the type.
        ty: String,
        /// The image that declares it.
        image: String,
    },
    /// An operation that the type does not have.
    #[error("{what}")]
    Type {
        /// One sentence: which type cannot be used as what.
        what: String,
    },
    /// A value that the program does not keep any more, or not at this place.
    #[error("{what} {why}")]
    Unavailable {
        /// The variable or register.
        what: String,
        /// "is optimized out", "is not known in this frame".
        why: String,
    },
    /// An expression that is not C, or asks for what cannot be done.
    #[error("{what} at column {column} of the expression")]
    Expression {
        /// Place of the fault, in characters from 1.
        column: usize,
        /// The fault.
        what: String,
    },
    /// Work that would not end, or would not fit.
    #[error("{what} goes beyond the limit of {limit}")]
    Limit {
        /// What was being done.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// Memory that cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl Error {
    pub(crate) fn ty(what: impl Into<String>) -> Self {
        Self::Type { what: what.into() }
    }

    pub(crate) fn unavailable(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), why: why.into() }
    }
}
