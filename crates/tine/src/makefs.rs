//! `tine makefs`: the command line of FreeBSD's makefs(8) for pools, `makefs -t zfs`.
//!
//! What it means there it means here, with these exceptions: `-s` may be missing, and the image gets room for the files
//! and some more; properties are all those of `tine image build`, and compression compresses; the pool's GUID follows
//! from its contents, so that images can be imported together; paths may repeat in a manifest without `-D`.

use std::path::{Path, PathBuf};

use clap::Args;
use tree::{MtimeRule, Timestamp};
use zfs_image::{DatasetSpec, PoolSpec};
use zfs_ondisk::property::StoredValue;

use crate::destination::Destination;
use crate::failure::Failure;
use crate::image::{self, CrossLinksValue};
use crate::job::Job;
use crate::output::{self, Verbosity};
use crate::sources::Source;
use crate::values;

/// Build a pool image as FreeBSD's `makefs -t zfs` does
///
/// Takes the command line of makefs(8), also when the program is called makefs. An image that exists is replaced. What
/// makefs has for other file systems is refused.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct Makefs {
    /// Type of the file system: zfs
    #[arg(short = 't', value_name = "FS-TYPE")]
    fs_type: Option<String>,
    /// Size of the image, such as 10g or 20x512m [default: room for the files and some more]
    #[arg(short = 's', value_name = "IMAGE-SIZE", value_parser = size)]
    size: Option<u64>,
    /// Smallest size of the image
    #[arg(short = 'M', value_name = "MINIMUM-SIZE", value_parser = size)]
    minimum: Option<u64>,
    /// Largest size of the image, which is the size of a pool
    #[arg(short = 'm', value_name = "MAXIMUM-SIZE", value_parser = size)]
    maximum: Option<u64>,
    /// Options of the pool: poolname=NAME (needed), fs=DATASET[;PROPERTY=VALUE]... (repeated), bootfs=DATASET,
    /// rootpath=PATH, ashift=N, mssize=SIZE, poolguid=N, path=DEVICE, verify-txgs, nowarn (no effect)
    #[arg(short = 'o', value_name = "FS-OPTIONS")]
    options: Vec<String>,
    /// An mtree(5) manifest that is applied to the directory
    #[arg(short = 'F', value_name = "MTREE-SPECFILE")]
    specfile: Option<PathBuf>,
    /// Leave out what the manifest of -F does not list
    #[arg(short = 'x', requires = "specfile")]
    only_specfile: bool,
    /// A directory with the master.passwd and group that names are looked up in
    #[arg(short = 'N', value_name = "USERDB-DIR")]
    user_database: Option<PathBuf>,
    /// Time of all files and of the pool: seconds since 1970, or a file whose time it is
    #[arg(short = 'T', value_name = "TIMESTAMP", allow_hyphen_values = true)]
    timestamp: Option<String>,
    /// Accept paths that repeat in a manifest, which is done anyway
    #[arg(short = 'D', action = clap::ArgAction::Count)]
    duplicates: u8,
    /// Write a sparse file, which is done anyway
    #[arg(short = 'Z')]
    sparse: bool,
    /// The same as -Z
    #[arg(short = 'p')]
    sparse_too: bool,
    /// Byte order: little, as all systems can read it
    #[arg(short = 'B', value_name = "ENDIAN")]
    byte_order: Option<String>,
    /// Where the pool begins in the image: 0
    #[arg(short = 'O', value_name = "OFFSET")]
    offset: Option<String>,
    /// Not for pools
    #[arg(short = 'b', value_name = "FREE-BLOCKS", hide = true)]
    free_blocks: Option<String>,
    /// Not for pools
    #[arg(short = 'd', value_name = "DEBUG-MASK", hide = true)]
    debug: Option<String>,
    /// Not for pools
    #[arg(short = 'f', value_name = "FREE-FILES", hide = true)]
    free_files: Option<String>,
    /// Not for pools
    #[arg(short = 'R', value_name = "ROUNDUP-SIZE", hide = true)]
    round_up: Option<String>,
    /// Not for pools
    #[arg(short = 'S', value_name = "SECTOR-SIZE", hide = true)]
    sector_size: Option<String>,

    /// Threads that read, compress and checksum [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = values::jobs, help_heading = "Beyond makefs")]
    jobs: Option<usize>,
    /// Memory to use at most
    #[arg(
        long, value_name = "SIZE", value_parser = values::size, default_value = image::DEFAULT_MEMORY,
        help_heading = "Beyond makefs"
    )]
    memory: u64,
    /// What becomes of a hard link from one dataset into another
    #[arg(long, value_name = "WHAT", default_value = "refuse", help_heading = "Beyond makefs")]
    cross_links: CrossLinksValue,

    /// The image to be made
    #[arg(value_name = "IMAGE-FILE")]
    image: PathBuf,
    /// A directory, or an mtree(5) manifest whose files are below the working directory; `-` is one on standard input
    #[arg(value_name = "DIRECTORY|MANIFEST")]
    source: PathBuf,
    /// More directories, merged with the first
    #[arg(value_name = "EXTRA-DIRECTORY")]
    extra: Vec<PathBuf>,
}

