//! The contents of objects, by their types.

use std::collections::BTreeMap;

use zfs_ondisk::blkptr::{self, BlockPointer};
use zfs_ondisk::bpobj;
use zfs_ondisk::bytes::{ByteOrder, View};
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::spacemap::Change;
use zfs_pool::{Error, Object, SpaceMap};

use super::dump::{Dump, left, right};
use super::shown::{Shown, digits};
use super::{hexdump, nvlist, pointer, zap};

/// Things of a list that people are shown unless they want all.
const MOST: u64 = 100;
/// The longest nvlist in bytes that is read.
const MAX_NVLIST: u64 = 16 << 20;
/// Bytes of unknown contents that are shown.
const MOST_BYTES: u64 = 512;

/// Dumps the contents of an object; `all` of them, where there can be many.
pub(crate) fn dump(dump: &mut Dump, object: &Object, all: bool) {
    let result = match object.dnode().object_type {
        kind if kind.is_zap() => {
            zap::dump_entries(dump, object, all);
            Ok(())
        }
        ObjectType::PACKED_NVLIST => packed_nvlist(dump, object),
        ObjectType::OBJECT_ARRAY | ObjectType::BPOBJ_SUBOBJ => numbers(dump, object, all),
        ObjectType::BPOBJ => pointers(dump, object, all),
        ObjectType::SPACE_MAP => space_map(dump, object),
        ObjectType::DNODE => objects(dump, object),
        ObjectType::SPA_HISTORY => {
            dump.text("the records are shown by: inspect history");
            Ok(())
        }
        _ => bytes(dump, object),
    };
    if let Err(error) = result {
        dump.fault("contents", error);
    }
}

/// Objects of an object set by their types.
#[derive(Default)]
struct Count {
    objects: u64,
    used: u64,
    logical: u64,
}

/// A table of the objects of a set by their types.
fn objects(dump: &mut Dump, object: &Object) -> Result<(), Error> {
    let mut types: BTreeMap<ObjectType, Count> = BTreeMap::new();
    let mut faults = Vec::new();
    for object in object.set().objects() {
        match object {
            Ok(object) => {
                let dnode = object.dnode();
                let count = types.entry(dnode.object_type).or_default();
                count.objects += 1;
                count.used = count.used.saturating_add(dnode.used_bytes());
                count.logical = count.logical.saturating_add(logical_size(&object));
            }
            Err(error) => faults.push(error),
        }
        if !dump.is_read() {
            break;
        }
    }
    let columns = [right("objects", 8), right("used", 8), right("logical", 8), left("type", 0)];
    dump.table("objects by type", &columns, |table| {
        for (kind, count) in &types {
            table.row([
                count.objects.into(),
                Shown::short_size(count.used),
                Shown::short_size(count.logical),
                kind.to_string().into(),
            ]);
        }
        faults.iter().for_each(|error| table.fault(error));
    });
    Ok(())
}

/// Bytes up to the end of the last block; 0 if there is none.
pub(crate) fn logical_size(object: &Object) -> u64 {
    let dnode = object.dnode();
    let empty = dnode.max_block_id == 0 && dnode.pointers.iter().all(BlockPointer::is_hole);
    let blocks = if empty { 0 } else { dnode.max_block_id.saturating_add(1) };
    blocks.saturating_mul(dnode.data_block_size() as u64)
}

fn packed_nvlist(dump: &mut Dump, object: &Object) -> Result<(), Error> {
    // Objects that hold lists of another module's kind have no size beside them.
    let size = object.bonus().u64(0).unwrap_or_else(|_| logical_size(object));
    if size > MAX_NVLIST {
        dump.fault("contents", format_args!("a list of {size} bytes, expected at most {MAX_NVLIST}"));
        return Ok(());
    }
    let mut packed = vec![0; size as usize];
    object.read_at(0, &mut packed)?;
    match NvList::decode(&packed) {
        Ok(list) => nvlist::dump(dump, "contents", &list),
        Err(error) => dump.fault("contents", error),
    }
    Ok(())
}

