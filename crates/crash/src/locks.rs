//! Locks (`sys/lock.h`): who holds which, who waits for whom, and who waits for each other for ever.
//!
//! A thread waits for a lock on a turnstile (mutexes, reader/writer locks) or sleeps on its address (sx locks, lockmgr's).
//! Readers of a lock are counted and not named, but for the one that the writer of a read-mostly lock waits for.
//! Which locks nobody waits for, and who holds them, only kernels with `WITNESS` know.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use symbols::{Type, Value};

use crate::dump::Crash;
use crate::error::Result;
use crate::percpu;
use crate::queue;
use crate::threads::{Process, Thread};

/// Longest name.
const NAME: usize = 256;
/// Locks that one thread holds.
const MAX_HELD: usize = 1024;

/// The locks that somebody waits for, and those that are known to be held.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Locks {
    /// Locks that somebody waits for.
    pub contested: Vec<Lock>,
    /// Locks that threads hold.
    pub held: Vec<Held>,
    /// Whether all locks that are held are known (`WITNESS`), or only those that somebody waits for.
    pub complete: bool,
    /// Who waits for whom: a waiting thread, the holder of what it waits for, and so on.
    pub chains: Vec<Chain>,
    /// Chains that lead back to where they began: a sentence each.
    pub deadlocks: Vec<String>,
    /// What could not be read, in sentences.
    pub problems: Vec<String>,
}

/// A lock.
#[derive(Clone, Debug, Serialize)]
pub struct Lock {
    /// Its name, which it was given when it was made.
    pub name: String,
    /// Its class: `sleep mutex`, `spin mutex`, `rw`, `sx`, `lockmgr`, `rm`.
    pub class: String,
    /// Where it is.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// The variable that it is, or is part of.
    pub symbol: Option<String>,
    /// How it is held.
    pub state: LockState,
    /// The thread that holds it alone.
    pub owner: Option<Party>,
    /// Threads that wait for it.
    pub waiters: Vec<Party>,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockState {
    /// By nobody.
    Free,
    /// By one thread alone.
    Exclusive,
    /// By so many threads together.
    Shared(u64),
    /// By the kernel itself, as buffers are while they are written (`LK_KERNPROC`).
    Kernel,
    /// By nobody any more: it was destroyed.
    Destroyed,
    /// It is of a class that is not known here.
    Unknown,
}

/// A thread that has to do with a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// Its number.
    pub tid: i64,
    /// Its name.
    pub name: String,
    /// The number of its process.
    pub pid: i64,
    /// The name of its process.
    pub process: String,
}

/// A lock that a thread holds.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The thread.
    pub thread: Party,
    /// The lock's name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Where it is.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
    /// Whether it holds it alone.
    pub exclusive: bool,
    /// Where it took it, if the kernel noted that: a file and line.
    pub taken: Option<String>,
}

/// Who waits for whom.
#[derive(Clone, Debug, Serialize)]
pub struct Chain {
    /// Each waits for a lock of the next; the last does not, unless it is a deadlock.
    pub links: Vec<ChainLink>,
    /// Whether the last waits for the first.
    pub deadlock: bool,
}

/// A thread of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct ChainLink {
    /// The thread.
    pub thread: Party,
    /// Its state, as `ps` has it.
    pub state: String,
    /// The name of the lock that it waits for; of the last, of what it sleeps on.
    pub waits: Option<String>,
    /// The lock's class; `None` if it is no lock.
    pub class: Option<String>,
    /// Where the lock is.
    #[serde(serialize_with = "crate::hex::maybe")]
    pub lock: Option<u64>,
}

impl Party {
    fn of(thread: &Thread) -> Self {
        let (tid, pid) = (thread.tid, thread.pid);
        Self { tid, name: thread.name.clone(), pid, process: thread.process.clone() }
    }
}

