//! Kernel dumps: opening, random reads, conversion to a core.
//!
//! ```text
//! cargo bench -p vmcore --bench vmcore [-- RUNS [FOLDER]]
//! ```
//!
//! Forges a minidump of amd64 with 1 GiB of pages, in memory (`/dev/shm`) or the folder that is named, and prints a table
//! in Markdown: the best of several runs. `cp` of the same file is measured in the same run. Each job runs in a process
//! of its own, whose peak of memory is its own.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::Arc;
use std::time::Instant;

use vmcore::Dump;
use vmcore::convert::{self, CoreOptions, SparseFile};
use vmcore::forge::{Forge, Kind};
use vmcore::memory::{Memory, Options, VirtualMemory};

const PAGES: u64 = 1 << 18;
const READS: u64 = 1_000_000;
/// Where the pages are, which are mapped in another order than they lie in.
const FIRST: u64 = 0x100_0000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [job, dump, folder] = &arguments[..] {
        return run(job, Path::new(dump), Path::new(folder));
    }
    let runs: u32 = arguments.first().and_then(|runs| runs.parse().ok()).unwrap_or(5);
    let folder = arguments.get(1).map_or_else(|| PathBuf::from("/dev/shm/tine-bench-vmcore"), PathBuf::from);
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| fail(&folder, &error));
    let dump = folder.join("vmcore.0");
    forge(&dump).unwrap_or_else(|error| fail(&dump, &error));
    println!("| job | best | peak MiB |\n| --- | --- | --- |");
    for job in [
        "open",
        "open, a thousand pages read",
        "reads, cache of 64 MiB",
        "reads, the usual cache",
        "core",
        "cp",
        "statistics",
    ] {
        let (best, peak) = best(job, &dump, &folder, runs);
        println!("| {job} | {best} | {} |", peak / 1024);
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// The best of several processes: what it says, and the most memory that any took.
fn best(job: &str, dump: &Path, folder: &Path, runs: u32) -> (String, u64) {
    let this = std::env::current_exe().unwrap_or_else(|error| fail(Path::new("bench"), &error));
    let mut best: Option<(f64, String)> = None;
    let mut peak = 0;
    for _ in 0..runs {
        let output = Command::new(&this).args([job]).args([dump, folder]).output();
        let output = output.unwrap_or_else(|error| fail(&this, &error));
        let said = String::from_utf8_lossy(&output.stdout);
        let mut lines = said.lines();
        let (Some(seconds), Some(text), Some(memory)) = (lines.next(), lines.next(), lines.next()) else {
            eprintln!("{job}: {said}{}", String::from_utf8_lossy(&output.stderr));
            exit(1);
        };
        let seconds: f64 = seconds.parse().unwrap_or(f64::MAX);
        if best.as_ref().is_none_or(|(other, _)| seconds < *other) {
            best = Some((seconds, text.to_string()));
        }
        peak = peak.max(memory.parse().unwrap_or(0));
    }
    (best.map(|(_, text)| text).unwrap_or_default(), peak)
}

/// Runs a job and says the seconds, what is to be shown, and the peak of memory in KiB.
fn run(job: &str, dump: &Path, folder: &Path) {
    let out = folder.join("out");
    let _ = std::fs::remove_file(&out);
    let start = Instant::now();
    let mut text = String::new();
    match job {
        "open" => _ = open(dump),
        "open, a thousand pages read" => {
            // As a debugger does first: pages all over the kernel's data.
            let dump = open(dump);
            for page in 0..1000 {
                let _ = dump.memory.read_u64(0xffff_fe00_0000_0000 + page * 4096);
            }
        }
        "cp" => {
            let copied = Command::new("cp").arg(dump).arg(&out).status();
            if !copied.is_ok_and(|status| status.success()) {
                fail(&out, &io::ErrorKind::Other.into());
            }
        }
        "core" => {
            let file = File::create(&out).unwrap_or_else(|error| fail(&out, &error));
            let mut file = SparseFile::new(file);
            let summary = convert::core(&open(dump).memory, &CoreOptions::default(), &mut file);
            if let Err(error) = summary.and_then(|_| Ok(file.finish()?)) {
                eprintln!("{error}");
                exit(1);
            }
        }
        "statistics" => _ = open(dump).memory.statistics(),
        reads => {
            let usual = Options::default();
            let cache = if reads.contains("usual") { usual.cache } else { 64 << 20 };
            let data = Whole(File::open(dump).unwrap_or_else(|error| fail(dump, &error)));
            let options = Options { cache, ..usual };
            let memory = Memory::open_with(Arc::new(data), &options).unwrap_or_else(|error| {
                eprintln!("{error}");
                exit(1)
            });
            let (rate, cpu) = reads_a_second(&memory);
            text = format!("{:.2} million a second; {:.2} a second of CPU time", rate / 1e6, cpu / 1e6);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if text.is_empty() {
        text = format!("{:.1} ms; CPU {:.0} ms", seconds * 1e3, cpu() * 1e3);
    }
    let _ = std::fs::remove_file(&out);
    println!("{seconds}\n{text}\n{}", peak());
}

/// Eight bytes each at random places of the mapped gigabyte; each page was read once before.
fn reads_a_second(memory: &Memory) -> (f64, f64) {
    let base = 0xffff_fe00_0000_0000u64;
    let mut sum = 0u64;
    for page in 0..PAGES {
        sum = sum.wrapping_add(memory.read_u64(base + page * 4096).unwrap_or(0));
    }
    let mut random = 88_172_645_463_325_252u64;
    let (start, before) = (Instant::now(), cpu());
    for _ in 0..READS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let address = base + random % PAGES * 4096 + (random >> 40) % 512 * 8;
        sum = sum.wrapping_add(memory.read_u64(address).unwrap_or(0));
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_ne!(sum, 0, "something was read");
    (READS as f64 / seconds, READS as f64 / (cpu() - before))
}

fn open(path: &Path) -> Dump {
    Dump::open(path, &vmcore::contents::Options::default()).unwrap_or_else(|error| {
        eprintln!("{error}");
        exit(1)
    })
}

/// A minidump of 1 GiB: each page mapped, none where its neighbour in memory is, a third of them zero.
fn forge(path: &Path) -> io::Result<()> {
    let mut forge = Forge::with_memory(Kind::AMD64, vec![(FIRST, FIRST + PAGES * 4096 + (4 << 20))]);
    let base = forge.kernel_base();
    for page in 0..PAGES {
        // Runs of 16 pages, as kernels have them.
        let place = (page / 16 * 7919 % (PAGES / 16)) * 16 + page % 16;
        forge.map(base + page * 4096, FIRST + place * 4096, 12);
        if !place.is_multiple_of(3) {
            forge.write_physical(FIRST + place * 4096, &vec![(place % 251) as u8 + 1; 4096]);
        }
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    forge.write_minidump(&mut out)?;
    out.flush()
}

struct Whole(File);

impl disk::ReadAt for Whole {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// The seconds of CPU time that this process took, its waiting left out; 0 where the system does not say.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
    fields.iter().sum::<f64>() / 100.0
}

/// The most memory that this process had, in KiB; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn fail(path: &Path, error: &io::Error) -> ! {
    eprintln!("{}: {error}", path.display());
    exit(1)
}
