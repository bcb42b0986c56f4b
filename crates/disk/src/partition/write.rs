//! Disks divided into partitions: where each goes, the table, boot code.

use std::sync::Arc;

use flate2::Crc;

use super::gpt::{ENTRY_SIZE, HEADER_SIZE, SIGNATURE};
use super::mbr::{self, PROTECTIVE};
use super::{Guid, Scheme, Type};
use crate::assembly::Assembly;
use crate::bytes::{put, slice};
use crate::error::Error;
use crate::read_at::ReadAt;

const SECTOR: u64 = 512;
/// Partitions begin at multiples of this.
const ALIGNMENT: u64 = 1 << 20;
/// Entries of a GPT, as usual.
const ENTRIES: u32 = 128;
/// Sectors that they take.
const ENTRY_SECTORS: u64 = ENTRIES as u64 * ENTRY_SIZE as u64 / SECTOR;
/// Bytes of boot code that an MBR has room for, before what Windows keeps there.
const MAX_BOOT_CODE: usize = 440;
/// UTF-16 units of a label.
const MAX_LABEL: usize = 36;
/// The last head, sector and cylinder that such addresses can name.
const BEYOND_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// A partition to be made.
#[derive(Clone)]
pub struct Slot {
    /// What it is for.
    pub kind: Type,
    /// Its label; a GPT has such.
    pub label: String,
    /// Its size in bytes, rounded up to whole sectors.
    pub size: u64,
    /// Its attributes, those of a GPT. In an MBR, 0x80 makes it active.
    pub attributes: u64,
    /// What it begins with; zeros follow.
    pub contents: Option<Arc<dyn ReadAt>>,
}

/// A disk to be divided.
///
/// ```
/// use disk::partition::{self, Layout, Scheme, Slot, Type};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut layout = Layout::new(Scheme::Gpt, b"seed");
/// layout.slots.push(Slot {
///     kind: Type::FREEBSD_ZFS, label: "rootfs".into(), size: 64 << 20, attributes: 0, contents: None,
/// });
/// let disk = layout.disk()?;
/// let table = partition::read(&disk)?.expect("there is one");
/// assert_eq!(table.partitions[0].label, "rootfs");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Layout {
    /// The kind of table: GPT or MBR.
    pub scheme: Scheme,
    /// What all identifiers follow from.
    pub seed: Vec<u8>,
    /// The size of the disk in bytes; `None` for as much as the partitions need, in whole MiB.
    pub size: Option<u64>,
    /// Code for the first sector: up to 440 bytes of what is there are taken.
    pub boot_code: Vec<u8>,
    /// The partitions in order.
    pub slots: Vec<Slot>,
}

/// A partition at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
}

impl Layout {
    /// A disk without partitions.
    pub fn new(scheme: Scheme, seed: &[u8]) -> Self {
        Self { scheme, seed: seed.to_owned(), size: None, boot_code: Vec::new(), slots: Vec::new() }
    }

