//! What the console says, apart from traces: the frequency of the clock, and where one boot ends and another begins.

use crate::line::{Line, Stamp, StampKind, number, text};

/// A line that has a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub(crate) line: u64,
    pub(crate) stamp: Stamp,
    pub(crate) text: String,
}

/// What begins the messages of a kernel (`sys/kern/subr_prf.c`, `sys/kern/init_main.c`).
pub(crate) fn begins_boot(text: &[u8]) -> bool {
    text == b"---<<BOOT>>---"
}

/// Stages of a boot, as far as lines of a console tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Loader,
    Kernel,
    Userland,
    Shutdown,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Kernel => "kernel",
            Self::Userland => "userland",
            Self::Shutdown => "shutdown",
        }
    }

    /// The stage from a line on, if the line begins one.
    pub(crate) fn begun_by(line: &str) -> Option<Stage> {
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        if begins(&["---<<BOOT>>---", "Copyright (c) 1992-"]) {
            Some(Self::Kernel)
        } else if begins(&["start_init: trying", "Setting hostuuid", "Starting file system checks", "init: "]) {
            Some(Self::Userland)
        } else if begins(&["Shutting down daemons", "Stopping cron", "Waiting (max ", "Syncing disks"]) {
            Some(Self::Shutdown)
        } else {
            None
        }
    }
}

/// Frequencies of the cycle counter that lines tell of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frequencies {
    /// `machdep.tsc_freq`, or that of the ARM counter.
    exact: Option<(u64, String)>,
    /// `Timecounter "TSC" frequency`.
    counter: Option<(u64, String)>,
    /// `Timecounter "TSC-low" frequency`: the counter's, halved some times.
    halved: Option<(u64, String)>,
    /// `CPU: ... (2750.34-MHz`.
    nominal: Option<(u64, String)>,
}

impl Frequencies {
    /// Looks for a frequency in a line.
    pub(crate) fn line(&mut self, line: &Line<'_>) {
        let bytes = line.text;
        let (slot, found) = match bytes.first() {
            Some(b'T') => match counter(bytes) {
                Some((b"TSC-low", hertz)) => (&mut self.halved, hertz),
                Some((b"TSC", hertz)) => (&mut self.counter, hertz),
                Some((b"ARM MPCore Timecounter", hertz)) => (&mut self.exact, hertz),
                _ => return,
            },
            Some(b'C') => match nominal(bytes) {
                Some(hertz) => (&mut self.nominal, hertz),
                None => return,
            },
            Some(b'm' | b'k') => match sysctl(bytes) {
                Some(hertz) => (&mut self.exact, hertz),
                None => return,
            },
            _ => return,
        };
        if found > 0 {
            *slot = Some((found, text(bytes)));
        }
    }

    /// The best of them, and what tells it.
    pub(crate) fn best(&self) -> Option<(u64, String)> {
        let halved = self.halved.as_ref().map(|(hertz, line)| {
            // The kernel shifts the counter until it is slow enough (`sys/x86/x86/tsc.c`); by one bit, unless the
            // nominal frequency tells otherwise.
            let nominal = self.nominal.as_ref().map_or(hertz.saturating_mul(2), |(nominal, _)| *nominal);
            let times = (1..16).min_by_key(|&shift| nominal.abs_diff(hertz.saturating_mul(1 << shift))).unwrap_or(1);
            (hertz.saturating_mul(1 << times), line.clone())
        });
        self.exact.clone().or_else(|| self.counter.clone()).or(halved).or_else(|| self.nominal.clone())
    }

    /// Takes what another part of the log knows.
    pub(crate) fn absorb(&mut self, other: Frequencies) {
        self.exact = self.exact.take().or(other.exact);
        self.counter = self.counter.take().or(other.counter);
        self.halved = self.halved.take().or(other.halved);
        self.nominal = self.nominal.take().or(other.nominal);
    }
}

