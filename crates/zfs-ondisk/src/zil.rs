//! The intent log (`sys/zil.h`): its header (`zil_header_t`), which is in the root of
//! every object set, and the chain of blocks with records.

use crate::blkptr::{self, BlockPointer};
use crate::bytes::{Truncated, View};

/// The log was replayed up to [`Header::replay_sequence`].
pub const FLAG_REPLAY_NEEDED: u64 = 0x1;
/// [`Header::claim_record_sequence`] is kept.
pub const FLAG_CLAIM_LR_SEQ_VALID: u64 = 0x2;

/// The header of an intent log. A log without a first block is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Transaction group in which the blocks of the log were claimed, when the
    /// pool was opened; 0 if that was not necessary.
    pub claim_txg: u64,
    /// The highest sequence number that was replayed.
    pub replay_sequence: u64,
    /// The first block of the log.
    pub log: BlockPointer,
    /// The highest sequence number of a claimed block.
    pub claim_block_sequence: u64,
    /// `FLAG_...`.
    pub flags: u64,
    /// The highest sequence number of a claimed record.
    pub claim_record_sequence: u64,
}

impl Header {
    /// Reads the header, [`crate::objset::ZIL_HEADER_SIZE`] bytes.
    ///
    /// # Errors
    /// [`Truncated`] if it is too short.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            claim_txg: view.u64(0)?,
            replay_sequence: view.u64(8)?,
            log: BlockPointer::read(view, 16)?,
            claim_block_sequence: view.u64(144)?,
            flags: view.u64(152)?,
            claim_record_sequence: view.u64(160)?,
        })
    }
}

/// Bytes of the chain record of a block (`zil_chain_t`), which is at the start of blocks with the checksum `zilog2` and
/// at the end of older ones.
pub const CHAIN_SIZE: usize = 192;
/// A record about a write to a file, which may lead to a block with what was written (`TX_WRITE`).
pub const TX_WRITE: u64 = 9;
/// A record about blocks that a file got to share with another (`TX_CLONE_RANGE`).
pub const TX_CLONE_RANGE: u64 = 24;
/// A flag of record types: names are looked up without regard to case (`TX_CI`).
const CASE_INSENSITIVE: u64 = 1 << 63;

/// What a block of the log says besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The next block. At the end of the log it was not written.
    pub next: BlockPointer,
    /// Where the records begin and end in the block.
    pub records: (usize, usize),
}

impl Chain {
    /// Reads the chain record of a block; `new` says that it has the checksum `zilog2`.
    ///
    /// # Errors
    /// [`Truncated`] if the block is too short.
    pub fn read(block: &View<'_>, new: bool) -> Result<Self, Truncated> {
        let at = if new { 0 } else { block.len().saturating_sub(CHAIN_SIZE) };
        let used = usize::try_from(block.u64(at + 136)?).unwrap_or(usize::MAX).min(block.len());
        let first = if new { CHAIN_SIZE } else { 0 };
        Ok(Self { next: BlockPointer::read(block, at + 8)?, records: (first, used) })
    }
}

/// A record (`lr_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its type, without flags: `TX_...`.
    pub kind: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its sequence number.
    pub sequence: u64,
    /// The blocks that it leads to, without holes: of a [`TX_WRITE`] what was written, if that is not in the record
    /// itself (`lr_blkptr`), of a [`TX_CLONE_RANGE`] what was cloned (`lr_bps`).
    pub pointers: Vec<BlockPointer>,
}

impl Record {
    /// Reads the record at an offset of a block.
    ///
    /// # Errors
    /// [`Truncated`] if the block ends before it.
    pub fn read(block: &View<'_>, at: usize) -> Result<Self, Truncated> {
        let rest = block.view(at, block.len().saturating_sub(at))?;
        let (kind, length) = (rest.u64(0)? & !CASE_INSENSITIVE, rest.u64(8)?);
        let record = rest.view(0, usize::try_from(length).unwrap_or(usize::MAX).min(rest.len()))?;
        let (first, count) = match kind {
            TX_WRITE => (64, 1),
            TX_CLONE_RANGE => (72, record.u64(64)?),
            _ => (0, 0),
        };
        // No more than the record has room for.
        let places = (0..count).map_while(|index| usize::try_from(index).ok()?.checked_mul(blkptr::SIZE));
        let pointers = places.map_while(|place| BlockPointer::read(&record, first + place).ok());
        let pointers = pointers.filter(|pointer| !pointer.is_hole()).collect();
        Ok(Self { kind, length, sequence: rest.u64(24)?, pointers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;

    #[test]
    fn the_records_of_a_block_are_behind_its_chain_record_or_before_it() {
        let mut block = vec![0; 4096];
        block[8 * 2] = 1;
        block[136..138].copy_from_slice(&400u16.to_le_bytes());
        let chain = Chain::read(&View::new(&block, ByteOrder::Little), true).unwrap();
        assert_eq!(chain.records, (192, 400));
        block.rotate_right(4096 - 192);
        assert_eq!(Chain::read(&View::new(&block, ByteOrder::Little), false).unwrap().records, (0, 400));
        assert!(Chain::read(&View::new(&block[..100], ByteOrder::Little), true).is_err());
    }

    #[test]
    fn a_record_of_a_write_may_lead_to_a_block() {
        let mut words = [0u64; 24];
        (words[0], words[1], words[8], words[9]) = (1 << 63 | TX_WRITE, 192, 8, 16);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let record = Record::read(&View::new(&bytes, ByteOrder::Big), 0).unwrap();
        assert_eq!((record.kind, record.length, record.pointers.len()), (TX_WRITE, 192, 1));
        assert!(Record::read(&View::new(&bytes, ByteOrder::Big), 190).is_err());
    }

    #[test]
    fn a_record_of_a_clone_leads_to_as_many_blocks_as_it_has_room_for() {
        let mut words = [0u64; 9 + 3 * 16];
        (words[0], words[3]) = (TX_CLONE_RANGE, 5);
        words[9..].fill(8);
        // Embedded or not, the last one is a hole.
        words[9 + 2 * 16..].fill(0);
        let read = |words: &[u64], count, length| {
            let mut words = words.to_vec();
            (words[1], words[8]) = (length, count);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            Record::read(&View::new(&bytes, ByteOrder::Little), 0)
        };
        let record = read(&words, 3, 72 + 3 * 128).unwrap();
        assert_eq!((record.sequence, record.pointers.len()), (5, 2));
        assert_eq!(read(&words, u64::MAX, 72 + 128).unwrap().pointers.len(), 1);
        assert_eq!(read(&words, u64::MAX, u64::MAX).unwrap().pointers.len(), 2);
        assert!(read(&words[..9], 1, 40).is_err());
    }

    #[test]
    fn a_header_is_read_in_either_byte_order() {
        let words: Vec<u64> = (1..=24).collect();
        let little: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let big: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let header = Header::read(&View::new(&little, ByteOrder::Little)).unwrap();
        assert_eq!(Header::read(&View::new(&big, ByteOrder::Big)).unwrap(), header);
        assert_eq!((header.claim_txg, header.replay_sequence, header.log.words()[0]), (1, 2, 3));
        assert_eq!((header.claim_block_sequence, header.flags, header.claim_record_sequence), (19, 20, 21));
        assert!(Header::read(&View::new(&little[..160], ByteOrder::Little)).is_err());
    }
}
