//! VHDX images ("VHDX Image Format Specification" 1.00, Microsoft; \[MS-VHDX\]).
//!
//! Every integer is little-endian. The file begins with fixed places, each of 64 KiB,
//! and has regions that a table names:
//!
//! ```text
//! 0 identifier | 64K header | 128K header | 192K region table | 256K region table | 1M log | 2M metadata | 3M block table
//! ```
//!
//! The header with the higher sequence number counts. The block table says for
//! each block of the disk where it is, in MiB; after the entries of each 2^23 sectors
//! is one for the bitmap of a differencing image.

mod write;

use std::io;
use std::ops::Range;
use std::sync::Arc;

pub(super) use self::write::write;
use crate::bytes::{array, le16, le32, le64, slice};
use crate::error::Error;
use crate::partition::Guid;
use crate::read_at::{ReadAt, at_most, read_in_steps, read_up_to};

/// "vhdxfile".
pub(super) const MAGIC: [u8; 8] = *b"vhdxfile";

const KIB_64: u64 = 64 << 10;
const MIB: u64 = 1 << 20;
const HEADERS: [u64; 2] = [KIB_64, 2 * KIB_64];
const REGION_TABLES: [u64; 2] = [3 * KIB_64, 4 * KIB_64];
const HEADER_MAGIC: [u8; 4] = *b"head";
const REGION_MAGIC: [u8; 4] = *b"regi";
const METADATA_MAGIC: [u8; 8] = *b"metadata";
/// Bytes of a header that its checksum is of.
const HEADER_SIZE: usize = 4096;
/// Bytes of an entry of the region table and of the metadata table.
const ENTRY_SIZE: usize = 32;

const BLOCK_TABLE: Guid = Guid::new(0x2dc2_7766, 0xf623, 0x4200, [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08]);
const METADATA: Guid = Guid::new(0x8b7c_a206, 0x4790, 0x4b9a, [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e]);

const FILE_PARAMETERS: Guid = Guid::new(0xcaa1_6737, 0xfa36, 0x4d43, [0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b]);
const DISK_SIZE: Guid = Guid::new(0x2fa5_4224, 0xcd1b, 0x4876, [0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8]);
const DISK_ID: Guid = Guid::new(0xbeca_12ab, 0xb2e6, 0x4523, [0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46]);
const LOGICAL_SECTOR: Guid = Guid::new(0x8141_bf1d, 0xa96f, 0x4709, [0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f]);
const PHYSICAL_SECTOR: Guid = Guid::new(0xcda3_48c7, 0x445d, 0x4471, [0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56]);

/// Bit of the file parameters: the image has only differences from another.
const HAS_PARENT: u32 = 1 << 1;
/// States of a block that has contents.
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;
/// Sectors after whose blocks an entry for a bitmap follows.
const CHUNK_SECTORS: u64 = 1 << 23;
/// The largest block table in bytes that is read.
const MAX_BLOCK_TABLE: u64 = 64 << 20;

/// The disk in a VHDX image.
pub(super) struct Vhdx {
    file: Arc<dyn ReadAt>,
    size: u64,
    block: u64,
    /// Blocks after whose entries one for a bitmap follows.
    chunk: u64,
    table: Vec<u64>,
}

impl Vhdx {
    /// Opens the image in `file`, which is called `name`.
    pub(super) fn open(file: Arc<dyn ReadAt>, name: &str) -> Result<Self, Error> {
        let failed = |source| Error::Io { name: name.to_owned(), source };
        let read = |offset, size: u64| read_up_to(&file, offset, size as usize).map_err(failed);
        let headers = HEADERS.iter().map(|&at| Ok(header(&read(at, HEADER_SIZE as u64)?)));
        let headers = headers.collect::<Result<Vec<_>, Error>>()?;
        let Some((_, log)) = headers.into_iter().flatten().max_by_key(|(sequence, _)| *sequence) else {
            return Err(Error::malformed(
                "header of a VHDX image",
                "damaged, and its copy, too",
                "one with its checksum",
            ));
        };
        if !log.is_zero() {
            return Err(Error::Unsupported {
                what: "a VHDX image whose last changes are in its log".to_owned(),
                way_out: "'qemu-img check -r all' brings them to their places",
            });
        }
        let tables = REGION_TABLES.iter().map(|&at| Ok(regions(&read(at, KIB_64)?)));
        let tables = tables.collect::<Result<Vec<_>, Error>>()?;
        let Some(regions) = tables.into_iter().flatten().next() else {
            let found = "damaged, and its copy, too";
            return Err(Error::malformed("region table of a VHDX image", found, "one with its checksum"));
        };
        let region = |id, what| {
            let found = regions.iter().find(|region| region.0 == id).map(|region| (region.1, region.2));
            found.ok_or_else(|| Error::malformed("region table of a VHDX image", "incomplete", what))
        };
        let (metadata_at, metadata_size) = region(METADATA, "a metadata region")?;
        let metadata = Metadata::read(&read(metadata_at, metadata_size.min(MIB))?)?;
        let block = metadata.block;
        let chunk = CHUNK_SECTORS * metadata.sector / block;
        let blocks = metadata.size.div_ceil(block);
        let entries = blocks + blocks.saturating_sub(1) / chunk;
        let (table_at, table_size) = region(BLOCK_TABLE, "a block table")?;
        if entries * 8 > table_size.min(MAX_BLOCK_TABLE) {
            let expected = format!("{} for its size, and at most {MAX_BLOCK_TABLE}", entries * 8);
            return Err(Error::malformed("size of the block table of a VHDX image", table_size, expected));
        }
        let table = read(table_at, entries * 8)?;
        if (table.len() as u64) < entries * 8 {
            let expected = "an offset from which on the file has the whole table";
            return Err(Error::malformed("offset of the block table of a VHDX image", table_at, expected));
        }
        let table = table.chunks_exact(8).map(|entry| le64(entry, 0)).collect();
        Ok(Self { file, size: metadata.size, block, chunk, table })
    }

