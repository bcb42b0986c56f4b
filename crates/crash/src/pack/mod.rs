//! Packs: one file with what a colleague needs to look into a crash.
//!
//! A pack is a tar archive, compressed with Zstandard, of what would else lie in one folder: `manifest.json`, which comes
//! first and says what there is; `info.0` and `ranges.0`; the kernel, its modules and their debug files; and `vmcore.0`,
//! the dump as a sparse file that has only what was read of it while the [`Recording`] was asked. Nothing in a pack
//! depends on the clock, on names of files or on where it was made. See `docs/formats/crash-pack.md`.
//!
//! [`Crash::open`](crate::Crash::open) takes a pack where it takes a dump.

mod open;
mod record;
mod tar;

use serde::{Deserialize, Serialize};

pub(crate) use open::Pack;
pub use open::manifest;
pub use record::Recording;

/// What a manifest calls itself.
const FORMAT: &str = "tine crash pack";
/// The version of the format.
const VERSION: u32 = 1;
/// Names of members.
const MANIFEST: &str = "manifest.json";
const INFO: &str = "info.0";
const RANGES: &str = "ranges.0";
const DUMP: &str = "vmcore.0";
/// The most bytes of a manifest or info file.
const MOST_TEXT: u64 = 4 << 20;
/// The most bytes of a list of ranges.
const MOST_RANGES: u64 = 256 << 20;
/// The most bytes that a pack has when it is unpacked.
const MOST: u64 = 16 << 30;
/// How Zstandard files begin.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What a pack says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// `tine crash pack`.
    format: String,
    /// The version of the format, 1.
    version: u32,
    /// The first line of the kernel's version.
    pub kernel: Option<String>,
    /// The kernel's architecture.
    pub architecture: String,
    /// Whether everything was left out that was not read itself.
    pub redacted: bool,
    /// The dump.
    pub dump: PackedDump,
    /// The files, in their order.
    pub files: Vec<PackedFile>,
    /// What is in the pack that may be a secret, in sentences.
    pub contains: Vec<String>,
    /// What was left out, in sentences.
    pub left_out: Vec<String>,
    /// What was asked for beyond the report.
    pub asked: Vec<String>,
}

/// The dump in a pack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PackedDump {
    /// Its size when it was whole, in bytes, neither compressed nor encrypted.
    pub size: u64,
    /// How many of its bytes there are.
    pub kept: u64,
    /// How many bytes had been missing before.
    pub missing: u64,
}

/// A file in a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedFile {
    /// Its name.
    pub name: String,
    /// Its size, in bytes.
    pub size: u64,
    /// What it is.
    pub role: Role,
    /// The image, `kernel` or the name of a module, whose file it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// What a file in a pack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// What the dump's header says, as savecore(8) writes it.
    Info,
    /// Which bytes of the dump there are.
    Ranges,
    /// The kernel or a module.
    Image,
    /// Its debug file.
    Debug,
    /// The dump.
    Dump,
}
