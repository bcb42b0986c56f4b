//! `tine pool inspect` on a small pool: what it shows is what is there, and what `zdb` shows.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::command::{self, Ran};
use common::zdb::Zdb;
use serde_json::Value;
use tempfile::TempDir;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);
/// A label of 256 KiB has its configuration 16 KiB from its start.
const CONFIG_OF_LABEL_1: u64 = (256 + 16) << 10;

/// A pool called `zroot` in `zroot.img`, with a directory, a file of several blocks and a small one.
struct Place {
    folder: TempDir,
    /// What the builder said of the image.
    built: Value,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("etc")).expect("a directory can be made");
        fs::write(tree.join("etc/rc.conf"), "hostname=x\n").expect("a file can be written");
        fs::write(tree.join("large"), text()).expect("a file can be written");
        let mut build = Command::new(TINE);
        build.current_dir(folder.path()).args(["image", "build", "tree", "-o", "zroot.img", "--json"]);
        build.args(["--snapshot", "@one", "--dataset", "zroot;mountpoint=/;compression=lz4;checksum=sha256"]);
        let built = command::run(&mut build, LIMIT).succeeds();
        let built = serde_json::from_slice(&built.stdout).expect("it is JSON");
        Self { folder, built }
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("zroot.img")
    }

    fn inspect(&self, arguments: &[&str]) -> Ran {
        let mut inspect = Command::new(TINE);
        inspect.current_dir(self.folder.path()).args(["pool", "inspect"]).args(arguments);
        command::run(&mut inspect, LIMIT)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.inspect(&[arguments, &["--json"]].concat()).succeeds();
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}:\n{ran}"))
    }
}

/// Text that is not the same in any two blocks.
fn text() -> Vec<u8> {
    (0..40_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect()
}

#[test]
fn a_damaged_label_is_told_from_sound_ones() {
    let place = Place::new();
    let labels = place.json(&["label", "./zroot.img"]);
    let labels = labels["devices"][0]["labels"].as_array().expect("labels");
    assert!(labels.len() == 4 && labels.iter().all(|label| label["valid"] == true), "{labels:?}");
    assert_eq!(labels[3]["configuration"]["name"], "zroot");

    let image = File::options().write(true).open(place.image()).expect("the image is there");
    image.write_all_at(b"damage", CONFIG_OF_LABEL_1 + 1000).expect("it can be written to");
    let ran = place.inspect(&["label", "./zroot.img"]).ends_with(1);
    assert!(ran.text().contains("embedded checksum is"), "{ran}");
    assert!(ran.text().contains("the same as that of label 0"), "{ran}");
}

#[test]
fn a_file_that_is_no_device_of_a_pool_has_no_label() {
    let place = Place::new();
    fs::write(place.folder.path().join("no.img"), vec![1; 1 << 20]).expect("a file can be written");
    let ran = place.inspect(&["label", "./no.img"]).ends_with(1);
    assert_eq!(ran.text().matches("valid                    no").count(), 4, "{ran}");
}

#[test]
fn the_newest_uberblock_is_the_active_one() {
    let place = Place::new();
    let shown = place.json(&["uberblock", "./zroot.img"]);
    let device = &shown["devices"][0];
    let uberblocks = device["uberblocks"].as_array().expect("uberblocks");
    let active: Vec<_> = uberblocks.iter().filter(|uberblock| uberblock["active"] == true).collect();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["txg"], device["active_txg"]);
    assert_eq!(active[0]["labels"], serde_json::json!([0, 1, 2, 3]));
    assert_eq!(active[0]["root"]["type"], "DMU objset");
}

#[test]
fn an_object_has_the_fields_that_zdb_shows() {
    let place = Place::new();
    let file = place.json(&["object", "./zroot.img:/large", "-v"]);
    let id = file["object"].as_u64().expect("a number");
    assert_eq!(place.json(&["object", "./zroot.img", &format!("{id:#x}"), "-v"]), file);
    assert_eq!(file["path"], "/large");
    assert_eq!(file["bonus"]["ZPL_SIZE"], text().len());

    let Some(zdb) = Zdb::find("an_object_has_the_fields_that_zdb_shows", place.folder.path(), "zroot/") else { return };
    let said = zdb.run(&["-dddddd"], &[&id.to_string()]).text();
    let line = said.lines().find(|line| line.contains("ZFS plain file")).expect("zdb knows the object");
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(fields[0], id.to_string());
    assert_eq!(fields[1], file["levels"].to_string());
    assert_eq!((fields[2], fields[3]), ("128K", "128K"));
    assert_eq!(file["data_block_size"], 128 << 10);
    let of_zdb = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('\t').map(str::to_owned));
        line.unwrap_or_else(|| panic!("zdb shows no {name}:\n{said}"))
    };
    let of_ours = |name: &str| match &file["bonus"][name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (theirs, ours) in [("mode", "ZPL_MODE"), ("size", "ZPL_SIZE"), ("gen", "ZPL_GEN"), ("links", "ZPL_LINKS")] {
        assert_eq!(of_zdb(theirs), of_ours(ours), "{theirs}");
    }
    // Level and first copy of every block.
    let theirs: Vec<(String, String)> = said
        .lines()
        .skip_while(|line| !line.starts_with("Indirect blocks"))
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            Some((words.next().filter(|level| level.starts_with('L'))?.to_owned(), words.next()?.to_owned()))
        })
        .collect();
    let ours: Vec<(String, String)> = file["block_tree"]
        .as_array()
        .expect("a tree")
        .iter()
        .map(|row| {
            (format!("L{}", row["level"]), row["pointer"]["copies"][0]["dva"].as_str().expect("a DVA").to_owned())
        })
        .collect();
    assert_eq!(ours, theirs, "{said}");
}

