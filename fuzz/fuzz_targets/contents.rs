//! The data of a dump: gzip, Zstandard with and without a table, text dumps, and private keys.
//!
//! The first byte of the input says what the rest is.
#![no_main]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vmcore::contents::{Contents, Options};
use vmcore::private_key::PrivateKey;
use vmcore::textdump;

/// No more than this is unpacked.
const MOST: u64 = 8 << 20;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("tine-fuzz-contents-{}", std::process::id())));

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let (mode, rest) = tine_fuzz::choice(data);
    let magic: &[u8] = match mode % 5 {
        0 => &[0x1f, 0x8b, 8],
        1 => &[0x28, 0xb5, 0x2f, 0xfd],
        2 => &[],
        3 => return text(rest),
        _ => return drop(PrivateKey::from_pem(&String::from_utf8_lossy(rest), Some(b"word"))),
    };
    read(&[magic, rest].concat());
});

fn read(bytes: &[u8]) {
    std::fs::write(&*FILE, bytes).expect("there is room for a small file");
    let options = Options { scratch: MOST, ..Options::default() };
    let Ok(contents) = Contents::open(&FILE, &options) else { return };
    let mut all = Vec::new();
    let whole = contents.stream().map(|stream| stream.take(MOST).read_to_end(&mut all));
    let mut buf = [0; 3000];
    for offset in [0, 1, 70_000, MOST / 2] {
        let read = contents.data.read_exact_at(&mut buf, offset);
        // Both ways of reading give the same.
        let there = all.get(offset as usize..offset as usize + buf.len());
        if let (Ok(()), Some(there), true) = (read, there, matches!(whole, Ok(Ok(_)))) {
            assert!(there == buf);
        }
    }
    if all.len() < MOST as usize {
        assert!(contents.data.size() <= MOST + (64 << 20));
    }
}

fn text(bytes: &[u8]) {
    if let Ok(members) = textdump::list(&bytes.to_vec()) {
        for member in members {
            assert!(member.offset + member.size <= bytes.len() as u64);
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let plain: Vec<u8> = (0..90_000u32).map(|at| if at / 4096 % 3 == 0 { 0 } else { (at.wrapping_mul(at) >> 7) as u8 }).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    let file = tempfile::tempfile().expect("a file can be made");
    let mut frames = vmcore::frames::Writer::new(file, 1);
    frames.write_at(&plain, 0).expect("it is a file");
    let mut file = frames.finish(plain.len() as u64, tempfile::tempfile).expect("it is a file");
    let mut table = Vec::new();
    std::io::Seek::rewind(&mut file).and_then(|()| file.read_to_end(&mut table)).expect("it is a file");
    let mut member = [0u8; 1024];
    member[..9].copy_from_slice(b"panic.txt");
    member[124..136].copy_from_slice(b"00000000004\0");
    member[148..156].fill(b' ');
    let sum: u32 = member[..512].iter().map(|&byte| u32::from(byte)).sum();
    member[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let key = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,\
                00112233445566778899AABBCCDDEEFF\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    vec![
        [&[0][..], &gzip[3..]].concat(),
        [&[1][..], &table[4..]].concat(),
        [&[2][..], &gzip].concat(),
        [&[3][..], &member].concat(),
        [&[4][..], key].concat(),
    ]
}
