//! The report as one page that needs nothing else.
//!
//! What the report is known to have is laid out by hand. Everything that it has beyond, and has later, becomes a section
//! by itself: lists of objects are tables, objects are lists of names and values.

mod escape;
mod table;

use std::fmt::Write;

use crash::stack::{Stack, StackFrame};
use crash::threads::Thread;
use serde_json::Value;

use self::escape::Text;
use super::bt::{self, Group};
use super::{report, stack};
use crate::output::plural;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Fields of the report that have a place of their own; all others become sections.
const KNOWN: [&str; 11] = [
    "panic",
    "signature",
    "system",
    "backtrace",
    "backtrace_broken",
    "message_buffer",
    "cpus",
    "processes",
    "modules",
    "problems",
    "notes",
];
/// Threads of one stack that are named before they are folded.
const NAMED: usize = 12;

/// Lines of source around a place: number and text.
pub(super) type Lines = Vec<(u32, String)>;

/// The source around a line of a file, where sources are known.
pub(super) type Source<'s> = dyn Fn(&str, u32) -> Option<Lines> + 's;

/// The page.
pub(super) fn page(
    report: &crash::Report,
    messages: &str,
    groups: &[Group],
    source: &Source<'_>,
) -> Result<String, serde_json::Error> {
    let message = report.panic.message.as_deref().unwrap_or("a dump without a panic");
    let mut sections = Sections::default();
    sections.add("Backtrace", true, &frames(&report.backtrace, report.backtrace_broken.as_deref(), true, source));
    for running in &report.cpus {
        let thread = &running.thread;
        let title = format!("CPU {}: {}", thread.cpu.unwrap_or(0), bt::name(thread));
        sections.add(&title, false, &stack_of(&running.stack, source));
    }
    sections.add("Messages", true, &lines(messages, &report.message_buffer));
    sections.add("Processes", true, &processes(report));
    if !groups.is_empty() {
        sections.add("Stacks of all threads", false, &stacks(groups, source));
    }
    sections.add("Modules", false, &table::of(&serde_json::to_value(&report.modules)?));
    if let Value::Object(fields) = serde_json::to_value(report)? {
        for (name, value) in fields.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
            if !table::is_empty(value) {
                sections.add(&table::title(name), false, &table::of(value));
            }
        }
    }
    if !report.problems.is_empty() {
        let items: String = report.problems.iter().map(|text| format!("<li>{}</li>\n", Text(text))).collect();
        sections.add("What could not be read", true, &format!("<ul>\n{items}</ul>\n"));
    }
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{}'; script-src '{}'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>panic: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1><span class=\"kind\">panic</span> {}</h1>\n{}</header>\n\
         <nav><input id=\"search\" type=\"search\" placeholder=\"Search processes, threads, messages, frames\" \
         aria-label=\"Search\" autocomplete=\"off\"><output id=\"found\"></output>\
         <button id=\"fold\" type=\"button\">Fold all</button><button id=\"unfold\" type=\"button\">Unfold all</button>\
         <div class=\"links\">{}</div></nav>\n\
         <main>\n{}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        escape::hash(STYLE),
        escape::hash(SCRIPT),
        Text(message),
        Text(message),
        facts(report),
        sections.links,
        sections.text,
    ))
}

/// The sections of the page, and links to them.
#[derive(Default)]
struct Sections {
    text: String,
    links: String,
    count: usize,
}

impl Sections {
    /// A section that can be folded, and is open at first or not.
    fn add(&mut self, title: &str, open: bool, content: &str) {
        self.count += 1;
        let (id, title, open) = (self.count, Text(title), if open { " open" } else { "" });
        let _ = write!(self.links, "<a href=\"#s{id}\">{title}</a>");
        let _ = write!(
            self.text,
            "<details class=\"section\" id=\"s{id}\"{open}>\n<summary><h2>{title}</h2></summary>\n{content}</details>\n"
        );
    }
}

