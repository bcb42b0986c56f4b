//! `tine dump convert`: a dump in another form.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vmcore::Dump;
use vmcore::contents::{self, Contents};
use vmcore::convert::{self, CoreOptions, Flavour, SparseFile, Thread};
use vmcore::frames;
use vmcore::store::write_sparse;

use super::progress::Bar;
use super::reading::Reading;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output::{self, Verbosity};

const CHUNK: usize = 1 << 20;

/// The level of Zstandard that is fast, and that kernels use.
const LEVEL: i32 = 3;

/// Convert a kernel dump: to an ELF core for debuggers, to raw memory, or decrypted, decompressed or compressed
///
/// The result is sparse: pages of zeros take no space. An ELF core has no memory that the dump does not have; of an amd64
/// kernel it has the registers of the processors, as far as they are found in the dump without symbols.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The form
    #[arg(long, value_name = "FORM")]
    to: Form,
    /// The dump
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to be written
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Compress the result; only with --to vmcore
    #[arg(short = 'z', long, value_name = "HOW")]
    compress: Option<Compress>,
    /// The debugger that an ELF core is for
    #[arg(long = "for", value_name = "DEBUGGER", default_value = "gdb")]
    debugger: Debugger,
    /// Replace OUT if it exists, and write zeros for bytes of the dump that never arrived
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// An ELF core of the kernel's virtual and physical memory, for gdb, lldb and readelf
    Elf,
    /// Physical memory, each byte at its own address
    Raw,
    /// The dump as the kernel writes it, neither encrypted nor compressed
    Vmcore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Debugger {
    /// Any gdb: the notes are those of Linux
    Gdb,
    /// lldb, or a gdb that knows FreeBSD: the notes are those of FreeBSD
    Lldb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compress {
    /// With Zstandard, in frames: tine and others read any place of such a file without unpacking the rest
    Zstd,
    /// With gzip
    Gzip,
}

impl Convert {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.compress.is_some() && self.to != Form::Vmcore {
            return Err(Failure::Usage("only a vmcore is compressed: --compress goes with --to vmcore".to_owned()));
        }
        let destination = Destination::new(&self.output, self.force)?;
        let files = self.reading.files(&self.input)?;
        let contents = self.reading.contents(&files)?;
        let unfinished = destination.begin()?;
        let bar = Bar::new(self.verbosity.quiet);
        let file = unfinished.file().map_err(|error| self.failed(&error))?;
        match self.to {
            Form::Vmcore => self.vmcore(&contents, file, &bar)?,
            Form::Elf | Form::Raw => self.memory(contents, file, &bar)?,
        }
        bar.clear();
        unfinished.finish()
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::work(format_args!("cannot convert {}", self.input.display()), error)
    }

    fn memory(&self, contents: Contents, file: File, bar: &Bar) -> Result<(), Failure> {
        bar.start("converting", None);
        let memory = Dump::of(contents, &self.input).map_err(|error| Failure::Work(error.to_string()))?.memory;
        let mut out = SparseFile::new(file);
        let mut warnings = Vec::new();
        if self.to == Form::Raw {
            let had = convert::raw(&memory, &mut out).map_err(|error| self.failed(&error))?;
            let said = memory.physical_ranges().map(|range| range.length).sum::<u64>();
            if had < said {
                warnings.push(format!("{} bytes never arrived, and are zeros", said - had));
            }
        } else {
            let flavour = match self.debugger {
                Debugger::Gdb => Flavour::Linux,
                Debugger::Lldb => Flavour::FreeBsd,
            };
            let registers = convert::find_registers(&memory).into_iter().zip(1..);
            let threads = registers.map(|(registers, id)| Thread { id, registers }).collect();
            let options = CoreOptions { flavour, threads };
            let summary = convert::core(&memory, &options, &mut out).map_err(|error| self.failed(&error))?;
            if summary.missing_tables > 0 {
                let text = "page tables are missing, and what they mapped is not in the core";
                warnings.push(format!("{} {text}", summary.missing_tables));
            }
        }
        output::warnings("tine", &warnings, self.verbosity);
        out.finish().map(drop).map_err(|error| self.failed(&error))
    }

    fn vmcore(&self, contents: &Contents, file: File, bar: &Bar) -> Result<(), Failure> {
        bar.start("converting", Some(contents.data.size()).filter(|_| contents.is_in_place()));
        let failed = |error: io::Error| self.failed(&error);
        match self.compress {
            None => {
                let size = self.copy(contents, bar, |bytes, at| write_sparse(&file, bytes, at))?;
                file.set_len(size).map_err(failed)
            }
            Some(Compress::Gzip) => {
                let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::default());
                self.copy(contents, bar, |bytes, _| out.write_all(bytes))?;
                out.finish().map(drop).map_err(failed)
            }
            Some(Compress::Zstd) => {
                let mut out = frames::Writer::new(file, LEVEL);
                let size = self.copy(contents, bar, |bytes, at| out.write_at(bytes, at))?;
                let never = || Err(io::Error::other("the frames are not in order"));
                out.finish(size, never).map(drop).map_err(failed)
            }
        }
    }

    /// Gives all bytes to `write`, in order.
    fn copy(
        &self,
        contents: &Contents,
        bar: &Bar,
        mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<u64, Failure> {
        let failed = |error: io::Error| self.failed(&error);
        let mut stream = contents.stream().map_err(failed)?;
        let mut buffer = vec![0; CHUNK];
        let (mut at, mut lost) = (0, 0);
        loop {
            let count = match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => match contents::missing(&error) {
                    Some(_) if self.force && contents.is_in_place() => {
                        let gap = contents.gap(at);
                        if gap.is_empty() {
                            return Err(failed(error));
                        }
                        lost += gap.end - gap.start;
                        at = gap.end;
                        stream = contents.stream_from(at);
                        continue;
                    }
                    Some(_) => {
                        let way =
                            if contents.is_in_place() { "; --force writes zeros for what is missing" } else { "" };
                        return Err(self.failed(&format_args!("{error}{way}")));
                    }
                    None => return Err(failed(error)),
                },
            };
            write(buffer.get(..count).unwrap_or_default(), at).map_err(failed)?;
            at += count as u64;
            bar.bytes(count as u64);
        }
        if lost > 0 {
            output::warn("tine", &[format!("{lost} bytes never arrived, and are zeros in {}", self.output.display())]);
        }
        Ok(at)
    }
}
