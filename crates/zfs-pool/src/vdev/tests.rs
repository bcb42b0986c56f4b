//! Blocks are written where the maps say, and come back from what is left of them.

use std::collections::HashMap;
use std::io;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use zfs_ondisk::raidz::parity;

use super::*;
use crate::device::ReadAt;

/// A device of zeros, but for what was written.
#[derive(Clone, Default)]
struct Sparse(Vec<(u64, Vec<u8>)>);

impl ReadAt for Sparse {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        buf.fill(0);
        for (at, bytes) in &self.0 {
            for (index, &byte) in bytes.iter().enumerate() {
                if let Some(to) = (at + index as u64).checked_sub(offset).and_then(|to| buf.get_mut(to as usize)) {
                    *to = byte;
                }
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        u64::MAX
    }
}

type Devices = HashMap<u64, Sparse>;

fn leaf(guid: u64) -> NvList {
    NvList::new().with("type", "file").with("id", guid).with("guid", guid).with("path", format!("/disk{guid}"))
}

fn top(kind: &str, ashift: u64, children: Vec<NvList>) -> NvList {
    NvList::new()
        .with("type", kind)
        .with("id", 0u64)
        .with("guid", 1000u64)
        .with("ashift", ashift)
        .with("asize", 1u64 << 50)
        .with("metaslab_array", 0u64)
        .with("metaslab_shift", 0u64)
        .with("children", children)
}

fn disks(count: u64) -> Vec<NvList> {
    (0..count).map(leaf).collect()
}

fn build(config: &NvList, devices: &Devices, reflow: RaidzReflow) -> Result<Vdev, Error> {
    let device = |(&guid, storage): (&u64, &Sparse)| (guid, Device::new(format!("disk {guid}"), storage.clone()));
    let members = Members { devices: &devices.iter().map(device).collect(), lacking: &HashSet::new(), reflow };
    Vdev::build(config, members)
}

fn start_of(map: &Map<'_>) -> Vec<(u64, u64)> {
    let columns = map.rows.iter().flat_map(|row| &row.columns);
    columns.flat_map(|column| &column.places).map(|place| (place.leaf.guid, place.offset)).collect()
}

/// What a test writes and reads.
#[derive(Clone, Debug)]
struct Subject {
    config: NvList,
    reflow: RaidzReflow,
    offset: u64,
    birth: u64,
    block: Vec<u8>,
}

impl Subject {
    fn map<'a>(&self, vdevs: &'a BTreeMap<u32, Vdev>) -> Map<'a> {
        map(vdevs, 0, self.offset, self.block.len(), self.birth).unwrap()
    }

    fn vdevs(&self, devices: &Devices) -> BTreeMap<u32, Vdev> {
        BTreeMap::from([(0, build(&self.config, devices, self.reflow).unwrap())])
    }

    /// The block on its devices, and those that have a part of it.
    fn written(&self) -> Devices {
        let vdevs = self.vdevs(&Devices::new());
        let mut devices: Devices = vdevs[&0].leaves().iter().map(|leaf| (leaf.guid, Sparse::default())).collect();
        for row in &self.map(&vdevs).rows {
            let data: Vec<&[u8]> = row.columns[row.parity..].iter().map(|column| part(column, &self.block)).collect();
            for (index, column) in row.columns.iter().enumerate() {
                let mut bytes = vec![0; column.length];
                match index.checked_sub(row.parity) {
                    Some(index) => bytes[..data[index].len()].copy_from_slice(data[index]),
                    None => parity::compute(index, data.iter().copied(), &mut bytes),
                }
                for place in &column.places {
                    devices.get_mut(&place.leaf.guid).unwrap().0.push((place.offset, bytes.clone()));
                }
            }
        }
        devices
    }

    fn search(&self, devices: &Devices) -> Result<Vec<u8>, Vec<Fault>> {
        let vdevs = self.vdevs(devices);
        let mut found = Vec::new();
        let expected = &self.block;
        self.map(&vdevs).search(&mut found, &mut |found| match found[..expected.len()] == expected[..] {
            true => Ok(()),
            false => Err("another block".into()),
        })?;
        found.truncate(expected.len());
        Ok(found)
    }

    fn compare(&self, devices: &Devices) -> Vec<Fault> {
        let vdevs = self.vdevs(devices);
        self.map(&vdevs).compare(&self.block, false)
    }
}

