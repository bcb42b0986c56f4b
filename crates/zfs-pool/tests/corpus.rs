//! Every file of every pool of the corpus is what its manifest says.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use zfs_ondisk::object::ObjectId;
use zfs_pool::check::{Kind, check};
use zfs_pool::fs::{Attributes, File, FileType};
use zfs_pool::{Dataset, FileSystem, Pool, PropertyValue};

/// A manifest stops listing after so many lines.
const LINES_LISTED: usize = 3000;

/// What a manifest says about one dataset.
#[derive(Default)]
struct Section {
    dataset: String,
    mountpoint: String,
    files: Vec<String>,
    sums: Vec<(String, String)>,
    /// Path, name, value in hexadecimal digits.
    xattrs: Vec<(String, String, String)>,
}

fn parse_manifest(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut part = "";
    let mut file = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## dataset ") {
            let (dataset, mountpoint) = title.split_once(" at ").expect("a mount point");
            sections.push(Section { dataset: dataset.into(), mountpoint: mountpoint.into(), ..Section::default() });
            part = "files";
            continue;
        }
        if ["# sha256", "# xattr", "# acl"].contains(&line) {
            part = &line[2..];
            continue;
        }
        let section = sections.last_mut().expect("a dataset first");
        match part {
            "files" => section.files.push(line.into()),
            "sha256" => section.sums.push(parse_sum(line)),
            "xattr" => match (line.strip_prefix("# file: "), line.split_once("=0x")) {
                (Some(path), _) => file = unescape(path),
                (_, Some((name, value))) => section.xattrs.push((file.clone(), unescape(name), value.into())),
                _ => assert!(line.is_empty() || line.ends_with('='), "line {line:?}"),
            },
            _ => {}
        }
    }
    sections
}

fn parse_sum(line: &str) -> (String, String) {
    let (sum, path) = line.split_once("  ./").expect("a sum and a path");
    (path.into(), sum.into())
}

/// getfattr writes unusual bytes of names as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let digits = std::str::from_utf8(&tail[..3]).unwrap();
            bytes.push(u8::from_str_radix(digits, 8).unwrap());
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn type_letter(attributes: &Attributes) -> char {
    match attributes.file_type() {
        Some(FileType::Directory) => 'd',
        Some(FileType::Regular) => 'f',
        Some(FileType::Symlink) => 'l',
        Some(FileType::CharacterDevice) => 'c',
        Some(FileType::BlockDevice) => 'b',
        Some(FileType::Fifo) => 'p',
        Some(FileType::Socket) => 's',
        None => '?',
    }
}

/// The line of the manifest for a file.
fn describe(path: &str, file: &File) -> String {
    let attributes = file.attributes();
    let target = match file.attributes().file_type() {
        Some(FileType::Symlink) => String::from_utf8(file.link_target().unwrap()).unwrap(),
        _ => String::new(),
    };
    let kind = type_letter(attributes);
    format!(
        "{path}\t{kind}\t{:o}\t{}:{}\t{}\t{}\t{target}\t{}.{:09}0",
        attributes.mode & 0o7777,
        attributes.uid,
        attributes.gid,
        attributes.links,
        attributes.size,
        attributes.modified.seconds,
        attributes.modified.nanoseconds,
    )
}

fn walk(directory: &File, path: &str, found: &mut BTreeMap<String, File>) {
    found.insert(path.to_owned(), directory.clone());
    let mut names = directory.directory().unwrap();
    for entry in names.entries() {
        let entry = entry.unwrap();
        let path = format!("{path}/{}", String::from_utf8(entry.name).unwrap());
        let file = directory.file_system().file(entry.object).unwrap();
        assert_eq!(entry.file_type, file.attributes().file_type(), "{path}");
        if file.attributes().is_dir() {
            walk(&file, &path, found);
        } else {
            found.insert(path, file);
        }
    }
}

