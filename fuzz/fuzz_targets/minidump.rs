//! Minidumps of every architecture: headers, bitmaps, page maps, message buffers, and their conversion.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tine_fuzz::dumps;

const MAGIC: &[u8] = b"minidump FreeBSD/";

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    dumps::examine([MAGIC, data].concat());
});

fn seeds() -> Vec<Vec<u8>> {
    dumps::machines().map(|forge| forge.minidump().split_off(MAGIC.len())).collect()
}
