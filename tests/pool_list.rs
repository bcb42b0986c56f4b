//! `tine pool status`, `list` and `get`: devices are found wherever they are, and what is
//! shown is what OpenZFS showed.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::command::{self, Ran};
use common::peer::{self, Peer};
use serde_json::Value as Json;
use tempfile::TempDir;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);
/// The pools of the corpus; the devices of `mir` are called otherwise.
const POOLS: [(&str, &str); 8] = [
    ("comp", "comp"),
    ("default", "default"),
    ("mirror", "mir"),
    ("rz1", "rz1"),
    ("snap", "snap"),
    ("tree", "tree"),
    ("xattr", "xattr"),
    ("zroot", "zroot"),
];

/// Datasets that were first read, and thereby changed, after they had been listed, as were the
/// records of the pools themselves: `zdb -d` has other sizes of them than `zfs list` had.
const CHANGED_LATER: [&str; 3] = ["snap/clone", "snap/redactc", "snap/redactc@r"];

fn tine(folder: &Path, arguments: &[&str]) -> Ran {
    command::run(Command::new(TINE).arg("pool").args(arguments).current_dir(folder), LIMIT)
}

fn json(folder: &Path, arguments: &[&str]) -> Json {
    serde_json::from_slice(&tine(folder, arguments).succeeds().stdout).expect("it is JSON")
}

/// A folder with `a.img`, the image of a pool `zroot` with two datasets and a snapshot of each.
fn image() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("tree")).expect("a tree");
    fs::write(folder.path().join("tree/file"), vec![b'x'; 300_000]).expect("a file");
    build(folder.path(), "a.img", "zroot");
    folder
}

fn build(folder: &Path, image: &str, pool: &str) {
    let dataset = format!("{pool}/data;atime=off;com.example:note=kept");
    let arguments = ["image", "build", "tree", "-q", "-o", image, "-s", "64m", "--pool", pool];
    let arguments = arguments.into_iter().chain(["--dataset", &dataset, "--snapshot", "@install"]);
    command::run(Command::new(TINE).args(arguments).current_dir(folder), LIMIT).succeeds();
}

/// The devices of a pool of the corpus in a folder of their own.
fn unpack(corpus: &Path, name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0.. {
        let Ok(packed) = File::open(corpus.join(format!("pools/{name}.{number}.img.zst"))) else { break };
        let mut stream = zstd::Decoder::new(packed).expect("a Zstandard stream");
        let mut image = File::create(folder.path().join(format!("{name}.{number}.img"))).expect("a file");
        let (mut chunk, mut size) = (Vec::new(), 0);
        loop {
            chunk.clear();
            stream.by_ref().take(1 << 16).read_to_end(&mut chunk).expect("a sound stream");
            if chunk.is_empty() {
                break;
            }
            if chunk.iter().any(|&byte| byte != 0) {
                image.seek(SeekFrom::Start(size)).expect("to seek");
                image.write_all(&chunk).expect("room for the pool");
            }
            size += chunk.len() as u64;
        }
        image.set_len(size).expect("to set the size");
    }
    folder
}

