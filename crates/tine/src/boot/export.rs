//! `tine boot export`: a trace for other tools.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use boottrace::Timeline;
use clap::{Args, ValueEnum};

use super::input::{Boot, Wanted};
use crate::destination::Destination;
use crate::failure::Failure;

/// Write a trace for other tools: folded stacks, Chrome's trace JSON, speedscope, JSON
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The logs of one boot; - is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// What to write
    #[arg(long, value_name = "FORMAT", default_value = "folded", help_heading = "Output")]
    format: Format,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(short, long, help_heading = "Output")]
    force: bool,
    /// Which boot, where the logs have several
    #[arg(long, value_name = "N", help_heading = "Input")]
    boot: Option<usize>,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Lines of frame;frame;frame count, in ticks of debug.tslog or microseconds of BootTrace
    Folded,
    /// Trace JSON of Chrome, for Perfetto
    Chrome,
    /// For speedscope
    Speedscope,
    /// Everything that was read
    Json,
}

impl Export {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Boot { name, timeline } = self.wanted.boot(&self.logs, self.boot)?;
        let Some(path) = self.output.as_ref().filter(|path| path.as_os_str() != "-") else {
            let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
            let written = self.write(&name, &timeline, &mut out).and_then(|()| out.flush());
            return match written {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Failure::work("cannot write to standard output", error))
                }
                _ => Ok(()),
            };
        };
        let unfinished = Destination::new(path, self.force)?.begin()?;
        let file = unfinished.file().map_err(|error| Failure::work(path.display(), error))?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        let written = self.write(&name, &timeline, &mut out).and_then(|()| out.flush());
        written.map_err(|error| Failure::work(format_args!("cannot write {}", path.display()), error))?;
        unfinished.finish()
    }

    fn write(&self, name: &str, timeline: &Timeline, out: &mut dyn Write) -> io::Result<()> {
        match self.format {
            Format::Folded => timeline.write_folded(out),
            Format::Chrome => timeline.write_chrome(out),
            Format::Speedscope => timeline.write_speedscope(name, out),
            Format::Json => timeline.write_json(out),
        }
    }
}
