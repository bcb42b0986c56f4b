//! `tine crash bt`: stacks.

use anstyle::Style;
use clap::Args;
use crash::stack::Stack;
use crash::threads::Thread;
use serde::Serialize;

use super::{Session, processes, report, stack};
use crate::failure::Failure;
use crate::output::{self, plural};

const HEADING: Style = Style::new().bold();
/// Threads of one stack that are named.
const NAMED: usize = 12;

/// Show the stack of the thread that panicked, or of others
#[derive(Debug, Args)]
pub(super) struct Backtrace {
    /// The number of a thread, or the number or name of a process, all of whose threads are shown
    #[arg(value_name = "THREAD|PROCESS", conflicts_with_all = ["all", "cpu"])]
    of: Option<String>,
    /// All threads: those with the same stack together
    #[arg(long)]
    all: bool,
    /// What ran on this processor
    #[arg(long, value_name = "N", conflicts_with = "all")]
    cpu: Option<i64>,
}

/// Threads that have the same stack.
#[derive(Serialize)]
pub(super) struct Group {
    pub(super) threads: Vec<Thread>,
    #[serde(flatten)]
    pub(super) stack: Stack,
}

impl Backtrace {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let threads = match self.threads(session) {
            Ok(threads) => threads,
            Err(error) if self.of.is_none() && self.cpu.is_none() => return dumping(session, error),
            Err(error) => return Err(error),
        };
        let (mut groups, problems) = groups(session, threads, !self.all);
        output::warn("tine", &problems);
        if session.json {
            return output::print_json(&groups);
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.threads.len()));
        let texts: Vec<String> = groups.iter().map(text).collect();
        output::print(&texts.join("\n"))
    }

    fn threads(&self, session: &Session<'_>) -> Result<Vec<Thread>, Failure> {
        let all = processes::read(session)?;
        let mut threads = all.iter().flat_map(|process| &process.threads);
        let missing = |what: String| Failure::Work(format!("there is no {what}: tine crash ... threads lists them"));
        if self.all {
            return Ok(threads.cloned().collect());
        }
        if let Some(cpu) = self.cpu {
            let found = threads.find(|thread| thread.cpu == Some(cpu)).cloned();
            return found.map(|thread| vec![thread]).ok_or_else(|| missing(format!("thread that ran on CPU {cpu}")));
        }
        if let Some(wanted) = &self.of {
            if let Some(thread) = threads.find(|thread| wanted.parse() == Ok(thread.tid)) {
                return Ok(vec![thread.clone()]);
            }
            let process = all.iter().find(|process| processes::is_named(process, wanted));
            return process
                .map(|process| process.threads.clone())
                .ok_or_else(|| missing(format!("thread or process {wanted}")));
        }
        let tid = session.crash.dumping_thread()?;
        let thread = threads.find(|thread| thread.tid == tid).cloned();
        thread.map(|thread| vec![thread]).ok_or_else(|| missing(format!("thread {tid}, which wrote the dump")))
    }
}

/// The stack of the thread that wrote the dump, where `error` keeps threads from being known: without types, or where the
/// lists of them are damaged.
fn dumping(session: &Session<'_>, error: Failure) -> Result<(), Failure> {
    let Ok((stack, _)) = crash::panic::stack(session.crash, None) else { return Err(error) };
    output::warn("tine", &[format!("threads are not known: {error}")]);
    let group = Group { threads: Vec::new(), stack };
    if session.json { output::print_json(&[group]) } else { output::print(&text(&group)) }
}

/// The stacks of threads, those with the same one together, and what could not be read.
pub(super) fn groups(
    session: &Session<'_>,
    threads: impl IntoIterator<Item = Thread>,
    arguments: bool,
) -> (Vec<Group>, Vec<String>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut problems = Vec::new();
    for thread in threads {
        let stack = match session.crash.thread_registers(&thread) {
            Ok((registers, _)) => session.crash.stack(&registers, arguments),
            Err(error) => {
                problems.push(format!("thread {}: {error}", thread.tid));
                continue;
            }
        };
        match groups.iter_mut().find(|group| is_same(&group.stack, &stack)) {
            Some(group) => group.threads.push(thread),
            None => groups.push(Group { threads: vec![thread], stack }),
        }
    }
    (groups, problems)
}

/// The name of a thread after that of its process, if it has one of its own.
pub(super) fn name(thread: &Thread) -> String {
    match thread.name == thread.process || thread.name.is_empty() {
        true => thread.process.clone(),
        false => format!("{}/{}", thread.process, thread.name),
    }
}

fn is_same(one: &Stack, other: &Stack) -> bool {
    let addresses = |stack: &Stack| stack.frames.iter().map(|frame| frame.address).collect::<Vec<u64>>();
    one.broken.is_some() == other.broken.is_some() && addresses(one) == addresses(other)
}

fn text(group: &Group) -> String {
    let name = |thread: &Thread| format!("{} {}", thread.tid, report::visible(&name(thread)));
    let mut names: Vec<String> = group.threads.iter().take(NAMED).map(name).collect();
    if let Some(more @ 1..) = group.threads.len().checked_sub(NAMED) {
        names.push(format!("and {more} more"));
    }
    let count = group.threads.len() as u64;
    let title = match count {
        0 => "The thread that wrote the dump".to_owned(),
        1 => "Thread".to_owned(),
        _ => plural(count, "thread"),
    };
    let wait = group.threads.first().and_then(|thread| thread.wait.as_deref());
    let wait = wait.map(|wait| format!(", waits for {}", report::visible(wait))).unwrap_or_default();
    let names = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
    format!("{HEADING}{title}{names}{wait}{HEADING:#}\n{}", stack::text(&group.stack))
}
