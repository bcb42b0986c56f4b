//! Pools of many kinds that a kernel with OpenZFS made: `zfs_pool` must read them as that
//! kernel did, and `tine pool` find nothing wrong with them.
//!
//! `TINE_POOLS` may name a folder with pools that `tests/vm/jobs/make-variety.sh` made
//! before; that spares the guest, and all kinds that are in it are looked at.

mod common;

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::command::{self, Ran};
use common::made::{Differences, Made};
use common::peer::Peer;
use common::vm::Vm;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zfs_pool::Pool;

const TINE: &str = env!("CARGO_BIN_EXE_tine");
const LIMIT: Duration = Duration::from_secs(300);

/// Kinds of devices, and how many of the first ones each can do without.
const DEVICES: [(&str, usize); 16] = [
    ("raidz1", 1),
    ("raidz2", 2),
    ("raidz3", 3),
    ("raidz1_expanded", 1),
    ("raidz1_expanding", 1),
    ("draid1", 1),
    ("draid2", 2),
    ("draid1_spare", 1),
    ("mirror3", 2),
    ("mirror_stale", 0),
    ("mirror_detached", 1),
    ("spare", 1),
    ("removed", 0),
    ("removed_twice", 0),
    ("removing", 0),
    ("classes", 1),
];

/// Kinds with a device that was not there when something was written.
const OUTDATED: [&str; 3] = ["mirror_stale", "draid1_spare", "spare"];

/// Kinds of datasets and of what is in them.
const DATASETS: [&str; 16] = [
    "encrypted",
    "snapshots",
    "received",
    "redacted",
    "bookmarks",
    "cloned",
    "dedup",
    "gang",
    "blocks",
    "dnodes",
    "names",
    "volumes",
    "quotas",
    "zil",
    "old_filesystems",
    "version15",
];

/// Pools, and the folder to be kept with them: those that `TINE_POOLS` leads to as far as
/// they are `wanted`, or else new ones of these kinds.
fn pools(test: &str, kinds: &[&str], wanted: impl Fn(&str) -> bool) -> Option<(Option<TempDir>, Vec<Made>)> {
    if let Some(folder) = env::var_os("TINE_POOLS") {
        return Some((None, given(Path::new(&folder), wanted)));
    }
    let vm = Vm::find(test)?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let job = vm.job("make-variety", folder.path()).memory(4096).set("KINDS", &kinds.join(" "));
    job.limit(Duration::from_secs(120 * kinds.len() as u64 + 600)).run().succeeds();
    let made = kinds.iter().map(|kind| Made::find(folder.path(), kind).expect("the job made it")).collect();
    Some((Some(folder), made))
}

fn given(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Made> {
    let entries = fs::read_dir(folder).expect("TINE_POOLS is a folder");
    let names = entries.map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned());
    let mut kinds: Vec<String> = names.filter(|kind| wanted(kind)).collect();
    kinds.sort();
    kinds.iter().filter_map(|kind| Made::find(folder, kind)).collect()
}

/// All that `zfs_pool` reads, compared with what the kernel said, with these devices.
fn differences(made: &Made, images: &[PathBuf]) -> Differences {
    let compare = || {
        let pool = Pool::open_paths(images)?;
        for secret in made.secrets() {
            pool.add_secret(secret);
        }
        let mut found = made.compare_datasets(&pool)?;
        found.extend(made.compare_files(&pool)?);
        found.extend(made.compare_volumes(&pool)?);
        Ok(found)
    };
    compare().unwrap_or_else(|error: zfs_pool::Error| vec![error.to_string()])
}

/// What `tine pool verify` finds, which should be nothing but devices that missed something.
fn complaints(made: &Made) -> Differences {
    let ran = pool_command(made, &["verify", "--quiet", "tank"]);
    let said = ran.errors() + &ran.text();
    let mut lines: Vec<String> = said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if OUTDATED.contains(&&*made.kind) {
        let all = lines.len();
        lines.retain(|line| !line.contains("was away when something was written") && line != "Missing devices: 1");
        if lines.len() == all || ran.code() != 1 {
            lines.push("nothing is said of a device that missed something".to_owned());
        }
    } else if ran.code() != 0 {
        lines.push(format!("it ends with {}", ran.code()));
    }
    lines
}

/// What `tine pool get` says, compared with the kernel's words.
fn misquoted(made: &Made) -> Differences {
    let datasets = pool_command(made, &["get", "-rH", "--parsable", "all", "tank"]);
    let pool = pool_command(made, &["get", "-H", "--parsable", "--pool", "all", "tank"]);
    if datasets.code() != 0 || pool.code() != 0 {
        return vec![datasets.to_string(), pool.to_string()];
    }
    let mut differences = made.compare_properties(&datasets.text());
    differences.extend(made.compare_pool_properties(&pool.text()));
    differences
}

