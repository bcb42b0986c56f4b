//! Reading blocks: copies, gang blocks, checksums, decompression.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use zfs_ondisk::blkptr::{self, BlockPointer, Dva, Kind};
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::checksum::embedded::{self, Verifier};
use zfs_ondisk::checksum::{Checksum, Digest};
use zfs_ondisk::compress::{Decompressor, Function};
use zfs_ondisk::object::ObjectType;

use crate::crypt::{self, Access};
use crate::error::Error;
use crate::pool::Pool;
use crate::vdev::Vdev;

/// The largest block in bytes (`SPA_MAXBLOCKSIZE`).
pub const MAX_BLOCK: usize = 16 << 20;
/// Bytes of the header of a gang block (`SPA_OLD_GANGBLOCKSIZE`).
pub(crate) const GANG_HEADER_SIZE: usize = 512;
/// Block pointers in the header of a gang block.
const GANG_POINTERS: usize = 3;

/// How many headers of gang blocks one block may lead to: copies of copies would
/// otherwise be read again and again.
struct Headers(usize);

impl Headers {
    /// For `pointer`. A sound gang block of n sectors has fewer headers than n; each
    /// may have three copies, and all are read once more when every copy is.
    fn of(pointer: &BlockPointer) -> Self {
        Self(6 * (pointer.physical_size() >> blkptr::SECTOR_SHIFT))
    }

    fn take(&mut self) -> Result<(), &'static str> {
        self.0 = self.0.checked_sub(1).ok_or("the gang block has more headers than sectors")?;
        Ok(())
    }
}

/// A copy of a block that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCopy {
    /// Number of the top-level vdev.
    pub vdev: u32,
    /// Offset in bytes in the vdev's allocatable space.
    pub offset: u64,
    /// GUID of the leaf vdev, if the copy is on one.
    pub leaf: Option<u64>,
    /// What is wrong.
    pub fault: String,
}

