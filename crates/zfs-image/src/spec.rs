//! What to build: the pool, its datasets and snapshots.

use zfs_ondisk::feature::FeatureSet;
use zfs_ondisk::property::{self, Assignment, PoolProperty, PoolStorage, Storage, StoredValue, Types};
use zfs_ondisk::znode::ZPL_VERSION;

use crate::encryption::KeyFile;
use crate::error::Error;
use crate::vdev::{Shape, VdevKind};

/// Properties that the master node of a file system keeps.
pub(crate) const MASTER_NODE_PROPERTIES: [&str; 3] = ["normalization", "utf8only", "casesensitivity"];

/// The longest name of a dataset, with its NUL (`ZFS_MAX_DATASET_NAME_LEN`).
const MAX_DATASET_NAME: usize = 256;

/// A pool to be built.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Its name.
    pub name: String,
    /// Binary logarithm of the sector size: 9 to 16.
    pub ashift: u32,
    /// Size of each device in bytes; `None` for room for the contents and some more.
    pub size: Option<u64>,
    /// Size of a metaslab in bytes, a power of two of 16 MiB at least; `None`
    /// for one that fits the image's size.
    pub metaslab_size: Option<u64>,
    /// The pool's GUID; `None` for one that follows from contents and options.
    pub guid: Option<u64>,
    /// Features that are enabled.
    pub features: FeatureSet,
    /// The vdevs, and what their labels say of them.
    pub vdev: VdevSpec,
    /// Datasets, with the root's properties if it has any. Ancestors must be
    /// listed, in any order.
    pub datasets: Vec<DatasetSpec>,
    /// The dataset that is booted.
    pub bootfs: Option<String>,
    /// The path that the tree's root stands for among mountpoints, such as
    /// `/`; `None` for `/` if a dataset is mounted there, else for `/` and the
    /// pool's name.
    pub root_path: Option<String>,
    /// Snapshots of what was built.
    pub snapshots: Vec<SnapshotSpec>,
    /// Properties of the pool by the names of `zpool set`, ready to be stored.
    pub properties: Vec<Assignment>,
    /// What becomes of a hard link from one dataset into another.
    pub cross_links: CrossLinks,
    /// When pool, datasets and snapshots were made: seconds since 1970.
    pub creation_time: u64,
    /// Whether the first import is to verify all blocks, which takes long.
    pub verify_on_import: bool,
}

impl PoolSpec {
    /// A pool with the defaults: sectors of 4 KiB, the features of
    /// [`FeatureSet::portable`], one dataset.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ashift: 12,
            size: None,
            metaslab_size: None,
            guid: None,
            features: FeatureSet::portable(),
            vdev: VdevSpec::default(),
            datasets: Vec::new(),
            bootfs: None,
            root_path: None,
            snapshots: Vec::new(),
            properties: Vec::new(),
            cross_links: CrossLinks::Refuse,
            creation_time: 0,
            verify_on_import: false,
        }
    }
}

/// The vdevs, and what their labels say of them.
#[derive(Clone, Debug)]
pub struct VdevSpec {
    /// What the top-level vdevs are.
    pub kind: VdevKind,
    /// How many there are: the devices are divided among them.
    pub count: usize,
    /// Whether the devices are disks; otherwise files.
    pub disk: bool,
    /// Where each device was last seen; the last one counts for those that follow. A
    /// system that finds the pool elsewhere writes down where.
    pub paths: Vec<String>,
}

impl VdevSpec {
    /// How `devices` devices make up the vdevs.
    ///
    /// # Errors
    /// [`Error::Spec`] if they cannot.
    pub(crate) fn shape(&self, devices: usize, ashift: u32) -> Result<Shape, Error> {
        let failed = |what: String| Err(Error::Spec(what));
        let Self { kind, count, .. } = *self;
        if matches!(kind, VdevKind::Raidz(parity) if !(1..=3).contains(&parity)) {
            return failed("raidz has a parity of 1 to 3".to_owned());
        }
        if count == 0 || !devices.is_multiple_of(count) {
            return failed(format!("{devices} images cannot be divided among {count} vdevs"));
        }
        let children = devices / count;
        let (least, most) = (kind.min_devices(), kind.max_devices());
        if !(least..=most).contains(&children) {
            let expected = if least == most { format!("{least}") } else { format!("{least} to {most}") };
            return failed(format!("a vdev of this type has {expected} images, and here {children}"));
        }
        Ok(Shape { kind, count, children, ashift })
    }

    /// Where a device was last seen.
    pub(crate) fn path(&self, device: usize) -> &str {
        self.paths.get(device).or(self.paths.last()).map_or("/dev/null", String::as_str)
    }
}

impl Default for VdevSpec {
    fn default() -> Self {
        Self { kind: VdevKind::Single, count: 1, disk: true, paths: Vec::new() }
    }
}

/// What becomes of a hard link from one dataset into another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossLinks {
    /// The build fails and names both paths.
    #[default]
    Refuse,
    /// Each dataset gets a file of its own.
    Copy,
}

