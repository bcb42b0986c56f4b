//! Opening a pool.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use zfs_ondisk::checksum::Salt;
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::uberblock::{self, Uberblock};

use crate::cache::Cache;
use crate::device::Device;
use crate::error::Error;
use crate::label::Labels;
use crate::object::ObjectSet;
use crate::vdev::{self, Members, Vdev};

/// Object of the MOS that says where everything else is
/// (`DMU_POOL_DIRECTORY_OBJECT`).
pub(crate) const DIRECTORY: ObjectId = ObjectId(1);
/// What the object set of the pool itself is called in messages.
pub(crate) const MOS: &str = "MOS";

/// The largest configuration in bytes that is read.
const MAX_CONFIG: u64 = 16 << 20;

/// Features that a reader must know, and this one does. Those that put blocks
/// elsewhere than plain disks and mirrors show as vdevs of other types.
const SUPPORTED_FEATURES: &[&str] = &[
    "com.datto:bookmark_v2",
    "com.datto:encryption",
    "com.delphix:bookmark_written",
    "com.delphix:device_removal",
    "com.delphix:embedded_data",
    "com.delphix:extensible_dataset",
    "com.delphix:head_errlog",
    "com.delphix:hole_birth",
    "com.delphix:redacted_datasets",
    "com.delphix:redaction_bookmarks",
    "com.delphix:redaction_list_spill",
    "com.joyent:multi_vdev_crash_dump",
    "com.klarasystems:vdev_zaps_v2",
    "org.freebsd:zstd_compress",
    "org.illumos:edonr",
    "org.illumos:lz4_compress",
    "org.illumos:sha512",
    "org.illumos:skein",
    "org.open-zfs:large_blocks",
    "org.openzfs:blake3",
    "org.openzfs:draid",
    "org.openzfs:raidz_expansion",
    "org.zfsonlinux:large_dnode",
    "org.zfsonlinux:longname",
];

/// A pool that was opened for reading. Clones share everything.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    name: String,
    guid: u64,
    uberblock: Uberblock,
    labels: Vec<Labels>,
    config: NvList,
    vdevs: BTreeMap<u32, Vdev>,
    salt: Option<Salt>,
    cache: Cache,
    /// Whether blocks are verified: tests of damage get past the checksums.
    verifies: bool,
}

impl Pool {
    /// Opens the pool that is on `devices`, as its newest uberblock describes it.
    ///
    /// Devices of the pool may be missing: what is on them cannot be read then.
    ///
    /// # Errors
    /// If a device is no member of a pool or they belong to several, a vdev or a
    /// feature is not supported, or the meta object set cannot be read.
    pub fn open(devices: Vec<Device>) -> Result<Self, Error> {
        Self::open_txg(devices, None)
    }