impl Makefs {
    /// Builds the image, and says nothing if all went well.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let built = self.job()?.run()?;
        output::warnings("makefs", &built.warnings, Verbosity { quiet: false, verbose: false });
        Ok(())
    }

    fn job(self) -> Result<Job, Failure> {
        self.refuse_what_is_not_for_pools()?;
        let time = self.timestamp.as_deref().map(timestamp).transpose()?;
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => Some(values::time(&text).map_err(|why| usage(format_args!("SOURCE_DATE_EPOCH: {why}")))?),
            Err(_) => None,
        };
        let mut spec = PoolOptions::parse(&self.options)?.spec()?;
        spec.size = self.size()?;
        spec.cross_links = self.cross_links.into();
        Ok(Job {
            disk: None,
            system: Default::default(),
            sources: self.sources()?,
            options: tree::Options {
                mtime: time.map_or(MtimeRule::Keep, MtimeRule::Set),
                ids: self.user_database,
                ..tree::Options::default()
            },
            spec,
            creation_time: time.or(epoch).map(|time| u64::try_from(time.seconds).unwrap_or(0)),
            resources: image::resources(self.jobs, self.memory),
            destinations: vec![Destination::new(&self.image, true)?],
            verify: false,
            quiet: false,
        })
    }

    fn refuse_what_is_not_for_pools(&self) -> Result<(), Failure> {
        match self.fs_type.as_deref() {
            Some("zfs") => {}
            Some(other) => return Err(usage(format_args!("-t {other}: only ZFS pools are made here: -t zfs"))),
            None => return Err(usage("without -t, makefs makes UFS; only ZFS pools are made here: -t zfs")),
        }
        for (option, value, instead) in [
            ("-b", &self.free_blocks, "; -s sets the size of the pool"),
            ("-d", &self.debug, ""),
            ("-f", &self.free_files, ""),
            ("-R", &self.round_up, "; -s sets the size of the pool"),
            ("-S", &self.sector_size, "; -o ashift= sets the size of a sector"),
        ] {
            if value.is_some() {
                return Err(usage(format_args!("{option} does not apply to ZFS pools{instead}")));
            }
        }
        match self.byte_order.as_deref() {
            None | Some("le" | "little" | "1234") => {}
            Some(other) => {
                return Err(usage(format_args!(
                    "-B {other}: pools are written in little-endian byte order, which all systems read"
                )));
            }
        }
        match self.offset.as_deref().map(size) {
            None | Some(Ok(0)) => Ok(()),
            Some(_) => Err(usage("-O does not apply to ZFS pools: they begin at offset 0")),
        }
    }

    /// The size of the image; `None` to have it follow from the files.
    fn size(&self) -> Result<Option<u64>, Failure> {
        let (minimum, maximum) = (self.size.or(self.minimum), self.size.or(self.maximum));
        match (minimum, maximum) {
            (Some(_), None) => Err(usage("-M needs -m: a pool has the maximum size; or give -s")),
            (Some(minimum), Some(maximum)) if minimum > maximum => {
                Err(usage("the minimum size (-M) is larger than the maximum (-m)"))
            }
            _ => Ok(maximum),
        }
    }

    fn sources(&self) -> Result<Vec<Source>, Failure> {
        let extra = self.extra.iter().map(|path| directory(path));
        if self.source.as_os_str() != "-" && self.source.is_dir() {
            let manifest =
                self.specfile.as_ref().map(|path| Source::Manifest { path: path.clone(), root: self.source.clone() });
            if self.only_specfile {
                if let Some(path) = self.extra.first() {
                    return Err(usage(format_args!(
                        "-x cannot be used with an extra directory, here {}",
                        path.display()
                    )));
                }
                return Ok(manifest.into_iter().collect());
            }
            return std::iter::once(directory(&self.source)).chain(extra).chain(manifest.map(Ok)).collect();
        }
        let manifest = Source::Manifest { path: self.source.clone(), root: PathBuf::from(".") };
        std::iter::once(Ok(manifest)).chain(extra).collect()
    }
}

