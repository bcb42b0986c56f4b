//! DWARF of one image: its sections, its units, and what was found in them.
//!
//! `gimli` reads; here is kept what makes the next question cheap, and nothing borrows from anything: a unit is put
//! together anew for each question, out of the sections' bytes and the few numbers of its [`UnitKit`].

mod attributes;
pub(crate) mod function;
mod index;
pub(crate) mod line;
pub(crate) mod location;
pub(crate) mod node;
mod sections;
mod split;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use gimli::{Abbreviations, DebugInfoOffset, EndianSlice, Reader, RunTimeEndian, Section, UnitOffset};

use crate::error::{Error, Result};
use crate::ranges::Ranges;

pub(crate) use index::Kind;
pub(crate) use node::{Node, Ref};
pub(crate) use sections::Sections;
pub(crate) use split::SplitSearch;

pub(crate) type Slice<'a> = EndianSlice<'a, RunTimeEndian>;
pub(crate) type Entry<'a> = gimli::DebuggingInformationEntry<Slice<'a>>;

/// A debugging information entry of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Die {
    /// Index into the units.
    pub(crate) unit: u32,
    /// Offset from the unit's header.
    pub(crate) offset: usize,
}

/// Where a unit is.
#[derive(Debug)]
struct UnitPlace {
    /// Index into the files: 0 is the image's own (or its separate debug file), others are split.
    file: u32,
    /// Whether it lies in `.debug_types`.
    types: bool,
    /// Offset of its header in the section.
    offset: usize,
    /// The unit that a split one belongs to, and the identifier that both carry.
    skeleton: Option<(u32, u64)>,
    kit: OnceLock<Arc<UnitKit>>,
}

/// What reading a unit's root entry tells, without borrowing from the sections.
#[derive(Debug)]
struct UnitKit {
    abbreviations: Arc<Abbreviations>,
    low_pc: u64,
    str_offsets_base: gimli::DebugStrOffsetsBase,
    addr_base: gimli::DebugAddrBase,
    loclists_base: gimli::DebugLocListsBase,
    rnglists_base: gimli::DebugRngListsBase,
    dwo_id: Option<gimli::DwoId>,
}

/// A unit, ready to be read.
pub(crate) struct Unit<'a> {
    pub(crate) index: u32,
    pub(crate) dwarf: gimli::Dwarf<Slice<'a>>,
    pub(crate) unit: gimli::Unit<Slice<'a>>,
}

/// The debug information of an image.
pub(crate) struct DebugInfo {
    image: String,
    endian: RunTimeEndian,
    files: Vec<Sections>,
    units: Vec<UnitPlace>,
    /// Offsets of `.debug_info` units of each file, sorted as they lie, with their indices.
    by_offset: Vec<Vec<(usize, u32)>>,
    signatures: HashMap<u64, Die>,
    /// The split unit of a skeleton.
    split_units: HashMap<u32, u32>,
    names: index::Names,
    ranges: Ranges<u32>,
    functions: Mutex<HashMap<u32, Arc<Ranges<usize>>>>,
    lines: Mutex<HashMap<u32, Arc<line::Lines>>>,
    nodes: Mutex<HashMap<Die, Arc<Node>>>,
    /// Split units that were not found, for a message.
    missing: Vec<String>,
}

impl std::fmt::Debug for DebugInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebugInfo")
            .field("image", &self.image)
            .field("units", &self.units.len())
            .finish_non_exhaustive()
    }
}

impl DebugInfo {
    /// Reads the units of `sections` and indexes their names and ranges.
    pub(crate) fn new(image: &str, sections: Sections, search: &SplitSearch) -> Result<Self> {
        let mut info = Self {
            image: image.to_owned(),
            endian: sections.endian(),
            files: vec![sections],
            units: Vec::new(),
            by_offset: Vec::new(),
            signatures: HashMap::new(),
            split_units: HashMap::new(),
            names: index::Names::default(),
            ranges: Ranges::new([]),
            functions: Mutex::default(),
            lines: Mutex::default(),
            nodes: Mutex::default(),
            missing: Vec::new(),
        };
        info.add_units(0, None)?;
        let mut found = index::scan(&info, 0..info.units.len())?;
        let split = std::mem::take(&mut found.split);
        if !split.is_empty() {
            let first = info.units.len();
            info.open_split(split, search)?;
            found.append(index::scan(&info, first..info.units.len())?);
        }
        info.ranges = Ranges::new(found.ranges);
        info.names = found.names;
        Ok(info)
    }

