//! `tine pool status`: what a pool is made of and what state it is in.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use clap::Args;
use serde::Serialize;
use zfs_ondisk::property::format_size;
use zfs_pool::capacity::{Allocation, Capacity, Class, ratio};
use zfs_pool::facts;
use zfs_pool::features::{self, Activity, PoolFeature};
use zfs_pool::{DatasetKind, Error, Labels, Pool, PoolState};

use super::describe;
use super::open::{Located, Opening};
use super::table::{Column, Table};
use super::target::{self, Target};
use super::vdevs::{self, LabelStatus, State, VdevStatus};
use crate::failure::Failure;
use crate::output::{self, plural};

/// Uberblocks that are shown unless all are asked for.
const MOST_UBERBLOCKS: usize = 5;

/// Show what a pool is made of and what state it is in; without a name, the pools that are found
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The pool: its name, its GUID, or image files [default: list the pools found where -p says]
    #[arg(value_name = "POOL", value_parser = target::target)]
    pool: Vec<Target>,
    /// Show all uberblocks, every label, and every feature with what it is for
    #[arg(short, long, help_heading = "Output")]
    verbose: bool,
    /// Report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

/// A pool. GUIDs are texts, sizes bytes, times seconds since 1970.
#[derive(Serialize)]
struct Report {
    pool: String,
    guid: String,
    state: &'static str,
    /// What the newest label says: active, exported or destroyed.
    label_state: String,
    hostname: Option<String>,
    hostid: Option<u64>,
    version: u64,
    /// The transaction group that was opened.
    txg: u64,
    time: u64,
    /// Why the newest state could not be opened.
    newest_unreadable: Option<String>,
    warnings: Vec<String>,
    vdevs: Vec<VdevStatus>,
    spares: Vec<VdevStatus>,
    caches: Vec<VdevStatus>,
    space: Space,
    checkpoint: Option<Checkpoint>,
    scan: Option<Job>,
    removal: Option<Job>,
    expansions: Vec<Job>,
    features: Vec<FeatureReport>,
    uberblocks: Vec<UberblockReport>,
    errors: Option<u64>,
    /// Datasets whose intent logs have content that is in no transaction group yet.
    intent_logs: Vec<String>,
}

#[derive(Serialize)]
struct Space {
    size: u64,
    allocated: u64,
    free: u64,
    compress_ratio: f64,
    fragmentation: Option<u64>,
    classes: BTreeMap<String, ClassSpace>,
}

#[derive(Default, Serialize)]
struct ClassSpace {
    size: u64,
    allocated: u64,
}

#[derive(Serialize)]
struct Checkpoint {
    txg: u64,
    time: u64,
    /// What only the checkpoint holds.
    bytes: u64,
}

/// Something that ZFS was doing.
#[derive(Serialize)]
struct Job {
    what: String,
    progress: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    vdev: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<u64>,
}

#[derive(Serialize)]
struct FeatureReport {
    name: String,
    guid: String,
    state: String,
    references: u64,
    enabled_txg: Option<u64>,
    known: bool,
    /// Whether it keeps this program from reading the pool.
    forbids_reading: bool,
    description: String,
}

#[derive(Serialize)]
struct UberblockReport {
    txg: u64,
    time: u64,
    /// How many copies there are in the labels of the devices.
    copies: usize,
}

