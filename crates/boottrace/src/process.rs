//! Lines of `debug.tslog_user`: `PID PPID FORKED EXITED "EXEC" "NAMEI"`, one for each number that a process can have
//! (`sys/kern/kern_tslog.c`).
//!
//! Times are ticks of the clock of `debug.tslog`; 0 for a process that never was, or has not ended. EXEC is the last
//! program that it executed, NAMEI the first path that it looked up.

use crate::line::{number, text};

/// The largest number of a process (`PID_MAX`, `sys/proc.h`): the last line, where the list is whole.
pub(crate) const LAST: u64 = 99_999;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u64,
    pub(crate) parent: u64,
    pub(crate) forked: u64,
    pub(crate) exited: u64,
    pub(crate) exec: String,
    pub(crate) namei: String,
}

/// Reads a line.
pub(crate) fn parse(bytes: &[u8]) -> Option<Process> {
    let (pid, rest) = number(bytes)?;
    let (parent, rest) = number(rest.strip_prefix(b" ")?)?;
    let (forked, rest) = number(rest.strip_prefix(b" ")?)?;
    let (exited, rest) = number(rest.strip_prefix(b" ")?)?;
    let strings = rest.strip_prefix(b" \"")?.strip_suffix(b"\"")?;
    let middle = memchr::memmem::rfind(strings, b"\" \"")?;
    if pid > LAST || parent > LAST {
        return None;
    }
    let (exec, namei) = (text(&strings[..middle]), text(&strings[middle + 3..]));
    Some(Process { pid, parent, forked, exited, exec, namei })
}

/// Whether a line that is none has the look of the beginning of one: four numbers, or more.
pub(crate) fn looks_cut(bytes: &[u8]) -> bool {
    let mut words = bytes.split(|&byte| byte == b' ');
    let numbers = words.by_ref().take(4).filter(|word| number(word).is_some_and(|(_, rest)| rest.is_empty())).count();
    numbers == 4 && words.next().is_some_and(|word| word.starts_with(b"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_parent_times_and_names() {
        let process = parse(b"26 25 100 200 \"sh\" \"/etc/rc.d/netif\"").expect("it is one");
        assert_eq!((process.pid, process.parent, process.forked, process.exited), (26, 25, 100, 200));
        assert_eq!((process.exec.as_str(), process.namei.as_str()), ("sh", "/etc/rc.d/netif"));
    }

    #[test]
    fn what_is_cut_is_no_process() {
        for line in ["26 25 100 200 \"sh\"", "26 25 100 200 \"sh", "26 25 100", "x", "100000 1 1 1 \"\" \"\""] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        assert!(looks_cut(b"26 25 100 200 \"sh\" \"/etc"));
        assert!(!looks_cut(b"  0   44872811          0 kernel"));
    }
}
