//! What `extract` and `tar` take out of a pool: a file or directory, perhaps only some paths of it, perhaps with what is
//! mounted below it.

use std::cell::Cell;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zfs_ondisk::property::format_size;

use super::mounts;
use super::open::Opening;
use super::place::{self, Place, shown, tell};
use super::target::{self, Target};
use super::walk::{Walk, is_within, join, normal};
use crate::failure::Failure;

/// What is taken.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// What to take: pool/dataset@snapshot:/path; of a directory, what is in it
    #[arg(value_name = "TARGET", value_parser = target::target)]
    target: Target,
    /// Only these paths in the target
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Also take the datasets that are mounted below this one; of a snapshot, their snapshots of the same name
    #[arg(short = 'R', long)]
    all_datasets: bool,
    #[command(flatten)]
    opening: Opening,
}

/// What is taken, found.
pub(super) struct Taken {
    pub(super) place: Place,
    pub(super) walk: Walk,
    /// The name of a file that is taken alone.
    pub(super) alone: Option<Vec<u8>>,
}

impl Source {
    pub(super) fn open(&self) -> Result<Taken, Failure> {
        let place = place::open(&self.opening, &self.target)?;
        let start = place.file(false)?;
        let mut selection = Vec::new();
        for path in &self.paths {
            let path =
                normal(path.as_bytes()).ok_or_else(|| Failure::Usage(format!("{path}: give paths without '..'")))?;
            selection.push(path);
        }
        let mounts = if self.all_datasets { self.mounts(&place)? } else { Vec::new() };
        for path in &selection {
            let mount =
                mounts.iter().filter(|(mounted, _)| is_within(path, mounted)).max_by_key(|(path, _)| path.len());
            match mount {
                Some((mounted, files)) => files.lookup(&path[mounted.len()..])?,
                None => place.files()?.lookup(&join(&place.path, path))?,
            };
        }
        let alone = if start.attributes().is_dir() {
            None
        } else {
            let name = place.path.rsplit(|&byte| byte == b'/').next();
            name.map(<[u8]>::to_vec)
        };
        if alone.is_some() && !selection.is_empty() {
            return Err(Failure::Usage(format!("{} is no directory: there are no paths in it", place.shown())));
        }
        let walk = Walk::new(start).with_mounts(mounts).only(selection);
        Ok(Taken { place, walk, alone })
    }

    fn mounts(&self, place: &Place) -> Result<Vec<(Vec<u8>, zfs_pool::FileSystem)>, Failure> {
        place.files()?;
        if place.path.iter().any(|byte| *byte != b'/') {
            return Err(Failure::Usage("-R takes whole datasets: leave the path out".to_owned()));
        }
        Ok(mounts::below(&place.dataset)?)
    }
}

impl Taken {
    /// Says that a part of it is damaged.
    pub(super) fn tell(&self, path: &[u8], why: impl std::fmt::Display) {
        tell(&shown(&self.place.dataset.name, &join(&self.place.path, path)), why);
    }
}

/// How far it is, on standard error if that is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    files: Cell<u64>,
    bytes: Cell<u64>,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self { bar, files: Cell::new(0), bytes: Cell::new(0) }
    }

    pub(super) fn file(&self) {
        self.files.set(self.files.get() + 1);
        if self.files.get().is_multiple_of(64) {
            self.show();
        }
    }

    pub(super) fn bytes(&self, count: u64) {
        self.bytes.set(self.bytes.get() + count);
        self.show();
    }

    pub(super) fn files(&self) -> u64 {
        self.files.get()
    }

    pub(super) fn all_bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Takes the line away, so that a message can take its place.
    pub(super) fn hide<T>(&self, during: impl FnOnce() -> T) -> T {
        self.bar.suspend(during)
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{} files, {}", self.files.get(), format_size(self.bytes.get())));
            self.bar.tick();
        }
    }
}
