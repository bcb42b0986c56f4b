//! `tine crash`: from a kernel dump to an explanation.

mod bt;
mod html;
mod interrupt;
mod lua;
mod memory;
mod message;
mod print;
mod processes;
mod report;
mod serve;
mod shell;
mod source;
mod stack;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use crash::{Crash, Options};

use crate::dump::reading::Reading;
use crate::failure::Failure;
use crate::output;

/// Explain a kernel dump: what panicked, where, with which values, what else was going on
///
/// VMCORE is a dump of any form: of savecore(8), netdumpd(8) or tine dump, compressed, encrypted or not whole. Its
/// kernel and debug files are looked for beside it, in `boot/kernel` and `usr/lib/debug` there, unless -k and -d name
/// them. Without a command, everything of interest is reported.
#[derive(Debug, Args)]
#[command(subcommand_precedence_over_arg = true)]
pub(crate) struct Arguments {
    /// The dump
    #[arg(value_name = "VMCORE")]
    vmcore: Option<PathBuf>,
    #[command(flatten)]
    files: KernelFiles,
    #[command(flatten)]
    reading: Reading,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the kernel and what belongs to it are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
struct KernelFiles {
    /// The kernel that made the dump, the folder that it is in, or the root of its system
    #[arg(short, long, value_name = "KERNEL")]
    kernel: Option<PathBuf>,
    /// A folder with debug files, such as `usr/lib/debug` of its system; can be given several times
    #[arg(short, long, value_name = "DIR")]
    debug: Vec<PathBuf>,
    /// The sources of the kernel: the folder that has `sys`
    #[arg(short, long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Take a kernel that is not that of the dump all the same
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Report(report::Report),
    Bt(bt::Backtrace),
    Threads(processes::Threads),
    Ps(processes::Processes),
    Msgbuf(message::Messages),
    Modules(processes::Modules),
    #[command(visible_alias = "p")]
    Print(print::Print),
    Ptype(print::TypeOf),
    Sym(print::Symbols),
    List(print::List),
    Mem(memory::Hexdump),
    Source(source::Source),
    Lua(lua::Script),
    Serve(serve::Serve),
    Shell(shell::Shell),
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { vmcore, files, reading, json, command } = arguments;
    let Some(vmcore) = vmcore else {
        return Err(Failure::Usage("the dump is missing: tine crash [-k KERNEL] VMCORE [COMMAND]".to_owned()));
    };
    let source = files.source.clone();
    let options = Options {
        kernel: files.kernel,
        debug: files.debug,
        force: files.force,
        contents: reading.options()?,
        stop: Some(interrupt::flag()),
    };
    let crash = Crash::open(&vmcore, &options)?;
    let session = Session { crash: &crash, json, source };
    let command = command.unwrap_or_default();
    // The report tells them itself.
    if !matches!(command, Command::Report(_)) {
        output::warn("tine", crash.notes());
    }
    session.run(&command)
}

/// What every command has at hand.
struct Session<'c> {
    crash: &'c Crash,
    json: bool,
    /// The folder with the kernel's sources.
    source: Option<PathBuf>,
}

impl Session<'_> {
    fn run(&self, command: &Command) -> Result<(), Failure> {
        match command {
            Command::Report(report) => report.run(self),
            Command::Bt(backtrace) => backtrace.run(self),
            Command::Threads(threads) => threads.run(self),
            Command::Ps(processes) => processes.run(self),
            Command::Msgbuf(messages) => messages.run(self),
            Command::Modules(modules) => modules.run(self),
            Command::Print(print) => print.run(self),
            Command::Ptype(of) => of.run(self),
            Command::Sym(symbols) => symbols.run(self),
            Command::List(list) => list.run(self),
            Command::Mem(hexdump) => hexdump.run(self),
            Command::Source(source) => source.run(self),
            Command::Lua(script) => script.run(self),
            Command::Serve(serve) => serve.run(self),
            Command::Shell(shell) => shell.run(self),
        }
    }
}

impl Default for Command {
    fn default() -> Self {
        Self::Report(report::Report::default())
    }
}

impl From<crash::Error> for Failure {
    fn from(error: crash::Error) -> Self {
        match error {
            crash::Error::Dump(vmcore::Error::Contents(error)) => error.into(),
            _ => Self::Work(error.to_string()),
        }
    }
}

impl From<symbols::Error> for Failure {
    fn from(error: symbols::Error) -> Self {
        Self::Work(error.to_string())
    }
}
