//! Progress on a terminal.

use std::cell::Cell;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Files between two messages.
const FILES_PER_MESSAGE: u64 = 256;

/// A bar on standard error, if that is a terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    files: Cell<u64>,
    all_files: Cell<u64>,
}

impl Bar {
    /// A bar; one that never shows if `quiet`.
    pub(crate) fn new(quiet: bool) -> Bar {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {msg} {elapsed}"));
        bar.set_message("listing files");
        // A thread that draws is no use where nothing is drawn.
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Bar { bar, files: Cell::new(0), all_files: Cell::new(0) }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show_files(&self) {
        self.bar.set_message(format!("{} of {} files", self.files.get(), self.all_files.get()));
    }
}

impl zfs_image::Progress for Bar {
    fn start(&self, bytes: u64, files: u64) {
        self.all_files.set(files);
        self.show_files();
        self.bar.set_style(style(
            "{wide_bar} {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left, {msg}",
        ));
        self.bar.set_length(bytes);
    }

    fn bytes(&self, count: u64) {
        self.bar.inc(count);
    }

    fn files(&self, count: u64) {
        let before = self.files.replace(self.files.get() + count);
        if before / FILES_PER_MESSAGE != self.files.get() / FILES_PER_MESSAGE {
            self.show_files();
        }
    }
}

/// How far the verification of a pool is, on standard error if that is a terminal.
pub(crate) struct Verification(ProgressBar);

impl Verification {
    /// A bar; one that never shows if `quiet`.
    pub(crate) fn new(quiet: bool) -> Verification {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {msg} {elapsed}"));
        bar.set_message("verifying");
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Verification(bar)
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl zfs_pool::check::Progress for Verification {
    fn start(&self, bytes: u64) {
        self.0.set_style(style(
            "{wide_bar} {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left, {msg}",
        ));
        self.0.set_length(bytes);
    }

    fn bytes(&self, count: u64) {
        self.0.inc(count);
    }

    fn stage(&self, name: &str) {
        self.0.set_message(name.to_owned());
    }
}

/// How far a disk is copied, on standard error if that is a terminal.
pub(crate) struct Copying(ProgressBar);

impl Copying {
    /// A bar for so many bytes; one that never shows if `quiet`.
    pub(crate) fn new(bytes: u64, quiet: bool) -> Copying {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        bar.set_style(style("{wide_bar} {percent}% {binary_bytes}/{binary_total_bytes} {eta} left"));
        Copying(bar)
    }

    /// Says up to which byte it has come.
    pub(crate) fn at(&self, byte: u64) {
        self.0.set_position(byte);
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The default shows something, too.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
