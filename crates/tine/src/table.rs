//! Columns of text.

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
