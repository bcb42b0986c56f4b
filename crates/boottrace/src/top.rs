//! Where the time goes.

use std::collections::HashMap;

use crate::select::{FrameKind, bare_name, frame_kind};
use crate::stacks::Stack;
use crate::timeline::{Lane, LaneKind, MarkKind, Timeline};

/// By what calls are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// By function and what it is about.
    #[default]
    Frame,
    /// By function alone.
    Function,
    /// By device driver: probing and attaching together.
    Driver,
    /// Only scripts of rc.
    Rc,
    /// Only what waits, by what it waits within.
    Wait,
}

/// Calls that are put together. Times are in units of the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// What was called.
    pub name: String,
    /// What that is.
    pub kind: FrameKind,
    /// For [`By::Wait`], the caller.
    pub within: Option<String>,
    /// How often.
    pub calls: u64,
    /// From beginning to end, in all threads; calls within calls of the same name counted once.
    pub total: u64,
    /// The same without what they called in turn.
    pub own: u64,
    /// How much of the way to a booted system passed within them.
    pub on_path: u64,
}

/// A frame of the longest chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What was called.
    pub name: String,
    /// Time on the way within it.
    pub total: u64,
    /// Time on the way in itself.
    pub own: u64,
}

type Key = (String, Option<String>);

impl Timeline {
    /// Calls of all lanes put together, those with the most time of their own on the way first.
    pub fn top(&self, by: By) -> Vec<Calls> {
        let mut table = Table { by, rows: Vec::new(), index: HashMap::new(), known: HashMap::new() };
        for lane in &self.lanes {
            table.lane(self, lane);
        }
        if by == By::Wait {
            table.waits(self);
        }
        table.path(self);
        // What is no call is the root of a lane.
        let mut rows = table.rows;
        rows.retain(|row| row.calls > 0);
        rows.sort_by(|a, b| (b.own, b.total, &a.name).cmp(&(a.own, a.total, &b.name)));
        rows
    }

    /// From the outermost frame on, always the one that takes the most of the way.
    pub fn longest_chain(&self) -> Vec<Link> {
        let way = if self.path.is_empty() { &self.beside } else { &self.path };
        let own = self.own_times(way.iter().copied());
        let mut total = own.clone();
        let mut best: Vec<Option<Stack>> = vec![None; own.len()];
        // Children have higher numbers: their times are complete before they are added to their parents'.
        for stack in self.stacks.all().rev() {
            let parent = self.stacks.parent(stack);
            let time = time_of(&total, stack);
            if let Some(total) = total.get_mut(parent.index()) {
                *total = total.saturating_add(time);
            }
            let is_longer = best[parent.index()].is_none_or(|best| time_of(&total, best) <= time);
            if time > 0 && is_longer {
                best[parent.index()] = Some(stack);
            }
        }
        let mut chain = Vec::new();
        let mut at = Stack::EMPTY;
        while let Some(next) = best.get(at.index()).copied().flatten() {
            let name = self.stacks.name(next).map_or("", |name| self.names.text(name)).to_owned();
            chain.push(Link { name, total: time_of(&total, next), own: time_of(&own, next) });
            at = next;
        }
        chain
    }
}

fn time_of(times: &[u64], stack: Stack) -> u64 {
    times.get(stack.index()).copied().unwrap_or(0)
}

struct Table {
    by: By,
    rows: Vec<Calls>,
    index: HashMap<Key, usize>,
    /// Rows of stacks of lanes that were looked up already.
    known: HashMap<(Stack, bool), Option<usize>>,
}

impl Table {
    fn lane(&mut self, timeline: &Timeline, lane: &Lane) {
        // Rows of the spans around.
        let mut around: Vec<Option<usize>> = Vec::new();
        for span in &lane.spans {
            around.truncate(usize::from(span.depth));
            let time = span.end - span.start;
            if let Some(row) = around.last().copied().flatten().and_then(|row| self.rows.get_mut(row)) {
                row.own = row.own.saturating_sub(time);
            }
            let at = self.row(timeline, lane.kind, span.stack);
            if let Some(row) = at.and_then(|at| self.rows.get_mut(at)) {
                row.calls += 1;
                row.own = row.own.saturating_add(time);
                if !around.contains(&at) {
                    row.total = row.total.saturating_add(time);
                }
            }
            around.push(at);
        }
    }

