//! `tine pool`: pools read in user space, from files and disks.

mod discover;
mod inspect;
mod keys;
mod mount;
mod open;
mod target;
mod verify;

use clap::Subcommand;

use crate::failure::Failure;

/// Look into ZFS pools and verify them, without a kernel that knows ZFS and without writing a byte
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Inspect(inspect::Inspect),
    Mount(mount::Mount),
    Verify(verify::Verify),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Inspect(inspect) => inspect.run(),
        Command::Mount(mount) => mount.run(),
        Command::Verify(verify) => verify.run(),
    }
}
