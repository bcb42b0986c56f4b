//! Disks that `tine image build --disk` makes, before those who must get along with them: `qemu-img`, `sgdisk`, `fsck.fat`,
//! mtools, `zdb`, SeaBIOS and OVMF; and what the other commands say of them.

mod common;

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::command::{self, Ran};
use common::peer::{self, Peer};
use common::vm::Vm;
use tempfile::TempDir;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(120);
const FIRMWARE: &str = "/usr/share/ovmf/OVMF.fd";
/// What boot code of the tree writes to the first serial line.
const BIOS_SAYS: &str = "booted by a BIOS";
const EFI_SAYS: &str = "booted by EFI";
/// The status that QEMU ends with when a guest writes 0x21 to its port for that.
const LEFT: i32 = 0x21 << 1 | 1;
const ALL_FORMATS: [&str; 10] =
    ["raw", "qcow2", "qcow2-zstd", "qcow2-deflate", "vmdk", "vhd", "vhd-fixed", "vhdx", "xz", "zst"];

fn tine(arguments: &[&str], folder: &Path) -> Ran {
    let mut command = Command::new(TINE);
    command.args(arguments).current_dir(folder).env_remove("SOURCE_DATE_EPOCH");
    command::run(&mut command, LIMIT)
}

fn run(peer: &Peer, arguments: &[&str], folder: &Path) -> Ran {
    command::run(peer.command().args(arguments).current_dir(folder), LIMIT)
}

/// Code that writes a text to the serial line and leaves QEMU, for 16 or 64 bits.
fn code(text: &str, bits: u32) -> Vec<u8> {
    // mov dx, 0x3f8, whose operand has 16 bits in either mode.
    let mut code = if bits == 64 { vec![0x66] } else { Vec::new() };
    code.extend([0xba, 0xf8, 0x03]);
    for byte in text.bytes() {
        // mov al, byte; out dx, al.
        code.extend([0xb0, byte, 0xee]);
    }
    // mov al, 0x21; out 0xf4, al; and round for ever.
    code.extend([0xb0, 0x21, 0xe6, 0xf4, 0xeb, 0xfe]);
    code
}

