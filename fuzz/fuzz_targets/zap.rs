//! ZAPs, cut from the input in blocks of a size that its first byte chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_ondisk::zap::{Params, Reader, ZapContents, ZapError};

/// Entries beyond these are not read.
const MOST: usize = 1 << 16;

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let (shift, data) = tine_fuzz::choice(data);
    let blocks: Vec<&[u8]> = data.chunks(512 << (shift % 9)).collect();
    let fetch = |number: u64| {
        let block = usize::try_from(number).ok().and_then(|number| blocks.get(number));
        block.copied().ok_or(ZapError::Corrupt { block: number, expected: "a block", found: number })
    };
    let Ok(mut zap) = Reader::open(fetch) else { return };
    let _ = zap.count();
    let mut names = Vec::new();
    for entry in zap.iter().take(MOST) {
        let Ok(entry) = entry else { break };
        let _ = (entry.number(), entry.bytes(), entry.text());
        names.push(entry.name);
    }
    for name in names.iter().take(16) {
        let _ = zap.lookup(name);
        let key: Vec<u64> = name.as_chunks().0.iter().map(|&word| u64::from_be_bytes(word)).collect();
        let _ = zap.lookup_key(&key);
    }
    let _ = zap.lookup(b"no such name");
    let _ = zap.lookup(b"");
});

fn seeds() -> Vec<Vec<u8>> {
    let numbers = |count: u64| {
        let mut zap = ZapContents::new();
        for number in 0..count {
            zap.set(format!("name {number}"), number);
        }
        zap
    };
    let mut mixed = ZapContents::new();
    mixed.set_text("text", "value").set_shorts("shorts", vec![1, 2, 3]).set_numbers("numbers", vec![4; 40]);
    let small = |flags| Params { block_shift: 12, ..Params::new(1) }.normalized(flags);
    let zaps = [(numbers(3), 0), (numbers(3), 0x10), (numbers(20), 0x10), (mixed, 0), (numbers(150), 0)];
    zaps.into_iter()
        .map(|(mut zap, flags)| {
            // A long name makes it a fat one.
            if zap.len() > 10 {
                zap.set("n".repeat(60), 1);
            }
            let zap = zap.blocks(small(flags)).expect("the entries are valid");
            let shift = zap.block_size.ilog2() as u8 - 9;
            [vec![shift], zap.blocks.concat()].concat()
        })
        .collect()
}
