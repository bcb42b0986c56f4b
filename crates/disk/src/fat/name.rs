//! Names of files: eight and three bytes in capitals, and long ones beside them.

use super::{ENTRY_SIZE, LONG_NAME};
use crate::bytes::{le16, put, slice};

/// UTF-16 units in an entry of a long name: where they are.
const UNITS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// The most units of a long name.
pub(super) const MAX_UNITS: usize = 255;

/// A name as it is stored.
pub(super) struct Name {
    /// Eight and three bytes, padded with blanks.
    pub(super) short: [u8; 11],
    /// Entries of the long name, before that of the file; empty if the short one says all.
    pub(super) long: Vec<u8>,
}

impl Name {
    /// The name of a file, different from the short names `taken`; `None` if there
    /// cannot be such a name.
    pub(super) fn new(name: &str, taken: &[[u8; 11]]) -> Option<Self> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let forbidden = |letter: char| letter < ' ' || "\"*/:<>?\\|".contains(letter);
        let trailing = name.ends_with(['.', ' ']);
        if units.is_empty() || units.len() > MAX_UNITS || name.contains(forbidden) || trailing {
            return None;
        }
        let exact = exact(name).filter(|short| !taken.contains(short));
        // Capitals say all; small letters need the long name to be kept.
        if let Some(short) = exact
            && !name.contains(|letter: char| letter.is_ascii_lowercase())
        {
            return Some(Self { short, long: Vec::new() });
        }
        let short = match exact {
            Some(short) => short,
            None => (1..1_000_000).map(|number| numbered(name, number)).find(|short| !taken.contains(short))?,
        };
        Some(Self { short, long: long_entries(&units, checksum(&short)) })
    }
}

/// The short name that is the name in capitals, if that is one.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, size: usize| {
        part.len() <= size
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"$%'-_@~`!(){}^#&".contains(&byte))
    };
    if base.is_empty() || !fits(base, 8) || !fits(extension, 3) || name.ends_with('.') {
        return None;
    }
    Some(padded(&base.to_ascii_uppercase(), &extension.to_ascii_uppercase()))
}

/// A short name with a number, such as `BOOTRI~1.EFI`.
fn numbered(name: &str, number: u32) -> [u8; 11] {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let letters = |part: &str| -> String {
        part.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
    };
    let tail = format!("~{number}");
    let mut base = letters(base);
    base.truncate(8 - tail.len());
    let mut extension = letters(extension);
    extension.truncate(3);
    padded(&(base + &tail), &extension)
}

fn padded(base: &str, extension: &str) -> [u8; 11] {
    let mut short = [b' '; 11];
    put(&mut short, 0, base.as_bytes());
    put(&mut short, 8, extension.as_bytes());
    short
}

/// The checksum of a short name, by which a long one knows it.
pub(super) fn checksum(short: &[u8]) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The entries of a long name: the last part first.
fn long_entries(units: &[u16], checksum: u8) -> Vec<u8> {
    let parts: Vec<&[u16]> = units.chunks(UNITS.len()).collect();
    let mut entries = Vec::with_capacity(parts.len() * ENTRY_SIZE);
    for (index, part) in parts.iter().enumerate().rev() {
        let mut entry = [0; ENTRY_SIZE];
        let last = if index + 1 == parts.len() { 0x40 } else { 0 };
        put(&mut entry, 0, &[(index + 1) as u8 | last]);
        put(&mut entry, 11, &[LONG_NAME, 0, checksum]);
        // A zero ends it, if there is room; what follows has all bits set.
        let padded = part.iter().copied().chain([0]).chain(std::iter::repeat(u16::MAX));
        for (at, unit) in UNITS.into_iter().zip(padded) {
            put(&mut entry, at, &unit.to_le_bytes());
        }
        entries.extend(entry);
    }
    entries
}

/// The units of an entry of a long name.
pub(super) fn units(entry: &[u8]) -> impl Iterator<Item = u16> {
    UNITS.map(|at| le16(entry, at)).into_iter().take_while(|unit| *unit != 0)
}

/// A short name as people write it. Windows notes small letters in `case`: of the base
/// (0x08) and of the extension (0x10).
pub(super) fn short_text(short: &[u8], case: u8) -> String {
    let part = |at: usize, size: usize, small: bool| {
        let bytes = slice(short, at, size);
        // The first byte of a deleted entry's mark stands for itself by another one.
        let text: String =
            bytes.iter().map(|&byte| if byte == 0x05 && at == 0 { '\u{e5}' } else { char::from(byte) }).collect();
        let text = text.trim_end_matches(' ').to_owned();
        if small { text.to_ascii_lowercase() } else { text }
    };
    let (base, extension) = (part(0, 8, case & 0x08 != 0), part(8, 3, case & 0x10 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_made_of_long_ones() {
        let name =
            |text: &str, taken: &[[u8; 11]]| Name::new(text, taken).map(|name| (name.short, name.long.len() / 32));
        assert_eq!(name("LOADER.EFI", &[]), Some((*b"LOADER  EFI", 0)));
        assert_eq!(name("loader.efi", &[]), Some((*b"LOADER  EFI", 1)));
        assert_eq!(name("BOOTRISCV64.EFI", &[]), Some((*b"BOOTRI~1EFI", 2)));
        assert_eq!(name("BOOTRISCV64.EFI", &[*b"BOOTRI~1EFI"]), Some((*b"BOOTRI~2EFI", 2)));
        assert_eq!(name("a.b.c", &[]), Some((*b"AB~1    C  ", 1)));
        assert_eq!(name("startup.nsh", &[*b"STARTUP NSH"]), Some((*b"STARTU~1NSH", 1)));
        for bad in ["", "a/b", "end.", "tab\t"] {
            assert_eq!(name(bad, &[]), None, "{bad:?}");
        }
        assert_eq!(short_text(b"LOADER  EFI", 0x18), "loader.efi");
        assert_eq!(short_text(b"EFI        ", 0), "EFI");
    }
}
