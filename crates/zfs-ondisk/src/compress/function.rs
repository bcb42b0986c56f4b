//! The compression function of a block pointer.

use std::fmt;

/// How a block was compressed: the seven bits of a block pointer's properties
/// that start at bit 32 (`BP_GET_COMPRESS`), an `enum zio_compress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Function {
    /// Take the parent's; a property value only, but also what a hole holds.
    Inherit = 0,
    /// The default function; a property value only.
    On = 1,
    /// Not compressed.
    Off = 2,
    /// The first one of ZFS, by Jeff Bonwick.
    Lzjb = 3,
    /// Nothing but blocks of zeros is compressed; never in a block pointer.
    Empty = 4,
    /// A zlib stream, level 1.
    Gzip1 = 5,
    /// A zlib stream, level 2.
    Gzip2 = 6,
    /// A zlib stream, level 3.
    Gzip3 = 7,
    /// A zlib stream, level 4.
    Gzip4 = 8,
    /// A zlib stream, level 5.
    Gzip5 = 9,
    /// A zlib stream, level 6, the default one.
    Gzip6 = 10,
    /// A zlib stream, level 7.
    Gzip7 = 11,
    /// A zlib stream, level 8.
    Gzip8 = 12,
    /// A zlib stream, level 9.
    Gzip9 = 13,
    /// Runs of zeros.
    Zle = 14,
    /// LZ4, feature `org.illumos:lz4_compress`.
    Lz4 = 15,
    /// Zstandard, feature `org.freebsd:zstd_compress`.
    Zstd = 16,
}

impl Function {
    /// All functions, by number.
    pub const ALL: [Self; 17] = [
        Self::Inherit,
        Self::On,
        Self::Off,
        Self::Lzjb,
        Self::Empty,
        Self::Gzip1,
        Self::Gzip2,
        Self::Gzip3,
        Self::Gzip4,
        Self::Gzip5,
        Self::Gzip6,
        Self::Gzip7,
        Self::Gzip8,
        Self::Gzip9,
        Self::Zle,
        Self::Lz4,
        Self::Zstd,
    ];

    /// The number in a block pointer.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The function with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name OpenZFS prints for it, as in `zdb`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inherit => "inherit",
            Self::On => "on",
            Self::Off => "uncompressed",
            Self::Lzjb => "lzjb",
            Self::Empty => "empty",
            Self::Gzip1 => "gzip-1",
            Self::Gzip2 => "gzip-2",
            Self::Gzip3 => "gzip-3",
            Self::Gzip4 => "gzip-4",
            Self::Gzip5 => "gzip-5",
            Self::Gzip6 => "gzip-6",
            Self::Gzip7 => "gzip-7",
            Self::Gzip8 => "gzip-8",
            Self::Gzip9 => "gzip-9",
            Self::Zle => "zle",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
