//! Labels of a pool, sealed whatever is in them.
//!
//! The first byte of the input says what the rest is: the whole configuration, patches to the configuration of a
//! sound pool, or patches to its uberblock. A patch is an offset of two bytes and a byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tine_fuzz::pool::{Image, walk};

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let (mode, rest) = tine_fuzz::choice(data);
    let sound = Image::sound();
    let mut config = sound.config();
    let mut uberblock = sound.uberblock();
    match mode % 3 {
        0 => config = rest.to_vec(),
        1 => patch(&mut config, rest),
        _ => patch(&mut uberblock, rest),
    }
    if let Ok(pool) = sound.with_label(&config, &uberblock).open() {
        walk(&pool);
    }
});

fn patch(bytes: &mut [u8], patches: &[u8]) {
    let length = bytes.len();
    for &[low, high, byte] in patches.as_chunks().0 {
        bytes[usize::from(u16::from_le_bytes([low, high])) % length] = byte;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let config = [vec![0], Image::sound().config()].concat();
    vec![config, vec![1, 200, 0, 0], vec![2, 40, 0, 1]]
}
