//! Values as a dump shows them: a text for people, a JSON value for scripts.

use serde_json::{Value as Json, json};
use zfs_ondisk::property::format_size;

/// The largest number that every reader of JSON keeps.
const MAX_EXACT: u64 = 1 << 53;

/// A value as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) json: Json,
    /// A remark for people.
    pub(crate) note: String,
}

impl Shown {
    pub(crate) fn new(text: impl Into<String>, json: impl Into<Json>) -> Shown {
        Shown { text: text.into(), json: json.into(), note: String::new() }
    }

    /// Nothing.
    pub(crate) fn none() -> Shown {
        Shown::new("-", Json::Null)
    }

    /// With a remark for people.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Shown {
        self.note = note.into();
        self
    }

    /// Bytes, counted.
    pub(crate) fn size(bytes: u64) -> Shown {
        let shown = Shown::from(bytes);
        if bytes < 1024 { shown } else { shown.note(format_size(bytes)) }
    }

    /// A size as people like it, without the number of bytes: for tables.
    pub(crate) fn short_size(bytes: u64) -> Shown {
        Shown::new(format_size(bytes), number(bytes))
    }

    /// A number that names something and may be of any size: a string in JSON.
    pub(crate) fn guid(guid: u64) -> Shown {
        Shown::new(guid.to_string(), guid.to_string())
    }

    /// A number in hexadecimal digits: a string in JSON.
    pub(crate) fn hex(number: u64) -> Shown {
        let text = format!("{number:#x}");
        Shown::new(text.clone(), text)
    }

    /// Where something is, in bytes.
    pub(crate) fn offset(offset: u64) -> Shown {
        Shown::new(format!("{offset:#x}"), number(offset))
    }

    /// Seconds since 1970.
    pub(crate) fn time(seconds: u64) -> Shown {
        let shown = Shown::from(seconds);
        match date(seconds) {
            Some(date) if seconds != 0 => Shown { text: date, ..shown }.note(seconds.to_string()),
            _ => shown,
        }
    }

    /// Names, and other bytes that should be text.
    pub(crate) fn bytes(bytes: &[u8]) -> Shown {
        Shown::new(printable(bytes), String::from_utf8_lossy(bytes))
    }

    /// Bits by their names.
    pub(crate) fn flags(flags: u64, names: &[(u64, &str)]) -> Shown {
        let mut set: Vec<String> =
            names.iter().filter(|(bit, _)| flags & bit != 0).map(|&(_, name)| name.to_owned()).collect();
        let rest = names.iter().fold(flags, |rest, (bit, _)| rest & !bit);
        if rest != 0 {
            set.push(format!("{rest:#x}"));
        }
        Shown::new(format!("{flags:#x}"), set.clone()).note(set.join(", "))
    }

    /// The text with its note, for a cell of a table.
    pub(crate) fn one_line(self) -> String {
        if self.note.is_empty() { self.text } else { format!("{} ({})", self.text, self.note) }
    }
}

/// A number for JSON: as a string where a reader might round it.
pub(crate) fn number(number: u64) -> Json {
    if number <= MAX_EXACT { json!(number) } else { json!(number.to_string()) }
}

/// Text that leaves a terminal alone: control characters and what is no UTF-8 are written as `\n` or `\xff`.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Bytes as hexadecimal digits.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A time in the proleptic Gregorian calendar, in UTC; `None` beyond the year 9999.
pub(crate) fn date(seconds: u64) -> Option<String> {
    let (mut days, second) = (seconds / 86400, seconds % 86400);
    let leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    // 400 years always have as many days.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let date = format!("{year:04}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", days + 1);
    (year <= 9999).then_some(date)
}

impl From<u64> for Shown {
    fn from(value: u64) -> Shown {
        Shown::new(value.to_string(), number(value))
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Shown {
        Shown::new(printable(text.as_bytes()), text)
    }
}

impl From<String> for Shown {
    fn from(text: String) -> Shown {
        Shown::from(text.as_str())
    }
}

impl From<bool> for Shown {
    fn from(value: bool) -> Shown {
        Shown::new(if value { "yes" } else { "no" }, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0).as_deref(), Some("1970-01-01 00:00:00 UTC"));
        assert_eq!(date(951_782_400).as_deref(), Some("2000-02-29 00:00:00 UTC"));
        assert_eq!(date(1_795_322_978).as_deref(), Some("2026-11-22 04:49:38 UTC"));
        assert_eq!(date(253_402_300_799).as_deref(), Some("9999-12-31 23:59:59 UTC"));
        assert_eq!(date(4_107_542_400).as_deref(), Some("2100-03-01 00:00:00 UTC"));
        assert_eq!(date(u64::MAX), None);
    }

    #[test]
    fn names_leave_the_terminal_alone() {
        assert_eq!(printable("Grüße".as_bytes()), "Grüße");
        assert_eq!(printable(b"a\x1b[31m\n\xff"), "a\\u{1b}[31m\\n\\xff");
    }

    #[test]
    fn large_numbers_are_strings_in_json() {
        assert_eq!(Shown::from(1 << 53).json, json!(1u64 << 53));
        assert_eq!(Shown::from(u64::MAX).json, json!("18446744073709551615"));
    }

    #[test]
    fn flags_are_named_and_unknown_ones_kept() {
        let shown = Shown::flags(0x15, &[(1, "one"), (2, "two"), (4, "four")]);
        assert_eq!((shown.text.as_str(), shown.note.as_str()), ("0x15", "one, four, 0x10"));
        assert_eq!(shown.json, json!(["one", "four", "0x10"]));
    }
}
