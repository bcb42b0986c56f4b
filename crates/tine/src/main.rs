//! `tine`, a workbench for FreeBSD systems: arguments become a library's call, and what that returns becomes text or
//! JSON. One module for each prong; the rest is what they share.

mod boot;
mod cli;
mod crash;
mod destination;
mod dump;
mod failure;
mod image;
mod job;
mod makefs;
mod output;
mod pool;
mod progress;
mod sources;
mod table;
mod tour;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let program = cli::called_as(&arguments);
    match cli::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(told @ (Failure::Found | Failure::Closed)) => told.exit_code(),
        Err(failure) => {
            output::failure(program, &failure);
            // The makefs that scripts know has one status for all that goes wrong.
            if program == "makefs" { ExitCode::FAILURE } else { failure.exit_code() }
        }
    }
}
