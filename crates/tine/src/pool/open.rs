//! Finding and opening the pool that a command is about.

use std::path::{Path, PathBuf};

use clap::Args;
use zfs_ondisk::nvlist::NvList;
use zfs_pool::{Device, Error, Labels, OpenOptions, Pool, PoolState};

use super::discover::{Discovery, FoundPool};
use super::keys::KeyFiles;
use super::target::{PoolRef, Target};
use super::vdevs;
use crate::failure::Failure;
use crate::output::{self, plural};

/// Where pools are looked for, and how they are opened.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Pool")]
pub(crate) struct Opening {
    /// A folder to search for the pool's devices, or one device: a disk or an image file. Pools are found in disk
    /// images of any format, and in partitions, too. Can be given several times
    #[arg(short = 'p', value_name = "DIR|DEVICE", global = true)]
    places: Vec<PathBuf>,
    /// Open the pool as it was at the end of transaction group N, if its uberblock is still there
    #[arg(long, value_name = "N", global = true)]
    txg: Option<u64>,
    /// Open the pool as it was when its checkpoint was made
    #[arg(long, global = true)]
    checkpoint: bool,
    #[command(flatten)]
    keys: KeyFiles,
}

/// A pool whose devices were found.
pub(super) struct Located {
    pub(super) pool: FoundPool,
    /// Spares and caches, of this pool or of others.
    auxiliary: Vec<Labels>,
}

impl Opening {
    /// Opens a pool.
    pub(crate) fn open(&self, pool: &PoolRef) -> Result<Pool, Failure> {
        let located = self.locate(pool)?;
        let opened = self.open_located(&located).map_err(|error| refused(&located, &error))?;
        output::warn("tine", opened.warnings());
        let missing = vdevs::missing(&vdevs::top_level(&opened));
        if !missing.is_empty() {
            let count = plural(missing.len() as u64, "device");
            output::warn("tine", &[format!("{count} of the pool not found: {}", missing.join(", "))]);
        }
        self.keys.unlock(&opened)?;
        Ok(opened)
    }

    /// Opens a pool that was located.
    pub(super) fn open_located(&self, located: &Located) -> Result<Pool, Error> {
        Pool::open_with(located.devices(), &OpenOptions { txg: self.txg, checkpoint: self.checkpoint })
    }

    /// Opens a pool that was located, as it was at the end of a transaction group.
    pub(super) fn open_located_at(&self, located: &Located, txg: u64) -> Result<Pool, Error> {
        Pool::open_with(located.devices(), &OpenOptions { txg: Some(txg), ..OpenOptions::default() })
    }

    /// What finds the one pool that targets mean, which are its name or image files of it, and the first of them.
    pub(super) fn of_one<'a>(&self, targets: &'a [Target]) -> Result<(Opening, &'a Target), Failure> {
        let several = || Failure::Usage("name one pool, or image files of one pool".to_owned());
        let [first, others @ ..] = targets else { return Err(several()) };
        let opening = self.with_devices_of(targets);
        if others.is_empty() {
            return Ok((opening, first));
        }
        let located = opening.locate(&first.pool)?;
        for target in targets {
            let path = target.whole_device().ok_or_else(several)?;
            if !located.has_device(path) {
                return Err(Failure::Work(format!(
                    "{}: it is no device of pool '{}', or a copy of one; pools are looked at one at a time",
                    path.display(),
                    located.pool.name
                )));
            }
        }
        Ok((opening, first))
    }

    /// The same, which looks for devices in all image files that targets name, too, if there are several.
    pub(super) fn with_devices_of(&self, targets: &[Target]) -> Opening {
        let mut opening = self.clone();
        if targets.len() > 1 {
            opening.places.extend(targets.iter().filter_map(Target::whole_device).map(Path::to_owned));
        }
        opening
    }

    /// Finds the devices of a pool.
    pub(super) fn locate(&self, pool: &PoolRef) -> Result<Located, Failure> {
        let mut discovery = Discovery::default();
        let found = match pool {
            PoolRef::Name(_) if self.places.is_empty() => {
                return Err(Failure::Usage(format!(
                    "it is not said where pool '{pool}' is: name its devices or their folder with -p, or give an image file instead of the name"
                )));
            }
            PoolRef::Name(name) => {
                self.search(&mut discovery)?;
                choose(name, &discovery, &self.places)?
            }
            PoolRef::Device(path) => self.pool_on(path, &mut discovery)?,
            PoolRef::Only => {
                discovery = self.discover()?;
                only(&discovery)?
            }
        };
        Ok(Located { pool: found, auxiliary: discovery.auxiliary().cloned().collect() })
    }

    /// Looks at all places that were given.
    pub(super) fn discover(&self) -> Result<Discovery, Failure> {
        if self.places.is_empty() {
            return Err(Failure::Usage(
                "it is not said where to look for pools: name devices or their folder with -p".to_owned(),
            ));
        }
        let mut discovery = Discovery::default();
        self.search(&mut discovery)?;
        Ok(discovery)
    }

    /// The devices of a pool, whether it can be opened or not. One that is named by its path need not even belong to
    /// a pool.
    pub(super) fn devices(&self, pool: &PoolRef) -> Result<Vec<Device>, Failure> {
        let PoolRef::Device(path) = pool else { return Ok(self.locate(pool)?.devices()) };
        let mut discovery = Discovery::default();
        discovery.search(path)?;
        let members = discovery.pools().into_iter().flat_map(|pool| pool.members);
        let found: Vec<_> = members.chain(discovery.auxiliary().cloned()).map(|labels| labels.device).collect();
        if found.is_empty() { Ok(vec![Device::open(path)?]) } else { Ok(found) }
    }

    fn search(&self, discovery: &mut Discovery) -> Result<(), Failure> {
        self.places.iter().try_for_each(|place| discovery.search(place))
    }

    /// The pool on a device, with its other devices: where `-p` says, and in the same folder.
    fn pool_on(&self, path: &Path, discovery: &mut Discovery) -> Result<FoundPool, Failure> {
        discovery.search(path)?;
        let mut here = discovery.pools();
        let Some(pool) = here.pop() else {
            return Err(Failure::Work(format!("{}: there is no pool on it", path.display())));
        };
        if !here.is_empty() {
            here.push(pool);
            return Err(Failure::Work(format!(
                "{}: there are several pools on it: {}; name one of them, with -p {}",
                path.display(),
                descriptions(&here),
                path.display()
            )));
        }
        self.search(discovery)?;
        let complete = |discovery: &Discovery| discovery.pools().into_iter().find(|found| found.guid == pool.guid);
        let found = complete(discovery).unwrap_or(pool);
        if !found.is_incomplete() {
            return Ok(found);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // One that cannot be listed has nothing to add.
        let _ = discovery.search(folder);
        Ok(discovery.pools().into_iter().find(|other| other.guid == found.guid).unwrap_or(found))
    }
}

