use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;

use super::*;
use crate::{InOrder, WriteAt};

/// A run of a disk: its length, and what is there.
#[derive(Clone, Debug)]
enum Run {
    Zeros(usize),
    Text(usize, u8),
    Noise(usize, u64),
}

fn run() -> impl Strategy<Value = Run> {
    prop_oneof![
        (1..6_000_000usize).prop_map(Run::Zeros),
        (1..300_000usize, any::<u8>()).prop_map(|(length, seed)| Run::Text(length, seed)),
        (1..300_000usize, any::<u64>()).prop_map(|(length, seed)| Run::Noise(length, seed)),
    ]
}

fn bytes_of(runs: &[Run]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for run in runs {
        match *run {
            Run::Zeros(length) => bytes.resize(bytes.len() + length, 0),
            Run::Text(length, seed) => bytes.extend((0..length).map(|at| (at / 11) as u8 ^ seed)),
            Run::Noise(length, seed) => {
                let mut state = seed | 1;
                bytes.extend((0..length).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 56) as u8
                }));
            }
        }
    }
    bytes
}

fn image_of(disk: &Vec<u8>, target: Target, threads: usize) -> Vec<u8> {
    let out = Mutex::new(Vec::new());
    write(disk, target, &Work { threads, ..Work::default() }, &out).unwrap();
    out.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn opened(image: Vec<u8>) -> Result<Image, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    std::fs::write(&path, image).unwrap();
    open(&path)
}

/// The contents of a disk, read in pieces of an odd size.
fn contents(disk: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![1; disk.size() as usize];
    for (number, piece) in bytes.chunks_mut(777_777).enumerate() {
        disk.read_exact_at(piece, number as u64 * 777_777).unwrap();
    }
    bytes
}

/// Whatever is outside of the runs of data is zeros.
fn runs_are_right(disk: &dyn ReadAt, expected: &[u8]) -> bool {
    let mut at = 0;
    while let Some(run) = disk.next_data(at).unwrap() {
        assert!(run.start >= at && run.start < run.end && run.end <= disk.size(), "{run:?} from {at}");
        if !blocks::is_zero(&expected[at as usize..run.start as usize]) {
            return false;
        }
        at = run.end;
    }
    blocks::is_zero(&expected[at as usize..])
}

