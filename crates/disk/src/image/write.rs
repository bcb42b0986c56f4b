//! Images made of disks.

use std::fmt;
use std::io;
use std::ops::Range;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::{Format, blocks, gzip, qcow2, vhd, vhdx, vmdk, xz, zst};
use crate::error::Error;
use crate::partition::Guid;
use crate::read_at::{ReadAt, read_up_to};
use crate::write_at::WriteAt;

/// The unit in which zeros are found in a raw image.
const RAW_BLOCK: u64 = 64 << 10;
/// What an image's own identifiers are made from: this much of the disk's beginning,
/// where its partition table says which disk it is.
const IDENTIFYING: usize = 1 << 20;

/// A form that an image can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The disk byte by byte, zeros left out where the file system can.
    Raw,
    /// qcow2, as QEMU makes it.
    Qcow2,
    /// qcow2 with clusters compressed by deflate, which every reader knows.
    Qcow2Deflate,
    /// qcow2 with clusters compressed by zstd: QEMU 5.1 or later.
    Qcow2Zstd,
    /// VMDK, stream-optimised: what VMware imports, and OVA archives hold.
    Vmdk,
    /// VHD that grows with its contents.
    Vhd,
    /// VHD of fixed size, as Azure takes it.
    VhdFixed,
    /// VHDX, as Hyper-V makes it.
    Vhdx,
    /// The disk in an xz file of many blocks.
    Xz,
    /// The disk in a zstd file of many frames, with a table to seek in it.
    Zstd,
    /// The disk as `disk.raw` in a gzipped tar archive, as Google Cloud takes it.
    TarGz,
}

/// All targets with their names, and the ending of a file's name that means them.
const TARGETS: [(Target, &str, &str); 11] = [
    (Target::Raw, "raw", ".raw"),
    (Target::Qcow2, "qcow2", ".qcow2"),
    (Target::Qcow2Deflate, "qcow2-deflate", ""),
    (Target::Qcow2Zstd, "qcow2-zstd", ""),
    (Target::Vmdk, "vmdk", ".vmdk"),
    (Target::Vhd, "vhd", ".vhd"),
    (Target::VhdFixed, "vhd-fixed", ""),
    (Target::Vhdx, "vhdx", ".vhdx"),
    (Target::Xz, "xz", ".xz"),
    (Target::Zstd, "zst", ".zst"),
    (Target::TarGz, "tar.gz", ".tar.gz"),
];

impl Target {
    /// All of them.
    pub const ALL: [Target; 11] = {
        let mut all = [Target::Raw; 11];
        let mut index = 0;
        #[allow(clippy::indexing_slicing, reason = "while compiling")]
        while index < all.len() {
            all[index] = TARGETS[index].0;
            index += 1;
        }
        all
    };

    /// Its name, such as `qcow2-zstd`.
    pub fn name(self) -> &'static str {
        TARGETS.iter().find(|(target, ..)| *target == self).map_or("", |(_, name, _)| name)
    }

    /// The target that the name of a file suggests, by its ending.
    pub fn of_file_name(name: &str) -> Option<Target> {
        let name = name.to_ascii_lowercase();
        let fits = |ending: &str| !ending.is_empty() && name.ends_with(ending);
        let known = TARGETS.iter().find(|(.., ending)| fits(ending)).map(|(target, ..)| *target);
        known.or_else(|| fits(".img").then_some(Target::Raw))
    }

    /// What a reader finds such an image to be.
    pub fn format(self) -> Format {
        match self {
            Target::Raw | Target::Xz | Target::Zstd | Target::TarGz => Format::Raw,
            Target::Qcow2 | Target::Qcow2Deflate | Target::Qcow2Zstd => Format::Qcow2,
            Target::Vmdk => Format::Vmdk,
            Target::Vhd | Target::VhdFixed => Format::Vhd,
            Target::Vhdx => Format::Vhdx,
        }
    }

    /// Whether such an image is written from its first byte to its last, so that it can go into a pipe
    /// ([`InOrder`](crate::InOrder)). The others have tables before what the tables are about.
    pub fn is_in_order(self) -> bool {
        match self {
            Target::Raw | Target::Vmdk | Target::VhdFixed | Target::Xz | Target::Zstd | Target::TarGz => true,
            Target::Qcow2 | Target::Qcow2Deflate | Target::Qcow2Zstd | Target::Vhd | Target::Vhdx => false,
        }
    }

    /// The sizes that disks in such images have are multiples of this many bytes.
    pub fn size_unit(self) -> u64 {
        match self {
            Target::Raw | Target::Xz | Target::Zstd => 1,
            Target::Qcow2 | Target::Qcow2Deflate | Target::Qcow2Zstd | Target::Vmdk | Target::Vhdx => 512,
            // What Azure demands.
            Target::Vhd | Target::VhdFixed => 1 << 20,
            // What Google Cloud demands.
            Target::TarGz => 1 << 30,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = TARGETS.iter().find(|(_, name, _)| *name == text);
        found.map(|(target, ..)| *target).ok_or_else(|| {
            let names: Vec<_> = TARGETS.iter().map(|(_, name, _)| *name).collect();
            format!("the formats are {}", names.join(", "))
        })
    }
}

