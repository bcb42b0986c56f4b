//! References to space.

use zfs_ondisk::blkptr::{BlockPointer, SECTOR_SHIFT};
use zfs_ondisk::object::ObjectId;

use super::removal::claim_moved;
use crate::block::GANG_HEADER_SIZE;
use crate::pool::Pool;

/// Words of a record.
pub(super) const WORDS: usize = 3;

/// A record about space, in a form that is sorted by place and then by what it says:
///
/// ```text
/// 0  vdev (24 bits)   upper 40 bits of the offset in sectors
/// 1  lower 15 bits of the offset   sectors (25 bits, 0 for unknown)   source (4 bits)   number of the object set (20 bits)
/// 2  object; or a count, of tables
/// ```
pub(super) type Claim = [u64; WORDS];

const SET_BITS: u32 = 20;
const SOURCE_BITS: u32 = 4;
const SIZE_BITS: u32 = 25;
const LOW_BITS: u32 = 15;
/// Offsets have so many bits, counted in sectors.
const HIGH_BITS: u32 = 40;

/// Who says something about space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A pointer to a block.
    Pointer = 0,
    /// A pointer to a block that is in a table of deduplicated blocks.
    Dedup = 1,
    /// A pointer in the state of the pool that a checkpoint keeps.
    Checkpoint = 2,
    /// The table of cloned blocks: so many more references.
    CloneTable = 3,
    /// A table of deduplicated blocks: so many references.
    DedupTable = 4,
    /// The space map of what only the checkpoint has.
    CheckpointMap = 5,
    /// Where blocks of a vdev that was removed, or is being, were moved to.
    Moved = 6,
    /// A pointer to a further copy of a block, or to the parts of one that is in a table.
    Copy = 7,
    /// Where blocks of a vdev that was removed were moved to, and that was removed later, too.
    Between = 8,
}

impl Source {
    /// Whether it was met with a block that was read.
    pub(super) fn is_visit(self) -> bool {
        matches!(self, Self::Pointer | Self::Dedup | Self::Checkpoint | Self::Copy)
    }

    /// Whether it means that the newest state of the pool has what is there.
    pub(super) fn is_reference(self) -> bool {
        matches!(self, Self::Pointer | Self::Dedup | Self::Copy | Self::Between)
    }

    fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Pointer,
            1 => Self::Dedup,
            2 => Self::Checkpoint,
            3 => Self::CloneTable,
            4 => Self::DedupTable,
            5 => Self::CheckpointMap,
            6 => Self::Moved,
            7 => Self::Copy,
            _ => Self::Between,
        }
    }
}

/// Whose block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Number of the object set.
    pub(super) set: u32,
    /// The object.
    pub(super) object: ObjectId,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) vdev: u32,
    pub(super) offset: u64,
    /// Bytes; 0 where a table does not say.
    pub(super) size: u64,
    pub(super) source: Source,
    pub(super) owner: Owner,
}

impl Said {
    /// As a record; `None` if the numbers do not fit, which those of a pointer always do.
    pub(super) fn pack(&self) -> Option<Claim> {
        let bits = |value: u64, bits: u32| (value >> bits == 0).then_some(value);
        let (sector, sectors) = (self.offset >> SECTOR_SHIFT, self.size >> SECTOR_SHIFT);
        let high = bits(sector >> LOW_BITS, HIGH_BITS)?;
        let low = sector & ((1 << LOW_BITS) - 1);
        // Sets beyond the last number that fits are not told apart.
        let set = u64::from(self.owner.set).min((1 << SET_BITS) - 1);
        Some([
            bits(self.vdev.into(), 24)? << HIGH_BITS | high,
            low << (64 - LOW_BITS)
                | bits(sectors, SIZE_BITS)? << (SET_BITS + SOURCE_BITS)
                | (self.source as u64) << SET_BITS
                | set,
            self.owner.object.0,
        ])
    }

