//! `tine image`: images of pools and disks: made from file trees, converted, looked into.

mod contents;
mod convert;
mod diff;
pub(crate) mod disk;
mod info;
mod manifest;
mod parts;
mod preset;
pub(crate) mod settings;
mod sqlite;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use clap::{Args, Subcommand, ValueEnum};
use tree::{ModeChange, MtimeRule, Principal, Timestamp};
use zfs_image::{CrossLinks, DatasetSpec, KeyFile, PoolSpec, Resources, SnapshotSpec, VdevKind, VdevSpec};
use zfs_ondisk::feature::{Feature, FeatureSet};
use zfs_ondisk::property::{Assignment, StoredValue};

use crate::destination::Destination;
use crate::failure::Failure;
use crate::job::Job;
use crate::output::{self, Report, Verbosity};
use crate::sources::Source;
use crate::values;

/// Memory that a build may take unless said otherwise, as an option has it.
pub(crate) const DEFAULT_MEMORY: &str = "256m";

/// The longest file with a key: a passphrase, with lines after it.
const MAX_KEY_FILE: u64 = 4 << 10;

/// Make images of pools and disks, convert them, and look into them
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(Box<Build>),
    Disk(parts::Disk),
    Convert(convert::Convert),
    Info(info::Info),
    Diff(diff::Diff),
    Manifest(manifest::Manifest),
}

/// Build a pool image from directories, mtree manifests and tar archives, or a disk that boots from it
///
/// The sources are merged in order: a later one replaces what an earlier one has at the same path. Each file goes to
/// the dataset whose mountpoint covers its path. The same sources and options always give the same bytes.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// A directory; an mtree(5) manifest (a file that begins with `#mtree`, or is called METALOG, *.mtree or *.meta)
    /// whose files lie beside it; or a tar archive, plain or compressed with gzip, bzip2, xz or zstd. `-` is an archive
    /// on standard input
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,

    /// The image to be made. It appears when it is whole. Given more than once for mirrors and raidz: one image for each
    /// disk. With --disk, `-` is standard output, for the formats raw, vmdk, vhd-fixed, xz, zst and tar.gz
    #[arg(short, long = "output", required = true, value_name = "IMAGE", help_heading = "Output")]
    outputs: Vec<PathBuf>,
    /// Replace the image if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Read the image back before it appears, and check all of it as `tine pool verify` does
    #[arg(long, help_heading = "Output")]
    verify: bool,
    /// Report the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
    /// Threads that read, compress and checksum [default: one for each processor]
    #[arg(short, long, value_name = "N", value_parser = values::jobs, help_heading = "Resources")]
    jobs: Option<usize>,
    /// Memory to use at most
    #[arg(
        long, value_name = "SIZE", value_parser = values::size, default_value = DEFAULT_MEMORY,
        help_heading = "Resources"
    )]
    memory: u64,

    #[command(flatten)]
    disk: disk::DiskOptions,
    #[command(flatten)]
    system: settings::System,
    #[command(flatten)]
    pool: Pool,
    #[command(flatten)]
    datasets: Datasets,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pool")]
struct Pool {
    /// Name of the pool
    #[arg(long = "pool", value_name = "NAME", default_value = "zroot")]
    name: String,
    /// What the images make up. Given more than once, a pool has so many vdevs of this type, among which the images are
    /// divided in their order
    #[arg(long = "vdev", value_name = "TYPE", default_value = "disk")]
    vdevs: Vec<VdevKindValue>,
    /// Size of each image, with --disk that of the disk, such as 10g [default: room for the files and some more]
    #[arg(short, long, value_name = "SIZE", value_parser = values::size)]
    size: Option<u64>,
    /// Features of the pool: those that all of these compatibility sets (zpool-features(7)) and files have. The
    /// name of a file that is also one of a set needs a slash. `legacy` is a pool without features, for old boot loaders
    #[arg(long, value_name = "SET|FILE,...", default_value = "portable")]
    compatibility: String,
    /// A property of the pool
    #[arg(long = "pool-property", value_name = "NAME=VALUE", value_parser = values::pool_property)]
    properties: Vec<Assignment>,
    /// Sectors have 2^N bytes: 9 to 16
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(9..=16))]
    ashift: u32,
    /// Size of a metaslab, a power of two [default: fits the size of the image]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    metaslab_size: Option<u64>,
    /// GUID of the pool [default: follows from files and options]
    #[arg(long, value_name = "N", value_parser = values::guid)]
    guid: Option<u64>,
    /// What the pool's labels say the images will be
    #[arg(long, value_name = "TYPE", default_value = "disk")]
    vdev_type: VdevType,
    /// The path of the device in the pool's label; of each image, if given more than once
    #[arg(long = "device-path", value_name = "PATH", default_value = "/dev/null")]
    device_paths: Vec<String>,
    /// Have all blocks verified by the first import, which takes long
    #[arg(long)]
    verify_on_import: bool,
}

