//! What scripts know of processes, threads and stacks.

use std::rc::Rc;

use crash::threads::{Process, Thread};
use mlua::{Lua, Scope, Table, Value as Object};
use symbols::{Call, Frame, Program, Registers};

use super::super::Session;
use super::value::{failed, object};
use super::{json, told, warn};

pub(super) fn define<'scope, 'env>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    session: &'env Session<'_>,
) -> mlua::Result<()> {
    let globals = lua.globals();
    let crash = session.crash;
    let processes = scope.create_function(|lua, ()| {
        let (all, problems) = crash::threads::processes(crash).map_err(failed)?;
        problems.into_iter().for_each(warn);
        all.iter().map(|process| process_table(lua, crash.program(), process)).collect::<mlua::Result<Vec<_>>>()
    })?;
    globals.set("processes", processes)?;
    let panicked = scope.create_function(|_, ()| Ok(crash.dumping_thread().ok()))?;
    globals.set("panicked", panicked)?;
    let of_thread = scope.create_function(|lua, thread: Table| {
        let registers = registers(session, &thread)?;
        lua.create_table_from(registers.known().map(|(name, value)| (name, value as i64)))
    })?;
    globals.set("registers_of", of_thread)?;
    let stack = scope.create_function(|lua, thread: Table| frames(lua, session, &registers(session, &thread)?))?;
    globals.set("frames_of", stack)?;
    let messages = scope.create_function(|lua, ()| {
        let messages = crash::messages::messages(crash).map_err(failed)?;
        Ok((lua.create_string(messages.text)?, lua.create_string(messages.unread)?))
    })?;
    globals.set("messages", messages)?;
    let modules = scope.create_function(|lua, ()| {
        let modules = crash::modules::modules(crash).map_err(failed)?;
        json::to_object(lua, &serde_json::to_value(modules).map_err(failed)?)
    })?;
    globals.set("modules", modules)?;
    let report = scope.create_function(|lua, ()| {
        let report = crash::Report::of(crash);
        json::to_object(lua, &serde_json::to_value(report).map_err(failed)?)
    })?;
    globals.set("report", report)
}

fn process_table(lua: &Lua, program: &Program, process: &Process) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("pid", process.pid)?;
    table.set("parent", process.parent)?;
    table.set("uid", process.uid.map(|uid| uid as i64))?;
    table.set("name", process.name.as_str())?;
    table.set("state", process.state.as_str())?;
    table.set("proc", pointer(lua, program, "struct proc", process.address)?)?;
    let threads = process.threads.iter().map(|thread| {
        let own = thread_table(lua, program, thread)?;
        own.set("process", &table)?;
        Ok(own)
    });
    table.set("threads", threads.collect::<mlua::Result<Vec<Table>>>()?)?;
    Ok(table)
}

fn thread_table(lua: &Lua, program: &Program, thread: &Thread) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("tid", thread.tid)?;
    table.set("name", thread.name.as_str())?;
    table.set("state", thread.state.as_str())?;
    table.set("wait", thread.wait.as_deref())?;
    table.set("cpu", thread.cpu)?;
    table.set("pid", thread.pid)?;
    table.set("td", pointer(lua, program, "struct thread", thread.address)?)?;
    Ok(table)
}

fn pointer(lua: &Lua, program: &Program, ty: &str, address: u64) -> mlua::Result<Object> {
    let value = program.ty(ty).and_then(|ty| program.value(&ty, address).address_of()).map_err(failed)?;
    object(lua, value)
}

/// The registers of a thread that [`thread_table`] made.
fn registers(session: &Session<'_>, table: &Table) -> mlua::Result<Registers> {
    let address = super::value::number(&table.get("td")?)?;
    let thread = session.crash.thread_at(address).and_then(|value| crash::threads::thread(&value)).map_err(failed)?;
    session.crash.thread_registers(&thread).map(|(registers, _)| registers).map_err(failed)
}

/// The frames of a stack; arguments and local variables are looked for when they are asked for.
fn frames(lua: &Lua, session: &Session<'_>, registers: &Registers) -> mlua::Result<Table> {
    let program = session.crash.program();
    let stack = session.crash.stack(registers, false);
    let unwound: Rc<Vec<Frame>> = Rc::new(session.crash.unwind(registers));
    let calls = unwound.iter().enumerate().flat_map(|(index, frame)| {
        let calls = program.calls(frame.code_address());
        // A frame that nothing is known of is one, too.
        let count = calls.len().max(1);
        (0..count).map(move |number| (index, calls.get(number).cloned()))
    });
    let table = lua.create_table()?;
    for (known, (index, call)) in stack.frames.iter().zip(calls) {
        let own = json::to_object(lua, &serde_json::to_value(known).map_err(failed)?)?;
        let Object::Table(own) = own else { continue };
        // Integers are more use to scripts than JSON's texts.
        own.set("address", known.address as i64)?;
        own.set("sp", known.sp.map(|sp| sp as i64))?;
        own.set("fp", known.fp.map(|fp| fp as i64))?;
        own.set("arguments", mlua::Nil)?;
        if let Some(frame) = unwound.get(index) {
            let known = frame.registers.known().map(|(name, value)| (name, value as i64));
            own.set("registers", lua.create_table_from(known)?)?;
        }
        own.set_metatable(Some(on_demand(lua, program, &unwound, index, call)?))?;
        table.push(own)?;
    }
    table.set("broken", stack.broken)?;
    Ok(table)
}

/// A metatable that finds a frame's variables: `arguments` and `locals` as lists, `args` and `vars` by name.
fn on_demand(
    lua: &Lua,
    program: &Program,
    frames: &Rc<Vec<Frame>>,
    index: usize,
    call: Option<Call>,
) -> mlua::Result<Table> {
    let (program, frames) = (program.clone(), frames.clone());
    let find = move |lua: &Lua, (own, key): (Table, Object)| -> mlua::Result<Object> {
        let wanted = key.as_string().map(|name| name.to_string_lossy()).unwrap_or_default();
        if !matches!(wanted.as_str(), "arguments" | "locals" | "args" | "vars") {
            return Ok(Object::Nil);
        }
        let found = call.as_ref().map(|call| program.variables(&frames, index, call)).transpose().map_err(failed)?;
        let [arguments, locals, args, vars] =
            [lua.create_table()?, lua.create_table()?, lua.create_table()?, lua.create_table()?];
        for variable in found.unwrap_or_default() {
            let entry = lua.create_table()?;
            entry.set("name", variable.name.as_str())?;
            entry.set("type", variable.ty.name())?;
            let value = variable.value.map_err(failed);
            let text = value.as_ref().ok().map(|value| value.to_string());
            match value.and_then(|value| object(lua, value)) {
                Ok(value) => {
                    entry.set("known", true)?;
                    entry.set("value", &value)?;
                    entry.set("text", text)?;
                    if variable.parameter {
                        args.set(variable.name.as_str(), value)?
                    } else {
                        vars.set(variable.name.as_str(), value)?
                    }
                }
                Err(error) => {
                    entry.set("known", false)?;
                    entry.set("why", told::sentence(&error))?;
                }
            }
            if variable.parameter { arguments.push(entry)? } else { locals.push(entry)? }
        }
        for (name, table) in [("arguments", arguments), ("locals", locals), ("args", args), ("vars", vars)] {
            own.raw_set(name, table)?;
        }
        own.raw_get(wanted)
    };
    let meta = lua.create_table()?;
    meta.set("__index", lua.create_function(find)?)?;
    Ok(meta)
}
