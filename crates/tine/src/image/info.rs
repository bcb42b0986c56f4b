//! `tine image info`: what an image holds, from container to dataset.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use clap::Args;
use disk::ReadAt;
use disk::fat;
use serde::Serialize;
use zfs_ondisk::property::format_size;
use zfs_pool::props::{Item, Properties, Value};
use zfs_pool::{DatasetKind, Labels, Pool};

use super::contents::{Area, Contents, Disk};
use crate::failure::Failure;
use crate::output::{self, plural};
use crate::pool::vdevs;
use crate::table::{Column, Table};

/// Top-level vdevs that are missed by their numbers.
const MOST_VDEVS: u64 = 4096;

/// Show what a disk image holds: container, partitions, EFI files, pools, datasets
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The image, or a disk; several are shown together, so that pools on several disks can be read
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// All that is said of an image. Sizes are in bytes, GUIDs of pools decimal.
#[derive(Serialize)]
struct Report {
    image: String,
    format: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    packing: Option<String>,
    disk_size: u64,
    file_size: u64,
    file_allocated: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sector_size: Option<u64>,
    /// The partitions; without a table, one that is the whole disk.
    partitions: Vec<PartitionReport>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct PartitionReport {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    start: u64,
    size: u64,
    attributes: u64,
    contents: ContentsReport,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ContentsReport {
    Pool(Box<PoolReport>),
    Fat(FatReport),
    Empty,
    Other,
}

#[derive(Serialize)]
struct FatReport {
    width: String,
    label: String,
    id: String,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    path: String,
    size: u32,
}

#[derive(Serialize)]
struct PoolReport {
    name: String,
    guid: String,
    state: String,
    txg: u64,
    /// How many of the four labels are sound.
    labels: usize,
    /// The type of the top-level vdev that the device belongs to.
    vdev: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<Member>,
    /// The devices of the pool that were not given, by their paths as far as they are known.
    missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bootfs: Option<String>,
    /// Why no more is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    datasets: Vec<DatasetReport>,
}

/// Which of the devices of a vdev it is.
#[derive(Serialize)]
struct Member {
    /// The vdev, such as `raidz1-0`.
    of: String,
    /// From 1.
    number: usize,
    count: usize,
}

#[derive(Serialize)]
struct DatasetReport {
    name: String,
    r#type: String,
    used: String,
    referenced: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mountpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<String>,
    snapshots: Vec<String>,
}

impl Info {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let disks = self.images.iter().map(|image| Disk::open(image)).collect::<Result<Vec<_>, _>>()?;
        let devices: Vec<&Labels> = disks.iter().flat_map(Disk::pool_devices).collect();
        let reports = self.images.iter().zip(&disks);
        let reports = reports.map(|(image, disk)| Report::new(&image.display().to_string(), disk, &devices));
        let reports = reports.collect::<Result<Vec<_>, _>>()?;
        match &reports[..] {
            [report] if self.json => return output::print_json(report),
            reports if self.json => return output::print_json(&serde_json::json!({ "images": reports })),
            _ => {}
        }
        let mut shown = HashSet::new();
        let mut texts = Vec::new();
        for report in &reports {
            output::warn("tine", &report.warnings);
            texts.push(report.text(&mut shown));
        }
        output::print(&texts.join("\n"))
    }
}

impl Report {
    /// What is said of one image, where these devices of pools were given.
    fn new(name: &str, disk: &Disk, devices: &[&Labels]) -> Result<Self, Failure> {
        let table = disk.table.as_ref();
        let partitions = disk.areas.iter().map(|area| PartitionReport::new(area, devices)).collect::<Result<_, _>>()?;
        Ok(Self {
            image: name.to_owned(),
            format: disk.image.format.to_string(),
            packing: disk.image.packing.map(|packing| packing.to_string()),
            disk_size: disk.image.disk.size(),
            file_size: disk.file.0,
            file_allocated: disk.file.1,
            scheme: table.map(|table| table.scheme.to_string()),
            disk_id: table.filter(|table| !table.id.is_zero()).map(|table| table.id.to_string()),
            sector_size: table.map(|table| table.sector_size),
            partitions,
            warnings: table.map(|table| table.warnings.clone()).unwrap_or_default(),
        })
    }

    /// The report as text. What is in the pools that were `shown` is not told again.
    fn text(&self, shown: &mut HashSet<String>) -> String {
        let packed = self.packing.as_ref().map(|packing| format!(" in {packing}")).unwrap_or_default();
        let mut text = format!(
            "{}: {}{packed}, disk of {}, file of {}, {} of it allocated\n",
            self.image,
            self.format,
            format_size(self.disk_size),
            format_size(self.file_size),
            format_size(self.file_allocated)
        );
        match (&self.scheme, &self.disk_id) {
            (Some(scheme), Some(id)) => text.push_str(&format!("{scheme}, disk {id}\n")),
            (Some(scheme), None) => text.push_str(&format!("{scheme}\n")),
            _ => text.push_str("no partition table\n"),
        }
        if self.scheme.is_some() {
            text.push_str(&self.table());
        }
        for partition in &self.partitions {
            match &partition.contents {
                ContentsReport::Pool(pool) => {
                    text.push_str(&pool.text(&partition.name));
                    if shown.insert(pool.guid.clone()) {
                        text.push_str(&pool.inside());
                    }
                }
                ContentsReport::Fat(fat) => text.push_str(&fat.text(&partition.name)),
                ContentsReport::Empty | ContentsReport::Other => {}
            }
        }
        text
    }

