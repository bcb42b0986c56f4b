//! Datasets: file systems, volumes and their snapshots, by name.

use std::collections::{BTreeMap, HashSet};

use zfs_ondisk::dsl;
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::objset::Kind;
use zfs_ondisk::zap::Entry;

use crate::error::Error;
use crate::object::{Object, ObjectSet};
use crate::pool::{MOS, Pool};

/// Datasets nested deeper than this are refused; OpenZFS allows 50
/// (`zfs_max_dataset_nesting`), and 5 more levels for what it nests itself.
const MAX_DEPTH: usize = 64;

/// A dataset or snapshot of a pool.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The pool.
    pool: Pool,
    /// Its name, such as `pool/a/b` or `pool/a/b@snap`.
    pub name: String,
    /// Whether it is the head of its directory or a snapshot.
    pub kind: DatasetKind,
    /// Its object in the MOS.
    pub object: ObjectId,
    /// Its directory, which all snapshots of a head share.
    pub dir: dsl::Dir,
    /// The directory's object in the MOS.
    pub dir_object: ObjectId,
    /// Its own record.
    pub dataset: dsl::Dataset,
}

/// What sort of dataset it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetKind {
    /// What is mounted and written to.
    Head,
    /// A state of the past.
    Snapshot,
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyValue {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl Pool {
    /// All datasets and snapshots: a dataset, its snapshots by age, its children by
    /// name. Those that ZFS hides (names with `$` or `%`) are left out.
    ///
    /// # Errors
    /// If the meta object set is damaged.
    pub fn datasets(&self) -> Result<Vec<Dataset>, Error> {
        let mut all = self.all_datasets()?;
        all.retain(|dataset| !dataset.is_hidden());
        Ok(all)
    }

    /// All datasets and snapshots, with those that ZFS keeps for itself: the origin
    /// of all (`$ORIGIN`), what is being received (`%recv`).
    ///
    /// # Errors
    /// If the meta object set is damaged.
    pub fn all_datasets(&self) -> Result<Vec<Dataset>, Error> {
        let mos = self.mos()?;
        let root = self.directory_entry("root_dataset")?.ok_or(Error::Malformed {
            what: "the entry 'root_dataset' of the object directory",
            found: "missing".into(),
            expected: "an object",
        })?;
        let mut list = Lister { pool: self, mos, seen: HashSet::new(), found: Vec::new() };
        list.directory(root, self.name().to_owned(), 0)?;
        Ok(list.found)
    }

    /// The dataset or snapshot with a name.
    ///
    /// # Errors
    /// [`Error::NoDataset`], or if the meta object set is damaged.
    pub fn dataset(&self, name: &str) -> Result<Dataset, Error> {
        let missing = || Error::NoDataset(name.to_owned());
        let (path, snapshot) = match name.split_once('@') {
            Some((path, snapshot)) => (path, Some(snapshot)),
            None => (name, None),
        };
        let mut parts = path.split('/');
        if parts.next() != Some(self.name()) {
            return Err(missing());
        }
        let mos = self.mos()?;
        let mut dir_object = self.directory_entry("root_dataset")?.ok_or_else(missing)?;
        for part in parts {
            let children = ObjectId(read_dir(&mos, dir_object)?.child_map);
            let child = mos.object(children)?.zap()?.number(part)?;
            dir_object = ObjectId(child.ok_or_else(missing)?);
        }
        let dir = read_dir(&mos, dir_object)?;
        let head = self.head(&mos, path, dir_object, &dir)?.ok_or_else(missing)?;
        let Some(snapshot) = snapshot else { return Ok(head) };
        let names = ObjectId(head.dataset.snapshot_names);
        let object = mos.object(names)?.zap()?.number(snapshot)?.ok_or_else(missing)?;
        head.snapshot(&mos, snapshot, ObjectId(object))
    }

    /// The name of the dataset or snapshot that is an object of the MOS.
    ///
    /// # Errors
    /// If it is none, or the meta object set is damaged.
    pub fn dataset_name(&self, object: ObjectId) -> Result<String, Error> {
        let mos = self.mos()?;
        let dataset = read_dataset(&mos, object)?;
        let dir = read_dir(&mos, ObjectId(dataset.dir))?;
        let name = self.directory_name(ObjectId(dataset.dir))?;
        if dir.head_dataset == object.0 {
            return Ok(name);
        }
        let head = read_dataset(&mos, ObjectId(dir.head_dataset))?;
        Ok(format!("{name}@{}", name_in(&mos, head.snapshot_names, object)?))
    }

    /// The name of the dataset whose DSL directory is an object of the MOS.
    ///
    /// # Errors
    /// If it is none, or the meta object set is damaged.
    pub fn directory_name(&self, object: ObjectId) -> Result<String, Error> {
        let mos = self.mos()?;
        let (mut object, mut names) = (object, Vec::new());
        for _ in 0..=MAX_DEPTH {
            let dir = read_dir(&mos, object)?;
            if dir.parent == 0 {
                names.push(self.name().to_owned());
                names.reverse();
                return Ok(names.join("/"));
            }
            let parent = read_dir(&mos, ObjectId(dir.parent))?;
            names.push(name_in(&mos, parent.child_map, object)?);
            object = ObjectId(dir.parent);
        }
        let error = Error::Malformed {
            what: "the tree of DSL directories",
            found: "deeper than 64".into(),
            expected: "the root at its top",
        };
        Err(error.in_object(MOS, object))
    }

    /// The snapshots of a head, by age.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn snapshots(&self, head: &Dataset) -> Result<Vec<Dataset>, Error> {
        head.snapshots(&self.mos()?)
    }

    fn head(
        &self,
        mos: &ObjectSet,
        name: &str,
        dir_object: ObjectId,
        dir: &dsl::Dir,
    ) -> Result<Option<Dataset>, Error> {
        // The directory of deferred frees has none.
        if dir.head_dataset == 0 {
            return Ok(None);
        }
        let object = ObjectId(dir.head_dataset);
        Ok(Some(Dataset {
            pool: self.clone(),
            name: name.to_owned(),
            kind: DatasetKind::Head,
            object,
            dir: dir.clone(),
            dir_object,
            dataset: read_dataset(mos, object)?,
        }))
    }
}

