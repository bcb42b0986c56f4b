//! From a target on the command line to the file system or volume that it means.

use std::collections::HashMap;

use zfs_ondisk::objset::Kind;
use zfs_ondisk::property::nearest_names;
use zfs_pool::fs::{File, FileSystem, Volume};
use zfs_pool::{Dataset, Error, Pool};

use super::open::Opening;
use super::out::printable;
use super::target::{PoolRef, Target};
use crate::failure::Failure;
use crate::output;

/// A dataset or snapshot, and a path in it.
pub(super) struct Place {
    pub(super) dataset: Dataset,
    pub(super) contents: Contents,
    /// From the root of the file system, with a slash before it; of a volume, what was given.
    pub(super) path: Vec<u8>,
}

/// What a dataset holds.
pub(super) enum Contents {
    Files(FileSystem),
    Volume(Box<Volume>),
}

/// Pools that were opened, so that several targets in one of them need it once.
pub(super) struct Places<'a> {
    opening: &'a Opening,
    pools: HashMap<String, Pool>,
}

impl<'a> Places<'a> {
    pub(super) fn new(opening: &'a Opening) -> Self {
        Self { opening, pools: HashMap::new() }
    }

    pub(super) fn pool(&mut self, pool: &PoolRef) -> Result<Pool, Failure> {
        let key = pool.to_string();
        if let Some(pool) = self.pools.get(&key) {
            return Ok(pool.clone());
        }
        let opened = self.opening.open(pool)?;
        self.pools.insert(key, opened.clone());
        Ok(opened)
    }

    pub(super) fn dataset(&mut self, target: &Target) -> Result<Dataset, Failure> {
        let pool = self.pool(&target.pool)?;
        let name = name_of(&pool, target);
        if name.contains('#') {
            return Err(Failure::Work(format!(
                "{name} is a bookmark, which holds no files: name a snapshot or dataset"
            )));
        }
        pool.dataset(&name).map_err(|error| match error {
            Error::NoDataset(_) => Failure::Work(no_dataset(&pool, &name)),
            error => error.into(),
        })
    }

    pub(super) fn open(&mut self, target: &Target) -> Result<Place, Failure> {
        let dataset = self.dataset(target)?;
        let empty = || Failure::Work(format!("{} has no contents", dataset.name));
        let set = dataset.objects()?.ok_or_else(empty)?;
        let path = target.path.clone().unwrap_or_default();
        if set.kind() == Some(Kind::Volume) {
            return Ok(Place { dataset, contents: Contents::Volume(Box::new(Volume::from_objects(&set)?)), path });
        }
        let path = if path.starts_with(b"/") { path } else { [b"/", &path[..]].concat() };
        Ok(Place { dataset, contents: Contents::Files(FileSystem::from_objects(set)?), path })
    }
}

/// The full name of what a target means in its pool.
pub(super) fn name_of(pool: &Pool, target: &Target) -> String {
    target.dataset(pool.name(), |name| pool.dataset(name.split('#').next().unwrap_or(name)).is_ok())
}

/// Opens the one target of a command.
pub(super) fn open(opening: &Opening, target: &Target) -> Result<Place, Failure> {
    Places::new(opening).open(target)
}

impl Place {
    /// The file system.
    pub(super) fn files(&self) -> Result<&FileSystem, Failure> {
        match &self.contents {
            Contents::Files(files) => Ok(files),
            Contents::Volume(_) => Err(Failure::Work(format!(
                "{} is a volume, which has no files: 'tine pool cat' gives its bytes",
                self.dataset.name
            ))),
        }
    }

    /// The file at the path; a symbolic link there is followed if `follow`.
    pub(super) fn file(&self, follow: bool) -> Result<File, Failure> {
        Ok(self.files()?.resolve(&self.path, follow)?)
    }

    /// Dataset and path, for messages.
    pub(super) fn shown(&self) -> String {
        shown(&self.dataset.name, &self.path)
    }
}

/// A place for messages.
pub(super) fn shown(dataset: &str, path: &[u8]) -> String {
    let path = printable(path);
    match path.strip_prefix('/').unwrap_or(&path) {
        "" => dataset.to_owned(),
        path => format!("{dataset}:/{path}"),
    }
}

/// Says what is wrong with one of several things, while the work goes on.
pub(super) fn tell(what: &str, why: impl std::fmt::Display) {
    output::failure("tine", &Failure::work(what, why));
}

fn no_dataset(pool: &Pool, name: &str) -> String {
    let all = pool.datasets().unwrap_or_default();
    let near = nearest_names(name, all.iter().map(|dataset| dataset.name.as_str()));
    let mut message = format!("there is no dataset '{name}'");
    match near.split_last() {
        None => message.push_str("; 'tine pool list' shows those that there are"),
        Some((only, [])) => message.push_str(&format!("; did you mean '{only}'?")),
        Some((last, others)) => {
            let others: Vec<String> = others.iter().map(|name| format!("'{name}'")).collect();
            message.push_str(&format!("; did you mean {} or '{last}'?", others.join(", ")));
        }
    }
    message
}
