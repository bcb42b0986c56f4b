//! ELF cores of the kernel's memory.
//!
//! ```text
//! ELF header | program headers | notes | physical memory, each page once
//! ```
//!
//! Each range of the kernel's virtual memory is a `PT_LOAD`, page tables and direct map alike, with the physical address
//! in `p_paddr`; ranges that are the same memory have the same bytes of the file. What the dump does not have is in no
//! segment, so that a debugger says so.

use super::notes::Flavour;
use super::plan::{Plan, Segment};
use super::writer::Writer;
use super::{Error, Output, Registers, write_sparsely};
use crate::arch::{Architecture, ByteOrder};
use crate::memory::{Fault, Memory};

/// Above this number of program headers the first section header has it: `PN_XNUM`.
const PN_XNUM: usize = 0xffff;
const ALIGNMENT: u64 = 4096;
const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
/// Bytes that are read at a time.
const CHUNK: u64 = 1 << 20;

/// What a core is to be like.
#[derive(Debug, Clone, Default)]
pub struct CoreOptions {
    /// Whose cores it looks like.
    pub flavour: Flavour,
    /// Threads, the one that panicked first. Without any a debugger has neither registers nor stack.
    pub threads: Vec<Thread>,
}

/// A thread in a core.
#[derive(Debug, Clone, Default)]
pub struct Thread {
    /// Its number, which is not 0.
    pub id: u32,
    /// Its registers.
    pub registers: Registers,
}

/// What a core has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Ranges of virtual memory.
    pub segments: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes that the dump has and the core has not, as no virtual address of the kernel shows them.
    pub unmapped: u64,
    /// Page tables that are missing in the dump, so that what they mapped is not in the core.
    pub missing_tables: u64,
    /// The length of the core, holes and all, in bytes.
    pub length: u64,
}

/// Writes an ELF core that debuggers open.
///
/// # Errors
/// If the dump cannot be read, has nothing that is mapped, or the result cannot be written.
pub fn core(memory: &Memory, options: &CoreOptions, out: &mut dyn Output) -> Result<Summary, Error> {
    let plan = Plan::of(memory)?;
    if plan.segments.is_empty() {
        // Why that is so is what reading says.
        return Err(match memory.translate(u64::MAX) {
            Err(fault @ Fault::NoTables { .. }) => Error::Fault(fault),
            _ => Error::Empty,
        });
    }
    let notes = options.flavour.notes(memory.architecture(), memory.byte_order(), &options.threads);
    let head = Head { architecture: memory.architecture(), writer: Writer::new(memory.byte_order()) };
    let (head, data_start) = head.front(options.flavour, &plan, &notes);
    out.write(&head)?;
    let mut buf = Vec::new();
    for piece in &plan.pieces {
        let mut done = 0;
        while done < piece.length {
            let length = CHUNK.min(piece.length - done);
            buf.resize(length as usize, 0);
            memory.read_physical_once(piece.address + done, &mut buf)?;
            write_sparsely(out, &buf)?;
            done += length;
        }
    }
    Ok(Summary {
        segments: plan.segments.len() as u64,
        memory: plan.length,
        unmapped: plan.unmapped,
        missing_tables: plan.missing_tables,
        length: data_start + plan.length,
    })
}

/// Writes what is in front of the data.
struct Head {
    architecture: Architecture,
    writer: Writer,
}

impl Head {
    fn put(&mut self, value: u64, size: usize) {
        self.writer.put(value, size);
    }

    fn word(&mut self, value: u64) {
        self.put(value, self.architecture.pointer_size());
    }

    /// Everything in front of the data, and where they start.
    fn front(mut self, flavour: Flavour, plan: &Plan, notes: &[u8]) -> (Vec<u8>, u64) {
        let word = self.architecture.pointer_size();
        let (header, program_header, section_header) = if word == 8 { (64, 56, 64) } else { (52, 32, 40) };
        let count = plan.segments.len() + 1;
        let extended = count >= PN_XNUM;
        let sections = if extended { section_header } else { 0 };
        let notes_start = header + sections + program_header * count as u64;
        let data_start = (notes_start + notes.len() as u64).next_multiple_of(ALIGNMENT);

        self.writer.bytes.extend_from_slice(b"\x7fELF");
        let data = if self.writer.order == ByteOrder::Little { 1 } else { 2 };
        for value in [if word == 8 { 2 } else { 1 }, data, 1, flavour.os_abi(), 0, 0, 0, 0, 0, 0, 0, 0] {
            self.writer.bytes.push(value);
        }
        // A core, for a machine, of the current version, that begins nowhere.
        self.put(4, 2);
        self.put(u64::from(self.architecture.elf_machine()), 2);
        self.put(1, 4);
        self.word(0);
        self.word(header + sections);
        self.word(if extended { header } else { 0 });
        // powerpc64 says here which of its calling conventions it has.
        self.put(if self.architecture == Architecture::Powerpc64 { 2 } else { 0 }, 4);
        self.put(header, 2);
        self.put(program_header, 2);
        self.put(if extended { PN_XNUM as u64 } else { count as u64 }, 2);
        self.put(sections, 2);
        self.put(u64::from(extended), 2);
        self.put(0, 2);
        if extended {
            // Name, type, then, of no meaning here but for the counts, flags to alignment.
            self.put(0, 8);
            for value in [0, 0, 0, 1] {
                self.word(value);
            }
            self.put(0, 4);
            self.put(count as u64, 4);
            self.word(0);
            self.word(0);
        }
        let length = notes.len() as u64;
        self.program_header(PT_NOTE, 4, Segment { address: 0, physical: 0, length, offset: notes_start }, 4);
        for segment in &plan.segments {
            let offset = data_start + segment.offset;
            self.program_header(PT_LOAD, 7, Segment { offset, ..*segment }, ALIGNMENT);
        }
        self.writer.bytes.extend_from_slice(notes);
        self.writer.bytes.resize(data_start as usize, 0);
        (self.writer.bytes, data_start)
    }

    fn program_header(&mut self, kind: u64, flags: u64, segment: Segment, alignment: u64) {
        let length = if kind == PT_NOTE { 0 } else { segment.length };
        // An address that 32 bits do not hold is left open.
        let physical = if self.architecture.pointer_size() == 4 {
            segment.physical.min(u64::from(u32::MAX))
        } else {
            segment.physical
        };
        self.put(kind, 4);
        if self.architecture.pointer_size() == 8 {
            self.put(flags, 4);
        }
        for value in [segment.offset, segment.address, physical, segment.length, length] {
            self.word(value);
        }
        if self.architecture.pointer_size() == 4 {
            self.put(flags, 4);
        }
        self.word(alignment);
    }
}
