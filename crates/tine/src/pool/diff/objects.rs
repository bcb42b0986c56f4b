//! Two states of one file system compared by its objects: what they have in common is not read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use zfs_ondisk::object::ObjectId;
use zfs_pool::Error;
use zfs_pool::fs::{File, FileSystem, changed_objects};

use super::{Change, ChangeKind, is_modified};
use crate::pool::walk::{Step, Walk, join};

/// Names of directories that are remembered: reading a large directory for each of its files would take for ever.
const MOST_NAMES: usize = 1 << 20;
/// Directories nested deeper than this are not followed up to the root.
const MOST_PARTS: usize = 4096;

pub(super) fn compare(old: &FileSystem, new: &FileSystem) -> Result<Vec<Change>, Error> {
    let mut found = Found::default();
    for id in changed_objects(old.objects(), new.objects())? {
        let (a, b) = (in_tree(old, id)?, in_tree(new, id)?);
        match (a, b) {
            // The number was given to another file.
            (Some(a), Some(b)) if a.attributes().generation != b.attributes().generation => {
                found.add(id, Some(&a), None);
                found.add(id, None, Some(&b));
            }
            (Some(a), Some(b)) if !is_modified(&a, &b)? => {}
            (a, b) => found.add(id, a.as_ref(), b.as_ref()),
        }
    }
    let (mut before, mut after) = (Names::new(old), Names::new(new));
    before.learn(&found.wanted(|object| object.old.is_some()), &found.directories)?;
    after.learn(&found.wanted(|object| object.new.is_some()), &found.directories)?;
    let mut changes = Vec::new();
    for object in &found.objects {
        object.changes(&mut before, &mut after, &mut changes)?;
    }
    Ok(changes)
}

/// The file with a number, unless it has no name any more.
fn in_tree(files: &FileSystem, id: ObjectId) -> Result<Option<File>, Error> {
    Ok(files.find_file(id)?.filter(|file| file.attributes().links > 0))
}

#[derive(Default)]
struct Found {
    objects: Vec<Object>,
    /// Directories whose names may have changed.
    directories: HashSet<ObjectId>,
}

/// A file that differs.
struct Object {
    id: ObjectId,
    old: Option<State>,
    new: Option<State>,
}

#[derive(Clone, Copy)]
struct State {
    links: u64,
    is_dir: bool,
    file_type: Option<zfs_pool::fs::FileType>,
}

impl State {
    fn of(file: &File) -> Self {
        let attributes = file.attributes();
        Self { links: attributes.links, is_dir: attributes.is_dir(), file_type: attributes.file_type() }
    }

    /// Whether the directory that it says it is in is the only one.
    fn has_one_name(self) -> bool {
        self.is_dir || self.links == 1
    }
}

impl Found {
    fn add(&mut self, id: ObjectId, old: Option<&File>, new: Option<&File>) {
        if [old, new].into_iter().flatten().any(|file| file.attributes().is_dir()) {
            self.directories.insert(id);
        }
        if old.is_some() || new.is_some() {
            self.objects.push(Object { id, old: old.map(State::of), new: new.map(State::of) });
        }
    }

    /// Files with several names before or after, whose names have to be looked for.
    fn wanted(&self, exists: impl Fn(&Object) -> bool) -> HashSet<ObjectId> {
        let several =
            |object: &&Object| [object.old, object.new].into_iter().flatten().any(|state| !state.has_one_name());
        self.objects.iter().filter(several).filter(|object| exists(object)).map(|object| object.id).collect()
    }
}

