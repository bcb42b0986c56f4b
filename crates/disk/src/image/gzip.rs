//! A disk as Google Cloud takes it: `disk.raw` in a tar archive of GNU's form (tar's
//! manual, "Basic Tar Format"), compressed by gzip (RFC 1952).
//!
//! Parts of the archive are compressed at the same time, each flushed to a whole byte
//! at its end; one behind the other they are one stream.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use flate2::{Compress, Crc, FlushCompress};

use super::blocks;
use super::write::Work;
use crate::bytes::{be64, put, slice};
use crate::error::Error;
use crate::read_at::{Part, ReadAt, read_up_to};
use crate::write_at::{Stream, WriteAt};

/// A member of a file, compressed by deflate.
pub(super) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// The only name that is taken.
const NAME: &[u8] = b"disk.raw";
const PART: u64 = 1 << 20;
const LEVEL: u32 = 6;
/// Bytes of zeros behind the last file; archives have whole records of 10 KiB.
const RECORD: u64 = 10240;

/// Compressed bytes, and the checksum of what they were.
struct Deflated {
    bytes: Vec<u8>,
    crc: Crc,
}

/// Decompresses a file from beginning to end.
pub(super) fn unpack<'a>(file: impl Read + 'a) -> Box<dyn Read + 'a> {
    Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file)))
}

/// The disk in what was compressed: the file `disk.raw`, if that is a tar archive which begins with one, or all of it.
pub(super) fn disk_in(file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    let header = read_up_to(&file, 0, 512)?;
    let name = slice(&header, 0, 100).split(|&byte| byte == 0).next().unwrap_or_default();
    if slice(&header, 257, 5) != b"ustar" || name.strip_prefix(b"./").unwrap_or(name) != NAME {
        return Ok(file);
    }
    let bad = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, format!("disk.raw in the archive {what}")));
    match header.get(156) {
        Some(0 | b'0') => {}
        // "Storing Sparse Files" of the same manual.
        Some(b'S') => return bad("is stored sparsely: unpack it with 'tar -xSzf'"),
        _ => return bad("is not a file"),
    }
    let size = match slice(&header, 124, 12) {
        [0x80, 0, 0, 0, size @ ..] => Some(be64(size, 0)),
        digits => {
            let digits = digits.split(|byte| matches!(byte, 0 | b' ')).find(|digits| !digits.is_empty());
            let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
            text.and_then(|text| u64::from_str_radix(text, 8).ok())
        }
    };
    match size {
        Some(size) if size <= file.size() - 512 => Ok(Arc::new(Part::new(file, 512, size))),
        _ => bad("is longer than the archive"),
    }
}

/// Writes an archive of the disk.
pub(super) fn write(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let mut stream = Stream::new(out, 0);
    let mut crc = Crc::new();
    let mut add = |part: &Deflated| {
        crc.combine(&part.crc);
        stream.write_all(&part.bytes).map_err(Error::write)
    };
    // Deflate, no name, no time, no flags, made on Unix.
    add(&Deflated { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], crc: Crc::new() })?;
    add(&compress(&tar_header(disk.size()), FlushCompress::Sync)?)?;
    let encode = || |block: &[u8]| compress(block, FlushCompress::Sync);
    blocks::every(disk, PART, work, encode, |part, _| add(part))?;
    // Padding of the file, two empty headers, and padding of the record.
    let written = 512 + disk.size();
    let end = (written.next_multiple_of(512) + 1024).next_multiple_of(RECORD);
    add(&compress(&vec![0; (end - written) as usize], FlushCompress::Finish)?)?;
    let trailer = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
    stream.write_all(&trailer).map_err(Error::write)
}

fn compress(bytes: &[u8], flush: FlushCompress) -> Result<Deflated, Error> {
    let failed = |error: flate2::CompressError| Error::write(error.into());
    let mut deflate = Compress::new(flate2::Compression::new(LEVEL), false);
    let mut out = Vec::with_capacity(bytes.len() / 2 + 1024);
    let mut input = bytes;
    loop {
        let read = deflate.total_in();
        deflate.compress_vec(input, &mut out, flush).map_err(failed)?;
        input = input.get((deflate.total_in() - read) as usize..).unwrap_or_default();
        // Room is left over only when everything has been written.
        if input.is_empty() && out.len() < out.capacity() {
            break;
        }
        out.reserve(bytes.len() / 4 + 1024);
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    Ok(Deflated { bytes: out, crc })
}

fn tar_header(size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    put(&mut header, 0, NAME);
    put(&mut header, 100, b"0000644\0");
    put(&mut header, 108, b"0000000\0");
    put(&mut header, 116, b"0000000\0");
    if size < 1 << 33 {
        put(&mut header, 124, format!("{size:011o}\0").as_bytes());
    } else {
        // Larger numbers are binary, with the highest bit set.
        put(&mut header, 124, &[0x80, 0, 0, 0]);
        put(&mut header, 128, &size.to_be_bytes());
    }
    put(&mut header, 136, b"00000000000\0");
    // The checksum counts itself as blanks.
    put(&mut header, 148, b"        ");
    put(&mut header, 156, b"0");
    put(&mut header, 257, b"ustar  \0");
    put(&mut header, 265, b"root\0");
    put(&mut header, 297, b"wheel\0");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    header
}
