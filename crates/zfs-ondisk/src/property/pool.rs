//! The properties of pools (`zpool_prop.c`).

use super::values::{BOOLEAN, FAILMODE};
use super::{DefaultValue, Kind, MAX_TEXT, Number, PropertyError, StoredValue, Text, nearest, user_name};

/// A property of pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolProperty {
    /// The name.
    pub name: &'static str,
    /// A short form of the name that is understood, too.
    pub alias: Option<&'static str>,
    /// Which values it takes.
    pub kind: Kind,
    /// The value of a pool that has none.
    pub default: DefaultValue,
    /// Where its value is.
    pub storage: PoolStorage,
}

/// Where the value of a property of a pool is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolStorage {
    /// In the ZAP that the object directory calls `pool_props`, under its name.
    PoolProps,
    /// In the pool's configuration and the labels, under its name.
    Config,
    /// In every top-level vdev of the configuration, under its name.
    Vdev,
    /// Nowhere: it is an option of the import.
    Import,
}

const TABLE: &[PoolProperty] = &[
    text("bootfs", Text::Dataset, DefaultValue::None, PoolStorage::PoolProps),
    index("delegation", BOOLEAN, 1),
    index("autoreplace", BOOLEAN, 0).alias("replace"),
    index("listsnapshots", BOOLEAN, 0).alias("listsnaps"),
    index("autoexpand", BOOLEAN, 0).alias("expand"),
    index("multihost", BOOLEAN, 0),
    index("failmode", FAILMODE, 0),
    index("autotrim", BOOLEAN, 0),
    property(
        "dedup_table_quota",
        Kind::Number(Number::SizeNoneOrAuto),
        DefaultValue::Number(u64::MAX),
        PoolStorage::PoolProps,
    ),
    text("comment", Text::Comment, DefaultValue::None, PoolStorage::Config),
    text("compatibility", Text::Any, DefaultValue::Text("off"), PoolStorage::Config),
    property("version", Kind::Number(Number::Count { min: 1 }), DefaultValue::Number(5000), PoolStorage::Config),
    property("ashift", Kind::Number(Number::Count { min: 0 }), DefaultValue::Number(0), PoolStorage::Vdev),
    text("altroot", Text::Mountpoint, DefaultValue::None, PoolStorage::Import),
    text("cachefile", Text::Any, DefaultValue::None, PoolStorage::Import),
    PoolProperty { storage: PoolStorage::Import, ..index("readonly", BOOLEAN, 0).alias("rdonly") },
];

const fn property(name: &'static str, kind: Kind, default: DefaultValue, storage: PoolStorage) -> PoolProperty {
    PoolProperty { name, alias: None, kind, default, storage }
}

const fn index(name: &'static str, words: &'static super::Words, default: u64) -> PoolProperty {
    property(name, Kind::Index(words), DefaultValue::Number(default), PoolStorage::PoolProps)
}

const fn text(name: &'static str, rule: Text, default: DefaultValue, storage: PoolStorage) -> PoolProperty {
    property(name, Kind::Text(rule), default, storage)
}

impl PoolProperty {
    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// All properties of pools that can be set, user properties apart.
    pub fn all() -> impl Iterator<Item = &'static PoolProperty> {
        TABLE.iter()
    }

    /// The property of a name or its short form.
    pub fn find(name: &str) -> Option<&'static PoolProperty> {
        PoolProperty::all().find(|p| p.name == name || p.alias == Some(name))
    }

    /// The property and the stored value of `name=value`; no property if it is one
    /// of the user's, which are kept in `pool_props`.
    ///
    /// # Errors
    /// The property is unknown or does not take the value.
    pub fn parse(name: &str, value: &str) -> Result<(Option<&'static PoolProperty>, StoredValue), PropertyError> {
        if value.len() > MAX_TEXT || value.contains('\0') {
            return Err(PropertyError::Text { name: name.to_owned() });
        }
        if let Some(property) = PoolProperty::find(name) {
            let stored = property.kind.parse(value).ok_or_else(|| property.kind.refuse(name, value))?;
            return Ok((Some(property), stored));
        }
        if !name.contains(':') {
            let near = nearest(name, PoolProperty::all().map(|p| p.name));
            return Err(PropertyError::Unknown { name: name.to_owned(), near });
        }
        user_name(name)?;
        Ok((None, StoredValue::Text(value.to_owned())))
    }

    /// A stored value in words, as `zpool get` shows it.
    pub fn format(&self, value: &StoredValue) -> String {
        self.kind.format(value)
    }
}
