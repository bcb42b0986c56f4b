//! The keywords of an entry: `mode=0555`, `uname=root`, `optional`.

use super::ManifestError;
use super::lexer::unescape;
use crate::error::PathBytes;
use crate::flags;
use crate::ids::Ids;
use crate::mode::ModeChange;
use crate::node::{Kind, Timestamp};

/// What is said about an entry, by its own line or by `/set`.
#[derive(Clone, Default, Debug)]
pub(super) struct Keywords {
    pub(super) kind: Option<EntryType>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<u16>,
    pub(super) flags: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) size: Option<u64>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) contents: Option<Vec<u8>>,
    pub(super) device: Option<(u32, u32)>,
    pub(super) optional: bool,
    /// Names on this line that no table knows; numbers on the line may take their place.
    unknown_user: Option<Vec<u8>>,
    unknown_group: Option<Vec<u8>>,
    numbered_user: bool,
    numbered_group: bool,
}

/// The value of `type=`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum EntryType {
    Node(Kind),
    Socket,
}

/// Whether a keyword meant anything to us.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Understood {
    Yes,
    No,
}

impl Keywords {
    /// Takes in one word, `KEYWORD` or `KEYWORD=VALUE`.
    pub(super) fn set(&mut self, word: &[u8], ids: &Ids) -> Result<Understood, ManifestError> {
        let (keyword, value) = split(word);
        if is_passed_over(keyword) {
            return Ok(Understood::Yes);
        }
        if keyword == b"optional" {
            self.optional = true;
            return Ok(Understood::Yes);
        }
        if !matches!(
            keyword,
            b"type"
                | b"uid"
                | b"gid"
                | b"uname"
                | b"gname"
                | b"mode"
                | b"flags"
                | b"time"
                | b"size"
                | b"link"
                | b"contents"
                | b"device"
        ) {
            return Ok(Understood::No);
        }
        let bad = || ManifestError::Value { word: PathBytes::new(word) };
        let value = value.ok_or(ManifestError::NoValue { keyword: PathBytes::new(keyword) })?;
        match keyword {
            b"type" => self.kind = Some(entry_type(value).ok_or_else(bad)?),
            b"uid" => {
                self.uid = Some(decimal(value).ok_or_else(bad)?);
                self.numbered_user = true;
            }
            b"gid" => {
                self.gid = Some(decimal(value).ok_or_else(bad)?);
                self.numbered_group = true;
            }
            b"uname" => {
                let name = unescape(value)?;
                match ids.user(&name) {
                    Some(uid) => self.uid = Some(uid),
                    None => self.unknown_user = Some(name),
                }
            }
            b"gname" => {
                let name = unescape(value)?;
                match ids.group(&name) {
                    Some(gid) => self.gid = Some(gid),
                    None => self.unknown_group = Some(name),
                }
            }
            b"mode" => {
                let change = std::str::from_utf8(value).ok().and_then(|text| ModeChange::parse(text).ok());
                self.mode = Some(change.ok_or_else(bad)?.apply(0, false));
            }
            b"flags" => self.flags = Some(flags::parse(value, self.flags.unwrap_or(0)).map_err(|_| bad())?),
            b"time" => self.mtime = Some(time(value).ok_or_else(bad)?),
            b"size" => self.size = Some(decimal(value).ok_or_else(bad)?),
            b"link" => self.link = Some(unescape(value)?),
            b"contents" => self.contents = Some(unescape(value)?),
            _ => self.device = Some(device(value).ok_or_else(bad)?),
        }
        Ok(Understood::Yes)
    }

    /// Ends a line: names that were not known must have had a number beside them.
    pub(super) fn end_line(&mut self) -> Result<(), ManifestError> {
        let users = (self.unknown_user.take(), std::mem::take(&mut self.numbered_user), "user");
        let groups = (self.unknown_group.take(), std::mem::take(&mut self.numbered_group), "group");
        for (unknown, numbered, what) in [users, groups] {
            if let (Some(name), false) = (unknown, numbered) {
                return Err(ManifestError::UnknownName { what, name: PathBytes::new(name) });
            }
        }
        Ok(())
    }

    /// Takes a keyword back (`/unset`).
    pub(super) fn unset(&mut self, keyword: &[u8]) -> Understood {
        match keyword {
            b"all" => *self = Keywords::default(),
            b"type" => self.kind = None,
            b"uid" | b"uname" => self.uid = None,
            b"gid" | b"gname" => self.gid = None,
            b"mode" => self.mode = None,
            b"flags" => self.flags = None,
            b"time" => self.mtime = None,
            b"size" => self.size = None,
            b"link" => self.link = None,
            b"contents" => self.contents = None,
            b"device" => self.device = None,
            b"optional" => self.optional = false,
            _ if is_passed_over(keyword) => {}
            _ => return Understood::No,
        }
        Understood::Yes
    }
}

/// The keyword and value of a word.
pub(super) fn split(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|&byte| byte == b'=') {
        Some(equals) => (&word[..equals], Some(&word[equals + 1..])),
        None => (word, None),
    }
}

/// Keywords of mtree(5) that say nothing which a tree holds. Digests are not verified.
fn is_passed_over(keyword: &[u8]) -> bool {
    matches!(
        keyword,
        b"cksum"
            | b"ignore"
            | b"inode"
            | b"md5"
            | b"md5digest"
            | b"nlink"
            | b"nochange"
            | b"resdevice"
            | b"ripemd160digest"
            | b"rmd160"
            | b"rmd160digest"
            | b"sha1"
            | b"sha1digest"
            | b"sha256"
            | b"sha256digest"
            | b"sha384"
            | b"sha384digest"
            | b"sha512"
            | b"sha512digest"
            | b"tags"
    )
}

