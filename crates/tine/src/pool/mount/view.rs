//! The datasets of a pool as one tree of files: what is shown where, without a word about FUSE.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use zfs_ondisk::object::ObjectId;
use zfs_pool::fs::{Attributes, Contents, DirEntry, File, FileType, Time, Volume, Xattr};
use zfs_pool::{Dataset, DatasetKind, Error, FileSystem, Pool};

use super::super::describe;
use super::inode::{Node, Place, ROOT};

/// The name of the directory with the snapshots. It is found by its name and not listed, like that of ZFS itself, so
/// that who walks the tree does not read everything several times.
const CONTROL: &[u8] = b".zfs";
const SNAPSHOTS: &[u8] = b"snapshot";

/// Where the places of a directory's own entries begin, in a listing.
const OWN_ENTRIES: u64 = 1 << 62;

/// What is mounted.
pub(crate) struct View {
    datasets: BTreeMap<ObjectId, Entry>,
    root: ObjectId,
}

/// A dataset or snapshot.
struct Entry {
    dataset: Dataset,
    /// The dataset above, or that of which it is a snapshot; itself for the root of what is mounted.
    parent: ObjectId,
    /// File systems below it, by name.
    children: BTreeMap<Vec<u8>, ObjectId>,
    /// Its snapshots, by name.
    snapshots: BTreeMap<Vec<u8>, ObjectId>,
    /// Opened when it is first needed.
    inside: OnceLock<Result<Inside, Error>>,
}

/// What is in a dataset.
enum Inside {
    Files(FileSystem),
    Volume(Box<Volume>),
}

/// Why something of a view cannot be had.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// There is no such name.
    Missing,
    /// It is no directory.
    NotADirectory,
    /// It is a directory.
    IsADirectory,
    /// It is no symbolic link.
    NotALink,
    /// There is no such extended attribute.
    NoXattr,
    /// Its number is too large for an inode.
    Number,
    /// It cannot be read.
    Unreadable(String),
}

/// What stat(2) says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) number: u64,
    pub(crate) attributes: Attributes,
    /// Bytes on disk.
    pub(crate) used: u64,
    pub(crate) block_size: u64,
}

/// A name in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) number: u64,
    pub(crate) file_type: Option<FileType>,
    /// The place behind it.
    pub(crate) next: u64,
}

/// What statfs(2) says, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) referenced: u64,
    pub(crate) objects: u64,
}

/// A file or volume that was opened, with the block that was read last: large ones are not in the cache of the pool.
pub(crate) struct Open {
    contents: Contents,
    last: Mutex<Option<(u64, Arc<[u8]>)>>,
}

impl View {
    /// The view of a dataset and all file systems below it, or of a snapshot.
    pub(crate) fn new(pool: &Pool, name: &str) -> Result<View, Error> {
        let root = pool.dataset(name)?;
        let mut view = View { datasets: BTreeMap::new(), root: root.object };
        if root.kind == DatasetKind::Snapshot {
            view.add(root);
            return Ok(view);
        }
        let below = format!("{name}/");
        let snapshots = format!("{name}@");
        let mut found = pool.datasets()?;
        found
            .retain(|other| other.name == name || other.name.starts_with(&below) || other.name.starts_with(&snapshots));
        let by_name: BTreeMap<String, ObjectId> =
            found.iter().map(|dataset| (dataset.name.clone(), dataset.object)).collect();
        // Parents come before children and heads before their snapshots.
        for dataset in found {
            let (object, full) = (dataset.object, dataset.name.clone());
            view.add(dataset);
            let (above, own, is_snapshot) = match (full.rsplit_once('@'), full.rsplit_once('/')) {
                _ if full == name => continue,
                (Some((above, own)), _) => (above, own, true),
                (None, Some((above, own))) => (above, own, false),
                (None, None) => continue,
            };
            let above = by_name.get(above).copied().unwrap_or(view.root);
            let parent = view.datasets.contains_key(&above);
            if let (Some(entry), true) = (view.datasets.get_mut(&object), parent) {
                entry.parent = above;
            }
            match view.datasets.get_mut(&above) {
                Some(entry) if is_snapshot => _ = entry.snapshots.insert(own.as_bytes().to_vec(), object),
                Some(entry) => _ = entry.children.insert(own.as_bytes().to_vec(), object),
                None => {}
            }
        }
        Ok(view)
    }

    fn add(&mut self, dataset: Dataset) {
        let (object, parent) = (dataset.object, dataset.object);
        let entry =
            Entry { dataset, parent, children: BTreeMap::new(), snapshots: BTreeMap::new(), inside: OnceLock::new() };
        self.datasets.insert(object, entry);
    }

    /// The name of what is mounted.
    pub(crate) fn name(&self) -> &str {
        self.datasets.get(&self.root).map_or("?", |entry| &entry.dataset.name)
    }

