//! What scripts know of the kernel's variables, types, symbols and memory.

use crash::{Crash, KernelNames};
use mlua::{IntoLuaMulti, Lua, LuaString, Scope, Value as Object, Variadic};
use symbols::{Error, Format, Program, Radix, Type, TypeKind, Value};

use super::super::{Session, memory, print};
use super::value::{self, Datum, TEXT, failed, number, object};
use super::{json, warn};

/// The most bytes that are read at once.
const MOST: u64 = 64 << 20;
/// Integers in memory: name, bytes, whether they have a sign.
const INTEGERS: [(&str, u8, bool); 8] = [
    ("u8", 1, false),
    ("u16", 2, false),
    ("u32", 4, false),
    ("u64", 8, false),
    ("i8", 1, true),
    ("i16", 2, true),
    ("i32", 4, true),
    ("i64", 8, true),
];

pub(super) fn define<'scope, 'env>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    session: &'env Session<'_>,
) -> mlua::Result<()> {
    let program = session.crash.program();
    variables(lua, scope, session)?;
    types(lua, program)?;
    symbols(lua, program)?;
    memories(lua, scope, session)?;
    let globals = lua.globals();
    let eval = scope.create_function(|lua, text: String| {
        let value = session.crash.program().evaluate(&text, &KernelNames::new(session.crash, None)).map_err(failed)?;
        object(lua, value)
    })?;
    globals.set("eval", eval)?;
    let elements = |lua: &Lua, (head, field): (Object, String)| {
        let found = crash::queue::elements(&datum(&head, "the head of a list")?.0, &field).map_err(failed)?;
        let pointers = found.elements.iter().map(|element| object(lua, element.address_of().map_err(failed)?));
        let table = lua.create_sequence_from(pointers.collect::<mlua::Result<Vec<Object>>>()?)?;
        Ok((table, found.broken))
    };
    globals.set("elements", lua.create_function(elements)?)?;
    globals.set("warn", lua.create_function(|_, text: String| Ok(warn(text)))?)?;
    let to_json = |_: &Lua, value: Object| serde_json::to_string_pretty(&json::of_object(&value, 0)?).map_err(failed);
    globals.set("json", lua.create_function(to_json)?)
}

/// A value of C, or what one was expected for.
fn datum(object: &Object, what: &str) -> mlua::Result<Datum> {
    match object {
        Object::UserData(data) => Ok(data.borrow::<Datum>()?.clone()),
        other => Err(failed(format!("{what} was expected, a value of C, not a {}", other.type_name()))),
    }
}

/// `kernel.NAME`, which a script's unknown names are looked up in, too.
fn variables<'scope, 'env>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    session: &'env Session<'_>,
) -> mlua::Result<()> {
    let globals = lua.globals();
    let crash = session.crash;
    let lookup = scope.create_function(|lua, (_, name): (Object, String)| {
        find(crash, &name)?.map_or(Ok(Object::Nil), |value| object(lua, value))
    })?;
    let kernel = lua.create_table()?;
    let meta = lua.create_table()?;
    meta.set("__index", lookup)?;
    let sealed = |_: &Lua, _: mlua::MultiValue| -> mlua::Result<()> { Err(failed("a dump cannot be changed")) };
    meta.set("__newindex", lua.create_function(sealed)?)?;
    meta.set("__metatable", false)?;
    kernel.set_metatable(Some(meta))?;
    globals.set("kernel", kernel)?;

    let percpu = scope.create_function(|lua, (name, cpu): (String, u64)| {
        object(lua, crash.cpu_variable(cpu, &name).map_err(failed)?)
    })?;
    globals.set("percpu", percpu)?;
    let vnets = scope.create_function(|_, ()| {
        Ok(crash.vnets().into_iter().map(|vnet| vnet.unwrap_or(0) as i64).collect::<Vec<i64>>())
    })?;
    globals.set("vnets", vnets)?;
    let vnet = scope.create_function(|lua, (name, vnet): (String, Option<Object>)| {
        let vnet = match vnet.map(|vnet| number(&vnet)).transpose()? {
            Some(vnet) => Some(vnet).filter(|vnet| *vnet != 0),
            None => crash.vnets().first().copied().flatten(),
        };
        object(lua, crash.vnet_variable(vnet, &name).map_err(failed)?)
    })?;
    globals.set("vnet", vnet)?;
    let has = scope.create_function(|_, (what, field): (Object, Option<String>)| match (&what, field) {
        (Object::String(name), None) => Ok(find(crash, &name.to_str()?)?.is_some()),
        (Object::String(name), Some(field)) => {
            let ty = crash.program().ty(&name.to_str()?);
            Ok(ty.is_ok_and(|ty| ty.has_field(&field) || ty.offset_of(&field).is_ok()))
        }
        (Object::UserData(data), Some(field)) => Ok(data.borrow::<Datum>()?.0.path(&field).is_ok()),
        _ => Err(failed("has takes a name, or a value or type and a field's name")),
    })?;
    globals.set("has", has)
}

