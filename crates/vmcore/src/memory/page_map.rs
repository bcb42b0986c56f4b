//! Which physical pages a minidump has, and where: a bit for each page of memory, in the order of the pages in the file.

use crate::arch::ByteOrder;

/// Words of the bitmap between two counts of the index.
const STRIDE: usize = 8;

/// The bitmap of a minidump, with an index that counts.
pub(crate) struct PageMap {
    /// Page size, as a power of two.
    shift: u32,
    ranges: Vec<Range>,
    words: Vec<u64>,
    /// Bits that are set before each eighth word.
    counts: Vec<u64>,
    /// All bits that are set.
    total: u64,
}

/// A range of physical memory whose pages have consecutive bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The number of the first page, and of the one behind the last.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The bit of the first page.
    pub(crate) bit: u64,
}

impl PageMap {
    /// `bitmap` is made of words of `word_size` bytes in the dump's order; without `ranges` its bits begin with the page
    /// at physical address 0.
    pub(crate) fn new(bitmap: &[u8], word_size: usize, order: ByteOrder, shift: u32, ranges: Vec<Range>) -> Self {
        let words: Vec<u64> = bitmap.chunks(8).map(|chunk| word(chunk, word_size, order)).collect();
        let bits = words.len() as u64 * 64;
        let ranges = if ranges.is_empty() { vec![Range { start: 0, end: bits, bit: 0 }] } else { ranges };
        let mut counts = Vec::with_capacity(words.len() / STRIDE + 1);
        let mut total = 0;
        for stride in words.chunks(STRIDE) {
            counts.push(total);
            total += stride.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        }
        Self { shift, ranges, words, counts, total }
    }

    /// How many pages there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The place among the dump's pages of the page at physical address `pa`, if the dump has it.
    pub(crate) fn index(&self, pa: u64) -> Option<u64> {
        self.rank(self.bit(pa >> self.shift)?)
    }

    /// Whether the page at `pa` is there, and how many bytes from `pa` on, up to `most`, share that answer in
    /// consecutive places.
    pub(crate) fn run(&self, pa: u64, most: u64) -> (bool, u64) {
        let page = pa >> self.shift;
        let Some(bit) = self.bit(page) else {
            let next = self.ranges.get(self.after(page)).map_or(u64::MAX, |range| range.start << self.shift);
            return (false, next.saturating_sub(pa).min(most));
        };
        let present = self.is_set(bit);
        let range_end = self.ranges.get(self.after(page).wrapping_sub(1)).map_or(page + 1, |range| range.end);
        let last = bit + (range_end - page);
        let wanted = bit.saturating_add((most >> self.shift).saturating_add(2));
        let end = self.next_unlike(bit, present, last.min(wanted));
        let end_pa = (page + (end - bit)) << self.shift;
        (present, end_pa.saturating_sub(pa).min(most))
    }

    /// The physical address of the first page at or behind `pa` that is there.
    pub(crate) fn next_present(&self, pa: u64) -> Option<u64> {
        let mut page = pa >> self.shift;
        for range in self.ranges.get(self.after(page).saturating_sub(1)..)? {
            page = page.max(range.start);
            if page >= range.end {
                continue;
            }
            let bit = range.bit + (page - range.start);
            let last = range.bit + (range.end - range.start);
            let found = self.next_unlike(bit, false, last);
            if found < last {
                return Some((range.start + (found - range.bit)) << self.shift);
            }
        }
        None
    }

    /// How many ranges begin at or before a page.
    fn after(&self, page: u64) -> usize {
        self.ranges.partition_point(|range| range.start <= page)
    }

    fn bit(&self, page: u64) -> Option<u64> {
        let range = match self.ranges.as_slice() {
            [only] => only,
            _ => self.ranges.get(self.after(page).checked_sub(1)?)?,
        };
        (range.start <= page && page < range.end).then(|| range.bit + (page - range.start))
    }

