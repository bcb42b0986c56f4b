//! What the kernel died of.

use serde::Serialize;
use symbols::Architecture;

use crate::dump::Crash;
use crate::locks::{Held, Lock, Locks};
use crate::stack::{Stack, Trap};
use crate::threads::{self, Process, Saved, Thread};

/// Longest message.
const MESSAGE: usize = 1024;

/// What the kernel died of, and who did it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Panic {
    /// The message; `None` if the kernel did not panic but was asked for a dump, or if nothing that has it is readable.
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
    /// The locks that the thread held, as far as they are known.
    pub held: Vec<Held>,
    /// The lock that it waited for.
    pub awaited: Option<Lock>,
}

/// The message of the panic, from memory or else from the dump's header; where memory cannot be read, as it was printed.
pub fn message(crash: &Crash) -> Option<String> {
    let program = crash.program();
    let told = |text: &String| !text.is_empty();
    let pointer = program.symbol("panicstr").and_then(|symbol| program.read_word(symbol.address));
    let text = match &pointer {
        Ok(0) => Ok(Vec::new()),
        Ok(at) => program.read_string(*at, MESSAGE).map_err(|_| ()),
        Err(_) => Err(()),
    };
    let is_damaged = text.is_err();
    let text = text.ok().map(|text| String::from_utf8_lossy(&text).into_owned()).filter(told);
    let header = || crash.header().map(|header| header.panic_string.clone()).filter(told);
    // Not of a kernel that is known not to have panicked: the buffer has the lines of earlier boots.
    text.or_else(header).or_else(|| if is_damaged { printed_message(crash) } else { None })
}

/// The last panic in the message buffer.
fn printed_message(crash: &Crash) -> Option<String> {
    let messages = crate::messages::messages(crash).ok()?;
    messages.text.lines().rev().find_map(|line| line.strip_prefix("panic: ").map(str::to_owned))
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
            held: Vec::new(),
            awaited: None,
        }
    }

    /// Picks the locks of the thread that panicked out of all.
    pub(crate) fn take_locks(&mut self, locks: &Locks) {
        let Some(tid) = self.thread else { return };
        self.held = locks.held.iter().filter(|held| held.thread.tid == tid).cloned().collect();
        let waits = |lock: &&Lock| lock.waiters.iter().any(|waiter| waiter.tid == tid);
        self.awaited = locks.contested.iter().find(waits).cloned();
    }
}

/// The stack of the thread that wrote the dump, also where threads cannot be found.
pub fn stack(crash: &Crash, thread: Option<&Thread>) -> crate::Result<(Stack, Saved)> {
    let (registers, saved) = match thread {
        Some(thread) => crash.thread_registers(thread)?,
        None => (crash.dumping_registers()?, Saved::Dumping),
    };
    let mut stack = crash.stack(&registers, true);
    // What `data_abort()` was called with.
    let given = stack.frames.iter().filter(|frame| frame.function.as_deref() == Some("data_abort"));
    let given = given.flat_map(|frame| &frame.arguments).find(|argument| argument.name == "far" && argument.known);
    let given = given.and_then(|argument| argument.value.parse().ok());
    let trap = stack.frames.iter_mut().filter_map(|frame| frame.trap.as_mut()).find(|trap| !trap.user);
    if let Some(trap) = trap
        && trap.fault_address.is_none()
        && crash.program().architecture() == Architecture::Arm64
        && matches!(trap.number, Some(0x24 | 0x25))
    {
        trap.fault_address = given.or_else(|| printed_address(crash));
    }
    Ok((stack, saved))
}

/// The address of a fault as the kernel printed it: of kernels that do not keep it (arm64 before FreeBSD 14.0).
fn printed_address(crash: &Crash) -> Option<u64> {
    let hexadecimal = |text: &str| {
        let word = text.split_whitespace().next()?;
        u64::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok()
    };
    let messages = crate::messages::messages(crash).ok()?;
    let printed = messages.unread.lines().rev().find_map(|line| hexadecimal(line.trim_start().strip_prefix("far:")?));
    printed.or_else(|| hexadecimal(message(crash)?.split_once("addr: ")?.1))
}

