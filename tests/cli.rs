//! The program as its users meet it: exit status, messages, and what is left on the disk.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use common::zdb::Zdb;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::TempDir;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// A directory of a test's own, with a small tree in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a directory can be made"));
        write_tree(&place.path("tree"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("a file can be written");
    }

    /// A command that runs `program` in the directory.
    fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(self.0.path()).env_remove("SOURCE_DATE_EPOCH");
        command
    }

    fn tine(&self, arguments: &[&str]) -> Ran {
        command::run(&mut self.command(TINE, arguments), LIMIT)
    }

    /// `tine image build` with these arguments, and the image's bytes.
    fn build(&self, arguments: &[&str]) -> Vec<u8> {
        self.tine(&[&["image", "build", "--force", "-o", "out.img"], arguments].concat()).succeeds();
        fs::read(self.path("out.img")).expect("the image is there")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the directory can be read");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Runs the program: it must end with `code`, tell why in one sentence that has
    /// `told` in it, and leave no file behind.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, told: &str) {
        self.command_fails(&mut self.command(TINE, arguments), code, told);
    }

    #[track_caller]
    fn command_fails(&self, command: &mut Command, code: i32, told: &str) {
        let before = self.names();
        let ran = command::run(command, LIMIT).ends_with(code);
        let errors = ran.errors();
        assert!(errors.contains(told), "{told:?} is not told:\n{ran}");
        assert!(errors.starts_with("tine: ") || errors.starts_with("makefs: "), "{ran}");
        assert_eq!(errors.trim_end().lines().count(), 1, "{ran}");
        assert_eq!(ran.text(), "", "{ran}");
        assert_eq!(self.names(), before, "{ran}");
    }

    #[track_caller]
    fn build_fails(&self, arguments: &[&str], code: i32, told: &str) {
        self.fails(&[&["image", "build", "-o", "out.img"], arguments].concat(), code, told);
    }
}

