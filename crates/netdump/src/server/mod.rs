//! The server: sockets and files around the [state machine](crate::receiver).
//!
//! ```text
//! loop { wait for packets -> receive a run of them -> write what they bring -> write down that it is there
//!        -> acknowledge }
//! ```
//!
//! One thread receives. A dump that has ended is finished (flushed, hashed, named) by a thread of its own.
//!
//! Each client has a socket of its own, whose port it learns from the first acknowledgement, as with netdumpd(8). The
//! port is written down with the ranges that came, so that a server that was killed and started again takes up where
//! the other stopped: the client, which sends again for some seconds, does not notice.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmcore::names::Names;
use vmcore::store::{self, Stored};

use crate::message::ACK_PORT;
use crate::network::{Network, known_as};
use crate::receiver::{Action, Counters, DumpId, Ending, Gathered, Ignored, Limits, Moment, Receiver};
use crate::udp::{BUFFER_SIZE, Received, Socket};

mod finish;
mod journal;
mod live;
mod place;
mod recover;

use finish::Done;
use live::Live;

/// How often a socket is read before the others have their turn.
const READS: usize = 32;
/// What has to stay free in any case: room for the files that tell what became of a dump.
const LEAST_FREE: u64 = 1 << 20;
/// How long a client waits for the end before it is told that all came, though that is not flushed and named yet. It
/// gives up after some twelve seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the same client is told to be refused, and how many clients are.
const REMIND: Duration = Duration::from_secs(60);
const MOST_REFUSED: usize = 1024;

/// How a server works.
pub struct Config {
    /// Where the dumps go. It must be there.
    pub directory: PathBuf,
    /// Where to listen for clients.
    pub listen: Vec<SocketAddr>,
    /// The port of the clients to which acknowledgements go; 0 for that from which a message came.
    pub ack_port: u16,
    /// What is allowed of clients.
    pub limits: Limits,
    /// The networks of clients that are let in; all if there are none.
    pub allow: Vec<Network>,
    /// How many bytes the dumps of one client may take.
    pub quota_client: Option<u64>,
    /// How many bytes all dumps may take.
    pub quota_total: Option<u64>,
    /// How many bytes are left free on the disk.
    pub free_space: u64,
    /// Compress with this level of Zstandard.
    pub compress: Option<i32>,
    /// The name of a host for its address; the address itself where there is none.
    pub name: Box<dyn Fn(IpAddr) -> Option<String> + Send>,
}

impl Config {
    /// A server that puts dumps into `directory` and listens nowhere yet.
    pub fn new(directory: PathBuf) -> Config {
        Config {
            directory,
            listen: Vec::new(),
            ack_port: ACK_PORT,
            limits: Limits::default(),
            allow: Vec::new(),
            quota_client: None,
            quota_total: None,
            free_space: 0,
            compress: None,
            name: Box::new(|_| None),
        }
    }
}

/// Why a server cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address cannot be listened to.
    #[error("cannot listen to {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// There is no address to listen to.
    #[error("there is no address to listen to")]
    Nowhere,
    /// The directory cannot be used.
    #[error("cannot keep dumps in {}: {error}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Waiting for packets failed.
    #[error("cannot wait for packets: {0}")]
    Wait(io::Error),
}

/// A client and its dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; the port is 0 where it is not told apart by that.
    pub address: SocketAddr,
    /// Its name, or its address.
    pub host: String,
    /// The files of its dump.
    pub names: Names,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A client began a dump.
    Began {
        /// The dump.
        dump: DumpId,
        /// The client.
        client: Client,
        /// The path that it asked for and did not get, and why not.
        refused_path: Option<(String, String)>,
    },
    /// A dump that an earlier server left goes on.
    Resumed {
        /// The dump.
        dump: DumpId,
        /// The client.
        client: Client,
        /// How many bytes of it came before.
        bytes: u64,
    },
    /// A client was not let in.
    Refused {
        /// Its address.
        address: IpAddr,
        /// Why.
        why: String,
    },
    /// A dump ended, and all of it is kept that came.
    Ended(Box<Ended>),
}

/// A dump that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Which.
    pub dump: DumpId,
    /// Whose.
    pub client: Client,
    /// How.
    pub how: Ending,
    /// How many bytes came.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What was counted.
    pub counters: Counters,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a dump.
#[derive(Debug)]
pub enum Outcome {
    /// It is stored.
    Stored(Box<Stored>),
    /// Nothing came, and nothing is kept.
    Nothing,
    /// It could not be stored: why. What was written is still there.
    Failed(String),
}

