//! What is wrong: findings, and the report that they make.

use std::collections::BTreeMap;
use std::fmt;

use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::object::ObjectId;

/// More findings than this are counted only.
pub(super) const MOST_FINDINGS: usize = 10_000;

/// What sort of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A device of the pool is missing.
    MissingDevice,
    /// A label is damaged or contradicts the pool.
    Label,
    /// A block cannot be read at all.
    Unreadable,
    /// A copy of a block is bad; another one is good.
    BadCopy,
    /// A block pointer contradicts the object that it is in.
    Pointer,
    /// A dnode contradicts its block tree.
    Dnode,
    /// A ZAP is damaged.
    Zap,
    /// A directory contradicts its files, or a file is in none.
    Directory,
    /// The attributes of a file are damaged or contradict it.
    Attributes,
    /// Recorded space differs from what there is.
    Accounting,
    /// The records of datasets and snapshots contradict each other.
    Dataset,
    /// A feature is used and not recorded, or counted wrongly.
    Feature,
    /// Space is allocated that nothing references.
    Leaked,
    /// Space is referenced that is not allocated, or more than once.
    DoublyAllocated,
    /// The references to a block are not as many as a table of shared blocks says: deduplicated, cloned, or on a vdev
    /// that was removed.
    References,
    /// A space map contradicts itself.
    SpaceMap,
    /// The intent log is not empty: there are changes that a mount would replay. No fault.
    IntentLog,
    /// Something was not examined. No fault.
    NotChecked,
}

impl Kind {
    /// Whether it is said of sound pools, too.
    pub fn is_remark(self) -> bool {
        matches!(self, Kind::IntentLog | Kind::NotChecked)
    }

    /// The kind in a few words, as a heading.
    pub fn title(self) -> &'static str {
        match self {
            Kind::MissingDevice => "Missing devices",
            Kind::Label => "Labels",
            Kind::Unreadable => "Unreadable",
            Kind::BadCopy => "Bad copies, others are good",
            Kind::Pointer => "Block pointers",
            Kind::Dnode => "Dnodes",
            Kind::Zap => "ZAPs",
            Kind::Directory => "Directories",
            Kind::Attributes => "Attributes of files",
            Kind::Accounting => "Accounting of space",
            Kind::Dataset => "Datasets and snapshots",
            Kind::Feature => "Features",
            Kind::Leaked => "Leaked space",
            Kind::DoublyAllocated => "Space referenced and not allocated, or twice",
            Kind::References => "Counts of references",
            Kind::SpaceMap => "Space maps",
            Kind::IntentLog => "Intent logs",
            Kind::NotChecked => "Not checked",
        }
    }
}

/// A block of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Levels above the data.
    pub level: u32,
    /// Number of the block among those of its level; `None` for a spill block.
    pub number: Option<u64>,
    /// Where its contents begin in the object, in bytes.
    pub offset: u64,
    /// Bytes of the object's contents that it is, or leads to.
    pub length: u64,
    /// The pointer to it.
    pub pointer: BlockPointer,
}

/// A copy of a block that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlace {
    /// Number of the top-level vdev.
    pub vdev: u32,
    /// Offset in bytes in its allocatable space.
    pub offset: u64,
    /// The device, if it is one that is known, and the offset in bytes from the device's start.
    pub device: Option<(String, u64)>,
    /// What is wrong.
    pub fault: String,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub kind: Kind,
    /// The dataset or snapshot, or "MOS".
    pub dataset: Option<String>,
    /// The object.
    pub object: Option<ObjectId>,
    /// The path of the file, if the object is one that has a name.
    pub path: Option<String>,
    /// The block, if it is about one.
    pub block: Option<BlockPlace>,
    /// The copies of the block that are bad.
    pub copies: Vec<CopyPlace>,
    /// Other datasets and snapshots that have the same fault because they share what is faulty.
    pub shared: Vec<String>,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl Finding {
    /// A finding about the pool as a whole.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            dataset: None,
            object: None,
            path: None,
            block: None,
            copies: Vec::new(),
            shared: Vec::new(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: ", self.kind)?;
        if let Some(dataset) = &self.dataset {
            write!(f, "{dataset}: ")?;
        }
        if let Some(object) = self.object {
            write!(f, "object {object}: ")?;
        }
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)?;
        for CopyPlace { vdev, offset, device, fault } in &self.copies {
            match device {
                Some((name, at)) => write!(f, "; {name} at byte {at}: {fault}")?,
                None => write!(f, "; vdev {vdev}, offset {offset:#x}: {fault}")?,
            }
        }
        if !self.shared.is_empty() {
            write!(f, " (also in {})", self.shared.join(", "))?;
        }
        Ok(())
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong, in the order of the walk through the pool, whatever the number of threads.
    pub findings: Vec<Finding>,
    /// What is no fault but to be known.
    pub remarks: Vec<Finding>,
    /// How many findings there are of each kind, those that are not listed, too.
    pub kinds: BTreeMap<Kind, u64>,
    /// Findings beyond those listed.
    pub omitted: u64,
    /// References to blocks that were followed, and the blocks verified: one that is deduplicated or cloned counts for
    /// each of them.
    pub blocks: u64,
    /// Bytes allocated by the blocks that were verified, with all copies: each counted once, if space was compared.
    pub bytes: u64,
    /// Objects that were examined.
    pub objects: u64,
    /// Datasets and snapshots that were examined.
    pub datasets: u64,
    /// Bytes allocated according to the space maps.
    pub allocated: u64,
    /// Bad copies on devices that were away when something was written.
    pub missing_copies: u64,
}

