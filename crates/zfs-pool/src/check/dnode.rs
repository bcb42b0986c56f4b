//! Dnodes: whether what one says of itself can be.

use zfs_ondisk::blkptr;
use zfs_ondisk::dnode::Dnode;

use crate::block::MAX_BLOCK;

/// What a dnode says of itself that cannot be.
pub(super) fn dnode_faults(dnode: &Dnode) -> Vec<String> {
    let mut faults = Vec::new();
    if !(12..=17).contains(&dnode.indirect_shift) {
        faults.push(format!("the indirect block shift is {}, expected 12 to 17", dnode.indirect_shift));
    }
    if !dnode.bonus.is_empty() && !dnode.bonus_type.is_valid() {
        faults.push(format!("the type of the bonus buffer is {}", dnode.bonus_type.0));
    }
    if dnode.data_block_size() > MAX_BLOCK {
        faults.push(format!("data blocks have {} bytes", dnode.data_block_size()));
    }
    if dnode.max_block_id > 0 && !dnode.data_block_size().is_power_of_two() {
        // The size of a lone block can be any number of sectors.
        faults.push(format!("several data blocks have {} bytes, expected a power of two", dnode.data_block_size()));
    }
    let bits = u32::from(dnode.indirect_shift) - blkptr::SIZE.ilog2();
    let below = bits * (u32::from(dnode.levels) - 1);
    let reach = (dnode.pointers.len() as u64).checked_shl(below).filter(|reach| *reach >> below != 0);
    if reach.is_some_and(|reach| dnode.max_block_id >= reach) {
        faults.push(format!(
            "the largest block id is {}, but {} levels reach {} blocks only",
            dnode.max_block_id,
            dnode.levels,
            reach.unwrap_or(0)
        ));
    }
    if zfs_ondisk::compress::Function::from_number(dnode.compression).is_none() {
        faults.push(format!("compression function {} is not known", dnode.compression));
    }
    if zfs_ondisk::checksum::Checksum::from_number(dnode.checksum).is_none() {
        faults.push(format!("checksum function {} is not known", dnode.checksum));
    }
    faults
}
