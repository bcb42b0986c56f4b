//! The top-level vdevs, and how blocks get onto their devices.

use std::ops::Range;

use zfs_ondisk::blkptr::{BlockPointer, SECTOR_SHIFT};
use zfs_ondisk::label;
use zfs_ondisk::raidz::{Layout, parity};

use crate::device::Device;
use crate::error::Error;

/// The block whose allocated size the space of a vdev is counted by
/// (`vdev_deflate_ratio`).
const USUAL_BLOCK: u64 = 128 << 10;
/// The most devices of a vdev: a label has no room for many more, and raidz takes 255.
const MAX_CHILDREN: usize = 255;

/// What top-level vdevs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VdevKind {
    /// One device.
    #[default]
    Single,
    /// Devices with the same contents.
    Mirror,
    /// Devices with rows of data and parity, of which so many, 1 to 3, may be lost.
    Raidz(u8),
}

impl VdevKind {
    /// The fewest devices that make one.
    pub fn min_devices(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Mirror => 2,
            Self::Raidz(parity) => usize::from(parity) + 1,
        }
    }

    /// The most devices that it can have.
    pub fn max_devices(self) -> usize {
        if self == Self::Single { 1 } else { MAX_CHILDREN }
    }
}

/// The top-level vdevs, which are all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: VdevKind,
    /// Top-level vdevs.
    pub(crate) count: usize,
    /// Devices of each.
    pub(crate) children: usize,
    /// Binary logarithm of the sector.
    pub(crate) ashift: u32,
}

impl Shape {
    /// Bytes that a block of `size` bytes takes, with parity and padding.
    pub(crate) fn allocated_size(&self, size: u64) -> u64 {
        let sectors = size.div_ceil(1 << self.ashift);
        let allocated = match self.kind {
            VdevKind::Raidz(parity) => self.layout(parity, sectors).allocated(),
            VdevKind::Single | VdevKind::Mirror => sectors,
        };
        allocated << self.ashift
    }

    /// What the space used counts for so many allocated bytes: without the parity that
    /// large blocks need (`vdev_deflate_ratio`).
    pub(crate) fn deflated(&self, allocated: u64) -> u64 {
        (allocated >> SECTOR_SHIFT) * (USUAL_BLOCK / (self.allocated_size(USUAL_BLOCK) >> SECTOR_SHIFT))
    }

    /// The same for all copies of a block (`bp_get_dsize`).
    pub(crate) fn used_by(&self, pointer: &BlockPointer) -> u64 {
        self.deflated(pointer.allocated_size())
    }

    /// Devices whose space adds up to that of a top-level vdev.
    pub(crate) fn width(&self) -> u64 {
        match self.kind {
            VdevKind::Raidz(_) => self.children as u64,
            VdevKind::Single | VdevKind::Mirror => 1,
        }
    }

    fn layout(&self, parity: u8, sectors: u64) -> Layout {
        Layout::new(self.children as u64, parity.into(), sectors)
    }
}

/// Blocks that lie one behind the other on a top-level vdev.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    vdev: usize,
    blocks: Vec<Block>,
    /// Where the last one ends on the vdev, with parity and padding.
    end: u64,
}

/// Where a block begins on its vdev, and where its bytes are in the output.
#[derive(Clone, Debug)]
struct Block {
    offset: u64,
    bytes: Range<usize>,
}

/// The devices of the top-level vdevs, in order.
#[derive(Clone, Copy)]
pub(crate) struct Vdevs<'a> {
    pub(crate) shape: Shape,
    devices: &'a [&'a dyn Device],
}