    /// Opens the root, so that what is wrong with it is told at once.
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        self.entry(self.root)?.files()?.root().map(|_| ()).map_err(unreadable)
    }

    /// What a name in a directory leads to.
    pub(crate) fn lookup(&self, parent: u64, name: &[u8]) -> Result<Stat, Trouble> {
        let node = self.node(parent)?;
        let entry = self.entry(node.dataset)?;
        let found = match node.place {
            Place::Control if name == SNAPSHOTS => Node { place: Place::Snapshots, ..node },
            Place::Control => return Err(Trouble::Missing),
            Place::Volume => return Err(Trouble::NotADirectory),
            Place::Snapshots => self.root_of(*entry.snapshots.get(name).ok_or(Trouble::Missing)?)?,
            Place::Closed => self.at_root(entry, name)?.ok_or(Trouble::Missing)?,
            Place::File(object) => {
                let directory = self.file(entry, object)?;
                let special = if self.is_root(entry, object) { self.at_root(entry, name)? } else { None };
                match special {
                    Some(node) => node,
                    None if !directory.attributes().is_dir() => return Err(Trouble::NotADirectory),
                    None => {
                        let found = directory.directory().and_then(|mut names| names.lookup(name));
                        let found = found.map_err(unreadable)?.ok_or(Trouble::Missing)?;
                        Node { place: Place::File(found.object), ..node }
                    }
                }
            }
        };
        self.stat_node(found)
    }

    /// The attributes of a node.
    pub(crate) fn stat(&self, number: u64) -> Result<Stat, Trouble> {
        self.stat_node(self.node(number)?)
    }

    /// Names in a directory from a place on, 0 at first; none at the end.
    pub(crate) fn list(&self, number: u64, place: u64, most: usize) -> Result<Vec<Listed>, Trouble> {
        let node = self.node(number)?;
        let entry = self.entry(node.dataset)?;
        let is_root = match node.place {
            Place::File(object) => self.is_root(entry, object),
            Place::Closed => true,
            Place::Control | Place::Snapshots => false,
            Place::Volume => return Err(Trouble::NotADirectory),
        };
        let mut listed = Vec::new();
        if place < OWN_ENTRIES {
            let mut first = vec![(b".".to_vec(), Ok(node)), (b"..".to_vec(), self.above(node))];
            let children = entry.children.iter().filter(|_| is_root);
            let snapshots = entry.snapshots.iter().filter(|_| node.place == Place::Snapshots);
            for (name, &dataset) in children.chain(snapshots) {
                first.push((name.clone(), self.root_of(dataset)));
            }
            if node.place == Place::Control {
                first.push((SNAPSHOTS.to_vec(), Ok(Node { place: Place::Snapshots, ..node })));
            }
            let count = first.len();
            for (index, (name, node)) in first.into_iter().enumerate().skip(place as usize).take(most) {
                let next = if index + 1 == count { OWN_ENTRIES } else { index as u64 + 1 };
                let node = node?;
                let kind = if node.place == Place::Volume { FileType::Regular } else { FileType::Directory };
                listed.push(Listed { name, number: self.number(node)?, file_type: Some(kind), next });
            }
        }
        let at = listed.last().map_or(place, |last| last.next);
        let Place::File(object) = node.place else { return Ok(listed) };
        if at < OWN_ENTRIES || listed.len() >= most {
            return Ok(listed);
        }
        let mut names = self.file(entry, object)?.directory().map_err(|error| match error.cause() {
            Error::NotA(_) => Trouble::NotADirectory,
            _ => unreadable(error),
        })?;
        let mut at = at - OWN_ENTRIES;
        // A name that a dataset hides is left out: there may be nothing else in a part.
        while listed.len() < most {
            let found = names.entries_from(at, most - listed.len()).map_err(unreadable)?;
            let Some((_, next)) = found.last() else { break };
            at = *next;
            for (DirEntry { name, object, file_type }, next) in found {
                if is_root && entry.children.contains_key(&name) {
                    continue;
                }
                let number = self.number(Node { place: Place::File(object), ..node })?;
                listed.push(Listed { name, number, file_type, next: OWN_ENTRIES.saturating_add(next) });
            }
        }
        Ok(listed)
    }

    /// Why a directory shows nothing of the dataset that is in its place, if it does not.
    pub(crate) fn closed(&self, number: u64) -> Option<String> {
        let node = self.node(number).ok().filter(|node| node.place == Place::Closed)?;
        let entry = self.entry(node.dataset).ok()?;
        match entry.files().and_then(|files| files.root().map_err(unreadable)) {
            Err(Trouble::Unreadable(why)) => Some(format!("{} is not shown: {why}", entry.dataset.name)),
            _ => None,
        }
    }

    /// Opens a file for reading.
    pub(crate) fn open(&self, number: u64) -> Result<Open, Trouble> {
        match self.node(number)? {
            Node { dataset, place: Place::File(object) } => {
                let file = self.file(self.entry(dataset)?, object)?;
                if file.attributes().is_dir() { Err(Trouble::IsADirectory) } else { Ok(Open::new(file.contents())) }
            }
            Node { dataset, place: Place::Volume } => match self.entry(dataset)?.inside()? {
                Inside::Volume(volume) => Ok(Open::new(volume.contents().clone())),
                Inside::Files(_) => Err(Trouble::Missing),
            },
            _ => Err(Trouble::IsADirectory),
        }
    }

    /// The target of a symbolic link.
    pub(crate) fn link_target(&self, number: u64) -> Result<Vec<u8>, Trouble> {
        let file = self.file_of(number)?.ok_or(Trouble::NotALink)?;
        file.link_target().map_err(|error| match error.cause() {
            Error::NotA(_) => Trouble::NotALink,
            _ => unreadable(error),
        })
    }

    /// The extended attributes of a file, under the names that Linux gives them.
    pub(crate) fn xattrs(&self, number: u64) -> Result<Vec<Xattr>, Trouble> {
        let Some(file) = self.file_of(number)? else { return Ok(Vec::new()) };
        let named = |(name, value): Xattr| (describe::xattr_name(&name), value);
        Ok(file.xattrs().map_err(unreadable)?.into_iter().map(named).collect())
    }

    /// The value of an extended attribute.
    pub(crate) fn xattr(&self, number: u64, name: &[u8]) -> Result<Vec<u8>, Trouble> {
        let found = self.xattrs(number)?.into_iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value).ok_or(Trouble::NoXattr)
    }

    /// The space of the dataset that a node is in.
    pub(crate) fn space(&self, number: u64) -> Result<Space, Trouble> {
        let dataset = &self.entry(self.node(number)?.dataset)?.dataset.dataset;
        Ok(Space { referenced: dataset.referenced_bytes, objects: dataset.root.fill() })
    }

    fn node(&self, number: u64) -> Result<Node, Trouble> {
        if number == ROOT { self.root_of(self.root) } else { Node::from_number(number).ok_or(Trouble::Missing) }
    }

    fn number(&self, node: Node) -> Result<u64, Trouble> {
        if node.dataset == self.root && self.root_of(self.root)? == node {
            return Ok(ROOT);
        }
        node.number().ok_or(Trouble::Number)
    }

    fn entry(&self, dataset: ObjectId) -> Result<&Entry, Trouble> {
        self.datasets.get(&dataset).ok_or(Trouble::Missing)
    }

    /// The root directory of a dataset, or the volume that it is.
    fn root_of(&self, dataset: ObjectId) -> Result<Node, Trouble> {
        let place = match self.entry(dataset)?.inside() {
            Ok(Inside::Files(files)) => files.root().map_or(Place::Closed, |root| Place::File(root.object().id())),
            Ok(Inside::Volume(_)) => Place::Volume,
            Err(_) => Place::Closed,
        };
        Ok(Node { dataset, place })
    }

    fn is_root(&self, entry: &Entry, object: ObjectId) -> bool {
        self.root_of(entry.dataset.object).is_ok_and(|root| root.place == Place::File(object))
    }

    /// What a name leads to in a dataset's root, beside the files that are there.
    fn at_root(&self, entry: &Entry, name: &[u8]) -> Result<Option<Node>, Trouble> {
        if name == CONTROL && entry.dataset.kind == DatasetKind::Head {
            return Ok(Some(Node { dataset: entry.dataset.object, place: Place::Control }));
        }
        entry.children.get(name).map(|&child| self.root_of(child)).transpose()
    }

    /// The directory above one.
    fn above(&self, node: Node) -> Result<Node, Trouble> {
        let entry = self.entry(node.dataset)?;
        match node.place {
            Place::Control => self.root_of(node.dataset),
            Place::Snapshots => Ok(Node { place: Place::Control, ..node }),
            Place::File(object) if !self.is_root(entry, object) => {
                let parent = self.file(entry, object)?.attributes().parent;
                Ok(Node { place: Place::File(parent), ..node })
            }
            _ if entry.parent == node.dataset => Ok(node),
            Place::File(_) | Place::Volume | Place::Closed => match entry.dataset.kind {
                DatasetKind::Head => self.root_of(entry.parent),
                DatasetKind::Snapshot => Ok(Node { dataset: entry.parent, place: Place::Snapshots }),
            },
        }
    }

    fn file_of(&self, number: u64) -> Result<Option<File>, Trouble> {
        match self.node(number)? {
            Node { dataset, place: Place::File(object) } => self.file(self.entry(dataset)?, object).map(Some),
            _ => Ok(None),
        }
    }

    fn file(&self, entry: &Entry, object: ObjectId) -> Result<File, Trouble> {
        entry.files()?.file(object).map_err(unreadable)
    }

    fn stat_node(&self, node: Node) -> Result<Stat, Trouble> {
        let number = self.number(node)?;
        let entry = self.entry(node.dataset)?;
        if let Place::File(object) = node.place {
            let file = self.file(entry, object)?;
            let dnode = file.object().dnode();
            let block_size = dnode.data_block_size() as u64;
            return Ok(Stat { number, attributes: file.attributes().clone(), used: dnode.used_bytes(), block_size });
        }
        let time = Time { seconds: entry.dataset.dataset.creation_time as i64, nanoseconds: 0 };
        let times =
            Attributes { accessed: time, modified: time, changed: time, created: time, ..Attributes::default() };
        if node.place == Place::Volume
            && let Inside::Volume(volume) = entry.inside()?
        {
            let dnode = volume.contents().object().dnode();
            let attributes = Attributes { mode: 0o100_400, links: 1, size: volume.contents().size(), ..times };
            let block_size = dnode.data_block_size() as u64;
            return Ok(Stat { number, attributes, used: dnode.used_bytes(), block_size });
        }
        let attributes = Attributes { mode: 0o040_555, links: 2, size: 2, ..times };
        Ok(Stat { number, attributes, used: 0, block_size: 512 })
    }
}

