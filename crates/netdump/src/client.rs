//! The client's side of the protocol as a state machine, as FreeBSD's kernel has it (`sys/net/debugnet.c`,
//! `sys/netinet/netdump/netdump_client.c`): what is to be sent next, and what to wait for. It has no sockets, no files
//! and no clock.
//!
//! The kernel sends what it writes at once, in packets as large as the network takes, and waits for all their
//! acknowledgements before it goes on. What is not acknowledged after a second is sent again, eleven times.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use vmcore::header;

use crate::message::{HEADER_SIZE, Kind, Message};
use crate::receiver::Moment;

/// Data of one packet where the network takes 1500 bytes: less the headers of IPv4, UDP and the message.
pub const PACKET_DATA: usize = 1500 - 20 - 8 - HEADER_SIZE;
/// What the kernel writes at once (`MAXDUMPPGS` pages).
pub const WRITE_SIZE: usize = 65_536;

/// What a client sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The path on the server that it asks for.
    pub path: Option<String>,
    /// The size of the dump in bytes.
    pub length: u64,
    /// The kernel dump header.
    pub header: Option<Box<[u8; header::SIZE]>>,
    /// The key block.
    pub key: Vec<u8>,
    /// Whether the key is sent before the data, as newer kernels do. FreeBSD 12 sends it after the header.
    pub key_first: bool,
}

/// How a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Bytes that are written at once; [`WRITE_SIZE`] or less.
    pub write_size: usize,
    /// Bytes of data in a packet, at most.
    pub packet_data: usize,
    /// How long acknowledgements are waited for.
    pub wait: Duration,
    /// How often packets are sent again.
    pub retries: u32,
    /// Whether acknowledgements are kept track of as the kernel does it: in 64 bits, set by shifting an `int`. Bit 31 then
    /// sets all above it, and packets from the 33rd on pass for earlier ones, so that what is lost of a large write may
    /// never be sent again.
    pub forgetful: bool,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            write_size: WRITE_SIZE,
            packet_data: PACKET_DATA,
            wait: Duration::from_secs(1),
            retries: 11,
            forgetful: false,
        }
    }
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes of the dump are what packets are made of, until the next such step.
    Load(Range<u64>),
    /// Packets are to be sent.
    Send(Vec<Packet>),
    /// Acknowledgements are to be waited for, until this moment.
    Wait(Moment),
    /// All was sent and acknowledged.
    Done,
    /// The server does not answer; this is what was being sent.
    GaveUp(Kind),
}

/// A packet to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What comes before the data.
    pub header: [u8; HEADER_SIZE],
    /// The data, in what [`Client::data`] gives.
    pub data: Range<usize>,
}

/// One call of the kernel's function that sends: data, in packets, all of which are to be acknowledged.
#[derive(Debug)]
struct Write {
    kind: Kind,
    /// Where its data belong.
    offset: u64,
    size: usize,
}

/// The state machine.
#[derive(Debug)]
pub struct Client {
    plan: Plan,
    manner: Manner,
    writes: VecDeque<Write>,
    /// What is being written.
    current: Option<Write>,
    loaded: bool,
    next_offset: u64,
    /// The number of the first packet of the write.
    sequence: u32,
    wanted: u64,
    acknowledged: u64,
    tries: u32,
    until: Option<Moment>,
}

impl Client {
    /// A client that has sent nothing.
    pub fn new(plan: Plan, manner: Manner) -> Client {
        let write = |kind, size| Write { kind, offset: 0, size };
        let mut writes = VecDeque::from([write(Kind::Herald, plan.path.as_ref().map_or(0, |path| path.len() + 1))]);
        if plan.key_first && !plan.key.is_empty() {
            writes.push_back(write(Kind::Key, plan.key.len()));
        }
        let packet_data = manner.packet_data.clamp(1, WRITE_SIZE);
        // More than 64 packets at once have no place in the kernel's 64 bits.
        let write_size = manner.write_size.clamp(1, (packet_data * 64).min(WRITE_SIZE));
        Client {
            plan,
            manner: Manner { write_size, packet_data, ..manner },
            writes,
            current: None,
            loaded: false,
            next_offset: 0,
            sequence: 1,
            wanted: 0,
            acknowledged: 0,
            tries: 0,
            until: None,
        }
    }

