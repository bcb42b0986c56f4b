//! Reads ZFS pools in user space, from files or disks, without ZFS in the
//! kernel and without writing a byte.
//!
//! All reading goes one path:
//!
//! ```text
//! Device -> Vdev -> Pool::read_block -> ObjectSet -> Object -> Dataset -> FileSystem
//! ```
//!
//! [`Pool::open`] reads the labels, puts the vdevs together and opens the meta
//! object set; [`Pool::datasets`] lists what is in it; [`FileSystem`] reads the
//! files of one dataset or snapshot; [`check::check`] examines everything.
//!
//! Every block is verified by its checksum before it is used. What is on the
//! devices is not trusted: sizes are bounded before memory is allocated, and
//! what cannot be is an [`Error`] that says where and what was expected.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod block;
mod cache;
pub mod capacity;
pub mod check;
mod crypt;
#[cfg(test)]
mod crypt_tests;
#[cfg(test)]
mod damage_tests;
mod dataset;
mod device;
mod error;
pub mod facts;
pub mod features;
pub mod fs;
#[cfg(test)]
mod gang_tests;
mod history;
mod label;
mod object;
mod pool;
pub mod props;
pub mod space;
mod spacemap;
mod spill;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
mod unflushed;
mod vdev;
mod walk;
mod zap;

pub use block::{BadCopy, MAX_BLOCK};
pub use crypt::{Encryption, Lock, Secret};
pub use dataset::{Dataset, DatasetKind, PropertyValue};
pub use device::{Device, ReadAt};
pub use error::Error;
pub use fs::FileSystem;
pub use history::{History, HistoryRecord};
pub use label::{LabelUberblock, Labels, PoolState};
pub use object::{Object, ObjectSet, Objects};
pub use pool::{OpenOptions, Pool};
pub use spacemap::SpaceMap;
pub use vdev::{BlockPart, DevicePlace, Draid, Indirect, Raidz, Vdev, VdevKind, leaf_guids};
pub use walk::{Blocks, Visit, Walk};
pub use zap::Zap;
