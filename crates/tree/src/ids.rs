//! User and group names and their numbers.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, PathBytes};

/// A user or group, by number or by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// Its number.
    Id(u32),
    /// Its name.
    Name(Vec<u8>),
}

impl Principal {
    /// Reads a number if the text is one, a name otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] for an empty text or a number above 2^32 - 1.
    pub fn parse(text: &str) -> Result<Principal, Error> {
        let bad = |why| Error::BadOption { what: "owner or group", text: text.to_string(), why };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Principal::Id).map_err(|_| bad("numbers go up to 4294967295"));
        }
        Ok(Principal::Name(text.as_bytes().to_vec()))
    }
}

/// Names known, those of a FreeBSD base system to begin with.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    users: HashMap<Vec<u8>, u32>,
    groups: HashMap<Vec<u8>, u32>,
}

impl Ids {
    /// The users and groups that every FreeBSD system has.
    pub(crate) fn freebsd() -> Ids {
        let table = |list: &[(&str, u32)]| list.iter().map(|(name, id)| (name.as_bytes().to_vec(), *id)).collect();
        Ids { users: table(FREEBSD_USERS), groups: table(FREEBSD_GROUPS) }
    }

    /// Adds what `master.passwd` (or else `passwd`) and `group` in a directory say. A missing file is no error unless
    /// `required`, in which case both must be there.
    pub(crate) fn read_directory(&mut self, directory: &Path, required: bool) -> Result<(), Error> {
        let passwd = match read_if_there(&directory.join("master.passwd"))? {
            Some(text) => Some(text),
            None => read_if_there(&directory.join("passwd"))?,
        };
        let group = read_if_there(&directory.join("group"))?;
        for (text, name, table) in [(passwd, "master.passwd", &mut self.users), (group, "group", &mut self.groups)] {
            match text {
                Some(text) => read_table(&text, table),
                None if required => {
                    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
                    return Err(Error::io("read", directory.join(name), missing));
                }
                None => {}
            }
        }
        Ok(())
    }

    pub(crate) fn user(&self, name: &[u8]) -> Option<u32> {
        self.users.get(name).copied()
    }

    pub(crate) fn group(&self, name: &[u8]) -> Option<u32> {
        self.groups.get(name).copied()
    }

    pub(crate) fn resolve_user(&self, who: &Principal) -> Result<u32, Error> {
        resolve(who, "user", |name| self.user(name))
    }

    pub(crate) fn resolve_group(&self, who: &Principal) -> Result<u32, Error> {
        resolve(who, "group", |name| self.group(name))
    }
}

fn resolve(who: &Principal, what: &'static str, find: impl Fn(&[u8]) -> Option<u32>) -> Result<u32, Error> {
    match who {
        Principal::Id(id) => Ok(*id),
        Principal::Name(name) => find(name).ok_or_else(|| Error::UnknownName { what, name: PathBytes::new(name) }),
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Lines of `name:password:number:...`, in both files. The first of equal names counts, as in getpwnam(3).
fn read_table(text: &[u8], table: &mut HashMap<Vec<u8>, u32>) {
    let mut found = HashMap::new();
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"#")) {
        let mut fields = line.split(|&byte| byte == b':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse::<u32>().ok());
        if let (false, Some(id)) = (name.is_empty(), id) {
            found.entry(name.to_vec()).or_insert(id);
        }
    }
    table.extend(found);
}

/// From `etc/master.passwd` of FreeBSD's base system, versions 12 to 15.
const FREEBSD_USERS: &[(&str, u32)] = &[
    ("root", 0),
    ("toor", 0),
    ("daemon", 1),
    ("operator", 2),
    ("bin", 3),
    ("tty", 4),
    ("kmem", 5),
    ("games", 7),
    ("news", 8),
    ("man", 9),
    ("sshd", 22),
    ("smmsp", 25),
    ("mailnull", 26),
    ("bind", 53),
    ("unbound", 59),
    ("proxy", 62),
    ("_pflogd", 64),
    ("_dhcp", 65),
    ("uucp", 66),
    ("pop", 68),
    ("auditdistd", 78),
    ("www", 80),
    ("ntpd", 123),
    ("_ypldap", 160),
    ("hast", 845),
    ("tests", 977),
    ("nobody", 65534),
];

/// From `etc/group` of the same.
const FREEBSD_GROUPS: &[(&str, u32)] = &[
    ("wheel", 0),
    ("daemon", 1),
    ("kmem", 2),
    ("sys", 3),
    ("tty", 4),
    ("operator", 5),
    ("mail", 6),
    ("bin", 7),
    ("news", 8),
    ("man", 9),
    ("games", 13),
    ("ftp", 14),
    ("staff", 20),
    ("sshd", 22),
    ("smmsp", 25),
    ("mailnull", 26),
    ("guest", 31),
    ("video", 44),
    ("realtime", 47),
    ("idletime", 48),
    ("bind", 53),
    ("unbound", 59),
    ("proxy", 62),
    ("authpf", 63),
    ("_pflogd", 64),
    ("_dhcp", 65),
    ("uucp", 66),
    ("dialer", 68),
    ("network", 69),
    ("audit", 77),
    ("www", 80),
    ("u2f", 116),
    ("ntpd", 123),
    ("_ypldap", 160),
    ("hast", 845),
    ("tests", 977),
    ("nogroup", 65533),
    ("nobody", 65534),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freebsds_own_names_are_known() {
        let ids = Ids::freebsd();
        assert_eq!(ids.user(b"root"), Some(0));
        assert_eq!(ids.group(b"operator"), Some(5));
        assert_eq!(ids.user(b"nobody"), Some(65534));
        assert_eq!(ids.user(b"alice"), None);
    }

    #[test]
    fn a_table_overrides_and_skips_what_it_cannot_read() {
        let mut table = HashMap::from([(b"www".to_vec(), 80)]);
        read_table(
            b"# comment\nwww:*:8080:8080::0:0:W:/:/x\nbad line\nx:*:notanumber:1\nwww:*:9:9\n+:::\n",
            &mut table,
        );
        assert_eq!(table, HashMap::from([(b"www".to_vec(), 8080)]));
    }

    #[test]
    fn principals_are_numbers_or_names() {
        assert_eq!(Principal::parse("80").unwrap(), Principal::Id(80));
        assert_eq!(Principal::parse("www").unwrap(), Principal::Name(b"www".to_vec()));
        assert!(Principal::parse("4294967296").is_err());
        let unknown = Ids::freebsd().resolve_user(&Principal::Name(b"alice".to_vec())).unwrap_err();
        assert!(unknown.to_string().contains("unknown user name alice"));
    }
}
