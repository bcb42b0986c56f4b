//! Processes of `debug.tslog_user` become the way through `/etc/rc`, and lanes for what runs beside it.
//!
//! The way follows the rules of freebsd-boot-profiling (`tslog-user.pl`): `/etc/rc` is the first child of `init`; a
//! process counts no longer than its parent; of processes that run at the same time, each counts from the end of the
//! one before.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use crate::faults::{FaultKind, Faults};
use crate::mainline::Path;
use crate::names::Names;
use crate::process::{LAST, Process};
use crate::select::bare_name;
use crate::stacks::{Stack, Stacks};
use crate::timeline::{Ending, Lane, LaneKind, Segment, Span};

const INIT: u64 = 1;
/// Generations of processes that are shown.
const DEEPEST: usize = 256;

/// The processes of a boot.
pub(crate) struct Processes<'a> {
    by_pid: BTreeMap<u64, &'a Process>,
    names: HashMap<u64, String>,
    rc: Option<u64>,
}

impl<'a> Processes<'a> {
    pub(crate) fn new(list: &'a [Process], last_pid: Option<u64>, faults: &mut Faults) -> Processes<'a> {
        if let Some(last) = last_pid.filter(|&last| last < LAST) {
            faults.incomplete(format!("the list of processes ends with number {last} and not {LAST}: it is cut"));
        }
        let by_pid: BTreeMap<u64, &Process> = list.iter().map(|process| (process.pid, process)).collect();
        let rc = list.iter().find(|process| process.parent == INIT).map(|process| process.pid);
        if rc.is_none() {
            faults.incomplete("init has no child among the processes: /etc/rc is missing");
        }
        let mut processes = Processes { by_pid, names: HashMap::new(), rc };
        processes.name_all();
        processes
    }

    /// What it executed; for a script of rc the first file it looked up, for any other its parent's name.
    fn name_all(&mut self) {
        for process in self.by_pid.values() {
            let name = if Some(process.pid) == self.rc {
                "/etc/rc".to_owned()
            } else if !process.exec.is_empty() {
                process.exec.clone()
            } else if Some(process.parent) == self.rc {
                process.namei.clone()
            } else {
                self.names.get(&process.parent).cloned().unwrap_or_default()
            };
            self.names.insert(process.pid, name);
        }
    }

    fn label(&self, pid: u64) -> String {
        format!("{pid} {}", self.names.get(&pid).map_or("", |name| name)).trim_end().to_owned()
    }

    /// Goes on where the kernel has started `init`, to the end of `/etc/rc`.
    pub(crate) fn path(
        &self,
        kernel: Vec<Segment>,
        last: Stack,
        names: &mut Names,
        stacks: &mut Stacks,
        faults: &mut Faults,
    ) -> Vec<Segment> {
        let Some(rc) = self.rc.and_then(|rc| self.by_pid.get(&rc)) else { return kernel };
        let mut times: BTreeMap<u64, (u64, u64)> =
            self.by_pid.values().map(|process| (process.pid, (process.forked, process.exited))).collect();
        self.end_with_parents(&mut times, faults);
        if rc.exited == 0 {
            faults.incomplete("/etc/rc was still running when the trace was read");
        }
        let mut children: HashMap<u64, Vec<u64>> = HashMap::new();
        for process in self.by_pid.values() {
            children.entry(process.parent).or_default().push(process.pid);
        }
        let init = names.intern(&self.label(INIT));
        let init = stacks.child(Stack::EMPTY, init);
        // Without the kernel's part nothing is known of the time before.
        let mut path =
            if kernel.is_empty() { Path::from(rc.forked.saturating_sub(1), init) } else { Path::resume(kernel, last) };
        path.put(rc.forked.saturating_sub(1), init);
        let mut walk = Walk { times, children, seen: HashSet::from([rc.pid]), open: Vec::new() };
        walk.open(rc.pid, init, &self.label(rc.pid), &mut path, names, stacks);
        while let Some(frame) = walk.open.last_mut() {
            let next = walk.children.get(&frame.pid).and_then(|children| children.get(frame.next)).copied();
            frame.next += 1;
            let Some(child) = next else {
                let end = walk.times.get(&frame.pid).map_or(0, |times| times.1);
                path.put(end, frame.above);
                walk.open.pop();
                if let Some(parent) = walk.open.last_mut() {
                    parent.now = end;
                }
                continue;
            };
            let Some(times) = walk.times.get_mut(&child) else { continue };
            times.0 = times.0.max(frame.now.saturating_add(1));
            if times.1 < times.0 || !walk.seen.insert(child) {
                continue;
            }
            let above = frame.stack;
            walk.open(child, above, &self.label(child), &mut path, names, stacks);
        }
        path.finish()
    }

    /// What still runs when its parent has ended keeps nobody from going on.
    fn end_with_parents(&self, times: &mut BTreeMap<u64, (u64, u64)>, faults: &mut Faults) {
        for process in self.by_pid.values() {
            let parent = times.get(&process.parent).map_or(0, |times| times.1);
            if let Some(times) = times.get_mut(&process.pid)
                && parent != 0
                && times.1 > parent
            {
                faults.add(FaultKind::Outlived, 0, self.label(process.pid));
                times.1 = parent;
            }
        }
    }

    /// Lanes: one for `/etc/rc` and all that runs within it, others for what does not fit into that. `end` is the time
    /// of the last record, for processes that still run.
    pub(crate) fn lanes(&self, end: u64, names: &mut Names, stacks: &mut Stacks, faults: &mut Faults) -> Vec<Lane> {
        let mut order: Vec<&Process> = self.by_pid.values().copied().filter(|process| self.is_shown(process)).collect();
        order.sort_by_key(|process| (process.forked, process.pid));
        let mut places = Places { lanes: Vec::new(), free: BinaryHeap::new(), of: HashMap::new() };
        for process in order {
            let until = if process.exited == 0 { end.max(process.forked) } else { process.exited.max(process.forked) };
            let ending = if process.exited == 0 { Ending::Open } else { Ending::Told };
            if !self.by_pid.contains_key(&process.parent) {
                faults.add(FaultKind::LostProcess, 0, self.label(process.pid));
            }
            let label = self.label(process.pid);
            let name = names.intern(&label);
            let is_rc = Some(process.pid) == self.rc;
            places.put(process, until, ending, stacks, name, &label, is_rc);
        }
        let mut lanes: Vec<Lane> = places.lanes.into_iter().map(|(lane, _)| lane).collect();
        lanes.sort_by_key(|lane| (lane.kind, lane.start));
        lanes
    }

    /// `init` is there all the time; processes of the kernel are its threads.
    fn is_shown(&self, process: &Process) -> bool {
        process.pid != INIT && !(process.parent == 0 && process.exec.is_empty() && process.namei.is_empty())
    }
}

struct Walk {
    times: BTreeMap<u64, (u64, u64)>,
    children: HashMap<u64, Vec<u64>>,
    seen: HashSet<u64>,
    open: Vec<Frame>,
}

struct Frame {
    pid: u64,
    above: Stack,
    stack: Stack,
    /// The next of its children.
    next: usize,
    /// What is accounted for.
    now: u64,
}

impl Walk {
    fn open(&mut self, pid: u64, above: Stack, label: &str, path: &mut Path, names: &mut Names, stacks: &mut Stacks) {
        let start = self.times.get(&pid).map_or(0, |times| times.0);
        let stack = if self.open.len() < DEEPEST { stacks.child(above, names.intern(label)) } else { above };
        path.put(start, stack);
        self.open.push(Frame { pid, above, stack, next: 0, now: start });
    }
}

/// What is open in a lane: number, end and path of each process.
type Open = Vec<(u64, u64, Stack)>;

/// Where processes are put: into the lane of their parent if they fit into its time, and nothing is beside them there.
struct Places {
    lanes: Vec<(Lane, Open)>,
    /// Lanes by the time from which on they are free.
    free: BinaryHeap<Reverse<(u64, usize)>>,
    /// The lane of a process.
    of: HashMap<u64, usize>,
}

impl Places {
    #[allow(clippy::too_many_arguments, reason = "they are the parts of one span")]
    fn put(
        &mut self,
        process: &Process,
        until: u64,
        ending: Ending,
        stacks: &mut Stacks,
        name: crate::names::Name,
        label: &str,
        is_rc: bool,
    ) {
        let within = self.of.get(&process.parent).copied().filter(|&at| {
            self.lanes.get_mut(at).is_some_and(|(_, open)| {
                while open.pop_if(|(_, end, _)| *end <= process.forked).is_some() {}
                open.len() < DEEPEST && open.last().is_some_and(|&(pid, end, _)| pid == process.parent && until <= end)
            })
        });
        let at = within.unwrap_or_else(|| self.free_lane(process, until, label, is_rc));
        self.of.insert(process.pid, at);
        let Some((lane, open)) = self.lanes.get_mut(at) else { return };
        let stack = stacks.child(open.last().map_or(Stack::EMPTY, |&(.., stack)| stack), name);
        lane.spans.push(Span { start: process.forked, end: until, stack, depth: open.len() as u16, ending });
        lane.end = lane.end.max(until);
        open.push((process.pid, until, stack));
    }

    fn free_lane(&mut self, process: &Process, until: u64, label: &str, is_rc: bool) -> usize {
        // What never ends has a lane of its own; others share theirs.
        let is_passing = process.exited != 0 && !is_rc;
        if let Some(&Reverse((free, at))) = self.free.peek()
            && is_passing
            && free <= process.forked
        {
            self.free.pop();
            self.free.push(Reverse((until, at)));
            if let Some((_, open)) = self.lanes.get_mut(at) {
                open.clear();
            }
            return at;
        }
        let at = self.lanes.len();
        let lane = Lane {
            kind: if is_rc { LaneKind::Rc } else { LaneKind::Daemon },
            id: if is_passing { String::new() } else { process.pid.to_string() },
            name: if is_passing { "beside /etc/rc".to_owned() } else { bare_name(label).to_owned() },
            root: Stack::EMPTY,
            start: process.forked,
            end: until,
            spans: Vec::new(),
            marks: Vec::new(),
        };
        self.lanes.push((lane, Vec::new()));
        if is_passing {
            self.free.push(Reverse((until, at)));
        }
        at
    }
}