fn directory(path: &Path) -> Result<Source, Failure> {
    if path.is_dir() {
        return Ok(Source::Directory(path.to_owned()));
    }
    Err(Failure::Work(format!("{} is not a directory", path.display())))
}

/// What `-o` says.
#[derive(Debug, Default)]
struct PoolOptions {
    name: Option<String>,
    datasets: Vec<DatasetSpec>,
    bootfs: Option<String>,
    root_path: Option<String>,
    ashift: Option<u32>,
    metaslab_size: Option<u64>,
    guid: Option<u64>,
    device_path: Option<String>,
    verify: bool,
}

impl PoolOptions {
    fn parse(options: &[String]) -> Result<PoolOptions, Failure> {
        let mut parsed = PoolOptions::default();
        for option in options.iter().flat_map(|list| list.split(',')) {
            parsed.set(option).map_err(|why| usage(format_args!("-o {option}: {why}")))?;
        }
        Ok(parsed)
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        match (name, value) {
            ("nowarn", _) => {}
            ("verify-txgs", None | Some("1" | "true")) => self.verify = true,
            ("verify-txgs", Some("0" | "false")) => self.verify = false,
            ("poolname", Some(value)) => self.name = Some(value.to_owned()),
            ("fs", Some(value)) => self.datasets.push(values::dataset(value)?),
            ("bootfs", Some(value)) => self.bootfs = Some(value.to_owned()),
            ("rootpath", Some(value)) if value.starts_with('/') => self.root_path = Some(value.to_owned()),
            ("rootpath", Some(_)) => return Err("an absolute path was expected".to_owned()),
            ("ashift", Some(value)) => match value.parse() {
                Ok(ashift) => self.ashift = Some(ashift),
                Err(_) => return Err("a number was expected".to_owned()),
            },
            ("mssize", Some(value)) => self.metaslab_size = Some(size(value)?),
            ("poolguid", Some(value)) => self.guid = Some(values::guid(value)?),
            ("path", Some(value)) => self.device_path = Some(value.to_owned()),
            ("poolname" | "fs" | "bootfs" | "rootpath" | "ashift" | "mssize" | "poolguid" | "path", None) => {
                return Err("it needs a value".to_owned());
            }
            _ => {
                return Err(
                    "there is no such option; poolname, fs, bootfs, rootpath, ashift, mssize, poolguid, path, \
                            verify-txgs and nowarn are there"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    fn spec(self) -> Result<PoolSpec, Failure> {
        let Some(name) = self.name else {
            return Err(usage("a pool needs a name: -o poolname=NAME"));
        };
        let root_path = self.root_path.unwrap_or_else(|| format!("/{name}"));
        let mut spec = PoolSpec::new(name);
        spec.datasets = self.datasets;
        for dataset in &spec.datasets {
            check_mountpoint(dataset, &root_path)?;
        }
        let root = match spec.datasets.iter().position(|dataset| dataset.name == spec.name) {
            Some(index) => &mut spec.datasets[index],
            None => {
                spec.datasets.insert(0, DatasetSpec::parse(&spec.name)?);
                &mut spec.datasets[0]
            }
        };
        for (property, default) in [("compression", "off"), ("mountpoint", root_path.as_str())] {
            if root.properties.iter().all(|own| own.key != property) {
                root.set(property, default)?;
            }
        }
        spec.root_path = Some(root_path);
        spec.bootfs = self.bootfs;
        spec.ashift = self.ashift.unwrap_or(spec.ashift);
        spec.metaslab_size = self.metaslab_size;
        spec.guid = self.guid;
        spec.vdev.paths.extend(self.device_path);
        spec.verify_on_import = self.verify;
        Ok(spec)
    }
}

/// Mountpoints are at the root path or below.
fn check_mountpoint(dataset: &DatasetSpec, root_path: &str) -> Result<(), Failure> {
    let own = dataset.properties.iter().find(|property| property.key == "mountpoint");
    let Some(StoredValue::Text(path)) = own.map(|property| &property.value) else { return Ok(()) };
    let below = path.strip_prefix(root_path.trim_end_matches('/'));
    if !path.starts_with('/') || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Ok(());
    }
    Err(usage(format_args!(
        "dataset {}: the mountpoint {path} is not below the root path {root_path}; -o rootpath= sets that",
        dataset.name
    )))
}

/// A size: a product of numbers such as `20x512m`.
fn size(text: &str) -> Result<u64, String> {
    let factors = text.split('x').map(|factor| {
        let digits = factor.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let unit = match factor[digits.len()..].to_ascii_lowercase().as_str() {
            "" => 1,
            "b" => 512,
            // A word of the machines that makefs comes from.
            "w" => 4,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            "t" => 1 << 40,
            _ => return None,
        };
        digits.parse::<u64>().ok()?.checked_mul(unit)
    });
    let product = factors.reduce(|a, b| a?.checked_mul(b?)).flatten();
    product.ok_or_else(|| "a size such as 10g or 20x512m was expected".to_owned())
}

/// The time of a file, or a number of seconds.
fn timestamp(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(time) = Path::new(text).metadata().and_then(|metadata| metadata.modified()) {
        return Ok(time.into());
    }
    values::time(text)
        .map_err(|_| usage(format_args!("-T {text}: seconds since 1970 were expected, or a file that has the time")))
}

fn usage(what: impl std::fmt::Display) -> Failure {
    Failure::Usage(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(options: &str) -> Result<PoolSpec, String> {
        let parsed = PoolOptions::parse(&[options.to_owned()]);
        parsed.and_then(PoolOptions::spec).map_err(|failure| failure.to_string())
    }

    #[test]
    fn sizes_are_products_with_suffixes() {
        for (text, bytes) in [("512", 512), ("2b", 1024), ("10G", 10 << 30), ("2x3x4k", 24 << 10), ("2w", 8)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "x", "2x", "1.5g", "1q", "-1", "17179869184g"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_root_dataset_is_uncompressed_and_mounted_at_the_root_path() {
        let spec = spec("poolname=tank,rootpath=/,fs=tank/home").expect("the options are sound");
        assert_eq!(spec.root_path.as_deref(), Some("/"));
        assert_eq!(spec.datasets[0].name, "tank");
        let stored: Vec<_> = spec.datasets[0].properties.iter().map(|property| property.key.as_str()).collect();
        assert_eq!(stored, ["compression", "mountpoint"]);
        assert_eq!(spec.datasets[0].properties[1].value, StoredValue::Text("/".to_owned()));
    }

    #[test]
    fn the_root_path_follows_from_the_name_of_the_pool() {
        let spec = spec("poolname=tank,fs=tank;compression=lz4").expect("the options are sound");
        assert_eq!(spec.root_path.as_deref(), Some("/tank"));
        assert_eq!(spec.datasets[0].properties[0].value, StoredValue::Number(15));
    }

    #[test]
    fn mountpoints_outside_the_root_path_are_refused() {
        let refused = spec("poolname=tank,fs=tank/a;mountpoint=/tanker").map(drop);
        assert!(refused.is_err_and(|why| why.contains("is not below the root path /tank")));
        for fine in ["/tank", "/tank/a", "none", "legacy"] {
            spec(&format!("poolname=tank,fs=tank/a;mountpoint={fine}")).expect("the mountpoint is possible");
        }
    }

    #[test]
    fn options_are_refused_by_name() {
        for (options, why) in [
            ("fs=tank", "-o poolname=NAME"),
            ("poolname=a,bsize=4096", "-o bsize=4096: there is no such option"),
            ("poolname=a,,bootfs=b", "-o : there is no such option"),
            ("poolname", "it needs a value"),
            ("poolname=a,rootpath=b", "an absolute path was expected"),
        ] {
            let refused = spec(options).map(drop);
            assert!(refused.as_ref().is_err_and(|told| told.contains(why)), "{options}: {refused:?}");
        }
    }
}
