//! The entries of a directory as blocks of a ZAP.

use std::borrow::Cow;

use tree::{NodeId, Tree};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::zap::{Entries, FatZap, Params, Value, micro};
use zfs_ondisk::znode;

use crate::attributes;
use crate::error::Error;

/// A directory and how its entries are laid out.
pub(crate) struct Directory<'a> {
    path: Vec<u8>,
    entries: DirectoryEntries<'a>,
    layout: Layout,
}

enum Layout {
    Micro(Params),
    Fat(FatZap),
}

/// Names and object numbers, without a copy of the names.
struct DirectoryEntries<'a> {
    names: Vec<Cow<'a, [u8]>>,
    values: Vec<u64>,
}

impl Entries for DirectoryEntries<'_> {
    fn len(&self) -> usize {
        self.names.len()
    }

    fn name(&self, index: usize) -> &[u8] {
        &self.names[index]
    }

    fn value(&self, index: usize) -> Value<'_> {
        Value::Number(self.values[index])
    }
}

impl<'a> Directory<'a> {
    /// Lays out a directory of the tree whose entries are the objects that
    /// `object` gives.
    pub(crate) fn plan(
        tree: &'a Tree,
        node: NodeId,
        params: Params,
        object: impl Fn(NodeId) -> ObjectId,
    ) -> Result<Self, Error> {
        let entries = tree.entries(node);
        let (names, values) = entries
            .map(|entry| {
                let mode = u64::from(attributes::mode(tree, entry.node));
                (Cow::Borrowed(entry.name), znode::dirent(mode, object(entry.node)))
            })
            .unzip();
        Self::of(tree.path(node), names, values, params)
    }

    /// Lays out entries that are in no directory of the tree.
    pub(crate) fn of(
        path: Vec<u8>,
        names: Vec<Cow<'a, [u8]>>,
        values: Vec<u64>,
        params: Params,
    ) -> Result<Self, Error> {
        let entries = DirectoryEntries { names, values };
        let layout = if micro::fits(&entries) {
            Layout::Micro(params)
        } else {
            let plan = FatZap::plan(&entries, params)
                .map_err(|source| Error::Zap { object: attributes::printable(&path), source })?;
            Layout::Fat(plan)
        };
        Ok(Self { path, entries, layout })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.names.len()
    }

    /// Size of a block in bytes.
    pub(crate) fn block_size(&self) -> usize {
        match &self.layout {
            Layout::Micro(_) => micro::block_size(self.entries.len()),
            Layout::Fat(plan) => plan.block_size(),
        }
    }

    /// Number of blocks.
    pub(crate) fn block_count(&self) -> u64 {
        match &self.layout {
            Layout::Micro(_) => 1,
            Layout::Fat(plan) => plan.block_count(),
        }
    }

    /// A block.
    pub(crate) fn block(&self, number: u64) -> Result<Vec<u8>, Error> {
        match &self.layout {
            Layout::Micro(params) => micro::write(&self.entries, params)
                .map_err(|source| Error::Zap { object: attributes::printable(&self.path), source }),
            Layout::Fat(plan) => Ok(plan.block(number, &self.entries)),
        }
    }
}
