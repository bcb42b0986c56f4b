//! Patterns that say which paths to leave out.

use crate::error::Error;

/// A pattern over paths: `*` and `?` stop at a slash, `**` does not, `[a-z]` and `[!a-z]` match one byte,
/// a backslash takes the next byte as it is.
///
/// A pattern with a slash is matched against the whole path from the root (a leading slash does not matter);
/// one without a slash is matched against each name. What lies below a match is left out with it.
#[derive(Clone, Debug)]
pub struct Pattern {
    tokens: Vec<Token>,
    whole_path: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Byte(u8),
    /// `?`
    Any,
    /// `*`
    Star,
    /// `**` at the end or within a name: anything.
    Deep,
    /// `**/`: no or some whole directories.
    DeepDirectories,
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] for an empty pattern, a `[` without `]`, or a lone backslash at the end.
    pub fn parse(pattern: &[u8]) -> Result<Pattern, Error> {
        let bad = |why| Error::BadOption { what: "pattern", text: String::from_utf8_lossy(pattern).into_owned(), why };
        let trimmed = pattern.strip_suffix(b"/").unwrap_or(pattern);
        let whole_path = trimmed.contains(&b'/');
        let mut rest = trimmed.strip_prefix(b"/").unwrap_or(trimmed);
        if rest.is_empty() {
            return Err(bad("it is empty"));
        }
        let mut tokens = Vec::new();
        let mut at_start = true;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let token = match byte {
                b'*' if rest.first() == Some(&b'*') => {
                    rest = &rest[1..];
                    match rest.strip_prefix(b"/") {
                        Some(after) if at_start => {
                            rest = after;
                            Token::DeepDirectories
                        }
                        _ => Token::Deep,
                    }
                }
                b'*' => Token::Star,
                b'?' => Token::Any,
                b'[' => {
                    let (class, after) = parse_class(rest).ok_or(bad("a [ has no ]"))?;
                    rest = after;
                    class
                }
                b'\\' => {
                    let (&byte, after) = rest.split_first().ok_or(bad("it ends in a backslash"))?;
                    rest = after;
                    Token::Byte(byte)
                }
                _ => Token::Byte(byte),
            };
            at_start = matches!(token, Token::Byte(b'/') | Token::DeepDirectories);
            tokens.push(token);
        }
        Ok(Pattern { tokens, whole_path })
    }

    /// Whether the pattern matches the path itself (not only something above it). `path` has no leading slash.
    pub fn matches(&self, path: &[u8]) -> bool {
        if self.whole_path {
            self.matches_text(path)
        } else {
            path.rsplit(|&byte| byte == b'/').next().is_some_and(|name| self.matches_text(name))
        }
    }

    /// Backtracks only to the last `*` and the last `**`, so time is at most cubic in the lengths.
    fn matches_text(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        let mut deep: Option<(usize, usize)> = None;
        loop {
            let advanced = match self.tokens.get(token) {
                Some(Token::Star) => {
                    star = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(Token::Deep | Token::DeepDirectories) => {
                    deep = Some((token, at));
                    star = None;
                    token += 1;
                    continue;
                }
                Some(single) => text.get(at).is_some_and(|&byte| single.matches_byte(byte)),
                None if at == text.len() => return true,
                None => false,
            };
            if advanced {
                token += 1;
                at += 1;
                continue;
            }
            if let Some((next, begun)) = star
                && text.get(begun).is_some_and(|&byte| byte != b'/')
            {
                star = Some((next, begun + 1));
                (token, at) = (next, begun + 1);
                continue;
            }
            let Some((which, begun)) = deep else {
                return false;
            };
            let skipped = match self.tokens[which] {
                Token::DeepDirectories => text[begun..].iter().position(|&byte| byte == b'/').map(|slash| slash + 1),
                _ => (begun < text.len()).then_some(1),
            };
            let Some(skipped) = skipped else { return false };
            deep = Some((which, begun + skipped));
            star = None;
            (token, at) = (which + 1, begun + skipped);
        }
    }
}

impl Token {
    fn matches_byte(&self, byte: u8) -> bool {
        match self {
            Token::Byte(own) => *own == byte,
            Token::Any => byte != b'/',
            Token::Class { negated, ranges } => {
                byte != b'/' && ranges.iter().any(|&(low, high)| (low..=high).contains(&byte)) != *negated
            }
            Token::Star | Token::Deep | Token::DeepDirectories => false,
        }
    }
}

/// Reads what follows a `[`; a `]` in the first place stands for itself.
fn parse_class(text: &[u8]) -> Option<(Token, &[u8])> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let body = &text[usize::from(negated)..];
    let end = 1 + body.iter().skip(1).position(|&byte| byte == b']')?;
    let (mut inside, rest) = (&body[..end], &body[end + 1..]);
    let mut ranges = Vec::new();
    while let Some((&low, after)) = inside.split_first() {
        inside = after;
        let mut high = low;
        if let [b'-', last, after @ ..] = inside {
            high = *last;
            inside = after;
        }
        ranges.push((low, high));
    }
    Some((Token::Class { negated, ranges }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern.as_bytes()).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn a_pattern_without_a_slash_matches_the_last_name() {
        assert!(matches("*.o", "usr/obj/cat.o"));
        assert!(matches(".git", "src/.git"));
        assert!(!matches("*.o", "a.o/b"));
        assert!(!matches("cat", "bin/cats"));
    }

    #[test]
    fn a_pattern_with_a_slash_matches_the_whole_path() {
        assert!(matches("usr/*/x", "usr/lib/x"));
        assert!(matches("/etc", "etc"));
        assert!(!matches("usr/*/x", "usr/lib/y/x"));
        assert!(!matches("lib/x", "usr/lib/x"));
        assert!(matches("/etc/", "etc"));
        assert!(!matches("/etc/", "usr/etc"));
    }

    #[test]
    fn two_stars_cross_directories() {
        assert!(matches("**/x", "x"));
        assert!(matches("**/x", "a/b/x"));
        assert!(!matches("**/x", "a/bx"));
        assert!(matches("a/**", "a/b/c"));
        assert!(!matches("a/**", "a"));
        assert!(matches("a/**/z", "a/z"));
        assert!(matches("a/**/z", "a/b/c/z"));
        assert!(matches("a/**/m*/z", "a/m/q/m1/z"));
        assert!(matches("a/b**c", "a/bx/yc"));
    }

    #[test]
    fn classes_and_escapes() {
        assert!(matches("[a-c]?", "bz"));
        assert!(matches("[!a-c]", "z"));
        assert!(matches("[]x]", "]"));
        assert!(matches("[a-]", "-"));
        assert!(matches("\\*", "*"));
        assert!(!matches("\\*", "x"));
        assert!(!matches("?", "/"));
    }

    #[test]
    fn hard_patterns_end_soon() {
        let text = "a".repeat(2000);
        assert!(!matches("*a*a*a*a*a*a*a*a*a*a*b", &text));
        assert!(!matches("/**a**a**a**a**a**a**b", &text));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in ["", "/", "[a", "x\\"] {
            assert!(Pattern::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
