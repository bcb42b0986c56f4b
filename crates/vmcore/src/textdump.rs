//! What is in a text dump: a tar archive (`textdump(4)`), with members such as `ddb.txt`, `msgbuf.txt`, `panic.txt`.

use std::io;

use disk::ReadAt;

use crate::bytes::text;

const BLOCK: u64 = 512;

/// The most members that are listed. A kernel writes five.
const MOST: usize = 10_000;

/// A member of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where its contents are in the archive.
    pub offset: u64,
}

/// Why an archive cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    #[error("reading the text dump: {0}")]
    Io(#[from] io::Error),
    /// There is no header of a member where one should be.
    #[error("at byte {offset} of the text dump there is no header of a tar archive")]
    Header {
        /// Where it should be.
        offset: u64,
    },
    /// A member goes on behind the end.
    #[error("{name} in the text dump is said to have {size} bytes, and {rest} are left")]
    Size {
        /// The member.
        name: String,
        /// Its size.
        size: u64,
        /// What is left.
        rest: u64,
    },
}

/// Whether `data` begin as an archive does.
pub fn is_archive(data: &dyn ReadAt) -> bool {
    let mut block = [0; BLOCK as usize];
    data.read_exact_at(&mut block, 0).is_ok() && member(&block, 0).is_some()
}

/// The members, in order.
///
/// # Errors
/// If the archive cannot be read, is cut short or damaged.
pub fn list(data: &dyn ReadAt) -> Result<Vec<Member>, Error> {
    let mut members = Vec::new();
    let mut at = 0;
    while at + BLOCK <= data.size() && members.len() < MOST {
        let mut block = [0; BLOCK as usize];
        data.read_exact_at(&mut block, at)?;
        if block.iter().all(|&byte| byte == 0) {
            break;
        }
        let member = member(&block, at + BLOCK).ok_or(Error::Header { offset: at })?;
        let rest = data.size() - at - BLOCK;
        if member.size > rest {
            return Err(Error::Size { name: member.name, size: member.size, rest });
        }
        at += BLOCK + member.size.next_multiple_of(BLOCK);
        members.push(member);
    }
    Ok(members)
}

/// The member of which `block` is the header, with the right checksum.
fn member(block: &[u8; BLOCK as usize], offset: u64) -> Option<Member> {
    let octal = |at, size| u64::from_str_radix(text(block, at, size).trim_matches(' '), 8).ok();
    let (before, rest) = block.split_at(148);
    let after = rest.get(8..)?;
    // The checksum counts as blanks.
    let sum: u64 = before.iter().chain(after).map(|&byte| u64::from(byte)).sum::<u64>() + 8 * u64::from(b' ');
    let name = text(block, 0, 100);
    (octal(148, 8)? == sum && !name.is_empty()).then_some(())?;
    Some(Member { name, size: octal(124, 12)?, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, contents) in members {
            let mut block = [0u8; 512];
            block[..name.len()].copy_from_slice(name.as_bytes());
            block[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            bytes.extend_from_slice(&block);
            bytes.extend_from_slice(contents);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    #[test]
    fn members_are_listed_with_where_they_are() {
        let archive = archive(&[("panic.txt", b"boom"), ("msgbuf.txt", &[b'x'; 600])]);
        assert!(is_archive(&archive));
        let members = list(&archive).unwrap();
        assert_eq!(members[0], Member { name: "panic.txt".into(), size: 4, offset: 512 });
        assert_eq!((members[1].size, members[1].offset), (600, 1536));
        assert_eq!(members.len(), 2);
    }

    #[test]
    fn what_is_cut_or_damaged_is_told() {
        let whole = archive(&[("panic.txt", b"boom"), ("msgbuf.txt", &[b'x'; 600])]);
        assert!(matches!(list(&whole[..1600].to_vec()), Err(Error::Size { size: 600, .. })));
        let mut damaged = whole;
        damaged[1030] ^= 1;
        assert!(matches!(list(&damaged), Err(Error::Header { offset: 1024 })));
        assert!(!is_archive(&vec![0; 512]));
    }
}
