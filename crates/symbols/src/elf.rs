//! ELF files: header, sections, and what little else is needed of them ("System V ABI", chapters 4 and 5).

use std::io::Read;

use gimli::RunTimeEndian;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::ReadRef;
use object::read::elf::{FileHeader, Rel, Rela, SectionHeader, Sym};
use object::{Endian, Endianness};

use crate::error::{Error, Result};
use crate::file::{Bytes, Source};

/// A decompressed section may not be larger: far above any kernel's.
const MAX_SECTION: u64 = 8 << 30;
/// More section headers than any linker writes.
const MAX_SECTIONS: usize = 1 << 20;

/// Bytes of a section's name.
const MAX_NAME: usize = 512;
/// Notes, and relocation tables of one section.
const MAX_TABLES: usize = 16;

/// An ELF file whose headers were read.
#[derive(Debug)]
pub(crate) struct Elf {
    pub(crate) source: Source,
    pub(crate) endian: Endianness,
    pub(crate) is_64: bool,
    pub(crate) machine: u16,
    /// `ET_REL`: sections have no addresses of their own.
    pub(crate) relocatable: bool,
    pub(crate) sections: Vec<Section>,
}

/// A section header. Sizes and offsets in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
    pub(crate) info: u32,
    pub(crate) align: u64,
}

/// Offset, type, symbol and addend (`None`: in place).
type Relocation = (u64, u32, u32, Option<i64>);

/// What a relocation does with the field.
enum Operation {
    Set,
    /// Set to the distance from the field.
    Relative,
    Add,
    Subtract,
}

/// A symbol table's entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawSymbol {
    pub(crate) name: u32,
    pub(crate) kind: u8,
    pub(crate) bind: u8,
    pub(crate) section: u16,
    pub(crate) value: u64,
    pub(crate) size: u64,
}

impl Section {
    pub(crate) fn is_allocated(&self) -> bool {
        self.flags & elf::SHF_ALLOC.0 != 0
    }

    pub(crate) fn has_bytes(&self) -> bool {
        self.kind != elf::SHT_NOBITS.0 && self.kind != elf::SHT_NULL.0
    }

    /// Whether its bytes stand in the file as they are.
    pub(crate) fn is_stored(&self) -> bool {
        self.has_bytes() && self.flags & elf::SHF_COMPRESSED.0 == 0 && !self.name.starts_with(".zdebug_")
    }
}

impl Elf {
    pub(crate) fn read(source: Source) -> Result<Self> {
        let ident = source.read(0, source.size().min(64))?;
        let class = ident.get(4).copied();
        let parsed = match (ident.get(..4), class) {
            (Some(b"\x7fELF"), Some(1)) => headers::<FileHeader32<Endianness>>(&source),
            (Some(b"\x7fELF"), Some(2)) => headers::<FileHeader64<Endianness>>(&source),
            _ => Err("not an ELF file".to_owned()),
        };
        parsed.map_err(|reason| Error::Elf { file: source.name(), reason })
    }

    pub(crate) fn gimli_endian(&self) -> RunTimeEndian {
        if self.endian.is_big_endian() { RunTimeEndian::Big } else { RunTimeEndian::Little }
    }

    pub(crate) fn section(&self, name: &str) -> Option<(usize, &Section)> {
        self.sections.iter().enumerate().find(|(_, section)| section.name == name)
    }

    pub(crate) fn fault(&self, reason: impl Into<String>) -> Error {
        Error::Elf { file: self.source.name(), reason: reason.into() }
    }

    /// The bytes of a section, decompressed; none for one that occupies no space in the file.
    pub(crate) fn data(&self, section: &Section) -> Result<Bytes> {
        if !section.has_bytes() {
            return Ok(Bytes::default());
        }
        let bytes = self.source.read(section.offset, section.size)?;
        if section.flags & elf::SHF_COMPRESSED.0 != 0 {
            return self.decompress(section, &bytes);
        }
        // The GNU tools' older form: `.zdebug_*`, beginning with "ZLIB" and the size, big-endian.
        match bytes.split_first_chunk::<12>() {
            Some((head, body)) if section.name.starts_with(".zdebug_") && head.starts_with(b"ZLIB") => {
                let size = head.iter().skip(4).fold(0, |size, &byte| size << 8 | u64::from(byte));
                self.inflate(section, elf::ELFCOMPRESS_ZLIB.0, size, body)
            }
            _ => Ok(bytes),
        }
    }

