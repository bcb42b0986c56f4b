//! The vdev tree: which devices hold a block's copies.

use std::collections::HashMap;

use zfs_ondisk::label;
use zfs_ondisk::nvlist::{NvError, NvList, Value};

use crate::device::Device;
use crate::error::Error;

/// Trees nested deeper than this are refused: spares within replacements within
/// mirrors are what OpenZFS nests.
const MAX_DEPTH: usize = 8;

/// A virtual device.
#[derive(Clone, Debug)]
pub struct Vdev {
    /// Its number among its siblings.
    pub id: u64,
    /// Its GUID.
    pub guid: u64,
    /// What it is made of.
    pub kind: VdevKind,
    /// Binary logarithm of its sector size (top-level vdevs).
    pub ashift: u64,
    /// Bytes that can be allocated from, without labels (top-level vdevs).
    pub asize: u64,
    /// Object of the MOS with the numbers of its space maps (top-level vdevs).
    pub metaslab_array: u64,
    /// Binary logarithm of the size of a metaslab (top-level vdevs).
    pub metaslab_shift: u64,
    /// Object of the MOS with more about it (ZAP), 0 for none (top-level vdevs).
    pub top_zap: u64,
    /// Whether it holds the intent log only.
    pub is_log: bool,
}

/// What a vdev is made of.
#[derive(Clone, Debug)]
pub enum VdevKind {
    /// A file or disk.
    Leaf {
        /// The path under which the pool knew it.
        path: String,
        /// The device, if it was given.
        device: Option<Device>,
    },
    /// Children with the same contents: a mirror, or a disk being replaced by
    /// another one or by a spare.
    Mirror(Vec<Vdev>),
    /// Nothing: a log device that was removed.
    Hole,
}

impl Vdev {
    /// Builds a vdev from its configuration. `devices` are those given, by GUID.
    ///
    /// # Errors
    /// [`Error::UnsupportedVdev`], or what the configuration lacks.
    pub(crate) fn build(config: &NvList, devices: &HashMap<u64, Device>) -> Result<Self, Error> {
        let top = config.u64("id")?;
        Self::build_nested(config, devices, top, 0)
    }

    fn build_nested(config: &NvList, devices: &HashMap<u64, Device>, top: u64, depth: usize) -> Result<Self, Error> {
        let guid = config.u64("guid")?;
        let kind = match config.str("type")? {
            "disk" | "file" => VdevKind::Leaf {
                path: config.str("path").unwrap_or_default().to_owned(),
                device: devices.get(&guid).cloned(),
            },
            "mirror" | "replacing" | "spare" if depth < MAX_DEPTH => VdevKind::Mirror(
                config
                    .lists("children")?
                    .iter()
                    .map(|child| Self::build_nested(child, devices, top, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            "hole" | "missing" => VdevKind::Hole,
            other => {
                let kind = other.to_owned();
                return Err(Error::UnsupportedVdev { id: top, kind });
            }
        };
        // Only top-level vdevs have these; a hole has none of them.
        let number = |name| match config.get(name) {
            None => Ok(0),
            Some(Value::UInt64(number)) => Ok(*number),
            Some(_) => config.u64(name),
        };
        let required = |name| match (depth, &kind) {
            (0, VdevKind::Leaf { .. } | VdevKind::Mirror(_)) => config.u64(name),
            _ => number(name),
        };
        let ashift = required("ashift")?;
        if ashift > 16 {
            return Err(Error::Malformed { what: "ashift of a vdev", found: ashift.to_string(), expected: "9 to 16" });
        }
        Ok(Self {
            id: config.u64("id")?,
            guid,
            ashift,
            asize: required("asize")?,
            metaslab_array: required("metaslab_array")?,
            metaslab_shift: required("metaslab_shift")?,
            top_zap: number("com.delphix:vdev_zap_top")?,
            is_log: number("is_log")? != 0,
            kind,
        })
    }

    /// Bytes that are allocated for a block of `psize` stored bytes, parity and
    /// padding included (`vdev_psize_to_asize`). `birth` is the transaction group
    /// in which it is allocated: a raidz vdev may have become wider since.
    pub fn allocated_size(&self, psize: u64, _birth: u64) -> u64 {
        psize.next_multiple_of(1 << self.ashift)
    }

    /// The devices below, in order; each holds a copy of every block.
    pub fn leaves(&self) -> Vec<&Vdev> {
        match &self.kind {
            VdevKind::Leaf { .. } => vec![self],
            VdevKind::Mirror(children) => children.iter().flat_map(Vdev::leaves).collect(),
            VdevKind::Hole => Vec::new(),
        }
    }

    /// The device, if this is a leaf and it was given.
    pub fn device(&self) -> Option<&Device> {
        match &self.kind {
            VdevKind::Leaf { device, .. } => device.as_ref(),
            _ => None,
        }
    }

    /// Fills `buf` from `offset` of the allocatable space of a leaf.
    pub(crate) fn read_leaf(&self, buf: &mut [u8], offset: u64) -> Result<(), String> {
        let VdevKind::Leaf { path, device } = &self.kind else {
            return Err("it is no device".into());
        };
        let Some(device) = device else {
            return Err(format!("the device {path} was not given"));
        };
        let at = offset.checked_add(label::START_SIZE).ok_or_else(|| "the offset is beyond any device".to_owned())?;
        device.read_exact_at(buf, at).map_err(|error| error.to_string())
    }
}

/// Calls `each` with the configuration of every device below and at `config`.
pub(crate) fn for_each_leaf<'a>(config: &'a NvList, each: &mut dyn FnMut(&'a NvList)) {
    // Lists do not nest deeper than `nvlist::MAX_DEPTH`.
    match config.lists("children") {
        Ok(children) => children.iter().for_each(|child| for_each_leaf(child, each)),
        Err(_) => each(config),
    }
}

/// The GUIDs of the devices in the tree of a configuration, such as `vdev_tree` of
/// a label.
pub fn leaf_guids(config: &NvList) -> Vec<u64> {
    let mut guids = Vec::new();
    for_each_leaf(config, &mut |leaf| guids.extend(leaf.u64("guid")));
    guids
}

/// The GUIDs of all vdevs of a configuration's tree.
pub(crate) fn guids(config: &NvList) -> Result<Vec<u64>, NvError> {
    let mut guids = vec![config.u64("guid")?];
    if config.contains("children") {
        for child in config.lists("children")? {
            guids.extend(self::guids(child)?);
        }
    }
    Ok(guids)
}
