//! `tine image build --disk`: a disk that boots from the pool.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use disk::image::{AnyOrder, Target};
use disk::partition::{Layout, Scheme, Slot, Type};
use disk::{OpenFile, ReadAt, WriteAt, fat};
use serde::Serialize;
use tree::Tree;
use zfs_image::{Device, PoolSpec, Summary};

use super::convert;
use super::parts::Part;
use super::preset::Preset;
use super::settings::{Facts, Settings};
use crate::destination::Unfinished;
use crate::failure::Failure;
use crate::values;

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
    /// Size of a partition for swap, on each disk [default: none]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    swap: Option<u64>,
    /// Another partition before that of the pool, such as one with another pool, as 'tine image disk -p' has it
    #[arg(long = "partition", value_name = "TYPE[/LABEL]:=FILE|:=DIRECTORY|::SIZE")]
    partitions: Vec<Part>,
    /// A disk for data only, beside one that is booted: a partition table and the pool
    #[arg(long, conflicts_with_all = ["efi", "bios", "esp_size"])]
    data: bool,
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
    partitions: Vec<Part>,
    /// Whether it is not to be booted.
    data: bool,
    /// The size of the whole disk.
    size: Option<u64>,
    /// The pool's name, and the disks that it is on.
    pool: String,
    count: usize,
}

