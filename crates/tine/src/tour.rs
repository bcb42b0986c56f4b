//! interim
use clap::Args;
use crate::failure::Failure;
/// x
#[derive(Debug, Args)]
pub(crate) struct Tour {}
impl Tour { pub(crate) fn run(self) -> Result<(), Failure> { Ok(()) } }
