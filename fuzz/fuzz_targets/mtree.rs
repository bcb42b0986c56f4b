//! Manifests of files below the folder `root` beside this one.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tine_fuzz::trees;
use tree::{Builder, Options};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/root");

fuzz_target!(init: tine_fuzz::write_seeds(trees::manifests), |data: &[u8]| {
    let mut builder = Builder::new(Options::default()).expect("options are valid");
    if builder.add_mtree_from(Path::new("manifest"), data, Path::new(ROOT)).is_ok() {
        trees::walk(&builder.finish().expect("the manifest was read to its end"));
    }
});
