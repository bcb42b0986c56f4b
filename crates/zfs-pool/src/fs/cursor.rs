//! Listing a directory a part at a time, from a place that a number names.

use zfs_ondisk::zap::Structure;

use super::{DirEntry, Directory, dir_entry};
use crate::error::Error;

/// Bits of a place that count the entries of a leaf; those above are a pointer of
/// the table.
const LEAF_BITS: u32 = 20;

impl Directory {
    /// Up to `most` entries from `place` on, each with the place behind it; none
    /// at the end. 0 is the place of the first entry. No more than a leaf of other
    /// entries is in memory, and none before it is read.
    ///
    /// # Errors
    /// If the directory cannot be read, or `place` is none that was given before.
    pub fn entries_from(&mut self, place: u64, most: usize) -> Result<Vec<(DirEntry, u64)>, Error> {
        let object = self.zap.object().clone();
        if let Structure::Micro { .. } = self.zap.structure() {
            let first = usize::try_from(place).unwrap_or(usize::MAX);
            let entries = self.zap.iter().enumerate().skip(first).take(most);
            return entries.map(|(index, entry)| Ok((dir_entry(&object, entry?)?, index as u64 + 1))).collect();
        }
        let (mut index, mut skip) = (place >> LEAF_BITS, (place & ((1 << LEAF_BITS) - 1)) as usize);
        let mut found = Vec::new();
        while let Some((leaf, next)) = self.zap.leaf(index)? {
            for (number, (_, entry)) in leaf.entries.into_iter().enumerate().skip(skip) {
                if found.len() == most {
                    return Ok(found);
                }
                found.push((dir_entry(&object, entry)?, index << LEAF_BITS | (number as u64 + 1)));
            }
            if found.len() == most {
                break;
            }
            (index, skip) = (next, 0);
        }
        Ok(found)
    }
}
