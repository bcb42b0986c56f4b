//! What one job found.

use std::collections::BTreeMap;
use std::sync::Arc;

use zfs_ondisk::object::ObjectId;

use super::claims::Claim;
use super::files::{FileRecord, NameRecord};
use super::findings::{BlockPlace, CopyPlace, Finding, Kind, MOST_FINDINGS, Place};
use super::totals::Totals;
use crate::error::Error;

/// Parts of an object, in the order of their findings.
pub(super) mod part {
    /// The root of the object set, of the array of dnodes.
    pub(crate) const ROOT: u64 = 0;
    /// The block of dnodes in which the object is the first one.
    pub(crate) const DNODES: u64 = 1;
    /// The object itself, with the top of its block tree.
    pub(crate) const OBJECT: u64 = 2;
    /// What is below an indirect block: see [`subtree`].
    const SUBTREE: u64 = 3;
    /// The intent log.
    pub(crate) const LOG: u64 = (1 << 61) - 1;
    /// The sums over the whole block tree, or the block of dnodes.
    pub(crate) const SUMS: u64 = 1 << 61;
    /// A name in a directory: this and the object that it leads to.
    pub(crate) const NAME: u64 = 2 << 61;
    /// What is known of a file from its names.
    pub(crate) const FILE: u64 = 3 << 61;

    /// What is below an indirect block of a level, by the number of the first data block.
    pub(crate) fn subtree(first: u64, level: u32) -> u64 {
        SUBTREE + (first.min((1 << 55) - 1) << 5 | u64::from(31 - level.min(31)))
    }
}

/// In findings about the object set as a whole, the place of the object: no object has such a number.
const WHOLE: ObjectId = ObjectId(1 << 63);

/// Steps of the examination of an object set, and of the pool.
pub(super) mod step {
    pub(crate) const OPEN: u64 = 0;
    pub(crate) const EXHAUSTED: u64 = 1;
    pub(crate) const RECORDS: u64 = 2;
    pub(crate) const DATASETS: u64 = 3;
    pub(crate) const FEATURES: u64 = 4;
    pub(crate) const TABLES: u64 = 5;
    pub(crate) const SPACE: u64 = 6;
    /// And those behind it, one for each list.
    pub(crate) const LISTS: u64 = 7;
}

/// Bytes and objects by owner, of users, groups and projects.
pub(super) type Spent = [BTreeMap<u64, (u64, u64)>; 3];

/// What one job found: collected without locks, merged at once.
pub(super) struct Batch {
    name: Arc<str>,
    place: Place,
    pub(super) findings: Vec<(Place, Finding)>,
    /// Findings that are counted only, as there are too many.
    pub(super) omitted: BTreeMap<Kind, u64>,
    pub(super) claims: Vec<Claim>,
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) objects: u64,
    pub(super) totals: Totals,
    pub(super) names: Vec<NameRecord>,
    pub(super) files: Vec<FileRecord>,
    pub(super) spent: Spent,
}

impl Batch {
    /// Of a job in the object set with a number and a name.
    pub(super) fn new(set: u32, name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            place: Place { set, object: WHOLE.0, part: step::OPEN, number: 0 },
            findings: Vec::new(),
            omitted: BTreeMap::new(),
            claims: Vec::new(),
            blocks: 0,
            bytes: 0,
            objects: 0,
            totals: Totals::default(),
            names: Vec::new(),
            files: Vec::new(),
            spent: Spent::default(),
        }
    }

    /// From now on, it is about a part of an object: see [`part`]. No other job may be about the same part.
    pub(super) fn at(&mut self, object: ObjectId, part: u64) {
        if (self.place.object, self.place.part) != (object.0, part) {
            self.place = Place { object: object.0, part, number: 0, ..self.place };
        }
    }

    /// From now on, it is about the object set as a whole, at one step of its examination: see [`step`].
    pub(super) fn at_step(&mut self, step: u64) {
        self.at(WHOLE, step);
    }

    /// The number of the object set.
    pub(super) fn set(&self) -> u32 {
        self.place.set
    }

    /// Adds what is wrong with an object, or with the object set.
    pub(super) fn finding(&mut self, kind: Kind, object: Option<ObjectId>, message: impl Into<String>) {
        self.add(Finding { object, dataset: Some(self.name.to_string()), ..Finding::new(kind, message) });
    }

    /// Adds what is wrong with a block.
    pub(super) fn block_finding(
        &mut self,
        kind: Kind,
        object: ObjectId,
        block: BlockPlace,
        copies: Vec<CopyPlace>,
        message: impl Into<String>,
    ) {
        self.add(Finding {
            object: Some(object),
            dataset: Some(self.name.to_string()),
            block: Some(block),
            copies,
            ..Finding::new(kind, message)
        });
    }

    /// Adds what is wrong with space; `owner` is who has it.
    pub(super) fn space_finding(&mut self, kind: Kind, owner: Option<(String, ObjectId)>, message: String) {
        let (dataset, object) = owner.map_or((None, None), |(name, object)| (Some(name), Some(object)));
        self.add(Finding { dataset, object, ..Finding::new(kind, message) });
    }

    /// Adds an error.
    pub(super) fn failed(&mut self, object: Option<ObjectId>, error: &Error) {
        let object = match error {
            Error::Object { object, .. } => Some(*object),
            _ => object,
        };
        self.finding(kind_of(error.cause()), object, error.cause().to_string());
    }

    fn add(&mut self, finding: Finding) {
        if self.findings.len() >= MOST_FINDINGS {
            *self.omitted.entry(finding.kind).or_default() += 1;
            return;
        }
        self.findings.push((self.place, finding));
        self.place.number = self.place.number.saturating_add(1);
    }
}

/// What sort of finding an error is.
pub(super) fn kind_of(error: &Error) -> Kind {
    match error {
        Error::Pointer { .. } => Kind::Pointer,
        Error::Dnode(_) => Kind::Dnode,
        Error::Zap(_) => Kind::Zap,
        Error::Attributes(_) | Error::NvList(_) => Kind::Attributes,
        Error::Encrypted(_) | Error::Locked(_) => Kind::NotChecked,
        _ => Kind::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::findings::Findings;

    #[test]
    fn what_one_job_finds_beyond_what_a_report_lists_is_counted() {
        let mut batch = Batch::new(1, "a");
        for _ in 0..MOST_FINDINGS + 3 {
            batch.finding(Kind::Zap, None, "?");
        }
        let mut all = Findings::default();
        batch.findings.into_iter().for_each(|(place, finding)| all.add(place, finding));
        batch.omitted.into_iter().for_each(|(kind, count)| all.count(kind, count));
        let report = all.report();
        assert_eq!((report.findings.len(), report.omitted), (MOST_FINDINGS, 3));
    }
}
