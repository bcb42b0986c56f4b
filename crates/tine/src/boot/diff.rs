//! `tine boot diff`: what became slower or faster.

use std::io::Write;
use std::path::PathBuf;

use boottrace::{Diff, DiffUnit, PathDiff, Spread, change};
use clap::Args;
use serde::Serialize;

use super::input::{Boot, Moment, Wanted};
use super::picture;
use crate::failure::Failure;
use crate::output;

/// Compare boots by call path: what became slower or faster, beyond what varies from boot to boot
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The log before
    #[arg(value_name = "BASE", required_unless_present = "base", requires = "after")]
    before: Option<PathBuf>,
    /// The log now
    #[arg(value_name = "NEW")]
    after: Option<PathBuf>,
    /// Logs before: several of the same machine tell noise from differences
    #[arg(long, value_name = "LOG", num_args = 1.., conflicts_with = "before", requires = "new", help_heading = "Input")]
    base: Vec<PathBuf>,
    /// Logs now
    #[arg(long, value_name = "LOG", num_args = 1.., requires = "base", help_heading = "Input")]
    new: Vec<PathBuf>,
    /// End with status 1 if booting takes longer by more than this: 5% or 200ms
    #[arg(long, value_name = "LIMIT", help_heading = "Output")]
    fail_over: Option<Moment>,
    /// How many call paths to list
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, help_heading = "Output")]
    lines: usize,
    /// Report all as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Draw a differential chart: .svg or .html
    #[arg(short, long, value_name = "FILE", value_parser = picture::picture_name, help_heading = "Output")]
    output: Option<PathBuf>,
    /// Replace the chart if it exists
    #[arg(short, long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// Times are in `unit`s. A range is that of all logs of a side.
#[derive(Serialize)]
struct Report {
    unit: &'static str,
    base: Side,
    new: Side,
    change: i128,
    change_percent: f64,
    /// slower, faster, or same: not all logs of one side are beyond all of the other.
    verdict: &'static str,
    limit: Option<u64>,
    failed: bool,
    paths: Vec<Row>,
}

#[derive(Serialize)]
struct Side {
    logs: Vec<String>,
    median: u64,
    low: u64,
    high: u64,
}

#[derive(Serialize)]
struct Row {
    path: String,
    base_self: u64,
    new_self: u64,
    change_self: i128,
    base_total: u64,
    new_total: u64,
    change_total: i128,
    /// Whether the change of the time in itself is more than noise.
    differs: bool,
    total_differs: bool,
}

