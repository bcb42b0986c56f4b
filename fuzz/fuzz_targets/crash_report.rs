//! The report of a dump of which words were changed, or led elsewhere: it ends, and says what it could not read.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use crash::{Crash, Options, Report};
use libfuzzer_sys::fuzz_target;
use vmcore::Dump;
use vmcore::contents::{self, Contents};
use vmcore::files::Files;

/// How the bytes of an input are read: so many for each change.
const CHANGE: usize = 8;

struct Kernel {
    path: PathBuf,
    dump: Vec<u8>,
}

/// The kernel of the tests and its dump; without a compiler for it there is nothing to do.
static KERNEL: LazyLock<Option<Kernel>> = LazyLock::new(|| {
    let forged = tine_fuzz::kernel::forge(&[])?;
    let dump = std::fs::read(forged.dump()).ok()?;
    let path = forged.kernel();
    // The folder stays as long as the process.
    std::mem::forget(forged);
    Some(Kernel { path, dump })
});

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let Some(kernel) = &*KERNEL else { return };
    let mut dump = kernel.dump.clone();
    for change in data.as_chunks::<CHANGE>().0 {
        apply(&mut dump, *change);
    }
    let options = Options { kernel: Some(kernel.path.clone()), force: true, ..Options::default() };
    let files = Files::alone("vmcore.0".into(), Arc::new(dump));
    let Ok(contents) = Contents::of(&files, &contents::Options::default()) else { return };
    let Ok(dump) = Dump::of(contents, &files.path) else { return };
    let Ok(crash) = Crash::of(dump, &files.path, &options) else { return };
    let report = Report::of(&crash);
    assert_eq!(report.signature.len(), 16);
});

/// Changes a dump: three bytes say where, three what, one how.
fn apply(dump: &mut Vec<u8>, [a, b, c, d, e, f, how, value]: [u8; CHANGE]) {
    let place = |a: u8, b: u8, c: u8| u32::from_le_bytes([a, b, c, 0]) as usize;
    let size = dump.len().max(1);
    let (at, from) = (place(a, b, c) % size & !7, place(d, e, f) % size & !7);
    let word = |dump: &[u8], at: usize| dump.get(at..at + 8).and_then(|word| <[u8; 8]>::try_from(word).ok());
    match how % 4 {
        // A word of another place: lists lead back, stacks go in circles.
        0 | 1 => {
            if let (Some(word), Some(to)) = (word(dump, from), dump.get_mut(at..at + 8)) {
                to.copy_from_slice(&word);
            }
        }
        2 => {
            if let Some(byte) = dump.get_mut(at + usize::from(how >> 5)) {
                *byte = value;
            }
        }
        _ if value == 0 => dump.truncate(at),
        _ => {
            let end = (at + 8 * usize::from(value)).min(dump.len());
            if let Some(words) = dump.get_mut(at..end) {
                words.fill(how);
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    vec![Vec::new(), (0..=255).collect(), vec![0x10; 64], (0..64).map(|byte: u8| byte.wrapping_mul(37)).collect()]
}
