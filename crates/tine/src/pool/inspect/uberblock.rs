//! `tine pool inspect uberblock`: the ring of uberblocks of each device.

use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::checksum::embedded::{self, Verifier};
use zfs_ondisk::label;
use zfs_ondisk::uberblock::{self, Mmp, Uberblock};
use zfs_pool::Device;

use super::dump::{Dump, left, right};
use super::pointer;
use super::shown::Shown;

/// A slot of a ring that is not empty.
struct Slot {
    number: usize,
    /// The labels in which it is the same.
    labels: Vec<u64>,
    offset: u64,
    found: Result<(Uberblock, ByteOrder, Option<Mmp>), String>,
    /// Whether its checksum is right.
    sealed: Result<(), String>,
}

impl Slot {
    fn is_valid(&self) -> bool {
        self.found.is_ok() && self.sealed.is_ok()
    }

    /// Whether it is what the pool is opened at: valid, and of the highest transaction group and time.
    fn is_active(&self, active: Option<(u64, u64)>) -> bool {
        let time = self.found.as_ref().ok().map(|(uberblock, ..)| (uberblock.txg, uberblock.timestamp));
        self.is_valid() && time == active
    }

    fn label_numbers(&self) -> String {
        self.labels.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Dumps the ring of a device. `shift` is the binary logarithm of the vdev's sectors; `all` shows every field.
pub(crate) fn dump(dump: &mut Dump, device: &Device, shift: u64, all: bool) {
    dump.field("device", device.name());
    let size = label::uberblock_size(shift.min(64) as u32);
    dump.field("slot size", Shown::size(size as u64));
    let mut slots: Vec<Slot> = Vec::new();
    for index in 0..label::COUNT {
        let offset = label::offset(index, device.size()) + label::RING_OFFSET as u64;
        let mut ring = vec![0; label::RING_SIZE];
        if let Err(error) = device.read_exact_at(&mut ring, offset) {
            dump.fault(&format!("ring of label {index}"), error);
            continue;
        }
        for (number, bytes) in ring.chunks_exact(size).enumerate() {
            add(&mut slots, read(bytes, offset + (number * size) as u64, number), index);
        }
    }
    slots.sort_by_key(|slot| (slot.number, slot.labels.first().copied()));
    let active = slots
        .iter()
        .filter(|slot| slot.is_valid())
        .filter_map(|slot| slot.found.as_ref().ok())
        .map(|(uberblock, ..)| (uberblock.txg, uberblock.timestamp))
        .max();
    dump.field("active txg", active.map_or(Shown::none(), |(txg, _)| txg.into()));
    if dump.is_json() || all {
        return dump.list("uberblocks", |dump| {
            for slot in &slots {
                dump.item(format_args!("slot {}", slot.number), |dump| one(dump, slot, active, all));
            }
        });
    }
    table(dump, &slots, active);
    for slot in slots.iter().filter(|slot| slot.is_active(active)) {
        dump.item(format_args!("active: slot {}", slot.number), |dump| one(dump, slot, active, true));
    }
}

fn table(dump: &mut Dump, slots: &[Slot], active: Option<(u64, u64)>) {
    let columns =
        [right("slot", 4), right("txg", 10), left("time", 23), left("labels", 7), left("", 7), left("root", 0)];
    dump.table("uberblocks", &columns, |table| {
        for slot in slots {
            let (txg, time, root) = match &slot.found {
                Ok((uberblock, ..)) => {
                    let root: Vec<String> = uberblock.root.dvas().map(|dva| pointer::dva(&dva)).collect();
                    (uberblock.txg.into(), Shown::time(uberblock.timestamp).note(""), Shown::from(root.join(" ")))
                }
                Err(fault) => (Shown::none(), Shown::none(), Shown::from(fault.as_str())),
            };
            let state = match slot.is_valid() {
                false => "invalid",
                true if slot.is_active(active) => "active",
                true => "valid",
            };
            table.row([(slot.number as u64).into(), txg, time, slot.label_numbers().into(), state.into(), root]);
            if let Err(fault) = &slot.sealed {
                table.fault(format_args!("slot {}: {fault}", slot.number));
            }
        }
    });
}

fn read(bytes: &[u8], offset: u64, number: usize) -> Option<Slot> {
    if bytes.iter().all(|&byte| byte == 0) {
        return None;
    }
    let found = Uberblock::read(bytes)
        .map(|(uberblock, order)| (uberblock, order, Mmp::read(&View::new(bytes, order)).ok().flatten()));
    // A slot that was sealed but never written has no uberblock and is not damaged.
    if matches!(found, Err(uberblock::Error::Magic(0))) {
        return None;
    }
    let sealed = embedded::verify(bytes, &Verifier::Label { offset });
    Some(Slot {
        number,
        labels: Vec::new(),
        offset,
        found: found.map_err(|error| error.to_string()),
        sealed: sealed.map(|_| ()).map_err(|error| error.to_string()),
    })
}

/// Adds a slot of label `index` to those found, or counts it with its copy in another label.
fn add(slots: &mut Vec<Slot>, slot: Option<Slot>, index: u64) {
    let Some(mut slot) = slot else { return };
    let same = slots.iter_mut().find(|other| {
        other.number == slot.number && other.found == slot.found && other.sealed.is_ok() && slot.sealed.is_ok()
    });
    match same {
        Some(other) => other.labels.push(index),
        None => {
            slot.labels.push(index);
            slots.push(slot);
        }
    }
}

fn one(dump: &mut Dump, slot: &Slot, active: Option<(u64, u64)>, all: bool) {
    if dump.is_json() {
        dump.field("slot", slot.number as u64);
    }
    dump.field("labels", Shown::new(slot.label_numbers(), slot.labels.clone()));
    dump.field("offset", Shown::offset(slot.offset).note("in the first of these labels"));
    dump.field("valid", slot.is_valid());
    if let Err(fault) = &slot.sealed {
        dump.fault("fault", fault);
    }
    let (uberblock, order, mmp) = match &slot.found {
        Ok(found) => found,
        Err(fault) => return dump.fault("contents", fault),
    };
    dump.field("active", slot.is_active(active));
    dump.field("txg", uberblock.txg);
    dump.field("timestamp", Shown::time(uberblock.timestamp));
    dump.field("version", uberblock.version);
    dump.field("software version", uberblock.software_version);
    dump.field("guid sum", Shown::guid(uberblock.guid_sum));
    dump.field("byte order", if *order == ByteOrder::Little { "little endian" } else { "big endian" });
    if all {
        pointer::dump(dump, "root", &uberblock.root);
    } else {
        dump.field("root", pointer::shown(&uberblock.root));
    }
    match mmp {
        None => dump.field("multihost", Shown::new("unknown to its writer", serde_json::Value::Null)),
        Some(mmp) if *mmp == Mmp::default() => dump.field("multihost", Shown::new("off", false)),
        Some(mmp) => dump.section("multihost", |dump| {
            let or_none = |value: Option<u64>| value.map_or(Shown::none(), Shown::from);
            dump.field("delay", Shown::from(mmp.delay).note("ns since the last write for it"));
            dump.field("interval", or_none(mmp.interval.map(u64::from)).note("ms"));
            dump.field("sequence", or_none(mmp.sequence.map(u64::from)));
            dump.field("fail intervals", or_none(mmp.fail_intervals.map(u64::from)));
        }),
    }
    let checkpoint = Shown::from(uberblock.checkpoint_txg);
    let is_checkpoint = uberblock.checkpoint_txg != 0;
    dump.field("checkpoint txg", if is_checkpoint { checkpoint } else { checkpoint.note("it is no checkpoint") });
    let reflow = uberblock.raidz_reflow();
    dump.section("raidz reflow", |dump| {
        dump.field("state", u64::from(reflow.state));
        dump.field("offset", Shown::offset(reflow.offset));
    });
}
