//! Block pointers (`blkptr_t`, `sys/spa.h`): where a block is, how it is
//! stored and what it must sum to.
//!
//! A pointer is sixteen 64-bit words:
//!
//! ```text
//! 0-5    three DVAs of two words    where the copies are
//! 6      properties                 sizes, compression, checksum, type, level
//! 7-8    padding                    the highest bit of 7: rewritten
//! 9      physical birth txg         0 if it is the logical one
//! 10     logical birth txg
//! 11     fill                       non-hole level 0 blocks below
//! 12-15  checksum
//! ```
//!
//! An *embedded* pointer (`BP_EMBEDDED_TYPE_DATA`) holds a small compressed
//! block itself, in all words but 6 and 10. A pointer whose first DVA is empty
//! is a *hole*: the block reads as zeros.

use crate::bytes::{Put, Truncated, View};
use crate::checksum::Digest;
use crate::object::ObjectType;

/// Size of a block pointer in bytes.
pub const SIZE: usize = 128;
/// The most bytes that an embedded pointer holds (`BPE_PAYLOAD_SIZE`).
pub const EMBEDDED_CAPACITY: usize = 14 * 8;
/// Binary logarithm of the sector, the unit of sizes and offsets on disk.
pub const SECTOR_SHIFT: u32 = 9;

const PROPERTIES: usize = 6;
const MORE_PROPERTIES: usize = 7;
const PHYSICAL_BIRTH: usize = 9;
const LOGICAL_BIRTH: usize = 10;
const FILL: usize = 11;
const DIGEST: usize = 12;

/// Where one copy of a block is (`dva_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dva {
    /// Index of the top-level vdev.
    pub vdev: u32,
    /// Bytes from the start of the vdev's allocatable space, which begins
    /// 4 MiB into a device, after the two front labels and the boot block.
    pub offset: u64,
    /// Bytes allocated, with raidz parity and padding.
    pub asize: u64,
    /// Whether a gang header is there instead of the block.
    pub gang: bool,
}

impl Dva {
    /// Reads a DVA at `offset` of a structure.
    ///
    /// # Errors
    /// [`Truncated`] if the structure is too short.
    pub fn read(view: &View<'_>, offset: usize) -> Result<Self, Truncated> {
        Ok(Self::from_words([view.u64(offset)?, view.u64(offset + 8)?]))
    }

    fn from_words(words: [u64; 2]) -> Self {
        Self {
            vdev: bits(words[0], 32, 24) as u32,
            offset: bits(words[1], 0, 63) << SECTOR_SHIFT,
            asize: bits(words[0], 0, 24) << SECTOR_SHIFT,
            gang: words[1] >> 63 != 0,
        }
    }

    fn to_words(self) -> [u64; 2] {
        [
            u64::from(self.vdev) << 32 | self.asize >> SECTOR_SHIFT,
            u64::from(self.gang) << 63 | self.offset >> SECTOR_SHIFT,
        ]
    }

    /// Whether this DVA points nowhere.
    pub fn is_empty(&self) -> bool {
        self.asize == 0
    }
}

/// What sort of pointer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads as zeros.
    Hole,
    /// Holds the block itself.
    Embedded,
    /// Stands for data left out of a redacted send.
    Redacted,
    /// Points to the block.
    Data,
}

/// A block pointer in native words.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockPointer([u64; 16]);

/// The fields of a pointer to a stored block, for [`BlockPointer::data`].
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Copies, from the first on; the rest empty.
    pub dvas: [Dva; 3],
    /// Levels above the data.
    pub level: u8,
    /// Type of the object.
    pub object_type: ObjectType,
    /// Size of the block's contents in bytes, a multiple of 512.
    pub logical_size: usize,
    /// Size of what is stored in bytes, a multiple of 512.
    pub physical_size: usize,
    /// Number of the compression function (`enum zio_compress`).
    pub compression: u8,
    /// Number of the checksum function (`enum zio_checksum`).
    pub checksum: u8,
    /// Transaction group of the block's birth.
    pub birth: u64,
    /// Non-hole level 0 blocks at or below this one; used dnodes for blocks of
    /// dnodes.
    pub fill: u64,
    /// Checksum of what is stored.
    pub digest: Digest,
}

impl BlockPointer {
    /// A hole never written: all zeros.
    pub const HOLE: BlockPointer = BlockPointer([0; 16]);

