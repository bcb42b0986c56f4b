//! The same kernel of the tests on other machines than amd64: arm64 as a whole, i386 and riscv64 as far as they are read.

#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use crash::{Crash, KernelNames, Options, Report};
use support::{Forged, machine};
use symbols::Registers;

fn open(forged: &Forged) -> Crash {
    Crash::open(&forged.dump(), &Options::default()).expect("the kernel lies beside the dump")
}

/// The forged dump; the test is left, and says so, where there is no compiler for it.
macro_rules! forged {
    ($test:literal, $machine:expr, $flags:expr) => {
        match support::forge_for($machine, $flags, 0) {
            Some(forged) => forged,
            None => {
                eprintln!("skipped: {}: {}", $test, $machine.missing());
                return;
            }
        }
    };
}

/// Functions of the backtrace, without what was inlined.
fn functions(report: &Report) -> Vec<&str> {
    let names = report.backtrace.iter().filter(|frame| !frame.inlined).filter_map(|frame| frame.function.as_deref());
    names.collect()
}

#[test]
fn a_data_abort_of_arm64_is_reported() {
    let forged = forged!("a_data_abort_of_arm64_is_reported", &machine::ARM64, &[]);
    let crash = open(&forged);
    assert_eq!(crash.notes(), [] as [&str; 0]);
    let report = Report::of(&crash);
    assert_eq!(report.problems, [] as [&str; 0]);
    assert_eq!(report.system.architecture, "arm64");
    assert_eq!((report.panic.thread, report.panic.process.as_deref()), (Some(100_002), Some("doomed")));
    let trap = report.panic.trap.as_ref().expect("a trap led to it");
    // The class of the exception, and the syndrome that it is a part of.
    assert_eq!((trap.name.as_str(), trap.number, trap.code), ("data abort", Some(0x25), Some(0x9600_0004)));
    assert_eq!((trap.fault_address, trap.user), (Some(0x20), false));
    assert!(report.panic.explanation.as_ref().is_some_and(|text| text.contains("null page")));
    assert_eq!(report.backtrace_broken, None);
    assert_eq!(
        functions(&report),
        [
            "doadump",
            "kern_reboot",
            "vpanic",
            "panic",
            "data_abort",
            "do_el1h_sync",
            "handle_el1h_sync",
            "broken_driver",
            "sys_ioctl",
            "do_el0_sync",
            "handle_el0_sync"
        ]
    );
    let driver = report.backtrace.iter().find(|frame| frame.function.as_deref() == Some("broken_driver")).unwrap();
    let arguments: Vec<_> = driver.arguments.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
    assert_eq!(arguments, [("p", "(struct proc *) 0x0"), ("flags", "0")]);
    let last = report.backtrace.last().and_then(|frame| frame.trap.as_ref()).expect("it came from a user's program");
    assert_eq!((last.name.as_str(), last.user, last.pc), ("syscall", true, 0x20_1000));
    assert_eq!(report.message_buffer, "panic: page fault\n");
    assert_eq!(report.panic.held.first().map(|held| held.name.as_str()), Some("Giant"));
    assert_eq!(report.memory.zones.first().map(|zone| (zone.requests, zone.used)), Some((130, 35)));
    assert_eq!(report.interfaces.first().map(|interface| interface.received), Some(15));
}

#[test]
fn variables_of_arm64_processors_are_those_of_the_one_that_panicked_or_was_named() {
    let forged =
        forged!("variables_of_arm64_processors_are_those_of_the_one_that_panicked_or_was_named", &machine::ARM64, &[]);
    let crash = open(&forged);
    let print = |text: &str, cpu| crash.program().evaluate(text, &KernelNames::new(&crash, cpu)).unwrap().to_string();
    assert_eq!(print("curthread->td_tid", None), "100002");
    assert_eq!(print("curthread", Some(0)), "(struct thread *) 0x0");
    assert_eq!(print("$pcpu->pc_cpuid", None), "1");
    assert_eq!(print("busy", Some(1)), "5");
}

/// `dump_savectx()` has returned when the dump is written, so that its frame is overwritten.
#[test]
fn the_frame_that_arm64_overwrites_before_it_dumps_is_found_again() {
    let forged =
        forged!("the_frame_that_arm64_overwrites_before_it_dumps_is_found_again", &machine::ARM64, &["-DOVERWRITTEN"]);
    let report = Report::of(&open(&forged));
    assert_eq!(report.backtrace_broken, None);
    assert_eq!(functions(&report)[..4], ["doadump", "kern_reboot", "vpanic", "panic"]);
    assert_eq!(functions(&report).last(), Some(&"handle_el0_sync"));
}

