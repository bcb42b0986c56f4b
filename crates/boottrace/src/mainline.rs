//! The way to a booted system: what the loader, the kernel's first thread and `init` did until `init` was started, and
//! where they waited, what those did that they waited for.
//!
//! The rules are those of the scripts that draw such traces on the machine itself (freebsd-boot-profiling, `tslog.sh`),
//! so that the time of each call path is the same: a topic is waited for from its `WAIT` to its `UNWAIT`, and who held it
//! last, back in time, is who was waited for.

use std::collections::{HashMap, HashSet};

use crate::faults::Faults;
use crate::names::{Name, Names};
use crate::stacks::{Stack, Stacks};
use crate::threads::{Step, Threads, What};
use crate::timeline::{Lane, Segment};
use crate::tslog::LOADER;

/// Steps that are looked at for waits. More are only in logs made to take long.
const BUDGET: usize = 50_000_000;

/// What the thread in question does from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    time: u64,
    thread: u64,
    what: ItemKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemKind {
    // In the order that they have at the same time.
    Unwait,
    Wait,
    Stack(Stack),
}

/// A time during which a thread was waited for.
struct Held {
    thread: u64,
    from: u64,
    until: u64,
}

/// The way to the start of `init`, from time 0 on.
#[derive(Debug, Default)]
pub(crate) struct Mainline {
    pub(crate) path: Vec<Segment>,
    /// What all other threads did, where it is not known which ones are the way.
    pub(crate) beside: Vec<Segment>,
}

/// Follows the way through the threads of a log.
pub(crate) fn mainline(threads: &Threads, names: &mut Names, stacks: &mut Stacks, faults: &mut Faults) -> Mainline {
    let Some(first) = threads.steps.first() else { return Mainline::default() };
    let bios = names.intern("BIOS");
    let mut path = Path::new(stacks.child(Stack::EMPTY, bios));
    let (main, is_known) = main_threads(threads, names, stacks, faults);
    let by_thread = by_thread(&threads.steps);
    let mut items: Vec<Item> =
        threads.steps.iter().filter(|step| main.contains(&step.thread)).filter_map(item).collect();
    let mut budget = BUDGET;
    for held in holders(threads, &main, &mut budget) {
        let Some(steps) = by_thread.get(&held.thread) else { continue };
        insert(&held, steps, &threads.steps, &mut items, &mut budget);
    }
    if budget == 0 {
        faults.incomplete("there are too many waits: not all of them were followed");
    }
    sort(&mut items, stacks, names);
    items.dedup();
    let end = end_of_init(threads, names, stacks);
    let before = path.now;
    path.put(first.time, before);
    walk(&items, end.unwrap_or(u64::MAX), &mut path, stacks);
    if end.is_none() {
        if is_known && names.find("start_init").is_some() {
            faults.incomplete("start_init does not end in the log: it was read too early, or its buffer was full");
        }
        // What was begun lasts until the last of all records, as far as is known.
        let last = threads.steps.last().map_or(0, |step| step.time);
        path.put(last, Stack::EMPTY);
    }
    let others = threads.lanes.iter().filter(|lane| !is_known && !is_main(lane, &main));
    let beside = others.flat_map(Lane::segments).collect();
    Mainline { path: path.finish(), beside }
}

fn is_main(lane: &Lane, main: &HashSet<u64>) -> bool {
    main.iter().any(|thread| lane.id == format!("{thread:#x}"))
}

