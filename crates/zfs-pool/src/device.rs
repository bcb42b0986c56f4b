//! What pools are read from: files, disks, parts of them, memory.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use disk::ReadAt;
use disk::{OpenFile, Part};

use crate::error::Error;

/// A device that may belong to a pool, with a name for messages.
#[derive(Clone)]
pub struct Device {
    name: Arc<str>,
    storage: Arc<dyn ReadAt>,
}

impl Device {
    /// A device called `name`, with the bytes of `storage`.
    pub fn new(name: impl Into<String>, storage: impl ReadAt + 'static) -> Self {
        Self { name: name.into().into(), storage: Arc::new(storage) }
    }

    /// Opens a file, or a disk by its device node, for reading.
    ///
    /// # Errors
    /// [`Error::Io`] if that fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let name = path.as_ref().display().to_string();
        Self::of(name, OpenFile::open(path.as_ref()))
    }

    /// A file that is open already, or a disk, called `name`.
    ///
    /// # Errors
    /// [`Error::Io`] if its length cannot be found.
    pub fn from_file(name: impl Into<String>, file: File) -> Result<Self, Error> {
        Self::of(name.into(), OpenFile::new(file))
    }

    fn of(name: String, file: io::Result<OpenFile>) -> Result<Self, Error> {
        match file {
            Ok(file) => Ok(Self::new(name, file)),
            Err(source) => Err(Error::Io { device: name, offset: 0, source }),
        }
    }

    /// The part of `size` bytes that begins at `offset`, such as a partition; it
    /// ends where the whole does.
    #[must_use]
    pub fn part(&self, offset: u64, size: u64) -> Self {
        Self::new(format!("{}, from byte {offset}", self.name), Part::new(self.storage.clone(), offset, size))
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.storage.size()
    }

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::Io`], with device and offset.
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        self.storage.read_exact_at(buf, offset).map_err(|source| Error::Io {
            device: self.name.to_string(),
            offset,
            source,
        })
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_where_it_was_told_to() {
        let whole = Device::new("whole", (0..100).collect::<Vec<u8>>());
        let part = whole.part(10, 20);
        let mut buf = [0; 2];
        part.read_exact_at(&mut buf, 18).unwrap();
        assert_eq!(buf, [28, 29]);
        let error = part.read_exact_at(&mut buf, 19).unwrap_err();
        assert!(error.to_string().starts_with("whole, from byte 10: byte 19: "));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Device::open("no/such/file").unwrap_err();
        assert!(error.to_string().starts_with("no/such/file: "));
    }
}
