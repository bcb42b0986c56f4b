//! Processes and threads (`sys/proc.h`).

use std::collections::HashSet;

use serde::Serialize;
use symbols::{Registers, TypeKind, Value};

use crate::dump::Crash;
use crate::error::{Error, Result};
use crate::queue;
use crate::registers;
use crate::rescue;

/// Longest name of a process, thread or wait channel that is read.
const NAME: usize = 64;
/// More lists of processes by number than these are not looked through.
const MAX_HASH: u64 = 1 << 20;
/// More processors than these are not looked for.
const MAX_CPUS: u64 = 4096;

/// A process.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: i64,
    /// That of its parent; 0 if it has none.
    pub parent: i64,
    /// The user that it works for.
    pub uid: Option<u64>,
    /// Its name.
    pub name: String,
    /// As the `ps` of ddb(4) has it: `R`, `S`, `D`, `L`, `W`, `T`, `Z` ..., of its threads the first of `RLDSW` that one
    /// has; then `X` traced, `E` exiting, `V` parent waits for its vfork, `L` locked in memory, `s` session leader, `+`
    /// controlling terminal, `J` in a jail.
    pub state: String,
    /// The number of its process group.
    pub group: Option<i64>,
    /// Whether it is one of the kernel's own.
    pub system: bool,
    /// Where it is.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// Its threads.
    pub threads: Vec<Thread>,
}

/// A thread.
#[derive(Clone, Debug, Serialize)]
pub struct Thread {
    /// Its number.
    pub tid: i64,
    /// Its name.
    pub name: String,
    /// As `ps` has it.
    pub state: String,
    /// What it waits for: the message of a sleep, or the name of a lock.
    pub wait: Option<String>,
    /// Where it waits: the address that it sleeps on, or the turnstile of the lock.
    #[serde(serialize_with = "crate::hex::maybe")]
    pub channel: Option<u64>,
    /// The processor that it runs on.
    pub cpu: Option<i64>,
    /// Where it is.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// The number of its process.
    pub pid: i64,
    /// The name of its process.
    pub process: String,
}

/// Why a thread's registers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It wrote the dump: `dumppcb`.
    Dumping,
    /// It ran on another processor, which was stopped: `stoppcbs`.
    Stopped,
    /// It did not run: `td_pcb`.
    Switched,
}

/// All processes by number, zombies among them; and what stopped the walk, if something did.
///
/// # Errors
/// If the list of processes is not there.
pub fn processes(crash: &Crash) -> Result<(Vec<Process>, Vec<String>)> {
    let program = crash.program();
    let mut problems = Vec::new();
    let mut all = Vec::new();
    let list = queue::elements(&program.variable("allproc")?, "p_list")?;
    problems.extend(list.broken.map(|why| format!("processes: {why}")));
    let mut values = list.elements;
    values.extend(zombies(crash, &values));
    for value in &values {
        match process(crash, value, &mut problems) {
            Ok(process) => all.push(process),
            Err(error) => problems.push(format!("process at {:#x}: {error}", value.address().unwrap_or(0))),
        }
    }
    all.sort_by_key(|process| process.pid);
    Ok((all, problems))
}

/// Processes that have ended, which had a list of their own until FreeBSD 13; since then the table of numbers alone has
/// them.
fn zombies(crash: &Crash, known: &[Value]) -> Vec<Value> {
    let program = crash.program();
    if let Ok(list) = program.variable("zombproc")
        && let Ok(list) = queue::elements(&list, "p_list")
    {
        return list.elements;
    }
    let known: HashSet<Option<u64>> = known.iter().map(Value::address).collect();
    let mask = program.variable("pidhash").and_then(|mask| mask.unsigned());
    let Some((mask, table)) = mask.ok().zip(program.variable("pidhashtbl").ok()) else { return Vec::new() };
    let heads = (0..=mask.min(MAX_HASH)).map_while(|index| table.element(index.into()).ok());
    let lists = heads.filter(|head| head.field("lh_first").and_then(|first| first.is_zero()).is_ok_and(|empty| !empty));
    let found = lists.filter_map(|head| Some(queue::elements(&head, "p_hash").ok()?.elements));
    found.flatten().filter(|process| !known.contains(&process.address())).collect()
}

