//! The properties of datasets (`zfs_prop.c`), in the order of their kinds there.

use super::values::*;
use super::{DefaultValue, Kind, Number, Property, Setting, Storage, Text, Types};

const FS: Types = Types::FILESYSTEM;
const VOL: Types = Types::VOLUME;
const SNAP: Types = Types::SNAPSHOT;
const FS_VOL: Types = FS.and(VOL);
const FS_SNAP: Types = FS.and(SNAP);
const ANY: Types = FS_VOL.and(SNAP);

const MIB_16: u64 = 16 << 20;
const BLOCK_SIZE: Number = Number::Size { min: 512, max: MIB_16, power_of_two: true };
const SIZE_OR_NONE: Number = Number::SizeOrNone;
const COUNT_OR_NONE: Number = Number::CountOrNone;
const ANY_SIZE: Number = Number::Size { min: 0, max: u64::MAX, power_of_two: false };
const ANY_COUNT: Number = Number::Count { min: 0 };

/// Every property of datasets, user properties apart.
pub(super) const DATASET: &[Property] = &[
    // Chosen from a list, inherited.
    index("redundant_metadata", REDUNDANT_METADATA, 0, FS_VOL).alias("redund_md"),
    index("sync", SYNC, 0, FS_VOL),
    index("checksum", CHECKSUM, 1, FS_VOL),
    index("dedup", DEDUP, 2, FS_VOL),
    index("compression", COMPRESSION, 1, FS_VOL).alias("compress"),
    index("snapdir", SNAPDIR, 0, FS),
    index("snapdev", SNAPDEV, 0, FS_VOL),
    index("aclmode", ACL_MODE, 0, FS),
    index("acltype", ACL_TYPE, 0, FS_SNAP).by_platform(2, 0),
    index("aclinherit", ACL_INHERIT, 4, FS),
    index("copies", COPIES, 1, FS_VOL),
    index("primarycache", CACHE, 2, ANY),
    index("secondarycache", CACHE, 2, ANY),
    index("prefetch", CACHE, 2, ANY),
    index("logbias", LOGBIAS, 0, FS_VOL),
    index("xattr", XATTR, 2, FS_SNAP),
    index("dnodesize", DNODE_SIZE, 0, FS).alias("dnsize"),
    index("volmode", VOLMODE, 0, FS_VOL),
    index("direct", DIRECT, 1, FS),
    index("atime", BOOLEAN, 1, FS),
    index("relatime", BOOLEAN, 1, FS).by_platform(0, 1),
    index("devices", BOOLEAN, 1, FS_SNAP),
    index("exec", BOOLEAN, 1, FS_SNAP),
    index("setuid", BOOLEAN, 1, FS_SNAP),
    index("readonly", BOOLEAN, 0, FS_VOL).alias("rdonly"),
    // One property, by its names on FreeBSD and on other systems; each kernel
    // looks for its own.
    index("jailed", BOOLEAN, 0, FS),
    index("zoned", BOOLEAN, 0, FS),
    index("vscan", BOOLEAN, 0, FS),
    index("nbmand", BOOLEAN, 0, FS_SNAP),
    index("overlay", BOOLEAN, 1, FS),
    index("longname", BOOLEAN, 0, FS),
    // Chosen from a list, not inherited.
    index("version", VERSION, 5, FS_SNAP).own().in_master_node(),
    index("canmount", CANMOUNT, 1, FS).own(),
    index("volthreading", BOOLEAN, 1, VOL).own().alias("volthread"),
    // Chosen from a list, once.
    index("normalization", NORMALIZATION, 0, FS_SNAP).once().in_master_node(),
    index("casesensitivity", CASE, 0, FS_SNAP).once().in_master_node().alias("case"),
    index("utf8only", BOOLEAN, 0, FS_SNAP).once().in_master_node(),
    index("keyformat", KEY_FORMAT, 0, FS_VOL).own().once().stored(Storage::CryptoKey),
    index("encryption", ENCRYPTION, 2, ANY).once().stored(Storage::CryptoKey),
    // Text.
    text("mountpoint", Text::Mountpoint, "/", FS),
    text("sharenfs", Text::Any, "off", FS),
    text("sharesmb", Text::Any, "off", FS),
    text("mlslabel", Text::Any, "none", ANY),
    text("context", Text::Any, "none", ANY).own(),
    text("fscontext", Text::Any, "none", ANY).own(),
    text("defcontext", Text::Any, "none", ANY).own(),
    text("rootcontext", Text::Any, "none", ANY).own(),
    text("keylocation", Text::KeyLocation, "none", FS_VOL).own(),
    // Numbers, not inherited.
    number("quota", SIZE_OR_NONE, 0, FS).own().stored(Storage::DirPhys),
    number("reservation", SIZE_OR_NONE, 0, FS_VOL).own().stored(Storage::DirPhys).alias("reserv"),
    number("refquota", SIZE_OR_NONE, 0, FS).own(),
    number("refreservation", Number::SizeNoneOrAuto, 0, FS_VOL).own().alias("refreserv"),
    number("volsize", Number::Size { min: 1, max: u64::MAX, power_of_two: false }, 0, VOL.and(SNAP))
        .own()
        .stored(Storage::Volume),
    number("volblocksize", BLOCK_SIZE, 16 << 10, VOL).own().once().stored(Storage::Volume).alias("volblock"),
    number("filesystem_limit", COUNT_OR_NONE, u64::MAX, FS).own().alias("fslimit"),
    number("snapshot_limit", COUNT_OR_NONE, u64::MAX, FS_VOL).own().alias("sslimit"),
    number("pbkdf2iters", Number::Count { min: 100_000 }, 0, FS_VOL).own().once().stored(Storage::CryptoKey),
    number("defaultuserquota", SIZE_OR_NONE, 0, FS_SNAP).own().in_master_node(),
    number("defaultgroupquota", SIZE_OR_NONE, 0, FS_SNAP).own().in_master_node(),
    number("defaultprojectquota", SIZE_OR_NONE, 0, FS_SNAP).own().in_master_node(),
    number("defaultuserobjquota", SIZE_OR_NONE, 0, FS_SNAP).own().in_master_node(),
    number("defaultgroupobjquota", SIZE_OR_NONE, 0, FS_SNAP).own().in_master_node(),
    number("defaultprojectobjquota", SIZE_OR_NONE, 0, FS_SNAP).own().in_master_node(),
    // Numbers, inherited.
    number("recordsize", BLOCK_SIZE, 128 << 10, FS).alias("recsize"),
    number("special_small_blocks", Number::Size { min: 0, max: MIB_16, power_of_two: false }, 0, FS_VOL),
    number("zoned_uid", Number::UserOrNone, 0, FS),
    // What ZFS reports and nobody sets.
    report_index("mounted", BOOLEAN, FS),
    report_index("defer_destroy", BOOLEAN, SNAP),
    report_index("keystatus", KEY_STATUS, ANY),
    report_text("origin", FS_VOL),
    report_text("clones", SNAP),
    report_text("type", ANY),
    report_text("name", ANY),
    report_text("receive_resume_token", FS_VOL),
    report_text("encryptionroot", ANY),
    report_text("redact_snaps", ANY),
    report("used", ANY_SIZE, ANY),
    report("available", ANY_SIZE, FS_VOL).alias("avail"),
    report("referenced", ANY_SIZE, ANY).alias("refer"),
    report("compressratio", ANY_COUNT, ANY).alias("ratio"),
    report("refcompressratio", ANY_COUNT, ANY).alias("refratio"),
    report("usedbysnapshots", ANY_SIZE, FS_VOL).alias("usedsnap"),
    report("usedbydataset", ANY_SIZE, FS_VOL).alias("usedds"),
    report("usedbychildren", ANY_SIZE, FS_VOL).alias("usedchild"),
    report("usedbyrefreservation", ANY_SIZE, FS_VOL).alias("usedrefreserv"),
    report("userrefs", ANY_COUNT, SNAP),
    report("written", ANY_SIZE, ANY),
    report("logicalused", ANY_SIZE, FS_VOL).alias("lused"),
    report("logicalreferenced", ANY_SIZE, ANY).alias("lrefer"),
    report("filesystem_count", ANY_COUNT, FS).alias("fscount"),
    report("snapshot_count", ANY_COUNT, FS_VOL).alias("sscount"),
    report("guid", ANY_COUNT, ANY),
    report("createtxg", ANY_COUNT, ANY),
    report("creation", ANY_COUNT, ANY),
    report("objsetid", ANY_COUNT, ANY),
    report("snapshots_changed", ANY_COUNT, FS_VOL),
];

