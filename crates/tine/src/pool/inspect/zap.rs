//! ZAPs: `tine pool inspect zap`, and the entries of objects that are ZAPs.

use serde_json::Value as Json;
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::property::{Property, StoredValue};
use zfs_ondisk::zap::{self, Entry, FatStructure, HashBits, Structure, hash_name};
use zfs_ondisk::znode;
use zfs_pool::fs::FileType;
use zfs_pool::{Error, Object, Zap};

use super::super::describe;
use super::dump::{Dump, Table, left, right};
use super::shown::{Shown, digits, number, printable};

/// Entries that people are shown unless they want all.
const MOST_ENTRIES: u64 = 100;
/// Bytes of a value that people are shown.
const MOST_BYTES: usize = 64;

/// Dumps the structure of a ZAP: header, leaves and entries.
pub(crate) fn dump(dump: &mut Dump, object: &Object, all: bool) -> Result<(), Error> {
    let mut zap = object.zap()?;
    dump.field("object set", object.set().name());
    dump.field("object", object.id().0);
    dump.field("type", object.dnode().object_type.to_string());
    match zap.structure() {
        Structure::Micro { salt, norm_flags, slots } => {
            dump.field("layout", "micro");
            dump.field("salt", Shown::hex(salt));
            dump.field("normalization", normalization(norm_flags));
            dump.field("slots", slots);
            dump.field("entry count", zap.count()?);
            micro_entries(dump, object, &mut zap, salt, all);
        }
        Structure::Fat(fat) => {
            header(dump, &fat);
            leaves(dump, &mut zap, &fat);
            fat_entries(dump, object, &mut zap, all);
        }
    }
    Ok(())
}

/// Dumps the entries of a ZAP, each with what its value means.
pub(crate) fn dump_entries(dump: &mut Dump, object: &Object, all: bool) {
    let mut zap = match object.zap() {
        Ok(zap) => zap,
        Err(error) => return dump.fault("contents", error),
    };
    let micro = matches!(zap.structure(), Structure::Micro { .. });
    dump.field("ZAP layout", if micro { "micro" } else { "fat" });
    let columns = [left("name", 32), left("value", 0)];
    let json = dump.is_json();
    let mut more = false;
    dump.table("entries", &columns, |table| {
        for (count, entry) in (0..).zip(zap.iter()) {
            if !all && !json && count == MOST_ENTRIES {
                more = true;
                return;
            }
            match entry {
                _ if !table.is_read() => return,
                Ok(entry) => table.row([name(object, &entry), value(object, &entry)]),
                Err(error) => table.fault(error),
            }
        }
    });
    if more {
        dump.text("and more; -v shows them all");
    }
}

fn header(dump: &mut Dump, fat: &FatStructure) {
    dump.field("layout", "fat");
    dump.field("salt", Shown::hex(fat.salt));
    dump.field("normalization", normalization(fat.norm_flags));
    let flags = [
        (zap::FLAG_HASH64, "48-bit hash"),
        (zap::FLAG_UINT64_KEY, "keys of 64-bit integers"),
        (zap::FLAG_PRE_HASHED_KEY, "keys that are hashes"),
    ];
    dump.field("flags", Shown::flags(fat.flags, &flags));
    dump.field("block size", Shown::size(fat.block_size));
    dump.section("pointer table", |dump| {
        let place = if fat.table_blocks == 0 { "in the header" } else { "blocks of its own" };
        dump.field("first block", Shown::from(fat.table_block).note(place));
        dump.field("blocks", fat.table_blocks);
        dump.field("pointers", Shown::from(1u64 << fat.table_shift).note(format!("2^{}", fat.table_shift)));
    });
    dump.field("next free block", fat.free_block);
    dump.field("leaf count", fat.leaves);
    dump.field("entry count", fat.entries);
}

fn leaves(dump: &mut Dump, zap: &mut Zap, fat: &FatStructure) {
    let columns = [
        right("block", 8),
        left("prefix", 12),
        right("pointers", 8),
        right("entries", 7),
        right("free chunks", 11),
        right("of", 5),
    ];
    dump.table("leaves", &columns, |table| {
        let mut index = 0;
        loop {
            match zap.leaf(index) {
                Ok(Some((leaf, next))) => {
                    let prefix = match leaf.prefix_len {
                        0 => "all".to_owned(),
                        length => format!("{:0width$b}", leaf.prefix, width = length as usize),
                    };
                    table.row([
                        leaf.block.into(),
                        prefix.into(),
                        leaf.pointers.into(),
                        (leaf.entries.len() as u64).into(),
                        leaf.free_chunks.into(),
                        leaf.chunks.into(),
                    ]);
                    index = next;
                }
                Ok(None) => return,
                Err(error) => {
                    // The other leaves may be sound.
                    table.fault(format_args!("pointer {index}: {error}"));
                    index += 1;
                    if index > fat.leaves.saturating_mul(2) {
                        return;
                    }
                }
            }
            if !table.is_read() {
                return;
            }
        }
    });
}

