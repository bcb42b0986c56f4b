//! `tine crash group`: which panics the dumps of a folder tell of.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use crash::Options;
use crash::group::{self, Group};
use serde::Serialize;

use super::report;
use crate::failure::Failure;
use crate::output::{self, plural};

const HEADING: Style = Style::new().bold();
const DIM: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));
/// Dumps of a group that are named unless all are asked for.
const NAMED: usize = 5;

/// Group the dumps of a folder by signature: which panics, how often, since when, on which hosts
///
/// Folders in it are looked into, too. Each dump's kernel is looked for beside it, or is that of -k. Dumps whose kernel
/// is not found are grouped by the message of their panic alone.
#[derive(Debug, Args)]
pub(super) struct Groups {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Name all dumps of each group
    #[arg(short, long)]
    verbose: bool,
}

/// What is known of a folder.
#[derive(Serialize)]
struct Found {
    /// How many dumps there are, without those that cannot be read.
    dumps: usize,
    groups: Vec<Group>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Unreadable {
    path: PathBuf,
    reason: String,
}

impl Groups {
    pub(super) fn run(&self, options: &Options, json: bool) -> Result<(), Failure> {
        let failed = |error| Failure::work(format_args!("cannot read {}", self.folder.display()), error);
        let (paths, problems) = group::find(&self.folder).map_err(failed)?;
        output::warn("tine", &problems);
        if paths.is_empty() {
            return Err(Failure::Work(format!("there is no kernel dump in {}", self.folder.display())));
        }
        let mut dumps = Vec::new();
        let mut unreadable = Vec::new();
        for (path, summary) in paths.iter().zip(group::summaries(&paths, options)) {
            match summary {
                Ok(summary) => dumps.push(summary),
                Err(error) => unreadable.push(Unreadable { reason: error.to_string(), path: path.clone() }),
            }
        }
        let told: Vec<String> = unreadable.iter().map(reason).collect();
        let groups = group::group(dumps);
        let found = Found { dumps: groups.iter().map(|group| group.count).sum(), groups, unreadable };
        if json {
            output::print_json(&found)?;
        } else {
            output::print(&self.text(&found))?;
        }
        output::warn("tine", &told);
        match found.dumps {
            0 => Err(Failure::Work(format!("none of the dumps in {} can be read", self.folder.display()))),
            _ => Ok(()),
        }
    }

    fn text(&self, found: &Found) -> String {
        let kinds = plural(found.groups.len() as u64, "kind");
        let mut text = format!("{} with {kinds} of panic\n", plural(found.dumps as u64, "dump"));
        for group in &found.groups {
            text += &self.group(group);
        }
        text
    }

    fn group(&self, group: &Group) -> String {
        let unknown = match group.dumps.iter().any(|dump| dump.note.is_some()) {
            true => "what it was cannot be read",
            false => "no panic: a dump was asked for",
        };
        let message = group.message.as_deref().unwrap_or(unknown);
        let times = plural(group.count as u64, "time");
        let mut text = format!("\n{HEADING}{times}: {}{HEADING:#}\n", report::visible(message));
        let by = if group.stack { "" } else { " (of the message alone)" };
        text += &format!("  signature {}{by}\n", group.signature);
        let mut when: Vec<String> = [group.first, group.last].into_iter().flatten().map(vmcore::time::utc).collect();
        when.dedup();
        if !when.is_empty() {
            text += &format!("  when      {}\n", when.join(" to "));
        }
        for (name, list) in [("hosts", &group.hosts), ("kernels", &group.versions)] {
            if !list.is_empty() {
                let list: Vec<String> = list.iter().map(|name| report::visible(name)).collect();
                text += &format!("  {name:9} {}\n", list.join("\n            "));
            }
        }
        if !group.functions.is_empty() {
            text += &format!("  in        {}\n", group.functions.join(" < "));
        }
        let named = if self.verbose { usize::MAX } else { NAMED };
        for (number, dump) in group.dumps.iter().take(named).enumerate() {
            let heading = if number == 0 { "dumps" } else { "" };
            text += &format!("  {heading:9} {DIM}{}{DIM:#}\n", dump.path.display());
            if self.verbose {
                text +=
                    &dump.copies.iter().map(|path| format!("            = {}\n", path.display())).collect::<String>();
                text += &dump.note.iter().map(|note| format!("            {note}\n")).collect::<String>();
            }
        }
        if let Some(more @ 1..) = group.dumps.len().checked_sub(named) {
            text += &format!("            and {more} more: -v names them all\n");
        }
        text
    }
}

/// Errors mostly name the file.
fn reason(dump: &Unreadable) -> String {
    let path = dump.path.display().to_string();
    if dump.reason.contains(&path) { dump.reason.clone() } else { format!("{path}: {}", dump.reason) }
}
