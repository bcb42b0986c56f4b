//! What the dump of a kernel that the tests compile says of locks, memory, mounts, interfaces, modules and the boot.

#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

use crash::locks::{LockState, Locks};
use crash::{Crash, KernelNames, Options, Report};
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
fn locks_have_holders_and_those_who_wait_for_them() {
    let forged = forged!("locks_have_holders_and_those_who_wait_for_them", &[]);
    let report = Report::of(&open(&forged));
    assert_eq!(report.problems, [] as [&str; 0]);
    let [lock] = report.locks.contested.as_slice() else { panic!("{:?}", report.locks) };
    assert_eq!((lock.name.as_str(), lock.class.as_str(), lock.state), ("Giant", "sleep mutex", LockState::Exclusive));
    assert_eq!(lock.symbol.as_deref(), Some("Giant"));
    assert_eq!(lock.owner.as_ref().map(|owner| owner.tid), Some(100_002));
    assert_eq!(lock.waiters.iter().map(|waiter| waiter.tid).collect::<Vec<_>>(), [100_003]);
    assert!(!report.locks.complete, "the kernel has no WITNESS");
    let held: Vec<&str> = report.panic.held.iter().map(|held| held.name.as_str()).collect();
    assert_eq!(held, ["Giant"]);
    let links: Vec<i64> = report.locks.chains[0].links.iter().map(|link| link.thread.tid).collect();
    assert_eq!(links, [100_003, 100_002]);
    assert_eq!(report.locks.deadlocks, [] as [&str; 0]);
}

#[test]
fn a_deadlock_is_named_with_its_threads_and_locks() {
    let forged = forged!("a_deadlock_is_named_with_its_threads_and_locks", &["-DDEADLOCK"]);
    let crash = open(&forged);
    let (processes, _) = crash::threads::processes(&crash).unwrap();
    let locks = Locks::of(&crash, &processes);
    assert_eq!(
        locks.deadlocks,
        ["thread 100001 (init) waits for allproc (sx) of thread 100003 (waiter) waits for Giant (sleep mutex) of \
          thread 100001 (init)"]
    );
    assert!(locks.chains[0].deadlock);
}

/// The locks of a kernel that was compiled so; `None`, which is told, where there is no compiler.
fn locks(test: &str, flag: &str) -> Option<Locks> {
    let Some(forged) = support::forge(&[flag]) else {
        eprintln!("skipped: {test}: {}", support::machine::AMD64.missing());
        return None;
    };
    let crash = open(&forged);
    let (processes, problems) = crash::threads::processes(&crash).unwrap();
    let locks = Locks::of(&crash, &processes);
    assert_eq!((problems, &locks.problems), (Vec::new(), &Vec::new()));
    Some(locks)
}

/// Name, class, state, the owner's number and those of who waits.
type Told<'l> = (&'l str, &'l str, LockState, Option<i64>, Vec<i64>);

fn told(locks: &Locks) -> Vec<Told<'_>> {
    let mut told: Vec<_> = (locks.contested.iter())
        .map(|lock| {
            let waiters = lock.waiters.iter().map(|waiter| waiter.tid).collect();
            let owner = lock.owner.as_ref().map(|owner| owner.tid);
            (lock.name.as_str(), lock.class.as_str(), lock.state, owner, waiters)
        })
        .collect();
    told.sort_by_key(|lock| lock.0);
    told
}

fn chains(locks: &Locks) -> Vec<Vec<i64>> {
    locks.chains.iter().map(|chain| chain.links.iter().map(|link| link.thread.tid).collect()).collect()
}

#[test]
fn a_deadlock_is_told_once_to_whoever_waits_for_one_in_it() {
    let Some(locks) = locks("a_deadlock_is_told_once_to_whoever_waits_for_one_in_it", "-DDEADLOCK=2") else { return };
    assert_eq!(locks.deadlocks.len(), 1);
    assert!(locks.deadlocks[0].starts_with("thread 100001 (init) waits for allproc (sx) of thread 100003 (waiter)"));
    assert_eq!(chains(&locks), [[100_000, 100_003, 100_001]]);
    assert!(!locks.chains[0].deadlock, "the swapper waits for the circle and is not in it");
}

