//! The names of the files that make up a saved dump.
//!
//! savecore(8) numbers the dumps of a directory and calls their files `vmcore.N`, `info.N` and `key.N`; netdumpd(8)
//! numbers those of each host and calls them `vmcore.HOST.N` and so on. To both, encrypted data are `vmcore_encrypted`.
//! What the kernel compressed ends with `.gz` or `.zst`; where it is encrypted as well, netdumpd keeps that and savecore
//! leaves it out. The next number is in the file `bounds` or `bounds.HOST`. Here, a dump of which bytes are missing has one more ending, `.incomplete` or `.partial`, and a file
//! `ranges` that says which bytes are there; `SHA256` has the checksum of the data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most characters of a host's name that a file's name has.
const MAX_HOST: usize = 64;

/// How many numbers in a row are tried.
const MAX_TRIES: u32 = 100_000;

/// What the data of a dump are, which their file's name begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `vmcore`: the memory of a kernel that panicked.
    Core,
    /// `vmcore_encrypted`: the same, encrypted.
    Encrypted,
    /// `livecore`: the memory of a kernel that went on.
    Live,
    /// `textdump.tar`: what the debugger printed.
    Text,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Core, Kind::Encrypted, Kind::Live, Kind::Text];

    fn base(self) -> &'static str {
        match self {
            Kind::Core => "vmcore",
            Kind::Encrypted => "vmcore_encrypted",
            Kind::Live => "livecore",
            Kind::Text => "textdump.tar",
        }
    }
}

/// How much of a dump is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All of it.
    Whole,
    /// It was finished, with holes.
    Incomplete,
    /// It was never finished.
    Partial,
}

impl State {
    /// The ending of the name.
    pub fn suffix(self) -> &'static str {
        match self {
            State::Whole => "",
            State::Incomplete => ".incomplete",
            State::Partial => ".partial",
        }
    }
}

/// The files of one dump: a directory, and what their names end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    directory: PathBuf,
    host: Option<String>,
    number: u32,
}

impl Names {
    /// The files of dump `number` of `host` in `directory`; without a host, as savecore(8) names them. What must not
    /// be in a file's name is replaced in that of the host.
    pub fn new(directory: &Path, host: Option<&str>, number: u32) -> Names {
        Names { directory: directory.to_owned(), host: host.and_then(safe), number }
    }

    /// The files of the dump whose data are in the file `path`, if its name is one of those that [`data`](Names::data)
    /// makes or FreeBSD's own tools give.
    pub fn of(path: &Path) -> Option<Names> {
        let name = path.file_name()?.to_str()?;
        let mut rest = Kind::ALL.iter().rev().find_map(|kind| name.strip_prefix(kind.base())?.strip_prefix('.'))?;
        let endings = [State::Partial.suffix(), State::Incomplete.suffix(), ".gz", ".zst"];
        while let Some(shorter) = endings.iter().find_map(|ending| rest.strip_suffix(ending)) {
            rest = shorter;
        }
        let (host, number) = match rest.rsplit_once('.') {
            Some((host, number)) => (Some(host.to_owned()), number),
            None => (None, rest),
        };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(Names { directory: directory.to_owned(), host, number: number.parse().ok()? })
    }

