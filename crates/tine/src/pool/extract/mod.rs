//! `tine pool extract`: files out of a pool, into a directory of the host.

mod host;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use rustix::fs::{FileType as HostType, Stat};
use rustix::io::Errno;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::property::format_size;
use zfs_ondisk::znode::{self, flag};
use zfs_pool::Error;
use zfs_pool::fs::{FileType, Xattr};

use self::host::{Draft, Host, Lost};
use super::out::printable;
use super::source::{Progress, Source, Taken};
use super::walk::{Node, Step};
use super::{cat, describe};
use crate::failure::Failure;
use crate::output::{self, plural};

/// Extract files to a directory
///
/// Times, modes, hard links, holes and extended attributes are kept; owners and devices when run as root. A file appears
/// under its name when it is whole, and nothing is written outside the directory. What cannot be read is told and left
/// out, and the exit status is 1 then.
#[derive(Debug, Args)]
pub(crate) struct Extract {
    #[command(flatten)]
    source: Source,
    /// The directory to extract to; it is made if it does not exist
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    to: PathBuf,
    /// Replace files that exist
    #[arg(short, long)]
    force: bool,
    /// Go on after an interruption: files that exist with the right size and time are left as they are
    #[arg(long)]
    resume: bool,
    /// Also extract files that cannot be read whole, with zeros for what is missing, under NAME.damaged
    #[arg(long)]
    keep_damaged: bool,
    /// Show no progress, warnings and summary
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
    /// Report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    files: u64,
    bytes: u64,
    skipped: u64,
    damaged: Vec<String>,
    warnings: Vec<String>,
}

impl Extract {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut taken = self.source.open()?;
        let (host, made) = Host::open(&self.to).map_err(|error| Failure::work(self.to.display(), error))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let registered = signal_hook::flag::register(signal, interrupted.clone());
            registered.map_err(|error| Failure::work("cannot watch for signals", error))?;
        }
        let mut work = Work {
            extract: self,
            host,
            made,
            progress: Progress::new(self.quiet),
            interrupted,
            linked: HashMap::new(),
            skipped: 0,
            damaged: Vec::new(),
            warnings: BTreeMap::new(),
        };
        let done = work.all(&mut taken);
        work.progress.clear();
        let warnings = work.warnings();
        if !self.quiet && !self.json {
            for warning in &warnings {
                output::failure("tine", &Failure::Work(format!("warning: {warning}")));
            }
        }
        done?;
        self.report(work, warnings)
    }

    fn report(&self, work: Work<'_>, warnings: Vec<String>) -> Result<(), Failure> {
        let (files, bytes) = (work.progress.files(), work.progress.all_bytes());
        let broken = !work.damaged.is_empty();
        if self.json {
            let report = Report { files, bytes, skipped: work.skipped, damaged: work.damaged, warnings };
            output::print_json(&report)?;
        } else if !self.quiet {
            let mut text = format!("{} extracted, {}", plural(files, "file"), format_size(bytes));
            if work.skipped > 0 {
                text.push_str(&format!("; {} there already", plural(work.skipped, "file")));
            }
            if broken {
                text.push_str(&format!("; {} damaged", plural(work.damaged.len() as u64, "file")));
            }
            output::print(&format!("{text}\n"))?;
        }
        if broken { Err(Failure::Found) } else { Ok(()) }
    }
}

/// What stops a file.
enum Trouble {
    /// It cannot be read; others can.
    Damage(Error),
    /// It cannot be written, and others could not either.
    Host(io::Error),
    /// Something else is in its place.
    Refused(&'static str),
    Interrupted,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Damage(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

/// What could not be kept, told once with a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Warning {
    Owner,
    Xattrs,
    Acl,
    Flags,
    Device,
    Socket,
    Name,
}

struct Work<'a> {
    extract: &'a Extract,
    host: Host,
    /// Whether the directory was made here, and gets the attributes of the root.
    made: bool,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
    /// Where a file with several names is on the host.
    linked: HashMap<(usize, ObjectId), Vec<u8>>,
    skipped: u64,
    damaged: Vec<String>,
    warnings: BTreeMap<Warning, u64>,
}

impl Work<'_> {
    fn all(&mut self, taken: &mut Taken) -> Result<(), Failure> {
        while let Some(step) = taken.walk.next() {
            let (done, path) = match step {
                Step::Visit(node) => {
                    let alone = taken.alone.clone();
                    let name = alone.as_deref().unwrap_or(node.name());
                    let path = if taken.alone.is_some() { name } else { &node.path };
                    let done = self.visit(&node, name, path);
                    if done.is_err() {
                        // Nothing can go where there is no directory.
                        taken.walk.pass();
                    }
                    (done, path.to_vec())
                }
                Step::Leave(node) => (self.leave(&node), node.path),
                Step::Damaged(path, error) => (Err(Trouble::Damage(error)), path),
            };
            match done {
                Ok(()) => {}
                Err(Trouble::Damage(error)) => {
                    self.progress.hide(|| taken.tell(&path, &error));
                    self.damaged.push(printable(&path));
                }
                Err(Trouble::Host(error)) => {
                    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                    return Err(Failure::work(self.host.show(name), error));
                }
                Err(Trouble::Refused(why)) => {
                    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
                    return Err(Failure::Work(format!("{} {why}", self.host.show(name))));
                }
                Err(Trouble::Interrupted) => {
                    return Err(Failure::Work("interrupted: --resume goes on where it ended".to_owned()));
                }
            }
        }
        Ok(())
    }

