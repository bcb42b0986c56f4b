//! `tine pool`: pools read in user space, from files and disks.

mod discover;
mod get;
mod items;
mod keys;
mod list;
mod open;
mod status;
mod table;
mod target;
mod time;
mod vdevs;
mod verify;

use clap::Subcommand;

use crate::failure::Failure;

/// Look into ZFS pools and verify them, without a kernel that knows ZFS and without writing a byte
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(status::Status),
    List(list::List),
    Get(get::Get),
    Verify(verify::Verify),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Status(status) => status.run(),
        Command::List(list) => list.run(),
        Command::Get(get) => get.run(),
        Command::Verify(verify) => verify.run(),
    }
}
