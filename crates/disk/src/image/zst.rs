//! Disks in zstd files (RFC 8878) that can be read from anywhere ("Zstandard Seekable
//! Format", in zstd's own sources, `contrib/seekable_format`).
//!
//! The file is many frames, and behind them one that decompressors skip: the sizes of
//! all frames, compressed and not, and how many there are.

use std::io::{self, Read};
use std::sync::Arc;

use super::blocks;
use super::packed::{Packed, Piece};
use super::write::Work;
use crate::bytes::{le32, slice};
use crate::error::Error;
use crate::read_at::{ReadAt, read_up_to};
use crate::write_at::{Stream, WriteAt};
use std::io::Write;

/// A frame.
pub(super) const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// A frame that is skipped; the one of the table has this number.
const SKIPPED: u32 = 0x184d_2a5e;
/// At the end of the table.
const SEEKABLE: u32 = 0x8f92_eab1;
/// Bytes behind the entries: number of frames (4), descriptor (1), magic number (4).
const FOOTER_SIZE: u64 = 9;
/// Bit of the descriptor: entries have a checksum.
const CHECKSUMS: u8 = 1 << 7;
/// The most frames (`ZSTD_SEEKABLE_MAXFRAMES`).
const MAX_FRAMES: u64 = 0x800_0000;

/// Bytes of the disk in a frame.
const FRAME: u64 = 1 << 20;
const LEVEL: i32 = 3;
/// The largest window that a frame may ask for, as a power of two: what `zstd -d` has
/// without an option.
const MAX_WINDOW: u32 = 27;

/// The disk in a file that has a table of its frames.
pub(super) fn open(file: Arc<dyn ReadAt>) -> io::Result<Option<Packed>> {
    let Some(footer_at) = file.size().checked_sub(FOOTER_SIZE) else { return Ok(None) };
    let footer = read_up_to(&file, footer_at, FOOTER_SIZE as usize)?;
    let count = u64::from(le32(&footer, 0));
    let descriptor = footer.get(4).copied().unwrap_or(0);
    if le32(&footer, 5) != SEEKABLE || count > MAX_FRAMES {
        return Ok(None);
    }
    let entry = if descriptor & CHECKSUMS == 0 { 8 } else { 12 };
    let size = count * entry + FOOTER_SIZE;
    let Some(table_at) = file.size().checked_sub(size + 8) else { return Ok(None) };
    let head = read_up_to(&file, table_at, 8)?;
    if le32(&head, 0) != SKIPPED || u64::from(le32(&head, 4)) != size {
        return Ok(None);
    }
    let table = read_up_to(&file, table_at + 8, (count * entry) as usize)?;
    let mut pieces = Vec::with_capacity(count as usize);
    let (mut start, mut offset) = (0, 0);
    for entry in table.chunks_exact(entry as usize) {
        let (stored, length) = (u64::from(le32(entry, 0)), u64::from(le32(entry, 4)));
        pieces.push(Piece { start, length, offset, stored });
        start += length;
        offset += stored;
    }
    if offset != table_at {
        return Ok(None);
    }
    Ok(Some(Packed::new(file, pieces, |stored, length| {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored)?;
        decoder.window_log_max(MAX_WINDOW)?;
        let mut bytes = vec![0; length];
        decoder.read_exact(&mut bytes)?;
        // Beyond the end is the checksum, which is verified by reading it.
        match decoder.read(&mut [0])? {
            0 => Ok(bytes),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than the table says")),
        }
    })))
}

/// Decompresses a file from beginning to end.
pub(super) fn unpack<'a>(file: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut decoder = zstd::stream::read::Decoder::new(file)?;
    decoder.window_log_max(MAX_WINDOW)?;
    Ok(Box::new(decoder))
}

/// Writes a file of the disk in frames, with their table.
pub(super) fn write(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let mut stream = Stream::new(out, 0);
    let mut table = Vec::new();
    let encoder = || {
        let mut compressor = compressor();
        move |block: &[u8]| {
            let compressor = compressor.as_mut().map_err(|error| Error::write(io::Error::other(error.to_string())))?;
            compressor.compress(block).map_err(Error::write)
        }
    };
    blocks::every(disk, FRAME, work, encoder, |frame, length| {
        table.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        table.extend_from_slice(&(length as u32).to_le_bytes());
        stream.write_all(frame).map_err(Error::write)
    })?;
    if table.is_empty() {
        // A table alone would not be known for what it is.
        let frame = encoder()(&[])?;
        table.extend([(frame.len() as u32).to_le_bytes(), [0; 4]].concat());
        stream.write_all(&frame).map_err(Error::write)?;
    }
    let size = table.len() as u64 + FOOTER_SIZE;
    let Some(size) = u32::try_from(size).ok().filter(|_| table.len() as u64 / 8 <= MAX_FRAMES) else {
        return Err(Error::Impossible(format!("a disk of {} bytes has too many zstd frames", disk.size())));
    };
    let count = (table.len() / 8) as u32;
    let head = [SKIPPED.to_le_bytes(), size.to_le_bytes()].concat();
    let footer = [slice(&count.to_le_bytes(), 0, 4), &[0], &SEEKABLE.to_le_bytes()].concat();
    stream.write_all(&[head, table, footer].concat()).map_err(Error::write)
}

fn compressor() -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    Ok(compressor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_magic_number_is_that_of_zstd() {
        assert!(compressor().unwrap().compress(b"x").unwrap().starts_with(&MAGIC));
    }
}
