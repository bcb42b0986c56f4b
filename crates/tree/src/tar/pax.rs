//! Extended headers: POSIX `pax`, and the keywords of GNU tar, star (`SCHILY.*`) and libarchive.

use super::ArchiveError;
use super::sparse::SparseRecords;
use crate::node::Timestamp;
use crate::node::Xattr;
use crate::xattr;

/// What extended headers say about the next entry.
#[derive(Clone, Default, Debug)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) uid: Option<i64>,
    pub(super) gid: Option<i64>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) flags: Option<Vec<u8>>,
    /// The text of an NFSv4 ACL.
    pub(super) nfs4_acl: Option<Vec<u8>>,
    /// The texts of POSIX.1e ACLs.
    pub(super) access_acl: Option<Vec<u8>>,
    pub(super) default_acl: Option<Vec<u8>>,
    pub(super) sparse: SparseRecords,
    /// Attributes of star's keyword, which stands for its bytes, and of libarchive's, which is encoded.
    star_xattrs: Vec<Xattr>,
    libarchive_xattrs: Vec<Xattr>,
    /// Whether there was an extended header of the entry's own.
    pub(super) own: bool,
}

impl Extended {
    /// Reads records of the form `LENGTH KEYWORD=VALUE\n`, the length counting all of the record in decimal.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Result<(), ArchiveError> {
        // Some writers pad with NULs.
        while records.first().is_some_and(|&byte| byte != 0) {
            let space = records.iter().take(20).position(|&byte| byte == b' ');
            let space = space.ok_or(ArchiveError::Pax { why: "a record has no length" })?;
            let length: usize =
                decimal(&records[..space]).ok_or(ArchiveError::Pax { why: "a record has no length" })?;
            let record =
                records.get(space + 1..length).ok_or(ArchiveError::Pax { why: "a record's length is wrong" })?;
            let record = record.strip_suffix(b"\n").ok_or(ArchiveError::Pax { why: "a record has no newline" })?;
            let equals = record.iter().position(|&byte| byte == b'=');
            let equals = equals.ok_or(ArchiveError::Pax { why: "a record has no =" })?;
            self.set(&record[..equals], &record[equals + 1..])?;
            records = &records[length..];
        }
        Ok(())
    }

    /// The entry's extended attributes. libarchive writes each twice; its own form is the exact one.
    pub(super) fn take_xattrs(&mut self) -> Vec<Xattr> {
        let star = std::mem::take(&mut self.star_xattrs);
        let libarchive = std::mem::take(&mut self.libarchive_xattrs);
        if libarchive.is_empty() { star } else { libarchive }
    }

    fn set(&mut self, keyword: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        if let Some(name) = keyword.strip_prefix(b"SCHILY.xattr.") {
            self.star_xattrs.extend(xattr::from_full_name(&without_gnu_escapes(name), value));
            return Ok(());
        }
        if let Some(name) = keyword.strip_prefix(b"LIBARCHIVE.xattr.") {
            let value = base64(value).ok_or(ArchiveError::Pax { why: "an attribute is not in base 64" })?;
            self.libarchive_xattrs.extend(xattr::from_full_name(&without_percent(name), &value));
            return Ok(());
        }
        if let Some(keyword) = keyword.strip_prefix(b"GNU.sparse.") {
            return self.sparse.set(keyword, value, &mut self.path);
        }
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        match keyword {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link = bytes(),
            b"size" => self.size = optional(value, "size")?,
            b"mtime" => self.mtime = if value.is_empty() { None } else { Some(time(value)?) },
            b"uid" => self.uid = optional(value, "uid")?,
            b"gid" => self.gid = optional(value, "gid")?,
            b"SCHILY.devmajor" => self.major = optional(value, "SCHILY.devmajor")?,
            b"SCHILY.devminor" => self.minor = optional(value, "SCHILY.devminor")?,
            b"SCHILY.fflags" => self.flags = bytes(),
            b"SCHILY.acl.ace" => self.nfs4_acl = bytes(),
            b"SCHILY.acl.access" => self.access_acl = bytes(),
            b"SCHILY.acl.default" => self.default_acl = bytes(),
            // Names are bytes whatever hdrcharset says; other times and the names of owners are not kept.
            _ => {}
        }
        Ok(())
    }
}

/// A decimal number, with a minus sign if the type has one.
pub(super) fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with('+') { None } else { text.parse().ok() }
}

fn optional<T: std::str::FromStr>(value: &[u8], field: &'static str) -> Result<Option<T>, ArchiveError> {
    if value.is_empty() {
        return Ok(None);
    }
    decimal(value).map(Some).ok_or(ArchiveError::Number { field })
}