impl Entry {
    fn inside(&self) -> Result<&Inside, Trouble> {
        let open = || match Volume::open(&self.dataset) {
            Ok(volume) => Ok(Inside::Volume(Box::new(volume))),
            Err(error) if matches!(error.cause(), Error::NotA(_)) => FileSystem::open(&self.dataset).map(Inside::Files),
            Err(error) => Err(error),
        };
        self.inside.get_or_init(open).as_ref().map_err(unreadable)
    }

    fn files(&self) -> Result<&FileSystem, Trouble> {
        match self.inside()? {
            Inside::Files(files) => Ok(files),
            Inside::Volume(_) => Err(Trouble::NotADirectory),
        }
    }
}

impl Open {
    fn new(contents: Contents) -> Self {
        Self { contents, last: Mutex::new(None) }
    }

    /// Up to `size` bytes from `offset` on; fewer at the end of the file only.
    pub(crate) fn read(&self, offset: u64, size: usize) -> Result<Vec<u8>, Trouble> {
        let length = self.contents.size();
        let size = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(size);
        let mut bytes = Vec::with_capacity(size);
        let block_size = self.block_size();
        while bytes.len() < size {
            let at = offset + bytes.len() as u64;
            let within = (at % block_size) as usize;
            let part = (block_size as usize - within).min(size - bytes.len());
            let block = self.block(at / block_size).map_err(unreadable)?;
            bytes.extend_from_slice(block.get(within..within + part).unwrap_or_default());
        }
        Ok(bytes)
    }

