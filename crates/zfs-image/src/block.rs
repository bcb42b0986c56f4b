//! From the contents of a block to what is stored of it.

use zfs_ondisk::blkptr::BlockPointer;
use zfs_ondisk::bytes::ByteOrder;
use zfs_ondisk::checksum::{Checksum, Digest, Salt};
use zfs_ondisk::compress::{Compression, Compressor, Function, Stored, is_zero};
use zfs_ondisk::crypt::{MAC_SIZE, Nonce};
use zfs_ondisk::object::{ObjectId, ObjectType};

use crate::allocator::MAX_COPIES;
use crate::encryption::Cipher;
use crate::error::Error;

/// What holds for every block of a pool.
#[derive(Debug)]
pub(crate) struct Format {
    /// Binary logarithm of the sector.
    pub(crate) ashift: u32,
    /// The key of salted checksums.
    pub(crate) salt: Salt,
    /// Small blocks may be held by their pointers (`embedded_data`).
    pub(crate) embed: bool,
    /// What datasets are encrypted with, by their index.
    pub(crate) ciphers: Vec<Option<Cipher>>,
}

impl Format {
    /// What blocks with this policy are encrypted with.
    fn cipher(&self, policy: &Policy) -> Option<&Cipher> {
        self.ciphers.get(policy.cipher?)?.as_ref()
    }
}

/// Which block of an object set it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) object_type: ObjectType,
    pub(crate) level: u8,
    /// Its object: 0 for the array of dnodes. It matters at level 0 only.
    pub(crate) object: ObjectId,
    /// Its number among the blocks of its level; it matters as the object does.
    pub(crate) block: u64,
}

impl Address {
    /// The root of an object set.
    pub(crate) const ROOT: Self = Self { object_type: ObjectType::OBJSET, level: 0, object: ObjectId(0), block: 0 };
}

/// The number of a spill block (`DMU_SPILL_BLKID`).
pub(crate) const SPILL: u64 = u64::MAX;

/// How blocks of one sort are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) compression: Compression,
    pub(crate) checksum: Checksum,
    pub(crate) copies: usize,
    /// Index of the dataset whose keys it is encrypted with.
    pub(crate) cipher: Option<usize>,
}

/// Copies of a block whose pointer holds salt and initialization vector, too.
const MAX_ENCRYPTED_COPIES: usize = 2;

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
        let mut policy = self.plain(object_type, level);
        if policy.cipher.is_some() {
            if object_type.is_encrypted() {
                policy.copies = policy.copies.min(MAX_ENCRYPTED_COPIES);
            }
            // What of these is covered by MACs is not all of the block.
            if level == 0 && object_type.has_fill() {
                policy.compression = Compression::Off;
            }
        }
        policy
    }

    /// As if it were not encrypted.
    fn plain(&self, object_type: ObjectType, level: u8) -> Policy {
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
    Stored { start: usize, physical_size: usize, function: Function, digest: Digest, protection: Protection },
}

/// What the pointer to a block of an encrypted dataset has besides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Protection {
    /// Nothing: the dataset is not encrypted.
    None,
    /// A MAC: it is not encrypted itself.
    Mac([u8; MAC_SIZE]),
    /// It is encrypted.
    Sealed(Nonce, [u8; MAC_SIZE]),
}

impl Protection {
    /// A pointer with that.
    pub(crate) fn apply(&self, pointer: BlockPointer) -> BlockPointer {
        match self {
            Self::None => pointer,
            Self::Mac(mac) => pointer.with_mac(mac),
            Self::Sealed(nonce, mac) => pointer.with_mac(mac).with_nonce(&nonce.salt, &nonce.iv),
        }
    }
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

    /// How many bytes that are.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Forgets all but the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
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
        address: &Address,
        size: usize,
        output: &mut Output,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
    ) -> Result<Encoded, Error> {
        let Address { object_type, level, .. } = *address;
        let block = output.room(size);
        fill(block)?;
        if is_zero(block) {
            return Ok(Encoded::Hole);
        }
        let cipher = self.format.cipher(policy);
        let mut protection = match cipher {
            Some(cipher) if level > 0 => Protection::Mac(cipher.key.pointers_mac(block)?),
            _ => Protection::None,
        };
        // OpenZFS would embed spill blocks, too, but `zfs send -e` loses them then.
        let embed = self.format.embed
            && cipher.is_none()
            && level == 0
            && !object_type.has_fill()
            && object_type != ObjectType::SA;
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
        if let Some(cipher) = cipher
            && level == 0
        {
            let (nonce, mac) = cipher.seal(address, &mut block[..physical_size])?;
            let sealed = object_type.is_encrypted();
            protection = if sealed { Protection::Sealed(nonce, mac) } else { Protection::Mac(mac) };
        }
        let mut digest =
            policy.checksum.compute(ByteOrder::Little, Some(&self.format.salt), &block[..physical_size])?;
        if cipher.is_some() && object_type != ObjectType::OBJSET {
            let [first, second] = policy.checksum.beside_mac(digest);
            digest = [first, second, 0, 0];
        }
        let start = output.length;
        output.commit(physical_size, min_alloc);
        Ok(Encoded::Stored { start, physical_size, function, digest, protection })
    }
}
