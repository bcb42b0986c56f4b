//! Building an image, once all options are understood.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::disk::image::{self, Target};
use ::disk::{OpenFile, Part, partition};
use tree::{Builder, Kind, Timestamp, Tree};
use zfs_image::{ImageFile, PoolSpec, Resources, Summary};
use zfs_ondisk::property::{Assignment, StoredValue};
use zfs_pool::{Device, Pool, Secret, check};

use crate::destination::{Destination, Unfinished};
use crate::failure::Failure;
use crate::image::disk;
use crate::image::settings::{self, Facts, Settings};
use crate::output::plural;
use crate::pool::verify;
use crate::progress::{Bar, Verification};
use crate::sources::{self, Source};

/// The value `posix` of the property `acltype` (`ZFS_ACLTYPE_POSIX`).
const ACL_POSIX: u64 = 1;

/// An image to be built.
pub(crate) struct Job {
    /// The disk that the image is to be, if it is not the bare pool.
    pub(crate) disk: Option<disk::Plan>,
    /// Settings of the system in it.
    pub(crate) system: settings::System,
    /// Where its files come from, in order.
    pub(crate) sources: Vec<Source>,
    /// What changes about them.
    pub(crate) options: tree::Options,
    /// The pool. Its time of creation is filled in.
    pub(crate) spec: PoolSpec,
    /// When the pool was made: seconds since 1970; `None` for the time of the newest file.
    pub(crate) creation_time: Option<u64>,
    /// What the work may use.
    pub(crate) resources: Resources,
    /// Where the images go: one for each device of the vdevs.
    pub(crate) destinations: Vec<Destination>,
    /// Whether the image is read back and checked before it gets its name.
    pub(crate) verify: bool,
    /// Whether no progress is shown.
    pub(crate) quiet: bool,
}

