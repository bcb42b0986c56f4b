//! What pools are read from: files, disks, parts of them, memory.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;

/// Bytes that can be read at any offset, by several threads at a time.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// If they cannot be read, or end before `buf` is full
    /// ([`io::ErrorKind::UnexpectedEof`]).
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// How many bytes there are.
    fn size(&self) -> u64;
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.len() as u64
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        (**self).size()
    }
}

/// A file, or a disk's device node.
struct OpenFile {
    file: File,
    size: u64,
}

impl ReadAt for OpenFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// A part of something larger, such as a partition.
struct Part {
    whole: Arc<dyn ReadAt>,
    offset: u64,
    size: u64,
}

impl ReadAt for Part {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.size => self.whole.read_exact_at(buf, self.offset + offset),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn size(&self) -> u64 {
        self.size
    }
}

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
        match File::open(path) {
            Ok(file) => Self::from_file(name, file),
            Err(source) => Err(Error::Io { device: name, offset: 0, source }),
        }
    }

    /// A file that is open already, or a disk, called `name`.
    ///
    /// # Errors
    /// [`Error::Io`] if its length cannot be found.
    pub fn from_file(name: impl Into<String>, mut file: File) -> Result<Self, Error> {
        let name = name.into();
        // The length in the metadata of a disk's node is 0.
        match file.seek(SeekFrom::End(0)) {
            Ok(size) => Ok(Self::new(name, OpenFile { file, size })),
            Err(source) => Err(Error::Io { device: name, offset: 0, source }),
        }
    }

    /// The part of `size` bytes that begins at `offset`, such as a partition; it
    /// ends where the whole does.
    #[must_use]
    pub fn part(&self, offset: u64, size: u64) -> Self {
        let rest = self.storage.size().saturating_sub(offset);
        let part = Part { whole: self.storage.clone(), offset, size: size.min(rest) };
        Self::new(format!("{}, from byte {offset}", self.name), part)
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
    fn a_part_is_no_longer_than_the_whole() {
        let whole = Device::new("whole", vec![0; 100]);
        assert_eq!(whole.part(90, 20).size(), 10);
        assert_eq!(whole.part(200, 20).size(), 0);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Device::open("no/such/file").unwrap_err();
        assert!(error.to_string().starts_with("no/such/file: "));
    }
}
