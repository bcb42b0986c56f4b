//! `tine dump info`: what a dump is.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use disk::ReadAt;
use serde_json::{Value as Json, json};
use vmcore::Dump;
use vmcore::contents::{self, Contents, Layer};
use vmcore::device;
use vmcore::files::Files;
use vmcore::header::Magic;
use vmcore::info::{Missing, Status};
use vmcore::memory::{Form, Memory, Statistics};
use vmcore::textdump::{self, Member};
use zfs_ondisk::property::format_size;

use super::describe::{self, Lines};
use super::reading::Reading;
use crate::failure::Failure;
use crate::output;
use crate::pool::printable;

/// Show what a kernel dump is: its header, how it is stored, and its pages
///
/// FILE is a vmcore as savecore(8), netdumpd(8) or tine write it, with info.N and key.N beside it, or a copy of a partition
/// with a dump. A vmcore without a header is shown, too. Ends with status 1 if something is wrong with the dump.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The dump
    file: PathBuf,
    /// Count pages, also where a compressed dump must be unpacked for that, and those that are all zeros
    #[arg(long)]
    pages: bool,
    /// Print as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    reading: Reading,
}

/// All that is known of a dump.
struct Known {
    files: Files,
    layers: Option<Vec<Layer>>,
    size: Option<u64>,
    missing: Missing,
    memory: Option<Pages>,
    members: Option<Vec<Member>>,
    /// The architecture that the beginning of a compressed dump tells of.
    begun: Option<String>,
    /// Why something of it is not known.
    notes: Vec<String>,
}

struct Pages {
    architecture: String,
    form: Form,
    page_size: u64,
    statistics: Option<Statistics>,
    zeros: Option<u64>,
}

impl Info {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let known = self.known()?;
        if self.json {
            output::print_json(&known.json())?;
        } else {
            output::print(&known.text())?;
            output::warn("tine", &known.notes);
        }
        let wrong = !known.files.problems.is_empty()
            || known.missing.bytes > 0
            || known.files.header.as_ref().is_some_and(|header| !header.parity_ok)
            || matches!(known.files.status(), Status::Bad | Status::Incomplete | Status::Partial);
        if wrong { Err(Failure::Found) } else { Ok(()) }
    }

    fn known(&self) -> Result<Known, Failure> {
        let files = self.reading.files(&self.file)?;
        let missing = files.there.as_ref().map(|there| {
            let came = there.end();
            Missing::of(there, files.header.as_ref().map_or(came, |header| header.end(came)))
        });
        let missing = missing.unwrap_or_default();
        let mut known = Known {
            files,
            layers: None,
            size: None,
            missing,
            memory: None,
            members: None,
            begun: None,
            notes: Vec::new(),
        };
        known.notes.clone_from(&known.files.notes);
        let contents = match Contents::of(&known.files, &self.reading.options()?) {
            Ok(contents) => contents,
            // The header is worth being shown without them.
            Err(error @ (contents::Error::Encrypted { .. } | contents::Error::NoKey { .. })) => {
                known.notes.push(Failure::from(error).to_string());
                return Ok(known);
            }
            Err(error) => return Err(error.into()),
        };
        known.layers = Some(contents.layers.clone());
        let in_place = contents.is_in_place();
        if in_place || self.pages {
            known.size = Some(contents.data.size());
        }
        let is_text = known.files.header.as_ref().is_some_and(|header| header.magic == Magic::Text);
        if is_text || textdump::is_archive(&*contents.data) {
            match textdump::list(&*contents.data) {
                Ok(members) => known.members = Some(members),
                Err(error) => known.files.problems.push(error.to_string()),
            }
            return Ok(known);
        }
        if !in_place && !self.pages {
            known.notes.push("the dump is compressed; --pages unpacks it to count its pages".to_owned());
            if known.files.header.is_none() {
                known.begun = beginning(&contents);
            }
            return Ok(known);
        }
        match Dump::of(contents, &self.file) {
            Ok(dump) => known.count(&dump.memory, self.pages),
            Err(error) => {
                known.files.problems.push(error.to_string());
                if is_disk(&*known.files.data) {
                    known.notes.push("this is a disk or a partition: tine dump list looks for dumps on it".to_owned());
                }
            }
        }
        Ok(known)
    }
}

