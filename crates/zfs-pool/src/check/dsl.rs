//! Datasets: what their records say about space and about each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use zfs_ondisk::dsl::{DATASET_FLAG_INCONSISTENT, DIR_FLAG_USED_BREAKDOWN, used_by};
use zfs_ondisk::object::ObjectId;

use super::batch::{Batch, step};
use super::features::Recorded;
use super::findings::Kind;
use super::lists::Deadlist;
use super::totals::{Shared, Space, Totals};
use super::tree::Walk;
use super::{Checker, FIRST_DATASET};
use crate::dataset::{Dataset, DatasetKind, read_dir};
use crate::error::Error;
use crate::object::ObjectSet;
use crate::pool::MOS;

/// Names in the own tables of datasets and directories.
const BOOKMARKS: &str = "com.delphix:bookmarks";
const LIVELIST: &str = "com.delphix:livelist";
/// Words of a bookmark (`zfs_bookmark_phys_t`), of the first version and of the second.
const BOOKMARK_WORDS: [usize; 2] = [3, 12];

/// The datasets of a pool.
struct Family<'a> {
    all: &'a [Dataset],
    by_object: HashMap<ObjectId, usize>,
    /// By the object of a snapshot, the datasets that come directly after it.
    followers: BTreeMap<ObjectId, Vec<usize>>,
    /// By directory, its snapshots.
    snapshots: HashMap<ObjectId, Vec<usize>>,
    /// By directory, what was met in its datasets so far.
    chains: HashMap<ObjectId, Chain>,
}

/// A dataset with its snapshots, as far as they were examined.
#[derive(Default)]
struct Chain {
    /// Blocks of all of them, each once.
    born: Space,
    /// Numbers of the object sets that were walked.
    sets: Vec<u32>,
    /// The totals of the last snapshot, if all of it was walked.
    last: Option<Totals>,
    /// Whether a part could not be read.
    incomplete: bool,
}

impl<'a> Family<'a> {
    fn new(all: &'a [Dataset]) -> Self {
        let by_object: HashMap<_, _> = all.iter().enumerate().map(|(index, dataset)| (dataset.object, index)).collect();
        let mut followers: BTreeMap<ObjectId, Vec<usize>> = BTreeMap::new();
        for (index, dataset) in all.iter().enumerate().filter(|(_, dataset)| dataset.dataset.prev_snapshot != 0) {
            followers.entry(ObjectId(dataset.dataset.prev_snapshot)).or_default().push(index);
        }
        let mut snapshots: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (index, dataset) in all.iter().enumerate().filter(|(_, dataset)| dataset.kind == DatasetKind::Snapshot) {
            snapshots.entry(dataset.dir_object).or_default().push(index);
        }
        Self { all, by_object, followers, snapshots, chains: HashMap::new() }
    }

    /// The snapshots of a directory.
    fn snapshots_of(&self, dir: ObjectId) -> impl Iterator<Item = &'a Dataset> {
        self.snapshots.get(&dir).into_iter().flatten().filter_map(|&index| self.all.get(index))
    }

    /// The datasets that come directly after a snapshot.
    fn followers_of(&self, snapshot: ObjectId) -> impl Iterator<Item = &'a Dataset> {
        self.followers.get(&snapshot).into_iter().flatten().filter_map(|&index| self.all.get(index))
    }

    fn dataset(&self, object: u64) -> Option<&'a Dataset> {
        self.by_object.get(&ObjectId(object)).and_then(|&index| self.all.get(index))
    }

    /// The snapshot before a dataset.
    fn previous(&self, dataset: &Dataset) -> Option<&'a Dataset> {
        self.dataset(dataset.dataset.prev_snapshot)
    }

    /// Whether nothing has changed since the snapshot before, which is of the same directory.
    fn is_unchanged(&self, head: &Dataset) -> bool {
        head.kind == DatasetKind::Head
            && self.previous(head).is_some_and(|previous| {
                previous.dir_object == head.dir_object && previous.dataset.root == head.dataset.root
            })
    }

    /// Whether a snapshot is what the head still is.
    fn is_head(&self, snapshot: &Dataset) -> bool {
        self.followers_of(snapshot.object).any(|follower| self.is_unchanged(follower))
    }

    /// Snapshots by age, then the heads: whoever shares blocks with others comes after them.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|&index| {
            let dataset = &self.all[index];
            (dataset.kind == DatasetKind::Head, dataset.dataset.creation_txg, index)
        });
        order
    }
}

