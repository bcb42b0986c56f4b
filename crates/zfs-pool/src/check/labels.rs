//! Labels: what is on the devices besides the pool's space.

use zfs_ondisk::label;

use super::findings::{Finding, Kind, Place};
use super::{Checker, LABELS, lock};
use crate::label::Labels;
use crate::vdev::{Vdev, VdevKind};

/// Top-level vdevs that get the uberblock of each state at least (`SPA_SYNC_MIN_VDEVS`, `sys/spa_impl.h`).
const SYNC_VDEVS: usize = 3;

impl Checker<'_> {
    pub(super) fn labels(&self) {
        let mut faults = Vec::new();
        // Others were given, too: removed from the pool, or detached.
        let is_member = |labels: &&Labels| {
            labels.config.u64("guid").is_ok_and(|guid| super::leaves(self.pool).any(|(_, leaf)| leaf.guid == guid))
        };
        for labels in self.pool.labels().iter().filter(is_member) {
            let name = labels.device.name();
            for (index, fault) in labels.faults.iter().enumerate() {
                if let Some(fault) = fault {
                    faults.push(format!("label {index} of {name}: {fault}"));
                }
            }
            self.uberblocks(labels, &mut faults);
            self.configuration(labels, &mut faults);
        }
        for vdev in self.pool.vdevs() {
            let needed = vdev.device_size();
            for device in vdev.leaves().into_iter().filter_map(Vdev::device) {
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
        let mut findings = lock(&self.findings);
        for (number, message) in (0..).zip(faults) {
            findings.add(Place { set: LABELS, object: 1, number, part: 0 }, Finding::new(Kind::Label, message));
        }
    }

    /// Whether each state of the pool is written to this device: not to those of logs, and of many vdevs to some.
    fn has_every_uberblock(&self, labels: &Labels) -> bool {
        let is_log = labels.config.list("vdev_tree").is_ok_and(|tree| tree.u64("is_log").unwrap_or(0) != 0);
        !is_log && self.pool.vdevs().count() <= SYNC_VDEVS
    }

    /// Every sound label has the uberblock that the pool was opened at, unless it was overwritten since.
    fn uberblocks(&self, labels: &Labels, faults: &mut Vec<String>) {
        let name = labels.device.name();
        let txg = self.pool.uberblock().txg;
        let newest = labels.uberblocks.iter().map(|found| found.uberblock.txg).max();
        // An older state was asked for; or the device was away, which is told once.
        if newest != Some(txg) {
            let is_away = labels.config.u64("guid").is_ok_and(|guid| self.away.contains_key(&guid));
            if !is_away && self.has_every_uberblock(labels) && newest.is_none_or(|newest| newest < txg) {
                let newest = newest.map_or("none".into(), |newest| format!("one of txg {newest}"));
                faults.push(format!("the newest uberblock of {name} is {newest}, the pool is at txg {txg}"));
            }
            return;
        }
        for index in 0..label::COUNT {
            let is_sound = labels.faults.get(index as usize).is_some_and(Option::is_none);
            let mut own = labels.uberblocks.iter().filter(|found| found.label == index);
            if is_sound && !own.any(|found| found.uberblock.txg == txg) {
                faults.push(format!("label {index} of {name} has no uberblock of txg {txg}, other labels have"));
            }
        }
    }

    /// What the labels say of the pool and of the device must be what the MOS says.
    fn configuration(&self, labels: &Labels, faults: &mut Vec<String>) {
        let name = labels.device.name();
        let config = &labels.config;
        if let (Ok(top), Ok(tree)) = (config.u64("top_guid"), config.list("vdev_tree")) {
            let Some(vdev) = self.pool.vdevs().find(|vdev| vdev.guid == top) else {
                faults.push(format!("{name} says that it belongs to vdev {top}, which the pool does not have"));
                return;
            };
            let pairs = [
                ("ashift", vdev.ashift),
                ("metaslab_array", vdev.metaslab_array),
                ("metaslab_shift", vdev.metaslab_shift),
            ];
            for (field, expected) in pairs {
                if let Ok(found) = tree.u64(field)
                    && found != expected
                {
                    faults.push(format!("{name}: the label says that {field} is {found}, the MOS says {expected}"));
                }
            }
        }
    }
}

/// What messages call a device: by the name under which it was given, or the pool knew it.
pub(super) fn name_of(leaf: &Vdev) -> String {
    match &leaf.kind {
        VdevKind::Leaf { device: Some(device), .. } => device.name().to_owned(),
        VdevKind::Leaf { path, .. } if !path.is_empty() => path.clone(),
        _ => format!("device {}", leaf.guid),
    }
}
