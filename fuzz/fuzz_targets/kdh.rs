//! What tells of a dump: headers, key blocks, info files, lists of ranges, and disks with headers on them.
//!
//! The first byte of the input says what the rest is.
#![no_main]

use std::sync::Arc;

use disk::ReadAt;
use libfuzzer_sys::fuzz_target;
use vmcore::device;
use vmcore::header::{self, Compression, Header, Magic};
use vmcore::info::{Info, Missing, Status};
use vmcore::key::{Cipher, DumpKey};
use vmcore::ranges::Ranges;

/// The disk on which headers are put.
const DISK: usize = 64 << 10;

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let (mode, rest) = tine_fuzz::choice(data);
    match mode % 5 {
        0 => head(rest),
        1 => key(rest),
        2 => info(&String::from_utf8_lossy(rest)),
        3 => ranges(&String::from_utf8_lossy(rest)),
        _ => disk(rest),
    }
});

fn head(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else { return };
    let built = header.build().expect("its version is known");
    let again = Header::parse(&built).expect("it was built");
    assert_eq!(header::parity(&built), 0);
    assert!(again.parity_ok);
    assert_eq!(again.build(), Ok(built));
}

fn key(bytes: &[u8]) {
    if let Ok(key) = DumpKey::parse(bytes) {
        assert_eq!(DumpKey::parse(&key.build(512)), Ok(key));
    }
}

fn info(text: &str) {
    let Ok(info) = Info::parse(text) else { return };
    let text = info.to_string();
    let again = Info::parse(&text).expect("it was written");
    assert_eq!(again.status, info.status);
    assert_eq!(again.to_string(), Info::parse(&again.to_string()).expect("so was this").to_string());
}

fn ranges(text: &str) {
    let Ok(mut ranges) = Ranges::parse(text) else { return };
    assert_eq!(Ranges::parse(&ranges.to_string()), Ok(ranges.clone()));
    let missing = Missing::of(&ranges, ranges.end());
    assert_eq!(missing.bytes + ranges.covered(), ranges.end());
    let half = ranges.end() / 2;
    ranges.truncate(half);
    assert!(ranges.end() <= half);
}

/// A header at the beginning and the end.
fn disk(bytes: &[u8]) {
    let mut disk = vec![0; DISK];
    let size = bytes.len().min(8192);
    disk[..size].copy_from_slice(&bytes[..size]);
    let last = DISK - 512;
    let size = bytes.len().min(512);
    disk[last..last + size].copy_from_slice(&bytes[..size]);
    let disk: Arc<dyn ReadAt> = Arc::new(disk);
    let mut found = device::scan(&*disk, |_| {}).expect("memory can be read");
    found.extend(device::find(&*disk).expect("memory can be read"));
    for dump in found {
        let _ = dump.key(&*disk);
        let data = dump.data(&disk);
        let _ = data.read_exact_at(&mut [0; 600], data.size() / 2);
        let _ = vmcore::textdump::list(&*data);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let header = |version, magic, block_size| Header {
        magic,
        architecture: "amd64".to_owned(),
        version,
        architecture_version: 2,
        dump_length: 8192,
        dump_extent: 16384,
        dump_time: 1_577_880_000,
        key_size: 512,
        block_size,
        compression: Compression::Gzip,
        hostname: "box".to_owned(),
        version_string: "FreeBSD 12.1\n    root@box\n".to_owned(),
        panic_string: "page fault".to_owned(),
        parity: 0,
        parity_ok: true,
    };
    let mut seeds = Vec::new();
    for version in 1..=4 {
        for (mode, magic, block) in [(0u8, Magic::Kernel, 512), (4, Magic::Text, 512), (4, Magic::Cleared, 4096)] {
            let bytes = header(version, magic, block).build().expect("the version is known");
            seeds.push([&[mode][..], &bytes].concat());
        }
    }
    let key = DumpKey { cipher: Cipher::ChaCha20, iv: [5; 32], encrypted_key: vec![6; 256] };
    seeds.push([&[1][..], &key.build(512)].concat());
    let there: Ranges = [0..1448, 2896..8192].into_iter().collect();
    let info = Info {
        source: "box [192.0.2.1]".to_owned(),
        header: Some(header(4, Magic::Kernel, 512)),
        encryption: Some(Cipher::Aes256Cbc),
        bounds: 7,
        status: Status::Incomplete,
        received: Some(there.covered()),
        missing: Missing::of(&there, 8192),
    };
    seeds.push([&[2][..], info.to_string().as_bytes()].concat());
    seeds.push([&[3][..], there.to_string().as_bytes()].concat());
    seeds
}
