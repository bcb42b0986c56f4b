//! File systems as `zfs_pool` reads them, in the words of `tests/vm/manifest.py`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use sha2::{Digest, Sha256};
use zfs_ondisk::object::ObjectId;
use zfs_pool::fs::{File, FileType};
use zfs_pool::{Error, FileSystem};

/// What is digested at once.
const PIECE: u64 = 4096;

/// Offset and length of the holes of regular files, by path.
pub type Holes = BTreeMap<String, Vec<(u64, u64)>>;

/// A line for every file.
pub fn manifest(fs: &FileSystem) -> Result<Vec<String>, Error> {
    let mut first_names = HashMap::<ObjectId, String>::new();
    let mut lines = Vec::new();
    for (path, file) in walk(fs)? {
        let name = if path.is_empty() { ".".to_owned() } else { quote(&path) };
        let attributes = file.attributes();
        let kind = attributes.file_type();
        let mut first = "-".to_owned();
        if !attributes.is_dir() {
            match first_names.get(&file.object().id()) {
                Some(known) => first.clone_from(known),
                None => _ = first_names.insert(file.object().id(), name.clone()),
            }
        }
        let size = match kind {
            Some(FileType::Symlink) => quote(&file.link_target()?),
            Some(FileType::Fifo) => "-".to_owned(),
            Some(FileType::CharacterDevice | FileType::BlockDevice) => {
                format!("{},{}", attributes.device >> 20, attributes.device & 0xf_ffff)
            }
            _ => attributes.size.to_string(),
        };
        let contents = match kind {
            // The kernel would have said that there is an I/O error.
            Some(FileType::Regular) if first == "-" => digest(&file).unwrap_or_else(|_| "unreadable".to_owned()),
            _ => "-".to_owned(),
        };
        lines.push(format!(
            "{name}\t{}\t{:04o}\t{}:{}\t{}\t{size}\t{}.{:09}\t{contents}\t{first}\t{}",
            kind.map_or("?", word),
            attributes.mode & 0o7777,
            attributes.uid,
            attributes.gid,
            attributes.links,
            attributes.modified.seconds,
            attributes.modified.nanoseconds,
            xattrs(&file)?
        ));
    }
    Ok(lines)
}

/// The holes, as far as the kernel tells them: of a file of one block whose size is no
/// power of two OpenZFS finds data everywhere.
pub fn holes(fs: &FileSystem) -> Result<Holes, Error> {
    let mut holes = Holes::new();
    for (path, file) in walk(fs)? {
        let size = file.attributes().size;
        let dnode = file.object().dnode();
        if file.attributes().file_type() != Some(FileType::Regular) || !dnode.data_block_size().is_power_of_two() {
            continue;
        }
        let mut of_file = Vec::new();
        let mut at = 0;
        for extent in file.extents() {
            let extent = extent?;
            if extent.start > at {
                of_file.push((at, extent.start - at));
            }
            at = extent.end;
        }
        if at < size {
            of_file.push((at, size - at));
        }
        holes.insert(quote(&path), of_file);
    }
    Ok(holes)
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Every file but sockets: a directory, then what is in it by name. The root's path is empty.
fn walk(fs: &FileSystem) -> Result<Vec<(Vec<u8>, File)>, Error> {
    let mut files = Vec::new();
    let mut pending = vec![(Vec::new(), fs.root()?)];
    while let Some((path, file)) = pending.pop() {
        if file.attributes().is_dir() {
            let mut entries = file.directory()?.entries().collect::<Result<Vec<_>, _>>()?;
            entries.sort_by(|a, b| b.name.cmp(&a.name));
            for entry in entries {
                let between: &[u8] = if path.is_empty() { b"" } else { b"/" };
                pending.push(([&path, between, &entry.name].concat(), fs.file(entry.object)?));
            }
        }
        if file.attributes().file_type() != Some(FileType::Socket) {
            files.push((path, file));
        }
    }
    Ok(files)
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Regular => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "link",
        FileType::CharacterDevice => "char",
        FileType::BlockDevice => "block",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

/// Holes are read, too, as far as `manifest.py --probe` does: a block that a redacted send
/// left out is none.
fn digest(file: &File) -> Result<String, Error> {
    let mut sum = Sha256::new();
    let mut at = 0;
    for extent in file.extents() {
        let extent = extent?;
        probe(file, at, extent.start)?;
        at = at.max(extent.start - extent.start % PIECE);
        while at < extent.end {
            let mut chunk = vec![0; 1 << 20];
            let length = file.read_at(at, &mut chunk)?;
            for piece in chunk[..length].chunks(PIECE as usize) {
                if at < extent.end && piece.iter().any(|&byte| byte != 0) {
                    sum.update(format!("{at}:"));
                    sum.update(piece);
                }
                at += PIECE;
            }
        }
        at = extent.end.next_multiple_of(PIECE);
    }
    probe(file, at, file.attributes().size)?;
    Ok(hexadecimal(&sum.finalize()))
}

/// Reads the first and last MiBs of a hole.
fn probe(file: &File, start: u64, end: u64) -> Result<(), Error> {
    const FAR: u64 = 8 << 20;
    let mut chunk = vec![0; 1 << 20];
    let first = start..end.min(start.saturating_add(FAR));
    let last = first.end.max(end.saturating_sub(FAR))..end;
    for offset in first.step_by(chunk.len()).chain(last.step_by(1 << 20)) {
        let length = (end - offset).min(1 << 20) as usize;
        file.read_at(offset, &mut chunk[..length])?;
        assert!(chunk[..length].iter().all(|&byte| byte == 0), "a hole has contents");
    }
    Ok(())
}

fn xattrs(file: &File) -> Result<String, Error> {
    let mut found = file.xattrs()?;
    if found.is_empty() {
        return Ok("-".to_owned());
    }
    found.sort();
    let shown: Vec<String> =
        found.iter().map(|(name, value)| format!("{}={}", quote(name), hexadecimal(value))).collect();
    Ok(shown.join(" "))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Printable ASCII as it is, everything else as `\xHH`.
fn quote(name: &[u8]) -> String {
    name.iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b'\\' => text.push_str("\\x5c"),
            0x21..=0x7e => text.push(char::from(byte)),
            _ => _ = write!(text, "\\x{byte:02x}"),
        }
        text
    })
}
