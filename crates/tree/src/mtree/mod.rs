//! The manifest source: mtree(5), as `make installworld -DNO_ROOT` and `mtree -c` write it.
//!
//! Digests are not verified. Where a line does not say something, an earlier node of the same type at the same path
//! does, else, for mode and time, the file below the root, else: root:wheel, no flags, mode 0755 for directories.

mod error;
mod keywords;
mod lexer;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::draft::{Data, Draft, Inode};
use crate::error::{Error, PathBytes, Warning};
use crate::host;
use crate::ids::Ids;
use crate::node::{Kind, Timestamp};
use crate::options::Options;
use crate::path::{Target, is_excluded, lookup, normal, resolve};
use crate::places::Place;
use crate::source::{Root, Source};
pub use error::ManifestError;
use keywords::{EntryType, Keywords, Understood};
use lexer::{Lines, unescape, words};

/// Opens a manifest; `-` is standard input.
pub(crate) fn open(manifest: &Path) -> Result<Box<dyn BufRead>, Error> {
    if manifest.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(manifest).map_err(|e| Error::io("open", manifest, e))?;
    Ok(Box::new(BufReader::with_capacity(64 << 10, file)))
}

/// Adds the entries of a manifest, with contents from below `root`.
pub(crate) fn add(
    draft: &mut Draft,
    manifest: &Path,
    reader: impl BufRead,
    root: &Path,
    options: &Options,
    ids: &Ids,
) -> Result<(), Error> {
    let source = draft.begin_source()?;
    let mut reading = Reading {
        draft,
        manifest,
        root: Root::open(root)?,
        options,
        ids,
        source,
        line: 0,
        defaults: Keywords::default(),
        directory: Vec::new(),
        closed: false,
        linked: HashMap::new(),
        problems: HashMap::new(),
        reported: HashSet::new(),
    };
    reading.run(reader)?;
    let root = reading.root;
    draft.end_source(Source::Directory(root));
    Ok(())
}

struct Reading<'a> {
    draft: &'a mut Draft,
    manifest: &'a Path,
    root: Root,
    options: &'a Options,
    ids: &'a Ids,
    source: u16,
    line: u64,
    /// What `/set` says.
    defaults: Keywords,
    /// Where entries without a slash go: a normal path.
    directory: Vec<u8>,
    /// The root's own `..` has been met.
    closed: bool,
    /// Inodes by device and number of files with several links on the host.
    linked: HashMap<(u64, u64), u32>,
    /// What is wrong with the contents of an inode, and the line that says so. It does not matter if a later line
    /// puts something else in its place.
    problems: HashMap<u32, (u64, ManifestError)>,
    /// Unknown keywords that a warning was given for.
    reported: HashSet<Vec<u8>>,
}