/// A dataset to be built.
#[derive(Clone, Debug, Default)]
pub struct DatasetSpec {
    /// Its full name.
    pub name: String,
    /// Properties that it has itself.
    pub properties: Vec<Assignment>,
    /// The snapshot of which it is a clone, such as `zroot/ROOT/default@a`: one that
    /// is among [`PoolSpec::snapshots`], of a dataset that is no clone. A clone gets
    /// no files of its own.
    pub origin: Option<String>,
    /// The key of an encryption root, in the form that its property `keyformat` says.
    pub key: Option<KeyFile>,
}

impl DatasetSpec {
    /// A dataset from a name and properties, such as
    /// `zroot/ROOT/default;mountpoint=/;canmount=noauto`.
    ///
    /// # Errors
    /// [`Error::Spec`] if the name or a property is not valid.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = text.split(';');
        let name = parts.next().unwrap_or_default().to_owned();
        match name.contains('/') {
            true => check_dataset_name(&name)?,
            false => check_pool_name(&name)?,
        }
        let mut dataset = Self { name, ..Self::default() };
        for part in parts.filter(|part| !part.is_empty()) {
            let Some((property, value)) = part.split_once('=') else {
                return Err(Error::Spec(format!(
                    "dataset {}: {part:?} is no property; name=value expected",
                    dataset.name
                )));
            };
            dataset.set(property, value)?;
        }
        Ok(dataset)
    }

    /// Sets a property.
    ///
    /// # Errors
    /// [`Error::Spec`] if it is unknown, cannot be set, or is set already.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let failed = |what: String| Error::Spec(format!("dataset {}: {what}", self.name));
        let assignment = property::parse(name, value, Types::FILESYSTEM).map_err(|error| failed(error.to_string()))?;
        if self.properties.iter().any(|earlier| earlier.key == assignment.key) {
            return Err(failed(format!("{name} is given twice")));
        }
        self.properties.push(assignment);
        Ok(())
    }
}

/// A snapshot to be made of what was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSpec {
    /// The dataset; `None` for all.
    pub dataset: Option<String>,
    /// The part of the name after the `@`.
    pub name: String,
}

impl SnapshotSpec {
    /// A snapshot from `@name`, for all datasets, or `pool/dataset@name`.
    ///
    /// # Errors
    /// [`Error::Spec`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let Some((dataset, name)) = text.split_once('@') else {
            return Err(Error::Spec(format!("snapshot {text:?}: @name or dataset@name expected")));
        };
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return Err(Error::Spec(format!("snapshot {text:?}: letters, digits and -_.: expected after the @")));
        }
        if !dataset.is_empty() {
            check_dataset_name(dataset)?;
        }
        Ok(Self { dataset: (!dataset.is_empty()).then(|| dataset.to_owned()), name: name.to_owned() })
    }
}

/// The datasets that FreeBSD's installer makes (`usr.sbin/bsdinstall/scripts/zfsboot`)
/// in a pool called `pool`, with the boot environment `default`.
pub fn bsdinstall_layout(pool: &str) -> Vec<DatasetSpec> {
    let datasets = [
        ("", ";mountpoint=/POOL;compression=lz4;atime=off"),
        ("/ROOT", ";mountpoint=none"),
        ("/ROOT/default", ";mountpoint=/;canmount=noauto"),
        ("/home", ";mountpoint=/home"),
        ("/tmp", ";mountpoint=/tmp;exec=on;setuid=off"),
        ("/usr", ";mountpoint=/usr;canmount=off"),
        ("/usr/ports", ";setuid=off"),
        ("/usr/src", ""),
        ("/var", ";mountpoint=/var;canmount=off"),
        ("/var/audit", ";exec=off;setuid=off"),
        ("/var/crash", ";exec=off;setuid=off"),
        ("/var/log", ";exec=off;setuid=off"),
        ("/var/mail", ";atime=on"),
        ("/var/tmp", ";setuid=off"),
    ];
    datasets
        .iter()
        .filter_map(|(name, properties)| {
            DatasetSpec::parse(&format!("{pool}{name}{}", properties.replace("POOL", pool))).ok()
        })
        .collect()
}

