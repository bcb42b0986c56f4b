//! Registers that a kernel has saved: of threads that do not run in a `pcb`, of what was interrupted in a `trapframe`.

use symbols::{Architecture, Registers, Value};

use crate::error::Result;
use crate::saved::Saved;

/// Names of registers in a `struct pcb` (`sys/*/include/pcb.h`), and what they are called here.
const AMD64_PCB: [(&str, &str); 8] = [
    ("pcb_r15", "r15"),
    ("pcb_r14", "r14"),
    ("pcb_r13", "r13"),
    ("pcb_r12", "r12"),
    ("pcb_rbp", "rbp"),
    ("pcb_rsp", "rsp"),
    ("pcb_rbx", "rbx"),
    ("pcb_rip", "rip"),
];
const I386_PCB: [(&str, &str); 6] = [
    ("pcb_edi", "edi"),
    ("pcb_esi", "esi"),
    ("pcb_ebp", "ebp"),
    ("pcb_esp", "esp"),
    ("pcb_ebx", "ebx"),
    ("pcb_eip", "eip"),
];
/// In a `struct trapframe` (`sys/*/include/frame.h`).
const AMD64_FRAME: [&str; 17] = [
    "rdi", "rsi", "rdx", "rcx", "r8", "r9", "rax", "rbx", "rbp", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rsp",
];
const I386_FRAME: [&str; 8] = ["edi", "esi", "ebp", "ebx", "edx", "ecx", "eax", "eip"];

/// The registers in a `struct pcb`.
///
/// # Errors
/// If it cannot be read.
pub fn of_pcb(pcb: &Value) -> Result<Registers> {
    of_saved_pcb(&Saved::Typed(pcb.clone()))
}

/// The same, also in a kernel without debug information.
pub(crate) fn of_saved_pcb(pcb: &Saved<'_>) -> Result<Registers> {
    let architecture = pcb.architecture();
    let mut registers = Registers::new(architecture);
    match architecture {
        Architecture::Amd64 => named(pcb, &AMD64_PCB, &mut registers)?,
        Architecture::I386 => named(pcb, &I386_PCB, &mut registers)?,
        Architecture::Arm64 => {
            let count = pcb.count("pcb_x")?;
            // All registers, or only those that a function gives back (`sys/arm64/include/pcb.h` of FreeBSD 14 and
            // later): x19 to x29, then the link register.
            let first = if count < 30 { 19 } else { 0 };
            for index in 0..u16::try_from(count).unwrap_or(0) {
                if index + first <= 30 {
                    registers.set(index + first, pcb.element("pcb_x", index)?);
                }
            }
            registers.set_by_name("sp", pcb.unsigned("pcb_sp")?);
            // Where it goes on is in the link register, except in older kernels.
            let link = match pcb.has("pcb_lr") {
                true => Some(pcb.unsigned("pcb_lr")?),
                false => registers.get(30),
            };
            registers.set(30, link);
            let pc = if pcb.has("pcb_pc") { Some(pcb.unsigned("pcb_pc")?) } else { link };
            registers.set(architecture.pc(), pc.filter(|pc| *pc != 0).or(link));
        }
        Architecture::Riscv64 => {
            for (name, number) in [("pcb_ra", 1), ("pcb_sp", 2), ("pcb_gp", 3), ("pcb_tp", 4)] {
                registers.set(number, pcb.unsigned(name)?);
            }
            for (index, number) in (0..).zip([8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27]) {
                registers.set(number, pcb.element("pcb_s", index)?);
            }
            registers.set(architecture.pc(), registers.get(1));
        }
    }
    Ok(registers)
}

/// The registers in a `struct trapframe`, and whether they are those of a user's program.
///
/// # Errors
/// As [`of_pcb`].
pub(crate) fn of_trap_frame(frame: &Saved<'_>) -> Result<(Registers, bool)> {
    let architecture = frame.architecture();
    let mut registers = Registers::new(architecture);
    let field = |name: &str| frame.unsigned(name);
    let is_user = match architecture {
        Architecture::Amd64 => {
            for name in AMD64_FRAME {
                registers.set_by_name(name, field(&format!("tf_{name}"))?);
            }
            field("tf_cs")? & 3 != 0
        }
        Architecture::I386 => {
            for name in I386_FRAME {
                registers.set_by_name(name, field(&format!("tf_{name}"))?);
            }
            let is_user = field("tf_cs")? & 3 != 0;
            // Without a change of privilege the processor does not save it: it is where the frame ends.
            let sp = if is_user { field("tf_esp")? } else { frame.address_of("tf_esp")? };
            registers.set_by_name("esp", sp);
            is_user
        }
        Architecture::Arm64 => {
            for number in 0..30 {
                registers.set(number, frame.element("tf_x", number)?);
            }
            registers.set(30, field("tf_lr")?);
            registers.set_by_name("sp", field("tf_sp")?);
            registers.set(architecture.pc(), field("tf_elr")?);
            // The exception level that it came from (`PSR_M_MASK`).
            field("tf_spsr")? & 0xf == 0
        }
        Architecture::Riscv64 => {
            for (name, number) in [("tf_ra", 1), ("tf_sp", 2), ("tf_gp", 3), ("tf_tp", 4)] {
                registers.set(number, field(name)?);
            }
            let groups: [(&str, &[u16]); 3] = [
                ("tf_t", &[5, 6, 7, 28, 29, 30, 31]),
                ("tf_s", &[8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27]),
                ("tf_a", &[10, 11, 12, 13, 14, 15, 16, 17]),
            ];
            for (name, numbers) in groups {
                for (index, number) in (0..).zip(numbers) {
                    registers.set(*number, frame.element(name, index)?);
                }
            }
            registers.set(architecture.pc(), field("tf_sepc")?);
            // `SSTATUS_SPP`.
            field("tf_sstatus")? & 0x100 == 0
        }
    };
    Ok((registers, is_user))
}

fn named(from: &Saved<'_>, names: &[(&str, &str)], to: &mut Registers) -> Result<()> {
    for (field, name) in names {
        to.set_by_name(name, from.unsigned(field)?);
    }
    Ok(())
}
