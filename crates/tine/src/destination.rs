//! Results that appear under their names only when they are whole.
//!
//! On Linux the file has no name until then, so that whatever ends the program
//! leaves nothing behind. Elsewhere it has a temporary name, which is removed when
//! the work fails or a signal ends it.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use disk::image::Target;
use disk::{InOrder, WriteAt};

use crate::failure::Failure;

/// Where a result is to be.
#[derive(Debug)]
pub(crate) struct Destination {
    /// As it was given.
    given: PathBuf,
    /// Where it leads to.
    path: PathBuf,
    replace: bool,
    stdout: bool,
}

/// A result that is being written.
pub(crate) struct Unfinished {
    destination: Destination,
    folder: PathBuf,
    draft: Draft,
}

enum Draft {
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Named(named::Named),
    Stdout(InOrder<io::Stdout>),
}

impl Destination {
    /// A result at `path`, in the place of what is there if `replace`.
    ///
    /// # Errors
    /// If something is there that must not be or cannot be replaced.
    pub(crate) fn new(path: &Path, replace: bool) -> Result<Destination, Failure> {
        let shown = path.display();
        if path.as_os_str() == "-" {
            return Err(Failure::Usage(
                "an image cannot be written to standard output, as its parts are not written in order: give a file"
                    .to_owned(),
            ));
        }
        let given = path.to_owned();
        let path = match path.metadata() {
            Ok(metadata) if !metadata.is_file() => {
                let what = if metadata.is_dir() { "a directory" } else { "not a regular file" };
                return Err(Failure::Work(format!("{shown} is {what}: write the image to a file")));
            }
            Ok(_) if !replace => {
                return Err(Failure::Work(format!("{shown} exists: --force replaces it")));
            }
            // What a symbolic link leads to is replaced, not the link.
            Ok(_) => path.canonicalize().map_err(|error| Failure::work(shown, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(Failure::work(format_args!("cannot write {shown}"), error)),
        };
        if path.file_name().is_none() {
            return Err(Failure::Usage(format!("{} is no name for a file", path.display())));
        }
        Ok(Destination { given, path, replace, stdout: false })
    }

    /// The image of a disk at `path`, as [`Destination::new`] has it. `-` is standard output, for formats that are written
    /// in order.
    ///
    /// # Errors
    /// As [`Destination::new`], and if the format is not one of those.
    pub(crate) fn of_disk(path: &Path, replace: bool, target: Target) -> Result<Destination, Failure> {
        if path.as_os_str() != "-" {
            return Self::new(path, replace);
        }
        if !target.is_in_order() {
            let names: Vec<_> =
                Target::ALL.into_iter().filter(|target| target.is_in_order()).map(Target::name).collect();
            return Err(Failure::Usage(format!(
                "{target} cannot be written to standard output, as its tables come before what they are about: give a \
                 file, or one of the formats {}",
                names.join(", ")
            )));
        }
        if io::stdout().is_terminal() {
            let what = "an image is not for a terminal: write it to a file, or send it to another program";
            return Err(Failure::Usage(what.to_owned()));
        }
        Ok(Destination { given: path.to_owned(), path: path.to_owned(), replace, stdout: true })
    }

    /// Begins to write.
    ///
    /// # Errors
    /// If the directory does not exist or cannot be written to.
    pub(crate) fn begin(self) -> Result<Unfinished, Failure> {
        if self.stdout {
            let draft = Draft::Stdout(InOrder::new(io::stdout()));
            return Ok(Unfinished { destination: self, folder: std::env::temp_dir(), draft });
        }
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        match Draft::begin(&folder) {
            Ok(draft) => Ok(Unfinished { destination: self, folder, draft }),
            Err(error) => Err(Failure::work(format_args!("cannot write to the directory {}", folder.display()), error)),
        }
    }
}

impl Unfinished {
    /// The file, to be written.
    ///
    /// # Errors
    /// If the process has too many open files, or the result goes to standard output.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.draft.file()?.try_clone()
    }

    /// Whether the result goes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        self.destination.stdout
    }

    /// A folder for what is needed on the way.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that were written.
    ///
    /// # Errors
    /// If the system cannot say.
    pub(crate) fn size(&self) -> io::Result<u64> {
        match &self.draft {
            Draft::Stdout(out) => Ok(out.written()),
            draft => Ok(draft.file()?.metadata()?.len()),
        }
    }

    /// The final name, as it was given.
    pub(crate) fn given_path(&self) -> &Path {
        &self.destination.given
    }

    /// Writes everything to the disk, and then gives the file its name.
    ///
    /// # Errors
    /// If the disk is full, or something has got the name in the meantime.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Unfinished { destination: Destination { given, path, replace, .. }, folder, draft } = self;
        if let Draft::Stdout(out) = draft {
            return out.flush().map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::Closed,
                _ => Failure::work("cannot write to standard output", error),
            });
        }
        let done = draft.file().and_then(File::sync_all).and_then(|()| draft.name(&path, replace));
        match done.and_then(|()| File::open(&folder)?.sync_all()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::Work(format!("{} has appeared in the meantime: it was left as it is", given.display())))
            }
            Err(error) => Err(Failure::work(format_args!("{}: finishing the image failed", given.display()), error)),
        }
    }
}

