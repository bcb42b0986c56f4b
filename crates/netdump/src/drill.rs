//! A client that sends a dump as a kernel would, over a network that can be made bad.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use disk::ReadAt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::{Client, Manner, Plan, Step};
use crate::message::{Kind, acknowledged};
use crate::receiver::Moment;
use crate::udp::{BUFFER_SIZE, Socket};

/// What happens to packets on their way, each a part from 0 to 1 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Network {
    /// They are lost: packets and acknowledgements.
    pub loss: f64,
    /// They are overtaken by those that are sent after them.
    pub reorder: f64,
    /// They arrive twice.
    pub duplicate: f64,
    /// Bytes a second, at most.
    pub rate: Option<u64>,
}

/// Why a dump was not sent to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server does not answer.
    #[error("{server} does not answer: a {kind:?} message was sent {times} times")]
    Silence {
        /// The server.
        server: SocketAddr,
        /// What was sent.
        kind: Kind,
        /// How often.
        times: u32,
    },
    /// There is no socket to be had at the address.
    #[error("cannot use {address} as the client's address: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Sending failed.
    #[error("cannot send to {server}: {error}")]
    Send {
        /// The server.
        server: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The dump cannot be read.
    #[error("cannot read the dump at offset {offset}: {error}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        error: io::Error,
    },
}

/// What was counted while a dump was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of the dump that were acknowledged.
    pub bytes: u64,
    /// Packets that were made.
    pub packets: u64,
    /// Those that were made again, as they were not acknowledged.
    pub repeated: u64,
    /// Packets and acknowledgements that were lost on purpose.
    pub lost: u64,
}

/// A client: its state, its socket, its network.
pub struct Drill<'a> {
    client: Client,
    manner: Manner,
    contents: &'a dyn ReadAt,
    network: Network,
    socket: Socket,
    /// Where the server listens.
    listens: SocketAddr,
    /// Where it answers from.
    server: SocketAddr,
    answered: bool,
    random: u64,
    counts: Counts,
    highest: u32,
    /// Packets that were overtaken.
    late: Vec<Vec<u8>>,
    /// Until when the rate is used up.
    paid: Moment,
}

