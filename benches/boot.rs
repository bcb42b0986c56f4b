//! `tine boot` on a log of a million records and on a typical one.
//!
//! ```text
//! cargo bench -p tine --bench boot [-- RUNS]
//! ```
//!
//! Prints a table in Markdown: the best of several runs. With `TINE_BOOT_PROFILING` naming the folder of
//! freebsd-boot-profiling, and perl, its scripts fold the same log in the same run, with stand-ins for the commands that
//! only FreeBSD has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

use common::{Best, Job};

mod common;
#[path = "../crates/boottrace/tests/support/mod.rs"]
mod support;

const MANY: usize = 1_000_000;
const TYPICAL: usize = 4_404;
/// The scripts take a process for many a line: they are given a smaller log, and ours, too, for the ratio.
const FOR_SCRIPTS: usize = 20_000;

fn main() {
    let runs: u32 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    if !Path::new("/usr/bin/time").exists() {
        println!("skipped: GNU time is not installed");
        return;
    }
    let work = PathBuf::from("/dev/shm/tine-bench-boot");
    fs::create_dir_all(&work).unwrap_or_else(|error| fail(&error.to_string()));
    for (name, records) in [("many", MANY), ("typical", TYPICAL), ("scripts", FOR_SCRIPTS)] {
        let log = support::boot(1, records).log.replace('\0', "");
        fs::write(work.join(name), log).unwrap_or_else(|error| fail(&error.to_string()));
    }
    let tine = env!("CARGO_BIN_EXE_tine");
    let at = work.display();
    let freq = "--quiet --tsc-freq 1GHz";
    let jobs = [
        ("chart, a million records, SVG", format!("{tine} boot chart {freq} -f -o {at}/out.svg {at}/many")),
        ("chart, a million records, HTML", format!("{tine} boot chart {freq} -f -o {at}/out.html {at}/many")),
        ("folded, a million records", format!("{tine} boot export {freq} {at}/many > {at}/folded")),
        ("top, a million records", format!("{tine} boot top {freq} {at}/many")),
        ("chart, a typical log", format!("{tine} boot chart {freq} -f -o {at}/out.svg {at}/typical")),
        ("folded, 20,000 records", format!("{tine} boot export {freq} {at}/scripts > {at}/folded")),
    ];
    println!("| job | wall s | CPU s | peak MiB |\n| --- | --- | --- | --- |");
    let mut ours = None;
    for (name, command) in &jobs {
        let best = best(name, command, runs);
        println!("| {name} | {:.3} | {:.3} | {} |", best.wall, best.cpu, best.peak_kib / 1024);
        ours = Some(best);
    }
    let Some(scripts) = std::env::var_os("TINE_BOOT_PROFILING").map(PathBuf::from) else {
        println!("\nskipped: there is no freebsd-boot-profiling (TINE_BOOT_PROFILING names its folder)");
        return;
    };
    let command = stand_ins(&work, &scripts);
    let theirs = best("scripts", &command, 1);
    println!("| its scripts, 20,000 records | {:.3} | {:.3} | {} |", theirs.wall, theirs.cpu, theirs.peak_kib / 1024);
    if let Some(ours) = ours {
        println!("\ntimes faster than the scripts: {:.0}", theirs.wall / ours.wall.max(0.001));
    }
}

/// Commands that the scripts need and other systems lack, and how to run the scripts with them.
fn stand_ins(work: &Path, scripts: &Path) -> String {
    let bin = work.join("bin");
    let at = work.display();
    let commands = [
        ("sysctl", format!("case \"$*\" in *_user*) ;; *) cat {at}/scripts;; esac")),
        ("uname", "echo FreeBSD".to_owned()),
        ("look", "exec grep -a \"^$1\" ${2:-/dev/stdin}".to_owned()),
        ("lam", "sed \"s/^/$2/\"".to_owned()),
        ("mktemp", "exec /usr/bin/env PATH=/usr/bin:/bin mktemp -d".to_owned()),
    ];
    let made = fs::create_dir_all(&bin).and_then(|()| {
        commands.iter().try_for_each(|(name, body)| {
            let path = bin.join(name);
            fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        })
    });
    made.unwrap_or_else(|error| fail(&error.to_string()));
    format!(
        "cd {} && PATH={}:$PATH LC_ALL=C sh ./tslog.sh 2>{at}/errors | perl ./stackcollapse-tslog.pl > {at}/theirs",
        scripts.display(),
        bin.display()
    )
}

/// The best of some runs, which write to no file that is there already.
fn best(name: &'static str, command: &str, runs: u32) -> Best {
    let mut job = Job::new(name, command.to_owned());
    for _ in 0..runs.max(1) {
        job.run(Path::new("/dev/shm/tine-bench-boot/output"));
    }
    job.best.unwrap_or_else(|| fail("there were no runs"))
}

fn fail(why: &str) -> ! {
    eprintln!("{why}");
    exit(1)
}
