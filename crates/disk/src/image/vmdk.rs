//! VMware's sparse extents ("Virtual Disk Format 5.0", VMware).
//!
//! Every integer is little-endian, every address counts sectors of 512 bytes. The
//! disk is divided into grains; a table of two levels says where each is:
//!
//! ```text
//! header -> grain directory -> grain tables -> grains
//! ```
//!
//! A stream-optimised extent is written in one go: before each grain, which is
//! compressed, and before each table is a marker that says what follows, and the
//! header that knows where the directory is comes last, as a footer.

mod write;

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use flate2::read::ZlibDecoder;

pub(super) use self::write::write;
use super::recent::Recent;
use crate::bytes::{le16, le32, le64, slice};
use crate::error::Error;
use crate::read_at::{ReadAt, at_most, read_in_steps, read_up_to};

/// "KDMV".
pub(super) const MAGIC: [u8; 4] = *b"KDMV";
/// How the text file of an image in several files begins.
pub(super) const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";

const SECTOR: u64 = 512;
/// Fields of the header.
mod at {
    pub(super) const VERSION: usize = 4;
    pub(super) const FLAGS: usize = 8;
    pub(super) const CAPACITY: usize = 12;
    pub(super) const GRAIN_SIZE: usize = 20;
    pub(super) const DESCRIPTOR_OFFSET: usize = 28;
    pub(super) const DESCRIPTOR_SIZE: usize = 36;
    pub(super) const TABLE_ENTRIES: usize = 44;
    pub(super) const DIRECTORY: usize = 56;
    pub(super) const OVERHEAD: usize = 64;
    pub(super) const COMPRESSION: usize = 77;
}
/// Bytes that tell whether a transfer as text has damaged line ends, at 73.
const LINE_ENDS: [u8; 4] = *b"\n \r\n";

/// Line ends can be checked.
const LINE_END_TEST: u32 = 1 << 0;
/// An entry of 1 in a grain table stands for zeros.
const ZERO_GRAINS: u32 = 1 << 2;
/// Grains are compressed.
const COMPRESSED: u32 = 1 << 16;
/// There are markers before grains and tables.
const MARKERS: u32 = 1 << 17;
/// Compression by deflate, with a header of zlib.
const DEFLATE: u16 = 1;
/// The directory is where the footer says.
const AT_END: u64 = u64::MAX;
/// Where the footer is, in bytes before the end; before it is its marker, behind it
/// that of the end.
const FOOTER: u64 = 1024;

/// Entries of a grain table.
const TABLE_ENTRIES: u32 = 512;
/// The largest directory in bytes.
const MAX_DIRECTORY: u64 = 64 << 20;
/// The largest grain in sectors.
const MAX_GRAIN: u64 = 1 << 14;

/// The disk in a sparse extent.
pub(super) struct Vmdk {
    file: Arc<dyn ReadAt>,
    size: u64,
    /// Bytes of a grain.
    grain: u64,
    /// Entries of a table.
    entries: u64,
    compressed: bool,
    zero_grains: bool,
    directory: Vec<u32>,
    tables: Recent<Vec<u8>>,
    grains: Recent<Vec<u8>>,
}

enum Place {
    Hole,
    Stored(u64),
    Compressed(u64),
}

impl Vmdk {
    /// Opens the extent in `file`, which is called `name`.
    pub(super) fn open(file: Arc<dyn ReadAt>, name: &str) -> Result<Self, Error> {
        let failed = |source| Error::Io { name: name.to_owned(), source };
        let read = |offset| read_up_to(&file, offset, SECTOR as usize).map_err(failed);
        let mut header = read(0)?;
        if le64(&header, at::DIRECTORY) == AT_END {
            header = read(file.size().saturating_sub(FOOTER))?;
            if slice(&header, 0, 4) != MAGIC || le64(&header, at::DIRECTORY) == AT_END {
                return Err(Error::Malformed {
                    what: "footer of a VMDK image",
                    found: "missing".into(),
                    expected: "1024 bytes before the end of the file: has all of it arrived?".into(),
                });
            }
        }
        let version = le32(&header, at::VERSION);
        if !(1..=3).contains(&version) {
            return Err(Error::malformed("version of a VMDK image", version, "1 to 3"));
        }
        check_no_parent(&file, &header, name)?;
        let flags = le32(&header, at::FLAGS);
        let compressed = flags & COMPRESSED != 0;
        let compression = le16(&header, at::COMPRESSION);
        if compressed && compression != DEFLATE {
            return Err(Error::malformed("compression of a VMDK image", compression, DEFLATE));
        }
        let grain_sectors = le64(&header, at::GRAIN_SIZE);
        if !grain_sectors.is_power_of_two() || !(8..=MAX_GRAIN).contains(&grain_sectors) {
            let expected = format!("a power of two from 8 to {MAX_GRAIN}");
            return Err(Error::malformed("grainSize of a VMDK image", grain_sectors, expected));
        }
        let entries = le32(&header, at::TABLE_ENTRIES);
        if !(1..=4 * TABLE_ENTRIES).contains(&entries) {
            return Err(Error::malformed("numGTEsPerGT of a VMDK image", entries, TABLE_ENTRIES));
        }
        let capacity = le64(&header, at::CAPACITY);
        let tables = capacity.div_ceil(grain_sectors * u64::from(entries));
        let size = capacity.checked_mul(SECTOR).filter(|_| tables * 4 <= MAX_DIRECTORY);
        let Some(size) = size else {
            return Err(Error::malformed(
                "capacity of a VMDK image",
                capacity,
                "one whose directory is not above 64 MiB",
            ));
        };
        let start = le64(&header, at::DIRECTORY);
        let found = start.checked_mul(SECTOR).map(|start| read_up_to(&file, start, tables as usize * 4));
        let directory = found.transpose().map_err(failed)?.unwrap_or_default();
        if (directory.len() as u64) < tables * 4 {
            let expected = "a sector from which on the file has the whole directory";
            return Err(Error::malformed("gdOffset of a VMDK image", start, expected));
        }
        Ok(Self {
            file,
            size,
            grain: grain_sectors * SECTOR,
            entries: u64::from(entries),
            compressed,
            zero_grains: flags & ZERO_GRAINS != 0,
            directory: directory.chunks_exact(4).map(|entry| le32(entry, 0)).collect(),
            tables: Recent::new(1024),
            grains: Recent::new(64.min((8 << 20) / (grain_sectors * SECTOR)) as usize),
        })
    }

