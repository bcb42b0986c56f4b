//! Records of `debug.tslog`: `0xTHREAD TSC TYPE FUNCTION[ TEXT]`, one a line (`sys/kern/kern_tslog.c`).
//!
//! The boot loader's records come first, with the thread `0x0` (`stand/libsa/tslog.c`). The kernel's are in the order
//! in which they got a slot of its buffer, which can differ from that of their times when processors race.

use crate::faults::{FaultKind, Faults};
use crate::line::{bare, number, text};
use crate::names::{Name, Names};

/// Slots of the kernel's buffer unless `TSLOGSIZE` says otherwise. What comes later is dropped without a trace.
pub(crate) const SLOTS: usize = 262_144;
/// The thread of the boot loader's records.
pub(crate) const LOADER: u64 = 0;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordKind {
    Enter,
    Exit,
    Thread,
    Event,
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Address of the thread; of the new thread for [`RecordKind::Thread`].
    pub(crate) thread: u64,
    /// Ticks of the processor's cycle counter.
    pub(crate) time: u64,
    pub(crate) kind: RecordKind,
    /// Function and text.
    pub(crate) label: Name,
}

/// The beginning of a record, and its label.
#[derive(Clone, Copy, Debug)]
struct Raw<'a> {
    thread: u64,
    time: u64,
    kind: RecordKind,
    label: &'a [u8],
}

/// Records as they are read, and the copies of them that came before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) list: Vec<Record>,
    /// Lines of other text since the last record: they are noise only if another record follows.
    since: Vec<(u64, String)>,
    more_since: u64,
    /// The lines that follow a record one by one without noise.
    copies: u64,
    longest: Vec<Record>,
}

/// Lines kept until it is known whether they are noise.
const PENDING: usize = 200;

impl Records {
    /// Reads a line, if it has a record or a part of one.
    pub(crate) fn line(&mut self, bytes: &[u8], at: u64, names: &mut Names, faults: &mut Faults) -> bool {
        if let Some(raw) = parse(bytes) {
            self.split(raw, at, names, faults);
            return true;
        }
        // Something was printed between the line end before and this record.
        for start in occurrences(bytes).filter(|&start| start > 0) {
            if let Some(raw) = parse(&bytes[start..]) {
                faults.add(FaultKind::Joined, at, text(bytes));
                self.split(raw, at, names, faults);
                return true;
            }
        }
        if !looks_cut(bytes) {
            return false;
        }
        faults.add(FaultKind::HalfLine, at, text(bytes));
        true
    }

    /// A line that is none of this trace.
    pub(crate) fn other(&mut self, bytes: &[u8], at: u64) {
        if self.list.is_empty() || bytes.is_empty() {
            return;
        }
        if self.since.len() < PENDING {
            self.since.push((at, text(bytes)));
        } else {
            self.more_since += 1;
        }
    }

    /// Whether a record would be the first of another boot: what happens once in a boot happens again, earlier.
    pub(crate) fn begins_another(&self, bytes: &[u8], names: &Names) -> bool {
        let (Some(first), Some(last), Some(raw)) = (self.list.first(), self.list.last(), parse(bytes)) else {
            return false;
        };
        if raw.time >= last.time || raw.time == first.time || raw.kind != RecordKind::Enter {
            return false;
        }
        let loader_again = raw.thread == LOADER && last.thread != LOADER;
        let once = matches!(raw.label, b"hammer_time" | b"initarm" | b"mi_startup");
        loader_again || (once && names.text(first.label).as_bytes() == raw.label && first.thread == raw.thread)
    }

    /// Adds a record, and those that follow it in its line for want of a line end.
    fn split(&mut self, mut raw: Raw<'_>, at: u64, names: &mut Names, faults: &mut Faults) {
        while let Some((start, next)) =
            occurrences(raw.label).find_map(|start| parse(&raw.label[start..]).map(|next| (start, next)))
        {
            faults.add(FaultKind::Joined, at, text(&raw.label[start..]));
            raw.label = bare(&raw.label[..start]);
            self.push(raw, names, faults);
            raw = next;
        }
        self.push(raw, names, faults);
    }

    fn push(&mut self, raw: Raw<'_>, names: &mut Names, faults: &mut Faults) {
        let label = match std::str::from_utf8(raw.label) {
            Ok(label) if label.bytes().all(|byte| byte >= b' ' && byte != 0x7f) => names.intern(label),
            _ => names.intern(&text(raw.label)),
        };
        let record = Record { thread: raw.thread, time: raw.time, kind: raw.kind, label };
        if self.list.len() > 1 && self.list.first() == Some(&record) {
            self.begin_copy();
        } else {
            for (line, text) in self.since.drain(..) {
                faults.add(FaultKind::Noise, line, text);
            }
            for _ in 0..std::mem::take(&mut self.more_since) {
                faults.add(FaultKind::Noise, 0, "");
            }
        }
        self.list.push(record);
    }

    fn begin_copy(&mut self) {
        self.copies += 1;
        self.since.clear();
        self.more_since = 0;
        let before = std::mem::take(&mut self.list);
        if before.len() >= self.longest.len() {
            self.longest = before;
        }
    }

