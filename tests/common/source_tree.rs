//! A file tree with everything that an image must carry, the same for the same seed.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat, utimensat,
};

/// What a tree is made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Different seeds give different contents and times.
    pub seed: u64,
    /// Files get sizes around multiples of each of these.
    pub block_sizes: Vec<u64>,
    /// Names in the largest directory.
    pub many: usize,
    /// Size of a file that is all hole but for its last byte.
    pub largest_hole: u64,
    /// Whether to try devices, owners and attributes that only root may set.
    pub as_root: bool,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { seed: 1, block_sizes: vec![128 << 10], many: 3000, largest_hole: 3 << 30, as_root: is_root() }
    }
}

/// Whether files made by this process belong to root (of its user namespace).
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Which parts of the recipe the host allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Made {
    /// Device nodes.
    pub devices: bool,
    /// Owners and groups other than one's own.
    pub owners: bool,
    /// Extended attributes in the `user` namespace.
    pub xattrs: bool,
}

impl Recipe {
    /// Makes the tree at `root`, which must not exist.
    pub fn make(&self, root: &Path) -> io::Result<Made> {
        let mut maker = self.begin(root)?;
        maker.sizes(&self.block_sizes)?;
        maker.holes(self.block_sizes[0], self.largest_hole)?;
        maker.links()?;
        maker.names()?;
        maker.directories(self.many)?;
        maker.modes(self.as_root)?;
        maker.special(self.as_root)?;
        if self.as_root {
            maker.owners()?;
        }
        maker.xattrs()?;
        maker.times()?;
        Ok(maker.made)
    }

    /// Makes a smaller tree at `root`, of what the properties of a dataset bear upon. Its
    /// names are ASCII, and differ even where the case of letters does not count.
    pub fn make_small(&self, root: &Path) -> io::Result<Made> {
        let mut maker = self.begin(root)?;
        maker.sizes(&self.block_sizes)?;
        maker.holes(self.block_sizes[0], self.largest_hole)?;
        maker.links()?;
        maker.many(self.many)?;
        maker.xattrs()?;
        maker.times()?;
        Ok(maker.made)
    }

    fn begin(&self, root: &Path) -> io::Result<Maker> {
        fs::create_dir(root)?;
        Ok(Maker { root: root.to_owned(), random: Random(self.seed), made: Made::default() })
    }
}

