//! `tine pool tree`: a directory tree as a drawing.

use clap::Args;
use serde::Serialize;
use zfs_pool::fs::FileType;

use super::describe::type_name;
use super::open::Opening;
use super::out::{Out, json_name};
use super::place::{self, shown, tell};
use super::target::{self, Target};
use super::walk::{Node, Step, Walk, join};
use crate::failure::Failure;
use crate::output::plural;

/// Draw a directory tree
#[derive(Debug, Args)]
pub(crate) struct Tree {
    /// Where to begin: pool/dataset@snapshot:/path
    #[arg(value_name = "TARGET", value_parser = target::target)]
    target: Target,
    /// Go no further down than this
    #[arg(short = 'L', long = "level", value_name = "N")]
    level: Option<usize>,
    /// Also show names that begin with a dot
    #[arg(short, long)]
    all: bool,
    /// Show directories only
    #[arg(short, long)]
    directories: bool,
    /// List as JSON: one item for each file, with its depth
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

#[derive(Serialize)]
struct Item {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    depth: usize,
    r#type: &'static str,
}

/// What has been shown.
#[derive(Default)]
struct Counts {
    directories: u64,
    files: u64,
    damaged: u64,
}

impl Tree {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = place::open(&self.opening, &self.target)?;
        let (all, directories) = (self.all || self.json, self.directories);
        let mut walk = Walk::new(place.file(true)?).filtered(move |entry| {
            let wanted = !directories || matches!(entry.file_type, Some(FileType::Directory) | None);
            wanted && (all || !entry.name.starts_with(b"."))
        });
        let mut out = Out::new()?;
        let mut counts = Counts::default();
        // Whether more is to come at each depth above.
        let mut more = Vec::new();
        while let Some(step) = walk.next() {
            match step {
                Step::Visit(node) => {
                    if self.level.is_some_and(|level| node.depth >= level) {
                        walk.prune();
                    }
                    more.truncate(node.depth.saturating_sub(1));
                    let name = if node.depth == 0 { place.shown().into_bytes() } else { node.name().to_vec() };
                    self.show(&mut out, &node, &name, &more)?;
                    if node.depth > 0 {
                        more.push(!node.last);
                        match node.file.attributes().is_dir() {
                            true => counts.directories += 1,
                            false => counts.files += 1,
                        }
                    }
                }
                Step::Leave(_) => {}
                Step::Damaged(path, error) => {
                    tell(&shown(&place.dataset.name, &join(&place.path, &path)), error);
                    counts.damaged += 1;
                }
            }
        }
        if self.json {
            out.end_list()?;
        } else {
            out.text(&counts.text(self.directories))?;
        }
        out.finish()?;
        if counts.damaged > 0 { Err(Failure::Found) } else { Ok(()) }
    }

    fn show(&self, out: &mut Out, node: &Node, name: &[u8], more: &[bool]) -> Result<(), Failure> {
        if self.json {
            let (path, path_bytes) = json_name(if node.depth == 0 { b"/" } else { &node.path });
            let r#type = type_name(node.file.attributes().file_type());
            return out.item(&Item { path, path_bytes, depth: node.depth, r#type });
        }
        let lines: String = more.iter().map(|more| if *more { "│   " } else { "    " }).collect();
        let branch = match (node.depth, node.last) {
            (0, _) => "",
            (_, false) => "├── ",
            (_, true) => "└── ",
        };
        out.text(&format!("{lines}{branch}"))?;
        out.name(name)?;
        if let Ok(target) = node.file.link_target() {
            out.text(" -> ")?;
            out.name(&target)?;
        }
        out.text("\n")
    }
}

impl Counts {
    fn text(&self, directories_only: bool) -> String {
        let directories = match self.directories {
            1 => "1 directory".to_owned(),
            count => format!("{count} directories"),
        };
        let files = if directories_only { String::new() } else { format!(", {}", plural(self.files, "file")) };
        format!("\n{directories}{files}\n")
    }
}