    fn is_set(&self, bit: u64) -> bool {
        self.words.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn rank(&self, bit: u64) -> Option<u64> {
        let at = (bit / 64) as usize;
        let word = *self.words.get(at)?;
        if word >> (bit % 64) & 1 == 0 {
            return None;
        }
        let stride = at / STRIDE;
        let between = self.words.get(stride * STRIDE..at)?;
        let before = between.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        let below = word & ((1 << (bit % 64)) - 1);
        Some(self.counts.get(stride)? + before + u64::from(below.count_ones()))
    }

    /// The first bit from `bit` on that is not `value`, or `last`.
    fn next_unlike(&self, mut bit: u64, value: bool, last: u64) -> u64 {
        while bit < last {
            let Some(&word) = self.words.get((bit / 64) as usize) else {
                // Behind the bitmap all bits are clear.
                return if value { bit } else { last };
            };
            let unlike = (if value { !word } else { word }) >> (bit % 64);
            if unlike != 0 {
                return (bit + u64::from(unlike.trailing_zeros())).min(last);
            }
            bit = (bit / 64 + 1) * 64;
        }
        last
    }
}

/// Eight bytes, or the fewer that are left, as 64 bits in the order of the pages.
fn word(chunk: &[u8], word_size: usize, order: ByteOrder) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(chunk) {
        *to = *from;
    }
    if order == ByteOrder::Big {
        for word in bytes.chunks_mut(word_size) {
            word.reverse();
        }
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_ranges() -> PageMap {
        // Pages 16 to 26 and 100 to 200: 10 and 100 bits.
        let mut bitmap = vec![0; 16];
        for bit in [0, 1, 5, 9, 10, 11, 12, 70, 109] {
            bitmap[bit / 8] |= 1u8 << (bit % 8);
        }
        let ranges = vec![Range { start: 16, end: 26, bit: 0 }, Range { start: 100, end: 200, bit: 10 }];
        PageMap::new(&bitmap, 8, ByteOrder::Little, 12, ranges)
    }

    #[test]
    fn a_page_is_found_by_counting_those_before_it() {
        let map = two_ranges();
        assert_eq!(map.total(), 9);
        let found = |page: u64| map.index(page << 12);
        assert_eq!((found(16), found(17), found(21), found(25)), (Some(0), Some(1), Some(2), Some(3)));
        assert_eq!((found(100), found(101), found(102), found(160), found(199)), {
            (Some(4), Some(5), Some(6), Some(7), Some(8))
        });
        for absent in [0, 15, 18, 26, 99, 103, 198, 200, 1 << 40] {
            assert_eq!(found(absent), None, "{absent}");
        }
    }

    #[test]
    fn runs_end_where_presence_or_a_range_does() {
        let map = two_ranges();
        assert_eq!(map.run(16 << 12, 1 << 20), (true, 2 << 12));
        assert_eq!(map.run((16 << 12) + 100, 1 << 20), (true, (2 << 12) - 100));
        assert_eq!(map.run(18 << 12, 1 << 20), (false, 3 << 12));
        assert_eq!(map.run(25 << 12, 1 << 20), (true, 1 << 12));
        assert_eq!(map.run(26 << 12, 1 << 30), (false, 74 << 12));
        assert_eq!(map.run(100 << 12, 4096), (true, 4096));
        assert_eq!(map.run(300 << 12, 5000), (false, 5000));
    }

    #[test]
    fn the_next_page_that_is_there_may_be_in_another_range() {
        let map = two_ranges();
        let next = |page: u64| map.next_present(page << 12).map(|pa| pa >> 12);
        assert_eq!((next(0), next(17), next(18), next(22), next(26)), {
            (Some(16), Some(17), Some(21), Some(25), Some(100))
        });
        assert_eq!((next(103), next(199), next(200)), (Some(160), Some(199), None));
    }

    #[test]
    fn words_of_either_size_and_order_give_the_same_bits() {
        let little: Vec<u8> = (1..=16).collect();
        let reversed = |size: usize| -> Vec<u8> {
            little.chunks(size).flat_map(|word| word.iter().rev().copied().collect::<Vec<_>>()).collect()
        };
        let map = |bytes: &[u8], size, order| PageMap::new(bytes, size, order, 12, Vec::new()).words;
        let expected = map(&little, 8, ByteOrder::Little);
        assert_eq!(map(&reversed(8), 8, ByteOrder::Big), expected);
        assert_eq!(map(&reversed(4), 4, ByteOrder::Big), expected);
        assert_eq!(map(&little, 4, ByteOrder::Little), expected);
    }
}
