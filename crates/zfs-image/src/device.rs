//! What an image is written to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// A place for bytes by offset that reads as zeros where nothing was written.
///
/// A build writes nothing twice, and the same build writes the same in the same order, whatever its resources: what comes
/// of it may depend on the order.
pub trait Device: Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Error::Write`] if the device refuses, such as for want of room.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error>;

    /// Makes the device `size` bytes long.
    ///
    /// # Errors
    /// As [`Device::write_at`].
    fn set_size(&self, size: u64) -> Result<(), Error>;
}

/// An image file, empty when the building begins.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    path: PathBuf,
    /// Held by who writes. A file takes one write at a time, and to wait for that in the kernel may keep a core busy.
    writing: Mutex<()>,
}

impl ImageFile {
    /// An image in `file`, which errors call `path`.
    pub fn new(file: File, path: impl Into<PathBuf>) -> Self {
        Self { file, path: path.into(), writing: Mutex::default() }
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }
}

impl Device for ImageFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.write_all_at(bytes, offset).map_err(|source| self.error(source))
    }

    fn set_size(&self, size: u64) -> Result<(), Error> {
        self.file.set_len(size).map_err(|source| self.error(source))
    }
}
