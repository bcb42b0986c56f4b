//! `tine pool verify`: everything in a pool is read and compared.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::property::format_size;
use zfs_pool::check::{self, BlockPlace, CopyPlace, Finding, Kind, Options, Report};

use super::open::Opening;
use super::out::printable;
use super::target::{self, Target};
use crate::failure::Failure;
use crate::output::{self, plural};
use crate::progress::Verification;
use crate::values;

/// Findings of one kind that are shown unless all are asked for.
const MOST_SHOWN: usize = 100;

/// Read and check every allocated block of every copy, and all records against each other
///
/// All copies are read: of mirrors every side, of raidz and draid the parity, too. Then what was met is compared with
/// what the pool says of itself: space maps, reference counts, directories and links, sizes, the accounting of datasets
/// and owners. The exit status is 1 if anything is wrong.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The pool: its name, or image files
    #[arg(value_name = "POOL", value_parser = target::target, required = true)]
    pool: Vec<Target>,
    /// Compare the files of every snapshot with each other, not only those of the datasets as they are now
    #[arg(long)]
    every_snapshot: bool,
    /// Report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Show nothing but what is wrong, and no progress
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,
    /// Show all findings, however many there are of a kind
    #[arg(short, long, help_heading = "Output")]
    verbose: bool,
    /// Threads that read and verify [default: one for each processor]
    #[arg(short, long, value_name = "N", value_parser = values::jobs, help_heading = "Resources")]
    jobs: Option<usize>,
    /// Memory to use at most
    #[arg(
        long, value_name = "SIZE", value_parser = values::size, default_value = crate::image::DEFAULT_MEMORY,
        help_heading = "Resources"
    )]
    memory: u64,
    /// Where temporary files go that have what does not fit into memory [default: $TMPDIR]
    #[arg(long, value_name = "DIR", help_heading = "Resources")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    opening: Opening,
}

impl Verify {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let (opening, target) = self.opening.of_one(&self.pool)?;
        let pool = opening.open(&target.pool)?;
        let options = options(self.jobs, self.memory, self.scratch.clone(), self.every_snapshot);
        let progress = Verification::new(self.quiet);
        let result = check::check_with(&pool, &options, &progress);
        progress.clear();
        let report = result?;
        let elapsed = began.elapsed();
        if self.json {
            output::print_json(&Json::new(pool.name(), pool.guid(), pool.uberblock().txg, &report, elapsed))?;
        } else {
            let most = if self.verbose { usize::MAX } else { MOST_SHOWN };
            let mut text = findings(&report.findings, &report.kinds, most);
            if !self.quiet {
                text.push_str(&remarks(&report.remarks, most));
                text.push_str(&summary(pool.name(), &report, elapsed));
            }
            output::print(&text)?;
        }
        if !is_sound(&report) {
            return Err(Failure::Found);
        }
        // With a key that fits, more would have been verified.
        match pool.wrong_secret() {
            Some(lock) => Err(Failure::Work(format!("{lock}: what it encrypts could not be verified"))),
            None => Ok(()),
        }
    }
}

/// How a check is to be made.
pub(crate) fn options(jobs: Option<usize>, memory: u64, scratch: Option<PathBuf>, every_snapshot: bool) -> Options {
    Options {
        threads: jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
        memory,
        scratch: scratch.unwrap_or_else(std::env::temp_dir),
        every_snapshot,
    }
}

/// Whether nothing is wrong.
pub(crate) fn is_sound(report: &Report) -> bool {
    report.findings.is_empty() && report.omitted == 0
}

/// What is wrong, by kind.
fn findings(findings: &[Finding], kinds: &BTreeMap<Kind, u64>, most: usize) -> String {
    let mut text = String::new();
    for (&kind, &count) in kinds {
        let of_kind: Vec<&Finding> = findings.iter().filter(|finding| finding.kind == kind).collect();
        let _ = writeln!(text, "{}: {count}", kind.title());
        for finding in of_kind.iter().take(most) {
            text.push_str(&one(finding));
        }
        let hidden = count.saturating_sub(of_kind.len().min(most) as u64);
        if hidden > 0 {
            let hint = if most == usize::MAX { "not listed" } else { "-v shows more" };
            let _ = writeln!(text, "  and {hidden} more, {hint}");
        }
        text.push('\n');
    }
    text
}

fn remarks(remarks: &[Finding], most: usize) -> String {
    let mut text = String::new();
    for remark in remarks.iter().take(most) {
        let _ = write!(text, "note: {}", one(remark).trim_start());
    }
    if let Some(more @ 1..) = remarks.len().checked_sub(most) {
        let _ = writeln!(text, "note: and {more} more; -v shows them");
    }
    if !remarks.is_empty() {
        text.push('\n');
    }
    text
}

/// A finding in a few lines: where, what, who else has it, which devices.
fn one(finding: &Finding) -> String {
    let mut text = String::from("  ");
    if let Some(dataset) = &finding.dataset {
        text.push_str(dataset);
        if let Some(path) = &finding.path {
            let _ = write!(text, ":{}", printable(path.as_bytes()));
        }
        if let Some(object) = finding.object {
            // Objects of accounting have numbers below 0.
            let _ = write!(text, ", object {}", object.0 as i64);
        }
        if let Some(block) = &finding.block {
            let _ = write!(text, ", {}", place(block));
        }
        text.push_str(": ");
    }
    let _ = writeln!(text, "{}", printable(finding.message.as_bytes()));
    if !finding.shared.is_empty() {
        let _ = writeln!(text, "    also in {}", finding.shared.join(", "));
    }
    for CopyPlace { vdev, offset, device, fault } in &finding.copies {
        let _ = match device {
            Some((name, at)) => writeln!(text, "    {name} at byte {at} (vdev {vdev}, offset {offset:#x}): {fault}"),
            None => writeln!(text, "    vdev {vdev}, offset {offset:#x}: {fault}"),
        };
    }
    text
}

