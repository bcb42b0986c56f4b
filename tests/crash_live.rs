//! `tine crash live` on a kernel that the tests compile and QEMU runs: its processor is in the kernel, and idles.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::command::{self, Ran};
use common::peer::{self, Peer};
use serde_json::Value;

#[path = "../crates/crash/tests/support/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use support::{Forged, Machine, boot, machine};

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);

/// A machine of QEMU, which ends with the test.
struct Guest {
    qemu: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Guest {
    fn start(qemu: &Peer, options: &[String]) -> Self {
        let mut command = qemu.command();
        command.args(options).args(["-monitor", "stdio"]);
        // As `-gdb tcp:` has it, but that the system chooses the port.
        command.args([
            "-chardev",
            "socket,id=stub,host=127.0.0.1,port=0,server=on,wait=off,nodelay=on",
            "-gdb",
            "chardev:stub",
        ]);
        let mut qemu = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("QEMU starts");
        let (commands, answers) = (qemu.stdin.take().unwrap(), BufReader::new(qemu.stdout.take().unwrap()));
        Self { qemu, commands, answers }
    }

    /// What the monitor answers. It echoes what it is told, with a prompt before it.
    fn ask(&mut self, question: &str) -> String {
        // What it does not know marks the end.
        writeln!(self.commands, "{question}\nend_of_answer").expect("QEMU listens");
        let (mut said, mut line) = (String::new(), String::new());
        while !line.starts_with("unknown command: 'end_of_answer'") {
            said += &line;
            line.clear();
            let read = self.answers.read_line(&mut line).expect("QEMU answers");
            assert!(read > 0, "QEMU has ended: {said}");
        }
        said
    }

    /// Where its stub is.
    fn stub(&mut self) -> String {
        let said = self.ask("info chardev");
        let found = said.lines().find(|line| line.contains("stub:"));
        let address = found.and_then(|line| line.split("tcp:").nth(1)?.split(',').next());
        address.unwrap_or_else(|| panic!("no stub in {said}")).to_owned()
    }

    /// Waits until the processor is in the kernel: which is at once.
    fn runs_the_kernel(&mut self) {
        let begin = Instant::now();
        loop {
            let registers = self.ask("info registers").to_lowercase();
            if ["rip=ffffffff8", " pc=ffff0000"].iter().any(|there| registers.contains(there)) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "it never came to the kernel:\n{registers}");
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn running(test: &str, machine: &Machine) -> Option<Forged> {
    let forged = support::forge_for(machine, &["-DRUNNING"], 0);
    if forged.is_none() {
        peer::skip(test, machine.missing());
    }
    forged
}

#[test]
fn a_kernel_that_runs_in_qemu_is_read_and_goes_on() {
    let test = "a_kernel_that_runs_in_qemu_is_read_and_goes_on";
    for (machine, qemu) in [(&machine::AMD64, "qemu-system-x86_64"), (&machine::ARM64, "qemu-system-aarch64")] {
        let (Some(qemu), Some(forged)) = (Peer::find(test, qemu), running(test, machine)) else { continue };
        let mut guest = Guest::start(&qemu, &boot::machine(machine, &forged.kernel()));
        guest.runs_the_kernel();
        let stub = guest.stub();
        let live = |arguments: &[&str]| -> Ran {
            let mut command = Command::new(TINE);
            command.args(["crash", "-k"]).arg(forged.kernel()).args(["live", &stub]).args(arguments);
            command::run(&mut command, LIMIT)
        };
        let ran = live(&["report", "--json"]).succeeds();
        assert!(ran.errors().contains("stood still while it was read, and goes on now"), "{}", ran.errors());
        assert!(guest.ask("info status").contains("VM status: running"));
        let report: Value = serde_json::from_str(&ran.text()).expect("it is JSON");
        assert_eq!(report["system"]["live"], true);
        assert_eq!(report["panic"]["message"], Value::Null);
        assert_eq!(report["problems"], Value::Array(Vec::new()));
        assert_eq!((&report["panic"]["thread"], &report["panic"]["cpu"]), (&100_002.into(), &0.into()));
        let functions: Vec<&str> =
            report["backtrace"].as_array().unwrap().iter().filter_map(|frame| frame["function"].as_str()).collect();
        assert_eq!(functions, ["cpu_idle", "sched_idletd", "fork_exit", "fork_trampoline"]);
        assert_eq!(report["processes"][2]["name"], "doomed");
        assert_eq!(report["message_buffer"], "panic: page fault\n");
        assert_eq!(live(&["print", "curthread->td_name[0]"]).succeeds().text(), "100 'd'\n");
        assert!(live(&["bt", "init"]).succeeds().text().contains("sched_switch"));
        // What is not mapped is told by the machine.
        assert!(live(&["mem", "0x123456789000", "8"]).ends_with(3).errors().contains("the stub cannot read it"));
        live(&["--leave-stopped", "msgbuf"]).succeeds();
        assert!(guest.ask("info status").contains("VM status: paused"));
    }
}

#[test]
fn a_machine_that_was_not_started_is_left_as_it_is() {
    let test = "a_machine_that_was_not_started_is_left_as_it_is";
    let machine = &machine::AMD64;
    let (Some(qemu), Some(forged)) = (Peer::find(test, "qemu-system-x86_64"), running(test, machine)) else { return };
    let mut options = boot::machine(machine, &forged.kernel());
    options.push("-S".to_owned());
    let mut guest = Guest::start(&qemu, &options);
    let stub = guest.stub();
    let mut command = Command::new(TINE);
    command.args(["crash", "-k"]).arg(forged.kernel()).args(["live", &stub]);
    // The processor is at its reset, and there is no kernel yet where it looks.
    let said = command::run(&mut command, LIMIT).ends_with(3).errors();
    assert!(said.contains("is not the kernel that runs"), "{said}");
    assert!(guest.ask("info status").contains("prelaunch"));
}
