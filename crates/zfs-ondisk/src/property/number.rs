//! Numbers as ZFS reads and shows them: powers of 1024 with a suffix.

const SUFFIXES: &str = "BKMGTPE";

/// A number that ZFS would accept: decimal digits, perhaps a fraction, and perhaps
/// one of the suffixes `B`, `K`, `M`, `G`, `T`, `P`, `E` in either case, the latter
/// six also as `KB` or `KiB`. A fraction is rounded down to a whole number.
pub fn parse_number(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = 10 * suffix_exponent(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = whole.checked_mul(1 << shift)?;
    // Digits behind the eighteenth are worth less than a byte, even of exbibytes.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = match fraction {
        "" => 0,
        digits => (digits.parse::<u128>().ok()? << shift) / 10u128.pow(digits.len() as u32),
    };
    whole.checked_add(u64::try_from(part).ok()?)
}

fn suffix_exponent(suffix: &str) -> Option<usize> {
    let mut letters = suffix.chars();
    let Some(first) = letters.next() else {
        return Some(0);
    };
    let exponent = SUFFIXES.find(first.to_ascii_uppercase())?;
    match letters.as_str().to_ascii_lowercase().as_str() {
        "" => Some(exponent),
        "b" | "ib" if exponent > 0 => Some(exponent),
        _ => None,
    }
}

/// A size in bytes as `zfs get` shows it: `512B`, `128K`, `1.50G`. At most three
/// digits, or four and no fraction.
pub fn format_size(size: u64) -> String {
    let exponent = if size < 1024 { 0 } else { (size.ilog2() / 10) as usize };
    let suffix = &SUFFIXES[exponent..=exponent];
    let unit = 1u64 << (10 * exponent);
    if size.is_multiple_of(unit) {
        return format!("{}{suffix}", size / unit);
    }
    let value = size as f64 / unit as f64;
    let precision = [2, 1].into_iter().find(|&p| format!("{value:.p$}").len() <= 4).unwrap_or(0);
    format!("{value:.precision$}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_zfs_reads_them() {
        for (text, value) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("10g", 10 << 30),
            ("128K", 128 << 10),
            ("128KiB", 128 << 10),
            ("1mb", 1 << 20),
            ("1.5G", 3 << 29),
            (".5k", 512),
            ("2.", 2),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_large_is_refused() {
        for text in
            ["", ".", "-1", "k", "1x", "1BB", "1BiB", "1 k", "1.2.3", "16E", "1Z", "18446744073709551616", "1K1"]
        {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_as_zfs_shows_them() {
        for (size, text) in [
            (0, "0B"),
            (512, "512B"),
            (1023, "1023B"),
            (128 << 10, "128K"),
            (3 << 29, "1.50G"),
            (10 << 30, "10G"),
            ((10 << 30) + (512 << 20), "10.5G"),
            ((100 << 30) + (512 << 20), "100G"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(format_size(size), text, "{size}");
        }
    }
}