    /// A pointer to a block stored in little-endian order.
    pub fn data(fields: &Fields) -> Self {
        let mut words = [0; 16];
        for (pair, dva) in words.chunks_exact_mut(2).zip(&fields.dvas) {
            pair.copy_from_slice(&dva.to_words());
        }
        words[PROPERTIES] = ((fields.logical_size as u64 >> SECTOR_SHIFT) - 1)
            | ((fields.physical_size as u64 >> SECTOR_SHIFT) - 1) << 16
            | u64::from(fields.compression) << 32
            | u64::from(fields.checksum) << 40
            | u64::from(fields.object_type.0) << 48
            | u64::from(fields.level) << 56
            | 1 << 63;
        words[LOGICAL_BIRTH] = fields.birth;
        words[FILL] = fields.fill;
        words[DIGEST..].copy_from_slice(&fields.digest);
        Self(words)
    }

    /// A pointer that holds `payload`, the compressed form of a level 0 block
    /// of `logical_size` bytes.
    ///
    /// # Panics
    /// If `payload` is empty or longer than [`EMBEDDED_CAPACITY`].
    pub fn embedded(object_type: ObjectType, logical_size: usize, compression: u8, payload: &[u8], birth: u64) -> Self {
        assert!((1..=EMBEDDED_CAPACITY).contains(&payload.len()));
        let mut words = [0; 16];
        let mut padded = [0; EMBEDDED_CAPACITY];
        padded[..payload.len()].copy_from_slice(payload);
        for (index, bytes) in payload_words().zip(padded.chunks_exact(8)) {
            words[index] = bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        }
        words[PROPERTIES] = (logical_size as u64 - 1)
            | (payload.len() as u64 - 1) << 25
            | u64::from(compression) << 32
            | 1 << 39
            | u64::from(object_type.0) << 48
            | 1 << 63;
        words[LOGICAL_BIRTH] = birth;
        Self(words)
    }

    /// The pointer to a block of an encrypted dataset: with its MAC, unless it is the
    /// root of an object set, which has its MACs inside.
    #[must_use]
    pub fn with_mac(mut self, mac: &[u8; 16]) -> Self {
        self.0[PROPERTIES] |= 1 << 61;
        if self.object_type() != ObjectType::OBJSET {
            let mac = u128::from_le_bytes(*mac);
            (self.0[DIGEST + 2], self.0[DIGEST + 3]) = (mac as u64, (mac >> 64) as u64);
        }
        self
    }

    /// The pointer to an encrypted block: with salt and initialization vector. It has
    /// two copies at most, and its fill count is below 2^32.
    #[must_use]
    pub fn with_nonce(mut self, salt: &[u8; 8], iv: &[u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, end @ ..] = *iv;
        self.0[4] = u64::from_le_bytes(*salt);
        self.0[5] = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        self.0[FILL] |= u64::from(u32::from_le_bytes(end)) << 32;
        self
    }

    /// Reads a pointer at `offset` of a structure.
    ///
    /// # Errors
    /// [`Truncated`] if the structure is too short.
    pub fn read(view: &View<'_>, offset: usize) -> Result<Self, Truncated> {
        let view = view.view(offset, SIZE)?;
        let mut words = [0; 16];
        for (index, word) in words.iter_mut().enumerate() {
            *word = view.u64(index * 8)?;
        }
        Ok(Self(words))
    }

    /// Writes the pointer at `offset` of a structure.
    pub fn write(&self, to: &mut [u8], offset: usize) {
        for (index, &word) in self.0.iter().enumerate() {
            to.put_u64(offset + index * 8, word);
        }
    }

    /// What sort of pointer it is.
    pub fn kind(&self) -> Kind {
        if self.properties(39, 1) != 0 {
            return if self.properties(40, 8) == 2 { Kind::Redacted } else { Kind::Embedded };
        }
        if self.0[0] == 0 && self.0[1] == 0 { Kind::Hole } else { Kind::Data }
    }

    /// Whether it reads as zeros.
    pub fn is_hole(&self) -> bool {
        self.kind() == Kind::Hole
    }

