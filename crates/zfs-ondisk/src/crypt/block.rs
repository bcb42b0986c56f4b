//! Blocks: what of them is encrypted, and what their MACs cover.

use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::suite::Message;
use super::{DataKey, Error, IV_SIZE, MAC_SIZE, SALT_SIZE, Version};
use crate::blkptr::{self, BlockPointer};
use crate::bytes::{ByteOrder, Truncated, View};
use crate::dnode;
use crate::object::ObjectType;
use crate::objset;

/// Fields of a pointer's properties (`sys/spa.h`) that the MACs leave out: they
/// differ between a dataset and a raw copy of it.
mod property {
    pub(super) const PHYSICAL_SIZE: u64 = 0xffff << 16;
    pub(super) const COMPRESSION: u64 = 0x7f << 32;
    pub(super) const CHECKSUM: u64 = 0xff << 40;
    pub(super) const DEDUP: u64 = 1 << 62;
    pub(super) const BYTE_ORDER: u64 = 1 << 63;
}

/// Where the fields of a dnode are that the MACs treat apart (`dnode_phys_t`).
mod field {
    use std::ops::Range;

    pub(super) const POINTERS: usize = 3;
    pub(super) const BONUS_TYPE: usize = 4;
    pub(super) const FLAGS: usize = 7;
    pub(super) const BONUS_LENGTH: usize = 10;
    pub(super) const EXTRA_SLOTS: usize = 12;
    pub(super) const USED: Range<usize> = 24..32;
    pub(super) const CORE_SIZE: usize = 64;
    /// The integers of more than one byte besides the space used: sectors of a
    /// data block, length of the bonus buffer, largest block id.
    pub(super) const INTEGERS: [Range<usize>; 3] = [8..10, 10..12, 16..24];
}

/// The words of a pointer that hold what encryption needs.
const SALT: usize = 4;
const IV: usize = 5;
const FILL: usize = 11;
const MAC: usize = 14;
const PROPERTIES: usize = 6;

/// Offsets in the root of an object set (`objset_phys_t`).
const ROOT_TYPE: usize = 704;
const ROOT_FLAGS: usize = 712;
const PORTABLE_MAC: usize = 720;
const LOCAL_MAC: usize = 752;
const ROOT_MAC_SIZE: usize = 32;
const ACCOUNTING: [usize; 3] = [1024, 1536, 2048];

/// What a block is encrypted with besides the key: two blocks of a dataset that are
/// not the same must not have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    /// What the key of the block is made from.
    pub salt: [u8; SALT_SIZE],
    /// The initialization vector.
    pub iv: [u8; IV_SIZE],
}

impl DataKey {
    /// Encrypts in place what is to be stored of a little-endian block of level 0,
    /// compressed or not, as far as its type is encrypted, and gives the MAC for the
    /// pointer. The root of an object set gets its MACs inside.
    ///
    /// # Errors
    /// If what is to be encrypted cannot be told, or is too long for the suite.
    pub fn seal(&self, object_type: ObjectType, nonce: &Nonce, stored: &mut [u8]) -> Result<[u8; MAC_SIZE], Error> {
        let mut mac = [0; MAC_SIZE];
        match object_type {
            ObjectType::OBJSET => {
                let root = View::new(stored, ByteOrder::Little);
                let (portable, local) = (self.portable_mac(&root)?, self.local_mac(&root)?);
                let mut put = |at: usize, mac: Hmac<Sha512>| {
                    stored[at..at + ROOT_MAC_SIZE].copy_from_slice(&mac.finalize().into_bytes()[..ROOT_MAC_SIZE]);
                };
                put(PORTABLE_MAC, portable);
                if let Some(local) = local {
                    put(LOCAL_MAC, local);
                }
            }
            ObjectType::DNODE => {
                let parts = dnode_parts(&View::new(stored, ByteOrder::Little), self.version)?;
                let mut data = parts.gather(stored);
                mac = self.encrypt(nonce, &parts.aad, &mut data)?;
                parts.scatter(&data, stored);
            }
            _ if object_type.is_encrypted() => mac = self.encrypt(nonce, &[], stored)?,
            _ => mac.copy_from_slice(&self.hmac().chain_update(stored).finalize().into_bytes()[..MAC_SIZE]),
        }
        Ok(mac)
    }

