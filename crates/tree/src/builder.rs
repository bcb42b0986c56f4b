//! Putting a tree together from its sources.

use std::io::{BufRead, Read};
use std::path::Path;

use crate::directory;
use crate::draft::{Draft, Inode, Overrides, ROOT};
use crate::error::Error;
use crate::ids::Ids;
use crate::mtree;
use crate::node::Timestamp;
use crate::options::Options;
use crate::tar::{self, Input};
use crate::tree::{self, Tree};

/// Merges sources, one after another, into a [`Tree`].
///
/// A later source replaces what an earlier one put at the same path. A directory on a directory merges with it and
/// gives it its attributes; anything else replaces what was there, with all below it.
pub struct Builder {
    draft: Draft,
    options: Options,
    ids: Ids,
}

impl Builder {
    /// Begins a tree that has only a root.
    ///
    /// # Errors
    ///
    /// When the owner or group of the options has a name that no table knows, or the tables cannot be read.
    pub fn new(options: Options) -> Result<Builder, Error> {
        let mut ids = Ids::freebsd();
        if let Some(directory) = &options.ids {
            ids.read_directory(directory, true)?;
        }
        let overrides = Overrides {
            uid: options.owner.as_ref().map(|owner| ids.resolve_user(owner)).transpose()?,
            gid: options.group.as_ref().map(|group| ids.resolve_group(group)).transpose()?,
            mode: options.mode.clone(),
        };
        Ok(Builder { draft: Draft::new(overrides), options, ids })
    }

    /// Adds all that lies below a directory, and the directory's own attributes to the root. Links are not followed;
    /// mount points are crossed; sockets are skipped with a warning.
    ///
    /// # Errors
    ///
    /// When anything cannot be read, or a name or link is too long for a tree.
    pub fn add_directory(&mut self, path: &Path) -> Result<(), Error> {
        directory::add(&mut self.draft, path, &self.options.exclude, self.options.xattrs)
    }

    /// Adds the entries of an mtree(5) manifest; `-` is standard input. Contents come from below `root`, or from where
    /// `contents=` says: an absolute path, or one from `root`. Files that are hard links of one another there are so in
    /// the tree. The last of several entries for a path counts; what it does not say, the earlier ones do.
    ///
    /// Names of users and groups are looked up in [`Options::ids`], then in `etc/master.passwd` (or `etc/passwd`) and
    /// `etc/group` below `root`, then among those of a FreeBSD base system. Digests are not verified.
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`] with the line for whatever is wrong with the manifest or the files it speaks of.
    pub fn add_mtree(&mut self, manifest: &Path, root: &Path) -> Result<(), Error> {
        self.add_mtree_from(manifest, mtree::open(manifest)?, root)
    }

    /// As [`add_mtree`](Self::add_mtree), from a reader; `name` is what errors call the manifest.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn add_mtree_from(&mut self, name: &Path, manifest: impl BufRead, root: &Path) -> Result<(), Error> {
        let mut ids = Ids::freebsd();
        ids.read_directory(&root.join("etc"), false)?;
        if let Some(directory) = &self.options.ids {
            ids.read_directory(directory, true)?;
        }
        mtree::add(&mut self.draft, name, manifest, root, &self.options, &ids)
    }

    /// Adds the entries of a tar archive, plain or compressed with gzip, bzip2, xz or zstd; `-` is standard input.
    ///
    /// The contents of a plain archive in a file are read from there later. All others are copied once to an unlinked
    /// temporary file in [`Options::spool`].
    ///
    /// # Errors
    ///
    /// [`Error::Archive`] with the byte offset when the archive is damaged, truncated or holds what cannot be kept;
    /// otherwise as [`add_directory`](Self::add_directory).
    pub fn add_tar(&mut self, path: &Path) -> Result<(), Error> {
        let input = Input::open(path, &self.options.spool)?;
        tar::add(&mut self.draft, input, &self.options, &self.ids)
    }

    /// As [`add_tar`](Self::add_tar), from a stream, whose contents are spooled; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn add_tar_from(&mut self, name: &Path, archive: impl Read + 'static) -> Result<(), Error> {
        let input = Input::spooled(name.to_path_buf(), Box::new(archive), &self.options.spool)?;
        tar::add(&mut self.draft, input, &self.options, &self.ids)
    }

    /// Adds a directory, such as one to mount a file system on, and those above it, where nothing has their names. What
    /// is added belongs to root and has the time of the directory that it is in. Nothing is added below what is no
    /// directory. Components `.` and `..` are not understood.
    ///
    /// # Errors
    ///
    /// When a name is too long for a tree.
    pub fn add_missing_directory(&mut self, path: &[u8]) -> Result<(), Error> {
        let mut parent = ROOT;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            parent = match self.draft.lookup(parent, name) {
                Some(inode) if self.draft.is_directory(inode) => inode,
                Some(_) => return Ok(()),
                None => {
                    let mut inode = Inode::default_directory();
                    inode.set_mtime(self.draft.mtime(parent));
                    self.draft.put(parent, name, inode, path, false)?.inode
                }
            };
        }
        Ok(())
    }

    /// What is in a regular file, as it has been added so far; `None` if nothing has that path. Links are not
    /// followed.
    ///
    /// # Errors
    ///
    /// [`Error::NotRegular`] if it is something else, [`Error::TooMany`] if it has more than `most` bytes, and when it
    /// cannot be read.
    pub fn contents(&mut self, path: &[u8], most: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(inode) = self.find(path) else { return Ok(None) };
        let Draft { inodes, sources, places, .. } = &self.draft;
        let content = tree::open(&inodes[inode as usize], path.to_vec(), sources, places)?;
        let size = usize::try_from(content.size()).ok().filter(|size| *size as u64 <= most);
        let mut bytes = vec![0; size.ok_or(Error::TooMany { what: "bytes in a file that is added to" })?];
        content.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    /// Whether something has been added at a path. Links are not followed.
    pub fn has(&mut self, path: &[u8]) -> bool {
        self.find(path).is_some()
    }

    /// The latest modification time of what is no directory, as it was added.
    pub fn newest(&self) -> Option<Timestamp> {
        let files = self.draft.inodes.iter().filter(|inode| !inode.is_directory());
        files.map(Inode::mtime).max()
    }

    fn find(&mut self, path: &[u8]) -> Option<u32> {
        let mut parts = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        parts.try_fold(ROOT, |parent, name| self.draft.lookup(parent, name))
    }

    /// Orders what was added.
    ///
    /// # Errors
    ///
    /// [`Error::Incomplete`] after a source that could not be added to its end.
    pub fn finish(self) -> Result<Tree, Error> {
        if self.draft.incomplete {
            return Err(Error::Incomplete);
        }
        Ok(Tree::from_draft(self.draft, self.options.mtime))
    }
}
