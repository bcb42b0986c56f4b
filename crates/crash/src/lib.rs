//! What FreeBSD kernels keep where: from a dump and its kernel to an explanation.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod dump;
mod error;
pub mod group;
mod hex;
mod kernel;
pub mod live;
pub mod messages;
pub mod modules;
pub mod pack;
pub mod panic;
pub mod queue;
pub mod registers;
pub mod report;
pub mod signature;
pub mod stack;
pub mod threads;

pub use dump::{Crash, Options};
pub use error::{Error, Result};
pub use report::Report;
