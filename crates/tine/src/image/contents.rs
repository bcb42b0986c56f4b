//! What is on a disk: partitions, and the pools and file systems in them.

use std::path::Path;
use std::sync::Arc;

use disk::image::Image;
use disk::partition::{self, Partition, Table};
use disk::{Part, ReadAt, fat};
use zfs_pool::{Device, Labels};

use super::convert;
use crate::failure::Failure;

/// A disk, taken apart.
pub(super) struct Disk {
    pub(super) image: Image,
    /// Bytes of the file that it is in, and those of them that take room.
    pub(super) file: (u64, u64),
    pub(super) table: Option<Table>,
    /// Its partitions; the whole disk if it has none.
    pub(super) areas: Vec<Area>,
}

/// A partition, or the whole disk.
pub(super) struct Area {
    pub(super) partition: Option<Partition>,
    pub(super) bytes: Arc<dyn ReadAt>,
    pub(super) contents: Contents,
}

/// What is in a partition.
pub(super) enum Contents {
    /// A device of a pool.
    Pool(Box<Labels>),
    /// A FAT file system.
    Fat(Box<fat::Volume>),
    /// Zeros only.
    Nothing,
    /// Something else.
    Other,
}

impl Disk {
    /// Opens an image and looks what is in it.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let image = convert::open(path)?;
        let failed = |error: std::io::Error| Failure::work(path.display(), error);
        let metadata = path.metadata().map_err(failed)?;
        let allocated = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        let name = path.display().to_string();
        let table = partition::read(&image.disk).map_err(failed)?;
        let areas = match &table {
            None => vec![Area::new(None, image.disk.clone(), &name)],
            Some(table) => {
                let area = |partition: &Partition| {
                    let bytes = Arc::new(Part::new(image.disk.clone(), partition.start, partition.size));
                    Area::new(Some(partition.clone()), bytes, &format!("{name} ({})", partition.name))
                };
                table.partitions.iter().map(area).collect()
            }
        };
        Ok(Self { file: (metadata.len(), allocated), image, table, areas })
    }

    /// The devices of pools that are on it.
    pub(super) fn pool_devices(&self) -> impl Iterator<Item = &Labels> {
        self.areas.iter().filter_map(|area| match &area.contents {
            Contents::Pool(labels) => Some(&**labels),
            _ => None,
        })
    }
}

impl Area {
    fn new(partition: Option<Partition>, bytes: Arc<dyn ReadAt>, name: &str) -> Self {
        let device = Device::new(name, bytes.clone());
        let labels = Labels::may_be_on(&device).then(|| Labels::read(device).ok()).flatten();
        let contents = match labels {
            Some(labels) => Contents::Pool(Box::new(labels)),
            None => match fat::Volume::may_be_on(&bytes) {
                Ok(true) => {
                    fat::Volume::open(bytes.clone()).map_or(Contents::Other, |fat| Contents::Fat(Box::new(fat)))
                }
                _ if is_empty(&bytes) => Contents::Nothing,
                _ => Contents::Other,
            },
        };
        Self { partition, bytes, contents }
    }

    /// Its short name: that of the partition, or `disk`.
    pub(super) fn name(&self) -> &str {
        self.partition.as_ref().map_or("disk", |partition| &partition.name)
    }
}

/// Bytes that are read to find out whether a partition is empty, where the format of the image does not say it.
const MOST_LOOKED_AT: u64 = 256 << 20;

/// Whether there are zeros only. Where that would take long to find out, something is taken to be there.
fn is_empty(bytes: &dyn ReadAt) -> bool {
    let mut piece = vec![0; 1 << 20];
    let (mut at, mut left) = (0, MOST_LOOKED_AT);
    while let Ok(Some(run)) = bytes.next_data(at) {
        let length = (run.end - run.start).min(piece.len() as u64);
        let part = &mut piece[..length as usize];
        if left < length || bytes.read_exact_at(part, run.start).is_err() || part.iter().any(|&byte| byte != 0) {
            return false;
        }
        left -= length;
        at = run.start + length;
    }
    matches!(bytes.next_data(at), Ok(None))
}
