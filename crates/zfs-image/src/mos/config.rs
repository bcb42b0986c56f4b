//! The configuration of the pool, in the MOS and in the labels.

use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::nvlist::{NvList, Value};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::property::{Assignment, PoolProperty, PoolStorage, StoredValue};
use zfs_ondisk::uberblock::VERSION_FEATURES;

use crate::geometry::Geometry;
use crate::mos::{Input, Mos};
use crate::store::BIRTH_TXG;
use crate::vdev::{Shape, VdevKind};

/// `POOL_STATE_EXPORTED`: no system has the pool in use.
const EXPORTED: u64 = 1;

/// The configuration in the MOS: of the pool with all its vdevs.
pub(super) fn pool_config(
    input: Input<'_>,
    geometry: &Geometry,
    metaslab_arrays: &[ObjectId],
    active: FeatureSet,
) -> NvList {
    let vdevs = metaslab_arrays.iter().enumerate().map(|(index, array)| vdev(input, geometry, index, *array));
    let root = NvList::new()
        .with("type", "root")
        .with("id", 0u64)
        .with("guid", input.guids.pool)
        .with("create_txg", BIRTH_TXG)
        .with("children", Value::NvListArray(vdevs.collect()));
    common(input).with("vdev_tree", root).with("features_for_read", features_for_read(active))
}

/// The configuration in the labels of a device of a top-level vdev: of the pool and that
/// vdev.
pub(crate) fn label_config(input: Input<'_>, geometry: &Geometry, mos: &Mos, (top, child): (usize, usize)) -> NvList {
    common(input)
        .with("top_guid", input.guids.vdevs[top].0)
        .with("guid", input.guids.device(top, child))
        .with("vdev_tree", vdev(input, geometry, top, mos.metaslab_arrays[top]))
        .with("features_for_read", features_for_read(mos.active))
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
        .with("vdev_children", input.shape.count as u64);
    let properties = input.spec.properties.iter().filter(|property| holds(property));
    properties.fold(list, |list, property| match &property.value {
        StoredValue::Number(number) => list.with(&property.key, *number),
        StoredValue::Text(text) => list.with(&property.key, text.as_str()),
    })
}

/// A top-level vdev.
fn vdev(input: Input<'_>, geometry: &Geometry, top: usize, metaslab_array: ObjectId) -> NvList {
    let Shape { kind, children, ashift, .. } = input.shape;
    let group = |kind: &str| {
        let list = NvList::new().with("type", kind).with("id", top as u64).with("guid", input.guids.vdevs[top].0);
        let device = |child| device(input, top, child).with("create_txg", BIRTH_TXG);
        (list, Some(Value::NvListArray((0..children).map(device).collect())))
    };
    let (list, children) = match kind {
        VdevKind::Single => (device(input, top, 0), None),
        VdevKind::Mirror => group("mirror"),
        VdevKind::Raidz(parity) => {
            let (list, children) = group("raidz");
            (list.with("nparity", u64::from(parity)), children)
        }
    };
    let list = list
        .with("metaslab_array", metaslab_array.0)
        .with("metaslab_shift", u64::from(geometry.metaslab_shift))
        .with("ashift", u64::from(ashift))
        .with("asize", geometry.allocatable())
        .with("is_log", 0u64)
        .with("create_txg", BIRTH_TXG);
    match children {
        Some(children) => list.with("children", children),
        None => list,
    }
}

/// A device, as child of a top-level vdev or as one.
fn device(input: Input<'_>, top: usize, child: usize) -> NvList {
    let Shape { kind, children, .. } = input.shape;
    let spec = &input.spec.vdev;
    let list = NvList::new()
        .with("type", if spec.disk { "disk" } else { "file" })
        .with("id", if kind == VdevKind::Single { top } else { child } as u64)
        .with("guid", input.guids.device(top, child))
        .with("path", spec.path(top * children + child));
    // Not a "whole disk" in the sense that OpenZFS made its partition: Linux
    // would look for that when the disk grows.
    if spec.disk { list.with("whole_disk", 0u64) } else { list }
}

/// Features that a system must know to read the MOS at all.
fn features_for_read(active: FeatureSet) -> NvList {
    active
        .iter()
        .filter(|feature: &Feature| feature.in_label())
        .fold(NvList::new(), |list, feature| list.with(feature.guid(), Value::Boolean))
}
