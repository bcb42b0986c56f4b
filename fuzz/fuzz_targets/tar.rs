//! Archives, as they are or, if the first byte says so, with their checksums made right.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tine_fuzz::trees;
use tree::{Builder, Options};

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let (mended, data) = tine_fuzz::choice(data);
    let mut archive = data.to_vec();
    if mended & 1 != 0 {
        trees::mend(&mut archive);
    }
    let mut builder = Builder::new(Options::default()).expect("options are valid");
    if builder.add_tar_from(Path::new("archive"), Cursor::new(archive)).is_ok() {
        trees::walk(&builder.finish().expect("the archive was read to its end"));
    }
});

fn seeds() -> Vec<Vec<u8>> {
    trees::archives().into_iter().map(|archive| [vec![1], archive].concat()).collect()
}
