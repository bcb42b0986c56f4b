//! `tine pool inspect block`: the bytes at an address.

use std::io::{self, Write};
use std::str::FromStr;

use zfs_ondisk::blkptr::{BlockPointer, Dva, Fields};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::{self, Function};
use zfs_ondisk::object::ObjectType;
use zfs_pool::{MAX_BLOCK, ObjectSet, Pool};

use super::dump::{Dump, left, right};
use super::shown::{Shown, digits};
use super::{guess, hexdump, pointer};
use crate::failure::Failure;

/// Sizes on disk are multiples of this.
const SECTOR: u64 = 512;

/// Where a block is, as zdb writes it: `VDEV:OFFSET:SIZE`, in hexadecimal digits but for the vdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) vdev: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// The size of the contents, where a slash follows it: `LSIZE/PSIZE`.
    pub(crate) logical: Option<u64>,
    /// Whether `size` is what is stored, and not what was allocated.
    pub(crate) is_stored: bool,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "an address such as 0:4e000:200 was expected (VDEV:OFFSET:SIZE, in hexadecimal digits)".to_owned();
        let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).map_err(|_| expected());
        let inner = match text.split_once('<') {
            Some((_, rest)) => rest.strip_suffix('>').ok_or_else(expected)?,
            None => text,
        };
        let mut parts = inner.split(':');
        let (Some(vdev), Some(offset), Some(size), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(expected());
        };
        let (logical, size) = match size.split_once('/') {
            Some((logical, physical)) => (Some(hex(logical)?), hex(physical)?),
            None => (None, hex(size)?),
        };
        let is_stored = logical.is_some();
        let address =
            Self { vdev: vdev.parse().map_err(|_| expected())?, offset: hex(offset)?, size, logical, is_stored };
        address.check().map(|()| address)
    }
}

impl Address {
    fn dva(&self) -> Dva {
        Dva { vdev: self.vdev, offset: self.offset, asize: self.size, gang: false }
    }

    /// Whether there can be a block at the address.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes = [Some(self.size), self.logical];
        for size in sizes.into_iter().flatten() {
            if size == 0 || !size.is_multiple_of(SECTOR) || size > MAX_BLOCK as u64 {
                return Err(format!(
                    "a block of {size:#x} bytes cannot be: expected a multiple of 0x200, at most {MAX_BLOCK:#x}"
                ));
            }
        }
        if !self.offset.is_multiple_of(SECTOR) {
            return Err(format!("no block begins at {:#x}: expected a multiple of 0x200", self.offset));
        }
        Ok(())
    }
}

/// What is done with the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// How they are compressed.
    pub(crate) compression: Option<Function>,
    /// The transaction group in which they were allocated.
    pub(crate) birth: u64,
    /// Whether to search who leads to them.
    pub(crate) owner: bool,
}

/// A compression function by its name.
pub(crate) fn compression(name: &str) -> Result<Function, String> {
    let known = || (0..=u8::MAX).filter_map(Function::from_number);
    known().find(|function| function.name() == name).ok_or_else(|| {
        let names: Vec<_> = known().map(Function::name).collect();
        format!("expected one of: {}", names.join(", "))
    })
}

/// Reads the bytes at an address, decompressed if that is asked for.
pub(crate) fn read(pool: &Pool, address: Address, reading: &Reading) -> Result<Vec<u8>, Failure> {
    let vdev = pool.vdevs().find(|vdev| vdev.id == u64::from(address.vdev));
    let vdev = vdev.ok_or_else(|| Failure::Work(format!("pool '{}' has no vdev {}", pool.name(), address.vdev)))?;
    if !address.is_stored && vdev.allocated_size(address.size, reading.birth) != address.size {
        return Err(Failure::Usage(format!(
            "how a block lies on vdev {} depends on the bytes that are stored, which are fewer than those allocated: give them with --psize",
            address.vdev
        )));
    }
    let dva = address.dva();
    let pointer = BlockPointer::data(&Fields {
        dvas: [dva, Dva::default(), Dva::default()],
        level: 0,
        object_type: ObjectType::PLAIN_OTHER,
        logical_size: address.size as usize,
        physical_size: address.size as usize,
        compression: Function::Off.number(),
        // Nobody knows what it must sum to.
        checksum: Checksum::Off.number(),
        birth: reading.birth,
        fill: 1,
        digest: [0; 4],
    });
    let stored = pool.read_stored(&pointer)?;
    let Some(function) = reading.compression else { return Ok(stored) };
    let mut contents = vec![0; address.logical.unwrap_or(address.size) as usize];
    compress::decompress(function, &stored, &mut contents)
        .map_err(|error| Failure::work(format_args!("cannot decompress the block as {}", function.name()), error))?;
    Ok(contents)
}

