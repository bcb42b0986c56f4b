//! Walking page tables: from an address to the page, and over all that is mapped.

use super::error::Fault;
use super::paging::{Entry, Paging};
use super::physical::Physical;
use crate::arch::{ByteOrder, Fields};

/// Levels that any page tables have at most.
const MOST_LEVELS: usize = 5;
/// Tables that a walk over everything may visit beyond two for each page that the dump has room for.
const SOME_TABLES: u64 = 1024;

/// Page tables, whole or from some level on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    pub(crate) paging: Paging,
    /// The level of the first table.
    pub(crate) level: usize,
    pub(crate) first: Place,
    /// How many entries the first table has.
    pub(crate) entries: u64,
    /// The virtual address that the first entry is for.
    pub(crate) base: u64,
    pub(crate) order: ByteOrder,
}

/// Where a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this byte of the dump.
    File(u64),
    /// At this physical address.
    Memory(u64),
}

/// A piece of virtual memory that one entry maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) address: u64,
    pub(crate) physical: u64,
    pub(crate) length: u64,
}

impl Tables {
    /// Page tables from their root on, as a processor has them. `base` is the first address that they are for: other
    /// than 0 where upper and lower half have roots of their own.
    pub(crate) fn rooted(paging: Paging, root: u64, base: u64, order: ByteOrder) -> Self {
        let entries = paging.levels().first().map_or(0, |level| 1 << level.bits);
        Self { paging, level: 0, first: Place::Memory(root), entries, base, order }
    }

    /// The physical address of virtual address `va`, and how many bytes are mapped together from there on.
    pub(crate) fn translate(&self, physical: &Physical, va: u64) -> Result<(u64, u64), Fault> {
        let not_mapped = || Fault::NotMapped { address: va };
        let levels = self.paging.levels();
        let first = levels.get(self.level).ok_or_else(not_mapped)?;
        let mut index = self.first_index(va).ok_or_else(not_mapped)?;
        let mut place = self.first;
        let mut shift = first.shift;
        for at in self.level..levels.len() {
            if at > self.level {
                let level = levels.get(at).ok_or_else(not_mapped)?;
                shift = level.shift;
                index = va >> shift & ((1 << level.bits) - 1);
            }
            match self.paging.decode(at, self.entry(physical, place, index, va)?) {
                Entry::Empty => return Err(not_mapped()),
                Entry::Table(next) => place = Place::Memory(next),
                Entry::Page { address, shift: size } => {
                    let within = va & ((1 << size) - 1);
                    let in_entry = va & ((1 << shift.min(size)) - 1);
                    return Ok((address | within, (1 << shift.min(size)) - in_entry));
                }
            }
        }
        Err(not_mapped())
    }

    /// Which entry of the first table is for `va`.
    fn first_index(&self, va: u64) -> Option<u64> {
        let shift = self.paging.levels().get(self.level)?.shift;
        let offset = if self.is_signed() {
            let bits = self.paging.address_bits();
            let address = va & ((1 << bits) - 1);
            (extend(address, bits) == va).then_some(address)?
        } else {
            va.checked_sub(self.base)?
        };
        let index = offset >> shift;
        (index < self.entries).then_some(index)
    }

    /// Whether the upper half of the first table is for the upper half of all addresses.
    fn is_signed(&self) -> bool {
        self.level == 0 && self.paging.is_signed()
    }

    fn entry(&self, physical: &Physical, place: Place, index: u64, va: u64) -> Result<u64, Fault> {
        let size = self.paging.entry_size();
        let mut bytes = [0; 8];
        let Some(buf) = bytes.get_mut(..size) else { return Ok(0) };
        let skip = index * size as u64;
        match place {
            Place::File(offset) => {
                physical.read_file(offset.saturating_add(skip), buf).map_err(|fault| fault.at(va))?
            }
            Place::Memory(table) => {
                let table = table.saturating_add(skip);
                physical.read_table(table, buf).map_err(|fault| no_table(fault, va, table))?;
            }
        }
        Ok(Fields::new(&bytes, self.paging.byte_order(self.order)).word(0, size))
    }

    /// All that is mapped, in the order of addresses.
    pub(crate) fn leaves<'a>(&self, physical: &'a Physical) -> Leaves<'a> {
        let frame = Frame { place: self.first, level: self.level, index: 0, address: self.base };
        let mut stack = [None; MOST_LEVELS];
        stack[0] = Some(frame);
        let budget = physical.readable_pages().saturating_mul(2).saturating_add(SOME_TABLES);
        Leaves { tables: *self, physical, stack, depth: 1, budget, chunk: Chunk::default() }
    }
}

