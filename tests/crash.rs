//! `tine crash` as its users meet it, on the dump of a kernel that the tests compile, and with gdb and lldb attached.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::command::{self, Ran};
use common::peer::{self, Peer};
use serde_json::Value;

#[path = "../crates/crash/tests/support/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use support::{Forged, Machine, machine};

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// The dumps of amd64 and arm64; those for which there is no compiler are left out, which is told.
fn forged(test: &str) -> Vec<(&'static Machine, Forged)> {
    let machines = [&machine::AMD64, &machine::ARM64].into_iter();
    machines.filter_map(|machine| Some((machine, forged_for(test, machine)?))).collect()
}

fn forged_for(test: &str, machine: &Machine) -> Option<Forged> {
    forged_with(test, machine, &[])
}

fn forged_with(test: &str, machine: &Machine, flags: &[&str]) -> Option<Forged> {
    let forged = support::forge_for(machine, flags, 0);
    if forged.is_none() {
        peer::skip(test, machine.missing());
    }
    forged
}

fn is_arm64(machine: &Machine) -> bool {
    machine.kind == machine::ARM64.kind
}

fn crash(forged: &Forged, arguments: &[&str]) -> Ran {
    let mut command = Command::new(TINE);
    command.arg("crash").arg("-k").arg(forged.kernel()).arg(forged.dump()).args(arguments);
    command::run(&mut command, LIMIT)
}

fn text(forged: &Forged, arguments: &[&str]) -> String {
    crash(forged, arguments).succeeds().text()
}

fn json(forged: &Forged, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    serde_json::from_str(&text(forged, &arguments)).expect("it is JSON")
}

#[test]
fn the_report_has_the_names_that_scripts_rely_on() {
    for (machine, forged) in forged("the_report_has_the_names_that_scripts_rely_on") {
        let kernel = if is_arm64(machine) { "0xffff0000000" } else { "0xffffffff802" };
        let report = json(&forged, &["report"]);
        assert_eq!(report["panic"]["message"], "page fault");
        assert_eq!(report["panic"]["thread"], 100_002);
        assert_eq!(report["panic"]["process"], "doomed");
        let frame = &report["backtrace"][0];
        assert_eq!(frame["function"], "doadump");
        assert!(frame["address"].as_str().is_some_and(|address| address.starts_with(kernel)));
        assert!(frame["file"].as_str().is_some_and(|file| file.ends_with("kernel.c")));
        assert!(frame["line"].as_u64().is_some());
        assert_eq!(frame["inlined"], false);
        assert_eq!(report["message_buffer"], "panic: page fault\n");
        let doomed = &report["processes"][2];
        assert_eq!((&doomed["pid"], &doomed["name"], &doomed["state"]), (&27.into(), &"doomed".into(), &"R".into()));
        assert_eq!(doomed["threads"][1]["name"], "waiter");
        assert_eq!(report["signature"].as_str().map(str::len), Some(16));
    }
}

#[test]
fn without_a_command_the_report_is_made_for_people() {
    for (machine, forged) in forged("without_a_command_the_report_is_made_for_people") {
        let report = text(&forged, &[]);
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines[0], "panic: page fault");
        for expected in [
            if is_arm64(machine) {
                "  trap      data abort (37) at address 0x20"
            } else {
                "  trap      page fault (12) at address 0x20"
            },
            "of a null pointer, likely",
            "  thread    100002 of doomed (pid 27), CPU 1",
            "FreeBSD 99.0-FORGED",
            "2 CPUs, up 1 day 2 h",
            if is_arm64(machine) { "handle_el1h_sync" } else { "calltrap" },
            "        flags = ",
            "of a user's program, pc 0x201000",
            "  panic: page fault",
            "3 processes with 4 threads",
        ] {
            assert!(report.contains(expected), "{expected:?} was expected:\n{report}");
        }
        assert!(!report.contains('\u{1b}'), "colours are for terminals");
    }
}

