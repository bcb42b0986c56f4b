//! Dumps that no kernel wrote: a small physical memory with page tables, a message buffer and a direct map, written as a
//! minidump or a full dump of any architecture and version.
//!
//! For tests and drills: what is put in is known, so that what is read back can be compared. Writing shares no code with
//! reading. Behind the feature `forge`.
//!
//! ```
//! use vmcore::forge::{Forge, Kind};
//! use vmcore::memory::{Memory, VirtualMemory};
//!
//! let mut forge = Forge::new(Kind::AMD64);
//! let address = forge.kernel_base() + 0x5000;
//! forge.map(address, 0x20_0000, 12);
//! forge.write(address + 8, b"hello");
//! let memory = Memory::open(std::sync::Arc::new(forge.minidump()))?;
//! assert_eq!(memory.read_cstr(address + 8, 16)?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(clippy::indexing_slicing, reason = "what is forged is no input")]

mod golden;
mod kind;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use golden::{Golden, golden};
pub use kind::Kind;
use kind::{leaf_entry, never_execute, table_entry};

use crate::arch::ByteOrder;

/// The pieces of which physical memory is kept.
const CELL: u64 = 4096;

/// A machine's memory, from which dumps are made.
#[derive(Clone)]
pub struct Forge {
    kind: Kind,
    cells: BTreeMap<u64, Box<[u8; CELL as usize]>>,
    /// Physical memory: first address and the one behind the last.
    ram: Vec<(u64, u64)>,
    root: u64,
    next_table: u64,
    /// Page tables other than the root: address, level.
    tables: Vec<(u64, usize)>,
    /// What is mapped: virtual, physical, size as a power of two.
    maps: BTreeMap<u64, (u64, u32)>,
    /// Pages that are dumped though no page table maps them.
    kept: BTreeSet<u64>,
    /// Pages that are not dumped though they are mapped.
    left_out: BTreeSet<u64>,
    ring: Option<Ring>,
}

/// The message buffer.
#[derive(Clone, Copy)]
struct Ring {
    address: u64,
    physical: u64,
    size: u64,
    written: u64,
    read: u64,
}

impl Forge {
    /// A machine with 64 MiB of memory in two ranges, where the architecture has it, and nothing mapped.
    pub fn new(kind: Kind) -> Self {
        let base = kind.ram_base();
        let ram = vec![(base + 0x1_0000, base + 0x9_0000), (base + 0x10_0000, base + 0x400_0000)];
        Self::with_memory(kind, ram)
    }

    /// A machine with these ranges of memory (first address and the one behind the last), in ascending order. The last
    /// must have room for page tables at its end.
    pub fn with_memory(kind: Kind, ram: Vec<(u64, u64)>) -> Self {
        let end = ram.last().map_or(0, |&(_, end)| end) & !0xffff;
        let mut forge = Self {
            kind,
            cells: BTreeMap::new(),
            ram,
            root: 0,
            next_table: end,
            tables: Vec::new(),
            maps: BTreeMap::new(),
            kept: BTreeSet::new(),
            left_out: BTreeSet::new(),
            ring: None,
        };
        forge.root = forge.allocate(0);
        if let Some(entry) = kind.self_entry() {
            forge.write_entry(forge.root, entry, table_entry(kind.paging, forge.root));
        }
        forge
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The physical address of the root of the kernel's page tables.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Where the kernel's virtual memory begins, of which minidumps have page tables.
    pub fn kernel_base(&self) -> u64 {
        self.kind.kernel_base()
    }

    /// The virtual address in the direct map of a physical one.
    pub fn direct(&self, physical: u64) -> Option<u64> {
        let (start, _, base) = self.kind.direct_map()?;
        Some(start + (physical - base))
    }

    /// What is mapped: virtual address, physical address, size as a power of two.
    pub fn maps(&self) -> impl Iterator<Item = (u64, u64, u32)> + '_ {
        self.maps.iter().map(|(&address, &(physical, shift))| (address, physical, shift))
    }

