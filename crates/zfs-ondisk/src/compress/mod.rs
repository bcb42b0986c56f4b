//! Block compression.
//!
//! A data block is stored as its compression function made it, padded with
//! zeros to whole sectors. The function's number stands in the block pointer
//! ([`Function`]); the property `compression` of a dataset ([`Compression`])
//! says which function, and at what level, new blocks are written with.
//! Numbers are those of `enum zio_compress` (`sys/zio_compress.h`).
//!
//! Writing goes through a [`Compressor`], which keeps the encoders' tables from
//! one block to the next; a thread has one of its own. Reading goes through
//! [`decompress`], or a [`Decompressor`] where many blocks are read.

mod compressor;
mod decompressor;
mod function;
mod gzip;
mod lz4;
mod lzjb;
mod setting;
#[cfg(test)]
mod tests;
mod zle;
mod zstd;

pub use compressor::{Compressor, EMBEDDED_MAX, Stored};
pub use decompressor::{Decompressor, Error, decompress};
pub use function::Function;
pub use setting::{Compression, GzipLevel, UnknownCompression, ZstdLevel};

/// Whether every byte is zero; such a block is stored as a hole.
pub fn is_zero(data: &[u8]) -> bool {
    // A group is as long as vector code likes it, and short enough that the
    // first one settles most blocks.
    let groups = data.chunks_exact(256);
    let rest = groups.remainder();
    groups.map(|group| group.iter().fold(0, |acc, byte| acc | byte)).all(|acc| acc == 0)
        && rest.iter().all(|&byte| byte == 0)
}
