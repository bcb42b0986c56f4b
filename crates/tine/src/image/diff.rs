//! `tine image diff`: what differs between two images, from partition to file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use disk::partition::Partition;
use disk::{ReadAt, fat};
use serde::Serialize;
use zfs_ondisk::property::format_size;
use zfs_pool::fs::FileSystem;
use zfs_pool::{Dataset, DatasetKind, Labels, Pool};

use super::contents::{Area, Contents, Disk};
use crate::failure::Failure;
use crate::output;
use crate::pool::diff::{Change, Item, paths, sort};
use crate::pool::out::Out;

/// Bytes that are compared at a time.
const PIECE: usize = 1 << 20;
/// Bytes of boot code before the table of an MBR.
const BOOT_CODE: usize = 440;

/// Show what differs between the disks in two images: partitions, boot code, EFI files, pools, datasets, files
///
/// The formats of the images do not matter. The exit status is 1 if anything differs. Files of pools are compared without
/// regard to times of access and change, and to where their blocks are.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The older image
    a: PathBuf,
    /// The newer image
    b: PathBuf,
    /// List as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Something that differs.
#[derive(Serialize)]
struct Difference {
    /// `disk`, a partition, or a partition and a dataset.
    place: String,
    /// What of it, such as `size` or `file`.
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
    /// The first byte that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(flatten)]
    file: Option<Item>,
    #[serde(skip)]
    change: Option<Change>,
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn value(&mut self, place: &str, what: &'static str, old: impl ToString, new: impl ToString) {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            self.both(place, what, Some(old), Some(new));
        }
    }

    fn both(&mut self, place: &str, what: &'static str, old: Option<String>, new: Option<String>) {
        self.0.push(Difference { place: place.to_owned(), what, old, new, offset: None, file: None, change: None });
    }
}

impl Diff {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (a, b) = (Disk::open(&self.a)?, Disk::open(&self.b)?);
        let mut found = Differences::default();
        compare(&a, &b, &mut found)?;
        let differences = found.0;
        if self.json {
            output::print_json(&differences)?;
        } else {
            let mut out = Out::new()?;
            for difference in &differences {
                difference.print(&mut out)?;
            }
            out.finish()?;
        }
        if differences.is_empty() { Ok(()) } else { Err(Failure::Found) }
    }
}

impl Difference {
    fn print(&self, out: &mut Out) -> Result<(), Failure> {
        out.text(&format!("{}: ", self.place))?;
        if let Some(change) = &self.change {
            return change.print(out);
        }
        let Self { what, old, new, .. } = self;
        if let Some(offset) = self.offset {
            return out.text(&format!("{what} differs from byte {offset} on\n"));
        }
        out.text(&match (old, new) {
            (Some(old), Some(new)) => format!("{what} {old} -> {new}\n"),
            (Some(old), None) => format!("- {what} {old}\n"),
            (None, Some(new)) => format!("+ {what} {new}\n"),
            (None, None) => format!("{what} differs\n"),
        })
    }
}

fn compare(a: &Disk, b: &Disk, found: &mut Differences) -> Result<(), Failure> {
    found.value("disk", "size", a.image.disk.size(), b.image.disk.size());
    let of_table = |disk: &Disk| {
        let table = disk.table.as_ref();
        table.map_or(("none".to_owned(), String::new()), |table| (table.scheme.to_string(), table.id.to_string()))
    };
    let ((old, old_id), (new, new_id)) = (of_table(a), of_table(b));
    found.value("disk", "partition table", old, new);
    found.value("disk", "id", old_id, new_id);
    if a.table.is_some() && b.table.is_some() && boot_code(a)? != boot_code(b)? {
        found.both("disk", "boot code", None, None);
    }
    for area in &a.areas {
        match b.areas.iter().find(|other| other.name() == area.name()) {
            Some(other) => compare_areas(area, other, found)?,
            None => found.both("disk", "partition", Some(area.name().to_owned()), None),
        }
    }
    for area in b.areas.iter().filter(|area| a.areas.iter().all(|other| other.name() != area.name())) {
        found.both("disk", "partition", None, Some(area.name().to_owned()));
    }
    Ok(())
}

fn boot_code(disk: &Disk) -> Result<Vec<u8>, Failure> {
    let mut code = vec![0; BOOT_CODE];
    disk.image.disk.read_exact_at(&mut code, 0).map_err(|error| Failure::work("boot code", error))?;
    Ok(code)
}

fn compare_areas(a: &Area, b: &Area, found: &mut Differences) -> Result<(), Failure> {
    let name = a.name();
    if let (Some(old), Some(new)) = (&a.partition, &b.partition) {
        found.value(name, "type", old.kind, new.kind);
        found.value(name, "label", &old.label, &new.label);
        let id = |partition: &Partition| partition.id;
        found.value(name, "id", id(old), id(new));
        found.value(name, "start", old.start, new.start);
        found.value(name, "size", old.size, new.size);
        found.value(name, "attributes", old.attributes, new.attributes);
    }
    match (&a.contents, &b.contents) {
        (Contents::Pool(a), Contents::Pool(b)) => compare_pools(name, a, b, found),
        (Contents::Fat(a), Contents::Fat(b)) => compare_volumes(name, a, b, found),
        (Contents::Nothing, Contents::Nothing) => Ok(()),
        (Contents::Nothing | Contents::Other, Contents::Nothing | Contents::Other) => compare_bytes(name, a, b, found),
        (one, other) => {
            found.value(name, "contents", one.word(), other.word());
            Ok(())
        }
    }
}