fn process(crash: &Crash, value: &Value, problems: &mut Vec<String>) -> Result<Process> {
    let name = value.field("p_comm")?.string(NAME)?;
    let pid = value.field("p_pid")?.integer()? as i64;
    let parent = value.field("p_pptr")?;
    let parent = if parent.is_zero()? { 0 } else { parent.field("p_pid")?.integer()? as i64 };
    let uid = value.path("p_ucred.cr_uid").and_then(|uid| uid.unsigned()).ok();
    let group = value.path("p_pgrp.pg_id").and_then(|group| group.integer()).ok();
    let list = queue::elements(&value.field("p_threads")?, "td_plist")?;
    problems.extend(list.broken.map(|why| format!("threads of process {pid}: {why}")));
    let mut threads = Vec::new();
    for element in &list.elements {
        match thread_of(element, pid, &name) {
            Ok(thread) => threads.push(thread),
            Err(error) => problems.push(format!("thread of process {pid}: {error}")),
        }
    }
    let flags = value.field("p_flag").and_then(|flags| flags.unsigned()).unwrap_or(0);
    Ok(Process {
        pid,
        parent,
        uid,
        name,
        state: state_of(crash, value, flags, &threads)?,
        group: group.map(|group| group as i64),
        system: flags & P_SYSTEM != 0,
        address: value.address().unwrap_or(0),
        threads,
    })
}

/// `P_SYSTEM` (`sys/proc.h`).
const P_SYSTEM: u64 = 0x200;

fn state_of(crash: &Crash, process: &Value, flags: u64, threads: &[Thread]) -> Result<String> {
    // `P_STOPPED_SIG`, `P_STOPPED_TRACE`, `P_STOPPED_SINGLE`.
    const STOPPED: u64 = 0xe0000;
    const IN_MEMORY: u64 = 0x1000_0000;
    const EXITS: u64 = 0x2000;
    let stage = process.field("p_state")?.enumerator()?;
    let is_zombie = stage.as_deref() == Some("PRS_ZOMBIE");
    let mut state = match stage.as_deref() {
        Some("PRS_ZOMBIE") => "Z",
        Some("PRS_NEW") => "N",
        _ if flags & STOPPED != 0 => "T",
        _ => ["R", "L", "D", "S", "W"]
            .into_iter()
            .find(|state| threads.iter().any(|thread| thread.state == *state))
            .unwrap_or("?"),
    }
    .to_owned();
    let is_set = |path: &str| process.path(path).and_then(|value| value.integer()).unwrap_or(0);
    let leads = || {
        let leader = process.path("p_pgrp.pg_session.s_leader").and_then(|leader| leader.unsigned());
        leader.is_ok_and(|leader| process.address() == Some(leader))
    };
    let is_jailed = || {
        let prison = process.path("p_ucred.cr_prison").and_then(|prison| prison.unsigned());
        let host = crash.program().symbol("prison0");
        matches!((prison, host), (Ok(prison), Ok(host)) if prison != 0 && prison != host.address)
    };
    // Kernels that swap processes out say when they did.
    let swapped = flags & IN_MEMORY == 0 && process.resolved_type()?.has_field("p_swtick");
    let more = [
        ('W', swapped),
        ('X', flags & 0x800 != 0),
        ('E', flags & EXITS != 0 && !is_zombie),
        ('V', flags & 0x10 != 0),
        ('L', flags & P_SYSTEM != 0 || is_set("p_lock") > 0),
        ('s', leads()),
        ('+', flags & 0x2 != 0),
        ('J', is_jailed()),
    ];
    state.extend(more.into_iter().filter_map(|(letter, holds)| holds.then_some(letter)));
    Ok(state)
}

/// What a `struct thread` says.
///
/// # Errors
/// If it cannot be read.
pub fn thread(value: &Value) -> Result<Thread> {
    let process = value.field("td_proc")?;
    let name = process.field("p_comm")?.string(NAME)?;
    thread_of(value, process.field("p_pid")?.integer()? as i64, &name)
}

