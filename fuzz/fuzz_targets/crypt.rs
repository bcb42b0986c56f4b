//! Blocks of encrypted datasets: what of them is secret, and what their MACs cover, is told by the blocks themselves.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::crypt::{DataKey, Suite, Version, WrappedKey, WrappingKey, verify_pointers};
use zfs_ondisk::dnode::{self, Dnode};
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::objset::{Kind, ObjectSet, SIZE_V3, ZIL_HEADER_SIZE};

/// The properties of a pointer, and the bits that say that a block is little-endian and has a MAC.
const PROPERTIES: usize = 6 * 8;
const LITTLE_ENDIAN: u64 = 1 << 63;
const HAS_MAC: u64 = 1 << 61;

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let Some((pointer, block)) = data.split_at_checked(blkptr::SIZE) else { return };
    let Ok(pointer) = BlockPointer::read(&View::new(pointer, ByteOrder::Little), 0) else { return };
    for key in keys() {
        let mut stored = block.to_vec();
        let opened = key.open(&pointer, &mut stored);
        assert_eq!(stored.len(), block.len());
        // Nobody who lacks the key makes a MAC.
        let is_protected = pointer.uses_crypt() && pointer.level() == 0;
        assert!(!is_protected || opened.is_err());
    }
    let _ = verify_pointers(&pointer, block);
});

/// The same master key and HMAC key, wrapped by either version.
fn keys() -> &'static [DataKey; 2] {
    static KEYS: OnceLock<[DataKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let wrapping = WrappingKey::from_raw(&[3; 32]);
        let macs = [
            (Version::V0, 0xd3e4_5b21_0d89_a5f8_9c52_21d1_272e_c2f2_u128),
            (Version::V1, 0x5673_f20e_7a79_b73e_198e_fd6d_3144_7d4c),
        ];
        macs.map(|(version, mac)| {
            let wrapped = WrappedKey {
                suite: Suite::Aes256Gcm,
                version,
                guid: 0x1234_5678,
                iv: [3; 12],
                mac: mac.to_be_bytes(),
                master_key: MASTER_KEY,
                hmac_key: HMAC_KEY,
            };
            wrapped.unwrap(&wrapping).expect("it is wrapped with this key")
        })
    })
}

const MASTER_KEY: [u8; 32] = [
    0xf4, 0x37, 0x4e, 0xc9, 0xf6, 0x86, 0xff, 0xd9, 0x8c, 0xc4, 0xda, 0x70, 0x9c, 0x3f, 0x3b, 0x00, 0xda, 0xa5, 0x3c,
    0x2f, 0xf6, 0xd1, 0xf4, 0x3b, 0x31, 0x74, 0x0e, 0xb9, 0xa5, 0xd2, 0x63, 0x6c,
];
const HMAC_KEY: [u8; 64] = [
    0x22, 0x1a, 0x17, 0x24, 0xf5, 0xb2, 0x81, 0xc2, 0x5b, 0x4a, 0x9c, 0x6d, 0x74, 0xcf, 0x24, 0xd9, 0xfd, 0xd8, 0xeb,
    0x66, 0x8d, 0x8e, 0xf8, 0xa3, 0xc6, 0x7c, 0x93, 0x68, 0x9e, 0xc6, 0xf3, 0xcb, 0xe7, 0x41, 0x9c, 0x9a, 0x03, 0x56,
    0xc5, 0xad, 0xc3, 0x84, 0xe6, 0xc6, 0xda, 0xfc, 0x40, 0xd7, 0xd2, 0x83, 0x37, 0x9e, 0xc1, 0x7a, 0xbc, 0x65, 0x52,
    0x25, 0x9d, 0xb1, 0xdf, 0x25, 0xc1, 0x66,
];

/// A pointer to a block of a type at a level, with a MAC that is that of no block.
fn pointer(object_type: ObjectType, level: u64, order: u64) -> Vec<u8> {
    let mut bytes = vec![0; blkptr::SIZE];
    bytes[0] = 8;
    let properties = u64::from(object_type.0) << 48 | level << 56 | order | HAS_MAC;
    bytes[PROPERTIES..PROPERTIES + 8].copy_from_slice(&properties.to_le_bytes());
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let mut dnode = Dnode::new(ObjectType::PLAIN_FILE_CONTENTS, 131_072);
    dnode.extra_slots = 1;
    dnode.bonus_type = ObjectType::SA;
    dnode.bonus = vec![7; 300];
    dnode.spill = Some(BlockPointer::HOLE);
    let mut dnodes = vec![0; 4 * dnode::SLOT_SIZE];
    dnode.write(&mut dnodes);
    let meta = Dnode::new(ObjectType::DNODE, dnode::BLOCK_SIZE);
    let used = Dnode::new(ObjectType::USERGROUP_USED, 512);
    let root = ObjectSet {
        meta_dnode: meta,
        zil_header: [0; ZIL_HEADER_SIZE],
        kind: Kind::FileSystem as u64,
        flags: 1,
        user_used: Some(used.clone()),
        group_used: Some(used.clone()),
        project_used: Some(used),
    };
    let mut seeds = Vec::new();
    for order in [0, LITTLE_ENDIAN] {
        let of = |object_type, level, block: &[u8]| [pointer(object_type, level, order), block.to_vec()].concat();
        seeds.push(of(ObjectType::DNODE, 0, &dnodes));
        seeds.push(of(ObjectType::OBJSET, 0, &root.to_bytes(SIZE_V3)));
        seeds.push(of(ObjectType::PLAIN_FILE_CONTENTS, 0, &[9; 512]));
        seeds.push(of(ObjectType::MASTER_NODE, 0, &[9; 512]));
        seeds.push(of(ObjectType::DNODE, 1, &pointer(ObjectType::DNODE, 0, order).repeat(8)));
    }
    seeds
}
