//! The clock of a trace, and what is done where it does not go forward.

use crate::faults::{FaultKind, Faults};
use crate::tslog::Record;

/// What times are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Ticks of the processor's cycle counter.
    Ticks,
    /// Microseconds.
    Micros,
}

/// The clock of a [`Timeline`](crate::Timeline).
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// What times are counted in.
    pub unit: Unit,
    /// How many of these are a second, if that is known.
    pub hertz: Option<u64>,
    /// Where that was taken from: a line of the log, or what was given.
    pub source: String,
}

impl Clock {
    /// Seconds of so many units, if their length is known.
    pub fn seconds(&self, units: u64) -> Option<f64> {
        self.hertz.map(|hertz| units as f64 / hertz as f64)
    }

    /// Units of so many seconds, if their length is known.
    pub fn units(&self, seconds: f64) -> Option<u64> {
        self.hertz.map(|hertz| (seconds * hertz as f64).round() as u64)
    }

    /// A duration for people: `1.234 s`, `56.7 ms`, or ticks where their length is not known.
    pub fn show(&self, units: u64) -> String {
        match self.seconds(units) {
            Some(seconds) => show_seconds(seconds),
            None => show_ticks(units),
        }
    }
}

/// Seconds in the unit that suits them, with three digits or more.
pub fn show_seconds(seconds: f64) -> String {
    let size = seconds.abs();
    if size >= 100.0 {
        format!("{seconds:.1} s")
    } else if size >= 0.9995 {
        format!("{seconds:.3} s")
    } else if size >= 0.000_999_5 {
        format!("{:.3} ms", seconds * 1e3)
    } else if size >= 0.5e-9 {
        format!("{:.3} us", seconds * 1e6)
    } else {
        "0".to_owned()
    }
}

/// Ticks, with a prefix.
fn show_ticks(ticks: u64) -> String {
    let (divisor, prefix) = match ticks {
        1_000_000_000.. => (1e9, "G"),
        1_000_000.. => (1e6, "M"),
        1_000.. => (1e3, "k"),
        _ => return format!("{ticks} ticks"),
    };
    format!("{:.3} {prefix}ticks", ticks as f64 / divisor)
}

/// Makes times grow from record to record, by at least one tick.
///
/// A record whose time is a second or more from those of both its neighbours, which fit together, is put behind the
/// one before it. Wherever else the clock goes back, or stands still, all that follows is moved forward; this is also
/// what the scripts do that draw such traces on the machine itself (freebsd-boot-profiling), so that totals agree.
pub(crate) fn straighten(records: &mut [Record], hertz: Option<u64>, faults: &mut Faults) {
    let second = hertz.unwrap_or(1_000_000_000);
    let mut before = 0u64;
    let mut offset = 0u64;
    for at in 0..records.len() {
        let raw = records[at].time;
        let next = records.get(at + 1).map(|next| next.time);
        let fits =
            next.is_some_and(|next| next >= before && next.abs_diff(raw) > second && before.abs_diff(raw) > second);
        let is_odd = at > 0 && fits && (raw < before || next.is_some_and(|next| next < raw));
        if is_odd {
            faults.add(FaultKind::OddTime, 0, format!("record {}: {raw} after {before}", at + 1));
            records[at].time = before.saturating_add(offset).saturating_add(1);
            // The next one must come after it, at least.
            before = before.saturating_add(1);
            continue;
        }
        if raw <= before {
            if raw < before {
                faults.add(FaultKind::ClockBack, 0, format!("record {}: {raw} after {before}", at + 1));
            }
            offset = offset.saturating_add(before - raw).saturating_add(1);
        }
        before = raw;
        records[at].time = raw.saturating_add(offset);
    }
    gap(records, hertz, faults);
}

/// Tells of a time without records that is longer than all the rest, and than a minute.
fn gap(records: &[Record], hertz: Option<u64>, faults: &mut Faults) {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
    let widest = records.windows(2).enumerate().max_by_key(|(_, pair)| pair[1].time.saturating_sub(pair[0].time));
    let Some((at, pair)) = widest else { return };
    let gap = pair[1].time.saturating_sub(pair[0].time);
    let rest = last.time.saturating_sub(first.time).saturating_sub(gap);
    if gap > rest && gap > hertz.unwrap_or(1_000_000_000).saturating_mul(60) {
        faults.add(FaultKind::Gap, 0, format!("{gap} ticks without a record before record {}", at + 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;
    use crate::tslog::RecordKind;

    fn straightened(times: &[u64]) -> (Vec<u64>, Faults) {
        let label = Names::default().intern("f");
        let mut records: Vec<Record> =
            times.iter().map(|&time| Record { thread: 1, time, kind: RecordKind::Event, label }).collect();
        let mut faults = Faults::default();
        straighten(&mut records, Some(1_000), &mut faults);
        (records.iter().map(|record| record.time).collect(), faults)
    }

    #[test]
    fn times_that_grow_are_left_alone() {
        let (times, faults) = straightened(&[5, 9, 5000, 9000]);
        assert_eq!(times, [5, 9, 5000, 9000]);
        assert!(faults.sentences().is_empty());
    }

    #[test]
    fn after_a_step_back_everything_is_moved_forward() {
        let (times, faults) = straightened(&[50_000, 51_000, 10, 20, 1020]);
        assert_eq!(times, [50_000, 51_000, 51_001, 51_011, 52_011]);
        assert_eq!(faults.count(FaultKind::ClockBack), 1);
    }

    #[test]
    fn one_odd_time_moves_nothing_else() {
        let (times, faults) = straightened(&[50_000, 50_010, 9_950_020, 50_030, 5, 50_050]);
        assert_eq!(times, [50_000, 50_010, 50_011, 50_030, 50_031, 50_050]);
        assert_eq!(faults.count(FaultKind::OddTime), 2);
        assert_eq!(faults.count(FaultKind::ClockBack), 0);
    }

    #[test]
    fn durations_are_shown_in_a_unit_that_suits_them() {
        let told: Vec<String> = [0.0, 1.5e-6, 0.0345, 1.0, 123.45].into_iter().map(show_seconds).collect();
        assert_eq!(told, ["0", "1.500 us", "34.500 ms", "1.000 s", "123.5 s"]);
        let clock = Clock { unit: Unit::Ticks, hertz: None, source: String::new() };
        assert_eq!(clock.show(1_234_567), "1.235 Mticks");
    }
}
