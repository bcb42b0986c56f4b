//! What the program says: results on standard output, all else on standard error.

use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use zfs_ondisk::property::format_size;

use crate::failure::Failure;
use crate::image::disk;
use crate::job::Built;
use crate::sources::Source;

/// Warnings that are shown unless all are asked for.
const MOST_WARNINGS: usize = 10;

/// How much the program says.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Verbosity {
    /// Say nothing unless something goes wrong
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Show all warnings, and more about the result
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,
}

/// Says why the program `program` failed.
pub(crate) fn failure(program: &str, failure: &Failure) {
    let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    anstream::eprintln!("{style}{program}:{style:#} {failure}");
}

/// Says what does not stop the work.
pub(crate) fn warnings(program: &str, warnings: &[String], verbosity: Verbosity) {
    if verbosity.quiet {
        return;
    }
    warnings_of(program, warnings, if verbosity.verbose { usize::MAX } else { MOST_WARNINGS });
}

fn warnings_of(program: &str, warnings: &[String], most: usize) {
    let style = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
    for warning in warnings.iter().take(most) {
        anstream::eprintln!("{style}{program}: warning:{style:#} {warning}");
    }
    if let Some(more @ 1..) = warnings.len().checked_sub(most) {
        anstream::eprintln!("{style}{program}: warning:{style:#} and {more} more; -v shows them all");
    }
}

/// Says all of what does not stop the work.
pub(crate) fn warn(program: &str, warnings: &[String]) {
    warnings_of(program, warnings, usize::MAX);
}

/// Writes `text` to standard output. A reader that has had enough is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::work("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// Writes the report about a result at `path` to standard output; to standard error if the result itself, `-`, has gone
/// there.
pub(crate) fn report(path: &Path, text: &str) -> Result<(), Failure> {
    if path.as_os_str() != "-" {
        return print(text);
    }
    anstream::eprint!("{text}");
    Ok(())
}

/// Refuses a report in JSON beside a result on standard output.
pub(crate) fn check_report(json: bool, path: &Path) -> Result<(), Failure> {
    match json && path.as_os_str() == "-" {
        true => Err(Failure::Usage("standard output takes the image or --json, not both: give a file".to_owned())),
        false => Ok(()),
    }
}

/// Writes a value to standard output as JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::work("cannot make JSON", error))?;
    print(&format!("{text}\n"))
}

/// An image that was built, as `--json` shows it. Sizes are in bytes.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    /// The first one.
    image: String,
    /// All, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<String>,
    sources: &'a [Source],
    /// The first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<&'a disk::Built>,
    /// All, if there are several.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    disks: &'a [disk::Built],
    pool: &'a str,
    /// In decimal, as a string: a number of JSON may be no larger than 2^53.
    pool_guid: String,
    size: u64,
    allocated: u64,
    metaslab_size: u64,
    compress_ratio: f64,
    files: u64,
    datasets: Vec<Dataset<'a>>,
    warnings: &'a [String],
    seconds: f64,
}

#[derive(Serialize)]
struct Dataset<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    files: u64,
    referenced: u64,
    compressed: u64,
    logical: u64,
    snapshots: &'a [String],
}