    /// Opens the pool that is in files or disks; see [`Pool::open`].
    ///
    /// # Errors
    /// As [`Pool::open`], or if one of them cannot be opened.
    pub fn open_paths<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let devices = paths.into_iter().map(Device::open);
        Self::open(devices.collect::<Result<_, _>>()?)
    }

    /// Opens the pool that is on `devices` as the uberblock of transaction group
    /// `txg` describes it, or the newest one for `None`.
    ///
    /// # Errors
    /// As [`Pool::open`], or if there is no such uberblock.
    pub fn open_txg(devices: Vec<Device>, txg: Option<u64>) -> Result<Self, Error> {
        Self::open_verifying(devices, txg, true)
    }

    pub(crate) fn open_verifying(devices: Vec<Device>, txg: Option<u64>, verifies: bool) -> Result<Self, Error> {
        let labels = read_labels(devices)?;
        let newest = labels.iter().max_by_key(|labels| labels.config.u64("txg").unwrap_or(0)).ok_or(Error::NoDevice)?;
        let name = newest.config.str("name")?.to_owned();
        let guid = newest.config.u64("pool_guid")?;
        let uberblock = best_uberblock(&labels, txg)?;
        if !matches!(uberblock.version, 1..=28 | uberblock::VERSION_FEATURES) {
            return Err(Error::Version(uberblock.version));
        }
        let devices = labels
            .iter()
            .map(|labels| Ok((labels.config.u64("guid")?, labels.device.clone())))
            .collect::<Result<HashMap<_, _>, Error>>()?;

        // A label knows the top-level vdev of its device only; the MOS knows
        // them all, and can be read with those that are known so far.
        let mut by_age: Vec<&Labels> = labels.iter().collect();
        by_age.sort_by_key(|labels| std::cmp::Reverse(labels.config.u64("txg").unwrap_or(0)));
        let known: Vec<&NvList> =
            by_age.into_iter().map(|labels| labels.config.list("vdev_tree")).collect::<Result<_, _>>()?;
        let members = Members { devices: &devices, reflow: uberblock.raidz_reflow_info };
        let mut inner = Inner {
            name,
            guid,
            vdevs: build_vdevs(known, members)?,
            uberblock,
            config: newest.config.clone(),
            labels,
            salt: None,
            cache: Cache::default(),
            verifies,
        };
        let first = Pool(Arc::new(inner.without_labels()));
        let mos = first.mos()?;
        check_features(&mos)?;
        let config = read_config(&mos)?;
        if config.u64("pool_guid")? != guid {
            return Err(Error::Malformed {
                what: "the GUID in the configuration of the MOS",
                found: config.u64("pool_guid")?.to_string(),
                expected: "that of the labels",
            });
        }
        let all = config.list("vdev_tree")?.lists("children")?;
        inner.vdevs = build_vdevs(all, members)?;
        inner.salt = read_salt(&mos)?;
        inner.config = config;
        let all = Pool(Arc::new(inner.without_labels()));
        vdev::load_mappings(&inner.vdevs, &all.mos()?);
        Ok(Pool(Arc::new(inner)))
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The pool's GUID.
    pub fn guid(&self) -> u64 {
        self.0.guid
    }

    /// The uberblock that it was opened at.
    pub fn uberblock(&self) -> &Uberblock {
        &self.0.uberblock
    }

    /// The labels of the devices that were given.
    pub fn labels(&self) -> &[Labels] {
        &self.0.labels
    }

    /// The pool's configuration, from the MOS.
    pub fn config(&self) -> &NvList {
        &self.0.config
    }

    /// The top-level vdevs in order.
    pub fn vdevs(&self) -> impl Iterator<Item = &Vdev> {
        self.0.vdevs.values()
    }

    /// The meta object set.
    ///
    /// # Errors
    /// If its root cannot be read.
    pub fn mos(&self) -> Result<ObjectSet, Error> {
        ObjectSet::open(self, MOS, &self.0.uberblock.root)
    }

    /// The object of the MOS that its directory has under `name`.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn directory_entry(&self, name: &str) -> Result<Option<ObjectId>, Error> {
        directory_entry(&self.mos()?, name)
    }

    pub(crate) fn vdev(&self, id: u32) -> Option<&Vdev> {
        self.0.vdevs.get(&id)
    }

    /// The top-level vdevs by number.
    pub(crate) fn vdev_map(&self) -> &BTreeMap<u32, Vdev> {
        &self.0.vdevs
    }

    pub(crate) fn salt(&self) -> Option<&Salt> {
        self.0.salt.as_ref()
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) fn verifies(&self) -> bool {
        self.0.verifies
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pool '{}' at txg {}", self.0.name, self.0.uberblock.txg)
    }
}

impl Inner {
    fn without_labels(&self) -> Self {
        Self {
            name: self.name.clone(),
            guid: self.guid,
            uberblock: self.uberblock.clone(),
            labels: Vec::new(),
            config: NvList::new(),
            vdevs: self.vdevs.clone(),
            salt: None,
            cache: Cache::default(),
            verifies: self.verifies,
        }
    }
}

