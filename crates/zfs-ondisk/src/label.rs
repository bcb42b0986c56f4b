//! Vdev labels (`vdev_label_t`, `sys/vdev_impl.h`): the four copies, two at
//! either end of every device, of what the device is and where its pool begins.
//!
//! ```text
//! 0     8 KiB    left blank for disk labels
//! 8K    8 KiB    boot environment block, sealed
//! 16K   112 KiB  packed nvlist: the configuration, sealed
//! 128K  128 KiB  ring of uberblocks, each sealed
//! ```
//!
//! "Sealed" means that the last 40 bytes hold a SHA-256 over the rest, keyed
//! with the offset on the device ([`crate::checksum::embedded`]).

use crate::checksum::embedded::{self, Verifier};

/// Bytes of a label.
pub const SIZE: u64 = 256 << 10;
/// Labels of a device.
pub const COUNT: u64 = 4;
/// Bytes at the start of a device that are not allocatable: two labels and the
/// room for boot code.
pub const START_SIZE: u64 = 4 << 20;
/// Bytes at the end of a device that are not allocatable: two labels.
pub const END_SIZE: u64 = 2 * SIZE;
/// The smallest device that OpenZFS takes (`SPA_MINDEVSIZE`).
pub const MIN_DEVICE_SIZE: u64 = 64 << 20;

/// Offset of the boot environment block in a label.
pub const BOOT_ENV_OFFSET: usize = 8 << 10;
/// Offset of the configuration in a label.
pub const CONFIG_OFFSET: usize = 16 << 10;
/// Bytes of the configuration, with its seal.
pub const CONFIG_SIZE: usize = 112 << 10;
/// Offset of the ring of uberblocks in a label.
pub const RING_OFFSET: usize = 128 << 10;
/// Bytes of the ring of uberblocks.
pub const RING_SIZE: usize = 128 << 10;

/// Where label `index` (0 to 3) begins on a device of `device_size` bytes.
/// The two at the end begin at a multiple of the label's size.
pub fn offset(index: u64, device_size: u64) -> u64 {
    let aligned = device_size / SIZE * SIZE;
    if index < COUNT / 2 { index * SIZE } else { aligned.saturating_sub((COUNT - index) * SIZE) }
}

/// Bytes of a slot of the ring: a device's sector, but at least 1 KiB and at
/// most 8 KiB (`VDEV_UBERBLOCK_SHIFT`).
pub fn uberblock_size(ashift: u32) -> usize {
    1 << ashift.clamp(10, 13)
}

/// The index of the slot that the uberblock of `txg` belongs in.
pub fn uberblock_slot(txg: u64, ashift: u32) -> usize {
    (txg % (RING_SIZE / uberblock_size(ashift)) as u64) as usize
}

/// The configuration is too long for a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration takes {size} bytes and a label has room for {room}")]
pub struct ConfigTooLong {
    /// Bytes of the packed configuration.
    pub size: usize,
    /// Bytes that a label has for it.
    pub room: usize,
}

/// Why a label cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration is too long.
    #[error(transparent)]
    ConfigTooLong(#[from] ConfigTooLong),
    /// A part cannot be sealed.
    #[error("label: {0}")]
    Seal(#[from] embedded::Error),
}

/// The label that begins at `device_offset`, with the XDR packed nvlist
/// `config` and one uberblock, written by `uberblock` into its slot of zeros.
///
/// # Errors
/// If `config` is too long.
pub fn build(
    device_offset: u64,
    config: &[u8],
    ashift: u32,
    txg: u64,
    uberblock: impl Fn(&mut [u8]),
) -> Result<Vec<u8>, Error> {
    let room = CONFIG_SIZE - embedded::TRAILER;
    if config.len() > room {
        return Err(ConfigTooLong { size: config.len(), room }.into());
    }
    let mut label = vec![0; SIZE as usize];
    let mut seal = |start: usize, size: usize, fill: &dyn Fn(&mut [u8])| {
        let part = &mut label[start..start + size];
        fill(part);
        embedded::seal(part, &Verifier::Label { offset: device_offset + start as u64 })
    };
    seal(BOOT_ENV_OFFSET, CONFIG_OFFSET - BOOT_ENV_OFFSET, &|_| ())?;
    seal(CONFIG_OFFSET, CONFIG_SIZE, &|part| part[..config.len()].copy_from_slice(config))?;
    let slot = uberblock_size(ashift);
    seal(RING_OFFSET + uberblock_slot(txg, ashift) * slot, slot, &|part| uberblock(part))?;
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_both_ends_of_a_device_of_any_size() {
        let size = (64 << 20) + 12345;
        let offsets: Vec<u64> = (0..COUNT).map(|index| offset(index, size)).collect();
        assert_eq!(offsets, [0, 256 << 10, (64 << 20) - (512 << 10), (64 << 20) - (256 << 10)]);
    }

    #[test]
    fn the_ring_has_a_slot_for_every_txg() {
        assert_eq!(uberblock_slot(8, 9), 8);
        assert_eq!(uberblock_slot(130, 9), 2);
        assert_eq!(uberblock_size(16), 8192);
        assert_eq!(uberblock_slot(17, 16), 1);
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_refused() {
        let config = vec![0; CONFIG_SIZE];
        assert!(build(0, &config, 12, 4, |_| ()).is_err());
    }
}
