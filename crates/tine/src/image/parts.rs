//! `tine image disk`: a disk from its parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use disk::image::{self, Target};
use disk::partition::{Layout, Scheme, Slot, Type};
use disk::{OpenFile, ReadAt, fat};
use serde::Serialize;
use zfs_ondisk::property::format_size;

use super::convert;
use super::disk::BuiltPartition;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output::{self, Verbosity};
use crate::values;

/// The label of file systems that are made of directories, as FreeBSD's have it.
const FAT_LABEL: &str = "EFISYS";

/// Put a disk together from partitions: images of pools and file systems, boot code, directories, empty ones
///
/// Partitions are written as mkimg(1) takes them. The same parts always give the same image.
#[derive(Debug, Args)]
pub(crate) struct Disk {
    /// A partition: its type (a name, a GUID, or ! and a number), perhaps a label, and what is in it: the disk in an
    /// image file of any format, a FAT file system of what is in a directory, or nothing
    #[arg(short, long = "partition", required = true, value_name = "TYPE[/LABEL]:=FILE|:=DIRECTORY|::SIZE")]
    partitions: Vec<Part>,
    /// Code for the first sector, such as /boot/pmbr
    #[arg(short, long, value_name = "FILE")]
    boot_code: Option<PathBuf>,
    /// The partition table
    #[arg(short, long, value_name = "SCHEME", default_value = "gpt")]
    scheme: SchemeValue,
    /// Partition number N, from 1 on, is the active one
    #[arg(short, long, value_name = "N")]
    active: Option<usize>,
    /// Size of the disk [default: as much as is needed, in whole MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    size: Option<u64>,
    /// The image to be made. It appears when it is whole. `-` is standard output, for the formats raw, vmdk, vhd-fixed,
    /// xz, zst and tar.gz
    #[arg(short, long, value_name = "IMAGE", help_heading = "Output")]
    output: PathBuf,
    /// The format of the image, as 'tine image convert' has it [default: as the name of IMAGE ends, or else raw]
    #[arg(short, long, value_name = "FORMAT", value_parser = convert::format, help_heading = "Output")]
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
    /// The time of files in FAT file systems, in seconds since 1970 [default: 1980, the first that they know]
    #[arg(long, value_name = "SECONDS", value_parser = values::time, env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    time: Option<tree::Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SchemeValue {
    /// GUID partition table
    Gpt,
    /// Master boot record
    Mbr,
}

/// A partition on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    kind: Type,
    label: String,
    contents: Contents,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Contents {
    File(PathBuf),
    Empty(u64),
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "TYPE[/LABEL]:=FILE or TYPE[/LABEL]::SIZE was expected".to_owned();
        let (name, contents) = text.split_once(':').ok_or_else(expected)?;
        let (kind, label) = name.split_once('/').unwrap_or((name, ""));
        let contents = match (contents.strip_prefix('='), contents.strip_prefix(':')) {
            (Some(path), _) if !path.is_empty() => Contents::File(path.into()),
            (_, Some(size)) => Contents::Empty(values::size(size)?),
            _ => return Err(expected()),
        };
        Ok(Self { kind: kind.parse()?, label: label.to_owned(), contents })
    }
}

impl Part {
    /// The partition; files in it are of `time`, in seconds since 1970, if it is made of a directory.
    pub(super) fn slot(&self, scheme: Scheme, time: u64) -> Result<Slot, Failure> {
        if scheme == Scheme::Mbr && !self.label.is_empty() {
            return Err(Failure::Usage(format!("an MBR has no labels: leave '{}' out", self.label)));
        }
        let contents = match &self.contents {
            Contents::Empty(_) => None,
            Contents::File(path) => Some(contents(path, time)?),
        };
        let size = match (&self.contents, &contents) {
            (Contents::Empty(size), _) => *size,
            (_, contents) => contents.as_ref().map_or(0, ReadAt::size),
        };
        Ok(Slot { kind: self.kind, label: self.label.clone(), size, attributes: 0, contents })
    }
}

/// A disk that was made.
#[derive(Serialize)]
struct Report {
    image: String,
    format: &'static str,
    size: u64,
    partitions: Vec<BuiltPartition>,
    seconds: f64,
}