    /// The MAC of a little-endian indirect block, from its contents before
    /// compression.
    ///
    /// # Errors
    /// If it does not consist of whole pointers.
    pub fn pointers_mac(&self, contents: &[u8]) -> Result<[u8; MAC_SIZE], Error> {
        Ok(pointers_mac(&View::new(contents, ByteOrder::Little), self.version)?)
    }

    fn encrypt(&self, nonce: &Nonce, aad: &[u8], data: &mut [u8]) -> Result<[u8; MAC_SIZE], Error> {
        let key = self.block_key(&nonce.salt);
        self.suite.encrypt(&Message { key: &key[..self.suite.key_size()], iv: &nonce.iv, aad }, data)
    }

    /// Decrypts what is stored of a block of level 0 in place, after verifying its
    /// MAC; what is not encrypted is only verified. What comes out is still
    /// compressed. Blocks of other levels are for [`verify_pointers`], and left as
    /// they are.
    ///
    /// # Errors
    /// [`Error::Mac`] if the block is not what was written with this key, and others
    /// if that cannot be told. `stored` is not to be used then.
    pub fn open(&self, pointer: &BlockPointer, stored: &mut [u8]) -> Result<(), Error> {
        if !pointer.uses_crypt() {
            return Err(Error::Unprotected);
        }
        if pointer.level() > 0 {
            return Ok(());
        }
        let order = order_of(pointer);
        match pointer.object_type() {
            ObjectType::OBJSET => self.verify_root(&View::new(stored, order)),
            ObjectType::INTENT_LOG => Err(Error::IntentLog),
            ObjectType::DNODE => {
                let parts = dnode_parts(&View::new(stored, order), self.version)?;
                let mut data = parts.gather(stored);
                self.decrypt(pointer, &parts.aad, &mut data)?;
                parts.scatter(&data, stored);
                Ok(())
            }
            _ if pointer.is_encrypted() => self.decrypt(pointer, &[], stored),
            _ => {
                let mac = self.hmac().chain_update(stored);
                mac.verify_truncated_left(&mac_of(pointer)).map_err(|_| Error::Mac)
            }
        }
    }

    fn decrypt(&self, pointer: &BlockPointer, aad: &[u8], data: &mut [u8]) -> Result<(), Error> {
        let key = self.block_key(&salt_of(pointer));
        let message = Message { key: &key[..self.suite.key_size()], iv: &iv_of(pointer), aad };
        self.suite.decrypt(&message, data, &mac_of(pointer))
    }

    fn hmac(&self) -> Hmac<Sha512> {
        let key: &[u8; super::HMAC_KEY_SIZE] = &self.hmac;
        Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
    }

    /// Verifies the MACs in the root of an object set.
    fn verify_root(&self, root: &View<'_>) -> Result<(), Error> {
        let portable = self.portable_mac(root)?;
        portable.verify_truncated_left(root.bytes(PORTABLE_MAC, ROOT_MAC_SIZE)?).map_err(|_| Error::Mac)?;
        // Where there is no accounting, the field may hold what a release that
        // made a mistake has left there; OpenZFS accepts that.
        match self.local_mac(root)? {
            Some(local) => local.verify_truncated_left(root.bytes(LOCAL_MAC, ROOT_MAC_SIZE)?).map_err(|_| Error::Mac),
            None => Ok(()),
        }
    }

    /// The MAC of what a send stream can carry: the array of dnodes.
    fn portable_mac(&self, root: &View<'_>) -> Result<Hmac<Sha512>, Error> {
        let mut covered = Vec::new();
        // The one number that is covered with its most significant byte first.
        covered.extend(root.u64(ROOT_TYPE)?.to_be_bytes());
        // None of the flags is portable.
        covered.extend([0; 8]);
        cover_dnode(&root.view(0, dnode::SLOT_SIZE)?, self.version, CoreOrder::Little, &mut covered)?;
        Ok(self.hmac().chain_update(covered))
    }

