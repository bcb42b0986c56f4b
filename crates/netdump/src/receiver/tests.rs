//! Packet traces: what comes out of the state machine for what goes in.

#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges may have one")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use vmcore::header::{Compression, Header, Magic};
use vmcore::ranges::Ranges;

use super::*;
use crate::client::{Client, Manner, Plan, Step};

const SECOND: Moment = Moment::from_secs(1);

fn peer(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 0))
}

fn header(length: u64, key_size: u32) -> Box<[u8; 512]> {
    let header = Header {
        magic: Magic::Kernel,
        architecture: "amd64".to_owned(),
        version: 4,
        architecture_version: 2,
        dump_length: length,
        dump_extent: length,
        dump_time: 1_577_880_000,
        key_size,
        block_size: 4096,
        compression: Compression::None,
        hostname: "crash".to_owned(),
        version_string: "FreeBSD 12.1\n".to_owned(),
        panic_string: "page fault".to_owned(),
        parity: 0,
        parity_ok: true,
    };
    Box::new(header.build().unwrap())
}

fn packet(kind: Kind, sequence: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    [&Message { kind, sequence, offset, data }.header()[..], data].concat()
}

/// A server: the state machine, and the storage in memory.
struct Server {
    receiver: Receiver,
    now: Moment,
    files: BTreeMap<DumpId, Vec<u8>>,
    acknowledged: Vec<u32>,
    ended: Vec<(DumpId, Ending, Box<Gathered>)>,
    begun: Vec<(DumpId, Option<Vec<u8>>)>,
}

impl Server {
    fn new(limits: Limits) -> Server {
        Server {
            receiver: Receiver::new(limits),
            now: Moment::from_secs(100),
            files: BTreeMap::new(),
            acknowledged: Vec::new(),
            ended: Vec::new(),
            begun: Vec::new(),
        }
    }

    fn packet(&mut self, host: u8, packet: &[u8]) -> Result<(), Ignored> {
        let mut actions = Vec::new();
        let result = self.receiver.receive(self.now, peer(host), packet, &mut actions);
        self.act(actions);
        result
    }

    fn tick(&mut self, after: Moment) {
        self.now += after;
        let mut actions = Vec::new();
        self.receiver.tick(self.now, &mut actions);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action<'_>>) {
        for action in actions {
            match action {
                Action::Begin { dump, path, .. } => self.begun.push((dump, path)),
                Action::Write { dump, offset, data } => {
                    let file = self.files.entry(dump).or_default();
                    let end = offset as usize + data.len();
                    file.resize(file.len().max(end), 0);
                    file[offset as usize..end].copy_from_slice(data);
                }
                Action::Acknowledge { sequence, copies, .. } => {
                    (0..copies).for_each(|_| self.acknowledged.push(sequence));
                }
                Action::End { dump, how, gathered } => self.ended.push((dump, how, gathered)),
            }
        }
    }

    fn stored(&mut self, dump: u64) {
        let mut actions = Vec::new();
        self.receiver.stored(self.now, DumpId(dump), &mut actions);
        self.act(actions);
    }

    /// The acknowledgements since the last call.
    fn acknowledged(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.acknowledged)
    }

    fn endings(&self) -> Vec<Ending> {
        self.ended.iter().map(|(_, how, _)| how.clone()).collect()
    }

    /// The first packets of a dump of `size` bytes, which are all `fill`.
    fn sends(&mut self, host: u8, size: usize, fill: u8) {
        self.packet(host, &packet(Kind::Herald, 1, 0, b"")).unwrap();
        self.goes_on(host, 0..size, fill);
    }

    fn goes_on(&mut self, host: u8, range: std::ops::Range<usize>, fill: u8) {
        for at in range.clone().step_by(1000) {
            let data = vec![fill; 1000.min(range.end - at)];
            self.packet(host, &packet(Kind::Vmcore, 2 + (at / 1000) as u32, at as u64, &data)).unwrap();
        }
    }

    fn finishes(&mut self, host: u8, sequence: u32, length: u64) {
        self.packet(host, &packet(Kind::Header, sequence, 0, &header(length, 0)[..])).unwrap();
        self.packet(host, &packet(Kind::Finished, sequence + 1, 0, b"")).unwrap();
    }
}

