//! Properties as `zfs get` and `zpool get` show them: with values that are inherited,
//! received, defaults, or computed from what the pool records (`dsl_prop.c`,
//! `dsl_dir.c`, `dsl_dataset.c`, `libzfs_dataset.c`).

mod computed;
mod pool;
mod token;
mod value;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use zfs_ondisk::dsl;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::property::{DefaultValue, Kind, Property, Storage, StoredValue, Types};
use zfs_ondisk::zap::Entry;

pub use pool::{POOL_FACTS, pool_properties};
pub use value::Value;

use crate::capacity::Capacity;
use crate::dataset::{Dataset, DatasetKind, PropertyValue, entries_of, properties_in, read_dir};
use crate::error::Error;
use crate::object::ObjectSet;
use crate::pool::Pool;

/// A received value is kept under the property's name with this (`ZPROP_RECVD_SUFFIX`).
const RECEIVED: &str = "$recvd";
/// Says that a received value does not count (`ZPROP_INHERIT_SUFFIX`).
const INHERIT: &str = "$inherit";
/// A value that older systems do not know is kept besides (`ZPROP_IUV_SUFFIX`).
const NEWER: &str = "$iuv";

/// The native properties in the order of `zfs get all` (`zfs_prop_t`, `sys/fs/zfs.h`);
/// those that are not here follow.
const ORDER: &[&str] = &[
    "type",
    "creation",
    "used",
    "available",
    "referenced",
    "compressratio",
    "mounted",
    "origin",
    "quota",
    "reservation",
    "volsize",
    "volblocksize",
    "recordsize",
    "mountpoint",
    "sharenfs",
    "checksum",
    "compression",
    "atime",
    "devices",
    "exec",
    "setuid",
    "readonly",
    "zoned",
    "jailed",
    "snapdir",
    "aclmode",
    "aclinherit",
    "createtxg",
    "canmount",
    "xattr",
    "copies",
    "version",
    "utf8only",
    "normalization",
    "casesensitivity",
    "vscan",
    "nbmand",
    "sharesmb",
    "refquota",
    "refreservation",
    "guid",
    "primarycache",
    "secondarycache",
    "usedbysnapshots",
    "usedbydataset",
    "usedbychildren",
    "usedbyrefreservation",
    "defer_destroy",
    "userrefs",
    "logbias",
    "objsetid",
    "dedup",
    "mlslabel",
    "sync",
    "dnodesize",
    "refcompressratio",
    "written",
    "clones",
    "logicalused",
    "logicalreferenced",
    "volmode",
    "filesystem_limit",
    "snapshot_limit",
    "filesystem_count",
    "snapshot_count",
    "snapdev",
    "acltype",
    "context",
    "fscontext",
    "defcontext",
    "rootcontext",
    "relatime",
    "redundant_metadata",
    "overlay",
    "receive_resume_token",
    "encryption",
    "keylocation",
    "keyformat",
    "pbkdf2iters",
    "encryptionroot",
    "keystatus",
    "special_small_blocks",
    "redact_snaps",
    "snapshots_changed",
    "prefetch",
    "volthreading",
    "direct",
    "longname",
];

/// The native properties that bookmarks have.
const OF_BOOKMARKS: &[&str] =
    &["type", "creation", "referenced", "createtxg", "guid", "refcompressratio", "logicalreferenced", "redact_snaps"];

/// Properties of some systems only: of no interest unless they are set.
const QUIET: &[&str] = &["jailed", "zoned_uid"];

/// What properties are asked of.
#[derive(Clone, Debug)]
pub enum Item {
    /// A file system, a volume, or a snapshot.
    Dataset(Dataset),
    /// A bookmark.
    Bookmark {
        /// Its full name, such as `pool/a#mark`.
        name: String,
        /// What it is of.
        dataset: Dataset,
        /// Its record.
        bookmark: dsl::Bookmark,
    },
}

/// What an [`Item`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemType {
    /// A file system.
    FileSystem,
    /// A volume.
    Volume,
    /// A snapshot of either.
    Snapshot,
    /// A bookmark.
    Bookmark,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is a fact: nobody set it.
    Fact,
    /// It was set nowhere.
    Default,
    /// It was set here.
    Local,
    /// It was set there.
    Inherited(String),
    /// It came with a stream.
    Received,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub source: Source,
}

