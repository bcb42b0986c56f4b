//! Jobs in the small virtual machine (`tests/vm/run`): a real kernel as a judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::command::{self, Ran};
use super::peer;

/// The virtual machine, known to be complete on this host.
pub struct Vm {
    folder: PathBuf,
    /// What runs guests: `kvm`, `tcg`.
    pub accelerator: String,
    /// What guests begin with: programs and modules of OpenZFS, for the kernel beside it.
    pub initramfs: PathBuf,
}

impl Vm {
    /// The machine, or `None` where a piece of it is missing: test `test` is skipped.
    #[track_caller]
    pub fn find(test: &str) -> Option<Self> {
        let folder = super::project().join("tests/vm");
        // The first call may have to put the initramfs together and to try KVM.
        let probe = command::run(Command::new(folder.join("run")).arg("--probe"), Duration::from_secs(900));
        match probe.code() {
            0 => {
                let text = probe.text();
                let after = |word: &str| {
                    let rest = text.split_once(word).map_or("", |(_, rest)| rest);
                    rest.split([',', '\n']).next().unwrap_or_default().to_owned()
                };
                Some(Self { folder, accelerator: after("accelerator "), initramfs: after("initramfs ").into() })
            }
            77 => {
                let why = format!("the small VM cannot run here: {}", probe.text().trim());
                peer::skip(test, &why);
                None
            }
            _ => panic!("the small VM is broken:\n{probe}"),
        }
    }

    /// The kernel of guests, as a boot loader starts it.
    pub fn kernel(&self) -> PathBuf {
        let name = self.initramfs.file_name().expect("it has a name").to_string_lossy().into_owned();
        let version = name.trim_start_matches("initramfs-").rsplit_once('-').expect("it ends with a key").0;
        Path::new("/boot").join(format!("vmlinuz-{version}"))
    }

    /// Job `name` of `tests/vm/jobs`, with `share` as its `/share`.
    pub fn job(&self, name: &str, share: &Path) -> Job {
        self.script(&self.folder.join(format!("jobs/{name}.sh")), share)
    }

    /// The job script at `path`, with `share` as its `/share`.
    pub fn script(&self, path: &Path, share: &Path) -> Job {
        let mut command = Command::new(self.folder.join("run"));
        command.arg("--share").arg(share);
        Job { command, script: path.to_owned(), variables: Vec::new(), limit: Duration::from_secs(600) }
    }

    /// Writes the manifest of the file tree at `tree` to `share/manifest`, and where its
    /// holes are to `share/holes`, for the job `verify`.
    #[track_caller]
    pub fn describe(&self, tree: &Path, share: &Path) {
        for (words, name) in [(&["make", "--counted"][..], "manifest"), (&["holes"], "holes")] {
            let mut command = Command::new("/usr/bin/python3");
            command.arg("-B").arg(self.folder.join("manifest.py"));
            command.args(words).arg(tree);
            let text = command::run(&mut command, Duration::from_secs(300)).succeeds();
            fs::write(share.join(name), text.stdout).expect("the share can be written to");
        }
    }
}

/// A job about to run.
pub struct Job {
    command: Command,
    script: PathBuf,
    variables: Vec<String>,
    limit: Duration,
}

impl Job {
    /// Attaches `image` as the next disk: /dev/vda, /dev/vdb and so on.
    pub fn disk(mut self, image: &Path) -> Self {
        self.command.arg("--disk").arg(image);
        self
    }

    /// Gives the guest this much memory in MiB.
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.command.args(["--memory", &mebibytes.to_string()]);
        self
    }

    /// Sets a variable of the job.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push(format!("{name}={value}"));
        self
    }

    /// Ends the guest after this long (600 seconds where nothing is said).
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the job. Another guest that is running is waited for.
    #[track_caller]
    pub fn run(mut self) -> Ran {
        self.command.args(["--timeout", &self.limit.as_secs().to_string()]).arg(&self.script).args(&self.variables);
        // Beyond the guest's own limit: the wait for guests of other test programs.
        command::run(&mut self.command, self.limit + Duration::from_secs(1800))
    }
}
