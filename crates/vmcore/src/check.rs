//! Everything of a saved dump that can be checked.

use std::io::{self, Read};

use crate::contents::{self, Contents, Layer, Options};
use crate::device;
use crate::dump::Dump;
use crate::files::Files;
use crate::header::{Compression, Header, Magic};
use crate::info::{Missing, Status};
use crate::memory::{Form, Memory};
use crate::store;
use crate::textdump;

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is right; what was found.
    Right(String),
    /// It is wrong; what was found.
    Wrong(String),
    /// It could not be checked; why.
    Skipped(String),
}

/// A check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked, in a word or two.
    pub what: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// How far a check is, in bytes of the dump; `None` for a part that is not measured.
pub trait Progress {
    /// `what` is checked from now on, `total` bytes of it.
    fn start(&self, what: &'static str, total: Option<u64>);
    /// So many bytes more were checked.
    fn bytes(&self, count: u64);
}

impl Progress for () {
    fn start(&self, _: &'static str, _: Option<u64>) {}
    fn bytes(&self, _: u64) {}
}

struct Checks<'a> {
    all: Vec<Check>,
    progress: &'a dyn Progress,
}

impl Checks<'_> {
    fn right(&mut self, what: &'static str, found: impl Into<String>) {
        self.all.push(Check { what, outcome: Outcome::Right(found.into()) });
    }

    fn wrong(&mut self, what: &'static str, found: impl Into<String>) {
        self.all.push(Check { what, outcome: Outcome::Wrong(found.into()) });
    }

    fn skipped(&mut self, what: &'static str, why: impl Into<String>) {
        self.all.push(Check { what, outcome: Outcome::Skipped(why.into()) });
    }
}

/// Checks the dump of these files.
pub fn check(files: &Files, options: &Options, progress: &dyn Progress) -> Vec<Check> {
    let mut checks = Checks { all: Vec::new(), progress };
    for problem in &files.problems {
        checks.wrong("files", problem.clone());
    }
    match &files.header {
        Some(header) => check_header(&mut checks, files, header),
        None => checks.skipped("header", "there is none, neither in the file nor in an info file beside it"),
    }
    check_manifest(&mut checks, files);
    check_holes(&mut checks, files);
    let contents = match Contents::of(files, options) {
        Ok(contents) => contents,
        Err(contents::Error::Encrypted { .. }) => {
            checks.skipped("data", "they are encrypted, and no private key was given");
            check_length(&mut checks, files, None);
            return checks.all;
        }
        Err(error) => {
            checks.wrong("data", error.to_string());
            check_length(&mut checks, files, None);
            return checks.all;
        }
    };
    let whole = check_data(&mut checks, files, &contents);
    check_kind(&mut checks, files, &contents, whole);
    checks.all
}

fn check_header(checks: &mut Checks<'_>, files: &Files, header: &Header) {
    if header.parity_ok {
        checks.right("parity", "of the header");
    } else {
        checks.wrong("parity", "the parity of the header is wrong");
    }
    if let Some(info) = &files.info {
        match info.status {
            Status::Good => checks.right("status", "good, says the info file"),
            Status::Unknown => checks.skipped("status", "unknown, says the info file"),
            bad => checks.wrong("status", format!("{bad}, says the info file")),
        }
    }
    if header.block_size.is_power_of_two() && header.block_size >= 512 {
        checks.right("block size", format!("{} bytes", header.block_size));
    } else {
        checks.wrong("block size", format!("{} bytes, which no device has", header.block_size));
    }
    if header.dump_extent < header.dump_length {
        let text = format!("{} bytes were reserved for {}", header.dump_extent, header.dump_length);
        checks.wrong("reserved", text);
    }
    check_last_header(checks, files);
}

/// In a copy of a partition, the other header is in the last block.
fn check_last_header(checks: &mut Checks<'_>, files: &Files) {
    if files.info.is_some() {
        return;
    }
    let Ok(file) = crate::files::Plain::open(&files.path) else { return };
    match device::find(&file) {
        Ok(Some(found)) if found.problems.is_empty() => checks.right("last header", "the same as the first"),
        Ok(Some(found)) => checks.wrong("last header", found.problems.join("; ")),
        Ok(None) => checks.skipped("last header", "the file does not end with one"),
        Err(error) => checks.wrong("last header", error.to_string()),
    }
}

