//! A line for each client, on standard error if that is a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use netdump::receiver::DumpId;
use netdump::server::Progress;
use zfs_ondisk::property::format_size;

pub(super) struct Screen {
    all: MultiProgress,
    lines: BTreeMap<DumpId, Line>,
}

struct Line {
    bar: ProgressBar,
    /// When it was shown last, and how many bytes there were then.
    shown: (Duration, u64),
    rate: f64,
}

impl Screen {
    /// Lines; ones that never show if `hidden`.
    pub(super) fn new(hidden: bool) -> Screen {
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Screen { all: MultiProgress::with_draw_target(target), lines: BTreeMap::new() }
    }

    /// Writes a line that stays, above the others.
    pub(super) fn say(&self, line: &str) {
        if self.all.is_hidden() {
            anstream::eprintln!("{line}");
        } else {
            // Where this fails, nobody would see it anyhow.
            let _ = self.all.println(line);
        }
    }

    pub(super) fn update(&mut self, progress: &[Progress], now: Duration) {
        self.lines.retain(|dump, line| {
            let keep = progress.iter().any(|other| other.dump == *dump);
            if !keep {
                line.bar.finish_and_clear();
            }
            keep
        });
        for dump in progress {
            let line = self.lines.entry(dump.dump).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::no_length());
                bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
                Line { bar, shown: (dump.began, 0), rate: 0.0 }
            });
            let (then, before) = line.shown;
            let seconds = now.saturating_sub(then).as_secs_f64();
            if seconds > 0.0 {
                let rate = dump.bytes.saturating_sub(before) as f64 / seconds;
                line.rate = if before == 0 { rate } else { line.rate * 0.7 + rate * 0.3 };
            }
            line.shown = (now, dump.bytes);
            line.bar.set_message(format!(
                "{}.{}: {}, {}/s, {:.1} % late or lost",
                dump.client.host,
                dump.client.names.number(),
                format_size(dump.bytes),
                format_size(line.rate as u64),
                dump.counters.loss() * 100.0
            ));
        }
    }
}
