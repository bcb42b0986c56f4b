//! `tine image build --disk`: a disk that boots from the pool.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use disk::image::Target;
use disk::partition::{Layout, Scheme, Slot, Type};
use disk::{OpenFile, ReadAt, fat};
use serde::Serialize;
use tree::Tree;
use zfs_image::{Device, PoolSpec, Summary};

use super::convert;
use super::preset::Preset;
use super::settings::{Facts, Settings};
use crate::failure::Failure;
use crate::values;

/// The label of the partition with the pool, and those of the others, as FreeBSD's images have them
/// (`release/tools/vmimage.subr`).
const POOL_LABEL: &str = "rootfs";
const BOOT_LABEL: &str = "bootfs";
const ESP_LABEL: &str = "efiesp";
const SWAP_LABEL: &str = "swapfs";
/// The label of the file system in the EFI system partition.
const FAT_LABEL: &str = "EFISYS";
/// The smallest EFI system partition that is FAT32 (`tools/boot/install-boot.sh`), in whole MiB.
pub(super) const ESP_SIZE: u64 = 33 << 20;
/// The partition with gptzfsboot: pmbr loads no more than 545 KiB.
const BOOT_SIZE: u64 = 512 << 10;
const MAX_BOOT_FILE: u64 = 64 << 20;
const MIB: u64 = 1 << 20;

const PMBR: &str = "boot/pmbr";
const GPTZFSBOOT: &str = "boot/gptzfsboot";
const MBR: &str = "boot/mbr";
const ZFSBOOT: &str = "boot/zfsboot";
pub(crate) const LOADER: &str = "boot/loader.efi";
/// Where ZFS leaves room for boot code (`VDEV_BOOT_OFFSET`), from the beginning of the device.
const ZFS_BOOT_OFFSET: u64 = 512 << 10;

/// Options about the disk.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Disk")]
pub(crate) struct DiskOptions {
    /// Make a disk that boots from the pool: a partition table, an EFI system partition, boot code, swap, the pool
    #[arg(long)]
    disk: bool,
    /// The format of the disk image, as 'tine image convert' has it [default: as the name of IMAGE ends, or else raw]
    #[arg(short, long, value_name = "FORMAT", value_parser = convert::format)]
    format: Option<Target>,
    /// Sizes, format and settings that a place wants of images; --disk and --configure are implied
    #[arg(long, value_name = "PLACE")]
    preset: Option<Preset>,
    /// The partition table
    #[arg(long, value_name = "SCHEME", default_value = "gpt")]
    scheme: SchemeValue,
    /// Make the disk boot by EFI, with /boot/loader.efi of the tree [default: if the tree has it]
    #[arg(long)]
    efi: bool,
    /// Make the disk boot by a BIOS, with /boot/pmbr and /boot/gptzfsboot of the tree [default: if the tree has them]
    #[arg(long)]
    bios: bool,
    /// Size of the EFI system partition [default: 33m, or more if needed]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    esp_size: Option<u64>,
    /// Size of a partition for swap [default: none]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    swap: Option<u64>,
}

/// A value of `--scheme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SchemeValue {
    /// GUID partition table
    Gpt,
    /// Master boot record
    Mbr,
}

/// A disk to be built around a pool.
#[derive(Debug)]
pub(crate) struct Plan {
    target: Target,
    preset: Option<Preset>,
    scheme: SchemeValue,
    /// Whether booting by these was asked for.
    efi: bool,
    bios: bool,
    esp_size: Option<u64>,
    swap: Option<u64>,
    /// The size of the whole disk.
    size: Option<u64>,
}

/// A disk that was built.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Built {
    pub(crate) format: &'static str,
    pub(crate) size: u64,
    pub(crate) partitions: Vec<BuiltPartition>,
}