    fn visit(&mut self, node: &Node, name: &[u8], path: &[u8]) -> Result<(), Trouble> {
        self.check_interruption()?;
        let kind = node.file.attributes().file_type();
        if kind == Some(FileType::Directory) {
            return if node.depth == 0 { Ok(()) } else { self.enter(name) };
        }
        let several = node.file.attributes().links > 1;
        if let Some(first) = self.linked.get(&node.identity()).cloned().filter(|_| several) {
            return self.link(&first, name);
        }
        let made = match kind {
            Some(FileType::Regular) => self.file(node, name)?,
            Some(FileType::Symlink) => self.symlink(node, name)?,
            Some(FileType::Fifo) => self.node(node, name, HostType::Fifo)?,
            Some(FileType::CharacterDevice) => self.node(node, name, HostType::CharacterDevice)?,
            Some(FileType::BlockDevice) => self.node(node, name, HostType::BlockDevice)?,
            _ => {
                self.warn(Warning::Socket);
                false
            }
        };
        if made && several {
            self.linked.insert(node.identity(), path.to_vec());
        }
        Ok(())
    }

    fn enter(&mut self, name: &[u8]) -> Result<(), Trouble> {
        if let Some(stat) = self.host.look(name)?
            && HostType::from_raw_mode(stat.st_mode) != HostType::Directory
        {
            if !self.extract.force {
                return Err(Trouble::Refused("exists and is no directory: --force replaces it"));
            }
            self.host.remove(name)?;
        }
        match self.host.enter(name) {
            Err(error) if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
                self.warn(Warning::Name);
                Err(Trouble::Damage(too_long()))
            }
            done => Ok(done?),
        }
    }

    fn leave(&mut self, node: &Node) -> Result<(), Trouble> {
        let attributes = node.file.attributes();
        let xattrs = self.xattrs(node);
        let known = xattrs.as_deref().unwrap_or_default();
        let lost = match node.depth {
            0 if self.made => self.host.finish_root(attributes, known)?,
            0 => return Ok(()),
            _ => self.host.leave(attributes, known)?,
        };
        self.count(lost);
        xattrs?;
        Ok(self.lists_and_flags(node)?)
    }

    /// Whether a name is free, or has been made so. `same` says whether what is there is what would be made.
    fn make_room(
        &mut self,
        name: &[u8],
        replaced_by_rename: bool,
        same: impl FnOnce(&mut Host, &Stat) -> io::Result<bool>,
    ) -> Result<bool, Trouble> {
        let Some(stat) = self.host.look(name)? else { return Ok(true) };
        if self.extract.resume && same(&mut self.host, &stat)? {
            self.skipped += 1;
            return Ok(false);
        }
        if !self.extract.force {
            return Err(Trouble::Refused(if self.extract.resume {
                "exists and is not what would be extracted: --force replaces it"
            } else {
                "exists: --force replaces it, --resume keeps it if it is whole"
            }));
        }
        if HostType::from_raw_mode(stat.st_mode) == HostType::Directory {
            return Err(Trouble::Refused("is a directory, where something else is to be extracted"));
        }
        if !replaced_by_rename {
            self.host.remove(name)?;
        }
        Ok(true)
    }

    fn file(&mut self, node: &Node, name: &[u8]) -> Result<bool, Trouble> {
        let attributes = node.file.attributes();
        let free = self.make_room(name, true, |_, stat| {
            Ok(HostType::from_raw_mode(stat.st_mode) == HostType::RegularFile
                && stat.st_size as u64 == attributes.size
                && host::modified(stat) == attributes.modified)
        })?;
        if !free {
            return Ok(true);
        }
        let xattrs = self.xattrs(node)?;
        let draft = self.host.begin(node.file.object().id().0)?;
        match self.contents(node, &draft) {
            Ok(()) => {}
            Err(Trouble::Damage(error)) if self.extract.keep_damaged => {
                let marked = [name, b".damaged"].concat();
                self.host.name(&draft, &marked, attributes, &xattrs)?;
                return Err(Trouble::Damage(error));
            }
            Err(trouble) => {
                self.host.discard(&draft)?;
                return Err(trouble);
            }
        }
        match self.host.name(&draft, name, attributes, &xattrs) {
            Ok(lost) => self.count(lost),
            Err(error) if error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => {
                self.host.discard(&draft)?;
                self.warn(Warning::Name);
                return Err(Trouble::Damage(too_long()));
            }
            Err(error) => return Err(error.into()),
        }
        self.lists_and_flags(node)?;
        self.progress.file();
        Ok(true)
    }

    /// Writes the data of a file, and leaves its holes. An error of the pool comes after all that can be read is
    /// written.
    fn contents(&mut self, node: &Node, draft: &Draft) -> Result<(), Trouble> {
        let contents = node.file.contents();
        let mut damage = None;
        for piece in contents.pieces(cat::threads()) {
            self.check_interruption()?;
            match piece.bytes {
                Ok(bytes) => draft.file.write_all_at(&bytes, piece.range.start)?,
                Err(error) if self.extract.keep_damaged => drop(damage.get_or_insert(error)),
                Err(error) => return Err(Trouble::Damage(error)),
            }
            self.progress.bytes(piece.range.end - piece.range.start);
        }
        draft.file.set_len(contents.size())?;
        damage.map_or(Ok(()), |error| Err(Trouble::Damage(error)))
    }

    fn symlink(&mut self, node: &Node, name: &[u8]) -> Result<bool, Trouble> {
        let target = node.file.link_target()?;
        let free = self.make_room(name, false, |host, stat| {
            Ok(HostType::from_raw_mode(stat.st_mode) == HostType::Symlink && host.link_target(name)? == target)
        })?;
        if free {
            let lost = self.host.symlink(name, &target, node.file.attributes())?;
            self.count(lost);
            self.xattrs_are_lost(node)?;
            self.progress.file();
        }
        Ok(true)
    }

    fn node(&mut self, node: &Node, name: &[u8], kind: HostType) -> Result<bool, Trouble> {
        if kind != HostType::Fifo && !self.host.is_root() {
            self.warn(Warning::Device);
            return Ok(false);
        }
        let device = describe::device(node.file.attributes()).unwrap_or_default();
        let number = rustix::fs::makedev(device.0, device.1);
        let free = self.make_room(name, false, |_, stat| {
            let same = HostType::from_raw_mode(stat.st_mode) == kind;
            Ok(same && (kind == HostType::Fifo || stat.st_rdev == number))
        })?;
        if !free {
            return Ok(true);
        }
        match self.host.node(name, kind, device, node.file.attributes()) {
            Ok(lost) => self.count(lost),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.warn(Warning::Device);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        self.xattrs_are_lost(node)?;
        self.progress.file();
        Ok(true)
    }

    fn link(&mut self, first: &[u8], name: &[u8]) -> Result<(), Trouble> {
        let original = self.host.look_at(first)?;
        let same = |_: &mut Host, stat: &Stat| Ok(stat.st_ino == original.st_ino && stat.st_dev == original.st_dev);
        if self.make_room(name, false, same)? {
            self.host.link(first, name)?;
            self.progress.file();
        }
        Ok(())
    }

    /// The attributes of a file under the names that the host may know.
    fn xattrs(&self, node: &Node) -> Result<Vec<Xattr>, Error> {
        let xattrs = node.file.xattrs()?;
        Ok(xattrs.into_iter().map(|(name, value)| (describe::xattr_name(&name), value)).collect())
    }

    /// Links, FIFOs and devices cannot have those of users, and others without their being opened.
    fn xattrs_are_lost(&mut self, node: &Node) -> Result<(), Error> {
        if !node.file.xattrs()?.is_empty() {
            self.warn(Warning::Xattrs);
        }
        self.lists_and_flags(node)
    }

    fn lists_and_flags(&mut self, node: &Node) -> Result<(), Error> {
        if describe::acl(&node.file)?.is_some() {
            self.warn(Warning::Acl);
        }
        // ZFS sets `uarch` on every file that is changed.
        if znode::file_flags_from_flags(node.file.attributes().flags & !flag::ARCHIVE) != 0 {
            self.warn(Warning::Flags);
        }
        Ok(())
    }

    fn check_interruption(&self) -> Result<(), Trouble> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Trouble::Interrupted) } else { Ok(()) }
    }

    fn count(&mut self, lost: Lost) {
        if lost.owner {
            self.warn(Warning::Owner);
        }
        if lost.xattrs {
            self.warn(Warning::Xattrs);
        }
    }

    fn warn(&mut self, warning: Warning) {
        *self.warnings.entry(warning).or_default() += 1;
    }

    fn warnings(&self) -> Vec<String> {
        let text = |(warning, &count): (&Warning, &u64)| {
            let files = plural(count, "file");
            match warning {
                Warning::Owner if !self.host.is_root() => {
                    format!("the owners of {files} were not kept, as only root may give files away")
                }
                Warning::Owner => format!("the owners of {files} were not kept, as this system refuses them"),
                Warning::Xattrs => {
                    format!("some extended attributes of {files} were not kept, as this system refuses them")
                }
                Warning::Acl => format!("the NFSv4 access control lists of {files} were not kept"),
                Warning::Flags => format!("the file flags of {files} were not kept"),
                Warning::Device => format!("{} left out, as only root may make them", plural(count, "device")),
                Warning::Socket => format!("{} left out", plural(count, "socket")),
                Warning::Name => format!("{files} left out, as this system has no names of that length"),
            }
        };
        self.warnings.iter().map(text).collect()
    }
}

fn too_long() -> Error {
    Error::Malformed { what: "the name", found: "too long for this system".to_owned(), expected: "a shorter one" }
}
