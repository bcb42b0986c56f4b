//! Why a dump cannot be explained.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dump.
    #[error(transparent)]
    Dump(#[from] vmcore::Error),
    /// Files of the kernel, its symbols, its types.
    #[error(transparent)]
    Symbols(#[from] symbols::Error),
    /// No kernel was named, and none is where they usually are.
    #[error("no kernel was found for {}: looked for {looked}; -k names it", dump.display())]
    NoKernel {
        /// The dump.
        dump: PathBuf,
        /// Where it was looked for.
        looked: String,
    },
    /// The kernel is another than the one that made the dump.
    #[error("{} is not the kernel of this dump: {reason}; --force takes it all the same", kernel.display())]
    OtherKernel {
        /// The kernel's file.
        kernel: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The kernel is another than the one that runs.
    #[error("{} is not the kernel that runs: {reason}; --force takes it all the same", kernel.display())]
    OtherLiveKernel {
        /// The kernel's file.
        kernel: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A pack that cannot be opened.
    #[error("{} is a damaged pack: {reason}", path.display())]
    Pack {
        /// The pack.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What this kernel, or this dump, does not have.
    #[error("{0}")]
    Absent(String),
}

impl Error {
    pub(crate) fn absent(what: impl Into<String>) -> Self {
        Self::Absent(what.into())
    }
}
