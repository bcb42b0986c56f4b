//! The corpus of pools that OpenZFS made, for tests.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The devices of a pool of the corpus, unpacked.
pub struct Unpacked {
    /// Where they are; gone when this is dropped.
    pub dir: TempDir,
    pub images: Vec<PathBuf>,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus")
}

/// A text of the corpus; `None` and a message if there is none.
pub fn manifest(test: &str, name: &str) -> Option<String> {
    let bytes = fs::read(corpus().join("manifest").join(name)).ok();
    if bytes.is_none() {
        println!("skipped: {test}: the corpus is missing");
    }
    Some(String::from_utf8(bytes?).expect("manifests are UTF-8"))
}

/// Unpacks the devices `NAME.N.img` of the corpus; `None` and a message if there
/// are none.
pub fn unpack(test: &str, name: &str) -> Option<Unpacked> {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let mut images = Vec::new();
    for number in 0.. {
        let packed = corpus().join("pools").join(format!("{name}.{number}.img.zst"));
        let Ok(packed) = fs::File::open(packed) else { break };
        let image = dir.path().join(format!("{name}.{number}.img"));
        let stream = zstd::Decoder::new(packed).expect("a Zstandard stream");
        write_sparse(stream, &image);
        images.push(image);
    }
    if images.is_empty() {
        println!("skipped: {test}: the corpus is missing");
        return None;
    }
    Some(Unpacked { dir, images })
}

pub fn write_sparse(mut from: impl Read, to: &Path) {
    let mut file = fs::File::create(to).expect("a file for the test");
    let mut chunk = Vec::with_capacity(1 << 16);
    let mut size = 0;
    loop {
        chunk.clear();
        from.by_ref().take(1 << 16).read_to_end(&mut chunk).expect("a sound stream");
        if chunk.is_empty() {
            break;
        }
        if chunk.iter().any(|&byte| byte != 0) {
            file.seek(SeekFrom::Start(size)).expect("to seek");
            file.write_all(&chunk).expect("room for the pool");
        }
        size += chunk.len() as u64;
    }
    file.set_len(size).expect("to set the size");
}
