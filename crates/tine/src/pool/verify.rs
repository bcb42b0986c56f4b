//! `tine pool verify`: everything in a pool is read and compared.

use clap::Args;
use serde::Serialize;
use zfs_pool::check::{self, Finding};

use super::open::Opening;
use super::target::{self, Target};
use crate::failure::Failure;
use crate::output;

/// Read and check every allocated block of every copy, and all records against each other
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The pool: its name, or an image file
    #[arg(value_name = "POOL", value_parser = target::target)]
    pool: Target,
    /// Report as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    opening: Opening,
}

#[derive(Serialize)]
struct Report {
    pool: String,
    blocks: u64,
    findings: Vec<String>,
}

impl Verify {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let pool = self.opening.open(&self.pool.pool)?;
        let report = check::check(&pool)?;
        let findings: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
        let report = Report { pool: pool.name().to_owned(), blocks: report.blocks, findings };
        if self.json {
            output::print_json(&report)?;
        } else {
            output::print(&format!("{}: {} blocks\n", report.pool, report.blocks))?;
            for finding in &report.findings {
                output::print(&format!("{finding}\n"))?;
            }
        }
        if report.findings.is_empty() { Ok(()) } else { Err(Failure::Found) }
    }
}
