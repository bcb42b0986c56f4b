//! Features: what blocks and objects use must be recorded as used, or a system
//! that does not know it will read the pool and fail.

use std::collections::BTreeMap;

use zfs_ondisk::blkptr::{BlockPointer, Kind as PointerKind};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::Function;
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::objset;

use super::Checker;
use super::batch::Batch;
use super::findings::Kind;
use crate::dataset::Dataset;
use crate::error::Error;
use crate::object::ObjectSet;

/// The largest block without the feature `large_blocks`, in bytes.
const SMALL_BLOCK: usize = 128 << 10;

/// The features that a block uses.
pub(super) fn used_by_block(pointer: &BlockPointer, used: &mut FeatureSet) {
    if pointer.logical_size() > SMALL_BLOCK {
        used.insert(Feature::LargeBlocks);
    }
    if pointer.kind() == PointerKind::Embedded {
        used.insert(Feature::EmbeddedData);
    }
    match Function::from_number(pointer.compression()) {
        Some(Function::Lz4) => used.insert(Feature::Lz4Compress),
        Some(Function::Zstd) => used.insert(Feature::ZstdCompress),
        _ => {}
    }
    if pointer.kind() != PointerKind::Data {
        return;
    }
    match Checksum::from_number(pointer.checksum()) {
        Some(Checksum::Sha512) => used.insert(Feature::Sha512),
        Some(Checksum::Skein) => used.insert(Feature::Skein),
        Some(Checksum::Edonr) => used.insert(Feature::Edonr),
        Some(Checksum::Blake3) => used.insert(Feature::Blake3),
        _ => {}
    }
}

/// The features that the root of an object set uses.
pub(super) fn used_by_root(set: &ObjectSet, used: &mut FeatureSet) {
    let root = set.root();
    if root.flags & objset::FLAG_USEROBJACCOUNTING_COMPLETE != 0 {
        used.insert(Feature::UserobjAccounting);
    }
    if root.flags & objset::FLAG_PROJECTQUOTA_COMPLETE != 0 {
        used.insert(Feature::ProjectQuota);
    }
}

/// Features by the datasets that record them as used.
pub(super) struct Recorded {
    /// How many datasets record a feature, by its GUID.
    datasets: BTreeMap<String, u64>,
    /// What the pool counts.
    active: BTreeMap<String, u64>,
}

impl Checker<'_> {
    /// Compares the features that the MOS uses with the pool's.
    pub(super) fn mos_features(&self, batch: &mut Batch, used: FeatureSet) {
        pool_features(batch, used, &self.active_features());
    }

    /// Compares the features that a dataset uses with those that it records.
    pub(super) fn dataset_features(
        &self,
        batch: &mut Batch,
        mos: &ObjectSet,
        dataset: &Dataset,
        used: FeatureSet,
        recorded: &mut Recorded,
    ) {
        let guids = match dataset_entries(mos, dataset) {
            Ok(guids) => guids,
            Err(error) => return batch.failed(Some(dataset.object), &error),
        };
        for feature in used.iter().filter(|feature| feature.per_dataset()) {
            if !guids.iter().any(|guid| guid == feature.guid()) {
                let message = format!("it uses the feature {}, but does not record it", feature.name());
                batch.finding(Kind::Feature, None, message);
            }
        }
        pool_features(batch, used, &recorded.active);
        for guid in guids {
            *recorded.datasets.entry(guid).or_default() += 1;
        }
    }

    /// Compares the pool's counts of datasets that use a feature.
    pub(super) fn feature_counts(&self, batch: &mut Batch, recorded: &Recorded) {
        for feature in Feature::all().filter(|feature| feature.per_dataset()) {
            let datasets = recorded.datasets.get(feature.guid()).copied().unwrap_or(0);
            let count = recorded.active.get(feature.guid()).copied().unwrap_or(0);
            if datasets != count {
                let message =
                    format!("{datasets} datasets use the feature {}, the pool counts {count}", feature.name());
                batch.finding(Kind::Feature, None, message);
            }
        }
    }

    /// Features that no dataset is known to use yet.
    pub(super) fn recorded_features(&self) -> Recorded {
        Recorded { datasets: BTreeMap::new(), active: self.active_features() }
    }

    /// Reference counts by GUID. What cannot be read is found with the tables.
    fn active_features(&self) -> BTreeMap<String, u64> {
        let mut active = BTreeMap::new();
        for table in ["features_for_read", "features_for_write"] {
            let entries = || -> Result<Vec<_>, Error> {
                match self.pool.directory_entry(table)? {
                    Some(id) => self.pool.mos()?.object(id)?.zap()?.iter().collect(),
                    None => Ok(Vec::new()),
                }
            };
            for entry in entries().unwrap_or_default() {
                let guid = String::from_utf8_lossy(&entry.name).into_owned();
                active.insert(guid, entry.number().unwrap_or(0));
            }
        }
        active
    }
}

fn pool_features(batch: &mut Batch, used: FeatureSet, active: &BTreeMap<String, u64>) {
    // Those of datasets are counted in the end.
    for feature in used.iter().filter(|feature| !feature.per_dataset()) {
        if active.get(feature.guid()).is_none_or(|&count| count == 0) {
            let message = format!("it uses the feature {}, which is not active", feature.name());
            batch.finding(Kind::Feature, None, message);
        }
    }
}

/// The names in a dataset's own table: features, and what else it came to have.
fn dataset_entries(mos: &ObjectSet, dataset: &Dataset) -> Result<Vec<String>, Error> {
    let object = mos.object(dataset.object)?;
    // Before it uses the first feature, it has no table.
    if !object.dnode().object_type.is_zap() {
        return Ok(Vec::new());
    }
    let mut zap = object.zap()?;
    zap.iter().map(|entry| entry.map(|entry| String::from_utf8_lossy(&entry.name).into_owned())).collect()
}
