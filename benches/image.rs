//! `tine image build` beside its peers, in one run, source and output in memory.
//!
//! ```text
//! cargo bench -p tine --bench image [-- TREE [RUNS]]
//! ```
//!
//! `TREE` is a directory in a tmpfs; without one, files of `/usr` are copied to
//! `/dev/shm` until they are at least 1.5 GB in 50,000 names. Prints a table in
//! Markdown: the best of several runs, taken in turn, and the ratios.

mod common;

use std::process::{Command, Stdio};

use common::{Best, Job, Setting, measure};

/// What is copied at least when no tree is given.
const LEAST_BYTES: u64 = 1_500_000_000;
const LEAST_NAMES: u64 = 50_000;

fn main() {
    let Some(Setting { work, tree, runs }) = Setting::of_arguments(LEAST_BYTES, LEAST_NAMES) else { return };
    let output = work.join("output");
    let (bytes, names) = measure(&tree);

    let tine = env!("CARGO_BIN_EXE_tine");
    let (from, to) = (tree.display(), output.display());
    let build = |options: &str| format!("{tine} image build -q --force {options} {from} -o {to}");
    let mut jobs = vec![
        Job::new("tar to a pipe", format!("tar -cf - {from} | cat > /dev/null")),
        Job::new("tine, uncompressed", build("--compression off")),
        Job::new("tine, lz4", build("--compression lz4")),
        Job::new("tine, zstd-3", build("--compression zstd-3")),
        Job::new(
            "tine, zstd-3, 1 MiB records, 512-byte sectors",
            build("--ashift 9 --dataset 'zroot;compression=zstd-3;recordsize=1m'"),
        ),
    ];
    if Command::new("mksquashfs").arg("-version").stdout(Stdio::null()).status().is_ok() {
        let options = "-comp zstd -Xcompression-level 3 -noappend -quiet -no-progress";
        jobs.push(Job::new("mksquashfs, zstd 3", format!("mksquashfs {from} {to} {options}")));
    } else {
        println!("skipped: mksquashfs is not installed");
    }
    for _ in 0..runs {
        for job in &mut jobs {
            job.run(&output);
        }
    }
    report(&jobs, bytes, names, runs);
}

fn report(jobs: &[Job], bytes: u64, names: u64, runs: u32) {
    println!("{names} names, {:.2} GB of files; best of {runs} runs each, taken in turn\n", bytes as f64 / 1e9);
    println!("| job | wall s | CPU s | peak MiB | output MB |");
    println!("| --- | --- | --- | --- | --- |");
    for job in jobs {
        let Some(Best { wall, cpu, peak_kib, output }) = job.best else { continue };
        let output = if output == 0 { String::new() } else { (output / 1_000_000).to_string() };
        println!("| {} | {wall:.2} | {cpu:.2} | {} | {output} |", job.name, peak_kib / 1024);
    }
    println!("\n| ratio | measured | bound |\n| --- | --- | --- |");
    let find = |name: &str| jobs.iter().find(|job| job.name == name).and_then(|job| job.best);
    let ratio = |name: &str, ours: &str, theirs: &str, bound: f64, of: fn(Best) -> f64| {
        if let (Some(ours), Some(theirs)) = (find(ours), find(theirs)) {
            println!("| {name} | {:.2} | {bound} |", of(ours) / of(theirs));
        }
    };
    let squash = "mksquashfs, zstd 3";
    let dense = "tine, zstd-3, 1 MiB records, 512-byte sectors";
    ratio("uncompressed / tar", "tine, uncompressed", "tar to a pipe", 0.7, |best| best.wall);
    ratio("lz4 / tar", "tine, lz4", "tar to a pipe", 1.0, |best| best.wall);
    ratio("zstd-3 / mksquashfs", "tine, zstd-3", squash, 1.0, |best| best.wall);
    ratio("zstd-3, dense / mksquashfs", dense, squash, 1.0, |best| best.wall);
    ratio("size of zstd-3 / mksquashfs", "tine, zstd-3", squash, 1.1, |best| best.output as f64);
    ratio("size of zstd-3, dense / mksquashfs", dense, squash, 1.1, |best| best.output as f64);
}
