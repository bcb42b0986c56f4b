//! The tour's file tree: small, and with a file of most kinds.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// The log of a boot of some milliseconds, as `sysctl -b debug.tslog` prints it.
pub(super) const BOOT: &str = "\
0xffffffff8109c000 1000000 ENTER mi_startup
0xffffffff8109c000 1200000 ENTER SYSINIT configure2
0xffffffff8109c000 1300000 ENTER DEVICE_ATTACH atkbd
0xffffffff8109c000 1400000 ENTER DELAY
0xffffffff8109c000 5400000 EXIT DELAY
0xffffffff8109c000 5500000 EXIT DEVICE_ATTACH atkbd
0xffffffff8109c000 5600000 ENTER DEVICE_ATTACH vtblk
0xffffffff8109c000 6100000 EXIT DEVICE_ATTACH vtblk
0xffffffff8109c000 6200000 EXIT SYSINIT configure2
0xffffffff8109c000 6300000 EXIT mi_startup
0xfffff80003000740 6400000 ENTER start_init
0xfffff80003000740 6500000 ENTER vfs_mountroot
0xfffff80003000740 8100000 EXIT vfs_mountroot
0xfffff80003000740 8200000 EXIT start_init
";

const WORDS: [&str; 12] =
    ["pool", "vdev", "label", "uberblock", "dataset", "snapshot", "clone", "dnode", "object", "block", "space", "map"];

/// Writes the tree; always the same, whatever the umask.
pub(super) fn write(root: &Path) -> io::Result<()> {
    let text = |path: &str, text: &str| put(root, path, 0o644, text.as_bytes());
    text("etc/rc.conf", "hostname=\"tour\"\nzfs_enable=\"YES\"\n")?;
    text("etc/fstab", "# Device\tMountpoint\tFStype\tOptions\tDump\tPass#\n")?;
    text("boot/loader.conf", "zfs_load=\"YES\"\nvfs.root.mountfrom=\"zfs:zroot/ROOT/default\"\n")?;
    text("home/beastie/größe & maß.txt", "Names are bytes; these happen to be UTF-8.\n")?;
    for number in 0..200 {
        text(&format!("usr/src/sys/file{number:03}.c"), &format!("/* File {number}. */\nint x{number};\n"))?;
    }
    put(root, "bin/tour", 0o755, b"#!/bin/sh\necho \"It runs.\"\n")?;
    fs::hard_link(root.join("bin/tour"), root.join("bin/excursion"))?;
    symlink("../bin/tour", root.join("etc/rc.tour"))?;

    let mut random = Random(1);
    let mut words = String::new();
    while words.len() < 1 << 20 {
        words.push_str(WORDS[random.next() as usize % WORDS.len()]);
        words.push(if words.len().is_multiple_of(7) { '\n' } else { ' ' });
    }
    text("usr/share/words", &words)?;
    let noise: Vec<u8> = (0..300_000).map(|_| random.next() as u8).collect();
    put(root, "usr/share/noise", 0o644, &noise)?;

    // 64 MiB of which all but one block is a hole.
    put(root, "var/log/sparse.log", 0o640, b"")?;
    let sparse = File::options().write(true).open(root.join("var/log/sparse.log"))?;
    sparse.write_all_at(b"The end of a long hole.\n", (64 << 20) - 24)
}

fn put(root: &Path, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
    let path = root.join(path);
    if let Some(folder) = path.parent() {
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(root) && !folder.exists()) {
            fs::create_dir_all(folder)?;
        }
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(root)) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::write(&path, contents)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
}

/// Numbers that look random and are always the same (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}
