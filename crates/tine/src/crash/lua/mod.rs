//! `tine crash lua`: scripts over a dump.
//!
//! A script sees the kernel through [`value`] (C's values), [`kernel`] (variables, types, symbols, memory, lists) and
//! [`world`] (processes, threads, frames). It is kept from everything else, and ends when it takes too much: [`limits`].

mod json;
mod kernel;
mod limits;
mod told;
mod value;
mod world;

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use mlua::chunk::ChunkMode;
use mlua::{Lua, LuaOptions, MultiValue, StdLib, Table};

use self::limits::{Limits, Watch};
use super::Session;
use crate::failure::Failure;
use crate::output;
use crate::values;

/// Functions that are simpler in Lua than in Rust.
const PRELUDE: &str = include_str!("prelude.lua");
/// The largest script.
const MOST: u64 = 16 << 20;

/// Run a script of Lua over the dump
///
/// Variables of the kernel are `kernel.NAME`, fields `value.field`, lists `list(kernel.allproc, "p_list")`; processes(),
/// threads() and frames() tell what runs. Scripts reach no files, programs or network.
#[derive(Debug, Args)]
pub(super) struct Script {
    /// The script; `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "code")]
    file: Option<PathBuf>,
    /// Run this code in the place of a file
    #[arg(short = 'e', long = "execute", value_name = "CODE", conflicts_with = "file")]
    code: Option<String>,
    /// What the script finds in its table `arg`
    #[arg(value_name = "ARG", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
    #[command(flatten)]
    bounds: Bounds,
}

/// What a script may use.
#[derive(Clone, Debug, Args)]
pub(super) struct Bounds {
    /// Let the script read and write files (Lua's library io)
    #[arg(long)]
    allow_files: bool,
    /// Memory that the script may use
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "512m")]
    max_memory: u64,
    /// Instructions that the script may take
    #[arg(long, value_name = "N", default_value_t = 5_000_000_000)]
    max_instructions: u64,
    /// Seconds that the script may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { allow_files: false, max_memory: 512 << 20, max_instructions: 5_000_000_000, timeout: 120 }
    }
}

impl Script {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let (name, code) = self.code()?;
        let host = Host::new(&self.bounds)?;
        let _watch = Watch::begin(&name, Duration::from_secs(self.bounds.timeout));
        host.enter(session, |lua| {
            let arguments = lua.create_sequence_from(self.arguments.iter().map(String::as_str))?;
            arguments.set(0, name.as_str())?;
            arguments.set("json", session.json)?;
            lua.globals().set("arg", arguments)?;
            host.limits.restart();
            lua.load(code.as_slice()).set_name(format!("@{name}")).set_mode(ChunkMode::Text).exec()
        })
    }

    /// The script's name for messages, and its text.
    fn code(&self) -> Result<(String, Vec<u8>), Failure> {
        if let Some(code) = &self.code {
            return Ok(("-e".to_owned(), code.clone().into_bytes()));
        }
        let path = self.file.clone().unwrap_or_default();
        let failed = |error: std::io::Error| Failure::work(format_args!("cannot read {}", path.display()), error);
        let mut code = Vec::new();
        match path.as_os_str() == "-" {
            true => std::io::stdin().take(MOST).read_to_end(&mut code).map_err(failed)?,
            false => std::fs::File::open(&path).map_err(failed)?.take(MOST).read_to_end(&mut code).map_err(failed)?,
        };
        // As scripts of Unix begin.
        if code.starts_with(b"#!") {
            code.splice(0..2, *b"--");
        }
        let name = path.file_name().map_or("stdin".into(), |name| name.to_string_lossy()).into_owned();
        Ok((if name == "-" { "stdin".to_owned() } else { name }, code))
    }
}

/// An interpreter without a way out.
pub(super) struct Host {
    lua: Lua,
    pub(super) limits: Limits,
}

impl Host {
    pub(super) fn new(bounds: &Bounds) -> Result<Self, Failure> {
        let failed = |error: mlua::Error| Failure::Work(format!("Lua does not start: {}", told::sentence(&error)));
        let mut libraries =
            StdLib::COROUTINE | StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::MATH | StdLib::OS;
        if bounds.allow_files {
            libraries |= StdLib::IO;
        }
        let lua = Lua::new_with(libraries, LuaOptions::default()).map_err(failed)?;
        let limits = Limits::new(&lua, bounds.max_instructions, Duration::from_secs(bounds.timeout)).map_err(failed)?;
        enclose(&lua).map_err(failed)?;
        lua.set_memory_limit(usize::try_from(bounds.max_memory).unwrap_or(usize::MAX)).map_err(failed)?;
        Ok(Self { lua, limits })
    }

