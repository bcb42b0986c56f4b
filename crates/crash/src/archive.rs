//! Archives in which FreeBSD is distributed: `kernel.txz` has `boot/kernel`, `kernel-dbg.txz` `usr/lib/debug/boot/kernel`.
//! Packages of pkg(8) are of the same kind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use symbols::ObjectFile;

use crate::cache::Cache;
use crate::error::{Error, Result};

/// Memory that decompression may take: the most that `xz -9` asks for, and room.
const XZ_MEMORY: u64 = 256 << 20;
/// Bytes of one file that is read, and of all.
const MOST: u64 = 2 << 30;
/// A header and the unit in which files lie (POSIX.1-1988, ustar).
const BLOCK: usize = 512;
/// Bytes of a long name, and of other notes about a file.
const NOTE: u64 = 1 << 20;

/// The names of archives that a file may be, beside a dump or below a system's root.
pub(crate) const KERNEL: [&str; 2] = ["kernel.txz", "kernel.tar.xz"];
/// The same of those with debug files.
pub(crate) const DEBUG: [&str; 3] = ["kernel-dbg.txz", "kernel-dbg.tar.xz", "kernel_dbg.txz"];

/// Whether a file is named like an archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let ends = [".txz", ".tar.xz", ".tar", ".tzst", ".tar.zst", ".pkg"];
    path.is_file() && ends.iter().any(|end| name.ends_with(end))
}

/// An archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    /// Where its files are kept unpacked.
    pub(crate) cache: Option<Cache>,
}

impl Archive {
    /// The files of these names in the folders of kernels and their debug files, by name. Those that are not there, or
    /// are not ELF, are left out.
    pub(crate) fn files(&self, names: &[String]) -> Result<BTreeMap<String, ObjectFile>> {
        let mut found = BTreeMap::new();
        for name in names {
            let kept = self.cache.as_ref().and_then(|cache| cache.get(&self.path, name));
            found.extend(kept.and_then(|file| self.object(name, file)).map(|file| (name.clone(), file)));
        }
        let missing: Vec<String> = names.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
        if missing.is_empty() {
            return Ok(found);
        }
        for (name, bytes) in self.unpack(&missing)? {
            let kept = self.cache.as_ref().and_then(|cache| cache.put(&self.path, &name, &bytes));
            let file = match kept {
                Some(file) => self.object(&name, file),
                None => ObjectFile::from_bytes(&self.place(&name), bytes).ok(),
            };
            found.extend(file.map(|file| (name, file)));
        }
        Ok(found)
    }

    fn object(&self, name: &str, file: File) -> Option<ObjectFile> {
        ObjectFile::from_file(Path::new(&self.place(name)), file).ok()
    }

    /// A file of the archive, for messages.
    fn place(&self, name: &str) -> String {
        let folder = if name.ends_with(".debug") { "usr/lib/debug/boot/kernel" } else { "boot/kernel" };
        format!("{}:{folder}/{name}", self.path.display())
    }

    fn unpack(&self, names: &[String]) -> Result<BTreeMap<String, Vec<u8>>> {
        let failed = |error: io::Error| Error::absent(format!("{} cannot be read: {error}", self.path.display()));
        let mut found = BTreeMap::new();
        let mut reader = self.open().map_err(failed)?;
        let mut left = MOST;
        while found.len() < names.len() {
            let Some((path, size)) = next(&mut reader).map_err(failed)? else { break };
            let name = names.iter().find(|name| is_kernels(&path, name) && !found.contains_key(*name));
            let padded = size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX);
            let Some(name) = name.filter(|_| size <= left) else {
                skip(&mut reader, padded).map_err(failed)?;
                continue;
            };
            left -= size;
            let mut bytes = Vec::new();
            let read = (&mut reader).take(size).read_to_end(&mut bytes).map_err(failed)?;
            if read as u64 != size {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            skip(&mut reader, padded - size).map_err(failed)?;
            found.insert(name.clone(), bytes);
        }
        Ok(found)
    }

    fn open(&self) -> io::Result<Box<dyn Read>> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let start = file.fill_buf()?;
        Ok(if start.starts_with(b"\xfd7zXZ\0") {
            let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, decoder))
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Box::new(zstd::Decoder::with_buffer(file)?)
        } else {
            Box::new(file)
        })
    }
}

