//! Numbers that only have to be different: derived, not drawn, so that equal
//! builds are equal.

use sha2::{Digest, Sha256};
use tree::{Kind, Node, Tree};
use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::checksum::Salt;

use crate::plan::Plan;
use crate::spec::PoolSpec;

/// What GUIDs, salts and seeds are derived from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    /// The seed of what must be known before the contents are.
    pub(crate) fn of_spec(spec: &PoolSpec) -> Self {
        // A specification that prints the same asks for the same.
        Self(Sha256::digest(format!("{spec:?}")).into())
    }

    /// The seed of keys: it depends on the files, but for their contents, which are not
    /// known yet.
    pub(crate) fn with_files(&self, tree: &Tree, plan: &Plan) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        for &id in plan.datasets.iter().flat_map(|dataset| &dataset.files) {
            let Node { kind, mode, uid, gid, mtime, size, .. } = tree.node(id);
            let size = if kind == Kind::File { size } else { 0 };
            let words = [mode.into(), uid.into(), gid.into(), mtime.seconds as u64, mtime.nanoseconds.into(), size];
            words.iter().for_each(|word: &u64| hash.update(word.to_le_bytes()));
            if kind == Kind::Directory {
                tree.entries(id).for_each(|entry| hash.update([entry.name, &[0]].concat()));
            }
        }
        Self(hash.finalize().into())
    }

    /// The seed of what depends on the contents, too: on the checksums that the
    /// roots of all datasets carry of them.
    pub(crate) fn with_contents<'p>(&self, roots: impl Iterator<Item = &'p BlockPointer>) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        for root in roots {
            for word in root.words() {
                hash.update(word.to_le_bytes());
            }
        }
        Self(hash.finalize().into())
    }

    /// A number for `purpose`, never 0.
    pub(crate) fn number(&self, purpose: &str) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes(purpose)[..8]);
        u64::from_le_bytes(word).max(1)
    }

    /// The key of salted checksums.
    pub(crate) fn salt(&self) -> Salt {
        self.bytes("checksum salt")
    }

    /// What tells the keys of one image from those of another.
    pub(crate) fn key_context(&self) -> [u8; 32] {
        self.bytes("keys")
    }

    fn bytes(&self, purpose: &str) -> [u8; 32] {
        Sha256::new_with_prefix(self.0).chain_update(purpose).finalize().into()
    }
}
