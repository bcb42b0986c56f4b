//! LZJB.
//!
//! Groups of eight items, each group led by a byte that says, from its lowest
//! bit on, what the items are: 0 for one byte as it is, 1 for a match of two
//! bytes, big-endian: six bits of length less three, ten bits of distance.

use super::Function;
use super::decompressor::Error;

const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = MATCH_MIN + (1 << 6) - 1;
const DISTANCE_MAX: usize = (1 << 10) - 1;
const HASH_BITS: u32 = 10;

/// Where each hash of three bytes was last seen, plus one.
#[derive(Default)]
pub(super) struct Encoder {
    seen: Vec<u32>,
}

impl Encoder {
    /// Compresses into `dst`; `None` if the result does not fit.
    pub(super) fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Option<usize> {
        self.seen.clear();
        self.seen.resize(1 << HASH_BITS, 0);
        let mut from = 0;
        let mut to = 0;
        while from < src.len() {
            let map_at = to;
            *dst.get_mut(map_at)? = 0;
            to += 1;
            for bit in 0..8 {
                let Some(&byte) = src.get(from) else { break };
                if let Some((distance, length)) = self.find(src, from) {
                    let item = ((length - MATCH_MIN) << 10 | distance) as u16;
                    dst.get_mut(to..to + 2)?.copy_from_slice(&item.to_be_bytes());
                    dst[map_at] |= 1 << bit;
                    to += 2;
                    from += length;
                } else {
                    *dst.get_mut(to)? = byte;
                    to += 1;
                    from += 1;
                }
            }
        }
        Some(to)
    }

    /// Distance and length of a match for what starts at `from`.
    fn find(&mut self, src: &[u8], from: usize) -> Option<(usize, usize)> {
        let key = src.get(from..from + MATCH_MIN)?;
        let value = u32::from_le_bytes([key[0], key[1], key[2], 0]);
        let hash = value.wrapping_mul(0x9E37_79B1) >> (u32::BITS - HASH_BITS);
        let seen = std::mem::replace(&mut self.seen[hash as usize], (from + 1) as u32);
        let candidate = (seen as usize).checked_sub(1)?;
        let distance = from - candidate;
        if distance > DISTANCE_MAX || src[candidate..candidate + MATCH_MIN] != *key {
            return None;
        }
        let ahead = &src[from..src.len().min(from + MATCH_MAX)];
        Some((distance, common(ahead, &src[candidate..])))
    }
}

/// How many bytes at the start are the same.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (words_a, words_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let mut length = 0;
    for (a, b) in words_a.iter().zip(words_b) {
        let difference = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + a[length..].iter().zip(&b[length..]).take_while(|(a, b)| a == b).count()
}

/// Decompresses into the whole of `dst`.
pub(super) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), Error> {
    let function = Function::Lzjb;
    let mut bytes = src.iter().copied();
    let mut next = || bytes.next().ok_or(Error::Truncated { function, need: src.len() + 1, have: src.len() });
    let mut at = 0;
    while at < dst.len() {
        let map = next()?;
        for bit in 0..8 {
            if at == dst.len() {
                break;
            }
            if map & 1 << bit == 0 {
                dst[at] = next()?;
                at += 1;
                continue;
            }
            let item = usize::from(u16::from_be_bytes([next()?, next()?]));
            let distance = item & DISTANCE_MAX;
            // The last match of a block may be cut by its end.
            let length = ((item >> 10) + MATCH_MIN).min(dst.len() - at);
            if distance == 0 || distance > at {
                return Err(Error::Corrupt { function, what: "a match reaches back before the block" });
            }
            // A match that overlaps what it makes repeats it.
            let made = &mut dst[at - distance..at + length];
            if distance >= length {
                made.copy_within(..length, distance);
            } else {
                for to in distance..distance + length {
                    made[to] = made[to - distance];
                }
            }
            at += length;
        }
    }
    Ok(())
}