fn read_labels(devices: Vec<Device>) -> Result<Vec<Labels>, Error> {
    let labels = devices.into_iter().map(Labels::read).collect::<Result<Vec<_>, _>>()?;
    let of = |labels: &Labels| labels.config.u64("pool_guid").unwrap_or(0);
    let described = |labels: &Labels| {
        let name = labels.config.str("name").unwrap_or("?");
        format!("{} (pool '{name}', {})", labels.device.name(), of(labels))
    };
    if let Some(first) = labels.first()
        && let Some(second) = labels.iter().find(|labels| of(labels) != of(first))
    {
        return Err(Error::SeveralPools { first: described(first), second: described(second) });
    }
    Ok(labels)
}

fn best_uberblock(labels: &[Labels], txg: Option<u64>) -> Result<Uberblock, Error> {
    labels
        .iter()
        .flat_map(|labels| &labels.uberblocks)
        .map(|found| &found.uberblock)
        .filter(|uberblock| txg.is_none_or(|txg| uberblock.txg == txg))
        .max_by_key(|uberblock| (uberblock.txg, uberblock.timestamp))
        .cloned()
        .ok_or_else(|| Error::NoUberblock(txg.map_or(String::new(), |txg| format!("of txg {txg}"))))
}

fn build_vdevs<'a>(
    configs: impl IntoIterator<Item = &'a NvList>,
    members: Members<'_>,
) -> Result<BTreeMap<u32, Vdev>, Error> {
    let mut vdevs = BTreeMap::new();
    let mut seen = HashSet::new();
    for config in configs {
        let vdev = Vdev::build(config, members)?;
        // Every device of a mirror has a label with the whole mirror.
        if !seen.insert(vdev.guid) && vdev.guid != 0 {
            continue;
        }
        let id = u32::try_from(vdev.id).map_err(|_| Error::Malformed {
            what: "the number of a vdev",
            found: vdev.id.to_string(),
            expected: "at most 32 bits",
        })?;
        vdevs.insert(id, vdev);
    }
    Ok(vdevs)
}

fn directory_entry(mos: &ObjectSet, name: &str) -> Result<Option<ObjectId>, Error> {
    let entry = mos.object(DIRECTORY)?.zap()?.lookup(name.as_bytes())?;
    Ok(entry.and_then(|entry| entry.number()).map(ObjectId))
}

fn check_features(mos: &ObjectSet) -> Result<(), Error> {
    let Some(features) = directory_entry(mos, "features_for_read")? else {
        return Ok(());
    };
    for entry in mos.object(features)?.zap()?.iter() {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.name);
        if entry.number() != Some(0) && !SUPPORTED_FEATURES.contains(&name.as_ref()) {
            return Err(Error::UnsupportedFeature(name.into_owned()));
        }
    }
    Ok(())
}

fn read_config(mos: &ObjectSet) -> Result<NvList, Error> {
    let id = directory_entry(mos, "config")?.ok_or(Error::Malformed {
        what: "the entry 'config' of the object directory",
        found: "missing".into(),
        expected: "an object",
    })?;
    let object = mos.object(id)?;
    let size = object
        .bonus()
        .u64(0)
        .map_err(Error::truncated("size of a packed nvlist"))
        .map_err(|error| error.in_object(MOS, id))?;
    if size > MAX_CONFIG {
        let error = Error::Malformed {
            what: "size of the pool's configuration",
            found: size.to_string(),
            expected: "at most 16 MiB",
        };
        return Err(error.in_object(MOS, id));
    }
    let mut packed = vec![0; size as usize];
    object.read_at(0, &mut packed)?;
    NvList::decode(&packed).map_err(|error| Error::from(error).in_object(MOS, id))
}

fn read_salt(mos: &ObjectSet) -> Result<Option<Salt>, Error> {
    let mut directory = mos.object(DIRECTORY)?.zap()?;
    let entry = directory.lookup(b"org.illumos:checksum_salt")?;
    Ok(entry.and_then(|entry| entry.bytes()).and_then(|bytes| bytes.try_into().ok()))
}

/// The GUID of the pool and of all its vdevs, for the sum in the uberblock.
pub(crate) fn guid_sum(config: &NvList) -> Result<u64, Error> {
    let guids = vdev::guids(config.list("vdev_tree")?)?;
    Ok(guids.into_iter().fold(0, u64::wrapping_add))
}