    /// The copies of the block that there are; none unless [`Kind::Data`].
    pub fn dvas(&self) -> impl Iterator<Item = Dva> + '_ {
        // The third DVA of an encrypted block holds salt and IV instead.
        let count = match self.kind() {
            Kind::Data if self.is_encrypted() => 2,
            Kind::Data => 3,
            _ => 0,
        };
        self.0[..count * 2]
            .chunks_exact(2)
            .map(|words| Dva::from_words([words[0], words[1]]))
            .filter(|dva| !dva.is_empty())
    }

    /// Bytes allocated for all copies.
    pub fn allocated_size(&self) -> u64 {
        self.dvas().map(|dva| dva.asize).sum()
    }

    /// Size of the block's contents in bytes; 0 for a hole never written.
    pub fn logical_size(&self) -> usize {
        match self.kind() {
            Kind::Embedded => self.properties(0, 25) as usize + 1,
            Kind::Hole if self.0 == [0; 16] => 0,
            Kind::Redacted => 0,
            Kind::Hole | Kind::Data => (self.properties(0, 16) as usize + 1) << SECTOR_SHIFT,
        }
    }

    /// Size of what is stored in bytes: on disk, or in the pointer itself.
    pub fn physical_size(&self) -> usize {
        match self.kind() {
            Kind::Embedded => self.properties(25, 7) as usize + 1,
            Kind::Data => (self.properties(16, 16) as usize + 1) << SECTOR_SHIFT,
            Kind::Hole | Kind::Redacted => 0,
        }
    }

    /// Number of the compression function (`enum zio_compress`).
    pub fn compression(&self) -> u8 {
        self.properties(32, 7) as u8
    }

    /// Number of the checksum function (`enum zio_checksum`).
    pub fn checksum(&self) -> u8 {
        self.properties(40, 8) as u8
    }

    /// The type of the object that the block belongs to.
    pub fn object_type(&self) -> ObjectType {
        ObjectType(self.properties(48, 8) as u8)
    }

    /// Levels above the data.
    pub fn level(&self) -> u8 {
        self.properties(56, 5) as u8
    }

    /// Whether the block has a MAC, being part of an encrypted dataset.
    pub fn uses_crypt(&self) -> bool {
        self.properties(61, 1) != 0
    }

    /// Whether the block's contents are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.uses_crypt() && self.level() == 0 && self.object_type().is_encrypted()
    }

    /// Whether the block is in a deduplication table.
    pub fn is_dedup(&self) -> bool {
        self.properties(62, 1) != 0
    }

    /// Whether the block's contents are little-endian.
    pub fn is_little_endian(&self) -> bool {
        self.properties(63, 1) != 0
    }

    /// Transaction group in which the block came to its dataset: its contents were
    /// written then, or rewritten elsewhere as they were (`BP_GET_BIRTH`). It decides
    /// which snapshots have the block.
    pub fn birth(&self) -> u64 {
        if self.is_rewritten() { self.physical_birth() } else { self.logical_birth() }
    }

    /// Transaction group in which the contents were written.
    pub fn logical_birth(&self) -> u64 {
        self.0[LOGICAL_BIRTH]
    }

    /// Transaction group in which the block was allocated.
    pub fn physical_birth(&self) -> u64 {
        match (self.kind(), self.0[PHYSICAL_BIRTH]) {
            (Kind::Embedded, _) | (_, 0) => self.logical_birth(),
            (_, txg) => txg,
        }
    }

    /// Whether the block was moved by writing its contents again (feature
    /// `physical_rewrite`).
    pub fn is_rewritten(&self) -> bool {
        matches!(self.kind(), Kind::Hole | Kind::Data) && self.0[MORE_PROPERTIES] >> 63 != 0
    }

    /// Non-hole level 0 blocks (for blocks of dnodes: used dnodes) at or below.
    pub fn fill(&self) -> u64 {
        match self.kind() {
            Kind::Embedded => 1,
            _ if self.is_encrypted() => bits(self.0[FILL], 0, 32),
            _ => self.0[FILL],
        }
    }

    /// The checksum of what is stored.
    pub fn digest(&self) -> Digest {
        let mut digest = [0; 4];
        digest.copy_from_slice(&self.0[DIGEST..]);
        digest
    }

    /// What an embedded pointer holds: [`Self::physical_size`] bytes, still
    /// compressed. `None` if that is more than fits, or for any other kind.
    pub fn payload(&self) -> Option<Vec<u8>> {
        if self.kind() != Kind::Embedded || self.physical_size() > EMBEDDED_CAPACITY {
            return None;
        }
        let mut payload: Vec<u8> = payload_words().flat_map(|index| self.0[index].to_le_bytes()).collect();
        payload.truncate(self.physical_size());
        Some(payload)
    }

    /// The sixteen words, in native order.
    pub fn words(&self) -> &[u64; 16] {
        &self.0
    }

    fn properties(&self, shift: u32, width: u32) -> u64 {
        bits(self.0[PROPERTIES], shift, width)
    }
}

