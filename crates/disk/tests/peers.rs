//! What other tools write is read: images by `qemu-img`, tables by `sfdisk` and `sgdisk`.

#[path = "../../../tests/common/peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
mod peer;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use disk::image::{self, Format, Target, Work};
use disk::partition::{self, Kind, Layout, Scheme, Slot, Type};
use disk::{OpenFile, fat};
use tempfile::TempDir;

const TYPE_ZFS: &str = "516e7cba-6ecf-11d6-8ff8-00022d09712b";

/// The project's own folder, for `peer`.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn succeeds(command: &mut Command) {
    let ran = command.output().expect("the peer starts");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A disk with parts that compress, that do not, and that are zeros.
fn write_disk(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len((20 << 20) + 12345 / 512 * 512).unwrap();
    let mut random = 1u64;
    let noise: Vec<u8> = (0..1 << 20)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8
        })
        .collect();
    let text: Vec<u8> = b"all work and no play ".iter().copied().cycle().take(3 << 20).collect();
    file.write_all_at(&noise, 1 << 20).unwrap();
    file.write_all_at(&text, (5 << 20) + 7777).unwrap();
    file.write_all_at(&noise[..100_000], 20 << 20).unwrap_or(());
    file.set_len((20 << 20) + 12288).unwrap();
    path
}

fn contents(path: &Path) -> Vec<u8> {
    let image = image::open(path).unwrap();
    let mut disk = vec![0; image.disk.size() as usize];
    // In pieces that divide neither clusters nor tables.
    for (number, piece) in disk.chunks_mut(77_777).enumerate() {
        image.disk.read_exact_at(piece, number as u64 * 77_777).unwrap();
    }
    disk
}

#[test]
fn qcow2_images_of_every_form_hold_the_disk() {
    let Some(qemu_img) = peer::Peer::find("qcow2_images_of_every_form_hold_the_disk", "qemu-img") else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = write_disk(&folder);
    let expected = fs::read(&disk).unwrap();
    let forms: &[&[&str]] = &[
        &[],
        &["-o", "compat=0.10"],
        &["-c"],
        &["-c", "-o", "compat=0.10,cluster_size=512"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "cluster_size=2M"],
        &["-c", "-o", "cluster_size=2M"],
        &["-o", "extended_l2=on"],
        &["-c", "-o", "extended_l2=on,cluster_size=128k,compression_type=zstd"],
        &["-o", "preallocation=metadata"],
        &["-S", "0"],
    ];
    for form in forms {
        let made = folder.path().join("made.qcow2");
        succeeds(qemu_img.command().args(["convert", "-O", "qcow2"]).args(*form).arg(&disk).arg(&made));
        assert_eq!(image::open(&made).unwrap().format, Format::Qcow2);
        assert!(contents(&made) == expected, "{form:?}");
    }
    assert_eq!(image::open(&disk).unwrap().format, Format::Raw);
    assert!(contents(&disk) == expected);
}

