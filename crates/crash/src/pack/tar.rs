//! The little of tar that a pack is made of: regular files with plain names, and sparse ones.
//!
//! Headers are those of POSIX (`ustar`); a sparse file is in the form that GNU tar calls "PAX 1.0" and libarchive reads
//! too: an extended header with its name and size, and in front of its data a map of them, as decimal numbers.

use std::io::{self, Read, Write};

pub(super) const BLOCK: usize = 512;
/// An extended header that is longer holds more than what a pack needs.
const MOST_EXTENDED: u64 = 64 << 10;
/// Pieces of a sparse file.
const MOST_PIECES: u64 = 1 << 22;
/// Digits of a number in a map.
const MOST_DIGITS: usize = 20;
/// Longest name.
const MOST_NAME: usize = 255;

/// A piece of a sparse file: where it begins, and how many bytes it has.
pub(super) type Piece = (u64, u64);

/// A file in an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// Bytes that are stored, of a sparse file with its map.
    pub(super) size: u64,
    /// The size of a sparse file.
    pub(super) sparse: Option<u64>,
}

/// Writes the header of a file with `size` bytes, which follow, padded by [`pad`].
pub(super) fn write_header(to: &mut impl Write, name: &str, size: u64, time: u64) -> io::Result<()> {
    to.write_all(&header(name, size, b'0', time)?)
}

/// Writes header and map of a sparse file of `size` bytes. The bytes of the pieces follow, each padded.
pub(super) fn write_sparse(to: &mut impl Write, name: &str, size: u64, pieces: &[Piece], time: u64) -> io::Result<()> {
    let mut records = Vec::new();
    for (key, value) in [("major", "1"), ("minor", "0"), ("name", name), ("realsize", &size.to_string())] {
        records.extend(record(&format!("GNU.sparse.{key}"), value).into_bytes());
    }
    to.write_all(&header(&format!("PaxHeaders/{name}"), records.len() as u64, b'x', time)?)?;
    to.write_all(&records)?;
    pad(to, records.len() as u64)?;
    let mut map = format!("{}\n", pieces.len());
    pieces.iter().for_each(|(start, length)| map += &format!("{start}\n{length}\n"));
    let stored = (map.len() as u64).next_multiple_of(BLOCK as u64)
        + pieces.iter().map(|(_, length)| length.next_multiple_of(BLOCK as u64)).sum::<u64>();
    to.write_all(&header(&format!("GNUSparseFile.0/{name}"), stored, b'0', time)?)?;
    to.write_all(map.as_bytes())?;
    pad(to, map.len() as u64)
}

/// Fills up the last block of `size` bytes.
pub(super) fn pad(to: &mut impl Write, size: u64) -> io::Result<()> {
    let rest = (size.next_multiple_of(BLOCK as u64) - size) as usize;
    to.write_all([0; BLOCK].get(..rest).unwrap_or_default())
}

/// Ends an archive.
pub(super) fn finish(to: &mut impl Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])
}

/// `LENGTH KEY=VALUE\n`, the length of all of it.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

fn header(name: &str, size: u64, kind: u8, time: u64) -> io::Result<[u8; BLOCK]> {
    let too_long = || io::Error::other(format!("the name {name:?} is too long, or the file too large, for an archive"));
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        block.get_mut(at..at + bytes.len()).ok_or_else(too_long).map(|place| place.copy_from_slice(bytes))
    };
    if name.len() > 100 || size >= 1 << 33 {
        return Err(too_long());
    }
    put(0, name.as_bytes())?;
    put(100, b"0000644\0")?;
    put(108, b"0000000\0")?;
    put(116, b"0000000\0")?;
    put(124, format!("{size:011o}\0").as_bytes())?;
    put(136, format!("{:011o}\0", time.min((1 << 33) - 1)).as_bytes())?;
    put(148, b"        ")?;
    put(156, &[kind])?;
    put(257, b"ustar\x0000")?;
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    if let Some(place) = block.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    Ok(block)
}

