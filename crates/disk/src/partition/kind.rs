//! What partitions are for, by the names that gpart(8) and mkimg(1) have.

use std::fmt;
use std::str::FromStr;

use super::{Guid, Kind};

const fn freebsd(number: u8) -> Guid {
    Guid::new(0x516e_7c00 + number as u32, 0x6ecf, 0x11d6, [0x8f, 0xf8, 0x00, 0x02, 0x2d, 0x09, 0x71, 0x2b])
}

/// Names with the types of GPT (`sys/disk/gpt.h`) and MBR (`sys/disk/mbr.h`; 0 where
/// there is none).
const TYPES: [(&str, Guid, u8); 15] = [
    ("freebsd-zfs", freebsd(0xba), 0),
    ("freebsd-ufs", freebsd(0xb6), 0),
    ("freebsd-swap", freebsd(0xb5), 0),
    ("freebsd", freebsd(0xb4), 0xa5),
    ("freebsd-vinum", freebsd(0xb8), 0),
    ("freebsd-boot", Guid::new(0x83bd_6b9d, 0x7f41, 0x11dc, [0xbe, 0x0b, 0x00, 0x15, 0x60, 0xb8, 0x4f, 0x0f]), 0),
    ("efi", Guid::new(0xc12a_7328, 0xf81f, 0x11d2, [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]), 0xef),
    ("bios-boot", Guid::new(0x2168_6148, 0x6449, 0x6e6f, [0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49]), 0),
    ("prep-boot", Guid::new(0x9e1a_2d38, 0xc612, 0x4316, [0xaa, 0x26, 0x8b, 0x49, 0x52, 0x1e, 0x5a, 0x8b]), 0x41),
    ("ms-basic-data", Guid::new(0xebd0_a0a2, 0xb9e5, 0x4433, [0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7]), 0),
    ("fat32lba", Guid([0; 16]), 0x0c),
    ("linux-data", Guid::new(0x0fc6_3daf, 0x8483, 0x4772, [0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4]), 0x83),
    ("linux-swap", Guid::new(0x0657_fd6d, 0xa4ab, 0x43c4, [0x84, 0xe5, 0x09, 0x33, 0xc8, 0x4b, 0x4f, 0x4f]), 0x82),
    ("apple-zfs", Guid::new(0x6a89_8cc3, 0x1dd2, 0x11b2, [0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31]), 0xbf),
    ("solaris-reserved", Guid::new(0x6a94_5a3b, 0x1dd2, 0x11b2, [0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31]), 0),
];

/// What a partition is for, in whatever scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One with a name, such as `freebsd-zfs`: its index among those.
    Named(&'static str),
    /// A type of GPT without one.
    Guid(Guid),
    /// A type of MBR without one.
    Number(u8),
}

impl Type {
    /// FreeBSD's ZFS.
    pub const FREEBSD_ZFS: Type = Type::Named("freebsd-zfs");
    /// FreeBSD's swap.
    pub const FREEBSD_SWAP: Type = Type::Named("freebsd-swap");
    /// FreeBSD's boot code of the second stage, which the MBR loads.
    pub const FREEBSD_BOOT: Type = Type::Named("freebsd-boot");
    /// A slice of FreeBSD.
    pub const FREEBSD: Type = Type::Named("freebsd");
    /// An EFI system partition.
    pub const EFI: Type = Type::Named("efi");

    /// The type of a GPT partition, if there is one.
    pub fn guid(self) -> Option<Guid> {
        match self {
            Type::Named(name) => {
                let found = TYPES.iter().find(|(other, ..)| *other == name).map(|(_, guid, _)| *guid);
                found.filter(|guid| !guid.is_zero())
            }
            Type::Guid(guid) => Some(guid),
            Type::Number(_) => None,
        }
    }

    /// The type of an MBR partition, if there is one.
    pub fn number(self) -> Option<u8> {
        match self {
            Type::Named(name) => {
                let found = TYPES.iter().find(|(other, ..)| *other == name).map(|(.., number)| *number);
                found.filter(|number| *number != 0)
            }
            Type::Guid(_) => None,
            Type::Number(number) => Some(number),
        }
    }
}

impl FromStr for Type {
    type Err = String;

    /// A name, a GUID, or `!` and a number, as gpart(8) takes them.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((name, ..)) = TYPES.iter().find(|(name, ..)| *name == text) {
            return Ok(Type::Named(name));
        }
        let raw = text.strip_prefix('!').unwrap_or(text);
        if let Ok(guid) = raw.parse::<Guid>() {
            return Ok(Type::Guid(guid));
        }
        match raw.parse() {
            Ok(number @ 1..) if text.starts_with('!') => Ok(Type::Number(number)),
            _ => Err(format!("'{text}' is no type of partition such as freebsd-zfs, a GUID, or !165")),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Named(name) => f.write_str(name),
            Type::Guid(guid) => write!(f, "!{guid}"),
            Type::Number(number) => write!(f, "!{number}"),
        }
    }
}

/// Its name, as gpart(8) has it: `freebsd-zfs`, `!165` without one.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            |is: &dyn Fn(&(&'static str, Guid, u8)) -> bool| TYPES.iter().find(|kind| is(kind)).map(|kind| kind.0);
        let found = match *self {
            Kind::Gpt(guid) => named(&|kind| kind.1 == guid),
            Kind::Mbr(number) => named(&|kind| kind.2 == number),
            // `FS_SWAP`, `FS_BSDFFS` and `FS_ZFS` (`sys/disk/bsd.h`).
            Kind::Bsd(1) => Some("freebsd-swap"),
            Kind::Bsd(7) => Some("freebsd-ufs"),
            Kind::Bsd(27) => Some("freebsd-zfs"),
            Kind::Bsd(_) => None,
        };
        match (found, *self) {
            (Some(name), _) => f.write_str(name),
            (None, Kind::Gpt(guid)) => write!(f, "!{guid}"),
            (None, Kind::Mbr(number) | Kind::Bsd(number)) => write!(f, "!{number}"),
        }
    }
}
