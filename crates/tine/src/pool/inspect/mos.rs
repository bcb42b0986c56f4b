//! `tine pool inspect mos`: the object directory, and the objects of the meta object set.

use zfs_ondisk::object::ObjectId;
use zfs_pool::{Error, ObjectSet, Pool};

use super::dump::{Dump, left, right};
use super::shown::{Shown, digits};
use super::{contents, pointer};

/// The object directory's number.
const DIRECTORY: ObjectId = ObjectId(1);

/// What the entries of the object directory lead to (`DMU_POOL_...`, `sys/dmu.h`).
const MEANINGS: &[(&str, &str)] = &[
    ("config", "the pool's configuration, a packed nvlist"),
    ("features_for_write", "features needed for writing, with counts of their users"),
    ("features_for_read", "features needed for reading, with counts of their users"),
    ("feature_descriptions", "what the features are, in words"),
    ("feature_enabled_txg", "when the features were enabled"),
    ("root_dataset", "the DSL directory of the pool itself"),
    ("sync_bplist", "blocks to free in the next transaction group"),
    ("errlog_scrub", "damaged blocks, as the running scrub finds them"),
    ("errlog_last", "damaged blocks, as the last scrub found them"),
    ("spares", "the configuration of hot spares"),
    ("deflate", "space is counted without raidz parity"),
    ("history", "the commands and events of the pool: inspect history"),
    ("pool_props", "properties of the pool"),
    ("l2cache", "the configuration of cache devices"),
    ("tmp_userrefs", "holds that end with the process that has them"),
    ("DDT-statistics", "totals of the deduplication tables"),
    ("creation_version", "the version with which the pool was made"),
    ("scan", "the state of the scrub or resilver"),
    ("error_scrub", "the state of the scrub of damaged blocks"),
    ("last_scrubbed_txg", "up to where the last scrub went"),
    ("free_bpobj", "blocks that wait to be freed"),
    ("bptree_obj", "datasets that wait to be freed"),
    ("empty_bpobj", "the empty list that all lists without blocks share"),
    ("org.illumos:checksum_salt", "what skein, edonr and blake3 are keyed with"),
    ("com.delphix:vdev_zap_map", "the ZAPs of vdevs"),
    ("com.delphix:removing", "the state of the removal of a device"),
    ("com.delphix:obsolete_bpobj", "blocks of removed devices that nothing needs any more"),
    ("com.delphix:condensing_indirect", "the state of the condensing of a mapping"),
    ("com.delphix:zpool_checkpoint", "the uberblock of the checkpoint"),
    ("com.delphix:log_spacemap_zap", "logs of space maps by transaction group"),
    ("com.delphix:deleted_clones", "livelists of clones that were destroyed"),
];

/// Dumps the meta object set; `all` lists every object.
pub(crate) fn dump(dump: &mut Dump, pool: &Pool, all: bool) -> Result<(), Error> {
    let mos = pool.mos()?;
    dump.field("pool", pool.name());
    dump.field("txg", pool.uberblock().txg);
    if all {
        pointer::dump(dump, "root", mos.pointer());
    } else {
        dump.field("root", pointer::shown(mos.pointer()));
    }
    directory(dump, &mos);
    dump.space();
    contents::dump(dump, &mos.meta(), all);
    if all {
        dump.space();
        objects(dump, &mos);
    }
    Ok(())
}

fn directory(dump: &mut Dump, mos: &ObjectSet) {
    let mut zap = match mos.object(DIRECTORY).and_then(|object| object.zap()) {
        Ok(zap) => zap,
        Err(error) => return dump.fault("object directory", error),
    };
    let mut entries = Vec::new();
    let mut faults = Vec::new();
    for entry in zap.iter() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => faults.push(error),
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    dump.space();
    let columns = [left("name", 31), right("value", 8), left("type", 22), left("meaning", 0)];
    dump.table("object directory", &columns, |table| {
        for entry in &entries {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let meaning = meaning(&name);
            let (value, kind) = match (entry.number(), entry.bytes()) {
                // Some entries are numbers and not objects.
                (Some(number), _) if !is_object(&name) => (Shown::from(number), Shown::from("number")),
                (Some(number), _) => {
                    let kind = match mos.object(ObjectId(number)) {
                        Ok(object) => object.dnode().object_type.to_string(),
                        Err(error) => error.cause().to_string(),
                    };
                    (Shown::from(number), Shown::from(kind))
                }
                (None, Some(bytes)) => {
                    let shown = Shown::new(format!("{}...", &digits(&bytes).get(..5).unwrap_or("")), digits(&bytes));
                    (shown, Shown::from("bytes"))
                }
                (None, None) => {
                    let values: Vec<_> = entry.values.iter().map(|&value| super::shown::number(value)).collect();
                    (Shown::new("...", values), Shown::from(format!("{} numbers", entry.values.len())))
                }
            };
            table.row([Shown::from(name), value, kind, Shown::from(meaning)]);
        }
        faults.iter().for_each(|error| table.fault(error));
    });
}

fn meaning(name: &str) -> &'static str {
    if let Some((_, meaning)) = MEANINGS.iter().find(|(known, _)| *known == name) {
        return meaning;
    }
    match name {
        _ if name.starts_with("DDT-log-") => "the log of a deduplication table",
        _ if name.starts_with("DDT-") => "a deduplication table",
        _ if name.contains("txg_log_time") => "which transaction group was at what time",
        _ => "",
    }
}

fn is_object(name: &str) -> bool {
    !matches!(name, "deflate" | "creation_version" | "last_scrubbed_txg")
}

fn objects(dump: &mut Dump, mos: &ObjectSet) {
    let columns = [
        right("object", 8),
        left("type", 26),
        left("bonus type", 22),
        right("levels", 6),
        right("block size", 10),
        right("used", 8),
        right("logical", 8),
    ];
    dump.table("objects", &columns, |table| {
        for object in mos.objects() {
            match object {
                _ if !table.is_read() => return,
                Ok(object) => {
                    let dnode = object.dnode();
                    let bonus = if dnode.bonus.is_empty() { "-".to_owned() } else { dnode.bonus_type.to_string() };
                    table.row([
                        object.id().0.into(),
                        dnode.object_type.to_string().into(),
                        bonus.into(),
                        u64::from(dnode.levels).into(),
                        Shown::short_size(dnode.data_block_size() as u64),
                        Shown::short_size(dnode.used_bytes()),
                        Shown::short_size(contents::logical_size(&object)),
                    ]);
                }
                Err(error) => table.fault(error),
            }
        }
    });
}
