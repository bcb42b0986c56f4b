//! The native encoding: OpenZFS's memory, pointers zeroed, in the byte order of
//! the machine that packed it.
//!
//! A list is its version and flags, its pairs, and four zero bytes. A pair is
//! its size, the length of its name with the NUL, two reserved bytes, the number
//! of its elements, its type, the name and the value, both padded to eight
//! bytes. The pairs of nested lists follow the pair that they belong to, each
//! list ended by four zero bytes; its version and flags are in the pair.

use super::codec::{
    NVLIST_LEN, PAIR_LEN, POINTER_LEN, Sink, Source, element_count, lossy, pair_size, read_value, value_offset,
    write_value,
};
use super::{ENCODE_NATIVE, HEADER_LEN, LITTLE_ENDIAN, NvError, NvList};
use crate::bytes::{ByteOrder, Truncated, View};

impl From<Truncated> for NvError {
    fn from(t: Truncated) -> Self {
        NvError::Truncated { at: t.offset, need: t.need, have: t.have }
    }
}

pub(super) fn decode(packed: &[u8], order: ByteOrder) -> Result<NvList, NvError> {
    let mut reader = Reader { view: View::new(packed, order), at: HEADER_LEN, end: packed.len() };
    let mut list = reader.header()?;
    reader.pairs(&mut list, 0)?;
    Ok(list)
}

pub(super) fn encode(list: &NvList) -> Result<Vec<u8>, NvError> {
    let mut writer = Writer { out: vec![ENCODE_NATIVE, LITTLE_ENDIAN, 0, 0] };
    writer.int(0, 4);
    writer.int(list.flags.into(), 4);
    writer.pairs(list, 0)?;
    Ok(writer.out)
}

struct Reader<'a> {
    view: View<'a>,
    at: usize,
    /// Where the value being read ends, in bytes.
    end: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], NvError> {
        let at = self.at;
        match at.checked_add(len) {
            Some(next) if next <= self.end => {
                self.at = next;
                Ok(self.view.bytes(at, len)?)
            }
            _ => Err(NvError::Truncated { at, need: len, have: self.end }),
        }
    }

    /// The version and flags of a list.
    fn header(&mut self) -> Result<NvList, NvError> {
        let at = self.at;
        let version = self.int(4)?;
        if version != 0 {
            return Err(NvError::Malformed { at, expected: "nvlist version 0", found: version });
        }
        Ok(NvList { flags: self.int(4)? as u32, pairs: Vec::new() })
    }

    fn pairs(&mut self, list: &mut NvList, depth: usize) -> Result<(), NvError> {
        loop {
            self.end = self.view.len();
            let at = self.at;
            let size = self.int(4)? as usize;
            if size == 0 {
                return Ok(());
            }
            self.at = at;
            self.take(size)?;
            (self.at, self.end) = (at + 4, at + size);
            let name_len = self.int(2)? as usize;
            self.int(2)?;
            let (count, code) = (self.int(4)? as usize, self.int(4)? as u32);
            let name = match self.take(name_len)?.split_last() {
                Some((0, name)) if !name.contains(&0) => name.to_vec(),
                _ => {
                    return Err(NvError::Malformed {
                        at: at + PAIR_LEN,
                        expected: "a name that ends in NUL, of length",
                        found: name_len as u64,
                    });
                }
            };
            self.at = at + value_offset(name_len);
            let value = read_value(self, code, count, depth)?;
            list.pairs.push((name, value));
            // Nested lists have moved past the pair, all other values end in it.
            self.at = self.at.max(at + size);
        }
    }
}

impl Source for Reader<'_> {
    fn position(&self) -> usize {
        self.at
    }

    fn int(&mut self, width: usize) -> Result<u64, NvError> {
        let bytes = self.take(width)?;
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Ok(match self.view.order() {
            ByteOrder::Little => bytes.iter().rev().fold(0, fold),
            ByteOrder::Big => bytes.iter().fold(0, fold),
        })
    }

    fn array(&mut self, count: usize, width: usize) -> Result<(), NvError> {
        let begin = self.at;
        self.take(count.saturating_mul(width))?;
        self.at = begin;
        Ok(())
    }

    fn opaque(&mut self, count: usize) -> Result<Vec<u8>, NvError> {
        Ok(self.take(count)?.to_vec())
    }

    fn string(&mut self) -> Result<Vec<u8>, NvError> {
        let rest = self.view.bytes(self.at, self.end.saturating_sub(self.at))?;
        let len = rest.iter().position(|&b| b == 0).ok_or(NvError::Truncated {
            at: self.at,
            need: rest.len() + 1,
            have: self.end,
        })?;
        self.at += len + 1;
        Ok(rest[..len].to_vec())
    }

    fn strings(&mut self, count: usize) -> Result<Vec<Vec<u8>>, NvError> {
        self.take(count.saturating_mul(POINTER_LEN))?;
        (0..count).map(|_| self.string()).collect()
    }

    fn lists(&mut self, count: usize, array: bool, depth: usize) -> Result<Vec<NvList>, NvError> {
        if array {
            self.take(count.saturating_mul(POINTER_LEN))?;
        }
        self.array(count, NVLIST_LEN)?;
        let mut lists = Vec::new();
        for _ in 0..count {
            lists.push(self.header()?);
            self.take(NVLIST_LEN - 8)?;
        }
        self.at = self.end;
        for list in &mut lists {
            self.pairs(list, depth)?;
        }
        Ok(lists)
    }
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn pairs(&mut self, list: &NvList, depth: usize) -> Result<(), NvError> {
        for (name, value) in &list.pairs {
            let (begin, size) = (self.out.len(), pair_size(name, value)?);
            self.int(size as u64, 4);
            self.int(name.len() as u64 + 1, 2);
            self.int(0, 2);
            self.int(element_count(value) as u64, 4);
            self.int(value.type_code().into(), 4);
            self.string(name);
            self.out.resize(begin + value_offset(name.len() + 1), 0);
            write_value(self, value, depth)?;
            let end = self.out.len().max(begin + size);
            self.out.resize(end, 0);
            if end > i32::MAX as usize {
                return Err(NvError::TooLarge(lossy(name)));
            }
        }
        self.int(0, 4);
        Ok(())
    }
}

impl Sink for Writer {
    fn int(&mut self, value: u64, width: usize) {
        self.out.extend_from_slice(&value.to_le_bytes()[..width]);
    }

    fn array(&mut self, _count: usize) {}

    fn opaque(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.out.push(0);
    }

    fn strings(&mut self, strings: &[Vec<u8>]) {
        self.out.resize(self.out.len() + strings.len() * POINTER_LEN, 0);
        strings.iter().for_each(|s| self.string(s));
    }

    fn lists(&mut self, lists: &[NvList], array: bool, depth: usize) -> Result<(), NvError> {
        if array {
            self.out.resize(self.out.len() + lists.len() * POINTER_LEN, 0);
        }
        for list in lists {
            self.int(0, 4);
            self.int(list.flags.into(), 4);
            self.out.resize(self.out.len() + NVLIST_LEN - 8, 0);
        }
        lists.iter().try_for_each(|l| self.pairs(l, depth))
    }
}
