//! Finding and opening the pool that a command is about.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use zfs_pool::{Device, Labels, Pool};

use super::keys::KeyFiles;
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
    #[arg(long, value_name = "N")]
    txg: Option<u64>,
    #[command(flatten)]
    keys: KeyFiles,
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
            PoolRef::Name(_) => self.candidates()?,
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
        };
        let Some(wanted) = wanted else {
            return Err(Failure::Work(format!("no pool '{pool}' was found")));
        };
        let devices = found.into_iter().filter(|(_, guid, _)| *guid == wanted).map(|(.., device)| device).collect();
        let pool = Pool::open_txg(devices, self.txg)?;
        self.keys.unlock(&pool)?;
        Ok(pool)
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