impl<'a> Report<'a> {
    pub(crate) fn new(built: &'a Built) -> Report<'a> {
        let Built { summary, warnings, .. } = built;
        let datasets: Vec<_> = summary
            .datasets
            .iter()
            .map(|dataset| Dataset {
                name: &dataset.name,
                origin: dataset.origin.as_deref(),
                files: dataset.files,
                referenced: dataset.referenced,
                compressed: dataset.compressed,
                logical: dataset.logical,
                snapshots: &dataset.snapshots,
            })
            .collect();
        // What clones have is their origins'.
        let own = || datasets.iter().filter(|dataset| dataset.origin.is_none());
        let sum = |of: fn(&Dataset<'_>) -> u64| own().map(of).sum::<u64>();
        let images: Vec<String> = built.images.iter().map(|image| image.display().to_string()).collect();
        Report {
            image: images.first().cloned().unwrap_or_default(),
            images: if images.len() > 1 { images } else { Vec::new() },
            sources: &built.sources,
            disk: built.disks.first(),
            disks: if built.disks.len() > 1 { &built.disks } else { &[] },
            pool: &built.pool,
            pool_guid: summary.pool_guid.to_string(),
            size: summary.size,
            allocated: summary.allocated,
            metaslab_size: summary.metaslab_size,
            compress_ratio: round(ratio(sum(|dataset| dataset.logical), sum(|dataset| dataset.compressed)), 2),
            files: sum(|dataset| dataset.files),
            datasets,
            warnings,
            seconds: round(built.elapsed.as_secs_f64(), 3),
        }
    }

    /// The report for people: a few lines, and one for each dataset if `verbose`.
    pub(crate) fn text(&self, verbose: bool) -> String {
        let snapshots: usize = self.datasets.iter().map(|dataset| dataset.snapshots.len()).sum();
        let mut text = format!(
            "{}: pool {}, guid {}\n  {}, {} allocated, compressed {:.2}x\n  {} in {}{}, {:.2} s\n",
            if self.images.is_empty() { self.image.clone() } else { self.images.join(", ") },
            self.pool,
            self.pool_guid,
            match self.images.len() {
                0 => format_size(self.size),
                images => format!("{images} images of {}", format_size(self.size)),
            },
            format_size(self.allocated),
            self.compress_ratio,
            plural(self.files, "file"),
            plural(self.datasets.len() as u64, "dataset"),
            if snapshots == 0 { String::new() } else { format!(", {}", plural(snapshots as u64, "snapshot")) },
            self.seconds,
        );
        if let Some(disk) = self.disk {
            let (format, size) = (disk.format, format_size(disk.size));
            text.push_str(&match self.disks.len() {
                0 => format!("  {format} disk of {size}:"),
                count => format!("  {count} {format} disks of {size}:"),
            });
            let mut before = " ";
            for partition in &disk.partitions {
                text.push_str(&format!("{before}{} {}", partition.r#type, format_size(partition.size)));
                before = ", ";
            }
            text.push('\n');
        }
        if verbose {
            text.push_str(&self.table());
        }
        text
    }

    fn table(&self) -> String {
        let width = self.datasets.iter().map(|dataset| dataset.name.len()).chain([4]).max().unwrap_or(4);
        let mut table = format!("  {:width$} {:>9} {:>9} {:>7}  SNAPSHOTS\n", "NAME", "FILES", "REFER", "RATIO");
        for dataset in &self.datasets {
            let row = format!(
                "  {:width$} {:>9} {:>9} {:>6.2}x  {}",
                dataset.name,
                dataset.files,
                format_size(dataset.referenced),
                ratio(dataset.logical, dataset.compressed),
                dataset.snapshots.join(" "),
            );
            table.push_str(row.trim_end());
            table.push('\n');
        }
        table
    }
}

/// How much smaller compression made the blocks, as `compressratio` has it.
fn ratio(logical: u64, compressed: u64) -> f64 {
    if compressed == 0 { 1.0 } else { logical as f64 / compressed as f64 }
}

fn round(number: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (number * unit).round() / unit
}

/// A number of things.
pub(crate) fn plural(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use zfs_image::{DatasetSummary, Summary};

    use super::*;

    fn built() -> Built {
        let dataset = |name: &str, snapshots: &[&str]| DatasetSummary {
            name: name.to_owned(),
            origin: None,
            files: 10,
            referenced: 1 << 20,
            compressed: 1 << 20,
            logical: 3 << 19,
            snapshots: snapshots.iter().map(|&name| name.to_owned()).collect(),
        };
        Built {
            images: vec![PathBuf::from("zroot.img")],
            sources: vec![Source::Directory("tree".into())],
            disks: Vec::new(),
            pool: "zroot".to_owned(),
            summary: Summary {
                pool_guid: u64::MAX,
                size: 1 << 30,
                allocated: 3 << 20,
                metaslab_size: 1 << 26,
                datasets: vec![dataset("zroot", &[]), dataset("zroot/home", &["install"])],
            },
            warnings: vec!["/run/log: socket skipped".to_owned()],
            elapsed: Duration::from_millis(1234),
        }
    }

    #[test]
    fn the_text_says_what_was_built() {
        let built = built();
        assert_eq!(
            Report::new(&built).text(true),
            "zroot.img: pool zroot, guid 18446744073709551615\n  \
             1G, 3M allocated, compressed 1.50x\n  \
             20 files in 2 datasets, 1 snapshot, 1.23 s\n  \
             NAME           FILES     REFER   RATIO  SNAPSHOTS\n  \
             zroot             10        1M   1.50x\n  \
             zroot/home        10        1M   1.50x  install\n"
        );
    }

    #[test]
    fn json_keeps_all_digits_of_the_guid() {
        let built = built();
        let json = serde_json::to_value(Report::new(&built)).expect("it has nothing that JSON has not");
        assert_eq!(json["pool_guid"], "18446744073709551615");
        assert_eq!(json["compress_ratio"], 1.5);
        assert_eq!(json["sources"][0], serde_json::json!({"type": "directory", "path": "tree"}));
        assert_eq!(json["datasets"][1]["snapshots"][0], "install");
        assert_eq!(json["warnings"][0], "/run/log: socket skipped");
    }
}
