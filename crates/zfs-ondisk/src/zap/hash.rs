//! The hash of names: CRC-64 with ECMA's polynomial, reflected, that begins with
//! the salt of the ZAP and is not inverted (`zfs_crc64_table`, `zap_hash`).

const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

const TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

/// How many bits of the hash count; the others are zero. Those that count are
/// the first ones, by which leaves and their buckets are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashBits {
    /// 28 bits, of micro ZAPs and most fat ones.
    Short,
    /// 48 bits, of fat ZAPs with [`super::FLAG_HASH64`].
    Long,
}

impl HashBits {
    /// What the flags of a fat ZAP's header say.
    pub fn from_flags(flags: u64) -> Self {
        if flags & super::FLAG_HASH64 != 0 { HashBits::Long } else { HashBits::Short }
    }

    /// The number of bits that count.
    pub fn bits(self) -> u32 {
        match self {
            HashBits::Short => 28,
            HashBits::Long => 48,
        }
    }

    /// `hash` without the bits that do not count.
    pub fn cut(self, hash: u64) -> u64 {
        let dropped = 64 - self.bits();
        hash >> dropped << dropped
    }
}

/// The hash of a name, which is given without its NUL and already normalized.
pub fn hash_name(salt: u64, name: &[u8], bits: HashBits) -> u64 {
    bits.cut(name.iter().fold(salt, step))
}

/// The hash of a key of integers ([`super::FLAG_UINT64_KEY`]).
pub fn hash_key(salt: u64, key: &[u64], bits: HashBits) -> u64 {
    bits.cut(key.iter().flat_map(|word| word.to_le_bytes()).fold(salt, |crc, byte| step(crc, &byte)))
}

fn step(crc: u64, byte: &u8) -> u64 {
    crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_crc_64_ecma_reflected() {
        assert_eq!(TABLE[128], POLYNOMIAL);
        // CRC-64/XZ is this CRC, inverted before and after; its check value is
        // the CRC of "123456789".
        let crc = b"123456789".iter().fold(u64::MAX, step);
        assert_eq!(!crc, 0x995D_C9BB_DF19_39FA);
    }

    #[test]
    fn only_the_first_bits_count() {
        let long = hash_name(1, b"name", HashBits::Long);
        assert_eq!(long & 0xFFFF, 0);
        assert_eq!(HashBits::Short.cut(long), hash_name(1, b"name", HashBits::Short));
        assert_eq!(HashBits::Short.cut(u64::MAX), 0xFFFF_FFF0_0000_0000);
    }

    #[test]
    fn an_integer_hashes_like_its_little_endian_bytes() {
        assert_eq!(
            hash_key(5, &[0x0807_0605_0403_0201], HashBits::Long),
            hash_name(5, &[1, 2, 3, 4, 5, 6, 7, 8], HashBits::Long)
        );
    }
}