    /// Where the grain is that the byte at `offset` of the disk is in; for a hole, how
    /// many bytes from the grain's beginning on it has for certain.
    fn place(&self, offset: u64) -> io::Result<(Place, u64)> {
        let number = offset / self.grain;
        let table = usize::try_from(number / self.entries).ok().and_then(|index| self.directory.get(index));
        let Some(table @ 1..) = table.copied() else {
            // The whole table is missing.
            return Ok((Place::Hole, self.grain * (self.entries - number % self.entries)));
        };
        let size = self.entries as usize * 4;
        let table = self.tables.get(u64::from(table), || {
            let mut bytes = vec![0; size];
            self.file.read_exact_at(&mut bytes, u64::from(table) * SECTOR)?;
            Ok(bytes)
        })?;
        let place = match le32(&table, (number % self.entries) as usize * 4) {
            0 => Place::Hole,
            1 if self.zero_grains => Place::Hole,
            sector if self.compressed => Place::Compressed(u64::from(sector) * SECTOR),
            sector => Place::Stored(u64::from(sector) * SECTOR),
        };
        Ok((place, self.grain))
    }

    /// The grain whose marker is at `offset`: its first sector on the disk (8 bytes), the
    /// length of what is compressed (4), and that.
    fn decompressed(&self, offset: u64) -> io::Result<Arc<Vec<u8>>> {
        self.grains.get(offset, || {
            let bad = |what: &dyn std::fmt::Display| {
                let text = format!("VMDK: the grain at {offset:#x} is damaged: {what}");
                io::Error::new(io::ErrorKind::InvalidData, text)
            };
            let mut marker = [0; 12];
            self.file.read_exact_at(&mut marker, offset)?;
            let length = u64::from(le32(&marker, 8));
            if length > 2 * self.grain {
                return Err(bad(&format_args!("{length} bytes cannot be one")));
            }
            let stored = read_up_to(&self.file, offset + 12, length as usize)?;
            let mut grain = Vec::new();
            ZlibDecoder::new(&stored[..]).take(self.grain).read_to_end(&mut grain).map_err(|error| bad(&error))?;
            // The last one ends where the disk does.
            grain.resize(self.grain as usize, 0);
            Ok(grain)
        })
    }
}

impl ReadAt for Vmdk {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        read_in_steps(self.size, buf, offset, |buf, offset| {
            let within = offset % self.grain;
            let run = at_most(buf, self.grain - within);
            match self.place(offset)?.0 {
                Place::Hole => run.fill(0),
                Place::Stored(at) => self.file.read_exact_at(run, at + within)?,
                Place::Compressed(at) => self.decompressed(at)?.read_exact_at(run, within)?,
            }
            Ok(run.len())
        })
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        super::next_data(self.size, offset, |at| {
            let (place, length) = self.place(at)?;
            Ok((!matches!(place, Place::Hole), length - at % self.grain))
        })
    }
}

/// Refuses an image that has only the differences from another one.
fn check_no_parent(file: &dyn ReadAt, header: &[u8], name: &str) -> Result<(), Error> {
    let (start, size) = (le64(header, at::DESCRIPTOR_OFFSET), le64(header, at::DESCRIPTOR_SIZE));
    let Some(start) = start.checked_mul(SECTOR).filter(|start| *start != 0) else { return Ok(()) };
    let size = size.min(64).saturating_mul(SECTOR) as usize;
    let text = read_up_to(file, start, size).map_err(|source| Error::Io { name: name.to_owned(), source })?;
    let text = String::from_utf8_lossy(&text);
    let parent = text.lines().find_map(|line| line.trim().strip_prefix("parentCID="));
    match parent {
        Some(parent) if !parent.trim().eq_ignore_ascii_case("ffffffff") => Err(Error::Unsupported {
            what: "a VMDK image that is based on another one".to_owned(),
            way_out: "make one image of both with 'qemu-img convert'",
        }),
        _ => Ok(()),
    }
}
