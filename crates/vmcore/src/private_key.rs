//! RSA private keys in PEM files: what dumpon(8) was given the public half of.
//!
//! All forms that OpenSSL writes are read: PKCS#8 and PKCS#1, plain or with a passphrase (PBES2, and the older
//! `DEK-Info` with AES).

use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use md5::{Digest, Md5};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use rsa::traits::PublicKeyParts;
use rsa::{Oaep, Pkcs1v15Encrypt, RsaPrivateKey};
use zeroize::Zeroizing;

use crate::key::DumpKey;

/// How many bytes the key in a [`DumpKey`] has, decrypted (`KERNELDUMP_KEY_MAX_SIZE`). The ciphers use the first 32.
const DECRYPTED: usize = 64;

/// An RSA private key.
#[derive(Clone)]
pub struct PrivateKey(RsaPrivateKey);

/// Why a key is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is no PEM file with a private key.
    #[error("no RSA private key in PEM form: {0}")]
    Form(String),
    /// It needs a passphrase.
    #[error("the private key is protected by a passphrase, and none was given")]
    Passphrase,
    /// The passphrase is wrong, or the file is damaged.
    #[error("the private key cannot be decrypted: the passphrase is wrong")]
    WrongPassphrase,
    /// It is protected in a way that is not known.
    #[error("the private key is protected by {0}, which is not known here; openssl pkey converts it")]
    Protection(String),
    /// The dump was encrypted to a key of another size.
    #[error("the dump was encrypted to an RSA key of {dump} bits, and this one has {key}")]
    Size {
        /// The bits of the key that it was encrypted to.
        dump: usize,
        /// The bits of this one.
        key: usize,
    },
    /// The dump was encrypted to another key.
    #[error("the dump was encrypted to another RSA key")]
    Other,
}

/// What is in a PEM file: its label, the lines before the data, and the data.
struct Pem {
    label: String,
    headers: Vec<(String, String)>,
    data: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Reads a key from a PEM file.
    ///
    /// # Errors
    /// If there is none in it, or it cannot be decrypted with `passphrase`.
    pub fn from_pem(text: &str, passphrase: Option<&[u8]>) -> Result<PrivateKey, Error> {
        let pem = Pem::parse(text)?;
        let form = |error: &dyn std::fmt::Display| Error::Form(error.to_string());
        let key = match pem.label.as_str() {
            "RSA PRIVATE KEY" => {
                let der = pem.decrypt(passphrase)?;
                let wrong = if pem.headers.is_empty() { None } else { Some(Error::WrongPassphrase) };
                RsaPrivateKey::from_pkcs1_der(&der).map_err(|error| wrong.unwrap_or_else(|| form(&error)))?
            }
            "PRIVATE KEY" => RsaPrivateKey::from_pkcs8_der(&pem.data).map_err(|error| form(&error))?,
            "ENCRYPTED PRIVATE KEY" => {
                let passphrase = passphrase.ok_or(Error::Passphrase)?;
                let encrypted =
                    EncryptedPrivateKeyInfoRef::try_from(pem.data.as_slice()).map_err(|error| form(&error))?;
                let der = encrypted.decrypt(passphrase).map_err(|_| Error::WrongPassphrase)?;
                let info = PrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|_| Error::WrongPassphrase)?;
                RsaPrivateKey::try_from(info).map_err(|error| form(&error))?
            }
            other => return Err(Error::Form(format!("it has a {other}"))),
        };
        Ok(PrivateKey(key))
    }

    /// Decrypts the key of a dump. It is padded as OAEP says, and with FreeBSD 12.0 and before as PKCS#1 v1.5 does.
    ///
    /// # Errors
    /// If the dump was encrypted to another key.
    pub fn decrypt(&self, key: &DumpKey) -> Result<Zeroizing<[u8; 32]>, Error> {
        let encrypted = &key.encrypted_key;
        if self.0.size() != encrypted.len() {
            return Err(Error::Size { dump: encrypted.len() * 8, key: self.0.size() * 8 });
        }
        let oaep = self.0.decrypt(Oaep::<sha1::Sha1>::new(), encrypted);
        let decrypted = match oaep {
            Ok(decrypted) => decrypted,
            Err(_) => self.0.decrypt(Pkcs1v15Encrypt, encrypted).map_err(|_| Error::Other)?,
        };
        let decrypted = Zeroizing::new(decrypted);
        let first = decrypted.first_chunk::<32>().filter(|_| decrypted.len() == DECRYPTED);
        first.map(|first| Zeroizing::new(*first)).ok_or(Error::Other)
    }
}

