//! `tine pool ls`: names in directories.

use std::collections::{HashMap, HashSet};

use clap::{ArgAction, Args};
use zfs_ondisk::object::ObjectId;
use zfs_ondisk::property::format_size;
use zfs_ondisk::znode;
use zfs_pool::Error;
use zfs_pool::fs::{DirEntry, Directory, File, FileType};

use super::describe::{self, Columns, FileJson, Owners};
use super::open::Opening;
use super::out::Out;
use super::place::{Place, Places, shown, tell};
use super::target::{self, Target};
use super::walk::join;
use crate::failure::Failure;

/// Lines whose columns are aligned at a time: a directory may have millions of names.
const ROWS: usize = 4096;

/// List files and directories
///
/// Names are sorted by their bytes. Times are in UTC. Owners have the names that the dataset's own /etc/passwd and
/// /etc/group give them.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Ls {
    /// Files and directories: pool/dataset@snapshot:/path; without a path the root of the dataset
    #[arg(value_name = "TARGET", required = true, value_parser = target::target)]
    targets: Vec<Target>,
    /// Also show names that begin with a dot
    #[arg(short, long)]
    all: bool,
    /// Show type and mode, links, owner, group, size, time; a + follows the mode of files with an access control list
    #[arg(short, long)]
    long: bool,
    /// Also list what is in directories below
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Show the numbers of the files' objects
    #[arg(short, long)]
    inode: bool,
    /// Show owners by number; implies -l
    #[arg(short, long)]
    numeric: bool,
    /// With -l: show FreeBSD's file flags
    #[arg(short = 'o', long)]
    flags: bool,
    /// With -l: show sizes as 1.5K, 2M, 3G
    #[arg(short = 'h', long)]
    human: bool,
    /// Show a directory itself, not what is in it
    #[arg(short, long)]
    directory: bool,
    /// List as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    opening: Opening,
}

impl Ls {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut listing = Listing { ls: self, out: Out::new()?, owners: HashMap::new(), damaged: false, begun: false };
        let mut places = Places::new(&self.opening);
        for target in &self.targets {
            let place = places.open(target)?;
            listing.place(&place)?;
        }
        if self.json {
            listing.out.end_list()?;
        }
        listing.out.finish()?;
        if listing.damaged { Err(Failure::Found) } else { Ok(()) }
    }

    fn is_long(&self) -> bool {
        self.long || self.numeric
    }
}

struct Listing<'a> {
    ls: &'a Ls,
    out: Out,
    owners: HashMap<String, Owners>,
    damaged: bool,
    /// Whether something has been written.
    begun: bool,
}

/// A line of a list.
struct Row {
    name: Vec<u8>,
    target: Option<Vec<u8>>,
}

