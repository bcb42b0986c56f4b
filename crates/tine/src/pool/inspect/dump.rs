//! An annotated dump: a tree of named values, written while it is made, as text for people or as JSON for scripts.
//!
//! Names are the same in both; in JSON they have underscores for spaces. Structures can be larger than memory, so
//! nothing is kept.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use anstyle::{AnsiColor, Style};
use serde_json::Value as Json;

use super::shown::Shown;
use crate::failure::Failure;

/// Where values stand, counted from the start of their names.
const VALUES_AT: usize = 24;

/// A dump being written.
pub(crate) struct Dump {
    out: Box<dyn Write>,
    json: bool,
    /// Sections that are open, the dump itself first: whether something is in them already.
    open: Vec<bool>,
    /// Why nothing more is written.
    stopped: Option<io::Error>,
    /// Whether something was wrong in what was dumped.
    faults: bool,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    /// Characters; negative for a column that is aligned to the right.
    width: isize,
}

/// The name and the least width of a column that is aligned to the left.
pub(crate) const fn left(name: &'static str, width: isize) -> Column {
    Column { name, width }
}

/// The name and the least width of a column that is aligned to the right.
pub(crate) const fn right(name: &'static str, width: isize) -> Column {
    Column { name, width: -width }
}

impl Dump {
    /// A dump to standard output.
    pub(crate) fn new(json: bool) -> Dump {
        let out: Box<dyn Write> =
            if json { Box::new(io::stdout().lock()) } else { Box::new(anstream::stdout().lock()) };
        Self::to(Box::new(BufWriter::new(out)), json)
    }

    fn to(out: Box<dyn Write>, json: bool) -> Dump {
        Dump { out, json, open: vec![false], stopped: None, faults: false }
    }

    /// Whether JSON is written.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether anyone still reads: long work stops when nobody does.
    pub(crate) fn is_read(&self) -> bool {
        self.stopped.is_none()
    }

    /// A named value.
    pub(crate) fn field(&mut self, name: &str, value: impl Into<Shown>) {
        let value = value.into();
        if self.json {
            self.key(name);
            self.value(&value.json);
        } else if !value.text.is_empty() {
            let indent = self.indent();
            let note = if value.note.is_empty() { String::new() } else { format!("  ({})", value.note) };
            self.line(&format!("{indent}{name:VALUES_AT$} {}{note}", value.text));
        }
    }

    /// Values that belong together, under a name.
    pub(crate) fn section(&mut self, name: &str, body: impl FnOnce(&mut Dump)) {
        if self.json {
            self.key(name);
        }
        self.titled(name, '{', '}', body);
    }

    /// Values of one kind, for people under names with their numbers.
    pub(crate) fn values(&mut self, name: &str, one: &str, values: impl IntoIterator<Item = Shown>) {
        if self.json {
            self.key(name);
            let values: Vec<Json> = values.into_iter().map(|value| value.json).collect();
            return self.value(&Json::Array(values));
        }
        for (index, value) in values.into_iter().enumerate() {
            self.field(&format!("{one} {index}"), value);
        }
    }

    /// Things of one kind, each made by [`Dump::item`].
    pub(crate) fn list(&mut self, name: &str, body: impl FnOnce(&mut Dump)) {
        if !self.json {
            return body(self);
        }
        self.key(name);
        self.nested('[', ']', body);
    }

    /// One of a list, with a title for people; without one it is not set off for them.
    pub(crate) fn item(&mut self, title: impl Display, body: impl FnOnce(&mut Dump)) {
        self.separate();
        self.titled(&title.to_string(), '{', '}', body);
    }