impl Compare {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let sheet = self.output.as_ref().map(|path| picture::begin(path, self.force)).transpose()?;
        let (base, new) = match (&self.before, &self.after) {
            (Some(before), Some(after)) => (vec![before.clone()], vec![after.clone()]),
            _ => (self.base.clone(), self.new.clone()),
        };
        let (base, new) = (self.side(&base)?, self.side(&new)?);
        let diff = Diff::new(&base, &new).map_err(|error| Failure::Usage(error.to_string()))?;
        let limit = self.limit(&diff)?;
        let failed = limit.is_some_and(|limit| diff.is_slower_by(limit));
        let names =
            |side: &[(String, boottrace::Timeline)]| side.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let (base, new) = (names(&base), names(&new));
        if let Some((sheet, path)) = sheet.zip(self.output.as_ref()) {
            let title = format!("{} -> {}", base.join(", "), new.join(", "));
            let is_page = picture::is_page(path);
            sheet.write(
                |out: &mut dyn Write| {
                    if is_page { diff.write_html(&title, out) } else { diff.write_svg(&title, out) }
                },
            )?;
        }
        let to_stdout = self.output.as_ref().is_some_and(|path| path.as_os_str() == "-");
        let report = Report::new(&diff, base, new, limit, failed);
        match (self.json, to_stdout) {
            (_, true) => {}
            (true, _) => output::print_json(&report)?,
            (false, _) => output::print(&self.text(&report, &diff))?,
        }
        if failed { Err(Failure::Found) } else { Ok(()) }
    }

    fn side(&self, files: &[PathBuf]) -> Result<Vec<(String, boottrace::Timeline)>, Failure> {
        let boots = self.wanted.boots(files)?;
        Ok(boots.into_iter().map(|Boot { name, timeline }| (name, timeline)).collect())
    }

    /// The limit in the units of the comparison.
    fn limit(&self, diff: &Diff) -> Result<Option<u64>, Failure> {
        let clock = boottrace::Clock {
            unit: boottrace::Unit::Ticks,
            hertz: (diff.unit == DiffUnit::Nanos).then_some(1_000_000_000),
            source: String::new(),
        };
        match self.fail_over {
            Some(Moment::Units(_)) if diff.unit == DiffUnit::Nanos => Err(Failure::Usage(
                "a limit in ticks is only for logs whose clock is not known: give a time or %".to_owned(),
            )),
            limit => limit.map(|limit| limit.units(&clock, diff.base.median)).transpose(),
        }
    }

    fn text(&self, report: &Report, diff: &Diff) -> String {
        let side = |side: &Side| {
            let count = side.logs.len();
            let range = format!(" ({} to {})", diff.show(side.low), diff.show(side.high));
            let logs = if count == 1 { side.logs.join("") } else { format!("median of {count} boots{range}") };
            format!("{:>12}  {logs}", diff.show(side.median))
        };
        let more = diff.show_change(diff.base, diff.new);
        let verdict = match report.verdict {
            "same" if report.change == 0 => "no difference".to_owned(),
            "same" => format!("{more} ({:+.1} %), which is within noise", report.change_percent),
            verdict => format!("{more} ({:+.1} %): {verdict}", report.change_percent),
        };
        let mut text = format!("  base {}\n  new  {}\n  {verdict}\n", side(&report.base), side(&report.new));
        if let Some(limit) = report.limit {
            let judged = if report.failed { "slower than is allowed" } else { "within what is allowed" };
            text.push_str(&format!("  {judged}: {}\n", diff.show(limit)));
        }
        let changes = diff.changes();
        if !changes.is_empty() {
            text.push_str(&format!(
                "\n  {:>12} {:>12} {:>12}  {}\n",
                "CHANGE", "BASE", "NEW", "CALL PATH (time in itself)"
            ));
        }
        for path in changes.iter().take(self.lines) {
            text.push_str(&format!(
                "  {:>12} {:>12} {:>12}  {}\n",
                diff.show_change(path.base_own, path.new_own),
                diff.show(path.base_own.median),
                diff.show(path.new_own.median),
                path.frames.join(";")
            ));
        }
        if let Some(rest @ 1..) = changes.len().checked_sub(self.lines) {
            text.push_str(&format!("  and {rest} more\n"));
        }
        text
    }
}

impl Report {
    fn new(diff: &Diff, base: Vec<String>, new: Vec<String>, limit: Option<u64>, failed: bool) -> Report {
        let more = change(diff.base, diff.new);
        let side = |logs, spread: Spread| Side { logs, median: spread.median, low: spread.low, high: spread.high };
        let percent = more as f64 * 100.0 / diff.base.median.max(1) as f64;
        Report {
            unit: if diff.unit == DiffUnit::Nanos { "ns" } else { "ticks" },
            base: side(base, diff.base),
            new: side(new, diff.new),
            change: more,
            change_percent: (percent * 1e3).round() / 1e3,
            verdict: match (diff.differs(), more > 0) {
                (false, _) => "same",
                (true, true) => "slower",
                (true, false) => "faster",
            },
            limit,
            failed,
            paths: diff.paths.iter().map(|(_, path)| Row::new(path)).collect(),
        }
    }
}

impl Row {
    fn new(path: &PathDiff) -> Row {
        Row {
            path: path.frames.join(";"),
            base_self: path.base_own.median,
            new_self: path.new_own.median,
            change_self: change(path.base_own, path.new_own),
            base_total: path.base.median,
            new_total: path.new.median,
            change_total: change(path.base, path.new),
            differs: path.own_differs,
            total_differs: path.differs,
        }
    }
}
