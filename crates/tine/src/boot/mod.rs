//! `tine boot`: where the time goes while FreeBSD boots or shuts down.

mod chart;
mod diff;
mod export;
mod input;
pub(crate) mod picture;
mod top;
mod vmcore;

use clap::Subcommand;

use crate::failure::Failure;

/// Show where boot and shutdown time goes, from the traces of FreeBSD's kernel, a console capture, or a kernel dump
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Chart(chart::DrawChart),
    Top(top::Top),
    Diff(diff::Compare),
    Export(export::Export),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Chart(chart) => chart.run(),
        Command::Diff(diff) => diff.run(),
        Command::Top(top) => top.run(),
        Command::Export(export) => export.run(),
    }
}
