//! Settings for the system in an image: lines added to its files, without a change of the tree that it is made from.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tree::Builder;

use crate::failure::Failure;

/// The largest file that lines are added to.
const MAX_FILE: u64 = 1 << 20;
const RC_CONF: &str = "etc/rc.conf";
const LOADER_CONF: &str = "boot/loader.conf";
const BOOT_CONFIG: &str = "boot.config";
const FSTAB: &str = "etc/fstab";
const SSHD_CONFIG: &str = "etc/ssh/sshd_config";
const AUTHORIZED_KEYS: &str = "root/.ssh/authorized_keys";
/// Scripts that run at the first boot only look for this file.
const FIRST_BOOT: &str = "firstboot";

/// Options about the system in the image.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "System")]
pub(crate) struct System {
    /// Add what a system with its root in the pool needs: zfs_load to loader.conf; zfs_enable and zpool_reguid to
    /// rc.conf; swap and EFI partition to fstab
    #[arg(long)]
    configure: bool,
    /// Let the pool grow to the size of the disk at the first boot
    #[arg(long)]
    growfs: bool,
    /// Where the system talks to its user
    #[arg(long, value_name = "WHERE")]
    console: Option<Console>,
    /// The name of the host
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    hostname: Option<String>,
    /// A file with public SSH keys that may log in as root; sshd is enabled
    #[arg(long = "ssh-key", value_name = "FILE")]
    ssh_keys: Vec<PathBuf>,
    /// A line for rc.conf, such as 'ntpd_enable="YES"'
    #[arg(long = "rc-conf", value_name = "LINE", value_parser = assignment)]
    rc_conf: Vec<String>,
    /// A line for loader.conf, such as 'autoboot_delay="2"'
    #[arg(long = "loader-conf", value_name = "LINE", value_parser = assignment)]
    loader_conf: Vec<String>,
}

/// Consoles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Console {
    /// A screen
    Video,
    /// The first serial line, at 115200 bits a second
    Serial,
    /// Both, the serial line first
    Both,
}

/// What the disk has that settings are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The name of the pool.
    pub(crate) pool: String,
    /// Labels of partitions with swap.
    pub(crate) swap: Vec<String>,
    /// The label of the EFI system partition.
    pub(crate) esp: Option<String>,
}

/// Lines for files, in the order in which they are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    lines: BTreeMap<&'static str, Vec<String>>,
    /// Lines that come before all others.
    first: BTreeMap<&'static str, Vec<String>>,
    /// Files that are empty, and directories.
    empty: Vec<&'static str>,
    directories: Vec<&'static str>,
}

impl System {
    /// What is odd about the settings for a system on so many disks.
    pub(crate) fn warning(&self, disks: usize) -> Option<String> {
        (self.growfs && disks > 1).then(|| {
            "--growfs: FreeBSD's growfs grows the last of several disks only; 'gpart resize' and 'zpool online -e' do the \
             rest"
                .to_owned()
        })
    }

    /// The settings; those of a preset come before.
    pub(crate) fn settings(&self, mut settings: Settings, facts: &Facts) -> Result<Settings, Failure> {
        if self.configure {
            settings.configure(facts);
        }
        if self.growfs {
            settings.grow();
        }
        if let Some(console) = self.console {
            settings.console(console);
        }
        if let Some(name) = &self.hostname {
            settings.rc_conf(&format!("hostname=\"{name}\""));
        }
        for path in &self.ssh_keys {
            let keys = fs::read_to_string(path)
                .map_err(|error| Failure::work(format_args!("cannot read the keys {}", path.display()), error))?;
            settings.ssh_keys(path, &keys)?;
        }
        for line in &self.rc_conf {
            settings.rc_conf(line);
        }
        for line in &self.loader_conf {
            settings.loader_conf(line);
        }
        Ok(settings)
    }
}

impl Settings {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn rc_conf(&mut self, line: &str) {
        self.add(RC_CONF, line);
    }

    pub(crate) fn loader_conf(&mut self, line: &str) {
        self.add(LOADER_CONF, line);
    }

    /// What a system with its root in the pool needs, as FreeBSD's own images have it (`release/tools/vmimage.subr`).
    pub(crate) fn configure(&mut self, facts: &Facts) {
        self.loader_conf("zfs_load=\"YES\"");
        self.loader_conf("kern.geom.label.disk_ident.enable=\"0\"");
        self.rc_conf("zfs_enable=\"YES\"");
        self.rc_conf(&format!("zpool_reguid=\"{}\"", facts.pool));
        for label in &facts.swap {
            self.add(FSTAB, &format!("/dev/gpt/{label}\tnone\tswap\tsw\t0\t0"));
        }
        if let Some(label) = &facts.esp {
            self.add(FSTAB, &format!("/dev/gpt/{label}\t/boot/efi\tmsdosfs\trw\t2\t2"));
            self.directories.push("boot/efi");
        }
    }