impl fmt::Display for BadCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vdev {}, offset {:#x}", self.vdev, self.offset)?;
        if let Some(leaf) = self.leaf {
            write!(f, ", device {leaf}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

/// The byte order of what a pointer leads to.
pub(crate) fn order_of(pointer: &BlockPointer) -> ByteOrder {
    if pointer.is_little_endian() { ByteOrder::Little } else { ByteOrder::Big }
}

impl Pool {
    /// The contents of a block, [`BlockPointer::logical_size`] bytes long; zeros
    /// for a hole. The first copy whose checksum holds is taken.
    ///
    /// # Errors
    /// If the pointer cannot be, no copy holds, or the block is encrypted: such a
    /// one is read [through its object set](crate::ObjectSet::read_block).
    pub fn read_block(&self, pointer: &BlockPointer) -> Result<Vec<u8>, Error> {
        self.read_block_with(pointer, &Access::Plain)
    }

    pub(crate) fn read_block_with(&self, pointer: &BlockPointer, access: &Access) -> Result<Vec<u8>, Error> {
        let size = checked_sizes(pointer)?.0;
        match pointer.kind() {
            Kind::Hole | Kind::Redacted => return Ok(vec![0; size]),
            Kind::Embedded => {
                let payload = pointer.payload().ok_or_else(|| {
                    let expected = format!("at most {}", blkptr::EMBEDDED_CAPACITY);
                    let size = pointer.physical_size() as u64;
                    impossible(pointer, "embedded size", size, expected)
                })?;
                return decompress(pointer, &payload, size);
            }
            Kind::Data => access.permits(pointer)?,
        }
        self.contents(pointer, self.read_stored(pointer)?, access)
    }

    /// The contents of a block from what is stored of it: decrypted and
    /// decompressed, the MAC verified as far as there is a key.
    pub(crate) fn contents(
        &self,
        pointer: &BlockPointer,
        mut stored: Vec<u8>,
        access: &Access,
    ) -> Result<Vec<u8>, Error> {
        access.decrypt(pointer, &mut stored)?;
        let size = checked_sizes(pointer)?.0;
        let block = match pointer.compression() {
            n if n == Function::Off.number() && stored.len() == size => stored,
            _ => decompress(pointer, &stored, size)?,
        };
        if self.verifies() {
            crypt::verify_pointers(pointer, &block)?;
        }
        Ok(block)
    }

    /// The bytes of a block as they are stored, [`BlockPointer::physical_size`]
    /// of them, also of an encrypted block.
    ///
    /// # Errors
    /// If the pointer leads to no stored block, or no copy's checksum holds.
    pub fn read_stored(&self, pointer: &BlockPointer) -> Result<Vec<u8>, Error> {
        checked_sizes(pointer)?;
        let mut bad = Vec::new();
        for dva in pointer.dvas() {
            match self.first_good_copy(pointer, dva, &mut Headers::of(pointer)) {
                Ok(stored) => return Ok(stored),
                Err(faults) => bad.extend(faults),
            }
        }
        Err(Error::Unreadable { pointer: Box::new(*pointer), copies: bad })
    }

    /// Reads all copies of a block, on every side of every mirror, and gives
    /// those that cannot be used. The contents are decompressed, too.
    ///
    /// # Errors
    /// If the pointer cannot be, no copy holds, or what it holds cannot be
    /// decompressed.
    pub fn verify_block(&self, pointer: &BlockPointer) -> Result<Vec<BadCopy>, Error> {
        self.verify_block_with(pointer, &Access::Plain)
    }

    pub(crate) fn verify_block_with(&self, pointer: &BlockPointer, access: &Access) -> Result<Vec<BadCopy>, Error> {
        checked_sizes(pointer)?;
        if pointer.kind() != Kind::Data {
            return self.read_block(pointer).map(|_| Vec::new());
        }
        let (good, bad) = self.read_all_copies(pointer, &mut Headers::of(pointer));
        let Some(stored) = good else {
            return Err(Error::Unreadable { pointer: Box::new(*pointer), copies: bad });
        };
        if access.permits(pointer).is_ok() {
            self.contents(pointer, stored, access)?;
        }
        Ok(bad)
    }

    /// The block as [`Pool::read_block_with`] gives it, from the cache if it is there.
    pub(crate) fn block(&self, pointer: &BlockPointer, access: &Access) -> Result<Arc<[u8]>, Error> {
        if let Some(block) = self.cache().get(access.id(), pointer) {
            return Ok(block);
        }
        let block: Arc<[u8]> = self.read_block_with(pointer, access)?.into();
        self.cache().put(access.id(), pointer, &block);
        Ok(block)
    }

    /// The parts that the header of a gang block leads to.
    pub(crate) fn gang_parts(&self, pointer: &BlockPointer, dva: Dva) -> Result<Vec<BlockPointer>, Vec<BadCopy>> {
        let mut parts = self.gang_header(pointer, dva)?;
        parts.retain(|part| !part.is_hole());
        // OpenZFS makes equal parts, so that following them soon comes to an end.
        let size = pointer.physical_size();
        let sum: usize = parts.iter().map(BlockPointer::physical_size).sum();
        if sum != size || parts.iter().any(|part| part.physical_size() * 2 > size + (1 << blkptr::SECTOR_SHIFT)) {
            let fault = format!("the parts of the gang block have {sum} bytes, {size} expected, in equal parts");
            return Err(vec![bad_copy(dva, None, fault)]);
        }
        Ok(parts)
    }

    fn first_good_copy(
        &self,
        pointer: &BlockPointer,
        dva: Dva,
        headers: &mut Headers,
    ) -> Result<Vec<u8>, Vec<BadCopy>> {
        if dva.gang {
            return self.read_gang(pointer, dva, headers);
        }
        let vdev = self.vdev_of(dva, pointer.physical_size()).map_err(|fault| vec![fault])?;
        let mut bad = Vec::new();
        for leaf in vdev.leaves() {
            match self.read_copy(pointer, dva, leaf) {
                Ok(stored) => return Ok(stored),
                Err(fault) => bad.push(fault),
            }
        }
        if bad.is_empty() {
            bad.push(bad_copy(dva, None, "the vdev is a hole"));
        }
        Err(bad)
    }

    fn read_copy(&self, pointer: &BlockPointer, dva: Dva, leaf: &Vdev) -> Result<Vec<u8>, BadCopy> {
        let fault = |fault: String| bad_copy(dva, Some(leaf), fault);
        let mut stored = vec![0; pointer.physical_size()];
        leaf.read_leaf(&mut stored, dva.offset).map_err(fault)?;
        self.verify(pointer, &stored).map_err(fault)?;
        Ok(stored)
    }

    fn vdev_of(&self, dva: Dva, size: usize) -> Result<&Vdev, BadCopy> {
        let vdev = self.vdev(dva.vdev).ok_or_else(|| bad_copy(dva, None, "there is no such vdev"))?;
        match dva.offset.checked_add(size as u64) {
            Some(end) if end <= vdev.asize => Ok(vdev),
            _ => {
                let fault = format!("the block ends beyond the vdev, at {:#x}", vdev.asize);
                Err(bad_copy(dva, None, fault))
            }
        }
    }

    /// Checks stored bytes against the checksum of a pointer.
    fn verify(&self, pointer: &BlockPointer, stored: &[u8]) -> Result<(), String> {
        if !self.verifies() {
            return Ok(());
        }
        let number = pointer.checksum();
        let function =
            Checksum::from_number(number).ok_or_else(|| format!("checksum function {number} is not known"))?;
        let place = match function {
            Checksum::Off | Checksum::NoParity => return Ok(()),
            Checksum::Zilog => Verifier::Zilog(pointer.digest()),
            Checksum::Zilog2 if pointer.uses_crypt() => Verifier::EncryptedZilog2(pointer.digest()),
            Checksum::Zilog2 => Verifier::Zilog2(pointer.digest()),
            Checksum::Label | Checksum::GangHeader => {
                return Err(format!("checksum function '{function}' is not for blocks"));
            }
            _ => {
                let found =
                    function.compute(order_of(pointer), self.salt(), stored).map_err(|error| error.to_string())?;
                return compare(pointer, function, found, pointer.digest());
            }
        };
        embedded::verify(stored, &place).map(|_| ()).map_err(|error| error.to_string())
    }

    /// The pointers in the header of a gang block.
    fn gang_header(&self, pointer: &BlockPointer, dva: Dva) -> Result<Vec<BlockPointer>, Vec<BadCopy>> {
        // The header of every copy is sealed with the place of the first one.
        let first = pointer.dvas().next().unwrap_or(dva);
        let place = Verifier::Gang { vdev: first.vdev.into(), offset: first.offset, txg: pointer.physical_birth() };
        let vdev = self.vdev_of(dva, GANG_HEADER_SIZE).map_err(|fault| vec![fault])?;
        let read = |leaf: &Vdev| {
            let mut header = vec![0; GANG_HEADER_SIZE];
            leaf.read_leaf(&mut header, dva.offset)?;
            let order = embedded::verify(&header, &place).map_err(|error| format!("gang header: {error}"))?;
            let view = View::new(&header, order);
            (0..GANG_POINTERS)
                .map(|index| BlockPointer::read(&view, index * blkptr::SIZE))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())
        };
        let mut bad = Vec::new();
        for leaf in vdev.leaves() {
            match read(leaf) {
                Ok(parts) => return Ok(parts),
                Err(fault) => bad.push(bad_copy(dva, Some(leaf), fault)),
            }
        }
        Err(bad)
    }

    fn read_gang(&self, pointer: &BlockPointer, dva: Dva, headers: &mut Headers) -> Result<Vec<u8>, Vec<BadCopy>> {
        let fault = |fault: String| vec![bad_copy(dva, None, fault)];
        headers.take().map_err(|what| fault(what.into()))?;
        let mut stored = Vec::with_capacity(pointer.physical_size());
        for part in self.gang_parts(pointer, dva)? {
            let mut bad = Vec::new();
            let copy = part
                .dvas()
                .find_map(|dva| self.first_good_copy(&part, dva, headers).map_err(|faults| bad.extend(faults)).ok());
            stored.extend(copy.ok_or(bad)?);
        }
        self.verify(pointer, &stored).map_err(fault)?;
        Ok(stored)
    }

    /// The first good copy, and all bad ones.
    fn read_all_copies(&self, pointer: &BlockPointer, headers: &mut Headers) -> (Option<Vec<u8>>, Vec<BadCopy>) {
        let (mut good, mut bad) = (None, Vec::new());
        for dva in pointer.dvas() {
            if dva.gang {
                match self.read_gang(pointer, dva, headers) {
                    Ok(stored) => {
                        good.get_or_insert(stored);
                        // One of the parts may have a bad copy beside the good one.
                        if let Err(what) = headers.take() {
                            bad.push(bad_copy(dva, None, what));
                            continue;
                        }
                        for part in self.gang_parts(pointer, dva).unwrap_or_default() {
                            bad.extend(self.read_all_copies(&part, headers).1);
                        }
                    }
                    Err(faults) => bad.extend(faults),
                }
                continue;
            }
            match self.vdev_of(dva, pointer.physical_size()) {
                Ok(vdev) => {
                    for leaf in vdev.leaves() {
                        match self.read_copy(pointer, dva, leaf) {
                            Ok(stored) => _ = good.get_or_insert(stored),
                            Err(fault) => bad.push(fault),
                        }
                    }
                }
                Err(fault) => bad.push(fault),
            }
        }
        (good, bad)
    }
}

/// Logical and physical size of a block whose pointer can be.
fn checked_sizes(pointer: &BlockPointer) -> Result<(usize, usize), Error> {
    let (logical, physical) = (pointer.logical_size(), pointer.physical_size());
    if logical > MAX_BLOCK {
        let expected = format!("at most {MAX_BLOCK}");
        return Err(impossible(pointer, "logical size", logical as u64, expected));
    }
    if pointer.kind() == Kind::Data && physical > logical {
        let expected = format!("at most the logical size, {logical}");
        return Err(impossible(pointer, "physical size", physical as u64, expected));
    }
    Ok((logical, physical))
}

fn impossible(pointer: &BlockPointer, field: &'static str, value: u64, expected: String) -> Error {
    Error::Pointer { pointer: Box::new(*pointer), field, value, expected }
}

fn bad_copy(dva: Dva, leaf: Option<&Vdev>, fault: impl Into<String>) -> BadCopy {
    BadCopy { vdev: dva.vdev, offset: dva.offset, leaf: leaf.map(|leaf| leaf.guid), fault: fault.into() }
}

fn compare(pointer: &BlockPointer, function: Checksum, found: Digest, expected: Digest) -> Result<(), String> {
    // Where half of the checksum has made room for a MAC, hashes are cut and the
    // other sums folded. The root of an object set has its MACs inside.
    let (found, expected) = if pointer.uses_crypt() && pointer.object_type() != ObjectType::OBJSET {
        let is_hash = function.is_strong_enough_for_metadata() && function != Checksum::Fletcher4;
        let halves = if is_hash { [found[0], found[1]] } else { [found[0] ^ found[2], found[1] ^ found[3]] };
        ([halves[0], halves[1], 0, 0], [expected[0], expected[1], 0, 0])
    } else {
        (found, expected)
    };
    if found == expected {
        return Ok(());
    }
    let hex = |digest: Digest| digest.map(|word| format!("{word:x}")).join(":");
    Err(format!("{function} is {}, expected {}", hex(found), hex(expected)))
}

thread_local! {
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::default();
}

fn decompress(pointer: &BlockPointer, stored: &[u8], size: usize) -> Result<Vec<u8>, Error> {
    let number = pointer.compression();
    let function = Function::from_number(number)
        .ok_or_else(|| impossible(pointer, "compression function", number.into(), "a known one".into()))?;
    let mut block = vec![0; size];
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.decompress(function, stored, &mut block))
        .map_err(|source| Error::Decompress { pointer: Box::new(*pointer), source })?;
    Ok(block)
}
