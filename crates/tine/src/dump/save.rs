//! `tine dump save`: what savecore(8) does, on any host.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use disk::ReadAt;
use serde_json::{Value as Json, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use vmcore::header::Compression;
use vmcore::info::Status;
use vmcore::names::{Kind, Names, State};
use vmcore::store::{Options, Outcome, Stored, Writer};
use zfs_ondisk::property::format_size;

use super::describe;
use super::device::{self, Disk, Dump, Source};
use super::list;
use super::progress::Bar;
use crate::failure::Failure;
use crate::output::{self, Verbosity};
use crate::values;

/// What is read at a time, and around a place that cannot be read.
const CHUNK: usize = 1 << 20;
const SECTOR: usize = 4096;

/// The level of Zstandard that is fast, and that kernels use.
const LEVEL: i32 = 3;

/// Save the kernel dumps on a disk, a partition or an image to files, as savecore(8) does
///
/// Each becomes vmcore.N with info.N, SHA256.N and, if it is encrypted, key.N; N goes on where the file bounds in the
/// directory says. An encrypted one is called vmcore_encrypted, a text dump textdump.tar.
/// The disk is only written to with --clear. Ends with status 1 if a dump has wrong headers or places that cannot be read.
#[derive(Debug, Args)]
pub(crate) struct Save {
    #[command(flatten)]
    source: Source,
    /// The directory for the files
    #[arg(short, long, value_name = "DIRECTORY")]
    dir: PathBuf,
    /// Put the host into the names of the files, vmcore.HOST.N, as tine dump receive does: NAME, or what the dump says
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true)]
    host: Option<Option<String>>,
    /// Mark each dump on the disk as saved, once it is
    #[arg(long)]
    clear: bool,
    /// Compress a dump that is neither compressed nor encrypted, with Zstandard
    #[arg(short = 'z', long)]
    compress: bool,
    /// Save dumps whose headers are wrong, and those that were marked as saved
    #[arg(short, long)]
    force: bool,
    /// Leave so much space free [default: as many kilobytes as the file minfree in the directory says]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    min_free: Option<u64>,
    /// Print as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    verbosity: Verbosity,
}