/// Whether a block is the header of a file with this name.
pub(super) fn is_header_of(block: &[u8; BLOCK], name: &str) -> bool {
    parse(block).is_ok_and(|parsed| parsed.is_some_and(|(found, _, kind)| found == name && kind == b'0'))
}

/// The next file; `None` at the end. The bytes of the one before have to have been read, with their padding.
pub(super) fn next(from: &mut impl Read) -> io::Result<Option<Member>> {
    let Some((name, size, kind)) = parse(&block(from)?)? else { return Ok(None) };
    match kind {
        b'0' => Ok(Some(Member { name: plain(name)?, size, sparse: None })),
        b'x' => {
            let (name, real) = extended(from, size)?;
            match parse(&block(from)?)? {
                Some((_, size, b'0')) => Ok(Some(Member { name: plain(name)?, size, sparse: Some(real) })),
                _ => Err(damaged("an extended header is followed by no file")),
            }
        }
        _ => Err(damaged(format!("{name:?} is no regular file"))),
    }
}

/// The map in front of a sparse file's bytes, and how many bytes it takes.
pub(super) fn read_map(from: &mut impl Read, member: &Member, real: u64) -> io::Result<(Vec<Piece>, u64)> {
    let mut numbers = Numbers { from, taken: 0, block: [0; BLOCK], at: BLOCK };
    let count = numbers.next()?;
    if count > MOST_PIECES || count.saturating_mul(4) > member.size {
        return Err(damaged(format!("the map of {} claims {count} pieces", member.name)));
    }
    let (mut pieces, mut end) = (Vec::new(), 0);
    for _ in 0..count {
        let (start, length) = (numbers.next()?, numbers.next()?);
        let after = start.checked_add(length).filter(|after| start >= end && *after <= real);
        end = after.ok_or_else(|| damaged(format!("the map of {} is not in order", member.name)))?;
        pieces.push((start, length));
    }
    let stored: u64 = pieces.iter().map(|(_, length)| length.next_multiple_of(BLOCK as u64)).sum();
    if numbers.taken + stored != member.size {
        return Err(damaged(format!("{} has not the size that its map says", member.name)));
    }
    Ok((pieces, numbers.taken))
}

/// Reads the padding behind `size` bytes.
pub(super) fn skip_padding(from: &mut impl Read, size: u64) -> io::Result<()> {
    let rest = (size.next_multiple_of(BLOCK as u64) - size) as usize;
    from.read_exact([0; BLOCK].get_mut(..rest).unwrap_or_default())
}

/// Decimal numbers, one a line, in whole blocks.
struct Numbers<'r, R> {
    from: &'r mut R,
    taken: u64,
    block: [u8; BLOCK],
    at: usize,
}

impl<R: Read> Numbers<'_, R> {
    fn next(&mut self) -> io::Result<u64> {
        let mut digits = String::new();
        loop {
            if self.at >= BLOCK {
                self.from.read_exact(&mut self.block)?;
                self.taken += BLOCK as u64;
                self.at = 0;
            }
            let byte = self.block.get(self.at).copied().unwrap_or(0);
            self.at += 1;
            match byte {
                b'\n' => return digits.parse().map_err(|_| damaged("a map has a line that is no number")),
                b'0'..=b'9' if digits.len() < MOST_DIGITS => digits.push(char::from(byte)),
                _ => return Err(damaged("a map has a line that is no number")),
            }
        }
    }
}

fn block(from: &mut impl Read) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    from.read_exact(&mut block)?;
    Ok(block)
}