/// A value of `--vdev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VdevKindValue {
    /// One image
    Disk,
    /// Images with the same contents
    Mirror,
    /// Images of which any one may be lost
    #[value(alias = "raidz")]
    Raidz1,
    /// Images of which any two may be lost
    Raidz2,
    /// Images of which any three may be lost
    Raidz3,
}

impl From<VdevKindValue> for VdevKind {
    fn from(value: VdevKindValue) -> VdevKind {
        match value {
            VdevKindValue::Disk => VdevKind::Single,
            VdevKindValue::Mirror => VdevKind::Mirror,
            VdevKindValue::Raidz1 => VdevKind::Raidz(1),
            VdevKindValue::Raidz2 => VdevKind::Raidz(2),
            VdevKindValue::Raidz3 => VdevKind::Raidz(3),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VdevType {
    /// A disk or partition that the image is written to
    Disk,
    /// A file
    File,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Datasets")]
struct Datasets {
    /// A dataset and its properties, such as 'zroot/var;exec=off;org.example:owner=ci'. That of the pool itself is
    /// always there. One of the layout gets the properties besides its own
    #[arg(long = "dataset", value_name = "NAME[;PROPERTY=VALUE]...", value_parser = values::dataset)]
    datasets: Vec<DatasetSpec>,
    /// A tree of datasets to begin with
    #[arg(long, value_name = "NAME")]
    layout: Option<Layout>,
    /// Compression of all datasets that have none of their own [default: lz4, or lzjb in a pool without the feature]
    #[arg(long, value_name = "ALGORITHM", value_parser = values::compression)]
    compression: Option<String>,
    /// The dataset that is booted [default: that of the layout]
    #[arg(long, value_name = "NAME")]
    bootfs: Option<String>,
    /// The key of a dataset that has `encryption=on;keyformat=passphrase`, `hex` or `raw`, and of those below it without
    /// a key of their own: the file that keylocation=file:// would name
    #[arg(long = "key", value_name = "DATASET=FILE", value_parser = values::key)]
    keys: Vec<(String, PathBuf)>,
    /// Another boot environment beside the dataset that the files of / are in: a clone of its first snapshot, which is
    /// @install if none is given. --bootfs can name it
    #[arg(long = "be", value_name = "NAME")]
    boot_environments: Vec<String>,
    /// The path that the root of the files stands for among mountpoints [default: / if a dataset is mounted there,
    /// else /POOL]
    #[arg(long, value_name = "PATH")]
    root_path: Option<String>,
    /// A snapshot of all datasets or of one
    #[arg(long = "snapshot", value_name = "[DATASET]@NAME", value_parser = values::snapshot)]
    snapshots: Vec<SnapshotSpec>,
    /// What becomes of a hard link from one dataset into another
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    cross_links: CrossLinksValue,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Layout {
    /// The datasets that FreeBSD's installer makes
    Bsdinstall,
}

/// A value of `--cross-links`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CrossLinksValue {
    /// Nothing is built
    Refuse,
    /// Each dataset gets a file of its own
    Copy,
}

impl From<CrossLinksValue> for CrossLinks {
    fn from(value: CrossLinksValue) -> CrossLinks {
        match value {
            CrossLinksValue::Refuse => CrossLinks::Refuse,
            CrossLinksValue::Copy => CrossLinks::Copy,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
struct Files {
    /// Where the files of manifests are [default: beside the manifest]
    #[arg(long, value_name = "DIRECTORY")]
    mtree_root: Option<PathBuf>,
    /// Leave out what matches a pattern, such as '*.o' or /var/cache
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// Owner of all files
    #[arg(long, value_name = "USER", value_parser = values::principal)]
    owner: Option<Principal>,
    /// Group of all files
    #[arg(long, value_name = "GROUP", value_parser = values::principal)]
    group: Option<Principal>,
    /// A change of the mode of all files, such as go-w
    #[arg(long, value_name = "MODE", value_parser = values::mode, allow_hyphen_values = true)]
    chmod: Option<ModeChange>,
    /// Modification time of all files, in seconds since 1970
    #[arg(long, value_name = "SECONDS", value_parser = values::time, allow_hyphen_values = true)]
    mtime: Option<Timestamp>,
    /// Later modification times become this one, which is the time of the pool's making, too: seconds since 1970
    #[arg(long, value_name = "SECONDS", value_parser = values::time, env = "SOURCE_DATE_EPOCH", hide_env_values = true)]
    clamp_mtime: Option<Timestamp>,
    /// Do not read extended attributes and ACLs from directories
    #[arg(long)]
    no_xattrs: bool,
    /// A directory with the master.passwd and group that names of owners are looked up in first
    #[arg(long, value_name = "DIRECTORY")]
    user_database: Option<PathBuf>,
}

/// Runs a command.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Build(build) => build.run(),
        Command::Disk(disk) => disk.run(),
        Command::Convert(convert) => convert.run(),
        Command::Info(info) => info.run(),
        Command::Diff(diff) => diff.run(),
        Command::Manifest(manifest) => manifest.run(),
    }
}

impl Build {
    /// Builds the image and reports on it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (json, verbosity) = (self.json, self.verbosity);
        let first = self.outputs.first().cloned().unwrap_or_default();
        output::check_report(json, &first)?;
        let (job, mut warnings) = self.job()?;
        let built = job.run()?;
        warnings.extend_from_slice(&built.warnings);
        output::warnings("tine", &warnings, verbosity);
        let report = Report::new(&built);
        match (json, verbosity.quiet) {
            (true, _) => output::print_json(&report),
            (false, true) => Ok(()),
            (false, false) => output::report(&first, &report.text(verbosity.verbose)),
        }
    }

    /// The job that the options describe, and what is odd about them.
    fn job(self) -> Result<(Job, Vec<String>), Failure> {
        for (index, output) in self.outputs.iter().enumerate() {
            if self.outputs[..index].contains(output) {
                return Err(Failure::Usage(format!("the output {} is given twice", output.display())));
            }
        }
        self.pool.check_images(self.outputs.len())?;
        let mtree_root = self.files.mtree_root.as_deref();
        let sources = self.sources.iter().map(|path| Source::recognise(path, mtree_root));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        if sources.iter().filter(|source| **source == Source::Archive(PathBuf::from("-"))).count() > 1 {
            return Err(Failure::Usage("standard input can be only one source".to_owned()));
        }
        let creation_time = self.files.clamp_mtime.map(|time| u64::try_from(time.seconds).unwrap_or(0));
        let (mut spec, mut warnings) = spec(self.pool, self.datasets)?;
        let disk = self.disk.plan(&self.outputs, &mut spec)?;
        let destination = |output: &PathBuf| match &disk {
            Some(disk) => Destination::of_disk(output, self.force, disk.target()),
            None => Destination::new(output, self.force),
        };
        let destinations = self.outputs.iter().map(destination).collect::<Result<Vec<_>, _>>()?;
        if self.outputs.iter().any(|output| output.as_os_str() == "-") && (self.verify || self.outputs.len() > 1) {
            let what =
                "standard output takes one image, which cannot be read back: leave --verify and other outputs out";
            return Err(Failure::Usage(what.to_owned()));
        }
        warnings.extend(self.system.warning(self.outputs.len()));
        let job = Job {
            disk,
            system: self.system,
            sources,
            options: self.files.options()?,
            spec,
            creation_time,
            resources: resources(self.jobs, self.memory),
            destinations,
            verify: self.verify,
            quiet: self.verbosity.quiet,
        };
        Ok((job, warnings))
    }
}

impl Pool {
    /// Whether so many images can make up the vdevs.
    fn check_images(&self, images: usize) -> Result<(), Failure> {
        let failed = |what: String| Err(Failure::Usage(what));
        let Some(&first) = self.vdevs.first() else { return Ok(()) };
        if self.vdevs.iter().any(|vdev| *vdev != first) {
            return failed("--vdev: all vdevs of a pool that is built are of one type".to_owned());
        }
        if images > 1 && first == VdevKindValue::Disk && self.vdevs.len() == 1 {
            return failed(format!(
                "{images} images were given: --vdev mirror or raidz1 says what they make up, or --vdev disk for each"
            ));
        }
        let (kind, count) = (VdevKind::from(first), self.vdevs.len());
        let (least, most) = (kind.min_devices(), kind.max_devices());
        if !images.is_multiple_of(count) || !(least..=most).contains(&(images / count)) {
            let name = first.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            let of_each = if least == most { least.to_string() } else { format!("{least} or more") };
            let each = if count == 1 { String::new() } else { format!(" for each of {count} vdevs, the same number") };
            return failed(format!("--vdev {name} takes {of_each} images{each}, and -o gives {images}"));
        }
        Ok(())
    }
}

impl Files {
    fn options(self) -> Result<tree::Options, Failure> {
        let exclude = self.exclude.iter().map(|pattern| values::pattern(pattern));
        Ok(tree::Options {
            owner: self.owner,
            group: self.group,
            mode: self.chmod,
            exclude: exclude.collect::<Result<_, _>>()?,
            mtime: match (self.mtime, self.clamp_mtime) {
                (Some(time), _) => MtimeRule::Set(time),
                (None, Some(latest)) => MtimeRule::Clamp(latest),
                (None, None) => MtimeRule::Keep,
            },
            ids: self.user_database,
            xattrs: !self.no_xattrs,
            ..tree::Options::default()
        })
    }
}

/// The threads and memory that a build may use.
pub(crate) fn resources(jobs: Option<usize>, memory: u64) -> Resources {
    let threads = jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    Resources { threads, memory }
}

fn spec(pool: Pool, datasets: Datasets) -> Result<(PoolSpec, Vec<String>), Failure> {
    let allowed = values::compatibility(&pool.compatibility)?;
    let unknown = allowed.unknown.iter();
    let warnings = unknown.map(|word| format!("--compatibility: {word} is no feature known here")).collect();
    let layout = match datasets.layout {
        Some(Layout::Bsdinstall) => zfs_image::bsdinstall_layout(&pool.name),
        None => Vec::new(),
    };
    let bootfs = match datasets.layout {
        Some(Layout::Bsdinstall) => Some(format!("{}/ROOT/default", pool.name)),
        None => None,
    };
    let compression = datasets.compression.as_deref();
    let mut spec = PoolSpec {
        ashift: pool.ashift,
        size: pool.size,
        metaslab_size: pool.metaslab_size,
        guid: pool.guid,
        features: allowed.features,
        vdev: VdevSpec {
            kind: pool.vdevs.first().copied().unwrap_or(VdevKindValue::Disk).into(),
            count: pool.vdevs.len(),
            disk: matches!(pool.vdev_type, VdevType::Disk),
            paths: pool.device_paths,
        },
        datasets: merge_datasets(&pool.name, layout, datasets.datasets, compression, allowed.features)?,
        bootfs: datasets.bootfs.or(bootfs),
        root_path: datasets.root_path,
        snapshots: datasets.snapshots,
        properties: pool.properties,
        cross_links: datasets.cross_links.into(),
        verify_on_import: pool.verify_on_import,
        ..PoolSpec::new(pool.name)
    };
    for (name, path) in &datasets.keys {
        let Some(dataset) = spec.datasets.iter_mut().find(|dataset| dataset.name == *name) else {
            return Err(Failure::Usage(format!("--key {name}={}: there is no dataset {name}", path.display())));
        };
        dataset.key = Some(key_file(path)?);
    }
    for name in &datasets.boot_environments {
        add_boot_environment(&mut spec, name)?;
    }
    Ok((spec, warnings))
}

/// The key in a file.
fn key_file(path: &Path) -> Result<KeyFile, Failure> {
    let failed = |error| Failure::work(format_args!("cannot read the key {}", path.display()), error);
    let mut contents = Vec::with_capacity(MAX_KEY_FILE as usize + 1);
    File::open(path).and_then(|file| file.take(MAX_KEY_FILE + 1).read_to_end(&mut contents)).map_err(failed)?;
    if contents.len() as u64 > MAX_KEY_FILE {
        return Err(Failure::Work(format!("{} is too long for a file with a key", path.display())));
    }
    Ok(KeyFile::new(contents))
}

/// Adds a clone of the dataset that has the files of the root, as `bectl create` makes it.
fn add_boot_environment(spec: &mut PoolSpec, name: &str) -> Result<(), Failure> {
    let at_root = |dataset: &&DatasetSpec| {
        let is_root =
            |property: &Assignment| property.key == "mountpoint" && property.value == StoredValue::Text("/".to_owned());
        dataset.origin.is_none() && dataset.properties.iter().any(is_root)
    };
    let roots: Vec<&str> = spec.datasets.iter().filter(at_root).map(|dataset| dataset.name.as_str()).collect();
    let booted = roots.iter().copied().find(|root| spec.bootfs.as_deref() == Some(root));
    let root = match (booted, &roots[..]) {
        (Some(root), _) => root.to_owned(),
        (None, [root]) => (*root).to_owned(),
        (None, []) => {
            let way_out = "--layout bsdinstall makes such datasets";
            return Err(Failure::Usage(format!("--be {name}: no dataset has mountpoint=/; {way_out}")));
        }
        (None, _) => {
            let roots = roots.join(", ");
            return Err(Failure::Usage(format!(
                "--be {name}: {roots} have mountpoint=/; --bootfs says which to clone"
            )));
        }
    };
    let Some((parent, _)) = root.rsplit_once('/') else {
        let what = "is the pool's own dataset, which has none beside it";
        return Err(Failure::Usage(format!("--be {name}: {root} {what}; --layout bsdinstall makes others")));
    };
    let is_of_root = |snapshot: &&SnapshotSpec| snapshot.dataset.as_ref().is_none_or(|dataset| *dataset == root);
    let snapshot = match spec.snapshots.iter().find(is_of_root) {
        Some(snapshot) => snapshot.name.clone(),
        None => {
            let snapshot = SnapshotSpec::parse(&format!("{root}@install"))?;
            spec.snapshots.push(snapshot.clone());
            snapshot.name
        }
    };
    let mut clone = DatasetSpec::parse(&format!("{parent}/{name};canmount=noauto;mountpoint=/"))?;
    clone.origin = Some(format!("{root}@{snapshot}"));
    spec.datasets.push(clone);
    Ok(())
}

/// The datasets of a layout and those that were given, which count where both have a
/// property; with a compression for the pool's own dataset.
fn merge_datasets(
    pool: &str,
    layout: Vec<DatasetSpec>,
    given: Vec<DatasetSpec>,
    compression: Option<&str>,
    features: FeatureSet,
) -> Result<Vec<DatasetSpec>, Failure> {
    let mut datasets = layout;
    let from_layout = datasets.len();
    // That of the pool's own dataset is decided below.
    for dataset in datasets.iter_mut().filter(|dataset| dataset.name == pool) {
        dataset.properties.retain(|property| property.key != "compression");
    }
    for dataset in given {
        match datasets[..from_layout].iter_mut().find(|other| other.name == dataset.name) {
            Some(other) => {
                other.properties.retain(|old| dataset.properties.iter().all(|new| new.key != old.key));
                other.properties.extend(dataset.properties);
            }
            None => datasets.push(dataset),
        }
    }
    let root = match datasets.iter().position(|dataset| dataset.name == pool) {
        Some(index) => &mut datasets[index],
        None => {
            datasets.push(DatasetSpec::parse(pool)?);
            let last = datasets.len() - 1;
            &mut datasets[last]
        }
    };
    let default = if features.contains(Feature::Lz4Compress) { "lz4" } else { "lzjb" };
    match compression {
        Some(compression) => root.set("compression", compression)?,
        None if root.properties.iter().any(|property| property.key == "compression") => {}
        None => root.set("compression", default)?,
    }
    Ok(datasets)
}
