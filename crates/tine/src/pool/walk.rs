//! Walking a directory tree in the order of its names, across the datasets that are mounted in it.

use std::collections::HashSet;
use std::vec;

use zfs_ondisk::object::ObjectId;
use zfs_pool::Error;
use zfs_pool::fs::{DirEntry, File, FileSystem};

/// A file that was met.
#[derive(Clone)]
pub(crate) struct Node {
    /// Its path from the start, without a slash before it; empty for the start itself.
    pub(crate) path: Vec<u8>,
    /// How far below the start it is.
    pub(crate) depth: usize,
    pub(crate) file: File,
    /// The file system that it is in: 0, or one more than its place among the mounts.
    pub(crate) file_system: usize,
    /// Whether it is the last one in its directory.
    pub(crate) last: bool,
}

impl Node {
    /// The last part of its path.
    pub(crate) fn name(&self) -> &[u8] {
        self.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }

    /// What tells it from all other files.
    pub(crate) fn identity(&self) -> (usize, ObjectId) {
        (self.file_system, self.file.object().id())
    }
}

/// A step of a walk.
pub(crate) enum Step {
    /// A file; what is in a directory comes next.
    Visit(Node),
    /// A directory, after all that is in it.
    Leave(Node),
    /// A file or directory that cannot be read.
    Damaged(Vec<u8>, Error),
}

/// A walk that visits a file and all that is below it.
pub(crate) struct Walk {
    start: Option<File>,
    mounts: Vec<(Vec<u8>, FileSystem)>,
    selection: Vec<Vec<u8>>,
    keep: Box<dyn Fn(&DirEntry) -> bool>,
    frames: Vec<Frame>,
    /// The directory visited last, whose names come next.
    entered: Option<Node>,
    /// A directory has one name, or else a small image could have paths without end.
    seen: HashSet<(usize, ObjectId)>,
}

struct Frame {
    node: Node,
    names: vec::IntoIter<(Vec<u8>, Option<ObjectId>)>,
    damage: Option<Error>,
}

impl Walk {
    pub(crate) fn new(start: File) -> Self {
        Self {
            start: Some(start),
            mounts: Vec::new(),
            selection: Vec::new(),
            keep: Box::new(|_| true),
            frames: Vec::new(),
            entered: None,
            seen: HashSet::new(),
        }
    }

    /// With other file systems at these paths.
    pub(crate) fn with_mounts(mut self, mounts: Vec<(Vec<u8>, FileSystem)>) -> Self {
        self.mounts = mounts;
        self
    }

    /// Only these paths, what is below them, and the directories that lead to them; everything if there is none.
    pub(crate) fn only(mut self, selection: Vec<Vec<u8>>) -> Self {
        self.selection = selection;
        self
    }

    /// Only directory entries that satisfy `keep`.
    pub(crate) fn filtered(mut self, keep: impl Fn(&DirEntry) -> bool + 'static) -> Self {
        self.keep = Box::new(keep);
        self
    }

    /// Leaves out what is in the directory visited last.
    pub(crate) fn prune(&mut self) {
        if let Some(node) = self.entered.take() {
            self.frames.push(Frame { node, names: Vec::new().into_iter(), damage: None });
        }
    }

    /// Goes on as if the directory visited last were none: it is not left, either.
    pub(crate) fn pass(&mut self) {
        self.entered = None;
    }

    fn enter(&mut self, node: Node) {
        let mut frame = Frame { node, names: Vec::new().into_iter(), damage: None };
        let mut names = Vec::new();
        frame.damage = self.names(&frame.node, &mut names).err();
        names.sort_unstable();
        frame.names = names.into_iter();
        self.frames.push(frame);
    }

    /// The names in a directory, with what is mounted there.
    fn names(&self, node: &Node, names: &mut Vec<(Vec<u8>, Option<ObjectId>)>) -> Result<(), Error> {
        let mut directory = node.file.directory()?;
        let next = self.selected_below(&node.path);
        match next {
            Some(selected) => {
                for name in selected {
                    match directory.lookup(&name)? {
                        Some(entry) => names.push((entry.name, Some(entry.object))),
                        None if self.mount_at(&join(&node.path, &name)).is_some() => names.push((name, None)),
                        None => {}
                    }
                }
            }
            None => {
                for entry in directory.entries() {
                    let entry = entry?;
                    if (self.keep)(&entry) {
                        names.push((entry.name, Some(entry.object)));
                    }
                }
                for (path, _) in &self.mounts {
                    let (parent, name) = split(path);
                    if parent == node.path && !names.iter().any(|(known, _)| known == name) {
                        names.push((name.to_vec(), None));
                    }
                }
            }
        }
        Ok(())
    }