#[test]
fn modules_that_are_shared_objects_lie_as_a_whole_where_they_were_loaded() {
    for machine in [&machine::ARM64, &machine::I386, &machine::RISCV64] {
        let forged = forged!("modules_that_are_shared_objects_lie_as_a_whole_where_they_were_loaded", machine, &[]);
        let crash = open(&forged);
        assert_eq!(crash.notes(), [] as [&str; 0]);
        let function = crash.program().symbol("module_function").unwrap();
        assert!((machine.modules..machine.modules + 0x10_0000).contains(&function.address), "{function:?}");
        let line = crash.program().line(function.address).unwrap();
        assert!(line.file.ends_with("module.c"));
        let state = crash.program().variable("module_state").unwrap().address().unwrap();
        assert_eq!(Some(state), crash.program().symbol("module_state").ok().map(|symbol| symbol.address));
    }
}

#[test]
fn i386_and_riscv64_have_processes_messages_values_and_backtraces() {
    let test = "i386_and_riscv64_have_processes_messages_values_and_backtraces";
    let of_i386 = ["trap_fatal", "trap", "calltrap", "broken_driver", "sys_ioctl", "syscall", "Xint0x80_syscall"];
    let of_riscv64 = [
        "page_fault_handler",
        "do_trap_supervisor",
        "cpu_exception_handler_supervisor",
        "broken_driver",
        "sys_ioctl",
        "do_trap_user",
        "cpu_exception_handler_user",
    ];
    for (machine, expected, trap) in
        [(&machine::I386, of_i386, "page fault"), (&machine::RISCV64, of_riscv64, "load page fault")]
    {
        let Some(forged) = support::forge_for(machine, &[], 0) else {
            eprintln!("skipped: {test}: {}", machine.missing());
            return;
        };
        let crash = open(&forged);
        let report = Report::of(&crash);
        assert_eq!(report.problems, [] as [&str; 0]);
        assert_eq!(report.message_buffer, "panic: page fault\n");
        assert_eq!(report.backtrace_broken, None);
        assert_eq!(functions(&report)[..4], ["doadump", "kern_reboot", "vpanic", "panic"]);
        assert_eq!(functions(&report)[4..], expected);
        let found = report.panic.trap.as_ref().expect("a trap led to it");
        assert_eq!((found.name.as_str(), found.user), (trap, false));
        let processes: Vec<_> = report.processes.iter().map(|one| (one.pid, one.name.as_str())).collect();
        assert_eq!(processes, [(0, "kernel"), (1, "init"), (27, "doomed")]);
        let names = KernelNames::new(&crash, None);
        let print = |text: &str| crash.program().evaluate(text, &names).unwrap().to_string();
        assert_eq!(print("doomed.p_comm[0]"), "100 'd'");
        assert_eq!(print("allproc.lh_first->p_list.le_next->p_pid"), "1");
        assert_eq!(print("sizeof(void *)"), if machine.kind.architecture.pointer_size() == 4 { "4" } else { "8" });
    }
}

#[test]
fn frame_pointers_are_enough_for_a_backtrace() {
    for machine in [&machine::AMD64, &machine::ARM64, &machine::I386, &machine::RISCV64] {
        let forged = forged!("frame_pointers_are_enough_for_a_backtrace", machine, &["-g0"]);
        let crash = open(&forged);
        // Where registers are saved is known without types as well.
        let report = Report::of(&crash);
        assert_eq!(functions(&report)[..4], ["doadump", "kern_reboot", "vpanic", "panic"]);
        assert!(functions(&report).contains(&"broken_driver"), "{:?}", functions(&report));
        assert!(report.panic.trap.is_some_and(|trap| !trap.user));
        assert_eq!(report.backtrace_broken, None);
        let program = crash.program();
        let first = program.read_word(program.symbol("panicked_frames").unwrap().address).unwrap();
        let architecture = program.architecture();
        let mut registers = Registers::new(architecture);
        registers.set(architecture.fp(), first);
        registers.set(architecture.sp(), first - 32);
        registers.set(architecture.pc(), program.symbol("doadump").unwrap().address + 32);
        let found = crash.stack(&registers, false);
        let functions: Vec<&str> = found.frames.iter().filter_map(|frame| frame.function.as_deref()).collect();
        assert_eq!(functions[..5], ["doadump", "kern_reboot", "vpanic", "panic", functions[4]], "{architecture:?}");
        assert!(functions.len() >= 6, "{functions:?}");
    }
}
