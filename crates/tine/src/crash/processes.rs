//! `tine crash ps`, `threads`, `modules`.

use clap::Args;
use crash::threads::{Process, processes};

use super::{Session, report};
use crate::failure::Failure;
use crate::output;
use crate::table::{Column, Table};

/// List the processes
#[derive(Debug, Args)]
pub(super) struct Processes {}

/// List the threads of all processes, or of one
#[derive(Debug, Args)]
pub(super) struct Threads {
    /// The number or name of a process
    #[arg(value_name = "PROCESS")]
    process: Option<String>,
}

/// List the kernel and its modules
#[derive(Debug, Args)]
pub(super) struct Modules {}

impl Processes {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let all = read(session)?;
        if session.json {
            return output::print_json(&all);
        }
        let headings = [Column::right("PID"), Column::right("PPID"), Column::right("UID"), Column::left("STATE")];
        let more = [Column::right("THREADS"), Column::left("WAITS FOR"), Column::left("ADDRESS"), Column::left("NAME")];
        let mut table = Table::new(headings.into_iter().chain(more).collect());
        for process in &all {
            let wait = match process.threads.as_slice() {
                [thread] => thread.wait.clone().unwrap_or_default(),
                _ => String::new(),
            };
            table.push(vec![
                process.pid.to_string(),
                process.parent.to_string(),
                process.uid.map(|uid| uid.to_string()).unwrap_or_default(),
                process.state.clone(),
                process.threads.len().to_string(),
                report::visible(&wait),
                format!("{:#x}", process.address),
                report::visible(&process.name),
            ]);
        }
        output::print(&table.text(""))
    }
}

impl Threads {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let mut all = read(session)?;
        if let Some(wanted) = &self.process {
            all.retain(|process| is_named(process, wanted));
            if all.is_empty() {
                return Err(Failure::Work(format!("there is no process {wanted}: tine crash ... ps lists them")));
            }
        }
        let threads: Vec<_> = all.iter().flat_map(|process| &process.threads).collect();
        if session.json {
            return output::print_json(&threads);
        }
        let headings = [Column::right("TID"), Column::right("PID"), Column::left("STATE"), Column::right("CPU")];
        let more = [Column::left("WAITS FOR"), Column::left("ADDRESS"), Column::left("PROCESS"), Column::left("NAME")];
        let mut table = Table::new(headings.into_iter().chain(more).collect());
        for thread in threads {
            table.push(vec![
                thread.tid.to_string(),
                thread.pid.to_string(),
                thread.state.clone(),
                thread.cpu.map(|cpu| cpu.to_string()).unwrap_or_default(),
                report::visible(thread.wait.as_deref().unwrap_or_default()),
                format!("{:#x}", thread.address),
                report::visible(&thread.process),
                report::visible(&thread.name),
            ]);
        }
        output::print(&table.text(""))
    }
}

impl Modules {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let modules = crash::modules::modules(session.crash)?;
        if session.json {
            return output::print_json(&modules);
        }
        let headings = [Column::right("ID"), Column::right("REFS"), Column::left("ADDRESS"), Column::right("SIZE")];
        let more = [Column::left("SYMBOLS"), Column::left("NAME")];
        let mut table = Table::new(headings.into_iter().chain(more).collect());
        for module in modules {
            table.push(vec![
                module.id.to_string(),
                module.references.to_string(),
                format!("{:#x}", module.address),
                zfs_ondisk::property::format_size(module.size),
                if module.symbols { "yes" } else { "no" }.to_owned(),
                report::visible(&module.name),
            ]);
        }
        output::print(&table.text(""))
    }
}

/// All processes; what could not be read is told.
pub(super) fn read(session: &Session<'_>) -> Result<Vec<Process>, Failure> {
    let (all, problems) = processes(session.crash)?;
    output::warn("tine", &problems);
    Ok(all)
}

/// Whether a process has this number or name.
pub(super) fn is_named(process: &Process, wanted: &str) -> bool {
    process.name == wanted || wanted.parse() == Ok(process.pid)
}
