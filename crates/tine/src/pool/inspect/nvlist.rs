//! nvlists as indented trees.

use serde_json::{Map, Value as Json, json};
use zfs_ondisk::nvlist::{NvList, Value};

use super::dump::Dump;
use super::shown::{digits, number, printable};

/// Bytes of a byte array that people are shown.
const BYTES_SHOWN: usize = 32;
/// Where values stand, counted from the start of their names.
const VALUES_AT: usize = 24;

/// Dumps a list under a name.
pub(crate) fn dump(dump: &mut Dump, name: &str, list: &NvList) {
    dump.tree(name, || to_json(list), || lines(list));
}

/// The list as JSON.
pub(crate) fn to_json(list: &NvList) -> Json {
    let pairs = list.iter().map(|(name, value)| {
        let name = String::from_utf8_lossy(name).into_owned();
        let value = value_json(&name, value);
        (name, value)
    });
    Json::Object(pairs.collect::<Map<_, _>>())
}

/// The list as lines of text, indented by its levels.
pub(crate) fn lines(list: &NvList) -> Vec<String> {
    let mut lines = Vec::new();
    add_lines(list, 0, &mut lines);
    lines
}

fn add_lines(list: &NvList, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    for (name, value) in list.iter() {
        let name = printable(name);
        match value {
            Value::NvList(inner) => {
                lines.push(format!("{indent}{name}"));
                add_lines(inner, depth + 1, lines);
            }
            Value::NvListArray(inner) => {
                for (index, inner) in inner.iter().enumerate() {
                    lines.push(format!("{indent}{name}[{index}]"));
                    add_lines(inner, depth + 1, lines);
                }
            }
            Value::Boolean => lines.push(format!("{indent}{name}")),
            _ => lines.push(format!("{indent}{name:VALUES_AT$} {}", text(&name, value))),
        }
    }
}

fn text(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{}'", printable(text)),
        Value::StringArray(texts) => {
            texts.iter().map(|text| format!("'{}'", printable(text))).collect::<Vec<_>>().join(" ")
        }
        Value::ByteArray(bytes) | Value::UInt8Array(bytes) if bytes.len() > BYTES_SHOWN => {
            format!("{}... ({} bytes)", digits(&bytes[..BYTES_SHOWN]), bytes.len())
        }
        Value::UInt64(seconds) if name.ends_with("timestamp") || name.ends_with("time") => {
            match super::shown::date(*seconds) {
                Some(date) => format!("{seconds}  ({date})"),
                None => seconds.to_string(),
            }
        }
        _ => match value_json(name, value) {
            Json::String(text) => text,
            Json::Array(values) => values
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(" "),
            other => other.to_string(),
        },
    }
}

fn value_json(name: &str, value: &Value) -> Json {
    let text = |bytes: &[u8]| Json::String(String::from_utf8_lossy(bytes).into_owned());
    match value {
        Value::Boolean => json!(true),
        Value::BooleanValue(value) => json!(value),
        Value::Byte(value) | Value::UInt8(value) => json!(value),
        Value::Int8(value) => json!(value),
        Value::Int16(value) => json!(value),
        Value::UInt16(value) => json!(value),
        Value::Int32(value) => json!(value),
        Value::UInt32(value) => json!(value),
        Value::Int64(value) | Value::HrTime(value) if value.unsigned_abs() > 1 << 53 => json!(value.to_string()),
        Value::Int64(value) | Value::HrTime(value) => json!(value),
        // All of them, whether they happen to be small or not.
        Value::UInt64(value) if name.contains("guid") => json!(value.to_string()),
        Value::UInt64(value) => number(*value),
        Value::String(value) => text(value),
        Value::ByteArray(value) | Value::UInt8Array(value) => json!(digits(value)),
        Value::Int8Array(value) => json!(value),
        Value::Int16Array(value) => json!(value),
        Value::UInt16Array(value) => json!(value),
        Value::Int32Array(value) => json!(value),
        Value::UInt32Array(value) => json!(value),
        Value::Int64Array(value) => json!(value),
        Value::UInt64Array(values) => values.iter().map(|&value| number(value)).collect(),
        Value::StringArray(values) => values.iter().map(|value| text(value)).collect(),
        Value::NvList(list) => to_json(list),
        Value::NvListArray(lists) => lists.iter().map(to_json).collect(),
        Value::BooleanArray(values) => json!(values),
        Value::Double(bits) => json!(f64::from_bits(*bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> NvList {
        NvList::new().with("version", 5000).with("name", "tank").with("pool_guid", 7).with(
            "vdev_tree",
            NvList::new().with("children", vec![NvList::new().with("path", "/dev/ada0\n"), NvList::new()]),
        )
    }

    #[test]
    fn a_list_is_a_tree_of_lines() {
        let expected = [
            "version                  5000",
            "name                     'tank'",
            "pool_guid                7",
            "vdev_tree",
            "  children[0]",
            "    path                     '/dev/ada0\\n'",
            "  children[1]",
        ];
        assert_eq!(lines(&sample()), expected);
    }

    #[test]
    fn guids_are_strings_in_json_whatever_their_size() {
        let json = to_json(&sample());
        assert_eq!((&json["version"], &json["pool_guid"]), (&json!(5000), &json!("7")));
        assert_eq!(json["vdev_tree"]["children"][0]["path"], "/dev/ada0\n");
    }
}
