//! Entries of archives that no tool on the test's machine may write.

mod support;

use support::{Item, header, pad, pax_record, read_all};
use tree::{Ace, AceKind, ArchiveError, Builder, Error, Kind, Namespace, Options, Tree, Warning, Who, acl};

/// An archive made piece by piece.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(mut self, name: &str, kind: u8, data: &[u8], link: &str) -> Archive {
        let block = header(name.as_bytes(), kind, data.len() as u64, &Item::file(b""), link.as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(data);
        pad(&mut self.0);
        self
    }

    fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Archive {
        let mut data = Vec::new();
        for (keyword, value) in records {
            pax_record(&mut data, keyword, value);
        }
        self.entry("PaxHeader", kind, &data, "")
    }

    fn read(mut self) -> Result<Tree, Error> {
        self.0.extend_from_slice(&[0; 1024]);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        std::fs::write(&path, &self.0).unwrap();
        let mut builder = Builder::new(Options::default()).unwrap();
        builder.add_tar(&path)?;
        builder.finish()
    }

    fn error(self) -> (u64, ArchiveError) {
        match self.read().unwrap_err() {
            Error::Archive { offset, what, .. } => (offset, what),
            other => panic!("{other}"),
        }
    }
}

fn content(tree: &Tree, path: &str) -> Vec<u8> {
    read_all(&tree.open(tree.lookup(path.as_bytes()).unwrap()).unwrap())
}

#[test]
fn names_are_made_relative_and_missing_directories_are_made() {
    let tree = Archive::default().entry("/abs//x", b'0', b"1", "").entry("./a/./b/c", b'0', b"2", "").read().unwrap();
    assert_eq!((content(&tree, "abs/x"), content(&tree, "a/b/c")), (b"1".to_vec(), b"2".to_vec()));
    let made = tree.node(tree.lookup(b"a/b").unwrap());
    assert_eq!((made.kind, made.mode, made.uid, made.mtime.seconds), (Kind::Directory, 0o755, 0, 0));
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    for name in ["../x", "a/../../x", "..", "a/.."] {
        let error = Archive::default().entry(name, b'0', b"", "").read().unwrap_err();
        assert!(error.to_string().contains("path leaves the tree"), "{error}");
    }
    let error = Archive::default().entry("a", b'1', b"", "../x").read().unwrap_err();
    assert!(matches!(error, Error::LeavesTree { .. }));
}

#[test]
fn nothing_is_put_below_what_is_no_directory() {
    let archive = Archive::default().entry("l", b'2', b"", "/etc").entry("l/passwd", b'0', b"x", "");
    assert!(matches!(archive.read(), Err(Error::NotDirectory { .. })));
}

#[test]
fn hard_links_lead_to_what_was_there_before() {
    let tree = Archive::default()
        .entry("a", b'0', b"first", "")
        .entry("b", b'1', b"", "./a")
        .entry("a", b'0', b"second", "")
        .entry("c", b'1', b"", "/b")
        .read()
        .unwrap();
    assert_eq!(content(&tree, "a"), b"second");
    assert_eq!(content(&tree, "c"), b"first");
    assert_eq!(tree.lookup(b"b"), tree.lookup(b"c"));
}

#[test]
fn hard_links_to_nothing_and_to_directories_are_refused() {
    let (offset, what) = Archive::default().entry("d", b'5', b"", "").entry("a", b'1', b"", "b").error();
    assert_eq!(offset, 512);
    assert!(matches!(what, ArchiveError::NoLinkTarget { .. }));
    let (_, what) = Archive::default().entry("d", b'5', b"", "").entry("a", b'1', b"", "d").error();
    assert!(matches!(what, ArchiveError::LinkToDirectory { .. }));
}

#[test]
fn contents_may_come_with_a_hard_link_in_a_pax_archive() {
    let tree = Archive::default()
        .entry("a", b'0', b"", "")
        .pax(b'x', &[("path", b"b")])
        .entry("b", b'1', b"late", "a")
        .entry("z", b'0', b"next", "")
        .read()
        .unwrap();
    assert_eq!((content(&tree, "a"), content(&tree, "z")), (b"late".to_vec(), b"next".to_vec()));
}

#[test]
fn global_headers_hold_for_all_and_own_ones_for_one() {
    let tree = Archive::default()
        .pax(b'g', &[("uid", b"70000"), ("mtime", b"5.5")])
        .entry("a", b'0', b"", "")
        .pax(b'x', &[("uid", b"3000000000")])
        .entry("b", b'0', b"", "")
        .entry("c", b'0', b"", "")
        .read()
        .unwrap();
    let node = |path: &[u8]| tree.node(tree.lookup(path).unwrap());
    assert_eq!((node(b"a").uid, node(b"b").uid, node(b"c").uid), (70_000, 3_000_000_000, 70_000));
    assert_eq!(node(b"b").mtime.nanoseconds, 500_000_000);
}

