//! The text file that savecore(8) and netdumpd(8) put beside a dump, `info.N`: the header of the dump for people.
//!
//! It is written as savecore does it, in its words and order, with more lines behind: what the other fields of the
//! header were, and which bytes are missing. It is read as any of them writes it.

use std::fmt;
use std::ops::Range;

use crate::header::{Compression, Header, Magic};
use crate::key::Cipher;
use crate::ranges::Ranges;
use crate::time;

/// How many ranges that are missing are listed; the file with the ranges that are there has all.
pub const MOST_MISSING: usize = 32;

/// What became of the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is whole.
    Good,
    /// Something is wrong with its headers.
    Bad,
    /// Nothing is known of it.
    Unknown,
    /// It was said to be finished, and bytes of it are missing.
    Incomplete,
    /// It was never finished.
    Partial,
}

impl Status {
    const ALL: [Status; 5] = [Status::Good, Status::Bad, Status::Unknown, Status::Incomplete, Status::Partial];
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Good => "good",
            Status::Bad => "bad",
            Status::Unknown => "unknown",
            Status::Incomplete => "incomplete",
            Status::Partial => "partial",
        })
    }
}

/// What is missing of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many bytes.
    pub bytes: u64,
    /// In how many ranges.
    pub count: u64,
    /// The first of them, [`MOST_MISSING`] or fewer.
    pub first: Vec<Range<u64>>,
}

impl Missing {
    /// What `there` lacks of `length` bytes.
    pub fn of(there: &Ranges, length: u64) -> Missing {
        let mut missing = Missing::default();
        for gap in there.missing(0..length) {
            missing.bytes += gap.end - gap.start;
            missing.count += 1;
            if missing.first.len() < MOST_MISSING {
                missing.first.push(gap);
            }
        }
        missing
    }
}

/// What an info file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Where the dump came from: a device, or a host and its address.
    pub source: String,
    /// The header of the dump; none if it never came. In a file of FreeBSD's own tools some fields are not told: they
    /// are as in a dump that is neither encrypted nor had more room reserved than it needs.
    pub header: Option<Header>,
    /// The cipher of an encrypted dump.
    pub encryption: Option<Cipher>,
    /// The number of the dump.
    pub bounds: u32,
    /// What became of it.
    pub status: Status,
    /// How many bytes arrived, where that is less than all.
    pub received: Option<u64>,
    /// What is missing of those that should have.
    pub missing: Missing,
}

/// Why a text is no info file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not begin as one does.
    #[error("no info file: it does not begin with \"Dump header from device\" or \"Dump from\"")]
    Beginning,
    /// A line cannot be understood.
    #[error("the info file says \"{text}\" for its {label}")]
    Value {
        /// Of which field.
        label: &'static str,
        /// What it says.
        text: String,
    },
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Dump header from device: {}", line(&self.source))?;
        if let Some(header) = &self.header {
            writeln!(f, "  Architecture: {}", line(&header.architecture))?;
            writeln!(f, "  Architecture Version: {}", header.architecture_version)?;
            writeln!(f, "  Dump Length: {}", header.dump_length)?;
            writeln!(f, "  Blocksize: {}", header.block_size)?;
            match header.compression {
                Compression::Other(_) => writeln!(f, "  Compression: ???")?,
                known => writeln!(f, "  Compression: {known}")?,
            }
            writeln!(f, "  Dumptime: {}", time::utc(header.dump_time))?;
            writeln!(f, "  Hostname: {}", line(&header.hostname))?;
            writeln!(f, "  Magic: {}", header.magic.name())?;
            writeln!(f, "  Version String: {}", lines(&header.version_string))?;
            writeln!(f, "  Panic String: {}", lines(&header.panic_string))?;
            // savecore prints it as the little-endian number that it is not.
            writeln!(f, "  Dump Parity: {}", header.parity.swap_bytes())?;
        }
        writeln!(f, "  Bounds: {}", self.bounds)?;
        writeln!(f, "  Dump Status: {}", self.status)?;
        if let Some(header) = &self.header {
            writeln!(f, "  Header Version: {}", header.version)?;
            writeln!(f, "  Header Parity: {}", if header.parity_ok { "good" } else { "bad" })?;
            if header.dump_extent != header.dump_length {
                writeln!(f, "  Dump Extent: {}", header.dump_extent)?;
            }
            if header.key_size > 0 {
                writeln!(f, "  Key Size: {}", header.key_size)?;
            }
        }
        if let Some(encryption) = self.encryption {
            writeln!(f, "  Encryption: {encryption}")?;
        }
        if let Some(received) = self.received {
            writeln!(f, "  Received Bytes: {received}")?;
        }
        if self.missing.bytes > 0 {
            writeln!(f, "  Missing Bytes: {}", self.missing.bytes)?;
            writeln!(f, "  Missing Ranges: {}", self.missing.count)?;
            self.missing.first.iter().try_for_each(|gap| writeln!(f, "  Missing Range: {} {}", gap.start, gap.end))?;
        }
        Ok(())
    }
}

