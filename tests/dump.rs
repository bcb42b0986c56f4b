//! `tine dump save`, `list`, `info`, `check` and `convert`: forged dumps on forged disks, and peers: qemu-img and sfdisk
//! make the disks, openssl the keys, tar and readelf read what comes out.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use common::peer::Peer;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use vmcore::forge::{self, Kind};
use vmcore::header::{Compression, Header, Magic};
use vmcore::info::{Info, Status};
use vmcore::key::{Cipher, DumpKey};
use vmcore::names::Names;
use vmcore::ranges::Ranges;
use vmcore::store::{self, Outcome, Writer};

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// A directory of a test's own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory can be made");
        fs::create_dir(folder.path().join("crash")).expect("a directory can be made");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("a file can be written");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}; there are {:?}", self.names("crash")))
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("it is text")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("the directory is there");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("it has entries").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn tine(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(TINE);
        command.arg("dump").args(arguments).current_dir(self.0.path());
        command::run(&mut command, LIMIT)
    }

    fn json(&self, arguments: &[&str], code: i32) -> Value {
        serde_json::from_str(&self.tine(arguments).ends_with(code).text()).expect("it is JSON")
    }

    fn peer(&self, peer: &Peer, arguments: &[&str]) -> Ran {
        command::run(peer.command().args(arguments).current_dir(self.0.path()), LIMIT).succeeds()
    }
}

/// A small minidump with page tables and a message buffer.
fn minidump() -> Vec<u8> {
    forge::golden(Kind::ALL[1]).forge.minidump()
}

fn header(data: &[u8]) -> Header {
    Header {
        magic: Magic::Kernel,
        architecture: "amd64".to_owned(),
        version: 4,
        architecture_version: 2,
        dump_length: data.len() as u64,
        dump_extent: data.len() as u64,
        dump_time: 1_577_880_000,
        key_size: 0,
        block_size: 512,
        compression: Compression::None,
        hostname: "box".to_owned(),
        version_string: "FreeBSD 12.1-STABLE GENERIC\n    root@build:/usr/obj\n".to_owned(),
        panic_string: "page fault".to_owned(),
        parity: 0,
        parity_ok: true,
    }
}

