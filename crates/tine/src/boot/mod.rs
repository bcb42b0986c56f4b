//! `tine boot`: where the time goes while FreeBSD boots or shuts down.

mod export;
mod input;
mod top;

use clap::Subcommand;

use crate::failure::Failure;

/// Show where boot and shutdown time goes, from the traces of FreeBSD's kernel or a console capture
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Top(top::Top),
    Export(export::Export),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Top(top) => top.run(),
        Command::Export(export) => export.run(),
    }
}
