//! Source files and lines of addresses.

use std::path::Path;
use std::sync::Arc;

use gimli::{AttributeValue, ColumnType, DebugLineOffset, SectionId};

use super::{DebugInfo, Unit, attributes::text};
use crate::error::Result;

/// A place in a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLine {
    /// The file, as the compiler named it: absolute, where it told its directory.
    pub file: String,
    /// The line, from 1; 0 for code that no line stands for.
    pub line: u32,
    /// The column, from 1; 0 if it is not known.
    pub column: u32,
}

/// The line table of a unit.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Sorted by address.
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    address: u64,
    file: u32,
    line: u32,
    column: u32,
    /// The address is the end of the code before it.
    end: bool,
    /// A good place to say that this line is what is executed.
    statement: bool,
}

impl Lines {
    /// The row that an address belongs to, and the address that its code ends at.
    fn find(&self, address: u64) -> Option<(Row, u64)> {
        let after = self.rows.partition_point(|row| row.address <= address);
        let row = self.rows.get(after.checked_sub(1)?).filter(|row| !row.end)?;
        Some((*row, self.rows.get(after)?.address))
    }
}

impl DebugInfo {
    /// The source line of an address (as linked), and the range of addresses that share it.
    pub(crate) fn line_at(&self, address: u64) -> Result<Option<(SourceLine, u64, u64)>> {
        let Some(index) = self.unit_at(address).map(|unit| self.line_unit(unit)) else { return Ok(None) };
        let Some((row, end)) = self.lines(index)?.find(address) else { return Ok(None) };
        let file = file_name(&self.unit_with_lines(index)?, row.file.into());
        Ok(Some((SourceLine { file, line: row.line, column: row.column }, row.address, end)))
    }

    /// The line table of a unit, remembered.
    fn lines(&self, index: u32) -> Result<Arc<Lines>> {
        if let Some(lines) = self.lines.lock().ok().and_then(|known| known.get(&index).cloned()) {
            return Ok(lines);
        }
        let unit = self.unit_with_lines(index)?;
        let lines = read(&unit).map_err(|error| self.fault(&format!("the line program of unit {index}"), error))?;
        let lines = Arc::new(lines);
        if let Ok(mut known) = self.lines.lock() {
            known.insert(index, lines.clone());
        }
        Ok(lines)
    }

    /// A unit with the header of its line program, and what file names are relative to.
    pub(super) fn unit_with_lines(&self, index: u32) -> Result<Unit<'_>> {
        let mut unit = self.unit(index)?;
        let root = self.entry(&unit, unit.unit.header.root_offset().0)?;
        let string = |name| unit.string(root.attr_value(name)?);
        let (name, folder) = (string(gimli::DW_AT_name), string(gimli::DW_AT_comp_dir));
        let Some(AttributeValue::DebugLineRef(offset)) = root.attr_value(gimli::DW_AT_stmt_list) else {
            return Ok(unit);
        };
        let place = self.place(index)?;
        let bytes = match place.lines.get() {
            Some(bytes) => bytes,
            None => {
                let sections = self.file(place.file)?;
                let end = sections.size(SectionId::DebugLine)?;
                let range = self.record(sections, SectionId::DebugLine, offset.0..end)?;
                let bytes = sections.part(SectionId::DebugLine, range)?;
                place.lines.get_or_init(|| bytes)
            }
        };
        let size = unit.unit.header.address_size();
        let lines = gimli::DebugLine::new(bytes, self.endian).program(DebugLineOffset(0), size, folder, name);
        let lines = lines.map_err(|error| self.fault(&format!("the line program of unit {index}"), error))?;
        (unit.unit.line_program, unit.unit.comp_dir) = (Some(lines), folder);
        Ok(unit)
    }
}

fn read(unit: &Unit<'_>) -> gimli::Result<Lines> {
    let Some(program) = unit.unit.line_program.clone() else { return Ok(Lines::default()) };
    let mut sequences: Vec<Vec<Row>> = Vec::new();
    let mut sequence = Vec::new();
    let mut rows = program.rows();
    while let Some((_, row)) = rows.next_row()? {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        sequence.push(Row {
            address: row.address(),
            file: narrow(row.file_index()),
            line: row.line().map_or(0, |line| narrow(line.get())),
            column: match row.column() {
                ColumnType::LeftEdge => 0,
                ColumnType::Column(column) => narrow(column.get()),
            },
            end: row.end_sequence(),
            statement: row.is_stmt(),
        });
        if row.end_sequence() {
            let mut done = std::mem::take(&mut sequence);
            // Code that the linker left out begins at 0.
            if done.first().is_some_and(|row| row.address != 0) {
                done.sort_by_key(|row| (row.address, row.end));
                sequences.push(done);
            }
        }
    }
    sequences.sort_by_key(|rows| rows.first().map(|row| row.address));
    let mut rows: Vec<Row> = Vec::new();
    for row in sequences.into_iter().flatten() {
        // Where one sequence ends, the next may begin: the beginning counts. Of several rows of one address the last
        // statement does.
        match rows.last_mut() {
            Some(last) if last.address == row.address && last.statement && !last.end && !row.statement => {}
            Some(last) if last.address == row.address => *last = row,
            _ => rows.push(row),
        }
    }
    Ok(Lines { rows })
}

/// The name of a file by its number in the unit's line program: from 1 before DWARF 5, from 0 on since.
pub(super) fn file_name(unit: &Unit<'_>, number: u64) -> String {
    let string = |value| unit.dwarf.attr_string(&unit.unit, value).map(text).unwrap_or_default();
    let Some(header) = unit.unit.line_program.as_ref().map(|program| program.header()) else { return String::new() };
    let Some(file) = header.file(number) else { return String::new() };
    let folder = unit.unit.comp_dir.map(text).unwrap_or_default();
    let include = file.directory(header).map(string).unwrap_or_default();
    // Absolute parts take the place of what is before them.
    let path = Path::new(&folder).join(include).join(string(file.path_name()));
    path.to_string_lossy().into_owned()
}
