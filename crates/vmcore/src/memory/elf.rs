//! ELF cores: full dumps as FreeBSD writes them, whose segments are physical memory, and cores whose segments say both
//! addresses, as [`convert`](crate::convert) writes them.
//!
//! A full dump has OSABI 255, `e_version` 0, no notes, and one `PT_LOAD` for each range of memory, `p_vaddr` being equal
//! to the physical address. Source: `sys/kern/kern_dump.c`, and measurement.

use std::sync::{Arc, OnceLock};

use disk::ReadAt;

use super::error::Error;
use super::physical::{Layout, Physical, Segment, Source};
use super::{Form, Kernel, Memory, VirtualSegment};
use crate::arch::{Architecture, ByteOrder, Fields};

pub(crate) const MAGIC: &[u8] = b"\x7fELF";
const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
/// `e_phnum` when the number of program headers is in the first section header.
const PN_XNUM: u16 = 0xffff;
/// Segments that are read at most.
const MOST_SEGMENTS: u64 = 1 << 22;
const PAGE_SHIFT: u32 = 12;

/// Where the fields of both classes of ELF are.
struct Class {
    phoff: usize,
    shoff: usize,
    word: usize,
    phentsize: usize,
    phnum: usize,
    program_header: usize,
    offset: usize,
    vaddr: usize,
    paddr: usize,
    filesz: usize,
    sh_info: usize,
}

const CLASS_32: Class = Class {
    phoff: 28,
    shoff: 32,
    word: 4,
    phentsize: 42,
    phnum: 44,
    program_header: 32,
    offset: 4,
    vaddr: 8,
    paddr: 12,
    filesz: 16,
    sh_info: 28,
};

const CLASS_64: Class = Class {
    phoff: 32,
    shoff: 40,
    word: 8,
    phentsize: 54,
    phnum: 56,
    program_header: 56,
    offset: 8,
    vaddr: 16,
    paddr: 24,
    filesz: 32,
    sh_info: 44,
};

struct Load {
    vaddr: u64,
    paddr: u64,
    offset: u64,
    length: u64,
}

/// Opens an ELF core; `start` is what the file begins with.
pub(crate) fn open(source: &Source, start: &[u8]) -> Result<Memory, Error> {
    let data = &source.data;
    let class = match start.get(4) {
        Some(1) => &CLASS_32,
        Some(2) => &CLASS_64,
        other => return Err(Error::malformed("ELF header: class", format!("{other:?}"), "1 or 2")),
    };
    let order = match start.get(5) {
        Some(1) => ByteOrder::Little,
        Some(2) => ByteOrder::Big,
        other => return Err(Error::malformed("ELF header: byte order", format!("{other:?}"), "1 or 2")),
    };
    let fields = Fields::new(start, order);
    if fields.u16(16) != ET_CORE {
        return Err(Error::malformed("ELF header: type", fields.u16(16), "4, a core"));
    }
    let machine = fields.u16(18);
    let architecture = Architecture::from_elf_machine(machine)
        .ok_or_else(|| Error::Unsupported { what: format!("an ELF core of machine {machine}") })?;
    if (architecture.pointer_size() == 4) != (class.word == 4) {
        let expected = format!("that of {architecture}");
        return Err(Error::malformed("ELF header: class", format!("{} bits", class.word * 8), expected));
    }
    let loads = loads(data, fields, class)?;
    let is_virtual = loads.iter().any(|load| load.vaddr != load.paddr && load.vaddr != u64::MAX);
    let kernel = if is_virtual {
        let mut segments: Vec<VirtualSegment> = loads
            .iter()
            .filter(|load| load.vaddr != u64::MAX)
            .map(|load| VirtualSegment { address: load.vaddr, length: load.length, physical: load.paddr })
            .collect();
        segments.sort_by_key(|segment| segment.address);
        Kernel::Segments(segments)
    } else {
        Kernel::Search(OnceLock::new())
    };
    let physical = Physical::new(source, Layout::Segments(physical(loads)?), PAGE_SHIFT);
    let form = if is_virtual { Form::Core } else { Form::Full };
    Ok(Memory { architecture, order, form, physical, kernel, direct: None, relocation: 0, message_buffer: None })
}