impl Dataset {
    /// The pool that it is in.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether ZFS keeps it for itself.
    pub fn is_hidden(&self) -> bool {
        self.name.contains(['$', '%'])
    }

    /// Its objects; `None` if it has no contents at all, as the origin of all
    /// datasets has none. Those of an encrypted dataset are read with its key if
    /// that was [given](Pool::add_secret); without it, what needs it is
    /// [`Error::Locked`].
    ///
    /// # Errors
    /// If the root of the object set cannot be read.
    pub fn objects(&self) -> Result<Option<ObjectSet>, Error> {
        if self.dataset.root.is_hole() {
            return Ok(None);
        }
        ObjectSet::open_with(&self.pool, &self.name, &self.dataset.root, self.access()?).map(Some)
    }

    /// Whether it is a volume, or a snapshot of one.
    ///
    /// # Errors
    /// If the root of the object set is needed to tell, and cannot be read.
    pub fn is_volume(&self) -> Result<bool, Error> {
        // A volume has two objects, a file system has more from the start: of most
        // datasets the root need not be read.
        const OBJECTS_OF_A_VOLUME: u64 = 2;
        if self.dataset.root.fill() > OBJECTS_OF_A_VOLUME {
            return Ok(false);
        }
        Ok(self.objects()?.is_some_and(|objects| objects.kind() == Some(Kind::Volume)))
    }

    /// Its own table, by name: features that it uses, and what else it came to have
    /// (`DS_FIELD_...`, `sys/dsl_dataset.h`).
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn table(&self) -> Result<BTreeMap<String, Entry>, Error> {
        entries_of(&self.pool.mos()?, self.object)
    }

    /// The bookmarks of a head by name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn bookmarks(&self) -> Result<Vec<(String, dsl::Bookmark)>, Error> {
        if self.kind == DatasetKind::Snapshot {
            return Ok(Vec::new());
        }
        let mos = self.pool.mos()?;
        let dataset = mos.object(self.object)?;
        if !dataset.dnode().object_type.is_zap() {
            return Ok(Vec::new());
        }
        let Some(names) = dataset.zap()?.number("com.delphix:bookmarks")? else { return Ok(Vec::new()) };
        let mut bookmarks = Vec::new();
        for (name, entry) in entries_of(&mos, ObjectId(names))? {
            let bookmark = dsl::Bookmark::from_words(&entry.values).ok_or(Error::Malformed {
                what: "a bookmark",
                found: format!("{} integers long", entry.values.len()),
                expected: "at least 3",
            });
            bookmarks.push((name, bookmark.map_err(|error| error.in_object(MOS, ObjectId(names)))?));
        }
        bookmarks.sort_by_key(|(_, bookmark)| bookmark.creation_txg);
        Ok(bookmarks)
    }

    /// The properties that are set here, by name; none that are inherited. A
    /// received value has the suffix `$recvd` (`ZPROP_RECVD_SUFFIX`).
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn properties(&self) -> Result<Vec<(String, PropertyValue)>, Error> {
        let object = match self.kind {
            DatasetKind::Head => self.dir.props,
            DatasetKind::Snapshot => self.dataset.props,
        };
        let properties = properties_in(&self.pool.mos()?, object)?;
        Ok(properties.into_iter().collect())
    }

    fn snapshot(&self, mos: &ObjectSet, name: &str, object: ObjectId) -> Result<Self, Error> {
        Ok(Self {
            name: format!("{}@{name}", self.name),
            kind: DatasetKind::Snapshot,
            object,
            dataset: read_dataset(mos, object)?,
            ..self.clone()
        })
    }

    fn snapshots(&self, mos: &ObjectSet) -> Result<Vec<Self>, Error> {
        if self.dataset.snapshot_names == 0 {
            return Ok(Vec::new());
        }
        let mut zap = mos.object(ObjectId(self.dataset.snapshot_names))?.zap()?;
        let mut snapshots = Vec::new();
        for entry in zap.iter() {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let object = ObjectId(entry.number().unwrap_or(0));
            snapshots.push(self.snapshot(mos, &name, object)?);
        }
        snapshots.sort_by_key(|snapshot| snapshot.dataset.creation_txg);
        Ok(snapshots)
    }
}

