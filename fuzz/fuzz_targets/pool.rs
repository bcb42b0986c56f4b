//! Reading a pool with damage that no checksum shows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tine_fuzz::pool::{Image, walk};

fuzz_target!(init: tine_fuzz::write_seeds(Image::patches), |data: &[u8]| {
    if let Ok(pool) = Image::damaged(data).open() {
        walk(&pool);
    }
});
