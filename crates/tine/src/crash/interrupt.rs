//! Ctrl-C, which ends a command of the shell and not the shell.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static WANTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether work is to end; memory of the dump cannot be read while it is set.
pub(super) fn flag() -> Arc<AtomicBool> {
    WANTED.get_or_init(Arc::default).clone()
}

/// From now on Ctrl-C is noted, and ends nothing by itself.
pub(super) fn watch() -> io::Result<()> {
    signal_hook::flag::register(signal_hook::consts::SIGINT, flag()).map(drop)
}

/// Whether Ctrl-C was pressed since [`clear`].
pub(super) fn is_wanted() -> bool {
    flag().load(Ordering::Relaxed)
}

/// Forgets it.
pub(super) fn clear() {
    flag().store(false, Ordering::Relaxed);
}