/// Words of 64 bits that are not 0, with their indices.
fn words(object: &Object) -> impl Iterator<Item = Result<(u64, u64), Error>> + '_ {
    let per_block = (object.dnode().data_block_size() / 8) as u64;
    object.blocks().flat_map(move |found| {
        let block = found.and_then(|(number, pointer)| Ok((number, order(&pointer), object.read_block(number)?)));
        let (words, error) = match block {
            Ok((number, order, block)) => {
                let view = View::new(&block, order);
                let words = (0..per_block).filter_map(|index| {
                    let word = view.u64(index as usize * 8).ok().filter(|&word| word != 0)?;
                    Some(Ok((number.saturating_mul(per_block).saturating_add(index), word)))
                });
                (words.collect::<Vec<_>>(), None)
            }
            Err(error) => (Vec::new(), Some(Err(error))),
        };
        words.into_iter().chain(error)
    })
}

fn order(pointer: &BlockPointer) -> ByteOrder {
    if pointer.is_little_endian() { ByteOrder::Little } else { ByteOrder::Big }
}

fn numbers(dump: &mut Dump, object: &Object, all: bool) -> Result<(), Error> {
    let most = if all || dump.is_json() { u64::MAX } else { MOST };
    let mut more = false;
    dump.table("contents", &[right("index", 10), right("number", 20)], |table| {
        for (count, word) in (0..).zip(words(object)) {
            match word {
                _ if count == most || !table.is_read() => {
                    more = count == most;
                    return;
                }
                Ok((index, word)) => table.row([index.into(), word.into()]),
                Err(error) => table.fault(error),
            }
        }
    });
    if more {
        dump.text("and more; -v shows them all");
    }
    Ok(())
}

fn pointers(dump: &mut Dump, object: &Object, all: bool) -> Result<(), Error> {
    let header = bpobj::Header::read(&object.bonus()).unwrap_or_default();
    let most = if all || dump.is_json() { u64::MAX } else { MOST };
    let per_block = (object.dnode().data_block_size() / blkptr::SIZE).max(1) as u64;
    let mut more = false;
    dump.table("contents", &[right("index", 10), left("pointer", 0)], |table| {
        for index in 0..header.pointers {
            more = index == most;
            if more || !table.is_read() {
                return;
            }
            let found = object.block_pointer(index / per_block).and_then(|pointer| {
                let block = object.read_block(index / per_block)?;
                let at = (index % per_block) as usize * blkptr::SIZE;
                Ok(BlockPointer::read(&View::new(&block, order(&pointer)), at))
            });
            match found {
                Ok(Ok(pointer)) => table.row([index.into(), pointer::shown(&pointer)]),
                Ok(Err(error)) => return table.fault(error),
                Err(error) => return table.fault(error),
            }
        }
    });
    if more {
        dump.text("and more; -v shows them all");
    }
    Ok(())
}

fn space_map(dump: &mut Dump, object: &Object) -> Result<(), Error> {
    let (mut allocated, mut freed, mut units) = (0u64, 0u64, 0i128);
    for entry in SpaceMap::open(object)? {
        let entry = entry?;
        match entry.change {
            Change::Allocated => (allocated, units) = (allocated + 1, units + i128::from(entry.length)),
            Change::Freed => (freed, units) = (freed + 1, units - i128::from(entry.length)),
        }
    }
    dump.section("contents", |dump| {
        dump.field("allocations", allocated);
        dump.field("frees", freed);
        dump.field("units allocated", Shown::new(units.to_string(), units.to_string()));
        dump.text("the entries are shown by: inspect spacemap -v POOL VDEV METASLAB");
    });
    Ok(())
}

/// The first bytes of contents that are none of these.
fn bytes(dump: &mut Dump, object: &Object) -> Result<(), Error> {
    let length = logical_size(object).min(MOST_BYTES);
    if length == 0 {
        return Ok(());
    }
    let mut bytes = vec![0; length as usize];
    object.read_at(0, &mut bytes)?;
    let name = format!("first {length} bytes");
    dump.tree(&name, || digits(&bytes).into(), || hexdump::lines(&bytes, 0));
    Ok(())
}