impl Disk {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let by_name = || Target::of_file_name(&self.output.to_string_lossy());
        let target = self.format.or_else(by_name).unwrap_or(Target::Raw);
        let destination = Destination::of_disk(&self.output, self.force, target)?;
        output::check_report(self.json, &self.output)?;
        let layout = self.layout(target)?;
        let (places, _) = layout.places()?;
        let disk = layout.disk()?;
        let unfinished = destination.begin()?;
        let threads = super::resources(self.jobs, 0).threads;
        convert::write(&disk, target, threads, &unfinished, &self.output, self.verbosity.quiet)?;
        unfinished.finish()?;
        let partitions = layout.slots.iter().zip(places).map(|(slot, place)| BuiltPartition {
            r#type: slot.kind.to_string(),
            label: slot.label.clone(),
            start: place.start,
            size: place.size,
        });
        let report = Report {
            image: self.output.display().to_string(),
            format: target.name(),
            size: disk.size(),
            partitions: partitions.collect(),
            seconds: (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        };
        match (self.json, self.verbosity.quiet) {
            (true, _) => output::print_json(&report),
            (false, true) => Ok(()),
            (false, false) => output::report(&self.output, &report.text()),
        }
    }

    fn layout(&self, target: Target) -> Result<Layout, Failure> {
        let scheme = match self.scheme {
            SchemeValue::Gpt => Scheme::Gpt,
            SchemeValue::Mbr => Scheme::Mbr,
        };
        let mut layout = Layout::new(scheme, b"tine disk");
        if let Some(path) = &self.boot_code {
            layout.boot_code = fs::read(path).map_err(|error| Failure::work(path.display(), error))?;
        }
        let time = self.time.map_or(0, |time| u64::try_from(time.seconds).unwrap_or(0));
        for part in &self.partitions {
            let slot = part.slot(scheme, time)?;
            if let Some(contents) = &slot.contents {
                layout.seed.extend(image::identity(contents)?);
            }
            layout.seed.extend(format!("{} {} {}\n", slot.kind, slot.label, slot.size).bytes());
            layout.slots.push(slot);
        }
        if let Some(number) = self.active {
            let count = self.partitions.len();
            let slot = number.checked_sub(1).and_then(|index| layout.slots.get_mut(index));
            let slot =
                slot.ok_or_else(|| Failure::Usage(format!("--active {number}: there are {count} partitions")))?;
            // The attribute that gptboot(8) looks for ("bootme"), or the status of an MBR's.
            slot.attributes = if scheme == Scheme::Gpt { 1 << 59 } else { 0x80 };
        }
        // Formats that round sizes up get a table for the size that is theirs.
        let needed = layout.disk()?.size();
        layout.size = Some(match self.size {
            Some(size) => size - size % target.size_unit().max(512),
            None => needed.next_multiple_of(target.size_unit()),
        });
        Ok(layout)
    }
}

/// The bytes of a partition: a file system of a directory, or the disk in an image.
fn contents(path: &Path, time: u64) -> Result<Arc<dyn ReadAt>, Failure> {
    if !path.is_dir() {
        return Ok(convert::open(path)?.disk);
    }
    let mut files = Vec::new();
    add_files(path, "", 0, &mut files)?;
    let size = fat::room_for(&files, super::disk::ESP_SIZE).map_err(|error| Failure::work(path.display(), error))?;
    let options = fat::Options { size, label: FAT_LABEL.to_owned(), id: 0x7469_6e65, time };
    Ok(Arc::new(fat::build(&options, &files).map_err(|error| Failure::work(path.display(), error))?))
}

/// The files in a directory and below, by name.
fn add_files(directory: &Path, path: &str, depth: usize, files: &mut Vec<fat::File>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::work(directory.display(), error);
    let mut entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().map_err(|name| {
            Failure::Work(format!("{}: the name {} is not in UTF-8", directory.display(), name.display()))
        })?;
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let kind = fs::metadata(entry.path()).map_err(failed)?;
        if kind.is_dir() && depth < 32 {
            add_files(&entry.path(), &path, depth + 1, files)?;
        } else if kind.is_file() {
            let contents = OpenFile::open(&entry.path()).map_err(failed)?;
            files.push(fat::File { path, contents: Arc::new(contents) });
        } else {
            return Err(Failure::Work(format!("{}: a FAT file system holds files only", entry.path().display())));
        }
    }
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        let partitions: Vec<String> =
            self.partitions.iter().map(|part| format!("{} {}", part.r#type, format_size(part.size))).collect();
        format!(
            "{}: {} disk of {}: {}, {:.2} s\n",
            self.image,
            self.format,
            format_size(self.size),
            partitions.join(", "),
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_written_as_mkimg_takes_them() {
        let part: Part = "freebsd-swap/swapfs::1g".parse().expect("mkimg takes it");
        assert_eq!(
            (part.kind, &part.label[..], part.contents),
            (Type::FREEBSD_SWAP, "swapfs", Contents::Empty(1 << 30))
        );
        let part: Part = "efi:=a:b".parse().expect("a name may have a colon");
        assert_eq!((part.kind, part.contents), (Type::EFI, Contents::File("a:b".into())));
        for bad in ["efi", "efi:", "efi:=", "efi::x", "unknown::1m", ":=x"] {
            assert!(bad.parse::<Part>().is_err(), "{bad}");
        }
    }
}
