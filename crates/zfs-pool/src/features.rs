//! The features of a pool: which are enabled, which are active, and which this reader
//! knows.

use std::collections::BTreeMap;

use zfs_ondisk::feature::Feature;
use zfs_ondisk::object::ObjectId;

use crate::dataset::entries_of;
use crate::error::Error;
use crate::pool::{Pool, is_readable};

/// A feature that a pool lists.
#[derive(Clone, Debug)]
pub struct PoolFeature {
    /// The name that identifies it, such as `com.delphix:hole_birth`.
    pub guid: String,
    /// The feature, if it is a known one.
    pub known: Option<Feature>,
    /// What it does, as the pool or this library describes it; empty if neither does.
    pub description: String,
    /// Whether it is in use.
    pub activity: Activity,
    /// How often it is in use.
    pub references: u64,
    /// The transaction group in which it was enabled, if that is recorded.
    pub enabled_txg: Option<u64>,
    /// Whether readers must know it while it is active.
    pub needed_for_reading: bool,
    /// Whether this reader knows it, or need not.
    pub is_readable: bool,
}

/// Whether a feature is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It may not be used.
    Disabled,
    /// It may be used.
    Enabled,
    /// It is used.
    Active,
}

impl std::fmt::Display for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Activity::Disabled => "disabled",
            Activity::Enabled => "enabled",
            Activity::Active => "active",
        })
    }
}

/// The features that a pool lists: known ones in OpenZFS's order, then others by name.
///
/// # Errors
/// If the tables of features cannot be read.
pub fn features(pool: &Pool) -> Result<Vec<PoolFeature>, Error> {
    let mos = pool.mos()?;
    let table = |name: &str| match pool.directory_entry(name)? {
        Some(object) => entries_of(&mos, object),
        None => Ok(BTreeMap::new()),
    };
    let descriptions = table("feature_descriptions")?;
    let enabled_txgs = match pool.directory_number("feature_enabled_txg")? {
        Some(object) => entries_of(&mos, ObjectId(object))?,
        None => BTreeMap::new(),
    };
    let mut features = Vec::new();
    for (name, needed_for_reading) in [("features_for_read", true), ("features_for_write", false)] {
        for (guid, entry) in table(name)? {
            let known = Feature::by_guid(&guid);
            let references = entry.number().unwrap_or(u64::MAX);
            let description = match known {
                Some(known) => known.description().to_owned(),
                None => descriptions.get(&guid).and_then(|entry| entry.text()).unwrap_or_default(),
            };
            features.push(PoolFeature {
                known,
                description,
                activity: if references == 0 { Activity::Enabled } else { Activity::Active },
                references,
                enabled_txg: enabled_txgs.get(&guid).and_then(|entry| entry.number()),
                needed_for_reading,
                is_readable: !needed_for_reading || references == 0 || is_readable(&guid),
                guid,
            });
        }
    }
    let place = |feature: &PoolFeature| feature.known.map_or(usize::MAX, |known| known as usize);
    features.sort_by(|a, b| (place(a), &a.guid).cmp(&(place(b), &b.guid)));
    Ok(features)
}
