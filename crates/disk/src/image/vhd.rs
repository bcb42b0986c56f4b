//! VHD images ("Virtual Hard Disk Image Format Specification", Microsoft, 2006).
//!
//! Every integer is big-endian. An image of fixed size is the disk, and a footer
//! behind it. One that grows is:
//!
//! ```text
//! footer | header | table: the sector of each block | blocks: bitmap of their sectors, sectors | footer
//! ```
//!
//! What is in no block, or in a sector that is not in the bitmap, is zeros.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::blocks;
use super::recent::Recent;
use super::write::{Identity, Target, Work};
use crate::bytes::{be32, be64, put, slice};
use crate::error::Error;
use crate::read_at::{Part, ReadAt, at_most, read_in_steps, read_up_to};
use crate::write_at::WriteAt;

/// "conectix": a footer.
pub(super) const MAGIC: [u8; 8] = *b"conectix";
/// Bytes of the footer.
pub(super) const FOOTER_SIZE: u64 = 512;

/// "cxsparse": the header of an image that grows.
const HEADER_MAGIC: [u8; 8] = *b"cxsparse";
const HEADER_SIZE: usize = 1024;
const SECTOR: u64 = 512;
/// A block that is not there.
const UNUSED: u32 = u32::MAX;
/// Bytes of a block of the images made here, the usual size.
const BLOCK: u64 = 2 << 20;
/// The largest disk: sectors are addressed by 32 bits, and Microsoft's tools go to
/// 2040 GiB.
const MAX_SIZE: u64 = 2040 << 30;
/// The largest table in bytes.
const MAX_TABLE: u64 = 64 << 20;

/// Fields of the footer.
mod footer {
    pub(super) const FEATURES: usize = 8;
    pub(super) const VERSION: usize = 12;
    pub(super) const HEADER: usize = 16;
    pub(super) const CREATOR: usize = 28;
    pub(super) const CREATOR_VERSION: usize = 32;
    pub(super) const CREATOR_SYSTEM: usize = 36;
    pub(super) const ORIGINAL_SIZE: usize = 40;
    pub(super) const SIZE: usize = 48;
    pub(super) const GEOMETRY: usize = 56;
    pub(super) const KIND: usize = 60;
    pub(super) const CHECKSUM: usize = 64;
    pub(super) const ID: usize = 68;
}

/// Fields of the header.
mod header {
    pub(super) const NEXT: usize = 8;
    pub(super) const TABLE: usize = 16;
    pub(super) const VERSION: usize = 24;
    pub(super) const ENTRIES: usize = 28;
    pub(super) const BLOCK_SIZE: usize = 32;
    pub(super) const CHECKSUM: usize = 36;
}

const VERSION: u32 = 0x0001_0000;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

/// Opens the image in `file`, which is called `name`.
pub(super) fn open(file: Arc<dyn ReadAt>, name: &str) -> Result<Arc<dyn ReadAt>, Error> {
    let failed = |source| Error::Io { name: name.to_owned(), source };
    let read = |offset| read_up_to(&file, offset, FOOTER_SIZE as usize).map_err(failed);
    let sound = |footer: &Vec<u8>| {
        slice(footer, 0, 8) == MAGIC && be32(footer, footer::CHECKSUM) == checksum(footer, footer::CHECKSUM)
    };
    let end = file.size().saturating_sub(FOOTER_SIZE);
    let last = Some(read(end)?).filter(sound);
    // An image that grows has a copy, which is of use where it was cut off.
    let found = match last {
        Some(footer) => Some(footer),
        None => Some(read(0)?).filter(sound),
    };
    let Some(footer) = found else {
        return Err(Error::malformed("checksum of a VHD footer", "wrong", "that of its bytes"));
    };
    let size = be64(&footer, footer::SIZE);
    match be32(&footer, footer::KIND) {
        FIXED if size <= end => Ok(Arc::new(Part::new(file, 0, size))),
        FIXED => Err(Error::malformed("size of a fixed VHD image", size, format!("at most {end}, as the file is"))),
        DYNAMIC => Ok(Arc::new(Dynamic::open(file, name, size, be64(&footer, footer::HEADER))?)),
        DIFFERENCING => Err(Error::Unsupported {
            what: "a VHD image that is based on another one".to_owned(),
            way_out: "make one image of both with 'qemu-img convert'",
        }),
        kind => Err(Error::malformed("type of a VHD image", kind, "2, 3 or 4")),
    }
}

