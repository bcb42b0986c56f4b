//! Properties that nobody sets: sizes, counts, names, and what was fixed when the
//! dataset was made.

use std::collections::{BTreeMap, HashSet};

use zfs_ondisk::bpobj::{self, DeadlistHeader};
use zfs_ondisk::crypt::{self, entry};
use zfs_ondisk::dsl::{self, DATASET_FLAG_DEFER_DESTROY, DIR_FLAG_USED_BREAKDOWN, used_by};
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::property::Property;
use zfs_ondisk::zap::Entry;
use zfs_ondisk::znode::master;

use super::token::resume_token;
use super::{Item, ItemType, Properties, Setting, Source, Value};
use crate::capacity::ratio;
use crate::crypt::Access;
use crate::dataset::{Dataset, DatasetKind, entries_of, read_dataset};
use crate::error::Error;
use crate::fs::volume;
use crate::object::Object;

/// Bytes of the bonus buffer of a redaction list before its snapshots.
const REDACTION_HEADER: usize = 32;

fn fact(value: Value) -> Option<Setting> {
    Some(Setting { value, source: Source::Fact })
}

impl Properties {
    pub(super) fn computed(&self, dataset: &Dataset, kind: ItemType, name: &str) -> Result<Option<Setting>, Error> {
        let (dir, record) = (&dataset.dir, &dataset.dataset);
        let is_snapshot = dataset.kind == DatasetKind::Snapshot;
        let used = |part: usize| {
            let is_kept = dir.flags & DIR_FLAG_USED_BREAKDOWN != 0;
            is_kept.then(|| Value::Bytes(dir.used_breakdown.get(part).copied().unwrap_or(0)))
        };
        let value = match name {
            "type" => Value::Text(kind.to_string()),
            "name" => Value::Text(dataset.name.clone()),
            "creation" => Value::Time(record.creation_time),
            "createtxg" => Value::Id(record.creation_txg),
            "guid" => Value::Id(record.guid),
            "objsetid" => Value::Id(dataset.object.0),
            "used" => Value::Bytes(if is_snapshot { record.unique_bytes } else { dir.used_bytes }),
            "referenced" => Value::Bytes(record.referenced_bytes),
            "available" => Value::Bytes(self.available(dataset)?),
            "compressratio" if !is_snapshot => Value::Ratio(ratio(dir.uncompressed_bytes, dir.compressed_bytes)),
            "compressratio" | "refcompressratio" => {
                Value::Ratio(ratio(record.uncompressed_bytes, record.compressed_bytes))
            }
            "logicalused" => Value::Size(dir.uncompressed_bytes),
            "logicalreferenced" => Value::Size(record.uncompressed_bytes),
            "usedbydataset" => return Ok(used(used_by::HEAD).and_then(fact)),
            "usedbysnapshots" => return Ok(used(used_by::SNAPSHOTS).and_then(fact)),
            "usedbyrefreservation" => return Ok(used(used_by::REFRESERVATION).and_then(fact)),
            "usedbychildren" => {
                let reserved = dir.used_breakdown.get(used_by::CHILD_RESERVATIONS).copied().unwrap_or(0);
                let parts = used(used_by::CHILDREN).map(|children| match children {
                    Value::Bytes(children) => Value::Bytes(children.saturating_add(reserved)),
                    other => other,
                });
                return Ok(parts.and_then(fact));
            }
            // Nothing is mounted from here.
            "mounted" => Value::Text("no".to_owned()),
            "defer_destroy" => {
                let is_set = record.flags & DATASET_FLAG_DEFER_DESTROY != 0;
                Value::Text(if is_set { "on" } else { "off" }.to_owned())
            }
            "userrefs" => Value::Size(self.hold_count(dataset)?),
            "written" => match record.prev_snapshot {
                0 => Value::Absent,
                previous => {
                    let previous = read_dataset(&self.mos, ObjectId(previous))?;
                    Value::Size(self.written(dataset, &previous.creation_txg, previous.referenced_bytes)?)
                }
            },
            "origin" => self.origin(dataset)?.map_or(Value::Absent, Value::Text),
            "clones" => self.clones(dataset)?.map_or(Value::Absent, Value::Text),
            "filesystem_count" => return self.count(dataset, "com.joyent:filesystem_count").map(Some),
            "snapshot_count" => return self.count(dataset, "com.joyent:snapshot_count").map(Some),
            "snapshots_changed" => match self.table_number(dataset, "com.ixsystems:snapshots_changed")? {
                None | Some(0) => Value::Absent,
                Some(seconds) => Value::Time(seconds),
            },
            "encryptionroot" => match self.key_of(dataset)? {
                None => Value::Absent,
                Some(key) => match key.get(entry::ROOT).and_then(Entry::number) {
                    None => Value::Absent,
                    Some(root) => Value::Text(self.pool.directory_name(ObjectId(root))?),
                },
            },
            "keystatus" => match dataset.access()? {
                Access::Plain => Value::Absent,
                Access::Locked(_) => Value::Text("unavailable".to_owned()),
                Access::Open(..) => Value::Text("available".to_owned()),
            },
            "receive_resume_token" => resume_token(&dataset.table()?).map_or(Value::Absent, Value::Text),
            "redact_snaps" => match dataset.table()?.get("com.delphix:redacted_datasets") {
                None => Value::Absent,
                Some(entry) => redacted(&entry.values),
            },
            _ => Value::Absent,
        };
        Ok(fact(value))
    }

