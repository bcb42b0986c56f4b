//! The values of properties that are chosen from a list, as numbers on the disk.
//!
//! Where two names stand for one number, the first is shown. Sources:
//! `zfs_prop.c`, `sys/fs/zfs.h`, `sys/zio.h`, `sys/zfs_acl.h`, `sys/zfs_ioctl.h`,
//! `sys/u8_textprep.h`.

/// A list of accepted words and the numbers that they stand for.
pub type Words = [(&'static str, u64)];

/// Verify equal blocks byte by byte (`ZIO_CHECKSUM_VERIFY`).
const VERIFY: u64 = 1 << 8;

/// The level of a compression is kept above its number: `SPA_COMPRESSBITS`.
const LEVEL_SHIFT: u32 = 7;
const ZSTD: u64 = 16;
/// `ZIO_ZSTD_LEVEL_FAST`: the level of `zstd-fast-1` is one more.
const ZSTD_FAST: u64 = 102;

const fn zstd(level: u64) -> u64 {
    ZSTD | level << LEVEL_SHIFT
}

const fn zstd_fast(step: u64) -> u64 {
    zstd(ZSTD_FAST + step)
}

pub(super) const BOOLEAN: &Words = &[("off", 0), ("on", 1)];

pub(super) const CHECKSUM: &Words = &[
    ("on", 1),
    ("off", 2),
    ("fletcher2", 6),
    ("fletcher4", 7),
    ("sha256", 8),
    ("noparity", 10),
    ("sha512", 11),
    ("skein", 12),
    ("edonr", 13),
    ("blake3", 14),
];

pub(super) const DEDUP: &Words = &[
    ("on", 1),
    ("off", 2),
    ("verify", 1 | VERIFY),
    ("sha256", 8),
    ("sha256,verify", 8 | VERIFY),
    ("sha512", 11),
    ("sha512,verify", 11 | VERIFY),
    ("skein", 12),
    ("skein,verify", 12 | VERIFY),
    ("edonr,verify", 13 | VERIFY),
    ("blake3", 14),
    ("blake3,verify", 14 | VERIFY),
];

pub(super) const COMPRESSION: &Words = &[
    ("on", 1),
    ("off", 2),
    ("lzjb", 3),
    ("gzip", 10),
    ("gzip-1", 5),
    ("gzip-2", 6),
    ("gzip-3", 7),
    ("gzip-4", 8),
    ("gzip-5", 9),
    ("gzip-6", 10),
    ("gzip-7", 11),
    ("gzip-8", 12),
    ("gzip-9", 13),
    ("zle", 14),
    ("lz4", 15),
    ("zstd", ZSTD),
    ("zstd-fast", zstd_fast(1)),
    ("zstd-1", zstd(1)),
    ("zstd-2", zstd(2)),
    ("zstd-3", zstd(3)),
    ("zstd-4", zstd(4)),
    ("zstd-5", zstd(5)),
    ("zstd-6", zstd(6)),
    ("zstd-7", zstd(7)),
    ("zstd-8", zstd(8)),
    ("zstd-9", zstd(9)),
    ("zstd-10", zstd(10)),
    ("zstd-11", zstd(11)),
    ("zstd-12", zstd(12)),
    ("zstd-13", zstd(13)),
    ("zstd-14", zstd(14)),
    ("zstd-15", zstd(15)),
    ("zstd-16", zstd(16)),
    ("zstd-17", zstd(17)),
    ("zstd-18", zstd(18)),
    ("zstd-19", zstd(19)),
    ("zstd-fast-1", zstd_fast(1)),
    ("zstd-fast-2", zstd_fast(2)),
    ("zstd-fast-3", zstd_fast(3)),
    ("zstd-fast-4", zstd_fast(4)),
    ("zstd-fast-5", zstd_fast(5)),
    ("zstd-fast-6", zstd_fast(6)),
    ("zstd-fast-7", zstd_fast(7)),
    ("zstd-fast-8", zstd_fast(8)),
    ("zstd-fast-9", zstd_fast(9)),
    ("zstd-fast-10", zstd_fast(10)),
    ("zstd-fast-20", zstd_fast(11)),
    ("zstd-fast-30", zstd_fast(12)),
    ("zstd-fast-40", zstd_fast(13)),
    ("zstd-fast-50", zstd_fast(14)),
    ("zstd-fast-60", zstd_fast(15)),
    ("zstd-fast-70", zstd_fast(16)),
    ("zstd-fast-80", zstd_fast(17)),
    ("zstd-fast-90", zstd_fast(18)),
    ("zstd-fast-100", zstd_fast(19)),
    ("zstd-fast-500", zstd_fast(20)),
    ("zstd-fast-1000", zstd_fast(21)),
];

pub(super) const ENCRYPTION: &Words = &[
    ("on", 1),
    ("off", 2),
    ("aes-128-ccm", 3),
    ("aes-192-ccm", 4),
    ("aes-256-ccm", 5),
    ("aes-128-gcm", 6),
    ("aes-192-gcm", 7),
    ("aes-256-gcm", 8),
];

pub(super) const KEY_FORMAT: &Words = &[("none", 0), ("raw", 1), ("hex", 2), ("passphrase", 3)];

pub(super) const KEY_STATUS: &Words = &[("none", 0), ("unavailable", 1), ("available", 2)];

pub(super) const SNAPDIR: &Words = &[("hidden", 0), ("visible", 1), ("disabled", 2)];

pub(super) const SNAPDEV: &Words = &[("hidden", 0), ("visible", 1)];

pub(super) const ACL_MODE: &Words = &[("discard", 0), ("groupmask", 2), ("passthrough", 3), ("restricted", 4)];

pub(super) const ACL_INHERIT: &Words =
    &[("discard", 0), ("noallow", 1), ("restricted", 4), ("passthrough", 3), ("secure", 4), ("passthrough-x", 5)];

pub(super) const ACL_TYPE: &Words =
    &[("off", 0), ("posix", 1), ("nfsv4", 2), ("disabled", 0), ("noacl", 0), ("posixacl", 1)];

pub(super) const CASE: &Words = &[("sensitive", 0), ("insensitive", 1), ("mixed", 2)];

pub(super) const COPIES: &Words = &[("1", 1), ("2", 2), ("3", 3)];

/// The flags that ZAPs have for the normal form: `U8_TEXTPREP_NFD` and others.
pub(super) const NORMALIZATION: &Words =
    &[("none", 0), ("formD", 0x10), ("formKC", 0x60), ("formC", 0x50), ("formKD", 0x20)];

/// The version of the file system; `current` is the last one (`ZPL_VERSION`).
pub(super) const VERSION: &Words = &[("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("current", 5)];

pub(super) const LOGBIAS: &Words = &[("latency", 0), ("throughput", 1)];

pub(super) const CANMOUNT: &Words = &[("off", 0), ("on", 1), ("noauto", 2)];

pub(super) const CACHE: &Words = &[("none", 0), ("metadata", 1), ("all", 2)];

pub(super) const SYNC: &Words = &[("standard", 0), ("always", 1), ("disabled", 2)];

/// OpenZFS before 2.3 takes `on` for `dir`.
pub(super) const XATTR: &Words = &[("off", 0), ("sa", 2), ("on", 2), ("dir", 1)];

pub(super) const DNODE_SIZE: &Words = &[
    ("legacy", 0),
    ("auto", 1),
    ("1k", 1 << 10),
    ("2k", 2 << 10),
    ("4k", 4 << 10),
    ("8k", 8 << 10),
    ("16k", 16 << 10),
];

pub(super) const REDUNDANT_METADATA: &Words = &[("all", 0), ("most", 1), ("some", 2), ("none", 3)];

pub(super) const VOLMODE: &Words = &[("default", 0), ("full", 1), ("geom", 1), ("dev", 2), ("none", 3)];

pub(super) const DIRECT: &Words = &[("disabled", 0), ("standard", 1), ("always", 2)];

pub(super) const FAILMODE: &Words = &[("wait", 0), ("continue", 1), ("panic", 2)];
