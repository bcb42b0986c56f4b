//! The server's side of the protocol as a state machine: packets and the time go in, what is to be done with the
//! storage and what is to be answered comes out. It has no sockets, no files and no clock.
//!
//! ```text
//!  herald      key       data        header       finished        stored
//!    |          |          |           |             |               |
//!    v          v          v           v             v               v
//! [begins] -> [ receives ................. ] -> [ waits for    -> [ is ended: repeated messages
//!                                                 late data ]      are acknowledged still ]
//! ```
//!
//! The key comes after the header from FreeBSD 12, and before the data from newer ones.
//!
//! A client is known by its address. It tracks acknowledgements in a way that can lose data (see the formats' document),
//! so that only the set of byte ranges that came tells whether a dump is whole.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use crate::message::{Kind, Malformed, Message};

mod dump;
#[cfg(test)]
mod tests;

pub use dump::{Counters, Gathered};
use dump::{Dump, State};

/// A moment, as the time since another that stays the same.
pub type Moment = Duration;

/// How far behind the end of what has come data may belong. A kernel sends in order; a packet with a wild offset would
/// make a file of any size.
const FURTHEST_AHEAD: u64 = 1 << 30;
/// The largest key that is kept. A kernel's is a block of 4096 bytes.
const LARGEST_KEY: u64 = 64 << 10;
/// How long data that are missing may still come after the client said that it has finished.
const LATE: Duration = Duration::from_millis(300);
/// A herald from a client that was not heard for so long is that of a new dump: no machine restarts and panics faster.
/// Within it, a herald can also be a copy that was under way.
const RESTART: Duration = Duration::from_secs(2);
/// After which silence a dump has ended of which nothing came yet: clients send at once when they are answered.
const IDLE: Duration = Duration::from_secs(30);
/// How long messages of a dump that has ended are still acknowledged.
const LINGER: Duration = Duration::from_secs(60);
/// How often the acknowledgement of a packet that came before is sent: the one before may have been lost, and a client
/// gives up after some.
const COPIES: u8 = 3;
/// Acknowledgements that are held back for one client, at most.
const MOST_HELD: usize = 1024;

/// What a receiver allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many dumps are received at a time.
    pub clients: usize,
    /// After which silence a dump has ended.
    pub silence: Duration,
    /// How long a dump may take.
    pub longest: Option<Duration>,
    /// Bytes a second from each client.
    pub rate: Option<u64>,
    /// How many separate ranges there may be in a dump.
    pub ranges: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { clients: 256, silence: Duration::from_secs(300), longest: None, rate: None, ranges: 65_536 }
    }
}

/// Which dump, among all that a receiver has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DumpId(pub u64);

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<'p> {
    /// A client begins: [`Receiver::allow`] says how much it may send, [`Receiver::forget`] that it may not.
    Begin {
        /// Its dump from now on.
        dump: DumpId,
        /// Where the client is.
        peer: SocketAddr,
        /// The path that it asks for, without the NUL.
        path: Option<Vec<u8>>,
    },
    /// Data are to be written. None of them was there before.
    Write {
        /// Of which dump.
        dump: DumpId,
        /// Where in it, in bytes.
        offset: u64,
        /// What.
        data: &'p [u8],
    },
    /// A message is to be acknowledged, once everything before this is done.
    Acknowledge {
        /// Of which dump.
        dump: DumpId,
        /// The number of the message.
        sequence: u32,
        /// How often.
        copies: u8,
    },
    /// A dump has ended, one way or the other. For one that is finished, [`Receiver::stored`] is to be called when all
    /// of it is kept.
    End {
        /// Which.
        dump: DumpId,
        /// How.
        how: Ending,
        /// What came of it.
        gathered: Box<Gathered>,
    },
}

/// How a dump ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client said that it has sent everything.
    Finished,
    /// The client was not heard any more.
    Silent,
    /// The client began another.
    StartedOver,
    /// It took longer than is allowed.
    TooLong,
    /// It was larger than is allowed.
    Quota,
    /// It came in more pieces than are kept.
    Scattered,
    /// The receiver was told to stop.
    Stopped,
    /// It could not be stored.
    Storage(String),
}

