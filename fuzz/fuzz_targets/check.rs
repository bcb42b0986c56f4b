//! Checking a pool with damage that no checksum shows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tine_fuzz::pool::Image;
use zfs_pool::check::check;

fuzz_target!(init: tine_fuzz::write_seeds(Image::patches), |data: &[u8]| {
    if let Ok(pool) = Image::damaged(data).open()
        && let Ok(report) = check(&pool)
    {
        for finding in &report.findings {
            let _ = finding.to_string();
        }
    }
});
