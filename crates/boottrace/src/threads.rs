//! Records of `debug.tslog` become threads with nested spans.

use std::collections::HashMap;

use crate::faults::{FaultKind, Faults};
use crate::names::{Name, Names};
use crate::stacks::{Stack, Stacks};
use crate::timeline::{Ending, Lane, LaneKind, Mark, MarkKind, Span};
use crate::tslog::{LOADER, Record, RecordKind};

/// Frames that are shown. Deeper ones count for their callers.
const DEEPEST: usize = 256;

/// A record, and what its thread is doing from there on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) thread: u64,
    pub(crate) time: u64,
    pub(crate) what: What,
}

/// What a step changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The call path.
    Stack(Stack),
    /// The thread is new, and has a new path.
    Thread(Stack),
    Wait(Name),
    Unwait(Name),
    Hold(Name),
    Release(Name),
    /// Nothing.
    Other,
}

/// The threads of a log.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    pub(crate) lanes: Vec<Lane>,
    /// A step for each record.
    pub(crate) steps: Vec<Step>,
}

struct Thread {
    lane: usize,
    /// Path of the thread when nothing is open.
    root: Stack,
    open: Vec<Open>,
    /// How often a label, or a function with whatever text, is open: an EXIT of something else is not looked for.
    labels: HashMap<Name, u32>,
    functions: HashMap<Name, u32>,
}

#[derive(Clone, Copy)]
struct Open {
    label: Name,
    stack: Stack,
    /// Its span in the lane, unless it is too deep.
    span: Option<usize>,
}

/// Follows all threads through the records, whose times must grow.
pub(crate) fn follow(records: &[Record], names: &mut Names, stacks: &mut Stacks, faults: &mut Faults) -> Threads {
    let kernel = names.intern("kernel");
    let kernel = stacks.child(Stack::EMPTY, kernel);
    let mut threads = Threads { lanes: Vec::new(), steps: Vec::with_capacity(records.len()) };
    let mut running: HashMap<u64, Thread> = HashMap::new();
    for record in records {
        if record.kind == RecordKind::Thread {
            let title = names.intern(&format!("THREAD {}", names.text(record.label)));
            let root = stacks.child(Stack::EMPTY, title);
            let name = names.text(record.label).to_owned();
            if let Some(mut before) = running.remove(&record.thread) {
                // The address was another thread's, which has ended.
                before.end(&mut threads.lanes, record.time, Ending::Caller, faults, names);
            }
            running.insert(record.thread, Thread::new(record, name, LaneKind::Thread, root, &mut threads.lanes));
            threads.step(record, What::Thread(root));
            continue;
        }
        let thread = running.entry(record.thread).or_insert_with(|| {
            let kind = if record.thread == LOADER { LaneKind::Loader } else { LaneKind::Thread };
            Thread::new(record, String::new(), kind, kernel, &mut threads.lanes)
        });
        let what = thread.record(record, &mut threads.lanes, names, stacks, faults);
        threads.step(record, what);
    }
    let last = records.last().map_or(0, |record| record.time);
    let mut rest: Vec<Thread> = running.into_values().collect();
    rest.sort_by_key(|thread| thread.lane);
    for mut thread in rest {
        // The loader's last functions start the kernel and never return.
        let until = match threads.lanes.get(thread.lane) {
            Some(lane) if lane.kind == LaneKind::Loader => loader_end(records).unwrap_or(lane.end),
            _ => last,
        };
        thread.end(&mut threads.lanes, until, Ending::Open, faults, names);
    }
    for lane in &mut threads.lanes {
        finish(lane, names, stacks);
    }
    threads
}

/// The first record of the kernel behind the loader's.
fn loader_end(records: &[Record]) -> Option<u64> {
    let last = records.iter().rposition(|record| record.thread == LOADER)?;
    records.get(last + 1).map(|record| record.time)
}

/// Gives a thread its kind and a name that tells what it is.
fn finish(lane: &mut Lane, names: &Names, stacks: &Stacks) {
    let is_outermost = |function: &str| {
        lane.spans
            .iter()
            .any(|span| span.depth == 0 && stacks.name(span.stack).is_some_and(|name| names.text(name) == function))
    };
    if lane.kind == LaneKind::Loader {
        lane.name = "loader".to_owned();
    } else if is_outermost("start_init") {
        lane.kind = LaneKind::Main;
        lane.name = "init".to_owned();
    } else if is_outermost("mi_startup") {
        lane.kind = LaneKind::Main;
        lane.name = "kernel".to_owned();
    } else if lane.name.is_empty() {
        lane.name = lane.id.clone();
    }
}

impl Threads {
    fn step(&mut self, record: &Record, what: What) {
        self.steps.push(Step { thread: record.thread, time: record.time, what });
    }
}

impl Thread {
    fn new(record: &Record, name: String, kind: LaneKind, root: Stack, lanes: &mut Vec<Lane>) -> Thread {
        let lane = lanes.len();
        lanes.push(Lane {
            kind,
            id: format!("{:#x}", record.thread),
            name,
            root,
            start: record.time,
            end: record.time,
            spans: Vec::new(),
            marks: Vec::new(),
        });
        Thread { lane, root, open: Vec::new(), labels: HashMap::new(), functions: HashMap::new() }
    }

