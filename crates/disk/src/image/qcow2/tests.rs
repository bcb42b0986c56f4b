use std::io::Write;

use flate2::Compression as Level;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::*;

const CLUSTER_BITS: u32 = 9;
const CLUSTER: usize = 1 << CLUSTER_BITS;
const L2_ENTRIES: usize = CLUSTER / 8;

/// A cluster of the disk.
#[derive(Clone, Debug)]
enum Cluster {
    Missing,
    Zeros,
    Stored(u8),
    Compressed(u8),
}

fn cluster() -> impl Strategy<Value = Cluster> {
    prop_oneof![
        Just(Cluster::Missing),
        Just(Cluster::Zeros),
        any::<u8>().prop_map(Cluster::Stored),
        any::<u8>().prop_map(Cluster::Compressed),
    ]
}

fn contents(seed: u8) -> Vec<u8> {
    (0..CLUSTER).map(|at| (at / 7) as u8 ^ seed).collect()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Level::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image of version 3 with these clusters, the last `cut` bytes left out of the disk.
fn image(clusters: &[Cluster], cut: u64) -> Vec<u8> {
    let tables = clusters.len().div_ceil(L2_ENTRIES).max(1);
    let l1_clusters = (tables * 8).div_ceil(CLUSTER);
    let mut file = vec![0; (1 + l1_clusters + tables) * CLUSTER];
    let put = |file: &mut Vec<u8>, at: usize, value: u64| file[at..at + 8].copy_from_slice(&value.to_be_bytes());
    file[..4].copy_from_slice(&MAGIC);
    file[4..8].copy_from_slice(&3u32.to_be_bytes());
    file[20..24].copy_from_slice(&CLUSTER_BITS.to_be_bytes());
    put(&mut file, 24, (clusters.len() * CLUSTER) as u64 - cut);
    file[36..40].copy_from_slice(&(tables as u32).to_be_bytes());
    put(&mut file, 40, CLUSTER as u64);
    file[100..104].copy_from_slice(&104u32.to_be_bytes());
    for table in 0..tables {
        put(&mut file, CLUSTER + table * 8, ((1 + l1_clusters + table) * CLUSTER) as u64 | 1 << 63);
    }
    for (number, cluster) in clusters.iter().enumerate() {
        let at = (1 + l1_clusters) * CLUSTER + number * 8;
        let end = file.len().next_multiple_of(CLUSTER);
        match cluster {
            Cluster::Missing => {}
            Cluster::Zeros => put(&mut file, at, ZERO),
            Cluster::Stored(seed) => {
                file.resize(end, 0);
                file.extend(contents(*seed));
                put(&mut file, at, end as u64 | 1 << 63);
            }
            Cluster::Compressed(seed) => {
                // Compressed clusters begin anywhere and end within a sector.
                let start = file.len();
                file.extend(deflate(&contents(*seed)));
                let sectors = ((file.len() - 1) / 512 - start / 512) as u64;
                put(&mut file, at, COMPRESSED | sectors << (62 - (CLUSTER_BITS - 8)) | start as u64);
            }
        }
    }
    file
}

fn disk(clusters: &[Cluster], cut: u64) -> Vec<u8> {
    let mut disk: Vec<u8> = clusters
        .iter()
        .flat_map(|cluster| match cluster {
            Cluster::Missing | Cluster::Zeros => vec![0; CLUSTER],
            Cluster::Stored(seed) | Cluster::Compressed(seed) => contents(*seed),
        })
        .collect();
    disk.truncate(disk.len() - cut as usize);
    disk
}

fn open(file: Vec<u8>) -> Result<Qcow2, Error> {
    Qcow2::open(Arc::new(file), Path::new("test.qcow2"), 0)
}

fn read_all(image: &Qcow2) -> io::Result<Vec<u8>> {
    let mut disk = vec![0; image.size() as usize];
    image.read_exact_at(&mut disk, 0)?;
    Ok(disk)
}

proptest! {
    #[test]
    fn every_part_of_a_disk_is_read(
        clusters in proptest::collection::vec(cluster(), 1..200),
        cut in 0..CLUSTER as u64,
        from in any::<prop::sample::Index>(),
        length in any::<prop::sample::Index>(),
    ) {
        let expected = disk(&clusters, cut);
        let image = open(image(&clusters, cut)).unwrap();
        prop_assert_eq!(&read_all(&image).unwrap(), &expected);
        let from = from.index(expected.len());
        let mut part = vec![0; length.index(expected.len() - from + 1)];
        image.read_exact_at(&mut part, from as u64).unwrap();
        prop_assert_eq!(&part[..], &expected[from..from + part.len()]);
        prop_assert!(image.read_exact_at(&mut [0], expected.len() as u64).is_err());
    }

    #[test]
    fn a_damaged_image_is_read_or_refused(
        clusters in proptest::collection::vec(cluster(), 1..100),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = image(&clusters, 0);
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let length = file.len() - cut.index(CLUSTER);
        file.truncate(length);
        if let Ok(image) = open(file)
            && image.size() < 1 << 20
        {
            let _ = read_all(&image);
        }
    }

    #[test]
    fn anything_behind_the_magic_number_is_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut file = MAGIC.to_vec();
        file.extend([0, 0, 0, 3]);
        file.extend(tail);
        let _ = open(file);
    }
}