impl<'a> Drill<'a> {
    /// A client at `address`, where acknowledgements arrive; port 0 is one that the host chooses. `seed` decides what
    /// happens to which packet.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn new(
        plan: Plan,
        manner: Manner,
        network: Network,
        contents: &'a dyn ReadAt,
        (address, server): (SocketAddr, SocketAddr),
        seed: u64,
    ) -> Result<Drill<'a>, Error> {
        let socket = Socket::bind(address).map_err(|error| Error::Bind { address, error })?;
        Ok(Drill {
            client: Client::new(plan, manner.clone()),
            manner,
            contents,
            network,
            socket,
            listens: server,
            server,
            answered: false,
            random: seed,
            counts: Counts::default(),
            highest: 0,
            late: Vec::new(),
            paid: Moment::ZERO,
        })
    }

    /// Sends the dump to its end, or until `enough` says so. `clock` is the time since any moment.
    ///
    /// # Errors
    /// If the server does not answer, or the dump cannot be read.
    pub fn run(
        &mut self,
        clock: &dyn Fn() -> Moment,
        enough: &mut dyn FnMut(&Counts) -> bool,
    ) -> Result<Counts, Error> {
        let mut loaded = Vec::new();
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            let step = self.client.step(clock());
            self.counts.bytes = self.client.sent();
            if enough(&self.counts) {
                return Ok(self.counts);
            }
            match step {
                Step::Load(range) => {
                    loaded.resize(usize::try_from(range.end - range.start).unwrap_or(0), 0);
                    let read = self.contents.read_exact_at(&mut loaded, range.start);
                    read.map_err(|error| Error::Read { offset: range.start, error })?;
                }
                Step::Send(packets) => {
                    let made = packets.into_iter().map(|packet| {
                        let mut bytes = Vec::with_capacity(packet.data.len() + packet.header.len());
                        self.client.packet(&packet, &loaded, &mut bytes);
                        let [_, _, _, _, a, b, c, d, ..] = packet.header;
                        (u32::from_be_bytes([a, b, c, d]), bytes)
                    });
                    let made: Vec<_> = made.collect();
                    self.pace(clock, made.iter().map(|(_, bytes)| bytes.len() as u64).sum());
                    self.send(made)?;
                }
                Step::Wait(until) => self.listen(until.saturating_sub(clock()), &mut buffer)?,
                Step::Done => return Ok(self.counts),
                Step::GaveUp(kind) => {
                    return Err(Error::Silence { server: self.server, kind, times: self.manner.retries + 1 });
                }
            }
        }
    }

    /// Sends packets through the network.
    fn send(&mut self, packets: Vec<(u32, Vec<u8>)>) -> Result<(), Error> {
        let mut run = Vec::with_capacity(packets.len());
        let late = std::mem::take(&mut self.late);
        for (sequence, bytes) in packets {
            self.counts.packets += 1;
            self.counts.repeated += u64::from(sequence <= self.highest);
            self.highest = self.highest.max(sequence);
            if self.happens(self.network.loss) {
                self.counts.lost += 1;
                continue;
            }
            if self.happens(self.network.duplicate) {
                run.push(bytes.clone());
            }
            if self.happens(self.network.reorder) {
                // It comes after some of the others, or with those that are sent next.
                let after = self.random() as usize % 16;
                if after == 0 {
                    self.late.push(bytes);
                } else {
                    let at = run.len().saturating_sub(after);
                    run.insert(at, bytes);
                }
            } else {
                run.push(bytes);
            }
        }
        run.extend(late);
        self.transmit(&run)
    }

    /// Runs of packets of one size are sent at once, where the host can.
    fn transmit(&self, packets: &[Vec<u8>]) -> Result<(), Error> {
        let mut rest = packets;
        while let Some(first) = rest.first() {
            let each = first.len();
            let same = rest.iter().take_while(|packet| packet.len() == each).count();
            // A smaller one can be the last of a run.
            let count = same + usize::from(rest.get(same).is_some_and(|packet| packet.len() < each));
            let (run, later) = rest.split_at(count);
            let sent = self.socket.send(&run.concat(), each, self.server);
            sent.map_err(|error| Error::Send { server: self.server, error })?;
            rest = later;
        }
        Ok(())
    }

    /// Waits for acknowledgements.
    fn listen(&mut self, longest: Duration, buffer: &mut [u8]) -> Result<(), Error> {
        let server = self.server;
        let failed = |error| Error::Send { server, error };
        let mut any = false;
        while let Some(received) = self.socket.receive(buffer).map_err(failed)? {
            if received.from.ip().to_canonical() != self.listens.ip().to_canonical() {
                continue;
            }
            for packet in buffer.get(..received.size).unwrap_or_default().chunks(received.each) {
                let Some(sequence) = acknowledged(packet) else { continue };
                if self.happens(self.network.loss) {
                    self.counts.lost += 1;
                    continue;
                }
                if !self.answered {
                    // Everything else goes where the first acknowledgement came from.
                    (self.answered, self.server) = (true, received.from);
                }
                self.client.acknowledged(sequence);
                any = true;
            }
            if any {
                // What else has come is for the next time: there may be something to send.
                return Ok(());
            }
        }
        let timeout = Timespec { tv_sec: longest.as_secs() as _, tv_nsec: longest.subsec_nanos() as _ };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    fn pace(&mut self, clock: &dyn Fn() -> Moment, bytes: u64) {
        let Some(rate @ 1..) = self.network.rate else { return };
        let now = clock();
        self.paid = self.paid.max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        std::thread::sleep(self.paid.saturating_sub(now));
    }

    fn happens(&mut self, part: f64) -> bool {
        part > 0.0 && ((self.random() >> 11) as f64) < part * (1u64 << 53) as f64
    }

    /// SplitMix64: any numbers that are the same for the same seed.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.random;
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ number >> 31
    }
}

/// The address of client `number` of many on one host: kernels have an address each, and so must clients that listen
/// to the same port. On the loopback of IPv4 there are enough of them; elsewhere, and with a port that the host
/// chooses, all have the same address.
pub fn client_address(server: SocketAddr, ack_port: u16, number: u32) -> SocketAddr {
    match server.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            let number = if ack_port == 0 { 0 } else { number };
            let address = u32::from(Ipv4Addr::LOCALHOST).wrapping_add(number);
            SocketAddr::from((Ipv4Addr::from(address), ack_port))
        }
        IpAddr::V4(_) => SocketAddr::from(([0; 4], ack_port)),
        IpAddr::V6(ip) if ip.is_loopback() => SocketAddr::from((ip, ack_port)),
        IpAddr::V6(_) => SocketAddr::from(([0u16; 8], ack_port)),
    }
}