/// Dumps the bytes at an address.
pub(crate) fn dump(dump: &mut Dump, pool: &Pool, address: Address, reading: &Reading) -> Result<(), Failure> {
    let contents = read(pool, address, reading)?;
    dump.field("vdev", u64::from(address.vdev));
    dump.field("offset", Shown::offset(address.offset));
    dump.field("size", Shown::size(address.size));
    if let Some(function) = reading.compression {
        dump.field("compression", function.name());
        dump.field("logical size", Shown::size(contents.len() as u64));
    }
    places(dump, pool, address, reading.birth);
    let guesses = guess::guess(&contents);
    let text = if guesses.is_empty() { "nothing known; it may be compressed".to_owned() } else { guesses.join("; ") };
    dump.field("looks like", Shown::new(text, guesses));
    if reading.owner {
        owners(dump, pool, address);
    }
    dump.tree("contents", || digits(&contents).into(), || hexdump::lines(&contents, 0));
    Ok(())
}

/// Writes bytes to standard output as they are. A reader that has had enough is no error.
pub(crate) fn write_raw(contents: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(contents).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::work("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// The devices that hold the block, and where.
fn places(dump: &mut Dump, pool: &Pool, address: Address, birth: u64) {
    let parts = match pool.parts(address.dva(), address.size as usize, birth) {
        Ok(parts) => parts,
        Err(fault) => return dump.fault("held by", fault),
    };
    let columns = [left("device", 40), right("byte offset", 14), right("length", 8), left("part", 0)];
    dump.table("held by", &columns, |table| {
        for part in parts {
            let what = match part.at {
                Some(at) => Shown::new(format!("from {at:#x} on"), at),
                None => Shown::from("parity"),
            };
            for place in part.places {
                let length = Shown::offset(part.length as u64);
                table.row([place.name.into(), Shown::offset(place.offset), length, what.clone()]);
            }
        }
    });
}

/// All block pointers of the pool that lead to the address.
fn owners(dump: &mut Dump, pool: &Pool, address: Address) {
    let columns =
        [left("object set", 24), right("object", 10), right("level", 5), right("block", 10), left("pointer", 0)];
    dump.table("owners", &columns, |table| {
        let mut faults = Vec::new();
        let mut search = |set: &ObjectSet| {
            let leads = |pointer: &BlockPointer| pointer.dvas().any(|dva| overlaps(&dva, address));
            if leads(set.pointer()) {
                let root = pointer::shown(set.pointer());
                table.row([set.name().into(), Shown::none(), Shown::none(), Shown::none(), root]);
            }
            for object in std::iter::once(Ok(set.meta())).chain(set.objects()) {
                let object = match object {
                    _ if !table.is_read() => return,
                    Ok(object) => object,
                    Err(error) => {
                        faults.push(error);
                        continue;
                    }
                };
                let spill = object.dnode().spill.iter().filter(|spill| leads(spill)).count() > 0;
                let found = object.walk().filter_map(Result::ok).filter(|visit| leads(&visit.pointer));
                for visit in found {
                    let (level, number) = (u64::from(visit.level), visit.number);
                    table.row([
                        set.name().into(),
                        object.id().0.into(),
                        level.into(),
                        number.into(),
                        pointer::shown(&visit.pointer),
                    ]);
                }
                if let Some(spill) = object.dnode().spill.filter(|_| spill) {
                    let what = Shown::new("spill", "spill");
                    table.row([set.name().into(), object.id().0.into(), what, Shown::none(), pointer::shown(&spill)]);
                }
            }
        };
        let sets = pool.mos().map(|mos| search(&mos)).and_then(|()| pool.all_datasets());
        match sets {
            Ok(datasets) => {
                for dataset in datasets {
                    if let Ok(Some(set)) = dataset.objects() {
                        search(&set);
                    }
                }
            }
            Err(error) => faults.push(error),
        }
        faults.iter().for_each(|error| table.fault(error));
    });
}

fn overlaps(dva: &Dva, address: Address) -> bool {
    let end = address.offset.saturating_add(address.size);
    dva.vdev == address.vdev && dva.offset < end && address.offset < dva.offset.saturating_add(dva.asize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_zdb_writes_them() {
        let address = Address { vdev: 0, offset: 0x4e000, size: 0x200, logical: None, is_stored: false };
        for text in ["0:4e000:200", "<0:4e000:200>", "DVA[0]=<0:4e000:200>", "0:0x4e000:0x200"] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
        assert_eq!("0:4e000:1000/200".parse(), Ok(Address { logical: Some(0x1000), is_stored: true, ..address }));
    }

    #[test]
    fn what_can_be_no_address_is_refused() {
        for text in
            ["", "0", "0:4e000", "0:4e000:0", "0:4e000:201", "0:4e001:200", "x:0:200", "0:0:1000200", "0:0:200:d"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_compression_is_known_by_its_name() {
        assert_eq!(compression("lz4"), Ok(Function::Lz4));
        assert!(compression("lz5").is_err_and(|error| error.contains("lzjb")));
    }
}
