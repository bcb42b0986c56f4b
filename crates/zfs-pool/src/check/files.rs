//! File systems: directories, links, attributes, and space by owner.

use std::collections::{BTreeMap, HashMap, HashSet};

use zfs_ondisk::dnode::{FLAG_USEROBJUSED_ACCOUNTED, FLAG_USERUSED_ACCOUNTED, SLOT_SIZE};
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::objset::{self, Kind as SetKind};
use zfs_ondisk::sa::Attribute;
use zfs_ondisk::zap::Entry;
use zfs_ondisk::znode::{self, flag, master};

use super::{Checker, Kind};
use crate::error::Error;
use crate::fs::{File, FileSystem, FileType};
use crate::object::{Object, ObjectSet};

/// The attributes that kernels look for at fixed places in the bonus buffer
/// (`SA_MODE_OFFSET` and its neighbours, `sys/zfs_sa.h`).
const FIXED: &[Attribute] = &[
    Attribute::Mode,
    Attribute::Size,
    Attribute::Gen,
    Attribute::Uid,
    Attribute::Gid,
    Attribute::Parent,
    Attribute::Flags,
];

/// What is known of the files of a file system.
pub(super) struct Files {
    fs: FileSystem,
    files: HashMap<ObjectId, Known>,
    /// All names: the file, its directory, the type that the name says.
    names: Vec<Name>,
    /// Objects in the delete queue.
    deleted: HashSet<ObjectId>,
    /// Objects that the file system needs for itself.
    own: HashSet<ObjectId>,
    /// By user, group and project: bytes and objects.
    spent: [BTreeMap<u64, (u64, u64)>; 3],
    /// Where the findings of this file system begin.
    first_finding: usize,
}

/// A file, as its own attributes describe it.
struct Known {
    file_type: Option<FileType>,
    links: u64,
    parent: ObjectId,
    is_xattr_dir: bool,
    /// Directories in it, if it is one.
    subdirectories: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    file: ObjectId,
    directory: ObjectId,
    /// As [`FileType::from_number`] has it; 0 for a directory of extended
    /// attributes, which has no name.
    number: u8,
}

