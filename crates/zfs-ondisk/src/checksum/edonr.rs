//! Edon-R-512 as a message authentication code.
//!
//! Edon-R ("Cryptographic Hash Function EDON-R", submission to NIST's SHA-3
//! competition, with the tweak of its second version: block and former state are
//! added to the new state) hashes blocks of 16 words into a state of 16 words by
//! a quasigroup operation on vectors of eight.
//!
//! ZFS keys it by hashing, before the data, a block made from the salt: its hash
//! and the hash of that (`edonr_zfs.c`).

use super::Salt;

/// Bytes of a block.
const BLOCK: usize = 128;
/// Bytes of a whole hash.
const HASH: usize = 64;

/// A vector that the quasigroup operates on.
type Vector = [u64; 8];

/// The first half of the hash of `data` under `salt`.
pub(super) fn mac(salt: &Salt, data: &[u8]) -> [u8; 32] {
    let mut key = [0; BLOCK];
    let (first, second) = key.split_at_mut(HASH);
    first.copy_from_slice(&hash(None, salt));
    second.copy_from_slice(&hash(None, first));

    let mut out = [0; 32];
    out.copy_from_slice(&hash(Some(&key), data)[..32]);
    out
}

/// The hash of a leading block, if any, and `data`.
fn hash(lead: Option<&[u8; BLOCK]>, data: &[u8]) -> [u8; HASH] {
    let mut state = State::new();
    let mut length = data.len();
    if let Some(block) = lead {
        state.absorb(block);
        length += BLOCK;
    }
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    for block in blocks {
        state.absorb(block);
    }
    // A one bit, zeros, and the length in bits end the last block.
    let mut tail = [0; 2 * BLOCK];
    tail[..rest.len()].copy_from_slice(rest);
    tail[rest.len()] = 0x80;
    let end = if rest.len() + 1 + 8 <= BLOCK { BLOCK } else { 2 * BLOCK };
    tail[end - 8..end].copy_from_slice(&(length as u64 * 8).to_le_bytes());
    let (blocks, _) = tail[..end].as_chunks::<BLOCK>();
    for block in blocks {
        state.absorb(block);
    }

    let mut out = [0; HASH];
    for (bytes, word) in out.chunks_exact_mut(8).zip(state.high) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// The double pipe.
struct State {
    low: Vector,
    high: Vector,
}

impl State {
    /// The bytes 0x80 to 0xff in order, as big-endian words.
    fn new() -> Self {
        let from =
            |start: u8| std::array::from_fn(|i| u64::from_be_bytes(std::array::from_fn(|j| start + (8 * i + j) as u8)));
        Self { low: from(0x80), high: from(0xc0) }
    }

    fn absorb(&mut self, block: &[u8; BLOCK]) {
        let (chunks, _) = block.as_chunks();
        let m0: Vector = std::array::from_fn(|i| u64::from_le_bytes(chunks[i]));
        let m1: Vector = std::array::from_fn(|i| u64::from_le_bytes(chunks[8 + i]));

        // Four rows of string transformations: the first is led by the reversed
        // second half of the block, the last by the reversed first half, the two
        // between by the halves of the state.
        let x = multiply(&reversed(m1), &m0);
        let y = multiply(&x, &m1);
        let x = multiply(&self.high, &x);
        let y = multiply(&x, &y);
        let x = multiply(&x, &self.low);
        let y = multiply(&y, &x);
        let x = multiply(&reversed(m0), &x);
        let y = multiply(&x, &y);

        for i in 0..8 {
            self.low[i] ^= m1[i] ^ x[i];
            self.high[i] ^= m0[i] ^ y[i];
        }
    }
}

fn reversed(mut vector: Vector) -> Vector {
    vector.reverse();
    vector
}

/// A Latin square of the quasigroup: line by line, how far a sum is rotated and
/// which words of a vector it is made of. The first sum, which is not rotated,
/// has a constant added.
// A macro rather than tables: whether loops over tables are unrolled is up to
// the optimiser's mood, and costs a factor of ten.
macro_rules! square {
    ($vector:ident, $constant:literal, $($rotation:literal: $($word:literal)+),+ $(,)?) => {{
        let mut sums = [$(0u64$(.wrapping_add($vector[$word]))+.rotate_left($rotation)),+];
        sums[0] = sums[0].wrapping_add($constant);
        sums
    }};
}

/// The combination of two squares: line by line, the words of the one and of the
/// other that make up a word of the product.
macro_rules! combine {
    ($left:ident, $right:ident, $($($l:literal)+; $($r:literal)+),+ $(,)?) => {
        [$((0 $(^ $left[$l])+).wrapping_add(0 $(^ $right[$r])+)),+]
    };
}

/// The quasigroup operation.
#[inline(always)]
fn multiply(left: &Vector, right: &Vector) -> Vector {
    let left: Vector = square!(
        left,
        0xaaaa_aaaa_aaaa_aaaa,
        0: 0 1 2 4 7,
        5: 0 1 3 4 7,
        15: 0 1 4 6 7,
        22: 2 3 5 6 7,
        31: 1 2 3 5 6,
        40: 0 2 3 4 5,
        50: 0 1 5 6 7,
        59: 2 3 4 5 6,
    );
    let right: Vector = square!(
        right,
        0x5555_5555_5555_5555,
        0: 0 1 2 5 7,
        10: 0 1 3 4 6,
        19: 0 1 2 3 5,
        29: 2 3 4 6 7,
        36: 0 1 3 4 5,
        44: 2 4 5 6 7,
        48: 1 2 5 6 7,
        55: 0 3 4 6 7,
    );
    combine!(
        left, right,
        0 1 4; 0 1 5,
        0 4 7; 2 6 7,
        1 6 7; 0 1 3,
        2 3 4; 0 3 4,
        0 1 7; 1 2 5,
        3 5 6; 3 4 6,
        2 5 6; 2 5 7,
        2 3 5; 4 6 7,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message of two blocks of FIPS 180's examples for SHA-512.
    const LONG: &[u8] = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
        hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";

    /// Digests that OpenZFS's own test of Edon-R-512 expects.
    #[test]
    fn known_messages_have_their_known_hashes() {
        let cases: [(&[u8], [u64; 8]); 2] = [
            (
                b"abc",
                [
                    0x1b14_db15_5f1d_4065,
                    0x94b8_cef7_0a43_62ec,
                    0x6b5d_e6a5_daf5_0ec9,
                    0x99e9_87c1_9d30_49e2,
                    0xde59_77bb_05b1_bb22,
                    0x0050_a1ea_5b46_a9f1,
                    0x740a_cafb_f6b4_5032,
                    0xadc9_0c62_8372_c22b,
                ],
            ),
            (
                LONG,
                [
                    0x5351_070d_c51c_3b2b,
                    0xaca5_a60d_0252_ccb4,
                    0xe492_1a96_fe5a_69e7,
                    0x6dad_48fd_21a0_845a,
                    0xd57f_880b_3e4a_907b,
                    0xc503_1518_42bb_949e,
                    0x1cba_7439_a640_9a34,
                    0xb843_6cb4_6921_583c,
                ],
            ),
        ];
        for (message, digest) in cases {
            assert_eq!(hash(None, message), *digest.map(u64::to_be_bytes).as_flattened());
        }
    }

    #[test]
    fn a_leading_block_counts_as_data() {
        let block = std::array::from_fn(|i| i as u8);
        let whole = [&block[..], LONG].concat();
        assert_eq!(hash(Some(&block), LONG), hash(None, &whole));
    }

    #[test]
    fn padding_that_does_not_fit_takes_a_block_of_its_own() {
        let hashes: Vec<_> = (118..=129).map(|length| hash(None, &vec![0; length])).collect();
        let distinct: std::collections::HashSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
    }
}
