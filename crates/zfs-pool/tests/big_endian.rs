//! A pool as a big-endian machine writes it.
//!
//! There is no such machine at hand. `tests/data/big-endian/swap-bytes.py`, which shares nothing with this reader, made
//! the pool of another one: every block swapped as its type wants it, every checksum that of the other byte order. `zdb`
//! finds nothing wrong with it either.

mod support;

use std::fmt::Write;
use std::path::Path;

use zfs_ondisk::bytes::ByteOrder;
use zfs_pool::Pool;
use zfs_pool::check::check;
use zfs_pool::fs::{FileSystem, FileType};

fn pool() -> (tempfile::TempDir, Pool) {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("pool.img");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/big-endian/pool.img.zst");
    let packed = std::fs::File::open(kept).expect("the pool is kept with the tests");
    support::write_sparse(zstd::Decoder::new(packed).expect("a Zstandard stream"), &image);
    let pool = Pool::open_paths([image]).expect("a sound pool");
    (folder, pool)
}

#[test]
fn nothing_is_wrong_with_a_pool_of_the_other_byte_order() {
    let (_folder, pool) = pool();
    assert!(pool.labels()[0].uberblocks.iter().all(|found| found.order == ByteOrder::Big));
    let report = check(&pool).expect("it can be examined");
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!((findings, report.bytes), (vec![], report.allocated));
    assert!(report.blocks > 400 && report.objects > 380, "{report:?}");
}

#[test]
fn files_of_the_other_byte_order_are_read() {
    let (_folder, pool) = pool();
    let files = |name: &str| FileSystem::open(&pool.dataset(name).expect("a dataset")).expect("a file system");
    let contents = |name: &str, path: &str| {
        let file = files(name).lookup(path.as_bytes()).expect("a file");
        let mut bytes = vec![0; file.attributes().size as usize];
        file.read_at(0, &mut bytes).expect("sound blocks");
        String::from_utf8(bytes).expect("a text")
    };
    let mut lines = String::new();
    (0..120_000).for_each(|number| writeln!(lines, "{number}").expect("room"));
    assert!(contents("zroot", "/big") == lines);
    assert!(contents("zroot@s", "/sparse").trim_start_matches('\0') == "end");
    for number in 0..300 {
        let path = format!("/a-file-with-a-long-name-so-that-the-directory-is-fat-{number:04}");
        assert_eq!(contents("zroot/many", &path), number.to_string());
    }
    let xattr = |name: &str, path: &str| {
        let file = files(name).lookup(path.as_bytes()).expect("a file");
        file.xattrs().expect("extended attributes").pop().expect("one of them").1
    };
    assert_eq!(xattr("zroot", "/big"), [b'b'; 2000], "in a spill block");
    let in_directory = "/a-file-with-a-long-name-so-that-the-directory-is-fat-0007";
    assert_eq!(xattr("zroot/many", in_directory), b"inside", "in a directory");
    let device = files("zroot/d").lookup(b"/dev").expect("a device");
    assert_eq!(device.attributes().file_type(), Some(FileType::CharacterDevice));
    assert_eq!(device.acl().expect("an ACL").expect("is there").len(), 3);
    let link = files("zroot/d@s").lookup(b"/long").expect("a link");
    assert_eq!(link.link_target().expect("a target"), [b'x'; 300]);
}
