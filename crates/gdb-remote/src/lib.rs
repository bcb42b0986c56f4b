//! The GDB Remote Serial Protocol (GDB manual, appendix E).
//!
//! [`server::serve`] shows a [`Target`], something that stands still, to GDB and LLDB: threads with names, registers,
//! memory, modules. Nothing can be written, and nothing runs. [`Client`] reads from a stub, QEMU's or a kernel's own.
//!
//! Connections are anything that can be read and written: sockets and serial lines are the caller's. The other side is
//! not trusted: packets and lengths are bounded.
//!
//! ```
//! use gdb_remote::{Architecture, Target, ThreadId, server};
//!
//! struct Nothing;
//!
//! impl Target for Nothing {
//!     fn architecture(&self) -> Architecture {
//!         Architecture::Amd64
//!     }
//!     fn threads(&self) -> Vec<ThreadId> {
//!         vec![100001]
//!     }
//!     fn thread_name(&self, _: ThreadId) -> Option<String> {
//!         Some("idle".into())
//!     }
//!     fn registers(&self, _: ThreadId) -> Vec<Option<u64>> {
//!         Vec::new()
//!     }
//!     fn read(&self, _: u64, _: &mut [u8]) -> usize {
//!         0
//!     }
//! }
//!
//! let mut answers = Vec::new();
//! server::serve(&Nothing, &mut &b"$?#3f+"[..], &mut answers)?;
//! assert!(answers.starts_with(b"+$T05thread:186a1;"));
//! # Ok::<(), std::io::Error>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod client;
pub mod packet;
mod registers;
pub mod server;
mod target;

pub use client::{Client, Error};
pub use registers::{Architecture, Register};
pub use target::{Target, ThreadId};
