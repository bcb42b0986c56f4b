//! Numbers that only have to be different: derived, not drawn, so that equal
//! builds are equal.

use sha2::{Digest, Sha256};
use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::checksum::Salt;

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

    fn bytes(&self, purpose: &str) -> [u8; 32] {
        Sha256::new_with_prefix(self.0).chain_update(purpose).finalize().into()
    }
}
