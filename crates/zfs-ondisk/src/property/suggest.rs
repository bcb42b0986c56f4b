//! Names like one that was mistyped.

/// Farther from the name than this many edits, a candidate is no suggestion.
const MAX_EDITS: usize = 3;
const MAX_SUGGESTIONS: usize = 3;
/// Longer names are not compared: the comparison takes the product of the lengths.
const MAX_LEN: usize = 100;

/// The candidates that differ least from `name`, nearest first.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    if name.len() > MAX_LEN {
        return Vec::new();
    }
    let name = name.to_ascii_lowercase();
    // A short name is near to everything: allow fewer edits there.
    let allowed = MAX_EDITS.min(name.len() / 3 + 1);
    let mut near: Vec<_> = candidates
        .into_iter()
        .map(|candidate| (edits(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|&(edits, _)| edits <= allowed)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MAX_SUGGESTIONS).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// The number of bytes to insert, delete or replace to turn `a` into `b`.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits(b"kitten", b"sitting"), 3);
        assert_eq!(edits(b"", b"abc"), 3);
        assert_eq!(edits(b"atime", b"atime"), 0);
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["compression", "checksum", "copies", "atime"];
        assert_eq!(nearest("compresion", names), ["compression"]);
        assert_eq!(nearest("Atime", names), ["atime"]);
        assert!(nearest("weather", names).is_empty());
    }
}
