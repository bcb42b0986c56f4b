//! The bytes of an archive: read in place where that is possible, else decompressed and its contents spooled.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ArchiveError;
use crate::error::Error;
use crate::host;
use crate::source::Archive;

/// An archive being read from its beginning to its end.
pub(crate) struct Input {
    /// For messages.
    path: PathBuf,
    /// Bytes of the uncompressed archive that were read or passed.
    position: u64,
    reader: Reader,
}

enum Reader {
    /// A plain archive in a file: contents stay where they are.
    InPlace { file: Arc<File>, reader: BufReader<ArcFile>, length: u64, stamp: (u64, crate::Timestamp) },
    /// Anything else: contents are copied to a temporary file.
    Spooled { stream: Box<dyn Read>, spool: BufWriter<File>, spooled: u64 },
}

const BUFFER: usize = 128 << 10;

/// Decompression must not take more memory than this, whatever an archive asks for. `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 512 << 20;

impl Input {
    /// Opens an archive, `-` being standard input, and finds out how it is compressed.
    pub(crate) fn open(path: &Path, spool: &Path) -> Result<Input, Error> {
        if path.as_os_str() == "-" {
            return Input::spooled(PathBuf::from("standard input"), Box::new(io::stdin()), spool);
        }
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| Error::io("examine", path, e))?;
        if host::is_file(&stat) {
            let mut magic = [0; MAGIC];
            let length = read_at_most(&file, &mut magic).map_err(|e| Error::io("read", path, e))?;
            if Compression::detect(&magic[..length]) == Compression::None {
                let file = Arc::new(file);
                let reader = BufReader::with_capacity(BUFFER, ArcFile { file: Arc::clone(&file), position: 0 });
                let stamp = (host::size(&stat), host::mtime(&stat));
                let reader = Reader::InPlace { file, reader, length: stamp.0, stamp };
                return Ok(Input { path: path.to_path_buf(), position: 0, reader });
            }
        }
        Input::spooled(path.to_path_buf(), Box::new(file), spool)
    }

    /// Reads a stream, whose name is for messages.
    pub(crate) fn spooled(path: PathBuf, mut stream: Box<dyn Read>, spool: &Path) -> Result<Input, Error> {
        let mut magic = Vec::with_capacity(MAGIC);
        stream.by_ref().take(MAGIC as u64).read_to_end(&mut magic).map_err(|e| Error::io("read", &path, e))?;
        let compression = Compression::detect(&magic);
        let stream = BufReader::with_capacity(BUFFER, io::Cursor::new(magic).chain(stream));
        let stream = compression.decoder(stream).map_err(|e| Error::io("decompress", &path, e))?;
        let file = tempfile::tempfile_in(spool).map_err(|e| Error::io("make a temporary file in", spool, e))?;
        let spool = BufWriter::with_capacity(BUFFER, file);
        Ok(Input { path, position: 0, reader: Reader::Spooled { stream, spool, spooled: 0 } })
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// An error at a byte offset of the (uncompressed) archive.
    pub(super) fn error(&self, offset: u64, what: ArchiveError) -> Error {
        Error::Archive { path: self.path.clone(), offset, what }
    }

    /// Fills the buffer; `false` if the archive ends right here, an error if it ends within.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<bool, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let result = match &mut self.reader {
                Reader::InPlace { reader, .. } => reader.read(rest),
                Reader::Spooled { stream, .. } => stream.read(rest),
            };
            match result {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(self.error(self.position, ArchiveError::Truncated)),
                Ok(count) => {
                    filled += count;
                    self.position += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(true)
    }

    /// Passes over contents and says where they can be read from later.
    pub(super) fn keep(&mut self, length: u64) -> Result<u64, Error> {
        if let Reader::InPlace { .. } = self.reader {
            let offset = self.position;
            self.skip(length)?;
            return Ok(offset);
        }
        let copied = match &mut self.reader {
            Reader::Spooled { stream, spool, spooled } => {
                let offset = *spooled;
                let copied = copy(stream, spool, length);
                if let Ok(count) = copied {
                    *spooled += count;
                    self.position += count;
                }
                copied.map(|count| (offset, count))
            }
            Reader::InPlace { .. } => Ok((0, 0)),
        };
        match copied {
            Ok((offset, count)) if count == length => Ok(offset),
            Ok(_) => Err(self.error(self.position, ArchiveError::Truncated)),
            Err(Failure::Reading(error)) => Err(self.failed(error)),
            Err(Failure::Writing(error)) => Err(Error::io("write the spool file of", &self.path, error)),
        }
    }

    /// Passes over bytes.
    pub(super) fn skip(&mut self, length: u64) -> Result<(), Error> {
        let passed = match &mut self.reader {
            Reader::InPlace { reader, length: end, .. } => {
                let inside = *end >= self.position && length <= *end - self.position;
                match i64::try_from(length) {
                    Ok(distance) if inside => reader.seek_relative(distance).map(|()| length),
                    _ => Ok(0),
                }
            }
            Reader::Spooled { stream, .. } => io::copy(&mut stream.take(length), &mut io::sink()),
        };
        match passed {
            Ok(passed) if passed == length => {
                self.position += length;
                Ok(())
            }
            Ok(_) => Err(self.error(self.position, ArchiveError::Truncated)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Ends reading. What follows in a compressed stream is decompressed, so that its checksum is verified.
    pub(super) fn finish(mut self) -> Result<Archive, Error> {
        if let Reader::Spooled { stream, .. } = &mut self.reader
            && let Err(error) = io::copy(stream, &mut io::sink())
        {
            return Err(self.failed(error));
        }
        match self.reader {
            Reader::InPlace { file, stamp, .. } => Ok(Archive { file, path: self.path, stamp: Some(stamp) }),
            Reader::Spooled { spool, .. } => match spool.into_inner() {
                Ok(file) => Ok(Archive { file: Arc::new(file), path: self.path, stamp: None }),
                Err(error) => Err(Error::io("write the spool file of", &self.path, error.into_error())),
            },
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.error(self.position, ArchiveError::Truncated),
            _ if error.raw_os_error().is_some() => Error::io("read", &self.path, error),
            // Everything else comes from a decoder.
            _ => self.error(self.position, ArchiveError::Compression { source: error }),
        }
    }
}

/// A shared file with a position of its own, so that other readers do not move it.
struct ArcFile {
    file: Arc<File>,
    position: u64,
}

impl Read for ArcFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl io::Seek for ArcFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
            io::SeekFrom::End(_) => None,
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

enum Failure {
    Reading(io::Error),
    Writing(io::Error),
}

/// Copies up to `length` bytes and tells which side an error came from.
fn copy(from: &mut impl Read, to: &mut impl Write, length: u64) -> Result<u64, Failure> {
    let mut buffer = vec![0; length.min(BUFFER as u64) as usize];
    let mut copied = 0;
    while copied < length {
        let wanted = (length - copied).min(buffer.len() as u64) as usize;
        match from.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(count) => {
                to.write_all(&buffer[..count]).map_err(Failure::Writing)?;
                copied += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::Reading(error)),
        }
    }
    Ok(copied)
}

fn read_at_most(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Bytes that tell the compression.
const MAGIC: usize = 6;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    fn detect(magic: &[u8]) -> Compression {
        match magic {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            // A frame, or a skippable frame as pzstd puts before each.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// A decoder that goes on through all members or frames of the stream.
    fn decoder(self, stream: impl io::BufRead + 'static) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Compression::None => Box::new(stream),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(stream)),
            Compression::Xz => {
                let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(stream, decoder))
            }
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(stream)?),
        })
    }
}
