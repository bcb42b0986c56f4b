//! The history of a pool (`spa_history_phys_t`, `sys/spa_impl.h`): every command
//! that changed it, and every event that OpenZFS thought worth recording.
//!
//! An object of records, each a little-endian 64-bit length and a packed nvlist.
//! The first record, which made the pool, stays at the start; behind it is a ring
//! in which new records overwrite the oldest ones:
//!
//! ```text
//! 0                create_length                  size
//! | zpool create   | ...newest |  oldest...       |
//! ```
//!
//! Positions of the ring's begin and end are logical: they only grow, and the
//! physical ones follow by [`Header::physical`].

use crate::bytes::{Put, Truncated, View};
use crate::nvlist::{NvError, NvList};

/// Bytes of the bonus buffer.
pub const HEADER_SIZE: usize = 40;
/// Bytes of the length in front of a record.
pub const LENGTH_SIZE: usize = 8;
/// The longest record in bytes that is read: what is logged of an ioctl's input
/// is limited to some hundred KiB (`zfs_history_output_max`, 1 MiB).
pub const MAX_RECORD: u64 = 16 << 20;

/// Names of the values of a record (`ZPOOL_HIST_...`, `sys/fs/zfs.h`).
pub mod key {
    /// Seconds since 1970.
    pub const TIME: &str = "history time";
    /// The command line.
    pub const COMMAND: &str = "history command";
    /// The user who gave it.
    pub const WHO: &str = "history who";
    /// The zone or jail of the user.
    pub const ZONE: &str = "history zone";
    /// The host.
    pub const HOST: &str = "history hostname";
    /// The transaction group of an internal event.
    pub const TXG: &str = "history txg";
    /// The number of an internal event, before these had names.
    pub const EVENT: &str = "history internal event";
    /// More about an internal event.
    pub const TEXT: &str = "history internal str";
    /// The name of an internal event.
    pub const NAME: &str = "internal_name";
    /// The dataset of an internal event.
    pub const DATASET: &str = "dsname";
    /// Its object number.
    pub const DATASET_ID: &str = "dsid";
    /// The name of an ioctl.
    pub const IOCTL: &str = "ioctl";
    /// What it was given.
    pub const INPUT: &str = "in_nvl";
    /// What it gave back.
    pub const OUTPUT: &str = "out_nvl";
    /// Its error number.
    pub const ERROR: &str = "errno";
    /// Nanoseconds that it took.
    pub const ELAPSED: &str = "elapsed_ns";
}

/// The bonus buffer of the object: where its records are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the record that made the pool; the ring begins behind them.
    pub create_length: u64,
    /// Where the ring ends, in bytes.
    pub size: u64,
    /// Logical position of the oldest record of the ring.
    pub begin: u64,
    /// Logical position behind the newest record.
    pub end: u64,
    /// Records that were overwritten.
    pub lost: u64,
}

/// Why the header of a history is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends too early.
    #[error("header of the history: {0}")]
    Truncated(#[from] Truncated),
    /// Its positions contradict each other.
    #[error("header of the history: {what} is {found}, expected {expected}")]
    Position {
        /// The position.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: String,
    },
    /// A record is longer than what is left.
    #[error("history, position {position}: a record of {length} bytes, expected at most {most}")]
    Length {
        /// Logical position of the record.
        position: u64,
        /// Its length in bytes.
        length: u64,
        /// Bytes that are left for it.
        most: u64,
    },
    /// A record is no list.
    #[error("history, position {position}: {source}")]
    Record {
        /// Logical position of the record.
        position: u64,
        /// What is wrong with it.
        source: NvError,
    },
}

impl Header {
    /// Reads the bonus buffer.
    ///
    /// # Errors
    /// If it is too short, or its positions cannot be.
    pub fn read(view: &View<'_>) -> Result<Self, Error> {
        let header = Self {
            create_length: view.u64(0)?,
            size: view.u64(8)?,
            begin: view.u64(16)?,
            end: view.u64(24)?,
            lost: view.u64(32)?,
        };
        let check = |what, found: u64, valid: bool, expected: String| {
            if valid { Ok(()) } else { Err(Error::Position { what, found, expected }) }
        };
        let Self { create_length, size, begin, end, .. } = header;
        check("the length of the first record", create_length, create_length < size, format!("less than {size}"))?;
        check("the begin", begin, begin >= create_length && begin <= end, format!("{create_length} to {end}"))?;
        let ring = size - create_length;
        check("the end", end, end - begin <= ring, format!("at most {ring} more than the begin"))?;
        Ok(header)
    }