    /// Where a block is, if it has contents.
    fn place(&self, number: u64) -> Option<u64> {
        let index = usize::try_from(number + number / self.chunk).ok()?;
        let entry = self.table.get(index).copied()?;
        matches!(entry & 7, FULLY_PRESENT | PARTIALLY_PRESENT).then_some((entry >> 20).saturating_mul(MIB))
    }
}

impl ReadAt for Vhdx {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        read_in_steps(self.size, buf, offset, |buf, offset| {
            let within = offset % self.block;
            let run = at_most(buf, self.block - within);
            match self.place(offset / self.block) {
                Some(place) => self.file.read_exact_at(run, place.saturating_add(within))?,
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

/// Sequence number and log of a header, if it is sound.
fn header(bytes: &[u8]) -> Option<(u64, Guid)> {
    let sound = bytes.len() == HEADER_SIZE && slice(bytes, 0, 4) == HEADER_MAGIC && checksum(bytes) == le32(bytes, 4);
    sound.then(|| (le64(bytes, 8), Guid(array(bytes, 48))))
}

/// The regions of a table, with offset and length, if it is sound.
fn regions(bytes: &[u8]) -> Option<Vec<(Guid, u64, u64)>> {
    let count = le32(bytes, 8) as usize;
    let sound = bytes.len() as u64 == KIB_64
        && slice(bytes, 0, 4) == REGION_MAGIC
        && count < 2048
        && checksum(bytes) == le32(bytes, 4);
    let entries = slice(bytes, 16, count * ENTRY_SIZE).chunks_exact(ENTRY_SIZE);
    sound.then(|| entries.map(|entry| (Guid(array(entry, 0)), le64(entry, 16), le32(entry, 24).into())).collect())
}

/// What an image says of its disk.
struct Metadata {
    size: u64,
    block: u64,
    sector: u64,
}

impl Metadata {
    fn read(region: &[u8]) -> Result<Self, Error> {
        if slice(region, 0, 8) != METADATA_MAGIC {
            return Err(Error::malformed("metadata of a VHDX image", "damaged", "a region that begins with its name"));
        }
        let entries = slice(region, ENTRY_SIZE, usize::from(le16(region, 10).min(2047)) * ENTRY_SIZE);
        let item = |id: Guid, size: usize, what: &'static str| {
            let entry = entries.chunks_exact(ENTRY_SIZE).find(|entry| array(entry, 0) == id.0);
            let found = entry.map(|entry| slice(region, le32(entry, 16) as usize, size));
            found.filter(|found| found.len() == size).ok_or_else(|| Error::malformed(what, "missing", "always there"))
        };
        let parameters = item(FILE_PARAMETERS, 8, "file parameters of a VHDX image")?;
        if le32(parameters, 4) & HAS_PARENT != 0 {
            return Err(Error::Unsupported {
                what: "a VHDX image that is based on another one".to_owned(),
                way_out: "make one image of both with 'qemu-img convert'",
            });
        }
        let block = u64::from(le32(parameters, 0));
        if !block.is_power_of_two() || !(MIB..=256 * MIB).contains(&block) {
            return Err(Error::malformed("block size of a VHDX image", block, "a power of two from 1 MiB to 256 MiB"));
        }
        let size = le64(item(DISK_SIZE, 8, "virtual disk size of a VHDX image")?, 0);
        if size > 64 << 40 {
            return Err(Error::malformed("virtual disk size of a VHDX image", size, "at most 64 TiB"));
        }
        let sector = u64::from(le32(item(LOGICAL_SECTOR, 4, "logical sector size of a VHDX image")?, 0));
        if !matches!(sector, 512 | 4096) {
            return Err(Error::malformed("logical sector size of a VHDX image", sector, "512 or 4096"));
        }
        Ok(Self { size, block, sector })
    }
}

/// The CRC-32C of a structure with zeros in the place of its checksum, bytes 4 to 7.
fn checksum(bytes: &[u8]) -> u32 {
    let zeroed = slice(bytes, 0, 4).iter().chain(&[0; 4]).chain(bytes.iter().skip(8));
    !zeroed.fold(u32::MAX, |sum, byte| {
        // Castagnoli's polynomial, its bits reversed.
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 0 { 0 } else { 0x82f6_3b78 })
    })
}