    /// Registers the units of a file.
    fn add_units(&mut self, file: u32, skeleton: Option<(u32, u64)>) -> Result<()> {
        let mut places = Vec::new();
        let mut signatures = Vec::new();
        let next = self.units.len();
        {
            let dwarf = self.dwarf_of(file, skeleton)?;
            let fault = |error| self.fault("unit headers", error);
            let mut headers = dwarf.units();
            // A damaged header ends the list: nothing tells where the next one begins.
            while let Some(header) = headers.next().map_err(fault)? {
                let offset = header.debug_info_offset().map_or(0, |offset| offset.0);
                note_signature(&header, next + places.len(), &mut signatures);
                places.push((false, offset));
            }
            let mut headers = dwarf.type_units();
            while let Some(header) = headers.next().map_err(fault)? {
                let offset = header.debug_types_offset().map_or(0, |offset| offset.0);
                note_signature(&header, next + places.len(), &mut signatures);
                places.push((true, offset));
            }
        }
        let mut by_offset = Vec::new();
        for (types, offset) in places {
            if !types {
                by_offset.push((offset, index_of(self.units.len())));
            }
            self.units.push(UnitPlace { file, types, offset, skeleton, kit: OnceLock::new() });
        }
        while self.by_offset.len() <= file as usize {
            self.by_offset.push(Vec::new());
        }
        if let Some(known) = self.by_offset.get_mut(file as usize) {
            known.extend(by_offset);
        }
        self.signatures.extend(signatures);
        Ok(())
    }

