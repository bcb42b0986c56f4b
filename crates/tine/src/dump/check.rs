//! `tine dump check`: whether a dump is whole and right.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value as Json, json};
use vmcore::check::{self, Outcome};

use super::progress::Bar;
use super::reading::Reading;
use crate::failure::Failure;
use crate::output;
use crate::pool::printable;

/// Check all of a kernel dump that can be checked, and say what is wrong
///
/// That is the parity of the header, what it says of the length, the header at the end of a copied partition, the
/// checksum in the manifest, bytes that never arrived, the compression to its end, page tables and the page map.
/// Ends with status 1 if something is wrong.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The dump
    file: PathBuf,
    /// Print as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let files = self.reading.files(&self.file)?;
        let bar = Bar::new(self.json);
        let checks = check::check(&files, &self.reading.options()?, &bar);
        bar.clear();
        let wrong = checks.iter().filter(|check| matches!(check.outcome, Outcome::Wrong(_))).count();
        if self.json {
            let checks: Vec<Json> = checks.iter().map(json_of).collect();
            output::print_json(&json!({
                "file": self.file.display().to_string(), "ok": wrong == 0, "checks": checks,
            }))?;
        } else {
            let width = checks.iter().map(|check| check.what.len()).max().unwrap_or(0);
            let line = |check: &check::Check| {
                let (word, text) = words(&check.outcome);
                format!("  {word:7}  {:width$}  {}\n", check.what, printable(text.as_bytes()))
            };
            let lines: String = checks.iter().map(line).collect();
            let sum = if wrong == 0 { "nothing is wrong".to_owned() } else { output::plural(wrong as u64, "fault") };
            output::print(&format!("{}: {sum}\n{lines}", self.file.display()))?;
        }
        if wrong == 0 { Ok(()) } else { Err(Failure::Found) }
    }
}

fn words(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Right(text) => ("right", text),
        Outcome::Wrong(text) => ("WRONG", text),
        Outcome::Skipped(text) => ("skipped", text),
    }
}

fn json_of(check: &check::Check) -> Json {
    let (word, text) = words(&check.outcome);
    json!({"check": check.what, "outcome": word.to_lowercase(), "found": text})
}