impl Pem {
    /// The first part of `text` that is a private key. Others, such as certificates, may be before it.
    fn parse(text: &str) -> Result<Pem, Error> {
        let form = |why: &str| Error::Form(why.to_owned());
        let begins = |line: &str| {
            let label = line.trim_end().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
            label.ends_with("PRIVATE KEY").then(|| label.to_owned())
        };
        let mut lines = text.lines();
        let label = lines.find_map(begins).ok_or_else(|| form("it has no \"BEGIN ... PRIVATE KEY\""))?;
        let end = format!("-----END {label}-----");
        let mut headers = Vec::new();
        let mut base64 = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
        for line in lines.by_ref().map(str::trim_end).take_while(|line| *line != end) {
            match line.split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None if line.is_empty() => {}
                None => {
                    base64.push_str(line);
                    base64.push('\n');
                }
            }
        }
        base64.push_str(&end);
        let (_, data) = pem_rfc7468::decode_vec(base64.as_bytes()).map_err(|error| Error::Form(error.to_string()))?;
        Ok(Pem { label, headers, data: Zeroizing::new(data) })
    }

    /// The data, decrypted as `DEK-Info` says if it is there.
    fn decrypt(&self, passphrase: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Some((_, info)) = self.headers.iter().find(|(name, _)| name == "DEK-Info") else {
            return Ok(self.data.clone());
        };
        let passphrase = passphrase.ok_or(Error::Passphrase)?;
        let (cipher, iv) = info.split_once(',').ok_or_else(|| Error::Protection(info.clone()))?;
        let iv = hex(iv.trim()).ok_or_else(|| Error::Form("its DEK-Info is wrong".to_owned()))?;
        let mut data = self.data.clone();
        let plain = match cipher {
            "AES-128-CBC" => cbc::Decryptor::<aes::Aes128>::new(&derive::<16>(passphrase, &iv).into(), &iv.into())
                .decrypt_padded::<Pkcs7>(&mut data)
                .map(<[u8]>::len),
            "AES-192-CBC" => cbc::Decryptor::<aes::Aes192>::new(&derive::<24>(passphrase, &iv).into(), &iv.into())
                .decrypt_padded::<Pkcs7>(&mut data)
                .map(<[u8]>::len),
            "AES-256-CBC" => cbc::Decryptor::<aes::Aes256>::new(&derive::<32>(passphrase, &iv).into(), &iv.into())
                .decrypt_padded::<Pkcs7>(&mut data)
                .map(<[u8]>::len),
            other => return Err(Error::Protection(other.to_owned())),
        };
        let size = plain.map_err(|_| Error::WrongPassphrase)?;
        data.truncate(size);
        Ok(data)
    }
}

/// A key of `N` bytes made of a passphrase, as OpenSSL's `EVP_BytesToKey` does it with MD5 and one round: each part is
/// the checksum of the one before, the passphrase, and the first half of the initial vector.
fn derive<const N: usize>(passphrase: &[u8], iv: &[u8; 16]) -> [u8; N] {
    let (salt, _) = iv.split_at(8);
    let mut all = Zeroizing::new(Vec::new());
    let mut part: Vec<u8> = Vec::new();
    while all.len() < N {
        part = Md5::new().chain_update(&part).chain_update(passphrase).chain_update(salt).finalize().to_vec();
        all.extend_from_slice(&part);
    }
    all.first_chunk().copied().unwrap_or([0; N])
}

fn hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
