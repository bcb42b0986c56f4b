//! Files as the ZFS POSIX layer keeps them (`sys/zfs_znode.h`): flags, directory
//! entries, device numbers, names of the master node.

use crate::object::ObjectId;

/// Version of the ZFS POSIX layer with system attributes (`ZPL_VERSION`).
pub const ZPL_VERSION: u64 = 5;

/// Names in the master node, object 1 of every file system.
pub mod master {
    /// Object number of the master node.
    pub const OBJECT: u64 = 1;
    /// The root directory.
    pub const ROOT: &str = "ROOT";
    /// Files unlinked but not yet freed.
    pub const DELETE_QUEUE: &str = "DELETE_QUEUE";
    /// The SA master node.
    pub const SA_ATTRS: &str = "SA_ATTRS";
    /// Version of the ZFS POSIX layer.
    pub const VERSION: &str = "VERSION";
    /// The property `casesensitivity`: 0 sensitive, 1 insensitive, 2 mixed.
    pub const CASE_SENSITIVITY: &str = "casesensitivity";
    /// The property `normalization`, as bits of `U8_STRCMP_*` (`sys/u8_textprep.h`).
    pub const NORMALIZATION: &str = "normalization";
}

/// Bits of the attribute `ZPL_FLAGS`.
pub mod flag {
    /// An extended attribute, or a directory of them.
    pub const XATTR: u64 = 0x1;
    /// The ACL has entries that are inherited.
    pub const INHERIT_ACE: u64 = 0x2;
    /// The ACL says no more than the mode.
    pub const ACL_TRIVIAL: u64 = 0x4;
    /// The ACL is inherited automatically.
    pub const ACL_AUTO_INHERIT: u64 = 0x40;
    /// Everyone may execute.
    pub const NO_EXECS_DENIED: u64 = 0x100;
    /// `urdonly`, the DOS attribute.
    pub const READONLY: u64 = 1 << 32;
    /// `uhidden`
    pub const HIDDEN: u64 = 1 << 33;
    /// `usystem`
    pub const SYSTEM: u64 = 1 << 34;
    /// `uarch`: changed since the last backup.
    pub const ARCHIVE: u64 = 1 << 35;
    /// `schg`
    pub const IMMUTABLE: u64 = 1 << 36;
    /// `sunlnk`
    pub const NOUNLINK: u64 = 1 << 37;
    /// `sappnd`
    pub const APPENDONLY: u64 = 1 << 38;
    /// `nodump`
    pub const NODUMP: u64 = 1 << 39;
    /// `opaque`
    pub const OPAQUE: u64 = 1 << 40;
    /// Changed since the last scan for viruses.
    pub const AV_MODIFIED: u64 = 1 << 42;
    /// `ureparse`
    pub const REPARSE: u64 = 1 << 43;
    /// `uoffline`
    pub const OFFLINE: u64 = 1 << 44;
    /// `usparse`
    pub const SPARSE: u64 = 1 << 45;
}

/// FreeBSD's file flags (`st_flags`, `sys/stat.h`) beside ours, with the names that chflags(1) has for them.
const FILE_FLAGS: &[(u32, u64, &str)] = &[
    (0x0000_0001, flag::NODUMP, "nodump"),
    (0x0000_0008, flag::OPAQUE, "opaque"),
    (0x0000_0080, flag::SYSTEM, "usystem"),
    (0x0000_0100, flag::SPARSE, "usparse"),
    (0x0000_0200, flag::OFFLINE, "uoffline"),
    (0x0000_0400, flag::REPARSE, "ureparse"),
    (0x0000_0800, flag::ARCHIVE, "uarch"),
    (0x0000_1000, flag::READONLY, "urdonly"),
    (0x0000_8000, flag::HIDDEN, "uhidden"),
    (0x0002_0000, flag::IMMUTABLE, "schg"),
    (0x0004_0000, flag::APPENDONLY, "sappnd"),
    (0x0010_0000, flag::NOUNLINK, "sunlnk"),
];