/// An image that was built.
pub(crate) struct Built {
    /// Where it is: one image for each device.
    pub(crate) images: Vec<PathBuf>,
    /// Where its files come from.
    pub(crate) sources: Vec<Source>,
    /// The disks that these are; none for a bare pool.
    pub(crate) disks: Vec<disk::Built>,
    /// The pool's name.
    pub(crate) pool: String,
    /// What is in it.
    pub(crate) summary: Summary,
    /// What was left out or passed over.
    pub(crate) warnings: Vec<String>,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

impl Job {
    /// Builds the image.
    pub(crate) fn run(self) -> Result<Built, Failure> {
        let began = Instant::now();
        let Job { disk, system, sources, options, mut spec, creation_time, resources, destinations, verify, quiet } =
            self;
        let images = destinations.into_iter().map(Destination::begin).collect::<Result<Vec<_>, _>>()?;
        let paths: Vec<PathBuf> = images.iter().map(|image| image.given_path().to_owned()).collect();
        let add_settings = |builder: &mut Builder| {
            let (facts, settings) = match &disk {
                Some(disk) => {
                    let facts = disk.facts(&spec.name, builder.has(disk::LOADER.as_bytes()));
                    let settings = disk.settings(&facts);
                    (facts, settings)
                }
                None => (Facts { pool: spec.name.clone(), ..Facts::default() }, Settings::default()),
            };
            system.settings(settings, &facts)?.apply(builder)
        };
        let progress = Bar::new(quiet);
        let tree = sources::merge(&sources, options, &spec, add_settings).inspect_err(|_| progress.clear())?;
        spec.creation_time = creation_time.unwrap_or_else(|| newest(&tree));
        let build = |spec: &PoolSpec, devices: &[&dyn zfs_image::Device]| {
            let summary = zfs_image::build_on(&tree, spec, resources, devices, &progress);
            progress.clear();
            summary.map_err(Failure::from)
        };
        let (summary, disks, mut warnings) = match &disk {
            None => {
                let files = images.iter().map(|image| Ok(ImageFile::new(open(image)?, image.given_path())));
                let files = files.collect::<Result<Vec<_>, Failure>>()?;
                let devices: Vec<&dyn zfs_image::Device> = files.iter().map(|file| file as _).collect();
                (build(&spec, &devices)?, Vec::new(), Vec::new())
            }
            Some(disk) => disk.build(&tree, &mut spec, resources.threads, &images, quiet, build)?,
        };
        warnings.extend(tree.warnings().iter().map(ToString::to_string));
        warnings.extend(lost_acls(&tree, &spec));
        if verify {
            let target = disk.as_ref().map(disk::Plan::target);
            read_back(&images, &spec, target, resources, quiet)?;
        }
        images.into_iter().try_for_each(Unfinished::finish)?;
        Ok(Built { images: paths, sources, disks, pool: spec.name, summary, warnings, elapsed: began.elapsed() })
    }
}

/// The file of an image, to be written or read.
fn open(image: &Unfinished) -> Result<File, Failure> {
    image.file().map_err(|error| Failure::work(image.given_path().display(), error))
}

/// Reads the images of a pool that were written, and checks all of it; of a disk in a format that is read, the pool in
/// it.
fn read_back(
    images: &[Unfinished],
    spec: &PoolSpec,
    target: Option<Target>,
    resources: Resources,
    quiet: bool,
) -> Result<(), Failure> {
    let path = images.first().map(|image| image.given_path().display().to_string()).unwrap_or_default();
    let unsound = |what: &dyn std::fmt::Display| {
        Failure::work(format_args!("{path}: the image was not kept, as it is not sound"), what)
    };
    let mut devices = Vec::with_capacity(images.len());
    for image in images {
        let path = image.given_path().display().to_string();
        let file = open(image)?;
        devices.push(match target {
            None => Device::from_file(&path, file).map_err(|error| unsound(&error))?,
            Some(_) => {
                let bytes = OpenFile::new(file).map_err(|error| Failure::work(&path, error))?;
                let disk = image::open_bytes(Arc::new(bytes), &path).map_err(|error| unsound(&error))?.disk;
                let table = partition::read(&disk).map_err(|error| unsound(&error))?;
                let last = table.and_then(|table| table.partitions.into_iter().last());
                let last = last.ok_or_else(|| unsound(&"it has no partitions"))?;
                Device::new(&path, Arc::new(Part::new(disk, last.start, last.size)))
            }
        });
    }
    let pool = Pool::open(devices).map_err(|error| unsound(&error))?;
    for key in spec.datasets.iter().filter_map(|dataset| dataset.key.as_ref()) {
        pool.add_secret(Secret::passphrase_in(key.contents()));
        Secret::key_in(key.contents()).into_iter().for_each(|secret| pool.add_secret(secret));
    }
    let options = verify::options(Some(resources.threads), resources.memory, None, false);
    let progress = Verification::new(quiet);
    let report = check::check_with(&pool, &options, &progress);
    progress.clear();
    let report = report?;
    match report.findings.first() {
        Some(first) => {
            let count = plural(report.findings.len() as u64 + report.omitted, "fault");
            Err(unsound(&format_args!("{count}, the first: {first}")))
        }
        None => Ok(()),
    }
}

/// Says that POSIX ACLs are left out, if there are some and no dataset can have them.
fn lost_acls(tree: &Tree, spec: &PoolSpec) -> Option<String> {
    let of_posix =
        |property: &Assignment| property.key == "acltype" && property.value == StoredValue::Number(ACL_POSIX);
    let kept = spec.datasets.iter().flat_map(|dataset| &dataset.properties).any(of_posix);
    let acls = tree.posix_acls();
    (acls > 0 && !kept)
        .then(|| format!("{} left out: datasets with acltype=posix keep them", plural(acls as u64, "POSIX ACL")))
}

/// When the newest file was modified, in seconds since 1970. Directories do not count:
/// theirs change when a tree is merely copied.
fn newest(tree: &Tree) -> u64 {
    let nodes = tree.nodes().map(|id| tree.node(id));
    let files = nodes.clone().filter(|node| node.kind != Kind::Directory).map(|node| node.mtime).max();
    let newest: Option<Timestamp> = files.or_else(|| nodes.map(|node| node.mtime).max());
    newest.and_then(|time| u64::try_from(time.seconds).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_image_that_is_not_sound_is_not_kept() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("out.img");
        let image = Destination::new(&path, false).and_then(Destination::begin).expect("it can be written");
        image.file().and_then(|mut file| file.write_all(&[7; 1 << 20])).expect("it can be written");
        let resources = Resources { threads: 1, memory: 64 << 20 };
        let images = [image];
        let failure = read_back(&images, &PoolSpec::new("pool"), None, resources, true).expect_err("that is no pool");
        assert!(failure.to_string().contains("the image was not kept, as it is not sound: "), "{failure}");
        drop(images);
        assert!(!path.exists());
    }
}
