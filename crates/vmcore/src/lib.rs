//! Kernel dumps of FreeBSD: their headers, their files, their formats, and the physical and virtual memory in them.
//!
//! [`Dump::open`] opens a file, whatever it has been through, and [`memory`] is what is in it; [`convert`] makes other
//! forms of that. What a kernel keeps where in its memory, and what its symbols are, others know.
//!
//! ```no_run
//! use vmcore::Dump;
//! use vmcore::contents::Options;
//! use vmcore::memory::VirtualMemory;
//!
//! let dump = Dump::open("vmcore.0".as_ref(), &Options::default())?;
//! if let Some(messages) = dump.memory.message_buffer()? {
//!     println!("{}", String::from_utf8_lossy(messages.unread_text()));
//! }
//! println!("{:#x}", dump.memory.read_u64(0xffff_ffff_8089_a530)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
