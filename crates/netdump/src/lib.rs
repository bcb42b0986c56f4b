//! The protocol by which a panicking FreeBSD kernel sends its memory to another machine (netdump(4)).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod client;
pub mod message;
pub mod receiver;
pub mod udp;
