//! Any value of a report as a section: what it has is told by its names.

use std::fmt::Write;

use serde_json::{Map, Value};
use zfs_ondisk::property::format_size;

use super::escape::Text;

/// A value: objects in a list are rows of a table, an object is names and values.
pub(super) fn of(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => rows(items),
        Value::Array(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", Text(&plain(item)))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Value::Object(fields) => {
            let mut text = String::new();
            let simple = fields.iter().filter(|(_, value)| !value.is_array() && !value.is_object() && !value.is_null());
            let simple: String = simple
                .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", Text(&title(name)), cell(name, value)))
                .collect();
            if !simple.is_empty() {
                let _ = write!(text, "<dl>\n{simple}</dl>\n");
            }
            for (name, value) in fields.iter().filter(|(_, value)| value.is_array() || value.is_object()) {
                if !is_empty(value) {
                    let _ = write!(text, "<h3>{}</h3>\n{}", Text(&title(name)), of(value));
                }
            }
            text
        }
        value => format!("<p>{}</p>\n", Text(&plain(value))),
    }
}

/// Whether there is nothing in it.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The name of a field for people: `uma_zones` is "Uma zones".
pub(super) fn title(name: &str) -> String {
    let name = name.replace('_', " ");
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn rows(items: &[Value]) -> String {
    let objects: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    // A column that is empty everywhere says nothing.
    let mut columns: Vec<&String> = Vec::new();
    for object in &objects {
        for (name, value) in *object {
            if !is_empty(value) && !columns.contains(&name) {
                columns.push(name);
            }
        }
    }
    // What a thing is called comes first.
    columns.sort_by_key(|name| name.as_str() != "name");
    let heads: String = columns.iter().map(|name| format!("<th>{}</th>", Text(&title(name)))).collect();
    let mut text = format!("<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n");
    for object in objects {
        text += "<tr>";
        for name in &columns {
            let value = object.get(name.as_str()).unwrap_or(&Value::Null);
            let class = if value.is_number() { " class=\"n\"" } else { "" };
            let _ = write!(text, "<td{class}>{}</td>", cell(name, value));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table>\n"
}

/// A value in a cell; sizes are rounded, and exact where the pointer rests.
fn cell(name: &str, value: &Value) -> String {
    let is_size = ["size", "bytes", "memory"].iter().any(|word| name == *word || name.ends_with(&format!("_{word}")));
    match value.as_u64() {
        Some(size) if is_size && size >= 1024 => format!("<span title=\"{size}\">{}</span>", format_size(size)),
        _ => match value {
            Value::Array(items) if items.len() > 4 || !items.iter().all(is_flat) => {
                format!("<details><summary>{}</summary>{}</details>", items.len(), of(value))
            }
            Value::Object(_) if !is_flat(value) => format!("<details><summary>...</summary>{}</details>", of(value)),
            value => Text(&plain(value)).to_string(),
        },
    }
}

/// Whether a value fits into a cell: it has nothing within it that has more within it.
fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.len() <= 4 && !fields.values().any(|value| value.is_object() || value.is_array())
        }
        value => !value.is_array(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<String>>().join(", "),
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !is_empty(value));
            known.map(|(name, value)| format!("{name} {}", plain(value))).collect::<Vec<String>>().join(" ")
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_objects_is_a_table_and_empty_columns_are_left_out() {
        let text = of(&json!([{ "size": 2048, "name": "<a>", "gone": null }, { "size": 3, "name": "b" }]));
        assert_eq!(
            text,
            "<table>\n<thead><tr><th>Name</th><th>Size</th></tr></thead>\n<tbody>\n\
             <tr><td>&lt;a&gt;</td><td class=\"n\"><span title=\"2048\">2K</span></td></tr>\n\
             <tr><td>b</td><td class=\"n\">3</td></tr>\n</tbody>\n</table>\n"
        );
    }

    #[test]
    fn objects_are_names_and_values() {
        let text = of(&json!({ "free_pages": 3, "none": [], "more": [{ "x": true }] }));
        assert!(text.starts_with("<dl>\n<dt>Free pages</dt><dd>3</dd>\n</dl>\n<h3>More</h3>\n<table>"), "{text}");
        assert!(!text.contains("None"));
    }
}
