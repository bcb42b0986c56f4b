//! What the user may change about all sources.

use std::path::PathBuf;

use crate::glob::Pattern;
use crate::ids::Principal;
use crate::mode::ModeChange;
use crate::node::Timestamp;

/// How sources are merged.
#[derive(Clone, Debug)]
pub struct Options {
    /// Owner of everything, instead of what the sources say.
    pub owner: Option<Principal>,
    /// Group of everything, instead of what the sources say.
    pub group: Option<Principal>,
    /// A change of everything's mode, symbolic links excepted.
    pub mode: Option<ModeChange>,
    /// What to leave out.
    pub exclude: Vec<Pattern>,
    /// What becomes of modification times.
    pub mtime: MtimeRule,
    /// A directory with `master.passwd` (or `passwd`) and `group` that user and group names are looked up in first
    /// (`makefs -N`).
    pub ids: Option<PathBuf>,
    /// Where an unlinked temporary file may be made for the contents of compressed archives.
    pub spool: PathBuf,
    /// Whether extended attributes are read from directories.
    pub xattrs: bool,
}

impl Default for Options {
    /// Nothing is changed or left out; extended attributes are read; spool files go to the system's temporary directory.
    fn default() -> Options {
        Options {
            owner: None,
            group: None,
            mode: None,
            exclude: Vec::new(),
            mtime: MtimeRule::Keep,
            ids: None,
            spool: std::env::temp_dir(),
            xattrs: true,
        }
    }
}

/// What becomes of modification times.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum MtimeRule {
    /// They stay as the sources give them.
    #[default]
    Keep,
    /// Later times become this one (as with `SOURCE_DATE_EPOCH`).
    Clamp(Timestamp),
    /// All become this one (`makefs -T`).
    Set(Timestamp),
}

impl MtimeRule {
    pub(crate) fn apply(self, time: Timestamp) -> Timestamp {
        match self {
            MtimeRule::Keep => time,
            MtimeRule::Clamp(latest) => time.min(latest),
            MtimeRule::Set(set) => set,
        }
    }
}