    /// Rows of the same columns; the last column may be of any width.
    pub(crate) fn table(&mut self, name: &str, columns: &[Column], body: impl FnOnce(&mut Table<'_>)) {
        if self.json {
            self.key(name);
            return self.nested('[', ']', |dump| body(&mut Table { dump, columns, rows: 0 }));
        }
        body(&mut Table { dump: self, columns, rows: 0 });
    }

    /// A value that is a tree of its own.
    pub(crate) fn tree(&mut self, name: &str, json: impl FnOnce() -> Json, lines: impl FnOnce() -> Vec<String>) {
        if self.json {
            self.key(name);
            return self.value(&json());
        }
        self.titled(name, '{', '}', |dump| lines().iter().for_each(|line| dump.text(line)));
    }

    /// What is wrong with what is dumped.
    pub(crate) fn fault(&mut self, name: &str, fault: impl Display) {
        self.faults = true;
        if self.json {
            return self.field(name, fault.to_string());
        }
        let (indent, style) = (self.indent(), Style::new().fg_color(Some(AnsiColor::Red.into())));
        self.line(&format!("{indent}{name:VALUES_AT$} {style}{fault}{style:#}"));
    }

    /// Something for people only.
    pub(crate) fn text(&mut self, text: &str) {
        if !self.json {
            let indent = self.indent();
            self.line(&format!("{indent}{text}"));
        }
    }

    /// An empty line, for people only.
    pub(crate) fn space(&mut self) {
        if !self.json {
            self.write("\n");
        }
    }

    /// Ends the dump that was made with `result`. A reader that has had enough is no error.
    pub(crate) fn finish(mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        let begun = self.open.first() == Some(&true);
        if self.json && (begun || result.is_ok()) {
            self.write(if begun { "\n}\n" } else { "{}\n" });
        }
        if self.stopped.is_none() {
            self.stopped = self.out.flush().err();
        }
        match self.stopped {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::work("cannot write to standard output", error))
            }
            _ if self.faults && result.is_ok() => Err(Failure::Found),
            _ => result,
        }
    }

    fn titled(&mut self, title: &str, open: char, close: char, body: impl FnOnce(&mut Dump)) {
        if title.is_empty() && !self.json {
            return body(self);
        }
        if !self.json {
            let (indent, bold) = (self.indent(), Style::new().bold());
            self.line(&format!("{indent}{bold}{title}{bold:#}"));
        }
        self.nested(open, close, body);
    }

    fn nested(&mut self, open: char, close: char, body: impl FnOnce(&mut Dump)) {
        if self.json {
            self.write(&open.to_string());
        }
        self.open.push(false);
        body(self);
        let filled = self.open.pop() == Some(true);
        if self.json {
            if filled {
                self.new_line();
            }
            self.write(&close.to_string());
        }
    }

    /// Begins the next thing of a JSON object or array.
    fn separate(&mut self) {
        if !self.json {
            return;
        }
        let filled = self.open.last_mut().is_some_and(|filled| std::mem::replace(filled, true));
        match filled {
            true => self.write(","),
            false if self.open.len() == 1 => self.write("{"),
            false => {}
        }
        self.new_line();
    }

    fn key(&mut self, name: &str) {
        self.separate();
        self.value(&Json::String(name.replace(' ', "_")));
        self.write(": ");
    }

    fn value(&mut self, value: &Json) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        let indented = text.replace('\n', &format!("\n{}", "  ".repeat(self.open.len())));
        self.write(&indented);
    }

    fn new_line(&mut self) {
        let indent = "  ".repeat(self.open.len());
        self.write(&format!("\n{indent}"));
    }

    fn indent(&self) -> String {
        "  ".repeat(self.open.len().saturating_sub(1))
    }

    fn line(&mut self, text: &str) {
        self.write(&format!("{}\n", text.trim_end()));
    }

    fn write(&mut self, text: &str) {
        if self.stopped.is_none() {
            self.stopped = self.out.write_all(text.as_bytes()).err();
        }
    }
}

/// A table being written.
pub(crate) struct Table<'a> {
    dump: &'a mut Dump,
    columns: &'a [Column],
    rows: u64,
}

