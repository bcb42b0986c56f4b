//! The directory that files are extracted to. Everything is reached by names in open directories, one at a time, and no
//! symbolic link is followed: whatever lies there, nothing is written outside.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use zfs_pool::fs::{Attributes, Time, Xattr};

use crate::pool::out::printable;

/// Directories above the current one that are kept open; the others are opened again.
const MOST_OPEN: usize = 64;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A mode for what is not yet whole.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A place on the host, and the directory in it that is being filled.
pub(super) struct Host {
    shown: PathBuf,
    root: OwnedFd,
    levels: Vec<Level>,
    /// Whether files may be given to others.
    as_root: bool,
}

/// A directory below the root.
struct Level {
    name: Vec<u8>,
    fd: Option<OwnedFd>,
    made: bool,
}

/// A regular file under a temporary name.
pub(super) struct Draft {
    pub(super) file: File,
    temporary: String,
}

/// Which attributes could not be kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    pub(super) owner: bool,
    pub(super) xattrs: bool,
}

impl Host {
    /// Opens the directory, which is made if it does not exist; tells whether it was.
    pub(super) fn open(path: &Path) -> io::Result<(Self, bool)> {
        let made = match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        // The directory itself may be given by a symbolic link.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        // What is made here has the mode that it is made with.
        rustix::process::umask(Mode::empty());
        let as_root = rustix::process::geteuid().is_root();
        Ok((Self { shown: path.to_owned(), root, levels: Vec::new(), as_root }, made))
    }

    pub(super) fn is_root(&self) -> bool {
        self.as_root
    }

    /// A path for messages.
    pub(super) fn show(&self, name: &[u8]) -> String {
        let mut shown = self.shown.display().to_string();
        for part in self.levels.iter().map(|level| level.name.as_slice()).chain([name]) {
            shown.push('/');
            shown.push_str(&printable(part));
        }
        shown
    }

    /// Goes into a directory of the current one, and makes it if it does not exist.
    pub(super) fn enter(&mut self, name: &[u8]) -> io::Result<()> {
        let current = self.current()?;
        let made = match rustix::fs::mkdirat(current, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let fd = rustix::fs::openat(current, name, DIRECTORY, Mode::empty())?;
        self.levels.push(Level { name: name.to_vec(), fd: Some(fd), made });
        if let Some(above) = self.levels.len().checked_sub(MOST_OPEN) {
            self.levels[above].fd = None;
        }
        Ok(())
    }

    /// Leaves the current directory; if it was made here, it gets its attributes.
    pub(super) fn leave(&mut self, attributes: &Attributes, xattrs: &[Xattr]) -> io::Result<Lost> {
        self.current()?;
        let Some(level) = self.levels.pop() else { return Ok(Lost::default()) };
        match level.fd {
            Some(fd) if level.made => self.finish(fd.as_fd(), attributes, xattrs),
            _ => Ok(Lost::default()),
        }
    }

    /// Gives the root its attributes.
    pub(super) fn finish_root(&self, attributes: &Attributes, xattrs: &[Xattr]) -> io::Result<Lost> {
        self.finish(self.root.as_fd(), attributes, xattrs)
    }

    /// What has a name in the current directory.
    pub(super) fn look(&mut self, name: &[u8]) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(self.current()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn link_target(&mut self, name: &[u8]) -> io::Result<Vec<u8>> {
        let target = rustix::fs::readlinkat(self.current()?, name, Vec::new())?;
        Ok(target.into_bytes())
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self.current()?, name, AtFlags::empty())?)
    }

    /// Begins a regular file. `unique` tells its temporary name from those of others.
    pub(super) fn begin(&mut self, unique: u64) -> io::Result<Draft> {
        let temporary = format!(".tine-part-{unique}");
        let current = self.current()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(current, &temporary, flags, PRIVATE);
        let fd = match open() {
            Err(Errno::EXIST) => {
                // Left over from a time that was interrupted.
                rustix::fs::unlinkat(current, &temporary, AtFlags::empty())?;
                open()?
            }
            other => other?,
        };
        Ok(Draft { file: File::from(fd), temporary })
    }

    /// Gives a regular file its attributes and its name.
    pub(super) fn name(
        &mut self,
        draft: &Draft,
        name: &[u8],
        attributes: &Attributes,
        xattrs: &[Xattr],
    ) -> io::Result<Lost> {
        let lost = self.finish(draft.file.as_fd(), attributes, xattrs)?;
        let current = self.current()?;
        rustix::fs::renameat(current, &draft.temporary, current, name)?;
        Ok(lost)
    }

