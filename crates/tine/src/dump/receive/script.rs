//! The program that is run after each dump, with the arguments of netdumpd(8).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use netdump::receiver::Ending;
use netdump::server::{Ended, Outcome};
use rustix::fs::{Access, access};
use vmcore::names::{Kind, State};

use crate::failure::Failure;

/// It runs once at a time, in the order in which dumps ended.
pub(super) struct Script {
    path: PathBuf,
    jobs: Sender<Command>,
    runner: JoinHandle<()>,
}

impl Script {
    pub(super) fn new(path: &Path) -> Result<Script, Failure> {
        let failed = |why: &dyn std::fmt::Display| Failure::work(format_args!("cannot run {}", path.display()), why);
        // The directory is another when it runs.
        let path = path.canonicalize().map_err(|error| failed(&error))?;
        access(&path, Access::EXEC_OK).map_err(|error| failed(&error))?;
        let (jobs, queue) = mpsc::channel::<Command>();
        let runner = thread::spawn(move || {
            for mut job in queue {
                let name = Path::new(job.get_program()).display().to_string();
                match job.status() {
                    Ok(status) if status.success() => {}
                    Ok(status) => anstream::eprintln!("tine: {name} ended with {status}"),
                    Err(error) => anstream::eprintln!("tine: cannot run {name}: {error}"),
                }
            }
        });
        Ok(Script { path, jobs, runner })
    }

    /// Runs it for a dump that has ended.
    pub(super) fn run(&self, ended: &Ended, directory: &Path) {
        let names = &ended.client.names;
        let (outcome, data) = match (&ended.outcome, &ended.how) {
            (Outcome::Stored(stored), Ending::Finished) if stored.state == State::Whole => {
                ("success", stored.data.clone())
            }
            (Outcome::Stored(stored), Ending::Finished) => ("incomplete", stored.data.clone()),
            (Outcome::Stored(stored), Ending::Silent | Ending::StartedOver | Ending::Stopped) => {
                ("timeout", stored.data.clone())
            }
            (Outcome::Stored(stored), _) => ("error", stored.data.clone()),
            (Outcome::Failed(_) | Outcome::Nothing, _) => ("error", names.data(Kind::Core, "", State::Partial)),
        };
        // The files are told as netdumpd does it: by paths in the directory, which is the current one.
        let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        let below = |path: &Path| path.strip_prefix(&directory).unwrap_or(path).to_owned();
        let mut command = Command::new(&self.path);
        command
            .arg(outcome)
            .arg(ended.client.address.ip().to_canonical().to_string())
            .arg(&ended.client.host)
            .arg(below(&names.info()))
            .arg(below(&data))
            .current_dir(&directory)
            .stdin(Stdio::null())
            // Standard output is for what this program says.
            .stdout(Stdio::from(std::io::stderr()));
        // The runner ends after this.
        let _ = self.jobs.send(command);
    }

    /// Waits until it has run for all.
    pub(super) fn wait(self) {
        drop(self.jobs);
        // It says itself what goes wrong.
        let _ = self.runner.join();
    }
}
