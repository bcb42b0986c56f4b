//! `tine pool inspect object`: a dnode, its bonus buffer, its block tree and its contents.

use zfs_ondisk::bytes::View;
use zfs_ondisk::dnode;
use zfs_ondisk::object::{ObjectId, ObjectType};
use zfs_ondisk::{objset, zil};
use zfs_pool::{Error, FileSystem, Object, ObjectSet};

use super::dump::{Dump, left, right};
use super::shown::Shown;
use super::{bonus, contents, pointer};

/// Directories are not nested deeper: a path has at most 4096 bytes.
const MAX_DEPTH: usize = 2048;

/// The object with a number: 0 is the array of dnodes, -1 to -3 are the tables of used space.
pub(crate) fn find(set: &ObjectSet, number: i128) -> Result<Object, Error> {
    match number {
        0 => Ok(set.meta()),
        -3..0 => {
            let index = (-number - 1) as usize;
            set.accounting().into_iter().nth(index).flatten().ok_or(Error::NotAllocated)
        }
        _ => set.object(ObjectId(u64::try_from(number).unwrap_or(u64::MAX))),
    }
}

/// Dumps an object. `all` adds its block tree, and does not cut what is long.
pub(crate) fn dump(dump: &mut Dump, object: &Object, all: bool) {
    dump.field("object set", object.set().name());
    dump.field("object", number(object));
    if let Some(path) = path_of(object) {
        dump.field("path", Shown::bytes(&path));
    }
    fields(dump, object);
    bonus::dump(dump, object);
    if let Some(spill) = &object.dnode().spill {
        pointer::dump(dump, "spill pointer", spill);
    }
    if all {
        blocks(dump, object);
    } else {
        dump.values("pointers", "pointer", object.dnode().pointers.iter().map(pointer::shown));
    }
    contents::dump(dump, object, all);
}

/// Dumps the root of an object set.
pub(crate) fn dump_set(dump: &mut Dump, set: &ObjectSet, all: bool) {
    let root = set.root();
    dump.field("object set", set.name());
    let kind = set.kind().map_or_else(|| format!("unknown {}", root.kind), |kind| format!("{kind:?}").to_lowercase());
    dump.field("type", kind);
    let flags = [
        (objset::FLAG_USERACCOUNTING_COMPLETE, "user accounting complete"),
        (objset::FLAG_USEROBJACCOUNTING_COMPLETE, "user object accounting complete"),
        (objset::FLAG_PROJECTQUOTA_COMPLETE, "project quota complete"),
    ];
    dump.field("flags", Shown::flags(root.flags, &flags));
    if all {
        pointer::dump(dump, "root", set.pointer());
    } else {
        dump.field("root", pointer::shown(set.pointer()));
    }
    let view = View::new(&root.zil_header, order(set));
    match zil::Header::read(&view) {
        Ok(header) => dump.section("intent log", |dump| {
            dump.field("empty", header.log.is_hole());
            dump.field("claim txg", header.claim_txg);
            dump.field("replay sequence", header.replay_sequence);
            dump.field("claim block sequence", header.claim_block_sequence);
            dump.field("claim record sequence", header.claim_record_sequence);
            let flags = [
                (zil::FLAG_REPLAY_NEEDED, "replay needed"),
                (zil::FLAG_CLAIM_LR_SEQ_VALID, "claim record sequence valid"),
            ];
            dump.field("flags", Shown::flags(header.flags, &flags));
            dump.field("first block", pointer::shown(&header.log));
        }),
        Err(error) => dump.fault("intent log", error),
    }
    dump.section("array of dnodes", |dump| fields(dump, &set.meta()));
    let names = ["space by user", "space by group", "space by project"];
    for (name, table) in names.into_iter().zip(set.accounting()) {
        match table {
            Some(table) => dump.section(name, |dump| fields(dump, &table)),
            None => dump.field(name, Shown::none()),
        }
    }
    contents::dump(dump, &set.meta(), all);
}

