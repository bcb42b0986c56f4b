//! The paths of files that something is wrong with, and who shares it.

use zfs_ondisk::object::ObjectId;

use super::Checker;
use super::files::Files;
use super::findings::BlockPlace;
use super::lock;
use crate::fs::FileSystem;
use crate::object::{Object, ObjectSet, pointer_at};

/// Paths longer than this many names are cut: a damaged parent may be its own
/// descendant.
const MAX_PATH: usize = 64;
/// Paths are looked for in the first findings of an object set only: each takes a search.
const MOST_PATHS: usize = 200;

impl Checker<'_> {
    /// Adds the paths to the findings in a file system.
    pub(super) fn add_paths(&self, files: &Files, set: u32) {
        let wanted: Vec<ObjectId> = {
            let mut findings = lock(&self.findings);
            let objects = findings.in_set(set).filter_map(|finding| finding.object);
            objects.take(MOST_PATHS).collect()
        };
        let mut paths: Vec<(ObjectId, String)> = Vec::new();
        for object in wanted {
            if !paths.iter().any(|(known, _)| *known == object)
                && let Some(path) = path_of(&files.fs, object)
            {
                paths.push((object, path));
            }
        }
        for finding in lock(&self.findings).in_set(set) {
            let path = paths.iter().find(|(object, _)| Some(*object) == finding.object);
            finding.path = path.map(|(_, path)| path.clone());
        }
    }

    /// Whether there are findings about blocks of an object set.
    pub(super) fn has_block_findings(&self, set: u32) -> bool {
        lock(&self.findings).in_set(set).any(|finding| finding.block.is_some())
    }

    /// Adds the name of another object set that is the same to all findings in one.
    pub(super) fn share_all(&self, set: u32, name: &str) {
        for finding in lock(&self.findings).in_set(set).filter(|finding| finding.object.is_some()) {
            finding.shared.push(name.to_owned());
        }
    }

    /// Takes the findings of an object set that `earlier` ones have, too, as they share the objects.
    pub(super) fn merge_into(&self, set: u32, earlier: &[u32], name: &str) {
        lock(&self.findings).merge_into(set, earlier, name);
    }

    /// Adds, to the findings about blocks of an object set, the name of another one that has the same blocks.
    pub(super) fn add_sharers(&self, set: u32, other: &ObjectSet) {
        let wanted: Vec<(ObjectId, BlockPlace)> = {
            let mut findings = lock(&self.findings);
            let blocks = findings.in_set(set).filter_map(|finding| Some((finding.object?, finding.block?)));
            blocks.take(MOST_PATHS).collect()
        };
        let shared: Vec<_> = wanted.into_iter().filter(|(object, place)| has_block(other, *object, place)).collect();
        for finding in lock(&self.findings).in_set(set) {
            let (Some(object), Some(block)) = (finding.object, finding.block) else { continue };
            if shared.contains(&(object, block)) && !finding.shared.iter().any(|name| name == other.name()) {
                finding.shared.push(other.name().to_owned());
            }
        }
    }
}

/// Whether an object set has the same block at the same place.
fn has_block(set: &ObjectSet, id: ObjectId, place: &BlockPlace) -> bool {
    if place.pointer == *set.pointer() {
        return true;
    }
    let object = if id.0 == 0 { Ok(set.meta()) } else { set.object(id) };
    let Ok(object) = object else { return false };
    match place.number {
        None => object.dnode().spill == Some(place.pointer),
        Some(number) => has_at(&object, number, place).unwrap_or(false),
    }
}

fn has_at(object: &Object, number: u64, place: &BlockPlace) -> Option<bool> {
    let bits = object.indirect_bits();
    let top = u32::from(object.dnode().levels) - 1;
    let above = top.checked_sub(place.level)?;
    let mut pointer = *object.dnode().pointers.get(number.checked_shr(bits * above).unwrap_or(0) as usize)?;
    for level in (place.level..top).rev() {
        if pointer.is_hole() {
            return Some(false);
        }
        let block = object.indirect_block(&pointer, level + 1).ok()?;
        let index = number.checked_shr(bits * (level - place.level)).unwrap_or(0) & ((1 << bits) - 1);
        pointer = pointer_at(&block, crate::block::order_of(&pointer), index as usize).ok()?;
    }
    Some(pointer == place.pointer)
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