const fn property(name: &'static str, kind: Kind, default: DefaultValue, types: Types) -> Property {
    Property {
        name,
        alias: None,
        kind,
        default,
        types,
        inherited: true,
        setting: Setting::Anytime,
        storage: Storage::Props,
    }
}

const fn index(name: &'static str, words: &'static Words, default: u64, types: Types) -> Property {
    property(name, Kind::Index(words), DefaultValue::Number(default), types)
}

const fn number(name: &'static str, rule: Number, default: u64, types: Types) -> Property {
    property(name, Kind::Number(rule), DefaultValue::Number(default), types)
}

const fn text(name: &'static str, rule: Text, default: &'static str, types: Types) -> Property {
    property(name, Kind::Text(rule), DefaultValue::Text(default), types)
}

const fn report(name: &'static str, rule: Number, types: Types) -> Property {
    property(name, Kind::Number(rule), DefaultValue::None, types).reported()
}

const fn report_index(name: &'static str, words: &'static Words, types: Types) -> Property {
    property(name, Kind::Index(words), DefaultValue::None, types).reported()
}

const fn report_text(name: &'static str, types: Types) -> Property {
    property(name, Kind::Text(Text::Any), DefaultValue::None, types).reported()
}

/// How the rows above differ from the common case: a property that is inherited,
/// can be set at any time, and is kept among the dataset's properties.
impl Property {
    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn by_platform(mut self, freebsd: u64, linux: u64) -> Self {
        self.default = DefaultValue::ByPlatform { freebsd, linux };
        self
    }

    const fn own(mut self) -> Self {
        self.inherited = false;
        self
    }

    const fn once(mut self) -> Self {
        self.setting = Setting::AtCreation;
        self
    }

    const fn stored(mut self, storage: Storage) -> Self {
        self.storage = storage;
        self
    }

    const fn in_master_node(self) -> Self {
        self.stored(Storage::MasterNode)
    }

    const fn reported(mut self) -> Self {
        self.inherited = false;
        self.setting = Setting::ReadOnly;
        self.stored(Storage::Computed)
    }
}