#[test]
fn attributes_flags_and_acls_are_kept() {
    let tree = Archive::default()
        .pax(
            b'x',
            &[
                ("SCHILY.fflags", b"schg,uarch"),
                ("SCHILY.xattr.security.capability", b"\x01\0"),
                ("SCHILY.acl.ace", b"owner@:rwx-----------:-------:allow,group:wheel:r-------------:fd-----:deny:0"),
                ("SCHILY.acl.access", b"user::rw-,user:www:r--:80,group::r--,mask::r--,other::---"),
            ],
        )
        .entry("f", b'0', b"", "")
        .pax(b'x', &[("SCHILY.fflags", b"shiny")])
        .entry("g", b'0', b"", "")
        .read()
        .unwrap();
    let f = tree.lookup(b"f").unwrap();
    assert_eq!(tree.node(f).flags, 0x2_0800);
    let [capability, posix] = tree.xattrs(f) else { panic!("{:?}", tree.xattrs(f)) };
    assert_eq!((capability.namespace, &capability.name[..]), (Namespace::Security, &b"capability"[..]));
    assert_eq!(
        (posix.namespace, &posix.name[..], posix.value.len()),
        (Namespace::PosixAcl, &b"posix_acl_access"[..], 44)
    );
    assert_eq!(tree.posix_acls(), 1);
    let execute = acl::READ_DATA | acl::WRITE_DATA | acl::EXECUTE;
    let [first, second] = tree.acl(f).unwrap() else { panic!("two entries") };
    assert_eq!(*first, Ace { kind: AceKind::Allow, flags: 0, mask: execute, who: Who::Owner });
    assert_eq!((second.kind, second.flags, second.who), (AceKind::Deny, 3, Who::NamedGroup(0)));
    assert_eq!(tree.acl(tree.lookup(b"g").unwrap()), None);
    assert!(matches!(tree.warnings(), [Warning::UnknownFlag { .. }]));
}

#[test]
fn a_later_entry_takes_the_attributes_of_the_earlier_one_away() {
    let tree = Archive::default()
        .pax(b'x', &[("SCHILY.xattr.user.a", b"1"), ("SCHILY.acl.ace", b"everyone@:r:-:allow")])
        .entry("d", b'5', b"", "")
        .entry("d", b'5', b"", "")
        .read()
        .unwrap();
    let d = tree.lookup(b"d").unwrap();
    assert!(tree.xattrs(d).is_empty() && tree.acl(d).is_none());
}

#[test]
fn devices_take_their_numbers_from_the_header_or_its_extension() {
    let device = |kind, major: &[u8], minor: &[u8]| {
        let mut block = header(b"dev", kind, 0, &Item::file(b""), b"");
        block[329..329 + major.len()].copy_from_slice(major);
        block[337..337 + minor.len()].copy_from_slice(minor);
        support::finish_header(block)
    };
    let mut archive = Archive::default();
    archive.0.extend_from_slice(&device(b'3', b"0000010\0", b"0000003\0"));
    let tree = archive.read().unwrap();
    assert_eq!(tree.device(tree.lookup(b"dev").unwrap()), (8, 3));
    let mut archive = Archive::default().pax(b'x', &[("SCHILY.devmajor", b"300"), ("SCHILY.devminor", b"70000")]);
    archive.0.extend_from_slice(&device(b'4', b"", b""));
    let tree = archive.read().unwrap();
    let id = tree.lookup(b"dev").unwrap();
    assert_eq!((tree.node(id).kind, tree.device(id)), (Kind::BlockDevice, (300, 70_000)));
}

#[test]
fn a_file_whose_name_ends_in_a_slash_is_a_directory() {
    let tree = Archive::default().entry("d/", 0, b"", "").entry("d/f", 0, b"1", "").read().unwrap();
    assert_eq!(tree.node(tree.lookup(b"d").unwrap()).kind, Kind::Directory);
}

#[test]
fn errors_tell_the_offset() {
    let mut archive = Archive::default().entry("a", b'0', &[1; 600], "");
    archive.0.extend_from_slice(&[b'x'; 512]);
    let (offset, what) = archive.error();
    assert_eq!(offset, 512 + 1024);
    assert!(matches!(what, ArchiveError::Number { .. } | ArchiveError::Checksum { .. }), "{what}");

    let (offset, what) = Archive::default().entry("a", b'5', b"", "").entry("b", b'M', b"", "").error();
    assert_eq!(offset, 512);
    assert!(matches!(what, ArchiveError::Type { kind: b'M', .. }), "{what}");

    let mut archive = Archive::default();
    archive.0.extend_from_slice(&header(b"h", b'x', 1 << 30, &Item::file(b""), b""));
    assert!(matches!(archive.error().1, ArchiveError::HeaderTooLarge { .. }));
}

#[test]
fn an_empty_file_is_no_archive() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut builder = Builder::new(Options::default()).unwrap();
    let error = builder.add_tar(file.path()).unwrap_err();
    assert!(matches!(error, Error::Archive { offset: 0, what: ArchiveError::Truncated, .. }), "{error}");
}