/// A partition of a disk that was built.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BuiltPartition {
    pub(crate) r#type: String,
    pub(crate) label: String,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl DiskOptions {
    /// The disk that the options describe, if one is wanted, for an image at `output`. Its size, not that of the pool, is
    /// then what was given.
    pub(crate) fn plan(&self, output: &Path, spec: &mut PoolSpec) -> Result<Option<Plan>, Failure> {
        if !self.disk && self.preset.is_none() {
            let given = [
                (self.format.is_some(), "--format"),
                (self.efi, "--efi"),
                (self.bios, "--bios"),
                (self.esp_size.is_some(), "--esp-size"),
                (self.swap.is_some(), "--swap"),
            ];
            return match given.iter().find(|(given, _)| *given) {
                Some((_, option)) => Err(Failure::Usage(format!("{option} is about a disk: it needs --disk"))),
                None => Ok(None),
            };
        }
        let by_name = || Target::of_file_name(&output.to_string_lossy());
        let target = self.format.or(self.preset.map(Preset::target)).or_else(by_name).unwrap_or(Target::Raw);
        let swap = self.swap.or(self.preset.and_then(Preset::swap));
        if self.scheme == SchemeValue::Mbr && swap.is_some() {
            return Err(Failure::Usage("an MBR has no labels by which swap could be found: leave it out".to_owned()));
        }
        Ok(Some(Plan {
            target,
            preset: self.preset,
            scheme: self.scheme,
            efi: self.efi,
            bios: self.bios,
            esp_size: self.esp_size,
            swap,
            size: spec.size.take(),
        }))
    }
}

impl Plan {
    /// The format of the image.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// What settings of the system are about, where `has_loader` says whether the tree can boot by EFI.
    pub(crate) fn facts(&self, pool: &str, has_loader: bool) -> Facts {
        let esp = self.scheme == SchemeValue::Gpt && (self.efi || !self.bios && has_loader);
        Facts {
            pool: pool.to_owned(),
            swap: self.swap.iter().map(|_| SWAP_LABEL.to_owned()).collect(),
            esp: esp.then(|| ESP_LABEL.to_owned()),
        }
    }

    /// The settings that the place wants where the disk goes.
    pub(crate) fn settings(&self, facts: &Facts) -> Settings {
        self.preset.map(|preset| preset.settings(facts)).unwrap_or_default()
    }

    /// Builds the pool by `build`, which gets the device for it, and the disk around it in `out`, an empty file at `path`;
    /// what is needed in between goes into the same folder.
    pub(crate) fn build(
        &self,
        tree: &Tree,
        spec: &mut PoolSpec,
        threads: usize,
        (out, path): (File, &Path),
        quiet: bool,
        build: impl FnOnce(&PoolSpec, &dyn Device) -> Result<Summary, Failure>,
    ) -> Result<(Summary, Built, Vec<String>), Failure> {
        let mut warnings = Vec::new();
        if spec.bootfs.is_none() {
            warnings.push(
                "no dataset is to be booted from: --layout bsdinstall makes one, or --bootfs names one".to_owned(),
            );
        }
        warnings.extend(self.preset.and_then(|preset| preset.missing(tree)));
        let mut layout = self.layout(tree, spec, &mut warnings)?;
        let (_, start) = layout.places()?;
        spec.size = match self.size {
            None => None,
            Some(size) => {
                let rest = (size - size % self.unit()).checked_sub(start + MIB).filter(|rest| *rest > 0);
                let too_small =
                    || Failure::Usage(format!("a disk of {size} bytes has no room for a pool: --size is its size"));
                Some(rest.ok_or_else(too_small)?)
            }
        };

        // Into its place, if that is one in the file; else, for want of a file system that could hand it on, into another.
        let in_place = self.target == Target::Raw;
        let failed = |error: std::io::Error| Failure::work(path.display(), error);
        let (file, offset) = match in_place {
            true => (out.try_clone().map_err(failed)?, start),
            false => (tempfile::tempfile_in(folder_of(path)).map_err(failed)?, 0),
        };
        let summary = build(spec, &Window { file: file.try_clone().map_err(failed)?, offset, path: path.to_owned() })?;
        let contents: Option<Arc<dyn ReadAt>> = match in_place {
            true => None,
            false => Some(Arc::new(OpenFile::new(file.try_clone().map_err(failed)?).map_err(failed)?)),
        };
        layout.seed = [&b"tine disk"[..], &summary.pool_guid.to_le_bytes()].concat();
        let (kind, attributes) = match self.scheme {
            SchemeValue::Gpt => (Type::FREEBSD_ZFS, 0),
            SchemeValue::Mbr => (Type::FREEBSD, 0x80),
        };
        layout.slots.push(Slot { kind, label: POOL_LABEL.to_owned(), size: summary.size, attributes, contents });
        if self.scheme == SchemeValue::Mbr && self.boots_by_bios(tree) {
            // Room that ZFS leaves for it, in the partition of the pool itself.
            put_zfsboot(&file, offset, &read(tree, ZFSBOOT)?).map_err(failed)?;
        }
        let (places, next) = layout.places()?;
        let end = match places.last() {
            Some(last) if next - last.start - last.size >= MIB / 2 => next,
            _ => next + MIB,
        };
        let size = self.size.map_or(end.next_multiple_of(self.unit()), |size| size - size % self.unit());
        layout.size = Some(size);
        if let Some(id) = layout.slots.iter().position(|slot| slot.kind == Type::EFI) {
            layout.slots[id].contents = Some(self.esp(tree, spec, layout.slots[id].size, summary.pool_guid)?);
        }
        convert::write(&layout.disk()?, self.target, threads, &out, path, quiet)?;
        let partitions = layout.slots.iter().zip(&places).map(|(slot, place)| BuiltPartition {
            r#type: slot.kind.to_string(),
            label: if self.scheme == SchemeValue::Gpt { slot.label.clone() } else { String::new() },
            start: place.start,
            size: place.size,
        });
        let built = Built { format: self.target.name(), size, partitions: partitions.collect() };
        Ok((summary, built, warnings))
    }

