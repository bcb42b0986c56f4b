//! Bonus buffers, by their types.

use zfs_ondisk::acl;
use zfs_ondisk::bpobj;
use zfs_ondisk::bytes::{Truncated, View};
use zfs_ondisk::dsl;
use zfs_ondisk::history;
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectType;
use zfs_ondisk::sa::Attribute;
use zfs_ondisk::spacemap;
use zfs_ondisk::znode::{dirent_type, flag};
use zfs_pool::fs::{Attributes, FileType, Time, sa_view};
use zfs_pool::{Error, FileSystem, Object};

use super::super::describe;
use super::dump::Dump;
use super::shown::{Shown, digits};
use super::{hexdump, nvlist, pointer};

/// Bytes of an unknown bonus buffer that people are shown.
const MOST_BYTES: usize = 512;

/// Dumps the bonus buffer of an object, and its spill block if that has attributes.
pub(crate) fn dump(dump: &mut Dump, object: &Object) {
    let view = object.bonus();
    if view.is_empty() {
        return;
    }
    let result = match object.dnode().bonus_type {
        ObjectType::DSL_DIR => dsl::Dir::read(&view).map(|dir| dump.section("bonus", |dump| dsl_dir(dump, &dir))),
        ObjectType::DSL_DATASET => {
            dsl::Dataset::read(&view).map(|dataset| dump.section("bonus", |dump| dsl_dataset(dump, &dataset)))
        }
        ObjectType::BPOBJ_HDR => {
            bpobj::Header::read(&view).map(|header| dump.section("bonus", |dump| list(dump, &header)))
        }
        ObjectType::DEADLIST_HDR => bpobj::DeadlistHeader::read(&view).map(|header| {
            dump.section("bonus", |dump| {
                dump.field("used", Shown::size(header.used));
                dump.field("compressed", Shown::size(header.compressed));
                dump.field("uncompressed", Shown::size(header.uncompressed));
            });
        }),
        ObjectType::SPACE_MAP_HEADER => spacemap::Header::read(&view).map(|header| {
            dump.section("bonus", |dump| {
                dump.field("object", object_number(header.object, "itself"));
                dump.field("length", Shown::size(header.length));
                dump.field("allocated", Shown::size(header.allocated.unsigned_abs()).note(sign(header.allocated)));
            });
        }),
        ObjectType::PACKED_NVLIST_SIZE | ObjectType::FUID_SIZE => {
            view.u64(0).map(|size| dump.section("bonus", |dump| dump.field("packed size", Shown::size(size))))
        }
        ObjectType::SPA_HISTORY_OFFSETS => return history_offsets(dump, &view),
        ObjectType::SA => return system_attributes(dump, object),
        ObjectType::ZNODE => return znode(dump, object),
        _ => {
            raw(dump, &view);
            Ok(())
        }
    };
    if let Err(error) = result {
        dump.fault("bonus", error);
        raw(dump, &view);
    }
}

fn raw(dump: &mut Dump, view: &View<'_>) {
    let bytes = view.as_bytes();
    let shown = &bytes[..bytes.len().min(MOST_BYTES)];
    dump.tree("bonus", || digits(bytes).into(), || hexdump::lines(shown, 0));
}

fn sign(allocated: i64) -> &'static str {
    if allocated < 0 { "negative" } else { "less what was freed" }
}

/// The number of an object, with what is there.
fn object_number(number: u64, what: &str) -> Shown {
    if number == 0 { Shown::from(0u64).note("none") } else { Shown::from(number).note(what) }
}

fn dsl_dir(dump: &mut Dump, dir: &dsl::Dir) {
    dump.field("creation time", Shown::time(dir.creation_time));
    dump.field("head dataset", object_number(dir.head_dataset, "DSL dataset"));
    dump.field("parent", object_number(dir.parent, "DSL directory"));
    dump.field("origin", object_number(dir.origin, "DSL dataset"));
    dump.field("child map", object_number(dir.child_map, "ZAP"));
    dump.field("used", Shown::size(dir.used_bytes));
    dump.field("compressed", Shown::size(dir.compressed_bytes));
    dump.field("uncompressed", Shown::size(dir.uncompressed_bytes));
    dump.field("quota", Shown::size(dir.quota));
    dump.field("reserved", Shown::size(dir.reserved));
    dump.field("properties", object_number(dir.props, "ZAP"));
    dump.field("delegation", object_number(dir.delegation, "ZAP"));
    dump.field("flags", Shown::flags(dir.flags, &[(dsl::DIR_FLAG_USED_BREAKDOWN, "used breakdown")]));
    dump.section("used by", |dump| {
        let names = ["head", "snapshots", "children", "child reservations", "refreservation"];
        names.into_iter().zip(dir.used_breakdown).for_each(|(name, used)| dump.field(name, Shown::size(used)));
    });
    dump.field("clones", object_number(dir.clones, "ZAP"));
}

