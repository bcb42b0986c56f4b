//! Checks the pool that is in the given files: `check IMAGE...`
//!
//! Lists the datasets, then whatever is wrong; the exit status is 1 if anything is.

use std::process::ExitCode;

use zfs_pool::{Error, Pool, check::check};

fn main() -> Result<ExitCode, Error> {
    let pool = Pool::open_paths(std::env::args_os().skip(1))?;
    println!("{pool:?}");
    for dataset in pool.datasets()? {
        println!("{}: {} bytes", dataset.name, dataset.dataset.referenced_bytes);
    }
    let report = check(&pool)?;
    for finding in report.findings.iter().chain(&report.remarks) {
        println!("{finding}");
    }
    println!(
        "{} blocks, {} of {} bytes, {} objects, {} findings",
        report.blocks,
        report.bytes,
        report.allocated,
        report.objects,
        report.findings.len() as u64 + report.omitted
    );
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
