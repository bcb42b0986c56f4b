//! LZ4: the length of an LZ4 block, 4 bytes big-endian, and the block.

use ::lz4::block;

use super::Function;
use super::decompressor::Error;

/// The length of the length.
const HEADER: usize = 4;

/// Compresses into `dst`; `None` if the result does not fit.
pub(super) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let (header, room) = dst.split_first_chunk_mut::<HEADER>()?;
    let length = block::compress_to_buffer(src, None, false, room).ok()?;
    *header = u32::try_from(length).ok()?.to_be_bytes();
    Some(HEADER + length)
}

/// Decompresses into the whole of `dst`.
pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
    let function = Function::Lz4;
    let truncated = |need| Error::Truncated { function, need, have: src.len() };
    let (header, rest) = src.split_first_chunk::<HEADER>().ok_or_else(|| truncated(HEADER))?;
    let length = u32::from_be_bytes(*header) as usize;
    let bytes = rest.get(..length).ok_or_else(|| truncated(length.saturating_add(HEADER)))?;
    let corrupt = Error::Corrupt { function, what: "it is no LZ4 block of its length" };
    let size = i32::try_from(dst.len()).map_err(|_| corrupt.clone())?;
    let found = block::decompress_to_buffer(bytes, Some(size), dst).map_err(|_| corrupt)?;
    if found != dst.len() {
        return Err(Error::Length { function, found, expected: dst.len() });
    }
    Ok(())
}