    /// Where data begins at or behind `offset`; `None` behind the last of it.
    pub(crate) fn data_from(&self, offset: u64) -> Result<Option<u64>, Trouble> {
        let (length, block_size) = (self.contents.size(), self.block_size());
        match self.contents.object().blocks_from(offset / block_size).next() {
            _ if offset >= length => Ok(None),
            Some(Ok((block, _))) => Ok(Some(offset.max(block.saturating_mul(block_size))).filter(|&at| at < length)),
            Some(Err(error)) => Err(unreadable(error)),
            None => Ok(None),
        }
    }

    /// Where a hole begins at or behind `offset`: at the end of the file, if there is none before.
    pub(crate) fn hole_from(&self, offset: u64) -> Result<Option<u64>, Trouble> {
        let (length, block_size) = (self.contents.size(), self.block_size());
        if offset >= length {
            return Ok(None);
        }
        let first = offset / block_size;
        let mut expected = first;
        for found in self.contents.object().blocks_from(first) {
            let (block, _) = found.map_err(unreadable)?;
            if block != expected {
                break;
            }
            expected += 1;
        }
        Ok(Some(offset.max(expected.saturating_mul(block_size)).min(length)))
    }

    fn block_size(&self) -> u64 {
        self.contents.object().dnode().data_block_size() as u64
    }

    fn block(&self, number: u64) -> Result<Arc<[u8]>, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, block)) = &*last
            && *known == number
        {
            return Ok(block.clone());
        }
        let block = self.contents.object().read_block(number)?;
        *last = Some((number, block.clone()));
        Ok(block)
    }
}

fn unreadable(error: impl std::fmt::Display) -> Trouble {
    Trouble::Unreadable(error.to_string())
}
