//! ZAPs, and the paths of files.

use std::collections::HashSet;

use zfs_ondisk::object::ObjectId;
use zfs_ondisk::zap::{Entry, FLAG_UINT64_KEY};

use super::{Checker, Kind};
use crate::error::Error;
use crate::fs::FileSystem;
use crate::object::Object;

/// Paths longer than this many names are cut: a damaged parent may be its own
/// descendant.
const MAX_PATH: usize = 64;
/// Paths are looked for in the first findings only: each takes a search.
const MOST_PATHS: usize = 200;

impl Checker<'_> {
    /// Examines a ZAP: every entry is read and, by its name, found again.
    /// Calls `each` with the entries.
    pub(super) fn zap(&mut self, object: &Object, mut each: impl FnMut(&mut Self, &Entry)) {
        if let Err(error) = self.read_zap(object, &mut each) {
            self.failed(object.set().name(), Some(object.id()), &error);
        }
    }

    fn read_zap(&mut self, object: &Object, each: &mut impl FnMut(&mut Self, &Entry)) -> Result<(), Error> {
        let mut zap = object.zap()?;
        let mut again = object.zap()?;
        let recorded = zap.count()?;
        let (is_micro, norm_flags, flags) = {
            let reader = zap.reader();
            (reader.is_micro(), reader.norm_flags(), reader.flags())
        };
        if is_micro && object.dnode().max_block_id != 0 {
            let message = format!("a micro ZAP has {} blocks, expected 1", object.dnode().max_block_id + 1);
            self.finding(Kind::Zap, object.set().name(), Some(object.id()), message);
        }
        let mut names = HashSet::new();
        let mut count = 0;
        for entry in zap.iter() {
            let entry = entry?;
            count += 1;
            // Names of a micro ZAP are found by searching all of it, and so are
            // normalized ones: that they are unique has to do.
            let found = if is_micro || norm_flags != 0 {
                names.insert(entry.name.clone())
            } else if flags & FLAG_UINT64_KEY != 0 {
                let (words, _) = entry.name.as_chunks();
                let key: Vec<u64> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
                again.reader().lookup_key(&key)? == Some(entry.clone())
            } else {
                again.lookup(&entry.name)? == Some(entry.clone())
            };
            if !found {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                let message = format!("the entry {name:?} is there twice, or not where its hash leads");
                self.finding(Kind::Zap, object.set().name(), Some(object.id()), message);
            }
            each(self, &entry);
        }
        if count != recorded {
            let message = format!("the ZAP has {count} entries, its header says {recorded}");
            self.finding(Kind::Zap, object.set().name(), Some(object.id()), message);
        }
        Ok(())
    }

    /// Adds the paths to the findings since `first` in the objects of a file
    /// system.
    pub(super) fn add_paths(&mut self, fs: &FileSystem, first: usize) {
        for finding in self.report.findings.iter_mut().take(MOST_PATHS).skip(first) {
            if let (None, Some(object)) = (&finding.path, finding.object) {
                finding.path = path_of(fs, object);
            }
        }
    }
}

/// The path of a file from the root of its file system, found upwards through
/// the parents.
fn path_of(fs: &FileSystem, id: ObjectId) -> Option<String> {
    let mut names = Vec::new();
    let mut id = id;
    while id != fs.root_id() {
        if names.len() == MAX_PATH {
            return None;
        }
        let parent = fs.file(id).ok()?.attributes().parent;
        let mut directory = fs.file(parent).ok()?.directory().ok()?;
        let entry = directory.entries().find(|entry| entry.as_ref().map_or(true, |entry| entry.object == id))?;
        names.push(String::from_utf8_lossy(&entry.ok()?.name).into_owned());
        id = parent;
    }
    names.reverse();
    Some(format!("/{}", names.join("/")))
}
