//! What a disk image costs beside the bare pool, in one run, source and output in memory.
//!
//! ```text
//! cargo bench -p tine --bench disk [-- TREE [RUNS]]
//! ```
//!
//! `TREE` is a directory in a tmpfs; without one, files of `/usr` are copied to
//! `/dev/shm` until they are at least 1.5 GB in 50,000 names. Prints a table in
//! Markdown: the best of several runs, taken in turn, and the ratios.

mod common;

use common::{Best, Job, Setting, measure};

const LEAST_BYTES: u64 = 1_500_000_000;
const LEAST_NAMES: u64 = 50_000;

fn main() {
    let Some(Setting { work, tree, runs }) = Setting::of_arguments(LEAST_BYTES, LEAST_NAMES) else { return };
    let output = work.join("output");
    let (bytes, names) = measure(&tree);
    let tine = env!("CARGO_BIN_EXE_tine");
    let (from, to) = (tree.display(), output.display());
    let build = |options: &str| format!("{tine} image build -q --force --swap 1g --disk {options} {from} -o {to}");
    let bare = |options: &str| format!("{tine} image build -q --force {options} {from} -o {to}");
    let mut jobs = [
        Job::new("pool, lz4", bare("--compression lz4")),
        Job::new("raw disk, lz4", build("--compression lz4 --format raw")),
        Job::new("qcow2, lz4", build("--compression lz4 --format qcow2")),
        Job::new("qcow2 with zstd, lz4", build("--compression lz4 --format qcow2-zstd")),
        Job::new("pool, zstd-3", bare("--compression zstd-3")),
        Job::new("qcow2 with zstd, zstd-3", build("--compression zstd-3 --format qcow2-zstd")),
    ];
    for _ in 0..runs {
        for job in &mut jobs {
            job.run(&output);
        }
    }
    println!("{names} names, {:.2} GB of files; best of {runs} runs each, taken in turn\n", bytes as f64 / 1e9);
    println!("| job | wall s | CPU s | peak MiB | output MB |");
    println!("| --- | --- | --- | --- | --- |");
    for job in &jobs {
        let Some(Best { wall, cpu, peak_kib, output }) = job.best else { continue };
        println!("| {} | {wall:.2} | {cpu:.2} | {} | {} |", job.name, peak_kib / 1024, output / 1_000_000);
    }
    println!("\n| ratio of wall time | measured | bound |\n| --- | --- | --- |");
    let find = |name: &str| jobs.iter().find(|job| job.name == name).and_then(|job| job.best);
    for (disk, pool) in [
        ("raw disk, lz4", "pool, lz4"),
        ("qcow2, lz4", "pool, lz4"),
        ("qcow2 with zstd, lz4", "pool, lz4"),
        ("qcow2 with zstd, zstd-3", "pool, zstd-3"),
    ] {
        if let (Some(ours), Some(bare)) = (find(disk), find(pool)) {
            println!("| {disk} / {pool} | {:.2} | 1.2 |", ours.wall / bare.wall);
        }
    }
}