fn entry_type(value: &[u8]) -> Option<EntryType> {
    Some(EntryType::Node(match value {
        b"file" => Kind::File,
        b"dir" => Kind::Directory,
        b"link" => Kind::Symlink,
        b"char" => Kind::CharDevice,
        b"block" => Kind::BlockDevice,
        b"fifo" => Kind::Fifo,
        b"socket" => return Some(EntryType::Socket),
        _ => return None,
    }))
}

fn decimal<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    if value.first() == Some(&b'+') { None } else { std::str::from_utf8(value).ok()?.parse().ok() }
}

/// `SECONDS.NANOSECONDS`: the second is a number, not a fraction, so that `1.5` is five nanoseconds past one second.
fn time(value: &[u8]) -> Option<Timestamp> {
    let (seconds, nanoseconds) = match value.iter().position(|&byte| byte == b'.') {
        Some(point) => (&value[..point], &value[point + 1..]),
        None => (value, &b"0"[..]),
    };
    let nanoseconds = if nanoseconds.is_empty() { 0 } else { decimal(nanoseconds)? };
    let seconds = decimal(seconds)?;
    (nanoseconds < 1_000_000_000).then_some(Timestamp { seconds, nanoseconds })
}

/// `FORMAT,MAJOR,MINOR`, or a number as FreeBSD packs it (`dev_t`, `sys/types.h` since FreeBSD 12).
fn device(value: &[u8]) -> Option<(u32, u32)> {
    let parts: Vec<&[u8]> = value.split(|&byte| byte == b',').collect();
    match parts[..] {
        [number] => {
            let number = any_base(number)?;
            let major = (number >> 32) & 0xffff_ff00 | (number >> 8) & 0xff;
            let minor = (number >> 24) & 0xff00 | number & 0xffff_00ff;
            Some((major as u32, minor as u32))
        }
        // All of mtree's formats take a major and a minor number; how they pack them does not matter here.
        [_, major, minor] => Some((u32::try_from(any_base(major)?).ok()?, u32::try_from(any_base(minor)?).ok()?)),
        _ => None,
    }
}

/// A number as strtoul(3) reads it: hexadecimal after `0x`, octal after `0`.
fn any_base(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.starts_with(|c: char| c.is_ascii_digit()))?;
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    }
    if text.len() > 1 && text.starts_with('0') { u64::from_str_radix(text, 8).ok() } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<Keywords, ManifestError> {
        let mut keywords = Keywords::default();
        for word in words.split(' ') {
            keywords.set(word.as_bytes(), &Ids::freebsd())?;
        }
        keywords.end_line()?;
        Ok(keywords)
    }

    #[test]
    fn the_part_after_the_point_of_a_time_counts_nanoseconds() {
        let at = |text: &str| read(text).unwrap().mtime.unwrap();
        assert_eq!(at("time=1.5"), Timestamp { seconds: 1, nanoseconds: 5 });
        assert_eq!(at("time=1234.000000005"), Timestamp { seconds: 1234, nanoseconds: 5 });
        assert_eq!(at("time=7"), Timestamp { seconds: 7, nanoseconds: 0 });
        assert_eq!(at("time=-7.999999999"), Timestamp { seconds: -7, nanoseconds: 999_999_999 });
        assert!(read("time=1.1000000000").is_err());
    }

    #[test]
    fn devices_are_named_by_format_or_packed() {
        let device = |text: &str| read(text).unwrap().device.unwrap();
        assert_eq!(device("device=native,4,0x10"), (4, 16));
        assert_eq!(device("device=freebsd,010,3"), (8, 3));
        assert_eq!(device("device=0x1f05"), (0x1f, 5));
        assert_eq!(device("device=0x123456780012"), (0x1200, 0x56783412));
        assert!(read("device=linux,1").is_err());
    }

    #[test]
    fn modes_are_octal_or_symbolic() {
        assert_eq!(read("mode=04555").unwrap().mode, Some(0o4555));
        assert_eq!(read("mode=u=rwx,go=rx").unwrap().mode, Some(0o755));
    }

    #[test]
    fn names_become_numbers() {
        let keywords = read("uname=www gname=operator flags=schg,uarch").unwrap();
        assert_eq!((keywords.uid, keywords.gid, keywords.flags), (Some(80), Some(5), Some(0x2_0800)));
        assert!(matches!(read("uname=alice"), Err(ManifestError::UnknownName { .. })));
        assert_eq!(read("uname=alice uid=7").unwrap().uid, Some(7));
        assert_eq!(read("gid=8 gname=root").unwrap().gid, Some(8));
    }

    #[test]
    fn bad_values_are_refused_and_unknown_keywords_reported() {
        for word in ["type=thing", "uid=-1", "mode=9", "size=x", "flags=shiny", "uid", "device=1,2,3,4"] {
            assert!(read(word).is_err(), "{word}");
        }
        let mut keywords = Keywords::default();
        assert_eq!(keywords.set(b"colour=red", &Ids::freebsd()).unwrap(), Understood::No);
        assert_eq!(keywords.set(b"sha256digest=00", &Ids::freebsd()).unwrap(), Understood::Yes);
    }
}
