//! The datasets, snapshots and bookmarks that a command is about.

use zfs_pool::props::{Item, ItemType};
use zfs_pool::{Dataset, DatasetKind, Pool};

use super::place;
use super::target::Target;
use crate::failure::Failure;

/// Which items below a target are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Also everything below, not only snapshots and bookmarks of the target itself.
    pub(super) recursive: bool,
    pub(super) types: &'a [Type],
}

/// Types of items, as `-t` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Type {
    #[value(aliases = ["fs"])]
    Filesystem,
    #[value(aliases = ["vol"])]
    Volume,
    #[value(aliases = ["snap"])]
    Snapshot,
    Bookmark,
    All,
}

impl Type {
    fn includes(self, kind: ItemType) -> bool {
        match self {
            Type::All => true,
            Type::Filesystem => kind == ItemType::FileSystem,
            Type::Volume => kind == ItemType::Volume,
            Type::Snapshot => kind == ItemType::Snapshot,
            Type::Bookmark => kind == ItemType::Bookmark,
        }
    }
}

/// The items of a target: itself, then its snapshots and bookmarks by age, then what is below it by name.
pub(super) fn items(pool: &Pool, target: &Target, wanted: Wanted<'_>) -> Result<Vec<Item>, Failure> {
    if target.path.is_some() {
        return Err(Failure::Usage(format!(
            "{}: files have no properties: leave the path after the colon out",
            place::name_of(pool, target)
        )));
    }
    let name = place::name_of(pool, target);
    if name.contains(['@', '#']) {
        return Ok(vec![pool.item(&name)?]);
    }
    // The name of a dataset is looked for before all are listed, so that a wrong one is told.
    let root = pool.dataset(&name)?;
    let mut items = Vec::new();
    for dataset in if wanted.recursive { pool.datasets()? } else { with_snapshots(pool, root)? } {
        if is_at_or_below(&dataset.name, &name) {
            let bookmarks = if dataset.kind == DatasetKind::Head && wants_bookmarks(wanted.types) {
                dataset.bookmarks()?
            } else {
                Vec::new()
            };
            let path = dataset.name.clone();
            items.push(Item::Dataset(dataset.clone()));
            items.extend(bookmarks.into_iter().map(|(mark, bookmark)| Item::Bookmark {
                name: format!("{path}#{mark}"),
                dataset: dataset.clone(),
                bookmark,
            }));
        }
    }
    // Bookmarks follow the snapshots of their dataset.
    items.sort_by_cached_key(sort_key);
    let mut chosen = Vec::with_capacity(items.len());
    for item in items {
        let kind = item.item_type()?;
        if wanted.types.iter().any(|of| of.includes(kind)) {
            chosen.push(item);
        }
    }
    Ok(chosen)
}

fn wants_bookmarks(types: &[Type]) -> bool {
    types.iter().any(|of| matches!(of, Type::All | Type::Bookmark))
}

fn with_snapshots(pool: &Pool, head: Dataset) -> Result<Vec<Dataset>, Failure> {
    let mut all = vec![head.clone()];
    all.extend(pool.snapshots(&head)?);
    Ok(all)
}

/// The order of a listing: parts of the path by name, then the dataset, its snapshots, its bookmarks, by age.
fn sort_key(item: &Item) -> (Vec<String>, u8, u64) {
    let path = item.name().split(['@', '#']).next().unwrap_or_default();
    let parts = path.split('/').map(str::to_owned).collect();
    match item {
        Item::Bookmark { bookmark, .. } => (parts, 2, bookmark.creation_txg),
        Item::Dataset(dataset) => match dataset.kind {
            DatasetKind::Head => (parts, 0, 0),
            DatasetKind::Snapshot => (parts, 1, dataset.dataset.creation_txg),
        },
    }
}

fn is_at_or_below(name: &str, root: &str) -> bool {
    name.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
}
