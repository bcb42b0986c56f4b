//! GUID partition tables (UEFI specification, 5.3).
//!
//! ```text
//! sector 1        header      signature, CRC, where it and its copy are, where the entries are
//! sector 2...     entries     type, GUID, first and last sector, attributes, name
//! ...
//! last sectors    entries and header again
//! ```

use std::io;

use flate2::Crc;

use super::{Guid, Kind, Partition, Scheme, Table};
use crate::bytes::{le16, le32, le64, slice};
use crate::read_at::{ReadAt, read_up_to};

pub(super) const SIGNATURE: &[u8] = b"EFI PART";
/// Bytes of the header.
pub(super) const HEADER_SIZE: usize = 92;
/// Bytes of an entry; larger ones are possible.
pub(super) const ENTRY_SIZE: u32 = 128;
/// The largest array of entries that is read: 128 entries are usual.
const MAX_ENTRIES_SIZE: u64 = 1 << 20;
const SECTOR_SIZES: [u64; 2] = [512, 4096];

/// What a header says, its CRC being right.
struct Header {
    sector_size: u64,
    /// That of the disk.
    id: Guid,
    /// Sector of the other header.
    other: u64,
    /// Sector of the first entry.
    entries: u64,
    entry_count: u32,
    entry_size: u32,
    entries_crc: u32,
}

/// Reads the table from its first or else from its last copy.
pub(super) fn read(disk: &dyn ReadAt) -> io::Result<Option<Table>> {
    for sector_size in SECTOR_SIZES {
        let primary = Header::read(disk, sector_size, 1)?;
        if let Some(header) = &primary
            && let Some(entries) = header.read_entries(disk)?
        {
            return Ok(Some(header.table(disk, &entries)));
        }
        let last = disk.size() / sector_size;
        let places = [primary.as_ref().map(|header| header.other), last.checked_sub(1)];
        for sector in places.into_iter().flatten() {
            if let Some(header) = Header::read(disk, sector_size, sector)?
                && let Some(entries) = header.read_entries(disk)?
            {
                let mut table = header.table(disk, &entries);
                table.warnings.insert(0, "the first copy of the GPT is damaged, the last one was taken".into());
                return Ok(Some(table));
            }
        }
    }
    Ok(None)
}

impl Header {
    /// The header in a sector, if there is a sound one.
    fn read(disk: &dyn ReadAt, sector_size: u64, sector: u64) -> io::Result<Option<Self>> {
        let Some(offset) = sector.checked_mul(sector_size) else { return Ok(None) };
        let bytes = read_up_to(disk, offset, sector_size as usize)?;
        let size = le32(&bytes, 12) as usize;
        if slice(&bytes, 0, 8) != SIGNATURE || !(HEADER_SIZE..=bytes.len()).contains(&size) {
            return Ok(None);
        }
        // The CRC is that of the header with zeros in its place.
        let mut crc = Crc::new();
        crc.update(slice(&bytes, 0, 16));
        crc.update(&[0; 4]);
        crc.update(slice(&bytes, 20, size - 20));
        if crc.sum() != le32(&bytes, 16) || le64(&bytes, 24) != sector {
            return Ok(None);
        }
        Ok(Some(Self {
            sector_size,
            id: Guid::read(&bytes, 56),
            other: le64(&bytes, 32),
            entries: le64(&bytes, 72),
            entry_count: le32(&bytes, 80),
            entry_size: le32(&bytes, 84),
            entries_crc: le32(&bytes, 88),
        }))
    }

    /// The array of entries, if it is sound.
    fn read_entries(&self, disk: &dyn ReadAt) -> io::Result<Option<Vec<u8>>> {
        let size = u64::from(self.entry_count) * u64::from(self.entry_size);
        let possible = self.entry_size >= ENTRY_SIZE && self.entry_size.is_multiple_of(8) && size <= MAX_ENTRIES_SIZE;
        let Some(offset) = self.entries.checked_mul(self.sector_size).filter(|_| possible) else {
            return Ok(None);
        };
        let entries = read_up_to(disk, offset, size as usize)?;
        let mut crc = Crc::new();
        crc.update(&entries);
        Ok((entries.len() as u64 == size && crc.sum() == self.entries_crc).then_some(entries))
    }

    fn table(&self, disk: &dyn ReadAt, entries: &[u8]) -> Table {
        let mut table = Table::new(Scheme::Gpt, self.sector_size);
        table.id = self.id;
        for (index, entry) in entries.chunks_exact(self.entry_size as usize).enumerate() {
            let kind = Guid::read(entry, 0);
            if kind.is_zero() {
                continue;
            }
            let name = format!("p{}", index + 1);
            let (first, last) = (le64(entry, 32), le64(entry, 40));
            let bytes = |sectors: u64| sectors.checked_mul(self.sector_size);
            let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
            let (Some(start), Some(size)) = (bytes(first), count.and_then(bytes)) else {
                table.warnings.push(format!("partition {name} is from sector {first} to {last}, which cannot be"));
                continue;
            };
            let partition = Partition {
                name,
                start,
                size,
                kind: Kind::Gpt(kind),
                label: label(entry),
                id: Guid::read(entry, 16),
                attributes: le64(entry, 48),
            };
            table.push(disk.size(), partition);
        }
        table
    }
}

/// The name of a partition: 36 UTF-16 units, little-endian.
fn label(entry: &[u8]) -> String {
    let units = (0..36).map(|index| le16(entry, 56 + 2 * index)).take_while(|&unit| unit != 0);
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
