//! Any tree, built with any options, reads back as it was: by the reader of
//! `zfs-pool`, which shares no code with the writer but the structures.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tree::{Kind, Node, NodeId, Tree};
use zfs_image::{
    DatasetSpec, Device, ImageFile, KeyFile, PoolSpec, Resources, Silent, SnapshotSpec, VdevKind, VdevSpec, build,
    build_on,
};
use zfs_ondisk::feature::FeatureSet;
use zfs_pool::{FileSystem, Pool, Secret, check};

const RESOURCES: Resources = Resources { threads: 2, memory: 256 << 20 };

/// What is generated for one name.
#[derive(Clone, Debug)]
enum Made {
    /// So many bytes that do not repeat, the middle half of them zeros if asked for.
    File {
        length: usize,
        hole: bool,
    },
    Directory,
    Symlink(usize),
    /// Another name of the last file.
    Link,
}

fn made() -> impl Strategy<Value = Made> {
    let edges = [0, 1, 511, 512, 513, 4095, 4096, 4097, 16383, 16384, 16385, 131_071, 131_072, 131_073];
    let length = prop_oneof![proptest::sample::select(edges.to_vec()), 0usize..300_000];
    prop_oneof![
        4 => (length, any::<bool>()).prop_map(|(length, hole)| Made::File { length, hole }),
        2 => Just(Made::Directory),
        1 => (1usize..1024).prop_map(Made::Symlink),
        1 => Just(Made::Link),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => b'a'..=b'z', 1 => (1u8..=255).prop_filter("no slash", |byte| *byte != b'/')];
    proptest::collection::vec(byte, 1..70).prop_filter("a name of its own", |name| name != b"." && name != b"..")
}

/// Names and what they are, each in one of the directories made before.
fn plan() -> impl Strategy<Value = Vec<(usize, Vec<u8>, Made)>> {
    proptest::collection::vec((any::<usize>(), name(), made()), 0..40)
}