/// Name, size and kind that a header says; `None` of the zeros behind the last.
fn parse(block: &[u8; BLOCK]) -> io::Result<Option<(String, u64, u8)>> {
    if block.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let field = |at: usize, length: usize| {
        let bytes = block.get(at..at + length).unwrap_or_default();
        bytes.split(|&byte| byte == 0).next().unwrap_or_default()
    };
    let octal = |at: usize, length: usize| {
        let text = std::str::from_utf8(field(at, length)).ok()?.trim();
        // `from_str_radix` would take a sign.
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| u64::from_str_radix(text, 8).ok())?
    };
    let sum: u32 =
        (block.iter().enumerate()).map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) }).sum();
    if field(257, 5) != b"ustar" || octal(148, 8) != Some(sum.into()) {
        return Err(damaged("there is no header of a file where one should be"));
    }
    let name = String::from_utf8(field(0, 100).to_vec()).map_err(|_| damaged("a name is no text"))?;
    let size = octal(124, 12).ok_or_else(|| damaged(format!("{name:?} has no size")))?;
    let kind = block.get(156).copied().unwrap_or(0);
    Ok(Some((name, size, kind)))
}

/// Name and size of a sparse file.
fn extended(from: &mut impl Read, size: u64) -> io::Result<(String, u64)> {
    if size > MOST_EXTENDED {
        return Err(damaged(format!("an extended header has {size} bytes")));
    }
    let mut bytes = vec![0; size as usize];
    from.read_exact(&mut bytes)?;
    skip_padding(from, size)?;
    let text = String::from_utf8(bytes).map_err(|_| damaged("an extended header is no text"))?;
    let value = |key: &str| {
        let key = format!("GNU.sparse.{key}");
        text.lines().filter_map(|line| line.split_once(' ')?.1.split_once('=')).find(|(found, _)| *found == key)
    };
    let value = |key: &str| value(key).map(|(_, value)| value);
    match (value("major"), value("minor"), value("name"), value("realsize").and_then(|size| size.parse().ok())) {
        (Some("1"), Some("0"), Some(name), Some(real)) => Ok((name.to_owned(), real)),
        _ => Err(damaged("an extended header is none of a sparse file")),
    }
}

/// A name without folders.
fn plain(name: String) -> io::Result<String> {
    let is_plain = !name.is_empty()
        && name.len() <= MOST_NAME
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == '\\' || c.is_control());
    if is_plain { Ok(name) } else { Err(damaged(format!("{name:?} is no plain name of a file"))) }
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_and_sparse_files_come_back() {
        let mut archive = Vec::new();
        write_header(&mut archive, "manifest.json", 3, 7).unwrap();
        archive.extend(b"abc");
        pad(&mut archive, 3).unwrap();
        let pieces = vec![(512, 1024), (4096, 100)];
        write_sparse(&mut archive, "vmcore.0", 4196, &pieces, 7).unwrap();
        for (_, length) in &pieces {
            archive.extend(vec![b'x'; *length as usize]);
            pad(&mut archive, *length).unwrap();
        }
        finish(&mut archive).unwrap();
        assert!(is_header_of(archive.first_chunk().unwrap(), "manifest.json"));

        let mut from = &archive[..];
        let first = next(&mut from).unwrap().unwrap();
        assert_eq!(first, Member { name: "manifest.json".to_owned(), size: 3, sparse: None });
        from = &from[512..];
        let second = next(&mut from).unwrap().unwrap();
        assert_eq!((second.name.as_str(), second.sparse), ("vmcore.0", Some(4196)));
        let (found, taken) = read_map(&mut from, &second, 4196).unwrap();
        assert_eq!((found, taken), (pieces, 512));
        from = &from[1536..];
        assert_eq!(next(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_plain_file_is_refused() {
        for name in ["../vmcore", "/etc/passwd", "a/b", "..", "a\nb"] {
            let mut archive = Vec::new();
            write_header(&mut archive, name, 0, 0).unwrap();
            assert!(next(&mut &archive[..]).is_err(), "{name:?}");
        }
        let link = header("a", 0, b'2', 0).unwrap();
        assert!(next(&mut &link[..]).unwrap_err().to_string().contains("no regular file"));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_they_are_read_or_refused(bytes: Vec<u8>, size: u64) {
            let _ = next(&mut &bytes[..]);
            let member = Member { name: "a".to_owned(), size, sparse: Some(size) };
            let _ = read_map(&mut &bytes[..], &member, size);
        }
    }
}
