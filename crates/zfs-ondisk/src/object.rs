//! Object numbers and object types (`dmu_object_type_t`, `sys/dmu.h`).

use std::fmt;

/// The number of an object in its object set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What an object, or the bonus buffer of a dnode, holds.
///
/// Numbers below 54 are a fixed list; with bit 7 set they describe themselves:
/// bit 6 metadata, bit 5 encrypted, bits 0-4 how to swap bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectType(pub u8);

const SELF_DESCRIBING: u8 = 0x80;
const METADATA: u8 = 0x40;
const ENCRYPTED: u8 = 0x20;
const BYTESWAP_MASK: u8 = 0x1f;
/// `DMU_BSWAP_NUMFUNCS`
const BYTESWAPS: u8 = 10;

macro_rules! object_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $metadata:literal, $encrypted:literal;)*) => {
        impl ObjectType {
            $($(#[$doc])* pub const $name: ObjectType = ObjectType($number);)*
        }

        /// Name, whether metadata, whether encrypted in an encrypted dataset.
        const KNOWN: &[(u8, &str, bool, bool)] = &[$(($number, $text, $metadata, $encrypted)),*];
    };
}

object_types! {
    /// A free dnode, or no bonus.
    NONE = 0, "unallocated", true, false;
    /// The MOS's object 1: where everything else is (ZAP).
    OBJECT_DIRECTORY = 1, "object directory", true, false;
    /// An array of object numbers, such as the space maps of a vdev.
    OBJECT_ARRAY = 2, "object array", true, false;
    /// A packed nvlist, such as the pool's configuration.
    PACKED_NVLIST = 3, "packed nvlist", true, false;
    /// Bonus: length of the packed nvlist.
    PACKED_NVLIST_SIZE = 4, "packed nvlist size", true, false;
    /// A list of block pointers.
    BPOBJ = 5, "bpobj", true, false;
    /// Bonus: counts of a `BPOBJ`.
    BPOBJ_HDR = 6, "bpobj header", true, false;
    /// Bonus: header of a space map.
    SPACE_MAP_HEADER = 7, "SPA space map header", true, false;
    /// What is allocated in one metaslab.
    SPACE_MAP = 8, "SPA space map", true, false;
    /// A block of the intent log.
    INTENT_LOG = 9, "ZIL intent log", true, true;
    /// An array of dnodes.
    DNODE = 10, "DMU dnode", true, true;
    /// The root of an object set.
    OBJSET = 11, "DMU objset", true, false;
    /// A DSL directory (bonus).
    DSL_DIR = 12, "DSL directory", true, false;
    /// Children of a DSL directory by name (ZAP).
    DSL_DIR_CHILD_MAP = 13, "DSL directory child map", true, false;
    /// Snapshots of a dataset by name (ZAP).
    DSL_DS_SNAP_MAP = 14, "DSL dataset snap map", true, false;
    /// Properties of a DSL directory or snapshot (ZAP).
    DSL_PROPS = 15, "DSL props", true, false;
    /// A DSL dataset (bonus).
    DSL_DATASET = 16, "DSL dataset", true, false;
    /// A file's attributes before file systems had system attributes (bonus).
    ZNODE = 17, "ZFS znode", true, false;
    /// An access control list of the first version.
    OLDACL = 18, "ZFS V0 ACL", true, true;
    /// The contents of a regular file or symbolic link.
    PLAIN_FILE_CONTENTS = 19, "ZFS plain file", false, true;
    /// The entries of a directory (ZAP).
    DIRECTORY_CONTENTS = 20, "ZFS directory", true, true;
    /// Object 1 of a file system (ZAP).
    MASTER_NODE = 21, "ZFS master node", true, false;
    /// Files unlinked but not yet freed (ZAP).
    UNLINKED_SET = 22, "ZFS delete queue", true, true;
    /// The contents of a volume.
    ZVOL = 23, "zvol object", false, true;
    /// The properties of a volume (ZAP).
    ZVOL_PROP = 24, "zvol prop", true, false;
    /// Used by OpenZFS's own tests.
    PLAIN_OTHER = 25, "other uint8[]", false, true;
    /// Used by OpenZFS's own tests.
    UINT64_OTHER = 26, "other uint64[]", false, true;
    /// Used by OpenZFS's own tests.
    ZAP_OTHER = 27, "other ZAP", true, false;
    /// Damaged blocks that were found (ZAP).
    ERROR_LOG = 28, "persistent error log", true, false;
    /// The pool's command history.
    SPA_HISTORY = 29, "SPA history", true, false;
    /// Bonus: where the history begins and ends.
    SPA_HISTORY_OFFSETS = 30, "SPA history offsets", true, false;
    /// Properties of the pool (ZAP).
    POOL_PROPS = 31, "Pool properties", true, false;
    /// Delegated permissions (ZAP).
    DSL_PERMS = 32, "DSL permissions", true, false;
    /// An access control list.
    ACL = 33, "ZFS ACL", true, true;
    /// A system access control list.
    SYSACL = 34, "ZFS SYSACL", true, true;
    /// Table of identity domains.
    FUID = 35, "FUID table", true, true;
    /// Bonus: length of the table of identity domains.
    FUID_SIZE = 36, "FUID table size", true, false;
    /// Datasets whose origin is this snapshot (ZAP).
    NEXT_CLONES = 37, "DSL dataset next clones", true, false;
    /// What a scrub still has to do (ZAP).
    SCAN_QUEUE = 38, "scan work queue", true, false;
    /// Space used by user, group or project (ZAP).
    USERGROUP_USED = 39, "ZFS user/group/project used", true, true;
    /// Quotas by user, group or project (ZAP).
    USERGROUP_QUOTA = 40, "ZFS user/group/project quota", true, true;
    /// Holds on a snapshot (ZAP).
    USERREFS = 41, "snapshot refcount tags", true, false;
    /// A deduplication table (ZAP).
    DDT_ZAP = 42, "DDT ZAP algorithm", true, false;
    /// Statistics of the deduplication tables (ZAP).
    DDT_STATS = 43, "DDT statistics", true, false;
    /// System attributes: a file's bonus and spill block.
    SA = 44, "System attributes", true, true;
    /// Where the registry and the layouts are (ZAP).
    SA_MASTER_NODE = 45, "SA master node", true, true;
    /// Which system attributes exist (ZAP).
    SA_ATTR_REGISTRATION = 46, "SA attr registration", true, true;
    /// In which orders system attributes are stored (ZAP).
    SA_ATTR_LAYOUTS = 47, "SA attr layouts", true, true;
    /// Blocks moved while a scan runs (ZAP).
    SCAN_XLATE = 48, "scan translations", true, false;
    /// Marks a block pointer of the deduplication table.
    DEDUP = 49, "deduplicated block", false, true;
    /// A dataset's deadlist (ZAP).
    DEADLIST = 50, "DSL deadlist map", true, false;
    /// Bonus: totals of a deadlist.
    DEADLIST_HDR = 51, "DSL deadlist map hdr", true, false;
    /// Clones of a DSL directory's snapshots (ZAP).
    DSL_CLONES = 52, "DSL dir clones", true, false;
    /// Object numbers of the `BPOBJ`s that a `BPOBJ` contains.
    BPOBJ_SUBOBJ = 53, "bpobj subobj", true, false;
}

impl ObjectType {
    /// Bytes of metadata in a self-describing type.
    pub const OTN_UINT8_METADATA: ObjectType = ObjectType(SELF_DESCRIBING | METADATA);
    /// 64-bit integers of metadata in a self-describing type.
    pub const OTN_UINT64_METADATA: ObjectType = ObjectType(SELF_DESCRIBING | METADATA | 3);
    /// A ZAP of metadata in a self-describing type.
    pub const OTN_ZAP_METADATA: ObjectType = ObjectType(SELF_DESCRIBING | METADATA | 4);

    /// Whether OpenZFS could read an object of this type.
    pub fn is_valid(self) -> bool {
        match self.0 & SELF_DESCRIBING {
            0 => (self.0 as usize) < KNOWN.len(),
            _ => self.0 & BYTESWAP_MASK < BYTESWAPS,
        }
    }

    /// Whether blocks of this type are metadata: kept in more copies.
    pub fn is_metadata(self) -> bool {
        self.flag(METADATA, |known| known.2)
    }

    /// Whether blocks of this type are encrypted in an encrypted dataset.
    pub fn is_encrypted(self) -> bool {
        self.flag(ENCRYPTED, |known| known.3)
    }

    /// Whether an object of this type is a ZAP.
    pub fn is_zap(self) -> bool {
        match self.0 & SELF_DESCRIBING {
            0 => matches!(
                self.0,
                1 | 13 | 14 | 15 | 20 | 21 | 22 | 24 | 27 | 28 | 31 | 32 | 37..=43 | 45..=48 | 50 | 52
            ),
            _ => self.0 & BYTESWAP_MASK == 4,
        }
    }

    /// Whether the fill count of a level 0 block of this type is not 1, which
    /// forbids to embed such a block in its pointer (`DMU_OT_HAS_FILL`).
    pub fn has_fill(self) -> bool {
        self == Self::DNODE || self == Self::OBJSET
    }

    fn flag(self, bit: u8, known: impl Fn(&(u8, &str, bool, bool)) -> bool) -> bool {
        match self.0 & SELF_DESCRIBING {
            0 => KNOWN.get(self.0 as usize).is_some_and(known),
            _ => self.0 & bit != 0,
        }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(known) = KNOWN.get(self.0 as usize) {
            return f.write_str(known.1);
        }
        const SWAPS: [&str; 10] =
            ["uint8", "uint16", "uint32", "uint64", "zap", "dnode", "objset", "znode", "oldacl", "acl"];
        match SWAPS.get((self.0 & BYTESWAP_MASK) as usize) {
            Some(swap) if self.0 & SELF_DESCRIBING != 0 => {
                let kind = if self.is_metadata() { "metadata" } else { "data" };
                write!(f, "bswap {swap} {kind}")
            }
            _ => write!(f, "unknown type {}", self.0),
        }
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_numbers() {
        for (index, known) in KNOWN.iter().enumerate() {
            assert_eq!(known.0 as usize, index);
        }
        assert_eq!(KNOWN.len(), 54);
    }

    #[test]
    fn self_describing_types_carry_their_flags() {
        assert!(ObjectType::OTN_ZAP_METADATA.is_metadata());
        assert!(ObjectType::OTN_ZAP_METADATA.is_zap());
        assert_eq!(ObjectType::OTN_ZAP_METADATA.0, 0xc4);
        assert!(!ObjectType(0x80 | 30).is_valid());
    }
}