fn part<'a>(column: &Column<'_>, block: &'a [u8]) -> &'a [u8] {
    &block[column.at.min(block.len())..(column.at + column.length).min(block.len())]
}

fn blocks(ashift: u64) -> impl Strategy<Value = Vec<u8>> {
    // As many sectors as some rows have, in halves where sectors are larger.
    let unit = 512 << ((ashift - 9) / 2);
    (1usize..60).prop_flat_map(move |units| vec(any::<u8>(), units * unit))
}

fn raidz() -> impl Strategy<Value = Subject> {
    (1u64..=3, 1u64..=6, 9u64..=11, 0u64..3, any::<bool>()).prop_flat_map(
        |(parity, data, ashift, expansions, is_reflowing)| {
            let reflowing = u64::from(is_reflowing);
            let txgs: Vec<u64> = (1..=expansions).map(|number| number * 100).collect();
            let mut config =
                top("raidz", ashift, disks(parity + data + expansions + reflowing)).with("nparity", parity);
            if expansions > 0 {
                config.set("raidz_expand_txgs", txgs);
            }
            if is_reflowing {
                config.set("raidz_expanding", 1u64);
            }
            let offset = (0u64..8 << 20).prop_map(move |offset| offset >> ashift << ashift);
            // In sectors of 512 bytes, around where blocks are; and whether rows are
            // in the reserved space yet.
            let reflow =
                (0u64..16 << 10, 0u16..3).prop_map(|(sectors, state)| RaidzReflow { state, offset: sectors << 9 });
            (Just(config), reflow, offset, 0u64..400, blocks(ashift))
                .prop_map(|(config, reflow, offset, birth, block)| Subject { config, reflow, offset, birth, block })
        },
    )
}

fn draid() -> impl Strategy<Value = Subject> {
    (1u64..=3, 1u64..=5, 0u64..=2, 0u64..=4, 9u64..=11).prop_flat_map(|(parity, data, spares, more, ashift)| {
        let (width, disks_in_use) = (parity + data, parity + data + more);
        // The least common multiple of both, in groups.
        let groups = (1..).find(|groups| groups * width % disks_in_use == 0).unwrap();
        let config = top("draid", ashift, disks(disks_in_use + spares))
            .with("nparity", parity)
            .with("draid_ndata", data)
            .with("draid_nspares", spares)
            .with("draid_ngroups", groups);
        let stripe = width << ashift;
        // Near the end of a group, so that some blocks go on in the next one.
        let offset = (1u64..1000, 0u64..20).prop_map(move |(group, back)| group * width * (16 << 20) - back * stripe);
        (Just(config), offset, blocks(ashift)).prop_map(|(config, offset, block)| Subject {
            config,
            reflow: RaidzReflow::default(),
            offset,
            birth: 1,
            block,
        })
    })
}

fn mirror() -> impl Strategy<Value = Subject> {
    (1u64..=3, 9u64..=13).prop_flat_map(|(sides, ashift)| {
        let config = top("mirror", ashift, disks(sides));
        blocks(ashift).prop_map(move |block| self::subject(config.clone(), block))
    })
}

fn parity_of(subject: &Subject) -> usize {
    subject.config.u64("nparity").unwrap() as usize
}

