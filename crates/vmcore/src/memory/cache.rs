//! Pages of the dump's bytes that were read lately.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use disk::ReadAt;

/// The unit of caching, in bytes.
pub(crate) const BLOCK: usize = 4096;
/// Blocks that compete for each set.
const WAYS: usize = 4;
/// Sets that there are at most: for 16 GiB.
const MOST_SETS: usize = 1 << 20;
/// No block has this number.
const NONE: u64 = u64::MAX;

/// Bytes that can be read at any offset, through a cache of fixed size: sets of a few blocks each, so that looking one
/// up takes the same time always, and threads seldom wait for each other.
pub(crate) struct Cache {
    data: Arc<dyn ReadAt>,
    size: u64,
    sets: Box<[Mutex<Set>]>,
}

struct Set {
    numbers: [u64; WAYS],
    blocks: [Option<Box<[u8; BLOCK]>>; WAYS],
    /// The one that is replaced next.
    next: usize,
}

impl Cache {
    /// A cache of up to `blocks` blocks of 4 KiB, or none; memory is taken as they fill.
    pub(crate) fn new(data: Arc<dyn ReadAt>, blocks: usize) -> Self {
        // No more than there are in the data, twice as some sets are fuller than others.
        let needed = usize::try_from(data.size() / BLOCK as u64).unwrap_or(usize::MAX).saturating_mul(2);
        let sets = (blocks.min(needed) / WAYS).clamp(1, MOST_SETS).next_power_of_two();
        // Without any, only what is asked for is read.
        let sets = if blocks == 0 { 0 } else { sets };
        let empty = || Mutex::new(Set { numbers: [NONE; WAYS], blocks: Default::default(), next: 0 });
        Self { size: data.size(), data, sets: (0..sets).map(|_| empty()).collect() }
    }

    pub(crate) fn data(&self) -> &Arc<dyn ReadAt> {
        &self.data
    }

    /// Fills `buf` with the bytes from `offset` on.
    pub(crate) fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        // What is large is not worth a copy.
        if buf.len() >= BLOCK {
            return self.data.read_exact_at(buf, offset);
        }
        while !buf.is_empty() {
            let within = (offset % BLOCK as u64) as usize;
            let (now, rest) = buf.split_at_mut(buf.len().min(BLOCK - within));
            self.read_in_block(now, offset, within)?;
            offset = offset.checked_add(now.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf = rest;
        }
        Ok(())
    }

    fn read_in_block(&self, buf: &mut [u8], offset: u64, within: usize) -> io::Result<()> {
        let number = offset / BLOCK as u64;
        let start = number * BLOCK as u64;
        if self.size.saturating_sub(start) < BLOCK as u64 {
            return self.data.read_exact_at(buf, offset);
        }
        let Some(set) = self.sets.get(self.set_of(number)) else { return self.data.read_exact_at(buf, offset) };
        // A thread that panicked while it held a set has left whole blocks in it, or one without a number.
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let Set { numbers, blocks, next } = &mut *set;
        let found = numbers.iter().zip(&*blocks).find(|(candidate, _)| **candidate == number);
        if let Some((_, Some(block))) = found {
            copy(buf, &block[..], within);
            return Ok(());
        }
        let way = *next % WAYS;
        *next = way + 1;
        let (Some(slot), Some(block)) = (numbers.get_mut(way), blocks.get_mut(way)) else { return Ok(()) };
        *slot = NONE;
        let block = block.get_or_insert_with(|| Box::new([0; BLOCK]));
        if self.data.read_exact_at(&mut block[..], start).is_err() {
            // A part of the block may be there all the same.
            return self.data.read_exact_at(buf, offset);
        }
        *slot = number;
        copy(buf, &block[..], within);
        Ok(())
    }

    /// Fibonacci hashing: it is the uppermost bits of the product that are spread evenly.
    fn set_of(&self, number: u64) -> usize {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        spread.checked_shr(64 - self.sets.len().trailing_zeros()).unwrap_or(0) as usize
    }
}

/// Copies from `block`; the caller has seen to it that `within` and the length of `buf` stay inside.
fn copy(buf: &mut [u8], block: &[u8], within: usize) {
    if let Some(bytes) = block.get(within..within + buf.len()) {
        buf.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_into_the_cache_is_read_once() {
        struct Counted(std::sync::atomic::AtomicUsize);
        impl ReadAt for Counted {
            fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            fn size(&self) -> u64 {
                10_000 * BLOCK as u64
            }
        }
        let data = Arc::new(Counted(std::sync::atomic::AtomicUsize::new(0)));
        let cache = Cache::new(data.clone(), 20_000);
        for _ in 0..3 {
            (0..10_000).for_each(|number| cache.read_exact_at(&mut [0; 8], number * BLOCK as u64 + 100).unwrap());
        }
        let reads = data.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(reads < 10_500, "{reads}");
    }

    #[test]
    fn what_is_read_through_the_cache_is_what_is_there() {
        let bytes: Vec<u8> = (0..100_000u32).map(|at| (at * 7 / 3) as u8).collect();
        let cache = Cache::new(Arc::new(bytes.clone()), 8);
        for (offset, length) in [(0, 8), (4090, 12), (4096, 4096), (99_990, 10), (50_000, 3000), (0, 8)] {
            let mut buf = vec![0; length];
            cache.read_exact_at(&mut buf, offset).unwrap();
            assert_eq!(buf, bytes[offset as usize..offset as usize + length]);
        }
        assert!(cache.read_exact_at(&mut [0; 20], 99_990).is_err());
        assert!(cache.read_exact_at(&mut [0; 20], u64::MAX - 4).is_err());
    }
}
