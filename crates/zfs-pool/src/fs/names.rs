//! Which names are the same: datasets may ignore case, or normalize Unicode.

use unicode_normalization::UnicodeNormalization;

/// `U8_CANON_DECOMP`, `U8_COMPAT_DECOMP` and `U8_CANON_COMP` (`sys/u8_textprep.h`).
const CANONICAL: u64 = 0x10;
const COMPATIBLE: u64 = 0x20;
const COMPOSED: u64 = 0x40;

/// How a file system compares names: its properties `casesensitivity` and `normalization`, as its master node has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameRules {
    ignore_case: bool,
    form: Option<Form>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    C,
    D,
    Kc,
    Kd,
}

impl NameRules {
    /// `case` is 0 (sensitive), 1 (insensitive) or 2 (mixed: what asks by the rules of Unix sees every case),
    /// `normalization` bits of `U8_STRCMP_*`.
    pub(crate) fn new(case: u64, normalization: u64) -> Self {
        let composed = normalization & COMPOSED != 0;
        let form = match (normalization & COMPATIBLE != 0, normalization & CANONICAL != 0) {
            (true, _) if composed => Some(Form::Kc),
            (true, _) => Some(Form::Kd),
            (_, true) if composed => Some(Form::C),
            (_, true) => Some(Form::D),
            _ => None,
        };
        Self { ignore_case: case == 1, form }
    }

    /// Whether only the very same bytes are the same name.
    pub(crate) fn are_exact(self) -> bool {
        self == Self::default()
    }

    /// The form in which equal names are the same bytes. What is not UTF-8 stays as it is.
    pub(crate) fn fold(self, name: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(name) else { return name.to_vec() };
        let text = self.normalize(text);
        if !self.ignore_case {
            return text.into_bytes();
        }
        let upper: String = text.chars().map(upper_case).collect();
        self.normalize(&upper).into_bytes()
    }

    fn normalize(self, text: &str) -> String {
        match self.form {
            None => text.to_owned(),
            Some(Form::C) => text.nfc().collect(),
            Some(Form::D) => text.nfd().collect(),
            Some(Form::Kc) => text.nfkc().collect(),
            Some(Form::Kd) => text.nfkd().collect(),
        }
    }
}

/// The simple mapping: letters whose capital form is several, such as `ß`, stay.
fn upper_case(letter: char) -> char {
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_insensitive_datasets_ignore_case() {
        let insensitive = NameRules::new(1, 0);
        assert_eq!(insensitive.fold("ReadMe ä".as_bytes()), insensitive.fold("README Ä".as_bytes()));
        assert!(NameRules::new(0, 0).are_exact());
        assert!(NameRules::new(2, 0).are_exact(), "mixed is sensitive on Unix");
    }

    #[test]
    fn normal_forms_make_two_spellings_one() {
        let (composed, decomposed) = ("\u{e4}".as_bytes(), "a\u{308}".as_bytes());
        for form in [0x10, 0x50, 0x20, 0x60] {
            let rules = NameRules::new(0, form);
            assert_eq!(rules.fold(composed), rules.fold(decomposed), "{form:#x}");
        }
        let ligature = "\u{fb01}".as_bytes();
        assert_eq!(NameRules::new(0, 0x60).fold(ligature), b"fi");
        assert_ne!(NameRules::new(0, 0x50).fold(ligature), b"fi");
    }

    #[test]
    fn bytes_that_are_no_text_are_only_equal_to_themselves() {
        let rules = NameRules::new(1, 0x50);
        assert_eq!(rules.fold(b"a\xff"), b"a\xff");
    }
}