#[test]
fn three_threads_with_locks_of_three_classes_wait_for_each_other() {
    let test = "three_threads_with_locks_of_three_classes_wait_for_each_other";
    let Some(locks) = locks(test, "-DDEADLOCK=3") else { return };
    assert_eq!(
        locks.deadlocks,
        [
            "thread 100000 (swapper) waits for allproc (sx) of thread 100003 (waiter) waits for vm object (rw) of thread \
          100001 (init) waits for bufwait (lockmgr) of thread 100000 (swapper)"
        ]
    );
    assert!(locks.chains[0].deadlock);
    assert_eq!(
        told(&locks),
        [
            ("allproc", "sx", LockState::Exclusive, Some(100_003), vec![100_000]),
            ("bufwait", "lockmgr", LockState::Exclusive, Some(100_000), vec![100_001]),
            ("vm object", "rw", LockState::Exclusive, Some(100_001), vec![100_003]),
        ]
    );
}

#[test]
fn readers_are_counted_and_a_writer_of_a_read_mostly_lock_waits_for_its_reader() {
    let test = "readers_are_counted_and_a_writer_of_a_read_mostly_lock_waits_for_its_reader";
    let Some(shared) = locks(test, "-DSHARED") else { return };
    assert_eq!(
        told(&shared),
        [
            ("bufwait", "lockmgr", LockState::Kernel, None, vec![100_001]),
            ("radix node head", "rm", LockState::Shared(1), None, vec![100_000]),
            ("vm object", "rw", LockState::Shared(3), None, vec![100_003]),
        ]
    );
    assert_eq!(chains(&shared), [vec![100_000, 100_002], vec![100_001], vec![100_003]]);
    assert_eq!(shared.deadlocks, [] as [&str; 0]);
    let Some(shared) = locks(test, "-DSHARED=2") else { return };
    assert_eq!(
        told(&shared),
        [
            ("allproc", "sx", LockState::Shared(2), None, vec![100_003]),
            ("bufwait", "lockmgr", LockState::Shared(4), None, vec![100_001]),
            ("rmlock_sx", "sx", LockState::Exclusive, Some(100_002), vec![100_000]),
        ]
    );
    assert_eq!(chains(&shared), [vec![100_000, 100_002], vec![100_001], vec![100_003]]);
}

#[test]
fn allocators_are_summed_over_processors() {
    let forged = forged!("allocators_are_summed_over_processors", &[]);
    let memory = Report::of(&open(&forged)).memory;
    let types: Vec<_> =
        memory.types.iter().map(|one| (one.name.as_str(), one.in_use, one.bytes, one.requests)).collect();
    assert_eq!(types, [("temp", 7, 4000, 12), ("proc", 1, 64, 1)]);
    let [zone] = memory.zones.as_slice() else { panic!("{:?}", memory.zones) };
    assert_eq!((zone.name.as_str(), zone.size, zone.limit, zone.bucket), ("mbuf", 256, 1000, 16));
    // 120 and 10 of a processor's cache were asked for, 90 and 5 given back; 8 are in buckets, 6 in full ones, 2 in slabs.
    assert_eq!((zone.requests, zone.used, zone.free, zone.sleeps), (130, 35, 16, 1));
    let pages = memory.pages.unwrap();
    assert_eq!((pages.size, pages.total, pages.free), (4096, Some(1000), Some(400)));
}

