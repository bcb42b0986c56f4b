//! Opening a pack. Its files go to temporary ones without a name, as they may be large; nothing of it has to be trusted.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::ReadAt;
use symbols::ObjectFile;
use vmcore::files::Files;
use vmcore::info::Info;
use vmcore::ranges::Ranges;

use super::tar::{self, Member};
use super::{DUMP, FORMAT, INFO, MANIFEST, MOST, MOST_RANGES, MOST_TEXT, Manifest, RANGES, Role, VERSION, ZSTD};
use crate::error::{Error, Result};

/// A pack, unpacked.
pub(crate) struct Pack {
    pub(crate) manifest: Manifest,
    /// The dump and its header.
    pub(crate) dump: Files,
    /// The files of images, each with the image's name and what it is.
    pub(crate) files: Vec<(String, Role, ObjectFile)>,
}

type Stream = zstd::stream::read::Decoder<'static, BufReader<File>>;

/// Whether a file is a pack, as far as its beginning tells.
pub(super) fn is_pack(path: &Path) -> bool {
    let mut block = [0; tar::BLOCK];
    let begins = |mut stream: Stream| stream.read_exact(&mut block).is_ok() && tar::is_header_of(&block, MANIFEST);
    is_compressed(path) && stream(path).is_ok_and(begins)
}

/// What a pack says of itself; `None` if the file is no pack.
///
/// # Errors
/// If it cannot be read, or its manifest is damaged.
pub fn manifest(path: &Path) -> Result<Option<Manifest>> {
    if !is_pack(path) {
        return Ok(None);
    }
    let read = stream(path).and_then(|mut stream| read_manifest(&mut stream));
    read.map(Some).map_err(|error| damaged(path, &error))
}

impl Pack {
    /// Opens a pack; `None` if the file is none. No more than `most` bytes of temporary space are used.
    pub(crate) fn open(path: &Path, most: u64, folder: Option<&Path>) -> Result<Option<Self>> {
        if !is_pack(path) {
            return Ok(None);
        }
        let mut unpacked = Unpacked { rest: most.min(MOST), folder: folder.map(Path::to_owned), path };
        unpacked.read().map(Some).map_err(|error| damaged(path, &error))
    }

    /// The file of an image.
    pub(crate) fn file(&self, image: &str, role: Role) -> Option<&ObjectFile> {
        self.files.iter().find(|(of, is, _)| of == image && *is == role).map(|(_, _, file)| file)
    }
}

struct Unpacked<'p> {
    /// Bytes that may still be unpacked.
    rest: u64,
    folder: Option<PathBuf>,
    path: &'p Path,
}