/// The counts of objects that `zdb` has, where it is there.
fn miscounted(made: &Made, zdb: Option<&Peer>) -> Differences {
    // `zdb -d` of OpenZFS 2.3.2 does not come to an end where there is a redaction bookmark.
    let Some(zdb) = zdb.filter(|_| !made.text("list.txt").contains("#redaction\t")) else { return Differences::new() };
    let mut command = zdb.command();
    command.args(["-e", "-p"]).arg(made.folder()).args(["-d", "tank"]);
    let ran = command::run(&mut command, LIMIT);
    match Pool::open_paths(made.images()).and_then(|pool| made.compare_counts(&pool, &ran.text())) {
        Ok(differences) => differences,
        Err(error) => vec![error.to_string()],
    }
}

/// What the commands for files make of volumes: `cat` reads one, the others know what it is.
fn misread_volumes(made: &Made) -> Differences {
    let mut differences = Differences::new();
    for volume in made.table("volumes.txt") {
        let [name, size, sum] = &volume[..] else { panic!("{volume:?}") };
        let bytes = pool_command(made, &["cat", name]);
        let digest: String = Sha256::digest(&bytes.stdout).iter().map(|byte| format!("{byte:02x}")).collect();
        if (bytes.stdout.len().to_string(), &digest) != (size.clone(), sum) {
            differences.push(format!("{name}: other bytes, {}", bytes.errors()));
        }
        let stat = pool_command(made, &["stat", name]).text();
        if !stat.contains("type  volume") || !stat.contains(&format!("({size} bytes)")) {
            differences.push(stat);
        }
        for command in ["ls", "tar", "extract"] {
            let ran = pool_command(made, &[command, name]);
            if ran.code() != 3 || !ran.errors().contains(&format!("{name} is a volume, which has no files")) {
                differences.push(format!("{command} {ran}"));
            }
        }
    }
    differences
}

/// The lines of `zpool history` that `tine pool inspect history` has not.
fn forgotten(made: &Made) -> Differences {
    let ours = pool_command(made, &["inspect", "history", "-il", "tank"]).text();
    let ours: HashSet<&str> = ours.lines().map(str::trim_end).collect();
    let theirs = made.text("history.txt").replace(" (root)", "");
    // Of ioctls the layout differs: what they were given is a tree here, too.
    let whole = |line: &&str| line.starts_with("20") && line.ends_with(']') && !line.contains(" ioctl ");
    let wanted: Vec<&str> = theirs.lines().map(str::trim_end).filter(whole).collect();
    if wanted.is_empty() {
        return vec![format!("no line can be compared of {theirs}")];
    }
    wanted.into_iter().filter(|line| !ours.contains(line)).map(str::to_owned).collect()
}

fn pool_command(made: &Made, words: &[&str]) -> Ran {
    let mut command = Command::new(TINE);
    command.arg("pool").args(words).arg("-p").arg(made.folder());
    command.args(made.key_options());
    command::run(&mut command, LIMIT)
}

/// Everything that can be compared when all devices are there.
fn opinions(made: &Made, zdb: Option<&Peer>) -> [(String, Differences); 6] {
    let title = |words: &str| format!("{}{words}", made.kind);
    [
        (title(""), differences(made, &made.images())),
        (title(" verified"), complaints(made)),
        (title(": properties"), misquoted(made)),
        (title(": volumes"), misread_volumes(made)),
        (title(": history"), forgotten(made)),
        (title(" and zdb"), miscounted(made, zdb)),
    ]
}

/// Says all differences of all pools, by kind, and fails if there are any.
#[track_caller]
fn judge(verdicts: Vec<(String, Differences)>) {
    const SHOWN: usize = 12;
    let mut text = String::new();
    for (kind, differences) in verdicts.iter().filter(|(_, differences)| !differences.is_empty()) {
        text += &format!("{kind}: {} differences\n", differences.len());
        differences.iter().take(SHOWN).for_each(|line| text += &format!("    {line}\n"));
    }
    assert!(text.is_empty(), "{text}");
}

#[test]
fn files_on_devices_of_every_kind_are_as_the_kernel_reads_them() {
    let test = "files_on_devices_of_every_kind_are_as_the_kernel_reads_them";
    let kinds = DEVICES.map(|(kind, _)| kind);
    let Some((_folder, pools)) = pools(test, &kinds, |kind| kinds.contains(&kind)) else { return };
    let zdb = Peer::find(test, "zdb");
    let mut verdicts = Vec::new();
    for made in &pools {
        let images = made.images();
        verdicts.extend(opinions(made, zdb.as_ref()));
        let (_, spared) = DEVICES.into_iter().find(|(kind, _)| *kind == made.kind).expect("it is one of them");
        if spared > 0 {
            let without = differences(made, &images[spared..]);
            verdicts.push((format!("{} without {spared} devices", made.kind), without));
        }
    }
    judge(verdicts);
}

#[test]
fn datasets_of_every_kind_are_as_the_kernel_reads_them() {
    let test = "datasets_of_every_kind_are_as_the_kernel_reads_them";
    // Of those that are given, all that the other test leaves.
    let is_other = |kind: &str| DEVICES.iter().all(|(other, _)| *other != kind);
    let Some((_folder, pools)) = pools(test, &DATASETS, is_other) else { return };
    let zdb = Peer::find(test, "zdb");
    judge(pools.iter().flat_map(|made| opinions(made, zdb.as_ref())).collect());
}