/// A variable, function or constant of the kernel; of its first network stack, where every stack has its own.
fn find(crash: &Crash, name: &str) -> mlua::Result<Option<Value>> {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || name.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(None);
    }
    let program = crash.program();
    match program.evaluate(name, &KernelNames::new(crash, None)) {
        Ok(value) => Ok(Some(value)),
        Err(error) => match crash.vnet_variable(crash.vnets().first().copied().flatten(), name) {
            Ok(value) => Ok(Some(value)),
            // Such as `int`, which is no expression.
            Err(_) if matches!(error, Error::NotFound { .. }) || program.symbol(name).is_err() => Ok(None),
            Err(_) => Err(failed(error)),
        },
    }
}

/// The type that a name stands for, or that a value has.
fn type_of(program: &Program, what: &Object) -> mlua::Result<Type> {
    match what {
        Object::String(name) => program.ty(&name.to_str()?).map_err(failed),
        Object::UserData(data) => Ok(data.borrow::<Datum>()?.0.ty().clone()),
        other => Err(failed(format!("a type's name or a value of C was expected, not a {}", other.type_name()))),
    }
}

fn types(lua: &Lua, program: &Program) -> mlua::Result<()> {
    let globals = lua.globals();
    let of = program.clone();
    let sizeof = move |_: &Lua, what: Object| {
        let size = match &what {
            Object::UserData(data) => data.borrow::<Datum>()?.0.resolved_type().and_then(|ty| ty.size()),
            what => type_of(&of, what)?.size(),
        };
        size.map(|size| size as i64).map_err(failed)
    };
    globals.set("sizeof", lua.create_function(sizeof)?)?;
    let of = program.clone();
    let offsetof = move |_: &Lua, (ty, path): (Object, String)| {
        type_of(&of, &ty)?.offset_of(&path).map(|offset| offset as i64).map_err(failed)
    };
    globals.set("offsetof", lua.create_function(offsetof)?)?;
    let typeof_ = |_: &Lua, what: Object| match &what {
        Object::UserData(data) => Ok(data.borrow::<Datum>()?.0.ty().name()),
        other => Ok(other.type_name().to_owned()),
    };
    globals.set("typeof", lua.create_function(typeof_)?)?;
    let of = program.clone();
    let fields = move |_: &Lua, what: Object| {
        let mut ty = type_of(&of, &what)?.resolved().map_err(failed)?;
        if ty.kind() == TypeKind::Pointer {
            ty = ty.target().map_err(failed)?;
        }
        let mut names = Vec::new();
        value::members(&ty, 0, &mut names)?;
        Ok(names)
    };
    globals.set("fields", lua.create_function(fields)?)?;
    let of = program.clone();
    let cast = move |lua: &Lua, (what, ty): (Object, Object)| {
        let ty = type_of(&of, &ty)?;
        let value = match &what {
            Object::UserData(data) => data.borrow::<Datum>()?.0.cast(&ty),
            what => match number(what)? {
                bits => of.evaluate(&format!("{bits:#x}"), &()).and_then(|value| value.cast(&ty)),
            },
        };
        object(lua, value.map_err(failed)?)
    };
    globals.set("cast", lua.create_function(cast)?)?;
    let of = program.clone();
    let at =
        move |lua: &Lua, (ty, place): (Object, Object)| object(lua, of.value(&type_of(&of, &ty)?, number(&place)?));
    globals.set("at", lua.create_function(at)?)?;
    let of = program.clone();
    let containerof = move |lua: &Lua, (member, ty, field): (Object, Object, String)| {
        let ty = type_of(&of, &ty)?;
        let place = number(&member)?.wrapping_sub(ty.offset_of(&field).map_err(failed)?);
        object(lua, of.value(&ty, place).address_of().map_err(failed)?)
    };
    globals.set("containerof", lua.create_function(containerof)?)?;
    let refer = |lua: &Lua, (what, path): (Object, Option<String>)| {
        let value = datum(&what, "a structure")?.0;
        let member = match path {
            Some(path) => value.path(&path).map_err(failed)?,
            None => value,
        };
        object(lua, member.address_of().map_err(failed)?)
    };
    globals.set("ref", lua.create_function(refer)?)?;
    let of = program.clone();
    let enumerator = move |_: &Lua, (what, key): (Object, Object)| match (&what, &key) {
        // The name of a field's number, or of a number of a type.
        (Object::UserData(data), Object::String(path)) => {
            let value = data.borrow::<Datum>()?.0.path(&path.to_str()?).map_err(failed)?;
            value.enumerator().map_err(failed)
        }
        (ty, key) => {
            let (ty, wanted) = (type_of(&of, ty)?.resolved().map_err(failed)?, number(key)?);
            Ok(ty.enumerators().into_iter().find(|(_, value)| *value as u64 == wanted).map(|(name, _)| name))
        }
    };
    globals.set("enum", lua.create_function(enumerator)?)?;
    let show = |_: &Lua, (what, letter): (Object, Option<String>)| {
        let radix = letter.as_deref().map(print::radix).transpose().map_err(failed)?.unwrap_or(Radix::Natural);
        match &what {
            Object::UserData(data) => {
                let format = Format { radix, lines: true, ..Format::default() };
                data.borrow::<Datum>()?.0.show(&format).map_err(failed)
            }
            Object::Integer(number) if radix == Radix::Hexadecimal => Ok(format!("{number:#x}")),
            Object::Table(table) => inner(table),
            other => other.to_string(),
        }
    };
    globals.set("show", lua.create_function(show)?)
}

