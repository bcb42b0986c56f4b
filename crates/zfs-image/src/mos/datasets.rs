//! DSL directories, datasets and snapshots.

use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::bpobj::DEADLIST_HEADER_SIZE;
use zfs_ondisk::crypt;
use zfs_ondisk::dsl::{
    DATASET_FLAG_CASE_INSENSITIVE, DATASET_FLAG_UNIQUE_ACCURATE, DIR_FLAG_USED_BREAKDOWN, Dataset, Dir,
};
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::property::{Storage, StoredValue};
use zfs_ondisk::zap::{NORM_TO_UPPER, ZapContents};

use crate::encryption::StoredKey;
use crate::error::Error;
use crate::mos::writer::{MosWriter, set_property};
use crate::mos::{Assumptions, Input};
use crate::plan::{self, Origin, Plan};
use crate::settings::Properties;
use crate::store::{BIRTH_TXG, Usage};

/// Transaction group of the snapshot that all datasets have as their origin.
const ORIGIN_TXG: u64 = 1;

/// The transaction group that a pool is in: the last in which a dataset or a
/// snapshot was made.
pub(crate) fn pool_txg(plan: &Plan) -> u64 {
    let last = |index: usize| snapshot_txg(&plan.datasets, index, plan.datasets[index].snapshots.len());
    (0..plan.datasets.len()).map(last).max().unwrap_or(BIRTH_TXG + 1) - 1
}

/// The transaction group in which a dataset was made: that of its contents, or for
/// a clone the one after its origin.
fn creation_txg(datasets: &[plan::Dataset], index: usize) -> u64 {
    match datasets[index].origin {
        Some(origin) => snapshot_txg(datasets, origin.dataset, origin.snapshot) + 1,
        None => BIRTH_TXG,
    }
}

/// The transaction group in which a snapshot of a dataset was made: one for each
/// after that of the dataset.
fn snapshot_txg(datasets: &[plan::Dataset], index: usize, snapshot: usize) -> u64 {
    creation_txg(datasets, index) + 1 + snapshot as u64
}

/// What the rest of the MOS wants to know.
pub(super) struct Written {
    pub(super) root_dir: ObjectId,
    pub(super) bootfs: Option<ObjectId>,
    /// Datasets and snapshots that use each set of features.
    users: Vec<(FeatureSet, u64)>,
    /// Numbers of datasets and snapshots are limited somewhere.
    pub(super) limits: bool,
    /// Bytes reserved beyond what is used.
    pub(super) reserved: u64,
}

impl Written {
    /// How many datasets and snapshots use a feature.
    pub(super) fn users_of(&self, feature: Feature) -> u64 {
        self.users.iter().filter(|(features, _)| features.contains(feature)).map(|(_, count)| count).sum()
    }
}

/// Space that a directory accounts for.
#[derive(Clone, Copy, Default)]
struct DirSpace {
    /// Of the dataset, its snapshots and all below.
    usage: Usage,
    /// Reserved for the dataset beyond what it uses.
    ref_reserved: u64,
    /// Of the children.
    children: u64,
    /// Reserved for children beyond what they use.
    child_reserved: u64,
    quota: u64,
    reserved: u64,
}

impl DirSpace {
    fn used(&self) -> u64 {
        self.usage.allocated + self.ref_reserved + self.child_reserved
    }

    fn add_child(&mut self, child: &DirSpace) {
        self.usage += child.usage;
        // Reservations that the child holds for its own count as used by it.
        self.usage.allocated += child.used() - child.usage.allocated;
        self.children += child.used();
        self.child_reserved += child.reserved.saturating_sub(child.used());
    }
}

