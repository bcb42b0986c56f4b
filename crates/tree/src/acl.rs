//! NFSv4 access control lists, in the terms and bit values of ZFS's `ace_t` (`sys/acl.h` of OpenZFS).

/// One entry of an NFSv4 ACL.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ace {
    /// What the entry does.
    pub kind: AceKind,
    /// Inheritance and audit bits: [`FILE_INHERIT`] and its neighbours. The bits that `ace_t` uses to say who
    /// is meant (`ACE_OWNER`, `ACE_GROUP`, `ACE_EVERYONE`, `ACE_IDENTIFIER_GROUP`) are never set here.
    pub flags: u16,
    /// Permission bits: [`READ_DATA`] and its neighbours.
    pub mask: u32,
    /// Whom it concerns.
    pub who: Who,
}

/// The type of an entry, numbered as `a_type` of `ace_t`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum AceKind {
    /// Grants the permissions.
    Allow = 0,
    /// Refuses the permissions.
    Deny = 1,
    /// Writes an audit record.
    Audit = 2,
    /// Raises an alarm.
    Alarm = 3,
}

/// Whom an entry concerns.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// The file's owner (`owner@`).
    Owner,
    /// The file's group (`group@`).
    Group,
    /// Everyone (`everyone@`).
    Everyone,
    /// The user of this number.
    User(u32),
    /// The group of this number.
    NamedGroup(u32),
}

/// Read a file; list a directory.
pub const READ_DATA: u32 = 0x1;
/// Write a file; add a file to a directory.
pub const WRITE_DATA: u32 = 0x2;
/// Append to a file; add a subdirectory.
pub const APPEND_DATA: u32 = 0x4;
/// Read extended attributes.
pub const READ_NAMED_ATTRS: u32 = 0x8;
/// Write extended attributes.
pub const WRITE_NAMED_ATTRS: u32 = 0x10;
/// Execute a file; search a directory.
pub const EXECUTE: u32 = 0x20;
/// Delete what is in a directory.
pub const DELETE_CHILD: u32 = 0x40;
/// Read the attributes.
pub const READ_ATTRIBUTES: u32 = 0x80;
/// Change the times.
pub const WRITE_ATTRIBUTES: u32 = 0x100;
/// Delete the file itself.
pub const DELETE: u32 = 0x1_0000;
/// Read the ACL.
pub const READ_ACL: u32 = 0x2_0000;
/// Write the ACL and the mode.
pub const WRITE_ACL: u32 = 0x4_0000;
/// Change owner and group.
pub const WRITE_OWNER: u32 = 0x8_0000;
/// Kept for NFSv4's sake; checked by nothing.
pub const SYNCHRONIZE: u32 = 0x10_0000;

/// Inherited by new files in the directory.
pub const FILE_INHERIT: u16 = 0x1;
/// Inherited by new subdirectories.
pub const DIRECTORY_INHERIT: u16 = 0x2;
/// Inherited by one level only.
pub const NO_PROPAGATE_INHERIT: u16 = 0x4;
/// Not effective here, only inherited.
pub const INHERIT_ONLY: u16 = 0x8;
/// Audit or alarm on success.
pub const SUCCESSFUL_ACCESS: u16 = 0x10;
/// Audit or alarm on failure.
pub const FAILED_ACCESS: u16 = 0x20;
/// The entry was inherited.
pub const INHERITED: u16 = 0x80;