    /// The partition and the pool grow to what the disk has.
    pub(crate) fn grow(&mut self) {
        self.rc_conf("growfs_enable=\"YES\"");
        self.empty.push(FIRST_BOOT);
    }

    /// gptzfsboot does not wait for a key (boot.config(5)).
    pub(crate) fn boot_at_once(&mut self) {
        self.add(BOOT_CONFIG, "-n");
    }

    pub(crate) fn console(&mut self, console: Console) {
        if console != Console::Serial {
            self.loader_conf(match console {
                Console::Video => "console=\"vidconsole\"",
                _ => "boot_multicons=\"YES\"",
            });
        }
        if console != Console::Video {
            self.loader_conf("boot_serial=\"YES\"");
            self.loader_conf("comconsole_speed=\"115200\"");
            self.loader_conf(match console {
                Console::Serial => "console=\"comconsole\"",
                _ => "console=\"comconsole,vidconsole\"",
            });
        }
    }

    fn ssh_keys(&mut self, path: &Path, keys: &str) -> Result<(), Failure> {
        let keys: Vec<&str> =
            keys.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        if keys.is_empty() || keys.iter().any(|key| key.starts_with("-----")) {
            return Err(Failure::Work(format!("{}: no public SSH key is in it", path.display())));
        }
        for key in keys {
            self.add(AUTHORIZED_KEYS, key);
        }
        self.rc_conf("sshd_enable=\"YES\"");
        // The first value counts.
        self.first.entry(SSHD_CONFIG).or_default().push("PermitRootLogin prohibit-password".to_owned());
        Ok(())
    }

    fn add(&mut self, file: &'static str, line: &str) {
        let lines = self.lines.entry(file).or_default();
        if !lines.iter().any(|known| known == line) {
            lines.push(line.to_owned());
        }
    }

    /// Adds the lines to what a tree has so far.
    pub(crate) fn apply(&self, builder: &mut Builder) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        let time = builder.newest().map_or(0, |time| time.seconds.max(0));
        let mut archive = Archive { bytes: Vec::new(), time };
        let mut files: Vec<&'static str> = self.lines.keys().chain(self.first.keys()).copied().collect();
        files.sort_unstable();
        files.dedup();
        for directory in ["etc", "etc/ssh", "boot", "root", "root/.ssh"].iter().chain(&self.directories) {
            let needed =
                files.iter().any(|file| Path::new(file).starts_with(directory)) || self.directories.contains(directory);
            if needed && !builder.has(directory.as_bytes()) {
                archive.entry(directory, if *directory == "root/.ssh" { 0o700 } else { 0o755 }, b'5', &[]);
            }
        }
        for file in files {
            let before = builder
                .contents(file.as_bytes(), MAX_FILE)
                .map_err(|error| Failure::work(format_args!("cannot add settings to /{file} of the image"), error))?;
            let mode = if file == AUTHORIZED_KEYS { 0o600 } else { 0o644 };
            archive.entry(file, mode, b'0', &self.merged(file, before.unwrap_or_default()));
        }
        for file in &self.empty {
            archive.entry(file, 0o644, b'0', &[]);
        }
        archive.bytes.resize(archive.bytes.len() + 1024, 0);
        builder.add_tar_from(Path::new("the settings of the image"), Cursor::new(archive.bytes))?;
        Ok(())
    }

    /// A file with its lines; those that are there already are not added.
    fn merged(&self, file: &str, before: Vec<u8>) -> Vec<u8> {
        let known: Vec<Vec<u8>> = before.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        let is_new = |line: &&String| !known.iter().any(|known| known.trim_ascii() == line.as_bytes());
        let line = |line: &String| [line.as_bytes(), b"\n"].concat();
        let of = |lines: &BTreeMap<&'static str, Vec<String>>| {
            lines.get(file).into_iter().flatten().filter(is_new).flat_map(line).collect::<Vec<u8>>()
        };
        let mut merged = of(&self.first);
        merged.extend(&before);
        if merged.last().is_some_and(|&byte| byte != b'\n') {
            merged.push(b'\n');
        }
        merged.extend(of(&self.lines));
        merged
    }
}

