//! Decompressing the blocks of a pool being read.

use super::{Function, gzip, lz4, lzjb, zle, zstd};

/// A block that cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The number stands for no way to decompress.
    #[error("a block cannot be stored with compression function '{0}'")]
    Function(Function),
    /// The stored bytes end too early for what they say.
    #[error("{function} block of {have} bytes is cut short: at least {need} bytes expected")]
    Truncated {
        /// The compression function.
        function: Function,
        /// Bytes that would be needed.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// The stored bytes are no output of the function.
    #[error("{function} block is damaged: {what}")]
    Corrupt {
        /// The compression function.
        function: Function,
        /// What is wrong.
        what: &'static str,
    },
    /// The stored bytes stand for another number of bytes than the block has.
    #[error("{function} block holds {found} bytes, {expected} expected")]
    Length {
        /// The compression function.
        function: Function,
        /// Bytes that came out.
        found: usize,
        /// The logical size of the block.
        expected: usize,
    },
}

/// The decoders with their tables, for the use of one thread.
#[derive(Default)]
pub struct Decompressor {
    gzip: gzip::Decoder,
    zstd: zstd::Decoder,
}

impl Decompressor {
    /// A decompressor whose tables are allocated when first used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decompresses `src`, the physical block, into `dst`, which is as long as
    /// the logical block. What follows the compressed bytes is ignored: it is
    /// the padding.
    ///
    /// # Errors
    /// [`Error`] if `src` does not stand for exactly that many bytes; `dst` is
    /// then filled with whatever came out.
    pub fn decompress(&mut self, function: Function, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        match function {
            Function::Inherit | Function::On | Function::Empty => Err(Error::Function(function)),
            Function::Off => {
                let bytes =
                    src.get(..dst.len()).ok_or(Error::Truncated { function, need: dst.len(), have: src.len() })?;
                dst.copy_from_slice(bytes);
                Ok(())
            }
            Function::Lzjb => lzjb::decompress(src, dst),
            Function::Gzip1
            | Function::Gzip2
            | Function::Gzip3
            | Function::Gzip4
            | Function::Gzip5
            | Function::Gzip6
            | Function::Gzip7
            | Function::Gzip8
            | Function::Gzip9 => self.gzip.decompress(function, src, dst),
            Function::Zle => zle::decompress(src, dst),
            Function::Lz4 => lz4::decompress(src, dst),
            Function::Zstd => self.zstd.decompress(src, dst),
        }
    }
}

/// Decompresses one block: [`Decompressor::decompress`] with fresh tables.
///
/// # Errors
/// As there.
pub fn decompress(function: Function, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
    Decompressor::new().decompress(function, src, dst)
}