/// A dump that is being received.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Which.
    pub dump: DumpId,
    /// Whose.
    pub client: Client,
    /// Bytes that came.
    pub bytes: u64,
    /// When it began.
    pub began: Moment,
    /// What was counted.
    pub counters: Counters,
}

/// What was counted since the server began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets that came.
    pub packets: u64,
    /// Bytes of all packets.
    pub bytes: u64,
    /// Packets that were ignored.
    pub ignored: u64,
    /// Acknowledgements that were sent.
    pub acknowledgements: u64,
    /// Clients that were refused.
    pub refused: u64,
    /// Dumps that began.
    pub began: u64,
    /// Dumps that are whole.
    pub whole: u64,
    /// Dumps that were finished with bytes missing.
    pub incomplete: u64,
    /// Dumps that were never finished.
    pub partial: u64,
    /// Dumps that could not be stored.
    pub failed: u64,
}

#[derive(Clone, Copy)]
enum Source {
    Listener(usize),
    Client(DumpId),
    Worker,
}

/// The server.
pub struct Server {
    config: Config,
    receiver: Receiver,
    listeners: Vec<(Socket, SocketAddr)>,
    lives: BTreeMap<DumpId, Live>,
    ready: Vec<Source>,
    buffer: Vec<u8>,
    done: mpsc::Receiver<Done>,
    worker: mpsc::Sender<Done>,
    wake: UnixStream,
    woken: UnixStream,
    events: Vec<Event>,
    /// Who was refused, and when that was told.
    refused: BTreeMap<IpAddr, Moment>,
    totals: Totals,
}

impl Server {
    /// A server that listens. What another left unfinished is not taken up before [`Server::recover`].
    ///
    /// # Errors
    /// If an address cannot be listened to, or the directory is none.
    pub fn bind(mut config: Config) -> Result<Server, Error> {
        let failed = |error| Error::Directory { directory: config.directory.clone(), error };
        let directory = config.directory.canonicalize().map_err(failed)?;
        if !directory.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        if config.listen.is_empty() {
            return Err(Error::Nowhere);
        }
        let bind = |&address| {
            let socket = Socket::bind(address);
            let bound = socket.and_then(|socket| socket.address().map(|address| (socket, address)));
            bound.map_err(|error| Error::Listen { address, error })
        };
        let listeners = config.listen.iter().map(bind).collect::<Result<_, _>>()?;
        config.directory = directory;
        let (worker, done) = mpsc::channel();
        let (wake, woken) = UnixStream::pair().map_err(Error::Wait)?;
        woken.set_nonblocking(true).and_then(|()| wake.set_nonblocking(true)).map_err(Error::Wait)?;
        Ok(Server {
            receiver: Receiver::new(config.limits.clone()),
            config,
            listeners,
            lives: BTreeMap::new(),
            ready: Vec::new(),
            buffer: vec![0; BUFFER_SIZE],
            done,
            worker,
            wake,
            woken,
            events: Vec::new(),
            refused: BTreeMap::new(),
            totals: Totals::default(),
        })
    }

