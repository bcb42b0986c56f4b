//! Storing a dump: bytes that come in any order become a file, with the others that tell of it.
//!
//! The data are written as `vmcore.N.partial`, so that what a host that dies leaves behind says what it is; they get
//! their real name when all is on the disk. Pages of zeros take no space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::frames;
use crate::header::{Compression, Header};
use crate::info::{Info, Missing, Status};
use crate::key::DumpKey;
use crate::memory::is_zero;
use crate::names::{Kind, Names, State, create_new, replace};
use crate::ranges::Ranges;

/// Writes that follow each other are collected up to this many bytes.
const BUFFER: usize = 256 << 10;

/// What is looked at for zeros: a page, and a block of most file systems.
const PAGE: usize = 4096;

/// How much can be behind the end of a dump: less than a block of any device.
const MOST_CUT: u64 = 1 << 20;

/// How to store a dump.
#[derive(Clone, Debug)]
pub struct Options {
    /// Compress with this level of Zstandard, into a file that can be read at any place.
    pub compress: Option<i32>,
    /// No byte may be at this offset or behind.
    pub max_size: u64,
    /// Calculate the checksum of bytes that come in order while they are written, and not only at the end.
    pub hash_early: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { compress: None, max_size: u64::MAX, hash_early: true }
    }
}

/// A dump that is being stored.
pub struct Writer {
    names: Names,
    options: Options,
    temporary: PathBuf,
    data: Data,
    there: Ranges,
    /// Bytes that are not written yet, and where they go.
    buffer: Vec<u8>,
    buffer_at: u64,
    hash: Sha256,
    /// So much of the beginning is in `hash`.
    hashed: u64,
}

enum Data {
    Plain(File),
    Compressed(frames::Writer),
}

/// What a dump turned out to be, once no more of it comes.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it came from: a device, or a host and its address.
    pub source: String,
    /// Its header, if it came.
    pub header: Option<Header>,
    /// What is wrong with it, apart from what is missing: [`Status::Good`] if nothing is.
    pub status: Status,
    /// The key block of an encrypted dump.
    pub key: Option<Vec<u8>>,
    /// Which name the data get.
    pub kind: Kind,
    /// The name of encrypted data, too, ends as the compression has it: netdumpd(8) does that, savecore(8) does not.
    pub suffix_encrypted: bool,
    /// The sender said that this was all.
    pub finished: bool,
}

/// A dump that was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its files.
    pub names: Names,
    /// The file with the data.
    pub data: PathBuf,
    /// How much of it there is.
    pub state: State,
    /// What the info file says.
    pub info: Info,
    /// The SHA-256 checksum of the file with the data.
    pub sha256: [u8; 32],
    /// The size of that file in bytes.
    pub size: u64,
}

impl Writer {
    /// Begins to store a dump under names that were [reserved](Names::reserve).
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(names: Names, options: Options) -> io::Result<Writer> {
        let temporary = names.data(Kind::Core, "", State::Partial);
        let file = create_new(&temporary)?;
        let data = match options.compress {
            Some(level) => Data::Compressed(frames::Writer::new(file, level)),
            None => Data::Plain(file),
        };
        Ok(Writer {
            names,
            options,
            temporary,
            data,
            there: Ranges::new(),
            buffer: Vec::new(),
            buffer_at: 0,
            hash: Sha256::new(),
            hashed: 0,
        })
    }

    /// Goes on with a dump of which the bytes of `there` were stored, and that was left as it was. One that is
    /// compressed cannot go on: `options` must not ask for that.
    ///
    /// # Errors
    /// If its file cannot be opened.
    pub fn resume(names: Names, options: Options, there: Ranges) -> io::Result<Writer> {
        let temporary = names.data(Kind::Core, "", State::Partial);
        let file = OpenOptions::new().read(true).write(true).open(&temporary)?;
        Ok(Writer {
            names,
            options: Options { compress: None, ..options },
            temporary,
            data: Data::Plain(file),
            there,
            buffer: Vec::new(),
            buffer_at: 0,
            hash: Sha256::new(),
            hashed: 0,
        })
    }