    fn decompress(&self, section: &Section, bytes: &[u8]) -> Result<Bytes> {
        let short = || self.fault(format!("section {} is too short for a compression header", section.name));
        let (kind, size, body) = if self.is_64 {
            let (header, body) =
                object::pod::from_bytes::<elf::CompressionHeader64<Endianness>>(bytes).map_err(|()| short())?;
            (header.ch_type.get(self.endian).0, header.ch_size.get(self.endian), body)
        } else {
            let (header, body) =
                object::pod::from_bytes::<elf::CompressionHeader32<Endianness>>(bytes).map_err(|()| short())?;
            (header.ch_type.get(self.endian).0, u64::from(header.ch_size.get(self.endian)), body)
        };
        self.inflate(section, kind, size, body)
    }

    fn inflate(&self, section: &Section, kind: u32, size: u64, body: &[u8]) -> Result<Bytes> {
        if size > MAX_SECTION {
            return Err(self.fault(format!("section {} claims {size} bytes when decompressed", section.name)));
        }
        let fault = |reason: String| self.fault(format!("section {} does not decompress: {reason}", section.name));
        // The claimed size is believed as far as the compressed bytes make it likely; the rest grows as it comes.
        let likely = size.min((body.len() as u64).saturating_mul(16));
        let mut data = Vec::with_capacity(usize::try_from(likely).unwrap_or_default());
        let done = if kind == elf::ELFCOMPRESS_ZLIB.0 {
            flate2::bufread::ZlibDecoder::new(body).take(size).read_to_end(&mut data)
        } else if kind == elf::ELFCOMPRESS_ZSTD.0 {
            zstd::stream::read::Decoder::with_buffer(body).and_then(|decoder| decoder.take(size).read_to_end(&mut data))
        } else {
            return Err(fault(format!("compression {kind} is not known")));
        };
        done.map_err(|error| fault(error.to_string()))?;
        if data.len() as u64 != size {
            return Err(fault(format!("{} bytes instead of {size}", data.len())));
        }
        Ok(Bytes::from(data))
    }

    /// A section's bytes with its relocations applied, for files that were never linked: `address` tells where a
    /// section lies.
    pub(crate) fn relocated(&self, index: usize, address: &dyn Fn(usize) -> Option<u64>) -> Result<Bytes> {
        let Some(section) = self.sections.get(index) else { return Ok(Bytes::default()) };
        let bytes = self.data(section)?;
        let tables: Vec<&Section> = (self.sections.iter())
            .filter(|table| usize::try_from(table.info) == Ok(index))
            .filter(|table| table.kind == elf::SHT_RELA.0 || table.kind == elf::SHT_REL.0)
            .take(MAX_TABLES)
            .collect();
        if !self.relocatable || tables.is_empty() {
            return Ok(bytes);
        }
        let mut data = bytes.to_vec();
        let base = address(index).unwrap_or_default();
        for table in tables {
            let (symbols, _) = self.symbols(table.link as usize)?;
            for (place, kind, symbol, addend) in self.relocations(table)? {
                let value = match usize::try_from(symbol).ok().and_then(|symbol| symbols.get(symbol)) {
                    Some(symbol) if symbol.section == elf::SHN_ABS.0 => symbol.value,
                    // What another image defines has no place in debug information.
                    Some(symbol) if symbol.section == elf::SHN_UNDEF.0 => 0,
                    // Sections that are not loaded, such as of strings, are counted from 0.
                    Some(symbol) => address(symbol.section.into()).unwrap_or(0).wrapping_add(symbol.value),
                    None => 0,
                };
                self.relocate(&mut data, base, place, kind, value, addend).ok_or_else(|| {
                    self.fault(format!("relocation of type {kind} at {place:#x} of {} is not known", section.name))
                })?;
            }
        }
        Ok(Bytes::from(data))
    }

