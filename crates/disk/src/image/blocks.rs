//! A disk in blocks, encoded by several threads and handed on in order.

use std::ops::Range;
use std::sync::mpsc::Receiver;
use std::thread;

use super::turns::Turns;
use super::write::Work;
use crate::error::Error;
use crate::read_at::ReadAt;

/// Bytes that a thread reads at a time, if blocks are not larger.
const BATCH: u64 = 1 << 20;

/// Reads the disk in blocks of `block_size` bytes, a power of two; has those that
/// are not all zeros encoded, by an encoder that `encoder` makes for each thread; and
/// gives what becomes of them to `put`, with their numbers, in order. The last block may
/// be shorter.
pub(super) fn each<R: Send, E: FnMut(&[u8]) -> Result<R, Error>>(
    disk: &dyn ReadAt,
    block_size: u64,
    work: &Work<'_>,
    encoder: impl Fn() -> E + Sync,
    mut put: impl FnMut(u64, R) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut batches = Batches { disk, block_size, run: 0..0 };
    let mut done = |range: &Range<u64>, blocks: Vec<(u64, R)>| {
        for (number, block) in blocks {
            put(number, block)?;
        }
        (work.progress)(range.end.min(disk.size()));
        Ok::<_, Error>(())
    };
    let run =
        |range: &Range<u64>, buf: &mut Vec<u8>, encode: &mut E| encode_batch(disk, block_size, range, buf, encode);
    let encoder = &encoder;
    if work.threads <= 1 {
        let (mut buf, mut encode) = (Vec::new(), encoder());
        while let Some(range) = batches.next()? {
            done(&range, run(&range, &mut buf, &mut encode)?)?;
        }
        return Ok(());
    }
    thread::scope(|scope| {
        let mut turns = Turns::start(work.threads, |to_do: Receiver<Range<u64>>, finished| {
            scope.spawn(move || {
                let (mut buf, mut encode) = (Vec::new(), encoder());
                for range in to_do {
                    let result = run(&range, &mut buf, &mut encode);
                    if finished.send((range, result)).is_err() {
                        return;
                    }
                }
            });
        });
        let mut take = |turns: &mut Turns<_, _>| {
            let (range, blocks) = turns.take()?;
            done(&range, blocks?)
        };
        while let Some(range) = batches.next()? {
            if turns.is_full() {
                take(&mut turns)?;
            }
            turns.give(range);
        }
        while !turns.is_empty() {
            take(&mut turns)?;
        }
        Ok(())
    })
}

/// As [`each`], but gives every block to `put`, also those of zeros, which are encoded
/// once; with how many bytes of the disk it stands for.
pub(super) fn every<R: Send, E: FnMut(&[u8]) -> Result<R, Error>>(
    disk: &dyn ReadAt,
    block_size: u64,
    work: &Work<'_>,
    encoder: impl Fn() -> E + Sync,
    mut put: impl FnMut(&R, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let size = disk.size();
    let length = |number: u64| block_size.min(size - number * block_size);
    let mut encode = encoder();
    let mut zeros = |length: u64| encode(&vec![0; usize::try_from(length).unwrap_or(0)]);
    let (mut next, mut zero) = (0, None);
    let mut fill = |next: &mut u64, end: u64, put: &mut dyn FnMut(&R, u64) -> Result<(), Error>| {
        while *next < end {
            let length = length(*next);
            // All but the last are alike.
            if length < block_size {
                put(&zeros(length)?, length)?;
            } else {
                let zero = match &zero {
                    Some(zero) => zero,
                    None => zero.insert(zeros(length)?),
                };
                put(zero, length)?;
            }
            *next += 1;
        }
        Ok::<_, Error>(())
    };
    each(disk, block_size, work, &encoder, |number, block| {
        fill(&mut next, number, &mut put)?;
        next = number + 1;
        put(&block, length(number))
    })?;
    fill(&mut next, size.div_ceil(block_size), &mut put)
}

/// The parts of a disk that are not known to be zeros.
struct Batches<'a> {
    disk: &'a dyn ReadAt,
    block_size: u64,
    /// What is left of the run that was found last, from the border of a block on.
    run: Range<u64>,
}

impl Batches<'_> {
    /// The next blocks, as bytes of the disk.
    fn next(&mut self) -> Result<Option<Range<u64>>, Error> {
        if self.run.is_empty() {
            let at = self.run.end;
            let found = self.disk.next_data(at).map_err(|source| Error::Read { offset: at, source })?;
            let Some(run) = found else { return Ok(None) };
            let end = run.end.checked_next_multiple_of(self.block_size).unwrap_or(u64::MAX);
            self.run = run.start - run.start % self.block_size..end.min(self.disk.size());
        }
        let end = self.run.start.saturating_add(BATCH.max(self.block_size)).min(self.run.end);
        let batch = self.run.start..end;
        self.run.start = end;
        Ok(Some(batch))
    }
}

fn encode_batch<R>(
    disk: &dyn ReadAt,
    block_size: u64,
    range: &Range<u64>,
    buf: &mut Vec<u8>,
    encode: &mut impl FnMut(&[u8]) -> Result<R, Error>,
) -> Result<Vec<(u64, R)>, Error> {
    let out_of_memory = || Error::Impossible(format!("blocks of {block_size} bytes are too large"));
    buf.resize(usize::try_from(range.end - range.start).map_err(|_| out_of_memory())?, 0);
    disk.read_exact_at(buf, range.start).map_err(|source| Error::Read { offset: range.start, source })?;
    let numbers = range.start / block_size..;
    let blocks = numbers.zip(buf.chunks(usize::try_from(block_size).map_err(|_| out_of_memory())?));
    let filled = blocks.filter(|(_, block)| !is_zero(block));
    filled.map(|(number, block)| Ok((number, encode(block)?))).collect()
}

/// Whether all bytes are zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Most blocks that are not have something at their beginning.
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |sum, byte| sum | byte) == 0) && rest.iter().all(|&byte| byte == 0)
}
