//! What a file is: its attributes, from system attributes or an old znode.

use zfs_ondisk::acl::{self, Ace};
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::sa::{self, Attribute, Schema};

use crate::error::Error;
use crate::object::Object;

/// Bytes of the bonus buffer of a file without system attributes
/// (`znode_phys_t`), up to the target of a symbolic link.
pub(crate) const ZNODE_SIZE: usize = 264;
/// The largest external ACL in bytes that is read.
const MAX_ACL: u32 = 64 << 10;

/// A time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: u64,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A named pipe.
    Fifo,
    /// A character device.
    CharacterDevice,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A socket.
    Socket,
}

impl FileType {
    /// The type with a number, which is bits 12 to 15 of a mode.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Fifo,
            2 => Self::CharacterDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }
}

/// The attributes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permissions, as `st_mode`.
    pub mode: u64,
    /// Length in bytes; of a directory, entries with `.` and `..`.
    pub size: u64,
    /// Number of names.
    pub links: u64,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Project.
    pub project: Option<u64>,
    /// The directory it is in; of a root, itself.
    pub parent: ObjectId,
    /// Transaction group of birth.
    pub generation: u64,
    /// Bits of [`zfs_ondisk::znode::flag`].
    pub flags: u64,
    /// Device number, in the form of the system that made the file: FreeBSD has the
    /// major number in the upper 32 bits, Linux in those from bit 20 on.
    pub device: u64,
    /// Last access.
    pub accessed: Time,
    /// Last change of the contents.
    pub modified: Time,
    /// Last change of the attributes.
    pub changed: Time,
    /// Birth.
    pub created: Time,
    /// The directory of extended attributes.
    pub xattr_dir: Option<ObjectId>,
    /// The entries of the access control list, as the file system counts them.
    pub acl_count: Option<u64>,
}

impl Attributes {
    /// The type of the file.
    pub fn file_type(&self) -> Option<FileType> {
        FileType::from_number(zfs_ondisk::znode::dirent_type(self.mode))
    }

    /// Whether the file is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type() == Some(FileType::Directory)
    }
}

/// All that the bonus buffer and the spill block of a file hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) attributes: Attributes,
    pub(crate) symlink: Option<Vec<u8>>,
    pub(crate) xattrs: Option<Vec<u8>>,
    acl: Option<(Vec<u8>, ByteOrder)>,
    old_acl: Option<(Vec<u8>, ByteOrder)>,
}

impl Stored {
    /// Reads the attributes of a file.
    pub(crate) fn read(object: &Object, schema: &Schema) -> Result<Self, Error> {
        let result = match object.dnode().bonus_type {
            ObjectType::SA => Self::from_system_attributes(object, schema),
            ObjectType::ZNODE => Self::from_znode(object.bonus()),
            other => Err(Error::Malformed {
                what: "type of the bonus buffer",
                found: other.to_string(),
                expected: "attributes of a file",
            }),
        };
        result.map_err(|error| object.failed(error))
    }

    fn from_system_attributes(object: &Object, schema: &Schema) -> Result<Self, Error> {
        let mut stored = Self::default();
        stored.add_buffer(object.bonus().as_bytes(), schema)?;
        if let Some(spill) = object.spill()? {
            stored.add_buffer(&spill, schema)?;
        }
        Ok(stored)
    }