    /// The addresses that are listened to, with the ports that the host chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, address)| *address).collect()
    }

    /// Waits for packets, no longer than `longest`.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn wait(&mut self, now: Moment, longest: Duration) -> Result<(), Error> {
        let due = self.receiver.next_tick().map_or(longest, |due| due.saturating_sub(now).min(longest));
        // A moment that is over at once would be waited for in a loop.
        let due = due.max(Duration::from_millis(1));
        let timeout = Timespec { tv_sec: due.as_secs() as _, tv_nsec: due.subsec_nanos() as _ };
        let listeners = self.listeners.iter().enumerate().map(|(index, (socket, _))| (Source::Listener(index), socket));
        let clients = self.lives.iter().map(|(&dump, live)| (Source::Client(dump), &*live.socket));
        let (mut sources, mut polled): (Vec<_>, Vec<_>) =
            listeners.chain(clients).map(|(source, socket)| (source, PollFd::new(socket, PollFlags::IN))).unzip();
        sources.push(Source::Worker);
        polled.push(PollFd::new(&self.woken, PollFlags::IN));
        let result = match poll(&mut polled, Some(&timeout)) {
            Ok(_) => {
                let ready = sources.into_iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
                Ok(ready.map(|(source, _)| source).collect())
            }
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(Error::Wait(errno.into())),
        };
        drop(polled);
        self.ready = result?;
        Ok(())
    }

    /// Handles what has come and what is due.
    pub fn turn(&mut self, now: Moment) {
        for source in std::mem::take(&mut self.ready) {
            match source {
                Source::Worker => while self.woken.read(&mut [0; 64]).is_ok_and(|count| count > 0) {},
                source => self.drain(now, source),
            }
        }
        while let Ok(done) = self.done.try_recv() {
            self.finished(now, done);
        }
        let mut actions = Vec::new();
        self.receiver.tick(now, &mut actions);
        self.act(now, actions, None);
        self.reassure(now);
        self.flush(now);
        let receiver = &self.receiver;
        self.lives.retain(|&dump, live| live.finishing.is_some() || receiver.knows(dump));
    }

    /// Ends all dumps that are not finished. [`Server::turn`] goes on to be called until the server is not
    /// [busy](Server::is_busy).
    pub fn stop(&mut self, now: Moment) {
        let mut actions = Vec::new();
        self.receiver.stop(&mut actions);
        self.act(now, actions, None);
    }

    /// Whether dumps are being received or finished.
    pub fn is_busy(&self) -> bool {
        self.receiver.open().next().is_some() || self.lives.values().any(|live| live.finishing.is_some())
    }

    /// What happened since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The dumps that are being received.
    pub fn progress(&self) -> Vec<Progress> {
        let progress = |(dump, _, gathered): (DumpId, SocketAddr, &Gathered)| {
            let client = self.lives.get(&dump)?.client.clone();
            let (bytes, began) = (gathered.ranges.covered(), gathered.began);
            Some(Progress { dump, client, bytes, began, counters: gathered.counters })
        };
        self.receiver.open().filter_map(progress).collect()
    }

    /// What was counted.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Receives what a socket has.
    fn drain(&mut self, now: Moment, source: Source) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..READS {
            let socket = match source {
                Source::Listener(index) => self.listeners.get(index).map(|(socket, address)| (socket, address)),
                Source::Client(dump) => self.lives.get(&dump).map(|live| (&*live.socket, &live.local)),
                Source::Worker => None,
            };
            let Some((socket, local)) = socket else { break };
            // An error of the socket is that of one packet: the client sends it again.
            let Ok(Some(received)) = socket.receive(&mut buffer) else { break };
            let local = received.to.or(Some(local.ip()));
            let packets = buffer.get(..received.size).unwrap_or_default();
            self.packets(now, &received, packets, local);
        }
        self.buffer = buffer;
        self.flush(now);
    }

    fn packets(&mut self, now: Moment, received: &Received, packets: &[u8], local: Option<IpAddr>) {
        let peer = known_as(received.from, self.config.ack_port == 0);
        let allow = &self.config.allow;
        let allowed = allow.is_empty() || allow.iter().any(|network| network.contains(peer.ip()));
        let mut actions = Vec::new();
        for packet in packets.chunks(received.each) {
            self.totals.packets += 1;
            self.totals.bytes += packet.len() as u64;
            if !allowed {
                self.totals.ignored += 1;
            } else if let Err(ignored) = self.receiver.receive(now, peer, packet, &mut actions) {
                self.totals.ignored += 1;
                if let Ignored::TooMany { .. } = ignored {
                    self.refuse(now, peer.ip(), ignored.to_string());
                }
            }
        }
        if !allowed {
            self.refuse(now, peer.ip(), "it is in no network that is allowed".to_owned());
        }
        self.act(now, actions, local);
    }

    fn act(&mut self, now: Moment, actions: Vec<Action<'_>>, local: Option<IpAddr>) {
        for action in actions {
            match action {
                Action::Begin { dump, peer, path } => {
                    if let Err(why) = self.begin(dump, peer, path.as_deref(), local) {
                        self.receiver.forget(dump);
                        self.refuse(now, peer.ip(), why);
                    }
                }
                Action::Write { dump, offset, data } => {
                    let written = self.lives.get_mut(&dump).map(|live| live.write(data, offset));
                    if let Some(Err(error)) = written {
                        self.abandon(now, dump, error.to_string());
                    }
                }
                Action::Acknowledge { dump, sequence, copies } => {
                    if let Some(live) = self.lives.get_mut(&dump) {
                        live.acknowledge(sequence, copies);
                    }
                }
                Action::End { dump, how, gathered } => self.end(now, dump, how, *gathered),
            }
        }
    }

    /// Writes what is collected, and then says that it is there.
    fn flush(&mut self, now: Moment) {
        let mut failed = Vec::new();
        for (&dump, live) in &mut self.lives {
            if !live.is_touched() {
                continue;
            }
            let least = self.config.free_space.max(LEAST_FREE);
            let written =
                live.flush(self.receiver.gathered(dump)).and_then(|wrote| match free_space(&live.directory) {
                    Some(free) if wrote && free < least => {
                        Err(io::Error::new(io::ErrorKind::StorageFull, format!("less than {least} bytes are free")))
                    }
                    _ => Ok(()),
                });
            match written {
                Ok(()) => self.totals.acknowledgements += live.send(),
                Err(error) => failed.push((dump, error.to_string())),
            }
        }
        for (dump, why) in failed {
            self.abandon(now, dump, why);
        }
    }

    /// Ends a dump that cannot be stored any further.
    fn abandon(&mut self, now: Moment, dump: DumpId, why: String) {
        if let Some(live) = self.lives.get_mut(&dump) {
            live.silence();
        }
        let mut actions = Vec::new();
        self.receiver.abandon(dump, Ending::Storage(why), &mut actions);
        self.act(now, actions, None);
    }

    fn refuse(&mut self, now: Moment, address: IpAddr, why: String) {
        self.totals.refused += 1;
        // A client tries again each second: once is enough to know.
        self.refused.retain(|_, told| now.saturating_sub(*told) < REMIND);
        if self.refused.len() < MOST_REFUSED && !self.refused.contains_key(&address) {
            self.refused.insert(address, now);
            self.events.push(Event::Refused { address, why });
        }
    }

    /// Makes the files and the socket of a new dump.
    fn begin(
        &mut self,
        dump: DumpId,
        peer: SocketAddr,
        path: Option<&[u8]>,
        local: Option<IpAddr>,
    ) -> Result<(), String> {
        let root = self.config.directory.clone();
        let free = free_space(&root);
        if let Some(free) = free.filter(|&free| free < self.config.free_space.max(LEAST_FREE)) {
            return Err(format!("the disk is full: {free} bytes are free in {}", root.display()));
        }
        let host = (self.config.name)(peer.ip()).unwrap_or_else(|| peer.ip().to_canonical().to_string());
        let (room, all) = self.room(&root, &host)?;
        self.receiver.allow(dump, room, all);
        let mut refused_path = None;
        let directory = path.map_or_else(
            || root.clone(),
            |path| {
                place::resolve(&root, path).unwrap_or_else(|why| {
                    refused_path = Some((String::from_utf8_lossy(path).into_owned(), why));
                    root.clone()
                })
            },
        );
        let failed = |error: io::Error| format!("cannot write to {}: {error}", directory.display());
        let local = local.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
        let unspecified = if peer.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        // A client that starts over may have heard from the socket of its dump before, and send there.
        let known = self.lives.values().find(|live| live.client.address == peer).map(|live| live.socket.clone());
        let bind = || {
            let socket = Socket::bind(SocketAddr::new(local.unwrap_or(unspecified), 0));
            socket.or_else(|_| Socket::bind(SocketAddr::new(unspecified, 0))).map(Arc::new)
        };
        let socket = known.map_or_else(bind, Ok).map_err(|error| format!("cannot open a socket: {error}"))?;
        let names = Names::reserve(&directory, Some(&host)).map_err(failed)?;
        let client = Client { address: peer, host, names: names.clone() };
        let live = Live::begin(client.clone(), socket, self.ack_to(peer), self.store_options());
        let live = live.map_err(|error| {
            // Nobody else is to find what was not begun.
            let _ = fs::remove_file(names.info());
            failed(error)
        })?;
        self.lives.insert(dump, live);
        self.totals.began += 1;
        self.events.push(Event::Began { dump, client, refused_path });
        Ok(())
    }

    fn store_options(&self) -> store::Options {
        store::Options { compress: self.config.compress, ..store::Options::default() }
    }

    fn ack_to(&self, peer: SocketAddr) -> SocketAddr {
        let mut to = peer;
        if self.config.ack_port != 0 {
            to.set_port(self.config.ack_port);
        }
        to
    }

    /// How much a dump of `host` may have, and how much all together may grow.
    fn room(&self, root: &Path, host: &str) -> Result<(Option<u64>, Option<u64>), String> {
        let Config { quota_client, quota_total, .. } = self.config;
        if quota_client.is_none() && quota_total.is_none() {
            return Ok((None, None));
        }
        let (mut own, mut all) = (0, 0);
        place::walk(root, &mut |path, metadata| {
            use std::os::unix::fs::MetadataExt;
            let size = metadata.blocks() * 512;
            all += size;
            if Names::of(path).is_some_and(|names| names.host() == Names::new(root, Some(host), 0).host()) {
                own += size;
            }
        });
        let left = |quota: Option<u64>, used: u64, whose: &str| match quota.map(|quota| quota.saturating_sub(used)) {
            Some(0) => Err(format!("{whose} take {used} bytes, and no more are allowed")),
            left => Ok(left),
        };
        Ok((left(quota_client, own, "its dumps")?, left(quota_total, all, "all dumps")?))
    }
}

/// How much is free on the disk of a directory, where the host tells.
fn free_space(directory: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(directory).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
