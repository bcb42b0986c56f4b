//! The entries of a unit one after another, most of which are passed over.
//!
//! How many bytes an entry takes follows from its abbreviation, unless that has one of a few forms, and so does where in
//! them a name lies. Both are worked out once for each abbreviation of a unit; `gimli` reads the entries that matter.

use gimli::{
    Abbreviation, AttributeValue, DebugLineStrOffset, DebugStrOffset, DebugStrOffsetsIndex, DwAt, DwForm, DwTag,
    EndianSlice, EntriesRaw, Error, Reader, Result, UnitOffset,
};

use super::{Slice, Unit};

/// Attributes of one entry; the largest have some 30.
const MAX_ATTRIBUTES: usize = 512;
/// Abbreviations of one unit of which the plans are kept. Compilers number them from 1 on, and need a few hundred.
const MAX_PLANS: usize = 1 << 11;

/// A walk over a unit's entries. After each one that it gives, that one is to be passed or read.
pub(super) struct Walk<'u, 'a> {
    unit: &'u Unit<'a>,
    /// Offset in the unit.
    at: usize,
    depth: i64,
    /// By the abbreviation's number; the first is for one that is too large.
    plans: Vec<Option<Plan>>,
}

/// An entry whose attributes come next.
#[derive(Clone, Copy)]
pub(super) struct Item {
    /// Offset in the unit.
    pub(super) offset: usize,
    /// The unit's root is at 0.
    pub(super) depth: i64,
    code: u64,
    plan: usize,
}

/// What an abbreviation says of its entries.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) tag: DwTag,
    children: bool,
    /// Bytes of all attributes, if they are always the same.
    size: Option<u32>,
    name: Option<Field>,
    sibling: Option<Field>,
    declaration: Declaration,
    /// Whether there is an address or ranges of code.
    pub(super) code: bool,
    /// Whether there is a location or a constant value.
    pub(super) located: bool,
}

/// Whether an abbreviation is that of declarations.
#[derive(Clone, Copy)]
enum Declaration {
    Never,
    Always,
    /// Each entry tells.
    Flag(Option<Field>),
}

/// An attribute that begins at the same place of each entry: bytes behind the abbreviation's code.
#[derive(Clone, Copy)]
struct Field {
    place: u32,
    form: DwForm,
}

impl<'u, 'a> Walk<'u, 'a> {
    pub(super) fn new(unit: &'u Unit<'a>) -> Self {
        Self { unit, at: unit.unit.header.root_offset().0, depth: 0, plans: vec![None] }
    }

    /// The next entry that is not deeper than `deepest`.
    pub(super) fn next(&mut self, deepest: i64) -> Result<Option<Item>> {
        loop {
            let offset = self.at;
            let Some(&first) = self.unit.bytes.get(offset) else { return Ok(None) };
            self.at += 1;
            let mut code = u64::from(first);
            // Numbers from 128 on take several bytes (LEB128).
            if first >= 0x80 {
                self.at = offset;
                let mut rest = self.rest();
                code = rest.read_uleb128()?;
                self.at = self.unit.bytes.len() - rest.len();
            }
            if code == 0 {
                self.depth -= 1;
                continue;
            }
            let mut index = usize::try_from(code).unwrap_or(MAX_PLANS);
            if !matches!(self.plans.get(index), Some(Some(_))) {
                index = self.plan(code)?;
            }
            let item = Item { offset, depth: self.depth, code, plan: index };
            let plan = self.plan_of(&item)?;
            let (children, size) = (plan.children, plan.size);
            self.depth += i64::from(children);
            match size {
                _ if item.depth <= deepest => return Ok(Some(item)),
                Some(size) => self.at = self.at.saturating_add(size as usize),
                None => self.pass_attributes(&item)?,
            }
        }
    }

    /// What is known of an entry before it is read.
    pub(super) fn plan_of(&self, item: &Item) -> Result<&Plan> {
        self.plans.get(item.plan).and_then(Option::as_ref).ok_or(Error::InvalidAbbreviationCode(item.code))
    }

