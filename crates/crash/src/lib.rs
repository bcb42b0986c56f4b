//! What FreeBSD kernels keep where: from a dump and its kernel to an explanation.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod allocators;
mod archive;
mod cache;
pub mod disassemble;
mod dump;
mod error;
pub mod group;
mod hex;
pub mod interfaces;
mod kernel;
pub mod live;
pub mod locks;
pub mod messages;
pub mod modules;
pub mod mounts;
mod names;
pub mod pack;
pub mod panic;
mod percpu;
pub mod queue;
pub mod registers;
pub mod report;
mod rescue;
mod saved;
pub mod signature;
pub mod stack;
pub mod threads;
pub mod tslog;

pub use dump::{Crash, Options};
pub use error::{Error, Result};
pub use names::KernelNames;
pub use report::Report;
