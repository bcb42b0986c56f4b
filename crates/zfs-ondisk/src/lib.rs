//! The on-disk structures of ZFS.
//!
//! One module per structure, named by the format's own term, reading and
//! writing side by side. This crate does no I/O: it turns bytes into values
//! and values into bytes.
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod acl;
pub mod blkptr;
pub mod bpobj;
pub mod bytes;
pub mod checksum;
pub mod compress;
pub mod crypt;
pub mod ddt;
pub mod dnode;
pub mod dsl;
pub mod feature;
pub mod history;
pub mod indirect;
pub mod label;
pub mod nvlist;
pub mod object;
pub mod objset;
pub mod property;
pub mod raidz;
pub mod sa;
pub mod spacemap;
pub mod uberblock;
pub mod zap;
pub mod zil;
pub mod znode;