impl std::fmt::Debug for BlockPointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} L{} {} {:#x}L", self.kind(), self.level(), self.object_type(), self.logical_size())?;
        for dva in self.dvas() {
            write!(f, " {}:{:x}:{:x}", dva.vdev, dva.offset, dva.asize)?;
        }
        write!(f, " birth={} fill={}", self.birth(), self.fill())
    }
}

fn bits(word: u64, shift: u32, width: u32) -> u64 {
    word >> shift & ((1 << width) - 1)
}

/// The words of an embedded pointer that hold payload (`BPE_IS_PAYLOADWORD`).
fn payload_words() -> impl Iterator<Item = usize> {
    (0..16).filter(|index| ![PROPERTIES, LOGICAL_BIRTH].contains(index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bytes::ByteOrder;

    proptest! {
        #[test]
        fn the_fields_of_a_pointer_are_read_as_they_were_written(
            vdev in 0u32..1 << 24, sector in 0u64..1 << 54, sectors in 1usize..=1 << 15,
            level in 0u8..8, birth: u64, fill: u64, digest: [u64; 4],
        ) {
            let dva = Dva { vdev, offset: sector << 9, asize: (sectors as u64) << 9, gang: false };
            let pointer = BlockPointer::data(&Fields {
                dvas: [dva, dva, Dva::default()],
                level,
                object_type: ObjectType::PLAIN_FILE_CONTENTS,
                logical_size: 32 << 20,
                physical_size: sectors << 9,
                compression: 15,
                checksum: 7,
                birth,
                fill,
                digest,
            });
            let mut bytes = [0; SIZE + 8];
            pointer.write(&mut bytes, 8);
            let read = BlockPointer::read(&View::new(&bytes, ByteOrder::Little), 8).unwrap();
            prop_assert_eq!(read, pointer);
            prop_assert_eq!(read.kind(), Kind::Data);
            prop_assert_eq!(read.dvas().collect::<Vec<_>>(), [dva, dva]);
            prop_assert_eq!((read.logical_size(), read.physical_size()), (32 << 20, sectors << 9));
            prop_assert_eq!((read.compression(), read.checksum(), read.level()), (15, 7, level));
            prop_assert_eq!((read.birth(), read.fill(), read.digest()), (birth, fill, digest));
            prop_assert!(read.is_little_endian());
        }

        #[test]
        fn an_embedded_pointer_gives_its_payload_back(payload in proptest::collection::vec(any::<u8>(), 1..=112)) {
            let pointer = BlockPointer::embedded(ObjectType::PLAIN_FILE_CONTENTS, 131072, 15, &payload, 4);
            prop_assert_eq!(pointer.kind(), Kind::Embedded);
            prop_assert_eq!(pointer.logical_size(), 131072);
            prop_assert_eq!(pointer.birth(), 4);
            prop_assert_eq!(pointer.allocated_size(), 0);
            prop_assert_eq!(pointer.payload(), Some(payload));
        }
    }

    #[test]
    fn a_rewritten_block_belongs_to_the_snapshots_since_it_was_rewritten() {
        let mut words = [0u64; 16];
        (words[0], words[1], words[PHYSICAL_BIRTH], words[LOGICAL_BIRTH]) = (8, 16, 70, 50);
        assert_eq!((BlockPointer(words).birth(), BlockPointer(words).physical_birth()), (50, 70));
        words[MORE_PROPERTIES] = 1 << 63;
        assert_eq!((BlockPointer(words).birth(), BlockPointer(words).logical_birth()), (70, 50));
        // In what holds the block itself, that is a bit of the block.
        words[PROPERTIES] = 1 << 39;
        assert_eq!(BlockPointer(words).birth(), 50);
    }

    #[test]
    fn zeros_are_a_hole_of_no_size() {
        assert!(BlockPointer::HOLE.is_hole());
        assert_eq!(BlockPointer::HOLE.logical_size(), 0);
    }
}