    /// Its names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Which bytes are there.
    pub fn there(&self) -> &Ranges {
        &self.there
    }

    /// Stores `bytes` for `offset`, and returns how many of them are new. Those that are there already stay as they
    /// are. An error can be that of an earlier write.
    ///
    /// # Errors
    /// If they cannot be written, or are behind the largest offset that is allowed.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<u64> {
        let end = offset.checked_add(bytes.len() as u64).filter(|&end| end <= self.options.max_size);
        let Some(end) = end else {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the dump is larger than it may be"));
        };
        if self.there.contains(offset..end) {
            return Ok(0);
        }
        let gaps: Vec<_> = self.there.missing(offset..end).collect();
        let mut new = 0;
        for gap in gaps {
            let slots = (gap.start - offset) as usize..(gap.end - offset) as usize;
            self.buffered(bytes.get(slots).unwrap_or_default(), gap.start)?;
            new += self.there.insert(gap);
        }
        Ok(new)
    }

    fn buffered(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.buffer_at + self.buffer.len() as u64 != offset || self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
            self.buffer_at = offset;
        }
        if self.buffer.is_empty() && bytes.len() >= BUFFER {
            return self.put(bytes, offset);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let done = self.put(&buffer, self.buffer_at);
        self.buffer = buffer;
        self.buffer.clear();
        done
    }

    fn put(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &mut self.data {
            Data::Compressed(frames) => frames.write_at(bytes, offset),
            Data::Plain(file) => {
                if self.options.hash_early && offset == self.hashed {
                    self.hash.update(bytes);
                    self.hashed += bytes.len() as u64;
                }
                write_sparse(file, bytes, offset)
            }
        }
    }

    /// How many bytes the file takes, at most.
    pub fn stored(&self) -> u64 {
        match &self.data {
            Data::Plain(_) => self.there.covered(),
            Data::Compressed(frames) => frames.stored() + self.buffer.len() as u64,
        }
    }

    /// Writes down which bytes are there, so that they are of use if nothing more can be written down.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        self.flush()?;
        replace(&self.names.ranges(), self.there.to_string().as_bytes())
    }

    /// Gives up: nothing is left.
    ///
    /// # Errors
    /// If the files cannot be removed.
    pub fn discard(self) -> io::Result<()> {
        for path in [&self.temporary, &self.names.info(), &self.names.ranges()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Finishes: all files are written and flushed to the disk, and then the data get their name. Bytes behind the
    /// [end](Header::end) that the header tells are cut off.
    ///
    /// # Errors
    /// If something cannot be written. The data stay, under the name of a dump that was never finished.
    pub fn finish(mut self, outcome: Outcome) -> io::Result<Stored> {
        self.flush()?;
        let Outcome { source, header, status, key, kind, suffix_encrypted, finished } = outcome;
        let length = header.as_ref().map_or(self.there.end(), |header| length(header, self.there.end()));
        self.there.truncate(length);
        let missing = Missing::of(&self.there, length);
        let told = header.as_ref().map_or(length, |header| header.dump_length);
        let state = match () {
            () if !finished || header.is_none() => State::Partial,
            () if missing.bytes > 0 => State::Incomplete,
            () => State::Whole,
        };
        let compression = header.as_ref().map_or(Compression::None, |header| header.compression);
        // The bytes that are missing at the end are no part of the file.
        let end = self.there.end();
        let (file, temporary, suffix) = match self.data {
            Data::Plain(file) => {
                file.set_len(end)?;
                let named = key.is_none() || suffix_encrypted;
                (file, self.temporary, if named { compression.suffix() } else { "" })
            }
            Data::Compressed(frames) => {
                let mut second = self.temporary.clone().into_os_string();
                second.push(".new");
                let second = PathBuf::from(second);
                let mut used = false;
                let file = frames.finish(end, || {
                    used = true;
                    create_new(&second)
                })?;
                if used {
                    fs::rename(&second, &self.temporary)?;
                }
                self.hashed = u64::MAX;
                (file, self.temporary, Compression::Zstd.suffix())
            }
        };
        let size = file.metadata()?.len();
        if self.hashed > size {
            (self.hash, self.hashed) = (Sha256::new(), 0);
        }
        let sha256 = hash_rest(&file, self.hash, self.hashed)?;
        let data = self.names.data(kind, suffix, state);
        if let Some(key) = &key {
            replace(&self.names.key(), key)?;
        }
        let ranges = self.names.ranges();
        match state {
            State::Whole => match fs::remove_file(&ranges) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            State::Incomplete | State::Partial => replace(&ranges, self.there.to_string().as_bytes())?,
        }
        let encrypted = key.is_some();
        let info = Info {
            source,
            header,
            encryption: key.and_then(|key| DumpKey::parse(&key).ok()).map(|key| key.cipher),
            bounds: self.names.number(),
            status: match state {
                State::Whole => status,
                State::Incomplete => Status::Incomplete,
                State::Partial => Status::Partial,
            },
            received: (state != State::Whole || self.there.end() != told).then_some(self.there.covered()),
            missing,
        };
        replace(&self.names.info(), info.to_string().as_bytes())?;
        replace(&self.names.sha256(), manifest(&data, &sha256).as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &data)?;
        sync_directory(self.names.directory())?;
        for (link, to) in self.names.last(kind, &data, encrypted) {
            // They are a convenience, and not all file systems have them.
            let _ = fs::remove_file(&link);
            let _ = std::os::unix::fs::symlink(to, link);
        }
        Ok(Stored { names: self.names, data, state, info, sha256, size })
    }
}

/// Where a dump ends of which `end` bytes came. The padding of a kernel is less than a block; a header that says
/// otherwise, or has the wrong parity, takes nothing away.
fn length(header: &Header, end: u64) -> u64 {
    let told = header.end(end);
    if !header.parity_ok || end.saturating_sub(told) > MOST_CUT { end } else { told }
}

/// Writes `bytes` at `offset` of a file in which there is nothing yet, without pages that are all zeros.
pub fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    // Pages of the file, not of these bytes.
    let lead = (offset.next_multiple_of(PAGE as u64) - offset) as usize;
    let (first, rest) = bytes.split_at(bytes.len().min(lead));
    let mut run: Option<(usize, usize)> = None;
    let mut at = 0;
    for page in std::iter::once(first).chain(rest.chunks(PAGE)) {
        let end = at + page.len();
        if is_zero(page) {
            write_run(file, bytes, offset, run.take())?;
        } else {
            run = Some((run.map_or(at, |(start, _)| start), end));
        }
        at = end;
    }
    write_run(file, bytes, offset, run)
}

