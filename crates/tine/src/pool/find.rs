//! `tine pool find`: files with what is asked of them.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use tree::Pattern;
use zfs_pool::fs::{FileSystem, Time};

use super::describe::{FileJson, Owners, type_letter};
use super::open::Opening;
use super::out::Out;
use super::place::{self, shown, tell};
use super::target::{self, Target};
use super::walk::{Node, Step, Walk, join};
use crate::failure::Failure;

/// Print the paths of files with what is asked of them
///
/// All conditions must hold. The names of find(1) with one dash are understood too: -name, -type, -size, -newer, -mtime,
/// -user, -group, -links, -inum, -maxdepth, -print0. Numbers and sizes may have a + (more) or - (less) before them.
#[derive(Debug, Args)]
pub(crate) struct Find {
    /// Where to begin: pool/dataset@snapshot:/path
    #[arg(value_name = "TARGET", value_parser = target::target)]
    target: Target,
    /// The name matches a pattern: * and ? match, [a-z] matches one byte; with a slash, the whole path does
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    name: Vec<Pattern>,
    /// The type is one of these: f file, d directory, l symbolic link, p fifo, c and b device, s socket
    #[arg(long, value_name = "LETTERS", value_parser = letters)]
    r#type: Option<String>,
    /// The size in bytes: 100k, +1m (larger), -1g (smaller)
    #[arg(long, value_name = "[+-]SIZE", value_parser = size, allow_hyphen_values = true)]
    size: Option<Number>,
    /// Modified later than this file of the same dataset, or than @SECONDS since 1970
    #[arg(long, value_name = "PATH|@SECONDS")]
    newer: Option<String>,
    /// Modified so many days ago: -2 (in the last two days), +30 (before)
    #[arg(long, value_name = "[+-]DAYS", value_parser = number, allow_hyphen_values = true)]
    mtime: Option<Number>,
    /// The owner, by name (of the dataset's own /etc/passwd) or number
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The group, by name (of the dataset's own /etc/group) or number
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The number of names
    #[arg(long, value_name = "[+-]N", value_parser = number, allow_hyphen_values = true)]
    links: Option<Number>,
    /// The number of the object
    #[arg(long, value_name = "[+-]N", value_parser = number, allow_hyphen_values = true)]
    inum: Option<Number>,
    /// Go no further down than this
    #[arg(long, value_name = "N")]
    maxdepth: Option<usize>,
    /// End each path with a NUL instead of a newline
    #[arg(long, help_heading = "Output")]
    print0: bool,
    /// List as JSON
    #[arg(long, conflicts_with = "print0", help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

/// Gives the conditions of find(1) the second dash that all other long options have.
pub(crate) fn with_long_options(arguments: &mut [OsString]) {
    const NAMES: [&str; 11] =
        ["-name", "-type", "-size", "-newer", "-mtime", "-user", "-group", "-links", "-inum", "-maxdepth", "-print0"];
    if !arguments.windows(2).any(|pair| pair[0] == "pool" && pair[1] == "find") {
        return;
    }
    for argument in arguments {
        if let Some(name) = NAMES.iter().find(|name| *argument == **name) {
            *argument = format!("-{name}").into();
        }
    }
}

/// A number to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    comparison: Comparison,
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    More,
    Less,
}

impl Number {
    fn parse(text: &str, value: impl Fn(&str) -> Option<u64>) -> Option<Self> {
        let (comparison, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Comparison::More, rest),
            Some(("-", rest)) => (Comparison::Less, rest),
            _ => (Comparison::Equal, text),
        };
        value(rest).map(|value| Self { comparison, value })
    }

    fn holds(self, number: u64) -> bool {
        match self.comparison {
            Comparison::Equal => number == self.value,
            Comparison::More => number > self.value,
            Comparison::Less => number < self.value,
        }
    }
}

fn size(text: &str) -> Result<Number, String> {
    let parse = |size: &str| zfs_ondisk::property::parse_number(size.strip_suffix('c').unwrap_or(size));
    Number::parse(text, parse).ok_or_else(|| "a size such as 100k, +1m or -1g was expected".to_owned())
}

fn number(text: &str) -> Result<Number, String> {
    let parse = |number: &str| number.parse().ok();
    Number::parse(text, parse).ok_or_else(|| "a number such as 2, +2 or -2 was expected".to_owned())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text.as_bytes()).map_err(|error| error.to_string())
}

fn letters(text: &str) -> Result<String, String> {
    let letters: String = text.chars().filter(|letter| *letter != ',').collect();
    match letters.chars().all(|letter| "fdlpcbs".contains(letter)) && !letters.is_empty() {
        true => Ok(letters),
        false => Err("letters of f, d, l, p, c, b and s were expected".to_owned()),
    }
}

