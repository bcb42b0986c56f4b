//! NFSv4 access control lists (`sys/zfs_acl.h`): entries that allow or deny, in
//! the order in which they are asked.
//!
//! ```text
//! 0  type (16 bit)   2  flags (16 bit)   4  permissions (32 bit)
//! 8  who (64 bit)    left out of an entry that allows or denies the owner, the group or everyone
//! 16 two GUIDs       only of entries for one type of object, which SMB has (types 5 to 8)
//! ```

use crate::bytes::{ByteOrder, Put, Truncated, View};

/// What an entry does with the permissions it names.
pub mod kind {
    /// Gives them.
    pub const ALLOW: u16 = 0;
    /// Refuses them.
    pub const DENY: u16 = 1;
    /// Records their use.
    pub const AUDIT: u16 = 2;
    /// Raises an alarm on their use.
    pub const ALARM: u16 = 3;
}

/// Bits of an entry's flags.
pub mod flag {
    /// Files made in the directory inherit it.
    pub const FILE_INHERIT: u16 = 0x1;
    /// Directories made in the directory inherit it.
    pub const DIRECTORY_INHERIT: u16 = 0x2;
    /// Children of these do not.
    pub const NO_PROPAGATE_INHERIT: u16 = 0x4;
    /// It does not apply to the directory itself.
    pub const INHERIT_ONLY: u16 = 0x8;
    /// "Who" is a group.
    pub const IDENTIFIER_GROUP: u16 = 0x40;
    /// It was inherited.
    pub const INHERITED: u16 = 0x80;
    /// Who: the owner.
    pub const OWNER: u16 = 0x1000;
    /// Who: the owning group.
    pub const GROUP: u16 = 0x2000;
    /// Who: everyone.
    pub const EVERYONE: u16 = 0x4000;
    /// The bits that say who.
    pub const WHO: u16 = OWNER | GROUP | EVERYONE | IDENTIFIER_GROUP;
}

/// Bits of an entry's permissions.
pub mod permission {
    /// Read the file, list the directory.
    pub const READ_DATA: u32 = 0x1;
    /// Write the file, add a file to the directory.
    pub const WRITE_DATA: u32 = 0x2;
    /// Append to the file, add a directory to the directory.
    pub const APPEND_DATA: u32 = 0x4;
    /// Read extended attributes.
    pub const READ_NAMED_ATTRS: u32 = 0x8;
    /// Write extended attributes.
    pub const WRITE_NAMED_ATTRS: u32 = 0x10;
    /// Execute the file, search the directory.
    pub const EXECUTE: u32 = 0x20;
    /// Remove entries of the directory.
    pub const DELETE_CHILD: u32 = 0x40;
    /// Read the attributes.
    pub const READ_ATTRIBUTES: u32 = 0x80;
    /// Write the attributes.
    pub const WRITE_ATTRIBUTES: u32 = 0x100;
    /// Remove the file.
    pub const DELETE: u32 = 0x1_0000;
    /// Read the list.
    pub const READ_ACL: u32 = 0x2_0000;
    /// Write the list.
    pub const WRITE_ACL: u32 = 0x4_0000;
    /// Change the owner.
    pub const WRITE_OWNER: u32 = 0x8_0000;
    /// Use it as a synchronisation point.
    pub const SYNCHRONIZE: u32 = 0x10_0000;
}

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ace {
    /// One of [`kind`].
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Bits of [`permission`].
    pub permissions: u32,
    /// The user or group, where the flags name none.
    pub who: Option<u64>,
}

/// The list that says what `mode` says (`acl_trivial_create`): an entry each
/// for owner, group and everyone, preceded by such as keep a class from getting
/// what a later class has and it has not.
pub fn trivial(mode: u32, directory: bool) -> Vec<Ace> {
    use permission::*;
    let write = WRITE_DATA | APPEND_DATA | if directory { DELETE_CHILD } else { 0 };
    let class = |shift: u32| {
        [(4, READ_DATA), (2, write), (1, EXECUTE)]
            .into_iter()
            .filter(|(bit, _)| mode >> shift & bit != 0)
            .fold(0, |mask, (_, permission)| mask | permission)
    };
    let (owner, group, everyone) = (class(6), class(3), class(0));
    let everyone_may = READ_ACL | READ_ATTRIBUTES | READ_NAMED_ATTRS | SYNCHRONIZE;
    let owner_may = everyone_may | WRITE_ACL | WRITE_ATTRIBUTES | WRITE_NAMED_ATTRS | WRITE_OWNER;
    let denied_group = everyone & !group;
    let group_flags = flag::GROUP | flag::IDENTIFIER_GROUP;
    let entry = |kind, flags, permissions| Ace { kind, flags, permissions, who: None };
    let exceptions = [
        // The owner may belong to the group.
        entry(kind::ALLOW, flag::OWNER, owner & denied_group),
        entry(kind::DENY, flag::OWNER, (group | everyone) & !owner),
        entry(kind::DENY, group_flags, denied_group),
    ];
    exceptions
        .into_iter()
        .filter(|ace| ace.permissions != 0)
        .chain([
            entry(kind::ALLOW, flag::OWNER, owner_may | owner),
            entry(kind::ALLOW, group_flags, everyone_may | group),
            entry(kind::ALLOW, flag::EVERYONE, everyone_may | everyone),
        ])
        .collect()
}

