//! Lines as consoles and their loggers leave them: what is around the text, and the time before it.

/// A line without its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// What was printed.
    pub(crate) text: &'a [u8],
    /// The time that a logger, or the kernel, put before it.
    pub(crate) stamp: Option<Stamp>,
}

/// A time before a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Microseconds since whatever its clock counts from.
    pub(crate) micros: u64,
    pub(crate) kind: StampKind,
}

/// What a time counts from. Those of different kinds cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum StampKind {
    /// The start of a kernel, or of a logger.
    Start,
    /// Midnight, which comes again.
    Midnight,
    /// A day long ago.
    Date,
}

/// A day in microseconds.
pub(crate) const DAY: u64 = 86_400_000_000;

impl<'a> Line<'a> {
    /// The line without line ends, NULs, a time and a priority before it. `<118>` is what the message buffer has before
    /// what programs wrote to the console (syslog(3), `LOG_CONSOLE`).
    pub(crate) fn new(bytes: &'a [u8]) -> Line<'a> {
        let text = bare(bytes);
        // What records begin with is no time.
        if text.starts_with(b"0x") {
            return Line { text, stamp: None };
        }
        let text = without_priority(text);
        match stamp(text) {
            Some((stamp, rest)) => Line { text: without_priority(rest), stamp: Some(stamp) },
            None => Line { text, stamp: None },
        }
    }
}

/// The text of bytes: what is no UTF-8 and no printable character is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().any(is_unprintable) {
        return text.chars().map(|c| if is_unprintable(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    }
    text.into_owned()
}

/// What XML does not have, or would not show.
fn is_unprintable(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Reads digits: the number, and what is behind them.
pub(crate) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let (digits, rest) = bytes.split_at(digits);
    let value =
        digits.iter().try_fold(0u64, |value, &digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Some((value?, rest))
}

/// Without what is around it: NULs of message buffers, carriage returns, spaces.
pub(crate) fn bare(bytes: &[u8]) -> &[u8] {
    let is_around = |byte: &u8| matches!(byte, b'\0' | b'\r' | b'\n' | b' ' | b'\t');
    let begin = bytes.iter().position(|byte| !is_around(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_around(byte)).map_or(begin, |last| last + 1);
    &bytes[begin..end]
}

fn without_priority(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b"<") else { return text };
    match number(rest) {
        Some((..=191, rest)) => rest.strip_prefix(b">").map_or(text, bare),
        _ => text,
    }
}

/// The time that a line begins with. In brackets: seconds (`kern.msgbuf_show_timestamp`, grabserial), a time of day, or
/// a date and a time. Without: the latter two, or seconds with at least three decimals.
fn stamp(text: &[u8]) -> Option<(Stamp, &[u8])> {
    if let Some(inside) = text.strip_prefix(b"[") {
        let end = inside.iter().take(48).position(|&byte| byte == b']')?;
        let (inside, rest) = (bare(&inside[..end]), &inside[end + 1..]);
        let (stamp, after) = date_time(inside).or_else(|| seconds(inside, 0))?;
        // grabserial puts the time since the last line behind the time.
        let is_delta = seconds(bare(after), 3).is_some_and(|(_, rest)| rest.is_empty());
        return (zone(after).is_empty() || is_delta).then_some((stamp, bare(rest)));
    }
    let (stamp, rest) = date_time(text).map(|(stamp, rest)| (stamp, zone(rest))).or_else(|| seconds(text, 3))?;
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let ends = rest.is_empty() || rest.starts_with(b" ") || rest.starts_with(b"\t");
    ends.then_some((stamp, bare(rest)))
}

/// `12` or `12.345678`, with at least so many decimals.
fn seconds(text: &[u8], least: usize) -> Option<(Stamp, &[u8])> {
    let (whole, rest) = number(text)?;
    let (micros, decimals, rest) = fraction(rest);
    let micros = whole.checked_mul(1_000_000)?.checked_add(micros)?;
    (decimals >= least).then_some((Stamp { micros, kind: StampKind::Start }, rest))
}

/// `.345678` in microseconds, and how many digits it has.
fn fraction(text: &[u8]) -> (u64, usize, &[u8]) {
    let Some(rest) = text.strip_prefix(b".").or_else(|| text.strip_prefix(b",")) else { return (0, 0, text) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return (0, 0, text);
    }
    let micros =
        (0..6).fold(0, |micros, at| micros * 10 + rest[..digits].get(at).map_or(0, |digit| u64::from(digit - b'0')));
    (micros, digits, &rest[digits..])
}

/// `12:34:56`, `2026-11-22 12:34:56`, `2026-11-22T12:34:56.789`, `Nov 22 12:34:56`.
fn date_time(text: &[u8]) -> Option<(Stamp, &[u8])> {
    if let Some((stamp, rest)) = time(text) {
        return Some((stamp, rest));
    }
    let (day, rest) = iso_date(text).or_else(|| month_day(text))?;
    let (time, rest) = time(rest)?;
    Some((Stamp { micros: day.checked_mul(DAY)?.checked_add(time.micros)?, kind: StampKind::Date }, rest))
}

fn time(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let (hours, rest) = number(text)?;
    let (minutes, rest) = number(rest.strip_prefix(b":")?)?;
    let (seconds, rest) = number(rest.strip_prefix(b":")?)?;
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    let (micros, _, rest) = fraction(rest);
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    Some((Stamp { micros, kind: StampKind::Midnight }, rest))
}

/// Without a time zone.
fn zone(text: &[u8]) -> &[u8] {
    match text {
        [b'Z', rest @ ..] => rest,
        [b'+' | b'-', a, b, b':', c, d, rest @ ..] | [b'+' | b'-', a, b, c, d, rest @ ..]
            if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) =>
        {
            rest
        }
        _ => text,
    }
}

/// The days since some day long ago, and what is behind the date and what separates it.
fn iso_date(text: &[u8]) -> Option<(u64, &[u8])> {
    let (year, rest) = number(text)?;
    let (month, rest) = number(rest.strip_prefix(b"-")?)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?)?;
    let rest = rest.strip_prefix(b"T").or_else(|| rest.strip_prefix(b" "))?;
    Some((days(year, month, day)?, rest))
}