impl Unpacked<'_> {
    fn read(&mut self) -> io::Result<Pack> {
        let mut stream = stream(self.path)?;
        let manifest = read_manifest(&mut stream)?;
        let (mut info, mut ranges, mut dump, mut files) = (None, None, None, Vec::new());
        for expected in &manifest.files {
            let member = tar::next(&mut stream)?.ok_or_else(|| invalid(format!("{} is missing", expected.name)))?;
            if member.name != expected.name || member.sparse.unwrap_or(member.size) != expected.size {
                return Err(invalid(format!("{} is where the manifest has {}", member.name, expected.name)));
            }
            self.rest = self.rest.checked_sub(member.size).ok_or_else(|| {
                invalid(format!("{} with {} bytes is more than there is room for", member.name, member.size))
            })?;
            let is_sparse = member.sparse.is_some();
            match (expected.role, member.sparse) {
                (Role::Dump, Some(real)) if dump.is_none() => dump = Some(self.sparse(&mut stream, &member, real)?),
                (Role::Info, None) if member.name == INFO => info = Some(text(&mut stream, &member, MOST_TEXT)?),
                (Role::Ranges, None) if member.name == RANGES => {
                    ranges = Some(text(&mut stream, &member, MOST_RANGES)?)
                }
                (Role::Image | Role::Debug, None) => {
                    let name = self.path.join(&member.name);
                    let object = ObjectFile::from_file(&name, self.copy(&mut stream, member.size)?);
                    let object = object.map_err(|error| invalid(error.to_string()))?;
                    files.push((expected.of.clone().unwrap_or_default(), expected.role, object));
                }
                _ => return Err(invalid(format!("{} is not what a pack has under that name", member.name))),
            }
            if !is_sparse {
                tar::skip_padding(&mut stream, member.size)?;
            }
        }
        if let Some(more) = tar::next(&mut stream)? {
            return Err(invalid(format!("{} is not in the manifest", more.name)));
        }
        // The checksum is behind the last byte.
        if io::copy(&mut (&mut stream).take(tar::BLOCK as u64 * 64), &mut io::sink())? > tar::BLOCK as u64 * 32 {
            return Err(invalid("something follows its end"));
        }
        let dump = dump.ok_or_else(|| invalid(format!("{DUMP} is missing")))?;
        let there = Ranges::parse(&ranges.ok_or_else(|| invalid(format!("{RANGES} is missing")))?);
        let there = there.map_err(|error| invalid(error.to_string()))?;
        let info = info.map(|info| Info::parse(&info)).transpose().map_err(|error| invalid(error.to_string()))?;
        let dump = Files {
            header: info.as_ref().and_then(|info| info.header.clone()),
            info,
            there: Some(there),
            ..Files::alone(self.path.to_owned(), Arc::new(dump))
        };
        Ok(Pack { manifest, dump, files })
    }

    /// The next bytes, in a temporary file.
    fn copy(&self, from: &mut Stream, size: u64) -> io::Result<File> {
        let mut file = self.temporary()?;
        if io::copy(&mut from.take(size), &mut file)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    fn sparse(&self, from: &mut Stream, member: &Member, real: u64) -> io::Result<Sparse> {
        let (map, taken) = tar::read_map(from, member, real)?;
        let mut file = self.temporary()?;
        if io::copy(&mut from.take(member.size - taken), &mut file)? != member.size - taken {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.flush()?;
        let mut at = 0;
        let pieces = map.into_iter().map(|(start, length)| {
            let piece = (start, length, at);
            at += length.next_multiple_of(tar::BLOCK as u64);
            piece
        });
        Ok(Sparse { pieces: pieces.collect(), size: real, file })
    }

    fn temporary(&self) -> io::Result<File> {
        match &self.folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }
}

/// A file with holes, which read as zeros: what is in them is known by the list of ranges.
struct Sparse {
    /// Beginning, length, and where the bytes are stored.
    pieces: Vec<(u64, u64, u64)>,
    size: u64,
    file: File,
}

impl ReadAt for Sparse {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let first = self.pieces.partition_point(|(start, length, _)| start + length <= offset);
        for &(start, length, at) in self.pieces.iter().skip(first).take_while(|(start, ..)| *start < end) {
            let (from, to) = (start.max(offset), (start + length).min(end));
            let place = (from - offset) as usize..(to - offset) as usize;
            if let Some(place) = buf.get_mut(place) {
                self.file.read_exact_at(place, at + (from - start))?;
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

fn is_compressed(path: &Path) -> bool {
    let mut magic = [0; 4];
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    is_file && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == ZSTD
}

fn stream(path: &Path) -> io::Result<Stream> {
    zstd::stream::read::Decoder::new(File::open(path)?)
}

fn read_manifest(stream: &mut Stream) -> io::Result<Manifest> {
    let member = tar::next(stream)?.filter(|member| member.name == MANIFEST && member.sparse.is_none());
    let member = member.ok_or_else(|| invalid("it has no manifest"))?;
    let json = text(stream, &member, MOST_TEXT)?;
    tar::skip_padding(stream, member.size)?;
    let manifest: Manifest = serde_json::from_str(&json).map_err(|error| invalid(format!("{MANIFEST}: {error}")))?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        let (format, version) = (&manifest.format, manifest.version);
        return Err(invalid(format!(
            "it is a {format:?} of version {version}; {FORMAT:?} of version {VERSION} is known"
        )));
    }
    Ok(manifest)
}

fn text(from: &mut Stream, member: &Member, most: u64) -> io::Result<String> {
    if member.size > most {
        return Err(invalid(format!("{} has {} bytes", member.name, member.size)));
    }
    let mut bytes = Vec::new();
    from.take(member.size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != member.size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    String::from_utf8(bytes).map_err(|_| invalid(format!("{} is no text", member.name)))
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn damaged(path: &Path, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    Error::Pack { path: path.to_owned(), reason }
}
