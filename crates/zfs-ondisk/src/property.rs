//! Properties of datasets and pools: names, accepted values, and what is stored
//! where (`zfs_prop.c`, `zpool_prop.c`, `sys/fs/zfs.h`; zfsprops(7), zpoolprops(7)).
//!
//! Most properties of a dataset are entries of a ZAP that belongs to its DSL
//! directory (a snapshot has one of its own), under their names: numbers as
//! one 64-bit integer, texts with a NUL. [`Storage`] tells of the others. A
//! property that is not set there is inherited or has its default.
//!
//! The table is that of OpenZFS 2.4; a property that an older system does not
//! know is an entry that it does not look at.

mod number;
mod pool;
mod suggest;
mod table;
mod values;

pub use number::{format_size, parse_number};
pub use pool::{PoolProperty, PoolStorage};
pub(crate) use suggest::nearest;
pub use suggest::nearest as nearest_names;
pub use values::Words;

use crate::feature::Feature;

/// The longest value in bytes, without its NUL (`ZAP_MAXVALUELEN`).
pub const MAX_TEXT: usize = (8 << 10) - 1;

/// The longest name of a user property in bytes (`ZAP_MAXNAMELEN`).
pub const MAX_NAME: usize = 255;

/// A property of datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// The name.
    pub name: &'static str,
    /// A short form of the name that is understood, too.
    pub alias: Option<&'static str>,
    /// Which values it takes.
    pub kind: Kind,
    /// The value of a dataset that neither has nor inherits one.
    pub default: DefaultValue,
    /// The datasets that have it.
    pub types: Types,
    /// Whether a dataset that has no value takes its parent's.
    pub inherited: bool,
    /// When it can be set.
    pub setting: Setting,
    /// Where its value is.
    pub storage: Storage,
}

/// Kinds of datasets, one or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    /// File systems.
    pub const FILESYSTEM: Types = Types(1);
    /// Volumes.
    pub const VOLUME: Types = Types(2);
    /// Snapshots.
    pub const SNAPSHOT: Types = Types(4);

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contain(self, other: Types) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Which values a property takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Index(&'static Words),
    /// A number.
    Number(Number),
    /// A text.
    Text(Text),
}

/// Which numbers a property takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A size in bytes.
    Size {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
        /// Whether it must be a power of two.
        power_of_two: bool,
    },
    /// A size in bytes; `none` is stored as 0.
    SizeOrNone,
    /// As before, and `auto`, stored as 2^64 - 1.
    SizeNoneOrAuto,
    /// A count.
    Count {
        /// The smallest.
        min: u64,
    },
    /// A count; `none` is stored as 2^64 - 1.
    CountOrNone,
    /// The number of a user; `none` is stored as 0.
    UserOrNone,
}

/// Which texts a property takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Any.
    Any,
    /// An absolute path, `none` or `legacy`.
    Mountpoint,
    /// `prompt`, `none`, or a URL of scheme `file`, `http` or `https`.
    KeyLocation,
    /// At most 32 printable characters of ASCII.
    Comment,
    /// The name of a dataset. Stored is the number of its object set, which the
    /// caller finds.
    Dataset,
}

/// The value of a property that is set nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// It always has one of its own.
    None,
    /// A number.
    Number(u64),
    /// A text.
    Text(&'static str),
    /// A number that depends on the system that mounts the dataset.
    ByPlatform {
        /// On FreeBSD.
        freebsd: u64,
        /// On Linux.
        linux: u64,
    },
}

/// When a property can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// At any time.
    Anytime,
    /// When the dataset is made, and never again.
    AtCreation,
    /// Never: ZFS reports it.
    ReadOnly,
}

/// Where the value of a property is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In the ZAP of properties of the DSL directory (`dd_props_zapobj`).
    Props,
    /// In the ZAP of properties, and again as a field of the DSL directory
    /// (`dd_quota`, `dd_reserved` of `dsl_dir_phys_t`), which is what counts.
    DirPhys,
    /// In the master node of the file system (object 1), under [`Property::key`].
    MasterNode,
    /// In the volume: its size in the ZAP that is object 2, under `size`; its
    /// block size as the data block size of object 1.
    Volume,
    /// With the wrapped key (`DSL_CRYPTO` ZAP of the DSL directory).
    CryptoKey,
    /// Nowhere under this name: computed.
    Computed,
}

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredValue {
    /// A 64-bit integer.
    Number(u64),
    /// A text; its NUL is not part of it.
    Text(String),
}

/// A property and a valid value for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The property; `None` if it is a user property.
    pub property: Option<&'static Property>,
    /// The key under which the value is stored.
    pub key: String,
    /// The value.
    pub value: StoredValue,
}

impl Assignment {
    /// Where the value is stored.
    pub fn storage(&self) -> Storage {
        self.property.map_or(Storage::Props, |p| p.storage)
    }

