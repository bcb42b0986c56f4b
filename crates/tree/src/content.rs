//! Reading the contents of a regular file, in any order and with its holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, PathBytes};
use crate::host;
use crate::node::Timestamp;
use crate::places::Extent;
use crate::source::{Archive, Root};

/// Does not wait if the file has become a FIFO.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The open contents of a regular file.
#[derive(Debug)]
pub struct Content {
    path: Vec<u8>,
    size: u64,
    store: Store,
}

#[derive(Debug)]
enum Store {
    /// A file of its own. A dense one has no holes.
    Own { file: File, dense: bool },
    /// Bytes of an archive or spool file.
    Shared { file: Arc<File>, offset: u64, extents: Option<Arc<[Extent]>> },
}

impl Content {
    /// The size in bytes, holes included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` with the bytes from `offset` on. Holes read as zeros.
    ///
    /// # Errors
    ///
    /// [`Error::ChangedSize`] if the file has become shorter, [`Error::ReadPastEnd`] if the range does not lie within
    /// [`size`](Self::size), [`Error::Io`] if reading fails.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            let path = PathBytes::new(&self.path);
            return Err(Error::ReadPastEnd { path, offset, length: buffer.len() });
        }
        match &self.store {
            Store::Own { file, .. } => self.read(file, buffer, offset, offset),
            Store::Shared { file, offset: base, extents: None } => {
                self.read(file, buffer, base.saturating_add(offset), offset)
            }
            Store::Shared { file, offset: base, extents: Some(extents) } => {
                self.read_sparse(file, *base, extents, buffer, offset)
            }
        }
    }

    /// The next range at or after `offset` that may hold data; `None` if the rest of the file is a hole.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file system cannot be asked.
    pub fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, Error> {
        if offset >= self.size {
            return Ok(None);
        }
        match &self.store {
            Store::Own { dense: true, .. } | Store::Shared { extents: None, .. } => Ok(Some(offset..self.size)),
            Store::Own { file, .. } => self.seek_data(file, offset),
            Store::Shared { extents: Some(extents), .. } => {
                let next = extents.partition_point(|extent| extent.start + extent.length <= offset);
                Ok(extents.get(next).map(|extent| extent.start.max(offset)..extent.start + extent.length))
            }
        }
    }

    /// A file below a directory, at its path in the tree.
    pub(crate) fn in_directory(root: &Root, path: Vec<u8>, size: u64, mtime: Timestamp) -> Result<Content, Error> {
        let file = root.at(&path, |base, rest| rustix::fs::openat(base, rest, FLAGS | OFlags::NOFOLLOW, Mode::empty()));
        Content::opened(file, || root.join(&path), path.clone(), size, mtime)
    }

    /// A file that a manifest names, absolute or from a directory; links are followed.
    pub(crate) fn named(root: &Root, path: Vec<u8>, size: u64, mtime: Timestamp) -> Result<Content, Error> {
        let file = if path.starts_with(b"/") {
            rustix::fs::open(&path[..], FLAGS, Mode::empty())
        } else {
            root.at(&path, |base, rest| rustix::fs::openat(base, rest, FLAGS, Mode::empty()))
        };
        Content::opened(file, || root.join_or_absolute(&path), path.clone(), size, mtime)
    }

    /// Checks that the file is the one that was scanned.
    fn opened(
        file: Result<OwnedFd, Errno>,
        host_path: impl Fn() -> PathBuf,
        path: Vec<u8>,
        size: u64,
        mtime: Timestamp,
    ) -> Result<Content, Error> {
        let failed = |error: Errno| Error::io("open", host_path(), error);
        let file = File::from(file.map_err(failed)?);
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let found = host::size(&stat);
        if !host::is_file(&stat) {
            return Err(Error::Changed { path: PathBytes::new(path), why: "it is not a regular file any more" });
        }
        if found != size {
            return Err(Error::ChangedSize { path: PathBytes::new(path), expected: size, found });
        }
        if host::mtime(&stat) != mtime {
            return Err(Error::Changed { path: PathBytes::new(path), why: "its modification time is another" });
        }
        let dense = host::allocated(&stat) >= size;
        Ok(Content { path, size, store: Store::Own { file, dense } })
    }

    pub(crate) fn in_archive(
        archive: &Archive,
        path: Vec<u8>,
        size: u64,
        offset: u64,
        extents: Option<Arc<[Extent]>>,
    ) -> Result<Content, Error> {
        if let Some(stamp) = archive.stamp {
            let stat = rustix::fs::fstat(&archive.file).map_err(|e| Error::io("examine", &archive.path, e))?;
            if (host::size(&stat), host::mtime(&stat)) != stamp {
                let path = PathBytes::new(archive.path.as_os_str().as_encoded_bytes());
                return Err(Error::Changed { path, why: "the archive's size or modification time is another" });
            }
        }
        Ok(Content { path, size, store: Store::Shared { file: Arc::clone(&archive.file), offset, extents } })
    }

    /// Reads from `from` in the file that holds the contents; `offset` is the place in the contents, for the error.
    fn read(&self, file: &File, mut buffer: &mut [u8], mut from: u64, mut offset: u64) -> Result<(), Error> {
        while !buffer.is_empty() {
            match file.read_at(buffer, from) {
                Ok(0) => {
                    let path = PathBytes::new(&self.path);
                    return Err(Error::ChangedSize { path, expected: self.size, found: offset });
                }
                Ok(count) => {
                    buffer = &mut buffer[count..];
                    from += count as u64;
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        Ok(())
    }

    fn read_sparse(
        &self,
        file: &File,
        base: u64,
        extents: &[Extent],
        mut buffer: &mut [u8],
        mut offset: u64,
    ) -> Result<(), Error> {
        let first = extents.partition_point(|extent| extent.start + extent.length <= offset);
        for extent in &extents[first..] {
            let hole = extent.start.saturating_sub(offset).min(buffer.len() as u64) as usize;
            let (zeros, rest) = buffer.split_at_mut(hole);
            zeros.fill(0);
            offset += hole as u64;
            if rest.is_empty() {
                return Ok(());
            }
            let within = offset - extent.start;
            let length = (extent.length - within).min(rest.len() as u64) as usize;
            let (data, rest) = rest.split_at_mut(length);
            self.read(file, data, base.saturating_add(extent.stored).saturating_add(within), offset)?;
            offset += length as u64;
            buffer = rest;
            if buffer.is_empty() {
                return Ok(());
            }
        }
        buffer.fill(0);
        Ok(())
    }

    fn seek_data(&self, file: &File, offset: u64) -> Result<Option<Range<u64>>, Error> {
        match host::next_data(file, offset) {
            Ok(Some(range)) if range.start < self.size => {
                let end = if range.end <= range.start { self.size } else { range.end.min(self.size) };
                Ok(Some(range.start.max(offset)..end))
            }
            Ok(_) => Ok(None),
            // The file system knows no holes.
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(Some(offset..self.size)),
            Err(error) => Err(self.failed("find holes in", error.into())),
        }
    }

    fn failed(&self, action: &'static str, error: io::Error) -> Error {
        use std::os::unix::ffi::OsStrExt;
        Error::io(action, std::ffi::OsStr::from_bytes(&self.path), error)
    }
}

const _: fn() = || {
    fn sent_to_threads<T: Send + Sync>() {}
    sent_to_threads::<Content>();
};