impl Locks {
    /// Reads the locks that these processes wait for and hold.
    pub fn of(crash: &Crash, processes: &[Process]) -> Self {
        let mut locks = Self::default();
        let reader = match Reader::new(crash, processes) {
            Ok(reader) => reader,
            Err(error) => {
                locks.problems.push(format!("locks: {error}"));
                return locks;
            }
        };
        let mut contested: BTreeMap<u64, Lock> = BTreeMap::new();
        let mut awaited: HashMap<i64, Awaited> = HashMap::new();
        for thread in processes.iter().flat_map(|process| &process.threads) {
            let (at, reads) = match reader.awaited(thread) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(error) => {
                    locks.problems.push(format!("the lock that thread {} waits for: {error}", thread.tid));
                    continue;
                }
            };
            if let std::collections::btree_map::Entry::Vacant(entry) = contested.entry(at) {
                match reader.lock(at) {
                    Ok(lock) => drop(entry.insert(lock)),
                    Err(error) => {
                        locks.problems.push(format!("lock at {at:#x}: {error}"));
                        continue;
                    }
                }
            }
            if let Some(lock) = contested.get_mut(&at) {
                lock.waiters.push(Party::of(thread));
                let holder = lock.owner.as_ref().map(|owner| owner.tid);
                let reads = reads.and_then(|thread| reader.threads.get(&thread)).map(|thread| thread.tid);
                awaited.insert(thread.tid, Awaited { lock: at, holder: holder.or(reads) });
            }
        }
        locks.witnessed(&reader, processes);
        if !locks.complete {
            for lock in contested.values() {
                locks.held.extend(lock.owner.clone().map(|thread| Held {
                    thread,
                    name: lock.name.clone(),
                    class: lock.class.clone(),
                    address: lock.address,
                    exclusive: true,
                    taken: None,
                }));
            }
        }
        locks.chain_up(processes, &contested, &awaited);
        locks.contested = contested.into_values().collect();
        locks
    }

    /// The locks that kernels with `WITNESS` note (`sys/kern/subr_witness.c`).
    fn witnessed(&mut self, reader: &Reader<'_>, processes: &[Process]) {
        let program = reader.crash.program();
        if program.symbol("witness_watch").is_err() {
            return;
        }
        let watches = program.variable("witness_watch").and_then(|watch| watch.integer()).unwrap_or(1);
        self.complete = watches > 0;
        for thread in processes.iter().flat_map(|process| &process.threads) {
            let list = reader.crash.thread_at(thread.address);
            let list = list.and_then(|value| Ok(value.field("td_sleeplocks")?));
            let spin = thread.cpu.and_then(|cpu| u64::try_from(cpu).ok());
            let spin = spin.and_then(|cpu| reader.crash.cpu_variable(cpu, "spinlocks").ok());
            for list in list.into_iter().chain(spin) {
                match reader.instances(&list) {
                    Ok(found) => self.held.extend(found.into_iter().map(|mut held| {
                        held.thread = Party::of(thread);
                        held
                    })),
                    Err(error) => self.problems.push(format!("locks that thread {} holds: {error}", thread.tid)),
                }
            }
        }
    }

    fn chain_up(&mut self, processes: &[Process], contested: &BTreeMap<u64, Lock>, awaited: &HashMap<i64, Awaited>) {
        let threads: HashMap<i64, &Thread> =
            processes.iter().flat_map(|process| &process.threads).map(|thread| (thread.tid, thread)).collect();
        let next = |tid: i64| awaited.get(&tid)?.holder;
        // Chains begin with threads that nobody waits for.
        let owners: HashSet<i64> = awaited.keys().filter_map(|tid| next(*tid)).collect();
        let mut starts: Vec<i64> = awaited.keys().copied().filter(|tid| !owners.contains(tid)).collect();
        starts.sort_unstable();
        let mut told: HashSet<i64> = HashSet::new();
        let mut rest: Vec<i64> = awaited.keys().copied().collect();
        rest.sort_unstable();
        for start in starts.into_iter().chain(rest) {
            if told.contains(&start) {
                continue;
            }
            let (mut links, mut seen, mut at) = (Vec::new(), Vec::new(), Some(start));
            while let Some(thread) = at.and_then(|tid| threads.get(&tid)) {
                seen.push(thread.tid);
                told.insert(thread.tid);
                let lock = awaited.get(&thread.tid).and_then(|awaited| contested.get(&awaited.lock));
                links.push(ChainLink {
                    thread: Party::of(thread),
                    state: thread.state.clone(),
                    waits: lock.map(|lock| lock.name.clone()).or_else(|| thread.wait.clone()),
                    class: lock.map(|lock| lock.class.clone()),
                    lock: lock.map(|lock| lock.address),
                });
                at = next(thread.tid).filter(|tid| !seen.contains(tid));
            }
            let back = seen.last().and_then(|last| next(*last));
            let cycle = back.and_then(|tid| seen.iter().position(|known| *known == tid));
            if let Some(circle) = cycle.and_then(|begin| links.get(begin..)) {
                let said = sentence(circle);
                if !self.deadlocks.contains(&said) {
                    self.deadlocks.push(said);
                }
            }
            self.chains.push(Chain { links, deadlock: cycle == Some(0) });
        }
    }
}