/// Seconds with a decimal fraction, of which nine digits are kept. A negative time is rounded down.
fn time(text: &[u8]) -> Result<Timestamp, ArchiveError> {
    let bad = || ArchiveError::Number { field: "mtime" };
    let negative = text.starts_with(b"-");
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    let seconds: i64 = if matches!(whole, b"" | b"-") { 0 } else { decimal(whole).ok_or_else(bad)? };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let nanoseconds = (0..9).fold(0, |sum, at| sum * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    if negative && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).ok_or_else(bad)?;
        return Ok(Timestamp { seconds, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Ok(Timestamp { seconds, nanoseconds })
}

/// GNU tar writes `=` in an attribute's name as `%3D` and `%` as `%25`; nothing else is escaped.
fn without_gnu_escapes(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match rest {
            [b'%', b'3', b'D', after @ ..] => (b'=', after),
            [b'%', b'2', b'5', after @ ..] => (b'%', after),
            _ => (byte, after),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}

/// Undoes URL encoding: `%` and two hexadecimal digits.
fn without_percent(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), after)
            }
            _ => (byte, after),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Base 64 (RFC 4648, section 4), with or without padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().position(|&byte| byte == b'=').unwrap_or(text.len());
    if text[end..].len() > 2 || text[end..].iter().any(|&byte| byte != b'=') {
        return None;
    }
    let mut bytes = Vec::with_capacity(end / 4 * 3 + 2);
    for group in text[..end].chunks(4) {
        if group.len() == 1 {
            return None;
        }
        let mut bits: u32 = 0;
        for &letter in group {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Namespace;

    fn read(records: &[u8]) -> Result<Extended, ArchiveError> {
        let mut extended = Extended::default();
        extended.read(records).map(|()| extended)
    }

    /// A record with the right length: 2 digits suffice here.
    fn record(text: &str) -> Vec<u8> {
        format!("{} {text}\n", text.len() + 4).into_bytes()
    }

    #[test]
    fn records_are_read_by_their_lengths() {
        let records = [record("path=a\nb"), record("mtime=12.0000000019"), record("size=0000017")].concat();
        let extended = read(&records).unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(extended.mtime, Some(Timestamp { seconds: 12, nanoseconds: 1 }));
        assert_eq!(extended.size, Some(17));
    }

    #[test]
    fn an_empty_value_takes_a_keyword_back() {
        assert_eq!(read(&[record("path=abc"), record("path= ")].concat()).unwrap().path.as_deref(), Some(&b" "[..]));
        assert_eq!(read(b"12 path=abc\n8 path=\n").unwrap().path, None);
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(time(b"-1.5").unwrap(), Timestamp { seconds: -2, nanoseconds: 500_000_000 });
        assert_eq!(time(b"-3").unwrap(), Timestamp { seconds: -3, nanoseconds: 0 });
        assert_eq!(time(b"-0.25").unwrap(), Timestamp { seconds: -1, nanoseconds: 750_000_000 });
        assert!(time(b"1.x").is_err());
        assert!(time(b"99999999999999999999").is_err());
    }

    #[test]
    fn attributes_come_in_two_forms() {
        let star = record("SCHILY.xattr.user.a%3Db=v");
        let xattrs = read(&star).unwrap().take_xattrs();
        assert_eq!(xattrs[0].namespace, Namespace::User);
        assert_eq!((&xattrs[0].name[..], &xattrs[0].value[..]), (&b"a=b"[..], &b"v"[..]));
        let both = [star, record("LIBARCHIVE.xattr.user.a%20b=AAECAw")].concat();
        let xattrs = read(&both).unwrap().take_xattrs();
        assert_eq!(xattrs.len(), 1);
        assert_eq!((&xattrs[0].name[..], &xattrs[0].value[..]), (&b"a b"[..], &[0, 1, 2, 3][..]));
    }

    #[test]
    fn base_64_takes_padding_or_none() {
        assert_eq!(base64(b"").unwrap(), b"");
        assert_eq!(base64(b"Zg==").unwrap(), b"f");
        assert_eq!(base64(b"Zm8").unwrap(), b"fo");
        assert_eq!(base64(b"Zm9v").unwrap(), b"foo");
        assert!(base64(b"Z").is_none());
        assert!(base64(b"Z*==").is_none());
        assert!(base64(b"Zg==Zg==").is_none());
    }

    #[test]
    fn malformed_records_are_refused() {
        for records in [&b"x"[..], b"5 a=b", b"99 path=a\n", b"0 path=a\n", b"3 a\n", b"10 size=-1\n"] {
            assert!(read(records).is_err(), "{records:?}");
        }
    }
}
