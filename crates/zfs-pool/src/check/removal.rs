//! Vdevs that were removed, or are being removed.
//!
//! Pointers to a removed vdev lead through its mapping to other vdevs, and take space there. What of an entry of the
//! mapping no pointer leads to any more is counted as obsolete.

use zfs_ondisk::blkptr::Dva;

use super::Checker;
use super::claims::{Claim, Owner, Said, Source};
use crate::pool::Pool;
use crate::vdev::VdevKind;

/// Vdevs removed one after the other lead to each other; more than these in a row do not.
const MAX_REMOVALS: usize = 64;

impl Checker<'_> {
    /// Whether a vdev was removed, and has no space of its own.
    pub(super) fn is_indirect(&self, vdev: u32) -> bool {
        self.pool.vdev(vdev).is_some_and(|vdev| matches!(vdev.kind, VdevKind::Indirect(_)))
    }
}

/// Claims the space that a part of a removed vdev was moved to.
pub(super) fn claim_moved(pool: &Pool, vdev: u32, offset: u64, size: u64, owner: Owner, to: &mut Vec<Claim>) {
    let mut waiting = vec![(Dva { vdev, offset, asize: size, gang: false }, 0)];
    while let Some((part, removals)) = waiting.pop() {
        match pool.vdev(part.vdev).map(|vdev| &vdev.kind) {
            Some(VdevKind::Indirect(indirect)) if removals < MAX_REMOVALS => {
                let length = usize::try_from(part.asize).unwrap_or(usize::MAX);
                // What the mapping does not have is found when the block is read.
                let parts = indirect.resolve(part.offset, length).unwrap_or_default();
                waiting.extend(parts.into_iter().map(|part| (part, removals + 1)));
            }
            _ if removals > 0 => {
                let Dva { vdev, offset, asize: size, .. } = part;
                to.extend(Said { vdev, offset, size, source: Source::Moved, owner }.pack());
            }
            _ => {}
        }
    }
}
