//! The intent log's header (`zil_header_t`, `sys/zil.h`), which is in the root of
//! every object set.

use crate::blkptr::BlockPointer;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;

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
