//! Objects of the MOS, as they are made.

use std::collections::BTreeMap;

use zfs_ondisk::bpobj;
use zfs_ondisk::checksum::{Checksum, Salt};
use zfs_ondisk::compress::Compression;
use zfs_ondisk::dnode::{self, Dnode};
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::property::{Assignment, StoredValue};
use zfs_ondisk::zap::{Params, ZapContents};

use crate::allocator::MAX_COPIES;
use crate::block::{Policies, Policy, Redundancy};
use crate::dnodes::DnodeArray;
use crate::error::Error;
use crate::guids::Seed;
use crate::mos::Assumptions;
use crate::mos::datasets::Written;
use crate::store::Store;
use crate::zap_object;

/// How the object set is stored: compressed like all metadata, in three copies.
pub(super) fn policies(features: FeatureSet) -> Policies {
    let policy = Policy {
        compression: Compression::On.resolve(features.contains(Feature::Lz4Compress)),
        checksum: Checksum::Fletcher4,
        copies: MAX_COPIES,
        cipher: None,
    };
    Policies { data: policy, metadata: policy, redundancy: Redundancy::All }
}

/// Adds a property to a table of properties.
pub(super) fn set_property(table: &mut ZapContents, property: &Assignment) {
    match &property.value {
        StoredValue::Number(number) => table.set(&property.key, *number),
        StoredValue::Text(text) => table.set_text(&property.key, text),
    };
}

/// The objects made so far.
pub(super) struct MosWriter<'s, 'a> {
    store: &'s mut Store<'a>,
    features: FeatureSet,
    policies: Policies,
    seed: Seed,
    dnodes: BTreeMap<ObjectId, Dnode>,
    next: ObjectId,
    /// The list that all deadlists share as long as they are empty, and how
    /// often they do.
    empty_bpobj: Option<(ObjectId, u64)>,
    /// Objects that are tables besides what their type says.
    zapified: u64,
}

impl<'s, 'a> MosWriter<'s, 'a> {
    pub(super) fn new(store: &'s mut Store<'a>, features: FeatureSet, seed: Seed) -> Self {
        Self {
            store,
            features,
            policies: policies(features),
            seed,
            dnodes: BTreeMap::new(),
            next: ObjectId(1),
            empty_bpobj: None,
            zapified: 0,
        }
    }

    /// The number of a new object.
    pub(super) fn allocate(&mut self) -> ObjectId {
        let object = self.next;
        self.next = ObjectId(object.0 + 1);
        object
    }

    /// Makes an object that is a table.
    pub(super) fn table(&mut self, object_type: ObjectType, contents: &ZapContents) -> Result<ObjectId, Error> {
        let object = self.allocate();
        self.put_table(object, object_type, contents)?;
        Ok(object)
    }

    /// Makes an allocated object a table.
    pub(super) fn put_table(
        &mut self,
        object: ObjectId,
        object_type: ObjectType,
        contents: &ZapContents,
    ) -> Result<(), Error> {
        self.put_table_with_bonus(object, object_type, contents, ObjectType::NONE, Vec::new())
    }

    /// Makes an allocated object a table with a bonus buffer.
    pub(super) fn put_table_with_bonus(
        &mut self,
        object: ObjectId,
        object_type: ObjectType,
        contents: &ZapContents,
        bonus_type: ObjectType,
        bonus: Vec<u8>,
    ) -> Result<(), Error> {
        let params = Params::new(self.seed.number(&format!("ZAP {object}")));
        let dnode = zap_object::write(self.store, &self.policies, (object, object_type), contents, params)?;
        self.dnodes.insert(object, Dnode { bonus_type, bonus, ..dnode });
        Ok(())
    }

