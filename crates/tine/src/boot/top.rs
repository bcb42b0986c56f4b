//! `tine boot top`: what takes the most time.

use std::collections::BTreeMap;
use std::path::PathBuf;

use boottrace::{Calls, Timeline};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::input::{Boot, Wanted};
use crate::failure::Failure;
use crate::output;

/// List where the time goes: by function, driver, rc script and wait, and along the longest chain
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The logs of one boot, or the dump of a kernel that kept one; - is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// What to put together
    #[arg(long, value_name = "WHAT", default_value = "frame", help_heading = "Output")]
    by: By,
    /// How many lines to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, help_heading = "Output")]
    lines: usize,
    /// Report all as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Which boot, where the logs have several
    #[arg(long, value_name = "N", help_heading = "Input")]
    boot: Option<usize>,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Functions with what they are about: DEVICE_ATTACH pci
    Frame,
    /// Functions alone: DEVICE_ATTACH
    Function,
    /// Device drivers, probing and attaching together
    Driver,
    /// Scripts of rc
    Rc,
    /// Waits, and what they are within
    Wait,
}

impl By {
    fn library(self) -> boottrace::By {
        match self {
            By::Frame => boottrace::By::Frame,
            By::Function => boottrace::By::Function,
            By::Driver => boottrace::By::Driver,
            By::Rc => boottrace::By::Rc,
            By::Wait => boottrace::By::Wait,
        }
    }
}

/// Times are in `unit`s, and in seconds where the length of the unit is known.
#[derive(Serialize)]
struct Report {
    log: String,
    sources: Vec<String>,
    unit: &'static str,
    hertz: Option<u64>,
    whole: u64,
    whole_seconds: Option<f64>,
    calls: Vec<Row>,
    drivers: Vec<Row>,
    rc_scripts: Vec<Row>,
    waits: Vec<Row>,
    longest_chain: Vec<Link>,
    incomplete: Vec<String>,
    faults: BTreeMap<&'static str, u64>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    calls: u64,
    total: u64,
    #[serde(rename = "self")]
    own: u64,
    on_path: u64,
    /// Of the whole, how much passed within it on the way: 0 to 1.
    share: f64,
    total_seconds: Option<f64>,
    self_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Link {
    name: String,
    total: u64,
    #[serde(rename = "self")]
    own: u64,
    share: f64,
    total_seconds: Option<f64>,
}

impl Top {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Boot { name, timeline } = self.wanted.boot(&self.logs, self.boot)?;
        let report = Report::new(name, &timeline, self.by);
        if self.json { output::print_json(&report) } else { output::print(&self.text(&report, &timeline)) }
    }

    fn text(&self, report: &Report, timeline: &Timeline) -> String {
        let show = |units| timeline.clock.show(units);
        let mut text = format!("{}: {} ({})\n", report.log, show(report.whole), report.sources.join(", "));
        let rows = match self.by {
            By::Frame | By::Function => &report.calls,
            By::Driver => &report.drivers,
            By::Rc => &report.rc_scripts,
            By::Wait => &report.waits,
        };
        text.push_str(&table(rows, self.lines, &show));
        if matches!(self.by, By::Frame | By::Function) {
            if !report.waits.is_empty() {
                text.push_str("\nWaiting:\n");
                text.push_str(&table(&report.waits, self.lines.min(10), &show));
            }
            if report.longest_chain.len() > 1 {
                text.push_str("\nThe longest chain:\n");
                text.push_str(&chain(&report.longest_chain, &show));
            }
        }
        text
    }
}

impl Report {
    fn new(log: String, timeline: &Timeline, by: By) -> Report {
        let whole = timeline.whole();
        let rows =
            |by: By| timeline.top(by.library()).into_iter().map(|calls| Row::new(calls, timeline, whole)).collect();
        Report {
            log,
            sources: timeline.sources.clone(),
            unit: match timeline.clock.unit {
                boottrace::Unit::Ticks => "ticks",
                boottrace::Unit::Micros => "us",
            },
            hertz: timeline.clock.hertz,
            whole,
            whole_seconds: timeline.clock.seconds(whole),
            calls: rows(if by == By::Function { By::Function } else { By::Frame }),
            drivers: rows(By::Driver),
            rc_scripts: rows(By::Rc),
            waits: rows(By::Wait),
            longest_chain: timeline
                .longest_chain()
                .into_iter()
                .map(|link| Link {
                    share: share(link.total, whole),
                    total_seconds: timeline.clock.seconds(link.total),
                    name: link.name,
                    total: link.total,
                    own: link.own,
                })
                .collect(),
            incomplete: timeline.faults.why_incomplete().to_vec(),
            faults: timeline.faults.counts().map(|(kind, count)| (kind.id(), count)).collect(),
            notes: timeline.notes.clone(),
        }
    }
}

impl Row {
    fn new(calls: Calls, timeline: &Timeline, whole: u64) -> Row {
        Row {
            kind: calls.kind.id(),
            within: calls.within,
            calls: calls.calls,
            total: calls.total,
            own: calls.own,
            on_path: calls.on_path,
            share: share(calls.on_path, whole),
            total_seconds: timeline.clock.seconds(calls.total),
            self_seconds: timeline.clock.seconds(calls.own),
            name: calls.name,
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 1e6).round() / 1e6 }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn table(rows: &[Row], most: usize, show: &dyn Fn(u64) -> String) -> String {
    let mut text = format!("  {:>14} {:>14} {:>7} {:>6}  {}\n", "SELF", "TOTAL", "ON WAY", "CALLS", "NAME");
    for row in rows.iter().take(most) {
        let within = row.within.as_ref().map_or_else(String::new, |within| format!("  (in {within})"));
        let on_way = if row.on_path == 0 { "-".to_owned() } else { percent(row.share) };
        text.push_str(&format!(
            "  {:>14} {:>14} {on_way:>7} {:>6}  {}{within}\n",
            show(row.own),
            show(row.total),
            row.calls,
            row.name
        ));
    }
    if let Some(more @ 1..) = rows.len().checked_sub(most) {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}

fn chain(links: &[Link], show: &dyn Fn(u64) -> String) -> String {
    links
        .iter()
        .enumerate()
        .map(|(depth, link)| {
            format!(
                "  {:>14} {:>7}  {}{}\n",
                show(link.total),
                percent(link.share),
                " ".repeat(depth.min(40)),
                link.name
            )
        })
        .collect()
}
