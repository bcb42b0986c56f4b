//! The vdev tree of a pool with the state of each device, as `tine pool status` shows it.

use serde::{Serialize, Serializer};
use zfs_ondisk::nvlist::NvList;
use zfs_pool::capacity::Class;
use zfs_pool::{Labels, Pool};

/// A vdev, and what was found of it.
#[derive(Debug, Serialize)]
pub(crate) struct VdevStatus {
    /// As `zpool status` calls it: `mirror-0`, or the path of a device.
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) guid: String,
    pub(crate) state: State,
    /// What a top-level vdev is for.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub(crate) class: Option<Class>,
    /// The device that was found.
    pub(crate) device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ashift: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) labels: Vec<LabelStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) children: Vec<VdevStatus>,
}

/// Whether a vdev can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// All of it.
    Online,
    /// What is missing is made up for by redundancy.
    Degraded,
    /// The device was found, and does not have the newest state.
    Stale,
    /// The administrator took it offline.
    Offline,
    /// ZFS gave it up.
    Faulted,
    /// It was removed from the pool.
    Removed,
    /// The device was not found.
    Missing,
    /// Too many devices are missing.
    Unavailable,
}

/// One of the four labels of a device.
#[derive(Debug, Serialize)]
pub(crate) struct LabelStatus {
    /// The transaction group of its configuration.
    pub(crate) txg: Option<u64>,
    /// What is wrong with it.
    pub(crate) fault: Option<String>,
}

impl State {
    /// In capitals, as ZFS writes it.
    pub(super) fn text(self) -> &'static str {
        match self {
            State::Online => "ONLINE",
            State::Degraded => "DEGRADED",
            State::Stale => "STALE",
            State::Offline => "OFFLINE",
            State::Faulted => "FAULTED",
            State::Removed => "REMOVED",
            State::Missing => "MISSING",
            State::Unavailable => "UNAVAIL",
        }
    }

    /// Whether what is on the vdev can be read, perhaps with the help of redundancy.
    fn is_there(self) -> bool {
        matches!(self, State::Online | State::Degraded)
    }
}

impl VdevStatus {
    /// Whether it is the vdev with this GUID, or has it below it.
    pub(crate) fn has(&self, guid: &str) -> bool {
        self.guid == guid || self.children.iter().any(|child| child.has(guid))
    }
}

/// The top-level vdevs of a pool.
pub(super) fn top_level(pool: &Pool) -> Vec<VdevStatus> {
    let tree = pool.config().list("vdev_tree").and_then(|tree| tree.lists("children"));
    tree.unwrap_or_default().iter().map(|config| status_of(config, pool.labels())).collect()
}

/// The state of the whole pool, from those of its top-level vdevs.
pub(super) fn pool_state(vdevs: &[VdevStatus]) -> State {
    combined(vdevs, 0)
}

/// The devices that are missing, by the names under which the pool knew them.
pub(crate) fn missing(vdevs: &[VdevStatus]) -> Vec<String> {
    let missing = |vdev: &VdevStatus| {
        let own = (vdev.state == State::Missing).then(|| vdev.name.clone());
        own.into_iter().chain(self::missing(&vdev.children)).collect::<Vec<_>>()
    };
    vdevs.iter().flat_map(missing).collect()
}

/// A vdev, and what is below it.
pub(crate) fn status_of(config: &NvList, labels: &[Labels]) -> VdevStatus {
    // Labels of one top-level vdev are written together.
    let mut guids = zfs_pool::leaf_guids(config);
    guids.sort_unstable();
    let of_this = labels.iter().filter(|labels| labels.guid().is_some_and(|guid| guids.binary_search(&guid).is_ok()));
    let newest = of_this.map(Labels::txg).max().unwrap_or(0);
    build(config, labels, newest)
}

fn build(config: &NvList, labels: &[Labels], newest: u64) -> VdevStatus {
    let kind = config.str("type").unwrap_or("?").to_owned();
    let guid = config.u64("guid").unwrap_or(0);
    // Lists do not nest deeper than their decoder allows.
    let children: Vec<VdevStatus> =
        config.lists("children").unwrap_or_default().iter().map(|child| build(child, labels, newest)).collect();
    let found = labels.iter().find(|labels| labels.guid() == Some(guid) && children.is_empty());
    let is_set = |name: &str| config.u64(name).is_ok_and(|value| value != 0);
    let state = match kind.as_str() {
        "hole" | "missing" | "indirect" => State::Removed,
        "dspare" => State::Online,
        _ if !children.is_empty() => combined(&children, redundancy(&kind, config, children.len())),
        _ if is_set("faulted") => State::Faulted,
        _ if is_set("offline") => State::Offline,
        _ if is_set("removed") && found.is_none() => State::Removed,
        _ => match found {
            None => State::Missing,
            Some(labels) if labels.txg() < newest => State::Stale,
            Some(_) => State::Online,
        },
    };
    let id = config.u64("id").unwrap_or(0);
    let name = match kind.as_str() {
        "disk" | "file" => config.str("path").unwrap_or("?").to_owned(),
        "raidz" => format!("raidz{}-{id}", config.u64("nparity").unwrap_or(1)),
        "draid" => draid_name(config, children.len(), id),
        "dspare" => config.str("path").unwrap_or("dspare").to_owned(),
        other => format!("{other}-{id}"),
    };
    let label = |(txg, fault): (&Option<u64>, &Option<String>)| LabelStatus { txg: *txg, fault: fault.clone() };
    VdevStatus {
        name,
        kind,
        guid: guid.to_string(),
        state,
        class: None,
        device: found.map(|labels| labels.device.name().to_owned()),
        ashift: config.u64("ashift").ok().filter(|&ashift| ashift != 0),
        size: match found {
            Some(labels) => Some(labels.device.size()),
            None => config.u64("asize").ok(),
        },
        labels: found.map_or(Vec::new(), |labels| labels.txgs.iter().zip(&labels.faults).map(label).collect()),
        children,
    }
}

/// How many children a vdev can do without.
fn redundancy(kind: &str, config: &NvList, children: usize) -> usize {
    match kind {
        "mirror" | "replacing" | "spare" => children.saturating_sub(1),
        "raidz" | "draid" => config.u64("nparity").map_or(1, |parity| parity as usize),
        _ => 0,
    }
}

fn combined(children: &[VdevStatus], redundancy: usize) -> State {
    // What was removed from the pool holds nothing of it any more.
    let lacking = children.iter().filter(|child| !child.state.is_there() && child.state != State::Removed).count();
    let is_degraded = children.iter().any(|child| child.state == State::Degraded);
    match lacking {
        0 if is_degraded => State::Degraded,
        0 => State::Online,
        count if count <= redundancy => State::Degraded,
        _ => State::Unavailable,
    }
}

fn as_text<S: Serializer>(class: &Option<Class>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&class.unwrap_or(Class::Normal))
}

fn draid_name(config: &NvList, children: usize, id: u64) -> String {
    let number = |name: &str| config.u64(name).unwrap_or(0);
    let (parity, data, spares) = (number("nparity"), number("draid_ndata"), number("draid_nspares"));
    format!("draid{parity}:{data}d:{children}c:{spares}s-{id}")
}