#[test]
fn a_dump_is_whole_when_all_has_come_and_finished_is_acknowledged_when_it_is_kept() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 3000, 7);
    server.finishes(1, 5, 3000);
    assert_eq!(server.acknowledged(), [1, 2, 3, 4, 5]);
    assert_eq!(server.endings(), [Ending::Finished]);
    let gathered = &server.ended[0].2;
    assert!(gathered.is_whole());
    assert_eq!(gathered.counters, Counters { packets: 5, ..Counters::default() });
    assert_eq!(server.files[&DumpId(0)], [7; 3000]);
    // Nothing is said before it is on the disk; then, and whenever the client asks again.
    server.packet(1, &packet(Kind::Finished, 6, 0, b"")).unwrap();
    assert_eq!(server.acknowledged(), []);
    server.stored(0);
    assert_eq!(server.acknowledged(), [6]);
    server.packet(1, &packet(Kind::Finished, 6, 0, b"")).unwrap();
    assert_eq!(server.acknowledged(), [6, 6, 6]);
    server.tick(LINGER);
    assert!(!server.receiver.knows(DumpId(0)));
}

#[test]
fn finished_with_packets_that_never_came_is_a_dump_with_holes() {
    let mut server = Server::new(Limits::default());
    server.packet(1, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    server.packet(1, &packet(Kind::Vmcore, 2, 0, &[1; 1000])).unwrap();
    // Number 3 is lost, and the client believes that it was acknowledged.
    server.packet(1, &packet(Kind::Vmcore, 4, 2000, &[1; 1000])).unwrap();
    server.finishes(1, 5, 3000);
    assert_eq!(server.endings(), []);
    server.tick(LATE);
    assert_eq!(server.endings(), [Ending::Finished]);
    let gathered = &server.ended[0].2;
    assert!(!gathered.is_whole());
    assert_eq!(gathered.ranges.missing(0..gathered.expected_end()).collect::<Vec<_>>(), [1000..2000]);
    assert_eq!(gathered.counters.missed, 1);
}

#[test]
fn the_end_can_be_missing_too() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 2000, 1);
    server.finishes(1, 5, 3000);
    server.tick(LATE);
    assert!(!server.ended[0].2.is_whole());
    assert_eq!(server.ended[0].2.expected_end(), 3000);
}

#[test]
fn more_than_the_header_announces_belongs_to_a_dump_that_is_not_compressed() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 4000, 1);
    server.finishes(1, 6, 3000);
    assert_eq!(server.ended[0].2.expected_end(), 4000);
    assert!(server.ended[0].2.is_whole());
    // A hole behind the length is one, too.
    server.packet(2, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    server.goes_on(2, 0..3000, 1);
    server.goes_on(2, 4000..5000, 1);
    server.finishes(2, 7, 3000);
    server.tick(LATE);
    assert!(!server.ended[1].2.is_whole());
}

#[test]
fn a_late_packet_still_counts_when_the_client_has_finished() {
    let mut server = Server::new(Limits::default());
    server.packet(1, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    server.packet(1, &packet(Kind::Vmcore, 3, 1000, &[1; 1000])).unwrap();
    server.finishes(1, 4, 2000);
    server.packet(1, &packet(Kind::Vmcore, 2, 0, &[1; 1000])).unwrap();
    assert_eq!(server.endings(), [Ending::Finished]);
    assert!(server.ended[0].2.is_whole());
}

#[test]
fn a_repeated_packet_is_written_once_and_acknowledged_more_than_once() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 1000, 1);
    server.acknowledged();
    server.packet(1, &packet(Kind::Vmcore, 2, 0, &[2; 1000])).unwrap();
    assert_eq!(server.acknowledged(), [2; COPIES as usize]);
    // What came first stays.
    assert_eq!(server.files[&DumpId(0)], [1; 1000]);
    let (_, _, gathered) = server.receiver.open().next().unwrap();
    assert_eq!(gathered.counters.repeated, 1);
}

#[test]
fn packets_that_overlap_bring_what_is_new() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 1000, 1);
    server.packet(1, &packet(Kind::Vmcore, 3, 500, &[2; 1000])).unwrap();
    assert_eq!(server.files[&DumpId(0)], [vec![1; 1000], vec![2; 500]].concat());
}