/// `Timecounter "NAME" frequency N Hz`.
fn counter(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let rest = bytes.strip_prefix(b"Timecounter \"")?;
    let end = memchr::memchr(b'"', rest)?;
    let (hertz, rest2) = number(rest[end..].strip_prefix(b"\" frequency ")?)?;
    rest2.starts_with(b" Hz").then_some((&rest[..end], hertz))
}

/// `CPU: MODEL (2750.34-MHz`.
fn nominal(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(b"CPU: ")?;
    let end = memchr::memmem::find(rest, b"-MHz")?;
    let start = rest[..end].iter().rposition(|&byte| byte == b'(')? + 1;
    let (mega, rest) = number(&rest[start..end])?;
    let hundredths = match rest {
        [] => 0,
        [b'.', a, b] if a.is_ascii_digit() && b.is_ascii_digit() => u64::from(a - b'0') * 10 + u64::from(b - b'0'),
        _ => return None,
    };
    mega.checked_mul(1_000_000)?.checked_add(hundredths * 10_000)
}

/// What `sysctl` prints of the frequency.
fn sysctl(bytes: &[u8]) -> Option<u64> {
    let known = [&b"machdep.tsc_freq"[..], b"kern.timecounter.tc.ARM MPCore Timecounter.frequency"];
    let rest = known.into_iter().find_map(|name| bytes.strip_prefix(name))?;
    let (hertz, rest) = number(rest.strip_prefix(b": ").or_else(|| rest.strip_prefix(b"="))?)?;
    rest.is_empty().then_some(hertz)
}

/// The lines whose times are of the kind that most have, with times that grow.
pub(crate) fn comparable(lines: &[Stamped]) -> Vec<(u64, &Stamped)> {
    let count = |kind| lines.iter().filter(|line| line.stamp.kind == kind).count();
    let kinds = [StampKind::Start, StampKind::Midnight, StampKind::Date];
    let most = kinds.into_iter().max_by_key(|&kind| count(kind)).unwrap_or(StampKind::Start);
    let mut day = 0u64;
    let mut before = 0u64;
    let of_kind = lines.iter().filter(|line| line.stamp.kind == most);
    of_kind
        .map(|line| {
            let raw = line.stamp.micros;
            if most == StampKind::Midnight && raw.saturating_add(crate::line::DAY / 2) < before {
                day = day.saturating_add(crate::line::DAY);
            }
            before = raw;
            (raw.saturating_add(day), line)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(lines: &[&str]) -> Option<u64> {
        let mut frequencies = Frequencies::default();
        for line in lines {
            frequencies.line(&Line::new(line.as_bytes()));
        }
        frequencies.best().map(|(hertz, _)| hertz)
    }

    #[test]
    fn the_frequency_is_taken_from_the_best_line() {
        let cpu = "CPU: QEMU TCG CPU version 2.5+ (2750.34-MHz K8-class CPU)";
        let low = "Timecounter \"TSC-low\" frequency 1375169991 Hz quality 800";
        assert_eq!(best(&[cpu]), Some(2_750_340_000));
        assert_eq!(best(&[low]), Some(2_750_339_982));
        assert_eq!(best(&[cpu, low]), Some(2_750_339_982));
        assert_eq!(best(&[cpu, "Timecounter \"TSC-low\" frequency 10743516 Hz quality 800"]), Some(2_750_340_096));
        assert_eq!(best(&[low, "machdep.tsc_freq: 2750339983"]), Some(2_750_339_983));
        assert_eq!(best(&["Timecounter \"HPET\" frequency 100000000 Hz quality 950", "CPU: something"]), None);
    }

    #[test]
    fn times_of_day_go_on_after_midnight() {
        let line =
            |micros| Stamped { line: 1, stamp: Stamp { micros, kind: StampKind::Midnight }, text: String::new() };
        let day = crate::line::DAY;
        let lines = [line(day - 5), line(3)];
        let times: Vec<u64> = comparable(&lines).into_iter().map(|(time, _)| time).collect();
        assert_eq!(times, [day - 5, day + 3]);
    }
}
