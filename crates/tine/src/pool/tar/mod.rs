//! `tine pool tar`: a file tree as a pax archive.

mod archive;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::znode::{self, flag};
use zfs_pool::Error;
use zfs_pool::fs::{FileType, Xattr};

use self::archive::{Archive, Entry, Kind, Record};
use super::source::{Progress, Source, Taken};
use super::walk::{Node, Step, join};
use super::{acl_text, cat, describe, out};
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output::{self, plural};

/// Zeros for what cannot be read.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Write a file tree as a tar archive: pax, with nanoseconds, holes, hard links, extended attributes, access control
/// lists and file flags
///
/// Entries are in the order of their names, so that the same tree makes the same archive. Where the contents of a file
/// cannot be read, the archive has zeros: that is told, and the exit status is 1.
#[derive(Debug, Args)]
pub(crate) struct Tar {
    #[command(flatten)]
    source: Source,
    /// Write the archive to this file, which appears when it is whole [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(short, long, requires = "output")]
    force: bool,
    /// Show no progress and no warnings
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
    /// Report on standard output as JSON
    #[arg(long, requires = "output", help_heading = "Output")]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    entries: u64,
    bytes: u64,
    sockets: u64,
    damaged: Vec<String>,
}

impl Tar {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let to_file = self.output.as_ref().filter(|path| path.as_os_str() != "-");
        let Some(path) = to_file else {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                return Err(Failure::Usage(
                    "an archive is not for a terminal: write it to a file with -o, or send it to another program"
                        .to_owned(),
                ));
            }
            let taken = self.source.open()?;
            let stdout = File::from(stdout.as_fd().try_clone_to_owned().map_err(out::failed)?);
            return self.write(taken, BufWriter::with_capacity(256 << 10, stdout), |_| Ok(()), &out::failed);
        };
        let destination = Destination::new(path, self.force)?;
        let taken = self.source.open()?;
        let unfinished = destination.begin()?;
        let failed = |error: io::Error| Failure::work(path.display(), error);
        let file = BufWriter::with_capacity(256 << 10, unfinished.file().map_err(failed)?);
        self.write(taken, file, |_| unfinished.finish(), &failed)
    }

    fn write<W: Write>(
        &self,
        mut taken: Taken,
        to: W,
        finish: impl FnOnce(W) -> Result<(), Failure>,
        failed: &dyn Fn(io::Error) -> Failure,
    ) -> Result<(), Failure> {
        let mut writer = Writer {
            archive: Archive::new(to),
            progress: Progress::new(self.quiet),
            linked: HashMap::new(),
            sockets: 0,
            damaged: Vec::new(),
        };
        while let Some(step) = taken.walk.next() {
            match step {
                Step::Visit(node) => {
                    let path = match &taken.alone {
                        Some(name) => join(b".", name),
                        None => [&b"./"[..], &node.path].concat(),
                    };
                    match writer.add(&node, path) {
                        Ok(()) => {}
                        Err(Trouble::Write(error)) => return Err(failed(error)),
                        Err(Trouble::Read(error)) => writer.damage(&taken, &node.path, error),
                    }
                    writer.progress.file();
                }
                Step::Leave(_) => {}
                Step::Damaged(path, error) => writer.damage(&taken, &path, error),
            }
        }
        let Writer { archive, progress, sockets, damaged, .. } = writer;
        progress.clear();
        if sockets > 0 && !self.quiet {
            output::failure("tine", &Failure::work(plural(sockets, "socket"), "left out, as archives have none"));
        }
        finish(archive.finish().map_err(failed)?)?;
        if self.json {
            let (entries, bytes) = (progress.files(), progress.all_bytes());
            let broken = !damaged.is_empty();
            output::print_json(&Report { entries, bytes, sockets, damaged })?;
            return if broken { Err(Failure::Found) } else { Ok(()) };
        }
        if damaged.is_empty() { Ok(()) } else { Err(Failure::Found) }
    }
}