/// The loader, and the threads that start the kernel and `init`. Where neither is there, the first thread of the
/// kernel, which is then only a guess.
fn main_threads(threads: &Threads, names: &Names, stacks: &Stacks, faults: &mut Faults) -> (HashSet<u64>, bool) {
    let mut main = HashSet::new();
    let mut seen = [false; 2];
    let functions = ["mi_startup", "start_init"].map(|function| names.find(function));
    for step in &threads.steps {
        let What::Stack(stack) = step.what else { continue };
        let Some(name) = stacks.name(stack) else { continue };
        for (seen, function) in seen.iter_mut().zip(functions) {
            if function == Some(name) {
                *seen = true;
                main.insert(step.thread);
            }
        }
    }
    match seen {
        [false, false] => {
            faults.incomplete(
                "neither mi_startup nor start_init is in the log: it is not that of a whole boot, and every thread counts for itself",
            );
            main.extend(threads.steps.iter().map(|step| step.thread).find(|&thread| thread != LOADER));
        }
        [_, false] => {
            faults.incomplete("start_init is not in the log: it ends before the kernel was up, or its buffer was full")
        }
        [false, true] => faults.incomplete("mi_startup is not in the log: its beginning is missing"),
        [true, true] => {}
    }
    main.insert(LOADER);
    (main, seen != [false, false])
}

/// When `start_init` was left for the last time.
fn end_of_init(threads: &Threads, names: &Names, stacks: &Stacks) -> Option<u64> {
    let function = names.find("start_init")?;
    let ends = |lane: &Lane| {
        let told = lane.spans.iter().filter(|span| span.ending == crate::timeline::Ending::Told);
        told.filter(|span| stacks.name(span.stack) == Some(function)).map(|span| span.end).max()
    };
    threads.lanes.iter().filter_map(ends).max()
}

fn by_thread(steps: &[Step]) -> HashMap<u64, Vec<u32>> {
    let mut by_thread: HashMap<u64, Vec<u32>> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        by_thread.entry(step.thread).or_default().push(at as u32);
    }
    by_thread
}

fn item(step: &Step) -> Option<Item> {
    let what = match step.what {
        What::Stack(stack) | What::Thread(stack) => ItemKind::Stack(stack),
        What::Wait(_) => ItemKind::Wait,
        What::Unwait(_) => ItemKind::Unwait,
        What::Hold(_) | What::Release(_) | What::Other => return None,
    };
    Some(Item { time: step.time, thread: step.thread, what })
}

/// Who held what was waited for, by going back in time from the end of each wait.
fn holders(threads: &Threads, main: &HashSet<u64>, budget: &mut usize) -> Vec<Held> {
    let mut topics: Vec<Name> = Vec::new();
    let mut known = HashSet::new();
    let mut events: HashMap<Name, Vec<u32>> = HashMap::new();
    let mut begun: Vec<u32> = Vec::new();
    for (at, step) in threads.steps.iter().enumerate() {
        match step.what {
            What::Thread(_) => begun.push(at as u32),
            What::Wait(topic) | What::Unwait(topic) | What::Hold(topic) | What::Release(topic) => {
                events.entry(topic).or_default().push(at as u32);
                if matches!(step.what, What::Unwait(_)) && main.contains(&step.thread) && known.insert(topic) {
                    topics.push(topic);
                }
            }
            What::Stack(_) | What::Other => {}
        }
    }
    let mut found = Vec::new();
    for topic in topics {
        let events = events.get(&topic).map_or(&[][..], |events| events);
        let mut steps: Vec<u32> = events.iter().chain(&begun).copied().collect();
        *budget = budget.saturating_sub(steps.len());
        if *budget == 0 {
            break;
        }
        steps.sort_unstable();
        holders_of(steps.iter().rev().filter_map(|&at| threads.steps.get(at as usize)), &mut found, budget);
    }
    found
}

/// The steps are those about one topic, and the beginnings of all threads, the latest first.
fn holders_of<'a>(steps: impl Iterator<Item = &'a Step>, found: &mut Vec<Held>, budget: &mut usize) {
    let mut waiting: Option<u64> = None;
    // Who released it when, and was not yet seen to hold it: the latest first.
    let mut held: Vec<(u64, u64)> = Vec::new();
    for step in steps {
        *budget = budget.saturating_sub(held.len());
        if *budget == 0 {
            return;
        }
        let first = held.first().copied();
        let mut waited = |waiting: &mut Option<u64>, then: Option<u64>| {
            if let (Some(until), Some((thread, released))) = (*waiting, first) {
                found.push(Held { thread, from: step.time, until: until.min(released) });
                *waiting = then;
            }
        };
        match step.what {
            What::Unwait(_) => waiting = Some(step.time),
            What::Release(_) => held.push((step.thread, step.time)),
            What::Wait(_) => waited(&mut waiting, None),
            What::Thread(_) | What::Hold(_) => {
                let Some(at) = held.iter().position(|&(thread, _)| thread == step.thread) else { continue };
                if at == 0 {
                    waited(&mut waiting, Some(step.time));
                }
                held.remove(at);
            }
            What::Stack(_) | What::Other => {}
        }
    }
}

