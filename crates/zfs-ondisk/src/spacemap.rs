//! Space maps (`sys/space_map.h`): the log of what was allocated and freed in
//! a metaslab.
//!
//! An object of 64-bit words. We write one-word entries only, which every
//! reader knows:
//!
//! ```text
//! 63  62            16   15    14          0
//!  0  offset, units     type   run - 1, units      unit = sector of the vdev
//! ```
//!
//! Two-word entries (feature `spacemap_v2`) reach further, and debug entries
//! record when a part of the log was written:
//!
//! ```text
//! 63 62   61 60   59           24   23         0
//!  1  1   unused  run - 1, units    vdev            first word
//! type    offset, units (63 bits)                   second word
//!  1  0   action, sync pass, transaction group      debug
//! ```

use crate::bytes::{Put, Truncated, View};

/// Bytes of the bonus buffer with a histogram of free regions
/// (`space_map_phys_t`), with the feature `spacemap_histogram`.
pub const HEADER_SIZE: usize = 8 * (3 + 5 + HISTOGRAM_SIZE);
/// Bytes of the bonus buffer without one (`SPACE_MAP_SIZE_V0`).
pub const HEADER_SIZE_V0: usize = 24;
/// Buckets of the histogram.
pub const HISTOGRAM_SIZE: usize = 32;
/// The longest run of a one-word entry, in units.
pub const MAX_RUN: u64 = 1 << 15;

/// The one-word entries that allocate `length` units from `offset` on; both
/// count from the start of the metaslab.
pub fn allocations(offset: u64, length: u64) -> impl Iterator<Item = u64> {
    (0..length.div_ceil(MAX_RUN)).map(move |index| {
        let done = index * MAX_RUN;
        (offset + done) << 16 | (MAX_RUN.min(length - done) - 1)
    })
}

/// The bonus buffer of a space map of `words` entries over a metaslab in which
/// `allocated` bytes are allocated, the free regions having the lengths `free`
/// in units.
pub fn header(object: u64, words: u64, allocated: u64, free: impl Iterator<Item = u64>, histogram: bool) -> Vec<u8> {
    let mut bonus = vec![0; if histogram { HEADER_SIZE } else { HEADER_SIZE_V0 }];
    bonus.put_u64(0, object);
    bonus.put_u64(8, words * 8);
    bonus.put_u64(16, allocated);
    if histogram {
        let mut buckets = [0u64; HISTOGRAM_SIZE];
        for length in free.filter(|&length| length != 0) {
            buckets[(length.ilog2() as usize).min(HISTOGRAM_SIZE - 1)] += 1;
        }
        for (index, &count) in buckets.iter().enumerate() {
            bonus.put_u64(64 + index * 8, count);
        }
    }
    bonus
}

/// The histogram of free regions in a bonus buffer: how many there are of 2^n up
/// to 2^(n+1) units. `None` if the bonus buffer has none.
pub fn histogram(view: &View<'_>) -> Option<[u64; HISTOGRAM_SIZE]> {
    let mut buckets = [0; HISTOGRAM_SIZE];
    for (index, bucket) in buckets.iter_mut().enumerate() {
        *bucket = view.u64(64 + index * 8).ok()?;
    }
    Some(buckets)
}

/// How fragmented free space is in percent, from a histogram in units of
/// `2^shift` bytes: 0 if it is in regions of 512 MiB or more, 100 if it is in
/// single sectors (`zfs_frag_table`, `metaslab.c`). `None` if there is none.
pub fn fragmentation(histogram: &[u64; HISTOGRAM_SIZE], shift: u32) -> Option<u64> {
    const BY_SIZE: [u128; 21] = [100, 99, 97, 93, 88, 83, 77, 71, 64, 57, 50, 43, 36, 29, 23, 17, 12, 7, 3, 1, 0];
    let (mut total, mut weighted) = (0u128, 0u128);
    for (index, &count) in histogram.iter().enumerate() {
        let shift = index as u32 + shift.min(32);
        let space = u128::from(count) << shift;
        let class = (shift.saturating_sub(9) as usize).min(BY_SIZE.len() - 1);
        total = total.saturating_add(space);
        weighted = weighted.saturating_add(space.saturating_mul(BY_SIZE[class]));
    }
    weighted.checked_div(total).map(|percent| percent as u64)
}

/// What an entry says about its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was allocated.
    Allocated,
    /// It was freed.
    Freed,
}

/// An entry of a space map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened to the space.
    pub change: Change,
    /// The top-level vdev, in the log of a whole pool.
    pub vdev: Option<u32>,
    /// Where it begins, in units from the start of what is mapped.
    pub offset: u64,
    /// How long it is, in units.
    pub length: u64,
}

/// The vdev of two-word entries that name none (`SM_NO_VDEVID`).
const NO_VDEV: u64 = (1 << 24) - 1;

/// Turns the words of a space map into entries.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// The first word of an entry of two.
    first: Option<u64>,
}

