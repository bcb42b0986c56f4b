//! Writing pax archives (POSIX `pax`, "pax Interchange Format"; tar(5)): ustar headers, and before each an extended one
//! with all that those cannot say. The same entries make the same bytes.

use std::io::{self, Write};
use std::ops::Range;

use zfs_pool::fs::Time;

/// The unit of an archive.
pub(super) const BLOCK: u64 = 512;

/// The type of an entry, by its letter in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File = b'0' as isize,
    HardLink = b'1' as isize,
    Symlink = b'2' as isize,
    CharacterDevice = b'3' as isize,
    BlockDevice = b'4' as isize,
    Directory = b'5' as isize,
    Fifo = b'6' as isize,
}

/// A keyword and its value, for an extended header.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// What stands in the headers of an entry.
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    pub(super) path: &'a [u8],
    /// What a link leads to.
    pub(super) link: &'a [u8],
    pub(super) mode: u64,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Bytes of a file, holes included.
    pub(super) size: u64,
    pub(super) modified: Time,
    pub(super) device: (u32, u32),
    /// Keywords and values besides: attributes, lists, flags.
    pub(super) records: Vec<Record>,
    /// Where a file with holes has data.
    pub(super) extents: Option<&'a [Range<u64>]>,
}

/// An archive being written.
pub(super) struct Archive<W> {
    to: W,
    written: u64,
    /// Bytes of the current entry that are still to be written.
    left: u64,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, written: 0, left: 0 }
    }

    /// Writes the headers of an entry. Its data is to follow: as many bytes as its extents have, or else its size.
    pub(super) fn begin(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let map = entry.extents.map(|extents| sparse_map(extents, entry.size));
        let data = match entry.extents {
            Some(extents) => extents.iter().map(|extent| extent.end - extent.start).sum(),
            None if entry.kind == Kind::File => entry.size,
            None => 0,
        };
        let stored = data + map.as_ref().map_or(0, |map| map.len() as u64);
        let mut header = Header::new(entry, stored);
        let records = header.records(entry, map.is_some());
        if !records.is_empty() {
            let extended = Header::extended(entry, records.len() as u64);
            self.write(&extended.finish())?;
            self.write(&records)?;
            self.pad()?;
        }
        self.write(&header.finish())?;
        if let Some(map) = &map {
            self.write(map)?;
        }
        self.left = data;
        Ok(())
    }

    /// Writes data of the current entry.
    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let count = self.left.min(bytes.len() as u64);
        self.left -= count;
        self.write(&bytes[..count as usize])
    }

    /// How many bytes of the current entry are still to be written.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Ends the current entry, all of whose data was written.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.pad()
    }

    /// Ends the archive: two blocks of zeros, and what fills up the last record of 20 blocks.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write(&[0; 2 * BLOCK as usize])?;
        let record = 20 * BLOCK;
        let rest = self.written.wrapping_neg() % record;
        self.write(&vec![0; rest as usize])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn pad(&mut self) -> io::Result<()> {
        let rest = (self.written.wrapping_neg() % BLOCK) as usize;
        self.write(&[0; BLOCK as usize][..rest])
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.to.write_all(bytes)
    }
}

