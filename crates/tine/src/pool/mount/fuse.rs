//! The view as FUSE asks for it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, Config, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request, Session, SessionACL,
};
use zfs_ondisk::znode;
use zfs_pool::fs::{FileType, Time};

use super::view::{Open, Stat, Trouble, View};

/// Nothing that was read changes.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// Names that are looked up for one answer: a buffer of 32 KiB holds about as many.
const NAMES_AT_ONCE: usize = 512;
/// Errors that are told; a damaged pool has no end of them.
const MOST_TOLD: u64 = 20;
/// Requests that are served at a time, where the system allows more than one.
const THREADS: usize = if cfg!(target_os = "linux") { 4 } else { 1 };

/// Mounts a view.
pub(super) fn mount(view: View, at: &Path, allow_other: bool) -> io::Result<Session<Files>> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::FSName(view.name().replace(',', "_")),
        MountOption::Subtype("tine".to_owned()),
    ];
    config.n_threads = Some(THREADS);
    if allow_other {
        config.acl = SessionACL::All;
        // Who mounts may read everything; the others what the modes of the files allow.
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    Session::new(Files::new(view), at, &config)
}

/// The files that FUSE sees.
pub(super) struct Files {
    view: View,
    open: RwLock<HashMap<u64, Arc<Open>>>,
    next: AtomicU64,
    told: AtomicU64,
}

impl Files {
    fn new(view: View) -> Self {
        Self { view, open: RwLock::default(), next: AtomicU64::new(1), told: AtomicU64::new(0) }
    }

    fn open_file(&self, handle: FileHandle) -> Result<Arc<Open>, Trouble> {
        let open = self.open.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.get(&handle.0).cloned().ok_or(Trouble::Missing)
    }

    /// The error number for a trouble. What cannot be read is told where the program runs.
    fn error(&self, trouble: Trouble) -> Errno {
        match trouble {
            Trouble::Missing => Errno::ENOENT,
            Trouble::NotADirectory => Errno::ENOTDIR,
            Trouble::IsADirectory => Errno::EISDIR,
            Trouble::NotALink => Errno::EINVAL,
            Trouble::NoXattr => Errno::NO_XATTR,
            Trouble::Number => Errno::EOVERFLOW,
            Trouble::Unreadable(why) => {
                match self.told.fetch_add(1, Ordering::Relaxed) {
                    MOST_TOLD => crate::output::warn("tine", &["more cannot be read, and is not told".to_owned()]),
                    told if told < MOST_TOLD => crate::output::warn("tine", &[why]),
                    _ => {}
                }
                Errno::EIO
            }
        }
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.view.lookup(parent.0, name.as_bytes()) {
            Ok(stat) => reply.entry(&FOREVER, &attributes(&stat), Generation(0)),
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.view.stat(number.0) {
            Ok(stat) => reply.attr(&FOREVER, &attributes(&stat)),
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.view.link_target(number.0) {
            Ok(target) => reply.data(&target),
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.view.open(number.0) {
            Ok(file) => {
                let handle = self.next.fetch_add(1, Ordering::Relaxed);
                let mut open = self.open.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                open.insert(handle, Arc::new(file));
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.open_file(handle).and_then(|file| file.read(offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let Ok(from) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        let found = self.open_file(handle).and_then(|file| match whence {
            SEEK_DATA => file.data_from(from),
            SEEK_HOLE => file.hole_from(from),
            _ => Ok(None),
        });
        match found.map(|found| found.and_then(|at| i64::try_from(at).ok())) {
            Ok(Some(at)) => reply.offset(at),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if let Some(why) = self.view.closed(number.0) {
            let _ = self.error(Trouble::Unreadable(why));
        }
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut place = offset;
        loop {
            let listed = match self.view.list(number.0, place, NAMES_AT_ONCE) {
                Ok(listed) => listed,
                // What was found so far is still an answer; the next request meets the error at once.
                Err(_) if place != offset => return reply.ok(),
                Err(trouble) => return reply.error(self.error(trouble)),
            };
            let Some(last) = listed.last() else { return reply.ok() };
            place = last.next;
            for listed in listed {
                let kind = file_type(listed.file_type);
                if reply.add(INodeNo(listed.number), listed.next, kind, OsStr::from_bytes(&listed.name)) {
                    return reply.ok();
                }
            }
        }
    }

    fn statfs(&self, _: &Request, number: INodeNo, reply: ReplyStatfs) {
        match self.view.space(number.0) {
            // As of any file system that is full because nothing can be written to it.
            Ok(space) => reply.statfs(space.referenced / 512, 0, 0, space.objects, 0, 128 << 10, 255, 512),
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.view.xattr(number.0, name.as_bytes()) {
            Ok(value) => answer(reply, size, &value),
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.view.xattrs(number.0) {
            Ok(found) => {
                let names: Vec<u8> = found
                    .into_iter()
                    .flat_map(|(mut name, _)| {
                        name.push(0);
                        name
                    })
                    .collect();
                answer(reply, size, &names);
            }
            Err(trouble) => reply.error(self.error(trouble)),
        }
    }

    fn access(&self, _: &Request, _: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        if mask.contains(AccessFlags::W_OK) { reply.error(Errno::EROFS) } else { reply.ok() }
    }
}

/// Answers with a value, or with its size if that is what was asked for.
fn answer(reply: ReplyXattr, size: u32, value: &[u8]) {
    match size {
        0 => reply.size(value.len() as u32),
        room if value.len() > room as usize => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

fn file_type(file_type: Option<FileType>) -> fuser::FileType {
    match file_type {
        Some(FileType::Fifo) => fuser::FileType::NamedPipe,
        Some(FileType::CharacterDevice) => fuser::FileType::CharDevice,
        Some(FileType::Directory) => fuser::FileType::Directory,
        Some(FileType::BlockDevice) => fuser::FileType::BlockDevice,
        Some(FileType::Symlink) => fuser::FileType::Symlink,
        Some(FileType::Socket) => fuser::FileType::Socket,
        Some(FileType::Regular) | None => fuser::FileType::RegularFile,
    }
}

fn attributes(stat: &Stat) -> FileAttr {
    let attributes = &stat.attributes;
    FileAttr {
        ino: INodeNo(stat.number),
        size: attributes.size,
        blocks: stat.used.div_ceil(512),
        atime: time(attributes.accessed),
        mtime: time(attributes.modified),
        ctime: time(attributes.changed),
        crtime: time(attributes.created),
        kind: file_type(attributes.file_type()),
        perm: (attributes.mode & 0o7777) as u16,
        nlink: attributes.links.min(u32::MAX.into()) as u32,
        uid: attributes.uid as u32,
        gid: attributes.gid as u32,
        rdev: device(attributes.device),
        blksize: stat.block_size.clamp(512, 1 << 24) as u32,
        flags: 0,
    }
}

fn time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    let nanoseconds = Duration::from_nanos(time.nanoseconds.min(999_999_999));
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

/// A device number as FUSE has them: 12 bits of major number within 20 bits of minor number.
fn device(device: u64) -> u32 {
    let (major, minor) = znode::parse_device_number(device);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_of_linux_and_of_freebsd_are_understood() {
        assert_eq!(device(8 << 20 | 1), 0x801);
        assert_eq!(device(8 << 32 | 1), 0x801);
        assert_eq!(device(8 << 20 | 0x12345), 0x1230_0845);
    }

    #[test]
    fn times_before_1970_are_times() {
        let before = time(Time { seconds: -1, nanoseconds: 500_000_000 });
        assert_eq!(UNIX_EPOCH.duration_since(before).expect("it is before"), Duration::from_millis(500));
    }
}