fn dsl_dataset(dump: &mut Dump, dataset: &dsl::Dataset) {
    dump.field("directory", object_number(dataset.dir, "DSL directory"));
    dump.field("previous snapshot", object_number(dataset.prev_snapshot, "DSL dataset"));
    dump.field("previous snapshot txg", dataset.prev_snapshot_txg);
    dump.field("next snapshot", object_number(dataset.next_snapshot, "DSL dataset"));
    dump.field("snapshot names", object_number(dataset.snapshot_names, "ZAP"));
    dump.field("children", Shown::from(dataset.num_children).note("0 for a head"));
    dump.field("creation time", Shown::time(dataset.creation_time));
    dump.field("creation txg", dataset.creation_txg);
    dump.field("deadlist", object_number(dataset.deadlist, "deadlist"));
    dump.field("referenced", Shown::size(dataset.referenced_bytes));
    dump.field("compressed", Shown::size(dataset.compressed_bytes));
    dump.field("uncompressed", Shown::size(dataset.uncompressed_bytes));
    dump.field("unique", Shown::size(dataset.unique_bytes));
    dump.field("fsid guid", Shown::guid(dataset.fsid_guid));
    dump.field("guid", Shown::guid(dataset.guid));
    let flags = [
        (dsl::DATASET_FLAG_INCONSISTENT, "inconsistent"),
        (dsl::DATASET_FLAG_NOPROMOTE, "no promote"),
        (dsl::DATASET_FLAG_UNIQUE_ACCURATE, "unique accurate"),
        (dsl::DATASET_FLAG_DEFER_DESTROY, "defer destroy"),
        (dsl::DATASET_FLAG_CASE_INSENSITIVE, "case insensitive"),
    ];
    dump.field("flags", Shown::flags(dataset.flags, &flags));
    dump.field("next clones", object_number(dataset.next_clones, "ZAP"));
    dump.field("properties", object_number(dataset.props, "ZAP"));
    dump.field("user references", object_number(dataset.user_refs, "ZAP"));
    pointer::dump(dump, "root", &dataset.root);
}

fn list(dump: &mut Dump, header: &bpobj::Header) {
    dump.field("pointers", header.pointers);
    dump.field("used", Shown::size(header.used));
    dump.field("compressed", Shown::size(header.compressed));
    dump.field("uncompressed", Shown::size(header.uncompressed));
    dump.field("sublists", object_number(header.sublists, "their numbers"));
    dump.field("sublist count", header.sublist_count);
}

fn history_offsets(dump: &mut Dump, view: &View<'_>) {
    match history::Header::read(view) {
        Ok(header) => dump.section("bonus", |dump| {
            dump.field("create length", header.create_length);
            dump.field("size", Shown::size(header.size));
            dump.field("begin", header.begin);
            dump.field("end", header.end);
            dump.field("records lost", header.lost);
        }),
        Err(error) => {
            dump.fault("bonus", error);
            raw(dump, view);
        }
    }
}

fn znode(dump: &mut Dump, object: &Object) {
    let file = FileSystem::from_objects(object.set().clone()).and_then(|fs| fs.file(object.id()));
    match file {
        Ok(file) => dump.section("bonus", |dump| attributes(dump, file.attributes())),
        Err(error) => {
            dump.fault("bonus", error);
            raw(dump, &object.bonus());
        }
    }
}

fn attributes(dump: &mut Dump, attributes: &Attributes) {
    dump.field("atime", time(attributes.accessed));
    dump.field("mtime", time(attributes.modified));
    dump.field("ctime", time(attributes.changed));
    dump.field("crtime", time(attributes.created));
    dump.field("generation", Shown::from(attributes.generation).note("txg of birth"));
    dump.field("mode", mode(attributes.mode));
    dump.field("size", Shown::size(attributes.size));
    dump.field("parent", attributes.parent.0);
    dump.field("links", attributes.links);
    dump.field("xattr", attributes.xattr_dir.map_or(Shown::none(), |id| id.0.into()));
    dump.field("rdev", Shown::hex(attributes.device));
    dump.field("flags", file_flags(attributes.flags));
    dump.field("uid", attributes.uid);
    dump.field("gid", attributes.gid);
}

fn system_attributes(dump: &mut Dump, object: &Object) {
    let schema = FileSystem::from_objects(object.set().clone());
    let buffers = [
        ("bonus", Ok(Some(object.dnode().bonus.clone()))),
        ("spill", object.spill().map(|spill| spill.map(|spill| spill.to_vec()))),
    ];
    for (name, buffer) in buffers {
        let buffer: Vec<u8> = match buffer {
            Ok(Some(buffer)) => buffer,
            Ok(None) => continue,
            Err(error) => {
                dump.fault(name, error);
                continue;
            }
        };
        let view = sa_view(&buffer);
        let found = match &schema {
            Ok(fs) => fs.schema().attributes(&view).map_err(Error::from),
            Err(_) => Err(Error::NotA("file system")),
        };
        match found {
            Ok(found) => dump.section(name, |dump| {
                if let Ok(info) = view.u16(4) {
                    dump.field("layout", u64::from(info & 0x3ff));
                    dump.field("header length", u64::from(info >> 10) * 8);
                }
                for (name, value) in found {
                    attribute(dump, name, &value);
                }
            }),
            Err(error) => {
                dump.fault(name, error);
                raw(dump, &view);
            }
        }
    }
}

