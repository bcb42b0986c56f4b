//! The root of an object set (`objset_phys_t`, `sys/dmu_objset.h`).
//!
//! ```text
//! 0     dnode of the array of dnodes
//! 512   intent log header (192 bytes)
//! 704   type   712 flags   720 portable MAC (32 bytes)   752 local MAC (32 bytes)
//! 1024  dnode of the space used by user        from version 2, 2048 bytes
//! 1536  dnode of the space used by group
//! 2048  dnode of the space used by project     from version 3, 4096 bytes
//! ```

use crate::bytes::{Put, Truncated, View};
use crate::dnode::{self, Dnode};

/// Size in bytes with accounting by user and group.
pub const SIZE_V2: usize = 2048;
/// Size in bytes with accounting by project too.
pub const SIZE_V3: usize = 4096;
/// Bytes of an intent log header (`zil_header_t`).
pub const ZIL_HEADER_SIZE: usize = 192;

/// Space by user and group is complete.
pub const FLAG_USERACCOUNTING_COMPLETE: u64 = 1 << 0;
/// Objects by user, group and project are complete.
pub const FLAG_USEROBJACCOUNTING_COMPLETE: u64 = 1 << 1;
/// Space by project is complete.
pub const FLAG_PROJECTQUOTA_COMPLETE: u64 = 1 << 2;

/// Number, among the accounting objects, of the space used by user.
pub const USERUSED_OBJECT: i64 = -1;
/// Number, among the accounting objects, of the space used by group.
pub const GROUPUSED_OBJECT: i64 = -2;
/// Number, among the accounting objects, of the space used by project.
pub const PROJECTUSED_OBJECT: i64 = -3;

/// What an object set is (`dmu_objset_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// The meta object set of a pool.
    Meta = 1,
    /// A file system.
    FileSystem = 2,
    /// A volume.
    Volume = 3,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Meta, Self::FileSystem, Self::Volume].into_iter().find(|&kind| kind as u64 == number)
    }
}

/// The root of an object set.
#[derive(Clone, Debug)]
pub struct ObjectSet {
    /// The object whose contents are the dnodes of all others.
    pub meta_dnode: Dnode,
    /// The intent log header; zeros for an empty log.
    pub zil_header: [u8; ZIL_HEADER_SIZE],
    /// Number of its [`Kind`].
    pub kind: u64,
    /// `FLAG_...`.
    pub flags: u64,
    /// Space used by user (ZAP).
    pub user_used: Option<Dnode>,
    /// Space used by group (ZAP).
    pub group_used: Option<Dnode>,
    /// Space used by project (ZAP).
    pub project_used: Option<Dnode>,
}

/// Why bytes are not the root of an object set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends too early.
    #[error("object set: {0}")]
    Truncated(#[from] Truncated),
    /// One of its dnodes is damaged.
    #[error("object set: {0}")]
    Dnode(#[from] dnode::Error),
    /// It has no array of dnodes.
    #[error("object set: it has no array of dnodes")]
    NoMetaDnode,
}

impl ObjectSet {
    /// Reads the root of an object set.
    ///
    /// # Errors
    /// If it is too short, or a dnode in it is damaged.
    pub fn read(view: &View<'_>) -> Result<Self, Error> {
        let dnode = |offset: usize| -> Result<Option<Dnode>, Error> {
            if view.len() < offset + dnode::SLOT_SIZE {
                return Ok(None);
            }
            Ok(Dnode::read(&view.view(offset, dnode::SLOT_SIZE)?)?)
        };
        let mut zil_header = [0; ZIL_HEADER_SIZE];
        zil_header.copy_from_slice(view.bytes(512, ZIL_HEADER_SIZE)?);
        Ok(Self {
            meta_dnode: dnode(0)?.ok_or(Error::NoMetaDnode)?,
            zil_header,
            kind: view.u64(704)?,
            flags: view.u64(712)?,
            user_used: dnode(1024)?,
            group_used: dnode(1536)?,
            project_used: dnode(2048)?,
        })
    }

    /// The root in `size` bytes: [`SIZE_V2`] or [`SIZE_V3`].
    ///
    /// # Panics
    /// If `size` has no room for an accounting object that there is.
    pub fn to_bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.meta_dnode.write(&mut bytes);
        bytes.put_bytes(512, &self.zil_header);
        bytes.put_u64(704, self.kind);
        bytes.put_u64(712, self.flags);
        for (offset, used) in [(1024, &self.user_used), (1536, &self.group_used), (2048, &self.project_used)] {
            if let Some(used) = used {
                used.write(&mut bytes[offset..]);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ByteOrder;
    use crate::object::ObjectType;

    #[test]
    fn an_object_set_is_read_as_it_was_written() {
        let used = Dnode::new(ObjectType::USERGROUP_USED, 512);
        let written = ObjectSet {
            meta_dnode: Dnode::new(ObjectType::DNODE, dnode::BLOCK_SIZE),
            zil_header: [0; ZIL_HEADER_SIZE],
            kind: Kind::FileSystem as u64,
            flags: FLAG_USERACCOUNTING_COMPLETE,
            user_used: Some(used.clone()),
            group_used: Some(used.clone()),
            project_used: Some(used),
        };
        let read = ObjectSet::read(&View::new(&written.to_bytes(SIZE_V3), ByteOrder::Little)).unwrap();
        assert_eq!(Kind::from_number(read.kind), Some(Kind::FileSystem));
        assert_eq!((read.flags, &read.meta_dnode), (written.flags, &written.meta_dnode));
        assert_eq!(read.project_used, written.project_used);
    }
}
