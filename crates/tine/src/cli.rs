//! The command line: its definition, and what is derived from that.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::{boot, crash, dump, image, makefs, output, pool, tour};

/// A workbench for FreeBSD systems that runs on any Unix host
#[derive(Debug, Parser)]
#[command(name = "tine", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Output")]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Image(image::Command),
    #[command(subcommand)]
    Pool(pool::Command),
    #[command(subcommand)]
    Boot(boot::Command),
    #[command(subcommand)]
    Dump(dump::Command),
    Crash(Box<crash::Arguments>),
    Makefs(Box<makefs::Makefs>),
    Tour(tour::Tour),
    /// Print a script that completes the program's arguments in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages of all commands
    Man {
        /// The directory for them [default: print that of tine itself]
        directory: Option<PathBuf>,
    },
}

/// The name under which the program was called, if it is one that it answers to.
pub(crate) fn called_as(arguments: &[OsString]) -> &'static str {
    let name = arguments.first().and_then(|path| Path::new(path).file_name());
    if name.is_some_and(|name| name == "makefs") { "makefs" } else { "tine" }
}

/// Understands the command line and does what it says.
pub(crate) fn run(mut arguments: Vec<OsString>) -> Result<(), Failure> {
    if called_as(&arguments) == "makefs" {
        arguments.insert(1, "makefs".into());
    }
    pool::with_long_options(&mut arguments);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refused(error),
    };
    match cli.color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    match cli.command {
        Command::Image(command) => image::run(command),
        Command::Pool(command) => pool::run(command),
        Command::Boot(command) => boot::run(command),
        Command::Dump(command) => dump::run(command),
        Command::Crash(arguments) => crash::run(*arguments),
        Command::Makefs(makefs) => makefs.run(),
        Command::Tour(tour) => tour.run(),
        Command::Completions { shell } => completions(shell),
        Command::Man { directory } => man(directory.as_deref()),
    }
}

/// Help is what was asked for; all else is a wrong command line.
fn refused(error: clap::Error) -> Result<(), Failure> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return output::print(&error.render().ansi().to_string());
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure::Usage("a command is missing: tine --help lists them".to_owned()));
    }
    Err(Failure::Usage(sentence(&error)))
}

/// What the parser says, as one sentence.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // The paragraphs are: what is wrong, hints, how to call the program, where help is.
    let wrong = text.split("\n\n").next().unwrap_or(text);
    let mut sentence = wrong.split_whitespace().collect::<Vec<_>>().join(" ");
    let hints = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let hint = hints.iter().find_map(|&kind| match error.get(kind) {
        Some(ContextValue::String(hint)) => Some(hint.clone()),
        Some(ContextValue::Strings(hints)) if !hints.is_empty() => Some(hints.join(" or ")),
        _ => None,
    });
    if let Some(hint) = hint {
        sentence.push_str(&format!("; did you mean {hint}?"));
    }
    sentence
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tine", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

fn man(directory: Option<&Path>) -> Result<(), Failure> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|error| Failure::work("cannot make the manual page", error))?;
        return output::print(&String::from_utf8_lossy(&page));
    };
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|error| Failure::work(format_args!("cannot write manual pages to {}", directory.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_program_answers_to_makefs_by_the_name_of_its_file() {
        assert_eq!(called_as(&["/usr/sbin/makefs".into()]), "makefs");
        assert_eq!(called_as(&["makefs/tine".into()]), "tine");
        assert_eq!(called_as(&[]), "tine");
    }

    #[test]
    fn a_wrong_command_line_is_told_in_one_sentence() {
        let told = |arguments: &[&str]| match Cli::try_parse_from(arguments) {
            Ok(_) => String::new(),
            Err(error) => sentence(&error),
        };
        assert_eq!(
            told(&["tine", "image", "build"]),
            "the following required arguments were not provided: --output <IMAGE> <SOURCE>..."
        );
        assert_eq!(
            told(&["tine", "image", "build", "x", "--ouput", "y"]),
            "unexpected argument '--ouput' found; did you mean --output?"
        );
    }
}
