//! Disk images and partition tables.
//!
//! The first byte of the input says what the rest is: an image of any format, the first sectors of a disk, the same with
//! the checksums of a GPT made right, a FAT file system, or changes of a sound image, whose structures may lie where no
//! small input has them.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use disk::image::{Target, Unpacking, Work};
use disk::{Part, ReadAt, fat, image, partition};
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 512;
/// Partitions and places that are looked at.
const MOST: usize = 64;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("tine-fuzz-disk-{}", std::process::id())));

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let (mode, rest) = tine_fuzz::choice(data);
    match mode % 5 {
        0 => image(rest),
        1 => table(rest.to_vec()),
        2 => table(mend(rest.to_vec())),
        3 => volume(rest.to_vec()),
        _ => changed(rest),
    }
});

fn image(bytes: &[u8]) {
    std::fs::write(&*FILE, bytes).expect("there is room for a small file");
    let Ok(image) = image::open_with(&FILE, Unpacking::Never) else { return };
    let size = image.disk.size();
    let mut buf = [0; 3 * SECTOR];
    for offset in [0, 100, size / 2, size.saturating_sub(buf.len() as u64), size] {
        let _ = image.disk.read_exact_at(&mut buf, offset);
    }
    // A disk of many blocks without contents takes its time.
    if size < 1 << 30 {
        let _ = image.disk.next_data(0);
    }
}

/// Sound images of a small disk, in every format.
static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let disk: Vec<u8> = (0..5 * SECTOR).map(|at| (at / 9) as u8).collect();
    let write = |target| {
        let out = Mutex::new(Vec::new());
        image::write(&disk, target, &Work::default(), &out).expect("memory is written");
        out.into_inner().expect("nobody has panicked")
    };
    Target::ALL.into_iter().filter(|target| *target != Target::TarGz).map(write).collect()
});

/// The first byte chooses an image; each eight of the others change four bytes of it. Checksums of VHD are made right.
fn changed(data: &[u8]) {
    let (which, changes) = tine_fuzz::choice(data);
    let mut bytes = IMAGES[usize::from(which) % IMAGES.len()].clone();
    for change in changes.chunks_exact(8) {
        let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize % bytes.len();
        let end = (at + 4).min(bytes.len());
        bytes[at..end].copy_from_slice(&change[4..4 + end - at]);
    }
    if bytes.starts_with(b"conectix") {
        for (range, sum) in [(0..512, 64), (512..1536, 36)] {
            let part = &mut bytes[range];
            part[sum..sum + 4].fill(0);
            let total = part.iter().fold(0u32, |total, byte| total.wrapping_add((*byte).into()));
            part[sum..sum + 4].copy_from_slice(&(!total).to_be_bytes());
        }
        // The copy at the end is believed first.
        let end = bytes.len() - 512;
        bytes.truncate(end);
    }
    image(&bytes);
}

fn volume(bytes: Vec<u8>) {
    let Ok(volume) = fat::Volume::open(Arc::new(bytes)) else { return };
    for entry in volume.files().unwrap_or_default().iter().take(MOST) {
        let _ = volume.read(entry, |_| Ok::<_, disk::Error>(()));
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

    let mut seeds = vec![[vec![1], mbr].concat(), [vec![2], gpt].concat()];
    for (number, image) in (0..).zip(IMAGES.iter()) {
        seeds.push([&[0], &image[..image.len().min(60 << 10)]].concat());
        // A change in each of the places where formats have structures.
        let places = [24u32, 40, 512 + 16, 65536, 192 << 10, 2 << 20, (2 << 20) + 65536, 3 << 20];
        let changes = places.iter().flat_map(|at| [at.to_le_bytes(), [0, 1, 0, 0]].concat());
        seeds.push([4, number].into_iter().chain(changes).collect());
    }
    let file = |path: &str| fat::File { path: path.to_owned(), contents: Arc::new(vec![7; 1000]) };
    let options = fat::Options { size: 40 << 10, label: "SEED".to_owned(), id: 1, time: 0 };
    let built = fat::build(&options, &[file("EFI/BOOT/bootx64.efi"), file("x")]).expect("there is room");
    let mut volume = vec![0; 40 << 10];
    built.read_exact_at(&mut volume, 0).expect("it is that long");
    seeds.push([vec![3], volume].concat());
    seeds
}
