//! Files out of pools: shown, compared, extracted, archived; and what happens to them where a pool is damaged.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use common::peer::{self, Peer};
use common::source_tree::Recipe;
use tempfile::TempDir;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(180);

/// A directory of a test's own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    /// With a tree of files of every kind in `tree`, and an image of it in `pool.img`.
    fn with_image(options: &[&str]) -> Self {
        let place = Self::new();
        let recipe = Recipe { block_sizes: vec![16 << 10], many: 300, largest_hole: 64 << 20, ..Recipe::default() };
        recipe.make(&place.path("tree")).expect("the tree can be made");
        place.build("pool.img", &[options, &["tree"]].concat());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn build(&self, image: &str, arguments: &[&str]) {
        self.tine(&[&["image", "build", "--quiet", "--root-path", "/", "-o", image], arguments].concat()).succeeds();
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).env("LC_ALL", "C.UTF-8");
        command
    }

    fn tine(&self, arguments: &[&str]) -> Ran {
        command::run(&mut self.command(TINE, arguments), LIMIT)
    }

    fn pool(&self, arguments: &[&str]) -> Ran {
        self.tine(&[&["pool"], arguments].concat())
    }

    /// `tine pool tar` of a target into a file.
    fn archive(&self, target: &str, name: &str) -> Vec<u8> {
        self.pool(&["tar", target, "-o", name]).succeeds();
        fs::read(self.path(name)).expect("the archive is there")
    }

    /// A pool of the corpus, unpacked under its own name.
    fn corpus(test: &str, pool: &str) -> Option<Self> {
        let packed = peer::corpus(test)?.join(format!("pools/{pool}.0.img.zst"));
        let zstd = Peer::find(test, "zstd")?;
        let place = Self::new();
        let image = place.path(&format!("{pool}.img"));
        command::run(zstd.command().arg("-dqf").arg(packed).arg("-o").arg(image), LIMIT).succeeds();
        Some(place)
    }
}

/// What is known of a file, but for its name.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    device: u64,
    /// The first of its names.
    first: PathBuf,
    target: Option<PathBuf>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// All files of a directory tree by path, links not followed.
fn files(root: &Path) -> BTreeMap<PathBuf, Found> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    add_files(root, Path::new(""), &mut first, &mut found);
    found
}

