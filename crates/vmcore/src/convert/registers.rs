//! The registers of a thread, by the names that debuggers have for them.

use std::collections::BTreeMap;

use super::Error;
use crate::arch::{Architecture, Fields};
use crate::memory::VirtualMemory;

/// The registers of a thread that are known, by their names (amd64 `rip`, arm64 `x19`, ...). The others are taken to be
/// zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers(BTreeMap<String, u64>);

impl Registers {
    /// No register at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a register.
    pub fn set(&mut self, name: &str, value: u64) {
        self.0.insert(name.to_string(), value);
    }

    /// The value of a register, if it is known.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// The registers in a process control block (`struct pcb`) at a virtual address, such as `dumppcb`: amd64, i386 and
    /// riscv64, where the layout has not changed in FreeBSD 10 to 15 (`sys/*/include/pcb.h` promises so to debuggers).
    ///
    /// # Errors
    /// If it cannot be read, or the architecture is another.
    pub fn from_pcb(memory: &impl VirtualMemory, address: u64) -> Result<Self, Error> {
        let architecture = memory.memory().architecture();
        let names: &[&str] = match architecture {
            Architecture::Amd64 => &["r15", "r14", "r13", "r12", "rbp", "rsp", "rbx", "rip", "fs_base", "gs_base"],
            Architecture::I386 => &["edi", "esi", "ebp", "esp", "ebx", "eip"],
            Architecture::Riscv64 => {
                &["ra", "sp", "gp", "tp", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11"]
            }
            _ => return Err(Error::Layout { architecture }),
        };
        let size = architecture.pointer_size();
        let mut bytes = vec![0; names.len() * size];
        memory.read_exact(address, &mut bytes)?;
        let fields = Fields::new(&bytes, memory.memory().byte_order());
        let mut registers = Self::new();
        for (at, name) in names.iter().enumerate() {
            registers.set(name, fields.word(at * size, size));
        }
        let (code, data) = match architecture {
            Architecture::Amd64 => (Some(0x20), Some(0x28)),
            Architecture::I386 => (Some(0x20), Some(0x28)),
            _ => (None, None),
        };
        // The selectors of the kernel's segments: `GCODE_SEL` and `GDATA_SEL` of `machine/segments.h`.
        for (name, value) in [("cs", code), ("ss", data)] {
            if let Some(value) = value {
                registers.set(name, value);
            }
        }
        if architecture == Architecture::Riscv64 {
            // What is saved is where the call returns to.
            registers.set("pc", registers.get("ra").unwrap_or_default());
        }
        Ok(registers)
    }
}
