//! Everything a timeline has, as JSON of our own.

use std::io::{self, Write};

use super::{json, quoted};
use crate::clock::Unit;
use crate::timeline::{Ending, Segment, Timeline};

impl Timeline {
    /// Writes all of it: clock, lanes with their spans and marks, the way, faults and notes. Times are units of the
    /// clock. A span is `[start, end, name, depth]`, and has a fifth element where its end is not told: `"caller"` or
    /// `"open"`; a mark is `[time, kind, name]`; a segment of the way `[start, end, "frame;frame"]`. Names are numbers
    /// of `names`.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let unit = match self.clock.unit {
            Unit::Ticks => "ticks",
            Unit::Micros => "us",
        };
        writeln!(out, "{{\"format\":\"tine-boot-1\",\"sources\":{},", json(&self.sources))?;
        writeln!(
            out,
            "\"unit\":\"{unit}\",\"hertz\":{},\"start\":{},\"end\":{},\"whole\":{},",
            json(&self.clock.hertz),
            self.start,
            self.end,
            self.whole()
        )?;
        write!(out, "\"names\":[")?;
        for (at, name) in self.names.all().enumerate() {
            let separator = if at == 0 { "" } else { ",\n" };
            write!(out, "{separator}{}", quoted(self.names.text(name)))?;
        }
        writeln!(out, "],\n\"lanes\":[")?;
        for (at, lane) in self.lanes.iter().enumerate() {
            let separator = if at == 0 { "" } else { ",\n" };
            write!(
                out,
                "{separator}{{\"kind\":\"{}\",\"id\":{},\"name\":{},\"start\":{},\"end\":{},\"spans\":[",
                lane.kind.id(),
                quoted(&lane.id),
                quoted(&lane.name),
                lane.start,
                lane.end
            )?;
            for (at, span) in lane.spans.iter().enumerate() {
                let separator = if at == 0 { "" } else { "," };
                let name = self.stacks.name(span.stack).map_or(0, |name| name.index());
                let ending = match span.ending {
                    Ending::Told => "",
                    Ending::Caller => ",\"caller\"",
                    Ending::Open => ",\"open\"",
                };
                write!(out, "{separator}[{},{},{name},{}{ending}]", span.start, span.end, span.depth)?;
            }
            write!(out, "],\"marks\":[")?;
            for (at, mark) in lane.marks.iter().enumerate() {
                let separator = if at == 0 { "" } else { "," };
                write!(out, "{separator}[{},\"{}\",{}]", mark.time, mark.kind.id(), mark.name.index())?;
            }
            write!(out, "]}}")?;
        }
        writeln!(out, "],")?;
        self.write_segments("path", &self.path, out)?;
        self.write_segments("beside", &self.beside, out)?;
        writeln!(out, "\"incomplete\":{},", json(&self.faults.why_incomplete()))?;
        let counts: serde_json::Map<String, serde_json::Value> =
            self.faults.counts().map(|(kind, count)| (kind.id().to_owned(), count.into())).collect();
        writeln!(out, "\"fault_counts\":{},\n\"faults\":[", json(&counts))?;
        for (at, fault) in self.faults.kept().iter().enumerate() {
            let separator = if at == 0 { "" } else { ",\n" };
            let text = quoted(&fault.text);
            write!(out, "{separator}{{\"kind\":\"{}\",\"line\":{},\"text\":{text}}}", fault.kind.id(), fault.line)?;
        }
        writeln!(out, "],\n\"notes\":{}}}", json(&self.notes))
    }

    fn write_segments(&self, name: &str, segments: &[Segment], out: &mut dyn Write) -> io::Result<()> {
        write!(out, "\"{name}\":[")?;
        for (at, segment) in segments.iter().enumerate() {
            let separator = if at == 0 { "" } else { ",\n" };
            let stack = quoted(&self.stacks.text(segment.stack, &self.names));
            write!(out, "{separator}[{},{},{stack}]", segment.start, segment.end)?;
        }
        writeln!(out, "],")
    }
}