impl Decoder {
    /// Takes the next word, and gives the entry that it completes; padding and
    /// debug entries give none.
    pub fn word(&mut self, word: u64) -> Option<Entry> {
        let change = |bit: u32| if word >> bit & 1 == 0 { Change::Allocated } else { Change::Freed };
        if let Some(first) = self.first.take() {
            let vdev = first & NO_VDEV;
            return Some(Entry {
                change: change(63),
                vdev: (vdev != NO_VDEV).then_some(vdev as u32),
                offset: word & !(1 << 63),
                length: (first >> 24 & ((1 << 36) - 1)) + 1,
            });
        }
        match word >> 62 {
            3 => self.first = Some(word),
            2 => {}
            _ => {
                return Some(Entry {
                    change: change(15),
                    vdev: None,
                    offset: word >> 16,
                    length: (word & (MAX_RUN - 1)) + 1,
                });
            }
        }
        None
    }
}

/// The bonus buffer of a space map, without its histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The object itself.
    pub object: u64,
    /// Bytes of entries.
    pub length: u64,
    /// Bytes allocated, less those freed.
    pub allocated: i64,
}

impl Header {
    /// Reads the bonus buffer.
    ///
    /// # Errors
    /// [`Truncated`] if it is too short.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        Ok(Self { object: view.u64(0)?, length: view.u64(8)?, allocated: view.u64(16)? as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;

    #[test]
    fn what_was_allocated_is_read_back() {
        let mut decoder = Decoder::default();
        let entries: Vec<Entry> = allocations(7, MAX_RUN + 3).filter_map(|word| decoder.word(word)).collect();
        let expected = [(7, MAX_RUN), (7 + MAX_RUN, 3)];
        let expected = expected.map(|(offset, length)| Entry { change: Change::Allocated, vdev: None, offset, length });
        assert_eq!(entries, expected);
    }

    #[test]
    fn entries_of_two_words_and_of_debugging_are_told_apart() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.word(2 << 62 | 77), None);
        assert_eq!(decoder.word(3 << 62 | 9 << 24 | 5), None);
        let entry = Entry { change: Change::Freed, vdev: Some(5), offset: 1 << 50, length: 10 };
        assert_eq!(decoder.word(1 << 63 | 1 << 50), Some(entry));
        assert_eq!(decoder.word(3 << 62 | NO_VDEV), None);
        assert_eq!(decoder.word(1).map(|entry| entry.vdev), Some(None));
        assert_eq!(decoder.word(1 << 15).map(|entry| entry.change), Some(Change::Freed));
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bonus = header(9, 3, 512, [].into_iter(), true);
        let expected = Header { object: 9, length: 24, allocated: 512 };
        assert_eq!(Header::read(&View::new(&bonus, ByteOrder::Little)), Ok(expected));
    }

    #[test]
    fn a_histogram_is_read_as_it_was_written() {
        let bonus = header(9, 1, 512, [1, 3, 4].into_iter(), true);
        let view = View::new(&bonus, ByteOrder::Little);
        assert_eq!(histogram(&view).map(|buckets| buckets[..4].to_vec()), Some(vec![1, 1, 1, 0]));
        assert_eq!(histogram(&View::new(&bonus[..HEADER_SIZE_V0], ByteOrder::Little)), None);
    }

    #[test]
    fn fragmentation_is_that_of_openzfs() {
        // Two metaslabs as `zdb -mm` shows them.
        let with = |counts: &[(usize, u64)]| {
            let mut histogram = [0; HISTOGRAM_SIZE];
            counts.iter().for_each(|&(bucket, count)| histogram[bucket] = count);
            histogram
        };
        let first = with(&[(0, 6), (1, 41), (2, 14), (3, 7), (4, 13), (5, 11), (6, 6), (7, 1), (9, 1), (14, 1)]);
        assert_eq!(fragmentation(&first, 9), Some(28));
        assert_eq!(fragmentation(&with(&[(0, 1)]), 9), Some(100));
        assert_eq!(fragmentation(&with(&[(31, u64::MAX)]), 12), Some(0));
        assert_eq!(fragmentation(&with(&[]), 9), None);
    }

    #[test]
    fn a_long_run_takes_several_entries() {
        let entries: Vec<u64> = allocations(7, MAX_RUN + 3).collect();
        assert_eq!(entries, [7 << 16 | 0x7fff, (7 + MAX_RUN) << 16 | 2]);
    }

    #[test]
    fn free_regions_are_counted_by_their_size() {
        let bonus = header(9, 1, 512, [1, 3, 4].into_iter(), true);
        assert_eq!(bonus.len(), 320);
        assert_eq!((bonus[64], bonus[72], bonus[80]), (1, 1, 1));
        let found = histogram(&View::new(&bonus, ByteOrder::Little)).unwrap();
        assert_eq!((found[..3].to_vec(), found[3..].iter().sum::<u64>()), (vec![1, 1, 1], 0));
        assert_eq!(histogram(&View::new(&bonus[..HEADER_SIZE_V0], ByteOrder::Little)), None);
    }
}
