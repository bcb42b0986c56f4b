//! Object sets: block trees, dnodes and their counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::feature::Feature;
use zfs_ondisk::object::{ObjectId, ObjectType};

use super::batch::{Batch, kind_of, part, step};
use super::block::place_of;
use super::claims;
use super::dnode::dnode_faults;
use super::features::used_by_root;
use super::files::{Files, Tables};
use super::findings::{BlockPlace, Kind};
use super::totals::{Shared, Totals};
use super::{Checker, lock};
use crate::block::order_of;
use crate::error::Error;
use crate::object::{Object, ObjectSet, dnodes_of, pointer_at, slots_per_block};
use crate::vdev::Vdev;

/// Names of files that a job keeps to itself at most: a directory may have millions.
const MANY_NAMES: usize = 1 << 16;

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

    /// Hands in what a job knows of the names of files, when it is much. Where files are not compared, it is not needed.
    pub(super) fn hand_in(&self, set: &Set, batch: &mut Batch) {
        if batch.names.len() < MANY_NAMES {
            return;
        }
        match &mut lock(&set.tally).tables {
            Some(tables) => _ = self.scratch(tables.merge(batch)),
            None => batch.names.clear(),
        }
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
            Some(files) => self.file_system_object(set, files, object, batch),
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
        // What cannot be read cannot be walked.
        if !self.tell_copies(object, place, result, batch) && (place.level > 0 || expected.0 == ObjectType::DNODE) {
            self.lose(set);
            return Next::Pass;
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

fn compare_used(object: &Object, used: u64, batch: &mut Batch) {
    let recorded = object.dnode().used_bytes();
    if used != recorded {
        let message = format!("its blocks take {used} bytes, its dnode says {recorded}");
        batch.finding(Kind::Dnode, Some(object.id()), message);
    }
}