/// The bits of `ZPL_FLAGS` for FreeBSD's file flags. Those that ZFS has no bit
/// for (`uchg`, `uappnd`, ...) are left out, as `chflags` refuses them on ZFS.
pub fn flags_from_file_flags(file_flags: u32) -> u64 {
    FILE_FLAGS.iter().filter(|(file, ..)| file_flags & file != 0).fold(0, |flags, (_, bit, _)| flags | bit)
}

/// FreeBSD's file flags for the bits of `ZPL_FLAGS`.
pub fn file_flags_from_flags(flags: u64) -> u32 {
    FILE_FLAGS.iter().filter(|(_, bit, _)| flags & bit != 0).fold(0, |file_flags, (file, ..)| file_flags | file)
}

/// The names of FreeBSD's file flags for the bits of `ZPL_FLAGS`.
pub fn flag_names(flags: u64) -> Vec<&'static str> {
    FILE_FLAGS.iter().filter(|(_, bit, _)| flags & bit != 0).map(|(.., name)| *name).collect()
}

/// The type of a file in a directory entry, which is that in its mode
/// (`IFTODT`).
pub fn dirent_type(mode: u64) -> u8 {
    (mode >> 12 & 0xf) as u8
}

/// The value of a directory entry (`ZFS_DIRENT_MAKE`).
pub fn dirent(mode: u64, object: ObjectId) -> u64 {
    u64::from(dirent_type(mode)) << 60 | object.0
}

/// Type and object of a directory entry's value.
pub fn parse_dirent(value: u64) -> (u8, ObjectId) {
    ((value >> 60) as u8, ObjectId(value & ((1 << 48) - 1)))
}

/// The value of `ZPL_RDEV`.
///
/// Linux stores its own `dev_t`, major number above 20 bits of minor number,
/// and every other system major above 32 bits of minor (`zfs_expldev`). We write
/// what Linux understands, as long as the numbers fit: FreeBSD's device nodes
/// come from devfs(4), and one on ZFS opens nothing there.
pub fn device_number(major: u32, minor: u32) -> u64 {
    const LINUX_MINOR_BITS: u32 = 20;
    let fits = major < 1 << 12 && minor < 1 << LINUX_MINOR_BITS;
    u64::from(major) << if fits { LINUX_MINOR_BITS } else { 32 } | u64::from(minor)
}

/// Major and minor number of a value of `ZPL_RDEV`, whichever system wrote it.
pub fn parse_device_number(device: u64) -> (u32, u32) {
    match (device >> 32) as u32 {
        0 => ((device >> 20) as u32, device as u32 & 0xf_ffff),
        major => (major, device as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_entry_gives_type_and_object_back() {
        assert_eq!(parse_dirent(dirent(0o100644, ObjectId(0xffff_ffff_ffff))), (8, ObjectId(0xffff_ffff_ffff)));
        assert_eq!(parse_dirent(dirent(0o040755, ObjectId(34))), (4, ObjectId(34)));
    }

    #[test]
    fn a_device_number_is_one_that_linux_understands_if_it_can_be() {
        assert_eq!(device_number(8, 1), 0x80_0001);
        assert_eq!(device_number(8, 1 << 20), 0x8_0010_0000);
        for (major, minor) in [(0, 0), (8, 1), (4095, 0xf_ffff), (8, 1 << 20), (5000, 3)] {
            assert_eq!(parse_device_number(device_number(major, minor)), (major, minor));
        }
    }

    #[test]
    fn every_file_flag_that_zfs_knows_is_kept() {
        for (file, bit, _) in FILE_FLAGS {
            assert_eq!(flags_from_file_flags(*file), *bit);
            assert_eq!(file_flags_from_flags(*bit), *file);
        }
        assert_eq!(flags_from_file_flags(0x2), 0, "uchg has no bit");
        assert_eq!(flag_names(flag::NODUMP | flag::IMMUTABLE | flag::ACL_TRIVIAL), ["nodump", "schg"]);
    }
}
