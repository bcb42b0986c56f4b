//! OpenZFS's `zdb` as a judge of an exported pool in image files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{self, Ran};
use super::peer::Peer;

const LIMIT: Duration = Duration::from_secs(600);

/// `zdb` and the folder that holds the images of one pool.
pub struct Zdb {
    peer: Peer,
    folder: PathBuf,
    pool: String,
}

/// What a traversal of all blocks counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Block pointers.
    pub pointers: u64,
    /// Bytes before compression.
    pub logical: u64,
    /// Bytes allocated, all copies together.
    pub allocated: u64,
}

impl Zdb {
    /// For the pool `pool` whose devices lie in `folder`, which holds no other pool of
    /// that name. `None` where `zdb` is missing: test `test` is skipped.
    #[track_caller]
    pub fn find(test: &str, folder: &Path, pool: &str) -> Option<Self> {
        Some(Self { peer: Peer::find(test, "zdb")?, folder: folder.to_owned(), pool: pool.to_owned() })
    }

    /// Runs `zdb -e -p FOLDER OPTIONS... POOL ARGUMENTS...`.
    #[track_caller]
    pub fn run(&self, options: &[&str], arguments: &[&str]) -> Ran {
        let mut command = self.peer.command();
        command.arg("-e").arg("-p").arg(&self.folder).args(options);
        command.arg(&self.pool).args(arguments);
        command::run(&mut command, LIMIT)
    }

    /// Reads every block, checks its checksum, and adds up the space: nothing may be
    /// damaged, leaked or allocated twice.
    pub fn blocks(&self) -> Result<Blocks, String> {
        let ran = self.run(&["-bcc"], &[]);
        judge_blocks(&ran.text(), &ran.errors(), ran.code()).map_err(|complaint| format!("{complaint}\n{ran}"))
    }

    /// Prints every object of every dataset with its block pointers, and returns what
    /// was printed when `zdb` had nothing to complain of.
    pub fn objects(&self) -> Result<String, String> {
        let ran = self.run(&["-dddd"], &[]);
        match complaint(&ran.text(), &ran.errors(), ran.code()) {
            None => Ok(ran.text()),
            Some(complaint) => Err(format!("{complaint}\n{}", ran.errors())),
        }
    }
}

/// What `zdb -bcc` says, judged.
pub fn judge_blocks(stdout: &str, stderr: &str, code: i32) -> Result<Blocks, String> {
    if let Some(complaint) = complaint(stdout, stderr, code) {
        return Err(complaint);
    }
    if !stdout.contains("No leaks (block sum matches space maps exactly)") {
        return Err("zdb -bcc does not say that nothing is leaked".to_owned());
    }
    let count = |name| number(stdout, name).ok_or_else(|| format!("zdb prints no \"{name}\""));
    Ok(Blocks { pointers: count("bp count:")?, logical: count("bp logical:")?, allocated: count("bp allocated:")? })
}

/// The first line that complains, if any.
fn complaint(stdout: &str, stderr: &str, code: i32) -> Option<String> {
    const SIGNS: [&str; 12] = [
        "leaked",
        "allocated multiple times",
        "Error counts:",
        "zdb_blkptr_cb: Got error",
        "ASSERT",
        "Assertion",
        "VERIFY",
        "dmu_bonus_hold failed",
        "could not be opened",
        "invalid",
        "cannot open",
        "Failed",
    ];
    let clean = |line: &&str| !line.contains("verify nothing leaked");
    let sign =
        stdout.lines().chain(stderr.lines()).filter(clean).find(|line| SIGNS.iter().any(|sign| line.contains(sign)));
    match sign {
        Some(line) => Some(format!("zdb says: {}", line.trim())),
        None if code != 0 => Some(format!("zdb ended with {code}")),
        None => None,
    }
}

fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