fn sha256(file: &File) -> String {
    let mut hash = Sha256::new();
    let mut buf = vec![0; 100_000];
    let mut offset = 0;
    loop {
        let count = file.read_at(offset, &mut buf).unwrap();
        if count == 0 {
            break;
        }
        hash.update(&buf[..count]);
        offset += count as u64;
    }
    hex(&hash.finalize())
}

/// The same by extents: what is between them is zeros.
fn sha256_by_extents(file: &File) -> String {
    let mut contents = vec![0; usize::try_from(file.attributes().size).unwrap()];
    let mut end = 0;
    for extent in file.extents() {
        let extent = extent.unwrap();
        assert!(extent.start >= end && extent.start < extent.end, "{extent:?}");
        end = extent.end;
        let part = &mut contents[extent.start as usize..extent.end as usize];
        assert_eq!(file.read_at(extent.start, part).unwrap(), part.len());
    }
    hex(&Sha256::digest(&contents))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_system(pool: &Pool, name: &str) -> FileSystem {
    FileSystem::open(&pool.dataset(name).unwrap()).unwrap()
}

/// Compares all datasets of a pool with its manifest.
fn compare_with_manifest(test: &str, image: &str, pool_name: &str) {
    let Some(unpacked) = support::unpack(test, image) else { return };
    let Some(manifest) = support::manifest(test, &format!("{pool_name}.txt")) else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    assert_eq!(pool.name(), pool_name);
    compare(&pool, &manifest);
}

fn compare(pool: &Pool, manifest: &str) {
    let sections = parse_manifest(manifest);
    assert!(!sections.is_empty());
    let roots: BTreeMap<String, File> = sections
        .iter()
        .map(|section| (section.mountpoint.clone(), file_system(pool, &section.dataset).root().unwrap()))
        .collect();
    for section in &sections {
        let fs = file_system(pool, &section.dataset);
        let mut files = BTreeMap::new();
        walk(&fs.root().unwrap(), ".", &mut files);

        let mut listed = BTreeSet::new();
        for line in &section.files {
            let path = line.split('\t').next().unwrap();
            listed.insert(path.to_owned());
            // Another file system was mounted there.
            let mounted = path.strip_prefix('.').and_then(|path| {
                let here = format!("{}{path}", section.mountpoint);
                roots.get(&here).filter(|_| !path.is_empty())
            });
            let file = mounted.unwrap_or_else(|| {
                files.get(path).unwrap_or_else(|| panic!("{}: {path} was not found", section.dataset))
            });
            assert_eq!(&describe(path, file), line, "{}", section.dataset);
        }
        if section.files.len() < LINES_LISTED {
            let found: BTreeSet<String> = files.keys().cloned().collect();
            assert_eq!(found, listed, "{}", section.dataset);
        }

        for (path, sum) in &section.sums {
            let file = fs.lookup(path.as_bytes()).unwrap();
            assert_eq!(&sha256(&file), sum, "{} {path}", section.dataset);
            assert_eq!(&sha256_by_extents(&file), sum, "{} {path}", section.dataset);
        }
        compare_xattrs(section, &roots);
    }
}

fn compare_xattrs(section: &Section, roots: &BTreeMap<String, File>) {
    let mut expected: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (path, name, value) in &section.xattrs {
        expected.entry(path).or_default().insert(name, value);
    }
    for (path, xattrs) in expected {
        // The list goes into file systems mounted below.
        let path = format!("{}/{path}", section.mountpoint);
        let (mountpoint, root) = roots
            .iter()
            .filter(|(mountpoint, _)| path.starts_with(&format!("{mountpoint}/")) || &path == *mountpoint)
            .max_by_key(|(mountpoint, _)| mountpoint.len())
            .unwrap();
        let file = root.file_system().lookup(&path.as_bytes()[mountpoint.len()..]).unwrap();
        if file.attributes().file_type() == Some(FileType::Symlink) {
            // getfattr listed what it leads to.
            continue;
        }
        let found = file.xattrs().unwrap();
        let found: BTreeMap<String, String> =
            found.into_iter().map(|(name, value)| (String::from_utf8(name).unwrap(), hex(&value))).collect();
        let found: BTreeMap<&str, &str> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, xattrs, "{path}");
    }
}

