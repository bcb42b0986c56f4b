//! Master boot records: four partitions, and more in a chain of extended ones.
//!
//! ```text
//! 446   4 entries of 16 bytes   status, type at 4, first sector at 8, sectors at 12
//! 510   0x55 0xaa
//! ```
//!
//! An extended partition begins with a record of the same form: its first entry
//! is a logical partition, relative to that record; its second leads to the next
//! record, relative to the extended partition. Sectors have 512 bytes.

use std::collections::HashSet;
use std::io;

use super::{Guid, Kind, Partition, Scheme, Table, bsd};
use crate::bytes::{le32, slice};
use crate::read_at::{ReadAt, read_up_to};

pub(super) const SECTOR: u64 = 512;
pub(super) const ENTRIES: usize = 446;
pub(super) const SIGNATURE: &[u8] = &[0x55, 0xaa];
/// What a GPT leaves in the MBR to protect itself.
pub(super) const PROTECTIVE: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// A slice of FreeBSD, with a disklabel in it.
const FREEBSD: u8 = 0xa5;
/// The most logical partitions that are looked for.
const MAX_LOGICAL: u32 = 128;

/// The record in the first sector of a disk.
pub(super) struct Mbr([Entry; 4]);

#[derive(Clone, Copy, Default)]
struct Entry {
    status: u8,
    kind: u8,
    first: u32,
    count: u32,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.count != 0
    }

    /// The boot sector of a file system has code where the entries would be.
    fn is_possible(&self) -> bool {
        matches!(self.status, 0 | 0x80) && (!self.is_used() || self.first != 0)
    }
}

impl Mbr {
    /// The record, if there is one with partitions.
    pub(super) fn read(disk: &dyn ReadAt) -> io::Result<Option<Self>> {
        let found = entries_at(disk, 0)?.map(Mbr);
        Ok(found.filter(|mbr| mbr.0.iter().all(Entry::is_possible) && mbr.0.iter().any(Entry::is_used)))
    }

    pub(super) fn announces_gpt(&self) -> bool {
        self.0.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    /// The partitions, with those in extended partitions and in disklabels.
    pub(super) fn table(&self, disk: &dyn ReadAt) -> io::Result<Table> {
        let mut table = Table::new(Scheme::Mbr, SECTOR);
        for (number, entry) in (1..).zip(&self.0).filter(|(_, entry)| entry.is_used()) {
            if EXTENDED.contains(&entry.kind) {
                logical_partitions(disk, u64::from(entry.first), &mut table)?;
                continue;
            }
            push(disk, &mut table, number, entry, 0)?;
        }
        Ok(table)
    }
}

fn entries_at(disk: &dyn ReadAt, sector: u64) -> io::Result<Option<[Entry; 4]>> {
    let bytes = read_up_to(disk, sector * SECTOR, SECTOR as usize)?;
    if slice(&bytes, 510, 2) != SIGNATURE {
        return Ok(None);
    }
    Ok(Some([0, 1, 2, 3].map(|index| {
        let at = ENTRIES + index * 16;
        let byte = |offset: usize| bytes.get(at + offset).copied().unwrap_or(0);
        Entry { status: byte(0), kind: byte(4), first: le32(&bytes, at + 8), count: le32(&bytes, at + 12) }
    })))
}

/// Adds a partition whose first sector counts from `base`, and those in it.
fn push(disk: &dyn ReadAt, table: &mut Table, number: u32, entry: &Entry, base: u64) -> io::Result<()> {
    let partition = Partition {
        name: format!("s{number}"),
        start: (base + u64::from(entry.first)) * SECTOR,
        size: u64::from(entry.count) * SECTOR,
        kind: Kind::Mbr(entry.kind),
        label: String::new(),
        id: Guid::default(),
        attributes: entry.status.into(),
    };
    let (name, start, size) = (partition.name.clone(), partition.start, partition.size);
    table.push(disk.size(), partition);
    if entry.kind == FREEBSD {
        bsd::read_slice(disk, &name, start, size, table)?;
    }
    Ok(())
}

/// Follows the chain of records in an extended partition.
fn logical_partitions(disk: &dyn ReadAt, extended: u64, table: &mut Table) -> io::Result<()> {
    let mut seen = HashSet::new();
    let mut record = extended;
    // Logical partitions count from 5 on, whatever the primary ones are.
    for number in 5..5 + MAX_LOGICAL {
        if !seen.insert(record) {
            table.warnings.push(format!("the chain of logical partitions leads back to sector {record}"));
            return Ok(());
        }
        let Some([logical, next, ..]) = entries_at(disk, record)? else {
            table.warnings.push(format!("there is no record of a logical partition in sector {record}"));
            return Ok(());
        };
        if logical.is_used() {
            push(disk, table, number, &logical, record)?;
        }
        if !next.is_used() {
            return Ok(());
        }
        record = extended + u64::from(next.first);
    }
    table.warnings.push(format!("there are more than {MAX_LOGICAL} logical partitions, the others are left out"));
    Ok(())
}