/// The file has as many bytes as the header says, or as the dump itself does: a kernel that was changing its pages
/// when it wrote them is right then, and the header is not. What savecore(8) or tine compressed is not counted.
fn check_length(checks: &mut Checks<'_>, files: &Files, memory: Option<&Memory>) {
    let Some(header) = &files.header else { return };
    let stored = files.data.size();
    let told = header.dump_length;
    let mut magic = [0; 4];
    let packed = files.data.read_exact_at(&mut magic, 0).is_ok() && contents::is_packed(magic);
    if packed && (header.compression == Compression::None || files.is_encrypted()) {
        return;
    }
    let end = memory.filter(|_| header.compression == Compression::None).map(Memory::end);
    if stored == told {
        checks.right("length", format!("{stored} bytes, as the header says"));
    } else if end == Some(stored) {
        checks.right("length", format!("{stored} bytes, as its pages need; the header announced {told}"));
    } else if stored > told || files.there.is_none() {
        checks.wrong("length", format!("the file has {stored} bytes of data, and the header says {told}"));
    }
}

fn check_manifest(checks: &mut Checks<'_>, files: &Files) {
    let manifest = match files.manifest() {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return checks.skipped("sha256", "there is no manifest beside the file"),
        Err(error) => return checks.wrong("sha256", error.to_string()),
    };
    checks.progress.start("checksum", None);
    let path = files.path.canonicalize().unwrap_or_else(|_| files.path.clone());
    match store::verify(&path, &manifest) {
        Ok(Some(true)) => checks.right("sha256", "as in the manifest"),
        Ok(Some(false)) => checks.wrong("sha256", "the file is not the one of the manifest"),
        Ok(None) => checks.skipped("sha256", "the manifest does not have this file"),
        Err(error) => checks.wrong("sha256", error.to_string()),
    }
}

fn check_holes(checks: &mut Checks<'_>, files: &Files) {
    let Some(there) = &files.there else { return };
    let length = files.header.as_ref().map_or(there.end(), |header| header.end(there.end()));
    let missing = Missing::of(there, length);
    match missing.first.first() {
        None => checks.right("holes", "none"),
        Some(first) => {
            let text = format!(
                "{} of {length} bytes are missing, in {} ranges; the first is {} to {}",
                missing.bytes, missing.count, first.start, first.end
            );
            checks.wrong("holes", text);
        }
    }
}

/// Reads everything once; whether it was there.
fn check_data(checks: &mut Checks<'_>, files: &Files, contents: &Contents) -> bool {
    let what = if contents.layers.iter().any(|layer| *layer != Layer::Encrypted) { "decompression" } else { "data" };
    let total = if what == "data" { Some(contents.data.size()) } else { None };
    checks.progress.start(what, total);
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    let result = contents.stream().and_then(|mut stream| {
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    size += count as u64;
                    checks.progress.bytes(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    match result {
        Ok(()) => checks.right(what, format!("{size} bytes")),
        // The holes were told.
        Err(error) if contents::missing(&error).is_some() && what == "data" => return false,
        Err(error) => {
            checks.wrong(what, format!("after {size} bytes: {error}"));
            return false;
        }
    }
    let told = files.header.as_ref().map_or(Compression::None, |header| header.compression);
    let packed = contents.layers.iter().any(|layer| *layer != Layer::Encrypted);
    if told != Compression::None && !packed && files.header.is_some() {
        checks.wrong("compression", format!("the header says {told}, and the data are not compressed"));
    }
    true
}

fn check_kind(checks: &mut Checks<'_>, files: &Files, contents: &Contents, whole: bool) {
    let text = files.header.as_ref().is_some_and(|header| header.magic == Magic::Text);
    if text || textdump::is_archive(&*contents.data) {
        check_length(checks, files, None);
        return match textdump::list(&*contents.data) {
            Ok(members) => checks.right("text dump", format!("{} members", members.len())),
            Err(error) => checks.wrong("text dump", error.to_string()),
        };
    }
    let memory = match Dump::of(contents.clone(), &files.path) {
        Ok(dump) => dump.memory,
        Err(error) => {
            check_length(checks, files, None);
            return checks.wrong("memory", error.to_string());
        }
    };
    check_length(checks, files, Some(&memory));
    let architecture = memory.architecture();
    checks.right(
        "memory",
        match memory.form() {
            Form::Minidump { version } => format!("minidump of {architecture}, version {version}"),
            Form::Full => format!("full dump of {architecture}"),
            Form::Core => format!("ELF core of {architecture}"),
        },
    );
    checks.progress.start("page tables", None);
    match memory.statistics() {
        Ok(found) => {
            match found.missing_tables {
                0 => checks.right("page tables", format!("{} of {} pages are mapped", found.mapped, found.present)),
                count => checks.wrong("page tables", format!("{count} of the kernel's page tables are missing")),
            }
            match found.lost {
                0 => checks.right("page map", format!("{} pages", found.present)),
                lost => checks.wrong("page map", format!("{lost} of {} pages are not there", found.present + lost)),
            }
        }
        Err(error) if whole => checks.wrong("page tables", error.to_string()),
        Err(error) => checks.skipped("page tables", error.to_string()),
    }
}
