//! Building an image, once all options are understood.

use std::time::{Duration, Instant};

use tree::{Kind, Timestamp, Tree};
use zfs_image::{ImageFile, PoolSpec, Resources, Summary};
use zfs_ondisk::property::{Assignment, StoredValue};

use crate::destination::Destination;
use crate::failure::Failure;
use crate::output::plural;
use crate::progress::Bar;
use crate::sources::{self, Source};

/// The value `posix` of the property `acltype` (`ZFS_ACLTYPE_POSIX`).
const ACL_POSIX: u64 = 1;

/// An image to be built.
pub(crate) struct Job {
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
    /// Where the image goes.
    pub(crate) destination: Destination,
    /// Whether no progress is shown.
    pub(crate) quiet: bool,
}

/// An image that was built.
pub(crate) struct Built {
    /// Where it is.
    pub(crate) image: std::path::PathBuf,
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
        let Job { sources, options, mut spec, creation_time, resources, destination, quiet } = self;
        let image = destination.begin()?;
        let path = image.given_path().to_owned();
        let progress = Bar::new(quiet);
        let summary = sources::merge(&sources, options, &spec).and_then(|tree| {
            spec.creation_time = creation_time.unwrap_or_else(|| newest(&tree));
            let file = image.file().map_err(|error| Failure::work(path.display(), error))?;
            let summary = zfs_image::build(&tree, &spec, resources, &ImageFile::new(file, &path), &progress)?;
            let warnings: Vec<String> = tree.warnings().iter().map(ToString::to_string).collect();
            Ok((summary, warnings.into_iter().chain(lost_acls(&tree, &spec)).collect()))
        });
        progress.clear();
        let (summary, warnings) = summary?;
        image.finish()?;
        Ok(Built { image: path, pool: spec.name, summary, warnings, elapsed: began.elapsed() })
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