fn month_day(text: &[u8]) -> Option<(u64, &[u8])> {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (name, rest) = text.split_at_checked(3)?;
    let month = MONTHS.chunks(3).position(|month| month == name)?;
    let (day, rest) = number(bare(rest))?;
    // The year is not told; that of most days is as good as any.
    Some((days(2025, month as u64 + 1, day)?, rest.strip_prefix(b" ")?))
}

/// Days of the Gregorian calendar, years beginning in March, so that the leap day is the last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    Some(year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> (Option<u64>, String) {
        let line = Line::new(line.as_bytes());
        (line.stamp.map(|stamp| stamp.micros), text(line.text))
    }

    #[test]
    fn what_surrounds_a_line_is_taken_away() {
        assert_eq!(told("<118>init: hello\r"), (None, "init: hello".into()));
        assert_eq!(told("\0\0---<<BOOT>>---"), (None, "---<<BOOT>>---".into()));
        assert_eq!(told("<test>: x"), (None, "<test>: x".into()));
    }

    #[test]
    fn times_of_all_kinds_are_read() {
        let day = |line| told(line).0.map(|micros| micros % DAY);
        assert_eq!(told("[12] uart0"), (Some(12_000_000), "uart0".into()));
        assert_eq!(told("[    1.250000] uart0"), (Some(1_250_000), "uart0".into()));
        assert_eq!(told("[1.250000 0.000012] uart0"), (Some(1_250_000), "uart0".into()));
        assert_eq!(told("1.250000 uart0"), (Some(1_250_000), "uart0".into()));
        assert_eq!(told("00:00:01.5 uart0"), (Some(1_500_000), "uart0".into()));
        assert_eq!(day("2026-11-22 00:00:01 uart0"), Some(1_000_000));
        assert_eq!(day("2026-11-22T00:00:01.25Z uart0"), Some(1_250_000));
        assert_eq!(day("[2026-11-22 00:00:01.250] uart0"), Some(1_250_000));
        assert_eq!(day("[2026-11-22T00:00:01+01:00] uart0"), Some(1_000_000));
        assert_eq!(day("Nov 22 00:00:01 uart0"), Some(1_000_000));
    }

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for line in
            ["1.2 GB", "[GIANT-LOCKED]", "0x0 1 ENTER a", "1 0 5 9 \"init\" \"\"", "  0   44872811          0 x"]
        {
            assert_eq!(told(line).0, None, "{line}");
        }
    }

    #[test]
    fn days_follow_each_other() {
        assert_eq!(days(2024, 3, 1), days(2024, 2, 28).map(|day| day + 2));
        assert_eq!(days(2025, 1, 1), days(2024, 12, 31).map(|day| day + 1));
        assert_eq!(days(2025, 13, 1), None);
    }
}
