//! What a command is to look at: `pool/dataset@snapshot:/path`.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The pool of a command: by its name, or by a file or disk that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PoolRef {
    /// One of those that are found where `-p` says.
    Name(String),
    /// The only one on this device.
    Device(PathBuf),
    /// The only one that is found where `-p` says.
    Only,
}

/// A dataset, snapshot or bookmark, and perhaps a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The pool.
    pub(crate) pool: PoolRef,
    /// What follows the pool's name: empty, `/dataset`, `/dataset@snapshot` or `@snapshot`.
    pub(crate) rest: String,
    /// The path after the colon, if there is one.
    pub(crate) path: Option<Vec<u8>>,
}

impl Target {
    /// Understands an argument. One that names a file, up to a colon or to its end, means the pool in that file, and
    /// what would follow the pool's name follows another colon: `disk.img`, `disk.img:/path`, `disk.img:data@snap:/path`.
    pub(crate) fn parse(text: &OsStr) -> Target {
        Self::parse_with(text, &|path| path.exists())
    }

    /// The full name of the dataset or snapshot in a pool called `pool`, where `exists` knows the datasets that there
    /// are: after an image file, the pool's name may be given or left out.
    pub(crate) fn dataset(&self, pool: &str, exists: impl Fn(&str) -> bool) -> String {
        let name = format!("{pool}{}", self.rest);
        let given = self.rest.strip_prefix('/').filter(|_| matches!(self.pool, PoolRef::Device(_)));
        match given {
            Some(given) if starts_with_pool(given, pool) && !exists(&name) => given.to_owned(),
            _ => name,
        }
    }

    /// The image file or disk, if that and nothing in it is named.
    pub(crate) fn whole_device(&self) -> Option<&Path> {
        match &self.pool {
            PoolRef::Device(path) if self.rest.is_empty() && self.path.is_none() => Some(path),
            _ => None,
        }
    }

    fn parse_with(text: &OsStr, exists: &dyn Fn(&Path) -> bool) -> Target {
        let bytes = text.as_bytes();
        let colons = bytes.iter().enumerate().filter(|&(_, &byte)| byte == b':').map(|(at, _)| at);
        // Only something that looks like a file, lest a folder called like the pool hide it.
        let looks_like_file = |path: &[u8]| path.contains(&b'/') || path.contains(&b'.');
        for end in colons.chain([bytes.len()]) {
            let path = Path::new(OsStr::from_bytes(&bytes[..end]));
            if looks_like_file(&bytes[..end]) && exists(path) && !path.is_dir() {
                return Self::on_device(path, bytes.get(end + 1..));
            }
        }
        let (name, path) = split_path(bytes);
        let name = String::from_utf8_lossy(name).into_owned();
        let end = name.find(['/', '@', '#']).unwrap_or(name.len());
        let (pool, rest) = name.split_at(end);
        Target { pool: PoolRef::Name(pool.to_owned()), rest: rest.to_owned(), path: path.map(<[u8]>::to_vec) }
    }

    fn on_device(device: &Path, after: Option<&[u8]>) -> Target {
        let pool = PoolRef::Device(device.to_owned());
        let (dataset, path) = match after {
            None => (&b""[..], None),
            Some(after) if after.starts_with(b"/") => (&b""[..], Some(after)),
            Some(after) => split_path(after),
        };
        let dataset = String::from_utf8_lossy(dataset);
        let rest = match dataset.chars().next() {
            None | Some('@' | '#') => dataset.into_owned(),
            Some(_) => format!("/{dataset}"),
        };
        Target { pool, rest, path: path.map(<[u8]>::to_vec) }
    }
}

/// Whether a name is that of a pool, or of something in it.
fn starts_with_pool(name: &str, pool: &str) -> bool {
    name.strip_prefix(pool).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@', '#']))
}

/// What is before the first colon, and what is behind it.
fn split_path(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|&byte| byte == b':') {
        Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
        None => (bytes, None),
    }
}

impl fmt::Display for PoolRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolRef::Name(name) => f.write_str(name),
            PoolRef::Device(path) => write!(f, "{}", path.display()),
            PoolRef::Only => f.write_str("(the only one)"),
        }
    }
}

/// For the parser of the command line: every text is a target.
pub(crate) fn target(text: &str) -> Result<Target, Infallible> {
    Ok(Target::parse(OsStr::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, String, Option<String>) {
        let target = Target::parse_with(OsStr::new(text), &|path| path == Path::new("a/z.img"));
        let path = target.path.map(|path| String::from_utf8_lossy(&path).into_owned());
        (target.pool.to_string(), target.rest, path)
    }

    fn parts(pool: &str, rest: &str, path: Option<&str>) -> (String, String, Option<String>) {
        (pool.to_owned(), rest.to_owned(), path.map(str::to_owned))
    }

    #[test]
    fn a_pool_is_named_with_its_datasets_and_paths() {
        assert_eq!(parse("zroot"), parts("zroot", "", None));
        assert_eq!(parse("zroot@s"), parts("zroot", "@s", None));
        assert_eq!(parse("zroot/a/b@s:/etc/a:b"), parts("zroot", "/a/b@s", Some("/etc/a:b")));
    }

    #[test]
    fn a_file_stands_for_the_pool_in_it() {
        assert_eq!(parse("a/z.img"), parts("a/z.img", "", None));
        assert_eq!(parse("a/z.img:/etc"), parts("a/z.img", "", Some("/etc")));
        assert_eq!(parse("a/z.img:ROOT/default@s:/etc"), parts("a/z.img", "/ROOT/default@s", Some("/etc")));
        assert_eq!(parse("a/z.img:@s"), parts("a/z.img", "@s", None));
    }

    #[test]
    fn after_a_file_the_name_of_the_pool_may_be_given_or_left_out() {
        let name = |text: &str, there: &[&str]| {
            let target = Target::parse_with(OsStr::new(text), &|path| path == Path::new("a/z.img"));
            target.dataset("z", |name| there.contains(&name))
        };
        assert_eq!(name("a/z.img:ROOT@s:/etc", &["z", "z/ROOT@s"]), "z/ROOT@s");
        assert_eq!(name("a/z.img:z/ROOT@s:/etc", &["z", "z/ROOT@s"]), "z/ROOT@s");
        assert_eq!(name("a/z.img:z@s:/etc", &["z", "z@s"]), "z@s");
        assert_eq!(name("a/z.img:z:/etc", &["z", "z/z"]), "z/z", "a dataset called like the pool comes first");
        assert_eq!(name("a/z.img:zz", &["z"]), "z/zz");
        assert_eq!(name("z/z", &["z"]), "z/z", "a pool that is named is not named twice");
    }
}
