//! The kernel dump header, KDH for short: 512 bytes that say what a dump is, before and after it on a disk, and sent
//! after it over the network (`struct kerneldumpheader` in `sys/kerneldump.h`).
//!
//! Every field is big-endian. There were four versions:
//!
//! | version | of | what was new |
//! | --- | --- | --- |
//! | 1 | FreeBSD 5 to 11 | |
//! | 2 | 12-CURRENT, 11.2 | the size of an encrypted key |
//! | 3 | 12-CURRENT, some weeks | compression, and the room that was reserved for the dump |
//! | 4 | FreeBSD 12 to 15 | the same in another order |

use std::fmt;

use crate::bytes::{be32, be64, put, put_text, text};

/// The size of a header in bytes.
pub const SIZE: usize = 512;

/// What the first field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// `FreeBSD Kernel Dump`: the memory of a kernel.
    Kernel,
    /// `FreeBSD Text Dump`: a tar archive of what the debugger printed.
    Text,
    /// `Cleared Kernel Dump`: was saved already. What kind of dump it was is no longer told.
    Cleared,
}

impl Magic {
    /// The text in the header.
    pub fn name(self) -> &'static str {
        match self {
            Magic::Kernel => "FreeBSD Kernel Dump",
            Magic::Text => "FreeBSD Text Dump",
            Magic::Cleared => "Cleared Kernel Dump",
        }
    }

    /// The magic of that name.
    pub fn named(name: &str) -> Option<Magic> {
        [Magic::Kernel, Magic::Text, Magic::Cleared].into_iter().find(|magic| magic.name() == name)
    }
}

/// How the dump was compressed by the kernel (`KERNELDUMP_COMP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As one gzip member.
    Gzip,
    /// As one Zstandard frame.
    Zstd,
    /// In a way that is not known here, by its number.
    Other(u8),
}

impl Compression {
    /// The compression of the number that the header has for it.
    pub fn from_number(number: u8) -> Compression {
        match number {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Zstd,
            other => Compression::Other(other),
        }
    }

    /// The number that the header has for it.
    pub fn number(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Zstd => 2,
            Compression::Other(number) => number,
        }
    }

    /// The ending of the names of files compressed so, as savecore(8) has it.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
            Compression::None | Compression::Other(_) => "",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Gzip => f.write_str("gzip"),
            Compression::Zstd => f.write_str("zstd"),
            Compression::Other(number) => write!(f, "unknown ({number})"),
        }
    }
}

/// A kernel dump header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What kind of dump this is.
    pub magic: Magic,
    /// The architecture, as `uname -m` says it of the kernel: `amd64`, `arm64`.
    pub architecture: String,
    /// The version of the header: 1 to 4.
    pub version: u32,
    /// The version of what follows, which is counted by each architecture for itself.
    pub architecture_version: u32,
    /// The size in bytes of the data as they are stored: compressed, if they are.
    pub dump_length: u64,
    /// The room in bytes that was reserved for the data on the disk; versions 1 and 2 have no such field, and reserve
    /// what they need.
    pub dump_extent: u64,
    /// When the dump was made, in seconds since 1970.
    pub dump_time: u64,
    /// The size in bytes of the key block before the data, padding included; 0 if the dump is not encrypted.
    pub key_size: u32,
    /// The size in bytes of the blocks of the device.
    pub block_size: u32,
    /// How the data are compressed.
    pub compression: Compression,
    /// The name of the host; empty if it had none yet.
    pub hostname: String,
    /// The version of the kernel, with the line breaks that it has.
    pub version_string: String,
    /// What the kernel died of; empty if it was asked for a dump.
    pub panic_string: String,
    /// The last field, which makes all 32-bit words of the header together, by exclusive or, 0.
    pub parity: u32,
    /// Whether that is so. [`build`](Header::build) makes it so.
    pub parity_ok: bool,
}

/// Why bytes are no kernel dump header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are not enough of them.
    #[error("{size} bytes are no kernel dump header: one has 512")]
    Short {
        /// How many there are.
        size: usize,
    },
    /// They begin otherwise.
    #[error("no kernel dump header: it does not begin with \"FreeBSD Kernel Dump\" or \"FreeBSD Text Dump\"")]
    Magic,
    /// Its version is not known.
    #[error("a kernel dump header of version {version}: versions 1 to 4 are known")]
    Version {
        /// The version.
        version: u32,
    },
}

/// Where the fields of a version are, in bytes, and how long the last text is.
struct Layout {
    dump_extent: Option<usize>,
    dump_time: usize,
    key_size: Option<usize>,
    block_size: usize,
    compression: Option<usize>,
    hostname: usize,
    version_string: usize,
    panic_string: usize,
    panic_string_size: usize,
}