impl std::fmt::Display for ItemType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FileSystem => "filesystem",
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
            Self::Bookmark => "bookmark",
        })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fact => f.write_str("-"),
            Self::Default => f.write_str("default"),
            Self::Local => f.write_str("local"),
            Self::Inherited(from) => write!(f, "inherited from {from}"),
            Self::Received => f.write_str("received"),
        }
    }
}

impl Item {
    /// Its full name.
    pub fn name(&self) -> &str {
        match self {
            Self::Dataset(dataset) => &dataset.name,
            Self::Bookmark { name, .. } => name,
        }
    }

    /// What it is.
    ///
    /// # Errors
    /// If the root of an object set is needed to tell, and cannot be read.
    pub fn item_type(&self) -> Result<ItemType, Error> {
        Ok(match self {
            Self::Bookmark { .. } => ItemType::Bookmark,
            Self::Dataset(dataset) if dataset.kind == DatasetKind::Snapshot => ItemType::Snapshot,
            Self::Dataset(dataset) if dataset.is_volume()? => ItemType::Volume,
            Self::Dataset(_) => ItemType::FileSystem,
        })
    }

    /// The dataset or snapshot, or what a bookmark is of.
    pub fn dataset(&self) -> &Dataset {
        match self {
            Self::Dataset(dataset) | Self::Bookmark { dataset, .. } => dataset,
        }
    }
}

impl Pool {
    /// The dataset, snapshot or bookmark with a name.
    ///
    /// # Errors
    /// [`Error::NoDataset`], or if the meta object set is damaged.
    pub fn item(&self, name: &str) -> Result<Item, Error> {
        let Some((of, mark)) = name.split_once('#') else { return self.dataset(name).map(Item::Dataset) };
        let dataset = self.dataset(of)?;
        let found = dataset.bookmarks()?.into_iter().find(|(found, _)| found == mark);
        let (_, bookmark) = found.ok_or_else(|| Error::NoDataset(name.to_owned()))?;
        Ok(Item::Bookmark { name: name.to_owned(), dataset, bookmark })
    }
}

/// Reads properties of the datasets of a pool. What several datasets need is read once.
pub struct Properties {
    pool: Pool,
    mos: ObjectSet,
    dirs: RefCell<HashMap<ObjectId, Rc<Dir>>>,
    capacity: OnceCell<Capacity>,
}

/// A DSL directory with its properties.
struct Dir {
    id: ObjectId,
    record: dsl::Dir,
    props: BTreeMap<String, PropertyValue>,
}

/// A stored value and where it was found.
type Found = (PropertyValue, Source);

impl Properties {
    /// Of the datasets of `pool`.
    ///
    /// # Errors
    /// If the root of the meta object set cannot be read.
    pub fn of(pool: &Pool) -> Result<Self, Error> {
        Ok(Self { mos: pool.mos()?, pool: pool.clone(), dirs: RefCell::default(), capacity: OnceCell::new() })
    }

    /// A property by its name or short name: a native one, a user property, or
    /// `written@SNAPSHOT`. `None` if the item has no such property.
    ///
    /// # Errors
    /// If what is needed for it cannot be read.
    pub fn get(&self, item: &Item, name: &str) -> Result<Option<Setting>, Error> {
        if let Some(since) = name.strip_prefix("written@") {
            return self.written_since(item, since);
        }
        match Property::find(name) {
            Some(property) => self.native(item, property),
            None => self.user(item, name),
        }
    }