impl Checker<'_> {
    /// Examines all datasets and their records.
    pub(super) fn datasets(&self, mos: &ObjectSet, datasets: Vec<Dataset>) {
        let mut family = Family::new(&datasets);
        let mut features = self.recorded_features();
        let mut guids = HashMap::new();
        for index in family.order() {
            let Some(dataset) = datasets.get(index) else { continue };
            let number = FIRST_DATASET.saturating_add(index as u32);
            self.progress.stage(&dataset.name);
            self.counts.datasets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut batch = Batch::new(number, dataset.name.as_str());
            batch.at_step(step::RECORDS);
            self.dataset(mos, dataset, number, &mut family, &mut features, &mut batch);
            // A snapshot that was received has the GUID of the one that was sent.
            if dataset.kind == DatasetKind::Head
                && let Some(other) = guids.insert(dataset.dataset.guid, &dataset.name)
            {
                batch.finding(Kind::Dataset, None, format!("its GUID is that of {other}, too"));
            }
            self.merge(batch);
        }
        self.add_all_sharers(&family);
        self.at_step(step::FEATURES, |batch| self.feature_counts(batch, &features));
    }

    fn dataset(
        &self,
        mos: &ObjectSet,
        dataset: &Dataset,
        number: u32,
        family: &mut Family<'_>,
        features: &mut Recorded,
        batch: &mut Batch,
    ) {
        let before_previous = family.previous(dataset).map_or(0, |previous| previous.dataset.prev_snapshot_txg);
        let deadlist = match dataset.dataset.deadlist {
            0 => Some(Deadlist::default()),
            id => self
                .deadlist(mos, ObjectId(id), before_previous, batch)
                .map_err(|error| batch.failed(Some(ObjectId(id)), &error))
                .ok(),
        };
        let totals = self.contents(dataset, number, family, deadlist.as_ref(), batch);
        self.dataset_features(batch, mos, dataset, totals.map(|totals| totals.features).unwrap_or_default(), features);
        record(dataset, family, deadlist.as_ref(), batch);
        if let Err(error) = self.bookmarks(mos, dataset, batch) {
            batch.failed(Some(dataset.object), &error);
        }
        if dataset.kind == DatasetKind::Head {
            directory(mos, dataset, family, batch);
            if let Err(error) = self.livelist(mos, dataset, batch) {
                batch.failed(Some(dataset.dir_object), &error);
            }
        }
    }

    /// Examines the contents of a dataset, and compares their space with its record.
    fn contents(
        &self,
        dataset: &Dataset,
        number: u32,
        family: &mut Family<'_>,
        deadlist: Option<&Deadlist>,
        batch: &mut Batch,
    ) -> Option<Totals> {
        let origin = family.dataset(dataset.dir.origin);
        let shared = Shared {
            snapshot_txg: dataset.dataset.prev_snapshot_txg,
            origin_txg: origin.map_or(0, |origin| origin.dataset.creation_txg),
        };
        let is_head = dataset.kind == DatasetKind::Head;
        let as_head = is_head || family.is_head(dataset);
        let full = as_head || self.options.every_snapshot;
        let unchanged = family.is_unchanged(dataset);
        let previous = family.previous(dataset);
        let chain = family.chains.entry(dataset.dir_object).or_default();
        let before = chain.last.take();
        let (totals, complete) = match before {
            // It was walked as the snapshot.
            Some(last) if unchanged => {
                if let Some(&set) = chain.sets.last() {
                    self.share_all(set, &dataset.name);
                }
                (Totals { born: Space::default(), ..last }, !chain.incomplete)
            }
            _ => match dataset.objects() {
                Ok(Some(set)) => {
                    let consistent = dataset.dataset.flags & DATASET_FLAG_INCONSISTENT == 0;
                    if !consistent {
                        let message =
                            "it was not received to its end: its files are not all there, and were not compared";
                        batch.finding(Kind::NotChecked, None, message);
                    }
                    let walk = Walk { shared, full, compare_files: consistent, intent_log: as_head };
                    let (totals, complete) = self.object_set(&set, number, walk);
                    self.merge_into(number, &chain.sets, &dataset.name);
                    chain.sets.push(number);
                    (totals, complete)
                }
                Ok(None) => (Totals::default(), true),
                Err(error) => {
                    batch.failed(Some(ObjectId(0)), &error);
                    self.is_incomplete();
                    chain.incomplete = true;
                    return None;
                }
            },
        };
        chain.born.add(totals.born);
        chain.incomplete |= !complete;
        chain.last = (full && complete).then_some(totals);
        if !complete {
            return Some(totals);
        }
        let record = &dataset.dataset;
        let recorded = referenced(dataset);
        // What was passed over is what the snapshot before has, less what was freed since.
        let found = match (full, previous, deadlist) {
            (true, ..) => Some(totals.all),
            (false, None, _) => Some(totals.born),
            (false, Some(previous), Some(deadlist)) => {
                let mut space = referenced(previous).less(deadlist.total);
                space.add(totals.born);
                Some(space)
            }
            (false, Some(_), None) => None,
        };
        if let Some(found) = found.filter(|found| *found != recorded) {
            batch.finding(Kind::Accounting, None, format!("its blocks take {found:?}, its record says {recorded:?}"));
        }
        if is_head {
            let head = dataset.dir.used_breakdown[used_by::HEAD];
            let pairs = [("unique", totals.born.used, record.unique_bytes), ("its directory's", totals.own, head)];
            for (what, found, recorded) in pairs {
                if found != recorded {
                    let message = format!("{found} bytes are {what}, its record says {recorded}");
                    batch.finding(Kind::Accounting, None, message);
                }
            }
        }
        Some(totals)
    }

    fn bookmarks(&self, mos: &ObjectSet, dataset: &Dataset, batch: &mut Batch) -> Result<(), Error> {
        let object = mos.object(dataset.object)?;
        if !object.dnode().object_type.is_zap() {
            return Ok(());
        }
        let Some(id) = object.zap()?.number(BOOKMARKS)? else { return Ok(()) };
        let txg = self.pool.uberblock().txg;
        for entry in mos.object(ObjectId(id))?.zap()?.iter() {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let words = entry.values.len();
            // Later versions may have more.
            if entry.integer_size != 8 || (words != BOOKMARK_WORDS[0] && words < 5) || words > 64 {
                let message = format!("the bookmark #{name} has {words} words, expected {BOOKMARK_WORDS:?}");
                batch.finding(Kind::Dataset, None, message);
                continue;
            }
            let creation = entry.values.get(1).copied().unwrap_or(0);
            if creation > txg {
                let message = format!("the bookmark #{name} is of txg {creation}, the pool is at {txg}");
                batch.finding(Kind::Dataset, None, message);
            }
            let redaction = entry.values.get(3).copied().unwrap_or(0);
            if redaction != 0
                && let Err(error) = mos.object(ObjectId(redaction))
            {
                let message = format!("the redaction list of the bookmark #{name}: {}", error.cause());
                batch.finding(Kind::Dataset, None, message);
            }
        }
        Ok(())
    }

    /// The list of a clone's own blocks.
    fn livelist(&self, mos: &ObjectSet, dataset: &Dataset, batch: &mut Batch) -> Result<(), Error> {
        let object = mos.object(dataset.dir_object)?;
        if !object.dnode().object_type.is_zap() {
            return Ok(());
        }
        if let Some(id) = object.zap()?.number(LIVELIST)? {
            self.lists_by_birth(mos, ObjectId(id), true, batch)?;
        }
        Ok(())
    }

    /// Says of each finding about a block which other datasets have that block.
    fn add_all_sharers(&self, family: &Family<'_>) {
        for (index, dataset) in family.all.iter().enumerate() {
            let number = FIRST_DATASET.saturating_add(index as u32);
            if !self.has_block_findings(number) {
                continue;
            }
            let mut waiting = vec![dataset.object];
            let mut seen = BTreeSet::new();
            while let Some(object) = waiting.pop() {
                for follower in family.followers_of(object) {
                    if !seen.insert(follower.object) {
                        continue;
                    }
                    if let Ok(Some(set)) = follower.objects() {
                        self.add_sharers(number, &set);
                    }
                    waiting.push(follower.object);
                }
            }
        }
    }
}

