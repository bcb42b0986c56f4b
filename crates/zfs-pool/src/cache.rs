//! A cache of blocks, bounded in bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use zfs_ondisk::blkptr::BlockPointer;

/// Bytes of blocks that are kept.
const CAPACITY: usize = 32 << 20;

/// What a block was read with ([`Access::id`](crate::crypt::Access::id)), and its pointer.
type Key = (u64, BlockPointer);

/// Decompressed blocks by their pointers. What was used since it came gets a
/// second turn before it goes, so that files streaming through do not push
/// out the metadata.
#[derive(Default)]
pub(crate) struct Cache(Mutex<State>);

#[derive(Default)]
struct State {
    blocks: HashMap<Key, Cached>,
    turns: VecDeque<Key>,
    bytes: usize,
}

struct Cached {
    block: Arc<[u8]>,
    used: bool,
}

impl Cache {
    pub(crate) fn get(&self, access: u64, pointer: &BlockPointer) -> Option<Arc<[u8]>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = state.blocks.get_mut(&(access, *pointer))?;
        cached.used = true;
        Some(cached.block.clone())
    }

    pub(crate) fn put(&self, access: u64, pointer: &BlockPointer, block: &Arc<[u8]>) {
        if block.len() > CAPACITY / 8 {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = Cached { block: block.clone(), used: false };
        if state.blocks.insert((access, *pointer), cached).is_none() {
            state.bytes += block.len();
            state.turns.push_back((access, *pointer));
        }
        state.shrink();
    }
}

impl State {
    fn shrink(&mut self) {
        while self.bytes > CAPACITY {
            let Some(oldest) = self.turns.pop_front() else { return };
            match self.blocks.get_mut(&oldest) {
                Some(cached) if cached.used => {
                    cached.used = false;
                    self.turns.push_back(oldest);
                }
                _ => {
                    let gone = self.blocks.remove(&oldest);
                    self.bytes -= gone.map_or(0, |cached| cached.block.len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zfs_ondisk::object::ObjectType;

    fn pointer(number: u64) -> BlockPointer {
        BlockPointer::embedded(ObjectType::NONE, 512, 2, &number.to_le_bytes(), 1)
    }

    #[test]
    fn what_is_used_stays_longer_than_what_only_passes() {
        let cache = Cache::default();
        let block: Arc<[u8]> = vec![0; CAPACITY / 8].into();
        cache.put(0, &pointer(0), &block);
        for number in 1..=7 {
            cache.put(0, &pointer(number), &block);
        }
        assert!(cache.get(0, &pointer(0)).is_some());
        cache.put(0, &pointer(8), &block);
        assert!(cache.get(0, &pointer(0)).is_some());
        assert!(cache.get(0, &pointer(1)).is_none());
    }

    #[test]
    fn a_block_that_is_put_twice_counts_once() {
        let cache = Cache::default();
        let block: Arc<[u8]> = vec![0; CAPACITY / 8].into();
        for _ in 0..100 {
            cache.put(0, &pointer(0), &block);
        }
        assert_eq!(cache.0.lock().unwrap().bytes, block.len());
    }
}
