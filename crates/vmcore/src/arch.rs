//! What kernels run on: names, byte order, sizes.

use std::fmt;

/// A machine architecture whose dumps are read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
    /// 32-bit x86, with or without PAE.
    I386,
    /// 32-bit Arm.
    Armv7,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit PowerPC of either byte order.
    Powerpc64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Amd64, Self::Arm64, Self::I386, Self::Armv7, Self::Riscv64, Self::Powerpc64];

    /// The name as FreeBSD's `TARGET` has it where that is one architecture: `amd64`, `arm64`, `i386`, `armv7`,
    /// `riscv64`, `powerpc64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::I386 => "i386",
            Self::Armv7 => "armv7",
            Self::Riscv64 => "riscv64",
            Self::Powerpc64 => "powerpc64",
        }
    }

    /// The architecture of a name as it stands in kernel dump headers (`MACHINE_ARCH`) or in the magic of minidumps
    /// (`MACHINE`).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "amd64" | "x86_64" => Self::Amd64,
            "arm64" | "aarch64" => Self::Arm64,
            "i386" => Self::I386,
            "arm" | "armv6" | "armv7" | "armeb" => Self::Armv7,
            "riscv" | "riscv64" | "riscv64sf" => Self::Riscv64,
            "powerpc64" | "powerpc64le" => Self::Powerpc64,
            _ => return None,
        })
    }

    /// The machine in ELF headers (`e_machine`).
    pub fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
            Self::I386 => 3,
            Self::Armv7 => 40,
            Self::Riscv64 => 243,
            Self::Powerpc64 => 21,
        }
    }

    /// The architecture of an ELF header's machine.
    pub fn from_elf_machine(machine: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.elf_machine() == machine)
    }

    /// The size of a pointer, in bytes.
    pub fn pointer_size(self) -> usize {
        match self {
            Self::I386 | Self::Armv7 => 4,
            _ => 8,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The order of the bytes in an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The least significant byte comes first.
    Little,
    /// The most significant byte comes first.
    Big,
}

impl ByteOrder {
    /// Two bytes as an integer.
    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// Four bytes as an integer.
    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// Eight bytes as an integer.
    pub fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }
}

/// Fields of a structure in a slice; zeros where the slice has ended, as those who read structures here have read them
/// whole.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) order: ByteOrder,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    pub(crate) fn u16(self, at: usize) -> u16 {
        self.order.u16(self.array(at))
    }

    pub(crate) fn u32(self, at: usize) -> u32 {
        self.order.u32(self.array(at))
    }

    pub(crate) fn u64(self, at: usize) -> u64 {
        self.order.u64(self.array(at))
    }

    /// An integer of `size` bytes, which is 4 or 8.
    pub(crate) fn word(self, at: usize, size: usize) -> u64 {
        if size == 4 { u64::from(self.u32(at)) } else { self.u64(at) }
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let found = at.checked_add(N).and_then(|end| self.bytes.get(at..end));
        found.and_then(|found| found.try_into().ok()).unwrap_or([0; N])
    }
}