    /// The pool feature that must be enabled to use the value.
    pub fn feature(&self) -> Option<Feature> {
        const LARGEST_OLD_BLOCK: u64 = 128 << 10;
        let StoredValue::Number(n) = self.value else {
            return None;
        };
        match self.property?.name {
            "compression" => match n & 0x7F {
                15 => Some(Feature::Lz4Compress),
                16 => Some(Feature::ZstdCompress),
                _ => None,
            },
            "checksum" | "dedup" => match n & 0xFF {
                11 => Some(Feature::Sha512),
                12 => Some(Feature::Skein),
                13 => Some(Feature::Edonr),
                14 => Some(Feature::Blake3),
                _ => None,
            },
            "recordsize" | "volblocksize" if n > LARGEST_OLD_BLOCK => Some(Feature::LargeBlocks),
            "dnodesize" if n != 0 => Some(Feature::LargeDnode),
            "longname" if n != 0 => Some(Feature::Longname),
            "filesystem_limit" | "snapshot_limit" if n != u64::MAX => Some(Feature::FilesystemLimits),
            "encryption" if n != 2 => Some(Feature::Encryption),
            _ => None,
        }
    }
}

/// A property or value that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// There is no such property.
    #[error("there is no property {name:?}{}", did_you_mean(.near))]
    Unknown {
        /// The name given.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// The property does not take this value.
    #[error("{name}: {value:?} is not accepted; {accepted}")]
    Value {
        /// The property.
        name: String,
        /// The value given.
        value: String,
        /// What is accepted, as a clause.
        accepted: String,
    },
    /// The property cannot be set.
    #[error("{0} cannot be set: it is reported by ZFS")]
    ReadOnly(String),
    /// The property is one of other datasets.
    #[error("{0} does not apply to this type of dataset")]
    WrongType(String),
    /// A quota of a user, group or project, which is no property of the dataset.
    #[error("{0} is set on a mounted file system: it is kept with the user's accounting")]
    PerUser(String),
    /// The name of a user property is not valid.
    #[error("{0:?} cannot be a user property: up to {MAX_NAME} lower-case letters, digits and -_.: expected")]
    UserName(String),
    /// A value is too long, or contains a NUL.
    #[error("{name}: a value has at most {MAX_TEXT} bytes and no NUL")]
    Text {
        /// The property.
        name: String,
    },
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(" or ")),
    }
}

/// The property and the stored value of `name=value`, to be set when a dataset of
/// type `on` is made.
///
/// # Errors
/// The property is unknown, not for such datasets, or does not take the value.
pub fn parse(name: &str, value: &str, on: Types) -> Result<Assignment, PropertyError> {
    if value.len() > MAX_TEXT || value.contains('\0') {
        return Err(PropertyError::Text { name: name.to_owned() });
    }
    let Some(property) = Property::find(name) else {
        return parse_user(name, value);
    };
    if property.setting == Setting::ReadOnly {
        return Err(PropertyError::ReadOnly(name.to_owned()));
    }
    if !property.types.contain(on) || on == Types::SNAPSHOT {
        return Err(PropertyError::WrongType(name.to_owned()));
    }
    let stored = property.kind.parse(value).ok_or_else(|| property.kind.refuse(name, value))?;
    // Only a volume has a size that "auto" could follow.
    if value == "auto" && matches!(property.kind, Kind::Number(_)) && on != Types::VOLUME {
        return Err(PropertyError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            accepted: "\"auto\" is for volumes only".to_owned(),
        });
    }
    Ok(Assignment { property: Some(property), key: property.key().to_owned(), value: stored })
}

fn parse_user(name: &str, value: &str) -> Result<Assignment, PropertyError> {
    const PER_USER: [&str; 6] =
        ["userquota@", "groupquota@", "projectquota@", "userobjquota@", "groupobjquota@", "projectobjquota@"];
    if PER_USER.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(PropertyError::PerUser(name.to_owned()));
    }
    if !name.contains(':') {
        let names = Property::all().filter(|p| p.setting != Setting::ReadOnly).map(|p| p.name);
        return Err(PropertyError::Unknown { name: name.to_owned(), near: nearest(name, names) });
    }
    user_name(name)?;
    Ok(Assignment { property: None, key: name.to_owned(), value: StoredValue::Text(value.to_owned()) })
}

/// Checks the name of a user property.
fn user_name(name: &str) -> Result<(), PropertyError> {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.:".contains(&b);
    if name.len() > MAX_NAME || !name.bytes().all(valid) {
        return Err(PropertyError::UserName(name.to_owned()));
    }
    Ok(())
}

impl Property {
    /// All properties of datasets, user properties apart.
    pub fn all() -> impl Iterator<Item = &'static Property> {
        table::DATASET.iter()
    }

    /// The property of a name or its short form.
    pub fn find(name: &str) -> Option<&'static Property> {
        Property::all().find(|p| p.name == name || p.alias == Some(name))
    }

    /// The key under which the value is stored: the name, but for the version of a
    /// file system and the size of a volume.
    pub fn key(&self) -> &'static str {
        match (self.storage, self.name) {
            (Storage::MasterNode, "version") => "VERSION",
            (Storage::Volume, "volsize") => "size",
            (_, name) => name,
        }
    }

    /// A stored value in words, as `zfs get` shows it; a number that is no value
    /// of the property as it is.
    pub fn format(&self, value: &StoredValue) -> String {
        self.kind.format(value)
    }
}

