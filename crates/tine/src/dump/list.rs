//! `tine dump list`: the dumps on a disk.

use clap::Args;
use serde_json::{Value as Json, json};
use vmcore::key::DumpKey;
use vmcore::time::utc;
use zfs_ondisk::property::format_size;

use super::describe::{self, Lines};
use super::device::{self, Dump, Source};
use super::progress::Bar;
use crate::failure::Failure;
use crate::output;

/// List the kernel dumps on a disk, a partition or an image, without saving them
///
/// Ends with status 1 if the headers of a dump are wrong.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    source: Source,
    /// Print as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl List {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let bar = Bar::new(self.json);
        let disk = self.source.open(&bar)?;
        bar.clear();
        if self.json {
            let dumps: Vec<Json> = disk.dumps.iter().map(json_of).collect();
            let format = disk.format.to_string();
            output::print_json(&json!({"source": disk.path.display().to_string(), "format": format, "dumps": dumps}))?;
        } else if disk.dumps.is_empty() {
            output::print(&format!("{}\n", device::none(&disk.path)))?;
        } else {
            output::print(&disk.dumps.iter().map(text_of).collect::<Vec<_>>().join("\n"))?;
        }
        if disk.dumps.iter().all(|dump| dump.found.problems.is_empty()) { Ok(()) } else { Err(Failure::Found) }
    }
}

fn text_of(dump: &Dump) -> String {
    let found = &dump.found;
    let header = &found.header;
    let mut lines = Lines::default();
    lines.header(header);
    lines.push("length", describe::size(header.dump_length));
    lines.push("compression", header.compression.to_string());
    lines.push("encryption", describe::encryption(header.is_encrypted(), cipher(dump)));
    for problem in &found.problems {
        lines.push("wrong", problem.clone());
    }
    let saved = if dump.is_cleared() { ", saved already" } else { "" };
    let kind = describe::kind(found.is_text);
    format!("{}: {kind} of {}{saved}\n{}", dump.place(), header.architecture, lines.text())
}

fn cipher(dump: &Dump) -> Option<vmcore::key::Cipher> {
    let key = dump.found.key(&*dump.device).ok()??;
    DumpKey::parse(&key).ok().map(|key| key.cipher)
}

/// A dump on a disk as JSON.
pub(super) fn json_of(dump: &Dump) -> Json {
    let found = &dump.found;
    let mut fields = describe::header_json(Some(&found.header));
    let more = [
        ("partition", json!(dump.partition)),
        ("kind", json!(describe::kind(found.is_text))),
        ("saved_already", json!(dump.is_cleared())),
        ("encryption", json!(describe::encryption(found.header.is_encrypted(), cipher(dump)))),
        ("header_offset", describe::number(dump.start + found.first)),
        ("data_offset", describe::number(dump.start + found.data_start())),
        ("problems", json!(found.problems)),
    ];
    fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    Json::Object(fields)
}

/// A dump in one line.
pub(super) fn line_of(dump: &Dump) -> String {
    let header = &dump.found.header;
    let kind = describe::kind(dump.found.is_text);
    format!("{kind} of {}, {}, {}", header.architecture, format_size(header.dump_length), utc(header.dump_time))
}
