//! The XDR encoding: big-endian, every part padded to four bytes (RFC 4506).
//!
//! A list is its version and flags, its pairs, and eight zero bytes. A pair is
//! its size here, its size in OpenZFS's memory, its name, its type, the number
//! of its elements, and the value.

use super::codec::{Sink, Source, element_count, lossy, pair_size, read_value, write_value};
use super::{ENCODE_XDR, HEADER_LEN, LITTLE_ENDIAN, NvError, NvList};

pub(super) fn decode(packed: &[u8]) -> Result<NvList, NvError> {
    Reader { packed, at: HEADER_LEN }.list(0)
}

pub(super) fn encode(list: &NvList) -> Result<Vec<u8>, NvError> {
    let mut writer = Writer { out: vec![ENCODE_XDR, LITTLE_ENDIAN, 0, 0] };
    writer.list(list, 0)?;
    Ok(writer.out)
}

struct Reader<'a> {
    packed: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// `len` bytes and the padding behind them.
    fn take(&mut self, len: usize) -> Result<&'a [u8], NvError> {
        let at = self.at;
        let truncated = NvError::Truncated { at, need: len, have: self.packed.len() };
        let padded = len.checked_next_multiple_of(4).ok_or(truncated.clone())?;
        let end = at.checked_add(padded).filter(|&end| end <= self.packed.len()).ok_or(truncated)?;
        self.at = end;
        Ok(&self.packed[at..at + len])
    }

    fn u32(&mut self) -> Result<u32, NvError> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn list(&mut self, depth: usize) -> Result<NvList, NvError> {
        let at = self.at;
        let version = self.u32()?;
        if version != 0 {
            return Err(NvError::Malformed { at, expected: "nvlist version 0", found: version.into() });
        }
        let mut list = NvList { flags: self.u32()?, pairs: Vec::new() };
        loop {
            let at = self.at;
            let (encoded, decoded) = (self.u32()?, self.u32()?);
            if decoded == 0 {
                return Ok(list);
            }
            let name = self.string()?;
            let (code, count) = (self.u32()?, self.u32()?);
            let value = read_value(self, code, count as usize, depth)?;
            if self.at - at != encoded as usize {
                return Err(NvError::Malformed { at, expected: "the size of the pair", found: encoded.into() });
            }
            list.pairs.push((name, value));
        }
    }
}

impl Source for Reader<'_> {
    fn position(&self) -> usize {
        self.at
    }

    fn int(&mut self, width: usize) -> Result<u64, NvError> {
        let low = |v: u32, bits: u32| u64::from(v & (u32::MAX >> (32 - bits)));
        Ok(match width {
            1 => low(self.u32()?, 8),
            2 => low(self.u32()?, 16),
            4 => self.u32()?.into(),
            _ => u64::from(self.u32()?) << 32 | u64::from(self.u32()?),
        })
    }

    fn array(&mut self, count: usize, width: usize) -> Result<(), NvError> {
        let at = self.at;
        let stated = self.u32()?;
        if stated as usize != count {
            return Err(NvError::Malformed { at, expected: "the array's length", found: stated.into() });
        }
        let begin = self.at;
        self.take(count.saturating_mul(width.max(4)))?;
        self.at = begin;
        Ok(())
    }

    fn opaque(&mut self, count: usize) -> Result<Vec<u8>, NvError> {
        Ok(self.take(count)?.to_vec())
    }

    fn string(&mut self) -> Result<Vec<u8>, NvError> {
        let len = self.u32()?;
        let at = self.at;
        let bytes = self.take(len as usize)?;
        match bytes.iter().position(|&b| b == 0) {
            Some(nul) => Err(NvError::Malformed { at: at + nul, expected: "a string", found: 0 }),
            None => Ok(bytes.to_vec()),
        }
    }

    fn strings(&mut self, count: usize) -> Result<Vec<Vec<u8>>, NvError> {
        (0..count).map(|_| self.string()).collect()
    }

    fn lists(&mut self, count: usize, _array: bool, depth: usize) -> Result<Vec<NvList>, NvError> {
        (0..count).map(|_| self.list(depth)).collect()
    }
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn u32(&mut self, value: u32) {
        self.out.extend(value.to_be_bytes());
    }

    fn list(&mut self, list: &NvList, depth: usize) -> Result<(), NvError> {
        self.u32(0);
        self.u32(list.flags);
        for (name, value) in &list.pairs {
            let begin = self.out.len();
            let size = pair_size(name, value)?;
            self.u32(0);
            self.u32(size as u32);
            self.string(name);
            self.u32(value.type_code());
            self.u32(element_count(value) as u32);
            write_value(self, value, depth)?;
            let encoded = i32::try_from(self.out.len() - begin).map_err(|_| NvError::TooLarge(lossy(name)))?;
            self.out[begin..begin + 4].copy_from_slice(&encoded.to_be_bytes());
        }
        self.out.extend([0; 8]);
        Ok(())
    }
}

impl Sink for Writer {
    fn int(&mut self, value: u64, width: usize) {
        if width == 8 {
            self.out.extend(value.to_be_bytes());
        } else {
            self.u32(value as u32);
        }
    }

    fn array(&mut self, count: usize) {
        self.u32(count as u32);
    }

    fn opaque(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.opaque(bytes);
    }

    fn strings(&mut self, strings: &[Vec<u8>]) {
        strings.iter().for_each(|s| self.string(s));
    }

    fn lists(&mut self, lists: &[NvList], _array: bool, depth: usize) -> Result<(), NvError> {
        lists.iter().try_for_each(|l| self.list(l, depth))
    }
}
