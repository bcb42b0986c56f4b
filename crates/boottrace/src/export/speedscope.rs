//! speedscope's own format: a profile of samples for the way, one of events for each lane
//! (`file-format-schema.json` of speedscope).

use std::io::{self, Write};

use super::{json, micros, quoted};
use crate::names::Name;
use crate::timeline::{Lane, Timeline};

impl Timeline {
    /// Writes a file for speedscope. Times are microseconds; ticks, where their length is not known.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_speedscope(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\"name\":{},", quoted(name))?;
        write!(out, "\"exporter\":\"tine\",\"shared\":{{\"frames\":[")?;
        // Frames are the labels, by their numbers.
        let mut separator = "";
        for name in self.names.all() {
            write!(out, "{separator}{{\"name\":{}}}", quoted(self.names.text(name)))?;
            separator = ",\n";
        }
        write!(out, "]}},\"profiles\":[")?;
        let mut separator = "";
        if !self.path.is_empty() {
            self.write_path(out)?;
            separator = ",\n";
        }
        for lane in self.lanes.iter().filter(|lane| !lane.spans.is_empty()) {
            write!(out, "{separator}")?;
            self.write_lane(lane, out)?;
            separator = ",\n";
        }
        writeln!(out, "]}}")
    }

    fn unit(&self) -> &'static str {
        if self.clock.hertz.is_some() { "microseconds" } else { "none" }
    }

    fn write_path(&self, out: &mut dyn Write) -> io::Result<()> {
        let time = |units| micros(&self.clock, units);
        write!(
            out,
            "{{\"type\":\"sampled\",\"name\":\"way to a booted system\",\"unit\":\"{}\",\"startValue\":0,\"endValue\":{},\"samples\":[",
            self.unit(),
            time(self.whole())
        )?;
        let mut separator = "";
        for segment in &self.path {
            let frames: Vec<usize> = self.stacks.frames(segment.stack).into_iter().map(Name::index).collect();
            write!(out, "{separator}{}", json(&frames))?;
            separator = ",";
        }
        write!(out, "],\"weights\":[")?;
        let mut separator = "";
        for segment in &self.path {
            write!(out, "{separator}{}", time(segment.end - segment.start))?;
            separator = ",";
        }
        write!(out, "]}}")
    }

    fn write_lane(&self, lane: &Lane, out: &mut dyn Write) -> io::Result<()> {
        let time = |units| micros(&self.clock, units);
        let (start, end) = (time(lane.start), time(lane.spans.iter().map(|span| span.end).max().unwrap_or(lane.end)));
        write!(
            out,
            "{{\"type\":\"evented\",\"name\":{},\"unit\":\"{}\",\"startValue\":{start},\"endValue\":{end},\"events\":[",
            quoted(&lane.name),
            self.unit()
        )?;
        let mut open: Vec<(u64, usize)> = Vec::new();
        let mut separator = "";
        let mut event = |out: &mut dyn Write, kind: char, frame: usize, at: u64| {
            let written = write!(out, "{separator}{{\"type\":\"{kind}\",\"frame\":{frame},\"at\":{}}}", time(at));
            separator = ",";
            written
        };
        for span in &lane.spans {
            while open.len() > usize::from(span.depth) {
                if let Some((end, frame)) = open.pop() {
                    event(out, 'C', frame, end)?;
                }
            }
            let frame = self.stacks.name(span.stack).map_or(0, Name::index);
            event(out, 'O', frame, span.start)?;
            open.push((span.end, frame));
        }
        while let Some((end, frame)) = open.pop() {
            event(out, 'C', frame, end)?;
        }
        write!(out, "]}}")
    }
}
