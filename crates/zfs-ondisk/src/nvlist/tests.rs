use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=255u8, 0..20)
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Boolean),
        any::<u8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Int16),
        any::<u16>().prop_map(Value::UInt16),
        any::<i32>().prop_map(Value::Int32),
        any::<u32>().prop_map(Value::UInt32),
        any::<i64>().prop_map(Value::Int64),
        any::<u64>().prop_map(Value::UInt64),
        any::<i64>().prop_map(Value::HrTime),
        any::<u64>().prop_map(Value::Double),
        any::<bool>().prop_map(Value::BooleanValue),
        any::<i8>().prop_map(Value::Int8),
        any::<u8>().prop_map(Value::UInt8),
        bytes().prop_map(Value::String),
        vec(any::<u8>(), 0..20).prop_map(Value::ByteArray),
        vec(any::<i8>(), 0..20).prop_map(Value::Int8Array),
        vec(any::<u8>(), 0..20).prop_map(Value::UInt8Array),
        vec(any::<i16>(), 0..20).prop_map(Value::Int16Array),
        vec(any::<u16>(), 0..20).prop_map(Value::UInt16Array),
        vec(any::<i32>(), 0..20).prop_map(Value::Int32Array),
        vec(any::<u32>(), 0..20).prop_map(Value::UInt32Array),
        vec(any::<i64>(), 0..20).prop_map(Value::Int64Array),
        vec(any::<u64>(), 0..20).prop_map(Value::UInt64Array),
        vec(any::<bool>(), 0..20).prop_map(Value::BooleanArray),
        vec(bytes(), 0..5).prop_map(Value::StringArray),
    ]
}

fn list_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = NvList> {
    vec((bytes(), value), 0..6).prop_map(|pairs| pairs.into_iter().fold(NvList::new(), |list, (n, v)| list.with(n, v)))
}

fn list() -> impl Strategy<Value = NvList> {
    let value = leaf().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            list_of(inner.clone()).prop_map(Value::NvList),
            vec(list_of(inner), 0..4).prop_map(Value::NvListArray),
        ]
    });
    list_of(value)
}

fn nested(levels: usize) -> NvList {
    (0..levels).fold(NvList::new(), |inner, _| NvList::new().with("inner", inner))
}

proptest! {
    #[test]
    fn a_list_packed_in_xdr_decodes_to_itself(list in list()) {
        let packed = list.to_xdr().unwrap();
        prop_assert_eq!(packed.len() % 4, 0);
        prop_assert_eq!(NvList::decode(&packed).unwrap(), list);
    }

    #[test]
    fn a_list_packed_natively_decodes_to_itself(list in list()) {
        prop_assert_eq!(NvList::decode(&list.to_native().unwrap()).unwrap(), list);
    }

    #[test]
    fn what_follows_a_list_is_ignored(list in list(), rest in vec(any::<u8>(), 0..40)) {
        let mut packed = list.to_xdr().unwrap();
        packed.extend(rest);
        prop_assert_eq!(NvList::decode(&packed).unwrap(), list);
    }

    #[test]
    fn a_list_cut_anywhere_is_an_error(list in list(), cut in any::<prop::sample::Index>()) {
        for packed in [list.to_xdr().unwrap(), list.to_native().unwrap()] {
            let cut = cut.index(packed.len());
            prop_assert!(NvList::decode(&packed[..cut]).is_err());
        }
    }

    #[test]
    fn damage_is_an_error_or_another_list_but_never_a_panic(
        list in list(),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for mut packed in [list.to_xdr().unwrap(), list.to_native().unwrap()] {
            for (at, byte) in &hits {
                let at = at.index(packed.len());
                packed[at] = *byte;
            }
            if let Ok(decoded) = NvList::decode(&packed) {
                prop_assert!(decoded.len() <= packed.len());
            }
        }
    }

    #[test]
    fn garbage_never_panics(mut garbage in vec(any::<u8>(), 4..200), encoding in 0..2u8, endian in 0..2u8) {
        garbage[0] = encoding;
        garbage[1] = endian;
        if let Ok(decoded) = NvList::decode(&garbage) {
            prop_assert!(decoded.len() <= garbage.len());
        }
    }
}

#[test]
fn a_pair_in_xdr_has_the_sizes_that_openzfs_computes() {
    let packed = NvList::new().with("txg", 4).to_xdr().unwrap();
    let expected: [&[u8]; 5] = [
        &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 32, 0, 0, 0, 32, 0, 0, 0, 3],
        b"txg\0",
        &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4],
        &[0; 8],
    ];
    assert_eq!(packed, expected.concat());
}

#[test]
fn a_natively_packed_list_of_a_big_endian_machine_decodes() {
    let expected: [&[u8]; 5] = [
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 32, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8],
        b"txg\0\0\0\0\0",
        &[0, 0, 0, 0, 0, 0, 0, 4],
        &[0; 4],
    ];
    let list = NvList::decode(&expected.concat()).unwrap();
    assert_eq!(list, NvList::new().with("txg", 4));
}

