//! Lines, words and escapes of a manifest.

use std::io::{self, BufRead};

use super::ManifestError;

/// A line with its continuations may have this many bytes.
const LINE_LIMIT: usize = 1 << 20;

/// A line, if it is one.
type Line<'l> = Result<&'l [u8], ManifestError>;

/// Gives the lines of a manifest, those that end in a backslash joined with the next.
pub(super) struct Lines<R> {
    reader: R,
    number: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Lines<R> {
        Lines { reader, number: 0, text: Vec::new() }
    }

    /// The next line and its number (of the first of joined lines), counted from 1; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.text.clear();
        let first = self.number + 1;
        loop {
            let room = (LINE_LIMIT + 1).saturating_sub(self.text.len()) as u64;
            let count = io::Read::take(&mut self.reader, room).read_until(b'\n', &mut self.text)?;
            if count == 0 && self.number < first {
                return Ok(None);
            }
            self.number += 1;
            if self.text.len() > LINE_LIMIT {
                return Ok(Some((first, Err(ManifestError::LineTooLong { limit: LINE_LIMIT }))));
            }
            let ended = self.text.last() == Some(&b'\n');
            if ended {
                self.text.pop();
                if self.text.last() == Some(&b'\r') {
                    self.text.pop();
                }
            }
            let backslashes = self.text.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if !ended || backslashes % 2 == 0 {
                return Ok(Some((first, Ok(&self.text))));
            }
            // What follows a continuation is another word.
            self.text.pop();
            self.text.push(b' ');
        }
    }
}

/// The words of a line; a word that begins with `#` ends it.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    line.split(blank).filter(|word| !word.is_empty()).take_while(|word| word[0] != b'#')
}

/// Undoes vis(3): octal (`\040`), C-like (`\s`, `\t`, `\n`), meta and control (`\M-c`, `\M^c`, `\^c`) forms; a
/// backslash before punctuation stands for that.
pub(super) fn unescape(word: &[u8]) -> Result<Vec<u8>, ManifestError> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let bad = || ManifestError::Escape { word: crate::PathBytes::new(word) };
        let (value, length) = match *rest {
            [a @ b'0'..=b'7', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                let value = u32::from(a - b'0') << 6 | u32::from(b - b'0') << 3 | u32::from(c - b'0');
                (Some(u8::try_from(value).map_err(|_| bad())?), 3)
            }
            [a @ b'0'..=b'7', b @ b'0'..=b'7', ..] => (Some((a - b'0') << 3 | (b - b'0')), 2),
            [a @ b'0'..=b'7', ..] => (Some(a - b'0'), 1),
            [b'M', b'-', c, ..] => (Some(c | 0x80), 3),
            [b'M', b'^', c, ..] => (Some(control(c) | 0x80), 3),
            [b'^', c, ..] => (Some(control(c)), 2),
            [b'a', ..] => (Some(7), 1),
            [b'b', ..] => (Some(8), 1),
            [b't', ..] => (Some(b'\t'), 1),
            [b'n', ..] => (Some(b'\n'), 1),
            [b'v', ..] => (Some(11), 1),
            [b'f', ..] => (Some(12), 1),
            [b'r', ..] => (Some(b'\r'), 1),
            [b's', ..] => (Some(b' '), 1),
            [b'E', ..] => (Some(27), 1),
            // A hidden newline stands for nothing.
            [b'$', ..] => (None, 1),
            [c, ..] if c.is_ascii_punctuation() => (Some(c), 1),
            _ => return Err(bad()),
        };
        plain.extend(value);
        rest = &rest[length..];
    }
    Ok(plain)
}

fn control(letter: u8) -> u8 {
    if letter == b'?' { 0x7f } else { letter & 0x1f }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_newlines_unless_a_backslash_says_otherwise() {
        let text = b"one two \\\n  three\nlast\\\\\n\nno newline\\";
        let mut lines = Lines::new(&text[..]);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            found.push((number, line.unwrap().to_vec()));
        }
        assert_eq!(
            found,
            [(1, b"one two    three".to_vec()), (3, b"last\\\\".to_vec()), (4, vec![]), (5, b"no newline\\".to_vec())]
        );
    }

    #[test]
    fn a_comment_ends_a_line() {
        let found: Vec<_> = words(b"\t./a#b  type=file # note").collect();
        assert_eq!(found, [&b"./a#b"[..], b"type=file"]);
        assert_eq!(words(b"#mtree 2.0").count(), 0);
    }

    #[test]
    fn all_forms_of_vis_are_undone() {
        let cases: [(&[u8], &[u8]); 10] = [
            (b"a\\040b", b"a b"),
            (b"a\\sb\\tc\\n", b"a b\tc\n"),
            (b"\\#\\\\", b"#\\"),
            (b"\\M-a", b"\xe1"),
            (b"\\M^A", b"\x81"),
            (b"\\^?\\^A", b"\x7f\x01"),
            (b"\\303\\251", b"\xc3\xa9"),
            (b"\\0", b"\0"),
            (b"\\*\\=", b"*="),
            (b"plain", b"plain"),
        ];
        for (escaped, plain) in cases {
            assert_eq!(unescape(escaped).unwrap(), plain);
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for word in [&b"a\\"[..], b"\\q", b"\\M", b"\\777", b"\\M-"] {
            assert!(unescape(word).is_err(), "{word:?}");
        }
    }
}
