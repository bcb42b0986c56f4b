//! The data of a dump as the kernel meant them, whatever the file has been through: compressed, encrypted, partial.
//!
//! What is read is decrypted and unpacked where it is. AES-256-CBC and ChaCha20 need nothing that is before it. gzip
//! goes through checkpoints of the decompressor, a Zstandard file of ours through its table of frames. A single
//! frame of Zstandard, as a kernel writes it, is unpacked once, as far as is needed, into a temporary file without a
//! name. Bytes that never came are an error, [`Missing`].

mod cache;
mod encrypted;
mod gzip;
mod zstd;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::ReadAt;

use crate::files::Files;
use crate::frames;
use crate::header::Header;
use crate::private_key::{self, PrivateKey};
use crate::ranges::Ranges;

/// A byte of a dump that is not there: it never came. It is what is in the [`io::Error`] of reading it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the dump is missing: it never arrived")]
pub struct Missing {
    /// The first of those that were to be read that is missing, as an offset of the data that the kernel gave away.
    pub offset: u64,
}

/// How to open a dump.
#[derive(Clone)]
pub struct Options {
    /// What an encrypted dump is decrypted with.
    pub private_key: Option<PrivateKey>,
    /// How many bytes of temporary space may be used to unpack what cannot be read in place.
    pub scratch: u64,
    /// Where that is; none for the directory of the system.
    pub scratch_directory: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options { private_key: None, scratch: 64 << 30, scratch_directory: None }
    }
}

/// What the data of a file have been through, the last thing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Compressed with gzip.
    Gzip,
    /// Compressed with Zstandard.
    Zstd,
    /// Encrypted.
    Encrypted,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Gzip => "gzip",
            Layer::Zstd => "zstd",
            Layer::Encrypted => "encrypted",
        })
    }
}

/// The data of a dump.
#[derive(Clone)]
pub struct Contents {
    /// The header, if there is one.
    pub header: Option<Header>,
    /// The data, neither compressed nor encrypted.
    pub data: Arc<dyn ReadAt>,
    /// Which bytes are there, if some are missing: see [`Files::there`].
    pub there: Option<Ranges>,
    /// What was undone.
    pub layers: Vec<Layer>,
    /// What is compressed, where that is what was undone last.
    packed: Option<(Layer, Arc<dyn ReadAt>)>,
    in_place: bool,
}

/// Why a dump cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is encrypted, and there is no private key.
    #[error("{} is encrypted: the RSA private key is needed that belongs to the public key of dumpon(8)", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// It is encrypted, and its own key is missing.
    #[error("{} is encrypted, and the file with its key ({}) is missing", path.display(), key.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Where the key was looked for.
        key: PathBuf,
    },
    /// The private key does not fit.
    #[error("{}: {source}", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: private_key::Error,
    },
}

