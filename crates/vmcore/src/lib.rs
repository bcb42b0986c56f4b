//! Kernel dumps of FreeBSD: their headers, their files, their formats, and the physical and virtual memory in them.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod arch;
mod bytes;
pub mod check;
pub mod contents;
pub mod convert;
pub mod device;
mod dump;
pub mod files;
#[cfg(any(test, feature = "forge"))]
pub mod forge;
pub mod frames;
pub mod header;
pub mod info;
pub mod key;
pub mod memory;
pub mod names;
pub mod private_key;
pub mod ranges;
pub mod store;
pub mod textdump;
pub mod time;

pub use arch::{Architecture, ByteOrder};
pub use contents::{Contents, Missing};
pub use dump::{Dump, Error};
pub use files::Files;
pub use header::Header;