/// The on-disk form of a list, in little-endian order.
pub fn to_bytes(acl: &[Ace]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(acl.len() * 16);
    for ace in acl {
        let start = bytes.len();
        bytes.resize(start + entry_size(ace.kind, ace.flags), 0);
        bytes.put_u16(start, ace.kind);
        bytes.put_u16(start + 2, ace.flags);
        bytes.put_u32(start + 4, ace.permissions);
        if let Some(who) = ace.who {
            bytes.put_u64(start + 8, who);
        }
    }
    bytes
}

/// Reads a list.
///
/// # Errors
/// [`Truncated`] if the last entry is cut.
pub fn from_bytes(bytes: &[u8], order: ByteOrder) -> Result<Vec<Ace>, Truncated> {
    let view = View::new(bytes, order);
    let mut acl = Vec::new();
    let mut offset = 0;
    while offset < view.len() {
        let (kind, flags) = (view.u16(offset)?, view.u16(offset + 2)?);
        let entry = view.view(offset, entry_size(kind, flags))?;
        // A user has none of the bits, a group by number the group bit alone.
        let numbered = matches!(flags & flag::WHO, 0 | flag::IDENTIFIER_GROUP);
        let who = if numbered { Some(entry.u64(8)?) } else { None };
        acl.push(Ace { kind, flags, permissions: entry.u32(4)?, who });
        offset += entry.len();
    }
    Ok(acl)
}

/// Bytes of an entry (`zfs_ace_fuid_size`).
fn entry_size(kind: u16, flags: u16) -> usize {
    const OWNING_GROUP: u16 = flag::GROUP | flag::IDENTIFIER_GROUP;
    match (kind, flags & flag::WHO) {
        (kind::ALLOW | kind::DENY, flag::OWNER | OWNING_GROUP | flag::EVERYONE) => 8,
        (5..=8, _) => 48,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_mode_takes_three_entries() {
        let acl = trivial(0o755, true);
        let who: Vec<u16> = acl.iter().map(|ace| ace.flags).collect();
        assert_eq!(who, [flag::OWNER, flag::GROUP | flag::IDENTIFIER_GROUP, flag::EVERYONE]);
        assert_eq!(to_bytes(&acl).len(), 24);
    }

    #[test]
    fn a_class_that_has_less_than_a_later_one_is_denied_the_difference() {
        let acl = trivial(0o604, false);
        assert_eq!((acl[0].kind, acl[0].flags), (kind::ALLOW, flag::OWNER));
        assert_eq!((acl[1].kind, acl[1].permissions), (kind::DENY, permission::READ_DATA));
        assert_eq!(trivial(0o077, false)[0].kind, kind::DENY);
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let mut acl = trivial(0o640, false);
        acl.insert(0, Ace { kind: kind::DENY, flags: 0, permissions: 7, who: Some(1001) });
        acl.push(Ace { kind: kind::ALLOW, flags: flag::IDENTIFIER_GROUP, permissions: 1, who: Some(20) });
        assert_eq!(from_bytes(&to_bytes(&acl), ByteOrder::Little), Ok(acl));
    }

    #[test]
    fn entries_that_audit_or_are_for_one_type_of_object_are_longer() {
        let entry = |kind, flags, who| Ace { kind, flags, permissions: 1, who };
        let acl = [
            entry(kind::AUDIT, flag::EVERYONE, None),
            entry(5, flag::OWNER, None),
            entry(6, 0, Some(7)),
            entry(kind::ALLOW, flag::GROUP, None),
            entry(kind::ALLOW, flag::EVERYONE, None),
        ];
        let bytes = to_bytes(&acl);
        assert_eq!(bytes.len(), 16 + 48 + 48 + 16 + 8);
        assert_eq!(from_bytes(&bytes, ByteOrder::Little), Ok(acl.to_vec()));
    }

    #[test]
    fn a_cut_list_is_an_error() {
        let bytes = to_bytes(&trivial(0o640, false));
        assert!(from_bytes(&bytes[..bytes.len() - 1], ByteOrder::Little).is_err());
    }
}
