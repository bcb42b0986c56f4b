//! Where files' contents lie, when that does not follow from their paths in the tree.

use std::sync::Arc;

use crate::draft::{NONE, number};
use crate::error::Error;
use crate::node::Timestamp;

/// Places by number. Paths and sparse maps are rare and kept apart: a place takes 24 bytes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    stored: Vec<Stored>,
    paths: Vec<Box<[u8]>>,
    extents: Vec<Arc<[Extent]>>,
}

#[derive(Debug)]
enum Stored {
    /// `path` is an index, or `NONE`.
    File { path: u32, nanoseconds: u32, seconds: i64 },
    /// `extents` is an index, or `NONE`.
    Archive { extents: u32, offset: u64 },
}

const _: () = assert!(size_of::<Stored>() == 24);

/// Where a file's content lies.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Place<'p> {
    /// In a file of its own, whose `mtime` was this when it was found.
    File {
        /// Its path, absolute or from the source's directory; `None`: its path in the tree.
        path: Option<&'p [u8]>,
        mtime: Timestamp,
    },
    /// In an archive, from this offset on; `extents` tells the data apart from the holes of a sparse file.
    Archive { offset: u64, extents: Option<&'p Arc<[Extent]>> },
}

/// A range of a sparse file that holds data.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    /// Where it begins in the file.
    pub(crate) start: u64,
    /// Bytes, at least 1.
    pub(crate) length: u64,
    /// Where it begins in what is stored of the file.
    pub(crate) stored: u64,
}

impl Places {
    /// Notes a file of its own and gives the place's number.
    pub(crate) fn add_file(&mut self, path: Option<&[u8]>, mtime: Timestamp) -> Result<u32, Error> {
        let path = match path {
            Some(path) => self.add_path(path)?,
            None => NONE,
        };
        self.add(Stored::File { path, nanoseconds: mtime.nanoseconds, seconds: mtime.seconds })
    }

    /// Notes bytes of an archive and gives the place's number.
    pub(crate) fn add_archived(&mut self, offset: u64, extents: Option<Vec<Extent>>) -> Result<u32, Error> {
        let extents = match extents {
            Some(extents) => {
                let index = number(self.extents.len(), "sparse files")?;
                self.extents.push(extents.into());
                index
            }
            None => NONE,
        };
        self.add(Stored::Archive { extents, offset })
    }

    /// Gives a file of its own a path, if it has none.
    pub(crate) fn pin(&mut self, place: u32, path: &[u8]) -> Result<(), Error> {
        if let Some(Stored::File { path: NONE, .. }) = self.stored.get(place as usize) {
            let added = self.add_path(path)?;
            if let Stored::File { path, .. } = &mut self.stored[place as usize] {
                *path = added;
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, place: u32) -> Option<Place<'_>> {
        Some(match *self.stored.get(place as usize)? {
            Stored::File { path, nanoseconds, seconds } => Place::File {
                path: self.paths.get(path as usize).map(|path| &**path),
                mtime: Timestamp { seconds, nanoseconds },
            },
            Stored::Archive { extents, offset } => {
                Place::Archive { offset, extents: self.extents.get(extents as usize) }
            }
        })
    }

    /// Bytes of memory held, approximately.
    pub(crate) fn memory(&self) -> usize {
        let paths: usize = self.paths.iter().map(|path| path.len()).sum();
        let extents: usize = self.extents.iter().map(|extents| size_of_val(&**extents)).sum();
        self.stored.capacity() * size_of::<Stored>()
            + self.paths.capacity() * size_of::<Box<[u8]>>()
            + self.extents.capacity() * size_of::<Arc<[Extent]>>()
            + paths
            + extents
    }

    fn add(&mut self, stored: Stored) -> Result<u32, Error> {
        let index = number(self.stored.len(), "files")?;
        self.stored.push(stored);
        Ok(index)
    }

    fn add_path(&mut self, path: &[u8]) -> Result<u32, Error> {
        let index = number(self.paths.len(), "files")?;
        self.paths.push(path.into());
        Ok(index)
    }
}