    pub(super) fn of_bookmark(&self, bookmark: &dsl::Bookmark, name: &str) -> Result<Option<Setting>, Error> {
        let sized = |value: Value| if bookmark.has_sizes() { value } else { Value::Absent };
        let value = match name {
            "type" => Value::Text(ItemType::Bookmark.to_string()),
            "creation" => Value::Time(bookmark.creation_time),
            "createtxg" => Value::Id(bookmark.creation_txg),
            "guid" => Value::Id(bookmark.guid),
            "referenced" => sized(Value::Bytes(bookmark.referenced_bytes)),
            "logicalreferenced" => sized(Value::Size(bookmark.uncompressed_bytes)),
            "refcompressratio" => sized(Value::Ratio(ratio(bookmark.uncompressed_bytes, bookmark.compressed_bytes))),
            "redact_snaps" if bookmark.redaction != 0 => self.redaction_of(ObjectId(bookmark.redaction))?,
            _ => Value::Absent,
        };
        Ok(fact(value))
    }

    /// Properties of a file system that are in its master node.
    pub(super) fn in_master_node(&self, dataset: &Dataset, property: &Property) -> Result<Option<Setting>, Error> {
        let Some(objects) = dataset.objects()? else { return Ok(None) };
        let number = objects.object(ObjectId(master::OBJECT))?.zap()?.number(property.key())?;
        // The quotas of users who have none of their own: older systems do not know them.
        if number.is_none() && property.name.starts_with("default") {
            return Ok(None);
        }
        let value = match number {
            Some(number) => Some(Value::of(property.kind, number)),
            None => super::default_of(property),
        };
        Ok(value.and_then(fact))
    }

    /// Size and block size of a volume.
    pub(super) fn of_volume(&self, dataset: &Dataset, property: &Property) -> Result<Option<Setting>, Error> {
        let Some(objects) = dataset.objects()? else { return Ok(None) };
        if property.name == "volsize" {
            let size = objects.object(volume::PROPERTIES)?.zap()?.number("size")?;
            return Ok(size.map(|size| Setting { value: Value::Size(size), source: Source::Local }));
        }
        let size = objects.object(volume::DATA)?.dnode().data_block_size() as u64;
        let value = Value::Size(size);
        let is_default = super::default_of(property).is_some_and(|default| default == value);
        Ok(Some(Setting { value, source: if is_default { Source::Default } else { Source::Fact } }))
    }

    /// Properties that are kept with the key of an encrypted dataset.
    pub(super) fn of_key(&self, dataset: &Dataset, property: &Property) -> Result<Option<Setting>, Error> {
        let key = match property.name {
            "encryption" => entry::SUITE,
            name => name,
        };
        let entries = self.key_of(dataset)?;
        let number = entries.as_ref().and_then(|entries| entries.get(key)?.number());
        let default = super::default_of(property);
        let value = number.map(|number| Value::of(property.kind, number));
        let source = if value.is_none() || value == default { Source::Default } else { Source::Fact };
        Ok(value.or(default).map(|value| Setting { value, source }))
    }