#[test]
fn mounts_and_interfaces_are_told() {
    let forged = forged!("mounts_and_interfaces_are_told", &[]);
    let report = Report::of(&open(&forged));
    let [mount] = report.mounts.as_slice() else { panic!("{:?}", report.mounts) };
    assert_eq!((mount.from.as_str(), mount.on.as_str(), mount.kind.as_str()), ("zroot/ROOT/default", "/", "zfs"));
    assert_eq!((mount.flags.as_slice(), mount.size, mount.vnodes), (&["read-only", "local"][..], 409_600, Some(17)));
    let [interface] = report.interfaces.as_slice() else { panic!("{:?}", report.interfaces) };
    assert_eq!((interface.name.as_str(), interface.mtu, interface.link), ("em0", 1500, Some("up")));
    assert_eq!(interface.flags, ["UP", "BROADCAST", "RUNNING", "SIMPLEX", "MULTICAST"]);
    assert_eq!(interface.addresses, ["192.0.2.7/24"]);
    assert_eq!((interface.received, interface.sent, interface.drops), (15, 3, 6));
}

#[test]
fn the_trace_of_the_boot_is_as_sysctl_prints_it() {
    let forged = forged!("the_trace_of_the_boot_is_as_sysctl_prints_it", &[]);
    let crash = open(&forged);
    let log = crash::tslog::text(&crash).unwrap();
    let address = |name: &str| crash.program().symbol(name).unwrap().address;
    let (first, other) = (address("thread0"), address("culprit"));
    let expected = format!(
        "{first:#x} 1000 ENTER mi_startup\n{first:#x} 1500 EVENT WAIT mount\n{other:#x} 1700 THREAD (null) doomed\n\
         {first:#x} 2000 EXIT mi_startup\n"
    );
    assert_eq!(String::from_utf8(log.kernel).unwrap(), expected);
    let user = "0 0 0 0 \"\" \"\"\n1 0 1600 0 \"/sbin/init\" \"init\"\n2 1 1800 1900 \"\" \"\"\n";
    assert_eq!(String::from_utf8(log.user.unwrap()).unwrap(), user);
    assert_eq!((log.frequency, log.lost), (Some(1_000_000), 2));
}

#[test]
fn modules_lie_where_the_kernel_put_their_sections() {
    let forged = forged!("modules_lie_where_the_kernel_put_their_sections", &[]);
    let crash = open(&forged);
    assert_eq!(crash.notes(), [] as [&str; 0]);
    let report = Report::of(&crash);
    let modules: Vec<_> = report.modules.iter().map(|module| (module.name.as_str(), module.symbols)).collect();
    assert_eq!(modules, [("kernel", true), ("forged.ko", true)]);
    let function = crash.program().symbol("module_function").unwrap();
    assert_eq!(function.address, 0xffff_ffff_8200_0000);
    assert!(crash.program().line(function.address).is_some_and(|line| line.file.ends_with("module.c")));
    let state = crash.program().variable("module_state").unwrap().address().unwrap();
    assert_eq!(Some(state), crash.program().symbol("module_state").ok().map(|symbol| symbol.address));
    std::fs::remove_file(forged.dump().with_file_name("forged.ko")).unwrap();
    let notes = open(&forged).notes().join("\n");
    assert!(notes.contains("module forged.ko was loaded, but its file was not found"), "{notes}");
}

#[test]
fn a_module_of_another_build_is_not_taken() {
    let forged = forged!("a_module_of_another_build_is_not_taken", &[]);
    let module = forged.dump().with_file_name("forged.ko");
    let mut compiler = std::process::Command::new("cc");
    compiler.args(["-c", "-x", "c", "-", "-o"]).arg(&module);
    let mut child = compiler.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"int other(void) { return 1; }").unwrap();
    assert!(child.wait().unwrap().success());
    let notes = open(&forged).notes().join("\n");
    assert!(notes.contains("is not the file that was loaded"), "{notes}");
}