fn loads(data: &Arc<dyn ReadAt>, fields: Fields<'_>, class: &Class) -> Result<Vec<Load>, Error> {
    let mut count = u64::from(fields.u16(class.phnum));
    if count == u64::from(PN_XNUM) {
        let mut section = [0; 64];
        let at = fields.word(class.shoff, class.word);
        let bytes = section.get_mut(..class.sh_info + 4).unwrap_or_default();
        let what = "the first section header, which has the number of segments,";
        data.read_exact_at(bytes, at).map_err(|source| Error::Io { what, source })?;
        count = u64::from(Fields::new(bytes, fields.order).u32(class.sh_info));
    }
    if fields.u16(class.phentsize) as usize != class.program_header {
        let found = fields.u16(class.phentsize);
        return Err(Error::malformed("ELF header: size of a program header", found, class.program_header));
    }
    let length = count * class.program_header as u64;
    if count > MOST_SEGMENTS || length > data.size() {
        return Err(Error::malformed("ELF header: number of program headers", count, "what fits into the file"));
    }
    let mut bytes = vec![0; length as usize];
    let what = "the table of program headers";
    let at = fields.word(class.phoff, class.word);
    data.read_exact_at(&mut bytes, at).map_err(|source| Error::Io { what, source })?;
    let mut loads = Vec::new();
    for header in bytes.chunks_exact(class.program_header) {
        let header = Fields::new(header, fields.order);
        if header.u32(0) != PT_LOAD {
            continue;
        }
        let word = |at: usize| header.word(at, class.word);
        // An address that is not meant is all ones.
        let ones = if class.word == 4 { u64::from(u32::MAX) } else { u64::MAX };
        let vaddr = if word(class.vaddr) == ones { u64::MAX } else { word(class.vaddr) };
        let load = Load { vaddr, paddr: word(class.paddr), offset: word(class.offset), length: word(class.filesz) };
        if load.length == 0 || load.paddr == ones {
            continue;
        }
        let ends = |start: u64| start.checked_add(load.length).is_some();
        let last = vaddr.checked_add(load.length - 1);
        if !ends(load.paddr) || !ends(load.offset) || (last.is_none() && vaddr != u64::MAX) {
            let found = format!("{:#x} bytes at {:#x}, {:#x}, {:#x}", load.length, vaddr, load.paddr, load.offset);
            return Err(Error::malformed("program header: range", found, "one that does not wrap around"));
        }
        loads.push(load);
    }
    Ok(loads)
}

/// Pieces of physical memory that do not overlap: of what is there twice, the one that begins first is taken.
fn physical(mut loads: Vec<Load>) -> Result<Vec<Segment>, Error> {
    loads.sort_by_key(|load| load.paddr);
    let mut segments: Vec<Segment> = Vec::with_capacity(loads.len());
    let mut pages_before = 0u64;
    for load in loads {
        let after = segments.last().map_or(0, |last| last.address + last.length);
        let skip = after.saturating_sub(load.paddr);
        if skip >= load.length {
            continue;
        }
        let segment = Segment {
            address: load.paddr + skip,
            length: load.length - skip,
            offset: load.offset + skip,
            pages_before,
        };
        pages_before += segment.length.div_ceil(1 << PAGE_SHIFT);
        match segments.last_mut() {
            Some(last)
                if last.address + last.length == segment.address
                    && last.offset + last.length == segment.offset
                    && last.length % (1 << PAGE_SHIFT) == 0 =>
            {
                last.length += segment.length;
            }
            _ => segments.push(segment),
        }
    }
    // Else a small file could claim any amount of memory that can be read.
    let mut places: Vec<(u64, u64)> = segments.iter().map(|segment| (segment.offset, segment.length)).collect();
    places.sort_unstable();
    for pair in places.windows(2) {
        if let [(offset, length), (next, _)] = *pair
            && next < offset + length
        {
            let expected = "one that begins where the one before ends, or behind it";
            return Err(Error::malformed("program header: place in the file", format!("{next:#x}"), expected));
        }
    }
    Ok(segments)
}