    /// Bytes written since a snapshot or, after a `#`, a bookmark of the same dataset.
    pub(super) fn written_since(&self, item: &Item, since: &str) -> Result<Option<Setting>, Error> {
        let Item::Dataset(dataset) = item else { return Ok(None) };
        let head = dataset.name.split('@').next().unwrap_or_default();
        let since = if since.contains(['#', '@', '/']) { since.to_owned() } else { format!("@{since}") };
        let name = if since.starts_with(['@', '#']) { format!("{head}{since}") } else { since };
        let (txg, referenced) = match self.pool.item(&name)? {
            Item::Bookmark { bookmark, .. } if bookmark.has_sizes() => {
                (bookmark.creation_txg, bookmark.referenced_bytes)
            }
            Item::Bookmark { .. } => return Ok(None),
            Item::Dataset(snapshot) => (snapshot.dataset.creation_txg, snapshot.dataset.referenced_bytes),
        };
        if dataset.kind == DatasetKind::Snapshot && txg >= dataset.dataset.creation_txg {
            return Ok(None);
        }
        let value = Value::Size(self.written(dataset, &txg, referenced)?);
        Ok(Some(Setting { value, source: Source::Local }))
    }

    /// Bytes that `dataset` references and that were born after transaction group `txg`,
    /// in which a snapshot of `referenced` bytes was made
    /// (`dsl_dataset_space_written_impl`): what it has, less what the snapshot had, and
    /// what of that was freed since.
    fn written(&self, dataset: &Dataset, txg: &u64, referenced: u64) -> Result<u64, Error> {
        let mut freed = 0u64;
        let mut record = dataset.dataset.clone();
        let mut seen = HashSet::new();
        while record.prev_snapshot_txg > *txg && record.prev_snapshot != 0 && seen.insert(record.prev_snapshot) {
            freed = freed.wrapping_add(self.dead_before(&record, *txg)?);
            record = read_dataset(&self.mos, ObjectId(record.prev_snapshot))?;
        }
        freed = freed.wrapping_add(self.dead_before(&record, u64::MAX)?);
        Ok(dataset.dataset.referenced_bytes.wrapping_sub(referenced).wrapping_add(freed))
    }

    /// Bytes on a dataset's deadlist that were born before the end of `txg`.
    fn dead_before(&self, record: &dsl::Dataset, txg: u64) -> Result<u64, Error> {
        if record.deadlist == 0 {
            return Ok(0);
        }
        let object = self.mos.object(ObjectId(record.deadlist))?;
        if object.dnode().bonus_type != ObjectType::DEADLIST_HDR {
            return list_used(&object);
        }
        if txg == u64::MAX {
            let header = DeadlistHeader::read(&object.bonus()).map_err(Error::truncated("header of a deadlist"));
            return Ok(header.map_err(|error| object.failed(error))?.used);
        }
        // A list for each snapshot before, named by the first txg of its blocks.
        let mut used = 0u64;
        for (name, entry) in entries_of(&self.mos, object.id())? {
            let first = u64::from_str_radix(&name, 16).unwrap_or(u64::MAX);
            if let Some(list) = entry.number().filter(|_| first < txg) {
                used = used.wrapping_add(list_used(&self.mos.object(ObjectId(list))?)?);
            }
        }
        Ok(used)
    }

    /// What a dataset may still take (`dsl_get_available`).
    fn available(&self, dataset: &Dataset) -> Result<u64, Error> {
        let mut available = u64::MAX;
        // From the root of the pool down: each directory may have a quota, and a
        // reservation beyond what its parent gives.
        for dir in self.chain(dataset)?.iter().rev() {
            let record = &dir.record;
            let mut quota = if record.quota == 0 { u64::MAX } else { record.quota };
            if available == u64::MAX {
                quota = quota.min(self.capacity()?.adjusted());
            } else {
                available = available.saturating_add(record.reserved.saturating_sub(record.used_bytes));
            }
            available = quota.saturating_sub(record.used_bytes).min(available);
        }
        let number = |name: &str| -> Result<u64, Error> {
            Ok(match self.find(dataset, name, false)? {
                Some((crate::PropertyValue::Number(number), _)) => number,
                _ => 0,
            })
        };
        let record = &dataset.dataset;
        let available = available.saturating_add(number("refreservation")?.saturating_sub(record.unique_bytes));
        Ok(match number("refquota")? {
            0 => available,
            quota => available.min(quota.saturating_sub(record.referenced_bytes)),
        })
    }