    /// All properties that the item has, native ones in the order of `zfs get all`, then
    /// user properties by name.
    ///
    /// # Errors
    /// If what is needed for one of them cannot be read.
    pub fn all(&self, item: &Item) -> Result<Vec<(String, Setting)>, Error> {
        let others = Property::all().map(|property| property.name).filter(|name| !ORDER.contains(name));
        let mut all = Vec::new();
        for name in ORDER.iter().copied().chain(others) {
            let Some(property) = Property::find(name).filter(|property| property.name != "name") else { continue };
            match self.native(item, property)? {
                // What is set nowhere and is not applicable is not shown.
                Some(setting) if setting.value == Value::Absent => {}
                Some(setting) if QUIET.contains(&name) && setting.source == Source::Default => {}
                Some(setting) => all.push((name.to_owned(), setting)),
                None => {}
            }
        }
        for name in self.user_names(item)? {
            if let Some(setting) = self.user(item, &name)? {
                all.push((name, setting));
            }
        }
        Ok(all)
    }

    /// The value that came with a stream, whether it counts or not.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn received(&self, item: &Item, name: &str) -> Result<Option<Value>, Error> {
        let Item::Dataset(dataset) = item else { return Ok(None) };
        let property = Property::find(name);
        let own = self.own_properties(dataset)?;
        let value = own.get(&format!("{}{RECEIVED}", property.map_or(name, |property| property.key())));
        Ok(value.map(|value| value_of(property, value)))
    }

    /// What of the pool can be given to datasets.
    pub(crate) fn capacity(&self) -> Result<&Capacity, Error> {
        if let Some(capacity) = self.capacity.get() {
            return Ok(capacity);
        }
        let capacity = Capacity::of(&self.pool)?;
        Ok(self.capacity.get_or_init(|| capacity))
    }

    fn native(&self, item: &Item, property: &'static Property) -> Result<Option<Setting>, Error> {
        let kind = item.item_type()?;
        let dataset = match item {
            Item::Bookmark { bookmark, .. } if OF_BOOKMARKS.contains(&property.name) => {
                return self.of_bookmark(bookmark, property.name);
            }
            Item::Bookmark { .. } => return Ok(None),
            Item::Dataset(dataset) => dataset,
        };
        if !applies(property, dataset, kind)? {
            return Ok(None);
        }
        match property.storage {
            Storage::Computed => self.computed(dataset, kind, property.name),
            Storage::MasterNode => self.in_master_node(dataset, property),
            Storage::Volume => self.of_volume(dataset, property),
            Storage::CryptoKey => self.of_key(dataset, property),
            Storage::DirPhys => {
                let number = if property.name == "quota" { dataset.dir.quota } else { dataset.dir.reserved };
                let source = match self.find(dataset, property.key(), property.inherited)? {
                    Some((_, source)) => source,
                    None if number == 0 => Source::Default,
                    None => Source::Local,
                };
                Ok(Some(Setting { value: Value::BytesOrNone(number), source }))
            }
            Storage::Props => {
                let found = match self.find(dataset, property.key(), property.inherited)? {
                    Some((value, source)) => Some((value_of(Some(property), &value), source)),
                    None => default_of(property).map(|value| (value, Source::Default)),
                };
                let Some((mut value, source)) = found else { return Ok(None) };
                if property.name == "mountpoint" {
                    value = mountpoint(value, &source, &dataset.name);
                }
                Ok(Some(Setting { value, source }))
            }
        }
    }

    fn user(&self, item: &Item, name: &str) -> Result<Option<Setting>, Error> {
        let Item::Dataset(dataset) = item else { return Ok(None) };
        let found = self.find(dataset, name, true)?;
        Ok(found.map(|(value, source)| Setting { value: value_of(None, &value), source }))
    }

    fn user_names(&self, item: &Item) -> Result<BTreeSet<String>, Error> {
        let mut names = BTreeSet::new();
        let Item::Dataset(dataset) = item else { return Ok(names) };
        let mut add = |props: &BTreeMap<String, PropertyValue>| {
            names.extend(props.keys().filter_map(|key| {
                let name = key.strip_suffix(RECEIVED).unwrap_or(key);
                (name.contains(':') && !name.contains('$')).then(|| name.to_owned())
            }));
        };
        if dataset.kind == DatasetKind::Snapshot {
            add(&self.own_properties(dataset)?);
        }
        for dir in self.chain(dataset)? {
            add(&dir.props);
        }
        Ok(names)
    }

    /// The value that counts for a dataset, if one is set somewhere.
    fn find(&self, dataset: &Dataset, key: &str, inherited: bool) -> Result<Option<Found>, Error> {
        let is_snapshot = dataset.kind == DatasetKind::Snapshot;
        if is_snapshot && dataset.dataset.props != 0 {
            let own = self.own_properties(dataset)?;
            if let Some(found) = value_in(&own, key) {
                return Ok(Some(found));
            }
        }
        let path = dataset.name.split('@').next().unwrap_or_default();
        let mut name = Some(path);
        for (depth, dir) in self.chain(dataset)?.iter().enumerate() {
            let inherits = depth > 0 || is_snapshot;
            if inherits && !inherited {
                break;
            }
            if let Some((value, _)) = value_in(&dir.props, key).filter(|_| inherits) {
                return Ok(Some((value, Source::Inherited(name.unwrap_or(path).to_owned()))));
            }
            if let Some(found) = value_in(&dir.props, key) {
                return Ok(Some(found));
            }
            name = name.and_then(|name| name.rsplit_once('/')).map(|(parent, _)| parent);
        }
        Ok(None)
    }

    /// The properties that are set on a dataset or snapshot itself.
    fn own_properties(&self, dataset: &Dataset) -> Result<BTreeMap<String, PropertyValue>, Error> {
        match dataset.kind {
            DatasetKind::Snapshot => properties_in(&self.mos, dataset.dataset.props),
            DatasetKind::Head => Ok(self.dir(dataset.dir_object)?.props.clone()),
        }
    }

    /// The directory of a dataset, and those above it.
    fn chain(&self, dataset: &Dataset) -> Result<Vec<Rc<Dir>>, Error> {
        let mut chain = vec![self.dir(dataset.dir_object)?];
        // Names are no deeper than the tree that they were found in.
        for _ in dataset.name.split('/').skip(1) {
            let parent = chain.last().map_or(0, |dir| dir.record.parent);
            if parent == 0 {
                break;
            }
            chain.push(self.dir(ObjectId(parent))?);
        }
        Ok(chain)
    }

    fn dir(&self, id: ObjectId) -> Result<Rc<Dir>, Error> {
        if let Some(dir) = self.dirs.borrow().get(&id) {
            return Ok(dir.clone());
        }
        let record = read_dir(&self.mos, id)?;
        let props = properties_in(&self.mos, record.props)?;
        let dir = Rc::new(Dir { id, record, props });
        self.dirs.borrow_mut().insert(id, dir.clone());
        Ok(dir)
    }

    /// What a directory came to have, by name.
    fn table_of(&self, dir: &Dir) -> Result<BTreeMap<String, Entry>, Error> {
        entries_of(&self.mos, dir.id)
    }
}