fn make(root: &Path, plan: &[(usize, Vec<u8>, Made)]) {
    let mut directories = vec![root.to_owned()];
    let mut files = Vec::new();
    for (number, (place, name, made)) in plan.iter().enumerate() {
        let path = directories[place % directories.len()].join(OsStr::from_bytes(name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match made {
            Made::File { length, hole } => {
                let mut bytes = noise(*length, number as u64);
                if *hole {
                    bytes[length / 4..length * 3 / 4].fill(0);
                }
                fs::write(&path, bytes).unwrap();
                files.push(path);
            }
            Made::Directory => {
                fs::create_dir(&path).unwrap();
                directories.push(path);
            }
            Made::Symlink(length) => symlink("x".repeat(*length), &path).unwrap(),
            Made::Link => {
                if let Some(file) = files.last() {
                    fs::hard_link(file, &path).unwrap();
                }
            }
        }
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) | 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A pool, and how many devices it has.
fn options() -> impl Strategy<Value = (PoolSpec, usize)> {
    let select = |values: &'static [&'static str]| proptest::sample::select(values);
    (
        9u32..=14,
        select(&["off", "lz4", "lzjb", "zle", "gzip-1", "zstd-1", "zstd-fast-10"]),
        select(&["on", "fletcher2", "sha256", "sha512", "skein", "off"]),
        select(&["512", "4k", "16k", "128k", "1m"]),
        select(&["legacy", "auto", "4k", "16k"]),
        select(&["1", "2", "3"]),
        select(&["all", "most", "some", "none"]),
        any::<bool>(),
        (0usize..3, 0usize..4, encryption(), vdevs()),
    )
        .prop_map(|(ashift, compression, checksum, record, dnode, copies, redundant, legacy, more)| {
            let (snapshots, clones, (encryption, key), (vdev, devices)) = more;
            let mut spec = PoolSpec::new("pool");
            spec.ashift = ashift;
            spec.vdev = vdev;
            let own = if legacy {
                spec.features = FeatureSet::EMPTY;
                format!("pool;compression=gzip-1;checksum=sha256;copies={copies}")
            } else {
                format!(
                    "pool;compression={compression};checksum={checksum};recordsize={record};dnodesize={dnode};\
                     copies={};redundant_metadata={redundant}{encryption}",
                    if key.is_some() { copies.replace('3', "2") } else { copies.to_owned() }
                )
            };
            let others = ["pool/empty;mountpoint=none;quota=1g", "pool/empty/below;org.example:key=value"];
            spec.datasets =
                others.iter().chain([&own.as_str()]).map(|text| DatasetSpec::parse(text).unwrap()).collect();
            if let Some(dataset) = spec.datasets.iter_mut().find(|dataset| dataset.name == "pool" && !legacy) {
                dataset.key = key.map(|key| KeyFile::new(key.to_vec()));
            }
            spec.snapshots = (0..snapshots).map(|number| SnapshotSpec::parse(&format!("@{number}")).unwrap()).collect();
            if snapshots > 0 {
                for number in 0..clones {
                    let mut clone = DatasetSpec::parse(&format!("pool/clone{number};mountpoint=none")).unwrap();
                    clone.origin = Some(format!("pool@{}", number % snapshots));
                    spec.datasets.push(clone);
                }
            }
            (spec, devices)
        })
}

/// Vdevs, and of how many devices they are.
fn vdevs() -> impl Strategy<Value = (VdevSpec, usize)> {
    let kind = prop_oneof![
        3 => Just(VdevKind::Single),
        1 => Just(VdevKind::Mirror),
        3 => (1u8..=3).prop_map(VdevKind::Raidz),
    ];
    (kind, prop_oneof![2 => Just(1usize), 1 => 2usize..=3], 0usize..4).prop_map(|(kind, count, more)| {
        let children = (kind.min_devices() + more).min(kind.max_devices());
        (VdevSpec { kind, count, ..VdevSpec::default() }, count * children)
    })
}

const PASSPHRASE: &[u8] = b"correct horse\n";
const RAW: &[u8] = b"0123456789abcdef0123456789abcdef";
const HEX: &[u8] = b"000102030405060708090A0b0c0d0e0f000102030405060708090A0b0c0d0e0f\n";

/// Properties that encrypt a dataset, and its key; or nothing.
fn encryption() -> impl Strategy<Value = (String, Option<&'static [u8]>)> {
    let suites = ["on", "aes-128-ccm", "aes-192-ccm", "aes-256-ccm", "aes-128-gcm", "aes-192-gcm", "aes-256-gcm"];
    let formats = [("raw", RAW), ("hex", HEX), ("passphrase;pbkdf2iters=100000", PASSPHRASE)];
    let encrypted = (proptest::sample::select(suites.to_vec()), proptest::sample::select(formats.to_vec()));
    prop_oneof![
        Just((String::new(), None)),
        encrypted.prop_map(|(suite, (format, key))| (format!(";encryption={suite};keyformat={format}"), Some(key))),
    ]
}

fn scan(root: &Path) -> Tree {
    let mut builder = tree::Builder::new(tree::Options::default()).unwrap();
    builder.add_directory(root).unwrap();
    builder.finish().unwrap()
}

fn image(tree: &Tree, spec: &PoolSpec, threads: usize, path: &Path) {
    images(tree, spec, threads, &[path.to_owned()]);
}

fn images(tree: &Tree, spec: &PoolSpec, threads: usize, paths: &[PathBuf]) {
    let files: Vec<ImageFile> =
        paths.iter().map(|path| ImageFile::new(fs::File::create(path).unwrap(), path)).collect();
    let devices: Vec<&dyn Device> = files.iter().map(|file| file as _).collect();
    build_on(tree, spec, Resources { threads, ..RESOURCES }, &devices, &Silent).unwrap();
}

/// Whether two files have the same bytes.
fn same(one: &Path, other: &Path) -> bool {
    let (one, other) = (fs::File::open(one).unwrap(), fs::File::open(other).unwrap());
    let size = one.metadata().unwrap().len();
    let (mut a, mut b) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    let mut at = 0;
    while at < size {
        let length = a.len().min((size - at) as usize);
        one.read_exact_at(&mut a[..length], at).unwrap();
        other.read_exact_at(&mut b[..length], at).unwrap();
        if a[..length] != b[..length] {
            return false;
        }
        at += length as u64;
    }
    size == other.metadata().unwrap().len()
}

/// A file as both sides tell of it.
#[derive(Debug, PartialEq)]
struct Seen {
    mode: u64,
    owner: (u64, u64),
    seconds: i64,
    nanoseconds: u64,
    links: u64,
    contents: Vec<u8>,
}

fn in_tree(tree: &Tree, id: NodeId) -> Seen {
    let Node { kind, mode, uid, gid, mtime, links, size, .. } = tree.node(id);
    let (kind_bits, contents) = match kind {
        Kind::Directory => (0o040000, Vec::new()),
        Kind::Symlink => (0o120000, tree.symlink_target(id).to_vec()),
        _ => {
            let mut contents = vec![0; size as usize];
            tree.open(id).unwrap().read_exact_at(&mut contents, 0).unwrap();
            (0o100000, contents)
        }
    };
    Seen {
        mode: kind_bits | u64::from(mode),
        owner: (uid.into(), gid.into()),
        seconds: mtime.seconds,
        nanoseconds: mtime.nanoseconds.into(),
        links: links.into(),
        contents,
    }
}

fn all_in_tree(tree: &Tree, directory: NodeId, path: &[u8], seen: &mut BTreeMap<Vec<u8>, Seen>) {
    seen.insert(path.to_vec(), in_tree(tree, directory));
    for entry in tree.entries(directory) {
        let path = [path, b"/", entry.name].concat();
        match tree.node(entry.node).kind {
            Kind::Directory => all_in_tree(tree, entry.node, &path, seen),
            _ => drop(seen.insert(path, in_tree(tree, entry.node))),
        }
    }
}

fn all_in_pool(file: &zfs_pool::fs::File, path: &[u8], seen: &mut BTreeMap<Vec<u8>, Seen>) {
    let attributes = file.attributes();
    let contents = match attributes.mode >> 12 {
        0o04 => Vec::new(),
        0o12 => file.link_target().unwrap(),
        _ => {
            let mut contents = vec![0; attributes.size as usize];
            assert_eq!(file.read_at(0, &mut contents).unwrap(), contents.len());
            contents
        }
    };
    let file_seen = Seen {
        mode: attributes.mode,
        owner: (attributes.uid, attributes.gid),
        seconds: attributes.modified.seconds,
        nanoseconds: attributes.modified.nanoseconds,
        links: attributes.links,
        contents,
    };
    seen.insert(path.to_vec(), file_seen);
    if attributes.is_dir() {
        let entries: Vec<_> = file.directory().unwrap().entries().collect::<Result<_, _>>().unwrap();
        for entry in entries {
            let below = file.file_system().file(entry.object).unwrap();
            all_in_pool(&below, &[path, b"/", &entry.name].concat(), seen);
        }
    }
}

fn open(path: &Path) -> Pool {
    open_all(&[path.to_owned()])
}

fn open_all(paths: &[PathBuf]) -> Pool {
    let pool = Pool::open_paths(paths).unwrap();
    pool.add_secret(Secret::passphrase_in(PASSPHRASE));
    pool.add_secret(Secret::key_in(RAW).unwrap());
    pool.add_secret(Secret::key_in(HEX).unwrap());
    pool
}

fn root_of(pool: &Pool, dataset: &str) -> zfs_pool::fs::File {
    FileSystem::open(&pool.dataset(dataset).unwrap()).unwrap().root().unwrap()
}

/// What the strict check has to say against an image.
fn findings(path: &Path) -> Vec<String> {
    findings_in(&open(path))
}

fn findings_in(pool: &Pool) -> Vec<String> {
    let report = check::check(pool).unwrap();
    report.findings.iter().map(|finding| format!("{finding:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_with_any_options_reads_back_as_it_was(plan in plan(), (spec, devices) in options()) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let paths = |name: &str| -> Vec<PathBuf> {
            (0..devices).map(|number| directory.path().join(format!("{name}{number}"))).collect()
        };
        let path = paths("image");
        fs::create_dir(&root).unwrap();
        make(&root, &plan);
        let tree = scan(&root);
        images(&tree, &spec, 2, &path);

        let pool = open_all(&path);
        prop_assert_eq!(findings_in(&pool), [""; 0]);
        let mut expected = BTreeMap::new();
        all_in_tree(&tree, tree.root(), b"", &mut expected);
        let snapshots = spec.snapshots.iter().map(|snapshot| format!("pool@{}", snapshot.name));
        let clones = spec.datasets.iter().filter(|dataset| dataset.origin.is_some()).map(|clone| clone.name.clone());
        for name in snapshots.chain(clones).chain(["pool".to_owned()]) {
            let mut found = BTreeMap::new();
            all_in_pool(&root_of(&pool, &name), b"", &mut found);
            prop_assert_eq!(&found, &expected);
        }

        // As many devices of each vdev as it can do without are lost, the first ones.
        let children = devices / spec.vdev.count;
        let lost = match spec.vdev.kind {
            VdevKind::Single => 0,
            VdevKind::Mirror => children - 1,
            VdevKind::Raidz(parity) => parity.into(),
        };
        let left: Vec<PathBuf> = path.chunks(children).flat_map(|vdev| vdev[lost..].to_vec()).collect();
        let mut found = BTreeMap::new();
        all_in_pool(&root_of(&open_all(&left), "pool"), b"", &mut found);
        prop_assert_eq!(&found, &expected);

        let again = paths("again");
        images(&tree, &spec, 1, &again);
        for (again, path) in again.iter().zip(&path) {
            prop_assert!(same(again, path), "one thread makes other bytes than two");
        }
    }
}

/// A device that is slow to write.
struct Slow {
    file: ImageFile,
    delay: Duration,
}

impl Device for Slow {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), zfs_image::Error> {
        std::thread::sleep(self.delay);
        self.file.write_at(bytes, offset)
    }

    fn set_size(&self, size: u64) -> Result<(), zfs_image::Error> {
        self.file.set_size(size)
    }
}

/// Where blocks went once depended on whether the threads or the device were faster, as soon as more was under way than the
/// buffers hold. The links have dnodes but no blocks, so it showed where theirs were.
#[test]
fn the_bytes_do_not_depend_on_the_speed_of_threads_and_device() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir(&root).unwrap();
    for number in 0..48 {
        fs::write(root.join(format!("{number:02}")), vec![b'x'; 500_000 + number * 8192]).unwrap();
        for link in 0..40 {
            symlink("target", root.join(format!("{number:02} {link}"))).unwrap();
        }
    }
    let tree = scan(&root);
    let mut spec = PoolSpec::new("pool");
    spec.datasets.push(DatasetSpec::parse("pool;mountpoint=/;compression=off").unwrap());
    let image = |name: &str, threads, delay| {
        let path = directory.path().join(name);
        let file = ImageFile::new(fs::File::create(&path).unwrap(), &path);
        let device = Slow { file, delay: Duration::from_micros(delay) };
        build(&tree, &spec, Resources { threads, ..RESOURCES }, &device, &Silent).unwrap();
        path
    };
    let first = image("first", 1, 0);
    assert_eq!(findings(&first), [""; 0]);
    for (name, threads, delay) in [("second", 3, 0), ("third", 1, 2000), ("fourth", 3, 2000)] {
        assert!(same(&first, &image(name, threads, delay)), "{threads} threads, a delay of {delay} microseconds");
    }
}

