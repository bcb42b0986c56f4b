//! File systems: directories, links, attributes, and space by owner.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::Path;

use zfs_ondisk::dnode::{FLAG_USEROBJUSED_ACCOUNTED, FLAG_USERUSED_ACCOUNTED, SLOT_SIZE};
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::objset::{self, Kind as SetKind};
use zfs_ondisk::sa::Attribute;
use zfs_ondisk::zap::Entry;
use zfs_ondisk::znode::{self, flag, master};

use super::Checker;
use super::batch::{Batch, Spent, part};
use super::findings::Kind;
use super::tree::Set;
use crate::error::Error;
use crate::fs::{File, FileSystem, FileType};
use crate::object::{Object, ObjectSet};
use crate::spill::{Sorted, Sorter};

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

/// A file system being examined.
pub(super) struct Files {
    pub(super) fs: FileSystem,
    /// Objects that the file system needs for itself.
    own: HashSet<ObjectId>,
}

/// A name: the file; the directory shifted left by 8 bits, and the type that the name says as
/// [`FileType::from_number`] has it, or one of the numbers below.
pub(super) type NameRecord = [u64; 2];

/// The first version of the ZFS POSIX layer did not say types.
const UNSAID: u8 = 0;
/// A directory of extended attributes, which has no name.
const XATTR_DIRECTORY: u8 = 254;
/// An entry of the delete queue.
const DELETED: u8 = 255;

/// A file, as its own attributes describe it: its object, its links, its parent; the number of its type, whether it is
/// a directory of extended attributes (bit 8), whether not all types of its entries are said (bit 9), and the
/// directories in it (from bit 16 on).
pub(super) type FileRecord = [u64; 4];

/// All names and files of a file system, to be compared.
pub(super) struct Tables {
    names: Sorter<2>,
    files: Sorter<4>,
    spent: Spent,
}

impl Tables {
    pub(super) fn new(memory: usize, scratch: &Path) -> Self {
        let sorter_memory = memory / 2;
        Self {
            names: Sorter::new(sorter_memory, scratch),
            files: Sorter::new(sorter_memory, scratch),
            spent: Spent::default(),
        }
    }

    /// Takes over what a job found.
    pub(super) fn merge(&mut self, batch: &mut Batch) -> io::Result<()> {
        for (all, part) in self.spent.iter_mut().zip(std::mem::take(&mut batch.spent)) {
            for (owner, (bytes, objects)) in part {
                let sum = all.entry(owner).or_default();
                *sum = (sum.0.wrapping_add(bytes), sum.1 + objects);
            }
        }
        self.names.extend(&batch.names)?;
        self.files.extend(&batch.files)?;
        batch.names.clear();
        batch.files.clear();
        Ok(())
    }
}

/// A file of which the names are compared.
struct Known {
    id: ObjectId,
    file_type: Option<FileType>,
    links: u64,
    parent: ObjectId,
    is_xattr_dir: bool,
    /// Directories in it, if that can be told from its entries.
    subdirectories: Option<u64>,
}

impl Known {
    fn new(&[id, links, parent, rest]: &FileRecord) -> Self {
        Self {
            id: ObjectId(id),
            file_type: FileType::from_number(rest as u8),
            links,
            parent: ObjectId(parent),
            is_xattr_dir: rest >> 8 & 1 != 0,
            subdirectories: (rest >> 9 & 1 == 0).then_some(rest >> 16),
        }
    }
}

