//! Everything about a crash, in one value.

use serde::Serialize;

use crate::allocators::Memory;
use crate::dump::Crash;
use crate::error::Result;
use crate::interfaces::{self, Interface};
use crate::locks::Locks;
use crate::messages::{self, Messages};
use crate::modules::{self, Module};
use crate::mounts::{self, Mount};
use crate::panic::{self, Panic};
use crate::signature;
use crate::stack::{Stack, StackFrame};
use crate::threads::{self, Process, Thread};

/// What is known of a crash. What could not be read is empty, and told among the [problems](Report::problems).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What the kernel died of.
    pub panic: Panic,
    /// A name for this kind of crash: see [`signature`](mod@crate::signature).
    pub signature: String,
    /// The kernel and its machine.
    pub system: System,
    /// The stack of the thread that panicked.
    pub backtrace: Vec<StackFrame>,
    /// Why that stack ends too early, if it does.
    pub backtrace_broken: Option<String>,
    /// What the kernel printed and nobody had read; all of it, if everything had been read.
    pub message_buffer: String,
    /// What ran on the other processors.
    pub cpus: Vec<Running>,
    /// All processes.
    pub processes: Vec<Process>,
    /// The kernel and its modules.
    pub modules: Vec<Module>,
    /// The locks that somebody waits for, those that are held, and who waits for whom.
    pub locks: Locks,
    /// What the allocators of memory have given out.
    pub memory: Memory,
    /// Mounted file systems.
    pub mounts: Vec<Mount>,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
    /// What there is to know of how the dump was opened, in sentences.
    pub notes: Vec<String>,
}

/// The kernel and its machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct System {
    /// The version of the kernel.
    pub version: Option<String>,
    /// The name of the host.
    pub host: Option<String>,
    /// The architecture.
    pub architecture: String,
    /// How many processors it had.
    pub cpus: Option<u64>,
    /// How long it had been up, in seconds.
    pub uptime: Option<i64>,
    /// When the dump was made, in seconds since 1970.
    pub dump_time: Option<u64>,
    /// The kernel's file.
    pub kernel: String,
    /// Whether it is there, and not a dump.
    pub live: bool,
}

/// A thread that was running, and its stack.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// The thread.
    pub thread: Thread,
    /// Its stack.
    pub stack: Stack,
}

impl Report {
    /// Reads all of it.
    pub fn of(crash: &Crash) -> Self {
        let mut report = Self { system: System::of(crash), notes: crash.notes().to_vec(), ..Self::default() };
        let mut problems = Vec::new();
        if let Some((processes, broken)) = note("processes", threads::processes(crash), &mut problems) {
            report.processes = processes;
            problems.extend(broken);
        }
        let thread = panic::thread(crash, &report.processes);
        let stack = note("the backtrace", panic::stack(crash, thread), &mut problems);
        let stack = stack.map(|(stack, _)| stack).unwrap_or_default();
        report.panic = Panic::of(crash, thread, &stack);
        report.signature = signature::signature(report.panic.message.as_deref(), &stack);
        report.backtrace_broken = stack.broken;
        report.backtrace = stack.frames;
        if let Some(Messages { text, unread, .. }) = note("messages", messages::messages(crash), &mut problems) {
            report.message_buffer = if unread.is_empty() { text } else { unread };
        }
        for thread in panic::running(crash, &report.processes) {
            let what = format!("the stack of thread {}", thread.tid);
            if let Some((registers, _)) = note(&what, crash.thread_registers(thread), &mut problems) {
                report.cpus.push(Running { thread: thread.clone(), stack: crash.stack(&registers, false) });
            }
        }
        report.locks = Locks::of(crash, &report.processes);
        problems.append(&mut report.locks.problems);
        report.panic.take_locks(&report.locks);
        report.memory = Memory::of(crash);
        problems.append(&mut report.memory.problems);
        if let Some((mounts, broken)) = note("mounts", mounts::mounts(crash), &mut problems) {
            report.mounts = mounts;
            problems.extend(broken);
        }
        if let Some((interfaces, broken)) = note("interfaces", interfaces::interfaces(crash), &mut problems) {
            report.interfaces = interfaces;
            problems.extend(broken);
        }
        report.modules = note("modules", modules::modules(crash), &mut problems).unwrap_or_default();
        report.problems = problems;
        report
    }
}

impl System {
    fn of(crash: &Crash) -> Self {
        const VERSION: usize = 1024;
        let program = crash.program();
        let text = |name: &str| {
            let symbol = program.symbol(name).ok()?;
            let text = String::from_utf8_lossy(&program.read_string(symbol.address, VERSION).ok()?).into_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        let header = crash.header();
        Self {
            version: text("version").or_else(|| header.map(|header| header.version_string.clone())),
            host: header.map(|header| header.hostname.clone()).filter(|host| !host.is_empty()),
            architecture: program.architecture().name().to_owned(),
            cpus: crash.cpus().ok(),
            uptime: program.variable("time_uptime").and_then(|value| value.integer()).ok().map(|value| value as i64),
            dump_time: header.map(|header| header.dump_time),
            kernel: crash.kernel().display().to_string(),
            live: crash.is_live(),
        }
    }
}

/// What was read, or a problem more.
fn note<T>(what: &str, result: Result<T>, problems: &mut Vec<String>) -> Option<T> {
    result.map_err(|error| problems.push(format!("{what}: {error}"))).ok()
}
