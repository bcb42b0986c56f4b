//! `tine pool inspect`: annotated dumps of the structures of a pool, one module for each.

mod block;
mod bonus;
mod contents;
mod dump;
mod guess;
mod hexdump;
mod history;
mod label;
mod mos;
mod nvlist;
mod object;
mod pointer;
mod shown;
mod spacemap;
mod uberblock;
mod zap;

use clap::{Args, Subcommand};
use zfs_ondisk::compress::Function;
use zfs_pool::{FileSystem, Labels, Object, ObjectSet, Pool};

use self::dump::Dump;
use super::open::Opening;
use super::place;
use super::target::{self, PoolRef, Target};
use crate::failure::Failure;

/// Show a structure of a pool as it is on disk, with all its fields
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(subcommand)]
    structure: Structure,
    /// Show all there is of it, and long lists whole
    #[arg(short, long, global = true, help_heading = "Output")]
    verbose: bool,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

#[derive(Debug, Subcommand)]
enum Structure {
    /// Show the four labels of each device, and where they differ
    Label {
        /// A device, or a pool for those that it is on
        #[arg(value_name = "DEVICE|POOL", value_parser = target::target)]
        pool: Target,
    },
    /// Show the rings of uberblocks of each device, and which of them is the active one
    Uberblock {
        /// The pool: its name, or an image file
        #[arg(value_name = "POOL", value_parser = target::target)]
        pool: Target,
    },
    /// Show the object directory of the pool and count its objects; with -v, list them
    Mos {
        /// The pool: its name, or an image file
        #[arg(value_name = "POOL", value_parser = target::target)]
        pool: Target,
    },
    /// Show an object: its dnode, bonus buffer, block pointers and contents; without an object, the root of the object set
    Object(ObjectOf),
    /// Show a ZAP: its header, its leaves and its entries with their hashes
    Zap(ObjectOf),
    /// Show the bytes at an address, what they look like, and which devices have them
    Block(Block),
    /// Show the metaslabs of the pool; with -v, the entries of their space maps
    Spacemap {
        /// The pool: its name, or an image file
        #[arg(value_name = "POOL", value_parser = target::target)]
        pool: Target,
        /// Only this top-level vdev, by its number
        vdev: Option<u64>,
        /// Only this metaslab of it
        metaslab: Option<u64>,
    },
    /// Show the commands that changed the pool, with their times in UTC
    History {
        /// The pool: its name, or an image file
        #[arg(value_name = "POOL", value_parser = target::target)]
        pool: Target,
        /// Show internal events, too
        #[arg(short, long)]
        internal: bool,
        /// Show who did it, and where the records are
        #[arg(short, long)]
        long: bool,
    },
}

#[derive(Debug, Args)]
struct ObjectOf {
    /// A dataset, snapshot or file (`pool/dataset:/path`), or the word `mos` for the pool's own objects
    #[arg(value_name = "DATASET|mos", value_parser = target::target)]
    target: Target,
    /// The number of the object, in hexadecimal digits after 0x; 0 is the array of dnodes
    #[arg(value_name = "N", allow_negative_numbers = true, value_parser = number)]
    object: Option<i128>,
    /// The object is one of the pool's own, not of its first dataset
    #[arg(long)]
    mos: bool,
}

#[derive(Debug, Args)]
struct Block {
    /// The pool, unless -p leads to one only, and the address as zdb writes it: 0:4e000:200
    #[arg(value_names = ["POOL", "VDEV:OFFSET:SIZE"], num_args = 1..=2, required = true)]
    at: Vec<String>,
    /// Bytes that are stored, instead of SIZE; on raidz and draid, SIZE has the parity, too
    #[arg(long, value_name = "SIZE", value_parser = crate::values::size)]
    psize: Option<u64>,
    /// Bytes that they are when decompressed
    #[arg(long, value_name = "SIZE", value_parser = crate::values::size)]
    lsize: Option<u64>,
    /// The transaction group in which the block was written: raidz may have become wider since [default: the newest]
    #[arg(long, value_name = "TXG")]
    birth: Option<u64>,
    /// Decompress them: lz4, lzjb, zle, zstd, gzip-6, ...
    #[arg(long, value_name = "FUNCTION", value_parser = block::compression)]
    compression: Option<Function>,
    /// Write the bytes to standard output as they are
    #[arg(long, conflicts_with_all = ["json", "owner"])]
    raw: bool,
    /// Search the whole pool for block pointers that lead there
    #[arg(long)]
    owner: bool,
}

