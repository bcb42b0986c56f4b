//! Standard output of commands that say much: names as they are, lists of JSON, bytes.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;

use serde::Serialize;

use crate::failure::Failure;

/// Standard output. It is not that of the standard library, which looks for the ends of lines in whatever it writes.
pub(crate) struct Out {
    to: BufWriter<File>,
    terminal: bool,
    /// Whether a list of JSON has had an item.
    items: bool,
}

impl Out {
    pub(crate) fn new() -> Result<Self, Failure> {
        let stdout = io::stdout();
        let descriptor = stdout.as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|error| Failure::work("cannot write to standard output", error))?;
        let terminal = stdout.is_terminal();
        Ok(Self { to: BufWriter::with_capacity(64 << 10, File::from(descriptor)), terminal, items: false })
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(failed)
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes a name or path: as it is, unless a terminal might take it for something else.
    pub(crate) fn name(&mut self, name: &[u8]) -> Result<(), Failure> {
        if self.terminal { self.text(&printable(name)) } else { self.bytes(name) }
    }

    /// Writes an item of the list that [`Out::end_list`] ends.
    pub(crate) fn item(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.text(if self.items { ",\n  " } else { "[\n  " })?;
        self.items = true;
        serde_json::to_writer(&mut self.to, value).map_err(|error| failed(error.into()))
    }

    pub(crate) fn end_list(&mut self) -> Result<(), Failure> {
        self.text(if self.items { "\n]\n" } else { "[]\n" })?;
        self.items = false;
        Ok(())
    }

    /// Writes what is still to be written.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.to.flush().map_err(failed)
    }
}

/// The failure of a write to standard output.
pub(crate) fn failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::work("cannot write to standard output", error),
    }
}

/// A name that cannot do anything to a terminal: control characters and bytes that are no text are escaped.
pub(crate) fn printable(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for letter in chunk.valid().chars() {
            // Some that are not control characters change the order of what is around them.
            let disguises =
                matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if letter.is_control() || disguises {
                shown.extend(letter.escape_default());
            } else {
                shown.push(letter);
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// A name as JSON can have it, and its bytes in hexadecimal where that is not all of it.
pub(crate) fn json_name(name: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(name) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let hex = name.iter().map(|byte| format!("{byte:02x}")).collect();
            (String::from_utf8_lossy(name).into_owned(), Some(hex))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_speak_to_a_terminal() {
        assert_eq!(printable("plain ü".as_bytes()), "plain ü");
        assert_eq!(printable(b"a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable(b"\xff\xfe"), "\\xff\\xfe");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn json_has_the_bytes_of_names_that_are_no_text() {
        assert_eq!(json_name(b"a"), ("a".to_owned(), None));
        assert_eq!(json_name(b"a\xff"), ("a\u{fffd}".to_owned(), Some("61ff".to_owned())));
    }
}
