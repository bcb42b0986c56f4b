//! The notes of a core: `NT_PRSTATUS`, one for each thread, with its registers.
//!
//! Sources: FreeBSD `sys/procfs.h` and `machine/reg.h`; for Linux the layouts that gdb and lldb read,
//! `elf_prstatus` and `elf_gregset_t`.

use super::core::Thread;
use super::writer::Writer;
use crate::arch::{Architecture, ByteOrder};

/// Whose cores a core is to look like: debuggers have an idea of their own of each system's notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flavour {
    /// Linux: for gdb as Linux distributions build it, which knows no notes of FreeBSD, and for lldb, which knows both.
    #[default]
    Linux,
    /// FreeBSD: for lldb, and for gdb where it was built with FreeBSD's support.
    FreeBsd,
}

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
/// `SIGTRAP`, as a debugger wants to hear of some signal.
const SIGNAL: u64 = 5;

/// Registers in a row: names, and how many bytes each takes.
type Row = Vec<(String, usize)>;

impl Flavour {
    /// `EI_OSABI` of the core.
    pub(super) fn os_abi(self) -> u8 {
        match self {
            Self::Linux => 0,
            Self::FreeBsd => 9,
        }
    }

    /// The notes of these threads.
    pub(super) fn notes(self, architecture: Architecture, order: ByteOrder, threads: &[Thread]) -> Vec<u8> {
        let mut writer = Writer::new(order);
        match self {
            Self::Linux => {
                // A note of this owner, of whatever type, is what tells lldb the system.
                writer.note("LINUX", 0, &[]);
                for thread in threads {
                    writer.note("CORE", NT_PRSTATUS, &linux(architecture, order, thread));
                }
            }
            Self::FreeBsd => {
                if let Some(first) = threads.first() {
                    writer.note("FreeBSD", NT_PRPSINFO, &process(architecture, order, first));
                }
                for thread in threads {
                    writer.note("FreeBSD", NT_PRSTATUS, &freebsd(architecture, order, thread));
                }
            }
        }
        writer.bytes
    }
}

impl Writer {
    fn note(&mut self, name: &str, kind: u32, description: &[u8]) {
        self.put(name.len() as u64 + 1, 4);
        self.put(description.len() as u64, 4);
        self.put(u64::from(kind), 4);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align(4);
        self.bytes.extend_from_slice(description);
        self.align(4);
    }

    fn registers(&mut self, row: &Row, thread: &Thread) {
        for (name, size) in row {
            self.put(thread.registers.get(name).unwrap_or_default(), *size);
        }
    }
}

/// `struct elf_prstatus`.
fn linux(architecture: Architecture, order: ByteOrder, thread: &Thread) -> Vec<u8> {
    let word = architecture.pointer_size();
    let mut writer = Writer::new(order);
    // What the signal says, the signal itself, those pending and held.
    writer.put(SIGNAL, 4);
    writer.pad_to(12);
    writer.put(SIGNAL, 2);
    writer.pad_to(16 + 2 * word);
    writer.put(u64::from(thread.id), 4);
    // Parent, group, session, and four times.
    writer.pad_to(if word == 8 { 112 } else { 72 });
    writer.registers(&linux_row(architecture), thread);
    writer.put(0, 4);
    writer.align(word);
    writer.bytes
}

/// `prstatus_t`.
fn freebsd(architecture: Architecture, order: ByteOrder, thread: &Thread) -> Vec<u8> {
    let word = architecture.pointer_size();
    let row = freebsd_row(architecture);
    let registers: usize = row.iter().map(|(_, size)| size).sum();
    let start = if word == 8 { 48 } else { 28 };
    let mut writer = Writer::new(order);
    writer.put(1, word);
    writer.put((start + registers).next_multiple_of(word) as u64, word);
    writer.put(registers as u64, word);
    // The size of floating-point registers, of which there is no note.
    writer.put(0, word);
    // Version of the kernel, signal, thread.
    writer.put(0, 4);
    writer.put(SIGNAL, 4);
    writer.put(u64::from(thread.id), 4);
    writer.pad_to(start);
    writer.registers(&row, thread);
    writer.align(word);
    writer.bytes
}

/// `prpsinfo_t`.
fn process(architecture: Architecture, order: ByteOrder, thread: &Thread) -> Vec<u8> {
    let word = architecture.pointer_size();
    let mut writer = Writer::new(order);
    let size = if word == 8 { 120 } else { 112 };
    writer.put(1, word);
    writer.put(size, word);
    let start = writer.bytes.len();
    writer.bytes.extend_from_slice(b"kernel");
    // 17 bytes for the command, 81 for its arguments.
    writer.pad_to(start + 17 + 81);
    writer.align(4);
    writer.put(u64::from(thread.id), 4);
    writer.pad_to(size as usize);
    writer.bytes
}

