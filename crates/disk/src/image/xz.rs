//! Disks in xz files ("The .xz File Format" 1.2.1, Tukaani).
//!
//! ```text
//! stream header (12) | blocks | index: sizes of each block, stored and not | stream footer (12): size of the index
//! ```
//!
//! The index makes it possible to read from any block on. There may be several
//! streams, and zeros behind each.

use std::io::{self, Read, Write};
use std::sync::Arc;

use flate2::Crc;
use liblzma::stream::{Action, Check, Filters, LzmaOptions, Status, Stream as Coder};

use super::blocks;
use super::packed::{Packed, Piece};
use super::write::Work;
use crate::bytes::{array, le32, slice};
use crate::error::Error;
use crate::read_at::{ReadAt, read_up_to};
use crate::write_at::{Stream, WriteAt};

/// The beginning of a stream header.
pub(super) const MAGIC: [u8; 6] = *b"\xfd7zXZ\0";
/// The end of a stream footer.
const FOOTER_MAGIC: &[u8] = b"YZ";
/// Bytes of a stream's header, and of its footer.
const HEADER_SIZE: usize = 12;
/// The largest index that is read.
const MAX_INDEX: u64 = 64 << 20;
/// The most streams in a file.
const MAX_STREAMS: usize = 1 << 16;
/// Memory for decompression: the largest dictionary of xz's own presets is 64 MiB.
const MAX_MEMORY: u64 = 128 << 20;

/// Bytes of the disk in a block.
const BLOCK: u64 = 2 << 20;
const PRESET: u32 = 6;

/// The disk in a file, if the indices of its streams are sound.
pub(super) fn open(file: Arc<dyn ReadAt>) -> io::Result<Option<Packed>> {
    let mut streams = Vec::new();
    let mut end = file.size();
    while end > 0 && streams.len() < MAX_STREAMS {
        let Some((start, stream)) = read_stream(&file, end)? else { return Ok(None) };
        streams.push(stream);
        end = start;
    }
    let header: [u8; HEADER_SIZE] = array(&read_up_to(&file, 0, HEADER_SIZE)?, 0);
    // Blocks are decoded as if each stood alone in the first stream.
    if end > 0 || streams.iter().any(|stream| stream.flags != array(&header, 6)) {
        return Ok(None);
    }
    let mut pieces: Vec<Piece> = streams.into_iter().rev().flat_map(|stream| stream.pieces).collect();
    let mut start = 0u64;
    for piece in &mut pieces {
        piece.start = start;
        let Some(next) = start.checked_add(piece.length) else { return Ok(None) };
        start = next;
    }
    Ok(Some(Packed::new(file, pieces, move |stored, length| decompress(&header, stored, length))))
}

/// Decompresses a file from beginning to end.
pub(super) fn unpack<'a>(file: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let coder = Coder::new_stream_decoder(MAX_MEMORY, liblzma::stream::CONCATENATED)?;
    Ok(Box::new(liblzma::read::XzDecoder::new_stream(file, coder)))
}

/// What the index of a stream says.
struct StreamIndex {
    /// The flags of header and footer: the kind of checksum.
    flags: [u8; 2],
    /// Its blocks, not yet placed on the disk.
    pieces: Vec<Piece>,
}

/// The last stream of the first `end` bytes of a file, and where it begins.
fn read_stream(file: &dyn ReadAt, mut end: u64) -> io::Result<Option<(u64, StreamIndex)>> {
    // Streams may be followed by zeros, four at a time.
    let footer = loop {
        let Some(at) = end.checked_sub(HEADER_SIZE as u64) else { return Ok(None) };
        let footer = read_up_to(file, at, HEADER_SIZE)?;
        if slice(&footer, 8, 4) != [0; 4] {
            break footer;
        }
        end -= 4;
    };
    let index_size = (u64::from(le32(&footer, 4)) + 1) * 4;
    if slice(&footer, 10, 2) != FOOTER_MAGIC || crc(slice(&footer, 4, 6)) != le32(&footer, 0) || index_size > MAX_INDEX
    {
        return Ok(None);
    }
    let Some(index_at) = (end - HEADER_SIZE as u64).checked_sub(index_size) else { return Ok(None) };
    let index = read_up_to(file, index_at, index_size as usize)?;
    let (body, sum) = index.split_at(index.len().saturating_sub(4));
    if crc(body) != le32(sum, 0) {
        return Ok(None);
    }
    let Some(records) = parse_index(body) else { return Ok(None) };
    let stored: Option<u64> =
        records.iter().try_fold(0u64, |sum, &(unpadded, _)| sum.checked_add(unpadded.checked_next_multiple_of(4)?));
    let blocks_at = stored.and_then(|stored| index_at.checked_sub(stored));
    let Some((mut offset, start)) = blocks_at.and_then(|at| Some((at, at.checked_sub(HEADER_SIZE as u64)?))) else {
        return Ok(None);
    };
    let header = read_up_to(file, start, HEADER_SIZE)?;
    if slice(&header, 0, 6) != MAGIC || slice(&header, 6, 2) != slice(&footer, 8, 2) {
        return Ok(None);
    }
    let mut pieces = Vec::with_capacity(records.len());
    for (unpadded, length) in records {
        let stored = unpadded.next_multiple_of(4);
        pieces.push(Piece { start: 0, length, offset, stored });
        offset += stored;
    }
    Ok(Some((start, StreamIndex { flags: array(&header, 6), pieces })))
}

