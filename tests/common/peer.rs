//! Programs and data that a test asks for a verdict, and that a machine may lack.
//!
//! A test whose peer is missing says so in a line that begins with `skipped:`, even
//! where the test harness keeps the output of passing tests to itself. With
//! `TINE_REQUIRE_PEERS` set to anything but `0` it fails instead.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An installed program.
pub struct Peer {
    path: PathBuf,
}

impl Peer {
    /// `program`, where it is installed; otherwise test `test` is to return at once.
    #[track_caller]
    pub fn find(test: &str, program: &str) -> Option<Self> {
        let found = locate(program);
        if found.is_none() {
            skip(test, &format!("{program} is not installed"));
        }
        found.map(|path| Self { path })
    }

    /// A command that runs the program.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

/// The corpus of real pools that lies beside the project. It is not part of the project
/// and cannot be installed, so that its absence is never a failure.
pub fn corpus(test: &str) -> Option<PathBuf> {
    let path = super::project().join("../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    say(test, "there is no corpus beside the project");
    None
}

/// Says that `test` is skipped and why; fails it where peers are required.
#[track_caller]
pub fn skip(test: &str, why: &str) {
    say(test, why);
    let required = env::var_os("TINE_REQUIRE_PEERS").is_some_and(|value| value != "0");
    assert!(!required, "{test} must not be skipped: {why}");
}

/// Says that `test` is skipped and why, where no peer is to blame.
pub fn say(test: &str, why: &str) {
    // Not `eprintln!`, which the test harness captures.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// `program` in the search path, or where administrators' programs are.
fn locate(program: &str) -> Option<PathBuf> {
    let search = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&search)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