    fn table(&self) -> String {
        let mut table = Table::new(vec![
            Column::left("PART"),
            Column::left("TYPE"),
            Column::right("START"),
            Column::right("SIZE"),
            Column::left("LABEL"),
            Column::left("CONTENTS"),
        ]);
        for partition in &self.partitions {
            let contents = match &partition.contents {
                ContentsReport::Pool(pool) => format!("pool {}", pool.name),
                ContentsReport::Fat(fat) => format!("{}, {}", fat.width, plural(fat.files.len() as u64, "file")),
                ContentsReport::Empty => "empty".to_owned(),
                ContentsReport::Other => "data".to_owned(),
            };
            table.push(vec![
                partition.name.clone(),
                partition.r#type.clone().unwrap_or_default(),
                format_size(partition.start),
                format_size(partition.size),
                partition.label.clone().unwrap_or_else(|| "-".to_owned()),
                contents,
            ]);
        }
        table.text("  ")
    }
}

impl PartitionReport {
    fn new(area: &Area, devices: &[&Labels]) -> Result<Self, Failure> {
        let partition = area.partition.as_ref();
        let contents = match &area.contents {
            Contents::Pool(labels) => ContentsReport::Pool(Box::new(PoolReport::new(labels, devices))),
            Contents::Fat(volume) => ContentsReport::Fat(FatReport::new(volume)?),
            Contents::Nothing => ContentsReport::Empty,
            Contents::Other => ContentsReport::Other,
        };
        Ok(Self {
            name: area.name().to_owned(),
            r#type: partition.map(|partition| partition.kind.to_string()),
            label: partition.map(|partition| partition.label.clone()).filter(|label| !label.is_empty()),
            id: partition.filter(|partition| !partition.id.is_zero()).map(|partition| partition.id.to_string()),
            start: partition.map_or(0, |partition| partition.start),
            size: area.bytes.size(),
            attributes: partition.map_or(0, |partition| partition.attributes),
            contents,
        })
    }
}

impl FatReport {
    fn new(volume: &fat::Volume) -> Result<Self, Failure> {
        let files = volume.files()?.into_iter().filter(|entry| !entry.is_directory);
        Ok(Self {
            width: volume.width().to_string(),
            label: volume.label().to_owned(),
            id: format!("{:04X}-{:04X}", volume.id() >> 16, volume.id() & 0xffff),
            files: files.map(|entry| FileReport { path: entry.path, size: entry.size }).collect(),
        })
    }

    fn text(&self, partition: &str) -> String {
        let mut text = format!("{partition}: {} file system '{}', serial number {}\n", self.width, self.label, self.id);
        let mut table = Table::new(vec![Column::right("SIZE"), Column::left("FILE")]);
        for file in &self.files {
            table.push(vec![format_size(file.size.into()), file.path.clone()]);
        }
        text.push_str(&table.text("  "));
        text
    }
}

impl Member {
    fn of(labels: &Labels) -> Option<Self> {
        let tree = labels.config.list("vdev_tree").ok()?;
        let vdev = vdevs::status_of(tree, std::slice::from_ref(labels));
        let guid = labels.guid()?.to_string();
        let number = vdev.children.iter().position(|child| child.has(&guid))? + 1;
        Some(Self { of: vdev.name, number, count: vdev.children.len() })
    }
}

/// Of these devices, those of the pool that one of them belongs to.
pub(super) fn devices_of(labels: &Labels, devices: &[&Labels]) -> Vec<Labels> {
    let of_pool = devices.iter().filter(|other| other.pool_guid() == labels.pool_guid());
    of_pool.map(|&labels| labels.clone()).collect()
}

/// What is to be done about devices that are missing.
pub(super) fn needed(missing: &[String]) -> Option<String> {
    match missing {
        [] => None,
        [_] => Some("another device of the pool is needed: give its image, too".to_owned()),
        _ => Some(format!("other devices of the pool, {} in all, are missing: give their images, too", missing.len())),
    }
}

/// The devices of a pool that are not among those that were given.
pub(super) fn missing(given: &[Labels]) -> Vec<String> {
    let mut vdevs = BTreeMap::new();
    let (mut count, mut holes) = (0, Vec::new());
    for labels in given {
        holes.extend(labels.config.u64s("hole_array").unwrap_or_default());
        count = count.max(labels.config.u64("vdev_children").unwrap_or(0));
        if let Ok(tree) = labels.config.list("vdev_tree") {
            let id = tree.u64("id").unwrap_or(0);
            vdevs.entry(id).or_insert_with(|| vdevs::status_of(tree, given));
        }
    }
    // The labels of a device name those of its own top-level vdev only. A pool has a few thousand of them at most.
    let unknown = (0..count.min(MOST_VDEVS))
        .filter(|id| !vdevs.contains_key(id) && !holes.contains(id))
        .map(|id| format!("all of vdev {id}"));
    let mut missing: Vec<String> = unknown.collect();
    missing.extend(vdevs::missing(&vdevs.into_values().collect::<Vec<_>>()));
    missing
}

impl PoolReport {
    fn new(labels: &Labels, devices: &[&Labels]) -> Self {
        let tree = labels.config.list("vdev_tree").ok();
        let kind = tree.and_then(|tree| tree.str("type").ok()).unwrap_or("disk").to_owned();
        let of_pool = devices_of(labels, devices);
        let mut report = Self {
            name: labels.pool_name().unwrap_or("?").to_owned(),
            guid: labels.pool_guid().unwrap_or(0).to_string(),
            state: labels.state().to_string(),
            txg: labels.txg(),
            labels: labels.txgs.iter().flatten().count(),
            vdev: kind,
            member: Member::of(labels),
            missing: missing(&of_pool),
            bootfs: None,
            error: None,
            datasets: Vec::new(),
        };
        let devices = of_pool.into_iter().map(|labels| labels.device).collect();
        if let Err(error) = Pool::open(devices).and_then(|pool| report.look_into(&pool)) {
            report.datasets.clear();
            report.error = Some(needed(&report.missing).unwrap_or_else(|| error.to_string()));
        }
        report
    }

