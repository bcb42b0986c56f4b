//! Two file systems compared path by path, for want of a common past.

use std::collections::{BTreeMap, HashSet};

use zfs_ondisk::object::ObjectId;
use zfs_ondisk::znode;
use zfs_pool::Error;
use zfs_pool::fs::{File, FileSystem, FileType, Xattr};

use super::{Change, ChangeKind};
use crate::pool::walk::{Step, Walk, join};

/// What differs between two file systems, in no order.
pub(crate) fn compare(old: &FileSystem, new: &FileSystem) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let mut pending = vec![(Vec::new(), old.root()?, new.root()?)];
    // Each directory once: damage must not make it go on for ever.
    let mut seen = HashSet::new();
    while let Some((path, a, b)) = pending.pop() {
        if !seen.insert((a.object().id(), b.object().id())) {
            continue;
        }
        let (ours, mut theirs) = (names(&a)?, names(&b)?);
        for (name, id) in ours {
            let path = join(&path, &name);
            let a = old.file(id)?;
            let Some(other) = theirs.remove(&name) else {
                all_of(&a, &path, &ChangeKind::Removed, &mut changes)?;
                continue;
            };
            let b = new.file(other)?;
            if a.attributes().file_type() != b.attributes().file_type() {
                all_of(&a, &path, &ChangeKind::Removed, &mut changes)?;
                all_of(&b, &path, &ChangeKind::Added, &mut changes)?;
                continue;
            }
            if differ(&a, &b)? {
                changes.push(Change {
                    kind: ChangeKind::Modified,
                    file_type: b.attributes().file_type(),
                    path: path.clone(),
                });
            }
            if a.attributes().is_dir() {
                pending.push((path, a, b));
            }
        }
        for (name, id) in theirs {
            all_of(&new.file(id)?, &join(&path, &name), &ChangeKind::Added, &mut changes)?;
        }
    }
    Ok(changes)
}

fn names(directory: &File) -> Result<BTreeMap<Vec<u8>, ObjectId>, Error> {
    directory.directory()?.entries().map(|entry| entry.map(|entry| (entry.name, entry.object))).collect()
}

/// A change of a file and of all that is below it.
fn all_of(file: &File, path: &[u8], kind: &ChangeKind, changes: &mut Vec<Change>) -> Result<(), Error> {
    for step in Walk::new(file.clone()) {
        match step {
            Step::Visit(node) => changes.push(Change {
                kind: kind.clone(),
                file_type: node.file.attributes().file_type(),
                path: join(path, &node.path),
            }),
            Step::Leave(_) => {}
            Step::Damaged(_, error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether two files of the same type differ in what a copy would keep.
fn differ(a: &File, b: &File) -> Result<bool, Error> {
    let kept = |file: &File| {
        let attributes = file.attributes();
        let size = if attributes.is_dir() { 0 } else { attributes.size };
        let flags = znode::file_flags_from_flags(attributes.flags);
        (attributes.mode, attributes.uid, attributes.gid, attributes.modified, size, attributes.device, flags)
    };
    if kept(a) != kept(b) {
        return Ok(true);
    }
    if sorted_xattrs(a)? != sorted_xattrs(b)? || a.acl()? != b.acl()? {
        return Ok(true);
    }
    match a.attributes().file_type() {
        Some(FileType::Regular) => Ok(!a.contents().same_as(&b.contents())?),
        Some(FileType::Symlink) => Ok(a.link_target()? != b.link_target()?),
        _ => Ok(false),
    }
}

fn sorted_xattrs(file: &File) -> Result<Vec<Xattr>, Error> {
    let mut xattrs = file.xattrs()?;
    xattrs.sort();
    Ok(xattrs)
}
