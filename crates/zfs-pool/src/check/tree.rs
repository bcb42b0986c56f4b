//! Object sets: block trees, dnodes and their counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use zfs_ondisk::blkptr::{self, BlockPointer, Kind as PointerKind};
use zfs_ondisk::bytes::View;
use zfs_ondisk::dnode::Dnode;
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::object::{ObjectId, ObjectType};

use super::batch::{Batch, kind_of, part, step};
use super::claims;
use super::features::{used_by_block, used_by_root};
use super::files::{Files, Tables};
use super::findings::{BlockPlace, CopyPlace, Kind};
use super::{Checker, lock};
use crate::block::{BadCopy, order_of};
use crate::error::Error;
use crate::object::{Object, ObjectSet, dnodes_of, pointer_at, slots_per_block};
use crate::pool::Pool;
use crate::vdev::Vdev;

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

    pub(super) fn less(self, other: Self) -> Self {
        Self {
            used: self.used.wrapping_sub(other.used),
            compressed: self.compressed.wrapping_sub(other.compressed),
            uncompressed: self.uncompressed.wrapping_sub(other.uncompressed),
        }
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

/// How an object set is to be walked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    pub(super) shared: Shared,
    /// Whether what belongs to the snapshot before is walked, too. It is not verified again.
    pub(super) full: bool,
    /// Whether files are compared with each other.
    pub(super) compare_files: bool,
    /// Whether the intent log is its own: a snapshot keeps what its root had of the head's.
    pub(super) intent_log: bool,
}

/// The space that an object set takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// All blocks that were met: without those shared, if they were passed over.
    pub(super) all: Space,
    /// Blocks that the snapshot before does not have.
    pub(super) born: Space,
    /// Bytes allocated by blocks that the origin does not have.
    pub(super) own: u64,
    /// Features that its blocks and dnodes use.
    pub(super) features: FeatureSet,
}

impl Totals {
    fn count(&mut self, pool: &Pool, pointer: &BlockPointer, shared: &Shared) {
        let space = Space::of(pool, pointer);
        self.all.add(space);
        if pointer.birth() > shared.snapshot_txg {
            self.born.add(space);
        }
        if pointer.birth() > shared.origin_txg {
            self.own = self.own.wrapping_add(space.used);
        }
        used_by_block(pointer, &mut self.features);
    }

    fn add(&mut self, other: &Self) {
        self.all.add(other.all);
        self.born.add(other.born);
        self.own = self.own.wrapping_add(other.own);
        other.features.iter().for_each(|feature| self.features.insert(feature));
    }
}

/// An object set being examined.
pub(super) struct Set {
    number: u32,
    name: Arc<str>,
    objects: ObjectSet,
    shared: Shared,
    /// Whether what is shared with the snapshot before is walked, too.
    full: bool,
    files: Option<Files>,
    /// Blocks that may still be visited before the pool is known to be one that
    /// leads in circles.
    budget: AtomicU64,
    /// Whether that happened.
    exhausted: AtomicBool,
    /// Whether a part could not be read, so that sums and names are not all there.
    incomplete: AtomicBool,
    tally: Mutex<Tally>,
}

/// Sums over an object set.
struct Tally {
    totals: Totals,
    tables: Option<Tables>,
}

/// A part of an object set, to be examined by any thread.
pub(super) enum Job {
    /// An indirect block and all below it.
    Subtree(Arc<Tree>, BlockPointer, u32, u64),
    /// The objects in a block of dnodes, by the block's number.
    Dnodes(Arc<Set>, BlockPointer, u64),
}

/// The block tree of an object that has indirect blocks.
pub(super) struct Tree {
    set: Arc<Set>,
    object: Object,
    used: AtomicU64,
    /// Whether a part was not walked.
    incomplete: AtomicBool,
    /// Parts of the tree that are not done.
    pending: AtomicUsize,
}

/// What becomes of a block.
enum Next {
    /// It is to be walked on.
    Walk,
    /// It was passed over, and what is below is, too.
    Pass,
}

impl Set {
    fn is_complete(&self) -> bool {
        !self.incomplete.load(Ordering::Acquire)
    }

    fn batch(&self) -> Batch {
        Batch::new(self.number, self.name.clone())
    }
}

