//! Pool features, and which of them a system understands.
//!
//! A pool of version 5000 names the optional parts of the format that it uses
//! (`zfeature_common.c`, zpool-features(7)). An enabled feature is listed with its
//! reference count in one of two tables of the meta object set; it is active
//! while the count is not 0. A system that does not know an active feature can
//! import the pool read-only if the feature is read-only compatible, otherwise
//! not at all.
//!
//! [`Compatibility`] turns the names of OpenZFS's `compatibility.d` sets, or the
//! text of such a file, into a [`FeatureSet`].

mod compatibility;

pub use compatibility::{Compatibility, CompatibilityError, MAX_COMPATIBILITY_FILE};

/// Declares the features: variant, GUID, properties, dependencies, description.
macro_rules! features {
    ($(#[doc = $doc:literal] $variant:ident $guid:literal [$($trait:ident)*] [$($depends:ident)*];)*) => {
        /// An optional part of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Feature {
            $(#[doc = $doc] $variant,)*
        }

        const ALL: &[Feature] = &[$(Feature::$variant,)*];

        impl Feature {
            /// The name that identifies the feature on the disk, such as
            /// `com.delphix:hole_birth`.
            pub fn guid(self) -> &'static str {
                match self {
                    $(Feature::$variant => $guid,)*
                }
            }

            /// What the feature is for, in a sentence.
            pub fn description(self) -> &'static str {
                match self {
                    $(Feature::$variant => $doc.trim_ascii(),)*
                }
            }

            fn traits(self) -> &'static [Trait] {
                match self {
                    $(Feature::$variant => &[$(Trait::$trait),*],)*
                }
            }

            /// The features that must be enabled as well, without theirs.
            pub fn dependencies(self) -> &'static [Feature] {
                match self {
                    $(Feature::$variant => &[$(Feature::$depends),*],)*
                }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trait {
    ReadOnlyCompatible,
    InLabel,
    ActiveWhenEnabled,
    PerDataset,
    NotByUpgrade,
}
use Trait::{ActiveWhenEnabled, InLabel, NotByUpgrade, PerDataset, ReadOnlyCompatible};

features! {
    /// Destroyed datasets are freed in the background, across imports.
    AsyncDestroy "com.delphix:async_destroy" [ReadOnlyCompatible] [];
    /// Snapshots share one empty list of freed blocks.
    EmptyBpobj "com.delphix:empty_bpobj" [ReadOnlyCompatible] [];
    /// Blocks can be compressed with LZ4.
    Lz4Compress "org.illumos:lz4_compress" [ActiveWhenEnabled] [];
    /// A system can dump to a volume of a pool of several vdevs.
    MultiVdevCrashDump "com.joyent:multi_vdev_crash_dump" [] [];
    /// Space maps count their free segments by size.
    SpacemapHistogram "com.delphix:spacemap_histogram" [ReadOnlyCompatible] [];
    /// The pool records in which transaction group a feature was enabled.
    EnabledTxg "com.delphix:enabled_txg" [ReadOnlyCompatible] [];
    /// Holes record when they were made, so that incremental streams skip old ones.
    HoleBirth "com.delphix:hole_birth" [InLabel ActiveWhenEnabled] [EnabledTxg];
    /// The pool's state can be kept, to rewind to later.
    ZpoolCheckpoint "com.delphix:zpool_checkpoint" [ReadOnlyCompatible] [];
    /// Space maps have longer entries for large segments.
    SpacemapV2 "com.delphix:spacemap_v2" [ReadOnlyCompatible ActiveWhenEnabled] [];
    /// Datasets can have a table of further attributes.
    ExtensibleDataset "com.delphix:extensible_dataset" [] [];
    /// Bookmarks remember when a snapshot was made after it is gone.
    Bookmarks "com.delphix:bookmarks" [ReadOnlyCompatible] [ExtensibleDataset];
    /// The number of file systems and snapshots below a dataset can be limited.
    FilesystemLimits "com.joyent:filesystem_limits" [ReadOnlyCompatible] [ExtensibleDataset];
    /// Blocks that compress to at most 112 bytes live in their block pointers.
    EmbeddedData "com.delphix:embedded_data" [InLabel ActiveWhenEnabled] [];
    /// A clone lists its own blocks, which makes destroying it faster.
    Livelist "com.delphix:livelist" [ReadOnlyCompatible] [ExtensibleDataset];
    /// Changes of all metaslabs are logged together before their space maps.
    LogSpacemap "com.delphix:log_spacemap" [ReadOnlyCompatible] [SpacemapV2];
    /// Blocks can be larger than 128 KiB.
    LargeBlocks "org.open-zfs:large_blocks" [PerDataset] [ExtensibleDataset];
    /// Dnodes can be larger than 512 bytes.
    LargeDnode "org.zfsonlinux:large_dnode" [PerDataset] [ExtensibleDataset];
    /// Blocks can be checksummed with SHA-512/256.
    Sha512 "org.illumos:sha512" [PerDataset] [ExtensibleDataset];
    /// Blocks can be checksummed with Skein, keyed per pool.
    Skein "org.illumos:skein" [PerDataset] [ExtensibleDataset];
    /// Blocks can be checksummed with Edon-R, keyed per pool.
    Edonr "org.illumos:edonr" [PerDataset] [ExtensibleDataset];
    /// Bookmarks can list the blocks that a redacted stream leaves out.
    RedactionBookmarks "com.delphix:redaction_bookmarks" [] [BookmarkV2 ExtensibleDataset Bookmarks];
    /// Datasets can be received from redacted streams.
    RedactedDatasets "com.delphix:redacted_datasets" [PerDataset] [ExtensibleDataset];
    /// Bookmarks record sizes, for `written#` and estimates of streams.
    BookmarkWritten "com.delphix:bookmark_written" [] [BookmarkV2 ExtensibleDataset Bookmarks];
    /// Top-level vdevs can be removed.
    DeviceRemoval "com.delphix:device_removal" [InLabel] [];
    /// Removed vdevs count which of their mappings are out of use.
    ObsoleteCounts "com.delphix:obsolete_counts" [ReadOnlyCompatible] [ExtensibleDataset DeviceRemoval];
    /// Objects are counted by user and group.
    UserobjAccounting "org.zfsonlinux:userobj_accounting" [ReadOnlyCompatible PerDataset] [ExtensibleDataset];
    /// Bookmarks can have more fields.
    BookmarkV2 "com.datto:bookmark_v2" [] [ExtensibleDataset Bookmarks];
    /// Datasets can be encrypted.
    Encryption "com.datto:encryption" [PerDataset] [ExtensibleDataset BookmarkV2];
    /// Space and objects are counted by project.
    ProjectQuota "org.zfsonlinux:project_quota" [ReadOnlyCompatible PerDataset] [ExtensibleDataset];
    /// Vdevs can be set apart for metadata, small blocks or deduplication.
    AllocationClasses "org.zfsonlinux:allocation_classes" [ReadOnlyCompatible] [];
    /// A resilver can wait until a running one has ended.
    ResilverDefer "com.datto:resilver_defer" [ReadOnlyCompatible] [];
    /// Mirrors and dRAID can be rebuilt in the order of their space.
    DeviceRebuild "org.openzfs:device_rebuild" [ReadOnlyCompatible] [];
    /// Blocks can be compressed with Zstandard.
    ZstdCompress "org.freebsd:zstd_compress" [PerDataset] [ExtensibleDataset];
    /// Vdevs can be RAID with distributed spares.
    Draid "org.openzfs:draid" [InLabel] [];
    /// Distributed RAID can survive the loss of groups of disks.
    DraidFailureDomains "com.seagate:draid_failure_domains" [InLabel] [Draid];
    /// Extended attributes in system attributes are logged in the intent log.
    Zilsaxattr "org.openzfs:zilsaxattr" [PerDataset ReadOnlyCompatible] [ExtensibleDataset];
    /// Errors are recorded by dataset.
    HeadErrlog "com.delphix:head_errlog" [ActiveWhenEnabled] [];
    /// Blocks can be checksummed with BLAKE3, keyed per pool.
    Blake3 "org.openzfs:blake3" [PerDataset] [ExtensibleDataset];
    /// Files can share blocks by reference counts.
    BlockCloning "com.fudosecurity:block_cloning" [ReadOnlyCompatible] [];
    /// The table of reference counts is the same in either byte order.
    BlockCloningEndian "com.truenas:block_cloning_endian" [ReadOnlyCompatible] [];
    /// The root vdev has a table of attributes, too.
    VdevZapsV2 "com.klarasystems:vdev_zaps_v2" [InLabel] [];
    /// A redaction can refer to more snapshots.
    RedactionListSpill "com.delphix:redaction_list_spill" [] [RedactionBookmarks];
    /// RAID-Z vdevs can be widened by a disk.
    RaidzExpansion "org.openzfs:raidz_expansion" [InLabel] [];
    /// Deduplication tables have a log and can be pruned.
    FastDedup "com.klarasystems:fast_dedup" [ReadOnlyCompatible] [];
    /// Names of files can be up to 1023 bytes long.
    Longname "org.zfsonlinux:longname" [PerDataset] [ExtensibleDataset];
    /// Micro ZAPs can be larger than 128 KiB.
    LargeMicrozap "com.klarasystems:large_microzap" [PerDataset ReadOnlyCompatible] [ExtensibleDataset LargeBlocks];
    /// Gang headers can be as large as a sector of the vdev.
    DynamicGangHeader "com.klarasystems:dynamic_gang_header" [InLabel NotByUpgrade] [];
    /// Rewritten blocks keep the time of their logical birth.
    PhysicalRewrite "com.truenas:physical_rewrite" [ReadOnlyCompatible PerDataset] [ExtensibleDataset];
}

impl Feature {
    /// All features known here, in OpenZFS's order.
    pub fn all() -> impl ExactSizeIterator<Item = Feature> {
        ALL.iter().copied()
    }

    /// The feature of a short name, such as `hole_birth`.
    pub fn by_name(name: &str) -> Option<Feature> {
        Feature::all().find(|f| f.name() == name)
    }

    /// The feature of a GUID, such as `com.delphix:hole_birth`.
    pub fn by_guid(guid: &str) -> Option<Feature> {
        Feature::all().find(|f| f.guid() == guid)
    }

    /// The short name: the GUID without the organization.
    pub fn name(self) -> &'static str {
        let guid = self.guid();
        guid.split_once(':').map_or(guid, |(_, name)| name)
    }

    /// Whether a system that does not know the feature may still read a pool on
    /// which it is active. Such features are listed in `features_for_write`, all
    /// others in `features_for_read`.
    pub fn read_only_compatible(self) -> bool {
        self.has(ReadOnlyCompatible)
    }

    /// Whether a system must know the feature to read the meta object set: while
    /// active, it is listed in the labels, too (`ZFEATURE_FLAG_MOS`).
    pub fn in_label(self) -> bool {
        self.has(InLabel)
    }

    /// Whether the feature becomes active, with a count of 1, as soon as it is
    /// enabled (`ZFEATURE_FLAG_ACTIVATE_ON_ENABLE`).
    pub fn active_when_enabled(self) -> bool {
        self.has(ActiveWhenEnabled)
    }

    /// Whether the count is that of datasets that use the feature, each of which
    /// names it in its own table (`ZFEATURE_FLAG_PER_DATASET`).
    pub fn per_dataset(self) -> bool {
        self.has(PerDataset)
    }

    /// Whether `zpool upgrade` leaves the feature disabled unless it is asked for
    /// by name (`ZFEATURE_FLAG_NO_UPGRADE`).
    pub fn not_by_upgrade(self) -> bool {
        self.has(NotByUpgrade)
    }

    fn has(self, wanted: Trait) -> bool {
        self.traits().contains(&wanted)
    }

    fn bit(self) -> u64 {
        1 << self as u32
    }
}