/// Devices that are lost, and others that have nonsense, no more in all than there
/// are parities; of devices that have a part of the block.
fn damage(subject: &Subject, victims: &[Index], lost: usize) -> Devices {
    let mut devices = subject.written();
    let mut children: Vec<u64> = devices.keys().copied().collect();
    children.sort_unstable();
    let victims = victims.iter().take(parity_of(subject));
    for (number, victim) in victims.enumerate() {
        let guid = children.remove(victim.index(children.len()));
        if number < lost {
            devices.remove(&guid);
        } else if let Some(device) = devices.get_mut(&guid) {
            for (_, bytes) in &mut device.0 {
                bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(7).wrapping_add(3));
            }
        }
    }
    devices
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn raidz_gives_back_what_as_many_devices_as_parities_lost(
        subject in raidz(), victims in vec(any::<Index>(), 3), lost in 0usize..=3,
    ) {
        let devices = damage(&subject, &victims, lost);
        prop_assert_eq!(subject.search(&devices).unwrap(), &subject.block[..]);
    }

    #[test]
    fn draid_gives_back_what_as_many_devices_as_parities_lost(
        subject in draid(), victims in vec(any::<Index>(), 3), lost in 0usize..=3,
    ) {
        let devices = damage(&subject, &victims, lost);
        prop_assert_eq!(subject.search(&devices).unwrap(), &subject.block[..]);
    }

    #[test]
    fn every_flipped_byte_of_data_parity_and_padding_is_found(
        subject in prop_oneof![raidz(), draid(), mirror()], column in any::<Index>(), byte in any::<Index>(),
    ) {
        let mut devices = subject.written();
        prop_assert_eq!(subject.compare(&devices).len(), 0);
        let vdevs = subject.vdevs(&Devices::new());
        let map = subject.map(&vdevs);
        let columns: Vec<&Column<'_>> = map.rows.iter().flat_map(|row| &row.columns).collect();
        let columns: Vec<_> = columns.into_iter().filter(|column| !column.places.is_empty()).collect();
        let column = columns[column.index(columns.len())];
        let place = column.places[0];
        let at = place.offset + byte.index(column.length + column.padding) as u64;
        let mut was = [0];
        devices[&place.leaf.guid].read_exact_at(&mut was, at).unwrap();
        devices.get_mut(&place.leaf.guid).unwrap().0.push((at, vec![was[0] ^ 1]));
        let faults = subject.compare(&devices);
        prop_assert_eq!(faults.len(), 1);
        prop_assert_eq!(faults[0].place.as_ref().unwrap().guid, place.leaf.guid);
        prop_assert_eq!(&faults[0].what, &format!("wrong contents from byte {at} on"));
    }

    #[test]
    fn nothing_of_a_block_shares_its_place(subject in prop_oneof![raidz(), draid()]) {
        let vdevs = subject.vdevs(&Devices::new());
        let map = subject.map(&vdevs);
        for row in &map.rows {
            let mut children: Vec<u64> = row.columns.iter().filter(|column| column.length > 0).map(|c| c.child).collect();
            children.sort_unstable();
            let count = children.len();
            children.dedup();
            prop_assert_eq!(children.len(), count, "one device has two columns of a row");
        }
        let mut starts = start_of(&map);
        starts.sort_unstable();
        let count = starts.len();
        starts.dedup();
        prop_assert_eq!(starts.len(), count);
        let data = map.rows.iter().flat_map(|row| &row.columns[row.parity..]).map(|column| column.length).sum::<usize>();
        let sector = 1 << vdevs[&0].ashift;
        prop_assert_eq!(data, subject.block.len().next_multiple_of(sector));
        let all: usize =
            map.rows.iter().flat_map(|row| &row.columns).map(|column| column.length + column.padding).sum();
        let allocated = vdevs[&0].allocated_size(subject.block.len() as u64, subject.birth) as usize;
        prop_assert!(all <= allocated && allocated < all + (parity_of(&subject) + 1) * sector);
    }
}

fn subject(config: NvList, block: Vec<u8>) -> Subject {
    Subject { config, reflow: RaidzReflow::default(), offset: 0, birth: 1, block }
}

#[test]
fn a_mirror_gives_the_side_that_fits() {
    let subject = subject(top("mirror", 9, disks(3)), (0..=255).cycle().take(4096).collect());
    let mut devices = subject.written();
    devices.get_mut(&0).unwrap().0.push((label::START_SIZE + 100, vec![1]));
    devices.remove(&1);
    assert_eq!(subject.search(&devices).unwrap(), subject.block);
    let faults = subject.compare(&devices);
    assert_eq!(faults.len(), 1, "what is missing is no fault");
    let place = DevicePlace { guid: 0, name: "disk 0".into(), offset: label::START_SIZE };
    assert_eq!(faults[0].place, Some(place));
    assert_eq!(faults[0].what, format!("wrong contents from byte {} on", label::START_SIZE + 100));
    devices.remove(&2);
    let faults = subject.search(&devices).unwrap_err();
    let whats: Vec<&str> = faults.iter().map(|fault| fault.what.as_str()).collect();
    assert_eq!(whats, ["the device was not given", "the device was not given", "another block"]);
}