    pub(super) fn unpack(record: &Claim) -> Self {
        let field = |word: u64, shift: u32, bits: u32| word >> shift & ((1 << bits) - 1);
        let high = field(record[0], 0, HIGH_BITS);
        let low = record[1] >> (64 - LOW_BITS);
        Self {
            vdev: (record[0] >> HIGH_BITS) as u32,
            offset: (high << LOW_BITS | low) << SECTOR_SHIFT,
            size: field(record[1], SET_BITS + SOURCE_BITS, SIZE_BITS) << SECTOR_SHIFT,
            source: Source::from_number(field(record[1], SET_BITS, SOURCE_BITS)),
            owner: Owner { set: field(record[1], 0, SET_BITS) as u32, object: ObjectId(record[2]) },
        }
    }
}

/// Notes what space a block takes.
pub(super) fn claim(pool: &Pool, pointer: &BlockPointer, owner: Owner, to: &mut Vec<Claim>) {
    let source = if pointer.is_dedup() { Source::Dedup } else { Source::Pointer };
    claim_as(pool, pointer, source, owner, to);
}

/// Makes what was said of a pool something that is said of the state that its checkpoint keeps.
pub(super) fn of_checkpoint(claims: &mut Vec<Claim>) {
    claims.retain_mut(|claim| {
        let said = Said::unpack(claim);
        let source = if said.source == Source::Moved { Source::Moved } else { Source::Checkpoint };
        *claim = Said { source, ..said }.pack().unwrap_or(*claim);
        said.source != Source::Between
    });
}

/// The same, said by another source.
fn claim_as(pool: &Pool, pointer: &BlockPointer, source: Source, owner: Owner, to: &mut Vec<Claim>) {
    let mut parts_claimed = false;
    for (index, dva) in pointer.dvas().enumerate() {
        let birth = pointer.physical_birth();
        let size = match pool.vdev(dva.vdev) {
            // What is allocated for the parts counts as the header's, too.
            Some(vdev) if dva.gang => vdev.allocated_size(GANG_HEADER_SIZE as u64, birth),
            _ if dva.gang => GANG_HEADER_SIZE as u64,
            _ => dva.asize,
        };
        // Tables count the references to the first copy only.
        let source = if index > 0 { Source::Copy } else { source };
        let said = Said { vdev: dva.vdev, offset: dva.offset, size, source, owner };
        to.extend(said.pack());
        claim_moved(pool, dva.vdev, dva.offset, size, owner, to);
        // All copies of the header lead to the same parts.
        if dva.gang && !parts_claimed {
            for part in pool.gang_parts(pointer, dva).unwrap_or_default() {
                parts_claimed = true;
                let source = if source == Source::Pointer { source } else { Source::Copy };
                claim_as(pool, &part, source, owner, to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_checkpoint_says_nothing_of_what_counts_for_the_newest_state() {
        let owner = Owner { set: 1, object: ObjectId(1) };
        let said = |source| Said { vdev: 1, offset: 512, size: 512, source, owner }.pack().unwrap();
        let mut claims: Vec<Claim> =
            [Source::Pointer, Source::Copy, Source::Moved, Source::Between].into_iter().map(said).collect();
        of_checkpoint(&mut claims);
        let sources: Vec<Source> = claims.iter().map(|claim| Said::unpack(claim).source).collect();
        assert_eq!(sources, [Source::Checkpoint, Source::Checkpoint, Source::Moved]);
        assert!(!Source::Checkpoint.is_reference() && Source::Checkpoint.is_visit());
    }

    proptest! {
        #[test]
        fn what_is_said_is_kept(
            vdev in 0u32..1 << 24, sector in 0u64..1 << 55, sectors in 0u64..1 << 24, set in 0u32..1 << 20, object: u64,
            source in 0u64..9,
        ) {
            let said = Said {
                vdev,
                offset: sector << 9,
                size: sectors << 9,
                source: Source::from_number(source),
                owner: Owner { set, object: ObjectId(object) },
            };
            prop_assert_eq!(Said::unpack(&said.pack().unwrap()), said);
        }

        #[test]
        fn records_are_sorted_by_place(a in 0u64..1 << 55, b in 0u64..1 << 55, size in 0u64..1 << 24) {
            let at = |sector: u64| Said {
                vdev: 7,
                offset: sector << 9,
                size: size << 9,
                source: Source::Pointer,
                owner: Owner { set: 1, object: ObjectId(1) },
            };
            prop_assert_eq!(a.cmp(&b), at(a).pack().cmp(&at(b).pack()));
        }
    }
}