/// A text in one line.
fn line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// A text of several lines, the others indented more than any line of the file: none can be taken for one.
fn lines(text: &str) -> String {
    let text = text.trim_end_matches('\n');
    let mut lines = text.split('\n').map(line);
    let mut all = lines.next().unwrap_or_default();
    for line in lines {
        all.push_str(if line.starts_with("    ") { "\n" } else { "\n    " });
        all.push_str(&line);
    }
    all
}

impl Info {
    /// Reads what savecore(8), netdumpd(8) or [`Info`] itself wrote.
    ///
    /// # Errors
    /// If it is something else, or a number or time in it is none.
    pub fn parse(text: &str) -> Result<Info, Error> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let source = first.strip_prefix("Dump header from device: ").or_else(|| first.strip_prefix("Dump from "));
        let source = source.ok_or(Error::Beginning)?.to_owned();
        let mut info = Info {
            source,
            header: None,
            encryption: None,
            bounds: 0,
            status: Status::Unknown,
            received: None,
            missing: Missing::default(),
        };
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            match field(line) {
                Some((label, value)) => fields.push((label, value.to_owned())),
                // A further line of the version or the panic.
                None => {
                    if let Some((_, value)) = fields.last_mut() {
                        value.push('\n');
                        value.push_str(line);
                    }
                }
            }
        }
        let mut header = blank();
        let (mut any, mut extent, mut parity) = (false, None, None);
        for (label, value) in fields {
            // Without the cases and blanks in which the tools differ.
            match label.as_str() {
                "architecture" => (header.architecture, any) = (value, true),
                "architectureversion" => header.architecture_version = small("architecture version", &value)?,
                "dumplength" => header.dump_length = number("dump length", &value)?,
                "blocksize" => header.block_size = small("block size", &value)?,
                "compression" => {
                    header.compression = match value.as_str() {
                        "none" => Compression::None,
                        "gzip" => Compression::Gzip,
                        "zstd" => Compression::Zstd,
                        _ => Compression::Other(u8::MAX),
                    }
                }
                "dumptime" => header.dump_time = time::parse(&value).ok_or_else(|| wrong("dump time", &value))?,
                "hostname" => header.hostname = value,
                "magic" => header.magic = Magic::named(&value).ok_or_else(|| wrong("magic", &value))?,
                // The header has a line break behind it.
                "versionstring" => header.version_string = value + "\n",
                "panicstring" => header.panic_string = value,
                "dumpparity" => header.parity = small("parity", &value)?.swap_bytes(),
                "headerparity" | "headerparitycheck" => parity = Some(matches!(value.as_str(), "good" | "Pass")),
                "headerversion" => header.version = small("header version", &value)?,
                "dumpextent" => extent = Some(number("dump extent", &value)?),
                "keysize" => header.key_size = small("key size", &value)?,
                "bounds" => info.bounds = small("bounds", &value)?,
                "dumpstatus" => {
                    let status = Status::ALL.into_iter().find(|status| status.to_string() == value);
                    info.status = status.ok_or_else(|| wrong("dump status", &value))?;
                }
                "encryption" => {
                    let cipher = [Cipher::Aes256Cbc, Cipher::ChaCha20].into_iter().find(|c| c.to_string() == value);
                    info.encryption = Some(cipher.ok_or_else(|| wrong("encryption", &value))?);
                }
                "receivedbytes" => info.received = Some(number("received bytes", &value)?),
                "missingbytes" => info.missing.bytes = number("missing bytes", &value)?,
                "missingranges" => info.missing.count = number("missing ranges", &value)?,
                "missingrange" => {
                    let range = Ranges::parse(&value).map_err(|_| wrong("missing range", &value))?;
                    info.missing.first.extend(range.iter());
                }
                _ => {}
            }
        }
        if any {
            header.dump_extent = extent.unwrap_or(header.dump_length);
            header.parity_ok = parity.unwrap_or(info.status != Status::Bad);
            info.header = Some(header);
        }
        Ok(info)
    }
}

/// The label of a line, in small letters without blanks, and its value. No line is indented more.
fn field(line: &str) -> Option<(String, &str)> {
    // netdumpd's last line.
    let rest = match line {
        "Dump complete" => "Dump Status: good",
        _ if line.starts_with("Dump incomplete: ") => "Dump Status: partial",
        _ if line.starts_with("Dump unsuccessful: ") => "Dump Status: partial",
        _ => line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?,
    };
    let (label, value) = rest.split_once(':')?;
    let value = value.strip_prefix(' ').unwrap_or(value);
    let small = label.chars().filter(|char| *char != ' ').map(|char| char.to_ascii_lowercase()).collect();
    Some((small, value))
}

/// The number that `text` begins with: netdumpd writes `1024B (0 MB)`.
fn number(label: &'static str, text: &str) -> Result<u64, Error> {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end).and_then(|digits| digits.parse().ok()).ok_or_else(|| wrong(label, text))
}

fn small(label: &'static str, text: &str) -> Result<u32, Error> {
    number(label, text)?.try_into().map_err(|_| wrong(label, text))
}

fn wrong(label: &'static str, text: &str) -> Error {
    Error::Value { label, text: text.chars().take(80).collect() }
}