/// All targets that are read again.
fn readable() -> impl Iterator<Item = Target> {
    Target::ALL.into_iter().filter(|target| *target != Target::TarGz)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read_in_every_format(runs in prop::collection::vec(run(), 0..6)) {
        let disk = bytes_of(&runs);
        for target in readable() {
            let image = image_of(&disk, target, 1);
            let image = opened(image).unwrap_or_else(|error| panic!("{target}: {error}"));
            prop_assert_eq!(image.format, target.format());
            let mut expected = disk.clone();
            expected.resize(disk.len().next_multiple_of(target.size_unit() as usize), 0);
            prop_assert!(contents(&image.disk) == expected, "{}", target);
            prop_assert!(runs_are_right(&image.disk, &expected), "{}", target);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing(runs in prop::collection::vec(run(), 1..6)) {
        let disk = bytes_of(&runs);
        for target in readable().filter(|target| *target != Target::Xz) {
            prop_assert!(image_of(&disk, target, 1) == image_of(&disk, target, 3), "{}", target);
        }
    }

    #[test]
    fn a_disk_written_in_any_order_is_the_same(
        runs in prop::collection::vec(run(), 1..6),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        order in any::<u64>(),
    ) {
        let disk = bytes_of(&runs);
        let mut borders: Vec<usize> = cuts.drain(..).map(|cut| cut.index(disk.len())).collect();
        borders.extend([0, disk.len()]);
        borders.sort_unstable();
        let mut pieces: Vec<(usize, usize)> = borders.windows(2).map(|pair| (pair[0], pair[1])).collect();
        pieces.sort_by_key(|(start, _)| (*start as u64 ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for target in [Target::Qcow2, Target::Qcow2Zstd, Target::Qcow2Deflate] {
            let made = |threads| {
                let out = Mutex::new(Vec::new());
                let image = AnyOrder::new(target, threads, &out).unwrap();
                for &(start, end) in &pieces {
                    image.write_all_at(&disk[start..end], start as u64).unwrap();
                }
                image.set_size(disk.len().next_multiple_of(512) as u64).unwrap();
                image.finish().unwrap();
                out.into_inner().unwrap()
            };
            let image = made(1);
            prop_assert!(image == made(3), "{}", target);
            let image = opened(image).unwrap();
            let mut expected = disk.clone();
            expected.resize(disk.len().next_multiple_of(512), 0);
            prop_assert!(contents(&image.disk) == expected, "{}", target);
        }
    }

    #[test]
    fn damage_is_an_error_or_changes_the_disk_and_nothing_worse(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let disk = bytes_of(&[Run::Noise(70_000, seed), Run::Zeros(3_000_000), Run::Text(100_000, 3)]);
        for target in readable() {
            let image = image_of(&disk, target, 1);
            let mut flipped = image.clone();
            // Where the structures are, most of the time.
            let places = [at.index(image.len()), at.index(4096.min(image.len())), image.len() - 1 - at.index(512.min(image.len()))];
            for place in places {
                flipped[place] ^= value;
            }
            let cut = image[..cut.index(image.len())].to_vec();
            for damaged in [flipped, cut] {
                let Ok(image) = opened(damaged) else { continue };
                let mut buf = [0; 5000];
                for offset in [0, 60_000, image.disk.size() / 2, image.disk.size().saturating_sub(5000)] {
                    let _ = image.disk.read_exact_at(&mut buf, offset);
                }
                let _ = image.disk.next_data(0);
            }
        }
    }
}

#[test]
fn a_large_empty_disk_makes_small_images_at_once() {
    struct Empty;
    impl ReadAt for Empty {
        fn read_exact_at(&self, buf: &mut [u8], _: u64) -> io::Result<()> {
            buf.fill(0);
            Ok(())
        }
        fn size(&self) -> u64 {
            1 << 40
        }
        fn next_data(&self, _: u64) -> io::Result<Option<Range<u64>>> {
            Ok(None)
        }
    }
    for target in [Target::Qcow2, Target::Qcow2Zstd, Target::Vhd, Target::Vhdx, Target::Vmdk] {
        let out = Mutex::new(Vec::new());
        write(&Empty, target, &Work::default(), &out).unwrap();
        let image = out.into_inner().unwrap();
        assert!(image.len() <= 8 << 20, "{target}: {}", image.len());
        let image = opened(image).unwrap();
        assert_eq!(image.disk.size(), 1 << 40);
        assert_eq!(image.disk.next_data(0).unwrap(), None, "{target}");
    }
}

#[test]
fn disks_that_a_format_cannot_hold_are_refused() {
    struct Huge;
    impl ReadAt for Huge {
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Other.into())
        }
        fn size(&self) -> u64 {
            u64::MAX
        }
    }
    for target in Target::ALL.into_iter().filter(|target| !matches!(target, Target::Raw | Target::Xz | Target::Zstd)) {
        let out = Mutex::new(Vec::new());
        assert!(matches!(write(&Huge, target, &Work::default(), &out), Err(Error::Impossible(_))), "{target}");
    }
}

#[test]
fn images_in_compressed_files_are_found_out() {
    let disk = bytes_of(&[Run::Zeros(100_000), Run::Text(50_000, 1), Run::Zeros(912)]);
    let inner = image_of(&disk, Target::Qcow2, 1);
    for (target, packing) in [(Target::Xz, Packing::Xz), (Target::Zstd, Packing::Zstd)] {
        let image = opened(image_of(&inner, target, 1)).unwrap();
        assert_eq!((image.format, image.packing), (Format::Qcow2, Some(packing)));
        assert!(contents(&image.disk)[..disk.len()] == disk);
    }
}

#[test]
fn a_pipe_takes_images_that_are_written_in_order() {
    let disk = bytes_of(&[Run::Zeros(3_000_000), Run::Noise(200_000, 3), Run::Zeros(2_000_000)]);
    for target in Target::ALL {
        // Their unit makes them large, and nothing is to be learned from it.
        if target == Target::TarGz {
            continue;
        }
        let pipe = InOrder::new(Vec::new());
        let written = write(&disk, target, &Work { threads: 2, ..Work::default() }, &pipe);
        assert_eq!(written.is_ok(), target.is_in_order(), "{target}");
        if target.is_in_order() {
            let image = image_of(&disk, target, 1);
            assert_eq!(pipe.written(), image.len() as u64);
            assert!(pipe.into_inner() == image, "{target}");
        }
    }
}

#[test]
fn archives_for_google_cloud_are_read_back() {
    let disk = bytes_of(&[Run::Zeros(3_000_000), Run::Text(200_000, 3)]);
    let image = opened(image_of(&disk, Target::TarGz, 2)).unwrap();
    assert_eq!((image.format, image.packing, image.disk.size()), (Format::Raw, Some(Packing::Gzip), 1 << 30));
    let mut found = vec![1; disk.len() + 1];
    image.disk.read_exact_at(&mut found, 0).unwrap();
    assert!(found[..disk.len()] == disk && found[disk.len()] == 0);
}

#[test]
fn what_an_archive_says_of_its_disk_is_checked() {
    use flate2::write::GzEncoder;
    let header = |size: &[u8], kind: u8| {
        let mut archive = vec![0; 1024];
        archive[..8].copy_from_slice(b"disk.raw");
        archive[124..124 + size.len()].copy_from_slice(size);
        archive[156] = kind;
        archive[257..262].copy_from_slice(b"ustar");
        let mut out = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut out, &archive).unwrap();
        opened(out.finish().unwrap())
    };
    assert_eq!(header(b"00000001000\0", b'0').unwrap().disk.size(), 512);
    assert_eq!(header(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 0).unwrap().disk.size(), 256);
    for (size, kind, told) in [
        (&b"00000001001\0"[..], b'0', "longer than the archive"),
        (&[0xff; 12], b'0', "longer than the archive"),
        (b"00000001000\0", b'S', "tar -xSzf"),
        (b"00000001000\0", b'5', "not a file"),
    ] {
        let error = header(size, kind).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(told), "{told}: {error}");
    }
}

