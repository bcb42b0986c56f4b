//! The 512-byte header block: V7, ustar (POSIX.1-1988) and GNU. Numbers are octal text, or base 256 as GNU tar writes
//! what does not fit. Layout: POSIX `pax`, "ustar Interchange Format"; tar(5).

use super::ArchiveError;

/// The unit of an archive.
pub(super) const BLOCK: usize = 512;

/// A header's fields as they stand; names without the prefix of other headers.
#[derive(Debug)]
pub(super) struct Header {
    /// The typeflag, such as `b'0'`.
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u16,
    pub(super) uid: i64,
    pub(super) gid: i64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Header {
    /// Reads a header block; `None` for a block of zeros, which ends an archive.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Option<Header>, ArchiveError> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        check_sum(block)?;
        let kind = block[156];
        let posix = &block[257..263] == b"ustar\0";
        let prefix = if posix { text(&block[345..500]) } else { &[] };
        let mut name = prefix.to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(text(&block[..100]));
        let device = matches!(kind, b'3' | b'4');
        let device_number = |range: std::ops::Range<usize>, what| {
            if !device {
                return Ok(0);
            }
            number(&block[range], what).and_then(|n| u32::try_from(n).map_err(|_| ArchiveError::Number { field: what }))
        };
        Ok(Some(Header {
            kind,
            name,
            link: text(&block[157..257]).to_vec(),
            mode: (number(&block[100..108], "mode")? & 0o7777) as u16,
            uid: number(&block[108..116], "uid")?,
            gid: number(&block[116..124], "gid")?,
            size: size(&block[124..136])?,
            mtime: number(&block[136..148], "mtime")?,
            major: device_number(329..337, "devmajor")?,
            minor: device_number(337..345, "devminor")?,
        }))
    }
}

/// The sum of all bytes, the sum's own field counted as spaces. Some old writers added signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
    let stored = number(&block[148..156], "checksum")?;
    let outside = block[..148].iter().chain(&block[156..]);
    let (mut unsigned, mut signed) = (8 * i64::from(b' '), 8 * i64::from(b' '));
    for &byte in outside {
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    if stored != unsigned && stored != signed {
        return Err(ArchiveError::Checksum { stored, computed: unsigned });
    }
    Ok(())
}

/// What stands before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number that counts bytes.
pub(super) fn size(field: &[u8]) -> Result<u64, ArchiveError> {
    u64::try_from(number(field, "size")?).map_err(|_| ArchiveError::Number { field: "size" })
}

/// An octal number, or a base-256 number in two's complement if the first bit is set; 0 if the field is blank.
pub(super) fn number(field: &[u8], what: &'static str) -> Result<i64, ArchiveError> {
    let bad = || ArchiveError::Number { field: what };
    if let Some((&first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        // Bit 6 is the sign.
        let mut value = if first & 0x40 != 0 { i128::from(first) - 256 } else { i128::from(first & 0x3f) };
        for &byte in rest {
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| bad());
    }
    let digits = field.iter().position(|byte| !matches!(byte, b' ' | 0)).unwrap_or(field.len());
    let digits = &field[digits..];
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    let mut value: i64 = 0;
    for &digit in &digits[..end] {
        if !(b'0'..=b'7').contains(&digit) {
            return Err(bad());
        }
        let next = value.checked_mul(8).and_then(|value| value.checked_add(i64::from(digit - b'0')));
        value = next.ok_or_else(bad)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0", "mode").unwrap(), 0o644);
        assert_eq!(number(b"  644 \0\0", "mode").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0", "mode").unwrap(), 0);
        assert_eq!(number(b"77777777", "mode").unwrap(), 0o77777777);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0], "size").unwrap(), 2 << 32);
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], "mtime").unwrap(), -2);
        assert!(number(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "size").is_err());
        assert!(number(b"12389\0\0\0", "mode").is_err());
    }

    #[test]
    fn a_block_of_zeros_is_the_end() {
        assert!(Header::parse(&[0; BLOCK]).unwrap().is_none());
    }

    #[test]
    fn a_wrong_sum_is_found() {
        let mut block = [0; BLOCK];
        block[0] = b'a';
        block[148..156].copy_from_slice(b"000001\0 ");
        assert!(matches!(Header::parse(&block), Err(ArchiveError::Checksum { stored: 1, .. })));
    }
}
