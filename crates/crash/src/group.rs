//! Which panics many dumps tell of: how often, since when, on which hosts.
//!
//! Dumps belong together if they have the same [signature](mod@crate::signature). Where the kernel of a dump is not
//! found, the panic's message alone gives it, which is a coarser sieve: such dumps are in groups of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use disk::ReadAt;
use serde::Serialize;
use symbols::MemoryError;
use vmcore::contents::Contents;
use vmcore::files::Files;
use vmcore::names::Names;
use vmcore::textdump;
use vmcore::{Dump, Header};

use crate::dump::{Crash, Options};
use crate::error::{Error, Result};
use crate::panic;
use crate::signature;
use crate::stack::Stack;

/// Dumps that are open at a time.
const MOST_THREADS: usize = 8;
/// Folders in folders that are looked into.
const MOST_DEPTH: usize = 32;
/// No dump was made before this, 2000: a clock that says so is none.
const CLOCK_BEGINS: u64 = 946_684_800;
/// A dump of memory is larger than this.
const SMALLEST: u64 = 8192;
/// The most bytes of a text in a text dump.
const MOST_TEXT: u64 = 4096;
/// Longest version that is read of memory.
const VERSION: usize = 1024;

/// What a dump says in short.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The dump's file.
    pub path: PathBuf,
    /// What its group is known by.
    pub signature: String,
    /// The panic's message; `None` if the kernel did not panic.
    pub message: Option<String>,
    /// The functions that led to it, the innermost first; none without a kernel.
    pub functions: Vec<String>,
    /// The name of the host.
    pub host: Option<String>,
    /// When the dump was made, in seconds since 1970.
    pub time: Option<u64>,
    /// The first line of the kernel's version.
    pub version: Option<String>,
    /// Why the stack does not count, in a sentence, if it does not.
    pub note: Option<String>,
    /// Other files with the same dump: packed, decrypted, saved twice. They are not counted.
    pub copies: Vec<PathBuf>,
}

/// Dumps of the same panic.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What they have in common: see [`signature`](mod@crate::signature).
    pub signature: String,
    /// Whether the stack is a part of that, or the message alone.
    pub stack: bool,
    /// How many there are.
    pub count: usize,
    /// The message of the newest.
    pub message: Option<String>,
    /// The functions that led to it, the innermost first.
    pub functions: Vec<String>,
    /// When the first was made, in seconds since 1970, as far as clocks ran.
    pub first: Option<u64>,
    /// When the last was made.
    pub last: Option<u64>,
    /// Names of hosts, in order.
    pub hosts: Vec<String>,
    /// Versions of kernels, in order.
    pub versions: Vec<String>,
    /// The dumps, the oldest first.
    pub dumps: Vec<Summary>,
}

