//! Encrypted data, decrypted where they are read: neither cipher needs what is before, but AES one block of it.

use std::io;
use std::sync::Arc;

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, KeyIvInit, StreamCipher, StreamCipherSeek};
use chacha20::ChaCha20Legacy;
use disk::ReadAt;
use zeroize::Zeroizing;

use crate::bytes::array;
use crate::key::{Cipher, DumpKey};

/// The size of a block of AES.
const BLOCK: u64 = 16;

/// What is encrypted with a key that is known.
pub(super) struct Decrypted {
    data: Arc<dyn ReadAt>,
    cipher: Cipher,
    iv: [u8; 32],
    key: Zeroizing<[u8; 32]>,
}

impl Decrypted {
    pub(super) fn new(data: Arc<dyn ReadAt>, key: &DumpKey, secret: Zeroizing<[u8; 32]>) -> Decrypted {
        Decrypted { data, cipher: key.cipher, iv: key.iv, key: secret }
    }

    fn read_aes(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = offset - offset % BLOCK;
        let end = (offset + buf.len() as u64).next_multiple_of(BLOCK);
        // Each block is mixed with the encrypted one before it, the first with the initial vector.
        let before = if start == 0 { 0 } else { BLOCK };
        let mut bytes = vec![0; (end - start + before) as usize];
        self.data.read_exact_at(&mut bytes, start - before)?;
        let (before, bytes) = bytes.split_at_mut(before as usize);
        let iv: [u8; BLOCK as usize] = if before.is_empty() { array(&self.iv, 0) } else { array(before, 0) };
        let (blocks, _) = bytes.as_chunks_mut::<{ BLOCK as usize }>();
        let blocks = aes::cipher::Array::cast_slice_from_core_mut(blocks);
        cbc::Decryptor::<Aes256>::new(&(*self.key).into(), &iv.into()).decrypt_blocks(blocks);
        let skip = (offset - start) as usize;
        buf.copy_from_slice(bytes.get(skip..skip + buf.len()).unwrap_or_default());
        Ok(())
    }
}

impl ReadAt for Decrypted {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.size() => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        match self.cipher {
            Cipher::Aes256Cbc => self.read_aes(buf, offset),
            Cipher::ChaCha20 => {
                self.data.read_exact_at(buf, offset)?;
                let nonce: [u8; 8] = array(&self.iv, 0);
                let mut cipher = ChaCha20Legacy::new(&(*self.key).into(), &nonce.into());
                cipher.try_seek(offset).map_err(io::Error::other)?;
                cipher.try_apply_keystream(buf).map_err(io::Error::other)
            }
        }
    }

    fn size(&self) -> u64 {
        match self.cipher {
            Cipher::Aes256Cbc => self.data.size() / BLOCK * BLOCK,
            Cipher::ChaCha20 => self.data.size(),
        }
    }
}
