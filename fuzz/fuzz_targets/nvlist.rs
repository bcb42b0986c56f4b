//! Name-value lists: whatever can be decoded can be encoded both ways and comes back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs_ondisk::nvlist::{NvList, Value};

fuzz_target!(init: tine_fuzz::write_seeds(seeds), |data: &[u8]| {
    let Ok(list) = NvList::decode(data) else { return };
    // Some lists cannot be packed: the other encoding has room for more.
    for packed in [list.to_xdr(), list.to_native()].into_iter().flatten() {
        assert_eq!(NvList::decode(&packed).as_ref(), Ok(&list));
    }
    for (name, _) in list.iter() {
        assert!(list.contains(name));
    }
});

fn seeds() -> Vec<Vec<u8>> {
    let inner = NvList::new().with("guid", 7u64).with("path", Value::String(b"/dev/null".to_vec()));
    let list = NvList::new()
        .with("version", 5000u64)
        .with("name", Value::String(b"pool".to_vec()))
        .with("flag", Value::Boolean)
        .with("true", Value::BooleanValue(true))
        .with("byte", Value::Byte(1))
        .with("short", Value::Int16(-1))
        .with("bytes", Value::ByteArray(vec![1, 2, 3]))
        .with("shorts", Value::UInt16Array(vec![1, 2, 3]))
        .with("numbers", Value::UInt64Array(vec![1, 2, 3]))
        .with("booleans", Value::BooleanArray(vec![true, false]))
        .with("strings", Value::StringArray(vec![b"a".to_vec(), b"bc".to_vec()]))
        .with("time", Value::HrTime(5))
        .with("double", Value::Double(1))
        .with("list", Value::NvList(inner.clone()))
        .with("lists", Value::NvListArray(vec![inner.clone(), inner]));
    [list.to_xdr(), list.to_native()].into_iter().flatten().collect()
}
