//! Access control lists as archives write them: text, an entry a line or between commas (acl_to_text(3), star(5)).

use super::ArchiveError;
use crate::acl::{self, Ace, AceKind, Who};
use crate::error::PathBytes;
use crate::ids::Ids;

const PERMISSIONS: &[(u8, u32)] = &[
    (b'r', acl::READ_DATA),
    (b'w', acl::WRITE_DATA),
    (b'x', acl::EXECUTE),
    (b'p', acl::APPEND_DATA),
    (b'D', acl::DELETE_CHILD),
    (b'd', acl::DELETE),
    (b'a', acl::READ_ATTRIBUTES),
    (b'A', acl::WRITE_ATTRIBUTES),
    (b'R', acl::READ_NAMED_ATTRS),
    (b'W', acl::WRITE_NAMED_ATTRS),
    (b'c', acl::READ_ACL),
    (b'C', acl::WRITE_ACL),
    (b'o', acl::WRITE_OWNER),
    (b's', acl::SYNCHRONIZE),
];

const FLAGS: &[(u8, u16)] = &[
    (b'f', acl::FILE_INHERIT),
    (b'd', acl::DIRECTORY_INHERIT),
    (b'i', acl::INHERIT_ONLY),
    (b'n', acl::NO_PROPAGATE_INHERIT),
    (b'S', acl::SUCCESSFUL_ACCESS),
    (b'F', acl::FAILED_ACCESS),
    (b'I', acl::INHERITED),
];

/// An NFSv4 ACL: `owner@:rwxp--aARWcCos:-------:allow`, `user:NAME:...:allow:1001`.
pub(super) fn nfs4(text: &[u8], ids: &Ids) -> Result<Vec<Ace>, ArchiveError> {
    entries(text).map(|entry| nfs4_entry(entry, ids).ok_or_else(|| bad(entry))).collect()
}

fn nfs4_entry(entry: &[u8], ids: &Ids) -> Option<Ace> {
    let mut fields = entry.split(|&byte| byte == b':').map(<[u8]>::trim_ascii);
    let tag = fields.next()?;
    let qualifier = if matches!(tag, b"user" | b"group") { Some(fields.next()?) } else { None };
    let mask = letters(fields.next()?, PERMISSIONS)?;
    let flags = letters(fields.next()?, FLAGS)?;
    let kind = match fields.next()? {
        b"allow" => AceKind::Allow,
        b"deny" => AceKind::Deny,
        b"audit" => AceKind::Audit,
        b"alarm" => AceKind::Alarm,
        _ => return None,
    };
    let id = fields.next();
    let who = match (tag, qualifier) {
        (b"owner@", _) => Who::Owner,
        (b"group@", _) => Who::Group,
        (b"everyone@", _) => Who::Everyone,
        (b"user", Some(name)) => Who::User(number(name, id, |name| ids.user(name))?),
        (b"group", Some(name)) => Who::NamedGroup(number(name, id, |name| ids.group(name))?),
        _ => return None,
    };
    Some(Ace { kind, flags, mask, who })
}

/// A POSIX.1e ACL, `user::rwx,user:NAME:r-x:1001,mask::rwx`, in the binary form of Linux's attribute
/// (`linux/posix_acl_xattr.h`): version 2, then tag, permissions and number of each entry, all little-endian.
pub(super) fn posix(text: &[u8], ids: &Ids) -> Result<Vec<u8>, ArchiveError> {
    let mut list = Vec::new();
    for entry in entries(text) {
        list.push(posix_entry(entry, ids).ok_or_else(|| bad(entry))?);
    }
    // The kernel keeps them by tag and number.
    list.sort_unstable();
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, id, permissions) in list {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(value)
}