/// The path of a file from the root of its file system; `None` for anything else, and for a file that its directory does
/// not have.
fn path_of(object: &Object) -> Option<Vec<u8>> {
    if !matches!(object.dnode().bonus_type, ObjectType::SA | ObjectType::ZNODE) {
        return None;
    }
    let files = FileSystem::from_objects(object.set().clone()).ok()?;
    let root = files.root().ok()?.object().id();
    let mut file = files.file(object.id()).ok()?;
    let mut names = Vec::new();
    while file.object().id() != root && names.len() < MAX_DEPTH {
        let id = file.object().id();
        let parent = files.file(file.attributes().parent).ok()?;
        let mut entries = parent.directory().ok()?;
        let entry = entries.entries().filter_map(Result::ok).find(|entry| entry.object == id)?;
        names.push(entry.name);
        file = parent;
    }
    names.reverse();
    (names.len() < MAX_DEPTH).then(|| [b"/".to_vec(), names.join(&b'/')].concat())
}

/// The number of an object as it is asked for: the tables of used space have negative ones.
fn number(object: &Object) -> Shown {
    let number = object.id().0 as i64;
    Shown::new(if number < 0 { number.to_string() } else { format!("{number}") }, number)
}

fn order(set: &ObjectSet) -> zfs_ondisk::bytes::ByteOrder {
    match set.pointer().is_little_endian() {
        true => zfs_ondisk::bytes::ByteOrder::Little,
        false => zfs_ondisk::bytes::ByteOrder::Big,
    }
}

/// The fixed fields of a dnode.
fn fields(dump: &mut Dump, object: &Object) {
    let dnode = object.dnode();
    let kind = |kind: ObjectType| Shown::from(kind.to_string()).note(kind.0.to_string());
    dump.field("type", kind(dnode.object_type));
    dump.field("levels", u64::from(dnode.levels));
    dump.field("indirect block size", Shown::size(1 << dnode.indirect_shift));
    dump.field("data block size", Shown::size(dnode.data_block_size() as u64));
    dump.field("dnode size", Shown::size((dnode.slots() * dnode::SLOT_SIZE) as u64));
    dump.field("largest block id", dnode.max_block_id);
    dump.field("used", Shown::size(dnode.used_bytes()));
    let inherited = |number: u8, name: fn(u8) -> String| match number {
        0 => Shown::new("inherited", "inherit").note("0"),
        _ => Shown::from(name(number)).note(number.to_string()),
    };
    dump.field("checksum", inherited(dnode.checksum, pointer::checksum_name));
    dump.field("compression", inherited(dnode.compression, pointer::compression_name));
    let flags = [
        (dnode::FLAG_USED_BYTES.into(), "used bytes"),
        (dnode::FLAG_USERUSED_ACCOUNTED.into(), "space accounted"),
        (dnode::FLAG_SPILL_BLKPTR.into(), "spill block"),
        (dnode::FLAG_USEROBJUSED_ACCOUNTED.into(), "object accounted"),
    ];
    dump.field("flags", Shown::flags(dnode.flags.into(), &flags));
    dump.field("bonus type", kind(dnode.bonus_type));
    dump.field("bonus length", dnode.bonus.len() as u64);
}

/// The whole block tree, from the top down.
fn blocks(dump: &mut Dump, object: &Object) {
    let dnode = object.dnode();
    let bits = u32::from(dnode.indirect_shift).saturating_sub(7);
    let block = dnode.data_block_size() as u64;
    dump.table("block tree", &[right("offset", 16), left("level", 5), left("pointer", 0)], |table| {
        for visit in object.walk() {
            if !table.is_read() {
                return;
            }
            match visit {
                Ok(visit) => {
                    let first = visit.number.checked_shl(bits * visit.level).unwrap_or(0);
                    let level = u64::from(visit.level);
                    let depth = u32::from(dnode.levels).saturating_sub(1).saturating_sub(visit.level) as usize;
                    let mut shown = pointer::shown(&visit.pointer);
                    shown.text = format!("{}{}", "  ".repeat(depth), shown.text);
                    let offset = first.saturating_mul(block);
                    let offset = Shown { text: format!("{offset:x}"), ..Shown::from(offset) };
                    table.row([offset, Shown::new(format!("L{level}"), level), shown]);
                }
                Err(error) => table.fault(error),
            }
        }
    });
}
