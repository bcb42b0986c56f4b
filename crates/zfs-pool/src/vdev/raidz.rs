//! Raidz: rows of sectors over all children, with parity (`vdev_raidz.c`).
//!
//! The sectors of a vdev are counted along the rows. A block begins at any of
//! them with its parity, and is laid out column by column: each child holds
//! consecutive parts of the block.
//!
//! When a child is added, all sectors move up along the new, wider rows. The rows
//! of parity keep the width that they were written with. The sectors of a column
//! are then on several children, so that each row of the block is one by itself.

use zfs_ondisk::label;
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::raidz::{Layout, parity};
use zfs_ondisk::uberblock::RaidzReflow;

use super::map::{Column, Map, Row};
use super::{MAX_CHILDREN, Vdev, malformed};
use crate::error::Error;

/// Where in the reserved space before the allocatable one the rows are that are
/// moved first: that many bytes before their place (`VDEV_BOOT_SIZE`).
const SCRATCH_DISTANCE: u64 = 7 << 19;
/// The state in which the rows that were moved are still there (`RRSS_SCRATCH_VALID`).
const SCRATCH_VALID: u16 = 1;

/// A raidz vdev.
#[derive(Clone, Debug)]
pub struct Raidz {
    children: Vec<Vdev>,
    parity: u64,
    /// The width of the rows at first.
    original_width: u64,
    /// From which transaction group on the rows had which width, in order.
    widths: Vec<(u64, u64)>,
    /// How far an expansion is that has not come to its end: rows that end before its offset have been moved.
    reflow: Option<RaidzReflow>,
}

impl Raidz {
    pub(super) fn build(config: &NvList, children: Vec<Vdev>, reflow: RaidzReflow) -> Result<Self, Error> {
        let physical = children.len() as u64;
        // Before there was more than one, it was not written down.
        let parity = if config.contains("nparity") { config.u64("nparity")? } else { 1 };
        if parity == 0 || parity > parity::MAX as u64 || physical > MAX_CHILDREN || physical <= parity {
            let found = format!("{parity} parities of {physical} children");
            return Err(malformed("raidz vdev", found, "1 to 3 parities, of 255 children at most"));
        }
        let reflow = config.contains("raidz_expanding").then_some(reflow);
        let now = physical - u64::from(reflow.is_some());
        let txgs = if config.contains("raidz_expand_txgs") { config.u64s("raidz_expand_txgs")? } else { &[] };
        let original_width = now.checked_sub(txgs.len() as u64).filter(|&width| width > parity).ok_or_else(|| {
            malformed("raidz vdev", format!("{} expansions to {physical} children", txgs.len()), "fewer expansions")
        })?;
        let mut widths: Vec<(u64, u64)> = txgs.iter().copied().zip(original_width + 1..).collect();
        widths.sort_unstable();
        Ok(Self { children, parity, original_width, widths, reflow })
    }

    /// The disks, in order.
    pub fn children(&self) -> &[Vdev] {
        &self.children
    }

    /// How many columns of each row are parity: 1 to 3.
    pub fn parity(&self) -> usize {
        self.parity as usize
    }

    /// The width of the rows of a block that was allocated in a transaction group.
    fn width(&self, birth: u64) -> u64 {
        let last = self.widths.iter().rev().find(|(txg, _)| *txg <= birth);
        last.map_or(self.original_width, |(_, width)| *width)
    }

    pub(super) fn allocated_size(&self, ashift: u64, psize: u64, birth: u64) -> u64 {
        Layout::new(self.width(birth), self.parity, psize.div_ceil(1 << ashift)).allocated() << ashift
    }

    pub(super) fn map(&self, ashift: u64, offset: u64, size: usize, birth: u64) -> Map<'_> {
        let layout = Layout::new(self.width(birth), self.parity, (size as u64).div_ceil(1 << ashift));
        let first = offset >> ashift;
        let place = |column: u64| layout.place(column, offset);
        let physical = self.children.len() as u64;
        if layout.width == physical {
            let columns = (0..layout.columns())
                .map(|column| {
                    let (at, length) = layout.extent(column);
                    self.column(ashift, first + place(column), physical, 0, at << ashift, length << ashift)
                })
                .collect();
            return Map { rows: vec![Row { parity: self.parity(), columns }], old_widths: Vec::new() };
        }
        let rows = layout.rows();
        let row = |row: u64| {
            let start = first + row * layout.width;
            let end = start.saturating_add(layout.columns());
            let (width, back) = match self.reflow {
                Some(reflow) if end > reflow.offset >> ashift => (physical - 1, 0),
                Some(reflow) if reflow.state == SCRATCH_VALID => (physical, SCRATCH_DISTANCE),
                _ => (physical, 0),
            };
            let column = |column: u64| {
                let (at, length) = layout.extent(column);
                let length = u64::from(row < length) << ashift;
                self.column(ashift, start + place(column), width, back, (at + row) << ashift, length)
            };
            Row { parity: self.parity(), columns: (0..layout.columns()).map(column).collect() }
        };
        Map { rows: (0..rows).map(row).collect(), old_widths: (self.original_width..physical).rev().collect() }
    }

    /// The column that begins at a sector, in rows of `width`.
    fn column(&self, ashift: u64, sector: u64, width: u64, back: u64, at: u64, length: u64) -> Column<'_> {
        let child = sector % width;
        let mut places = Vec::new();
        if let Some(child) = self.children.get(child as usize).filter(|_| length > 0) {
            let offset = (sector / width) << ashift;
            child.places(offset.saturating_add(label::START_SIZE - back), None, &mut places);
        }
        Column { places, child, at: at as usize, length: length as usize, padding: 0, sector }
    }
}