fn posix_entry(entry: &[u8], ids: &Ids) -> Option<(u16, u32, u16)> {
    /// Number of an entry that names nobody.
    const NOBODY: u32 = u32::MAX;
    let mut fields = entry.split(|&byte| byte == b':').map(<[u8]>::trim_ascii);
    let tag = fields.next()?;
    let mut name = fields.next()?;
    let mut permissions = fields.next();
    // `mask` and `other` may do without the empty name.
    if permissions.is_none() && matches!(tag, b"mask" | b"m" | b"other" | b"o") {
        (permissions, name) = (Some(name), b"");
    }
    let permissions = letters(permissions?, &[(b'r', 4u16), (b'w', 2), (b'x', 1)])?;
    let id = fields.next();
    let (tag, id) = match tag {
        b"user" | b"u" if name.is_empty() => (0x01, NOBODY),
        b"user" | b"u" => (0x02, number(name, id, |name| ids.user(name))?),
        b"group" | b"g" if name.is_empty() => (0x04, NOBODY),
        b"group" | b"g" => (0x08, number(name, id, |name| ids.group(name))?),
        b"mask" | b"m" => (0x10, NOBODY),
        b"other" | b"o" => (0x20, NOBODY),
        _ => return None,
    };
    Some((tag, id, permissions))
}

/// Entries between newlines or commas; what follows a `#` is a comment.
fn entries(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b','))
        .map(|entry| entry.split(|&byte| byte == b'#').next().unwrap_or(entry).trim_ascii())
        .filter(|entry| !entry.is_empty())
}

fn letters<T: Copy + Default + std::ops::BitOr<Output = T>>(text: &[u8], table: &[(u8, T)]) -> Option<T> {
    text.iter().filter(|&&letter| letter != b'-').try_fold(T::default(), |bits, letter| {
        table.iter().find(|(known, _)| known == letter).map(|(_, bit)| bits | *bit)
    })
}

/// The number that is written last, or is written for a name, or that a name stands for.
fn number(name: &[u8], id: Option<&[u8]>, find: impl Fn(&[u8]) -> Option<u32>) -> Option<u32> {
    let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
    match id {
        Some(id) if !id.is_empty() => parse(id),
        _ => parse(name).or_else(|| find(name)),
    }
}

fn bad(entry: &[u8]) -> ArchiveError {
    ArchiveError::Acl { entry: PathBytes::new(entry) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nfs4_text_becomes_entries() {
        let text = b"user:www:r-----a-R-c--s:fd-----:allow:80,\nowner@:rwxp--aARWcCos:-------:allow,group:0:w-------------:------I:deny,everyone@:--------------::deny";
        let acl = nfs4(text, &Ids::freebsd()).unwrap();
        assert_eq!(acl.len(), 4);
        assert_eq!(
            acl[0],
            Ace {
                kind: AceKind::Allow,
                flags: acl::FILE_INHERIT | acl::DIRECTORY_INHERIT,
                mask: 0x12_0089,
                who: Who::User(80)
            }
        );
        assert_eq!(acl[1].mask, 0x1e_01bf);
        assert_eq!(acl[2], Ace { kind: AceKind::Deny, flags: 0x80, mask: 2, who: Who::NamedGroup(0) });
        assert_eq!(acl[3].who, Who::Everyone);
    }

    #[test]
    fn posix_text_becomes_linuxs_binary_form() {
        let text = b"user::rwx\nuser:alice:r-x:1001\ngroup::r-x\nmask::r-x\nother::---\n";
        let value = posix(text, &Ids::freebsd()).unwrap();
        let mut expected = vec![2, 0, 0, 0];
        for (tag, permissions, id) in
            [(1u16, 7u16, u32::MAX), (2, 5, 1001), (4, 5, u32::MAX), (16, 5, u32::MAX), (32, 0, u32::MAX)]
        {
            expected.extend(tag.to_le_bytes());
            expected.extend(permissions.to_le_bytes());
            expected.extend(id.to_le_bytes());
        }
        assert_eq!(value, expected);
    }

    #[test]
    fn unknown_names_and_letters_are_refused() {
        let ids = Ids::freebsd();
        for text in ["user:alice:r:-:allow", "owner@:q:-:allow", "owner@:r:-:maybe", "owner@:r", "who@:r:-:allow"] {
            assert!(nfs4(text.as_bytes(), &ids).is_err(), "{text}");
        }
        assert!(posix(b"user:alice:rwx", &ids).is_err());
        assert!(posix(b"user", &ids).is_err());
    }
}
