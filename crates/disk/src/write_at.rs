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

/// A pipe or another place that takes one byte after the other. What is written to it must come in order; what is left
/// out in between is filled with zeros.
pub struct InOrder<W>(Mutex<Position<W>>);

struct Position<W> {
    out: W,
    offset: u64,
}

impl<W: Write> InOrder<W> {
    /// Begins at `out`.
    pub fn new(out: W) -> Self {
        Self(Mutex::new(Position { out, offset: 0 }))
    }

    /// Bytes that were written.
    pub fn written(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).offset
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).out
    }

    /// Hands on what is still held back.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn flush(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).out.flush()
    }
}

impl<W: Write> Position<W> {
    fn fill(&mut self, to: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut gap = to.checked_sub(self.offset).ok_or_else(|| {
            let text = format!("byte {to} is to be written, and byte {} has been already", self.offset);
            io::Error::new(io::ErrorKind::NotSeekable, text)
        })?;
        while gap > 0 {
            let some = ZEROS.get(..usize::try_from(gap).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
            self.out.write_all(some)?;
            gap -= some.len() as u64;
        }
        self.offset = to;
        Ok(())
    }
}

impl<W: Write + Send> WriteAt for InOrder<W> {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut position = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        position.fill(offset)?;
        position.out.write_all(bytes)?;
        position.offset += bytes.len() as u64;
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(size)
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
