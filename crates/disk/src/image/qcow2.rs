//! QEMU's copy-on-write images, versions 2 and 3 (QEMU, `docs/interop/qcow2.rst`).
//!
//! Every integer is big-endian. The disk is divided into clusters; a table of
//! two levels says where each is:
//!
//! ```text
//! disk offset = L1 index | L2 index | offset in the cluster
//!
//! header -> L1 table -> L2 tables -> clusters
//! ```
//!
//! A cluster is stored, compressed, all zeros, or not there: then it is that of
//! the image that this one is based on, or zeros. With extended L2 entries, each
//! 32nd of a cluster is one of these by itself.

mod any_order;
mod write;

use std::io::{self, Read};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use flate2::read::DeflateDecoder;

pub use self::any_order::AnyOrder;
pub(super) use self::write::write;
use super::recent::Recent;
use super::{Format, open_nested};
use crate::bytes::{be32, be64};
use crate::error::Error;
use crate::read_at::{OpenFile, ReadAt, read_up_to};

/// "QFI" and 0xfb.
pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// How many images may be based on each other.
pub(super) const MAX_DEPTH: usize = 16;
/// The largest L1 table in bytes (QEMU's `QCOW_MAX_L1_SIZE`).
const MAX_L1_SIZE: u64 = 32 << 20;
/// The longest name of a backing file in bytes.
const MAX_NAME: u32 = 1023;
/// Bytes that are read for the header and its extensions: those beyond are names
/// of features, for messages.
const HEADER_AREA: usize = 64 << 10;
/// Bytes of the header of version 2.
const HEADER_SIZE_V2: u32 = 72;

/// Bits of `incompatible_features`.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// Header extension with the format of the backing file.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Where the offset is in an entry of a table.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros (version 3).
const ZERO: u64 = 1;
/// Parts of a cluster with extended L2 entries.
const SUBCLUSTERS: u64 = 32;

/// L2 tables that are kept.
const L2_CACHE: usize = 64;
/// Decompressed clusters that are kept.
const CLUSTER_CACHE: usize = 16;

/// The disk in a qcow2 image.
pub(super) struct Qcow2 {
    file: Arc<dyn ReadAt>,
    backing: Option<Arc<dyn ReadAt>>,
    size: u64,
    cluster_bits: u32,
    compression: Compression,
    extended_l2: bool,
    has_zero_bit: bool,
    l1: Vec<u64>,
    l2_tables: Recent<Vec<u8>>,
    clusters: Recent<Vec<u8>>,
}

/// How compressed clusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Deflate without a header.
    Deflate,
    /// A zstd frame.
    Zstd,
}

/// Where a run of bytes within one cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the file, at this offset.
    Stored(u64),
    /// In a compressed cluster: the entry of its L2 table.
    Compressed(u64),
    /// Nowhere: zeros.
    Zeros,
    /// In the backing file.
    Below,
}