// A set is the bits of a u64.
const _: () = assert!(ALL.len() <= 64);

/// A set of features.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// No feature: the set `legacy`.
    pub const EMPTY: FeatureSet = FeatureSet(0);

    /// All features known here: the set `off`.
    pub fn all() -> Self {
        Feature::all().collect()
    }

    /// What OpenZFS 2.1 knows on FreeBSD and on Linux: such pools are imported
    /// by FreeBSD 13.2 and by OpenZFS 2.1, and by their successors.
    pub fn portable() -> Self {
        Compatibility::named("openzfs-2.1-freebsd,openzfs-2.1-linux").map_or(Self::EMPTY, |c| c.features)
    }

    /// Adds a feature.
    pub fn insert(&mut self, feature: Feature) {
        self.0 |= feature.bit();
    }

    /// Takes a feature out.
    pub fn remove(&mut self, feature: Feature) {
        self.0 &= !feature.bit();
    }

    /// Whether the feature is in the set.
    pub fn contains(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// The number of features.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The features that are in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        FeatureSet(self.0 & other.0)
    }

    /// The features that are in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        FeatureSet(self.0 | other.0)
    }

    /// The features that are in this set only.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        FeatureSet(self.0 & !other.0)
    }

    /// The set with everything that its features depend on.
    #[must_use]
    pub fn closure(self) -> Self {
        let mut all = self;
        loop {
            let needed = all.iter().flat_map(|f| f.dependencies().iter().copied()).collect();
            let next = all.union(needed);
            if next == all {
                return all;
            }
            all = next;
        }
    }

    /// The features whose dependencies are all in the set: what a system that
    /// knows just this set can enable.
    #[must_use]
    pub fn satisfied(self) -> Self {
        self.iter().filter(|&f| FeatureSet::from(f).closure().difference(self).is_empty()).collect()
    }

    /// The features in OpenZFS's order.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::all().filter(move |&f| self.contains(f))
    }
}

impl From<Feature> for FeatureSet {
    fn from(feature: Feature) -> Self {
        FeatureSet(feature.bit())
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Self::EMPTY, |set, f| set.union(f.into()))
    }
}

impl std::fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Feature::name)).finish()
    }
}

#[cfg(test)]
mod tests;