impl Kind {
    /// The stored value of a text, if it is accepted.
    fn parse(self, text: &str) -> Option<StoredValue> {
        let number = match self {
            Kind::Index(words) => words.iter().find(|(word, _)| *word == text)?.1,
            Kind::Number(rule) => rule.parse(text)?,
            Kind::Text(rule) => {
                return rule.accepts(text).then(|| StoredValue::Text(text.to_owned()));
            }
        };
        Some(StoredValue::Number(number))
    }

    fn format(self, value: &StoredValue) -> String {
        let number = match value {
            StoredValue::Text(text) => return text.clone(),
            StoredValue::Number(number) => *number,
        };
        match self {
            Kind::Index(words) => match words.iter().find(|(_, n)| *n == number) {
                Some((word, _)) => (*word).to_owned(),
                None => number.to_string(),
            },
            Kind::Number(rule) => rule.format(number),
            Kind::Text(_) => number.to_string(),
        }
    }

    fn refuse(self, name: &str, value: &str) -> PropertyError {
        PropertyError::Value { name: name.to_owned(), value: value.to_owned(), accepted: self.accepted() }
    }

    /// What is accepted, as a clause.
    fn accepted(self) -> String {
        match self {
            Kind::Index(words) => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                format!("one of {} is", words.join(", "))
            }
            Kind::Number(rule) => rule.accepted(),
            Kind::Text(Text::Any) => "any text is".to_owned(),
            Kind::Text(Text::Mountpoint) => {
                "an absolute path with components of at most 255 bytes, none or legacy is".to_owned()
            }
            Kind::Text(Text::KeyLocation) => {
                "prompt, none, or a URL that begins with file:///, http:// or https:// is".to_owned()
            }
            Kind::Text(Text::Comment) => "at most 32 printable characters of ASCII are".to_owned(),
            Kind::Text(Text::Dataset) => "the name of a dataset is".to_owned(),
        }
    }
}

impl Number {
    fn parse(self, text: &str) -> Option<u64> {
        match (self, text) {
            (Number::SizeOrNone | Number::SizeNoneOrAuto | Number::UserOrNone, "none") => {
                return Some(0);
            }
            (Number::CountOrNone, "none") | (Number::SizeNoneOrAuto, "auto") => {
                return Some(u64::MAX);
            }
            _ => {}
        }
        let number = parse_number(text)?;
        let accepted = match self {
            Number::Size { min, max, power_of_two } => {
                (min..=max).contains(&number) && (!power_of_two || number.is_power_of_two())
            }
            Number::Count { min } => number >= min,
            Number::UserOrNone => u32::try_from(number).is_ok(),
            Number::SizeOrNone => number != 0,
            Number::SizeNoneOrAuto | Number::CountOrNone => true,
        };
        accepted.then_some(number)
    }

    fn format(self, number: u64) -> String {
        match (self, number) {
            (Number::SizeOrNone | Number::SizeNoneOrAuto | Number::UserOrNone, 0) => "none".to_owned(),
            (Number::SizeNoneOrAuto, u64::MAX) => "auto".to_owned(),
            (Number::CountOrNone, u64::MAX) => "none".to_owned(),
            (Number::Size { .. } | Number::SizeOrNone | Number::SizeNoneOrAuto, size) => match size {
                0 => "0".to_owned(),
                _ => format_size(size),
            },
            (Number::Count { .. } | Number::CountOrNone | Number::UserOrNone, count) => count.to_string(),
        }
    }

    fn accepted(self) -> String {
        match self {
            Number::Size { min, max, power_of_two } => {
                let what = if power_of_two { "a power of two" } else { "a size" };
                match max {
                    u64::MAX => format!("{what} of at least {min} bytes is"),
                    _ => format!("{what} from {} to {} is", format_size(min), format_size(max)),
                }
            }
            Number::SizeOrNone => "a size greater than 0, such as 10G, or none is".to_owned(),
            Number::SizeNoneOrAuto => "a size, such as 10G, none or auto is".to_owned(),
            Number::Count { min } => format!("a number of at least {min} is"),
            Number::CountOrNone => "a number or none is".to_owned(),
            Number::UserOrNone => "the number of a user or none is".to_owned(),
        }
    }
}

impl Text {
    fn accepts(self, text: &str) -> bool {
        match self {
            Text::Any => true,
            Text::Mountpoint => {
                let path = text.starts_with('/') && text.split('/').all(|part| part.len() <= 255);
                path || text == "none" || text == "legacy"
            }
            Text::KeyLocation => {
                let url = ["file:///", "https://", "http://"]
                    .iter()
                    .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
                url || text == "prompt" || text == "none"
            }
            Text::Comment => text.len() <= 32 && text.bytes().all(|b| (b' '..=b'~').contains(&b)),
            Text::Dataset => !text.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests;