    /// The sections of a file as `gimli` sees them; for a split file, with those of its skeleton.
    fn dwarf_of(&self, file: u32, skeleton: Option<(u32, u64)>) -> Result<gimli::Dwarf<Slice<'_>>> {
        let sections = |file: u32| {
            self.files.get(file as usize).ok_or_else(|| self.damage("units", "a unit of a file that is not there"))
        };
        let main = sections(0)?.dwarf();
        let Some((_, id)) = skeleton else { return Ok(main) };
        let file = sections(file)?;
        if file.is_package() {
            let package = file.package().map_err(|error| self.fault("the package of split units", error))?;
            let found = package.find_cu(gimli::DwoId(id), &main).map_err(|error| self.fault("a split unit", error))?;
            return found.ok_or_else(|| self.damage("split units", "the package has no such unit"));
        }
        let mut dwarf = file.split_dwarf();
        dwarf.make_dwo(&main);
        Ok(dwarf)
    }

    fn place(&self, index: u32) -> Result<&UnitPlace> {
        self.units.get(index as usize).ok_or_else(|| self.damage("units", "a unit that is not there"))
    }

    /// A unit, with its line program's header if `lines`.
    fn open_unit(&self, index: u32, lines: bool) -> Result<Unit<'_>> {
        let place = self.place(index)?;
        let dwarf = self.dwarf_of(place.file, place.skeleton)?;
        let fault = |error| self.fault(&format!("unit {index}"), error);
        let header = if place.types {
            // There is no way to a header by its offset but to begin there.
            let mut rest = *dwarf.debug_types.reader();
            rest.skip(place.offset).map_err(fault)?;
            let header = gimli::DebugTypes::from(rest).units().next().map_err(fault)?;
            header.ok_or_else(|| self.damage("type units", "a unit that is not there"))?
        } else {
            dwarf.debug_info.header_from_offset(DebugInfoOffset(place.offset)).map_err(fault)?
        };
        let unit = match place.kit.get() {
            Some(kit) if !lines => gimli::Unit {
                header,
                abbreviations: kit.abbreviations.clone(),
                name: None,
                comp_dir: None,
                low_pc: kit.low_pc,
                str_offsets_base: kit.str_offsets_base,
                addr_base: kit.addr_base,
                loclists_base: kit.loclists_base,
                rnglists_base: kit.rnglists_base,
                line_program: None,
                dwo_id: kit.dwo_id,
            },
            kit => {
                let abbreviations = match kit {
                    Some(kit) => kit.abbreviations.clone(),
                    None => dwarf.abbreviations(&header).map_err(fault)?,
                };
                let mut unit = gimli::Unit::new_with_abbreviations(&dwarf, header, abbreviations).map_err(fault)?;
                if let Some((skeleton, _)) = place.skeleton {
                    unit.copy_relocated_attributes(&self.open_unit(skeleton, false)?.unit);
                }
                unit
            }
        };
        Ok(Unit { index, dwarf, unit })
    }

    /// A unit, remembered: the next time it costs next to nothing.
    pub(crate) fn unit(&self, index: u32) -> Result<Unit<'_>> {
        let unit = self.open_unit(index, false)?;
        self.place(index)?.kit.get_or_init(|| {
            Arc::new(UnitKit {
                abbreviations: unit.unit.abbreviations.clone(),
                low_pc: unit.unit.low_pc,
                str_offsets_base: unit.unit.str_offsets_base,
                addr_base: unit.unit.addr_base,
                loclists_base: unit.unit.loclists_base,
                rnglists_base: unit.unit.rnglists_base,
                dwo_id: unit.unit.dwo_id,
            })
        });
        Ok(unit)
    }

    /// The unit that covers an address (as linked).
    pub(crate) fn unit_at(&self, address: u64) -> Option<u32> {
        self.ranges.find(address)
    }

    /// The unit that holds the entries: the split one of a skeleton.
    pub(crate) fn full_unit(&self, unit: u32) -> u32 {
        self.split_units.get(&unit).copied().unwrap_or(unit)
    }

    /// The unit that holds the line program: the skeleton of a split one.
    pub(crate) fn line_unit(&self, unit: u32) -> u32 {
        self.units.get(unit as usize).and_then(|place| place.skeleton).map_or(unit, |(skeleton, _)| skeleton)
    }

    pub(crate) fn names(&self) -> &index::Names {
        &self.names
    }

    /// Names of split files that were not found.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    pub(crate) fn fault(&self, place: &str, error: gimli::Error) -> Error {
        self.damage(place, &error.to_string())
    }

    pub(crate) fn damage(&self, place: &str, reason: &str) -> Error {
        Error::Dwarf { image: self.image.clone(), place: place.to_owned(), reason: reason.to_owned() }
    }

    /// The entry that a reference attribute of `unit` points to.
    pub(crate) fn resolve(&self, unit: u32, value: &gimli::AttributeValue<Slice<'_>>) -> Result<Option<Die>> {
        match *value {
            gimli::AttributeValue::UnitRef(offset) => Ok(Some(Die { unit, offset: offset.0 })),
            gimli::AttributeValue::DebugInfoRef(DebugInfoOffset(offset)) => {
                let file = self.place(unit)?.file;
                let units = self.by_offset.get(file as usize).map(Vec::as_slice).unwrap_or_default();
                let after = units.partition_point(|&(start, _)| start <= offset);
                let found = after.checked_sub(1).and_then(|last| units.get(last));
                let &(start, unit) =
                    found.ok_or_else(|| self.damage("references", "an offset before the first unit"))?;
                Ok(Some(Die { unit, offset: offset - start }))
            }
            gimli::AttributeValue::DebugTypesRef(signature) => Ok(self.signatures.get(&signature.0).copied()),
            _ => Ok(None),
        }
    }

    /// Reads one entry.
    pub(crate) fn entry<'a>(&self, unit: &Unit<'a>, offset: usize) -> Result<Entry<'a>> {
        let entry = unit.unit.entry(UnitOffset(offset));
        entry.map_err(|error| self.fault(&format!("entry {offset:#x} of unit {}", unit.index), error))
    }
}

fn index_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn note_signature(header: &gimli::UnitHeader<Slice<'_>>, index: usize, signatures: &mut Vec<(u64, Die)>) {
    if let gimli::UnitType::Type { type_signature, type_offset }
    | gimli::UnitType::SplitType { type_signature, type_offset } = header.type_()
    {
        signatures.push((type_signature.0, Die { unit: index_of(index), offset: type_offset.0 }));
    }
}
