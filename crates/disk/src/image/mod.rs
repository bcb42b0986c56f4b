//! Disk images: the format is found out, and the disk in it can be read; a disk is
//! written as an image of any format.
//!
//! A file that is of no known format is a raw image: the disk byte by byte. An
//! image, raw or not, may be compressed as a whole by xz, zstd or gzip; in the latter case it may also
//! be `disk.raw` in a tar archive.

mod blocks;
mod gzip;
mod packed;
mod qcow2;
mod recent;
mod vhd;
mod vhdx;
mod vmdk;
mod write;
mod xz;
mod zst;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

pub use self::qcow2::AnyOrder;
pub use self::write::{Target, Work, identity, write};
use crate::error::Error;
use crate::read_at::{OpenFile, ReadAt, read_up_to};

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk byte by byte; a disk itself, too.
    Raw,
    /// QEMU's format, versions 2 and 3.
    Qcow2,
    /// VMware's sparse extents, also stream-optimised.
    Vmdk,
    /// Virtual PC's and Azure's format, fixed or growing.
    Vhd,
    /// Hyper-V's format.
    Vhdx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vhd => "vhd",
            Format::Vhdx => "vhdx",
        })
    }
}

/// What an image is compressed by as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// The .xz format.
    Xz,
    /// Zstandard.
    Zstd,
    /// gzip, also of a tar archive with `disk.raw` in it.
    Gzip,
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Xz => "xz",
            Packing::Zstd => "zstd",
            Packing::Gzip => "gzip",
        })
    }
}

/// A disk in an image.
#[derive(Clone)]
pub struct Image {
    /// The format of the image.
    pub format: Format,
    /// What it is compressed by as a whole.
    pub packing: Option<Packing>,
    /// The bytes of the disk.
    pub disk: Arc<dyn ReadAt>,
}

/// What is done with an image that is compressed as a whole and not in pieces that can
/// be read by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpacking {
    /// It is unpacked to an unnamed file in the folder for temporary files.
    Temporary,
    /// It is an error: for those who look at many files in passing.
    Never,
}

/// Opens an image file, or a disk by its device node.
///
/// An image may be based on another one, which must lie in the same folder or below.
/// One that is compressed as a whole and cannot be read in pieces is unpacked to a
/// temporary file.
///
/// # Errors
/// If a file cannot be read, an image is damaged, or it has a part that is not
/// supported.
pub fn open(path: &Path) -> Result<Image, Error> {
    open_with(path, Unpacking::Temporary)
}

/// As [`open`], saying what is done with images that cannot be read in pieces.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &Path, unpacking: Unpacking) -> Result<Image, Error> {
    let failed = |source| Error::Io { name: path.display().to_string(), source };
    open_packed(Arc::new(OpenFile::open(path).map_err(failed)?), path, unpacking, 0)
}

/// Opens an image by its bytes, which errors call `name`. It may not be based on
/// another one.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(bytes: Arc<dyn ReadAt>, name: &str) -> Result<Image, Error> {
    open_packed(bytes, Path::new(name), Unpacking::Temporary, qcow2::MAX_DEPTH)
}

fn open_packed(file: Arc<dyn ReadAt>, path: &Path, unpacking: Unpacking, depth: usize) -> Result<Image, Error> {
    let failed = |source| Error::Io { name: path.display().to_string(), source };
    let packing = detect_packing(&file).map_err(failed)?;
    // Nothing in a gzip file can be read by itself; who looks at many files finds archives among them.
    let packing = packing.filter(|packing| *packing != Packing::Gzip || unpacking == Unpacking::Temporary);
    let Some(packing) = packing else { return open_nested(file, path, None, depth) };
    let in_pieces = match packing {
        Packing::Xz => xz::open(file.clone()),
        Packing::Zstd => zst::open(file.clone()),
        Packing::Gzip => Ok(None),
    };
    let disk: Arc<dyn ReadAt> = match in_pieces.map_err(failed)? {
        Some(packed) if packed.is_handy() => Arc::new(packed),
        _ if unpacking == Unpacking::Temporary => Arc::new(unpack(&file, packing).map_err(failed)?),
        _ => {
            return Err(Error::Unsupported {
                what: format!("{packing} without pieces that can be read by themselves"),
                way_out: "decompress the file first",
            });
        }
    };
    let disk = match packing {
        Packing::Gzip => gzip::disk_in(disk).map_err(failed)?,
        Packing::Xz | Packing::Zstd => disk,
    };
    Ok(Image { packing: Some(packing), ..open_nested(disk, path, None, depth)? })
}

