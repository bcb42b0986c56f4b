//! Examines a whole pool.
//!
//! Everything that is referenced is read and verified, in all copies: the meta
//! object set, every dataset and every snapshot, each block once. What was met
//! is then compared with what the pool's own records say: space maps, block
//! trees and their counts, ZAPs, directories and link counts, and the accounting
//! of datasets, users and groups. This includes what `zdb` and a scrub do not look
//! at, and what makes a kernel stop later.

mod claims;
mod dsl;
mod features;
mod files;
mod names;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;

use zfs_ondisk::object::ObjectId;

use crate::error::Error;
use crate::pool::{MOS, Pool};
use claims::Claims;

/// More findings than this are counted only.
const MOST_FINDINGS: usize = 10_000;

/// What sort of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
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
    /// The intent log is not empty: there are changes that a mount would replay.
    IntentLog,
    /// Space is allocated that nothing references.
    Leaked,
    /// Space is referenced that is not allocated, or more than once.
    DoublyAllocated,
    /// A space map contradicts itself.
    SpaceMap,
    /// Something was not examined.
    NotChecked,
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
    /// What is wrong, and what was expected.
    pub message: String,
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
        f.write_str(&self.message)
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is wrong, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub omitted: u64,
    /// Blocks that were read and verified, each counted once.
    pub blocks: u64,
    /// Bytes allocated by them, with all copies.
    pub bytes: u64,
    /// Objects that were examined.
    pub objects: u64,
    /// Bytes allocated according to the space maps.
    pub allocated: u64,
}

/// Examines a whole pool; see the [module](self).
///
/// # Errors
/// Only if nothing can be examined. Whatever else fails is a [`Finding`].
pub fn check(pool: &Pool) -> Result<Report, Error> {
    let mos = pool.mos()?;
    let mut checker = Checker { pool, report: Report::default(), claims: Claims::default() };
    checker.labels();
    let totals = checker.object_set(&mos, tree::Shared::default());
    checker.mos_features(totals.features);
    match pool.all_datasets() {
        Ok(datasets) => checker.datasets(&mos, &datasets),
        Err(error) => checker.failed(MOS, None, &error),
    }
    checker.space(&mos);
    Ok(checker.report)
}

struct Checker<'a> {
    pool: &'a Pool,
    report: Report,
    claims: Claims,
}

impl Checker<'_> {
    fn add(&mut self, finding: Finding) {
        if self.report.findings.len() < MOST_FINDINGS {
            self.report.findings.push(finding);
        } else {
            self.report.omitted += 1;
        }
    }

    fn finding(&mut self, kind: Kind, dataset: &str, object: Option<ObjectId>, message: impl Into<String>) {
        self.add(Finding { kind, dataset: Some(dataset.to_owned()), object, path: None, message: message.into() });
    }

    /// Adds an error met in a dataset.
    fn failed(&mut self, dataset: &str, object: Option<ObjectId>, error: &Error) {
        let (object, kind) = match error {
            Error::Object { object, .. } => (Some(*object), kind_of(error.cause())),
            _ => (object, kind_of(error)),
        };
        self.finding(kind, dataset, object, error.cause().to_string());
    }

    fn labels(&mut self) {
        let mut faults = Vec::new();
        for labels in self.pool.labels() {
            let name = labels.device.name();
            for (index, fault) in labels.faults.iter().enumerate() {
                if let Some(fault) = fault {
                    faults.push(format!("label {index} of {name}: {fault}"));
                }
            }
        }
        for vdev in self.pool.vdevs() {
            let needed = vdev.device_size();
            for device in vdev.leaves().into_iter().filter_map(|leaf| leaf.device()) {
                if device.size() < needed {
                    faults.push(format!("{device:?} is too small: vdev {} needs {needed} bytes", vdev.id));
                }
            }
        }
        let uberblock = self.pool.uberblock();
        match crate::pool::guid_sum(self.pool.config()) {
            Ok(sum) if sum != uberblock.guid_sum => faults
                .push(format!("the GUIDs of the vdevs sum up to {sum}, the uberblock says {}", uberblock.guid_sum)),
            Ok(_) => {}
            Err(error) => faults.push(error.to_string()),
        }
        for message in faults {
            self.add(Finding { kind: Kind::Label, dataset: None, object: None, path: None, message });
        }
    }
}

fn kind_of(error: &Error) -> Kind {
    match error {
        Error::Pointer { .. } => Kind::Pointer,
        Error::Dnode(_) => Kind::Dnode,
        Error::Zap(_) => Kind::Zap,
        Error::Attributes(_) | Error::NvList(_) => Kind::Attributes,
        Error::Encrypted(_) | Error::Locked(_) => Kind::NotChecked,
        _ => Kind::Unreadable,
    }
}
