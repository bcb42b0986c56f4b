//! Values of options: datasets, snapshots, properties, numbers, lists of features.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_image::{DatasetSpec, SnapshotSpec};
use zfs_ondisk::compress::Compression;
use zfs_ondisk::feature::Compatibility;
use zfs_ondisk::property::{self, PoolProperty, Types};

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (DatasetSpec::parse(text), SnapshotSpec::parse(text));
    let _ = (Compatibility::named(text), Compatibility::parse(text));
    if let Ok(compression) = text.parse::<Compression>() {
        assert_eq!(Compression::from_property(compression.to_property()), Ok(compression));
    }
    if let Some(number) = property::parse_number(text) {
        let _ = property::format_size(number);
    }
    let Some((name, value)) = text.split_once('=') else { return };
    for types in [Types::FILESYSTEM, Types::VOLUME, Types::SNAPSHOT] {
        if let Ok(assignment) = property::parse(name, value, types) {
            let _ = (assignment.storage(), assignment.feature());
            if let Some(property) = assignment.property {
                // What a value is shown as means the same value.
                let shown = property.format(&assignment.value);
                if let Ok(again) = property::parse(name, &shown, types) {
                    assert!(property.format(&again.value) == shown, "{name}={value} is shown as {shown}");
                }
            }
        }
    }
    if let Ok((Some(property), value)) = PoolProperty::parse(name, value) {
        let _ = property.format(&value);
    }
});

/// Every property with some value, beside the examples in `seeds/options`.
fn seeds() -> Vec<String> {
    let all = property::Property::all().map(|property| property.name);
    let values = ["on", "none", "128K", "/usr/home"].into_iter().cycle();
    all.zip(values).map(|(name, value)| format!("{name}={value}")).collect()
}