impl Checker<'_> {
    /// Examines all objects of an object set, and gives the space that it takes, and whether all could be read.
    pub(super) fn object_set(&self, objects: &ObjectSet, number: u32, walk: Walk) -> (Totals, bool) {
        let Walk { shared, full, compare_files, intent_log } = walk;
        let mut batch = Batch::new(number, objects.name());
        let files = self.open_files(objects, &mut batch);
        // Files are compared with each other only if all are met.
        let tables = files
            .as_ref()
            .filter(|_| full && compare_files)
            .map(|_| Tables::new(self.files_memory, &self.options.scratch));
        // So many pointers fit the pool if it holds nothing else.
        let devices = self.pool.vdevs().flat_map(Vdev::leaves).filter_map(Vdev::device);
        let capacity = devices.map(|device| device.size()).fold(0, u64::saturating_add);
        let set = Arc::new(Set {
            number,
            name: objects.name().into(),
            objects: objects.clone(),
            shared,
            full,
            files,
            budget: AtomicU64::new(capacity / blkptr::SIZE as u64),
            exhausted: AtomicBool::new(false),
            incomplete: AtomicBool::new(false),
            tally: Mutex::new(Tally { totals: Totals::default(), tables }),
        });
        self.root(&set, &mut batch);
        if intent_log {
            self.intent_log(objects, &mut batch);
        }
        let meta = objects.meta();
        batch.at(ObjectId(0), part::OBJECT);
        self.block_tree(&set, &meta, &mut batch);
        for table in objects.accounting().into_iter().flatten() {
            batch.at(table.id(), part::OBJECT);
            self.block_tree(&set, &table, &mut batch);
            if is_open(&table) {
                self.zap(&table, &mut batch, |_, _| ());
            }
        }
        self.merge_in(&set, batch);
        self.queue.finish(|job| self.run(job));

        let (totals, tables) = {
            let mut tally = lock(&set.tally);
            (tally.totals, tally.tables.take())
        };
        if let (Some(files), Some(tables)) = (&set.files, tables) {
            let mut batch = set.batch();
            self.compare_files(files, tables, objects, set.is_complete(), &mut batch);
            self.merge(batch);
        }
        if let Some(files) = &set.files {
            self.add_paths(files, number);
        }
        (totals, set.is_complete())
    }

    /// Does a job.
    pub(super) fn run(&self, job: Job) {
        match job {
            Job::Subtree(tree, pointer, level, number) => {
                let mut batch = tree.set.batch();
                let first = number.checked_shl(tree.object.indirect_bits() * level).unwrap_or(u64::MAX);
                batch.at(tree.object.id(), part::subtree(first, level));
                self.visit(&tree, &pointer, level, number, &mut batch);
                self.release(&tree, &mut batch);
                self.merge_in(&tree.set, batch);
            }
            Job::Dnodes(set, pointer, number) => {
                let mut batch = set.batch();
                self.dnodes(&set, &pointer, number, &mut batch);
                self.merge_in(&set, batch);
            }
        }
    }

    /// Leaves a job to others, unless they have enough.
    fn submit(&self, job: Job) {
        if let Some(job) = self.queue.add(job) {
            self.run(job);
        }
    }

    fn merge_in(&self, set: &Set, mut batch: Batch) {
        let mut tally = lock(&set.tally);
        tally.totals.add(&batch.totals);
        if let Some(tables) = &mut tally.tables {
            let result = tables.merge(&mut batch);
            self.scratch(result);
        }
        drop(tally);
        self.merge(batch);
    }

    fn root(&self, set: &Arc<Set>, batch: &mut Batch) {
        let root = *set.objects.pointer();
        let meta = set.objects.meta();
        batch.at(ObjectId(0), part::ROOT);
        used_by_root(&set.objects, &mut batch.totals.features);
        let fill = meta.dnode().pointers.iter().map(BlockPointer::fill).fold(0, u64::wrapping_add);
        if root.fill() != fill {
            let message = format!("the root's fill count is {}, that of its dnodes {fill}", root.fill());
            batch.finding(Kind::Pointer, Some(meta.id()), message);
        }
        let place = BlockPlace { level: 0, number: None, offset: 0, length: 0, pointer: root };
        self.block(set, &meta, &place, (ObjectType::OBJSET, root.logical_size()), batch);
    }

    /// The objects in a block of dnodes.
    fn dnodes(&self, set: &Arc<Set>, pointer: &BlockPointer, number: u64, batch: &mut Batch) {
        let meta = set.objects.meta();
        let per_block = slots_per_block(meta.dnode());
        let first = ObjectId(number.saturating_mul(per_block));
        batch.at(first, part::DNODES);
        let place = place_of(&meta, pointer, 0, number);
        if matches!(
            self.block(set, &meta, &place, (ObjectType::DNODE, meta.dnode().data_block_size()), batch),
            Next::Pass
        ) {
            return;
        }
        // What cannot be read was found above, unless it belongs to others.
        let block = match set.objects.block(pointer) {
            Ok(block) => block,
            Err(error) => {
                self.lose(set);
                return batch.failed(Some(first), &error);
            }
        };
        let mut count = Some(0);
        for found in dnodes_of(&set.objects, &block, order_of(pointer), first) {
            match found {
                Ok(object) => {
                    count = count.map(|count| count + 1);
                    batch.at(object.id(), part::OBJECT);
                    self.object(set, &object, batch);
                }
                Err(error) => {
                    count = None;
                    self.lose(set);
                    batch.at(first, part::SUMS);
                    batch.failed(Some(first), &error);
                }
            }
        }
        if count != Some(pointer.fill()) {
            batch.at(first, part::SUMS);
            let counted = count.map_or("damaged dnodes".into(), |count| format!("{count} dnodes"));
            let message = format!("{pointer:?}: the fill count is {}, the block has {counted}", pointer.fill());
            batch.block_finding(Kind::Pointer, meta.id(), place, Vec::new(), message);
        }
    }

    fn object(&self, set: &Arc<Set>, object: &Object, batch: &mut Batch) {
        if object.id().0 == 0 {
            return batch.finding(Kind::Dnode, Some(object.id()), "the first dnode is in use, it must be free");
        }
        batch.objects += 1;
        self.block_tree(set, object, batch);
        match &set.files {
            Some(files) => self.file_system_object(files, object, batch),
            None if object.dnode().object_type.is_zap() && is_open(object) => self.zap(object, batch, |_, _| ()),
            None => {}
        }
    }

    /// Walks the block tree of an object and compares it with the dnode.
    fn block_tree(&self, set: &Arc<Set>, object: &Object, batch: &mut Batch) {
        let dnode = object.dnode();
        for fault in dnode_faults(dnode) {
            batch.finding(Kind::Dnode, Some(object.id()), fault);
        }
        if dnode.extra_slots > 0 {
            batch.totals.features.insert(Feature::LargeDnode);
        }
        let (mut used, mut complete) = (0u64, true);
        let expected = (dnode.object_type, dnode.data_block_size());
        if let Some(spill) = dnode.spill.filter(|spill| !spill.is_hole()) {
            let place = BlockPlace { level: 0, number: None, offset: 0, length: 0, pointer: spill };
            match self.block(set, object, &place, (dnode.bonus_type, spill.logical_size()), batch) {
                Next::Walk => used = used.wrapping_add(self.pool.used_size(&spill)),
                Next::Pass => complete = false,
            }
        }
        if dnode.levels == 1 {
            for (number, pointer) in (0..).zip(&dnode.pointers).filter(|(_, pointer)| !pointer.is_hole()) {
                if is_meta(object) {
                    used = used.wrapping_add(self.pool.used_size(pointer));
                    self.submit(Job::Dnodes(set.clone(), *pointer, number));
                    continue;
                }
                let place = place_of(object, pointer, 0, number);
                match self.block(set, object, &place, expected, batch) {
                    Next::Walk => used = used.wrapping_add(self.pool.used_size(pointer)),
                    Next::Pass => complete = false,
                }
            }
            if complete {
                compare_used(object, used, batch);
            }
            return;
        }
        let tree = Arc::new(Tree {
            set: set.clone(),
            object: object.clone(),
            used: AtomicU64::new(used),
            incomplete: AtomicBool::new(!complete),
            pending: AtomicUsize::new(1),
        });
        for (number, pointer) in (0..).zip(&dnode.pointers) {
            self.visit(&tree, pointer, u32::from(dnode.levels) - 1, number, batch);
        }
        self.release(&tree, batch);
    }

    /// A part of a tree is done. With the last one, all is known.
    fn release(&self, tree: &Tree, batch: &mut Batch) {
        if tree.pending.fetch_sub(1, Ordering::AcqRel) == 1 && !tree.incomplete.load(Ordering::Acquire) {
            batch.at(tree.object.id(), part::SUMS);
            compare_used(&tree.object, tree.used.load(Ordering::Acquire), batch);
        }
    }

    /// Examines a block of a tree and all below it.
    fn visit(&self, tree: &Arc<Tree>, pointer: &BlockPointer, level: u32, number: u64, batch: &mut Batch) {
        if pointer.is_hole() {
            return;
        }
        let object = &tree.object;
        let dnode = object.dnode();
        if level == 0 && is_meta(object) {
            tree.used.fetch_add(self.pool.used_size(pointer), Ordering::Relaxed);
            return self.submit(Job::Dnodes(tree.set.clone(), *pointer, number));
        }
        let size = if level > 0 { 1 << dnode.indirect_shift } else { dnode.data_block_size() };
        let place = place_of(object, pointer, level, number);
        if let Next::Pass = self.block(&tree.set, object, &place, (dnode.object_type, size), batch) {
            return tree.incomplete.store(true, Ordering::Release);
        }
        tree.used.fetch_add(self.pool.used_size(pointer), Ordering::Relaxed);
        if level > 0
            && let Err(error) = self.below(tree, &place, batch)
        {
            tree.incomplete.store(true, Ordering::Release);
            self.lose(&tree.set);
            // What is unreadable was found already, unless it is shared.
            if is_shared(pointer, &tree.set.shared) || kind_of(error.cause()) != Kind::Unreadable {
                let message = error.cause().to_string();
                batch.block_finding(kind_of(error.cause()), object.id(), place, Vec::new(), message);
            }
        }
    }

    /// Examines what is below an indirect block.
    fn below(&self, tree: &Arc<Tree>, place: &BlockPlace, batch: &mut Batch) -> Result<(), Error> {
        let BlockPlace { level, number, pointer, .. } = *place;
        let object = &tree.object;
        let block = object.indirect_block(&pointer, level)?;
        let order = order_of(&pointer);
        let bits = object.indirect_bits();
        // Numbers that do not fit 64 bits belong to no block.
        let base = number.and_then(|number| number.checked_shl(bits).filter(|base| base >> bits == number));
        let Some(base) = base else { return Ok(()) };
        let mut fill = 0u64;
        for index in 0..block.len() / blkptr::SIZE {
            let child = pointer_at(&block, order, index)?;
            if child.is_hole() {
                continue;
            }
            fill = fill.wrapping_add(child.fill());
            if child.birth() > pointer.birth() {
                let message = format!("{child:?} is younger than the block that points to it");
                batch.finding(Kind::Pointer, Some(object.id()), message);
            }
            let Some(number) = base.checked_add(index as u64) else { break };
            if level > 1 {
                tree.pending.fetch_add(1, Ordering::AcqRel);
                self.submit(Job::Subtree(tree.clone(), child, level - 1, number));
            } else {
                self.visit(tree, &child, 0, number, batch);
            }
        }
        if fill != pointer.fill() {
            let message = format!("{pointer:?}: the fill count is {}, that of the blocks below {fill}", pointer.fill());
            batch.block_finding(Kind::Pointer, object.id(), *place, Vec::new(), message);
        }
        Ok(())
    }

    /// Counts a block, examines the pointer to it and reads all copies, unless that is done with the snapshot that it
    /// belongs to. `expected` are type and logical size.
    fn block(
        &self,
        set: &Set,
        object: &Object,
        place: &BlockPlace,
        expected: (ObjectType, usize),
        batch: &mut Batch,
    ) -> Next {
        let pointer = &place.pointer;
        let is_shared = is_shared(pointer, &set.shared);
        if is_shared && !set.full {
            return Next::Pass;
        }
        if set.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            if !set.exhausted.swap(true, Ordering::AcqRel) {
                let mut batch = set.batch();
                batch.at_step(step::EXHAUSTED);
                let message = "its blocks are more than the pool can hold: the rest was not examined";
                batch.finding(Kind::Pointer, None, message);
                self.merge(batch);
            }
            self.lose(set);
            return Next::Pass;
        }
        batch.totals.count(self.pool, pointer, &set.shared);
        if is_shared {
            return Next::Walk;
        }
        for fault in self.pointer_faults(object, place, expected) {
            batch.block_finding(Kind::Pointer, object.id(), *place, Vec::new(), format!("{pointer:?}: {fault}"));
        }
        claims::claim(self.pool, pointer, claims::Owner { set: set.number, object: object.id() }, &mut batch.claims);
        batch.blocks += 1;
        batch.bytes += pointer.allocated_size();
        // The contents of files are not needed again.
        let keep = place.level > 0 || expected.0.is_metadata();
        let objects = object.set();
        let result = if keep { objects.verify_and_keep(pointer) } else { objects.verify_block(pointer) };
        match result {
            Ok(bad) => {
                let copies = self.copies(bad);
                if !copies.is_empty() {
                    let what = if copies.len() == 1 { "a copy is bad" } else { "copies are bad" };
                    let message = format!("{pointer:?}: {what}");
                    batch.block_finding(Kind::BadCopy, object.id(), *place, copies, message);
                }
            }
            Err(error) => {
                let kind = kind_of(&error);
                let (message, copies) = match error {
                    Error::Unreadable { copies, .. } if !copies.is_empty() => {
                        (format!("{pointer:?}: no copy can be read"), self.copies(copies))
                    }
                    error => (error.to_string(), Vec::new()),
                };
                batch.block_finding(kind, object.id(), *place, copies, message);
                // What cannot be read cannot be walked.
                if place.level > 0 || expected.0 == ObjectType::DNODE {
                    self.lose(set);
                    return Next::Pass;
                }
            }
        }
        Next::Walk
    }

    /// Notes that a part of an object set cannot be walked.
    fn lose(&self, set: &Set) {
        set.incomplete.store(true, Ordering::Release);
        self.is_incomplete();
    }

    /// Notes that not everything that is referenced can be met.
    pub(super) fn is_incomplete(&self) {
        self.incomplete.store(true, Ordering::Release);
    }

    /// Where bad copies are. Those on devices that were away are counted only: that they were is told once.
    fn copies(&self, bad: Vec<BadCopy>) -> Vec<CopyPlace> {
        let is_away = |copy: &BadCopy| {
            let away = copy.place.as_ref().and_then(|place| self.away.get(&place.guid));
            away.inspect(|count| _ = count.fetch_add(1, Ordering::Relaxed)).is_some()
        };
        let place = |copy: BadCopy| CopyPlace {
            vdev: copy.vdev,
            offset: copy.offset,
            device: copy.place.map(|place| (place.name, place.offset)),
            fault: copy.fault,
        };
        bad.into_iter().filter(|copy| !is_away(copy)).map(place).collect()
    }
}

