//! Page tables: for each architecture how an entry is found at each level, and what it says.
//!
//! Sources of the layouts: the manuals of the processors, and FreeBSD's `sys/*/include/pte.h` and `pmap.h`.

use crate::arch::{Architecture, ByteOrder};

/// A kind of page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Paging {
    /// amd64 with four levels (48-bit addresses), the root being in `CR3`.
    Amd64,
    /// amd64 with five levels (57-bit addresses, LA57).
    Amd64La57,
    /// arm64 with 48-bit addresses and pages of 4 KiB, the root being in `TTBR0_EL1` or `TTBR1_EL1`.
    Arm64Pages4K,
    /// arm64 with 48-bit addresses and pages of 16 KiB.
    Arm64Pages16K,
    /// arm64 with 48-bit addresses and pages of 64 KiB.
    Arm64Pages64K,
    /// i386 with two levels of 32-bit entries.
    I386,
    /// i386 with PAE: three levels of 64-bit entries.
    I386Pae,
    /// 32-bit Arm, short descriptors; the root being a table of 16 KiB.
    Armv7,
    /// riscv64 with three levels.
    RiscvSv39,
    /// riscv64 with four levels.
    RiscvSv48,
    /// riscv64 with five levels.
    RiscvSv57,
    /// powerpc64: the radix tree of the partition or process table, 52-bit addresses below the quadrant.
    Powerpc64Radix,
}

/// A level of page tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// The lowest bit of an address that selects an entry: an entry stands for `1 << shift` bytes.
    pub(crate) shift: u32,
    /// How many bits select an entry.
    pub(crate) bits: u32,
}

/// What an entry of a page table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing is mapped.
    Empty,
    /// A table of the next level is at this physical address.
    Table(u64),
    /// Memory is mapped: a page of `1 << shift` bytes at `address`. It may be larger than what the entry stands for,
    /// the same entry then being repeated.
    Page {
        /// The physical address of the whole page.
        address: u64,
        /// Its size, as a power of two.
        shift: u32,
    },
}

const fn level(shift: u32, bits: u32) -> Level {
    Level { shift, bits }
}

const AMD64: [Level; 5] = [level(48, 9), level(39, 9), level(30, 9), level(21, 9), level(12, 9)];
const ARM64_4K: [Level; 4] = [level(39, 9), level(30, 9), level(21, 9), level(12, 9)];
const ARM64_16K: [Level; 4] = [level(47, 1), level(36, 11), level(25, 11), level(14, 11)];
const ARM64_64K: [Level; 3] = [level(42, 6), level(29, 13), level(16, 13)];
const I386: [Level; 2] = [level(22, 10), level(12, 10)];
const I386_PAE: [Level; 3] = [level(30, 2), level(21, 9), level(12, 9)];
const ARMV7: [Level; 2] = [level(20, 12), level(12, 8)];
const RADIX: [Level; 4] = [level(39, 13), level(30, 9), level(21, 9), level(12, 9)];

/// Bits 12 to 51 of an entry of x86: a physical address.
const X86_FRAME: u64 = 0x000f_ffff_ffff_f000;
const X86_PRESENT: u64 = 1;
/// In a directory: the entry maps a large page.
const X86_LARGE: u64 = 1 << 7;