/// The disk in an image that grows.
struct Dynamic {
    file: Arc<dyn ReadAt>,
    size: u64,
    block: u64,
    /// Bytes of the bitmap of a block.
    bitmap: u64,
    table: Vec<u32>,
    bitmaps: Recent<Vec<u8>>,
}

impl Dynamic {
    fn open(file: Arc<dyn ReadAt>, name: &str, size: u64, at: u64) -> Result<Self, Error> {
        let failed = |source| Error::Io { name: name.to_owned(), source };
        let header = read_up_to(&file, at, HEADER_SIZE).map_err(failed)?;
        let sound = be32(&header, header::CHECKSUM) == checksum(&header, header::CHECKSUM);
        if slice(&header, 0, 8) != HEADER_MAGIC || !sound || header.len() < HEADER_SIZE {
            return Err(Error::malformed("header of a VHD image", "damaged", "one with its checksum"));
        }
        let block = u64::from(be32(&header, header::BLOCK_SIZE));
        if !block.is_power_of_two() || !(SECTOR..=256 << 20).contains(&block) {
            return Err(Error::malformed("block size of a VHD image", block, "a power of two from 512 to 256 MiB"));
        }
        let (entries, needed) = (u64::from(be32(&header, header::ENTRIES)), size.div_ceil(block));
        if entries < needed || needed * 4 > MAX_TABLE {
            let expected = format!("{needed} for its size, and at most {}", MAX_TABLE / 4);
            return Err(Error::malformed("number of blocks of a VHD image", entries, expected));
        }
        let table_at = be64(&header, header::TABLE);
        let table = read_up_to(&file, table_at, needed as usize * 4).map_err(failed)?;
        if (table.len() as u64) < needed * 4 {
            let expected = "an offset from which on the file has the whole table";
            return Err(Error::malformed("offset of the table of a VHD image", table_at, expected));
        }
        Ok(Self {
            file,
            size,
            block,
            bitmap: bitmap_size(block),
            table: table.chunks_exact(4).map(|entry| be32(entry, 0)).collect(),
            bitmaps: Recent::new(64),
        })
    }

    /// Where a block's bitmap begins, if it is there.
    fn place(&self, number: u64) -> Option<u64> {
        let entry = self.table.get(usize::try_from(number).ok()?).copied()?;
        (entry != UNUSED).then_some(u64::from(entry) * SECTOR)
    }

    /// Whether the sector at `within` of the block at `place` is there.
    fn has(&self, place: u64, within: u64) -> io::Result<bool> {
        let bitmap = self.bitmaps.get(place, || {
            let mut bitmap = vec![0; self.bitmap as usize];
            self.file.read_exact_at(&mut bitmap, place)?;
            Ok(bitmap)
        })?;
        let sector = within / SECTOR;
        // The first sector is the highest bit.
        let byte = bitmap.get((sector / 8) as usize).copied().unwrap_or(0);
        Ok(byte & (0x80 >> (sector % 8)) != 0)
    }
}

impl ReadAt for Dynamic {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        read_in_steps(self.size, buf, offset, |buf, offset| {
            let within = offset % self.block;
            let place = self.place(offset / self.block);
            let mut length = self.block - within;
            let mut from = None;
            if let Some(place) = place {
                // As far as sectors are alike.
                let there = self.has(place, within)?;
                let mut end = within - within % SECTOR + SECTOR;
                while end < self.block && end - within < buf.len() as u64 && self.has(place, end)? == there {
                    end += SECTOR;
                }
                length = end - within;
                from = there.then_some(place + self.bitmap + within);
            }
            let run = at_most(buf, length);
            match from {
                Some(from) => self.file.read_exact_at(run, from)?,
                None => run.fill(0),
            }
            Ok(run.len())
        })
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        super::next_data(self.size, offset, |at| {
            Ok((self.place(at / self.block).is_some(), self.block - at % self.block))
        })
    }
}

/// Writes an image of fixed size.
pub(super) fn write_fixed(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let size = vhd_size(disk)?;
    super::write(disk, Target::Raw, work, out)?;
    out.write_all_at(&make_footer(disk, size, FIXED)?, size).map_err(Error::write)
}

