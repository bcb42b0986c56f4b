//! `tine crash memory`: what the kernel's allocators have given out.

use anstyle::Style;
use clap::Args;
use crash::allocators::{MallocType, Memory as Found, Pages, Zone};
use zfs_ondisk::property::format_size;

use super::{Session, report};
use crate::failure::Failure;
use crate::output;
use crate::table::{Column, Table};

const HEADING: Style = Style::new().bold();
/// Lines of each table in the report.
const FEW: usize = 8;

/// Show where the kernel's memory went: types of malloc(9) (vmstat -m) and zones of uma(9) (vmstat -z)
#[derive(Debug, Args)]
pub(super) struct Memory {
    /// Only types of malloc(9)
    #[arg(short, long, conflicts_with = "zones")]
    malloc: bool,
    /// Only zones of uma(9)
    #[arg(short, long)]
    zones: bool,
    /// Also what was never used
    #[arg(short, long)]
    all: bool,
}

impl Memory {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let mut memory = Found::of(session.crash);
        if self.malloc {
            memory.zones.clear();
        }
        if self.zones {
            memory.types.clear();
        }
        if session.json {
            return output::print_json(&memory);
        }
        output::warn("tine", &memory.problems);
        if !self.all {
            memory.types.retain(|one| one.requests > 0);
            memory.zones.retain(|zone| zone.requests > 0);
        }
        let mut parts = Vec::new();
        if let Some(pages) = memory.pages.as_ref().filter(|_| !self.malloc && !self.zones) {
            parts.push(self::pages(pages) + "\n");
        }
        if !memory.types.is_empty() {
            parts.push(types(&memory.types, ""));
        }
        if !memory.zones.is_empty() {
            parts.push(zones(&memory.zones, ""));
        }
        output::print(&parts.join("\n"))
    }
}

/// The largest of it, for a report.
pub(super) fn summary(memory: &Found) -> String {
    let mut text = format!("\n{HEADING}Memory{HEADING:#}\n");
    if let Some(pages) = &memory.pages {
        text += &format!("  {}\n", self::pages(pages));
    }
    let (types, zones) = (memory.types.len(), memory.zones.len());
    text += &self::types(memory.types.get(..FEW.min(types)).unwrap_or_default(), "  ");
    text += &self::zones(memory.zones.get(..FEW.min(zones)).unwrap_or_default(), "  ");
    if types > FEW || zones > FEW {
        text += &format!("  the largest of {types} types and {zones} zones: tine crash ... memory\n");
    }
    if types + zones == 0 { String::new() } else { text }
}

fn pages(pages: &Pages) -> String {
    let size = |count: Option<u64>| count.map(|count| format_size(count.saturating_mul(pages.size)));
    let kinds = [
        ("of memory", pages.total),
        ("free", pages.free),
        ("wired", pages.wired),
        ("active", pages.active),
        ("inactive", pages.inactive),
        ("laundry", pages.laundry),
    ];
    let known = kinds.into_iter().filter_map(|(name, count)| Some(format!("{} {name}", size(count)?)));
    known.collect::<Vec<_>>().join(", ")
}

fn types(types: &[MallocType], indent: &str) -> String {
    let headings = [Column::left("TYPE"), Column::right("IN USE"), Column::right("MEMORY"), Column::right("REQUESTS")];
    let mut table = Table::new(headings.into_iter().collect());
    for one in types {
        table.push(vec![
            report::visible(&one.name),
            one.in_use.to_string(),
            signed_size(one.bytes),
            one.requests.to_string(),
        ]);
    }
    table.text(indent)
}

fn zones(zones: &[Zone], indent: &str) -> String {
    let headings = ["SIZE", "LIMIT", "USED", "FREE", "REQUESTS", "FAIL", "SLEEP", "MEMORY"].map(Column::right);
    let mut table = Table::new(std::iter::once(Column::left("ZONE")).chain(headings).collect());
    for zone in zones {
        table.push(vec![
            report::visible(&zone.name),
            zone.size.to_string(),
            if zone.limit == 0 { "-".to_owned() } else { zone.limit.to_string() },
            zone.used.to_string(),
            zone.free.to_string(),
            zone.requests.to_string(),
            zone.failures.to_string(),
            zone.sleeps.to_string(),
            format_size(zone.bytes()),
        ]);
    }
    table.text(indent)
}

/// A type may have given back more than it was seen to take, where the dump is torn.
fn signed_size(bytes: i64) -> String {
    let size = format_size(bytes.unsigned_abs());
    if bytes < 0 { format!("-{size}") } else { size }
}
