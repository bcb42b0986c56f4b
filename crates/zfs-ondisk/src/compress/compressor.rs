//! Compressing the blocks of a pool being written.

use super::{Compression, Function, ZstdLevel, gzip, lz4, lzjb, zle, zstd};

/// The most bytes that a block pointer can embed (`BPE_PAYLOAD_SIZE`,
/// `sys/spa.h`).
pub const EMBEDDED_MAX: usize = 112;

/// The encoders with their tables, for the use of one thread.
///
/// The same bytes come out whatever was compressed before.
#[derive(Default)]
pub struct Compressor {
    lzjb: lzjb::Encoder,
    gzip: gzip::Encoder,
    zstd: zstd::Encoder,
    /// Room for a result. It never shrinks, so that it is not cleared again and again.
    scratch: Vec<u8>,
}

/// How a block is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// As it is: its logical bytes, with [`Function::Off`] in the pointer.
    Plain,
    /// As these bytes: compressed, padded with zeros to whole allocations. Their
    /// number is the physical size.
    Compressed(Function, &'a [u8]),
    /// In the block pointer itself: compressed to at most [`EMBEDDED_MAX`]
    /// bytes, not padded.
    Embedded(Function, &'a [u8]),
}

impl Compressor {
    /// A compressor whose tables are allocated when first used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses `src` into the whole of `dst` at most, and returns the length
    /// of the result; `None` if it does not fit.
    ///
    /// This is the bare function; [`Compressor::compress_block`] adds the rules
    /// by which blocks are stored.
    pub fn compress(&mut self, setting: Compression, src: &[u8], dst: &mut [u8]) -> Option<usize> {
        match setting {
            Compression::Off => None,
            Compression::On | Compression::Lz4 => lz4::compress(src, dst),
            Compression::Lzjb => self.lzjb.compress(src, dst),
            Compression::Gzip(level) => self.gzip.compress(level, src, dst),
            Compression::Zle => zle::compress(src, dst),
            Compression::Zstd(level) => self.zstd.compress(level.unwrap_or(ZstdLevel::DEFAULT), src, dst),
        }
    }

    /// Compresses a block as ZFS stores it.
    ///
    /// `min_alloc` is the smallest allocation of the pool in bytes (1 << ashift).
    /// With `embed`, a result small enough goes into the block pointer: that is
    /// allowed for level-0 blocks that hold no block pointers themselves, in a
    /// pool with the feature `embedded_data`. Blocks of zeros are the caller's
    /// affair: see [`is_zero`](super::is_zero).
    ///
    /// A block stays as it is unless an eighth of it is saved (`zio_write_compress`
    /// in OpenZFS).
    pub fn compress_block(&mut self, setting: Compression, min_alloc: usize, embed: bool, src: &[u8]) -> Stored<'_> {
        let min_alloc = min_alloc.max(1);
        let limit = limit(setting, min_alloc, embed, src.len());

        if limit == 0 {
            return Stored::Plain;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.len() < limit {
            scratch.resize(limit, 0);
        }
        let result = self.compress(setting, src, &mut scratch[..limit]);
        self.scratch = scratch;
        let Some(length) = result else { return Stored::Plain };
        if embed && length <= EMBEDDED_MAX {
            return Stored::Embedded(setting.function(), &self.scratch[..length]);
        }
        let physical_size = length.next_multiple_of(min_alloc);
        if physical_size >= src.len() {
            return Stored::Plain;
        }
        if self.scratch.len() < physical_size {
            self.scratch.resize(physical_size, 0);
        }
        self.scratch[length..physical_size].fill(0);
        Stored::Compressed(setting.function(), &self.scratch[..physical_size])
    }
}

/// The most bytes that are worth storing for a block of `lsize` bytes.
fn limit(setting: Compression, min_alloc: usize, embed: bool, lsize: usize) -> usize {
    let limit = lsize - lsize / 8;
    // ZLE checks its space in steps, so it is not held to the exact sectors.
    let sectors = if setting == Compression::Zle { limit } else { limit - limit % min_alloc };
    if embed { sectors.max(EMBEDDED_MAX.min(limit)) } else { sectors }
}
