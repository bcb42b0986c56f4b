//! Times as texts: in UTC, as the host that reads a dump may be anywhere.

/// The last second of the year 9999, since 1970.
const LAST: u64 = 253_402_300_799;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The date and time in UTC of `seconds` since 1970, such as `2026-11-22 15:25:00 +0000`; what is after the year 9999
/// stays a number, after an `@`.
pub fn utc(seconds: u64) -> String {
    if seconds > LAST {
        return format!("@{seconds}");
    }
    let (days, second) = (seconds / 86400, seconds % 86400);
    // Years that begin in March end with the day that some do not have; 1970 began 719468 days after such a year 0.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, era * 400 + year) } else { (month - 9, era * 400 + year + 1) };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000")
}

/// The seconds since 1970 of a time as savecore(8) writes it: `2026-11-22 15:25:00 +0000`, before FreeBSD 13
/// `Sun Nov 22 15:25:00 2026` in a zone that it does not tell and that is taken for UTC; or as [`utc`] does.
pub(crate) fn parse(text: &str) -> Option<u64> {
    if let Some(number) = text.strip_prefix('@') {
        return number.parse().ok();
    }
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match *words.as_slice() {
        [date, time, zone] => {
            let mut date = date.splitn(3, '-');
            let mut next = || date.next()?.parse::<u64>().ok();
            let (year, month, day) = (next()?, next()?, next()?);
            let local = seconds(year, month, day, time)?;
            let (sign, digits) = zone.split_at_checked(1)?;
            let digits: u32 = digits.parse().ok().filter(|&digits| digits < 2400)?;
            let east = u64::from(digits / 100 * 3600 + digits % 100 * 60);
            if sign == "-" { local.checked_add(east) } else { local.checked_sub(east) }
        }
        [_, month, day, time, year] => {
            let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
            seconds(year.parse().ok()?, month, day.parse().ok()?, time)
        }
        _ => None,
    }
}

fn seconds(year: u64, month: u64, day: u64, time: &str) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let mut parts = time.splitn(3, ':');
    let mut next = |most: u64| parts.next()?.parse::<u64>().ok().filter(|&part| part <= most);
    let (hour, minute, second) = (next(23)?, next(59)?, next(60)?);
    Some(days.checked_sub(719_468)? * 86400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_that_was_written_is_read_back(seconds in prop_oneof![0..=LAST, any::<u64>()]) {
            prop_assert_eq!(parse(&utc(seconds)), Some(seconds));
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 +0000");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 +0000");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 +0000");
        assert_eq!(utc(LAST), "9999-12-31 23:59:59 +0000");
        assert_eq!(parse("2020-01-01 12:00:00 +0100"), Some(1_577_876_400));
        assert_eq!(parse("2020-01-01 12:00:00 -0130"), Some(1_577_885_400));
        assert_eq!(parse("Wed Jan  1 12:00:00 2020"), Some(1_577_880_000));
        for wrong in ["", "now", "2020-13-01 12:00:00 +0000", "2020-01-01 24:00:00 +0000", "1-1-1 1:1:1 ü"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