// Those that are in the same place in all versions.
const MAGIC: (usize, usize) = (0, 20);
const ARCHITECTURE: (usize, usize) = (20, 12);
const VERSION: usize = 32;
const ARCHITECTURE_VERSION: usize = 36;
const DUMP_LENGTH: usize = 40;
const HOSTNAME_SIZE: usize = 64;
const VERSION_STRING_SIZE: usize = 192;
const PARITY: usize = 508;

impl Layout {
    fn of(version: u32) -> Option<Layout> {
        Some(match version {
            1 => Layout {
                dump_extent: None,
                dump_time: 48,
                key_size: None,
                block_size: 56,
                compression: None,
                hostname: 60,
                version_string: 124,
                panic_string: 316,
                panic_string_size: 192,
            },
            2 => Layout {
                dump_extent: None,
                dump_time: 48,
                key_size: Some(56),
                block_size: 60,
                compression: None,
                hostname: 64,
                version_string: 128,
                panic_string: 320,
                panic_string_size: 188,
            },
            3 => Layout {
                dump_extent: Some(48),
                dump_time: 56,
                key_size: Some(64),
                block_size: 68,
                compression: Some(72),
                hostname: 73,
                version_string: 137,
                panic_string: 329,
                panic_string_size: 179,
            },
            4 => Layout {
                dump_extent: Some(496),
                dump_time: 48,
                key_size: Some(56),
                block_size: 60,
                compression: Some(495),
                hostname: 64,
                version_string: 128,
                panic_string: 320,
                panic_string_size: 175,
            },
            _ => return None,
        })
    }
}

impl Header {
    /// Reads a header from the beginning of `bytes`. A wrong parity is no error: see
    /// [`parity_ok`](Header::parity_ok).
    ///
    /// # Errors
    /// If there are too few bytes, they do not begin as a header does, or its version is not known.
    pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
        let bytes = bytes.get(..SIZE).ok_or(Error::Short { size: bytes.len() })?;
        let magic = Magic::named(&text(bytes, MAGIC.0, MAGIC.1)).ok_or(Error::Magic)?;
        let version = be32(bytes, VERSION);
        let at = Layout::of(version).ok_or(Error::Version { version })?;
        let dump_length = be64(bytes, DUMP_LENGTH);
        let number = at.compression.and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        Ok(Header {
            magic,
            architecture: text(bytes, ARCHITECTURE.0, ARCHITECTURE.1),
            version,
            architecture_version: be32(bytes, ARCHITECTURE_VERSION),
            dump_length,
            dump_extent: at.dump_extent.map_or(dump_length, |at| be64(bytes, at)),
            dump_time: be64(bytes, at.dump_time),
            key_size: at.key_size.map_or(0, |at| be32(bytes, at)),
            block_size: be32(bytes, at.block_size),
            compression: Compression::from_number(number),
            hostname: text(bytes, at.hostname, HOSTNAME_SIZE),
            version_string: text(bytes, at.version_string, VERSION_STRING_SIZE),
            panic_string: text(bytes, at.panic_string, at.panic_string_size),
            parity: be32(bytes, PARITY),
            parity_ok: parity(bytes) == 0,
        })
    }

    /// The bytes of the header, with the right parity. Texts that are too long for their fields are cut, and fields
    /// that the version does not have are left out.
    ///
    /// # Errors
    /// If the version is not known.
    pub fn build(&self) -> Result<[u8; SIZE], Error> {
        let version = self.version;
        let at = Layout::of(version).ok_or(Error::Version { version })?;
        let mut bytes = [0; SIZE];
        put_text(&mut bytes, MAGIC.0, MAGIC.1, self.magic.name());
        put_text(&mut bytes, ARCHITECTURE.0, ARCHITECTURE.1, &self.architecture);
        put(&mut bytes, VERSION, &version.to_be_bytes());
        put(&mut bytes, ARCHITECTURE_VERSION, &self.architecture_version.to_be_bytes());
        put(&mut bytes, DUMP_LENGTH, &self.dump_length.to_be_bytes());
        if let Some(at) = at.dump_extent {
            put(&mut bytes, at, &self.dump_extent.to_be_bytes());
        }
        put(&mut bytes, at.dump_time, &self.dump_time.to_be_bytes());
        if let Some(at) = at.key_size {
            put(&mut bytes, at, &self.key_size.to_be_bytes());
        }
        put(&mut bytes, at.block_size, &self.block_size.to_be_bytes());
        if let Some(at) = at.compression {
            put(&mut bytes, at, &[self.compression.number()]);
        }
        put_text(&mut bytes, at.hostname, HOSTNAME_SIZE, &self.hostname);
        put_text(&mut bytes, at.version_string, VERSION_STRING_SIZE, &self.version_string);
        put_text(&mut bytes, at.panic_string, at.panic_string_size, &self.panic_string);
        let rest = parity(&bytes);
        put(&mut bytes, PARITY, &rest.to_be_bytes());
        Ok(bytes)
    }

    /// Whether the dump is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.key_size > 0
    }

    /// Where the data end of which bytes up to `came` have come.
    ///
    /// What a kernel compressed it pads to whole blocks, and the padding is no part of the data. What it did not
    /// compress may be longer than the header announces, which tells what was counted before the first byte was sent: a
    /// 12.1 with two processors was seen to add three pages to its minidump meanwhile, that the bitmap has.
    pub fn end(&self, came: u64) -> u64 {
        if self.compression == Compression::None { self.dump_length.max(came) } else { self.dump_length }
    }
}