    /// The MAC of the accounting; `None` if there is no complete one.
    fn local_mac(&self, root: &View<'_>) -> Result<Option<Hmac<Sha512>>, Error> {
        let flags = root.u64(ROOT_FLAGS)?;
        let mut covered = flags.to_le_bytes().to_vec();
        let mut is_kept = false;
        for (index, &offset) in ACCOUNTING.iter().enumerate() {
            let Ok(dnode) = root.view(offset, dnode::SLOT_SIZE) else { break };
            if dnode.u8(0)? != ObjectType::NONE.0 {
                // Accounting by project does not come without the others.
                is_kept |= index < 2;
                cover_dnode(&dnode, self.version, CoreOrder::Little, &mut covered)?;
            }
        }
        let is_complete = flags & objset::FLAG_USERACCOUNTING_COMPLETE != 0;
        Ok((is_kept && is_complete).then(|| self.hmac().chain_update(covered)))
    }
}

/// Verifies the MAC of an indirect block of an encrypted dataset: `contents` is
/// the block after decompression, in the byte order that `pointer` says. Blocks
/// of other sorts pass.
///
/// # Errors
/// [`Error::Mac`] if it does not hold.
pub fn verify_pointers(pointer: &BlockPointer, contents: &[u8]) -> Result<(), Error> {
    if !pointer.uses_crypt() || pointer.level() == 0 {
        return Ok(());
    }
    // Which version the key has is not known here.
    for version in [Version::V1, Version::V0] {
        if pointers_mac(&View::new(contents, order_of(pointer)), version)? == mac_of(pointer) {
            return Ok(());
        }
    }
    Err(Error::Mac)
}

fn pointers_mac(block: &View<'_>, version: Version) -> Result<[u8; MAC_SIZE], Truncated> {
    let mut covered = Vec::with_capacity(block.len() / 4);
    for at in (0..block.len()).step_by(blkptr::SIZE) {
        cover_pointer(&BlockPointer::read(block, at)?, version, &mut covered);
    }
    let mut mac = [0; MAC_SIZE];
    mac.copy_from_slice(&Sha512::digest(covered)[..MAC_SIZE]);
    Ok(mac)
}

fn order_of(pointer: &BlockPointer) -> ByteOrder {
    if pointer.is_little_endian() { ByteOrder::Little } else { ByteOrder::Big }
}

fn word_bytes(pointer: &BlockPointer, index: usize) -> [u8; 8] {
    let word = pointer.words()[index];
    match order_of(pointer) {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    }
}

fn salt_of(pointer: &BlockPointer) -> [u8; SALT_SIZE] {
    word_bytes(pointer, SALT)
}

fn iv_of(pointer: &BlockPointer) -> [u8; IV_SIZE] {
    let end = (pointer.words()[FILL] >> 32) as u32;
    let mut iv = [0; IV_SIZE];
    iv[..8].copy_from_slice(&word_bytes(pointer, IV));
    iv[8..].copy_from_slice(&match order_of(pointer) {
        ByteOrder::Little => end.to_le_bytes(),
        ByteOrder::Big => end.to_be_bytes(),
    });
    iv
}

fn mac_of(pointer: &BlockPointer) -> [u8; MAC_SIZE] {
    let mut mac = [0; MAC_SIZE];
    if pointer.object_type() != ObjectType::OBJSET {
        mac[..8].copy_from_slice(&word_bytes(pointer, MAC));
        mac[8..].copy_from_slice(&word_bytes(pointer, MAC + 1));
    }
    mac
}

/// Appends what MACs cover of a pointer (`blkptr_auth_buf_t`): its properties,
/// least significant byte first, its MAC, and 8 zeros.
fn cover_pointer(pointer: &BlockPointer, version: Version, covered: &mut Vec<u8>) {
    use property::{BYTE_ORDER, CHECKSUM, COMPRESSION, DEDUP, PHYSICAL_SIZE};
    let properties = pointer.words()[PROPERTIES];
    let left_out = match version {
        Version::V0 => DEDUP | CHECKSUM | PHYSICAL_SIZE,
        Version::V1 if pointer.is_hole() => u64::MAX,
        Version::V1 if pointer.level() > 0 => DEDUP | CHECKSUM | PHYSICAL_SIZE | COMPRESSION | BYTE_ORDER,
        Version::V1 => DEDUP | CHECKSUM,
    };
    covered.extend((properties & !left_out).to_le_bytes());
    covered.extend(mac_of(pointer));
    if version != Version::V0 {
        covered.extend([0; 8]);
    }
}

