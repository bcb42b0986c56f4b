//! Fletcher sums.
//!
//! Each sum adds up the one before it, word by word: `a += word; b += a;
//! c += b; d += c`, all modulo 2^64. The order of the words matters to all but
//! the first.

use super::Digest;
use crate::bytes::ByteOrder;

/// Two pairs of sums of second order, over the even and the odd 64-bit words.
/// Bytes after the last pair of words are left out.
pub(super) fn fletcher2(order: ByteOrder, data: &[u8]) -> Digest {
    match order {
        ByteOrder::Little => sum2(data, u64::from_le_bytes),
        ByteOrder::Big => sum2(data, u64::from_be_bytes),
    }
}

/// Sums of first to fourth order over 32-bit words. Bytes after the last whole
/// word are left out.
pub(super) fn fletcher4(order: ByteOrder, data: &[u8]) -> Digest {
    match order {
        ByteOrder::Little => sum4(data, u32::from_le_bytes),
        ByteOrder::Big => sum4(data, u32::from_be_bytes),
    }
}

#[inline(always)]
fn sum2(data: &[u8], load: impl Fn([u8; 8]) -> u64) -> Digest {
    let (words, _) = data.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let [mut a0, mut a1, mut b0, mut b1] = [0u64; 4];
    for &[even, odd] in pairs {
        a0 = a0.wrapping_add(load(even));
        a1 = a1.wrapping_add(load(odd));
        b0 = b0.wrapping_add(a0);
        b1 = b1.wrapping_add(a1);
    }
    [a0, a1, b0, b1]
}

/// Words summed side by side.
const LANES: usize = 4;

/// Lane `j` sums every fourth word from word `j` on, which vector instructions
/// do for all lanes at once; [`WEIGHTS`] puts the lanes together.
#[inline(always)]
fn sum4(data: &[u8], load: impl Fn([u8; 4]) -> u32) -> Digest {
    let (words, _) = data.as_chunks::<4>();
    let (groups, rest) = words.as_chunks::<LANES>();
    let mut lanes = [[0; LANES]; 4];
    sum_lanes(groups, &load, &mut lanes);

    let mut sums = [0u64; 4];
    for (j, weights) in WEIGHTS.iter().enumerate() {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            for (lane, &weight) in lanes.iter().zip(weights) {
                *sum = sum.wrapping_add(lane[j].wrapping_mul(weight));
            }
        }
    }
    for &word in rest {
        sums[0] = sums[0].wrapping_add(load(word).into());
        for order in 1..4 {
            sums[order] = sums[order].wrapping_add(sums[order - 1]);
        }
    }
    sums
}

/// Adds the groups of words to the four sums of all lanes.
// Kept out of line, with the sums in memory at either end: inlined, the sums are
// taken apart into scalars before the vectoriser sees them, and take three times
// as long.
#[inline(never)]
fn sum_lanes(groups: &[[[u8; 4]; LANES]], load: &impl Fn([u8; 4]) -> u32, sums: &mut [[u64; LANES]; 4]) {
    let add = |sum: &mut [u64; LANES], other: &[u64; LANES]| {
        for (sum, &other) in sum.iter_mut().zip(other) {
            *sum = sum.wrapping_add(other);
        }
    };
    let [mut a, mut b, mut c, mut d] = *sums;
    for group in groups {
        add(&mut a, &group.map(|word| load(word).into()));
        add(&mut b, &a);
        add(&mut c, &b);
        add(&mut d, &c);
    }
    *sums = [a, b, c, d];
}

/// `WEIGHTS[j][p][q]`: how often lane `j`'s sum of order `q` counts in the
/// whole sum of order `p` (both from 0).
///
/// A word that is the `n`-th from the end counts `C(n+p-1, p)` times in the sum
/// of order `p`. In lane `j` it is the `m`-th from the end, where `n = 4m - j`.
/// So for each `p` and `j` there must be weights `w` with
/// `C(4m-j+p-1, p) = sum over q of w[q] C(m+q-1, q)` for all `m`: both sides are
/// polynomials in `m`, and the values at `m = 0, -1, -2, -3`, where
/// `C(m+q-1, q)` is `(-1)^q C(-m, q)`, give the weights one by one.
const WEIGHTS: [[[u64; 4]; 4]; LANES] = {
    let mut weights = [[[0; 4]; 4]; LANES];
    let mut j = 0;
    while j < LANES {
        let mut p = 0;
        while p < 4 {
            let mut found = [0i64; 4];
            let mut q = 0;
            while q < 4 {
                let n = -(LANES as i64) * q as i64 - j as i64;
                let mut missing = rising(n, p);
                let mut k = 0;
                while k < q {
                    missing -= found[k] * rising(-(q as i64), k);
                    k += 1;
                }
                // What the weight is multiplied with is 1 or -1.
                found[q] = missing * rising(-(q as i64), q);
                weights[j][p][q] = found[q] as u64;
                q += 1;
            }
            p += 1;
        }
        j += 1;
    }
    weights
};

/// `C(n+p-1, p)`, which is `n (n+1) ... (n+p-1) / p!`, for any integer `n`.
const fn rising(n: i64, p: usize) -> i64 {
    let mut product = 1;
    let mut i = 0;
    while i < p as i64 {
        // Divisible at every step: the product so far is C(n+i-1, i).
        product = product * (n + i) / (i + 1);
        i += 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn plain4(words: &[u32]) -> Digest {
        words.iter().fold([0u64; 4], |[a, b, c, d], &word| {
            let a = a.wrapping_add(word.into());
            let b = b.wrapping_add(a);
            let c = c.wrapping_add(b);
            [a, b, c, d.wrapping_add(c)]
        })
    }

    #[test]
    fn fletcher4_of_a_few_words_is_what_it_is_by_hand() {
        let data: Vec<u8> = [1u32, 2, 3].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(fletcher4(ByteOrder::Little, &data), [6, 10, 15, 21]);
    }

    #[test]
    fn fletcher2_of_a_few_words_is_what_it_is_by_hand() {
        let data: Vec<u8> = [1u64, 10, 2, 20, 3, 30].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(fletcher2(ByteOrder::Little, &data), [6, 60, 10, 100]);
    }

    #[test]
    fn sums_wrap_around() {
        let words = vec![u32::MAX; 1 << 18];
        let data = vec![0xff; 1 << 20];
        assert_eq!(fletcher4(ByteOrder::Little, &data), plain4(&words));
    }

    proptest! {
        #[test]
        fn lanes_add_up_to_the_plain_sums(words in prop::collection::vec(any::<u32>(), 0..500)) {
            let little: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let big: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            prop_assert_eq!(fletcher4(ByteOrder::Little, &little), plain4(&words));
            prop_assert_eq!(fletcher4(ByteOrder::Big, &big), plain4(&words));
        }

        #[test]
        fn fletcher2_does_not_depend_on_the_byte_order(words in prop::collection::vec(any::<u64>(), 0..100)) {
            let little: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let big: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            prop_assert_eq!(fletcher2(ByteOrder::Little, &little), fletcher2(ByteOrder::Big, &big));
        }
    }
}
