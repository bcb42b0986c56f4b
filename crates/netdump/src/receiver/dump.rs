//! One dump while it is received.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use vmcore::header::{self, Header};
use vmcore::ranges::Ranges;

use super::{
    Action, COPIES, DumpId, Ending, FURTHEST_AHEAD, IDLE, Ignored, LARGEST_KEY, LATE, LINGER, Limits, MOST_HELD,
    Moment, RESTART,
};
use crate::message::{Kind, MAX_IN_FLIGHT, Message};

/// How long acknowledgements are early for, before a limit of the rate holds them back: less than what a client
/// waits before it sends again.
const AHEAD: Duration = Duration::from_millis(100);

/// The highest number of those that can be sent again before the first write is acknowledged.
const FIRST: u32 = 1 + MAX_IN_FLIGHT as u32;

/// What came of a dump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// The bytes of the dump that came.
    pub ranges: Ranges,
    /// The kernel dump header, as it came.
    pub header: Option<Box<[u8; header::SIZE]>>,
    /// The key block, as far as it came.
    pub key: Vec<u8>,
    /// Which bytes of the key block came.
    pub key_ranges: Ranges,
    /// When it began.
    pub began: Moment,
    /// What was counted.
    pub counters: Counters,
}

/// What is counted for each dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages, the herald left out.
    pub packets: u64,
    /// Those that brought nothing new: they were repeated, as an acknowledgement did not arrive.
    pub repeated: u64,
    /// Those that others overtook, or that were lost: numbers that were left out when they were due.
    pub missed: u64,
    /// Those that were ignored.
    pub ignored: u64,
}

impl Counters {
    /// The part of the messages that did not come when they were due, from 0 to 1.
    pub fn loss(&self) -> f64 {
        let due = self.packets.saturating_sub(self.repeated) + self.missed;
        if due == 0 { 0.0 } else { self.missed as f64 / due as f64 }
    }
}

impl Gathered {
    /// The header, if one came that can be read and whose parity is right.
    pub fn sound_header(&self) -> Option<Header> {
        let header = Header::parse(self.header.as_deref()?).ok()?;
        header.parity_ok.then_some(header)
    }

    /// Where the dump should end: as [its header says](Header::end), or else where what came ends.
    pub fn expected_end(&self) -> u64 {
        let came = self.ranges.end();
        self.sound_header().map_or(came, |header| header.end(came))
    }

    /// Whether all came that a whole dump has: a header, all bytes before its end, the key if there is one.
    pub fn is_whole(&self) -> bool {
        let key = |header: &Header| !header.is_encrypted() || self.has_key(header.key_size);
        self.header.is_some()
            && self.ranges.contains(0..self.expected_end())
            && self.sound_header().as_ref().is_none_or(key)
    }

    fn has_key(&self, size: u32) -> bool {
        self.key_ranges.contains(0..u64::from(size))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Receiving,
    /// The client has finished; until then what is missing may come.
    Closing {
        until: Moment,
    },
    /// What came is being kept.
    Storing,
    Ended {
        since: Moment,
    },
}

/// A herald from a client that is sending: it begins another dump, or is a copy that was under way.
#[derive(Debug)]
struct Another {
    heard: Moment,
    path: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Dump {
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    pub(super) gathered: Gathered,
    pub(super) heard: Moment,
    /// Bytes that it may have.
    pub(super) room: Option<u64>,
    /// The highest number of a message; `None` where the messages before were another receiver's.
    highest: Option<u32>,
    /// The number of the last message that said it is finished.
    finished: u32,
    another: Option<Another>,
    /// What the first messages were, by their numbers.
    first: HashMap<u32, u64>,
    held: VecDeque<(Moment, u32, u8)>,
    /// Until when the rate that is allowed is used up.
    paid: Moment,
}

impl Dump {
    pub(super) fn new(now: Moment, peer: SocketAddr) -> Dump {
        Dump {
            peer,
            state: State::Receiving,
            gathered: Gathered { began: now, ..Gathered::default() },
            heard: now,
            room: None,
            highest: Some(1),
            finished: 0,
            another: None,
            first: HashMap::new(),
            held: VecDeque::new(),
            paid: now,
        }
    }

    pub(super) fn resumed(&mut self, now: Moment, gathered: Gathered) {
        self.gathered = Gathered { began: now, counters: Counters::default(), ..gathered };
        self.highest = None;
    }

    /// Whether it is received still.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Receiving | State::Closing { .. })
    }

    /// Whether a herald that comes now must be that of another dump.
    pub(super) fn is_surely_older(&self, now: Moment) -> bool {
        let began = self.gathered.counters.packets > 0 && now.saturating_sub(self.heard) >= RESTART;
        began || self.highest.is_none()
    }

