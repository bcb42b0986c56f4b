//! What differs between operating systems: the fields of `struct stat`, holes, extended attributes, file flags.

use std::fs::File;
use std::ops::Range;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::node::Timestamp;

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode as _)
}

pub(crate) fn is_file(stat: &Stat) -> bool {
    file_type(stat) == FileType::RegularFile
}

pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Bytes allocated on the file system. `st_blocks` counts 512 bytes on every Unix.
pub(crate) fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

#[allow(clippy::unnecessary_cast)] // The fields' types differ between systems.
pub(crate) fn mtime(stat: &Stat) -> Timestamp {
    Timestamp::from_stat(stat.st_mtime as i64, stat.st_mtime_nsec as i64)
}

#[allow(clippy::unnecessary_cast)] // As above.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

#[allow(clippy::unnecessary_cast)] // As above.
pub(crate) fn links(stat: &Stat) -> u64 {
    stat.st_nlink as u64
}

#[allow(clippy::unnecessary_cast)] // As above.
pub(crate) fn permissions(stat: &Stat) -> u16 {
    (stat.st_mode as u32 & 0o7777) as u16
}

/// Major and minor number of a device node.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // As above.
pub(crate) fn device(stat: &Stat) -> (u32, u32) {
    let device = stat.st_rdev;
    (rustix::fs::major(device as _) as u32, rustix::fs::minor(device as _) as u32)
}

/// FreeBSD's `st_flags`. Other systems number their flags otherwise or have none in `struct stat`.
#[cfg(target_os = "freebsd")]
pub(crate) fn flags(stat: &Stat) -> u32 {
    stat.st_flags
}

/// FreeBSD's `st_flags`. Other systems number their flags otherwise or have none in `struct stat`.
#[cfg(not(target_os = "freebsd"))]
pub(crate) fn flags(_: &Stat) -> u32 {
    0
}

/// The next range of data at or after `offset`; `None` if there is none.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "macos",
    target_os = "illumos"
))]
pub(crate) fn next_data(file: &File, offset: u64) -> Result<Option<Range<u64>>, Errno> {
    use rustix::fs::SeekFrom;
    let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(start..rustix::fs::seek(file, SeekFrom::Hole(start))?))
}

/// The next range of data at or after `offset`; `None` if there is none.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "macos",
    target_os = "illumos"
)))]
pub(crate) fn next_data(_: &File, _: u64) -> Result<Option<Range<u64>>, Errno> {
    Err(Errno::INVAL)
}
