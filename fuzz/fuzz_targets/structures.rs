//! The structures of fixed layout, in both byte orders; what was read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::checksum::embedded::{self, Verifier};
use zfs_ondisk::dnode::{self, Dnode};
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::objset::{self, Kind, ObjectSet};
use zfs_ondisk::sa::{Attribute, Schema};
use zfs_ondisk::uberblock::{self, Uberblock};
use zfs_ondisk::{acl, bpobj, dsl, label, spacemap, znode};

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let view = View::new(data, order);
        pointer(&view);
        dnode(&view);
        records(&view);
        attributes(&view);
    }
    sealed(data);
});

fn pointer(view: &View<'_>) {
    let Ok(pointer) = BlockPointer::read(view, 0) else { return };
    let _ = (pointer.kind(), pointer.dvas().last(), pointer.allocated_size(), pointer.logical_size());
    let _ = (pointer.physical_size(), pointer.birth(), pointer.physical_birth(), pointer.fill(), pointer.payload());
    let _ = (pointer.object_type().to_string(), pointer.is_encrypted(), pointer.is_dedup(), format!("{pointer:?}"));
    let mut bytes = [0; blkptr::SIZE];
    pointer.write(&mut bytes, 0);
    assert_eq!(BlockPointer::read(&View::new(&bytes, ByteOrder::Little), 0), Ok(pointer));
}

fn dnode(view: &View<'_>) {
    if let Ok(Some(dnode)) = Dnode::read(view) {
        let _ = (dnode.used_bytes(), dnode.data_block_size());
        let mut bytes = vec![0; dnode.slots() * dnode::SLOT_SIZE];
        dnode.write(&mut bytes);
        assert_eq!(Dnode::read(&View::new(&bytes, ByteOrder::Little)), Ok(Some(dnode)));
    }
    if let Ok(set) = ObjectSet::read(view) {
        let _ = Kind::from_number(set.kind);
    }
}

fn records(view: &View<'_>) {
    let _ = (dsl::Dir::read(view), dsl::Dataset::read(view), bpobj::Header::read(view), spacemap::Header::read(view));
    let _ = bpobj::DeadlistHeader::read(view);
    if let Ok(acl) = acl::from_bytes(view.as_bytes(), view.order()) {
        assert_eq!(acl::from_bytes(&acl::to_bytes(&acl), ByteOrder::Little), Ok(acl));
    }
    let mut decoder = spacemap::Decoder::default();
    for at in (0..view.len()).step_by(8) {
        let Ok(word) = view.u64(at) else { break };
        if let Some(entry) = decoder.word(word) {
            assert!(entry.length > 0);
        }
        let _ = (znode::parse_dirent(word), znode::file_flags_from_flags(word));
        for index in 0..label::COUNT {
            let _ = label::offset(index, word);
        }
    }
}

/// The input is a layout of up to 15 attributes, and a buffer of them.
fn attributes(view: &View<'_>) {
    let (count, rest) = tine_fuzz::choice(view.as_bytes());
    let count = usize::from(count % 16).min(rest.len());
    let (layout, buffer) = rest.split_at(count);
    let mut schema = Schema::default();
    for &attribute in Attribute::ALL {
        schema.register(attribute.name(), attribute.registration());
    }
    schema.add_layout(2, layout.iter().map(|&number| number.into()).collect());
    if let Ok(found) = schema.attributes(&View::new(buffer, view.order())) {
        assert_eq!(found.len(), count);
    }
}

fn sealed(data: &[u8]) {
    if let Ok((uberblock, _)) = Uberblock::read(data) {
        let mut slot = [0; 1024];
        uberblock.write(&mut slot);
        assert_eq!(Uberblock::read(&slot), Ok((uberblock, ByteOrder::Little)));
    }
    let words = [1, 2, 3, 4];
    let gang = Verifier::Gang { vdev: 0, offset: 0, txg: 4 };
    for place in [Verifier::Label { offset: 0 }, gang, Verifier::Zilog(words), Verifier::Zilog2(words)] {
        let _ = embedded::verify(data, &place);
        let mut block = data.to_vec();
        if embedded::seal(&mut block, &place).is_ok() {
            assert_eq!(embedded::verify(&block, &place), Ok(ByteOrder::Little));
        }
    }
    let (number, rest) = tine_fuzz::choice(data);
    if let Some(function) = Checksum::from_number(number % 16) {
        let _ = function.compute(ByteOrder::Little, Some(&[7; 32]), rest);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut dnode = Dnode::new(ObjectType::PLAIN_FILE_CONTENTS, 131072);
    dnode.bonus = acl::to_bytes(&acl::trivial(0o604, false));
    dnode.spill = Some(BlockPointer::embedded(ObjectType::SA, 512, 2, b"spill", 4));
    let set = ObjectSet {
        meta_dnode: dnode.clone(),
        zil_header: [0; objset::ZIL_HEADER_SIZE],
        kind: Kind::FileSystem as u64,
        flags: 1,
        user_used: Some(dnode.clone()),
        group_used: Some(dnode.clone()),
        project_used: None,
    };
    let mut slot = vec![0; 1024];
    let root = BlockPointer::embedded(ObjectType::OBJSET, 512, 2, b"root", 4);
    Uberblock {
        version: uberblock::VERSION_FEATURES,
        txg: 4,
        guid_sum: 1,
        timestamp: 2,
        root,
        software_version: uberblock::VERSION_FEATURES,
        checkpoint_txg: 0,
        raidz_reflow_info: 0,
    }
    .write(&mut slot);
    let entries = spacemap::allocations(5, 100_000).flat_map(u64::to_le_bytes).collect();
    vec![set.to_bytes(objset::SIZE_V3), slot, dnode.bonus, entries]
}
