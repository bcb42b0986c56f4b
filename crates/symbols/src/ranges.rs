//! Which of many address ranges contain an address.

/// Ranges with a value each; they may overlap.
#[derive(Debug, Clone)]
pub(crate) struct Ranges<T> {
    /// Sorted by start.
    entries: Vec<Entry<T>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    start: u64,
    end: u64,
    /// The greatest end of this entry and all before it: where a search to the left may stop.
    reach: u64,
    value: T,
}

impl<T: Copy> Ranges<T> {
    /// Empty ranges are left out. Of equal ranges the first keeps its place.
    pub(crate) fn new(ranges: impl IntoIterator<Item = (u64, u64, T)>) -> Self {
        let mut entries: Vec<_> = (ranges.into_iter())
            .filter(|&(start, end, _)| start < end)
            .map(|(start, end, value)| Entry { start, end, reach: end, value })
            .collect();
        entries.sort_by_key(|entry| (entry.start, std::cmp::Reverse(entry.end)));
        let mut reach = 0;
        for entry in &mut entries {
            reach = entry.end.max(reach);
            entry.reach = reach;
        }
        Self { entries }
    }

    /// The value whose range contains `address` and begins last: the innermost one of nested ranges.
    pub(crate) fn find(&self, address: u64) -> Option<T> {
        self.find_range(address).map(|(_, _, value)| value)
    }

    /// The same, with its range.
    pub(crate) fn find_range(&self, address: u64) -> Option<(u64, u64, T)> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        (self.entries.get(..after)?.iter().rev())
            .take_while(|entry| entry.reach > address)
            .find(|entry| entry.end > address)
            .map(|entry| (entry.start, entry.end, entry.value))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_innermost_range_is_found(ranges in prop::collection::vec((0_u64..100, 0_u64..30), 0..40), address in 0_u64..140) {
            let ranges: Vec<_> = ranges.into_iter().enumerate().map(|(i, (start, len))| (start, start + len, i)).collect();
            let found = Ranges::new(ranges.clone()).find_range(address);
            let best = ranges.iter().filter(|(start, end, _)| (*start..*end).contains(&address)).map(|range| range.0).max();
            prop_assert_eq!(found.map(|range| range.0), best);
            if let Some(found) = found {
                prop_assert!(ranges.contains(&found));
            }
        }
    }
}
