//! `tine crash shell`: one command after another over the same dump.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::{Command, Session, interrupt, lua};
use crate::failure::Failure;
use crate::output;

mod complete;
mod words;

/// Lines that are remembered.
const HISTORY: usize = 10_000;
/// Commands of the shell itself.
const OWN: [(&str, &str); 3] = [
    ("help", "List the commands; `help COMMAND` says more of one"),
    ("history", "Print the lines that were entered"),
    ("quit", "Leave the shell, as Ctrl-D does"),
];

/// Ask one thing after another: a shell with all these commands
///
/// With history, and completion of commands, symbols, fields and types by Tab. `lua CODE` runs a line of Lua; what it
/// sets stays. Ctrl-C ends a command, Ctrl-D the shell. Without a terminal, commands are read line by line.
#[derive(Debug, Args)]
pub(super) struct Shell {
    #[command(flatten)]
    bounds: lua::Bounds,
}

/// A line.
#[derive(Parser)]
#[command(name = "", no_binary_name = true, disable_help_subcommand = true, disable_version_flag = true)]
struct Line {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Whether there is to be another line.
enum Next {
    Line,
    End,
}

impl Shell {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let host = lua::Host::new(&self.bounds)?;
        let mut ended = Ok(());
        let ran = host.enter(session, |lua| {
            let mut prompt = Prompt { session, host: &host, lua };
            ended = match std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
                true => prompt.converse(),
                false => prompt.batch(),
            };
            Ok(())
        });
        ended.and(ran)
    }
}

struct Prompt<'p, 's> {
    session: &'p Session<'s>,
    host: &'p lua::Host,
    lua: &'p mlua::Lua,
}

impl Prompt<'_, '_> {
    /// All lines of standard input. One that fails does not keep the next from being run, but is the result.
    fn batch(&mut self) -> Result<(), Failure> {
        let mut result = Ok(());
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.map_err(|error| Failure::work("cannot read commands", error))?;
            match self.line(&String::from_utf8_lossy(&line), &[]) {
                Ok(Next::Line) => {}
                Ok(Next::End) => break,
                Err(Failure::Closed) => return Err(Failure::Closed),
                Err(failure) => {
                    tell(&failure);
                    // What was told is not to be told again.
                    result = Err(Failure::Found);
                }
            }
        }
        result
    }

    fn converse(&mut self) -> Result<(), Failure> {
        let failed = |error: ReadlineError| Failure::work("the terminal", error);
        interrupt::watch().map_err(|error| Failure::work("cannot watch for Ctrl-C", error))?;
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .completion_prompt_limit(200)
            .max_history_size(HISTORY)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(failed)?
            .history_ignore_space(true)
            .build();
        let mut editor: Editor<Assistant<'_>, FileHistory> = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assistant { session: self.session }));
        let file = history();
        if let Some(file) = &file {
            let _ = editor.load_history(file);
        }
        output::print("help lists the commands, Tab completes names, Ctrl-D leaves\n")?;
        loop {
            let line = match editor.readline("tine> ") {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(failed(error)),
            };
            if line.trim().is_empty() {
                continue;
            }
            let _ = editor.add_history_entry(line.as_str());
            interrupt::clear();
            let entered: Vec<String> = editor.history().iter().cloned().collect();
            let next = self.line(&line, &entered);
            match next {
                _ if interrupt::is_wanted() => output::warn("tine", &["interrupted".to_owned()]),
                Ok(Next::Line) => {}
                Ok(Next::End) => break,
                // A pager that was left, for one, is not the shell's end.
                Err(failure) => tell(&failure),
            }
            interrupt::clear();
            // Each line at once: another shell may end otherwise.
            if let Some(file) = &file {
                let _ = editor.append_history(file);
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str, entered: &[String]) -> Result<Next, Failure> {
        let line = line.trim();
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match first {
            "" => {}
            comment if comment.starts_with('#') => {}
            "quit" | "exit" | "q" => return Ok(Next::End),
            "help" | "?" => help(rest.trim())?,
            "history" => output::print(&entered.iter().map(|line| format!("{line}\n")).collect::<String>())?,
            "shell" => return Err(Failure::Usage("this is the shell".to_owned())),
            "lua" if !is_script(rest) => lua::line(self.host, self.lua, rest)?,
            _ => self.command(line)?,
        }
        Ok(Next::Line)
    }

    fn command(&self, line: &str) -> Result<(), Failure> {
        let words = words::split(line).map_err(Failure::Usage)?;
        let parsed = match Line::try_parse_from(&words) {
            Ok(parsed) => parsed,
            Err(error) if !error.use_stderr() => return output::print(&error.render().to_string()),
            Err(error) => {
                let text = error.render().to_string();
                let text = text.trim_start_matches("error: ").split("\n\nUsage").next().unwrap_or_default();
                return Err(Failure::Usage(text.split("\n\nFor more").next().unwrap_or(text).trim().to_owned()));
            }
        };
        let session =
            Session { json: self.session.json || parsed.json, source: self.session.source.clone(), ..*self.session };
        session.run(&parsed.command)
    }
}

/// Whether what follows `lua` is a script's file, and options before it.
fn is_script(rest: &str) -> bool {
    rest.starts_with("--") && !rest.starts_with("--[") && !rest.starts_with("-- ")
        || rest.split_whitespace().next().is_some_and(|word| word.ends_with(".lua"))
}

fn tell(failure: &Failure) {
    // What is wrong with the dump was told by the command.
    if !matches!(failure, Failure::Found | Failure::Closed) {
        output::failure("tine", failure);
    }
}

fn help(of: &str) -> Result<(), Failure> {
    let mut all = Line::command();
    if of.is_empty() {
        let about = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
        let mut rows: Vec<(String, String)> = all
            .get_subcommands()
            .filter(|command| command.get_name() != "shell")
            .map(|command| (command.get_name().to_owned(), about(command)))
            .collect();
        rows.extend(OWN.map(|(name, about)| (name.to_owned(), about.to_owned())));
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        return output::print(
            &rows.iter().map(|(name, about)| format!("{name:width$}  {about}\n")).collect::<String>(),
        );
    }
    match all.find_subcommand_mut(of) {
        Some(command) => {
            let text = command.render_long_help().ansi().to_string();
            output::print(&text)
        }
        None => match OWN.iter().find(|(name, _)| *name == of) {
            Some((name, about)) => output::print(&format!("{name}: {about}\n")),
            None => Err(Failure::Usage(format!("there is no command {of}: help lists them"))),
        },
    }
}

/// Where lines are remembered; nowhere if that cannot be written to.
fn history() -> Option<PathBuf> {
    let folder = super::user_folder("XDG_STATE_HOME", ".local/state")?.join("tine");
    std::fs::create_dir_all(&folder).ok()?;
    let file = folder.join("crash_history");
    std::fs::OpenOptions::new().append(true).create(true).open(&file).ok()?;
    Some(file)
}

struct Assistant<'s> {
    session: &'s Session<'s>,
}

impl Completer for Assistant<'_> {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..at).unwrap_or(line);
        let own = OWN.iter().map(|(name, _)| (*name).to_owned());
        let commands: Vec<String> =
            Line::command().get_subcommands().map(|command| command.get_name().to_owned()).chain(own).collect();
        Ok(complete::complete(self.session.crash.program(), &commands, line))
    }
}

impl Hinter for Assistant<'_> {
    type Hint = String;
}
impl Highlighter for Assistant<'_> {}
impl Validator for Assistant<'_> {}
impl Helper for Assistant<'_> {}