    /// The records, once all lines were read.
    pub(crate) fn finish(mut self, faults: &mut Faults) -> Vec<Record> {
        for _ in 0..self.copies {
            faults.add(FaultKind::Repeated, 0, "the trace begins again with its first record");
        }
        if self.longest.len() > self.list.len() {
            self.list = self.longest;
        }
        self.list.shrink_to_fit();
        self.list
    }
}

/// Reads `0x`, hexadecimal digits, a number, a type and a label, separated by one space each.
fn parse(bytes: &[u8]) -> Option<Raw<'_>> {
    let rest = bytes.strip_prefix(b"0x")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return None;
    }
    let (digits, rest) = rest.split_at(digits);
    let thread = digits.iter().fold(0u64, |value, &digit| value << 4 | u64::from(hex(digit)));
    let (time, rest) = number(rest.strip_prefix(b" ")?)?;
    let rest = rest.strip_prefix(b" ")?;
    let (kind, rest) = match rest {
        [b'E', b'N', b'T', b'E', b'R', b' ', rest @ ..] => (RecordKind::Enter, rest),
        [b'E', b'X', b'I', b'T', b' ', rest @ ..] => (RecordKind::Exit, rest),
        [b'T', b'H', b'R', b'E', b'A', b'D', b' ', rest @ ..] => (RecordKind::Thread, rest),
        [b'E', b'V', b'E', b'N', b'T', b' ', rest @ ..] => (RecordKind::Event, rest),
        _ => return None,
    };
    let label = bare(rest);
    (!label.is_empty()).then_some(Raw { thread, time, kind, label })
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

/// Where `0x` is.
fn occurrences(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    memchr::memmem::find_iter(bytes, b"0x")
}

/// Whether a line that is no record has the look of a part of one: an address at the start, an address and a number, or
/// a number and a type.
fn looks_cut(bytes: &[u8]) -> bool {
    occurrences(bytes).any(|start| {
        let rest = &bytes[start + 2..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let Some(rest) = rest.get(digits..).filter(|_| digits > 0) else { return false };
        let time = rest.strip_prefix(b" ").and_then(number);
        let is_begun = time.is_some_and(|(_, rest)| {
            let kind = bare(rest);
            [&b"ENTER"[..], b"EXIT", b"THREAD", b"EVENT"].iter().any(|known| known.starts_with(kind))
        });
        is_begun || (start == 0 && (rest.is_empty() || rest.starts_with(b" ")))
    }) || [&b" ENTER "[..], b" EXIT ", b" THREAD ", b" EVENT "].iter().any(|kind| {
        memchr::memmem::find(bytes, kind).is_some_and(|at| at > 0 && bytes[..at].iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Vec<(u64, u64, RecordKind, String)>, Faults) {
        let (mut records, mut names, mut faults) = (Records::default(), Names::default(), Faults::default());
        for (at, line) in (1..).zip(lines) {
            if !records.line(line.as_bytes(), at, &mut names, &mut faults) {
                records.other(line.as_bytes(), at);
            }
        }
        let records = records.finish(&mut faults);
        let told = records.iter().map(|r| (r.thread, r.time, r.kind, names.text(r.label).to_owned())).collect();
        (told, faults)
    }

    #[test]
    fn a_record_has_a_thread_a_time_a_type_and_a_label() {
        let (records, faults) = read(&["0xfffff80002195740 20036 EXIT DEVICE_ATTACH pci  x "]);
        assert_eq!(records, [(0xffff_f800_0219_5740, 20036, RecordKind::Exit, "DEVICE_ATTACH pci  x".into())]);
        assert!(faults.sentences().is_empty());
    }

    #[test]
    fn records_behind_other_text_are_used_and_told() {
        let (records, faults) = read(&["login: 0x1 5 ENTER a", "0x1 6 ENTER b0x1 7 EXIT b"]);
        assert_eq!(records.len(), 3);
        assert_eq!(records[1].3, "b");
        assert_eq!(faults.count(FaultKind::Joined), 2);
    }

    #[test]
    fn parts_of_records_are_told_and_not_used() {
        let cut =
            ["0x1", "0x1 5", "0x1 5 ENT", "0x1 5 ENTER", "5 ENTER a", "fff0 5x", "0x1 99999999999999999999 ENTER a"];
        let (records, faults) = read(&cut);
        assert!(records.is_empty());
        assert_eq!(faults.count(FaultKind::HalfLine), 6);
    }

    #[test]
    fn text_is_noise_only_between_records() {
        let (records, faults) = read(&["hello", "0x1 5 ENTER a", "usb0: noise", "0x1 6 EXIT a", "bye"]);
        assert_eq!(records.len(), 2);
        assert_eq!(faults.count(FaultKind::Noise), 1);
        assert_eq!(faults.kept()[0].line, 3);
    }

    #[test]
    fn of_a_trace_that_was_printed_twice_the_longer_one_counts() {
        let (records, faults) =
            read(&["0x1 5 ENTER a", "0x1 6 EXIT a", "# again", "0x1 5 ENTER a", "0x1 6 EXIT a", "0x1 9 ENTER b"]);
        assert_eq!(records.len(), 3);
        assert_eq!(faults.count(FaultKind::Repeated), 1);
        assert_eq!(faults.count(FaultKind::Noise), 0);
    }
}
