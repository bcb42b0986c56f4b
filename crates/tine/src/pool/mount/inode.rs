//! Inode numbers: those of all datasets together, the same at every mount.
//!
//! ```text
//! 63   62        36              0
//!  0   kind(1)   dataset (26)    object (36)
//! ```
//!
//! The dataset is its object in the MOS. Number 1 is the root of what is mounted, whatever that is.

use zfs_ondisk::object::ObjectId;

/// The number of the root.
pub(crate) const ROOT: u64 = 1;

const OBJECT_BITS: u32 = 36;
const DATASET_BITS: u32 = 26;
const VIRTUAL: u64 = 1 << (OBJECT_BITS + DATASET_BITS);

/// Something that has an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node {
    /// The dataset's or snapshot's object in the MOS.
    pub(crate) dataset: ObjectId,
    /// What it is in there.
    pub(crate) place: Place,
}

/// What a node is in its dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A file of any type.
    File(ObjectId),
    /// `.zfs`
    Control,
    /// `.zfs/snapshot`
    Snapshots,
    /// A volume, shown as a file.
    Volume,
    /// In the place of a root directory that cannot be read: that of an encrypted dataset without its key, say.
    Closed,
}

impl Node {
    /// The number of the node; `None` if it is beyond what numbers can name.
    pub(crate) fn number(self) -> Option<u64> {
        let (object, kind) = match self.place {
            Place::File(object) => (object.0, 0),
            Place::Control => (1, VIRTUAL),
            Place::Snapshots => (2, VIRTUAL),
            Place::Volume => (3, VIRTUAL),
            Place::Closed => (4, VIRTUAL),
        };
        let fits = object >> OBJECT_BITS == 0 && self.dataset.0 >> DATASET_BITS == 0;
        fits.then_some(kind | self.dataset.0 << OBJECT_BITS | object)
    }

    /// The node of a number.
    pub(crate) fn from_number(number: u64) -> Option<Node> {
        let object = number & ((1 << OBJECT_BITS) - 1);
        let dataset = ObjectId(number >> OBJECT_BITS & ((1 << DATASET_BITS) - 1));
        let place = match (number >> (OBJECT_BITS + DATASET_BITS), object) {
            (0, object) => Place::File(ObjectId(object)),
            (1, 1) => Place::Control,
            (1, 2) => Place::Snapshots,
            (1, 3) => Place::Volume,
            (1, 4) => Place::Closed,
            _ => return None,
        };
        Some(Node { dataset, place })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_leads_back_to_its_node(dataset in 1u64..1 << 27, object in 0u64..1 << 37) {
            for place in [Place::File(ObjectId(object)), Place::Control, Place::Snapshots, Place::Volume, Place::Closed] {
                let node = Node { dataset: ObjectId(dataset), place };
                match node.number() {
                    Some(number) => {
                        prop_assert_eq!(Node::from_number(number), Some(node));
                        prop_assert!(number > ROOT);
                    }
                    None => prop_assert!(dataset >= 1 << 26 || object >= 1 << 36),
                }
            }
        }
    }

    #[test]
    fn numbers_of_nothing_lead_nowhere() {
        assert_eq!(Node::from_number(u64::MAX), None);
        assert_eq!(Node::from_number(VIRTUAL | 7), None);
    }
}
