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
    /// The configuration with the highest transaction group. That of a spare or of
    /// a cache device names no pool.
    pub config: NvList,
    /// For each label, the transaction group of its configuration.
    pub txgs: [Option<u64>; label::COUNT as usize],
    /// For each label, what is wrong with its configuration.
    pub faults: [Option<String>; label::COUNT as usize],
    /// All valid uberblocks of all labels.
    pub uberblocks: Vec<LabelUberblock>,
}

/// What a label says of the pool, or of the device (`pool_state_t`, `sys/fs/zfs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolState {
    /// It was in use, and was not exported since.
    Active,
    /// It was exported.
    Exported,
    /// It was destroyed; what it held may still be there.
    Destroyed,
    /// The device is a hot spare.
    Spare,
    /// The device is a cache.
    Cache,
    /// The label does not say it, or says something unknown.
    Unknown,
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
        let mut txgs = [None; label::COUNT as usize];
        let mut faults = [const { None }; label::COUNT as usize];
        let mut best: Option<(u64, NvList)> = None;
        for (index, (txg, fault)) in txgs.iter_mut().zip(&mut faults).enumerate() {
            match read_config(&device, index as u64) {
                Ok(found) => {
                    *txg = Some(found.0);
                    if best.as_ref().is_none_or(|best| found.0 > best.0) {
                        best = Some(found);
                    }
                }
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
        Ok(Self { device, config, txgs, faults, uberblocks })
    }

    /// Whether one of the labels may be there: a cheap look at four places, for
    /// those who search many files.
    pub fn may_be_on(device: &Device) -> bool {
        let trailer = (label::CONFIG_OFFSET + label::CONFIG_SIZE - embedded::TRAILER) as u64;
        (0..label::COUNT).any(|index| {
            let mut magic = [0; 8];
            let offset = label::offset(index, device.size()) + trailer;
            let found = device.read_exact_at(&mut magic, offset).map(|()| u64::from_le_bytes(magic));
            found.is_ok_and(|magic| magic == embedded::MAGIC || magic.swap_bytes() == embedded::MAGIC)
        })
    }

    /// The name of the pool that the device belongs to.
    pub fn pool_name(&self) -> Option<&str> {
        self.config.str("name").ok()
    }

    /// The GUID of the pool that the device belongs to; `None` for a spare or a cache.
    pub fn pool_guid(&self) -> Option<u64> {
        self.config.u64("pool_guid").ok()
    }

    /// The GUID of the device.
    pub fn guid(&self) -> Option<u64> {
        self.config.u64("guid").ok()
    }

    /// The transaction group of the newest configuration.
    pub fn txg(&self) -> u64 {
        self.txgs.iter().flatten().copied().max().unwrap_or(0)
    }

    /// What the newest configuration says of the pool, or of the device.
    pub fn state(&self) -> PoolState {
        match self.config.u64("state") {
            Ok(0) => PoolState::Active,
            Ok(1) => PoolState::Exported,
            Ok(2) => PoolState::Destroyed,
            Ok(3) => PoolState::Spare,
            Ok(4) => PoolState::Cache,
            _ => PoolState::Unknown,
        }
    }
}

impl std::fmt::Display for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Exported => "exported",
            Self::Destroyed => "destroyed",
            Self::Spare => "spare",
            Self::Cache => "cache",
            Self::Unknown => "unknown",
        })
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
    // Spares and caches have labels without a pool, but with their own GUID.
    config.u64("guid").map_err(|error| text(&error))?;
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
