//! The property `compression` of a dataset.

use std::fmt;
use std::str::FromStr;

use super::Function;

/// The bits of a property value that hold the function (`SPA_COMPRESSBITS`);
/// the level of zstd stands above them.
const FUNCTION_BITS: u32 = 7;

/// How the blocks of a dataset are to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// The default: lz4 where the pool has that feature, lzjb where not.
    On,
    /// None at all; blocks of zeros are not turned into holes either.
    Off,
    /// lzjb.
    Lzjb,
    /// gzip at a level.
    Gzip(GzipLevel),
    /// Runs of zeros.
    Zle,
    /// LZ4.
    Lz4,
    /// zstd at a level, or at its default one, 3.
    Zstd(Option<ZstdLevel>),
}

/// A level of gzip, 1 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GzipLevel(u8);

/// A level of zstd that ZFS knows: 1 to 19, and the fast levels -1 to -10,
/// -20, -30, ... -100, -500 and -1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZstdLevel(pub(super) i16);

/// A value that the property `compression` does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compression '{value}' is unknown; expected one of {}", Compression::ACCEPTED)]
pub struct UnknownCompression {
    /// The value, in text or as a number.
    pub value: String,
}

impl Compression {
    /// The values the property takes, for messages and manuals.
    pub const ACCEPTED: &str = "on, off, lz4, zstd, zstd-1 to zstd-19, zstd-fast, zstd-fast-1 to zstd-fast-10, \
         zstd-fast-20, -30, -40, -50, -60, -70, -80, -90, -100, -500, -1000, gzip, gzip-1 to gzip-9, zle, lzjb";

    /// The setting with [`Compression::On`] replaced by what it stands for,
    /// which depends on whether the feature `lz4_compress` is active.
    pub fn resolve(self, lz4: bool) -> Self {
        match self {
            Self::On if lz4 => Self::Lz4,
            Self::On => Self::Lzjb,
            other => other,
        }
    }

    /// The function that blocks written with this setting name.
    /// [`Compression::On`] counts as lz4; see [`Compression::resolve`].
    pub fn function(self) -> Function {
        match self {
            Self::Off => Function::Off,
            Self::Lzjb => Function::Lzjb,
            Self::Gzip(level) => level.function(),
            Self::Zle => Function::Zle,
            Self::On | Self::Lz4 => Function::Lz4,
            Self::Zstd(_) => Function::Zstd,
        }
    }

    /// The number that the property is stored as: the function, and zstd's
    /// level shifted above it (`ZIO_COMPRESS_RAW`, `sys/zio.h`).
    pub fn to_property(self) -> u64 {
        match self {
            Self::On => Function::On.number().into(),
            Self::Zstd(Some(level)) => u64::from(Function::Zstd.number()) | u64::from(level.number()) << FUNCTION_BITS,
            other => other.function().number().into(),
        }
    }

    /// The setting that a stored property value means.
    ///
    /// # Errors
    /// [`UnknownCompression`] if there is none.
    pub fn from_property(value: u64) -> Result<Self, UnknownCompression> {
        let unknown = || UnknownCompression { value: value.to_string() };
        let level = u8::try_from(value >> FUNCTION_BITS).map_err(|_| unknown())?;
        let function = Function::from_number((value & ((1 << FUNCTION_BITS) - 1)) as u8).ok_or_else(unknown)?;
        match (function, level) {
            (Function::Zstd, 0) => Ok(Self::Zstd(None)),
            (Function::Zstd, level) => ZstdLevel::from_number(level).map(|l| Self::Zstd(Some(l))).ok_or_else(unknown),
            (Function::On, 0) => Ok(Self::On),
            (Function::Off, 0) => Ok(Self::Off),
            (Function::Lzjb, 0) => Ok(Self::Lzjb),
            (Function::Zle, 0) => Ok(Self::Zle),
            (Function::Lz4, 0) => Ok(Self::Lz4),
            (function, 0) => GzipLevel::of(function).map(Self::Gzip).ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        let setting = match text {
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            "lzjb" => Some(Self::Lzjb),
            "gzip" => Some(Self::Gzip(GzipLevel::DEFAULT)),
            "zle" => Some(Self::Zle),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd(None)),
            "zstd-fast" => ZstdLevel::new(-1).map(|level| Self::Zstd(Some(level))),
            _ => {
                if let Some(level) = text.strip_prefix("gzip-") {
                    decimal(level).and_then(GzipLevel::new).map(Self::Gzip)
                } else if let Some(level) = text.strip_prefix("zstd-fast-") {
                    decimal(level).and_then(|l: i16| ZstdLevel::new(-l)).map(|l| Self::Zstd(Some(l)))
                } else if let Some(level) = text.strip_prefix("zstd-") {
                    decimal(level).and_then(ZstdLevel::new).map(|l| Self::Zstd(Some(l)))
                } else {
                    None
                }
            }
        };
        setting.ok_or_else(|| UnknownCompression { value: text.to_owned() })
    }
}

impl fmt::Display for Compression {
    /// The name that `zfs get compression` prints: the shortest that means it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::On => f.write_str("on"),
            Self::Off => f.write_str("off"),
            Self::Gzip(GzipLevel::DEFAULT) => f.write_str("gzip"),
            Self::Zstd(Some(ZstdLevel(-1))) => f.write_str("zstd-fast"),
            Self::Zstd(Some(ZstdLevel(fast @ ..0))) => write!(f, "zstd-fast-{}", -fast),
            Self::Zstd(Some(ZstdLevel(level))) => write!(f, "zstd-{level}"),
            other => f.write_str(other.function().name()),
        }
    }
}

