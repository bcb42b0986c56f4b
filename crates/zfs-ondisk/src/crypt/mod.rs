//! Native encryption (`sys/zio_crypt.h`, `sys/dsl_crypt.h`).
//!
//! ```text
//! passphrase, hex or raw key -> WrappingKey -> DataKey -> a key for each salt -> blocks
//! ```
//!
//! What the user has makes a [`WrappingKey`]. Each encrypted dataset has, in the
//! MOS, a ZAP with a [`WrappedKey`] ([`entry`]): its master key and its HMAC key,
//! encrypted with the wrapping key of its *encryption root*. Clones share it.
//! Unwrapped it is a [`DataKey`]. Every block is protected in one of four ways:
//!
//! | block | protection |
//! | --- | --- |
//! | level 0, of an encrypted type | AES in a mode with a MAC. Of arrays of dnodes, only the bonus buffers of encrypted types are encrypted; the rest is covered by the MAC |
//! | level 0, of another type | HMAC-SHA512 of what is stored, cut to 16 bytes |
//! | indirect | SHA-512 of the MACs below, cut to 16 bytes; it needs no key |
//! | root of an object set | two HMAC-SHA512 inside, cut to 32 bytes: one for what a send stream can carry, one for the accounting by user and group |
//!
//! In the pointer to an encrypted block the third DVA holds the salt and the
//! first 8 bytes of the IV, the upper half of the fill count the other 4. The
//! MAC of any block but a root is the second half of the pointer's checksum.
//! These strings of bytes are in the byte order of the block. What is encrypted
//! was compressed before, and checksums are those of what is stored, so that a
//! pool is scrubbed without keys.

mod block;
mod key;
mod suite;

pub use block::{Nonce, verify_pointers};
pub use key::{DataKey, WRAPPING_KEY_SIZE, WrappedKey, WrappingKey, WrongKey};
pub use suite::Suite;

use crate::bytes::Truncated;

/// Bytes of an initialization vector (`ZIO_DATA_IV_LEN`).
pub const IV_SIZE: usize = 12;
/// Bytes of the MAC of a block (`ZIO_DATA_MAC_LEN`).
pub const MAC_SIZE: usize = 16;
/// Bytes of the salt of a block (`ZIO_DATA_SALT_LEN`).
pub const SALT_SIZE: usize = 8;
/// Bytes of a master key in its ZAP, whatever the suite uses of it (`MASTER_KEY_MAX_LEN`).
pub const MASTER_KEY_SIZE: usize = 32;
/// Bytes of an HMAC key (`SHA512_HMAC_KEYLEN`).
pub const HMAC_KEY_SIZE: usize = 64;

/// Entry of a DSL directory's ZAP: the object of its [`WrappedKey`]
/// (`DD_FIELD_CRYPTO_KEY_OBJ`).
pub const KEY_OBJECT: &str = "com.datto:crypto_key_obj";

/// Entry of the ZAP of a snapshot of an encrypted dataset: what names its set of
/// initialization vectors to raw streams (`DS_FIELD_IVSET_GUID`).
pub const IVSET_GUID: &str = "com.datto:ivset_guid";

/// The entries of the ZAP of a [`WrappedKey`] (`sys/dsl_crypt.h`).
pub mod entry {
    /// Number of the [`Suite`](super::Suite).
    pub const SUITE: &str = "DSL_CRYPTO_SUITE";
    /// What names the key; part of what its MAC covers.
    pub const GUID: &str = "DSL_CRYPTO_GUID";
    /// The initialization vector of the two keys.
    pub const IV: &str = "DSL_CRYPTO_IV";
    /// The MAC of the two keys.
    pub const MAC: &str = "DSL_CRYPTO_MAC";
    /// The encrypted master key.
    pub const MASTER_KEY: &str = "DSL_CRYPTO_MASTER_KEY_1";
    /// The encrypted HMAC key.
    pub const HMAC_KEY: &str = "DSL_CRYPTO_HMAC_KEY_1";
    /// The DSL directory of the encryption root.
    pub const ROOT: &str = "DSL_CRYPTO_ROOT_DDOBJ";
    /// How many DSL directories share the key: that of a dataset, and of its clones.
    pub const REFERENCES: &str = "DSL_CRYPTO_REFCOUNT";
    /// Number of the [`Version`](super::Version); missing means 0.
    pub const VERSION: &str = "DSL_CRYPTO_VERSION";
    /// Number of the [`KeyFormat`](super::KeyFormat).
    pub const KEY_FORMAT: &str = "keyformat";
    /// The salt of a passphrase.
    pub const PBKDF2_SALT: &str = "pbkdf2salt";
    /// The iterations of a passphrase.
    pub const PBKDF2_ITERATIONS: &str = "pbkdf2iters";
}

/// In which form a user has the wrapping key (`zfs_keyformat_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyFormat {
    /// 32 bytes.
    Raw = 1,
    /// 64 hexadecimal digits.
    Hex = 2,
    /// Text, from which PBKDF2 makes the key.
    Passphrase = 3,
}

impl KeyFormat {
    /// The format with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Raw, Self::Hex, Self::Passphrase].into_iter().find(|&format| format as u64 == number)
    }

    /// The value of the property `keyformat`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::Passphrase => "passphrase",
        }
    }
}

/// Which fields the MACs cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// That of pools made before OpenZFS 0.8.0 was released; OpenZFS reads it only.
    V0 = 0,
    /// `ZIO_CRYPT_KEY_CURRENT_VERSION`.
    V1 = 1,
}

impl Version {
    /// The version with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::V0, Self::V1].into_iter().find(|&version| version as u64 == number)
    }
}

/// Why a block is not what was written with this key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The MAC is that of other contents, or was made with another key.
    #[error("its MAC does not match: it was changed, moved, or encrypted with another key")]
    Mac,
    /// The pointer to it says that it has no MAC, but an encrypted dataset has no such blocks.
    #[error("it has no MAC, as every block of an encrypted dataset must")]
    Unprotected,
    /// A structure that decides what is encrypted ends too early.
    #[error("its encrypted parts cannot be told: {0}")]
    Truncated(#[from] Truncated),
    /// It is longer than its suite can encrypt: CCM takes less than 16 MiB here.
    #[error("it is longer than its suite can encrypt")]
    TooLong,
    /// A block of the intent log, whose contents are not decrypted.
    #[error("it belongs to the intent log, which is not decrypted")]
    IntentLog,
}