#[test]
fn zstd_without_a_table_is_unpacked_unless_nobody_asked_for_that() {
    let disk = bytes_of(&[Run::Text(50_000, 1), Run::Zeros(3_000_000), Run::Noise(70_000, 5)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.zst");
    std::fs::write(&path, zstd::bulk::compress(&disk, 1).unwrap()).unwrap();
    let image = open(&path).unwrap();
    assert_eq!((image.format, image.packing), (Format::Raw, Some(Packing::Zstd)));
    assert!(contents(&image.disk) == disk);
    assert!(matches!(open_with(&path, Unpacking::Never), Err(Error::Unsupported { .. })));
}

#[test]
fn a_flipped_bit_in_a_compressed_piece_is_found() {
    let disk = bytes_of(&[Run::Noise(5_000_000, 9)]);
    for target in [Target::Xz, Target::Zstd] {
        let mut image = image_of(&disk, target, 1);
        let middle = image.len() * 2 / 3;
        image[middle] ^= 1;
        let image = opened(image).unwrap();
        let mut all = vec![0; disk.len()];
        let error = image.disk.read_exact_at(&mut all, 0).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
}

#[test]
fn a_disk_that_is_written_twice_or_beyond_its_end_is_refused() {
    let out = Mutex::new(Vec::new());
    let image = AnyOrder::new(Target::Qcow2, 1, &out).unwrap();
    image.write_all_at(&[7; 65536], 0).unwrap();
    let error = image.write_all_at(&[8; 512], 1024).unwrap_err();
    assert_eq!(error.to_string(), "the disk at byte 1024 is written twice");
    image.write_all_at(&[7; 512], 600 << 20).unwrap();
    image.set_size(65536).unwrap();
    assert_eq!(image.finish().unwrap_err().to_string(), "the disk is written beyond its size of 65536 bytes");
    assert!(AnyOrder::new(Target::Vmdk, 1, &out).is_none());
}

#[test]
fn targets_have_names_that_are_understood() {
    for target in Target::ALL {
        assert_eq!(target.name().parse(), Ok(target));
    }
    assert_eq!(Target::of_file_name("disk.RAW.xz"), Some(Target::Xz));
    assert_eq!(Target::of_file_name("disk.vhdx"), Some(Target::Vhdx));
    assert_eq!(Target::of_file_name("disk.img"), Some(Target::Raw));
    assert_eq!(Target::of_file_name("disk.img.zst"), Some(Target::Zstd));
    assert_eq!(Target::of_file_name("disk"), None);
}
