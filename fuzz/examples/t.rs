#![no_main]
use tine_fuzz::pool::*;
libfuzzer_sys::fuzz_target!(|_d: &[u8]| {
    let i = Image::sound();
    println!("{:?}", i.stats());
    let t = std::time::Instant::now();
    let p = i.open().unwrap(); println!("open {:?}", t.elapsed());
    let t = std::time::Instant::now();
    walk(&p); println!("walk {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let p = i.open().unwrap();
    let r = zfs_pool::check::check(&p).unwrap(); println!("check {:?} {} blocks {} findings", t.elapsed(), r.blocks, r.findings.len());
    for f in r.findings.iter().take(30) { println!("{f}"); }
});
