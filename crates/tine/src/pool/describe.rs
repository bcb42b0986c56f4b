//! What a file is, in the words and columns of the tools that people know.

use std::collections::HashMap;

use serde::Serialize;
use zfs_ondisk::acl::Ace;
use zfs_ondisk::znode::{self, flag};
use zfs_pool::Error;
use zfs_pool::fs::{Attributes, File, FileSystem, FileType, Time};

use super::acl_text;
use super::out::json_name;

/// The longest list of users or groups that is read.
const MAX_NAMES: u64 = 4 << 20;

/// The letter of a type, as `ls -l` and `find -type` have it; `find` has `f` for a regular file.
pub(super) fn type_letter(kind: Option<FileType>) -> char {
    match kind {
        Some(FileType::Directory) => 'd',
        Some(FileType::Regular) => '-',
        Some(FileType::Symlink) => 'l',
        Some(FileType::CharacterDevice) => 'c',
        Some(FileType::BlockDevice) => 'b',
        Some(FileType::Fifo) => 'p',
        Some(FileType::Socket) => 's',
        None => '?',
    }
}

pub(crate) fn type_name(kind: Option<FileType>) -> &'static str {
    match kind {
        Some(FileType::Directory) => "directory",
        Some(FileType::Regular) => "file",
        Some(FileType::Symlink) => "symlink",
        Some(FileType::CharacterDevice) => "character device",
        Some(FileType::BlockDevice) => "block device",
        Some(FileType::Fifo) => "fifo",
        Some(FileType::Socket) => "socket",
        None => "unknown",
    }
}

/// Type and permissions, such as `-rwsr-xr-x`.
pub(super) fn mode_string(attributes: &Attributes) -> String {
    let mode = attributes.mode;
    let mut text = String::from(type_letter(attributes.file_type()));
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// A time in UTC: `2026-11-22 11:53:33.000000007`.
pub(super) fn time(time: Time) -> String {
    format!("{}.{:09}", seconds(time.seconds), time.nanoseconds)
}

/// The same to the second.
pub(super) fn seconds(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar: years are counted from March,
/// so that a leap day is the last one.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The names of users and groups, from the file system's own `/etc/passwd` and `/etc/group`.
#[derive(Default)]
pub(super) struct Owners {
    users: HashMap<u64, String>,
    groups: HashMap<u64, String>,
}

impl Owners {
    /// Those of a file system; none where it has no such files, or they cannot be read.
    pub(super) fn of(files: &FileSystem) -> Self {
        Self { users: names(files, b"etc/passwd"), groups: names(files, b"etc/group") }
    }

    pub(super) fn user(&self, id: u64) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub(super) fn group(&self, id: u64) -> String {
        self.groups.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// The number of a user, given by name or number.
    pub(super) fn user_id(&self, text: &str) -> Option<u64> {
        id(&self.users, text)
    }

    /// The number of a group, given by name or number.
    pub(super) fn group_id(&self, text: &str) -> Option<u64> {
        id(&self.groups, text)
    }
}

fn id(names: &HashMap<u64, String>, text: &str) -> Option<u64> {
    let named = names.iter().filter(|(_, name)| *name == text).map(|(id, _)| *id).min();
    named.or_else(|| text.parse().ok())
}

/// Names by number: the first and third field of each line. Of two names for a number the first counts.
fn names(files: &FileSystem, path: &[u8]) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    let Ok(file) = files.resolve(path, true) else { return names };
    let mut text = vec![0; file.attributes().size.min(MAX_NAMES) as usize];
    if file.attributes().file_type() != Some(FileType::Regular) || file.read_at(0, &mut text).is_err() {
        return names;
    }
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(Ok(id))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
            // It is shown on terminals.
            if !name.is_empty() && !name.contains(|letter: char| letter.is_control()) {
                names.entry(id).or_insert_with(|| name.to_owned());
            }
        }
    }
    names
}

/// Whether a file has more of an access control list than its mode says.
pub(super) fn has_acl(file: &File) -> bool {
    if file.attributes().flags & flag::ACL_TRIVIAL == 0 && file.attributes().acl_count.unwrap_or(0) > 0 {
        return true;
    }
    // The lists of Linux are extended attributes; to look for them is cheap where those are with the others.
    file.xattrs().is_ok_and(|xattrs| xattrs.iter().any(|(name, _)| name.starts_with(b"system.posix_acl_")))
}

/// The entries of a list that says more than the mode.
pub(super) fn acl(file: &File) -> Result<Option<Vec<Ace>>, Error> {
    if file.attributes().flags & flag::ACL_TRIVIAL != 0 {
        return Ok(None);
    }
    Ok(file.acl()?.filter(|acl| !acl.is_empty()))
}

