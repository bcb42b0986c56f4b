//! Opening a pool.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use zfs_ondisk::checksum::Salt;
use zfs_ondisk::feature::Feature;
use zfs_ondisk::nvlist::NvList;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::uberblock::{self, Uberblock};

use crate::cache::Cache;
use crate::crypt::Keys;
use crate::device::Device;
use crate::error::Error;
use crate::label::Labels;
use crate::object::ObjectSet;
use crate::spacemap::SpaceMap;
use crate::vdev::{self, Members, Vdev};

/// Object of the MOS that says where everything else is
/// (`DMU_POOL_DIRECTORY_OBJECT`).
pub(crate) const DIRECTORY: ObjectId = ObjectId(1);
/// What the object set of the pool itself is called in messages.
pub(crate) const MOS: &str = "MOS";

/// The largest configuration in bytes that is read.
const MAX_CONFIG: u64 = 16 << 20;

/// A pool that was opened for reading. Clones share everything.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    name: String,
    guid: u64,
    uberblock: Uberblock,
    labels: Vec<Labels>,
    warnings: Vec<String>,
    config: NvList,
    vdevs: BTreeMap<u32, Vdev>,
    salt: Option<Salt>,
    cache: Cache,
    keys: Keys,
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
        Self::open_with(devices, &OpenOptions { txg, ..OpenOptions::default() })
    }

    /// Opens the pool that is on `devices` at a state of one's choice.
    ///
    /// # Errors
    /// As [`Pool::open`]; [`Error::Newest`] says which older state can be opened
    /// where the newest cannot.
    pub fn open_with(devices: Vec<Device>, options: &OpenOptions) -> Result<Self, Error> {
        Self::open_verifying(devices, options, true)
    }

    pub(crate) fn open_verifying(devices: Vec<Device>, options: &OpenOptions, verifies: bool) -> Result<Self, Error> {
        let opening = Opening::new(devices, verifies)?;
        let pool = match options.txg {
            Some(txg) => opening.at_txg(txg)?,
            None => opening.at_newest()?,
        };
        if options.checkpoint { opening.at(&pool.checkpoint()?.ok_or(Error::NoCheckpoint)?) } else { Ok(pool) }
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

    /// What was found to be odd when the pool was opened and did not prevent it, in
    /// sentences.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The uberblock of the pool's checkpoint, if it has one.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Uberblock>, Error> {
        let mut directory = self.mos()?.object(DIRECTORY)?.zap()?;
        let Some(entry) = directory.lookup(b"com.delphix:zpool_checkpoint")? else { return Ok(None) };
        let bytes: Vec<u8> = entry.values.iter().flat_map(|word| word.to_le_bytes()).collect();
        let malformed = |error: uberblock::Error| Error::Malformed {
            what: "the checkpoint in the object directory",
            found: error.to_string(),
            expected: "an uberblock",
        };
        Uberblock::read(&bytes).map(|(found, _)| Some(found)).map_err(malformed)
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

    /// The number that the directory of the MOS has under `name`.
    pub(crate) fn directory_number(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.directory_entry(name)?.map(|object| object.0))
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

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub(crate) fn verifies(&self) -> bool {
        self.0.verifies
    }
}

#[cfg(test)]
impl Pool {
    /// The pool as if the sectors of its vdevs had another size.
    pub(crate) fn with_ashift(mut self, ashift: u64) -> Self {
        Arc::get_mut(&mut self.0).unwrap().vdevs.values_mut().for_each(|vdev| vdev.ashift = ashift);
        self
    }
}

/// Which state of a pool is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// That of this transaction group instead of the newest.
    pub txg: Option<u64>,
    /// The checkpoint in it.
    pub checkpoint: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pool '{}' at txg {}", self.0.name, self.0.uberblock.txg)
    }
}

/// A pool whose labels were read, to be opened at one of its uberblocks.
struct Opening {
    name: String,
    guid: u64,
    labels: Vec<Labels>,
    warnings: Vec<String>,
    /// The devices by GUID.
    devices: HashMap<u64, Device>,
    /// The newest first.
    uberblocks: Vec<Uberblock>,
    verifies: bool,
}