impl Status {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.pool.is_empty() {
            return self.list();
        }
        let (opening, target) = self.opening.of_one(&self.pool)?;
        let located = opening.locate(&target.pool)?;
        let (pool, newest_unreadable) = match opening.open_located(&located) {
            Ok(pool) => (pool, None),
            Err(Error::Newest { txg, readable: Some(readable), source, .. }) => {
                let why = format!("the newest state, txg {txg}, cannot be opened: {source}");
                (opening.open_located_at(&located, readable)?, Some(why))
            }
            Err(error) => return self.unopened(&located, &error),
        };
        // So little of a pool may be there that it opens and nothing else of it can be read.
        let report = match report(&pool, &located, newest_unreadable) {
            Ok(report) => report,
            Err(error) => return self.unopened(&located, &error),
        };
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&self.text(&report))?;
        }
        if report.newest_unreadable.is_some() { Err(Failure::Found) } else { Ok(()) }
    }

    /// The pools that were found.
    fn list(&self) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Found {
            pool: String,
            guid: String,
            state: String,
            txg: u64,
            devices: Vec<String>,
            complete: bool,
        }
        let pools = self.opening.discover()?.pools();
        let found = pools.iter().map(|pool| Found {
            pool: pool.name.clone(),
            guid: pool.guid.to_string(),
            state: pool.state.to_string(),
            txg: newest_uberblock(&pool.members),
            devices: pool.members.iter().map(|labels| labels.device.name().to_owned()).collect(),
            complete: !pool.is_incomplete(),
        });
        let found: Vec<Found> = found.collect();
        if self.json {
            return output::print_json(&serde_json::json!({ "pools": found }));
        }
        let headings = ["NAME", "GUID", "STATE", "TXG", "DEVICES"];
        let mut table = Table::new(headings.map(Column::left).into());
        for pool in &found {
            let mut devices = pool.devices.join(", ");
            if !pool.complete {
                devices.push_str(" (others are missing)");
            }
            table.push(vec![pool.pool.clone(), pool.guid.clone(), pool.state.clone(), pool.txg.to_string(), devices]);
        }
        output::print(&table.text(""))
    }

    /// What the labels say of a pool that cannot be opened.
    fn unopened(&self, located: &Located, error: &dyn Display) -> Result<(), Failure> {
        let pool = &located.pool;
        let mut tops: BTreeMap<u64, VdevStatus> = BTreeMap::new();
        for labels in &pool.members {
            if let Ok(tree) = labels.config.list("vdev_tree") {
                let id = tree.u64("id").unwrap_or(0);
                tops.entry(id).or_insert_with(|| vdevs::status_of(tree, &pool.members));
            }
        }
        let vdevs: Vec<VdevStatus> = tops.into_values().collect();
        let uberblocks = uberblocks(&pool.members);
        if self.json {
            output::print_json(&serde_json::json!({
                "pool": pool.name,
                "guid": pool.guid.to_string(),
                "state": "unavailable",
                "label_state": pool.state.to_string(),
                "error": error.to_string(),
                "vdevs": vdevs,
                "uberblocks": uberblocks,
            }))?;
            return Err(Failure::Found);
        }
        let mut text = String::new();
        fact(&mut text, "pool", &pool.name);
        fact(&mut text, "guid", &pool.guid.to_string());
        fact(&mut text, "state", &format!("cannot be opened ({})", pool.state));
        fact(&mut text, "reason", &error.to_string());
        self.config(&mut text, &pool.name, State::Unavailable, &[("", vdevs.iter().collect())]);
        self.uberblock_table(&mut text, &uberblocks);
        output::print(&text)?;
        Err(Failure::Found)
    }

    fn text(&self, report: &Report) -> String {
        let mut text = String::new();
        fact(&mut text, "pool", &report.pool);
        fact(&mut text, "guid", &report.guid);
        fact(&mut text, "state", &format!("{} ({})", report.state, report.label_state));
        if let Some(why) = &report.newest_unreadable {
            fact(&mut text, "newest", &format!("{why}; the state of txg {} is shown: --txg {0} opens it", report.txg));
        }
        fact(&mut text, "txg", &format!("{}, {} UTC", report.txg, utc(report.time)));
        if let Some(host) = &report.hostname {
            let id = report.hostid.map_or(String::new(), |id| format!(" (hostid {id:08x})"));
            fact(&mut text, "host", &format!("{host}{id}"));
        }
        for warning in &report.warnings {
            fact(&mut text, "warning", warning);
        }
        let space = &report.space;
        let fragmentation = space.fragmentation.map_or(String::new(), |percent| format!(", {percent} % fragmented"));
        fact(
            &mut text,
            "space",
            &format!(
                "{}, {} allocated, {} free, compressed {:.2}x{fragmentation}",
                format_size(space.size),
                format_size(space.allocated),
                format_size(space.free),
                space.compress_ratio
            ),
        );
        for (class, of) in space.classes.iter().filter(|(class, _)| class.as_str() != "normal") {
            fact(&mut text, class, &format!("{}, {} allocated", format_size(of.size), format_size(of.allocated)));
        }
        if let Some(checkpoint) = &report.checkpoint {
            let Checkpoint { txg, time, bytes } = checkpoint;
            let size = format_size(*bytes);
            fact(&mut text, "checkpoint", &format!("txg {txg}, {} UTC, holds {size}", utc(*time)));
        }
        for job in report.scan.iter().chain(&report.removal).chain(&report.expansions) {
            let ended = job.ended.filter(|&ended| ended != 0).map_or(String::new(), |at| format!(", {} UTC", utc(at)));
            let errors = job.errors.map_or(String::new(), |errors| format!(", {}", plural(errors, "error")));
            let vdev = job.vdev.map_or(String::new(), |id| format!("vdev {id}, "));
            fact(&mut text, &job.what, &format!("{vdev}{}{ended}{errors}", job.progress));
        }
        fact(
            &mut text,
            "errors",
            &match report.errors {
                None => "the error log cannot be read".to_owned(),
                Some(0) => "none recorded".to_owned(),
                Some(count) => format!("{} recorded", plural(count, "damaged place")),
            },
        );
        let logs = match &report.intent_logs[..] {
            [] => "empty".to_owned(),
            datasets => format!("with content, which is not shown, of {}", datasets.join(", ")),
        };
        fact(&mut text, "logs", &logs);
        self.config(&mut text, &report.pool, vdevs::pool_state(&report.vdevs), &by_use(report));
        self.features(&mut text, &report.features);
        self.uberblock_table(&mut text, &report.uberblocks);
        text
    }

    /// The vdev tree, each part under its heading.
    fn config(&self, text: &mut String, pool: &str, state: State, parts: &[(&str, Vec<&VdevStatus>)]) {
        let mut table = Table::new(vec![
            Column::left("NAME"),
            Column::left("STATE"),
            Column::right("SIZE"),
            Column::right("ASHIFT"),
            Column::left("LABELS"),
            Column::left("FOUND AS"),
        ]);
        let row = |name: String, state: &str| vec![name, state.to_owned(), String::new(), String::new()];
        table.push(row(pool.to_owned(), state.text()));
        for (heading, vdevs) in parts {
            if !heading.is_empty() && !vdevs.is_empty() {
                table.push(row((*heading).to_owned(), ""));
            }
            for vdev in vdevs {
                vdev_rows(&mut table, vdev, 1);
            }
        }
        let _ = write!(text, "\n{}", table.text("  "));
        if self.verbose {
            for (_, vdevs) in parts {
                vdevs.iter().for_each(|vdev| label_lines(text, vdev));
            }
        }
    }

    fn features(&self, text: &mut String, features: &[FeatureReport]) {
        text.push('\n');
        if self.verbose {
            let headings = ["FEATURE", "STATE", "SINCE TXG", "WHAT IT IS"];
            let mut table = Table::new(headings.map(Column::left).into());
            for feature in features {
                let since = feature.enabled_txg.map_or("-".to_owned(), |txg| txg.to_string());
                let known = if feature.known { "" } else { " (unknown)" };
                let name = format!("{}{known}", feature.name);
                table.push(vec![name, feature.state.clone(), since, feature.description.clone()]);
            }
            text.push_str(&table.text("  "));
            return;
        }
        let of = |state: &str| {
            let names = features.iter().filter(|feature| feature.known && feature.state == state);
            names.map(|feature| feature.name.as_str()).collect::<Vec<_>>()
        };
        list(text, "active", &of("active"));
        list(text, "enabled", &of("enabled"));
        for feature in features.iter().filter(|feature| !feature.known) {
            let effect = match (feature.forbids_reading, feature.state.as_str()) {
                (true, _) => "forbids reading",
                (false, "active") => "forbids writing only",
                _ => "not used yet",
            };
            fact(text, "unknown", &format!("{} ({}): {effect}", feature.guid, feature.state));
        }
    }

    fn uberblock_table(&self, text: &mut String, uberblocks: &[UberblockReport]) {
        let most = if self.verbose { uberblocks.len() } else { MOST_UBERBLOCKS };
        let mut table =
            Table::new(vec![Column::right("UBERBLOCK"), Column::left("TIME (UTC)"), Column::right("COPIES")]);
        for found in uberblocks.iter().take(most) {
            table.push(vec![found.txg.to_string(), utc(found.time), found.copies.to_string()]);
        }
        let _ = write!(text, "\n{}", table.text("  "));
        if let Some(more @ 1..) = uberblocks.len().checked_sub(most) {
            let _ = writeln!(text, "  and {more} older: -v shows them all");
        }
    }
}