    fn unit(&self) -> u64 {
        self.preset.map_or(MIB, Preset::size_unit).max(self.target.size_unit())
    }

    fn boots_by_bios(&self, tree: &Tree) -> bool {
        let (first, second) = self.boot_files();
        self.bios || !self.efi && has(tree, first) && has(tree, second)
    }

    fn boots_by_efi(&self, tree: &Tree) -> bool {
        self.efi || !self.bios && has(tree, LOADER)
    }

    /// Boot code: that in the MBR, and what it loads.
    fn boot_files(&self) -> (&'static str, &'static str) {
        match self.scheme {
            SchemeValue::Gpt => (PMBR, GPTZFSBOOT),
            SchemeValue::Mbr => (MBR, ZFSBOOT),
        }
    }

    /// The partitions before that of the pool. The EFI system partition is yet without contents.
    fn layout(&self, tree: &Tree, spec: &PoolSpec, warnings: &mut Vec<String>) -> Result<Layout, Failure> {
        let scheme = if self.scheme == SchemeValue::Gpt { Scheme::Gpt } else { Scheme::Mbr };
        let mut layout = Layout::new(scheme, b"");
        let slot =
            |kind, label: &str, size, contents| Slot { kind, label: label.to_owned(), size, attributes: 0, contents };
        let (bios, efi) = (self.boots_by_bios(tree), self.boots_by_efi(tree));
        if !bios && !efi {
            let (first, second) = self.boot_files();
            warnings.push(format!("the disk does not boot: the tree has neither /{LOADER} nor /{first} and /{second}"));
        }
        if bios {
            let (first, second) = self.boot_files();
            layout.boot_code = read(tree, first)?;
            let code = read(tree, second)?;
            if scheme == Scheme::Gpt {
                let size = (code.len() as u64).next_multiple_of(512).max(BOOT_SIZE);
                layout.slots.push(slot(Type::FREEBSD_BOOT, BOOT_LABEL, size, Some(Arc::new(code) as Arc<dyn ReadAt>)));
            }
        }
        if efi {
            let files = efi_files(tree)?;
            let size = match self.esp_size {
                Some(size) => size.next_multiple_of(512),
                None => fat::room_for(&files, ESP_SIZE)?,
            };
            // Told before the pool is built.
            self.esp(tree, spec, size, 0)?;
            layout.slots.push(slot(Type::EFI, ESP_LABEL, size, None));
        }
        if let Some(size) = self.swap {
            layout.slots.push(slot(Type::FREEBSD_SWAP, SWAP_LABEL, size, None));
        }
        Ok(layout)
    }

