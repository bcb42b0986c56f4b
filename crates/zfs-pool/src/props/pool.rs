//! Properties of a pool, as `zpool get` shows them (`spa_prop_get`, `spa.c`).

use zfs_ondisk::feature::Feature;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::property::{DefaultValue, Kind, PoolProperty, PoolStorage, StoredValue};

use super::{Setting, Source, Value};
use crate::capacity::{Allocation, Capacity, Cloned, Dedup};
use crate::dataset::{PropertyValue, properties_in, read_dir};
use crate::error::Error;
use crate::features::{Activity, features};
use crate::pool::Pool;

/// Those that depend on the import.
const OF_THE_IMPORT: &[&str] = &["altroot", "cachefile", "readonly"];

/// The properties of a pool that nobody sets.
pub const POOL_FACTS: &[&str] = &[
    "size",
    "capacity",
    "guid",
    "free",
    "allocated",
    "fragmentation",
    "freeing",
    "leaked",
    "checkpoint",
    "dedupratio",
    "bcloneused",
    "bclonesaved",
    "bcloneratio",
    "last_scrubbed_txg",
];

/// The properties of a pool in the order of `zpool get all`: facts and settings, then
/// features, then user properties.
///
/// # Errors
/// If what is needed for one of them cannot be read.
pub fn pool_properties(pool: &Pool) -> Result<Vec<(String, Setting)>, Error> {
    let capacity = Capacity::of(pool)?;
    let allocation = Allocation::of(pool, &capacity)?;
    let (size, allocated) = (capacity.size(), allocation.total(&capacity));
    let dedup = Dedup::of(pool)?;
    let cloned = Cloned::of(pool)?;
    let stored = match pool.directory_number("pool_props")? {
        Some(object) => properties_in(&pool.mos()?, object)?,
        None => Default::default(),
    };
    let mut all: Vec<(String, Setting)> = Vec::new();
    let mut fact = |name: &str, value: Value| all.push((name.to_owned(), Setting { value, source: Source::Fact }));
    fact("size", Value::Size(size));
    let percent = (u128::from(allocated) * 100).checked_div(u128::from(size)).unwrap_or(0);
    fact("capacity", Value::Percent(u64::try_from(percent).unwrap_or(100)));
    fact("guid", Value::Id(pool.guid()));
    fact("free", Value::Size(size.saturating_sub(allocated)));
    fact("allocated", Value::Size(allocated));
    fact("fragmentation", allocation.fragmentation(&capacity).map_or(Value::Absent, Value::Percent));
    fact("freeing", Value::Size(hidden_used(pool, "$FREE")?));
    fact("leaked", Value::Size(hidden_used(pool, "$LEAK")?));
    fact("checkpoint", if capacity.checkpoint == 0 { Value::Absent } else { Value::Bytes(capacity.checkpoint) });
    fact("dedupratio", Value::Ratio(dedup.ratio()));
    fact("bcloneused", Value::Size(cloned.used));
    fact("bclonesaved", Value::Size(cloned.saved));
    fact("bcloneratio", Value::Ratio(cloned.ratio()));
    fact("last_scrubbed_txg", Value::Id(last_scrubbed(pool)?));
    for property in PoolProperty::all().filter(|property| !OF_THE_IMPORT.contains(&property.name)) {
        let value = match property.storage {
            PoolStorage::PoolProps => stored.get(property.name).cloned(),
            PoolStorage::Config => config_value(pool, property.name),
            PoolStorage::Vdev | PoolStorage::Import => stored.get(property.name).cloned(),
        };
        all.push((property.name.to_owned(), setting(pool, property, value)?));
    }
    for feature in features(pool)? {
        let text = match feature.activity {
            Activity::Disabled => continue,
            Activity::Enabled => "enabled",
            Activity::Active => "active",
        };
        let (name, text) = match feature.known {
            Some(known) => (format!("feature@{}", known.name()), text),
            None => (format!("unsupported@{}", feature.guid), if text == "active" { "readonly" } else { "inactive" }),
        };
        all.push((name, Setting { value: Value::Text(text.to_owned()), source: Source::Local }));
    }
    for feature in Feature::all() {
        let name = format!("feature@{}", feature.name());
        if !all.iter().any(|(found, _)| *found == name) {
            let value = Value::Text("disabled".to_owned());
            all.push((name, Setting { value, source: Source::Local }));
        }
    }
    for (name, value) in stored.into_iter().filter(|(name, _)| name.contains(':')) {
        all.push((name, Setting { value: super::value_of(None, &value), source: Source::Local }));
    }
    Ok(all)
}

fn setting(pool: &Pool, property: &PoolProperty, value: Option<PropertyValue>) -> Result<Setting, Error> {
    let default = match property.default {
        DefaultValue::Number(number) => Value::of(property.kind, number),
        DefaultValue::Text(text) => Value::Text(text.to_owned()),
        DefaultValue::None | DefaultValue::ByPlatform { .. } => Value::Absent,
    };
    let value = match value {
        // The number of the dataset is kept.
        Some(PropertyValue::Number(object)) if property.name == "bootfs" => {
            let name = if object == 0 { None } else { pool.dataset_name(ObjectId(object)).ok() };
            name.map_or(Value::Absent, Value::Text)
        }
        Some(PropertyValue::Number(number)) => match property.kind {
            Kind::Text(_) => Value::Text(property.format(&StoredValue::Number(number))),
            kind => Value::of(kind, number),
        },
        Some(PropertyValue::Text(text)) => Value::Text(text),
        None => default.clone(),
    };
    let source = if value == default { Source::Default } else { Source::Local };
    // Pools with features have no version to speak of.
    let value = if property.name == "version" && source == Source::Default { Value::Absent } else { value };
    Ok(Setting { value, source })
}

fn config_value(pool: &Pool, name: &str) -> Option<PropertyValue> {
    let config = pool.config();
    match config.str(name) {
        Ok(text) => Some(PropertyValue::Text(text.to_owned())),
        Err(_) => config.u64(name).ok().map(PropertyValue::Number),
    }
}

/// Bytes used by a directory that ZFS keeps for itself.
fn hidden_used(pool: &Pool, name: &str) -> Result<u64, Error> {
    let Some(root) = pool.directory_entry("root_dataset")? else { return Ok(0) };
    let mos = pool.mos()?;
    let children = read_dir(&mos, root)?.child_map;
    if children == 0 {
        return Ok(0);
    }
    match mos.object(ObjectId(children))?.zap()?.number(name)? {
        Some(dir) => Ok(read_dir(&mos, ObjectId(dir))?.used_bytes),
        None => Ok(0),
    }
}

fn last_scrubbed(pool: &Pool) -> Result<u64, Error> {
    Ok(pool.directory_number("last_scrubbed_txg")?.unwrap_or(0))
}
