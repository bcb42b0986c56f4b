//! Object sets: block trees, dnodes and their counts.

use zfs_ondisk::blkptr::{self, BlockPointer, Kind as PointerKind};
use zfs_ondisk::bytes::View;
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::Function;
use zfs_ondisk::dnode::{self, Dnode};
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::object::{ObjectId, ObjectType};

use super::features::{used_by_block, used_by_root};
use super::{Checker, Kind};
use crate::block::order_of;
use crate::object::{Object, ObjectSet};
use crate::pool::Pool;
use crate::walk::{Visit, Walk};

/// Offset of the first block's pointer in the header of an intent log
/// (`zil_header_t`), and of the next one's in its blocks (`zil_chain_t`).
const ZIL_LOG: usize = 16;
const ZIL_NEXT: usize = 8;
/// More log blocks than these are not followed.
const MAX_ZIL_BLOCKS: usize = 1 << 20;

/// Space, in the three ways in which ZFS counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes allocated.
    pub(super) used: u64,
    /// Bytes stored.
    pub(super) compressed: u64,
    /// Bytes of contents; of metadata, bytes stored.
    pub(super) uncompressed: u64,
}

impl Space {
    pub(super) fn of(pool: &Pool, pointer: &BlockPointer) -> Self {
        let stored = match pointer.kind() {
            PointerKind::Data => pointer.physical_size() as u64,
            _ => 0,
        };
        let is_metadata = pointer.level() > 0 || pointer.object_type().is_metadata();
        Self {
            used: pool.used_size(pointer),
            compressed: stored,
            uncompressed: match pointer.kind() {
                PointerKind::Data | PointerKind::Embedded if !is_metadata => pointer.logical_size() as u64,
                _ => stored,
            },
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.used = self.used.wrapping_add(other.used);
        self.compressed = self.compressed.wrapping_add(other.compressed);
        self.uncompressed = self.uncompressed.wrapping_add(other.uncompressed);
    }
}

/// Which blocks of an object set belong to others, too.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared {
    /// Blocks born in this transaction group or before belong to the snapshot
    /// before, with which they are examined.
    pub(super) snapshot_txg: u64,
    /// Blocks born in this transaction group or before belong to the origin of
    /// the clone.
    pub(super) origin_txg: u64,
}

/// The space that an object set takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// All blocks, those shared, too.
    pub(super) all: Space,
    /// Bytes allocated by blocks that the snapshot before does not have.
    pub(super) unique: u64,
    /// Bytes allocated by blocks that the origin does not have.
    pub(super) own: u64,
    /// Features that its blocks and dnodes use.
    pub(super) features: FeatureSet,
}

/// An object set being examined.
struct Context<'a> {
    name: &'a str,
    shared: Shared,
    totals: Totals,
    /// Blocks that may still be visited before the pool is known to be one that
    /// leads in circles.
    budget: u64,
}

impl Context<'_> {
    fn count(&mut self, pool: &Pool, pointer: &BlockPointer) {
        let space = Space::of(pool, pointer);
        self.totals.all.add(space);
        let used = |since| if pointer.birth() > since { space.used } else { 0 };
        self.totals.unique = self.totals.unique.wrapping_add(used(self.shared.snapshot_txg));
        used_by_block(pointer, &mut self.totals.features);
        self.totals.own = self.totals.own.wrapping_add(used(self.shared.origin_txg));
    }
}

/// Fill counts of an indirect block being walked.
struct Pending {
    visit: Visit,
    sum: u64,
}

