//! What is in a file: which traces, of how many boots.

use crate::console::{Frequencies, Stamped, begins_boot};
use crate::faults::{FaultKind, Faults};
use crate::line::{Line, bare, text};
use crate::names::Names;
use crate::process::{self, Process};
use crate::table::{self, Row, Table};
use crate::tslog::{Record, Records};

/// Lines with times that are kept, where a capture has nothing better.
const STAMPED: usize = 1 << 20;

/// What is known of one boot, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub(crate) names: Names,
    pub(crate) records: Vec<Record>,
    pub(crate) processes: Vec<Process>,
    pub(crate) tables: Vec<Table>,
    pub(crate) stamped: Vec<Stamped>,
    pub(crate) frequencies: Frequencies,
    /// The frequency that a kernel's memory tells, and where.
    pub(crate) frequency: Option<(u64, String)>,
    /// How many records the kernel had no room for, where it tells.
    pub(crate) lost: Option<u64>,
    pub(crate) faults: Faults,
    /// Lines of text that belong to no trace.
    pub(crate) other_lines: u64,
    /// The list of processes has those that never were, too, and ends with this number.
    pub(crate) last_pid: Option<u64>,
}

/// What a [`Log`] can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// `debug.tslog`.
    Tslog,
    /// `debug.tslog_user`.
    TslogUser,
    /// `kern.boottrace.log`, or what the kernel prints of it at shutdown.
    Boottrace,
    /// Lines of a console with times.
    Stamps,
    /// Text that tells the clock's frequency.
    Console,
}

impl Source {
    /// The name as FreeBSD has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tslog => "debug.tslog",
            Self::TslogUser => "debug.tslog_user",
            Self::Boottrace => "kern.boottrace.log",
            Self::Stamps => "console lines with times",
            Self::Console => "console",
        }
    }
}

/// Finds all traces in the bytes of a file: a log of one boot, or several where it has traces of several.
///
/// Whatever is not part of a trace is passed over. Nothing is an error: a file without traces gives a log without
/// [`Source`]s.
pub fn read(bytes: &[u8]) -> Vec<Log> {
    let mut reader = Reader::default();
    let mut rest = bytes;
    let mut at = 0;
    while !rest.is_empty() {
        at += 1;
        let end = memchr::memchr(b'\n', rest);
        let (line, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &[][..]),
        };
        reader.line(line, at);
        rest = after;
    }
    reader.finish_log();
    reader.done
}

#[derive(Default)]
struct Reader {
    done: Vec<Log>,
    log: Log,
    records: Records,
    table: Option<Table>,
}

impl Reader {
    fn line(&mut self, bytes: &[u8], at: u64) {
        let line = Line::new(bytes);
        let Log { names, faults, .. } = &mut self.log;
        if line.text.starts_with(b"0x") {
            if self.records.begins_another(line.text, names) {
                self.finish_log();
            }
            let Log { names, faults, .. } = &mut self.log;
            self.records.line(line.text, at, names, faults);
            return;
        }
        let body = without_name(line.text);
        if let Some(process) = process::parse(body) {
            self.process(process);
            return;
        }
        match table::parse(body, at) {
            Some(Row::Head) => {
                self.finish_table();
                self.table = Some(Table::default());
                return;
            }
            Some(Row::Event(event)) => {
                self.table.get_or_insert_default().events.push(event);
                return;
            }
            Some(Row::Total(total)) => {
                if let Some(table) = &mut self.table {
                    table.total = Some(total);
                }
                self.finish_table();
                return;
            }
            None => {}
        }
        if self.records.line(body, at, names, faults) {
            return;
        }
        if process::looks_cut(body) {
            faults.add(FaultKind::HalfLine, at, text(body));
            return;
        }
        if begins_boot(line.text) && self.has_trace() {
            self.finish_log();
        }
        self.other(&line, at);
    }

    fn process(&mut self, process: Process) {
        if process.forked == 0 {
            self.log.last_pid = Some(process.pid);
        } else {
            self.log.last_pid = self.log.last_pid.map(|last| last.max(process.pid));
            self.log.processes.push(process);
        }
    }

    fn other(&mut self, line: &Line<'_>, at: u64) {
        if bare(line.text).is_empty() {
            return;
        }
        self.log.other_lines += 1;
        self.records.other(line.text, at);
        self.log.frequencies.line(line);
        if let Some(table) = &self.table
            && !table.events.is_empty()
        {
            self.log.faults.add(FaultKind::Noise, at, text(line.text));
        }
        if let Some(stamp) = line.stamp
            && self.log.stamped.len() < STAMPED
        {
            self.log.stamped.push(Stamped { line: at, stamp, text: text(line.text) });
        }
    }

    fn has_trace(&self) -> bool {
        !self.records.list.is_empty() || !self.log.processes.is_empty() || !self.log.tables.is_empty()
    }

    fn finish_table(&mut self) {
        let Some(table) = self.table.take().filter(|table| !table.events.is_empty()) else { return };
        if table.total.is_none() {
            self.log.faults.incomplete("a table of BootTrace has no last line: it is cut");
        }
        // A table that is printed again has grown, or is the same.
        let same = self.log.tables.iter_mut().find(|before| {
            let (before, now) = (before.events.first(), table.events.first());
            before.is_some_and(|before| {
                now.is_some_and(|now| before.msecs == now.msecs && before.event == now.event && before.pid == now.pid)
            })
        });
        match same {
            Some(before) => {
                self.log.faults.add(FaultKind::Repeated, 0, "a table of BootTrace is there again");
                if table.events.len() >= before.events.len() {
                    *before = table;
                }
            }
            None => self.log.tables.push(table),
        }
    }

