//! A [`Log`] becomes a [`Timeline`].

use crate::clock::{Clock, Unit, straighten};
use crate::console::{Stage, comparable};
use crate::faults::FaultKind;
use crate::log::{Log, Source};
use crate::mainline::{Mainline, mainline};
use crate::names::Names;
use crate::processes::Processes;
use crate::stacks::{Stack, Stacks};
use crate::table::TableKind;
use crate::tables;
use crate::threads;
use crate::timeline::{Ending, Lane, LaneKind, Segment, Span, Timeline};
use crate::tslog::{LOADER, SLOTS};

/// Why a log cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no trace in it, and no times either.
    #[error(
        "no boot trace was found: expected debug.tslog, debug.tslog_user, kern.boottrace.log, or a console capture with one of them or with times"
    )]
    NoTrace,
}

impl Log {
    /// Puts together what the log has. `hertz` is the frequency of the cycle counter, if it is given; otherwise it is
    /// taken from the log, if that tells it.
    ///
    /// # Errors
    /// [`Error::NoTrace`] if there is nothing to show.
    pub fn timeline(mut self, hertz: Option<u64>) -> Result<Timeline, Error> {
        let sources = self.sources();
        if !self.has_times() {
            return Err(Error::NoTrace);
        }
        let has = |source| sources.contains(&source);
        let (hertz, told) = match hertz {
            Some(hertz) => (Some(hertz), "as given".to_owned()),
            None => {
                let known = self.frequency.take().or_else(|| self.frequencies.best());
                known.map_or((None, String::new()), |(hertz, told)| (Some(hertz), told))
            }
        };
        let in_ticks = has(Source::Tslog) || has(Source::TslogUser);
        let clock = match in_ticks {
            true => Clock { unit: Unit::Ticks, hertz: hertz.filter(|&hertz| hertz > 0), source: told },
            false => Clock { unit: Unit::Micros, hertz: Some(1_000_000), source: String::new() },
        };
        let mut timeline = Timeline {
            sources: sources.iter().map(|source| source.name().to_owned()).collect(),
            clock,
            names: std::mem::take(&mut self.names),
            stacks: Stacks::default(),
            lanes: Vec::new(),
            path: Vec::new(),
            beside: Vec::new(),
            origin: 0,
            start: 0,
            end: 0,
            faults: std::mem::take(&mut self.faults),
            notes: Vec::new(),
        };
        if in_ticks {
            timeline.add_ticks(self.records_and_processes(), hertz);
        }
        timeline.add_tables(&self, in_ticks);
        if !in_ticks && self.tables.is_empty() {
            timeline.add_stamps(&self);
        } else if has(Source::Stamps) {
            timeline.notes.push("times before the console's lines were not used: the trace has finer ones".to_owned());
        }
        timeline.finish(in_ticks);
        Ok(timeline)
    }

    fn records_and_processes(&mut self) -> Parts {
        Parts {
            records: std::mem::take(&mut self.records),
            processes: std::mem::take(&mut self.processes),
            last_pid: self.last_pid,
            lost: self.lost,
        }
    }
}

struct Parts {
    records: Vec<crate::tslog::Record>,
    processes: Vec<crate::process::Process>,
    last_pid: Option<u64>,
    lost: Option<u64>,
}

impl Timeline {
    fn add_ticks(&mut self, parts: Parts, hertz: Option<u64>) {
        let Parts { mut records, processes, last_pid, lost } = parts;
        let Timeline { names, stacks, faults, .. } = self;
        // What comes first in time has the first number, too.
        stacks.child(Stack::EMPTY, names.intern("BIOS"));
        let of_kernel = records.iter().filter(|record| record.thread != LOADER).count();
        let full = match lost {
            None if of_kernel >= SLOTS && of_kernel.is_power_of_two() => Some("all that came later is".to_owned()),
            Some(1) => Some("1 record that came later is".to_owned()),
            Some(lost @ 2..) => Some(format!("{lost} records that came later are")),
            None | Some(_) => None,
        };
        if let Some(missing) = full {
            faults.incomplete(format!(
                "the kernel's buffer is full ({of_kernel} records): {missing} missing (options TSLOGSIZE makes it larger)"
            ));
        }
        straighten(&mut records, hertz, faults);
        let threads = threads::follow(&records, names, stacks, faults);
        let Mainline { path, beside } = mainline(&threads, names, stacks, faults);
        let last = records.last().map(|record| record.time);
        drop(records);
        (self.path, self.beside, self.lanes) = (path, beside, threads.lanes);
        if !processes.is_empty() {
            let known = Processes::new(&processes, last_pid, faults);
            let kernel = names.intern("kernel");
            let kernel = stacks.child(Stack::EMPTY, kernel);
            let end = processes.iter().map(|process| process.exited.max(process.forked)).chain(last).max().unwrap_or(0);
            self.path = known.path(std::mem::take(&mut self.path), kernel, names, stacks, faults);
            self.lanes.extend(known.lanes(end, names, stacks, faults));
        }
    }

