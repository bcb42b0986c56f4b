//! Values as a dump shows them: a text for people, a JSON value for scripts.

use serde_json::{Value as Json, json};
use zfs_ondisk::property::format_size;

use super::super::describe;

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

/// A time, in UTC; `None` beyond the year 9999.
pub(crate) fn date(seconds: u64) -> Option<String> {
    const YEAR_10000: u64 = 253_402_300_800;
    (seconds < YEAR_10000).then(|| format!("{} UTC", describe::seconds(seconds as i64)))
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
    fn times_that_cannot_be_are_left_as_numbers() {
        assert_eq!(date(1_795_322_978).as_deref(), Some("2026-11-22 04:49:38 UTC"));
        assert_eq!(Shown::time(u64::MAX).text, u64::MAX.to_string());
        assert_eq!(Shown::time(0).text, "0");
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