/// The byte order in which the core of a dnode is covered.
#[derive(PartialEq, Eq)]
enum CoreOrder {
    /// As it is stored.
    Stored,
    /// Least significant byte first: roots of object sets can be written again,
    /// on another machine, by those who have no key.
    Little,
}

/// Appends what MACs cover of a dnode before its bonus buffer, and of its spill
/// pointer, and gives the place of the bonus buffer with all the room it has.
fn cover_dnode(
    dnode: &View<'_>,
    version: Version,
    order: CoreOrder,
    covered: &mut Vec<u8>,
) -> Result<Range<usize>, Truncated> {
    let mut core = [0; field::CORE_SIZE];
    core.copy_from_slice(dnode.bytes(0, field::CORE_SIZE)?);
    let has_spill = core[field::FLAGS] & dnode::FLAG_SPILL_BLKPTR != 0;
    core[field::FLAGS] &= dnode::FLAG_SPILL_BLKPTR;
    core[field::USED].fill(0);
    if order == CoreOrder::Little && dnode.order() == ByteOrder::Big {
        field::INTEGERS.into_iter().for_each(|integer| core[integer].reverse());
    }
    covered.extend(core);
    let start = field::CORE_SIZE + usize::from(core[field::POINTERS]) * blkptr::SIZE;
    for at in (field::CORE_SIZE..start).step_by(blkptr::SIZE) {
        cover_pointer(&BlockPointer::read(dnode, at)?, version, covered);
    }
    let end = dnode.len() - if has_spill { blkptr::SIZE } else { 0 };
    if has_spill {
        cover_pointer(&BlockPointer::read(dnode, end)?, version, covered);
    }
    // The pointers may take all there is, but not what the spill pointer takes.
    if start <= end { Ok(start..end) } else { Err(Truncated { offset: start, need: 0, have: end }) }
}

/// The parts of a block of dnodes.
struct Parts {
    /// What the MAC covers besides what is encrypted.
    aad: Vec<u8>,
    /// Bonus buffers that are encrypted.
    secret: Vec<Range<usize>>,
}

impl Parts {
    /// The bonus buffers of a block, which are one message.
    fn gather(&self, block: &[u8]) -> Zeroizing<Vec<u8>> {
        let secret: usize = self.secret.iter().map(Range::len).sum();
        let mut data = Zeroizing::new(Vec::with_capacity(secret));
        self.secret.iter().for_each(|part| data.extend(&block[part.clone()]));
        data
    }

    /// Puts them back.
    fn scatter(&self, data: &[u8], block: &mut [u8]) {
        let mut rest = data;
        for part in &self.secret {
            let (bonus, after) = rest.split_at(part.len());
            block[part.clone()].copy_from_slice(bonus);
            rest = after;
        }
    }
}

fn dnode_parts(block: &View<'_>, version: Version) -> Result<Parts, Truncated> {
    let mut parts = Parts { aad: Vec::with_capacity(block.len()), secret: Vec::new() };
    let mut at = 0;
    while at < block.len() {
        let slots = 1 + usize::from(block.u8(at + field::EXTRA_SLOTS)?);
        let dnode = block.view(at, slots * dnode::SLOT_SIZE)?;
        let bonus = cover_dnode(&dnode, version, CoreOrder::Stored, &mut parts.aad)?;
        let is_secret = dnode.u8(0)? != ObjectType::NONE.0
            && ObjectType(dnode.u8(field::BONUS_TYPE)?).is_encrypted()
            && dnode.u16(field::BONUS_LENGTH)? != 0;
        if is_secret {
            parts.secret.push(at + bonus.start..at + bonus.end);
        } else {
            parts.aad.extend(dnode.bytes(bonus.start, bonus.len())?);
        }
        at += dnode.len();
    }
    Ok(parts)
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
