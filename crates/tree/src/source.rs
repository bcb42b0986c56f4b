//! Where the contents of files are kept: below a directory, or at an offset of an archive or spool file.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::node::Timestamp;

/// A source that files' contents are read from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files lie below this directory.
    Directory(Root),
    /// Files lie in this one file.
    Archive(Archive),
}

/// A file that holds the contents of many.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    /// Size and time when it was scanned; `None` for a spool file, which nobody else can reach.
    pub(crate) stamp: Option<(u64, Timestamp)>,
}

/// An open directory that paths are relative to.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

/// Longest path given to one system call; `PATH_MAX` is 4096 on Linux and 1024 elsewhere, both with the NUL.
const PATH_STEP: usize = 1000;

impl Root {
    /// Opens the directory; a symbolic link to it is followed.
    pub(crate) fn open(path: &Path) -> Result<Root, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open directory", path, e))?;
        Ok(Root { path: path.to_path_buf(), fd })
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The host's path of something below, for messages and for system calls that take no descriptor.
    pub(crate) fn join(&self, path: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(relative(path)))
    }

    /// As [`join`](Self::join), but an absolute path stands for itself.
    pub(crate) fn join_or_absolute(&self, path: &[u8]) -> PathBuf {
        if path.starts_with(b"/") { PathBuf::from(OsStr::from_bytes(path)) } else { self.join(path) }
    }

    /// Does something at a path below the directory, whatever the path's length: `act` gets a directory and a short
    /// rest of the path. An absolute `path` is taken from the directory.
    pub(crate) fn at<T>(
        &self,
        path: &[u8],
        act: impl FnOnce(std::os::fd::BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut path = relative(path);
        let mut holder: Option<OwnedFd> = None;
        while path.len() > PATH_STEP {
            let Some(slash) = path[..PATH_STEP].iter().rposition(|&byte| byte == b'/') else {
                break;
            };
            let base = holder.as_ref().unwrap_or(&self.fd);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            holder = Some(rustix::fs::openat(base, &path[..slash], flags, Mode::empty())?);
            path = relative(&path[slash..]);
        }
        act(holder.as_ref().unwrap_or(&self.fd).as_fd(), if path.is_empty() { b"." } else { path })
    }
}

fn relative(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
    &path[slashes..]
}
