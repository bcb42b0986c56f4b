//! The finished tree: ordered, immutable and compact.

use std::mem::size_of;

use crate::acl::Ace;
use crate::content::Content;
use crate::draft::{Data, Dirent, Draft, Inode, NONE, ROOT};
use crate::error::{Error, PathBytes, Warning};
use crate::names::Names;
use crate::node::{Namespace, Node, NodeId, Xattr};
use crate::options::MtimeRule;
use crate::places::{Place, Places};
use crate::source::Source;

/// Files, directories, links and devices by path, merged from all sources.
///
/// Nodes are numbered in depth-first order of their first names; see [`NodeId`].
#[derive(Debug)]
pub struct Tree {
    names: Names,
    /// The entries of one directory stand together, sorted by name.
    entries: Vec<Dirent>,
    inodes: Vec<Inode>,
    /// For each node the entry that first leads to it; `NONE` for the root.
    first_entry: Vec<u32>,
    targets: Vec<u8>,
    /// Sorted by node, as are the ACLs.
    xattrs: Vec<(u32, Box<[Xattr]>)>,
    acls: Vec<(u32, Box<[Ace]>)>,
    places: Places,
    sources: Vec<Source>,
    warnings: Vec<Warning>,
    mtime: MtimeRule,
}

/// A name in a directory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Entry<'t> {
    /// The name: 1 to 255 bytes, without `/` and NUL.
    pub name: &'t [u8],
    /// What it leads to.
    pub node: NodeId,
}

