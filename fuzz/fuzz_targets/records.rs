//! Records of the pool that are read word by word: the history, the intent log, tables of deduplicated blocks, mappings of
//! removed vdevs, multihost protection, bookmarks, histograms of free space; and keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::crypt::{self, WrappingKey};
use zfs_ondisk::dsl::Bookmark;
use zfs_ondisk::history::{self, Header};
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::uberblock::Mmp;
use zfs_ondisk::{ddt, indirect, spacemap, zil};
use zfs_pool::Secret;

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let view = View::new(data, order);
        history(&view);
        words(&view);
        log(&view);
        tables(&view);
    }
    let _ = (Secret::key_in(data), Secret::passphrase_in(data), WrappingKey::from_hex(data));
});

fn history(view: &View<'_>) {
    let Ok(header) = Header::read(view) else { return };
    assert_eq!(Header::read(&View::new(&header.to_bytes(), ByteOrder::Little)), Ok(header));
    let record = view.as_bytes().get(history::HEADER_SIZE..).unwrap_or_default();
    for (begin, end) in header.parts() {
        assert!(begin <= end);
        for position in [begin, begin / 2 + end / 2, end] {
            let length = record.len() as u64;
            if header.check_length(position, length, end).is_ok() {
                let stretches = header.stretches(position, length);
                assert_eq!(stretches.iter().map(|stretch| stretch.1).sum::<u64>(), length);
                assert!(position < header.create_length || stretches[0].0 < header.size);
            }
        }
    }
    if let Ok(list) = history::decode(0, record)
        && let Ok(bytes) = history::encode(&list)
    {
        assert_eq!(history::decode(0, &bytes[history::LENGTH_SIZE..]), Ok(list));
    }
}

fn words(view: &View<'_>) {
    let _ = (zil::Header::read(view), Mmp::read(view));
    if let Some(histogram) = spacemap::histogram(view) {
        for shift in [9, 12, 16, u32::MAX] {
            assert!(spacemap::fragmentation(&histogram, shift).is_none_or(|percent| percent <= 100));
        }
    }
    let words: Vec<u64> = (0..view.len() / 8).filter_map(|index| view.u64(index * 8).ok()).collect();
    let _ = Bookmark::from_words(&words).map(|bookmark| bookmark.has_sizes());
    if let Ok(pointer) = BlockPointer::read(view, 0) {
        let _ = crypt::verify_pointers(&pointer, view.as_bytes().get(128..).unwrap_or_default());
    }
}

fn log(view: &View<'_>) {
    for new in [false, true] {
        let Ok(chain) = zil::Chain::read(view, new) else { continue };
        let (mut at, end) = chain.records;
        while let Ok(record) = zil::Record::read(view, at) {
            assert!(record.pointers.len() * 128 <= view.len());
            at += usize::try_from(record.length).unwrap_or(usize::MAX).clamp(1, view.len());
            if at >= end {
                break;
            }
        }
    }
}

fn tables(view: &View<'_>) {
    let _ = (indirect::Header::read(view), indirect::Entry::read(view, 0), ddt::LogHeader::read(view));
    for flat in [false, true] {
        let _ = ddt::zap_records(view.as_bytes(), flat);
        let _ = ddt::log_entries(view, flat, |_, records| assert!(!records.is_empty()));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let header = Header { create_length: 100, size: 1000, begin: 1500, end: 2200, lost: 3 };
    let record = NvList::new().with(history::key::COMMAND, "zpool create t").with(history::key::TIME, 7);
    let packed = record.to_native().expect("it can be packed");
    let free = spacemap::header(9, 1, 512, [1, 3, 400].into_iter(), true);
    // A log block with a record of clones, and a block of a log of deduplicated blocks.
    let mut log = vec![0u64; 512];
    (log[17], log[24], log[25], log[32]) = (192 + 72 + 2 * 128, zil::TX_CLONE_RANGE, 72 + 2 * 128, 2);
    log[33..65].fill(8);
    let mut entry = vec![0u64; 64];
    entry[0] = 1 | 120 << 8;
    let bytes = |words: Vec<u64>| words.into_iter().flat_map(u64::to_le_bytes).collect();
    let keys = b"00112233445566778899aabbccddeeff".repeat(2);
    vec![[&header.to_bytes()[..], &packed].concat(), free, keys, bytes(log), bytes(entry)]
}