/// Unpadded and uncompressed sizes of all blocks.
fn parse_index(body: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (&indicator, mut rest) = body.split_first()?;
    let count = number(&mut rest).filter(|_| indicator == 0)?;
    // A record has at least two bytes.
    if count > rest.len() as u64 / 2 {
        return None;
    }
    (0..count).map(|_| Some((number(&mut rest)?, number(&mut rest)?))).collect()
}

/// A number in groups of seven bits, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for group in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn push_number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Decodes a block: what comes behind it is not needed.
fn decompress(header: &[u8], stored: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut coder = Coder::new_stream_decoder(MAX_MEMORY, 0)?;
    // One byte more would be too many, and gives the decoder room to go on to the checksum.
    let mut bytes = Vec::with_capacity(length + 1);
    for mut input in [header, stored] {
        while !input.is_empty() {
            let (read, written) = (coder.total_in(), bytes.len());
            coder.process_vec(input, &mut bytes, Action::Run)?;
            let used = (coder.total_in() - read) as usize;
            input = input.get(used..).unwrap_or_default();
            if bytes.len() > length || used == 0 && bytes.len() == written {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its size is not that of the index"));
            }
        }
    }
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A block with its header, padding and checksum, and its size without the padding.
struct Block {
    bytes: Vec<u8>,
    unpadded: u64,
}

/// Writes a file of the disk in blocks.
pub(super) fn write(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let mut stream = Stream::new(out, 0);
    let header = stream_header();
    stream.write_all(&header).map_err(Error::write)?;
    let (mut records, mut count) = (Vec::new(), 0);
    let encode = || |block: &[u8]| compress(block).map_err(Error::write);
    blocks::every(disk, BLOCK, work, encode, |block, length| {
        push_number(&mut records, block.unpadded);
        push_number(&mut records, length);
        count += 1;
        stream.write_all(&block.bytes).map_err(Error::write)
    })?;
    let mut index = vec![0];
    push_number(&mut index, count);
    index.extend(records);
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc(&index).to_le_bytes());
    let backward = (index.len() as u64 / 4 - 1) as u32;
    let fields = [&backward.to_le_bytes(), slice(&header, 6, 2)].concat();
    let footer = [&crc(&fields).to_le_bytes(), &fields[..], FOOTER_MAGIC].concat();
    stream.write_all(&[index, footer].concat()).map_err(Error::write)
}

fn stream_header() -> Vec<u8> {
    // The second flag is the kind of checksum.
    let flags = [0, Check::Crc64 as u8];
    [&MAGIC[..], &flags, &crc(&flags).to_le_bytes()].concat()
}

fn compress(block: &[u8]) -> io::Result<Block> {
    let mut options = LzmaOptions::new_preset(PRESET)?;
    // No larger than what it is for.
    options.dict_size(BLOCK as u32);
    let mut coder = Coder::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc64)?;
    let mut stream = Vec::with_capacity(block.len() + block.len() / 8 + 1024);
    let mut input = block;
    loop {
        let read = coder.total_in();
        let status = coder.process_vec(input, &mut stream, Action::Finish)?;
        input = input.get((coder.total_in() - read) as usize..).unwrap_or_default();
        if status == Status::StreamEnd {
            break;
        }
        stream.reserve(4096);
    }
    // A stream of one block: what is around that is taken off.
    let broken = || io::Error::other("xz has made a stream that cannot be understood");
    let footer_at = stream.len().checked_sub(HEADER_SIZE).ok_or_else(broken)?;
    let index_size = (u64::from(le32(&stream, footer_at + 4)) + 1) * 4;
    let index_at = footer_at.checked_sub(index_size as usize).ok_or_else(broken)?;
    let index = slice(&stream, index_at, (index_size as usize).saturating_sub(4));
    let unpadded = match parse_index(index).as_deref() {
        Some(&[(unpadded, _)]) => unpadded,
        _ => return Err(broken()),
    };
    let bytes = stream.get(HEADER_SIZE..index_at).ok_or_else(broken)?.to_vec();
    Ok(Block { bytes, unpadded })
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_xz() {
        let mut coder = Coder::new_easy_encoder(0, Check::Crc64).unwrap();
        let mut stream = Vec::with_capacity(100);
        coder.process_vec(b"", &mut stream, Action::Finish).unwrap();
        assert_eq!(stream[..HEADER_SIZE], stream_header());
    }

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        for value in [0, 127, 128, 300, u64::MAX >> 1] {
            let mut bytes = Vec::new();
            push_number(&mut bytes, value);
            assert_eq!(number(&mut &bytes[..]), Some(value));
        }
        assert_eq!(number(&mut &[0x80; 10][..]), None);
    }
}
