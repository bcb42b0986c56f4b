//! A tree being put together: entries and inodes in the order they came, merged by path.
//!
//! Removal is lazy. Replacing a directory only cuts its entry; what lay below can no longer be reached
//! from the root and is dropped when the draft is finished.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::acl::Ace;
use crate::error::{Error, PathBytes, Warning};
use crate::mode::ModeChange;
use crate::names::{NameRef, Names};
use crate::node::{Kind, Timestamp, Xattr};
use crate::places::Places;
use crate::source::Source;

/// "No such number" in every table of 32-bit numbers.
pub(crate) const NONE: u32 = u32::MAX;
/// The root's inode number.
pub(crate) const ROOT: u32 = 0;
/// Longest file name in bytes (`NAME_MAX`).
pub(crate) const NAME_MAX: usize = 255;
/// Longest symbolic link target in bytes: FreeBSD's `MAXPATHLEN` less the terminating NUL.
pub(crate) const TARGET_MAX: usize = 1023;

/// What depends on a node's type.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Data {
    /// `place` is an index into the table of places, or `NONE` for a file at its tree path below its source's root.
    File { size: u64, place: u32 },
    /// The entries `first .. first + count` of the finished tree.
    Directory { first: u32, count: u32 },
    /// Where the target stands in the table of targets.
    Symlink { at: u32, length: u32 },
    /// A device.
    Device { block: bool, major: u32, minor: u32 },
    /// A FIFO.
    Fifo,
}

/// One node. The fields are plain numbers so that a node takes 48 bytes.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) data: Data,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) flags: u32,
    pub(crate) links: u32,
    pub(crate) mode: u16,
    pub(crate) source: u16,
}

const _: () = assert!(size_of::<Inode>() == 48);

impl Inode {
    /// A directory as it is made where no source says more: mode 0755, root:wheel, time 0.
    pub(crate) fn default_directory() -> Inode {
        Inode {
            data: Data::Directory { first: 0, count: 0 },
            seconds: 0,
            nanoseconds: 0,
            uid: 0,
            gid: 0,
            flags: 0,
            links: 0,
            mode: 0o755,
            source: 0,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.data {
            Data::File { .. } => Kind::File,
            Data::Directory { .. } => Kind::Directory,
            Data::Symlink { .. } => Kind::Symlink,
            Data::Device { block: true, .. } => Kind::BlockDevice,
            Data::Device { block: false, .. } => Kind::CharDevice,
            Data::Fifo => Kind::Fifo,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.data, Data::Directory { .. })
    }

    pub(crate) fn mtime(&self) -> Timestamp {
        Timestamp { seconds: self.seconds, nanoseconds: self.nanoseconds }
    }

    pub(crate) fn set_mtime(&mut self, time: Timestamp) {
        self.seconds = time.seconds;
        self.nanoseconds = time.nanoseconds;
    }
}

/// A name in a directory. `inode` is `NONE` once the entry was removed.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Dirent {
    pub(crate) parent: u32,
    pub(crate) name: NameRef,
    pub(crate) inode: u32,
}

/// Where a node went.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Put {
    pub(crate) inode: u32,
    pub(crate) name: NameRef,
    /// Whether the node is another than was there before, if any was.
    pub(crate) new: bool,
}

/// Attributes that override what the sources say.
#[derive(Clone, Default, Debug)]
pub(crate) struct Overrides {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<ModeChange>,
}

pub(crate) struct Draft {
    pub(crate) names: Names,
    pub(crate) entries: Vec<Dirent>,
    pub(crate) inodes: Vec<Inode>,
    pub(crate) targets: Vec<u8>,
    pub(crate) xattrs: HashMap<u32, Box<[Xattr]>>,
    pub(crate) acls: HashMap<u32, Box<[Ace]>>,
    pub(crate) places: Places,
    pub(crate) sources: Vec<Source>,
    pub(crate) warnings: Vec<Warning>,
    /// A source has begun and not ended: what there is of it must not pass for the whole.
    pub(crate) incomplete: bool,
    overrides: Overrides,
    /// From (parent, name) to an entry. Made when it is first needed: a single directory source never asks.
    index: Option<HashTable<u32>>,
    /// Randomly keyed, because names may be chosen by an enemy.
    hasher: RandomState,
}

