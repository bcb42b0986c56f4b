//! Bytes that can be read at any offset.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes that can be read at any offset, by several threads at a time: an image
/// file, the disk in it, a partition of that.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// If they cannot be read, or end before `buf` is full
    /// ([`io::ErrorKind::UnexpectedEof`]).
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// How many bytes there are.
    fn size(&self) -> u64;

    /// The first run of bytes at or after `offset` that may be other than zeros,
    /// as far as is known without reading them; `None` if only zeros follow.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size();
        Ok((offset < size).then_some(offset..size))
    }
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

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        (**self).next_data(offset)
    }
}

/// Fills `buf` with the bytes from `offset` on of something that has `size` of them, in steps: `read` fills as much as it
/// can at once of the beginning of what it gets, with the bytes from an offset on, and says how many they are.
pub(crate) fn read_in_steps(
    size: u64,
    mut buf: &mut [u8],
    mut offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    if offset.checked_add(buf.len() as u64).is_none_or(|end| end > size) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    while !buf.is_empty() {
        let length = read(buf, offset)?;
        buf = match buf.get_mut(length..) {
            Some(rest) if length > 0 => rest,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        offset += length as u64;
    }
    Ok(())
}

/// The beginning of `buf`, at most `length` bytes.
pub(crate) fn at_most(buf: &mut [u8], length: u64) -> &mut [u8] {
    let length = usize::try_from(length).map_or(buf.len(), |length| length.min(buf.len()));
    buf.split_at_mut(length).0
}

/// Up to `size` bytes from `offset` on: fewer where the whole ends before.
pub(crate) fn read_up_to(from: &dyn ReadAt, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    let rest = from.size().saturating_sub(offset);
    let mut bytes = vec![0; size.min(usize::try_from(rest).unwrap_or(usize::MAX))];
    if !bytes.is_empty() {
        from.read_exact_at(&mut bytes, offset)?;
    }
    Ok(bytes)
}

/// A file, or a disk's device node.
pub struct OpenFile {
    file: File,
    size: u64,
}

impl OpenFile {
    /// Opens what is at `path`.
    ///
    /// # Errors
    /// If it cannot be opened, or has no size.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?)
    }

    /// A file that is open. Its size is what it is now.
    ///
    /// # Errors
    /// If it has no size, such as a pipe.
    pub fn new(mut file: File) -> io::Result<Self> {
        // The length in the metadata of a disk's node is 0.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size })
    }
}

impl ReadAt for OpenFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        use rustix::fs::SeekFrom::{Data, Hole};
        use rustix::io::Errno;
        if offset >= self.size {
            return Ok(None);
        }
        match rustix::fs::seek(&self.file, Data(offset)) {
            Ok(start) if start >= offset && start < self.size => {
                let end = rustix::fs::seek(&self.file, Hole(start)).unwrap_or(self.size);
                Ok(Some(start..end.clamp(start + 1, self.size)))
            }
            Ok(_) | Err(Errno::NXIO) => Ok(None),
            // A disk, or a file system, that cannot say.
            Err(_) => Ok(Some(offset..self.size)),
        }
    }
}

/// A part of something larger, such as a partition.
pub struct Part {
    whole: Arc<dyn ReadAt>,
    offset: u64,
    size: u64,
}

impl Part {
    /// The part of `size` bytes that begins at `offset`; it ends where the whole
    /// does.
    pub fn new(whole: Arc<dyn ReadAt>, offset: u64, size: u64) -> Self {
        let rest = whole.size().saturating_sub(offset);
        Self { whole, offset, size: size.min(rest) }
    }
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

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        if offset >= self.size {
            return Ok(None);
        }
        let found = self.whole.next_data(self.offset + offset)?;
        let run = found.map(|run| run.start - self.offset..(run.end - self.offset).min(self.size));
        Ok(run.filter(|run| run.start < run.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_where_it_was_told_to_or_the_whole_does() {
        let whole: Arc<dyn ReadAt> = Arc::new((0..100).collect::<Vec<u8>>());
        let part = Part::new(whole.clone(), 10, 20);
        let mut buf = [0; 2];
        part.read_exact_at(&mut buf, 18).unwrap();
        assert_eq!(buf, [28, 29]);
        assert!(part.read_exact_at(&mut buf, 19).is_err());
        assert!(part.read_exact_at(&mut buf, u64::MAX).is_err());
        assert_eq!(Part::new(whole.clone(), 90, 20).size(), 10);
        assert_eq!(Part::new(whole, 200, 20).size(), 0);
    }
}