fn add_files(
    root: &Path,
    path: &Path,
    first: &mut BTreeMap<(u64, u64), PathBuf>,
    found: &mut BTreeMap<PathBuf, Found>,
) {
    let full = root.join(path);
    let metadata = full.symlink_metadata().expect("it is there");
    let name = first.entry((metadata.dev(), metadata.ino())).or_insert_with(|| path.to_owned()).clone();
    found.insert(
        path.to_owned(),
        Found {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: if metadata.is_dir() { 0 } else { metadata.size() },
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            device: metadata.rdev(),
            first: name,
            target: fs::read_link(&full).ok(),
            xattrs: xattrs(&full),
        },
    );
    if metadata.is_dir() {
        let entries = fs::read_dir(&full).expect("it can be read");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        for name in names {
            add_files(root, &path.join(name), first, found);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("it was listed");
        value[..length].to_vec()
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

fn same_contents(a: &Path, b: &Path) -> bool {
    let (mut a, mut b) = (File::open(a).expect("it is there"), File::open(b).expect("it is there"));
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = a.read(&mut ours).expect("it can be read");
        if b.read_exact(&mut theirs[..count]).is_err() || ours[..count] != theirs[..count] {
            return false;
        }
        if count == 0 {
            return b.read(&mut theirs).expect("it can be read") == 0;
        }
    }
}

/// Compares two directory trees with all attributes and contents; the roots themselves only where `roots`.
#[track_caller]
fn assert_same(a: &Path, b: &Path, roots: bool) {
    let (mut ours, mut theirs) = (files(a), files(b));
    if !roots {
        ours.remove(Path::new(""));
        theirs.remove(Path::new(""));
    }
    let names = |files: &BTreeMap<PathBuf, Found>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    assert!(ours.len() > 1);
    for (path, found) in &ours {
        assert_eq!(found, &theirs[path], "{}", path.display());
        if found.mode & 0o170_000 == 0o100_000 {
            assert!(same_contents(&a.join(path), &b.join(path)), "contents of {}", path.display());
        }
    }
}

#[test]
fn what_is_extracted_is_what_was_put_in() {
    let place = Place::with_image(&[]);
    let ran = place.pool(&["extract", "pool.img", "-C", "out"]).succeeds();
    assert_eq!(ran.errors(), "", "{ran}");
    assert_same(&place.path("tree"), &place.path("out"), true);
    // Holes are holes again.
    let hole = place.path("out/holes/largest").metadata().expect("it is there");
    assert_eq!((hole.size(), hole.blocks() < 1000), (64 << 20, true));
}

#[test]
fn parts_are_extracted_with_the_directories_that_lead_to_them() {
    let place = Place::with_image(&[]);
    place.pool(&["extract", "pool.img", "links/below", "deep/d/d/file", "-C", "out"]).succeeds();
    let names: Vec<PathBuf> = files(&place.path("out")).into_keys().collect();
    let expected = ["", "deep", "deep/d", "deep/d/d", "deep/d/d/file", "links", "links/below", "links/below/three"];
    assert_eq!(names, expected.map(PathBuf::from));
    let mode = |path: &str| place.path(path).metadata().expect("it is there").mode();
    assert_eq!(mode("out/deep/d"), mode("tree/deep/d"));

    place.pool(&["extract", "pool.img:/links/below", "-C", "below"]).succeeds();
    assert_same(&place.path("tree/links/below"), &place.path("out/links/below"), true);
    place.pool(&["extract", "pool.img:/links/one", "-C", "alone"]).succeeds();
    assert_eq!(fs::read(place.path("alone/one")).expect("it is there"), b"one file, three names\n");
    let ran = place.pool(&["extract", "pool.img", "links/nothing/x", "-C", "none"]).ends_with(3);
    assert!(ran.errors().contains("'/links/nothing/x'; the nearest that exists is '/links'"), "{ran}");
    assert!(!place.path("none").exists());
}

#[test]
fn what_exists_is_refused_replaced_or_kept() {
    let place = Place::with_image(&[]);
    place.pool(&["extract", "pool.img", "-C", "out"]).succeeds();
    let ran = place.pool(&["extract", "pool.img", "-C", "out"]).ends_with(3);
    assert!(ran.errors().contains("exists: --force replaces it, --resume keeps it"), "{ran}");

    // As after an interruption: a file is missing, another one has a temporary name still.
    fs::remove_file(place.path("out/links/two")).expect("it is there");
    fs::remove_file(place.path("out/holes/far")).expect("it is there");
    let ran = place.pool(&["extract", "pool.img", "-C", "out", "--resume"]).succeeds();
    assert!(ran.text().starts_with("2 files extracted"), "{ran}");
    assert_same_but_for_directories(&place);

    // Not the file that was extracted, by another one of its names.
    fs::write(place.path("out/links/one"), "another").expect("it can be written");
    let ran = place.pool(&["extract", "pool.img", "-C", "out", "--resume"]).ends_with(3);
    assert!(ran.errors().contains("links/below/three exists and is not what would be extracted"), "{ran}");
    place.pool(&["extract", "pool.img", "-C", "out", "--force"]).succeeds();
    assert_same_but_for_directories(&place);
}

/// Directories that were there already keep the times that they have.
#[track_caller]
fn assert_same_but_for_directories(place: &Place) {
    let of = |name: &str| {
        let mut files = files(&place.path(name));
        files.retain(|_, found| found.mode & 0o170_000 != 0o040_000);
        files
    };
    assert_eq!(of("tree"), of("out"));
}

#[test]
fn nothing_is_written_through_links_that_lie_in_the_way() {
    let place = Place::with_image(&[]);
    fs::create_dir(place.path("outside")).expect("a directory can be made");
    fs::create_dir(place.path("out")).expect("a directory can be made");
    symlink("../outside", place.path("out/links")).expect("a link can be made");
    fs::create_dir(place.path("out/holes")).expect("a directory can be made");
    fs::write(place.path("precious"), "precious").expect("a file can be written");
    symlink("../../precious", place.path("out/holes/far")).expect("a link can be made");
    let ran = place.pool(&["extract", "pool.img", "links", "-C", "out"]).ends_with(3);
    assert!(ran.errors().contains("links exists and is no directory: --force replaces it"), "{ran}");
    place.pool(&["extract", "pool.img", "links", "holes/far", "-C", "out", "--force"]).succeeds();
    assert_eq!(fs::read_dir(place.path("outside")).expect("it is there").count(), 0);
    assert_eq!(fs::read(place.path("precious")).expect("it is there"), b"precious");
    assert!(same_contents(&place.path("tree/holes/far"), &place.path("out/holes/far")));
}

#[test]
fn an_archive_is_what_bsdtar_and_gnu_tar_take_it_for() {
    let place = Place::with_image(&[]);
    place.archive("pool.img", "pool.tar");
    let peers: [(&str, &[&str]); 2] = [
        ("bsdtar", &["-xpf"]),
        ("tar", &["--warning=no-timestamp", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]),
    ];
    for (program, options) in peers {
        let Some(peer) = Peer::find("archives before others", program) else { continue };
        let out = place.path(program);
        fs::create_dir(&out).expect("a directory can be made");
        let mut command = peer.command();
        let ran = command::run(command.args(options).arg(place.path("pool.tar")).current_dir(&out), LIMIT).succeeds();
        assert_eq!(ran.errors(), "", "{ran}");
        // bsdtar gives the directory that it is in no time.
        assert_same(&place.path("tree"), &out, false);
    }
}

#[test]
fn an_archive_makes_the_same_image_again() {
    let place = Place::new();
    let manifest = "#mtree\n. type=dir mode=0755 uname=root gname=wheel time=1700000000.5\n\
        ./f type=file mode=0600 uid=7 gid=8 flags=schg,nodump time=1700000000.123456789 contents=data\n\
        ./d type=dir mode=1777 uid=0 gid=0 flags=sunlnk time=-5.0\n";
    fs::write(place.path("data"), "contents").expect("a file can be written");
    fs::write(place.path("x.mtree"), manifest).expect("a file can be written");
    place.build("flags.img", &["x.mtree"]);
    let recipe = Recipe { block_sizes: vec![4096, 128 << 10], many: 300, largest_hole: 9 << 30, ..Recipe::default() };
    recipe.make(&place.path("tree")).expect("the tree can be made");
    place.build("pool.img", &["tree"]);
    for image in ["flags.img", "pool.img"] {
        let first = place.archive(image, &format!("{image}.tar"));
        place.build(&format!("{image}.2"), &[&format!("{image}.tar")]);
        let second = place.archive(&format!("{image}.2"), &format!("{image}.2.tar"));
        assert!(first == second, "the archives of {image} and of the image made from its archive differ");
        let lists = |image: &str| place.pool(&["find", image, "--json"]).succeeds().text();
        assert_eq!(lists(image).replace(".img.2", ".img").len(), lists(&format!("{image}.2")).len());
    }
    let stat = place.pool(&["stat", "flags.img.2:/f"]).succeeds().text();
    assert!(stat.contains("flags  nodump,uarch,schg"), "{stat}");
}

#[test]
fn access_control_lists_survive_an_archive() {
    let Some(place) = Place::corpus("lists", "xattr") else { return };
    for dataset in ["sa-auto", "dir-legacy"] {
        let target = format!("xattr.img:{dataset}");
        let first = place.archive(&target, "first.tar");
        assert!(first.windows(15).any(|bytes| bytes == b"SCHILY.acl.acce"), "{dataset}");
        place.pool(&["extract", &target, "-C", dataset]).succeeds();
        place.build("again.img", &["--dataset=zroot;acltype=posix", "--force", "first.tar"]);
        place.pool(&["tar", "again.img", "-o", "second.tar"]).succeeds();
        let second = fs::read(place.path("second.tar")).expect("it is there");
        assert!(first == second, "{dataset}");
        fs::remove_file(place.path("first.tar")).expect("it is there");
        fs::remove_file(place.path("second.tar")).expect("it is there");
    }
    let Some(bsdtar) = Peer::find("lists", "bsdtar") else { return };
    place.archive("xattr.img:sa-16k", "one.tar");
    fs::create_dir(place.path("bsdtar")).expect("a directory can be made");
    let ran = command::run(bsdtar.command().args(["-xpf", "../one.tar"]).current_dir(place.path("bsdtar")), LIMIT);
    place.pool(&["extract", "xattr.img:sa-16k", "-C", "tine"]).succeeds();
    // The host may refuse trusted attributes or lists to bsdtar.
    if ran.code() == 0 {
        assert_same(&place.path("tine"), &place.path("bsdtar"), true);
    }
}

#[test]
fn datasets_are_taken_where_they_are_mounted() {
    let place = Place::with_image(&[
        "--dataset=zroot/links;mountpoint=/links",
        "--dataset=zroot/deep;mountpoint=/deep/d",
        "--dataset=zroot/not;mountpoint=/empty;canmount=off",
        "--snapshot=@all",
    ]);
    place.pool(&["extract", "pool.img", "-C", "one"]).succeeds();
    assert!(!place.path("one/links/one").exists());
    for (target, out) in [("pool.img", "head"), ("pool.img:@all", "snapshot")] {
        let ran = place.pool(&["extract", "-R", target, "-C", out]).succeeds();
        assert_eq!(ran.errors(), "", "{ran}");
        assert_same(&place.path("tree"), &place.path(out), true);
    }
    place.pool(&["tar", "-R", "pool.img", "links/below/three", "-o", "part.tar"]).succeeds();
    let ran = place.pool(&["extract", "-R", "pool.img:/deep", "-C", "none"]).ends_with(2);
    assert!(ran.errors().contains("leave the path out"), "{ran}");
}

/// Flips bits in an image where `contents` are stored, uncompressed.
fn damage(image: &Path, contents: &[u8]) {
    let bytes = fs::read(image).expect("the image is there");
    let place = bytes.windows(contents.len()).position(|window| window == contents).expect("the contents are there");
    let file = File::options().write(true).open(image).expect("the image is there");
    file.write_all_at(&[!contents[0]], place as u64).expect("it can be written");
}

#[test]
fn a_damaged_file_is_told_and_left_out_and_the_others_are_not() {
    let place = Place::new();
    let recipe = Recipe { block_sizes: vec![128 << 10], many: 5, largest_hole: 1 << 20, ..Recipe::default() };
    recipe.make(&place.path("tree")).expect("the tree can be made");
    place.build("pool.img", &["--dataset=zroot;compression=off", "tree"]);
    let path = "sizes-131072/393216.noise";
    let noise = fs::read(place.path("tree").join(path)).expect("it is there");
    damage(&place.path("pool.img"), &noise[140_000..140_512]);

    let ran = place.pool(&["cat", &format!("pool.img:/{path}")]).ends_with(1);
    assert!(ran.errors().contains(&format!("zroot:/{path}: after 131072 bytes: ")), "{ran}");
    assert!(ran.errors().contains("fletcher4"), "{ran}");
    assert_eq!(ran.errors().lines().count(), 1, "{ran}");
    assert!(ran.stdout == noise[..131_072]);

    let ran = place.pool(&["extract", "pool.img", "-C", "out"]).ends_with(1);
    assert!(ran.errors().contains(path) && ran.text().ends_with("; 1 file damaged\n"), "{ran}");
    assert!(!place.path("out").join(path).exists());
    fs::remove_file(place.path("tree").join(path)).expect("it is there");
    let times = |name: &str| {
        let mut files = files(&place.path(name));
        files.remove(Path::new("sizes-131072"));
        files
    };
    assert_eq!(times("tree"), times("out"));

    let ran = place.pool(&["extract", "pool.img", path, "-C", "kept", "--keep-damaged", "--json"]).ends_with(1);
    assert!(ran.text().contains(&format!("\"damaged\": [\n    \"{path}\"")), "{ran}");
    let kept = fs::read(place.path("kept").join(format!("{path}.damaged"))).expect("it is there");
    assert!(kept[..131_072] == noise[..131_072] && kept[262_144..] == noise[262_144..]);
    assert!(kept[131_072..262_144].iter().all(|&byte| byte == 0));

    let ran = place.pool(&["tar", "pool.img", path, "-o", "x.tar"]).ends_with(1);
    assert!(ran.errors().contains(path), "{ran}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let place = Place::with_image(&[]);
    let many = ["pool.img:/many"; 2];
    for arguments in
        [&["cat", "pool.img:/holes/largest"][..], &["tar", "pool.img"], &["ls", "-lR", "pool.img", many[0]]]
    {
        let mut command = place.command(TINE, &[&["pool"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be started");
        let mut stdout = child.stdout.take().expect("it is a pipe");
        let mut one = [0];
        stdout.read_exact(&mut one).expect("there is something");
        drop(stdout);
        assert!(child.wait().expect("it ends").success(), "{arguments:?}");
    }
}

#[test]
fn paths_lead_through_links_within_the_dataset() {
    let place = Place::new();
    fs::create_dir_all(place.path("tree/usr/tmp")).expect("a directory can be made");
    fs::write(place.path("tree/usr/tmp/x"), "x").expect("a file can be written");
    symlink("/usr/tmp", place.path("tree/tmp")).expect("a link can be made");
    symlink("../../usr/tmp/../tmp", place.path("tree/usr/again")).expect("a link can be made");
    symlink("loop", place.path("tree/loop")).expect("a link can be made");
    place.build("pool.img", &["tree"]);
    for path in ["tmp/x", "/usr/again/x", "usr//./tmp/x", "tmp/../tmp/x"] {
        assert_eq!(place.pool(&["cat", &format!("pool.img:/{path}")]).succeeds().text(), "x", "{path}");
    }
    assert_eq!(place.pool(&["ls", "pool.img:/tmp"]).succeeds().text(), "x\n");
    let link = place.pool(&["ls", "-l", "pool.img:/tmp"]).succeeds().text();
    assert!(link.ends_with("/tmp -> /usr/tmp\n"), "{link}");
    assert_eq!(place.pool(&["ls", "-l", "pool.img:/tmp/"]).succeeds().text().lines().count(), 1);
    let ran = place.pool(&["cat", "pool.img:/loop"]).ends_with(3);
    assert!(ran.errors().contains("'/loop' leads through too many symbolic links"), "{ran}");
    let ran = place.pool(&["cat", "pool.img:/usr/tmp/x/"]).ends_with(3);
    assert!(ran.errors().contains("there is no file"), "{ran}");
}

#[test]
fn names_are_compared_as_the_dataset_does() {
    let place = Place::new();
    fs::create_dir_all(place.path("tree/Dir")).expect("a directory can be made");
    fs::write(place.path("tree/Dir/File"), "x").expect("a file can be written");
    for (case, finds) in [("sensitive", false), ("mixed", false), ("insensitive", true)] {
        let image = format!("{case}.img");
        place.build(&image, &[&format!("--dataset=zroot;casesensitivity={case}"), "tree"]);
        place.pool(&["cat", &format!("{image}:/Dir/File")]).succeeds();
        let ran = place.pool(&["cat", &format!("{image}:/dir/fILE")]);
        assert_eq!(ran.code() == 0, finds, "{case}: {ran}");
    }
}

#[test]
fn listings_say_what_ls_find_and_du_say() {
    let place = Place::new();
    fs::create_dir_all(place.path("tree/etc")).expect("a directory can be made");
    fs::write(place.path("tree/etc/passwd"), "root:*:0:0::/root:/bin/sh\nwww:*:80:80::/:/\n").expect("a file");
    fs::write(place.path("tree/etc/group"), "wheel:*:0:\nwww:*:80:\n").expect("a file");
    fs::write(place.path("tree/big"), vec![7; 300_000]).expect("a file can be written");
    fs::write(place.path("tree/.hidden"), "").expect("a file can be written");
    place.build("pool.img", &["--owner=80", "--group=80", "tree"]);
    let text = |arguments: &[&str]| place.pool(arguments).succeeds().text();

    assert_eq!(text(&["ls", "pool.img"]), "big\netc\n");
    assert_eq!(text(&["ls", "-a", "pool.img"]), ".hidden\nbig\netc\n");
    assert_eq!(text(&["ls", "-R", "pool.img"]), "zroot:\nbig\netc\n\nzroot:/etc:\ngroup\npasswd\n");
    let long = text(&["ls", "-l", "pool.img:/etc"]);
    assert!(long.lines().all(|line| line.starts_with("-rw") && line.contains(" www www ")), "{long}");
    assert!(text(&["ls", "-n", "pool.img:/etc"]).contains(" 80 80 "));
    let json = text(&["ls", "--json", "pool.img:/etc"]);
    assert!(json.contains(r#""path":"/etc/passwd","type":"file","mode":"0"#), "{json}");

    assert_eq!(text(&["find", "pool.img", "-type", "f", "-size", "+100k"]), "/big\n");
    assert_eq!(text(&["find", "pool.img:/etc", "-name", "*d"]), "/etc/passwd\n");
    assert_eq!(text(&["find", "pool.img", "-user", "www", "-maxdepth", "0", "-print0"]), "/\0");
    assert_eq!(text(&["find", "pool.img", "-newer", "@99999999999"]), "");
    let du = text(&["du", "-s", "pool.img"]);
    let numbers: Vec<u64> = du.split_whitespace().flat_map(str::parse).collect();
    assert!(numbers[1] > 300_000 && numbers[0] > 0 && du.ends_with("  /\n"), "{du}");
    assert_eq!(text(&["du", "-d", "1", "pool.img"]).lines().count(), 2);
    assert_eq!(
        text(&["tree", "-a", "pool.img"]),
        "zroot\n├── .hidden\n├── big\n└── etc\n    ├── group\n    └── passwd\n\n1 directory, 4 files\n"
    );
    let stat = text(&["stat", "pool.img:/big"]);
    assert!(stat.contains("owner  www (80)") && stat.contains("compression  lz4"), "{stat}");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let place = Place::with_image(&["--dataset=zroot/home"]);
    let told = |arguments: &[&str], code: i32, told: &str| {
        let ran = place.pool(arguments).ends_with(code);
        assert!(ran.errors().contains(told) && ran.errors().lines().count() == 1, "{ran}");
    };
    told(&["ls", "pool.img:hone"], 3, "there is no dataset 'zroot/hone'; did you mean 'zroot/home'?");
    told(
        &["ls", "pool.img:/deep/d/x/y"],
        3,
        "zroot: there is no file '/deep/d/x/y'; the nearest that exists is '/deep/d'",
    );
    told(&["cat", "pool.img:/deep"], 3, "zroot:/deep is a directory, not a file");
    told(&["extract", "pool.img", "../x", "-C", "out"], 2, "give paths without '..'");
    told(&["diff", "pool.img"], 2, "one dataset alone cannot be compared");
}

#[test]
fn changes_between_snapshots_are_those_that_were_made() {
    let Some(place) = Place::corpus("differences", "snap") else { return };
    let diff = |older: &str, newer: &str| {
        place.pool(&["diff", &format!("snap.img:{older}"), &format!("snap.img:{newer}")]).succeeds().text()
    };
    assert_eq!(diff("a@s3", "a@s4"), "M d /\n+ d /nd\nR F /rand-700k -> /renamed\n");
    assert_eq!(diff("a@s4", "a@s3"), "M d /\n- d /nd\nR F /renamed -> /rand-700k\n");
    assert_eq!(diff("a@s4", "a@last"), "");
    assert_eq!(diff("a@s1", "clone@c1"), "M d /\nM d /d1\n- F /d1/small-000\n+ F /newfile\n");
    // Paths tell the same, but for renames, and for directories whose times differ only.
    let removed = diff("a@s1", "a@s3").lines().filter(|line| line.starts_with('-')).count();
    assert_eq!(removed, 35);
    let json = place.pool(&["diff", "--json", "snap.img:a@s3", "snap.img:a@s4"]).succeeds().text();
    assert!(json.contains(r#"{"change":"renamed","type":"file","path":"/renamed","from":"/rand-700k"}"#), "{json}");
}

#[test]
fn strangers_are_compared_path_by_path() {
    let place = Place::with_image(&["--dataset=zroot/links;mountpoint=/links"]);
    fs::write(place.path("tree/names/#hash"), "other").expect("it can be written");
    fs::remove_file(place.path("tree/special/fifo")).expect("it is there");
    fs::create_dir(place.path("tree/special/fifo")).expect("a directory can be made");
    place.build("other.img", &["--dataset=zroot/links;mountpoint=/links", "tree"]);
    let ran = place.pool(&["diff", "pool.img", "other.img"]).succeeds();
    assert_eq!(ran.text(), "M F /names/#hash\nM d /special\n- p /special/fifo\n+ d /special/fifo\n");
    let same = place.pool(&["diff", "pool.img:links", "other.img:links"]).succeeds();
    assert_eq!(same.text(), "");
}

#[test]
fn files_of_real_pools_come_out_whole() {
    let Some(place) = Place::corpus("sums", "comp") else { return };
    let Some(corpus) = peer::corpus("sums") else { return };
    let manifest = fs::read_to_string(corpus.join("manifest/comp.txt")).expect("there is a manifest");
    let Some(sha256sum) = Peer::find("sums", "sha256sum") else { return };
    let mut dataset = "";
    let mut sums: BTreeMap<&str, String> = BTreeMap::new();
    let mut in_sums = false;
    for line in manifest.lines() {
        if let Some(title) = line.strip_prefix("## dataset ") {
            dataset = title.split(" at ").next().unwrap_or_default();
            in_sums = false;
        } else if line.starts_with("# ") {
            in_sums = line == "# sha256";
        } else if in_sums {
            sums.entry(dataset).or_default().push_str(&format!("{line}\n"));
        }
    }
    assert!(sums.len() > 5);
    for (dataset, sums) in sums {
        let rest = dataset.strip_prefix("comp").expect("it is in the pool").trim_start_matches('/');
        place.pool(&["extract", &format!("comp.img:{rest}"), "-C", "out", "--force", "-q"]).succeeds();
        fs::write(place.path("out.sums"), sums).expect("it can be written");
        let mut command = sha256sum.command();
        command.args(["--check", "--quiet", "../out.sums"]).current_dir(place.path("out"));
        command::run(&mut command, LIMIT).succeeds();
        fs::remove_dir_all(place.path("out")).expect("it is there");
    }
}
