//! Disk images: the format is found out, and the disk in it can be read.
//!
//! A file that is of no known format is a raw image: the disk byte by byte.

mod qcow2;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::read_at::{OpenFile, ReadAt, read_up_to};

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk byte by byte; a disk itself, too.
    Raw,
    /// QEMU's format, versions 2 and 3.
    Qcow2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        })
    }
}

/// A disk in an image.
#[derive(Clone)]
pub struct Image {
    /// The format of the image.
    pub format: Format,
    /// The bytes of the disk.
    pub disk: Arc<dyn ReadAt>,
}

/// Opens an image file, or a disk by its device node.
///
/// An image may be based on another one, which must lie in the same folder or below.
///
/// # Errors
/// If a file cannot be read, an image is damaged, or it has a part that is not
/// supported.
pub fn open(path: &Path) -> Result<Image, Error> {
    open_nested(path, None, 0)
}

/// Opens an image of a known format, or of one to be found out, that `depth`
/// others are based on.
fn open_nested(path: &Path, format: Option<Format>, depth: usize) -> Result<Image, Error> {
    let failed = |source| Error::Io { name: path.display().to_string(), source };
    let file: Arc<dyn ReadAt> = Arc::new(OpenFile::open(path).map_err(failed)?);
    let format = match format {
        Some(format) => format,
        None => detect(&file).map_err(failed)?,
    };
    let disk = match format {
        Format::Raw => file,
        Format::Qcow2 => Arc::new(qcow2::Qcow2::open(file, path, depth)?),
    };
    Ok(Image { format, disk })
}

fn detect(file: &dyn ReadAt) -> std::io::Result<Format> {
    Ok(if read_up_to(file, 0, 4)? == qcow2::MAGIC { Format::Qcow2 } else { Format::Raw })
}
