//! The directory source: a walk that follows no links.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::draft::{Data, Draft, Inode, NONE, ROOT};
use crate::error::{Error, PathBytes, Warning};
use crate::glob::Pattern;
use crate::host;
use crate::names::NameRef;
use crate::source::{Root, Source};
use crate::xattr;
use crate::xattr_queue::XattrQueue;

/// Adds all that lies below `path`, and the attributes of `path` itself to the root.
pub(crate) fn add(draft: &mut Draft, path: &Path, exclude: &[Pattern], xattrs: bool) -> Result<(), Error> {
    let root = Root::open(path)?;
    let source = draft.begin_source()?;
    std::thread::scope(|scope| {
        let mut walk = Walk {
            draft: &mut *draft,
            source,
            exclude,
            xattrs: xattrs.then(|| XattrQueue::start(scope)),
            linked: HashMap::new(),
            root_length: path.as_os_str().len(),
            path: path.as_os_str().as_bytes().to_vec(),
        };
        walk.run(&root)?;
        if let Some(queue) = walk.xattrs {
            draft.xattrs.extend(queue.finish()?);
        }
        Ok::<(), Error>(())
    })?;
    draft.end_source(Source::Directory(root));
    Ok(())
}

/// Open directories above the current one. Beyond this depth the uppermost are closed and opened again when needed.
const OPEN_DIRECTORIES: usize = 100;

/// Longest path that is given to a system call whole (Linux's `PATH_MAX` less some room).
const PATH_MAX: usize = 4000;

struct Walk<'a, 'scope> {
    draft: &'a mut Draft,
    source: u16,
    exclude: &'a [Pattern],
    xattrs: Option<XattrQueue<'scope>>,
    /// Inodes with several links by device and number on the host.
    linked: HashMap<(u64, u64), u32>,
    /// The host's path of what is being looked at; after `root_length` bytes the path in the tree begins.
    path: Vec<u8>,
    root_length: usize,
}

/// A directory whose subdirectories are being walked.
struct Frame {
    directory: Option<Dir>,
    path_length: usize,
    pending: Vec<Subdirectory>,
}

struct Subdirectory {
    name: NameRef,
    inode: u32,
    /// No source has put anything into it yet.
    fresh: bool,
}

impl Walk<'_, '_> {
    fn run(&mut self, root: &Root) -> Result<(), Error> {
        let stat = rustix::fs::fstat(root.fd()).map_err(|e| self.failed("examine", e))?;
        self.draft.set_root(self.inode(&stat, Data::Directory { first: 0, count: 0 }))?;
        self.add_xattrs(ROOT, &stat, None)?;
        let fresh = self.draft.entries.is_empty();
        let first = self.scan(self.open_again(root)?, ROOT, fresh)?;
        let mut stack = vec![first];
        while let Some(frame) = stack.last_mut() {
            self.path.truncate(frame.path_length);
            let Some(next) = frame.pending.pop() else {
                stack.pop();
                continue;
            };
            let parent = match frame.directory.take() {
                Some(directory) => directory,
                None => self.open_again(root)?,
            };
            self.path.push(b'/');
            self.path.extend_from_slice(self.draft.names.get(next.name));
            let directory = self.open_below(&parent, next.name)?;
            frame.directory = Some(parent);
            let below = self.scan(directory, next.inode, next.fresh)?;
            stack.push(below);
            if let Some(above) = stack.len().checked_sub(OPEN_DIRECTORIES) {
                stack[above].directory = None;
            }
        }
        Ok(())
    }

    fn open_again(&self, root: &Root) -> Result<Dir, Error> {
        let tree_path = &self.path[self.root_length..];
        root.at(tree_path, |base, rest| rustix::fs::openat(base, rest, DIRECTORY_FLAGS, Mode::empty()))
            .and_then(Dir::new)
            .map_err(|e| self.failed("open directory", e))
    }

    fn open_below(&self, parent: &Dir, name: NameRef) -> Result<Dir, Error> {
        let name = self.draft.names.get(name);
        parent
            .fd()
            .and_then(|fd| rustix::fs::openat(fd, name, DIRECTORY_FLAGS, Mode::empty()))
            .and_then(Dir::new)
            .map_err(|e| self.failed("open directory", e))
    }

