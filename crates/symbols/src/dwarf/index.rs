//! One quick pass over all units: which names are defined where, and which addresses belong to which unit.
//!
//! Every unit of a C program repeats the types of the headers that it includes. A name is therefore known by where its
//! string lies before it is known by its bytes: linkers keep equal strings once.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use gimli::{AttributeValue, DwAt, DwTag, UnitOffset, UnitType};
use hashbrown::HashSet;

use super::names::{Kind, Names};
use super::split::Split;
use super::walk::{Plan, Walk};
use super::{DebugInfo, Die, Slice, Unit, index_of};
use crate::error::Result;

/// Address ranges of all units.
const MAX_RANGES: usize = 1 << 24;

/// What a pass found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) names: Names,
    pub(super) ranges: Vec<(u64, u64, u32)>,
    pub(super) split: Vec<Split>,
    /// Types that other units know by a signature.
    pub(super) signatures: Vec<(u64, Die)>,
    /// Source files of units.
    pub(super) files: Vec<(u32, String)>,
}

impl Found {
    pub(super) fn append(&mut self, other: Self) {
        self.names.append(&other.names);
        self.ranges.extend(other.ranges);
        self.split.extend(other.split);
        self.signatures.extend(other.signatures);
        self.files.extend(other.files);
    }
}

/// Passes over the units of the range, on as many threads as there is work for.
pub(super) fn scan(info: &DebugInfo, units: Range<usize>) -> Found {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4).min(units.len());
    let next = AtomicUsize::new(units.start);
    let work = || {
        let mut scanner = Scanner { info, found: Found::default(), seen: HashSet::new() };
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= units.end {
                return scanner.found;
            }
            // A damaged unit is left out: the others still answer.
            let _ = scanner.unit(index_of(index));
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
    found
}

impl DebugInfo {
    /// The type of a kind and name as the units have it whose name ends in `file`.
    pub(crate) fn type_in(&self, file: &str, kind: Kind, name: &str) -> Result<Option<Die>> {
        for index in 0..index_of(self.units.len()) {
            if !self.unit_name(index).is_some_and(|named| std::path::Path::new(named).ends_with(file)) {
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
    declaration: bool,
    sibling: Option<usize>,
}

impl Scanner<'_> {
    fn unit(&mut self, index: u32) -> Result<()> {
        // Most units are never asked for again: their bytes are not kept.
        let bytes = self.info.read_unit(index)?;
        let unit = self.info.open_unit(index, &bytes)?;
        let fault = |error| self.info.fault(&format!("unit {index}"), error);
        if let UnitType::Type { type_signature, type_offset } | UnitType::SplitType { type_signature, type_offset } =
            unit.unit.header.type_()
        {
            self.found.signatures.push((type_signature.0, Die { unit: index, offset: type_offset.0 }));
        }
        let root = self.info.entry(&unit, unit.unit.header.root_offset().0)?;
        if let Some(file) = self.info.string(&unit, &root, gimli::DW_AT_name) {
            self.found.files.push((index, file));
        }
        if self.info.place(index)?.skeleton.is_none() {
            self.found.split.extend(Split::of(self.info, &unit, &root));
        }
        let mut ranges = unit.dwarf.die_ranges(&unit.unit, &root).map_err(fault)?;
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

    /// Indexes what is defined at the top of a unit; with `functions`, also the code of each function.
    fn entries(&mut self, unit: &Unit<'_>, functions: bool) -> gimli::Result<()> {
        let mut walk = Walk::new(unit);
        let mut enumeration = None;
        while let Some(item) = walk.next(if enumeration.is_some() { 2 } else { 1 })? {
            let plan = walk.plan_of(&item)?;
            if item.depth == 1 {
                enumeration = None;
            }
            let (kind, offset) = match (item.depth, enumeration) {
                (1, _) => (kind_of(plan.tag), item.offset),
                (2, Some(offset)) if plan.tag == gimli::DW_TAG_enumerator => (Some(Kind::Enumerator), offset),
                _ => (None, 0),
            };
            let Some(kind) = kind.filter(|&kind| self.is_news(&walk, unit, plan, kind)) else {
                walk.pass(&item)?;
                continue;
            };
            let mut attributes = Attributes::default();
            walk.read(&item, |name, value| attributes.note(name, value))?;
            if !attributes.declaration {
                self.add(unit, kind, Die { unit: unit.index, offset }, &attributes, functions);
            }
            match attributes.sibling {
                _ if kind == Kind::Enum => enumeration = Some(offset),
                Some(sibling) if item.depth == 1 => walk.jump(&item, sibling),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether an entry has to be read: not what defines nothing, nor one of the many definitions of a type that is
    /// known already.
    fn is_news<'a>(&self, walk: &Walk<'_, 'a>, unit: &Unit<'a>, plan: &Plan, kind: Kind) -> bool {
        let defines = match kind {
            Kind::Function => plan.code,
            Kind::Variable => plan.located,
            _ => true,
        };
        let known = || match kind {
            Kind::Function | Kind::Variable => false,
            _ => {
                walk.name(plan).and_then(|name| self.key(unit, kind, &name)).is_some_and(|key| self.seen.contains(&key))
            }
        };
        defines && walk.is_declaration(plan) != Some(true) && !known()
    }

    /// Notes a definition.
    fn add<'a>(&mut self, unit: &Unit<'a>, kind: Kind, die: Die, found: &Attributes<'a>, functions: bool) {
        if kind == Kind::Function && functions {
            self.function_range(unit, found);
        }
        match &found.name {
            Some(name) => {
                if let Some(key) = self.key(unit, kind, name) {
                    self.seen.insert(key);
                }
                if let Some(name) = unit.string(*name) {
                    self.found.names.add(kind, name.slice(), die);
                }
            }
            None => {
                if let Some(origin) = &found.origin
                    && let Ok(Some(origin)) = self.info.resolve(unit.index, origin)
                    && let Ok(Some(name)) = self.origin_name(unit, origin)
                {
                    self.found.names.add(kind, name.as_bytes(), die);
                }
            }
        }
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

impl<'a> Attributes<'a> {
    fn note(&mut self, name: DwAt, value: AttributeValue<Slice<'a>>) {
        match (name, value) {
            (gimli::DW_AT_name, value) => self.name = Some(value),
            (gimli::DW_AT_low_pc, value) => self.low = Some(value),
            (gimli::DW_AT_high_pc, value) => self.high = Some(value),
            (gimli::DW_AT_specification | gimli::DW_AT_abstract_origin, value) => self.origin = Some(value),
            (gimli::DW_AT_declaration, AttributeValue::Flag(set)) => self.declaration = set,
            (gimli::DW_AT_sibling, AttributeValue::UnitRef(UnitOffset(sibling))) => self.sibling = Some(sibling),
            _ => {}
        }
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