impl Located {
    /// The devices of the pool. Spares and caches are left out: they have no part of its contents.
    fn devices(&self) -> Vec<Device> {
        self.pool.members.iter().map(|labels| labels.device.clone()).collect()
    }

    /// Whether one of the devices is on this file or disk.
    fn has_device(&self, path: &Path) -> bool {
        self.auxiliary.iter().chain(&self.pool.members).any(|labels| is_on(labels, path))
    }

    /// The labels of a spare or cache, if it was found. A spare in use is a member of the pool.
    pub(super) fn auxiliary_of(&self, config: &NvList) -> Vec<Labels> {
        let guid = config.u64("guid").ok();
        let found = self.auxiliary.iter().chain(&self.pool.members).filter(|labels| labels.guid() == guid);
        found.cloned().collect()
    }
}

/// Whether a device is a file or disk, or a partition of it.
pub(super) fn is_on(labels: &Labels, path: &Path) -> bool {
    let rest = labels.device.name().strip_prefix(&path.display().to_string());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
}

/// The pool of a name, or of a GUID.
fn choose(name: &str, discovery: &Discovery, places: &[PathBuf]) -> Result<FoundPool, Failure> {
    let pools = discovery.pools();
    let is_wanted = |pool: &FoundPool| pool.name == name || pool.guid.to_string() == name;
    let (mut wanted, others): (Vec<_>, Vec<_>) = pools.into_iter().partition(is_wanted);
    // One that was destroyed does not hide its successor.
    if wanted.iter().any(|pool| pool.state != PoolState::Destroyed) {
        wanted.retain(|pool| pool.state != PoolState::Destroyed);
    }
    match wanted.pop() {
        Some(pool) if wanted.is_empty() => Ok(pool),
        Some(last) => {
            wanted.push(last);
            Err(Failure::Work(format!(
                "there are several pools called '{name}': {}; give the number, the pool's GUID, instead of the name",
                descriptions(&wanted)
            )))
        }
        None => Err(Failure::Work(not_found(name, &others, discovery, places))),
    }
}

/// The pool that was found, if it is the only one.
fn only(discovery: &Discovery) -> Result<FoundPool, Failure> {
    let mut pools = discovery.pools();
    match pools.pop() {
        Some(pool) if pools.is_empty() => Ok(pool),
        Some(pool) => {
            pools.push(pool);
            Err(Failure::Usage(format!("there are several pools: {}; name one of them", descriptions(&pools))))
        }
        None => Err(Failure::Work("no pool was found".to_owned())),
    }
}

fn not_found(name: &str, others: &[FoundPool], discovery: &Discovery, places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let mut sentence = format!("no pool '{name}' was found in {}", places.join(", "));
    match others {
        [] => sentence.push_str(&format!(", nor any other in {}", plural(discovery.examined() as u64, "file"))),
        others => sentence.push_str(&format!("; there are {}", descriptions(others))),
    }
    match &discovery.unreadable[..] {
        [] => {}
        [only] => sentence.push_str(&format!("; one could not be read: {only}")),
        [first, rest @ ..] => {
            sentence.push_str(&format!("; {} could not be read: {first}, ...", rest.len() + 1));
        }
    }
    sentence
}

fn descriptions(pools: &[FoundPool]) -> String {
    pools.iter().map(FoundPool::description).collect::<Vec<_>>().join(", ")
}

/// Why a pool could not be opened, and the way out.
fn refused(located: &Located, error: &Error) -> Failure {
    let way_out = match error {
        Error::Newest { readable: Some(txg), .. } => format!(": --txg {txg} opens it"),
        Error::Newest { missing, .. } if !missing.is_empty() => ": say with -p where they are".to_owned(),
        _ => String::new(),
    };
    Failure::Work(format!("pool '{}': {error}{way_out}", located.pool.name))
}
