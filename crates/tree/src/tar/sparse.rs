//! Sparse files: GNU tar's old header, and its three ways to say the same in extended headers (GNU tar manual,
//! "Storing Sparse Files"). All become a list of [`Extent`]s.

use super::ArchiveError;
use super::header::{BLOCK, size};
use super::pax::decimal;
use crate::places::Extent;

/// Where a sparse file's data goes, and how long the file is.
#[derive(Debug, Default)]
pub(super) struct SparseMap {
    pub(super) extents: Vec<Extent>,
    pub(super) size: u64,
    stored: u64,
}

impl SparseMap {
    pub(super) fn new(size: u64) -> SparseMap {
        SparseMap { size, ..SparseMap::default() }
    }

    /// Adds a range of data. Ranges come in ascending order and do not overlap.
    pub(super) fn push(&mut self, start: u64, length: u64) -> Result<(), ArchiveError> {
        let floor = self.extents.last().map_or(0, |last| last.start + last.length);
        let end = start.checked_add(length).filter(|&end| end <= self.size);
        if start < floor || end.is_none() {
            return Err(ArchiveError::Sparse { why: "ranges overlap or pass the end of the file" });
        }
        if length == 0 {
            return Ok(());
        }
        match self.extents.last_mut() {
            Some(last) if last.start + last.length == start => last.length += length,
            _ => self.extents.push(Extent { start, length, stored: self.stored }),
        }
        self.stored += length;
        Ok(())
    }

    /// Checks that as many bytes are stored as the ranges have.
    pub(super) fn check(&self, stored: u64) -> Result<(), ArchiveError> {
        if self.stored != stored {
            return Err(ArchiveError::Sparse { why: "the ranges do not add up to what is stored" });
        }
        Ok(())
    }
}

/// What extended headers say about a sparse file.
#[derive(Clone, Default, Debug)]
pub(super) struct SparseRecords {
    pub(super) real_size: Option<u64>,
    /// Versions 0.0 and 0.1: offsets and lengths in turn.
    numbers: Vec<u64>,
    major: Option<u32>,
}

impl SparseRecords {
    pub(super) fn set(&mut self, keyword: &[u8], value: &[u8], path: &mut Option<Vec<u8>>) -> Result<(), ArchiveError> {
        let number = |value| decimal(value).ok_or(ArchiveError::Sparse { why: "a number is malformed" });
        match keyword {
            b"name" => *path = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(number(value)?),
            b"offset" if self.numbers.len().is_multiple_of(2) => self.numbers.push(number(value)?),
            b"numbytes" if self.numbers.len() % 2 == 1 => self.numbers.push(number(value)?),
            b"offset" | b"numbytes" => {
                return Err(ArchiveError::Sparse { why: "offsets and lengths do not alternate" });
            }
            b"map" => {
                self.numbers.clear();
                for value in value.split(|&byte| byte == b',').filter(|value| !value.is_empty()) {
                    self.numbers.push(number(value)?);
                }
            }
            b"major" => self.major = decimal(value),
            _ => {}
        }
        Ok(())
    }

    /// Whether the ranges are written before the data (version 1.0).
    pub(super) fn map_in_data(&self) -> bool {
        self.major == Some(1)
    }

    /// The map of versions 0.0 and 0.1, if there is one.
    pub(super) fn map(&self) -> Result<Option<SparseMap>, ArchiveError> {
        let Some(size) = self.real_size else {
            return Ok(None);
        };
        let mut map = SparseMap::new(size);
        for pair in self.numbers.chunks(2) {
            let [start, length] = pair else {
                return Err(ArchiveError::Sparse { why: "an offset has no length" });
            };
            map.push(*start, *length)?;
        }
        Ok(Some(map))
    }
}

/// The map of version 1.0, which fills blocks before the data: decimal numbers, each with a newline, first the
/// count of ranges. It is given block by block.
pub(super) struct MapInData {
    pub(super) map: SparseMap,
    /// Numbers still to come; not known before the first, the count of ranges, has been read.
    left: Option<u64>,
    /// The number being read, if it has a digit yet.
    number: Option<u64>,
    start: Option<u64>,
}

