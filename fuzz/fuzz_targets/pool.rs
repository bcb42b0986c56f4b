//! A small pool with damage that no checksum shows.
//!
//! The input is patches. Each replaces a word that is not zero in the sound pool: the word's number in two bytes,
//! what becomes of it in a byte, and an operand of up to eight.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tine_fuzz::pool::{Image, walk};

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let sound = Image::sound();
    let mut image = sound.clone();
    let mut rest = data;
    while let [low, high, change, after @ ..] = rest {
        rest = after;
        let number = usize::from(u16::from_le_bytes([*low, *high]));
        let (at, mut word) = sound.word(number);
        let length = usize::from(change >> 4 & 7) + 1;
        let Some((operand, after)) = rest.split_at_checked(length) else { break };
        rest = after;
        match change & 0xf {
            // The operand, from one of its bytes on.
            place @ 0..8 => {
                let end = (usize::from(place) + length).min(8);
                word[usize::from(place)..end].copy_from_slice(&operand[..end - usize::from(place)]);
            }
            // Another word of the pool.
            8..12 => word = sound.word(usize::from(u16::from_le_bytes([operand[0], operand[length - 1]]))).1,
            // A number near by.
            _ => word = u64::from_le_bytes(word).wrapping_add(operand[0] as i8 as u64).to_le_bytes(),
        }
        image.patch(at, word);
    }
    if let Ok(pool) = image.open() {
        walk(&pool);
        let _ = zfs_pool::check::check(&pool);
    }
});

fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0, 0, 15, 0], vec![100, 0, 0, 1, 200, 1, 8, 9, 44, 1, 12, 255]]
}