fn micro_entries(dump: &mut Dump, object: &Object, zap: &mut Zap, salt: u64, all: bool) {
    entries(dump, all, |table, most| {
        for (count, entry) in (0..).zip(zap.iter()) {
            match entry {
                _ if count == most || !table.is_read() => return count == most,
                Ok(entry) => row(table, object, hash_name(salt, &entry.name, HashBits::Short), &entry),
                Err(error) => table.fault(error),
            }
        }
        false
    });
}

fn fat_entries(dump: &mut Dump, object: &Object, zap: &mut Zap, all: bool) {
    entries(dump, all, |table, most| {
        let (mut index, mut count) = (0, 0);
        loop {
            match zap.leaf(index) {
                Ok(Some((leaf, next))) => {
                    for (hash, entry) in &leaf.entries {
                        if count == most || !table.is_read() {
                            return count == most;
                        }
                        row(table, object, *hash, entry);
                        count += 1;
                    }
                    index = next;
                }
                Ok(None) => return false,
                // It was reported with the leaves.
                Err(_) => return false,
            }
        }
    });
}

/// A table of entries; `body` says whether it left some out.
fn entries(dump: &mut Dump, all: bool, body: impl FnOnce(&mut Table<'_>, u64) -> bool) {
    let most = if all || dump.is_json() { u64::MAX } else { MOST_ENTRIES };
    let mut more = false;
    let columns = [left("hash", 16), right("cd", 3), left("name", 32), left("value", 0)];
    dump.table("entries", &columns, |table| more = body(table, most));
    if more {
        dump.text("and more; -v shows them all");
    }
}

fn row(table: &mut Table<'_>, object: &Object, hash: u64, entry: &Entry) {
    let hash = Shown::new(format!("{hash:016x}"), format!("{hash:#x}"));
    table.row([hash, u64::from(entry.cd).into(), name(object, entry), value(object, entry)]);
}

fn normalization(flags: u64) -> Shown {
    let names = [
        (0x2, "to upper case"),
        (0x4, "to lower case"),
        (0x10, "canonical decomposition"),
        (0x20, "compatibility decomposition"),
        (0x40, "canonical composition"),
    ];
    if flags == 0 { Shown::flags(0, &[]).note("none") } else { Shown::flags(flags, &names) }
}

/// The name of an entry; keys of integers as hexadecimal digits.
fn name(object: &Object, entry: &Entry) -> Shown {
    let keys = matches!(object.dnode().object_type, ObjectType::DDT_ZAP) || entry.name.first() == Some(&0);
    if keys { Shown::from(digits(&entry.name)) } else { Shown::bytes(&entry.name) }
}

/// The value of an entry, with what it means in a ZAP of this type.
fn value(object: &Object, entry: &Entry) -> Shown {
    let kind = object.dnode().object_type;
    if let Some(bytes) = entry.bytes() {
        return bytes_value(&bytes);
    }
    let Some(value) = entry.number() else {
        let text: Vec<String> = entry.values.iter().map(u64::to_string).collect();
        return Shown::new(text.join(" "), entry.values.iter().map(|&value| number(value)).collect::<Json>());
    };
    let shown = Shown::from(value);
    match kind {
        ObjectType::DIRECTORY_CONTENTS => {
            let (kind, id) = znode::parse_dirent(value);
            let kind = describe::type_name(FileType::from_number(kind));
            // The raw value is of use to nobody.
            Shown::new(id.0.to_string(), serde_json::json!({ "object": id.0, "type": kind })).note(kind)
        }
        ObjectType::SA_ATTR_REGISTRATION => {
            let (attribute, swap, length) = (value & 0xffff, value >> 16 & 0xff, value >> 24 & 0xffff);
            shown.note(format!("attribute {attribute}, {length} bytes, byteswap {swap}"))
        }
        ObjectType::DSL_PROPS | ObjectType::POOL_PROPS => {
            let name = String::from_utf8_lossy(&entry.name);
            let name = name.split_once('$').map_or(name.as_ref(), |(name, _)| name);
            match Property::find(name) {
                Some(property) => shown.note(property.format(&StoredValue::Number(value))),
                None => shown,
            }
        }
        _ if value > 1 << 32 => shown.note(format!("{value:#x}")),
        _ => shown,
    }
}

fn bytes_value(bytes: &[u8]) -> Shown {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let is_text = bytes.last() == Some(&0) && std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0'));
    if is_text && bytes.len() > 1 {
        return Shown::new(format!("'{}'", printable(text)), String::from_utf8_lossy(text));
    }
    let all = digits(bytes);
    match bytes.len() > MOST_BYTES {
        true => Shown::new(format!("{}...", digits(&bytes[..MOST_BYTES])), all).note(format!("{} bytes", bytes.len())),
        false => Shown::from(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_text_read_as_text() {
        assert_eq!(bytes_value(b"/usr\0").text, "'/usr'");
        assert_eq!(bytes_value(&[0xc4, 0x26]).text, "c426");
        assert_eq!(bytes_value(&[0xc4, 0]).text, "c400");
        assert_eq!(bytes_value(&[1; 100]).note, "100 bytes");
    }
}
