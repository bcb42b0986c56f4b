//! The netdump server's state machine, and its client's: any packets, from several clients, at any time.
#![no_main]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use netdump::client::{Client, Manner, Plan, Step};
use netdump::receiver::{Action, DumpId, Limits, Receiver};

fuzz_target!(|data: &[u8]| {
    let limits = Limits {
        clients: 3,
        silence: Duration::from_secs(20),
        longest: Some(Duration::from_secs(60)),
        rate: Some(1 << 20),
        ranges: 16,
    };
    let mut receiver = Receiver::new(limits);
    let mut client = Client::new(Plan { length: 100_000, ..Plan::default() }, Manner::default());
    let mut now = Duration::ZERO;
    // What was written of each dump: nothing is written twice, or after its end.
    let mut written: HashMap<DumpId, Vec<(u64, u64)>> = HashMap::new();
    let mut rest = data;
    while let [control, wait, size, more @ ..] = rest {
        let (packet, later) = more.split_at(more.len().min(usize::from(*size)));
        rest = later;
        now += Duration::from_millis(u64::from(*wait) * 100);
        let peer = SocketAddr::from(([192, 0, 2, control & 3], 0));
        let mut actions = Vec::new();
        let _ = receiver.receive(now, peer, packet, &mut actions);
        let mut due = Vec::new();
        receiver.tick(now, &mut due);
        actions.append(&mut due);
        if control & 0x80 != 0 {
            receiver.stop(&mut actions);
        }
        for action in actions {
            match action {
                Action::Begin { dump, .. } => {
                    assert!(written.insert(dump, Vec::new()).is_none());
                    if control & 0x40 != 0 {
                        receiver.allow(dump, Some(1 << 16), Some(1 << 17));
                    }
                }
                Action::Write { dump, offset, data } => {
                    let runs = written.get_mut(&dump).expect("it has begun");
                    let end = offset + data.len() as u64;
                    assert!(offset < end && runs.iter().all(|&(start, past)| end <= start || past <= offset));
                    runs.push((offset, end));
                }
                Action::Acknowledge { sequence, .. } => client.acknowledged(sequence),
                Action::End { dump, gathered, .. } => {
                    let bytes: u64 = written.remove(&dump).expect("it ends once").iter().map(|(s, e)| e - s).sum();
                    assert_eq!(gathered.ranges.covered(), bytes);
                    let _ = gathered.is_whole();
                    let mut told = Vec::new();
                    receiver.stored(now, dump, &mut told);
                }
            }
        }
        let _ = matches!(client.step(now), Step::Done);
    }
});
