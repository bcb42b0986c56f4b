//! The dataset and snapshot layer (`sys/dsl_dir.h`, `sys/dsl_dataset.h`):
//! directories, which carry names, properties and space totals, and datasets,
//! which carry contents. Both live in the bonus buffers of MOS objects.

use crate::blkptr::BlockPointer;
use crate::bytes::{Put, Truncated, View};

/// Bytes of a directory (`dsl_dir_phys_t`).
pub const DIR_SIZE: usize = 256;
/// Bytes of a dataset (`dsl_dataset_phys_t`).
pub const DATASET_SIZE: usize = 320;

/// Indices of [`Dir::used_breakdown`] (`dd_used_t`).
pub mod used_by {
    /// By the head dataset.
    pub const HEAD: usize = 0;
    /// By what only snapshots have.
    pub const SNAPSHOTS: usize = 1;
    /// By the directories below.
    pub const CHILDREN: usize = 2;
    /// By what these have reserved beyond what they use.
    pub const CHILD_RESERVATIONS: usize = 3;
    /// By the property `refreservation`.
    pub const REFRESERVATION: usize = 4;
}

/// [`Dir::used_breakdown`] is kept.
pub const DIR_FLAG_USED_BREAKDOWN: u64 = 1 << 0;
/// Not all of its contents were received (`DS_FLAG_INCONSISTENT`).
pub const DATASET_FLAG_INCONSISTENT: u64 = 1 << 0;
/// It cannot be promoted (`DS_FLAG_NOPROMOTE`).
pub const DATASET_FLAG_NOPROMOTE: u64 = 1 << 1;
/// [`Dataset::unique_bytes`] of a head is exact.
pub const DATASET_FLAG_UNIQUE_ACCURATE: u64 = 1 << 2;
/// It is destroyed once nothing holds it any more (`DS_FLAG_DEFER_DESTROY`).
pub const DATASET_FLAG_DEFER_DESTROY: u64 = 1 << 3;
/// Names are looked up without regard to case.
pub const DATASET_FLAG_CASE_INSENSITIVE: u64 = 1 << 16;

/// A DSL directory. Objects are numbers in the MOS, 0 meaning none; sizes are
/// bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dir {
    /// When it was made: seconds since 1970.
    pub creation_time: u64,
    /// The dataset that is mounted.
    pub head_dataset: u64,
    /// The directory above.
    pub parent: u64,
    /// The snapshot of which this is a clone.
    pub origin: u64,
    /// Children by name (ZAP).
    pub child_map: u64,
    /// Space used by the dataset, its snapshots and all children.
    pub used_bytes: u64,
    /// The same after compression, before rounding and copies.
    pub compressed_bytes: u64,
    /// The same before compression.
    pub uncompressed_bytes: u64,
    /// `quota`, 0 for none.
    pub quota: u64,
    /// `reservation`, 0 for none.
    pub reserved: u64,
    /// Properties set here (ZAP).
    pub props: u64,
    /// Delegated permissions (ZAP).
    pub delegation: u64,
    /// `DIR_FLAG_...`.
    pub flags: u64,
    /// Space used, in parts: see [`used_by`].
    pub used_breakdown: [u64; 5],
    /// Clones of snapshots of this directory (ZAP).
    pub clones: u64,
}

impl Dir {
    /// Reads a directory from its bonus buffer.
    ///
    /// # Errors
    /// [`Truncated`] if it is too short.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        let word = |index: usize| view.u64(index * 8);
        let mut used_breakdown = [0; 5];
        for (index, used) in used_breakdown.iter_mut().enumerate() {
            *used = word(13 + index)?;
        }
        Ok(Self {
            creation_time: word(0)?,
            head_dataset: word(1)?,
            parent: word(2)?,
            origin: word(3)?,
            child_map: word(4)?,
            used_bytes: word(5)?,
            compressed_bytes: word(6)?,
            uncompressed_bytes: word(7)?,
            quota: word(8)?,
            reserved: word(9)?,
            props: word(10)?,
            delegation: word(11)?,
            flags: word(12)?,
            used_breakdown,
            clones: word(18)?,
        })
    }

    /// The bonus buffer of the directory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = [
            self.creation_time,
            self.head_dataset,
            self.parent,
            self.origin,
            self.child_map,
            self.used_bytes,
            self.compressed_bytes,
            self.uncompressed_bytes,
            self.quota,
            self.reserved,
            self.props,
            self.delegation,
            self.flags,
        ];
        let words = words.into_iter().chain(self.used_breakdown).chain([self.clones]);
        put_words(DIR_SIZE, words)
    }
}

/// A DSL dataset: a head or a snapshot. Objects are numbers in the MOS, 0
/// meaning none; sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The directory it belongs to.
    pub dir: u64,
    /// The snapshot before it.
    pub prev_snapshot: u64,
    /// Transaction group of the snapshot before it.
    pub prev_snapshot_txg: u64,
    /// For a snapshot: the next one, or the head.
    pub next_snapshot: u64,
    /// For a head: snapshots by name (ZAP).
    pub snapshot_names: u64,
    /// For a snapshot: datasets that come directly after it.
    pub num_children: u64,
    /// When it was made: seconds since 1970.
    pub creation_time: u64,
    /// Transaction group in which it was made.
    pub creation_txg: u64,
    /// Blocks of the snapshot before it that it no longer references.
    pub deadlist: u64,
    /// Space that it references.
    pub referenced_bytes: u64,
    /// The same after compression, before rounding and copies.
    pub compressed_bytes: u64,
    /// The same before compression.
    pub uncompressed_bytes: u64,
    /// Space that only it references.
    pub unique_bytes: u64,
    /// 56 bits that name the file system to NFS.
    pub fsid_guid: u64,
    /// What names the dataset for ever.
    pub guid: u64,
    /// `DATASET_FLAG_...`.
    pub flags: u64,
    /// The root of the object set.
    pub root: BlockPointer,
    /// Datasets whose previous snapshot this is, beyond its own directory (ZAP).
    pub next_clones: u64,
    /// For a snapshot: properties (ZAP).
    pub props: u64,
    /// Holds (ZAP).
    pub user_refs: u64,
}