fn referenced(dataset: &Dataset) -> Space {
    let record = &dataset.dataset;
    Space {
        used: record.referenced_bytes,
        compressed: record.compressed_bytes,
        uncompressed: record.uncompressed_bytes,
    }
}

/// What the record of a dataset says about others.
fn record(dataset: &Dataset, family: &Family<'_>, deadlist: Option<&Deadlist>, batch: &mut Batch) {
    let record = &dataset.dataset;
    let mut fault = |kind, message: String| batch.finding(kind, None, message);
    if record.dir != dataset.dir_object.0 {
        fault(Kind::Dataset, format!("its directory is {}, expected {}", record.dir, dataset.dir_object));
    }
    if record.unique_bytes > record.referenced_bytes {
        let message = format!("{} bytes are unique of {}", record.unique_bytes, record.referenced_bytes);
        fault(Kind::Accounting, message);
    }
    if dataset.kind == DatasetKind::Snapshot {
        let followers = family.followers_of(dataset.object).count();
        if record.num_children != followers as u64 {
            let message = format!("{followers} datasets come after it, its record says {}", record.num_children);
            fault(Kind::Dataset, message);
        }
        if family.dataset(record.next_snapshot).is_none_or(|next| next.dataset.prev_snapshot != dataset.object.0) {
            let message = format!("object {} follows it, which does not come after it", record.next_snapshot);
            fault(Kind::Dataset, message);
        }
    }
    if record.prev_snapshot == 0 {
        return;
    }
    let Some(previous) = family.previous(dataset) else {
        let message = format!("its previous snapshot, object {}, is none", record.prev_snapshot);
        return fault(Kind::Dataset, message);
    };
    if previous.dataset.creation_txg != record.prev_snapshot_txg {
        let message = format!(
            "its previous snapshot is of txg {}, expected {}",
            record.prev_snapshot_txg, previous.dataset.creation_txg
        );
        fault(Kind::Dataset, message);
    }
    if previous.dataset.dir != record.dir {
        return;
    }
    if previous.dataset.next_snapshot != dataset.object.0 {
        let message = format!("{} is followed by object {}", previous.name, previous.dataset.next_snapshot);
        fault(Kind::Dataset, message);
    }
    // What is gone since the snapshot, and was not there before it, only the snapshot has.
    if let Some(deadlist) = deadlist {
        let found = deadlist.born_after(previous.dataset.prev_snapshot_txg);
        let recorded = previous.dataset.unique_bytes;
        if found != recorded {
            let message = format!("{found} bytes are unique to {}, its record says {recorded}", previous.name);
            fault(Kind::Accounting, message);
        }
    }
}

