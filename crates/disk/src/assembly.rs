//! A disk put together from pieces.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::read_at::{ReadAt, at_most, read_in_steps};

/// Pieces at their places, and zeros between them.
#[derive(Clone, Default)]
pub struct Assembly {
    /// In order.
    pieces: Vec<(u64, Arc<dyn ReadAt>)>,
    size: u64,
}

impl Assembly {
    /// Nothing but `size` zeros.
    pub fn new(size: u64) -> Self {
        Self { pieces: Vec::new(), size }
    }

    /// Puts a piece at `offset`.
    ///
    /// # Errors
    /// If there is another, or it goes beyond the end.
    pub fn put(&mut self, offset: u64, piece: Arc<dyn ReadAt>) -> Result<(), Error> {
        let at = self.pieces.partition_point(|(other, _)| *other < offset);
        let end = offset.checked_add(piece.size()).filter(|end| *end <= self.size);
        let before = at.checked_sub(1).and_then(|index| self.pieces.get(index));
        let free = before.is_none_or(|(other, piece)| other + piece.size() <= offset);
        let next = self.pieces.get(at).map_or(self.size, |(other, _)| *other);
        if !free || end.is_none_or(|end| end > next) {
            let text = format!("{} bytes at {offset} do not fit in: {} bytes in all", piece.size(), self.size);
            return Err(Error::Impossible(text));
        }
        if piece.size() > 0 {
            self.pieces.insert(at, (offset, piece));
        }
        Ok(())
    }

    /// The first piece that ends behind `offset`.
    fn piece(&self, offset: u64) -> Option<&(u64, Arc<dyn ReadAt>)> {
        self.pieces.get(self.first(offset))
    }

    fn first(&self, offset: u64) -> usize {
        self.pieces.partition_point(|(start, piece)| start + piece.size() <= offset)
    }
}

impl ReadAt for Assembly {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        read_in_steps(self.size, buf, offset, |buf, offset| {
            let run = match self.piece(offset) {
                Some((start, piece)) if *start <= offset => {
                    let run = at_most(buf, start + piece.size() - offset);
                    piece.read_exact_at(run, offset - start)?;
                    run
                }
                next => {
                    let run = at_most(buf, next.map_or(self.size, |(start, _)| *start) - offset);
                    run.fill(0);
                    run
                }
            };
            Ok(run.len())
        })
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        for (start, piece) in self.pieces.iter().skip(self.first(offset)) {
            if let Some(run) = piece.next_data(offset.saturating_sub(*start))? {
                return Ok(Some(start + run.start..start + run.end));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_stand_at_their_places_and_nothing_overlaps() {
        let mut all = Assembly::new(100);
        all.put(50, Arc::new(vec![5; 10])).unwrap();
        all.put(10, Arc::new(vec![1; 10])).unwrap();
        all.put(20, Arc::new(vec![2; 5])).unwrap();
        for (offset, size) in [(55, 1), (45, 10), (95, 6), (u64::MAX, 1), (0, 11)] {
            assert!(all.put(offset, Arc::new(vec![9; size])).is_err(), "{offset}");
        }
        let mut found = vec![9; 100];
        all.read_exact_at(&mut found, 0).unwrap();
        let expected: Vec<u8> = [vec![0; 10], vec![1; 10], vec![2; 5], vec![0; 25], vec![5; 10], vec![0; 40]].concat();
        assert_eq!(found, expected);
        assert_eq!(all.next_data(0).unwrap(), Some(10..20));
        assert_eq!(all.next_data(22).unwrap(), Some(22..25));
        assert_eq!(all.next_data(60).unwrap(), None);
    }
}
