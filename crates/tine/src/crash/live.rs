//! `tine crash live`: a running kernel, through a stub for debuggers.

mod connection;
mod stub;

use std::sync::Arc;

use clap::Args;
use crash::{Crash, Options};

use super::{Command, Session};
use crate::failure::Failure;
use stub::Stub;

/// Ask a running kernel through a GDB stub: QEMU's, or FreeBSD's own over TCP or a serial line
///
/// It is read only: memory is never written. A stub of QEMU stops its machine when a debugger connects; it goes on when
/// the command has ended. A kernel that stands in its own debugger is left standing. The kernel's file has to be named
/// with -k.
#[derive(Debug, Args)]
pub(super) struct Live {
    /// Where the stub is: `127.0.0.1:1234`, `:1234`, or a serial line such as `/dev/cuau0`
    #[arg(value_name = "ADDR:PORT|TTY")]
    place: String,
    /// The speed of a serial line, in bits a second
    #[arg(long, value_name = "SPEED", default_value_t = 115_200)]
    speed: u32,
    /// Leave a machine of QEMU stopped that was stopped by connecting to it
    #[arg(long)]
    leave_stopped: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

impl Live {
    pub(super) fn run(&self, options: &Options, json: bool, source: Option<std::path::PathBuf>) -> Result<(), Failure> {
        let architecture = crash::live::kernel(options)?.architecture()?;
        let connection = connection::open(&self.place, self.speed)?;
        let stub = Arc::new(Stub::connect(connection, architecture, &self.place)?);
        if !self.leave_stopped {
            stub.go_on_when_interrupted();
        }
        let done = Crash::live(stub.clone(), options).map_err(Failure::from).and_then(|crash| {
            let crash = crash.with_processors(stub.clone());
            let default = Command::default();
            Session { crash: &crash, json, source }.begin(self.command.as_ref().unwrap_or(&default))
        });
        // Whatever came of it, the machine is not to stand still for ever.
        let left = if self.leave_stopped { Ok(()) } else { stub.leave() };
        done.and(left)
    }
}