    /// Where each partition goes, the next one that would be added included.
    ///
    /// # Errors
    /// If sizes are beyond all bounds.
    pub fn places(&self) -> Result<(Vec<Placed>, u64), Error> {
        let too_large = || Error::Impossible("the partitions are larger than any disk".to_owned());
        // The table has room before that.
        let mut next = ALIGNMENT;
        let mut places = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let size = slot.size.max(1).checked_next_multiple_of(SECTOR).ok_or_else(too_large)?;
            places.push(Placed { start: next, size });
            let end = next.checked_add(size).and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
            next = end.filter(|end| *end < 1 << 62).ok_or_else(too_large)?;
        }
        Ok((places, next))
    }

    /// The disk, its table and boot code included.
    ///
    /// # Errors
    /// If it has no room for the partitions, they have none for their contents, or the
    /// scheme has no such types, labels or sizes.
    pub fn disk(&self) -> Result<Assembly, Error> {
        let (places, next) = self.places()?;
        let last = places.last().map_or(ALIGNMENT, |place| place.start + place.size);
        let behind = match self.scheme {
            Scheme::Gpt => (ENTRY_SECTORS + 1) * SECTOR,
            _ => 0,
        };
        let needed = if next >= last + behind { next } else { next + ALIGNMENT };
        let size = self.size.unwrap_or(needed);
        if last + behind > size || size % SECTOR != 0 {
            let text = format!("the partitions and their table need {needed} bytes, the disk has {size}");
            return Err(Error::Impossible(text));
        }
        let mut disk = Assembly::new(size);
        match self.scheme {
            Scheme::Gpt => self.put_gpt(&mut disk, &places)?,
            Scheme::Mbr => self.put_mbr(&mut disk, &places)?,
            Scheme::Bsd => return Err(Error::Impossible("disks are divided by GPT or MBR here".to_owned())),
        }
        for (slot, place) in self.slots.iter().zip(&places) {
            let Some(contents) = &slot.contents else { continue };
            if contents.size() > place.size {
                let (name, size, has) = (self.name(slot), contents.size(), place.size);
                return Err(Error::Impossible(format!(
                    "the partition {name} has {has} bytes, {size} are to go into it"
                )));
            }
            disk.put(place.start, contents.clone())?;
        }
        Ok(disk)
    }

    fn name(&self, slot: &Slot) -> String {
        if slot.label.is_empty() { slot.kind.to_string() } else { slot.label.clone() }
    }

    fn put_gpt(&self, disk: &mut Assembly, places: &[Placed]) -> Result<(), Error> {
        if self.slots.len() > ENTRIES as usize {
            return Err(Error::Impossible(format!("a GPT has room for {ENTRIES} partitions")));
        }
        let sectors = disk.size() / SECTOR;
        let mut entries = vec![0; (ENTRY_SECTORS * SECTOR) as usize];
        for (index, (slot, place)) in self.slots.iter().zip(places).enumerate() {
            let no_type = || Error::Impossible(format!("a GPT has no partitions of type {}", slot.kind));
            let at = index * ENTRY_SIZE as usize;
            put(&mut entries, at, &slot.kind.guid().ok_or_else(no_type)?.0);
            put(&mut entries, at + 16, &Guid::derived(&self.seed, &format!("partition {}", index + 1)).0);
            put(&mut entries, at + 32, &(place.start / SECTOR).to_le_bytes());
            put(&mut entries, at + 40, &((place.start + place.size) / SECTOR - 1).to_le_bytes());
            put(&mut entries, at + 48, &slot.attributes.to_le_bytes());
            let label: Vec<u8> = slot.label.encode_utf16().flat_map(u16::to_le_bytes).collect();
            if label.len() > 2 * MAX_LABEL {
                let text = format!("the label '{}' is longer than {MAX_LABEL} characters", slot.label);
                return Err(Error::Impossible(text));
            }
            put(&mut entries, at + 56, &label);
        }
        let header = |this: u64, other: u64, table: u64| {
            let mut header = vec![0; SECTOR as usize];
            put(&mut header, 0, SIGNATURE);
            // Revision 1.0.
            put(&mut header, 8, &0x1_0000u32.to_le_bytes());
            put(&mut header, 12, &(HEADER_SIZE as u32).to_le_bytes());
            put(&mut header, 24, &this.to_le_bytes());
            put(&mut header, 32, &other.to_le_bytes());
            put(&mut header, 40, &(2 + ENTRY_SECTORS).to_le_bytes());
            put(&mut header, 48, &(sectors - ENTRY_SECTORS - 2).to_le_bytes());
            put(&mut header, 56, &Guid::derived(&self.seed, "disk").0);
            put(&mut header, 72, &table.to_le_bytes());
            put(&mut header, 80, &ENTRIES.to_le_bytes());
            put(&mut header, 84, &ENTRY_SIZE.to_le_bytes());
            put(&mut header, 88, &crc(&entries).to_le_bytes());
            let sum = crc(slice(&header, 0, HEADER_SIZE));
            put(&mut header, 16, &sum.to_le_bytes());
            header
        };
        let last = sectors - 1;
        let protective = MbrEntry {
            status: 0,
            kind: PROTECTIVE,
            first: 1,
            count: u32::try_from(last).unwrap_or(u32::MAX),
            begin: [0, 2, 0],
        };
        let first = [self.boot_sector(&[protective], 0), header(1, last, 2), entries.clone()].concat();
        disk.put(0, Arc::new(first))?;
        let second = [entries.clone(), header(last, 1, last - ENTRY_SECTORS)].concat();
        disk.put((last - ENTRY_SECTORS) * SECTOR, Arc::new(second))
    }

    fn put_mbr(&self, disk: &mut Assembly, places: &[Placed]) -> Result<(), Error> {
        if self.slots.len() > 4 {
            return Err(Error::Impossible("an MBR has room for 4 partitions".to_owned()));
        }
        let entries = self.slots.iter().zip(places).map(|(slot, place)| {
            let no_type = || Error::Impossible(format!("an MBR has no partitions of type {}", slot.kind));
            let too_far = |_| Error::Impossible(format!("the partition {} ends beyond 2 TiB", self.name(slot)));
            Ok(MbrEntry {
                status: if slot.attributes & 0x80 != 0 { 0x80 } else { 0 },
                kind: slot.kind.number().ok_or_else(no_type)?,
                first: u32::try_from(place.start / SECTOR).map_err(too_far)?,
                count: u32::try_from(place.size / SECTOR).map_err(too_far)?,
                begin: BEYOND_CHS,
            })
        });
        let entries = entries.collect::<Result<Vec<_>, Error>>()?;
        let Guid([a, b, c, d, ..]) = Guid::derived(&self.seed, "disk");
        disk.put(0, Arc::new(self.boot_sector(&entries, u32::from_le_bytes([a, b, c, d]))))
    }

    fn boot_sector(&self, entries: &[MbrEntry], signature: u32) -> Vec<u8> {
        let mut sector = vec![0; SECTOR as usize];
        put(&mut sector, 0, slice(&self.boot_code, 0, self.boot_code.len().min(MAX_BOOT_CODE)));
        put(&mut sector, 440, &signature.to_le_bytes());
        for (index, entry) in entries.iter().enumerate() {
            let at = mbr::ENTRIES + index * 16;
            put(&mut sector, at, &[entry.status]);
            put(&mut sector, at + 1, &entry.begin);
            put(&mut sector, at + 4, &[entry.kind]);
            put(&mut sector, at + 5, if entry.kind == PROTECTIVE { &[0xff; 3] } else { &BEYOND_CHS });
            put(&mut sector, at + 8, &entry.first.to_le_bytes());
            put(&mut sector, at + 12, &entry.count.to_le_bytes());
        }
        put(&mut sector, 510, mbr::SIGNATURE);
        sector
    }
}

/// An entry of an MBR.
struct MbrEntry {
    status: u8,
    kind: u8,
    first: u32,
    count: u32,
    /// Where it begins by head, sector and cylinder.
    begin: [u8; 3],
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
