//! `tine crash mounts` and `interfaces`.

use clap::Args;
use crash::interfaces::Interface;
use crash::mounts::Mount;
use zfs_ondisk::property::format_size;

use super::{Session, report};
use crate::failure::Failure;
use crate::output;
use crate::table::{Column, Table};

/// List mounted file systems
#[derive(Debug, Args)]
pub(super) struct Mounts {}

/// List network interfaces, their addresses and what went through them
#[derive(Debug, Args)]
pub(super) struct Interfaces {}

impl Mounts {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let (mounts, problems) = crash::mounts::mounts(session.crash)?;
        output::warn("tine", &problems);
        if session.json { output::print_json(&mounts) } else { output::print(&self::mounts(&mounts, "")) }
    }
}

impl Interfaces {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let (interfaces, problems) = crash::interfaces::interfaces(session.crash)?;
        output::warn("tine", &problems);
        if session.json { output::print_json(&interfaces) } else { output::print(&self::interfaces(&interfaces, "")) }
    }
}

/// Mounted file systems as a table.
pub(super) fn mounts(mounts: &[Mount], indent: &str) -> String {
    let headings = [Column::left("FROM"), Column::left("ON"), Column::left("TYPE"), Column::right("SIZE")];
    let more = [Column::right("FREE"), Column::right("VNODES"), Column::left("FLAGS")];
    let mut table = Table::new(headings.into_iter().chain(more).collect());
    for mount in mounts {
        table.push(vec![
            report::visible(&mount.from),
            report::visible(&mount.on),
            report::visible(&mount.kind),
            format_size(mount.size),
            format_size(mount.free),
            mount.vnodes.map(|count| count.to_string()).unwrap_or_default(),
            mount.flags.join(", "),
        ]);
    }
    table.text(indent)
}

/// Interfaces as a table, an address a line.
pub(super) fn interfaces(interfaces: &[Interface], indent: &str) -> String {
    let headings = [Column::left("NAME"), Column::right("MTU"), Column::left("LINK"), Column::right("RECEIVED")];
    let more = [Column::right("SENT"), Column::right("ERRORS"), Column::right("DROPS"), Column::left("ADDRESS")];
    let more = more.into_iter().chain([Column::left("FLAGS")]);
    let mut table = Table::new(headings.into_iter().chain(more).collect());
    for interface in interfaces {
        let mut addresses = interface.addresses.iter();
        table.push(vec![
            report::visible(&interface.name),
            interface.mtu.to_string(),
            interface.link.unwrap_or("-").to_owned(),
            interface.received.to_string(),
            interface.sent.to_string(),
            interface.input_errors.wrapping_add(interface.output_errors).to_string(),
            interface.drops.to_string(),
            addresses.next().cloned().unwrap_or_default(),
            interface.flags.join(","),
        ]);
        for address in addresses {
            let mut row = vec![String::new(); 9];
            row[7] = address.clone();
            table.push(row);
        }
    }
    table.text(indent)
}