impl Dataset {
    /// Reads a dataset from its bonus buffer.
    ///
    /// # Errors
    /// [`Truncated`] if it is too short.
    pub fn read(view: &View<'_>) -> Result<Self, Truncated> {
        let word = |index: usize| view.u64(index * 8);
        Ok(Self {
            dir: word(0)?,
            prev_snapshot: word(1)?,
            prev_snapshot_txg: word(2)?,
            next_snapshot: word(3)?,
            snapshot_names: word(4)?,
            num_children: word(5)?,
            creation_time: word(6)?,
            creation_txg: word(7)?,
            deadlist: word(8)?,
            referenced_bytes: word(9)?,
            compressed_bytes: word(10)?,
            uncompressed_bytes: word(11)?,
            unique_bytes: word(12)?,
            fsid_guid: word(13)?,
            guid: word(14)?,
            flags: word(15)?,
            root: BlockPointer::read(view, 128)?,
            next_clones: word(32)?,
            props: word(33)?,
            user_refs: word(34)?,
        })
    }

    /// The bonus buffer of the dataset.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = [
            self.dir,
            self.prev_snapshot,
            self.prev_snapshot_txg,
            self.next_snapshot,
            self.snapshot_names,
            self.num_children,
            self.creation_time,
            self.creation_txg,
            self.deadlist,
            self.referenced_bytes,
            self.compressed_bytes,
            self.uncompressed_bytes,
            self.unique_bytes,
            self.fsid_guid,
            self.guid,
            self.flags,
        ];
        let tail = [self.next_clones, self.props, self.user_refs];
        put_words(DATASET_SIZE, words.into_iter().chain(*self.root.words()).chain(tail))
    }
}

/// A bookmark (`zfs_bookmark_phys_t`, `sys/dsl_bookmark.h`): what is remembered of a
/// snapshot, in a ZAP of the dataset it was of. The first version has the first three
/// fields only, others are 0 then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bookmark {
    /// GUID of the snapshot.
    pub guid: u64,
    /// Transaction group in which the snapshot was made.
    pub creation_txg: u64,
    /// When the snapshot was made: seconds since 1970.
    pub creation_time: u64,
    /// Object of the MOS with the blocks that a redacted stream leaves out.
    pub redaction: u64,
    /// `ZBM_FLAG_...`.
    pub flags: u64,
    /// Space that the snapshot referenced, if the bookmark has [`Bookmark::has_sizes`].
    pub referenced_bytes: u64,
    /// The same after compression, before rounding and copies.
    pub compressed_bytes: u64,
    /// The same before compression.
    pub uncompressed_bytes: u64,
    /// GUID of the set of initialization vectors, for raw streams.
    pub ivset_guid: u64,
}

impl Bookmark {
    /// `ZBM_FLAG_HAS_FBN`
    const HAS_SIZES: u64 = 1 << 0;

    /// Reads a bookmark from the integers of its ZAP entry; `None` if it lacks those of
    /// the first version.
    pub fn from_words(words: &[u64]) -> Option<Self> {
        let later = |index: usize| words.get(index).copied().unwrap_or(0);
        Some(Self {
            guid: *words.first()?,
            creation_txg: *words.get(1)?,
            creation_time: *words.get(2)?,
            redaction: later(3),
            flags: later(4),
            referenced_bytes: later(5),
            compressed_bytes: later(6),
            uncompressed_bytes: later(7),
            ivset_guid: later(11),
        })
    }

    /// Whether the sizes are kept (feature `bookmark_written`).
    pub fn has_sizes(&self) -> bool {
        self.flags & Self::HAS_SIZES != 0
    }
}

fn put_words(size: usize, words: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (index, word) in words.enumerate() {
        bytes.put_u64(index * 8, word);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;

    #[test]
    fn a_directory_is_read_as_it_was_written() {
        let words: Vec<u8> = (1..=19u64).flat_map(u64::to_le_bytes).chain([0; 104]).collect();
        let dir = Dir::read(&View::new(&words, ByteOrder::Little)).unwrap();
        assert_eq!((dir.parent, dir.used_breakdown, dir.clones), (3, [14, 15, 16, 17, 18], 19));
        assert_eq!(dir.to_bytes(), words);
    }

    #[test]
    fn a_bookmark_of_the_first_version_has_no_sizes() {
        let bookmark = Bookmark::from_words(&[7, 8, 9]).unwrap();
        assert_eq!((bookmark.guid, bookmark.creation_txg, bookmark.creation_time), (7, 8, 9));
        assert!(!bookmark.has_sizes());
        let words: Vec<u64> = (1..=12).collect();
        let bookmark = Bookmark::from_words(&words).unwrap();
        assert_eq!((bookmark.redaction, bookmark.referenced_bytes, bookmark.ivset_guid), (4, 6, 12));
        assert!(bookmark.has_sizes());
        assert_eq!(Bookmark::from_words(&[1, 2]), None);
    }

    #[test]
    fn a_dataset_is_read_as_it_was_written() {
        let words: Vec<u8> = (1..=35u64).flat_map(u64::to_le_bytes).chain([0; 40]).collect();
        let dataset = Dataset::read(&View::new(&words, ByteOrder::Little)).unwrap();
        assert_eq!((dataset.guid, dataset.next_clones, dataset.user_refs), (15, 33, 35));
        assert_eq!(dataset.to_bytes(), words);
    }
}
