use proptest::prelude::*;

use super::*;
use crate::bytes::Put;
use crate::crypt::key::tests::wrap;
use crate::crypt::{Suite, WrappingKey};
use crate::dnode::Dnode;

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

fn data_key(suite: Suite, version: Version) -> DataKey {
    let wrapping = WrappingKey::from_raw(&[9; 32]);
    wrap(suite, version, &wrapping, [5; 32], [6; 64]).unwrap(&wrapping).unwrap()
}

/// A pointer as OpenZFS makes it on a machine of `order`.
fn pointer(
    (object_type, level): (ObjectType, u8),
    order: ByteOrder,
    (salt, iv, mac): ([u8; 8], [u8; 12], [u8; 16]),
) -> BlockPointer {
    let word = |bytes: &[u8]| View::new(bytes, order).u64(0).unwrap();
    let mut words = [0; 16];
    words[0] = 8;
    words[SALT] = word(&salt);
    words[IV] = word(&iv[..8]);
    words[PROPERTIES] = 7 | 7 << 16 | 1 << 61 | u64::from(object_type.0) << 48 | u64::from(level) << 56;
    if order == ByteOrder::Little {
        words[PROPERTIES] |= property::BYTE_ORDER;
    }
    words[FILL] = 1 | u64::from(View::new(&iv[8..], order).u32(0).unwrap()) << 32;
    words[MAC] = word(&mac[..8]);
    words[MAC + 1] = word(&mac[8..]);
    from_words(words)
}

fn from_words(words: [u64; 16]) -> BlockPointer {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    BlockPointer::read(&View::new(&bytes, ByteOrder::Little), 0).unwrap()
}

/// Encrypts `data` in place and gives a pointer to it.
fn seal(key: &DataKey, object_type: ObjectType, order: ByteOrder, aad: &[u8], data: &mut [u8]) -> BlockPointer {
    let (salt, iv) = (*b"saltsalt", *b"ivivivivIVIV");
    let mac = key.encrypt(&Nonce { salt, iv }, aad, data).unwrap();
    pointer((object_type, 0), order, (salt, iv, mac))
}