/// A circle of threads in words, from the smallest number on, so that it is told once.
fn sentence(circle: &[ChainLink]) -> String {
    let begin = (0..circle.len()).min_by_key(|at| circle.get(*at).map(|link| link.thread.tid)).unwrap_or(0);
    let (before, after) = circle.split_at(begin);
    let name = |link: &ChainLink| format!("{} ({})", link.thread.tid, link.thread.name);
    let parts = after.iter().chain(before).map(|link| {
        let (lock, class) = (link.waits.as_deref().unwrap_or("?"), link.class.as_deref().unwrap_or("lock"));
        format!("thread {} waits for {lock} ({class}) of ", name(link))
    });
    let first = after.first().map(|link| format!("thread {}", name(link))).unwrap_or_default();
    parts.collect::<String>() + &first
}

/// What a thread waits for.
struct Awaited {
    lock: u64,
    /// The number of the thread that it waits for: the lock's owner, or a reader that is known.
    holder: Option<i64>,
}

struct Reader<'c> {
    crash: &'c Crash,
    object: Type,
    /// Names of the classes, by index.
    classes: Vec<String>,
    /// Threads by address.
    threads: HashMap<u64, &'c Thread>,
    version: u64,
}

impl<'c> Reader<'c> {
    fn new(crash: &'c Crash, processes: &'c [Process]) -> Result<Self> {
        let program = crash.program();
        let object = program.ty("struct lock_object")?;
        let table = program.variable("lock_classes")?;
        let classes = table.elements(16)?.into_iter().map(|class| {
            let named = class.is_zero().is_ok_and(|none| !none);
            let name = named.then(|| class.field("lc_name").and_then(|name| name.string(NAME)).ok()).flatten();
            name.unwrap_or_default()
        });
        let threads = processes.iter().flat_map(|process| &process.threads);
        let threads = threads.map(|thread| (thread.address, thread)).collect();
        Ok(Self { crash, object, classes: classes.collect(), threads, version: percpu::version(crash) })
    }

    /// Where the lock is that a thread waits for, if it waits for one, and where the thread is that its turnstile says has
    /// it.
    fn awaited(&self, thread: &Thread) -> Result<Option<(u64, Option<u64>)>> {
        let value = self.crash.thread_at(thread.address)?;
        if thread.state == "L" {
            let turnstile = value.field("td_blocked")?;
            if !turnstile.is_zero()? {
                let lock = turnstile.field("ts_lockobj")?.unsigned()?;
                let owner = turnstile.field("ts_owner").and_then(|owner| owner.unsigned()).ok();
                return Ok((lock != 0).then_some((lock, owner)));
            }
        }
        // A lock that is spun for: FreeBSD 15 notes it.
        if thread.cpu.is_some() && value.resolved_type()?.has_field("td_wantedlock") {
            let lock = value.field("td_wantedlock")?.unsigned()?;
            return Ok((lock != 0).then_some((lock, None)));
        }
        let (Some(channel), "S" | "D") = (thread.channel, thread.state.as_str()) else { return Ok(None) };
        // Whoever waits for an sx lock or one of lockmgr sleeps on it, under its name; but lockmgr lets callers choose
        // another, as those who wait for buffers do (`BUF_TIMELOCK`).
        const INITIALIZED: u64 = 0x1_0000;
        let object = self.crash.program().value(&self.object, channel);
        let address =
            |value: symbols::Result<Value>| value.and_then(|value| value.unsigned()).ok().filter(|at| *at != 0);
        let same =
            || address(object.field("lo_name")).is_some_and(|name| address(value.field("td_wmesg")) == Some(name));
        let named = || {
            let flags = object.field("lo_flags").and_then(|flags| flags.unsigned()).unwrap_or(0);
            let name = object.field("lo_name").and_then(|name| name.string(NAME));
            flags & INITIALIZED != 0 && name.is_ok_and(|name| !name.is_empty() && !name.contains(char::is_control))
        };
        let is_lock = match self.class(&object).unwrap_or_default().as_str() {
            "sx" => same(),
            "lockmgr" => same() || named(),
            _ => false,
        };
        Ok(is_lock.then_some((channel, None)))
    }

    /// `LOCK_CLASS` (`sys/lock.h`).
    fn class(&self, object: &Value) -> Result<String> {
        let index = object.field("lo_flags")?.unsigned()? >> 24 & 0xf;
        let name = usize::try_from(index).ok().and_then(|index| self.classes.get(index));
        Ok(name.cloned().unwrap_or_default())
    }