    fn relocations(&self, table: &Section) -> Result<Vec<Relocation>> {
        let bytes = self.data(table)?;
        let odd = |()| self.fault(format!("section {} has no whole number of entries", table.name));
        let endian = self.endian;
        let rela = table.kind == elf::SHT_RELA.0;
        Ok(match (self.is_64, rela) {
            (true, true) => (object::pod::slice_from_all_bytes::<elf::Rela64<Endianness>>(&bytes).map_err(odd)?.iter())
                .map(|r| {
                    (
                        r.r_offset.get(endian),
                        r.r_type(endian, false).0,
                        r.r_sym(endian, false),
                        Some(r.r_addend.get(endian)),
                    )
                })
                .collect(),
            (true, false) => (object::pod::slice_from_all_bytes::<elf::Rel64<Endianness>>(&bytes).map_err(odd)?.iter())
                .map(|r| (r.r_offset.get(endian), r.r_type(endian).0, r.r_sym(endian), None))
                .collect(),
            (false, true) => {
                (object::pod::slice_from_all_bytes::<elf::Rela32<Endianness>>(&bytes).map_err(odd)?.iter())
                    .map(|r| {
                        let addend = Rela::r_addend(r, endian);
                        (r.r_offset.get(endian).into(), r.r_type(endian).0, r.r_sym(endian), Some(addend.into()))
                    })
                    .collect()
            }
            (false, false) => {
                (object::pod::slice_from_all_bytes::<elf::Rel32<Endianness>>(&bytes).map_err(odd)?.iter())
                    .map(|r| (Rel::r_offset(r, endian).into(), r.r_type(endian).0, r.r_sym(endian), None))
                    .collect()
            }
        })
    }

    /// `None` for a relocation that debug information has no use for, or one outside of the section.
    fn relocate(
        &self,
        data: &mut [u8],
        base: u64,
        place: u64,
        kind: u32,
        value: u64,
        addend: Option<i64>,
    ) -> Option<()> {
        use Operation::{Add, Relative, Set, Subtract};
        // Of a field of 6 bits the other two stay as they are.
        let (bits, operation) = match (self.machine, kind) {
            (_, 0) => return Some(()),
            // R_X86_64_64, _DTPOFF64; _PC64; _32, _32S, _DTPOFF32; _PC32. R_AARCH64_ABS64; _PREL64; and so on.
            (62, 1 | 17) | (183, 257) | (243, 2) => (64, Set),
            (62, 24) | (183, 260) => (64, Relative),
            (62, 10 | 11 | 21) | (183, 258) | (243, 1 | 56) | (3, 1) => (32, Set),
            (62, 2) | (183, 261) | (243, 57) | (3, 2) => (32, Relative),
            (183, 259) | (243, 55) => (16, Set),
            // RISC-V's linkers shrink code: differences of addresses are left to them.
            (243, 33) => (8, Add),
            (243, 34) => (16, Add),
            (243, 35) => (32, Add),
            (243, 36) => (64, Add),
            (243, 37) => (8, Subtract),
            (243, 38) => (16, Subtract),
            (243, 39) => (32, Subtract),
            (243, 40) => (64, Subtract),
            (243, 52) => (6, Subtract),
            (243, 53) => (6, Set),
            (243, 54) => (8, Set),
            _ => return None,
        };
        let start = usize::try_from(place).ok()?;
        let field = data.get_mut(start..start.checked_add(8.max(bits) / 8)?)?;
        if self.endian.is_big_endian() {
            field.reverse();
        }
        let old = field.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let value = match operation {
            Set => value.wrapping_add(addend.map_or(old, |addend| addend as u64)),
            Relative => {
                let value = value.wrapping_add(addend.map_or(old, |addend| addend as u64));
                value.wrapping_sub(base.wrapping_add(place))
            }
            Add => old.wrapping_add(value.wrapping_add(addend.unwrap_or(0) as u64)),
            Subtract => old.wrapping_sub(value.wrapping_add(addend.unwrap_or(0) as u64)),
        };
        let value = if bits == 6 { old & 0xc0 | value & 0x3f } else { value };
        for (to, from) in field.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
        if self.endian.is_big_endian() {
            field.reverse();
        }
        Some(())
    }

    /// The entries of the symbol table in a section, and its strings.
    pub(crate) fn symbols(&self, index: usize) -> Result<(Vec<RawSymbol>, Bytes)> {
        let Some(section) = self.sections.get(index) else { return Ok(Default::default()) };
        let bytes = self.data(section)?;
        let odd = |()| self.fault(format!("section {} has no whole number of symbols", section.name));
        let symbols = if self.is_64 {
            let raw = object::pod::slice_from_all_bytes::<elf::Sym64<Endianness>>(&bytes).map_err(odd)?;
            raw.iter().map(|symbol| raw_symbol(symbol, self.endian)).collect()
        } else {
            let raw = object::pod::slice_from_all_bytes::<elf::Sym32<Endianness>>(&bytes).map_err(odd)?;
            raw.iter().map(|symbol| raw_symbol(symbol, self.endian)).collect()
        };
        let strings = match self.sections.get(section.link as usize) {
            Some(strings) => self.data(strings)?,
            None => Bytes::default(),
        };
        Ok((symbols, strings))
    }

