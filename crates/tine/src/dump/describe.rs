//! What a header says, as text and as JSON.

use serde_json::{Map, Value as Json, json};
use vmcore::header::Header;
use vmcore::key::Cipher;
use vmcore::time::utc;
use zfs_ondisk::property::format_size;

use crate::pool::printable;

/// The largest integer that every reader of JSON keeps: 2^53.
const LARGEST_NUMBER: u64 = 1 << 53;

/// A number; a string where a reader of JSON might not keep it.
pub(super) fn number(value: u64) -> Json {
    if value <= LARGEST_NUMBER { json!(value) } else { json!(value.to_string()) }
}

/// The cipher of an encrypted dump, in a word. A key block that is missing does not say.
pub(super) fn encryption(encrypted: bool, cipher: Option<Cipher>) -> String {
    match cipher {
        Some(cipher) => cipher.to_string(),
        None if encrypted => "unknown".to_owned(),
        None => "none".to_owned(),
    }
}

/// What kind of dump a header is of.
pub(super) fn kind(is_text: bool) -> &'static str {
    if is_text { "text dump" } else { "kernel dump" }
}

/// The fields of a header; with none, they are there and null.
pub(super) fn header_json(header: Option<&Header>) -> Map<String, Json> {
    let field = |value: &dyn Fn(&Header) -> Json| header.map_or(Json::Null, value);
    let fields = [
        ("architecture", field(&|header| json!(header.architecture))),
        ("architecture_version", field(&|header| json!(header.architecture_version))),
        ("header_version", field(&|header| json!(header.version))),
        ("magic", field(&|header| json!(header.magic.name()))),
        ("version_string", field(&|header| json!(header.version_string))),
        ("hostname", field(&|header| json!(header.hostname))),
        ("panic_string", field(&|header| json!(header.panic_string))),
        ("dump_time", field(&|header| number(header.dump_time))),
        ("dump_time_utc", field(&|header| json!(utc(header.dump_time)))),
        ("dump_length", field(&|header| number(header.dump_length))),
        ("dump_extent", field(&|header| number(header.dump_extent))),
        ("block_size", field(&|header| json!(header.block_size))),
        ("key_size", field(&|header| json!(header.key_size))),
        ("compression", field(&|header| json!(header.compression.to_string()))),
        ("parity_ok", field(&|header| json!(header.parity_ok))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Labels and what they say, in columns. What is empty is left out.
#[derive(Default)]
pub(super) struct Lines(Vec<(&'static str, String)>);

impl Lines {
    pub(super) fn push(&mut self, label: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((label, value));
        }
    }

    /// What a header says.
    pub(super) fn header(&mut self, header: &Header) {
        self.push("host", printable(header.hostname.as_bytes()));
        self.push("time", utc(header.dump_time));
        self.push("panic", printable_lines(&header.panic_string));
        self.push("version", printable_lines(&header.version_string));
    }

    pub(super) fn text(&self) -> String {
        let width = self.0.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (label, value) in &self.0 {
            let mut label = *label;
            for line in value.lines() {
                text.push_str(format!("  {label:width$}  {line}").trim_end());
                text.push('\n');
                label = "";
            }
        }
        text
    }
}

/// Text of several lines that cannot do anything to a terminal.
fn printable_lines(text: &str) -> String {
    text.trim_end().lines().map(|line| printable(line.trim_start().as_bytes())).collect::<Vec<_>>().join("\n")
}

/// A size for people, and in bytes where that says more.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1024 { format!("{bytes} bytes") } else { format!("{} ({bytes} bytes)", format_size(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_header_does_nothing_to_a_terminal() {
        assert_eq!(printable_lines("a\u{1b}[2J\n    b\n"), "a\\u{1b}[2J\nb");
    }

    #[test]
    fn lines_are_in_columns_and_further_ones_below() {
        let mut lines = Lines::default();
        lines.push("host", "box");
        lines.push("panic", "");
        lines.push("version", "FreeBSD\nroot@box");
        assert_eq!(lines.text(), "  host     box\n  version  FreeBSD\n           root@box\n");
    }

    #[test]
    fn numbers_that_json_may_lose_are_strings() {
        assert_eq!(number(7), json!(7));
        assert_eq!(number(u64::MAX), json!("18446744073709551615"));
    }
}