#[test]
fn a_directory_of_many_names_is_a_table_of_several_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let (root, path) = (directory.path().join("root"), directory.path().join("image"));
    fs::create_dir(&root).unwrap();
    for number in 0..20_000 {
        fs::write(root.join(format!("a rather long name for file number {number:08} of many")), "").unwrap();
    }
    image(&scan(&root), &PoolSpec::new("pool"), 2, &path);
    assert_eq!(findings(&path), [""; 0]);
    assert_eq!(root_of(&open(&path), "pool").directory().unwrap().entries().count(), 20_000);
}

#[test]
fn a_file_of_many_gigabytes_of_holes_stays_sparse() {
    let directory = tempfile::tempdir().unwrap();
    let (root, path) = (directory.path().join("root"), directory.path().join("image"));
    fs::create_dir(&root).unwrap();
    let size = 300u64 << 30;
    let file = fs::File::create(root.join("sparse")).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"needle", 200 << 30).unwrap();
    image(&scan(&root), &PoolSpec::new("pool"), 2, &path);

    assert_eq!(findings(&path), [""; 0]);
    let pool = open(&path);
    let file = FileSystem::open(&pool.dataset("pool").unwrap()).unwrap().lookup(b"/sparse").unwrap();
    assert_eq!(file.attributes().size, size);
    let mut needle = [0; 6];
    file.read_at(200 << 30, &mut needle).unwrap();
    assert_eq!(&needle, b"needle");
}

#[test]
fn an_image_that_is_too_small_tells_the_size_that_would_do() {
    let directory = tempfile::tempdir().unwrap();
    let (root, path) = (directory.path().join("root"), directory.path().join("image"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("noise"), noise(80 << 20, 1)).unwrap();
    let tree = scan(&root);
    let mut spec = PoolSpec::new("pool");
    spec.size = Some(64 << 20);
    let device = ImageFile::new(fs::File::create(&path).unwrap(), &path);
    let error = build(&tree, &spec, RESOURCES, &device, &Silent).unwrap_err();
    let zfs_image::Error::TooSmall { needed, .. } = error else { panic!("{error}") };

    spec.size = Some(needed);
    image(&tree, &spec, 2, &path);
    assert_eq!(findings(&path), [""; 0]);
}
