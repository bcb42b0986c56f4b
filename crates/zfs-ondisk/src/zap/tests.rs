use std::collections::HashMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::bytes::Put;

mod sound;

use sound::{assert_sound, u16_at, u64_at};

/// The value of an entry of these tests.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Numbers(Vec<u64>),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug, Default)]
struct List(Vec<(Vec<u8>, Owned)>);

impl Entries for List {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> &[u8] {
        &self.0[index].0
    }

    fn value(&self, index: usize) -> Value<'_> {
        match &self.0[index].1 {
            Owned::Numbers(v) => match v[..] {
                [n] => Value::Number(n),
                _ => Value::Numbers(v),
            },
            Owned::Bytes(v) => Value::Bytes(v),
        }
    }
}

impl List {
    /// `count` entries with names of different lengths and one number each.
    fn numbered(count: usize) -> List {
        List((0..count).map(|i| (numbered_name(i), Owned::Numbers(vec![i as u64]))).collect())
    }
}

fn numbered_name(i: usize) -> Vec<u8> {
    format!("{}{i}", "file-".repeat(i % 7 + 1)).into_bytes()
}

fn write_fat(entries: &List, params: Params) -> Vec<Vec<u8>> {
    let zap = FatZap::plan(entries, params).unwrap();
    let blocks: Vec<_> = zap.blocks(entries).collect();
    assert_eq!(blocks.len() as u64, zap.block_count());
    assert!(blocks.iter().all(|b| b.len() == zap.block_size()));
    blocks
}

type Fetched = Result<Vec<u8>, ZapError>;

fn open(blocks: &[Vec<u8>]) -> Result<Reader<impl FnMut(u64) -> Fetched, Vec<u8>>, ZapError> {
    Reader::open(|block| {
        let missing = ZapError::Corrupt { block, expected: "a block of the object", found: block };
        blocks.get(block as usize).cloned().ok_or(missing)
    })
}

fn value_of(entry: &Entry) -> Owned {
    match entry.bytes() {
        Some(bytes) => Owned::Bytes(bytes),
        None => Owned::Numbers(entry.values.clone()),
    }
}

/// Every entry is found by iteration, once, and by its name.
fn assert_holds(blocks: &[Vec<u8>], entries: &List) {
    let mut zap = open(blocks).unwrap();
    assert_eq!(zap.count().unwrap(), entries.len() as u64);
    let mut expected: HashMap<_, _> = entries.0.iter().cloned().collect();
    for entry in zap.iter() {
        let entry = entry.unwrap();
        assert_eq!(expected.remove(&entry.name), Some(value_of(&entry)));
    }
    assert!(expected.is_empty(), "not met: {expected:?}");
    for (name, value) in &entries.0 {
        let found = zap.lookup(name).unwrap().map(|e| value_of(&e));
        assert_eq!(found.as_ref(), Some(value), "{}", lossy(name));
    }
    assert_eq!(zap.lookup(b"a name that no test uses").unwrap(), None);
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(1..=255u8, 1..12), vec(1..=255u8, 30..80), vec(1..=255u8, 255), vec(1..=255u8, 1023)]
}

fn value() -> impl Strategy<Value = Owned> {
    prop_oneof![
        4 => any::<u64>().prop_map(|n| Owned::Numbers(vec![n])),
        1 => vec(any::<u64>(), 0..10).prop_map(Owned::Numbers),
        1 => vec(any::<u8>(), 0..100).prop_map(Owned::Bytes),
        1 => vec(any::<u8>(), MAX_VALUE).prop_map(Owned::Bytes),
    ]
}