fn no_table(fault: Fault, address: u64, table: u64) -> Fault {
    match fault {
        Fault::NotPresent { .. } => Fault::NoTable { address, table },
        other => other.at(address),
    }
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    place: Place,
    level: usize,
    /// The next entry.
    index: u64,
    /// The virtual address of the first entry.
    address: u64,
}

/// An iterator over what page tables map. A table that is not in the dump is an error once, and passed over.
pub(crate) struct Leaves<'a> {
    tables: Tables,
    physical: &'a Physical,
    stack: [Option<Frame>; MOST_LEVELS],
    depth: usize,
    /// Tables that may still be visited.
    budget: u64,
    chunk: Chunk,
}

/// Entries of a table that were read together.
#[derive(Default)]
struct Chunk {
    of: Option<(Place, u64)>,
    bytes: Vec<u8>,
}

/// Entries that are read at a time.
const CHUNK: u64 = 512;

impl Leaves<'_> {
    fn finish(&mut self) {
        self.depth = 0;
    }

    /// The entry, or how many may be passed over because none can be read.
    fn entry(&mut self, frame: Frame, entries: u64) -> Result<u64, (u64, Fault)> {
        let size = self.tables.paging.entry_size();
        let start = frame.index - frame.index % CHUNK;
        if self.chunk.of != Some((frame.place, start)) {
            let count = CHUNK.min(entries - start);
            self.chunk.of = None;
            self.chunk.bytes.resize(count as usize * size, 0);
            let skip = start * size as u64;
            let read = match frame.place {
                Place::File(offset) => self.physical.read_file(offset.saturating_add(skip), &mut self.chunk.bytes),
                Place::Memory(table) => {
                    let table = table.saturating_add(skip);
                    let read = self.physical.read_table(table, &mut self.chunk.bytes);
                    read.map_err(|fault| no_table(fault, frame.address, table))
                }
            };
            read.map_err(|fault| (count - frame.index % CHUNK, fault.at(frame.address)))?;
            self.chunk.of = Some((frame.place, start));
        }
        let order = self.tables.paging.byte_order(self.tables.order);
        Ok(Fields::new(&self.chunk.bytes, order).word((frame.index - start) as usize * size, size))
    }

    /// Whether a table is being walked already: a map of itself, which says nothing new.
    fn is_open(&self, place: Place) -> bool {
        self.stack.iter().take(self.depth).flatten().any(|frame| frame.place == place)
    }
}

impl Iterator for Leaves<'_> {
    type Item = Result<Leaf, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let levels = self.tables.paging.levels();
        loop {
            let top = self.depth.checked_sub(1)?;
            let frame = (*self.stack.get(top)?)?;
            let level = *levels.get(frame.level)?;
            let entries = if top == 0 { self.tables.entries } else { 1 << level.bits };
            if frame.index >= entries {
                self.depth = top;
                continue;
            }
            let address = self.address(frame, level.shift);
            let read = self.entry(frame, entries);
            let skip = read.as_ref().map_or_else(|(skip, _)| *skip, |_| 1);
            if let Some(slot) = self.stack.get_mut(top) {
                *slot = Some(Frame { index: frame.index.saturating_add(skip), ..frame });
            }
            let entry = match read {
                Ok(entry) => entry,
                Err((_, fault)) => return Some(Err(fault)),
            };
            match self.tables.paging.decode(frame.level, entry) {
                Entry::Empty => {}
                Entry::Page { address: page, shift } => {
                    let size = 1 << level.shift.min(shift);
                    let within = address & ((1 << shift) - 1) & !(size - 1);
                    return Some(Ok(Leaf { address, physical: page | within, length: size }));
                }
                Entry::Table(next) => {
                    let place = Place::Memory(next);
                    if self.is_open(place) {
                        continue;
                    }
                    if self.budget == 0 {
                        self.finish();
                        return Some(Err(Fault::Absurd { address }));
                    }
                    self.budget -= 1;
                    if let Some(slot) = self.stack.get_mut(self.depth) {
                        *slot = Some(Frame { place, level: frame.level + 1, index: 0, address });
                        self.depth += 1;
                    }
                }
            }
        }
    }
}

impl Leaves<'_> {
    /// The virtual address that an entry is for.
    fn address(&self, frame: Frame, shift: u32) -> u64 {
        let address = frame.address.wrapping_add(frame.index << shift);
        if frame.level == 0 && self.tables.is_signed() {
            extend(address, self.tables.paging.address_bits())
        } else {
            address
        }
    }
}

/// Copies the highest of `bits` bits upwards.
fn extend(address: u64, bits: u32) -> u64 {
    if address >> (bits - 1) & 1 == 1 { address | u64::MAX << bits } else { address }
}
