//! What one job found.

use std::collections::BTreeMap;
use std::sync::Arc;

use zfs_ondisk::object::ObjectId;

use super::claims::Claim;
use super::files::{FileRecord, NameRecord};
use super::findings::{BlockPlace, CopyPlace, Finding, Kind, Place};
use super::tree::Totals;
use crate::error::Error;

/// Bytes and objects by owner, of users, groups and projects.
pub(super) type Spent = [BTreeMap<u64, (u64, u64)>; 3];

/// What one job found: collected without locks, merged at once.
pub(super) struct Batch {
    name: Arc<str>,
    place: Place,
    pub(super) findings: Vec<(Place, Finding)>,
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
            place: Place { set, object: u64::MAX, ..Place::default() },
            findings: Vec::new(),
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

    /// From now on, it is about an object, from the block `part` on.
    pub(super) fn at(&mut self, object: ObjectId, part: u64) {
        self.place = Place { object: object.0, part, number: 0, ..self.place };
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
