//! `tine pool` beside its peers, in one run, pools in memory.
//!
//! ```text
//! cargo bench -p tine --bench pool [-- TREE [RUNS]]
//! ```
//!
//! `TREE` is a directory in a tmpfs; without one, files of `/usr` are copied to `/dev/shm` until they are at least 2 GB in
//! 60,000 names. Prints tables in Markdown: the best of several runs, taken in turn, and the ratios.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{Best, Job, Setting, allocated, fail, measure};
use zfs_ondisk::bytes::ByteOrder;
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::{Compression, Compressor, Decompressor, Function};

/// What is copied at least when no tree is given.
const LEAST_BYTES: u64 = 2_000_000_000;
const LEAST_NAMES: u64 = 60_000;
/// Datasets of the pool that is listed, each with a snapshot.
const DATASETS: usize = 500;
/// Bytes of the file that is read.
const LARGE: u64 = 1 << 30;
const RECORD: usize = 128 << 10;
/// Seconds that zdb may take.
const ZDB_LIMIT: u32 = 600;

fn main() {
    let Some(Setting { work, tree, runs }) = Setting::of_arguments(LEAST_BYTES, LEAST_NAMES) else { return };
    verify(&work, &tree, runs);
    list(&work, runs);
    cat(&work, &tree, runs);
}

fn tine(arguments: &[&str]) {
    let status = Command::new(env!("CARGO_BIN_EXE_tine")).args(arguments).stdout(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("tine {} failed", arguments.join(" "));
        std::process::exit(1);
    }
}

/// Verifying a pool of many files, beside zdb.
fn verify(work: &Path, tree: &Path, runs: u32) {
    let (bytes, names) = measure(tree);
    let program = env!("CARGO_BIN_EXE_tine");
    let has_zdb = Command::new("zdb").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !has_zdb {
        println!("skipped: zdb is not installed");
    }
    println!("{names} names, {:.2} GB of files; best of {runs} runs each, taken in turn\n", bytes as f64 / 1e9);
    println!("| pool | job | wall s | CPU s | peak MiB |\n| --- | --- | --- | --- | --- |");
    let mut ratios = Vec::new();
    for compression in ["off", "lz4"] {
        // zdb searches a folder.
        let folder = work.join(format!("verify-{compression}"));
        fs::create_dir_all(&folder).unwrap_or_else(|error| fail(&folder, &error));
        let image = folder.join("zroot.img");
        let (from, to) = (tree.display().to_string(), image.display().to_string());
        tine(&["image", "build", "-q", "--force", "--compression", compression, &from, "-o", &to]);
        let mut jobs = vec![
            Job::new("tine pool verify", format!("{program} pool verify {to}")),
            Job::new("tine pool verify -j 1", format!("{program} pool verify -j 1 {to}")),
        ];
        if has_zdb {
            let folder = folder.display();
            jobs.push(Job::new("zdb -bcc", format!("timeout {ZDB_LIMIT} zdb -e -p {folder} -bcc zroot 2> /dev/null")));
        }
        for _ in 0..runs {
            jobs.iter_mut().for_each(|job| job.run(Path::new("/nonexistent")));
        }
        let size = allocated(&image) as f64 / 1e9;
        for job in &jobs {
            let Some(Best { wall, cpu, peak_kib, .. }) = job.best else { continue };
            let peak = peak_kib / 1024;
            println!("| {compression}, {size:.2} GB | {} | {wall:.2} | {cpu:.2} | {peak} |", job.name);
        }
        if let (Some(ours), Some(zdb)) = (jobs[0].best, jobs.get(2).and_then(|job| job.best)) {
            ratios.push((compression, zdb.wall / ours.wall, zdb.cpu / ours.cpu));
        }
        let _ = fs::remove_dir_all(folder);
    }
    println!("\n| zdb / tine | wall | CPU | aim |\n| --- | --- | --- | --- |");
    for (compression, wall, cpu) in ratios {
        println!("| {compression} | {wall:.1} | {cpu:.1} | 8 |");
    }
}