#[test]
fn a_side_that_was_away_is_asked_last() {
    let children = vec![leaf(0).with("offline", 1u64), leaf(1), leaf(2)];
    let subject = subject(top("mirror", 9, children), vec![1; 512]);
    let mut devices = subject.written();
    devices.remove(&1);
    let vdevs = subject.vdevs(&devices);
    let order: Vec<u64> = start_of(&subject.map(&vdevs)).iter().map(|(guid, _)| *guid).collect();
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn a_disk_of_raidz_that_is_being_replaced_counts_once() {
    let replacing = NvList::new()
        .with("type", "replacing")
        .with("id", 1u64)
        .with("guid", 50u64)
        .with("children", vec![leaf(1), leaf(9)]);
    let config = top("raidz", 9, vec![leaf(0), replacing, leaf(2)]).with("nparity", 1u64);
    let subject = subject(config, (0..=255).cycle().take(8192).collect());
    let mut devices = subject.written();
    devices.remove(&0);
    // Empty, as it is when the replacement has just begun.
    devices.get_mut(&1).unwrap().0.clear();
    assert_eq!(subject.search(&devices).unwrap(), subject.block);
}

#[test]
fn what_more_devices_lost_than_there_are_parities_is_lost() {
    let config = top("raidz", 9, disks(5)).with("nparity", 2u64);
    let subject = subject(config, vec![7; 16 * 512]);
    let mut devices = subject.written();
    (0..3).for_each(|guid| _ = devices.remove(&guid));
    let faults = subject.search(&devices).unwrap_err();
    assert_eq!(faults.last().unwrap().what, "too few devices can be read");
}

#[test]
fn what_was_wrong_before_an_expansion_is_computed_from_the_old_rows() {
    let mut config = top("raidz", 9, disks(3)).with("nparity", 1u64);
    let block: Vec<u8> = (0..40 * 512).map(|byte| (byte % 251) as u8).collect();
    let old = subject(config.clone(), block.clone());
    let mut sectors = old.written();
    // A disk goes bad unnoticed, then everything moves to four disks.
    sectors.get_mut(&1).unwrap().0.iter_mut().for_each(|(_, bytes)| bytes.fill(0xee));
    let mut moved: Devices = (0..4).map(|guid| (guid, Sparse::default())).collect();
    for sector in 0..60u64 {
        let mut bytes = vec![0; 512];
        let place = |width| label::START_SIZE + sector / width * 512;
        sectors[&(sector % 3)].read_exact_at(&mut bytes, place(3)).unwrap();
        moved.get_mut(&(sector % 4)).unwrap().0.push((place(4), bytes));
    }
    config.set("children", disks(4));
    let new = subject(config.with("raidz_expand_txgs", vec![100]), block);
    assert_eq!(new.search(&moved).unwrap(), new.block);
}

#[test]
fn a_block_is_read_at_any_stage_of_an_expansion() {
    const SECTORS: u64 = 60;
    let block: Vec<u8> = (0..40 * 512).map(|byte| (byte % 251) as u8).collect();
    let old = subject(top("raidz", 9, disks(3)).with("nparity", 1u64), block.clone());
    let config = top("raidz", 9, disks(4)).with("nparity", 1u64).with("raidz_expanding", 1u64);
    let expect = |moved: u64, is_scratch: bool| {
        // What was moved may have overwritten what was there before.
        let mut devices = old.written();
        let back = if is_scratch { 7 << 19 } else { 0 };
        let copies: Vec<(u64, u64, Vec<u8>)> = (0..moved.min(SECTORS))
            .map(|sector| {
                let mut bytes = vec![0; 512];
                devices[&(sector % 3)].read_exact_at(&mut bytes, label::START_SIZE + sector / 3 * 512).unwrap();
                (sector % 4, label::START_SIZE - back + sector / 4 * 512, bytes)
            })
            .collect();
        devices.insert(3, Sparse::default());
        for (disk, offset, bytes) in copies {
            devices.get_mut(&disk).unwrap().0.push((offset, bytes));
        }
        let mut new = subject(config.clone(), block.clone());
        new.reflow = RaidzReflow { state: is_scratch.into(), offset: moved << 9 };
        let vdevs = new.vdevs(&devices);
        let mut found = Vec::new();
        new.map(&vdevs).read(&mut found).unwrap();
        assert_eq!(found, block, "{moved} sectors moved");
        assert_eq!(new.compare(&devices).len(), 0, "{moved} sectors moved");
    };
    // The first ones are moved by way of the reserved space: a row would overwrite
    // itself.
    (0..=16).for_each(|moved| expect(moved, true));
    (12..80).for_each(|moved| expect(moved, false));
}

/// 4 disks in groups of 3 and a spare that stands for disk 2.
fn draid_with_spare() -> NvList {
    let dspare = NvList::new()
        .with("type", "dspare")
        .with("id", 1u64)
        .with("guid", 60u64)
        .with("spareid", 0u64)
        .with("top_guid", 1000u64);
    let spare = NvList::new()
        .with("type", "spare")
        .with("id", 2u64)
        .with("guid", 50u64)
        .with("children", vec![leaf(2), dspare]);
    top("draid", 9, vec![leaf(0), leaf(1), spare, leaf(3)])
        .with("nparity", 1u64)
        .with("draid_ndata", 2u64)
        .with("draid_nspares", 1u64)
        .with("draid_ngroups", 1u64)
}

#[test]
fn a_distributed_spare_is_on_the_other_disks() {
    let groups = 0..64u64;
    let mut on = [0; 4];
    for group in groups {
        let mut subject = subject(draid_with_spare(), (0..=255).cycle().take(10 * 512).collect());
        subject.offset = group * 3 * (16 << 20);
        let mut devices = subject.written();
        let vdevs = subject.vdevs(&devices);
        for column in subject.map(&vdevs).rows.iter().flat_map(|row| &row.columns).filter(|c| c.child == 2) {
            // The spare is on disk 2 itself where that has no column.
            assert_eq!(column.places.len(), 2);
            on[column.places[1].leaf.guid as usize] += 1;
        }
        devices.remove(&2);
        let vdevs = subject.vdevs(&devices);
        let mut block = Vec::new();
        subject.map(&vdevs).read(&mut block).unwrap();
        assert_eq!(block[..subject.block.len()], subject.block, "without any parity");
        devices.remove(&0);
        assert_eq!(subject.search(&devices).is_ok(), subject_survives(&subject), "group {group}");
    }
    assert!(on[0] > 5 && on[1] > 5 && on[2] == 0 && on[3] > 5, "{on:?}");
}

/// Whether a block of [`draid_with_spare`] has at most one column on disk 0.
fn subject_survives(subject: &Subject) -> bool {
    let devices: Devices = [1, 3].map(|guid| (guid, Sparse::default())).into();
    let vdevs = subject.vdevs(&devices);
    let map = subject.map(&vdevs);
    let gone = map.rows[0].columns.iter().filter(|column| column.places.iter().all(|p| p.leaf.device().is_none()));
    gone.count() <= 1
}

#[test]
fn vdevs_that_cannot_be_are_refused() {
    let wrong = [
        top("raidz", 9, disks(1)).with("nparity", 1u64),
        top("raidz", 9, disks(9)).with("nparity", 4u64),
        top("raidz", 9, disks(256)).with("nparity", 1u64),
        top("raidz", 9, disks(3)).with("nparity", 1u64).with("raidz_expand_txgs", vec![1, 2]),
        top("raidz", 8, disks(3)).with("nparity", 1u64),
        top("raidz", 17, disks(3)).with("nparity", 1u64),
        // Nothing of a hole is used, but its sectors have a size like others.
        top("hole", 64, Vec::new()),
        draid_with_spare().with("draid_nspares", 2u64),
        draid_with_spare().with("draid_ngroups", 0u64),
        draid_with_spare().with("draid_ndata", 0u64),
        draid_with_spare().with("draid_nchildren", 2u64),
        top("raidz", 9, vec![top("raidz", 9, disks(3)).with("nparity", 1u64), leaf(7)]).with("nparity", 1u64),
    ];
    for config in wrong {
        let error = build(&config, &Devices::new(), RaidzReflow::default()).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
