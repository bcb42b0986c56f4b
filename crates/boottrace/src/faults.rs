//! What is wrong with a log: kept, counted, and told.

use std::collections::BTreeMap;
use std::fmt;

/// Faults of one kind that are kept with their text; all are counted.
const KEPT: u64 = 200;
/// Bytes of a line that are kept with a fault.
const TEXT: usize = 200;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// A line among the records that is none.
    Noise,
    /// A line that begins or ends like a record and is not a whole one.
    HalfLine,
    /// A record that follows other text in its line. The record is used.
    Joined,
    /// An EXIT of something that was not entered. It is kept as a mark.
    UnmatchedExit,
    /// Something that was entered and not left before what surrounds it was. It is taken to end there.
    MissingExit,
    /// Something that begins and has no end in the log. It is taken to last as long as the log.
    NoEnd,
    /// The clock went back. Whatever follows is moved forward, so that it comes after what precedes it.
    ClockBack,
    /// One record has a time more than a second away from both its neighbours, which fit together. It is put after
    /// the one before it.
    OddTime,
    /// A time without any record that is longer than all the rest. It is left as it is.
    Gap,
    /// The trace is there more than once; the longest is used.
    Repeated,
    /// Frames deeper than are shown. Their time is their caller's.
    TooDeep,
    /// Events that are missing in a table, by the times of their neighbours.
    MissingEvents,
    /// A process whose parent is not in the log, or that is its own ancestor.
    LostProcess,
    /// A process that ended after its parent. On the way to a booted system it counts up to the parent's end.
    Outlived,
}

impl FaultKind {
    /// A short name for scripts.
    pub fn id(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::HalfLine => "half-line",
            Self::Joined => "joined-lines",
            Self::UnmatchedExit => "unmatched-exit",
            Self::MissingExit => "missing-exit",
            Self::NoEnd => "no-end",
            Self::ClockBack => "clock-back",
            Self::OddTime => "odd-time",
            Self::Gap => "gap",
            Self::Repeated => "repeated",
            Self::TooDeep => "too-deep",
            Self::MissingEvents => "missing-events",
            Self::LostProcess => "lost-process",
            Self::Outlived => "outlived",
        }
    }

    /// Whether it is something that sound logs have, too.
    pub fn is_usual(self) -> bool {
        matches!(self, Self::Outlived)
    }

    fn sentence(self, count: u64) -> String {
        let (one, many) = match self {
            Self::Noise => ("line of other text among the records", "lines of other text among the records"),
            Self::HalfLine => ("record is cut and was not used", "records are cut and were not used"),
            Self::Joined => ("record follows other text in its line", "records follow other text in their lines"),
            Self::UnmatchedExit => ("EXIT has no ENTER", "EXITs have no ENTER"),
            Self::MissingExit => (
                "ENTER has no EXIT: taken to end with its caller",
                "ENTERs have no EXIT: taken to end with their callers",
            ),
            Self::NoEnd => ("span has no end: drawn to the end", "spans have no end: drawn to the end"),
            Self::ClockBack => (
                "time the clock went back: what follows was moved forward",
                "times the clock went back: what follows was moved forward",
            ),
            Self::OddTime => (
                "record has a time far from both its neighbours: put after the one before it",
                "records have times far from both their neighbours: put after the ones before them",
            ),
            Self::Gap => ("gap is longer than all the rest: a long wait, or a clock that jumped", "gaps"),
            Self::Repeated => {
                ("more copy of the trace: the longest was used", "more copies of the trace: the longest was used")
            }
            Self::TooDeep => ("frame is too deep to be shown", "frames are too deep to be shown"),
            Self::MissingEvents => ("place where events are missing", "places where events are missing"),
            Self::LostProcess => ("process has no known parent", "processes have no known parent"),
            Self::Outlived => ("process outlived its parent", "processes outlived their parents"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// Number of the line, from 1 on; 0 where it is about no line.
    pub line: u64,
    /// What is there, or more about it.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        write!(f, "{}: {}", self.kind.id(), self.text)
    }
}

/// All faults of a log.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    counts: BTreeMap<FaultKind, u64>,
    kept: Vec<Fault>,
    /// Sentences on what makes the trace incomplete: a full buffer, a missing end.
    incomplete: Vec<String>,
}

impl Faults {
    /// Counts a fault, and keeps it unless there are many of its kind.
    pub fn add(&mut self, kind: FaultKind, line: u64, text: impl AsRef<str>) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= KEPT {
            let text = text.as_ref();
            let end = (0..=text.len().min(TEXT)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            self.kept.push(Fault { kind, line, text: text[..end].to_owned() });
        }
    }

    /// Says why the trace is incomplete.
    pub fn incomplete(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.incomplete.contains(&why) {
            self.incomplete.push(why);
        }
    }

    /// How many of a kind there are.
    pub fn count(&self, kind: FaultKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// The kinds that occur, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (FaultKind, u64)> + '_ {
        self.counts.iter().map(|(&kind, &count)| (kind, count))
    }

    /// Those that were kept: the first 200 of each kind.
    pub fn kept(&self) -> &[Fault] {
        &self.kept
    }

    /// Why the trace is incomplete, if it is.
    pub fn why_incomplete(&self) -> &[String] {
        &self.incomplete
    }

    /// All that is to be told, a sentence each, the worst first.
    pub fn sentences(&self) -> Vec<String> {
        let counted = self.counts.iter().map(|(kind, &count)| {
            let first = self.kept.iter().find(|fault| fault.kind == *kind && fault.line > 0);
            let place = first.map_or_else(String::new, |fault| format!(" (first in line {})", fault.line));
            format!("{}{place}", kind.sentence(count))
        });
        self.incomplete.iter().cloned().chain(counted).collect()
    }

    /// Takes in those of another part of the log.
    pub fn absorb(&mut self, other: Faults) {
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.kept.extend(other.kept);
        for why in other.incomplete {
            self.incomplete(why);
        }
    }
}