#[test]
fn a_block_is_read_by_its_address_and_leads_back_to_its_file() {
    let place = Place::new();
    let file = place.json(&["object", "./zroot.img:/large", "-v"]);
    let row = file["block_tree"].as_array().expect("a tree").iter().find(|row| row["level"] == 0).expect("a block");
    let pointer = &row["pointer"];
    let address = pointer["copies"][0]["dva"].as_str().expect("a DVA");
    let (lsize, psize) = (pointer["logical_size"].to_string(), pointer["physical_size"].to_string());
    let read = ["block", "./zroot.img", address, "--psize", &psize, "--lsize", &lsize, "--compression", "lz4"];
    let raw = place.inspect(&[&read[..], &["--raw"]].concat()).succeeds();
    assert!(raw.stdout == text()[..128 << 10], "the first block is not what was written");

    let block = place.json(&["block", "-p", "./zroot.img", address, "--owner"]);
    let owners: Vec<_> = block["owners"].as_array().expect("owners").iter().map(|owner| &owner["object"]).collect();
    assert!(owners.contains(&&file["object"]), "{block}");
    // The device has it behind the labels and the room for boot code.
    let offset = block["held_by"][0]["byte_offset"].as_u64().expect("an offset");
    assert_eq!(offset, block["offset"].as_u64().expect("an offset") + (4 << 20));

    let top = file["block_tree"].as_array().expect("a tree").iter().find(|row| row["level"] == 1).expect("a block");
    let address = top["pointer"]["copies"][0]["dva"].as_str().expect("a DVA");
    let indirect = place.json(&["block", "./zroot.img", address, "--lsize", "128k", "--compression", "lz4"]);
    assert!(indirect["looks_like"].to_string().contains("block pointers"), "{}", indirect["looks_like"]);
}

#[test]
fn a_directory_is_a_zap_of_its_names() {
    let place = Place::new();
    let zap = place.json(&["zap", "./zroot.img:/"]);
    let mut names: Vec<_> = zap["entries"].as_array().expect("entries").iter().map(|entry| &entry["name"]).collect();
    names.sort_by_key(|name| name.to_string());
    assert_eq!(names, ["etc", "large"]);
    assert_eq!(zap["layout"], "micro");
    let mos = place.json(&["mos", "./zroot.img"]);
    let entries = mos["object_directory"].as_array().expect("entries");
    let fat = entries.iter().find(|entry| entry["name"] == "feature_descriptions").expect("it is always there");
    let fat = place.json(&["zap", "--mos", "./zroot.img", &fat["value"].to_string()]);
    assert_eq!(fat["layout"], "fat");
    let leaves = fat["leaves"].as_array().expect("leaves");
    let counted: u64 = leaves.iter().filter_map(|leaf| leaf["entries"].as_u64()).sum();
    assert_eq!(fat["entry_count"], counted);
    assert_eq!(fat["entries"].as_array().map(Vec::len), Some(counted as usize));
}

#[test]
fn the_word_mos_names_the_objects_of_the_only_pool_there_is() {
    let place = Place::new();
    let directory = place.json(&["object", "-p", ".", "mos", "1"]);
    assert_eq!(directory["type"], "object directory");
    assert_eq!(directory, place.json(&["object", "--mos", "./zroot.img", "0x1"]));
    let mos = place.json(&["mos", "./zroot.img"]);
    let entries = mos["object_directory"].as_array().expect("entries");
    assert!(entries.iter().any(|entry| entry["name"] == "root_dataset" && entry["meaning"] != ""), "{entries:?}");
}

#[test]
fn metaslabs_add_up_to_what_was_allocated() {
    let place = Place::new();
    let shown = place.json(&["spacemap", "./zroot.img"]);
    let metaslabs = shown["vdevs"][0]["metaslabs"].as_array().expect("metaslabs");
    let allocated: u64 = metaslabs.iter().filter_map(|metaslab| metaslab["allocated"].as_u64()).sum();
    assert_eq!(allocated, place.built["allocated"]);
    let entries = place.json(&["spacemap", "./zroot.img", "0", "0", "-v"]);
    let entries = entries["vdevs"][0]["histograms"][0]["entries"].as_array().expect("entries").clone();
    let sum: u64 = entries.iter().filter_map(|entry| entry["length"].as_u64()).sum();
    assert_eq!(sum, metaslabs[0]["allocated"], "nothing is freed in a new image");
}

#[test]
fn a_wrong_command_line_is_told_from_work_that_cannot_be_done() {
    let place = Place::new();
    place.inspect(&["block", "./zroot.img", "0:1:2"]).ends_with(2);
    place.inspect(&["object", "./zroot.img:/large", "5"]).ends_with(2);
    place.inspect(&["object", "./zroot.img:/none"]).ends_with(3);
    place.inspect(&["spacemap", "./zroot.img", "7"]).ends_with(3);
    let ran = place.inspect(&["object", "./zroot.img", "99999", "--json"]).ends_with(3);
    assert_eq!(ran.text(), "", "{ran}");
}