    /// Makes an allocated object one that has a bonus buffer, and is a table too
    /// if there is something to put into one.
    pub(super) fn put_bonus(
        &mut self,
        object: ObjectId,
        object_type: ObjectType,
        bonus: Vec<u8>,
        contents: &ZapContents,
    ) -> Result<(), Error> {
        if contents.is_empty() {
            let dnode = Dnode { bonus_type: object_type, bonus, ..Dnode::new(object_type, dnode::SLOT_SIZE) };
            self.dnodes.insert(object, dnode);
            return Ok(());
        }
        self.zapified += 1;
        self.put_table_with_bonus(object, ObjectType::OTN_ZAP_METADATA, contents, object_type, bonus)
    }

    /// Makes an object of bytes.
    pub(super) fn data(
        &mut self,
        object_type: ObjectType,
        block_size: usize,
        bytes: &[u8],
        finish: impl FnOnce(&mut Dnode),
    ) -> Result<ObjectId, Error> {
        let object = self.allocate();
        self.put_data(object, object_type, block_size, bytes, finish)?;
        Ok(object)
    }

    /// Makes an allocated object one of bytes.
    pub(super) fn put_data(
        &mut self,
        object: ObjectId,
        object_type: ObjectType,
        block_size: usize,
        bytes: &[u8],
        finish: impl FnOnce(&mut Dnode),
    ) -> Result<(), Error> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(block_size), 0);
        let blocks = padded.chunks_exact(block_size);
        let mut dnode =
            zap_object::write_blocks(self.store, &self.policies, (object, object_type), block_size, blocks)?;
        finish(&mut dnode);
        self.dnodes.insert(object, dnode);
        Ok(())
    }

    /// Makes an empty list of block pointers.
    pub(super) fn bpobj(&mut self, block_size: usize) -> Result<ObjectId, Error> {
        self.data(ObjectType::BPOBJ, block_size, &[], |dnode| {
            dnode.bonus_type = ObjectType::BPOBJ_HDR;
            dnode.bonus = vec![0; bpobj::SIZE_V2];
        })
    }

    /// An empty list for a deadlist: the shared one where the pool has that.
    pub(super) fn empty_bpobj(&mut self) -> Result<ObjectId, Error> {
        if !self.features.contains(Feature::EmptyBpobj) {
            return self.bpobj(bpobj::BLOCK_SIZE);
        }
        let (object, users) = match self.empty_bpobj {
            Some(shared) => shared,
            None => (self.bpobj(bpobj::BLOCK_SIZE)?, 0),
        };
        self.empty_bpobj = Some((object, users + 1));
        Ok(object)
    }

    /// The shared empty list, if it is used.
    pub(super) fn shared_empty_bpobj(&self) -> Option<ObjectId> {
        self.empty_bpobj.map(|(object, _)| object)
    }

    /// The key of salted checksums.
    pub(super) fn salt(&self) -> Salt {
        self.store.format().salt
    }

    /// How often each enabled feature is in use.
    pub(super) fn feature_counts(&self, datasets: &Written, assumptions: &Assumptions) -> Vec<(Feature, u64)> {
        let enabled = self.features.len() as u64;
        let space_maps = assumptions.metaslabs.iter().filter(|&&used| used > 0).count() as u64;
        let count = |feature: Feature| match feature {
            Feature::ExtensibleDataset => self.zapified,
            Feature::EmptyBpobj => self.empty_bpobj.map_or(0, |(_, users)| users),
            Feature::SpacemapHistogram => space_maps,
            Feature::EnabledTxg => enabled,
            Feature::FilesystemLimits => datasets.limits.into(),
            feature if feature.per_dataset() => datasets.users_of(feature),
            feature => feature.active_when_enabled().into(),
        };
        self.features.iter().map(|feature| (feature, count(feature))).collect()
    }

    /// Writes the array of dnodes: its own dnode.
    pub(super) fn finish(self) -> Result<Dnode, Error> {
        let mut array = DnodeArray::new(self.policies);
        for (object, dnode) in &self.dnodes {
            array.put(self.store, *object, dnode)?;
        }
        array.finish(self.store)
    }
}
