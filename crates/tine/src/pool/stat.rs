//! `tine pool stat`: all that is known of a file or volume.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use serde::Serialize;
use zfs_ondisk::blkptr::{BlockPointer, Kind};
use zfs_ondisk::checksum::Checksum;
use zfs_ondisk::compress::Function;
use zfs_ondisk::property::format_size;
use zfs_ondisk::znode;
use zfs_pool::fs::{File, FileSystem};
use zfs_pool::{Error, Object};

use super::acl_text;
use super::describe::{self, Owners};
use super::open::Opening;
use super::out::{Out, json_name, printable};
use super::place::{Contents, Place, Places};
use super::target::{self, Target};
use crate::failure::Failure;
use crate::output::plural;

/// Block pointers that are looked at for the summary: all of a file of 128 GiB in blocks of 128 KiB.
const MOST_BLOCKS: usize = 1 << 20;

/// Show all attributes of files or volumes, and how they are stored
///
/// Symbolic links are not followed. Times are in UTC.
#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// Files or volumes: pool/dataset@snapshot:/path
    #[arg(value_name = "TARGET", required = true, value_parser = target::target)]
    targets: Vec<Target>,
    /// Show as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

impl Stat {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut places = Places::new(&self.opening);
        let mut out = Out::new()?;
        for (index, target) in self.targets.iter().enumerate() {
            let about = About::new(&places.open(target)?)?;
            if self.json {
                out.item(&about)?;
            } else {
                let gap = if index > 0 { "\n" } else { "" };
                out.text(&format!("{gap}{}", about.text()))?;
            }
        }
        if self.json {
            out.end_list()?;
        }
        out.finish()
    }
}

/// All about a file or volume. Sizes are bytes, times UTC.
#[derive(Serialize)]
struct About {
    dataset: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Attributes>,
    size: u64,
    object: u64,
    storage: Storage,
}

/// What only files have.
#[derive(Serialize)]
struct Attributes {
    mode: String,
    mode_text: String,
    uid: u64,
    user: String,
    gid: u64,
    group: String,
    links: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    parent: u64,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<u64>,
    flags: Vec<&'static str>,
    raw_flags: String,
    accessed: String,
    modified: String,
    changed: String,
    created: String,
    acl_is_trivial: bool,
    acl: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    posix_acl: Vec<PosixAcl>,
    xattrs: Vec<Xattr>,
}

#[derive(Serialize)]
struct PosixAcl {
    kind: &'static str,
    entries: String,
}

#[derive(Serialize)]
struct Xattr {
    name: String,
    size: usize,
}

/// How an object is stored.
#[derive(Serialize)]
struct Storage {
    allocated: u64,
    data_block_size: usize,
    indirect_block_size: u64,
    levels: u8,
    dnode_size: usize,
    bonus: String,
    bonus_size: usize,
    spill: bool,
    /// Blocks that are no holes.
    blocks: u64,
    embedded: u64,
    logical: u64,
    physical: u64,
    compression: BTreeMap<String, u64>,
    checksum: BTreeMap<String, u64>,
    /// Whether there are more blocks than were looked at.
    truncated: bool,
}