/// A header in which nothing is told yet.
fn blank() -> Header {
    Header {
        magic: Magic::Kernel,
        architecture: String::new(),
        version: 4,
        architecture_version: 0,
        dump_length: 0,
        dump_extent: 0,
        dump_time: 0,
        key_size: 0,
        block_size: 0,
        compression: Compression::None,
        hostname: String::new(),
        version_string: String::new(),
        panic_string: String::new(),
        parity: 0,
        parity_ok: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::header;

    fn info() -> Info {
        Info {
            source: "/dev/ada0p3".to_owned(),
            header: Some(Header { parity: 0x1234_5678, ..header() }),
            encryption: None,
            bounds: 7,
            status: Status::Good,
            received: None,
            missing: Missing::default(),
        }
    }

    #[test]
    fn the_text_is_that_of_savecore_with_more_behind() {
        assert_eq!(
            info().to_string(),
            "Dump header from device: /dev/ada0p3\n  Architecture: amd64\n  Architecture Version: 2\n  \
             Dump Length: 59260928\n  Blocksize: 512\n  Compression: zstd\n  Dumptime: 2020-01-01 12:00:00 +0000\n  \
             Hostname: crash.example.org\n  Magic: FreeBSD Kernel Dump\n  \
             Version String: FreeBSD 12.1-STABLE GENERIC\n    root@build:/usr/obj\n  Panic String: page fault\n  \
             Dump Parity: 2018915346\n  Bounds: 7\n  Dump Status: good\n  Header Version: 4\n  Header Parity: good\n  \
             Dump Extent: 100000000\n"
        );
    }

    #[test]
    fn what_was_written_is_read_back() {
        let there: Ranges = [0..1448, 2896..4096, 8192..16384].into_iter().collect();
        let header = Header { key_size: 512, parity_ok: false, ..info().header.unwrap() };
        let incomplete = Info {
            header: Some(header),
            encryption: Some(Cipher::ChaCha20),
            status: Status::Incomplete,
            received: Some(there.covered()),
            missing: Missing::of(&there, 16384),
            ..info()
        };
        let partial = Info { header: None, status: Status::Partial, received: Some(5), ..info() };
        for info in [info(), incomplete, partial] {
            assert_eq!(Info::parse(&info.to_string()), Ok(info));
        }
    }

    #[test]
    fn a_text_in_the_header_cannot_pose_as_a_line() {
        let evil = Header {
            hostname: "a\n  Dump Status: bad".to_owned(),
            version_string: "v\n  Dump Status: bad\n".to_owned(),
            panic_string: "p\n  Dump Status: bad\u{1b}[2J".to_owned(),
            ..header()
        };
        let text = Info { header: Some(evil), ..info() }.to_string();
        let read = Info::parse(&text).unwrap();
        assert_eq!(read.status, Status::Good);
        let header = read.header.unwrap();
        assert_eq!(header.hostname, "a?  Dump Status: bad");
        assert_eq!(header.panic_string, "p\n      Dump Status: bad?[2J");
    }

    #[test]
    fn the_file_of_an_old_savecore_is_read() {
        let text = "Dump header from device: /dev/da0s1b\n  Architecture: i386\n  Architecture Version: 2\n  \
                    Dump Length: 1048576\n  Blocksize: 512\n  Dumptime: Wed Jan  1 12:00:00 2020\n  Hostname: \n  \
                    Magic: FreeBSD Kernel Dump\n  Version String: FreeBSD 10.4-RELEASE #0: x\n    \
                    root@host:/usr/obj\n  Panic String: \n  Dump Parity: 99\n  Bounds: 3\n  Dump Status: good\n";
        let info = Info::parse(text).unwrap();
        let header = info.header.unwrap();
        assert_eq!((header.dump_time, header.dump_extent, info.bounds), (1_577_880_000, 1 << 20, 3));
        assert_eq!(header.version_string, "FreeBSD 10.4-RELEASE #0: x\n    root@host:/usr/obj\n");
    }

    #[test]
    fn the_file_of_netdumpd_is_read() {
        let text = "Dump from diskless [192.0.2.1]\n  Architecture: amd64\n  Architecture version: 2\n  \
                    Dump length: 4194304B (4 MB)\n  blocksize: 4096\n  Dumptime: Wed Jan  1 12:00:00 2020\n  \
                    Hostname: diskless\n  Versionstring: FreeBSD 12\n  Panicstring: boom\n  \
                    Header parity check: Fail\nDump complete\n";
        let info = Info::parse(text).unwrap();
        let header = info.header.unwrap();
        assert_eq!((header.dump_length, header.parity_ok), (4 << 20, false));
        assert_eq!(info.source, "diskless [192.0.2.1]");
    }

    #[test]
    fn what_is_no_info_file_is_refused() {
        assert_eq!(Info::parse("hello"), Err(Error::Beginning));
        let wrong = Info::parse("Dump header from device: x\n  Dump Length: many\n");
        assert_eq!(wrong, Err(Error::Value { label: "dump length", text: "many".to_owned() }));
    }
}
