//! Making a pack: a dump is asked, what is read of it is recorded, and that is packed.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use disk::ReadAt;
use symbols::{Image, ObjectFile};
use vmcore::contents::Contents;
use vmcore::header::Compression;
use vmcore::info::{Info, Missing, Status};
use vmcore::memory::{self, Memory};
use vmcore::ranges::Ranges;
use vmcore::{Dump, Header};

use super::tar::{self, Piece};
use super::{DUMP, FORMAT, INFO, MANIFEST, Manifest, PackedDump, PackedFile, RANGES, Role, VERSION, open};
use crate::dump::{Crash, Options};
use crate::error::{Error, Result};
use crate::report::Report;

/// What is kept around a byte that was read, unless the pack is redacted.
const PAGE: u64 = 4096;
/// Bytes that are copied at a time.
const CHUNK: u64 = 1 << 20;
/// How hard Zstandard tries: debug information becomes a fifth.
const LEVEL: i32 = 9;

/// A dump that remembers what was read of it since it was opened.
pub struct Recording {
    crash: Crash,
    recorder: Arc<Recorder>,
    missing: u64,
    asked: Vec<String>,
}

impl Recording {
    /// Opens a dump, as [`Crash::open`] does.
    ///
    /// # Errors
    /// As there, and if it is a pack itself.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        if open::is_pack(path) {
            return Err(Error::absent(format!("{} is a pack already", path.display())));
        }
        let mut contents = Contents::open(path, &options.contents).map_err(vmcore::Error::from)?;
        let data = contents.data.clone();
        let recorder = Arc::new(Recorder { data, on: AtomicBool::new(false), read: Mutex::default() });
        contents.data = recorder.clone();
        let size = recorder.size();
        let missing = contents.there.as_ref().map_or(0, |there| size.saturating_sub(there.covered()));
        // Without a cache, what is asked for is what is read.
        let uncached = memory::Options { cache: 0, there: None };
        let dump = Dump::with(contents, path, &uncached)?;
        // A dump with holes may have been read throughout to find them: what was needed to open it is read again.
        recorder.on.store(true, Ordering::Relaxed);
        let source = |source| vmcore::Error::Memory { path: path.to_owned(), source };
        Memory::open_with(recorder.clone(), &uncached).map_err(source)?;
        let crash = Crash::of(dump, path, options)?;
        // Of the root of page tables all has to be there: it is looked at whether it is.
        if let Some(memory) = crash.dump().map(|dump| &dump.memory)
            && let (memory::Form::Full, Some((_, root))) = (memory.form(), memory.kernel_root())
        {
            let _ = memory.read_physical(root, &mut [0; PAGE as usize]);
        }
        Ok(Self { crash, recorder, missing, asked: Vec::new() })
    }

    /// The dump, to be asked.
    pub fn crash(&self) -> &Crash {
        &self.crash
    }

    /// Says that something was asked for beyond the report, which the manifest is to tell.
    pub fn note(&mut self, what: impl Into<String>) {
        self.asked.push(what.into());
    }

    /// Makes the report, and then packs what was read until now. With `redact`, nothing but the bytes that were read
    /// themselves is packed: not the rest of the pages that they are in.
    ///
    /// # Errors
    /// If a file cannot be read, or `to` not written.
    pub fn pack(&self, redact: bool, to: impl Write) -> Result<Manifest> {
        let report = Report::of(&self.crash);
        let kept = self.recorder.kept(redact);
        let info = self.crash.header().map(|header| info(header, &kept, self.recorder.size()).to_string());
        let ranges = kept.to_string();
        let files = files(self.crash.program().images());
        let manifest = self.manifest(redact, &report, &kept, info.as_deref(), &ranges, &files);
        let time = self.crash.header().map_or(0, |header| header.dump_time);
        let json = serde_json::to_string_pretty(&manifest);
        let json = json.map_err(|error| Error::absent(format!("the pack cannot be written: {error}")))? + "\n";
        let texts = [(MANIFEST, Some(&json)), (INFO, info.as_ref()), (RANGES, Some(&ranges))];
        self.write(texts, &files, &kept, time, to)?;
        Ok(manifest)
    }

    fn manifest(
        &self,
        redacted: bool,
        report: &Report,
        kept: &Ranges,
        info: Option<&str>,
        ranges: &str,
        files: &[(PackedFile, ObjectFile)],
    ) -> Manifest {
        let text = |name: &str, text: &str, role| PackedFile {
            name: name.to_owned(),
            size: text.len() as u64,
            role,
            of: None,
        };
        let size = self.recorder.size();
        let mut all: Vec<PackedFile> = info.map(|info| text(INFO, info, Role::Info)).into_iter().collect();
        all.push(text(RANGES, ranges, Role::Ranges));
        all.extend(files.iter().map(|(file, _)| file.clone()));
        all.push(PackedFile { name: DUMP.to_owned(), size, role: Role::Dump, of: None });
        let version = report.system.version.as_deref().and_then(|version| version.lines().next());
        Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            kernel: version.map(str::to_owned),
            architecture: report.system.architecture.clone(),
            redacted,
            dump: PackedDump { size, kept: kept.covered(), missing: self.missing },
            files: all,
            contains: contains(report, redacted),
            left_out: left_out(redacted),
            asked: self.asked.clone(),
        }
    }

    fn write(
        &self,
        texts: [(&str, Option<&String>); 3],
        files: &[(PackedFile, ObjectFile)],
        kept: &Ranges,
        time: u64,
        to: impl Write,
    ) -> Result<()> {
        let failed = |source: io::Error| Error::absent(format!("the pack cannot be written: {source}"));
        let mut to = zstd::stream::Encoder::new(to, LEVEL).map_err(failed)?;
        to.include_checksum(true).map_err(failed)?;
        for (name, text) in texts {
            let Some(text) = text else { continue };
            let size = text.len() as u64;
            let member = tar::write_header(&mut to, name, size, time).and_then(|()| to.write_all(text.as_bytes()));
            member.and_then(|()| tar::pad(&mut to, size)).map_err(failed)?;
            // What the pack is can be told of its beginning, whatever became of the rest.
            to.flush().map_err(failed)?;
        }
        for (packed, file) in files {
            tar::write_header(&mut to, &packed.name, packed.size, time).map_err(failed)?;
            for at in (0..packed.size).step_by(CHUNK as usize) {
                let bytes = file.read(at, CHUNK.min(packed.size - at))?;
                to.write_all(&bytes).map_err(failed)?;
            }
            tar::pad(&mut to, packed.size).map_err(failed)?;
        }
        let pieces = pieces(kept, self.recorder.size());
        let dump = tar::write_sparse(&mut to, DUMP, self.recorder.size(), &pieces, time);
        dump.and_then(|()| self.write_pieces(&pieces, kept, &mut to)).map_err(failed)?;
        tar::finish(&mut to).and_then(|()| to.finish()?.flush()).map_err(failed)
    }

    /// The bytes of the pieces: those that are kept, and zeros between them.
    fn write_pieces(&self, pieces: &[Piece], kept: &Ranges, to: &mut impl Write) -> io::Result<()> {
        for &(start, length) in pieces {
            for at in (0..length).step_by(CHUNK as usize) {
                let first = start + at;
                let mut bytes = vec![0; CHUNK.min(length - at) as usize];
                for range in kept.within(first..first + bytes.len() as u64) {
                    let place = (range.start - first) as usize..(range.end - first) as usize;
                    if let Some(place) = bytes.get_mut(place) {
                        self.recorder.data.read_exact_at(place, range.start)?;
                    }
                }
                to.write_all(&bytes)?;
            }
            tar::pad(to, length)?;
        }
        Ok(())
    }
}

