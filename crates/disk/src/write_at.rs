//! What images are written to.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// A place for bytes by offset, empty at first, that reads as zeros where nothing
/// was written.
pub trait WriteAt: Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// If there is no room, or the system refuses.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes it `size` bytes long.
    ///
    /// # Errors
    /// As [`WriteAt::write_all_at`].
    fn set_size(&self, size: u64) -> io::Result<()>;
}

impl WriteAt for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }
}

/// In memory.
impl WriteAt for Mutex<Vec<u8>> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut all = self.lock().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        let longer = all.len().max(end);
        all.resize(longer, 0);
        all.get_mut(start..end).ok_or(io::ErrorKind::OutOfMemory)?.copy_from_slice(bytes);
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.lock().unwrap_or_else(PoisonError::into_inner).resize(size, 0);
        Ok(())
    }
}

/// Writes one byte after the other.
pub(crate) struct Stream<'a> {
    out: &'a dyn WriteAt,
    pub(crate) offset: u64,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(out: &'a dyn WriteAt, offset: u64) -> Self {
        Self { out, offset }
    }

    /// Skips bytes up to a multiple of `alignment`, which read as zeros as soon as
    /// something is written behind them.
    pub(crate) fn align(&mut self, alignment: u64) {
        self.offset = self.offset.next_multiple_of(alignment);
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
