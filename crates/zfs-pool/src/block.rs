//! Reading blocks: copies, gang blocks, checksums, decompression.

use std::cell::RefCell;
use std::collections::HashSet;
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
use crate::vdev::{self, BlockPart, DevicePlace, Fault, Map, Vdev};

/// The largest block in bytes (`SPA_MAXBLOCKSIZE`).
pub const MAX_BLOCK: usize = 16 << 20;
/// Bytes of the header of a gang block (`SPA_OLD_GANGBLOCKSIZE`); with the feature `dynamic_gang_header`, as many as
/// are allocated for so few.
pub(crate) const GANG_HEADER_SIZE: usize = 512;

/// How many faults are told of a part of a gang block.
const MOST_FAULTS: usize = 32;

/// How many headers of gang blocks one block may lead to: copies of copies would
/// otherwise be read again and again.
struct Headers(usize);

impl Headers {
    /// For `pointer`. A sound gang block of n sectors has fewer headers than n; each
    /// may have three copies, and all are read again in search of a good one, and
    /// when every copy is.
    fn of(pointer: &BlockPointer) -> Self {
        Self(9 * (pointer.physical_size() >> blkptr::SECTOR_SHIFT))
    }

    fn take(&mut self) -> Result<(), &'static str> {
        self.0 = self.0.checked_sub(1).ok_or("the gang block has more headers than sectors")?;
        Ok(())
    }
}

/// How much is done to get a copy of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// What is on the first device is taken, or nothing.
    Plain,
    /// All devices are read, and what is missing computed from parity.
    All,
}

/// A copy of a block that cannot be used, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCopy {
    /// Number of the top-level vdev.
    pub vdev: u32,
    /// Offset of the copy in bytes in the vdev's allocatable space.
    pub offset: u64,
    /// Where on which device the bad part begins, if that is known.
    pub place: Option<DevicePlace>,
    /// What is wrong.
    pub fault: String,
}