fn compare_bytes(name: &str, a: &Area, b: &Area, found: &mut Differences) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::work(name, error);
    let (mut first, mut second) = (vec![0; PIECE], vec![0; PIECE]);
    let mut offset = 0;
    let end = a.bytes.size().min(b.bytes.size());
    while offset < end {
        let length = (end - offset).min(PIECE as u64) as usize;
        let (one, other) = (&mut first[..length], &mut second[..length]);
        a.bytes.read_exact_at(one, offset).map_err(failed)?;
        b.bytes.read_exact_at(other, offset).map_err(failed)?;
        if let Some(at) = one.iter().zip(other.iter()).position(|(one, other)| one != other) {
            found.both(name, "data", None, None);
            if let Some(last) = found.0.last_mut() {
                last.offset = Some(offset + at as u64);
            }
            return Ok(());
        }
        offset += length as u64;
    }
    Ok(())
}

fn compare_volumes(name: &str, a: &fat::Volume, b: &fat::Volume, found: &mut Differences) -> Result<(), Failure> {
    found.value(name, "width", a.width(), b.width());
    found.value(name, "label", a.label(), b.label());
    found.value(name, "serial number", a.id(), b.id());
    let files = |volume: &fat::Volume| {
        let files = volume.files()?.into_iter();
        Ok::<BTreeMap<String, fat::Entry>, Failure>(files.map(|entry| (entry.path.clone(), entry)).collect())
    };
    let (old, mut new) = (files(a)?, files(b)?);
    for (path, entry) in old {
        match new.remove(&path) {
            None => found.both(name, "file", Some(path), None),
            Some(other) if other.is_directory && entry.is_directory => {}
            Some(other) => {
                if contents(a, &entry)? != contents(b, &other)? {
                    let size = |entry: &fat::Entry| format!("{path} ({})", format_size(entry.size.into()));
                    found.both(name, "file", Some(size(&entry)), Some(size(&other)));
                }
            }
        }
    }
    for path in new.into_keys() {
        found.both(name, "file", None, Some(path));
    }
    Ok(())
}

fn contents(volume: &fat::Volume, entry: &fat::Entry) -> Result<[u8; 32], Failure> {
    super::manifest::digest_of_fat(volume, entry)
}

fn compare_pools(name: &str, a: &Labels, b: &Labels, found: &mut Differences) -> Result<(), Failure> {
    found.value(name, "pool", a.pool_name().unwrap_or("?"), b.pool_name().unwrap_or("?"));
    found.value(name, "pool guid", a.pool_guid().unwrap_or(0), b.pool_guid().unwrap_or(0));
    found.value(name, "state", a.state(), b.state());
    let (a, b) = (Pool::open(vec![a.device.clone()])?, Pool::open(vec![b.device.clone()])?);
    let (old, mut new) = (datasets(&a)?, datasets(&b)?);
    for (path, dataset) in old {
        let shown = &dataset.name;
        let Some(other) = new.remove(&path) else {
            found.both(name, "dataset", Some(shown.clone()), None);
            continue;
        };
        let place = format!("{name}: {shown}");
        compare_properties(&place, &dataset, &other, found)?;
        let files = |dataset: &Dataset| match dataset.is_volume() {
            Ok(true) => Ok(None),
            Ok(false) => FileSystem::open(dataset).map(Some),
            Err(error) => Err(error),
        };
        let mut changes = match (files(&dataset)?, files(&other)?) {
            (Some(old), Some(new)) => paths::compare(&old, &new)?,
            _ => Vec::new(),
        };
        sort(&mut changes);
        for change in changes {
            let file = Some(Item::new(&change));
            let difference = Difference {
                place: place.clone(),
                what: "file",
                old: None,
                new: None,
                offset: None,
                file,
                change: Some(change),
            };
            found.0.push(difference);
        }
    }
    for dataset in new.into_values() {
        found.both(name, "dataset", None, Some(dataset.name));
    }
    Ok(())
}

fn compare_properties(place: &str, a: &Dataset, b: &Dataset, found: &mut Differences) -> Result<(), Failure> {
    if a.kind == DatasetKind::Snapshot {
        return Ok(());
    }
    let of = |dataset: &Dataset| {
        let set = dataset.properties()?.into_iter();
        let text = |value: zfs_pool::PropertyValue| match value {
            zfs_pool::PropertyValue::Number(number) => number.to_string(),
            zfs_pool::PropertyValue::Text(text) => text,
        };
        Ok::<BTreeMap<String, String>, zfs_pool::Error>(set.map(|(name, value)| (name, text(value))).collect())
    };
    let (old, mut new) = (of(a)?, of(b)?);
    for (property, value) in old {
        let other = new.remove(&property);
        if other.as_ref() != Some(&value) {
            let shown = |value: String| format!("{property}={value}");
            found.both(place, "property", Some(shown(value)), other.map(shown));
        }
    }
    for (property, value) in new {
        found.both(place, "property", None, Some(format!("{property}={value}")));
    }
    Ok(())
}

/// Datasets and snapshots by their names without that of the pool.
fn datasets(pool: &Pool) -> Result<BTreeMap<String, Dataset>, Failure> {
    let short = |dataset: &Dataset| dataset.name.strip_prefix(pool.name()).unwrap_or(&dataset.name).to_owned();
    Ok(pool.datasets()?.into_iter().map(|dataset| (short(&dataset), dataset)).collect())
}

impl Contents {
    fn word(&self) -> &'static str {
        match self {
            Contents::Pool(_) => "pool",
            Contents::Fat(_) => "fat",
            Contents::Nothing => "empty",
            Contents::Other => "data",
        }
    }
}
