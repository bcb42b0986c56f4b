//! Structures in which a kernel saves registers: `struct pcb` and `struct trapframe` (`sys/*/include/pcb.h`, `frame.h`).
//!
//! Their fields are found by debug information. A kernel without it has them where FreeBSD 10 to 15 have all had them:
//! assembler knows them by their offsets, so that they hardly move.

use symbols::{Architecture, Program, Value};

use crate::error::{Error, Result};

/// Name, offset and size in bytes of a field; of an array, the size of an element.
type Layout = [(&'static str, u64, u8)];

const AMD64_PCB: &Layout = &[
    ("pcb_r15", 0, 8),
    ("pcb_r14", 8, 8),
    ("pcb_r13", 16, 8),
    ("pcb_r12", 24, 8),
    ("pcb_rbp", 32, 8),
    ("pcb_rsp", 40, 8),
    ("pcb_rbx", 48, 8),
    ("pcb_rip", 56, 8),
];
const I386_PCB: &Layout = &[
    ("pcb_edi", 0, 4),
    ("pcb_esi", 4, 4),
    ("pcb_ebp", 8, 4),
    ("pcb_esp", 12, 4),
    ("pcb_ebx", 16, 4),
    ("pcb_eip", 20, 4),
];
const RISCV_PCB: &Layout =
    &[("pcb_ra", 0, 8), ("pcb_sp", 8, 8), ("pcb_gp", 16, 8), ("pcb_tp", 24, 8), ("pcb_s", 32, 8)];
/// All registers, until FreeBSD 14: the link register is the last.
const ARM64_PCB: &Layout = &[("pcb_x", 0, 8), ("pcb_lr", 240, 8), ("pcb_sp", 256, 8)];
/// From the nineteenth on, since FreeBSD 15.
const ARM64_SHORT_PCB: &Layout = &[("pcb_x", 0, 8), ("pcb_lr", 88, 8), ("pcb_sp", 96, 8)];

const AMD64_FRAME: &Layout = &[
    ("tf_rdi", 0, 8),
    ("tf_rsi", 8, 8),
    ("tf_rdx", 16, 8),
    ("tf_rcx", 24, 8),
    ("tf_r8", 32, 8),
    ("tf_r9", 40, 8),
    ("tf_rax", 48, 8),
    ("tf_rbx", 56, 8),
    ("tf_rbp", 64, 8),
    ("tf_r10", 72, 8),
    ("tf_r11", 80, 8),
    ("tf_r12", 88, 8),
    ("tf_r13", 96, 8),
    ("tf_r14", 104, 8),
    ("tf_r15", 112, 8),
    ("tf_trapno", 120, 4),
    ("tf_addr", 128, 8),
    ("tf_err", 144, 8),
    ("tf_rip", 152, 8),
    ("tf_cs", 160, 8),
    ("tf_rsp", 176, 8),
];
const I386_FRAME: &Layout = &[
    ("tf_edi", 12, 4),
    ("tf_esi", 16, 4),
    ("tf_ebp", 20, 4),
    ("tf_ebx", 28, 4),
    ("tf_edx", 32, 4),
    ("tf_ecx", 36, 4),
    ("tf_eax", 40, 4),
    ("tf_trapno", 44, 4),
    ("tf_err", 48, 4),
    ("tf_eip", 52, 4),
    ("tf_cs", 56, 4),
    ("tf_esp", 64, 4),
];
/// Since FreeBSD 15.
const ARM64_FRAME: &Layout = &[
    ("tf_sp", 0, 8),
    ("tf_lr", 8, 8),
    ("tf_elr", 16, 8),
    ("tf_spsr", 24, 8),
    ("tf_esr", 32, 8),
    ("tf_far", 40, 8),
    ("tf_x", 48, 8),
];
/// Until FreeBSD 14.
const ARM64_SHORT_FRAME: &Layout =
    &[("tf_sp", 0, 8), ("tf_lr", 8, 8), ("tf_elr", 16, 8), ("tf_spsr", 24, 4), ("tf_esr", 28, 4), ("tf_x", 32, 8)];
const RISCV_FRAME: &Layout = &[
    ("tf_ra", 0, 8),
    ("tf_sp", 8, 8),
    ("tf_gp", 16, 8),
    ("tf_tp", 24, 8),
    ("tf_t", 32, 8),
    ("tf_s", 88, 8),
    ("tf_a", 184, 8),
    ("tf_sepc", 248, 8),
    ("tf_sstatus", 256, 8),
    ("tf_stval", 264, 8),
    ("tf_scause", 272, 8),
];

/// Such a structure in memory.
pub(crate) enum Saved<'p> {
    /// Its type is known.
    Typed(Value),
    /// It is not.
    Plain { program: &'p Program, address: u64, layout: &'static Layout },
}

impl<'p> Saved<'p> {
    /// The `struct pcb` that is the variable `name`.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn pcb(program: &'p Program, name: &str) -> Result<Self> {
        let error = match program.variable(name) {
            Ok(value) => return Ok(Self::Typed(value)),
            Err(error) => error,
        };
        let Ok(symbol) = program.symbol(name) else { return Err(error.into()) };
        let layout = match program.architecture() {
            Architecture::Amd64 => AMD64_PCB,
            Architecture::I386 => I386_PCB,
            Architecture::Riscv64 => RISCV_PCB,
            // Where the one has the link register, the other has no code's address.
            Architecture::Arm64 => {
                let link = symbol.address.checked_add(240).and_then(|at| program.read_word(at).ok());
                let is_code = link.is_some_and(|link| program.image_at(link).is_some());
                if is_code { ARM64_PCB } else { ARM64_SHORT_PCB }
            }
        };
        Ok(Self::Plain { program, address: symbol.address, layout })
    }

    /// The `struct trapframe` at an address.
    pub(crate) fn trap_frame(program: &'p Program, address: u64) -> Option<Self> {
        if let Ok(ty) = program.ty("struct trapframe") {
            return Some(Self::Typed(program.value(&ty, address)));
        }
        let layout = match program.architecture() {
            Architecture::Amd64 => AMD64_FRAME,
            Architecture::I386 => I386_FRAME,
            Architecture::Riscv64 => RISCV_FRAME,
            // Where the one has the syndrome of the exception, the other has bits of the state that nothing sets.
            Architecture::Arm64 => match program.read_unsigned(address.checked_add(28)?, 4).ok()? {
                0 => ARM64_FRAME,
                _ => ARM64_SHORT_FRAME,
            },
        };
        Some(Self::Plain { program, address, layout })
    }

    pub(crate) fn architecture(&self) -> Architecture {
        match self {
            Self::Typed(value) => value.program().architecture(),
            Self::Plain { program, .. } => program.architecture(),
        }
    }

    pub(crate) fn address(&self) -> Option<u64> {
        match self {
            Self::Typed(value) => value.address(),
            Self::Plain { address, .. } => Some(*address),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Typed(value) => value.resolved_type().is_ok_and(|ty| ty.has_field(name)),
            Self::Plain { layout, .. } => layout.iter().any(|(field, ..)| *field == name),
        }
    }

    /// Where a field is.
    pub(crate) fn address_of(&self, name: &str) -> Result<u64> {
        match self {
            Self::Typed(value) => Ok(value.field(name)?.address().unwrap_or(0)),
            Self::Plain { address, .. } => Ok(address.wrapping_add(self.place(name)?.0)),
        }
    }

    /// The number in a field.
    pub(crate) fn unsigned(&self, name: &str) -> Result<u64> {
        match self {
            Self::Typed(value) => Ok(value.field(name)?.unsigned()?),
            Self::Plain { .. } => self.element(name, 0),
        }
    }

    /// The number in an element of an array.
    pub(crate) fn element(&self, name: &str, index: u16) -> Result<u64> {
        match self {
            Self::Typed(value) => Ok(value.field(name)?.element(index.into())?.unsigned()?),
            Self::Plain { program, address, .. } => {
                let (offset, size) = self.place(name)?;
                let at = address.wrapping_add(offset).wrapping_add(u64::from(index) * u64::from(size));
                Ok(program.read_unsigned(at, size)?)
            }
        }
    }

    /// How many registers `pcb_x` of arm64 has.
    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        match self {
            Self::Typed(value) => Ok(value.field(name)?.resolved_type()?.count().unwrap_or(0)),
            Self::Plain { layout, .. } => Ok(if std::ptr::eq(*layout, ARM64_PCB) { 30 } else { 12 }),
        }
    }

    fn place(&self, name: &str) -> Result<(u64, u8)> {
        let Self::Plain { layout, .. } = self else { return Ok((0, 0)) };
        let found = layout.iter().find(|(field, ..)| *field == name).map(|(_, offset, size)| (*offset, *size));
        found.ok_or_else(|| Error::absent(format!("without debug information it is not known where {name} is")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields in the order of their addresses, none within another.
    #[test]
    fn no_field_lies_within_another() {
        let pcbs = [AMD64_PCB, I386_PCB, RISCV_PCB, ARM64_PCB, ARM64_SHORT_PCB];
        let frames = [AMD64_FRAME, I386_FRAME, RISCV_FRAME, ARM64_FRAME, ARM64_SHORT_FRAME];
        for layout in pcbs.into_iter().chain(frames) {
            for pair in layout.windows(2) {
                let [(_, first, size), (name, second, _)] = pair else { panic!() };
                assert!(first + u64::from(*size) <= *second, "{name}");
            }
        }
    }
}
