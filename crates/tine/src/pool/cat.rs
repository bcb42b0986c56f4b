//! `tine pool cat`: the bytes of files and volumes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::thread;

use clap::Args;
use zfs_pool::fs::{self, FileType};

use super::open::Opening;
use super::out;
use super::place::{Contents, Place, Places, tell};
use super::target::{self, Target};
use crate::failure::Failure;

/// Zeros for holes.
static ZEROS: [u8; 128 << 10] = [0; 128 << 10];

/// Write the contents of files or volumes to standard output
///
/// Holes are written as zeros. A target without a path is a volume: all its bytes are written.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// Files: pool/dataset@snapshot:/path; volumes: pool/volume
    #[arg(value_name = "TARGET", required = true, value_parser = target::target)]
    targets: Vec<Target>,
    #[command(flatten)]
    opening: Opening,
}

impl Cat {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        // The standard library's own looks for the ends of lines in all that it writes.
        let mut to = File::from(stdout.map_err(out::failed)?);
        let mut places = Places::new(&self.opening);
        let mut damaged = false;
        for target in &self.targets {
            let place = places.open(target)?;
            let contents = contents(&place)?;
            if matches!(place.contents, Contents::Volume(_)) && io::stdout().is_terminal() {
                return Err(Failure::Usage(format!(
                    "{} is a volume, whose bytes are not for a terminal: send them to a file or another program",
                    place.shown()
                )));
            }
            damaged |= !copy(&contents, &mut to, &place.shown())?;
        }
        if damaged { Err(Failure::Found) } else { Ok(()) }
    }
}

fn contents(place: &Place) -> Result<fs::Contents, Failure> {
    match &place.contents {
        Contents::Volume(volume) if place.path.is_empty() => Ok(volume.contents().clone()),
        _ => {
            let file = place.file(true)?;
            match file.attributes().file_type() {
                Some(FileType::Regular) => Ok(file.contents()),
                kind => Err(Failure::Work(format!(
                    "{} is a {}, not a file",
                    place.shown(),
                    super::describe::type_name(kind)
                ))),
            }
        }
    }
}

/// Writes all bytes; stops at the first block that cannot be read, tells it, and gives `false`.
fn copy(contents: &fs::Contents, to: &mut impl Write, shown: &str) -> Result<bool, Failure> {
    let mut position = 0;
    for piece in contents.pieces(threads()) {
        let bytes = match piece.bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                tell(&format!("{shown}: after {position} bytes"), error);
                return Ok(false);
            }
        };
        zeros(to, piece.range.start - position)?;
        to.write_all(&bytes).map_err(out::failed)?;
        position = piece.range.end;
    }
    zeros(to, contents.size().saturating_sub(position))?;
    Ok(true)
}

/// Writes a hole.
fn zeros(to: &mut impl Write, mut count: u64) -> Result<(), Failure> {
    while count > 0 {
        let part = count.min(ZEROS.len() as u64);
        to.write_all(&ZEROS[..part as usize]).map_err(out::failed)?;
        count -= part;
    }
    Ok(())
}

/// How many threads read ahead: the machine's.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(16)
}
