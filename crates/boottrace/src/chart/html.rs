//! The chart as a page, with tables and notes below it.

use std::io::{self, Write};

use super::picture::Section;
use super::{escaped, svg};
use crate::clock::Clock;
use crate::stacks::Stack;
use crate::timeline::Timeline;
use crate::top::{By, Calls, Link};

/// Lines of a table.
const LINES: usize = 40;
/// Steps of the way: at least so much of the whole, in thousandths.
const STEP: u64 = 5;
/// Frames that tell one step from another.
const STEP_DEPTH: u32 = 4;

/// What is below a picture.
#[derive(Clone, Debug)]
pub(super) struct Page {
    title: String,
    clock: Clock,
    whole: u64,
    calls: Vec<Calls>,
    waits: Vec<Calls>,
    chain: Vec<Link>,
    steps: Vec<Step>,
    notes: Vec<String>,
}

/// A part of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    start: u64,
    time: u64,
    name: String,
}

impl Page {
    pub(super) fn new(title: &str, timeline: &Timeline) -> Page {
        let first = |mut calls: Vec<Calls>| {
            calls.truncate(LINES);
            calls
        };
        let mut notes = timeline.faults.sentences();
        notes.extend(timeline.notes.iter().cloned());
        if !timeline.clock.source.is_empty() {
            let hertz = timeline.clock.hertz.map_or_else(String::new, |hertz| format!("{hertz} Hz: "));
            notes.push(format!("the frequency of the clock is {hertz}{}", timeline.clock.source));
        }
        Page {
            title: title.to_owned(),
            clock: timeline.clock.clone(),
            whole: timeline.whole(),
            calls: first(timeline.top(By::Frame)),
            waits: first(timeline.top(By::Wait)),
            chain: timeline.longest_chain(),
            steps: steps(timeline),
            notes,
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "<section><h2>{}</h2>", escaped(&self.title))?;
        if !self.notes.is_empty() {
            writeln!(out, "<h3>Notes</h3><ul>")?;
            for note in &self.notes {
                writeln!(out, "<li>{}</li>", escaped(note))?;
            }
            writeln!(out, "</ul>")?;
        }
        writeln!(out, "<h3>Where the time goes</h3>")?;
        self.write_calls(&self.calls, out)?;
        if !self.waits.is_empty() {
            writeln!(out, "<h3>Waiting</h3>")?;
            self.write_calls(&self.waits, out)?;
        }
        if !self.chain.is_empty() {
            writeln!(
                out,
                "<h3>The longest chain</h3><table><tr><th>total</th><th>self</th><th>share</th><th class=\"name\">name</th></tr>"
            )?;
            for (depth, link) in self.chain.iter().enumerate() {
                writeln!(
                    out,
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"name\" style=\"padding-left:{}em\"><a>{}</a></td></tr>",
                    self.clock.show(link.total),
                    self.clock.show(link.own),
                    self.share(link.total),
                    1 + depth.min(40),
                    escaped(&link.name)
                )?;
            }
            writeln!(out, "</table>")?;
        }
        if !self.steps.is_empty() {
            writeln!(
                out,
                "<h3>The critical path</h3><table><tr><th>at</th><th>takes</th><th>share</th><th class=\"name\">what</th></tr>"
            )?;
            for step in &self.steps {
                writeln!(
                    out,
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"name\">{}</td></tr>",
                    self.clock.show(step.start),
                    self.clock.show(step.time),
                    self.share(step.time),
                    escaped(&step.name)
                )?;
            }
            writeln!(out, "</table>")?;
        }
        writeln!(out, "</section>")
    }

    fn write_calls(&self, calls: &[Calls], out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "<table><tr><th>self</th><th>total</th><th>on the way</th><th>calls</th><th class=\"name\">name</th></tr>"
        )?;
        for row in calls {
            let within =
                row.within.as_ref().map_or_else(String::new, |within| format!(" <i>in {}</i>", escaped(within)));
            writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"name\"><a>{}</a>{within}</td></tr>",
                self.clock.show(row.own),
                self.clock.show(row.total),
                self.share(row.on_path),
                row.calls,
                escaped(&row.name)
            )?;
        }
        writeln!(out, "</table>")
    }

    fn share(&self, units: u64) -> String {
        if self.whole == 0 || units == 0 {
            return "-".to_owned();
        }
        format!("{:.1} %", units as f64 * 100.0 / self.whole as f64)
    }
}