/// What the directory of a dataset says, which all its snapshots share.
fn directory(mos: &ObjectSet, dataset: &Dataset, family: &Family<'_>, batch: &mut Batch) {
    let dir = &dataset.dir;
    let sum = dir.used_breakdown.iter().copied().fold(0, u64::wrapping_add);
    if dir.flags & DIR_FLAG_USED_BREAKDOWN != 0 && sum != dir.used_bytes {
        let message = format!("{} bytes are used, the parts sum up to {sum}", dir.used_bytes);
        batch.finding(Kind::Accounting, None, message);
    }
    let (children, reserved) = match children(mos, dataset) {
        Ok(children) => children,
        Err(error) => return batch.failed(None, &error),
    };
    let pairs = [
        ("use", children.used, used_by::CHILDREN),
        ("have reserved beyond that", reserved, used_by::CHILD_RESERVATIONS),
    ];
    for (what, found, index) in pairs {
        let recorded = dir.used_breakdown[index];
        if found != recorded {
            let message = format!("the directory says that its children {what} {recorded} bytes, they say {found}");
            batch.finding(Kind::Accounting, None, message);
        }
    }
    if let Err(error) = names(mos, dataset, family, batch) {
        batch.failed(None, &error);
    }
    let Some(chain) = family.chains.get(&dataset.dir_object).filter(|chain| !chain.incomplete) else { return };
    let own = dir.used_breakdown[used_by::HEAD].wrapping_add(dir.used_breakdown[used_by::SNAPSHOTS]);
    if dir.flags & DIR_FLAG_USED_BREAKDOWN != 0 && own != chain.born.used {
        let message = format!("dataset and snapshots take {} bytes, the directory says {own}", chain.born.used);
        batch.finding(Kind::Accounting, None, message);
    }
    let recorded = (dir.compressed_bytes, dir.uncompressed_bytes);
    let sum = (
        chain.born.compressed.wrapping_add(children.compressed),
        chain.born.uncompressed.wrapping_add(children.uncompressed),
    );
    if recorded != sum {
        let message = format!(
            "the directory holds {recorded:?} bytes (compressed, uncompressed), dataset, snapshots and children {sum:?}"
        );
        batch.finding(Kind::Accounting, None, message);
    }
}

