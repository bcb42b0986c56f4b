//! `tine pool`: pools read in user space, from files and disks.

mod acl_text;
mod cat;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod discover;
mod du;
mod extract;
mod find;
mod get;
mod inspect;
mod items;
mod keys;
mod list;
mod ls;
// FUSE as this program uses it is on these only.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
mod mount;
pub(crate) mod mounts;
mod open;
pub(crate) mod out;
mod place;
mod source;
mod stat;
mod status;
pub(crate) mod table;
mod tar;
mod target;
mod tree;
pub(crate) mod vdevs;
pub(crate) mod verify;
pub(crate) mod walk;

use clap::Subcommand;

use crate::failure::Failure;

pub(crate) use find::with_long_options;
pub(crate) use out::printable;

/// Look into ZFS pools and verify them, without a kernel that knows ZFS and without writing a byte
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Status(Box<status::Status>),
    List(Box<list::List>),
    Get(Box<get::Get>),
    Ls(ls::Ls),
    Stat(stat::Stat),
    Cat(cat::Cat),
    Find(Box<find::Find>),
    Tree(tree::Tree),
    Du(du::Du),
    Diff(diff::Diff),
    Extract(extract::Extract),
    Tar(tar::Tar),
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    Mount(mount::Mount),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Status(status) => status.run(),
        Command::List(list) => list.run(),
        Command::Get(get) => get.run(),
        Command::Ls(ls) => ls.run(),
        Command::Stat(stat) => stat.run(),
        Command::Cat(cat) => cat.run(),
        Command::Find(find) => find.run(),
        Command::Tree(tree) => tree.run(),
        Command::Du(du) => du.run(),
        Command::Diff(diff) => diff.run(),
        Command::Extract(extract) => extract.run(),
        Command::Tar(tar) => tar.run(),
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        Command::Mount(mount) => mount.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Verify(verify) => verify.run(),
    }
}