    fn finish_log(&mut self) {
        self.finish_table();
        let mut log = std::mem::take(&mut self.log);
        log.records = std::mem::take(&mut self.records).finish(&mut log.faults);
        let mut by_pid = std::collections::BTreeMap::new();
        for process in log.processes.drain(..) {
            by_pid.insert(process.pid, process);
        }
        log.processes = by_pid.into_values().collect();
        self.done.push(log);
    }
}

/// `sysctl` without `-n` puts the name before the first line.
fn without_name(text: &[u8]) -> &[u8] {
    [&b"debug.tslog: "[..], b"debug.tslog_user: ", b"kern.boottrace.log: "]
        .into_iter()
        .find_map(|name| text.strip_prefix(name))
        .map_or(text, bare)
}

impl Log {
    /// What it has.
    pub fn sources(&self) -> Vec<Source> {
        let mut sources = Vec::new();
        let mut add = |source, has: bool| {
            if has {
                sources.push(source);
            }
        };
        add(Source::Tslog, !self.records.is_empty());
        add(Source::TslogUser, !self.processes.is_empty());
        add(Source::Boottrace, !self.tables.is_empty());
        add(Source::Stamps, self.stamped.len() > 1);
        add(Source::Console, self.frequencies.best().is_some());
        sources
    }

    /// Sets the frequency of the cycle counter in hertz, where something better than text tells it: `told` is what does.
    pub fn set_frequency(&mut self, hertz: u64, told: &str) {
        self.frequency = (hertz > 0).then(|| (hertz, told.to_owned()));
    }

    /// Says how many records the kernel had no room for. Of a text alone, that can only be guessed by their number.
    pub fn set_lost(&mut self, records: u64) {
        self.lost = Some(records);
    }

    /// Whether it can be shown by itself: the frequency of a clock alone cannot.
    pub fn has_times(&self) -> bool {
        self.sources().iter().any(|&source| source != Source::Console)
    }

    /// Whether two logs can be parts of one boot: neither has what the other has.
    pub fn completes(&self, other: &Log) -> bool {
        let sources = self.sources();
        !sources.is_empty()
            && !other.sources().is_empty()
            && other.sources().iter().all(|source| !sources.contains(source))
    }

    /// Takes in another part of the same boot.
    pub fn absorb(&mut self, other: Log) {
        if self.records.is_empty() {
            self.records = other.records;
            self.names = other.names;
        }
        if self.processes.is_empty() {
            self.processes = other.processes;
            self.last_pid = other.last_pid;
        }
        self.tables.extend(other.tables);
        if self.stamped.is_empty() {
            self.stamped = other.stamped;
        }
        self.frequencies.absorb(other.frequencies);
        self.frequency = self.frequency.take().or(other.frequency);
        self.lost = self.lost.or(other.lost);
        self.faults.absorb(other.faults);
        self.other_lines += other.other_lines;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_found_among_other_text() {
        let capture = b"---<<BOOT>>---\r\nCPU: x (1000.00-MHz x)\r\nlogin: root\r\n# sysctl debug.tslog debug.tslog_user\r\n\
            debug.tslog: 0x1 5 ENTER mi_startup\r\n0x1 9 EXIT mi_startup\r\n\r\n\0debug.tslog_user: 0 0 0 0 \"\" \"\"\r\n\
            1 0 5 0 \"init\" \"/sbin/init\"\r\n";
        let logs = read(capture);
        assert_eq!(logs.len(), 1);
        assert_eq!(logs[0].sources(), [Source::Tslog, Source::TslogUser, Source::Console]);
        assert_eq!(logs[0].records.len(), 2);
        assert_eq!(logs[0].faults.sentences(), [""; 0]);
    }

    #[test]
    fn a_capture_of_two_boots_gives_two_logs() {
        let boot = "---<<BOOT>>---\n0x1 5 ENTER mi_startup\n0x1 9 EXIT mi_startup\n";
        assert_eq!(read(format!("{boot}{boot}").as_bytes()).len(), 2);
        let traces =
            "0x1 5 ENTER hammer_time\n0x1 9 EXIT hammer_time\n0x1 4 ENTER hammer_time\n0x1 9 EXIT hammer_time\n";
        assert_eq!(read(traces.as_bytes()).len(), 2);
    }

    #[test]
    fn parts_of_one_boot_complete_each_other() {
        let one = |text: &str| read(text.as_bytes()).remove(0);
        let (trace, user) = (one("0x1 5 ENTER a\n"), one("1 0 5 0 \"init\" \"\"\n"));
        let console = one("Timecounter \"TSC\" frequency 1000 Hz quality 1\n");
        assert!(trace.completes(&user) && user.completes(&console) && !trace.completes(&trace.clone()));
        assert!(!trace.completes(&one("hello\n")) && !console.has_times());
        let mut whole = console;
        whole.absorb(user);
        whole.absorb(trace);
        assert_eq!(whole.sources(), [Source::Tslog, Source::TslogUser, Source::Console]);
    }
}
