//! `tine pool get`: properties with their values and where these come from.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value as Json, json};
use zfs_ondisk::property::Property;
use zfs_pool::Pool;
use zfs_pool::props::{self, Item, Properties, Setting, Source, Value};

use super::items::{self, Type, Wanted};
use super::list::property_name;
use super::open::Opening;
use super::place;
use super::table::{Column, Table, json_of, text_of};
use super::target::{self, PoolRef, Target};
use crate::failure::Failure;
use crate::output;

/// Show properties of datasets, snapshots, bookmarks and pools, and where their values come from
#[derive(Clone, Debug, Args)]
pub(crate) struct Get {
    /// Properties between commas, or all. Those of the pool itself can be asked of its name, too: size, bootfs,
    /// feature@lz4_compress
    #[arg(value_name = "PROPERTY[,...]", value_parser = names)]
    properties: Names,
    /// What to show them of; all properties, if this is all that is given
    #[arg(value_name = "TARGET", value_parser = target::target)]
    targets: Vec<Target>,
    /// Show properties of the pool only, not those of its topmost dataset
    #[arg(long)]
    pool: bool,
    /// Show those of all that is below the targets, too
    #[arg(short, long)]
    recursive: bool,
    /// Of these types only
    #[arg(short, long = "type", value_name = "TYPE", value_enum, value_delimiter = ',', default_value = "all")]
    types: Vec<Type>,
    /// Show those only whose values come from there
    #[arg(short, long = "source", value_name = "SOURCE", value_enum, value_delimiter = ',')]
    sources: Vec<SourceKind>,
    /// Columns to show
    #[arg(
        short = 'o',
        long,
        value_name = "COLUMNS",
        value_enum,
        value_delimiter = ',',
        default_value = "name,property,value,source",
        help_heading = "Output"
    )]
    columns: Vec<ColumnKind>,
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

/// Names between commas.
#[derive(Clone, Debug)]
struct Names(Vec<String>);

