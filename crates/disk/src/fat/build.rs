//! File systems from lists of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::name::Name;
use super::{ARCHIVE, DIRECTORY, ENTRY_SIZE, VOLUME_LABEL, Width};
use crate::assembly::Assembly;
use crate::bytes::put;
use crate::error::Error;
use crate::read_at::ReadAt;

const SECTOR: u64 = 512;
/// Copies of the FAT.
const FATS: u64 = 2;
/// Reserved sectors of a FAT32: boot sector, where it says what is free, copies of both.
const RESERVED_FAT32: u64 = 32;
const INFORMATION: u64 = 1;
const COPY: u64 = 6;
/// Entries of the root directory of FAT12 and FAT16.
const ROOT_ENTRIES: u64 = 512;
/// Clusters that are not exceeded by making clusters larger.
const MANY_CLUSTERS: u64 = 1 << 20;
/// The first cluster.
const FIRST: u32 = 2;
/// The number of the root directory among all.
const ROOT: usize = 0;

/// A file to be put into a file system.
#[derive(Clone)]
pub struct File {
    /// Its path, such as `EFI/BOOT/BOOTX64.EFI`. Directories are made as needed.
    pub path: String,
    /// What is in it.
    pub contents: Arc<dyn ReadAt>,
}

/// What a file system is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its size in bytes, a multiple of 512; how many bits the FAT has follows from it.
    pub size: u64,
    /// Its label, up to 11 bytes.
    pub label: String,
    /// Its serial number.
    pub id: u32,
    /// The time of all files, in seconds since 1970; 1980 is the earliest.
    pub time: u64,
}

/// A directory while it is put together.
#[derive(Default)]
struct Directory {
    parent: usize,
    /// Its own name, which comes in its parent's order.
    children: BTreeMap<String, Child>,
}

enum Child {
    Directory(usize),
    File(Arc<dyn ReadAt>),
}

/// Where everything is.
struct Geometry {
    width: Width,
    /// Bytes of a cluster.
    cluster: u64,
    clusters: u64,
    reserved: u64,
    /// Sectors of a FAT.
    fat: u64,
    /// Sectors of the root directory, where it has a place of its own.
    root: u64,
}

impl Geometry {
    /// Of a file system of so many sectors; `None` if that is too few or too many.
    fn of(sectors: u64) -> Option<Self> {
        // Where one width has too many clusters, and the next, whose FAT is larger, too few, some are
        // left over.
        Self::with_limit(sectors, false).or_else(|| Self::with_limit(sectors, true))
    }

    fn with_limit(sectors: u64, limited: bool) -> Option<Self> {
        let mut per_cluster = 1;
        while sectors / per_cluster > MANY_CLUSTERS && per_cluster < 64 {
            per_cluster *= 2;
        }
        // A wider FAT leaves fewer clusters: the narrowest that has room for them is right.
        [Width::Fat12, Width::Fat16, Width::Fat32].into_iter().find_map(|width| {
            let (reserved, root) = match width {
                Width::Fat32 => (RESERVED_FAT32, 0),
                _ => (1, ROOT_ENTRIES * ENTRY_SIZE as u64 / SECTOR),
            };
            let data = sectors.checked_sub(reserved + root)?;
            // Each cluster costs its sectors and its entries.
            let bits = SECTOR * 8 * per_cluster + FATS * width.bits();
            let mut clusters = data * SECTOR * 8 / bits;
            let fat = ((clusters + u64::from(FIRST)) * width.bits()).div_ceil(8 * SECTOR);
            // Rounding the FAT up to sectors may have taken the last cluster's room.
            clusters = clusters.min(data.checked_sub(FATS * fat)? / per_cluster);
            if limited {
                clusters = clusters.min(width.most_clusters());
            }
            let fits = Width::of_clusters(clusters) == width && clusters > 0 && clusters < 0x0fff_fff0;
            fits.then_some(Self { width, cluster: per_cluster * SECTOR, clusters, reserved, fat, root })
        })
    }

    /// Where a cluster is, in bytes.
    fn place(&self, cluster: u32) -> u64 {
        let first = self.reserved + FATS * self.fat + self.root;
        first * SECTOR + u64::from(cluster - FIRST) * self.cluster
    }
}

/// The size of the smallest file system, of at least `least` bytes and of whole MiB, that has room
/// for the files.
///
/// # Errors
/// If names cannot be, or files are too large.
pub fn room_for(files: &[File], least: u64) -> Result<u64, Error> {
    let bytes: u64 = files.iter().map(|file| file.contents.size().saturating_add(8192)).fold(0, u64::saturating_add);
    let mut size = least.max(bytes).max(1 << 20).next_multiple_of(1 << 20);
    loop {
        match build(&Options { size, label: String::new(), id: 0, time: 0 }, files) {
            Ok(_) => return Ok(size),
            Err(error) if size > bytes.saturating_mul(4).saturating_add(64 << 20) => return Err(error),
            Err(_) => size += 1 << 20,
        }
    }
}

