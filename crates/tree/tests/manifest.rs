//! What mtree(5) manifests may say, and what is wrong with those that do not.

use std::os::unix::fs::symlink;

use tree::{Builder, Error, Kind, Options, Timestamp, Tree, Warning};

/// A root with some files, one of them with two names.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    std::fs::create_dir_all(path("bin")).unwrap();
    std::fs::create_dir_all(path("etc")).unwrap();
    std::fs::write(path("bin/cat"), b"cat").unwrap();
    std::fs::write(path("bin/ls"), b"ls -l").unwrap();
    std::fs::hard_link(path("bin/ls"), path("bin/dir")).unwrap();
    std::fs::write(
        path("etc/master.passwd"),
        b"root:*:0:0::0:0::/:\nbuilder:*:1500:1500::0:0::/:\nwww:*:8080:80::0:0::/:\n",
    )
    .unwrap();
    root
}

fn read_below(root: &tempfile::TempDir, manifest: &str) -> Result<Tree, Error> {
    let path = root.path().join("METALOG");
    std::fs::write(&path, manifest).unwrap();
    let mut builder = Builder::new(Options::default())?;
    builder.add_mtree(&path, root.path())?;
    builder.finish()
}

fn read(manifest: &str) -> Result<Tree, Error> {
    read_below(&root(), manifest)
}

/// The line and the message of the error that a manifest leads to.
fn error(manifest: &str) -> (u64, String) {
    match read(manifest).unwrap_err() {
        Error::Manifest { line, what, .. } => (line, what.to_string()),
        other => panic!("{other}"),
    }
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.nodes().map(|id| String::from_utf8(tree.path(id)).unwrap()).collect()
}

#[test]
fn a_metalog() {
    let tree = read(
        "#mtree 2.0\n\
         . type=dir uname=root gname=wheel mode=0755 tags=package=runtime\n\
         ./bin type=dir uname=root gname=wheel mode=0755\n\
         ./bin/cat type=file uname=root gname=operator mode=0555 size=3 sha256digest=abc time=12.000000007 flags=schg,uarch\n\
         ./bin/kitten type=link uname=root gname=wheel mode=0755 link=cat\n\
         ./dev type=dir uname=root gname=wheel mode=0555\n\
         ./dev/null type=char device=freebsd,0,13 mode=0666\n\
         ./www type=file uname=www contents=bin/cat\n",
    )
    .unwrap();
    assert_eq!(paths(&tree), ["/", "/bin", "/bin/cat", "/bin/kitten", "/dev", "/dev/null", "/www"]);
    let cat = tree.node(tree.lookup(b"bin/cat").unwrap());
    assert_eq!((cat.uid, cat.gid, cat.mode, cat.flags, cat.size), (0, 5, 0o555, 0x2_0800, 3));
    assert_eq!(cat.mtime, Timestamp { seconds: 12, nanoseconds: 7 });
    assert_eq!(tree.symlink_target(tree.lookup(b"bin/kitten").unwrap()), b"cat");
    let null = tree.lookup(b"dev/null").unwrap();
    assert_eq!((tree.node(null).kind, tree.device(null)), (Kind::CharDevice, (0, 13)));
    assert_eq!(tree.node(tree.lookup(b"www").unwrap()).uid, 8080, "the root's own table comes first");
    assert_eq!(tree.warnings(), []);
}

#[test]
fn nested_entries_defaults_and_comments() {
    let tree = read(
        "# a classic one\n/set type=dir uname=builder mode=0750\n.\n    bin mode=0700 # private\n        cat type=file \\\n            mode=04555\n    ..\n    /unset uname\n    var\n        tmp mode=01777\n        ..\n    ..\n..\n",
    )
    .unwrap();
    assert_eq!(paths(&tree), ["/", "/bin", "/bin/cat", "/var", "/var/tmp"]);
    let node = |path: &[u8]| tree.node(tree.lookup(path).unwrap());
    assert_eq!((node(b"bin").mode, node(b"bin").uid), (0o700, 1500));
    assert_eq!((node(b"bin/cat").mode, node(b"bin/cat").kind), (0o4555, Kind::File));
    assert_eq!((node(b"var").mode, node(b"var").uid), (0o750, 0));
    assert_eq!(node(b"var/tmp").mode, 0o1777);
}

#[test]
fn the_last_of_several_entries_counts_and_earlier_ones_fill_its_gaps() {
    let tree = read(
        "./bin/cat type=file mode=0400 uid=7 size=99\n./bin/cat type=file mode=0555\n\
         ./x type=file\n./x type=link link=y\n./d type=dir gid=3\n./d/below type=fifo\n./d type=dir mode=0700\n",
    )
    .unwrap();
    let cat = tree.node(tree.lookup(b"bin/cat").unwrap());
    assert_eq!((cat.mode, cat.uid, cat.size), (0o555, 7, 3));
    assert_eq!(tree.node(tree.lookup(b"x").unwrap()).kind, Kind::Symlink, "that there is no file x does not matter");
    let d = tree.node(tree.lookup(b"d").unwrap());
    assert_eq!((d.mode, d.gid), (0o700, 3));
    assert!(tree.lookup(b"d/below").is_some());
}