impl Draft {
    pub(crate) fn new(overrides: Overrides) -> Draft {
        let mut draft = Draft {
            names: Names::default(),
            entries: Vec::new(),
            inodes: Vec::new(),
            targets: Vec::new(),
            xattrs: HashMap::new(),
            acls: HashMap::new(),
            places: Places::default(),
            sources: Vec::new(),
            warnings: Vec::new(),
            incomplete: false,
            overrides,
            index: None,
            hasher: RandomState::new(),
        };
        let root = draft.overridden(Inode::default_directory());
        draft.inodes.push(root);
        draft
    }

    /// Begins a source and gives the number that its inodes carry.
    pub(crate) fn begin_source(&mut self) -> Result<u16, Error> {
        if self.incomplete {
            return Err(Error::Incomplete);
        }
        let number = self.sources.len();
        let number = u16::try_from(number).map_err(|_| Error::TooMany { what: "sources" })?;
        self.incomplete = true;
        Ok(number)
    }

    /// Ends the source that was begun and registers where its contents are.
    pub(crate) fn end_source(&mut self, source: Source) {
        self.sources.push(source);
        self.incomplete = false;
    }

    /// Stores a symbolic link's target. `path` names the link in an error.
    pub(crate) fn add_target(&mut self, target: &[u8], path: &[u8]) -> Result<Data, Error> {
        if target.len() > TARGET_MAX {
            return Err(Error::TargetTooLong { path: PathBytes::new(path), length: target.len() });
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Error::InvalidName { path: PathBytes::new(path) });
        }
        let at = number(self.targets.len(), "bytes of symbolic links")?;
        self.targets.extend_from_slice(target);
        Ok(Data::Symlink { at, length: target.len() as u32 })
    }

    /// The attributes of the root are taken from `inode`.
    pub(crate) fn set_root(&mut self, inode: Inode) -> Result<(), Error> {
        if !inode.is_directory() {
            return Err(Error::RootNotDirectory);
        }
        self.replace_attributes(ROOT, inode);
        Ok(())
    }

    pub(crate) fn is_directory(&self, inode: u32) -> bool {
        self.inodes[inode as usize].is_directory()
    }

    /// The time of an inode.
    pub(crate) fn mtime(&self, inode: u32) -> Timestamp {
        self.inodes[inode as usize].mtime()
    }

    /// The inode that `name` in the directory `parent` leads to.
    pub(crate) fn lookup(&mut self, parent: u32, name: &[u8]) -> Option<u32> {
        let entry = self.find(parent, name)?;
        Some(self.entries[entry as usize].inode)
    }

    /// Adds a node by the merging rule: a directory on a directory changes its attributes, anything else replaces
    /// what was there. `fresh` promises that the name is not there yet. `path` names the node in an error.
    pub(crate) fn put(
        &mut self,
        parent: u32,
        name: &[u8],
        inode: Inode,
        path: &[u8],
        fresh: bool,
    ) -> Result<Put, Error> {
        let found = if fresh { None } else { self.find(parent, name) };
        let Some(entry) = found else {
            let new = self.add_inode(inode)?;
            let name = self.push_entry(parent, name, new, path)?;
            return Ok(Put { inode: new, name, new: true });
        };
        let Dirent { name, inode: existing, .. } = self.entries[entry as usize];
        if inode.is_directory() && self.inodes[existing as usize].is_directory() {
            self.replace_attributes(existing, inode);
            return Ok(Put { inode: existing, name, new: false });
        }
        let new = self.add_inode(inode)?;
        self.entries[entry as usize].inode = new;
        Ok(Put { inode: new, name, new: true })
    }

    /// Adds another name for an inode, replacing what was at that name.
    pub(crate) fn link(&mut self, parent: u32, name: &[u8], inode: u32, path: &[u8], fresh: bool) -> Result<(), Error> {
        let found = if fresh { None } else { self.find(parent, name) };
        match found {
            Some(entry) => self.entries[entry as usize].inode = inode,
            None => {
                self.push_entry(parent, name, inode, path)?;
            }
        }
        Ok(())
    }

    /// Notes that a file's contents are found at `path`, one of its names now, below its source's directory. Needed
    /// before it gets a name that its source does not know.
    pub(crate) fn pin_place(&mut self, inode: u32, path: &[u8]) -> Result<(), Error> {
        let Inode { data: Data::File { size, place }, .. } = self.inodes[inode as usize] else {
            return Ok(());
        };
        if place == NONE {
            let mtime = self.inodes[inode as usize].mtime();
            let place = self.places.add_file(Some(path), mtime)?;
            self.inodes[inode as usize].data = Data::File { size, place };
            return Ok(());
        }
        self.places.pin(place, path)
    }

    /// Adds an inode without a name.
    pub(crate) fn add_inode(&mut self, inode: Inode) -> Result<u32, Error> {
        let number = number(self.inodes.len(), "files")?;
        let inode = self.overridden(inode);
        self.inodes.push(inode);
        Ok(number)
    }

    /// Replaces all but the type of an inode, extended attributes and ACL included.
    pub(crate) fn replace_attributes(&mut self, number: u32, inode: Inode) {
        let inode = self.overridden(inode);
        self.inodes[number as usize] = inode;
        self.xattrs.remove(&number);
        self.acls.remove(&number);
    }

    /// Frees what is needed only for adding.
    pub(crate) fn drop_index(&mut self) {
        self.index = None;
    }

    fn overridden(&self, mut inode: Inode) -> Inode {
        inode.uid = self.overrides.uid.unwrap_or(inode.uid);
        inode.gid = self.overrides.gid.unwrap_or(inode.gid);
        inode.mode &= 0o7777;
        if let Some(change) = &self.overrides.mode {
            // A symbolic link's mode means nothing; chmod(1) leaves it alone.
            if !matches!(inode.data, Data::Symlink { .. }) {
                inode.mode = change.apply(inode.mode, inode.is_directory());
            }
        }
        inode
    }

    fn push_entry(&mut self, parent: u32, name: &[u8], inode: u32, path: &[u8]) -> Result<NameRef, Error> {
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong { path: PathBytes::new(path), length: name.len() });
        }
        if name.is_empty() || name == b"." || name == b".." || name.contains(&0) || name.contains(&b'/') {
            return Err(Error::InvalidName { path: PathBytes::new(path) });
        }
        let entry = number(self.entries.len(), "file names")?;
        let stored = self.names.push(name)?;
        self.entries.push(Dirent { parent, name: stored, inode });
        if let Some(index) = &mut self.index {
            let hash = self.hasher.hash_one((parent, name));
            let (hasher, entries, names) = (&self.hasher, &self.entries, &self.names);
            index.insert_unique(hash, entry, |&entry| hash_entry(hasher, names, &entries[entry as usize]));
        }
        Ok(stored)
    }

    fn find(&mut self, parent: u32, name: &[u8]) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        if self.index.is_none() {
            self.index = Some(self.make_index());
        }
        let (entries, names) = (&self.entries, &self.names);
        let hash = self.hasher.hash_one((parent, name));
        let found = self.index.as_ref()?.find(hash, |&entry| {
            let entry = &entries[entry as usize];
            entry.parent == parent && names.get(entry.name) == name
        })?;
        Some(*found)
    }

    fn make_index(&self) -> HashTable<u32> {
        let mut index = HashTable::with_capacity(self.entries.len());
        for (number, entry) in self.entries.iter().enumerate() {
            if entry.inode != NONE {
                let hash = hash_entry(&self.hasher, &self.names, entry);
                index.insert_unique(hash, number as u32, |&other| {
                    hash_entry(&self.hasher, &self.names, &self.entries[other as usize])
                });
            }
        }
        index
    }
}

fn hash_entry(hasher: &RandomState, names: &Names, entry: &Dirent) -> u64 {
    hasher.hash_one((entry.parent, names.get(entry.name)))
}

/// A table's next index, which must stay below `NONE`.
pub(crate) fn number(length: usize, what: &'static str) -> Result<u32, Error> {
    u32::try_from(length).ok().filter(|&number| number != NONE).ok_or(Error::TooMany { what })
}