fn report(pool: &Pool, located: &Located, newest_unreadable: Option<String>) -> Result<Report, Failure> {
    let capacity = Capacity::of(pool)?;
    let allocation = Allocation::of(pool, &capacity)?;
    let members = pool.labels();
    let newest = members.iter().max_by_key(|labels| labels.txg());
    let config = pool.config();
    let mut vdevs = vdevs::top_level(pool);
    for (vdev, id) in vdevs.iter_mut().zip(0..) {
        vdev.class = capacity.vdevs.get(&id).map(|room| room.class);
    }
    let auxiliary = |kind: &str| -> Result<Vec<VdevStatus>, Failure> {
        let configs = facts::auxiliary(pool, kind)?;
        Ok(configs.iter().map(|config| vdevs::status_of(config, &located.auxiliary_of(config))).collect())
    };
    let checkpoint = pool.checkpoint()?.map(|found| Checkpoint {
        txg: found.txg,
        time: found.timestamp,
        bytes: capacity.checkpoint,
    });
    let scan = facts::scan(pool)?.map(|scan| Job {
        what: if scan.is_resilver { "resilver" } else { "scrub" }.to_owned(),
        progress: scan.progress.to_string(),
        vdev: None,
        ended: Some(scan.times[1]),
        errors: Some(scan.errors),
    });
    let removal = facts::removal(pool)?.map(|removal| Job {
        what: "removal".to_owned(),
        progress: removal.progress.to_string(),
        vdev: Some(removal.vdev),
        ended: None,
        errors: None,
    });
    let expansions = facts::expansions(pool)?.into_iter().map(|expansion| Job {
        what: "expansion".to_owned(),
        progress: expansion.progress.to_string(),
        vdev: Some(expansion.vdev),
        ended: None,
        errors: None,
    });
    Ok(Report {
        pool: pool.name().to_owned(),
        guid: pool.guid().to_string(),
        state: vdevs::pool_state(&vdevs).text(),
        label_state: newest.map_or(PoolState::Unknown, Labels::state).to_string(),
        hostname: config.str("hostname").ok().map(str::to_owned),
        hostid: config.u64("hostid").ok(),
        version: pool.uberblock().version,
        txg: pool.uberblock().txg,
        time: pool.uberblock().timestamp,
        newest_unreadable,
        warnings: pool.warnings().to_vec(),
        vdevs,
        spares: auxiliary("spares")?,
        caches: auxiliary("l2cache")?,
        space: space(pool, &capacity, &allocation)?,
        checkpoint,
        scan,
        removal,
        expansions: expansions.collect(),
        features: features::features(pool)?.iter().map(feature_report).collect(),
        uberblocks: uberblocks(members),
        // A log that cannot be read does not hide the rest.
        errors: facts::error_count(pool).ok(),
        intent_logs: facts::intent_logs(pool)?.into_iter().map(|log| log.dataset).collect(),
    })
}