/// All whole 32-bit words of `bytes` together, by exclusive or. It is 0 for a header that is right.
pub fn parity(bytes: &[u8]) -> u32 {
    let (words, _) = bytes.as_chunks();
    words.iter().fold(0, |parity, word| parity ^ u32::from_be_bytes(*word))
}

/// What savecore(8) makes of a header when the dump has been saved: the same with [`Magic::Cleared`], and its parity
/// right again.
pub fn clear(bytes: &mut [u8; SIZE]) {
    put(bytes, MAGIC.0, &[0; 20]);
    put_text(bytes, MAGIC.0, MAGIC.1, Magic::Cleared.name());
    put(bytes, PARITY, &[0; 4]);
    let rest = parity(bytes);
    put(bytes, PARITY, &rest.to_be_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn header() -> Header {
        Header {
            magic: Magic::Kernel,
            architecture: "amd64".to_owned(),
            version: 4,
            architecture_version: 2,
            dump_length: 59_260_928,
            dump_extent: 100_000_000,
            dump_time: 1_577_880_000,
            key_size: 0,
            block_size: 512,
            compression: Compression::Zstd,
            hostname: "crash.example.org".to_owned(),
            version_string: "FreeBSD 12.1-STABLE GENERIC\n    root@build:/usr/obj\n".to_owned(),
            panic_string: "page fault".to_owned(),
            parity: 0,
            parity_ok: true,
        }
    }

    fn headers() -> impl Strategy<Value = Header> {
        let numbers = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>(), 0..4u8);
        let texts = ("[ -~]{0,11}", "[^\0]{0,15}", "[^\0]{0,47}", "[^\0]{0,43}");
        (1..=4u32, numbers, texts).prop_map(|(version, numbers, texts)| {
            let with_extent = version >= 3;
            Header {
                magic: Magic::Text,
                architecture: texts.0,
                version,
                architecture_version: numbers.0,
                dump_length: numbers.1,
                dump_extent: if with_extent { numbers.2 } else { numbers.1 },
                dump_time: numbers.3,
                key_size: if version >= 2 { numbers.4 } else { 0 },
                block_size: numbers.5,
                compression: Compression::from_number(if with_extent { numbers.6 } else { 0 }),
                hostname: texts.1,
                version_string: texts.2,
                panic_string: texts.3,
                parity: 0,
                parity_ok: true,
            }
        })
    }

    proptest! {
        #[test]
        fn what_was_built_is_read_back(mut header in headers()) {
            let bytes = header.build().unwrap();
            let read = Header::parse(&bytes).unwrap();
            header.parity = read.parity;
            prop_assert_eq!(&read, &header);
            prop_assert_eq!(parity(&bytes), 0);
        }

        #[test]
        fn any_bytes_are_a_header_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600), version in 0..6u32) {
            let _ = Header::parse(&bytes);
            let mut bytes = [&b"FreeBSD Kernel Dump\0"[..], &[0; 12], &version.to_be_bytes(), &bytes].concat();
            bytes.resize(SIZE, 0xff);
            prop_assert_eq!(Header::parse(&bytes).is_ok(), (1..=4).contains(&version));
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_in_the_parity() {
        let mut bytes = header().build().unwrap();
        bytes[100] ^= 0x10;
        assert!(!Header::parse(&bytes).unwrap().parity_ok);
    }

    #[test]
    fn a_cleared_header_is_known_as_one_and_keeps_the_rest() {
        let before = header();
        let mut bytes = before.build().unwrap();
        clear(&mut bytes);
        let after = Header::parse(&bytes).unwrap();
        assert_eq!(after.magic, Magic::Cleared);
        assert!(after.parity_ok);
        assert_eq!(Header { magic: Magic::Kernel, parity: 0, ..after }, before);
    }

    #[test]
    fn texts_that_are_too_long_are_cut_between_characters() {
        let long = Header { hostname: "ü".repeat(40), ..header() };
        let read = Header::parse(&long.build().unwrap()).unwrap();
        assert_eq!(read.hostname, "ü".repeat(31));
    }

    #[test]
    fn what_is_no_header_is_refused_with_what_it_is() {
        assert_eq!(Header::parse(&[0; 511]), Err(Error::Short { size: 511 }));
        assert_eq!(Header::parse(&[0; 512]), Err(Error::Magic));
        let mut bytes = header().build().unwrap();
        bytes[35] = 5;
        assert_eq!(Header::parse(&bytes), Err(Error::Version { version: 5 }));
    }
}
