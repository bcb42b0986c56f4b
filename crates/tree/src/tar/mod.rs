//! The archive source: tar in all its dialects.
//!
//! Owners are taken by number; names of owners are not looked at. Times other than the modification time, and
//! keywords that no tree can hold, are passed over.

mod acl_text;
mod error;
mod header;
mod input;
mod pax;
mod sparse;

use std::collections::HashMap;

use crate::draft::{Data, Draft, Inode};
use crate::error::{Error, PathBytes, Warning};
use crate::flags;
use crate::ids::Ids;
use crate::node::{Namespace, Xattr};
use crate::options::Options;
use crate::path::{Target, is_excluded, normal, resolve};
use crate::source::Source;
use crate::xattr;
pub use error::ArchiveError;
use header::{BLOCK, Header};
pub(crate) use input::Input;
use pax::Extended;
use sparse::{MapInData, OldSparse, SparseMap};

/// Names and extended headers are held in memory; no sensible one is larger.
const HEADER_LIMIT: u64 = 16 << 20;

/// Adds all entries of an archive.
pub(crate) fn add(draft: &mut Draft, input: Input, options: &Options, ids: &Ids) -> Result<(), Error> {
    let source = draft.begin_source()?;
    let mut reader = Reader { input, draft, options, ids, source, global: Extended::default(), hidden: HashMap::new() };
    reader.run()?;
    let archive = reader.input.finish()?;
    draft.end_source(Source::Archive(archive));
    Ok(())
}

struct Reader<'a> {
    input: Input,
    draft: &'a mut Draft,
    options: &'a Options,
    ids: &'a Ids,
    source: u16,
    /// What global extended headers say about all entries after them.
    global: Extended,
    /// Files that were left out, in case a hard link gives one a name that is not.
    hidden: HashMap<Vec<u8>, u32>,
}