/// What stops an entry.
enum Trouble {
    Read(Error),
    Write(io::Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Read(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Write(error)
    }
}

struct Writer<W> {
    archive: Archive<W>,
    progress: Progress,
    /// Under which path a file with several names is in the archive.
    linked: HashMap<(usize, ObjectId), Vec<u8>>,
    sockets: u64,
    damaged: Vec<String>,
}

impl<W: Write> Writer<W> {
    fn add(&mut self, node: &Node, mut path: Vec<u8>) -> Result<(), Trouble> {
        let attributes = node.file.attributes();
        let kind = match attributes.file_type() {
            Some(FileType::Directory) => Kind::Directory,
            Some(FileType::Symlink) => Kind::Symlink,
            Some(FileType::Fifo) => Kind::Fifo,
            Some(FileType::CharacterDevice) => Kind::CharacterDevice,
            Some(FileType::BlockDevice) => Kind::BlockDevice,
            Some(FileType::Regular) => Kind::File,
            Some(FileType::Socket) => {
                self.sockets += 1;
                return Ok(());
            }
            None => {
                return Err(Trouble::Read(Error::Malformed {
                    what: "type of a file",
                    found: format!("{:#o}", attributes.mode),
                    expected: "a known one",
                }));
            }
        };
        if kind == Kind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let several = kind != Kind::Directory && attributes.links > 1;
        let first = self.linked.get(&node.identity()).cloned().filter(|_| several);
        if let Some(first) = first {
            let mut entry = entry_of(node, Kind::HardLink, &path);
            entry.link = &first;
            self.archive.begin(&entry)?;
            return Ok(self.archive.end()?);
        }
        // All that may be damaged is read before something is written.
        let target = if kind == Kind::Symlink { node.file.link_target()? } else { Vec::new() };
        let extents = if kind == Kind::File { extents(node)? } else { None };
        let mut entry = entry_of(node, kind, &path);
        entry.link = &target;
        entry.extents = extents.as_deref();
        entry.records = records(node)?;
        if let Some(device) = describe::device(attributes) {
            entry.device = device;
        }
        self.archive.begin(&entry)?;
        let done = if kind == Kind::File { self.contents(node) } else { Ok(()) };
        if several {
            self.linked.insert(node.identity(), path);
        }
        self.archive.end()?;
        done
    }

    /// Writes the data of a file. An error of the pool comes after all is written, with zeros for what was not read.
    fn contents(&mut self, node: &Node) -> Result<(), Trouble> {
        let mut error = None;
        for piece in node.file.contents().pieces(cat::threads()) {
            let size = piece.range.end - piece.range.start;
            match piece.bytes {
                Ok(bytes) => self.archive.data(&bytes)?,
                Err(damage) => {
                    self.zeros(size)?;
                    error.get_or_insert(damage);
                }
            }
            self.progress.bytes(size);
        }
        self.zeros(self.archive.left())?;
        error.map_or(Ok(()), |error| Err(Trouble::Read(error)))
    }

    fn zeros(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let part = count.min(ZEROS.len() as u64);
            self.archive.data(&ZEROS[..part as usize])?;
            count -= part;
        }
        Ok(())
    }

    fn damage(&mut self, taken: &Taken, path: &[u8], error: Error) {
        self.progress.hide(|| taken.tell(path, &error));
        self.damaged.push(out::printable(path));
    }
}

fn entry_of<'a>(node: &Node, kind: Kind, path: &'a [u8]) -> Entry<'a> {
    let attributes = node.file.attributes();
    Entry {
        kind,
        path,
        link: b"",
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        size: if kind == Kind::File { attributes.size } else { 0 },
        modified: attributes.modified,
        device: (0, 0),
        records: Vec::new(),
        extents: None,
    }
}

/// Where a file with holes has data; `None` if it has no hole.
fn extents(node: &Node) -> Result<Option<Vec<Range<u64>>>, Error> {
    let extents: Vec<Range<u64>> = node.file.extents().collect::<Result<_, _>>()?;
    let size = node.file.attributes().size;
    let whole = size == 0 || matches!(&extents[..], [only] if *only == (0..size));
    Ok(if whole { None } else { Some(extents) })
}

/// What no field of a header has room for: flags, lists and extended attributes.
fn records(node: &Node) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    // ZFS sets `uarch` on every file that is changed.
    let flags = znode::flag_names(node.file.attributes().flags & !flag::ARCHIVE);
    if !flags.is_empty() {
        records.push((b"SCHILY.fflags".to_vec(), flags.join(",").into_bytes()));
    }
    if let Some(acl) = describe::acl(&node.file)? {
        let text: Vec<String> = acl.iter().map(acl_text::nfs4).collect();
        records.push((b"SCHILY.acl.ace".to_vec(), text.join(",").into_bytes()));
    }
    let named = |(name, value): Xattr| (describe::xattr_name(&name), value);
    let mut xattrs: Vec<_> = node.file.xattrs()?.into_iter().map(named).collect();
    // Where they are stored decides their order there.
    xattrs.sort();
    for xattr in xattrs {
        if let Some((which, text)) = describe::posix_acl(&xattr) {
            records.push((format!("SCHILY.acl.{which}").into_bytes(), text.into_bytes()));
            continue;
        }
        let mut keyword = b"SCHILY.xattr.".to_vec();
        for &byte in &xattr.0 {
            // As GNU tar does: a keyword ends at the first =.
            match byte {
                b'=' => keyword.extend_from_slice(b"%3D"),
                b'%' => keyword.extend_from_slice(b"%25"),
                _ => keyword.push(byte),
            }
        }
        records.push((keyword, xattr.1));
    }
    Ok(records)
}
