//! How sources are merged, and what options change.

mod support;

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use support::{Body, Item, Sparse, Spec, describe, header, pad, read_all, write_directory, write_tar};
use tree::{Builder, Error, Kind, ModeChange, MtimeRule, Options, Pattern, Principal, Timestamp, Tree, Warning};

fn spec(items: &[(&str, Item)]) -> Spec {
    items.iter().map(|(path, item)| (path.as_bytes().to_vec(), item.clone())).collect()
}

fn directory(items: &[(&str, Item)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    write_directory(&spec(items), root.path());
    root
}

fn archive(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all_at(bytes, 0).unwrap();
    file
}

fn dir() -> Item {
    Item::new(Body::Directory)
}

fn build(options: Options, add: impl FnOnce(&mut Builder) -> Result<(), Error>) -> Result<Tree, Error> {
    let mut builder = Builder::new(options)?;
    add(&mut builder)?;
    builder.finish()
}

fn content(tree: &Tree, path: &str) -> Vec<u8> {
    let id = tree.lookup(path.as_bytes()).unwrap_or_else(|| panic!("{path} is there"));
    read_all(&tree.open(id).unwrap())
}

#[test]
fn an_empty_tree_has_a_root_of_its_own() {
    let tree = Builder::new(Options::default()).unwrap().finish().unwrap();
    let root = tree.node(tree.root());
    assert_eq!(
        (tree.len(), root.kind, root.mode, root.uid, root.gid, root.links),
        (1, Kind::Directory, 0o755, 0, 0, 2)
    );
    assert_eq!(tree.path(tree.root()), b"/");
    assert_eq!(tree.parent(tree.root()), None);
}

#[test]
fn a_later_source_replaces_files_and_merges_directories() {
    let mut private = dir();
    private.mode = 0o700;
    let one = directory(&[
        ("a", dir()),
        ("a/keep", Item::file(b"kept")),
        ("a/new", Item::file(b"old")),
        ("b", dir()),
        ("b/gone", dir()),
        ("b/gone/too", Item::file(b"x")),
        ("c", Item::file(b"file")),
    ]);
    let two = directory(&[
        ("a", private),
        ("a/new", Item::file(b"newer")),
        ("b", Item::new(Body::Symlink(b"a".to_vec()))),
        ("c", dir()),
        ("c/d", Item::file(b"below")),
    ]);
    let tree = build(Options::default(), |builder| {
        builder.add_directory(one.path())?;
        builder.add_directory(two.path())
    })
    .unwrap();
    assert_eq!(content(&tree, "a/keep"), b"kept");
    assert_eq!(content(&tree, "a/new"), b"newer");
    assert_eq!(content(&tree, "c/d"), b"below");
    let a = tree.lookup(b"a").unwrap();
    assert_eq!(tree.node(a).mode, 0o700);
    assert_eq!(tree.symlink_target(tree.lookup(b"b").unwrap()), b"a");
    assert_eq!(tree.lookup(b"b/gone"), None);
    assert_eq!(tree.len(), 7, "what was replaced is not counted");
    assert_eq!(tree.node(tree.root()).links, 4);
}

#[test]
fn a_replaced_hard_link_leaves_the_other_names_alone() {
    let one = directory(&[("a", Item::file(b"one")), ("b", Item::new(Body::Link(b"a".to_vec())))]);
    let two = directory(&[("a", Item::file(b"two"))]);
    let tree = build(Options::default(), |builder| {
        builder.add_directory(one.path())?;
        builder.add_directory(two.path())
    })
    .unwrap();
    assert_eq!((content(&tree, "a"), content(&tree, "b")), (b"two".to_vec(), b"one".to_vec()));
    assert_eq!(tree.node(tree.lookup(b"b").unwrap()).links, 1);
}

#[test]
fn a_file_is_read_from_where_it_is_under_whatever_name_it_comes_to_have() {
    let one = directory(&[("dir", dir()), ("dir/file", Item::file(b"one"))]);
    let link = archive(&write_tar(&spec(&[("a", Item::new(Body::Link(b"dir/file".to_vec())))]), Sparse::No));
    let two = directory(&[("dir", Item::file(b"two"))]);
    let manifest = archive(b"./dir/file type=file\n");
    for by_manifest in [false, true] {
        let tree = build(Options::default(), |builder| {
            if by_manifest {
                builder.add_mtree(manifest.path(), one.path())?;
            } else {
                builder.add_directory(one.path())?;
            }
            builder.add_tar(link.path())?;
            builder.add_directory(two.path())
        })
        .unwrap();
        assert_eq!((content(&tree, "a"), content(&tree, "dir")), (b"one".to_vec(), b"two".to_vec()));
    }
}

#[test]
fn a_source_that_failed_spoils_the_tree() {
    let mut builder = Builder::new(Options::default()).unwrap();
    let bytes = write_tar(&spec(&[("f", Item::file(b"x"))]), Sparse::No);
    let cut = std::io::Cursor::new(bytes[..bytes.len() - 1024].to_vec());
    let error = builder.add_tar_from(Path::new("cut.tar"), cut).unwrap_err();
    assert!(error.to_string().contains("cut.tar at byte"), "{error}");
    assert!(matches!(builder.finish(), Err(Error::Incomplete)));
}

#[test]
fn sources_of_all_kinds_merge() {
    let one = directory(&[("etc", dir()), ("etc/a", Item::file(b"directory")), ("etc/b", Item::file(b"directory"))]);
    let two =
        archive(&write_tar(&spec(&[("etc/b", Item::file(b"archive")), ("etc/c", Item::file(b"archive"))]), Sparse::No));
    let three = archive(b"./etc/c type=file mode=0400 contents=etc/a\n");
    let tree = build(Options::default(), |builder| {
        builder.add_directory(one.path())?;
        builder.add_tar(two.path())?;
        builder.add_mtree(three.path(), one.path())
    })
    .unwrap();
    assert_eq!(content(&tree, "etc/a"), b"directory");
    assert_eq!(content(&tree, "etc/b"), b"archive");
    assert_eq!(content(&tree, "etc/c"), b"directory");
    assert_eq!(tree.node(tree.lookup(b"etc/c").unwrap()).mode, 0o400);
}

#[test]
fn patterns_leave_out_files_and_what_lies_below_directories() {
    let items = [
        ("a.o", Item::file(b"1")),
        ("src", dir()),
        ("src/b.o", Item::file(b"2")),
        ("src/c.c", Item::file(b"3")),
        ("src/obj", dir()),
        ("src/obj/d", Item::file(b"4")),
        ("obj", dir()),
    ];
    let root = directory(&items);
    let packed = archive(&write_tar(&spec(&items), Sparse::No));
    let manifest = archive(&support::write_mtree(&spec(&items), support::Form::Nested));
    let options = Options {
        exclude: [&b"*.o"[..], b"src/obj"].iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect(),
        ..Options::default()
    };
    let names = |tree: &Tree| tree.nodes().map(|id| String::from_utf8(tree.path(id)).unwrap()).collect::<Vec<_>>();
    let scanned = build(options.clone(), |builder| builder.add_directory(root.path())).unwrap();
    assert_eq!(names(&scanned), ["/", "/obj", "/src", "/src/c.c"]);
    let unpacked = build(options.clone(), |builder| builder.add_tar(packed.path())).unwrap();
    assert_eq!(describe(&unpacked), describe(&scanned));
    let listed = build(options, |builder| builder.add_mtree(manifest.path(), root.path())).unwrap();
    assert_eq!(names(&listed), names(&scanned));
}

#[test]
fn a_name_that_is_left_out_does_not_take_the_other_names_of_its_file_along() {
    let items = [("a.o", Item::file(b"1")), ("b", Item::new(Body::Link(b"a.o".to_vec())))];
    let root = directory(&items);
    let packed = archive(&write_tar(&spec(&items), Sparse::No));
    let options = Options { exclude: vec![Pattern::parse(b"*.o").unwrap()], ..Options::default() };
    for tree in [
        build(options.clone(), |builder| builder.add_directory(root.path())).unwrap(),
        build(options.clone(), |builder| builder.add_tar(packed.path())).unwrap(),
    ] {
        assert_eq!((tree.len(), content(&tree, "b")), (2, b"1".to_vec()));
    }
}

#[test]
fn owner_group_mode_and_times_can_be_overridden() {
    let root = directory(&[("d", dir()), ("d/f", Item::file(b"x")), ("l", Item::new(Body::Symlink(b"d".to_vec())))]);
    let time = Timestamp { seconds: 5, nanoseconds: 6 };
    let options = Options {
        owner: Some(Principal::parse("www").unwrap()),
        group: Some(Principal::parse("1234").unwrap()),
        mode: Some(ModeChange::parse("u=rwX,go=").unwrap()),
        mtime: MtimeRule::Set(time),
        ..Options::default()
    };
    let tree = build(options, |builder| builder.add_directory(root.path())).unwrap();
    for id in tree.nodes() {
        let node = tree.node(id);
        assert_eq!((node.uid, node.gid, node.mtime), (80, 1234, time));
    }
    let mode = |path: &str| tree.node(tree.lookup(path.as_bytes()).unwrap()).mode;
    assert_eq!((mode("/"), mode("d"), mode("d/f"), mode("l")), (0o700, 0o700, 0o600, 0o777));
    assert_eq!(content(&tree, "d/f"), b"x", "the file's own time is compared with its own");
}

#[test]
fn clamping_changes_only_later_times() {
    let mut old = Item::file(b"");
    old.seconds = 100;
    let root = directory(&[("old", old), ("new", Item::file(b""))]);
    let options = Options { mtime: MtimeRule::Clamp(Timestamp { seconds: 200, nanoseconds: 0 }), ..Options::default() };
    let tree = build(options, |builder| builder.add_directory(root.path())).unwrap();
    let seconds = |path: &[u8]| tree.node(tree.lookup(path).unwrap()).mtime.seconds;
    assert_eq!((seconds(b"old"), seconds(b"new")), (100, 200));
}

#[test]
fn names_of_owners_are_looked_up_where_the_user_says() {
    let ids = directory(&[
        ("passwd", Item::file(b"alice:*:1001:1001::/:/bin/sh\n")),
        ("group", Item::file(b"crew:*:77:alice\n")),
    ]);
    let options = Options {
        owner: Some(Principal::parse("alice").unwrap()),
        group: Some(Principal::parse("crew").unwrap()),
        ids: Some(ids.path().to_path_buf()),
        ..Options::default()
    };
    let tree = build(options.clone(), |_| Ok(())).unwrap();
    assert_eq!((tree.node(tree.root()).uid, tree.node(tree.root()).gid), (1001, 77));
    let unknown = Builder::new(Options { ids: None, ..options }).err().unwrap();
    assert!(matches!(unknown, Error::UnknownName { what: "user", .. }));
}

#[test]
fn sockets_are_skipped_with_a_warning() {
    let root = directory(&[]);
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
    let tree = build(Options::default(), |builder| builder.add_directory(root.path())).unwrap();
    assert_eq!(tree.len(), 1);
    assert!(matches!(tree.warnings(), [Warning::Socket { path }] if path.to_string() == "/s"));
}

#[test]
fn device_nodes_are_kept() {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let root = directory(&[]);
    let path = root.path().join("null");
    if mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).is_err() {
        println!("skipped: no right to make device nodes");
        return;
    }
    let tree = build(Options::default(), |builder| builder.add_directory(root.path())).unwrap();
    let id = tree.lookup(b"null").unwrap();
    assert_eq!((tree.node(id).kind, tree.device(id)), (Kind::CharDevice, (1, 3)));
}

