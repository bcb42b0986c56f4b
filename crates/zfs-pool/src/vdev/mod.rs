//! The vdev tree: which devices hold a block's copies.

mod draid;
mod indirect;
mod map;
mod raidz;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use zfs_ondisk::blkptr;
use zfs_ondisk::label;
use zfs_ondisk::nvlist::{NvError, NvList, Value};
use zfs_ondisk::uberblock::RaidzReflow;

pub use self::draid::Draid;
pub use self::indirect::Indirect;
pub(crate) use self::indirect::load_mappings;
pub use self::map::{BlockPart, DevicePlace};
use self::map::{Column, Place, Row};
pub(crate) use self::map::{Fault, Map};
pub use self::raidz::Raidz;
use crate::device::Device;
use crate::error::Error;

/// Trees nested deeper than this are refused: spares within replacements within
/// mirrors are what OpenZFS nests.
const MAX_DEPTH: usize = 8;
/// The most children of a raidz or draid vdev.
const MAX_CHILDREN: u64 = 255;
/// How often a block can have been moved, each time because its vdev was removed.
pub(crate) const MAX_REMOVALS: usize = 64;

/// What the configuration of a leaf has if it lacks something.
const STALE: [&str; 6] = ["offline", "faulted", "removed", "not_present", "resilver_txg", "rebuild_txg"];

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
    /// Bytes that can be allocated from, without labels; of raidz and draid, with
    /// parity (top-level vdevs).
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
        /// Whether it lacks what was written while it was away: it is offline, faulted
        /// or gone, or not yet resilvered.
        is_stale: bool,
    },
    /// Children with the same contents: a mirror, or a disk being replaced by
    /// another one or by a spare.
    Mirror(Vec<Vdev>),
    /// Rows of data and parity over all children.
    Raidz(Raidz),
    /// Groups of data and parity, spread over the children.
    Draid(Draid),
    /// A distributed spare of the draid vdev around it, by number: space kept on
    /// all of its disks.
    DraidSpare(u64),
    /// Nothing: the vdev was removed, and what it had is on others.
    Indirect(Indirect),
    /// Nothing: a log device that was removed.
    Hole,
}

/// Of what the devices are those of a pool.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a> {
    /// The devices that were given, by GUID.
    pub(crate) devices: &'a HashMap<u64, Device>,
    /// Those that lack what was written at some time, by GUID.
    pub(crate) lacking: &'a HashSet<u64>,
    /// How far a raidz expansion is.
    pub(crate) reflow: RaidzReflow,
}

impl Vdev {
    /// Builds a vdev from its configuration.
    ///
    /// # Errors
    /// [`Error::UnsupportedVdev`], or what the configuration lacks.
    pub(crate) fn build(config: &NvList, members: Members<'_>) -> Result<Self, Error> {
        let top = config.u64("id")?;
        Self::build_nested(config, members, top, 0)
    }