impl<'a> Vdevs<'a> {
    pub(crate) fn new(shape: Shape, devices: &'a [&'a dyn Device]) -> Self {
        Self { shape, devices }
    }

    /// The devices of top-level vdev `index`.
    pub(crate) fn children(&self, index: usize) -> &'a [&'a dyn Device] {
        &self.devices[index * self.shape.children..][..self.shape.children]
    }

    /// Adds a block to what is to be written. It takes `allocated` bytes at an offset of a
    /// vdev, and is made of `bytes` of the output, which are whole sectors.
    pub(crate) fn add(&self, runs: &mut Vec<Run>, (vdev, offset): (usize, u64), allocated: u64, bytes: Range<usize>) {
        let end = offset + allocated;
        let is_raidz = matches!(self.shape.kind, VdevKind::Raidz(_));
        if let Some(run) = runs.last_mut()
            && (run.vdev, run.end) == (vdev, offset)
            && let Some(last) = run.blocks.last_mut()
            && (is_raidz || last.bytes.end == bytes.start)
        {
            run.end = end;
            // Parity is that of each block, but copies have no boundaries.
            if is_raidz {
                run.blocks.push(Block { offset, bytes });
            } else {
                last.bytes.end = bytes.end;
            }
            return;
        }
        runs.push(Run { vdev, blocks: vec![Block { offset, bytes }], end });
    }

    /// Writes a run of blocks that are in `output`. `scratch` is room, with anything in it.
    pub(crate) fn write(&self, run: &Run, output: &[u8], scratch: &mut Vec<u8>) -> Result<(), Error> {
        let children = self.children(run.vdev);
        match self.shape.kind {
            VdevKind::Raidz(parity) => self.write_rows(parity, run, output, scratch),
            VdevKind::Single | VdevKind::Mirror => run.blocks.iter().try_for_each(|Block { offset, bytes }| {
                children
                    .iter()
                    .try_for_each(|device| device.write_at(&output[bytes.clone()], label::START_SIZE + offset))
            }),
        }
    }

    /// Puts the sectors of each child together, which lie one behind the other, too, and
    /// writes them.
    fn write_rows(&self, parity: u8, run: &Run, output: &[u8], scratch: &mut Vec<u8>) -> Result<(), Error> {
        let Some(first) = run.blocks.first() else { return Ok(()) };
        let ashift = self.shape.ashift;
        let width = self.shape.children as u64;
        let sectors = first.offset >> ashift..run.end >> ashift;
        // The children from the first sector on, each with the room for its sectors.
        let rooms: Vec<Range<u64>> = (0..width)
            .scan(0, |next, turn| {
                let count = (sectors.end - sectors.start + width - 1 - turn) / width;
                let start = *next;
                *next += count;
                Some(start..*next)
            })
            .collect();
        scratch.clear();
        scratch.resize(((sectors.end - sectors.start) << ashift) as usize, 0);
        // The bytes of so many sectors of one child, from a sector of the vdev on.
        let place = |sector: u64, count: u64| {
            let turn = sector - sectors.start;
            let at = rooms[(turn % width) as usize].start + turn / width;
            (at << ashift) as usize..((at + count) << ashift) as usize
        };
        for Block { offset, bytes } in &run.blocks {
            let block = &output[bytes.clone()];
            let layout = self.shape.layout(parity, block.len() as u64 >> ashift);
            let begin = offset >> ashift;
            let (parities, columns) = (u64::from(parity), layout.columns());
            let data = |column: u64| {
                let (at, length) = layout.extent(column);
                &block[(at << ashift) as usize..((at + length) << ashift) as usize]
            };
            for column in parities..columns {
                let (_, length) = layout.extent(column);
                let to = place(begin + layout.place(column, *offset), length);
                scratch[to].copy_from_slice(data(column));
            }
            for index in 0..parities {
                let to = place(begin + layout.place(index, *offset), layout.rows());
                parity::compute(index as usize, (parities..columns).map(data), &mut scratch[to]);
            }
        }
        let children = self.children(run.vdev);
        for (sector, room) in (sectors.start..).zip(rooms).filter(|(_, room)| !room.is_empty()) {
            let bytes = &scratch[(room.start << ashift) as usize..(room.end << ashift) as usize];
            let offset = label::START_SIZE + ((sector / width) << ashift);
            children[(sector % width) as usize].write_at(bytes, offset)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_counted_without_the_parity_of_usual_blocks() {
        let shape = |kind, children| Shape { kind, count: 1, children, ashift: 12 };
        assert_eq!(shape(VdevKind::Single, 1).deflated(4096), 4096);
        assert_eq!(shape(VdevKind::Mirror, 3).deflated(4096), 4096);
        // 48 sectors for 32: of 512 bytes, 341 count.
        assert_eq!(shape(VdevKind::Raidz(1), 3).deflated(512), 341);
        assert_eq!(shape(VdevKind::Raidz(1), 3).allocated_size(4097), 16384);
    }
}
