//! A trace in a kernel dump: what the kernel kept of its own boot in memory (TSLOG).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::vmcore::files::Files;
use boottrace::Log;
use crash::{Crash, tslog};

use crate::failure::Failure;
use crate::output::{self, Verbosity};

/// How dumps begin: minidumps, full ones and cores, copies of partitions, and what is compressed with gzip or Zstandard.
const BEGINNINGS: [&[u8]; 6] = [
    b"minidump FreeBSD/",
    b"\x7fELF",
    b"FreeBSD Kernel Dump",
    b"FreeBSD Text Dump",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
];

/// Whether the file is a kernel dump, and no log: by how it begins, or by the key beside it.
pub(super) fn is_dump(file: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(file).and_then(|file| file.take(32).read_to_end(&mut beginning));
    read.is_ok() && (begins_dump(&beginning) || Files::find(file).is_ok_and(|files| files.is_encrypted()))
}

/// Whether bytes are the beginning of a dump.
pub(super) fn begins_dump(bytes: &[u8]) -> bool {
    BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning))
}

/// The trace in the dump `file`.
pub(super) fn trace(file: &Path, options: &crash::Options, verbosity: Verbosity) -> Result<Log, Failure> {
    let of_file = |error| Failure::work(file.display(), error);
    let crash = Crash::open(file, options)?;
    let trace = tslog::text(&crash).map_err(of_file)?;
    let told = crash.notes().iter().chain(&trace.problems).map(|note| format!("{}: {note}", file.display()));
    output::warnings("tine", &told.collect::<Vec<_>>(), verbosity);
    let mut log = Log::default();
    for text in [Some(&trace.kernel), trace.user.as_ref()].into_iter().flatten() {
        // It is one boot's, whatever its clock did.
        boottrace::read(text).into_iter().for_each(|part| log.absorb(part));
    }
    if let Some(hertz) = trace.frequency {
        log.set_frequency(hertz, "the kernel's memory");
    }
    log.set_lost(trace.lost);
    Ok(log)
}