/// The map at the beginning of a sparse file's data (GNU tar manual, "Storing Sparse Files", format 1.0): the number of
/// ranges, then offset and length of each, in decimal lines, up to the end of a block. A hole at the end is told by an
/// empty range there.
fn sparse_map(extents: &[Range<u64>], size: u64) -> Vec<u8> {
    let ends_in_hole = extents.last().is_none_or(|last| last.end < size);
    let mut map = format!("{}\n", extents.len() + usize::from(ends_in_hole));
    for extent in extents {
        map.push_str(&format!("{}\n{}\n", extent.start, extent.end - extent.start));
    }
    if ends_in_hole {
        map.push_str(&format!("{size}\n0\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK as usize), 0);
    map
}

/// A header of one block.
struct Header {
    block: [u8; BLOCK as usize],
    /// What did not fit.
    overflow: Vec<(&'static str, String)>,
    long_path: bool,
    long_link: bool,
}

impl Header {
    fn new(entry: &Entry<'_>, stored: u64) -> Self {
        let mut header = Self::empty(entry.kind as u8);
        header.long_path = !header.path(entry.path);
        header.long_link = !header.text(157..257, entry.link);
        header.octal(100..108, entry.mode & 0o7777, "mode");
        header.octal(108..116, entry.uid, "uid");
        header.octal(116..124, entry.gid, "gid");
        header.octal(124..136, stored, "size");
        // Seconds before 1970 are in the extended header only.
        header.octal(136..148, entry.modified.seconds.max(0) as u64, "");
        if matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice) {
            header.octal(329..337, entry.device.0.into(), "SCHILY.devmajor");
            header.octal(337..345, entry.device.1.into(), "SCHILY.devminor");
        }
        header
    }

    /// The header of an entry's extended header, with records of `size` bytes.
    fn extended(entry: &Entry<'_>, size: u64) -> Self {
        let mut header = Self::empty(b'x');
        let name = entry.path.rsplit(|&byte| byte == b'/').find(|name| !name.is_empty()).unwrap_or(b".");
        let name = &name[..name.len().min(80)];
        header.text(0..100, &[b"PaxHeaders/", name].concat());
        header.octal(100..108, 0o644, "");
        header.octal(108..116, 0, "");
        header.octal(116..124, 0, "");
        header.octal(124..136, size, "");
        header.octal(136..148, 0, "");
        header
    }

    fn empty(kind: u8) -> Self {
        let mut block = [0; BLOCK as usize];
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        Self { block, overflow: Vec::new(), long_path: false, long_link: false }
    }

    /// The records of the extended header: what this one has no room for, and what no header has a field for.
    fn records(&mut self, entry: &Entry<'_>, sparse: bool) -> Vec<u8> {
        let mut records = Vec::new();
        let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        if (self.long_path && !is_text(entry.path)) || (self.long_link && !is_text(entry.link)) {
            // Or else names would have to be UTF-8.
            record(&mut records, b"hdrcharset", b"BINARY");
        }
        if sparse {
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", entry.path);
            record(&mut records, b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
            self.sparse_path(entry.path);
        } else if self.long_path {
            record(&mut records, b"path", entry.path);
        }
        if self.long_link {
            record(&mut records, b"linkpath", entry.link);
        }
        for (keyword, value) in &self.overflow {
            record(&mut records, keyword.as_bytes(), value.as_bytes());
        }
        let time = entry.modified;
        if time.nanoseconds != 0 || !(0..1 << 33).contains(&time.seconds) {
            record(&mut records, b"mtime", decimal(time).as_bytes());
        }
        for (keyword, value) in &entry.records {
            record(&mut records, keyword, value);
        }
        records
    }

    /// A path that tells those who do not know sparse files what this is.
    fn sparse_path(&mut self, path: &[u8]) {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let name = &name[..name.len().min(80)];
        self.block[..100].fill(0);
        self.block[345..500].fill(0);
        self.text(0..100, &[b"./GNUSparseFile.0/", name].concat());
    }

    /// Whether a path fits: whole, or a part that ends before a slash into the prefix.
    fn path(&mut self, path: &[u8]) -> bool {
        if self.text(0..100, path) {
            return true;
        }
        for slash in (1..path.len().min(156)).rev().filter(|&at| path[at] == b'/') {
            let (prefix, name) = (&path[..slash], &path[slash + 1..]);
            if name.len() <= 100 && !name.is_empty() {
                return self.text(0..100, name) && self.text(345..500, prefix);
            }
        }
        // Something of it, for those who do not read extended headers.
        self.block[..100].copy_from_slice(&path[path.len() - 100..]);
        false
    }

    fn text(&mut self, field: Range<usize>, text: &[u8]) -> bool {
        if text.len() > field.len() {
            return false;
        }
        self.block[field.start..field.start + text.len()].copy_from_slice(text);
        true
    }

    /// An octal number; one that does not fit is left to the extended header.
    fn octal(&mut self, field: Range<usize>, number: u64, keyword: &'static str) {
        let digits = field.len() - 1;
        let text = format!("{number:0digits$o}");
        if text.len() <= digits {
            self.block[field.start..field.start + digits].copy_from_slice(text.as_bytes());
            return;
        }
        self.block[field.start..field.start + digits].fill(b'0');
        if !keyword.is_empty() {
            self.overflow.push((keyword, number.to_string()));
        }
    }

    /// The block with its sum.
    fn finish(mut self) -> [u8; BLOCK as usize] {
        self.block[148..156].fill(b' ');
        let sum: u32 = self.block.iter().map(|&byte| u32::from(byte)).sum();
        self.block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.block
    }
}

/// A record: its length in decimal, which counts itself, a space, `keyword=value`, a newline.
fn record(to: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = 1 + keyword.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    to.extend_from_slice(length.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(keyword);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

/// Seconds with a decimal fraction; before 1970 both count backwards.
fn decimal(time: Time) -> String {
    let nanoseconds = time.nanoseconds.min(999_999_999);
    let (sign, seconds, nanoseconds) = match (time.seconds, nanoseconds) {
        (seconds @ 0.., nanoseconds) => ("", seconds.unsigned_abs(), nanoseconds),
        (seconds, 0) => ("-", seconds.unsigned_abs(), 0),
        (seconds, nanoseconds) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds),
    };
    let fraction = format!(".{nanoseconds:09}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{sign}{seconds}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        let length = |value: usize| {
            let mut bytes = Vec::new();
            record(&mut bytes, b"k", &vec![b'v'; value]);
            let text = String::from_utf8(bytes).expect("ASCII");
            let told: usize = text.split(' ').next().and_then(|length| length.parse().ok()).expect("a length");
            assert_eq!(told, text.len());
            told
        };
        for value in 0..1100 {
            length(value);
        }
        assert_eq!(length(4), 9);
        assert_eq!(length(5), 11);
    }

    #[test]
    fn times_are_decimal_numbers() {
        let time = |seconds, nanoseconds| decimal(Time { seconds, nanoseconds });
        assert_eq!(time(12, 0), "12");
        assert_eq!(time(12, 1_900_000), "12.0019");
        assert_eq!(time(-2, 500_000_000), "-1.5");
        assert_eq!(time(-1, 750_000_000), "-0.25");
        assert_eq!(time(-3, 0), "-3");
        assert_eq!(time(i64::MIN, 0), "-9223372036854775808");
    }

    #[test]
    fn a_long_path_is_split_at_a_slash() {
        let mut header = Header::empty(b'0');
        let path = [&[b'a'; 120][..], b"/", &[b'b'; 90]].concat();
        assert!(header.path(&path));
        assert_eq!((header.block[89], header.block[90]), (b'b', 0));
        assert_eq!((header.block[345], header.block[464], header.block[465]), (b'a', b'a', 0));
        assert!(!Header::empty(b'0').path(&[b'a'; 101]));
        assert!(!Header::empty(b'0').path(&[&[b'a'; 160][..], b"/b"].concat()));
    }

    #[test]
    fn the_map_of_a_sparse_file_ends_where_the_file_does() {
        let map = sparse_map(&[5..10, 20..30], 40);
        assert_eq!((map.len(), &map[..18]), (512, &b"3\n5\n5\n20\n10\n40\n0\n\0"[..]));
        assert!(sparse_map(std::slice::from_ref(&(0..10)), 10).starts_with(b"1\n0\n10\n\0"));
        assert!(sparse_map(&[], 10).starts_with(b"1\n10\n0\n\0"));
    }

    #[test]
    fn large_numbers_are_in_the_extended_header() {
        let entry = Entry {
            kind: Kind::File,
            path: b"./a",
            link: b"",
            mode: 0o644,
            uid: 1 << 31,
            gid: 0o7_777_777,
            size: 1 << 40,
            modified: Time::default(),
            device: (0, 0),
            records: Vec::new(),
            extents: None,
        };
        let mut header = Header::new(&entry, entry.size);
        assert_eq!(header.records(&entry, false), b"18 uid=2147483648\n22 size=1099511627776\n");
    }
}
