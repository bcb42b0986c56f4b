//! Builds ZFS pools from file trees, without a kernel that knows ZFS.
//!
//! A [`tree::Tree`] and a [`PoolSpec`] become an image that OpenZFS imports:
//!
//! ```no_run
//! use std::path::Path;
//! use zfs_image::{DatasetSpec, ImageFile, PoolSpec, Resources, Silent, build};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut sources = tree::Builder::new(tree::Options::default())?;
//! sources.add_directory(Path::new("root"))?;
//! let mut spec = PoolSpec::new("zroot");
//! spec.datasets.push(DatasetSpec::parse("zroot;mountpoint=/;compression=lz4")?);
//! let device = ImageFile::new(std::fs::File::create_new("zroot.img")?, "zroot.img");
//! let resources = Resources { threads: 2, memory: 256 << 20 };
//! let summary = build(&sources.finish()?, &spec, resources, &device, &Silent)?;
//! println!("{} bytes allocated", summary.allocated);
//! # Ok(())
//! # }
//! ```
//!
//! The way goes in one direction: [`PoolSpec`] and tree become a plan of
//! datasets and object numbers; batches of blocks are read, compressed and
//! checksummed by several threads; they are allocated and written in one order;
//! then come the dnodes, the meta object set, the labels. Partition tables and
//! boot code are left to the crate `disk`, reading back to `zfs-pool`.

mod allocator;
mod attributes;
mod block;
mod block_tree;
mod build;
mod device;
mod directory;
mod dnodes;
mod encryption;
mod error;
mod filesystem;
mod geometry;
mod guids;
mod mos;
mod pipeline;
mod plan;
mod progress;
mod settings;
mod spec;
mod store;
mod vdev;
mod zap_object;

pub use build::{DatasetSummary, Resources, Summary, build, build_on};
pub use device::{Device, ImageFile};
pub use encryption::KeyFile;
pub use error::Error;
pub use plan::mountpoints;
pub use progress::{Progress, Silent};
pub use spec::{CrossLinks, DatasetSpec, PoolSpec, SnapshotSpec, VdevSpec, bsdinstall_layout};
pub use vdev::VdevKind;
