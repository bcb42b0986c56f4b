//! Disks as files: the formats of disk images, and what divides a disk.
//!
//! [`image::open`] finds out the format of an image and gives the disk in it as
//! bytes that can be read at any offset ([`ReadAt`]); [`partition::read`] finds
//! the partitions of a disk, [`fat::Volume`] the files of an EFI system partition.
//! In the other direction, [`fat::build`] makes such a partition,
//! [`partition::Layout`] puts partitions and their table together to a disk, and
//! [`image::write`] makes an image of any format of it. There is one module for
//! each format. What is in other partitions, such as pools, is left to others.
//!
//! Images and tables are not trusted: sizes are bounded before memory is
//! allocated, offsets are checked, chains of references come to an end, and what
//! cannot be is an [`Error`] that says where and what was expected.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod assembly;
mod bytes;
mod error;
pub mod fat;
pub mod image;
pub mod partition;
mod read_at;
mod write_at;

pub use assembly::Assembly;
pub use error::Error;
pub use read_at::{OpenFile, Part, ReadAt};
pub use write_at::{InOrder, WriteAt};