    /// Takes the next number in `directory`: that in the file `bounds`, or the first after it that is free. An empty
    /// info file is made, so that nobody else gets the same.
    ///
    /// # Errors
    /// If the directory cannot be written to.
    pub fn reserve(directory: &Path, host: Option<&str>) -> io::Result<Names> {
        let mut names = Names::new(directory, host, 0);
        let bounds = names.bounds();
        // A file that is missing or says nothing of use is as good as a new one.
        let first: u32 = fs::read_to_string(&bounds).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let existing = fs::read_dir(directory)?
            .filter_map(|entry| Names::of(&entry.ok()?.path()))
            .filter(|other| other.host == names.host)
            .map(|other| other.number)
            .collect::<std::collections::BTreeSet<u32>>();
        for number in (first..first.saturating_add(MAX_TRIES)).filter(|number| !existing.contains(number)) {
            names.number = number;
            match create_new(&names.info()) {
                Ok(_) => {
                    replace(&bounds, format!("{}\n", number.saturating_add(1)).as_bytes())?;
                    return Ok(names);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("no number is free after {first}, which {} says", bounds.display())))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The host, as it is in the names.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The file with the data, compressed so that its name ends with `suffix`.
    pub fn data(&self, kind: Kind, suffix: &str, state: State) -> PathBuf {
        self.path(kind.base(), &format!("{}{suffix}{}", self.number, state.suffix()))
    }

    /// The file with the header, for people.
    pub fn info(&self) -> PathBuf {
        self.path("info", &self.number.to_string())
    }

    /// The file with the header as the kernel wrote it, which servers have that keep what they get.
    pub fn header(&self) -> PathBuf {
        self.path("header", &self.number.to_string())
    }

    /// The file with the key block of an encrypted dump.
    pub fn key(&self) -> PathBuf {
        self.path("key", &self.number.to_string())
    }

    /// The file with the ranges of bytes that are there, of a dump of which some are missing.
    pub fn ranges(&self) -> PathBuf {
        self.path("ranges", &self.number.to_string())
    }

    /// The file with the checksum of the data.
    pub fn sha256(&self) -> PathBuf {
        self.path("SHA256", &self.number.to_string())
    }

    /// The file with the next number.
    pub fn bounds(&self) -> PathBuf {
        let name = match &self.host {
            Some(host) => format!("bounds.{host}"),
            None => "bounds".to_owned(),
        };
        self.directory.join(name)
    }

    /// The symbolic links to the last dump, each with the file that it leads to: `data`, the info file and the key.
    /// Those of a host have one name for data of both kinds, as netdumpd(8) has it.
    pub fn last(&self, kind: Kind, data: &Path, encrypted: bool) -> Vec<(PathBuf, PathBuf)> {
        let link =
            |base: &str, to: &Path| (self.path(base, "last"), to.file_name().map(PathBuf::from).unwrap_or_default());
        let kind = if kind == Kind::Encrypted && self.host.is_some() { Kind::Core } else { kind };
        let mut links = vec![link(kind.base(), data), link("info", &self.info())];
        if encrypted {
            links.push(link("key", &self.key()));
        }
        links
    }

    fn path(&self, base: &str, end: &str) -> PathBuf {
        self.directory.join(match &self.host {
            Some(host) => format!("{base}.{host}.{end}"),
            None => format!("{base}.{end}"),
        })
    }
}

/// The name of a host as it may be in that of a file; none if nothing is left of it.
fn safe(host: &str) -> Option<String> {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.:%".contains(char);
    let host: String = host.chars().map(|char| if allowed(char) { char } else { '_' }).take(MAX_HOST).collect();
    let host = host.trim_matches('.');
    (!host.is_empty()).then(|| host.to_owned())
}

/// A new file that only its owner can read: a dump has all that was in memory.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Puts a file with these contents in the place of what is there, on the disk.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_new(&beside)?;
    let done = file.write_all(contents).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    done.inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_savecore_and_netdumpd() {
        let plain = Names::new(Path::new("/var/crash"), None, 3);
        assert_eq!(plain.data(Kind::Encrypted, "", State::Whole), Path::new("/var/crash/vmcore_encrypted.3"));
        assert_eq!(plain.data(Kind::Text, ".gz", State::Whole), Path::new("/var/crash/textdump.tar.3.gz"));
        assert_eq!(plain.bounds(), Path::new("/var/crash/bounds"));
        let host = Names::new(Path::new("d"), Some("box"), 0);
        assert_eq!(host.data(Kind::Core, ".zst", State::Incomplete), Path::new("d/vmcore.box.0.zst.incomplete"));
        assert_eq!(host.key(), Path::new("d/key.box.0"));
        assert_eq!(host.bounds(), Path::new("d/bounds.box"));
    }

    #[test]
    fn the_other_files_are_found_by_the_name_of_the_data() {
        for (name, host, number) in [
            ("vmcore.7", None, 7),
            ("vmcore_encrypted.0", None, 0),
            ("livecore.2.zst", None, 2),
            ("textdump.tar.1.gz", None, 1),
            ("vmcore.box.example.org.12.zst.partial", Some("box.example.org"), 12),
            ("vmcore.192.0.2.1.5.incomplete", Some("192.0.2.1"), 5),
        ] {
            let names = Names::of(&Path::new("d").join(name)).unwrap();
            assert_eq!((names.host(), names.number()), (host, number), "{name}");
        }
        for name in ["vmcore", "vmcore.last", "core.1", "vmcore.x.", "vmcore.99999999999"] {
            assert_eq!(Names::of(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn no_host_leads_out_of_the_directory() {
        for (host, safe) in [("../../etc/x", Some("_.._etc_x")), ("..", None), ("a b\n", Some("a_b_")), ("", None)] {
            assert_eq!(Names::new(Path::new("d"), Some(host), 0).host(), safe, "{host}");
        }
    }

    #[test]
    fn numbers_go_on_where_bounds_says_and_are_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let next = |host| Names::reserve(directory.path(), host).unwrap().number();
        assert_eq!([next(None), next(None), next(Some("box")), next(None)], [0, 1, 0, 2]);
        fs::write(directory.path().join("bounds"), "7\n").unwrap();
        fs::write(directory.path().join("vmcore.8.zst"), "").unwrap();
        assert_eq!([next(None), next(None)], [7, 9]);
        assert_eq!(fs::read_to_string(directory.path().join("bounds")).unwrap(), "10\n");
    }
}
