//! `tine pool mount`, where the system has FUSE: the mounted files are those that the image was built of.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::source_tree::Recipe;
use common::{command, peer};
use tempfile::TempDir;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// An image with a tree of files, and a snapshot of it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a directory can be made"));
        let recipe = Recipe { many: 300, largest_hole: 16 << 20, ..Recipe::default() };
        recipe.make_small(&place.path("tree")).expect("the tree can be made");
        fs::create_dir(place.path("tree/home")).expect("a directory can be made");
        fs::write(place.path("tree/home/file"), "of a dataset").expect("a file can be written");
        fs::create_dir(place.path("mnt")).expect("a directory can be made");
        let mut build = Command::new(TINE);
        build.current_dir(place.0.path()).args(["image", "build", "tree", "-o", "tank.img", "--pool", "tank"]);
        build.args(["--dataset", "tank;mountpoint=/", "--dataset", "tank/home;mountpoint=/home", "--snapshot", "@one"]);
        command::run(&mut build, LIMIT).succeeds();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Mounts a target; `None` if the system does not let us, and the test `test` is skipped.
    fn mount(&self, test: &str, target: &str) -> Option<Mounted> {
        if !Path::new("/dev/fuse").exists() {
            peer::say(test, "this system has no /dev/fuse");
            return None;
        }
        let mut mount = Command::new(TINE);
        mount.current_dir(self.0.path()).args(["pool", "mount", target, "mnt"]);
        let mut child = mount.stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it is text");
        let mounted = Mounted { child, at: self.path("mnt") };
        if line.contains("cannot mount") {
            peer::say(test, line.trim());
            return None;
        }
        assert!(line.contains("is mounted on mnt"), "{line}");
        Some(mounted)
    }
}

/// A running mount, which is ended with its value.
struct Mounted {
    child: Child,
    at: PathBuf,
}

impl Mounted {
    /// Presses Ctrl-C, and gives the exit status.
    fn interrupt(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.interrupt().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// Every file below a directory, by its path: what stat(2) says of it and what is in it.
fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut queue = vec![root.to_owned()];
    while let Some(path) = queue.pop() {
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let contents = if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory can be read");
            queue.extend(entries.map(|entry| entry.expect("an entry").path()));
            String::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).expect("a link can be read").display().to_string()
        } else if metadata.is_file() {
            let contents = fs::read(&path).expect("a file can be read");
            format!("{} bytes, {:x?}", contents.len(), blake(&contents))
        } else {
            format!("device {}", metadata.rdev())
        };
        let relative = path.strip_prefix(root).expect("it is below").to_owned();
        let size = if metadata.is_dir() { 0 } else { metadata.size() };
        let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
        let line = format!(
            "{:o} {}:{} links {links} size {size} {}.{:09} {contents}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        );
        found.insert(relative, line);
    }
    found
}

/// A sum that no two of the test's files share by chance.
fn blake(contents: &[u8]) -> u64 {
    contents.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn mounted_files_are_those_of_the_source() {
    let place = Place::new();
    let Some(mut mounted) = place.mount("mounted_files_are_those_of_the_source", "./tank.img") else { return };
    let (source, found) = (describe(&place.path("tree")), describe(&place.path("mnt")));
    for (path, line) in &source {
        assert_eq!(found.get(path), Some(line), "{}", path.display());
    }
    assert_eq!(found.len(), source.len(), "nothing else is there");
    assert_eq!(mounted.interrupt(), Some(0));
    let left = fs::read_dir(place.path("mnt")).expect("the directory is there").count();
    assert_eq!(left, 0, "it is unmounted");
}

#[test]
fn snapshots_are_found_by_name_and_nothing_can_be_written() {
    let place = Place::new();
    let Some(_mounted) = place.mount("snapshots_are_found_by_name", "./tank.img") else { return };
    let at = place.path("mnt");
    let snapshots: Vec<_> = fs::read_dir(at.join(".zfs/snapshot")).expect("it is there").collect();
    assert_eq!(snapshots.len(), 1);
    let file = fs::read(at.join("home/.zfs/snapshot/one/file")).expect("a file of a snapshot can be read");
    assert_eq!(file, b"of a dataset");
    assert!(!fs::read_dir(&at).expect("it is there").any(|entry| entry.expect("an entry").file_name() == ".zfs"));
    let error = fs::write(at.join("new"), "").expect_err("it is read-only");
    assert_eq!(error.raw_os_error(), Some(30), "{error}");
    // Inode numbers tell datasets apart.
    let numbers =
        ["home", "home/.zfs/snapshot/one"].map(|path| fs::metadata(at.join(path)).expect("it is there").ino());
    assert_ne!(numbers[0], numbers[1]);
}

#[test]
fn what_cannot_be_mounted_is_told_in_one_sentence() {
    let place = Place::new();
    for (arguments, told) in [
        (["./tank.img", "none"], "none: there is no such directory"),
        (["./tank.img:/home", "mnt"], "leave the path out"),
    ] {
        let mut mount = Command::new(TINE);
        mount.current_dir(place.0.path()).args(["pool", "mount"]).args(arguments);
        let ran = command::run(&mut mount, LIMIT);
        assert!(ran.code() > 1 && ran.errors().contains(told), "{ran}");
    }
}
