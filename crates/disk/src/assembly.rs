//! A disk put together from pieces.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
use crate::read_at::ReadAt;

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
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buf.is_empty() {
            let (from, length) = match self.piece(offset) {
                Some((start, piece)) if *start <= offset => {
                    (Some((piece, offset - start)), start + piece.size() - offset)
                }
                Some((start, _)) => (None, start - offset),
                None => (None, self.size - offset),
            };
            let length = usize::try_from(length).map_or(buf.len(), |length| length.min(buf.len()));
            let (run, rest) = buf.split_at_mut(length);
            match from {
                Some((piece, within)) => piece.read_exact_at(run, within)?,
                None => run.fill(0),
            }
            offset += length as u64;
            buf = rest;
        }
        Ok(())
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