impl Contents {
    /// Opens the dump in the file `path`; [`Files::find`] finds those beside it.
    ///
    /// # Errors
    /// If it cannot be read, or is encrypted and the key for it is missing or another.
    pub fn open(path: &Path, options: &Options) -> Result<Contents, Error> {
        let files = Files::find(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Contents::of(&files, options)
    }

    /// Opens the dump of these files.
    ///
    /// # Errors
    /// As [`Contents::open`].
    pub fn of(files: &Files, options: &Options) -> Result<Contents, Error> {
        let io = |source| Error::Io { path: files.path.clone(), source };
        let mut data = files.data.clone();
        let mut layers = Vec::new();
        let encrypted = files.is_encrypted();
        // What is compressed over an encryption, or over a map of what is there, was so after the kernel.
        if (encrypted || files.there.is_some())
            && let Some((layer, inner)) = ours(&data).map_err(io)?
        {
            layers.push(layer);
            data = inner;
        }
        if let Some(there) = &files.there {
            let length = files.header.as_ref().map_or(0, |header| header.dump_length);
            let size = length.max(there.end()).max(data.size());
            data = Arc::new(Present { data, there: there.clone(), size });
        }
        if encrypted {
            let path = files.path.clone();
            let key = files.key.as_ref().ok_or_else(|| {
                let key = files.names.as_ref().map_or_else(|| PathBuf::from("key.N"), |names| names.key());
                Error::NoKey { path: path.clone(), key }
            })?;
            let private = options.private_key.as_ref().ok_or_else(|| Error::Encrypted { path: path.clone() })?;
            let secret = private.decrypt(key).map_err(|source| Error::PrivateKey { path, source })?;
            data = Arc::new(encrypted::Decrypted::new(data, key, secret));
            layers.push(Layer::Encrypted);
        }
        let (mut packed, mut in_place) = (None, true);
        if let Some((layer, inner)) = unpacked(&data, options).map_err(io)? {
            in_place = inner.in_place;
            layers.push(layer);
            packed = Some((layer, data));
            data = inner.data;
        }
        let (header, there) = (files.header.clone(), files.there.clone());
        Ok(Contents { header, data, there, layers, packed, in_place })
    }

    /// Whether any place of the data can be read without unpacking what is before it.
    pub fn is_in_place(&self) -> bool {
        self.in_place
    }

    /// The bytes from `at` on that cannot be read, as far as they are known to be missing: only where
    /// [everything else can be read](Contents::is_in_place).
    pub fn gap(&self, at: u64) -> Range<u64> {
        // A block of AES needs the one before it.
        let (block, before) = if self.layers.contains(&Layer::Encrypted) { (16, 16) } else { (1, 0) };
        let from = at.saturating_sub(before);
        let gap = self.there.as_ref().and_then(|there| there.missing(from..self.data.size()).next());
        let end = gap.map_or(at, |gap| gap.end.next_multiple_of(block).saturating_add(before));
        at..end.clamp(at, self.data.size().max(at))
    }

    /// [The same](Contents::stream) from `at` on, where everything can be read in place.
    pub fn stream_from(&self, at: u64) -> Box<dyn io::Read + Send> {
        Box::new(Sequential { data: self.data.clone(), at })
    }

    /// The same data from the beginning to the end, for whom wants all of them: faster, without temporary space, and
    /// with a check of what the compression has for a checksum.
    ///
    /// # Errors
    /// If there is not enough memory for a decompressor.
    pub fn stream(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(match &self.packed {
            None => Box::new(Sequential::new(self.data.clone())),
            Some((Layer::Gzip, packed)) => {
                let packed = io::BufReader::with_capacity(STREAM, Sequential::new(packed.clone()));
                Box::new(flate2::bufread::MultiGzDecoder::new(packed))
            }
            Some((_, packed)) => Box::new(zstd::decoder(packed.clone())?),
        })
    }
}

/// What was in a file of frames with a table.
fn ours(data: &Arc<dyn ReadAt>) -> io::Result<Option<(Layer, Arc<dyn ReadAt>)>> {
    let frames = frames::read_table(&**data)?;
    Ok(frames.map(|frames| {
        let inner: Arc<dyn ReadAt> = Arc::new(zstd::Frames::new(data.clone(), frames));
        (Layer::Zstd, inner)
    }))
}

/// What is in compressed data.
struct Inner {
    data: Arc<dyn ReadAt>,
    /// Whether any place of it can be read without unpacking what is before.
    in_place: bool,
}

/// What was compressed.
fn unpacked(data: &Arc<dyn ReadAt>, options: &Options) -> io::Result<Option<(Layer, Inner)>> {
    let mut magic = [0; 4];
    match data.read_exact_at(&mut magic, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || missing(&error).is_some() => return Ok(None),
        Err(error) => return Err(error),
    }
    if magic.starts_with(&gzip::MAGIC) {
        let data = Arc::new(gzip::Gzip::new(data.clone()));
        return Ok(Some((Layer::Gzip, Inner { data, in_place: false })));
    }
    if magic != zstd::MAGIC {
        return Ok(None);
    }
    // A table that is missing is as good as none.
    match ours(data) {
        Err(error) if missing(&error).is_none() => Err(error),
        Ok(Some((layer, data))) => Ok(Some((layer, Inner { data, in_place: true }))),
        _ => {
            let data = Arc::new(zstd::Unpacked::new(data.clone(), options)?);
            Ok(Some((Layer::Zstd, Inner { data, in_place: false })))
        }
    }
}

/// Whether data that begin so are compressed.
pub(crate) fn is_packed(magic: [u8; 4]) -> bool {
    magic.starts_with(&gzip::MAGIC) || magic == zstd::MAGIC
}

/// What is missing, if that is why something could not be read.
pub fn missing(error: &io::Error) -> Option<&Missing> {
    error.get_ref()?.downcast_ref()
}

/// Why there is no more of something, to be told more than once.
#[derive(Clone, Debug)]
enum Failure {
    Missing(Missing),
    Other(io::ErrorKind, String),
}

impl Failure {
    fn of(error: &io::Error) -> Failure {
        match (missing(error), error.kind()) {
            (Some(missing), _) => Failure::Missing(missing.clone()),
            // What a decompressor has to say.
            (None, io::ErrorKind::Other | io::ErrorKind::UnexpectedEof) => {
                Failure::Other(io::ErrorKind::InvalidData, format!("the compressed data are damaged: {error}"))
            }
            (None, kind) => Failure::Other(kind, error.to_string()),
        }
    }

