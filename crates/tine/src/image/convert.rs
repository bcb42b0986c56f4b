//! `tine image convert`: a disk from one image format into another.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use disk::image::{self, Image, Target, Work};
use disk::partition::{self, Scheme};
use disk::{ReadAt, WriteAt};
use serde::Serialize;
use zfs_ondisk::property::format_size;

use crate::destination::Destination;
use crate::failure::Failure;
use crate::output::{self, Verbosity};
use crate::progress::Copying;
use crate::values;

/// Convert a disk image into another format
///
/// Any format that tine knows is read: raw images and disks, qcow2, vmdk, vhd, vhdx, and each of these compressed with
/// xz or zstd. Runs of zeros take no room in the result, and the same disk always gives the same image.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The image, or a disk
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The image to be made. It appears when it is whole. `-` is standard output, for the formats raw, vmdk, vhd-fixed,
    /// xz, zst and tar.gz
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The format: raw; qcow2, qcow2-zstd or qcow2-deflate (compressed clusters); vmdk (stream-optimised); vhd (grows) or
    /// vhd-fixed (as Azure takes it); vhdx; xz or zst (of the raw disk, still readable at random); tar.gz (disk.raw in an
    /// archive, as Google Cloud takes it) [default: as the name of OUT ends]
    #[arg(short, long, value_name = "FORMAT", value_parser = format)]
    format: Option<Target>,
    /// Replace the image if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Report the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
    /// Threads that read and compress [default: one for each processor]
    #[arg(short, long, value_name = "N", value_parser = values::jobs, help_heading = "Resources")]
    jobs: Option<usize>,
}

/// A format by its name.
pub(super) fn format(text: &str) -> Result<Target, String> {
    text.parse()
}

/// An image that was made.
#[derive(Serialize)]
struct Report {
    image: String,
    format: &'static str,
    disk_size: u64,
    file_size: u64,
    seconds: f64,
}

impl Convert {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let target = match self.format {
            Some(target) => target,
            None => Target::of_file_name(&self.output.to_string_lossy()).ok_or_else(|| {
                let shown = self.output.display();
                Failure::Usage(format!("the name {shown} says no format: give it with --format"))
            })?,
        };
        let destination = Destination::of_disk(&self.output, self.force, target)?;
        output::check_report(self.json, &self.output)?;
        let image = open(&self.input)?;
        if let Some(warning) = rounding(&image, target) {
            output::warnings("tine", &[warning], self.verbosity);
        }
        let unfinished = destination.begin()?;
        let threads = super::resources(self.jobs, 0).threads;
        write(&image.disk, target, threads, &unfinished, &self.output, self.verbosity.quiet)?;
        let file_size = unfinished.size().map_err(|error| Failure::work(self.output.display(), error))?;
        unfinished.finish()?;
        let report = Report {
            image: self.output.display().to_string(),
            format: target.name(),
            disk_size: image.disk.size().next_multiple_of(target.size_unit()),
            file_size,
            seconds: (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        };
        match (self.json, self.verbosity.quiet) {
            (true, _) => output::print_json(&report),
            (false, true) => Ok(()),
            (false, false) => output::report(
                &self.output,
                &format!(
                    "{}: {}, disk of {}, file of {}, {:.2} s\n",
                    report.image,
                    report.format,
                    format_size(report.disk_size),
                    format_size(report.file_size),
                    report.seconds
                ),
            ),
        }
    }
}

/// Opens an image, as all commands of `tine image` do.
pub(super) fn open(path: &Path) -> Result<Image, Failure> {
    image::open(path).map_err(|error| match error {
        disk::Error::Io { .. } => Failure::Work(error.to_string()),
        _ => Failure::work(path.display(), error),
    })
}

/// Writes an image of a disk to a file that is called `path`.
pub(super) fn write(
    disk: &dyn ReadAt,
    target: Target,
    threads: usize,
    out: &dyn WriteAt,
    path: &Path,
    quiet: bool,
) -> Result<(), Failure> {
    let bar = Copying::new(disk.size(), quiet);
    let written = image::write(disk, target, &Work { threads, progress: &|byte| bar.at(byte) }, out);
    bar.clear();
    written.map_err(|error| match error {
        // Whoever read the image has had enough of it.
        disk::Error::Write { source } if source.kind() == std::io::ErrorKind::BrokenPipe => Failure::Closed,
        error => Failure::work(path.display(), error),
    })
}

/// What is odd about a disk that becomes larger.
fn rounding(image: &Image, target: Target) -> Option<String> {
    let size = image.disk.size();
    let more = size.checked_next_multiple_of(target.size_unit())? - size;
    let table = partition::read(&image.disk).ok().flatten();
    let has_gpt = table.is_some_and(|table| table.scheme == Scheme::Gpt);
    (more > 0 && has_gpt).then(|| {
        format!(
            "disks of this format are multiples of {}: {more} bytes are added behind the second copy of the partition \
             table, which 'gpart recover' moves to the end",
            format_size(target.size_unit())
        )
    })
}