/// What the header blocks of one entry say together.
struct Entry {
    /// Where its first header begins in the archive.
    offset: u64,
    header: Header,
    block: [u8; BLOCK],
    extended: Extended,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(entry) = self.next_entry()? {
            self.add(entry)?;
        }
        Ok(())
    }

    /// Reads headers up to and including that of the next entry; `None` at the end marker.
    fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let offset = self.input.position();
        let mut extended = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            let at = self.input.position();
            let mut block = [0; BLOCK];
            if !self.input.read(&mut block)? {
                return Err(self.input.error(at, ArchiveError::Truncated));
            }
            let Some(mut header) = Header::parse(&block).map_err(|what| self.input.error(at, what))? else {
                return Ok(None);
            };
            match header.kind {
                b'x' | b'X' => {
                    let records = self.read_header_data(header.size)?;
                    extended.own = true;
                    extended.read(&records).map_err(|what| self.input.error(at, what))?;
                }
                b'g' => {
                    let records = self.read_header_data(header.size)?;
                    self.global.read(&records).map_err(|what| self.input.error(at, what))?;
                    extended = self.global.clone();
                }
                b'L' => long_name = Some(until_nul(self.read_header_data(header.size)?)),
                b'K' => long_link = Some(until_nul(self.read_header_data(header.size)?)),
                // A volume label.
                b'V' => {}
                _ => {
                    header.name = extended.path.take().or(long_name).unwrap_or(header.name);
                    header.link = extended.link.take().or(long_link).unwrap_or(header.link);
                    return Ok(Some(Entry { offset, header, block, extended }));
                }
            }
        }
    }

    fn read_header_data(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let at = self.input.position();
        if size > HEADER_LIMIT {
            return Err(self.input.error(at, ArchiveError::HeaderTooLarge { size, limit: HEADER_LIMIT }));
        }
        // Block by block: a size that is a lie must not cost memory.
        let mut data = Vec::new();
        while (data.len() as u64) < size {
            let mut block = [0; BLOCK];
            self.read_block(&mut block)?;
            data.extend_from_slice(&block);
        }
        data.truncate(size as usize);
        Ok(data)
    }

    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), Error> {
        let at = self.input.position();
        if self.input.read(block)? { Ok(()) } else { Err(self.input.error(at, ArchiveError::Truncated)) }
    }

    fn add(&mut self, mut entry: Entry) -> Result<(), Error> {
        let offset = entry.offset;
        let raw = std::mem::take(&mut entry.header.name);
        let path = normal(&raw)?;
        let kind = match entry.header.kind {
            // Before POSIX, a directory was a file whose name ends in a slash.
            b'0' | 0 | b'7' if raw.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            kind => kind,
        };
        let size = entry.extended.size.unwrap_or(entry.header.size);
        if kind == b'1' {
            return self.add_link(entry, &path, size);
        }
        let data = match kind {
            b'0' | b'S' => self.read_content(&entry, size)?,
            b'2' => self.draft.add_target(&entry.header.link, &path)?,
            b'3' | b'4' => {
                let major = entry.extended.major.unwrap_or(entry.header.major);
                let minor = entry.extended.minor.unwrap_or(entry.header.minor);
                Data::Device { block: kind == b'4', major, minor }
            }
            b'5' => Data::Directory { first: 0, count: 0 },
            // GNU tar's incremental archives list the names of a directory.
            b'D' => {
                self.skip_content(size)?;
                Data::Directory { first: 0, count: 0 }
            }
            b'6' => Data::Fifo,
            kind => {
                return Err(self.input.error(offset, ArchiveError::Type { path: PathBytes::new(path), kind }));
            }
        };
        let inode = self.inode(&entry, data, &path)?;
        let number = if is_excluded(&self.options.exclude, &path) {
            if inode.is_directory() {
                return Ok(());
            }
            let number = self.draft.add_inode(inode)?;
            self.hidden.insert(path.clone(), number);
            number
        } else {
            match resolve(self.draft, &path)? {
                Target::Root => {
                    self.draft.set_root(inode)?;
                    crate::draft::ROOT
                }
                Target::Name { parent, name } => self.draft.put(parent, name, inode, &path, false)?.inode,
            }
        };
        self.add_lists(entry, number)
    }

    fn inode(&mut self, entry: &Entry, data: Data, path: &[u8]) -> Result<Inode, Error> {
        let Entry { header, extended, offset, .. } = entry;
        let id = |value: i64, field| {
            u32::try_from(value).map_err(|_| self.input.error(*offset, ArchiveError::Number { field }))
        };
        let uid = id(extended.uid.unwrap_or(header.uid), "uid")?;
        let gid = id(extended.gid.unwrap_or(header.gid), "gid")?;
        let flags = match extended.flags.as_deref().map(|list| flags::parse(list, 0)) {
            None => 0,
            Some(Ok(flags)) => flags,
            Some(Err(name)) => {
                let (path, flag) = (PathBytes::new(path), PathBytes::new(name));
                self.draft.warnings.push(Warning::UnknownFlag { path, flag });
                0
            }
        };
        let mut inode = Inode {
            data,
            seconds: header.mtime,
            nanoseconds: 0,
            uid,
            gid,
            flags,
            links: 0,
            mode: header.mode,
            source: self.source,
        };
        if let Some(mtime) = extended.mtime {
            inode.set_mtime(mtime);
        }
        Ok(inode)
    }

    /// A hard link. In a `pax` archive contents may come with any of a file's names; elsewhere the size of a link
    /// says nothing.
    fn add_link(&mut self, entry: Entry, path: &[u8], size: u64) -> Result<(), Error> {
        let target_path = normal(&entry.header.link)?;
        let data = if entry.extended.own && size > 0 { Some(self.read_content(&entry, size)?) } else { None };
        let known = match self.hidden.get(&target_path) {
            Some(&hidden) => Some(hidden),
            None => crate::path::lookup(self.draft, &target_path),
        };
        let fail = |what| Err(self.input.error(entry.offset, what));
        let (shown, target_shown) = (PathBytes::new(path), PathBytes::new(&target_path));
        let Some(target) = known else {
            return fail(ArchiveError::NoLinkTarget { path: shown, target: target_shown });
        };
        let inode = &mut self.draft.inodes[target as usize];
        if inode.is_directory() {
            return fail(ArchiveError::LinkToDirectory { path: shown, target: target_shown });
        }
        if let (Data::File { .. }, Some(data)) = (inode.data, data) {
            inode.data = data;
            inode.source = self.source;
        }
        self.draft.pin_place(target, &target_path)?;
        if is_excluded(&self.options.exclude, path) {
            self.hidden.insert(path.to_vec(), target);
            return Ok(());
        }
        match resolve(self.draft, path)? {
            Target::Root => Err(Error::RootNotDirectory),
            Target::Name { parent, name } => self.draft.link(parent, name, target, path, false),
        }
    }

    /// Takes in the contents of a regular file.
    fn read_content(&mut self, entry: &Entry, size: u64) -> Result<Data, Error> {
        let offset = entry.offset;
        let mut stored = size;
        let mut map: Option<SparseMap> = None;
        if entry.header.kind == b'S' {
            let mut old = OldSparse::from_header(&entry.block).map_err(|what| self.input.error(offset, what))?;
            while old.extended {
                let mut block = [0; BLOCK];
                self.read_block(&mut block)?;
                old.extend(&block).map_err(|what| self.input.error(offset, what))?;
            }
            map = Some(old.map);
        } else if entry.extended.sparse.map_in_data() {
            let real_size = entry.extended.sparse.real_size.unwrap_or(size);
            let mut map_in_data = MapInData::new(real_size);
            while !map_in_data.complete() {
                let mut block = [0; BLOCK];
                self.read_block(&mut block)?;
                map_in_data.read(&block).map_err(|what| self.input.error(offset, what))?;
                let Some(left) = stored.checked_sub(BLOCK as u64) else {
                    let why = "it is longer than what is stored";
                    return Err(self.input.error(offset, ArchiveError::Sparse { why }));
                };
                stored = left;
            }
            map = Some(map_in_data.map);
        } else if let Some(found) = entry.extended.sparse.map().map_err(|what| self.input.error(offset, what))? {
            map = Some(found);
        }
        if let Some(map) = &map {
            map.check(stored).map_err(|what| self.input.error(offset, what))?;
        }
        let at = self.input.keep(stored)?;
        self.input.skip(padding(stored))?;
        let size = map.as_ref().map_or(size, |map| map.size);
        let place = self.draft.places.add_archived(at, map.map(|map| map.extents))?;
        Ok(Data::File { size, place })
    }

    fn skip_content(&mut self, size: u64) -> Result<(), Error> {
        self.input.skip(size)?;
        self.input.skip(padding(size))
    }

    /// Adds extended attributes and ACLs.
    fn add_lists(&mut self, mut entry: Entry, inode: u32) -> Result<(), Error> {
        let offset = entry.offset;
        let mut xattrs = entry.extended.take_xattrs();
        let posix = [
            ("posix_acl_access", entry.extended.access_acl.take()),
            ("posix_acl_default", entry.extended.default_acl.take()),
        ];
        for (name, text) in posix {
            let Some(text) = text else { continue };
            let value = acl_text::posix(&text, self.ids).map_err(|what| self.input.error(offset, what))?;
            xattrs.push(Xattr { namespace: Namespace::PosixAcl, name: name.as_bytes().into(), value: value.into() });
        }
        if !xattrs.is_empty() {
            self.draft.xattrs.insert(inode, xattr::sorted(xattrs));
        }
        if let Some(text) = &entry.extended.nfs4_acl {
            let acl = acl_text::nfs4(text, self.ids).map_err(|what| self.input.error(offset, what))?;
            self.draft.acls.insert(inode, acl.into());
        }
        Ok(())
    }
}

/// Bytes that fill up the last block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}
