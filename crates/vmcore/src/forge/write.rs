//! Writing what was forged: minidumps and full dumps.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::kind::leaf_entry;
use super::{Forge, Ring};
use crate::arch::{Architecture, ByteOrder};
use crate::memory::Paging;

impl Forge {
    /// A minidump.
    pub fn minidump(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_minidump(&mut bytes).unwrap_or_default();
        bytes
    }

    /// A full dump: an ELF core as FreeBSD writes it.
    pub fn full(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_full(&mut bytes).unwrap_or_default();
        bytes
    }

    /// Writes a minidump.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_minidump(&self, out: &mut dyn Write) -> io::Result<()> {
        let page_map = self.page_map();
        let message_size = self.ring.map_or(0, |ring| ring.size);
        let avail = self.dump_avail();
        let pages = self.dumped();
        let bitmap = self.bitmap(&pages);
        let header = self.header(message_size, &avail, &bitmap, &page_map);
        self.write_padded(out, &header)?;
        if let Some(Ring { physical, size, .. }) = self.ring {
            // Whole pages, with whatever stands behind the buffer in memory.
            let mut bytes = vec![0; size.next_multiple_of(self.kind.page_size()) as usize];
            self.read_physical(physical, &mut bytes);
            out.write_all(&bytes)?;
        }
        self.write_padded(out, &avail)?;
        self.write_padded(out, &bitmap)?;
        self.write_padded(out, &page_map)?;
        let mut buf = vec![0; self.kind.page_size() as usize];
        for page in pages {
            self.read_physical(page * self.kind.page_size(), &mut buf);
            out.write_all(&buf)?;
        }
        Ok(())
    }

    /// Writes a full dump.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_full(&self, out: &mut dyn Write) -> io::Result<()> {
        let number = |value: u64, size: usize| self.kind.number(value, size);
        let word = self.kind.architecture.pointer_size();
        let (header, program_header) = if word == 4 { (52, 32) } else { (64, 56) };
        let class = if word == 4 { 1 } else { 2 };
        let data = if self.kind.order == ByteOrder::Little { 1 } else { 2 };
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, data, 1, 255, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(number(4, 2));
        bytes.extend(number(u64::from(self.kind.architecture.elf_machine()), 2));
        // Version, entry point, program headers, section headers, flags.
        for (value, size) in [(0, 4), (0, word), (header, word), (0, word), (0, 4)] {
            bytes.extend(number(value, size));
        }
        for value in [header, program_header, self.ram.len() as u64, 0, 0, 0] {
            bytes.extend(number(value, 2));
        }
        let mut offset = (header + program_header * self.ram.len() as u64).next_multiple_of(self.kind.page_size());
        for &(start, end) in &self.ram {
            let length = end - start;
            let fields = if word == 4 {
                [1, offset, start, start, length, length, 4, 0x1000]
            } else {
                [1 | 4 << 32, offset, start, start, length, length, 0x1000, 0]
            };
            let count = if word == 4 { 8 } else { 7 };
            for (at, &value) in fields[..count].iter().enumerate() {
                if word == 8 && at == 0 {
                    bytes.extend(number(1, 4));
                    bytes.extend(number(4, 4));
                } else {
                    bytes.extend(number(value, word));
                }
            }
            offset += length;
        }
        self.write_padded(out, &bytes)?;
        let mut buf = vec![0; super::CELL as usize];
        for &(start, end) in &self.ram {
            for address in (start..end).step_by(buf.len()) {
                self.read_physical(address, &mut buf);
                out.write_all(&buf)?;
            }
        }
        Ok(())
    }

    fn write_padded(&self, out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
        let padding = (bytes.len() as u64).next_multiple_of(self.kind.page_size()) - bytes.len() as u64;
        out.write_all(bytes)?;
        out.write_all(&vec![0; padding as usize])
    }

    fn header(&self, message_size: u64, avail: &[u8], bitmap: &[u8], page_map: &[u8]) -> Vec<u8> {
        let kind = self.kind;
        let (name, fields) = match kind.architecture {
            Architecture::Amd64 => ("amd64", 24),
            Architecture::Arm64 => ("arm64", 24),
            Architecture::I386 => ("i386", 24),
            Architecture::Armv7 => ("arm", 24),
            Architecture::Riscv64 => ("riscv", 24),
            Architecture::Powerpc64 => ("powerpc64", 32),
        };
        let mut header = format!("minidump FreeBSD/{name}").into_bytes();
        header.resize(fields, 0);
        let mut put = |value: u64, size: usize| header.extend(kind.number(value, size));
        if kind.architecture == Architecture::Powerpc64 {
            let mut mmu = if kind.hashed { b"mmu_phyp".to_vec() } else { b"mmu_radix".to_vec() };
            mmu.resize(32, 0);
            mmu.iter().for_each(|&byte| put(u64::from(byte), 1));
        }
        for value in [u64::from(kind.version), message_size, bitmap.len() as u64, page_map.len() as u64] {
            put(value, 4);
        }
        let (start, end, physical) = kind.direct_map().unwrap_or_default();
        let base = kind.kernel_base();
        match kind.architecture {
            Architecture::Amd64 => [base, start, end].iter().for_each(|&value| put(value, 8)),
            Architecture::Arm64 | Architecture::Riscv64 => {
                [base, physical, start, end].iter().for_each(|&value| put(value, 8));
            }
            Architecture::I386 => {
                put(base, 4);
                put(u64::from(kind.paging == Paging::I386Pae), 4);
            }
            // Architecture 7, format of small pages.
            Architecture::Armv7 => [base, 7, 2].iter().for_each(|&value| put(value, 4)),
            Architecture::Powerpc64 => {
                [base, base + (1 << 40), start, end - 1].iter().for_each(|&value| put(value, 8));
                // Hardware direct map, padding, begin and end of the kernel, which was not moved.
                [0, 0x10_0100, 0x200_0000].iter().for_each(|&value| put(value, 8));
            }
        }
        put(avail.len() as u64, 4);
        if kind.architecture == Architecture::Arm64 {
            let flags = match kind.paging {
                Paging::Arm64Pages16K => 1,
                Paging::Arm64Pages64K => 2,
                _ => 0,
            };
            put(flags, 4);
        }
        header
    }

    /// Versions without the list have a bit for each page from address 0 on.
    fn has_dump_avail(&self) -> bool {
        self.kind.version > if self.kind.architecture == Architecture::Amd64 { 2 } else { 1 }
    }

    fn dump_avail(&self) -> Vec<u8> {
        let size = if self.kind.architecture == Architecture::Armv7 { 4 } else { 8 };
        let mut bytes = Vec::new();
        if self.has_dump_avail() {
            for &(start, end) in self.ram.iter().chain(&[(0, 0)]) {
                bytes.extend(self.kind.number(start, size));
                bytes.extend(self.kind.number(end, size));
            }
            bytes.resize(bytes.len().next_multiple_of(self.kind.page_size() as usize), 0);
        }
        bytes
    }

    /// The pages of a minidump, by number.
    fn dumped(&self) -> BTreeSet<u64> {
        let shift = self.kind.page_shift();
        let mut pages = self.kept.clone();
        for (_, physical, size) in self.maps() {
            pages.extend((physical >> shift)..((physical + (1 << size)) >> shift).max((physical >> shift) + 1));
        }
        let last = self.kind.paging.levels().len() - 1;
        for &(table, level) in &self.tables {
            // Those that the page map does not stand for.
            let needed = match self.kind.architecture {
                Architecture::Amd64 => self.kind.version > 1 && level == last,
                Architecture::Powerpc64 => true,
                _ => false,
            };
            if needed {
                pages.insert(table >> shift);
            }
        }
        let in_ram = |page: &u64| self.ram.iter().any(|&(start, end)| (start >> shift..end >> shift).contains(page));
        pages.into_iter().filter(|page| in_ram(page) && !self.left_out.contains(page)).collect()
    }

    fn bitmap(&self, pages: &BTreeSet<u64>) -> Vec<u8> {
        let shift = self.kind.page_shift();
        let ranges: Vec<(u64, u64)> = if self.has_dump_avail() {
            self.ram.iter().map(|&(start, end)| (start >> shift, end.div_ceil(1 << shift))).collect()
        } else {
            vec![(0, self.ram.last().map_or(0, |&(_, end)| end.div_ceil(1 << shift)))]
        };
        let bits: u64 = ranges.iter().map(|(start, end)| end - start).sum();
        let size = bits.div_ceil(64) * 8;
        let size = if self.has_dump_avail() { size.next_multiple_of(self.kind.page_size()) } else { size };
        let mut bitmap = vec![0u8; size as usize];
        let mut before = 0;
        for (start, end) in ranges {
            for page in pages.range(start..end) {
                let bit = before + page - start;
                bitmap[(bit / 8) as usize] |= 1 << (bit % 8);
            }
            before += end - start;
        }
        if self.kind.order == ByteOrder::Big {
            let word = self.kind.architecture.pointer_size();
            bitmap.chunks_mut(word).for_each(|word| word.reverse());
        }
        bitmap
    }

    /// The kernel's page tables as the minidump's header part has them.
    fn page_map(&self) -> Vec<u8> {
        let base = self.kind.kernel_base();
        let end =
            self.maps().filter(|&(address, ..)| address >= base).map(|(address, _, shift)| address + (1 << shift));
        let end = end.max().unwrap_or(base);
        match self.kind.architecture {
            Architecture::Powerpc64 => {
                let mut root = vec![0; 1 << 16];
                self.read_physical(self.root, &mut root);
                root
            }
            Architecture::Amd64 if self.kind.version > 1 => {
                let pages = (end - base).div_ceil(1 << 30);
                (0..pages).flat_map(|page| self.directory(base + (page << 30))).collect()
            }
            _ => {
                let shift = self.kind.page_shift();
                let size = self.kind.paging.entry_size() as u64;
                // A page of entries at a time.
                let entries = ((end - base) >> shift).next_multiple_of(self.kind.page_size() / size);
                let mut map = vec![0; (entries * size) as usize];
                for (address, physical, page) in self.maps().filter(|&(address, ..)| address >= base) {
                    for at in 0..1u64 << (page - shift) {
                        let entry = self.flat_entry(physical + (at << shift), physical, page);
                        let start = ((((address - base) >> shift) + at) * size) as usize;
                        map[start..start + size as usize].copy_from_slice(&self.kind.number(entry, size as usize));
                    }
                }
                map
            }
        }
    }

    /// The entry for one page; large pages are made small, but for those of armv7 that are among small ones.
    fn flat_entry(&self, page: u64, large: u64, shift: u32) -> u64 {
        if self.kind.paging == Paging::Armv7 && shift == 16 {
            leaf_entry(self.kind.paging, 12, large, 16)
        } else {
            leaf_entry(self.kind.paging, self.kind.page_shift(), page, self.kind.page_shift())
        }
    }

    /// The page directory for 1 GB of amd64; a page of 1 GB is shown as pages of 2 MB.
    fn directory(&self, address: u64) -> Vec<u8> {
        if let Some(&(physical, 30)) = self.maps.get(&address) {
            let entry = |at: u64| leaf_entry(self.kind.paging, 21, physical + (at << 21), 21);
            return (0..512).flat_map(|at| entry(at).to_le_bytes()).collect();
        }
        let levels = self.kind.paging.levels();
        let mut table = Some(self.root);
        for level in &levels[..levels.len() - 2] {
            let index = address >> level.shift & 511;
            table = table.and_then(|table| self.table_of(self.read_entry(table, index)));
        }
        let mut bytes = vec![0; 4096];
        if let Some(table) = table {
            self.read_physical(table, &mut bytes);
        }
        bytes
    }
}
