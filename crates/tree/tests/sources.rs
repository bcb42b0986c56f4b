//! The same tree from a directory, an archive and a manifest.

mod support;

use proptest::prelude::*;
use support::{Body, Form, Item, Sparse, Spec, describe, has_xattrs, me, write_directory, write_mtree, write_tar};
use tree::{Builder, Options};

fn from_directory(root: &std::path::Path) -> String {
    let mut builder = Builder::new(Options::default()).unwrap();
    builder.add_directory(root).unwrap();
    describe(&builder.finish().unwrap())
}

fn from_tar(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("archive");
    std::fs::write(&path, bytes).unwrap();
    let mut builder = Builder::new(Options { spool: directory.path().to_path_buf(), ..Options::default() }).unwrap();
    builder.add_tar(&path).unwrap();
    describe(&builder.finish().unwrap())
}

fn from_mtree(manifest: &[u8], root: &std::path::Path) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manifest");
    std::fs::write(&path, manifest).unwrap();
    let mut builder = Builder::new(Options::default()).unwrap();
    builder.add_mtree(&path, root).unwrap();
    let tree = builder.finish().unwrap();
    assert_eq!(tree.warnings(), []);
    describe(&tree)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd: Vec<&[u8]> =
        vec![b"a b", b"x\ny", b"#h", b"back\\slash", b"\xff\xc3", b"...", b"k=v", b"*", b"-", b"\t", b"tail ", b"\\"];
    prop_oneof![
        4 => proptest::collection::vec(prop_oneof![b'a'..=b'd', b'0'..=b'2'], 1..4),
        2 => proptest::sample::select(odd).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>().prop_filter("no slash or NUL", |b| !matches!(b, 0 | b'/')), 1..256)
            .prop_filter("no dots", |name| name != b"." && name != b".."),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        3 => Just(Body::Directory),
        3 => (proptest::collection::vec((0..30_000u64, proptest::collection::vec(1..=255u8, 1..5000)), 0..6), 0..20_000u64)
            .prop_map(|(pieces, hole)| {
                let (mut data, mut end) = (Vec::new(), 0);
                for (gap, bytes) in pieces {
                    let start = end + 1 + gap;
                    end = start + bytes.len() as u64;
                    data.push((start, bytes));
                }
                Body::File { data, size: end + hole }
            }),
        1 => proptest::collection::vec(any::<u8>().prop_filter("no NUL", |b| *b != 0), 1..1023).prop_map(Body::Symlink),
        1 => Just(Body::Fifo),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let xattrs = proptest::collection::vec(("[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..40)), 0..3);
    (body(), 0..0o7777u32, 0..70_000u32, -2_000_000_000..4_000_000_000i64, 0..1_000_000_000u32, xattrs).prop_map(
        |(body, mode, id, seconds, nanoseconds, xattrs)| {
            let mut item = Item::new(body);
            if !matches!(item.body, Body::Symlink(_)) {
                item.mode = mode;
            }
            if me() == (0, 0) {
                (item.uid, item.gid) = (id, id / 2);
            } else {
                // Others must be able to read what they wrote, and must not set set-ID bits.
                item.mode = item.mode & 0o777 | 0o700;
            }
            (item.seconds, item.nanoseconds) = (seconds, nanoseconds);
            if matches!(item.body, Body::Directory | Body::File { .. }) {
                let mut names = std::collections::BTreeMap::new();
                names.extend(xattrs);
                item.xattrs =
                    names.into_iter().map(|(name, value)| (format!("user.{name}").into_bytes(), value)).collect();
            }
            item
        },
    )
}

/// Items at paths whose directories exist, and further names for some of them.
fn spec() -> impl Strategy<Value = Spec> {
    let node = (any::<prop::sample::Index>(), name(), item());
    let link = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), name());
    (proptest::collection::vec(node, 0..25), proptest::collection::vec(link, 0..4)).prop_map(|(nodes, links)| {
        let mut spec = Spec::new();
        let mut directories = vec![Vec::new()];
        let join = |directory: &Vec<u8>, name: Vec<u8>| {
            if directory.is_empty() { name } else { [directory, &b"/"[..], &name].concat() }
        };
        for (directory, name, item) in nodes {
            let path = join(directory.get(&directories), name);
            if path.len() < 3000 && !spec.contains_key(&path) {
                if matches!(item.body, Body::Directory) {
                    directories.push(path.clone());
                }
                spec.insert(path, item);
            }
        }
        for (to, directory, name) in links {
            let files: Vec<Vec<u8>> = spec
                .iter()
                .filter(|(_, item)| matches!(item.body, Body::File { .. }))
                .map(|(path, _)| path.clone())
                .collect();
            let path = join(directory.get(&directories), name);
            if !files.is_empty() && path.len() < 3000 && !spec.contains_key(&path) {
                let to = to.get(&files);
                // A link must come after what it leads to.
                if *to < path {
                    spec.insert(path, Item::new(Body::Link(to.clone())));
                }
            }
        }
        spec
    })
}

