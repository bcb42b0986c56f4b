//! Block pointers: whether they are such as the object can have.

use zfs_ondisk::blkptr::{BlockPointer, Kind as PointerKind};
use zfs_ondisk::compress::Function;
use zfs_ondisk::object::ObjectType;

use super::Checker;
use super::findings::BlockPlace;
use crate::object::Object;

impl Checker<'_> {
    /// What is wrong with a pointer that is no hole; `expected` are type and logical size.
    pub(super) fn pointer_faults(
        &self,
        object: &Object,
        place: &BlockPlace,
        (object_type, size): (ObjectType, usize),
    ) -> Vec<String> {
        let BlockPlace { pointer, level, number, .. } = place;
        let mut faults = Vec::new();
        if pointer.object_type() != object_type {
            faults.push(format!("the type is {}, that of the object {object_type}", pointer.object_type()));
        }
        if u32::from(pointer.level()) != *level {
            faults.push(format!("the level is {}, expected {level}", pointer.level()));
        }
        if pointer.logical_size() != size && pointer.kind() != PointerKind::Redacted {
            faults.push(format!("the logical size is {}, expected {size}", pointer.logical_size()));
        }
        let txg = self.pool.uberblock().txg;
        // A block that was moved as its vdev was removed is allocated later than it was written.
        if pointer.birth() > txg || pointer.physical_birth() > txg || pointer.birth() == 0 {
            faults.push(format!(
                "it was born in txg {} (allocated in {}), the pool is at {txg}",
                pointer.birth(),
                pointer.physical_birth()
            ));
        }
        match pointer.kind() {
            PointerKind::Data => self.stored_pointer(pointer, &mut faults),
            PointerKind::Embedded if object_type.has_fill() => {
                faults.push(format!("a block of type {object_type} cannot be embedded"));
            }
            // What is embedded has no checksum: its place says what is embedded, data being 0.
            PointerKind::Embedded if pointer.checksum() != 0 => {
                faults.push(format!("the embedded data is of type {}, expected 0", pointer.checksum()));
            }
            _ => {}
        }
        let is_data = *level == 0 && !object_type.has_fill();
        if is_data && pointer.fill() != 1 && pointer.kind() != PointerKind::Redacted {
            faults.push(format!("the fill count is {}, expected 1", pointer.fill()));
        }
        let largest = object.dnode().max_block_id;
        if *level == 0 && number.is_some_and(|number| number > largest) {
            let number = number.unwrap_or(0);
            faults.push(format!("block {number} is beyond the largest block id of the dnode, {largest}"));
        }
        faults
    }

    fn stored_pointer(&self, pointer: &BlockPointer, faults: &mut Vec<String>) {
        let (logical, physical) = (pointer.logical_size(), pointer.physical_size());
        match Function::from_number(pointer.compression()) {
            None | Some(Function::Inherit | Function::On | Function::Empty) => {
                faults.push(format!("{} is no compression function of a block", pointer.compression()));
            }
            Some(Function::Off) if physical != logical => {
                faults.push(format!("it is not compressed, but {physical} bytes are stored"));
            }
            Some(function) if function != Function::Off && physical >= logical => {
                faults.push(format!("it is compressed with {function} to {physical} bytes"));
            }
            Some(_) => {}
        }
        let mut places = [None; 3];
        for (index, dva) in pointer.dvas().enumerate() {
            if places.contains(&Some((dva.vdev, dva.offset))) {
                faults.push("two copies are in the same place".into());
            }
            places[index] = Some((dva.vdev, dva.offset));
            let Some(vdev) = self.pool.vdev(dva.vdev) else {
                faults.push(format!("there is no vdev {}", dva.vdev));
                continue;
            };
            let sector = 1u64 << vdev.ashift;
            if dva.offset % sector != 0 || dva.asize % sector != 0 {
                faults.push(format!("{dva:x?} is not in whole sectors of {sector} bytes"));
            }
            let needed = vdev.allocated_size(physical as u64, pointer.physical_birth());
            if dva.asize != needed && !dva.gang {
                faults.push(format!("{} bytes are allocated, expected {needed}", dva.asize));
            }
            if dva.offset.saturating_add(dva.asize) > vdev.asize && !dva.gang {
                faults.push(format!("{dva:x?} is beyond the end of the vdev"));
            }
        }
    }
}
