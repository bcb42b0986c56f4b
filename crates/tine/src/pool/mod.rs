//! `tine pool`: pools read in user space, from files and disks.

mod discover;
mod open;
mod target;
mod verify;

use clap::Subcommand;

use crate::failure::Failure;

/// Look into ZFS pools and verify them, without a kernel that knows ZFS and without writing a byte
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Verify(verify::Verify),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Verify(verify) => verify.run(),
    }
}
