//! Minidumps: the header of each architecture, and what follows it.
//!
//! ```text
//! header page | message buffer | dump_avail (newer versions) | bitmap | page map | pages
//! ```
//!
//! Each part is padded to a page. The page map is the part of the kernel's page tables that no page of the dump has;
//! pages follow in the order of their bits. Sources: `sys/*/include/minidump.h`, `sys/vm/vm_dumpset.h`.

use std::sync::Arc;

use disk::ReadAt;

use super::error::Error;
use super::page_map::{PageMap, Range};
use super::paging::Paging;
use super::physical::{Layout, Physical, Source};
use super::tables::{Place, Tables};
use super::{DirectMap, Form, Kernel, Memory};
use crate::arch::{Architecture, ByteOrder, Fields};

/// How every minidump begins.
pub(crate) const MAGIC: &[u8] = b"minidump FreeBSD/";
/// The header's bytes that mean something, in every architecture.
pub(crate) const HEADER: usize = 256;
/// The largest bitmap that is read: of 16 TiB of memory.
const MOST_BITMAP: u64 = 512 << 20;
/// The address that powerpc64 kernels are linked for.
const POWERPC_LINKED: u64 = 0x10_0100;

const HASH_TABLES: &str = "the kernel used hash page tables, of which only the direct map is read here";

/// What a minidump's header says, in one form for all architectures.
struct Header {
    architecture: Architecture,
    order: ByteOrder,
    version: u32,
    page_shift: u32,
    message_buffer: u64,
    dump_avail: u64,
    bitmap: u64,
    page_map: u64,
    direct: Option<DirectMap>,
    map: MapForm,
    /// What is added to addresses below the direct map.
    relocation: u64,
}

/// What the page map is made of.
enum MapForm {
    /// Entries of a level of page tables, for the memory from an address on.
    Entries { paging: Paging, level: usize, base: u64 },
    /// Nothing that is walked here.
    Opaque(&'static str),
}

/// Opens a minidump; `start` is its first page, as far as the file has one.
pub(crate) fn open(source: &Source, start: &[u8]) -> Result<Memory, Error> {
    let data = &source.data;
    let header = Header::read(start)?;
    let size = 1 << header.page_shift;
    let mut end = size;
    let mut part = |what: &'static str, length: u64| -> Result<u64, Error> {
        let start = end;
        end = length.checked_next_multiple_of(size).and_then(|length| start.checked_add(length)).unwrap_or(u64::MAX);
        if end > data.size() {
            return Err(Error::malformed(what, format!("{length} bytes"), format!("what fits into {}", data.size())));
        }
        Ok(start)
    };
    let message_buffer = part("minidump header: size of the message buffer", header.message_buffer)?;
    let dump_avail = part("minidump header: size of dump_avail", header.dump_avail)?;
    let bitmap_start = part("minidump header: size of the bitmap", header.bitmap)?;
    let page_map = part("minidump header: size of the page map", header.page_map)?;

    if header.bitmap == 0 || header.bitmap > MOST_BITMAP {
        let expected = format!("1 to {MOST_BITMAP}");
        return Err(Error::malformed("minidump header: size of the bitmap", header.bitmap, expected));
    }
    let bits = header.bitmap * 8;
    let ranges = match header.dump_avail {
        0 => Vec::new(),
        length if length > 1 << 20 => {
            return Err(Error::malformed("minidump header: size of dump_avail", length, "1 MiB at most"));
        }
        length => {
            let bytes = read(data, "the list of memory ranges (dump_avail)", dump_avail, length)?;
            header.ranges(&bytes, bits)?
        }
    };
    let bitmap = read(data, "the bitmap of pages", bitmap_start, header.bitmap)?;
    let word = header.architecture.pointer_size();
    let map = PageMap::new(&bitmap, word, header.order, header.page_shift, ranges);

    let kernel = match header.map {
        MapForm::Entries { paging, level, base } => {
            let entries = header.page_map / paging.entry_size() as u64;
            let covers = paging.levels().get(level).map_or(0, |level| level.shift);
            if base & ((1 << covers) - 1) != 0 {
                let expected = format!("a multiple of {:#x}", 1u64 << covers);
                return Err(Error::malformed("minidump header: kernbase", format!("{base:#x}"), expected));
            }
            let first = Place::File(page_map);
            Kernel::Tables(Tables { paging, level, first, entries, base, order: header.order })
        }
        MapForm::Opaque(why) => Kernel::None(why),
    };
    Ok(Memory {
        architecture: header.architecture,
        order: header.order,
        form: Form::Minidump { version: header.version },
        physical: Physical::new(source, Layout::Pages { map, start: end }, header.page_shift),
        kernel,
        direct: header.direct,
        relocation: header.relocation,
        message_buffer: (header.message_buffer > 0).then_some((message_buffer, header.message_buffer)),
    })
}

fn read(data: &Arc<dyn ReadAt>, what: &'static str, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    data.read_exact_at(&mut bytes, offset).map_err(|source| Error::Io { what, source })?;
    Ok(bytes)
}