fn list() -> impl Strategy<Value = List> {
    btree_map(name(), value(), 0..80).prop_map(|map| List(map.into_iter().collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_fat_zap_is_sound_and_holds_its_entries(list in list(), salt in any::<u64>(), shift in 14..=17u32) {
        let params = Params { block_shift: shift, ..Params::new(salt) };
        let blocks = write_fat(&list, params);
        assert_sound(&blocks, params);
        assert_holds(&blocks, &list);
    }

    #[test]
    fn contents_are_read_back_from_either_layout(list in list(), salt in any::<u64>()) {
        let mut contents = ZapContents::new();
        for (name, value) in &list.0 {
            match value {
                Owned::Numbers(v) => contents.set_numbers(name, v.clone()),
                Owned::Bytes(v) => contents.set_bytes(name, v.clone()),
            };
        }
        let written = contents.blocks(Params::new(salt)).unwrap();
        prop_assert!(written.blocks.iter().all(|b| b.len() == written.block_size));
        prop_assert_eq!(open(&written.blocks).unwrap().is_micro(), micro::fits(&list));
        assert_holds(&written.blocks, &list);
    }

    #[test]
    fn damage_is_an_error_or_other_entries_but_never_a_panic_or_a_loop(
        count in 0..2000usize,
        hits in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let list = List::numbered(count);
        let params = Params { block_shift: 10, ..Params::new(1) };
        let mut fat = write_fat(&list, params);
        let mut small = match micro::write(&list, &params) {
            Ok(block) => vec![block],
            Err(_) => vec![],
        };
        for (block, at, byte) in hits {
            for blocks in [&mut fat, &mut small] {
                if !blocks.is_empty() {
                    let block = block.index(blocks.len());
                    let at = at.index(blocks[block].len());
                    blocks[block][at] = byte;
                }
            }
        }
        for blocks in [&fat, &small] {
            let Ok(mut zap) = open(blocks) else { continue };
            let limit = blocks.len() * blocks.first().map_or(0, Vec::len) / 24;
            prop_assert!(zap.iter().count() <= limit + 1);
            for i in 0..count.min(50) {
                if let Ok(Some(entry)) = zap.lookup(&numbered_name(i)) {
                    prop_assert_eq!(entry.name, numbered_name(i));
                }
            }
        }
    }

    #[test]
    fn garbage_behind_a_valid_type_never_panics(
        mut garbage in vec(any::<u8>(), 512),
        block_type in prop::sample::select(vec![BLOCK_TYPE_MICRO, BLOCK_TYPE_HEADER, BLOCK_TYPE_LEAF]),
    ) {
        garbage.put_u64(0, block_type);
        if block_type == BLOCK_TYPE_HEADER {
            garbage.put_u64(8, 0x2_F52A_B2AB);
        }
        let blocks = vec![garbage; 8];
        if let Ok(mut zap) = open(&blocks) {
            prop_assert!(zap.iter().count() <= 8 * 512 / 24 + 1);
            prop_assert!(zap.lookup(b"name").is_err() || zap.is_micro());
        }
    }
}

#[test]
fn fifty_thousand_names_are_found_by_iteration_and_lookup() {
    let list = List::numbered(50_000);
    let params = Params::new(0x1234_5678_9ABC_DEF1);
    let blocks = write_fat(&list, params);
    assert_sound(&blocks, params);
    assert_holds(&blocks, &list);
}

#[test]
fn a_pointer_table_that_outgrows_the_header_has_blocks_of_its_own() {
    // 512-byte blocks: 32 pointers in the header, 64 per block.
    let list = List::numbered(3000);
    let params = Params { block_shift: 9, ..Params::new(77) };
    let blocks = write_fat(&list, params);
    assert!(u64_at(&blocks[0], 24) > 1, "blocks of the table");
    assert_sound(&blocks, params);
    assert_holds(&blocks, &list);
}

/// Sets of names that have the same 28-bit hash with a salt, by brute force.
fn colliding_names(salt: u64, sets: usize) -> Vec<Vec<Vec<u8>>> {
    let mut by_hash: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut found = Vec::new();
    for i in 0u64.. {
        let name = format!("{i:x}").into_bytes();
        let hash = hash_name(salt, &name, HashBits::Short);
        if let Some(other) = by_hash.insert(hash, name.clone()) {
            found.push(vec![other, name]);
            if found.len() == sets {
                break;
            }
        }
    }
    found
}

#[test]
fn names_of_equal_hash_have_different_collision_differentiators_in_both_layouts() {
    let salt = 99;
    let sets = colliding_names(salt, 10);
    let list = List(sets.concat().into_iter().map(|n| (n, Owned::Numbers(vec![7]))).collect());
    let params = Params::new(salt);
    for blocks in [write_fat(&list, params), vec![micro::write(&list, &params).unwrap()]] {
        assert_holds(&blocks, &list);
        let mut zap = open(&blocks).unwrap();
        for set in &sets {
            let mut cds: Vec<_> = set.iter().map(|n| zap.lookup(n).unwrap().unwrap().cd).collect();
            cds.sort_unstable();
            assert_eq!(cds, [0, 1]);
        }
    }
    assert_sound(&write_fat(&list, params), params);
}

/// Names of 20 bytes with the same hash: a CRC is linear, so that some changes of
/// bits cancel out, and any combination of such changes does, too.
fn names_of_one_hash(count: usize) -> Vec<Vec<u8>> {
    const LEN: usize = 20;
    let zero = hash_name(0, &[0x40; LEN], HashBits::Short);
    // Gaussian elimination over the low five bits of every byte.
    let mut basis: Vec<(u64, u128)> = Vec::new();
    let mut kernel = Vec::new();
    for bit in 0..LEN * 5 {
        let mut name = [0x40; LEN];
        name[bit / 5] |= 1 << (bit % 5);
        let (mut hash, mut bits) = (hash_name(0, &name, HashBits::Short) ^ zero, 1u128 << bit);
        for (h, b) in &basis {
            if hash ^ h < hash {
                (hash, bits) = (hash ^ h, bits ^ b);
            }
        }
        if hash == 0 {
            kernel.push(bits);
        } else {
            basis.push((hash, bits));
            basis.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
    (0..count)
        .map(|combination| {
            let chosen = kernel.iter().take(16).enumerate().filter(|(i, _)| combination >> i & 1 == 1);
            let bits = chosen.fold(0, |bits, (_, b)| bits ^ b);
            (0..LEN).map(|i| 0x40 | (bits >> (5 * i) & 0x1F) as u8).collect()
        })
        .collect()
}

#[test]
fn a_leaf_full_of_one_hash_is_written_and_one_more_is_refused() {
    // 638 chunks of 3: one for the entry, one for the name, one for the value.
    let list = |count| {
        let entries = names_of_one_hash(count).into_iter().map(|n| (n, Owned::Numbers(vec![1])));
        List(entries.collect())
    };
    let (full, params) = (list(212), Params::new(1));
    let blocks = write_fat(&full, params);
    assert_sound(&blocks, params);
    assert_holds(&blocks, &full);
    let error = FatZap::plan(&list(213), params).unwrap_err();
    assert_eq!(error, PlanError::Collisions { count: 213 });
}

#[test]
fn a_leaf_that_is_full_to_the_last_chunk_has_an_empty_free_list() {
    // 638 chunks: 211 entries of 3, and one of 5.
    let mut list = List(vec![]);
    for i in 0..211 {
        list.0.push((format!("name-{i}").into_bytes(), Owned::Numbers(vec![i])));
    }
    list.0.push((b"five".to_vec(), Owned::Bytes(vec![0; 63])));
    let params = Params::new(3);
    let blocks = write_fat(&list, params);
    assert_eq!((blocks.len(), u16_at(&blocks[1], 28), u16_at(&blocks[1], 34)), (2, 0, 0xFFFF));
    assert_sound(&blocks, params);
    assert_holds(&blocks, &list);
}

#[test]
fn an_empty_zap_is_valid_in_both_layouts() {
    let (empty, params) = (List::default(), Params::new(5));
    let block = micro::write(&empty, &params).unwrap();
    assert_eq!(block.len(), 512);
    assert_holds(&[block], &empty);
    let blocks = write_fat(&empty, params);
    assert_eq!(blocks.len(), 2);
    assert_sound(&blocks, params);
    assert_holds(&blocks, &empty);
}

#[test]
fn a_micro_zap_grows_by_512_bytes_to_128_kib() {
    for (count, size) in [(0, 512), (7, 512), (8, 1024), (15, 1024), (16, 1536), (2047, 128 << 10)] {
        assert_eq!(micro::block_size(count), size, "{count} entries");
        let list = List::numbered(count);
        assert!(micro::fits(&list));
        let block = micro::write(&list, &Params::new(9)).unwrap();
        assert_eq!(block.len(), size);
        assert_holds(&[block], &list);
    }
    assert!(!micro::fits(&List::numbered(2048)));
}

#[test]
fn long_names_and_other_values_do_not_fit_into_a_micro_zap() {
    let one = |name: usize, value| List(vec![(vec![b'n'; name], value)]);
    assert!(micro::fits(&one(49, Owned::Numbers(vec![1]))));
    for list in [
        one(50, Owned::Numbers(vec![1])),
        one(5, Owned::Numbers(vec![1, 2])),
        one(5, Owned::Numbers(vec![])),
        one(5, Owned::Bytes(vec![1])),
    ] {
        assert!(!micro::fits(&list));
        assert!(matches!(micro::write(&list, &Params::new(1)), Err(PlanError::NotMicro(_))));
    }
}

#[test]
fn entries_that_no_zap_can_have_are_refused() {
    let plan = |entries: &[(&[u8], usize)]| {
        let list = List(entries.iter().map(|(n, v)| (n.to_vec(), Owned::Bytes(vec![0; *v]))).collect());
        FatZap::plan(&list, Params::new(1)).map(|_| ()).unwrap_err()
    };
    assert_eq!(plan(&[(b"", 1)]), PlanError::Name(String::new()));
    assert_eq!(plan(&[(b"a\0b", 1)]), PlanError::Name("a\0b".into()));
    assert!(matches!(plan(&[(&[b'x'; MAX_NAME + 1], 1)]), PlanError::Name(_)));
    assert_eq!(plan(&[(b"a", 1), (b"b", 1), (b"a", 1)]), PlanError::Duplicate("a".into()));
    let size = MAX_VALUE + 1;
    assert_eq!(plan(&[(b"a", size)]), PlanError::Value { name: "a".into(), size });
    let list = List::numbered(1);
    let params = Params { block_shift: 18, ..Params::new(1) };
    assert!(matches!(FatZap::plan(&list, params), Err(PlanError::Size { .. })));
}

#[test]
fn names_that_differ_in_case_hash_alike_where_case_does_not_matter() {
    let params = Params::new(11).normalized(NORM_TO_UPPER);
    let list = List(vec![
        (b"Makefile".to_vec(), Owned::Numbers(vec![1])),
        (b"makefile".to_vec(), Owned::Numbers(vec![2])),
        (b"README".to_vec(), Owned::Numbers(vec![3])),
    ]);
    for blocks in [write_fat(&list, params), vec![micro::write(&list, &params).unwrap()]] {
        let mut zap = open(&blocks).unwrap();
        assert_eq!(zap.norm_flags(), NORM_TO_UPPER);
        let mut cds: Vec<_> = zap.iter().map(|e| e.unwrap()).map(|e| (e.name.clone(), e.cd)).collect();
        cds.sort();
        assert_eq!(cds, [(b"Makefile".to_vec(), 0), (b"README".to_vec(), 0), (b"makefile".to_vec(), 1)]);
        assert_eq!(zap.lookup(b"makefile").unwrap().unwrap().number(), Some(2));
        assert_eq!(zap.lookup(b"readme").unwrap().unwrap().number(), Some(3));
    }
    assert_sound(&write_fat(&list, params), params);
    let foreign = List(vec![("é".into(), Owned::Numbers(vec![1]))]);
    assert_eq!(FatZap::plan(&foreign, params).unwrap_err(), PlanError::Normalized("é".into()));
}

/// What a machine of the other byte order would have written. Chunks' arrays
/// and types are bytes and stay.
fn swap(block: &[u8], shift: u32) -> Vec<u8> {
    let mut out = block.to_vec();
    let mut swap = |at: usize, len: usize| out[at..at + len].reverse();
    match u64_at(block, 0) {
        BLOCK_TYPE_LEAF => {
            for (at, len) in [(0, 8), (16, 8), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2)] {
                swap(at, len);
            }
            let buckets = 1 << (shift - 5);
            (0..buckets).for_each(|i| swap(48 + 2 * i, 2));
            for at in (48 + 2 * buckets..block.len()).step_by(24) {
                let fields: &[(usize, usize)] = match block[at] {
                    252 => &[(2, 2), (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 8)],
                    _ => &[(22, 2)],
                };
                fields.iter().for_each(|&(field, len)| swap(at + field, len));
            }
        }
        BLOCK_TYPE_MICRO => {
            [0, 8, 16].into_iter().for_each(|at| swap(at, 8));
            for at in (64..block.len()).step_by(64) {
                swap(at, 8);
                swap(at + 8, 4);
            }
        }
        _ => (0..block.len()).step_by(8).for_each(|at| swap(at, 8)),
    }
    out
}

#[test]
fn blocks_of_either_byte_order_and_of_both_are_read() {
    let list = List::numbered(1000);
    let params = Params { block_shift: 9, ..Params::new(42) };
    let little = write_fat(&list, params);
    let big: Vec<_> = little.iter().map(|b| swap(b, 9)).collect();
    assert_ne!(little, big);
    assert_holds(&big, &list);
    let mixed: Vec<_> =
        little.iter().zip(&big).enumerate().map(|(i, (l, b))| if i % 3 == 1 { b } else { l }.clone()).collect();
    assert_holds(&mixed, &list);
    let block = micro::write(&list, &params).unwrap();
    assert_holds(&[swap(&block, 0)], &list);
}

#[test]
fn a_key_of_integers_is_found_by_its_hash() {
    // OpenZFS's tables of deduplicated blocks are such ZAPs; ours are not, so that
    // this one is made from an ordinary leaf.
    let key = [0x1111_2222_3333_4444u64, 5];
    let flags = FLAG_HASH64 | FLAG_UINT64_KEY;
    let params = Params::new(21);
    let hash = hash_key(params.salt, &key, HashBits::Long);
    let stored: Vec<u8> = key.iter().flat_map(|k| k.to_be_bytes()).collect();
    let mut leaf = leaf::Writer::new(leaf::Shape { block_shift: FAT_BLOCK_SHIFT }, 0, 0, false);
    leaf.add(hash, 3, &stored, Value::Number(8));
    let mut leaf = leaf.finish();
    // The name's length counts integers, and there is no NUL.
    let first = 48 + 2 * 512;
    leaf.put_u16(first + 6, 2);
    let mut header = write_fat(&List::default(), params).swap_remove(0);
    header.put_u64(96, flags);
    let blocks = vec![header, leaf];
    let mut zap = open(&blocks).unwrap();
    assert_eq!(zap.flags(), flags);
    let expected = Entry { name: stored, integer_size: 8, values: vec![8], cd: 3 };
    assert_eq!(zap.lookup_key(&key).unwrap(), Some(expected.clone()));
    assert_eq!(zap.lookup_key(&[1, 2]).unwrap(), None);
    assert_eq!(zap.iter().collect::<Result<Vec<_>, _>>().unwrap(), [expected]);
}

#[test]
fn a_block_that_is_no_zap_says_what_was_expected() {
    let error = open(&[vec![0; 512]]).err().unwrap();
    assert_eq!(error.to_string(), "ZAP block 0: the type of a ZAP expected, found 0x0");
    let mut blocks = write_fat(&List::numbered(1), Params::new(1));
    blocks[1].put_u64(0, 7);
    let error = open(&blocks).unwrap().lookup(b"x").unwrap_err();
    assert_eq!(error.to_string(), "ZAP block 1: the type of a leaf expected, found 0x7");
}

#[test]
fn texts_are_stored_with_their_nul_and_read_without() {
    let mut contents = ZapContents::new();
    contents.set_text("mountpoint", "/usr/home").set("atime", 0);
    let written = contents.blocks(Params::new(1)).unwrap();
    assert_eq!(written.block_size, 1 << FAT_BLOCK_SHIFT);
    let mut zap = open(&written.blocks).unwrap();
    let entry = zap.lookup(b"mountpoint").unwrap().unwrap();
    assert_eq!((entry.values.len(), entry.text().as_deref()), (10, Some("/usr/home")));
    assert_eq!(zap.lookup(b"atime").unwrap().unwrap().number(), Some(0));
}
