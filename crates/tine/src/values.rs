//! Values of options: from the text on the command line to what the libraries take.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tree::{ModeChange, Pattern, Principal, Timestamp};
use zfs_image::{DatasetSpec, SnapshotSpec};
use zfs_ondisk::feature::{Compatibility, FeatureSet};
use zfs_ondisk::property::{self, Assignment, PoolProperty, PoolStorage, Types};

use crate::failure::Failure;

/// A size in bytes, such as `512k` or `10g`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    match property::parse_number(text) {
        Some(0) => Err("a size is larger than 0".to_owned()),
        Some(size) => Ok(size),
        None => Err("a size such as 512k, 10g or 1.5t was expected".to_owned()),
    }
}

/// A GUID: decimal, or hexadecimal after `0x`.
pub(crate) fn guid(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(guid) if guid != 0 => Ok(guid),
        _ => Err("a number from 1 to 2^64 - 1 was expected, in hexadecimal after 0x".to_owned()),
    }
}

/// A time: seconds since 1970, perhaps after an `@` as date(1) writes it.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    match text.strip_prefix('@').unwrap_or(text).parse() {
        Ok(seconds) => Ok(Timestamp { seconds, nanoseconds: 0 }),
        Err(_) => Err("a time in seconds since 1970 was expected".to_owned()),
    }
}

/// A number of threads.
pub(crate) fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=1024) => Ok(jobs),
        _ => Err("a number from 1 to 1024 was expected".to_owned()),
    }
}

/// A dataset with properties, such as `zroot/var;exec=off`.
pub(crate) fn dataset(text: &str) -> Result<DatasetSpec, String> {
    DatasetSpec::parse(text).map_err(|error| error.to_string())
}

/// A dataset and the file with its key.
pub(crate) fn key(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((dataset, file)) if !dataset.is_empty() && !file.is_empty() => Ok((dataset.to_owned(), file.into())),
        _ => Err("DATASET=FILE was expected".to_owned()),
    }
}

/// A snapshot: `@name` or `dataset@name`.
pub(crate) fn snapshot(text: &str) -> Result<SnapshotSpec, String> {
    SnapshotSpec::parse(text).map_err(|error| error.to_string())
}

/// A value of the property `compression`.
pub(crate) fn compression(text: &str) -> Result<String, String> {
    match property::parse("compression", text, Types::FILESYSTEM) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A property of the pool, such as `autotrim=on`.
pub(crate) fn pool_property(text: &str) -> Result<Assignment, String> {
    let (name, value) = text.split_once('=').ok_or("name=value was expected")?;
    let elsewhere = |option: &str| Err(format!("{name} has an option of its own: {option}"));
    match name {
        "bootfs" => return elsewhere("--bootfs"),
        "ashift" => return elsewhere("--ashift"),
        "version" => return Err("version cannot be set: the pool has feature flags".to_owned()),
        _ => {}
    }
    let (property, value) = PoolProperty::parse(name, value).map_err(|error| error.to_string())?;
    if property.is_some_and(|property| property.storage == PoolStorage::Import) {
        return Err(format!("{name} is an option of the import, and is not kept in a pool"));
    }
    let key = property.map_or(name, |property| property.name).to_owned();
    Ok(Assignment { property: None, key, value })
}

/// A user or group, by number or name.
pub(crate) fn principal(text: &str) -> Result<Principal, String> {
    Principal::parse(text).map_err(|error| error.to_string())
}

/// A change of mode, as chmod(1) takes it.
pub(crate) fn mode(text: &str) -> Result<ModeChange, String> {
    ModeChange::parse(text).map_err(|error| error.to_string())
}

/// A pattern of paths.
pub(crate) fn pattern(text: &OsStr) -> Result<Pattern, Failure> {
    Ok(Pattern::parse(text.as_bytes())?)
}

/// The features that all sets and files of a list allow, and words of the files
/// that are no known feature. An entry with a slash is a file, and one that is no set.
pub(crate) fn compatibility(list: &str) -> Result<Compatibility, Failure> {
    let everything = Compatibility { features: FeatureSet::all(), unknown: Vec::new() };
    let mut allowed = list.split(',').try_fold(everything, |allowed, entry| {
        let refused = |why: &dyn std::fmt::Display| Failure::Usage(format!("--compatibility {entry}: {why}"));
        let set = Compatibility::named(entry);
        let is_file = entry.contains('/') || set.is_err() && Path::new(entry).is_file();
        let more = if is_file {
            let file = fs::read_to_string(Path::new(entry))
                .map_err(|error| Failure::work(format_args!("cannot read {entry}"), error))?;
            Compatibility::parse(&file).map_err(|error| refused(&error))?
        } else {
            set.map_err(|error| refused(&error))?
        };
        Ok::<_, Failure>(allowed.and(more))
    })?;
    // Two sets can share a feature and not what it needs.
    allowed.features = allowed.features.satisfied();
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size("512k"), Ok(512 << 10));
        assert_eq!(size("10g"), Ok(10 << 30));
        assert_eq!(size("123"), Ok(123));
        for bad in ["", "0", "-1", "ten", "10q"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn guids_are_decimal_or_hexadecimal_and_not_zero() {
        assert_eq!(guid("17"), Ok(17));
        assert_eq!(guid("0x11"), Ok(17));
        assert!(guid("0").is_err());
        assert!(guid("18446744073709551616").is_err());
    }

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(time("@5").map(|time| time.seconds), Ok(5));
        assert_eq!(time("-5").map(|time| time.seconds), Ok(-5));
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn pool_properties_with_an_option_of_their_own_are_refused_with_its_name() {
        let refused = pool_property("bootfs=zroot/ROOT").map(drop);
        assert_eq!(refused, Err("bootfs has an option of its own: --bootfs".to_owned()));
        assert!(pool_property("autotrim=on").is_ok());
        assert!(pool_property("org.example:made=here").is_ok());
        assert!(pool_property("altroot=/mnt").is_err());
        assert!(pool_property("autotrim").is_err());
    }

    #[test]
    fn compatibility_sets_narrow_one_another() {
        let both = compatibility("openzfs-2.1-linux,grub2").expect("both are built in").features;
        let grub = compatibility("grub2").expect("it is built in").features;
        assert_eq!(both.difference(grub), FeatureSet::EMPTY);
        assert!(compatibility("legacy").expect("it is built in").features.is_empty());
        assert!(matches!(compatibility("openzfs-9"), Err(Failure::Usage(_))));
        assert!(matches!(compatibility("./no-such-file"), Err(Failure::Work(_))));
        // A test runs in the folder of its crate.
        assert!(!compatibility("Cargo.toml").expect("a file").unknown.is_empty(), "a file needs no slash");
    }
}