/// Checks what does not depend on the contents.
pub(crate) fn check(spec: &PoolSpec) -> Result<(), Error> {
    let failed = |what: String| Err(Error::Spec(what));
    check_pool_name(&spec.name)?;
    if !(9..=16).contains(&spec.ashift) {
        return failed(format!("ashift {} is not possible: 9 to 16 expected", spec.ashift));
    }
    if let Some(size) = spec.metaslab_size
        && (!size.is_power_of_two() || !(1 << 24..=1 << 34).contains(&size))
    {
        return failed(format!("a metaslab of {size} bytes is not possible: a power of two from 16m to 16g expected"));
    }
    if spec.guid == Some(0) {
        return failed("the GUID 0 is not possible".to_owned());
    }
    for property in &spec.properties {
        let settable = |known: &PoolProperty| {
            matches!(known.storage, PoolStorage::PoolProps | PoolStorage::Config)
                && !["bootfs", "version"].contains(&known.name)
        };
        if !PoolProperty::find(&property.key).is_none_or(settable) {
            return failed(format!("pool property {} cannot be set; some have an option of their own", property.key));
        }
    }
    let missing = spec.features.closure().difference(spec.features);
    if let Some(feature) = missing.iter().next() {
        return failed(format!("the compatibility set leaves out {}, which other features need", feature.name()));
    }
    for dataset in &spec.datasets {
        for property in &dataset.properties {
            if property.key == "VERSION" && !is_supported(property) {
                let (dataset, version) = (&dataset.name, ZPL_VERSION);
                return failed(format!("dataset {dataset}: file systems of version {version} are made, no older ones"));
            }
            if !is_supported(property) {
                return failed(format!("dataset {}: {} with this value cannot be built", dataset.name, property.key));
            }
            if dataset.origin.is_some() && matches!(property.storage(), Storage::MasterNode | Storage::CryptoKey) {
                return failed(format!("dataset {}: a clone has the {} of its origin", dataset.name, property.key));
            }
        }
    }
    Ok(())
}

/// Whether a dataset can be built with a property: not if that means an older version
/// of the file system.
fn is_supported(property: &Assignment) -> bool {
    match property.storage() {
        Storage::CryptoKey | Storage::Props | Storage::DirPhys => true,
        Storage::MasterNode => match property.key.as_str() {
            "VERSION" => property.value == StoredValue::Number(ZPL_VERSION),
            key => MASTER_NODE_PROPERTIES.contains(&key),
        },
        Storage::Volume | Storage::Computed => false,
    }
}

/// Checks the name of a pool (zpool-create(8)).
///
/// # Errors
/// [`Error::Spec`] with what is wrong.
fn check_pool_name(name: &str) -> Result<(), Error> {
    let failed = |what: &str| Err(Error::Spec(format!("pool name {name:?}: {what}")));
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return failed("it must begin with a letter");
    }
    if !name.bytes().all(is_name_byte) {
        return failed("letters, digits and -_.: expected");
    }
    if ["mirror", "raidz", "draid", "spare"].iter().any(|reserved| name.starts_with(reserved)) || name == "log" {
        return failed("it is reserved");
    }
    Ok(())
}

fn check_dataset_name(name: &str) -> Result<(), Error> {
    let valid = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_name_byte);
    if name.len() >= MAX_DATASET_NAME || !name.split('/').all(valid) {
        return Err(Error::Spec(format!(
            "dataset name {name:?}: letters, digits and -_.: between slashes expected, {} bytes at most",
            MAX_DATASET_NAME - 1
        )));
    }
    Ok(())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_is_a_name_and_properties() {
        let dataset =
            DatasetSpec::parse("zroot/ROOT/default;mountpoint=/;canmount=noauto;org.example:key=a b").unwrap();
        assert_eq!(dataset.name, "zroot/ROOT/default");
        let keys: Vec<&str> = dataset.properties.iter().map(|property| property.key.as_str()).collect();
        assert_eq!(keys, ["mountpoint", "canmount", "org.example:key"]);
    }

    #[test]
    fn what_is_wrong_with_a_dataset_is_said() {
        let message = |text| DatasetSpec::parse(text).unwrap_err().to_string();
        assert!(message("a//b").contains("letters, digits"));
        assert!(message("zroot;atime").contains("name=value expected"));
        assert!(message("zroot;atime=maybe").contains("on"), "accepted values are listed");
        assert!(message("zroot;atim=on").contains("did you mean atime"));
        assert!(message("zroot;atime=on;atime=off").contains("twice"));
    }

    #[test]
    fn a_snapshot_is_of_all_datasets_or_of_one() {
        let all = SnapshotSpec::parse("@install").unwrap();
        assert_eq!((all.dataset, all.name.as_str()), (None, "install"));
        let one = SnapshotSpec::parse("zroot/usr@a").unwrap();
        assert_eq!(one.dataset.as_deref(), Some("zroot/usr"));
        assert!(SnapshotSpec::parse("install").is_err());
        assert!(SnapshotSpec::parse("@").is_err());
    }

    #[test]
    fn names_that_zpool_reserves_are_refused() {
        for name in ["mirror", "raidz2", "log", "1st", "", "a/b", "a b"] {
            assert!(check(&PoolSpec::new(name)).is_err(), "{name}");
        }
        assert!(check(&PoolSpec::new("zroot")).is_ok());
    }

    #[test]
    fn what_cannot_be_built_is_refused_and_not_left_out() {
        let checked = |text: &str| {
            let mut spec = PoolSpec::new("p");
            spec.features = FeatureSet::all();
            spec.datasets = vec![DatasetSpec::parse(text).unwrap()];
            check(&spec)
        };
        assert!(checked("p;version=4").is_err());
        assert!(checked("p;encryption=off;version=5;utf8only=on").is_ok());
    }

    #[test]
    fn the_installers_layout_has_all_its_datasets() {
        let layout = bsdinstall_layout("zroot");
        assert_eq!(layout.len(), 14);
        assert!(layout.iter().any(|dataset| dataset.name == "zroot/ROOT/default"));
    }
}