/// The files of a folder, and of those in it, that are dumps by their name or by what they begin with; in order.
///
/// # Errors
/// If the folder itself cannot be read. Of folders in it, the error is among the second.
pub fn find(folder: &Path) -> std::io::Result<(Vec<PathBuf>, Vec<String>)> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let mut waiting = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                problems.push(format!("{}: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            // What a link leads to is found where it is, or is none of this folder.
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() && depth < MOST_DEPTH {
                waiting.push((path, depth + 1));
            } else if kind.is_file() && is_dump(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok((found, problems))
}

fn is_dump(path: &Path) -> bool {
    use std::io::Read;
    if Names::of(path).is_some() {
        return true;
    }
    let mut start = [0; 32];
    // A header alone is none.
    let is_large = path.metadata().is_ok_and(|metadata| metadata.len() > SMALLEST);
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    is_large
        && read.is_ok()
        && [&b"minidump FreeBSD/"[..], b"FreeBSD Kernel Dump\0"].iter().any(|magic| start.starts_with(magic))
}

/// Looks at many dumps, several at a time, each as [`Summary::of`] does; the results are in the order of the paths.
pub fn summaries(paths: &[PathBuf], options: &Options) -> Vec<Result<Summary>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = paths.get(number) else { return done };
            done.push((number, Summary::of(path, options)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, summary)| summary).collect()
}

impl Summary {
    /// Looks at a dump, with its kernel if that is found.
    ///
    /// # Errors
    /// If nothing is known of it: it cannot be read, and no header tells of it.
    pub fn of(path: &Path, options: &Options) -> Result<Self> {
        let crash = match Crash::open(path, options) {
            Ok(crash) => crash,
            Err(error) => return Self::without_kernel(path, options, error),
        };
        let stack = panic::stack(&crash, None).map(|(stack, _)| stack);
        let note = stack.as_ref().err().map(|error| format!("its stack cannot be read: {error}"));
        let message = panic::message(&crash);
        let mut summary = Self::with(path, crash.header(), message, &stack.unwrap_or_default());
        summary.version = summary.version.or_else(|| version(&crash).ok());
        Ok(Self { note, ..summary })
    }

    fn with(path: &Path, header: Option<&Header>, message: Option<String>, stack: &Stack) -> Self {
        let line = |text: &str| text.lines().next().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            path: path.to_owned(),
            signature: signature::signature(message.as_deref(), stack),
            functions: signature::meaningful(stack).into_iter().map(str::to_owned).collect(),
            message,
            host: header.and_then(|header| line(&header.hostname)),
            time: header.map(|header| header.dump_time),
            version: header.and_then(|header| line(&header.version_string)),
            note: None,
            copies: Vec::new(),
        }
    }

    /// The header tells the message, too; or else what the kernel printed last.
    fn without_kernel(path: &Path, options: &Options, error: Error) -> Result<Self> {
        let files = Files::find(path)
            .map_err(|source| vmcore::Error::Contents(vmcore::contents::Error::Io { path: path.to_owned(), source }))?;
        let header = files.header.clone();
        let told = header.as_ref().map(|header| header.panic_string.clone()).filter(|text| !text.is_empty());
        let printed = || {
            let dump = Dump::of(Contents::of(&files, &options.contents).ok()?, path).ok()?;
            let text = dump.memory.message_buffer().ok()??.text;
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().rev().find_map(|line| line.strip_prefix("panic: ").map(str::to_owned))
        };
        let text = |name| text_of(&*files.data, name);
        let message = told.or_else(printed).or_else(|| text("panic.txt"));
        if message.is_none() && header.is_none() {
            return Err(error);
        }
        let mut summary = Self::with(path, header.as_ref(), message, &Stack::default());
        summary.version = summary.version.or_else(|| text("version.txt"));
        Ok(Self { note: Some(error.to_string()), ..summary })
    }

    /// Whether two files are of the same dump, as far as headers tell. Without a clock they do not.
    fn is_same_dump(&self, other: &Self) -> bool {
        let known = |summary: &Self| (summary.known_time(), summary.host.clone(), summary.version.clone());
        self.known_time().is_some() && known(self) == known(other) && self.message == other.message
    }

    /// When the dump was made, unless its clock did not run.
    fn known_time(&self) -> Option<u64> {
        self.time.filter(|time| *time >= CLOCK_BEGINS)
    }
}