    /// What is to be done at this moment.
    pub fn step(&mut self, now: Moment) -> Step {
        if self.current.is_some() && self.loaded && self.wanted != 0 && self.acknowledged == self.wanted {
            self.sequence = self.sequence.wrapping_add(self.packets());
            self.current = None;
        }
        if self.current.is_none() {
            let Some(write) = self.next_write() else { return Step::Done };
            let load = (write.kind == Kind::Vmcore).then_some(write.offset..write.offset + write.size as u64);
            self.current = Some(write);
            (self.wanted, self.acknowledged, self.tries, self.until) = (0, 0, 0, None);
            self.loaded = true;
            if let Some(load) = load {
                return Step::Load(load);
            }
        }
        match self.until {
            Some(until) if now < until => Step::Wait(until),
            Some(_) if self.tries > self.manner.retries => {
                Step::GaveUp(self.current.as_ref().map_or(Kind::Herald, |write| write.kind))
            }
            _ => self.send(now),
        }
    }

    /// The server has acknowledged a message.
    pub fn acknowledged(&mut self, sequence: u32) {
        let number = sequence.wrapping_sub(self.sequence);
        if number < self.packets() {
            self.acknowledged |= self.bit(number);
        }
    }

    /// The data that packets are made of; `loaded` are the bytes that [`Step::Load`] asked for.
    pub fn data<'a>(&'a self, loaded: &'a [u8]) -> &'a [u8] {
        match self.current.as_ref().map(|write| write.kind) {
            Some(Kind::Vmcore) => loaded,
            Some(Kind::Key) => &self.plan.key,
            Some(Kind::Header) => self.plan.header.as_deref().map_or(&[], |header| header.as_slice()),
            _ => &[],
        }
    }

    /// The bytes of a packet: its header, then its data.
    pub fn packet(&self, packet: &Packet, loaded: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(&packet.header);
        if self.current.as_ref().is_some_and(|write| write.kind == Kind::Herald) {
            if let Some(path) = &self.plan.path {
                to.extend_from_slice(path.as_bytes());
                to.push(0);
            }
            return;
        }
        to.extend_from_slice(self.data(loaded).get(packet.data.clone()).unwrap_or_default());
    }

    /// How many bytes of the dump have been acknowledged.
    pub fn sent(&self) -> u64 {
        let current = self.current.as_ref().filter(|write| write.kind == Kind::Vmcore);
        current.map_or(self.next_offset, |write| write.offset)
    }

    fn next_write(&mut self) -> Option<Write> {
        if let Some(write) = self.writes.pop_front() {
            return Some(write);
        }
        if self.next_offset < self.plan.length {
            let offset = self.next_offset;
            let size = (self.plan.length - offset).min(self.manner.write_size as u64);
            self.next_offset += size;
            if self.next_offset == self.plan.length {
                self.after_the_data();
            }
            return Some(Write { kind: Kind::Vmcore, offset, size: size as usize });
        }
        if self.plan.length == 0 && self.next_offset == 0 {
            self.next_offset = 1;
            self.after_the_data();
            return self.writes.pop_front();
        }
        None
    }

    fn after_the_data(&mut self) {
        let write = |kind, size| Write { kind, offset: 0, size };
        if self.plan.header.is_some() {
            self.writes.push_back(write(Kind::Header, header::SIZE));
        }
        if !self.plan.key_first && !self.plan.key.is_empty() {
            self.writes.push_back(write(Kind::Key, self.plan.key.len()));
        }
        self.writes.push_back(write(Kind::Finished, 0));
    }

    /// How many packets the write takes; one that has no data takes one.
    fn packets(&self) -> u32 {
        let size = self.current.as_ref().map_or(0, |write| write.size);
        size.div_ceil(self.manner.packet_data).max(1) as u32
    }

    /// The bit of a packet among the acknowledgements.
    fn bit(&self, number: u32) -> u64 {
        if self.manner.forgetful { i64::from(1i32.wrapping_shl(number)) as u64 } else { 1 << number.min(63) }
    }

