//! One quick pass over all units: which names are defined where, and which addresses belong to which unit.
//!
//! Every unit of a C program repeats the types of the headers that it includes. A name is therefore known by where its
//! string lies before it is known by its bytes: linkers keep equal strings once.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use gimli::{AttributeValue, DwTag, UnitOffset};
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use super::split::Split;
use super::{DebugInfo, Die, Slice, Unit, index_of};
use crate::error::Result;

/// What a name stands for. C has separate names for structures, unions and enumerations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Struct,
    Union,
    Enum,
    Typedef,
    Base,
    Variable,
    Function,
    /// The entry is the enumeration's.
    Enumerator,
}

/// Bytes of one name, and of all.
const MAX_NAME: usize = 4096;
const MAX_TEXT: usize = 512 << 20;
/// Address ranges of all units.
const MAX_RANGES: usize = 1 << 24;
/// Attributes of one entry; the largest have some 30.
const MAX_ATTRIBUTES: usize = 512;

/// A definition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameEntry {
    pub(crate) kind: Kind,
    pub(crate) die: Die,
    name: (u32, u32),
}

/// Names and their definitions.
#[derive(Debug, Default)]
pub(crate) struct Names {
    text: Vec<u8>,
    entries: Vec<NameEntry>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// What a pass found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) names: Names,
    pub(super) ranges: Vec<(u64, u64, u32)>,
    pub(super) split: Vec<Split>,
}

impl Names {
    fn text(&self, entry: &NameEntry) -> &[u8] {
        let (start, length) = (entry.name.0 as usize, entry.name.1 as usize);
        self.text.get(start..start.saturating_add(length)).unwrap_or_default()
    }

    /// Adds a definition; names beyond all measure are left out. Of a type's several, which are taken to be the same, the first in the order of units stays.
    fn insert(&mut self, kind: Kind, name: &[u8], die: Die) {
        if name.len() > MAX_NAME || self.text.len() > MAX_TEXT {
            return;
        }
        let hash = self.hasher.hash_one(name);
        if !matches!(kind, Kind::Variable | Kind::Function) {
            let known = self.table.iter_hash(hash).copied().find(|&index| {
                let entry = self.entries.get(index as usize);
                entry.is_some_and(|entry| entry.kind == kind && self.text(entry) == name)
            });
            if let Some(entry) = known.and_then(|index| self.entries.get_mut(index as usize)) {
                entry.die = entry.die.min(die);
                return;
            }
        }
        let (Ok(start), Ok(length)) = (u32::try_from(self.text.len()), u32::try_from(name.len())) else { return };
        self.text.extend_from_slice(name);
        self.entries.push(NameEntry { kind, die, name: (start, length) });
        let (entries, text, hasher) = (&self.entries, &self.text, &self.hasher);
        self.table.insert_unique(hash, index_of(entries.len() - 1), |&index| {
            let name = entries.get(index as usize).map_or((0, 0), |entry| entry.name);
            let (start, length) = (name.0 as usize, name.1 as usize);
            hasher.hash_one(text.get(start..start + length).unwrap_or_default())
        });
    }

    /// The definitions of a name, in the order of units.
    pub(crate) fn find(&self, name: &str) -> Vec<NameEntry> {
        let hash = self.hasher.hash_one(name.as_bytes());
        let entries = self.table.iter_hash(hash).filter_map(|&index| self.entries.get(index as usize));
        let mut found: Vec<_> = entries.filter(|entry| self.text(entry) == name.as_bytes()).copied().collect();
        found.sort_by_key(|entry| (entry.kind, entry.die));
        found
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (String, NameEntry)> + '_ {
        self.entries.iter().map(|entry| (String::from_utf8_lossy(self.text(entry)).into_owned(), *entry))
    }
}

impl Found {
    pub(super) fn append(&mut self, other: Self) {
        for entry in &other.names.entries {
            self.names.insert(entry.kind, other.names.text(entry), entry.die);
        }
        self.ranges.extend(other.ranges);
        self.split.extend(other.split);
    }
}

/// Passes over the units of the range, on as many threads as there is work for.
pub(super) fn scan(info: &DebugInfo, units: Range<usize>) -> Result<Found> {
    /// Units that a thread takes at a time.
    const BATCH: usize = 16;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4).min(units.len().div_ceil(BATCH));
    let next = AtomicUsize::new(units.start);
    let work = || {
        let mut scanner = Scanner { info, found: Found::default(), seen: HashSet::new() };
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= units.end {
                return scanner.found;
            }
            for index in first..units.end.min(first + BATCH) {
                // A damaged unit is left out: the others still answer.
                let _ = scanner.unit(index_of(index));
            }
        }
    };
    let mut found = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut found = work();
        for worker in workers {
            match worker.join() {
                Ok(other) => found.append(other),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        found
    });
    // The order of finding depends on the threads, that of the ranges must not.
    found.ranges.sort_unstable_by_key(|&(start, end, unit)| (unit, start, end));
    found.split.sort_by_key(|split| split.unit);
    Ok(found)
}

