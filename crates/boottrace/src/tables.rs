//! Tables of BootTrace become lanes. `/etc/rc.d/netif start` and `... done` are a span; `sysinit N` lasts until the next
//! event; any other event is what the time before it went into, as the kernel's column `delta` has it.

use std::collections::HashMap;

use crate::faults::{FaultKind, Faults};
use crate::names::Names;
use crate::stacks::{Stack, Stacks};
use crate::table::{Event, Table, TableKind};
use crate::timeline::{Ending, Lane, LaneKind, Mark, MarkKind, Segment, Span};

/// Spans of tables that can be open at a time.
const DEEPEST: usize = 256;

/// A table as a lane.
pub(crate) struct TableLane {
    pub(crate) kind: TableKind,
    pub(crate) lane: Lane,
    /// What was being done, from the first event to the last.
    pub(crate) path: Vec<Segment>,
}

/// A span of the table: where it begins, and where it ends.
struct Open {
    end: usize,
    stack: Stack,
}

/// Makes a lane for each table; `scale` turns milliseconds into units of the clock.
pub(crate) fn lanes(
    tables: &[Table],
    scale: &dyn Fn(u64) -> u64,
    names: &mut Names,
    stacks: &mut Stacks,
    faults: &mut Faults,
) -> Vec<TableLane> {
    let mut before = None;
    let mut lanes = Vec::new();
    for table in tables {
        let kind = table.kind(before);
        before = Some(kind);
        check(table, kind, faults);
        lanes.push(lane(table, kind, scale, names, stacks, faults));
    }
    lanes
}

/// What the table says of itself, and what it holds.
fn check(table: &Table, kind: TableKind, faults: &mut Faults) {
    let name = kind.name();
    if table.events.len() >= kind.full() {
        let lost =
            if kind == TableKind::Run { "the oldest events were overwritten" } else { "later events were dropped" };
        faults.incomplete(format!("the {name} table is full ({} events): {lost}", table.events.len()));
    }
    let times = || table.events.iter().map(|event| event.msecs);
    let measured = times().max().unwrap_or(0).saturating_sub(times().min().unwrap_or(0));
    if let Some(total) = table.total.filter(|&total| total != measured) {
        faults.incomplete(format!("the {name} table is said to be of {total} ms, and its events are of {measured} ms"));
    }
    for pair in table.events.windows(2) {
        let (before, event) = (&pair[0], &pair[1]);
        if event.msecs < before.msecs {
            faults.add(FaultKind::ClockBack, event.line, format!("{} after {}", event.msecs, before.msecs));
        } else if event.msecs - before.msecs != event.delta {
            let gap = format!("{} ms after the event before, said to be {}", event.msecs - before.msecs, event.delta);
            faults.add(FaultKind::MissingEvents, event.line, gap);
        }
    }
}

fn lane(
    table: &Table,
    kind: TableKind,
    scale: &dyn Fn(u64) -> u64,
    names: &mut Names,
    stacks: &mut Stacks,
    faults: &mut Faults,
) -> TableLane {
    // Events in order, with times that never go back.
    let mut latest = 0;
    let times: Vec<u64> = table
        .events
        .iter()
        .map(|event| {
            latest = latest.max(scale(event.msecs));
            latest
        })
        .collect();
    let ends = pairs(&table.events, faults);
    let time = |at: usize| times.get(at).copied().unwrap_or(latest);
    let root = names.intern(kind.name());
    let root = stacks.child(Stack::EMPTY, root);
    let mut lane = Lane {
        kind: LaneKind::Table(kind),
        id: String::new(),
        name: format!("{} table", kind.name()),
        root,
        start: time(0),
        end: latest,
        spans: Vec::new(),
        marks: Vec::new(),
    };
    let mut path = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for (at, event) in table.events.iter().enumerate() {
        lane.marks.push(Mark { time: time(at), kind: MarkKind::Event, name: names.intern(&event.event) });
        open.retain(|open| open.end > at);
        if let Some(&end) = ends.get(&at) {
            if open.len() >= DEEPEST {
                faults.add(FaultKind::TooDeep, event.line, &event.event);
            } else {
                let above = open.last().map_or(root, |open| open.stack);
                let stack = stacks.child(above, names.intern(subject(&event.event)));
                let depth = open.len() as u16;
                // One that ends after what surrounds it runs beside that: the drawing cuts it there.
                let within = open.iter().map(|open| open.end).min().unwrap_or(end).min(end);
                lane.spans.push(Span { start: time(at), end: time(within), stack, depth, ending: Ending::Told });
                open.push(Open { end, stack });
            }
        }
        let Some(next) = table.events.get(at + 1) else { break };
        let (start, end) = (time(at), time(at + 1));
        let above = open.iter().rev().find(|open| open.end > at).map_or(root, |open| open.stack);
        let leaf = if is_sysinit(event) {
            Some(&event.event)
        } else if is_plain(at + 1, next, &ends) {
            Some(&next.event)
        } else {
            None
        };
        let stack = match leaf {
            Some(leaf) => {
                let stack = stacks.child(above, names.intern(leaf));
                let depth = open.len() as u16;
                lane.spans.push(Span { start, end, stack, depth, ending: Ending::Told });
                stack
            }
            None => above,
        };
        if end > start {
            path.push(Segment { start, end, stack });
        }
    }
    TableLane { kind, lane, path }
}

/// What begins with one event and ends with another: the place of the latter by that of the former.
fn pairs(events: &[Event], faults: &mut Faults) -> HashMap<usize, usize> {
    let mut begun: HashMap<(&str, u64, &str), Vec<usize>> = HashMap::new();
    let mut ends = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        let key = (event.process.as_str(), event.pid, subject(&event.event));
        if begins(&event.event) {
            begun.entry(key).or_default().push(at);
        } else if finishes(&event.event)
            && let Some(start) = begun.get_mut(&key).and_then(Vec::pop)
        {
            ends.insert(start, at);
        }
    }
    // Scripts of rc run under boottrace(8), which always tells both.
    for at in begun.into_values().flatten() {
        if let Some(event) = events.get(at).filter(|event| event.process == "boottrace") {
            faults.add(FaultKind::NoEnd, event.line, &event.event);
        }
    }
    ends
}

const BEGINNINGS: [&str; 5] = [" start", " starting...", " starting", " begin", " start..."];
const ENDINGS: [&str; 6] = [" done", " finished", " complete", " completed", " end", " finished..."];

fn begins(event: &str) -> bool {
    BEGINNINGS.iter().any(|word| event.ends_with(word))
}

fn finishes(event: &str) -> bool {
    ENDINGS.iter().any(|word| event.ends_with(word))
}

/// The event without its last word, if that tells of a beginning or an end.
fn subject(event: &str) -> &str {
    BEGINNINGS.iter().chain(&ENDINGS).find_map(|word| event.strip_suffix(word)).unwrap_or(event)
}

/// The kernel tells of a subsystem before it starts it (`mi_startup`, `sys/kern/init_main.c`).
fn is_sysinit(event: &Event) -> bool {
    event.event.starts_with("sysinit ") && event.process == "kernel"
}

/// Whether an event neither begins nor ends a span, nor is told before what it names.
fn is_plain(at: usize, event: &Event, ends: &HashMap<usize, usize>) -> bool {
    let paired = ends.contains_key(&at) || (finishes(&event.event) && ends.values().any(|&end| end == at));
    !paired && !is_sysinit(event)
}
