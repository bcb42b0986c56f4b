//! ZAPs of a pool: [`zfs_ondisk::zap`] over an object.

use std::sync::Arc;

use zfs_ondisk::zap::{Entry, LeafStructure, Reader, Structure};

use crate::error::Error;
use crate::object::Object;

type Fetch = Box<dyn FnMut(u64) -> Result<Arc<[u8]>, Error> + Send>;

/// A ZAP, read block by block as needed.
pub struct Zap {
    object: Object,
    reader: Reader<Fetch, Arc<[u8]>>,
}

impl Zap {
    pub(crate) fn open(object: &Object) -> Result<Self, Error> {
        let source = object.clone();
        let fetch: Fetch = Box::new(move |block| {
            if block <= source.dnode().max_block_id {
                return source.read_block(block);
            }
            Err(Error::Malformed {
                what: "number of a block of a ZAP",
                found: block.to_string(),
                expected: "one that the object has",
            })
        });
        match Reader::open(fetch) {
            Ok(reader) => Ok(Self { object: object.clone(), reader }),
            Err(error) => Err(object.failed(error)),
        }
    }

    /// The object that it is in.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The ZAP as the on-disk crate reads it; its errors do not name the object.
    pub(crate) fn reader(&mut self) -> &mut Reader<Fetch, Arc<[u8]>> {
        &mut self.reader
    }

    /// The fields of its header.
    pub fn structure(&self) -> Structure {
        self.reader.structure()
    }

    /// A leaf by a pointer of its table; see [`Reader::leaf`].
    ///
    /// # Errors
    /// If a block cannot be read, or is damaged.
    pub fn leaf(&mut self, index: u64) -> Result<Option<(LeafStructure, u64)>, Error> {
        self.reader.leaf(index).map_err(|error| self.object.failed(error))
    }

    /// How many entries it says that it has.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn count(&self) -> Result<u64, Error> {
        self.reader.count().map_err(|error| self.object.failed(error))
    }

    /// The entry of a name.
    ///
    /// # Errors
    /// If a block that is needed cannot be read.
    pub fn lookup(&mut self, name: &[u8]) -> Result<Option<Entry>, Error> {
        self.reader.lookup(name).map_err(|error| self.object.failed(error))
    }

    /// The value of a name, if that is one integer.
    ///
    /// # Errors
    /// As [`Zap::lookup`].
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.lookup(name.as_bytes())?.and_then(|entry| entry.number()))
    }

    /// All entries, or the first error. No more than a leaf of them is in memory.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<Entry, Error>> + '_ {
        let object = &self.object;
        self.reader.iter().map(|entry| entry.map_err(|error| object.failed(error)))
    }
}
