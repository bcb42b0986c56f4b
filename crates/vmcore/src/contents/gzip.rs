//! gzip files, read at any place.
//!
//! The state of the decompressor is kept at checkpoints: its tables, its bits, and the 32 KiB before. What is read
//! is unpacked from the checkpoint before it. They are made the first time that a place is passed, at most
//! [`MOST_CHECKPOINTS`] of them: where there would be more, every other one goes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::ReadAt;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress_with_limit};

use super::cache::Cache;
use super::{Failure, read_some};

/// What is unpacked and kept together.
const BLOCK: u64 = 256 << 10;

/// How far checkpoints are apart at first.
const SPACING: u64 = 4 * BLOCK;

/// Each takes 43 KiB.
const MOST_CHECKPOINTS: usize = 256;

const WINDOW: usize = 32 << 10;
const INPUT: usize = 64 << 10;

/// The longest header that a member may have, with the name of a file.
const MAX_HEADER: usize = 64 << 10;

/// Where a member begins.
pub(super) const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// What a gzip file holds.
pub(super) struct Gzip {
    data: Arc<dyn ReadAt>,
    state: Mutex<State>,
}

struct State {
    /// Where the last reading ended.
    cursor: Cursor,
    /// By what is unpacked before them.
    checkpoints: BTreeMap<u64, Cursor>,
    spacing: u64,
    /// Where everything ends, and why if it does so too early.
    end: Option<(u64, Option<Failure>)>,
    cache: Cache,
}

/// A decompressor in the midst of its work.
#[derive(Clone)]
struct Cursor {
    inflater: Box<DecompressorOxide>,
    /// The last of what was unpacked, as a ring.
    window: Box<[u8; WINDOW]>,
    window_at: usize,
    /// The next byte of the file.
    input: u64,
    /// How much was unpacked.
    output: u64,
    /// The header of a member comes next.
    at_header: bool,
}

impl Gzip {
    pub(super) fn new(data: Arc<dyn ReadAt>) -> Gzip {
        let cursor = Cursor {
            inflater: Box::default(),
            window: Box::new([0; WINDOW]),
            window_at: 0,
            input: 0,
            output: 0,
            at_header: true,
        };
        let checkpoints = BTreeMap::from([(0, cursor.clone())]);
        let state = State { cursor, checkpoints, spacing: SPACING, end: None, cache: Cache::default() };
        Gzip { data, state: Mutex::new(state) }
    }

    /// A reader that panicked leaves a cursor that is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn checkpoints(&self) -> usize {
        self.state().checkpoints.len()
    }

    /// The block of that number: less than whole only at the end.
    fn block(&self, state: &mut State, number: u64) -> Arc<Vec<u8>> {
        if let Some(block) = state.cache.get(number) {
            return block;
        }
        let start = number * BLOCK;
        // On from where the last reading ended, unless there is a checkpoint nearer.
        if let Some((&at, checkpoint)) = state.checkpoints.range(..=start).next_back()
            && (state.cursor.output > start || state.cursor.output < at)
        {
            state.cursor = checkpoint.clone();
        }
        loop {
            let at = state.cursor.output;
            let last = state.checkpoints.last_key_value().map_or(0, |(&last, _)| last);
            if at >= last + state.spacing && at.is_multiple_of(BLOCK) {
                state.checkpoints.insert(at, state.cursor.clone());
                if state.checkpoints.len() > MOST_CHECKPOINTS {
                    state.spacing *= 2;
                    let spacing = state.spacing;
                    state.checkpoints.retain(|at, _| at.is_multiple_of(spacing));
                }
            }
            let room = (BLOCK - at % BLOCK) as usize;
            let mut bytes = Vec::with_capacity(if at < start { 0 } else { room });
            let done = state.cursor.unpack(&*self.data, room, |part| {
                if at >= start {
                    bytes.extend_from_slice(part);
                }
            });
            match done {
                Ok(true) => {}
                Ok(false) => state.end = Some((state.cursor.output, None)),
                Err(error) => state.end = Some((state.cursor.output, Some(Failure::of(&error)))),
            }
            if at >= start {
                let block = Arc::new(bytes);
                state.cache.put(number, block.clone());
                return block;
            }
            if matches!(state.end, Some((end, _)) if state.cursor.output >= end) {
                return Arc::default();
            }
        }
    }
}