impl Table<'_> {
    /// A row, with a value for each column.
    pub(crate) fn row<const N: usize>(&mut self, values: [Shown; N]) {
        if self.dump.json {
            self.dump.separate();
            // A column without a name is for people.
            let pairs = self.columns.iter().zip(values).filter(|(column, _)| !column.name.is_empty());
            let pairs = pairs.map(|(column, value)| (column.name.replace(' ', "_"), value.json));
            let row = Json::Object(pairs.collect());
            let text = serde_json::to_string(&row).unwrap_or_default();
            return self.dump.write(&text);
        }
        if self.rows == 0 {
            let names: Vec<String> = self.columns.iter().map(|column| column.name.to_uppercase()).collect();
            self.line(names.iter().map(String::as_str));
        }
        self.rows += 1;
        let cells: Vec<String> = values.into_iter().map(Shown::one_line).collect();
        self.line(cells.iter().map(String::as_str));
    }

    /// Whether anyone still reads.
    pub(crate) fn is_read(&self) -> bool {
        self.dump.is_read()
    }

    /// What is wrong with the rows that follow.
    pub(crate) fn fault(&mut self, fault: impl Display) {
        if self.dump.json {
            self.dump.faults = true;
            self.dump.separate();
            let row = serde_json::json!({ "error": fault.to_string() });
            return self.dump.value(&row);
        }
        self.dump.fault("error", fault);
    }

    fn line<'b>(&mut self, cells: impl Iterator<Item = &'b str>) {
        let mut line = self.dump.indent();
        for (column, cell) in self.columns.iter().zip(cells) {
            let width = column.width.unsigned_abs();
            let cell = if column.width < 0 { format!("{cell:>width$}") } else { format!("{cell:width$}") };
            line.push_str(&cell);
            line.push_str("  ");
        }
        self.dump.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no thread panicked").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sample(json: bool) -> String {
        let out = Shared::default();
        let mut dump = Dump::to(Box::new(out.clone()), json);
        dump.field("magic number", Shown::hex(0xbab10c).note("oo-ba-bloc!"));
        dump.section("root", |dump| {
            dump.field("txg", 9u64);
            dump.list("copies", |dump| {
                for copy in 0..2u64 {
                    dump.item(format_args!("copy {copy}"), |dump| dump.field("vdev", copy));
                }
            });
        });
        dump.section("nothing", |_| ());
        dump.table("rows", &[right("txg", 4), left("name", 0)], |table| {
            table.row([1u64.into(), "a".to_owned().into()]);
            table.row([22u64.into(), "b".to_owned().into()]);
        });
        dump.fault("checksum", "it differs");
        assert!(matches!(dump.finish(Ok(())), Err(Failure::Found)));
        let bytes = out.0.lock().expect("no thread panicked").clone();
        anstream::adapter::strip_str(&String::from_utf8(bytes).expect("it is text")).to_string()
    }

    #[test]
    fn people_get_names_beside_values() {
        let expected = "\
magic number             0xbab10c  (oo-ba-bloc!)
root
  txg                      9
  copy 0
    vdev                     0
  copy 1
    vdev                     1
nothing
 TXG  NAME
   1  a
  22  b
checksum                 it differs
";
        assert_eq!(sample(false), expected);
    }

    #[test]
    fn what_failed_before_it_began_writes_nothing() {
        let out = Shared::default();
        let dump = Dump::to(Box::new(out.clone()), true);
        assert!(dump.finish(Err(Failure::Work("no pool".to_owned()))).is_err());
        assert!(out.0.lock().expect("no thread panicked").is_empty());
    }

    #[test]
    fn scripts_get_the_same_as_json() {
        let json: Json = serde_json::from_str(&sample(true)).expect("it is JSON");
        assert_eq!(json["magic_number"], "0xbab10c");
        assert_eq!(json["root"]["copies"][1]["vdev"], 1);
        assert_eq!(json["nothing"], serde_json::json!({}));
        assert_eq!(json["rows"][1], serde_json::json!({ "txg": 22, "name": "b" }));
        assert_eq!(json["checksum"], "it differs");
    }
}