fn thread_of(value: &Value, pid: i64, process: &str) -> Result<Thread> {
    // Inhibitors (`sys/proc.h`): what keeps a thread from running.
    const SUSPENDED: u64 = 0x1;
    const SLEEPING: u64 = 0x2;
    const LOCK: u64 = 0x8;
    const IWAIT: u64 = 0x10;
    let state = value.field("td_state")?.enumerator()?.unwrap_or_default();
    let inhibitors = value.field("td_inhibitors")?.unsigned()?;
    let cpu = value.field("td_oncpu")?.integer()? as i64;
    let text = |field: &str| value.field(field)?.string(NAME);
    let mut wait = None;
    let mut channel = None;
    let word = |field: &str| value.field(field).and_then(|word| word.unsigned()).ok().filter(|word| *word != 0);
    let state = match state.as_str() {
        "TDS_RUNNING" => "R",
        "TDS_CAN_RUN" | "TDS_RUNQ" => "R",
        "TDS_INHIBITED" if inhibitors & LOCK != 0 => {
            wait = text("td_lockname").ok();
            channel = word("td_blocked");
            "L"
        }
        "TDS_INHIBITED" if inhibitors & SLEEPING != 0 => {
            wait = text("td_wmesg").ok();
            channel = word("td_wchan");
            // `TDF_SINTR`: a signal may end the sleep.
            if value.field("td_flags")?.unsigned()? & 0x8 != 0 { "S" } else { "D" }
        }
        "TDS_INHIBITED" if inhibitors & IWAIT != 0 => "W",
        "TDS_INHIBITED" if inhibitors & SUSPENDED != 0 => "T",
        "TDS_INACTIVE" => "N",
        _ => "?",
    };
    let runs = value.field("td_state")?.enumerator()?.as_deref() == Some("TDS_RUNNING");
    Ok(Thread {
        tid: value.field("td_tid")?.integer()? as i64,
        name: text("td_name")?,
        state: state.to_owned(),
        wait: wait.filter(|wait| !wait.is_empty()),
        channel,
        cpu: runs.then_some(cpu).filter(|cpu| *cpu >= 0),
        address: value.address().unwrap_or(0),
        pid,
        process: process.to_owned(),
    })
}

impl Crash {
    /// The `struct thread` at an address.
    ///
    /// # Errors
    /// If the kernel has no such type.
    pub fn thread_at(&self, address: u64) -> Result<Value> {
        Ok(self.program().value(&self.program().ty("struct thread")?, address))
    }

    /// The number of the thread that wrote the dump, which is the one that panicked.
    ///
    /// # Errors
    /// If it cannot be read, or no dump was being written.
    pub fn dumping_thread(&self) -> Result<i64> {
        let program = self.program();
        let tid = match (program.variable("dumptid"), program.symbol("dumptid")) {
            (Ok(tid), _) => tid.integer()?,
            // `lwpid_t` (`sys/_types.h`).
            (Err(_), Ok(symbol)) => i128::from(program.read_unsigned(symbol.address, 4)? as i32),
            (Err(error), Err(_)) => return Err(error.into()),
        };
        match tid as i64 {
            // Of a live kernel it is the one that the stub looks at.
            0 => self.live_thread(),
            tid => Ok(tid),
        }
    }

    /// The registers of the thread that wrote the dump (`dumppcb`, `sys/kern/kern_shutdown.c`).
    ///
    /// # Errors
    /// If they cannot be read, or there are none.
    pub fn dumping_registers(&self) -> Result<Registers> {
        let registers = registers::of_saved_pcb(&crate::saved::Saved::pcb(self.program(), "dumppcb")?)?;
        match registers.pc() {
            Some(0) | None => Err(Error::absent("dumppcb is empty: no dump was being written")),
            Some(_) => Ok(rescue::innermost(self.program(), registers)),
        }
    }

    /// The registers with which a thread goes on, and where they were saved.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn thread_registers(&self, thread: &Thread) -> Result<(Registers, Saved)> {
        let program = self.program();
        if let Some(registers) = self.processors.as_ref().and_then(|processors| processors.registers(thread)) {
            return Ok((registers, Saved::Stopped));
        }
        if self.dumping_thread().is_ok_and(|tid| tid == thread.tid)
            && let Ok(registers) = self.dumping_registers()
        {
            return Ok((registers, Saved::Dumping));
        }
        if let Some(cpu) = thread.cpu
            && let Ok(stopped) = program.variable("stoppcbs")
        {
            // An array, and in newer kernels a pointer to one.
            let saved = match stopped.resolved_type()?.kind() {
                TypeKind::Pointer if stopped.is_zero()? => None,
                _ => Some(registers::of_pcb(&stopped.element(cpu.into())?)?),
            };
            if let Some(registers) = saved.filter(|registers| registers.pc().is_some_and(|pc| pc != 0)) {
                return Ok((registers, Saved::Stopped));
            }
        }
        let pcb = self.thread_at(thread.address)?.field("td_pcb")?;
        Ok((registers::of_pcb(&pcb.deref()?)?, Saved::Switched))
    }

    /// How many processors the kernel had.
    ///
    /// # Errors
    /// If it does not say so.
    pub fn cpus(&self) -> Result<u64> {
        Ok(self.program().variable("mp_ncpus")?.unsigned()?.min(MAX_CPUS))
    }

    /// The `struct pcpu` of a processor.
    ///
    /// # Errors
    /// If there is none.
    pub fn cpu(&self, number: u64) -> Result<Value> {
        let pointer = self.program().variable("cpuid_to_pcpu")?.element(number.into())?;
        match pointer.is_zero()? {
            true => Err(Error::absent(format!("there is no processor {number}"))),
            false => Ok(pointer.deref()?),
        }
    }
}
