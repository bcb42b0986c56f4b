//! FAT file systems, as EFI system partitions have them ("FAT: General Overview of
//! On-Disk Format" 1.03, Microsoft).
//!
//! ```text
//! reserved sectors, the boot sector first | FAT | its copy | root directory (FAT12, FAT16) | clusters
//! ```
//!
//! The FAT has for each cluster the number of the next one of the same file. Which of
//! FAT12, FAT16 and FAT32 it is follows from nothing but the number of clusters.

mod build;
mod name;
mod read;

pub use build::{File, Options, build, room_for};
pub use read::{Entry, Volume};

/// Bytes of a directory's entry.
const ENTRY_SIZE: usize = 32;
/// Attributes of an entry.
const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const ARCHIVE: u8 = 0x20;
/// All that make an entry a part of a long name.
const LONG_NAME: u8 = 0x0f;

/// The width of an entry of the FAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// FAT12: less than 4085 clusters.
    Fat12,
    /// FAT16: less than 65525 clusters.
    Fat16,
    /// FAT32.
    Fat32,
}

impl Width {
    /// That of a file system with so many clusters.
    fn of_clusters(clusters: u64) -> Self {
        let all = [Width::Fat12, Width::Fat16];
        all.into_iter().find(|width| clusters <= width.most_clusters()).unwrap_or(Width::Fat32)
    }

    fn most_clusters(self) -> u64 {
        match self {
            Width::Fat12 => 4084,
            Width::Fat16 => 65524,
            Width::Fat32 => 0x0fff_fff0,
        }
    }

    fn bits(self) -> u64 {
        match self {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        }
    }

    /// The smallest entry that ends a file.
    fn end(self) -> u32 {
        match self {
            Width::Fat12 => 0xff8,
            Width::Fat16 => 0xfff8,
            Width::Fat32 => 0x0fff_fff8,
        }
    }
}

impl std::fmt::Display for Width {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FAT{}", self.bits())
    }
}

#[cfg(test)]
mod tests;
