//! Sets of features by name, and files that list features (zpool-features(7),
//! "Compatibility feature sets").

use super::{Feature, FeatureSet};
use crate::property::nearest;

const BUILT_IN: &str = include_str!("compatibility.txt");

/// The largest file that lists features, in bytes (`ZPOOL_COMPAT_MAXSIZE`).
pub const MAX_COMPATIBILITY_FILE: usize = 16 << 10;

/// What one or more sets or files allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compatibility {
    /// The features that all of them allow.
    pub features: FeatureSet,
    /// Words of the files that are no feature known here: features of a later
    /// OpenZFS, or mistakes.
    pub unknown: Vec<String>,
}

/// A compatibility set or file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompatibilityError {
    /// No such set is built in.
    #[error("there is no compatibility set {name:?}{}", did_you_mean(.near))]
    UnknownSet {
        /// The name asked for.
        name: String,
        /// Names like it.
        near: Vec<String>,
    },
    /// A file is empty, too large, or does not end in a newline.
    #[error("a compatibility file has 1 to {MAX_COMPATIBILITY_FILE} bytes and ends in a newline; this one has {size}")]
    NotAList {
        /// The file's size in bytes.
        size: usize,
    },
}

fn did_you_mean(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!(" (did you mean {}?)", near.join(", ")),
    }
}

impl Compatibility {
    /// The features that all built-in sets of a list allow, such as
    /// `openzfs-2.1-linux,grub2`. `off` and an empty list allow everything,
    /// `legacy` nothing, `portable` is [`FeatureSet::portable`].
    ///
    /// # Errors
    /// [`CompatibilityError::UnknownSet`].
    pub fn named(list: &str) -> Result<Compatibility, CompatibilityError> {
        let mut features = FeatureSet::all();
        for name in list.split(',').filter(|name| !name.is_empty()) {
            features = features.intersection(built_in(name)?);
        }
        Ok(Compatibility { features, unknown: Vec::new() })
    }

    /// The features that a file lists, separated by white space and commas; `#`
    /// begins a comment.
    ///
    /// # Errors
    /// [`CompatibilityError::NotAList`], as OpenZFS would refuse the file.
    pub fn parse(file: &str) -> Result<Compatibility, CompatibilityError> {
        if file.len() > MAX_COMPATIBILITY_FILE || !file.ends_with('\n') {
            return Err(CompatibilityError::NotAList { size: file.len() });
        }
        let mut allowed = Compatibility { features: FeatureSet::EMPTY, unknown: Vec::new() };
        for line in file.lines() {
            let line = line.split('#').next().unwrap_or(line);
            for word in line.split([',', ' ', '\t', '\r']).filter(|word| !word.is_empty()) {
                match Feature::by_name(word) {
                    Some(feature) => allowed.features.insert(feature),
                    None => allowed.unknown.push(word.to_owned()),
                }
            }
        }
        Ok(allowed)
    }

    /// What this and another set or file both allow.
    #[must_use]
    pub fn and(mut self, other: Compatibility) -> Compatibility {
        self.features = self.features.intersection(other.features);
        self.unknown.extend(other.unknown);
        self
    }

    /// The names of all built-in sets, aliases included.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ["off", "legacy", "portable"].into_iter().chain(lines().flat_map(|(names, _)| names.split(' ')))
    }
}

fn built_in(name: &str) -> Result<FeatureSet, CompatibilityError> {
    match name {
        "off" => return Ok(FeatureSet::all()),
        "legacy" => return Ok(FeatureSet::EMPTY),
        "portable" => return Ok(FeatureSet::portable()),
        _ => {}
    }
    let line = lines().find(|(names, _)| names.split(' ').any(|n| n == name));
    let Some((_, words)) = line else {
        let near = nearest(name, Compatibility::names());
        return Err(CompatibilityError::UnknownSet { name: name.to_owned(), near });
    };
    let mut features = FeatureSet::EMPTY;
    for word in words.split(' ') {
        features = features.union(match word.strip_prefix('=') {
            Some(base) => built_in(base)?,
            None => Feature::by_name(word).into_iter().collect(),
        });
    }
    Ok(features)
}

/// The names and the words of every built-in set.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUILT_IN.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": "))
}
