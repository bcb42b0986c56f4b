//! The file that a picture is written to: SVG or HTML, by its name.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;

use crate::destination::{Destination, Unfinished};
use crate::failure::Failure;

/// Where a picture goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Picture {
    /// The file to write: .svg, or .html for a page with tables and notes; - is standard output, as SVG
    #[arg(short, long, value_name = "FILE", value_parser = picture_name, help_heading = "Output")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(short, long, help_heading = "Output")]
    force: bool,
}

/// A picture that is being written.
pub(crate) enum Sheet {
    File(Unfinished, PathBuf),
    Stdout,
}

impl Picture {
    /// Whether it is a page, and not a picture alone.
    pub(crate) fn is_page(&self) -> bool {
        is_page(&self.output)
    }

    /// Begins to write, before the work is done that would be lost if that fails.
    pub(crate) fn begin(&self) -> Result<Sheet, Failure> {
        begin(&self.output, self.force)
    }
}

pub(crate) fn is_page(path: &std::path::Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("html") || extension.eq_ignore_ascii_case("htm"))
}

pub(crate) fn begin(path: &std::path::Path, force: bool) -> Result<Sheet, Failure> {
    if path.as_os_str() == "-" {
        return Ok(Sheet::Stdout);
    }
    Ok(Sheet::File(Destination::new(path, force)?.begin()?, path.to_owned()))
}

impl Sheet {
    /// Writes the picture, and names the file when it is whole.
    pub(crate) fn write(self, draw: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        match self {
            Sheet::Stdout => {
                let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
                match draw(&mut out).and_then(|()| out.flush()) {
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                        Err(Failure::work("cannot write to standard output", error))
                    }
                    _ => Ok(()),
                }
            }
            Sheet::File(unfinished, path) => {
                let failed = |error| Failure::work(format_args!("cannot write {}", path.display()), error);
                let mut out: BufWriter<File> = BufWriter::with_capacity(1 << 16, unfinished.file().map_err(failed)?);
                draw(&mut out).and_then(|()| out.flush()).map_err(failed)?;
                unfinished.finish()
            }
        }
    }
}

/// The name of a picture tells what it is.
pub(crate) fn picture_name(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_picture = is_page(&path) || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    if text == "-" || is_picture { Ok(path) } else { Err(format!("'{text}' is neither .svg nor .html")) }
}
