//! A report of the dump of a kernel that the tests compile.

#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use crash::{Crash, Options, Report};
use proptest::prelude::*;
use support::Forged;

fn open(forged: &Forged) -> Crash {
    Crash::open(&forged.dump(), &Options::default()).expect("the kernel lies beside the dump")
}

/// The forged dump; the test is left, and says so, where there is no compiler for it.
macro_rules! forged {
    ($test:literal, $flags:expr) => {
        match support::forge($flags) {
            Some(forged) => forged,
            None => {
                eprintln!("skipped: {}: the kernel of the tests is compiled on Linux and amd64 only", $test);
                return;
            }
        }
    };
}

#[test]
fn the_report_tells_what_panicked_where_and_who() {
    let forged = forged!("the_report_tells_what_panicked_where_and_who", &[]);
    let report = Report::of(&open(&forged));
    assert_eq!(report.problems, [] as [&str; 0]);
    assert_eq!(report.panic.message.as_deref(), Some("page fault"));
    assert_eq!(report.panic.thread, Some(100_002));
    assert_eq!(report.panic.process.as_deref(), Some("doomed"));
    assert_eq!((report.panic.pid, report.panic.cpu), (Some(27), Some(1)));
    let trap = report.panic.trap.as_ref().expect("a trap led to it");
    assert_eq!((trap.name.as_str(), trap.number, trap.user), ("page fault", Some(12), false));
    assert!(report.panic.explanation.as_ref().is_some_and(|text| text.contains("null page")));
    assert_eq!(report.system.uptime, Some(93_784));
    assert_eq!(report.system.cpus, Some(2));
    assert!(report.system.version.as_ref().is_some_and(|version| version.contains("99.0-FORGED")));
    assert_eq!(report.message_buffer, "panic: page fault\n");
    assert_eq!(report.modules.len(), 2);
    assert_eq!(report.signature.len(), 16);
}

#[test]
fn the_backtrace_crosses_the_trap_and_ends_at_the_system_call() {
    let forged = forged!("the_backtrace_crosses_the_trap_and_ends_at_the_system_call", &[]);
    let report = Report::of(&open(&forged));
    assert_eq!(report.backtrace_broken, None);
    let functions: Vec<&str> = report.backtrace.iter().filter_map(|frame| frame.function.as_deref()).collect();
    let outer: Vec<&str> = functions.iter().copied().filter(|name| *name != "follow").collect();
    assert_eq!(
        outer,
        [
            "doadump",
            "kern_reboot",
            "vpanic",
            "panic",
            "trap_fatal",
            "trap",
            "calltrap",
            "broken_driver",
            "sys_ioctl",
            "amd64_syscall",
            "fast_syscall_common"
        ]
    );
    let last = report.backtrace.last().and_then(|frame| frame.trap.as_ref()).expect("it came from a user's program");
    assert!(last.user);
    assert_eq!(last.pc, 0x20_1000);
    let driver = report.backtrace.iter().find(|frame| frame.function.as_deref() == Some("broken_driver")).unwrap();
    assert!(driver.file.as_ref().is_some_and(|file| file.ends_with("kernel.c")));
    assert!(driver.line.is_some_and(|line| line > 50));
    let names: Vec<&str> = driver.arguments.iter().map(|argument| argument.name.as_str()).collect();
    assert_eq!(names, ["p", "flags"]);
}

#[test]
fn processes_and_threads_are_as_the_kernel_had_them() {
    let forged = forged!("processes_and_threads_are_as_the_kernel_had_them", &[]);
    let report = Report::of(&open(&forged));
    let short: Vec<_> = report
        .processes
        .iter()
        .map(|process| (process.pid, process.name.as_str(), process.state.as_str(), process.parent, process.uid))
        .collect();
    assert_eq!(
        short,
        [(0, "kernel", "D", 0, Some(0)), (1, "init", "S", 0, Some(0)), (27, "doomed", "R", 1, Some(1001))]
    );
    let waiter = &report.processes[2].threads[1];
    assert_eq!((waiter.tid, waiter.state.as_str(), waiter.wait.as_deref()), (100_003, "L", Some("Giant")));
    assert_eq!(report.processes[1].threads[0].wait.as_deref(), Some("nanslp"));
}

