//! Trees for tests: made up once, then written as a directory, an archive or a manifest, and described as text.
#![allow(dead_code, unreachable_pub)] // Each test uses a part of this.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid};
use tree::{Kind, Tree};

/// A tree that a test makes up. Paths have no leading slash; the root is not among them.
pub type Spec = BTreeMap<Vec<u8>, Item>;

#[derive(Clone, Debug)]
pub struct Item {
    pub body: Body,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub seconds: i64,
    pub nanoseconds: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Debug)]
pub enum Body {
    Directory,
    /// Ranges of data, ascending and apart, and the size.
    File {
        data: Vec<(u64, Vec<u8>)>,
        size: u64,
    },
    Symlink(Vec<u8>),
    Fifo,
    /// A further name of the item at this path, which comes before.
    Link(Vec<u8>),
}

impl Item {
    pub fn new(body: Body) -> Item {
        let mode = match body {
            Body::Directory => 0o755,
            Body::Symlink(_) => 0o777,
            _ => 0o644,
        };
        let (uid, gid) = me();
        Item { body, mode, uid, gid, seconds: 1_700_000_000, nanoseconds: 0, xattrs: Vec::new() }
    }

    pub fn file(data: &[u8]) -> Item {
        let size = data.len() as u64;
        let data = if data.is_empty() { Vec::new() } else { vec![(0, data.to_vec())] };
        Item::new(Body::File { data, size })
    }
}

/// The user and group that tests run as.
pub fn me() -> (u32, u32) {
    let file = tempfile::tempfile().unwrap();
    let stat = rustix::fs::fstat(&file).unwrap();
    (stat.st_uid, stat.st_gid)
}