/// What is known in a line each.
fn facts(report: &crash::Report) -> String {
    let (panic, system) = (&report.panic, &report.system);
    let mut facts: Vec<(&str, String)> = Vec::new();
    facts.extend(panic.trap.as_ref().map(|trap| ("Trap", stack::interruption(trap))));
    facts.extend(panic.explanation.clone().map(|text| ("Meaning", text)));
    if let (Some(thread), Some(process)) = (panic.thread, &panic.process) {
        let pid = panic.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let cpu = panic.cpu.map(|cpu| format!(", CPU {cpu}")).unwrap_or_default();
        let name = panic.thread_name.as_ref().filter(|name| *name != process);
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        facts.push(("Thread", format!("{thread}{name} of {process}{pid}{cpu}")));
    }
    facts.extend(
        system.version.as_ref().map(|version| ("Kernel", format!("{} ({})", version.trim(), system.architecture))),
    );
    let mut words = Vec::new();
    words.extend(system.host.clone());
    words.extend(system.cpus.map(|cpus| plural(cpus, "CPU")));
    words.extend(system.uptime.map(|uptime| format!("up {}", report::duration(uptime))));
    words.extend(system.dump_time.map(|time| format!("died {}", vmcore::time::utc(time))));
    facts.push(("System", words.join(", ")));
    facts.push(("Signature", report.signature.clone()));
    facts.extend(report.notes.iter().map(|note| ("Note", note.clone())));
    let rows = facts.iter().filter(|(_, text)| !text.is_empty());
    let rows: String = rows.map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>\n", Text(text))).collect();
    format!("<dl>\n{rows}</dl>\n")
}

fn stack_of(stack: &Stack, source: &Source<'_>) -> String {
    frames(&stack.frames, stack.broken.as_deref(), false, source)
}

/// Frames that fold: within them are arguments, lines of source, and the stack's addresses.
fn frames(frames: &[StackFrame], broken: Option<&str>, open: bool, source: &Source<'_>) -> String {
    let mut text = "<ol class=\"frames\" start=\"0\">\n".to_owned();
    // The function that matters most is the one that was interrupted, or else that which called panic.
    let trap = frames.iter().position(|frame| frame.trap.as_ref().is_some_and(|trap| !trap.user));
    let is_panic = |frame: &StackFrame| matches!(frame.function.as_deref(), Some("panic" | "kassert_panic" | "vpanic"));
    let culprit = trap.or_else(|| frames.iter().rposition(is_panic)).map(|at| at + 1);
    for (number, frame) in frames.iter().enumerate() {
        let is_culprit = culprit == Some(number);
        let class = if is_culprit { " class=\"culprit\"" } else { "" };
        let head = head(frame);
        let body = body(frame, source);
        let folded = match body.is_empty() {
            true => format!("<div class=\"frame\">{head}</div>"),
            false => {
                let open = if open && is_culprit { " open" } else { "" };
                format!("<details class=\"frame\"{open}><summary>{head}</summary>{body}</details>")
            }
        };
        let _ = writeln!(text, "<li{class}>{folded}</li>");
        if let Some(trap) = &frame.trap {
            let class = if trap.user { "trap user" } else { "trap" };
            let _ = writeln!(text, "<li class=\"{class}\">{}</li>", Text(&stack::interruption(trap)));
        }
    }
    text += "</ol>\n";
    if let Some(why) = broken {
        let _ = writeln!(text, "<p class=\"broken\">The stack cannot be followed further: {}</p>", Text(why));
    }
    text
}

fn head(frame: &StackFrame) -> String {
    let function = frame.function.as_deref().unwrap_or("?");
    let mut text = format!("<b>{}</b>", Text(function));
    match (frame.inlined, frame.offset) {
        (true, _) => text += " <i>inlined</i>",
        (false, Some(offset)) => text += &format!("+{offset:#x}"),
        (false, None) => {}
    }
    if let Some(module) = frame.module.as_deref().filter(|module| *module != "kernel") {
        text += &format!(" [{}]", Text(module));
    }
    if let (Some(file), Some(line @ 1..)) = (&frame.file, frame.line) {
        text += &format!(" <span class=\"place\">{}:{line}</span>", Text(stack::short(file)));
    }
    text
}

