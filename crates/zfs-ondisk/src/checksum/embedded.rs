//! Checksums that a block holds itself (`zio_eck_t`, `sys/zio.h`).
//!
//! A trailer of 40 bytes: a magic number, which shows the byte order, and the
//! checksum. The checksum is that of the block with a *verifier* in the place of
//! the checksum: a value that tells where the block belongs, so that one that
//! was written to the wrong place does not pass.

use super::{Checksum, Digest};
use crate::bytes::{ByteOrder, Put, Truncated, View};

/// The length of the trailer in bytes.
pub const TRAILER: usize = 40;

/// The number that a trailer starts with (`ZEC_MAGIC`).
pub const MAGIC: u64 = 0x0210_da7a_b10c_7a11;
/// Offset of the checksum in the trailer.
const SUM: usize = 8;

/// `zil_chain_t` (`sys/zil.h`): the header of an intent log block.
const CHAIN_USED: usize = 136;
const CHAIN_TRAILER: usize = 144;
/// Used lengths of log blocks are rounded up to this (`ZIL_MIN_BLKSZ`).
const LOG_UNIT: u64 = 4096;

/// What kind of block it is, and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// A part of a vdev label: boot environment, name-value list, uberblock.
    Label {
        /// Offset of the part on the device, in bytes.
        offset: u64,
    },
    /// The header of a gang block.
    Gang {
        /// Number of the top-level vdev, from the first DVA.
        vdev: u64,
        /// Offset from the first DVA, in bytes.
        offset: u64,
        /// Transaction group of the physical birth.
        txg: u64,
    },
    /// The same of an encrypted dataset: the second half of the checksum is folded
    /// into the first.
    EncryptedGang {
        /// As above.
        vdev: u64,
        /// As above.
        offset: u64,
        /// As above.
        txg: u64,
    },
    /// An intent log block with its trailer at the end ([`Checksum::Zilog`]);
    /// the words are the checksum of the pointer that leads to it.
    Zilog(Digest),
    /// An intent log block with its trailer in the header
    /// ([`Checksum::Zilog2`]); the words as above.
    Zilog2(Digest),
    /// The same of an encrypted dataset: the MAC of the block has taken the place
    /// of the second half of the checksum, which is folded into the first.
    EncryptedZilog2(Digest),
}

