//! The token with which an interrupted receive goes on (`get_receive_resume_token_impl`,
//! `dsl_dataset.c`): a packed nvlist, compressed, in hexadecimal digits, with its
//! checksum and length before it.

use std::collections::BTreeMap;

use zfs_ondisk::bytes::ByteOrder;
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::{Compression, Compressor, GzipLevel};
use zfs_ondisk::nvlist::{NvList, Value};
use zfs_ondisk::zap::Entry;

/// `ZFS_SEND_RESUME_TOKEN_VERSION`
const VERSION: u32 = 1;

/// The token that belongs to what a dataset has in its table; `None` if no receive was
/// interrupted that could go on.
pub(super) fn resume_token(table: &BTreeMap<String, Entry>) -> Option<String> {
    let of = |name: &str| table.get(&format!("com.delphix:resume_{name}"));
    of("toguid")?;
    let mut list = NvList::new();
    for name in ["fromguid", "object", "offset", "bytes", "toguid"] {
        if let Some(number) = of(name).and_then(Entry::number) {
            list.set(name, number);
        }
    }
    if let Some(name) = of("toname").and_then(Entry::bytes) {
        let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        list.set("toname", Value::String(name.get(..length)?.to_vec()));
    }
    let flags = [
        ("com.delphix:resume_largeblockok", "largeblockok"),
        ("com.delphix:resume_embedok", "embedok"),
        ("com.delphix:resume_compressok", "compressok"),
        ("com.datto:resume_rawok", "rawok"),
    ];
    for (_, name) in flags.into_iter().filter(|(key, _)| table.contains_key(*key)) {
        list.set(name, Value::Boolean);
    }
    let lists = [
        ("com.delphix:redacted_datasets", "redact_snaps"),
        ("com.delphix:resume_redact_book_snaps", "book_redact_snaps"),
    ];
    for (key, name) in lists {
        if let Some(entry) = table.get(key) {
            list.set(name, Value::UInt64Array(entry.values.clone()));
        }
    }
    let packed = list.to_native().ok()?;
    let mut compressed = vec![0; packed.len() + 64];
    let length = Compressor::new().compress(Compression::Gzip(GzipLevel::DEFAULT), &packed, &mut compressed)?;
    compressed.truncate(length);
    // The checksum is that of whole 32-bit words.
    let words = compressed.get(..length / 4 * 4)?;
    let sum = Checksum::Fletcher4.compute(ByteOrder::Little, None, words).ok()?;
    let digits: String = compressed.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{VERSION}-{:x}-{:x}-{digits}", sum[0], packed.len()))
}