impl Checker<'_> {
    /// Begins to examine a file system; `None` if the object set is none.
    pub(super) fn open_files(&mut self, set: &ObjectSet) -> Option<Files> {
        if set.kind() != Some(SetKind::FileSystem) {
            return None;
        }
        let first_finding = self.report.findings.len();
        match FileSystem::from_objects(set.clone()) {
            Ok(fs) => {
                let own = self.own_objects(&fs);
                Some(Files {
                    fs,
                    files: HashMap::new(),
                    names: Vec::new(),
                    deleted: HashSet::new(),
                    own,
                    spent: Default::default(),
                    first_finding,
                })
            }
            Err(error) => {
                self.failed(set.name(), None, &error);
                None
            }
        }
    }

    /// The objects that the master node leads to, the root directory left out.
    fn own_objects(&mut self, fs: &FileSystem) -> HashSet<ObjectId> {
        let mut own = HashSet::from([ObjectId(master::OBJECT)]);
        let set = fs.objects();
        let mut queue = vec![(ObjectId(master::OBJECT), true)];
        while let Some((id, is_master)) = queue.pop() {
            let entries = || -> Result<Vec<Entry>, Error> { set.object(id)?.zap()?.iter().collect() };
            // What cannot be read is found with the object itself.
            for entry in entries().unwrap_or_default() {
                let Some(number) = entry.number().map(ObjectId) else { continue };
                let name = entry.name;
                let leads_on = name == master::SA_ATTRS.as_bytes();
                let is_object = !is_master
                    || leads_on
                    || [master::DELETE_QUEUE.as_bytes(), b"FUID", b"SHARES"].contains(&name.as_slice())
                    || name.contains(&b'@');
                if is_object && own.insert(number) && leads_on {
                    queue.push((number, false));
                }
            }
        }
        own
    }

    /// Examines an object of a file system.
    pub(super) fn file_system_object(&mut self, files: &mut Files, object: &Object) {
        let dnode = object.dnode();
        let id = object.id();
        if matches!(dnode.bonus_type, ObjectType::SA | ObjectType::ZNODE) {
            return match files.fs.file_of(object.clone()) {
                Ok(file) => self.file(files, &file),
                Err(error) => self.failed(object.set().name(), Some(id), &error),
            };
        }
        if !files.own.contains(&id) && !matches!(dnode.object_type, ObjectType::ACL | ObjectType::OLDACL) {
            let message = format!("nothing refers to this object ({})", dnode.object_type);
            self.finding(Kind::Directory, object.set().name(), Some(id), message);
        }
        if !dnode.object_type.is_zap() {
            return;
        }
        let is_queue = files.fs.delete_queue() == Some(id);
        self.zap(object, |_, entry| {
            if is_queue {
                files.deleted.extend(entry.number().map(ObjectId));
            }
        });
    }

    fn file(&mut self, files: &mut Files, file: &File) {
        let object = file.object();
        let attributes = file.attributes();
        let id = object.id();
        let name = object.set().name().to_owned();
        let file_type = attributes.file_type();
        let mut faults = Vec::new();
        let is_zap = object.dnode().object_type == ObjectType::DIRECTORY_CONTENTS;
        if attributes.is_dir() != is_zap || file_type.is_none() {
            faults.push(format!("the mode is {:o}, the object {}", attributes.mode, object.dnode().object_type));
        }
        fixed_places(file, &mut faults);
        contents(file, &mut faults);
        for fault in faults {
            self.finding(Kind::Attributes, &name, Some(id), fault);
        }
        for error in [file.xattrs().err(), file.acl().err()].into_iter().flatten() {
            self.failed(&name, Some(id), &error);
        }
        if let Some(directory) = attributes.xattr_dir {
            files.names.push(Name { file: directory, directory: id, number: 0 });
        }
        let mut known = Known {
            file_type,
            links: attributes.links,
            parent: attributes.parent,
            is_xattr_dir: attributes.is_dir() && attributes.flags & flag::XATTR != 0,
            subdirectories: 0,
        };
        if is_zap {
            let mut count = 0;
            self.zap(object, |checker, entry| {
                count += 1;
                let Some(value) = entry.number() else {
                    let message = "a directory entry is not one integer";
                    return checker.finding(Kind::Directory, object.set().name(), Some(id), message);
                };
                let (number, file) = znode::parse_dirent(value);
                known.subdirectories += u64::from(FileType::from_number(number) == Some(FileType::Directory));
                files.names.push(Name { file, directory: id, number });
            });
            if attributes.size != count + 2 {
                let message = format!("the size is {}, expected {} for its entries", attributes.size, count + 2);
                self.finding(Kind::Directory, &name, Some(id), message);
            }
        }
        files.files.insert(id, known);
        self.account(files, file);
    }

    fn account(&mut self, files: &mut Files, file: &File) {
        let object = file.object();
        let dnode = object.dnode();
        let attributes = file.attributes();
        let complete = object.set().root().flags;
        for (flag, whole) in [
            (FLAG_USERUSED_ACCOUNTED, objset::FLAG_USERACCOUNTING_COMPLETE),
            (FLAG_USEROBJUSED_ACCOUNTED, objset::FLAG_USEROBJACCOUNTING_COMPLETE),
        ] {
            if complete & whole != 0 && dnode.flags & flag == 0 {
                let message = "the file is not accounted for, but the file system says that all are";
                self.finding(Kind::Accounting, object.set().name(), Some(object.id()), message);
            }
        }
        // A dnode counts as the smallest one, whatever its size.
        let bytes = if dnode.flags & FLAG_USERUSED_ACCOUNTED != 0 {
            dnode.used_bytes().saturating_add(SLOT_SIZE as u64)
        } else {
            0
        };
        let objects = u64::from(dnode.flags & FLAG_USEROBJUSED_ACCOUNTED != 0);
        let owners = [attributes.uid, attributes.gid, attributes.project.unwrap_or(0)];
        for (spent, owner) in files.spent.iter_mut().zip(owners) {
            let sum = spent.entry(owner).or_default();
            *sum = (sum.0.wrapping_add(bytes), sum.1 + objects);
        }
    }

    /// Compares what was met with what the files say of each other.
    pub(super) fn finish_files(&mut self, mut files: Files, set: &ObjectSet) {
        let name = set.name();
        files.names.sort_unstable();
        for names in files.names.chunk_by(|a, b| a.file == b.file) {
            let id = names[0].file;
            match files.files.get(&id) {
                Some(known) => self.file_names(name, id, known, names),
                None => {
                    let directory = names[0].directory;
                    let message = format!("it has an entry for object {id}, which is no file");
                    self.finding(Kind::Directory, name, Some(directory), message);
                }
            }
        }
        let named: HashSet<ObjectId> = files.names.iter().map(|name| name.file).collect();
        let mut nameless: Vec<_> = files.files.iter().filter(|(id, _)| !named.contains(id)).collect();
        nameless.sort_by_key(|(id, _)| **id);
        for (&id, known) in nameless {
            if id == files.fs.root_id() {
                self.link_count(name, id, known, 2 + known.subdirectories);
                if known.parent != id {
                    let message = format!("the root's parent is {}, expected itself", known.parent);
                    self.finding(Kind::Attributes, name, Some(id), message);
                }
            } else if files.deleted.contains(&id) {
                self.link_count(name, id, known, 0);
            } else if !files.own.contains(&id) {
                self.finding(Kind::Directory, name, Some(id), "the file has no name and is not in the delete queue");
            }
        }
        self.accounting(&files, set);
        let first = files.first_finding;
        self.add_paths(&files.fs, first);
    }

    fn file_names(&mut self, set: &str, id: ObjectId, known: &Known, names: &[Name]) {
        if known.file_type == Some(FileType::Directory) {
            if names.len() > 1 {
                self.finding(Kind::Directory, set, Some(id), format!("the directory has {} names", names.len()));
            }
            self.link_count(set, id, known, 2 + known.subdirectories);
        } else {
            self.link_count(set, id, known, names.len() as u64);
        }
        if names.iter().all(|name| name.directory != known.parent) {
            let message = format!("its parent is {}, but its name is in {}", known.parent, names[0].directory);
            self.finding(Kind::Attributes, set, Some(id), message);
        }
        for entry in names {
            if (entry.number == 0) != known.is_xattr_dir {
                let message = "it is a directory of extended attributes with a name, or a file without one";
                self.finding(Kind::Directory, set, Some(id), message);
            } else if entry.number != 0 && FileType::from_number(entry.number) != known.file_type {
                let message = format!(
                    "its entry for object {id} says {:?}, the file is {:?}",
                    FileType::from_number(entry.number),
                    known.file_type
                );
                self.finding(Kind::Directory, set, Some(entry.directory), message);
            }
        }
    }

    fn link_count(&mut self, set: &str, id: ObjectId, known: &Known, expected: u64) {
        if known.links != expected {
            let message = format!("the link count is {}, expected {expected}", known.links);
            self.finding(Kind::Directory, set, Some(id), message);
        }
    }

    /// Compares the tables of space by user, group and project.
    fn accounting(&mut self, files: &Files, set: &ObjectSet) {
        let what = ["user", "group", "project"];
        for ((table, spent), what) in set.accounting().into_iter().zip(&files.spent).zip(what) {
            let Some(table) = table else { continue };
            let mut expected: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
            for (owner, (bytes, objects)) in spent {
                expected.insert(format!("{owner:x}").into(), *bytes);
                expected.insert(format!("obj-{owner:x}").into(), *objects);
            }
            expected.retain(|_, number| *number != 0);
            let recorded = || -> Result<BTreeMap<Vec<u8>, u64>, Error> {
                let mut zap = table.zap()?;
                zap.iter().map(|entry| entry.map(|entry| (entry.name.clone(), entry.number().unwrap_or(0)))).collect()
            };
            // What cannot be read is found with the table itself.
            let Ok(recorded) = recorded() else { continue };
            let names: HashSet<&Vec<u8>> = recorded.keys().chain(expected.keys()).collect();
            let mut names: Vec<_> = names.into_iter().collect();
            names.sort();
            for name in names {
                let (found, sum) = (recorded.get(name), expected.get(name));
                if found != sum {
                    let message = format!(
                        "{what} table, {}: {} recorded, the sum of the files is {}",
                        String::from_utf8_lossy(name),
                        found.unwrap_or(&0),
                        sum.unwrap_or(&0)
                    );
                    self.finding(Kind::Accounting, set.name(), Some(table.id()), message);
                }
            }
        }
    }
}

