//! ELF cores: full dumps with page tables in them, and cores that say both addresses.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tine_fuzz::dumps;
use vmcore::convert::{self, CoreOptions, Stream};
use vmcore::memory::Memory;

const MAGIC: &[u8] = b"\x7fELF";

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    dumps::examine([MAGIC, data].concat());
});

fn seeds() -> Vec<Vec<u8>> {
    let cores = dumps::machines().filter_map(|forge| {
        let memory = Memory::open(Arc::new(forge.minidump())).ok()?;
        let mut out = Stream(Vec::new());
        convert::core(&memory, &CoreOptions::default(), &mut out).ok()?;
        Some(out.0)
    });
    let full = dumps::machines().step_by(4).map(|forge| {
        let mut dump = forge.full();
        dump.truncate(300_000);
        dump
    });
    cores.chain(full).map(|mut dump| dump.split_off(MAGIC.len())).collect()
}