#[test]
fn a_file_that_has_changed_is_not_read() {
    let root = directory(&[("grown", Item::file(b"1")), ("touched", Item::file(b"2")), ("replaced", Item::file(b"3"))]);
    let tree = build(Options::default(), |builder| builder.add_directory(root.path())).unwrap();
    std::fs::write(root.path().join("grown"), b"12").unwrap();
    std::fs::write(root.path().join("touched"), b"3").unwrap();
    std::fs::remove_file(root.path().join("replaced")).unwrap();
    std::os::unix::fs::symlink("grown", root.path().join("replaced")).unwrap();
    let open = |path: &[u8]| tree.open(tree.lookup(path).unwrap()).unwrap_err();
    let grown = open(b"grown");
    assert!(matches!(grown, Error::ChangedSize { expected: 1, found: 2, .. }));
    assert!(grown.to_string().contains("/grown changed size"), "{grown}");
    assert!(matches!(open(b"touched"), Error::Changed { .. }));
    assert!(matches!(open(b"replaced"), Error::Io { .. }));
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_an_error() {
    let root = directory(&[("f", Item::file(&[7; 10_000]))]);
    let tree = build(Options::default(), |builder| builder.add_directory(root.path())).unwrap();
    let content = tree.open(tree.lookup(b"f").unwrap()).unwrap();
    std::fs::File::options().write(true).open(root.path().join("f")).unwrap().set_len(5000).unwrap();
    let error = content.read_exact_at(&mut [0; 4096], 4096).unwrap_err();
    assert!(matches!(error, Error::ChangedSize { expected: 10_000, found: 5000, .. }), "{error}");
    assert!(matches!(content.read_exact_at(&mut [0; 2], 9999), Err(Error::ReadPastEnd { .. })));
    assert!(matches!(content.read_exact_at(&mut [0; 2], u64::MAX), Err(Error::ReadPastEnd { .. })));
}

#[test]
fn an_archive_that_has_changed_is_not_read() {
    let packed = archive(&write_tar(&spec(&[("f", Item::file(b"x"))]), Sparse::No));
    let tree = build(Options::default(), |builder| builder.add_tar(packed.path())).unwrap();
    packed.as_file().set_len(4).unwrap();
    assert!(matches!(tree.open(tree.lookup(b"f").unwrap()), Err(Error::Changed { .. })));
}

#[test]
fn what_cannot_be_read_is_named() {
    let missing = Path::new("does/not/exist");
    for error in [
        build(Options::default(), |builder| builder.add_directory(missing)).unwrap_err(),
        build(Options::default(), |builder| builder.add_tar(missing)).unwrap_err(),
        build(Options::default(), |builder| builder.add_mtree(missing, Path::new("/"))).unwrap_err(),
    ] {
        assert!(error.to_string().contains("does/not/exist"), "{error}");
    }
    let root = directory(&[("closed", dir())]);
    std::fs::set_permissions(root.path().join("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    match build(Options::default(), |builder| builder.add_directory(root.path())) {
        Ok(_) => println!("skipped: the user of these tests may read everything"),
        Err(error) => assert!(error.to_string().contains("closed"), "{error}"),
    }
}

#[test]
fn names_and_targets_that_are_too_long_are_refused_by_name() {
    let mut long = header(b"x", b'2', 0, &dir(), b"").to_vec();
    let mut target = vec![b't'; 1024];
    long.splice(0..0, header(b"K", b'K', 1024, &dir(), b""));
    target.splice(0..0, long.drain(..512));
    target.append(&mut long);
    let packed = archive(&target);
    let error = build(Options::default(), |builder| builder.add_tar(packed.path())).unwrap_err();
    assert!(matches!(error, Error::TargetTooLong { length: 1024, .. }), "{error}");

    let mut name = header(b"L", b'L', 260, &dir(), b"").to_vec();
    name.extend_from_slice(&[b'n'; 256]);
    pad(&mut name);
    name.extend_from_slice(&header(b"", b'0', 0, &dir(), b""));
    let packed = archive(&name);
    let error = build(Options::default(), |builder| builder.add_tar(packed.path())).unwrap_err();
    assert!(matches!(error, Error::NameTooLong { length: 256, .. }), "{error}");
}

#[test]
fn trees_deeper_than_any_path_may_be_long_are_walked_and_read() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let root = tempfile::tempdir().unwrap();
    let name = "d".repeat(200);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at = openat(CWD, root.path(), flags, Mode::empty()).unwrap();
    for _ in 0..150 {
        mkdirat(&at, &name, Mode::from_raw_mode(0o755)).unwrap();
        // A neighbour that is walked after the depth has been left again.
        mkdirat(&at, "e", Mode::from_raw_mode(0o755)).unwrap();
        at = openat(&at, &name, flags, Mode::empty()).unwrap();
    }
    let file = openat(&at, "f", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
    let tree = build(Options::default(), |builder| builder.add_directory(root.path())).unwrap();
    assert_eq!(tree.len(), 302);
    let path = [format!("{name}/").repeat(150).as_bytes(), b"f"].concat();
    let id = tree.lookup(&path).unwrap();
    assert_eq!(tree.path(id).len(), 1 + path.len());
    assert_eq!(read_all(&tree.open(id).unwrap()), b"deep");
}
