//! The files of a saved dump, found by the name of the one with the data.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Part, ReadAt};

use crate::contents::is_packed;
use crate::device::Backwards;
use crate::header::{self, Header, Magic};
use crate::info::{self, Info, Status};
use crate::key::{self, DumpKey};
use crate::memory;
use crate::names::Names;
use crate::ranges::Ranges;

/// The most bytes of an info file, a key or a manifest that are read.
const MOST_TEXT: u64 = 1 << 20;

/// The most bytes of a list of ranges that are read.
const MOST_RANGES: u64 = 1 << 30;

/// The file with the data of a dump, and what the others beside it tell.
pub struct Files {
    /// The file with the data.
    pub path: PathBuf,
    /// The names of all of them, if the file has one that is known.
    pub names: Option<Names>,
    /// What the info file says.
    pub info: Option<Info>,
    /// The header: before the data in the same file, or out of the info file.
    pub header: Option<Header>,
    /// The key block of an encrypted dump.
    pub key: Option<DumpKey>,
    /// Which bytes are there, of a dump of which some are missing: offsets of the data as the kernel gave them away,
    /// encrypted and compressed by it if they are.
    pub there: Option<Ranges>,
    /// The data as they are in the file.
    pub data: Arc<dyn ReadAt>,
    /// What is wrong with the files beside it, in sentences.
    pub problems: Vec<String>,
    /// What of them is not used, in sentences.
    pub notes: Vec<String>,
    /// Whether its name says that it is encrypted, and its data do not begin as those of one that is not.
    pub named_encrypted: bool,
}

impl Files {
    /// Finds the files of the dump `path`.
    ///
    /// # Errors
    /// If that file itself cannot be read. What is wrong with the others is among the [problems](Files::problems).
    pub fn find(path: &Path) -> io::Result<Files> {
        // vmcore.last is a link to one that has a number.
        let real = path.canonicalize()?;
        let data = Arc::new(Plain::open(&real)?);
        let names = Names::of(&real);
        let mut files = Files { names, ..Files::alone(path.to_owned(), data) };
        if let Some(names) = files.names.clone() {
            files.read_info(&names.info());
            if files.header.is_none() {
                files.read_bare_header(&names.header());
            }
            files.read_key(&names.key());
            files.read_ranges(&names.ranges());
        }
        files.read_header()?;
        files.named_encrypted = files.looks_encrypted(&real)?;
        Ok(files)
    }

    /// Data with nothing beside them; `path` is what they are called.
    pub fn alone(path: PathBuf, data: Arc<dyn ReadAt>) -> Files {
        Files {
            path,
            names: None,
            info: None,
            header: None,
            key: None,
            there: None,
            data,
            problems: Vec::new(),
            notes: Vec::new(),
            named_encrypted: false,
        }
    }

    /// Takes the key block from the file `path`.
    pub fn read_key(&mut self, path: &Path) {
        let Some(bytes) = self.read(path, MOST_TEXT) else { return };
        match DumpKey::parse(&bytes) {
            Ok(key) => {
                if let Some(header) = &mut self.header {
                    header.key_size = bytes.len() as u32;
                }
                self.key = Some(key);
            }
            Err(error) => self.problems.push(format!("{}: {error}", path.display())),
        }
    }

