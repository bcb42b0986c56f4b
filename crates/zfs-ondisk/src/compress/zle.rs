//! ZLE: zero-length encoding.
//!
//! A control byte `c` below 64 says that `c + 1` bytes follow as they are; any
//! other stands for `c - 63` zeros.

use super::Function;
use super::decompressor::Error;

/// The longest literal, and with it the first control byte of a run of zeros
/// (the level of `zle` in OpenZFS's table of functions).
const LITERALS: usize = 64;
/// The longest run of zeros that one control byte stands for.
const ZEROS: usize = 256 - LITERALS;

/// Compresses into `dst`; `None` if the result does not fit.
pub(super) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let mut at = 0;
    let mut rest = src;
    while let Some(&first) = rest.first() {
        let room = dst.get_mut(at..)?;
        if first == 0 {
            let run = rest.iter().take(ZEROS).take_while(|&&byte| byte == 0).count();
            *room.first_mut()? = (LITERALS + run - 1) as u8;
            at += 1;
            rest = &rest[run..];
        } else {
            let window = &rest[..rest.len().min(LITERALS)];
            // A single zero costs as much inside a literal as outside of it.
            let run = window.windows(2).position(|pair| pair == [0, 0]).unwrap_or(window.len());
            let (control, literal) = room.get_mut(..=run)?.split_first_mut()?;
            *control = (run - 1) as u8;
            literal.copy_from_slice(&window[..run]);
            at += 1 + run;
            rest = &rest[run..];
        }
    }
    Some(at)
}

/// Decompresses into the whole of `dst`.
pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
    let function = Function::Zle;
    let mut rest = src;
    let mut at = 0;
    while at < dst.len() {
        let truncated = |need| Error::Truncated { function, need, have: src.len() };
        let (&control, tail) = rest.split_first().ok_or_else(|| truncated(src.len() + 1))?;
        let control = usize::from(control);
        let run = if control < LITERALS { control + 1 } else { control + 1 - LITERALS };
        let room = dst
            .get_mut(at..at + run)
            .ok_or(Error::Corrupt { function, what: "a run goes past the end of the block" })?;
        if control < LITERALS {
            let literal = tail.get(..run).ok_or_else(|| truncated(src.len() - tail.len() + run))?;
            room.copy_from_slice(literal);
            rest = &tail[run..];
        } else {
            room.fill(0);
            rest = tail;
        }
        at += run;
    }
    Ok(())
}
