//! Zstandard: a header of eight bytes and a frame without its magic number.
//!
//! The header, big-endian (`sys/zstd/zstd.h`): 4 bytes, the length of the frame;
//! 1 byte, the level ([`ZstdLevel::number`]); 3 bytes, the version of the
//! library that compressed, as in 10507 for 1.5.7. The frame has neither content
//! size nor checksum, for ZFS knows both.
//!
//! Big-endian machines have written the version before the level. Nothing needs
//! either to decompress, so both forms are read.

use ::zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat, VERSION_NUMBER};

use super::decompressor::Error;
use super::{Function, ZstdLevel};

/// The length of the header.
const HEADER: usize = 8;

/// From this level on an encoder is slow on data that cannot be compressed, too.
const SLOW: ZstdLevel = ZstdLevel(13);
/// The level that finds such data quickly.
const PROBE: ZstdLevel = ZstdLevel(1);

/// The encoders of the level last used.
#[derive(Default)]
pub(super) struct Encoder {
    main: Level,
    probe: Level,
}

impl Encoder {
    /// Compresses into `dst`; `None` if the result does not fit.
    pub(super) fn compress(&mut self, level: ZstdLevel, src: &[u8], dst: &mut [u8]) -> Option<usize> {
        let (header, room) = dst.split_first_chunk_mut::<HEADER>()?;
        if level >= SLOW {
            // OpenZFS gives up such blocks by the same test (zfs_zstd.c).
            self.probe.compress(PROBE, src, room)?;
        }
        let length = self.main.compress(level, src, room)?;
        let (size, version) = header.split_at_mut(4);
        size.copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        version.copy_from_slice(&VERSION_NUMBER.to_be_bytes());
        version[0] = level.number();
        Some(HEADER + length)
    }
}

/// An encoder that makes frames at one level.
#[derive(Default)]
struct Level {
    state: Option<(ZstdLevel, CCtx<'static>)>,
}

impl Level {
    fn compress(&mut self, level: ZstdLevel, src: &[u8], dst: &mut [u8]) -> Option<usize> {
        if self.state.as_ref().is_none_or(|(last, _)| *last != level) {
            self.state = Some((level, encoder(level)?));
        }
        let (_, context) = self.state.as_mut()?;
        context.compress2(dst, src).ok()
    }
}

fn encoder(level: ZstdLevel) -> Option<CCtx<'static>> {
    let mut context = CCtx::try_create()?;
    let parameters = [
        CParameter::CompressionLevel(level.level().into()),
        CParameter::Format(FrameFormat::Magicless),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
    ];
    for parameter in parameters {
        context.set_parameter(parameter).ok()?;
    }
    Some(context)
}

/// The decoder and its tables.
#[derive(Default)]
pub(super) struct Decoder {
    state: Option<DCtx<'static>>,
}

impl Decoder {
    /// Decompresses into the whole of `dst`.
    pub(super) fn decompress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
        let function = Function::Zstd;
        let truncated = |need| Error::Truncated { function, need, have: src.len() };
        let (header, rest) = src.split_first_chunk::<HEADER>().ok_or_else(|| truncated(HEADER))?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let frame = rest.get(..length).ok_or_else(|| truncated(length.saturating_add(HEADER)))?;
        let context = self.context().ok_or(Error::Corrupt { function, what: "no decoder could be made" })?;
        let found = context
            .decompress(dst, frame)
            .map_err(|_| Error::Corrupt { function, what: "it is no zstd frame of its length" })?;
        if found != dst.len() {
            return Err(Error::Length { function, found, expected: dst.len() });
        }
        Ok(())
    }

    fn context(&mut self) -> Option<&mut DCtx<'static>> {
        if self.state.is_none() {
            let mut context = DCtx::try_create()?;
            context.set_parameter(DParameter::Format(FrameFormat::Magicless)).ok()?;
            self.state = Some(context);
        }
        self.state.as_mut()
    }
}