/// Every size at which an off-by-one in blocks of `block` bytes could show.
pub fn sizes_around(block: u64) -> Vec<u64> {
    let mut sizes = vec![0, 1, 2, 112, 113, 511, 512, 513, 4095, 4096, 4097];
    for multiple in [block / 2, block, 2 * block, 3 * block] {
        sizes.extend([multiple - 1, multiple, multiple + 1, multiple + 512]);
    }
    sizes.push(9 * block + 77);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

struct Maker {
    root: PathBuf,
    random: Random,
    made: Made,
}

impl Maker {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn sizes(&mut self, block_sizes: &[u64]) -> io::Result<()> {
        for block in block_sizes {
            let folder = self.at(&format!("sizes-{block}"));
            fs::create_dir(&folder)?;
            for size in sizes_around(*block) {
                let size = usize::try_from(size).map_err(io::Error::other)?;
                fs::write(folder.join(format!("{size}.noise")), self.random.bytes(size))?;
                let text = format!("tine {size}\n").repeat(size / 6 + 1);
                fs::write(folder.join(format!("{size}.text")), &text[..size])?;
            }
        }
        Ok(())
    }

    fn holes(&mut self, block: u64, largest: u64) -> io::Result<()> {
        fs::create_dir(self.at("holes"))?;
        // Name, size, and where blocks of data are.
        let sparse: [(&str, u64, &[u64]); 7] = [
            ("none-but-hole", 5 * block, &[]),
            ("small-hole", 700, &[]),
            ("first", 5 * block + 9, &[block, 2 * block, 3 * block, 4 * block]),
            ("last", 5 * block + 9, &[0, block]),
            ("middle", 6 * block, &[0, 4 * block, 5 * block]),
            ("unaligned", 6 * block, &[block / 2 + 4096, 4 * block - 4096]),
            ("far", 300 * block + 1, &[0, 299 * block]),
        ];
        for (name, size, data) in sparse {
            let file = File::create(self.at("holes").join(name))?;
            file.set_len(size)?;
            for offset in data {
                let bytes = self.random.bytes(block as usize);
                file.write_all_at(&bytes, *offset)?;
            }
        }
        let file = File::create(self.at("holes/largest"))?;
        file.write_all_at(b"!", largest - 1)?;
        // Zeros that are data for the file system, and may become a hole in the pool.
        fs::write(self.at("holes/written-zeros"), vec![0; 3 * block as usize])
    }

    fn links(&mut self) -> io::Result<()> {
        fs::create_dir_all(self.at("links/below"))?;
        fs::write(self.at("links/one"), b"one file, three names\n")?;
        fs::hard_link(self.at("links/one"), self.at("links/two"))?;
        fs::hard_link(self.at("links/one"), self.at("links/below/three"))?;
        for length in [1, 23, 24, 59, 60, 140, 141, 255, 256, 1000, 1022, 1023] {
            // OpenZFS 2.3.2's `zfs send -e` loses a target in a spill block that compresses
            // well: these do not.
            let target: Vec<u8> = self.random.bytes(length).iter().map(|b| b'A' + b % 58).collect();
            symlink(OsStr::from_bytes(&target), self.at(&format!("links/to-{length}")))?;
        }
        symlink("../links/one", self.at("links/relative"))?;
        // A hard link to a symbolic link.
        fs::hard_link(self.at("links/relative"), self.at("links/relative-again"))
    }

    fn names(&mut self) -> io::Result<()> {
        let folder = self.at("names");
        fs::create_dir(&folder)?;
        let long = [b'n'; 255];
        let names: [&[u8]; 14] = [
            b"with space",
            b" ",
            b"new\nline",
            b"tab\there",
            b"back\\slash",
            b"-dash",
            b"#hash",
            b"\"quoted\"",
            b"*",
            b"not utf8 \xff\xfe\x80",
            "\u{fc}ml\u{e4}ut \u{1f980}".as_bytes(),
            b"...",
            b"\x01\x7f",
            &long,
        ];
        for name in names {
            fs::write(folder.join(OsStr::from_bytes(name)), name)?;
        }
        Ok(())
    }

    fn directories(&mut self, many: usize) -> io::Result<()> {
        fs::create_dir(self.at("empty"))?;
        let mut deep = self.at("deep");
        for level in 0..60 {
            fs::create_dir(&deep)?;
            fs::write(deep.join("file"), format!("level {level}\n"))?;
            deep.push("d");
        }
        self.many(many)?;
        fs::create_dir(self.at("subdirectories"))?;
        for number in 0..70 {
            fs::create_dir(self.at(&format!("subdirectories/{number}")))?;
        }
        Ok(())
    }

    fn many(&mut self, many: usize) -> io::Result<()> {
        fs::create_dir(self.at("many"))?;
        for number in 0..many {
            // Some names are too long for the small form of a directory.
            let tail = "x".repeat(if number % 7 == 0 { 60 } else { 0 });
            File::create(self.at(&format!("many/{number}{tail}")))?;
        }
        Ok(())
    }

    fn modes(&mut self, as_root: bool) -> io::Result<()> {
        fs::create_dir(self.at("modes"))?;
        let readable = [0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644];
        // Others cannot read files of these modes back.
        let unreadable = [0o000, 0o200, 0o111];
        let modes = readable.iter().chain(unreadable.iter().filter(|_| as_root));
        for mode in modes {
            let path = self.at(&format!("modes/file-{mode:04o}"));
            fs::write(&path, format!("{mode:o}\n"))?;
            fs::set_permissions(&path, Permissions::from_mode(*mode))?;
        }
        for mode in [0o700, 0o1777, 0o2775] {
            let path = self.at(&format!("modes/dir-{mode:04o}"));
            fs::create_dir(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn special(&mut self, as_root: bool) -> io::Result<()> {
        fs::create_dir(self.at("special"))?;
        let mode = Mode::from_raw_mode(0o640);
        mknodat(CWD, self.at("special/fifo"), FileType::Fifo, mode, 0)?;
        if !as_root {
            return Ok(());
        }
        for (name, kind, major, minor) in [
            ("null", FileType::CharacterDevice, 1, 3),
            ("large", FileType::CharacterDevice, 4095, 1_048_575),
            ("disk", FileType::BlockDevice, 8, 17),
        ] {
            let path = self.at("special").join(name);
            match mknodat(CWD, path, kind, mode, makedev(major, minor)) {
                Ok(()) => self.made.devices = true,
                Err(rustix::io::Errno::PERM) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn owners(&mut self) -> io::Result<()> {
        fs::create_dir(self.at("owners"))?;
        for (owner, group) in [(0, 0), (1, 1), (1001, 1002), (65534, 65534), (2_147_483_653, 7)] {
            let path = self.at(&format!("owners/{owner}-{group}"));
            fs::write(&path, b"owned\n")?;
            lchown(&path, Some(owner), Some(group))?;
        }
        let link = self.at("owners/link");
        symlink("1001-1002", &link)?;
        lchown(&link, Some(1001), Some(1002))?;
        let directory = self.at("owners/directory");
        fs::create_dir(&directory)?;
        lchown(&directory, Some(1001), Some(1002))?;
        self.made.owners = true;
        Ok(())
    }

    fn xattrs(&mut self) -> io::Result<()> {
        fs::create_dir(self.at("xattrs"))?;
        fs::create_dir(self.at("xattrs/directory"))?;
        // How many, and how long each; file systems of the host may hold no more.
        let shapes: [(&str, usize, usize); 7] = [
            ("empty", 1, 0),
            ("small", 1, 5),
            ("spilled", 1, 300),
            ("kilobyte", 1, 1024),
            ("several", 9, 40),
            ("many", 40, 20),
            ("directory", 2, 100),
        ];
        for (name, count, length) in shapes {
            let path = self.at("xattrs").join(name);
            if name != "directory" {
                fs::write(&path, b"has attributes\n")?;
            }
            for number in 0..count {
                let value = self.random.bytes(length);
                match lsetxattr(&path, format!("user.tine{number}"), &value, XattrFlags::CREATE) {
                    Ok(()) => self.made.xattrs = true,
                    Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
                    Err(rustix::io::Errno::NOSPC) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Times last: making the files has changed their directories.
    fn times(&mut self) -> io::Result<()> {
        let root = self.root.clone();
        fs::create_dir(self.at("times"))?;
        let special =
            [(0, 0), (0, 1), (1, 999_999_999), (951_782_400, 123_456_789), (2_147_483_647, 0), (4_102_444_800, 5)];
        for (seconds, nanoseconds) in special {
            File::create(self.at(&format!("times/{seconds}.{nanoseconds}")))?;
        }
        let mut every = Vec::new();
        list(&root, &mut every)?;
        for path in &every {
            let seconds = 1_000_000_000 + self.random.below(700_000_000);
            set_time(path, seconds, self.random.below(1_000_000_000))?;
        }
        for (seconds, nanoseconds) in special {
            set_time(&self.at(&format!("times/{seconds}.{nanoseconds}")), seconds, nanoseconds)?;
        }
        Ok(())
    }
}

/// Every path below `folder` and itself, in the order of the names, contents first.
fn list(folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() {
            list(&entry.path(), into)?;
        } else {
            into.push(entry.path());
        }
    }
    into.push(folder.to_owned());
    Ok(())
}

fn set_time(path: &Path, seconds: u64, nanoseconds: u64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds as i64, tv_nsec: nanoseconds as i64 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.take(length.div_ceil(8)).flatten().take(length).collect()
    }
}
