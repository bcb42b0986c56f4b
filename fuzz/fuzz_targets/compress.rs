//! Blocks decompressed by every function, and compressed by every setting and back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_ondisk::compress::{Compression, Compressor, Decompressor, Function};

/// The largest block in bytes that is tried.
const LARGEST: usize = 128 << 10;

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let [mode, low, middle, high, data @ ..] = data else { return };
    let size = (u32::from_le_bytes([*low, *middle, *high, 0]) as usize) % (LARGEST + 1);
    if mode & 0x80 == 0 {
        if let Some(function) = Function::from_number(*mode) {
            let _ = Decompressor::new().decompress(function, data, &mut vec![0; size]);
        }
        return;
    }
    let settings = settings();
    let setting = settings[usize::from(mode & 0x7f) % settings.len()];
    let mut stored = vec![0; size];
    if let Some(length) = Compressor::new().compress(setting, data, &mut stored) {
        let mut back = vec![0; data.len()];
        Decompressor::new().decompress(setting.function(), &stored[..length], &mut back).expect("it was compressed");
        assert!(back == data, "{setting} does not give back what it was given");
    }
});

fn settings() -> Vec<Compression> {
    let names = ["lz4", "lzjb", "zle", "gzip-1", "gzip-9", "zstd-1", "zstd-fast-10"];
    names.iter().map(|name| name.parse().expect("it is a setting")).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let text: Vec<u8> = (0..4096u32).map(|n| if n % 512 < 200 { 0 } else { (n % 7) as u8 }).collect();
    let size = (text.len() as u32).to_le_bytes();
    let mut seeds = Vec::new();
    for (number, setting) in settings().into_iter().enumerate() {
        let mut stored = vec![0; 8192];
        if let Some(length) = Compressor::new().compress(setting, &text, &mut stored) {
            seeds.push([&[setting.function().number()], &size[..3], &stored[..length]].concat());
        }
        seeds.push([&[0x80 | number as u8], &size[..3], &text[..1024]].concat());
    }
    seeds
}