#[test]
fn stacks_are_shown_by_thread_by_process_and_for_all_together() {
    for (_, forged) in forged("stacks_are_shown_by_thread_by_process_and_for_all_together") {
        assert!(text(&forged, &["bt"]).starts_with("Thread 100002 doomed\n"));
        let sleeping = text(&forged, &["bt", "100001"]);
        assert!(sleeping.starts_with("Thread 100001 init, waits for nanslp\n"), "{sleeping}");
        assert!(sleeping.contains("sched_switch") && sleeping.contains("fork_exit"), "{sleeping}");
        assert_eq!(json(&forged, &["bt", "doomed"]).as_array().map(Vec::len), Some(2));
        let all = json(&forged, &["bt", "--all"]);
        let groups: Vec<usize> =
            all.as_array().unwrap().iter().map(|group| group["threads"].as_array().unwrap().len()).collect();
        assert_eq!(groups.iter().sum::<usize>(), 4);
        assert_eq!(groups.len(), 2, "three threads have the same stack");
        let refused = crash(&forged, &["bt", "nobody"]).ends_with(3).errors();
        assert!(refused.contains("there is no thread or process nobody"), "{refused}");
    }
}

#[test]
fn values_types_symbols_and_memory_are_told() {
    for (_, forged) in forged("values_types_symbols_and_memory_are_told") {
        let print = |expression: &str| text(&forged, &["print", expression]).trim_end().to_owned();
        assert_eq!(print("doomed.p_pid"), "27");
        assert_eq!(print("doomed.p_comm"), "\"doomed\", '\\000' <repeats 13 times>");
        assert_eq!(print("allproc.lh_first->p_list.le_next->p_comm[0] == 'i'"), "1");
        assert_eq!(print("((struct thread *)culprit.td_plist.tqe_next)->td_tid - 1"), "100002");
        assert_eq!(print("sizeof(struct proc) > 50"), "1");
        assert_eq!(print("doomed.p_low"), "-3");
        assert_eq!(text(&forged, &["print", "/x", "doomed.p_pid"]), "0x1b\n");
        assert_eq!(print("$tid"), "100002");
        assert_eq!(print("$proc->p_pid"), "27");
        assert!(print("*msgbufp").contains("msg_magic = 405602"));
        assert!(text(&forged, &["ptype", "struct ucred"]).contains("cr_uid"));
        let symbol = json(&forged, &["sym", "panic"]);
        let address = symbol[0]["address"].as_str().unwrap();
        assert!(text(&forged, &["sym", address]).contains("panic"));
        assert!(text(&forged, &["mem", "&version", "16"]).contains("|FreeBSD 99.0-FOR|"));
        let list = text(&forged, &["list", "allproc", "p_list", "p_pid"]);
        let pids: Vec<&str> = list.lines().filter_map(|line| line.split("p_pid = ").nth(1)).collect();
        assert_eq!(pids, ["27", "1", "0"]);
        let refused = crash(&forged, &["print", "doomed.p_nothing"]).ends_with(3).errors();
        assert!(refused.contains("struct proc has no field p_nothing"), "{refused}");
        crash(&forged, &["print", "sink = 5"]).ends_with(3);
    }
}

#[test]
fn messages_processes_and_modules_are_listed() {
    for (_, forged) in forged("messages_processes_and_modules_are_listed") {
        assert_eq!(text(&forged, &["msgbuf"]), "---<<BOOT>>---\nstarting\npanic: page fault\n");
        assert_eq!(text(&forged, &["msgbuf", "--unread"]), "panic: page fault\n");
        let processes = text(&forged, &["ps"]);
        assert_eq!(processes.lines().count(), 4);
        assert!(processes.lines().any(|line| line.contains("nanslp") && line.ends_with("init")), "{processes}");
        assert!(text(&forged, &["threads", "doomed"]).contains("Giant"));
        assert!(text(&forged, &["modules"]).contains("kernel"));
    }
}