impl Inspect {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut dump = Dump::new(self.json);
        let result = self.dump(&mut dump);
        dump.finish(result)
    }

    fn dump(&self, dump: &mut Dump) -> Result<(), Failure> {
        match &self.structure {
            Structure::Label { pool } => {
                let devices = self.opening.devices(&pool.pool)?;
                dump.list("devices", |dump| {
                    devices.iter().for_each(|device| dump.item("", |dump| label::dump(dump, device)));
                });
            }
            Structure::Uberblock { pool } => {
                let devices = self.opening.devices(&pool.pool)?;
                dump.list("devices", |dump| {
                    for device in &devices {
                        let labels = Labels::read(device.clone());
                        let tree = labels.as_ref().ok().and_then(|labels| labels.config.list("vdev_tree").ok());
                        let shift = tree.and_then(|tree| tree.u64("ashift").ok()).unwrap_or(9);
                        dump.item("", |dump| uberblock::dump(dump, device, shift, self.verbose));
                    }
                });
            }
            Structure::Mos { pool } => mos::dump(dump, &self.open(pool)?, self.verbose)?,
            Structure::Object(of) => match of.find(&self.opening)? {
                (_, Some(object)) => object::dump(dump, &object, self.verbose),
                (set, None) => object::dump_set(dump, &set, self.verbose),
            },
            Structure::Zap(of) => match of.find(&self.opening)? {
                (_, Some(object)) => zap::dump(dump, &object, self.verbose)?,
                (_, None) => return Err(Failure::Usage("the number of the object is missing".to_owned())),
            },
            Structure::Spacemap { pool, vdev, metaslab } => {
                spacemap::dump(dump, &self.open(pool)?, *vdev, *metaslab, self.verbose)?;
            }
            Structure::History { pool, internal, long } => {
                history::dump(dump, &self.open(pool)?, *internal, *long)?;
            }
            Structure::Block(block) => self.block(dump, block)?,
        }
        Ok(())
    }

    fn open(&self, target: &Target) -> Result<Pool, Failure> {
        self.opening.open(&target.pool)
    }

    fn block(&self, dump: &mut Dump, block: &Block) -> Result<(), Failure> {
        let (pool, address) = match &block.at[..] {
            [pool, address] => (target::target(pool).map_or(PoolRef::Only, |target| target.pool), address),
            [address] => (PoolRef::Only, address),
            _ => return Err(Failure::Usage("an address is missing".to_owned())),
        };
        let mut address: block::Address = address.parse().map_err(Failure::Usage)?;
        address.size = block.psize.unwrap_or(address.size);
        address.is_stored |= block.psize.is_some();
        address.logical = block.lsize.or(address.logical);
        address.check().map_err(Failure::Usage)?;
        if address.logical.is_some() && block.compression.is_none() {
            return Err(Failure::Usage("a logical size says nothing without --compression".to_owned()));
        }
        let pool = self.opening.open(&pool)?;
        let birth = block.birth.unwrap_or(pool.uberblock().txg);
        let reading = block::Reading { compression: block.compression, birth, owner: block.owner };
        if block.raw {
            return block::write_raw(&block::read(&pool, address, &reading)?);
        }
        block::dump(dump, &pool, address, &reading)
    }
}

impl ObjectOf {
    /// The object set, and the object in it if one is named.
    fn find(&self, opening: &Opening) -> Result<(ObjectSet, Option<Object>), Failure> {
        let target = &self.target;
        let is_word = target.pool == PoolRef::Name("mos".to_owned()) && target.rest.is_empty() && target.path.is_none();
        let pool = opening.open(if is_word { &PoolRef::Only } else { &target.pool })?;
        let set = if is_word || self.mos {
            pool.mos()?
        } else {
            let name = place::name_of(&pool, target);
            let objects = pool.dataset(&name)?.objects()?;
            objects.ok_or_else(|| Failure::Work(format!("dataset '{name}' has no objects")))?
        };
        let object = match (&target.path, self.object) {
            (Some(_), Some(_)) => {
                return Err(Failure::Usage("a path and a number name an object twice: give one of them".to_owned()));
            }
            (Some(path), None) => Some(FileSystem::from_objects(set.clone())?.lookup(path)?.object().clone()),
            (None, Some(number)) => Some(object::find(&set, number)?),
            (None, None) => None,
        };
        Ok((set, object))
    }
}

/// A number of an object: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Result<i128, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(i128::from),
        None => text.parse().ok().filter(|number| (-3..=i128::from(u64::MAX)).contains(number)),
    };
    parsed.ok_or_else(|| "a number was expected, in hexadecimal digits after 0x".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_objects_are_decimal_or_hexadecimal() {
        assert_eq!((number("34"), number("0x22"), number("-1")), (Ok(34), Ok(34), Ok(-1)));
        assert!(number("-4").is_err() && number("x").is_err() && number("0x").is_err());
    }
}