fn without_xattrs(mut spec: Spec) -> Spec {
    spec.values_mut().for_each(|item| item.xattrs.clear());
    spec
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_directory_and_its_archive_give_one_tree(spec in spec()) {
        let root = tempfile::tempdir().unwrap();
        let spec = if has_xattrs(root.path()) { spec } else { without_xattrs(spec) };
        write_directory(&spec, root.path());
        let expected = from_directory(root.path());
        for sparse in [Sparse::No, Sparse::Pax00, Sparse::Pax01, Sparse::Pax10] {
            prop_assert_eq!(&from_tar(&write_tar(&spec, sparse)), &expected, "{:?}", sparse);
        }
    }

    #[test]
    fn a_directory_and_its_manifest_give_one_tree(spec in spec()) {
        let root = tempfile::tempdir().unwrap();
        let spec = without_xattrs(spec);
        write_directory(&spec, root.path());
        let expected = from_directory(root.path());
        for form in [Form::Paths, Form::Nested] {
            prop_assert_eq!(&from_mtree(&write_mtree(&spec, form), root.path()), &expected, "{:?}", form);
        }
    }

    #[test]
    fn old_gnu_archives_carry_all_but_nanoseconds_and_attributes(spec in spec()) {
        let root = tempfile::tempdir().unwrap();
        let mut spec = without_xattrs(spec);
        spec.values_mut().for_each(|item| item.nanoseconds = 0);
        write_directory(&spec, root.path());
        prop_assert_eq!(from_tar(&write_tar(&spec, Sparse::Old)), from_directory(root.path()));
    }

    #[test]
    fn compressed_archives_give_the_same_tree(spec in spec()) {
        let plain = write_tar(&spec, Sparse::Pax10);
        let expected = from_tar(&plain);
        for (name, bytes) in compressed(&plain) {
            prop_assert_eq!(&from_tar(&bytes), &expected, "{}", name);
        }
    }

    #[test]
    fn a_tree_does_not_depend_on_the_order_of_names_on_disk(spec in spec()) {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spec = without_xattrs(spec);
        write_directory(&spec, one.path());
        // Names made and removed before move the others about.
        for number in 0..50 {
            std::fs::write(other.path().join(format!("filler{number}")), b"").unwrap();
        }
        for number in (0..50).rev() {
            std::fs::remove_file(other.path().join(format!("filler{number}"))).unwrap();
        }
        write_directory(&spec, other.path());
        prop_assert_eq!(from_directory(one.path()), from_directory(other.path()));
    }
}

/// The bytes in every compression, each as two members or frames.
fn compressed(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    use std::io::{Read, Write};
    let (first, second) = plain.split_at(plain.len() / 2);
    let both = |compress: &dyn Fn(&[u8]) -> Vec<u8>| [compress(first), compress(second)].concat();
    vec![
        (
            "gzip",
            both(&|part| {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(part).unwrap();
                encoder.finish().unwrap()
            }),
        ),
        (
            "bzip2",
            both(&|part| {
                let mut out = Vec::new();
                bzip2::read::BzEncoder::new(part, bzip2::Compression::fast()).read_to_end(&mut out).unwrap();
                out
            }),
        ),
        (
            "xz",
            both(&|part| {
                let mut out = Vec::new();
                liblzma::read::XzEncoder::new(part, 0).read_to_end(&mut out).unwrap();
                out
            }),
        ),
        ("zstd", both(&|part| zstd::encode_all(part, 1).unwrap())),
    ]
}