fn space(pool: &Pool, capacity: &Capacity, allocation: &Allocation) -> Result<Space, Failure> {
    let mut classes: BTreeMap<String, ClassSpace> = BTreeMap::new();
    for (id, vdev) in &capacity.vdevs {
        let class = classes.entry(vdev.class.to_string()).or_default();
        class.size = class.size.saturating_add(vdev.size());
        let allocated = allocation.vdevs.get(id).map_or(0, |vdev| vdev.allocated);
        class.allocated = class.allocated.saturating_add(allocated);
    }
    let root = pool.dataset(pool.name())?;
    debug_assert_eq!(root.kind, DatasetKind::Head);
    let size = capacity.size();
    let allocated = allocation.total(capacity);
    let compress_ratio = ratio(root.dir.uncompressed_bytes, root.dir.compressed_bytes) as f64 / 100.0;
    let fragmentation = allocation.fragmentation(capacity);
    Ok(Space { size, allocated, free: size.saturating_sub(allocated), compress_ratio, fragmentation, classes })
}

fn feature_report(feature: &PoolFeature) -> FeatureReport {
    FeatureReport {
        name: feature.known.map_or(feature.guid.as_str(), |known| known.name()).to_owned(),
        guid: feature.guid.clone(),
        state: feature.activity.to_string(),
        references: feature.references,
        enabled_txg: feature.enabled_txg,
        known: feature.known.is_some(),
        forbids_reading: feature.activity == Activity::Active && !feature.is_readable,
        description: feature.description.clone(),
    }
}