/// A tar archive in memory, with files of root.
struct Archive {
    bytes: Vec<u8>,
    time: i64,
}

impl Archive {
    fn entry(&mut self, path: &str, mode: u32, kind: u8, contents: &[u8]) {
        let mut header = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, path.as_bytes());
        put(
            100,
            format!("{mode:07o}\0{0:07o}\0{0:07o}\0{1:011o}\0{2:011o}\0        ", 0, contents.len(), self.time)
                .as_bytes(),
        );
        put(156, &[kind]);
        put(257, b"ustar\x0000root\0");
        put(297, b"wheel\0");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend(header);
        self.bytes.extend(contents);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let possible = |part: &str| {
        let inner = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !part.is_empty() && part.len() < 64 && !part.starts_with('-') && !part.ends_with('-')
    };
    match text.len() < 256 && text.split('.').all(possible) {
        true => Ok(text.to_owned()),
        false => Err("a name of letters, digits, dashes and dots was expected".to_owned()),
    }
}

fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() && !name.contains(char::is_whitespace) && !text.contains('\n') => {
            Ok(text.to_owned())
        }
        _ => Err("a line NAME=VALUE was expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { pool: "zroot".to_owned(), swap: vec!["swapfs".to_owned()], esp: Some("efiesp".to_owned()) }
    }

    fn text(tree: &tree::Tree, path: &str) -> String {
        let node = tree.lookup(path.as_bytes()).expect("the file is there");
        let content = tree.open(node).expect("it is a file");
        let mut bytes = vec![0; content.size() as usize];
        content.read_exact_at(&mut bytes, 0).expect("it can be read");
        String::from_utf8(bytes).expect("it is text")
    }

    #[test]
    fn lines_are_added_to_what_the_tree_has() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).expect("it can be made");
        fs::write(etc.join("rc.conf"), "zfs_enable=\"YES\"\nsendmail_enable=\"NONE\"").expect("it can be written");
        let keys = folder.path().join("key.pub");
        fs::write(&keys, "# mine\nssh-ed25519 AAAA me\n").expect("it can be written");
        let options = System {
            configure: true,
            growfs: true,
            hostname: Some("box.example".to_owned()),
            ssh_keys: vec![keys],
            ..System::default()
        };
        let settings = options.settings(Settings::default(), &facts()).expect("they are sound");
        let mut builder = Builder::new(tree::Options::default()).expect("there is nothing odd");
        builder.add_directory(folder.path()).expect("it can be read");
        settings.apply(&mut builder).expect("they can be added");
        let tree = builder.finish().expect("it is whole");
        assert_eq!(
            text(&tree, "etc/rc.conf"),
            "zfs_enable=\"YES\"\nsendmail_enable=\"NONE\"\nzpool_reguid=\"zroot\"\ngrowfs_enable=\"YES\"\n\
             hostname=\"box.example\"\nsshd_enable=\"YES\"\n"
        );
        assert!(text(&tree, "boot/loader.conf").starts_with("zfs_load=\"YES\"\n"));
        assert!(text(&tree, "etc/fstab").contains("/dev/gpt/swapfs\tnone\tswap\tsw\t0\t0\n"));
        assert_eq!(text(&tree, "root/.ssh/authorized_keys"), "ssh-ed25519 AAAA me\n");
        assert_eq!(text(&tree, "etc/ssh/sshd_config"), "PermitRootLogin prohibit-password\n");
        let mode = |path: &str| tree.node(tree.lookup(path.as_bytes()).expect("it is there")).mode;
        assert_eq!((mode("root/.ssh"), mode("root/.ssh/authorized_keys"), mode("firstboot")), (0o700, 0o600, 0o644));
        assert!(tree.lookup(b"boot/efi").is_some());
        assert_eq!(fs::read_to_string(etc.join("rc.conf")).expect("it is there").lines().count(), 2);
    }

    #[test]
    fn a_private_key_is_not_put_into_an_image() {
        let mut settings = Settings::default();
        assert!(settings.ssh_keys(Path::new("id"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").is_err());
        assert!(settings.ssh_keys(Path::new("id"), "\n# nothing\n").is_err());
    }

    #[test]
    fn names_of_hosts_and_lines_are_checked() {
        assert!(host_name("a-b.example").is_ok());
        for bad in ["", "a..b", "-a", "a b", "a\"b"] {
            assert!(host_name(bad).is_err(), "{bad}");
        }
        assert!(assignment("a=\"b c\"").is_ok() && assignment("a b=c").is_err() && assignment("a").is_err());
    }
}
