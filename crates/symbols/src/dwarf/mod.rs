//! DWARF of one image: its sections, its units, and what was found in them.
//!
//! `gimli` reads; here is kept what makes the next question cheap, and nothing borrows from anything: a unit is put
//! together anew for each question, out of its own bytes and the few numbers of its [`Root`].

mod attributes;
pub(crate) mod function;
mod index;
pub(crate) mod line;
pub(crate) mod location;
mod names;
pub(crate) mod node;
mod sections;
mod split;
mod walk;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use gimli::{
    Abbreviations, AttributeValue, DebugInfoOffset, EndianSlice, Reader, RunTimeEndian, Section, SectionId, UnitOffset,
    UnitType,
};

use crate::error::{Error, Result};
use crate::file::Bytes;
use crate::ranges::Ranges;

pub(crate) use names::Kind;
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
    /// `.debug_info` or `.debug_types`.
    section: SectionId,
    /// Its bytes in the section, header included.
    range: Range<usize>,
    /// What offsets into the section are counted from: in a package, where the unit's own part of it begins.
    base: usize,
    /// The unit that a split one belongs to, and the identifier that both carry.
    skeleton: Option<(u32, u64)>,
    bytes: OnceLock<Bytes>,
    /// Its line program.
    lines: OnceLock<Bytes>,
    root: OnceLock<Arc<Root>>,
}

