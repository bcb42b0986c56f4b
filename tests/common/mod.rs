//! What the end-to-end tests share: peers that may be missing, commands with a time
//! limit, source trees with a file of every kind, `zdb`, the small virtual machine, and the
//! pools that a kernel makes in it.
//!
//! Each test program compiles it for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod command;
pub mod described;
pub mod made;
pub mod peer;
pub mod source_tree;
pub mod vm;
pub mod zdb;

use std::path::PathBuf;

/// The project's own folder.
pub fn project() -> PathBuf {
    // The test programs belong to crates/tine, two levels down.
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    while !path.join("tests/vm/run").is_file() {
        assert!(path.pop(), "tests/vm/run is not above {}", env!("CARGO_MANIFEST_DIR"));
    }
    path
}
