//! Finding the devices of pools: in folders, in disk images, in their partitions.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use disk::image::Unpacking;
use disk::{Part, image, partition};
use zfs_pool::{Device, Labels, PoolState};

use crate::failure::Failure;

/// The devices that were found, and what could not be looked at.
#[derive(Default)]
pub(super) struct Discovery {
    /// Members of pools, spares and caches.
    found: Vec<Labels>,
    /// Files and devices that were looked at, by device and inode number.
    seen: HashSet<(u64, u64)>,
    /// Why files in folders could not be looked at.
    pub(super) unreadable: Vec<String>,
}

/// A pool of which devices were found.
pub(super) struct FoundPool {
    pub(super) guid: u64,
    /// Its name in its newest label.
    pub(super) name: String,
    /// Its state in its newest label.
    pub(super) state: PoolState,
    /// Its devices.
    pub(super) members: Vec<Labels>,
}

impl Discovery {
    /// Looks at all files and disks in a folder, or at one.
    pub(super) fn search(&mut self, place: &Path) -> Result<(), Failure> {
        if !place.is_dir() {
            return self.examine(place, Unpacking::Temporary).map_err(Failure::Work);
        }
        for file in files_of(place).map_err(|error| Failure::work(place.display(), error))? {
            if let Err(why) = self.examine(&file, Unpacking::Never) {
                self.unreadable.push(why);
            }
        }
        Ok(())
    }

    /// How many files and disks were looked at.
    pub(super) fn examined(&self) -> usize {
        self.seen.len()
    }

    /// Looks at a file or disk: itself, and its partitions.
    fn examine(&mut self, path: &Path, unpacking: Unpacking) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let metadata = fs::metadata(path).map_err(failed)?;
        // A disk may have several nodes.
        let identity = if metadata.is_file() { (metadata.dev(), metadata.ino()) } else { (u64::MAX, metadata.rdev()) };
        if !self.seen.insert(identity) {
            return Ok(());
        }
        let image = image::open_with(path, unpacking).map_err(|error| match error {
            disk::Error::Io { .. } => error.to_string(),
            _ => format!("{}: {error}", path.display()),
        })?;
        let name = path.display().to_string();
        let mut candidates = vec![Device::new(&name, image.disk.clone())];
        // A disk that cannot be read where a table would be may still have labels.
        if let Ok(Some(table)) = partition::read(&image.disk) {
            candidates.extend(table.partitions.into_iter().map(|found| {
                let part = Part::new(image.disk.clone(), found.start, found.size);
                Device::new(format!("{name} ({})", found.name), part)
            }));
        }
        let mut members: Vec<Labels> = Vec::new();
        for device in candidates {
            let Some(labels) = Labels::may_be_on(&device).then(|| Labels::read(device).ok()).flatten() else {
                continue;
            };
            // A slice and the first partition in it begin at one place: the one of the
            // right size has the labels at the end, too.
            match members.iter_mut().find(|other| other.guid() == labels.guid()) {
                Some(other) if sound_labels(other) < sound_labels(&labels) => *other = labels,
                Some(_) => {}
                None => members.push(labels),
            }
        }
        self.found.extend(members);
        Ok(())
    }

    /// The pools of which devices were found, by name.
    pub(super) fn pools(&self) -> Vec<FoundPool> {
        let mut pools: BTreeMap<u64, Vec<Labels>> = BTreeMap::new();
        for labels in &self.found {
            if let Some(guid) = labels.pool_guid() {
                pools.entry(guid).or_default().push(labels.clone());
            }
        }
        let pool = |(guid, members): (u64, Vec<Labels>)| {
            let newest = members.iter().max_by_key(|labels| labels.txg());
            let name = newest.and_then(Labels::pool_name).unwrap_or("?").to_owned();
            let state = newest.map_or(PoolState::Unknown, Labels::state);
            FoundPool { guid, name, state, members }
        };
        let mut pools: Vec<FoundPool> = pools.into_iter().map(pool).collect();
        pools.sort_by(|a, b| (&a.name, a.guid).cmp(&(&b.name, b.guid)));
        pools
    }

    /// The spares and caches that were found, of whatever pool.
    pub(super) fn auxiliary(&self) -> impl Iterator<Item = &Labels> {
        self.found.iter().filter(|labels| labels.pool_guid().is_none())
    }
}

impl FoundPool {
    /// Whether the labels know of devices that were not found.
    pub(super) fn is_incomplete(&self) -> bool {
        let guids: HashSet<u64> = self.members.iter().filter_map(Labels::guid).collect();
        let tops: HashSet<u64> = self.members.iter().filter_map(|labels| labels.config.u64("top_guid").ok()).collect();
        let expected = self.members.iter().filter_map(|labels| labels.config.u64("vdev_children").ok()).max();
        let all_leaves = self.members.iter().all(|labels| {
            let tree = labels.config.list("vdev_tree");
            tree.is_ok_and(|tree| zfs_pool::leaf_guids(tree).iter().all(|guid| guids.contains(guid)))
        });
        !all_leaves || expected.is_none_or(|expected| expected != tops.len() as u64)
    }

    /// What identifies the pool to its user.
    pub(super) fn description(&self) -> String {
        let device = self.members.first().map_or("?", |labels| labels.device.name());
        match self.state {
            PoolState::Destroyed => format!("{} ({}, destroyed, on {device})", self.name, self.guid),
            _ => format!("{} ({}, on {device})", self.name, self.guid),
        }
    }
}

fn sound_labels(labels: &Labels) -> usize {
    labels.txgs.iter().flatten().count()
}

/// The regular files and the disks in a folder by name; those in folders below it
/// are left out.
fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Links are followed; those that lead nowhere are of no interest.
        let Ok(kind) = fs::metadata(&path).map(|metadata| metadata.file_type()) else { continue };
        // FreeBSD's disks are character devices.
        let is_disk = kind.is_block_device() || cfg!(target_os = "freebsd") && kind.is_char_device();
        if kind.is_file() || is_disk {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