impl Qcow2 {
    /// Opens the image in `file`, which is called `path`; `depth` images are based
    /// on it.
    pub(super) fn open(file: Arc<dyn ReadAt>, path: &Path, depth: usize) -> Result<Self, Error> {
        let failed = |source| Error::Io { name: path.display().to_string(), source };
        let header = read_up_to(&file, 0, HEADER_AREA).map_err(failed)?;
        if header.len() < HEADER_SIZE_V2 as usize {
            return Err(Error::malformed("length of a qcow2 image", header.len(), "at least that of its header, 72"));
        }
        let version = be32(&header, 4);
        if !(2..=3).contains(&version) {
            return Err(Error::malformed("version of a qcow2 image", version, "2 or 3"));
        }
        let is_v3 = version == 3;
        let features = if is_v3 { be64(&header, 72) } else { 0 };
        check_features(&header, features)?;
        let cluster_bits = be32(&header, 20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(Error::malformed("cluster_bits of a qcow2 image", cluster_bits, "9 to 21"));
        }
        let extended_l2 = features & EXTENDED_L2 != 0;
        if extended_l2 && cluster_bits < 14 {
            return Err(Error::malformed("cluster_bits with extended L2 entries", cluster_bits, "at least 14"));
        }
        let compression = match header.get(104) {
            Some(&kind) if features & COMPRESSION_TYPE != 0 => match kind {
                0 => Compression::Deflate,
                1 => Compression::Zstd,
                other => return Err(Error::malformed("compression type of a qcow2 image", other, "0 or 1")),
            },
            _ => Compression::Deflate,
        };
        let size = be64(&header, 24);
        let entry_bits = if extended_l2 { 4 } else { 3 };
        let l1 = read_l1(&file, &header, size, 2 * cluster_bits - entry_bits).map_err(|error| match error {
            L1Error::Io(source) => failed(source),
            L1Error::Bad(error) => error,
        })?;
        let backing = open_backing(&header, is_v3, path, depth)?;
        Ok(Self {
            file,
            backing,
            size,
            cluster_bits,
            compression,
            extended_l2,
            has_zero_bit: is_v3 && !extended_l2,
            l1,
            l2_tables: Recent::new(L2_CACHE.min((16 << 20) >> cluster_bits).max(2)),
            clusters: Recent::new(CLUSTER_CACHE.min((16 << 20) >> cluster_bits).max(2)),
        })
    }

    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn l2_bits(&self) -> u32 {
        self.cluster_bits - if self.extended_l2 { 4 } else { 3 }
    }

    /// Where the bytes from `offset` of the disk on are, and how many of them are
    /// there in one run.
    fn place(&self, offset: u64) -> io::Result<(Place, u64)> {
        let within = offset & (self.cluster_size() - 1);
        let to_end = self.cluster_size() - within;
        let number = offset >> self.cluster_bits;
        let l1_index = usize::try_from(number >> self.l2_bits()).unwrap_or(usize::MAX);
        let table = self.l1.get(l1_index).copied().unwrap_or(0) & OFFSET_MASK;
        if table == 0 {
            return Ok((Place::Below, to_end));
        }
        let table = self.l2_table(table)?;
        let index = (number & ((1 << self.l2_bits()) - 1)) as usize;
        let entry_size = if self.extended_l2 { 16 } else { 8 };
        let entry = be64(&table, index * entry_size);
        if entry & COMPRESSED != 0 {
            return Ok((Place::Compressed(entry), to_end));
        }
        let stored = entry & OFFSET_MASK;
        if self.extended_l2 {
            let bitmap = be64(&table, index * entry_size + 8);
            let subcluster = self.cluster_size() / SUBCLUSTERS;
            let bit = within / subcluster;
            let to_end = subcluster - within % subcluster;
            let place = match (bitmap >> bit & 1, bitmap >> (SUBCLUSTERS + bit) & 1) {
                (0, 0) => Place::Below,
                (0, _) => Place::Zeros,
                (_, 0) if stored != 0 => Place::Stored(stored + within),
                _ => return Err(bad(format!("the entry {entry:#x} {bitmap:#x} of an L2 table cannot be"))),
            };
            return Ok((place, to_end));
        }
        let place = match stored {
            _ if self.has_zero_bit && entry & ZERO != 0 => Place::Zeros,
            0 => Place::Below,
            stored => Place::Stored(stored + within),
        };
        Ok((place, to_end))
    }

    /// Bytes of the disk from `offset` on that are nowhere, as far as one step sees.
    fn hole(&self, offset: u64) -> io::Result<Option<u64>> {
        let area = 1 << (self.cluster_bits + self.l2_bits());
        let l1_index = usize::try_from(offset / area).unwrap_or(usize::MAX);
        if self.l1.get(l1_index).copied().unwrap_or(0) & OFFSET_MASK == 0 {
            return Ok(Some(area - offset % area));
        }
        let (place, length) = self.place(offset)?;
        Ok(matches!(place, Place::Zeros | Place::Below).then_some(length))
    }

