//! What OpenZFS asserts of a fat ZAP when it changes one, checked apart from the
//! reader: the offsets of `zap_phys_t` and `zap_leaf_phys_t` are written down here
//! a second time.

use std::collections::{BTreeMap, BTreeSet};

use crate::zap::Params;

pub(super) fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(block[at..at + 2].try_into().unwrap())
}

pub(super) fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(block[at..at + 8].try_into().unwrap())
}

/// Checks the header, the pointer table and every leaf.
pub(super) fn assert_sound(blocks: &[Vec<u8>], params: Params) {
    let (header, shift) = (&blocks[0], params.block_shift);
    let half = 1usize << (shift - 1);
    assert_eq!(u64_at(header, 0), 0x8000_0000_0000_0001);
    assert_eq!(u64_at(header, 8), 0x2_F52A_B2AB);
    let [table_block, table_blocks, table_shift, next, copied, free, leaves, count, salt, norm, flags] =
        std::array::from_fn(|i| u64_at(header, 16 + 8 * i));
    assert_eq!((next, copied, flags), (0, 0, 0));
    assert_eq!((salt, norm), (params.salt, params.norm_flags));
    assert_eq!(free, blocks.len() as u64);
    assert_eq!(free, 1 + leaves + table_blocks);

    let table: Vec<u64> = if table_blocks == 0 {
        assert_eq!((table_block, table_shift), (0, u64::from(shift) - 4));
        header[half..].chunks(8).map(|p| u64_at(p, 0)).collect()
    } else {
        assert_eq!(table_blocks << (shift - 3), 1 << table_shift);
        let blocks = &blocks[table_block as usize..][..table_blocks as usize];
        blocks.iter().flat_map(|b| b.chunks(8).map(|p| u64_at(p, 0))).collect()
    };
    assert_eq!(table.len(), 1 << table_shift);

    let (mut met, mut index, mut entries) = (BTreeSet::new(), 0, 0);
    while index < table.len() {
        let block = table[index];
        assert!((1..=leaves).contains(&block) && met.insert(block));
        let leaf = &blocks[block as usize];
        let prefix_len = u64::from(u16_at(leaf, 32));
        let pointers = 1usize << (table_shift - prefix_len);
        assert_eq!(u64_at(leaf, 16), (index / pointers) as u64, "the leaf's prefix");
        assert!(table[index..index + pointers].iter().all(|&p| p == block));
        entries += assert_leaf_sound(leaf, prefix_len, params);
        index += pointers;
    }
    assert_eq!(met.len() as u64, leaves);
    assert_eq!(entries, count);
}

fn assert_leaf_sound(leaf: &[u8], prefix_len: u64, params: Params) -> u64 {
    let buckets = 1usize << (params.block_shift - 5);
    let first = 48 + 2 * buckets;
    let chunks = (leaf.len() - first) / 24;
    assert_eq!((leaf.len() - first) % 24, 0);
    assert_eq!(u64_at(leaf, 0), 1 << 63);
    assert_eq!((u64_at(leaf, 8), leaf[24..28].to_vec()), (0, 0x2AB_1EAFu32.to_le_bytes().to_vec()));
    assert_eq!(leaf[36], u8::from(params.norm_flags != 0));
    let chunk = |number: u16| {
        assert!(usize::from(number) < chunks);
        &leaf[first + usize::from(number) * 24..][..24]
    };
    let mut owned = BTreeSet::new();

    let mut free = u16_at(leaf, 34);
    while free != 0xFFFF {
        assert!(owned.insert(free) && chunk(free)[0] == 253);
        assert!(chunk(free)[1..22].iter().all(|&b| b == 0));
        free = u16_at(chunk(free), 22);
    }
    assert_eq!(owned.len(), usize::from(u16_at(leaf, 28)), "free chunks");

    let mut cds: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    let mut entries = 0;
    for bucket in 0..buckets {
        let (mut link, mut last_cd) = (u16_at(leaf, 48 + 2 * bucket), 0);
        while link != 0xFFFF {
            let entry = chunk(link);
            assert!(owned.insert(link) && entry[0] == 252);
            let (hash, cd) = (u64_at(entry, 16), u32::from_le_bytes(entry[12..16].try_into().unwrap()));
            assert_eq!(hash << 28, 0, "28 bits of hash");
            assert_eq!(hash.checked_shr(64 - prefix_len as u32).unwrap_or(0), u64_at(leaf, 16));
            let in_leaf = hash << prefix_len >> (64 - (params.block_shift - 5));
            assert_eq!(in_leaf as usize, bucket);
            assert!(cd >= last_cd, "chains are sorted by cd");
            last_cd = cd;
            assert!(cds.entry(hash).or_default().insert(cd), "cd is unique");
            for (array, count, size) in [(4, 6, 1), (8, 10, usize::from(entry[1]))] {
                let mut left = usize::from(u16_at(entry, count)) * size;
                let mut link = u16_at(entry, array);
                while link != 0xFFFF {
                    assert!(left > 0 && owned.insert(link) && chunk(link)[0] == 251);
                    left = left.saturating_sub(21);
                    link = u16_at(chunk(link), 22);
                }
                assert_eq!(left, 0);
            }
            entries += 1;
            link = u16_at(entry, 2);
        }
    }
    for cds in cds.values() {
        assert_eq!(cds.last().copied(), Some(cds.len() as u32 - 1), "cds are minimal");
    }
    assert_eq!(owned.len(), chunks, "every chunk is free, an entry or in an array");
    assert_eq!(entries, u64::from(u16_at(leaf, 30)));
    entries
}
