//! Tables of deduplicated blocks (`sys/ddt.h`, `sys/ddt_impl.h`, `ddt_zap.c`): ZAPs whose keys are checksums and
//! sizes, and logs of newer entries (feature `fast_dedup`).
//!
//! An entry is one record of where a block is and how many references there are, or four of them, for blocks of
//! different numbers of copies, in tables made before `fast_dedup`:
//!
//! ```text
//! 0  three DVAs of two words   6  references   7  txg of birth   8  time of the first reference (lone records only)
//! ```
//!
//! In a ZAP, the value is a byte that says how it is compressed, and the records.

use crate::blkptr::Dva;
use crate::bytes::{ByteOrder, Truncated, View};
use crate::compress::{self, Function};

/// Words of a key (`ddt_key_t`).
pub const KEY_WORDS: usize = 5;
/// Tables of this pool have one record for each entry (`DDT_FLAG_FLAT`).
pub const FLAG_FLAT: u64 = 1;
/// The log is being flushed: it is older than the other one (`DDL_FLAG_FLUSHING`).
pub const LOG_FLUSHING: u64 = 1;
/// Entries of the log up to a key are in the ZAP already (`DDL_FLAG_CHECKPOINT`).
pub const LOG_CHECKPOINT: u64 = 2;

/// The bits of the first byte of a value: the compression, and whether the writer was little-endian.
const COMPRESSION: u8 = 0x7f;
const LITTLE_ENDIAN: u8 = 0x80;
/// Bytes of a lone record, and of each of four.
const FLAT_SIZE: usize = 72;
const TRADITIONAL_SIZE: usize = 64;
const RECORDS: usize = 4;
const REFERENCES: usize = 48;
/// Bytes of the header of a record of a log.
const LOG_RECORD_HEADER: usize = 8;
/// The type of a record that is an entry.
const LOG_ENTRY: u64 = 1;

/// A key: checksum and sizes.
pub type Key = [u64; KEY_WORDS];

/// What a record of an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first copy of the block; empty if the record is not in use.
    pub first: Dva,
    /// How many pointers lead to the block.
    pub references: u64,
}

/// The records of a value in a ZAP.
///
/// # Errors
/// What is wrong with it.
pub fn zap_records(value: &[u8], flat: bool) -> Result<Vec<Record>, String> {
    let (&version, stored) = value.split_first().ok_or("the value is empty")?;
    let mut bytes = vec![0; size(flat)];
    match Function::from_number(version & COMPRESSION) {
        Some(Function::Off) => {
            bytes.copy_from_slice(stored.get(..size(flat)).ok_or("the value is too short")?);
        }
        Some(function) => {
            compress::decompress(function, stored, &mut bytes).map_err(|error| error.to_string())?;
        }
        None => return Err(format!("compression function {} is not known", version & COMPRESSION)),
    }
    let order = if version & LITTLE_ENDIAN != 0 { ByteOrder::Little } else { ByteOrder::Big };
    records(&View::new(&bytes, order), flat).map_err(|error| error.to_string())
}

/// The header of a log, in the bonus buffer of its object (`ddt_log_header_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// The version: 1.
    pub version: u64,
    /// `LOG_...`.
    pub flags: u64,
    /// Bytes of the log.
    pub length: u64,
    /// The last key that is in the ZAP already.
    pub checkpoint: Key,
}

impl LogHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Truncated`] if it is too short.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        let info = view.u64(0)?;
        Ok(Self { version: info & 0xff, flags: info >> 8 & 0xff, length: view.u64(8)?, checkpoint: key(view, 24)? })
    }
}

/// Calls `each` with the entries in a block of a log.
///
/// # Errors
/// What is wrong with the block.
pub fn log_entries(block: &View<'_>, flat: bool, mut each: impl FnMut(Key, Vec<Record>)) -> Result<(), String> {
    let mut at = 0;
    // The rest of a block that is not full is zeros.
    while let Ok(info) = block.u64(at) {
        if info & 0xff == 0 {
            return Ok(());
        }
        let length = (info >> 8 & 0xffff) as usize;
        let least = LOG_RECORD_HEADER + KEY_WORDS * 8 + size(flat);
        if info & 0xff != LOG_ENTRY || length < least {
            return Err(format!("the record at {at} is of type {} and {length} bytes long", info & 0xff));
        }
        let text = |error: Truncated| error.to_string();
        let key = key(block, at + LOG_RECORD_HEADER).map_err(text)?;
        let payload = block.view(at + LOG_RECORD_HEADER + KEY_WORDS * 8, size(flat)).map_err(text)?;
        each(key, records(&payload, flat).map_err(text)?);
        at += length;
    }
    Ok(())
}

fn size(flat: bool) -> usize {
    if flat { FLAT_SIZE } else { RECORDS * TRADITIONAL_SIZE }
}

fn key(view: &View<'_>, offset: usize) -> Result<Key, Truncated> {
    let mut key = [0; KEY_WORDS];
    for (index, word) in key.iter_mut().enumerate() {
        *word = view.u64(offset + index * 8)?;
    }
    Ok(key)
}

fn records(view: &View<'_>, flat: bool) -> Result<Vec<Record>, Truncated> {
    let count = if flat { 1 } else { RECORDS };
    (0..count)
        .map(|index| {
            let at = index * TRADITIONAL_SIZE;
            Ok(Record { first: Dva::read(view, at)?, references: view.u64(at + REFERENCES)? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Put;

    #[test]
    fn a_value_of_four_records_is_read_in_either_order() {
        let mut words = [0u64; 32];
        words[8] = 3 << 32 | 8;
        words[9] = 0x40;
        words[14] = 5;
        let little: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let big: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        for (mark, bytes) in [(0x80, little), (0, big)] {
            let mut packed = vec![0; 300];
            let mut compressor = compress::Compressor::new();
            let setting = "zle".parse().unwrap();
            let length = compressor.compress(setting, &bytes, &mut packed).unwrap();
            packed.truncate(length);
            let value = [&[mark | Function::Zle.number()], &packed[..]].concat();
            let records = zap_records(&value, false).unwrap();
            let expected = Dva { vdev: 3, offset: 0x8000, asize: 0x1000, gang: false };
            assert_eq!(records[1], Record { first: expected, references: 5 });
            assert!(records[0].first.is_empty() && records[2].first.is_empty());
        }
    }

    #[test]
    fn the_entries_of_a_log_end_at_the_first_zero() {
        let length = 8 + 40 + 72;
        let mut block = vec![0; 512];
        block.put_u64(0, 1 | (length as u64) << 8);
        block.put_u64(8, 7);
        block.put_u64(48, 1);
        block.put_u64(48 + 48, 9);
        let mut found = Vec::new();
        log_entries(&View::new(&block, ByteOrder::Little), true, |key, records| found.push((key, records))).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1[0].references), ([7, 0, 0, 0, 0], 9));
        block.put_u64(length, 2);
        assert!(log_entries(&View::new(&block, ByteOrder::Little), true, |_, _| ()).is_err());
    }
}