/// The conditions, with what had to be looked up.
struct Conditions<'a> {
    find: &'a Find,
    newer: Option<Time>,
    user: Option<u64>,
    group: Option<u64>,
    now: i64,
}

impl Find {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = place::open(&self.opening, &self.target)?;
        let conditions = Conditions::new(self, place.files()?)?;
        let mut out = Out::new()?;
        let mut damaged = false;
        let mut walk = Walk::new(place.file(false)?);
        while let Some(step) = walk.next() {
            match step {
                Step::Visit(node) => {
                    if self.maxdepth.is_some_and(|depth| node.depth >= depth) {
                        walk.prune();
                    }
                    if conditions.hold(&node) {
                        self.print(&mut out, &join(&place.path, &node.path), &node)?;
                    }
                }
                Step::Leave(_) => {}
                Step::Damaged(path, error) => {
                    tell(&shown(&place.dataset.name, &join(&place.path, &path)), error);
                    damaged = true;
                }
            }
        }
        if self.json {
            out.end_list()?;
        }
        out.finish()?;
        if damaged { Err(Failure::Found) } else { Ok(()) }
    }

    fn print(&self, out: &mut Out, path: &[u8], node: &Node) -> Result<(), Failure> {
        if self.json {
            return out.item(&FileJson::new(path, &node.file));
        }
        if self.print0 {
            out.bytes(path)?;
            return out.bytes(b"\0");
        }
        out.name(path)?;
        out.text("\n")
    }
}

impl<'a> Conditions<'a> {
    fn new(find: &'a Find, files: &FileSystem) -> Result<Self, Failure> {
        let newer = match find.newer.as_deref() {
            None => None,
            Some(text) => Some(match text.strip_prefix('@').map(str::parse) {
                Some(Ok(seconds)) => Time { seconds, nanoseconds: 0 },
                Some(Err(_)) => return Err(Failure::Usage(format!("{text} is no time in seconds since 1970"))),
                None => files.resolve(text.as_bytes(), true)?.attributes().modified,
            }),
        };
        let named = find.user.is_some() || find.group.is_some();
        let owners = if named { Owners::of(files) } else { Owners::default() };
        let unknown = |what: &str, name: &str| {
            Failure::Usage(format!("{what} {name} is not in the dataset's own lists: give the number"))
        };
        let user = find.user.as_ref().map(|name| owners.user_id(name).ok_or_else(|| unknown("user", name)));
        let group = find.group.as_ref().map(|name| owners.group_id(name).ok_or_else(|| unknown("group", name)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        Ok(Self { find, newer, user: user.transpose()?, group: group.transpose()?, now })
    }

    fn hold(&self, node: &Node) -> bool {
        let attributes = node.file.attributes();
        let letter = match type_letter(attributes.file_type()) {
            '-' => 'f',
            letter => letter,
        };
        let days = self.now.saturating_sub(attributes.modified.seconds).div_euclid(86_400).max(0) as u64;
        let number = |wanted: Option<Number>, found| wanted.is_none_or(|wanted| wanted.holds(found));
        let is = |wanted: Option<u64>, found| wanted.is_none_or(|wanted| wanted == found);
        self.find.name.iter().all(|pattern| pattern.matches(&node.path))
            && self.find.r#type.as_ref().is_none_or(|letters| letters.contains(letter))
            && number(self.find.size, attributes.size)
            && number(self.find.links, attributes.links)
            && number(self.find.inum, node.file.object().id().0)
            && number(self.find.mtime, days)
            && self.newer.is_none_or(|newer| attributes.modified > newer)
            && is(self.user, attributes.uid)
            && is(self.group, attributes.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_limits() {
        assert!(size("+1k").expect("a size").holds(1025));
        assert!(!size("+1k").expect("a size").holds(1024));
        assert!(size("-1k").expect("a size").holds(1023));
        assert!(size("100c").expect("a size").holds(100));
        assert!(number("x").is_err() && size("").is_err() && number("+").is_err());
    }

    #[test]
    fn the_options_of_find_have_one_dash() {
        let mut arguments: Vec<OsString> =
            ["tine", "pool", "find", "x", "-name", "-print0", "-p"].map(Into::into).into();
        with_long_options(&mut arguments);
        assert_eq!(arguments[4..], ["--name", "--print0", "-p"]);
        let mut others: Vec<OsString> = ["tine", "pool", "ls", "-name"].map(Into::into).into();
        with_long_options(&mut others);
        assert_eq!(others[3], "-name");
    }
}
