//! How far the work on a dump is, on standard error if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar with a word of what is being done.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar; one that never shows if `quiet`.
    pub(super) fn new(quiet: bool) -> Bar {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Bar(bar)
    }

    /// `what` is done from now on, to `total` bytes if that is known.
    pub(super) fn start(&self, what: &str, total: Option<u64>) {
        let template = match total {
            Some(_) => {
                "{wide_bar} {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left, {msg}"
            }
            None => "{spinner} {msg} {binary_bytes} {elapsed}",
        };
        // The default shows something, too.
        self.0.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.set_length(total.unwrap_or(0));
        self.0.set_position(0);
        self.0.set_message(what.to_owned());
    }

    /// So many bytes more are done.
    pub(super) fn bytes(&self, count: u64) {
        self.0.inc(count);
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl vmcore::check::Progress for Bar {
    fn start(&self, what: &'static str, total: Option<u64>) {
        Bar::start(self, what, total);
    }

    fn bytes(&self, count: u64) {
        Bar::bytes(self, count);
    }
}
