//! `tine crash group`, `pack`, `open` and `live` as their users meet them, on dumps of a kernel that the tests compile.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use common::peer;
use serde_json::Value;

#[path = "../crates/crash/tests/support/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use support::Forged;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// The forged dump, or nothing, which is told.
fn forged(test: &str) -> Option<Forged> {
    let forged = support::forge(&[]);
    if forged.is_none() {
        peer::say(test, "the kernel of the tests is compiled on Linux and amd64 only");
    }
    forged
}

fn crash(arguments: &[&str]) -> Ran {
    command::run(Command::new(TINE).arg("crash").args(arguments), LIMIT)
}

fn json(arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.push("--json");
    serde_json::from_str(&crash(&all).succeeds().text()).expect("it is JSON")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Packs the dump, and gives the path.
fn packed(forged: &Forged, name: &str, more: &[&str]) -> PathBuf {
    let to = forged.dump().with_file_name(name);
    let mut arguments = vec!["pack", "-o", path(&to)];
    let dump = forged.dump();
    arguments.extend(more);
    arguments.push(path(&dump));
    crash(&arguments).succeeds();
    to
}

/// A report without the path of the kernel, which is another in a pack.
fn report(of: &Path) -> Value {
    let mut report = json(&[path(of), "report"]);
    report["system"]["kernel"] = Value::Null;
    report
}

#[test]
fn the_report_of_a_pack_is_that_of_the_dump() {
    let Some(forged) = forged("the_report_of_a_pack_is_that_of_the_dump") else { return };
    let expected = report(&forged.dump());
    for (name, more) in [("whole.tar.zst", &[][..]), ("redacted.tar.zst", &["--redact"])] {
        let pack = packed(&forged, name, more);
        // Nothing but the pack is there.
        let alone = tempfile::tempdir().unwrap();
        let moved = alone.path().join(name);
        fs::rename(&pack, &moved).unwrap();
        assert_eq!(report(&moved), expected, "{name}");
        let text = crash(&["open", path(&moved)]).succeeds().text();
        assert!(text.starts_with("panic: page fault\n"), "{text}");
        let printed = crash(&["open", path(&moved), "print", "doomed.p_pid"]).succeeds().text();
        assert_eq!(printed, "27\n");
    }
}

#[test]
fn a_pack_says_what_it_contains_and_is_the_same_each_time() {
    let Some(forged) = forged("a_pack_says_what_it_contains_and_is_the_same_each_time") else { return };
    let to = forged.dump().with_file_name("a.tar.zst");
    let dump = forged.dump();
    let said = crash(&[path(&dump), "pack", "-o", path(&to), "--redact", "--with", "init", "--all-threads"]);
    let said = said.succeeds().text();
    for expected in
        ["redacted", "kernel", "It contains", "the message buffer", "It leaves out", "memory of user programs"]
    {
        assert!(said.contains(expected), "{expected:?} was expected:\n{said}");
    }
    let listed = json(&["open", "--list", path(&to)]);
    assert_eq!(listed["redacted"], true);
    assert_eq!(listed["asked"][0], "init");
    let names: Vec<&str> =
        listed["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ranges.0", "kernel", "forged.ko", "vmcore.0"]);
    let again = packed(&forged, "b.tar.zst", &["--redact", "--with", "init", "--all-threads"]);
    assert!(fs::read(&to).unwrap() == fs::read(&again).unwrap(), "the same dump gives the same bytes");
    let refused = crash(&["pack", path(&dump), "-o", path(&to)]).ends_with(3).errors();
    assert!(refused.contains("--force replaces it"), "{refused}");
    crash(&["--force", "pack", path(&dump), "-o", path(&to)]).succeeds();
}

#[test]
fn what_a_redacted_pack_left_out_cannot_be_read() {
    let Some(forged) = forged("what_a_redacted_pack_left_out_cannot_be_read") else { return };
    let pack = packed(&forged, "a.tar.zst", &["--redact"]);
    let refused = crash(&[path(&pack), "print", "doomed.p_one"]).ends_with(3).errors();
    assert!(refused.contains("it is not in the pack"), "{refused}");
    let pack = packed(&forged, "b.tar.zst", &["--redact", "--with", "doomed.p_one"]);
    assert_eq!(crash(&[path(&pack), "print", "doomed.p_one"]).succeeds().text(), "3229\n");
}

#[test]
fn a_pack_that_was_unpacked_by_tar_is_a_dump_with_its_kernel() {
    let Some(forged) = forged("a_pack_that_was_unpacked_by_tar_is_a_dump_with_its_kernel") else { return };
    let pack = packed(&forged, "a.tar.zst", &[]);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("a.tar");
    let bytes = zstd::decode_all(&fs::read(&pack).unwrap()[..]).unwrap();
    fs::write(&archive, bytes).unwrap();
    let mut tar = Command::new("tar");
    let unpacked = tar.arg("-xf").arg(&archive).current_dir(folder.path()).status();
    if !unpacked.is_ok_and(|status| status.success()) {
        peer::say("a_pack_that_was_unpacked_by_tar_is_a_dump_with_its_kernel", "there is no tar");
        return;
    }
    let unpacked = report(&folder.path().join("vmcore.0"));
    let expected = report(&forged.dump());
    for part in ["panic", "backtrace", "signature", "processes", "message_buffer", "problems"] {
        assert_eq!(unpacked[part], expected[part], "{part}");
    }
}

