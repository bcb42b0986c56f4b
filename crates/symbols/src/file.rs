//! The bytes of a file, read by parts.
//!
//! Files are read, not mapped: a report asks for a handful of sections, copying them out of the page cache costs
//! some milliseconds, and a file that shrinks under us is an error then and not a signal.

use std::fs::File;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File { path: PathBuf, file: Arc<File>, size: u64 },
    Bytes { name: String, bytes: Arc<Vec<u8>> },
}

/// A part of a file, owned or shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bytes {
    data: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source: Arc::new(source) };
        Self::of(path, File::open(path).map_err(io)?)
    }

    pub(crate) fn of(path: &Path, file: File) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source: Arc::new(source) };
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(Error::Elf { file: path.display().to_string(), reason: "not a regular file".to_owned() });
        }
        Ok(Self::File { path: path.to_owned(), file: Arc::new(file), size: metadata.len() })
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Bytes { name, .. } => name.clone(),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Bytes { .. } => None,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Bytes { bytes, .. } => bytes.len() as u64,
        }
    }

    /// `size` bytes from `offset` on; an error where the file ends before.
    pub(crate) fn read(&self, offset: u64, size: u64) -> Result<Bytes> {
        let outside = || Error::Elf {
            file: self.name(),
            reason: format!("{size} bytes at offset {offset:#x} lie outside of the file's {} bytes", self.size()),
        };
        let end = offset.checked_add(size).filter(|&end| end <= self.size()).ok_or_else(outside)?;
        match self {
            Self::File { path, file, .. } => {
                let mut data = vec![0; usize::try_from(size).map_err(|_| outside())?];
                file.read_exact_at(&mut data, offset)
                    .map_err(|source| Error::Io { path: path.clone(), source: Arc::new(source) })?;
                Ok(Bytes::from(data))
            }
            Self::Bytes { bytes, .. } => {
                let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
                let (start, end) = range.ok_or_else(outside)?;
                Ok(Bytes { data: bytes.clone(), range: start..end })
            }
        }
    }
}

impl Bytes {
    /// A part of them, shared; `None` if it goes beyond.
    pub(crate) fn part(&self, range: Range<usize>) -> Option<Self> {
        let start = self.range.start.checked_add(range.start)?;
        let end = self.range.start.checked_add(range.end).filter(|&end| end <= self.range.end)?;
        (start <= end).then(|| Self { data: self.data.clone(), range: start..end })
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(data: Vec<u8>) -> Self {
        Self { range: 0..data.len(), data: Arc::new(data) }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.data.get(self.range.clone()).unwrap_or_default()
    }
}