/// The names and values of a table, those of tables in it left out.
fn inner(table: &mlua::Table) -> mlua::Result<String> {
    let text = |object: &Object| match object {
        Object::Table(_) => Ok("{...}".to_owned()),
        Object::String(text) => Ok(format!("{:?}", text.to_string_lossy())),
        other => other.to_string(),
    };
    let mut items = Vec::new();
    let length = table.raw_len();
    for index in 1..=length {
        items.push(text(&table.raw_get::<Object>(index)?)?);
    }
    let mut named = Vec::new();
    for pair in table.pairs::<Object, Object>() {
        let (key, value) = pair?;
        let is_item =
            key.as_integer().is_some_and(|key| usize::try_from(key).is_ok_and(|key| (1..=length).contains(&key)));
        if !is_item {
            named.push(format!("{} = {}", key.to_string()?, text(&value)?));
        }
    }
    named.sort();
    items.extend(named);
    Ok(format!("{{ {} }}", items.join(", ")))
}

fn symbols(lua: &Lua, program: &Program) -> mlua::Result<()> {
    let globals = lua.globals();
    let of = program.clone();
    let symbol = move |lua: &Lua, what: Object| match &what {
        Object::String(name) => of.symbol(&name.to_str()?).ok().map(|symbol| symbol.address as i64).into_lua_multi(lua),
        place => {
            let place = number(place)?;
            let Some((symbol, _)) = of.symbol_at(place) else { return Object::Nil.into_lua_multi(lua) };
            (symbol.name, place.wrapping_sub(symbol.address) as i64).into_lua_multi(lua)
        }
    };
    globals.set("symbol", lua.create_function(symbol)?)?;
    let of = program.clone();
    let describe = move |_: &Lua, place: Object| {
        let place = number(&place)?;
        Ok(of.describe(place).unwrap_or_else(|| format!("{place:#x}")))
    };
    globals.set("describe", lua.create_function(describe)?)?;
    let of = program.clone();
    let line = move |_: &Lua, place: Object| {
        let line = of.line(number(&place)?);
        Ok(line.map_or((None, None), |line| (Some(line.file), Some(line.line))))
    };
    globals.set("line", lua.create_function(line)?)?;
    let of = program.clone();
    let names = move |_: &Lua, prefix: String| Ok(of.names(&prefix, false));
    globals.set("names", lua.create_function(names)?)
}