    /// Maps a page of `1 << shift` bytes in the kernel's page tables. The size must be one that the architecture has, or
    /// 16 or 24 on armv7.
    pub fn map(&mut self, address: u64, physical: u64, shift: u32) {
        self.map_in(self.root, address, physical, shift);
        self.maps.insert(address, (physical, shift));
    }

    /// The same of a page that the machine may execute.
    pub fn map_code(&mut self, address: u64, physical: u64, shift: u32) {
        let paging = self.kind.paging;
        let clear = never_execute(paging);
        self.map_entries(self.root, address, shift, |level| leaf_entry(paging, level, physical, shift) & !clear);
        self.maps.insert(address, (physical, shift));
    }

    /// A new root of page tables, for a process.
    pub fn new_root(&mut self) -> u64 {
        self.allocate(0)
    }

    /// Maps a page in page tables other than the kernel's.
    pub fn map_in(&mut self, root: u64, address: u64, physical: u64, shift: u32) {
        let paging = self.kind.paging;
        self.map_entries(root, address, shift, |level| leaf_entry(paging, level, physical, shift));
    }

    /// Writes the entries for a page, whose value depends on how much one of their table stands for.
    fn map_entries(&mut self, root: u64, address: u64, shift: u32, leaf: impl Fn(u32) -> u64) {
        let levels = self.kind.paging.levels();
        let mut table = root;
        for (at, level) in levels.iter().enumerate() {
            let index = address >> level.shift & ((1 << level.bits) - 1);
            if level.shift <= shift {
                // A page that is larger than what an entry stands for has the same entry many times.
                for repeat in 0..1 << (shift - level.shift) {
                    self.write_entry(table, index + repeat, leaf(level.shift));
                }
                return;
            }
            let entry = self.read_entry(table, index);
            table = match self.table_of(entry) {
                Some(next) => next,
                None => {
                    let next = self.allocate(at + 1);
                    self.write_entry(table, index, table_entry(self.kind.paging, next));
                    next
                }
            };
        }
    }

    /// Writes an entry of a page table as it is, damage and all.
    pub fn write_entry(&mut self, table: u64, index: u64, entry: u64) {
        let size = self.kind.paging.entry_size();
        let bytes = match self.kind.paging.byte_order(self.kind.order) {
            ByteOrder::Little => entry.to_le_bytes(),
            ByteOrder::Big => entry.to_be_bytes(),
        };
        let bytes = if size == 8 { &bytes[..] } else { &bytes[..4] };
        self.write_physical(table + index * size as u64, bytes);
    }

    fn read_entry(&self, table: u64, index: u64) -> u64 {
        let size = self.kind.paging.entry_size();
        let mut bytes = [0; 8];
        self.read_physical(table + index * size as u64, &mut bytes[..size]);
        match self.kind.paging.byte_order(self.kind.order) {
            ByteOrder::Little => u64::from_le_bytes(bytes),
            ByteOrder::Big => u64::from_be_bytes(bytes),
        }
    }

    fn table_of(&self, entry: u64) -> Option<u64> {
        self.tables.iter().map(|&(table, _)| table).find(|&table| table_entry(self.kind.paging, table) == entry)
    }

    /// Room for a table of a level, from the end of memory downwards.
    fn allocate(&mut self, level: usize) -> u64 {
        let bits = self.kind.paging.levels()[level].bits;
        let size = ((self.kind.paging.entry_size() as u64) << bits).max(self.kind.page_size());
        self.next_table = (self.next_table - size) & !(size - 1);
        // So that it is there, though it be empty.
        self.write_physical(self.next_table, &vec![0; size as usize]);
        if level > 0 {
            self.tables.push((self.next_table, level));
        }
        self.next_table
    }