impl DebugInfo {
    /// The type of a kind and name as the units have it whose name ends in `file`: the index has only one of each name.
    pub(crate) fn type_in(&self, file: &str, kind: Kind, name: &str) -> Result<Option<Die>> {
        for index in 0..index_of(self.units.len()) {
            let named = self.unit_name(index).ok().flatten();
            if !named.is_some_and(|named| std::path::Path::new(&named).ends_with(file)) {
                continue;
            }
            let index = self.full_unit(index);
            let unit = self.unit(index)?;
            let fault = |error| self.fault(&format!("unit {index}"), error);
            let mut tree = unit.unit.entries_tree(None).map_err(fault)?;
            let mut children = tree.root().map_err(fault)?.children();
            while let Some(child) = children.next().map_err(fault)? {
                let entry = child.entry();
                let is_declared = entry.attr(gimli::DW_AT_declaration).is_some();
                if kind_of(entry.tag()) == Some(kind)
                    && !is_declared
                    && self.string(&unit, entry, gimli::DW_AT_name).as_deref() == Some(name)
                {
                    return Ok(Some(Die { unit: index, offset: entry.offset().0 }));
                }
            }
        }
        Ok(None)
    }
}

struct Scanner<'i> {
    info: &'i DebugInfo,
    found: Found,
    /// Names that this thread has found a definition for, by where their strings lie.
    seen: HashSet<u64>,
}

/// Attributes of an entry that decide whether and how it is indexed.
#[derive(Default)]
struct Attributes<'a> {
    name: Option<AttributeValue<Slice<'a>>>,
    origin: Option<AttributeValue<Slice<'a>>>,
    low: Option<AttributeValue<Slice<'a>>>,
    high: Option<AttributeValue<Slice<'a>>>,
    ranges: bool,
    located: bool,
    declaration: bool,
    sibling: Option<usize>,
}