impl Reading<'_> {
    fn run(&mut self, reader: impl BufRead) -> Result<(), Error> {
        let mut lines = Lines::new(reader);
        while let Some((line, text)) = lines.next().map_err(|e| Error::io("read", self.manifest, e))? {
            self.line = line;
            text.and_then(|text| self.read_line(text)).map_err(|what| self.error(line, what))?;
        }
        let first = std::mem::take(&mut self.problems).into_values().min_by_key(|(line, _)| *line);
        first.map_or(Ok(()), |(line, what)| Err(self.error(line, what)))
    }

    fn error(&self, line: u64, what: ManifestError) -> Error {
        Error::Manifest { path: self.manifest.to_path_buf(), line, what }
    }

    fn read_line(&mut self, text: &[u8]) -> Result<(), ManifestError> {
        let mut words = words(text);
        let Some(name) = words.next() else {
            return Ok(());
        };
        match name {
            b"/set" => {
                let mut defaults = std::mem::take(&mut self.defaults);
                let result = words.try_for_each(|word| self.set(&mut defaults, word));
                self.defaults = defaults;
                result.and_then(|()| self.defaults.end_line())
            }
            b"/unset" => {
                for word in words {
                    if self.defaults.unset(word) == Understood::No {
                        self.report(word);
                    }
                }
                Ok(())
            }
            b".." => self.leave_directory(),
            _ => {
                let path = self.entry_path(&unescape(name)?)?;
                let mut keywords = self.defaults.clone();
                for word in words {
                    self.set(&mut keywords, word)?;
                }
                keywords.end_line()?;
                self.add(path, &keywords)
            }
        }
    }

    fn set(&mut self, keywords: &mut Keywords, word: &[u8]) -> Result<(), ManifestError> {
        if keywords.set(word, self.ids)? == Understood::No {
            self.report(keywords::split(word).0);
        }
        Ok(())
    }

    /// Warns of an unknown keyword, once.
    fn report(&mut self, keyword: &[u8]) {
        if self.reported.insert(keyword.to_vec()) {
            self.draft.warnings.push(Warning::UnknownKeyword {
                manifest: self.manifest.to_path_buf(),
                line: self.line,
                keyword: PathBytes::new(keyword),
            });
        }
    }

    /// `..` goes up; one is due for the root itself, as `mtree -c` writes it.
    fn leave_directory(&mut self) -> Result<(), ManifestError> {
        if self.directory.is_empty() {
            if std::mem::replace(&mut self.closed, true) {
                return Err(ManifestError::LeavesTree { path: PathBytes::new(b"..") });
            }
            return Ok(());
        }
        let end = self.directory.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.directory.truncate(end);
        Ok(())
    }

    /// An entry with a slash is a path from the root; one without belongs to the current directory.
    fn entry_path(&mut self, name: &[u8]) -> Result<Vec<u8>, ManifestError> {
        self.closed = false;
        if name.contains(&b'/') {
            return Ok(normal(name)?);
        }
        if name == b"." {
            return Ok(self.directory.clone());
        }
        let mut path = self.directory.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        // Catches NUL bytes and, when it was escaped, `..`.
        Ok(normal(&path)?)
    }

    fn add(&mut self, path: Vec<u8>, keywords: &Keywords) -> Result<(), ManifestError> {
        let existing = lookup(self.draft, &path);
        let earlier = existing.map(|inode| self.draft.inodes[inode as usize]);
        let with_contents = self.earlier_contents(keywords, earlier.as_ref());
        let keywords = with_contents.as_ref().unwrap_or(keywords);
        let found = self.stat(&path, keywords);
        let shown = || PathBytes::new(&path);
        let kind = match self.kind(keywords, earlier.as_ref(), found.as_ref().ok()) {
            EntryType::Node(kind) => kind,
            EntryType::Socket => {
                self.draft.warnings.push(Warning::Socket { path: shown() });
                return Ok(());
            }
        };
        if (keywords.contents.is_some() && kind != Kind::File) || (keywords.link.is_some() && kind != Kind::Symlink) {
            return Err(ManifestError::Contradiction { path: shown() });
        }
        // Entries that follow go below a directory, or beside anything else.
        let parent = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.directory = if kind == Kind::Directory { path.clone() } else { path[..parent].to_vec() };
        let missing = matches!(found, Err(Errno::NOENT | Errno::NOTDIR));
        let excluded = is_excluded(&self.options.exclude, &path);
        if excluded || (keywords.optional && missing && kind == Kind::File) {
            return Ok(());
        }
        let earlier = earlier.filter(|earlier| earlier.kind() == kind);
        let data = match kind {
            Kind::File => {
                return self.add_file(&path, keywords, earlier, existing, found);
            }
            Kind::Directory => Data::Directory { first: 0, count: 0 },
            Kind::Symlink => match (&keywords.link, earlier) {
                (Some(link), _) => self.draft.add_target(link, &path)?,
                (None, Some(earlier)) => earlier.data,
                (None, None) => {
                    return Err(ManifestError::Missing { path: shown(), keyword: "link" });
                }
            },
            Kind::CharDevice | Kind::BlockDevice => match (keywords.device, earlier) {
                (Some((major, minor)), _) => Data::Device { block: kind == Kind::BlockDevice, major, minor },
                (None, Some(earlier)) => earlier.data,
                (None, None) => {
                    return Err(ManifestError::Missing { path: shown(), keyword: "device" });
                }
            },
            Kind::Fifo => Data::Fifo,
        };
        // What lies below the root says something about the entry only if it is of the same type.
        let found = found.ok().filter(|stat| same_type(kind, host::file_type(stat)));
        let inode = self.inode(keywords, data, earlier.as_ref(), found.as_ref());
        self.put(&path, inode, existing)?;
        Ok(())
    }

    fn add_file(
        &mut self,
        path: &[u8],
        keywords: &Keywords,
        earlier: Option<Inode>,
        existing: Option<u32>,
        found: Result<Stat, Errno>,
    ) -> Result<(), ManifestError> {
        let shown = || PathBytes::new(path);
        let file = || self.root.join_or_absolute(keywords.contents.as_deref().unwrap_or(path));
        let mut problem = None;
        match &found {
            Err(error) => {
                problem = Some(ManifestError::NoFile { path: shown(), file: file(), source: (*error).into() });
            }
            Ok(stat) if !host::is_file(stat) => {
                problem = Some(ManifestError::NotRegular { path: shown(), file: file() });
            }
            Ok(stat) => {
                if let Some(stated) = keywords.size.filter(|&size| size != host::size(stat)) {
                    problem = Some(ManifestError::Size { path: shown(), stated, found: host::size(stat) });
                }
            }
        }
        let stat = found.ok().filter(host::is_file);
        let identity = stat.as_ref().filter(|stat| host::links(stat) > 1).map(host::identity);
        // One of several names must not be taken for the others' place: theirs may be elsewhere.
        let named = keywords.contents.as_deref().or(identity.map(|_| path));
        let mtime = stat.as_ref().map_or(Timestamp::default(), host::mtime);
        let data =
            Data::File { size: stat.as_ref().map_or(0, host::size), place: self.draft.places.add_file(named, mtime)? };
        let inode = self.inode(keywords, data, earlier.as_ref(), stat.as_ref());

        let number = match identity.and_then(|identity| self.linked.get(&identity).copied()) {
            // Said again of the same name: the last line counts.
            Some(linked) if existing == Some(linked) => {
                self.draft.replace_attributes(linked, inode);
                linked
            }
            // Another name: what the first line said counts.
            Some(linked) => {
                if let Some(existing) = existing {
                    self.problems.remove(&existing);
                }
                match resolve(self.draft, path)? {
                    Target::Root => return Err(Error::RootNotDirectory.into()),
                    Target::Name { parent, name } => self.draft.link(parent, name, linked, path, false)?,
                }
                linked
            }
            None => self.put(path, inode, existing)?,
        };
        if let Some(identity) = identity {
            self.linked.insert(identity, number);
        }
        match problem {
            Some(problem) => self.problems.insert(number, (self.line, problem)),
            None => self.problems.remove(&number),
        };
        Ok(())
    }

    fn put(&mut self, path: &[u8], inode: Inode, existing: Option<u32>) -> Result<u32, ManifestError> {
        if let Some(existing) = existing {
            self.problems.remove(&existing);
        }
        match resolve(self.draft, path)? {
            Target::Root => {
                self.draft.set_root(inode)?;
                Ok(crate::draft::ROOT)
            }
            Target::Name { parent, name } => Ok(self.draft.put(parent, name, inode, path, false)?.inode),
        }
    }

    fn inode(&self, keywords: &Keywords, data: Data, earlier: Option<&Inode>, found: Option<&Stat>) -> Inode {
        let default_mode = if matches!(data, Data::Directory { .. }) { 0o755 } else { 0o644 };
        let mode = found.map_or(default_mode, host::permissions);
        let mut inode = Inode {
            data,
            seconds: 0,
            nanoseconds: 0,
            uid: keywords.uid.or(earlier.map(|earlier| earlier.uid)).unwrap_or(0),
            gid: keywords.gid.or(earlier.map(|earlier| earlier.gid)).unwrap_or(0),
            flags: keywords.flags.or(earlier.map(|earlier| earlier.flags)).unwrap_or(0),
            links: 0,
            mode: keywords.mode.or(earlier.map(|earlier| earlier.mode)).unwrap_or(mode),
            source: self.source,
        };
        let mtime = keywords.mtime.or(earlier.map(Inode::mtime)).or(found.map(host::mtime));
        inode.set_mtime(mtime.unwrap_or_default());
        inode
    }

    /// What lies at the path below the root, or at that of `contents`, where links are followed.
    /// The keywords with the `contents=` of an earlier entry of this manifest, if that had one and they have none.
    fn earlier_contents(&self, keywords: &Keywords, earlier: Option<&Inode>) -> Option<Keywords> {
        let stays_file = matches!(keywords.kind, None | Some(EntryType::Node(Kind::File)));
        let is_own = keywords.contents.is_some() || keywords.link.is_some();
        let earlier = earlier.filter(|earlier| earlier.source == self.source && stays_file && !is_own)?;
        let Data::File { place, .. } = earlier.data else { return None };
        let Place::File { path: Some(path), .. } = self.draft.places.get(place)? else { return None };
        let mut with_contents = keywords.clone();
        with_contents.contents = Some(path.to_vec());
        Some(with_contents)
    }

    fn stat(&self, path: &[u8], keywords: &Keywords) -> Result<Stat, Errno> {
        match &keywords.contents {
            None => self.root.at(path, |base, rest| rustix::fs::statat(base, rest, AtFlags::SYMLINK_NOFOLLOW)),
            Some(contents) if contents.starts_with(b"/") => rustix::fs::stat(&contents[..]),
            Some(contents) => self.root.at(contents, |base, rest| rustix::fs::statat(base, rest, AtFlags::empty())),
        }
    }

    fn kind(&self, keywords: &Keywords, earlier: Option<&Inode>, found: Option<&Stat>) -> EntryType {
        if let Some(kind) = keywords.kind {
            return kind;
        }
        if keywords.contents.is_some() {
            return EntryType::Node(Kind::File);
        }
        if keywords.link.is_some() {
            return EntryType::Node(Kind::Symlink);
        }
        if let Some(earlier) = earlier {
            return EntryType::Node(earlier.kind());
        }
        EntryType::Node(match found.map(host::file_type) {
            Some(FileType::RegularFile) => Kind::File,
            Some(FileType::Symlink) => Kind::Symlink,
            Some(FileType::CharacterDevice) => Kind::CharDevice,
            Some(FileType::BlockDevice) => Kind::BlockDevice,
            Some(FileType::Fifo) => Kind::Fifo,
            _ => Kind::Directory,
        })
    }
}

fn same_type(kind: Kind, found: FileType) -> bool {
    matches!(
        (kind, found),
        (Kind::File, FileType::RegularFile)
            | (Kind::Directory, FileType::Directory)
            | (Kind::Symlink, FileType::Symlink)
            | (Kind::CharDevice, FileType::CharacterDevice)
            | (Kind::BlockDevice, FileType::BlockDevice)
            | (Kind::Fifo, FileType::Fifo)
    )
}
