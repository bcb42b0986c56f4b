//! The dumps on a disk, a partition, or an image of either.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use disk::image::{self, Format};
use disk::partition;
use disk::{Part, ReadAt};
use vmcore::device::{self, Found};
use vmcore::header::{self, Magic};

use super::progress::Bar;
use crate::failure::Failure;
use crate::output;

/// Where dumps are looked for.
#[derive(Clone, Debug, Args)]
pub(super) struct Source {
    /// A partition, a disk, or an image of one: raw or of another format, such as qcow2
    #[arg(value_name = "DEVICE|IMAGE")]
    pub(super) device: PathBuf,
    /// Look at every block for the beginning of a dump, too: for disks whose end or partition table was overwritten
    #[arg(long)]
    pub(super) scan: bool,
}

/// A disk, and the dumps on it.
pub(super) struct Disk {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Whether a block of the disk is where it is in the file.
    pub(super) is_raw: bool,
    pub(super) dumps: Vec<Dump>,
}

/// A dump on a disk.
pub(super) struct Dump {
    /// The partition; none on a disk without any.
    pub(super) partition: Option<String>,
    /// Where the partition begins.
    pub(super) start: u64,
    /// The bytes of the partition.
    pub(super) device: Arc<dyn ReadAt>,
    pub(super) found: Found,
}

impl Source {
    /// Looks for dumps.
    pub(super) fn open(&self, bar: &Bar) -> Result<Disk, Failure> {
        let path = &self.device;
        let failed =
            |error: &dyn std::fmt::Display| Failure::work(format_args!("cannot read {}", path.display()), error);
        let image = image::open(path).map_err(|error| failed(&error))?;
        let raw = Blocks(image.disk.clone());
        let whole: Arc<dyn ReadAt> = if image.format == Format::Raw { Arc::new(raw) } else { image.disk };
        let io = |error: io::Error| failed(&error);
        let table = partition::read(&*whole).map_err(io)?;
        let mut dumps: Vec<Dump> = Vec::new();
        let mut add = |dump: Dump| {
            // The last partition may end where the disk does.
            let place = |dump: &Dump| dump.start + dump.found.first;
            if dumps.iter().all(|other| place(other) != place(&dump)) {
                dumps.push(dump);
            }
        };
        if let Some(table) = &table {
            output::warn("tine", &table.warnings);
            for partition in &table.partitions {
                let device: Arc<dyn ReadAt> = Arc::new(Part::new(whole.clone(), partition.start, partition.size));
                if let Some(found) = device::find(&*device).map_err(io)? {
                    add(Dump { partition: Some(partition.name.clone()), start: partition.start, device, found });
                }
            }
        }
        if let Some(found) = device::find(&*whole).map_err(io)? {
            add(Dump { partition: None, start: 0, device: whole.clone(), found });
        }
        if self.scan {
            bar.start("looking for dumps", Some(whole.size()));
            let mut before = 0;
            let all = device::scan(&*whole, |at| {
                bar.bytes(at - before);
                before = at;
            });
            for found in all.map_err(io)? {
                add(Dump { partition: None, start: 0, device: whole.clone(), found });
            }
        }
        let is_raw = image.format == Format::Raw;
        Ok(Disk { path: path.clone(), format: image.format, is_raw, dumps })
    }
}

impl Disk {
    /// Opens the disk to mark dumps as saved.
    pub(super) fn writable(&self) -> Result<File, Failure> {
        let shown = self.path.display();
        if !self.is_raw {
            let why = format!("only raw images and disks are written to, and this is {}", self.format);
            return Err(Failure::work(format_args!("cannot mark the dumps of {shown} as saved"), why));
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        file.map_err(|error| Failure::work(format_args!("cannot mark the dumps of {shown} as saved"), error))
    }
}

impl Dump {
    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        match (&self.partition, self.found.last) {
            (Some(partition), _) => format!("partition {partition}"),
            (None, Some(_)) => "the whole disk".to_owned(),
            (None, None) => format!("byte {}", self.found.first),
        }
    }

    /// Whether it was marked as saved.
    pub(super) fn is_cleared(&self) -> bool {
        self.found.header.magic == Magic::Cleared
    }

    /// Marks it as saved on `disk`, as savecore(8) does.
    pub(super) fn clear(&self, disk: &File) -> io::Result<()> {
        let at = self.start + self.found.last.unwrap_or(self.found.first);
        // Disks are written in whole blocks only.
        let mut block = vec![0; self.found.block_size as usize];
        disk.read_exact_at(&mut block, at)?;
        let mut raw = self.found.raw;
        header::clear(&mut raw);
        if let Some(place) = block.first_chunk_mut() {
            *place = raw;
        }
        disk.write_all_at(&block, at)?;
        disk.sync_all()
    }
}

/// The bytes of a disk, read in whole blocks: FreeBSD's disks give nothing else.
struct Blocks(Arc<dyn ReadAt>);

/// No disk has larger blocks.
const BLOCK: u64 = 4096;

impl ReadAt for Blocks {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let size = self.size();
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (start, last) = (offset - offset % BLOCK, end.next_multiple_of(BLOCK).min(size));
        if (start, last) == (offset, end) {
            return self.0.read_exact_at(buf, offset);
        }
        let mut blocks = vec![0; (last - start) as usize];
        self.0.read_exact_at(&mut blocks, start)?;
        let skip = (offset - start) as usize;
        let part = blocks.get(skip..skip + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(part);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.0.size()
    }
}

/// Fails where nothing is at all.
pub(super) fn none(path: &Path) -> String {
    format!("no kernel dump is on {}", path.display())
}