    fn rest(&self) -> Slice<'a> {
        EndianSlice::new(self.unit.bytes.get(self.at..).unwrap_or_default(), self.unit.endian)
    }

    /// Makes the plan for an abbreviation; its index.
    fn plan(&mut self, code: u64) -> Result<usize> {
        let plan = Plan::of(self.abbreviation(code)?, self.unit)?;
        let index = usize::try_from(code).ok().filter(|&index| index < MAX_PLANS).unwrap_or(0);
        if self.plans.len() <= index {
            self.plans.resize(index + 1, None);
        }
        if let Some(place) = self.plans.get_mut(index) {
            *place = Some(plan);
        }
        Ok(index)
    }

    fn abbreviation(&self, code: u64) -> Result<&'u Abbreviation> {
        self.unit.unit.abbreviations.get(code).ok_or(Error::InvalidAbbreviationCode(code))
    }

    fn raw(&self) -> EntriesRaw<'u, Slice<'a>> {
        let unit = &self.unit.unit;
        EntriesRaw::new(self.rest(), unit.encoding(), &unit.abbreviations, UnitOffset(self.at))
    }

    /// Passes over the attributes.
    pub(super) fn pass_attributes(&mut self, item: &Item) -> Result<()> {
        match self.plan_of(item)?.size {
            Some(size) => self.at = self.at.saturating_add(size as usize),
            None => {
                let mut raw = self.raw();
                raw.skip_attributes(self.abbreviation(item.code)?.attributes())?;
                self.at = raw.next_offset().0;
            }
        }
        Ok(())
    }

    /// Passes over the attributes, and, if the entry tells where they end, the children.
    pub(super) fn pass(&mut self, item: &Item) -> Result<()> {
        let plan = self.plan_of(item)?;
        let sibling = plan.sibling.filter(|_| plan.children).and_then(|field| self.field(field));
        self.pass_attributes(item)?;
        if let Some(AttributeValue::UnitRef(UnitOffset(sibling))) = sibling {
            self.jump(item, sibling);
        }
        Ok(())
    }

    /// Goes on behind the children of an entry.
    pub(super) fn jump(&mut self, item: &Item, sibling: usize) {
        if sibling > self.at {
            self.at = sibling;
            self.depth = item.depth;
        }
    }

    /// Reads the attributes.
    pub(super) fn read(&mut self, item: &Item, mut found: impl FnMut(DwAt, AttributeValue<Slice<'a>>)) -> Result<()> {
        let mut raw = self.raw();
        for &spec in self.abbreviation(item.code)?.attributes() {
            let attribute = raw.read_attribute(spec)?;
            found(attribute.name(), attribute.value());
        }
        self.at = raw.next_offset().0;
        Ok(())
    }

    /// The name of an entry that was not read yet, if its place is known.
    pub(super) fn name(&self, plan: &Plan) -> Option<AttributeValue<Slice<'a>>> {
        self.field(plan.name?)
    }

    /// Whether the entry, which was not read yet, is a declaration; `None` if it has to be read for that.
    pub(super) fn is_declaration(&self, plan: &Plan) -> Option<bool> {
        match plan.declaration {
            Declaration::Never => Some(false),
            Declaration::Always => Some(true),
            Declaration::Flag(field) => match self.field(field?)? {
                AttributeValue::Flag(set) => Some(set),
                _ => None,
            },
        }
    }

    fn field(&self, field: Field) -> Option<AttributeValue<Slice<'a>>> {
        let mut rest = self.rest();
        rest.skip(field.place as usize).ok()?;
        let format = self.unit.unit.encoding().format;
        Some(match field.form {
            gimli::DW_FORM_flag => AttributeValue::Flag(rest.read_u8().ok()? != 0),
            gimli::DW_FORM_ref1 => AttributeValue::UnitRef(UnitOffset(rest.read_u8().ok()?.into())),
            gimli::DW_FORM_ref2 => AttributeValue::UnitRef(UnitOffset(rest.read_u16().ok()?.into())),
            gimli::DW_FORM_ref4 => AttributeValue::UnitRef(UnitOffset(rest.read_u32().ok()? as usize)),
            gimli::DW_FORM_strp => AttributeValue::DebugStrRef(DebugStrOffset(rest.read_offset(format).ok()?)),
            gimli::DW_FORM_line_strp => {
                AttributeValue::DebugLineStrRef(DebugLineStrOffset(rest.read_offset(format).ok()?))
            }
            gimli::DW_FORM_strx1 => index(rest.read_u8().ok()?.into()),
            gimli::DW_FORM_strx2 => index(rest.read_u16().ok()?.into()),
            gimli::DW_FORM_strx4 => index(rest.read_u32().ok()? as usize),
            gimli::DW_FORM_strx | gimli::DW_FORM_GNU_str_index => index(rest.read_uleb128().ok()?.try_into().ok()?),
            _ => return None,
        })
    }
}

