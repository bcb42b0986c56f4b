//! `tine crash`: from a kernel dump to an explanation.

mod allocators;
mod bt;
mod disassemble;
mod group;
mod html;
mod interrupt;
mod live;
mod locks;
mod lua;
mod memory;
mod message;
mod pack;
mod print;
mod processes;
mod report;
mod serve;
mod shell;
mod source;
mod stack;
mod system;

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
/// them. Archives of a release (`kernel.txz`, `kernel-dbg.txz`) will do. Without a command, everything of interest is reported.
#[derive(Debug, Args)]
#[command(subcommand_precedence_over_arg = true)]
pub(crate) struct Arguments {
    /// The dump, or a pack of one
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
    task: Option<Task>,
}

/// What can be asked, of a dump or of something else.
#[derive(Debug, Subcommand)]
enum Task {
    #[command(flatten)]
    Dump(Command),
    Group(group::Groups),
    Pack(pack::Pack),
    Open(pack::Open),
    Live(live::Live),
}

/// Where the kernel and what belongs to it are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
struct KernelFiles {
    /// The kernel that made the dump, the folder that it is in, the root of its system, or an archive (kernel.txz)
    #[arg(short, long, global = true, value_name = "KERNEL")]
    kernel: Option<PathBuf>,
    /// A folder with debug files, such as `usr/lib/debug` of its system, or kernel-dbg.txz; can be given several times
    #[arg(short, long, global = true, value_name = "DIR")]
    debug: Vec<PathBuf>,
    /// The sources of the kernel: the folder that has `sys`
    #[arg(short, long, global = true, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Do not keep what is unpacked of archives (in `$XDG_CACHE_HOME/tine` or `~/.cache/tine`, up to 2 GiB)
    #[arg(long, global = true)]
    no_cache: bool,
    /// Take a kernel that is not that of the dump all the same; with pack, replace a file that is there
    #[arg(long, global = true)]
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
    Locks(locks::Locks),
    Memory(allocators::Memory),
    Mounts(system::Mounts),
    Interfaces(system::Interfaces),
    #[command(visible_alias = "p")]
    Print(print::Print),
    Ptype(print::TypeOf),
    Sym(print::Symbols),
    List(print::List),
    Mem(memory::Hexdump),
    Source(source::Source),
    #[command(visible_alias = "disas")]
    Disassemble(disassemble::Disassemble),
    Lua(lua::Script),
    Serve(serve::Serve),
    Shell(shell::Shell),
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { vmcore, files, reading, json, task } = arguments;
    let source = files.source.clone();
    let options = Options {
        kernel: files.kernel,
        debug: files.debug,
        cache: cache().filter(|_| !files.no_cache),
        force: files.force,
        contents: reading.options()?,
        stop: Some(interrupt::flag()),
    };
    match (vmcore, task.unwrap_or_default()) {
        (Some(vmcore), Task::Dump(command)) => {
            let crash = Crash::open(&vmcore, &options)?;
            Session { crash: &crash, json, source }.begin(&command)
        }
        (None, Task::Dump(_)) => {
            Err(Failure::Usage("the dump is missing: tine crash [-k KERNEL] VMCORE [COMMAND]".to_owned()))
        }
        (named, Task::Pack(pack)) => pack.run(named, &options, json),
        (None, Task::Group(groups)) => groups.run(&options, json),
        (None, Task::Open(open)) => open.run(&options, json, source),
        (None, Task::Live(live)) => live.run(&options, json, source),
        (Some(vmcore), _) => {
            Err(Failure::Usage(format!("this is about no single dump: leave {} out", vmcore.display())))
        }
    }
}

/// The folder for what can be made again.
fn cache() -> Option<PathBuf> {
    Some(user_folder("XDG_CACHE_HOME", ".cache")?.join("tine"))
}

/// A folder of the user's: the one that a variable names, or one below their home.
fn user_folder(variable: &str, usual: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(usual)))
}

/// What every command has at hand.
struct Session<'c> {
    crash: &'c Crash,
    json: bool,
    /// The folder with the kernel's sources.
    source: Option<PathBuf>,
}

impl Session<'_> {
    /// Runs the one command that was given.
    fn begin(&self, command: &Command) -> Result<(), Failure> {
        // The report tells them itself.
        if !matches!(command, Command::Report(_)) {
            output::warn("tine", self.crash.notes());
        }
        self.run(command)
    }

    fn run(&self, command: &Command) -> Result<(), Failure> {
        match command {
            Command::Report(report) => report.run(self),
            Command::Bt(backtrace) => backtrace.run(self),
            Command::Threads(threads) => threads.run(self),
            Command::Ps(processes) => processes.run(self),
            Command::Msgbuf(messages) => messages.run(self),
            Command::Modules(modules) => modules.run(self),
            Command::Locks(locks) => locks.run(self),
            Command::Memory(memory) => memory.run(self),
            Command::Mounts(mounts) => mounts.run(self),
            Command::Interfaces(interfaces) => interfaces.run(self),
            Command::Print(print) => print.run(self),
            Command::Ptype(of) => of.run(self),
            Command::Sym(symbols) => symbols.run(self),
            Command::List(list) => list.run(self),
            Command::Mem(hexdump) => hexdump.run(self),
            Command::Source(source) => source.run(self),
            Command::Disassemble(disassemble) => disassemble.run(self),
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

impl Default for Task {
    fn default() -> Self {
        Self::Dump(Command::default())
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