impl MapInData {
    pub(super) fn new(size: u64) -> MapInData {
        MapInData { map: SparseMap::new(size), left: None, number: None, start: None }
    }

    pub(super) fn complete(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn read(&mut self, block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
        for &byte in block {
            if self.complete() {
                return Ok(());
            }
            match (byte, self.number) {
                (b'0'..=b'9', number) => {
                    let tens = number.unwrap_or(0).checked_mul(10);
                    let next = tens.and_then(|tens| tens.checked_add(u64::from(byte - b'0')));
                    self.number = Some(next.ok_or(ArchiveError::Sparse { why: "a number is too large" })?);
                }
                (b'\n', Some(number)) => {
                    self.number = None;
                    self.take(number)?;
                }
                _ => {
                    return Err(ArchiveError::Sparse { why: "a number is malformed" });
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, number: u64) -> Result<(), ArchiveError> {
        let Some(left) = self.left else {
            let numbers = number.checked_mul(2).ok_or(ArchiveError::Sparse { why: "it has too many ranges" })?;
            self.left = Some(numbers);
            return Ok(());
        };
        self.left = Some(left - 1);
        match self.start.take() {
            None => self.start = Some(number),
            Some(start) => self.map.push(start, number)?,
        }
        Ok(())
    }
}

/// The part of an old GNU sparse header (typeflag `S`) that is not like any other header.
pub(super) struct OldSparse {
    pub(super) map: SparseMap,
    /// Whether a block with more ranges follows.
    pub(super) extended: bool,
}

impl OldSparse {
    /// Offsets within the header: four ranges at 386, the flag at 482, the file's size at 483.
    pub(super) fn from_header(block: &[u8; BLOCK]) -> Result<OldSparse, ArchiveError> {
        let mut old = OldSparse { map: SparseMap::new(size(&block[483..495])?), extended: block[482] != 0 };
        push_ranges(&mut old.map, &block[386..482])?;
        Ok(old)
    }

    /// A continuation: 21 ranges, and the flag at 504.
    pub(super) fn extend(&mut self, block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
        self.extended = block[504] != 0;
        push_ranges(&mut self.map, &block[..504])
    }
}

fn push_ranges(map: &mut SparseMap, ranges: &[u8]) -> Result<(), ArchiveError> {
    for range in ranges.chunks_exact(24).take_while(|range| range[0] != 0) {
        map.push(size(&range[..12])?, size(&range[12..])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_must_ascend_and_stay_inside() {
        let mut map = SparseMap::new(100);
        map.push(10, 5).unwrap();
        map.push(15, 5).unwrap();
        map.push(50, 10).unwrap();
        map.push(100, 0).unwrap();
        assert_eq!(map.extents.len(), 2, "neighbours are joined");
        assert_eq!(map.extents[1], Extent { start: 50, length: 10, stored: 10 });
        map.check(20).unwrap();
        assert!(map.check(21).is_err());
        assert!(map.push(55, 1).is_err());
        assert!(map.push(99, 2).is_err());
        assert!(map.push(u64::MAX, 2).is_err());
    }

    #[test]
    fn the_three_spellings_give_one_map() {
        let mut split = SparseRecords::default();
        let mut joined = SparseRecords::default();
        let mut path = None;
        for (keyword, value) in
            [("size", "100"), ("offset", "10"), ("numbytes", "5"), ("offset", "50"), ("numbytes", "10")]
        {
            split.set(keyword.as_bytes(), value.as_bytes(), &mut path).unwrap();
        }
        joined.set(b"size", b"100", &mut path).unwrap();
        joined.set(b"map", b"10,5,50,10", &mut path).unwrap();
        let mut block = [0; BLOCK];
        block[..14].copy_from_slice(b"2\n10\n5\n50\n10\n\0");
        let mut in_data = MapInData::new(100);
        in_data.read(&block).unwrap();
        assert!(in_data.complete());
        let expected = split.map().unwrap().unwrap().extents;
        assert_eq!(joined.map().unwrap().unwrap().extents, expected);
        assert_eq!(in_data.map.extents, expected);
        assert_eq!(expected.len(), 2);
    }
}
