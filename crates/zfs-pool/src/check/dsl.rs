//! Datasets: what their records say about space and about each other.

use std::collections::{HashMap, HashSet};

use zfs_ondisk::bpobj::DeadlistHeader;
use zfs_ondisk::object::{ObjectId, ObjectType};

use super::claims::{for_each_in_list, list_header};
use super::features::Recorded;
use super::tree::{NO_OBJECT, Shared, Space, Totals};
use super::{Checker, Kind};
use crate::dataset::{Dataset, DatasetKind, read_dir};
use crate::error::Error;
use crate::object::ObjectSet;
use crate::pool::MOS;

/// Indices of the parts of the space used by a directory (`dd_used_t`).
const HEAD: usize = 0;
const CHILD: usize = 2;
/// The transaction group in which pools are made, with the empty snapshot that
/// all datasets follow.
const FIRST_TXG: u64 = 4;

impl Checker<'_> {
    /// Examines all datasets and their records.
    pub(super) fn datasets(&mut self, mos: &ObjectSet, datasets: &[Dataset]) {
        let objects: HashMap<ObjectId, &Dataset> = datasets.iter().map(|dataset| (dataset.object, dataset)).collect();
        let mut lists = HashSet::new();
        let mut guids = HashMap::new();
        let mut features = Recorded::default();
        for dataset in datasets {
            let totals = self.dataset_contents(dataset, &objects);
            self.dataset_features(mos, dataset, totals.features, &mut features);
            self.dataset_record(dataset, &objects);
            if let Some(other) = guids.insert(dataset.dataset.guid, &dataset.name) {
                self.dataset_finding(dataset, Kind::Dataset, format!("its GUID is that of {other}, too"));
            }
            if dataset.kind == DatasetKind::Head {
                self.directory_record(mos, dataset);
            }
            if dataset.dataset.deadlist != 0 && lists.insert(dataset.dataset.deadlist) {
                let id = ObjectId(dataset.dataset.deadlist);
                if let Err(error) = self.deadlist(mos, id) {
                    self.failed(MOS, Some(id), &error);
                }
            }
        }
        self.feature_counts(&features);
    }

    fn dataset_finding(&mut self, dataset: &Dataset, kind: Kind, message: String) {
        self.finding(kind, &dataset.name, None, message);
    }

    fn dataset_contents(&mut self, dataset: &Dataset, objects: &HashMap<ObjectId, &Dataset>) -> Totals {
        let record = &dataset.dataset;
        let origin = objects.get(&ObjectId(dataset.dir.origin));
        let shared = Shared {
            snapshot_txg: record.prev_snapshot_txg,
            origin_txg: origin.map_or(0, |origin| origin.dataset.creation_txg),
        };
        let totals = match dataset.objects() {
            Ok(Some(set)) => self.object_set(&set, shared),
            Ok(None) => Totals::default(),
            Err(error) => {
                self.failed(&dataset.name, Some(NO_OBJECT), &error);
                return Totals::default();
            }
        };
        let recorded = Space {
            used: record.referenced_bytes,
            compressed: record.compressed_bytes,
            uncompressed: record.uncompressed_bytes,
        };
        if totals.all != recorded {
            let message = format!("its blocks take {:?}, its record says {recorded:?}", totals.all);
            self.dataset_finding(dataset, Kind::Accounting, message);
        }
        if dataset.kind == DatasetKind::Snapshot {
            return totals;
        }
        let head = dataset.dir.used_breakdown[HEAD];
        let pairs = [("unique", totals.unique, record.unique_bytes), ("its directory's", totals.own, head)];
        for (what, found, recorded) in pairs {
            if found != recorded {
                let message = format!("{found} bytes are {what}, its record says {recorded}");
                self.dataset_finding(dataset, Kind::Accounting, message);
            }
        }
        totals
    }

    fn dataset_record(&mut self, dataset: &Dataset, objects: &HashMap<ObjectId, &Dataset>) {
        let record = &dataset.dataset;
        if record.dir != dataset.dir_object.0 {
            let message = format!("its directory is {}, expected {}", record.dir, dataset.dir_object);
            self.dataset_finding(dataset, Kind::Dataset, message);
        }
        if record.unique_bytes > record.referenced_bytes {
            let message = format!("{} bytes are unique of {}", record.unique_bytes, record.referenced_bytes);
            self.dataset_finding(dataset, Kind::Accounting, message);
        }
        if record.prev_snapshot == 0 {
            return;
        }
        let Some(previous) = objects.get(&ObjectId(record.prev_snapshot)) else {
            let message = format!("its previous snapshot, object {}, is none", record.prev_snapshot);
            return self.dataset_finding(dataset, Kind::Dataset, message);
        };
        if previous.dataset.creation_txg != record.prev_snapshot_txg {
            let message = format!(
                "its previous snapshot is of txg {}, expected {}",
                record.prev_snapshot_txg, previous.dataset.creation_txg
            );
            self.dataset_finding(dataset, Kind::Dataset, message);
        }
        let is_clone = previous.dataset.dir != record.dir;
        if !is_clone && previous.dataset.next_snapshot != dataset.object.0 {
            let message = format!("{} is followed by object {}", previous.name, previous.dataset.next_snapshot);
            self.dataset_finding(dataset, Kind::Dataset, message);
        }
    }

    fn directory_record(&mut self, mos: &ObjectSet, dataset: &Dataset) {
        let dir = &dataset.dir;
        let sum = dir.used_breakdown.iter().copied().fold(0, u64::wrapping_add);
        if dir.flags & zfs_ondisk::dsl::DIR_FLAG_USED_BREAKDOWN != 0 && sum != dir.used_bytes {
            let message = format!("{} bytes are used, the parts sum up to {sum}", dir.used_bytes);
            self.dataset_finding(dataset, Kind::Accounting, message);
        }
        let children = match self.children(mos, dataset) {
            Ok(children) => children,
            Err(error) => return self.failed(&dataset.name, None, &error),
        };
        if children.used != dir.used_breakdown[CHILD] {
            let message = format!(
                "the directory says that its children use {} bytes, they say {}",
                dir.used_breakdown[CHILD], children.used
            );
            self.dataset_finding(dataset, Kind::Accounting, message);
        }
        // Snapshots keep what the head no longer has.
        if dataset.dataset.prev_snapshot_txg > FIRST_TXG {
            return;
        }
        let record = &dataset.dataset;
        let recorded = (dir.compressed_bytes, dir.uncompressed_bytes);
        let sum = (
            record.compressed_bytes.wrapping_add(children.compressed),
            record.uncompressed_bytes.wrapping_add(children.uncompressed),
        );
        if recorded != sum {
            let message =
                format!("the directory holds {recorded:?} bytes (compressed, uncompressed), head and children {sum:?}");
            self.dataset_finding(dataset, Kind::Accounting, message);
        }
    }

    /// What the directories of the children say that they hold.
    fn children(&self, mos: &ObjectSet, dataset: &Dataset) -> Result<Space, Error> {
        let mut children = Space::default();
        if dataset.dir.child_map == 0 {
            return Ok(children);
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
        }
        Ok(children)
    }

    /// Compares the totals of a deadlist with those of its lists, and theirs with
    /// their blocks.
    fn deadlist(&mut self, mos: &ObjectSet, id: ObjectId) -> Result<(), Error> {
        let object = mos.object(id)?;
        // Before pools had deadlists of several lists, one list was all.
        if object.dnode().bonus_type != ObjectType::DEADLIST_HDR {
            return self.list(mos, id);
        }
        let header = DeadlistHeader::read(&object.bonus()).map_err(Error::truncated("header of a deadlist"))?;
        let recorded = Space { used: header.used, compressed: header.compressed, uncompressed: header.uncompressed };
        let mut sum = Space::default();
        for entry in object.zap()?.iter() {
            let list = ObjectId(entry?.number().unwrap_or(0));
            self.list(mos, list)?;
            let header = list_header(mos, list)?;
            sum.add(Space { used: header.used, compressed: header.compressed, uncompressed: header.uncompressed });
        }
        if sum != recorded {
            let message = format!("the deadlist says {recorded:?}, its lists {sum:?}");
            self.finding(Kind::Accounting, MOS, Some(id), message);
        }
        Ok(())
    }

    fn list(&mut self, mos: &ObjectSet, id: ObjectId) -> Result<(), Error> {
        let mut sum = Space::default();
        for_each_in_list(mos, id, &mut HashSet::new(), &mut |pointer| sum.add(Space::of(self.pool, pointer)))?;
        let header = list_header(mos, id)?;
        let recorded = Space { used: header.used, compressed: header.compressed, uncompressed: header.uncompressed };
        if sum != recorded {
            let message = format!("the list of blocks says {recorded:?}, its blocks take {sum:?}");
            self.finding(Kind::Accounting, MOS, Some(id), message);
        }
        Ok(())
    }
}
