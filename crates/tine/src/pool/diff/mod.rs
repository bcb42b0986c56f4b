//! `tine pool diff`: what differs between two states of a file system, or between two file systems.

mod objects;
pub(crate) mod paths;

use clap::Args;
use serde::Serialize;
use zfs_ondisk::dsl;
use zfs_ondisk::object::ObjectId;
use zfs_pool::fs::{File, FileType};
use zfs_pool::{Dataset, Error};

use super::describe::{type_letter, type_name};
use super::open::Opening;
use super::out::{Out, json_name};
use super::place::{Place, Places};
use super::target::{self, Target};
use crate::failure::Failure;

/// Show what was added (+), removed (-), modified (M) and renamed (R) between two snapshots or datasets
///
/// Between a snapshot and what became of its dataset, or of a clone, only what changed is read, and files are followed
/// through their renames. Anything else is compared path by path. The letter in the second column is the type, as ls -l
/// has it, with F for a file.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The older one: pool/dataset@snapshot
    #[arg(value_name = "SNAPSHOT", value_parser = target::target)]
    older: Target,
    /// The newer one: a snapshot or dataset [default: the dataset that the snapshot is of]
    #[arg(value_name = "SNAPSHOT|DATASET", value_parser = target::target)]
    newer: Option<Target>,
    /// List as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

/// A difference; paths are from the root, without a slash before them.
pub(crate) struct Change {
    kind: ChangeKind,
    file_type: Option<FileType>,
    path: Vec<u8>,
}

#[derive(Clone)]
enum ChangeKind {
    Added,
    Removed,
    Modified,
    /// From another path.
    Renamed(Vec<u8>),
}

/// A change, as JSON has it.
#[derive(Serialize)]
pub(crate) struct Item {
    change: &'static str,
    r#type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_bytes: Option<String>,
}

impl Diff {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut places = Places::new(&self.opening);
        let older = places.open(&self.older)?;
        let newer = match &self.newer {
            Some(target) => target.clone(),
            None => head_of(&self.older)?,
        };
        let newer = places.open(&newer)?;
        for place in [&older, &newer] {
            if place.path.iter().any(|byte| *byte != b'/') {
                return Err(Failure::Usage(format!(
                    "{}: whole datasets are compared, not paths in them",
                    place.shown()
                )));
            }
        }
        let mut changes = compare(&older, &newer)?;
        sort(&mut changes);
        let mut out = Out::new()?;
        for change in &changes {
            self.print(&mut out, change)?;
        }
        if self.json {
            out.end_list()?;
        }
        out.finish()
    }

    fn print(&self, out: &mut Out, change: &Change) -> Result<(), Failure> {
        if self.json {
            return out.item(&Item::new(change));
        }
        change.print(out)
    }
}

impl Change {
    /// Writes it as a line.
    pub(crate) fn print(&self, out: &mut Out) -> Result<(), Failure> {
        let change = self;
        let letter = match type_letter(change.file_type) {
            '-' => 'F',
            letter => letter,
        };
        out.text(&format!("{} {letter} ", change.kind.letter()))?;
        if let ChangeKind::Renamed(from) = &change.kind {
            out.name(&slashed(from))?;
            out.text(" -> ")?;
        }
        out.name(&slashed(&change.path))?;
        out.text("\n")
    }
}

/// The dataset that a snapshot is of.
fn head_of(snapshot: &Target) -> Result<Target, Failure> {
    match snapshot.rest.split_once('@') {
        Some((head, _)) => Ok(Target { rest: head.to_owned(), path: None, ..snapshot.clone() }),
        None => {
            Err(Failure::Usage("one dataset alone cannot be compared: give a snapshot, or two datasets".to_owned()))
        }
    }
}

fn compare(older: &Place, newer: &Place) -> Result<Vec<Change>, Failure> {
    let (old, new) = (older.files()?, newer.files()?);
    if descends(&newer.dataset, &older.dataset)? || descends(&older.dataset, &newer.dataset)? {
        return Ok(objects::compare(old, new)?);
    }
    Ok(paths::compare(old, new)?)
}

/// Whether one dataset came from another: that is among the snapshots before it, which for a clone go on in its origin.
fn descends(dataset: &Dataset, from: &Dataset) -> Result<bool, Error> {
    if dataset.pool().guid() != from.pool().guid() {
        return Ok(false);
    }
    let mos = dataset.pool().mos()?;
    let (mut id, mut previous) = (dataset.object, dataset.dataset.prev_snapshot);
    let mut birth = u64::MAX;
    while id != from.object {
        if previous == 0 {
            return Ok(false);
        }
        id = ObjectId(previous);
        let record = mos.object(id)?;
        let record =
            dsl::Dataset::read(&record.bonus()).map_err(|source| Error::Truncated { what: "DSL dataset", source })?;
        // They go back in time; damage must not make them go round in circles.
        if record.creation_txg >= birth {
            return Ok(false);
        }
        (previous, birth) = (record.prev_snapshot, record.creation_txg);
    }
    Ok(true)
}

/// Whether a file has changed, but for the time of its last access.
fn is_modified(old: &File, new: &File) -> Result<bool, Error> {
    let attributes = |file: &File| {
        let mut attributes = file.attributes().clone();
        attributes.accessed = Default::default();
        attributes
    };
    let (a, b) = (old.object().dnode(), new.object().dnode());
    Ok(attributes(old) != attributes(new)
        || a.pointers != b.pointers
        || old.link_target().ok() != new.link_target().ok()
        || old.acl()? != new.acl()?
        || old.xattrs()? != new.xattrs()?)
}

fn slashed(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

impl ChangeKind {
    fn letter(&self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Modified => 'M',
            Self::Renamed(_) => 'R',
        }
    }

    /// What was there goes before what is there.
    fn order(&self) -> usize {
        match self {
            Self::Removed => 0,
            Self::Modified => 1,
            Self::Renamed(_) => 2,
            Self::Added => 3,
        }
    }
}

/// Sorts changes by path; what was there goes before what is there.
pub(crate) fn sort(changes: &mut [Change]) {
    changes.sort_by(|a, b| (&a.path, a.kind.order()).cmp(&(&b.path, b.kind.order())));
}

impl Item {
    pub(crate) fn new(change: &Change) -> Self {
        let (path, path_bytes) = json_name(&slashed(&change.path));
        let (from, from_bytes) = match &change.kind {
            ChangeKind::Renamed(from) => {
                let (from, bytes) = json_name(&slashed(from));
                (Some(from), bytes)
            }
            _ => (None, None),
        };
        let kind = match change.kind {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Modified => "modified",
            ChangeKind::Renamed(_) => "renamed",
        };
        Self { change: kind, r#type: type_name(change.file_type), path, path_bytes, from, from_bytes }
    }
}
