//! A part of a timeline: some of its time, some of its threads, some of its depth.

use crate::names::Names;
use crate::stacks::{Stack, Stacks};
use crate::timeline::{Lane, LaneKind, Segment, Timeline};

/// What of a timeline is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// From this time on, in units of the clock from the timeline's start.
    pub since: Option<u64>,
    /// Up to this time.
    pub until: Option<u64>,
    /// Only threads, processes and tables of which the name has one of these in it, or the kind or address is one of
    /// these. All, if there is none.
    pub threads: Vec<String>,
    /// Only so many frames of each call path: what is deeper counts for its callers.
    pub depth: Option<u32>,
}

impl Timeline {
    /// The part that is wanted. With [`Selection::threads`] there is no way any more, and each thread counts for itself.
    pub fn select(mut self, selection: &Selection) -> Timeline {
        if !selection.threads.is_empty() {
            self.lanes.retain(|lane| is_wanted(lane, &selection.threads));
            self.path.clear();
            self.beside = self.lanes.iter().flat_map(Lane::segments).collect();
        }
        if selection.since.is_some() || selection.until.is_some() {
            let since = self.start.saturating_add(selection.since.unwrap_or(0)).min(self.end);
            let until =
                selection.until.map_or(self.end, |until| self.start.saturating_add(until).min(self.end)).max(since);
            (self.start, self.end) = (since, until);
            cut_times(&mut self.path, since, until);
            cut_times(&mut self.beside, since, until);
            for lane in &mut self.lanes {
                cut_lane(lane, since, until);
            }
            self.lanes.retain(|lane| lane.end > lane.start || !lane.spans.is_empty() || !lane.marks.is_empty());
        }
        if let Some(depth) = selection.depth {
            for lane in &mut self.lanes {
                lane.spans.retain(|span| u32::from(span.depth) < depth);
            }
            for segment in self.path.iter_mut().chain(&mut self.beside) {
                segment.stack = self.stacks.cut(segment.stack, depth);
            }
        }
        self
    }
}

fn is_wanted(lane: &Lane, wanted: &[String]) -> bool {
    let name = lane.name.to_lowercase();
    wanted.iter().any(|wanted| {
        let wanted = wanted.to_lowercase();
        name.contains(&wanted) || lane.kind.id() == wanted || lane.id == wanted
    })
}

fn cut_times(segments: &mut Vec<Segment>, since: u64, until: u64) {
    segments.retain_mut(|segment| {
        segment.start = segment.start.max(since);
        segment.end = segment.end.min(until);
        segment.end > segment.start
    });
}

fn cut_lane(lane: &mut Lane, since: u64, until: u64) {
    lane.spans.retain_mut(|span| {
        let is_there = span.start <= until && span.end >= since;
        span.start = span.start.clamp(since, until);
        span.end = span.end.clamp(since, until);
        is_there
    });
    lane.marks.retain(|mark| mark.time >= since && mark.time <= until);
    lane.start = lane.start.clamp(since, until);
    lane.end = lane.end.clamp(since, until);
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FrameKind {
    /// A function, with what it is about.
    Function,
    /// A device driver that looks for its device, or starts it.
    Driver,
    /// A script of rc.
    Rc,
    /// A program.
    Process,
    /// Waiting: a sleep, a delay, a program that waits for the network.
    Wait,
    /// A line of the console.
    Line,
}

impl FrameKind {
    /// A short name for scripts.
    pub fn id(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Driver => "driver",
            Self::Rc => "rc",
            Self::Process => "process",
            Self::Wait => "wait",
            Self::Line => "line",
        }
    }
}

/// Functions of the kernel that wait (`sys/kern/kern_synch.c`, `sys/kern/kern_condvar.c`), and events of BootTrace.
const WAITING: [&str; 14] = [
    "DELAY",
    "tsleep",
    "msleep",
    "_sleep",
    "msleep_spin_sbt",
    "pause",
    "pause_sbt",
    "cv_wait",
    "_cv_wait",
    "cv_timedwait",
    "_cv_timedwait_sbt",
    "sleepq_wait",
    "sleepq_timedwait",
    "vfs_mountroot_wait",
];
/// Programs that do little but wait.
const WAITERS: [&str; 6] = ["sleep", "rtsol", "rtsold", "dhclient", "ntpdate", "wait"];

impl Timeline {
    /// What the last frame of a stack is, and its name without the number of the process.
    pub fn frame(&self, kind: LaneKind, stack: Stack) -> (FrameKind, &str) {
        frame(&self.names, &self.stacks, kind, stack)
    }
}

pub(crate) fn frame<'a>(names: &'a Names, stacks: &Stacks, kind: LaneKind, stack: Stack) -> (FrameKind, &'a str) {
    let label = stacks.name(stack).map_or("", |name| names.text(name));
    (frame_kind(kind, label), bare_name(label))
}

/// A label without the number of a process before it.
pub(crate) fn bare_name(label: &str) -> &str {
    match label.split_once(' ') {
        Some((pid, name)) if !name.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => label,
    }
}

pub(crate) fn frame_kind(kind: LaneKind, label: &str) -> FrameKind {
    let name = bare_name(label);
    let function = name.split(' ').next().unwrap_or(name);
    let program = function.rsplit('/').next().unwrap_or(function);
    let is_program = matches!(kind, LaneKind::Rc | LaneKind::Daemon | LaneKind::Table(_)) || name.len() < label.len();
    if kind == LaneKind::Console {
        FrameKind::Line
    } else if WAITING.contains(&function) || (is_program && WAITERS.contains(&program)) {
        FrameKind::Wait
    } else if name == "/etc/rc" || name.contains("/rc.d/") {
        FrameKind::Rc
    } else if matches!(kind, LaneKind::Rc | LaneKind::Daemon) || name.len() < label.len() {
        FrameKind::Process
    } else if matches!(function, "DEVICE_ATTACH" | "DEVICE_PROBE") && function.len() < name.len() {
        FrameKind::Driver
    } else {
        FrameKind::Function
    }
}