impl About {
    fn new(place: &Place) -> Result<Self, Failure> {
        let dataset = place.dataset.name.clone();
        match &place.contents {
            Contents::Volume(volume) if place.path.is_empty() => {
                let object = volume.contents().object();
                Ok(Self {
                    dataset,
                    path: String::new(),
                    path_bytes: None,
                    r#type: "volume",
                    file: None,
                    size: volume.contents().size(),
                    object: object.id().0,
                    storage: Storage::new(object)?,
                })
            }
            _ => {
                let file = place.file(false)?;
                let (path, path_bytes) = json_name(&place.path);
                Ok(Self {
                    dataset,
                    path,
                    path_bytes,
                    r#type: describe::type_name(file.attributes().file_type()),
                    size: file.attributes().size,
                    object: file.object().id().0,
                    storage: Storage::new(file.object())?,
                    file: Some(Attributes::new(place.files()?, &file)?),
                })
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:>12}  {value}");
        };
        line("dataset", self.dataset.clone());
        if let Some(file) = &self.file {
            line("path", printable(self.path.as_bytes()));
            if let Some(target) = &file.target {
                line("target", printable(target.as_bytes()));
            }
        }
        let device = self.file.as_ref().and_then(|file| file.device);
        let device = device.map_or(String::new(), |(major, minor)| format!(", major {major}, minor {minor}"));
        line("type", format!("{}{device}", self.r#type));
        line("size", size(self.size));
        if let Some(file) = &self.file {
            file.lines(&mut line);
        }
        line("object", self.object.to_string());
        self.storage.lines(&mut line);
        text
    }
}

impl Attributes {
    fn new(files: &FileSystem, file: &File) -> Result<Self, Error> {
        let owners = Owners::of(files);
        let attributes = file.attributes();
        let xattrs = file.xattrs()?;
        Ok(Self {
            mode: format!("{:04o}", attributes.mode & 0o7777),
            mode_text: describe::mode_string(attributes),
            uid: attributes.uid,
            user: owners.user(attributes.uid),
            gid: attributes.gid,
            group: owners.group(attributes.gid),
            links: attributes.links,
            target: file.link_target().ok().map(|target| json_name(&target).0),
            device: describe::device(attributes),
            parent: attributes.parent.0,
            generation: attributes.generation,
            project: attributes.project,
            flags: znode::flag_names(attributes.flags),
            raw_flags: format!("{:#x}", attributes.flags),
            accessed: describe::time(attributes.accessed),
            modified: describe::time(attributes.modified),
            changed: describe::time(attributes.changed),
            created: describe::time(attributes.created),
            acl_is_trivial: attributes.flags & znode::flag::ACL_TRIVIAL != 0,
            acl: file.acl()?.unwrap_or_default().iter().map(acl_text::nfs4).collect(),
            posix_acl: xattrs
                .iter()
                .filter_map(describe::posix_acl)
                .map(|(kind, entries)| PosixAcl { kind, entries })
                .collect(),
            xattrs: xattrs
                .iter()
                .map(|(name, value)| Xattr { name: json_name(&describe::xattr_name(name)).0, size: value.len() })
                .collect(),
        })
    }

    fn lines(&self, line: &mut impl FnMut(&str, String)) {
        line("mode", format!("{} ({})", self.mode_text, self.mode));
        let named =
            |name: &str, id: u64| if name == id.to_string() { name.to_owned() } else { format!("{name} ({id})") };
        line("owner", named(&self.user, self.uid));
        line("group", named(&self.group, self.gid));
        line("links", self.links.to_string());
        let names = if self.flags.is_empty() { "none".to_owned() } else { self.flags.join(",") };
        line("flags", format!("{names} ({})", self.raw_flags));
        line("modified", self.modified.clone());
        line("changed", self.changed.clone());
        line("accessed", self.accessed.clone());
        line("created", self.created.clone());
        for (index, entry) in self.acl.iter().enumerate() {
            let title = if self.acl_is_trivial { "trivial ACL" } else { "ACL" };
            line(if index == 0 { title } else { "" }, entry.clone());
        }
        for acl in &self.posix_acl {
            line(&format!("{} ACL", acl.kind), acl.entries.clone());
        }
        for (index, xattr) in self.xattrs.iter().enumerate() {
            let name = printable(xattr.name.as_bytes());
            line(if index == 0 { "xattrs" } else { "" }, format!("{name}, {}", size(xattr.size as u64)));
        }
        line("generation", self.generation.to_string());
        line("parent", self.parent.to_string());
        if let Some(project) = self.project {
            line("project", project.to_string());
        }
    }
}

impl Storage {
    fn new(object: &Object) -> Result<Self, Error> {
        let dnode = object.dnode();
        let mut storage = Self {
            allocated: dnode.used_bytes(),
            data_block_size: dnode.data_block_size(),
            indirect_block_size: 1 << dnode.indirect_shift,
            levels: dnode.levels,
            dnode_size: dnode.slots() * zfs_ondisk::dnode::SLOT_SIZE,
            bonus: dnode.bonus_type.to_string(),
            bonus_size: dnode.bonus.len(),
            spill: dnode.spill.is_some(),
            blocks: 0,
            embedded: 0,
            logical: 0,
            physical: 0,
            compression: BTreeMap::new(),
            checksum: BTreeMap::new(),
            truncated: false,
        };
        for (index, block) in object.blocks().enumerate() {
            if index == MOST_BLOCKS {
                storage.truncated = true;
                break;
            }
            storage.add(&block?.1);
        }
        Ok(storage)
    }

    fn add(&mut self, pointer: &BlockPointer) {
        self.blocks += 1;
        self.logical += pointer.logical_size() as u64;
        self.physical += pointer.physical_size() as u64;
        let number = pointer.compression();
        let function = Function::ALL.iter().find(|function| function.number() == number);
        let name = function.map_or_else(|| number.to_string(), Function::to_string);
        *self.compression.entry(name).or_default() += 1;
        if pointer.kind() == Kind::Embedded {
            self.embedded += 1;
            return;
        }
        let number = pointer.checksum();
        let name = Checksum::from_number(number).map_or_else(|| number.to_string(), |checksum| checksum.to_string());
        *self.checksum.entry(name).or_default() += 1;
    }

    fn lines(&self, line: &mut impl FnMut(&str, String)) {
        let spill = if self.spill { ", a spill block" } else { "" };
        line("dnode", format!("{} bytes; bonus: {}, {} bytes{spill}", self.dnode_size, self.bonus, self.bonus_size));
        line("allocated", size(self.allocated));
        let tree = format!("{} levels, indirect blocks of {}", self.levels, format_size(self.indirect_block_size));
        let tree = if self.levels == 1 { "1 level".to_owned() } else { tree };
        line("block size", format!("{}, {tree}", format_size(self.data_block_size as u64)));
        let more = if self.truncated { ", and more that were not looked at" } else { "" };
        let embedded = if self.embedded > 0 { format!(", {} embedded", self.embedded) } else { String::new() };
        line("blocks", format!("{}{embedded}{more}", self.blocks));
        if self.blocks > 0 {
            let ratio = self.logical as f64 / self.physical.max(1) as f64;
            line("compressed", format!("{} to {}, {ratio:.2}x", format_size(self.logical), format_size(self.physical)));
            line("compression", counts(&self.compression));
        }
        if !self.checksum.is_empty() {
            line("checksum", counts(&self.checksum));
        }
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    match counts.len() {
        1 => counts.keys().cloned().collect(),
        _ => counts.iter().map(|(name, count)| format!("{name} ({count})")).collect::<Vec<_>>().join(", "),
    }
}

/// A size for people, and exactly.
fn size(bytes: u64) -> String {
    if bytes < 1024 { plural(bytes, "byte") } else { format!("{} ({bytes} bytes)", format_size(bytes)) }
}