fn row(names: &str, size: usize) -> Row {
    names.split_whitespace().map(|name| (name.to_string(), size)).collect()
}

fn numbered(prefix: &str, count: usize, size: usize) -> Row {
    (0..count).map(|number| (format!("{prefix}{number}"), size)).collect()
}

/// `elf_gregset_t`.
fn linux_row(architecture: Architecture) -> Row {
    match architecture {
        Architecture::Amd64 => row(
            "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs",
            8,
        ),
        Architecture::Arm64 => [numbered("x", 31, 8), row("sp pc cpsr", 8)].concat(),
        Architecture::I386 => row("ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs eflags esp ss", 4),
        Architecture::Armv7 => [numbered("r", 13, 4), row("sp lr pc cpsr orig_r0", 4)].concat(),
        Architecture::Riscv64 => {
            row("pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6", 8)
        }
        Architecture::Powerpc64 => [
            numbered("r", 32, 8),
            row("pc msr orig_r3 ctr lr xer cr softe trap dar dsisr result", 8),
            row("none none none none", 8),
        ]
        .concat(),
    }
}

/// `struct reg`.
fn freebsd_row(architecture: Architecture) -> Row {
    match architecture {
        Architecture::Amd64 => [
            row("r15 r14 r13 r12 r11 r10 r9 r8 rdi rsi rbp rbx rdx rcx rax", 8),
            row("trapno", 4),
            row("fs gs", 2),
            row("err", 4),
            row("es ds", 2),
            row("rip cs eflags rsp ss", 8),
        ]
        .concat(),
        Architecture::Arm64 => [numbered("x", 31, 8), row("sp pc cpsr", 8)].concat(),
        Architecture::I386 => row("fs es ds edi esi ebp isp ebx edx ecx eax trapno err eip cs eflags esp ss gs", 4),
        Architecture::Armv7 => [numbered("r", 13, 4), row("sp lr pc cpsr", 4)].concat(),
        Architecture::Riscv64 => row(
            "ra sp gp tp t0 t1 t2 t3 t4 t5 t6 s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 a0 a1 a2 a3 a4 a5 a6 a7 pc sstatus",
            8,
        ),
        Architecture::Powerpc64 => [numbered("r", 32, 8), row("lr cr xer ctr pc", 8)].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Registers;

    fn status(flavour: Flavour, architecture: Architecture) -> Vec<u8> {
        let mut registers = Registers::new();
        for (name, value) in [("rip", 0x1122_3344), ("eip", 0x1122_3344), ("pc", 0x1122_3344)] {
            registers.set(name, value);
        }
        let thread = Thread { id: 77, registers };
        match flavour {
            Flavour::Linux => linux(architecture, ByteOrder::Little, &thread),
            Flavour::FreeBsd => freebsd(architecture, ByteOrder::Little, &thread),
        }
    }

    #[test]
    fn a_status_has_the_size_and_the_places_that_debuggers_know() {
        let at = |bytes: &[u8], place: usize| u32::from_le_bytes(bytes[place..place + 4].try_into().unwrap());
        for (flavour, architecture, size, id, pc) in [
            (Flavour::Linux, Architecture::Amd64, 336, 32, 112 + 16 * 8),
            (Flavour::Linux, Architecture::Arm64, 392, 32, 112 + 32 * 8),
            (Flavour::Linux, Architecture::I386, 144, 24, 72 + 12 * 4),
            (Flavour::Linux, Architecture::Armv7, 148, 24, 72 + 15 * 4),
            (Flavour::Linux, Architecture::Riscv64, 376, 32, 112),
            (Flavour::Linux, Architecture::Powerpc64, 504, 32, 112 + 32 * 8),
            (Flavour::FreeBsd, Architecture::Amd64, 224, 40, 48 + 136),
            (Flavour::FreeBsd, Architecture::Arm64, 320, 40, 48 + 256),
            (Flavour::FreeBsd, Architecture::I386, 104, 24, 28 + 13 * 4),
            (Flavour::FreeBsd, Architecture::Riscv64, 312, 40, 48 + 31 * 8),
        ] {
            let bytes = status(flavour, architecture);
            assert_eq!(bytes.len(), size, "{flavour:?} {architecture}");
            assert_eq!(at(&bytes, id), 77, "{flavour:?} {architecture}");
            assert_eq!(at(&bytes, pc), 0x1122_3344, "{flavour:?} {architecture}");
        }
    }
}
