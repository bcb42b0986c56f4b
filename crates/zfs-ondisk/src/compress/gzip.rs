//! gzip: a zlib stream (RFC 1950), in spite of the name.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::decompressor::Error;
use super::{Function, GzipLevel};

/// The encoder of the level last used.
#[derive(Default)]
pub(super) struct Encoder {
    state: Option<(GzipLevel, Compress)>,
}

impl Encoder {
    /// Compresses into `dst`; `None` if the result does not fit.
    pub(super) fn compress(&mut self, level: GzipLevel, src: &[u8], dst: &mut [u8]) -> Option<usize> {
        let fresh = || (level, Compress::new(flate2::Compression::new(level.level().into()), true));
        self.state.take_if(|(last, _)| *last != level);
        let (_, encoder) = self.state.get_or_insert_with(fresh);
        encoder.reset();
        if let Ok(Status::StreamEnd) = encoder.compress(src, dst, FlushCompress::Finish) {
            return usize::try_from(encoder.total_out()).ok();
        }
        // An encoder that was stopped midway is not used again: at level 1,
        // zlib-rs 0.6.8 takes the open block along through the reset, and then
        // makes a stream that cannot be read.
        self.state = None;
        None
    }
}

/// The decoder and its window.
#[derive(Default)]
pub(super) struct Decoder {
    state: Option<Decompress>,
}

impl Decoder {
    /// Decompresses into the whole of `dst`.
    pub(super) fn decompress(&mut self, function: Function, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        let decoder = self.state.get_or_insert_with(|| Decompress::new(true));
        decoder.reset(true);
        let status = decoder
            .decompress(src, dst, FlushDecompress::Finish)
            .map_err(|_| Error::Corrupt { function, what: "it is no zlib stream" })?;
        let found = usize::try_from(decoder.total_out()).unwrap_or(usize::MAX);
        match status {
            Status::StreamEnd if found == dst.len() => Ok(()),
            Status::StreamEnd => Err(Error::Length { function, found, expected: dst.len() }),
            _ => Err(Error::Corrupt { function, what: "the zlib stream does not end" }),
        }
    }
}