    fn add_tables(&mut self, log: &Log, in_ticks: bool) {
        if log.tables.is_empty() {
            return;
        }
        let hertz = self.clock.hertz;
        let scale = move |msecs: u64| match (in_ticks, hertz) {
            (true, Some(hertz)) => u64::try_from(u128::from(msecs) * u128::from(hertz) / 1000).unwrap_or(u64::MAX),
            _ => msecs.saturating_mul(1000),
        };
        if in_ticks && hertz.is_none() {
            self.notes.push(
                "the tables of BootTrace are not shown: without the clock's frequency they cannot be put beside debug.tslog"
                    .to_owned(),
            );
            return;
        }
        let mut tables = tables::lanes(&log.tables, &scale, &mut self.names, &mut self.stacks, &mut self.faults);
        // The way is the boot's, or else the shutdown's.
        let order = [TableKind::Boot, TableKind::Shutdown, TableKind::Run];
        let main = order.into_iter().find_map(|kind| tables.iter().position(|table| table.kind == kind));
        for (at, table) in tables.iter_mut().enumerate() {
            let path = std::mem::take(&mut table.path);
            if !in_ticks && Some(at) == main {
                self.path = path;
            } else {
                self.beside.extend(path);
            }
        }
        self.lanes.extend(tables.into_iter().map(|table| table.lane));
    }

    /// A coarse profile: each line lasts until the next one that has a time.
    fn add_stamps(&mut self, log: &Log) {
        let lines = comparable(&log.stamped);
        if lines.len() < log.stamped.len() {
            let other = log.stamped.len() - lines.len();
            self.notes.push(format!("{other} lines have times of another kind and were not used"));
        }
        self.notes.push("there is no trace: each line of the console is taken to last until the next one".to_owned());
        let Timeline { names, stacks, faults, .. } = self;
        let mut lane = Lane {
            kind: LaneKind::Console,
            id: String::new(),
            name: "console".to_owned(),
            root: Stack::EMPTY,
            start: lines.first().map_or(0, |(time, _)| *time),
            end: 0,
            spans: Vec::new(),
            marks: Vec::new(),
        };
        let mut stage = None;
        let mut around: Option<(usize, Stack)> = None;
        let mut latest = lane.start;
        let mut path: Vec<Segment> = Vec::new();
        let mut now: Option<Stack> = None;
        for (time, line) in &lines {
            if *time < latest {
                faults.add(FaultKind::ClockBack, line.line, &line.text);
            }
            let time = latest.max(*time);
            if let Some(stack) = now {
                let end = time;
                if let Some(span) = lane.spans.last_mut() {
                    span.end = end;
                }
                if end > latest {
                    path.push(Segment { start: latest, end, stack });
                }
            }
            latest = time;
            let begun = Stage::begun_by(&line.text).or(stage.is_none().then_some(Stage::Loader));
            if begun.is_some() && begun != stage {
                stage = begun;
                if let Some(span) = around.and_then(|(at, _)| lane.spans.get_mut(at)) {
                    span.end = time;
                }
                let name = names.intern(begun.unwrap_or(Stage::Loader).name());
                let stack = stacks.child(Stack::EMPTY, name);
                around = Some((lane.spans.len(), stack));
                lane.spans.push(Span { start: time, end: time, stack, depth: 0, ending: Ending::Told });
            }
            let text = if line.text.is_empty() { "(empty line)" } else { &line.text };
            let stack = stacks.child(around.map_or(Stack::EMPTY, |(_, stack)| stack), names.intern(text));
            lane.spans.push(Span { start: time, end: time, stack, depth: 1, ending: Ending::Told });
            now = Some(stack);
        }
        if let Some(span) = around.and_then(|(at, _)| lane.spans.get_mut(at)) {
            span.end = latest;
        }
        lane.end = latest;
        self.path = path;
        self.lanes.push(lane);
    }

    /// Where it begins and ends, and in which order its lanes are.
    fn finish(&mut self, in_ticks: bool) {
        let first = self.lanes.iter().map(|lane| lane.start).min().unwrap_or(0);
        let last = self.lanes.iter().map(|lane| lane.end).max().unwrap_or(first);
        self.start = first;
        self.end = last.max(self.path.last().map_or(0, |segment| segment.end));
        let has_records = self.path.first().is_some_and(|segment| segment.start == 0 && self.is_firmware(segment));
        if in_ticks && has_records {
            // A counter that began long before is not that of the time since the machine was switched on.
            if first <= self.end.saturating_sub(first) {
                self.start = 0;
                self.lanes.push(firmware(first, &mut self.names, &mut self.stacks));
            } else {
                self.notes.push(format!(
                    "the clock was at {} when the first record was written: it counts from before this boot, or the firmware took that long",
                    self.clock.show(first)
                ));
            }
        }
        self.origin = self.start;
        let order = |lane: &Lane| match lane.kind {
            LaneKind::Thread => (LaneKind::Thread, u64::MAX - lane.spans.len() as u64, lane.start),
            kind => (kind, 0, lane.start),
        };
        self.lanes.sort_by_key(order);
        if in_ticks && self.clock.hertz.is_none() {
            self.notes.push(
                "the frequency of the clock is not in the log: times are in ticks (--tsc-freq gives it, as does the console's text)"
                    .to_owned(),
            );
        }
    }

    fn is_firmware(&self, segment: &Segment) -> bool {
        self.stacks.name(segment.stack).is_some_and(|name| self.names.text(name) == "BIOS")
    }
}

fn firmware(end: u64, names: &mut Names, stacks: &mut Stacks) -> Lane {
    let stack = stacks.child(Stack::EMPTY, names.intern("BIOS"));
    Lane {
        kind: LaneKind::Firmware,
        id: String::new(),
        name: "firmware".to_owned(),
        root: stack,
        start: 0,
        end,
        spans: vec![Span { start: 0, end, stack, depth: 0, ending: Ending::Told }],
        marks: Vec::new(),
    }
}
