//! Files out of archives, kept unpacked in a folder: unpacking a release's takes seconds.
//!
//! A file is kept under a name that is made of what tells its archive (path, size, device and number, time of change) and
//! of its own name in it: another archive in the same place has other names. It appears when it is whole. Of a folder that
//! has become too large the oldest go. Whatever goes wrong here only costs the time.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes of all files that are kept: some kernels of releases, with their debug files.
const MOST: u64 = 2 << 30;
/// The end of their names; nothing else in the folder is touched.
const END: &str = ".elf";

/// A folder for such files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cache(pub(crate) PathBuf);

impl Cache {
    /// The file `name` of an archive, if it is here.
    pub(crate) fn get(&self, archive: &Path, name: &str) -> Option<File> {
        File::open(self.place(archive, name)?).ok()
    }

    /// Keeps the file `name` of an archive.
    pub(crate) fn put(&self, archive: &Path, name: &str, bytes: &[u8]) -> Option<File> {
        let place = self.place(archive, name)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).ok()?;
        self.make_room(bytes.len() as u64)?;
        // What a process that was killed leaves behind goes with the oldest.
        let mut file = tempfile::Builder::new().prefix("new-").suffix(END).tempfile_in(&self.0).ok()?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_data()).ok()?;
        file.persist(place).ok()
    }

    fn place(&self, archive: &Path, name: &str) -> Option<PathBuf> {
        let path = archive.canonicalize().ok()?;
        let about = path.metadata().ok()?;
        let mut hash = Sha256::new();
        for number in [about.size(), about.dev(), about.ino(), about.mtime() as u64, about.mtime_nsec() as u64] {
            hash.update(number.to_le_bytes());
        }
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(name);
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.0.join(name + END))
    }

    /// Removes the oldest files until so many bytes have room; `None` if they have none at all.
    fn make_room(&self, bytes: u64) -> Option<()> {
        let room = MOST.checked_sub(bytes)?;
        let entries = fs::read_dir(&self.0).ok()?.flatten();
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(END));
        let mut known: Vec<(i64, u64, PathBuf)> = ours
            .filter_map(|entry| {
                let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((about.mtime(), about.size(), entry.path()))
            })
            .collect();
        known.sort();
        let mut total: u64 = known.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in known {
            if total <= room {
                break;
            }
            fs::remove_file(path).ok()?;
            total -= size;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_file_is_found_again_until_its_archive_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("kernel.txz");
        fs::write(&archive, "one").unwrap();
        let cache = Cache(folder.path().join("cache/tine"));
        assert!(cache.get(&archive, "kernel").is_none());
        assert!(cache.put(&archive, "kernel", b"unpacked").is_some());
        let mut text = String::new();
        cache.get(&archive, "kernel").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "unpacked");
        assert!(cache.get(&archive, "zfs.ko").is_none());
        fs::write(&archive, "another").unwrap();
        assert!(cache.get(&archive, "kernel").is_none());
    }

    #[test]
    fn the_oldest_files_make_room_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("kernel.txz");
        fs::write(&archive, "one").unwrap();
        let cache = Cache(folder.path().join("cache"));
        cache.put(&archive, "old", b"1").unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        cache.put(&archive, "young", b"2").unwrap();
        fs::write(cache.0.join("notes"), "not ours").unwrap();
        assert!(cache.make_room(MOST - 1).is_some());
        assert!(cache.get(&archive, "old").is_none());
        assert!(cache.get(&archive, "young").is_some());
        assert!(cache.make_room(MOST).is_some());
        assert!(cache.get(&archive, "young").is_none());
        assert!(cache.0.join("notes").exists());
        assert!(cache.make_room(MOST + 1).is_none());
    }
}