    /// Waits for topics, which are no calls.
    fn waits(&mut self, timeline: &Timeline) {
        for lane in &timeline.lanes {
            let mut since = HashMap::new();
            for mark in &lane.marks {
                match mark.kind {
                    MarkKind::Wait => {
                        since.insert(mark.name, mark.time);
                    }
                    MarkKind::Unwait => {
                        let Some(begun) = since.remove(&mark.name) else { continue };
                        let name = format!("wait for {}", timeline.names.text(mark.name));
                        let at = self.find(name, Some(lane.name.clone()), FrameKind::Wait);
                        let time = mark.time.saturating_sub(begun);
                        let on_path: u64 = timeline
                            .path
                            .iter()
                            .map(|segment| segment.end.min(mark.time).saturating_sub(segment.start.max(begun)))
                            .sum();
                        if let Some(row) = self.rows.get_mut(at) {
                            row.calls += 1;
                            row.total = row.total.saturating_add(time);
                            row.own = row.own.saturating_add(time);
                            row.on_path = row.on_path.saturating_add(on_path);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// How much of the way each row has.
    fn path(&mut self, timeline: &Timeline) {
        let own = timeline.own_times(timeline.path.iter().copied());
        let console = timeline.lanes.iter().any(|lane| lane.kind == LaneKind::Console);
        let kind = if console { LaneKind::Console } else { LaneKind::Thread };
        for stack in timeline.stacks.all() {
            let time = time_of(&own, stack);
            if time == 0 {
                continue;
            }
            let mut rows = Vec::new();
            let mut at = stack;
            while at != Stack::EMPTY {
                if let Some(row) = self.row(timeline, kind, at)
                    && !rows.contains(&row)
                {
                    rows.push(row);
                }
                at = timeline.stacks.parent(at);
            }
            for row in rows {
                if let Some(row) = self.rows.get_mut(row) {
                    row.on_path = row.on_path.saturating_add(time);
                }
            }
        }
    }

    fn row(&mut self, timeline: &Timeline, kind: LaneKind, stack: Stack) -> Option<usize> {
        let is_console = kind == LaneKind::Console;
        if let Some(&row) = self.known.get(&(stack, is_console)) {
            return row;
        }
        let label = timeline.stacks.name(stack).map_or("", |name| timeline.names.text(name));
        let frame = frame_kind(kind, label);
        let name = bare_name(label);
        let row = match self.by {
            By::Frame => Some((name.to_owned(), None)),
            By::Function if matches!(frame, FrameKind::Function | FrameKind::Driver) => {
                Some((name.split(' ').next().unwrap_or(name).to_owned(), None))
            }
            By::Function => Some((name.to_owned(), None)),
            By::Driver if frame == FrameKind::Driver => {
                name.split_once(' ').map(|(_, driver)| (driver.to_owned(), None))
            }
            By::Rc if frame == FrameKind::Rc => Some((name.to_owned(), None)),
            By::Wait if frame == FrameKind::Wait => {
                let caller = timeline.stacks.parent(stack);
                let caller = timeline.stacks.name(caller).map(|name| bare_name(timeline.names.text(name)).to_owned());
                Some((name.to_owned(), caller))
            }
            _ => None,
        };
        let row = row.map(|(name, within)| self.find(name, within, frame));
        self.known.insert((stack, is_console), row);
        row
    }

    fn find(&mut self, name: String, within: Option<String>, kind: FrameKind) -> usize {
        let next = self.rows.len();
        let rows = &mut self.rows;
        *self.index.entry((name, within)).or_insert_with_key(|(name, within)| {
            let (name, within) = (name.clone(), within.clone());
            rows.push(Calls { name, kind, within, calls: 0, total: 0, own: 0, on_path: 0 });
            next
        })
    }
}