    fn look_into(&mut self, pool: &Pool) -> Result<(), zfs_pool::Error> {
        let settings = zfs_pool::props::pool_properties(pool)?;
        let bootfs = settings.into_iter().find(|(name, _)| name == "bootfs").map(|(_, setting)| setting.value);
        self.bootfs =
            bootfs.filter(|value| *value != Value::Absent).map(|value| value.exact()).filter(|name| name != "-");
        let properties = Properties::of(pool)?;
        for dataset in pool.datasets()? {
            if dataset.kind == DatasetKind::Snapshot {
                let (head, snapshot) = dataset.name.split_once('@').unwrap_or((&dataset.name, ""));
                if let Some(report) = self.datasets.iter_mut().find(|report| report.name == head) {
                    report.snapshots.push(snapshot.to_owned());
                }
                continue;
            }
            let item = Item::Dataset(dataset);
            let get = |name: &str| Ok::<_, zfs_pool::Error>(properties.get(&item, name)?.map(|setting| setting.value));
            let text = |value: Option<Value>| value.map_or_else(|| "-".to_owned(), |value| value.exact());
            let some = |value: Option<Value>| value.map(|value| value.exact()).filter(|text| text != "-");
            self.datasets.push(DatasetReport {
                name: item.name().to_owned(),
                r#type: item.item_type()?.to_string(),
                used: text(get("used")?),
                referenced: text(get("referenced")?),
                mountpoint: some(get("mountpoint")?),
                encryption: some(get("encryption")?).filter(|encryption| encryption != "off"),
                snapshots: Vec::new(),
            });
        }
        Ok(())
    }

    /// What the device is.
    fn text(&self, partition: &str) -> String {
        let mut text = format!(
            "{partition}: pool {}, guid {}, {}, txg {}, {} of 4 labels",
            self.name, self.guid, self.state, self.txg, self.labels
        );
        if let Some(Member { of, number, count }) = &self.member {
            text.push_str(&format!(", device {number} of {count} of {of}"));
        }
        text.push('\n');
        text
    }

    /// What is in the pool.
    fn inside(&self) -> String {
        let mut text = String::new();
        if let Some(bootfs) = &self.bootfs {
            text.push_str(&format!("  boots from {bootfs}\n"));
        }
        if let Some(error) = &self.error {
            text.push_str(&format!("  what is in it cannot be shown: {error}\n"));
        }
        if self.datasets.is_empty() {
            return text;
        }
        let mut table = Table::new(vec![
            Column::left("NAME"),
            Column::right("USED"),
            Column::right("REFER"),
            Column::left("MOUNTPOINT"),
            Column::left("SNAPSHOTS"),
        ]);
        let readable = |size: &str| size.parse().map_or_else(|_| size.to_owned(), format_size);
        for dataset in &self.datasets {
            table.push(vec![
                dataset.name.clone(),
                readable(&dataset.used),
                readable(&dataset.referenced),
                dataset.mountpoint.clone().unwrap_or_else(|| "-".to_owned()),
                dataset.snapshots.join(" "),
            ]);
        }
        text.push_str(&table.text("  "));
        text
    }
}