/// Data of a dump that remember what was read.
struct Recorder {
    data: Arc<dyn ReadAt>,
    on: AtomicBool,
    read: Mutex<Ranges>,
}

impl ReadAt for Recorder {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.data.read_exact_at(buf, offset)?;
        if self.on.load(Ordering::Relaxed) {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(offset..offset.saturating_add(buf.len() as u64));
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.data.size()
    }
}

impl Recorder {
    /// What is packed of the data.
    fn kept(&self, redact: bool) -> Ranges {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if redact {
            return read;
        }
        let mut kept = Ranges::new();
        let mut page = vec![0; PAGE as usize];
        for range in read.iter() {
            kept.insert(range.clone());
            // The pages at its ends: what is between was read whole.
            for at in [range.start / PAGE * PAGE, (range.end - 1) / PAGE * PAGE] {
                let end = (at + PAGE).min(self.size());
                let page = page.get_mut(..(end - at) as usize).unwrap_or_default();
                // A page of which something never arrived is kept as far as it was read.
                if !kept.contains(at..end) && self.data.read_exact_at(page, at).is_ok() {
                    kept.insert(at..end);
                }
            }
        }
        kept
    }
}

/// Whole blocks of an archive that hold what is kept.
fn pieces(kept: &Ranges, size: u64) -> Vec<Piece> {
    const BLOCK: u64 = tar::BLOCK as u64;
    let mut blocks = Ranges::new();
    for range in kept.iter() {
        blocks.insert(range.start / BLOCK * BLOCK..range.end.next_multiple_of(BLOCK).min(size));
    }
    blocks.iter().map(|range| (range.start, range.end - range.start)).collect()
}

