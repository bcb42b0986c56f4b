//! Pieces of unpacked data that were used last.

use std::sync::Arc;

/// How many bytes are kept.
const MOST: usize = 16 << 20;

/// Pieces by their numbers, the one used last at the end.
#[derive(Default)]
pub(super) struct Cache(Vec<(u64, Arc<Vec<u8>>)>);

impl Cache {
    pub(super) fn get(&mut self, number: u64) -> Option<Arc<Vec<u8>>> {
        let at = self.0.iter().position(|(other, _)| *other == number)?;
        let found = self.0.remove(at);
        let piece = found.1.clone();
        self.0.push(found);
        Some(piece)
    }

    pub(super) fn put(&mut self, number: u64, piece: Arc<Vec<u8>>) {
        self.0.retain(|(other, _)| *other != number);
        self.0.push((number, piece));
        let mut bytes: usize = self.0.iter().map(|(_, piece)| piece.len()).sum();
        let mut least_used = 0;
        while bytes > MOST && least_used + 1 < self.0.len() {
            bytes -= self.0.get(least_used).map_or(0, |(_, piece)| piece.len());
            least_used += 1;
        }
        self.0.drain(..least_used);
    }
}