/// Builds a file system of these files.
///
/// ```
/// use std::sync::Arc;
/// use disk::fat;
///
/// # fn main() -> Result<(), disk::Error> {
/// let files =
///     [fat::File { path: "EFI/BOOT/BOOTX64.EFI".into(), contents: Arc::new(b"MZ".to_vec()) }];
/// let options = fat::Options { size: 1 << 20, label: "EFISYS".into(), id: 1, time: 0 };
/// let volume = fat::Volume::open(Arc::new(fat::build(&options, &files)?))?;
/// assert_eq!(volume.files()?.len(), 3);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is no room for the files, or a path has names that cannot be.
pub fn build(options: &Options, files: &[File]) -> Result<Assembly, Error> {
    let sectors = options.size / SECTOR;
    let geometry = Geometry::of(sectors).filter(|_| options.size.is_multiple_of(SECTOR) && sectors <= u32::MAX.into());
    let Some(geometry) = geometry else {
        return Err(Error::Impossible(format!("{} bytes cannot be the size of a FAT file system", options.size)));
    };
    let directories = directories(files)?;
    let mut volume = Builder {
        geometry,
        options,
        fat: Vec::new(),
        out: Assembly::new(options.size),
        clusters: vec![0; directories.len()],
    };
    volume.fat = vec![volume.geometry.width.end(), volume.geometry.width.end() | 7];
    volume.write(&directories)?;
    Ok(volume.out)
}

/// The directories that the files need, the root first.
fn directories(files: &[File]) -> Result<Vec<Directory>, Error> {
    let mut all = vec![Directory::default()];
    for file in files {
        let twice = || Error::Impossible(format!("{} would be there twice", file.path));
        let mut names: Vec<&str> = file.path.split('/').filter(|name| !name.is_empty()).collect();
        let Some(last) = names.pop() else {
            return Err(Error::Impossible("a file without a name".to_owned()));
        };
        let mut at = ROOT;
        for name in names {
            let next = all.len();
            let Some(directory) = all.get_mut(at) else { break };
            match child(directory, name) {
                Some(Child::Directory(index)) => at = *index,
                Some(Child::File(_)) => return Err(twice()),
                None => {
                    directory.children.insert(name.to_owned(), Child::Directory(next));
                    all.push(Directory { parent: at, ..Directory::default() });
                    at = next;
                }
            }
        }
        if let Some(directory) = all.get_mut(at) {
            if child(directory, last).is_some() {
                return Err(twice());
            }
            directory.children.insert(last.to_owned(), Child::File(file.contents.clone()));
        }
    }
    Ok(all)
}

/// What has a name in a directory: capitals and small letters are the same.
fn child<'a>(directory: &'a Directory, name: &str) -> Option<&'a Child> {
    directory.children.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, child)| child)
}

struct Builder<'a> {
    geometry: Geometry,
    options: &'a Options,
    /// Entries so far; each file has its clusters in a row.
    fat: Vec<u32>,
    out: Assembly,
    /// The first cluster of each directory.
    clusters: Vec<u32>,
}

/// Gives first cluster and size of what an entry leads to.
type Place<'a> = dyn FnMut(&Child, &str) -> Result<(u32, u32), Error> + 'a;

