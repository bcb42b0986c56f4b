//! Sums over object sets: the space that their blocks take, and the features that they use.

use zfs_ondisk::blkptr::{BlockPointer, Kind};
use zfs_ondisk::feature::FeatureSet;

use super::features::used_by_block;
use crate::pool::Pool;

/// Space, in the three ways in which ZFS counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes allocated.
    pub(super) used: u64,
    /// Bytes stored.
    pub(super) compressed: u64,
    /// Bytes of contents; of metadata, bytes stored.
    pub(super) uncompressed: u64,
}

impl Space {
    pub(super) fn of(pool: &Pool, pointer: &BlockPointer) -> Self {
        let stored = match pointer.kind() {
            Kind::Data => pointer.physical_size() as u64,
            _ => 0,
        };
        let is_metadata = pointer.level() > 0 || pointer.object_type().is_metadata();
        Self {
            used: pool.used_size(pointer),
            compressed: stored,
            uncompressed: match pointer.kind() {
                Kind::Data | Kind::Embedded if !is_metadata => pointer.logical_size() as u64,
                _ => stored,
            },
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.used = self.used.wrapping_add(other.used);
        self.compressed = self.compressed.wrapping_add(other.compressed);
        self.uncompressed = self.uncompressed.wrapping_add(other.uncompressed);
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self {
            used: self.used.wrapping_sub(other.used),
            compressed: self.compressed.wrapping_sub(other.compressed),
            uncompressed: self.uncompressed.wrapping_sub(other.uncompressed),
        }
    }
}

/// Which blocks of an object set belong to others, too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared {
    /// Blocks born in this transaction group or before belong to the snapshot
    /// before, with which they are examined.
    pub(super) snapshot_txg: u64,
    /// Blocks born in this transaction group or before belong to the origin of
    /// the clone.
    pub(super) origin_txg: u64,
}

/// The space that an object set takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// All blocks that were met: without those shared, if they were passed over.
    pub(super) all: Space,
    /// Blocks that the snapshot before does not have.
    pub(super) born: Space,
    /// Bytes allocated by blocks that the origin does not have.
    pub(super) own: u64,
    /// Features that its blocks and dnodes use.
    pub(super) features: FeatureSet,
}

impl Totals {
    pub(super) fn count(&mut self, pool: &Pool, pointer: &BlockPointer, shared: &Shared) {
        let space = Space::of(pool, pointer);
        self.all.add(space);
        if pointer.birth() > shared.snapshot_txg {
            self.born.add(space);
        }
        if pointer.birth() > shared.origin_txg {
            self.own = self.own.wrapping_add(space.used);
        }
        used_by_block(pointer, &mut self.features);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.all.add(other.all);
        self.born.add(other.born);
        self.own = self.own.wrapping_add(other.own);
        other.features.iter().for_each(|feature| self.features.insert(feature));
    }
}