impl ReadAt for Gzip {
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        let mut state = self.state();
        while !buf.is_empty() {
            let block = self.block(&mut state, offset / BLOCK);
            let from = block.get((offset % BLOCK) as usize..).unwrap_or_default();
            let count = from.len().min(buf.len());
            if count == 0 {
                let failure = state.end.as_ref().and_then(|(_, failure)| failure.as_ref());
                return Err(failure.map_or(io::ErrorKind::UnexpectedEof.into(), Failure::error));
            }
            let (to, rest) = buf.split_at_mut(count);
            to.copy_from_slice(from.get(..count).unwrap_or_default());
            (buf, offset) = (rest, offset + count as u64);
        }
        Ok(())
    }

    /// How much there is. To know that, all of it is unpacked once.
    fn size(&self) -> u64 {
        let mut state = self.state();
        loop {
            if let Some((end, _)) = state.end {
                return end;
            }
            let last = state.checkpoints.last_key_value().map_or(0, |(&last, _)| last);
            let next = last.max(state.cursor.output) / BLOCK + 1;
            self.block(&mut state, next);
        }
    }
}

impl Cursor {
    /// Unpacks `room` bytes or, at the end, fewer; whether there may be more.
    fn unpack(&mut self, data: &dyn ReadAt, room: usize, mut out: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut room = room;
        while room > 0 {
            if self.at_header {
                match header(data, self.input)? {
                    Some(size) => self.input += size,
                    None if self.output > 0 => return Ok(false),
                    None => return Err(damaged("there is no gzip header", self.input)),
                }
                *self.inflater = DecompressorOxide::new();
                self.at_header = false;
            }
            let rest = data.size().saturating_sub(self.input);
            let mut input = vec![0; INPUT];
            let count = read_some(data, &mut input, self.input)?;
            input.truncate(count);
            let before = (self.input, self.output);
            let more = if (input.len() as u64) < rest { TINFL_FLAG_HAS_MORE_INPUT } else { 0 };
            let mut used = 0;
            loop {
                let (at, input) = (self.window_at, input.get(used..).unwrap_or_default());
                let most = room.min(WINDOW - at);
                let (status, read, written) =
                    decompress_with_limit(&mut self.inflater, input, &mut self.window[..], at, most, more);
                out(self.window.get(at..at + written).unwrap_or_default());
                used += read;
                self.window_at = (at + written) % WINDOW;
                self.output += written as u64;
                room -= written;
                self.input += read as u64;
                match status {
                    TINFLStatus::HasMoreOutput if room > 0 => {}
                    TINFLStatus::HasMoreOutput | TINFLStatus::NeedsMoreInput => break,
                    TINFLStatus::Done => {
                        // The checksum and the size, which only a reading of everything can check.
                        (self.input, self.at_header) = (self.input + 8, true);
                        break;
                    }
                    _ if more == 0 && self.input >= data.size() => {
                        return Err(damaged("the compressed data end too early", self.input));
                    }
                    _ => return Err(damaged("the compressed data are damaged", self.input)),
                }
            }
            if before == (self.input, self.output) {
                return Err(damaged("the compressed data end too early", self.input));
            }
        }
        Ok(true)
    }
}

fn damaged(what: &str, at: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}, at byte {at} of them"))
}

/// The size of the header of a member at `at`; none if there is no member.
fn header(data: &dyn ReadAt, at: u64) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; MAX_HEADER];
    let count = read_some(data, &mut bytes, at)?;
    let bytes = bytes.get(..count).unwrap_or_default();
    if !bytes.starts_with(&MAGIC) {
        return Ok(None);
    }
    let size = header_size(bytes).ok_or_else(|| damaged("the gzip header is cut short or too long", at))?;
    Ok(Some(size as u64))
}

/// The size of the header that `bytes` begin with; none if it goes on behind them.
fn header_size(bytes: &[u8]) -> Option<usize> {
    let flags = *bytes.get(3)?;
    let mut at = 10;
    if flags & 4 != 0 {
        let extra = bytes.get(at..at + 2)?;
        at += 2 + extra.iter().rev().fold(0, |size, &byte| size << 8 | usize::from(byte));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += bytes.get(at..)?.iter().position(|&byte| byte == 0)? + 1;
        }
    }
    at += if flags & 2 != 0 { 2 } else { 0 };
    (at <= bytes.len()).then_some(at)
}
