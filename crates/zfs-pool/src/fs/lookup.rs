//! From paths to files.

use super::{DirEntry, Directory, File, FileSystem, FileType, dir_entry};
use crate::error::Error;

/// How many symbolic links one path may lead through (`MAXSYMLINKS` is 32 on FreeBSD, 40 on Linux).
const MAX_LINKS: usize = 40;

impl FileSystem {
    /// The file at a path from the root, its parts separated by `/`. Symbolic links are not followed.
    ///
    /// # Errors
    /// [`Error::NoFile`], or if a directory on the way cannot be read.
    pub fn lookup(&self, path: &[u8]) -> Result<File, Error> {
        self.search(path, None)
    }

    /// The file at a path, as the system calls find it within this file system: symbolic links on the way are followed,
    /// absolute ones from its root; one at the end if `follow`, or if a slash follows it.
    ///
    /// # Errors
    /// [`Error::NoFile`], [`Error::Links`], or if a directory or link on the way cannot be read.
    pub fn resolve(&self, path: &[u8], follow: bool) -> Result<File, Error> {
        self.search(path, Some(follow || path.ends_with(b"/")))
    }

    /// `follow` says whether the last link is followed, and `None` that no link is.
    fn search(&self, path: &[u8], follow: Option<bool>) -> Result<File, Error> {
        let mut search = Search { fs: self, path, pending: Vec::new(), reached: Vec::new() };
        search.push(path);
        let mut file = self.root()?;
        let mut links = 0;
        while let Some(name) = search.pending.pop() {
            if !file.attributes().is_dir() {
                return Err(search.missing());
            }
            if name == b".." {
                search.reached.pop();
                file = self.file(file.attributes().parent)?;
                continue;
            }
            let entry = file.directory()?.lookup(&name)?.ok_or_else(|| search.missing())?;
            let next = self.file(entry.object)?;
            let is_link = next.attributes().file_type() == Some(FileType::Symlink);
            if is_link && follow.is_some_and(|last| last || !search.pending.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::Links { dataset: self.objects().name().to_owned(), path: text(path) });
                }
                let target = next.link_target()?;
                if target.starts_with(b"/") {
                    search.reached.clear();
                    file = self.root()?;
                }
                search.push(&target);
                continue;
            }
            search.reached.push(name);
            file = next;
        }
        if path.ends_with(b"/") && !file.attributes().is_dir() {
            search.reached.pop();
            return Err(search.missing());
        }
        Ok(file)
    }
}

struct Search<'a> {
    fs: &'a FileSystem,
    path: &'a [u8],
    /// Names still to be looked up, the next one last.
    pending: Vec<Vec<u8>>,
    /// Names from the root to where the search is.
    reached: Vec<Vec<u8>>,
}

impl Search<'_> {
    fn push(&mut self, path: &[u8]) {
        let names = path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
        self.pending.extend(names.rev().map(<[u8]>::to_vec));
    }

    fn missing(&self) -> Error {
        Error::NoFile {
            dataset: self.fs.objects().name().to_owned(),
            path: text(self.path),
            nearest: format!("/{}", text(&self.reached.join(&b'/'))),
        }
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl Directory {
    /// The entry of a name: of the very name, or where the file system compares names otherwise, of one that it takes for
    /// the same.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn lookup(&mut self, name: &[u8]) -> Result<Option<DirEntry>, Error> {
        if self.rules.are_exact() && self.zap.reader().norm_flags() == 0 {
            let Some(entry) = self.zap.lookup(name)? else { return Ok(None) };
            return dir_entry(self.zap.object(), entry).map(Some);
        }
        // Where names are stored has to do with their forms; to look at all is simple and right.
        let rules = self.rules;
        let folded = rules.fold(name);
        let mut like = None;
        for entry in self.entries() {
            let entry = entry?;
            if entry.name == name {
                return Ok(Some(entry));
            }
            if like.is_none() && rules.fold(&entry.name) == folded {
                like = Some(entry);
            }
        }
        Ok(like)
    }
}