#[test]
fn a_later_entry_that_does_not_say_where_the_contents_are_leaves_them_where_they_were() {
    let root = root();
    let tree = read_below(&root, "./new type=file contents=bin/cat\n./new mode=0600\n./new type=file uid=3\n").unwrap();
    let id = tree.lookup(b"new").unwrap();
    assert_eq!((tree.node(id).mode, tree.node(id).uid, tree.node(id).size), (0o600, 3, 3));
    let mut bytes = [0; 3];
    tree.open(id).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"cat");
}

#[test]
fn files_that_are_one_file_below_the_root_become_hard_links() {
    let tree = read("./bin/ls type=file mode=0555\n./bin/dir type=file mode=0111\n./bin/cat type=file\n").unwrap();
    let (ls, dir) = (tree.lookup(b"bin/ls").unwrap(), tree.lookup(b"bin/dir").unwrap());
    assert_eq!(ls, dir);
    assert_eq!((tree.node(ls).links, tree.node(ls).mode), (2, 0o555));
    assert_eq!(tree.path(ls), b"/bin/dir", "the first path in the order of the tree");
}

#[test]
fn one_of_several_names_may_be_elsewhere_in_the_tree() {
    let root = root();
    let tree = read_below(&root, "./bin/ls type=file\n./a type=file contents=bin/dir\n").unwrap();
    let id = tree.lookup(b"a").unwrap();
    assert_eq!(tree.lookup(b"bin/ls"), Some(id));
    let mut bytes = [0; 5];
    tree.open(id).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"ls -l");
}

#[test]
fn what_is_not_said_comes_from_the_file() {
    let root = root();
    symlink("nowhere", root.path().join("etc/link")).unwrap();
    let tree = read_below(&root, "./bin/cat\n./etc\n./etc/new\n").unwrap();
    let cat = tree.node(tree.lookup(b"bin/cat").unwrap());
    let stat = rustix::fs::stat(root.path().join("bin/cat")).unwrap();
    assert_eq!((cat.kind, cat.uid, cat.mtime.seconds), (Kind::File, 0, stat.st_mtime));
    assert_eq!(u32::from(cat.mode), stat.st_mode & 0o7777);
    assert_eq!(tree.node(tree.lookup(b"etc/new").unwrap()).kind, Kind::Directory);
}

#[test]
fn a_missing_file_is_an_error_unless_it_is_optional() {
    let tree = read("./bin/none type=file optional\n./bin/cat type=file optional\n").unwrap();
    assert_eq!(paths(&tree), ["/", "/bin", "/bin/cat"]);
    let (line, message) = error("./bin type=dir\n\n./bin/none type=file\n");
    assert_eq!(line, 3);
    assert!(message.contains("bin/none: cannot examine"), "{message}");
}

#[test]
fn unknown_keywords_get_one_warning() {
    let tree = read("./bin type=dir colour=red\n./etc type=dir colour=blue nochange ignore\n").unwrap();
    let [Warning::UnknownKeyword { line: 1, keyword, .. }] = tree.warnings() else { panic!("{:?}", tree.warnings()) };
    assert_eq!(keyword.to_string(), "colour");
}

#[test]
fn errors_tell_the_line() {
    for (manifest, line, part) in [
        ("./bin/cat type=file size=4\n", 1, "the manifest says 4 bytes, the file has 3"),
        ("\n./bin/cat type=file \\\nmode=9\n", 2, "bad value: 'mode=9'"),
        ("./a type=dir uname=nosuch\n", 1, "unknown user name nosuch"),
        ("./a type=link\n", 1, "needs the keyword link"),
        ("./a type=char\n", 1, "needs the keyword device"),
        ("./a type=file link=b\n", 1, "do not go together"),
        ("./a type=dir contents=bin/cat\n", 1, "do not go together"),
        ("./bin type=dir\n./bin/../../x type=dir\n", 2, "path leaves the tree: ./bin/../../x"),
        ("\\056\\056 type=dir\n", 1, "path leaves the tree"),
        (".\n..\n..\n", 3, "path leaves the tree"),
        ("./a\\q type=dir\n", 1, "bad escape"),
        ("./a type=dir mode\n", 1, "mode needs a value"),
        ("./bin/cat type=file\n./bin/cat/x type=dir\n", 2, "lies under bin/cat, which is not a directory"),
        (". type=file contents=bin/cat\n", 1, "root of the tree must be a directory"),
        ("./etc type=file\n", 1, "is not a regular file"),
        ("./a\\0b type=dir\n", 1, "invalid name"),
    ] {
        let (found, message) = error(manifest);
        assert_eq!(found, line, "{manifest:?}: {message}");
        assert!(message.contains(part), "{manifest:?}: {message}");
    }
    let long = format!("./{} type=dir\n", "n".repeat(256));
    assert!(error(&long).1.contains("256"));
    assert!(error(&format!("./a type=link link={}\n", "t".repeat(1024))).1.contains("1024"));
    assert!(error(&"x".repeat(2 << 20)).1.contains("longer than"));
}
