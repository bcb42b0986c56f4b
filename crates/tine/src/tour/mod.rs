//! `tine tour`: what the program can do, shown on small data of its own. It grows with each prong.

mod compare;
mod data;
mod dump;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use zfs_pool::Pool;

use crate::cli;
use crate::failure::Failure;
use crate::output::{self, plural};

/// Tells a directory of the tour from one with other people's files.
const MARK: &str = ".tine-tour";

/// Show what tine can do, on small data of its own
#[derive(Debug, Args)]
pub(crate) struct Tour {
    /// The directory for the data and the results
    #[arg(long, value_name = "DIRECTORY", default_value = "tine-tour")]
    dir: PathBuf,
}

impl Tour {
    /// Goes round.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let dir = &self.dir;
        prepare(dir)?;
        let (tree, image) = (dir.join("tree"), dir.join("zroot.img"));

        say("1. A file tree, as a release build might leave one.")?;
        data::write(&tree).map_err(|error| Failure::work(format_args!("cannot write {}", tree.display()), error))?;
        say(&format!("   {}\n", tree.display()))?;

        say("2. It becomes a ZFS pool: FreeBSD's usual datasets, compressed, with a snapshot of each.")?;
        build(&tree, &image, &[])?;

        say("3. Built again with one thread, it is the same, byte for byte.")?;
        let again = dir.join("again.img");
        build(&tree, &again, &["-q", "-j", "1"])?;
        let same = same_bytes(&image, &again).map_err(|error| Failure::work("cannot compare the images", error))?;
        if !same {
            return Err(Failure::Work(format!("{} and {} differ", image.display(), again.display())));
        }
        fs::remove_file(&again).map_err(|error| Failure::work(again.display(), error))?;
        say("   It is.\n")?;

        say("4. Read back without a kernel: every block is verified, every file compared with its source.")?;
        read_back(&tree, &image)?;

        say("5. A disk around such a pool, for a hypervisor: what is in it, from the container to the datasets.")?;
        let disk = dir.join("disk.qcow2");
        let options =
            "--disk --force --layout bsdinstall --compression zstd-3 --swap 64m --hostname tour -q --mtime 1767225600";
        shown(&["image", "build"], &[&tree, Path::new("-o"), &disk], options)?;
        shown(&["image", "info"], &[&disk], "")?;
        say("")?;

        say("6. A kernel's last words: a dump is sent as a panicking kernel sends it, caught, and looked at.")?;
        let dump = dump::drill(dir)?;
        shown(&["dump", "info"], &[&dump], "")?;
        shown(&["dump", "check"], &[&dump], "")?;
        say("")?;

        say("7. Where the time of a boot went.")?;
        let log = dir.join("tslog.txt");
        fs::write(&log, data::BOOT).map_err(|error| Failure::work(log.display(), error))?;
        shown(&["boot", "top"], &[&log], "--tsc-freq 1GHz -n 5")?;
        shown(&["boot", "chart"], &[&log, Path::new("-o"), &dir.join("boot.html")], "--tsc-freq 1GHz --force")?;
        say("")?;

        say(&farewell(dir, &image))
    }
}

fn say(text: &str) -> Result<(), Failure> {
    output::print(&format!("{text}\n"))
}

/// Makes the directory, or takes one that an earlier tour has made.
fn prepare(dir: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::work(format_args!("cannot use {}", dir.display()), error);
    let mark = dir.join(MARK);
    if dir.exists() && !mark.exists() && dir.read_dir().map_err(failed)?.next().is_some() {
        return Err(Failure::Work(format!(
            "{} has files that are not the tour's: give another directory with --dir",
            dir.display()
        )));
    }
    fs::create_dir_all(dir).map_err(failed)?;
    fs::write(mark, "").map_err(failed)?;
    match fs::remove_dir_all(dir.join("tree")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Shows a command and runs it.
fn build(tree: &Path, image: &Path, more: &[&str]) -> Result<(), Failure> {
    let mut command: Vec<OsString> = ["tine", "image", "build"].map(OsString::from).to_vec();
    command.push(tree.into());
    command.push("-o".into());
    command.push(image.into());
    let options = "--force --layout bsdinstall --compression zstd-3 --snapshot @install \
                   --vdev-type file --owner root --group wheel --mtime 1767225600";
    command.extend(options.split_whitespace().chain(more.iter().copied()).map(OsString::from));
    let shown: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    say(&format!("   $ {}", shown.join(" ")))?;
    cli::run(command)?;
    if more.is_empty() { say("") } else { Ok(()) }
}

/// Shows a command of words, paths and options, and runs it.
fn shown(words: &[&str], paths: &[&Path], options: &str) -> Result<(), Failure> {
    let words = ["tine"].iter().chain(words).map(OsString::from);
    let paths = paths.iter().map(|path| path.as_os_str().to_owned());
    let command: Vec<OsString> = words.chain(paths).chain(options.split_whitespace().map(OsString::from)).collect();
    let text: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    say(&format!("   $ {}", text.join(" ")))?;
    cli::run(command)
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    loop {
        let count = a.read(&mut left)?;
        b.read_exact(&mut right[..count])?;
        if count == 0 || left[..count] != right[..count] {
            return Ok(count == 0);
        }
    }
}

fn read_back(tree: &Path, image: &Path) -> Result<(), Failure> {
    let pool = Pool::open_paths([image])?;
    let report = zfs_pool::check::check(&pool)?;
    if let Some(finding) = report.findings.first() {
        return Err(Failure::Work(format!("the pool is not sound: {finding}")));
    }
    let compared = compare::all(&pool, tree)?;
    say(&format!(
        "   {} verified, {} compared in {}: all as it should be.\n",
        plural(report.blocks, "block"),
        plural(compared.files, "file"),
        plural(compared.datasets, "dataset"),
    ))
}

fn farewell(dir: &Path, image: &Path) -> String {
    let (dir, image) = (dir.display(), image.display());
    format!(
        "All of it is in {dir}; open {dir}/boot.html in a browser. The pool is {image}. OpenZFS can say what it thinks of it, where it is installed:\n\
         \n   \
         zdb -e -p {dir} -bcc zroot              # every block and all space, without root\n   \
         zpool import -d {dir} -R /mnt zroot     # as root: the pool, mounted below /mnt\n\
         \nFor jobs of your own: tine --help, and docs/guide/."
    )
}
