//! Writes a file system: its files in one pass, then what depends on them.

mod special;

use std::collections::VecDeque;
use std::sync::Arc;

use tree::{Kind, NodeId, Tree};
use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::dnode::{self, Dnode, bonus_capacity};
use zfs_ondisk::feature::Feature;
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::sa::{self, Attribute, Layouts};
use zfs_ondisk::zap::{Params, ZapContents};
use zfs_ondisk::znode;

use self::special::Owners;
use crate::attributes::{self, Place, XattrPlan, printable};
use crate::block::{Address, SPILL};
use crate::block_tree::BlockTree;
use crate::directory::Directory;
use crate::dnodes::DnodeArray;
use crate::error::Error;
use crate::pipeline::{Batch, EncodedBatch, Piece, Pipeline, Source};
use crate::plan::{Dataset, Plan};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::store::{Identity, Store, Usage};
use crate::zap_object;

/// Blocks of a batch take about so many bytes, or one block does.
const BATCH_BYTES: u64 = 1 << 20;
/// A batch of small files has at most so many, so that all threads get some.
const BATCH_PIECES: usize = 128;

/// So many objects may wait for their blocks, or for those of objects before them.
const MAX_PENDING: usize = 4096;
/// A batch goes to the threads once so many objects wait for it, however small it is. This, too, must not depend on what
/// the threads have done: where a batch ends shows in the image.
const MAX_UNSUBMITTED: usize = MAX_PENDING / 2;

/// What a build works on.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) plan: &'a Plan,
    pub(crate) creation_time: u64,
    /// What salts of ZAPs are made from.
    pub(crate) seed: u64,
    pub(crate) progress: &'a dyn Progress,
}

/// A file system on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// The root of its object set.
    pub(crate) root: BlockPointer,
    /// Space that it references.
    pub(crate) usage: Usage,
}

/// Writes dataset `index` of the plan.
pub(crate) fn write<'a>(
    context: Context<'a>,
    index: usize,
    store: &mut Store<'_>,
    pipeline: &mut Pipeline<'a>,
) -> Result<Written, Error> {
    let dataset = &context.plan.datasets[index];
    store.take_usage();
    let mut writer = Writer {
        context,
        index,
        dataset,
        dnodes: DnodeArray::new(dataset.settings.policies),
        layouts: Layouts::default(),
        owners: Owners::default(),
        batch: Batch::default(),
        unsubmitted: 0,
        pending: VecDeque::new(),
        ready: VecDeque::new(),
    };
    writer.master_node(store)?;
    match dataset.root {
        None => writer.empty_root(store)?,
        Some(_) => {
            for &node in &dataset.files {
                writer.add(store, pipeline, node)?;
            }
            writer.submit(pipeline);
            writer.receive(store, pipeline, |_, pipeline| pipeline.is_encoding())?;
            writer.complete(store, pipeline)?;
        }
    }
    // What is left is written here, after all that the pipeline writes.
    pipeline.write_waiting(store);
    pipeline.wait_for_writes()?;
    let written = writer.finish(store)?;
    store.flush()?;
    Ok(written)
}

struct Writer<'a> {
    context: Context<'a>,
    index: usize,
    dataset: &'a Dataset,
    dnodes: DnodeArray,
    layouts: Layouts,
    owners: Owners,
    batch: Batch<'a>,
    /// Objects queued since a batch was submitted.
    unsubmitted: usize,
    /// Objects whose blocks are under way, in order.
    pending: VecDeque<Pending>,
    /// Pointers to blocks that have their places, for the first of them.
    ready: VecDeque<BlockPointer>,
}

/// An object whose blocks are under way.
struct Pending {
    object: ObjectId,
    subject: Subject,
    block_size: usize,
    place: Place,
    tree: BlockTree,
    spans: VecDeque<Span>,
    /// No more spans will come.
    complete: bool,
}

/// What an object is.
#[derive(Clone)]
enum Subject {
    /// A node of the tree.
    Node(NodeId, XattrPlan),
    /// The directory of a node's extended attributes, or a file in it.
    Xattr { owner: NodeId, directory: bool },
}

/// Consecutive blocks of an object.
enum Span {
    Blocks(u64),
    Holes(u64),
}