/// The first line of a text in a text dump.
fn text_of(data: &dyn ReadAt, name: &str) -> Option<String> {
    let member = textdump::list(data).ok()?.into_iter().find(|member| member.name == name)?;
    let mut bytes = vec![0; usize::try_from(member.size.min(MOST_TEXT)).ok()?];
    data.read_exact_at(&mut bytes, member.offset).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn version(crash: &Crash) -> Result<String> {
    let symbol = crash.program().symbol("version")?;
    let text = crash.program().read_string(symbol.address, VERSION)?;
    let text = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    if text.is_empty() {
        let reason = "the version is empty".to_owned();
        return Err(symbols::Error::from(MemoryError { address: symbol.address, reason }).into());
    }
    Ok(text)
}

/// Puts dumps of the same panic together: the most frequent first, the newest first among equals.
pub fn group(dumps: impl IntoIterator<Item = Summary>) -> Vec<Group> {
    let mut known: Vec<Summary> = Vec::new();
    for dump in dumps {
        match known.iter_mut().find(|other| other.is_same_dump(&dump)) {
            // The one that says more stays.
            Some(other) if other.functions.is_empty() && !dump.functions.is_empty() => {
                let old = std::mem::replace(other, dump);
                other.copies.extend(old.copies);
                other.copies.push(old.path);
                other.copies.sort();
            }
            Some(other) => other.copies.push(dump.path),
            None => known.push(dump),
        }
    }
    let mut groups: BTreeMap<(String, bool), Vec<Summary>> = BTreeMap::new();
    for dump in known {
        let stack = !dump.functions.is_empty();
        groups.entry((dump.signature.clone(), stack)).or_default().push(dump);
    }
    let mut groups: Vec<Group> =
        groups.into_iter().map(|((signature, stack), dumps)| of(signature, stack, dumps)).collect();
    groups
        .sort_by(|one, other| (other.count, other.last, &one.signature).cmp(&(one.count, one.last, &other.signature)));
    groups
}

fn of(signature: String, stack: bool, mut dumps: Vec<Summary>) -> Group {
    dumps.sort_by(|one, other| (one.time, &one.path).cmp(&(other.time, &other.path)));
    let all = |of: fn(&Summary) -> &Option<String>| {
        let mut all: Vec<String> = dumps.iter().filter_map(|dump| of(dump).clone()).collect();
        all.sort();
        all.dedup();
        all
    };
    Group {
        stack,
        count: dumps.len(),
        message: dumps.last().and_then(|dump| dump.message.clone()),
        functions: dumps.last().map(|dump| dump.functions.clone()).unwrap_or_default(),
        first: dumps.iter().filter_map(Summary::known_time).min(),
        last: dumps.iter().filter_map(Summary::known_time).max(),
        hosts: all(|dump| &dump.host),
        versions: all(|dump| &dump.version),
        signature,
        dumps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(path: &str, signature: &str, host: &str, time: u64, functions: &[&str]) -> Summary {
        Summary {
            path: path.into(),
            signature: signature.to_owned(),
            host: Some(host.to_owned()),
            time: Some(time),
            functions: functions.iter().map(|name| (*name).to_owned()).collect(),
            ..Summary::default()
        }
    }

    #[test]
    fn the_most_frequent_panic_comes_first_with_its_hosts_and_times() {
        let day = CLOCK_BEGINS + 86400;
        let groups = group([
            dump("1", "aa", "web", day, &["f"]),
            dump("2", "bb", "web", day + 5, &["g"]),
            dump("3", "bb", "db", day + 3, &["g"]),
            dump("4", "bb", "web", day + 9, &[]),
        ]);
        let short: Vec<_> = groups.iter().map(|group| (group.signature.as_str(), group.stack, group.count)).collect();
        assert_eq!(short, [("bb", true, 2), ("bb", false, 1), ("aa", true, 1)]);
        assert_eq!((groups[0].first, groups[0].last), (Some(day + 3), Some(day + 5)));
        assert_eq!(groups[0].hosts, ["db", "web"]);
        assert_eq!(groups[0].dumps[0].path, Path::new("3"));
    }

    #[test]
    fn a_dump_in_two_files_is_counted_once_unless_its_clock_did_not_run() {
        let groups = group([
            dump("encrypted", "message", "web", CLOCK_BEGINS, &[]),
            dump("plain", "stack", "web", CLOCK_BEGINS, &["f"]),
            dump("a", "aa", "arm", 7, &["f"]),
            dump("b", "aa", "arm", 7, &["f"]),
        ]);
        let short: Vec<_> = groups.iter().map(|group| (group.signature.as_str(), group.count)).collect();
        assert_eq!(short, [("aa", 2), ("stack", 1)]);
        assert_eq!(groups[1].dumps[0].copies, [PathBuf::from("encrypted")]);
    }
}