/// Whether a path of an archive is that of a kernel's file: `./boot/kernel/kernel`, `/usr/lib/debug/boot/kernel/if_em.ko.debug`.
/// Kernels of packages lie in folders such as `boot/kernel.GENERIC`.
fn is_kernels(path: &str, name: &str) -> bool {
    let mut parts = path.rsplit('/');
    let own = parts.next() == Some(name);
    let folder = parts.next().is_some_and(|folder| folder.starts_with("kernel") || folder == "modules");
    own && folder && parts.next() == Some("boot")
}

/// The next regular file: its path and size. What is no file has a size of 0, or is passed over.
fn next(reader: &mut dyn Read) -> io::Result<Option<(String, u64)>> {
    let mut long: Option<String> = None;
    loop {
        let mut header = [0; BLOCK];
        if let Err(error) = reader.read_exact(&mut header) {
            // Archives may end without their two empty blocks.
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        if header.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        if header.get(257..262) != Some(b"ustar") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no tar archive"));
        }
        let size = number(header.get(124..136).unwrap_or_default())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a file of it has no size"))?;
        match header.get(156) {
            // Notes about the next file, its long name perhaps.
            Some(b'x' | b'L') if size <= NOTE => {
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                reader.read_exact(&mut bytes)?;
                skip(reader, size.next_multiple_of(BLOCK as u64) - size)?;
                long = if header.get(156) == Some(&b'L') { Some(text(&bytes)) } else { path_of(&bytes).or(long) };
            }
            Some(b'0' | b'\0' | b'7') => {
                let name = text(header.get(..100).unwrap_or_default());
                let prefix = text(header.get(345..500).unwrap_or_default());
                let own = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                return Ok(Some((long.take().unwrap_or(own), size)));
            }
            _ => {
                long = None;
                skip(reader, size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX))?;
            }
        }
    }
}

fn skip(reader: &mut dyn Read, size: u64) -> io::Result<()> {
    io::copy(&mut reader.take(size), &mut io::sink()).map(drop)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Octal digits.
fn number(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(text(field).trim(), 8).ok()
}

/// `path` of an extended header (POSIX.1-2001, pax): lines of a length and `keyword=value`.
fn path_of(bytes: &[u8]) -> Option<String> {
    let lines = String::from_utf8_lossy(bytes).into_owned();
    lines.lines().find_map(|line| Some(line.split_once(" path=")?.1.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, content) in files {
            let mut header = [0; BLOCK];
            header[..path.len()].copy_from_slice(path.as_bytes());
            header[124..136].copy_from_slice(format!("{:011o} ", content.len()).as_bytes());
            header[156] = b'0';
            header[257..262].copy_from_slice(b"ustar");
            bytes.extend(header);
            bytes.extend(*content);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes
    }

    #[test]
    fn files_of_a_kernel_are_found_in_an_archive_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel.tar");
        let files: [(&str, &[u8]); 4] = [
            ("./etc/kernel", b"another"),
            ("./boot/kernel/kernel", b"the kernel"),
            ("./boot/kernel/zfs.ko", &[7; 1000]),
            ("./boot/kernel/if_em.ko", b"not asked for"),
        ];
        std::fs::write(&path, tar(&files)).unwrap();
        assert!(is_archive(&path));
        let names = ["kernel", "zfs.ko", "none.ko"].map(str::to_owned);
        let archive = Archive { path: path.clone(), cache: None };
        let found = archive.unpack(&names).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found["kernel"], b"the kernel");
        assert_eq!(found["zfs.ko"], [7; 1000]);
        std::fs::write(&path, b"no archive at all").unwrap();
        assert_eq!(archive.unpack(&names).unwrap().len(), 0);
        std::fs::write(&path, [b'x'; 2 * BLOCK]).unwrap();
        assert!(archive.unpack(&names).unwrap_err().to_string().contains("no tar archive"));
    }

    proptest::proptest! {
        #[test]
        fn damaged_archives_are_errors_or_have_no_files(
            mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2048),
        ) {
            if let Some(magic) = bytes.get_mut(257..262) {
                magic.copy_from_slice(b"ustar");
            }
            let mut reader: &[u8] = &bytes;
            while let Ok(Some((_, size))) = next(&mut reader) {
                let _ = skip(&mut reader, size);
            }
        }
    }
}