#[test]
fn a_list_that_leads_back_to_itself_comes_to_an_end_and_is_told() {
    let forged = forged!("a_list_that_leads_back_to_itself_comes_to_an_end_and_is_told", &["-DLAST_PROCESS=&doomed"]);
    let report = Report::of(&open(&forged));
    assert_eq!(report.processes.len(), 3);
    assert!(report.problems.iter().any(|problem| problem.contains("leads back")), "{:?}", report.problems);
}

#[test]
fn without_debug_information_messages_and_the_panic_are_still_told() {
    let forged = forged!("without_debug_information_messages_and_the_panic_are_still_told", &["-g0"]);
    let crash = open(&forged);
    assert!(crash.notes().iter().any(|note| note.contains("no debug information")));
    let report = Report::of(&crash);
    assert_eq!(report.panic.message.as_deref(), Some("page fault"));
    assert_eq!(report.message_buffer, "panic: page fault\n");
    assert!(!report.problems.is_empty());
    let functions: Vec<&str> = report.backtrace.iter().filter_map(|frame| frame.function.as_deref()).collect();
    assert!(functions.starts_with(&["doadump"]) && functions.len() > 2, "{functions:?}");
}

#[test]
fn a_kernel_that_did_not_make_the_dump_is_refused_unless_forced() {
    let forged = forged!("a_kernel_that_did_not_make_the_dump_is_refused_unless_forced", &[]);
    let other =
        forged!("a_kernel_that_did_not_make_the_dump_is_refused_unless_forced", &["-O2", "-DLAST_PROCESS=&init"]);
    let options = Options { kernel: Some(other.kernel()), ..Options::default() };
    let refused = Crash::open(&forged.dump(), &options).err().expect("it is another kernel").to_string();
    assert!(refused.contains("is not the kernel of this dump"), "{refused}");
    let forced = Crash::open(&forged.dump(), &Options { force: true, ..options }).expect("it was forced");
    assert!(forced.notes().iter().any(|note| note.contains("may be wrong")));
}

#[test]
fn the_signature_is_that_of_the_fault_not_of_the_build() {
    let one = forged!("the_signature_is_that_of_the_fault_not_of_the_build", &[]);
    let other = forged!("the_signature_is_that_of_the_fault_not_of_the_build", &["-DLAST_PROCESS=&doomed"]);
    assert_eq!(Report::of(&open(&one)).signature, Report::of(&open(&other)).signature);
}

#[test]
fn a_list_that_leads_into_missing_memory_is_told_and_the_rest_is_reported() {
    let test = "a_list_that_leads_into_missing_memory_is_told_and_the_rest_is_reported";
    let Some(forged) = support::forge(&["-DLAST_PROCESS=(struct proc *)0xfffffe0012345000"]) else {
        eprintln!("skipped: {test}: the kernel of the tests is compiled on Linux and amd64 only");
        return;
    };
    let report = Report::of(&open(&forged));
    assert_eq!(report.processes.len(), 3);
    assert_eq!(report.panic.process.as_deref(), Some("doomed"));
    let told = report.problems.iter().any(|problem| problem.contains("0xfffffe0012345"));
    assert!(told, "{:?}", report.problems);
}

/// The report of a damaged dump ends, whatever it says.
#[test]
fn a_damaged_dump_is_reported_as_far_as_it_can_be_read() {
    let forged = forged!("a_damaged_dump_is_reported_as_far_as_it_can_be_read", &[]);
    let whole = std::fs::read(forged.dump()).unwrap();
    let options = Options { force: true, ..Options::default() };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(48));
    let damage = (0..whole.len(), 1..20_000usize, any::<u8>(), any::<bool>());
    let result = runner.run(&damage, |(at, length, byte, cut)| {
        let mut damaged = whole.clone();
        if cut {
            damaged.truncate(at);
        } else {
            let end = (at + length).min(damaged.len());
            damaged[at..end].iter_mut().for_each(|place| *place ^= byte);
        }
        std::fs::write(forged.dump(), damaged).unwrap();
        if let Ok(crash) = Crash::open(&forged.dump(), &options) {
            let report = Report::of(&crash);
            prop_assert!(report.processes.len() < 1000);
        }
        Ok(())
    });
    result.unwrap();
}
