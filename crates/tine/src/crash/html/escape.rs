//! Text of a dump in HTML: whatever it says, it stays text.

use std::fmt;

use sha2::{Digest, Sha256};

/// Text as HTML shows it.
pub(super) struct Text<'t>(pub(super) &'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\t' | '\n' => fmt::Write::write_char(f, letter)?,
                // Those of HTML are none, and those that change the direction of text hide what it says.
                letter
                    if letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    fmt::Write::write_char(f, '\u{fffd}')?;
                }
                letter => fmt::Write::write_char(f, letter)?,
            }
        }
        Ok(())
    }
}

/// What a page's policy calls a script or style by: `sha256-` and its digest in base 64.
pub(super) fn hash(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut name = "sha256-".to_owned();
    for group in Sha256::digest(text.as_bytes()).chunks(3) {
        let bits = group.iter().zip([16, 8, 0]).fold(0u32, |bits, (byte, shift)| bits | u32::from(*byte) << shift);
        for (number, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            name.push(if number <= group.len() { LETTERS[(bits >> shift & 63) as usize] as char } else { '=' });
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_stays_text() {
        let hostile = "</pre><script>alert(\"1\")</script>&\u{1b}[31m\u{202e}";
        let shown = "&lt;/pre&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\u{fffd}[31m\u{fffd}";
        assert_eq!(Text(hostile).to_string(), shown);
    }

    #[test]
    fn hashes_are_those_of_content_security_policies() {
        // The digest of nothing, FIPS 180-4.
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
