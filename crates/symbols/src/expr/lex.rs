//! Words of an expression.

use crate::error::{Error, Result};

/// A word and the column that it begins at, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) column: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Name(String),
    /// `$name`, without the sign.
    Dollar(String),
    /// A number; its suffix says whether it is unsigned and how many `l` it has. `decimal` ones are not made unsigned.
    Integer {
        value: u128,
        unsigned: bool,
        long: bool,
        decimal: bool,
    },
    Float(f64),
    /// One character in quotes.
    Character(u8),
    /// More than one character in single quotes: the name of a file.
    Quoted(String),
    Text(Vec<u8>),
    Sign(&'static str),
    End,
}

/// Longer signs first.
const SIGNS: [&str; 46] = [
    "<<=", ">>=", "...", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "::", "+=", "-=", "*=",
    "/=", "%=", "&=", "|=", "^=", "(", ")", "[", "]", "{", "}", ".", "&", "*", "+", "-", "~", "!", "/", "%", "<", ">",
    "^", "|", "?", ":", "=", ",",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer { rest: text, text };
    let mut tokens = Vec::new();
    loop {
        lexer.rest = lexer.rest.trim_start();
        let column = lexer.column();
        let kind = lexer.token()?;
        let last = kind == Kind::End;
        tokens.push(Token { kind, column });
        if last {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    text: &'t str,
}

impl<'t> Lexer<'t> {
    fn column(&self) -> usize {
        let done = self.text.len() - self.rest.len();
        self.text.get(..done).unwrap_or_default().chars().count() + 1
    }

    fn fault(&self, what: impl Into<String>) -> Error {
        Error::Expression { column: self.column(), what: what.into() }
    }

    /// Takes the characters that `wanted` holds for.
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn token(&mut self) -> Result<Kind> {
        let Some(first) = self.rest.chars().next() else { return Ok(Kind::End) };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match first {
            c if c.is_ascii_alphabetic() || c == '_' => Ok(Kind::Name(self.take(word).to_owned())),
            '$' => {
                self.take(|c| c == '$');
                Ok(Kind::Dollar(self.take(word).to_owned()))
            }
            c if c.is_ascii_digit() => self.number(),
            '.' if self.rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '\'' => self.quoted(),
            '"' => self.string('"').map(Kind::Text),
            '@' => {
                self.rest = self.rest.get(1..).unwrap_or_default();
                Ok(Kind::Sign("@"))
            }
            _ => {
                let sign = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign));
                let sign = sign.ok_or_else(|| self.fault(format!("{first:?} has no meaning")))?;
                self.rest = self.rest.strip_prefix(sign).unwrap_or_default();
                Ok(Kind::Sign(sign))
            }
        }
    }

    fn number(&mut self) -> Result<Kind> {
        let start = self.rest;
        let word = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        let lower = word.to_ascii_lowercase();
        let hexadecimal = lower.strip_prefix("0x");
        let exponent = lower.ends_with('e') && hexadecimal.is_none();
        if self.rest.starts_with('.') || exponent || (hexadecimal.is_none() && lower.contains('e')) {
            if self.rest.starts_with('.') {
                self.rest = self.rest.get(1..).unwrap_or_default();
                self.take(|c| c.is_ascii_alphanumeric());
            }
            let taken = start.len() - self.rest.len();
            if start.get(..taken).is_some_and(|taken| taken.to_ascii_lowercase().ends_with('e')) {
                if self.rest.starts_with(['+', '-']) {
                    self.rest = self.rest.get(1..).unwrap_or_default();
                }
                self.take(|c| c.is_ascii_alphanumeric());
            }
            let text = start.get(..start.len() - self.rest.len()).unwrap_or_default();
            let number = text.trim_end_matches(['f', 'F', 'l', 'L']).parse();
            return number.map(Kind::Float).map_err(|_| self.fault(format!("{text} is not a number")));
        }
        // Hexadecimal digits include no suffix letter but those of u and l.
        let digits = lower.trim_end_matches(['u', 'l']);
        let suffix = lower.get(digits.len()..).unwrap_or_default();
        let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix("0b")) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) => (digits, 2),
            (None, None) if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
            (None, None) => (digits, 10),
        };
        let unsigned = suffix.matches('u').count();
        let long = suffix.matches('l').count();
        let value = u128::from_str_radix(digits, radix).ok().filter(|&value| value <= u64::MAX.into());
        match value {
            Some(value) if unsigned <= 1 && long <= 2 => {
                Ok(Kind::Integer { value, unsigned: unsigned == 1, long: long > 0, decimal: radix == 10 })
            }
            _ => Err(self.fault(format!("{word} is not a number of 64 bits"))),
        }
    }

    fn quoted(&mut self) -> Result<Kind> {
        let bytes = self.string('\'')?;
        match *bytes.as_slice() {
            [byte] => Ok(Kind::Character(byte)),
            [] => Err(self.fault("an empty character")),
            _ => Ok(Kind::Quoted(String::from_utf8_lossy(&bytes).into_owned())),
        }
    }

    /// What is between two quotes, escapes replaced.
    fn string(&mut self, quote: char) -> Result<Vec<u8>> {
        let open = self.rest;
        let mut characters = open.char_indices().skip(1).peekable();
        let mut bytes = Vec::new();
        while let Some((at, c)) = characters.next() {
            if c == quote {
                self.rest = open.get(at + 1..).unwrap_or_default();
                return Ok(bytes);
            }
            if c != '\\' {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            let Some((_, escape)) = characters.next() else { break };
            let digits = |first: u32, radix: u32, most: usize, rest: &mut std::iter::Peekable<_>| {
                let mut value = first;
                for _ in 0..most {
                    let rest: &mut std::iter::Peekable<std::iter::Skip<std::str::CharIndices<'_>>> = rest;
                    let Some(digit) = rest.peek().and_then(|(_, c)| c.to_digit(radix)) else { break };
                    value = value * radix + digit;
                    rest.next();
                }
                value as u8
            };
            bytes.push(match escape {
                'n' => b'\n',
                't' => b'\t',
                'r' => b'\r',
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'v' => 11,
                'e' => 27,
                'x' => digits(0, 16, 2, &mut characters),
                c if c.is_digit(8) => digits(c.to_digit(8).unwrap_or(0), 8, 2, &mut characters),
                c => {
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            });
        }
        Err(self.fault(format!("no closing {quote}")))
    }
}