impl Checker<'_> {
    /// Begins to examine a file system; `None` if the object set is none.
    pub(super) fn open_files(&self, set: &ObjectSet, batch: &mut Batch) -> Option<Files> {
        if set.kind() != Some(SetKind::FileSystem) {
            return None;
        }
        if let Some(lock) = set.lock() {
            let message = format!("{lock}: only checksums and block trees were examined");
            batch.finding(Kind::NotChecked, None, message);
            return None;
        }
        match FileSystem::from_objects(set.clone()) {
            Ok(fs) => {
                let own = own_objects(&fs);
                Some(Files { fs, own })
            }
            Err(error) => {
                batch.failed(None, &error);
                None
            }
        }
    }

    /// Examines an object of a file system.
    pub(super) fn file_system_object(&self, set: &Set, files: &Files, object: &Object, batch: &mut Batch) {
        let dnode = object.dnode();
        let id = object.id();
        if matches!(dnode.bonus_type, ObjectType::SA | ObjectType::ZNODE) {
            return match files.fs.file_of(object.clone()) {
                Ok(file) => self.file(set, &file, batch),
                Err(error) => batch.failed(Some(id), &error),
            };
        }
        if !files.own.contains(&id) && !matches!(dnode.object_type, ObjectType::ACL | ObjectType::OLDACL) {
            let message = format!("nothing refers to this object ({})", dnode.object_type);
            batch.finding(Kind::Directory, Some(id), message);
        }
        if !dnode.object_type.is_zap() {
            return;
        }
        let is_queue = files.fs.delete_queue() == Some(id);
        self.zap(object, batch, |batch, entry| {
            if is_queue && let Some(file) = entry.number() {
                batch.names.push([file, id.0 << 8 | u64::from(DELETED)]);
                self.hand_in(set, batch);
            }
        });
    }

    fn file(&self, set: &Set, file: &File, batch: &mut Batch) {
        let object = file.object();
        let attributes = file.attributes();
        let id = object.id();
        let file_type = attributes.file_type();
        let mut faults = Vec::new();
        let is_zap = object.dnode().object_type == ObjectType::DIRECTORY_CONTENTS;
        if attributes.is_dir() != is_zap || file_type.is_none() {
            faults.push(format!("the mode is {:o}, the object {}", attributes.mode, object.dnode().object_type));
        }
        fixed_places(file, &mut faults);
        contents(file, &mut faults);
        for fault in faults {
            batch.finding(Kind::Attributes, Some(id), fault);
        }
        for error in [file.system_xattrs().err(), file.acl().err()].into_iter().flatten() {
            batch.failed(Some(id), &error);
        }
        if let Some(directory) = attributes.xattr_dir {
            batch.names.push([directory.0, id.0 << 8 | u64::from(XATTR_DIRECTORY)]);
        }
        let is_xattr_dir = attributes.is_dir() && attributes.flags & flag::XATTR != 0;
        let (mut subdirectories, mut unsaid) = (0, false);
        if is_zap {
            let mut count = 0;
            self.zap(object, batch, |batch, entry| {
                count += 1;
                let Some(value) = entry.number() else {
                    return batch.finding(Kind::Directory, Some(id), "a directory entry is not one integer");
                };
                let (number, file) = znode::parse_dirent(value);
                unsaid |= number == UNSAID;
                subdirectories += u64::from(FileType::from_number(number) == Some(FileType::Directory));
                batch.names.push([file.0, id.0 << 8 | u64::from(number)]);
                self.hand_in(set, batch);
            });
            if attributes.size != count + 2 {
                let message = format!("the size is {}, expected {} for its entries", attributes.size, count + 2);
                batch.finding(Kind::Directory, Some(id), message);
            }
        }
        let flags = u64::from(is_xattr_dir) << 8 | u64::from(unsaid) << 9;
        let rest = u64::from(znode::dirent_type(attributes.mode)) | flags | subdirectories << 16;
        batch.files.push([id.0, attributes.links, attributes.parent.0, rest]);
        account(file, batch);
    }

    /// Compares what was met with what the files say of each other.
    /// If not all is `complete`, only what is lost can be told.
    pub(super) fn compare_files(
        &self,
        files: &Files,
        tables: Tables,
        set: &ObjectSet,
        complete: bool,
        batch: &mut Batch,
    ) {
        let Tables { names, files: records, spent } = tables;
        let result = names.sorted().and_then(|mut names| {
            let mut records = records.sorted()?;
            while let Some(known) = records.next()?.map(|record| Known::new(&record)) {
                dangling(&mut names, known.id.0, batch)?;
                compare_names(files, &known, complete, &mut names, batch)?;
            }
            dangling(&mut names, u64::MAX, batch)
        });
        self.scratch(result);
        if complete {
            accounting(&spent, set, batch);
        }
    }
}

