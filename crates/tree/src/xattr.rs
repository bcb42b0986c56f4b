//! Reading extended attributes from the host's file system.

use crate::node::{Namespace, Xattr};

/// Makes attributes sorted and unique; of equal names the last counts.
pub(crate) fn sorted(mut xattrs: Vec<Xattr>) -> Box<[Xattr]> {
    xattrs.reverse();
    xattrs.sort_by(|a, b| (a.namespace, &a.name).cmp(&(b.namespace, &b.name)));
    xattrs.dedup_by(|a, b| (a.namespace, &a.name) == (b.namespace, &b.name));
    xattrs.into_boxed_slice()
}

/// An attribute by its full name, as Linux lists it; `None` if nothing is left after the namespace.
pub(crate) fn from_full_name(full: &[u8], value: &[u8]) -> Option<Xattr> {
    let (namespace, name) = Namespace::split(full);
    (!name.is_empty() && !name.contains(&0)).then(|| Xattr { namespace, name: name.into(), value: value.into() })
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
pub(crate) use supported::Reader;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
pub(crate) use unsupported::Reader;

#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
mod supported {
    use super::{from_full_name, sorted};
    use crate::node::Xattr;
    use rustix::fs::{lgetxattr, llistxattr};
    use rustix::io::Errno;

    /// Most systems allow 64 KiB for the list and for a value; larger ones are asked for again up to this.
    const LARGEST: usize = 16 << 20;

    /// Buffers kept between files, and what was learnt about a file system.
    pub(crate) struct Reader {
        list: Vec<u8>,
        value: Vec<u8>,
        /// The device that has just refused: all its files do.
        without: Option<u64>,
    }

    impl Reader {
        pub(crate) fn new() -> Reader {
            Reader { list: vec![0; 1024], value: vec![0; 1024], without: None }
        }

        /// The attributes of what lies at `path` on the file system `device`; a symbolic link is not followed.
        pub(crate) fn read(&mut self, path: &[u8], device: u64) -> Result<Option<Box<[Xattr]>>, Errno> {
            if self.without == Some(device) {
                return Ok(None);
            }
            let length = match grow(&mut self.list, |buffer| llistxattr(path, buffer)) {
                Ok(0) => return Ok(None),
                Ok(length) => length,
                Err(Errno::NOTSUP) => {
                    self.without = Some(device);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let mut found = Vec::new();
            for name in self.list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
                match grow(&mut self.value, |buffer| lgetxattr(path, name, buffer)) {
                    Ok(length) => found.extend(from_full_name(name, &self.value[..length])),
                    // Listed, but not for us to see, or just gone.
                    Err(Errno::NODATA | Errno::NOTSUP) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok((!found.is_empty()).then(|| sorted(found)))
        }
    }

    fn grow(buffer: &mut Vec<u8>, mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
        loop {
            match read(buffer) {
                Err(Errno::RANGE) if buffer.len() < LARGEST => buffer.resize(buffer.len() * 8, 0),
                other => return other,
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
mod unsupported {
    use crate::node::Xattr;
    use rustix::io::Errno;

    /// Reads nothing: there is no safe interface to this system's extended attributes.
    pub(crate) struct Reader;

    impl Reader {
        pub(crate) fn new() -> Reader {
            Reader
        }

        pub(crate) fn read(&mut self, _: &[u8], _: u64) -> Result<Option<Box<[Xattr]>>, Errno> {
            Ok(None)
        }
    }
}