impl Paging {
    /// From the root on.
    pub(crate) fn levels(self) -> &'static [Level] {
        match self {
            Self::Amd64La57 | Self::RiscvSv57 => &AMD64,
            Self::Amd64 | Self::RiscvSv48 => AMD64.get(1..).unwrap_or_default(),
            Self::RiscvSv39 => AMD64.get(2..).unwrap_or_default(),
            Self::Arm64Pages4K => &ARM64_4K,
            Self::Arm64Pages16K => &ARM64_16K,
            Self::Arm64Pages64K => &ARM64_64K,
            Self::I386 => &I386,
            Self::I386Pae => &I386_PAE,
            Self::Armv7 => &ARMV7,
            Self::Powerpc64Radix => &RADIX,
        }
    }

    /// The bytes of an entry.
    pub(crate) fn entry_size(self) -> usize {
        match self {
            Self::I386 | Self::Armv7 => 4,
            _ => 8,
        }
    }

    /// The order of the bytes of an entry, where it is not the dump's.
    pub(crate) fn byte_order(self, dump: ByteOrder) -> ByteOrder {
        if self == Self::Powerpc64Radix { ByteOrder::Big } else { dump }
    }

    /// Whether one root is for both halves of the address space.
    pub(crate) fn is_signed(self) -> bool {
        use Paging::{Amd64, Amd64La57, RiscvSv39, RiscvSv48, RiscvSv57};
        matches!(self, Amd64 | Amd64La57 | RiscvSv39 | RiscvSv48 | RiscvSv57)
    }

    /// Where the kernel's half begins, where that has a root of its own.
    pub(crate) fn kernel_base(self) -> u64 {
        match self {
            Self::Arm64Pages4K | Self::Arm64Pages16K | Self::Arm64Pages64K => 0xffff << 48,
            Self::Powerpc64Radix => 0xc << 60,
            _ => 0,
        }
    }

    /// How many bits of an address are translated.
    pub(crate) fn address_bits(self) -> u32 {
        self.levels().first().map_or(0, |level| level.shift + level.bits)
    }

    /// The physical address of the root in the register that holds it: `CR3`, `TTBR0_EL1` and `TTBR1_EL1`, `satp`.
    pub(crate) fn root(self, register: u64) -> u64 {
        match self {
            Self::Amd64 | Self::Amd64La57 => register & X86_FRAME,
            Self::I386 => register & 0xffff_f000,
            Self::I386Pae => register & 0xffff_ffe0,
            // Bits 48 to 63 are an ASID; bit 0 says that others may share the translation.
            Self::Arm64Pages4K | Self::Arm64Pages16K | Self::Arm64Pages64K => register & 0x0000_ffff_ffff_fffe,
            Self::Armv7 => register & 0xffff_c000,
            // A number of a page, below ASID and mode; an address is taken as such.
            Self::RiscvSv39 | Self::RiscvSv48 | Self::RiscvSv57 if register >> 60 != 0 => {
                (register & ((1 << 44) - 1)) << 12
            }
            Self::RiscvSv39 | Self::RiscvSv48 | Self::RiscvSv57 => register & !0xfff,
            Self::Powerpc64Radix => register & 0x0fff_ffff_ffff_ff00,
        }
    }

    /// The kinds of page tables that an architecture has, the usual one first.
    pub fn of(architecture: Architecture) -> &'static [Self] {
        match architecture {
            Architecture::Amd64 => &[Self::Amd64, Self::Amd64La57],
            Architecture::Arm64 => &[Self::Arm64Pages4K, Self::Arm64Pages16K, Self::Arm64Pages64K],
            Architecture::I386 => &[Self::I386Pae, Self::I386],
            Architecture::Armv7 => &[Self::Armv7],
            Architecture::Riscv64 => &[Self::RiscvSv39, Self::RiscvSv48, Self::RiscvSv57],
            Architecture::Powerpc64 => &[Self::Powerpc64Radix],
        }
    }

    /// What `entry`, which was found at `level`, says. The last level is `levels().len() - 1`.
    pub(crate) fn decode(self, at: usize, entry: u64) -> Entry {
        let levels = self.levels();
        let Some(&Level { shift, .. }) = levels.get(at) else { return Entry::Empty };
        let last = at + 1 == levels.len();
        match self {
            Self::Amd64 | Self::Amd64La57 => x86(entry, shift, last, shift <= 30),
            Self::I386Pae => x86(entry, shift, last, shift == 21),
            Self::I386 => i386(entry, shift, last),
            Self::Arm64Pages4K => arm64(entry, shift, last, 12, shift <= 39),
            Self::Arm64Pages16K => arm64(entry, shift, last, 14, shift <= 36),
            Self::Arm64Pages64K => arm64(entry, shift, last, 16, true),
            Self::Armv7 => armv7(entry, last),
            Self::RiscvSv39 | Self::RiscvSv48 | Self::RiscvSv57 => riscv(entry, shift, last),
            Self::Powerpc64Radix => radix(entry, shift, last),
        }
    }
}

/// A page of `1 << shift` bytes somewhere at `address`.
fn page(address: u64, shift: u32) -> Entry {
    Entry::Page { address: address & !((1 << shift) - 1), shift }
}

/// `sys/amd64/include/pte.h`: `PG_V`, `PG_PS`, `PG_FRAME`.
fn x86(entry: u64, shift: u32, last: bool, may_be_large: bool) -> Entry {
    if entry & X86_PRESENT == 0 {
        Entry::Empty
    } else if last || may_be_large && entry & X86_LARGE != 0 {
        page(entry & X86_FRAME, shift)
    } else {
        Entry::Table(entry & X86_FRAME)
    }
}

fn i386(entry: u64, shift: u32, last: bool) -> Entry {
    if entry & X86_PRESENT == 0 {
        Entry::Empty
    } else if last {
        page(entry & 0xffff_f000, shift)
    } else if entry & X86_LARGE != 0 {
        // PSE-36: bits 13 to 20 are bits 32 to 39 of the address.
        page((entry & 0xffc0_0000) | ((entry >> 13 & 0xff) << 32), shift)
    } else {
        Entry::Table(entry & 0xffff_f000)
    }
}

