//! Compares the files of a pool with the tree that it was made from.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use zfs_pool::fs::{File, FileType};
use zfs_pool::{Dataset, DatasetKind, FileSystem, Pool, PropertyValue};

use crate::failure::Failure;

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    pub(super) files: u64,
    pub(super) datasets: u64,
}

/// Compares all files of all datasets with those below `tree` that their mountpoints
/// lead to, and makes sure that none is missing.
pub(super) fn all(pool: &Pool, tree: &Path) -> Result<Compared, Failure> {
    let datasets = pool.datasets()?;
    let mut mountpoints: HashMap<String, String> = HashMap::new();
    let mut walk = Walk { compared: Compared::default(), covered: Vec::new() };
    for dataset in datasets.iter().filter(|dataset| dataset.kind == DatasetKind::Head) {
        let properties: HashMap<_, _> = dataset.properties()?.into_iter().collect();
        let mountpoint = mountpoint(dataset, &properties, &mountpoints);
        mountpoints.insert(dataset.name.clone(), mountpoint.clone());
        let mounted = properties.get("canmount") != Some(&PropertyValue::Number(0));
        if mounted && mountpoint.starts_with('/') {
            walk.compared.datasets += 1;
            walk.covered.push((tree.join(mountpoint.trim_start_matches('/')), dataset.clone()));
        }
    }
    for (path, dataset) in walk.covered.clone() {
        // A layout has datasets that the tree has no files for.
        if path.exists() {
            let root = FileSystem::open(&dataset)?.root()?;
            walk.directory(&root, &path)?;
        }
    }
    let expected = count(tree).map_err(|error| Failure::work(tree.display(), error))?;
    if walk.compared.files != expected {
        return Err(Failure::Work(format!("the pool has {} files, the tree {expected}", walk.compared.files)));
    }
    Ok(walk.compared)
}

fn mountpoint(
    dataset: &Dataset,
    properties: &HashMap<String, PropertyValue>,
    above: &HashMap<String, String>,
) -> String {
    match (properties.get("mountpoint"), dataset.name.rsplit_once('/')) {
        (Some(PropertyValue::Text(path)), _) => path.clone(),
        (_, Some((parent, name))) => match above.get(parent).map(String::as_str) {
            Some(parent) if parent.starts_with('/') => format!("{}/{name}", parent.trim_end_matches('/')),
            _ => "none".to_owned(),
        },
        (_, None) => format!("/{}", dataset.name),
    }
}

struct Walk {
    compared: Compared,
    /// Where datasets are mounted.
    covered: Vec<(PathBuf, Dataset)>,
}

impl Walk {
    fn directory(&mut self, directory: &File, path: &Path) -> Result<(), Failure> {
        for entry in directory.directory()?.entries() {
            let entry = entry?;
            let path = path.join(OsStr::from_bytes(&entry.name));
            if self.covered.iter().any(|(mounted, _)| *mounted == path) {
                // It is compared with what is mounted on it, and counted here.
                self.compared.files += u64::from(path.exists());
                continue;
            }
            // Only for other datasets to be mounted below.
            let needed = self.covered.iter().any(|(mounted, _)| mounted.starts_with(&path));
            if needed && !path.exists() {
                continue;
            }
            let file = directory.file_system().file(entry.object)?;
            self.file(&file, &path)?;
        }
        Ok(())
    }

    fn file(&mut self, file: &File, path: &Path) -> Result<(), Failure> {
        let source = fs::symlink_metadata(path).map_err(|error| Failure::work(path.display(), error))?;
        self.compared.files += 1;
        let differs = |what: &str| Err(Failure::Work(format!("{}: the {what} differs in the pool", path.display())));
        let attributes = file.attributes();
        if !source.is_symlink() && attributes.mode & 0o7777 != u64::from(source.mode() & 0o7777) {
            return differs("mode");
        }
        match attributes.file_type() {
            Some(FileType::Directory) if source.is_dir() => self.directory(file, path),
            Some(FileType::Symlink) if source.is_symlink() => {
                let target = fs::read_link(path).map_err(|error| Failure::work(path.display(), error))?;
                if file.link_target()? == target.as_os_str().as_bytes() { Ok(()) } else { differs("target") }
            }
            Some(FileType::Regular) if source.is_file() => {
                if attributes.links != source.nlink() {
                    return differs("number of links");
                }
                if attributes.size != source.len() || !same_contents(file, path)? {
                    return differs("contents");
                }
                Ok(())
            }
            _ => differs("type"),
        }
    }
}

fn same_contents(file: &File, path: &Path) -> Result<bool, Failure> {
    let failed = |error| Failure::work(path.display(), error);
    let source = fs::File::open(path).map_err(failed)?;
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut offset = 0;
    loop {
        let count = file.read_at(offset, &mut ours)?;
        if count == 0 {
            return Ok(true);
        }
        source.read_exact_at(&mut theirs[..count], offset).map_err(failed)?;
        if ours[..count] != theirs[..count] {
            return Ok(false);
        }
        offset += count as u64;
    }
}

/// The names below a directory.
fn count(directory: &Path) -> std::io::Result<u64> {
    let mut names = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        names += 1;
        if entry.file_type()?.is_dir() {
            names += count(&entry.path())?;
        }
    }
    Ok(names)
}
