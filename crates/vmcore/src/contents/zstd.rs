//! Zstandard files, read at any place.
//!
//! With a table of frames, as our own have it, only the frame is unpacked that has what is read. A kernel writes one
//! frame of any length, and a decoder of Zstandard cannot be stopped and copied: such a file is unpacked as far as is
//! needed, once, into a temporary file without a name.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::ReadAt;

use super::cache::Cache;
use super::{Failure, Options, STREAM, Sequential};
use crate::frames::Frame;
use crate::memory::is_zero;
use crate::store::write_sparse;

/// Where a frame begins.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What is unpacked at a time.
const STEP: usize = 256 << 10;

/// What a file of frames holds.
pub(super) struct Frames {
    data: Arc<dyn ReadAt>,
    frames: Vec<Frame>,
    cache: Mutex<Cache>,
}

impl Frames {
    pub(super) fn new(data: Arc<dyn ReadAt>, frames: Vec<Frame>) -> Frames {
        Frames { data, frames, cache: Mutex::default() }
    }

    fn frame(&self, number: usize, frame: &Frame) -> io::Result<Arc<Vec<u8>>> {
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cache().get(number as u64) {
            return Ok(found);
        }
        let mut stored = vec![0; frame.stored as usize];
        self.data.read_exact_at(&mut stored, frame.at)?;
        let damaged = |error: &dyn std::fmt::Display| {
            let text = format!("the compressed data are damaged, in the frame at byte {} of them: {error}", frame.at);
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let bytes = zstd::bulk::decompress(&stored, frame.size as usize).map_err(|error| damaged(&error))?;
        if bytes.len() != frame.size as usize {
            return Err(damaged(&format_args!("{} bytes where {} were expected", bytes.len(), frame.size)));
        }
        let bytes = Arc::new(bytes);
        cache().put(number as u64, bytes.clone());
        Ok(bytes)
    }
}

impl ReadAt for Frames {
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let number = self.frames.partition_point(|frame| frame.offset + u64::from(frame.size) <= offset);
            let frame = self.frames.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
            let bytes = self.frame(number, frame)?;
            let from = bytes.get((offset - frame.offset) as usize..).unwrap_or_default();
            let (to, rest) = buf.split_at_mut(from.len().min(buf.len()));
            to.copy_from_slice(from.get(..to.len()).unwrap_or_default());
            offset += to.len() as u64;
            buf = rest;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.frames.last().map_or(0, |last| last.offset + u64::from(last.size))
    }
}

/// What any other file holds, in a temporary file as far as it was needed.
pub(super) struct Unpacked {
    state: Mutex<State>,
    file: File,
    /// How many bytes that are not zeros may be written.
    scratch: u64,
}

type Decoder = zstd::stream::read::Decoder<'static, BufReader<Sequential>>;

struct State {
    decoder: Option<Decoder>,
    /// So much is in the file.
    done: u64,
    /// So much was written.
    written: u64,
    /// Why there is no more of it; none if that is the end.
    failure: Option<Failure>,
}

impl Unpacked {
    pub(super) fn new(data: Arc<dyn ReadAt>, options: &Options) -> io::Result<Unpacked> {
        let file = match &options.scratch_directory {
            Some(directory) => tempfile::tempfile_in(directory)?,
            None => tempfile::tempfile()?,
        };
        let decoder = decoder(data)?;
        let state = State { decoder: Some(decoder), done: 0, written: 0, failure: None };
        Ok(Unpacked { state: Mutex::new(state), file, scratch: options.scratch })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unpacks until `end` is reached, or everything is unpacked.
    fn advance(&self, state: &mut State, end: u64) {
        let mut step = Vec::new();
        while state.done < end
            && let Some(decoder) = &mut state.decoder
        {
            step.resize(STEP, 0);
            let (count, end) = fill(decoder, &mut step);
            let bytes = step.get(..count).unwrap_or_default();
            let end = match write_sparse(&self.file, bytes, state.done) {
                Ok(()) => end,
                Err(error) => Some(Some(error)),
            };
            state.done += count as u64;
            state.written += if is_zero(bytes) { 0 } else { count as u64 };
            if let Some(failure) = end {
                state.decoder = None;
                state.failure = failure.map(|error| Failure::of(&error));
            } else if state.written > self.scratch {
                let text = format!("unpacked, it takes more than {} bytes of temporary space", self.scratch);
                state.decoder = None;
                state.failure = Some(Failure::of(&io::Error::new(io::ErrorKind::StorageFull, text)));
            }
        }
        if state.decoder.is_none() {
            // Zeros at the end are not written.
            if let Err(error) = self.file.set_len(state.done) {
                state.failure.get_or_insert(Failure::of(&error));
            }
        }
    }
}

/// What unpacks all of `data` in order.
pub(super) fn decoder(data: Arc<dyn ReadAt>) -> io::Result<Decoder> {
    zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(STREAM, Sequential::new(data)))
}

/// Fills `buf` as far as there is anything: how much that was, and if there is no more, why, or nothing at the end.
fn fill(from: &mut impl Read, buf: &mut [u8]) -> (usize, Option<Option<io::Error>>) {
    let mut count = 0;
    while let Some(rest) = buf.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => return (count, Some(None)),
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (count, Some(Some(error))),
        }
    }
    (count, None)
}

impl ReadAt for Unpacked {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut state = self.state();
        self.advance(&mut state, end);
        if end > state.done {
            return Err(match &state.failure {
                Some(failure) => failure.error(),
                None => io::ErrorKind::UnexpectedEof.into(),
            });
        }
        // Zeros behind what was written are not in the file yet.
        let there = self.file.metadata()?.len();
        drop(state);
        buf.fill(0);
        let count = there.saturating_sub(offset).min(buf.len() as u64) as usize;
        self.file.read_exact_at(buf.get_mut(..count).unwrap_or_default(), offset)
    }

    /// How much there is. To know that, all of it is unpacked.
    fn size(&self) -> u64 {
        let mut state = self.state();
        self.advance(&mut state, u64::MAX);
        state.done
    }
}
