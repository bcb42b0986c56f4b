//! Writing stream-optimised extents.
//!
//! ```text
//! header | descriptor | for each 32 MiB of the disk: grains, their table | directory | footer | end
//! ```

use std::io::Write;

use flate2::write::ZlibEncoder;

use super::{AT_END, COMPRESSED, DEFLATE, LINE_END_TEST, LINE_ENDS, MAGIC, MARKERS, SECTOR, TABLE_ENTRIES, at};
use crate::bytes::put;
use crate::error::Error;
use crate::image::blocks;
use crate::image::write::Work;
use crate::read_at::ReadAt;
use crate::write_at::{Stream, WriteAt};

/// Bytes of a grain.
const GRAIN: u64 = 64 << 10;
/// Sectors from the beginning to the first grain: those of header and descriptor.
const OVERHEAD: u64 = 128;
const DESCRIPTOR_SECTORS: u64 = 20;
const LEVEL: u32 = 6;

/// What a marker announces.
#[derive(Clone, Copy)]
enum Marker {
    End = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
}

/// Writes an image of `disk`.
pub(in crate::image) fn write(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let size = disk.size();
    let capacity = size / SECTOR;
    let tables = size.div_ceil(GRAIN * u64::from(TABLE_ENTRIES));
    // Sectors are addressed by 32 bits.
    if capacity >= u64::from(u32::MAX) {
        return Err(Error::Impossible(format!("a disk of {size} bytes is too large for a VMDK image: 2 TiB at most")));
    }
    let mut stream = Stream::new(out, 0);
    let mut write = |bytes: &[u8]| stream.write_all(bytes).map_err(Error::write);
    write(&header(capacity, AT_END))?;
    write(descriptor(capacity).as_bytes())?;
    stream.align(OVERHEAD * SECTOR);

    let mut image = Image { stream, directory: vec![0; tables as usize], table: None };
    let encode = || {
        |grain: &[u8]| {
            let mut whole = grain.to_vec();
            whole.resize(GRAIN as usize, 0);
            let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::new(LEVEL));
            encoder.write_all(&whole).and_then(|()| encoder.finish()).map_err(Error::write)
        }
    };
    blocks::each(disk, GRAIN, work, encode, |number, grain| image.add(number, &grain).map_err(Error::write))?;
    image.finish(capacity).map_err(Error::write)
}

struct Image<'a> {
    stream: Stream<'a>,
    directory: Vec<u32>,
    /// The table that is being filled, and its number.
    table: Option<(u64, Vec<u8>)>,
}

impl Image<'_> {
    fn add(&mut self, number: u64, grain: &[u8]) -> std::io::Result<()> {
        let area = number / u64::from(TABLE_ENTRIES);
        if self.table.as_ref().is_none_or(|(current, _)| *current != area) {
            self.finish_table()?;
            self.table = Some((area, vec![0; TABLE_ENTRIES as usize * 4]));
        }
        let sector = self.sector()?;
        if let Some((_, table)) = &mut self.table {
            put(table, (number % u64::from(TABLE_ENTRIES)) as usize * 4, &sector.to_le_bytes());
        }
        self.stream.write_all(&(number * (GRAIN / SECTOR)).to_le_bytes())?;
        self.stream.write_all(&(grain.len() as u32).to_le_bytes())?;
        self.stream.write_all(grain)?;
        self.stream.align(SECTOR);
        Ok(())
    }

    /// The sector that is written next.
    fn sector(&self) -> std::io::Result<u32> {
        let too_large = |_| std::io::Error::other("a VMDK image cannot be larger than 2 TiB");
        u32::try_from(self.stream.offset / SECTOR).map_err(too_large)
    }

    /// Writes a marker and what it announces; gives the sector of the latter.
    fn announce(&mut self, marker: Marker, what: &[u8]) -> std::io::Result<u32> {
        let mut sector = [0; SECTOR as usize];
        put(&mut sector, 0, &(what.len() as u64).div_ceil(SECTOR).to_le_bytes());
        put(&mut sector, 12, &(marker as u32).to_le_bytes());
        self.stream.write_all(&sector)?;
        let at = self.sector()?;
        self.stream.write_all(what)?;
        self.stream.align(SECTOR);
        Ok(at)
    }

    fn finish_table(&mut self) -> std::io::Result<()> {
        let Some((area, table)) = self.table.take() else { return Ok(()) };
        let sector = self.announce(Marker::Table, &table)?;
        if let Some(entry) = self.directory.get_mut(area as usize) {
            *entry = sector;
        }
        Ok(())
    }

    fn finish(mut self, capacity: u64) -> std::io::Result<()> {
        self.finish_table()?;
        let directory: Vec<u8> = self.directory.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let sector = self.announce(Marker::Directory, &directory)?;
        self.announce(Marker::Footer, &header(capacity, sector.into()))?;
        self.announce(Marker::End, &[])?;
        Ok(())
    }
}

fn header(capacity: u64, directory: u64) -> [u8; SECTOR as usize] {
    let mut header = [0; SECTOR as usize];
    put(&mut header, 0, &MAGIC);
    put(&mut header, at::VERSION, &3u32.to_le_bytes());
    put(&mut header, at::FLAGS, &(LINE_END_TEST | COMPRESSED | MARKERS).to_le_bytes());
    put(&mut header, at::CAPACITY, &capacity.to_le_bytes());
    put(&mut header, at::GRAIN_SIZE, &(GRAIN / SECTOR).to_le_bytes());
    put(&mut header, at::DESCRIPTOR_OFFSET, &1u64.to_le_bytes());
    put(&mut header, at::DESCRIPTOR_SIZE, &DESCRIPTOR_SECTORS.to_le_bytes());
    put(&mut header, at::TABLE_ENTRIES, &TABLE_ENTRIES.to_le_bytes());
    put(&mut header, at::DIRECTORY, &directory.to_le_bytes());
    put(&mut header, at::OVERHEAD, &OVERHEAD.to_le_bytes());
    put(&mut header, 73, &LINE_ENDS);
    put(&mut header, at::COMPRESSION, &DEFLATE.to_le_bytes());
    header
}

/// What the image says of itself in words.
fn descriptor(capacity: u64) -> String {
    // The geometry that VMware gives to disks on a SCSI controller.
    let cylinders = (capacity / (255 * 63)).min(65535);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {capacity} SPARSE \"disk.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.virtualHWVersion = \"4\"\n"
    )
}
