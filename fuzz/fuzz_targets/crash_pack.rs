//! Packs: archives that are damaged or hostile are refused, and what is left of others is opened.
#![no_main]

use crash::{Crash, Options, pack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let Ok(packed) = zstd::encode_all(data, 1) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pack");
    std::fs::write(&path, packed).expect("the file is written");
    let _ = pack::manifest(&path);
    let _ = Crash::open(&path, &Options { force: true, ..Options::default() });
});

fn seeds() -> Vec<Vec<u8>> {
    let Some(forged) = tine_fuzz::kernel::forge(&["-g0"]) else { return Vec::new() };
    let Ok(recording) = pack::Recording::open(&forged.dump(), &Options::default()) else { return Vec::new() };
    let packed = [false, true].map(|redact| {
        let mut bytes = Vec::new();
        recording.pack(redact, &mut bytes).ok()?;
        zstd::decode_all(&bytes[..]).ok()
    });
    packed.into_iter().flatten().collect()
}
