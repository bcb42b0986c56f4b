//! `tine crash msgbuf`: what the kernel printed.

use clap::Args;

use super::{Session, report};
use crate::failure::Failure;
use crate::output;

/// Print the message buffer: what the kernel printed last
#[derive(Debug, Args)]
pub(super) struct Messages {
    /// Only what nobody had read, and so is in no log
    #[arg(long)]
    unread: bool,
}

impl Messages {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let messages = crash::messages::messages(session.crash)?;
        if session.json {
            return output::print_json(&messages);
        }
        if !messages.ordered {
            output::warn("tine", &["where the text begins is not known: the newest may stand first".to_owned()]);
        }
        let text = if self.unread { &messages.unread } else { &messages.text };
        let lines = text.split_inclusive('\n');
        output::print(&lines.map(|line| report::visible(line.trim_end_matches('\n')) + "\n").collect::<String>())
    }
}