/// How the work is done. The bytes that are written do not depend on it.
pub struct Work<'a> {
    /// Threads that read and compress.
    pub threads: usize,
    /// Is told up to which byte of the disk the image has come.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Default for Work<'_> {
    /// One thread, and nobody is told.
    fn default() -> Self {
        Self { threads: 1, progress: &|_| {} }
    }
}

/// Writes an image of a disk to `out`, which is empty.
///
/// Runs of zeros take no room, the disk is read once and in order, and memory is
/// bounded by some megabytes for each thread, and some bytes for each cluster of the
/// image. The same disk gives the same image. The disk's size is rounded up to a multiple
/// of [`Target::size_unit`].
///
/// # Errors
/// If the disk cannot be read, `out` cannot be written, or the disk is too large
/// for the format.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex;
/// use disk::image::{self, Target, Work};
///
/// # fn main() -> Result<(), disk::Error> {
/// let disk = vec![7; 1 << 20];
/// let out = Mutex::new(Vec::new());
/// image::write(&disk, Target::Qcow2Zstd, &Work::default(), &out)?;
/// # Ok(())
/// # }
/// ```
pub fn write(disk: &dyn ReadAt, target: Target, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let too_large = || Error::Impossible(format!("a disk of {} bytes is too large", disk.size()));
    let size = disk.size().checked_next_multiple_of(target.size_unit()).ok_or_else(too_large)?;
    let disk = &Padded { disk, size };
    match target {
        Target::Raw => raw(disk, work, out),
        Target::Qcow2 => qcow2::write(disk, None, work, out),
        Target::Qcow2Deflate => qcow2::write(disk, Some(qcow2::Compression::Deflate), work, out),
        Target::Qcow2Zstd => qcow2::write(disk, Some(qcow2::Compression::Zstd), work, out),
        Target::Vmdk => vmdk::write(disk, work, out),
        Target::Vhd => vhd::write_dynamic(disk, work, out),
        Target::VhdFixed => vhd::write_fixed(disk, work, out),
        Target::Vhdx => vhdx::write(disk, work, out),
        Target::Xz => xz::write(disk, work, out),
        Target::Zstd => zst::write(disk, work, out),
        Target::TarGz => gzip::write(disk, work, out),
    }
}

/// A disk with zeros behind it.
struct Padded<'a> {
    disk: &'a dyn ReadAt,
    size: u64,
}

impl ReadAt for Padded<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(self.disk.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let (there, beyond) = buf.split_at_mut(rest.min(buf.len()));
        beyond.fill(0);
        if there.is_empty() { Ok(()) } else { self.disk.read_exact_at(there, offset) }
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.disk.next_data(offset)
    }
}

fn raw(disk: &dyn ReadAt, work: &Work<'_>, out: &dyn WriteAt) -> Result<(), Error> {
    let copy = || |block: &[u8]| Ok(block.to_vec());
    blocks::each(disk, RAW_BLOCK, work, copy, |number, block| {
        out.write_all_at(&block, number * RAW_BLOCK).map_err(Error::write)
    })?;
    out.set_size(disk.size()).map_err(Error::write)
}

/// A number that tells a disk from others, made from its size and its beginning, where a partition
/// table or a file system says which one it is: what identifiers can follow from.
///
/// # Errors
/// If the disk cannot be read.
pub fn identity(disk: &dyn ReadAt) -> Result<[u8; 32], Error> {
    Identity::of(disk).map(|identity| identity.0)
}

/// Makes identifiers for images of a disk, different for different disks.
pub(super) struct Identity([u8; 32]);

impl Identity {
    pub(super) fn of(disk: &dyn ReadAt) -> Result<Self, Error> {
        let first = read_up_to(disk, 0, IDENTIFYING).map_err(|source| Error::Read { offset: 0, source })?;
        Ok(Self(Sha256::new_with_prefix(first).chain_update(disk.size().to_le_bytes()).finalize().into()))
    }

    pub(super) fn guid(&self, purpose: &str) -> Guid {
        Guid::derived(&self.0, purpose)
    }
}