    /// Gives a regular file up.
    pub(super) fn discard(&mut self, draft: &Draft) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self.current()?, &draft.temporary, AtFlags::empty())?)
    }

    pub(super) fn symlink(&mut self, name: &[u8], target: &[u8], attributes: &Attributes) -> io::Result<Lost> {
        rustix::fs::symlinkat(target, self.current()?, name)?;
        self.finish_name(name, attributes)
    }

    /// Makes a FIFO or a device.
    #[cfg(not(target_vendor = "apple"))]
    pub(super) fn node(
        &mut self,
        name: &[u8],
        kind: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> io::Result<Lost> {
        let number = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode((attributes.mode & 0o777) as _);
        rustix::fs::mknodat(self.current()?, name, kind, mode, number)?;
        self.finish_name(name, attributes)
    }

    #[cfg(target_vendor = "apple")]
    pub(super) fn node(&mut self, _: &[u8], _: FileType, _: (u32, u32), _: &Attributes) -> io::Result<Lost> {
        Err(Errno::PERM.into())
    }

    /// Gives a file that was made here another name.
    pub(super) fn link(&mut self, existing: &[u8], name: &[u8]) -> io::Result<()> {
        let mut parts: Vec<&[u8]> = existing.split(|&byte| byte == b'/').collect();
        let last = parts.pop().unwrap_or_default();
        let directory = self.open_below(parts.into_iter())?;
        rustix::fs::linkat(directory, last, self.current()?, name, AtFlags::empty())?;
        Ok(())
    }

    /// What a path from the root leads to.
    pub(super) fn look_at(&self, path: &[u8]) -> io::Result<Stat> {
        let mut parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        let last = parts.pop().unwrap_or_default();
        let directory = self.open_below(parts.into_iter())?;
        Ok(rustix::fs::statat(directory, last, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn current(&mut self) -> io::Result<BorrowedFd<'_>> {
        if self.levels.last().is_some_and(|level| level.fd.is_none()) {
            let fd = self.open_below(self.levels.iter().map(|level| level.name.as_slice()))?;
            if let Some(level) = self.levels.last_mut() {
                level.fd = Some(fd);
            }
        }
        Ok(match self.levels.last().and_then(|level| level.fd.as_ref()) {
            Some(fd) => fd.as_fd(),
            None => self.root.as_fd(),
        })
    }

    fn open_below<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> io::Result<OwnedFd> {
        let mut fd = self.root.try_clone()?;
        for name in names {
            fd = rustix::fs::openat(&fd, name, DIRECTORY, Mode::empty())?;
        }
        Ok(fd)
    }

    /// Owner before mode, as a change of owner takes bits of it away; times last.
    fn finish(&self, fd: BorrowedFd<'_>, attributes: &Attributes, xattrs: &[Xattr]) -> io::Result<Lost> {
        let mut lost = Lost { xattrs: !set_xattrs(fd, xattrs), owner: false };
        lost.owner = !self.owner(attributes, |user, group| rustix::fs::fchown(fd, user, group))?;
        // A file that belongs to somebody else must not run as if it belonged to its owner.
        let kept = if lost.owner { 0o1777 } else { 0o7777 };
        rustix::fs::fchmod(fd, Mode::from_raw_mode((attributes.mode & kept) as _))?;
        rustix::fs::futimens(fd, &times(attributes))?;
        Ok(lost)
    }

    fn finish_name(&mut self, name: &[u8], attributes: &Attributes) -> io::Result<Lost> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let as_root = self.as_root;
        let current = self.current()?;
        let kept = owner(as_root, attributes, |user, group| rustix::fs::chownat(current, name, user, group, flags))?;
        rustix::fs::utimensat(current, name, &times(attributes), flags)?;
        Ok(Lost { owner: !kept, xattrs: false })
    }

    fn owner(
        &self,
        attributes: &Attributes,
        change: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> io::Result<bool> {
        owner(self.as_root, attributes, change)
    }
}

/// Whether a file has its owner and group in the end.
fn owner(
    as_root: bool,
    attributes: &Attributes,
    change: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
) -> io::Result<bool> {
    let (Ok(user), Ok(group)) = (u32::try_from(attributes.uid), u32::try_from(attributes.gid)) else {
        return Ok(false);
    };
    if !as_root {
        return Ok(user == rustix::process::geteuid().as_raw() && group == rustix::process::getegid().as_raw());
    }
    if user == u32::MAX || group == u32::MAX {
        return Ok(false);
    }
    match change(Some(Uid::from_raw(user)), Some(Gid::from_raw(group))) {
        Ok(()) => Ok(true),
        // A number that a user namespace does not have; a file system without owners.
        Err(Errno::INVAL | Errno::PERM | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// When a file of the host was modified.
#[allow(clippy::unnecessary_cast)] // The fields' types differ between systems.
pub(super) fn modified(stat: &Stat) -> Time {
    Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as i64 as u64 }
}

fn times(attributes: &Attributes) -> Timestamps {
    let time = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.min(999_999_999) as _ };
    Timestamps { last_access: time(attributes.accessed), last_modification: time(attributes.modified) }
}

/// Whether all attributes could be set.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn set_xattrs(fd: BorrowedFd<'_>, xattrs: &[Xattr]) -> bool {
    let mut all = true;
    for (name, value) in xattrs {
        all &= rustix::fs::fsetxattr(fd, name.as_slice(), value, rustix::fs::XattrFlags::empty()).is_ok();
    }
    all
}

/// There is no safe interface to them.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn set_xattrs(_: BorrowedFd<'_>, xattrs: &[Xattr]) -> bool {
    xattrs.is_empty()
}