    fn build_nested(config: &NvList, members: Members<'_>, top: u64, depth: usize) -> Result<Self, Error> {
        let guid = config.u64("guid")?;
        let children = || -> Result<Vec<Self>, Error> {
            config.lists("children")?.iter().map(|child| Self::build_nested(child, members, top, depth + 1)).collect()
        };
        let kind = match config.str("type")? {
            "disk" | "file" => VdevKind::Leaf {
                path: config.str("path").unwrap_or_default().to_owned(),
                device: members.devices.get(&guid).cloned(),
                is_stale: members.lacking.contains(&guid) || STALE.iter().any(|name| config.contains(name)),
            },
            "mirror" | "replacing" | "spare" if depth < MAX_DEPTH => VdevKind::Mirror(children()?),
            "raidz" if depth == 0 => VdevKind::Raidz(Raidz::build(config, children()?, members.reflow)?),
            "draid" if depth == 0 && !config.contains("draid_nchildren") => {
                VdevKind::Draid(Draid::build(config, children()?)?)
            }
            "dspare" if depth > 0 => VdevKind::DraidSpare(config.u64("spareid")?),
            "indirect" if depth == 0 => VdevKind::Indirect(Indirect::build(config)?),
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
        let is_concrete = depth == 0 && !matches!(kind, VdevKind::Hole);
        let required = |name| if is_concrete { config.u64(name) } else { number(name) };
        let ashift = required("ashift")?;
        if ashift > 16 || is_concrete && ashift < 9 {
            return Err(malformed("ashift of a vdev", ashift.to_string(), "9 to 16"));
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
    pub fn allocated_size(&self, psize: u64, birth: u64) -> u64 {
        match &self.kind {
            VdevKind::Raidz(raidz) => raidz.allocated_size(self.ashift, psize, birth),
            VdevKind::Draid(draid) => draid.allocated_size(self.ashift, psize),
            _ => psize.next_multiple_of(1 << self.ashift),
        }
    }

    /// The fewest bytes of contents that something is allocated for (`vdev_get_min_alloc`).
    pub(crate) fn least_block(&self) -> usize {
        match &self.kind {
            VdevKind::Draid(draid) => (draid.least_block(self.ashift)) as usize,
            _ => 1 << self.ashift,
        }
    }

    /// Where a metaslab begins, of which the entries of its space map are relative
    /// (`vdev_op_metaslab_init`). They are `1 << metaslab_shift` bytes apart; on
    /// draid, each begins with a whole row of sectors.
    pub fn metaslab_start(&self, index: u64) -> u64 {
        let start = index.checked_shl(self.metaslab_shift as u32).unwrap_or(u64::MAX);
        start.checked_next_multiple_of(self.metaslab_alignment()).unwrap_or(u64::MAX)
    }

    /// Metaslabs begin and end at multiples of this many bytes: of draid, a whole row of
    /// sectors; 1 for others.
    pub(crate) fn metaslab_alignment(&self) -> u64 {
        match &self.kind {
            VdevKind::Draid(draid) => draid.stripe(self.ashift),
            _ => 1,
        }
    }

    /// How many metaslabs it has.
    pub(crate) fn metaslab_count(&self) -> u64 {
        match self.metaslab_shift {
            shift @ 0..=63 => self.asize >> shift,
            _ => u64::MAX,
        }
    }

    /// Of 512 bytes that are allocated, how many are not parity and padding, as far as
    /// blocks of 128 KiB have them (`vdev_deflate_ratio`).
    pub(crate) fn deflate_ratio(&self) -> u64 {
        const USUAL_BLOCK: u64 = 128 << 10;
        // Of raidz, as it was at first.
        let sectors = self.allocated_size(USUAL_BLOCK, 0) >> blkptr::SECTOR_SHIFT;
        USUAL_BLOCK / sectors.max(1)
    }

    /// Bytes by which the space used counts `asize` bytes that are allocated: parity
    /// and padding do not count.
    pub(crate) fn deflated_size(&self, asize: u64) -> u64 {
        (asize >> blkptr::SECTOR_SHIFT).saturating_mul(self.deflate_ratio())
    }

    /// Bytes that each device must have for all that can be allocated, its labels
    /// included.
    pub(crate) fn device_size(&self) -> u64 {
        let space = match &self.kind {
            VdevKind::Raidz(raidz) => self.asize / raidz.children().len() as u64,
            VdevKind::Draid(draid) => self.asize / draid.disks(),
            _ => self.asize,
        };
        space.saturating_add(label::START_SIZE + label::END_SIZE)
    }

    /// The vdevs that it is made of, in order.
    pub fn children(&self) -> &[Vdev] {
        match &self.kind {
            VdevKind::Mirror(children) => children,
            VdevKind::Raidz(raidz) => raidz.children(),
            VdevKind::Draid(draid) => draid.children(),
            VdevKind::Leaf { .. } | VdevKind::DraidSpare(_) | VdevKind::Indirect(_) | VdevKind::Hole => &[],
        }
    }

    /// The files and disks at and below it, in order.
    pub fn leaves(&self) -> Vec<&Vdev> {
        match &self.kind {
            VdevKind::Leaf { .. } => vec![self],
            _ => self.children().iter().flat_map(Vdev::leaves).collect(),
        }
    }

    /// The device, if this is a leaf and it was given.
    pub fn device(&self) -> Option<&Device> {
        match &self.kind {
            VdevKind::Leaf { device, .. } => device.as_ref(),
            _ => None,
        }
    }

    /// The path under which the pool knew it, if this is a leaf.
    pub fn path(&self) -> Option<&str> {
        match &self.kind {
            VdevKind::Leaf { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Fills `buf` from `offset` of a leaf, counted from the start of the device.
    fn read_leaf(&self, buf: &mut [u8], offset: u64) -> Result<(), String> {
        match &self.kind {
            VdevKind::Leaf { device: Some(device), .. } => {
                device.read_exact_at(buf, offset).map_err(|error| error.to_string())
            }
            VdevKind::Leaf { device: None, .. } => Err("the device was not given".into()),
            _ => Err("it is no device".into()),
        }
    }

    /// Adds the leaves that have what is at `offset`, counted from the start of the
    /// device, the most promising ones first. `draid` is the vdev around this one.
    fn places<'a>(&'a self, offset: u64, draid: Option<&'a Draid>, places: &mut Vec<Place<'a>>) {
        self.find_places(offset, draid, &mut Vec::new(), places);
        if places.len() > 1 {
            places.sort_by_key(|place| match &place.leaf.kind {
                VdevKind::Leaf { device: Some(_), is_stale, .. } => u8::from(*is_stale),
                _ => 2,
            });
        }
    }

    fn find_places<'a>(
        &'a self,
        offset: u64,
        draid: Option<&'a Draid>,
        spares: &mut Vec<u64>,
        places: &mut Vec<Place<'a>>,
    ) {
        match &self.kind {
            VdevKind::Leaf { .. } => places.push(Place { leaf: self, offset }),
            VdevKind::Mirror(children) => {
                children.iter().for_each(|child| child.find_places(offset, draid, spares, places));
            }
            // The disk may itself be replaced by a spare, another one.
            VdevKind::DraidSpare(spare) if !spares.contains(spare) => {
                spares.push(*spare);
                if let Some(disk) = draid.and_then(|draid| draid.spare_at(*spare, offset)) {
                    disk.find_places(offset, draid, spares, places);
                }
            }
            _ => {}
        }
    }
}

/// Where `size` bytes at an offset of the allocatable space of a top-level vdev
/// are, if they were allocated in transaction group `birth`.
///
/// # Errors
/// If that is nowhere.
pub(crate) fn map(
    vdevs: &BTreeMap<u32, Vdev>,
    id: u32,
    offset: u64,
    size: usize,
    birth: u64,
) -> Result<Map<'_>, String> {
    map_moved(vdevs, id, offset, size, birth, 0)
}

fn map_moved(
    vdevs: &BTreeMap<u32, Vdev>,
    id: u32,
    offset: u64,
    size: usize,
    birth: u64,
    removals: usize,
) -> Result<Map<'_>, String> {
    let vdev = vdevs.get(&id).ok_or_else(|| format!("there is no vdev {id}"))?;
    let allocated = vdev.allocated_size(size as u64, birth);
    if offset.checked_add(allocated).is_none_or(|end| end > vdev.asize) {
        return Err(format!("the block ends beyond vdev {id}, at {:#x}", vdev.asize));
    }
    match &vdev.kind {
        VdevKind::Raidz(raidz) => Ok(raidz.map(vdev.ashift, offset, size, birth)),
        VdevKind::Draid(draid) => draid.map(vdev.ashift, offset, size),
        VdevKind::Indirect(indirect) if removals < MAX_REMOVALS => {
            let mut map = Map::default();
            let mut done = 0;
            for part in indirect.resolve(offset, size)? {
                let length = part.asize as usize;
                map.append(map_moved(vdevs, part.vdev, part.offset, length, birth, removals + 1)?, done);
                done += length;
            }
            Ok(map)
        }
        VdevKind::Indirect(_) => Err("removed vdevs lead to one another".into()),
        VdevKind::Hole => Err(format!("vdev {id} is a hole")),
        VdevKind::Leaf { .. } | VdevKind::Mirror(_) | VdevKind::DraidSpare(_) => {
            let mut places = Vec::new();
            vdev.places(offset.saturating_add(label::START_SIZE), None, &mut places);
            // What a block leaves of its last sector is written as zeros (`vdev_io_start`).
            let padding = allocated as usize - size;
            let column = Column { places, child: 0, at: 0, length: size, padding, sector: 0 };
            Ok(Map { rows: vec![Row { parity: 0, columns: vec![column] }], old_widths: Vec::new() })
        }
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

fn malformed(what: &'static str, found: String, expected: &'static str) -> Error {
    Error::Malformed { what, found, expected }
}