impl Listing<'_> {
    fn place(&mut self, place: &Place) -> Result<(), Failure> {
        // As ls does: with -l a link is shown, without it is followed.
        let file = place.file(!self.ls.is_long() && !self.ls.directory)?;
        let dataset = &place.dataset.name;
        if self.ls.is_long() && !self.ls.numeric && !self.owners.contains_key(dataset) {
            self.owners.insert(dataset.clone(), Owners::of(place.files()?));
        }
        if !file.attributes().is_dir() || self.ls.directory {
            let mut table = Table::default();
            self.add(dataset, &place.path, place.path.clone(), &file, &mut table)?;
            return self.flush(&mut table);
        }
        let mut pending = vec![(place.path.clone(), file.object().id())];
        let mut seen = HashSet::new();
        while let Some((path, directory)) = pending.pop() {
            // A damaged directory may be within itself.
            if seen.insert(directory) {
                let below = self.directory(place, &path, directory)?;
                pending.extend(below.into_iter().rev());
            }
        }
        Ok(())
    }

    /// Lists a directory, and gives the directories in it if they are to be listed too.
    fn directory(&mut self, place: &Place, path: &[u8], id: ObjectId) -> Result<Vec<(Vec<u8>, ObjectId)>, Failure> {
        let dataset = &place.dataset.name;
        let files = place.files()?;
        if !self.ls.json && (self.ls.targets.len() > 1 || self.ls.recursive) {
            let gap = if self.begun { "\n" } else { "" };
            self.out.text(&format!("{gap}{}:\n", shown(dataset, path)))?;
        }
        self.begun = true;
        let (mut entries, damage) = files
            .file(id)
            .and_then(|file| file.directory())
            .map_or_else(|error| (Vec::new(), Some(error)), |mut directory| read_entries(&mut directory));
        entries.retain(|entry| self.ls.all || self.ls.json || !entry.name.starts_with(b"."));
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut below = Vec::new();
        let mut table = Table::default();
        for entry in entries {
            let path = join(path, &entry.name);
            if self.ls.recursive && entry.file_type == Some(FileType::Directory) {
                below.push((path.clone(), entry.object));
            }
            match files.file(entry.object) {
                // What only its name is asked of need not be readable.
                Err(error) => self.damage(dataset, &path, error),
                Ok(file) => self.add(dataset, &path, entry.name, &file, &mut table)?,
            }
            if table.rows.len() == ROWS {
                self.flush(&mut table)?;
            }
        }
        self.flush(&mut table)?;
        if let Some(error) = damage {
            self.damage(dataset, path, error);
        }
        Ok(below)
    }

    fn add(&mut self, dataset: &str, path: &[u8], name: Vec<u8>, file: &File, to: &mut Table) -> Result<(), Failure> {
        if self.ls.json {
            return self.out.item(&FileJson::new(path, file));
        }
        let none = Owners::default();
        let cells = self.cells(file, self.owners.get(dataset).unwrap_or(&none));
        to.columns.push(cells);
        let is_link = file.attributes().file_type() == Some(FileType::Symlink);
        let target = match file.link_target() {
            Ok(target) if self.ls.is_long() => Some(target),
            Err(error) if self.ls.is_long() && is_link => {
                self.damage(dataset, path, error);
                None
            }
            _ => None,
        };
        to.rows.push(Row { name, target });
        Ok(())
    }

    fn flush(&mut self, table: &mut Table) -> Result<(), Failure> {
        let lines: Vec<String> = table.columns.lines(&self.right_columns()).collect();
        for (line, row) in lines.iter().zip(table.rows.drain(..)) {
            if !line.is_empty() {
                self.out.text(&format!("{line} "))?;
            }
            self.out.name(&row.name)?;
            if let Some(target) = row.target {
                self.out.text(" -> ")?;
                self.out.name(&target)?;
            }
            self.out.text("\n")?;
        }
        table.columns.clear();
        Ok(())
    }

    fn damage(&mut self, dataset: &str, path: &[u8], error: Error) {
        tell(&shown(dataset, path), error);
        self.damaged = true;
    }

    /// The columns before the name.
    fn cells(&self, file: &File, owners: &Owners) -> Vec<String> {
        let attributes = file.attributes();
        let mut cells = Vec::new();
        if self.ls.inode {
            cells.push(file.object().id().to_string());
        }
        if !self.ls.is_long() {
            return cells;
        }
        let plus = if describe::has_acl(file) { "+" } else { "" };
        cells.push(format!("{}{plus}", describe::mode_string(attributes)));
        cells.push(attributes.links.to_string());
        cells.push(owners.user(attributes.uid));
        cells.push(owners.group(attributes.gid));
        if self.ls.flags {
            let names = znode::flag_names(attributes.flags);
            cells.push(if names.is_empty() { "-".to_owned() } else { names.join(",") });
        }
        cells.push(match describe::device(attributes) {
            Some((major, minor)) => format!("{major},{minor}"),
            None if self.ls.human => format_size(attributes.size),
            None => attributes.size.to_string(),
        });
        cells.push(describe::seconds(attributes.modified.seconds));
        cells
    }

    fn right_columns(&self) -> Vec<usize> {
        let first = usize::from(self.ls.inode);
        let size = first + 4 + usize::from(self.ls.flags);
        [0..first, first + 1..first + 2, size..size + 1].into_iter().flatten().collect()
    }
}

/// Lines that are shown together.
#[derive(Default)]
struct Table {
    columns: Columns,
    rows: Vec<Row>,
}

/// The entries of a directory, as far as they can be read, and why they cannot.
fn read_entries(directory: &mut Directory) -> (Vec<DirEntry>, Option<Error>) {
    let mut entries = Vec::new();
    for entry in directory.entries() {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => return (entries, Some(error)),
        }
    }
    (entries, None)
}
