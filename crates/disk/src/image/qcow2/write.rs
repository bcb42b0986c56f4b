//! Writing qcow2 images of version 3, without snapshots or a backing file.
//!
//! ```text
//! header | clusters | L2 tables | L1 table | reference counts
//! ```
//!
//! The clusters stand in the order in which they come. The header comes last: what is not whole is no image.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::{Compress, FlushCompress, Status};

use super::{COMPRESSED, COMPRESSION_TYPE, Compression, MAGIC};
use crate::bytes::put;
use crate::error::Error;
use crate::image::blocks;
use crate::image::write::Work;
use crate::read_at::ReadAt;
use crate::write_at::{Stream, WriteAt};

const CLUSTER_BITS: u32 = 16;
pub(super) const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of an L2 table, and so clusters that one stands for.
const L2_ENTRIES: u64 = CLUSTER / 8;
/// Reference counts, of 16 bits, in a cluster.
const COUNTS: u64 = CLUSTER / 2;
/// What the count of is one: it may be written in place.
const COPIED: u64 = 1 << 63;
const HEADER_SIZE: u32 = 112;
/// Levels of compression that are worth their time for images.
const DEFLATE_LEVEL: u32 = 6;
/// Most of what is in images is compressed already, by the pool. Three times as fast as level 1, which takes another
/// eighth off what lz4 leaves.
const ZSTD_LEVEL: i32 = -1;
/// Bytes that are written at a time, if they stand one behind the other.
const WRITE: usize = 1 << 20;
/// Bits of deflate's window in a qcow2 image: readers have no larger one.
const WINDOW_BITS: u8 = 12;

/// A cluster as it is stored.
pub(super) enum Cluster {
    Plain(Vec<u8>),
    Compressed(Vec<u8>),
}

/// Writes an image of `disk`.
pub(in crate::image) fn write(
    disk: &dyn ReadAt,
    compression: Option<Compression>,
    work: &Work<'_>,
    out: &dyn WriteAt,
) -> Result<(), Error> {
    let mut image = Image::new(out, compression);
    image.check_size(disk.size())?;
    let encoder = || {
        let mut encoder = Encoder::new(compression);
        move |cluster: &[u8]| encoder.encode(cluster.to_vec())
    };
    blocks::each(disk, CLUSTER, work, encoder, |number, cluster| image.add(number, &cluster))?;
    image.finish(disk.size())
}

/// Encodes clusters, one after the other.
pub(super) struct Encoder {
    compressor: Compressor,
    /// Room for what a cluster is compressed to.
    compressed: Vec<u8>,
}

enum Compressor {
    None,
    Deflate(Compress),
    Zstd(std::io::Result<zstd::bulk::Compressor<'static>>),
}

impl Encoder {
    pub(super) fn new(compression: Option<Compression>) -> Self {
        let compressor = match compression {
            None => Compressor::None,
            Some(Compression::Deflate) => {
                let level = flate2::Compression::new(DEFLATE_LEVEL);
                Compressor::Deflate(Compress::new_with_window_bits(level, false, WINDOW_BITS))
            }
            Some(Compression::Zstd) => Compressor::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)),
        };
        Self { compressor, compressed: Vec::new() }
    }

    /// Encodes a cluster, which may be cut short.
    pub(super) fn encode(&mut self, mut cluster: Vec<u8>) -> Result<Cluster, Error> {
        cluster.resize(CLUSTER as usize, 0);
        Ok(self.compress(&cluster)?.map_or(Cluster::Plain(cluster), Cluster::Compressed))
    }

    /// What a whole cluster is compressed to, if that is smaller.
    fn compress(&mut self, cluster: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        // It must take less than a cluster; what does not fit is given up.
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(CLUSTER as usize));
        let smaller = match &mut self.compressor {
            Compressor::None => false,
            Compressor::Deflate(deflate) => {
                deflate.reset();
                let status = deflate.compress_vec(cluster, &mut self.compressed, FlushCompress::Finish);
                matches!(status, Ok(Status::StreamEnd))
            }
            Compressor::Zstd(Err(error)) => return Err(Error::write(std::io::Error::other(error.to_string()))),
            Compressor::Zstd(Ok(compressor)) => {
                compressor.compress_to_buffer(cluster, &mut self.compressed).map_err(Error::write)?;
                true
            }
        };
        Ok((smaller && self.compressed.len() < CLUSTER as usize).then(|| self.compressed.clone()))
    }
}

/// The image so far.
pub(super) struct Image<'a> {
    out: &'a dyn WriteAt,
    compression: Option<Compression>,
    /// Bytes that are yet to be written, and where.
    waiting: (u64, Vec<u8>),
    /// Where the next cluster goes: a multiple of their size.
    end: u64,
    /// Where the next compressed cluster goes, if it has room in the last cluster that
    /// holds such: these stand one behind the other. On a cluster's border, there is none.
    packed: u64,
    /// Reference counts of the clusters of the file.
    counts: Vec<u16>,
    /// The L2 tables by their indexes in the L1 table.
    l2: BTreeMap<u64, Vec<u64>>,
}

impl<'a> Image<'a> {
    pub(super) fn new(out: &'a dyn WriteAt, compression: Option<Compression>) -> Self {
        let waiting = (0, Vec::new());
        Self { out, compression, waiting, end: CLUSTER, packed: 0, counts: vec![1], l2: BTreeMap::new() }
    }

    /// How many L2 tables there may be.
    fn check_size(&self, size: u64) -> Result<u64, Error> {
        let areas = size.div_ceil(CLUSTER * L2_ENTRIES).max(1);
        if areas * 8 > super::MAX_L1_SIZE {
            return Err(Error::Impossible(format!("a disk of {size} bytes is too large for a qcow2 image")));
        }
        Ok(areas)
    }

