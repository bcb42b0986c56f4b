//! Draid: groups of columns with parity, spread over more disks than they have
//! columns (`vdev_draid.c`).
//!
//! A row is 16 MiB of every disk. The disks but the spares, in an order that
//! changes from slice to slice, are dealt out in groups of data and parity; a group
//! that does not fit in a row goes on in the next one. Every write takes whole
//! rows of sectors of a group, with zeros after the data.
//!
//! The last disks in the order of a slice are its spares. A distributed spare is
//! thus on another disk in each slice.

mod seeds;

use std::sync::Arc;

use zfs_ondisk::label;
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::raidz::{Layout, parity};

use self::seeds::SEEDS;
use super::map::{Column, Map, Row};
use super::{MAX_CHILDREN, Vdev, malformed};
use crate::error::Error;

/// Bytes of a row on each disk (`VDEV_DRAID_ROWHEIGHT`).
const ROW_HEIGHT: u64 = 16 << 20;
/// What all seeds have in common (`VDEV_DRAID_SEED`).
const COMMON_SEED: u64 = 0x000d_7a1d_5eed;
/// The most distributed spares.
const MAX_SPARES: u64 = 100;

/// A draid vdev.
#[derive(Clone, Debug)]
pub struct Draid {
    children: Vec<Vdev>,
    parity: u64,
    data: u64,
    spares: u64,
    /// Groups in a slice.
    groups: u64,
    permutations: Arc<Vec<Vec<u8>>>,
}

impl Draid {
    pub(super) fn build(config: &NvList, children: Vec<Vdev>) -> Result<Self, Error> {
        let count = children.len() as u64;
        let [parity, data, spares, groups] =
            ["nparity", "draid_ndata", "draid_nspares", "draid_ngroups"].map(|name| config.u64(name));
        let (parity, data, spares, groups) = (parity?, data?, spares?, groups?);
        let is_sound = (2..=MAX_CHILDREN).contains(&count)
            && (1..=parity::MAX as u64).contains(&parity)
            && (1..=MAX_CHILDREN).contains(&data)
            && (1..=MAX_CHILDREN).contains(&groups)
            && spares <= MAX_SPARES
            && count >= data + parity + spares
            && ((data + parity) * groups).is_multiple_of(count - spares);
        if !is_sound {
            let found = format!("{data} + {parity} of {count} disks with {spares} spares in {groups} groups");
            return Err(malformed("draid vdev", found, "groups that fill the rows of at most 255 disks"));
        }
        let permutations = Arc::new(permutations(children.len()));
        Ok(Self { children, parity, data, spares, groups, permutations })
    }

    /// The disks, in order.
    pub fn children(&self) -> &[Vdev] {
        &self.children
    }

    /// How many columns of each group are parity: 1 to 3.
    pub fn parity(&self) -> usize {
        self.parity as usize
    }

    fn group_width(&self) -> u64 {
        self.data + self.parity
    }

    /// Bytes of a row of sectors in a group: what is allocated is a multiple of them.
    pub(super) fn stripe(&self, ashift: u64) -> u64 {
        self.group_width() << ashift
    }

    /// Bytes of data in a row of sectors in a group.
    pub(super) fn least_block(&self, ashift: u64) -> u64 {
        self.data << ashift
    }

    /// Disks that are not kept as spares.
    pub(super) fn disks(&self) -> u64 {
        self.children.len() as u64 - self.spares
    }

    /// Rows in a slice.
    fn slice_rows(&self) -> u64 {
        self.group_width() * self.groups / self.disks()
    }

    pub(super) fn allocated_size(&self, ashift: u64, psize: u64) -> u64 {
        (psize.div_ceil(self.least_block(ashift)) * self.group_width()) << ashift
    }