/// The labels of a disk's partitions.
struct Labels {
    boot: String,
    esp: String,
    swap: String,
    pool: String,
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
    /// The disk that the options describe, if one is wanted, for an image at each of `outputs`. Its size, not that of the
    /// pool, is then what was given.
    pub(crate) fn plan(&self, outputs: &[PathBuf], spec: &mut PoolSpec) -> Result<Option<Plan>, Failure> {
        if !self.disk && self.preset.is_none() {
            let given = [
                (self.format.is_some(), "--format"),
                (self.efi, "--efi"),
                (self.bios, "--bios"),
                (self.esp_size.is_some(), "--esp-size"),
                (self.swap.is_some(), "--swap"),
                (!self.partitions.is_empty(), "--partition"),
                (self.data, "--data"),
            ];
            return match given.iter().find(|(given, _)| *given) {
                Some((_, option)) => Err(Failure::Usage(format!("{option} is about a disk: it needs --disk"))),
                None => Ok(None),
            };
        }
        let by_name = || outputs.first().and_then(|output| Target::of_file_name(&output.to_string_lossy()));
        let target = self.format.or(self.preset.map(Preset::target)).or_else(by_name).unwrap_or(Target::Raw);
        let swap = self.swap.or(self.preset.filter(|_| !self.data).and_then(Preset::swap));
        if self.scheme == SchemeValue::Mbr && swap.is_some() {
            return Err(Failure::Usage("an MBR has no labels by which swap could be found: leave it out".to_owned()));
        }
        if !self.partitions.is_empty() && outputs.len() > 1 {
            let what =
                "--partition: a partition is on one disk: give -o once, or make a disk for it with 'tine image disk'";
            return Err(Failure::Usage(what.to_owned()));
        }
        Ok(Some(Plan {
            target,
            preset: self.preset,
            scheme: self.scheme,
            efi: self.efi,
            bios: self.bios,
            esp_size: self.esp_size,
            swap,
            partitions: self.partitions.clone(),
            data: self.data,
            size: spec.size.take(),
            pool: spec.name.clone(),
            count: outputs.len(),
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
        let esp = self.scheme == SchemeValue::Gpt && !self.data && (self.efi || !self.bios && has_loader);
        Facts {
            pool: pool.to_owned(),
            swap: self.swap.iter().flat_map(|_| (0..self.count).map(|disk| self.labels(disk).swap)).collect(),
            esp: esp.then(|| self.labels(0).esp),
        }
    }

    /// Labels as FreeBSD's images have them (`release/tools/vmimage.subr`); of several disks, as its installer numbers them
    /// (`usr.sbin/bsdinstall/scripts/zfsboot`). On a disk for data, they have the pool's name.
    fn labels(&self, disk: usize) -> Labels {
        let number = if self.count > 1 { disk.to_string() } else { String::new() };
        let numbered = |name: &str| format!("{name}{number}");
        if self.data {
            let (swap, pool) = (numbered(&format!("{}-swap", self.pool)), numbered(&self.pool));
            return Labels { boot: String::new(), esp: String::new(), swap, pool };
        }
        let [boot, esp, swap, pool] = match self.count {
            0 | 1 => ["bootfs", "efiesp", "swapfs", "rootfs"],
            _ => ["gptboot", "efiboot", "swap", "zfs"],
        };
        Labels { boot: numbered(boot), esp: numbered(esp), swap: numbered(swap), pool: numbered(pool) }
    }

    /// The settings that the place wants where the disk goes.
    pub(crate) fn settings(&self, facts: &Facts) -> Settings {
        self.preset.filter(|_| !self.data).map(|preset| preset.settings(facts)).unwrap_or_default()
    }

    /// Builds the pool by `build`, which gets the devices for it, and a disk around each of them in an image.
    pub(crate) fn build(
        &self,
        tree: &Tree,
        spec: &mut PoolSpec,
        threads: usize,
        images: &[Unfinished],
        quiet: bool,
        build: impl FnOnce(&PoolSpec, &[&dyn Device]) -> Result<Summary, Failure>,
    ) -> Result<(Summary, Vec<Built>, Vec<String>), Failure> {
        // What is wrong with these partitions is told before the pool is built.
        let before = self.before(tree, spec, 0, 0)?;
        let (_, start) = before.places()?;
        spec.size = match self.size {
            None => None,
            Some(size) => {
                let rest = (size - size % self.unit()).checked_sub(start + MIB).filter(|rest| *rest > 0);
                let too_small =
                    || Failure::Usage(format!("a disk of {size} bytes has no room for a pool: --size is its size"));
                Some(rest.ok_or_else(too_small)?)
            }
        };
        let zfsboot = if self.puts_zfsboot(tree) { Some(read(tree, ZFSBOOT)?) } else { None };
        let in_any_order = zfsboot.is_none();
        let window = |image| self.window(image, start, threads, in_any_order);
        let windows = images.iter().map(window).collect::<Result<Vec<_>, _>>()?;
        let devices: Vec<&dyn Device> = windows.iter().map(|window| window as _).collect();
        let summary = build(spec, &devices)?;
        let mut disks = Vec::with_capacity(images.len());
        drop(devices);
        for (disk, (image, window)) in images.iter().zip(windows).enumerate() {
            let before = self.before(tree, spec, disk, summary.pool_guid)?;
            if let Some(code) = &zfsboot {
                window.put_zfsboot(code).map_err(|error| Failure::work(window.path.display(), error))?;
            }
            let layout = self.around(before, (disk, &window), &summary)?;
            let whole = layout.disk()?;
            match window.place {
                Place::Image(made) => {
                    convert::write(&whole, Target::Raw, threads, &*made, image.given_path(), quiet)?;
                    made.finish().map_err(|error| Failure::work(image.given_path().display(), error))?;
                }
                _ => convert::write(&whole, self.target, threads, image, image.given_path(), quiet)?,
            }
            let (places, _) = layout.places()?;
            let partitions = layout.slots.iter().zip(&places).map(|(slot, place)| BuiltPartition {
                r#type: slot.kind.to_string(),
                label: if self.scheme == SchemeValue::Gpt { slot.label.clone() } else { String::new() },
                start: place.start,
                size: place.size,
            });
            disks.push(Built { format: self.target.name(), size: whole.size(), partitions: partitions.collect() });
        }
        Ok((summary, disks, self.oddities(tree, spec)))
    }

    /// Where the pool of an image is built: in its place, if the format lets that be written before all else; if not, in
    /// another file.
    fn window<'a>(
        &self,
        image: &'a Unfinished,
        start: u64,
        threads: usize,
        in_any_order: bool,
    ) -> Result<Window<'a>, Failure> {
        let path = image.given_path().to_owned();
        let failed = |error| Failure::work(path.display(), error);
        let made = if in_any_order { AnyOrder::new(self.target, threads, image) } else { None };
        let place = match made {
            Some(made) => Place::Image(Box::new(made)),
            None if self.target == Target::Raw && !image.is_stdout() => Place::Raw(image.file().map_err(failed)?),
            None => Place::Temporary(tempfile::tempfile_in(image.folder()).map_err(failed)?),
        };
        Ok(Window { place, start, path })
    }

    /// Disk number `disk`: what comes before the pool, and that, which was built in a window.
    fn around(
        &self,
        mut layout: Layout,
        (disk, window): (usize, &Window<'_>),
        summary: &Summary,
    ) -> Result<Layout, Failure> {
        let failed = |error: std::io::Error| Failure::work(window.path.display(), error);
        let contents: Option<Arc<dyn ReadAt>> = match &window.place {
            Place::Temporary(file) => Some(Arc::new(OpenFile::new(file.try_clone().map_err(failed)?).map_err(failed)?)),
            _ => None,
        };
        let (kind, attributes) = match self.scheme {
            SchemeValue::Gpt => (Type::FREEBSD_ZFS, 0),
            SchemeValue::Mbr => (Type::FREEBSD, 0x80),
        };
        let label = self.labels(disk).pool;
        layout.slots.push(Slot { kind, label, size: summary.size, attributes, contents });
        let (places, next) = layout.places()?;
        let end = match places.last() {
            Some(last) if next - last.start - last.size >= MIB / 2 => next,
            _ => next + MIB,
        };
        let size = self.size.map_or(end.next_multiple_of(self.unit()), |size| size - size % self.unit());
        layout.size = Some(size);
        Ok(layout)
    }

    fn unit(&self) -> u64 {
        self.preset.map_or(MIB, Preset::size_unit).max(self.target.size_unit())
    }

    fn boots_by_bios(&self, tree: &Tree) -> bool {
        let (first, second) = self.boot_files();
        self.bios || !self.efi && !self.data && has(tree, first) && has(tree, second)
    }

    /// Whether boot code goes into room that ZFS leaves for it, in the partition of the pool itself.
    fn puts_zfsboot(&self, tree: &Tree) -> bool {
        self.scheme == SchemeValue::Mbr && self.boots_by_bios(tree)
    }

    fn boots_by_efi(&self, tree: &Tree) -> bool {
        self.efi || !self.bios && !self.data && has(tree, LOADER)
    }

    /// Boot code: that in the MBR, and what it loads.
    fn boot_files(&self) -> (&'static str, &'static str) {
        match self.scheme {
            SchemeValue::Gpt => (PMBR, GPTZFSBOOT),
            SchemeValue::Mbr => (MBR, ZFSBOOT),
        }
    }

    /// The partitions before that of the pool on disk number `disk`, whose identifiers follow from `guid`.
    fn before(&self, tree: &Tree, spec: &PoolSpec, disk: usize, guid: u64) -> Result<Layout, Failure> {
        let scheme = if self.scheme == SchemeValue::Gpt { Scheme::Gpt } else { Scheme::Mbr };
        // The first disk's identifiers are those that an only one has.
        let mut seed = [&b"tine disk"[..], &guid.to_le_bytes()].concat();
        if disk > 0 {
            seed.extend((disk as u64).to_le_bytes());
        }
        let mut layout = Layout::new(scheme, &seed);
        let labels = self.labels(disk);
        let slot = |kind, label, size, contents| Slot { kind, label, size, attributes: 0, contents };
        if self.boots_by_bios(tree) {
            let (first, second) = self.boot_files();
            layout.boot_code = read(tree, first)?;
            let code = read(tree, second)?;
            if scheme == Scheme::Gpt {
                let size = (code.len() as u64).next_multiple_of(512).max(BOOT_SIZE);
                let code: Arc<dyn ReadAt> = Arc::new(code);
                layout.slots.push(slot(Type::FREEBSD_BOOT, labels.boot, size, Some(code)));
            }
        }
        if self.boots_by_efi(tree) {
            let files = efi_files(tree)?;
            let size = match self.esp_size {
                Some(size) => size.next_multiple_of(512),
                None => fat::room_for(&files, ESP_SIZE)?,
            };
            // Two file systems with one serial number would be one to some systems.
            let id = ((guid >> 32) as u32).wrapping_add(disk as u32);
            let options = fat::Options { size, label: FAT_LABEL.to_owned(), id, time: spec.creation_time };
            let esp = fat::build(&options, &files).map_err(|error| Failure::work("the EFI system partition", error))?;
            let esp: Arc<dyn ReadAt> = Arc::new(esp);
            layout.slots.push(slot(Type::EFI, labels.esp, size, Some(esp)));
        }
        if let Some(size) = self.swap {
            layout.slots.push(slot(Type::FREEBSD_SWAP, labels.swap, size, None));
        }
        for part in &self.partitions {
            layout.slots.push(part.slot(scheme, spec.creation_time)?);
        }
        Ok(layout)
    }

    /// What is odd about booting from the disk.
    fn oddities(&self, tree: &Tree, spec: &PoolSpec) -> Vec<String> {
        let mut oddities = Vec::new();
        if self.data {
            return oddities;
        }
        if spec.bootfs.is_none() {
            let way_out = "--layout bsdinstall makes one, or --bootfs names one";
            oddities.push(format!("no dataset is to be booted from: {way_out}"));
        }
        oddities.extend(self.preset.and_then(|preset| preset.missing(tree)));
        if !self.boots_by_bios(tree) && !self.boots_by_efi(tree) {
            let (first, second) = self.boot_files();
            oddities.push(format!("the disk does not boot: the tree has neither /{LOADER} nor /{first} and /{second}"));
        }
        oddities
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

/// A part of an image, as a device to build a pool on.
struct Window<'a> {
    place: Place<'a>,
    /// Where the part begins on the disk.
    start: u64,
    path: PathBuf,
}

/// Where the bytes of a window go.
enum Place<'a> {
    /// To their place in a raw image.
    Raw(File),
    /// To their place in an image that takes them in any order.
    Image(Box<AnyOrder<'a>>),
    /// To a file that becomes part of an image later.
    Temporary(File),
}

impl Device for Window<'_> {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), zfs_image::Error> {
        self.write(bytes, offset).map_err(|source| self.error(source))
    }

    fn set_size(&self, size: u64) -> Result<(), zfs_image::Error> {
        let set = match &self.place {
            Place::Raw(file) => file.set_len(self.start + size),
            Place::Image(image) => image.set_size(self.start + size),
            Place::Temporary(file) => file.set_len(size),
        };
        set.map_err(|source| self.error(source))
    }
}

impl Window<'_> {
    fn write(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        match &self.place {
            Place::Raw(file) => file.write_all_at(bytes, self.start + offset),
            Place::Image(image) => image.write_all_at(bytes, self.start + offset),
            Place::Temporary(file) => file.write_all_at(bytes, offset),
        }
    }

    /// Puts zfsboot's first sector at the beginning of the pool's partition, and the others behind the first labels.
    fn put_zfsboot(&self, code: &[u8]) -> std::io::Result<()> {
        let (first, rest) = code.split_at(code.len().min(512));
        self.write(first, 0)?;
        self.write(rest, ZFS_BOOT_OFFSET)
    }

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
