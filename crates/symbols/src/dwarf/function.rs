//! Functions: which one an address is in, what was inlined there, and what its variables are.

use std::sync::Arc;

use gimli::AttributeValue;

use super::attributes::unsigned;
use super::line::{SourceLine, file_name};
use super::walk::Walk;
use super::{DebugInfo, Die, Entry, Ref, Unit};
use crate::error::Result;
use crate::ranges::Ranges;

/// Functions inlined into one another at one address: compilers stay far below.
const MAX_INLINED: usize = 256;

/// Ranges of one function.
const MAX_RANGES: usize = 1 << 16;

/// One source-level function at an address.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// The function's or the inlined subroutine's entry.
    pub(crate) die: Die,
    /// Name of the function.
    pub(crate) name: String,
    /// Where the next function outwards called it, if it is inlined.
    pub(crate) call: Option<SourceLine>,
    /// Whether its code stands within another function's.
    pub(crate) inlined: bool,
}

/// A parameter or variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) die: Die,
    pub(crate) name: String,
    pub(crate) parameter: bool,
    pub(crate) ty: Ref,
    pub(crate) line: u32,
}

impl DebugInfo {
    /// The functions of a unit by address, remembered.
    fn functions(&self, unit: u32) -> Result<Arc<Ranges<usize>>> {
        if let Some(found) = self.functions.lock().ok().and_then(|known| known.get(&unit).cloned()) {
            return Ok(found);
        }
        let read = self.unit(unit)?;
        let fault = |error| self.fault(&format!("functions of unit {unit}"), error);
        let mut found = Vec::new();
        let mut walk = Walk::new(&read);
        while let Some(item) = walk.next(i64::MAX).map_err(fault)? {
            let plan = walk.plan_of(&item).map_err(fault)?;
            let has_code = plan.tag == gimli::DW_TAG_subprogram && plan.code;
            walk.pass_attributes(&item).map_err(fault)?;
            if has_code {
                let entry = self.entry(&read, item.offset)?;
                found.extend(self.ranges_of(&read, &entry).into_iter().map(|(start, end)| (start, end, item.offset)));
            }
        }
        let found = Arc::new(Ranges::new(found));
        if let Ok(mut known) = self.functions.lock() {
            known.insert(unit, found.clone());
        }
        Ok(found)
    }

