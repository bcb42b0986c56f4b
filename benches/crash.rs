//! From a dump to an explanation: a report, and a backtrace with two values, beside gdb and lldb on the same kernel and
//! a core that was made of the same dump.
//!
//! ```text
//! cargo bench -p tine --bench crash [-- RUNS]
//! ```
//!
//! The kernel is that of the tests with generated sources added, so that it has some 50 MB of debug information; its dump
//! has some 70 MB. With `TINE_BENCH_DUMP` (and `TINE_BENCH_KERNEL`, if the kernel with its debug information is not found
//! beside it) a real one is taken. Prints a table in Markdown: the best of several runs, taken in turn; files are in the
//! page cache.

mod common;

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Best, Job, fail};

#[path = "../crates/crash/tests/support/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "another test uses the rest of it")]
mod support;

/// Units of generated source, and structures with a function each in one of them.
const UNITS: usize = 48;
const PER_UNIT: usize = 1400;
/// Pages of the dump beyond the kernel's own.
const PAGES: u64 = 17_500;

/// What gdb and lldb do as well.
const OURS: &str = "backtrace and two values";

fn main() {
    if !Path::new("/usr/bin/time").exists() {
        println!("skipped: GNU time is not installed");
        return;
    }
    let runs: u32 = env::args().skip(1).filter_map(|argument| argument.parse().ok()).next().unwrap_or(5);
    let work = PathBuf::from("/dev/shm/tine-bench-crash");
    fs::create_dir_all(&work).unwrap_or_else(|error| fail(&work, &error));
    let real = env::var_os("TINE_BENCH_DUMP").map(PathBuf::from);
    let forged = if real.is_none() { forge(&work) } else { None };
    let (kernel, dump) = match (&real, &forged) {
        (Some(dump), _) => {
            let kernel = env::var_os("TINE_BENCH_KERNEL").map_or_else(|| dump.with_file_name("kernel"), PathBuf::from);
            (kernel, dump.clone())
        }
        (None, Some(forged)) => (forged.kernel(), forged.dump()),
        (None, None) => {
            println!("skipped: the kernel of the tests is compiled on Linux and amd64 only");
            return;
        }
    };
    let mut jobs = jobs(&work, &kernel, &dump);
    for _ in 0..runs {
        jobs.iter_mut().for_each(|job| job.run(Path::new("/nonexistent")));
    }
    let size = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len()) / 1_000_000;
    let (kernel_size, dump_size) = (size(&kernel), size(&dump));
    println!("a kernel of {kernel_size} MB, a dump of {dump_size} MB; best of {runs} runs each, taken in turn\n");
    println!("| job | wall s | CPU s | peak MiB |\n| --- | --- | --- | --- |");
    for job in &jobs {
        let Some(Best { wall, cpu, peak_kib, .. }) = job.best else { continue };
        println!("| {} | {wall:.2} | {cpu:.2} | {} |", job.name, peak_kib / 1024);
    }
    let wall = |name: &str| jobs.iter().find(|job| job.name == name)?.best.map(|best| best.wall);
    println!("\n| figure | measured | bound |\n| --- | --- | --- |");
    if let Some(report) = jobs.first().and_then(|job| job.best) {
        println!("| report, s | {:.2} | 0.5 |\n| report, MiB | {} | 300 |", report.wall, report.peak_kib / 1024);
    }
    for other in ["gdb", "lldb"] {
        if let (Some(ours), Some(theirs)) = (wall(OURS), wall(other)) {
            println!("| {other} / {OURS} | {:.1} | 3 |", theirs / ours.max(0.01));
        }
    }
}

/// The commands, the report first.
fn jobs(work: &Path, kernel: &Path, dump: &Path) -> Vec<Job> {
    let tine = env!("CARGO_BIN_EXE_tine");
    let ask = format!("{tine} crash -k {} {}", kernel.display(), dump.display());
    let mut jobs = vec![
        Job::new("report", ask.clone()),
        Job::new("report as JSON", format!("{ask} report --json")),
        Job::new(OURS, format!("printf 'bt\\nprint panicstr\\nprint *msgbufp\\n' | {ask} shell")),
        Job::new("report as a page", format!("{ask} report --html")),
    ];
    let values = "-ex bt -ex 'print panicstr' -ex 'print *msgbufp'";
    if has("gdb") && core(work, dump, "gdb") {
        let core = work.join("core.gdb");
        let open = format!("gdb -nx -batch -ex 'set osabi GNU/Linux' -ex 'file {}'", kernel.display());
        jobs.push(Job::new("gdb", format!("{open} -ex 'core {}' {values} 2>&1", core.display())));
    }
    if has("lldb") && core(work, dump, "lldb") {
        let core = work.join("core.lldb");
        let load = format!("target modules load --file {} --slide 0", kernel.display());
        let open = format!("lldb -x -b -o 'target create {} --core {}' -o '{load}'", kernel.display(), core.display());
        jobs.push(Job::new("lldb", format!("{open} -o bt -o 'p panicstr' -o 'p *msgbufp' 2>&1")));
    }
    jobs.retain(answers);
    jobs
}

/// Whether a debugger does what is asked of it here; what it says instead is told.
fn answers(job: &Job) -> bool {
    let ran = Command::new("sh").args(["-c", &job.command]).output();
    let ran = ran.unwrap_or_else(|error| fail(Path::new("sh"), &error));
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stdout);
        println!("skipped: {} fails: {}", job.name, said.lines().last().unwrap_or_default());
    }
    ran.status.success()
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Makes a core for a debugger.
fn core(work: &Path, dump: &Path, debugger: &str) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tine"));
    command.args(["dump", "convert", "-q", "-f", "--to", "elf", "--for", debugger]);
    let status = command.arg(dump).arg(work.join(format!("core.{debugger}"))).status();
    status.is_ok_and(|status| status.success())
}

/// The kernel of the tests with much more in it.
fn forge(work: &Path) -> Option<support::Forged> {
    let mut objects = Vec::new();
    for unit in 0..UNITS {
        let (source, object) = (work.join(format!("unit{unit}.c")), work.join(format!("unit{unit}.o")));
        if !object.exists() {
            fs::write(&source, generated(unit)).unwrap_or_else(|error| fail(&source, &error));
            let mut compiler = Command::new("cc");
            compiler.args(["-g", "-gdwarf-4", "-O1", "-w", "-c", "-ffreestanding", "-mcmodel=kernel", "-fno-pic"]);
            let status = compiler.arg(&source).arg("-o").arg(&object).status().ok()?;
            assert!(status.success(), "the generated source compiles");
        }
        objects.push(object.to_str()?.to_owned());
    }
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    support::forge_with(&objects, PAGES)
}

fn generated(unit: usize) -> String {
    let mut text = String::new();
    for number in 0..PER_UNIT {
        let name = format!("device_{unit}_{number}");
        let other = format!("device_{unit}_{}", number.saturating_sub(1));
        let _ = write!(
            text,
            "struct {name} {{ struct {other} *{name}_next; unsigned long {name}_flags, {name}_count; char {name}_name[16];\n\
             int (*{name}_attach)(struct {name} *, int), {name}_unit; }};\n\
             int attach_{unit}_{number}(struct {name} *softc, int flags) {{ int index, sum = flags;\n\
             for (index = 0; index < softc->{name}_unit; index++) {{ unsigned long next = softc->{name}_count + index;\n\
             sum += softc->{name}_name[next & 15]; }} return sum; }}\n"
        );
    }
    text
}