/// Which block of an object it is.
fn place(block: &BlockPlace) -> String {
    let end = block.offset.saturating_add(block.length);
    match (block.number, block.level) {
        (None, _) => match block.pointer.object_type() {
            ObjectType::OBJSET => "root".to_owned(),
            ObjectType::SA => "spill block".to_owned(),
            ObjectType::INTENT_LOG => "block of the intent log".to_owned(),
            _ => "block that the intent log leads to".to_owned(),
        },
        (Some(number), 0) => format!("block {number} (bytes {} to {end})", block.offset),
        (Some(number), level) => {
            format!("indirect block {number} of level {level} (bytes {} to {end})", block.offset)
        }
    }
}

fn summary(pool: &str, report: &Report, elapsed: Duration) -> String {
    let count = report.findings.len() as u64 + report.omitted;
    let verdict = if is_sound(report) { "sound".to_owned() } else { format!("{} found", plural(count, "fault")) };
    let seconds = elapsed.as_secs_f64();
    format!(
        "{pool}: {verdict}\n  {}, {} of {} allocated, verified in {seconds:.2} s ({}/s)\n  {} in {} datasets and snapshots\n",
        plural(report.blocks, "block"),
        format_size(report.bytes),
        format_size(report.allocated),
        format_size(rate(report.bytes, elapsed)),
        plural(report.objects, "object"),
        report.datasets,
    )
}

fn rate(bytes: u64, elapsed: Duration) -> u64 {
    (bytes as f64 / elapsed.as_secs_f64().max(1e-6)) as u64
}

/// The report as JSON has it. Sizes are in bytes.
#[derive(Serialize)]
struct Json<'a> {
    pool: &'a str,
    guid: String,
    txg: u64,
    sound: bool,
    findings: Vec<JsonFinding<'a>>,
    omitted: u64,
    counts: BTreeMap<String, u64>,
    notes: Vec<JsonFinding<'a>>,
    blocks: u64,
    bytes: u64,
    allocated: u64,
    objects: u64,
    datasets: u64,
    outdated_copies: u64,
    seconds: f64,
    bytes_per_second: u64,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    kind: String,
    dataset: Option<&'a str>,
    /// Objects of accounting have numbers below 0.
    object: Option<i64>,
    path: Option<&'a str>,
    block: Option<JsonBlock>,
    copies: Vec<JsonCopy<'a>>,
    shared_with: &'a [String],
    message: &'a str,
}

#[derive(Serialize)]
struct JsonBlock {
    level: u32,
    /// None for a spill block.
    number: Option<u64>,
    offset: u64,
    length: u64,
    birth_txg: u64,
}

#[derive(Serialize)]
struct JsonCopy<'a> {
    vdev: u32,
    offset: u64,
    device: Option<&'a str>,
    device_offset: Option<u64>,
    fault: &'a str,
}

impl<'a> Json<'a> {
    fn new(pool: &'a str, guid: u64, txg: u64, report: &'a Report, elapsed: Duration) -> Self {
        Self {
            pool,
            guid: guid.to_string(),
            txg,
            sound: is_sound(report),
            findings: report.findings.iter().map(JsonFinding::new).collect(),
            omitted: report.omitted,
            counts: report.kinds.iter().map(|(kind, count)| (name(*kind), *count)).collect(),
            notes: report.remarks.iter().map(JsonFinding::new).collect(),
            blocks: report.blocks,
            bytes: report.bytes,
            allocated: report.allocated,
            objects: report.objects,
            datasets: report.datasets,
            outdated_copies: report.missing_copies,
            seconds: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            bytes_per_second: rate(report.bytes, elapsed),
        }
    }
}

impl<'a> JsonFinding<'a> {
    fn new(finding: &'a Finding) -> Self {
        Self {
            kind: name(finding.kind),
            dataset: finding.dataset.as_deref(),
            object: finding.object.map(|object| object.0 as i64),
            path: finding.path.as_deref(),
            block: finding.block.as_ref().map(|block| JsonBlock {
                level: block.level,
                number: block.number,
                offset: block.offset,
                length: block.length,
                birth_txg: block.pointer.birth(),
            }),
            copies: finding.copies.iter().map(JsonCopy::new).collect(),
            shared_with: &finding.shared,
            message: &finding.message,
        }
    }
}

impl<'a> JsonCopy<'a> {
    fn new(copy: &'a CopyPlace) -> Self {
        Self {
            vdev: copy.vdev,
            offset: copy.offset,
            device: copy.device.as_ref().map(|(name, _)| name.as_str()),
            device_offset: copy.device.as_ref().map(|(_, offset)| *offset),
            fault: &copy.fault,
        }
    }
}

/// A kind as scripts know it, such as `bad_copy`.
fn name(kind: Kind) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_that_scripts_can_rely_on() {
        assert_eq!(name(Kind::BadCopy), "bad_copy");
        assert_eq!(name(Kind::Zap), "zap");
    }

    #[test]
    fn a_sound_pool_is_summed_up_in_three_lines() {
        let report = Report { blocks: 1, bytes: 4096, allocated: 4096, objects: 2, datasets: 2, ..Report::default() };
        assert_eq!(
            summary("zroot", &report, Duration::from_secs(2)),
            "zroot: sound\n  1 block, 4K of 4K allocated, verified in 2.00 s (2K/s)\n  2 objects in 2 datasets and snapshots\n"
        );
    }
}
