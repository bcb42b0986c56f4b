//! Encryption suites: AES in a mode with a MAC.

use std::fmt;

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use ccm::Ccm;

use super::{Error, IV_SIZE, MAC_SIZE};

/// An encryption suite (`enum zio_encrypt`): the value of the property
/// `encryption` of an encrypted dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `aes-128-ccm`
    Aes128Ccm = 3,
    /// `aes-192-ccm`
    Aes192Ccm = 4,
    /// `aes-256-ccm`
    Aes256Ccm = 5,
    /// `aes-128-gcm`
    Aes128Gcm = 6,
    /// `aes-192-gcm`
    Aes192Gcm = 7,
    /// `aes-256-gcm`, the default
    Aes256Gcm = 8,
}

impl Suite {
    /// All suites.
    pub const ALL: [Self; 6] =
        [Self::Aes128Ccm, Self::Aes192Ccm, Self::Aes256Ccm, Self::Aes128Gcm, Self::Aes192Gcm, Self::Aes256Gcm];

    /// The suite with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|&suite| suite as u64 == number)
    }

    /// Its name, as the property has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Ccm => "aes-128-ccm",
            Self::Aes192Ccm => "aes-192-ccm",
            Self::Aes256Ccm => "aes-256-ccm",
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes192Gcm => "aes-192-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    /// Bytes of a key.
    pub fn key_size(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes128Gcm => 16,
            Self::Aes192Ccm | Self::Aes192Gcm => 24,
            Self::Aes256Ccm | Self::Aes256Gcm => 32,
        }
    }

    /// The suite that keys of datasets with this suite are wrapped in: the same
    /// mode, with the longest key.
    pub(super) fn wrapping(self) -> Self {
        match self {
            Self::Aes128Ccm | Self::Aes192Ccm | Self::Aes256Ccm => Self::Aes256Ccm,
            Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm => Self::Aes256Gcm,
        }
    }

    /// Decrypts `data`, if `mac` is that of it and of `aad`. It is left in an
    /// unspecified state otherwise.
    pub(super) fn decrypt(self, message: &Message<'_>, data: &mut [u8], mac: &[u8; MAC_SIZE]) -> Result<(), Error> {
        match self {
            Self::Aes128Ccm => decrypt::<Ccm<Aes128, U16, U12>>(message, data, mac),
            Self::Aes192Ccm => decrypt::<Ccm<Aes192, U16, U12>>(message, data, mac),
            Self::Aes256Ccm => decrypt::<Ccm<Aes256, U16, U12>>(message, data, mac),
            Self::Aes128Gcm => decrypt::<AesGcm<Aes128, U12>>(message, data, mac),
            Self::Aes192Gcm => decrypt::<AesGcm<Aes192, U12>>(message, data, mac),
            Self::Aes256Gcm => decrypt::<AesGcm<Aes256, U12>>(message, data, mac),
        }
    }

    /// Encrypts `data` and gives the MAC.
    pub(super) fn encrypt(self, message: &Message<'_>, data: &mut [u8]) -> Result<[u8; MAC_SIZE], Error> {
        match self {
            Self::Aes128Ccm => encrypt::<Ccm<Aes128, U16, U12>>(message, data),
            Self::Aes192Ccm => encrypt::<Ccm<Aes192, U16, U12>>(message, data),
            Self::Aes256Ccm => encrypt::<Ccm<Aes256, U16, U12>>(message, data),
            Self::Aes128Gcm => encrypt::<AesGcm<Aes128, U12>>(message, data),
            Self::Aes192Gcm => encrypt::<AesGcm<Aes192, U12>>(message, data),
            Self::Aes256Gcm => encrypt::<AesGcm<Aes256, U12>>(message, data),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is needed for a message besides its data and its MAC.
pub(super) struct Message<'a> {
    /// As long as the suite wants it.
    pub(super) key: &'a [u8],
    pub(super) iv: &'a [u8; IV_SIZE],
    /// What the MAC covers besides the data.
    pub(super) aad: &'a [u8],
}

fn decrypt<C>(message: &Message<'_>, data: &mut [u8], mac: &[u8; MAC_SIZE]) -> Result<(), Error>
where
    C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let cipher = C::new_from_slice(message.key).map_err(|_| Error::Mac)?;
    cipher.decrypt_inout_detached(message.iv.into(), message.aad, data.into(), mac.into()).map_err(|_| Error::Mac)
}

fn encrypt<C>(message: &Message<'_>, data: &mut [u8]) -> Result<[u8; MAC_SIZE], Error>
where
    C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let cipher = C::new_from_slice(message.key).map_err(|_| Error::TooLong)?;
    let mac = cipher.encrypt_inout_detached(message.iv.into(), message.aad, data.into());
    Ok(mac.map_err(|_| Error::TooLong)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_the_numbers_of_openzfs() {
        assert_eq!(Suite::from_number(8).map(Suite::name), Some("aes-256-gcm"));
        assert_eq!(Suite::from_number(3).map(Suite::name), Some("aes-128-ccm"));
        // Inherit, on, off, and what is not there yet.
        for number in [0, 1, 2, 9, u64::MAX] {
            assert_eq!(Suite::from_number(number), None);
        }
    }

    #[test]
    fn each_suite_decrypts_what_it_encrypted_and_nothing_else() {
        for suite in Suite::ALL {
            let key = vec![7; suite.key_size()];
            let message = Message { key: &key, iv: &[1; IV_SIZE], aad: b"beside" };
            let mut data = b"in secret".to_vec();
            let mac = suite.encrypt(&message, &mut data).unwrap();
            assert_ne!(data, b"in secret");
            let mut copy = data.clone();
            assert_eq!(suite.decrypt(&message, &mut copy, &mac), Ok(()));
            assert_eq!(copy, b"in secret");
            for wrong in [
                Message { aad: b"besides", ..message },
                Message { iv: &[2; IV_SIZE], ..message },
                Message { key: &vec![8; suite.key_size()], ..message },
            ] {
                assert_eq!(suite.decrypt(&wrong, &mut data.clone(), &mac), Err(Error::Mac), "{suite}");
            }
        }
    }
}