    /// Does `work` while the interpreter knows the dump.
    pub(super) fn enter(
        &self,
        session: &Session<'_>,
        work: impl FnOnce(&Lua) -> mlua::Result<()>,
    ) -> Result<(), Failure> {
        let lua = &self.lua;
        let done = lua.scope(|scope| {
            kernel::define(lua, scope, session)?;
            world::define(lua, scope, session)?;
            self.limits.define(lua)?;
            lua.load(PRELUDE).set_name("=[tine]").exec()?;
            work(lua)
        });
        self.result(done)
    }

    /// What became of a script, for people; what it printed is written first.
    pub(super) fn result(&self, done: mlua::Result<()>) -> Result<(), Failure> {
        let flushed = self.limits.out().flush();
        match done {
            _ if self.limits.out().is_closed() => Err(Failure::Closed),
            Err(error) => Err(self.limits.why().map_or_else(|| Failure::Work(told::sentence(&error)), Failure::Work)),
            Ok(()) => flushed.map_err(|error| Failure::work("cannot write to standard output", error)),
        }
    }
}

/// Takes away what leads out: files, programs, code that was compiled elsewhere, finalizers, which no limit ends.
fn enclose(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    for name in ["dofile", "loadfile", "require", "package", "debug"] {
        globals.set(name, mlua::Nil)?;
    }
    globals.get::<Table>("string")?.set("dump", mlua::Nil)?;
    let os = globals.get::<Table>("os")?;
    let harmless = lua.create_table()?;
    for name in ["clock", "date", "difftime", "time"] {
        harmless.set(name, os.get::<mlua::Value>(name)?)?;
    }
    globals.set("os", harmless)?;
    if let Ok(io) = globals.get::<Table>("io") {
        io.set("popen", mlua::Nil)?;
    }
    let load = |lua: &Lua, (code, name, _mode, env): (mlua::Value, Option<String>, mlua::Value, Option<Table>)| {
        let mlua::Value::String(code) = code else {
            return Err(mlua::Error::runtime("load takes a text"));
        };
        let chunk = lua.load(code.as_bytes().to_vec()).set_name(name.unwrap_or_else(|| "=load".to_owned()));
        let chunk = chunk.set_mode(ChunkMode::Text);
        let chunk = match env {
            Some(env) => chunk.set_environment(env),
            None => chunk,
        };
        match chunk.into_function() {
            Ok(function) => Ok((Some(function), None)),
            Err(error) => Ok((None, Some(told::sentence(&error)))),
        }
    };
    globals.set("load", lua.create_function(load)?)?;
    let text = |_: &Lua, error: mlua::Value| match error {
        mlua::Value::Error(error) => Ok(told::sentence(&error)),
        other => other.to_string(),
    };
    globals.set("errortext", lua.create_function(text)?)
}

/// Runs a line of a shell: its values are printed, if it is an expression.
pub(super) fn line(host: &Host, lua: &Lua, code: &str) -> Result<(), Failure> {
    host.limits.restart();
    let compile = |text: String| lua.load(text).set_name("=line").set_mode(ChunkMode::Text).into_function();
    let function = match compile(format!("return {code}")) {
        Ok(function) => Ok(function),
        Err(_) => compile(code.to_owned()),
    };
    let done = function.and_then(|function| function.call::<MultiValue>(())).and_then(|values| {
        if values.is_empty() {
            return Ok(());
        }
        let show = lua.globals().raw_get::<mlua::Function>("show")?;
        let shown = values.into_iter().map(|value| match value {
            table @ mlua::Value::Table(_) => show.call::<mlua::Value>(table),
            value => Ok(value),
        });
        let shown = shown.collect::<mlua::Result<MultiValue>>()?;
        lua.globals().raw_get::<mlua::Function>("print")?.call::<()>(shown)
    });
    let result = host.result(done);
    lua.gc_collect().ok();
    result
}

/// Says on standard error what a script should know of.
fn warn(text: String) {
    output::warn("tine", &[text]);
}
