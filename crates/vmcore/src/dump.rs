//! A dump: its file and the memory in it.

use std::path::Path;

use crate::contents::{self, Contents};
use crate::header::{Compression, Header};
use crate::memory::{self, Fault, Memory};

/// A kernel dump of any form: minidump or full dump, compressed, encrypted, partial.
///
/// ```no_run
/// use vmcore::Dump;
/// use vmcore::contents::Options;
/// use vmcore::memory::VirtualMemory;
///
/// let dump = Dump::open("vmcore.0".as_ref(), &Options::default())?;
/// println!("{} page tables", dump.memory.architecture());
/// let version = dump.memory.read_cstr(0xffff_ffff_8089_a530, 200)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dump {
    /// The file: its header, if there is one, and its data.
    pub contents: Contents,
    /// The memory in it.
    pub memory: Memory,
}

/// Why a dump cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its file cannot be opened.
    #[error(transparent)]
    Contents(#[from] contents::Error),
    /// The memory in it cannot be opened.
    #[error("{}: {source}", path.display())]
    Memory {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: memory::Error,
    },
    /// What of it is there cannot be read.
    #[error("{}: {source}", path.display())]
    Fault {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: Fault,
    },
}

impl Dump {
    /// Opens the dump in the file `path`, with what is beside it.
    ///
    /// # Errors
    /// If the file cannot be read, or is no dump of memory.
    pub fn open(path: &Path, options: &contents::Options) -> Result<Self, Error> {
        Self::of(Contents::open(path, options)?, path)
    }

    /// Opens the dump with these data, which errors say to be of the file `path`.
    ///
    /// # Errors
    /// If they are no dump of memory.
    pub fn of(contents: Contents, path: &Path) -> Result<Self, Error> {
        Self::with(contents, path, &memory::Options::default())
    }

    /// The same, with a cache of another size: what is there of the data, the contents themselves say.
    ///
    /// # Errors
    /// As [`Dump::of`].
    pub fn with(contents: Contents, path: &Path, options: &memory::Options) -> Result<Self, Error> {
        let source = |source| Error::Memory { path: path.to_owned(), source };
        let mut memory = Self::memory_of(&contents, options).map_err(source)?;
        if contents.there.is_some() && is_packed(&contents) {
            // The ranges are those of the packed data: what can be read of the others has to be tried.
            memory.find_gaps().map_err(|source| Error::Fault { path: path.to_owned(), source })?;
        }
        Ok(Self { contents, memory })
    }

    fn memory_of(contents: &Contents, options: &memory::Options) -> Result<Memory, memory::Error> {
        let there = contents.there.clone().filter(|_| !is_packed(contents));
        Memory::open_with(contents.data.clone(), &memory::Options { there, ..options.clone() })
    }

    /// The header that the kernel wrote, if it is there.
    pub fn header(&self) -> Option<&Header> {
        self.contents.header.as_ref()
    }
}

/// Whether the kernel compressed the data, so that offsets of what arrived are not those of the memory in them.
fn is_packed(contents: &Contents) -> bool {
    contents.header.as_ref().is_none_or(|header| header.compression != Compression::None)
        && contents.layers.iter().any(|layer| matches!(layer, contents::Layer::Gzip | contents::Layer::Zstd))
}
