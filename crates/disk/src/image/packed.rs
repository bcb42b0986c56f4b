//! A disk in compressed pieces, each of which can be decompressed by itself.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::recent::Recent;
use crate::read_at::{ReadAt, at_most, read_in_steps};

/// The largest piece that is decompressed as a whole whenever something of it is read.
pub(super) const MAX_PIECE: u64 = 64 << 20;
/// Bytes of decompressed pieces that are kept.
const KEPT: u64 = 64 << 20;

/// A piece of a disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where it is on the disk.
    pub(super) start: u64,
    /// Bytes of it.
    pub(super) length: u64,
    /// Where it is in the file, compressed.
    pub(super) offset: u64,
    /// Bytes there.
    pub(super) stored: u64,
}

type Decompress = dyn Fn(&[u8], usize) -> io::Result<Vec<u8>> + Send + Sync;

/// A disk in pieces.
pub(super) struct Packed {
    file: Arc<dyn ReadAt>,
    /// In the order of the disk, without gaps.
    pieces: Vec<Piece>,
    size: u64,
    decompress: Box<Decompress>,
    recent: Recent<Vec<u8>>,
}

impl Packed {
    /// The pieces stand in order; `decompress` gives so many bytes of one.
    pub(super) fn new(
        file: Arc<dyn ReadAt>,
        mut pieces: Vec<Piece>,
        decompress: impl Fn(&[u8], usize) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        pieces.retain(|piece| piece.length > 0);
        let size = pieces.last().map_or(0, |piece| piece.start.saturating_add(piece.length));
        let largest = pieces.iter().map(|piece| piece.length).max().unwrap_or(1).max(1);
        let kept = (KEPT / largest).clamp(2, 64) as usize;
        Self { file, pieces, size, decompress: Box::new(decompress), recent: Recent::new(kept) }
    }

    /// Whether no piece is too large to be decompressed for each reading.
    pub(super) fn is_handy(&self) -> bool {
        self.pieces.iter().all(|piece| piece.length <= MAX_PIECE && piece.stored <= 2 * MAX_PIECE)
    }

    fn piece(&self, number: usize, piece: &Piece) -> io::Result<Arc<Vec<u8>>> {
        self.recent.get(number as u64, || {
            let mut stored = vec![0; piece.stored as usize];
            self.file.read_exact_at(&mut stored, piece.offset)?;
            (self.decompress)(&stored, piece.length as usize).map_err(|error| {
                let text = format!("the compressed piece at {:#x} is damaged: {error}", piece.offset);
                io::Error::new(io::ErrorKind::InvalidData, text)
            })
        })
    }
}

impl ReadAt for Packed {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        read_in_steps(self.size, buf, offset, |buf, offset| {
            let number = self.pieces.partition_point(|piece| piece.start + piece.length <= offset);
            let piece = self.pieces.get(number).ok_or(io::ErrorKind::UnexpectedEof)?;
            let within = offset - piece.start;
            let run = at_most(buf, piece.length - within);
            self.piece(number, piece)?.read_exact_at(run, within)?;
            Ok(run.len())
        })
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        // A piece that is so much smaller than what it stands for is zeros, most likely: a
        // look at it saves handing them on.
        super::next_data(self.size, offset, |at| {
            let number = self.pieces.partition_point(|piece| piece.start + piece.length <= at);
            let Some(piece) = self.pieces.get(number) else { return Ok((true, 1)) };
            let length = piece.length - (at - piece.start);
            let zeros = piece.stored < piece.length / 1000 && super::blocks::is_zero(&self.piece(number, piece)?);
            Ok((!zeros, length))
        })
    }
}
