//! `tine boot chart`: a picture of a boot.

use std::io::Write;
use std::path::PathBuf;

use boottrace::Chart;
use clap::Args;

use super::input::{Boot, Wanted};
use super::picture::Picture;
use crate::failure::Failure;

/// Draw boots in the order of time, as a file for browsers: loader, kernel threads, rc and daemons in lanes
#[derive(Debug, Args)]
pub(crate) struct DrawChart {
    /// The logs, or dumps of kernels that kept one; those of several boots are drawn under each other; - is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    picture: Picture,
    #[command(flatten)]
    wanted: Wanted,
}

impl DrawChart {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let sheet = self.picture.begin()?;
        let boots = self.wanted.boots(&self.logs)?.into_iter().map(|boot| self.wanted.booted(boot));
        let boots: Vec<_> = boots.map(|Boot { name, timeline }| (name, timeline)).collect();
        let chart = Chart::new(&boots);
        drop(boots);
        let is_page = self.picture.is_page();
        sheet.write(|out: &mut dyn Write| if is_page { chart.write_html(out) } else { chart.write_svg(out) })
    }
}