#[test]
fn a_pool_with_default_features_is_what_its_manifest_says() {
    compare_with_manifest("default", "default", "default");
}

#[test]
fn every_compression_is_read() {
    compare_with_manifest("comp", "comp", "comp");
}

#[test]
fn a_mirror_is_what_its_manifest_says() {
    compare_with_manifest("mirror", "mirror", "mir");
}

#[test]
fn snapshots_and_clones_are_what_their_manifest_says() {
    compare_with_manifest("snap", "snap", "snap");
}

#[test]
fn a_tree_of_datasets_is_what_its_manifest_says() {
    compare_with_manifest("tree", "tree", "tree");
}

#[test]
fn extended_attributes_and_special_files_are_what_their_manifest_says() {
    compare_with_manifest("xattr", "xattr", "xattr");
}

#[test]
fn a_root_on_zfs_pool_is_what_its_manifest_says() {
    compare_with_manifest("zroot", "zroot", "zroot");
}

#[test]
fn a_mirror_is_read_from_either_side_alone() {
    let Some(unpacked) = support::unpack("mirror side", "mirror") else { return };
    for side in &unpacked.images {
        let pool = Pool::open_paths([side]).unwrap();
        let root = file_system(&pool, "mir").root().unwrap();
        let mut files = BTreeMap::new();
        walk(&root, ".", &mut files);
        assert!(files.len() > 100);
    }
}

#[test]
fn raidz_is_what_its_manifest_says() {
    compare_with_manifest("raidz", "rz1", "rz1");
}

#[test]
fn raidz_is_read_without_any_one_of_its_devices() {
    let Some(unpacked) = support::unpack("raidz without a device", "rz1") else { return };
    let Some(manifest) = support::manifest("raidz without a device", "rz1.txt") else { return };
    for missing in 0..unpacked.images.len() {
        let mut images = unpacked.images.clone();
        images.remove(missing);
        compare(&Pool::open_paths(&images).unwrap(), &manifest);
    }
    let error = Pool::open_paths(&unpacked.images[..1]).unwrap_err();
    assert!(error.to_string().contains("too few devices can be read"), "{error}");
}

/// Overwrites the second device of a pool, but for its labels, and expects the pool
/// to be read all the same, and the check to find that device, and no other.
fn overwrite_second_device(test: &str, image: &str, pool_name: &str) {
    let Some(unpacked) = support::unpack(test, image) else { return };
    let Some(manifest) = support::manifest(test, &format!("{pool_name}.txt")) else { return };
    let victim = &unpacked.images[1];
    let mut bytes = std::fs::read(victim).unwrap();
    let end = bytes.len() - (1 << 20);
    bytes[4 << 20..end].chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&b"nonsense"[..chunk.len()]));
    std::fs::write(victim, bytes).unwrap();
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    compare(&pool, &manifest);
    let report = check(&pool).unwrap();
    assert!(report.findings.len() > 100);
    for finding in &report.findings {
        assert_eq!(finding.kind, Kind::BadCopy, "{finding}");
        assert!(!finding.copies.is_empty(), "{finding}");
        for copy in &finding.copies {
            assert_eq!(copy.device.as_ref().map(|(name, _)| name.as_str()), victim.to_str(), "{finding}");
        }
    }
}

#[test]
fn raidz_is_read_around_a_device_that_was_overwritten() {
    overwrite_second_device("overwritten raidz", "rz1", "rz1");
}

#[test]
fn a_mirror_is_read_around_a_side_that_was_overwritten() {
    overwrite_second_device("overwritten mirror", "mirror", "mir");
}

