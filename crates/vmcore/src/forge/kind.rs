//! What a forged dump can be a dump of, and how its page tables are written.

use crate::arch::{Architecture, ByteOrder};
use crate::memory::Paging;

/// A kind of machine, and a version of its minidumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The architecture.
    pub architecture: Architecture,
    /// Its page tables.
    pub paging: Paging,
    /// The order of bytes.
    pub order: ByteOrder,
    /// The version of minidumps.
    pub version: u32,
    /// Whether a powerpc64 minidump names hash page tables.
    pub hashed: bool,
}

const fn kind(architecture: Architecture, paging: Paging, version: u32) -> Kind {
    Kind { architecture, paging, order: ByteOrder::Little, version, hashed: false }
}

impl Kind {
    /// amd64, its newest minidumps.
    pub const AMD64: Self = kind(Architecture::Amd64, Paging::Amd64, 3);
    /// arm64 with pages of 4 KiB, its newest minidumps.
    pub const ARM64: Self = kind(Architecture::Arm64, Paging::Arm64Pages4K, 3);
    /// i386 with PAE, its newest minidumps.
    pub const I386: Self = kind(Architecture::I386, Paging::I386Pae, 2);
    /// riscv64 with 39 bits of virtual addresses, its newest minidumps.
    pub const RISCV64: Self = kind(Architecture::Riscv64, Paging::RiscvSv39, 2);

    /// Every architecture, version and variant.
    pub const ALL: [Self; 20] = [
        kind(Architecture::Amd64, Paging::Amd64, 1),
        kind(Architecture::Amd64, Paging::Amd64, 2),
        Self::AMD64,
        kind(Architecture::Amd64, Paging::Amd64La57, 3),
        kind(Architecture::Arm64, Paging::Arm64Pages4K, 1),
        kind(Architecture::Arm64, Paging::Arm64Pages4K, 2),
        Self::ARM64,
        kind(Architecture::Arm64, Paging::Arm64Pages16K, 3),
        kind(Architecture::Arm64, Paging::Arm64Pages64K, 3),
        kind(Architecture::I386, Paging::I386, 1),
        kind(Architecture::I386, Paging::I386Pae, 1),
        kind(Architecture::I386, Paging::I386, 2),
        Self::I386,
        kind(Architecture::Armv7, Paging::Armv7, 1),
        kind(Architecture::Armv7, Paging::Armv7, 2),
        kind(Architecture::Riscv64, Paging::RiscvSv39, 1),
        kind(Architecture::Riscv64, Paging::RiscvSv48, 2),
        Self { order: ByteOrder::Big, ..kind(Architecture::Powerpc64, Paging::Powerpc64Radix, 1) },
        kind(Architecture::Powerpc64, Paging::Powerpc64Radix, 2),
        Self { order: ByteOrder::Big, hashed: true, ..kind(Architecture::Powerpc64, Paging::Powerpc64Radix, 2) },
    ];

    /// The size of a page, as a power of two.
    pub fn page_shift(&self) -> u32 {
        self.paging.levels().last().map_or(12, |level| level.shift)
    }

    /// The size of a page, in bytes.
    pub fn page_size(&self) -> u64 {
        1 << self.page_shift()
    }

