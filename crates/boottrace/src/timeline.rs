//! A boot, or a shutdown, as it went.

use crate::clock::Clock;
use crate::faults::Faults;
use crate::names::{Name, Names};
use crate::stacks::{Stack, Stacks};
use crate::table::TableKind;

/// A boot, or a shutdown, as it went: who did what when, and what it had to wait for.
///
/// Times are in the units of [`clock`](Timeline::clock), from its zero on.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// What it was made from, in words: `debug.tslog`, `console`.
    pub sources: Vec<String>,
    /// The clock.
    pub clock: Clock,
    /// Labels.
    pub names: Names,
    /// Call paths.
    pub stacks: Stacks,
    /// Threads, processes, tables, in the order in which they are shown.
    pub lanes: Vec<Lane>,
    /// The way to a booted system, or, where the log has no boot, to one that is down: what was done at each time, waits
    /// being followed to who was waited for. In the order of time, without overlaps.
    pub path: Vec<Segment>,
    /// What else counts where the time of call paths is added up: tables that are not on the way, and all other threads
    /// where the log is of no whole boot.
    pub beside: Vec<Segment>,
    /// The time from which others are counted when they are shown.
    pub origin: u64,
    /// The earliest time that is shown.
    pub start: u64,
    /// The latest time that is shown.
    pub end: u64,
    /// What is wrong with the log.
    pub faults: Faults,
    /// What else there is to say about it, a sentence each.
    pub notes: Vec<String>,
}

/// What a lane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LaneKind {
    /// From the start of the clock to the first record.
    Firmware,
    /// The boot loader.
    Loader,
    /// The thread that starts the kernel, or `init`.
    Main,
    /// Any other thread of the kernel.
    Thread,
    /// `init`, `/etc/rc` and what they run.
    Rc,
    /// A process that is still there when `/etc/rc` is done, or runs beside it.
    Daemon,
    /// A table of BootTrace.
    Table(TableKind),
    /// Lines of a console with times.
    Console,
}

impl LaneKind {
    /// A short name for scripts.
    pub fn id(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Loader => "loader",
            Self::Main => "main",
            Self::Thread => "thread",
            Self::Rc => "rc",
            Self::Daemon => "daemon",
            Self::Table(kind) => kind.name(),
            Self::Console => "console",
        }
    }
}

/// A thread, process or table.
#[derive(Clone, Debug)]
pub struct Lane {
    /// What it shows.
    pub kind: LaneKind,
    /// Its address, or its number; empty where it has none.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The stack that it has where none of its spans is.
    pub root: Stack,
    /// Its first time.
    pub start: u64,
    /// Its last time.
    pub end: u64,
    /// In the order of their beginnings, callers before what they call.
    pub spans: Vec<Span>,
    /// In the order of time.
    pub marks: Vec<Mark>,
}

/// How it is known when a [`Span`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The log says so.
    Told,
    /// With its caller: its own end is not in the log.
    Caller,
    /// It is not known: the log ends before.
    Open,
}

/// Something that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub start: u64,
    /// When it ended; never before its start.
    pub end: u64,
    /// The call path, itself included.
    pub stack: Stack,
    /// How many spans of the lane are around it.
    pub depth: u16,
    /// How its end is known.
    pub ending: Ending,
}

/// What a [`Mark`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkKind {
    /// An event with no further meaning.
    Event,
    /// The thread begins to wait for something.
    Wait,
    /// It waits no more.
    Unwait,
    /// The thread keeps others from going on that wait for something.
    Hold,
    /// It keeps them no more.
    Release,
    /// An EXIT of something that was not entered.
    UnmatchedExit,
}

impl MarkKind {
    /// A short name for scripts.
    pub fn id(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Wait => "wait",
            Self::Unwait => "unwait",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::UnmatchedExit => "unmatched-exit",
        }
    }
}

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub time: u64,
    /// What it is.
    pub kind: MarkKind,
    /// What it is about.
    pub name: Name,
}

/// A time with one call path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// When it begins.
    pub start: u64,
    /// When it ends, later than it begins.
    pub end: u64,
    /// What is done.
    pub stack: Stack,
}

impl Timeline {
    /// How long the way to a booted system took; where there is none, how long the timeline is.
    pub fn whole(&self) -> u64 {
        if self.path.is_empty() {
            return self.end - self.start;
        }
        self.path.iter().map(|segment| segment.end - segment.start).sum()
    }

    /// Where a picture of the boot may well end, if the timeline goes on much longer: with tables of run time, or daemons
    /// that were started hours later. Counts from the timeline's start.
    pub fn booted(&self) -> Option<u64> {
        let booted = self.path.last()?.end.saturating_sub(self.start);
        let all = self.end - self.start;
        (booted > 0 && all / 3 > booted).then(|| booted + booted / 10)
    }

    /// The time of each call path itself, by its number, over some segments.
    pub fn own_times(&self, segments: impl IntoIterator<Item = Segment>) -> Vec<u64> {
        let mut own = vec![0u64; self.stacks.len()];
        for segment in segments {
            if let Some(own) = own.get_mut(segment.stack.index()) {
                *own = own.saturating_add(segment.end - segment.start);
            }
        }
        own
    }
}

impl Lane {
    /// What the lane did at each time, from its first time to its last.
    pub fn segments(&self) -> Vec<Segment> {
        let mut sweep =
            Sweep { segments: Vec::with_capacity(self.spans.len() * 2 + 1), at: self.start, open: Vec::new() };
        for span in &self.spans {
            sweep.until(span.start, self.root);
            sweep.open.push(span);
        }
        sweep.until(self.end, self.root);
        sweep.segments
    }

    /// How many rows its spans take.
    pub fn rows(&self) -> u16 {
        self.spans.iter().map(|span| span.depth + 1).max().unwrap_or(0)
    }
}

/// Goes through the spans of a lane in the order of time.
struct Sweep<'a> {
    segments: Vec<Segment>,
    at: u64,
    open: Vec<&'a Span>,
}

impl Sweep<'_> {
    /// All up to a time, what ends until then being closed.
    fn until(&mut self, time: u64, root: Stack) {
        while let Some(span) = self.open.pop_if(|span| span.end <= time) {
            self.add(span.end, span.stack);
        }
        self.add(time, self.open.last().map_or(root, |span| span.stack));
    }

    fn add(&mut self, end: u64, stack: Stack) {
        if end > self.at {
            self.segments.push(Segment { start: self.at, end, stack });
            self.at = end;
        }
    }
}