#[test]
fn variables_of_processors_are_those_of_the_one_that_panicked_or_was_named() {
    let forged = forged!("variables_of_processors_are_those_of_the_one_that_panicked_or_was_named", &[]);
    let crash = open(&forged);
    let print = |text: &str, cpu| crash.program().evaluate(text, &KernelNames::new(&crash, cpu)).unwrap().to_string();
    assert_eq!(print("curthread->td_tid", None), "100002");
    assert_eq!(print("curthread", Some(0)), "(struct thread *) 0x0");
    assert_eq!(print("$pcpu->pc_cpuid", None), "1");
    assert_eq!(print("busy", Some(1)), "5");
    assert_eq!(print("$td->td_proc->p_pid", None), "27");
}

#[test]
fn instructions_are_shown_with_lines_and_what_they_call() {
    let forged = forged!("instructions_are_shown_with_lines_and_what_they_call", &[]);
    let crash = open(&forged);
    let code = crash.function_code(crash.program().symbol("vpanic").unwrap().address).unwrap();
    assert_eq!(code.function.as_deref(), Some("vpanic"));
    let first = &code.instructions[0];
    assert_eq!((first.bytes.as_str(), first.text.as_str(), first.offset), ("55", "push rbp", Some(0)));
    assert!(first.file.as_ref().is_some_and(|file| file.ends_with("kernel.c")) && first.line.is_some());
    let call = code.instructions.iter().find(|one| one.text.starts_with("call")).expect("it calls");
    assert_eq!(call.target.as_deref(), Some("kern_reboot"));
    let target = crash.program().symbol("kern_reboot").unwrap().address;
    assert_eq!(call.text, format!("call {target:#x}"));
    assert!(crash.function_code(0x10).is_err());
}

#[test]
fn a_kernel_is_found_in_an_archive_beside_the_dump_or_named() {
    let forged = forged!("a_kernel_is_found_in_an_archive_beside_the_dump_or_named", &[]);
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("boot/kernel");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::rename(forged.kernel(), tree.join("kernel")).unwrap();
    std::fs::rename(forged.dump().with_file_name("forged.ko"), tree.join("forged.ko")).unwrap();
    assert!(Crash::open(&forged.dump(), &Options::default()).is_err(), "there is no kernel any more");
    let archive = forged.dump().with_file_name("kernel.txz");
    let mut tar = std::process::Command::new("tar");
    tar.args(["--format=ustar", "-cJf"]).arg(&archive).arg("-C").arg(folder.path()).arg("./boot");
    if !tar.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: a_kernel_is_found_in_an_archive_beside_the_dump_or_named: tar with xz was not found");
        return;
    }
    let crash = open(&forged);
    assert!(crash.kernel().ends_with("kernel.txz:boot/kernel/kernel"), "{}", crash.kernel().display());
    assert_eq!(Report::of(&crash).modules.iter().filter(|module| module.symbols).count(), 2);
    let moved = folder.path().join("release.txz");
    std::fs::rename(archive, &moved).unwrap();
    let options = Options { kernel: Some(moved), ..Options::default() };
    assert!(Crash::open(&forged.dump(), &options).is_ok());
    // Unpacked once, it is taken from where it is kept.
    let kept = folder.path().join("cache/tine");
    let options = Options { cache: Some(kept.clone()), ..options };
    for _ in 0..2 {
        let crash = Crash::open(&forged.dump(), &options).expect("the archive has the kernel");
        assert!(crash.kernel().ends_with("release.txz:boot/kernel/kernel"), "{}", crash.kernel().display());
        assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 2, "the kernel and its module");
    }
}

#[test]
fn the_processor_that_stopped_is_found_without_symbols() {
    let forged = forged!("the_processor_that_stopped_is_found_without_symbols", &[]);
    let crash = open(&forged);
    let found = vmcore::convert::find_registers(&crash.dump().expect("it is a dump").memory);
    let [registers] = found.as_slice() else { panic!("{} processors", found.len()) };
    let (symbol, _) = crash.program().symbol_at(registers.get("rip").unwrap()).expect("it lies in the kernel");
    assert_eq!(symbol.name, "doadump");
}