/// Why a packet was not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ignored {
    /// It is no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It belongs to no dump.
    #[error("it belongs to no dump")]
    Unknown,
    /// There are as many dumps as are allowed.
    #[error("{clients} dumps are being received, and no more are allowed")]
    TooMany {
        /// How many.
        clients: usize,
    },
    /// Its data belong where they cannot.
    #[error("data at offset {offset}, far behind what has come")]
    Far {
        /// Where.
        offset: u64,
    },
    /// It is not of the size that its kind has.
    #[error("a {kind:?} of {size} bytes")]
    Size {
        /// Its kind.
        kind: Kind,
        /// Its size.
        size: usize,
    },
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Receiver {
    limits: Limits,
    by_peer: HashMap<SocketAddr, DumpId>,
    dumps: BTreeMap<DumpId, Dump>,
    next: u64,
    /// Bytes that all dumps together may still grow by.
    room: Option<u64>,
}

impl Receiver {
    /// A receiver that has heard of no client.
    pub fn new(limits: Limits) -> Receiver {
        Receiver { limits, ..Receiver::default() }
    }

    /// Handles a packet that came from `peer`, the address by which the client is known: all packets from one are
    /// those of one client.
    ///
    /// # Errors
    /// If it was ignored. Nothing is to be done then.
    pub fn receive<'p>(
        &mut self,
        now: Moment,
        peer: SocketAddr,
        packet: &'p [u8],
        actions: &mut Vec<Action<'p>>,
    ) -> Result<(), Ignored> {
        let message = Message::parse(packet)?;
        if message.kind == Kind::Herald {
            return self.herald(now, peer, &message, actions);
        }
        let mut id = *self.by_peer.get(&peer).ok_or(Ignored::Unknown)?;
        if let Some(path) = self.dumps.get(&id).and_then(|dump| dump.is_another(now, &message)) {
            self.end(id, Ending::StartedOver, actions);
            id = self.begin(now, peer, path, actions)?;
        }
        let limits = &self.limits;
        let dump = self.dumps.get_mut(&id).ok_or(Ignored::Unknown)?;
        match dump.message(now, &message, limits, &mut self.room, id, actions) {
            Ok(None) => Ok(()),
            Ok(Some(ending)) => {
                self.end(id, ending, actions);
                Ok(())
            }
            Err(ignored) => {
                dump.gathered.counters.ignored += 1;
                Err(ignored)
            }
        }
    }

    /// What is due: dumps whose time is up, acknowledgements that were held back.
    pub fn tick(&mut self, now: Moment, actions: &mut Vec<Action<'_>>) {
        let mut ended = Vec::new();
        for (&id, dump) in &mut self.dumps {
            dump.release(now, id, actions);
            if let Some(how) = dump.is_over(now, &self.limits) {
                ended.push((id, how));
            }
        }
        for (id, how) in ended {
            if how == Ending::Finished {
                self.finish(id, actions);
            } else {
                self.end(id, how, actions);
            }
        }
        let by_peer = &mut self.by_peer;
        self.dumps.retain(|_, dump| {
            let keep = !matches!(dump.state, State::Ended { since } if now.saturating_sub(since) >= LINGER);
            if !keep {
                by_peer.remove(&dump.peer);
            }
            keep
        });
    }

    /// When [`Receiver::tick`] has something to do, at the latest: nothing is due before.
    pub fn next_tick(&self) -> Option<Moment> {
        self.dumps.values().filter_map(|dump| dump.due(&self.limits)).min()
    }

    /// Lets a dump that has begun be as large as `room` bytes, and all together grow by `all`; `None` is no limit.
    pub fn allow(&mut self, dump: DumpId, room: Option<u64>, all: Option<u64>) {
        self.room = all;
        if let Some(dump) = self.dumps.get_mut(&dump) {
            dump.room = room;
        }
    }

    /// A dump that an earlier receiver began goes on with what came of it.
    ///
    /// # Errors
    /// If the client has begun another, or there are as many dumps as are allowed.
    pub fn resume(&mut self, now: Moment, peer: SocketAddr, gathered: Gathered) -> Result<DumpId, Ignored> {
        if self.by_peer.contains_key(&peer) {
            return Err(Ignored::Unknown);
        }
        let id = self.begin(now, peer, None, &mut Vec::new())?;
        if let Some(dump) = self.dumps.get_mut(&id) {
            dump.resumed(now, gathered);
        }
        Ok(id)
    }

    /// Forgets a dump: its client is not answered any more.
    pub fn forget(&mut self, dump: DumpId) {
        if let Some(dump) = self.dumps.remove(&dump) {
            self.by_peer.remove(&dump.peer);
        }
    }

    /// Ends a dump that can be received no further.
    pub fn abandon(&mut self, dump: DumpId, how: Ending, actions: &mut Vec<Action<'_>>) {
        if self.dumps.get(&dump).is_some_and(Dump::is_open) {
            self.end(dump, how, actions);
        }
    }

    /// Ends all dumps that are not finished.
    pub fn stop(&mut self, actions: &mut Vec<Action<'_>>) {
        let open: Vec<_> = self.dumps.iter().filter(|(_, dump)| dump.is_open()).map(|(&id, _)| id).collect();
        open.into_iter().for_each(|id| self.end(id, Ending::Stopped, actions));
    }

    /// A finished dump is kept: the client is told so.
    pub fn stored(&mut self, now: Moment, id: DumpId, actions: &mut Vec<Action<'_>>) {
        if let Some(dump) = self.dumps.get_mut(&id) {
            dump.stored(now, id, actions);
        }
    }

    /// How far a dump is, as long as it is received.
    pub fn gathered(&self, dump: DumpId) -> Option<&Gathered> {
        self.dumps.get(&dump).filter(|dump| dump.is_open()).map(|dump| &dump.gathered)
    }

    /// The dumps that are being received.
    pub fn open(&self) -> impl Iterator<Item = (DumpId, SocketAddr, &Gathered)> {
        let open = self.dumps.iter().filter(|(_, dump)| dump.is_open());
        open.map(|(&id, dump)| (id, dump.peer, &dump.gathered))
    }

    /// Whether anything is known of a dump still: as long as it is, its client may send to it.
    pub fn knows(&self, dump: DumpId) -> bool {
        self.dumps.contains_key(&dump)
    }

    fn herald<'p>(
        &mut self,
        now: Moment,
        peer: SocketAddr,
        message: &Message<'p>,
        actions: &mut Vec<Action<'p>>,
    ) -> Result<(), Ignored> {
        let path = path(message.data);
        let mut known = self.by_peer.get(&peer).copied();
        if let Some(id) = known
            && let Some(dump) = self.dumps.get_mut(&id)
        {
            if matches!(dump.state, State::Ended { .. }) {
                self.forget(id);
                known = None;
            } else if dump.is_surely_older(now) {
                self.end(id, Ending::StartedOver, actions);
                known = None;
            } else {
                dump.heralded(now, path.clone());
            }
        }
        let dump = match known {
            Some(id) => id,
            None => self.begin(now, peer, path, actions)?,
        };
        actions.push(Action::Acknowledge { dump, sequence: message.sequence, copies: 1 });
        Ok(())
    }

    fn begin(
        &mut self,
        now: Moment,
        peer: SocketAddr,
        path: Option<Vec<u8>>,
        actions: &mut Vec<Action<'_>>,
    ) -> Result<DumpId, Ignored> {
        let clients = self.dumps.values().filter(|dump| dump.is_open()).count();
        if clients >= self.limits.clients {
            return Err(Ignored::TooMany { clients });
        }
        let id = DumpId(self.next);
        self.next += 1;
        self.dumps.insert(id, Dump::new(now, peer));
        self.by_peer.insert(peer, id);
        actions.push(Action::Begin { dump: id, peer, path });
        Ok(id)
    }

    /// The client has sent all: it is answered when that is kept.
    fn finish(&mut self, id: DumpId, actions: &mut Vec<Action<'_>>) {
        if let Some(dump) = self.dumps.get_mut(&id) {
            let gathered = Box::new(dump.finish());
            actions.push(Action::End { dump: id, how: Ending::Finished, gathered });
        }
    }

    /// The client is not answered any more.
    fn end(&mut self, id: DumpId, how: Ending, actions: &mut Vec<Action<'_>>) {
        let finished = |dump: &Dump| matches!(dump.state, State::Closing { .. });
        if how == Ending::Finished || self.dumps.get(&id).is_some_and(finished) {
            self.finish(id, actions);
        }
        if how == Ending::Finished {
            return;
        }
        let Some(dump) = self.dumps.remove(&id) else { return };
        self.by_peer.remove(&dump.peer);
        if dump.is_open() {
            actions.push(Action::End { dump: id, how, gathered: Box::new(dump.gathered) });
        }
    }
}

/// The path in a herald: up to its NUL.
fn path(data: &[u8]) -> Option<Vec<u8>> {
    let path = data.split(|&byte| byte == 0).next()?;
    (!path.is_empty()).then(|| path.to_vec())
}