#[test]
fn a_repeated_herald_is_no_other_dump() {
    let mut server = Server::new(Limits::default());
    server.packet(1, &packet(Kind::Herald, 1, 0, b"lab\0")).unwrap();
    server.packet(1, &packet(Kind::Herald, 1, 0, b"lab\0")).unwrap();
    assert_eq!(server.acknowledged(), [1, 1]);
    server.goes_on(1, 0..2000, 1);
    // A copy that was under way for long.
    server.packet(1, &packet(Kind::Herald, 1, 0, b"lab\0")).unwrap();
    server.goes_on(1, 2000..3000, 1);
    server.finishes(1, 5, 3000);
    assert_eq!(server.begun, [(DumpId(0), Some(b"lab".to_vec()))]);
    assert_eq!(server.endings(), [Ending::Finished]);
}

#[test]
fn packets_that_are_sent_again_after_a_copy_of_the_herald_are_of_the_same_dump() {
    let mut server = Server::new(Limits::default());
    server.packet(1, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    // The third of five is lost; the herald was sent twice, as its acknowledgement took long.
    server.goes_on(1, 0..2000, 1);
    server.goes_on(1, 3000..5000, 1);
    server.packet(1, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    server.goes_on(1, 1000..3000, 1);
    server.goes_on(1, 5000..6000, 1);
    server.finishes(1, 8, 6000);
    assert_eq!(server.endings(), [Ending::Finished]);
    assert!(server.ended[0].2.is_whole());
    assert_eq!(server.begun.len(), 1);
}

#[test]
fn a_client_that_starts_over_with_the_same_memory_is_known_by_its_numbers() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 80_000, 1);
    server.sends(1, 80_000, 1);
    assert_eq!(server.endings(), [Ending::StartedOver]);
    server.finishes(1, 82, 80_000);
    assert!(server.ended[1].2.is_whole());
}

#[test]
fn a_client_that_starts_over_gets_another_dump() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 5000, 1);
    server.packet(1, &packet(Kind::Herald, 1, 0, b"again\0")).unwrap();
    server.goes_on(1, 0..2000, 2);
    assert_eq!(server.begun[1], (DumpId(1), Some(b"again".to_vec())));
    assert_eq!(server.endings(), [Ending::StartedOver]);
    server.finishes(1, 4, 2000);
    assert_eq!(server.endings(), [Ending::StartedOver, Ending::Finished]);
    assert_eq!(server.ended[0].2.ranges.covered(), 5000);
    assert_eq!(server.files[&DumpId(0)], [1; 5000]);
    assert_eq!(server.files[&DumpId(1)], [2; 2000]);
    // After a pause, the herald alone says it.
    server.stored(1);
    server.sends(1, 1000, 3);
    server.tick(RESTART);
    server.packet(1, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    assert_eq!(server.begun.len(), 4);
    assert_eq!(server.files[&DumpId(2)], [3; 1000]);
}

#[test]
fn clients_do_not_meet() {
    let mut server = Server::new(Limits { clients: 2, ..Limits::default() });
    server.sends(1, 1000, 1);
    server.sends(2, 2000, 2);
    let third = server.packet(3, &packet(Kind::Herald, 1, 0, b""));
    assert_eq!(third, Err(Ignored::TooMany { clients: 2 }));
    assert_eq!(server.packet(3, &packet(Kind::Vmcore, 2, 0, b"x")), Err(Ignored::Unknown));
    server.finishes(1, 3, 1000);
    server.finishes(2, 4, 2000);
    assert_eq!(server.files[&DumpId(0)], [1; 1000]);
    assert_eq!(server.files[&DumpId(1)], [2; 2000]);
    // One that is being stored takes no place.
    server.packet(3, &packet(Kind::Herald, 1, 0, b"")).unwrap();
}

#[test]
fn a_silent_client_and_one_that_takes_too_long_are_given_up() {
    let mut server = Server::new(Limits { silence: SECOND * 10, longest: Some(SECOND * 25), ..Limits::default() });
    server.sends(1, 1000, 1);
    assert_eq!(server.receiver.next_tick(), Some(server.now + SECOND * 10));
    server.tick(SECOND * 9);
    server.goes_on(1, 1000..2000, 1);
    server.tick(SECOND * 9);
    assert_eq!(server.endings(), []);
    server.goes_on(1, 2000..3000, 1);
    server.tick(SECOND * 7);
    assert_eq!(server.endings(), [Ending::TooLong]);
    server.sends(2, 1000, 1);
    server.tick(SECOND * 10);
    assert_eq!(server.endings()[1], Ending::Silent);
    assert_eq!(server.ended[1].2.ranges.covered(), 1000);
}

