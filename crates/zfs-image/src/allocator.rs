//! Where blocks go: bump allocation in metaslabs.
//!
//! Blocks are placed one behind the other, so a metaslab's allocated space is
//! always one run from its start, and its space map a few words. The second and
//! third copies of a block go to metaslabs of their own as long as there are
//! free ones, away from the first.

/// The most copies of a block.
pub(crate) const MAX_COPIES: usize = 3;

/// The space of the one top-level vdev.
#[derive(Clone, Debug)]
pub(crate) struct Allocator {
    sector_shift: u32,
    metaslab_shift: u32,
    /// Metaslabs that the device has; `None` while its size is still open.
    limit: Option<usize>,
    /// Bytes allocated by metaslab.
    used: Vec<u64>,
    /// The metaslab in use for each copy.
    current: [Option<usize>; MAX_COPIES],
}

impl Allocator {
    pub(crate) fn new(sector_shift: u32, metaslab_shift: u32, limit: Option<usize>) -> Self {
        Self { sector_shift, metaslab_shift, limit, used: Vec::new(), current: [None; MAX_COPIES] }
    }

    /// Bytes that a block of `size` bytes takes.
    pub(crate) fn allocated_size(&self, size: usize) -> u64 {
        (size as u64).next_multiple_of(1 << self.sector_shift)
    }

    /// Room for copy number `copy` of a block that takes `size` bytes: its
    /// offset. Past the limit it goes on, so that the size needed is known in
    /// the end: see [`Self::overflowed`].
    pub(crate) fn allocate(&mut self, copy: usize, size: u64) -> u64 {
        let room = 1u64 << self.metaslab_shift;
        let fits = |used: &[u64], metaslab: &usize| used[*metaslab] + size <= room;
        let metaslab = match self.current[copy] {
            Some(current) if fits(&self.used, &current) => current,
            _ => {
                let exhausted = self.limit.is_some_and(|limit| self.used.len() >= limit);
                let shared = (0..self.used.len()).find(|metaslab| exhausted && fits(&self.used, metaslab));
                shared.unwrap_or_else(|| {
                    self.used.push(0);
                    self.used.len() - 1
                })
            }
        };
        self.current[copy] = Some(metaslab);
        let offset = ((metaslab as u64) << self.metaslab_shift) + self.used[metaslab];
        self.used[metaslab] += size;
        offset
    }

    /// Whether an offset lies beyond the device.
    pub(crate) fn is_beyond(&self, offset: u64) -> bool {
        self.limit.is_some_and(|limit| offset >> self.metaslab_shift >= limit as u64)
    }

    /// Whether more was allocated than the device has.
    pub(crate) fn overflowed(&self) -> bool {
        self.limit.is_some_and(|limit| self.used.len() > limit)
    }

    /// Bytes allocated in each metaslab, from its start on.
    pub(crate) fn used(&self) -> &[u64] {
        &self.used
    }

    /// Bytes allocated in all.
    pub(crate) fn total(&self) -> u64 {
        self.used.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_one_behind_the_other_and_never_cross_a_metaslab() {
        let mut allocator = Allocator::new(12, 24, None);
        let size = allocator.allocated_size(6 << 20);
        let offsets: Vec<u64> = (0..3).map(|_| allocator.allocate(0, size)).collect();
        assert_eq!(offsets, [0, 6 << 20, 16 << 20]);
        assert_eq!(allocator.allocated_size(1), 4096);
    }

    #[test]
    fn copies_go_to_metaslabs_of_their_own() {
        let mut allocator = Allocator::new(9, 24, None);
        let metaslabs: Vec<u64> = (0..3).map(|copy| allocator.allocate(copy, 512) >> 24).collect();
        assert_eq!(metaslabs, [0, 1, 2]);
    }

    #[test]
    fn a_device_without_free_metaslabs_fills_what_others_left() {
        let mut allocator = Allocator::new(9, 24, Some(2));
        allocator.allocate(0, 10 << 20);
        allocator.allocate(1, 512);
        assert_eq!(allocator.allocate(0, 10 << 20), (16 << 20) + 512);
        assert!(!allocator.overflowed());
        let beyond = allocator.allocate(0, 10 << 20);
        assert!(allocator.overflowed() && allocator.is_beyond(beyond));
    }
}