fn write_run(file: &File, bytes: &[u8], offset: u64, run: Option<(usize, usize)>) -> io::Result<()> {
    match run.and_then(|(start, end)| Some((start, bytes.get(start..end)?))) {
        Some((start, run)) => file.write_all_at(run, offset + start as u64),
        None => Ok(()),
    }
}

/// The line of a manifest, as sha256(1) writes it.
pub fn manifest(path: &Path, sha256: &[u8; 32]) -> String {
    let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("SHA256 ({}) = {hex}\n", path.file_name().unwrap_or_default().display())
}

/// Whether the file `path` has the checksum that the manifest `text` tells for it; none if it tells none.
///
/// # Errors
/// If the file cannot be read.
pub fn verify(path: &Path, text: &str) -> io::Result<Option<bool>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let told = text.lines().find_map(|line| {
        line.strip_prefix("SHA256 (")?.strip_prefix(name.as_ref())?.strip_prefix(") = ").map(str::trim)
    });
    let Some(told) = told else { return Ok(None) };
    let sha256 = hash_rest(&File::open(path)?, Sha256::new(), 0)?;
    let line = manifest(path, &sha256);
    Ok(Some(line.trim_end().ends_with(&told.to_ascii_lowercase()) && told.len() == 64))
}

/// Adds the bytes of `file` from `offset` on.
fn hash_rest(mut file: &File, mut hash: Sha256, offset: u64) -> io::Result<[u8; 32]> {
    file.seek(io::SeekFrom::Start(offset))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(count) => hash.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::header;

    fn outcome(length: u64) -> Outcome {
        let compression = Compression::None;
        let header = Header { dump_length: length, dump_extent: length, compression, ..header() };
        let (header, status) = (Some(header), Status::Good);
        let (kind, suffix_encrypted) = (Kind::Core, true);
        Outcome { source: "box".into(), header, status, key: None, kind, suffix_encrypted, finished: true }
    }

    fn contents(size: usize) -> Vec<u8> {
        // Runs of zeros, and of what does not look alike.
        (0..size).map(|at| if at / 10_000 % 3 == 1 { 0 } else { (at * 7 + at / 251) as u8 }).collect()
    }

    fn stored(options: Options, order: impl Iterator<Item = usize>, size: usize, length: u64) -> (Stored, Vec<String>) {
        let directory = tempfile::tempdir().unwrap().keep();
        let names = Names::reserve(&directory, Some("box")).unwrap();
        let mut writer = Writer::create(names, options).unwrap();
        let all = contents(size);
        for packet in order {
            let start = (packet * 1448).min(size);
            let end = (start + 1448).min(size);
            writer.write_at(&all[start..end], start as u64).unwrap();
        }
        let stored = writer.finish(outcome(length)).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        (stored, names)
    }

    #[test]
    fn packets_in_any_order_make_a_whole_dump() {
        let size = 3_000_000;
        for compress in [None, Some(1)] {
            for order in [(0..2072).collect::<Vec<_>>(), (0..2072).rev().chain(0..2072).collect()] {
                let options = Options { compress, ..Options::default() };
                let (stored, names) = stored(options, order.into_iter(), size, size as u64);
                let bytes = fs::read(&stored.data).unwrap();
                let end = if compress.is_some() { ".zst" } else { "" };
                assert_eq!(
                    names,
                    [
                        "SHA256.box.0",
                        "bounds.box",
                        "info.box.0",
                        "info.box.last",
                        &format!("vmcore.box.0{end}"),
                        "vmcore.box.last"
                    ]
                );
                assert_eq!(stored.state, State::Whole);
                assert_eq!(stored.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
                let manifest = fs::read_to_string(stored.names.sha256()).unwrap();
                assert_eq!(verify(&stored.data, &manifest).unwrap(), Some(true));
                let plain = if compress.is_some() { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
                assert!(plain == contents(size));
                assert_eq!(Info::parse(&fs::read_to_string(stored.names.info()).unwrap()).unwrap(), {
                    let mut info = stored.info.clone();
                    info.header.as_mut().unwrap().parity_ok = true;
                    info
                });
                fs::remove_dir_all(stored.names.directory()).unwrap();
            }
        }
    }

    #[test]
    fn a_dump_with_holes_is_named_so_and_says_where_they_are() {
        let size = 1_448_000;
        let packets = (0..1000).filter(|packet| !(100..110).contains(packet));
        let (stored, names) = stored(Options::default(), packets, size, size as u64 + 5000);
        assert_eq!(stored.state, State::Incomplete);
        assert!(names.contains(&"vmcore.box.0.incomplete".to_owned()) && names.contains(&"ranges.box.0".to_owned()));
        let there = Ranges::parse(&fs::read_to_string(stored.names.ranges()).unwrap()).unwrap();
        assert_eq!(there.iter().collect::<Vec<_>>(), [0..144_800, 159_280..1_448_000]);
        let info = Info::parse(&fs::read_to_string(stored.names.info()).unwrap()).unwrap();
        assert_eq!((info.status, info.missing.bytes, info.missing.count), (Status::Incomplete, 19_480, 2));
        fs::remove_dir_all(stored.names.directory()).unwrap();
    }

    fn stored_with(options: Options, size: usize, header: Header) -> Stored {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(Names::reserve(&directory.keep(), None).unwrap(), options).unwrap();
        writer.write_at(&contents(size), 0).unwrap();
        writer.finish(Outcome { header: Some(header), ..outcome(0) }).unwrap()
    }

    #[test]
    fn what_a_kernel_padded_is_cut_off() {
        for compress in [None, Some(3)] {
            let options = Options { compress, ..Options::default() };
            let header = Header { dump_length: 1_999_000, compression: Compression::Gzip, ..header() };
            let stored = stored_with(options, 2_000_000, header);
            assert_eq!((stored.state, stored.info.received), (State::Whole, None));
            let bytes = fs::read(&stored.data).unwrap();
            let plain = if compress.is_some() { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
            assert!(plain == contents(2_000_000)[..1_999_000]);
            fs::remove_dir_all(stored.names.directory()).unwrap();
        }
    }

    #[test]
    fn pages_that_a_kernel_added_are_kept() {
        let header = Header { dump_length: 1_500_000, compression: Compression::None, ..header() };
        let stored = stored_with(Options::default(), 2_000_000, header);
        assert_eq!((stored.state, stored.size), (State::Whole, 2_000_000));
        assert_eq!((stored.info.status, stored.info.received), (Status::Good, Some(2_000_000)));
        fs::remove_dir_all(stored.names.directory()).unwrap();
    }

    #[test]
    fn encrypted_data_are_named_as_savecore_and_netdumpd_do() {
        for (host, suffix_encrypted, name, link) in [
            (None, false, "vmcore_encrypted.0", "vmcore_encrypted.last"),
            (Some("box"), true, "vmcore_encrypted.box.0.zst", "vmcore.box.last"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let names = Names::reserve(directory.path(), host).unwrap();
            let mut writer = Writer::create(names, Options::default()).unwrap();
            writer.write_at(&[7; 4096], 0).unwrap();
            let header = Header { dump_length: 4096, compression: Compression::Zstd, key_size: 512, ..header() };
            let (kind, key) = (Kind::Encrypted, Some(vec![1; 512]));
            let outcome = Outcome { header: Some(header), key, kind, suffix_encrypted, ..outcome(0) };
            let stored = writer.finish(outcome).unwrap();
            assert_eq!(stored.data, directory.path().join(name));
            let to = fs::read_link(directory.path().join(link)).unwrap();
            assert_eq!(to, Path::new(name));
        }
    }

    #[test]
    fn zeros_take_no_space() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(Names::reserve(directory.path(), None).unwrap(), Options::default()).unwrap();
        for packet in 0..10_000u64 {
            let byte = u8::from(packet == 5000);
            writer.write_at(&[byte; 1448], packet * 1448).unwrap();
        }
        let stored = writer.finish(outcome(14_480_000)).unwrap();
        assert_eq!(stored.size, 14_480_000);
        assert!(fs::metadata(&stored.data).unwrap().blocks() * 512 < 100_000);
    }

    #[test]
    fn a_dump_that_was_not_finished_is_partial_and_one_that_was_given_up_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let begin = || {
            let names = Names::reserve(directory.path(), None).unwrap();
            Writer::create(names, Options { max_size: 1 << 20, ..Options::default() }).unwrap()
        };
        let mut writer = begin();
        writer.write_at(&[1; 100], 50).unwrap();
        assert!(writer.write_at(&[1; 100], 1 << 20).is_err());
        assert!(writer.write_at(&[1; 100], u64::MAX - 50).is_err());
        writer.checkpoint().unwrap();
        assert!(fs::read_to_string(directory.path().join("ranges.0")).unwrap().ends_with("\n50 150\n"));
        let stored = writer.finish(Outcome { header: None, finished: false, ..outcome(0) }).unwrap();
        assert_eq!(stored.data, directory.path().join("vmcore.0.partial"));
        assert_eq!(stored.info.received, Some(100));

        let mut writer = begin();
        writer.write_at(&[1; 100], 50).unwrap();
        writer.discard().unwrap();
        assert!(!directory.path().join("info.1").exists() && !directory.path().join("vmcore.1.partial").exists());
    }
}
