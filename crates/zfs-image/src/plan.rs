//! Which file belongs to which dataset, and which object it becomes.

use std::collections::HashMap;

use tree::{Kind, NodeId, Tree};
use zfs_ondisk::feature::Feature;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::property::{Assignment, StoredValue};

use crate::attributes::{self, XattrPlan, printable};
use crate::encryption::{self, Encryption};
use crate::error::Error;
use crate::settings::{Properties, Settings};
use crate::spec::{CrossLinks, DatasetSpec, MASTER_NODE_PROPERTIES, PoolSpec};

/// `canmount=off`; `noauto` is 2.
const CANMOUNT_OFF: u64 = 0;
const CANMOUNT_ON: u64 = 1;

/// The first object of a file system that may be a file.
const FIRST_FILE: ObjectId = ObjectId(2);

/// A pool's datasets and what they hold.
pub(crate) struct Plan {
    /// Datasets by name, so that parents come before their children.
    pub(crate) datasets: Vec<Dataset>,
    objects: Objects,
}

/// A dataset and what it holds.
pub(crate) struct Dataset {
    pub(crate) name: String,
    /// Index of the dataset above.
    pub(crate) parent: Option<usize>,
    pub(crate) properties: Vec<Assignment>,
    pub(crate) settings: Settings,
    /// The directory of the tree that becomes its root.
    pub(crate) root: Option<NodeId>,
    /// Its files in the order of their objects, the root first.
    pub(crate) files: Vec<NodeId>,
    /// The first object after its files.
    pub(crate) end: ObjectId,
    /// Names of its snapshots.
    pub(crate) snapshots: Vec<String>,
    /// The snapshot of which it is a clone.
    pub(crate) origin: Option<Origin>,
    /// How it is encrypted.
    pub(crate) encryption: Option<Encryption>,
}

/// A snapshot that has clones, by indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Of its dataset.
    pub(crate) dataset: usize,
    /// Among the snapshots of that.
    pub(crate) snapshot: usize,
}

impl Dataset {
    /// Properties that the master node keeps, with their values.
    pub(crate) fn master_node_properties(&self) -> Vec<(&'static str, u64)> {
        let own = Properties(vec![&self.properties]);
        MASTER_NODE_PROPERTIES.into_iter().map(|name| (name, own.number(name))).collect()
    }

    /// The object of its root directory: the first that a dnode of the dataset's
    /// size may have without crossing a block of dnodes.
    pub(crate) fn root_object(&self) -> ObjectId {
        ObjectId(FIRST_FILE.0.next_multiple_of(self.settings.dnode_slots as u64))
    }
}

/// Object numbers of files.
#[derive(Default)]
struct Objects {
    /// By node, 0 for none. Files in several datasets are in `shared` instead.
    files: Vec<u32>,
    /// Files with several names, by dataset.
    shared: HashMap<(u32, NodeId), Shared>,
    /// Directories where another dataset is mounted, in the dataset above.
    mountpoints: HashMap<NodeId, u32>,
}

#[derive(Clone, Copy)]
struct Shared {
    object: u32,
    links: u32,
}

impl Plan {
    /// Divides the tree among the datasets.
    pub(crate) fn new(tree: &Tree, spec: &PoolSpec) -> Result<Self, Error> {
        let mut datasets = arrange(spec)?;
        let mounts = mounts(spec, &datasets)?;
        let mut roots = HashMap::new();
        for (path, &index) in &mounts {
            let root = tree.lookup(path.as_bytes()).filter(|&node| tree.node(node).kind == Kind::Directory);
            let root = root.ok_or_else(|| {
                Error::Spec(format!("dataset {}: {path} is no directory of the tree", datasets[index].name))
            })?;
            datasets[index].root = Some(root);
            roots.insert(root, index);
        }
        if !roots.contains_key(&tree.root()) {
            return Err(Error::Spec(
                "no dataset is mounted at the root of the tree: give one mountpoint=/, or a matching root path"
                    .to_owned(),
            ));
        }
        let mut objects = Objects { files: vec![0; tree.len()], ..Objects::default() };
        for index in 0..datasets.len() {
            Walk { tree, spec, roots: &roots, objects: &mut objects, index }.run(&mut datasets)?;
        }
        Ok(Self { datasets, objects })
    }

