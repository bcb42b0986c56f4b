//! The end of a dump: a thread flushes, hashes and names it.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use vmcore::header::{Header, Magic};
use vmcore::info::Status;
use vmcore::names::{Kind, State};
use vmcore::store::{self, Stored, Writer};

use super::{Client, Ended, Event, Outcome, PATIENCE, Server};
use crate::receiver::{DumpId, Ending, Gathered, Moment};

/// What the thread has done.
pub(super) struct Done {
    dump: DumpId,
    how: Ending,
    gathered: Gathered,
    result: io::Result<Option<Stored>>,
}

impl Server {
    pub(super) fn end(&mut self, now: Moment, dump: DumpId, how: Ending, gathered: Gathered) {
        let Some(live) = self.lives.get_mut(&dump) else { return };
        // What was written last may not have been possible; then it is not there.
        let flushed = live.flush(Some(&gathered));
        let Some(writer) = live.take_writer() else { return };
        live.finishing = Some(now);
        let how = match flushed {
            Err(error) if how == Ending::Finished => Ending::Storage(error.to_string()),
            _ => how,
        };
        if how == Ending::Finished {
            self.totals.acknowledgements += live.send();
        }
        let source = source(&live.client);
        let (worker, wake) = (self.worker.clone(), self.wake.try_clone());
        thread::spawn(move || {
            let result = finish(writer, &how, &gathered, source);
            // Both fail when the server is no more.
            let _ = worker.send(Done { dump, how, gathered, result });
            let _ = wake.as_ref().map(|mut wake: &UnixStream| wake.write(&[0]));
        });
    }

    pub(super) fn finished(&mut self, now: Moment, done: Done) {
        let Done { dump, how, gathered, result } = done;
        let Some(live) = self.lives.get_mut(&dump) else { return };
        live.finishing = None;
        let client = live.client.clone();
        let outcome = match result {
            Ok(Some(stored)) => Outcome::Stored(Box::new(stored)),
            Ok(None) => Outcome::Nothing,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        match &outcome {
            Outcome::Stored(stored) => match stored.state {
                State::Whole => self.totals.whole += 1,
                State::Incomplete => self.totals.incomplete += 1,
                State::Partial => self.totals.partial += 1,
            },
            Outcome::Nothing => {}
            Outcome::Failed(_) => self.totals.failed += 1,
        }
        if how == Ending::Finished && !matches!(outcome, Outcome::Failed(_)) {
            let mut actions = Vec::new();
            self.receiver.stored(now, dump, &mut actions);
            self.act(now, actions, None);
        } else {
            self.receiver.forget(dump);
        }
        let (bytes, elapsed) = (gathered.ranges.covered(), now.saturating_sub(gathered.began));
        let counters = gathered.counters;
        self.events.push(Event::Ended(Box::new(Ended { dump, client, how, bytes, elapsed, counters, outcome })));
    }

    /// Tells clients that all came, where keeping it takes long: they would give up, and could do nothing about it.
    pub(super) fn reassure(&mut self, now: Moment) {
        let late = |since: Moment| now.saturating_sub(since) >= PATIENCE;
        let waiting = self.lives.iter().filter(|(_, live)| live.finishing.is_some_and(late));
        let waiting: Vec<DumpId> = waiting.map(|(&dump, _)| dump).collect();
        let mut actions = Vec::new();
        waiting.into_iter().for_each(|dump| self.receiver.stored(now, dump, &mut actions));
        self.act(now, actions, None);
    }
}

/// Where a dump came from, as netdumpd(8) says it.
pub(super) fn source(client: &Client) -> String {
    format!("{} [{}]", client.host, client.address.ip().to_canonical())
}

/// Stores the rest of a dump. One of which nothing came leaves nothing.
pub(super) fn finish(writer: Writer, how: &Ending, gathered: &Gathered, source: String) -> io::Result<Option<Stored>> {
    if gathered.ranges.is_empty() && gathered.header.is_none() && gathered.key.is_empty() {
        return writer.discard().map(|()| None);
    }
    let header = gathered.header.as_deref().and_then(|bytes| Header::parse(bytes).ok());
    let key_is_whole = header
        .as_ref()
        .is_none_or(|header| !header.is_encrypted() || gathered.key_ranges.contains(0..u64::from(header.key_size)));
    let sound = header.as_ref().is_some_and(|header| header.parity_ok) && key_is_whole;
    let kind = match &header {
        Some(header) if header.magic == Magic::Text => Kind::Text,
        Some(header) if header.is_encrypted() => Kind::Encrypted,
        // The key comes first from newer kernels.
        None if !gathered.key.is_empty() => Kind::Encrypted,
        _ => Kind::Core,
    };
    let outcome = store::Outcome {
        source,
        header,
        status: if sound { Status::Good } else { Status::Bad },
        key: (!gathered.key.is_empty()).then(|| gathered.key.clone()),
        kind,
        suffix_encrypted: true,
        finished: *how == Ending::Finished,
    };
    writer.finish(outcome).map(Some)
}