    /// Takes what the info file `path` says.
    pub fn read_info(&mut self, path: &Path) {
        let Some(bytes) = self.read(path, MOST_TEXT) else { return };
        match Info::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(info) => {
                self.header = info.header.clone();
                self.info = Some(info);
            }
            // A number that is reserved.
            Err(_) if bytes.is_empty() => {}
            // What others keep there says nothing of the dump.
            Err(error @ info::Error::Beginning) => self.notes.push(format!("{}: {error}", path.display())),
            Err(error) => self.problems.push(format!("{}: {error}", path.display())),
        }
    }

    /// Takes the header from the file `path`, if it has the bytes of one: what a server keeps that knows no info files.
    fn read_bare_header(&mut self, path: &Path) {
        let Ok(file) = File::open(path) else { return };
        let mut bytes = Vec::new();
        if file.take(header::SIZE as u64 + 1).read_to_end(&mut bytes).is_err() {
            return;
        }
        // As many bytes as a header has, and not one more.
        if let Ok(bytes) = <&[u8; header::SIZE]>::try_from(bytes.as_slice()) {
            self.header = Header::parse(bytes).ok();
        }
    }

    /// Without its key and its header, only the name of an encrypted dump tells it from what is no dump.
    fn looks_encrypted(&self, path: &Path) -> io::Result<bool> {
        let named = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmcore_encrypted."));
        if !named || self.header.is_some() || self.data.size() < 16 {
            return Ok(false);
        }
        let mut start = [0; 16];
        self.data.read_exact_at(&mut start, 0)?;
        Ok(!memory::is_beginning(&start) && !is_packed([start[0], start[1], start[2], start[3]]))
    }

    fn read_ranges(&mut self, path: &Path) {
        let Some(bytes) = self.read(path, MOST_RANGES) else { return };
        match Ranges::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(there) => self.there = Some(there),
            Err(error) => self.problems.push(format!("{}: {error}", path.display())),
        }
    }

    /// A file may be what was copied of a disk: the header, the key block, the data, and the header once more.
    fn read_header(&mut self) -> io::Result<()> {
        let mut bytes = [0; header::SIZE];
        if self.data.size() < header::SIZE as u64 {
            return Ok(());
        }
        self.data.read_exact_at(&mut bytes, 0)?;
        let header = match Header::parse(&bytes) {
            Ok(header) => header,
            Err(header::Error::Magic) => return Ok(()),
            Err(error) => {
                self.problems.push(format!("{}: {error}", self.path.display()));
                return Ok(());
            }
        };
        let block = u64::from(header.block_size).max(header::SIZE as u64);
        if header.is_encrypted() {
            // No more than a key block has.
            let size = u64::from(header.key_size).min((key::MAX_ENCRYPTED_KEY + 8192) as u64);
            let mut key = vec![0; size as usize];
            match self.data.read_exact_at(&mut key, block).map_err(|error| error.to_string()) {
                Ok(()) => match DumpKey::parse(&key) {
                    Ok(key) => self.key = Some(key),
                    Err(error) => self.problems.push(format!("{}: {error}", self.path.display())),
                },
                Err(error) => self.problems.push(format!("{}: reading the key: {error}", self.path.display())),
            }
        }
        let start = block + u64::from(header.key_size);
        let rest = self.data.size().saturating_sub(start);
        if rest < header.dump_length {
            let there = format!("{} of {} bytes of the dump are there", rest, header.dump_length);
            self.problems.push(format!("{}: {there}", self.path.display()));
        }
        let part = Part::new(self.data.clone(), start, header.dump_length);
        self.data = if header.magic == Magic::Text { Arc::new(Backwards(part)) } else { Arc::new(part) };
        self.header = Some(header);
        Ok(())
    }

    /// The bytes of a file, if it is there.
    fn read(&mut self, path: &Path, most: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > most => {
                self.problems.push(format!("{}: it is too large to be what its name says", path.display()));
                None
            }
            Ok(_) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.problems.push(format!("{}: {error}", path.display()));
                None
            }
        }
    }

    /// Whether the dump is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.key.is_some() || self.named_encrypted || self.header.as_ref().is_some_and(Header::is_encrypted)
    }

    /// What is known of the state of the dump.
    pub fn status(&self) -> Status {
        match (&self.info, &self.header) {
            (Some(info), _) => info.status,
            (None, Some(header)) if !header.parity_ok => Status::Bad,
            _ if self.there.is_some() => Status::Partial,
            _ => Status::Unknown,
        }
    }

    /// What the manifest beside the dump says, if there is one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn manifest(&self) -> io::Result<Option<String>> {
        let Some(names) = &self.names else { return Ok(None) };
        match fs::read_to_string(names.sha256()) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file, read where it is.
pub(crate) struct Plain {
    file: File,
    size: u64,
}

impl Plain {
    pub(crate) fn open(path: &Path) -> io::Result<Plain> {
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // The length in the metadata of a disk's node is 0.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Plain { file, size })
    }
}

impl ReadAt for Plain {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.size
    }
}