impl<'a> Writer<'a> {
    fn settings(&self) -> &'a Settings {
        &self.dataset.settings
    }

    fn slots(&self) -> u64 {
        self.settings().dnode_slots as u64
    }

    fn params(&self, object: ObjectId) -> Params {
        let salt = self.context.seed.wrapping_add((self.index as u64) << 40).wrapping_add(object.0);
        Params::new(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).normalized(self.settings().norm_flags)
    }

    /// Queues a node and, after it, its extended attributes.
    fn add(&mut self, store: &mut Store<'_>, pipeline: &mut Pipeline<'a>, node: NodeId) -> Result<(), Error> {
        let Context { tree, plan, .. } = self.context;
        let is_root = self.dataset.root == Some(node);
        let mountpoint = plan.is_mountpoint(self.index, node);
        let settings = self.settings();
        let (object, links) =
            if mountpoint { (plan.entry(tree, self.index, node), 2) } else { plan.file(tree, self.index, node) };
        let parent = match tree.parent(node) {
            Some(parent) if !is_root => self.parent_object(parent),
            _ => object,
        };
        // What is mounted there hides the rest of a mountpoint.
        let xattrs = if mountpoint {
            XattrPlan::None
        } else {
            attributes::xattr_plan(tree, node, settings.xattrs, settings.posix_acls)?
        };
        let first_xattr = ObjectId(object.0 + self.slots());
        let has_directory = matches!(xattrs, XattrPlan::Directory(_));
        let mut place = Place {
            parent,
            links: links.into(),
            size: tree.node(node).size,
            xattr_directory: has_directory.then_some(first_xattr),
        };
        let subject = Subject::Node(node, xattrs.clone());
        match tree.node(node).kind {
            Kind::File => self.add_file(store, pipeline, object, subject, place, node)?,
            Kind::Directory => {
                let params = self.params(object);
                let directory = if mountpoint {
                    Directory::of(tree.path(node), Vec::new(), Vec::new(), params)?
                } else {
                    Directory::plan(tree, node, params, |entry| plan.entry(tree, self.index, entry))?
                };
                place.size = 2 + directory.len() as u64;
                self.add_directory(store, pipeline, object, subject, place, directory)?;
            }
            _ => self.queue(object, subject, place, dnode::SLOT_SIZE, ObjectType::PLAIN_FILE_CONTENTS),
        }
        self.end_object();
        if let XattrPlan::Directory(indexes) = xattrs {
            self.add_xattrs(store, pipeline, node, object, first_xattr, &indexes)?;
        }
        if self.unsubmitted > MAX_UNSUBMITTED {
            self.submit(pipeline);
        }
        if self.pending.len() > MAX_PENDING {
            // Some may have no blocks, or wait for none.
            self.complete(store, pipeline)?;
            let too_many = |writer: &Self| writer.pending.len() > MAX_PENDING;
            self.receive(store, pipeline, |writer, pipeline| too_many(writer) && pipeline.is_encoding())?;
        }
        Ok(())
    }

    /// The object of the directory that a node is in; for a file with several
    /// names, of a directory of this dataset that has one of them.
    fn parent_object(&self, parent: NodeId) -> ObjectId {
        let Context { tree, plan, .. } = self.context;
        let (object, _) = plan.file(tree, self.index, parent);
        if object.0 != 0 { object } else { self.dataset.root_object() }
    }

    fn add_file(
        &mut self,
        store: &mut Store<'_>,
        pipeline: &mut Pipeline<'a>,
        object: ObjectId,
        subject: Subject,
        place: Place,
        node: NodeId,
    ) -> Result<(), Error> {
        let size = place.size;
        let record_size = self.settings().record_size;
        // A file of one block has one just as long as it needs; every block of
        // a longer one, the last too, is a whole record.
        let block_size = if size > record_size as u64 {
            record_size
        } else {
            (size as usize).next_multiple_of(dnode::SLOT_SIZE).max(dnode::SLOT_SIZE)
        };
        self.queue(object, subject, place, block_size, ObjectType::PLAIN_FILE_CONTENTS);
        let source = Source::File(node);
        let count = size.div_ceil(block_size as u64);
        if count <= 1 {
            return self.add_blocks(store, pipeline, &source, 0..count);
        }
        let content = self.context.tree.open(node)?;
        let mut next = 0;
        while let Some(data) = content.next_data(next * block_size as u64)? {
            let first = (data.start / block_size as u64).max(next);
            let end = data.end.div_ceil(block_size as u64).min(count);
            self.add_span(Span::Holes(first - next));
            self.add_blocks(store, pipeline, &source, first..end)?;
            next = end.max(first);
            if next >= count {
                break;
            }
        }
        self.add_span(Span::Holes(count - next));
        Ok(())
    }

    fn add_directory(
        &mut self,
        store: &mut Store<'_>,
        pipeline: &mut Pipeline<'a>,
        object: ObjectId,
        subject: Subject,
        place: Place,
        directory: Directory<'a>,
    ) -> Result<(), Error> {
        self.queue(object, subject, place, directory.block_size(), ObjectType::DIRECTORY_CONTENTS);
        let blocks = 0..directory.block_count();
        self.add_blocks(store, pipeline, &Source::Directory(Arc::new(directory)), blocks)
    }

    fn add_xattrs(
        &mut self,
        store: &mut Store<'_>,
        pipeline: &mut Pipeline<'a>,
        owner: NodeId,
        owner_object: ObjectId,
        object: ObjectId,
        indexes: &[usize],
    ) -> Result<(), Error> {
        let tree = self.context.tree;
        let slots = self.slots();
        let file = |position: usize| ObjectId(object.0 + (1 + position as u64) * slots);
        let xattrs = tree.xattrs(owner);
        let names = indexes.iter().map(|&index| attributes::xattr_name(&xattrs[index]).into()).collect();
        let values = (0..indexes.len()).map(|position| znode::dirent(0o100644, file(position))).collect();
        let directory = Directory::of(tree.path(owner), names, values, self.params(object))?;
        let place = Place { parent: owner_object, links: 2, size: 2 + indexes.len() as u64, xattr_directory: None };
        self.add_directory(store, pipeline, object, Subject::Xattr { owner, directory: true }, place, directory)?;
        self.end_object();
        for (position, &index) in indexes.iter().enumerate() {
            let size = xattrs[index].value.len();
            let block_size =
                size.next_multiple_of(dnode::SLOT_SIZE).clamp(dnode::SLOT_SIZE, self.settings().record_size);
            let place = Place { parent: object, links: 1, size: size as u64, xattr_directory: None };
            let subject = Subject::Xattr { owner, directory: false };
            self.queue(file(position), subject, place, block_size, ObjectType::PLAIN_FILE_CONTENTS);
            let blocks = 0..size.div_ceil(block_size) as u64;
            self.add_blocks(store, pipeline, &Source::Xattr(owner, index), blocks)?;
            self.end_object();
        }
        Ok(())
    }

    fn queue(&mut self, object: ObjectId, subject: Subject, place: Place, block_size: usize, object_type: ObjectType) {
        self.unsubmitted += 1;
        self.pending.push_back(Pending {
            object,
            subject,
            block_size,
            place,
            tree: BlockTree::new(object_type, self.settings().policies),
            spans: VecDeque::new(),
            complete: false,
        });
    }

    fn end_object(&mut self) {
        if let Some(last) = self.pending.back_mut() {
            last.complete = true;
        }
    }

    fn add_span(&mut self, span: Span) {
        if let (Some(last), Span::Blocks(1..) | Span::Holes(1..)) = (self.pending.back_mut(), &span) {
            last.spans.push_back(span);
        }
    }

    /// Queues blocks of the last object, in batches.
    fn add_blocks(
        &mut self,
        store: &mut Store<'_>,
        pipeline: &mut Pipeline<'a>,
        source: &Source<'a>,
        blocks: std::ops::Range<u64>,
    ) -> Result<(), Error> {
        let Some(last) = self.pending.back() else { return Ok(()) };
        let (object_type, block_size) = (last.tree.object_type(), last.block_size);
        let policy = self.settings().policies.of(object_type, 0);
        let address = Address { object_type, level: 0, object: last.object, block: 0 };
        let identity = Identity { policy, address, fill: 1, logical_size: block_size };
        let cost = (block_size as u64).next_multiple_of(1 << store.shape().ashift);
        let mut next = blocks.start;
        while next < blocks.end {
            let room = (BATCH_BYTES.saturating_sub(self.batch.bytes) / cost).max(1);
            let end = blocks.end.min(next + room);
            self.batch.pieces.push(Piece { source: source.clone(), identity, blocks: next..end });
            self.batch.bytes += (end - next) * cost;
            self.add_span(Span::Blocks(end - next));
            if self.batch.bytes >= BATCH_BYTES || self.batch.pieces.len() >= BATCH_PIECES {
                self.submit(pipeline);
                self.receive(store, pipeline, |_, pipeline| pipeline.is_full())?;
            }
            next = end;
        }
        Ok(())
    }

    fn submit(&mut self, pipeline: &mut Pipeline<'a>) {
        self.unsubmitted = 0;
        if !self.batch.pieces.is_empty() {
            pipeline.submit(std::mem::take(&mut self.batch));
        }
    }

    /// Places what the threads have encoded, and waits for more of it while `wait` says so.
    fn receive(
        &mut self,
        store: &mut Store<'_>,
        pipeline: &mut Pipeline<'a>,
        wait: impl Fn(&Self, &Pipeline<'a>) -> bool,
    ) -> Result<(), Error> {
        loop {
            while let Some(batch) = pipeline.next()? {
                self.place(store, pipeline, batch)?;
            }
            if !wait(self, pipeline) {
                return Ok(());
            }
            pipeline.wait()?;
        }
    }

    /// Finds room for the blocks of a batch and has them written.
    fn place(
        &mut self,
        store: &mut Store<'_>,
        pipeline: &mut Pipeline<'a>,
        mut batch: EncodedBatch,
    ) -> Result<(), Error> {
        // All objects before this batch are queued by now, whenever it comes, so what is written of them always has its
        // place before that of the batch.
        self.complete(store, pipeline)?;
        pipeline.write_waiting(store);
        let blocks = std::mem::take(&mut batch.blocks);
        let bytes = blocks.iter().map(|(identity, _)| identity.logical_size as u64).sum();
        let (pointers, runs) = store.place(blocks.into_iter());
        pipeline.write(batch, runs);
        self.ready.extend(pointers);
        self.context.progress.bytes(bytes);
        self.complete(store, pipeline)
    }

    /// Gives blocks that have their places to their objects, and writes the
    /// dnodes of those that have all of theirs.
    fn complete(&mut self, store: &mut Store<'_>, pipeline: &mut Pipeline<'a>) -> Result<(), Error> {
        while let Some(mut first) = self.pending.pop_front() {
            while let Some(span) = first.spans.front_mut() {
                match span {
                    Span::Holes(count) => first.tree.push_holes(store, *count)?,
                    Span::Blocks(count) => {
                        while *count > 0
                            && let Some(pointer) = self.ready.pop_front()
                        {
                            first.tree.push(store, pointer)?;
                            *count -= 1;
                        }
                        if *count > 0 {
                            self.pending.push_front(first);
                            return Ok(());
                        }
                    }
                }
                first.spans.pop_front();
            }
            if !first.complete {
                self.pending.push_front(first);
                return Ok(());
            }
            self.write_object(store, first)?;
            if store.waiting() as u64 >= BATCH_BYTES {
                pipeline.write_waiting(store);
            }
        }
        Ok(())
    }

    fn write_object(&mut self, store: &mut Store<'_>, pending: Pending) -> Result<(), Error> {
        let Context { tree, progress, .. } = self.context;
        let posix_acls = self.settings().posix_acls;
        let (node, attributes) = match &pending.subject {
            Subject::Node(node, xattrs) => {
                progress.files(1);
                (*node, attributes::of_node(tree, *node, &pending.place, xattrs, posix_acls)?)
            }
            Subject::Xattr { owner, directory } => {
                (*owner, attributes::of_xattr(tree, *owner, *directory, &pending.place))
            }
        };
        let mut dnode = Dnode::new(pending.tree.object_type(), pending.block_size);
        pending.tree.finish(store)?.describe(&mut dnode);
        let (uid, gid) = (tree.node(node).uid, tree.node(node).gid);
        self.write_dnode(store, pending.object, dnode, &attributes, (uid, gid), || printable(&tree.path(node)))
    }

    /// Writes the dnode of a file with its attributes and counts its space.
    fn write_dnode(
        &mut self,
        store: &mut Store<'_>,
        object: ObjectId,
        mut dnode: Dnode,
        attributes: &[(Attribute, Vec<u8>)],
        owner: (u32, u32),
        path: impl Fn() -> String,
    ) -> Result<(), Error> {
        let slots = self.settings().dnode_slots;
        let (capacity, with_spill) = (bonus_capacity(slots, 1, false), bonus_capacity(slots, 1, true));
        let packed = sa::pack(attributes, capacity, with_spill, &mut self.layouts)
            .map_err(|source| Error::Attributes { path: path(), source })?;
        dnode.extra_slots = (slots - 1) as u8;
        dnode.bonus_type = ObjectType::SA;
        dnode.bonus = packed.bonus;
        if let Some(mut spill) = packed.spill {
            spill.resize(spill.len().next_multiple_of(dnode::SLOT_SIZE), 0);
            let policy = self.settings().policies.of(ObjectType::SA, 0);
            let address = Address { object_type: ObjectType::SA, level: 0, object, block: SPILL };
            let pointer = store.write(&policy, address, 1, &spill)?;
            dnode.used += store.shape().used_by(&pointer);
            dnode.spill = Some(pointer);
        }
        self.owners.count(owner, dnode.used);
        dnode.flags |= self.accounted();
        self.dnodes.put(store, object, &dnode)
    }

    fn accounted(&self) -> u8 {
        let objects = self.settings().features.contains(Feature::UserobjAccounting);
        dnode::FLAG_USERUSED_ACCOUNTED | if objects { dnode::FLAG_USEROBJUSED_ACCOUNTED } else { 0 }
    }

    fn empty_root(&mut self, store: &mut Store<'_>) -> Result<(), Error> {
        let object = self.dataset.root_object();
        let params = self.params(object);
        let dnode = zap_object::write(
            store,
            &self.settings().policies,
            (object, ObjectType::DIRECTORY_CONTENTS),
            &ZapContents::new(),
            params,
        )?;
        let attributes = attributes::of_empty_root(object, self.context.creation_time);
        self.write_dnode(store, object, dnode, &attributes, (0, 0), || "/".to_owned())
    }
}