impl Builder<'_> {
    fn write(&mut self, directories: &[Directory]) -> Result<(), Error> {
        // Directories first, as their clusters are named before their contents are known.
        for (index, directory) in directories.iter().enumerate() {
            let size = self.entries_of(directory, index, &mut |_, _| Ok((0, 0)))?.len() as u64;
            if index == ROOT && self.geometry.root > 0 {
                if size > self.geometry.root * SECTOR {
                    return Err(Error::Impossible(format!("a FAT root directory has {ROOT_ENTRIES} entries")));
                }
                continue;
            }
            let cluster = self.allocate(size.max(1))?;
            if let Some(place) = self.clusters.get_mut(index) {
                *place = cluster;
            }
        }
        for (index, directory) in directories.iter().enumerate() {
            let clusters = self.clusters.clone();
            // Contents are placed while the entries that lead to them are made.
            let mut contents = Vec::new();
            let mut next: Vec<u32> = Vec::new();
            for child in directory.children.values() {
                let Child::File(file) = child else { continue };
                let cluster = if file.size() == 0 { 0 } else { self.allocate(file.size())? };
                contents.push((cluster, file.clone()));
                next.push(cluster);
            }
            let mut next = next.into_iter();
            let entries = self.entries_of(directory, index, &mut |child, name| match child {
                Child::Directory(index) => Ok((clusters.get(*index).copied().unwrap_or(0), 0)),
                Child::File(file) => {
                    let too_large = |_| Error::Impossible(format!("{name} is larger than FAT knows: 4 GiB at most"));
                    Ok((next.next().unwrap_or(0), u32::try_from(file.size()).map_err(too_large)?))
                }
            })?;
            let at = match clusters.get(index) {
                Some(&cluster @ FIRST..) => self.geometry.place(cluster),
                _ => (self.geometry.reserved + FATS * self.geometry.fat) * SECTOR,
            };
            self.out.put(at, Arc::new(entries))?;
            for (cluster, file) in contents.into_iter().filter(|(cluster, _)| *cluster >= FIRST) {
                self.out.put(self.geometry.place(cluster), file)?;
            }
        }
        let fat = self.encoded_fat();
        for copy in 0..FATS {
            self.out.put((self.geometry.reserved + copy * self.geometry.fat) * SECTOR, Arc::new(fat.clone()))?;
        }
        self.put_boot_sectors()
    }

    /// Clusters in a row for so many bytes; gives the first.
    fn allocate(&mut self, bytes: u64) -> Result<u32, Error> {
        let (count, first) = (bytes.div_ceil(self.geometry.cluster), self.fat.len() as u64);
        if first + count > self.geometry.clusters + u64::from(FIRST) {
            let text = format!("the files do not fit into a FAT file system of {} bytes", self.options.size);
            return Err(Error::Impossible(text));
        }
        self.fat.extend((first + 1..first + count).map(|next| next as u32));
        self.fat.push(self.geometry.width.end() | 7);
        Ok(first as u32)
    }

    /// The entries of a directory. `place` gives first cluster and size of what they lead to.
    fn entries_of(&self, directory: &Directory, index: usize, place: &mut Place<'_>) -> Result<Vec<u8>, Error> {
        let mut entries = Vec::new();
        let cluster = |index: usize| self.clusters.get(index).copied().unwrap_or(0);
        if index == ROOT {
            let mut label = [b' '; 11];
            put(&mut label, 0, self.label()?.as_bytes());
            if !self.options.label.is_empty() {
                entries.extend(self.entry(&label, VOLUME_LABEL, 0, 0));
            }
        } else {
            entries.extend(self.entry(b".          ", DIRECTORY, cluster(index), 0));
            // The root is called 0 there, wherever it is.
            let parent = if directory.parent == ROOT { 0 } else { cluster(directory.parent) };
            entries.extend(self.entry(b"..         ", DIRECTORY, parent, 0));
        }
        let mut taken = Vec::new();
        for (name, child) in &directory.children {
            let stored = Name::new(name, &taken)
                .ok_or_else(|| Error::Impossible(format!("'{name}' cannot be a name in a FAT file system")))?;
            let (cluster, size) = place(child, name)?;
            let attributes = if matches!(child, Child::Directory(_)) { DIRECTORY } else { ARCHIVE };
            entries.extend(&stored.long);
            entries.extend(self.entry(&stored.short, attributes, cluster, size));
            taken.push(stored.short);
        }
        Ok(entries)
    }

    fn entry(&self, name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; ENTRY_SIZE] {
        let (date, time) = dos_time(self.options.time);
        let [low0, low1, high0, high1] = cluster.to_le_bytes();
        let mut entry = [0; ENTRY_SIZE];
        put(&mut entry, 0, name);
        put(&mut entry, 11, &[attributes]);
        // Creation, access, modification.
        put(&mut entry, 14, &time.to_le_bytes());
        put(&mut entry, 16, &date.to_le_bytes());
        put(&mut entry, 18, &date.to_le_bytes());
        put(&mut entry, 20, &[high0, high1]);
        put(&mut entry, 22, &time.to_le_bytes());
        put(&mut entry, 24, &date.to_le_bytes());
        put(&mut entry, 26, &[low0, low1]);
        put(&mut entry, 28, &size.to_le_bytes());
        entry
    }

    fn label(&self) -> Result<&str, Error> {
        let label = &self.options.label;
        let possible = label.len() <= 11 && label.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if possible {
            Ok(label)
        } else {
            Err(Error::Impossible(format!("'{label}' cannot be a label: 11 letters at most")))
        }
    }

    fn encoded_fat(&self) -> Vec<u8> {
        match self.geometry.width {
            Width::Fat16 => self.fat.iter().flat_map(|entry| (*entry as u16).to_le_bytes()).collect(),
            Width::Fat32 => self.fat.iter().flat_map(|entry| entry.to_le_bytes()).collect(),
            // Two entries in three bytes.
            Width::Fat12 => {
                let pairs = self.fat.chunks(2).map(|pair| {
                    let entry = |index: usize| pair.get(index).copied().unwrap_or(0);
                    entry(0) & 0xfff | (entry(1) & 0xfff) << 12
                });
                pairs
                    .flat_map(|both| {
                        let [a, b, c, _] = both.to_le_bytes();
                        [a, b, c]
                    })
                    .collect()
            }
        }
    }

    fn put_boot_sectors(&mut self) -> Result<(), Error> {
        let Geometry { width, cluster, clusters, reserved, fat, .. } = self.geometry;
        // Readers count the clusters by this.
        let sectors = reserved + FATS * fat + self.geometry.root + clusters * (cluster / SECTOR);
        let mut boot = vec![0; SECTOR as usize];
        let fat32 = width == Width::Fat32;
        // A jump over the fields, to code that there is not: it goes round for ever.
        let code = if fat32 { 90 } else { 62 };
        put(&mut boot, 0, &[0xeb, code - 2, 0x90]);
        put(&mut boot, 3, b"BSD4.4  ");
        put(&mut boot, 11, &(SECTOR as u16).to_le_bytes());
        put(&mut boot, 13, &[(cluster / SECTOR) as u8]);
        put(&mut boot, 14, &(reserved as u16).to_le_bytes());
        put(&mut boot, 16, &[FATS as u8]);
        put(&mut boot, 17, &(if fat32 { 0 } else { ROOT_ENTRIES as u16 }).to_le_bytes());
        // Counts that need more than 16 bits have another place.
        match u16::try_from(sectors) {
            Ok(sectors) if !fat32 => put(&mut boot, 19, &sectors.to_le_bytes()),
            _ => put(&mut boot, 32, &(sectors as u32).to_le_bytes()),
        }
        // A disk, not a floppy; 63 sectors a track, 255 heads.
        put(&mut boot, 21, &[0xf8]);
        put(&mut boot, 24, &63u16.to_le_bytes());
        put(&mut boot, 26, &255u16.to_le_bytes());
        let extended = if fat32 {
            put(&mut boot, 36, &(fat as u32).to_le_bytes());
            put(&mut boot, 44, &self.clusters.first().copied().unwrap_or(FIRST).to_le_bytes());
            put(&mut boot, 48, &(INFORMATION as u16).to_le_bytes());
            put(&mut boot, 50, &(COPY as u16).to_le_bytes());
            64
        } else {
            put(&mut boot, 22, &(fat as u16).to_le_bytes());
            36
        };
        let mut label = *b"NO NAME    ";
        if !self.options.label.is_empty() {
            label = [b' '; 11];
            put(&mut label, 0, self.label()?.as_bytes());
        }
        // The first disk, and a mark that three fields follow.
        put(&mut boot, extended, &[0x80, 0, 0x29]);
        put(&mut boot, extended + 3, &self.options.id.to_le_bytes());
        put(&mut boot, extended + 7, &label);
        put(&mut boot, extended + 18, format!("{width:<8}").as_bytes());
        put(&mut boot, code.into(), &[0xeb, 0xfe]);
        put(&mut boot, 510, &[0x55, 0xaa]);
        if !fat32 {
            return self.out.put(0, Arc::new(boot));
        }
        let mut information = vec![0; SECTOR as usize];
        let used = self.fat.len() as u64;
        put(&mut information, 0, b"RRaA");
        put(&mut information, 484, b"rrAa");
        put(&mut information, 488, &((clusters + u64::from(FIRST) - used) as u32).to_le_bytes());
        put(&mut information, 492, &(used as u32).to_le_bytes());
        put(&mut information, 510, &[0x55, 0xaa]);
        let both: Arc<dyn ReadAt> = Arc::new([boot, information].concat());
        self.out.put(0, both.clone())?;
        self.out.put(COPY * SECTOR, both)
    }
}

/// Date and time as FAT has them: years from 1980 on, two seconds.
fn dos_time(seconds: u64) -> (u16, u16) {
    let days = seconds / 86400;
    // The civil calendar by days, its years beginning in March (400 years have 146097 days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    match year.checked_sub(1980) {
        None => (1 << 5 | 1, 0),
        Some(128..) => (127 << 9 | 12 << 5 | 31, 0),
        Some(years) => {
            let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
            ((years << 9 | month << 5 | day) as u16, (hours << 11 | minutes << 5 | (seconds / 2)) as u16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(dos_time(0), (0x21, 0));
        // 29 February 2000, 23:59:58.
        assert_eq!(dos_time(951_868_798), (20 << 9 | 2 << 5 | 29, 23 << 11 | 59 << 5 | 29));
        assert_eq!(dos_time(u64::from(u32::MAX) * 4).0, 127 << 9 | 12 << 5 | 31);
    }
}