    /// The names in a directory that lead to what was selected; `None` if all do.
    fn selected_below(&self, path: &[u8]) -> Option<Vec<Vec<u8>>> {
        if self.selection.is_empty() || self.selection.iter().any(|selected| is_within(path, selected)) {
            return None;
        }
        let mut names: Vec<Vec<u8>> = Vec::new();
        for selected in &self.selection {
            let rest = if path.is_empty() {
                Some(&selected[..])
            } else {
                selected.strip_prefix(path).and_then(|rest| rest.strip_prefix(b"/"))
            };
            let name = rest.and_then(|rest| rest.split(|&byte| byte == b'/').next());
            names.extend(name.map(<[u8]>::to_vec));
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    fn mount_at(&self, path: &[u8]) -> Option<usize> {
        self.mounts.iter().position(|(mounted, _)| mounted == path)
    }

    fn visit(&mut self, name: &[u8], object: Option<ObjectId>) -> Option<Step> {
        let frame = self.frames.last()?;
        let path = join(&frame.node.path, name);
        // Whoever makes files of these names must not be led elsewhere.
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            let found = format!("'{}'", name.escape_ascii());
            return Some(Step::Damaged(
                path,
                Error::Malformed { what: "a name", found, expected: "one that files may have" },
            ));
        }
        let depth = frame.node.depth + 1;
        let last = frame.names.len() == 0;
        let (file_system, file) = match (self.mount_at(&path), object) {
            (Some(mount), _) => (mount + 1, self.mounts[mount].1.root()),
            (None, Some(object)) => (frame.node.file_system, frame.node.file.file_system().file(object)),
            (None, None) => return None,
        };
        Some(match file {
            Ok(file) => self.met(Node { path, depth, file, file_system, last }),
            Err(error) => Step::Damaged(path, error),
        })
    }

    fn met(&mut self, node: Node) -> Step {
        if node.file.attributes().is_dir() {
            if !self.seen.insert(node.identity()) {
                let error = Error::Malformed {
                    what: "a directory",
                    found: format!("object {}, which has another name already", node.file.object().id()),
                    expected: "one with a single name",
                };
                return Step::Damaged(node.path, error);
            }
            self.entered = Some(node.clone());
        }
        Step::Visit(node)
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(file) = self.start.take() {
            return Some(self.met(Node { path: Vec::new(), depth: 0, file, file_system: 0, last: true }));
        }
        if let Some(node) = self.entered.take() {
            self.enter(node);
        }
        loop {
            let frame = self.frames.last_mut()?;
            if let Some(error) = frame.damage.take() {
                return Some(Step::Damaged(frame.node.path.clone(), error));
            }
            let Some((name, object)) = frame.names.next() else {
                return self.frames.pop().map(|frame| Step::Leave(frame.node));
            };
            if let Some(step) = self.visit(&name, object) {
                return Some(step);
            }
        }
    }
}

/// A path and a name below it.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() || name.is_empty() || path.ends_with(b"/") {
        [path, name].concat()
    } else {
        [path, b"/", name].concat()
    }
}

/// What is before the last slash, and what is behind it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Whether a path is another one or below it.
pub(crate) fn is_within(path: &[u8], above: &[u8]) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// A path without slashes around it, empty parts and single dots; `None` if it has a `..`.
pub(crate) fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    (!parts.contains(&&b".."[..])).then(|| parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_and_put_together() {
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
        assert_eq!(join(b"/", b"b"), b"/b");
        assert_eq!(join(b"a", b""), b"a");
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert!(is_within(b"a/b", b"a") && is_within(b"a", b"a") && is_within(b"a", b""));
        assert!(!is_within(b"ab", b"a") && !is_within(b"a", b"a/b"));
        assert_eq!(normal(b"/a//./b/"), Some(b"a/b".to_vec()));
        assert_eq!(normal(b"a/../b"), None);
    }
}