fn refused(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut file = image(&[Cluster::Stored(1)], 0);
    change(&mut file);
    open(file).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_is_not_supported_is_named_with_the_way_out() {
    assert_eq!(
        refused(|file| file[35] = 1),
        "an encrypted qcow2 image is not supported: qemu-img convert can decrypt it"
    );
    assert!(refused(|file| file[79] = 4).contains("that file is a raw image"));
    assert!(refused(|file| file[79] = 0x80).contains("features 0x80"));
    assert!(refused(|file| file[7] = 4).contains("version of a qcow2 image is 4, expected 2 or 3"));
    assert!(refused(|file| file[23] = 40).contains("cluster_bits"));
}

#[test]
fn a_disk_that_its_tables_cannot_hold_is_refused() {
    assert!(refused(|file| file[24] = 0x7f).contains("l1_size"));
    assert!(refused(|file| file[40] = 1).contains("l1_table_offset"));
}

#[test]
fn a_cluster_beyond_the_file_is_no_zeros() {
    let mut file = image(&[Cluster::Stored(1)], 0);
    file.truncate(file.len() - CLUSTER);
    let error = read_all(&open(file).unwrap()).unwrap_err();
    assert!(error.to_string().contains("beyond the end of the file"), "{error}");
}

/// An image in `folder` that is based on `backing`.
fn based(folder: &Path, name: &str, backing: &str, clusters: &[Cluster]) -> PathBuf {
    let mut file = image(clusters, 0);
    file[8..16].copy_from_slice(&256u64.to_be_bytes());
    file[16..20].copy_from_slice(&(backing.len() as u32).to_be_bytes());
    file[256..256 + backing.len()].copy_from_slice(backing.as_bytes());
    let path = folder.join(name);
    std::fs::write(&path, file).unwrap();
    path
}

#[test]
fn what_an_image_lacks_is_in_the_one_that_it_is_based_on() {
    let folder = tempfile::tempdir().unwrap();
    let below = [Cluster::Stored(1), Cluster::Stored(2), Cluster::Compressed(3)];
    std::fs::write(folder.path().join("below"), image(&below, 100)).unwrap();
    let above = [Cluster::Missing, Cluster::Zeros, Cluster::Missing, Cluster::Missing];
    let path = based(folder.path(), "above", "below", &above);
    let image = super::super::open(&path).unwrap();
    let mut disk = vec![1; 4 * CLUSTER];
    image.disk.read_exact_at(&mut disk, 0).unwrap();
    let mut expected = [contents(1), vec![0; CLUSTER], contents(3), vec![0; CLUSTER]].concat();
    expected[3 * CLUSTER - 100..3 * CLUSTER].fill(0);
    assert!(disk == expected);
}

#[test]
fn an_image_does_not_lead_out_of_its_folder_or_in_a_circle() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |backing: &str| {
        let path = based(folder.path(), "image", backing, &[Cluster::Missing]);
        super::super::open(&path).map(|_| ()).unwrap_err().to_string()
    };
    for outside in ["/etc/passwd", "../other", "nbd://host/disk", "a/../../b"] {
        assert!(refused(outside).contains("qemu-img convert"), "{}", refused(outside));
    }
    assert_eq!(refused("image"), "the image is based on 'image', and that on others, too many or in a circle");
    assert!(refused("missing").starts_with("the image is based on 'missing', which cannot be read: "));
}