    fn send(&mut self, now: Moment) -> Step {
        let Some(write) = &self.current else { return Step::Done };
        let mut packets = Vec::new();
        for number in 0..self.packets() {
            let bit = self.bit(number);
            if self.acknowledged & bit != 0 {
                continue;
            }
            let start = number as usize * self.manner.packet_data;
            let data = start..write.size.min(start + self.manner.packet_data);
            let sequence = self.sequence.wrapping_add(number);
            let offset = write.offset + start as u64;
            // Only the size of the data matters here: a slice of as many zeros is one.
            static NOTHING: [u8; WRITE_SIZE] = [0; WRITE_SIZE];
            let as_large = NOTHING.get(..data.len()).unwrap_or_default();
            let header = Message { kind: write.kind, sequence, offset, data: as_large }.header();
            packets.push(Packet { header, data });
            self.wanted |= bit;
        }
        self.tries += 1;
        self.until = Some(now + self.manner.wait);
        Step::Send(packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(length: u64) -> Plan {
        Plan {
            path: Some("lab".to_owned()),
            length,
            header: Some(Box::new([7; 512])),
            key: vec![9; 2000],
            key_first: false,
        }
    }

    /// All that a client sends when everything is acknowledged.
    fn conversation(plan: Plan, manner: Manner) -> Vec<(Kind, u32, u64, usize)> {
        let mut client = Client::new(plan, manner);
        let mut loaded = Vec::new();
        let mut sent = Vec::new();
        loop {
            match client.step(Moment::ZERO) {
                Step::Load(range) => loaded = vec![1; (range.end - range.start) as usize],
                Step::Send(packets) => {
                    for packet in packets {
                        let mut bytes = Vec::new();
                        client.packet(&packet, &loaded, &mut bytes);
                        let message = Message::parse(&bytes).unwrap();
                        sent.push((message.kind, message.sequence, message.offset, message.data.len()));
                        client.acknowledged(message.sequence);
                    }
                }
                Step::Done => return sent,
                step => panic!("{step:?}"),
            }
        }
    }

    #[test]
    fn a_write_of_4096_bytes_is_three_packets_and_the_header_and_key_come_after_the_data() {
        let manner = Manner { write_size: 4096, ..Manner::default() };
        assert_eq!(
            conversation(plan(8192), manner),
            [
                (Kind::Herald, 1, 0, 4),
                (Kind::Vmcore, 2, 0, 1448),
                (Kind::Vmcore, 3, 1448, 1448),
                (Kind::Vmcore, 4, 2896, 1200),
                (Kind::Vmcore, 5, 4096, 1448),
                (Kind::Vmcore, 6, 5544, 1448),
                (Kind::Vmcore, 7, 6992, 1200),
                (Kind::Header, 8, 0, 512),
                (Kind::Key, 9, 0, 1448),
                (Kind::Key, 10, 1448, 552),
                (Kind::Finished, 11, 0, 0),
            ]
        );
    }

    #[test]
    fn newer_kernels_send_the_key_first() {
        let kinds = |key_first| {
            let sent = conversation(Plan { key_first, ..plan(1000) }, Manner::default());
            sent.iter().map(|(kind, ..)| *kind).collect::<Vec<_>>()
        };
        let Kind::Herald = kinds(true)[0] else { panic!() };
        assert_eq!(kinds(true)[1..4], [Kind::Key, Kind::Key, Kind::Vmcore]);
        assert_eq!(kinds(false)[1..4], [Kind::Vmcore, Kind::Header, Kind::Key]);
    }

    #[test]
    fn a_write_of_65536_bytes_is_46_packets() {
        let sent = conversation(plan(65_536), Manner::default());
        assert_eq!(sent.iter().filter(|(kind, ..)| *kind == Kind::Vmcore).count(), 46);
    }

    #[test]
    fn an_empty_dump_is_a_header_only() {
        let plan = Plan { key: Vec::new(), ..plan(0) };
        let kinds: Vec<_> = conversation(plan, Manner::default()).iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [Kind::Herald, Kind::Header, Kind::Finished]);
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_until_the_client_gives_up() {
        let mut client = Client::new(plan(65_536), Manner::default());
        let second = Duration::from_secs(1);
        for try_ in 0..12u32 {
            assert!(matches!(client.step(second * try_), Step::Send(packets) if packets.len() == 1), "{try_}");
            assert_eq!(client.step(second * try_), Step::Wait(second * (try_ + 1)));
        }
        assert_eq!(client.step(second * 12), Step::GaveUp(Kind::Herald));
    }

    /// Sends a write of 46 packets of which one is lost, and says which are sent again.
    fn sent_again(forgetful: bool, lost: u32) -> Vec<u32> {
        let mut client = Client::new(plan(65_536), Manner { forgetful, ..Manner::default() });
        assert!(matches!(client.step(Moment::ZERO), Step::Send(_)));
        client.acknowledged(1);
        assert_eq!(client.step(Moment::ZERO), Step::Load(0..65_536));
        assert!(matches!(client.step(Moment::ZERO), Step::Send(packets) if packets.len() == 46));
        (2..48).filter(|&sequence| sequence != lost).for_each(|sequence| client.acknowledged(sequence));
        match client.step(Duration::from_secs(1)) {
            Step::Send(packets) => packets
                .iter()
                .filter(|packet| packet.header[3] == 3)
                .map(|packet| u32::from_be_bytes(packet.header[4..8].try_into().unwrap()))
                .collect(),
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn the_kernel_never_sends_a_packet_again_that_passes_for_another() {
        assert_eq!(sent_again(false, 40), [40]);
        assert_eq!(sent_again(false, 5), [5]);
        // Packets 2 and 34 are one bit: either may be lost.
        assert_eq!(sent_again(true, 40), []);
        assert_eq!(sent_again(true, 5), []);
        // One whose bit no other has is not forgotten.
        assert_eq!(sent_again(true, 20), [20]);
    }
}
