//! Archives and manifests made by other people's tools give the tree that a scan of the same directory gives.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::{Body, Item, Spec, describe, has_xattrs, write_directory};
use tree::{Builder, Options};

/// What old formats can carry: whole seconds, no attributes, names and targets of at most 99 bytes.
fn plain() -> Spec {
    let mut sparse =
        Item::new(Body::File { data: vec![(4096, vec![1; 5000]), (1 << 20, vec![2; 100])], size: 3 << 20 });
    sparse.mode = 0o4755;
    [
        ("dir", Item::new(Body::Directory)),
        ("dir/empty", Item::file(b"")),
        ("dir/file", Item::file(&[7; 1000])),
        ("dir/link", Item::new(Body::Link(b"dir/file".to_vec()))),
        ("dir/pipe", Item::new(Body::Fifo)),
        ("dir/sparse", sparse),
        ("odd \n#\\name", Item::file(b"odd")),
        ("symlink", Item::new(Body::Symlink(b"dir/../dir/file".to_vec()))),
    ]
    .map(|(path, item)| (path.as_bytes().to_vec(), item))
    .into()
}

/// What only newer formats carry as well.
fn rich(xattrs: bool) -> Spec {
    let mut spec = plain();
    let long = "n".repeat(200);
    let mut file = Item::file(b"long");
    (file.seconds, file.nanoseconds) = (-5, 123_456_789);
    if xattrs {
        file.xattrs = vec![(b"user.a b=c%".to_vec(), b"\0\xff\n".to_vec()), (b"user.plain".to_vec(), b"1".to_vec())];
    }
    spec.insert(long.clone().into_bytes(), Item::new(Body::Directory));
    spec.insert(format!("{long}/{long}").into_bytes(), file);
    spec.insert(b"far".to_vec(), Item::new(Body::Symlink(vec![b't'; 1000])));
    spec.insert(b"\xff\xfe".to_vec(), Item::file(b"not UTF-8"));
    spec
}

fn installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("skipped: {tool} is not installed");
    }
    found.is_ok()
}

fn run(tool: &str, arguments: &[&str], root: &Path, output: &Path) {
    let status = Command::new(tool)
        .args(arguments)
        .arg("-cf")
        .arg(output)
        .args(["-C".as_ref(), root.as_os_str(), ".".as_ref()])
        .env("LC_ALL", "C.UTF-8")
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{tool} {arguments:?}");
}

fn tree(xattrs: bool, add: impl FnOnce(&mut Builder)) -> String {
    let mut builder = Builder::new(Options { xattrs, ..Options::default() }).unwrap();
    add(&mut builder);
    describe(&builder.finish().unwrap())
}

/// Makes an archive with each set of arguments and compares.
fn compare(tool: &str, spec: &Spec, cases: &[&[&str]]) {
    let (root, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_directory(spec, root.path());
    for arguments in cases {
        let path = output.path().join("archive");
        run(tool, arguments, root.path(), &path);
        let expected = tree(arguments.contains(&"--xattrs"), |builder| builder.add_directory(root.path()).unwrap());
        let found = tree(true, |builder| builder.add_tar(&path).unwrap());
        assert_eq!(found, expected, "{tool} {arguments:?}");
    }
}

#[test]
fn gnu_tars_archives() {
    if !installed("tar") {
        return;
    }
    compare(
        "tar",
        &plain(),
        &[
            &["--format=ustar"],
            &["--format=gnu"],
            &["--format=gnu", "--sparse"],
            &["--format=posix", "--sparse", "--sparse-version=0.0"],
            &["--format=posix", "--sparse", "--sparse-version=0.1"],
            &["--format=posix", "--sparse", "--sparse-version=1.0"],
        ],
    );
    let probe = tempfile::tempdir().unwrap();
    let xattrs = has_xattrs(probe.path());
    let arguments: &[&[&str]] = &[&["--format=posix", "--sparse", "--xattrs"], &["--format=posix"]];
    compare("tar", &rich(xattrs), if xattrs { arguments } else { &arguments[1..] });
}

#[test]
fn libarchives_archives() {
    if !installed("bsdtar") {
        return;
    }
    compare("bsdtar", &plain(), &[&["--format=ustar"], &["--format=gnutar"], &["--format=pax"]]);
    let probe = tempfile::tempdir().unwrap();
    let xattrs = has_xattrs(probe.path());
    let arguments: &[&[&str]] = &[&["--format=pax", "--xattrs"], &["--format=pax", "--no-xattrs"]];
    // libarchive (3.6.2) writes the second -5 and 123456789 ns as "-5.123456789", which POSIX reads as another time.
    let mut spec = rich(xattrs);
    spec.values_mut().for_each(|item| item.seconds = item.seconds.abs());
    compare("bsdtar", &spec, if xattrs { arguments } else { &arguments[1..] });
    for compression in ["-z", "-j", "-J", "--zstd"] {
        compare("bsdtar", &plain(), &[&["--format=pax", compression]]);
    }
}

#[test]
fn libarchives_manifests() {
    if !installed("bsdtar") {
        return;
    }
    let (root, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut spec = rich(false);
    spec.get_mut(&b"odd \n#\\name"[..]).unwrap().nanoseconds = 5;
    write_directory(&spec, root.path());
    let expected = tree(false, |builder| builder.add_directory(root.path()).unwrap());
    for options in ["--options=mtree:all", "--options=mtree:use-set,mtree:sha256", "--options=mtree:indent"] {
        let path = output.path().join("manifest");
        run("bsdtar", &["--format=mtree", options], root.path(), &path);
        let found = tree(false, |builder| builder.add_mtree(&path, root.path()).unwrap());
        assert_eq!(found, expected, "{options}");
    }
}

#[test]
fn an_archive_from_a_pipe() {
    if !installed("tar") {
        return;
    }
    let (root, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_directory(&plain(), root.path());
    let pipe = output.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    let mut writer = Command::new("tar")
        .args(["--format=posix", "-cf"])
        .arg(&pipe)
        .args(["-C".as_ref(), root.path().as_os_str(), ".".as_ref()])
        .spawn()
        .unwrap();
    let found = tree(true, |builder| builder.add_tar(&pipe).unwrap());
    assert!(writer.wait().unwrap().success());
    assert_eq!(found, tree(false, |builder| builder.add_directory(root.path()).unwrap()));
}