    /// The entry of a cluster; 0 as long as it has none.
    pub(super) fn entry(&mut self, number: u64) -> Option<&mut u64> {
        let table = self.l2.entry(number / L2_ENTRIES).or_insert_with(|| vec![0; L2_ENTRIES as usize]);
        table.get_mut((number % L2_ENTRIES) as usize)
    }

    pub(super) fn add(&mut self, number: u64, cluster: &Cluster) -> Result<(), Error> {
        let entry = match cluster {
            Cluster::Plain(bytes) => self.append(bytes)? | COPIED,
            Cluster::Compressed(bytes) => self.pack(bytes)?,
        };
        if let Some(place) = self.entry(number) {
            *place = entry;
        }
        Ok(())
    }

    /// Puts whole clusters at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let offset = self.end;
        self.write(bytes, offset)?;
        self.end += (bytes.len() as u64).next_multiple_of(CLUSTER);
        self.count(offset, self.end);
        Ok(offset)
    }

    /// Puts a compressed cluster behind the last one.
    fn pack(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let length = bytes.len() as u64;
        let room = self.packed.next_multiple_of(CLUSTER) - self.packed;
        let last = self.packed.next_multiple_of(CLUSTER) == self.end;
        if room == 0 || length > room && !last {
            self.packed = self.end;
        }
        let offset = self.packed;
        let behind = offset + length;
        self.write(bytes, offset)?;
        self.count(offset, behind);
        self.end = self.end.max(behind.next_multiple_of(CLUSTER));
        self.packed = behind;
        // Sectors beyond the first that it touches.
        let sectors = (behind - 1) / 512 - offset / 512;
        Ok(COMPRESSED | sectors << (62 - (CLUSTER_BITS - 8)) | offset)
    }

    /// Writes bytes, now or together with those that follow.
    fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let (at, waiting) = &self.waiting;
        if at + waiting.len() as u64 != offset || waiting.len() + bytes.len() > WRITE {
            self.flush()?;
            self.waiting.0 = offset;
        }
        self.waiting.1.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let (at, waiting) = &mut self.waiting;
        if !waiting.is_empty() {
            self.out.write_all_at(waiting, *at).map_err(Error::write)?;
        }
        waiting.clear();
        Ok(())
    }

    /// Counts a reference to the clusters that have bytes from `start` to `end`.
    fn count(&mut self, start: u64, end: u64) {
        let (first, behind) = ((start / CLUSTER) as usize, end.div_ceil(CLUSTER) as usize);
        self.counts.resize(self.counts.len().max(behind), 0);
        for count in self.counts.iter_mut().take(behind).skip(first) {
            *count += 1;
        }
    }

    /// Completes the image of a disk of `size` bytes.
    pub(super) fn finish(mut self, size: u64) -> Result<(), Error> {
        let areas = self.check_size(size)?;
        let mut l1 = vec![0; (areas * 8) as usize];
        for (area, table) in std::mem::take(&mut self.l2) {
            if table.iter().all(|entry| *entry == 0) {
                continue;
            }
            if area >= areas {
                return Err(Error::Impossible(format!("the disk is written beyond its size of {size} bytes")));
            }
            let table: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            let offset = self.append(&table)?;
            put(&mut l1, (area * 8) as usize, &(offset | COPIED).to_be_bytes());
        }
        let l1_offset = self.append(&l1)?;
        self.flush()?;
        // The counts count their own clusters, too.
        let table_offset = self.end;
        let (mut blocks, mut table) = (0, 1);
        loop {
            let all = table_offset / CLUSTER + table + blocks;
            let needed = all.div_ceil(COUNTS);
            if (blocks, table) == (needed, (needed * 8).div_ceil(CLUSTER)) {
                break;
            }
            (blocks, table) = (needed, (needed * 8).div_ceil(CLUSTER));
        }
        let first_block = table_offset + table * CLUSTER;
        let end = first_block + blocks * CLUSTER;
        self.count(table_offset, end);
        let mut stream = Stream::new(self.out, table_offset);
        let places: Vec<u8> = (0..blocks).flat_map(|block| (first_block + block * CLUSTER).to_be_bytes()).collect();
        stream.write_all(&places).map_err(Error::write)?;
        stream.align(CLUSTER);
        let counts: Vec<u8> = self.counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        stream.write_all(&counts).map_err(Error::write)?;
        self.out.set_size(end).map_err(Error::write)?;

        let mut header = vec![0; HEADER_SIZE as usize + 8];
        put(&mut header, 0, &MAGIC);
        put(&mut header, 4, &3u32.to_be_bytes());
        put(&mut header, 20, &CLUSTER_BITS.to_be_bytes());
        put(&mut header, 24, &size.to_be_bytes());
        put(&mut header, 36, &(areas as u32).to_be_bytes());
        put(&mut header, 40, &l1_offset.to_be_bytes());
        put(&mut header, 48, &table_offset.to_be_bytes());
        put(&mut header, 56, &(table as u32).to_be_bytes());
        if self.compression == Some(Compression::Zstd) {
            put(&mut header, 72, &COMPRESSION_TYPE.to_be_bytes());
            put(&mut header, 104, &[1]);
        }
        // Counts have 2^4 bits.
        put(&mut header, 96, &4u32.to_be_bytes());
        put(&mut header, 100, &HEADER_SIZE.to_be_bytes());
        self.out.write_all_at(&header, 0).map_err(Error::write)
    }
}