/// Writes all directories and datasets.
pub(super) fn write(
    writer: &mut MosWriter<'_, '_>,
    input: Input<'_>,
    assumptions: &Assumptions,
) -> Result<Written, Error> {
    let datasets = &input.plan.datasets;
    let dirs: Vec<ObjectId> = datasets.iter().map(|_| writer.allocate()).collect();
    let heads: Vec<ObjectId> = datasets.iter().map(|_| writer.allocate()).collect();
    let snapshots: Vec<Vec<ObjectId>> =
        datasets.iter().map(|dataset| dataset.snapshots.iter().map(|_| writer.allocate()).collect()).collect();
    let mut writer = Writer {
        input,
        dirs: &dirs,
        heads: &heads,
        snapshots: &snapshots,
        key_objects: Vec::new(),
        mos: writer,
        users: Vec::new(),
    };
    writer.key_objects = writer.keys()?;
    let mut space = writer.space();
    space[0].add_child(&DirSpace { usage: assumptions.usage, ..DirSpace::default() });
    let used: u64 = (0..datasets.len()).map(|index| writer.own_usage(index).allocated).sum();
    let reserved = space[0].used().max(space[0].reserved) - used - assumptions.usage.allocated;
    let root = writer.root()?;
    // These only account for space: what the MOS takes, and what is being freed.
    let mos = writer.mos.allocate();
    writer.plain_dir(mos, ObjectId(0), None, assumptions.usage)?;
    let free = writer.mos.allocate();
    writer.plain_dir(free, ObjectId(0), None, Usage::default())?;
    let special = [("$MOS", mos), ("$FREE", free), ("$ORIGIN", root.dir)];
    let limited = writer.limited();
    for index in 0..datasets.len() {
        let hidden_children: &[_] = if index == 0 { &special } else { &[] };
        writer.dir(index, &space[index], &root, hidden_children, limited[index])?;
        writer.dataset(index, &root)?;
    }
    let bootfs = input
        .spec
        .bootfs
        .as_ref()
        .and_then(|name| datasets.iter().position(|dataset| dataset.name == *name))
        .map(|index| heads[index]);
    Ok(Written { root_dir: dirs[0], bootfs, users: writer.users, limits: limited.contains(&true), reserved })
}

/// The dataset that all others are clones of (`$ORIGIN`), but for real clones.
struct Root {
    dir: ObjectId,
    snapshot: ObjectId,
}

/// The snapshots before a dataset or snapshot, as its deadlist knows them.
struct Line {
    /// What its deadlist has lists for: the transaction groups of all snapshots before
    /// the last one, and 0.
    keys: Vec<u64>,
    /// The last snapshot.
    last: ObjectId,
    /// Its transaction group.
    last_txg: u64,
}

impl Line {
    /// Another snapshot is the last one.
    fn push(&mut self, snapshot: ObjectId, txg: u64) {
        self.keys.push(self.last_txg);
        (self.last, self.last_txg) = (snapshot, txg);
    }
}

struct Writer<'w, 's, 'a, 'i> {
    mos: &'w mut MosWriter<'s, 'a>,
    input: Input<'i>,
    dirs: &'w [ObjectId],
    heads: &'w [ObjectId],
    snapshots: &'w [Vec<ObjectId>],
    /// The keys of those that are encrypted and no clones.
    key_objects: Vec<Option<ObjectId>>,
    users: Vec<(FeatureSet, u64)>,
}

impl Writer<'_, '_, '_, '_> {
    fn datasets(&self) -> &[plan::Dataset] {
        &self.input.plan.datasets
    }

    fn own_number(&self, index: usize, property: &str) -> u64 {
        match Properties(vec![&self.datasets()[index].properties]).own(property) {
            Some(StoredValue::Number(number)) => *number,
            _ => 0,
        }
    }

    /// The space of each dataset's directory.
    fn space(&self) -> Vec<DirSpace> {
        let mut space: Vec<DirSpace> = Vec::with_capacity(self.dirs.len());
        for index in 0..self.dirs.len() {
            let unique = self.unique_bytes(index);
            space.push(DirSpace {
                usage: self.own_usage(index),
                ref_reserved: self.own_number(index, "refreservation").saturating_sub(unique),
                quota: self.own_number(index, "quota"),
                reserved: self.own_number(index, "reservation"),
                ..DirSpace::default()
            });
        }
        for index in (0..space.len()).rev() {
            if let Some(parent) = self.datasets()[index].parent {
                let child = space[index];
                space[parent].add_child(&child);
            }
        }
        space
    }

