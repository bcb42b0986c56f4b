//! The sections that DWARF lies in.

use std::sync::OnceLock;

use gimli::{EndianSlice, RunTimeEndian, SectionId};

use super::Slice;
use crate::elf::Elf;
use crate::error::Result;
use crate::file::Bytes;

/// The sections of one file, all that are read for types, functions, lines and locations.
pub(crate) struct Sections {
    endian: RunTimeEndian,
    sections: Vec<(SectionId, Bytes)>,
    package: bool,
}

/// What is never asked for, such as accelerator tables, is not read.
const WANTED: [SectionId; 12] = [
    SectionId::DebugInfo,
    SectionId::DebugStr,
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugLoc,
    SectionId::DebugLocLists,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStrOffsets,
    SectionId::DebugTypes,
];

impl Sections {
    /// The sections of a linked file, or of one whose sections lie where `address` says; none without `.debug_info`.
    pub(crate) fn read(elf: &Elf, address: &(dyn Fn(usize) -> Option<u64> + Sync)) -> Result<Option<Self>> {
        let find = |id: SectionId| {
            let name = id.name();
            elf.section(name).or_else(|| elf.section(&name.replacen(".debug", ".zdebug", 1)))
        };
        if find(SectionId::DebugInfo).is_none_or(|(_, section)| !section.has_bytes()) {
            return Ok(None);
        }
        let load = |id: SectionId| match find(id) {
            Some((index, _)) => elf.relocated(index, address),
            None => Ok(Bytes::default()),
        };
        // The first is as large as all the others: reading, and above all decompressing, takes two threads.
        let rest = OnceLock::new();
        let mut sections = Vec::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let loaded: Result<Vec<_>> =
                    WANTED.iter().skip(1).map(|&id| load(id).map(|bytes| (id, bytes))).collect();
                let _ = rest.set(loaded);
            });
            sections.push((SectionId::DebugInfo, load(SectionId::DebugInfo)));
            let _ = worker.join();
        });
        let mut all = Vec::new();
        for (id, bytes) in sections {
            all.push((id, bytes?));
        }
        all.extend(rest.into_inner().transpose()?.unwrap_or_default());
        Ok(Some(Self { endian: elf.gimli_endian(), sections: all, package: false }))
    }

    /// The sections of a split file (`.dwo`), or of a package of them (`.dwp`).
    pub(crate) fn read_split(elf: &Elf) -> Result<Self> {
        let package = elf.section(".debug_cu_index").is_some();
        let ids = WANTED.into_iter().chain([SectionId::DebugCuIndex, SectionId::DebugTuIndex]);
        let mut sections = Vec::new();
        for id in ids {
            if let Some((_, section)) = id.dwo_name().and_then(|name| elf.section(name)) {
                sections.push((id, elf.data(section)?));
            }
        }
        Ok(Self { endian: elf.gimli_endian(), sections, package })
    }

    pub(crate) fn endian(&self) -> RunTimeEndian {
        self.endian
    }

    pub(crate) fn is_package(&self) -> bool {
        self.package
    }

    fn slice(&self, id: SectionId) -> Slice<'_> {
        let bytes = self.sections.iter().find(|(known, _)| *known == id).map(|(_, bytes)| &**bytes);
        EndianSlice::new(bytes.unwrap_or_default(), self.endian)
    }

    pub(crate) fn dwarf(&self) -> gimli::Dwarf<Slice<'_>> {
        let loaded = gimli::Dwarf::load(|id| Ok::<_, std::convert::Infallible>(self.slice(id)));
        let Ok(dwarf) = loaded;
        dwarf
    }

    /// The same; that it is split, the caller tells by giving it a parent.
    pub(crate) fn split_dwarf(&self) -> gimli::Dwarf<Slice<'_>> {
        self.dwarf()
    }

    pub(crate) fn package(&self) -> gimli::Result<gimli::DwarfPackage<Slice<'_>>> {
        gimli::DwarfPackage::load(|id| Ok(self.slice(id)), EndianSlice::new(&[], self.endian))
    }
}