/// Whether a file that is no dump has a partition table, or a dump at its end.
fn is_disk(data: &dyn ReadAt) -> bool {
    disk::partition::read(data).is_ok_and(|table| table.is_some())
        || device::find(data).is_ok_and(|found| found.is_some())
}

/// The architecture of a minidump, by its first bytes.
fn beginning(contents: &Contents) -> Option<String> {
    let mut start = [0; 24];
    contents.stream().ok()?.read_exact(&mut start).ok()?;
    let name = start.strip_prefix(b"minidump FreeBSD/")?.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

impl Known {
    fn count(&mut self, memory: &Memory, all: bool) {
        let mut note = |error: &dyn std::fmt::Display| self.notes.push(format!("the pages cannot be counted: {error}"));
        let statistics = memory.statistics().inspect_err(|error| note(error)).ok();
        let lost = statistics.filter(|found| found.lost > 0 && self.files.there.is_none());
        let zeros = if all { memory.zero_pages().inspect_err(|error| note(error)).ok() } else { None };
        self.memory = Some(Pages {
            architecture: memory.architecture().to_string(),
            form: memory.form(),
            page_size: memory.page_size(),
            statistics,
            zeros,
        });
        if let Some(found) = lost {
            let all = found.present.saturating_add(found.lost);
            self.files.problems.push(format!("{} of {all} pages are not there: the file was cut", found.lost));
        }
    }

    /// By the header, and if it says nothing, by the data.
    fn compression(&self) -> Option<String> {
        let told = self.files.header.as_ref().map(|header| header.compression.to_string());
        told.or_else(|| {
            let layer = self.layers.as_ref()?.iter().find(|layer| **layer != Layer::Encrypted);
            Some(layer.map_or_else(|| "none".to_owned(), Layer::to_string))
        })
    }

    fn architecture(&self) -> Option<String> {
        let told = self.files.header.as_ref().map(|header| header.architecture.clone());
        told.or_else(|| self.memory.as_ref().map(|memory| memory.architecture.clone())).or_else(|| self.begun.clone())
    }

    fn encryption(&self) -> String {
        describe::encryption(self.files.is_encrypted(), self.files.key.as_ref().map(|key| key.cipher))
    }

    fn kind(&self) -> &'static str {
        let is_text =
            self.members.is_some() || self.files.header.as_ref().is_some_and(|header| header.magic == Magic::Text);
        match &self.memory {
            _ if is_text => "text dump",
            Some(memory) => match memory.form {
                Form::Minidump { .. } => "minidump",
                Form::Full => "full dump",
                Form::Core => "ELF core",
            },
            None => "kernel dump",
        }
    }

    fn minidump_version(&self) -> Option<u32> {
        match self.memory.as_ref()?.form {
            Form::Minidump { version } => Some(version),
            Form::Full | Form::Core => None,
        }
    }

    fn json(&self) -> Json {
        let files = &self.files;
        let mut fields = describe::header_json(files.header.as_ref());
        let pages = self.memory.as_ref().and_then(|memory| memory.statistics.map(|found| (memory, found)));
        let pages = pages.map(|(memory, found)| {
            json!({
                "size": memory.page_size,
                "present": describe::number(found.present),
                "lost": describe::number(found.lost),
                "mapped": describe::number(found.mapped),
                "direct_map_only": describe::number(found.direct_only),
                "mapped_but_absent": describe::number(found.absent),
                "missing_tables": describe::number(found.missing_tables),
                "zero": memory.zeros.map(describe::number),
            })
        });
        let ranges: Vec<Json> = (self.missing.first.iter())
            .map(|gap| json!([describe::number(gap.start), describe::number(gap.end)]))
            .collect();
        let members = self.members.as_ref().map(|members| {
            let of = |member: &Member| json!({"name": member.name, "size": describe::number(member.size)});
            members.iter().map(of).collect::<Vec<_>>()
        });
        let layers = self.layers.as_ref().map(|layers| layers.iter().map(Layer::to_string).collect::<Vec<_>>());
        let stored = describe::number(files.data.size());
        let more = [
            ("file", json!(files.path.display().to_string())),
            ("kind", json!(self.kind())),
            ("minidump_version", json!(self.minidump_version())),
            ("architecture", json!(self.architecture())),
            ("compression", json!(self.compression())),
            ("encryption", json!(self.encryption())),
            ("status", json!(files.status().to_string())),
            ("source", json!(files.info.as_ref().map(|info| &info.source))),
            ("bounds", json!(files.info.as_ref().map(|info| info.bounds))),
            ("layers", json!(layers)),
            ("stored_size", stored),
            ("size", json!(self.size.map(describe::number))),
            ("missing_bytes", describe::number(self.missing.bytes)),
            ("missing_ranges", describe::number(self.missing.count)),
            ("first_missing", json!(ranges)),
            ("pages", json!(pages)),
            ("members", json!(members)),
            ("problems", json!(files.problems)),
            ("notes", json!(self.notes)),
        ];
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Json::Object(fields)
    }

    fn text(&self) -> String {
        let files = &self.files;
        let mut lines = Lines::default();
        if let Some(header) = &files.header {
            lines.header(header);
            lines.push("length", describe::size(header.dump_length));
        } else {
            lines.push("header", "none");
            lines.push("stored", describe::size(files.data.size()));
        }
        let told = files.header.as_ref().map_or(files.data.size(), |header| header.dump_length);
        if let Some(size) = self.size.filter(|&size| size != told) {
            let packed = self.layers.iter().flatten().any(|layer| *layer != Layer::Encrypted);
            lines.push(if packed { "unpacked" } else { "data" }, describe::size(size));
        }
        lines.push("compression", self.compression().unwrap_or_else(|| "unknown".to_owned()));
        lines.push("encryption", self.encryption());
        if let Some(header) = &files.header {
            let parity = if header.parity_ok { "right" } else { "wrong" };
            lines.push("header", format!("version {}, parity {parity}", header.version));
            lines.push("block size", format!("{} bytes", header.block_size));
        }
        lines.push("status", files.status().to_string());
        if self.missing.bytes > 0 {
            let Missing { bytes, count, .. } = &self.missing;
            lines.push("missing", format!("{bytes} bytes in {}", output::plural(*count, "range")));
        }
        if let Some(memory) = &self.memory {
            lines.push("pages", memory.text());
        }
        for member in self.members.iter().flatten() {
            lines.push("member", format!("{} {}", printable(member.name.as_bytes()), format_size(member.size)));
        }
        for problem in &files.problems {
            lines.push("wrong", printable(problem.as_bytes()));
        }
        let mut heading = format!("{}: {}", files.path.display(), self.kind());
        if let Some(architecture) = self.architecture() {
            heading.push_str(&format!(" of {}", printable(architecture.as_bytes())));
        }
        if let Some(version) = self.minidump_version() {
            heading.push_str(&format!(", version {version}"));
        }
        format!("{heading}\n{}", lines.text())
    }
}

impl Pages {
    fn text(&self) -> String {
        let size = format_size(self.page_size);
        let Some(found) = self.statistics else { return format!("of {size}") };
        let mut text = format!("{} of {size}: {} mapped", found.present, found.mapped);
        text.push_str(&format!(", {} in the direct map only", found.direct_only));
        if found.lost > 0 {
            text.push_str(&format!("; {} are not there", found.lost));
        }
        if found.absent > 0 {
            text.push_str(&format!("; {} mapped and not in the dump", found.absent));
        }
        if found.missing_tables > 0 {
            let are = if found.missing_tables == 1 { "is" } else { "are" };
            let tables = output::plural(found.missing_tables, "page table");
            text.push_str(&format!("; {tables} {are} missing"));
        }
        if let Some(zeros) = self.zeros {
            text.push_str(&format!("; {zeros} are all zeros"));
        }
        text
    }
}
