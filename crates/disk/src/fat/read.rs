//! Reading FAT file systems.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::name::{self, MAX_UNITS};
use super::{DIRECTORY, ENTRY_SIZE, LONG_NAME, VOLUME_LABEL, Width};
use crate::bytes::{array, le16, le32, slice};
use crate::error::Error;
use crate::read_at::{ReadAt, read_up_to};

/// Directories within each other at most.
const MAX_DEPTH: usize = 32;
/// Files and directories of a volume at most.
const MAX_FILES: usize = 1 << 16;
/// Bytes of a directory at most: 65536 entries.
const MAX_DIRECTORY: u64 = 2 << 20;

/// A FAT file system.
pub struct Volume {
    disk: Arc<dyn ReadAt>,
    width: Width,
    label: String,
    id: u32,
    cluster: u64,
    clusters: u64,
    /// Where the FAT is, in bytes.
    fat: u64,
    /// Where the root directory is: cluster, or offset and size.
    root: Root,
    /// Where the first cluster is.
    data: u64,
}

enum Root {
    Cluster(u32),
    Area(u64, u64),
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, such as `EFI/BOOT/BOOTX64.EFI`.
    pub path: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Bytes of a file.
    pub size: u32,
    first: u32,
}

impl Volume {
    /// Whether a partition begins like a FAT file system.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn may_be_on(disk: &dyn ReadAt) -> io::Result<bool> {
        let boot = read_up_to(disk, 0, 512)?;
        let named = slice(&boot, 54, 3) == b"FAT" || slice(&boot, 82, 3) == b"FAT";
        Ok(named && slice(&boot, 510, 2) == [0x55, 0xaa])
    }

    /// Opens the file system of a partition.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn open(disk: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let boot = read_up_to(&disk, 0, 512).map_err(failed)?;
        let byte = |at: usize| u64::from(boot.get(at).copied().unwrap_or(0));
        let sector = u64::from(le16(&boot, 11));
        if !matches!(sector, 512 | 1024 | 2048 | 4096) {
            return Err(Error::malformed("sector size of a FAT file system", sector, "512 to 4096"));
        }
        let per_cluster = byte(13);
        if !per_cluster.is_power_of_two() {
            return Err(Error::malformed("sectors of a FAT cluster", per_cluster, "a power of two"));
        }
        let either = |short: u16, long: u32| if short == 0 { u64::from(long) } else { short.into() };
        let sectors = either(le16(&boot, 19), le32(&boot, 32));
        let fat_sectors = either(le16(&boot, 22), le32(&boot, 36));
        let root_size = u64::from(le16(&boot, 17)) * ENTRY_SIZE as u64;
        let reserved = u64::from(le16(&boot, 14));
        let root_at = reserved + byte(16) * fat_sectors;
        let data = root_at + root_size.div_ceil(sector);
        let clusters = sectors.checked_sub(data).map(|sectors| sectors / per_cluster);
        let Some(clusters @ 1..=0x0fff_fff5) = clusters else {
            return Err(Error::malformed("sectors of a FAT file system", sectors, "more, with such tables"));
        };
        let width = Width::of_clusters(clusters);
        if fat_sectors * sector * 8 < (clusters + 2) * width.bits() {
            return Err(Error::malformed("sectors of a FAT", fat_sectors, format!("enough for {clusters} clusters")));
        }
        let (extended, root) = match width {
            Width::Fat32 => (64, Root::Cluster(le32(&boot, 44))),
            _ => (36, Root::Area(root_at * sector, root_size)),
        };
        let label: String = slice(&boot, extended + 7, 11).iter().map(|&byte| char::from(byte)).collect();
        Ok(Self {
            disk,
            width,
            label: label.trim_end().to_owned(),
            id: le32(&boot, extended + 3),
            cluster: per_cluster * sector,
            clusters,
            fat: reserved * sector,
            root,
            data: data * sector,
        })
    }

    /// FAT12, FAT16 or FAT32.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The label in its boot sector.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its serial number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// All files and directories, each after the directory that it is in.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub fn files(&self) -> Result<Vec<Entry>, Error> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        self.walk("", None, 0, &mut found, &mut seen)?;
        Ok(found)
    }

    fn walk(
        &self,
        path: &str,
        cluster: Option<u32>,
        depth: usize,
        found: &mut Vec<Entry>,
        seen: &mut HashSet<u32>,
    ) -> Result<(), Error> {
        let damaged = |what: &str| Error::malformed("directory of a FAT file system", path, what);
        if depth > MAX_DEPTH || cluster.is_some_and(|cluster| !seen.insert(cluster)) {
            return Err(damaged("one that is not in itself"));
        }
        for mut entry in parse(&self.directory(cluster)?) {
            if found.len() == MAX_FILES {
                return Err(damaged("one of not more than 65536 files"));
            }
            entry.path = if path.is_empty() { entry.path } else { format!("{path}/{}", entry.path) };
            let (below, first) = (entry.is_directory.then(|| entry.path.clone()), entry.first);
            found.push(entry);
            if let Some(below) = below {
                self.walk(&below, Some(first), depth + 1, found, seen)?;
            }
        }
        Ok(())
    }

    fn directory(&self, cluster: Option<u32>) -> Result<Vec<u8>, Error> {
        let first = match (cluster, &self.root) {
            (Some(cluster), _) => cluster,
            (None, Root::Cluster(cluster)) => *cluster,
            (None, Root::Area(offset, size)) => {
                return read_up_to(&self.disk, *offset, *size as usize).map_err(failed);
            }
        };
        let mut bytes = Vec::new();
        for cluster in self.chain(first, MAX_DIRECTORY.div_ceil(self.cluster))? {
            bytes.extend(read_up_to(&self.disk, self.place(cluster), self.cluster as usize).map_err(failed)?);
        }
        Ok(bytes)
    }

    fn place(&self, cluster: u32) -> u64 {
        self.data + u64::from(cluster.saturating_sub(2)) * self.cluster
    }

    /// The clusters of a file, not more than `most`.
    fn chain(&self, first: u32, most: u64) -> Result<Vec<u32>, Error> {
        let mut clusters = Vec::new();
        let mut at = first;
        while u64::from(at) < self.clusters + 2 && at >= 2 && (clusters.len() as u64) < most {
            clusters.push(at);
            at = self.next(at).map_err(failed)?;
        }
        let ended = at >= self.width.end() || clusters.len() as u64 == most;
        if ended { Ok(clusters) } else { Err(Error::malformed("entry of a FAT", at, "the number of a cluster")) }
    }

    fn next(&self, cluster: u32) -> io::Result<u32> {
        let bits = u64::from(cluster) * self.width.bits();
        let mut bytes = [0; 4];
        let part = match self.width {
            Width::Fat32 => &mut bytes[..],
            _ => bytes.get_mut(..2).unwrap_or_default(),
        };
        self.disk.read_exact_at(part, self.fat + bits / 8)?;
        let entry = u32::from_le_bytes(bytes);
        Ok(match self.width {
            Width::Fat12 => entry >> (bits % 8) & 0xfff,
            Width::Fat16 => entry,
            Width::Fat32 => entry & 0x0fff_ffff,
        })
    }

    /// Gives the contents of a file, part by part.
    ///
    /// # Errors
    /// If they cannot be read, or the file's clusters end before it does; and what `take` gives.
    pub fn read<E: From<Error>>(&self, file: &Entry, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut rest = u64::from(file.size);
        let chain = if rest == 0 { Vec::new() } else { self.chain(file.first, rest.div_ceil(self.cluster))? };
        for cluster in chain {
            let length = rest.min(self.cluster);
            take(&read_up_to(&self.disk, self.place(cluster), length as usize).map_err(failed)?)?;
            rest -= length;
        }
        if rest > 0 {
            return Err(Error::malformed("size of a FAT file", file.size, "no more than its clusters have").into());
        }
        Ok(())
    }
}