/// The way in steps: what has the same outer frames is one, and what is too short is put together.
fn steps(timeline: &Timeline) -> Vec<Step> {
    let whole = timeline.whole();
    let mut steps: Vec<(Step, Stack)> = Vec::new();
    for segment in &timeline.path {
        let stack = timeline.stacks.cut(segment.stack, STEP_DEPTH);
        let time = segment.end - segment.start;
        match steps.last_mut() {
            Some((step, before)) if *before == stack => step.time += time,
            _ => {
                let start = segment.start.saturating_sub(timeline.origin);
                let frames = timeline.stacks.frames(stack);
                let frames: Vec<&str> = frames.iter().map(|&name| timeline.names.text(name)).collect();
                steps.push((Step { start, time, name: frames.join(" > ") }, stack));
            }
        }
    }
    let mut shown: Vec<Step> = Vec::new();
    let mut short = 0u64;
    for (step, _) in steps {
        if u128::from(step.time) * 1000 >= u128::from(whole) * u128::from(STEP) {
            short = 0;
            shown.push(step);
            continue;
        }
        short += 1;
        let name = format!("({short} short step{})", if short == 1 { "" } else { "s" });
        match shown.last_mut() {
            Some(last) if short > 1 => {
                last.time += step.time;
                last.name = name;
            }
            _ => shown.push(Step { name, ..step }),
        }
    }
    shown
}

const STYLE: &str = "
:root { color-scheme: light dark; }
body { margin: 12px; font: 14px/1.4 system-ui, sans-serif; background: #fff; color: #1b1f24; }
h1 { font-size: 20px; margin: 0 0 4px; } h2 { font-size: 17px; } h3 { font-size: 14px; margin: 18px 0 4px; }
table { border-collapse: collapse; font: 12px/1.35 ui-monospace, Menlo, Consolas, monospace; }
th, td { padding: 1px 10px; text-align: right; white-space: nowrap; } td { border-top: 1px solid #e3e6ea; }
.name { text-align: left; white-space: normal; } .name a { cursor: pointer; } .name i { opacity: .7; }
p { margin: 0 0 8px; color: #5c6670; }
@media (prefers-color-scheme: dark) { @media not print {
  body { background: #15181c; color: #eceff2; } td { border-color: #2c333b; } p { color: #9aa5b1; } } }
@media print { @page { size: landscape; margin: 8mm; } p { display: none; } }
";

const SCRIPT: &str = "
document.addEventListener('click', event => {
  const link = event.target.closest('td.name a');
  if (!link) return;
  tineBoot.search('^(\\\\d+ )?' + link.textContent.replace(/[.*+?^${}()|[\\]\\\\]/g, '\\\\$&') + '$');
  scrollTo({ top: 0, behavior: 'smooth' });
});
";

const HELP: &str = "Click a box to zoom to it, drag over a time, or hold Ctrl or Shift with the wheel; double-click or 0 shows all; / searches; \
                    + - and the arrows move. Click a name in a table to find it.";

pub(super) fn write(title: &str, sections: &[Section], pages: &[Page], out: &mut dyn Write) -> io::Result<()> {
    begin(title, out)?;
    svg::write(title, sections, false, out)?;
    writeln!(out, "</div>")?;
    for page in pages {
        page.write(out)?;
    }
    end(out)
}

/// Writes what is before the picture.
pub(super) fn begin(title: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = escaped(title);
    writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>")?;
    writeln!(out, "<p>{HELP}</p>\n<div>")
}

/// Writes what is behind the tables.
pub(super) fn end(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<script>{SCRIPT}</script>\n</body></html>")
}