    fn l2_table(&self, offset: u64) -> io::Result<Arc<Vec<u8>>> {
        if offset & (self.cluster_size() - 1) != 0 {
            return Err(bad(format!("an L2 table is at {offset:#x}, a multiple of the cluster size was expected")));
        }
        self.l2_tables.get(offset, || {
            let mut table = vec![0; self.cluster_size() as usize];
            self.file.read_exact_at(&mut table, offset)?;
            Ok(table)
        })
    }

    /// A compressed cluster, by the entry of its L2 table.
    fn decompressed(&self, entry: u64) -> io::Result<Arc<Vec<u8>>> {
        self.clusters.get(entry, || {
            // Fewer bits of the offset leave more for the number of sectors.
            let offset_bits = 62 - (self.cluster_bits - 8);
            let offset = entry & ((1 << offset_bits) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
            let size = (sectors + 1) * 512 - (offset & 511);
            let stored = read_up_to(&self.file, offset, size as usize)?;
            let mut cluster = vec![0; self.cluster_size() as usize];
            let result = match self.compression {
                Compression::Deflate => DeflateDecoder::new(&stored[..]).read_exact(&mut cluster),
                Compression::Zstd => {
                    zstd::stream::read::Decoder::with_buffer(&stored[..]).and_then(|mut it| it.read_exact(&mut cluster))
                }
            };
            result.map_err(|error| bad(format!("the compressed cluster at {offset:#x} is damaged: {error}")))?;
            Ok(cluster)
        })
    }

    fn read_run(&self, place: Place, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Zeros => buf.fill(0),
            Place::Stored(at) => self.read_stored(at, buf)?,
            Place::Compressed(entry) => {
                let cluster = self.decompressed(entry)?;
                let within = (offset & (self.cluster_size() - 1)) as usize;
                let bytes = cluster.get(within..within + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                buf.copy_from_slice(bytes);
            }
            Place::Below => {
                buf.fill(0);
                if let Some(backing) = &self.backing {
                    // The disk below may be shorter.
                    let rest = backing.size().saturating_sub(offset);
                    let length = buf.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
                    if let Some(part @ [_, ..]) = buf.get_mut(..length) {
                        backing.read_exact_at(part, offset)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads from the file, the last cluster of which need not be whole.
    fn read_stored(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let cluster = at & !(self.cluster_size() - 1);
        if cluster >= self.file.size() {
            return Err(bad(format!(
                "a cluster is at {cluster:#x}, beyond the end of the file at {:#x}",
                self.file.size()
            )));
        }
        let rest = usize::try_from(self.file.size().saturating_sub(at)).unwrap_or(usize::MAX);
        let (there, beyond) = buf.split_at_mut(rest.min(buf.len()));
        beyond.fill(0);
        self.file.read_exact_at(there, at)
    }
}

impl ReadAt for Qcow2 {
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buf.is_empty() {
            let (place, length) = self.place(offset)?;
            let length = buf.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let (run, rest) = buf.split_at_mut(length);
            self.read_run(place, offset, run)?;
            offset += length as u64;
            buf = rest;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        if self.backing.is_some() {
            return Ok((offset < self.size).then_some(offset..self.size));
        }
        super::next_data(self.size, offset, |at| {
            Ok(match self.hole(at)? {
                Some(length) => (false, length),
                None => (true, self.cluster_size() - at % self.cluster_size()),
            })
        })
    }
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("qcow2: {what}"))
}

fn check_features(header: &[u8], features: u64) -> Result<(), Error> {
    let unsupported = |what: &str, way_out| Err(Error::Unsupported { what: what.to_owned(), way_out });
    if be32(header, 32) != 0 {
        return unsupported("an encrypted qcow2 image", "qemu-img convert can decrypt it");
    }
    if features & EXTERNAL_DATA != 0 {
        return unsupported("a qcow2 image with an external data file", "that file is a raw image: give it instead");
    }
    // Neither damaged nor stale counts of references matter to a reader.
    let known = DIRTY | CORRUPT | COMPRESSION_TYPE | EXTENDED_L2;
    if features & !known != 0 {
        let what = format!("a qcow2 image with the incompatible features {:#x}", features & !known);
        return Err(Error::Unsupported { what, way_out: "qemu-img convert may know them" });
    }
    Ok(())
}

enum L1Error {
    Io(io::Error),
    Bad(Error),
}

/// The L1 table, each entry of which stands for 2^`bits` bytes of the disk.
fn read_l1(file: &dyn ReadAt, header: &[u8], size: u64, bits: u32) -> Result<Vec<u64>, L1Error> {
    let entries = u64::from(be32(header, 36));
    let needed = size.div_ceil(1 << bits);
    if entries * 8 > MAX_L1_SIZE || entries < needed {
        let expected = format!("{needed} for its size, and at most {}", MAX_L1_SIZE / 8);
        return Err(L1Error::Bad(Error::malformed("l1_size of a qcow2 image", entries, expected)));
    }
    let offset = be64(header, 40);
    let table = read_up_to(file, offset, (needed * 8) as usize).map_err(L1Error::Io)?;
    if (table.len() as u64) < needed * 8 {
        let expected = "an offset from which on the file has the whole table";
        return Err(L1Error::Bad(Error::malformed("l1_table_offset of a qcow2 image", offset, expected)));
    }
    Ok(table.chunks_exact(8).map(|entry| be64(entry, 0)).collect())
}

/// The disk that an image is based on, if it is.
fn open_backing(header: &[u8], is_v3: bool, path: &Path, depth: usize) -> Result<Option<Arc<dyn ReadAt>>, Error> {
    let (offset, size) = (be64(header, 8), be32(header, 16));
    if offset == 0 {
        return Ok(None);
    }
    let name = usize::try_from(offset).ok().and_then(|start| header.get(start..start.checked_add(size as usize)?));
    let Some(name) = name.filter(|_| size <= MAX_NAME) else {
        return Err(Error::malformed("place of the name of a backing file", offset, "one in the header's cluster"));
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let refused = |why: &str| Err(Error::Backing { backing: name.clone(), why: why.to_owned() });
    let inside = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || name.is_empty() || name.contains("://") || name.starts_with("json:") {
        return refused("which is not in the same folder or below: make one image of both with 'qemu-img convert'");
    }
    if depth >= MAX_DEPTH {
        return refused("and that on others, too many or in a circle");
    }
    let format = match backing_format(header, is_v3) {
        None => None,
        Some(b"raw") => Some(Format::Raw),
        Some(b"qcow2") => Some(Format::Qcow2),
        Some(other) => {
            return refused(&format!("of the format '{}', which is not supported", String::from_utf8_lossy(other)));
        }
    };
    let backing: PathBuf = path.parent().unwrap_or(Path::new("")).join(&name);
    let opened = match OpenFile::open(&backing) {
        Ok(file) => open_nested(Arc::new(file), &backing, format, depth + 1),
        Err(source) => return refused(&format!("which cannot be read: {source}")),
    };
    match opened {
        Ok(image) => Ok(Some(image.disk)),
        Err(error @ Error::Backing { .. }) => Err(error),
        Err(Error::Io { source, .. }) => refused(&format!("which cannot be read: {source}")),
        Err(error) => refused(&format!("which cannot be read: {error}")),
    }
}

/// The format of the backing file, where the header says it.
fn backing_format(header: &[u8], is_v3: bool) -> Option<&[u8]> {
    let mut at = if is_v3 { be32(header, 100) } else { HEADER_SIZE_V2 } as usize;
    loop {
        let kind = be32(header, at);
        let length = be32(header, at.checked_add(4)?) as usize;
        let start = at.checked_add(8)?;
        let data = header.get(start..start.checked_add(length)?)?;
        match kind {
            0 => return None,
            BACKING_FORMAT => return Some(data),
            _ => at = start.checked_add(length.next_multiple_of(8))?,
        }
    }
}

#[cfg(test)]
mod tests;