#[test]
fn devices_of_several_pools_are_refused() {
    let Some(tree) = support::unpack("several pools", "tree") else { return };
    let Some(xattr) = support::unpack("several pools", "xattr") else { return };
    let error = Pool::open_paths([&tree.images[0], &xattr.images[0]]).unwrap_err();
    assert!(error.to_string().starts_with("the devices belong to several pools: "), "{error}");
}

#[test]
fn snapshots_keep_what_their_head_no_longer_has() {
    let Some(unpacked) = support::unpack("snapshots", "snap") else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    for snapshot in ["s1", "s3", "s4", "last"] {
        let Some(sums) = support::manifest("snapshots", &format!("snap-a-{snapshot}.sha256")) else { return };
        let fs = file_system(&pool, &format!("snap/a@{snapshot}"));
        let mut files = BTreeMap::new();
        walk(&fs.root().unwrap(), "", &mut files);
        files.retain(|_, file| file.attributes().file_type() == Some(FileType::Regular));
        let found: BTreeMap<String, String> =
            files.iter().map(|(path, file)| (path[1..].to_owned(), sha256(file))).collect();
        let expected: BTreeMap<String, String> = sums.lines().map(parse_sum).collect();
        assert_eq!(found, expected, "@{snapshot}");
    }
}

#[test]
fn datasets_are_listed_by_name_and_snapshots_by_age() {
    let Some(unpacked) = support::unpack("dataset list", "snap") else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    let names: Vec<String> = pool.datasets().unwrap().into_iter().map(|dataset| dataset.name).collect();
    let expected = [
        "snap",
        "snap@r1",
        "snap/a",
        "snap/a@s1",
        "snap/a@s3",
        "snap/a@r1",
        "snap/a@s4",
        "snap/a@last",
        "snap/b",
        "snap/bp",
        "snap/bp@r1",
        "snap/clone",
        "snap/clone@c1",
        "snap/clone@r1",
        "snap/redactc",
        "snap/redactc@r",
    ];
    assert_eq!(names, expected);
    let missing = pool.dataset("snap/a@s2").unwrap_err();
    assert_eq!(missing.to_string(), "there is no dataset 'snap/a@s2'");
}

#[test]
fn properties_are_those_that_were_set() {
    let Some(unpacked) = support::unpack("properties", "tree") else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    let of = |name: &str| pool.dataset(name).unwrap().properties().unwrap();
    assert!(of("tree/n1/c1").contains(&("com.x:y".into(), PropertyValue::Text("1".into()))));
    assert!(of("tree").contains(&("compression".into(), PropertyValue::Number(15))));
    assert!(of("tree/n2").contains(&("refreservation".into(), PropertyValue::Number(5 << 20))));
}

#[test]
fn device_numbers_are_read() {
    let Some(unpacked) = support::unpack("device numbers", "xattr") else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    let dataset: Dataset = pool.dataset("xattr/sa-auto").unwrap();
    let fs = FileSystem::open(&dataset).unwrap();
    // In the form that Linux has for its own use.
    assert_eq!(fs.lookup(b"chr").unwrap().attributes().device, 1 << 20 | 3);
    assert_eq!(fs.lookup(b"blk").unwrap().attributes().device, 259 << 20 | 70000);
}

#[test]
fn objects_of_every_kind_are_refused_as_what_they_are_not() {
    let Some(unpacked) = support::unpack("wrong kinds", "tree") else { return };
    let pool = Pool::open_paths(&unpacked.images).unwrap();
    let fs = file_system(&pool, "tree/n1");
    assert!(fs.file(ObjectId(1)).is_err(), "the master node is no file");
    let free = fs.file(ObjectId(1 << 40)).unwrap_err();
    assert!(free.to_string().ends_with("the object is not allocated"), "{free}");
    assert!(fs.root().unwrap().link_target().unwrap_err().to_string().ends_with("the file is not a symbolic link"));
}
