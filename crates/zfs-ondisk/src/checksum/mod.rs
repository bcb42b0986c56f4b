//! Block checksums.
//!
//! A block pointer holds the number of a checksum function ([`Checksum`]) and
//! four 64-bit words ([`Digest`]). Blocks that no pointer leads to, or that
//! must be checked before it is read, hold their checksum themselves
//! ([`embedded`]). Numbers are those of `enum zio_checksum` (`sys/zio.h`).

mod edonr;
pub mod embedded;
mod fletcher;
mod skein;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use sha2::digest::Digest as _;

use crate::bytes::ByteOrder;

/// A checksum: the four words of a block pointer (`zio_cksum_t`), as values.
///
/// The words of a pointer are in the byte order of the pool, like all its
/// integers, and are compared after decoding. Fletcher sums are such words by
/// nature. SHA-256 is loaded into them big-endian on every machine. The other
/// hashes were copied into them as bytes, so their words are the hash's bytes
/// loaded in the byte order of the pool.
pub type Digest = [u64; 4];

/// The secret of a pool that skein, edonr and blake3 are keyed with
/// (`org.illumos:checksum_salt` in the pool's object directory).
pub type Salt = [u8; 32];

/// A checksum function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Checksum {
    /// Take the parent's; a property value only.
    Inherit = 0,
    /// The default, fletcher4; a property value only.
    On = 1,
    /// None.
    Off = 2,
    /// SHA-256, embedded in the parts of a label.
    Label = 3,
    /// SHA-256, embedded in a gang block's header.
    GangHeader = 4,
    /// Fletcher-2, embedded in an intent log block of old.
    Zilog = 5,
    /// Fletcher sums of second order over 64-bit words.
    Fletcher2 = 6,
    /// Fletcher sums of fourth order over 32-bit words.
    Fletcher4 = 7,
    /// SHA-256.
    Sha256 = 8,
    /// Fletcher-4, embedded in an intent log block.
    Zilog2 = 9,
    /// None, and no parity either; of old.
    NoParity = 10,
    /// SHA-512/256, feature `org.illumos:sha512`.
    Sha512 = 11,
    /// Skein-512-256 keyed with the salt, feature `org.illumos:skein`.
    Skein = 12,
    /// Edon-R-512 keyed with the salt, cut to 256 bits, feature `org.illumos:edonr`.
    Edonr = 13,
    /// BLAKE3 keyed with the salt, feature `org.openzfs:blake3`.
    Blake3 = 14,
}

/// A checksum that cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The number stands for no function.
    #[error("'{0}' is no checksum function of a block")]
    Function(Checksum),
    /// The function is keyed and the pool has no key.
    #[error("checksum '{0}' needs the salt of the pool, which has none")]
    NoSalt(Checksum),
    /// The function works on words, and the block does not consist of such.
    #[error("checksum '{checksum}' needs a multiple of {unit} bytes, the block has {length}")]
    Length {
        /// The function.
        checksum: Checksum,
        /// Bytes of a word, or of a pair of words.
        unit: usize,
        /// Length of the block in bytes.
        length: usize,
    },
}

/// A value that the property `checksum` does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum '{value}' is unknown; expected one of {}", Checksum::ACCEPTED)]
pub struct UnknownChecksum {
    /// The value.
    pub value: String,
}

impl Checksum {
    /// All functions, by number.
    pub const ALL: [Self; 15] = [
        Self::Inherit,
        Self::On,
        Self::Off,
        Self::Label,
        Self::GangHeader,
        Self::Zilog,
        Self::Fletcher2,
        Self::Fletcher4,
        Self::Sha256,
        Self::Zilog2,
        Self::NoParity,
        Self::Sha512,
        Self::Skein,
        Self::Edonr,
        Self::Blake3,
    ];

    /// The values the property takes, for messages and manuals.
    pub const ACCEPTED: &str = "on, off, fletcher2, fletcher4, sha256, noparity, sha512, skein, edonr, blake3";

