//! Memory and registers of a live kernel, by the stub's answers.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crash::live::{Current, Processors};
use crash::threads::Thread;
use gdb_remote::{Client, Error, ThreadId};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use symbols::{Architecture, MemoryError, Registers};

use super::connection::Connection;
use crate::failure::Failure;

/// Blocks of memory that are kept.
const MOST_BLOCKS: usize = 16 << 10;
/// Threads of a FreeBSD kernel have numbers from here on: a stub that counts so is the kernel's own.
const FIRST_THREAD: ThreadId = 100_000;
/// Bytes of memory that are read at a time.
const PAGE: u64 = 4096;
/// The same where a serial line has to carry them.
const SERIAL: u64 = 256;
/// Processors that are asked for their registers.
const MOST_PROCESSORS: usize = 1024;

type Line = Client<BufReader<Box<dyn Read + Send>>, Box<dyn Write + Send>>;

/// A stub that is asked.
pub(super) struct Stub {
    place: String,
    architecture: Architecture,
    /// Whose threads the stub has.
    threads: Threads,
    current: Current,
    block: u64,
    state: Mutex<State>,
}

enum Threads {
    /// The kernel's: it has a stub of its own, and stood still before.
    Kernel(Vec<ThreadId>),
    /// Processors, in their order, with their registers: the stub is a machine's, which stopped for us.
    Processors(Vec<Registers>),
}

struct State {
    /// Until the stub was left.
    line: Option<Line>,
    /// Memory by address, as it stands still; `None` for what cannot be read.
    blocks: HashMap<u64, Option<Box<[u8]>>>,
}

impl Stub {
    pub(super) fn connect(line: Connection, architecture: Architecture, place: &str) -> Result<Self, Failure> {
        let failed = |error: Error| Failure::work(format_args!("{place}"), error);
        let Connection { from, to } = line;
        let remote = remote(architecture);
        let mut line = Client::connect(BufReader::new(from), to, remote).map_err(failed)?;
        let ids = line.threads().map_err(failed)?;
        let current = line.current().map_err(failed)?;
        let (threads, current) = if ids.iter().any(|id| *id >= FIRST_THREAD) {
            let current = current.or(ids.first().copied()).unwrap_or(FIRST_THREAD);
            (Threads::Kernel(ids), Current::Thread(i64::try_from(current).unwrap_or(i64::MAX)))
        } else {
            let mut all = Vec::new();
            for id in ids.iter().take(MOST_PROCESSORS) {
                all.push(registers(architecture, &line.registers(*id).map_err(failed)?));
            }
            // A processor that runs a user's program may have page tables without the kernel in them.
            let in_kernel = |registers: &Registers| registers.pc().is_some_and(|pc| is_kernel(architecture, pc));
            let chosen = all.iter().position(in_kernel).unwrap_or(0);
            if let Some(id) = ids.get(chosen) {
                line.select(*id).map_err(failed)?;
            }
            (Threads::Processors(all), Current::Cpu(chosen as u64))
        };
        // A kernel's own stub has a serial line behind it, whatever leads there.
        let block = if matches!(threads, Threads::Kernel(_)) { SERIAL } else { PAGE };
        let state = Mutex::new(State { line: Some(line), blocks: HashMap::new() });
        Ok(Self { place: place.to_owned(), architecture, threads, current, block, state })
    }

    /// Lets a machine go on that was stopped for us.
    pub(super) fn leave(&self) -> Result<(), Failure> {
        let Some(mut line) = self.state().line.take() else { return Ok(()) };
        if matches!(self.threads, Threads::Kernel(_)) {
            return Ok(());
        }
        // A machine that was started with -S waits for somebody else.
        if line.monitor("info status").is_ok_and(|status| status.contains("prelaunch")) {
            say(&format!("{}: the machine was not started yet, and still is not", self.place));
            return Ok(());
        }
        line.detach().map_err(|error| Failure::work(&self.place, error))?;
        say(&format!("{}: the machine stood still while it was read, and goes on now", self.place));
        Ok(())
    }