/// An EFI program for x86-64 of one section.
fn efi_program(code: &[u8]) -> Vec<u8> {
    let mut program = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| program[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    // x86-64, one section, an optional header of 240 bytes; executable, large addresses.
    put(0x44, &[0x64, 0x86, 1, 0]);
    put(0x54, &[240, 0, 0x22, 0]);
    let optional = 0x58;
    put(optional, &[0x0b, 0x02]);
    for (at, value) in
        [(4, 0x200u32), (16, 0x1000), (20, 0x1000), (32, 0x1000), (36, 0x200), (56, 0x2000), (60, 0x200), (108, 16)]
    {
        put(optional + at, &value.to_le_bytes());
    }
    // An EFI application.
    put(optional + 68, &10u16.to_le_bytes());
    let section = optional + 240;
    put(section, b".text");
    for (at, value) in [(8, 0x200u32), (12, 0x1000), (16, 0x200), (20, 0x200), (36, 0x6000_0020)] {
        put(section + at, &value.to_le_bytes());
    }
    put(0x200, code);
    program
}

/// A tree that has what booting needs, of a kind.
fn tree() -> TempDir {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let put = |path: &str, contents: &[u8]| {
        let path = folder.path().join("tree").join(path);
        fs::create_dir_all(path.parent().expect("it is below the folder")).expect("it can be made");
        fs::write(path, contents).expect("it can be written");
    };
    let mut pmbr = code(BIOS_SAYS, 16);
    assert!(pmbr.len() <= 440);
    pmbr.resize(512, 0);
    put("boot/pmbr", &pmbr);
    put("boot/gptzfsboot", &vec![0x90; 100_000]);
    put("boot/loader.efi", &efi_program(&code(EFI_SAYS, 64)));
    put("boot/loader.conf", b"verbose_loading=\"YES\"\n");
    put("etc/rc.conf", b"sendmail_enable=\"NONE\"");
    let noise: Vec<u8> = (0..3_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    put("usr/share/noise", &noise);
    put("usr/share/text", &b"all work and no play ".repeat(40_000));
    folder
}

/// Builds a disk called `name` with these options.
fn build(folder: &Path, name: &str, options: &[&str]) -> Ran {
    let fixed = [
        "image",
        "build",
        "--disk",
        "--layout",
        "bsdinstall",
        "--owner",
        "root",
        "--group",
        "wheel",
        "tree",
        "-o",
        name,
    ];
    tine(&[&fixed, options].concat(), folder)
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

#[test]
fn a_disk_is_found_good_by_those_who_know_each_part() {
    let test = "a_disk_is_found_good_by_those_who_know_each_part";
    let folder = tree();
    let at = folder.path();
    let options = ["--swap", "64m", "--configure", "--growfs", "--hostname", "box.example", "--verify"];
    build(at, "disk.raw", &options).succeeds();
    if let Some(sgdisk) = Peer::find(test, "sgdisk") {
        let said = run(&sgdisk, &["-v", "disk.raw"], at).succeeds();
        assert!(said.text().contains("No problems found"), "{said}");
        let said = run(&sgdisk, &["-p", "disk.raw"], at).succeeds().text();
        for part in ["A501  bootfs", "EF00  efiesp", "A502  swapfs", "A504  rootfs"] {
            assert!(said.contains(part), "{said}");
        }
    }
    let info = json(&tine(&["image", "info", "--json", "disk.raw"], at).succeeds());
    let part = |label: &str| {
        let parts = info["partitions"].as_array().expect("a list");
        parts.iter().find(|part| part["label"] == label).expect("it is there").clone()
    };
    let cut = |label: &str, to: &str| {
        use std::io::{Read, Seek, SeekFrom};
        let (start, size) = (part(label)["start"].as_u64().unwrap(), part(label)["size"].as_u64().unwrap());
        let mut disk = File::open(at.join("disk.raw")).unwrap();
        disk.seek(SeekFrom::Start(start)).unwrap();
        let mut bytes = Vec::new();
        disk.take(size).read_to_end(&mut bytes).unwrap();
        fs::write(at.join(to), bytes).unwrap();
    };
    cut("efiesp", "esp.img");
    if let Some(fsck) = Peer::find(test, "fsck.fat") {
        run(&fsck, &["-n", "-v", "esp.img"], at).succeeds();
    }
    if let Some(mcopy) = Peer::find(test, "mcopy") {
        for path in ["::EFI/BOOT/BOOTX64.EFI", "::EFI/FREEBSD/LOADER.EFI"] {
            let copied = run(&mcopy, &["-i", "esp.img", path, "-"], at).succeeds();
            assert!(copied.stdout == fs::read(at.join("tree/boot/loader.efi")).unwrap(), "{path}");
        }
    }
    cut("rootfs", "pool.img");
    if let Some(zdb) = Peer::find(test, "zdb") {
        run(&zdb, &["-e", "-p", ".", "-bcc", "zroot"], at).succeeds();
    }
    let cat = |path: &str| {
        tine(&["pool", "cat", "-p", "disk.raw", &format!("zroot/ROOT/default:{path}")], at).succeeds().text()
    };
    assert_eq!(
        cat("/etc/rc.conf"),
        "sendmail_enable=\"NONE\"\nzfs_enable=\"YES\"\nzpool_reguid=\"zroot\"\ngrowfs_enable=\"YES\"\nhostname=\"box.example\"\n"
    );
    assert_eq!(
        cat("/etc/fstab"),
        "/dev/gpt/swapfs\tnone\tswap\tsw\t0\t0\n/dev/gpt/efiesp\t/boot/efi\tmsdosfs\trw\t2\t2\n"
    );
    assert!(cat("/boot/loader.conf").starts_with("verbose_loading=\"YES\"\nzfs_load=\"YES\"\n"));
    // The tree is as it was.
    assert_eq!(fs::read(at.join("tree/etc/rc.conf")).unwrap(), b"sendmail_enable=\"NONE\"");
    assert!(!at.join("tree/etc/fstab").exists());
}

#[test]
fn the_disk_is_the_same_in_every_format_whatever_the_threads() {
    let test = "the_disk_is_the_same_in_every_format_whatever_the_threads";
    let folder = tree();
    let at = folder.path();
    build(at, "disk.raw", &["-j", "1"]).succeeds();
    let qemu_img = Peer::find(test, "qemu-img");
    for format in ALL_FORMATS {
        let direct = format!("direct.{format}");
        build(at, &direct, &["--format", format, "-j", "3"]).succeeds();
        let again = format!("again.{format}");
        if format.starts_with("qcow2") {
            // Its clusters stand in the order in which the pool is written.
            build(at, &again, &["--format", format, "-j", "1"]).succeeds();
        } else {
            tine(&["image", "convert", "disk.raw", &again, "--format", format], at).succeeds();
        }
        assert!(fs::read(at.join(&direct)).unwrap() == fs::read(at.join(&again)).unwrap(), "{format}");
        let same = tine(&["image", "diff", "disk.raw", &direct], at).succeeds();
        assert_eq!(same.text(), "", "{format}");
        let back = format!("{format}.back");
        tine(&["image", "convert", &direct, &back, "--format", "raw"], at).succeeds();
        assert!(fs::read(at.join(&back)).unwrap() == fs::read(at.join("disk.raw")).unwrap(), "{format}");
        let qemu_name = match format.split('-').next() {
            Some("vhd") => "vpc",
            Some("xz" | "zst") | None => continue,
            Some(name) => name,
        };
        if let Some(qemu_img) = &qemu_img {
            run(qemu_img, &["compare", "-f", "raw", "-F", qemu_name, "disk.raw", &direct], at).succeeds();
            if !matches!(qemu_name, "raw" | "vpc") {
                run(qemu_img, &["check", "-f", qemu_name, &direct], at).succeeds();
            }
        }
    }
}

#[test]
fn presets_have_the_form_that_their_places_want() {
    let folder = tree();
    let at = folder.path();
    for (preset, format, unit) in [
        ("vm", "qcow2-zstd", 1 << 20),
        ("ec2", "raw", 1 << 30),
        ("azure", "vhd-fixed", 1 << 20),
        ("bhyve", "raw", 1 << 20),
    ] {
        let built = json(&build(at, preset, &["--preset", preset, "--json", "--swap", "4m"]).succeeds());
        assert_eq!(built["disk"]["format"], format, "{preset}");
        assert_eq!(built["disk"]["size"].as_u64().unwrap() % unit, 0, "{preset}");
        let info = json(&tine(&["image", "info", "--json", preset], at).succeeds());
        let pool = info["partitions"].as_array().unwrap().last().unwrap();
        assert_eq!((&pool["contents"]["kind"], &pool["label"]), (&"pool".into(), &"rootfs".into()), "{preset}");
    }
    // The footer of a fixed VHD comes behind a whole number of MiB.
    assert_eq!(fs::metadata(at.join("azure")).unwrap().len() % (1 << 20), 512);
}

#[test]
fn google_takes_a_whole_number_of_gib_in_an_archive() {
    let test = "google_takes_a_whole_number_of_gib_in_an_archive";
    let folder = tree();
    let at = folder.path();
    build(at, "gcp.tar.gz", &["--preset", "gcp"]).succeeds();
    let Some(tar) = Peer::find(test, "tar") else { return };
    assert_eq!(run(&tar, &["-tf", "gcp.tar.gz"], at).succeeds().text(), "disk.raw\n");
    run(&tar, &["-xzSf", "gcp.tar.gz"], at).succeeds();
    assert_eq!(fs::metadata(at.join("disk.raw")).unwrap().len(), 1 << 30);
    let info = json(&tine(&["image", "info", "--json", "disk.raw"], at).succeeds());
    assert_eq!(info["warnings"].as_array().map(Vec::len), Some(0), "{info}");
}

#[test]
fn what_differs_is_told_from_partition_to_file() {
    let folder = tree();
    let at = folder.path();
    build(at, "a.raw", &[]).succeeds();
    fs::write(at.join("tree/etc/rc.conf"), "sendmail_enable=\"YES\"").unwrap();
    fs::write(at.join("tree/etc/motd"), "new").unwrap();
    fs::write(at.join("tree/boot/gptzfsboot"), vec![0x91; 100_000]).unwrap();
    build(at, "b.qcow2", &["--swap", "4m", "--dataset", "zroot/extra"]).succeeds();
    let found = tine(&["image", "diff", "a.raw", "b.qcow2"], at).ends_with(1);
    let text = found.text();
    for line in ["p1: data differs from byte 0 on", "p3: type freebsd-zfs -> freebsd-swap", "disk: + partition p4"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    build(at, "c.qcow2", &["--dataset", "zroot/extra"]).succeeds();
    let text = tine(&["image", "diff", "a.raw", "c.qcow2"], at).ends_with(1).text();
    for line in [
        "+ dataset zroot/extra",
        "p3: zroot/ROOT/default: M F /etc/rc.conf",
        "p3: zroot/ROOT/default: + F /etc/motd",
        "p3: zroot/ROOT/default: M F /boot/gptzfsboot",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let list = json(&tine(&["image", "diff", "--json", "a.raw", "c.qcow2"], at).ends_with(1));
    let changed = list.as_array().unwrap().iter().filter(|item| item["change"] == "modified").count();
    assert!(changed >= 2, "{list}");
}

#[test]
fn a_manifest_has_the_digests_that_others_compute() {
    let test = "a_manifest_has_the_digests_that_others_compute";
    let folder = tree();
    let at = folder.path();
    build(at, "disk.vhdx", &[]).succeeds();
    let text = tine(&["image", "manifest", "disk.vhdx", "--input", "tree/etc/rc.conf"], at).succeeds().text();
    let Some(sha256sum) = Peer::find(test, "sha256sum") else { return };
    for (shown, path) in [
        ("zroot/ROOT/default:/usr/share/noise", "tree/usr/share/noise"),
        ("p2:/EFI/BOOT/BOOTX64.EFI", "tree/boot/loader.efi"),
        ("tree/etc/rc.conf", "tree/etc/rc.conf"),
        ("disk.vhdx", "disk.vhdx"),
    ] {
        let digest = run(&sha256sum, &[path], at).succeeds().text();
        let digest = digest.split(' ').next().unwrap();
        assert!(text.contains(&format!("SHA256 ({shown}) = {digest}\n")), "{shown} {digest}: {text}");
    }
}

#[test]
fn the_packages_of_an_image_are_its_bill_of_materials() {
    let test = "the_packages_of_an_image_are_its_bill_of_materials";
    let Some(python) = Peer::find(test, "python3") else { return };
    let folder = tree();
    let at = folder.path();
    fs::create_dir_all(at.join("tree/var/db/pkg")).unwrap();
    // Enough rows for inner pages, some too long for theirs.
    let script = "import sqlite3; c = sqlite3.connect('tree/var/db/pkg/local.sqlite'); \
        c.execute('CREATE TABLE packages (id INTEGER PRIMARY KEY, origin TEXT NOT NULL, name TEXT NOT NULL, \
        version TEXT NOT NULL, comment TEXT NOT NULL, desc TEXT NOT NULL, www TEXT, flatsize INTEGER NOT NULL)'); \
        [c.execute('INSERT INTO packages VALUES (?,?,?,?,?,?,?,?)', (i + 1, 'cat/p%d' % i, 'p%d' % i, '1.%d' % i, \
        'Comment', 'd' * (i * 30), None, i)) for i in range(600)]; c.commit()";
    run(&python, &["-c", script], at).succeeds();
    build(at, "disk.raw", &[]).succeeds();
    let bill = json(&tine(&["image", "manifest", "--sbom", "disk.raw"], at).succeeds());
    let components = bill["components"].as_array().unwrap();
    assert_eq!((components.len(), &bill["bomFormat"]), (600, &"CycloneDX".into()));
    let last = components.iter().find(|component| component["name"] == "p599").expect("it is there");
    assert_eq!((&last["version"], &last["properties"][0]["value"]), (&"1.599".into(), &"cat/p599".into()));
}

#[test]
fn a_disk_is_put_together_from_parts() {
    let test = "a_disk_is_put_together_from_parts";
    let folder = tree();
    let at = folder.path();
    tine(&["image", "build", "tree", "-o", "pool.img"], at).succeeds();
    tine(&["image", "convert", "pool.img", "pool.qcow2"], at).succeeds();
    fs::create_dir_all(at.join("esp/EFI/BOOT")).unwrap();
    fs::copy(at.join("tree/boot/loader.efi"), at.join("esp/EFI/BOOT/bootx64.efi")).unwrap();
    let parts = [
        "-p",
        "freebsd-boot/boot:=tree/boot/gptzfsboot",
        "-p",
        "efi/esp:=esp",
        "-p",
        "freebsd-swap::8m",
        "-p",
        "freebsd-zfs/root:=pool.qcow2",
    ];
    let make = |name: &str, more: &[&str]| {
        let fixed = ["image", "disk", "-b", "tree/boot/pmbr", "-o", name];
        tine(&[&fixed[..], &parts, more].concat(), at).succeeds()
    };
    make("disk.raw", &[]);
    make("disk.vmdk", &["-j", "1"]);
    assert_eq!(tine(&["image", "diff", "disk.raw", "disk.vmdk"], at).succeeds().text(), "");
    assert_eq!(
        tine(&["pool", "cat", "-p", "disk.vmdk", "zroot:/etc/rc.conf"], at).succeeds().text(),
        "sendmail_enable=\"NONE\""
    );
    if let Some(sgdisk) = Peer::find(test, "sgdisk") {
        let said = run(&sgdisk, &["-v", "disk.raw"], at).succeeds();
        assert!(said.text().contains("No problems found"), "{said}");
    }
    let mbr = ["image", "disk", "-s", "mbr", "-a", "1", "-p", "freebsd:=pool.img", "-o", "mbr.raw"];
    tine(&mbr, at).succeeds();
    if let Some(sfdisk) = Peer::find(test, "sfdisk") {
        let said = run(&sfdisk, &["-d", "mbr.raw"], at).succeeds().text();
        assert!(said.contains("label: dos") && said.contains("type=a5, bootable"), "{said}");
    }
}

#[test]
fn each_device_of_a_pool_is_a_whole_disk() {
    let test = "each_device_of_a_pool_is_a_whole_disk";
    let folder = tree();
    let at = folder.path();
    let names = ["a.vhdx", "b.vhdx", "c.vhdx"];
    let options = ["--vdev", "raidz1", "-o", names[1], "-o", names[2], "--swap", "4m", "--configure", "--verify"];
    let built = json(&build(at, names[0], &[&options[..], &["--json"]].concat()).succeeds());
    assert_eq!(built["disks"].as_array().map(Vec::len), Some(3), "{built}");
    assert_eq!(built["sources"], serde_json::json!([{"type": "directory", "path": "tree"}]));
    let mut seen = HashSet::new();
    for (number, name) in names.iter().enumerate() {
        let info = json(&tine(&["image", "info", "--json", name], at).succeeds());
        assert!(seen.insert(info["disk_id"].to_string()));
        let parts = info["partitions"].as_array().expect("a list");
        let labels = parts.iter().map(|part| part["label"].as_str().unwrap_or_default());
        let expected = ["gptboot", "efiboot", "swap", "zfs"].map(|label| format!("{label}{number}"));
        assert!(labels.eq(expected), "{info}");
        assert!(parts.iter().all(|part| seen.insert(part["id"].to_string())), "{info}");
        assert_eq!(parts[1]["contents"]["files"].as_array().map(Vec::len), Some(2));
        assert!(seen.insert(parts[1]["contents"]["id"].to_string()));
        if let Some(sgdisk) = Peer::find(test, "sgdisk") {
            tine(&["image", "convert", name, "disk.raw", "--force"], at).succeeds();
            let said = run(&sgdisk, &["-v", "disk.raw"], at).succeeds();
            assert!(said.text().contains("No problems found"), "{said}");
        }
    }
    // Any one may be away.
    let cat = ["pool", "cat", "-p", names[0], "-p", names[2], "zroot/ROOT/default:/etc/fstab"];
    let fstab = tine(&cat, at).succeeds().text();
    for line in ["/dev/gpt/swap0\t", "/dev/gpt/swap1\t", "/dev/gpt/swap2\t", "/dev/gpt/efiboot0\t/boot/efi"] {
        assert!(fstab.contains(line), "{fstab}");
    }
}

#[test]
fn a_disk_has_room_for_another_pool() {
    let folder = tree();
    let at = folder.path();
    tine(&["image", "build", "--pool", "tank", "tree/usr", "-o", "tank.img"], at).succeeds();
    tine(&["image", "convert", "tank.img", "tank.vmdk"], at).succeeds();
    build(at, "disk.qcow2", &["--partition", "freebsd-zfs/tank:=tank.vmdk"]).succeeds();
    let cat = |place: &str| tine(&["pool", "cat", "-p", "disk.qcow2", place], at).succeeds().stdout;
    assert!(cat("tank:/share/text") == fs::read(at.join("tree/usr/share/text")).unwrap());
    assert!(cat("zroot/ROOT/default:/boot/loader.conf") == fs::read(at.join("tree/boot/loader.conf")).unwrap());
}

#[test]
fn images_that_are_written_in_order_go_to_standard_output() {
    let folder = tree();
    let at = folder.path();
    build(at, "disk.raw", &[]).succeeds();
    for format in ["raw", "vmdk", "vhd-fixed", "xz", "zst"] {
        tine(&["image", "convert", "disk.raw", "file", "--force", "--format", format], at).succeeds();
        let piped = tine(&["image", "convert", "disk.raw", "-", "--format", format], at).succeeds();
        assert!(piped.stdout == fs::read(at.join("file")).unwrap(), "{format}");
        assert!(piped.errors().contains(&format!("-: {format}, disk of ")), "{}", piped.errors());
    }
    let built = build(at, "-", &[]).succeeds();
    assert!(built.stdout == fs::read(at.join("disk.raw")).unwrap());
    for format in ["qcow2", "qcow2-zstd", "vhd", "vhdx"] {
        let refused = tine(&["image", "convert", "disk.raw", "-", "--format", format], at).ends_with(2);
        assert!(refused.errors().contains("one of the formats raw, vmdk, vhd-fixed, xz, zst, tar.gz"), "{refused}");
    }
    let refused = build(at, "-", &["--json"]).ends_with(2);
    assert!(refused.errors().contains("standard output takes the image or --json"), "{refused}");
}

#[test]
fn mistakes_are_told_with_the_way_out() {
    let folder = tree();
    let at = folder.path();
    let told = |arguments: &[&str], code: i32, part: &str| {
        let ran = tine(arguments, at).ends_with(code);
        assert!(ran.errors().contains(part), "{part}: {ran}");
        assert!(!at.join("x").exists());
    };
    told(&["image", "build", "--swap", "1g", "tree", "-o", "x"], 2, "it needs --disk");
    told(
        &["image", "build", "--disk", "--scheme", "mbr", "--swap", "1g", "tree", "-o", "x"],
        2,
        "an MBR has no labels",
    );
    told(&["image", "build", "--disk", "--scheme", "mbr", "--bios", "tree", "-o", "x"], 3, "the tree has no /boot/mbr");
    told(&["image", "build", "--disk", "--size", "20m", "tree", "-o", "x"], 2, "has no room for a pool");
    told(&["image", "build", "--disk", "--esp-size", "1k", "tree", "-o", "x"], 3, "cannot be the size of a FAT");
    told(&["image", "convert", "tree/etc/rc.conf", "x"], 2, "says no format");
    told(&["image", "convert", "missing", "x", "--format", "raw"], 3, "missing: No such file");
    told(&["image", "disk", "-p", "freebsd-zsf::1m", "-o", "x"], 2, "is no type of partition");
    told(&["image", "build", "--disk", "--ssh-key", "tree/boot/pmbr", "tree", "-o", "x"], 3, "pmbr");
}

/// Boots a disk in QEMU: what its first serial line says until the guest leaves.
fn boot(disk: &Path, format: &str, firmware: Option<&Path>) -> Option<String> {
    let qemu = Peer::find("firmware_finds_the_boot_code_of_a_disk", "qemu-system-x86_64")?;
    let mut command = qemu.command();
    command.args([
        "-display",
        "none",
        "-no-reboot",
        "-m",
        "256",
        "-serial",
        "stdio",
        "-monitor",
        "none",
        "-net",
        "none",
    ]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    command.arg("-drive").arg(format!("file={},format={format},snapshot=on", disk.display()));
    if let Some(firmware) = firmware {
        command.arg("-bios").arg(firmware);
    }
    Some(command::run(&mut command, LIMIT).ends_with(LEFT).text())
}

#[test]
fn firmware_finds_the_boot_code_of_a_disk() {
    let test = "firmware_finds_the_boot_code_of_a_disk";
    let folder = tree();
    let at = folder.path();
    build(at, "disk.qcow2", &["--format", "qcow2-zstd"]).succeeds();
    build(at, "disk.vhdx", &[]).succeeds();
    let Some(said) = boot(&at.join("disk.qcow2"), "qcow2", None) else { return };
    assert!(said.contains(BIOS_SAYS), "{said}");
    let firmware = Path::new(FIRMWARE);
    if !firmware.exists() {
        return peer::skip(test, "OVMF is not installed");
    }
    for (disk, format) in [("disk.qcow2", "qcow2"), ("disk.vhdx", "vhdx")] {
        let said = boot(&at.join(disk), format, Some(firmware)).unwrap_or_default();
        assert!(said.contains(EFI_SAYS), "{disk}: {said}");
    }
}

/// What the initramfs of the small VM does instead of its own work: it mounts the root that the kernel was told, and hands
/// over to a shell there.
const INIT: &str = r#"#!/bin/bash
export PATH=/usr/sbin:/usr/bin ZPOOL_IMPORT_UDEV_TIMEOUT_MS=0 ZFS_VDEV_DEVID_OPT_OUT=yes
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
read -r line </proc/cmdline
root=${line##*root=ZFS=}
modprobe -a virtio_pci virtio_blk zfs
for partition in /dev/vd??; do devices+=(-d "$partition"); done
zpool import -N "${devices[@]}" "${root%%/*}" && mount -t zfs -o zfsutil "$root" /mnt || poweroff -f
zpool list -H -o name,health
for place in /dev /proc /sys; do mount --move "$place" "/mnt$place"; done
exec switch_root /mnt /bin/sh
"#;
/// What GRUB does: it finds the pool by its name, and the kernel in it.
const GRUB: &str = "search --no-floppy --set=root --label zroot
linux ($root)/ROOT/default@/boot/vmlinuz console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable no_timer_check pci=nomsi root=ZFS=zroot/ROOT/default
initrd ($root)/ROOT/default@/boot/initramfs ($root)/ROOT/default@/boot/root.cpio
boot
";

#[test]
fn linux_boots_through_grub_to_a_shell_with_its_root_in_the_pool() {
    let test = "linux_boots_through_grub_to_a_shell_with_its_root_in_the_pool";
    let (Some(vm), Some(qemu)) = (Vm::find(test), Peer::find(test, "qemu-system-x86_64")) else { return };
    let (Some(grub), Some(_)) = (Peer::find(test, "grub-mkimage"), Peer::find(test, "cpio")) else { return };
    for needed in [FIRMWARE, "/usr/lib/grub/x86_64-efi/zfs.mod", "/usr/bin/busybox"] {
        if !Path::new(needed).exists() {
            return peer::skip(test, &format!("{needed} is not installed"));
        }
    }
    let folder = tempfile::tempdir().expect("a directory can be made");
    let at = folder.path();
    let tree = at.join("tree");
    for place in ["boot", "bin", "etc", "dev", "proc", "sys"] {
        fs::create_dir_all(tree.join(place)).expect("it can be made");
    }
    fs::write(at.join("grub.cfg"), GRUB).expect("it can be written");
    let modules = ["part_gpt", "zfs", "search", "search_label", "linux", "normal", "boot"];
    let fixed = ["-O", "x86_64-efi", "-p", "/boot/grub", "-c", "grub.cfg", "-o", "tree/boot/loader.efi"];
    run(&grub, &[&fixed[..], &modules].concat(), at).succeeds();
    fs::write(at.join("init"), INIT).expect("it can be written");
    fs::set_permissions(at.join("init"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::write(at.join("list"), "init\n").expect("it can be written");
    let archive = ["-o", "-H", "newc", "-R", "0:0", "--quiet", "-F", "tree/boot/root.cpio"];
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" \"$@\" < list"]).args(["cpio"]).args(archive).current_dir(at);
    command::run(&mut command, LIMIT).succeeds();
    for (from, to) in [
        (vm.kernel(), "boot/vmlinuz"),
        (vm.initramfs.clone(), "boot/initramfs"),
        (PathBuf::from("/usr/bin/busybox"), "bin/busybox"),
    ] {
        fs::copy(&from, tree.join(to)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
    std::os::unix::fs::symlink("busybox", tree.join("bin/sh")).expect("a new name");
    fs::write(tree.join("etc/motd"), "this is the root of the pool\n").expect("it can be written");

    let disks = ["--vdev", "mirror", "-o", "other.qcow2", "--compatibility", "legacy", "--swap", "4m"];
    build(at, "one.qcow2", &[&disks[..], &["--format", "qcow2-zstd"]].concat()).succeeds();
    let mut guest = qemu.command();
    guest.args(
        "-nodefaults -no-user-config -display none -no-reboot -machine q35 -smp 2 -m 768 -serial stdio".split(' '),
    );
    guest.args(["-bios", FIRMWARE, "-cpu"]);
    guest.args(match &vm.accelerator[..] {
        "tcg" => ["qemu64", "-accel", "tcg,thread=multi"],
        other => ["host", "-accel", other],
    });
    for disk in ["one.qcow2", "other.qcow2"] {
        let path = at.join(disk);
        let drive = format!("file={},format=qcow2,if=none,id={disk},snapshot=on", path.display());
        guest.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={disk}")]);
    }
    let answer = "cat /etc/motd; mount | grep ' on / '; echo kept >/etc/new && cat /etc/new; poweroff -f\n";
    let said = command::converse(&mut guest, "/ # ", answer, Duration::from_secs(400));
    for line in ["zroot\tONLINE", "this is the root of the pool\r", "zroot/ROOT/default on / type zfs (rw", "\nkept\r"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn a_kernel_imports_the_pools_from_their_partitions() {
    let test = "a_kernel_imports_the_pools_from_their_partitions";
    let Some(vm) = Vm::find(test) else { return };
    let folder = tree();
    let at = folder.path();
    build(at, "one.raw", &["--swap", "4m", "--configure", "--vdev", "mirror", "-o", "other.raw"]).succeeds();
    let data = ["image", "build", "--disk", "--data", "--pool", "tank", "tree/usr", "-o", "data.raw"];
    tine(&data, at).succeeds();
    // The fourth partitions of the first disks; the ones before are for swap.
    let script = at.join("import.sh");
    fs::write(
        &script,
        ". /rig/lib.sh
        POOL=zroot DEVICES='/dev/vda4 /dev/vdb4'
        import_pool
        scrub
        must cmp \"$MNT/usr/share/noise\" /share/tree/usr/share/noise
        must cmp \"$MNT/boot/loader.efi\" /share/tree/boot/loader.efi
        must grep -q zfs_enable \"$MNT/etc/rc.conf\"
        must zpool import -R /mnt/data -d /dev/vdc1 tank
        must cmp /mnt/data/tank/share/text /share/tree/usr/share/text
        zpool get -H -o value bootfs zroot",
    )
    .expect("a job script");
    let mut job = vm.script(&script, at);
    for disk in ["one.raw", "other.raw", "data.raw"] {
        job = job.disk(&at.join(disk));
    }
    let ran = job.run().succeeds();
    assert!(ran.text().contains("zroot/ROOT/default"), "{ran}");
}