fn names(text: &str) -> Result<Names, std::convert::Infallible> {
    Ok(Names(text.split(',').map(str::to_owned).collect()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColumnKind {
    Name,
    Property,
    Value,
    Received,
    Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SourceKind {
    Local,
    Default,
    Inherited,
    Received,
    None,
}

impl SourceKind {
    fn of(source: &Source) -> Self {
        match source {
            Source::Fact => SourceKind::None,
            Source::Default => SourceKind::Default,
            Source::Local => SourceKind::Local,
            Source::Inherited(_) => SourceKind::Inherited,
            Source::Received => SourceKind::Received,
        }
    }
}

/// What is shown of one dataset or pool.
struct Shown {
    name: String,
    kind: String,
    properties: Vec<Entry>,
}

struct Entry {
    name: String,
    setting: Setting,
    received: Option<Value>,
}

impl Get {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.targets.is_empty() {
            return self.of_one_argument()?.run();
        }
        let all = self.properties.0.iter().any(|name| name == "all");
        if !all && !self.pool {
            for name in self.properties.0.iter().filter(|name| !is_pool_property(name)) {
                property_name(name)?;
            }
        }
        let mut shown = Vec::new();
        for target in &self.targets {
            let pool = self.opening.open(&target.pool)?;
            if self.pool {
                shown.push(self.of_pool(&pool, &props::pool_properties(&pool)?, all)?);
                continue;
            }
            let of_datasets = |name: &&String| all || !is_pool_property(name);
            if self.properties.0.iter().any(|name| of_datasets(&name)) {
                shown.extend(self.of_datasets(&pool, target, all)?);
            }
            if target.rest.is_empty() && (all || self.properties.0.iter().any(|name| is_pool_property(name))) {
                shown.push(self.of_pool(&pool, &props::pool_properties(&pool)?, all)?);
            }
        }
        for one in &mut shown {
            let wanted = |entry: &Entry| {
                self.sources.is_empty() || self.sources.contains(&SourceKind::of(&entry.setting.source))
            };
            one.properties.retain(wanted);
        }
        if self.json { print_json(&shown) } else { self.print(&shown) }
    }

    /// What a single argument means: all properties of a target.
    fn of_one_argument(&self) -> Result<Self, Failure> {
        let given = self.properties.0.join(",");
        let is_property = |name: &String| name == "all" || is_pool_property(name) || property_name(name).is_ok();
        let target = Target::parse(given.as_ref());
        let is_name = matches!(target.pool, PoolRef::Name(_)) && target.rest.is_empty();
        if is_name && self.properties.0.iter().all(is_property) {
            return Err(Failure::Usage(format!("name what to show '{given}' of: a pool, a dataset or a snapshot")));
        }
        Ok(Self { properties: Names(vec!["all".to_owned()]), targets: vec![target], ..self.clone() })
    }

    fn of_datasets(&self, pool: &Pool, target: &Target, all: bool) -> Result<Vec<Shown>, Failure> {
        let properties = Properties::of(pool)?;
        let items = if self.recursive {
            items::items(pool, target, Wanted { recursive: true, types: &self.types })?
        } else {
            vec![pool.item(&place::name_of(pool, target))?]
        };
        let mut shown = Vec::new();
        for item in items {
            let settings = if all { properties.all(&item)? } else { self.named(&properties, &item)? };
            let mut entries = Vec::new();
            for (name, setting) in settings {
                let received = properties.received(&item, &name)?;
                entries.push(Entry { name, setting, received });
            }
            let kind = item.item_type()?.to_string();
            shown.push(Shown { name: item.name().to_owned(), kind, properties: entries });
        }
        Ok(shown)
    }

    /// Those that were named, also where there is no value.
    fn named(&self, properties: &Properties, item: &Item) -> Result<Vec<(String, Setting)>, Failure> {
        let mut settings = Vec::new();
        for name in self.properties.0.iter().filter(|name| !is_pool_property(name)) {
            let full = property_name(name)?;
            let setting = match full.as_str() {
                "name" => Some(Setting { value: Value::Text(item.name().to_owned()), source: Source::Fact }),
                _ => properties.get(item, &full)?,
            };
            settings.push((full, setting.unwrap_or(Setting { value: Value::Absent, source: Source::Fact })));
        }
        Ok(settings)
    }

    /// Properties of the pool: all, or those that were named and are no dataset's.
    fn of_pool(&self, pool: &Pool, found: &[(String, Setting)], all: bool) -> Result<Shown, Failure> {
        let entry = |name: &str, setting: Setting| Entry { name: name.to_owned(), setting, received: None };
        let mut entries = Vec::new();
        if all {
            // What the topmost dataset has under the same name was shown already.
            let is_new = |name: &str| self.pool || Property::find(name).is_none();
            entries.extend(
                found.iter().filter(|(name, _)| is_new(name)).map(|(name, setting)| entry(name, setting.clone())),
            );
        } else {
            for name in self.properties.0.iter().filter(|name| self.pool || is_pool_property(name)) {
                let setting = found.iter().find(|(found, _)| found == name).map(|(_, setting)| setting.clone());
                if setting.is_none() && !name.contains([':', '@']) {
                    return Err(Failure::Usage(format!("a pool has no property '{name}'")));
                }
                let absent = Setting { value: Value::Absent, source: Source::Fact };
                entries.push(entry(name, setting.unwrap_or(absent)));
            }
        }
        Ok(Shown { name: pool.name().to_owned(), kind: "pool".to_owned(), properties: entries })
    }

    fn print(&self, shown: &[Shown]) -> Result<(), Failure> {
        let heading = |column: &ColumnKind| {
            Column::left(match column {
                ColumnKind::Name => "NAME",
                ColumnKind::Property => "PROPERTY",
                ColumnKind::Value => "VALUE",
                ColumnKind::Received => "RECEIVED",
                ColumnKind::Source => "SOURCE",
            })
        };
        let mut table = Table::new(self.columns.iter().map(heading).collect());
        for one in shown {
            for entry in &one.properties {
                let cell = |column: &ColumnKind| match column {
                    ColumnKind::Name => one.name.clone(),
                    ColumnKind::Property => entry.name.clone(),
                    ColumnKind::Value => text_of(&entry.setting.value, self.parsable),
                    ColumnKind::Received => {
                        entry.received.as_ref().map_or("-".to_owned(), |value| text_of(value, self.parsable))
                    }
                    ColumnKind::Source => entry.setting.source.to_string(),
                };
                table.push(self.columns.iter().map(cell).collect());
            }
        }
        output::print(&if self.no_header { table.fields() } else { table.text("") })
    }
}

/// Whether a name can only be that of a property of a pool.
fn is_pool_property(name: &str) -> bool {
    let is_known = zfs_ondisk::property::PoolProperty::find(name).is_some() || props::POOL_FACTS.contains(&name);
    let is_feature = name.starts_with("feature@") || name.starts_with("unsupported@");
    is_feature || is_known && Property::find(name).is_none()
}

fn print_json(shown: &[Shown]) -> Result<(), Failure> {
    let one = |one: &Shown| {
        let mut properties = Map::new();
        for entry in &one.properties {
            let mut object = Map::new();
            object.insert("value".to_owned(), json_of(&entry.name, &entry.setting.value));
            let source = match &entry.setting.source {
                Source::Inherited(_) => "inherited".to_owned(),
                other => other.to_string(),
            };
            object.insert("source".to_owned(), json!(source));
            if let Source::Inherited(from) = &entry.setting.source {
                object.insert("inherited_from".to_owned(), json!(from));
            }
            if let Some(received) = &entry.received {
                object.insert("received".to_owned(), json_of(&entry.name, received));
            }
            properties.insert(entry.name.clone(), Json::Object(object));
        }
        json!({ "name": one.name, "type": one.kind, "properties": properties })
    };
    output::print_json(&json!({ "datasets": shown.iter().map(one).collect::<Vec<_>>() }))
}