fn body(frame: &StackFrame, source: &Source<'_>) -> String {
    let mut text = String::new();
    if !frame.arguments.is_empty() {
        text += "<dl class=\"arguments\">";
        for argument in &frame.arguments {
            let class = if argument.known { "" } else { " class=\"unknown\"" };
            let _ = write!(text, "<dt>{}</dt><dd{class}>{}</dd>", Text(&argument.name), Text(&argument.value));
        }
        text += "</dl>";
    }
    let line = frame.line.and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0);
    if let (Some(file), Some(line)) = (&frame.file, line)
        && let Some(lines) = source(file, line)
    {
        text += "<pre class=\"source\">";
        for (number, code) in lines {
            let tag = if number == line { "mark" } else { "span" };
            let _ = write!(text, "<{tag}>{number:>6}  {}</{tag}>", Text(&code));
        }
        text += "</pre>";
    }
    if !text.is_empty() && !frame.inlined {
        let word =
            |name: &str, value: Option<u64>| value.map(|value| format!(" {name} {value:#x}")).unwrap_or_default();
        let _ = write!(
            text,
            "<p class=\"words\">pc {:#x}{}{}</p>",
            frame.address,
            word("sp", frame.sp),
            word("fp", frame.fp)
        );
    }
    text
}

/// What the kernel printed, a line each, those that were in no log marked.
fn lines(all: &str, unread: &str) -> String {
    let unread = if all.ends_with(unread) { unread.lines().count() } else { 0 };
    let count = all.lines().count();
    let mut text = "<pre class=\"messages\">".to_owned();
    for (number, line) in all.lines().enumerate() {
        let class = if number + unread >= count { " class=\"unread\"" } else { "" };
        let _ = write!(text, "<span{class}>{}</span>", Text(line));
    }
    text + "</pre>\n"
}

fn processes(report: &crash::Report) -> String {
    let mut text = "<table class=\"processes\">\n<thead><tr><th>PID</th><th>TID</th><th>State</th><th>CPU</th>\
                    <th>Waits for</th><th>Name</th></tr></thead>\n"
        .to_owned();
    for process in &report.processes {
        text += "<tbody>\n";
        let _ = writeln!(
            text,
            "<tr class=\"process\"><td class=\"n\">{}</td><td></td><td>{}</td><td></td><td></td><td>{}</td></tr>",
            process.pid,
            Text(&process.state),
            Text(&process.name)
        );
        for thread in &process.threads {
            let is_culprit = Some(thread.tid) == report.panic.thread;
            let _ = writeln!(
                text,
                "<tr class=\"thread{}\"><td></td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td>\
                 <td>{}</td></tr>",
                if is_culprit { " culprit" } else { "" },
                thread.tid,
                Text(&thread.state),
                thread.cpu.map(|cpu| cpu.to_string()).unwrap_or_default(),
                Text(thread.wait.as_deref().unwrap_or_default()),
                Text(&thread.name)
            );
        }
        text += "</tbody>\n";
    }
    text + "</table>\n"
}

/// Stacks, each with the threads that have it.
fn stacks(groups: &[Group], source: &Source<'_>) -> String {
    let mut text = String::new();
    for group in groups {
        let name = |thread: &Thread| format!("{} {}", thread.tid, bt::name(thread));
        let names: Vec<String> = group.threads.iter().map(name).collect();
        let mut title = names.iter().take(NAMED).cloned().collect::<Vec<String>>().join(", ");
        if let Some(more @ 1..) = names.len().checked_sub(NAMED) {
            title += &format!(" and {more} more");
        }
        let wait = group.threads.first().and_then(|thread| thread.wait.as_deref());
        let wait =
            wait.map(|wait| format!(" <span class=\"place\">waits for {}</span>", Text(wait))).unwrap_or_default();
        let all = match names.len() > NAMED {
            true => format!("<p class=\"names\">{}</p>\n", Text(&names.join(", "))),
            false => String::new(),
        };
        let count = plural(names.len() as u64, "thread");
        let _ = writeln!(
            text,
            "<details class=\"stack\"><summary><b>{count}</b> {}{wait}</summary>\n{all}{}</details>",
            Text(&title),
            stack_of(&group.stack, source)
        );
    }
    text
}