impl Tree {
    /// The root, always a directory.
    pub fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    /// The number of nodes; at least 1.
    #[allow(clippy::len_without_is_empty)] // A tree has a root.
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// All nodes in order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + Clone + use<> {
        (0..self.inodes.len() as u32).map(NodeId)
    }

    /// The attributes of a node.
    pub fn node(&self, id: NodeId) -> Node {
        let inode = self.inode(id);
        Node {
            kind: inode.kind(),
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            flags: inode.flags,
            mtime: self.mtime.apply(inode.mtime()),
            links: inode.links,
            size: match inode.data {
                Data::File { size, .. } => size,
                Data::Symlink { length, .. } => u64::from(length),
                _ => 0,
            },
        }
    }

    /// The entries of a directory, sorted by the bytes of their names; none for anything else.
    pub fn entries(&self, directory: NodeId) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator + Clone {
        self.dirents(directory)
            .iter()
            .map(|entry| Entry { name: self.names.get(entry.name), node: NodeId(entry.inode) })
    }

    /// The directory that holds the node's first name; `None` for the root.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.first_dirent(id).map(|entry| NodeId(entry.parent))
    }

    /// The node's first path in the order of the tree: `/` for the root, `/etc/rc.conf`.
    pub fn path(&self, id: NodeId) -> Vec<u8> {
        let mut length = 0;
        let mut at = id;
        while let Some(entry) = self.first_dirent(at) {
            length += 1 + self.names.get(entry.name).len();
            at = NodeId(entry.parent);
        }
        if length == 0 {
            return b"/".to_vec();
        }
        let mut path = vec![b'/'; length];
        let mut end = length;
        let mut at = id;
        while let Some(entry) = self.first_dirent(at) {
            let name = self.names.get(entry.name);
            path[end - name.len()..end].copy_from_slice(name);
            end -= name.len() + 1;
            at = NodeId(entry.parent);
        }
        path
    }

    /// The node at a path from the root; leading, trailing and doubled slashes and `.` do not matter.
    pub fn lookup(&self, path: &[u8]) -> Option<NodeId> {
        let mut at = self.root();
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            let entries = self.dirents(at);
            let found = entries.binary_search_by(|entry| self.names.get(entry.name).cmp(name)).ok()?;
            at = NodeId(entries[found].inode);
        }
        Some(at)
    }

    /// Where a symbolic link points to; empty for anything else.
    pub fn symlink_target(&self, id: NodeId) -> &[u8] {
        match self.inode(id).data {
            Data::Symlink { at, length } => &self.targets[at as usize..at as usize + length as usize],
            _ => &[],
        }
    }

    /// The major and minor number of a device; zeros for anything else.
    pub fn device(&self, id: NodeId) -> (u32, u32) {
        match self.inode(id).data {
            Data::Device { major, minor, .. } => (major, minor),
            _ => (0, 0),
        }
    }

    /// The extended attributes of a node, sorted by namespace and name.
    pub fn xattrs(&self, id: NodeId) -> &[Xattr] {
        side(&self.xattrs, id).map_or(&[], |xattrs| xattrs)
    }

    /// The NFSv4 ACL of a node, if a source gave one.
    pub fn acl(&self, id: NodeId) -> Option<&[Ace]> {
        side(&self.acls, id).map(|acl| &**acl)
    }

    /// The number of POSIX.1e ACLs among all extended attributes ([`Namespace::PosixAcl`]).
    pub fn posix_acls(&self) -> usize {
        let all = self.xattrs.iter().flat_map(|(_, xattrs)| xattrs.iter());
        all.filter(|xattr| xattr.namespace == Namespace::PosixAcl).count()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    ///
    /// [`Error::NotRegular`] for anything else, [`Error::Io`] when it cannot be opened, and [`Error::Changed`] or
    /// [`Error::ChangedSize`] when size or time are not those that were scanned.
    pub fn open(&self, id: NodeId) -> Result<Content, Error> {
        open(self.inode(id), self.path(id), &self.sources, &self.places)
    }

    /// The bytes of memory that the tree holds, approximately.
    pub fn memory(&self) -> usize {
        let xattrs: usize = self.xattrs.iter().map(|(_, list)| list.iter().map(xattr_memory).sum::<usize>()).sum();
        let acls: usize = self.acls.iter().map(|(_, list)| size_of_val(&**list)).sum();
        self.names.memory()
            + self.entries.capacity() * size_of::<Dirent>()
            + self.inodes.capacity() * size_of::<Inode>()
            + self.first_entry.capacity() * size_of::<u32>()
            + self.targets.capacity()
            + self.xattrs.capacity() * size_of::<(u32, Box<[Xattr]>)>()
            + self.acls.capacity() * size_of::<(u32, Box<[Ace]>)>()
            + self.places.memory()
            + xattrs
            + acls
    }

    /// What was left out or passed over, in the order it was met.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Orders a draft. What no path leads to is dropped.
    pub(crate) fn from_draft(mut draft: Draft, mtime: MtimeRule) -> Tree {
        draft.drop_index();
        let Draft { mut names, mut entries, mut inodes, mut targets, places, sources, warnings, .. } = draft;
        order_entries(&names, &mut entries, &mut inodes);
        let Numbering { number, first_entry } = number_nodes(&entries, &mut inodes);

        for entry in &mut entries {
            entry.parent = number[entry.parent as usize];
            entry.inode = number[entry.inode as usize];
        }
        let count = first_entry.len();
        let xattrs = renumbered(draft.xattrs, &number, count);
        let acls = renumbered(draft.acls, &number, count);
        permute(&mut inodes, number);
        inodes.truncate(count);

        names.shrink();
        entries.shrink_to_fit();
        inodes.shrink_to_fit();
        targets.shrink_to_fit();
        Tree { names, entries, inodes, first_entry, targets, xattrs, acls, places, sources, warnings, mtime }
    }

    fn inode(&self, id: NodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    fn dirents(&self, directory: NodeId) -> &[Dirent] {
        match self.inode(directory).data {
            Data::Directory { first, count } => &self.entries[first as usize..first as usize + count as usize],
            _ => &[],
        }
    }

    fn first_dirent(&self, id: NodeId) -> Option<&Dirent> {
        // The root's is NONE, which no entry has as its number.
        self.entries.get(self.first_entry[id.index()] as usize)
    }
}

/// Opens a regular file whose first path is `path`.
pub(crate) fn open(inode: &Inode, path: Vec<u8>, sources: &[Source], places: &Places) -> Result<Content, Error> {
    let Data::File { size, place } = inode.data else {
        return Err(Error::NotRegular { path: PathBytes::new(path) });
    };
    match (sources.get(usize::from(inode.source)), places.get(place)) {
        (Some(Source::Directory(root)), None) => Content::in_directory(root, path, size, inode.mtime()),
        (Some(Source::Directory(root)), Some(Place::File { path: None, mtime })) => {
            Content::in_directory(root, path, size, mtime)
        }
        (Some(Source::Directory(root)), Some(Place::File { path: Some(named), mtime })) => {
            Content::named(root, named.to_vec(), size, mtime)
        }
        (Some(Source::Archive(archive)), Some(Place::Archive { offset, extents })) => {
            Content::in_archive(archive, path, size, offset, extents.cloned())
        }
        _ => Err(Error::NotRegular { path: PathBytes::new(path) }),
    }
}

/// Sorts the entries by directory and name and tells each directory where its own are.
fn order_entries(names: &Names, entries: &mut Vec<Dirent>, inodes: &mut [Inode]) {
    entries.retain(|entry| entry.inode != NONE);
    entries.sort_unstable_by(|a, b| a.parent.cmp(&b.parent).then_with(|| names.get(a.name).cmp(names.get(b.name))));
    let mut first = 0;
    for group in entries.chunk_by(|a, b| a.parent == b.parent) {
        inodes[group[0].parent as usize].data = Data::Directory { first, count: group.len() as u32 };
        first += group.len() as u32;
    }
}

struct Numbering {
    /// The new number of each inode. Those that no path leads to come after all others.
    number: Vec<u32>,
    first_entry: Vec<u32>,
}

/// Walks the tree from the root, depth first, numbers the nodes as they are met and counts their links.
fn number_nodes(entries: &[Dirent], inodes: &mut [Inode]) -> Numbering {
    let mut number = vec![NONE; inodes.len()];
    let mut first_entry = Vec::with_capacity(inodes.len());
    let mut stack = Vec::new();
    let mut visit = |inode: u32, entry: u32, inodes: &mut [Inode], stack: &mut Vec<(u32, u32, u32)>| {
        let new = number[inode as usize] == NONE;
        if new {
            number[inode as usize] = first_entry.len() as u32;
            first_entry.push(entry);
        }
        if let Data::Directory { first, count } = inodes[inode as usize].data {
            inodes[inode as usize].links = 2;
            stack.push((inode, first, first + count));
            return true;
        }
        inodes[inode as usize].links = if new { 1 } else { inodes[inode as usize].links + 1 };
        false
    };
    visit(ROOT, NONE, inodes, &mut stack);
    while let Some((directory, next, end)) = stack.last_mut() {
        if next == end {
            stack.pop();
            continue;
        }
        let (directory, entry) = (*directory, *next);
        *next += 1;
        if visit(entries[entry as usize].inode, entry, inodes, &mut stack) {
            inodes[directory as usize].links += 1;
        }
    }
    let unreachable = number.iter_mut().filter(|number| **number == NONE);
    for (number, free) in unreachable.zip(first_entry.len() as u32..) {
        *number = free;
    }
    first_entry.shrink_to_fit();
    Numbering { number, first_entry }
}

/// Moves each inode to its new number, in place: a second table would double the peak of memory.
fn permute(inodes: &mut [Inode], mut number: Vec<u32>) {
    for at in 0..inodes.len() {
        while number[at] as usize != at {
            let to = number[at] as usize;
            inodes.swap(at, to);
            number.swap(at, to);
        }
    }
}

fn renumbered<T>(table: std::collections::HashMap<u32, T>, number: &[u32], count: usize) -> Vec<(u32, T)> {
    let mut table: Vec<(u32, T)> = table
        .into_iter()
        .map(|(inode, value)| (number[inode as usize], value))
        .filter(|(node, _)| (*node as usize) < count)
        .collect();
    table.sort_unstable_by_key(|(node, _)| *node);
    table
}

fn side<T>(table: &[(u32, T)], id: NodeId) -> Option<&T> {
    table.binary_search_by_key(&id.0, |(node, _)| *node).ok().map(|at| &table[at].1)
}

fn xattr_memory(xattr: &Xattr) -> usize {
    size_of::<Xattr>() + xattr.name.len() + xattr.value.len()
}

const _: fn() = || {
    fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Tree>();
};