impl Opening {
    fn new(devices: Vec<Device>, verifies: bool) -> Result<Self, Error> {
        let mut warnings = Vec::new();
        let labels = newest_of_each(read_labels(devices)?, &mut warnings);
        let members = || labels.iter().filter(|labels| labels.pool_guid().is_some());
        let newest = members().max_by_key(|labels| labels.txg()).ok_or(Error::NoDevice)?;
        let mut uberblocks: Vec<Uberblock> =
            members().flat_map(|labels| &labels.uberblocks).map(|found| found.uberblock.clone()).collect();
        uberblocks.sort_by_key(|uberblock| std::cmp::Reverse((uberblock.txg, uberblock.timestamp)));
        uberblocks.dedup();
        let by_guid = members().filter_map(|labels| Some((labels.guid()?, labels.device.clone())));
        // What the labels list must be known before the MOS can be read.
        if let Ok(features) = newest.config.list("features_for_read") {
            supported(features.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()))?;
        }
        Ok(Self {
            name: newest.config.str("name")?.to_owned(),
            guid: newest.config.u64("pool_guid")?,
            devices: by_guid.collect(),
            warnings,
            uberblocks,
            verifies,
            labels,
        })
    }

    fn at_txg(&self, txg: u64) -> Result<Pool, Error> {
        let mut result = Err(self.no_uberblock(Some(txg)));
        for uberblock in self.uberblocks.iter().filter(|uberblock| uberblock.txg == txg) {
            result = self.at(uberblock);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn at_newest(&self) -> Result<Pool, Error> {
        let newest = self.uberblocks.first().ok_or_else(|| self.no_uberblock(None))?;
        let source = match self.at(newest) {
            Ok(pool) => return Ok(pool),
            Err(error) => error,
        };
        // What is not supported in the newest state is in older ones no news.
        if matches!(source.cause(), Error::UnsupportedFeature(_) | Error::UnsupportedVdev { .. } | Error::Version(_)) {
            return Err(source);
        }
        let older = self.uberblocks.iter().filter(|uberblock| uberblock.txg < newest.txg);
        let readable = older.into_iter().find(|uberblock| self.at(uberblock).is_ok());
        Err(Error::Newest {
            txg: newest.txg,
            missing: self.missing_devices(),
            readable: readable.map(|uberblock| uberblock.txg),
            source: Box::new(source),
        })
    }

    /// Opens the pool as an uberblock describes it.
    fn at(&self, uberblock: &Uberblock) -> Result<Pool, Error> {
        if !matches!(uberblock.version, 1..=28 | uberblock::VERSION_FEATURES) {
            return Err(Error::Version(uberblock.version));
        }
        // A label knows the top-level vdev of its device only; the MOS knows
        // them all, and can be read with those that are known so far.
        let nothing = HashSet::new();
        let members = Members { devices: &self.devices, lacking: &nothing, reflow: uberblock.raidz_reflow() };
        let inner = Inner {
            name: self.name.clone(),
            guid: self.guid,
            uberblock: uberblock.clone(),
            vdevs: build_vdevs(self.known_vdevs(), members)?,
            config: NvList::new(),
            labels: Vec::new(),
            warnings: Vec::new(),
            salt: None,
            cache: Cache::default(),
            keys: Keys::default(),
            verifies: self.verifies,
        };
        let first = Pool(Arc::new(inner));
        let mos = first.mos()?;
        check_features(&mos)?;
        let config = read_config(&mos)?;
        if config.u64("pool_guid")? != self.guid {
            return Err(Error::Malformed {
                what: "the GUID in the configuration of the MOS",
                found: config.u64("pool_guid")?.to_string(),
                expected: "that of the labels",
            });
        }
        let tree = config.list("vdev_tree")?;
        let all = tree.lists("children")?;
        let members = Members { lacking: &lacking(tree, &mos), ..members };
        let pool = Pool(Arc::new(Inner {
            name: self.name.clone(),
            guid: self.guid,
            uberblock: uberblock.clone(),
            vdevs: build_vdevs(all, members)?,
            salt: read_salt(&mos)?,
            config,
            labels: self.labels.clone(),
            warnings: self.warnings.clone(),
            cache: Cache::default(),
            keys: Keys::default(),
            verifies: self.verifies,
        }));
        vdev::load_mappings(pool.vdev_map(), &pool.mos()?);
        Ok(pool)
    }

    /// The top-level vdevs that the labels know, the newest label of each first.
    fn known_vdevs(&self) -> Vec<&NvList> {
        let mut labels: Vec<&Labels> = self.labels.iter().collect();
        labels.sort_by_key(|labels| std::cmp::Reverse(labels.txg()));
        labels.iter().filter_map(|labels| labels.config.list("vdev_tree").ok()).collect()
    }

    /// The devices that the labels know of and that were not given, by their paths.
    fn missing_devices(&self) -> Vec<String> {
        let mut missing = BTreeMap::new();
        let known = self.known_vdevs();
        for config in &known {
            vdev::for_each_leaf(config, &mut |leaf| {
                if let Ok(guid) = leaf.u64("guid")
                    && !self.devices.contains_key(&guid)
                {
                    missing.insert(guid, leaf.str("path").unwrap_or("?").to_owned());
                }
            });
        }
        let mut missing: Vec<String> = missing.into_values().collect();
        let ids: HashSet<u64> = known.iter().filter_map(|config| config.u64("id").ok()).collect();
        let count = self.labels.iter().filter_map(|labels| labels.config.u64("vdev_children").ok()).max();
        let others = count.unwrap_or(0).saturating_sub(ids.len() as u64);
        if others > 0 {
            missing.push(format!("those of {others} more top-level vdevs"));
        }
        missing
    }

    fn no_uberblock(&self, wanted: Option<u64>) -> Error {
        let mut found: Vec<u64> = self.uberblocks.iter().map(|uberblock| uberblock.txg).collect();
        found.dedup();
        Error::NoUberblock { wanted, found }
    }
}

fn read_labels(devices: Vec<Device>) -> Result<Vec<Labels>, Error> {
    let labels = devices.into_iter().map(Labels::read).collect::<Result<Vec<_>, _>>()?;
    let described = |labels: &Labels| {
        let name = labels.pool_name().unwrap_or("?");
        format!("{} (pool '{name}', {})", labels.device.name(), labels.pool_guid().unwrap_or(0))
    };
    let mut members = labels.iter().filter(|labels| labels.pool_guid().is_some());
    if let Some(first) = members.next()
        && let Some(second) = members.find(|labels| labels.pool_guid() != first.pool_guid())
    {
        return Err(Error::SeveralPools { first: described(first), second: described(second) });
    }
    Ok(labels)
}

/// Of several copies of one device, the one with the newest label.
fn newest_of_each(labels: Vec<Labels>, warnings: &mut Vec<String>) -> Vec<Labels> {
    let mut kept: Vec<Labels> = Vec::with_capacity(labels.len());
    for labels in labels {
        let same = kept.iter_mut().find(|other| labels.guid().is_some() && other.guid() == labels.guid());
        let Some(other) = same else {
            kept.push(labels);
            continue;
        };
        let newest_state = |labels: &Labels| {
            let newest = labels.uberblocks.iter().map(|found| (found.uberblock.txg, found.uberblock.timestamp)).max();
            (labels.txg(), newest)
        };
        let (old, new) = if newest_state(&labels) > newest_state(other) {
            let old = std::mem::replace(other, labels);
            (old, &*other)
        } else {
            (labels, &*other)
        };
        let newer = if newest_state(new) > newest_state(&old) { "the newer one" } else { "the first one" };
        warnings.push(format!(
            "{} and {} are the same device of the pool: {newer}, {}, was taken",
            old.device.name(),
            new.device.name(),
            new.device.name()
        ));
    }
    kept
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
        // An older label may know another vdev of that number.
        vdevs.entry(id).or_insert(vdev);
    }
    Ok(vdevs)
}