    /// The object that an entry of a directory of dataset `index` leads to.
    pub(crate) fn entry(&self, tree: &Tree, index: usize, node: NodeId) -> ObjectId {
        if let Some(&object) = self.objects.mountpoints.get(&node) {
            return ObjectId(object.into());
        }
        self.file(tree, index, node).0
    }

    /// The object and the number of names of a file of dataset `index`.
    pub(crate) fn file(&self, tree: &Tree, index: usize, node: NodeId) -> (ObjectId, u32) {
        if is_shared(tree, node) {
            return match self.objects.shared.get(&(index as u32, node)) {
                Some(shared) => (ObjectId(shared.object.into()), shared.links),
                None => (ObjectId(0), 0),
            };
        }
        (ObjectId(self.objects.files[node.index()].into()), tree.node(node).links)
    }

    /// Whether another dataset is mounted on a directory of dataset `index`.
    pub(crate) fn is_mountpoint(&self, index: usize, node: NodeId) -> bool {
        self.datasets[index].root != Some(node) && self.objects.mountpoints.contains_key(&node)
    }

    /// Bytes of memory that the plan holds.
    pub(crate) fn memory(&self) -> u64 {
        let files: usize = self.datasets.iter().map(|dataset| dataset.files.capacity()).sum();
        (4 * (files + self.objects.files.len()) + 32 * self.objects.shared.capacity()) as u64
    }
}

/// The directories of the tree that must exist for the datasets of a pool to be
/// mounted on, as paths from the tree's root.
///
/// # Errors
/// [`Error::Spec`] if the datasets contradict each other.
pub fn mountpoints(spec: &PoolSpec) -> Result<Vec<String>, Error> {
    crate::spec::check(spec)?;
    let mut paths: Vec<String> = mounts(spec, &arrange(spec)?)?.into_keys().collect();
    paths.sort();
    Ok(paths)
}

/// The datasets by name, each with its parent and settings.
fn arrange(spec: &PoolSpec) -> Result<Vec<Dataset>, Error> {
    let mut specs: Vec<DatasetSpec> = spec.datasets.clone();
    if !specs.iter().any(|dataset| dataset.name == spec.name) {
        specs.push(DatasetSpec { name: spec.name.clone(), ..DatasetSpec::default() });
    }
    specs.sort_by(|a, b| a.name.split('/').cmp(b.name.split('/')));
    let mut datasets: Vec<Dataset> = Vec::with_capacity(specs.len());
    let mut clones = Vec::new();
    for dataset in specs {
        let failed = |what: &str| Err(Error::Spec(format!("dataset {}: {what}", dataset.name)));
        let find = |name: &str| datasets.iter().position(|other| other.name == name);
        if find(&dataset.name).is_some() {
            return failed("it is given twice");
        }
        let parent = match dataset.name.rsplit_once('/') {
            Some((parent, _)) => match find(parent) {
                Some(index) => Some(index),
                None if dataset.name.split('/').next() != Some(spec.name.as_str()) => {
                    return failed(&format!("it is not in the pool {}", spec.name));
                }
                None => return failed(&format!("there is no dataset {parent} above it; give that one, too")),
            },
            None if dataset.name == spec.name => None,
            None => return failed(&format!("it is not in the pool {}", spec.name)),
        };
        let settings = {
            let mut own: Vec<&[Assignment]> = vec![&dataset.properties];
            let mut above = parent;
            while let Some(index) = above {
                own.push(&datasets[index].properties);
                above = datasets[index].parent;
            }
            Settings::of(&dataset.name, &Properties(own), spec.features)?
        };
        let encryption = encryption::of(&dataset, datasets.len(), parent.map(|index| &datasets[index]))?;
        let settings = match encryption {
            // A clone has what its origin has.
            Some(Encryption { suite, .. }) if dataset.origin.is_none() => {
                if !spec.features.contains(Feature::Encryption) {
                    return failed("encryption needs a feature that the compatibility set leaves out");
                }
                settings.encrypted(&dataset.name, datasets.len(), suite)?
            }
            _ => settings,
        };
        if let Some(origin) = dataset.origin {
            clones.push((datasets.len(), origin));
        }
        datasets.push(Dataset {
            name: dataset.name,
            parent,
            properties: dataset.properties,
            settings,
            root: None,
            files: Vec::new(),
            end: FIRST_FILE,
            snapshots: Vec::new(),
            origin: None,
            encryption,
        });
    }
    for snapshot in &spec.snapshots {
        let matching: Vec<&mut Dataset> = datasets
            .iter_mut()
            .filter(|dataset| snapshot.dataset.as_ref().is_none_or(|name| *name == dataset.name))
            .collect();
        if matching.is_empty() {
            let name = snapshot.dataset.clone().unwrap_or_default();
            return Err(Error::Spec(format!("snapshot {name}@{}: there is no such dataset", snapshot.name)));
        }
        for dataset in matching {
            if dataset.snapshots.contains(&snapshot.name) {
                return Err(Error::Spec(format!("snapshot {}@{} is given twice", dataset.name, snapshot.name)));
            }
            dataset.snapshots.push(snapshot.name.clone());
        }
    }
    for (index, origin) in clones {
        set_origin(&mut datasets, index, &origin)?;
    }
    if let Some(bootfs) = &spec.bootfs
        && !datasets.iter().any(|dataset| dataset.name == *bootfs)
    {
        return Err(Error::Spec(format!("bootfs {bootfs}: there is no such dataset")));
    }
    Ok(datasets)
}

