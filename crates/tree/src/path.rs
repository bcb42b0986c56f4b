//! Paths from the root of a tree.

use crate::draft::{Draft, Inode, ROOT};
use crate::error::{Error, PathBytes};
use crate::glob::Pattern;

/// A path without leading, doubled and trailing slashes and without `.`; empty for the root.
///
/// # Errors
///
/// A `..` or a NUL byte.
pub(crate) fn normal(path: &[u8]) -> Result<Vec<u8>, Error> {
    if path.contains(&0) {
        return Err(Error::InvalidName { path: PathBytes::new(path) });
    }
    let mut normal = Vec::with_capacity(path.len());
    for name in components(path) {
        if name == b".." {
            return Err(Error::LeavesTree { path: PathBytes::new(path) });
        }
        if !normal.is_empty() {
            normal.push(b'/');
        }
        normal.extend_from_slice(name);
    }
    Ok(normal)
}

/// Where a node goes.
pub(crate) enum Target<'p> {
    Root,
    Name { parent: u32, name: &'p [u8] },
}

/// Finds the directory that a normal path's last name belongs to, and makes the directories that no entry has
/// described yet.
pub(crate) fn resolve<'p>(draft: &mut Draft, path: &'p [u8]) -> Result<Target<'p>, Error> {
    let mut parent = ROOT;
    let mut begin = 0;
    while let Some(slash) = path[begin..].iter().position(|&byte| byte == b'/') {
        let (name, upto) = (&path[begin..begin + slash], &path[..begin + slash]);
        parent = match draft.lookup(parent, name) {
            Some(inode) if draft.inodes[inode as usize].is_directory() => inode,
            Some(_) => {
                return Err(Error::NotDirectory { path: PathBytes::new(path), parent: PathBytes::new(upto) });
            }
            None => draft.put(parent, name, Inode::default_directory(), upto, true)?.inode,
        };
        begin += slash + 1;
    }
    if path.is_empty() { Ok(Target::Root) } else { Ok(Target::Name { parent, name: &path[begin..] }) }
}

/// The inode at a normal path.
pub(crate) fn lookup(draft: &mut Draft, path: &[u8]) -> Option<u32> {
    let mut at = ROOT;
    for name in components(path) {
        at = draft.lookup(at, name)?;
    }
    Some(at)
}

/// Whether a normal path or a directory above it matches a pattern.
pub(crate) fn is_excluded(patterns: &[Pattern], path: &[u8]) -> bool {
    if patterns.is_empty() || path.is_empty() {
        return false;
    }
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().any(|end| patterns.iter().any(|pattern| pattern.matches(&path[..end])))
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_dots_do_not_matter() {
        for path in ["a/b", "/a/b", "./a/b", "a//b/", "./a/./b/."] {
            assert_eq!(normal(path.as_bytes()).unwrap(), b"a/b", "{path}");
        }
        assert_eq!(normal(b"./").unwrap(), b"");
    }

    #[test]
    fn two_dots_leave_the_tree() {
        assert!(matches!(normal(b"a/../b"), Err(Error::LeavesTree { .. })));
        assert!(matches!(normal(b".."), Err(Error::LeavesTree { .. })));
        assert!(normal(b"a..b").is_ok());
    }

    #[test]
    fn what_lies_below_an_excluded_directory_is_excluded() {
        let patterns = [Pattern::parse(b"obj").unwrap()];
        assert!(is_excluded(&patterns, b"usr/obj/a/b"));
        assert!(is_excluded(&patterns, b"obj"));
        assert!(!is_excluded(&patterns, b"usr/objects"));
    }
}