impl Object {
    fn changes(&self, before: &mut Names<'_>, after: &mut Names<'_>, changes: &mut Vec<Change>) -> Result<(), Error> {
        let mut push = |kind, state: State, path| changes.push(Change { kind, file_type: state.file_type, path });
        match (self.old, self.new) {
            (Some(old), None) => {
                for path in before.of(self.id, old)? {
                    push(ChangeKind::Removed, old, path);
                }
            }
            (None, Some(new)) => {
                for path in after.of(self.id, new)? {
                    push(ChangeKind::Added, new, path);
                }
            }
            (Some(old), Some(new)) => {
                if !old.has_one_name() || !new.has_one_name() {
                    return self.changes_of_names(old, new, before, after, changes);
                }
                let was = before.of(self.id, old)?.into_iter().next();
                let is = after.of(self.id, new)?.into_iter().next();
                match (was, is) {
                    (Some(was), Some(is)) if was != is => {
                        // What is in a directory that was renamed is where it was in it.
                        let moved = before.place(self.id)? != after.place(self.id)?;
                        push(if moved { ChangeKind::Renamed(was) } else { ChangeKind::Modified }, new, is);
                    }
                    (_, Some(is)) => push(ChangeKind::Modified, new, is),
                    (Some(was), None) => push(ChangeKind::Modified, old, was),
                    (None, None) => {}
                }
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// The changes of a file with several names: in directories that did not change they are the same.
    fn changes_of_names(
        &self,
        old: State,
        new: State,
        before: &mut Names<'_>,
        after: &mut Names<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let (was, is) = (before.learnt(self.id), after.learnt(self.id));
        let mut removed: Vec<_> = was.difference(&is).collect();
        let added: Vec<_> = is.difference(&was).collect();
        let mut push = |kind, state: State, path| changes.push(Change { kind, file_type: state.file_type, path });
        if removed.is_empty() && added.is_empty() {
            for path in after.of(self.id, new)?.into_iter().take(1) {
                push(ChangeKind::Modified, new, path);
            }
            return Ok(());
        }
        removed.reverse();
        for (directory, name) in added {
            let Some(path) = after.path_of(*directory)? else { continue };
            let path = join(&path, name);
            let from = match removed.pop() {
                Some((directory, name)) => before.path_of(*directory)?.map(|path| join(&path, name)),
                None => None,
            };
            push(from.map_or(ChangeKind::Added, ChangeKind::Renamed), new, path);
        }
        for (directory, name) in removed {
            if let Some(path) = before.path_of(*directory)? {
                push(ChangeKind::Removed, old, join(&path, name));
            }
        }
        Ok(())
    }
}

/// A directory and a name in it.
type Place = (ObjectId, Vec<u8>);

/// The names of files in one of the two states.
struct Names<'a> {
    files: &'a FileSystem,
    /// Paths of directories.
    paths: HashMap<ObjectId, Vec<u8>>,
    /// Names by object of directories that were read.
    directories: HashMap<ObjectId, HashMap<ObjectId, Vec<u8>>>,
    /// How many names that are.
    remembered: usize,
    /// The names in changed directories of files that have several.
    learnt: BTreeMap<ObjectId, BTreeSet<Place>>,
    /// A path of each file that is not where it says it is, once one was needed.
    all: Option<HashMap<ObjectId, Vec<u8>>>,
}

impl<'a> Names<'a> {
    fn new(files: &'a FileSystem) -> Self {
        Self {
            files,
            paths: HashMap::new(),
            directories: HashMap::new(),
            remembered: 0,
            learnt: BTreeMap::new(),
            all: None,
        }
    }

    /// Looks for the names of files in directories.
    fn learn(&mut self, wanted: &HashSet<ObjectId>, directories: &HashSet<ObjectId>) -> Result<(), Error> {
        if wanted.is_empty() {
            return Ok(());
        }
        for &id in directories {
            let Some(directory) = in_tree(self.files, id)?.filter(|file| file.attributes().is_dir()) else { continue };
            for entry in directory.directory()?.entries() {
                let entry = entry?;
                if wanted.contains(&entry.object) {
                    self.learnt.entry(entry.object).or_default().insert((id, entry.name));
                }
            }
        }
        Ok(())
    }

    fn learnt(&self, id: ObjectId) -> BTreeSet<Place> {
        self.learnt.get(&id).cloned().unwrap_or_default()
    }

    /// The paths of a file: those that were learnt, or the one that it tells itself.
    fn of(&mut self, id: ObjectId, state: State) -> Result<Vec<Vec<u8>>, Error> {
        let mut paths = Vec::new();
        if !state.has_one_name() {
            for (directory, name) in self.learnt(id) {
                paths.extend(self.path_of(directory)?.map(|path| join(&path, &name)));
            }
        }
        if !paths.is_empty() {
            return Ok(paths);
        }
        if state.is_dir {
            return Ok(self.path_of(id)?.into_iter().collect());
        }
        if let Some((directory, name)) = self.place(id)?
            && let Some(path) = self.path_of(directory)?
        {
            return Ok(vec![join(&path, &name)]);
        }
        Ok(self.anywhere(id)?.into_iter().collect())
    }

    /// The directory that a file says it is in, and its name there.
    fn place(&mut self, id: ObjectId) -> Result<Option<Place>, Error> {
        let Some(file) = self.files.find_file(id)? else { return Ok(None) };
        let parent = file.attributes().parent;
        if !self.directories.contains_key(&parent) {
            let mut names = HashMap::new();
            if let Some(directory) = self.files.find_file(parent)?.filter(|file| file.attributes().is_dir()) {
                for entry in directory.directory()?.entries() {
                    let entry = entry?;
                    names.insert(entry.object, entry.name);
                }
            }
            if self.remembered + names.len() > MOST_NAMES {
                self.directories.clear();
                self.remembered = 0;
            }
            self.remembered += names.len();
            self.directories.insert(parent, names);
        }
        let name = self.directories.get(&parent).and_then(|names| names.get(&id));
        Ok(name.map(|name| (parent, name.clone())))
    }

    /// The path of a directory.
    fn path_of(&mut self, directory: ObjectId) -> Result<Option<Vec<u8>>, Error> {
        let root = self.files.root()?.object().id();
        let mut below = Vec::new();
        let mut current = directory;
        let mut path = loop {
            if current == root {
                break Vec::new();
            }
            if let Some(known) = self.paths.get(&current) {
                break known.clone();
            }
            let Some((parent, name)) = self.place(current)? else { return Ok(None) };
            below.push((current, name));
            if below.len() > MOST_PARTS {
                return Ok(None);
            }
            current = parent;
        };
        if self.paths.len() > MOST_NAMES {
            self.paths.clear();
        }
        for (id, name) in below.into_iter().rev() {
            path = join(&path, &name);
            self.paths.insert(id, path.clone());
        }
        Ok(Some(path))
    }

    /// A path of a file that has lost the name under which it was known: all directories are read for it, once.
    fn anywhere(&mut self, id: ObjectId) -> Result<Option<Vec<u8>>, Error> {
        if self.all.is_none() {
            let mut all = HashMap::new();
            let mut directories = Vec::new();
            for step in Walk::new(self.files.root()?) {
                match step {
                    Step::Visit(node) if node.file.attributes().is_dir() => directories.push(node.file.object().id()),
                    Step::Visit(node) if directories.last() != Some(&node.file.attributes().parent) => {
                        all.insert(node.file.object().id(), node.path);
                    }
                    Step::Leave(_) => drop(directories.pop()),
                    _ => {}
                }
            }
            self.all = Some(all);
        }
        Ok(self.all.as_ref().and_then(|all| all.get(&id).cloned()))
    }
}