/// An embedded checksum that does not hold, or a block without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The block is too short for what it says or must hold.
    #[error("block is too short for an embedded checksum: {0}")]
    Truncated(#[from] Truncated),
    /// There is no trailer.
    #[error("embedded checksum has no magic number: {found:#x} found")]
    Magic {
        /// What stands in its place.
        found: u64,
    },
    /// The checksum differs.
    #[error("embedded checksum is {found:x?}, {computed:x?} expected")]
    Mismatch {
        /// The block's.
        found: Digest,
        /// What it should be.
        computed: Digest,
    },
    /// The checksum cannot be computed.
    #[error(transparent)]
    Checksum(#[from] super::Error),
}

impl Verifier {
    /// The checksum function of this kind of block.
    pub fn checksum(&self) -> Checksum {
        match self {
            Self::Label { .. } => Checksum::Label,
            Self::Gang { .. } | Self::EncryptedGang { .. } => Checksum::GangHeader,
            Self::Zilog(_) => Checksum::Zilog,
            Self::Zilog2(_) | Self::EncryptedZilog2(_) => Checksum::Zilog2,
        }
    }

    fn words(&self) -> Digest {
        match *self {
            Self::Label { offset } => [offset, 0, 0, 0],
            Self::Gang { vdev, offset, txg } | Self::EncryptedGang { vdev, offset, txg } => [vdev, offset, txg, 0],
            Self::Zilog(words) | Self::Zilog2(words) | Self::EncryptedZilog2(words) => words,
        }
    }

    /// Where the trailer of `block` starts.
    fn trailer(&self, block: &[u8]) -> Result<usize, Truncated> {
        let at = match self {
            Self::Zilog2(_) | Self::EncryptedZilog2(_) => CHAIN_TRAILER,
            _ => block.len().saturating_sub(TRAILER),
        };
        View::new(block, ByteOrder::Little).bytes(at, TRAILER).map(|_| at)
    }

    /// How much of `block` is checksummed.
    fn covered(&self, order: ByteOrder, block: &[u8]) -> Result<usize, Truncated> {
        if self.checksum() != Checksum::Zilog2 {
            return Ok(block.len());
        }
        let used = View::new(block, order).u64(CHAIN_USED)?;
        let need = used.checked_next_multiple_of(LOG_UNIT).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        // The trailer is part of what is covered, whatever the header says.
        let need = need.max(CHAIN_TRAILER + TRAILER);
        View::new(block, order).bytes(0, need).map(|_| need)
    }

    /// The checksum that the trailer should have, where `computed` is that of the
    /// block, and `found` is what the trailer has.
    fn expected(&self, computed: Digest, found: Digest) -> Digest {
        match self {
            Self::EncryptedZilog2(_) | Self::EncryptedGang { .. } => {
                [computed[0] ^ computed[2], computed[1] ^ computed[3], found[2], found[3]]
            }
            _ => computed,
        }
    }
}

/// Writes the trailer of `block`, little-endian.
///
/// # Errors
/// [`Error::Truncated`] if the trailer or, for a log block, the used length that
/// its header holds is not within `block`.
pub fn seal(block: &mut [u8], verifier: &Verifier) -> Result<(), Error> {
    let at = verifier.trailer(block)?;
    let covered = verifier.covered(ByteOrder::Little, block)?;
    let before = words_at(&View::new(block, ByteOrder::Little), at + SUM)?;
    block.put_u64(at, MAGIC);
    put_words(block, at + SUM, &verifier.words());
    let sum = verifier.checksum().compute(ByteOrder::Little, None, &block[..covered])?;
    put_words(block, at + SUM, &verifier.expected(sum, before));
    Ok(())
}

/// Checks the trailer of `block` and returns the byte order it was written in.
///
/// # Errors
/// [`Error`] if there is no trailer or the checksum does not hold.
pub fn verify(block: &[u8], verifier: &Verifier) -> Result<ByteOrder, Error> {
    let at = verifier.trailer(block)?;
    let order = match View::new(block, ByteOrder::Little).u64(at)? {
        MAGIC => ByteOrder::Little,
        found if found.swap_bytes() == MAGIC => ByteOrder::Big,
        found => return Err(Error::Magic { found }),
    };
    let covered = verifier.covered(order, block)?;
    let found = words_at(&View::new(block, order), at + SUM)?;
    let mut copy = block[..covered].to_vec();
    let words = match order {
        ByteOrder::Little => verifier.words(),
        ByteOrder::Big => verifier.words().map(u64::swap_bytes),
    };
    put_words(&mut copy, at + SUM, &words);
    let computed = verifier.expected(verifier.checksum().compute(order, None, &copy)?, found);
    if found == computed { Ok(order) } else { Err(Error::Mismatch { found, computed }) }
}

fn words_at(view: &View<'_>, at: usize) -> Result<Digest, Truncated> {
    let mut words = [0; 4];
    for (i, word) in words.iter_mut().enumerate() {
        *word = view.u64(at + 8 * i)?;
    }
    Ok(words)
}

fn put_words(block: &mut [u8], at: usize, words: &Digest) {
    for (i, &word) in words.iter().enumerate() {
        block.put_u64(at + 8 * i, word);
    }
}

#[cfg(test)]
mod tests {
    use sha2::Digest as _;

    use super::*;

    const LABEL: Verifier = Verifier::Label { offset: 0x4000 };

    fn log_block(used: u64) -> Vec<u8> {
        let mut block = vec![0x5A; 16384];
        block.put_u64(CHAIN_USED, used);
        block
    }

    #[test]
    fn the_gang_header_of_an_encrypted_dataset_has_half_a_checksum() {
        let (vdev, offset, txg) = (1, 0x1000, 9);
        let mut block = vec![0; 512];
        seal(&mut block, &Verifier::EncryptedGang { vdev, offset, txg }).unwrap();
        assert_eq!(block[512 - 16..], [0; 16]);
        assert_eq!(verify(&block, &Verifier::EncryptedGang { vdev, offset, txg }), Ok(ByteOrder::Little));
        assert!(verify(&block, &Verifier::Gang { vdev, offset, txg }).is_err());
        assert!(verify(&block, &Verifier::EncryptedGang { vdev, offset, txg: 8 }).is_err());
    }

    #[test]
    fn a_sealed_block_verifies_in_its_place_only() {
        let mut block = vec![7; 1024];
        seal(&mut block, &LABEL).unwrap();
        assert_eq!(verify(&block, &LABEL), Ok(ByteOrder::Little));
        assert_eq!(block[..984], [7; 984]);
        let elsewhere = Verifier::Label { offset: 0x44000 };
        assert!(matches!(verify(&block, &elsewhere), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let gang = Verifier::Gang { vdev: 1, offset: 0x20_0000, txg: 99 };
        let mut block = vec![7; 512];
        seal(&mut block, &gang).unwrap();
        for at in 0..block.len() {
            block[at] ^= 1;
            assert!(verify(&block, &gang).is_err(), "byte {at}");
            block[at] ^= 1;
        }
        assert_eq!(verify(&block, &gang), Ok(ByteOrder::Little));
    }

    #[test]
    fn a_block_of_a_big_endian_machine_verifies() {
        let mut block = vec![7; 1024];
        let at = block.len() - TRAILER;
        block[at..at + 8].copy_from_slice(&MAGIC.to_be_bytes());
        block[at + 8..].fill(0);
        block[at + 8..at + 16].copy_from_slice(&0x4000u64.to_be_bytes());
        let hash: [u8; 32] = sha2::Sha256::digest(&block).into();
        block[at + 8..].copy_from_slice(&hash);
        assert_eq!(verify(&block, &LABEL), Ok(ByteOrder::Big));
    }

    #[test]
    fn a_log_block_is_covered_as_far_as_it_is_used() {
        let chain = Verifier::Zilog2([1, 2, 3, 4]);
        let mut block = log_block(5000);
        seal(&mut block, &chain).unwrap();
        assert_eq!(verify(&block, &chain), Ok(ByteOrder::Little));
        block[8192] ^= 1;
        assert_eq!(verify(&block, &chain), Ok(ByteOrder::Little));
        block[8191] ^= 1;
        assert!(matches!(verify(&block, &chain), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn a_log_block_of_an_encrypted_dataset_keeps_its_mac() {
        let chain = Verifier::EncryptedZilog2([1, 2, 3, 4]);
        let mut block = log_block(5000);
        let mac = CHAIN_TRAILER + SUM + 16..CHAIN_TRAILER + SUM + 32;
        block[mac.clone()].copy_from_slice(b"MAC of the block");
        seal(&mut block, &chain).unwrap();
        assert_eq!(&block[mac], b"MAC of the block");
        assert_eq!(verify(&block, &chain), Ok(ByteOrder::Little));
        assert!(verify(&block, &Verifier::Zilog2([1, 2, 3, 4])).is_err());
        block[300] ^= 1;
        assert!(matches!(verify(&block, &chain), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn an_old_log_block_has_its_trailer_at_the_end() {
        let chain = Verifier::Zilog([1, 2, 3, 4]);
        let mut block = vec![9; 4096];
        seal(&mut block, &chain).unwrap();
        assert_eq!(verify(&block, &chain), Ok(ByteOrder::Little));
        assert!(verify(&block, &Verifier::Zilog([1, 2, 3, 5])).is_err());
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for used in [16385, u64::MAX, u64::MAX - 4095] {
            assert!(matches!(seal(&mut log_block(used), &Verifier::Zilog2([0; 4])), Err(Error::Truncated(_))));
        }
        for length in [0, 39] {
            assert!(matches!(verify(&vec![0; length], &LABEL), Err(Error::Truncated(_))));
        }
        assert_eq!(verify(&[0; 1024], &LABEL), Err(Error::Magic { found: 0 }));
    }
}