/// All uberblocks, the newest first.
fn uberblocks(members: &[Labels]) -> Vec<UberblockReport> {
    let mut copies: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for found in members.iter().flat_map(|labels| &labels.uberblocks) {
        *copies.entry((found.uberblock.txg, found.uberblock.timestamp)).or_default() += 1;
    }
    let report = |((txg, time), copies)| UberblockReport { txg, time, copies };
    copies.into_iter().rev().map(report).collect()
}

fn newest_uberblock(members: &[Labels]) -> u64 {
    uberblocks(members).first().map_or(0, |newest| newest.txg)
}

/// The vdevs under the headings of `zpool status`.
fn by_use(report: &Report) -> Vec<(&'static str, Vec<&VdevStatus>)> {
    let of = |class: Class| report.vdevs.iter().filter(move |vdev| vdev.class.unwrap_or(Class::Normal) == class);
    vec![
        ("", of(Class::Normal).collect()),
        ("dedup", of(Class::Dedup).collect()),
        ("special", of(Class::Special).collect()),
        ("logs", of(Class::Log).collect()),
        ("cache", report.caches.iter().collect()),
        ("spares", report.spares.iter().collect()),
    ]
}

fn vdev_rows(table: &mut Table, vdev: &VdevStatus, depth: usize) {
    let is_removed = vdev.state == State::Removed;
    let size = vdev.size.filter(|_| !is_removed).map_or(String::new(), format_size);
    let ashift = vdev.ashift.filter(|_| !is_removed).map_or(String::new(), |ashift| ashift.to_string());
    table.push(vec![
        format!("{}{}", "  ".repeat(depth), vdev.name),
        vdev.state.text().to_owned(),
        size,
        ashift,
        labels_text(&vdev.labels),
        vdev.device.clone().filter(|device| *device != vdev.name).unwrap_or_default(),
    ]);
    for child in &vdev.children {
        vdev_rows(table, child, depth + 1);
    }
}

/// The labels of a device in a few words.
fn labels_text(labels: &[LabelStatus]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let newest = labels.iter().filter_map(|label| label.txg).max();
    let sound = labels.iter().filter(|label| label.txg.is_some() && label.txg == newest).count();
    let old = labels.iter().filter(|label| label.txg.is_some() && label.txg != newest).count();
    let damaged = labels.len() - sound - old;
    // Spares and caches have labels that belong to no state of a pool.
    let mut text = match newest {
        None | Some(0) => format!("{sound} sound"),
        Some(txg) => format!("{sound} of txg {txg}"),
    };
    if old > 0 {
        let _ = write!(text, ", {old} older");
    }
    if damaged > 0 {
        let _ = write!(text, ", {damaged} damaged");
    }
    text
}

/// What is wrong with each label.
fn label_lines(text: &mut String, vdev: &VdevStatus) {
    for (number, label) in vdev.labels.iter().enumerate() {
        let state = match (&label.fault, label.txg) {
            (Some(fault), _) => fault.clone(),
            (None, Some(txg)) => format!("sound, txg {txg}"),
            (None, None) => continue,
        };
        let device = vdev.device.as_deref().unwrap_or(&vdev.name);
        let _ = writeln!(text, "  {device}, label {number}: {state}");
    }
    vdev.children.iter().for_each(|child| label_lines(text, child));
}

/// A time in seconds since 1970.
fn utc(seconds: u64) -> String {
    describe::seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// A line with a name and what it is.
fn fact(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:>10}: {value}");
}

/// A name and words, in lines that fit a terminal.
fn list(text: &mut String, name: &str, words: &[&str]) {
    const WIDTH: usize = 100;
    if words.is_empty() {
        return fact(text, name, "none");
    }
    let mut line = format!("{name:>10}:");
    for word in words {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(11);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