/// Whether datasets of a type have a property; those of snapshots must suit their
/// heads, too (`zprop_valid_for_type`).
fn applies(property: &Property, dataset: &Dataset, kind: ItemType) -> Result<bool, Error> {
    Ok(match kind {
        ItemType::FileSystem => property.types.contain(Types::FILESYSTEM),
        ItemType::Volume => property.types.contain(Types::VOLUME),
        ItemType::Bookmark => false,
        ItemType::Snapshot if !property.types.contain(Types::SNAPSHOT) => false,
        ItemType::Snapshot if matches!(property.kind, Kind::Text(_)) || property.types == Types::SNAPSHOT => true,
        ItemType::Snapshot => {
            property.types.contain(if dataset.is_volume()? { Types::VOLUME } else { Types::FILESYSTEM })
        }
    })
}

/// The value under a key in one table, if it counts.
fn value_in(props: &BTreeMap<String, PropertyValue>, key: &str) -> Option<Found> {
    let newer = props.get(&format!("{key}{NEWER}")).filter(|value| is_known(key, value));
    if let Some(value) = newer.or_else(|| props.get(key)) {
        return Some((value.clone(), Source::Local));
    }
    if props.contains_key(&format!("{key}{INHERIT}")) {
        return None;
    }
    props.get(&format!("{key}{RECEIVED}")).map(|value| (value.clone(), Source::Received))
}

