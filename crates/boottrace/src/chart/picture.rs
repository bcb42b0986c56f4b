//! What is drawn: lanes of boxes, with the names and colours of these.

use std::collections::HashMap;

use crate::clock::Clock;
use crate::names::Name;
use crate::select::{FrameKind, bare_name, frame_kind};
use crate::stacks::Stack;
use crate::timeline::{Ending, Lane, LaneKind, MarkKind, Segment, Span, Timeline};

/// Rows of a lane that are drawn. Deeper ones are not.
const MOST_ROWS: u16 = 64;
/// Shades of functions.
const SHADES: u32 = 6;

/// A part of a chart with a clock of its own.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// Units a second.
    pub(super) hertz: Option<u64>,
    /// What a time at the left end is called.
    pub(super) offset: u64,
    /// Where the picture ends.
    pub(super) length: u64,
    /// What 100 % are.
    pub(super) whole: u64,
    /// When the way ends, if that is not where the picture does.
    pub(super) done: Option<u64>,
    pub(super) labels: Vec<Label>,
    pub(super) lanes: Vec<DrawnLane>,
}

/// A name with its colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) text: String,
    /// A class of the style sheet.
    pub(super) class: String,
    /// What else there is to say about it.
    pub(super) note: String,
}

/// A lane as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct DrawnLane {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) rows: u16,
    /// By their beginnings, what is around others first.
    pub(super) boxes: Vec<Drawn>,
    /// Times, and labels by their numbers.
    pub(super) marks: Vec<(u64, u32)>,
}

/// A box. Times count from the left end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) label: u32,
    pub(super) row: u16,
    pub(super) ending: Ending,
}

impl Section {
    pub(super) fn new(name: &str, timeline: &Timeline) -> Section {
        let mut labels = Labels { list: Vec::new(), index: HashMap::new(), marks: HashMap::new() };
        let mut lanes = Vec::new();
        let is_traced = timeline.lanes.iter().any(|lane| matches!(lane.kind, LaneKind::Main | LaneKind::Rc));
        if is_traced && !timeline.path.is_empty() {
            lanes.push(way(timeline, &mut labels));
        }
        let drawn = |lane: &&Lane| !lane.spans.is_empty();
        lanes.extend(timeline.lanes.iter().filter(drawn).map(|lane| draw(timeline, lane, &mut labels)));
        let left_out = timeline.lanes.iter().filter(|lane| lane.spans.is_empty()).count();
        let whole = timeline.whole();
        let mut subtitle = format!("{} ({})", timeline.clock.show(whole), timeline.sources.join(", "));
        if left_out > 0 {
            subtitle.push_str(&format!("; {left_out} threads without calls are not drawn"));
        }
        let done = timeline.path.last().map(|last| last.end - timeline.start);
        let length = (timeline.end - timeline.start).max(1);
        Section {
            title: name.to_owned(),
            subtitle,
            hertz: timeline.clock.hertz,
            offset: timeline.start - timeline.origin.min(timeline.start),
            length,
            whole,
            done: done.filter(|&done| done < length),
            labels: labels.list,
            lanes,
        }
    }

    pub(super) fn clock(&self) -> Clock {
        Clock { unit: crate::clock::Unit::Ticks, hertz: self.hertz, source: String::new() }
    }
}

struct Labels {
    list: Vec<Label>,
    index: HashMap<(Name, bool), u32>,
    marks: HashMap<(MarkKind, Name), u32>,
}

impl Labels {
    fn of(&mut self, timeline: &Timeline, kind: LaneKind, stack: Stack) -> u32 {
        let Some(name) = timeline.stacks.name(stack) else { return self.add(String::new(), "k0".to_owned()) };
        let is_process = matches!(kind, LaneKind::Rc | LaneKind::Daemon | LaneKind::Console);
        if let Some(&label) = self.index.get(&(name, is_process)) {
            return label;
        }
        let text = timeline.names.text(name);
        let class = class(frame_kind(kind, text), bare_name(text));
        let label = self.add(text.to_owned(), class);
        self.index.insert((name, is_process), label);
        label
    }