#[test]
fn a_client_that_sends_nothing_does_not_keep_its_place() {
    let mut server = Server::new(Limits { clients: 1, ..Limits::default() });
    server.packet(1, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    assert!(server.packet(2, &packet(Kind::Herald, 1, 0, b"")).is_err());
    server.tick(IDLE);
    assert_eq!(server.endings(), [Ending::Silent]);
    server.packet(2, &packet(Kind::Herald, 1, 0, b"")).unwrap();
}

#[test]
fn a_stop_ends_what_is_not_finished() {
    let mut server = Server::new(Limits::default());
    server.sends(1, 1000, 1);
    server.sends(2, 1000, 1);
    server.finishes(2, 3, 1000);
    let mut actions = Vec::new();
    server.receiver.stop(&mut actions);
    server.act(actions);
    assert_eq!(server.endings(), [Ending::Finished, Ending::Stopped]);
}

#[test]
fn limits_of_size_hold_for_each_and_for_all() {
    let mut server = Server::new(Limits::default());
    for host in [1, 2] {
        server.packet(host, &packet(Kind::Herald, 1, 0, b"")).unwrap();
        server.receiver.allow(DumpId(u64::from(host) - 1), Some(5000), Some(6000));
    }
    server.goes_on(1, 0..5000, 1);
    server.packet(1, &packet(Kind::Vmcore, 7, 5000, b"x")).unwrap();
    assert_eq!(server.endings(), [Ending::Quota]);
    assert_eq!(server.ended[0].2.ranges.covered(), 5000);
    server.goes_on(2, 0..1000, 1);
    server.packet(2, &packet(Kind::Vmcore, 3, 1000, b"x")).unwrap();
    assert_eq!(server.endings(), [Ending::Quota, Ending::Quota]);
}

#[test]
fn a_rate_holds_acknowledgements_back() {
    let mut server = Server::new(Limits { rate: Some(10_000), ..Limits::default() });
    server.sends(1, 5000, 1);
    // A tenth of a second is for free.
    assert_eq!(server.acknowledged(), [1, 2]);
    let mut later = Vec::new();
    for _ in 0..4 {
        assert!(server.receiver.next_tick().is_some_and(|due| due <= server.now + SECOND / 10));
        server.tick(SECOND / 10);
        later.push(server.acknowledged());
    }
    assert_eq!(later, [[3], [4], [5], [6]]);
}

#[test]
fn what_no_kernel_sends_is_ignored() {
    let mut server = Server::new(Limits { ranges: 10, ..Limits::default() });
    assert_eq!(server.packet(1, &packet(Kind::Finished, 1, 0, b"")), Err(Ignored::Unknown));
    server.sends(1, 1000, 1);
    server.acknowledged();
    let far = 1000 + FURTHEST_AHEAD + 1;
    assert_eq!(server.packet(1, &packet(Kind::Vmcore, 9, far, b"x")), Err(Ignored::Far { offset: far }));
    assert_eq!(server.packet(1, &packet(Kind::Vmcore, 9, 0, b"")), Err(Ignored::Size { kind: Kind::Vmcore, size: 0 }));
    let short = server.packet(1, &packet(Kind::Header, 9, 0, &[0; 511]));
    assert_eq!(short, Err(Ignored::Size { kind: Kind::Header, size: 511 }));
    let key = server.packet(1, &packet(Kind::Key, 9, LARGEST_KEY, b"x"));
    assert_eq!(key, Err(Ignored::Far { offset: LARGEST_KEY }));
    assert_eq!(server.acknowledged(), []);
    assert_eq!(server.receiver.open().next().unwrap().2.counters.ignored, 4);
    for step in 1..=10 {
        server.packet(1, &packet(Kind::Vmcore, 9, 1000 + step * 10, b"x")).unwrap();
    }
    assert_eq!(server.endings(), [Ending::Scattered]);
}

#[test]
fn a_header_that_lies_does_not_make_a_dump_whole() {
    for (length, whole) in [(1000, true), (999, true), (0, true), (1001, false), (u64::MAX, false)] {
        let mut server = Server::new(Limits::default());
        server.sends(1, 1000, 1);
        server.finishes(1, 3, length);
        server.tick(LATE);
        assert_eq!(server.ended[0].2.is_whole(), whole, "{length}");
    }
    // One whose parity is wrong says nothing of the length; no header is no dump.
    let mut server = Server::new(Limits::default());
    server.sends(1, 1000, 1);
    let mut wrong = header(5000, 0);
    wrong[300] ^= 1;
    server.packet(1, &packet(Kind::Header, 3, 0, &wrong[..])).unwrap();
    server.packet(1, &packet(Kind::Finished, 4, 0, b"")).unwrap();
    assert!(server.ended[0].2.is_whole());
    server.sends(2, 1000, 1);
    server.packet(2, &packet(Kind::Finished, 3, 0, b"")).unwrap();
    server.tick(LATE);
    assert!(!server.ended[1].2.is_whole());
}

#[test]
fn the_key_may_come_before_or_after_the_data_and_belongs_to_a_whole_dump() {
    let key: Vec<u8> = (0..3000).map(|at| at as u8).collect();
    for first in [true, false] {
        for lost in [true, false] {
            let mut server = Server::new(Limits::default());
            let send_key = |server: &mut Server| {
                server.packet(1, &packet(Kind::Key, 3, 1448, &key[1448..])).unwrap();
                if !lost {
                    server.packet(1, &packet(Kind::Key, 2, 0, &key[..1448])).unwrap();
                }
            };
            server.packet(1, &packet(Kind::Herald, 1, 0, b"")).unwrap();
            if first {
                send_key(&mut server);
            }
            server.packet(1, &packet(Kind::Vmcore, 4, 0, &[1; 1000])).unwrap();
            if !first {
                send_key(&mut server);
            }
            server.packet(1, &packet(Kind::Header, 5, 0, &header(1000, 3000)[..])).unwrap();
            server.packet(1, &packet(Kind::Finished, 6, 0, b"")).unwrap();
            server.tick(LATE);
            let gathered = &server.ended[0].2;
            assert_eq!(gathered.is_whole(), !lost);
            assert_eq!(gathered.key[1448..], key[1448..]);
        }
    }
}

#[test]
fn a_dump_goes_on_with_another_receiver() {
    let mut server = Server::new(Limits::default());
    let id = server.receiver.resume(server.now, peer(1), came(Ranges::from_iter([0..2000]))).unwrap();
    server.files.insert(id, vec![1; 2000]);
    // The last packets were acknowledged, and the client did not hear it.
    server.goes_on(1, 1000..3000, 1);
    server.finishes(1, 5, 3000);
    assert!(server.ended[0].2.is_whole());
    assert_eq!(server.ended[0].2.counters, Counters { packets: 4, repeated: 1, ..Counters::default() });
    assert_eq!(server.files[&id], [1; 3000]);
    // A herald can only be that of another dump.
    server.receiver.resume(server.now, peer(2), came(Ranges::from_iter([0..2000]))).unwrap();
    server.packet(2, &packet(Kind::Herald, 1, 0, b"")).unwrap();
    assert_eq!(server.endings()[1], Ending::StartedOver);
    assert!(server.receiver.resume(server.now, peer(2), came(Ranges::new())).is_err());
}

#[test]
fn sequence_numbers_wrap_around() {
    let mut server = Server::new(Limits::default());
    server.receiver.resume(server.now, peer(1), came(Ranges::from_iter([0..1000]))).unwrap();
    for (number, at) in [(u32::MAX - 1, 1000u64), (u32::MAX, 2000), (0, 3000), (1, 4000)] {
        server.packet(1, &packet(Kind::Vmcore, number, at, &[1; 1000])).unwrap();
    }
    let counters = server.receiver.open().next().unwrap().2.counters;
    assert_eq!(counters, Counters { packets: 4, ..Counters::default() });
}

fn came(ranges: Ranges) -> Gathered {
    Gathered { ranges, ..Gathered::default() }
}

/// What the network does to a packet.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// It comes after so many others.
    Late(u8),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        5 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => (1..80u8).prop_map(Fate::Late),
    ];
    proptest::collection::vec(fate, 1..200)
}

