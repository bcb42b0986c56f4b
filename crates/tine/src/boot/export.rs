//! `tine boot export`: a trace for other tools.

use std::io::{self, Write};
use std::path::PathBuf;

use boottrace::Timeline;
use clap::{Args, ValueEnum};

use super::input::{Boot, Wanted};
use super::picture::{self, Sheet};
use crate::failure::Failure;

/// Write a trace for other tools: folded stacks, Chrome's trace JSON, speedscope, JSON
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The logs of one boot, or the dump of a kernel that kept one; - is standard input
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
        let sheet = match &self.output {
            Some(path) => picture::begin(path, self.force)?,
            None => Sheet::Stdout,
        };
        sheet.write(|out| self.write(&name, &timeline, out))
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
