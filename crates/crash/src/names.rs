//! Names that expressions have in a kernel beside those of its variables.

use symbols::{Error, Names, Program, Value};

use crate::dump::Crash;

/// Registers that have the address of code or of the stack.
const ADDRESSES: [&str; 8] = ["pc", "rip", "eip", "sp", "rsp", "esp", "rbp", "ebp"];

/// `curthread` and others of `struct pcpu`, and `DPCPU` variables, are those of a processor; `V_ifnet` and the like those
/// of the host's network stack. `$td`, `$proc` and `$tid` are of the thread that panicked, `$pcpu` and `$cpu` of the
/// processor, `$rip` and others the registers with which the dump was written.
pub struct KernelNames<'c> {
    crash: &'c Crash,
    cpu: Option<u64>,
}

impl<'c> KernelNames<'c> {
    /// The names of a kernel; the processor is the one given, or that which panicked.
    pub fn new(crash: &'c Crash, cpu: Option<u64>) -> Self {
        Self { crash, cpu }
    }

    fn cpu(&self) -> crate::Result<u64> {
        match self.cpu {
            Some(cpu) => Ok(cpu),
            None => {
                let cpu = self.panicking()?.field("td_oncpu")?.integer()?;
                Ok(u64::try_from(cpu).unwrap_or(0))
            }
        }
    }

    /// The thread that panicked.
    fn panicking(&self) -> crate::Result<Value> {
        let tid = self.crash.dumping_thread()?;
        let (all, _) = crate::threads::processes(self.crash)?;
        let found = all.iter().flat_map(|process| &process.threads).find(|thread| thread.tid == tid);
        let found = found.ok_or_else(|| crate::Error::absent(format!("thread {tid}, which panicked, is not known")))?;
        self.crash.thread_at(found.address)
    }
}

impl Names for KernelNames<'_> {
    fn variable(&self, program: &Program, name: &str) -> symbols::Result<Option<Value>> {
        let unavailable = |error| unavailable(name, error);
        if let Some(name) = name.strip_prefix("V_").filter(|_| program.symbol(name).is_err()) {
            let stack = self.crash.vnets().first().copied().flatten();
            let found = self.crash.vnet_variable(stack, name);
            return found.map(Some).map_err(unavailable);
        }
        if program.symbol(name).is_ok() || !self.crash.has_cpu_variable(name) {
            return Ok(None);
        }
        let found = self.cpu().and_then(|cpu| self.crash.cpu_variable(cpu, name));
        found.map(Some).map_err(unavailable)
    }

    fn dollar(&self, program: &Program, name: &str) -> symbols::Result<Option<Value>> {
        let unavailable = |error| unavailable(&format!("${name}"), error);
        match name {
            "tid" => {
                let tid = self.crash.dumping_thread().map_err(unavailable)?;
                program.evaluate(&tid.to_string(), &()).map(Some)
            }
            "td" => self.panicking().map_err(unavailable)?.address_of().map(Some),
            "proc" => self.panicking().map_err(unavailable)?.field("td_proc").map(Some),
            "cpu" => {
                let cpu = self.cpu().map_err(unavailable)?;
                program.evaluate(&cpu.to_string(), &()).map(Some)
            }
            "pcpu" => {
                let processor = self.cpu().and_then(|cpu| self.crash.cpu(cpu)).map_err(unavailable)?;
                processor.address_of().map(Some)
            }
            _ => {
                let registers = self.crash.dumping_registers().map_err(unavailable)?;
                match registers.by_name(name) {
                    Some(value) => {
                        let cast = if ADDRESSES.contains(&name) { "(void *)" } else { "" };
                        program.evaluate(&format!("{cast}{value:#x}"), &()).map(Some)
                    }
                    None => Ok(None),
                }
            }
        }
    }
}

fn unavailable(name: &str, error: crate::Error) -> Error {
    match error {
        crate::Error::Symbols(error) => error,
        error => Error::Unavailable { what: name.to_owned(), why: format!("is not known: {error}") },
    }
}