    /// Space that a dataset and its snapshots reference, and no origin of theirs.
    fn own_usage(&self, index: usize) -> Usage {
        if self.datasets()[index].origin.is_some() { Usage::default() } else { self.input.written[index].usage }
    }

    /// Space that a head shares with no snapshot.
    fn unique_bytes(&self, index: usize) -> u64 {
        if self.datasets()[index].snapshots.is_empty() { self.own_usage(index).allocated } else { 0 }
    }

    /// The object of a snapshot.
    fn snapshot(&self, origin: Origin) -> ObjectId {
        self.snapshots[origin.dataset][origin.snapshot]
    }

    /// The clones of the snapshots of a dataset, with their origins.
    fn clones(&self, index: usize) -> impl Iterator<Item = (usize, Origin)> + '_ {
        let origins = self.datasets().iter().enumerate();
        origins.filter_map(move |(clone, dataset)| Some((clone, dataset.origin.filter(|o| o.dataset == index)?)))
    }

    /// What comes before the first snapshot of a dataset, or before its head.
    fn line(&self, index: usize, root: &Root) -> Line {
        let datasets = self.datasets();
        let Some(origin) = datasets[index].origin else {
            return Line { keys: vec![0], last: root.snapshot, last_txg: ORIGIN_TXG };
        };
        let mut line = self.line(origin.dataset, root);
        for snapshot in 0..=origin.snapshot {
            line.push(self.snapshot(Origin { snapshot, ..origin }), snapshot_txg(datasets, origin.dataset, snapshot));
        }
        line
    }

    /// The datasets at or below one with a limit, which count what is below
    /// them.
    fn limited(&self) -> Vec<bool> {
        let mut limited: Vec<bool> = Vec::with_capacity(self.dirs.len());
        for dataset in self.datasets() {
            let own = ["filesystem_limit", "snapshot_limit"].iter().any(|limit| {
                Properties(vec![&dataset.properties])
                    .own(limit)
                    .is_some_and(|value| *value != StoredValue::Number(u64::MAX))
            });
            limited.push(own || dataset.parent.is_some_and(|parent| limited[parent]));
        }
        limited
    }

    fn root(&mut self) -> Result<Root, Error> {
        let (dir, head, snapshot) = (self.mos.allocate(), self.mos.allocate(), self.mos.allocate());
        let mut clones = ZapContents::new();
        let mut next_clones = ZapContents::new();
        let heirs: Vec<usize> =
            (0..self.heads.len()).filter(|&index| self.datasets()[index].origin.is_none()).collect();
        let count = heirs.len();
        for index in heirs {
            let head = self.heads[index];
            clones.set(format!("{:x}", head.0), head.0);
            let next = self.first_in_line(index);
            next_clones.set(format!("{:x}", next.0), next.0);
        }
        let clones = self.mos.table(ObjectType::DSL_CLONES, &clones)?;
        let next_clones = self.mos.table(ObjectType::NEXT_CLONES, &next_clones)?;
        self.plain_dir(dir, head, Some(clones), Usage::default())?;
        let names = self.mos.table(ObjectType::DSL_DS_SNAP_MAP, ZapContents::new().set("$ORIGIN", snapshot.0))?;
        let base = Dataset {
            dir: dir.0,
            prev_snapshot: 0,
            prev_snapshot_txg: 0,
            next_snapshot: 0,
            snapshot_names: 0,
            num_children: 0,
            creation_time: self.input.spec.creation_time,
            creation_txg: ORIGIN_TXG,
            deadlist: 0,
            referenced_bytes: 0,
            compressed_bytes: 0,
            uncompressed_bytes: 0,
            unique_bytes: 0,
            fsid_guid: 0,
            guid: 0,
            flags: DATASET_FLAG_UNIQUE_ACCURATE,
            root: BlockPointer::HOLE,
            next_clones: 0,
            props: 0,
            user_refs: 0,
        };
        let deadlist = self.deadlist(&[])?;
        let snapshot_dataset = Dataset {
            next_snapshot: head.0,
            num_children: count as u64 + 1,
            next_clones: next_clones.0,
            deadlist: deadlist.0,
            ..self.named(&base, "$ORIGIN@$ORIGIN")
        };
        self.put_dataset(snapshot, &snapshot_dataset, FeatureSet::EMPTY, None)?;
        let deadlist = self.deadlist(&[0])?;
        let head_dataset = Dataset {
            prev_snapshot: snapshot.0,
            prev_snapshot_txg: ORIGIN_TXG,
            snapshot_names: names.0,
            deadlist: deadlist.0,
            ..self.named(&base, "$ORIGIN")
        };
        self.put_dataset(head, &head_dataset, FeatureSet::EMPTY, None)?;
        Ok(Root { dir, snapshot })
    }

    /// The first snapshot of a dataset, or the dataset.
    fn first_in_line(&self, index: usize) -> ObjectId {
        self.snapshots[index].first().copied().unwrap_or(self.heads[index])
    }

    /// A directory that has no place among the named datasets.
    fn plain_dir(
        &mut self,
        object: ObjectId,
        head: ObjectId,
        clones: Option<ObjectId>,
        usage: Usage,
    ) -> Result<(), Error> {
        let props = self.mos.table(ObjectType::DSL_PROPS, &ZapContents::new())?;
        let child_map = self.mos.table(ObjectType::DSL_DIR_CHILD_MAP, &ZapContents::new())?;
        let dir = Dir {
            creation_time: self.input.spec.creation_time,
            head_dataset: head.0,
            parent: self.dirs[0].0,
            child_map: child_map.0,
            used_bytes: usage.allocated,
            compressed_bytes: usage.compressed,
            uncompressed_bytes: usage.uncompressed,
            props: props.0,
            flags: DIR_FLAG_USED_BREAKDOWN,
            used_breakdown: [usage.allocated, 0, 0, 0, 0],
            clones: clones.map_or(0, |clones| clones.0),
            ..Dir::default()
        };
        self.mos.put_bonus(object, ObjectType::DSL_DIR, dir.to_bytes(), &ZapContents::new())
    }

    fn dir(
        &mut self,
        index: usize,
        space: &DirSpace,
        root: &Root,
        special: &[(&str, ObjectId)],
        limited: bool,
    ) -> Result<(), Error> {
        let dataset = &self.input.plan.datasets[index];
        let mut props = ZapContents::new();
        for property in &dataset.properties {
            if matches!(property.storage(), Storage::Props | Storage::DirPhys) {
                set_property(&mut props, property);
            }
        }
        let own_mountpoint = Properties(vec![&dataset.properties]).own("mountpoint").is_some();
        if index == 0
            && !own_mountpoint
            && let Some(path) = &self.input.spec.root_path
        {
            props.set_text("mountpoint", path);
        }
        if dataset.encryption.is_some_and(|encryption| encryption.root == index)
            && Properties(vec![&dataset.properties]).own("keylocation").is_none()
        {
            props.set_text("keylocation", "prompt");
        }
        let props = self.mos.table(ObjectType::DSL_PROPS, &props)?;
        let mut children = ZapContents::new();
        for (name, object) in special {
            children.set(name, object.0);
        }
        for (child, other) in self.input.plan.datasets.iter().enumerate() {
            if other.parent == Some(index) {
                children.set(other.name.rsplit('/').next().unwrap_or_default(), self.dirs[child].0);
            }
        }
        let child_map = self.mos.table(ObjectType::DSL_DIR_CHILD_MAP, &children)?;
        let mut clones = ZapContents::new();
        for (clone, _) in self.clones(index) {
            let head = self.heads[clone];
            clones.set(format!("{:x}", head.0), head.0);
        }
        let clones = if clones.is_empty() { 0 } else { self.mos.table(ObjectType::DSL_CLONES, &clones)?.0 };
        let head = self.own_usage(index).allocated;
        let dir = Dir {
            creation_time: self.input.spec.creation_time,
            head_dataset: self.heads[index].0,
            parent: dataset.parent.map_or(0, |parent| self.dirs[parent].0),
            origin: dataset.origin.map_or(root.snapshot, |origin| self.snapshot(origin)).0,
            clones,
            child_map: child_map.0,
            used_bytes: space.used(),
            compressed_bytes: space.usage.compressed,
            uncompressed_bytes: space.usage.uncompressed,
            quota: space.quota,
            reserved: space.reserved,
            props: props.0,
            flags: DIR_FLAG_USED_BREAKDOWN,
            used_breakdown: [head, 0, space.children, space.child_reserved, space.ref_reserved],
            ..Dir::default()
        };
        let mut fields = ZapContents::new();
        if limited {
            let below = |other: &&plan::Dataset| {
                other.name.strip_prefix(&dataset.name).is_some_and(|rest| rest.starts_with('/'))
            };
            let (mut file_systems, mut snapshots) = (0, dataset.snapshots.len());
            for other in self.input.plan.datasets.iter().filter(below) {
                file_systems += 1;
                snapshots += other.snapshots.len();
            }
            fields.set("com.joyent:filesystem_count", file_systems).set("com.joyent:snapshot_count", snapshots as u64);
        }
        if let Some(key) = self.key_objects[dataset.origin.map_or(index, |origin| origin.dataset)] {
            fields.set(crypt::KEY_OBJECT, key.0);
        }
        self.mos.put_bonus(self.dirs[index], ObjectType::DSL_DIR, dir.to_bytes(), &fields)
    }

    /// Writes the keys of the datasets: the objects, by dataset.
    fn keys(&mut self) -> Result<Vec<Option<ObjectId>>, Error> {
        let datasets = &self.input.plan.datasets;
        let mut objects = vec![None; datasets.len()];
        for (index, key) in self.input.keys.iter().enumerate() {
            let (Some(StoredKey { wrapped, salt }), Some(encryption)) = (key, datasets[index].encryption) else {
                continue;
            };
            let mut contents = ZapContents::new();
            contents
                .set(crypt::entry::SUITE, wrapped.suite as u64)
                .set(crypt::entry::VERSION, wrapped.version as u64)
                .set(crypt::entry::GUID, wrapped.guid)
                .set_bytes(crypt::entry::IV, wrapped.iv.to_vec())
                .set_bytes(crypt::entry::MAC, wrapped.mac.to_vec())
                .set_bytes(crypt::entry::MASTER_KEY, wrapped.master_key.to_vec())
                .set_bytes(crypt::entry::HMAC_KEY, wrapped.hmac_key.to_vec())
                .set(crypt::entry::ROOT, self.dirs[encryption.root].0)
                .set(crypt::entry::REFERENCES, 1 + self.clones(index).count() as u64)
                .set(crypt::entry::KEY_FORMAT, encryption.key.format as u64)
                .set(crypt::entry::PBKDF2_SALT, *salt)
                .set(crypt::entry::PBKDF2_ITERATIONS, encryption.key.iterations.into());
            objects[index] = Some(self.mos.table(ObjectType::OTN_ZAP_METADATA, &contents)?);
        }
        Ok(objects)
    }

    /// Writes a dataset and its snapshots, which all have the same contents.
    fn dataset(&mut self, index: usize, root: &Root) -> Result<(), Error> {
        let mut line = self.line(index, root);
        let dataset = &self.input.plan.datasets[index];
        let written = self.input.written[index];
        let case = if dataset.settings.norm_flags & NORM_TO_UPPER != 0 { DATASET_FLAG_CASE_INSENSITIVE } else { 0 };
        let mut names = ZapContents::new();
        for (number, name) in dataset.snapshots.iter().enumerate() {
            names.set(name, self.snapshots[index][number].0);
        }
        let snapshot_names = self.mos.table(ObjectType::DSL_DS_SNAP_MAP, &names)?;
        let base = Dataset {
            dir: self.dirs[index].0,
            prev_snapshot: line.last.0,
            prev_snapshot_txg: line.last_txg,
            next_snapshot: 0,
            snapshot_names: 0,
            num_children: 0,
            creation_time: self.input.spec.creation_time,
            creation_txg: creation_txg(&self.input.plan.datasets, index),
            deadlist: 0,
            referenced_bytes: written.usage.allocated,
            compressed_bytes: written.usage.compressed,
            uncompressed_bytes: written.usage.uncompressed,
            unique_bytes: 0,
            fsid_guid: 0,
            guid: 0,
            flags: DATASET_FLAG_UNIQUE_ACCURATE | case,
            root: written.root,
            next_clones: 0,
            props: 0,
            user_refs: 0,
        };
        for (number, name) in dataset.snapshots.iter().enumerate() {
            let object = self.snapshots[index][number];
            let next = self.snapshots[index].get(number + 1).copied().unwrap_or(self.heads[index]);
            let props = self.mos.table(ObjectType::DSL_PROPS, &ZapContents::new())?;
            let deadlist = self.deadlist(&line.keys)?;
            let clones: Vec<usize> =
                self.clones(index).filter(|(_, origin)| origin.snapshot == number).map(|(clone, _)| clone).collect();
            let mut next_clones = ZapContents::new();
            for &clone in &clones {
                let next = self.first_in_line(clone);
                next_clones.set(format!("{:x}", next.0), next.0);
            }
            let next_clones =
                if clones.is_empty() { 0 } else { self.mos.table(ObjectType::NEXT_CLONES, &next_clones)?.0 };
            let snapshot = Dataset {
                prev_snapshot: line.last.0,
                prev_snapshot_txg: line.last_txg,
                next_snapshot: next.0,
                num_children: 1 + clones.len() as u64,
                creation_txg: snapshot_txg(&self.input.plan.datasets, index, number),
                deadlist: deadlist.0,
                next_clones,
                props: props.0,
                ..self.named(&base, &format!("{}@{name}", dataset.name))
            };
            let ivset =
                dataset.encryption.map(|_| self.input.seed.number(&format!("vectors of {}@{name}", dataset.name)));
            self.put_dataset(object, &snapshot, dataset.settings.features, ivset)?;
            line.push(object, snapshot.creation_txg);
        }
        let deadlist = self.deadlist(&line.keys)?;
        let head = Dataset {
            prev_snapshot: line.last.0,
            prev_snapshot_txg: line.last_txg,
            snapshot_names: snapshot_names.0,
            unique_bytes: self.unique_bytes(index),
            deadlist: deadlist.0,
            ..self.named(&base, &dataset.name)
        };
        self.put_dataset(self.heads[index], &head, dataset.settings.features, None)
    }

    fn named(&self, dataset: &Dataset, name: &str) -> Dataset {
        Dataset {
            guid: self.input.seed.number(&format!("GUID of {name}")),
            // The identifier of a file system has 56 bits.
            fsid_guid: self.input.seed.number(&format!("file system {name}")) >> 8 | 1,
            ..dataset.clone()
        }
    }

    fn put_dataset(
        &mut self,
        object: ObjectId,
        dataset: &Dataset,
        features: FeatureSet,
        ivset: Option<u64>,
    ) -> Result<(), Error> {
        let mut active = ZapContents::new();
        if let Some(guid) = ivset {
            active.set(crypt::IVSET_GUID, guid);
        }
        for feature in features.iter() {
            active.set(feature.guid(), 0);
        }
        self.users.push((features, 1));
        self.mos.put_bonus(object, ObjectType::DSL_DATASET, dataset.to_bytes(), &active)
    }

    fn deadlist(&mut self, keys: &[u64]) -> Result<ObjectId, Error> {
        let mut lists = ZapContents::new();
        for key in keys {
            lists.set(format!("{key:x}"), self.mos.empty_bpobj()?.0);
        }
        let object = self.mos.allocate();
        let header = vec![0; DEADLIST_HEADER_SIZE];
        self.mos.put_table_with_bonus(object, ObjectType::DEADLIST, &lists, ObjectType::DEADLIST_HDR, header)?;
        Ok(object)
    }
}
