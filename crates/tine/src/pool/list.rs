//! `tine pool list`: datasets, snapshots and bookmarks, with properties of one's choice.

use std::cmp::Ordering;

use clap::Args;
use serde_json::{Map, Value as Json, json};
use zfs_ondisk::property::{Kind, Property};
use zfs_pool::Pool;
use zfs_pool::props::{Item, Properties, Value};

use super::items::{self, Type, Wanted};
use super::open::{self, Opening};
use super::table::{Column, Table, json_of, text_of};
use super::target::{self, PoolRef, Target};
use crate::failure::Failure;
use crate::output;

const COLUMNS: &str = "name,used,available,referenced,mountpoint";
const JSON_COLUMNS: &str = "used,available,referenced,mountpoint,origin,creation,createtxg,guid";

/// List datasets, volumes, snapshots and bookmarks
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Pools, each with all that is in it, or datasets, each with its snapshots and bookmarks [default: all pools
    /// found where -p says]
    #[arg(value_name = "POOL[/DATASET]", value_parser = target::target)]
    targets: Vec<Target>,
    /// List all that is below the datasets, too
    #[arg(short, long)]
    recursive: bool,
    /// List these types only
    #[arg(short, long = "type", value_name = "TYPE", value_enum, value_delimiter = ',', default_value = "all")]
    types: Vec<Type>,
    /// Show these properties; any property is a column, and written@SNAPSHOT
    #[arg(short = 'o', long, value_name = "COLUMNS", value_delimiter = ',', help_heading = "Output")]
    columns: Vec<String>,
    /// Sort by a property, the smallest first; can be given several times
    #[arg(short = 's', long, value_name = "PROPERTY", help_heading = "Output")]
    sort: Vec<String>,
    /// Sort by a property, the largest first
    #[arg(short = 'S', long, value_name = "PROPERTY", help_heading = "Output")]
    sort_reverse: Vec<String>,
    /// For scripts: no headings, a tab between columns
    #[arg(short = 'H', long, help_heading = "Output")]
    no_header: bool,
    /// Numbers with all their digits
    #[arg(long, help_heading = "Output")]
    parsable: bool,
    /// Report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

/// An item with the values of its columns.
struct Row {
    item: Item,
    values: Vec<Value>,
    keys: Vec<Value>,
}

impl List {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let columns = self.columns()?;
        for name in self.sort.iter().chain(&self.sort_reverse) {
            property_name(name)?;
        }
        let mut pools: Vec<Pool> = Vec::new();
        let mut rows = Vec::new();
        let targets = self.targets()?;
        let opening = self.opening.with_devices_of(&targets);
        for target in &targets {
            // Image files of one pool are listed once.
            let is_shown = |path| pools.iter().flat_map(Pool::labels).any(|labels| open::is_on(labels, path));
            if target.whole_device().is_some_and(is_shown) {
                continue;
            }
            let pool = opening.open(&target.pool)?;
            rows.extend(self.rows(&pool, target, &columns)?);
            pools.push(pool);
        }
        self.sort_rows(&mut rows);
        if self.json { self.print_json(&pools, &columns, &rows) } else { self.print(&columns, &rows) }
    }

    fn targets(&self) -> Result<Vec<Target>, Failure> {
        if !self.targets.is_empty() {
            return Ok(self.targets.clone());
        }
        let pools = self.opening.discover()?.pools();
        if pools.is_empty() {
            return Err(Failure::Work("no pool was found".to_owned()));
        }
        let target = |guid: u64| Target { pool: PoolRef::Name(guid.to_string()), rest: String::new(), path: None };
        Ok(pools.into_iter().map(|pool| target(pool.guid)).collect())
    }

    fn columns(&self) -> Result<Vec<String>, Failure> {
        if self.columns.is_empty() {
            let columns = if self.json { JSON_COLUMNS } else { COLUMNS };
            return Ok(columns.split(',').map(str::to_owned).collect());
        }
        self.columns.iter().map(|name| property_name(name)).collect()
    }

    fn rows(&self, pool: &Pool, target: &Target, columns: &[String]) -> Result<Vec<Row>, Failure> {
        let properties = Properties::of(pool)?;
        let recursive = self.recursive || target.rest.is_empty();
        let items = items::items(pool, target, Wanted { recursive, types: &self.types })?;
        let row = |item: Item| {
            let values_of = |names: &mut dyn Iterator<Item = &String>| {
                names.map(|name| value_of(&properties, &item, name)).collect::<Result<Vec<_>, _>>()
            };
            let values = values_of(&mut columns.iter())?;
            let keys = values_of(&mut self.sort.iter().chain(&self.sort_reverse))?;
            Ok(Row { item, values, keys })
        };
        items.into_iter().map(row).collect()
    }

    fn sort_rows(&self, rows: &mut [Row]) {
        rows.sort_by(|a, b| {
            let pairs = a.keys.iter().zip(&b.keys).enumerate();
            let mut orders = pairs.map(|(index, (a, b))| {
                let order = compare(a, b);
                if index < self.sort.len() { order } else { order.reverse() }
            });
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
    }

    fn print(&self, columns: &[String], rows: &[Row]) -> Result<(), Failure> {
        let mut table = Table::new(columns.iter().map(|name| heading(name)).collect());
        for row in rows {
            table.push(row.values.iter().map(|value| text_of(value, self.parsable)).collect());
        }
        output::print(&if self.no_header { table.fields() } else { table.text("") })
    }

    fn print_json(&self, pools: &[Pool], columns: &[String], rows: &[Row]) -> Result<(), Failure> {
        let mut datasets = Vec::new();
        for row in rows {
            let mut object = Map::new();
            object.insert("name".to_owned(), json!(row.item.name()));
            object.insert("type".to_owned(), json!(row.item.item_type()?.to_string()));
            for (name, value) in columns.iter().zip(&row.values) {
                object.insert(name.clone(), json_of(name, value));
            }
            datasets.push(Json::Object(object));
        }
        let pools: Vec<Json> =
            pools.iter().map(|pool| json!({ "name": pool.name(), "guid": pool.guid().to_string() })).collect();
        output::print_json(&json!({ "pools": pools, "datasets": datasets }))
    }
}

fn value_of(properties: &Properties, item: &Item, name: &str) -> Result<Value, Failure> {
    if name == "name" {
        return Ok(Value::Text(item.name().to_owned()));
    }
    Ok(properties.get(item, name)?.map_or(Value::Absent, |setting| setting.value))
}

/// The full name of a property that can be a column.
pub(super) fn property_name(name: &str) -> Result<String, Failure> {
    if let Some(property) = Property::find(name) {
        return Ok(property.name.to_owned());
    }
    if name.contains(':') || name.starts_with("written@") {
        return Ok(name.to_owned());
    }
    let names = Property::all().map(|property| property.name);
    let near = names.filter(|known| known.contains(name) || name.contains(known)).collect::<Vec<_>>();
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
    Err(Failure::Usage(format!("there is no property '{name}'{hint}")))
}

/// Numbers are aligned to the right. Their short names are the headings, as those of zfs are.
fn heading(name: &str) -> Column {
    let property = Property::find(name);
    let heading = match property {
        Some(property) => property.alias.unwrap_or(property.name).to_uppercase(),
        None => name.to_uppercase(),
    };
    match property {
        Some(property) if matches!(property.kind, Kind::Number(_)) && property.name != "creation" => {
            Column::right(heading)
        }
        _ => Column::left(heading),
    }
}

/// Numbers by size, texts by letters, those without a value last.
fn compare(a: &Value, b: &Value) -> Ordering {
    let number = |value: &Value| match value {
        Value::Bytes(n)
        | Value::BytesOrNone(n)
        | Value::Size(n)
        | Value::CountOrNone(n)
        | Value::Id(n)
        | Value::Ratio(n)
        | Value::Percent(n)
        | Value::Time(n) => Some(*n),
        Value::Text(_) | Value::Absent => None,
    };
    match (a, b) {
        (Value::Absent, Value::Absent) => Ordering::Equal,
        (Value::Absent, _) => Ordering::Greater,
        (_, Value::Absent) => Ordering::Less,
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.exact().cmp(&b.exact()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_their_short_names() {
        assert_eq!(property_name("refer").unwrap(), "referenced");
        assert_eq!(property_name("com.example:user").unwrap(), "com.example:user");
        assert_eq!(property_name("written@a").unwrap(), "written@a");
        let refused = property_name("logical").unwrap_err().to_string();
        assert_eq!(refused, "there is no property 'logical'; did you mean logicalused or logicalreferenced?");
    }

    #[test]
    fn sizes_are_ordered_by_size_and_what_has_none_comes_last() {
        let mut values = [Value::Bytes(1000), Value::Absent, Value::Bytes(9), Value::Bytes(20)];
        values.sort_by(compare);
        assert_eq!(values, [Value::Bytes(9), Value::Bytes(20), Value::Bytes(1000), Value::Absent]);
    }
}
