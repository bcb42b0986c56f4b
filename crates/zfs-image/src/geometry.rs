//! Sizes of devices and metaslabs.

use zfs_ondisk::label;

use crate::vdev::Shape;

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

/// Sizes of devices and metaslabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    shape: Shape,
    pub(crate) metaslab_shift: u32,
    /// Metaslabs of each top-level vdev.
    pub(crate) metaslabs: usize,
    /// Size of each device in bytes.
    pub(crate) size: u64,
}

impl Geometry {
    /// Of devices of `size` bytes.
    pub(crate) fn of_devices(size: u64, metaslab_shift: u32, shape: Shape) -> Self {
        let mut geometry = Self { shape, metaslab_shift, metaslabs: 0, size };
        geometry.metaslabs = (geometry.allocatable() >> metaslab_shift) as usize;
        geometry
    }

    /// Of the smallest devices with room for `used` bytes, as space is counted, allocated
    /// in the first `metaslabs` metaslabs of the pool, and for more to be written.
    pub(crate) fn for_contents(used: u64, metaslabs: usize, metaslab_shift: u32, shape: Shape) -> Self {
        let wanted = used + used / 10 + HEADROOM;
        let mut least = metaslabs.div_ceil(shape.count).max(1) as u64;
        loop {
            let share = (least << metaslab_shift).div_ceil(shape.width()).next_multiple_of(label::SIZE);
            let size = label::START_SIZE + share + label::END_SIZE;
            let geometry = Self::of_devices(size, metaslab_shift, shape);
            let space = geometry.space();
            if size >= label::MIN_DEVICE_SIZE && space - slop(space) >= wanted {
                return geometry;
            }
            least += 1;
        }
    }

    /// Bytes of a top-level vdev that can be allocated, as the labels have it (`asize`).
    pub(crate) fn allocatable(&self) -> u64 {
        let of_device = (self.size / label::SIZE * label::SIZE).saturating_sub(label::START_SIZE + label::END_SIZE);
        of_device * self.shape.width()
    }

    /// Whether `used` bytes, as space is counted, leave enough to go on with.
    pub(crate) fn has_room_for(&self, used: u64) -> bool {
        let space = self.space();
        used + MIN_FREE.max(space >> SLOP_SHIFT) <= space
    }

    /// The space of all metaslabs, as it is counted.
    fn space(&self) -> u64 {
        self.shape.deflated(((self.metaslabs * self.shape.count) as u64) << self.metaslab_shift)
    }
}

/// The metaslab size, as a binary logarithm, for `space` bytes.
pub(crate) fn metaslab_shift(space: u64) -> u32 {
    (space / METASLABS).max(1).ilog2().clamp(MIN_METASLAB_SHIFT, MAX_METASLAB_SHIFT)
}

fn slop(space: u64) -> u64 {
    (space >> SLOP_SHIFT).max(MIN_SLOP.min(space / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vdev::VdevKind;

    #[test]
    fn metaslabs_grow_with_the_device_up_to_half_a_gigabyte() {
        assert_eq!(metaslab_shift(64 << 20), 24);
        assert_eq!(metaslab_shift(1 << 30), 26);
        assert_eq!(metaslab_shift(1 << 40), 29);
    }

    #[test]
    fn a_pool_sized_by_its_contents_has_room_to_go_on() {
        let shapes = [(VdevKind::Single, 1, 1), (VdevKind::Mirror, 3, 2), (VdevKind::Raidz(2), 7, 3)];
        for (kind, children, count) in shapes {
            let shape = Shape { kind, count, children, ashift: 12 };
            for used in [0, 1 << 20, 100 << 20, 10 << 30] {
                let geometry = Geometry::for_contents(used, 5, metaslab_shift(used), shape);
                assert!(geometry.has_room_for(used) && geometry.metaslabs * count >= 5);
                assert!(geometry.size >= label::MIN_DEVICE_SIZE);
                assert_eq!(Geometry::of_devices(geometry.size, geometry.metaslab_shift, shape), geometry);
            }
        }
    }
}
