//! `tine dump convert`: a dump in another form.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use disk::ReadAt;
use vmcore::contents::{self, Contents};
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

/// Convert a kernel dump: decrypt it, decompress it, compress it
///
/// The result is sparse: pages of zeros take no space.
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
    /// Compress the result
    #[arg(short = 'z', long, value_name = "HOW")]
    compress: Option<Compress>,
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
    /// The dump as the kernel writes it, neither encrypted nor compressed
    Vmcore,
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
        let destination = Destination::new(&self.output, self.force)?;
        let files = self.reading.files(&self.input)?;
        let contents = self.reading.contents(&files)?;
        let unfinished = destination.begin()?;
        let bar = Bar::new(self.verbosity.quiet);
        let file = unfinished.file().map_err(|error| self.failed(&error))?;
        match self.to {
            Form::Vmcore => self.vmcore(&contents, file, &bar)?,
        }
        bar.clear();
        unfinished.finish()
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::work(format_args!("cannot convert {}", self.input.display()), error)
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