    pub(super) fn map(&self, ashift: u64, offset: u64, size: usize) -> Result<Map<'_>, String> {
        let stripe = self.stripe(ashift);
        if !offset.is_multiple_of(stripe) {
            return Err(format!("a block cannot begin there: every one begins at a multiple of {stripe}"));
        }
        let group_size = self.group_width() * ROW_HEIGHT;
        let mut sectors = (size as u64).div_ceil(1 << ashift);
        let (mut map, mut offset, mut at) = (Map::default(), offset, 0);
        // A block can go on in the next group.
        while sectors > 0 {
            let room = (group_size - offset % group_size) / stripe * self.data;
            let here = sectors.min(room);
            map.rows.push(self.row(ashift, offset, here, at));
            at += here << ashift;
            sectors -= here;
            offset = offset.saturating_add(self.allocated_size(ashift, here << ashift));
        }
        Ok(map)
    }

    /// The columns of so many data sectors, all in one group.
    fn row(&self, ashift: u64, offset: u64, sectors: u64, at: u64) -> Row<'_> {
        let width = self.group_width();
        let layout = Layout::new(width, self.parity, sectors);
        let group = offset / (width * ROW_HEIGHT);
        let slice = group / self.groups;
        // Position in the slice, counted along its rows.
        let start = group % self.groups * width;
        let within = offset % (width * ROW_HEIGHT) / width;
        let column = |column: u64| {
            let (from, length) = layout.extent(column);
            let (row, position) = ((start + column) / self.disks(), (start + column) % self.disks());
            let child = self.disk_at(slice, position);
            let offset = (slice * self.slice_rows() + row).saturating_mul(ROW_HEIGHT).saturating_add(within);
            let mut places = Vec::new();
            if let Some(vdev) = self.children.get(child) {
                vdev.places(offset.saturating_add(label::START_SIZE), Some(self), &mut places);
            }
            Column {
                places,
                child: child as u64,
                at: (at + (from << ashift)) as usize,
                length: (length << ashift) as usize,
                padding: ((layout.rows() - length) << ashift) as usize,
                sector: 0,
            }
        };
        Row { parity: self.parity(), columns: (0..width).map(column).collect() }
    }

    /// The disk that stands for a distributed spare at an offset from the start of
    /// the device.
    pub(super) fn spare_at(&self, spare: u64, offset: u64) -> Option<&Vdev> {
        let row = offset.checked_sub(label::START_SIZE)? / ROW_HEIGHT;
        let position = (self.children.len() as u64 - 1).checked_sub(spare).filter(|_| spare < self.spares)?;
        self.children.get(self.disk_at(row / self.slice_rows(), position))
    }

    /// The number of the disk at a position of a slice.
    fn disk_at(&self, slice: u64, position: u64) -> usize {
        // Each permutation serves as many slices as there are disks, turned on by
        // one for each.
        let count = self.children.len();
        let number = (slice / count as u64) as usize % self.permutations.len();
        let disk = self.permutations[number].get(position as usize).copied().unwrap_or_default();
        (usize::from(disk) + (slice % count as u64) as usize) % count
    }
}

/// The permutations of so many disks, 2 to 255 of them
/// (`vdev_draid_generate_perms`).
fn permutations(count: usize) -> Vec<Vec<u8>> {
    let seed = SEEDS.get(count.wrapping_sub(2)).copied().unwrap_or_default();
    let mut numbers = Numbers([COMMON_SEED, seed]);
    let mut permutation: Vec<u8> = (0..count).map(|disk| disk as u8).collect();
    (0..if count < 32 { 256 } else { 512 })
        .map(|_| {
            // Each is the one before it, shuffled as Fisher and Yates do.
            for last in (1..count).rev() {
                permutation.swap(last, (numbers.next() % (last as u64 + 1)) as usize);
            }
            permutation.clone()
        })
        .collect()
}

/// The generator of pseudo-random numbers that OpenZFS has for this:
/// xoroshiro128++ (`vdev_draid_rand`).
struct Numbers([u64; 2]);

impl Numbers {
    fn next(&mut self) -> u64 {
        let [a, b] = self.0;
        let b_or_a = a ^ b;
        self.0 = [a.rotate_left(49) ^ b_or_a ^ b_or_a << 21, b_or_a.rotate_left(28)];
        a.wrapping_add(b).rotate_left(17).wrapping_add(a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permutations_have_the_sums_that_openzfs_has() {
        for (count, expected) in (2..).zip(seeds::SUMS) {
            let bytes: Vec<u8> = permutations(count).concat();
            let sum: u64 = bytes.chunks_exact(4).map(|w| u64::from(u32::from_le_bytes(w.try_into().unwrap()))).sum();
            assert_eq!(sum, expected, "{count} disks");
        }
    }
}