/// The objects that the master node leads to, the root directory left out.
fn own_objects(fs: &FileSystem) -> HashSet<ObjectId> {
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

/// Takes the names of files before object `end`, which do not exist.
fn dangling(names: &mut Sorted<2>, end: u64, batch: &mut Batch) -> io::Result<()> {
    while names.peek().is_some_and(|&[file, _]| file < end) {
        let Some([file, rest]) = names.next()? else { break };
        let directory = ObjectId(rest >> 8);
        let what = if rest as u8 == DELETED { "the delete queue" } else { "it" };
        batch.at(directory, part::NAME.saturating_add(file));
        batch.finding(
            Kind::Directory,
            Some(directory),
            format!("{what} has an entry for object {file}, which is no file"),
        );
    }
    Ok(())
}

/// Takes the names of a file and compares them with it.
fn compare_names(
    files: &Files,
    known: &Known,
    complete: bool,
    names: &mut Sorted<2>,
    batch: &mut Batch,
) -> io::Result<()> {
    let id = known.id;
    let (mut count, mut first, mut in_parent, mut is_deleted) = (0u64, None, false, false);
    while names.peek().is_some_and(|&[file, _]| file == id.0) {
        let Some([_, rest]) = names.next()? else { break };
        let (directory, number) = (ObjectId(rest >> 8), rest as u8);
        if number == DELETED {
            is_deleted = true;
            continue;
        }
        count += 1;
        first = first.or(Some(directory));
        in_parent |= directory == known.parent;
        let said = FileType::from_number(number);
        if (number == XATTR_DIRECTORY) != known.is_xattr_dir {
            batch.at(id, part::FILE);
            let message = "it is a directory of extended attributes with a name, or a file without one";
            batch.finding(Kind::Directory, Some(id), message);
        } else if number != XATTR_DIRECTORY && number != UNSAID && said != known.file_type {
            batch.at(directory, part::NAME.saturating_add(id.0));
            let message = format!("its entry for object {id} says {said:?}, the file is {:?}", known.file_type);
            batch.finding(Kind::Directory, Some(directory), message);
        }
    }
    if !complete {
        return Ok(());
    }
    batch.at(id, part::FILE);
    let is_directory = known.file_type == Some(FileType::Directory);
    let expected = match (first, is_directory) {
        (Some(_), true) => known.subdirectories.map(|count| 2 + count),
        (Some(_), false) => Some(count),
        (None, _) if id == files.fs.root_id() => known.subdirectories.map(|count| 2 + count),
        (None, _) if is_deleted => Some(0),
        (None, _) => {
            if !files.own.contains(&id) {
                batch.finding(Kind::Directory, Some(id), "the file has no name and is not in the delete queue");
            }
            return Ok(());
        }
    };
    if let Some(expected) = expected.filter(|&expected| expected != known.links) {
        let message = format!("the link count is {}, expected {expected}", known.links);
        batch.finding(Kind::Directory, Some(id), message);
    }
    match first {
        Some(directory) => {
            if is_directory && count > 1 {
                batch.finding(Kind::Directory, Some(id), format!("the directory has {count} names"));
            }
            // A file with several names keeps the parent of one that was removed.
            if is_directory && !in_parent {
                let message = format!("its parent is {}, but its name is in {directory}", known.parent);
                batch.finding(Kind::Attributes, Some(id), message);
            }
            if is_deleted {
                let message = "it is in the delete queue and has a name: a mount would remove its contents";
                batch.finding(Kind::Directory, Some(id), message);
            }
        }
        None if id == files.fs.root_id() && known.parent != id => {
            let message = format!("the root's parent is {}, expected itself", known.parent);
            batch.finding(Kind::Attributes, Some(id), message);
        }
        None => {}
    }
    Ok(())
}

fn account(file: &File, batch: &mut Batch) {
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
            batch.finding(Kind::Accounting, Some(object.id()), message);
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
    for (spent, owner) in batch.spent.iter_mut().zip(owners) {
        let sum = spent.entry(owner).or_default();
        *sum = (sum.0.wrapping_add(bytes), sum.1 + objects);
    }
}

/// Compares the tables of space by user, group and project.
fn accounting(spent: &Spent, set: &ObjectSet, batch: &mut Batch) {
    let what = ["user", "group", "project"];
    for ((table, spent), what) in set.accounting().into_iter().zip(spent).zip(what) {
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
        batch.at(table.id(), part::FILE);
        let names: BTreeSet<&Vec<u8>> = recorded.keys().chain(expected.keys()).collect();
        for name in names {
            let (found, sum) = (recorded.get(name), expected.get(name));
            if found != sum {
                let message = format!(
                    "{what} table, {}: {} recorded, the sum of the files is {}",
                    String::from_utf8_lossy(name),
                    found.unwrap_or(&0),
                    sum.unwrap_or(&0)
                );
                batch.finding(Kind::Accounting, Some(table.id()), message);
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