/// What the address of a fault means, in a sentence.
fn explain(crash: &Crash, trap: &Trap, thread: Option<&Thread>) -> Option<String> {
    let architecture = crash.program().architecture();
    if architecture == Architecture::Amd64 && trap.number == Some(23) {
        return Some(explain_double_fault(crash, trap, thread));
    }
    // Of a general protection fault the processor does not tell the address: a register has it.
    let Some(address) = trap.fault_address else { return explain_protection(crash, trap) };
    if address == trap.pc {
        return Some(match address {
            0 => "a function was called through a null pointer".to_owned(),
            _ => match freed(address) {
                Some(pattern) => format!(
                    "{address:#x} was called or jumped to: it is made of {pattern}, a pointer out of memory that was freed, likely"
                ),
                None => format!("{address:#x} was called or jumped to, where there is no code"),
            },
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
    if let Some(guard) = thread.and_then(|thread| near_stack(crash, thread, address)) {
        return Some(format!("{address:#x} is {guard}: the stack overflowed"));
    }
    if is_user(architecture, address) {
        return Some(format!("{address:#x} is a user's address, which the kernel reached for without copyin"));
    }
    if !is_canonical(architecture, address) {
        return Some(format!("{address:#x} cannot be an address: a pointer was overwritten"));
    }
    if crash.program().image_at(address).is_some() {
        let place = crash.program().describe(address).unwrap_or_default();
        return Some(format!("{address:#x} is {place}, which may not be reached in that way (written to, likely)"));
    }
    if let Some(module) = unloaded(crash, address) {
        return Some(module);
    }
    if let Some(direct) = crash.dump().and_then(|dump| dump.memory.direct_map())
        && (direct.start..direct.end).contains(&address)
    {
        let physical = address - direct.start + direct.physical;
        return Some(format!("{address:#x} is in the direct map (physical {physical:#x}), where there is no memory"));
    }
    Some(format!("{address:#x} is not mapped: memory that was freed, or a module that was unloaded, or a wild pointer"))
}

/// A processor reports a double fault when it cannot report a fault: as a rule, as the stack has no room for it.
fn explain_double_fault(crash: &Crash, trap: &Trap, thread: Option<&Thread>) -> String {
    let place = thread.and_then(|thread| near_stack(crash, thread, trap.sp));
    match place {
        Some(place) => format!("the thread's stack overflowed: its stack pointer {:#x} is {place}", trap.sp),
        None => format!(
            "a fault could not be handled, often as the stack had overflowed (the stack pointer was {:#x})",
            trap.sp
        ),
    }
}

/// Registers that cannot be addresses, or that are made of what fills freed memory.
fn explain_protection(crash: &Crash, trap: &Trap) -> Option<String> {
    if trap.number != Some(9) || crash.program().architecture() != Architecture::Amd64 {
        return None;
    }
    let frame = crate::saved::Saved::trap_frame(crash.program(), trap.frame)?;
    let (saved, _) = crate::registers::of_trap_frame(&frame).ok()?;
    let wrong = saved.known().find_map(|(name, value)| {
        let pattern = freed(value).filter(|_| value >> 32 != 0);
        match pattern {
            Some(pattern) => {
                Some(format!("{name} is {value:#x}, made of {pattern}: memory was used after it was freed"))
            }
            None if !is_canonical(Architecture::Amd64, value) && name != "rip" => {
                Some(format!("{name} is {value:#x}, which cannot be an address: a pointer was overwritten, likely"))
            }
            None => None,
        }
    });
    wrong.or_else(|| Some("a general protection fault: an instruction or an address that is not allowed".to_owned()))
}

/// A module that is gone, or whose file was not found, has left its place in the list of files.
fn unloaded(crash: &Crash, address: u64) -> Option<String> {
    let modules = crate::modules::modules(crash).ok()?;
    let within = |module: &&crate::modules::Module| {
        module.size < 1 << 40 && (module.address..module.address.saturating_add(module.size)).contains(&address)
    };
    let module = modules.iter().find(within)?;
    Some(format!("{address:#x} is {:#x} bytes into {}", address - module.address, module.name))
}

/// Whether an address can be one: the highest bits of it are all the same.
fn is_canonical(architecture: Architecture, address: u64) -> bool {
    match architecture {
        // With 57 bits of five-level paging.
        Architecture::Amd64 | Architecture::Riscv64 => matches!(address as i64 >> 56, 0 | -1),
        Architecture::Arm64 => matches!(address >> 52, 0 | 0xfff),
        Architecture::I386 => true,
    }
}

/// `sys/kern/kern_malloc.c`, `sys/vm/uma_dbg.c`: what freed memory is filled with under INVARIANTS.
fn freed(address: u64) -> Option<&'static str> {
    let near = |pattern: u64| address.wrapping_sub(pattern) < 0x1000 || pattern.wrapping_sub(address) < 0x1000;
    [(0xdead_c0de_dead_c0de, "0xdeadc0de"), (0xdead_c0de, "0xdeadc0de"), (0xa5a5_a5a5_a5a5_a5a5, "0xa5")]
        .into_iter()
        .find_map(|(pattern, name)| near(pattern).then_some(name))
}

/// Whether an address is one of user programs.
pub(crate) fn is_user(architecture: Architecture, address: u64) -> bool {
    match architecture {
        // Since FreeBSD 12 its kernels have an address space of their own: the same numbers may be either's.
        Architecture::I386 => false,
        _ => address < 1 << 56,
    }
}

/// Where an address lies if it is at the end of a thread's stack, or in the pages below it, which are left unmapped to
/// catch what grows too large.
fn near_stack(crash: &Crash, thread: &Thread, address: u64) -> Option<String> {
    const GUARD: u64 = 64 << 10;
    const END: u64 = 256;
    let value = crash.thread_at(thread.address).ok()?;
    let stack = value.field("td_kstack").ok()?.unsigned().ok().filter(|stack| *stack != 0)?;
    if address < stack && stack - address <= GUARD {
        return Some(format!("{} bytes below the thread's stack", stack - address));
    }
    (address >= stack && address - stack < END).then(|| format!("{} bytes from the stack's end", address - stack))
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