    fn error(&self) -> io::Error {
        match self {
            Failure::Missing(missing) => io::Error::other(missing.clone()),
            Failure::Other(kind, text) => io::Error::new(*kind, text.clone()),
        }
    }
}

/// Reads what there is from `offset` on, up to the end or something that is missing: that is an error only if it comes
/// first.
fn read_some(data: &dyn ReadAt, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let rest = usize::try_from(data.size().saturating_sub(offset)).unwrap_or(usize::MAX);
    let count = buf.len().min(rest);
    let part = buf.get_mut(..count).unwrap_or_default();
    let Err(error) = data.read_exact_at(part, offset) else { return Ok(count) };
    let before = missing(&error).and_then(|missing| usize::try_from(missing.offset.checked_sub(offset)?).ok());
    let before = before.filter(|before| (1..count).contains(before)).ok_or(error)?;
    if data.read_exact_at(part.get_mut(..before).unwrap_or_default(), offset).is_ok() {
        return Ok(before);
    }
    // A block of AES is there as a whole or not at all.
    let end = (offset + before as u64) / 16 * 16;
    let whole = end.checked_sub(offset).map_or(0, |whole| whole as usize);
    data.read_exact_at(part.get_mut(..whole.max(1)).unwrap_or_default(), offset)?;
    Ok(whole.max(1))
}

/// What is read of a stream at a time.
const STREAM: usize = 256 << 10;

/// Bytes in order.
struct Sequential {
    data: Arc<dyn ReadAt>,
    at: u64,
}

impl Sequential {
    fn new(data: Arc<dyn ReadAt>) -> Sequential {
        Sequential { data, at: 0 }
    }
}

impl io::Read for Sequential {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = read_some(&*self.data, buf, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Data of which some are missing.
struct Present {
    data: Arc<dyn ReadAt>,
    there: Ranges,
    size: u64,
}

impl ReadAt for Present {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.size);
        let range = offset..end.ok_or(io::ErrorKind::UnexpectedEof)?;
        match self.there.missing(range).next() {
            Some(gap) => Err(io::Error::other(Missing { offset: gap.start })),
            None => self.data.read_exact_at(buf, offset),
        }
    }

    fn size(&self) -> u64 {
        self.size
    }
}

#[cfg(test)]
mod tests;
