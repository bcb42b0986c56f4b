//! Mounted file systems (`sys/mount.h`, `mountlist`).

use serde::Serialize;
use symbols::Value;

use crate::dump::Crash;
use crate::error::Result;
use crate::queue;

/// Longest path.
const PATH: usize = 1024;
/// `MNT_RDONLY` and others that `mount` shows.
const FLAGS: [(u64, &str); 18] = [
    (0x1, "read-only"),
    (0x2, "synchronous"),
    (0x4, "noexec"),
    (0x8, "nosuid"),
    (0x20, "union"),
    (0x40, "asynchronous"),
    (0x100, "NFS exported"),
    (0x1000, "local"),
    (0x2000, "with quotas"),
    (0x20_0000, "soft-updates"),
    (0x40_0000, "nosymfollow"),
    (0x200_0000, "gjournal"),
    (0x400_0000, "multilabel"),
    (0x800_0000, "acls"),
    (0x1000_0000, "noatime"),
    (0x1_0000_0000, "journaled soft-updates"),
    (0x2_0000_0000, "automounted"),
    (0x4_0000_0000, "verified"),
];

/// A mounted file system.
#[derive(Clone, Debug, Serialize)]
pub struct Mount {
    /// What is mounted: a device, a dataset.
    pub from: String,
    /// Where.
    pub on: String,
    /// The kind of file system.
    pub kind: String,
    /// Its flags, as `mount` calls them.
    pub flags: Vec<&'static str>,
    /// Its size in bytes, as it was when somebody last asked.
    pub size: u64,
    /// Bytes that were free then.
    pub free: u64,
    /// How many vnodes it has.
    pub vnodes: Option<i64>,
    /// Where its `struct mount` is.
    #[serde(serialize_with = "crate::hex::word")]
    pub address: u64,
}

/// The mounted file systems, in the order of their mounting; and what stopped the walk, if something did.
///
/// # Errors
/// If the list of them is not there.
pub fn mounts(crash: &Crash) -> Result<(Vec<Mount>, Vec<String>)> {
    let list = queue::elements(&crash.program().variable("mountlist")?, "mnt_list")?;
    let mut problems: Vec<String> = list.broken.into_iter().map(|why| format!("mounts: {why}")).collect();
    let mut all = Vec::new();
    for value in &list.elements {
        match mount(value) {
            Ok(mount) => all.push(mount),
            Err(error) => problems.push(format!("mount at {:#x}: {error}", value.address().unwrap_or(0))),
        }
    }
    Ok((all, problems))
}

fn mount(value: &Value) -> Result<Mount> {
    let state = value.field("mnt_stat")?;
    let text = |field: &str| state.field(field)?.string(PATH);
    let number = |field: &str| state.field(field)?.unsigned();
    let block = number("f_bsize")?;
    let flags = value.field("mnt_flag")?.unsigned()?;
    Ok(Mount {
        from: text("f_mntfromname")?,
        on: text("f_mntonname")?,
        kind: text("f_fstypename")?,
        flags: FLAGS.into_iter().filter_map(|(bit, name)| (flags & bit != 0).then_some(name)).collect(),
        size: number("f_blocks")?.saturating_mul(block),
        free: number("f_bfree")?.saturating_mul(block),
        vnodes: value.field("mnt_nvnodelistsize").and_then(|count| count.integer()).ok().map(|count| count as i64),
        address: value.address().unwrap_or(0),
    })
}