/// Opens an image of a known format, or of one to be found out, that `depth`
/// others are based on.
fn open_nested(file: Arc<dyn ReadAt>, path: &Path, format: Option<Format>, depth: usize) -> Result<Image, Error> {
    let name = path.display().to_string();
    let format = match format {
        Some(format) => format,
        None => detect(&file).map_err(|source| Error::Io { name: name.clone(), source })?,
    };
    let disk = match format {
        Format::Raw => {
            let first = read_up_to(&file, 0, vmdk::DESCRIPTOR.len());
            if first.map_err(|source| Error::Io { name: name.clone(), source })? == vmdk::DESCRIPTOR {
                return Err(Error::Unsupported {
                    what: "a VMDK image in several files, of which this one describes the others".to_owned(),
                    way_out: "of a flat one, give the file called '-flat'; otherwise 'qemu-img convert' makes one file",
                });
            }
            file
        }
        Format::Qcow2 => Arc::new(qcow2::Qcow2::open(file, path, depth)?),
        Format::Vmdk => Arc::new(vmdk::Vmdk::open(file, &name)?),
        Format::Vhd => vhd::open(file, &name)?,
        Format::Vhdx => Arc::new(vhdx::Vhdx::open(file, &name)?),
    };
    Ok(Image { format, packing: None, disk })
}

fn detect(file: &dyn ReadAt) -> io::Result<Format> {
    let first = read_up_to(file, 0, 8)?;
    for (magic, format) in [
        (&qcow2::MAGIC[..], Format::Qcow2),
        (&vmdk::MAGIC, Format::Vmdk),
        (&vhd::MAGIC, Format::Vhd),
        (&vhdx::MAGIC, Format::Vhdx),
    ] {
        if first.starts_with(magic) {
            return Ok(format);
        }
    }
    // Fixed images have a mark only at the end.
    let footer = file.size().checked_sub(vhd::FOOTER_SIZE);
    match footer.map(|at| read_up_to(file, at, vhd::MAGIC.len())).transpose()? {
        Some(last) if last == vhd::MAGIC => Ok(Format::Vhd),
        _ => Ok(Format::Raw),
    }
}

fn detect_packing(file: &dyn ReadAt) -> io::Result<Option<Packing>> {
    let first = read_up_to(file, 0, 6)?;
    Ok(match &first[..] {
        first if first == xz::MAGIC => Some(Packing::Xz),
        first if first.starts_with(&zst::MAGIC) => Some(Packing::Zstd),
        first if first.starts_with(&gzip::MAGIC) => Some(Packing::Gzip),
        _ => None,
    })
}

/// The contents of a compressed file, in a temporary file without a name. Zeros are left
/// out.
fn unpack(file: &Arc<dyn ReadAt>, packing: Packing) -> io::Result<OpenFile> {
    const PIECE: usize = 1 << 20;
    let reader = Sequential { file: file.clone(), offset: 0 };
    let mut reader = match packing {
        Packing::Xz => xz::unpack(reader)?,
        Packing::Zstd => zst::unpack(reader)?,
        Packing::Gzip => gzip::unpack(reader),
    };
    let out: File = tempfile::tempfile()?;
    let mut offset = 0u64;
    let mut buf = vec![0; PIECE];
    loop {
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = buf.get_mut(filled..) {
            match reader.read(rest)? {
                0 => break,
                more => filled += more,
            }
        }
        let piece = buf.get(..filled).unwrap_or_default();
        if !blocks::is_zero(piece) {
            out.write_all_at(piece, offset)?;
        }
        offset += filled as u64;
        if filled < PIECE {
            break;
        }
    }
    out.set_len(offset)?;
    OpenFile::new(out)
}

/// Bytes, read one after the other.
struct Sequential {
    file: Arc<dyn ReadAt>,
    offset: u64,
}

impl Read for Sequential {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.file.size().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let length = rest.min(buf.len());
        if let Some(part @ [_, ..]) = buf.get_mut(..length) {
            self.file.read_exact_at(part, self.offset)?;
        }
        self.offset += length as u64;
        Ok(length)
    }
}

/// The first run of data at or after `offset` of a disk of `size` bytes. `look` says
/// whether there are data at an offset, and how many bytes from there on are alike.
fn next_data(size: u64, offset: u64, look: impl Fn(u64) -> io::Result<(bool, u64)>) -> io::Result<Option<Range<u64>>> {
    let mut start = None;
    let mut at = offset;
    while at < size {
        let (data, length) = look(at)?;
        match (start, data) {
            (None, true) => start = Some(at),
            (Some(start), false) => return Ok(Some(start..at)),
            _ => {}
        }
        at = at.saturating_add(length.max(1));
    }
    Ok(start.map(|start| start..size))
}

#[cfg(test)]
mod tests;