#[test]
fn images_that_are_based_on_others_hold_the_disk() {
    let test = "images_that_are_based_on_others_hold_the_disk";
    let (Some(qemu_img), Some(qemu_io)) = (peer::Peer::find(test, "qemu-img"), peer::Peer::find(test, "qemu-io"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_disk(&folder);
    for (options, backing_format) in [("", "raw"), ("extended_l2=on", "raw"), ("compat=0.10", "raw")] {
        let mut create = qemu_img.command();
        create.current_dir(&folder).args(["create", "-f", "qcow2", "-b", "disk.raw", "-F", backing_format]);
        if !options.is_empty() {
            create.args(["-o", options]);
        }
        succeeds(create.args(["top.qcow2", "24M"]));
        let write = ["-c", "write -P 0x5a 1100000 70000", "-c", "write -z 6M 100k", "-c", "write -P 1 23M 4k"];
        succeeds(qemu_io.command().current_dir(&folder).args(write).arg("top.qcow2"));
        succeeds(qemu_img.command().current_dir(&folder).args(["convert", "-O", "raw", "top.qcow2", "flat.raw"]));
        let expected = fs::read(folder.path().join("flat.raw")).unwrap();
        assert!(contents(&folder.path().join("top.qcow2")) == expected, "{options}");
    }
}

/// A disk that `sfdisk` divides.
fn sfdisk(test: &str, script: &str) -> Option<(TempDir, partition::Table)> {
    let sfdisk = peer::Peer::find(test, "sfdisk")?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let mut command = sfdisk.command();
    command.args(["--quiet", "--no-tell-kernel"]).arg(&path);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("sfdisk starts");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
    let table = partition::read(&image::open(&path).unwrap().disk).unwrap().expect("a table");
    Some((folder, table))
}

#[test]
fn the_gpt_of_sfdisk_is_read() {
    let script =
        format!("label: gpt\nstart=1MiB, size=2MiB, name=\"efi \u{e4}\"\nstart=4MiB, size=32MiB, type={TYPE_ZFS}\n");
    let Some((_folder, table)) = sfdisk("the_gpt_of_sfdisk_is_read", &script) else { return };
    assert_eq!((table.scheme, table.sector_size), (Scheme::Gpt, 512));
    let [first, second] = &table.partitions[..] else { panic!("{table:?}") };
    assert_eq!((first.start, first.size, first.label.as_str()), (1 << 20, 2 << 20, "efi \u{e4}"));
    assert_eq!((second.start, second.size, second.name.as_str()), (4 << 20, 32 << 20, "p2"));
    assert!(matches!(second.kind, Kind::Gpt(guid) if guid.to_string() == TYPE_ZFS));
}

#[test]
fn the_mbr_of_sfdisk_is_read_with_its_logical_partitions() {
    let script = "label: dos\nstart=2048, size=4096, type=a5\nstart=8192, size=65536, type=5\n\
                  start=10240, size=2048, type=83\nstart=16384, size=4096, type=bf\n";
    let test = "the_mbr_of_sfdisk_is_read_with_its_logical_partitions";
    let Some((_folder, table)) = sfdisk(test, script) else { return };
    let found: Vec<_> =
        table.partitions.iter().map(|found| (&found.name[..], found.start / 512, found.size / 512)).collect();
    assert_eq!(found, [("s1", 2048, 4096), ("s5", 10240, 2048), ("s6", 16384, 4096)]);
    assert_eq!(table.warnings, [""; 0]);
}

#[test]
fn the_hybrid_mbr_of_sgdisk_hides_no_partition() {
    let Some(sgdisk) = peer::Peer::find("the_hybrid_mbr_of_sgdisk_hides_no_partition", "sgdisk") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    File::create(&path).unwrap().set_len(64 << 20).unwrap();
    succeeds(sgdisk.command().args(["-n", "1:2048:+1M", "-n", "3:8192:+8M", "-t", "3:a504", "-h", "1"]).arg(&path));
    let table = partition::read(&image::open(&path).unwrap().disk).unwrap().expect("a table");
    let found: Vec<_> = table.partitions.iter().map(|found| (&found.name[..], found.start / 512)).collect();
    assert_eq!((table.scheme, found), (Scheme::Gpt, vec![("p1", 2048), ("p3", 8192)]));
}

fn write_image(disk: &Path, target: Target, path: &Path) {
    let disk = OpenFile::open(disk).unwrap();
    let out = File::create(path).unwrap();
    image::write(&disk, target, &Work { threads: 2, ..Work::default() }, &out).unwrap();
}

#[test]
fn qemu_finds_nothing_wrong_with_images_and_the_same_disk_in_them() {
    let test = "qemu_finds_nothing_wrong_with_images_and_the_same_disk_in_them";
    let Some(qemu_img) = peer::Peer::find(test, "qemu-img") else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = write_disk(&folder);
    // The formats that round sizes up find nothing to round.
    File::options().write(true).open(&disk).unwrap().set_len(21 << 20).unwrap();
    for (target, format, checks) in [
        (Target::Raw, "raw", false),
        (Target::Qcow2, "qcow2", true),
        (Target::Qcow2Deflate, "qcow2", true),
        (Target::Qcow2Zstd, "qcow2", true),
        (Target::Vmdk, "vmdk", true),
        (Target::Vhd, "vpc", false),
        (Target::VhdFixed, "vpc", false),
        (Target::Vhdx, "vhdx", true),
    ] {
        let path = folder.path().join(target.name());
        write_image(&disk, target, &path);
        if checks {
            succeeds(qemu_img.command().args(["check", "-f", format]).arg(&path));
        }
        succeeds(qemu_img.command().args(["compare", "-f", "raw", "-F", format]).arg(&disk).arg(&path));
        let info = qemu_img.command().args(["info", "-f", format, "--output=json"]).arg(&path).output().unwrap();
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        assert!(info.contains(&format!("\"virtual-size\": {}", 21 << 20)), "{target}: {info}");
    }
}

#[test]
fn images_of_all_formats_of_qemu_hold_the_disk() {
    let Some(qemu_img) = peer::Peer::find("images_of_all_formats_of_qemu_hold_the_disk", "qemu-img") else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = write_disk(&folder);
    let expected = fs::read(&disk).unwrap();
    for (format, options, found) in [
        ("vmdk", "subformat=monolithicSparse", Format::Vmdk),
        ("vmdk", "subformat=monolithicSparse,zeroed_grain=on", Format::Vmdk),
        ("vmdk", "subformat=streamOptimized", Format::Vmdk),
        ("vpc", "subformat=dynamic,force_size=on", Format::Vhd),
        ("vpc", "subformat=fixed,force_size=on", Format::Vhd),
        ("vhdx", "subformat=dynamic", Format::Vhdx),
        ("vhdx", "subformat=dynamic,block_size=1M", Format::Vhdx),
        ("vhdx", "subformat=fixed", Format::Vhdx),
    ] {
        let made = folder.path().join("made");
        succeeds(qemu_img.command().args(["convert", "-O", format, "-o", options]).arg(&disk).arg(&made));
        assert_eq!(image::open(&made).unwrap().format, found, "{format} {options}");
        assert!(contents(&made) == expected, "{format} {options}");
    }
}

#[test]
fn compressed_disks_are_those_of_xz_and_zstd_and_theirs_are_read() {
    let test = "compressed_disks_are_those_of_xz_and_zstd_and_theirs_are_read";
    let folder = tempfile::tempdir().unwrap();
    let disk = write_disk(&folder);
    let expected = fs::read(&disk).unwrap();
    for (target, name, forms) in [
        (Target::Xz, "xz", [&["-0", "-T2", "--block-size=1MiB"][..], &["-1"]]),
        (Target::Zstd, "zstd", [&["-1"][..], &["--no-check", "-3", "--long"]]),
    ] {
        let Some(peer) = peer::Peer::find(test, name) else { continue };
        let ours = folder.path().join(format!("ours.{name}"));
        write_image(&disk, target, &ours);
        let unpacked = peer.command().args(["-d", "-c"]).arg(&ours).output().unwrap();
        assert!(unpacked.status.success() && unpacked.stdout == expected, "{name}");
        assert!(contents(&ours) == expected, "{name}");
        for form in forms {
            let packed = peer.command().args(form).arg("-c").arg(&disk).output().unwrap();
            let theirs = folder.path().join("theirs");
            // Streams may follow one another.
            fs::write(&theirs, [&packed.stdout[..], &packed.stdout].concat()).unwrap();
            assert!(contents(&theirs) == [&expected[..], &expected].concat(), "{name} {form:?}");
        }
    }
}

#[test]
fn gzip_and_tar_find_the_disk_in_an_archive() {
    let Some(tar) = peer::Peer::find("gzip_and_tar_find_the_disk_in_an_archive", "tar") else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = write_disk(&folder);
    File::options().write(true).open(&disk).unwrap().set_len(1 << 30).unwrap();
    let archive = folder.path().join("gcp.tar.gz");
    write_image(&disk, Target::TarGz, &archive);
    succeeds(tar.command().arg("-xzSf").arg(&archive).arg("-C").arg(folder.path()));
    assert!(fs::read(folder.path().join("disk.raw")).unwrap() == fs::read(&disk).unwrap());
}

fn efi_files() -> Vec<fat::File> {
    let file = |path: &str, size: usize| fat::File {
        path: path.to_owned(),
        contents: Arc::new((0..size).map(|at| (at / 3) as u8).collect::<Vec<u8>>()),
    };
    vec![
        file("EFI/FREEBSD/LOADER.EFI", 700_000),
        file("EFI/BOOT/BOOTX64.EFI", 70_001),
        file("EFI/BOOT/bootriscv64.efi", 512),
        file("EFI/BOOT/startup with a long name.nsh", 3),
        file("empty", 0),
    ]
}

#[test]
fn fsck_and_mtools_find_the_files_of_a_fat() {
    let test = "fsck_and_mtools_find_the_files_of_a_fat";
    let (Some(fsck), Some(mcopy)) = (peer::Peer::find(test, "fsck.fat"), peer::Peer::find(test, "mcopy")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for size in [2, 16, 33, 260, 1100] {
        let options = fat::Options { size: size << 20, label: "EFISYS".into(), id: 0xcafe, time: 1_700_000_000 };
        let volume = fat::build(&options, &efi_files()).unwrap();
        let path = folder.path().join("esp.img");
        image::write(&volume, Target::Raw, &Work::default(), &File::create(&path).unwrap()).unwrap();
        let checked = fsck.command().args(["-n", "-v"]).arg(&path).output().unwrap();
        assert!(checked.status.success(), "{size} MiB: {}", String::from_utf8_lossy(&checked.stdout));
        for file in efi_files() {
            let copy = mcopy.command().arg("-i").arg(&path).arg(format!("::{}", file.path)).arg("-").output().unwrap();
            let mut expected = vec![0; file.contents.size() as usize];
            file.contents.read_exact_at(&mut expected, 0).unwrap();
            assert!(copy.status.success() && copy.stdout == expected, "{size} MiB: {}", file.path);
        }
    }
}

#[test]
fn a_fat_of_mkfs_and_mtools_is_read() {
    let test = "a_fat_of_mkfs_and_mtools_is_read";
    let (Some(mkfs), Some(mcopy)) = (peer::Peer::find(test, "mkfs.fat"), peer::Peer::find(test, "mcopy")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("A file with a name.text");
    fs::write(&text, vec![b'x'; 100_000]).unwrap();
    for (size, bits) in [(2u64, "12"), (16, "16"), (64, "32")] {
        let path = folder.path().join("theirs.img");
        File::create(&path).unwrap().set_len(size << 20).unwrap();
        succeeds(mkfs.command().args(["-F", bits, "-n", "THEIRS"]).arg(&path));
        succeeds(mcopy.command().arg("-i").arg(&path).arg(&text).arg("::"));
        let volume = fat::Volume::open(Arc::new(OpenFile::open(&path).unwrap())).unwrap();
        assert_eq!((volume.width().to_string(), volume.label()), (format!("FAT{bits}"), "THEIRS"));
        let files = volume.files().unwrap();
        assert_eq!((files.len(), &files[0].path[..], files[0].size), (1, "A file with a name.text", 100_000));
    }
}

#[test]
fn sgdisk_finds_nothing_wrong_with_a_table() {
    let Some(sgdisk) = peer::Peer::find("sgdisk_finds_nothing_wrong_with_a_table", "sgdisk") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    let mut layout = Layout::new(Scheme::Gpt, b"a seed");
    for (kind, label, size) in [
        (Type::FREEBSD_BOOT, "bootfs", 512 << 10),
        (Type::EFI, "efiesp", 33 << 20),
        (Type::FREEBSD_ZFS, "rootfs", 64 << 20),
    ] {
        layout.slots.push(Slot { kind, label: label.into(), size, attributes: 0, contents: None });
    }
    let disk = layout.disk().unwrap();
    image::write(&disk, Target::Raw, &Work::default(), &File::create(&path).unwrap()).unwrap();
    let verified = sgdisk.command().arg("-v").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(said.contains("No problems found"), "{said}");
    let listed = sgdisk.command().arg("-p").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&listed.stdout);
    for part in ["A501  bootfs", "EF00  efiesp", "A504  rootfs"] {
        assert!(said.contains(part), "{said}");
    }
}
