//! `tine crash report`: everything of interest, the most important first.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use crash::report::System;

use super::{Session, allocators, bt, html, source, stack};
use crate::boot::picture;
use crate::failure::Failure;
use crate::output::{self, plural};

const ALARM: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
const HEADING: Style = Style::new().bold();
/// Lines of the message buffer that are shown.
const MESSAGES: usize = 60;
/// Lines of source before and after that of a frame, on the page.
const CONTEXT: u32 = 4;

/// Report what panicked, where and with which values, and what else was going on
#[derive(Debug, Default, Args)]
pub(super) struct Report {
    #[command(flatten)]
    page: Page,
}

/// The report as a page.
#[derive(Debug, Default, Args)]
struct Page {
    /// Make a page for browsers, which needs nothing else; with -s it has the source of frames
    #[arg(long, help_heading = "Output", conflicts_with = "json")]
    html: bool,
    /// The file that the page is written to [default: standard output]
    #[arg(short, long, value_name = "FILE", requires = "html", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "output", help_heading = "Output")]
    replace: bool,
}

impl Page {
    fn write(&self, session: &Session<'_>) -> Result<(), Failure> {
        // Before the work that would be lost if that fails.
        let sheet = picture::begin(self.output.as_deref().unwrap_or(Path::new("-")), self.replace)?;
        let mut report = crash::Report::of(session.crash);
        let threads: Vec<_> = report.processes.iter().flat_map(|process| process.threads.clone()).collect();
        let (mut groups, problems) = bt::groups(session, threads, false);
        groups.sort_by_key(|group| std::cmp::Reverse(group.threads.len()));
        report.problems.extend(problems);
        let messages = crash::messages::messages(session.crash);
        let messages = messages.map_or_else(|_| report.message_buffer.clone(), |messages| messages.text);
        let source = |file: &str, line: u32| {
            let (_, lines) = source::around(session.source.as_deref()?, file, line, CONTEXT).ok()?;
            Some(lines)
        };
        let page = html::page(&report, &messages, &groups, &source);
        let page = page.map_err(|error| Failure::work("cannot make the page", error))?;
        sheet.write(|out| out.write_all(page.as_bytes()))
    }
}

impl Report {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        if self.page.html {
            return self.page.write(session);
        }
        let report = crash::Report::of(session.crash);
        if session.json { output::print_json(&report) } else { output::print(&text(&report)) }
    }
}