#[test]
fn lists_nested_too_deep_are_refused_both_ways() {
    let deepest = nested(MAX_DEPTH);
    assert_eq!(NvList::decode(&deepest.to_xdr().unwrap()).unwrap(), deepest);
    assert_eq!(nested(MAX_DEPTH + 1).to_xdr(), Err(NvError::TooDeep));
    assert_eq!(nested(MAX_DEPTH + 1).to_native(), Err(NvError::TooDeep));

    // 100,000 levels of one-pair lists, written by hand.
    let mut packed = vec![1, 1, 0, 0];
    for _ in 0..100_000 {
        packed.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 19, 0, 0, 0, 1]);
    }
    assert_eq!(NvList::decode(&packed), Err(NvError::TooDeep));
}

#[test]
fn a_count_larger_than_the_list_is_truncation() {
    for value in [
        Value::UInt64Array(vec![1]),
        Value::ByteArray(vec![1; 4]),
        Value::StringArray(vec![b"a".to_vec()]),
        Value::NvListArray(vec![NvList::new()]),
    ] {
        let mut packed = NvList::new().with("many", value).to_native().unwrap();
        packed[4 + 8 + 8..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(NvList::decode(&packed), Err(NvError::Truncated { .. })));
    }
}

#[test]
fn a_name_or_string_with_a_nul_cannot_be_packed() {
    assert_eq!(NvList::new().with("a\0b", 1).to_xdr(), Err(NvError::Nul("a\0b".into())));
    assert_eq!(NvList::new().with("a", "x\0").to_native(), Err(NvError::Nul("x\0".into())));
}

#[test]
fn getters_say_which_key_is_missing_or_of_another_type() {
    let list = NvList::new().with("name", "zroot").with("flag", Value::Boolean);
    assert_eq!(list.str("name"), Ok("zroot"));
    assert_eq!(list.bool("flag"), Ok(true));
    assert_eq!(list.u64("txg").unwrap_err().to_string(), "nvlist has no key \"txg\"");
    assert_eq!(list.u64("name").unwrap_err().to_string(), "nvlist key \"name\" is a string, but a uint64 was expected");
}

#[test]
fn a_name_set_twice_keeps_the_later_value() {
    let list = NvList::new().with("a", 1).with("b", 2).with("a", 3);
    assert_eq!((list.len(), list.u64("a"), list.u64("b")), (2, Ok(3), Ok(2)));
}

/// The nvlist of a label: at 16 KiB, 112 KiB long, of which the last 40 bytes
/// are the checksum (ZFS on-disk specification, 1.2).
const LABEL_NVLIST: usize = 16 << 10;
const LABEL_NVLIST_LEN: usize = (112 << 10) - 40;

fn corpus() -> Option<Vec<(String, Vec<u8>)>> {
    use std::io::Read;
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus/pools");
    let mut labels = Vec::new();
    for entry in std::fs::read_dir(dir).ok()? {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        let mut head = vec![0; LABEL_NVLIST + LABEL_NVLIST_LEN];
        let file = std::fs::File::open(&path).ok()?;
        zstd::Decoder::new(file).ok()?.read_exact(&mut head).ok()?;
        labels.push((name, head.split_off(LABEL_NVLIST)));
    }
    labels.sort();
    (!labels.is_empty()).then_some(labels)
}

#[test]
fn labels_that_openzfs_wrote_decode_and_encode_to_the_same_bytes() {
    let Some(labels) = corpus() else {
        println!("skipped: no corpus of pools beside the project");
        return;
    };
    for (file, label) in labels {
        let list = NvList::decode(&label).unwrap_or_else(|e| panic!("{file}: {e}"));
        let (pool, device) = file.split_once('.').unwrap();
        // The manifest calls pool "mir" by the name "mirror" in its file names.
        let pool = if pool == "mirror" { "mir" } else { pool };
        assert_eq!(list.str("name"), Ok(pool), "{file}");
        assert_eq!(list.u64("version"), Ok(5000), "{file}");
        assert_eq!(list.u64("state"), Ok(1), "{file}: exported");
        assert!(list.u64("pool_guid").unwrap() != 0 && list.u64("txg").unwrap() > 4, "{file}");
        assert!(!list.list("features_for_read").unwrap().is_empty(), "{file}");

        let tree = list.list("vdev_tree").unwrap();
        let kind = match pool {
            "mir" => "mirror",
            "rz1" => "raidz",
            _ => "file",
        };
        assert!([kind, "disk"].contains(&tree.str("type").unwrap()), "{file}: {:?}", tree.str("type"));
        if kind != "file" {
            let child = &tree.lists("children").unwrap()[device[..1].parse::<usize>().unwrap()];
            assert_eq!(child.u64("guid"), list.u64("guid"), "{file}");
        }

        let packed = list.to_xdr().unwrap();
        assert_eq!(packed, label[..packed.len()], "{file}");
        let native = list.to_native().unwrap();
        assert_eq!(NvList::decode(&native).unwrap(), list, "{file}");
    }
}