    fn record(
        &mut self,
        record: &Record,
        lanes: &mut [Lane],
        names: &mut Names,
        stacks: &mut Stacks,
        faults: &mut Faults,
    ) -> What {
        let Some(lane) = lanes.get_mut(self.lane) else { return What::Other };
        lane.end = record.time;
        match record.kind {
            RecordKind::Enter => {
                self.enter(record, lane, stacks, names, faults);
                What::Stack(self.stack())
            }
            RecordKind::Exit => {
                self.exit(record, lane, names, faults);
                What::Stack(self.stack())
            }
            RecordKind::Thread | RecordKind::Event => event(record, lane, names),
        }
    }

    fn stack(&self) -> Stack {
        self.open.last().map_or(self.root, |open| open.stack)
    }

    fn enter(&mut self, record: &Record, lane: &mut Lane, stacks: &mut Stacks, names: &Names, faults: &mut Faults) {
        let depth = self.open.len();
        // The loader's frames have nothing above them, other threads' have their root.
        let above = match self.open.last() {
            Some(open) => open.stack,
            None if lane.kind == LaneKind::Loader => Stack::EMPTY,
            None => self.root,
        };
        let (stack, span) = if depth < DEEPEST {
            let stack = stacks.child(above, record.label);
            lane.spans.push(Span {
                start: record.time,
                end: record.time,
                stack,
                depth: depth as u16,
                ending: Ending::Open,
            });
            (stack, Some(lane.spans.len() - 1))
        } else {
            faults.add(FaultKind::TooDeep, 0, names.text(record.label));
            (above, None)
        };
        self.open.push(Open { label: record.label, stack, span });
        *self.labels.entry(record.label).or_default() += 1;
        *self.functions.entry(names.function(record.label)).or_default() += 1;
    }

    /// Leaves the innermost call with the same label; an EXIT without a text also fits an ENTER with one.
    fn exit(&mut self, record: &Record, lane: &mut Lane, names: &Names, faults: &mut Faults) {
        let function = names.function(record.label);
        let any_text = function == record.label;
        let is_open = |counts: &HashMap<Name, u32>, name| counts.get(&name).is_some_and(|&count| count > 0);
        let known = is_open(&self.labels, record.label) || (any_text && is_open(&self.functions, function));
        if !known {
            faults.add(FaultKind::UnmatchedExit, 0, names.text(record.label));
            lane.marks.push(Mark { time: record.time, kind: MarkKind::UnmatchedExit, name: record.label });
            return;
        }
        while let Some(open) = self.open.pop() {
            self.forget(open, names);
            let fits = open.label == record.label || (any_text && names.function(open.label) == function);
            let ending = if fits { Ending::Told } else { Ending::Caller };
            if !fits {
                faults.add(FaultKind::MissingExit, 0, names.text(open.label));
            }
            close(open, lane, record.time, ending);
            if fits {
                return;
            }
        }
    }

    fn forget(&mut self, open: Open, names: &Names) {
        for (counts, name) in [(&mut self.labels, open.label), (&mut self.functions, names.function(open.label))] {
            if let Some(count) = counts.get_mut(&name) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Ends whatever is open.
    fn end(&mut self, lanes: &mut [Lane], time: u64, ending: Ending, faults: &mut Faults, names: &Names) {
        let Some(lane) = lanes.get_mut(self.lane) else { return };
        let hands_over = lane.kind == LaneKind::Loader;
        while let Some(open) = self.open.pop() {
            close(open, lane, time, ending);
            if !hands_over {
                faults.add(FaultKind::NoEnd, 0, format!("{} of thread {}", names.text(open.label), lane.id));
            }
            lane.end = lane.end.max(time);
        }
    }
}

fn close(open: Open, lane: &mut Lane, time: u64, ending: Ending) {
    if let Some(span) = open.span.and_then(|span| lane.spans.get_mut(span)) {
        span.end = time;
        span.ending = ending;
    }
}

/// `WAIT`, `UNWAIT`, `HOLD` and `RELEASE` are about a topic (`sys/sys/tslog.h`); all else is only shown.
fn event(record: &Record, lane: &mut Lane, names: &mut Names) -> What {
    let label = names.text(record.label).to_owned();
    let (word, topic) = label.split_once(' ').unwrap_or((label.as_str(), ""));
    let (kind, of): (_, fn(Name) -> What) = match word {
        "WAIT" => (MarkKind::Wait, What::Wait),
        "UNWAIT" => (MarkKind::Unwait, What::Unwait),
        "HOLD" => (MarkKind::Hold, What::Hold),
        "RELEASE" => (MarkKind::Release, What::Release),
        _ => {
            lane.marks.push(Mark { time: record.time, kind: MarkKind::Event, name: record.label });
            return What::Other;
        }
    };
    let name = names.intern(topic);
    lane.marks.push(Mark { time: record.time, kind, name });
    of(name)
}