    fn add_buffer(&mut self, buffer: &[u8], schema: &Schema) -> Result<(), Error> {
        let view = sa_view(buffer);
        for (name, value) in schema.attributes(&view)? {
            let known = Attribute::ALL.iter().find(|known| known.name() == name);
            if let Some(&attribute) = known {
                self.add(attribute, &value)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, attribute: Attribute, value: &View<'_>) -> Result<(), Error> {
        let word = || value.u64(0).map_err(Error::truncated(attribute.name()));
        let time = || read_time(value, 0).map_err(Error::truncated(attribute.name()));
        let bytes = || value.as_bytes().to_vec();
        let to = &mut self.attributes;
        match attribute {
            Attribute::Atime => to.accessed = time()?,
            Attribute::Mtime => to.modified = time()?,
            Attribute::Ctime => to.changed = time()?,
            Attribute::Crtime => to.created = time()?,
            Attribute::Gen => to.generation = word()?,
            Attribute::Mode => to.mode = word()?,
            Attribute::Size => to.size = word()?,
            Attribute::Parent => to.parent = ObjectId(word()?),
            Attribute::Links => to.links = word()?,
            Attribute::Xattr => to.xattr_dir = Some(ObjectId(word()?)).filter(|id| id.0 != 0),
            Attribute::Rdev => to.device = word()?,
            Attribute::Flags => to.flags = word()?,
            Attribute::Uid => to.uid = word()?,
            Attribute::Gid => to.gid = word()?,
            Attribute::Projid => to.project = Some(word()?),
            Attribute::DaclCount => to.acl_count = Some(word()?),
            Attribute::ZnodeAcl => self.old_acl = Some((bytes(), value.order())),
            Attribute::Symlink => self.symlink = Some(bytes()),
            Attribute::DaclAces => self.acl = Some((bytes(), value.order())),
            Attribute::Dxattr => self.xattrs = Some(bytes()),
            Attribute::Pad | Attribute::Scanstamp => {}
        }
        Ok(())
    }

    /// The fixed structure of file systems before version 5: the same
    /// attributes, in the order of the legacy layout.
    fn from_znode(view: View<'_>) -> Result<Self, Error> {
        const LAYOUT: &[Attribute] = &[
            Attribute::Atime,
            Attribute::Mtime,
            Attribute::Ctime,
            Attribute::Crtime,
            Attribute::Gen,
            Attribute::Mode,
            Attribute::Size,
            Attribute::Parent,
            Attribute::Links,
            Attribute::Xattr,
            Attribute::Rdev,
            Attribute::Flags,
            Attribute::Uid,
            Attribute::Gid,
            Attribute::Pad,
            Attribute::ZnodeAcl,
        ];
        let mut stored = Self::default();
        let mut offset = 0;
        for &attribute in LAYOUT {
            let value = view.view(offset, attribute.size()).map_err(Error::truncated("znode"))?;
            stored.add(attribute, &value)?;
            offset += attribute.size();
        }
        let size = usize::try_from(stored.attributes.size).unwrap_or(usize::MAX);
        if stored.attributes.file_type() == Some(FileType::Symlink) {
            // A longer target is in the object's data.
            stored.symlink = view.bytes(ZNODE_SIZE, size).ok().map(<[u8]>::to_vec);
        }
        Ok(stored)
    }

    /// The access control list; `None` if the file has none.
    pub(crate) fn acl(&self, object: &Object) -> Result<Option<Vec<Ace>>, Error> {
        if let Some((bytes, order)) = &self.acl {
            return acl::from_bytes(bytes, *order).map(Some).map_err(Error::truncated("access control list"));
        }
        match &self.old_acl {
            Some((bytes, order)) => read_old_acl(View::new(bytes, *order), object).map(Some),
            None => Ok(None),
        }
    }
}

/// A buffer of system attributes: they are in the byte order of whoever wrote
/// them, whatever that of the dnode is.
pub fn sa_view(buffer: &[u8]) -> View<'_> {
    let big = View::new(buffer, ByteOrder::Big);
    match big.u32(0) {
        Ok(sa::MAGIC) => big,
        _ => View::new(buffer, ByteOrder::Little),
    }
}

fn read_time(view: &View<'_>, offset: usize) -> Result<Time, zfs_ondisk::bytes::Truncated> {
    Ok(Time { seconds: view.u64(offset)? as i64, nanoseconds: view.u64(offset + 8)? })
}

/// Reads the ACL of a znode (`zfs_acl_phys_t`): in it, or in an object of its own.
///
/// ```text
/// 0  object (64 bit)   8  bytes (32 bit)   12  version (16 bit)   14  entries   16  the entries
/// ```
fn read_old_acl(view: View<'_>, object: &Object) -> Result<Vec<Ace>, Error> {
    let cut = |source| Error::Truncated { what: "access control list of a znode", source };
    let external = ObjectId(view.u64(0).map_err(cut)?);
    let version = view.u16(12).map_err(cut)?;
    let length = view.u32(8).map_err(cut)?;
    // Version 0 counts entries of 12 bytes each there.
    let size = if version == 0 { length.saturating_mul(12) } else { length };
    if size > MAX_ACL {
        return Err(Error::Malformed {
            what: "size of an access control list",
            found: size.to_string(),
            expected: "at most 64 KiB",
        });
    }
    let mut bytes = vec![0; size as usize];
    if external.0 == 0 {
        bytes.copy_from_slice(view.bytes(16, size as usize).map_err(cut)?);
    } else {
        object.set().object(external)?.read_at(0, &mut bytes)?;
    }
    if version != 0 {
        return acl::from_bytes(&bytes, view.order()).map_err(cut);
    }
    let view = View::new(&bytes, view.order());
    (0..bytes.len() / 12).map(|index| read_ace_v0(view, index * 12).map_err(cut)).collect()
}

/// An entry of an ACL of version 0 (`zfs_oldace_t`).
fn read_ace_v0(view: View<'_>, offset: usize) -> Result<Ace, zfs_ondisk::bytes::Truncated> {
    let flags = view.u16(offset + 8)?;
    let who = u64::from(view.u32(offset)?);
    let numbered = matches!(flags & acl::flag::WHO, 0 | acl::flag::IDENTIFIER_GROUP);
    Ok(Ace { kind: view.u16(offset + 10)?, flags, permissions: view.u32(offset + 4)?, who: numbered.then_some(who) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zfs_ondisk::bytes::Put;

    fn znode(mode: u64, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; ZNODE_SIZE];
        bytes.put_u64(16, 1_700_000_000);
        bytes.put_u64(24, 5);
        bytes.put_u64(72, mode);
        bytes.put_u64(80, size);
        bytes.put_u64(88, 34);
        bytes.put_u64(96, 2);
        bytes.put_u64(128, 1001);
        bytes
    }

    #[test]
    fn an_old_znode_has_the_same_attributes() {
        let bytes = znode(0o100_644, 77);
        let stored = Stored::from_znode(View::new(&bytes, ByteOrder::Little)).unwrap();
        let attributes = stored.attributes;
        assert_eq!((attributes.mode, attributes.size, attributes.links), (0o100_644, 77, 2));
        assert_eq!((attributes.parent, attributes.uid), (ObjectId(34), 1001));
        assert_eq!(attributes.modified, Time { seconds: 1_700_000_000, nanoseconds: 5 });
        assert_eq!(stored.symlink, None);
    }

    #[test]
    fn the_target_of_a_symlink_follows_an_old_znode() {
        let mut bytes = znode(0o120_777, 6);
        bytes.extend(b"target");
        let stored = Stored::from_znode(View::new(&bytes, ByteOrder::Little)).unwrap();
        assert_eq!(stored.symlink.as_deref(), Some(b"target".as_slice()));
    }

    #[test]
    fn a_znode_that_is_cut_is_an_error() {
        let bytes = znode(0o100_644, 77);
        assert!(Stored::from_znode(View::new(&bytes[..263], ByteOrder::Little)).is_err());
    }
}