/// The snapshots that have names must be those that lead to the head.
fn names(mos: &ObjectSet, dataset: &Dataset, family: &Family<'_>, batch: &mut Batch) -> Result<(), Error> {
    let dir = dataset.dir_object;
    let named: BTreeSet<ObjectId> = family.snapshots_of(dir).map(|snapshot| snapshot.object).collect();
    let mut met = BTreeSet::new();
    let mut next = dataset.dataset.prev_snapshot;
    while let Some(snapshot) = family.dataset(next).filter(|other| named.contains(&other.object)) {
        if !met.insert(snapshot.object) {
            break;
        }
        next = snapshot.dataset.prev_snapshot;
    }
    for lost in named.difference(&met) {
        let message = format!("the snapshot in object {lost} has a name, but the dataset does not come after it");
        batch.finding(Kind::Dataset, None, message);
    }
    // The clones that a directory lists are the datasets that follow its snapshots elsewhere.
    for snapshot in family.snapshots_of(dir) {
        let clones = family.followers_of(snapshot.object).filter(|follower| follower.dir_object != dir);
        let clones: BTreeSet<ObjectId> = clones.map(|follower| follower.object).collect();
        let mut listed = BTreeSet::new();
        if snapshot.dataset.next_clones != 0 {
            for entry in mos.object(ObjectId(snapshot.dataset.next_clones))?.zap()?.iter() {
                listed.insert(ObjectId(entry?.number().unwrap_or(0)));
            }
        }
        // A pool of an old version does not list them.
        if snapshot.dataset.next_clones != 0 && listed != clones {
            let message = format!("{} lists the clones {listed:?}, those that follow it are {clones:?}", snapshot.name);
            batch.finding(Kind::Dataset, None, message);
        }
    }
    Ok(())
}

/// What the directories of the children say that they hold, and that they have reserved beyond what they use.
fn children(mos: &ObjectSet, dataset: &Dataset) -> Result<(Space, u64), Error> {
    let (mut children, mut reserved) = (Space::default(), 0u64);
    if dataset.dir.child_map == 0 {
        return Ok((children, reserved));
    }
    for entry in mos.object(ObjectId(dataset.dir.child_map))?.zap()?.iter() {
        let child = ObjectId(entry?.number().unwrap_or(0));
        let record = read_dir(mos, child)?;
        if record.parent != dataset.dir_object.0 {
            return Err(Error::Malformed {
                what: "parent of a DSL directory",
                found: record.parent.to_string(),
                expected: "the directory that lists it",
            }
            .in_object(MOS, child));
        }
        children.add(Space {
            used: record.used_bytes,
            compressed: record.compressed_bytes,
            uncompressed: record.uncompressed_bytes,
        });
        reserved = reserved.wrapping_add(record.reserved.saturating_sub(record.used_bytes));
    }
    Ok((children, reserved))
}
