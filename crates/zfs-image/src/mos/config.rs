//! The configuration of the pool, in the MOS and in the labels.

use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::nvlist::{NvList, Value};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::property::{Assignment, PoolProperty, PoolStorage, StoredValue};
use zfs_ondisk::uberblock::VERSION_FEATURES;

use crate::geometry::Geometry;
use crate::mos::Input;
use crate::store::BIRTH_TXG;

/// `POOL_STATE_EXPORTED`: no system has the pool in use.
const EXPORTED: u64 = 1;

/// The configuration in the MOS: of the pool with all its vdevs.
pub(super) fn pool_config(
    input: Input<'_>,
    geometry: &Geometry,
    metaslab_array: ObjectId,
    active: FeatureSet,
) -> NvList {
    let root = NvList::new()
        .with("type", "root")
        .with("id", 0u64)
        .with("guid", input.guids.pool)
        .with("create_txg", BIRTH_TXG)
        .with("children", Value::NvListArray(vec![vdev(input, geometry, metaslab_array)]));
    common(input).with("vdev_tree", root).with("features_for_read", features_for_read(active))
}

/// The configuration in the labels: of the pool and this vdev.
pub(crate) fn label_config(
    input: Input<'_>,
    geometry: &Geometry,
    metaslab_array: ObjectId,
    active: FeatureSet,
) -> NvList {
    common(input)
        .with("top_guid", input.guids.vdev)
        .with("guid", input.guids.vdev)
        .with("vdev_tree", vdev(input, geometry, metaslab_array))
        .with("features_for_read", features_for_read(active))
}

/// Whether the configuration holds a property of the pool, and not the table of
/// such.
pub(super) fn holds(property: &Assignment) -> bool {
    PoolProperty::find(&property.key).is_some_and(|known| known.storage == PoolStorage::Config)
}

fn common(input: Input<'_>) -> NvList {
    let list = NvList::new()
        .with("version", VERSION_FEATURES)
        .with("name", input.spec.name.as_str())
        .with("state", EXPORTED)
        .with("txg", input.txg)
        .with("pool_guid", input.guids.pool)
        .with("errata", 0u64)
        .with("vdev_children", 1u64);
    let properties = input.spec.properties.iter().filter(|property| holds(property));
    properties.fold(list, |list, property| match &property.value {
        StoredValue::Number(number) => list.with(&property.key, *number),
        StoredValue::Text(text) => list.with(&property.key, text.as_str()),
    })
}

fn vdev(input: Input<'_>, geometry: &Geometry, metaslab_array: ObjectId) -> NvList {
    let spec = input.spec;
    let list = NvList::new()
        .with("type", if spec.vdev.disk { "disk" } else { "file" })
        .with("id", 0u64)
        .with("guid", input.guids.vdev)
        .with("path", spec.vdev.path.as_str());
    // Not a "whole disk" in the sense that OpenZFS made its partition: Linux
    // would look for that when the disk grows.
    let list = if spec.vdev.disk { list.with("whole_disk", 0u64) } else { list };
    list.with("metaslab_array", metaslab_array.0)
        .with("metaslab_shift", u64::from(geometry.metaslab_shift))
        .with("ashift", u64::from(spec.ashift))
        .with("asize", geometry.allocatable())
        .with("is_log", 0u64)
        .with("create_txg", BIRTH_TXG)
}

/// Features that a system must know to read the MOS at all.
fn features_for_read(active: FeatureSet) -> NvList {
    active
        .iter()
        .filter(|feature: &Feature| feature.in_label())
        .fold(NvList::new(), |list, feature| list.with(feature.guid(), Value::Boolean))
}
