//! What became slower or faster from some logs to others.
//!
//! Logs are compared by call path. Of several logs a side the median counts, and a difference only where all of one side
//! are beyond all of the other: what varies from boot to boot by itself is noise.

use std::collections::HashMap;

use crate::clock::show_seconds;
use crate::select::bare_name;
use crate::stacks::Stack;
use crate::timeline::{LaneKind, Timeline};

/// Differences below this part of the whole are not told.
const FLOOR: f64 = 0.001;

/// Why logs cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiffError {
    /// A side has no logs.
    #[error("there is nothing to compare: a side has no logs")]
    Nothing,
    /// Some logs tell how long a tick is, and others do not.
    #[error("{0}: the frequency of its clock is not known, and that of others is: give it with --tsc-freq")]
    Clocks(String),
}

/// What times of a [`Diff`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffUnit {
    /// Nanoseconds.
    Nanos,
    /// Ticks of clocks whose frequency is not known.
    Ticks,
}

/// The times of one thing in the logs of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The one in the middle; between the two in the middle where there are two.
    pub median: u64,
    /// The least.
    pub low: u64,
    /// The most.
    pub high: u64,
}

/// A call path on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathDiff {
    /// Its frames, the outermost first, without numbers of processes.
    pub frames: Vec<String>,
    /// Time in itself before.
    pub base_own: Spread,
    /// Time in itself now.
    pub new_own: Spread,
    /// Time within it before.
    pub base: Spread,
    /// Time within it now.
    pub new: Spread,
    /// Whether the difference of the time in itself is more than noise.
    pub own_differs: bool,
    /// Whether that of the time within it is.
    pub differs: bool,
}

/// Two sides compared.
#[derive(Clone, Debug)]
pub struct Diff {
    /// What times are.
    pub unit: DiffUnit,
    /// The whole before.
    pub base: Spread,
    /// The whole now.
    pub new: Spread,
    /// All call paths, parents before their children, the numbers of the parents with them.
    pub paths: Vec<(Option<usize>, PathDiff)>,
}

impl Diff {
    /// Compares logs, each with its name.
    ///
    /// # Errors
    /// If a side is empty, or the clocks cannot be compared.
    pub fn new(base: &[(String, Timeline)], new: &[(String, Timeline)]) -> Result<Diff, DiffError> {
        if base.is_empty() || new.is_empty() {
            return Err(DiffError::Nothing);
        }
        let all = || base.iter().chain(new);
        let unknown = all().find(|(_, timeline)| timeline.clock.hertz.is_none());
        let unit = match unknown {
            None => DiffUnit::Nanos,
            Some(_) if all().all(|(_, timeline)| timeline.clock.hertz.is_none()) => DiffUnit::Ticks,
            Some((name, _)) => return Err(DiffError::Clocks(name.clone())),
        };
        let samples = base.len() + new.len();
        let mut tree = Tree { nodes: Vec::new(), index: HashMap::new(), samples };
        for (sample, (_, timeline)) in all().enumerate() {
            tree.add(timeline, sample);
        }
        let wholes: Vec<u64> = all().map(|(_, timeline)| in_unit(timeline, timeline.whole())).collect();
        let (of_base, of_new) = wholes.split_at(base.len());
        let (of_base, of_new) = (Spread::of(of_base), Spread::of(of_new));
        let paths = tree.paths(base.len(), (of_base.median.max(of_new.median) as f64 * FLOOR) as u64);
        Ok(Diff { unit, base: of_base, new: of_new, paths })
    }

    /// Whether all boots of one side took longer than all of the other.
    pub fn differs(&self) -> bool {
        differ(self.base, self.new, 0)
    }

    /// Whether booting takes longer by more than `allowed`, and by more than noise.
    pub fn is_slower_by(&self, allowed: u64) -> bool {
        self.new.low > self.base.high && self.new.median.saturating_sub(self.base.median) > allowed
    }

    /// Call paths that took more or less time in themselves, those with the largest differences first.
    pub fn changes(&self) -> Vec<&PathDiff> {
        let mut changes: Vec<&PathDiff> =
            self.paths.iter().map(|(_, path)| path).filter(|path| path.own_differs).collect();
        changes
            .sort_by_key(|path| (std::cmp::Reverse(change(path.base_own, path.new_own).unsigned_abs()), &path.frames));
        changes
    }

    /// A duration for people.
    pub fn show(&self, time: u64) -> String {
        match self.unit {
            DiffUnit::Nanos => show_seconds(time as f64 / 1e9),
            DiffUnit::Ticks => format!("{time} ticks"),
        }
    }

    /// A difference for people, with its sign.
    pub fn show_change(&self, base: Spread, new: Spread) -> String {
        let change = change(base, new);
        let sign = if change < 0 { "-" } else { "+" };
        format!("{sign}{}", self.show(u64::try_from(change.unsigned_abs()).unwrap_or(u64::MAX)))
    }
}

/// How much more the new side takes; negative if it takes less.
pub fn change(base: Spread, new: Spread) -> i128 {
    i128::from(new.median) - i128::from(base.median)
}

/// Whether all of one side are beyond all of the other, by something that matters.
fn differ(base: Spread, new: Spread, floor: u64) -> bool {
    let apart = new.low > base.high || base.low > new.high;
    apart && new.median.abs_diff(base.median) > floor
}

impl Spread {
    fn of(times: &[u64]) -> Spread {
        let mut times = times.to_vec();
        times.sort_unstable();
        let (Some(&low), Some(&high)) = (times.first(), times.last()) else { return Spread::default() };
        let upper = times.get(times.len() / 2).copied().unwrap_or(low);
        let lower = times.get((times.len() - 1) / 2).copied().unwrap_or(low);
        Spread { median: lower + (upper - lower) / 2, low, high }
    }
}