    fn hold_count(&self, dataset: &Dataset) -> Result<u64, Error> {
        match dataset.dataset.user_refs {
            0 => Ok(0),
            object => self.mos.object(ObjectId(object))?.zap()?.count(),
        }
    }

    /// The snapshot that a clone was made of.
    fn origin(&self, dataset: &Dataset) -> Result<Option<String>, Error> {
        if dataset.dir.origin == 0 {
            return Ok(None);
        }
        let name = self.pool.dataset_name(ObjectId(dataset.dir.origin))?;
        // All datasets that are no clones have one hidden origin.
        Ok((!name.contains('$')).then_some(name))
    }

    /// The clones of a snapshot.
    fn clones(&self, dataset: &Dataset) -> Result<Option<String>, Error> {
        let record = &dataset.dataset;
        if record.next_clones == 0 {
            return Ok(None);
        }
        let entries = entries_of(&self.mos, ObjectId(record.next_clones))?;
        // What follows is the clone, or its first snapshot.
        let clone = |id| {
            let dir = read_dataset(&self.mos, ObjectId(id))?.dir;
            self.pool.directory_name(ObjectId(dir))
        };
        let mut names = entries.values().filter_map(Entry::number).map(clone).collect::<Result<Vec<_>, _>>()?;
        names.sort();
        Ok((!names.is_empty()).then(|| names.join(",")))
    }

    fn count(&self, dataset: &Dataset, name: &str) -> Result<Setting, Error> {
        Ok(match self.table_number(dataset, name)? {
            Some(count) => Setting { value: Value::CountOrNone(count), source: Source::Local },
            None => Setting { value: Value::CountOrNone(u64::MAX), source: Source::Default },
        })
    }

    /// The first number that the dataset's directory has under a name.
    fn table_number(&self, dataset: &Dataset, name: &str) -> Result<Option<u64>, Error> {
        let table = self.table_of(&*self.dir(dataset.dir_object)?)?;
        Ok(table.get(name).and_then(|entry| entry.values.first().copied()))
    }

    /// What is kept with the key of an encrypted dataset.
    fn key_of(&self, dataset: &Dataset) -> Result<Option<BTreeMap<String, Entry>>, Error> {
        match self.table_number(dataset, crypt::KEY_OBJECT)? {
            None => Ok(None),
            Some(object) => entries_of(&self.mos, ObjectId(object)).map(Some),
        }
    }

    /// The snapshots that a redaction list is about.
    fn redaction_of(&self, list: ObjectId) -> Result<Value, Error> {
        let object = self.mos.object(list)?;
        let spill = object.spill()?;
        let bonus = match &spill {
            Some(spill) => zfs_ondisk::bytes::View::new(spill, object.bonus().order()),
            None => object.bonus(),
        };
        let count = bonus.u64(24).map_err(Error::truncated("redaction list"))?;
        let snapshots =
            (0..count).map_while(|index| bonus.u64(REDACTION_HEADER + usize::try_from(index).ok()? * 8).ok());
        Ok(redacted(&snapshots.collect::<Vec<_>>()))
    }
}

fn redacted(snapshots: &[u64]) -> Value {
    let guids: Vec<String> = snapshots.iter().map(u64::to_string).collect();
    Value::Text(if guids.is_empty() { "none".to_owned() } else { guids.join(",") })
}

fn list_used(object: &Object) -> Result<u64, Error> {
    let header = bpobj::Header::read(&object.bonus()).map_err(Error::truncated("header of a list of blocks"));
    Ok(header.map_err(|error| object.failed(error))?.used)
}
