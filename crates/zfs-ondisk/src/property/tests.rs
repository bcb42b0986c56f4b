use super::*;

const FS: Types = Types::FILESYSTEM;

fn stored(name: &str, value: &str) -> StoredValue {
    parse(name, value, FS).unwrap_or_else(|e| panic!("{e}")).value
}

fn message(name: &str, value: &str, on: Types) -> String {
    parse(name, value, on).unwrap_err().to_string()
}

#[test]
fn words_are_stored_as_the_numbers_of_openzfs() {
    for (name, value, number) in [
        ("compression", "on", 1),
        ("compression", "gzip-9", 13),
        ("compression", "lz4", 15),
        ("compression", "zstd", 16),
        ("compression", "zstd-19", 16 | 19 << 7),
        ("compression", "zstd-fast-1000", 16 | 123 << 7),
        ("checksum", "blake3", 14),
        ("dedup", "sha256,verify", 0x108),
        ("xattr", "sa", 2),
        ("xattr", "dir", 1),
        ("aclmode", "restricted", 4),
        ("normalization", "formC", 0x50),
        ("dnodesize", "16k", 16384),
        ("canmount", "noauto", 2),
    ] {
        assert_eq!(stored(name, value), StoredValue::Number(number), "{name}={value}");
    }
}

#[test]
fn numbers_are_stored_as_bytes_or_counts() {
    for (name, value, number) in [
        ("recordsize", "1M", 1 << 20),
        ("quota", "10g", 10 << 30),
        ("quota", "none", 0),
        ("refreservation", "0", 0),
        ("filesystem_limit", "none", u64::MAX),
        ("snapshot_limit", "100", 100),
        ("special_small_blocks", "0", 0),
    ] {
        assert_eq!(stored(name, value), StoredValue::Number(number), "{name}={value}");
    }
}

#[test]
fn a_short_name_is_stored_under_the_long_one() {
    assert_eq!(parse("compress", "lz4", FS).unwrap().key, "compression");
    assert_eq!(parse("recsize", "1M", FS).unwrap().key, "recordsize");
    assert_eq!(parse("version", "current", FS).unwrap().key, "VERSION");
    assert_eq!(parse("jailed", "on", FS).unwrap().key, "jailed");
}

#[test]
fn values_know_where_they_are_stored() {
    for (name, value, storage) in [
        ("atime", "off", Storage::Props),
        ("refquota", "1G", Storage::Props),
        ("reservation", "1G", Storage::DirPhys),
        ("casesensitivity", "mixed", Storage::MasterNode),
        ("org.example:key", "value", Storage::Props),
    ] {
        assert_eq!(parse(name, value, FS).unwrap().storage(), storage, "{name}");
    }
    assert_eq!(parse("volsize", "1G", Types::VOLUME).unwrap().storage(), Storage::Volume);
}

#[test]
fn an_unknown_property_suggests_a_near_name() {
    let message = message("compresion", "lz4", FS);
    assert_eq!(message, "there is no property \"compresion\"; did you mean compression?");
}

#[test]
fn a_bad_value_lists_what_is_accepted() {
    let bad = message("sync", "never", FS);
    assert_eq!(bad, "sync: \"never\" is not accepted; one of standard, always, disabled is");
    let bad = message("recordsize", "100k", FS);
    assert_eq!(bad, "recordsize: \"100k\" is not accepted; a power of two from 512B to 16M is");
    assert!(message("quota", "0", FS).contains("none"));
    assert!(message("mountpoint", "var/tmp", FS).contains("absolute path"));
    assert!(message("keylocation", "/etc/key", FS).contains("file:///"));
    assert!(message("refreservation", "auto", FS).contains("volumes only"));
}

#[test]
fn a_property_of_other_datasets_or_of_none_is_refused() {
    assert!(message("recordsize", "1M", Types::VOLUME).contains("does not apply"));
    assert!(message("volsize", "1M", FS).contains("does not apply"));
    assert!(message("used", "1M", FS).contains("cannot be set"));
    assert!(message("userquota@joe", "1M", FS).contains("mounted"));
}

