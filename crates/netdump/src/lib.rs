//! The protocol by which a panicking FreeBSD kernel sends its memory to another machine (netdump(4)): the server that
//! catches dumps, and a client that sends them as a kernel would.
//!
//! [`receiver`] and [`client`] are the two sides as state machines: packets and the time go in, and what is to be done
//! comes out. [`server`] and [`drill`] put sockets and files around them. What a dump is, and how it is stored, is
//! left to the crate `vmcore`; options, messages and signals to the program.
//!
//! A whole conversation, without a network:
//!
//! ```
//! use netdump::client::{Client, Manner, Plan, Step};
//! use netdump::receiver::{Action, Limits, Moment, Receiver};
//!
//! let memory = [7; 10_000];
//! let mut client = Client::new(Plan { length: 10_000, ..Plan::default() }, Manner::default());
//! let mut server = Receiver::new(Limits::default());
//! let peer = "192.0.2.1:0".parse()?;
//! let (mut loaded, mut received) = (0..0, 0);
//! for _ in 0..5 {
//!     match client.step(Moment::ZERO) {
//!         Step::Load(range) => loaded = range.start as usize..range.end as usize,
//!         Step::Send(packets) => {
//!             for packet in packets {
//!                 let mut bytes = Vec::new();
//!                 client.packet(&packet, &memory[loaded.clone()], &mut bytes);
//!                 let mut actions = Vec::new();
//!                 server.receive(Moment::ZERO, peer, &bytes, &mut actions)?;
//!                 for action in actions {
//!                     match action {
//!                         Action::Write { data, .. } => received += data.len(),
//!                         Action::Acknowledge { sequence, .. } => client.acknowledged(sequence),
//!                         Action::Begin { .. } | Action::End { .. } => {}
//!                     }
//!                 }
//!             }
//!         }
//!         _ => break,
//!     }
//! }
//! assert_eq!(received, 10_000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod client;
pub mod drill;
pub mod message;
pub mod network;
pub mod receiver;
pub mod server;
pub mod udp;
