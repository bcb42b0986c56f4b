//! `tine crash pack` and `open`: one file with what a colleague needs.

use std::io::BufWriter;
use std::path::PathBuf;

use anstyle::Style;
use clap::Args;
use crash::pack::{self, Manifest, Recording};
use crash::{Crash, Options};
use serde_json::json;
use symbols::{Format, TypeKind};
use zfs_ondisk::property::format_size;

use super::{Command, Session, print, processes};
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output;

const HEADING: Style = Style::new().bold();

/// Pack kernel, symbols and what the report reads of the dump into one file, for a colleague
///
/// Every command takes the pack where it takes a dump. Dumps hold secrets: what the pack contains is said when it is
/// made, and by `tine crash open --list`. It is a tar archive compressed with Zstandard.
#[derive(Debug, Args)]
pub(super) struct Pack {
    /// The dump, unless it was named already
    #[arg(value_name = "VMCORE")]
    dump: Option<PathBuf>,
    /// The pack to be written; --force replaces one that is there
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Leave out memory of user programs, buffers, and all else that the report itself does not need
    #[arg(long)]
    redact: bool,
    /// Have the memory in the pack that this expression of C needs, and what it points to; can be given several times
    #[arg(long, value_name = "EXPR")]
    with: Vec<String>,
    /// Have the stacks of all threads in the pack
    #[arg(long)]
    all_threads: bool,
}

/// Open a pack, and run a command on it; what it contains is said with --list
#[derive(Debug, Args)]
pub(super) struct Open {
    /// The pack
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Say what the pack contains, which may be secrets, and do no more
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Pack {
    pub(super) fn run(&self, named: Option<PathBuf>, options: &Options, json: bool) -> Result<(), Failure> {
        let path = match (&self.dump, named) {
            (Some(path), None) => path.clone(),
            (None, Some(path)) => path,
            (Some(_), Some(_)) => return Err(Failure::Usage("a pack is made of one dump: two were named".to_owned())),
            (None, None) => {
                return Err(Failure::Usage("the dump is missing: tine crash pack VMCORE -o FILE".to_owned()));
            }
        };
        let destination = Destination::new(&self.output, options.force)?.begin()?;
        let failed = |error| Failure::work(format_args!("cannot write {}", self.output.display()), error);
        let mut recording = Recording::open(&path, options)?;
        output::warn("tine", recording.crash().notes());
        for expression in &self.with {
            read(&Session { crash: recording.crash(), json, source: None }, expression)?;
            recording.note(expression);
        }
        if self.all_threads {
            stacks(&Session { crash: recording.crash(), json, source: None })?;
            recording.note("the stacks of all threads");
        }
        let manifest = recording.pack(self.redact, BufWriter::new(destination.file().map_err(failed)?))?;
        let size = destination.file().and_then(|file| file.metadata()).map_err(failed)?.len();
        destination.finish()?;
        if json {
            let path = self.output.display().to_string();
            return output::print_json(&json!({ "pack": path, "size": size, "manifest": manifest }));
        }
        output::print(&format!("{} has {}\n{}", self.output.display(), format_size(size), text(&manifest)))
    }
}

impl Open {
    pub(super) fn run(&self, options: &Options, json: bool, source: Option<PathBuf>) -> Result<(), Failure> {
        let shown = self.file.display();
        let none = || Failure::Work(format!("{shown} is no pack: tine crash pack makes one"));
        // So that a name that is wrong is told as such.
        std::fs::metadata(&self.file).map_err(|error| Failure::work(format_args!("cannot read {shown}"), error))?;
        let manifest = pack::manifest(&self.file)?.ok_or_else(none)?;
        if self.list {
            return if json { output::print_json(&manifest) } else { output::print(&text(&manifest)) };
        }
        let crash = Crash::open(&self.file, options)?;
        let default = Command::default();
        Session { crash: &crash, json, source }.begin(self.command.as_ref().unwrap_or(&default))
    }
}

/// Reads what an expression shows, and what it points to.
fn read(session: &Session<'_>, expression: &str) -> Result<(), Failure> {
    let value = session.crash.program().evaluate(expression, &print::KernelNames(session))?;
    value.show(&Format::default())?;
    if value.resolved_type()?.kind() == TypeKind::Pointer && !value.is_zero()? {
        // What has no type, or is not there, cannot be packed.
        let target = value.deref().and_then(|target| target.show(&Format::default()));
        if let Err(error) = target {
            output::warn("tine", &[format!("what {expression} points to is not in the pack: {error}")]);
        }
    }
    Ok(())
}

fn stacks(session: &Session<'_>) -> Result<(), Failure> {
    for thread in processes::read(session)?.iter().flat_map(|process| &process.threads) {
        match session.crash.thread_registers(thread) {
            Ok((registers, _)) => drop(session.crash.stack(&registers, true)),
            Err(error) => output::warn("tine", &[format!("thread {}: {error}", thread.tid)]),
        }
    }
    Ok(())
}

fn text(manifest: &Manifest) -> String {
    let dump = &manifest.dump;
    let version = manifest.kernel.as_deref().unwrap_or("a kernel that does not tell its version");
    let redacted = if manifest.redacted { ", redacted" } else { "" };
    let mut text = format!("  kernel    {} ({})\n", super::report::visible(version), manifest.architecture);
    text += &format!("  dump      {} of {}{redacted}\n", format_size(dump.kept), format_size(dump.size));
    let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    text += &format!("  files     {}\n", names.join(" "));
    if !manifest.asked.is_empty() {
        text += &format!("  asked     {}\n", manifest.asked.join("; "));
    }
    for (heading, list) in [("It contains", &manifest.contains), ("It leaves out", &manifest.left_out)] {
        text += &format!("\n{HEADING}{heading}{HEADING:#}\n");
        list.iter().for_each(|line| text += &format!("  {}\n", super::report::visible(line)));
    }
    text
}
