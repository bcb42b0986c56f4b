//! Indirect vdevs: what is left of a vdev that was removed is a mapping of its
//! space to that of others (`vdev_indirect_mapping.c`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use zfs_ondisk::blkptr::Dva;
use zfs_ondisk::bytes::View;
use zfs_ondisk::indirect::{ENTRY_SIZE, Entry, Header};
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectId;

use super::{Vdev, VdevKind};
use crate::block::order_of;
use crate::error::Error;
use crate::object::ObjectSet;

/// A vdev that was removed.
#[derive(Clone, Debug)]
pub struct Indirect {
    /// Object of the MOS with the mapping.
    object: ObjectId,
    /// The vdev removed before this one.
    previous: Option<u64>,
    /// The mapping, when it was read, or why it cannot be.
    mapping: Arc<OnceLock<Result<Vec<Entry>, String>>>,
}

impl Indirect {
    pub(super) fn build(config: &NvList) -> Result<Self, Error> {
        let previous = config.contains("com.delphix:prev_indirect_vdev");
        Ok(Self {
            object: ObjectId(config.u64("com.delphix:indirect_object")?),
            previous: previous.then(|| config.u64("com.delphix:prev_indirect_vdev")).transpose()?,
            mapping: Arc::default(),
        })
    }

    /// The vdev with this configuration, of which a part at least was moved, with its mapping.
    pub(crate) fn of(config: &NvList, mos: &ObjectSet) -> Result<Self, Error> {
        let vdev = Self::build(config)?;
        let entries = vdev.load(mos)?;
        vdev.mapping.get_or_init(|| Ok(entries));
        Ok(vdev)
    }

    /// The object of the MOS with the mapping.
    pub(crate) fn object(&self) -> ObjectId {
        self.object
    }

    /// The mapping, in the order of its sources; nothing if it cannot be read.
    pub(crate) fn entries(&self) -> &[Entry] {
        match self.mapping.get() {
            Some(Ok(entries)) => entries,
            _ => &[],
        }
    }

    /// The places on other vdevs that a part of this vdev was moved to, in order.
    pub(crate) fn resolve(&self, offset: u64, size: usize) -> Result<Vec<Dva>, String> {
        let entries = match self.mapping.get() {
            Some(Ok(entries)) => entries,
            Some(Err(reason)) => return Err(format!("the mapping of the removed vdev cannot be read: {reason}")),
            None => return Err("the mapping of the removed vdev is not known yet".into()),
        };
        let (mut at, mut left) = (offset, size as u64);
        let mut parts = Vec::new();
        let first = entries.partition_point(|entry| entry.source.saturating_add(entry.target.asize) <= offset);
        for entry in entries.get(first..).unwrap_or_default() {
            if left == 0 {
                break;
            }
            // Behind the end of the last one, the next one begins.
            let Some(within) = at.checked_sub(entry.source) else { break };
            let length = (entry.target.asize - within).min(left);
            let target = entry.target.offset.saturating_add(within);
            parts.push(Dva { offset: target, asize: length, ..entry.target });
            at = at.saturating_add(length);
            left -= length;
        }
        if left > 0 {
            return Err(format!("the removed vdev has nothing at {at:#x}"));
        }
        Ok(parts)
    }

    fn load(&self, mos: &ObjectSet) -> Result<Vec<Entry>, Error> {
        let object = mos.object(self.object)?;
        let header = Header::read(&object.bonus()).map_err(Error::truncated("header of a mapping of a removed vdev"));
        let count = header.map_err(|error| object.failed(error))?.entries;
        let malformed = |found: String| {
            let what = "mapping of a removed vdev";
            object.failed(Error::Malformed { what, found, expected: "entries in order, as many as its header says" })
        };
        let mut entries: Vec<Entry> = Vec::new();
        // Entries can lie across blocks.
        let mut carried = Vec::new();
        for (number, found) in (0..).zip(object.blocks()) {
            let (block, pointer) = found?;
            if block != number || entries.len() as u64 == count {
                break;
            }
            carried.extend_from_slice(&object.read_block(block)?);
            let whole = carried.len() / ENTRY_SIZE * ENTRY_SIZE;
            let view = View::new(carried.get(..whole).unwrap_or_default(), order_of(&pointer));
            for index in 0..whole / ENTRY_SIZE {
                if entries.len() as u64 == count {
                    break;
                }
                let entry =
                    Entry::read(&view, index * ENTRY_SIZE).map_err(Error::truncated("mapping of a removed vdev"))?;
                let end = entries.last().map_or(0, |last| last.source.saturating_add(last.target.asize));
                if entry.source < end || entry.target.is_empty() {
                    return Err(malformed(format!("{entry:x?} after {end:#x}")));
                }
                entries.push(entry);
            }
            carried.drain(..whole);
        }
        if entries.len() as u64 != count {
            return Err(malformed(format!("{} of {count} entries", entries.len())));
        }
        Ok(entries)
    }
}

