//! Raidz: how blocks lie on several devices (`vdev_raidz.c`), and their [`parity`].
//!
//! The sectors of a vdev are counted along the rows: sector 0 of the first child, of the
//! second, and so on, then sector 1 of the first. A block begins at any of them and takes
//! consecutive sectors. Its columns are the children from there on; each column has
//! consecutive sectors of its child. The first columns are parity, the others have the
//! block, column by column. Sectors that would be left alone between blocks are padding.

pub mod parity;

/// With a single parity, it changes places with the first data column in every second
/// MiB.
const SWAP_BIT: u64 = 1 << 20;

/// How the sectors of a block are spread over columns.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Columns of a full row, parity included.
    pub width: u64,
    parity: u64,
    /// Full rows.
    full: u64,
    /// Data sectors in the last row, if that is not full.
    rest: u64,
}

impl Layout {
    /// That of a block of so many sectors. `width` is larger than `parity`.
    pub fn new(width: u64, parity: u64, sectors: u64) -> Self {
        let data = width - parity;
        Self { width, parity, full: sectors / data, rest: sectors % data }
    }

    /// Rows, the last one full or not.
    pub fn rows(&self) -> u64 {
        self.full + u64::from(self.rest > 0)
    }

    /// Columns that have a sector.
    pub fn columns(&self) -> u64 {
        if self.full > 0 { self.width } else { self.parity + self.rest }
    }

    /// Where in the block a column begins, for parity anywhere, and how many
    /// sectors it has.
    pub fn extent(&self, column: u64) -> (u64, u64) {
        let Some(data) = column.checked_sub(self.parity) else { return (0, self.rows()) };
        let at = data * self.full + data.min(self.rest);
        (at, self.full + u64::from(data < self.rest))
    }

    /// At which sector, counted from that of the block at byte `offset` of the vdev, a
    /// column begins.
    pub fn place(&self, column: u64, offset: u64) -> u64 {
        let swaps = self.parity == 1 && offset & SWAP_BIT != 0;
        if swaps && column < 2 { 1 - column } else { column }
    }

    /// Sectors that are allocated for the block: data, parity, and padding up to a
    /// multiple of what the smallest block takes.
    pub fn allocated(&self) -> u64 {
        let data = self.full * (self.width - self.parity) + self.rest;
        (data + self.rows() * self.parity).next_multiple_of(self.parity + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_its_sectors_parity_for_each_row_and_padding() {
        let allocated = |width, parity, sectors| Layout::new(width, parity, sectors).allocated();
        // `vdev_raidz_psize_to_asize`, by hand.
        assert_eq!(allocated(3, 1, 1), 2);
        assert_eq!(allocated(3, 1, 2), 4);
        assert_eq!(allocated(3, 1, 32), 48);
        assert_eq!(allocated(6, 2, 32), 48);
        assert_eq!(allocated(5, 3, 1), 4);
        assert_eq!(allocated(5, 3, 3), 12);
    }

    #[test]
    fn the_columns_of_a_block_have_all_of_its_sectors_in_order() {
        for sectors in 1..40 {
            let layout = Layout::new(5, 2, sectors);
            let columns: Vec<(u64, u64)> = (2..layout.columns()).map(|column| layout.extent(column)).collect();
            let mut next = 0;
            for (at, length) in columns {
                assert_eq!(at, next);
                next += length;
            }
            assert_eq!(next, sectors);
        }
    }
}