impl Scanner<'_> {
    fn unit(&mut self, index: u32) -> Result<()> {
        let unit = self.info.open_unit(index, false)?;
        let fault = |error| self.info.fault(&format!("unit {index}"), error);
        let skeleton = self.info.place(index)?.skeleton;
        if let (None, Some(split)) = (skeleton, Split::of(&unit)) {
            self.found.split.push(split);
        }
        let mut ranges = unit.dwarf.unit_ranges(&unit.unit).map_err(fault)?;
        let mut whole = false;
        // Ranges that do not read are looked for in the functions instead.
        while let (Ok(Some(range)), true) = (ranges.next(), self.found.ranges.len() < MAX_RANGES) {
            // What the linker left out begins at 0.
            if range.begin != 0 && range.begin < range.end {
                self.found.ranges.push((range.begin, range.end, index));
                whole = true;
            }
        }
        self.entries(&unit, !whole).map_err(fault)
    }

    fn entries(&mut self, unit: &Unit<'_>, functions: bool) -> gimli::Result<()> {
        let mut raw = unit.unit.entries_raw(None)?;
        // Depth that `raw` counts from, after a jump to a sibling.
        let mut base = 0;
        let mut enumeration = None;
        while !raw.is_empty() {
            let depth = base + raw.next_depth();
            let offset = raw.next_offset().0;
            let Some(abbreviation) = raw.read_abbreviation()? else { continue };
            // Attributes may take no bytes at all: many of them would be work without an end.
            if abbreviation.attributes().len() > MAX_ATTRIBUTES {
                return Err(gimli::Error::InvalidAbbreviationCode(abbreviation.code()));
            }
            let tag = abbreviation.tag();
            if depth == 1 {
                enumeration = None;
            }
            let kind = match (depth, enumeration) {
                (1, _) => kind_of(tag),
                (2, Some(_)) if tag == gimli::DW_TAG_enumerator => Some(Kind::Enumerator),
                _ => None,
            };
            // Only functions and structures are worth a jump over their children.
            if kind.is_none() && (depth != 1 || !abbreviation.has_children()) {
                raw.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let mut attributes = Attributes::default();
            for &spec in abbreviation.attributes() {
                let attribute = raw.read_attribute(spec)?;
                match attribute.name() {
                    gimli::DW_AT_name => attributes.name = Some(attribute.value()),
                    gimli::DW_AT_declaration => {
                        attributes.declaration = attribute.value() == AttributeValue::Flag(true)
                    }
                    gimli::DW_AT_low_pc => attributes.low = Some(attribute.value()),
                    gimli::DW_AT_high_pc => attributes.high = Some(attribute.value()),
                    gimli::DW_AT_ranges => attributes.ranges = true,
                    gimli::DW_AT_location | gimli::DW_AT_const_value => attributes.located = true,
                    gimli::DW_AT_specification | gimli::DW_AT_abstract_origin => {
                        attributes.origin = Some(attribute.value());
                    }
                    gimli::DW_AT_sibling => {
                        if let AttributeValue::UnitRef(UnitOffset(sibling)) = attribute.value() {
                            attributes.sibling = Some(sibling);
                        }
                    }
                    _ => {}
                }
            }
            if let Some(kind) = kind {
                let die =
                    Die { unit: unit.index, offset: if depth == 2 { enumeration.unwrap_or(offset) } else { offset } };
                let new = self.entry(unit, kind, die, &attributes, functions);
                if kind == Kind::Enum && new {
                    enumeration = Some(offset);
                }
            }
            match attributes.sibling {
                Some(sibling) if depth == 1 && sibling > offset && enumeration.is_none() => {
                    raw = unit.unit.entries_raw(Some(UnitOffset(sibling)))?;
                    base = 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes a definition; false if it is one of many of a type that is known already.
    fn entry<'a>(&mut self, unit: &Unit<'a>, kind: Kind, die: Die, found: &Attributes<'a>, functions: bool) -> bool {
        let defines = match kind {
            Kind::Function => found.low.is_some() || found.ranges,
            Kind::Variable => found.located,
            _ => true,
        };
        if found.declaration || !defines {
            return false;
        }
        if kind == Kind::Function && functions {
            self.function_range(unit, found);
        }
        match &found.name {
            Some(name) => {
                let shared = !matches!(kind, Kind::Variable | Kind::Function);
                if shared && self.key(unit, kind, name).is_some_and(|key| !self.seen.insert(key)) {
                    return false;
                }
                if let Some(name) = unit.string(*name) {
                    self.found.names.insert(kind, name.slice(), die);
                }
            }
            None => {
                if let Some(origin) = &found.origin
                    && let Ok(Some(origin)) = self.info.resolve(unit.index, origin)
                    && let Ok(Some(name)) = self.origin_name(unit, origin)
                {
                    self.found.names.insert(kind, name.as_bytes(), die);
                }
            }
        }
        true
    }

    /// The name of the declaration that a definition completes. It lies in the same unit, nearly always: the unit at
    /// hand is used then, and nothing is kept of it.
    fn origin_name(&self, unit: &Unit<'_>, mut die: Die) -> Result<Option<String>> {
        for _ in 0..8 {
            if die.unit != unit.index {
                return self.info.name_of(die);
            }
            let entry = self.info.entry(unit, die.offset)?;
            if let Some(name) = self.info.string(unit, &entry, gimli::DW_AT_name) {
                return Ok(Some(name));
            }
            match self.info.origin(unit, &entry)? {
                Some(origin) => die = origin,
                None => break,
            }
        }
        Ok(None)
    }

    fn function_range<'a>(&mut self, unit: &Unit<'a>, found: &Attributes<'a>) {
        let low = found.low.and_then(|low| unit.dwarf.attr_address(&unit.unit, low).ok().flatten());
        let Some(low) = low.filter(|&low| low != 0) else { return };
        let high = match found.high {
            Some(AttributeValue::Addr(high)) => Some(high),
            Some(high @ AttributeValue::DebugAddrIndex(_)) => unit.dwarf.attr_address(&unit.unit, high).ok().flatten(),
            Some(size) => size.udata_value().and_then(|size| low.checked_add(size)),
            None => None,
        };
        if let Some(high) = high.filter(|&high| high > low) {
            self.found.ranges.push((low, high, unit.index));
        }
    }

    /// Where the name's string lies, together with what it names; `None` if it lies in the entry itself.
    fn key<'a>(&self, unit: &Unit<'a>, kind: Kind, name: &AttributeValue<Slice<'a>>) -> Option<u64> {
        let (table, offset) = match *name {
            AttributeValue::DebugStrRef(offset) => (1, offset.0),
            AttributeValue::DebugStrOffsetsIndex(index) => (1, unit.dwarf.string_offset(&unit.unit, index).ok()?.0),
            AttributeValue::DebugLineStrRef(offset) => (2, offset.0),
            _ => return None,
        };
        let file = self.info.place(unit.index).ok()?.file;
        let offset = (offset as u64).checked_shl(24).filter(|shifted| shifted >> 24 == offset as u64)?;
        Some(offset | u64::from(file & 0xffff) << 8 | (kind as u64) << 2 | table)
    }
}

fn kind_of(tag: DwTag) -> Option<Kind> {
    match tag {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => Some(Kind::Struct),
        gimli::DW_TAG_union_type => Some(Kind::Union),
        gimli::DW_TAG_enumeration_type => Some(Kind::Enum),
        gimli::DW_TAG_typedef => Some(Kind::Typedef),
        gimli::DW_TAG_base_type => Some(Kind::Base),
        gimli::DW_TAG_variable => Some(Kind::Variable),
        gimli::DW_TAG_subprogram => Some(Kind::Function),
        _ => None,
    }
}