fn failed(source: io::Error) -> Error {
    Error::Io { name: "FAT file system".to_owned(), source }
}

/// The entries of a directory, without its own and those of labels. Paths are names.
fn parse(directory: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    // Parts of a long name that came before, in the order of the name, and their checksum.
    let mut long: Vec<u16> = Vec::new();
    let mut sum = 0;
    for entry in directory.chunks_exact(ENTRY_SIZE) {
        let [first, attributes] = [0, 11].map(|at| entry.get(at).copied().unwrap_or(0));
        match first {
            0 => break,
            0xe5 => {
                long.clear();
                continue;
            }
            _ => {}
        }
        if attributes & 0x3f == LONG_NAME {
            if first & 0x40 != 0 {
                long.clear();
                sum = entry.get(13).copied().unwrap_or(0);
            }
            if long.len() <= MAX_UNITS {
                long.splice(0..0, name::units(entry));
            }
            continue;
        }
        let short = slice(entry, 0, 11);
        let units = std::mem::take(&mut long);
        if attributes & VOLUME_LABEL != 0 || short.starts_with(b". ") || short.starts_with(b".. ") {
            continue;
        }
        let is_long = !units.is_empty() && name::checksum(short) == sum;
        let path = match is_long {
            true => String::from_utf16_lossy(&units),
            false => name::short_text(short, entry.get(12).copied().unwrap_or(0)),
        };
        let first = u32::from(le16(entry, 20)) << 16 | u32::from(le16(entry, 26));
        let size: [u8; 4] = array(entry, 28);
        entries.push(Entry { path, is_directory: attributes & DIRECTORY != 0, size: u32::from_le_bytes(size), first });
    }
    entries
}
