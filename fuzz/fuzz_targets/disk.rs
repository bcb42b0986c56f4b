//! Disk images and partition tables.
//!
//! The first byte of the input says what the rest is: a qcow2 image, the first sectors of a disk, or the same with the
//! checksums of a GPT made right.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use disk::{Part, ReadAt, image, partition};
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 512;
const MAGIC: &[u8] = b"QFI\xfb";
/// Partitions and places that are looked at.
const MOST: usize = 64;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("tine-fuzz-disk-{}", std::process::id())));

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let (mode, rest) = tine_fuzz::choice(data);
    match mode % 3 {
        0 => qcow2(rest),
        1 => table(rest.to_vec()),
        _ => table(mend(rest.to_vec())),
    }
});

fn qcow2(rest: &[u8]) {
    let image = [MAGIC, rest].concat();
    std::fs::write(&*FILE, image).expect("there is room for a small file");
    let Ok(image) = image::open(&FILE) else { return };
    let size = image.disk.size();
    let mut buf = [0; 3 * SECTOR];
    for offset in [0, 100, size / 2, size.saturating_sub(buf.len() as u64), size] {
        let _ = image.disk.read_exact_at(&mut buf, offset);
    }
}

fn table(disk: Vec<u8>) {
    let disk: Arc<dyn ReadAt> = Arc::new(disk);
    let Ok(Some(table)) = partition::read(&disk) else { return };
    for found in table.partitions.iter().take(MOST) {
        let part = Part::new(disk.clone(), found.start, found.size);
        let _ = part.read_exact_at(&mut [0; 16], part.size().saturating_sub(16));
    }
}

/// Makes both checksums of the header in sector 1 right, as far as the entries are there.
fn mend(mut disk: Vec<u8>) -> Vec<u8> {
    let Some(header) = disk.get(SECTOR..2 * SECTOR) else { return disk };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let (first, count, size) = (word(72), word(80), word(84));
    let start = first.saturating_mul(SECTOR);
    let end = start.saturating_add(count.saturating_mul(size));
    let header_size = word(12).clamp(92, SECTOR);
    let entries = crc(disk.get(start..end).unwrap_or_default());
    let header = &mut disk[SECTOR..2 * SECTOR];
    header[88..92].copy_from_slice(&entries.to_le_bytes());
    header[12..16].copy_from_slice(&(header_size as u32).to_le_bytes());
    header[16..20].fill(0);
    let sum = crc(&header[..header_size]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    disk
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn seeds() -> Vec<Vec<u8>> {
    let mut gpt = vec![0; 64 * SECTOR];
    gpt[SECTOR - 2..SECTOR].copy_from_slice(&[0x55, 0xaa]);
    gpt[446 + 4] = 0xee;
    gpt[446 + 8] = 1;
    gpt[446 + 12] = 63;
    let header = &mut gpt[SECTOR..2 * SECTOR];
    header[..8].copy_from_slice(b"EFI PART");
    for (at, value) in [(8, 0x1_0000u32), (12, 92), (24, 1), (32, 63), (40, 34), (48, 60), (72, 2), (80, 4), (84, 128)]
    {
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let entry = &mut gpt[2 * SECTOR..2 * SECTOR + 128];
    entry[..16].fill(7);
    entry[16..32].fill(8);
    entry[32] = 40;
    entry[40] = 50;
    entry[56] = b'z';

    let mut mbr = vec![0; 8 * SECTOR];
    mbr[SECTOR - 2..SECTOR].copy_from_slice(&[0x55, 0xaa]);
    mbr[446 + 4] = 0xa5;
    mbr[446 + 8] = 1;
    mbr[446 + 12] = 7;
    // A BSD disklabel in the second sector of the slice.
    let label = &mut mbr[2 * SECTOR..3 * SECTOR];
    label[..4].copy_from_slice(&0x8256_4557u32.to_le_bytes());
    label[132..136].copy_from_slice(&0x8256_4557u32.to_le_bytes());
    label[138] = 8;

    // Version 3, clusters of 64 KiB, a disk of 1 MiB, an empty first table.
    let mut qcow2 = vec![0; 4 * 65536 - 4];
    for (at, value) in
        [(4, 3u32), (20, 16), (28, 1 << 20), (36, 1), (44, 65536), (52, 2 * 65536), (56, 1), (96, 4), (100, 104)]
    {
        qcow2[at - 4..at].copy_from_slice(&value.to_be_bytes());
    }
    qcow2.truncate(1024);
    vec![[vec![0], qcow2].concat(), [vec![1], mbr].concat(), [vec![2], gpt].concat()]
}
