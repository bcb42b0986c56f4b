//! From the contents of a block to what is stored of it.

use zfs_ondisk::bytes::ByteOrder;
use zfs_ondisk::checksum::{Checksum, Digest, Salt};
use zfs_ondisk::compress::{Compression, Compressor, Function, Stored, is_zero};
use zfs_ondisk::object::ObjectType;

use crate::allocator::MAX_COPIES;
use crate::error::Error;

/// What holds for every block of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    /// Binary logarithm of the sector.
    pub(crate) ashift: u32,
    /// The key of salted checksums.
    pub(crate) salt: Salt,
    /// Small blocks may be held by their pointers (`embedded_data`).
    pub(crate) embed: bool,
}

/// How blocks of one sort are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) compression: Compression,
    pub(crate) checksum: Checksum,
    pub(crate) copies: usize,
}

/// Which metadata gets a copy more than data (`redundant_metadata`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redundancy {
    All,
    Most,
    Some,
    None,
}

/// How the blocks of an object set are stored (`dmu_write_policy`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policies {
    pub(crate) data: Policy,
    /// Of metadata, but for the copies.
    pub(crate) metadata: Policy,
    pub(crate) redundancy: Redundancy,
}

impl Policies {
    /// Of a block of an object.
    pub(crate) fn of(&self, object_type: ObjectType, level: u8) -> Policy {
        if level == 0 && !object_type.is_metadata() {
            return self.data;
        }
        // DMU_OT_IS_CRITICAL: what a file system cannot do without.
        let critical = object_type.is_metadata()
            && !(object_type == ObjectType::DNODE && level == 0)
            && object_type != ObjectType::DIRECTORY_CONTENTS
            && object_type != ObjectType::SA;
        let more = match self.redundancy {
            Redundancy::All => true,
            Redundancy::Most => level >= 2 || object_type.is_metadata(),
            Redundancy::Some => critical,
            Redundancy::None => false,
        };
        Policy { copies: (self.data.copies + usize::from(more)).min(MAX_COPIES), ..self.metadata }
    }
}

/// A block as it is stored.
#[derive(Clone, Debug)]
pub(crate) enum Encoded {
    /// It is all zeros.
    Hole,
    /// Its pointer holds it.
    Embedded { function: Function, payload: Vec<u8> },
    /// It begins at `start` of the output.
    Stored { start: usize, physical_size: usize, function: Function, digest: Digest },
}

/// Encodes blocks into an output in which stored blocks lie one behind the
/// other as they will on the device, so that runs of them are written at once.
pub(crate) struct Encoder<'a> {
    format: &'a Format,
    compressor: Compressor,
    compressed: Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(format: &'a Format) -> Self {
        Self { format, compressor: Compressor::new(), compressed: Vec::new() }
    }

    /// Encodes a block of zeros or data that `fill` writes.
    ///
    /// The block is made at the end of `output` and stays there if it is stored
    /// as it is, which saves a copy.
    pub(crate) fn encode(
        &mut self,
        policy: &Policy,
        object_type: ObjectType,
        level: u8,
        size: usize,
        output: &mut Vec<u8>,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<Encoded, Error> {
        let start = output.len();
        output.resize(start + size, 0);
        let block = &mut output[start..];
        fill(block)?;
        if is_zero(block) {
            output.truncate(start);
            return Ok(Encoded::Hole);
        }
        let embed = self.format.embed && level == 0 && !object_type.has_fill();
        let min_alloc = 1 << self.format.ashift;
        let stored =
            self.compressor.compress_block(policy.compression, min_alloc, embed, block, &mut self.compressed);
        let (physical_size, function) = match stored {
            Stored::Embedded(function) => {
                let payload = self.compressed.clone();
                output.truncate(start);
                return Ok(Encoded::Embedded { function, payload });
            }
            Stored::Compressed(function) => {
                output.truncate(start);
                output.extend_from_slice(&self.compressed);
                (self.compressed.len(), function)
            }
            Stored::Plain => (size, Function::Off),
        };
        let digest = policy.checksum.compute(
            ByteOrder::Little,
            Some(&self.format.salt),
            &output[start..start + physical_size],
        )?;
        output.resize((start + physical_size).next_multiple_of(min_alloc), 0);
        Ok(Encoded::Stored { start, physical_size, function, digest })
    }
}