/// Kernels read some attributes at fixed places, whatever the layout says.
fn fixed_places(file: &File, faults: &mut Vec<String>) {
    if file.object().dnode().bonus_type != ObjectType::SA {
        return;
    }
    let Ok(attributes) = file.bonus_attributes() else { return };
    let found: Vec<&str> = attributes.iter().map(|(name, _)| *name).take(FIXED.len()).collect();
    let expected: Vec<&str> = FIXED.iter().map(|attribute| attribute.name()).collect();
    if found != expected {
        faults.push(format!("the attributes begin with {found:?}, expected {expected:?}"));
    }
    let varies = |name: &str| Attribute::ALL.iter().any(|known| known.name() == name && known.size() == 0);
    let varying = attributes.iter().filter(|(name, _)| varies(name)).count();
    let stored = crate::fs::sa_view(file.object().bonus().as_bytes()).u16(4).unwrap_or(0) >> 10;
    let needed = (6 + 2 * varying).next_multiple_of(8).max(8) / 8;
    if usize::from(stored) != needed {
        faults.push(format!("the header of the attributes has {} bytes, expected {}", stored * 8, needed * 8));
    }
}

/// What the attributes say about the contents.
fn contents(file: &File, faults: &mut Vec<String>) {
    let attributes = file.attributes();
    let dnode = file.object().dnode();
    match attributes.file_type() {
        Some(FileType::Regular) => {
            let start = dnode.max_block_id.saturating_mul(dnode.data_block_size() as u64);
            let last = file.object().block_pointer(dnode.max_block_id);
            if start >= attributes.size && start != 0 && last.is_ok_and(|last| !last.is_hole()) {
                faults.push(format!("block {} is beyond its end, {}", dnode.max_block_id, attributes.size));
            }
        }
        Some(FileType::Symlink) => {
            if let Ok(target) = file.link_target()
                && target.len() as u64 != attributes.size
            {
                faults.push(format!("the size is {}, the target has {} bytes", attributes.size, target.len()));
            }
        }
        _ => {}
    }
    if let (Some(count), Ok(Some(acl))) = (attributes.acl_count, file.acl())
        && count != acl.len() as u64
    {
        faults.push(format!("the access control list has {} entries, its count is {count}", acl.len()));
    }
    let times = [attributes.accessed, attributes.modified, attributes.changed, attributes.created];
    if times.iter().any(|time| time.nanoseconds >= 1_000_000_000) {
        faults.push("a time has a second or more in its nanoseconds".into());
    }
}
