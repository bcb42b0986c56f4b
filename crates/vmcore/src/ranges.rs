//! Sets of byte ranges: which bytes of a dump have arrived.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// A set of bytes, by their offsets: ranges in order that neither overlap nor touch.
///
/// Each [`insert`](Ranges::insert) takes logarithmic time in the number of ranges, which is 1 while everything arrives
/// in order.
///
/// ```
/// use vmcore::ranges::Ranges;
///
/// let mut there = Ranges::new();
/// there.insert(0..1448);
/// there.insert(2896..4096);
/// assert_eq!(there.missing(0..4096).collect::<Vec<_>>(), [1448..2896]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The end of each range, by its beginning.
    ends: BTreeMap<u64, u64>,
    covered: u64,
}

/// Why a text is no list of ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list of ranges: \"{text}\" where \"START END\" was expected, in bytes")]
pub struct Error {
    /// The line, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

impl Ranges {
    /// The empty set.
    pub fn new() -> Ranges {
        Ranges::default()
    }

    /// Adds the bytes of `range`, and returns how many of them are new.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        let Range { mut start, mut end } = range;
        if start >= end {
            return 0;
        }
        let before = self.covered;
        // All that overlap or touch it are taken out, from the last on, and become one with it.
        while let Some((&other, &other_end)) = self.ends.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            if other <= start && end <= other_end {
                return 0;
            }
            self.ends.remove(&other);
            self.covered -= other_end - other;
            start = start.min(other);
            end = end.max(other_end);
        }
        self.ends.insert(start, end);
        self.covered += end - start;
        self.covered - before
    }

    /// Takes out all bytes from `end` on.
    pub fn truncate(&mut self, end: u64) {
        for (start, past) in self.ends.split_off(&end) {
            self.covered -= past - start;
        }
        if let Some(mut last) = self.ends.last_entry()
            && *last.get() > end
        {
            self.covered -= *last.get() - end;
            last.insert(end);
        }
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ends.iter().map(|(&start, &end)| start..end)
    }

    /// The parts of `within` that are in the set, in order.
    pub fn within(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.ends.range(..=within.start).next_back().map_or(within.start, |(&start, _)| start);
        self.ends
            .range(first..within.end.max(first))
            .map(move |(&start, &end)| start.max(within.start)..end.min(within.end))
            .filter(|range| !range.is_empty())
    }

    /// The parts of `within` that are not in the set, in order.
    pub fn missing(&self, within: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let end = within.end;
        let mut next = within.start;
        let past = end..end;
        self.within(within)
            .chain([past])
            .map(move |there| {
                let gap = next..there.start;
                next = there.end;
                gap
            })
            .filter(|gap| !gap.is_empty())
    }

    /// Whether all of `range` is in the set.
    pub fn contains(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.ends.range(..=range.start).next_back().is_some_and(|(_, &end)| range.end <= end)
    }

    /// How many bytes are in the set.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where the last range ends; 0 for the empty set.
    pub fn end(&self) -> u64 {
        self.ends.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// Reads a list of ranges, one `START END` a line in decimal, END the first byte behind it. Lines that begin with
    /// `#` are comments.
    ///
    /// # Errors
    /// If a line is no range.
    pub fn parse(text: &str) -> Result<Ranges, Error> {
        let mut ranges = Ranges::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let range = line.split_once(' ').and_then(|(start, end)| {
                let (start, end) = (start.parse().ok()?, end.trim_start().parse().ok()?);
                (start < end).then_some(start..end)
            });
            let wrong = || Error { line: index + 1, text: line.chars().take(80).collect() };
            ranges.insert(range.ok_or_else(wrong)?);
        }
        Ok(ranges)
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(iter: T) -> Ranges {
        let mut ranges = Ranges::new();
        for range in iter {
            ranges.insert(range);
        }
        ranges
    }
}

/// The list that [`Ranges::parse`] reads, with a comment at its head.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# The bytes that are there: START END (the first byte behind), of the file as it is stored")?;
        self.iter().try_for_each(|range| writeln!(f, "{} {}", range.start, range.end))
    }
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_bytes(steps in proptest::collection::vec((0..6u8, 0..60u64, 0..20u64), 0..40)) {
            let mut ranges = Ranges::new();
            let mut bytes = [false; 100];
            for (step, start, size) in steps {
                let range = start..start + size;
                let slots = start as usize..(start + size) as usize;
                match step {
                    0 => {
                        ranges.truncate(start);
                        bytes[start as usize..].fill(false);
                    }
                    _ => {
                        let new = bytes[slots.clone()].iter().filter(|there| !**there).count() as u64;
                        prop_assert_eq!(ranges.insert(range), new);
                        bytes[slots].fill(true);
                    }
                }
                let count = bytes.iter().filter(|there| **there).count() as u64;
                prop_assert_eq!(ranges.covered(), count);
                let all: Vec<u64> = ranges.iter().flatten().collect();
                let expected: Vec<u64> = (0..100).filter(|&at| bytes[at as usize]).collect();
                prop_assert_eq!(&all, &expected);
                let missing: Vec<u64> = ranges.missing(10..70).flatten().collect();
                let gaps: Vec<u64> = (10..70).filter(|&at| !bytes[at as usize]).collect();
                prop_assert_eq!(missing, gaps);
                prop_assert_eq!(ranges.contains(10..30), bytes[10..30].iter().all(|there| *there));
                // None touches the next.
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(one, next)| one.end < next.start));
                prop_assert_eq!(Ranges::parse(&ranges.to_string()), Ok(ranges.clone()));
            }
        }
    }

    #[test]
    fn packets_in_order_are_one_range() {
        let mut ranges = Ranges::new();
        for packet in 0..1_000_000u64 {
            assert_eq!(ranges.insert(packet * 1448..(packet + 1) * 1448), 1448);
        }
        assert_eq!((ranges.len(), ranges.end()), (1, 1_448_000_000));
    }

    #[test]
    fn lists_that_are_none_are_refused_with_the_line() {
        for wrong in ["1", "2 1", "3 3", "a b", "1 2 3", "-1 5", "0 18446744073709551616"] {
            let text = format!("# comment\n0 1\n{wrong}\n");
            assert_eq!(Ranges::parse(&text), Err(Error { line: 3, text: wrong.to_owned() }));
        }
        assert_eq!(Ranges::parse("5 18446744073709551615").map(|ranges| ranges.end()), Ok(u64::MAX));
    }
}
