//! Skein-512-256 as a message authentication code, version 1.3 of its
//! specification ("The Skein Hash Function Family", 2010); section numbers are
//! of that.

/// Bytes of a block and of the chaining state.
const BLOCK: usize = 64;
const WORDS: usize = BLOCK / 8;

/// Types of the units that are hashed one after the other (table 6).
const KEY: u64 = 0;
const CONFIG: u64 = 4;
const MESSAGE: u64 = 48;
const OUTPUT: u64 = 63;

/// The code of `data` under `key`.
pub(super) fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    skein(key, data)
}

/// Skein-512 with 256 bits of output; without a key where that is empty (3.5.4).
fn skein(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut state = [0; WORDS];
    if !key.is_empty() {
        state = ubi(state, KEY, key);
    }
    // 3.5.2: the schema "SHA3", version 1, then the output's length in bits;
    // no tree hashing.
    let mut config = [0; 32];
    config[..4].copy_from_slice(b"SHA3");
    config[4] = 1;
    config[8..16].copy_from_slice(&256u64.to_le_bytes());
    state = ubi(state, CONFIG, &config);
    state = ubi(state, MESSAGE, data);
    state = ubi(state, OUTPUT, &[0; 8]);

    let mut out = [0; 32];
    for (bytes, word) in out.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// Unique block iteration (3.4): chains `state` through a unit of some type.
fn ubi(mut state: [u64; WORDS], kind: u64, unit: &[u8]) -> [u64; WORDS] {
    const FIRST: u64 = 1 << 62;
    const FINAL: u64 = 1 << 63;
    let mut flags = kind << 56 | FIRST;

    // All blocks but the last one, which may be full, but empty only if the
    // unit is.
    let last_at = unit.len().saturating_sub(1) / BLOCK * BLOCK;
    let (blocks, _) = unit[..last_at].as_chunks::<BLOCK>();
    let mut end = 0;
    for block in blocks {
        end += BLOCK as u64;
        state = chain(state, [end, flags], block);
        flags &= !FIRST;
    }
    let mut padded = [0; BLOCK];
    padded[..unit.len() - last_at].copy_from_slice(&unit[last_at..]);
    chain(state, [unit.len() as u64, flags | FINAL], &padded)
}

/// Encrypts a block with the state as its key and feeds it forward.
#[inline]
fn chain(state: [u64; WORDS], tweak: [u64; 2], block: &[u8; BLOCK]) -> [u64; WORDS] {
    let (chunks, _) = block.as_chunks();
    let plain: [u64; WORDS] = std::array::from_fn(|i| u64::from_le_bytes(chunks[i]));
    let mut cipher = threefish(&state, tweak, plain);
    for (word, plain) in cipher.iter_mut().zip(plain) {
        *word ^= plain;
    }
    cipher
}

/// Rotations of the four pairs of words, round by round (table 4).
const ROTATIONS: [[u32; 4]; 8] = [
    [46, 36, 19, 37],
    [33, 27, 14, 42],
    [17, 49, 36, 39],
    [44, 9, 54, 56],
    [39, 30, 34, 24],
    [13, 50, 10, 17],
    [25, 29, 39, 43],
    [8, 35, 56, 22],
];

/// The words that make up the pairs of each round. It says where the permutation
/// of table 3 has taken them, so that nothing needs moving; it is back at the
/// start after four rounds.
const PAIRS: [[(usize, usize); 4]; 4] = [
    [(0, 1), (2, 3), (4, 5), (6, 7)],
    [(2, 1), (4, 7), (6, 5), (0, 3)],
    [(4, 1), (6, 3), (0, 5), (2, 7)],
    [(6, 1), (0, 7), (2, 5), (4, 3)],
];

/// Rounds between two subkeys.
const ROUNDS: usize = 4;
/// Subkeys: one before every four of the 72 rounds, and one after the last.
const SUBKEYS: usize = 72 / ROUNDS + 1;

/// The block cipher Threefish-512 (3.3).
#[inline]
fn threefish(key: &[u64; WORDS], tweak: [u64; 2], mut v: [u64; WORDS]) -> [u64; WORDS] {
    const PARITY: u64 = 0x1BD1_1BDA_A9FC_1A22;
    // Words of key and tweak are used in turn. They are laid out as often as
    // needed, for no index then has to be reduced.
    let mut keys = [0; SUBKEYS + WORDS];
    keys[..WORDS].copy_from_slice(key);
    keys[WORDS] = key.iter().fold(PARITY, |parity, word| parity ^ word);
    for i in WORDS + 1..keys.len() {
        keys[i] = keys[i - WORDS - 1];
    }
    let mut tweaks = [tweak[0], tweak[1], tweak[0] ^ tweak[1]];
    let mut add_subkey = |v: &mut [u64; WORDS], s: usize| {
        for (word, key) in v.iter_mut().zip(&keys[s..]) {
            *word = word.wrapping_add(*key);
        }
        v[5] = v[5].wrapping_add(tweaks[0]);
        v[6] = v[6].wrapping_add(tweaks[1]);
        v[7] = v[7].wrapping_add(s as u64);
        tweaks.rotate_left(1);
    };

    for s in (0..SUBKEYS - 1).step_by(2) {
        add_subkey(&mut v, s);
        mix(&mut v, &ROTATIONS[..ROUNDS]);
        add_subkey(&mut v, s + 1);
        mix(&mut v, &ROTATIONS[ROUNDS..]);
    }
    add_subkey(&mut v, SUBKEYS - 1);
    v
}

#[inline(always)]
fn mix(v: &mut [u64; WORDS], rotations: &[[u32; 4]]) {
    for (pairs, rotations) in PAIRS.iter().zip(rotations) {
        for (&(x, y), &rotation) in pairs.iter().zip(rotations) {
            v[x] = v[x].wrapping_add(v[y]);
            v[y] = v[y].rotate_left(rotation) ^ v[x];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// Digests of the reference implementation's known-answer tests (version 1.3).
    #[test]
    fn without_a_key_it_is_skein_512_256() {
        let falling: Vec<u8> = (0x80..=0xff).rev().collect();
        let cases: [(&[u8], &str); 4] = [
            (b"", "39ccc4554a8b31853b9de7a1fe638a24cce6b35a55f2431009e18780335d2621"),
            (b"abc", "0977b339c3c85927071805584d5460d8f20da8389bbe97c59b1cfac291fe9527"),
            (&falling, "1a6a5ba08e74a864b5cb052cfb9b2fa128203230a4d9923a329f5427c477a4db"),
            (&[0; 128], "2d0e2e241972df39be822a8c682105c64747faf8a10ec032881de7dc67887cc2"),
        ];
        for (data, digest) in cases {
            assert_eq!(skein(&[], data).to_vec(), hex(digest), "{} bytes", data.len());
        }
    }

    /// Codes computed with the reference implementation (pyskein 1.0).
    #[test]
    fn with_a_key_it_is_skein_512_256_mac() {
        let key: Vec<u8> = (0..32).collect();
        let rising: Vec<u8> = (0..=255).chain(0..=255).collect();
        let odd: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
        let cases: [(&[u8], &str); 4] = [
            (b"", "2893854ca23662bd0f1e54e5dee5553b396750b0d75531a92eb3ff17009a864d"),
            (&[0; 64], "e8b1dd576752f98d3e5e3c38d3e4e8cfcae76bb11f23de7e80164be63570b141"),
            (&rising, "845251ad7bb106df5703f8806c4e07c18fe231f29c94640506a44851a6ef303b"),
            (&odd, "cee5747b1c4470db7fcc7bfd124dd3e3ab72bbcf0dd1c219c7937cefbd10aad0"),
        ];
        for (data, code) in cases {
            assert_eq!(mac(&key, data).to_vec(), hex(code), "{} bytes", data.len());
        }
    }
}