/// `sys/arm64/include/pte.h`: `ATTR_DESCR_MASK`, `Ln_TABLE`, `Ln_BLOCK`, `L3_PAGE`. Entries that are marked as
/// contiguous have their own address each.
fn arm64(entry: u64, shift: u32, last: bool, granule: u32, may_be_block: bool) -> Entry {
    let mut address = entry & 0x0003_ffff_ffff_ffff & !((1 << granule) - 1);
    if granule == 16 {
        // 52-bit addresses have their upper four bits where the lower ones are zero.
        address |= (entry >> 12 & 0xf) << 48;
    }
    match entry & 3 {
        3 if last => page(address, shift),
        3 => Entry::Table(address),
        1 if !last && may_be_block => page(address, shift),
        _ => Entry::Empty,
    }
}

/// `sys/arm/include/pte.h`: sections and supersections, large and small pages.
fn armv7(entry: u64, last: bool) -> Entry {
    match (last, entry & 3) {
        (false, 1) => Entry::Table(entry & 0xffff_fc00),
        (false, 2 | 3) if entry >> 18 & 1 == 1 => {
            page((entry & 0xff00_0000) | (entry >> 20 & 0xf) << 32 | (entry >> 5 & 0xf) << 36, 24)
        }
        (false, 2 | 3) => page(entry & 0xfff0_0000, 20),
        (true, 1) => page(entry & 0xffff_0000, 16),
        (true, 2 | 3) => page(entry & 0xffff_f000, 12),
        _ => Entry::Empty,
    }
}

/// `sys/riscv/include/pte.h`: an entry that may be neither read, written nor executed is a table.
fn riscv(entry: u64, shift: u32, last: bool) -> Entry {
    let address = (entry >> 10 & ((1 << 44) - 1)) << 12;
    if entry & 1 == 0 {
        Entry::Empty
    } else if entry & 0xe != 0 {
        // Svnapot: a page of 64 KiB, its size encoded below its number.
        let napot = last && entry >> 63 == 1 && entry >> 10 & 0xf == 8;
        page(address, if napot { 16 } else { shift })
    } else if last {
        Entry::Empty
    } else {
        Entry::Table(address)
    }
}

/// `sys/powerpc/aim/mmu_radix.c`: `RPTE_VALID`, `RPTE_LEAF`, `RPTE_RPN_MASK`, `RPDE_NLB_MASK`.
fn radix(entry: u64, shift: u32, last: bool) -> Entry {
    if entry >> 63 == 0 {
        Entry::Empty
    } else if entry >> 62 & 1 == 1 {
        page(entry & 0x00ff_ffff_ffff_f000, shift)
    } else if last {
        Entry::Empty
    } else {
        Entry::Table(entry & 0x00ff_ffff_ffff_ff00)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pages_are_told_from_tables() {
        let at = |paging: Paging, level, entry| paging.decode(level, entry);
        assert_eq!(at(Paging::Amd64, 2, 0x8000_0000_1234_5083 & !0x1000), page(0x1220_0000, 21));
        assert_eq!(at(Paging::Amd64, 1, 0x4000_0083), page(0x4000_0000, 30));
        // The top level has no large pages: the bit is reserved.
        assert_eq!(at(Paging::Amd64, 0, 0x4000_0083), Entry::Table(0x4000_0000));
        // In the last level the bit is an attribute.
        assert_eq!(at(Paging::Amd64, 3, 0x4000_0083), page(0x4000_0000, 12));
        assert_eq!(at(Paging::I386, 0, 0x0040_0083 | 3 << 13), page(0x3_0040_0000, 22));
        assert_eq!(at(Paging::Arm64Pages4K, 2, 0x0060_0000_4020_0701), page(0x4020_0000, 21));
        assert_eq!(at(Paging::Arm64Pages4K, 3, 0x0060_0000_4020_0701), Entry::Empty);
        assert_eq!(at(Paging::Arm64Pages16K, 0, 0x4020_0701), Entry::Empty);
        assert_eq!(at(Paging::Armv7, 0, 0x4570_0402), page(0x4570_0000, 20));
        assert_eq!(at(Paging::Armv7, 0, 0x4504_0402), page(0x4500_0000, 24));
        assert_eq!(at(Paging::Armv7, 1, 0x4567_8001), page(0x4567_0000, 16));
        assert_eq!(at(Paging::RiscvSv39, 1, 0x2010_00cf), page(0x8040_0000, 21));
        assert_eq!(at(Paging::RiscvSv39, 2, 1), Entry::Empty);
        assert_eq!(at(Paging::Powerpc64Radix, 2, 0xc000_0000_4020_0187), page(0x4020_0000, 21));
    }

    #[test]
    fn roots_lose_what_registers_hold_besides() {
        assert_eq!(Paging::Amd64.root(0x8000_0000_1234_5018), 0x1234_5000);
        assert_eq!(Paging::Arm64Pages4K.root(0x00ab_0000_4123_4001), 0x4123_4000);
        assert_eq!(Paging::RiscvSv39.root(8 << 60 | 0x80123), 0x8012_3000);
        assert_eq!(Paging::RiscvSv39.root(0x8012_3000), 0x8012_3000);
    }
}
