//! The tables of BootTrace, as `kern.boottrace.log` and the console at shutdown have them (`sys/kern/kern_boottrace.c`,
//! boottrace(4)).
//!
//! Columns: CPU, milliseconds of the processor's clock, milliseconds since the event before, process, event, PID, CPU
//! time, blocks in and out. The boot table drops what comes when it is full, the one of run time begins anew.

use crate::line::{bare, number, text};

/// Which table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TableKind {
    /// From the kernel's start to the end of `/etc/rc`.
    Boot,
    /// Until the shutdown begins.
    Run,
    /// From there on.
    Shutdown,
}

impl TableKind {
    /// The name that stacks begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Run => "run",
            Self::Shutdown => "shutdown",
        }
    }

    /// Lines that a full table prints: `BT_TABLE_*SIZE`, without the slot that stays free, and for the boot table
    /// without the first entry, which has no time.
    pub(crate) fn full(self) -> usize {
        match self {
            Self::Boot => 2998,
            Self::Run => 2000,
            Self::Shutdown => 999,
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) line: u64,
    pub(crate) msecs: u64,
    pub(crate) delta: u64,
    pub(crate) process: String,
    pub(crate) event: String,
    pub(crate) pid: u64,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) events: Vec<Event>,
    /// What the last line says, in milliseconds.
    pub(crate) total: Option<u64>,
}

impl Table {
    /// Which it is, by its events; `before` is the table before it.
    pub(crate) fn kind(&self, before: Option<TableKind>) -> TableKind {
        let any = |is: fn(&Event) -> bool| self.events.iter().any(is);
        if any(|event| event.event.starts_with("sysinit ") && event.process == "kernel")
            || any(|event| event.event.starts_with("/etc/rc start"))
        {
            return TableKind::Boot;
        }
        let is_shutdown = |event: &Event| {
            event.event.starts_with("shutdown") || matches!(event.process.as_str(), "shutdown" | "reboot" | "halt")
        };
        if any(is_shutdown) {
            return TableKind::Shutdown;
        }
        match before {
            None => TableKind::Boot,
            Some(_) => TableKind::Run,
        }
    }
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// The names of the columns.
    Head,
    Event(Event),
    /// `Total measured time: N msecs`.
    Total(u64),
}

/// Reads a line.
pub(crate) fn parse(bytes: &[u8], line: u64) -> Option<Row> {
    match bytes.first()? {
        b'C' => {
            let words = ["CPU", "msecs", "delta", "process", "event", "PID", "CPUtime", "IBlks", "OBlks"];
            let head = bytes.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
            head.eq(words.map(str::as_bytes)).then_some(Row::Head)
        }
        b'T' => {
            let (total, rest) = number(bytes.strip_prefix(b"Total measured time: ")?)?;
            (rest == b" msecs").then_some(Row::Total(total))
        }
        b'0'..=b'9' => event(bytes, line).map(Row::Event),
        _ => None,
    }
}

/// Names may have spaces: what is before and behind them has not.
fn event(bytes: &[u8], line: u64) -> Option<Event> {
    let (_cpu, rest) = number(bytes)?;
    let (msecs, rest) = number(gap(rest)?)?;
    let (delta, rest) = number(gap(rest)?)?;
    let rest = rest.strip_prefix(b" ")?;
    let (rest, blocks_out) = last_word(rest)?;
    let (rest, blocks_in) = last_word(rest)?;
    let (rest, cpu_time) = last_word(rest)?;
    let (rest, pid) = last_word(rest)?;
    let whole = |word: &[u8]| number(word).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number);
    whole(blocks_out)?;
    whole(blocks_in)?;
    number(cpu_time).filter(|(_, rest)| rest.starts_with(b"."))?;
    let pid = whole(pid)?;
    let (process, event) = names(rest)?;
    Some(Event { line, msecs, delta, process: text(process), event: text(event), pid })
}

/// The process in 24 columns and the event; or, where a terminal has changed the spaces, two words or more.
fn names(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    const WIDTH: usize = 24;
    let split = match bytes.get(WIDTH..WIDTH + 2) {
        Some([b' ', after]) if *after != b' ' && bytes[0] != b' ' => WIDTH,
        _ => {
            let bytes = bare(bytes);
            let at = memchr::memmem::find(bytes, b"  ").or_else(|| memchr::memchr(b' ', bytes))?;
            return Some((bare(&bytes[..at]), bare(&bytes[at..])));
        }
    };
    let (process, event) = (bare(&bytes[..split]), bare(&bytes[split..]));
    (!process.is_empty() && !event.is_empty()).then_some((process, event))
}

fn gap(bytes: &[u8]) -> Option<&[u8]> {
    bytes.starts_with(b" ").then(|| bare(bytes))
}

fn last_word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().rposition(|&byte| byte != b' ')? + 1;
    let start = bytes[..end].iter().rposition(|&byte| byte == b' ')?;
    Some((&bytes[..start], &bytes[start + 1..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Option<(u64, u64, String, String, u64)> {
        match parse(bare(line.as_bytes()), 1)? {
            Row::Event(event) => Some((event.msecs, event.delta, event.process, event.event, event.pid)),
            _ => None,
        }
    }

    #[test]
    fn an_event_has_times_a_process_and_a_name() {
        let line = "  1   44881116       4670 boottrace                /etc/rc.d/netif done                       390    0.12    34     0";
        assert_eq!(told(line), Some((44_881_116, 4670, "boottrace".into(), "/etc/rc.d/netif done".into(), 390)));
        let squeezed = "1 44881116 4670 boottrace /etc/rc.d/netif done 390 0.12 34 0";
        assert_eq!(told(squeezed), told(line));
        let long = "  0   44872811          0 swi4: clock (0) and more x an event                                     0    0.00     0     0";
        assert_eq!(told(long), Some((44_872_811, 0, "swi4: clock (0) and more".into(), "x an event".into(), 0)));
    }

    #[test]
    fn heads_and_totals_are_told_from_text() {
        assert_eq!(parse(b"CPU      msecs      delta process                  event                                      PID CPUtime IBlks OBlks", 1), Some(Row::Head));
        assert_eq!(parse(b"CPU: QEMU TCG CPU version 2.5+", 1), None);
        assert_eq!(parse(b"Total measured time: 10068 msecs", 1), Some(Row::Total(10068)));
        assert_eq!(told("2 44881116 4670 boottrace /etc/rc.d/netif"), None);
    }

    #[test]
    fn a_table_is_known_by_its_events() {
        let table = |process: &str, event: &str| Table {
            events: vec![Event { line: 1, msecs: 1, delta: 0, process: process.into(), event: event.into(), pid: 1 }],
            total: None,
        };
        assert_eq!(table("kernel", "sysinit 0x2100001").kind(Some(TableKind::Boot)), TableKind::Boot);
        assert_eq!(table("init", "multi-user start").kind(Some(TableKind::Boot)), TableKind::Run);
        assert_eq!(table("init", "shutdown pre sync begin").kind(None), TableKind::Shutdown);
    }
}