/// Files, a hole, links, directories; everything's time is set.
fn write_tree(root: &Path) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for folder in ["", "etc", "home", "home/u", "usr", "usr/src"] {
        fs::create_dir(root.join(folder)).expect("a directory can be made");
    }
    for (name, contents) in [("etc/rc.conf", "hostname=x\n"), ("home/u/a b", "c"), ("usr/src/empty", "")] {
        fs::write(root.join(name), contents).expect("a file can be written");
    }
    fs::write(root.join("usr/large"), "A line of text.\n".repeat(40_000)).expect("a file can be written");
    let sparse = File::create(root.join("usr/sparse")).expect("a file can be made");
    sparse.write_all_at(b"end", 3 << 20).expect("a file can be written");
    fs::hard_link(root.join("etc/rc.conf"), root.join("etc/rc.link")).expect("a link can be made");
    symlink("rc.conf", root.join("etc/rc.symlink")).expect("a link can be made");
    for file in ["etc/rc.conf", "home/u/a b", "usr/src/empty", "usr/large", "usr/sparse"] {
        let file = File::options().write(true).open(root.join(file)).expect("it is there");
        file.set_modified(time).expect("a time can be set");
        file.set_permissions(fs::Permissions::from_mode(0o644)).expect("a mode can be set");
    }
    let times = Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: times, last_modification: times };
    utimensat(CWD, root.join("etc/rc.symlink"), &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time can be set");
    for folder in ["etc", "home/u", "home", "usr/src", "usr", ""] {
        let folder = File::open(root.join(folder)).expect("it is there");
        folder.set_modified(time).expect("a time can be set");
        folder.set_permissions(fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    }
}

#[test]
fn an_image_is_built_and_reported_on() {
    let place = Place::new();
    let ran = place.tine(&["image", "build", "tree", "-o", "zroot.img"]).succeeds();
    assert!(ran.text().starts_with("zroot.img: pool zroot, guid "), "{ran}");
    assert_eq!(ran.errors(), "");
    assert_eq!(place.names(), ["tree", "zroot.img"]);
}

#[test]
fn quiet_means_not_a_word() {
    let place = Place::new();
    let ran = place.tine(&["image", "build", "-q", "tree", "-o", "zroot.img"]).succeeds();
    assert_eq!((ran.text(), ran.errors()), (String::new(), String::new()));
}

#[test]
fn the_report_is_json_on_demand() {
    let place = Place::new();
    let build = ["image", "build", "--json", "tree", "-o", "a.img", "--layout", "bsdinstall", "--snapshot", "@one"];
    let ran = place.tine(&build).succeeds();
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    assert_eq!(report["image"], "a.img");
    assert_eq!(report["pool"], "zroot");
    let size = fs::metadata(place.path("a.img")).expect("the image is there").len();
    assert_eq!(report["size"], size);
    assert!(report["pool_guid"].as_str().is_some_and(|guid| guid.parse::<u64>().is_ok()));
    let datasets = report["datasets"].as_array().expect("a list");
    let default = datasets.iter().find(|dataset| dataset["name"] == "zroot/ROOT/default").expect("it is there");
    assert_eq!(default["snapshots"][0], "one");
}

#[test]
fn an_image_that_is_read_back_is_the_same_and_a_damaged_one_is_told_with_file_and_place() {
    let place = Place::new();
    place.write("tree/data", "0123456789abcdef".repeat(4096));
    let mut image = place.build(&["tree", "--compression", "off", "--verify"]);
    assert_eq!(place.build(&["tree", "--compression", "off"]), image);
    let sound = place.tine(&["pool", "verify", "out.img"]).succeeds();
    assert!(sound.text().starts_with("zroot: sound\n"), "{sound}");
    assert_eq!(place.tine(&["pool", "verify", "-q", "out.img"]).succeeds().text(), "");

    let contents = "0123456789abcdef".repeat(32);
    let at = image.windows(512).position(|part| part == contents.as_bytes()).expect("the file is in the image");
    image[at + 100] ^= 1;
    place.write("damaged.img", &image);
    let told = place.tine(&["pool", "verify", "damaged.img"]).ends_with(1);
    assert!(told.text().starts_with("Unreadable: 1\n  zroot:/data, object "), "{told}");
    assert!(told.text().contains(&format!("damaged.img at byte {at} ")), "{told}");
    assert!(told.text().contains("zroot: 1 fault found\n"), "{told}");
    let json = place.tine(&["pool", "verify", "--json", "-j", "1", "damaged.img"]).ends_with(1);
    let json: serde_json::Value = serde_json::from_str(&json.text()).expect("it is JSON");
    let finding = &json["findings"][0];
    assert_eq!((&finding["kind"], &finding["path"]), (&"unreadable".into(), &"/data".into()));
    assert_eq!((&finding["block"]["number"], &finding["copies"][0]["device_offset"]), (&0.into(), &at.into()));
    assert_eq!((&json["sound"], &json["counts"]["unreadable"]), (&false.into(), &1.into()));
}

#[test]
fn the_size_that_is_asked_for_is_the_size_of_the_image() {
    let place = Place::new();
    assert_eq!(place.build(&["tree", "-s", "200m"]).len(), 200 << 20);
}

#[test]
fn the_number_of_threads_does_not_show_in_the_image() {
    let place = Place::new();
    let one = place.build(&["tree", "-j", "1"]);
    assert!(one == place.build(&["tree", "-j", "2"]));
    assert!(one == place.build(&["tree", "-j", "7", "--memory", "512m"]));
}

#[test]
fn the_place_of_the_tree_does_not_show_in_the_image() {
    let place = Place::new();
    let there = place.build(&["tree"]);
    // Written in another order, in another directory: other inodes.
    fs::create_dir(place.path("elsewhere")).expect("a directory can be made");
    write_tree(&place.path("elsewhere/copy"));
    assert!(there == place.build(&["elsewhere/copy"]));
}

#[test]
fn an_archive_gives_the_image_that_its_directory_gives() {
    let place = Place::new();
    let directory = place.build(&["tree", "--no-xattrs"]);
    let mut tar = place.command("tar", &["-c", "-f", "tree.tar", "--sparse", "-C", "tree", "."]);
    command::run(&mut tar, LIMIT).succeeds();
    assert!(directory == place.build(&["tree.tar"]));
    let mut gzip = place.command("gzip", &["tree.tar"]);
    command::run(&mut gzip, LIMIT).succeeds();
    assert!(directory == place.build(&["tree.tar.gz"]));
    let mut piped = place.command(TINE, &["image", "build", "-", "--force", "-o", "out.img"]);
    piped.stdin(File::open(place.path("tree.tar.gz")).expect("it is there")).stdout(Stdio::null());
    assert!(piped.status().expect("it starts").success());
    assert!(directory == fs::read(place.path("out.img")).expect("the image is there"));
}

/// Sources and options of an image with encrypted datasets.
const ENCRYPTED: [&str; 5] = [
    "tree",
    "--dataset=zroot;encryption=on;keyformat=passphrase;pbkdf2iters=100000",
    "--key=zroot=passphrase",
    "--dataset=zroot/home;encryption=aes-192-ccm;keyformat=hex",
    "--key=zroot/home=hex",
];

#[test]
fn an_encrypted_image_is_the_same_again_and_another_one_with_another_key() {
    let place = Place::new();
    place.write("passphrase", "correct horse\n");
    place.write("hex", "0123456789abcdef".repeat(4));
    let first = place.build(&[&ENCRYPTED[..], &["-j1", "--verify"]].concat());
    assert!(first == place.build(&[&ENCRYPTED[..], &["-j3"]].concat()), "threads show");
    assert!(!contains(&first, b"A line of text."), "plain text is in the image");
    assert!(contains(&place.build(&["tree", "--compression=off"]), b"A line of text."));
    place.tine(&["pool", "cat", "-p", "out.img", "zroot:/etc/rc.conf"]).succeeds();
    place.build(&ENCRYPTED);
    place.tine(&["pool", "cat", "-p", "out.img", "zroot:/etc/rc.conf"]).ends_with(3);
    let opened = ["pool", "cat", "-p", "out.img", "zroot:/etc/rc.conf", "--passphrase-file", "passphrase"];
    assert_eq!(place.tine(&opened).succeeds().text(), "hostname=x\n");
    place.write("passphrase", "another horse\n");
    assert!(first != place.build(&ENCRYPTED), "the key does not show");
}

#[test]
fn keys_that_are_missing_or_wrong_are_told_and_not_shown() {
    let place = Place::new();
    place.write("short", "horse\n");
    place.write("passphrase", "correct horse\n");
    let encrypted = "--dataset=zroot;encryption=on;keyformat=passphrase";
    place.build_fails(&["tree", encrypted], 3, "its key is missing");
    place.build_fails(&["tree", encrypted, "--key=zroot=short"], 3, "5 bytes");
    place.build_fails(&["tree", encrypted, "--key=zroot=none"], 3, "none");
    place.build_fails(&["tree", encrypted, "--key=other=short"], 2, "no dataset other");
    place.build_fails(&["tree", "--dataset=zroot;encryption=on"], 3, "keyformat");
    place.build_fails(&["tree", "--dataset=zroot;keyformat=hex", "--key=zroot=short"], 3, "encryption=on");
    let raw = "--dataset=zroot;encryption=on;keyformat=raw";
    place.build_fails(&["tree", raw, "--key=zroot=passphrase"], 3, "wants 32");
    let old = [encrypted, "--key=zroot=passphrase", "--compatibility=openzfs-2.1-linux,grub2"];
    place.build_fails(&[&["tree"][..], &old[..]].concat(), 3, "leaves out");
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn several_images_make_up_a_pool_that_is_read_without_one_of_them() {
    let place = Place::new();
    let disks = ["-o", "a.img", "-o", "b.img", "-o", "c.img"];
    place.tine(&[&["image", "build", "tree", "--vdev=raidz1", "--verify"][..], &disks].concat()).succeeds();
    place.tine(&["pool", "verify", "zroot", "-p", "a.img", "-p", "b.img", "-p", "c.img"]).succeeds();
    let read = place.tine(&["pool", "cat", "-p", "a.img", "-p", "c.img", "zroot:/etc/rc.conf"]);
    assert_eq!(read.succeeds().text(), "hostname=x\n");
    place.tine(&["pool", "verify", "a.img", "b.img", "c.img"]).succeeds();
    place.build(&["tree"]);
    place.fails(&["pool", "verify", "a.img", "out.img"], 3, "out.img: it is no device of pool 'zroot'");

    place.fails(&[&["image", "build", "tree"][..], &["-o", "x", "-o", "y"]].concat(), 2, "--vdev mirror");
    place.fails(&["image", "build", "tree", "--vdev=raidz2", "-o", "x", "-o", "y"], 2, "3 or more images");
    place.fails(&["image", "build", "tree", "--vdev=mirror", "-o", "x", "-o", "x"], 2, "given twice");
    let mixed = ["image", "build", "tree", "--vdev=mirror", "--vdev=disk", "-o", "x", "-o", "y", "-o", "z"];
    place.fails(&mixed, 2, "one type");
}

#[test]
fn an_image_of_one_disk_says_what_it_is_part_of_and_several_what_is_in_them() {
    let place = Place::new();
    let disks = ["-o", "a.img", "-o", "b.img", "-o", "c.img"];
    place.tine(&[&["image", "build", "tree", "--vdev=raidz1"][..], &disks].concat()).succeeds();
    let one = place.tine(&["image", "info", "b.img"]).succeeds();
    assert!(one.text().contains("4 of 4 labels, device 2 of 3 of raidz1-0\n"), "{one}");
    assert!(one.text().contains("other devices of the pool, 2 in all, are missing: give their images, too"), "{one}");
    let two = place.tine(&["image", "info", "b.img", "a.img"]).succeeds();
    assert_eq!(two.text().matches("MOUNTPOINT").count(), 1, "{two}");
    assert!(two.text().contains("device 1 of 3 of raidz1-0"), "{two}");
    let json = place.tine(&["image", "info", "b.img", "a.img", "--json"]).succeeds();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    for image in json["images"].as_array().expect("a report of each") {
        let pool = &image["partitions"][0]["contents"];
        assert_eq!((&pool["member"]["of"], &pool["member"]["count"]), (&"raidz1-0".into(), &3.into()));
        assert_eq!(pool["missing"].as_array().map(Vec::len), Some(1));
        assert_eq!(pool["datasets"][0]["name"], "zroot");
    }
}

#[test]
fn boot_environments_are_clones_of_what_has_the_files() {
    let place = Place::new();
    place.build(&["tree", "--layout=bsdinstall", "--be=next", "--be=other", "--bootfs=zroot/ROOT/next", "--verify"]);
    let read = place.tine(&["pool", "cat", "-p", "out.img", "zroot/ROOT/next:/etc/rc.conf"]);
    assert_eq!(read.succeeds().text(), "hostname=x\n");
    place.build_fails(&["tree", "--be=next", "--force"], 2, "no dataset has mountpoint=/");
    place.build_fails(&["tree", "--be=ne/xt", "--layout=bsdinstall", "--force"], 3, "ROOT/ne");
}

#[test]
fn a_manifest_finds_its_files_beside_itself_or_where_it_is_told() {
    let place = Place::new();
    let manifest = "#mtree 2.0\n. type=dir uname=root gname=wheel mode=0755 time=1700000000.0\n\
                    ./etc type=dir uname=root gname=wheel mode=0755 time=1700000000.0\n\
                    ./etc/rc.conf type=file uname=root gname=wheel mode=0644 time=1700000000.0\n";
    place.write("tree/METALOG", manifest);
    place.write("list.mtree", manifest);
    let beside = place.build(&["tree/METALOG"]);
    assert!(beside == place.build(&["list.mtree", "--mtree-root", "tree"]));
}

#[test]
fn a_later_source_replaces_what_an_earlier_one_has() {
    let place = Place::new();
    fs::create_dir_all(place.path("over/etc")).expect("a directory can be made");
    place.write("over/etc/rc.conf", "hostname=y\n");
    let owner = ["--owner", "0", "--group", "0", "--chmod", "755", "--mtime", "0"];
    let both = place.build(&[&["tree", "over"][..], &owner].concat());
    let reversed = place.build(&[&["over", "tree"][..], &owner].concat());
    assert!(both != reversed);
    fs::remove_file(place.path("tree/etc/rc.conf")).expect("it is there");
    place.write("tree/etc/rc.conf", "hostname=y\n");
    assert!(both == place.build(&[&["tree"][..], &owner].concat()));
}

#[test]
fn source_date_epoch_bounds_all_times() {
    let place = Place::new();
    let at = |epoch: &str, output: &str| {
        let mut command = place.command(TINE, &["image", "build", "tree", "-o", output]);
        command::run(command.env("SOURCE_DATE_EPOCH", epoch), LIMIT).succeeds();
        fs::read(place.path(output)).expect("the image is there")
    };
    let early = at("1600000000", "early.img");
    assert!(early != at("1650000000", "late.img"));
    let touched = File::options().write(true).open(place.path("tree/usr/large")).expect("it is there");
    touched.set_modified(std::time::SystemTime::now()).expect("a time can be set");
    assert!(early == at("1600000000", "again.img"));
    let mut command = place.command(TINE, &["image", "build", "tree", "-o", "bad.img"]);
    place.command_fails(command.env("SOURCE_DATE_EPOCH", "soon"), 2, "seconds since 1970");
}

#[test]
fn an_image_that_exists_is_left_alone_unless_forced() {
    let place = Place::new();
    place.write("out.img", "precious");
    place.build_fails(&["tree"], 3, "out.img exists: --force replaces it");
    assert_eq!(fs::read(place.path("out.img")).expect("it is there"), b"precious");
    place.build_fails(&["tree", "--force", "--dataset", "zroot/a/b"], 3, "zroot/a");
    assert_eq!(fs::read(place.path("out.img")).expect("it is there"), b"precious");
    place.build(&["tree"]);
}

#[test]
fn an_image_cannot_go_to_what_is_no_file() {
    let place = Place::new();
    place.fails(&["image", "build", "tree", "-o", "-"], 2, "standard output");
    place.fails(&["image", "build", "tree", "--force", "-o", "tree"], 3, "is a directory");
    place.fails(&["image", "build", "tree", "--force", "-o", "/dev/null"], 3, "not a regular file");
    place.fails(&["image", "build", "tree", "-o", "nowhere/out.img"], 3, "nowhere");
}

#[test]
fn sources_that_cannot_be_read_are_named() {
    let place = Place::new();
    place.build_fails(&["nothing"], 3, "nothing: No such file");
    place.write("noise.tar", [b'x'; 2048]);
    place.build_fails(&["noise.tar"], 3, "noise.tar at byte 0");
    let mut tar = place.command("tar", &["-c", "-f", "cut.tar", "tree"]);
    command::run(&mut tar, LIMIT).succeeds();
    let cut = File::options().write(true).open(place.path("cut.tar")).expect("it is there");
    cut.set_len(100_000).expect("it can be cut");
    place.build_fails(&["cut.tar"], 3, "truncated");
}

#[test]
fn mistakes_in_manifests_are_told_with_their_line() {
    let place = Place::new();
    let long = format!("#mtree\n./{} type=dir\n", "n".repeat(256));
    for (manifest, told) in [
        ("#mtree\n./gone type=file\n", "list.mtree:2: "),
        ("#mtree\n\n../up type=dir\n", "list.mtree:3: path leaves the tree"),
        ("#mtree\n./x type=sofa\n", "list.mtree:2: "),
        ("#mtree\n./x type=dir uname=nobody-knows-him\n", "list.mtree:2: unknown user name"),
        (long.as_str(), "longer than 255"),
    ] {
        place.write("list.mtree", manifest);
        place.build_fails(&["list.mtree"], 3, told);
    }
}

#[test]
fn datasets_that_cannot_be_are_refused() {
    let place = Place::new();
    for (dataset, code, told) in [
        ("zroot/a/b", 3, "there is no dataset zroot/a above it"),
        ("tank/a", 3, "not in the pool zroot"),
        ("zroot/a;compresion=lz4", 2, "did you mean compression?"),
        ("zroot/a;compression=rar", 2, "one of"),
        ("zroot/a;recordsize=3k", 2, "power of two"),
        ("zroot/a b", 2, "letters, digits"),
        ("zroot/a;used=1", 2, "cannot be set"),
    ] {
        place.build_fails(&["tree", "--dataset", dataset], code, told);
    }
    place.build_fails(&["tree", "--bootfs", "zroot/ROOT"], 3, "no such dataset");
    place.build_fails(&["tree", "--snapshot", "zroot/x@y"], 3, "no such dataset");
    place.build_fails(&["tree", "--pool", "mirror1"], 3, "reserved");
}

#[test]
fn a_hard_link_across_datasets_is_refused_with_both_paths_or_copied() {
    let place = Place::new();
    fs::hard_link(place.path("tree/etc/rc.conf"), place.path("tree/home/rc.conf")).expect("a link can be made");
    let datasets = ["tree", "--dataset", "zroot;mountpoint=/", "--dataset", "zroot/home"];
    place.build_fails(&datasets, 3, " and /home/rc.conf are hard links");
    place.build(&[&datasets[..], &["--cross-links", "copy"]].concat());
}

#[test]
fn what_is_too_small_is_told_what_would_do() {
    let place = Place::new();
    place.build_fails(&["tree", "-s", "20m"], 3, "or more)");
    place.build_fails(&["tree", "--memory", "1m"], 3, "--memory");
}

#[test]
fn a_full_disk_leaves_no_image() {
    let place = Place::new();
    // Writes beyond the limit fail as on a full disk, once the signal is ignored.
    let script = "trap '' XFSZ; ulimit -f 1024; exec \"$0\" image build tree -o out.img";
    let mut command = place.command("bash", &["-c", script, TINE]);
    place.command_fails(&mut command, 3, "out.img: writing the image failed");
}

#[test]
fn a_program_that_is_ended_leaves_nothing() {
    // Not INT: a shell that starts something in the background has it ignore that one, and so does all that it starts.
    for signal in ["TERM", "KILL"] {
        let place = Place::new();
        let mut command = place.command(TINE, &["image", "build", "tree", "-", "-o", "out.img"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        // It has begun the image, and waits for the archive.
        let input = child.stdin.take();
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().expect("it is ours").is_none());
        let kill = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(kill.expect("it starts").success());
        assert!(!child.wait().expect("it is ours").success());
        drop(input);
        assert_eq!(place.names(), ["tree"], "{signal}");
    }
}

#[test]
fn a_wrong_command_line_is_told_in_one_sentence() {
    let place = Place::new();
    place.fails(&[], 2, "a command is missing");
    place.fails(&["imagine"], 2, "did you mean");
    place.fails(&["image", "build", "tree"], 2, "--output");
    place.build_fails(&["tree", "--size", "big"], 2, "10g");
    place.build_fails(&["tree", "--ashift", "8"], 2, "9..=16");
    place.build_fails(&["tree", "--compatibility", "openzfs-9.9"], 2, "openzfs-9.9");
    place.build_fails(&["tree", "--compatibility", "./none"], 3, "cannot read ./none");
    place.build_fails(&["tree", "--pool-property", "bootfs=zroot"], 2, "--bootfs");
}

#[test]
fn warnings_are_limited_unless_all_are_asked_for() {
    let place = Place::new();
    for number in 0..12 {
        let socket = place.path(&format!("tree/socket{number}"));
        std::os::unix::net::UnixListener::bind(socket).expect("a socket can be made");
    }
    let told = |more: &[&str]| {
        let ran = place.tine(&[&["image", "build", "tree", "--force", "-o", "out.img"], more].concat());
        ran.succeeds().errors().lines().count()
    };
    assert_eq!(told(&[]), 11);
    assert_eq!(told(&["-v"]), 12);
    assert_eq!(told(&["-q"]), 0);
}

#[test]
fn colours_are_for_terminals_or_on_demand() {
    let place = Place::new();
    let message =
        |more: &[&str]| place.tine(&[&["image", "build", "nothing", "-o", "out.img"], more].concat()).errors();
    assert!(!message(&[]).contains('\u{1b}'));
    assert!(message(&["--color", "always"]).contains('\u{1b}'));
    assert!(!message(&["--color", "never"]).contains('\u{1b}'));
}

/// A link to the program that is called makefs.
fn makefs(place: &Place) -> PathBuf {
    let path = place.path("makefs");
    symlink(TINE, &path).expect("a link can be made");
    path
}

#[test]
fn makefs_is_answered_to_by_name() {
    let place = Place::new();
    let makefs = makefs(&place);
    let options = ["-t", "zfs", "-s", "8x16m", "-DZ", "-o", "poolname=tank,rootpath=/", "-o"];
    let more = ["fs=tank;mountpoint=/;compression=lz4", "-o", "fs=tank/home", "-T", "1700000000"];
    let common = [&options[..], &more].concat();
    let mut command = place.command(&makefs, &[&common[..], &["a.img", "tree"]].concat());
    let ran = command::run(&mut command, LIMIT).succeeds();
    assert_eq!((ran.text(), ran.errors()), (String::new(), String::new()));
    place.tine(&[&["makefs"], &common[..], &["b.img", "tree"]].concat()).succeeds();
    let read = |name| fs::read(place.path(name)).expect("the image is there");
    assert_eq!(read("a.img").len(), 128 << 20);
    assert!(read("a.img") == read("b.img"));
    // An image that exists is replaced.
    place.tine(&[&["makefs"], &common[..], &["b.img", "tree/usr"]].concat()).succeeds();
    assert!(read("a.img") != read("b.img"));

    let folder = place.path("pool");
    fs::create_dir(&folder).expect("a directory can be made");
    fs::rename(place.path("a.img"), folder.join("a.img")).expect("it is there");
    if let Some(zdb) = Zdb::find("makefs_is_answered_to_by_name", &folder, "tank") {
        zdb.blocks().expect("OpenZFS accepts it");
    }
}

#[test]
fn makefs_takes_manifests_and_more_directories() {
    let place = Place::new();
    fs::create_dir(place.path("more")).expect("a directory can be made");
    place.write("more/file", "more");
    place.write("list", "#mtree\n. type=dir mode=0755\n./tree/etc/rc.conf type=file mode=0600\n");
    let pool = ["makefs", "-t", "zfs", "-o", "poolname=tank"];
    place.tine(&[&pool[..], &["a.img", "list", "more"]].concat()).succeeds();
    place.tine(&[&pool[..], &["b.img", "tree", "more"]].concat()).succeeds();
    place.write("spec", "#mtree\n./etc/rc.conf type=file mode=0600\n");
    place.tine(&[&pool[..], &["-F", "spec", "c.img", "tree"]].concat()).succeeds();
    place.tine(&[&pool[..], &["-x", "-F", "spec", "d.img", "tree"]].concat()).succeeds();
}

#[test]
fn makefs_refuses_by_name_what_is_not_for_pools() {
    let place = Place::new();
    let makefs = makefs(&place);
    for (arguments, told) in [
        ("-t ffs a.img tree", "-t ffs"),
        ("a.img tree", "-t zfs"),
        ("-t zfs a.img tree", "poolname"),
        ("-t zfs -o poolname=a,bsize=4096 a.img tree", "bsize"),
        ("-t zfs -o poolname=a -b 10% a.img tree", "-b does not apply"),
        ("-t zfs -o poolname=a -f 10 a.img tree", "-f does not apply"),
        ("-t zfs -o poolname=a -R 4k a.img tree", "-R does not apply"),
        ("-t zfs -o poolname=a -S 512 a.img tree", "-o ashift="),
        ("-t zfs -o poolname=a -B big a.img tree", "little-endian"),
        ("-t zfs -o poolname=a -O 1m a.img tree", "-O does not apply"),
        ("-t zfs -o poolname=a -M 1g a.img tree", "-m"),
        ("-t zfs -o poolname=a -M 2g -m 1g a.img tree", "larger than the maximum"),
        ("-t zfs -o poolname=a -x a.img tree", "-F"),
        ("-t zfs -o poolname=a -T tomorrow a.img tree", "-T tomorrow"),
        ("-t zfs -o poolname=a,fs=b/c a.img tree", "not in the pool a"),
        ("-t zfs -o poolname=a -s 65m a.img tree nowhere", "nowhere is not a directory"),
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        place.command_fails(&mut place.command(&makefs, &arguments), 1, told);
    }
    place.fails(&["makefs", "-t", "ffs", "a.img", "tree"], 2, "-t ffs");
}

#[test]
fn the_tour_goes_round_twice_and_touches_no_strange_files() {
    let place = Place::new();
    for _ in 0..2 {
        let ran = place.tine(&["tour"]).succeeds();
        assert!(ran.text().contains("all as it should be"), "{ran}");
        assert!(place.path("tine-tour/zroot.img").is_file());
    }
    place.fails(&["tour", "--dir", "tree"], 3, "--dir");
}

#[test]
fn help_and_manual_pages_name_every_option() {
    let place = Place::new();
    let help = place.tine(&["image", "build", "--help"]).succeeds().text();
    fs::create_dir(place.path("man")).expect("a directory can be made");
    place.tine(&["man", "man"]).succeeds();
    let page = fs::read_to_string(place.path("man/tine-image-build.1")).expect("the page is there");
    let options: Vec<_> = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(options.len() > 30, "{options:?}");
    for option in options {
        let name = option.trim_matches(|c: char| !c.is_ascii_lowercase());
        assert!(page.replace("\\-", "-").contains(&format!("--{name}")), "{option}");
    }
    assert!(place.tine(&["man"]).succeeds().text().contains(".TH tine 1"));
    assert!(place.tine(&["--version"]).succeeds().text().starts_with("tine "));
}

#[test]
fn completions_are_made_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(place.tine(&["completions", shell]).succeeds().text().contains("layout"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let place = Place::new();
    let mut child = place
        .command(TINE, &["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it is ours");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
