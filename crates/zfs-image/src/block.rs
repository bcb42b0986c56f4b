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

/// Encoded blocks, one behind the other as they will lie on the device, so that
/// runs of them are written at once.
#[derive(Default)]
pub(crate) struct Output {
    /// Room, of which the first `length` bytes are in use. It is not cleared when
    /// it is used again.
    bytes: Vec<u8>,
    length: usize,
}

impl Output {
    /// What was put there.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// Room for `size` bytes at the end, with anything in it.
    fn room(&mut self, size: usize) -> &mut [u8] {
        let end = self.length + size;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.length..end]
    }

    /// Puts the first `size` bytes of the room to use, and zeros after them up to
    /// a multiple of `unit` bytes.
    fn commit(&mut self, size: usize, unit: usize) {
        let padded = size.next_multiple_of(unit);
        self.room(padded)[size..].fill(0);
        self.length += padded;
    }
}

/// Encodes blocks.
pub(crate) struct Encoder<'a> {
    format: &'a Format,
    compressor: Compressor,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(format: &'a Format) -> Self {
        Self { format, compressor: Compressor::new() }
    }

    /// Encodes a block of `size` bytes, all of which `fill` writes.
    ///
    /// The block is made at the end of `output` and stays there if it is stored
    /// as it is, which saves a copy.
    pub(crate) fn encode(
        &mut self,
        policy: &Policy,
        object_type: ObjectType,
        level: u8,
        size: usize,
        output: &mut Output,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<Encoded, Error> {
        let block = output.room(size);
        fill(block)?;
        if is_zero(block) {
            return Ok(Encoded::Hole);
        }
        // OpenZFS would embed spill blocks, too, but `zfs send -e` loses them then.
        let embed = self.format.embed && level == 0 && !object_type.has_fill() && object_type != ObjectType::SA;
        let min_alloc = 1 << self.format.ashift;
        let (physical_size, function) =
            match self.compressor.compress_block(policy.compression, min_alloc, embed, block) {
                Stored::Embedded(function, payload) => {
                    return Ok(Encoded::Embedded { function, payload: payload.to_vec() });
                }
                Stored::Compressed(function, bytes) => {
                    block[..bytes.len()].copy_from_slice(bytes);
                    (bytes.len(), function)
                }
                Stored::Plain => (size, Function::Off),
            };
        let digest = policy.checksum.compute(ByteOrder::Little, Some(&self.format.salt), &block[..physical_size])?;
        let start = output.length;
        output.commit(physical_size, min_alloc);
        Ok(Encoded::Stored { start, physical_size, function, digest })
    }
}
