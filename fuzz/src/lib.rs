//! What the fuzz targets share: seeds, a limit to memory, trees and pools to start from.

mod allocator;
pub mod dumps;
#[path = "../../crates/crash/tests/support/mod.rs"]
pub mod kernel;
pub mod pool;
pub mod program;
pub mod trees;

use std::path::PathBuf;

/// Writes seeds into the folder that the environment variable `FUZZ_SEEDS` names, if there is one: libFuzzer then
/// finds them there, and no binary file needs to be kept.
pub fn write_seeds<T: AsRef<[u8]>>(seeds: impl FnOnce() -> Vec<T>) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) else { return };
    for (number, seed) in seeds().iter().enumerate() {
        let path = folder.join(format!("seed-{number}"));
        std::fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// A byte that says what to do with the rest; 0 if there is none.
pub fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(&first, rest)| (first, rest))
}
