//! Where a dump goes: the path that a client asks for, inside the directory of dumps and nowhere else.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The most directories of a path, and the most bytes.
const DEEPEST: usize = 16;
const LONGEST: usize = 1024;

/// The directory that `requested` leads to from `root`. Directories that are not there are made.
///
/// # Errors
/// Why the path is not honoured: it leads out of `root` or through a symbolic link, or it cannot be made.
pub(super) fn resolve(root: &Path, requested: &[u8]) -> Result<PathBuf, String> {
    if requested.first() == Some(&b'/') {
        return Err("it is absolute".to_owned());
    }
    if requested.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let parts: Vec<_> = requested.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.len() > DEEPEST {
        return Err(format!("it is deeper than {DEEPEST} directories"));
    }
    if parts.iter().any(|part| *part == b"..") {
        return Err("it has \"..\" in it".to_owned());
    }
    if parts.iter().any(|part| part.iter().any(u8::is_ascii_control)) {
        return Err("it has control characters in it".to_owned());
    }
    let mut directory = root.to_owned();
    for part in parts {
        directory.push(OsStr::from_bytes(part));
        match fs::symlink_metadata(&directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => return Err("a symbolic link is in its way".to_owned()),
            Ok(_) => return Err("a file is in its way".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).create(&directory).map_err(|error| error.to_string())?;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(directory)
}

/// Calls `with` for each file below `root`, as deep as a client's path can be; what cannot be read is left out.
pub(super) fn walk(root: &Path, with: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let mut pending = vec![(root.to_owned(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            // Of the link, where it is one.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() && depth < DEEPEST {
                pending.push((entry.path(), depth + 1));
            } else if metadata.is_file() {
                with(&entry.path(), &metadata);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_a_directory_below_and_never_out() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let resolve = |path: &str| resolve(root.path(), path.as_bytes());
        assert_eq!(resolve("lab/one"), Ok(root.path().join("lab/one")));
        assert_eq!(resolve("./lab//one/"), Ok(root.path().join("lab/one")));
        assert_eq!(resolve("."), Ok(root.path().to_owned()));
        let deep = "a/".repeat(17);
        let long = "a".repeat(1025);
        let wrong = ["/etc", "..", "lab/../..", "../x", "link", "link/x", "file", "file/x", "a\nb", &deep, &long];
        for path in wrong {
            assert!(resolve(path).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