/// Makes a dataset a clone of the snapshot of this name.
fn set_origin(datasets: &mut [Dataset], index: usize, name: &str) -> Result<(), Error> {
    let failed = |what: &str| Err(Error::Spec(format!("dataset {}: its origin {name} {what}", datasets[index].name)));
    let (dataset, snapshot) = name.split_once('@').unwrap_or((name, ""));
    let Some(origin) = datasets.iter().position(|other| other.name == dataset).and_then(|dataset| {
        let snapshot = datasets[dataset].snapshots.iter().position(|other| other == snapshot)?;
        Some(Origin { dataset, snapshot })
    }) else {
        return failed("is not among the snapshots; give that one, too");
    };
    if origin.dataset == index || datasets[origin.dataset].origin.is_some() {
        return failed("is a snapshot of a clone; give one of the dataset that has the files");
    }
    // What follows from the contents, it has of them.
    let Settings { norm_flags, features, .. } = datasets[origin.dataset].settings;
    let encryption = datasets[origin.dataset].encryption;
    let clone = &mut datasets[index];
    clone.encryption = encryption;
    clone.settings = Settings { norm_flags, features, ..clone.settings.clone() };
    clone.origin = Some(origin);
    Ok(())
}

/// Datasets that can be mounted, by their paths in the tree.
fn mounts(spec: &PoolSpec, datasets: &[Dataset]) -> Result<HashMap<String, usize>, Error> {
    let mut paths: Vec<Option<String>> = Vec::with_capacity(datasets.len());
    for dataset in datasets {
        let properties = Properties(vec![&dataset.properties]);
        let path = match (properties.own("mountpoint"), dataset.parent) {
            (Some(StoredValue::Text(path)), _) if path.starts_with('/') => Some(path.clone()),
            (Some(_), _) => None,
            (None, None) => Some(spec.root_path.clone().unwrap_or_else(|| format!("/{}", spec.name))),
            (None, Some(parent)) => paths[parent].as_ref().map(|above| {
                let name = dataset.name.rsplit('/').next().unwrap_or_default();
                format!("{}/{name}", above.trim_end_matches('/'))
            }),
        };
        paths.push(path);
    }
    let canmount = |index: usize| Properties(vec![&datasets[index].properties]).number("canmount");
    let mountable: Vec<(usize, &String)> = paths
        .iter()
        .enumerate()
        .filter(|(index, _)| canmount(*index) != CANMOUNT_OFF && datasets[*index].origin.is_none())
        .filter_map(|(index, path)| Some((index, path.as_ref()?)))
        .collect();
    let root_path = match &spec.root_path {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None if mountable.iter().any(|(_, path)| *path == "/") => String::new(),
        None => format!("/{}", spec.name),
    };
    let mut mounts: HashMap<String, usize> = HashMap::new();
    for (index, path) in mountable {
        let Some(inside) = path.trim_end_matches('/').strip_prefix(root_path.as_str()) else { continue };
        if !inside.is_empty() && !inside.starts_with('/') {
            continue;
        }
        let inside = if inside.is_empty() { "/".to_owned() } else { inside.to_owned() };
        let Some(&other) = mounts.get(&inside) else {
            mounts.insert(inside, index);
            continue;
        };
        // Of several boot environments, the one that is booted gets the files.
        let rank = |index: usize| (spec.bootfs.as_ref() == Some(&datasets[index].name), canmount(index) == CANMOUNT_ON);
        match rank(index).cmp(&rank(other)) {
            std::cmp::Ordering::Greater => drop(mounts.insert(inside, index)),
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                return Err(Error::Spec(format!(
                    "datasets {} and {} are both mounted on {path}; make one of them the bootfs",
                    datasets[other].name, datasets[index].name
                )));
            }
        }
    }
    Ok(mounts)
}