/// Puts what a thread did while it was waited for among the items.
fn insert(held: &Held, at: &[u32], steps: &[Step], items: &mut Vec<Item>, budget: &mut usize) {
    let step = |at: &u32| steps.get(*at as usize);
    let from = at.partition_point(|at| step(at).is_some_and(|step| step.time < held.from));
    // What it was doing already.
    for at in at[..from].iter().rev() {
        *budget = budget.saturating_sub(1);
        let Some(Item { what: ItemKind::Stack(stack), thread, .. }) = step(at).and_then(item) else { continue };
        items.push(Item { time: held.from + 1, thread, what: ItemKind::Stack(stack) });
        break;
    }
    for step in at[from..].iter().filter_map(step).take_while(|step| step.time < held.until) {
        *budget = budget.saturating_sub(1);
        if *budget == 0 {
            return;
        }
        items.extend(item(step));
    }
}

/// By time; at the same time by thread, and in the order of their names, as a sort of text lines has it.
fn sort(items: &mut [Item], stacks: &Stacks, names: &Names) {
    let rank = |item: &Item| match item.what {
        ItemKind::Unwait => 0,
        ItemKind::Wait => 1,
        ItemKind::Stack(_) => 2,
    };
    items.sort_by(|a, b| {
        (a.time, a.thread, rank(a)).cmp(&(b.time, b.thread, rank(b))).then_with(|| match (a.what, b.what) {
            (ItemKind::Stack(a), ItemKind::Stack(b)) if a != b => stacks.text(a, names).cmp(&stacks.text(b, names)),
            _ => std::cmp::Ordering::Equal,
        })
    });
}

/// Who waits keeps its path, and below it comes that of who is waited for.
fn walk(items: &[Item], end: u64, path: &mut Path, stacks: &mut Stacks) {
    let mut last = Stack::EMPTY;
    let mut waiter = Stack::EMPTY;
    for item in items {
        if item.time > end {
            break;
        }
        match item.what {
            ItemKind::Stack(stack) => {
                last = stack;
                let stack = stacks.join(waiter, stack);
                path.put(item.time, stack);
            }
            ItemKind::Wait => waiter = last,
            ItemKind::Unwait => {
                last = waiter;
                path.put(item.time, waiter);
                waiter = Stack::EMPTY;
            }
        }
    }
}

/// Segments as they are put one behind the other.
pub(crate) struct Path {
    segments: Vec<Segment>,
    at: u64,
    now: Stack,
}

impl Path {
    pub(crate) fn new(now: Stack) -> Path {
        Path { segments: Vec::new(), at: 0, now }
    }

    /// From `time` on it is `stack`. A time that has passed already changes nothing before.
    pub(crate) fn put(&mut self, time: u64, stack: Stack) {
        if time > self.at {
            match self.segments.last_mut() {
                Some(last) if last.stack == self.now && last.end == self.at => last.end = time,
                _ => self.segments.push(Segment { start: self.at, end: time, stack: self.now }),
            }
            self.at = time;
        }
        self.now = stack;
    }

    /// Begins at a time.
    pub(crate) fn from(at: u64, now: Stack) -> Path {
        Path { segments: Vec::new(), at, now }
    }

    /// Goes on behind other segments.
    pub(crate) fn resume(segments: Vec<Segment>, now: Stack) -> Path {
        let at = segments.last().map_or(0, |last| last.end);
        Path { segments, at, now }
    }

    pub(crate) fn finish(self) -> Vec<Segment> {
        self.segments
    }
}
