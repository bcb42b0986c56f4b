//! Finding and opening the pool that a command is about.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use zfs_pool::{Device, Labels, Pool};

use super::target::PoolRef;
use crate::failure::Failure;

/// Where pools are looked for, and how they are opened.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Pool")]
pub(crate) struct Opening {
    /// A folder to search for the pool's devices, or one device: a disk or an image file
    #[arg(short = 'p', value_name = "DIR|DEVICE", global = true)]
    places: Vec<PathBuf>,
    /// Open the pool as it was at the end of transaction group N, if its uberblock is still there
    #[arg(long, value_name = "N", global = true)]
    txg: Option<u64>,
}

impl Opening {
    /// Opens a pool.
    pub(crate) fn open(&self, pool: &PoolRef) -> Result<Pool, Failure> {
        let devices = match pool {
            PoolRef::Device(path) => {
                let mut devices = vec![Device::open(path)?];
                devices.extend(self.candidates()?);
                devices
            }
            PoolRef::Name(_) if self.places.is_empty() => {
                return Err(Failure::Usage(format!(
                    "it is not said where pool '{pool}' is: name its devices or their folder with -p, or give an image file instead of the name"
                )));
            }
            PoolRef::Only if self.places.is_empty() => {
                return Err(Failure::Usage(
                    "it is not said which pool is meant: name its devices or their folder with -p".to_owned(),
                ));
            }
            PoolRef::Name(_) | PoolRef::Only => self.candidates()?,
        };
        let mut found = Vec::new();
        for device in devices {
            let Ok(labels) = Labels::read(device) else { continue };
            let (Ok(name), Ok(guid)) = (labels.config.str("name"), labels.config.u64("pool_guid")) else { continue };
            found.push((name.to_owned(), guid, labels.device.clone()));
        }
        let wanted = match pool {
            PoolRef::Device(_) => found.first().map(|(_, guid, _)| *guid),
            PoolRef::Name(wanted) => found.iter().find(|(name, ..)| name == wanted).map(|(_, guid, _)| *guid),
            PoolRef::Only => {
                if let Some((other, ..)) =
                    found.iter().find(|(_, guid, _)| Some(*guid) != found.first().map(|first| first.1))
                {
                    let first = found.first().map_or("?", |(name, ..)| name);
                    return Err(Failure::Usage(format!(
                        "there are several pools, '{first}' and '{other}': name one of them"
                    )));
                }
                found.first().map(|(_, guid, _)| *guid)
            }
        };
        let Some(wanted) = wanted else {
            return Err(Failure::Work(format!("no pool '{pool}' was found")));
        };
        let devices = found.into_iter().filter(|(_, guid, _)| *guid == wanted).map(|(.., device)| device).collect();
        Ok(Pool::open_txg(devices, self.txg)?)
    }

    /// The devices of a pool, whether it can be opened or not. One that is named by its path need not even belong to
    /// a pool.
    pub(crate) fn devices(&self, pool: &PoolRef) -> Result<Vec<Device>, Failure> {
        let PoolRef::Name(wanted) = pool else {
            return match pool {
                PoolRef::Device(path) => Ok(vec![Device::open(path)?]),
                _ => self.candidates(),
            };
        };
        let mut devices = self.candidates()?;
        devices.retain(|device| {
            Labels::read(device.clone()).is_ok_and(|labels| labels.config.str("name").is_ok_and(|name| name == wanted))
        });
        if devices.is_empty() {
            return Err(Failure::Work(format!("no pool '{pool}' was found")));
        }
        Ok(devices)
    }

    fn candidates(&self) -> Result<Vec<Device>, Failure> {
        let mut devices = Vec::new();
        for place in &self.places {
            if !place.is_dir() {
                devices.push(Device::open(place)?);
                continue;
            }
            for file in files_of(place).map_err(|error| Failure::work(place.display(), error))? {
                devices.extend(Device::open(file));
            }
        }
        Ok(devices)
    }
}

/// The files in a folder by name, those in folders below it left out.
fn files_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