/// A walk through the files of one dataset that numbers them.
struct Walk<'a> {
    tree: &'a Tree,
    spec: &'a PoolSpec,
    roots: &'a HashMap<NodeId, usize>,
    objects: &'a mut Objects,
    index: usize,
}

impl Walk<'_> {
    fn run(&mut self, datasets: &mut [Dataset]) -> Result<(), Error> {
        let settings = datasets[self.index].settings.clone();
        let slots = settings.dnode_slots as u64;
        let mut files = Vec::new();
        let mut next = datasets[self.index].root_object().0;
        let Some(root) = datasets[self.index].root else {
            datasets[self.index].end = ObjectId(next + slots);
            return Ok(());
        };
        let mut pending = vec![root];
        while let Some(node) = pending.pop() {
            let shared = is_shared(self.tree, node);
            if shared && self.known(datasets, node)? {
                continue;
            }
            let object = u32::try_from(next)
                .map_err(|_| Error::Spec("a dataset has more than 2^32 objects, which is not supported".to_owned()))?;
            let mountpoint = node != root && self.roots.contains_key(&node);
            files.push(node);
            next += slots;
            if mountpoint {
                self.objects.mountpoints.insert(node, object);
                continue;
            }
            if shared {
                self.objects.shared.insert((self.index as u32, node), Shared { object, links: 1 });
            } else {
                self.objects.files[node.index()] = object;
            }
            if let XattrPlan::Directory(xattrs) =
                attributes::xattr_plan(self.tree, node, settings.xattrs, settings.posix_acls)?
            {
                next += slots * (1 + xattrs.len() as u64);
            }
            if self.tree.node(node).kind == Kind::Directory {
                // Last in, first out: the first name is taken first.
                pending.extend(self.tree.entries(node).rev().map(|entry| entry.node));
            }
        }
        let dataset = &mut datasets[self.index];
        dataset.files = files;
        dataset.end = ObjectId(next);
        Ok(())
    }

    /// Counts another name of a file, if this dataset has one already.
    fn known(&mut self, datasets: &[Dataset], node: NodeId) -> Result<bool, Error> {
        if let Some(shared) = self.objects.shared.get_mut(&(self.index as u32, node)) {
            shared.links += 1;
            return Ok(true);
        }
        if self.spec.cross_links == CrossLinks::Refuse
            && let Some(other) = (0..self.index as u32).find(|other| self.objects.shared.contains_key(&(*other, node)))
        {
            let names = |index: usize| datasets[index].name.clone();
            let paths = self.link_paths(node);
            return Err(Error::CrossLink {
                first: paths.first().cloned().unwrap_or_default(),
                first_dataset: names(other as usize),
                second: paths.last().cloned().unwrap_or_default(),
                second_dataset: names(self.index),
            });
        }
        Ok(false)
    }

    /// Two names of a file in different datasets.
    fn link_paths(&self, node: NodeId) -> Vec<String> {
        let mut found: Vec<(usize, String)> = Vec::new();
        let mut pending = vec![(self.tree.root(), self.roots.get(&self.tree.root()).copied().unwrap_or(0))];
        while let Some((directory, dataset)) = pending.pop() {
            for entry in self.tree.entries(directory).rev() {
                if entry.node == node && !found.iter().any(|(other, _)| *other == dataset) {
                    let mut path = self.tree.path(directory);
                    if path != b"/" {
                        path.push(b'/');
                    }
                    path.extend_from_slice(entry.name);
                    found.push((dataset, printable(&path)));
                }
                if self.tree.node(entry.node).kind == Kind::Directory {
                    pending.push((entry.node, self.roots.get(&entry.node).copied().unwrap_or(dataset)));
                }
            }
        }
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }
}