/// The header of what is in the pack: neither compressed nor encrypted.
fn info(header: &Header, kept: &Ranges, size: u64) -> Info {
    let mut header = header.clone();
    header.compression = Compression::None;
    header.key_size = 0;
    header.dump_length = size;
    header.dump_extent = size;
    Info {
        source: "a pack".to_owned(),
        header: Some(header),
        encryption: None,
        bounds: 0,
        status: Status::Partial,
        received: Some(kept.covered()),
        missing: Missing::of(kept, size),
    }
}

/// The files of images, under names of which none is there twice.
fn files(images: &[Arc<Image>]) -> Vec<(PackedFile, ObjectFile)> {
    let mut files = Vec::new();
    let mut taken: HashSet<String> = [MANIFEST, INFO, RANGES, DUMP].map(str::to_owned).into();
    for image in images {
        let name = image.name().rsplit('/').next().unwrap_or_default();
        let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-+".contains(*c)).take(80).collect();
        let debug = image.debug_file().map(|file| (file, Role::Debug, format!("{name}.debug")));
        for (file, role, name) in std::iter::once((image.file(), Role::Image, name)).chain(debug) {
            let mut unique = name.clone();
            for number in 1u32.. {
                if !unique.trim_matches('.').is_empty() && taken.insert(unique.clone()) {
                    break;
                }
                unique = format!("{name}-{number}");
            }
            let of = Some(image.name().to_owned());
            files.push((PackedFile { name: unique, size: file.size(), role, of }, file.clone()));
        }
    }
    files
}

fn contains(report: &Report, redacted: bool) -> Vec<String> {
    let mut contains = Vec::new();
    if let Some(host) = &report.system.host {
        contains.push(format!("the name of the host, {host}, the version of its kernel, and when it died"));
    }
    contains.push("the message buffer: what the kernel, and programs on the console, printed".to_owned());
    let threads: usize = report.processes.iter().map(|process| process.threads.len()).sum();
    contains.push(format!(
        "names, numbers and users of {} processes with {threads} threads, and what they wait for",
        report.processes.len()
    ));
    contains.push(
        "the stack of the thread that panicked, with values of arguments, and those of other processors".to_owned(),
    );
    contains.push("the kernel, its modules and their debug files: names of source files with their folders".to_owned());
    if !redacted {
        contains.push(
            "the whole of each page of memory of which something was read: whatever else lies there, which may be parts \
             of files and packets, passwords and keys (--redact leaves it out)"
                .to_owned(),
        );
    }
    contains
}

fn left_out(redacted: bool) -> Vec<String> {
    let mut left_out = vec!["all pages of which nothing was read; the key of an encrypted dump".to_owned()];
    if redacted {
        left_out.push("memory of user programs, and buffers of files, sockets, pipes and devices".to_owned());
        left_out.push(
            "of the pages that were read, all bytes but those that the report, and what was asked for, needed"
                .to_owned(),
        );
    }
    left_out
}
