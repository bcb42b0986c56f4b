use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::read_at::ReadAt;

fn options(size: u64) -> Options {
    Options { size, label: "EFISYS".to_owned(), id: 0x1234_5678, time: 1_000_000_000 }
}

fn file(path: &str, contents: Vec<u8>) -> File {
    File { path: path.to_owned(), contents: Arc::new(contents) }
}

fn contents(volume: &Volume, entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    volume
        .read(entry, |part| {
            bytes.extend_from_slice(part);
            Ok::<_, Error>(())
        })
        .unwrap();
    bytes
}

#[test]
fn the_width_follows_from_the_size() {
    for (size, width) in
        [(1, Width::Fat12), (3, Width::Fat16), (32, Width::Fat16), (33, Width::Fat32), (600, Width::Fat32)]
    {
        let built = build(&options(size << 20), &[file("A/B.TXT", b"text".to_vec())]).unwrap();
        let volume = Volume::open(Arc::new(built)).unwrap();
        assert_eq!(volume.width(), width, "{size}");
        assert_eq!((volume.label(), volume.id()), ("EFISYS", 0x1234_5678));
        let files = volume.files().unwrap();
        let paths: Vec<_> = files.iter().map(|entry| (&entry.path[..], entry.is_directory)).collect();
        assert_eq!(paths, [("A", true), ("A/B.TXT", false)]);
        assert_eq!(contents(&volume, &files[1]), b"text");
    }
}

#[test]
fn every_size_has_a_geometry_that_is_read_back() {
    // Around the borders, where one width would have one cluster too many.
    let sizes = (64..200).chain(4080..4200).chain(65_400..66_800).chain([(1 << 20) + 1, 1 << 22, 1 << 24]);
    for sectors in sizes {
        let built = build(&options(sectors * 512), &[file("X", vec![7; 600])])
            .unwrap_or_else(|error| panic!("{sectors}: {error}"));
        let volume = Volume::open(Arc::new(built)).unwrap();
        assert_eq!(contents(&volume, &volume.files().unwrap()[0]), vec![7; 600], "{sectors}");
    }
}

#[test]
fn what_does_not_fit_or_cannot_be_named_is_refused() {
    let refused = |files: &[File]| build(&options(1 << 20), files).map(drop).unwrap_err().to_string();
    assert!(refused(&[file("big", vec![1; 1 << 20])]).contains("do not fit"));
    assert!(refused(&[file("a/b", vec![]), file("A/B", vec![])]).contains("twice"));
    assert!(refused(&[file("a", vec![]), file("a/b", vec![])]).contains("twice"));
    assert!(refused(&[file("a:b", vec![])]).contains("cannot be a name"));
    assert!(build(&Options { label: "twelve bytes".into(), ..options(1 << 20) }, &[]).is_err());
    assert!(build(&options(1000), &[]).is_err());
    assert_eq!(room_for(&[file("big", vec![1; 5 << 20])], 1 << 20).unwrap(), 6 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn files_are_read_as_they_were_written(
        files in prop::collection::btree_map("[a-z]{1,3}(/[A-Za-z0-9 _é]{0,20}[a-z]){0,3}\\.[A-Za-z]{1,5}", 0..5000usize, 0..40),
        size in prop::sample::select(vec![1u64, 4, 40]),
    ) {
        let mut expected = BTreeMap::new();
        let mut given = Vec::new();
        for (path, length) in files {
            // The same in capitals would be there twice.
            let same = |other: &String| other.eq_ignore_ascii_case(&path);
            if expected.keys().any(same) {
                continue;
            }
            let bytes: Vec<u8> = (0..length).map(|at| (at * 31 + length) as u8).collect();
            given.push(file(&path, bytes.clone()));
            expected.insert(path, bytes);
        }
        let options = options(size << 20);
        let built = match build(&options, &given) {
            Ok(built) => built,
            Err(error) => {
                // Directories may differ by case only.
                prop_assert!(error.to_string().contains("twice"), "{}", error);
                return Ok(());
            }
        };
        let volume = Volume::open(Arc::new(built)).unwrap();
        let found: Vec<Entry> = volume.files().unwrap().into_iter().filter(|entry| !entry.is_directory).collect();
        // A directory has the case of whoever came first.
        let found: BTreeMap<String, Vec<u8>> =
            found.iter().map(|entry| (entry.path.to_ascii_lowercase(), contents(&volume, entry))).collect();
        let expected = expected.into_iter().map(|(path, bytes)| (path.to_ascii_lowercase(), bytes)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn damage_does_no_harm(at in prop::collection::vec((0..40_000usize, any::<u8>()), 1..20), cut in 0..60_000usize) {
        let built = build(&options(1 << 20), &[file("EFI/BOOT/bootx64.efi", vec![5; 9000]), file("x", vec![1; 9])]).unwrap();
        let mut bytes = vec![0; 1 << 20];
        built.read_exact_at(&mut bytes, 0).unwrap();
        for (place, value) in at {
            bytes[place] = value;
        }
        let cut = bytes[..cut].to_vec();
        for damaged in [bytes, cut] {
            let Ok(volume) = Volume::open(Arc::new(damaged)) else { continue };
            for entry in volume.files().unwrap_or_default() {
                let _ = volume.read(&entry, |_| Ok::<_, Error>(()));
            }
        }
    }
}