fn is_shared(tree: &Tree, node: NodeId) -> bool {
    let node = tree.node(node);
    node.kind != Kind::Directory && node.links > 1
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn tree(make: impl FnOnce(&Path)) -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path());
        let mut builder = tree::Builder::new(tree::Options::default()).unwrap();
        builder.add_directory(directory.path()).unwrap();
        (directory, builder.finish().unwrap())
    }

    fn spec(datasets: &[&str]) -> PoolSpec {
        let mut spec = PoolSpec::new("p");
        spec.datasets = datasets.iter().map(|text| DatasetSpec::parse(text).unwrap()).collect();
        spec
    }

    /// The paths of a dataset's files.
    fn paths(tree: &Tree, plan: &Plan, name: &str) -> Vec<String> {
        let dataset = plan.datasets.iter().find(|dataset| dataset.name == name).unwrap();
        dataset.files.iter().map(|&node| printable(&tree.path(node))).collect()
    }

    #[test]
    fn files_go_to_the_dataset_that_covers_them() {
        let (_directory, tree) = tree(|root| {
            fs::create_dir_all(root.join("var/log")).unwrap();
            fs::write(root.join("var/log/messages"), "x").unwrap();
            fs::write(root.join("var/db"), "x").unwrap();
        });
        let plan = Plan::new(&tree, &spec(&["p;mountpoint=/", "p/var;canmount=off", "p/var/log"])).unwrap();
        assert_eq!(paths(&tree, &plan, "p"), ["/", "/var", "/var/db", "/var/log"]);
        assert_eq!(paths(&tree, &plan, "p/var"), [""; 0]);
        assert_eq!(paths(&tree, &plan, "p/var/log"), ["/var/log", "/var/log/messages"]);
        let log = tree.lookup(b"/var/log").unwrap();
        assert!(plan.is_mountpoint(0, log), "the dataset above keeps an empty directory");
        assert!(!plan.is_mountpoint(2, log));
    }

    #[test]
    fn without_a_dataset_at_the_root_everything_belongs_to_the_pools_own() {
        let (_directory, tree) = tree(|root| fs::write(root.join("file"), "x").unwrap());
        let plan = Plan::new(&tree, &spec(&[])).unwrap();
        assert_eq!(paths(&tree, &plan, "p"), ["/", "/file"]);
    }

    #[test]
    fn a_hard_link_across_datasets_is_refused_with_both_paths_or_copied() {
        let (_directory, tree) = tree(|root| {
            fs::create_dir(root.join("home")).unwrap();
            fs::write(root.join("a"), "x").unwrap();
            fs::hard_link(root.join("a"), root.join("home/b")).unwrap();
        });
        let mut spec = spec(&["p;mountpoint=/", "p/home"]);
        let message = Plan::new(&tree, &spec).map(drop).unwrap_err().to_string();
        assert!(message.starts_with("/a and /home/b are hard links to one file"), "{message}");
        spec.cross_links = CrossLinks::Copy;
        let plan = Plan::new(&tree, &spec).unwrap();
        let node = tree.lookup(b"/a").unwrap();
        assert_eq!((plan.file(&tree, 0, node).1, plan.file(&tree, 1, node).1), (1, 1));
    }

    #[test]
    fn links_within_a_dataset_are_one_object() {
        let (_directory, tree) = tree(|root| {
            fs::write(root.join("a"), "x").unwrap();
            fs::hard_link(root.join("a"), root.join("b")).unwrap();
        });
        let plan = Plan::new(&tree, &spec(&[])).unwrap();
        let (a, b) = (tree.lookup(b"/a").unwrap(), tree.lookup(b"/b").unwrap());
        assert_eq!(plan.file(&tree, 0, a), plan.file(&tree, 0, b));
        assert_eq!(plan.file(&tree, 0, a).1, 2);
        assert_eq!(plan.datasets[0].files.len(), 2);
    }

    #[test]
    fn a_dataset_whose_parent_is_missing_is_refused() {
        let (_directory, tree) = tree(|_| ());
        let message = |datasets: &[&str]| Plan::new(&tree, &spec(datasets)).map(drop).unwrap_err().to_string();
        assert!(message(&["p/a/b"]).contains("there is no dataset p/a above it"));
        assert!(message(&["q/a"]).contains("not in the pool p"));
        assert!(message(&["p/a", "p/a"]).contains("given twice"));
        assert!(message(&["p;mountpoint=/", "p/a;mountpoint=/"]).contains("both mounted on /"));
    }
}