/// Opening a pool and listing everything in it.
fn list(work: &Path, runs: u32) {
    let (empty, image) = (work.join("empty"), work.join("list.img"));
    fs::create_dir_all(&empty).unwrap_or_else(|error| fail(&empty, &error));
    let names: Vec<String> = (0..DATASETS).map(|number| format!("zroot/d{number}")).collect();
    let (from, to) = (empty.display().to_string(), image.display().to_string());
    let mut arguments = vec!["image", "build", "-q", "--force", "--snapshot", "@s"];
    names.iter().for_each(|name| arguments.extend(["--dataset", name]));
    arguments.extend([from.as_str(), "-o", &to]);
    tine(&arguments);
    let milliseconds = (0..runs.max(3)).map(|_| {
        let began = Instant::now();
        tine(&["pool", "list", &to]);
        began.elapsed().as_secs_f64() * 1e3
    });
    let best = milliseconds.fold(f64::MAX, f64::min);
    println!(
        "\n| opening a pool and listing {} datasets and snapshots | ms | aim |\n| --- | --- | --- |",
        2 * DATASETS
    );
    println!("| tine pool list | {best:.0} | 50 |");
    let _ = fs::remove_file(image);
}

/// Reading a large compressed file, beside what decompression and checksums take alone.
fn cat(work: &Path, tree: &Path, runs: u32) {
    let folder = work.join("cat");
    fs::create_dir_all(&folder).unwrap_or_else(|error| fail(&folder, &error));
    let large = folder.join("large");
    concatenate(tree, &large).unwrap_or_else(|error| fail(&large, &error));
    let size = large.metadata().map_or(0, |metadata| metadata.len());
    let image = work.join("cat.img");
    let (from, to) = (folder.display().to_string(), image.display().to_string());
    tine(&["image", "build", "-q", "--force", "--compression", "lz4", &from, "-o", &to]);
    let target = format!("{to}:/large");
    let best = |run: &mut dyn FnMut()| {
        let seconds = (0..runs.max(2)).map(|_| {
            let began = Instant::now();
            run();
            began.elapsed().as_secs_f64()
        });
        seconds.fold(f64::MAX, f64::min)
    };
    let ours = best(&mut || tine(&["pool", "cat", &target]));
    let records = records(&large);
    let alone = best(&mut || decompress(&records));
    let rate = |seconds: f64| size as f64 / 1e6 / seconds;
    println!("\n| a file of {} MB, lz4 | MB/s |\n| --- | --- |", size / 1_000_000);
    println!("| tine pool cat | {:.0} |", rate(ours));
    println!("| checksum and decompression alone, one thread | {:.0} |", rate(alone));
    println!("| ratio (aim 0.7) | {:.2} |", rate(ours) / rate(alone));
    let _ = fs::remove_dir_all(folder);
    let _ = fs::remove_file(image);
}

/// Writes the files of a tree one after the other into one, until that is large.
fn concatenate(tree: &Path, to: &Path) -> std::io::Result<()> {
    let mut out = File::create(to)?;
    let (mut folders, mut left) = (vec![tree.to_owned()], LARGE);
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            let kind = path.symlink_metadata()?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && left > 0 {
                left -= std::io::copy(&mut File::open(path)?.take(left), &mut out)?;
            }
        }
    }
    out.flush()
}

/// The records of a file as a pool stores them: the checksum, what is stored, whether that is compressed.
fn records(path: &Path) -> Vec<([u64; 4], Vec<u8>, bool)> {
    let contents = fs::read(path).unwrap_or_else(|error| fail(path, &error));
    let (mut compressor, mut packed) = (Compressor::new(), vec![0; RECORD]);
    let lz4: Compression = "lz4".parse().unwrap_or_else(|error| panic!("lz4 is a compression: {error}"));
    let records = contents.chunks_exact(RECORD).map(|record| {
        let stored = match compressor.compress(lz4, record, &mut packed[..RECORD - RECORD / 8]) {
            Some(length) => (packed[..length.next_multiple_of(4096)].to_vec(), true),
            None => (record.to_vec(), false),
        };
        let sum = Checksum::Fletcher4.compute(ByteOrder::Little, None, &stored.0).unwrap_or_default();
        (sum, stored.0, stored.1)
    });
    records.collect()
}

fn decompress(records: &[([u64; 4], Vec<u8>, bool)]) {
    let (mut decompressor, mut block) = (Decompressor::new(), vec![0; RECORD]);
    for (sum, stored, compressed) in records {
        assert_eq!(Checksum::Fletcher4.compute(ByteOrder::Little, None, stored).as_ref(), Ok(sum));
        let function = if *compressed { Function::Lz4 } else { Function::Off };
        decompressor.decompress(function, stored, &mut block).unwrap_or_else(|error| panic!("{error}"));
    }
}