fn index<'a>(index: usize) -> AttributeValue<Slice<'a>> {
    AttributeValue::DebugStrOffsetsIndex(DebugStrOffsetsIndex(index))
}

impl Plan {
    fn of(abbreviation: &Abbreviation, unit: &Unit<'_>) -> Result<Self> {
        let attributes = abbreviation.attributes();
        // Attributes may take no bytes at all: many of them would be work without an end.
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(Error::InvalidAbbreviationCode(abbreviation.code()));
        }
        let mut plan = Self {
            tag: abbreviation.tag(),
            children: abbreviation.has_children(),
            size: Some(0),
            name: None,
            sibling: None,
            declaration: Declaration::Never,
            code: false,
            located: false,
        };
        for attribute in attributes {
            let field = plan.size.map(|place| Field { place, form: attribute.form() });
            match attribute.name() {
                gimli::DW_AT_name => plan.name = field,
                gimli::DW_AT_sibling => plan.sibling = field,
                gimli::DW_AT_declaration if attribute.form() == gimli::DW_FORM_flag_present => {
                    plan.declaration = Declaration::Always;
                }
                gimli::DW_AT_declaration => plan.declaration = Declaration::Flag(field),
                gimli::DW_AT_low_pc | gimli::DW_AT_ranges => plan.code = true,
                gimli::DW_AT_location | gimli::DW_AT_const_value => plan.located = true,
                _ => {}
            }
            let size = attribute.size(&unit.unit.header).and_then(|size| u32::try_from(size).ok());
            plan.size = plan.size.zip(size).map(|(before, size)| before + size);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dwarf::{DebugInfo, Sections, SplitSearch};
    use crate::elf::Elf;
    use crate::file::Source;

    /// Offsets and depths of a unit's entries, as `gimli` reads them.
    fn expected(unit: &Unit<'_>) -> Vec<(usize, i64)> {
        let mut raw = unit.unit.entries_raw(None).unwrap();
        let mut found = Vec::new();
        while !raw.is_empty() {
            let place = (raw.next_offset().0, raw.next_depth() as i64);
            if let Some(abbreviation) = raw.read_abbreviation().unwrap() {
                raw.skip_attributes(abbreviation.attributes()).unwrap();
                found.push(place);
            }
        }
        found
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_walk_meets_the_entries_that_gimli_reads() {
        let test = std::env::current_exe().unwrap();
        let elf = Arc::new(Elf::read(Source::open(&test).unwrap()).unwrap());
        let sections = Sections::read(&elf, &|_| None).unwrap().expect("tests have debug information");
        let info = DebugInfo::new("test", sections, &SplitSearch::default()).unwrap();
        for index in 0..info.units.len().min(40) {
            let unit = info.unit(index as u32).unwrap();
            let all = expected(&unit);
            for deepest in [i64::MAX, 1] {
                let (mut walk, mut met) = (Walk::new(&unit), Vec::new());
                while let Some(item) = walk.next(deepest).unwrap() {
                    met.push((item.offset, item.depth));
                    // Both ways over an entry end at the same place.
                    match met.len() % 2 {
                        0 => walk.pass_attributes(&item).unwrap(),
                        _ => walk.read(&item, |_, _| {}).unwrap(),
                    }
                }
                let wanted: Vec<_> = all.iter().copied().filter(|(_, depth)| *depth <= deepest).collect();
                assert_eq!(met, wanted, "unit {index}");
            }
        }
    }
}