/// Whether a number stands for one of the words of a property.
fn is_known(key: &str, value: &PropertyValue) -> bool {
    let words = Property::find(key).map(|property| property.kind);
    matches!((words, value), (Some(Kind::Index(words)), PropertyValue::Number(number))
        if words.iter().any(|(_, known)| known == number))
}

fn value_of(property: Option<&Property>, value: &PropertyValue) -> Value {
    match (property, value) {
        (Some(property), PropertyValue::Number(number)) => Value::of(property.kind, *number),
        (_, PropertyValue::Number(number)) => Value::Id(*number),
        (_, PropertyValue::Text(text)) => Value::Text(text.clone()),
    }
}

fn default_of(property: &Property) -> Option<Value> {
    let number = match property.default {
        DefaultValue::None => return None,
        DefaultValue::Text(text) => return Some(Value::Text(text.to_owned())),
        DefaultValue::Number(number) => number,
        DefaultValue::ByPlatform { freebsd, linux } => {
            if cfg!(target_os = "freebsd") {
                freebsd
            } else {
                linux
            }
        }
    };
    Some(match property.kind {
        Kind::Text(_) => Value::Text(property.format(&StoredValue::Number(number))),
        kind => Value::of(kind, number),
    })
}

/// Where a dataset would be mounted: what lies below the dataset that has the path is
/// mounted below it.
fn mountpoint(value: Value, source: &Source, dataset: &str) -> Value {
    let Value::Text(path) = value else { return value };
    let below = match source {
        Source::Inherited(from) => dataset.strip_prefix(from.as_str()).unwrap_or_default(),
        Source::Default => dataset,
        _ => "",
    };
    let below = below.trim_start_matches('/');
    if !path.starts_with('/') || below.is_empty() {
        return Value::Text(path);
    }
    Value::Text(format!("{}/{below}", path.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn what_is_below_a_mounted_dataset_is_mounted_below_it() {
        let inherited = Source::Inherited("a/b".into());
        assert_eq!(mountpoint(text("/mnt"), &inherited, "a/b/c/d"), text("/mnt/c/d"));
        assert_eq!(mountpoint(text("/"), &inherited, "a/b/c"), text("/c"));
        assert_eq!(mountpoint(text("legacy"), &inherited, "a/b/c"), text("legacy"));
        assert_eq!(mountpoint(text("/"), &Source::Default, "a/b"), text("/a/b"));
        assert_eq!(mountpoint(text("/x"), &Source::Local, "a/b"), text("/x"));
        assert_eq!(mountpoint(text("/"), &Source::Local, "a"), text("/"));
    }

    #[test]
    fn a_received_value_counts_unless_another_was_set_or_it_was_inherited_again() {
        let mut props: BTreeMap<String, PropertyValue> = BTreeMap::new();
        props.insert("copies$recvd".into(), PropertyValue::Number(2));
        assert_eq!(value_in(&props, "copies"), Some((PropertyValue::Number(2), Source::Received)));
        props.insert("copies$inherit".into(), PropertyValue::Number(0));
        assert_eq!(value_in(&props, "copies"), None);
        props.insert("copies".into(), PropertyValue::Number(3));
        assert_eq!(value_in(&props, "copies"), Some((PropertyValue::Number(3), Source::Local)));
    }

    #[test]
    fn a_value_for_newer_systems_counts_if_it_is_known() {
        let mut props: BTreeMap<String, PropertyValue> = BTreeMap::new();
        props.insert("compression".into(), PropertyValue::Number(1));
        props.insert("compression$iuv".into(), PropertyValue::Number(16));
        assert_eq!(value_in(&props, "compression").map(|found| found.0), Some(PropertyValue::Number(16)));
        props.insert("compression$iuv".into(), PropertyValue::Number(99));
        assert_eq!(value_in(&props, "compression").map(|found| found.0), Some(PropertyValue::Number(1)));
    }

    #[test]
    fn every_property_of_the_order_is_in_the_table() {
        for name in ORDER.iter().chain(OF_BOOKMARKS).chain(QUIET) {
            assert!(Property::find(name).is_some(), "{name}");
        }
    }
}
