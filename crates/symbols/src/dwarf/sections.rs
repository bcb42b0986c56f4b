//! The sections that DWARF lies in.
//!
//! A kernel's are tens of megabytes, of which a report asks for a few: what lies in the file as it is, is read when it is
//! asked for, and of `.debug_info` and `.debug_line` only the units that are.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use gimli::{EndianSlice, RunTimeEndian, SectionId};

use super::Slice;
use crate::elf::Elf;
use crate::error::Result;
use crate::file::Bytes;

/// The sections of one file, all that are read for types, functions, lines and locations.
pub(crate) struct Sections {
    endian: RunTimeEndian,
    sections: Vec<Section>,
    package: bool,
}

struct Section {
    id: SectionId,
    elf: Arc<Elf>,
    /// Of the section in the file.
    index: usize,
    /// All of it, decompressed and relocated.
    whole: OnceLock<Result<Bytes>>,
}

/// Those that nearly every question needs.
const USUAL: [SectionId; 7] = [
    SectionId::DebugStr,
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStrOffsets,
];
/// Location lists.
const LISTS: [SectionId; 2] = [SectionId::DebugLoc, SectionId::DebugLocLists];
/// Those that are read by units. What is never asked for, such as accelerator tables, is in none of the three.
const UNITS: [SectionId; 3] = [SectionId::DebugInfo, SectionId::DebugTypes, SectionId::DebugLine];

impl Sections {
    /// The sections of a linked file, or of one whose sections lie where `address` says; none without `.debug_info`.
    pub(crate) fn read(elf: &Arc<Elf>, address: &(dyn Fn(usize) -> Option<u64> + Sync)) -> Result<Option<Self>> {
        let find = |id: SectionId| {
            let name = id.name();
            elf.section(name).or_else(|| elf.section(&name.replacen(".debug", ".zdebug", 1)))
        };
        if find(SectionId::DebugInfo).is_none_or(|(_, section)| !section.has_bytes()) {
            return Ok(None);
        }
        let known = UNITS.into_iter().chain(USUAL).chain(LISTS).filter_map(|id| Some((id, find(id)?.0)));
        let sections: Vec<Section> =
            known.map(|(id, index)| Section { id, elf: elf.clone(), index, whole: OnceLock::new() }).collect();
        let is_due = |section: &&Section| {
            elf.relocatable
                || USUAL.contains(&section.id)
                || !elf.sections.get(section.index).is_some_and(|s| s.is_stored())
        };
        // The first is as large as all the others: reading, and above all decompressing, takes two threads.
        let due: Vec<&Section> = sections.iter().filter(is_due).collect();
        let load = |section: &Section| section.whole.set(elf.relocated(section.index, address)).unwrap_or_default();
        if let Some((first, rest)) = due.split_first() {
            std::thread::scope(|scope| {
                scope.spawn(|| rest.iter().for_each(|section| load(section)));
                load(first);
            });
        }
        for section in due {
            section.bytes()?;
        }
        Ok(Some(Self { endian: elf.gimli_endian(), sections, package: false }))
    }

    /// The sections of a split file (`.dwo`), or of a package of them (`.dwp`).
    pub(crate) fn read_split(elf: Elf) -> Self {
        let elf = Arc::new(elf);
        let package = elf.section(".debug_cu_index").is_some();
        let index = [SectionId::DebugCuIndex, SectionId::DebugTuIndex];
        let ids = UNITS.into_iter().chain(USUAL).chain(LISTS).chain(index);
        let sections = ids.filter_map(|id| {
            let (index, _) = elf.section(id.dwo_name()?)?;
            Some(Section { id, elf: elf.clone(), index, whole: OnceLock::new() })
        });
        Self { endian: elf.gimli_endian(), sections: sections.collect(), package }
    }

    pub(crate) fn endian(&self) -> RunTimeEndian {
        self.endian
    }

    pub(crate) fn is_package(&self) -> bool {
        self.package
    }

    fn section(&self, id: SectionId) -> Option<&Section> {
        self.sections.iter().find(|section| section.id == id)
    }

    /// The size of a section in bytes; 0 if there is none.
    pub(crate) fn size(&self, id: SectionId) -> Result<usize> {
        self.section(id).map_or(Ok(0), Section::size)
    }

    /// A part of a section.
    pub(crate) fn part(&self, id: SectionId, range: Range<usize>) -> Result<Bytes> {
        self.section(id).map_or_else(|| Ok(Bytes::default()), |section| section.part(range))
    }

    /// All of a section.
    pub(crate) fn slice(&self, id: SectionId) -> Result<Slice<'_>> {
        let bytes = self.section(id).map_or(Ok(&[][..]), Section::bytes)?;
        Ok(EndianSlice::new(bytes, self.endian))
    }

    /// What `gimli` asks beside a unit's own bytes; with location lists if `lists`.
    pub(crate) fn dwarf(&self, lists: bool) -> Result<gimli::Dwarf<Slice<'_>>> {
        gimli::Dwarf::load(|id| match USUAL.contains(&id) || lists && LISTS.contains(&id) {
            true => self.slice(id),
            false => Ok(EndianSlice::new(&[], self.endian)),
        })
    }

    pub(crate) fn package(&self) -> Result<gimli::Result<gimli::DwarfPackage<Slice<'_>>>> {
        for section in &self.sections {
            section.bytes()?;
        }
        let empty = EndianSlice::new(&[], self.endian);
        Ok(gimli::DwarfPackage::load(|id| Ok(self.slice(id).unwrap_or(empty)), empty))
    }
}

impl Section {
    fn bytes(&self) -> Result<&[u8]> {
        let whole = self.whole.get_or_init(|| match self.elf.sections.get(self.index) {
            Some(section) => self.elf.data(section),
            None => Ok(Bytes::default()),
        });
        whole.as_deref().map_err(Clone::clone)
    }

    /// Whether parts of it can be read on their own.
    fn stored(&self) -> Option<&crate::elf::Section> {
        let section = self.elf.sections.get(self.index)?;
        (self.whole.get().is_none() && section.is_stored()).then_some(section)
    }

    fn size(&self) -> Result<usize> {
        match self.stored() {
            Some(section) => Ok(usize::try_from(section.size).unwrap_or(usize::MAX)),
            None => self.bytes().map(<[u8]>::len),
        }
    }

    fn part(&self, range: Range<usize>) -> Result<Bytes> {
        let outside = || self.elf.fault(format!("{range:x?} lies outside of section {}", self.id.name()));
        match self.stored() {
            Some(section) => {
                let (start, size) = (range.start as u64, range.len() as u64);
                let end = start.checked_add(size).filter(|&end| end <= section.size);
                let at = end.and_then(|_| section.offset.checked_add(start)).ok_or_else(outside)?;
                self.elf.source.read(at, size)
            }
            None => {
                self.bytes()?;
                let whole = self.whole.get().and_then(|whole| whole.as_ref().ok());
                whole.and_then(|whole| whole.part(range.clone())).ok_or_else(outside)
            }
        }
    }
}