impl Save {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let bar = Bar::new(self.json || self.verbosity.quiet);
        let disk = self.source.open(&bar)?;
        super::receive::make_directory(&self.dir)?;
        if !self.dir.is_dir() {
            return Err(Failure::work(self.dir.display(), "this is no directory"));
        }
        // Whether that is possible is better known before.
        let writable = if self.clear { Some(disk.writable()?) } else { None };
        let interrupted = interruption()?;
        let mut wrong = false;
        let mut saved = Vec::new();
        for dump in &disk.dumps {
            if dump.is_cleared() && !self.force {
                self.note(&format!("{}: the dump was saved already; --force saves it again", dump.place()));
                continue;
            }
            if !dump.found.problems.is_empty() {
                wrong = true;
                let problems = dump.found.problems.join("; ");
                if !self.force {
                    self.note(&format!("{}: {problems}; --force saves it all the same", dump.place()));
                    continue;
                }
                self.note(&format!("{}: {problems}", dump.place()));
            }
            let stored = self.save(&disk, dump, &bar, &interrupted)?;
            wrong |= stored.state != State::Whole;
            if let Some(file) = &writable {
                let doing = format!("cannot mark the dump of {} as saved", dump.place());
                dump.clear(file).map_err(|error| Failure::work(doing, error))?;
            }
            saved.push((dump, stored));
        }
        bar.clear();
        self.report(&disk, &saved)?;
        if wrong { Err(Failure::Found) } else { Ok(()) }
    }

    fn note(&self, text: &str) {
        output::warn("tine", &[text.to_owned()]);
    }

    fn save(&self, disk: &Disk, dump: &Dump, bar: &Bar, interrupted: &AtomicBool) -> Result<Stored, Failure> {
        let found = &dump.found;
        let header = &found.header;
        let place = match &dump.partition {
            Some(partition) => format!("{} {partition}", disk.path.display()),
            None => disk.path.display().to_string(),
        };
        let failed =
            |error: &dyn std::fmt::Display| Failure::work(format_args!("cannot save the dump of {place}"), error);
        let data = found.data(&dump.device);
        self.check_space(data.size())?;
        let key = found.key(&*dump.device).map_err(|error| failed(&error))?;
        let kind = match (&key, found.is_text) {
            (_, true) => Kind::Text,
            (Some(_), false) => Kind::Encrypted,
            (None, false) => Kind::Core,
        };
        let host = self.host.as_ref().map(|host| host.as_deref().unwrap_or(&header.hostname));
        let names = Names::reserve(&self.dir, host.filter(|host| !host.is_empty())).map_err(|error| failed(&error))?;
        let plain = kind == Kind::Core && header.compression == Compression::None;
        let options = Options { compress: (self.compress && plain).then_some(LEVEL), ..Options::default() };
        let mut writer = Writer::create(names, options).map_err(|error| failed(&error))?;
        bar.start(&format!("saving {place}"), Some(data.size()));
        if let Err(error) = self.copy(&*data, &mut writer, bar, interrupted) {
            // What is left over would look like a dump that was not finished.
            let _ = writer.discard();
            return Err(failed(&error));
        }
        let status = if found.problems.is_empty() { Status::Good } else { Status::Bad };
        let mut header = header.clone();
        // A dump that was saved already is one again.
        header.magic = if found.is_text { vmcore::header::Magic::Text } else { vmcore::header::Magic::Kernel };
        let (source, header) = (place.clone(), Some(header));
        let outcome = Outcome { source, header, status, key, kind, suffix_encrypted: false, finished: true };
        writer.finish(outcome).map_err(|error| failed(&error))
    }

    /// Copies all that can be read.
    fn copy(&self, data: &dyn ReadAt, writer: &mut Writer, bar: &Bar, interrupted: &AtomicBool) -> Result<(), Failure> {
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        let failed = |error: std::io::Error| Failure::Work(error.to_string());
        while at < data.size() {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Work("interrupted".to_owned()));
            }
            let count = (CHUNK as u64).min(data.size() - at) as usize;
            let bytes = buffer.get_mut(..count).unwrap_or_default();
            if data.read_exact_at(bytes, at).is_ok() {
                writer.write_at(bytes, at).map_err(failed)?;
            } else {
                let mut skipped = 0;
                for (index, sector) in bytes.chunks_mut(SECTOR).enumerate() {
                    let place = at + (index * SECTOR) as u64;
                    match data.read_exact_at(sector, place) {
                        Ok(()) => _ = writer.write_at(sector, place).map_err(failed)?,
                        Err(_) => skipped += sector.len(),
                    }
                }
                self.note(&format!("{skipped} bytes at byte {at} of the dump, or somewhat behind, cannot be read"));
            }
            at += count as u64;
            bar.bytes(count as u64);
        }
        Ok(())
    }

    fn check_space(&self, size: u64) -> Result<(), Failure> {
        let system = rustix::fs::statvfs(&self.dir).map_err(|error| Failure::work(self.dir.display(), error))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let keep = self.min_free.unwrap_or_else(|| minfree(&self.dir));
        if free < size.saturating_add(keep) {
            let why = format!(
                "the dump needs {}, {} are free, and {} are to stay free",
                format_size(size),
                format_size(free),
                format_size(keep)
            );
            return Err(Failure::work(format_args!("not enough space in {}", self.dir.display()), why));
        }
        Ok(())
    }

    fn report(&self, disk: &Disk, saved: &[(&Dump, Stored)]) -> Result<(), Failure> {
        if self.json {
            let saved: Vec<Json> = saved.iter().map(|(dump, stored)| json_of(dump, stored)).collect();
            let source = disk.path.display().to_string();
            return output::print_json(&json!({"source": source, "saved": saved}));
        }
        if self.verbosity.quiet {
            return Ok(());
        }
        if disk.dumps.is_empty() {
            return output::print(&format!("{}\n", device::none(&disk.path)));
        }
        let lines: Vec<String> = saved
            .iter()
            .map(|(dump, stored)| {
                let state = match stored.state {
                    State::Whole => String::new(),
                    _ => format!(", {} bytes cannot be read", stored.info.missing.bytes),
                };
                format!("{}: {}{state}\n", stored.data.display(), list::line_of(dump))
            })
            .collect();
        output::print(&lines.concat())
    }
}

/// As many bytes as savecore(8) leaves free: the file has kilobytes.
fn minfree(directory: &Path) -> u64 {
    let text = fs::read_to_string(directory.join("minfree")).unwrap_or_default();
    text.trim().parse::<u64>().map_or(0, |kilobytes| kilobytes.saturating_mul(1024))
}

fn json_of(dump: &Dump, stored: &Stored) -> Json {
    let mut fields = list::json_of(dump);
    let path = |path: PathBuf| json!(path.display().to_string());
    let more = [
        ("file", path(stored.data.clone())),
        ("info", path(stored.names.info())),
        ("key", if stored.info.encryption.is_some() { path(stored.names.key()) } else { Json::Null }),
        ("size", describe::number(stored.size)),
        ("status", json!(stored.info.status.to_string())),
        ("missing_bytes", describe::number(stored.info.missing.bytes)),
        ("sha256", json!(stored.sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>())),
    ];
    if let Some(fields) = fields.as_object_mut() {
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    fields
}

/// Becomes true when a signal asks for the end.
fn interruption() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, flag.clone())
            .map_err(|error| Failure::work("cannot wait for signals", error))?;
    }
    Ok(flag)
}
