//! `tine pool mount`: the files of a pool in a directory, through FUSE.

mod fuse;
mod inode;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use self::view::{Trouble, View};
use super::open::Opening;
use super::place;
use super::target::{self, Target};
use crate::failure::Failure;
use crate::output;

/// Mount a dataset or snapshot, and all file systems below it, for reading
///
/// Datasets are directories by their names below the mounted one, snapshots are in .zfs/snapshot of each. Runs until
/// the directory is unmounted, or Ctrl-C is pressed, which unmounts it. Needs FUSE.
#[derive(Debug, Args)]
pub(crate) struct Mount {
    /// The pool, a dataset or a snapshot
    #[arg(value_name = "POOL|DATASET", value_parser = target::target)]
    target: Target,
    /// An empty directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Let other users in, as far as the files' modes allow
    #[arg(long)]
    allow_other: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Mount {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.target.path.is_some() {
            return Err(Failure::Usage("a dataset or snapshot is mounted whole: leave the path out".to_owned()));
        }
        if !self.directory.is_dir() {
            return Err(Failure::Work(format!("{}: there is no such directory", self.directory.display())));
        }
        possible()?;
        let pool = self.opening.open(&self.target.pool)?;
        let view = View::new(&pool, &place::name_of(&pool, &self.target))?;
        view.check().map_err(|trouble| match trouble {
            Trouble::Unreadable(why) => Failure::Work(why),
            _ => Failure::Work(format!("{} has no root directory", view.name())),
        })?;
        serve(view, &self.directory, self.allow_other)
    }
}

/// Takes the directory away from those who still use it. What they have open ends with the program.
fn detach(directory: &Path) -> Result<(), Failure> {
    let how = if cfg!(target_os = "linux") { "-l" } else { "-f" };
    match std::process::Command::new("umount").arg(how).arg(directory).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failure::Work(format!(
            "{0} is still in use, and is left behind: umount {how} {0} takes it away",
            directory.display()
        ))),
    }
}

/// Whether the system has FUSE.
fn possible() -> Result<(), Failure> {
    let device = "/dev/fuse";
    let load = if cfg!(target_os = "linux") { "modprobe fuse" } else { "kldload fusefs" };
    if Path::new(device).exists() {
        return Ok(());
    }
    Err(Failure::Work(format!(
        "this system has no {device}: load the kernel's module for FUSE ({load}), or take the files out with tine pool extract"
    )))
}

/// Why mounting failed, and the way out.
fn refused(directory: &Path, error: &io::Error) -> Failure {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {
            "; without root's privileges it needs fusermount3, of the package fuse3, and a directory of your own; or take the files out with tine pool extract"
        }
        _ => "; the files can be taken out with tine pool extract",
    };
    Failure::Work(format!("cannot mount on {}: {error}{way_out}", directory.display()))
}

fn serve(view: View, directory: &Path, allow_other: bool) -> Result<(), Failure> {
    use std::sync::mpsc;
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    /// What ends the waiting.
    enum Event {
        Signal,
        Ended(io::Result<()>),
    }

    let name = view.name().to_owned();
    let mut session = fuse::mount(view, directory, allow_other).map_err(|error| refused(directory, &error))?;
    let mut unmounter = session.unmount_callable();
    anstream::eprintln!("tine: {name} is mounted on {0}; Ctrl-C or umount {0} ends it", directory.display());

    let (sender, events) = mpsc::channel();
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
    let mut signals = signals.map_err(|error| Failure::work("cannot wait for signals", error))?;
    let of_signals = sender.clone();
    thread::spawn(move || signals.forever().try_for_each(|_| of_signals.send(Event::Signal)));
    thread::spawn(move || sender.send(Event::Ended(session.run())));

    let mut asked = false;
    for event in events {
        match event {
            Event::Ended(ended) => return ended.map_err(|error| Failure::work(directory.display(), error)),
            Event::Signal if asked => return detach(directory),
            Event::Signal => {
                asked = true;
                if let Err(error) = unmounter.unmount() {
                    let why =
                        format!("cannot unmount {}: {error}; Ctrl-C again ends it all the same", directory.display());
                    output::warn("tine", &[why]);
                }
            }
        }
    }
    Ok(())
}
