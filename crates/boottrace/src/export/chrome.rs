//! The JSON of Chrome's tracing, which Perfetto opens (Trace Event Format: complete, instant and metadata events).

use std::io::{self, Write};

use super::{micros, quoted};
use crate::timeline::Timeline;

/// Threads that show the way have this number, lanes those above.
const PATH: usize = 0;

impl Timeline {
    /// Writes Chrome's trace JSON: a process with a thread for the way to a booted system and one for each lane. Times
    /// are microseconds; ticks, where their length is not known.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_chrome(&self, out: &mut dyn Write) -> io::Result<()> {
        let unit = if self.clock.hertz.is_some() { "microseconds" } else { "ticks" };
        write!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"unit\":\"{unit}\"}},\"traceEvents\":[")?;
        write!(out, "{{\"ph\":\"M\",\"pid\":1,\"name\":\"process_name\",\"args\":{{\"name\":\"boot\"}}}}")?;
        for (tid, name) in std::iter::once("way to a booted system")
            .chain(self.lanes.iter().map(|lane| lane.name.as_str()))
            .enumerate()
        {
            let name = quoted(name);
            write!(
                out,
                ",\n{{\"ph\":\"M\",\"pid\":1,\"tid\":{tid},\"name\":\"thread_name\",\"args\":{{\"name\":{name}}}}},\n\
                 {{\"ph\":\"M\",\"pid\":1,\"tid\":{tid},\"name\":\"thread_sort_index\",\"args\":{{\"sort_index\":{tid}}}}}"
            )?;
        }
        for segment in &self.path {
            let name = self.stacks.text(segment.stack, &self.names);
            self.write_complete(out, PATH, &name, segment.start, segment.end)?;
        }
        for (tid, lane) in (PATH + 1..).zip(&self.lanes) {
            for span in &lane.spans {
                let name = self.stacks.name(span.stack).map_or("", |name| self.names.text(name));
                self.write_complete(out, tid, name, span.start, span.end)?;
            }
            for mark in &lane.marks {
                let name = quoted(&format!("{} {}", mark.kind.id(), self.names.text(mark.name)));
                let time = micros(&self.clock, mark.time);
                write!(out, ",\n{{\"ph\":\"i\",\"s\":\"t\",\"pid\":1,\"tid\":{tid},\"ts\":{time},\"name\":{name}}}")?;
            }
        }
        writeln!(out, "\n]}}")
    }

    fn write_complete(&self, out: &mut dyn Write, tid: usize, name: &str, start: u64, end: u64) -> io::Result<()> {
        let (name, start, time) = (quoted(name), micros(&self.clock, start), micros(&self.clock, end - start));
        write!(out, ",\n{{\"ph\":\"X\",\"pid\":1,\"tid\":{tid},\"ts\":{start},\"dur\":{time},\"name\":{name}}}")
    }
}