    /// The EFI system partition.
    fn esp(&self, tree: &Tree, spec: &PoolSpec, size: u64, pool_guid: u64) -> Result<Arc<dyn ReadAt>, Failure> {
        let options =
            fat::Options { size, label: FAT_LABEL.to_owned(), id: (pool_guid >> 32) as u32, time: spec.creation_time };
        Ok(Arc::new(fat::build(&options, &efi_files(tree)?)?))
    }
}

/// The files of an EFI system partition: the loader, and the same where firmware looks by itself.
fn efi_files(tree: &Tree) -> Result<Vec<fat::File>, Failure> {
    let loader = read(tree, LOADER)?;
    let name = removable_name(&loader).ok_or_else(|| {
        Failure::Work(format!("/{LOADER} of the tree is no EFI program of an architecture that FreeBSD knows"))
    })?;
    let contents: Arc<dyn ReadAt> = Arc::new(loader);
    let file = |path: String| fat::File { path, contents: contents.clone() };
    Ok(vec![file("EFI/FREEBSD/LOADER.EFI".to_owned()), file(format!("EFI/BOOT/{name}"))])
}

/// The name under which firmware looks for a program on removable media (UEFI specification, 3.5.1.1), by the machine that
/// it is for (PE format, "COFF File Header").
fn removable_name(program: &[u8]) -> Option<&'static str> {
    let number = |at: usize, size: usize| program.get(at..at.checked_add(size)?);
    let at = u32::from_le_bytes(number(0x3c, 4)?.try_into().ok()?) as usize;
    if number(0, 2)? != b"MZ" || number(at, 4)? != b"PE\0\0" {
        return None;
    }
    match u16::from_le_bytes(number(at + 4, 2)?.try_into().ok()?) {
        0x8664 => Some("BOOTX64.EFI"),
        0x014c => Some("BOOTIA32.EFI"),
        0xaa64 => Some("BOOTAA64.EFI"),
        0x01c0 | 0x01c2 | 0x01c4 => Some("BOOTARM.EFI"),
        0x5064 => Some("BOOTRISCV64.EFI"),
        _ => None,
    }
}

fn has(tree: &Tree, path: &str) -> bool {
    tree.lookup(path.as_bytes()).is_some()
}

/// The contents of a file that booting needs.
fn read(tree: &Tree, path: &str) -> Result<Vec<u8>, Failure> {
    let node = tree
        .lookup(path.as_bytes())
        .ok_or_else(|| Failure::Work(format!("the tree has no /{path}, which the disk is to boot with")))?;
    let content = tree.open(node)?;
    if content.size() > MAX_BOOT_FILE {
        return Err(Failure::Work(format!("/{path} of the tree has {} bytes: it is no boot code", content.size())));
    }
    let mut bytes = vec![0; content.size() as usize];
    content.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Puts zfsboot's first sector at the beginning of a pool's partition, and the others behind the first labels.
fn put_zfsboot(file: &File, offset: u64, code: &[u8]) -> std::io::Result<()> {
    let (first, rest) = code.split_at(code.len().min(512));
    file.write_all_at(first, offset)?;
    file.write_all_at(rest, offset + ZFS_BOOT_OFFSET)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A part of a file, as a device to build a pool on.
struct Window {
    file: File,
    offset: u64,
    path: PathBuf,
}

impl Device for Window {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), zfs_image::Error> {
        self.file.write_all_at(bytes, self.offset + offset).map_err(|source| self.error(source))
    }

    fn set_size(&self, size: u64) -> Result<(), zfs_image::Error> {
        self.file.set_len(self.offset + size).map_err(|source| self.error(source))
    }
}

impl Window {
    fn error(&self, source: std::io::Error) -> zfs_image::Error {
        zfs_image::Error::Write { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_loader_follows_from_its_machine() {
        let mut program = vec![0; 256];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c] = 0x80;
        program[0x80..0x86].copy_from_slice(b"PE\0\0\x64\xaa");
        assert_eq!(removable_name(&program), Some("BOOTAA64.EFI"));
        program[0x85] = 0x86;
        assert_eq!(removable_name(&program), Some("BOOTX64.EFI"));
        program[0x3c..0x40].fill(0xff);
        assert_eq!(removable_name(&program), None);
        assert_eq!(removable_name(b"MZ"), None);
    }
}
