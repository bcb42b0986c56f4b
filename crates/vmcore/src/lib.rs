//! Kernel dumps of FreeBSD: their headers, their files, their formats, and the physical and virtual memory in them.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod bytes;
mod frames;
pub mod header;
pub mod info;
pub mod key;
pub mod names;
pub mod ranges;
pub mod store;
pub mod time;