#[test]
fn user_properties_have_a_colon_and_restricted_names() {
    let user = parse("org.freebsd:swap", "on", FS).unwrap();
    assert_eq!((user.property, user.value), (None, StoredValue::Text("on".into())));
    assert!(matches!(parse("org.Example:x", "", FS), Err(PropertyError::UserName(_))));
    let long = format!("a:{}", "x".repeat(MAX_NAME));
    assert!(matches!(parse(&long, "", FS), Err(PropertyError::UserName(_))));
    let long = "x".repeat(MAX_TEXT + 1);
    assert!(matches!(parse("a:b", &long, FS), Err(PropertyError::Text { .. })));
}

#[test]
fn values_that_need_a_feature_name_it() {
    for (name, value, feature) in [
        ("compression", "zstd-5", Some(Feature::ZstdCompress)),
        ("compression", "on", None),
        ("checksum", "skein", Some(Feature::Skein)),
        ("dedup", "blake3,verify", Some(Feature::Blake3)),
        ("recordsize", "256K", Some(Feature::LargeBlocks)),
        ("recordsize", "128K", None),
        ("dnodesize", "auto", Some(Feature::LargeDnode)),
    ] {
        assert_eq!(parse(name, value, FS).unwrap().feature(), feature, "{name}={value}");
    }
}

#[test]
fn every_word_of_every_property_is_parsed_and_shown_as_a_word_of_the_same_number() {
    for property in Property::all() {
        let Kind::Index(words) = property.kind else {
            continue;
        };
        for (word, number) in words {
            assert_eq!(property.kind.parse(word), Some(StoredValue::Number(*number)));
            let shown = property.format(&StoredValue::Number(*number));
            assert_eq!(property.kind.parse(&shown), Some(StoredValue::Number(*number)), "{shown}");
        }
        assert_eq!(property.format(&StoredValue::Number(77_777)), "77777");
    }
}

#[test]
fn every_default_is_a_value_of_its_property() {
    for property in Property::all() {
        let values = match property.default {
            DefaultValue::None => vec![],
            DefaultValue::Number(n) => vec![StoredValue::Number(n)],
            DefaultValue::Text(text) => vec![StoredValue::Text(text.into())],
            DefaultValue::ByPlatform { freebsd, linux } => {
                vec![StoredValue::Number(freebsd), StoredValue::Number(linux)]
            }
        };
        for value in values {
            let text = property.format(&value);
            // These have no default that one could set.
            if !["volsize", "pbkdf2iters"].contains(&property.name) {
                assert_eq!(property.kind.parse(&text), Some(value), "{}={text}", property.name);
            }
        }
    }
}

#[test]
fn names_and_short_forms_are_unique() {
    let mut names: Vec<_> = Property::all().flat_map(|p| [Some(p.name), p.alias]).flatten().collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn numbers_are_shown_in_units_or_words() {
    let shown = |name, number| Property::find(name).unwrap().format(&StoredValue::Number(number));
    assert_eq!(shown("recordsize", 1 << 20), "1M");
    assert_eq!(shown("quota", 0), "none");
    assert_eq!(shown("filesystem_limit", u64::MAX), "none");
    assert_eq!(shown("compression", 16 | 3 << 7), "zstd-3");
}

#[test]
fn properties_of_pools_are_parsed_and_shown() {
    let (property, value) = PoolProperty::parse("autoexpand", "on").unwrap();
    let property = property.unwrap();
    assert_eq!((property.storage, &value), (PoolStorage::PoolProps, &StoredValue::Number(1)));
    assert_eq!(property.format(&value), "on");
    assert_eq!(PoolProperty::parse("comment", "A pool").unwrap().1, StoredValue::Text("A pool".into()));
    assert!(PoolProperty::parse("comment", "\t").is_err());
    assert!(PoolProperty::parse("org.example:by", "tine").unwrap().0.is_none());
    let unknown = PoolProperty::parse("failmod", "wait").unwrap_err().to_string();
    assert!(unknown.ends_with("did you mean failmode?"), "{unknown}");
}
