//! What benchmarks share: a tree of files to work on, and jobs that are timed.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

/// What is copied when no tree is given.
const COPIED: [&str; 4] = ["/usr/share", "/usr/bin", "/usr/include", "/usr/lib/x86_64-linux-gnu"];

/// What a benchmark works on.
pub(crate) struct Setting {
    /// A directory in memory.
    pub(crate) work: PathBuf,
    /// The tree of files.
    pub(crate) tree: PathBuf,
    /// How often each job is run.
    pub(crate) runs: u32,
}

impl Setting {
    /// From the command line, `[TREE [RUNS]]`; a tree of as many bytes and names is copied where none is given. `None`,
    /// said, where what measures is missing.
    pub(crate) fn of_arguments(least_bytes: u64, least_names: u64) -> Option<Self> {
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        if !Path::new("/usr/bin/time").exists() {
            println!("skipped: GNU time is not installed");
            return None;
        }
        let work = PathBuf::from("/dev/shm/tine-bench");
        let tree = arguments.next().map_or_else(|| copy_tree(&work, least_bytes, least_names), PathBuf::from);
        let runs = arguments.next().map_or(3, |runs| runs.parse().unwrap_or(3));
        fs::create_dir_all(&work).unwrap_or_else(|error| fail(&work, &error));
        Some(Self { work, tree, runs })
    }
}

/// The best of the runs of one job.
#[derive(Clone, Copy)]
pub(crate) struct Best {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_kib: u64,
    pub(crate) output: u64,
}

/// A command that is run several times.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) command: String,
    pub(crate) best: Option<Best>,
}

impl Job {
    pub(crate) fn new(name: &'static str, command: String) -> Self {
        Self { name, command, best: None }
    }

    /// Runs the command, which may write to `output`.
    pub(crate) fn run(&mut self, output: &Path) {
        let _ = fs::remove_file(output);
        let result = Command::new("/usr/bin/time")
            .args(["-f", "%e %U %S %M", "sh", "-c", &self.command])
            .stdout(Stdio::null())
            .output()
            .unwrap_or_else(|error| fail(Path::new("/usr/bin/time"), &error));
        let message = String::from_utf8_lossy(&result.stderr);
        if !result.status.success() {
            eprintln!("{}: {message}", self.command);
            exit(1);
        }
        let numbers: Vec<f64> = message
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let [wall, user, system, peak] = numbers[..] else {
            eprintln!("{}: {message}", self.command);
            exit(1);
        };
        let now = Best { wall, cpu: user + system, peak_kib: peak as u64, output: allocated(output) };
        self.best = Some(match self.best {
            Some(best) => Best {
                wall: best.wall.min(now.wall),
                cpu: best.cpu.min(now.cpu),
                peak_kib: best.peak_kib.max(now.peak_kib),
                ..now
            },
            None => now,
        });
    }
}

/// Copies files until there are at least so many bytes and names; what is there already is used again.
fn copy_tree(work: &Path, least_bytes: u64, least_names: u64) -> PathBuf {
    let tree = work.join("tree");
    fs::create_dir_all(&tree).unwrap_or_else(|error| fail(&tree, &error));
    for source in COPIED {
        let (bytes, names) = measure(&tree);
        let target = tree.join(source.trim_start_matches('/').replace('/', "-"));
        if (bytes >= least_bytes && names >= least_names) || target.exists() {
            continue;
        }
        let status = Command::new("cp").arg("-a").args([Path::new(source), &target]).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("copying {source} failed");
        }
    }
    tree
}

/// Bytes of regular files, and names, below a directory.
pub(crate) fn measure(directory: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(directory) else { return (0, 0) };
    entries.flatten().fold((0, 0), |(bytes, names), entry| {
        let Ok(metadata) = entry.metadata() else { return (bytes, names) };
        let (below_bytes, below_names) = if metadata.is_dir() { measure(&entry.path()) } else { (0, 0) };
        let own = if metadata.is_file() { metadata.len() } else { 0 };
        (bytes + own + below_bytes, names + 1 + below_names)
    })
}

/// Bytes that a sparse file takes.
pub(crate) fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}

/// Ends the benchmark.
pub(crate) fn fail(path: &Path, error: &std::io::Error) -> ! {
    eprintln!("{}: {error}", path.display());
    exit(1)
}
