//! Values of properties as text and as JSON.

use serde_json::{Value as Json, json};
use zfs_pool::props::Value;

pub(super) use crate::table::{Column, Table};

/// The largest integer that every reader of JSON keeps: 2^53.
const LARGEST_NUMBER: u64 = 1 << 53;

/// A value as text: for people, or with all its digits.
pub(crate) fn text_of(value: &Value, exact: bool) -> String {
    if exact { value.exact() } else { value.readable() }
}

/// A value as JSON: sizes in bytes, times in seconds since 1970, ratios as fractions, GUIDs as text.
pub(crate) fn json_of(property: &str, value: &Value) -> Json {
    match value {
        Value::Absent | Value::CountOrNone(u64::MAX) => Json::Null,
        Value::Ratio(hundredths) => json!(*hundredths as f64 / 100.0),
        Value::Text(text) => json!(text),
        Value::Id(number) if property.ends_with("guid") => json!(number.to_string()),
        Value::Bytes(number)
        | Value::BytesOrNone(number)
        | Value::Size(number)
        | Value::CountOrNone(number)
        | Value::Id(number)
        | Value::Percent(number)
        | Value::Time(number) => {
            if *number <= LARGEST_NUMBER {
                json!(number)
            } else {
                json!(number.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(vec![Column::left("NAME"), Column::right("USED"), Column::left("MOUNTPOINT")]);
        table.push(vec!["zroot/a".into(), "1.5M".into(), "-".into()]);
        table.push(vec!["z".into(), "0B".into(), "/z".into()]);
        assert_eq!(table.text(" "), " NAME     USED  MOUNTPOINT\n zroot/a  1.5M  -\n z          0B  /z\n");
        assert_eq!(table.fields(), "zroot/a\t1.5M\t-\nz\t0B\t/z\n");
    }

    #[test]
    fn json_keeps_all_digits() {
        assert_eq!(json_of("guid", &Value::Id(7)), json!("7"));
        assert_eq!(json_of("createtxg", &Value::Id(7)), json!(7));
        assert_eq!(json_of("used", &Value::Bytes(u64::MAX)), json!("18446744073709551615"));
        assert_eq!(json_of("compressratio", &Value::Ratio(150)), json!(1.5));
        assert_eq!(json_of("snapshot_limit", &Value::CountOrNone(u64::MAX)), Json::Null);
    }
}