/// The properties in an object of the MOS, if it is one.
pub(crate) fn properties_in(mos: &ObjectSet, object: u64) -> Result<BTreeMap<String, PropertyValue>, Error> {
    if object == 0 {
        return Ok(BTreeMap::new());
    }
    let entries = entries_of(mos, ObjectId(object))?;
    Ok(entries.into_iter().map(|(name, entry)| (name, property_value(&entry))).collect())
}

/// The entries of a ZAP of the MOS; none if the object is no ZAP: what datasets and
/// directories come to have is there once they have something.
pub(crate) fn entries_of(mos: &ObjectSet, object: ObjectId) -> Result<BTreeMap<String, Entry>, Error> {
    let object = mos.object(object)?;
    if !object.dnode().object_type.is_zap() {
        return Ok(BTreeMap::new());
    }
    let mut zap = object.zap()?;
    zap.iter().map(|entry| entry.map(|entry| (String::from_utf8_lossy(&entry.name).into_owned(), entry))).collect()
}

/// The name under which a ZAP of the MOS has a number.
fn name_in(mos: &ObjectSet, names: u64, object: ObjectId) -> Result<String, Error> {
    if names != 0 {
        for entry in mos.object(ObjectId(names))?.zap()?.iter() {
            let entry = entry?;
            if entry.number() == Some(object.0) {
                return Ok(String::from_utf8_lossy(&entry.name).into_owned());
            }
        }
    }
    let error = Error::Malformed { what: "the name of a dataset", found: "missing".into(), expected: "an entry" };
    Err(error.in_object(MOS, object))
}

fn property_value(entry: &Entry) -> PropertyValue {
    match (entry.integer_size, entry.number(), entry.text()) {
        (1, _, Some(text)) => PropertyValue::Text(text),
        (_, Some(number), _) => PropertyValue::Number(number),
        _ => PropertyValue::Text(format!("{:x?}", entry.values)),
    }
}

/// The bonus buffer of an object of the MOS, if it is of a type.
fn bonus_of(mos: &ObjectSet, id: ObjectId, expected: ObjectType, name: &'static str) -> Result<Object, Error> {
    let object = mos.object(id)?;
    let found = object.dnode().bonus_type;
    if found == expected {
        return Ok(object);
    }
    let error = Error::Malformed { what: "type of the bonus buffer", found: found.to_string(), expected: name };
    Err(error.in_object(MOS, id))
}

pub(crate) fn read_dir(mos: &ObjectSet, id: ObjectId) -> Result<dsl::Dir, Error> {
    let object = bonus_of(mos, id, ObjectType::DSL_DIR, "DSL directory")?;
    dsl::Dir::read(&object.bonus()).map_err(Error::truncated("DSL directory")).map_err(|error| error.in_object(MOS, id))
}

pub(crate) fn read_dataset(mos: &ObjectSet, id: ObjectId) -> Result<dsl::Dataset, Error> {
    let object = bonus_of(mos, id, ObjectType::DSL_DATASET, "DSL dataset")?;
    dsl::Dataset::read(&object.bonus())
        .map_err(Error::truncated("DSL dataset"))
        .map_err(|error| error.in_object(MOS, id))
}

struct Lister<'a> {
    pool: &'a Pool,
    mos: ObjectSet,
    seen: HashSet<ObjectId>,
    found: Vec<Dataset>,
}

impl Lister<'_> {
    fn directory(&mut self, id: ObjectId, name: String, depth: usize) -> Result<(), Error> {
        if !self.seen.insert(id) || depth > MAX_DEPTH {
            let error = Error::Malformed {
                what: "the tree of DSL directories",
                found: format!("a loop at '{name}'"),
                expected: "each directory once",
            };
            return Err(error.in_object(MOS, id));
        }
        let dir = read_dir(&self.mos, id)?;
        if let Some(head) = self.pool.head(&self.mos, &name, id, &dir)? {
            let snapshots = head.snapshots(&self.mos)?;
            self.found.push(head);
            self.found.extend(snapshots);
        }
        if dir.child_map == 0 {
            return Ok(());
        }
        let mut children = Vec::new();
        let mut zap = self.mos.object(ObjectId(dir.child_map))?.zap()?;
        for entry in zap.iter() {
            let entry = entry?;
            let child = String::from_utf8_lossy(&entry.name).into_owned();
            children.push((child, ObjectId(entry.number().unwrap_or(0))));
        }
        children.sort();
        for (child, id) in children {
            self.directory(id, format!("{name}/{child}"), depth + 1)?;
        }
        Ok(())
    }
}
