//! Rows of a table in an SQLite database ("Database File Format", sqlite.org): as much of it as the list of installed
//! packages needs. Databases are not trusted.
//!
//! The file is pages. A table is a tree of them: inner ones lead to leaves, which have rows; what of a row does not fit
//! goes on in a chain of overflow pages. The table `sqlite_schema`, in page 1, names the others, with the statements
//! that made them.

use std::collections::HashSet;

const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of the header before the first page's own.
const HEADER: usize = 100;
const LEAF: u8 = 0x0d;
const INNER: u8 = 0x05;
/// Rows of a table at most.
const MAX_ROWS: usize = 1 << 20;

/// These columns of all rows of a table, as text; numbers in decimal, nothing where there is no value.
pub(super) fn rows(file: &[u8], table: &str, columns: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let database = Database::new(file).ok_or("it is no SQLite database")?;
    let schema = database.table(1).ok_or("its schema is damaged")?;
    // Type, name, name of the table, first page, statement.
    let found = schema
        .iter()
        .find(|row| row.first().map(String::as_str) == Some("table") && row.get(1).is_some_and(|name| name == table));
    let found = found.ok_or_else(|| format!("there is no table {table}"))?;
    let root: usize = found.get(3).and_then(|page| page.parse().ok()).ok_or("its schema is damaged")?;
    let names = column_names(found.get(4).map_or("", String::as_str));
    let indices = columns.iter().map(|column| {
        let at = names.iter().position(|name| name == column);
        at.ok_or_else(|| format!("the table {table} has no column {column}"))
    });
    let indices = indices.collect::<Result<Vec<_>, _>>()?;
    let rows = database.table(root).ok_or_else(|| format!("the table {table} is damaged"))?;
    Ok(rows
        .into_iter()
        .map(|row| indices.iter().map(|&index| row.get(index).cloned().unwrap_or_default()).collect())
        .collect())
}

struct Database<'a> {
    file: &'a [u8],
    page_size: usize,
    /// Bytes of a page that are used.
    usable: usize,
}

impl<'a> Database<'a> {
    fn new(file: &'a [u8]) -> Option<Self> {
        let header = file.get(..HEADER)?;
        let page_size = match number(header.get(16..18)?) as usize {
            1 => 65536,
            size => size,
        };
        let usable = page_size.checked_sub(usize::from(header[20]))?;
        let sound = header.starts_with(MAGIC) && page_size.is_power_of_two() && (512..=65536).contains(&page_size);
        // Text in UTF-8.
        (sound && usable >= 480 && number(&header[56..60]) == 1).then_some(Self { file, page_size, usable })
    }

    fn page(&self, number: usize) -> Option<&'a [u8]> {
        let start = number.checked_sub(1)?.checked_mul(self.page_size)?;
        self.file.get(start..start.checked_add(self.page_size)?)
    }

    /// All rows of the table whose tree has this root.
    fn table(&self, root: usize) -> Option<Vec<Vec<String>>> {
        let mut rows = Vec::new();
        let mut pending = vec![root];
        let mut seen = HashSet::new();
        while let Some(number_of_page) = pending.pop() {
            if !seen.insert(number_of_page) {
                return None;
            }
            let page = self.page(number_of_page)?;
            let start = if number_of_page == 1 { HEADER } else { 0 };
            let header = page.get(start..)?;
            let count = number(header.get(3..5)?) as usize;
            let kind = *header.first()?;
            let cells = start + if kind == INNER { 12 } else { 8 };
            let cell = |index: usize| {
                let at = cells + index * 2;
                page.get(number(page.get(at..at + 2)?) as usize..)
            };
            match kind {
                INNER => {
                    // In order, the last one first, as they are taken from the end.
                    pending.push(number(header.get(8..12)?) as usize);
                    for index in (0..count).rev() {
                        pending.push(number(cell(index)?.get(..4)?) as usize);
                    }
                }
                LEAF => {
                    for index in 0..count {
                        rows.push(self.row(cell(index)?)?);
                        if rows.len() > MAX_ROWS {
                            return None;
                        }
                    }
                }
                _ => return None,
            }
        }
        Some(rows)
    }

    fn row(&self, mut cell: &[u8]) -> Option<Vec<String>> {
        let size = usize::try_from(varint(&mut cell)?).ok().filter(|size| *size <= self.file.len())?;
        let _row_id = varint(&mut cell)?;
        let payload = self.payload(cell, size)?;
        let mut rest = &payload[..];
        let header_size = usize::try_from(varint(&mut rest)?).ok()?;
        let mut types = payload.get(payload.len() - rest.len()..header_size)?;
        let mut values = payload.get(header_size..)?;
        let mut row = Vec::new();
        while !types.is_empty() {
            row.push(value(varint(&mut types)?, &mut values)?);
        }
        Some(row)
    }

    /// The bytes of a row: in the cell, or beginning there and going on in other pages.
    fn payload(&self, cell: &[u8], size: usize) -> Option<Vec<u8>> {
        let most = self.usable - 35;
        if size <= most {
            return cell.get(..size).map(<[u8]>::to_vec);
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let kept = least + (size - least) % (self.usable - 4);
        let kept = if kept <= most { kept } else { least };
        let mut payload = cell.get(..kept)?.to_vec();
        let mut next = number(cell.get(kept..kept + 4)?) as usize;
        while payload.len() < size {
            let page = self.page(next)?;
            let part = (size - payload.len()).min(self.usable - 4);
            payload.extend(page.get(4..4 + part)?);
            next = number(&page[..4]) as usize;
        }
        Some(payload)
    }
}

