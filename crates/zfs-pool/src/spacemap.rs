//! Space maps of a pool, one by one: [`zfs_ondisk::spacemap`] over an object.

use std::sync::Arc;

use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::spacemap::{self, Decoder, Entry, HISTOGRAM_SIZE, Header};

use crate::block::order_of;
use crate::error::Error;
use crate::object::Object;

/// A space map: its header, and its entries in the order in which they were
/// written. The first error ends them. One block of them is in memory.
pub struct SpaceMap {
    object: Object,
    header: Header,
    decoder: Decoder,
    block: Option<(Arc<[u8]>, ByteOrder)>,
    /// Words that were read.
    words: u64,
}

impl SpaceMap {
    /// The space map in an object.
    ///
    /// # Errors
    /// If the object is of another type, or its header is cut.
    pub fn open(object: &Object) -> Result<Self, Error> {
        let found = object.dnode().object_type;
        if found != ObjectType::SPACE_MAP {
            let found = found.to_string();
            return Err(object.failed(Error::Malformed { what: "type of an object", found, expected: "a space map" }));
        }
        let header = Header::read(&object.bonus())
            .map_err(Error::truncated("header of a space map"))
            .map_err(|error| object.failed(error))?;
        Ok(Self { object: object.clone(), header, decoder: Decoder::default(), block: None, words: 0 })
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many free regions there are of 2^n up to 2^(n+1) units; `None` if its
    /// header does not say.
    pub fn histogram(&self) -> Option<[u64; HISTOGRAM_SIZE]> {
        spacemap::histogram(&self.object.bonus())
    }

    fn entry(&mut self) -> Result<Option<Entry>, Error> {
        let per_block = (self.object.dnode().data_block_size() / 8) as u64;
        while self.words < self.header.length / 8 {
            let at = self.words % per_block;
            if at == 0 {
                let number = self.words / per_block;
                if number > self.object.dnode().max_block_id {
                    return Err(Error::Malformed {
                        what: "length of a space map",
                        found: self.header.length.to_string(),
                        expected: "no more than its blocks hold",
                    });
                }
                let pointer = self.object.block_pointer(number)?;
                // The last block may hold a single word, which may be 0; others cannot be all zeros. What was never
                // written would be read for ever.
                if pointer.is_hole() && self.words + per_block < self.header.length / 8 {
                    return Err(Error::Malformed {
                        what: "block of a space map",
                        found: format!("none in place {number}"),
                        expected: "as many as its length says",
                    });
                }
                self.block = Some((self.object.read_block(number)?, order_of(&pointer)));
            }
            let Some((block, order)) = &self.block else { return Ok(None) };
            let word = View::new(block, *order).u64(at as usize * 8).map_err(Error::truncated("space map"))?;
            self.words += 1;
            if let Some(entry) = self.decoder.word(word) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

impl Iterator for SpaceMap {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entry();
        if entry.is_err() {
            self.words = u64::MAX;
        }
        entry.map_err(|error| self.object.failed(error)).transpose()
    }
}