/// A file as JSON has it. Sizes are bytes; times are UTC.
#[derive(Serialize)]
pub(super) struct FileJson {
    path: String,
    /// The path's bytes in hexadecimal, if they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    r#type: &'static str,
    mode: String,
    uid: u64,
    gid: u64,
    links: u64,
    size: u64,
    allocated: u64,
    modified: String,
    object: u64,
    generation: u64,
    flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    acl: bool,
}

impl FileJson {
    pub(super) fn new(path: &[u8], file: &File) -> Self {
        let attributes = file.attributes();
        let (path, path_bytes) = json_name(path);
        Self {
            path,
            path_bytes,
            r#type: type_name(attributes.file_type()),
            mode: format!("{:04o}", attributes.mode & 0o7777),
            uid: attributes.uid,
            gid: attributes.gid,
            links: attributes.links,
            size: attributes.size,
            allocated: file.object().dnode().used_bytes(),
            modified: time(attributes.modified),
            object: file.object().id().0,
            generation: attributes.generation,
            flags: znode::flag_names(attributes.flags),
            target: file.link_target().ok().map(|target| json_name(&target).0),
            device: device(attributes),
            acl: has_acl(file),
        }
    }
}

/// Major and minor number, if the file is a device.
pub(super) fn device(attributes: &Attributes) -> Option<(u32, u32)> {
    let is_device = matches!(attributes.file_type(), Some(FileType::CharacterDevice | FileType::BlockDevice));
    is_device.then(|| znode::parse_device_number(attributes.device))
}

/// The full name of an extended attribute as Linux has it. FreeBSD stores attributes of users without a prefix, and
/// marks others by one of its own (`zfs_create_attrname`).
pub(super) fn xattr_name(stored: &[u8]) -> Vec<u8> {
    const LINUX: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    if let Some(name) = stored.strip_prefix(b"freebsd:system:") {
        return [b"system.", name].concat();
    }
    let known = LINUX.iter().any(|prefix| stored.starts_with(prefix));
    if known { stored.to_vec() } else { [b"user.", stored].concat() }
}

/// The lists of POSIX.1e that Linux keeps as an extended attribute, as text.
pub(super) fn posix_acl(xattr: &(Vec<u8>, Vec<u8>)) -> Option<(&'static str, String)> {
    let which = match xattr.0.as_slice() {
        b"system.posix_acl_access" => "access",
        b"system.posix_acl_default" => "default",
        _ => return None,
    };
    Some((which, acl_text::posix(&xattr.1)?))
}

/// Rows whose columns are as wide as the widest cell; numbers stand at the right.
#[derive(Default)]
pub(super) struct Columns {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl Columns {
    pub(super) fn push(&mut self, row: Vec<String>) {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match self.widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => self.widths.push(width),
            }
        }
        self.rows.push(row);
    }

    /// Forgets the rows, but not how wide they were.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }

    /// The rows; `right` says which columns stand at the right.
    pub(super) fn lines(&self, right: &[usize]) -> impl Iterator<Item = String> {
        self.rows.iter().map(move |row| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = self.widths[column];
                if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            });
            cells.collect::<Vec<_>>().join(" ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_shows_them() {
        let shown = |mode| mode_string(&Attributes { mode, ..Attributes::default() });
        assert_eq!(shown(0o100_644), "-rw-r--r--");
        assert_eq!(shown(0o104_755), "-rwsr-xr-x");
        assert_eq!(shown(0o041_777), "drwxrwxrwt");
        assert_eq!(shown(0o102_640), "-rw-r-S---");
        assert_eq!(shown(0o120_777), "lrwxrwxrwx");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let shown = |seconds, nanoseconds| time(Time { seconds, nanoseconds });
        assert_eq!(shown(0, 1), "1970-01-01 00:00:00.000000001");
        assert_eq!(shown(951_782_399, 0), "2000-02-28 23:59:59.000000000");
        assert_eq!(shown(951_782_400, 0), "2000-02-29 00:00:00.000000000");
        assert_eq!(shown(-1, 5), "1969-12-31 23:59:59.000000005");
        assert_eq!(shown(4_102_444_800, 0), "2100-01-01 00:00:00.000000000");
        seconds(i64::MAX);
        seconds(i64::MIN);
    }

    #[test]
    fn attributes_have_the_names_of_linux() {
        assert_eq!(xattr_name(b"a"), b"user.a");
        assert_eq!(xattr_name(b"user.a"), b"user.a");
        assert_eq!(xattr_name(b"freebsd:system:a"), b"system.a");
        assert_eq!(xattr_name(b"security.capability"), b"security.capability");
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut columns = Columns::default();
        columns.push(vec!["a".into(), "1".into()]);
        columns.push(vec!["bcd".into(), "100".into()]);
        assert_eq!(columns.lines(&[1]).collect::<Vec<_>>(), ["a     1", "bcd 100"]);
    }
}