fn text(report: &crash::Report) -> String {
    let mut text = String::new();
    let panic = &report.panic;
    let none = match report.system.live {
        true => "the kernel did not panic: it is there",
        // In a dump that is damaged, nothing may be left that would say it.
        false if panic.thread.is_none() => "the dump does not tell",
        false => "the kernel did not panic: it was asked for a dump",
    };
    let message = panic.message.as_deref().unwrap_or(none);
    let _ = writeln!(text, "{ALARM}panic: {message}{ALARM:#}");
    if let Some(trap) = &panic.trap {
        let _ = writeln!(text, "  trap      {}", stack::interruption(trap));
    }
    if let Some(explanation) = &panic.explanation {
        let _ = writeln!(text, "  meaning   {explanation}");
    }
    if let (Some(thread), Some(process)) = (panic.thread, &panic.process) {
        let pid = panic.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let cpu = panic.cpu.map(|cpu| format!(", CPU {cpu}")).unwrap_or_default();
        let name = panic.thread_name.as_ref().filter(|name| *name != process);
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        let _ = writeln!(text, "  thread    {thread}{name} of {process}{pid}{cpu}");
    }
    for held in &panic.held {
        let _ = writeln!(text, "  held      {}", super::locks::held(held));
    }
    if let Some(lock) = &panic.awaited {
        let _ = writeln!(text, "  awaited   {} ({}) at {:#x}", visible(&lock.name), lock.class, lock.address);
    }
    text += &system(&report.system);
    let _ = writeln!(text, "  signature {}", report.signature);
    for note in report.notes.iter() {
        let _ = writeln!(text, "  note      {note}");
    }
    let _ = writeln!(text, "\n{HEADING}Backtrace{HEADING:#}");
    text += &stack::frames(&report.backtrace, report.backtrace_broken.as_deref());
    for running in &report.cpus {
        let thread = &running.thread;
        let cpu = thread.cpu.unwrap_or(0);
        let _ = writeln!(text, "\n{HEADING}CPU {cpu}: {} of {}{HEADING:#}", thread.name, thread.process);
        text += &stack::text(&running.stack);
    }
    let lines: Vec<&str> = report.message_buffer.lines().collect();
    let shown = lines.get(lines.len().saturating_sub(MESSAGES)..).unwrap_or_default();
    let _ = writeln!(text, "\n{HEADING}Messages that were in no log yet{HEADING:#}");
    if shown.len() < lines.len() {
        let _ = writeln!(
            text,
            "  ... {} before: tine crash ... msgbuf",
            plural((lines.len() - shown.len()) as u64, "line")
        );
    }
    for line in shown {
        let _ = writeln!(text, "  {}", visible(line));
    }
    text += &locks(report);
    text += &processes(report);
    text += &allocators::summary(&report.memory);
    if !report.mounts.is_empty() {
        let _ = write!(text, "\n{HEADING}Mounts{HEADING:#}\n{}", super::system::mounts(&report.mounts, "  "));
    }
    if !report.interfaces.is_empty() {
        let table = super::system::interfaces(&report.interfaces, "  ");
        let _ = write!(text, "\n{HEADING}Interfaces{HEADING:#}\n{table}");
    }
    if report.modules.len() > 1 {
        let names: Vec<&str> = report.modules.iter().map(|module| module.name.as_str()).collect();
        let _ = writeln!(text, "\n{HEADING}Modules{HEADING:#}\n  {}", names.join(" "));
    }
    if !report.problems.is_empty() {
        let _ = writeln!(text, "\n{HEADING}What could not be read{HEADING:#}");
        for problem in &report.problems {
            let _ = writeln!(text, "  {problem}");
        }
    }
    text
}

fn system(system: &System) -> String {
    let mut text = String::new();
    if let Some(version) = &system.version {
        let _ =
            writeln!(text, "  kernel    {} ({})", visible(version.lines().next().unwrap_or("")), system.architecture);
    }
    let mut words = Vec::new();
    words.extend(system.host.clone());
    words.extend(system.cpus.map(|cpus| plural(cpus, "CPU")));
    words.extend(system.uptime.map(|uptime| format!("up {}", duration(uptime))));
    words.extend(system.dump_time.map(|time| format!("died {}", vmcore::time::utc(time))));
    if !words.is_empty() {
        let _ = writeln!(text, "  system    {}", words.join(", "));
    }
    text
}

/// Who waits for whom; nothing where nobody waits.
fn locks(report: &crash::Report) -> String {
    let locks = &report.locks;
    if locks.contested.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{HEADING}Locks that somebody waits for{HEADING:#}\n");
    for deadlock in &locks.deadlocks {
        let _ = writeln!(text, "  {ALARM}Deadlock{ALARM:#}: {}", visible(deadlock));
    }
    text + &locks.contested.iter().map(super::locks::lock).collect::<String>()
}

fn processes(report: &crash::Report) -> String {
    let threads: usize = report.processes.iter().map(|process| process.threads.len()).sum();
    let mut states = BTreeMap::new();
    for thread in report.processes.iter().flat_map(|process| &process.threads) {
        *states.entry(thread.state.as_str()).or_insert(0u64) += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!(
        "\n{HEADING}Processes{HEADING:#}\n  {} with {} ({}): tine crash ... ps, tine crash ... bt --all\n",
        plural(report.processes.len() as u64, "process").replace("processs", "processes"),
        plural(threads as u64, "thread"),
        states.join(", ")
    )
}

/// A time that something was up.
pub(super) fn duration(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{} {hours} h", plural(days.unsigned_abs(), "day")),
    }
}

/// Text from a dump, without what would change a terminal.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