    /// Writes physical memory.
    pub fn write_physical(&mut self, mut address: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = (address % CELL) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(CELL as usize - within));
            let cell = self.cells.entry(address / CELL).or_insert_with(|| Box::new([0; CELL as usize]));
            cell[within..within + now.len()].copy_from_slice(now);
            address += now.len() as u64;
            bytes = rest;
        }
    }

    /// Reads physical memory; what was never written is zero.
    pub fn read_physical(&self, mut address: u64, mut buf: &mut [u8]) {
        while !buf.is_empty() {
            let within = (address % CELL) as usize;
            let length = buf.len().min(CELL as usize - within);
            let (now, rest) = buf.split_at_mut(length);
            match self.cells.get(&(address / CELL)) {
                Some(cell) => now.copy_from_slice(&cell[within..within + length]),
                None => now.fill(0),
            }
            address += length as u64;
            buf = rest;
        }
    }

    /// The physical address of a virtual one, as it was mapped.
    pub fn translate(&self, address: u64) -> Option<u64> {
        let mapped = self.maps.range(..=address).next_back();
        let found = mapped.and_then(|(&start, &(physical, shift))| {
            let within = address - start;
            (within < 1 << shift).then_some(physical + within)
        });
        found.or_else(|| {
            let (start, end, base) = self.kind.direct_map()?;
            (start..end).contains(&address).then(|| address - start + base)
        })
    }

    /// Writes virtual memory.
    ///
    /// # Panics
    /// If it is not mapped.
    #[allow(clippy::panic, reason = "a mistake of the test, which is to hear of it")]
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        for (at, piece) in bytes.chunks(1).enumerate() {
            let address = address + at as u64;
            let Some(physical) = self.translate(address) else { panic!("{address:#x} is not mapped") };
            self.write_physical(physical, piece);
        }
    }

    /// Has minidumps keep a page that no page table maps.
    pub fn keep(&mut self, physical: u64) {
        self.kept.insert(physical / self.kind.page_size());
    }

    /// Has minidumps leave out a page though it is mapped.
    pub fn leave_out(&mut self, physical: u64) {
        self.left_out.insert(physical / self.kind.page_size());
    }

    /// Makes a message buffer of `size` bytes at a physical address, its structure behind it; through the direct map
    /// where there is one, and mapped at `address` elsewhere. It returns the virtual address of the structure.
    pub fn message_buffer(&mut self, physical: u64, address: u64, size: u64) -> u64 {
        let address = self.direct(physical).unwrap_or(address);
        let end = (size + 128).next_multiple_of(self.kind.page_size());
        for page in (0..end).step_by(self.kind.page_size() as usize) {
            if self.direct(physical).is_none() {
                self.map(address + page, physical + page, self.kind.page_shift());
            }
            self.keep(physical + page);
        }
        self.ring = Some(Ring { address, physical, size, written: 0, read: 0 });
        self.write_ring();
        address + size
    }

    /// Prints into the message buffer.
    pub fn print(&mut self, text: &str) {
        let Some(mut ring) = self.ring else { return };
        for byte in text.bytes() {
            self.write_physical(ring.physical + ring.written % ring.size, &[byte]);
            ring.written = (ring.written + 1) % (16 * ring.size);
        }
        self.ring = Some(ring);
        self.write_ring();
    }

    /// All that was printed has been read.
    pub fn read_messages(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.read = ring.written;
        }
        self.write_ring();
    }

    fn write_ring(&mut self) {
        let Some(ring) = self.ring else { return };
        let pointer = self.kind.architecture.pointer_size();
        let mut bytes = self.kind.number(ring.address, pointer);
        // Magic, size, both sequence numbers, checksum, modulus.
        for field in [0x06_3062, ring.size, ring.written, ring.read, 0, 16 * ring.size] {
            bytes.extend(self.kind.number(field, 4));
        }
        self.write_physical(ring.physical + ring.size, &bytes);
    }
}