pub fn host_path(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

/// Whether the file system of temporary files keeps extended attributes of users.
pub fn has_xattrs(directory: &Path) -> bool {
    let probe = directory.join("xattr-probe");
    File::create(&probe).unwrap();
    let kept = set_xattr(&probe, b"user.probe", b"1");
    std::fs::remove_file(probe).unwrap();
    kept
}

#[cfg(target_os = "linux")]
fn set_xattr(path: &Path, name: &[u8], value: &[u8]) -> bool {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn set_xattr(_: &Path, _: &[u8], _: &[u8]) -> bool {
    false
}

/// Writes the tree below a directory that exists, and sets the directory's own attributes to fixed ones.
pub fn write_directory(spec: &Spec, root: &Path) {
    for (path, item) in spec {
        let at = host_path(root, path);
        match &item.body {
            Body::Directory => std::fs::create_dir(&at).unwrap(),
            Body::File { data, size } => {
                let file = File::create(&at).unwrap();
                file.set_len(*size).unwrap();
                for (offset, bytes) in data {
                    file.write_all_at(bytes, *offset).unwrap();
                }
            }
            Body::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), &at).unwrap(),
            Body::Fifo => rustix::fs::mknodat(CWD, &at, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap(),
            Body::Link(to) => std::fs::hard_link(host_path(root, to), &at).unwrap(),
        }
        for (name, value) in &item.xattrs {
            assert!(set_xattr(&at, name, value), "{at:?}");
        }
    }
    // Children first: adding a name changes a directory's time.
    for (path, item) in spec.iter().rev() {
        set_attributes(&host_path(root, path), item);
    }
    set_attributes(root, &Item::new(Body::Directory));
}

fn set_attributes(at: &Path, item: &Item) {
    if matches!(item.body, Body::Link(_)) {
        return;
    }
    if (item.uid, item.gid) != me() {
        let (uid, gid) = (Uid::from_raw(item.uid), Gid::from_raw(item.gid));
        rustix::fs::chownat(CWD, at, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    if !matches!(item.body, Body::Symlink(_)) {
        rustix::fs::chmodat(CWD, at, Mode::from_raw_mode(item.mode), AtFlags::empty()).unwrap();
    }
    let time = Timespec { tv_sec: item.seconds, tv_nsec: i64::from(item.nanoseconds) as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// How sparse files are written to an archive.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Sparse {
    No,
    Old,
    Pax00,
    Pax01,
    Pax10,
}

/// The tree as a `pax` archive.
pub fn write_tar(spec: &Spec, sparse: Sparse) -> Vec<u8> {
    let mut out = Vec::new();
    write_entry(&mut out, b"./", &Item::new(Body::Directory), sparse);
    for (path, item) in spec {
        write_entry(&mut out, path, item, sparse);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

pub fn pax_record(records: &mut Vec<u8>, keyword: &str, value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {keyword}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}

/// A ustar header block with its checksum; what does not fit is cut.
pub fn header(name: &[u8], kind: u8, size: u64, item: &Item, link: &[u8]) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8], room: usize| {
        let length = text.len().min(room);
        block[at..at + length].copy_from_slice(&text[..length]);
    };
    put(0, name, 100);
    put(100, format!("{:07o}", item.mode).as_bytes(), 7);
    put(108, format!("{:07o}", item.uid).as_bytes(), 7);
    put(116, format!("{:07o}", item.gid).as_bytes(), 7);
    put(124, format!("{size:011o}").as_bytes(), 11);
    put(136, format!("{:011o}", item.seconds.max(0)).as_bytes(), 11);
    put(156, &[kind], 1);
    put(157, link, 100);
    put(257, b"ustar\x0000", 8);
    finish_header(block)
}

pub fn finish_header(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn write_entry(out: &mut Vec<u8>, path: &[u8], item: &Item, sparse: Sparse) {
    let mut records = Vec::new();
    let mut name = path.to_vec();
    let (mut kind, mut stored, mut link) = (b'0', Vec::new(), Vec::new());
    match &item.body {
        Body::Directory => kind = b'5',
        Body::Symlink(target) => (kind, link) = (b'2', target.clone()),
        Body::Fifo => kind = b'6',
        Body::Link(to) => (kind, link) = (b'1', to.clone()),
        Body::File { data, size } if sparse == Sparse::No => {
            stored = vec![0; *size as usize];
            for (offset, bytes) in data {
                stored[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
            }
        }
        Body::File { data, size } => {
            let mut map: Vec<(u64, u64)> = data.iter().map(|(at, bytes)| (*at, bytes.len() as u64)).collect();
            map.push((*size, 0));
            stored = data.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let number = |number: u64| number.to_string().into_bytes();
            match sparse {
                Sparse::Old => return write_old_sparse(out, path, item, &map, *size, &stored),
                Sparse::Pax00 => {
                    pax_record(&mut records, "GNU.sparse.size", &number(*size));
                    for (offset, length) in &map {
                        pax_record(&mut records, "GNU.sparse.offset", &number(*offset));
                        pax_record(&mut records, "GNU.sparse.numbytes", &number(*length));
                    }
                }
                Sparse::Pax01 => {
                    let text: Vec<String> = map.iter().map(|(offset, length)| format!("{offset},{length}")).collect();
                    pax_record(&mut records, "GNU.sparse.size", &number(*size));
                    pax_record(&mut records, "GNU.sparse.name", path);
                    pax_record(&mut records, "GNU.sparse.map", text.join(",").as_bytes());
                    name = b"GNUSparseFile.0/x".to_vec();
                }
                _ => {
                    pax_record(&mut records, "GNU.sparse.major", b"1");
                    pax_record(&mut records, "GNU.sparse.minor", b"0");
                    pax_record(&mut records, "GNU.sparse.name", path);
                    pax_record(&mut records, "GNU.sparse.realsize", &number(*size));
                    name = b"GNUSparseFile.0/x".to_vec();
                    let mut text = format!("{}\n", map.len()).into_bytes();
                    for (offset, length) in &map {
                        text.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
                    }
                    pad(&mut text);
                    text.append(&mut stored);
                    stored = text;
                }
            }
        }
    }
    if name == path {
        pax_record(&mut records, "path", path);
    }
    if !link.is_empty() {
        pax_record(&mut records, "linkpath", &link);
    }
    let (seconds, nanoseconds) = (item.seconds, item.nanoseconds);
    let time = match (seconds, nanoseconds) {
        (..0, 1..) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
        _ => format!("{seconds}.{nanoseconds:09}"),
    };
    pax_record(&mut records, "mtime", time.as_bytes());
    for (name, value) in &item.xattrs {
        let name = String::from_utf8(name.clone()).unwrap();
        pax_record(&mut records, &format!("SCHILY.xattr.{name}"), value);
    }
    out.extend_from_slice(&header(b"PaxHeader/x", b'x', records.len() as u64, item, b""));
    out.append(&mut records);
    pad(out);
    out.extend_from_slice(&header(&name, kind, stored.len() as u64, item, &link));
    out.append(&mut stored);
    pad(out);
}

/// GNU tar's old form, with long names in headers of their own.
fn write_old_sparse(out: &mut Vec<u8>, path: &[u8], item: &Item, map: &[(u64, u64)], size: u64, stored: &[u8]) {
    let mut name = path.to_vec();
    name.push(0);
    out.extend_from_slice(&header(b"././@LongLink", b'L', name.len() as u64, item, b""));
    out.append(&mut name);
    pad(out);
    let range = |(offset, length): &(u64, u64)| format!("{offset:011o}\0{length:011o}\0").into_bytes();
    let mut block = header(path, b'S', stored.len() as u64, item, b"");
    block[257..265].copy_from_slice(b"ustar  \0");
    // A base-256 time carries no nanoseconds, but times before 1970.
    block[136..148].fill(if item.seconds < 0 { 0xff } else { 0 });
    block[140..148].copy_from_slice(&item.seconds.to_be_bytes());
    block[136] |= 0x80;
    let (first, rest) = map.split_at(map.len().min(4));
    for (at, entry) in first.iter().enumerate() {
        block[386 + 24 * at..][..24].copy_from_slice(&range(entry));
    }
    block[482] = u8::from(!rest.is_empty());
    block[483..494].copy_from_slice(format!("{size:011o}").as_bytes());
    out.extend_from_slice(&finish_header(block));
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = [0; 512];
        for (at, entry) in chunk.iter().enumerate() {
            block[24 * at..][..24].copy_from_slice(&range(entry));
        }
        block[504] = u8::from(chunks.peek().is_some());
        out.extend_from_slice(&block);
    }
    out.extend_from_slice(stored);
    pad(out);
}

/// How a manifest is written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// A full path a line, as METALOG.
    Paths,
    /// Names, and `..` to go up, as `mtree -c`.
    Nested,
}

/// The tree as a manifest; contents are to be found in a directory with the same tree.
pub fn write_mtree(spec: &Spec, form: Form) -> Vec<u8> {
    let mut out = b"#mtree 2.0\n/set type=file uid=0 \\\n    gid=0\n".to_vec();
    write_line(&mut out, b".", &Item::new(Body::Directory), spec);
    match form {
        Form::Paths => {
            for (path, item) in spec {
                write_line(&mut out, &[b"./", &path[..]].concat(), item, spec);
            }
        }
        Form::Nested => {
            write_nested(&mut out, b"", spec);
            out.extend_from_slice(b"..\n");
        }
    }
    out
}

fn write_nested(out: &mut Vec<u8>, directory: &[u8], spec: &Spec) {
    let prefix = if directory.is_empty() { Vec::new() } else { [directory, b"/"].concat() };
    let below = spec.iter().filter(|(path, _)| path.starts_with(&prefix) && !path[prefix.len()..].contains(&b'/'));
    for (path, item) in below {
        write_line(out, &path[prefix.len()..], item, spec);
        if matches!(item.body, Body::Directory) {
            write_nested(out, path, spec);
            out.extend_from_slice(b"..\n");
        }
    }
}

fn write_line(out: &mut Vec<u8>, name: &[u8], item: &Item, spec: &Spec) {
    let item = if let Body::Link(to) = &item.body { &spec[to] } else { item };
    let mut line = escape(name);
    match &item.body {
        Body::Directory => line.push_str(" type=dir"),
        Body::File { size, .. } => write!(line, " type=file size={size} sha256digest=00").unwrap(),
        Body::Symlink(target) => write!(line, " type=link link={}", escape(target)).unwrap(),
        Body::Fifo => line.push_str(" type=fifo"),
        Body::Link(_) => unreachable!("links lead to no links"),
    }
    writeln!(
        line,
        " uid={} gid={} mode={:04o} time={}.{:09} tags=package=test",
        item.uid, item.gid, item.mode, item.seconds, item.nanoseconds
    )
    .unwrap();
    out.extend_from_slice(line.as_bytes());
}

/// vis(3) with octal numbers, and for some the C-like form.
fn escape(name: &[u8]) -> String {
    let mut text = String::new();
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'/' | b'_' | b'-' | b'=' => text.push(char::from(byte)),
            b' ' => text.push_str("\\s"),
            b'#' => text.push_str("\\#"),
            b'\\' => text.push_str("\\\\"),
            _ => write!(text, "\\{byte:03o}").unwrap(),
        }
    }
    text
}

/// Everything that a tree says, a name a line, contents included.
pub fn describe(tree: &Tree) -> String {
    let mut text = String::new();
    describe_below(tree, tree.root(), &mut Vec::new(), &mut text);
    text
}

fn describe_below(tree: &Tree, id: tree::NodeId, path: &mut Vec<u8>, text: &mut String) {
    let node = tree.node(id);
    write!(
        text,
        "{} #{} {:?} {:o} {}:{} {:x} {}.{:09} links {} size {}",
        path.escape_ascii(),
        id.index(),
        node.kind,
        node.mode,
        node.uid,
        node.gid,
        node.flags,
        node.mtime.seconds,
        node.mtime.nanoseconds,
        node.links,
        node.size
    )
    .unwrap();
    match node.kind {
        Kind::Symlink => write!(text, " -> {}", tree.symlink_target(id).escape_ascii()).unwrap(),
        Kind::CharDevice | Kind::BlockDevice => write!(text, " {:?}", tree.device(id)).unwrap(),
        Kind::File => write!(text, " {}", fingerprint(tree, id)).unwrap(),
        _ => {}
    }
    for xattr in tree.xattrs(id) {
        let (name, value) = (xattr.name.escape_ascii(), xattr.value.escape_ascii());
        write!(text, " {:?}:{name}={value}", xattr.namespace).unwrap();
    }
    text.push('\n');
    for entry in tree.entries(id) {
        let length = path.len();
        path.push(b'/');
        path.extend_from_slice(entry.name);
        assert_eq!(tree.lookup(path), Some(entry.node));
        describe_below(tree, entry.node, path, text);
        path.truncate(length);
    }
}

/// Reads a file twice, whole and by its ranges of data, and gives a hash.
fn fingerprint(tree: &Tree, id: tree::NodeId) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let content = tree.open(id).unwrap();
    assert_eq!(content.size(), tree.node(id).size);
    let whole = read_all(&content);
    let mut pieces = vec![0; whole.len()];
    let mut at = 0;
    while let Some(range) = content.next_data(at).unwrap() {
        assert!(range.start >= at && range.start < range.end && range.end <= content.size());
        let (start, end) = (range.start as usize, range.end as usize);
        content.read_exact_at(&mut pieces[start..end], range.start).unwrap();
        at = range.end;
    }
    assert!(whole == pieces, "holes hold only zeros");
    let mut hasher = DefaultHasher::new();
    whole.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

pub fn read_all(content: &tree::Content) -> Vec<u8> {
    let mut whole = vec![0xaa; content.size() as usize];
    // An odd step, so that reads begin and end within ranges.
    for (number, piece) in whole.chunks_mut(1777).enumerate() {
        content.read_exact_at(piece, number as u64 * 1777).unwrap();
    }
    whole
}