/// The rows that a command printed, from a text of `+ COMMAND` lines and their output.
fn printed(text: &str, command: &str) -> Vec<Vec<String>> {
    let after = text.lines().skip_while(|line| !line.starts_with(&format!("+ {command}"))).skip(1);
    let rows = after.take_while(|line| !line.starts_with("+ "));
    rows.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn rows(ran: &Ran) -> Vec<Vec<String>> {
    ran.text().lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[test]
fn datasets_are_listed_as_zfs_listed_them() {
    let Some(corpus) = peer::corpus("datasets_are_listed_as_zfs_listed_them") else { return };
    for (files, pool) in POOLS {
        let folder = unpack(&corpus, files);
        let told = fs::read_to_string(corpus.join(format!("manifest/{pool}.props"))).expect("the manifest");
        let mut expected = printed(&told, "zfs list");
        let columns = "name,type,used,refer,origin,creation,guid,createtxg";
        let mut found = rows(&tine(folder.path(), &["list", "-p", ".", pool, "-H", "-o", columns]).succeeds());
        for row in found.iter_mut().chain(&mut expected) {
            if row[0] == pool || CHANGED_LATER.contains(&row[0].as_str()) {
                row[2..4].fill(String::new());
            }
        }
        // Snapshots made in one transaction group have no order of their own.
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{pool}");
    }
}

#[test]
fn what_was_set_is_told_with_its_source() {
    let Some(corpus) = peer::corpus("what_was_set_is_told_with_its_source") else { return };
    for (files, pool) in POOLS {
        let folder = unpack(&corpus, files);
        let told = fs::read_to_string(corpus.join(format!("manifest/{pool}.props"))).expect("the manifest");
        let mut expected = printed(&told, "zfs get");
        // The pool had an alternate root, which is nothing of the pool's own.
        for row in expected.iter_mut().filter(|row| pool == "zroot" && row[1] == "mountpoint") {
            let path = row[2].strip_prefix("/m/zroot").unwrap_or(&row[2]);
            row[2] = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        }
        let arguments = ["get", "all", pool, "-p", ".", "-r", "-H", "-s", "local,received", "-t", "fs,vol,snap"];
        let mut found = rows(&tine(folder.path(), &arguments).succeeds());
        found.retain(|row| !row[1].starts_with("feature@") && !is_of_pool(&row[1]));
        // The kernel that told it had another first name for it.
        for row in found.iter_mut().filter(|row| row[1] == "xattr" && row[2] == "sa") {
            let is_same = |other: &&Vec<String>| other[0] == row[0] && other[1] == "xattr";
            row[2] = expected.iter().find(is_same).map_or("sa".to_owned(), |other| other[2].clone());
        }
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{pool}");
    }
}

/// Whether it is a property of pools only.
fn is_of_pool(name: &str) -> bool {
    ["bootfs", "delegation", "autoreplace", "listsnapshots", "autoexpand", "failmode", "ashift"].contains(&name)
}

#[test]
fn properties_of_pools_are_those_that_zpool_told() {
    let Some(corpus) = peer::corpus("properties_of_pools_are_those_that_zpool_told") else { return };
    // What depends on the import, and what the export itself has changed since.
    let of_the_import = ["altroot", "cachefile", "readonly", "load_guid", "health", "expandsize"];
    let changing = ["allocated", "free", "capacity", "fragmentation", "dedup_table_size"];
    for (files, pool) in POOLS {
        let folder = unpack(&corpus, files);
        let told = fs::read_to_string(corpus.join(format!("manifest/{pool}.props"))).expect("the manifest");
        let found = rows(&tine(folder.path(), &["get", "all", pool, "--pool", "-p", ".", "-H"]).succeeds());
        let found: BTreeMap<&str, (&str, &str)> =
            found.iter().map(|row| (row[1].as_str(), (row[2].as_str(), row[3].as_str()))).collect();
        for row in printed(&told, "zpool get") {
            let (name, expected) = (row[1].as_str(), (row[2].as_str(), row[3].as_str()));
            if !of_the_import.contains(&name) && !changing.contains(&name) {
                assert_eq!(found.get(name), Some(&expected), "{pool}: {name}");
            }
        }
    }
}

#[test]
fn a_pool_is_found_in_partitions_of_disk_images() {
    let test = "a_pool_is_found_in_partitions_of_disk_images";
    let (Some(sgdisk), Some(qemu_img)) = (Peer::find(test, "sgdisk"), Peer::find(test, "qemu-img")) else { return };
    let folder = image();
    let path = |name: &str| folder.path().join(name);
    let pool = fs::read(path("a.img")).expect("the image");
    let disk = File::create(path("disk.raw")).expect("a disk");
    disk.set_len(80 << 20).expect("room");
    let size = format!("2:8192:+{}", pool.len() / 512 - 1);
    let ran = sgdisk.command().args(["-n", "1:2048:+1M", "-n", &size, "-t", "2:a504"]).arg(path("disk.raw")).output();
    assert!(ran.expect("sgdisk starts").status.success());
    disk.write_all_at(&pool, 8192 * 512).expect("room for the pool");
    let convert = ["convert", "-c", "-O", "qcow2"];
    let ran = qemu_img.command().args(convert).arg(path("disk.raw")).arg(path("disk.qcow2")).output();
    assert!(ran.expect("qemu-img starts").status.success());
    for image in ["disk.raw", "disk.qcow2"] {
        let status = json(folder.path(), &["status", image, "--json"]);
        assert_eq!(status["vdevs"][0]["device"], format!("{image} (p2)"));
        assert_eq!(status["state"], "ONLINE");
        let listed = json(folder.path(), &["list", &format!("{image}:data"), "--json"]);
        assert_eq!(listed["datasets"][0]["name"], "zroot/data");
        assert_eq!(listed["datasets"][1]["name"], "zroot/data@install");
    }
}

#[test]
fn pools_of_one_name_are_told_apart_by_their_guids() {
    let folder = image();
    fs::write(folder.path().join("tree/other"), "makes another pool").expect("a file");
    build(folder.path(), "b.img", "zroot");
    let refused = tine(folder.path(), &["list", "-p", ".", "zroot"]).ends_with(3);
    assert!(refused.errors().contains("there are several pools called 'zroot'"), "{refused}");
    let found = json(folder.path(), &["status", "-p", ".", "--json"]);
    for pool in found["pools"].as_array().expect("a list") {
        let guid = pool["guid"].as_str().expect("a text");
        assert!(refused.errors().contains(guid), "{refused}");
        let listed = json(folder.path(), &["list", "-p", ".", guid, "--json"]);
        assert_eq!(listed["pools"][0]["guid"], guid);
    }
    assert_eq!(found["pools"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_pool_that_is_not_there_is_told_with_those_that_are() {
    let folder = image();
    let refused = tine(folder.path(), &["list", "-p", ".", "tank"]).ends_with(3);
    assert!(refused.errors().contains("no pool 'tank' was found in .; there are zroot ("), "{refused}");
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    let refused = tine(folder.path(), &["list", "-p", "empty", "tank"]).ends_with(3);
    assert!(refused.errors().contains("nor any other in 0 files"), "{refused}");
    let refused = tine(folder.path(), &["list", "tank"]).ends_with(2);
    assert!(refused.errors().contains("with -p"), "{refused}");
}

#[test]
fn of_two_copies_of_a_device_one_is_taken_and_said() {
    let folder = image();
    fs::copy(folder.path().join("a.img"), folder.path().join("copy.img")).expect("a copy");
    let ran = tine(folder.path(), &["list", "-p", ".", "zroot"]).succeeds();
    assert!(ran.errors().contains("are the same device of the pool"), "{ran}");
}

#[test]
fn labels_that_are_damaged_are_shown_and_do_no_harm() {
    let folder = image();
    let image = File::options().write(true).open(folder.path().join("a.img")).expect("the image");
    image.write_all_at(&[0x5a; 200_000], 0).expect("to write");
    let status = json(folder.path(), &["status", "a.img", "--json"]);
    let labels = status["vdevs"][0]["labels"].as_array().expect("labels");
    let sound: Vec<bool> = labels.iter().map(|label| label["fault"].is_null()).collect();
    assert_eq!(sound, [false, true, true, true]);
    assert_eq!(status["newest_unreadable"], Json::Null);
}

#[test]
fn where_the_newest_state_cannot_be_read_an_older_one_is_offered() {
    let Some(corpus) = peer::corpus("where_the_newest_state_cannot_be_read_an_older_one_is_offered") else { return };
    let folder = unpack(&corpus, "tree");
    let before = json(folder.path(), &["status", "-p", ".", "tree", "--json"]);
    let newest = before["txg"].as_u64().expect("a number");
    damage_root(&folder.path().join("tree.0.img"), newest);
    let status = tine(folder.path(), &["status", "-p", ".", "tree", "--json"]).ends_with(1);
    let status: Json = serde_json::from_slice(&status.stdout).expect("it is JSON");
    let older = status["txg"].as_u64().expect("a number");
    assert!(older < newest, "{older} is not before {newest}");
    assert!(status["newest_unreadable"].as_str().expect("a text").contains(&format!("txg {newest}")));
    let refused = tine(folder.path(), &["list", "-p", ".", "tree"]).ends_with(3);
    assert!(refused.errors().contains(&format!("--txg {older} opens it")), "{refused}");
    let listed = tine(folder.path(), &["list", "-p", ".", "tree", "--txg", &older.to_string()]).succeeds();
    assert!(listed.text().starts_with("NAME"), "{listed}");
    let refused = tine(folder.path(), &["list", "-p", ".", "tree", "--txg", "1"]).ends_with(3);
    assert!(refused.errors().contains("there are some of txg"), "{refused}");
}

/// Overwrites the root of the meta object set of a transaction group.
fn damage_root(image: &PathBuf, txg: u64) {
    let pool = zfs_pool::Pool::open_paths([image]).expect("the pool opens");
    let root = pool.uberblock().root;
    assert_eq!(pool.uberblock().txg, txg);
    let file = File::options().write(true).open(image).expect("the image");
    for dva in root.dvas() {
        file.write_all_at(&[0xa5; 512], dva.offset + (4 << 20)).expect("to write");
    }
}

#[test]
fn devices_that_are_missing_are_named() {
    let Some(corpus) = peer::corpus("devices_that_are_missing_are_named") else { return };
    let folder = unpack(&corpus, "rz1");
    fs::remove_file(folder.path().join("rz1.0.img")).expect("to remove a device");
    let status = json(folder.path(), &["status", "-p", ".", "rz1", "--json"]);
    assert_eq!(status["state"], "DEGRADED");
    let children = &status["vdevs"][0]["children"];
    for (child, state) in ["missing", "online", "online"].into_iter().enumerate() {
        assert_eq!(children[child]["state"], state);
    }
    let ran = tine(folder.path(), &["list", "-p", ".", "rz1"]).succeeds();
    assert!(ran.errors().contains("1 device of the pool not found: "), "{ran}");
    // One alone of three cannot make up for the others.
    fs::remove_file(folder.path().join("rz1.1.img")).expect("to remove another");
    let ran = tine(folder.path(), &["status", "-p", ".", "rz1"]).ends_with(1);
    assert!(ran.text().contains("cannot be opened") && ran.text().matches("MISSING").count() == 2, "{ran}");
}

#[test]
fn values_come_with_their_sources() {
    let folder = image();
    let get = |arguments: &[&str]| rows(&tine(folder.path(), &[&["get", "-H"], arguments].concat()).succeeds());
    let of = |row: [&str; 4]| vec![row.map(str::to_owned).to_vec()];
    assert_eq!(get(&["atime", "a.img:data"]), of(["zroot/data", "atime", "off", "local"]));
    assert_eq!(get(&["exec", "a.img:data"]), of(["zroot/data", "exec", "on", "default"]));
    assert_eq!(get(&["type", "a.img:data"]), of(["zroot/data", "type", "filesystem", "-"]));
    let inherited = of(["zroot/data@install", "com.example:note", "kept", "inherited from zroot/data"]);
    assert_eq!(get(&["com.example:note", "a.img:data@install"]), inherited);
    assert_eq!(get(&["size", "a.img"])[0][1], "size");
    let refused = tine(folder.path(), &["get", "compresion", "a.img"]).ends_with(2);
    assert!(refused.errors().contains("there is no property 'compresion'"), "{refused}");
    let all = get(&["a.img:data"]);
    assert!(all.len() > 40 && all.contains(&of(["zroot/data", "atime", "off", "local"])[0]), "{all:?}");
    assert_eq!(get(&["atime", "a.img:zroot/data"]), of(["zroot/data", "atime", "off", "local"]));
    let refused = tine(folder.path(), &["get", "used"]).ends_with(2);
    assert!(refused.errors().contains("name what to show 'used' of"), "{refused}");
    let refused = tine(folder.path(), &["get", "used", "a.img:nothing"]).ends_with(3);
    assert!(refused.errors().contains("zroot/nothing"), "{refused}");
}

#[test]
fn lists_are_sorted_and_chosen_from() {
    let folder = image();
    let list = |arguments: &[&str]| tine(folder.path(), &[&["list", "a.img", "-H", "-o", "name"], arguments].concat());
    assert_eq!(list(&[]).succeeds().text(), "zroot\nzroot@install\nzroot/data\nzroot/data@install\n");
    assert_eq!(list(&["a.img:data"]).succeeds().text().lines().count(), 6, "what is named twice is listed twice");
    assert_eq!(list(&["a.img"]).succeeds().text().lines().count(), 4, "images of one pool are listed once");
    assert_eq!(list(&["-t", "snapshot"]).succeeds().text(), "zroot@install\nzroot/data@install\n");
    assert_eq!(list(&["-t", "fs", "-S", "name"]).succeeds().text(), "zroot/data\nzroot\n");
    let refused = list(&["-s", "nonsense"]).ends_with(2);
    assert!(refused.errors().contains("there is no property 'nonsense'"), "{refused}");
}
