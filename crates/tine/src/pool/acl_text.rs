//! Access control lists as text: acl_to_text(3) and star(5) have the same.

use zfs_ondisk::acl::{Ace, flag, kind, permission};

const PERMISSIONS: [(u32, char); 14] = [
    (permission::READ_DATA, 'r'),
    (permission::WRITE_DATA, 'w'),
    (permission::EXECUTE, 'x'),
    (permission::APPEND_DATA, 'p'),
    (permission::DELETE_CHILD, 'D'),
    (permission::DELETE, 'd'),
    (permission::READ_ATTRIBUTES, 'a'),
    (permission::WRITE_ATTRIBUTES, 'A'),
    (permission::READ_NAMED_ATTRS, 'R'),
    (permission::WRITE_NAMED_ATTRS, 'W'),
    (permission::READ_ACL, 'c'),
    (permission::WRITE_ACL, 'C'),
    (permission::WRITE_OWNER, 'o'),
    (permission::SYNCHRONIZE, 's'),
];

/// Success and failure are audited: bits that no list on FreeBSD has, but a list may.
const FLAGS: [(u16, char); 7] = [
    (flag::FILE_INHERIT, 'f'),
    (flag::DIRECTORY_INHERIT, 'd'),
    (flag::INHERIT_ONLY, 'i'),
    (flag::NO_PROPAGATE_INHERIT, 'n'),
    (0x10, 'S'),
    (0x20, 'F'),
    (flag::INHERITED, 'I'),
];

/// An entry of an NFSv4 list, such as `user:1001:rw------------s:-------:allow`.
pub(super) fn nfs4(ace: &Ace) -> String {
    let who = match (ace.flags & flag::WHO, ace.who) {
        (who, _) if who & flag::OWNER != 0 => "owner@".to_owned(),
        (who, _) if who & flag::GROUP != 0 => "group@".to_owned(),
        (who, _) if who & flag::EVERYONE != 0 => "everyone@".to_owned(),
        (flag::IDENTIFIER_GROUP, who) => format!("group:{}", who.unwrap_or(0)),
        (_, who) => format!("user:{}", who.unwrap_or(0)),
    };
    let permissions: String =
        PERMISSIONS.iter().map(|(bit, letter)| if ace.permissions & bit != 0 { *letter } else { '-' }).collect();
    let flags: String = FLAGS.iter().map(|(bit, letter)| if ace.flags & bit != 0 { *letter } else { '-' }).collect();
    let kind = match ace.kind {
        kind::ALLOW => "allow",
        kind::DENY => "deny",
        kind::AUDIT => "audit",
        kind::ALARM => "alarm",
        _ => "unknown",
    };
    format!("{who}:{permissions}:{flags}:{kind}")
}

/// A list of POSIX.1e in the form of Linux's attribute (`linux/posix_acl_xattr.h`: version 2, then tag, permissions and
/// number of each entry) as text between commas; `None` if it has another form.
pub(super) fn posix(value: &[u8]) -> Option<String> {
    let entries = value.strip_prefix(&2u32.to_le_bytes())?;
    let (entries, []) = entries.as_chunks::<8>() else { return None };
    let mut text = Vec::new();
    for &[tag, tag_high, bits, _, id @ ..] in entries {
        let id = u32::from_le_bytes(id);
        let who = match u16::from_le_bytes([tag, tag_high]) {
            0x01 => "user:".to_owned(),
            0x02 => format!("user:{id}"),
            0x04 => "group:".to_owned(),
            0x08 => format!("group:{id}"),
            0x10 => "mask:".to_owned(),
            0x20 => "other:".to_owned(),
            _ => return None,
        };
        let letters: String = [(4, 'r'), (2, 'w'), (1, 'x')]
            .map(|(bit, letter)| if bits & bit != 0 { letter } else { '-' })
            .iter()
            .collect();
        text.push(format!("{who}:{letters}"));
    }
    Some(text.join(","))
}

#[cfg(test)]
mod tests {
    use zfs_ondisk::acl::trivial;

    use super::*;

    #[test]
    fn entries_are_written_as_freebsd_does() {
        let text: Vec<String> = trivial(0o755, false).iter().map(nfs4).collect();
        assert_eq!(text[0], "owner@:rwxp--aARWcCos:-------:allow");
        assert_eq!(text[1], "group@:r-x---a-R-c--s:-------:allow");
        assert_eq!(text[2], "everyone@:r-x---a-R-c--s:-------:allow");
        let ace = Ace { kind: 1, flags: 0x43, permissions: 2, who: Some(20) };
        assert_eq!(nfs4(&ace), "group:20:-w------------:fd-----:deny");
    }

    #[test]
    fn the_lists_of_linux_become_text() {
        let mut value = vec![2, 0, 0, 0];
        for (tag, bits, id) in [(1u16, 6u16, u32::MAX), (2, 7, 1000), (4, 4, u32::MAX), (16, 7, u32::MAX)] {
            value.extend(tag.to_le_bytes());
            value.extend(bits.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        assert_eq!(posix(&value).as_deref(), Some("user::rw-,user:1000:rwx,group::r--,mask::rwx"));
        assert_eq!(posix(&value[..value.len() - 1]), None);
        assert_eq!(posix(b""), None);
    }
}
