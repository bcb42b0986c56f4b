//! Where blocks go: bump allocation in metaslabs.
//!
//! Blocks are placed one behind the other, so a metaslab's allocated space is
//! always one run from its start, and its space map a few words. The second and
//! third copies of a block go to metaslabs of their own as long as there are
//! free ones, away from the first.
//!
//! Metaslabs are numbered over all top-level vdevs in turn, so that the first few are on
//! different ones.

use crate::vdev::Shape;

/// The most copies of a block.
pub(crate) const MAX_COPIES: usize = 3;

/// The space of the top-level vdevs.
#[derive(Clone, Debug)]
pub(crate) struct Allocator {
    shape: Shape,
    metaslab_shift: u32,
    /// Metaslabs that each vdev has; `None` while their size is still open.
    limit: Option<usize>,
    /// Bytes allocated by metaslab.
    used: Vec<u64>,
    /// The metaslab in use for each copy.
    current: [Option<usize>; MAX_COPIES],
}

impl Allocator {
    pub(crate) fn new(shape: Shape, metaslab_shift: u32, limit: Option<usize>) -> Self {
        Self { shape, metaslab_shift, limit, used: Vec::new(), current: [None; MAX_COPIES] }
    }

    /// Room for copy number `copy` of a block that takes `size` bytes: the vdev and
    /// the offset there. Past the limit it goes on, so that the size needed is known
    /// in the end: see [`Self::overflowed`].
    pub(crate) fn allocate(&mut self, copy: usize, size: u64) -> (usize, u64) {
        let room = 1u64 << self.metaslab_shift;
        let fits = |used: &[u64], metaslab: &usize| used[*metaslab] + size <= room;
        let metaslab = match self.current[copy] {
            Some(current) if fits(&self.used, &current) => current,
            _ => {
                let exhausted = self.metaslabs().is_some_and(|limit| self.used.len() >= limit);
                let shared = (0..self.used.len()).find(|metaslab| exhausted && fits(&self.used, metaslab));
                shared.unwrap_or_else(|| {
                    self.used.push(0);
                    self.used.len() - 1
                })
            }
        };
        self.current[copy] = Some(metaslab);
        let count = self.shape.count;
        let offset = (((metaslab / count) as u64) << self.metaslab_shift) + self.used[metaslab];
        self.used[metaslab] += size;
        (metaslab % count, offset)
    }

    /// Whether an offset lies beyond its vdev.
    pub(crate) fn is_beyond(&self, offset: u64) -> bool {
        self.limit.is_some_and(|limit| offset >> self.metaslab_shift >= limit as u64)
    }

    /// Whether more was allocated than there is.
    pub(crate) fn overflowed(&self) -> bool {
        self.metaslabs().is_some_and(|limit| self.used.len() > limit)
    }

    /// Bytes allocated in each metaslab, from its start on.
    pub(crate) fn used(&self) -> &[u64] {
        &self.used
    }

    /// Bytes allocated in all.
    pub(crate) fn total(&self) -> u64 {
        self.used.iter().sum()
    }

    fn metaslabs(&self) -> Option<usize> {
        Some(self.limit? * self.shape.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vdev::VdevKind;

    fn shape(count: usize, ashift: u32) -> Shape {
        Shape { kind: VdevKind::Single, count, children: 1, ashift }
    }

    #[test]
    fn blocks_lie_one_behind_the_other_and_never_cross_a_metaslab() {
        let mut allocator = Allocator::new(shape(1, 12), 24, None);
        let offsets: Vec<u64> = (0..3).map(|_| allocator.allocate(0, 6 << 20).1).collect();
        assert_eq!(offsets, [0, 6 << 20, 16 << 20]);
    }

    #[test]
    fn copies_go_to_metaslabs_of_their_own() {
        let mut allocator = Allocator::new(shape(1, 9), 24, None);
        let metaslabs: Vec<u64> = (0..3).map(|copy| allocator.allocate(copy, 512).1 >> 24).collect();
        assert_eq!(metaslabs, [0, 1, 2]);
    }

    #[test]
    fn copies_go_to_different_vdevs_where_there_are_several() {
        let mut allocator = Allocator::new(shape(2, 9), 24, None);
        let places: Vec<(usize, u64)> = (0..3).map(|copy| allocator.allocate(copy, 512)).collect();
        assert_eq!(places, [(0, 0), (1, 0), (0, 16 << 20)]);
    }

    #[test]
    fn a_device_without_free_metaslabs_fills_what_others_left() {
        let mut allocator = Allocator::new(shape(1, 9), 24, Some(2));
        allocator.allocate(0, 10 << 20);
        allocator.allocate(1, 512);
        assert_eq!(allocator.allocate(0, 10 << 20), (0, (16 << 20) + 512));
        assert!(!allocator.overflowed());
        let (_, beyond) = allocator.allocate(0, 10 << 20);
        assert!(allocator.overflowed() && allocator.is_beyond(beyond));
    }
}