    /// A herald came that may be that of another dump.
    pub(super) fn heralded(&mut self, now: Moment, path: Option<Vec<u8>>) {
        if self.gathered.counters.packets > 0 {
            self.another = Some(Another { heard: now, path });
        }
    }

    /// Whether a message is one of another dump, and the path for that.
    ///
    /// A client waits until all packets of a write are acknowledged: a number further back than one write is not that
    /// of a packet that is sent again. Of the first ones it is compared what they were.
    pub(super) fn is_another(&self, now: Moment, message: &Message<'_>) -> Option<Option<Vec<u8>>> {
        let another = self.another.as_ref().filter(|another| now.saturating_sub(another.heard) < RESTART)?;
        let back = self.highest?.wrapping_sub(message.sequence);
        let far = (MAX_IN_FLIGHT as u32..1 << 31).contains(&back);
        let differs = self.first.get(&message.sequence).is_some_and(|first| *first != digest(message));
        (far || differs).then(|| another.path.clone())
    }

    pub(super) fn message<'p>(
        &mut self,
        now: Moment,
        message: &Message<'p>,
        limits: &Limits,
        room: &mut Option<u64>,
        id: DumpId,
        actions: &mut Vec<Action<'p>>,
    ) -> Result<Option<Ending>, Ignored> {
        match self.state {
            State::Receiving | State::Closing { .. } => {}
            State::Storing | State::Ended { .. } => return self.after_the_end(now, message, id, actions),
        }
        let new = match message.kind {
            Kind::Vmcore => match self.vmcore(message, limits, room, id, actions)? {
                Ok(new) => new,
                Err(ending) => return Ok(Some(ending)),
            },
            Kind::Key => self.key(message)?,
            Kind::Header => {
                let size = Ignored::Size { kind: Kind::Header, size: message.data.len() };
                let bytes = message.data.first_chunk().ok_or(size)?;
                let new = self.gathered.header.is_none();
                self.gathered.header.get_or_insert_with(|| Box::new(*bytes));
                new
            }
            Kind::Finished | Kind::Herald => matches!(self.state, State::Receiving),
        };
        self.count(now, message.sequence, new);
        if message.sequence <= FIRST {
            self.first.entry(message.sequence).or_insert_with(|| digest(message));
        }
        if message.kind == Kind::Finished {
            self.finished = message.sequence;
            if let State::Receiving = self.state {
                self.state = State::Closing { until: now + LATE };
            }
        } else {
            self.acknowledge(now, message, new, limits, id, actions);
        }
        let closing = matches!(self.state, State::Closing { .. });
        Ok((closing && self.gathered.is_whole()).then_some(Ending::Finished))
    }