impl Checker<'_> {
    /// Examines all objects of an object set, and gives the space that it takes.
    pub(super) fn object_set(&mut self, set: &ObjectSet, shared: Shared) -> Totals {
        let name = set.name();
        // So many pointers fit the pool if it holds nothing else.
        let capacity: u64 = self.pool.vdevs().map(|vdev| vdev.asize).fold(0, u64::saturating_add);
        let budget = capacity / blkptr::SIZE as u64;
        let mut context = Context { name, shared, totals: Totals::default(), budget };
        let root = *set.pointer();
        context.count(self.pool, &root);
        used_by_root(set, &mut context.totals.features);
        let meta = set.meta();
        let fill = meta.dnode().pointers.iter().map(BlockPointer::fill).fold(0, u64::wrapping_add);
        if root.fill() != fill {
            let message = format!("the root's fill count is {}, that of its dnodes {fill}", root.fill());
            self.finding(Kind::Pointer, name, Some(meta.id()), message);
        }
        let expected = (ObjectType::OBJSET, 0, root.logical_size());
        self.pointer(&context, &meta, &root, expected);
        self.contents(&context, &meta, &root);
        self.intent_log(set);

        self.block_tree(&mut context, &meta);
        for table in set.accounting().into_iter().flatten() {
            self.block_tree(&mut context, &table);
            if is_open(&table) {
                self.zap(&table, |_, _| ());
            }
        }
        if let Some(lock) = set.lock() {
            self.finding(Kind::NotChecked, name, None, format!("{lock}: only its checksums are verified"));
        }
        let mut files = if set.lock().is_none() { self.open_files(set) } else { None };
        for found in set.objects() {
            let object = match found {
                Ok(object) => object,
                Err(error) => {
                    self.failed(name, None, &error);
                    continue;
                }
            };
            self.report.objects += 1;
            self.block_tree(&mut context, &object);
            match &mut files {
                Some(files) => self.file_system_object(files, &object),
                None if object.dnode().object_type.is_zap() && is_open(&object) => self.zap(&object, |_, _| ()),
                None => {}
            }
        }
        if let Some(files) = files {
            self.finish_files(files, set);
        }
        context.totals
    }

    /// Walks the block tree of an object and compares it with the dnode.
    fn block_tree(&mut self, context: &mut Context<'_>, object: &Object) {
        let dnode = object.dnode();
        self.dnode(context, object);
        if dnode.extra_slots > 0 {
            context.totals.features.insert(Feature::LargeDnode);
        }
        let mut used = 0u64;
        let mut pending: Vec<Pending> = Vec::new();
        for found in Walk::new(object, 0) {
            let visit = match found {
                Ok(visit) => visit,
                Err(error) => {
                    self.failed(context.name, Some(object.id()), &error);
                    // Counts above the damage mean nothing.
                    pending.clear();
                    continue;
                }
            };
            let Some(budget) = context.budget.checked_sub(1) else {
                let message = "its blocks, and those before it, are more than the pool can hold";
                return self.finding(Kind::NotChecked, context.name, Some(object.id()), message);
            };
            context.budget = budget;
            self.close(context, object, &mut pending, visit.level);
            let pointer = visit.pointer;
            if let Some(parent) = pending.last_mut() {
                parent.sum = parent.sum.wrapping_add(pointer.fill());
                if pointer.birth() > parent.visit.pointer.birth() {
                    let message = format!("{pointer:?} is younger than the block that points to it");
                    self.finding(Kind::Pointer, context.name, Some(object.id()), message);
                }
            }
            used = used.wrapping_add(self.pool.used_size(&pointer));
            context.count(self.pool, &pointer);
            let size = if visit.level > 0 { 1 << dnode.indirect_shift } else { dnode.data_block_size() };
            self.pointer(context, object, &pointer, (dnode.object_type, visit.level, size));
            self.contents(context, object, &pointer);
            if visit.level > 0 {
                pending.push(Pending { visit, sum: 0 });
            } else {
                self.data_block(context, object, &visit);
            }
        }
        self.close(context, object, &mut pending, u32::MAX);
        if let Some(spill) = dnode.spill.filter(|spill| !spill.is_hole()) {
            used = used.wrapping_add(self.pool.used_size(&spill));
            context.count(self.pool, &spill);
            self.pointer(context, object, &spill, (dnode.bonus_type, 0, spill.logical_size()));
            self.contents(context, object, &spill);
        }
        if used != dnode.used_bytes() {
            let message = format!("its blocks take {used} bytes, its dnode says {}", dnode.used_bytes());
            self.finding(Kind::Dnode, context.name, Some(object.id()), message);
        }
    }

    /// Compares the fill counts of the indirect blocks that end before a block
    /// of `level`.
    fn close(&mut self, context: &Context<'_>, object: &Object, pending: &mut Vec<Pending>, level: u32) {
        while let Some(last) = pending.pop_if(|last| last.visit.level <= level) {
            let recorded = last.visit.pointer.fill();
            if last.sum != recorded {
                let message = format!(
                    "{:?}: the fill count is {recorded}, that of the blocks below {}",
                    last.visit.pointer, last.sum
                );
                self.finding(Kind::Pointer, context.name, Some(object.id()), message);
            }
        }
    }

    /// What a dnode says of itself.
    fn dnode(&mut self, context: &Context<'_>, object: &Object) {
        let dnode = object.dnode();
        let mut faults = Vec::new();
        if !(12..=17).contains(&dnode.indirect_shift) {
            faults.push(format!("the indirect block shift is {}, expected 12 to 17", dnode.indirect_shift));
        }
        if !dnode.bonus.is_empty() && !dnode.bonus_type.is_valid() {
            faults.push(format!("the type of the bonus buffer is {}", dnode.bonus_type.0));
        }
        if dnode.data_block_size() > crate::block::MAX_BLOCK {
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
        if Function::from_number(dnode.compression).is_none() {
            faults.push(format!("compression function {} is not known", dnode.compression));
        }
        if Checksum::from_number(dnode.checksum).is_none() {
            faults.push(format!("checksum function {} is not known", dnode.checksum));
        }
        for fault in faults {
            self.finding(Kind::Dnode, context.name, Some(object.id()), fault);
        }
    }

    /// Whether a pointer is one that the object can have; `expected` are type,
    /// level and logical size.
    fn pointer(
        &mut self,
        context: &Context<'_>,
        object: &Object,
        pointer: &BlockPointer,
        (object_type, level, size): (ObjectType, u32, usize),
    ) {
        let mut faults = Vec::new();
        if pointer.object_type() != object_type {
            faults.push(format!("the type is {}, that of the object {object_type}", pointer.object_type()));
        }
        if u32::from(pointer.level()) != level {
            faults.push(format!("the level is {}, expected {level}", pointer.level()));
        }
        if pointer.logical_size() != size && pointer.kind() != PointerKind::Redacted {
            faults.push(format!("the logical size is {}, expected {size}", pointer.logical_size()));
        }
        let txg = self.pool.uberblock().txg;
        if pointer.birth() > txg || pointer.physical_birth() > pointer.birth() || pointer.birth() == 0 {
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
            _ => {}
        }
        if level == 0 && !object_type.has_fill() && pointer.fill() != 1 && pointer.kind() != PointerKind::Redacted {
            faults.push(format!("the fill count is {}, expected 1", pointer.fill()));
        }
        for fault in faults {
            let message = format!("{pointer:?}: {fault}");
            self.finding(Kind::Pointer, context.name, Some(object.id()), message);
        }
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
        let mut copies: Vec<_> = pointer.dvas().collect();
        for dva in &copies {
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
        copies.dedup_by_key(|dva| (dva.vdev, dva.offset));
        if copies.len() != pointer.dvas().count() {
            faults.push("two copies are in the same place".into());
        }
    }

    /// Reads all copies of a block and claims its space, unless that is done with
    /// the snapshot that it belongs to.
    fn contents(&mut self, context: &Context<'_>, object: &Object, pointer: &BlockPointer) {
        if pointer.birth() <= context.shared.snapshot_txg {
            return;
        }
        self.claims.claim(self.pool, pointer);
        self.report.blocks += 1;
        self.report.bytes += pointer.allocated_size();
        match object.set().verify_block(pointer) {
            Ok(bad) => {
                for copy in bad {
                    self.finding(Kind::BadCopy, context.name, Some(object.id()), format!("{pointer:?}: {copy}"));
                }
            }
            Err(error) => self.failed(context.name, Some(object.id()), &error),
        }
    }

    /// What is particular to the data blocks of some objects.
    fn data_block(&mut self, context: &Context<'_>, object: &Object, visit: &Visit) {
        let dnode = object.dnode();
        if visit.number > dnode.max_block_id {
            let message = format!("block {} is beyond the largest block id, {}", visit.number, dnode.max_block_id);
            self.finding(Kind::Dnode, context.name, Some(object.id()), message);
        }
        if dnode.object_type != ObjectType::DNODE {
            return;
        }
        // What cannot be read is reported already.
        let Ok(block) = object.set().block(&visit.pointer) else { return };
        let count = count_dnodes(&View::new(&block, order_of(&visit.pointer)));
        if count != Some(visit.pointer.fill()) {
            let counted = count.map_or("damaged dnodes".into(), |count| format!("{count} dnodes"));
            let message =
                format!("{:?}: the fill count is {}, the block has {counted}", visit.pointer, visit.pointer.fill());
            self.finding(Kind::Pointer, context.name, Some(object.id()), message);
        }
    }

    /// Notes an intent log that is not empty, and claims its blocks.
    fn intent_log(&mut self, set: &ObjectSet) {
        let header = View::new(&set.root().zil_header, order_of(set.pointer()));
        let Ok(mut pointer) = BlockPointer::read(&header, ZIL_LOG) else { return };
        let mut blocks = 0;
        // The end of the chain is a block that was never written.
        while blocks < MAX_ZIL_BLOCKS && pointer.kind() == PointerKind::Data {
            let Ok(block) = self.pool.read_stored(&pointer) else { break };
            self.claims.claim(self.pool, &pointer);
            blocks += 1;
            let is_new = Checksum::from_number(pointer.checksum()) == Some(Checksum::Zilog2);
            let next = if is_new { ZIL_NEXT } else { block.len().saturating_sub(192) + ZIL_NEXT };
            match BlockPointer::read(&View::new(&block, order_of(&pointer)), next) {
                Ok(following) => pointer = following,
                Err(_) => break,
            }
        }
        if blocks > 0 {
            let message = format!("the intent log has {blocks} blocks: mounting would replay them");
            self.finding(Kind::IntentLog, set.name(), None, message);
        }
    }
}

/// Whether the contents of an object can be read, as far as keys go.
fn is_open(object: &Object) -> bool {
    object.set().lock().is_none() || !object.dnode().object_type.is_encrypted()
}

/// The dnodes in a block of them; `None` if one is damaged.
fn count_dnodes(block: &View<'_>) -> Option<u64> {
    let mut count = 0;
    let mut offset = 0;
    while offset < block.len() {
        let rest = block.view(offset, block.len() - offset).ok()?;
        offset += match Dnode::read(&rest).ok()? {
            Some(dnode) => {
                count += 1;
                dnode.slots() * dnode::SLOT_SIZE
            }
            None => dnode::SLOT_SIZE,
        };
    }
    Some(count)
}

/// The object 0 of an object set, in messages.
pub(super) const NO_OBJECT: ObjectId = ObjectId(0);
