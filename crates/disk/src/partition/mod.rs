//! Partition tables: GPT, MBR, and BSD disklabels, bare or in a slice of an MBR.

mod bsd;
mod gpt;
mod guid;
mod kind;
mod mbr;
mod write;

use std::fmt;
use std::io;

pub use guid::Guid;
pub use kind::Type;
pub use write::{Layout, Placed, Slot};

use crate::read_at::ReadAt;

/// A scheme of dividing a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table (UEFI specification, 5.3).
    Gpt,
    /// Master boot record, also with extended partitions.
    Mbr,
    /// BSD disklabel.
    Bsd,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Gpt => "GPT",
            Scheme::Mbr => "MBR",
            Scheme::Bsd => "BSD",
        })
    }
}

/// What a partition is said to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The type of a GPT partition.
    Gpt(Guid),
    /// The type of an MBR partition.
    Mbr(u8),
    /// The type of a partition of a BSD disklabel (`FS_...`, `sys/disklabel.h`).
    Bsd(u8),
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its short name, as FreeBSD would append it to the disk's: `p2` (GPT), `s1`
    /// (MBR), `a` (BSD), `s1a` (BSD in MBR).
    pub name: String,
    /// Where it begins, in bytes from the start of the disk.
    pub start: u64,
    /// How long it is in bytes; it ends where the disk does.
    pub size: u64,
    /// What it is said to hold.
    pub kind: Kind,
    /// The label that its maker gave it; empty for none.
    pub label: String,
    /// What tells it from all others, in a GPT; zeros elsewhere.
    pub id: Guid,
    /// Its attributes: those of a GPT, or the status of an MBR's, 0x80 for active.
    pub attributes: u64,
}

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its scheme; the outer one, where slices are divided again.
    pub scheme: Scheme,
    /// What tells the disk from all others: the GUID of a GPT; zeros elsewhere.
    pub id: Guid,
    /// The unit of its addresses in bytes.
    pub sector_size: u64,
    /// The partitions, also those within slices, in the table's order.
    pub partitions: Vec<Partition>,
    /// What is wrong with it and did not stop the reading, in sentences.
    pub warnings: Vec<String>,
}

impl Table {
    fn new(scheme: Scheme, sector_size: u64) -> Self {
        Self { scheme, id: Guid::default(), sector_size, partitions: Vec::new(), warnings: Vec::new() }
    }

    /// Adds a partition as far as it is on the disk.
    fn push(&mut self, disk_size: u64, partition: Partition) {
        let Partition { name, start, size, .. } = &partition;
        match disk_size.checked_sub(*start) {
            None | Some(0) => {
                self.warnings.push(format!("partition {name} begins at {start}, beyond the end of the disk"));
            }
            Some(rest) if *size <= rest => self.partitions.push(partition),
            Some(rest) => {
                self.warnings.push(format!("partition {name} ends beyond the end of the disk at {disk_size}"));
                self.partitions.push(Partition { size: rest, ..partition });
            }
        }
    }
}

/// Finds the partition table of a disk; `None` if it has none.
///
/// A GPT is one if the MBR says so, or is none. Where MBR partitions point into
/// the same disk (a hybrid MBR), those of the GPT are given.
///
/// # Errors
/// If the disk cannot be read. Damage of a table is a warning where another copy
/// stands in, and otherwise no table.
pub fn read(disk: &dyn ReadAt) -> io::Result<Option<Table>> {
    let mbr = mbr::Mbr::read(disk)?;
    if mbr.as_ref().is_none_or(mbr::Mbr::announces_gpt)
        && let Some(table) = gpt::read(disk)?
    {
        return Ok(Some(table));
    }
    if let Some(table) = bsd::read(disk)? {
        return Ok(Some(table));
    }
    match mbr {
        Some(mbr) => mbr.table(disk).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
