//! Damaged and made-up input is refused or read, never a panic.

mod support;

use proptest::prelude::*;
use support::{Body, Form, Item, Sparse, Spec, write_mtree, write_tar};
use tree::{Builder, Error, Kind, Options};

fn sample() -> Spec {
    let mut file = Item::new(Body::File { data: vec![(600, vec![1; 700]), (5000, vec![2; 10])], size: 9000 });
    file.xattrs = vec![(b"user.a".to_vec(), b"value".to_vec())];
    [
        ("d", Item::new(Body::Directory)),
        ("d/f", file),
        ("d/g", Item::new(Body::Link(b"d/f".to_vec()))),
        ("d/p", Item::new(Body::Fifo)),
        ("s", Item::new(Body::Symlink(b"d/f".to_vec()))),
    ]
    .map(|(path, item)| (path.as_bytes().to_vec(), item))
    .into()
}

/// Builds a tree and reads a little of every file.
fn read(bytes: &[u8], manifest: bool) -> Result<usize, Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("input");
    std::fs::write(&path, bytes).unwrap();
    let mut builder = Builder::new(Options { spool: directory.path().to_path_buf(), ..Options::default() })?;
    if manifest {
        builder.add_mtree(&path, directory.path())?;
    } else {
        builder.add_tar(&path)?;
    }
    let tree = builder.finish()?;
    for id in tree.nodes().filter(|&id| tree.node(id).kind == Kind::File) {
        let content = tree.open(id)?;
        let mut buffer = vec![0; content.size().min(20_000) as usize];
        content.read_exact_at(&mut buffer, 0)?;
        let last = content.size() - buffer.len() as u64;
        content.read_exact_at(&mut buffer, last)?;
        let mut at = 0;
        while let Some(range) = content.next_data(at)? {
            assert!(range.start >= at && range.end > range.start && range.end <= content.size());
            at = range.end;
        }
    }
    Ok(tree.len())
}

#[test]
fn every_truncation_of_an_archive_is_noticed() {
    for sparse in [Sparse::No, Sparse::Old, Sparse::Pax10] {
        let bytes = write_tar(&sample(), sparse);
        let whole = read(&bytes, false).unwrap();
        assert_eq!(whole, 5);
        for length in (0..bytes.len() - 1024).step_by(128) {
            let error = read(&bytes[..length], false).unwrap_err();
            let Error::Archive { offset, .. } = error else { panic!("{error}") };
            assert!(offset <= length as u64);
        }
    }
}

#[test]
fn every_truncation_of_a_compressed_archive_is_noticed() {
    let bytes = zstd::encode_all(&write_tar(&sample(), Sparse::No)[..], 3).unwrap();
    for length in 4..bytes.len() {
        assert!(read(&bytes[..length], false).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_in_an_archive(
        which in 0..5usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u32), 1..6),
        mend in any::<bool>(),
    ) {
        let sparse = [Sparse::No, Sparse::Old, Sparse::Pax00, Sparse::Pax01, Sparse::Pax10][which];
        let mut bytes = write_tar(&sample(), sparse);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let block = at - at % 512;
            if mend && &bytes[block + 257..block + 262] == b"ustar" {
                // With a good checksum the damage reaches what lies behind it.
                let header = support::finish_header(bytes[block..block + 512].try_into().unwrap());
                bytes[block..block + 512].copy_from_slice(&header);
            }
        }
        let _ = read(&bytes, false);
    }

    #[test]
    fn flipped_bits_in_a_compressed_archive(
        which in 0..2usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u32), 1..4),
    ) {
        use std::io::Read;
        let plain = write_tar(&sample(), Sparse::No);
        let mut bytes = match which {
            0 => zstd::encode_all(&plain[..], 3).unwrap(),
            _ => {
                let mut out = Vec::new();
                liblzma::read::XzEncoder::new(&plain[..], 1).read_to_end(&mut out).unwrap();
                out
            }
        };
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        let _ = read(&bytes, false);
    }

    #[test]
    fn made_up_extended_headers(records in "([0-9]{1,3} (GNU.sparse.(map|size|major|realsize|offset|numbytes)|size|path|mtime|SCHILY.(acl.ace|acl.access|fflags|xattr.user.a)|LIBARCHIVE.xattr.user.b)=[-0-9a-z:,./@]{0,12}\n){0,5}") {
        let item = Item::file(b"");
        let mut fixed = Vec::new();
        for line in records.lines() {
            if let Some((_, rest)) = line.split_once(' ') {
                let (keyword, value) = rest.split_once('=').unwrap();
                support::pax_record(&mut fixed, keyword, value.as_bytes());
            }
        }
        for records in [records.into_bytes(), fixed] {
            let mut bytes = support::header(b"x", b'x', records.len() as u64, &item, b"").to_vec();
            bytes.extend_from_slice(&records);
            support::pad(&mut bytes);
            bytes.extend_from_slice(&support::header(b"f", b'0', 3, &item, b""));
            bytes.extend_from_slice(b"abc");
            support::pad(&mut bytes);
            bytes.extend_from_slice(&[0; 1024]);
            let _ = read(&bytes, false);
        }
    }

    #[test]
    fn flipped_bits_in_a_manifest(
        nested in any::<bool>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..6),
    ) {
        let mut bytes = write_mtree(&sample(), if nested { Form::Nested } else { Form::Paths });
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Err(error) = read(&bytes, true) {
            let of_the_manifest = matches!(error, Error::Manifest { .. } | Error::Io { .. });
            prop_assert!(of_the_manifest, "{}", error);
        }
    }

    #[test]
    fn made_up_manifests(text in "((/set|/unset|\\.|\\.\\.|\\./a|a|b/c|\\\\M-a)( (type=(dir|file|link|char|fifo)|mode=[0-9a-z+=,]{0,5}|uid=[0-9]{0,11}|link=[a-z\\\\]{0,4}|device=[0-9a-z,]{0,8}|time=[-0-9.]{0,9}|flags=[a-z,]{0,6}|optional|contents=[a-z/.]{0,4}|all))*\n){0,8}") {
        let _ = read(text.as_bytes(), true);
    }

    #[test]
    fn made_up_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = read(&bytes, false);
        let _ = read(&bytes, true);
    }
}