    fn mark(&mut self, timeline: &Timeline, kind: MarkKind, name: Name) -> u32 {
        if let Some(&label) = self.marks.get(&(kind, name)) {
            return label;
        }
        let text = match kind {
            MarkKind::Event => timeline.names.text(name).to_owned(),
            kind => format!("{}: {}", kind.id(), timeline.names.text(name)),
        };
        let label = self.add(text, String::new());
        self.marks.insert((kind, name), label);
        label
    }

    fn add(&mut self, text: String, class: String) -> u32 {
        self.list.push(Label { text, class, note: String::new() });
        (self.list.len() - 1) as u32
    }
}

/// The class of the style sheet: by kind, functions in shades by their names.
fn class(kind: FrameKind, name: &str) -> String {
    match kind {
        FrameKind::Function => {
            let function = name.split(' ').next().unwrap_or(name);
            let hash =
                function.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
            format!("k{}", (hash >> 8) % SHADES)
        }
        FrameKind::Driver => "d".to_owned(),
        FrameKind::Rc => "r".to_owned(),
        FrameKind::Process => "p".to_owned(),
        FrameKind::Wait => "w".to_owned(),
        FrameKind::Line => "l".to_owned(),
    }
}

fn draw(timeline: &Timeline, lane: &Lane, labels: &mut Labels) -> DrawnLane {
    let boxes = lane.spans.iter().map(|span| drawn(timeline, lane.kind, span, labels)).collect();
    let marks = lane.marks.iter();
    let marks =
        marks.map(|mark| (mark.time - timeline.start.min(mark.time), labels.mark(timeline, mark.kind, mark.name)));
    let marks = marks.collect();
    let subtitle =
        if lane.id == lane.name { lane.kind.id().to_owned() } else { format!("{} {}", lane.kind.id(), lane.id) };
    finish(lane.name.clone(), subtitle, boxes, marks)
}

fn drawn(timeline: &Timeline, kind: LaneKind, span: &Span, labels: &mut Labels) -> Drawn {
    let from = timeline.start;
    Drawn {
        start: span.start.saturating_sub(from),
        end: span.end.saturating_sub(from),
        label: labels.of(timeline, kind, span.stack),
        row: span.depth,
        ending: span.ending,
    }
}

fn finish(title: String, subtitle: String, mut boxes: Vec<Drawn>, marks: Vec<(u64, u32)>) -> DrawnLane {
    let rows = boxes.iter().map(|drawn| drawn.row + 1).max().unwrap_or(1);
    let mut subtitle = subtitle.trim().to_owned();
    if rows > MOST_ROWS {
        boxes.retain(|drawn| drawn.row < MOST_ROWS);
        subtitle.push_str(&format!("; {} deeper rows are not drawn", rows - MOST_ROWS));
    }
    DrawnLane { title, subtitle, rows: rows.min(MOST_ROWS), boxes, marks }
}

/// The way to a booted system as a lane of its own.
fn way(timeline: &Timeline, labels: &mut Labels) -> DrawnLane {
    let spans = nested(timeline, &timeline.path);
    let boxes = spans.iter().map(|span| drawn(timeline, LaneKind::Thread, span, labels)).collect();
    finish("way to a booted system".to_owned(), "waits followed".to_owned(), boxes, Vec::new())
}

/// Spans of which segments are made: neighbours with the same outer frames have these in common.
fn nested(timeline: &Timeline, segments: &[Segment]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    // Places in `spans` of what is open.
    let mut open: Vec<usize> = Vec::new();
    let mut before: Vec<Stack> = Vec::new();
    let mut until = 0;
    for segment in segments {
        let mut frames = Vec::new();
        let mut at = segment.stack;
        while at != Stack::EMPTY {
            frames.push(at);
            at = timeline.stacks.parent(at);
        }
        frames.reverse();
        let gap = segment.start > until;
        let same = if gap { 0 } else { frames.iter().zip(&before).take_while(|(a, b)| a == b).count() };
        open.truncate(same);
        for &at in &open {
            if let Some(span) = spans.get_mut(at) {
                span.end = segment.end;
            }
        }
        for &stack in &frames[same..] {
            let depth = u16::try_from(open.len()).unwrap_or(u16::MAX);
            open.push(spans.len());
            spans.push(Span { start: segment.start, end: segment.end, stack, depth, ending: Ending::Told });
        }
        before = frames;
        until = segment.end;
    }
    spans
}