/// Whether the contents of an object can be read, as far as keys go.
fn is_open(object: &Object) -> bool {
    object.set().lock().is_none() || !object.dnode().object_type.is_encrypted()
}

/// Whether an object is the array of dnodes.
fn is_meta(object: &Object) -> bool {
    object.id().0 == 0 && object.dnode().object_type == ObjectType::DNODE
}

fn is_shared(pointer: &BlockPointer, shared: &Shared) -> bool {
    pointer.birth() <= shared.snapshot_txg
}

/// A block of an object, not its spill block.
pub(super) fn place_of(object: &Object, pointer: &BlockPointer, level: u32, number: u64) -> BlockPlace {
    let size = object.dnode().data_block_size() as u64;
    let blocks = 1u64.checked_shl(object.indirect_bits() * level).unwrap_or(u64::MAX);
    BlockPlace {
        level,
        number: Some(number),
        offset: number.saturating_mul(blocks).saturating_mul(size),
        length: blocks.saturating_mul(size),
        pointer: *pointer,
    }
}

fn compare_used(object: &Object, used: u64, batch: &mut Batch) {
    let recorded = object.dnode().used_bytes();
    if used != recorded {
        let message = format!("its blocks take {used} bytes, its dnode says {recorded}");
        batch.finding(Kind::Dnode, Some(object.id()), message);
    }
}

/// What a dnode says of itself that cannot be.
fn dnode_faults(dnode: &Dnode) -> Vec<String> {
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
    if zfs_ondisk::compress::Function::from_number(dnode.compression).is_none() {
        faults.push(format!("compression function {} is not known", dnode.compression));
    }
    if zfs_ondisk::checksum::Checksum::from_number(dnode.checksum).is_none() {
        faults.push(format!("checksum function {} is not known", dnode.checksum));
    }
    faults
}

/// The 64-bit word at an index of a bonus buffer.
pub(super) fn bonus_word(object: &Object, index: usize, what: &'static str) -> Result<u64, Error> {
    let view: View<'_> = object.bonus();
    view.u64(index * 8).map_err(Error::truncated(what)).map_err(|error| object.failed(error))
}
