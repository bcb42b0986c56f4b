//! How much a script may take, and where what it prints goes.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mlua::{Error, HookTriggers, Lua, LuaString, MultiValue, VmState};

use super::super::{interrupt, report};

/// Instructions between two looks at the limits.
const STEP: u32 = 4096;
/// Bytes that are kept before they are written.
const BUFFER: usize = 64 << 10;

/// Instructions and time.
#[derive(Clone)]
pub(in super::super) struct Limits {
    state: Rc<State>,
}

struct State {
    instructions: u64,
    time: Duration,
    left: Cell<u64>,
    began: Cell<Instant>,
    why: RefCell<Option<String>>,
    out: Out,
}

impl Limits {
    pub(super) fn new(lua: &Lua, instructions: u64, time: Duration) -> mlua::Result<Self> {
        let out = Out { bytes: RefCell::default(), closed: Cell::new(false), terminal: io::stdout().is_terminal() };
        let (left, began) = (Cell::new(instructions), Cell::new(Instant::now()));
        let state = Rc::new(State { instructions, time, left, began, why: RefCell::default(), out });
        let limits = Self { state: state.clone() };
        let triggers = HookTriggers::new().every_nth_instruction(STEP);
        lua.set_global_hook(triggers, move |_, _| match state.exceeded() {
            Some(why) => Err(Error::runtime(why)),
            None => Ok(VmState::Continue),
        })?;
        Ok(limits)
    }

    /// Begins to count anew.
    pub(in super::super) fn restart(&self) {
        self.state.left.set(self.state.instructions);
        self.state.began.set(Instant::now());
        self.state.why.take();
    }

    /// Why the script was ended, if it was.
    pub(super) fn why(&self) -> Option<String> {
        self.state.why.borrow().clone()
    }

    pub(super) fn out(&self) -> &Out {
        &self.state.out
    }

    /// `print`, `write`, and what tells the prelude that a script has to end.
    pub(super) fn define(&self, lua: &Lua) -> mlua::Result<()> {
        let state = self.state.clone();
        let print = move |_: &Lua, values: MultiValue| {
            let mut line = Vec::new();
            for (number, value) in values.iter().enumerate() {
                if number > 0 {
                    line.push(b'\t');
                }
                match value {
                    mlua::Value::String(text) => line.extend_from_slice(&text.as_bytes()),
                    value => line.extend_from_slice(value.to_string()?.as_bytes()),
                }
            }
            line.push(b'\n');
            state.out.write(&line)
        };
        let state = self.state.clone();
        let write = move |_: &Lua, texts: mlua::Variadic<LuaString>| {
            texts.iter().try_for_each(|text| state.out.write(&text.as_bytes()))
        };
        let state = self.state.clone();
        let globals = lua.globals();
        globals.set("print", lua.create_function(print)?)?;
        globals.set("write", lua.create_function(write)?)?;
        globals.set("stopped", lua.create_function(move |_, ()| Ok(state.why.borrow().is_some()))?)
    }
}

impl State {
    fn exceeded(&self) -> Option<String> {
        if self.why.borrow().is_some() {
            return self.why.borrow().clone();
        }
        self.left.set(self.left.get().saturating_sub(STEP.into()));
        let why = if interrupt::is_wanted() {
            "interrupted".to_owned()
        } else if self.left.get() == 0 {
            let most = self.instructions;
            format!("the script was ended after {most} instructions: --max-instructions allows more")
        } else if self.began.get().elapsed() > self.time {
            too_long(self.time)
        } else {
            return None;
        };
        *self.why.borrow_mut() = Some(why.clone());
        Some(why)
    }
}

fn too_long(time: Duration) -> String {
    format!("the script was ended after {} s: --timeout allows more", time.as_secs())
}

/// Standard output. What is meant for a terminal does not change it.
pub(super) struct Out {
    bytes: RefCell<Vec<u8>>,
    closed: Cell<bool>,
    terminal: bool,
}

impl Out {
    fn write(&self, bytes: &[u8]) -> mlua::Result<()> {
        match self.terminal {
            true => {
                let text = String::from_utf8_lossy(bytes);
                let lines = text.split('\n').map(report::visible).collect::<Vec<String>>();
                self.bytes.borrow_mut().extend_from_slice(lines.join("\n").as_bytes());
            }
            false => self.bytes.borrow_mut().extend_from_slice(bytes),
        }
        if self.terminal || self.bytes.borrow().len() > BUFFER {
            self.flush().map_err(|error| Error::runtime(format!("cannot write to standard output: {error}")))?;
        }
        match self.closed.get() {
            true => Err(Error::runtime("nobody reads the output any more")),
            false => Ok(()),
        }
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        let bytes = self.bytes.take();
        let mut out = io::stdout().lock();
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.set(true);
                Ok(())
            }
            done => done,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

/// Ends the process when a script does not end where its limits are looked at: within one call of Lua's own library,
/// such as a search for a hostile pattern.
pub(super) struct Watch {
    done: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    pub(super) fn begin(name: &str, time: Duration) -> Self {
        /// How long the limits are given to be noticed.
        const PATIENCE: Duration = Duration::from_secs(2);
        let done = Arc::new(AtomicBool::new(false));
        let (ended, name) = (done.clone(), name.to_owned());
        let thread = thread::spawn(move || {
            let began = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                let left = (time + PATIENCE).saturating_sub(began.elapsed());
                if left.is_zero() {
                    crate::output::failure("tine", &crate::failure::Failure::work(&name, too_long(time)));
                    std::process::exit(3);
                }
                thread::park_timeout(left);
            }
        });
        Self { done, thread: Some(thread) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