/// Reads the mappings of all removed vdevs.
///
/// That of the vdev removed last is on vdevs that are still there; those before may
/// themselves be on vdevs that were removed later.
pub(crate) fn load_mappings(vdevs: &BTreeMap<u32, Vdev>, mos: &ObjectSet) {
    let indirect = |vdev: &u64| match &vdevs.get(&u32::try_from(*vdev).ok()?)?.kind {
        VdevKind::Indirect(indirect) => Some(indirect),
        _ => None,
    };
    let all: Vec<u64> = vdevs.keys().map(|&id| id.into()).filter(|id| indirect(id).is_some()).collect();
    let previous: Vec<u64> = all.iter().filter_map(|id| indirect(id)?.previous).collect();
    let mut next = all.iter().copied().find(|id| !previous.contains(id));
    let mut order = Vec::new();
    while let Some(id) = next.filter(|_| order.len() < all.len()) {
        order.push(id);
        next = indirect(&id).and_then(|indirect| indirect.previous);
    }
    // Those that the chain does not lead to have their turn, too.
    for vdev in order.iter().chain(&all).filter_map(indirect) {
        vdev.mapping.get_or_init(|| vdev.load(mos).map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use zfs_ondisk::label;

    use super::*;
    use crate::device::Device;
    use crate::vdev::map;

    fn top(id: u64, kind: VdevKind) -> Vdev {
        let (ashift, asize) = (9, 1 << 20);
        Vdev { id, guid: id, kind, ashift, asize, metaslab_array: 0, metaslab_shift: 0, top_zap: 0, is_log: false }
    }

    fn removed(id: u64, entries: &[(u64, u32, u64, u64)]) -> Vdev {
        let entry = |&(source, vdev, offset, asize): &(u64, u32, u64, u64)| Entry {
            source,
            target: Dva { vdev, offset, asize, gang: false },
        };
        let mapping = Arc::new(OnceLock::from(Ok(entries.iter().map(entry).collect())));
        top(id, VdevKind::Indirect(Indirect { object: ObjectId(1), previous: None, mapping }))
    }

    fn disk(guid: u64, contents: &[u8]) -> Vdev {
        let mut bytes = vec![0; label::START_SIZE as usize];
        bytes.extend_from_slice(contents);
        let device = Some(Device::new(format!("disk {guid}"), bytes));
        top(guid, VdevKind::Leaf { path: String::new(), device, is_stale: false })
    }

    #[test]
    fn a_block_whose_parts_are_damaged_on_different_sides_is_put_together() {
        let half = |byte| [byte; 512];
        let left = disk(10, &[half(b'a'), half(b'x'), half(b'w')].concat());
        let right = disk(11, &[half(b'y'), half(b'x'), half(b'b')].concat());
        let other = disk(12, &[half(b'z'), half(b'c')].concat());
        // Removed, and what it was moved to was removed later, too.
        let vdevs = BTreeMap::from([
            (0, removed(0, &[(0x1000, 1, 0x2000, 1024), (0x1400, 3, 512, 512)])),
            (1, removed(1, &[(0x2000, 2, 0, 512), (0x2200, 2, 1024, 512)])),
            (2, top(2, VdevKind::Mirror(vec![right, left]))),
            (3, other),
        ]);
        let expected = [half(b'a'), half(b'b'), half(b'c')].concat();
        let map = map(&vdevs, 0, 0x1000, 1536, 1).unwrap();
        let mut block = Vec::new();
        map.read(&mut block).unwrap();
        assert_ne!(block, expected);
        let mut check = |block: &[u8]| if block == expected { Ok(()) } else { Err("another".into()) };
        map.search(&mut block, &mut check).unwrap();
        let faults = map.compare(&expected, false);
        let places = faults.into_iter().filter_map(|fault| fault.place).map(|place| (place.guid, place.offset));
        let start = label::START_SIZE;
        assert_eq!(places.collect::<Vec<_>>(), [(11, start), (10, start + 1024)]);
    }

    #[test]
    fn what_was_not_moved_is_nowhere() {
        let vdevs = BTreeMap::from([(0, removed(0, &[(0x1000, 1, 0, 512), (0x2000, 1, 512, 512)])), (1, disk(1, &[]))]);
        for (offset, size) in [(0, 512), (0x1000, 1024), (0x1200, 512), (0x2200, 512), (0x1fff, 2)] {
            let error = map(&vdevs, 0, offset, size, 1).unwrap_err();
            assert!(error.starts_with("the removed vdev has nothing at 0x"), "{error}");
        }
    }

    #[test]
    fn vdevs_that_were_moved_to_one_another_come_to_an_end() {
        let vdevs = BTreeMap::from([(0, removed(0, &[(0, 1, 0, 512)])), (1, removed(1, &[(0, 0, 0, 512)]))]);
        assert_eq!(map(&vdevs, 0, 0, 512, 1).unwrap_err(), "removed vdevs lead to one another");
    }
}