/// What a unit's root entry tells, without borrowing from the sections.
#[derive(Debug)]
struct Root {
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
    /// Header and entries.
    bytes: &'a [u8],
    endian: RunTimeEndian,
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
    names: names::Names,
    /// Source files of units.
    unit_names: HashMap<u32, String>,
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
            names: names::Names::default(),
            unit_names: HashMap::new(),
            ranges: Ranges::new([]),
            functions: Mutex::default(),
            lines: Mutex::default(),
            nodes: Mutex::default(),
            missing: Vec::new(),
        };
        info.add_units(0, None)?;
        let mut found = index::scan(&info, 0..info.units.len());
        let split = std::mem::take(&mut found.split);
        if !split.is_empty() {
            let first = info.units.len();
            info.open_split(split, search)?;
            found.append(index::scan(&info, first..info.units.len()));
        }
        info.ranges = Ranges::new(found.ranges);
        info.signatures.extend(found.signatures);
        info.names = found.names.indexed();
        info.unit_names.extend(found.files);
        Ok(info)
    }

    /// Registers the units of a file; those of a package that belong to `skeleton`.
    fn add_units(&mut self, file: u32, skeleton: Option<(u32, u64)>) -> Result<()> {
        let mut places = Vec::new();
        for section in [SectionId::DebugInfo, SectionId::DebugTypes] {
            let within = self.part_of(file, section, skeleton)?;
            let sections = self.file(file)?;
            let base = within.start;
            let mut at = base;
            while at < within.end {
                let range = self.record(sections, section, at..within.end)?;
                at = range.end;
                places.push((section, range, base));
            }
        }
        while self.by_offset.len() <= file as usize {
            self.by_offset.push(Vec::new());
        }
        for (section, range, base) in places {
            if let (SectionId::DebugInfo, Some(known)) = (section, self.by_offset.get_mut(file as usize)) {
                known.push((range.start, index_of(self.units.len())));
            }
            let (bytes, lines, root) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
            self.units.push(UnitPlace { file, section, range, base, skeleton, bytes, lines, root });
        }
        Ok(())
    }

    /// The bytes of what begins with its length, a unit or a line program, at the beginning of `within`.
    fn record(&self, sections: &Sections, section: SectionId, within: Range<usize>) -> Result<Range<usize>> {
        let place = format!("{:#x} of {}", within.start, section.name());
        // In the 64-bit format the length takes 8 bytes, behind 4 of ones.
        let head = sections.part(section, within.start..within.end.min(within.start.saturating_add(12)))?;
        let mut rest = EndianSlice::new(&head, self.endian);
        let (length, _) = rest.read_initial_length().map_err(|error| self.fault(&place, error))?;
        let start = within.start + head.len() - rest.len();
        let end = start.checked_add(length).filter(|&end| end <= within.end);
        Ok(within.start..end.ok_or_else(|| self.damage(&place, "it does not end"))?)
    }

    fn file(&self, file: u32) -> Result<&Sections> {
        self.files.get(file as usize).ok_or_else(|| self.damage("units", "a unit of a file that is not there"))
    }

    /// The part of a section that may have units of `skeleton`.
    fn part_of(&self, file: u32, section: SectionId, skeleton: Option<(u32, u64)>) -> Result<Range<usize>> {
        let sections = self.file(file)?;
        if !sections.is_package() {
            return Ok(0..sections.size(section)?);
        }
        let dwarf = self.dwarf(file, skeleton, false)?;
        let (whole, own) = match section {
            SectionId::DebugInfo => (sections.slice(section)?, *dwarf.debug_info.reader()),
            _ => (sections.slice(section)?, *dwarf.debug_types.reader()),
        };
        let start = if own.is_empty() { 0 } else { own.offset_from(whole) };
        Ok(start..start + own.len())
    }

    /// The sections of a file as `gimli` sees them; for a split file, with those of its skeleton.
    fn dwarf(&self, file: u32, skeleton: Option<(u32, u64)>, lists: bool) -> Result<gimli::Dwarf<Slice<'_>>> {
        let main = self.file(0)?.dwarf(lists)?;
        let Some((_, id)) = skeleton else { return Ok(main) };
        let file = self.file(file)?;
        if file.is_package() {
            let package = file.package()?.map_err(|error| self.fault("the package of split units", error))?;
            let found = package.find_cu(gimli::DwoId(id), &main).map_err(|error| self.fault("a split unit", error))?;
            return found.ok_or_else(|| self.damage("split units", "the package has no such unit"));
        }
        let mut dwarf = file.dwarf(lists)?;
        dwarf.make_dwo(&main);
        Ok(dwarf)
    }

    fn place(&self, index: u32) -> Result<&UnitPlace> {
        self.units.get(index as usize).ok_or_else(|| self.damage("units", "a unit that is not there"))
    }

    /// A unit, read anew.
    fn read_unit(&self, index: u32) -> Result<Bytes> {
        let place = self.place(index)?;
        self.file(place.file)?.part(place.section, place.range.clone())
    }

    /// A unit of these bytes.
    fn open_unit<'a>(&'a self, index: u32, bytes: &'a [u8]) -> Result<Unit<'a>> {
        let place = self.place(index)?;
        let dwarf = self.dwarf(place.file, place.skeleton, false)?;
        let fault = |error| self.fault(&format!("unit {index}"), error);
        let slice = EndianSlice::new(bytes, self.endian);
        let header = match place.section {
            SectionId::DebugTypes => gimli::DebugTypes::from(slice).units().next(),
            _ => gimli::DebugInfo::from(slice).units().next(),
        };
        let header = header.map_err(fault)?.ok_or_else(|| self.damage("units", "an empty one"))?;
        let known = place.root.get();
        let abbreviations = match known {
            Some(root) => root.abbreviations.clone(),
            None => Arc::new(dwarf.debug_abbrev.abbreviations(header.debug_abbrev_offset()).map_err(fault)?),
        };
        let (encoding, file_type) = (header.encoding(), dwarf.file_type);
        let dwo_id = match header.type_() {
            UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id),
            _ => None,
        };
        let mut unit = gimli::Unit {
            header,
            abbreviations,
            name: None,
            comp_dir: None,
            low_pc: 0,
            str_offsets_base: gimli::DebugStrOffsetsBase::default_for_encoding_and_file(encoding, file_type),
            addr_base: gimli::DebugAddrBase(0),
            loclists_base: gimli::DebugLocListsBase::default_for_encoding_and_file(encoding, file_type),
            rnglists_base: gimli::DebugRngListsBase::default_for_encoding_and_file(encoding, file_type),
            line_program: None,
            dwo_id,
        };
        match known {
            Some(root) => root.apply(&mut unit),
            None => {
                read_root(&dwarf, &mut unit).map_err(fault)?;
                if let Some((skeleton, _)) = place.skeleton {
                    unit.copy_relocated_attributes(&self.unit(skeleton)?.unit);
                }
            }
        }
        Ok(Unit { index, bytes, endian: self.endian, dwarf, unit })
    }

    /// A unit, remembered: the next time it costs next to nothing.
    pub(crate) fn unit(&self, index: u32) -> Result<Unit<'_>> {
        let place = self.place(index)?;
        let bytes = match place.bytes.get() {
            Some(bytes) => bytes,
            None => {
                let bytes = self.read_unit(index)?;
                place.bytes.get_or_init(|| bytes)
            }
        };
        let unit = self.open_unit(index, bytes)?;
        place.root.get_or_init(|| Arc::new(Root::of(&unit.unit)));
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

    pub(crate) fn names(&self) -> &names::Names {
        &self.names
    }

    /// The source file of a unit.
    pub(crate) fn unit_name(&self, unit: u32) -> Option<&str> {
        self.unit_names.get(&unit).map(String::as_str)
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
    pub(crate) fn resolve(&self, unit: u32, value: &AttributeValue<Slice<'_>>) -> Result<Option<Die>> {
        match *value {
            AttributeValue::UnitRef(offset) => Ok(Some(Die { unit, offset: offset.0 })),
            AttributeValue::DebugInfoRef(DebugInfoOffset(offset)) => {
                let place = self.place(unit)?;
                let offset = offset.saturating_add(place.base);
                let units = self.by_offset.get(place.file as usize).map(Vec::as_slice).unwrap_or_default();
                let after = units.partition_point(|&(start, _)| start <= offset);
                let found = after.checked_sub(1).and_then(|last| units.get(last));
                let &(start, unit) =
                    found.ok_or_else(|| self.damage("references", "an offset before the first unit"))?;
                Ok(Some(Die { unit, offset: offset - start }))
            }
            AttributeValue::DebugTypesRef(signature) => Ok(self.signatures.get(&signature.0).copied()),
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

/// Takes over what a unit's root says of the unit. Names and the line program are read where they are asked for.
fn read_root(dwarf: &gimli::Dwarf<Slice<'_>>, unit: &mut gimli::Unit<Slice<'_>>) -> gimli::Result<()> {
    let root = unit.entry(unit.header.root_offset())?;
    let mut low_pc = None;
    for attribute in root.attrs() {
        match (attribute.name(), attribute.value()) {
            (gimli::DW_AT_low_pc, value) => low_pc = Some(value),
            (_, AttributeValue::DebugStrOffsetsBase(base)) => unit.str_offsets_base = base,
            (_, AttributeValue::DebugAddrBase(base)) => unit.addr_base = base,
            (_, AttributeValue::DebugLocListsBase(base)) => unit.loclists_base = base,
            (_, AttributeValue::DebugRngListsBase(base)) => unit.rnglists_base = base,
            (_, AttributeValue::DwoId(id)) => unit.dwo_id = unit.dwo_id.or(Some(id)),
            _ => {}
        }
    }
    // An index into addresses is counted from a base, which may come later.
    if let Some(address) = low_pc.map(|value| dwarf.attr_address(unit, value)).transpose()?.flatten() {
        unit.low_pc = address;
    }
    Ok(())
}

impl Root {
    fn of(unit: &gimli::Unit<Slice<'_>>) -> Self {
        Self {
            abbreviations: unit.abbreviations.clone(),
            low_pc: unit.low_pc,
            str_offsets_base: unit.str_offsets_base,
            addr_base: unit.addr_base,
            loclists_base: unit.loclists_base,
            rnglists_base: unit.rnglists_base,
            dwo_id: unit.dwo_id,
        }
    }

    fn apply(&self, unit: &mut gimli::Unit<Slice<'_>>) {
        unit.low_pc = self.low_pc;
        unit.str_offsets_base = self.str_offsets_base;
        unit.addr_base = self.addr_base;
        unit.loclists_base = self.loclists_base;
        unit.rnglists_base = self.rnglists_base;
        unit.dwo_id = self.dwo_id;
    }
}
