//! `tine crash source`: the lines of code around a place.

use std::fs;
use std::path::{Path, PathBuf};

use anstyle::Style;
use clap::Args;
use serde_json::json;
use symbols::Program;

use super::{Session, print, report, stack};
use crate::failure::Failure;
use crate::output;

const HERE: Style = Style::new().bold();
/// The largest file that is read.
const MOST: u64 = 64 << 20;
/// Stretches of code that are gone through for one that has a line.
const MOST_RANGES: usize = 64;

/// Show the source around a function, an address or a line (with -s)
#[derive(Debug, Args)]
pub(super) struct Source {
    /// A function, an address, or `FILE:LINE` [default: where the trap happened, or else the panic]
    place: Option<String>,
    /// Lines before and after
    #[arg(short = 'n', long, value_name = "N", default_value_t = 8)]
    lines: u32,
}

impl Source {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let Some(root) = &session.source else {
            return Err(Failure::Usage(
                "where the sources are has to be told: -s DIR, the folder that has sys".to_owned(),
            ));
        };
        let (file, line) = self.place(session)?;
        let (path, lines) = around(root, &file, line, self.lines)?;
        if session.json {
            let lines: Vec<_> = lines.iter().map(|(number, text)| json!({ "line": number, "text": text })).collect();
            return output::print_json(&json!({ "file": file, "line": line, "lines": lines }));
        }
        let mut out = format!("{}:{line}\n", path.display());
        for (number, text) in lines {
            let text = report::visible(&text);
            out += &match number == line {
                true => format!("{HERE}> {number:>6}  {text}{HERE:#}\n"),
                false => format!("  {number:>6}  {text}\n"),
            };
        }
        output::print(&out)
    }

    /// The file, as the compiler named it, and the line.
    fn place(&self, session: &Session<'_>) -> Result<(String, u32), Failure> {
        let program = session.crash.program();
        let line_of = |address: u64| {
            let line = program.line(address).filter(|line| line.line > 0);
            line.map(|line| (line.file, line.line))
                .ok_or_else(|| Failure::Work(format!("no source line is known for {address:#x}")))
        };
        let Some(place) = &self.place else {
            let frame = crash::Report::of(session.crash).backtrace;
            let at = frame.iter().position(|frame| frame.trap.as_ref().is_some_and(|trap| !trap.user));
            let culprit = at.and_then(|at| frame.get(at + 1)).or(frame.first());
            let known = culprit.and_then(|frame| match frame.line {
                Some(line) => Some((frame.file.clone()?, u32::try_from(line).ok()?)),
                None => before(program, frame.address, frame.offset?),
            });
            return known.ok_or_else(|| Failure::Work("no source line is known for the panic".to_owned()));
        };
        if let Some((file, line)) = place.rsplit_once(':')
            && let Ok(line) = line.parse()
        {
            return Ok((file.to_owned(), line));
        }
        match print::address(place) {
            Some(address) => line_of(address),
            None => line_of(program.symbol(place)?.address),
        }
    }
}

/// The last line before an address in the function that begins so many bytes before it: optimizers make code that no line
/// stands for.
fn before(program: &Program, address: u64, offset: u64) -> Option<(String, u32)> {
    let (begin, mut at) = (address.saturating_sub(offset), address);
    for _ in 0..MOST_RANGES {
        let (line, start, _) = program.line_range(at)?;
        if line.line > 0 {
            return Some((line.file, line.line));
        }
        at = start.checked_sub(1).filter(|at| *at >= begin)?;
    }
    None
}

/// The file that the compiler knew by a name, and its lines around a line, with their numbers.
pub(super) fn around(root: &Path, file: &str, line: u32, more: u32) -> Result<(PathBuf, Vec<(u32, String)>), Failure> {
    let path = find(root, file)
        .ok_or_else(|| Failure::Work(format!("{} is not in {}", stack::short(file), root.display())))?;
    let failed = |error: std::io::Error| Failure::work(format_args!("cannot read {}", path.display()), error);
    if fs::metadata(&path).map_err(failed)?.len() > MOST {
        return Err(Failure::work(path.display(), "it is too large for a source file"));
    }
    let text = String::from_utf8_lossy(&fs::read(&path).map_err(failed)?).into_owned();
    let shown = line.saturating_sub(more).max(1)..=line.saturating_add(more);
    let lines = (1u32..).zip(text.lines()).filter(|(number, _)| shown.contains(number));
    let lines = lines.map(|(number, text)| (number, text.to_owned())).collect();
    Ok((path, lines))
}

/// A source file below a folder: its path from `sys` on, as that is what all trees of sources have in common.
fn find(root: &Path, file: &str) -> Option<PathBuf> {
    let relative = stack::short(file).trim_start_matches('/');
    // What a file of debug information says is not to lead out of the folder.
    let parts: Vec<&str> = relative.split('/').collect();
    let mut plain: Vec<&str> = Vec::new();
    for part in parts {
        match part {
            "" | "." => {}
            ".." => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    let candidates = (0..plain.len()).map(|skip| root.join(plain.get(skip..).unwrap_or_default().join("/")));
    candidates.into_iter().find(|path| path.is_file())
}