    /// Whether its data are new, or why it ends the dump.
    fn vmcore<'p>(
        &mut self,
        message: &Message<'p>,
        limits: &Limits,
        room: &mut Option<u64>,
        id: DumpId,
        actions: &mut Vec<Action<'p>>,
    ) -> Result<Result<bool, Ending>, Ignored> {
        let Message { offset, data, .. } = *message;
        let ranges = &mut self.gathered.ranges;
        let before = ranges.end();
        if offset.saturating_sub(before) > FURTHEST_AHEAD {
            return Err(Ignored::Far { offset });
        }
        if data.is_empty() {
            return Err(Ignored::Size { kind: Kind::Vmcore, size: 0 });
        }
        let range = offset..offset + data.len() as u64;
        let grown = range.end.saturating_sub(before);
        if self.room.is_some_and(|most| range.end > most) || room.is_some_and(|room| grown > room) {
            return Ok(Err(Ending::Quota));
        }
        if let Some(room) = room {
            *room -= grown;
        }
        let written = actions.len();
        for gap in ranges.missing(range.clone()) {
            let within = (gap.start - offset) as usize..(gap.end - offset) as usize;
            if let Some(data) = data.get(within) {
                actions.push(Action::Write { dump: id, offset: gap.start, data });
            }
        }
        ranges.insert(range);
        if ranges.len() > limits.ranges {
            return Ok(Err(Ending::Scattered));
        }
        Ok(Ok(actions.len() > written))
    }

    fn key(&mut self, message: &Message<'_>) -> Result<bool, Ignored> {
        let Message { offset, data, .. } = *message;
        let end = offset.saturating_add(data.len() as u64);
        if end > LARGEST_KEY {
            return Err(Ignored::Far { offset });
        }
        let Gathered { key, key_ranges, .. } = &mut self.gathered;
        let new = key_ranges.insert(offset..end) > 0;
        let (start, end) = (offset as usize, end as usize);
        if key.len() < end {
            key.resize(end, 0);
        }
        if new && let Some(to) = key.get_mut(start..end) {
            to.copy_from_slice(data);
        }
        Ok(new)
    }

    fn count(&mut self, now: Moment, sequence: u32, new: bool) {
        self.heard = now;
        let counters = &mut self.gathered.counters;
        counters.packets += 1;
        counters.repeated += u64::from(!new);
        match self.highest {
            None => self.highest = Some(sequence),
            Some(highest) if newer(sequence, highest) => {
                let left_out = sequence.wrapping_sub(highest).wrapping_sub(1);
                // A client has only so many on the way: more are not lost, but made up.
                counters.missed += u64::from(left_out).min(MAX_IN_FLIGHT as u64);
                self.highest = Some(sequence);
            }
            Some(_) => {}
        }
    }

    fn acknowledge(
        &mut self,
        now: Moment,
        message: &Message<'_>,
        new: bool,
        limits: &Limits,
        id: DumpId,
        actions: &mut Vec<Action<'_>>,
    ) {
        let copies = if new { 1 } else { COPIES };
        if let Some(rate @ 1..) = limits.rate {
            if new {
                let cost = Duration::from_secs_f64(message.data.len() as f64 / rate as f64);
                self.paid = self.paid.max(now) + cost;
            }
            if self.paid > now + AHEAD {
                if self.held.len() < MOST_HELD {
                    self.held.push_back((self.paid - AHEAD, message.sequence, copies));
                }
                return;
            }
        }
        actions.push(Action::Acknowledge { dump: id, sequence: message.sequence, copies });
    }

    /// Acknowledges what was held back until now.
    pub(super) fn release(&mut self, now: Moment, id: DumpId, actions: &mut Vec<Action<'_>>) {
        while let Some(&(due, sequence, copies)) = self.held.front()
            && due <= now
        {
            actions.push(Action::Acknowledge { dump: id, sequence, copies });
            self.held.pop_front();
        }
    }

    fn after_the_end(
        &mut self,
        now: Moment,
        message: &Message<'_>,
        id: DumpId,
        actions: &mut Vec<Action<'_>>,
    ) -> Result<Option<Ending>, Ignored> {
        if message.kind != Kind::Finished {
            return Err(Ignored::Unknown);
        }
        self.heard = now;
        self.finished = message.sequence;
        if let State::Ended { .. } = self.state {
            actions.push(Action::Acknowledge { dump: id, sequence: message.sequence, copies: COPIES });
        }
        Ok(None)
    }

    pub(super) fn finish(&mut self) -> Gathered {
        self.state = State::Storing;
        self.held.clear();
        // From here on nothing is compared with what came.
        std::mem::take(&mut self.gathered)
    }

    pub(super) fn stored(&mut self, now: Moment, id: DumpId, actions: &mut Vec<Action<'_>>) {
        if self.state == State::Storing {
            self.state = State::Ended { since: now };
            actions.push(Action::Acknowledge { dump: id, sequence: self.finished, copies: 1 });
        }
    }

    /// How it has ended by now, if it has.
    pub(super) fn is_over(&self, now: Moment, limits: &Limits) -> Option<Ending> {
        let limit = |longest| self.gathered.began + longest;
        match self.state {
            State::Closing { until } => (now >= until).then_some(Ending::Finished),
            State::Receiving if now >= self.heard + self.silence(limits) => Some(Ending::Silent),
            State::Receiving if limits.longest.is_some_and(|longest| now >= limit(longest)) => Some(Ending::TooLong),
            _ => None,
        }
    }

    fn silence(&self, limits: &Limits) -> Duration {
        if self.gathered.counters.packets == 0 { limits.silence.min(IDLE) } else { limits.silence }
    }

    pub(super) fn due(&self, limits: &Limits) -> Option<Moment> {
        let state = match self.state {
            State::Closing { until } => Some(until),
            State::Receiving => {
                let silent = self.heard + self.silence(limits);
                Some(limits.longest.map_or(silent, |longest| silent.min(self.gathered.began + longest)))
            }
            State::Storing => None,
            State::Ended { since } => Some(since + LINGER),
        };
        let held = self.held.front().map(|&(due, ..)| due);
        state.into_iter().chain(held).min()
    }
}

/// A number that is another for another message, but for a rare chance.
fn digest(message: &Message<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (message.kind, message.offset, message.data).hash(&mut hasher);
    hasher.finish()
}

/// Whether a sequence number comes after another. They may wrap around.
fn newer(sequence: u32, than: u32) -> bool {
    sequence != than && sequence.wrapping_sub(than) < 1 << 31
}