/// The GUIDs of the devices that lack what was written in some transaction groups, as their logs of these say
/// (`vdev_dtl`). A log that cannot be read says nothing.
fn lacking(tree: &NvList, mos: &ObjectSet) -> HashSet<u64> {
    let mut guids = HashSet::new();
    vdev::for_each_leaf(tree, &mut |leaf| {
        let log = leaf.u64("DTL").ok().and_then(|log| SpaceMap::open(&mos.object(ObjectId(log)).ok()?).ok());
        if log.is_some_and(|log| log.header().allocated != 0) {
            guids.extend(leaf.u64("guid"));
        }
    });
    guids
}

fn directory_entry(mos: &ObjectSet, name: &str) -> Result<Option<ObjectId>, Error> {
    let entry = mos.object(DIRECTORY)?.zap()?.lookup(name.as_bytes())?;
    Ok(entry.and_then(|entry| entry.number()).map(ObjectId))
}

/// Checks what a reader of the pool must know. Features that writers must know
/// are in another table, and do not matter here.
fn check_features(mos: &ObjectSet) -> Result<(), Error> {
    let Some(features) = directory_entry(mos, "features_for_read")? else {
        return Ok(());
    };
    let mut active = Vec::new();
    for entry in mos.object(features)?.zap()?.iter() {
        let entry = entry?;
        if entry.number() != Some(0) {
            active.push(String::from_utf8_lossy(&entry.name).into_owned());
        }
    }
    supported(active.into_iter())
}

/// Refuses features that this reader does not know.
fn supported(features: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut unknown: Vec<String> = features.filter(|name| !is_readable(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    unknown.sort();
    Err(Error::UnsupportedFeature(unknown.join("', '")))
}

/// Whether this reader reads pools with a feature that readers must know.
pub(crate) fn is_readable(guid: &str) -> bool {
    Feature::by_guid(guid).is_some_and(|feature| feature != Feature::DraidFailureDomains)
}

fn read_config(mos: &ObjectSet) -> Result<NvList, Error> {
    let id = directory_entry(mos, "config")?.ok_or(Error::Malformed {
        what: "the entry 'config' of the object directory",
        found: "missing".into(),
        expected: "an object",
    })?;
    read_nvlist(mos, id)
}

/// The packed nvlist in an object of the MOS.
pub(crate) fn read_nvlist(mos: &ObjectSet, id: ObjectId) -> Result<NvList, Error> {
    let object = mos.object(id)?;
    let size = object
        .bonus()
        .u64(0)
        .map_err(Error::truncated("size of a packed nvlist"))
        .map_err(|error| error.in_object(MOS, id))?;
    if size > MAX_CONFIG {
        let error =
            Error::Malformed { what: "size of a packed nvlist", found: size.to_string(), expected: "at most 16 MiB" };
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
