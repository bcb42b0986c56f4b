//! The history of a pool.

use zfs_ondisk::history::{self, Header, LENGTH_SIZE};
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::{ObjectId, ObjectType};

use crate::error::Error;
use crate::object::Object;
use crate::pool::{MOS, Pool};

impl Pool {
    /// The history of the pool: its commands and events, oldest first. `None` if
    /// it has none, as one that no kernel has written has.
    ///
    /// # Errors
    /// If the object or its header is damaged.
    pub fn history(&self) -> Result<Option<History>, Error> {
        let Some(id) = self.directory_entry("history")? else { return Ok(None) };
        History::open(self.mos()?.object(id)?).map(Some)
    }
}

/// The records of a history. The first error ends them.
pub struct History {
    object: Object,
    header: Header,
    /// Parts that are still to be read: where to go on, and their ends.
    parts: Vec<(u64, u64)>,
}

/// A record of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRecord {
    /// Where it is: a logical position in the ring, 0 for the first of all.
    pub position: u64,
    /// Its values, by the names in [`zfs_ondisk::history::key`].
    pub values: NvList,
}

impl History {
    /// The history in an object.
    ///
    /// # Errors
    /// If the object is of another type, or its header is damaged.
    pub fn open(object: Object) -> Result<Self, Error> {
        let found = object.dnode().object_type;
        if found != ObjectType::SPA_HISTORY {
            let found = found.to_string();
            return Err(object.failed(Error::Malformed { what: "type of an object", found, expected: "a history" }));
        }
        let header = Header::read(&object.bonus()).map_err(|error| object.failed(error.into()))?;
        let parts = header.parts().into_iter().rev().collect();
        Ok(Self { object, header, parts })
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The object that it is in.
    pub fn object(&self) -> ObjectId {
        self.object.id()
    }

    fn record(&mut self) -> Result<Option<HistoryRecord>, Error> {
        while let Some((position, end)) = self.parts.pop() {
            if position >= end {
                continue;
            }
            let mut length = [0; LENGTH_SIZE];
            self.read(position, &mut length)?;
            let length = u64::from_le_bytes(length);
            self.header.check_length(position, length, end)?;
            let start = position + LENGTH_SIZE as u64;
            let mut packed = vec![0; length as usize];
            self.read(start, &mut packed)?;
            self.parts.push((start + length, end));
            return Ok(Some(HistoryRecord { position, values: history::decode(position, &packed)? }));
        }
        Ok(None)
    }

    /// Fills `buf` from a logical position on.
    fn read(&self, position: u64, buf: &mut [u8]) -> Result<(), Error> {
        if position < self.header.create_length {
            return self.object.read_at(position, buf);
        }
        let [first, second] = self.header.stretches(position, buf.len() as u64);
        let (head, tail) = buf.split_at_mut(first.1 as usize);
        self.object.read_at(first.0, head)?;
        self.object.read_at(second.0, tail)
    }
}

impl Iterator for History {
    type Item = Result<HistoryRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.record();
        if record.is_err() {
            self.parts.clear();
        }
        record.map_err(|error| error.in_object(MOS, self.object.id())).transpose()
    }
}