    /// The bonus buffer.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        for (index, word) in [self.create_length, self.size, self.begin, self.end, self.lost].into_iter().enumerate() {
            bytes.put_u64(index * 8, word);
        }
        bytes
    }

    /// The offset in the object of a logical position in the ring.
    pub fn physical(&self, position: u64) -> u64 {
        let ring = self.size.saturating_sub(self.create_length).max(1);
        position.saturating_sub(self.create_length) % ring + self.create_length
    }

    /// The stretches of the object that hold `length` bytes of the ring from
    /// logical `position` on: one, or two where the ring wraps.
    pub fn stretches(&self, position: u64, length: u64) -> [(u64, u64); 2] {
        let start = self.physical(position);
        let first = length.min(self.size.saturating_sub(start));
        [(start, first), (self.create_length, length - first)]
    }

    /// Where records begin and end that can be read: the one that made the pool,
    /// and the ring. All are logical positions.
    pub fn parts(&self) -> [(u64, u64); 2] {
        [(0, self.create_length), (self.begin, self.end)]
    }

    /// Checks the length of the record at logical `position`, where `end` is that
    /// of its part.
    ///
    /// # Errors
    /// [`Error::Length`] if it is longer than what is left.
    pub fn check_length(&self, position: u64, length: u64, end: u64) -> Result<(), Error> {
        let most = end.saturating_sub(position).saturating_sub(LENGTH_SIZE as u64).min(MAX_RECORD);
        if length > most {
            return Err(Error::Length { position, length, most });
        }
        Ok(())
    }
}

/// Decodes the record at logical `position`, without its length.
///
/// # Errors
/// [`Error::Record`] if it is no nvlist.
pub fn decode(position: u64, packed: &[u8]) -> Result<NvList, Error> {
    NvList::decode(packed).map_err(|source| Error::Record { position, source })
}

/// A record as it is stored, with its length.
///
/// # Errors
/// If it cannot be packed.
pub fn encode(record: &NvList) -> Result<Vec<u8>, NvError> {
    let packed = record.to_native()?;
    let mut bytes = (packed.len() as u64).to_le_bytes().to_vec();
    bytes.extend(packed);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;

    const HEADER: Header = Header { create_length: 100, size: 1000, begin: 1500, end: 2200, lost: 3 };

    fn read(bytes: &[u8]) -> Result<Header, Error> {
        Header::read(&View::new(bytes, ByteOrder::Little))
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        assert_eq!(read(&HEADER.to_bytes()), Ok(HEADER));
    }

    #[test]
    fn positions_that_contradict_each_other_are_refused() {
        for bad in [
            Header { create_length: 1000, ..HEADER },
            Header { begin: 99, ..HEADER },
            Header { begin: 2300, ..HEADER },
            Header { end: 2401, ..HEADER },
        ] {
            assert!(matches!(read(&bad.to_bytes()), Err(Error::Position { .. })), "{bad:?}");
        }
        assert!(matches!(read(&[0; 39]), Err(Error::Truncated(_))));
    }

    #[test]
    fn a_position_behind_the_end_of_the_ring_is_at_its_start_again() {
        assert_eq!((HEADER.physical(100), HEADER.physical(999), HEADER.physical(1000)), (100, 999, 100));
        assert_eq!(HEADER.stretches(990, 30), [(990, 10), (100, 20)]);
        assert_eq!(HEADER.stretches(200, 30), [(200, 30), (100, 0)]);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = NvList::new().with(key::COMMAND, "zpool create t").with(key::TIME, 7);
        let bytes = encode(&record).unwrap();
        assert_eq!(decode(0, &bytes[LENGTH_SIZE..]), Ok(record));
        assert!(matches!(decode(9, &[7; 20]), Err(Error::Record { position: 9, .. })));
    }

    #[test]
    fn a_record_longer_than_what_is_left_is_refused() {
        assert_eq!(HEADER.check_length(2000, 192, 2200), Ok(()));
        assert!(HEADER.check_length(2000, 193, 2200).is_err());
        assert!(HEADER.check_length(2200, u64::MAX, 2200).is_err());
    }
}
