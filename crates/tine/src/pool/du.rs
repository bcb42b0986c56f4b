//! `tine pool du`: the space that directory trees take.

use std::collections::HashSet;

use clap::{ArgAction, Args};
use serde::Serialize;
use zfs_ondisk::property::format_size;

use super::open::Opening;
use super::out::{Out, json_name};
use super::place::{Place, Places, shown, tell};
use super::target::{self, Target};
use super::walk::{Node, Step, Walk, join};
use crate::failure::Failure;

/// Show the space that directories and what is in them take
///
/// The first number is what is allocated, with all copies, parity, indirect blocks; the second is the sum of the lengths
/// of files. A file with several names counts once.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Du {
    /// Directories: pool/dataset@snapshot:/path
    #[arg(value_name = "TARGET", required = true, value_parser = target::target)]
    targets: Vec<Target>,
    /// Show files, too
    #[arg(short, long)]
    all: bool,
    /// Show only the sum of each target
    #[arg(short, long, conflicts_with_all = ["all", "depth"])]
    summarize: bool,
    /// Show no directories further down than this
    #[arg(short, long, value_name = "N")]
    depth: Option<usize>,
    /// Show sizes as 1.5K, 2M, 3G instead of bytes
    #[arg(short = 'h', long)]
    human: bool,
    /// List as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    opening: Opening,
}

/// What a directory and all below it take.
#[derive(Clone, Copy, Default)]
struct Sum {
    allocated: u64,
    apparent: u64,
}

#[derive(Serialize)]
struct Item {
    dataset: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    allocated: u64,
    apparent: u64,
}

impl Du {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut places = Places::new(&self.opening);
        let mut out = Out::new()?;
        let mut damaged = false;
        for target in &self.targets {
            damaged |= !self.place(&places.open(target)?, &mut out)?;
        }
        if self.json {
            out.end_list()?;
        }
        out.finish()?;
        if damaged { Err(Failure::Found) } else { Ok(()) }
    }

    /// Shows a place, and tells whether all of it could be read.
    fn place(&self, place: &Place, out: &mut Out) -> Result<bool, Failure> {
        let mut sums: Vec<Sum> = Vec::new();
        let mut linked = HashSet::new();
        let mut sound = true;
        for step in Walk::new(place.file(false)?) {
            match step {
                Step::Visit(node) => {
                    let is_dir = node.file.attributes().is_dir();
                    let counts = is_dir || node.file.attributes().links < 2 || linked.insert(node.identity());
                    let sum = if counts { Sum::of(&node) } else { Sum::default() };
                    if is_dir {
                        sums.push(sum);
                        continue;
                    }
                    if node.depth == 0 || (self.all && self.shows(node.depth)) {
                        self.print(out, place, &node.path, sum)?;
                    }
                    add(&mut sums, sum);
                }
                Step::Leave(node) => {
                    let sum = sums.pop().unwrap_or_default();
                    if self.shows(node.depth) {
                        self.print(out, place, &node.path, sum)?;
                    }
                    add(&mut sums, sum);
                }
                Step::Damaged(path, error) => {
                    tell(&shown(&place.dataset.name, &join(&place.path, &path)), error);
                    sound = false;
                }
            }
        }
        Ok(sound)
    }

    fn shows(&self, depth: usize) -> bool {
        depth == 0 || (!self.summarize && self.depth.is_none_or(|most| depth <= most))
    }

    fn print(&self, out: &mut Out, place: &Place, path: &[u8], sum: Sum) -> Result<(), Failure> {
        let path = join(&place.path, path);
        if self.json {
            let (path, path_bytes) = json_name(&path);
            let Sum { allocated, apparent } = sum;
            return out.item(&Item { dataset: place.dataset.name.clone(), path, path_bytes, allocated, apparent });
        }
        let size = |bytes: u64| if self.human { format_size(bytes) } else { bytes.to_string() };
        let width = if self.human { 6 } else { 14 };
        out.text(&format!("{:>width$} {:>width$}  ", size(sum.allocated), size(sum.apparent)))?;
        out.name(&path)?;
        out.text("\n")
    }
}

impl Sum {
    fn of(node: &Node) -> Self {
        let attributes = node.file.attributes();
        // The size of a directory is the number of its names.
        let apparent = if attributes.is_dir() { 0 } else { attributes.size };
        Self { allocated: node.file.object().dnode().used_bytes(), apparent }
    }
}

fn add(sums: &mut [Sum], sum: Sum) {
    if let Some(above) = sums.last_mut() {
        above.allocated = above.allocated.saturating_add(sum.allocated);
        above.apparent = above.apparent.saturating_add(sum.apparent);
    }
}