/// A system attribute by its name in the registry.
fn attribute(dump: &mut Dump, name: &str, value: &View<'_>) {
    let known = Attribute::ALL.iter().copied().find(|known| known.name() == name);
    let shown = match known {
        Some(Attribute::Dxattr) => return xattrs(dump, name, value.as_bytes()),
        Some(Attribute::DaclAces) => return aces(dump, name, value),
        Some(Attribute::Symlink) => Ok(Shown::bytes(value.as_bytes())),
        Some(Attribute::Atime | Attribute::Mtime | Attribute::Ctime | Attribute::Crtime) => read_time(value).map(time),
        Some(Attribute::Mode) => value.u64(0).map(mode),
        Some(Attribute::Size) => value.u64(0).map(Shown::size),
        Some(Attribute::Rdev) => value.u64(0).map(Shown::hex),
        Some(Attribute::Flags) => value.u64(0).map(file_flags),
        _ if value.len() == 8 => value.u64(0).map(Shown::from),
        _ => Ok(Shown::from(digits(value.as_bytes()))),
    };
    match shown {
        Ok(shown) => dump.field(name, shown),
        Err(error) => dump.fault(name, error),
    }
}

fn read_time(value: &View<'_>) -> Result<Time, Truncated> {
    Ok(Time { seconds: value.u64(0)? as i64, nanoseconds: value.u64(8)? })
}

fn time(time: Time) -> Shown {
    let seconds = format!("{}.{:09}", time.seconds, time.nanoseconds);
    match u64::try_from(time.seconds).ok().and_then(super::shown::date) {
        Some(date) => Shown::new(date, seconds.clone()).note(seconds),
        None => Shown::from(seconds),
    }
}

fn mode(mode: u64) -> Shown {
    let kind = FileType::from_number(dirent_type(mode));
    Shown::new(format!("{mode:o}"), format!("{mode:o}")).note(describe::type_name(kind))
}

fn file_flags(flags: u64) -> Shown {
    let names = [
        (flag::XATTR, "xattr"),
        (flag::INHERIT_ACE, "inherit ace"),
        (flag::ACL_TRIVIAL, "acl trivial"),
        (0x8, "acl object ace"),
        (0x10, "acl protected"),
        (0x20, "acl defaulted"),
        (flag::ACL_AUTO_INHERIT, "acl auto inherit"),
        (0x80, "bonus scanstamp"),
        (flag::NO_EXECS_DENIED, "no execs denied"),
        (flag::READONLY, "readonly"),
        (flag::HIDDEN, "hidden"),
        (flag::SYSTEM, "system"),
        (flag::ARCHIVE, "archive"),
        (flag::IMMUTABLE, "immutable"),
        (flag::NOUNLINK, "nounlink"),
        (flag::APPENDONLY, "appendonly"),
        (flag::NODUMP, "nodump"),
        (flag::OPAQUE, "opaque"),
        (1 << 41, "av quarantined"),
        (flag::AV_MODIFIED, "av modified"),
        (flag::REPARSE, "reparse"),
        (flag::OFFLINE, "offline"),
        (flag::SPARSE, "sparse"),
        (1 << 46, "project inherit"),
        (1 << 47, "project"),
    ];
    Shown::flags(flags, &names)
}

fn xattrs(dump: &mut Dump, name: &str, packed: &[u8]) {
    if packed.is_empty() {
        return dump.field(name, Shown::none());
    }
    match NvList::decode(packed) {
        Ok(list) => nvlist::dump(dump, name, &list),
        Err(error) => dump.fault(name, error),
    }
}

fn aces(dump: &mut Dump, name: &str, value: &View<'_>) {
    let list = match acl::from_bytes(value.as_bytes(), value.order()) {
        Ok(list) => list,
        Err(error) => return dump.fault(name, error),
    };
    dump.list(name, |dump| {
        for ace in list {
            let kind = match ace.kind {
                acl::kind::ALLOW => "allow".to_owned(),
                acl::kind::DENY => "deny".to_owned(),
                acl::kind::AUDIT => "audit".to_owned(),
                acl::kind::ALARM => "alarm".to_owned(),
                other => format!("type {other}"),
            };
            let who = match (ace.who, ace.flags & acl::flag::WHO) {
                (Some(id), acl::flag::IDENTIFIER_GROUP) => format!("group {id}"),
                (Some(id), _) => format!("user {id}"),
                (None, acl::flag::OWNER) => "owner@".to_owned(),
                (None, acl::flag::EVERYONE) => "everyone@".to_owned(),
                (None, _) => "group@".to_owned(),
            };
            if !dump.is_json() {
                let line = format!("{kind} {who} permissions {:#x}, flags {:#x}", ace.permissions, ace.flags);
                dump.field(name, line);
                continue;
            }
            dump.item("", |dump| {
                dump.field("type", kind);
                dump.field("who", who);
                dump.field("permissions", Shown::hex(ace.permissions.into()));
                dump.field("flags", Shown::hex(ace.flags.into()));
            });
        }
    });
}