#[test]
fn a_damaged_pack_is_refused_in_one_sentence() {
    let Some(forged) = forged("a_damaged_pack_is_refused_in_one_sentence") else { return };
    let pack = packed(&forged, "a.tar.zst", &[]);
    let whole = fs::read(&pack).unwrap();
    let damaged = pack.with_file_name("damaged.tar.zst");
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 0x40;
    for bytes in [&whole[..whole.len() - 5], &whole[..middle], &flipped[..]] {
        fs::write(&damaged, bytes).unwrap();
        let refused = crash(&[path(&damaged)]).ends_with(3).errors();
        assert!(refused.contains("is a damaged pack"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    let mut more = zstd::decode_all(&whole[..]).unwrap();
    more.extend(vec![0; 1 << 20]);
    fs::write(&damaged, zstd::encode_all(&more[..], 1).unwrap()).unwrap();
    assert!(crash(&[path(&damaged)]).ends_with(3).errors().contains("something follows its end"));
    let refused = crash(&["open", path(&forged.dump())]).ends_with(3).errors();
    assert!(refused.contains("is no pack"), "{refused}");
}

#[test]
fn the_dumps_of_a_folder_are_grouped() {
    let Some(forged) = forged("the_dumps_of_a_folder_are_grouped") else { return };
    let folder = tempfile::tempdir().unwrap();
    for host in ["one", "two"] {
        let folder = folder.path().join(host).join("crash");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(forged.kernel(), folder.join("kernel")).unwrap();
        fs::copy(forged.dump(), folder.join("vmcore.0")).unwrap();
    }
    // One whose kernel is lost, one that is damaged, and what is no dump.
    let lost = folder.path().join("lost");
    fs::create_dir_all(&lost).unwrap();
    fs::copy(forged.dump(), lost.join("vmcore.7")).unwrap();
    fs::write(folder.path().join("vmcore.9"), b"no dump").unwrap();
    fs::write(folder.path().join("notes.txt"), b"vmcore").unwrap();
    let found = json(&["group", path(folder.path())]);
    let groups = found["groups"].as_array().unwrap();
    assert_eq!(found["dumps"], 3);
    assert_eq!((&groups[0]["count"], &groups[0]["stack"]), (&2.into(), &true.into()));
    assert_eq!(groups[0]["message"], "page fault");
    assert_eq!(groups[0]["functions"][0], "broken_driver");
    assert_eq!(groups[0]["signature"], report(&forged.dump())["signature"]);
    assert_eq!((&groups[1]["count"], &groups[1]["stack"]), (&1.into(), &false.into()));
    assert!(found["unreadable"][0]["path"].as_str().unwrap().ends_with("vmcore.9"));
    let ran = crash(&["group", path(folder.path())]).succeeds();
    assert!(ran.text().starts_with("3 dumps with 2 kinds of panic\n"), "{}", ran.text());
    assert!(ran.errors().contains("vmcore.9"), "{}", ran.errors());
    // With the kernel all are of one kind.
    let kernel = forged.kernel();
    let found = json(&["group", "-k", path(&kernel), path(folder.path())]);
    assert_eq!(found["groups"][0]["count"], 3);
    crash(&["group", path(&lost.join("nothing"))]).ends_with(3);
}

/// What is asked through a stub is what the dump says; ours is one.
#[test]
fn a_live_kernel_is_asked_through_its_stub() {
    let Some(forged) = forged("a_live_kernel_is_asked_through_its_stub") else { return };
    let (kernel, dump) = (forged.kernel(), forged.dump());
    let mut command = Command::new(TINE);
    command.args(["crash", "-k", path(&kernel), path(&dump), "serve", "--listen", "127.0.0.1:0"]);
    let mut server = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).expect("it tells its address");
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let ask = |arguments: &[&str]| {
        let mut all = vec!["-k", path(&kernel), "live", &address];
        all.extend(arguments);
        crash(&all)
    };
    let (live, dead) = (ask(&["report", "--json"]).succeeds().text(), json(&[path(&dump), "report"]));
    let live: Value = serde_json::from_str(&live).expect("it is JSON");
    for part in ["panic", "backtrace", "processes", "signature", "problems"] {
        assert_eq!(live[part], dead[part], "{part}");
    }
    assert_eq!(ask(&["print", "doomed.p_comm[0]"]).succeeds().text(), "100 'd'\n");
    assert!(ask(&["bt", "init"]).succeeds().text().contains("sched_switch"));
    let refused = ask(&["mem", "0x1000", "8"]).ends_with(3).errors();
    assert!(refused.contains("the stub cannot read it"), "{refused}");
    let other = support::forge(&["-DVERSION=\"another\""]).unwrap();
    let refused = crash(&["-k", path(&other.kernel()), "live", &address]).ends_with(3).errors();
    assert!(refused.contains("is not the kernel that runs"), "{refused}");
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(crash(&["live", &address]).ends_with(3).errors().contains("-k KERNEL"));
    assert!(ask(&[]).ends_with(3).errors().contains("cannot connect to"));
}
