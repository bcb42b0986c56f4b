//! `tine dump`: kernel dumps caught, sent, saved and read.

mod check;
mod convert;
mod describe;
mod device;
mod info;
mod list;
mod progress;
pub(crate) mod reading;
mod receive;
mod save;
mod send;

use clap::Subcommand;

use crate::failure::Failure;

/// Catch kernel dumps of FreeBSD over the network, save them from disks, send, check and convert them
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Receive(Box<receive::Receive>),
    Send(Box<send::Send>),
    Save(Box<save::Save>),
    List(list::List),
    Info(info::Info),
    Check(check::Check),
    Convert(Box<convert::Convert>),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Receive(receive) => receive.run(),
        Command::Send(send) => send.run(),
        Command::Save(save) => save.run(),
        Command::List(list) => list.run(),
        Command::Info(info) => info.run(),
        Command::Check(check) => check.run(),
        Command::Convert(convert) => convert.run(),
    }
}
