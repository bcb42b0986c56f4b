//! Uberblocks (`struct uberblock`, `sys/uberblock_impl.h`): where a pool's state
//! of one transaction group begins.

use crate::blkptr::BlockPointer;
use crate::bytes::{ByteOrder, Put, Truncated, View};

/// "oo-ba-bloc!"
pub const MAGIC: u64 = 0x00ba_b10c;
/// "all-see-all"; in every uberblock that knows of multihost protection.
pub const MMP_MAGIC: u64 = 0xa11c_ea11;
/// The version of pools with feature flags (`SPA_VERSION_FEATURES`).
pub const VERSION_FEATURES: u64 = 5000;

/// An uberblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uberblock {
    /// Version of the on-disk format.
    pub version: u64,
    /// Transaction group that was synced.
    pub txg: u64,
    /// Sum of the GUIDs of the pool and all its vdevs, modulo 2^64.
    pub guid_sum: u64,
    /// When it was synced: seconds since 1970.
    pub timestamp: u64,
    /// The root of the meta object set.
    pub root: BlockPointer,
    /// The highest version that its writer knew.
    pub software_version: u64,
    /// The transaction group of the checkpoint, 0 if it is none.
    pub checkpoint_txg: u64,
    /// How far a raidz expansion is (`ub_raidz_reflow_info`).
    pub raidz_reflow_info: u64,
}

/// Multihost protection, or "multi modifier protection" (`ub_mmp_...`): who has
/// the pool open says so by writing uberblocks again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mmp {
    /// Nanoseconds since the last such write; 0 if the protection is off.
    pub delay: u64,
    /// Milliseconds between writes.
    pub interval: Option<u32>,
    /// Number of the write among those of one second.
    pub sequence: Option<u16>,
    /// Missed intervals after which the writer gives up.
    pub fail_intervals: Option<u16>,
}

impl Mmp {
    /// Reads what an uberblock says of multihost protection; `None` if its writer
    /// did not know that.
    ///
    /// # Errors
    /// [`Truncated`] if it ends too early.
    pub fn read(view: &View<'_>) -> Result<Option<Self>, Truncated> {
        if view.u64(176)? != MMP_MAGIC {
            return Ok(None);
        }
        let config = view.u64(192)?;
        let known = |bit: u64| config & bit != 0;
        Ok(Some(Self {
            delay: view.u64(184)?,
            interval: known(1).then_some((config >> 8) as u32 & 0xff_ffff),
            sequence: known(2).then_some((config >> 32) as u16),
            fail_intervals: known(4).then_some((config >> 48) as u16),
        }))
    }
}

/// How far the expansion of a raidz vdev is (`ub_raidz_reflow_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaidzReflow {
    /// Number of the state of the scratch area (`raidz_reflow_scratch_state_t`).
    pub state: u16,
    /// Bytes of the vdev that are in their new places.
    pub offset: u64,
}

/// Why bytes are not an uberblock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The magic number is another one, in either byte order.
    #[error("uberblock: magic number {0:#x} found, {MAGIC:#x} expected")]
    Magic(u64),
    /// It ends too early.
    #[error("uberblock: {0}")]
    Truncated(#[from] Truncated),
}

impl Uberblock {
    /// Reads an uberblock and finds its byte order.
    ///
    /// # Errors
    /// If there is none.
    pub fn read(bytes: &[u8]) -> Result<(Self, ByteOrder), Error> {
        let little = View::new(bytes, ByteOrder::Little);
        let view = match little.u64(0)? {
            MAGIC => little,
            magic if magic.swap_bytes() == MAGIC => View::new(bytes, ByteOrder::Big),
            magic => return Err(Error::Magic(magic)),
        };
        let uberblock = Self {
            version: view.u64(8)?,
            txg: view.u64(16)?,
            guid_sum: view.u64(24)?,
            timestamp: view.u64(32)?,
            root: BlockPointer::read(&view, 40)?,
            software_version: view.u64(168)?,
            checkpoint_txg: view.u64(200)?,
            raidz_reflow_info: view.u64(208)?,
        };
        Ok((uberblock, view.order()))
    }

    /// How far the expansion of a raidz vdev is.
    pub fn raidz_reflow(&self) -> RaidzReflow {
        let info = self.raidz_reflow_info;
        RaidzReflow { state: (info >> 55) as u16, offset: (info & ((1 << 55) - 1)) << 9 }
    }

    /// Writes the uberblock to the start of a slot of zeros.
    pub fn write(&self, to: &mut [u8]) {
        to.put_u64(0, MAGIC);
        to.put_u64(8, self.version);
        to.put_u64(16, self.txg);
        to.put_u64(24, self.guid_sum);
        to.put_u64(32, self.timestamp);
        self.root.write(to, 40);
        to.put_u64(168, self.software_version);
        to.put_u64(176, MMP_MAGIC);
        to.put_u64(200, self.checkpoint_txg);
        to.put_u64(208, self.raidz_reflow_info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uberblock_is_read_as_it_was_written() {
        let written = Uberblock {
            version: VERSION_FEATURES,
            txg: 8,
            guid_sum: u64::MAX,
            timestamp: 1_700_000_000,
            root: BlockPointer::HOLE,
            software_version: VERSION_FEATURES,
            checkpoint_txg: 0,
            raidz_reflow_info: 0,
        };
        let mut slot = [0; 1024];
        written.write(&mut slot);
        assert_eq!(Uberblock::read(&slot), Ok((written, ByteOrder::Little)));
    }

    #[test]
    fn multihost_protection_is_read_where_its_fields_are_valid() {
        let mut slot = [0; 1024];
        let read = |slot: &[u8]| Mmp::read(&View::new(slot, ByteOrder::Little));
        assert_eq!(read(&slot), Ok(None));
        slot.put_u64(176, MMP_MAGIC);
        assert_eq!(read(&slot), Ok(Some(Mmp::default())));
        slot.put_u64(184, 500);
        slot.put_u64(192, 10 << 48 | 3 << 32 | 1000 << 8 | 7);
        let expected = Mmp { delay: 500, interval: Some(1000), sequence: Some(3), fail_intervals: Some(10) };
        assert_eq!(read(&slot), Ok(Some(expected)));
        assert!(read(&slot[..199]).is_err());
    }

    #[test]
    fn anything_else_is_told_by_its_magic_number() {
        assert_eq!(Uberblock::read(&[1; 1024]), Err(Error::Magic(0x0101_0101_0101_0101)));
    }
}