/// Nanoseconds, or ticks where these cannot be told.
fn in_unit(timeline: &Timeline, units: u64) -> u64 {
    match timeline.clock.hertz {
        Some(hertz) => u64::try_from(u128::from(units) * 1_000_000_000 / u128::from(hertz.max(1))).unwrap_or(u64::MAX),
        None => units,
    }
}

/// Call paths of all logs together.
struct Tree {
    nodes: Vec<Node>,
    index: HashMap<(Option<usize>, String), usize>,
    samples: usize,
}

struct Node {
    parent: Option<usize>,
    name: String,
    /// For each log.
    own: Vec<u64>,
}

impl Tree {
    fn add(&mut self, timeline: &Timeline, sample: usize) {
        let way = if timeline.path.is_empty() { &timeline.beside } else { &timeline.path };
        let own = timeline.own_times(way.iter().copied());
        let is_console = timeline.lanes.iter().any(|lane| lane.kind == LaneKind::Console);
        // Only what has time in itself, or below; in the order of the tree.
        let mut wanted: Vec<bool> = own.iter().map(|&time| time > 0).collect();
        for stack in timeline.stacks.all().rev() {
            if wanted[stack.index()] {
                wanted[timeline.stacks.parent(stack).index()] = true;
            }
        }
        let mut node_of: Vec<Option<usize>> = vec![None; own.len()];
        for stack in timeline.stacks.all() {
            if !wanted[stack.index()] {
                continue;
            }
            let label = timeline.stacks.name(stack).map_or("", |name| timeline.names.text(name));
            let name = if is_console { without_numbers(label) } else { bare_name(label).to_owned() };
            let parent = timeline.stacks.parent(stack);
            let parent = if parent == Stack::EMPTY { None } else { node_of[parent.index()] };
            let node = self.node(parent, name);
            node_of[stack.index()] = Some(node);
            if let Some(time) = self.nodes.get_mut(node).and_then(|node| node.own.get_mut(sample)) {
                *time = time.saturating_add(in_unit(timeline, own[stack.index()]));
            }
        }
    }

    fn node(&mut self, parent: Option<usize>, name: String) -> usize {
        let next = self.nodes.len();
        let (nodes, samples) = (&mut self.nodes, self.samples);
        *self.index.entry((parent, name)).or_insert_with_key(|(parent, name)| {
            nodes.push(Node { parent: *parent, name: name.clone(), own: vec![0; samples] });
            next
        })
    }

    fn paths(self, base: usize, floor: u64) -> Vec<(Option<usize>, PathDiff)> {
        let mut totals: Vec<Vec<u64>> = self.nodes.iter().map(|node| node.own.clone()).collect();
        for at in (0..self.nodes.len()).rev() {
            let Some(parent) = self.nodes[at].parent else { continue };
            let (before, from) = totals.split_at_mut(at);
            for (total, &time) in before[parent].iter_mut().zip(&from[0]) {
                *total = total.saturating_add(time);
            }
        }
        let mut paths: Vec<(Option<usize>, PathDiff)> = Vec::with_capacity(self.nodes.len());
        for (node, total) in self.nodes.into_iter().zip(totals) {
            let mut frames = node.parent.map_or_else(Vec::new, |parent| paths[parent].1.frames.clone());
            frames.push(node.name);
            let sides = |times: &[u64]| (Spread::of(&times[..base]), Spread::of(&times[base..]));
            let ((base_own, new_own), (base, new)) = (sides(&node.own), sides(&total));
            let own_differs = differ(base_own, new_own, floor);
            let differs = differ(base, new, floor);
            paths.push((node.parent, PathDiff { frames, base_own, new_own, base, new, own_differs, differs }));
        }
        paths
    }
}

/// Numbers that differ from boot to boot (frequencies, addresses, sizes) as `#`.
fn without_numbers(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut digits = String::new();
    for c in line.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        shown.push_str(if digits.len() >= 4 { "#" } else { &digits });
        digits.clear();
        if c != '\0' {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(delay: u64) -> (String, Timeline) {
        let log = format!(
            "0x1 1000 ENTER mi_startup\n0x1 2000 ENTER DELAY\n0x1 {} EXIT DELAY\n0x1 {} EXIT mi_startup\n",
            2000 + delay,
            3000 + delay
        );
        (delay.to_string(), crate::read(log.as_bytes()).remove(0).timeline(Some(1_000_000)).expect("it is a trace"))
    }

    #[test]
    fn a_difference_is_told_where_it_arises() {
        let diff = Diff::new(&[boot(500)], &[boot(700)]).expect("they can be compared");
        assert_eq!(change(diff.base, diff.new), 200_000);
        let changes = diff.changes();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].frames, ["kernel", "mi_startup", "DELAY"]);
        assert!(diff.is_slower_by(199_999) && !diff.is_slower_by(200_000));
    }

    #[test]
    fn what_varies_by_itself_is_no_difference() {
        let base = [boot(500), boot(900), boot(600)];
        let new = [boot(550), boot(950), boot(800)];
        let diff = Diff::new(&base, &new).expect("they can be compared");
        assert_eq!(change(diff.base, diff.new), 200_000);
        assert!(diff.changes().is_empty() && !diff.differs() && !diff.is_slower_by(0));
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(Spread::of(&[9, 1, 5]), Spread { median: 5, low: 1, high: 9 });
        assert_eq!(Spread::of(&[1, 4]), Spread { median: 2, low: 1, high: 4 });
    }

    #[test]
    fn long_numbers_do_not_tell_lines_apart() {
        assert_eq!(without_numbers("vtblk0: 1024MB (2097152 sectors)"), "vtblk0: #MB (# sectors)");
        assert_eq!(without_numbers("irq 257"), "irq 257");
    }
}
