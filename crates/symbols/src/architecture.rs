//! Machines: what is to be known of one, in one place.

use gimli::Register;

/// A machine that kernels of FreeBSD run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// x86-64 (System V ABI, AMD64 supplement).
    Amd64,
    /// AArch64 (DWARF for the Arm 64-bit architecture).
    Arm64,
    /// 32-bit x86.
    I386,
    /// 64-bit RISC-V (RISC-V ELF psABI).
    Riscv64,
}

use Architecture::{Amd64, Arm64, I386, Riscv64};

/// More than any of the machines has: registers by DWARF number, and a place for the program counter.
pub(crate) const REGISTERS: usize = 33;

impl Architecture {
    /// From `e_machine` of an ELF header.
    pub(crate) fn from_machine(machine: u16) -> Option<Self> {
        match machine {
            62 => Some(Amd64),
            183 => Some(Arm64),
            3 => Some(I386),
            243 => Some(Riscv64),
            _ => None,
        }
    }

    /// The name that FreeBSD gives it (`uname -m`).
    pub fn name(self) -> &'static str {
        match self {
            Amd64 => "amd64",
            Arm64 => "arm64",
            I386 => "i386",
            Riscv64 => "riscv",
        }
    }

    /// Bytes of a pointer and of `long`.
    pub fn word(self) -> u8 {
        if self == I386 { 4 } else { 8 }
    }

    /// Number of the program counter: the column of DWARF's return address on x86, a number of our own elsewhere.
    pub fn pc(self) -> u16 {
        match self {
            Amd64 => 16,
            I386 => 8,
            Arm64 | Riscv64 => 32,
        }
    }

    /// Number of the stack pointer.
    pub fn sp(self) -> u16 {
        match self {
            Amd64 => 7,
            I386 => 4,
            Arm64 => 31,
            Riscv64 => 2,
        }
    }

    /// Number of the frame pointer.
    pub fn fp(self) -> u16 {
        match self {
            Amd64 => 6,
            I386 => 5,
            Arm64 => 29,
            Riscv64 => 8,
        }
    }

    /// Number of the register that a call leaves its return address in, where it does not push it.
    pub fn link(self) -> Option<u16> {
        match self {
            Amd64 | I386 => None,
            Arm64 => Some(30),
            Riscv64 => Some(1),
        }
    }

    /// Names of all registers, by DWARF number.
    pub fn register_names(self) -> &'static [&'static str] {
        match self {
            Amd64 => &[
                "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                "r15", "rip",
            ],
            I386 => &["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip"],
            Arm64 => &[
                "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29",
                "x30", "sp", "pc",
            ],
            Riscv64 => &[
                "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
                "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6", "pc",
            ],
        }
    }

    /// Number of the register of this name; `pc`, `sp`, `fp` and `lr` are understood everywhere.
    pub fn register(self, name: &str) -> Option<u16> {
        let position = self.register_names().iter().position(|&known| known == name);
        position.and_then(|number| u16::try_from(number).ok()).or(match name {
            "pc" => Some(self.pc()),
            "sp" => Some(self.sp()),
            "fp" => Some(self.fp()),
            "lr" => self.link(),
            _ => None,
        })
    }

    /// Whether a function gives the register back as it found it.
    pub(crate) fn is_preserved(self, register: u16) -> bool {
        match self {
            Amd64 => matches!(register, 3 | 6 | 12..=15),
            I386 => matches!(register, 3 | 5 | 6 | 7),
            Arm64 => matches!(register, 18..=29),
            Riscv64 => matches!(register, 3 | 4 | 8 | 9 | 18..=27),
        }
    }

    /// An address as the machine uses it: pointers signed by ARM's authentication lose their signature.
    pub fn canonical(self, address: u64) -> u64 {
        match self {
            Arm64 if address & 1 << 55 != 0 => address | 0xffff << 48,
            Arm64 => address & !(0xffff << 48),
            I386 => address & 0xffff_ffff,
            Amd64 | Riscv64 => address,
        }
    }
}

/// Registers of one frame: those that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    architecture: Architecture,
    values: [Option<u64>; REGISTERS],
}

impl Registers {
    /// No register known yet.
    pub fn new(architecture: Architecture) -> Self {
        Self { architecture, values: [None; REGISTERS] }
    }

    /// The machine.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// A register by DWARF number.
    pub fn get(&self, number: u16) -> Option<u64> {
        self.values.get(usize::from(number)).copied().flatten()
    }

    /// A register by name.
    pub fn by_name(&self, name: &str) -> Option<u64> {
        self.get(self.architecture.register(name)?)
    }

    /// Sets a register by DWARF number, or makes it unknown. Numbers that the machine does not have are ignored.
    pub fn set(&mut self, number: u16, value: impl Into<Option<u64>>) {
        if let Some(place) = self.values.get_mut(usize::from(number)) {
            *place = value.into();
        }
    }

    /// Sets a register by name; false if the machine has none of that name.
    pub fn set_by_name(&mut self, name: &str, value: u64) -> bool {
        let number = self.architecture.register(name);
        number.inspect(|&number| self.set(number, value)).is_some()
    }

    /// The program counter.
    pub fn pc(&self) -> Option<u64> {
        self.get(self.architecture.pc())
    }

    /// The stack pointer.
    pub fn sp(&self) -> Option<u64> {
        self.get(self.architecture.sp())
    }

    /// The frame pointer.
    pub fn fp(&self) -> Option<u64> {
        self.get(self.architecture.fp())
    }

    /// Name and value of the registers that are known.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = self.architecture.register_names().iter().copied();
        names.zip(self.values).filter_map(|(name, value)| Some((name, value?)))
    }

    pub(crate) fn dwarf(&self, register: Register) -> Option<u64> {
        self.get(register.0)
    }
}

impl Architecture {
    /// Whether `long double` is the x87's.
    pub(crate) fn is_x86(self) -> bool {
        matches!(self, Amd64 | I386)
    }
}