/// Writes an image that has only the blocks with contents.
pub(super) fn write_dynamic(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let size = vhd_size(disk)?;
    let blocks = size.div_ceil(BLOCK);
    let table_at = FOOTER_SIZE + HEADER_SIZE as u64;
    let mut table = vec![0xff; (blocks as usize * 4).next_multiple_of(SECTOR as usize)];
    let mut end = table_at + table.len() as u64;
    let bitmap = vec![0xff; bitmap_size(BLOCK) as usize];
    blocks::each(
        disk,
        BLOCK,
        work,
        || |block: &[u8]| Ok(block.to_vec()),
        |number, block| {
            // The largest disk's last block begins before 2^32 sectors.
            put(&mut table, number as usize * 4, &((end / SECTOR) as u32).to_be_bytes());
            out.write_all_at(&bitmap, end).map_err(Error::write)?;
            end += bitmap.len() as u64;
            out.write_all_at(&block, end).map_err(Error::write)?;
            end += BLOCK;
            Ok(())
        },
    )?;
    let footer = make_footer(disk, size, DYNAMIC)?;
    let mut head = vec![0; HEADER_SIZE];
    put(&mut head, 0, &HEADER_MAGIC);
    put(&mut head, header::NEXT, &u64::MAX.to_be_bytes());
    put(&mut head, header::TABLE, &table_at.to_be_bytes());
    put(&mut head, header::VERSION, &VERSION.to_be_bytes());
    put(&mut head, header::ENTRIES, &(blocks as u32).to_be_bytes());
    put(&mut head, header::BLOCK_SIZE, &(BLOCK as u32).to_be_bytes());
    let sum = checksum(&head, header::CHECKSUM);
    put(&mut head, header::CHECKSUM, &sum.to_be_bytes());
    out.write_all_at(&footer, end).map_err(Error::write)?;
    out.write_all_at(&[&footer[..], &head, &table].concat(), 0).map_err(Error::write)
}

fn vhd_size(disk: &dyn ReadAt) -> Result<u64, Error> {
    let size = disk.size();
    if size > MAX_SIZE {
        return Err(Error::Impossible(format!(
            "a disk of {size} bytes is too large for a VHD image: 2040 GiB at most"
        )));
    }
    Ok(size)
}

fn make_footer(disk: &dyn ReadAt, size: u64, kind: u32) -> Result<Vec<u8>, Error> {
    let mut footer = vec![0; FOOTER_SIZE as usize];
    put(&mut footer, 0, &MAGIC);
    // Reserved, always set.
    put(&mut footer, footer::FEATURES, &2u32.to_be_bytes());
    put(&mut footer, footer::VERSION, &VERSION.to_be_bytes());
    put(&mut footer, footer::HEADER, &if kind == FIXED { u64::MAX } else { FOOTER_SIZE }.to_be_bytes());
    // The time of its making stays 0. Readers, QEMU among them, believe the size of images made
    // by Windows, and take that of the geometry, which is smaller, where they do not know the maker.
    put(&mut footer, footer::CREATOR, b"win ");
    put(&mut footer, footer::CREATOR_VERSION, &VERSION.to_be_bytes());
    put(&mut footer, footer::CREATOR_SYSTEM, b"Wi2k");
    put(&mut footer, footer::ORIGINAL_SIZE, &size.to_be_bytes());
    put(&mut footer, footer::SIZE, &size.to_be_bytes());
    let (cylinders, heads, sectors) = geometry(size / SECTOR);
    let [high, low] = cylinders.to_be_bytes();
    put(&mut footer, footer::GEOMETRY, &[high, low, heads, sectors]);
    put(&mut footer, footer::KIND, &kind.to_be_bytes());
    put(&mut footer, footer::ID, &Identity::of(disk)?.guid("vhd").0);
    let sum = checksum(&footer, footer::CHECKSUM);
    put(&mut footer, footer::CHECKSUM, &sum.to_be_bytes());
    Ok(footer)
}

/// Cylinders, heads and sectors of a disk, as the specification's appendix has them.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let sectors = sectors.min(65535 * 16 * 255);
    let (tracks, heads, per_track) = if sectors >= 65535 * 16 * 63 {
        (sectors / 255, 16, 255)
    } else {
        let heads = (sectors / 17).div_ceil(1024).max(4);
        if sectors / 17 < heads * 1024 && heads <= 16 {
            (sectors / 17, heads, 17)
        } else if sectors / 31 < 16 * 1024 {
            (sectors / 31, 16, 31)
        } else {
            (sectors / 63, 16, 63)
        }
    };
    ((tracks / heads) as u16, heads as u8, per_track)
}

/// The complement of the sum of all bytes but those of the checksum at `at`.
fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, &byte| sum.wrapping_add(byte.into()));
    !sum(bytes).wrapping_sub(sum(slice(bytes, at, 4)))
}

/// Bytes of the bitmap of a block: a bit for each sector, whole sectors.
fn bitmap_size(block: u64) -> u64 {
    (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
}