    /// The sizes of pages that can be mapped, as powers of two, the smallest first.
    pub fn page_shifts(&self) -> &'static [u32] {
        match self.paging {
            Paging::Amd64 | Paging::Amd64La57 | Paging::Arm64Pages4K | Paging::Powerpc64Radix => &[12, 21, 30],
            Paging::RiscvSv39 | Paging::RiscvSv48 | Paging::RiscvSv57 => &[12, 21, 30],
            Paging::Arm64Pages16K => &[14, 25],
            Paging::Arm64Pages64K => &[16, 29],
            Paging::I386 => &[12, 22],
            Paging::I386Pae => &[12, 21],
            Paging::Armv7 => &[12, 16, 20, 24],
        }
    }

    /// Where physical memory begins.
    pub fn ram_base(&self) -> u64 {
        match self.architecture {
            Architecture::Arm64 | Architecture::Armv7 => 0x4000_0000,
            Architecture::Riscv64 => 0x8000_0000,
            _ => 0,
        }
    }

    pub(super) fn kernel_base(&self) -> u64 {
        match (self.architecture, self.paging) {
            // As long as each page had an entry in the header's map, the kernel had less room.
            (Architecture::Amd64, _) if self.version == 1 => 0xffff_ffff_8000_0000,
            (Architecture::Amd64, _) => 0xffff_fe00_0000_0000,
            (Architecture::Arm64, _) => 0xffff_0000_0000_0000,
            (Architecture::Riscv64, _) => 0xffff_ffc0_0000_0000,
            (Architecture::Powerpc64, _) => 0xc008_0000_0000_0000,
            // Since FreeBSD 12 the kernel of i386 has an address space of its own.
            (Architecture::I386, _) if self.version > 1 => 0x80_0000,
            (Architecture::I386 | Architecture::Armv7, _) => 0xc000_0000,
        }
    }

    /// First address, the one behind the last, and the physical address at the first.
    pub(super) fn direct_map(&self) -> Option<(u64, u64, u64)> {
        match self.architecture {
            Architecture::Amd64 => Some((0xffff_f800_0000_0000, 0xffff_fc00_0000_0000, 0)),
            Architecture::Arm64 => Some((0xffff_a000_0000_0000, 0xffff_a001_0000_0000, self.ram_base())),
            Architecture::Riscv64 => Some((0xffff_ffd0_0000_0000, 0xffff_fff0_0000_0000, self.ram_base())),
            Architecture::Powerpc64 => Some((0xc000_0000_0000_0000, 0xc007_ffff_ffff_f000, 0)),
            Architecture::I386 | Architecture::Armv7 => None,
        }
    }

    /// The entry of the root that maps the root.
    pub(super) fn self_entry(&self) -> Option<u64> {
        (self.architecture == Architecture::Amd64).then_some(256)
    }

    /// Where the kernel is loaded, where that is the same always.
    pub(super) fn kernel_image(&self) -> Option<u64> {
        match self.architecture {
            Architecture::Amd64 => Some(0xffff_ffff_8020_0000),
            Architecture::Arm64 => Some(0xffff_0000_0000_0000),
            _ => None,
        }
    }

    /// A number as the machine has it in memory.
    pub fn number(&self, value: u64, size: usize) -> Vec<u8> {
        match self.order {
            ByteOrder::Little => value.to_le_bytes()[..size].to_vec(),
            ByteOrder::Big => value.to_be_bytes()[8 - size..].to_vec(),
        }
    }
}

/// An entry that says where the next table is.
pub(super) fn table_entry(paging: Paging, table: u64) -> u64 {
    match paging {
        // A directory-pointer entry of PAE has fewer bits, which does not matter to those that read it.
        Paging::Amd64 | Paging::Amd64La57 | Paging::I386 | Paging::I386Pae => table | 0x63,
        Paging::Arm64Pages4K | Paging::Arm64Pages16K | Paging::Arm64Pages64K => table | 3,
        Paging::Armv7 => table | 1,
        Paging::RiscvSv39 | Paging::RiscvSv48 | Paging::RiscvSv57 => table >> 12 << 10 | 1,
        // Nine bits select an entry of the next table.
        Paging::Powerpc64Radix => 1 << 63 | table | 9,
    }
}

/// An entry, in a table whose entries stand for `1 << level` bytes, that maps a page of `1 << shift` bytes.
pub(super) fn leaf_entry(paging: Paging, level: u32, page: u64, shift: u32) -> u64 {
    match paging {
        // Not executable, global, dirty, accessed, writable, present; in a directory, large.
        Paging::Amd64 | Paging::Amd64La57 | Paging::I386Pae => {
            1 << 63 | page | 0x163 | if level > 12 { 0x80 } else { 0 }
        }
        Paging::I386 if level > 12 => (page & 0xffff_ffff) | (page >> 32) << 13 | 0xe3,
        Paging::I386 => page | 0x63,
        Paging::Arm64Pages4K if level > 12 => 0x0060_0000_0000_0701 | page,
        Paging::Arm64Pages16K if level > 14 => 0x0060_0000_0000_0701 | page,
        Paging::Arm64Pages64K if level > 16 => 0x0060_0000_0000_0701 | page,
        // One of sixteen that are contiguous.
        Paging::Arm64Pages4K | Paging::Arm64Pages16K | Paging::Arm64Pages64K => 0x0070_0000_0000_0703 | page,
        Paging::Armv7 => match shift {
            24 => page | 0x4_0402,
            20 => page | 0x402,
            16 => page | 0x11,
            _ => page | 0x12,
        },
        Paging::RiscvSv39 | Paging::RiscvSv48 | Paging::RiscvSv57 => page >> 12 << 10 | 0xcf,
        Paging::Powerpc64Radix => 3 << 62 | page | 0x187,
    }
}

/// The bits of an entry that keep a page from being executed.
pub(super) fn never_execute(paging: Paging) -> u64 {
    match paging {
        Paging::Amd64 | Paging::Amd64La57 | Paging::I386Pae => 1 << 63,
        // By the kernel; by users they stay forbidden.
        Paging::Arm64Pages4K | Paging::Arm64Pages16K | Paging::Arm64Pages64K => 1 << 53,
        _ => 0,
    }
}
