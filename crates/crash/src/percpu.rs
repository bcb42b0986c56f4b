//! What there is once for each processor: `struct pcpu` (`sys/pcpu.h`), `DPCPU` variables, and memory that UMA hands out
//! in as many copies as there are processors.

use symbols::{Architecture, Type, Value};

use crate::dump::Crash;
use crate::error::{Error, Result};

/// Bytes between the copies of two processors (`UMA_PCPU_ALLOC_SIZE`).
const STEP: u64 = 4096;
/// More processors than these are not looked for (`MAXCPU` of the largest).
const MAX_CPUS: u64 = 4096;
/// Kernels of amd64 since this `__FreeBSD_version` keep such memory's address less that of `__pcpu`.
const RELATIVE: u64 = 1_300_080;

/// How the copies of the processors are found.
pub(crate) struct PerCpu {
    /// What is added to the address that the kernel keeps.
    base: u64,
    cpus: u64,
}

impl PerCpu {
    pub(crate) fn of(crash: &Crash) -> Self {
        let program = crash.program();
        let is_relative = program.architecture() == Architecture::Amd64 && version(crash) >= RELATIVE;
        let first = program.variable("__pcpu").and_then(|first| first.unsigned());
        let last = program.variable("mp_maxid").and_then(|last| last.unsigned()).unwrap_or(0);
        Self { base: if is_relative { first.unwrap_or(0) } else { 0 }, cpus: last.min(MAX_CPUS) + 1 }
    }

    /// How many processors there may be: their numbers are below.
    pub(crate) fn cpus(&self) -> u64 {
        self.cpus
    }

    /// The copies at an address that the kernel keeps.
    pub(crate) fn copies<'c>(&self, crash: &'c Crash, ty: &'c Type, address: u64) -> impl Iterator<Item = Value> + 'c {
        let first = address.wrapping_add(self.base);
        (0..self.cpus).map(move |cpu| crash.program().value(ty, first.wrapping_add(cpu * STEP)))
    }

    /// The sum of a `counter_u64_t` (`sys/counter.h`).
    pub(crate) fn counter(&self, crash: &Crash, address: u64) -> u64 {
        let first = address.wrapping_add(self.base);
        let copies = (0..self.cpus).map(|cpu| crash.program().read_unsigned(first.wrapping_add(cpu * STEP), 8));
        copies.filter_map(|copy| copy.ok()).fold(0, u64::wrapping_add)
    }
}

/// `__FreeBSD_version` of the kernel; 0 if it does not tell.
pub(crate) fn version(crash: &Crash) -> u64 {
    let program = crash.program();
    let symbol = program.symbol("osreldate");
    symbol.and_then(|symbol| program.read_unsigned(symbol.address, 4)).unwrap_or(0)
}

impl Crash {
    /// A variable of a processor: of its `struct pcpu`, by its name with or without `pc_`, such as `curthread`; or one
    /// that was defined by `DPCPU_DEFINE`.
    ///
    /// # Errors
    /// If there is none of this name, or no such processor.
    pub fn cpu_variable(&self, cpu: u64, name: &str) -> Result<Value> {
        let processor = self.cpu(cpu)?;
        for field in [name.to_owned(), format!("pc_{name}")] {
            if processor.resolved_type()?.has_field(&field) {
                return Ok(processor.field(&field)?);
            }
        }
        // `DPCPU_NAME` (`sys/pcpu.h`): the variable is the pattern that the copies were made of.
        let program = self.program();
        let pattern = program
            .variable(&format!("pcpu_entry_{name}"))
            .map_err(|_| Error::absent(format!("{name}: not in this kernel as a variable of a processor")))?;
        let offset = program.variable("dpcpu_off")?.element(cpu.into())?.unsigned()?;
        let address = pattern.address().unwrap_or(0).wrapping_add(offset);
        Ok(program.value(pattern.ty(), address))
    }

    /// Whether a processor has a variable of this name, by which the kernel's sources call it: fields of `struct pcpu`
    /// without `pc_`, and those of `DPCPU_DEFINE`.
    pub fn has_cpu_variable(&self, name: &str) -> bool {
        let program = self.program();
        program.symbol(&format!("pcpu_entry_{name}")).is_ok()
            || program.ty("struct pcpu").is_ok_and(|ty| ty.has_field(&format!("pc_{name}")))
    }
}