    /// Adds the entries of one directory, whose path is in `self.path`.
    fn scan(&mut self, mut directory: Dir, parent: u32, fresh: bool) -> Result<Frame, Error> {
        let path_length = self.path.len();
        let mut pending = Vec::new();
        while let Some(entry) = directory.read() {
            let entry = entry.map_err(|e| self.failed("read directory", e))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.path.truncate(path_length);
            self.path.push(b'/');
            self.path.extend_from_slice(name.to_bytes());
            if self.excluded() {
                continue;
            }
            let base = directory.fd().map_err(|e| self.failed("read directory", e))?;
            pending.extend(self.add(base, name, parent, fresh)?);
        }
        self.path.truncate(path_length);
        Ok(Frame { directory: Some(directory), path_length, pending })
    }

    /// Adds one name; tells of a directory, which is to be walked later.
    fn add(
        &mut self,
        base: BorrowedFd<'_>,
        name: &CStr,
        parent: u32,
        fresh: bool,
    ) -> Result<Option<Subdirectory>, Error> {
        let stat = rustix::fs::statat(base, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.failed("examine", e))?;
        let kind = host::file_type(&stat);
        let linked = host::links(&stat) > 1 && kind != FileType::Directory;
        if linked && let Some(&inode) = self.linked.get(&host::identity(&stat)) {
            let path = &self.path[self.root_length..];
            self.draft.link(parent, name.to_bytes(), inode, path, fresh)?;
            return Ok(None);
        }
        let data = match kind {
            FileType::RegularFile => Data::File { size: host::size(&stat), place: NONE },
            FileType::Directory => Data::Directory { first: 0, count: 0 },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(base, name, Vec::new()).map_err(|e| self.failed("read link", e))?;
                self.draft.add_target(target.to_bytes(), &self.path[self.root_length..])?
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let (major, minor) = host::device(&stat);
                Data::Device { block: kind == FileType::BlockDevice, major, minor }
            }
            FileType::Fifo => Data::Fifo,
            FileType::Socket => {
                self.draft.warnings.push(Warning::Socket { path: self.tree_path() });
                return Ok(None);
            }
            FileType::Unknown => {
                self.draft.warnings.push(Warning::UnknownType { path: self.tree_path() });
                return Ok(None);
            }
        };
        let inode = self.inode(&stat, data);
        let path = &self.path[self.root_length..];
        let put = self.draft.put(parent, name.to_bytes(), inode, path, fresh)?;
        if linked {
            self.linked.insert(host::identity(&stat), put.inode);
        }
        self.add_xattrs(put.inode, &stat, Some((base, name)))?;
        let subdirectory = Subdirectory { name: put.name, inode: put.inode, fresh: put.new };
        Ok(inode.is_directory().then_some(subdirectory))
    }

    fn inode(&self, stat: &Stat, data: Data) -> Inode {
        let mtime = host::mtime(stat);
        Inode {
            data,
            seconds: mtime.seconds,
            nanoseconds: mtime.nanoseconds,
            uid: stat.st_uid,
            gid: stat.st_gid,
            flags: host::flags(stat),
            links: 0,
            mode: host::permissions(stat),
            source: self.source,
        }
    }

    fn add_xattrs(&mut self, inode: u32, stat: &Stat, at: Option<(BorrowedFd<'_>, &CStr)>) -> Result<(), Error> {
        let Some(queue) = &mut self.xattrs else {
            return Ok(());
        };
        let device = host::identity(stat).0;
        match at {
            Some((base, name)) if self.path.len() > PATH_MAX => {
                // No system call reads attributes relative to a directory everywhere, but Linux names open files, as
                // long as they are open.
                let mut short = format!("/proc/self/fd/{}/", base.as_raw_fd()).into_bytes();
                short.extend_from_slice(name.to_bytes());
                let found = xattr::Reader::new().read(&short, device);
                if let Some(xattrs) = found.map_err(|e| self.failed("read extended attributes of", e))? {
                    self.draft.xattrs.insert(inode, xattrs);
                }
            }
            // The root may be given as a symbolic link.
            None => queue.push(inode, device, &[&self.path[..], b"/."].concat()),
            Some(_) => queue.push(inode, device, &self.path),
        }
        Ok(())
    }

    fn excluded(&self) -> bool {
        !self.exclude.is_empty() && {
            let path = &self.path[self.root_length + 1..];
            self.exclude.iter().any(|pattern| pattern.matches(path))
        }
    }

    fn tree_path(&self) -> PathBytes {
        PathBytes::new(&self.path[self.root_length..])
    }

    fn failed(&self, action: &'static str, error: Errno) -> Error {
        Error::io(action, PathBuf::from(OsStr::from_bytes(&self.path)), error)
    }
}

const DIRECTORY_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