/// A client's dump through a network, to the end.
fn drill(contents: &[u8], manner: Manner, fates: &[Fate], key_first: bool) -> (Server, bool) {
    let key: Vec<u8> = (0..2000).map(|at| (at % 251) as u8).collect();
    let plan = Plan {
        path: None,
        length: contents.len() as u64,
        header: Some(header(contents.len() as u64, key.len() as u32)),
        key,
        key_first,
    };
    let mut fate = fates.iter().cycle();
    let mut client = Client::new(plan, manner);
    let mut server = Server::new(Limits::default());
    let mut loaded = Vec::new();
    let mut late: Vec<(u8, Vec<u8>)> = Vec::new();
    loop {
        match client.step(server.now) {
            Step::Load(range) => loaded = contents[range.start as usize..range.end as usize].to_vec(),
            Step::Send(packets) => {
                let mut arriving = Vec::new();
                for packet in packets {
                    let mut bytes = Vec::new();
                    client.packet(&packet, &loaded, &mut bytes);
                    match fate.next().unwrap() {
                        Fate::Arrives => arriving.push(bytes),
                        Fate::Lost => {}
                        Fate::Twice => arriving.extend([bytes.clone(), bytes]),
                        Fate::Late(after) => late.push((*after, bytes)),
                    }
                    late.iter_mut().for_each(|(after, _)| *after = after.saturating_sub(1));
                    let (due, rest) = late.into_iter().partition(|(after, _)| *after == 0);
                    late = rest;
                    arriving.extend(due.into_iter().map(|(_, bytes): (u8, Vec<u8>)| bytes));
                }
                for bytes in arriving {
                    let _ = server.packet(1, &bytes);
                }
            }
            Step::Wait(until) => {
                // A twentieth of a second of silence is enough for what is decided by time.
                server.tick(SECOND / 20);
                if let Some((dump, Ending::Finished, _)) = server.ended.last() {
                    let dump = dump.0;
                    server.stored(dump);
                }
                for sequence in server.acknowledged() {
                    if !matches!(fate.next().unwrap(), Fate::Lost) {
                        client.acknowledged(sequence);
                    }
                }
                if server.now < until && matches!(client.step(server.now), Step::Wait(_)) {
                    server.now = until;
                }
            }
            Step::Done => return (server, true),
            Step::GaveUp(_) => return (server, false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_does_the_dump_is_right_or_said_not_to_be(
        size in 1..300_000usize, seed: u8, small: bool, forgetful: bool, key_first: bool, fates in fates()
    ) {
        let contents: Vec<u8> = (0..size).map(|at| (at / 1000 + at * 7) as u8 ^ seed).collect();
        let write_size = if small { 4096 } else { 65_536 };
        let manner = Manner { write_size, forgetful, retries: 60, ..Manner::default() };
        let (mut server, done) = drill(&contents, manner, &fates, key_first);
        let mut actions = Vec::new();
        server.receiver.stop(&mut actions);
        server.act(actions);
        for (dump, how, gathered) in &server.ended {
            let file = server.files.get(dump).cloned().unwrap_or_default();
            // What is said to be there is right.
            for range in gathered.ranges.iter() {
                let range = range.start as usize..range.end as usize;
                prop_assert!(file[range.clone()] == contents[range]);
            }
            if *how == Ending::Finished && gathered.is_whole() {
                prop_assert!(file == contents);
                prop_assert!(gathered.key.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
            }
        }
        // A client that keeps track of its acknowledgements, and does not give up, has its dump kept whole.
        if done && !forgetful {
            let whole = |(_, how, gathered): &(DumpId, Ending, Box<Gathered>)| {
                *how == Ending::Finished && gathered.is_whole()
            };
            prop_assert!(server.ended.iter().any(whole));
        }
    }

    #[test]
    fn any_packets_in_any_order_keep_it_sound(
        packets in proptest::collection::vec((0..7u32, 0..80u32, 0..50_000u64, 0..600usize, 0..3u8, 0..3000u64), 0..300)
    ) {
        let mut server = Server::new(Limits { ranges: 20, clients: 2, rate: Some(100_000), ..Limits::default() });
        for (kind, sequence, offset, size, host, wait) in packets {
            let mut bytes = packet(Kind::Vmcore, sequence, offset, &vec![3; size]);
            bytes[3] = kind as u8;
            let _ = server.packet(host, &bytes);
            server.tick(Moment::from_millis(wait));
            for (dump, ..) in server.ended.clone() {
                server.stored(dump.0);
            }
        }
        for (dump, _, gathered) in &server.ended {
            prop_assert!(gathered.ranges.is_empty() || server.files[dump].len() as u64 == gathered.ranges.end());
        }
    }
}