    /// Does the same when a signal ends the program.
    pub(super) fn go_on_when_interrupted(self: &Arc<Self>) {
        let stub = self.clone();
        let Ok(mut signals) = Signals::new([SIGINT, SIGHUP, SIGTERM]) else { return };
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // The program ends in any case.
                let _ = stub.leave();
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read(&mut self, address: u64, buf: &mut [u8]) -> Result<usize, String> {
        let line = self.line.as_mut().ok_or("the stub was left")?;
        line.read(address, buf).map_err(|error| error.to_string())
    }

    /// The block of memory at an address.
    fn block(&mut self, address: u64, size: u64) -> Result<Option<&[u8]>, String> {
        if !self.blocks.contains_key(&address) {
            if self.blocks.len() >= MOST_BLOCKS {
                self.blocks.clear();
            }
            let mut block = vec![0; usize::try_from(size).unwrap_or(0)];
            let whole = self.read(address, &mut block)? == block.len();
            self.blocks.insert(address, whole.then(|| block.into_boxed_slice()));
        }
        Ok(self.blocks.get(&address).and_then(|block| block.as_deref()))
    }
}

impl symbols::Memory for Stub {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let mut state = self.state();
        let mut done = 0;
        while done < buf.len() {
            let at = address.wrapping_add(done as u64);
            let within = at % self.block;
            let length = usize::try_from(self.block - within).unwrap_or(usize::MAX).min(buf.len() - done);
            let place = buf.get_mut(done..done + length).unwrap_or_default();
            let fault = |reason: String| MemoryError { address: at, reason };
            let start = usize::try_from(within).unwrap_or(0);
            match state
                .block(at - within, self.block)
                .map_err(fault)?
                .and_then(|block| block.get(start..start + length))
            {
                Some(bytes) => place.copy_from_slice(bytes),
                // A part of the block may be there.
                None => match state.read(at, place).map_err(fault)? {
                    read if read == length => {}
                    read => {
                        let address = at.wrapping_add(read as u64);
                        return Err(MemoryError { address, reason: "the stub cannot read it".to_owned() });
                    }
                },
            }
            done += length;
        }
        Ok(())
    }
}

impl Processors for Stub {
    fn current(&self) -> Current {
        self.current
    }

    fn registers(&self, thread: &Thread) -> Option<Registers> {
        match &self.threads {
            Threads::Processors(all) => {
                let known = all.get(usize::try_from(thread.cpu?).ok()?)?;
                Some(*known)
            }
            Threads::Kernel(ids) => {
                let id = u64::try_from(thread.tid).ok().filter(|id| ids.contains(id))?;
                let values = self.state().line.as_mut()?.registers(id).ok()?;
                let known = registers(self.architecture, &values);
                known.pc().is_some_and(|pc| pc != 0).then_some(known)
            }
        }
    }
}

fn say(text: &str) {
    anstream::eprintln!("tine: {text}");
}

fn remote(architecture: Architecture) -> gdb_remote::Architecture {
    match architecture {
        Architecture::Amd64 => gdb_remote::Architecture::Amd64,
        Architecture::Arm64 => gdb_remote::Architecture::Arm64,
        Architecture::I386 => gdb_remote::Architecture::I386,
        Architecture::Riscv64 => gdb_remote::Architecture::Riscv64,
    }
}

/// Whether an address is in the half that kernels have. Those of i386 have an address space of their own, whose numbers
/// tell nothing.
fn is_kernel(architecture: Architecture, address: u64) -> bool {
    architecture == Architecture::I386 || address >> 63 == 1
}

/// Registers by the stub's numbers, under the names that they have here.
fn registers(architecture: Architecture, values: &[Option<u64>]) -> Registers {
    let mut registers = Registers::new(architecture);
    for (register, value) in remote(architecture).registers().iter().zip(values) {
        let Some(value) = *value else { continue };
        match (architecture, register.name) {
            (_, "rip" | "eip" | "pc") => registers.set(architecture.pc(), value),
            (_, "rsp" | "esp" | "sp") => registers.set(architecture.sp(), value),
            (Architecture::Arm64, "x29") | (Architecture::Riscv64, "fp") => registers.set(architecture.fp(), value),
            (_, name) => drop(registers.set_by_name(name, value)),
        }
    }
    registers
}