    fn lock(&self, at: u64) -> Result<Lock> {
        let program = self.crash.program();
        let object = program.value(&self.object, at);
        let class = self.class(&object)?;
        let (state, owner) = self.holder(&class, at)?;
        Ok(Lock {
            name: object.field("lo_name")?.string(NAME)?,
            class,
            address: at,
            symbol: program.describe(at),
            state,
            owner: owner.and_then(|owner| self.threads.get(&owner)).map(|thread| Party::of(thread)),
            waiters: Vec::new(),
        })
    }

    /// How a lock is held, and the address of the thread that holds it alone: from the word of it, whose low bits are
    /// flags (`sys/mutex.h`, `sys/rwlock.h`, `sys/sx.h`, `sys/lockmgr.h`).
    fn holder(&self, class: &str, at: u64) -> Result<(LockState, Option<u64>)> {
        const SHARED: u64 = 1;
        let program = self.crash.program();
        let word = |ty: &str, field: &str| -> Result<u64> {
            Ok(program.value(&program.ty(ty)?, at).field(field)?.unsigned()?)
        };
        let exclusive = |owner: u64| match owner {
            0 => (LockState::Free, None),
            owner => (LockState::Exclusive, Some(owner)),
        };
        let mutex = |word: u64| match word & 7 {
            4..=7 if word & !7 == 0 => (LockState::Destroyed, None),
            _ => exclusive(word & !7),
        };
        let counted = |word: u64, shift: u32, destroyed: u64| match word {
            word if word == destroyed => (LockState::Destroyed, None),
            word if word & SHARED != 0 && word >> shift == 0 => (LockState::Free, None),
            word if word & SHARED != 0 => (LockState::Shared(word >> shift), None),
            word => exclusive(word & !0x1f),
        };
        Ok(match class {
            "sleep mutex" | "spin mutex" => mutex(word("struct mtx", "mtx_lock")?),
            "rw" => counted(word("struct rwlock", "rw_lock")?, 5, 6),
            "sx" => counted(word("struct sx", "sx_lock")?, 5, 6),
            "lockmgr" => {
                let word = word("struct lock", "lk_lock")?;
                // `LK_WRITER_RECURSED` made room in the flags with FreeBSD 13.
                let (shift, flags) = if self.version >= 1_300_000 { (5, 0x1f) } else { (4, 0xf) };
                let all = if program.architecture().word() == 4 { u64::from(u32::MAX) } else { u64::MAX };
                match word | flags == all {
                    true => (LockState::Kernel, None),
                    false => counted(word, shift, 0),
                }
            }
            "rm" | "sleepable rm" => {
                let lock = program.value(&program.ty("struct rmlock")?, at);
                // Those that a writer waits for: it has taken the lock within already (`kern_rmlock.c`).
                let readers = queue::elements(&lock.field("rm_activeReaders")?, "rmp_qentry");
                let readers = readers.map_or(0, |readers| readers.elements.len());
                let lock = lock.field("_rm_lock")?;
                match class {
                    _ if readers > 0 => (LockState::Shared(readers as u64), None),
                    "rm" => mutex(lock.path("_rm_lock_mtx.mtx_lock")?.unsigned()?),
                    _ => counted(lock.path("_rm_lock_sx.sx_lock")?.unsigned()?, 5, 6),
                }
            }
            _ => (LockState::Unknown, None),
        })
    }

    /// The locks of a `struct lock_list_entry`, the one taken last first.
    fn instances(&self, list: &Value) -> Result<Vec<Held>> {
        const EXCLUSIVE: u64 = 0x10000;
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut entry = list.clone();
        while !entry.is_zero()? && found.len() < MAX_HELD && seen.insert(entry.unsigned()?) {
            let children = entry.field("ll_children")?;
            let room = children.resolved_type()?.count().unwrap_or(0);
            let count = entry.field("ll_count")?.unsigned()?.min(room);
            for index in (0..count).rev() {
                let one = children.element(index.into())?;
                let at = one.field("li_lock")?.unsigned()?;
                let object = self.crash.program().value(&self.object, at);
                let file = one.field("li_file").and_then(|file| file.string(NAME)).ok();
                let line = one.field("li_line")?.unsigned()?;
                found.push(Held {
                    thread: Party { tid: 0, name: String::new(), pid: 0, process: String::new() },
                    name: object.field("lo_name")?.string(NAME)?,
                    class: self.class(&object)?,
                    address: at,
                    exclusive: one.field("li_flags")?.unsigned()? & EXCLUSIVE != 0,
                    taken: file.map(|file| format!("{file}:{line}")),
                });
            }
            entry = entry.field("ll_next")?;
        }
        Ok(found)
    }
}
