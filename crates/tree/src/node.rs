//! What a tree says about one file, directory, link or device.

use std::time::SystemTime;

/// A node (inode) of a [`Tree`](crate::Tree): several names may lead to it.
///
/// Nodes are numbered from 0 (the root) in depth-first order of their first names, names sorted by bytes,
/// so the numbers depend on the paths alone.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The node's number, below [`Tree::len`](crate::Tree::len).
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The type of a node.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO (named pipe).
    Fifo,
}

/// A point in time, counted from 1970-01-01 00:00:00 UTC.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug, Default)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The timestamp of a `time_t` and nanoseconds as `stat(2)` gives them; nanoseconds out of range are cut to it.
    pub(crate) fn from_stat(seconds: i64, nanoseconds: i64) -> Timestamp {
        Timestamp { seconds, nanoseconds: nanoseconds.clamp(0, 999_999_999) as u32 }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: after.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Timestamp { seconds: -whole, nanoseconds: 0 },
                    nanoseconds => Timestamp { seconds: -whole - 1, nanoseconds: 1_000_000_000 - nanoseconds },
                }
            }
        }
    }
}

/// The attributes of a node.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its type.
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: within 07777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// File flags in the bit values of FreeBSD's `sys/stat.h` (`st_flags`).
    pub flags: u32,
    /// Time of the last modification.
    pub mtime: Timestamp,
    /// Names that lead to the node. For a directory, 2 plus the number of its subdirectories.
    pub links: u32,
    /// Bytes of content of a regular file, bytes of a symbolic link's target; 0 for anything else.
    pub size: u64,
}

/// Where an extended attribute lives.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Ord, PartialOrd, Debug)]
pub enum Namespace {
    /// FreeBSD's `EXTATTR_NAMESPACE_USER`, Linux's `user.`. Names without a known prefix are put here whole.
    User,
    /// FreeBSD's `EXTATTR_NAMESPACE_SYSTEM`, and Linux's `system.` except for POSIX ACLs.
    System,
    /// Linux's `trusted.`.
    Trusted,
    /// Linux's `security.`.
    Security,
    /// Linux's `system.posix_acl_access` and `system.posix_acl_default`: POSIX.1e ACLs in the kernel's binary form.
    /// The attribute's name is `posix_acl_access` or `posix_acl_default`.
    PosixAcl,
}

impl Namespace {
    /// What Linux puts before the attribute's name in this namespace, dot included.
    pub fn linux_prefix(self) -> &'static str {
        match self {
            Namespace::User => "user.",
            Namespace::System | Namespace::PosixAcl => "system.",
            Namespace::Trusted => "trusted.",
            Namespace::Security => "security.",
        }
    }

    /// Splits a full name, as Linux lists it, into namespace and name.
    pub fn split(full: &[u8]) -> (Namespace, &[u8]) {
        if let Some(name) = full.strip_prefix(b"system.") {
            let acl = name == b"posix_acl_access" || name == b"posix_acl_default";
            return (if acl { Namespace::PosixAcl } else { Namespace::System }, name);
        }
        for namespace in [Namespace::User, Namespace::Trusted, Namespace::Security] {
            if let Some(name) = full.strip_prefix(namespace.linux_prefix().as_bytes()) {
                return (namespace, name);
            }
        }
        (Namespace::User, full)
    }
}

/// An extended attribute. Those of a node are sorted by namespace and name.
#[derive(Clone, PartialEq, Eq, Ord, PartialOrd, Debug)]
pub struct Xattr {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name without the namespace's prefix; never empty.
    pub name: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
}