impl Report {
    /// Adds what was found in the state that the checkpoint keeps, and not in the newest one.
    pub(super) fn add_checkpoint(&mut self, kept: Report) {
        let Report { findings, remarks, blocks, bytes, objects, datasets, omitted, .. } = kept;
        let known = |finding: &Finding, all: &[Finding]| {
            all.iter().any(|other| {
                (other.kind, other.object, &other.message) == (finding.kind, finding.object, &finding.message)
            })
        };
        let in_checkpoint = |mut finding: Finding| {
            finding.dataset = Some(match &finding.dataset {
                Some(dataset) => format!("{dataset} (checkpoint)"),
                None => "checkpoint".to_owned(),
            });
            finding
        };
        for finding in findings {
            if !known(&finding, &self.findings) {
                *self.kinds.entry(finding.kind).or_default() += 1;
                self.findings.push(in_checkpoint(finding));
            }
        }
        for remark in remarks {
            if !known(&remark, &self.remarks) {
                self.remarks.push(in_checkpoint(remark));
            }
        }
        self.omitted += omitted;
        self.blocks += blocks;
        self.bytes += bytes;
        self.objects += objects;
        self.datasets += datasets;
    }
}

/// Where in the walk something was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Number of the object set in the walk.
    pub(super) set: u32,
    pub(super) object: u64,
    /// The first block of the part of the object that was walked at once.
    pub(super) part: u64,
    /// Counts what was found there.
    pub(super) number: u32,
}

/// Findings as they come, from any thread.
#[derive(Default)]
pub(super) struct Findings {
    found: BTreeMap<Place, Finding>,
    remarks: BTreeMap<Place, Finding>,
    kinds: BTreeMap<Kind, u64>,
}

impl Findings {
    /// Adds a finding. Of more than are kept, those first in the walk are.
    pub(super) fn add(&mut self, place: Place, finding: Finding) {
        let list = if finding.kind.is_remark() {
            &mut self.remarks
        } else {
            *self.kinds.entry(finding.kind).or_default() += 1;
            &mut self.found
        };
        list.insert(place, finding);
        if list.len() > MOST_FINDINGS {
            list.pop_last();
        }
    }

    /// Counts findings that are not kept.
    pub(super) fn count(&mut self, kind: Kind, count: u64) {
        if !kind.is_remark() {
            *self.kinds.entry(kind).or_default() += count;
        }
    }

    /// The findings in an object set.
    pub(super) fn in_set(&mut self, set: u32) -> impl Iterator<Item = &mut Finding> {
        let first = |set| Place { set, ..Place::default() };
        self.found.range_mut(first(set)..first(set + 1)).map(|(_, finding)| finding)
    }

    /// Takes the findings of an object set that one of `earlier` sets has, too; adds `name` to those.
    pub(super) fn merge_into(&mut self, set: u32, earlier: &[u32], name: &str) {
        let first = |set| Place { set, ..Place::default() };
        let places: Vec<Place> = self.found.range(first(set)..first(set + 1)).map(|(place, _)| *place).collect();
        if places.is_empty() || earlier.is_empty() {
            return;
        }
        let mut known: BTreeMap<(Kind, Option<ObjectId>, String), Place> = BTreeMap::new();
        for &set in earlier {
            for (place, finding) in self.found.range(first(set)..first(set + 1)) {
                known.insert((finding.kind, finding.object, finding.message.clone()), *place);
            }
        }
        for place in places {
            let Some(finding) = self.found.get(&place) else { continue };
            let key = (finding.kind, finding.object, finding.message.clone());
            // What is said of an object set as a whole is about its own record.
            if finding.object.is_none() {
                continue;
            }
            if let Some(other) = known.get(&key) {
                self.found.remove(&place);
                if let Some(count) = self.kinds.get_mut(&key.0) {
                    *count -= 1;
                }
                if let Some(other) = self.found.get_mut(other) {
                    other.shared.push(name.to_owned());
                }
            }
        }
    }

    /// The report, without the counts of what was examined.
    pub(super) fn report(self) -> Report {
        let all: u64 = self.kinds.values().sum();
        Report {
            omitted: all.saturating_sub(self.found.len() as u64),
            findings: self.found.into_values().collect(),
            remarks: self.remarks.into_values().collect(),
            kinds: self.kinds.into_iter().filter(|(_, count)| *count > 0).collect(),
            ..Report::default()
        }
    }
}