impl Header {
    fn read(start: &[u8]) -> Result<Self, Error> {
        let name = start.get(MAGIC.len()..).unwrap_or_default();
        let name: Vec<u8> = name.iter().copied().take_while(|&byte| byte != 0).take(16).collect();
        let name = String::from_utf8_lossy(&name).into_owned();
        let architecture = Architecture::from_name(&name)
            .ok_or_else(|| Error::Unsupported { what: format!("a minidump of architecture '{name}'") })?;
        let newest = match architecture {
            Architecture::Amd64 | Architecture::Arm64 => 3,
            _ => 2,
        };
        let at = if architecture == Architecture::Powerpc64 { 64 } else { 24 };
        let little = Fields::new(start, ByteOrder::Little);
        let big = Fields::new(start, ByteOrder::Big);
        // Some architectures come in either byte order, and nothing but this field tells which.
        let known = 1..=newest;
        let fields = [little, big].into_iter().find(|fields| known.contains(&fields.u32(at)));
        let fields = fields.ok_or(Error::Version { architecture, found: little.u32(at), newest })?;
        let version = fields.u32(at);
        let size = |at: usize| u64::from(fields.u32(at));
        let mut header = Self {
            architecture,
            order: fields.order,
            version,
            page_shift: 12,
            message_buffer: size(at + 4),
            dump_avail: 0,
            bitmap: size(at + 8),
            page_map: size(at + 12),
            direct: None,
            map: MapForm::Opaque(HASH_TABLES),
            relocation: 0,
        };
        header.fill(fields)?;
        Ok(header)
    }

    /// What is different in each architecture.
    fn fill(&mut self, fields: Fields<'_>) -> Result<(), Error> {
        let entries = |paging: Paging, below_last: usize, base: u64| MapForm::Entries {
            paging,
            level: paging.levels().len().saturating_sub(1 + below_last),
            base,
        };
        let avail = |since: u32, at: usize| if self.version >= since { u64::from(fields.u32(at)) } else { 0 };
        match self.architecture {
            Architecture::Amd64 => {
                // Version 1 has an entry for each page, later ones have one for each 2 MB.
                self.map = entries(Paging::Amd64, usize::from(self.version > 1), fields.u64(40));
                self.direct = DirectMap::new(fields.u64(48), fields.u64(56), 0);
                self.dump_avail = avail(3, 64);
            }
            Architecture::Arm64 => {
                let paging = match if self.version >= 3 { fields.u32(76) & 3 } else { 0 } {
                    0 => Paging::Arm64Pages4K,
                    1 => Paging::Arm64Pages16K,
                    2 => Paging::Arm64Pages64K,
                    other => return Err(Error::malformed("minidump header: page size in the flags", other, "0 to 2")),
                };
                self.page_shift = paging.levels().last().map_or(12, |level| level.shift);
                self.map = entries(paging, 0, fields.u64(40));
                self.direct = DirectMap::new(fields.u64(56), fields.u64(64), fields.u64(48));
                self.dump_avail = avail(2, 72);
            }
            Architecture::Riscv64 => {
                self.map = entries(Paging::RiscvSv39, 0, fields.u64(40));
                self.direct = DirectMap::new(fields.u64(56), fields.u64(64), fields.u64(48));
                self.dump_avail = avail(2, 72);
            }
            Architecture::I386 => {
                let paging = if fields.u32(44) == 0 { Paging::I386 } else { Paging::I386Pae };
                self.map = entries(paging, 0, u64::from(fields.u32(40)));
                self.dump_avail = avail(2, 48);
            }
            Architecture::Armv7 => {
                if fields.u32(48) == 3 {
                    let what = "a minidump of 32-bit Arm with long descriptors (LPAE)".to_string();
                    return Err(Error::Unsupported { what });
                }
                self.map = entries(Paging::Armv7, 0, u64::from(fields.u32(40)));
                self.dump_avail = avail(2, 52);
            }
            Architecture::Powerpc64 => {
                let base = fields.u64(96);
                // The end is the last address here, not the one behind it.
                self.direct = DirectMap::new(base, fields.u64(104).saturating_add(1), 0);
                self.relocation = fields.u64(120).wrapping_sub(POWERPC_LINKED);
                self.dump_avail = avail(2, 136);
                if fields.bytes.get(32..42) == Some(b"mmu_radix\0") {
                    self.map = MapForm::Entries { paging: Paging::Powerpc64Radix, level: 0, base };
                }
            }
        }
        Ok(())
    }

    /// The ranges of memory that the bitmap is for: pairs of first address and the one behind the last.
    fn ranges(&self, bytes: &[u8], bits: u64) -> Result<Vec<Range>, Error> {
        // Addresses are physical ones: 64 bits even on i386, as its kernels may have PAE.
        let sizes: &[usize] = match self.architecture {
            Architecture::Armv7 => &[4],
            Architecture::I386 => &[8, 4],
            _ => &[8],
        };
        let mut found = Err(String::new());
        for &size in sizes {
            found = self.ranges_of(bytes, size, bits);
            if found.is_ok() {
                break;
            }
        }
        found.map_err(|found| {
            Error::malformed(
                "minidump: the list of memory ranges (dump_avail)",
                found,
                "ascending ranges for the bitmap",
            )
        })
    }

    fn ranges_of(&self, bytes: &[u8], size: usize, bits: u64) -> Result<Vec<Range>, String> {
        let fields = Fields::new(bytes, self.order);
        let page = 1u64 << self.page_shift;
        let mut ranges: Vec<Range> = Vec::new();
        let mut bit = 0u64;
        for at in (0..bytes.len()).step_by(2 * size) {
            let (first, last) = (fields.word(at, size), fields.word(at + size, size));
            if last == 0 {
                break;
            }
            let (start, end) = (first / page, last.div_ceil(page));
            let after = ranges.last().map_or(0, |range| range.end);
            if start < after || end <= start {
                return Err(format!("{first:#x} to {last:#x} behind page {after}"));
            }
            ranges.push(Range { start, end, bit });
            bit += end - start;
            if bit > bits {
                return Err(format!("{bit} pages or more, with {bits} bits in the bitmap"));
            }
        }
        if ranges.is_empty() { Err("empty".to_string()) } else { Ok(ranges) }
    }
}