/// A partition with a dump at its end, as a kernel leaves it.
fn partition(size: usize, header: &Header, key: &[u8], data: &[u8]) -> Vec<u8> {
    let block = header.block_size as usize;
    let raw = header.build().expect("the version is known");
    let last = size - block;
    let start = last - (header.dump_extent as usize).next_multiple_of(block);
    let mut bytes = vec![0x55; size];
    let mut put = |at: usize, part: &[u8], room: usize| {
        bytes[at..at + room].fill(0);
        bytes[at..at + part.len()].copy_from_slice(part);
    };
    put(start, data, data.len());
    let key_start = start - key.len().next_multiple_of(block);
    put(key_start, key, start - key_start);
    put(key_start - block, &raw, block);
    put(last, &raw, block);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

/// One frame that does not tell its size, as kernels write it.
fn zstd_stream(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("the level is known");
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

#[test]
fn a_dump_is_saved_from_a_partition_with_its_files_and_the_disk_stays_as_it_is() {
    let place = Place::new();
    let data = minidump();
    let disk = partition(data.len() + (1 << 20), &header(&data), &[], &data);
    place.write("disk", &disk);
    let listed = place.json(&["list", "disk", "--json"], 0);
    assert_eq!(listed["dumps"][0]["hostname"], "box");
    assert_eq!(listed["dumps"][0]["partition"], Value::Null);
    assert_eq!(place.names("crash"), Vec::<String>::new());

    let ran = place.tine(&["save", "disk", "--dir", "crash", "--host"]).succeeds();
    assert!(ran.text().starts_with("crash/vmcore.box.0: kernel dump of amd64, "), "{ran}");
    assert_eq!(
        place.names("crash"),
        ["SHA256.box.0", "bounds.box", "info.box.0", "info.box.last", "vmcore.box.0", "vmcore.box.last"]
    );
    assert!(place.read("crash/vmcore.box.last") == data);
    let hex: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(place.text("crash/SHA256.box.0"), format!("SHA256 (vmcore.box.0) = {hex}\n"));
    let info = Info::parse(&place.text("crash/info.box.0")).expect("it is an info file");
    assert_eq!((info.status, info.bounds, info.source.as_str()), (Status::Good, 0, "disk"));
    assert_eq!(info.header.map(|header| header.panic_string), Some("page fault".to_owned()));
    assert!(place.read("disk") == disk);

    place.tine(&["save", "disk", "--dir", "crash", "--compress"]).succeeds();
    let packed = place.read("crash/vmcore.0.zst");
    assert!(zstd::decode_all(&packed[..]).expect("it is whole") == data);
    assert!(packed.len() < data.len() / 2);
    place.tine(&["check", "crash/vmcore.0.zst"]).succeeds();
    place.tine(&["check", "crash/vmcore.box.0"]).succeeds();
}

#[test]
fn a_dump_is_marked_as_saved_only_if_that_is_asked_for() {
    let place = Place::new();
    let data = minidump();
    let disk = partition(data.len() + 8192, &header(&data), &[], &data);
    place.write("disk", &disk);
    place.tine(&["save", "disk", "--dir", "crash", "--host", "--clear"]).succeeds();
    let cleared = place.read("disk");
    let last = disk.len() - 512;
    assert!(cleared[..last] == disk[..last]);
    let header = Header::parse(&cleared[last..]).expect("it is still one");
    assert_eq!((header.magic, header.parity_ok), (Magic::Cleared, true));

    let again = place.tine(&["save", "disk", "--dir", "crash", "--host"]).succeeds();
    assert!(again.errors().contains("saved already"), "{again}");
    assert!(!place.path("crash/vmcore.box.1").exists());
    assert_eq!(place.json(&["list", "disk", "--json"], 0)["dumps"][0]["saved_already"], true);
    place.tine(&["save", "disk", "--dir", "crash", "--host", "--force"]).succeeds();
    assert!(place.read("crash/vmcore.box.1") == data);
}

#[test]
fn dumps_of_all_versions_and_sizes_of_blocks_are_found() {
    let data = &minidump()[..200 << 10];
    for (version, block_size, extra, key) in
        [(1, 512, 0, 0), (2, 512, 0, 512), (3, 4096, 8192, 4096), (4, 4096, 1 << 20, 4096), (4, 512, 1 << 20, 1024)]
    {
        let place = Place::new();
        let dump_extent = data.len() as u64 + extra;
        let header = Header { version, block_size, dump_extent, key_size: key, ..header(data) };
        let key = if key == 0 {
            Vec::new()
        } else {
            DumpKey { cipher: Cipher::ChaCha20, iv: [3; 32], encrypted_key: vec![9; 256] }.build(block_size as usize)
        };
        let key = &key[..key.len().max(header.key_size as usize).min(key.len())];
        let header = Header { key_size: key.len() as u32, ..header };
        place.write("disk", partition(3 << 20, &header, key, data));
        place.tine(&["save", "disk", "--dir", "crash", "--host"]).succeeds();
        let name = if key.is_empty() { "crash/vmcore.box.0" } else { "crash/vmcore_encrypted.box.0" };
        assert!(place.read(name) == data);
        if !key.is_empty() {
            assert_eq!(place.read("crash/key.box.0"), key);
            assert!(place.text("crash/info.box.0").contains("\n  Encryption: chacha20\n"));
        }
    }
}

#[test]
fn what_a_kernel_compressed_is_named_and_left_so() {
    let place = Place::new();
    let data = minidump();
    for (compression, packed, end) in
        [(Compression::Gzip, gzip(&data), ".gz"), (Compression::Zstd, zstd_stream(&data), ".zst")]
    {
        let header = Header { compression, dump_extent: data.len() as u64, ..header(&packed) };
        place.write("disk", partition(data.len() + (1 << 20), &header, &[], &packed));
        place.tine(&["save", "disk", "--dir", "crash", &format!("--host={end}"), "--compress"]).succeeds();
        let name = format!("crash/vmcore{end}.0{end}");
        assert!(place.read(&name) == packed);
        let info = place.json(&["info", "--pages", "--json", &name], 0);
        assert_eq!(info["compression"], compression.to_string());
        assert_eq!(info["size"], data.len());
        assert!(info["pages"]["present"].as_u64() > Some(0), "{info}");
        place.tine(&["check", &name]).succeeds();
        place.tine(&["convert", "--to", "vmcore", &name, "plain"]).succeeds();
        assert!(place.read("plain") == data);
        fs::remove_file(place.path("plain")).expect("it is there");
        let mut damaged = packed;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        place.write(&name, damaged);
        let ran = place.tine(&["check", &name]).ends_with(1);
        assert!(ran.text().contains("WRONG"), "{ran}");
        place.tine(&["convert", "--to", "vmcore", &name, "plain"]).ends_with(3);
        assert!(!place.path("plain").exists());
    }
}

#[test]
fn disks_that_peers_made_are_looked_through() {
    let test = "disks_that_peers_made_are_looked_through";
    let (Some(sfdisk), Some(qemu)) = (Peer::find(test, "sfdisk"), Peer::find(test, "qemu-img")) else { return };
    let place = Place::new();
    let data = minidump();
    let swap = partition(data.len().next_multiple_of(1 << 20) + (1 << 20), &header(&data), &[], &data);
    let size = swap.len() + (3 << 20);
    let sectors = swap.len() / 512;
    let tables = [
        (
            "gpt",
            format!(
                "label: gpt\nstart=2048, size=2048\nstart=4096, size={sectors}, type=516E7CB5-6ECF-11D6-8FF8-00022D09712B\n"
            ),
            "p2",
        ),
        ("mbr", format!("label: dos\nstart=2048, size=2048, type=c\nstart=4096, size={sectors}, type=a5\n"), "s2"),
    ];
    for (name, table, partition) in tables {
        place.write(name, vec![0; size]);
        let mut child = sfdisk.command();
        let child = child.arg("-q").arg(place.path(name)).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.expect("it is installed");
        child.stdin.take().expect("it is piped").write_all(table.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it is ours").success());
        let mut disk = place.read(name);
        disk[4096 * 512..4096 * 512 + swap.len()].copy_from_slice(&swap);
        place.write(name, &disk);
        let qcow2 = format!("{name}.qcow2");
        place.peer(&qemu, &["convert", "-f", "raw", "-O", "qcow2", name, &qcow2]);
        for image in [name, &qcow2] {
            let listed = place.json(&["list", image, "--json"], 0);
            assert_eq!(listed["dumps"].as_array().map(Vec::len), Some(1), "{listed}");
            assert_eq!(listed["dumps"][0]["partition"], partition);
            let saved = place.json(&["save", image, "--dir", "crash", "--host", "--json"], 0);
            let file = saved["saved"][0]["file"].as_str().expect("it was saved").to_owned();
            assert!(place.read(&file) == data);
        }
        let refused = place.tine(&["save", &qcow2, "--dir", "crash", "--host", "--clear"]).ends_with(3);
        assert!(refused.errors().contains("only raw images and disks are written to"), "{refused}");
        place.tine(&["save", name, "--dir", "crash", "--host", "--clear"]).succeeds();
        let cleared = place.json(&["list", name, "--json"], 0);
        assert_eq!(cleared["dumps"][0]["saved_already"], true);
    }
}

#[test]
fn headers_that_are_wrong_are_told_and_saved_only_by_force() {
    let place = Place::new();
    let data = minidump();
    let good = partition(data.len() + (1 << 20), &header(&data), &[], &data);
    let last = good.len() - 512;

    let mut flipped = good.clone();
    flipped[last + 350] ^= 1;
    place.write("flipped", &flipped);
    let ran = place.tine(&["list", "flipped"]).ends_with(1);
    assert!(ran.text().contains("the parity of the last header is wrong"), "{ran}");
    let ran = place.tine(&["save", "flipped", "--dir", "crash", "--host"]).ends_with(1);
    assert!(ran.errors().contains("--force saves it all the same"), "{ran}");
    assert!(place.names("crash").is_empty());
    place.tine(&["save", "flipped", "--dir", "crash", "--host", "--force"]).ends_with(1);
    assert!(place.read("crash/vmcore.box.0") == data);
    assert_eq!(place.json(&["info", "--json", "crash/vmcore.box.0"], 1)["parity_ok"], false);

    // A disk whose end was overwritten.
    let mut lost = good;
    lost[last..].fill(0);
    place.write("lost", &lost);
    assert!(place.tine(&["list", "lost"]).succeeds().text().contains("no kernel dump is on lost"));
    let found = place.json(&["list", "--scan", "--json", "lost"], 0);
    assert_eq!(found["dumps"][0]["dump_length"], data.len());
    place.tine(&["save", "--scan", "lost", "--dir", "crash", "--host=scanned"]).succeeds();
    assert!(place.read("crash/vmcore.scanned.0") == data);

    for (name, length, extent) in [("huge", u64::MAX - 600, u64::MAX - 600), ("long", 1 << 40, 1 << 40)] {
        let header = Header { dump_length: length, dump_extent: extent, ..header(&data) };
        let mut disk = vec![0; 1 << 20];
        disk[(1 << 20) - 512..].copy_from_slice(&header.build().expect("the version is known"));
        place.write(name, disk);
        place.tine(&["list", name]).ends_with(1);
        place.tine(&["save", name, "--dir", "crash", "--host"]).ends_with(1);
        let forced = place.tine(&["save", name, "--dir", "crash", "--host", "--force"]);
        assert!([1, 3].contains(&forced.code()), "{forced}");
    }
}

#[test]
fn nothing_is_saved_where_there_is_no_room_for_it() {
    let place = Place::new();
    let data = minidump();
    place.write("disk", partition(data.len() + 8192, &header(&data), &[], &data));
    let ran = place.tine(&["save", "disk", "--dir", "crash", "--host", "--min-free", "8000t"]).ends_with(3);
    assert!(ran.errors().contains("not enough space in crash"), "{ran}");
    place.write("crash/minfree", "9007199254740992\n");
    place.tine(&["save", "disk", "--dir", "crash", "--host"]).ends_with(3);
    assert_eq!(place.names("crash"), ["minfree"]);
    place.tine(&["save", "disk", "--dir", "nowhere/here"]).ends_with(3);
    place.tine(&["save", "nothing", "--dir", "crash", "--host"]).ends_with(3);
    place.tine(&["save", "disk"]).ends_with(2);
}

#[test]
fn a_text_dump_becomes_an_archive() {
    let test = "a_text_dump_becomes_an_archive";
    let Some(tar) = Peer::find(test, "tar") else { return };
    let place = Place::new();
    place.write("ddb.txt", "db:0:kdb.enter.panic>  show pcpu\n".repeat(40));
    place.write("panic.txt", "page fault");
    place.peer(&tar, &["--format=ustar", "-cf", "archive", "ddb.txt", "panic.txt"]);
    let archive = place.read("archive");
    let backwards: Vec<u8> = archive.rchunks(512).flatten().copied().collect();
    let header = Header { magic: Magic::Text, ..header(&archive) };
    place.write("disk", partition(1 << 20, &header, &[], &backwards));
    let ran = place.tine(&["save", "disk", "--dir", "crash", "--host"]).succeeds();
    assert!(ran.text().starts_with("crash/textdump.tar.box.0: text dump of amd64"), "{ran}");
    assert!(place.read("crash/textdump.tar.box.0") == archive);
    assert_eq!(place.peer(&tar, &["-tf", "crash/textdump.tar.box.0"]).text(), "ddb.txt\npanic.txt\n");
    let info = place.json(&["info", "--json", "crash/textdump.tar.box.0"], 0);
    assert_eq!(info["members"][1], json!({"name": "panic.txt", "size": 10}));
    assert_eq!(info["kind"], "text dump");
    place.tine(&["check", "crash/textdump.tar.box.0"]).succeeds();
    // And in the copy of the partition from its first header on.
    let disk = place.read("disk");
    place.write("slice", &disk[disk.len() - archive.len() - 1024..]);
    assert_eq!(place.json(&["info", "--json", "slice"], 0)["members"][0]["name"], "ddb.txt");
}

#[test]
fn info_tells_what_scripts_rely_on() {
    let place = Place::new();
    let data = minidump();
    place.write("disk", partition(data.len() + 8192, &header(&data), &[], &data));
    place.tine(&["save", "disk", "--dir", "crash", "--host"]).succeeds();
    let info = place.json(&["info", "crash/vmcore.box.0", "--json"], 0);
    for (field, value) in [
        ("architecture", json!("amd64")),
        ("version_string", json!("FreeBSD 12.1-STABLE GENERIC\n    root@build:/usr/obj\n")),
        ("hostname", json!("box")),
        ("panic_string", json!("page fault")),
        ("dump_time", json!(1_577_880_000)),
        ("dump_length", json!(data.len())),
        ("compression", json!("none")),
        ("encryption", json!("none")),
        ("parity_ok", json!(true)),
    ] {
        assert_eq!(info[field], value, "{field}");
    }
    let text = place.tine(&["info", "crash/vmcore.box.0"]).succeeds().text();
    assert!(text.starts_with("crash/vmcore.box.0: minidump of amd64, version 2\n  host         box\n"), "{text}");
    assert!(text.contains("panic        page fault\n"), "{text}");

    // Without any file beside it, and under any name.
    place.write("core", &data);
    let bare = place.json(&["info", "core", "--json"], 0);
    assert_eq!((&bare["architecture"], &bare["hostname"]), (&json!("amd64"), &Value::Null));
    assert_eq!(bare["pages"], info["pages"]);
    // In one file with its header, as a partition has it.
    let disk = place.read("disk");
    place.write("slice", &disk[disk.len() - data.len() - 1024..]);
    let slice = place.json(&["info", "slice", "--json"], 0);
    assert_eq!((&slice["panic_string"], &slice["pages"]), (&json!("page fault"), &info["pages"]));
    place.tine(&["check", "slice"]).succeeds();

    place.write("nonsense", "hello");
    let ran = place.tine(&["info", "nonsense"]).ends_with(1);
    assert!(ran.text().contains("no kernel dump"), "{ran}");
}

#[test]
fn every_architecture_is_described_and_converted() {
    let test = "every_architecture_is_described_and_converted";
    let readelf = Peer::find(test, "readelf");
    for kind in Kind::ALL {
        let place = Place::new();
        let golden = forge::golden(kind);
        place.write("mini", golden.forge.minidump());
        let info = place.json(&["info", "--json", "mini"], 0);
        assert_eq!(info["architecture"], kind.architecture.to_string());
        assert!(info["pages"]["present"].as_u64() > info["pages"]["mapped"].as_u64(), "{info}");
        place.tine(&["check", "mini"]).succeeds();

        place.tine(&["convert", "--to", "raw", "mini", "raw"]).succeeds();
        let raw = fs::File::open(place.path("raw")).expect("it was written");
        let (address, text) = &golden.direct_only;
        let mut there = vec![0; text.len()];
        std::os::unix::fs::FileExt::read_exact_at(&raw, &mut there, *address).expect("it is as long as memory");
        assert_eq!(String::from_utf8_lossy(&there), *text);

        place.tine(&["convert", "--to", "elf", "mini", "core"]).succeeds();
        if let Some(readelf) = &readelf {
            let shown = place.peer(readelf, &["-lW", "core"]);
            assert!(shown.text().contains("LOAD"), "{shown}");
        }
        let again = place.tine(&["convert", "--to", "elf", "mini", "core"]).ends_with(3);
        assert!(again.errors().contains("--force replaces it"), "{again}");
    }
}

/// Stores `data` with a hole.
fn incomplete(place: &Place, data: &[u8], hole: std::ops::Range<usize>, compress: Option<i32>) -> String {
    stored(place, header(data), compress, &[0..hole.start, hole.end..data.len()], data)
}

/// Stores these ranges of `data`.
fn stored(
    place: &Place,
    header: Header,
    compress: Option<i32>,
    ranges: &[std::ops::Range<usize>],
    data: &[u8],
) -> String {
    let names = Names::reserve(&place.path("crash"), Some("box")).expect("there is room");
    let mut writer =
        Writer::create(names, store::Options { compress, ..store::Options::default() }).expect("so is here");
    for range in ranges {
        writer.write_at(&data[range.clone()], range.start as u64).expect("it is a file");
    }
    let outcome = Outcome {
        source: "box [192.0.2.1]".into(),
        header: Some(header),
        status: Status::Good,
        key: None,
        kind: vmcore::names::Kind::Core,
        suffix_encrypted: true,
        finished: true,
    };
    let stored = writer.finish(outcome).expect("all is written");
    format!("crash/{}", stored.data.file_name().expect("it has one").display())
}

#[test]
fn what_is_missing_of_a_dump_is_told_and_never_zeros() {
    let data = minidump();
    let end = data.len();
    for compress in [None, Some(1)] {
        let place = Place::new();
        let name = incomplete(&place, &data, end - 9000..end - 5000, compress);
        let info = place.json(&["info", "--json", &name], 1);
        assert_eq!((&info["status"], &info["missing_bytes"]), (&json!("incomplete"), &json!(4000)));
        assert_eq!(info["first_missing"], json!([[end - 9000, end - 5000]]));
        let ran = place.tine(&["check", &name]).ends_with(1);
        assert!(ran.text().contains("4000 of"), "{ran}");
        let ran = place.tine(&["convert", "--to", "vmcore", &name, "plain"]).ends_with(3);
        assert!(ran.errors().contains(&format!("byte {} of the dump is missing", end - 9000)), "{ran}");
        let ran = place.tine(&["convert", "--to", "vmcore", "--force", &name, "plain"]).succeeds();
        assert!(ran.errors().contains("4000 bytes never arrived"), "{ran}");
        let mut expected = data.clone();
        expected[end - 9000..end - 5000].fill(0);
        assert!(place.read("plain") == expected);
        // The others are there.
        place.tine(&["convert", "--to", "elf", &name, "core"]).succeeds();
    }
}

#[test]
fn a_dump_that_grew_while_it_was_written_is_whole_and_one_with_more_behind_it_is_not() {
    let place = Place::new();
    let data = minidump();
    let announced = Header { dump_length: data.len() as u64 - 8192, ..header(&data) };
    let name = stored(&place, announced.clone(), None, std::slice::from_ref(&(0..data.len())), &data);
    assert_eq!(name, "crash/vmcore.box.0");
    let checked = place.tine(&["check", &name]).succeeds().text();
    let length = format!("length       {} bytes, as its pages need; the header announced", data.len());
    assert!(checked.contains(&length), "{checked}");
    let info = place.json(&["info", "--json", &name], 0);
    assert_eq!((&info["status"], &info["missing_bytes"]), (&json!("good"), &json!(0)));
    assert_eq!((&info["dump_length"], &info["size"]), (&json!(data.len() - 8192), &json!(data.len())));
    place.tine(&["convert", "--to", "vmcore", &name, "plain"]).succeeds();
    assert!(place.read("plain") == data);

    let more = [&data[..], &[1; 4096]].concat();
    let name = stored(&place, announced, None, std::slice::from_ref(&(0..more.len())), &more);
    let checked = place.tine(&["check", &name]).ends_with(1).text();
    assert!(checked.contains("bytes of data, and the header says"), "{checked}");
}

#[test]
fn compressing_and_converting_back_changes_nothing() {
    let place = Place::new();
    let data = minidump();
    place.write("core", &data);
    for how in ["zstd", "gzip"] {
        place.tine(&["convert", "--to", "vmcore", "--compress", how, "core", how]).succeeds();
        assert!(place.read(how).len() < data.len() / 2);
        let plain = format!("{how}.plain");
        place.tine(&["convert", "--to", "vmcore", how, &plain]).succeeds();
        assert!(place.read(&plain) == data);
        let info = place.json(&["info", "--json", "--pages", how], 0);
        assert_eq!((&info["compression"], &info["size"]), (&json!(how), &json!(data.len())));
    }
    // Pages of zeros take no space.
    use std::os::unix::fs::MetadataExt;
    let sparse = fs::metadata(place.path("zstd.plain")).expect("it is there");
    let zeros = data.chunks(4096).filter(|page| page.iter().all(|&byte| byte == 0)).count() as u64;
    assert!(
        sparse.blocks() * 512 <= sparse.len() - zeros * 4096 + 65536,
        "{} of {}",
        sparse.blocks() * 512,
        sparse.len()
    );
}

#[test]
fn other_files_than_those_of_the_manifest_are_found_out() {
    let place = Place::new();
    let data = minidump();
    place.write("disk", partition(data.len() + 8192, &header(&data), &[], &data));
    place.tine(&["save", "disk", "--dir", "crash", "--host"]).succeeds();
    let mut other = data.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    place.write("crash/vmcore.box.0", &other);
    let ran = place.tine(&["check", "crash/vmcore.box.0"]).ends_with(1);
    assert!(ran.text().contains("the file is not the one of the manifest"), "{ran}");
    place.write("crash/vmcore.box.0", &data[..data.len() - 10_000]);
    let checks = place.json(&["check", "--json", "crash/vmcore.box.0"], 1);
    let wrong: Vec<&str> = (checks["checks"].as_array().into_iter().flatten())
        .filter(|check| check["outcome"] == "wrong")
        .filter_map(|check| check["check"].as_str())
        .collect();
    assert_eq!(wrong, ["sha256", "length", "page tables", "page map"]);
}

/// A dump that openssl encrypted as a kernel does, and the keys.
struct Encrypted<'a> {
    place: &'a Place,
    openssl: Peer,
}

impl Encrypted<'_> {
    fn openssl(&self, arguments: &[&str]) {
        self.place.peer(&self.openssl, arguments);
    }

    /// Encrypts `data` to the public half of `private`, and leaves it as savecore does.
    fn encrypt(&self, data: &[u8], cipher: Cipher, padding: &str, private: &str, number: u32) -> String {
        let secret: Vec<u8> = (0..64).map(|at| at * 3 + 1).collect();
        let iv: [u8; 32] = std::array::from_fn(|at| at as u8 ^ 0x5a);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.place.write("secret", &secret);
        self.openssl(&["rsa", "-in", private, "-passin", "pass:word", "-pubout", "-out", "public.pem"]);
        let padding = format!("rsa_padding_mode:{padding}");
        self.openssl(&[
            "pkeyutl",
            "-encrypt",
            "-pubin",
            "-inkey",
            "public.pem",
            "-pkeyopt",
            &padding,
            "-in",
            "secret",
            "-out",
            "wrapped",
        ]);
        self.place.write("plain", data);
        let name = format!("crash/vmcore_encrypted.{number}");
        let (name_of_cipher, iv_of_cipher) = match cipher {
            Cipher::Aes256Cbc => ("-aes-256-cbc", hex(&iv[..16])),
            // Its counter, and the nonce.
            Cipher::ChaCha20 => ("-chacha20", format!("{}{}", "00".repeat(8), hex(&iv[..8]))),
        };
        let key = hex(&secret[..32]);
        let arguments =
            ["enc", name_of_cipher, "-nopad", "-K", &key, "-iv", &iv_of_cipher, "-in", "plain", "-out", &name];
        self.openssl(&arguments);
        let block = DumpKey { cipher, iv, encrypted_key: self.place.read("wrapped") }.build(512);
        self.place.write(&format!("crash/key.{number}"), block);
        name
    }
}

#[test]
fn encrypted_dumps_are_decrypted_as_decryptcore_does() {
    let test = "encrypted_dumps_are_decrypted_as_decryptcore_does";
    let Some(openssl) = Peer::find(test, "openssl") else { return };
    let place = Place::new();
    let peer = Encrypted { place: &place, openssl };
    let data = minidump();
    let data = &data[..data.len() / 4096 * 4096];
    place.write("word", "word\n");
    place.write("wrong", "no\n");
    peer.openssl(&["genrsa", "-out", "pkcs8.pem", "2048"]);
    peer.openssl(&["genrsa", "-out", "other.pem", "2048"]);
    peer.openssl(&["genrsa", "-out", "longer.pem", "3072"]);
    peer.openssl(&["rsa", "-in", "pkcs8.pem", "-traditional", "-out", "pkcs1.pem"]);
    peer.openssl(&["pkcs8", "-topk8", "-in", "pkcs8.pem", "-passout", "pass:word", "-out", "pbes2.pem"]);
    let traditional =
        ["rsa", "-in", "pkcs8.pem", "-traditional", "-aes256", "-passout", "pass:word", "-out", "dek.pem"];
    peer.openssl(&traditional);

    let packed = zstd_stream(data);
    let ways = [
        (Cipher::Aes256Cbc, "pkcs1", data, "pkcs1.pem", false),
        (Cipher::Aes256Cbc, "oaep", data, "pkcs8.pem", false),
        (Cipher::ChaCha20, "oaep", data, "pbes2.pem", true),
        (Cipher::ChaCha20, "pkcs1", data, "dek.pem", true),
        (Cipher::ChaCha20, "oaep", &packed[..], "pkcs8.pem", false),
    ];
    for (number, (cipher, padding, data, key, passphrase)) in (0..).zip(ways) {
        let name = peer.encrypt(data, cipher, padding, key, number);
        let mut arguments = vec!["convert", "--to", "vmcore", "--key", key, "--force", &name, "decrypted"];
        if passphrase {
            let refused = place.tine(&arguments).ends_with(3);
            assert!(refused.errors().contains("--passphrase-file"), "{refused}");
            place.tine(&[&arguments[..], &["--passphrase-file", "wrong"]].concat()).ends_with(3);
            arguments.extend(["--passphrase-file", "word"]);
        }
        place.tine(&arguments).succeeds();
        assert!(place.read("decrypted") == minidump()[..place.read("decrypted").len()], "{name}");

        let info = place.json(&["info", "--json", &name], 0);
        assert_eq!(info["encryption"], cipher.to_string());
        assert_eq!(info["pages"], Value::Null);
        arguments.drain(..3);
        let key_options: Vec<&str> =
            arguments.iter().copied().filter(|&word| ![&name, "decrypted", "--force"].contains(&word)).collect();
        let checked = [&["check", &name], &key_options[..]].concat();
        place.tine(&checked).succeeds();
        let refused = place.tine(&["convert", "--to", "vmcore", &name, "no"]).ends_with(3);
        assert!(refused.errors().contains("give it with --key PEM"), "{refused}");
        let other = place.tine(&["convert", "--to", "vmcore", "--key", "other.pem", &name, "no"]).ends_with(3);
        assert!(other.errors().contains("another RSA key"), "{other}");
        let longer = place.tine(&["convert", "--to", "vmcore", "--key", "longer.pem", &name, "no"]).ends_with(3);
        assert!(longer.errors().contains("2048 bits, and this one has 3072"), "{longer}");
    }
    fs::rename(place.path("crash/key.0"), place.path("elsewhere")).expect("it is there");
    // Nothing says that it is encrypted, but what it was named by.
    let with =
        ["convert", "--to", "raw", "--key", "pkcs8.pem", "--dump-key", "elsewhere", "crash/vmcore_encrypted.0", "raw"];
    place.tine(&with).succeeds();
}

#[test]
fn help_and_wrong_command_lines_are_clear() {
    let place = Place::new();
    for command in ["save", "list", "info", "check", "convert"] {
        assert!(place.tine(&[command, "--help"]).succeeds().text().contains("Usage: tine dump"));
        place.tine(&[command]).ends_with(2);
    }
    place.write("core", minidump());
    place.tine(&["convert", "--to", "elf", "--compress", "gzip", "core", "out"]).ends_with(2);
    let ran = place.tine(&["info", "nothing"]).ends_with(3);
    assert_eq!(ran.errors().lines().count(), 1, "{ran}");
    assert!(Path::new(TINE).is_file());
}

#[test]
fn ranges_that_lie_are_told() {
    let place = Place::new();
    let data = minidump();
    place.write("crash/vmcore.0.partial", &data[..100_000]);
    let there: Ranges = std::iter::once(0..u64::MAX).collect();
    place.write("crash/ranges.0", there.to_string());
    let ran = place.tine(&["check", "crash/vmcore.0.partial"]);
    assert_eq!(ran.code(), 1, "{ran}");
    place.write("crash/ranges.0", "0 many\n");
    let ran = place.tine(&["info", "crash/vmcore.0.partial"]).ends_with(1);
    assert!(ran.text().contains("line 1 of the list of ranges"), "{ran}");
}
