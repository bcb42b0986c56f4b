//! Kernel dumps of FreeBSD: their headers, their formats, and the physical and virtual memory in them.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod arch;
#[cfg(any(test, feature = "forge"))]
pub mod forge;
pub mod memory;

pub use arch::{Architecture, ByteOrder};
