//! `tine dump`: kernel dumps caught, sent, saved and read.

mod receive;
mod send;

use clap::Subcommand;

use crate::failure::Failure;

/// Catch kernel dumps of FreeBSD over the network, and send them
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Receive(Box<receive::Receive>),
    Send(Box<send::Send>),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Receive(receive) => receive.run(),
        Command::Send(send) => send.run(),
    }
}