    fn ranges_of<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        if let Ok(mut ranges) = unit.dwarf.die_ranges(&unit.unit, entry) {
            while let (Ok(Some(range)), true) = (ranges.next(), found.len() < MAX_RANGES) {
                if range.begin != 0 && range.begin < range.end {
                    found.push((range.begin, range.end));
                }
            }
        }
        found
    }

    /// The functions at an address (as linked), the innermost inlined one first.
    pub(crate) fn scopes(&self, address: u64) -> Result<Vec<Scope>> {
        let Some(unit) = self.unit_at(address).map(|unit| self.full_unit(unit)) else { return Ok(Vec::new()) };
        let Some(offset) = self.functions(unit)?.find(address) else { return Ok(Vec::new()) };
        let read = self.unit(unit)?;
        let mut scopes = vec![Scope {
            die: Die { unit, offset },
            name: self.name_of(Die { unit, offset })?.unwrap_or_default(),
            call: None,
            inlined: false,
        }];
        let line_unit = self.unit_with_lines(self.line_unit(unit)).ok();
        // An inlined subroutine or a block that has the address is entered, others are passed.
        let mut pending = vec![Die { unit, offset }];
        while let Some(die) = pending.pop().filter(|_| scopes.len() < MAX_INLINED) {
            self.children(&read, die, &mut |child| {
                let die = Die { unit, offset: child.offset().0 };
                let ranges = match child.tag() {
                    gimli::DW_TAG_inlined_subroutine | gimli::DW_TAG_lexical_block => self.ranges_of(&read, child),
                    _ => return Ok(()),
                };
                let inlined = child.tag() == gimli::DW_TAG_inlined_subroutine;
                // A block without ranges is one that the compiler spread out: what is in it is looked at.
                let entered = ranges.iter().any(|&(start, end)| (start..end).contains(&address));
                if entered && inlined {
                    let name = self.name_of(die)?.unwrap_or_default();
                    scopes.push(Scope { die, name, call: Some(call_site(line_unit.as_ref(), child)), inlined: true });
                }
                if entered || (!inlined && ranges.is_empty()) {
                    pending.push(die);
                }
                Ok(())
            })?;
        }
        scopes.reverse();
        Ok(scopes)
    }

    /// Parameters and variables that are in scope at an address of a function, in the order of declaration; those of
    /// inner blocks come after those of outer ones.
    pub(crate) fn variables(&self, scope: Die, address: u64) -> Result<Vec<Variable>> {
        let unit = self.unit(scope.unit)?;
        let mut found = Vec::new();
        self.variables_in(&unit, scope, address, &mut found, 0)?;
        Ok(found)
    }

    fn variables_in(
        &self,
        unit: &Unit<'_>,
        die: Die,
        address: u64,
        found: &mut Vec<Variable>,
        depth: u32,
    ) -> Result<()> {
        if depth > 64 {
            return Ok(());
        }
        let mut blocks = Vec::new();
        self.children(unit, die, &mut |child| {
            let at = Die { unit: die.unit, offset: child.offset().0 };
            match child.tag() {
                gimli::DW_TAG_formal_parameter | gimli::DW_TAG_variable => {
                    if let Some(variable) = self.variable(unit, child, at)? {
                        found.push(variable);
                    }
                }
                gimli::DW_TAG_lexical_block => {
                    let ranges = self.ranges_of(unit, child);
                    if ranges.iter().any(|&(start, end)| (start..end).contains(&address)) {
                        blocks.push(at);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        for block in blocks {
            self.variables_in(unit, block, address, found, depth + 1)?;
        }
        Ok(())
    }

    fn variable<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>, die: Die) -> Result<Option<Variable>> {
        let parameter = entry.tag() == gimli::DW_TAG_formal_parameter;
        let (mut name, mut ty) = (self.string(unit, entry, gimli::DW_AT_name), None);
        let mut line = unsigned(entry, gimli::DW_AT_decl_line);
        if entry.has_attr(gimli::DW_AT_type) {
            ty = Some(self.target(unit, entry)?);
        }
        if let (true, Some(origin)) = (name.is_none() || ty.is_none(), self.origin(unit, entry)?) {
            let unit = self.unit(origin.unit)?;
            let entry = self.entry(&unit, origin.offset)?;
            name = name.or_else(|| self.string(&unit, &entry, gimli::DW_AT_name));
            line = line.or_else(|| unsigned(&entry, gimli::DW_AT_decl_line));
            if ty.is_none() {
                ty = Some(self.target(&unit, &entry)?);
            }
        }
        let line = line.and_then(|line| u32::try_from(line).ok()).unwrap_or(0);
        Ok(name.zip(ty).map(|(name, ty)| Variable { die, name, parameter, ty, line }))
    }

    /// Name and type of a variable.
    pub(crate) fn declared(&self, die: Die) -> Result<(String, Ref)> {
        let unit = self.unit(die.unit)?;
        let entry = self.entry(&unit, die.offset)?;
        let variable = self.variable(&unit, &entry, die)?;
        let variable = variable.ok_or_else(|| self.damage("variables", "one without a name or type"))?;
        Ok((variable.name, variable.ty))
    }

    /// Where a function begins, as linked.
    pub(crate) fn entry_address(&self, die: Die) -> Result<Option<u64>> {
        let unit = self.unit(die.unit)?;
        let entry = self.entry(&unit, die.offset)?;
        let low = entry.attr_value(gimli::DW_AT_low_pc);
        let low = low.and_then(|low| unit.dwarf.attr_address(&unit.unit, low).ok().flatten());
        Ok(low.or_else(|| self.ranges_of(&unit, &entry).first().map(|&(start, _)| start)))
    }

    /// The concrete function that an entry lies in or is: the one with a frame base.
    pub(crate) fn function_at(&self, address: u64) -> Result<Option<Die>> {
        let Some(unit) = self.unit_at(address).map(|unit| self.full_unit(unit)) else { return Ok(None) };
        Ok(self.functions(unit)?.find(address).map(|offset| Die { unit, offset }))
    }
}

fn call_site(unit: Option<&Unit<'_>>, entry: &Entry<'_>) -> SourceLine {
    let narrow = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let file = match entry.attr_value(gimli::DW_AT_call_file) {
        Some(AttributeValue::FileIndex(index)) => Some(index),
        value => value.and_then(|value| value.udata_value()),
    };
    SourceLine {
        file: unit.zip(file).map(|(unit, file)| file_name(unit, file)).unwrap_or_default(),
        line: narrow(unsigned(entry, gimli::DW_AT_call_line)),
        column: narrow(unsigned(entry, gimli::DW_AT_call_column)),
    }
}
