//! BSD disklabels (FreeBSD, `sys/disk/bsd.h`, `sys/geom/part/g_part_bsd.c`).
//!
//! In the second sector of a slice, or of a disk without another table:
//!
//! ```text
//! 0    magic number         40   sector size
//! 132  magic number         136  checksum        138  partitions
//! 148  partitions of 16 bytes each: sectors, first sector, type at 12
//! ```
//!
//! First sectors count from that of partition `c`, the whole slice: some systems
//! write them from the start of the disk.

use std::io;

use super::{Guid, Kind, Partition, Scheme, Table};
use crate::bytes::{le16, le32, slice};
use crate::read_at::{ReadAt, read_up_to};

const MAGIC: u32 = 0x8256_4557;
/// Where the label is in a slice, in bytes.
const OFFSET: u64 = 512;
const PARTITIONS: usize = 148;
const ENTRY_SIZE: usize = 16;
/// Number of the partition that is the whole slice: `c`.
const RAW: usize = 2;
/// The most partitions of a label (`BSD_NPARTS_MAX`, and what the others have).
const MAX_PARTITIONS: usize = 22;

/// The label of a disk without another table.
pub(super) fn read(disk: &dyn ReadAt) -> io::Result<Option<Table>> {
    let mut table = Table::new(Scheme::Bsd, OFFSET);
    let found = read_slice(disk, "", 0, disk.size(), &mut table)?;
    Ok(found.then_some(table))
}

/// Adds the partitions of the label in a slice of `size` bytes at `start`, and says
/// whether there is a label.
pub(super) fn read_slice(
    disk: &dyn ReadAt,
    slice_name: &str,
    start: u64,
    size: u64,
    table: &mut Table,
) -> io::Result<bool> {
    let Some(offset) = start.checked_add(OFFSET) else { return Ok(false) };
    let label = read_up_to(disk, offset, PARTITIONS + MAX_PARTITIONS * ENTRY_SIZE)?;
    if le32(&label, 0) != MAGIC || le32(&label, 132) != MAGIC {
        return Ok(false);
    }
    let count = usize::from(le16(&label, 138));
    let sector = u64::from(le32(&label, 40));
    let summed = slice(&label, 0, PARTITIONS + count.min(MAX_PARTITIONS) * ENTRY_SIZE);
    // The sum of all words, with the checksum among them.
    let sum = summed.chunks_exact(2).fold(0, |sum, word| sum ^ le16(word, 0));
    if count > MAX_PARTITIONS || summed.is_empty() || sum != 0 || !matches!(sector, 512 | 4096) {
        let place = if slice_name.is_empty() { "the disk" } else { slice_name };
        table.warnings.push(format!("the BSD disklabel of {place} is damaged"));
        return Ok(false);
    }
    if slice_name.is_empty() {
        table.sector_size = sector;
    }
    let entry = |index: usize| slice(&label, PARTITIONS + index * ENTRY_SIZE, ENTRY_SIZE);
    let base = if count > RAW { u64::from(le32(entry(RAW), 4)) } else { 0 };
    for (index, letter) in (0..count).zip('a'..) {
        let entry = entry(index);
        let (sectors, first) = (u64::from(le32(entry, 0)), u64::from(le32(entry, 4)));
        // The whole slice is no partition of its own.
        if sectors == 0 || index == RAW {
            continue;
        }
        let name = format!("{slice_name}{letter}");
        let Some(first) = first.checked_sub(base).filter(|first| first * sector < size) else {
            table.warnings.push(format!("partition {name} is not in its slice"));
            continue;
        };
        let partition = Partition {
            name,
            start: start + first * sector,
            size: (sectors * sector).min(size - first * sector),
            kind: Kind::Bsd(entry.get(12).copied().unwrap_or(0)),
            label: String::new(),
            id: Guid::default(),
            attributes: 0,
        };
        table.push(disk.size(), partition);
    }
    Ok(true)
}