    /// The build id, if the file has one (`NT_GNU_BUILD_ID`).
    pub(crate) fn build_id(&self) -> Option<Vec<u8>> {
        let notes = self
            .sections
            .iter()
            .filter(|section| section.kind == elf::SHT_NOTE.0 && section.size < 1 << 16)
            .take(MAX_TABLES);
        for section in notes {
            let Ok(bytes) = self.data(section) else { continue };
            let mut rest = &*bytes;
            while let Some((header, body)) = rest.split_first_chunk::<12>() {
                let word = |at: usize| {
                    let word = header.get(at..at + 4).and_then(|word| word.try_into().ok()).unwrap_or_default();
                    let word =
                        if self.endian.is_big_endian() { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
                    word as usize
                };
                let (name, description) = (word(0), word(4));
                let start = name.saturating_add(3) & !3;
                let Some(value) = body.get(start..start.saturating_add(description)) else { break };
                if word(8) == 3 && body.starts_with(b"GNU\0") {
                    return Some(value.to_vec());
                }
                rest = body.get(start.saturating_add(description.saturating_add(3) & !3)..).unwrap_or_default();
            }
        }
        None
    }

    /// Name and CRC-32 of the separate debug file (`.gnu_debuglink`).
    pub(crate) fn debug_link(&self) -> Option<(String, u32)> {
        let (_, section) = self.section(".gnu_debuglink")?;
        let bytes = self.data(section).ok()?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let name = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
        let crc = bytes.get((end + 4) & !3..)?.first_chunk::<4>()?;
        Some((name, if self.endian.is_big_endian() { u32::from_be_bytes(*crc) } else { u32::from_le_bytes(*crc) }))
    }

    /// CRC-32 of the whole file, as `.gnu_debuglink` records it.
    pub(crate) fn checksum(&self) -> Result<u32> {
        let mut crc = flate2::Crc::new();
        let (mut offset, size) = (0, self.source.size());
        while offset < size {
            let part = self.source.read(offset, (size - offset).min(1 << 20))?;
            crc.update(&part);
            offset += part.len() as u64;
        }
        Ok(crc.sum())
    }
}

/// A section's name; a longer one than any has is cut.
fn name_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_NAME).unwrap_or(bytes)).into_owned()
}

fn raw_symbol<S: Sym<Endian = Endianness>>(symbol: &S, endian: Endianness) -> RawSymbol {
    RawSymbol {
        name: symbol.st_name(endian),
        kind: symbol.st_type().0,
        bind: symbol.st_bind().0,
        section: symbol.st_shndx(endian).0,
        value: symbol.st_value(endian).into(),
        size: symbol.st_size(endian).into(),
    }
}

fn headers<H: FileHeader<Endian = Endianness>>(source: &Source) -> std::result::Result<Elf, String> {
    match source {
        Source::Bytes { bytes, .. } => read_headers::<H, _>(source, bytes.as_slice()),
        Source::File { file, .. } => {
            let cache = object::read::ReadCache::new(&**file);
            read_headers::<H, _>(source, &cache)
        }
    }
}

fn read_headers<'d, H: FileHeader<Endian = Endianness>, R: ReadRef<'d>>(
    source: &Source,
    data: R,
) -> std::result::Result<Elf, String> {
    let text = |error: object::read::Error| error.to_string();
    let header = H::parse(data).map_err(text)?;
    let endian = header.endian().map_err(text)?;
    let count = header.shnum(endian, data).map_err(text)?;
    if count as usize > MAX_SECTIONS {
        return Err(format!("{count} sections are more than any linker writes"));
    }
    let table = header.sections(endian, data).map_err(text)?;
    let sections = (table.iter())
        .map(|section| Section {
            name: name_of(table.section_name(endian, section).unwrap_or_default()),
            kind: section.sh_type(endian).0,
            flags: section.sh_flags(endian).0,
            address: section.sh_addr(endian).into(),
            offset: section.sh_offset(endian).into(),
            size: section.sh_size(endian).into(),
            link: section.sh_link(endian),
            info: section.sh_info(endian),
            align: section.sh_addralign(endian).into(),
        })
        .collect();
    Ok(Elf {
        source: source.clone(),
        endian,
        is_64: header.is_type_64(),
        machine: header.e_machine(endian).0,
        relocatable: header.e_type(endian) == elf::ET_REL,
        sections,
    })
}