impl WriteAt for Unfinished {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.draft {
            Draft::Stdout(out) => out.write_all_at(bytes, offset),
            draft => WriteAt::write_all_at(draft.file()?, bytes, offset),
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        match &self.draft {
            Draft::Stdout(out) => out.set_size(size),
            draft => WriteAt::set_size(draft.file()?, size),
        }
    }
}

impl Draft {
    #[cfg(target_os = "linux")]
    fn begin(folder: &Path) -> io::Result<Draft> {
        use rustix::fs::{CWD, Mode, OFlags, openat};
        use rustix::io::Errno;
        match openat(CWD, folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Draft::Unnamed(File::from(file))),
            // The file system, or an old kernel, has no such files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => named::Named::begin(folder).map(Draft::Named),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn begin(folder: &Path) -> io::Result<Draft> {
        named::Named::begin(folder).map(Draft::Named)
    }

    fn file(&self) -> io::Result<&File> {
        match self {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => Ok(file),
            Draft::Named(named) => Ok(named.file()),
            Draft::Stdout(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }

    fn name(self, path: &Path, replace: bool) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Draft::Unnamed(file) => link(&file, path, replace),
            Draft::Named(named) => named.finish(path, replace),
            Draft::Stdout(_) => Ok(()),
        }
    }
}

/// Gives a file without a name one.
#[cfg(target_os = "linux")]
fn link(file: &File, path: &Path, replace: bool) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |name: &Path| linkat(CWD, unnamed.as_str(), CWD, name, AtFlags::SYMLINK_FOLLOW);
    if !replace || !path.exists() {
        return Ok(link(path)?);
    }
    // A link cannot take the place of a file, but a name can.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let beside = path.with_file_name(name);
    link(&beside)?;
    std::fs::rename(&beside, path).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}

/// Files with a temporary name.
mod named {
    use std::fs::{File, Permissions};
    use std::io;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::thread;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::{Handle, Signals};
    use tempfile::NamedTempFile;

    pub(super) struct Named {
        file: NamedTempFile,
        watch: Handle,
    }

    impl Named {
        pub(super) fn begin(folder: &Path) -> io::Result<Named> {
            let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
            let watch = signals.handle();
            // The mode of any new file; the process's mask is applied to it.
            let mode = Permissions::from_mode(0o666);
            let file = tempfile::Builder::new().prefix(".tine-").permissions(mode).tempfile_in(folder)?;
            let path = file.path().to_owned();
            thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    // The process ends, whether or not there was something to remove.
                    let _ = std::fs::remove_file(&path);
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            });
            Ok(Named { file, watch })
        }

        pub(super) fn file(&self) -> &File {
            self.file.as_file()
        }

        pub(super) fn finish(self, path: &Path, replace: bool) -> io::Result<()> {
            let done = if replace { self.file.persist(path) } else { self.file.persist_noclobber(path) };
            self.watch.close();
            done.map(drop).map_err(|failed| failed.error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("the directory can be read");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("it has entries").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_has_the_name_before_the_end() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("out");
        let begin = || Destination::new(&path, false).and_then(Destination::begin).expect("it can be written");
        drop(begin());
        assert!(names(folder.path()).is_empty());

        let unfinished = begin();
        unfinished.file().and_then(|mut file| file.write_all(b"all")).expect("it can be written");
        assert!(!path.exists());
        unfinished.finish().expect("the name is free");
        assert_eq!(fs::read(&path).expect("it is there"), b"all");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn what_is_there_is_replaced_only_on_demand() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("out");
        fs::write(&path, "old").expect("it can be written");
        assert!(Destination::new(&path, false).is_err());
        let unfinished = Destination::new(&path, true).and_then(Destination::begin).expect("it may be replaced");
        assert_eq!(fs::read(&path).expect("it is there"), b"old");
        unfinished.finish().expect("it may be replaced");
        assert_eq!(fs::read(&path).expect("it is there"), b"");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn a_file_with_a_temporary_name_leaves_no_trace_either() {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let path = folder.path().join("out");
        let named = named::Named::begin(folder.path()).expect("it can be made");
        assert_eq!(names(folder.path()).len(), 1);
        drop(named);
        assert!(names(folder.path()).is_empty());
        named::Named::begin(folder.path()).and_then(|named| named.finish(&path, false)).expect("the name is free");
        let again = named::Named::begin(folder.path()).and_then(|named| named.finish(&path, false));
        assert_eq!(again.map_err(|error| error.kind()), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(names(folder.path()), ["out"]);
    }
}