fn hmac(key: &DataKey, covered: &[u8]) -> Vec<u8> {
    key.hmac().chain_update(covered).finalize().into_bytes().to_vec()
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

proptest! {
    #[test]
    fn data_is_decrypted_and_any_flipped_bit_is_noticed(
        suite in proptest::sample::select(&Suite::ALL[..]),
        order in proptest::sample::select(&ORDERS[..]),
        data in proptest::collection::vec(any::<u8>(), 1..2000), at: proptest::sample::Index, bit in 0u8..8,
    ) {
        let key = data_key(suite, Version::V1);
        let mut stored = data.clone();
        let pointer = seal(&key, ObjectType::PLAIN_FILE_CONTENTS, order, &[], &mut stored);
        prop_assert!(pointer.is_encrypted());
        let mut opened = stored.clone();
        prop_assert_eq!(key.open(&pointer, &mut opened), Ok(()));
        prop_assert_eq!(opened, data);

        let mut changed = stored.clone();
        changed[at.index(stored.len())] ^= 1 << bit;
        prop_assert_eq!(key.open(&pointer, &mut changed), Err(Error::Mac));
        // Salt, IV and MAC are in the pointer.
        for word in [SALT, IV, MAC, MAC + 1] {
            let mut words = *pointer.words();
            words[word] ^= 1 << (at.index(64));
            prop_assert_eq!(key.open(&from_words(words), &mut stored.clone()), Err(Error::Mac));
        }
    }

    #[test]
    fn garbage_is_an_error_and_no_reason_to_panic(
        words: [u64; 16], mut block in proptest::collection::vec(any::<u8>(), 0..3000), object_type in 0u8..60,
    ) {
        let key = data_key(Suite::Aes256Gcm, Version::V1);
        let mut words = words;
        words[PROPERTIES] &= !(0xff << 48 | 0x1f << 56 | 1 << 39);
        words[PROPERTIES] |= u64::from(object_type) << 48 | 1 << 61;
        prop_assert!(key.open(&from_words(words), &mut block).is_err());
        words[PROPERTIES] |= 1 << 56;
        prop_assert!(verify_pointers(&from_words(words), &block).is_err());
    }
}

#[test]
fn bonus_buffers_of_encrypted_types_are_decrypted_and_the_rest_of_dnodes_is_covered() {
    for (order, version) in [(ORDERS[0], Version::V0), (ORDERS[0], Version::V1), (ORDERS[1], Version::V1)] {
        let key = data_key(Suite::Aes256Ccm, version);
        let below = pointer((ObjectType::PLAIN_FILE_CONTENTS, 0), order, ([0; 8], [0; 12], *b"MAC of the block"));
        let below_spill = pointer((ObjectType::SA, 0), order, ([0; 8], [0; 12], *b"MAC of the spill"));
        let mut block = vec![0; 4 * dnode::SLOT_SIZE];
        let write = |pointer: &BlockPointer, to: &mut [u8]| {
            for (bytes, word) in to.chunks_exact_mut(8).zip(pointer.words()) {
                bytes.copy_from_slice(&if order == ByteOrder::Little {
                    word.to_le_bytes()
                } else {
                    word.to_be_bytes()
                });
            }
        };
        // A file with a spill block, in two slots; flags that are not portable, and space used.
        block[..13].copy_from_slice(&[19, 17, 1, 1, 44, 0, 0, 0b1111, 0, 1, 0, 168, 1]);
        block[24..32].fill(0xee);
        write(&below, &mut block[64..192]);
        block[192..896].fill(b'S');
        write(&below_spill, &mut block[896..1024]);
        // A free slot; a directory of the DSL, whose bonus buffer is not encrypted.
        block[1536..1548].copy_from_slice(&[12, 17, 1, 1, 12, 0, 0, 1, 0, 1, 0, 8]);
        block[1728..].fill(b'd');

        let of_pointer = |of: &BlockPointer, mac: &[u8]| {
            let properties = of.words()[PROPERTIES];
            let kept = match version {
                Version::V0 => properties & !(0xffff << 16),
                Version::V1 => properties,
            };
            concat(&[&kept.to_le_bytes(), mac, &[0; 8][..if version == Version::V0 { 0 } else { 8 }]])
        };
        let hole = of_pointer(&BlockPointer::HOLE, &[0; 16]);
        let aad = concat(&[
            &[19, 17, 1, 1, 44, 0, 0, 0b100, 0, 1, 0, 168, 1],
            &[0; 51],
            &of_pointer(&below, b"MAC of the block"),
            &of_pointer(&below_spill, b"MAC of the spill"),
            &[0; 512],
            &[12, 17, 1, 1, 12, 0, 0, 0, 0, 1, 0, 8],
            &[0; 52],
            &hole,
            &[b'd'; 320],
        ]);
        let mut stored = block.clone();
        let pointer = seal(&key, ObjectType::DNODE, order, &aad, &mut stored[192..896]);
        assert_ne!(stored, block);

        let mut opened = stored.clone();
        key.open(&pointer, &mut opened).unwrap();
        assert_eq!(opened, block);
        for at in [0, 8, 16, 40, 64 + 55, 64 + 112, 192, 895, 896 + 112, 1024, 1100, 1536 + 16, 1728, 2047] {
            let mut changed = stored.clone();
            changed[at] ^= 1;
            assert!(key.open(&pointer, &mut changed).is_err(), "byte {at}");
        }
        // What is not portable is not covered.
        for at in [7, 24, 64] {
            let mut changed = stored.clone();
            changed[at] ^= 16;
            assert_eq!(key.open(&pointer, &mut changed), Ok(()), "byte {at}");
        }
    }
}

#[test]
fn a_dnode_that_is_longer_than_its_block_is_an_error() {
    let key = data_key(Suite::Aes256Gcm, Version::V1);
    let pointer = pointer((ObjectType::DNODE, 0), ByteOrder::Little, ([0; 8], [0; 12], [0; 16]));
    for (at, value) in [(field::EXTRA_SLOTS, 2), (field::POINTERS, 255), (field::POINTERS, 8)] {
        let mut block = vec![0; 1024];
        block[0] = 19;
        block[at] = value;
        assert!(matches!(key.open(&pointer, &mut block), Err(Error::Truncated(_))), "{value} at {at}");
    }
    // The pointers reach into the spill pointer.
    let mut block = vec![0; 512];
    block[..8].copy_from_slice(&[19, 17, 1, 3, 44, 0, 0, dnode::FLAG_SPILL_BLKPTR]);
    assert!(matches!(key.open(&pointer, &mut block), Err(Error::Truncated(_))));
}

#[test]
fn blocks_of_types_that_are_not_encrypted_are_authenticated() {
    let key = data_key(Suite::Aes128Gcm, Version::V1);
    for order in ORDERS {
        let mut block = b"master node".to_vec();
        let mac = hmac(&key, &block)[..16].try_into().unwrap();
        let pointer = pointer((ObjectType::MASTER_NODE, 0), order, ([0; 8], [0; 12], mac));
        assert!(!pointer.is_encrypted());
        assert_eq!(key.open(&pointer, &mut block), Ok(()));
        assert_eq!(block, b"master node");
        block[3] ^= 1;
        assert_eq!(key.open(&pointer, &mut block), Err(Error::Mac));
    }
}

proptest! {
    #[test]
    fn what_is_sealed_can_be_opened(
        suite in proptest::sample::select(&Suite::ALL[..]), data in proptest::collection::vec(any::<u8>(), 1..600),
        salt: [u8; 8], iv: [u8; 12],
    ) {
        let key = data_key(suite, Version::V1);
        let mut dnodes = vec![0; 1 << 14];
        for (at, bonus_type) in [(0, ObjectType::SA), (512, ObjectType::NONE), (1024, ObjectType::DSL_DIR)] {
            let mut dnode = Dnode::new(ObjectType::PLAIN_FILE_CONTENTS, 512);
            dnode.bonus_type = bonus_type;
            dnode.bonus = data[..data.len().min(300)].to_vec();
            dnode.write(&mut dnodes[at..]);
        }
        let cases = [
            (ObjectType::PLAIN_FILE_CONTENTS, data.clone()),
            (ObjectType::MASTER_NODE, data),
            (ObjectType::DNODE, dnodes),
            (ObjectType::OBJSET, root(ByteOrder::Little)),
        ];
        for (object_type, plain) in cases {
            let mut stored = plain.clone();
            let mac = key.seal(object_type, &Nonce { salt, iv }, &mut stored).unwrap();
            // A few bytes may well be encrypted to themselves.
            if plain.len() >= 16 {
                prop_assert_eq!(stored != plain, object_type != ObjectType::MASTER_NODE);
            }
            // The pointer as the format says, and as it is made for others to write.
            let meant = pointer((object_type, 0), ByteOrder::Little, (salt, iv, mac));
            let mut words = *meant.words();
            (words[SALT], words[IV], words[FILL], words[PROPERTIES]) = (0, 0, 1, words[PROPERTIES] & !(1 << 61));
            (words[MAC], words[MAC + 1]) = (0, 0);
            let made = from_words(words).with_mac(&mac);
            let made = if object_type.is_encrypted() { made.with_nonce(&salt, &iv) } else { made };
            let mut opened = stored.clone();
            prop_assert_eq!(key.open(&made, &mut opened), Ok(()));
            if object_type == ObjectType::OBJSET {
                opened[PORTABLE_MAC..LOCAL_MAC + ROOT_MAC_SIZE].fill(0);
            }
            prop_assert!(opened == plain);
            if object_type.is_encrypted() {
                prop_assert_eq!(made, meant);
            }
            stored[0] ^= 1;
            prop_assert_eq!(key.open(&made, &mut stored), Err(Error::Mac));
        }
    }
}

#[test]
fn a_pointer_without_a_mac_is_refused() {
    let key = data_key(Suite::Aes128Gcm, Version::V1);
    let mut words = *pointer((ObjectType::PLAIN_FILE_CONTENTS, 0), ByteOrder::Little, Default::default()).words();
    words[PROPERTIES] &= !(1 << 61);
    assert_eq!(key.open(&from_words(words), &mut [0; 512]), Err(Error::Unprotected));
}

#[test]
fn indirect_blocks_are_covered_by_the_macs_below() {
    for version in [Version::V0, Version::V1] {
        let mut covered = Vec::new();
        let mut block = vec![0; 1024];
        for (index, to) in block.chunks_exact_mut(blkptr::SIZE).enumerate().take(5) {
            let mac = [index as u8 + 1; 16];
            let child = pointer((ObjectType::PLAIN_FILE_CONTENTS, 1), ByteOrder::Little, ([1; 8], [2; 12], mac));
            child.write(to, 0);
            let kept = match version {
                Version::V0 => 7 | 1 << 61 | 19 << 48 | 1 << 56 | 1 << 63u64,
                Version::V1 => 7 | 1 << 61 | 19 << 48 | 1 << 56,
            };
            covered.extend(concat(&[&u64::to_le_bytes(kept), &mac, &[0; 8][..8 * version as usize]]));
        }
        covered.resize(8 * (24 + 8 * version as usize), 0);
        let mac = Sha512::digest(&covered)[..16].try_into().unwrap();
        let parent = pointer((ObjectType::PLAIN_FILE_CONTENTS, 2), ByteOrder::Little, ([0; 8], [0; 12], mac));
        assert_eq!(verify_pointers(&parent, &block), Ok(()));
        // Two children in each other's place.
        let mut swapped = block.clone();
        swapped[..256].rotate_left(128);
        assert_eq!(verify_pointers(&parent, &swapped), Err(Error::Mac));
        // A place that differs between copies of the dataset: the first DVA.
        block[0] ^= 1;
        assert_eq!(verify_pointers(&parent, &block), Ok(()));
    }
}

/// The root of an object set in both byte orders.
fn root(order: ByteOrder) -> Vec<u8> {
    let mut used = Dnode::new(ObjectType::USERGROUP_USED, 512);
    used.max_block_id = 0x0102;
    let root = objset::ObjectSet {
        meta_dnode: Dnode { max_block_id: 0x0304, ..Dnode::new(ObjectType::DNODE, dnode::BLOCK_SIZE) },
        zil_header: [0; objset::ZIL_HEADER_SIZE],
        kind: objset::Kind::FileSystem as u64,
        flags: objset::FLAG_USERACCOUNTING_COMPLETE,
        user_used: Some(used.clone()),
        group_used: Some(used),
        project_used: None,
    };
    let mut bytes = root.to_bytes(objset::SIZE_V2);
    if order == ByteOrder::Big {
        for dnode in [0, 1024, 1536] {
            for integer in field::INTEGERS.into_iter().chain([field::USED]) {
                bytes[dnode + integer.start..dnode + integer.end].reverse();
            }
            // The pointer is a hole.
        }
        bytes[704..712].reverse();
        bytes[712..720].reverse();
    }
    bytes
}

#[test]
fn roots_have_a_mac_of_their_dnodes_and_one_of_the_accounting_that_any_byte_order_has_in_common() {
    let key = data_key(Suite::Aes256Gcm, Version::V1);
    // The core of a dnode without flags and space used; its pointer is a hole.
    let core = |kind: u8, sectors: u8, block: [u8; 2]| {
        let mut core = vec![kind, 17, 1, 1, 0, 0, 0, 0, sectors, 0, 0, 0, 0, 0, 0, 0, block[0], block[1]];
        core.resize(64 + 32, 0);
        core
    };
    let portable = concat(&[&2u64.to_be_bytes(), &[0; 8], &core(10, 32, [4, 3])]);
    let used = core(39, 1, [2, 1]);
    let local = concat(&[&1u64.to_le_bytes(), &used, &used]);
    for order in ORDERS {
        let mut root = root(order);
        root.put_bytes(720, &hmac(&key, &portable)[..32]);
        root.put_bytes(752, &hmac(&key, &local)[..32]);
        let pointer = pointer((ObjectType::OBJSET, 0), order, ([0; 8], [0; 12], *b"no MAC is here  "));
        assert_eq!(key.open(&pointer, &mut root), Ok(()), "{order:?}");
        for (at, bit) in [(0, 1), (16, 1), (704, 1), (720, 1), (712, 2), (752, 1), (1024 + 16, 1), (1536 + 8, 1)] {
            let mut changed = root.clone();
            changed[at] ^= bit;
            assert_eq!(key.open(&pointer, &mut changed), Err(Error::Mac), "byte {at}");
        }
        // The header of the intent log changes without a key.
        root[520] ^= 1;
        assert_eq!(key.open(&pointer, &mut root), Ok(()));
    }
}

#[test]
fn a_root_that_was_received_without_accounting_needs_no_local_mac() {
    let key = data_key(Suite::Aes256Gcm, Version::V1);
    let mut root = root(ByteOrder::Little);
    let portable = key.portable_mac(&View::new(&root, ByteOrder::Little)).unwrap().finalize().into_bytes();
    root.put_bytes(720, &portable[..32]);
    root.put_u64(712, 0);
    let pointer = pointer((ObjectType::OBJSET, 0), ByteOrder::Little, Default::default());
    assert_eq!(key.open(&pointer, &mut root), Ok(()));
    root.put_u64(712, objset::FLAG_USERACCOUNTING_COMPLETE);
    assert_eq!(key.open(&pointer, &mut root), Err(Error::Mac));
    root[1024] = 0;
    root[1536] = 0;
    assert_eq!(key.open(&pointer, &mut root), Ok(()));
}
