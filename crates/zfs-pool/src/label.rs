//! The labels of a device: what it is, and the uberblocks it has.

use zfs_ondisk::bytes::ByteOrder;
use zfs_ondisk::checksum::embedded::{self, Verifier};
use zfs_ondisk::label;
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::uberblock::Uberblock;

use crate::device::Device;
use crate::error::Error;

/// What the four labels of a device say.
#[derive(Clone, Debug)]
pub struct Labels {
    /// The device.
    pub device: Device,
    /// The configuration with the highest transaction group.
    pub config: NvList,
    /// For each label, what is wrong with its configuration.
    pub faults: [Option<String>; label::COUNT as usize],
    /// All valid uberblocks of all labels.
    pub uberblocks: Vec<LabelUberblock>,
}

/// An uberblock and where it is.
#[derive(Clone, Debug)]
pub struct LabelUberblock {
    /// Number of the label, 0 to 3.
    pub label: u64,
    /// Number of the slot in the ring.
    pub slot: usize,
    /// Its byte order.
    pub order: ByteOrder,
    /// The uberblock.
    pub uberblock: Uberblock,
}

impl Labels {
    /// Reads the labels of a device.
    ///
    /// # Errors
    /// [`Error::NoLabel`] if none of them has a valid configuration of a pool.
    pub fn read(device: Device) -> Result<Self, Error> {
        let mut faults = [const { None }; label::COUNT as usize];
        let mut best: Option<(u64, NvList)> = None;
        for (index, fault) in faults.iter_mut().enumerate() {
            match read_config(&device, index as u64) {
                Ok(found) if best.as_ref().is_none_or(|best| found.0 > best.0) => {
                    best = Some(found);
                }
                Ok(_) => {}
                Err(reason) => *fault = Some(reason),
            }
        }
        let Some((_, config)) = best else {
            return Err(Error::NoLabel {
                device: device.name().to_owned(),
                reason: faults[0].take().unwrap_or_default(),
            });
        };
        let ashift = config.list("vdev_tree").and_then(|tree| tree.u64("ashift")).unwrap_or(9);
        let mut uberblocks = Vec::new();
        for index in 0..label::COUNT {
            // A ring that cannot be read has no uberblocks; the others may.
            let _ = read_ring(&device, index, ashift, &mut uberblocks);
        }
        Ok(Self { device, config, faults, uberblocks })
    }
}

fn read_part(device: &Device, index: u64, start: usize, size: usize) -> Result<(Vec<u8>, u64), Error> {
    let offset = label::offset(index, device.size()) + start as u64;
    let mut bytes = vec![0; size];
    device.read_exact_at(&mut bytes, offset)?;
    Ok((bytes, offset))
}

/// The configuration in label `index` and its transaction group.
fn read_config(device: &Device, index: u64) -> Result<(u64, NvList), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (bytes, offset) =
        read_part(device, index, label::CONFIG_OFFSET, label::CONFIG_SIZE).map_err(|error| text(&error))?;
    embedded::verify(&bytes, &Verifier::Label { offset }).map_err(|error| text(&error))?;
    let config = NvList::decode(&bytes).map_err(|error| text(&error))?;
    // Spares and caches have labels without a pool.
    config.u64("pool_guid").map_err(|error| text(&error))?;
    Ok((config.u64("txg").unwrap_or(0), config))
}

fn read_ring(device: &Device, index: u64, ashift: u64, found: &mut Vec<LabelUberblock>) -> Result<(), Error> {
    let (ring, offset) = read_part(device, index, label::RING_OFFSET, label::RING_SIZE)?;
    let size = label::uberblock_size(ashift.min(64) as u32);
    for (slot, bytes) in ring.chunks_exact(size).enumerate() {
        let Ok((uberblock, order)) = Uberblock::read(bytes) else { continue };
        let place = Verifier::Label { offset: offset + (slot * size) as u64 };
        if embedded::verify(bytes, &place).is_ok() {
            found.push(LabelUberblock { label: index, slot, order, uberblock });
        }
    }
    Ok(())
}