fn memories<'scope, 'env>(
    lua: &Lua,
    scope: &'scope Scope<'scope, 'env>,
    session: &'env Session<'_>,
) -> mlua::Result<()> {
    let mem = lua.create_table()?;
    let program = session.crash.program();
    for (name, size, signed) in INTEGERS {
        let of = program.clone();
        let read = move |_: &Lua, place: Object| {
            let bits = of.read_unsigned(number(&place)?, size).map_err(failed)?;
            let unused = 64 - 8 * u32::from(size);
            Ok(if signed { (bits << unused) as i64 >> unused } else { bits as i64 })
        };
        mem.set(name, lua.create_function(read)?)?;
    }
    let of = program.clone();
    let word = move |_: &Lua, place: Object| of.read_word(number(&place)?).map(|word| word as i64).map_err(failed);
    mem.set("word", lua.create_function(word)?)?;
    let of = program.clone();
    let bytes = move |lua: &Lua, (place, size): (Object, Option<i64>)| {
        // Of a value of C all of it, unless a size is given.
        if let (Object::UserData(data), None) = (&place, size) {
            let value = data.borrow::<Datum>()?.0.clone();
            let whole = match value.resolved_type().map_err(failed)?.kind() {
                TypeKind::Pointer => value.deref().map_err(failed)?,
                _ => value,
            };
            return lua.create_string(whole.bytes().map_err(failed)?);
        }
        let size = u64::try_from(size.unwrap_or(0)).ok().filter(|size| *size <= MOST);
        let size = size.ok_or_else(|| failed(format!("0 to {MOST} bytes can be read at once")))?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        of.read(number(&place)?, &mut bytes).map_err(failed)?;
        lua.create_string(bytes)
    };
    mem.set("bytes", lua.create_function(bytes)?)?;
    let of = program.clone();
    let string = move |lua: &Lua, (place, limit): (Object, Option<usize>)| {
        let limit = limit.unwrap_or(TEXT).min(TEXT);
        let text = match &place {
            Object::Nil => return Ok(None),
            // A member that is an array of characters is text already.
            Object::String(text) => return Ok(Some(text.clone())),
            Object::UserData(data) => value::text(&data.borrow::<Datum>()?.0, limit)?,
            place => of.read_string(number(place)?, limit).map_err(failed)?,
        };
        lua.create_string(text).map(Some)
    };
    mem.set("string", lua.create_function(string)?)?;
    let readable = scope.create_function(|_, (place, size): (Object, Option<usize>)| {
        let mut bytes = vec![0; size.unwrap_or(1).min(MOST as usize)];
        Ok(memory::read(session, number(&place)?, &mut bytes) == bytes.len())
    })?;
    mem.set("readable", readable)?;
    let hexdump = scope.create_function(|lua, (place, size): (Object, Option<usize>)| {
        let mut bytes = vec![0; size.unwrap_or(128).min(MOST as usize)];
        let place = number(&place)?;
        let read = memory::read(session, place, &mut bytes);
        bytes.truncate(read);
        lua.create_string(memory::lines(place, &bytes))
    })?;
    mem.set("hexdump", hexdump)?;
    let globals = lua.globals();
    globals.set("mem", mem)?;
    let addr = |_: &Lua, what: Object| number(&what).map(|place| place as i64);
    globals.set("addr", lua.create_function(addr)?)?;
    let hex = |_: &Lua, values: Variadic<Object>| {
        let texts = values.iter().map(|value| Ok(format!("{:#x}", number(value)?)));
        texts.collect::<mlua::Result<Variadic<String>>>()
    };
    globals.set("hex", lua.create_function(hex)?)?;
    // Text without what would change a terminal, of one line.
    let plain = |_: &Lua, text: LuaString| Ok(super::super::report::visible(&text.to_string_lossy()));
    globals.set("plain", lua.create_function(plain)?)
}
