//! Writing VHDX images that grow, with an empty log.

use super::{
    BLOCK_TABLE, CHUNK_SECTORS, DISK_ID, DISK_SIZE, FILE_PARAMETERS, FULLY_PRESENT, HEADER_MAGIC, HEADER_SIZE, HEADERS,
    KIB_64, LOGICAL_SECTOR, MAGIC, METADATA, METADATA_MAGIC, MIB, PHYSICAL_SECTOR, REGION_MAGIC, REGION_TABLES,
    checksum,
};
use crate::bytes::put;
use crate::error::Error;
use crate::image::blocks;
use crate::image::write::{Identity, Work};
use crate::read_at::ReadAt;
use crate::write_at::WriteAt;

const SECTOR: u64 = 512;
const PHYSICAL: u32 = 4096;
const LOG: u64 = MIB;
const METADATA_AT: u64 = 2 * MIB;
const TABLE_AT: u64 = 3 * MIB;
/// Where the items of the metadata begin in their region.
const ITEMS: u32 = 64 << 10;
/// Blocks of a disk at most; they become larger for larger disks.
const MAX_BLOCKS: u64 = 1 << 20;
const MAX_SIZE: u64 = 64 << 40;

/// Bits of an entry of the metadata table: the item is about the disk, and a reader
/// must know it.
const OF_DISK: u32 = 1 << 1;
const REQUIRED: u32 = 1 << 2;

/// Writes an image of `disk`.
pub(in crate::image) fn write(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let size = disk.size();
    if size > MAX_SIZE {
        return Err(Error::Impossible(format!("a disk of {size} bytes is too large for a VHDX image: 64 TiB at most")));
    }
    let block_size = size.div_ceil(MAX_BLOCKS).next_power_of_two().max(2 * MIB);
    let blocks = size.div_ceil(block_size);
    let chunk = CHUNK_SECTORS * SECTOR / block_size;
    let entries = blocks + blocks.saturating_sub(1) / chunk;
    let mut table = vec![0; entries as usize * 8];
    let table_size = (table.len() as u64).next_multiple_of(MIB).max(MIB);
    let mut end = TABLE_AT + table_size;
    blocks::each(
        disk,
        block_size,
        work,
        || |block: &[u8]| Ok(block.to_vec()),
        |number, block| {
            // The offset counts MiB, from bit 20 on: it is the same as in bytes.
            put(&mut table, (number + number / chunk) as usize * 8, &(end | FULLY_PRESENT).to_le_bytes());
            out.write_all_at(&block, end).map_err(Error::write)?;
            end += block_size;
            Ok(())
        },
    )?;
    let write = |bytes: &[u8], offset| out.write_all_at(bytes, offset).map_err(Error::write);
    out.set_size(end).map_err(Error::write)?;
    write(&table, TABLE_AT)?;

    let identity = Identity::of(disk)?;
    write(&metadata(size, block_size as u32, &identity), METADATA_AT)?;
    let mut regions = vec![0; KIB_64 as usize];
    put(&mut regions, 0, &REGION_MAGIC);
    put(&mut regions, 8, &2u32.to_le_bytes());
    for (index, (id, offset, length)) in
        [(BLOCK_TABLE, TABLE_AT, table_size), (METADATA, METADATA_AT, MIB)].into_iter().enumerate()
    {
        let at = 16 + index * 32;
        put(&mut regions, at, &id.0);
        put(&mut regions, at + 16, &offset.to_le_bytes());
        put(&mut regions, at + 24, &(length as u32).to_le_bytes());
        put(&mut regions, at + 28, &1u32.to_le_bytes());
    }
    let sum = checksum(&regions);
    put(&mut regions, 4, &sum.to_le_bytes());
    for at in REGION_TABLES {
        write(&regions, at)?;
    }
    for (sequence, at) in HEADERS.into_iter().enumerate() {
        write(&header(sequence as u64, &identity), at)?;
    }
    let mut identifier = MAGIC.to_vec();
    identifier.extend("tine".encode_utf16().flat_map(u16::to_le_bytes));
    write(&identifier, 0)
}

fn header(sequence: u64, identity: &Identity) -> Vec<u8> {
    let mut header = vec![0; HEADER_SIZE];
    put(&mut header, 0, &HEADER_MAGIC);
    put(&mut header, 8, &sequence.to_le_bytes());
    put(&mut header, 16, &identity.guid("vhdx file").0);
    put(&mut header, 32, &identity.guid("vhdx data").0);
    // The identifier of the log stays zeros: it is empty. Version 1 of the format.
    put(&mut header, 66, &1u16.to_le_bytes());
    put(&mut header, 68, &(MIB as u32).to_le_bytes());
    put(&mut header, 72, &LOG.to_le_bytes());
    let sum = checksum(&header);
    put(&mut header, 4, &sum.to_le_bytes());
    header
}

fn metadata(size: u64, block_size: u32, identity: &Identity) -> Vec<u8> {
    let items: [(_, u32, Vec<u8>); 5] = [
        (FILE_PARAMETERS, REQUIRED, [block_size.to_le_bytes(), [0; 4]].concat()),
        (DISK_SIZE, OF_DISK | REQUIRED, size.to_le_bytes().to_vec()),
        (LOGICAL_SECTOR, OF_DISK | REQUIRED, (SECTOR as u32).to_le_bytes().to_vec()),
        (PHYSICAL_SECTOR, OF_DISK | REQUIRED, PHYSICAL.to_le_bytes().to_vec()),
        (DISK_ID, OF_DISK | REQUIRED, identity.guid("vhdx disk").0.to_vec()),
    ];
    let mut region = vec![0; ITEMS as usize + 64];
    put(&mut region, 0, &METADATA_MAGIC);
    put(&mut region, 10, &(items.len() as u16).to_le_bytes());
    let mut offset = ITEMS;
    for (index, (id, flags, value)) in items.into_iter().enumerate() {
        let at = 32 + index * 32;
        put(&mut region, at, &id.0);
        put(&mut region, at + 16, &offset.to_le_bytes());
        put(&mut region, at + 20, &(value.len() as u32).to_le_bytes());
        put(&mut region, at + 24, &flags.to_le_bytes());
        put(&mut region, offset as usize, &value);
        offset += value.len() as u32;
    }
    region
}