impl fmt::Display for BadCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vdev {}, offset {:#x}", self.vdev, self.offset)?;
        if let Some(place) = &self.place {
            write!(f, ", {} at byte {}", place.name, place.offset)?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl BadCopy {
    fn new(dva: Dva, fault: impl Into<String>) -> Self {
        Self { vdev: dva.vdev, offset: dva.offset, place: None, fault: fault.into() }
    }

    /// The faults of a copy; where a device has the same one many times, the first.
    fn of(dva: Dva, faults: Vec<Fault>) -> Vec<Self> {
        let mut seen = HashSet::new();
        let guid = |fault: &Fault| fault.place.as_ref().map(|place| place.guid);
        let new = faults.into_iter().filter(|fault| seen.insert((guid(fault), fault.what.clone())));
        new.map(|fault| Self { place: fault.place, ..Self::new(dva, fault.what) }).collect()
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
        let mut block = Vec::new();
        self.read_block_into(pointer, access, &mut block)?;
        Ok(block)
    }

    /// Makes `block`, which may be one that is not needed any more, the contents of a block.
    pub(crate) fn read_block_into(
        &self,
        pointer: &BlockPointer,
        access: &Access,
        block: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let size = checked_sizes(pointer)?.0;
        match pointer.kind() {
            Kind::Hole | Kind::Redacted => {
                block.clear();
                block.resize(size, 0);
                return Ok(());
            }
            Kind::Embedded => {
                let payload = pointer.payload().ok_or_else(|| {
                    let expected = format!("at most {}", blkptr::EMBEDDED_CAPACITY);
                    let size = pointer.physical_size() as u64;
                    impossible(pointer, "embedded size", size, expected)
                })?;
                block.resize(size, 0);
                return decompress_into(pointer, &payload, block);
            }
            Kind::Data => access.permits(pointer)?,
        }
        BUFFERS.with_borrow_mut(|[stored, _]| {
            self.read_any_copy(pointer, stored)?;
            if self.unpack(pointer, stored, block, access)? {
                std::mem::swap(stored, block);
            }
            Ok(())
        })
    }

    /// Decrypts what is `stored` of a block where it is; what is then compressed is
    /// decompressed into `block`, the MAC verified as far as there is a key. Gives
    /// whether it is not compressed.
    pub(crate) fn unpack(
        &self,
        pointer: &BlockPointer,
        stored: &mut [u8],
        block: &mut Vec<u8>,
        access: &Access,
    ) -> Result<bool, Error> {
        access.decrypt(pointer, stored)?;
        let size = checked_sizes(pointer)?.0;
        let is_plain = pointer.compression() == Function::Off.number() && stored.len() == size;
        if !is_plain {
            block.resize(size, 0);
            decompress_into(pointer, stored, block)?;
        }
        if self.verifies() {
            crypt::verify_pointers(pointer, if is_plain { stored } else { block })?;
        }
        Ok(is_plain)
    }

    /// Where a copy of a block is whose pointer leads to `dva`: `size` stored bytes
    /// that were allocated in transaction group `birth`.
    ///
    /// # Errors
    /// If that is nowhere.
    pub fn parts(&self, dva: Dva, size: usize, birth: u64) -> Result<Vec<BlockPart>, BadCopy> {
        let map = vdev::map(self.vdev_map(), dva.vdev, dva.offset, size, birth);
        map.map(|map| map.parts()).map_err(|fault| BadCopy::new(dva, fault))
    }

    /// The bytes of a block as they are stored, [`BlockPointer::physical_size`]
    /// of them, also of an encrypted block.
    ///
    /// # Errors
    /// If the pointer leads to no stored block, or no copy's checksum holds.
    pub fn read_stored(&self, pointer: &BlockPointer) -> Result<Vec<u8>, Error> {
        let mut stored = Vec::new();
        self.read_any_copy(pointer, &mut stored)?;
        Ok(stored)
    }

    /// Reads all copies of a block, on every side of every mirror, with all parity,
    /// and gives those that cannot be used. Devices that are missing are no fault.
    /// The contents are decompressed, too.
    ///
    /// # Errors
    /// If the pointer cannot be, no copy holds, or what it holds cannot be
    /// decompressed.
    pub fn verify_block(&self, pointer: &BlockPointer) -> Result<Vec<BadCopy>, Error> {
        self.verify_block_with(pointer, &Access::Plain)
    }

    pub(crate) fn verify_block_with(&self, pointer: &BlockPointer, access: &Access) -> Result<Vec<BadCopy>, Error> {
        self.verify(pointer, access, false)
    }

    /// The same, for a block whose contents are wanted soon: they are kept in the cache.
    ///
    /// # Errors
    /// As [`Pool::verify_block`].
    pub(crate) fn verify_and_keep(&self, pointer: &BlockPointer, access: &Access) -> Result<Vec<BadCopy>, Error> {
        self.verify(pointer, access, self.cache().get(access.id(), pointer).is_none())
    }

    fn verify(&self, pointer: &BlockPointer, access: &Access, keep: bool) -> Result<Vec<BadCopy>, Error> {
        checked_sizes(pointer)?;
        if pointer.kind() != Kind::Data {
            return self.read_block(pointer).map(|_| Vec::new());
        }
        BUFFERS.with_borrow_mut(|[stored, block]| {
            let first = self.read_any_copy(pointer, stored)?;
            let mut bad = Vec::new();
            let headers = &mut Headers::of(pointer);
            for (index, dva) in pointer.dvas().enumerate() {
                self.compare_copy(pointer, dva, stored, first == Some(index), headers, &mut bad);
            }
            // Without the key, the checksum of what is stored is all that can be verified.
            if access.permits(pointer).is_err() {
                return Ok(bad);
            }
            let is_plain = self.unpack(pointer, stored, block, access)?;
            if keep {
                let contents = if is_plain { stored } else { block };
                self.cache().put(access.id(), pointer, &Arc::from(contents.as_slice()));
            }
            Ok(bad)
        })
    }

    /// Bytes by which the space used counts all copies of a block
    /// (`bp_get_dsize_sync`); see [`Vdev::deflated_size`].
    pub(crate) fn used_size(&self, pointer: &BlockPointer) -> u64 {
        let used = |dva: Dva| self.vdev(dva.vdev).map_or(dva.asize, |vdev| vdev.deflated_size(dva.asize));
        pointer.dvas().map(used).fold(0, u64::wrapping_add)
    }

    /// The block as [`Pool::read_block_with`] gives it, from the cache if it is there.
    pub(crate) fn block(&self, pointer: &BlockPointer, access: &Access) -> Result<Arc<[u8]>, Error> {
        access.permits(pointer)?;
        if let Some(block) = self.cache().get(access.id(), pointer) {
            return Ok(block);
        }
        let block: Arc<[u8]> = self.read_block_with(pointer, access)?.into();
        self.cache().put(access.id(), pointer, &block);
        Ok(block)
    }

    /// The parts that the header of a gang block leads to.
    pub(crate) fn gang_parts(&self, pointer: &BlockPointer, dva: Dva) -> Result<Vec<BlockPointer>, Vec<BadCopy>> {
        let mut header = Vec::new();
        self.read_gang_header(pointer, dva, Effort::Plain, &mut header)
            .or_else(|_| self.read_gang_header(pointer, dva, Effort::All, &mut header))
    }

    /// Makes `stored` the stored bytes of a block. If that was possible without any
    /// redundancy, gives the number of the copy.
    fn read_any_copy(&self, pointer: &BlockPointer, stored: &mut Vec<u8>) -> Result<Option<usize>, Error> {
        checked_sizes(pointer)?;
        let mut headers = Headers::of(pointer);
        let mut bad = Vec::new();
        for effort in [Effort::Plain, Effort::All] {
            bad.clear();
            for (index, dva) in pointer.dvas().enumerate() {
                match self.read_copy(pointer, dva, effort, &mut headers, stored) {
                    Ok(()) => return Ok(Some(index).filter(|_| effort == Effort::Plain)),
                    Err(faults) => bad.extend(faults),
                }
            }
        }
        Err(Error::Unreadable { pointer: Box::new(*pointer), copies: bad })
    }

    fn read_copy(
        &self,
        pointer: &BlockPointer,
        dva: Dva,
        effort: Effort,
        headers: &mut Headers,
        stored: &mut Vec<u8>,
    ) -> Result<(), Vec<BadCopy>> {
        if dva.gang {
            return self.read_gang(pointer, dva, effort, headers, stored);
        }
        let size = pointer.physical_size();
        self.read_map(pointer, dva, size, effort, stored, &mut |stored| self.verify_stored(pointer, stored))
    }

    /// Makes `stored` the `size` bytes at `dva` that `check` accepts.
    fn read_map(
        &self,
        pointer: &BlockPointer,
        dva: Dva,
        size: usize,
        effort: Effort,
        stored: &mut Vec<u8>,
        check: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), Vec<BadCopy>> {
        let map = self.map(pointer, dva, size)?;
        // Raidz and draid have whole sectors.
        let mut check = |stored: &[u8]| check(stored.get(..size).unwrap_or(stored));
        let read = match effort {
            Effort::Plain => map
                .read(stored)
                .and_then(|()| check(stored).map_err(|what| Fault { place: None, what }))
                .map_err(|fault| vec![fault]),
            Effort::All => map.search(stored, &mut check),
        };
        stored.truncate(size);
        read.map_err(|faults| BadCopy::of(dva, faults))
    }

    fn map(&self, pointer: &BlockPointer, dva: Dva, size: usize) -> Result<Map<'_>, Vec<BadCopy>> {
        vdev::map(self.vdev_map(), dva.vdev, dva.offset, size, pointer.physical_birth())
            .map_err(|fault| vec![BadCopy::new(dva, fault)])
    }

    /// Checks stored bytes against the checksum of a pointer.
    fn verify_stored(&self, pointer: &BlockPointer, stored: &[u8]) -> Result<(), String> {
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

    /// Makes `header` that of a gang block, and gives its parts.
    fn read_gang_header(
        &self,
        pointer: &BlockPointer,
        dva: Dva,
        effort: Effort,
        header: &mut Vec<u8>,
    ) -> Result<Vec<BlockPointer>, Vec<BadCopy>> {
        let small = self.read_gang_header_of(GANG_HEADER_SIZE, pointer, dva, effort, header);
        let vdevs = pointer.dvas().filter_map(|dva| self.vdev(dva.vdev));
        match vdevs.map(Vdev::least_block).min().filter(|&size| size > GANG_HEADER_SIZE) {
            Some(size) if small.is_err() => self.read_gang_header_of(size, pointer, dva, effort, header).or(small),
            _ => small,
        }
    }

    fn read_gang_header_of(
        &self,
        size: usize,
        pointer: &BlockPointer,
        dva: Dva,
        effort: Effort,
        header: &mut Vec<u8>,
    ) -> Result<Vec<BlockPointer>, Vec<BadCopy>> {
        // The header of every copy is sealed with the place of the first one.
        let first = pointer.dvas().next().unwrap_or(dva);
        let (vdev, offset, txg) = (first.vdev.into(), first.offset, pointer.physical_birth());
        let place = if pointer.uses_crypt() && pointer.object_type() != ObjectType::OBJSET {
            Verifier::EncryptedGang { vdev, offset, txg }
        } else {
            Verifier::Gang { vdev, offset, txg }
        };
        let mut order = ByteOrder::Little;
        self.read_map(pointer, dva, size, effort, header, &mut |header| {
            order = embedded::verify(header, &place).map_err(|error| format!("gang header: {error}"))?;
            Ok(())
        })?;
        let view = View::new(header, order);
        let mut parts = (0..(size - embedded::TRAILER) / blkptr::SIZE)
            .map(|index| BlockPointer::read(&view, index * blkptr::SIZE))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| vec![BadCopy::new(dva, error.to_string())])?;
        parts.retain(|part| !part.is_hole());
        let size = pointer.physical_size();
        let sum: usize = parts.iter().map(BlockPointer::physical_size).sum();
        // A part is a gang block because no space was found for a third of what was left, rounded up: following
        // parts soon comes to an end. One that was found may be as large as the whole.
        let is_sound = |part: &BlockPointer| {
            let is_gang = part.dvas().any(|dva| dva.gang);
            part.kind() == Kind::Data && (!is_gang || part.physical_size() * 3 <= size * 2)
        };
        if sum != size || !parts.iter().all(is_sound) {
            let fault = format!("the parts of the gang block have {sum} bytes, {size} expected, or lead in a circle");
            return Err(vec![BadCopy::new(dva, fault)]);
        }
        Ok(parts)
    }

    fn read_gang(
        &self,
        pointer: &BlockPointer,
        dva: Dva,
        effort: Effort,
        headers: &mut Headers,
        stored: &mut Vec<u8>,
    ) -> Result<(), Vec<BadCopy>> {
        headers.take().map_err(|what| vec![BadCopy::new(dva, what)])?;
        let parts = self.read_gang_header(pointer, dva, effort, stored)?;
        let mut whole = Vec::with_capacity(pointer.physical_size());
        for part in parts {
            let mut bad = Vec::new();
            let mut read =
                |dva| self.read_copy(&part, dva, effort, headers, stored).map_err(|faults| bad.extend(faults));
            if !part.dvas().any(|dva| read(dva).is_ok()) {
                bad.truncate(MOST_FAULTS);
                return Err(bad);
            }
            whole.append(stored);
        }
        *stored = whole;
        self.verify_stored(pointer, stored).map_err(|fault| vec![BadCopy::new(dva, fault)])
    }

    /// Adds what differs from the `stored` bytes in a copy of a block, on any
    /// device. `already` says that they were read from there.
    fn compare_copy(
        &self,
        pointer: &BlockPointer,
        dva: Dva,
        stored: &[u8],
        already: bool,
        headers: &mut Headers,
        bad: &mut Vec<BadCopy>,
    ) {
        let compared = if dva.gang {
            self.compare_gang(pointer, dva, stored, headers, bad)
        } else {
            self.map(pointer, dva, stored.len()).map(|map| bad.extend(BadCopy::of(dva, map.compare(stored, already))))
        };
        compared.unwrap_or_else(|faults| bad.extend(faults));
    }

    fn compare_gang(
        &self,
        pointer: &BlockPointer,
        dva: Dva,
        stored: &[u8],
        headers: &mut Headers,
        bad: &mut Vec<BadCopy>,
    ) -> Result<(), Vec<BadCopy>> {
        headers.take().map_err(|what| vec![BadCopy::new(dva, what)])?;
        let mut header = Vec::new();
        let parts = self.read_gang_header(pointer, dva, Effort::All, &mut header)?;
        bad.extend(BadCopy::of(dva, self.map(pointer, dva, header.len())?.compare(&header, false)));
        let mut rest = stored;
        for part in parts {
            let (contents, others) = rest.split_at_checked(part.physical_size()).unwrap_or((rest, &[]));
            part.dvas().for_each(|dva| self.compare_copy(&part, dva, contents, false, headers, bad));
            rest = others;
        }
        Ok(())
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

fn compare(pointer: &BlockPointer, function: Checksum, found: Digest, expected: Digest) -> Result<(), String> {
    // Half of the checksum has made room for a MAC. The root of an object set has its
    // MACs inside.
    let (found, expected) = if pointer.uses_crypt() && pointer.object_type() != ObjectType::OBJSET {
        let [first, second] = function.beside_mac(found);
        ([first, second, 0, 0], [expected[0], expected[1], 0, 0])
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
    /// Buffers of blocks: as stored, and of those that are verified, decompressed.
    static BUFFERS: RefCell<[Vec<u8>; 2]> = RefCell::default();
}

fn decompress_into(pointer: &BlockPointer, stored: &[u8], block: &mut [u8]) -> Result<(), Error> {
    let number = pointer.compression();
    let function = Function::from_number(number)
        .ok_or_else(|| impossible(pointer, "compression function", number.into(), "a known one".into()))?;
    DECOMPRESSOR
        .with_borrow_mut(|decompressor| decompressor.decompress(function, stored, block))
        .map_err(|source| Error::Decompress { pointer: Box::new(*pointer), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_checksum_beside_a_mac_is_cut_if_it_is_strong_and_folded_otherwise() {
        // The bit that says that the block has a MAC.
        let mut words = [0u8; blkptr::SIZE];
        words[6 * 8 + 7] = 1 << 5;
        let pointer = BlockPointer::read(&View::new(&words, ByteOrder::Little), 0).unwrap();
        let (found, cut, folded) = ([1, 2, 4, 8], [1, 2, 77, 88], [1 ^ 4, 2 ^ 8, 77, 88]);
        let fits = |function, expected| compare(&pointer, function, found, expected).is_ok();
        for function in [Checksum::Sha256, Checksum::Sha512, Checksum::Skein, Checksum::Blake3] {
            assert!(fits(function, cut) && !fits(function, folded), "{function}");
        }
        // Edon-R is not trusted for deduplication.
        for function in [Checksum::Edonr, Checksum::Fletcher4, Checksum::Fletcher2] {
            assert!(fits(function, folded) && !fits(function, cut), "{function}");
        }
    }
}