    /// The number in a block pointer, and of the property.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The function with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name in properties and in `zdb`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inherit => "inherit",
            Self::On => "on",
            Self::Off => "off",
            Self::Label => "label",
            Self::GangHeader => "gang_header",
            Self::Zilog => "zilog",
            Self::Fletcher2 => "fletcher2",
            Self::Fletcher4 => "fletcher4",
            Self::Sha256 => "sha256",
            Self::Zilog2 => "zilog2",
            Self::NoParity => "noparity",
            Self::Sha512 => "sha512",
            Self::Skein => "skein",
            Self::Edonr => "edonr",
            Self::Blake3 => "blake3",
        }
    }

    /// The function with [`Checksum::On`] replaced by what it stands for.
    pub fn resolve(self) -> Self {
        if self == Self::On { Self::Fletcher4 } else { self }
    }

    /// Whether the function is keyed with the salt of the pool.
    pub fn is_salted(self) -> bool {
        matches!(self, Self::Skein | Self::Edonr | Self::Blake3)
    }

    /// Whether metadata may be checksummed with it; where not, fletcher4 takes
    /// its place (`ZCHECKSUM_FLAG_METADATA`).
    pub fn is_strong_enough_for_metadata(self) -> bool {
        !matches!(self, Self::Off | Self::NoParity | Self::Fletcher2 | Self::Zilog | Self::Zilog2)
    }

    /// What of a checksum the pointer to a block of an encrypted dataset has, whose other
    /// half is the MAC: of hashes that are fit for deduplication
    /// (`ZCHECKSUM_FLAG_DEDUP`) the first half, of other functions both halves folded.
    pub fn beside_mac(self, digest: Digest) -> [u64; 2] {
        let [a, b, c, d] = digest;
        match self {
            Self::Sha256 | Self::Sha512 | Self::Skein | Self::Blake3 => [a, b],
            _ => [a ^ c, b ^ d],
        }
    }

    /// The checksum of `data`, the physical bytes of a block.
    ///
    /// `order` is the byte order of the pool, or of the block pointer where the
    /// two differ. `salt` matters to salted functions only. The embedded ones
    /// are computed over `data` as it is: see [`embedded`] for the rest.
    ///
    /// # Errors
    /// [`Error`] if the function is none, lacks its salt, or cannot take the
    /// length of `data`.
    pub fn compute(self, order: ByteOrder, salt: Option<&Salt>, data: &[u8]) -> Result<Digest, Error> {
        let whole = |unit: usize| match data.len() % unit {
            0 => Ok(()),
            _ => Err(Error::Length { checksum: self, unit, length: data.len() }),
        };
        let salt = || salt.ok_or(Error::NoSalt(self));
        match self {
            Self::Inherit | Self::On => Err(Error::Function(self)),
            Self::Off | Self::NoParity => Ok([0; 4]),
            Self::Fletcher2 | Self::Zilog => whole(16).map(|()| fletcher::fletcher2(order, data)),
            Self::Fletcher4 | Self::Zilog2 => whole(4).map(|()| fletcher::fletcher4(order, data)),
            Self::Sha256 | Self::Label | Self::GangHeader => {
                Ok(words(ByteOrder::Big, &sha2::Sha256::digest(data).into()))
            }
            Self::Sha512 => Ok(words(order, &sha2::Sha512_256::digest(data).into())),
            Self::Skein => Ok(words(order, &skein::mac(salt()?, data))),
            Self::Edonr => Ok(words(order, &edonr::mac(salt()?, data))),
            Self::Blake3 => Ok(words(order, blake3::keyed_hash(salt()?, data).as_bytes())),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Checksum {
    type Err = UnknownChecksum;

    /// The function that a value of the property `checksum` names.
    fn from_str(text: &str) -> Result<Self, UnknownChecksum> {
        Self::ALL
            .into_iter()
            .find(|checksum| checksum.name() == text && checksum.is_property())
            .ok_or_else(|| UnknownChecksum { value: text.to_owned() })
    }
}

impl Checksum {
    fn is_property(self) -> bool {
        !matches!(self, Self::Inherit | Self::Label | Self::GangHeader | Self::Zilog | Self::Zilog2)
    }
}

/// The words that the 32 bytes of a hash make.
fn words(order: ByteOrder, bytes: &[u8; 32]) -> Digest {
    let (chunks, _) = bytes.as_chunks();
    std::array::from_fn(|i| match order {
        ByteOrder::Little => u64::from_le_bytes(chunks[i]),
        ByteOrder::Big => u64::from_be_bytes(chunks[i]),
    })
}