#[test]
fn what_cannot_be_is_one_sentence() {
    for (_, forged) in forged("what_cannot_be_is_one_sentence") {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(TINE);
            command::run(command.arg("crash").args(arguments), LIMIT)
        };
        run(&[]).ends_with(2);
        run(&["/nonexistent/vmcore"]).ends_with(3);
        let dump = forged.dump().display().to_string();
        let refused = run(&["-k", "/etc/passwd", &dump]).ends_with(3).errors();
        assert_eq!(refused.lines().count(), 1, "{refused}");
        std::fs::write(forged.dump(), b"no dump at all, but some text").unwrap();
        let refused = crash(&forged, &[]).ends_with(3).errors();
        assert!(refused.contains("no kernel dump"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
}

#[test]
fn the_source_around_the_fault_is_shown() {
    // At the second place, clang has made code for arm64 that no line stands for.
    for (machine, place) in
        [(&machine::AMD64, "-DINTO=24"), (&machine::ARM64, "-DINTO=24"), (&machine::ARM64, "-DINTO=32")]
    {
        let Some(forged) = forged_with("the_source_around_the_fault_is_shown", machine, &[place]) else { continue };
        crash(&forged, &["source"]).ends_with(2);
        let sources = common::project().join("crates/crash/tests/support").display().to_string();
        let mut command = Command::new(TINE);
        command.args(["crash", "-s", &sources, "-k"]).arg(forged.kernel()).arg(forged.dump()).arg("source");
        let said = command::run(&mut command, LIMIT).succeeds().text();
        let first = said.lines().next().unwrap_or_default();
        assert!(first.contains("kernel.c:") && !first.ends_with(":0"), "{said}");
        assert!(said.lines().any(|line| line.starts_with("> ") && line.contains("broken_driver")), "{said}");
    }
}

/// A server for one debugger, and its address.
fn serving(forged: &Forged) -> (Child, String) {
    let mut command = Command::new(TINE);
    command.arg("crash").arg("-k").arg(forged.kernel()).arg(forged.dump());
    command.args(["serve", "--once", "--listen", "127.0.0.1:0"]);
    let mut server = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).expect("it tells its address");
    let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    (server, address)
}

#[test]
fn gdb_attaches_and_prints_structures() {
    let test = "gdb_attaches_and_prints_structures";
    // The one that knows all processors has another name.
    for (machine, gdb) in [(&machine::AMD64, "gdb"), (&machine::ARM64, "gdb-multiarch")] {
        let (Some(gdb), Some(forged)) = (Peer::find(test, gdb), forged_for(test, machine)) else { continue };
        let (mut server, address) = serving(&forged);
        let mut command = gdb.command();
        command.args(["-nx", "-batch", "-ex", "set osabi none", "-ex", &format!("file {}", forged.kernel().display())]);
        command.args(["-ex", &format!("target remote {address}"), "-ex", "info threads", "-ex", "bt"]);
        command.args(["-ex", "print doomed.p_pid", "-ex", "print panicstr", "-ex", "detach"]);
        let said = command::run(&mut command, LIMIT);
        let said = said.text() + &said.errors();
        for expected in ["100002 \"doomed\"", "waiter", "#1 ", "kern_reboot", "vpanic", "$1 = 27", "\"page fault\""] {
            assert!(said.contains(expected), "{expected:?} was expected:\n{said}");
        }
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn lldb_attaches_and_prints_structures() {
    let test = "lldb_attaches_and_prints_structures";
    let Some(lldb) = Peer::find(test, "lldb") else { return };
    for (_, forged) in forged(test) {
        let (mut server, address) = serving(&forged);
        let mut command = lldb.command();
        command.args(["-x", "-b", "-o", &format!("target create {}", forged.kernel().display())]);
        command.args(["-o", &format!("gdb-remote {address}"), "-o", "thread list", "-o", "bt"]);
        command.args(["-o", "p doomed.p_pid", "-o", "process detach"]);
        let said = command::run(&mut command, LIMIT);
        let said = said.text() + &said.errors();
        for expected in ["doomed", "waiter", "frame #1", "kern_reboot", "vpanic", " = 27"] {
            assert!(said.contains(expected), "{expected:?} was expected:\n{said}");
        }
        assert!(server.wait().unwrap().success());
    }
}
