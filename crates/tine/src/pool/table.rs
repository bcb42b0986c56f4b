//! Columns of text, and values of properties as text and as JSON.

use serde_json::{Value as Json, json};
use zfs_pool::props::Value;

/// The largest integer that every reader of JSON keeps: 2^53.
const LARGEST_NUMBER: u64 = 1 << 53;

/// Rows under headings.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A column: its heading, and whether its text is aligned to the right.
pub(crate) struct Column {
    heading: String,
    right: bool,
}

impl Column {
    pub(crate) fn left(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), right: false }
    }

    pub(crate) fn right(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), right: true }
    }
}

impl Table {
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// For people, with headings; each line begins with `indent`.
    pub(crate) fn text(&self, indent: &str) -> String {
        let width = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            cells.chain([column.heading.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(width).collect();
        let headings: Vec<String> = self.columns.iter().map(|column| column.heading.clone()).collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells = row.iter().zip(&self.columns).zip(&widths).map(|((cell, column), &width)| {
                if column.right { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(&format!("{indent}{}\n", line.trim_end()));
        }
        text
    }

    /// For scripts: fields between tabs, no headings.
    pub(crate) fn fields(&self) -> String {
        self.rows.iter().map(|row| row.join("\t") + "\n").collect()
    }
}

/// A value as text: for people, or with all its digits.
pub(crate) fn text_of(value: &Value, exact: bool) -> String {
    if exact { value.exact() } else { value.readable() }
}

/// A value as JSON: sizes in bytes, times in seconds since 1970, ratios as fractions, GUIDs as text.
pub(crate) fn json_of(property: &str, value: &Value) -> Json {
    match value {
        Value::Absent | Value::CountOrNone(u64::MAX) => Json::Null,
        Value::Ratio(hundredths) => json!(*hundredths as f64 / 100.0),
        Value::Text(text) => json!(text),
        Value::Id(number) if property.ends_with("guid") => json!(number.to_string()),
        Value::Bytes(number)
        | Value::BytesOrNone(number)
        | Value::Size(number)
        | Value::CountOrNone(number)
        | Value::Id(number)
        | Value::Percent(number)
        | Value::Time(number) => {
            if *number <= LARGEST_NUMBER {
                json!(number)
            } else {
                json!(number.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(vec![Column::left("NAME"), Column::right("USED"), Column::left("MOUNTPOINT")]);
        table.push(vec!["zroot/a".into(), "1.5M".into(), "-".into()]);
        table.push(vec!["z".into(), "0B".into(), "/z".into()]);
        assert_eq!(table.text(" "), " NAME     USED  MOUNTPOINT\n zroot/a  1.5M  -\n z          0B  /z\n");
        assert_eq!(table.fields(), "zroot/a\t1.5M\t-\nz\t0B\t/z\n");
    }

    #[test]
    fn json_keeps_all_digits() {
        assert_eq!(json_of("guid", &Value::Id(7)), json!("7"));
        assert_eq!(json_of("createtxg", &Value::Id(7)), json!(7));
        assert_eq!(json_of("used", &Value::Bytes(u64::MAX)), json!("18446744073709551615"));
        assert_eq!(json_of("compressratio", &Value::Ratio(150)), json!(1.5));
        assert_eq!(json_of("snapshot_limit", &Value::CountOrNone(u64::MAX)), Json::Null);
    }
}