impl GzipLevel {
    /// The level of plain `gzip`.
    pub const DEFAULT: Self = Self(6);

    /// The level, if it is one of 1 to 9.
    pub fn new(level: u8) -> Option<Self> {
        (1..=9).contains(&level).then_some(Self(level))
    }

    /// The level as zlib counts it, 1 to 9.
    pub fn level(self) -> u8 {
        self.0
    }

    fn of(function: Function) -> Option<Self> {
        function.number().checked_sub(Function::Gzip1.number() - 1).and_then(Self::new)
    }

    fn function(self) -> Function {
        // A level is at most nine, so this never leaves the gzip functions.
        Function::ALL[usize::from(Function::Gzip1.number() + self.0 - 1)]
    }
}

impl ZstdLevel {
    /// The level of plain `zstd`.
    pub const DEFAULT: Self = Self(3);

    /// The number of the first fast level (`ZIO_ZSTD_LEVEL_FAST_1`).
    const FAST_1: u8 = 103;

    /// The fast levels, in the order of their numbers.
    const FAST: [i16; 21] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 500, 1000];

    /// The level, if it is one that ZFS knows; fast levels are negative.
    pub fn new(level: i16) -> Option<Self> {
        let known = (1..=19).contains(&level) || level.checked_neg().is_some_and(|fast| Self::FAST.contains(&fast));
        known.then_some(Self(level))
    }

    /// The level as zstd counts it.
    pub fn level(self) -> i16 {
        self.0
    }

    /// The number that ZFS stores for the level, in the property and in the
    /// header of each block (`enum zio_zstd_levels`, `sys/zio_compress.h`).
    pub fn number(self) -> u8 {
        match Self::FAST.iter().position(|&fast| -fast == self.0) {
            Some(place) => Self::FAST_1 + place as u8,
            None => self.0 as u8,
        }
    }

    /// The level that a stored number means, if any.
    pub fn from_number(number: u8) -> Option<Self> {
        match number.checked_sub(Self::FAST_1) {
            Some(place) => Self::FAST.get(usize::from(place)).map(|fast| Self(-fast)),
            None => Self::new(number.into()).filter(|level| level.0 > 0),
        }
    }
}

/// A number written without sign or leading zeros, as property values are.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zstd(level: i16) -> Compression {
        Compression::Zstd(Some(ZstdLevel::new(level).unwrap()))
    }

    #[test]
    fn property_numbers_are_those_of_openzfs() {
        let numbers = [
            ("on", 1),
            ("off", 2),
            ("lzjb", 3),
            ("gzip-1", 5),
            ("gzip", 10),
            ("gzip-9", 13),
            ("zle", 14),
            ("lz4", 15),
            ("zstd", 16),
            ("zstd-1", 16 | 1 << 7),
            ("zstd-19", 16 | 19 << 7),
            ("zstd-fast", 16 | 103 << 7),
            ("zstd-fast-10", 16 | 112 << 7),
            ("zstd-fast-20", 16 | 113 << 7),
            ("zstd-fast-100", 16 | 121 << 7),
            ("zstd-fast-500", 16 | 122 << 7),
            ("zstd-fast-1000", 16 | 123 << 7),
        ];
        for (name, number) in numbers {
            let setting: Compression = name.parse().unwrap();
            assert_eq!(setting.to_property(), number, "{name}");
            assert_eq!(Compression::from_property(number), Ok(setting));
            assert_eq!(setting.to_string(), name);
        }
    }

    #[test]
    fn two_names_of_one_value_print_as_the_shorter() {
        for (long, short) in [("gzip-6", "gzip"), ("zstd-fast-1", "zstd-fast")] {
            assert_eq!(long.parse::<Compression>().unwrap().to_string(), short);
        }
        assert_eq!("zstd-3".parse(), Ok(zstd(3)));
        assert_ne!("zstd".parse(), Ok(zstd(3)));
    }

    #[test]
    fn values_that_do_not_exist_are_refused_with_those_that_do() {
        for text in ["", "lz5", "gzip-0", "gzip-10", "gzip-06", "zstd-0", "zstd-20", "zstd-+3", "zstd--3"] {
            let error = text.parse::<Compression>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")) && error.contains("zstd-fast-10"), "{error}");
        }
        for text in ["zstd-fast-", "zstd-fast-0", "zstd-fast-11", "zstd-fast-300", "empty", "inherit", "LZ4"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
        for number in [0, 4, 17, 127, 15 | 1 << 7, 16 | 20 << 7, 16 | 102 << 7, 16 | 124 << 7, 16 | 256 << 7, u64::MAX]
        {
            assert!(Compression::from_property(number).is_err(), "{number}");
        }
    }

    #[test]
    fn every_stored_level_is_read_back() {
        let levels: Vec<_> = (0..=255).filter_map(ZstdLevel::from_number).collect();
        assert_eq!(levels.len(), 19 + 21);
        for level in levels {
            assert_eq!(ZstdLevel::from_number(level.number()), Some(level));
            assert_eq!(ZstdLevel::new(level.level()), Some(level));
        }
    }

    #[test]
    fn on_is_lz4_where_the_pool_has_it() {
        assert_eq!(Compression::On.resolve(true), Compression::Lz4);
        assert_eq!(Compression::On.resolve(false), Compression::Lzjb);
        assert_eq!(Compression::Zle.resolve(true), Compression::Zle);
    }
}
