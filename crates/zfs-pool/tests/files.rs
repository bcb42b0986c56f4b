//! Contents read ahead, and objects compared, in pools of the corpus.

mod support;

use zfs_pool::fs::{File, FileSystem, FileType, changed_objects};
use zfs_pool::{Error, Pool};

fn pool(test: &str, name: &str) -> Option<(support::Unpacked, Pool)> {
    let unpacked = support::unpack(test, name)?;
    let pool = Pool::open_paths(&unpacked.images).expect("a sound pool");
    Some((unpacked, pool))
}

fn files(pool: &Pool, name: &str) -> FileSystem {
    FileSystem::open(&pool.dataset(name).expect("a dataset")).expect("a file system")
}

/// All regular files below a directory.
fn regular_files(directory: &File, found: &mut Vec<File>) {
    for entry in directory.directory().expect("a directory").entries() {
        let file = directory.file_system().file(entry.expect("an entry").object).expect("a file");
        match file.attributes().file_type() {
            Some(FileType::Directory) => regular_files(&file, found),
            Some(FileType::Regular) => found.push(file),
            _ => {}
        }
    }
}

#[test]
fn what_is_read_ahead_is_what_is_read_at_once() {
    let Some((_unpacked, pool)) = pool("read ahead", "comp") else { return };
    let mut all = Vec::new();
    for dataset in pool.datasets().expect("datasets") {
        if let Ok(files) = FileSystem::open(&dataset) {
            regular_files(&files.root().expect("a root"), &mut all);
        }
    }
    assert!(all.iter().any(|file| file.attributes().size > 4 << 20));
    for file in all {
        let contents = file.contents();
        let mut whole = vec![0; contents.size() as usize];
        assert_eq!(contents.read_at(0, &mut whole).expect("sound blocks"), whole.len());
        for threads in [1, 3] {
            let mut ahead = vec![0; whole.len()];
            let mut end = 0;
            for piece in contents.pieces(threads) {
                assert!(piece.range.start >= end, "{file:?}: {:?} after {end}", piece.range);
                end = piece.range.end;
                ahead[piece.range.start as usize..end as usize].copy_from_slice(&piece.bytes.expect("a sound block"));
            }
            assert!(ahead == whole, "{file:?}");
        }
        assert!(contents.same_as(&contents).expect("sound blocks"));
    }
}

#[test]
fn only_what_changed_between_snapshots_is_found() {
    let Some((_unpacked, pool)) = pool("changes", "snap") else { return };
    let (older, newer) = (files(&pool, "snap/a@s3"), files(&pool, "snap/a@s4"));
    assert_eq!(changed_objects(older.objects(), older.objects()).expect("sound blocks"), []);
    let changed = changed_objects(older.objects(), newer.objects()).expect("sound blocks");
    let back = changed_objects(newer.objects(), older.objects()).expect("sound blocks");
    assert_eq!(changed, back);
    let renamed = newer.lookup(b"renamed").expect("it is there").object().id();
    let made = newer.lookup(b"nd").expect("it is there").object().id();
    assert!(changed.contains(&renamed) && changed.contains(&made));
    assert!(!changed.contains(&newer.lookup(b"text-200k").expect("it is there").object().id()));
    // A complete comparison finds no other.
    for object in newer.objects().objects() {
        let object = object.expect("a sound object");
        let same = older.objects().object(object.id()).is_ok_and(|older| older.dnode() == object.dnode());
        assert_eq!(!same, changed.contains(&object.id()), "{object:?}");
    }
}

#[test]
fn files_with_the_same_bytes_are_found_the_same_in_different_datasets() {
    let Some((_unpacked, pool)) = pool("same contents", "comp") else { return };
    let mut large = Vec::new();
    for dataset in pool.datasets().expect("datasets") {
        let Ok(files) = FileSystem::open(&dataset) else { continue };
        let mut found = Vec::new();
        regular_files(&files.root().expect("a root"), &mut found);
        large.extend(found.into_iter().max_by_key(|file| file.attributes().size));
    }
    let bytes = |file: &File| {
        let mut bytes = vec![0; file.attributes().size as usize];
        file.read_at(0, &mut bytes).expect("sound blocks");
        bytes
    };
    let first = &large[0];
    for other in &large {
        let same = first.contents().same_as(&other.contents()).expect("sound blocks");
        assert_eq!(same, bytes(first) == bytes(other), "{first:?} {other:?}");
    }
    assert!(large.iter().skip(1).any(|other| first.contents().same_as(&other.contents()).expect("sound blocks")));
}

#[test]
fn objects_that_are_no_files_are_passed_over() {
    let Some((_unpacked, pool)) = pool("no files", "xattr") else { return };
    let fs = files(&pool, "xattr/dir-legacy");
    assert!(fs.find_file(zfs_ondisk::object::ObjectId(1)).expect("a sound object").is_none(), "the master node");
    assert!(fs.find_file(zfs_ondisk::object::ObjectId(1 << 40)).expect("no object").is_none());
    let one = fs.lookup(b"one").expect("it is there");
    let attributes = one.attributes().xattr_dir.expect("a directory of attributes");
    assert!(fs.find_file(attributes).expect("a sound object").is_none());
    let missing = fs.resolve(b"/one/x", true).expect_err("one is no directory");
    assert!(matches!(missing, Error::NoFile { ref nearest, .. } if nearest == "/one"), "{missing}");
}