/// A big-endian number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// A number of one to nine bytes: seven bits of each, all of the ninth.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if index == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A value by its type, as text.
fn value(kind: u64, values: &mut &[u8]) -> Option<String> {
    let size = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind as usize,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => usize::try_from((kind - 12) / 2).ok()?,
    };
    let (bytes, rest) = values.split_at_checked(size)?;
    *values = rest;
    Some(match kind {
        0 => String::new(),
        8 => "0".to_owned(),
        9 => "1".to_owned(),
        1..=6 => {
            let unused = 64 - 8 * size as u32;
            ((number(bytes) << unused) as i64 >> unused).to_string()
        }
        7 => f64::from_bits(number(bytes)).to_string(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    })
}

/// The names of the columns that a statement makes.
fn column_names(statement: &str) -> Vec<String> {
    let Some((_, body)) = statement.split_once('(') else { return Vec::new() };
    let (mut names, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in body.chars().chain([',']) {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                let word = part.split_whitespace().next().unwrap_or_default();
                names.push(word.trim_matches(['"', '`', '[', ']', '\'']).to_owned());
                part.clear();
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    let of_table = ["PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "CONSTRAINT"];
    names.retain(|name| !of_table.contains(&name.to_ascii_uppercase().as_str()));
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A database of two pages of 512 bytes: the schema, and a table with a row whose comment goes on in a third.
    fn database() -> Vec<u8> {
        let record = |values: &[&str]| {
            let types: Vec<u8> = values.iter().flat_map(|value| long_varint(13 + 2 * value.len() as u64)).collect();
            let mut record = vec![types.len() as u8 + 1];
            record.extend(types);
            record.extend(values.concat().bytes());
            record
        };
        let mut file = vec![0; 3 * 512];
        file[..16].copy_from_slice(MAGIC);
        file[16..18].copy_from_slice(&512u16.to_be_bytes());
        file[59] = 1;
        let mut put_leaf = |page: usize, header: usize, cell: &[u8]| {
            let start = page * 512 + 512 - cell.len();
            file[start..start + cell.len()].copy_from_slice(cell);
            let at = page * 512 + header;
            file[at] = LEAF;
            file[at + 4] = 1;
            file[at + 8..at + 10].copy_from_slice(&((512 - cell.len()) as u16).to_be_bytes());
        };
        let sql =
            "CREATE TABLE packages (id INTEGER PRIMARY KEY, \"name\" TEXT, n NUMERIC(1,2), comment TEXT, UNIQUE(name))";
        let schema = record(&["table", "packages", "packages", "2", sql]);
        put_leaf(0, 100, &[&long_varint(schema.len() as u64)[..], &[1], &schema].concat());
        let comment = "c".repeat(700);
        let row = record(&["", "pkg", "5", &comment]);
        let least = (512 - 12) * 32 / 255 - 23;
        let kept = least + (row.len() - least) % 508;
        let kept = if kept <= 512 - 35 { kept } else { least };
        put_leaf(1, 0, &[&long_varint(row.len() as u64)[..], &[1], &row[..kept], &3u32.to_be_bytes()].concat());
        let rest = &row[kept..];
        file[1024 + 4..1024 + 4 + rest.len()].copy_from_slice(rest);
        file
    }

    fn long_varint(value: u64) -> Vec<u8> {
        if value < 128 { vec![value as u8] } else { vec![(value >> 7) as u8 | 0x80, value as u8 & 0x7f] }
    }

    #[test]
    fn columns_of_a_table_are_read_by_their_names() {
        let rows = rows(&database(), "packages", &["comment", "name"]).expect("it is sound");
        assert_eq!(rows, [["c".repeat(700), "pkg".to_owned()]]);
        assert_eq!(super::rows(&database(), "others", &[]), Err("there is no table others".to_owned()));
        assert!(super::rows(&database(), "packages", &["unique"]).is_err());
        assert!(super::rows(b"text", "packages", &[]).is_err());
    }

    proptest! {
        #[test]
        fn damage_does_no_harm(changes in prop::collection::vec((0..1536usize, any::<u8>()), 1..8), cut in 0..1536usize) {
            let mut file = database();
            for (at, byte) in changes {
                file[at] = byte;
            }
            let _ = rows(&file, "packages", &["name"]);
            let _ = rows(&file[..cut], "packages", &["name"]);
        }
    }
}
