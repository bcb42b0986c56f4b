//! What the kernel died of.

use serde::Serialize;
use symbols::Architecture;

use crate::dump::Crash;
use crate::stack::{Stack, Trap};
use crate::threads::{self, Process, Saved, Thread};

/// Longest message.
const MESSAGE: usize = 1024;

/// What the kernel died of, and who did it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Panic {
    /// The message; `None` if the kernel did not panic: it was asked for a dump.
    pub message: Option<String>,
    /// The number of the thread.
    pub thread: Option<i64>,
    /// The thread's name.
    pub thread_name: Option<String>,
    /// The name of its process.
    pub process: Option<String>,
    /// The number of its process.
    pub pid: Option<i64>,
    /// The processor that it ran on.
    pub cpu: Option<i64>,
    /// The trap that led to it, if one did.
    pub trap: Option<Trap>,
    /// What the address of a fault means.
    pub explanation: Option<String>,
}

/// The message of the panic, from memory or else from the dump's header.
pub fn message(crash: &Crash) -> Option<String> {
    let program = crash.program();
    let pointer = program.symbol("panicstr").and_then(|symbol| program.read_word(symbol.address)).ok();
    let text = pointer.filter(|at| *at != 0).and_then(|at| program.read_string(at, MESSAGE).ok());
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
    let header = || crash.header().map(|header| header.panic_string.clone());
    text.filter(|text| !text.is_empty()).or_else(header).filter(|text| !text.is_empty())
}

/// The thread that panicked, of these processes.
pub fn thread<'p>(crash: &Crash, processes: &'p [Process]) -> Option<&'p Thread> {
    let tid = crash.dumping_thread().ok()?;
    processes.iter().flat_map(|process| &process.threads).find(|thread| thread.tid == tid)
}

impl Panic {
    /// Puts together what is known.
    pub fn of(crash: &Crash, thread: Option<&Thread>, stack: &Stack) -> Self {
        let trap = stack.frames.iter().find_map(|frame| frame.trap.clone()).filter(|trap| !trap.user);
        let explanation = trap.as_ref().and_then(|trap| explain(crash, trap, thread));
        Self {
            message: message(crash),
            thread: thread.map(|thread| thread.tid).or_else(|| crash.dumping_thread().ok()),
            thread_name: thread.map(|thread| thread.name.clone()),
            process: thread.map(|thread| thread.process.clone()),
            pid: thread.map(|thread| thread.pid),
            cpu: thread.and_then(|thread| thread.cpu),
            trap,
            explanation,
        }
    }
}

/// The stack of the thread that wrote the dump, also where threads cannot be found.
pub fn stack(crash: &Crash, thread: Option<&Thread>) -> crate::Result<(Stack, Saved)> {
    let (registers, saved) = match thread {
        Some(thread) => crash.thread_registers(thread)?,
        None => (crash.dumping_registers()?, Saved::Dumping),
    };
    Ok((crash.stack(&registers, true), saved))
}

/// What the address of a fault means, in a sentence.
fn explain(crash: &Crash, trap: &Trap, thread: Option<&Thread>) -> Option<String> {
    let address = trap.fault_address;
    // Of a general protection fault the processor does not tell the address: a register has it.
    let Some(address) = address else { return explain_protection(trap) };
    let architecture = crash.program().architecture();
    if address == trap.pc {
        return Some(match address {
            0 => "a function was called through a null pointer".to_owned(),
            _ => format!("{address:#x} was called or jumped to, where there is no code"),
        });
    }
    if let Some(pattern) = freed(address) {
        return Some(format!("{address:#x} is made of {pattern}: memory was used after it was freed"));
    }
    if address < 0x10000 {
        return Some(match address {
            0 => "a null pointer was followed".to_owned(),
            _ => format!("{address:#x} lies in the null page: a field at offset {address} of a null pointer, likely"),
        });
    }
    if let Some(guard) = thread.and_then(|thread| below_stack(crash, thread, address)) {
        return Some(guard);
    }
    if is_user(architecture, address) {
        return Some(format!("{address:#x} is a user's address, which the kernel reached for without copyin"));
    }
    if crash.program().image_at(address).is_some() {
        let place = crash.program().describe(address).unwrap_or_default();
        return Some(format!("{address:#x} is {place}, which may not be reached in that way (written to, likely)"));
    }
    if let Some(direct) = crash.dump().and_then(|dump| dump.memory.direct_map())
        && (direct.start..direct.end).contains(&address)
    {
        let physical = address - direct.start + direct.physical;
        return Some(format!("{address:#x} is in the direct map (physical {physical:#x}), where there is no memory"));
    }
    Some(format!("{address:#x} is not mapped: memory that was freed, or a module that was unloaded, or a wild pointer"))
}

fn explain_protection(trap: &Trap) -> Option<String> {
    (trap.number == Some(9)).then(|| {
        "a general protection fault is often an address that cannot be one: see the registers for patterns such as \
         0xdeadc0de (memory that was freed)"
            .to_owned()
    })
}

/// `sys/kern/kern_malloc.c`, `sys/vm/uma_dbg.c`: what freed memory is filled with under INVARIANTS.
fn freed(address: u64) -> Option<&'static str> {
    let near = |pattern: u64| address.wrapping_sub(pattern) < 0x1000 || pattern.wrapping_sub(address) < 0x1000;
    [(0xdead_c0de_dead_c0de, "0xdeadc0de"), (0xdead_c0de, "0xdeadc0de"), (0xa5a5_a5a5_a5a5_a5a5, "0xa5")]
        .into_iter()
        .find_map(|(pattern, name)| near(pattern).then_some(name))
}

fn is_user(architecture: Architecture, address: u64) -> bool {
    match architecture {
        Architecture::I386 => address < 0xc000_0000,
        _ => address < 1 << 56,
    }
}

/// Whether an address is in the pages below a thread's stack, which are left unmapped to catch what grows too large.
fn below_stack(crash: &Crash, thread: &Thread, address: u64) -> Option<String> {
    const GUARD: u64 = 64 << 10;
    let value = crash.thread_at(thread.address).ok()?;
    let stack = value.field("td_kstack").ok()?.unsigned().ok()?;
    let within = address < stack && stack - address <= GUARD;
    within.then(|| format!("{address:#x} is {} bytes below the thread's stack: the stack overflowed", stack - address))
}

/// The other threads that were running when the kernel stopped.
pub fn running<'p>(crash: &Crash, processes: &'p [Process]) -> Vec<&'p Thread> {
    let dumping = crash.dumping_thread().ok();
    let threads = processes.iter().flat_map(|process| &process.threads);
    let mut running: Vec<&threads::Thread> =
        threads.filter(|thread| thread.cpu.is_some() && Some(thread.tid) != dumping).collect();
    running.sort_by_key(|thread| thread.cpu);
    running
}
