//! Sizes of device and metaslabs.

use zfs_ondisk::label;

/// The smallest metaslab (`zfs_vdev_min_ms_shift`, as makefs(8) has it).
const MIN_METASLAB_SHIFT: u32 = 24;
/// The largest metaslab chosen here (`zfs_vdev_default_ms_shift`).
const MAX_METASLAB_SHIFT: u32 = 29;
/// About so many metaslabs (`zfs_vdev_min_ms_count`), as long as they are not
/// larger than the largest.
const METASLABS: u64 = 16;
/// What OpenZFS keeps for itself: a 32nd of the pool (`spa_slop_shift`), ...
const SLOP_SHIFT: u32 = 5;
/// ... but at least this (`spa_min_slop`), or half of a pool smaller than twice that.
const MIN_SLOP: u64 = 128 << 20;
/// Free space that a pool sized by its contents has, beyond what OpenZFS keeps:
/// this and a tenth of the contents.
const HEADROOM: u64 = 16 << 20;
/// Free space without which a pool cannot be imported for writing.
const MIN_FREE: u64 = 4 << 20;

/// Sizes of device and metaslabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) metaslab_shift: u32,
    pub(crate) metaslabs: usize,
    /// Size of the device in bytes.
    pub(crate) size: u64,
}

impl Geometry {
    /// Of a device of `size` bytes.
    pub(crate) fn of_device(size: u64, metaslab_shift: u32) -> Self {
        let metaslabs = (allocatable(size) >> metaslab_shift) as usize;
        Self { metaslab_shift, metaslabs, size }
    }

    /// Of the smallest device with room for `used` bytes, allocated in the first
    /// `metaslabs` metaslabs, and for more to be written.
    pub(crate) fn for_contents(used: u64, metaslabs: usize, metaslab_shift: u32) -> Self {
        let wanted = used + used / 10 + HEADROOM;
        let mut geometry = Self { metaslab_shift, metaslabs: metaslabs.max(1), size: 0 };
        loop {
            let space = (geometry.metaslabs as u64) << metaslab_shift;
            geometry.size = label::START_SIZE + space + label::END_SIZE;
            if geometry.size >= label::MIN_DEVICE_SIZE && space - slop(space) >= wanted {
                return geometry;
            }
            geometry.metaslabs += 1;
        }
    }

    /// Bytes that can be allocated, as the labels have it (`asize`).
    pub(crate) fn allocatable(&self) -> u64 {
        allocatable(self.size)
    }

    /// Whether `used` bytes leave enough to go on with.
    pub(crate) fn has_room_for(&self, used: u64) -> bool {
        let space = (self.metaslabs as u64) << self.metaslab_shift;
        used + MIN_FREE.max(space >> SLOP_SHIFT) <= space
    }
}

/// The metaslab size, as a binary logarithm, for `space` bytes.
pub(crate) fn metaslab_shift(space: u64) -> u32 {
    (space / METASLABS).max(1).ilog2().clamp(MIN_METASLAB_SHIFT, MAX_METASLAB_SHIFT)
}

fn allocatable(size: u64) -> u64 {
    (size / label::SIZE * label::SIZE).saturating_sub(label::START_SIZE + label::END_SIZE)
}

fn slop(space: u64) -> u64 {
    (space >> SLOP_SHIFT).max(MIN_SLOP.min(space / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metaslabs_grow_with_the_device_up_to_half_a_gigabyte() {
        assert_eq!(metaslab_shift(64 << 20), 24);
        assert_eq!(metaslab_shift(1 << 30), 26);
        assert_eq!(metaslab_shift(1 << 40), 29);
    }

    #[test]
    fn a_pool_sized_by_its_contents_has_room_to_go_on() {
        for used in [0, 1 << 20, 100 << 20, 10 << 30] {
            let geometry = Geometry::for_contents(used, 1, metaslab_shift(used));
            assert!(geometry.has_room_for(used));
            assert!(geometry.size >= label::MIN_DEVICE_SIZE);
            assert_eq!(Geometry::of_device(geometry.size, geometry.metaslab_shift), geometry);
        }
    }
}
