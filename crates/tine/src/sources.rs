//! What a SOURCE on the command line is, and the tree that all of them make.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use tree::{Builder, Options, Tree};
use zfs_image::PoolSpec;

use crate::failure::Failure;

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A directory.
    Directory(PathBuf),
    /// An mtree(5) manifest; its files are below `root`.
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What its paths begin from.
        root: PathBuf,
    },
    /// A tar archive.
    Archive(PathBuf),
}

impl Source {
    /// Finds out what is at `path`: a directory; a manifest, by its first bytes or
    /// its name, with its files below `mtree_root` or else beside it; or else an
    /// archive. `-` is an archive on standard input.
    pub(crate) fn recognise(path: &Path, mtree_root: Option<&Path>) -> Result<Source, Failure> {
        let failed = |error: io::Error| Failure::work(format_args!("cannot read {}", path.display()), error);
        if path.as_os_str() == "-" {
            return Ok(Source::Archive(path.to_owned()));
        }
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Ok(Source::Directory(path.to_owned()));
        }
        let mut beginning = Vec::new();
        if metadata.is_file() {
            File::open(path).and_then(|file| file.take(64).read_to_end(&mut beginning)).map_err(failed)?;
        }
        if !is_manifest(path, &beginning) {
            return Ok(Source::Archive(path.to_owned()));
        }
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let root = mtree_root.unwrap_or(beside).to_owned();
        Ok(Source::Manifest { path: path.to_owned(), root })
    }

    fn add(&self, builder: &mut Builder) -> Result<(), tree::Error> {
        match self {
            Source::Directory(path) => builder.add_directory(path),
            Source::Manifest { path, root } => builder.add_mtree(path, root),
            Source::Archive(path) => builder.add_tar(path),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, path, root) = match self {
            Source::Directory(path) => ("directory", path, None),
            Source::Manifest { path, root } => ("mtree", path, Some(root.to_string_lossy())),
            Source::Archive(path) => ("tar", path, None),
        };
        let mut fields = serializer.serialize_struct("Source", 3)?;
        fields.serialize_field("type", kind)?;
        fields.serialize_field("path", &path.to_string_lossy())?;
        match root {
            Some(root) => fields.serialize_field("root", &root)?,
            None => fields.skip_field("root")?,
        }
        fields.end()
    }
}

fn is_manifest(path: &Path, beginning: &[u8]) -> bool {
    // What FreeBSD's build system calls them: METALOG, base.meta, x.mtree.
    let named = path.file_name().is_some_and(|name| name == "METALOG")
        || path.extension().is_some_and(|extension| extension == "mtree" || extension == "meta");
    named || beginning.starts_with(b"#mtree") || beginning.starts_with(b"/set ")
}

/// Merges the sources in order and lets `add` add to them, and makes directories for datasets
/// to be mounted on where there are none.
pub(crate) fn merge(
    sources: &[Source],
    options: Options,
    spec: &PoolSpec,
    add: impl FnOnce(&mut Builder) -> Result<(), Failure>,
) -> Result<Tree, Failure> {
    // First, so that contradictions between datasets are told before much is read.
    let mountpoints = zfs_image::mountpoints(spec)?;
    let mut builder = Builder::new(options)?;
    for source in sources {
        source.add(&mut builder)?;
    }
    add(&mut builder)?;
    for path in mountpoints {
        builder.add_missing_directory(path.as_bytes())?;
    }
    Ok(builder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_known_by_name_or_first_bytes() {
        assert!(is_manifest(Path::new("obj/METALOG"), b"./bin type=dir"));
        assert!(is_manifest(Path::new("list"), b"#mtree 2.0\n"));
        assert!(is_manifest(Path::new("list"), b"/set type=file\n"));
        assert!(is_manifest(Path::new("base.mtree"), b""));
        assert!(!is_manifest(Path::new("base.txz"), b"\xfd7zXZ\0"));
    }

    #[test]
    fn the_files_of_a_manifest_lie_beside_it_unless_said_otherwise() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("METALOG");
        std::fs::write(&path, "#mtree\n").expect("a file can be written");
        let beside = Source::recognise(&path, None).expect("the file is there");
        assert_eq!(beside, Source::Manifest { path: path.clone(), root: folder.path().to_owned() });
        let elsewhere = Source::recognise(&path, Some(Path::new("stage"))).expect("the file is there");
        assert_eq!(elsewhere, Source::Manifest { path, root: PathBuf::from("stage") });
    }
}
