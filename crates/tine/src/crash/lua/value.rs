//! Values of C in Lua: numbers, strings and nil where Lua has the same, and a [`Datum`] for the rest.

use mlua::{Error, IntoLua, Lua, MetaMethod, UserData, UserDataMethods, Value as Object};
use symbols::{Encoding, Format, Type, TypeKind, Value};

/// Longest text that is taken for a string.
pub(super) const TEXT: usize = 1 << 20;

/// A structure, union, array, function or pointer of C.
#[derive(Clone)]
pub(super) struct Datum(pub(super) Value);

/// An error of the libraries below as one of Lua, which adds the place in the script.
pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::runtime(error)
}

/// What a value is in Lua: integers, truth values and numbers; strings for arrays of `char`; nil for null pointers.
pub(super) fn object(lua: &Lua, value: Value) -> mlua::Result<Object> {
    let ty = value.resolved_type().map_err(failed)?;
    match ty.kind() {
        TypeKind::Base(Encoding::Boolean) => Ok(Object::Boolean(value.integer().map_err(failed)? != 0)),
        TypeKind::Base(Encoding::Float) => Ok(Object::Number(value.float().map_err(failed)?)),
        TypeKind::Base(_) | TypeKind::Enum => Ok(Object::Integer(value.unsigned().map_err(failed)? as i64)),
        TypeKind::Pointer => match value.unsigned().map_err(failed)? {
            0 => Ok(Object::Nil),
            _ => {
                // Read once: what a pointer is compared with does not change under it.
                let pointer = value.cast(&value.ty().clone()).map_err(failed)?;
                lua.create_userdata(Datum(pointer)).map(Object::UserData)
            }
        },
        TypeKind::Array if is_text(&ty) => {
            let text = text(&value, TEXT)?;
            lua.create_string(text).map(Object::String)
        }
        _ => lua.create_userdata(Datum(value)).map(Object::UserData),
    }
}

/// Whether a type is an array of `char` of a known size.
fn is_text(ty: &Type) -> bool {
    ty.count().is_some_and(|count| count > 0) && ty.target().is_ok_and(|element| is_char(&element))
}

/// Whether a type is `char` itself: numbers of 8 bits have other names.
fn is_char(ty: &Type) -> bool {
    ty.resolved().is_ok_and(|ty| ty.name() == "char") && ty.name().ends_with("char")
}

/// Whether a value points to `char`.
fn points_to_text(value: &Value) -> bool {
    let target = |ty: Type| matches!(ty.kind(), TypeKind::Pointer | TypeKind::Array).then(|| ty.target().ok());
    value.resolved_type().ok().and_then(target).flatten().is_some_and(|ty| is_char(&ty))
}

/// The bytes of a string of C.
pub(super) fn text(value: &Value, limit: usize) -> mlua::Result<Vec<u8>> {
    let ty = value.resolved_type().map_err(failed)?;
    let limit = limit.min(TEXT);
    match (ty.kind(), value.address()) {
        (TypeKind::Pointer, _) => value.program().read_string(value.unsigned().map_err(failed)?, limit).map_err(failed),
        (TypeKind::Array, Some(address)) => {
            let count = ty.count().filter(|count| *count > 0).and_then(|count| usize::try_from(count).ok());
            value.program().read_string(address, limit.min(count.unwrap_or(limit))).map_err(failed)
        }
        _ => Ok(value.string(limit).map_err(failed)?.into_bytes()),
    }
}

/// The address that a value stands for: of a pointer where it points to, of the rest where it is.
pub(super) fn address(value: &Value) -> mlua::Result<u64> {
    let ty = value.resolved_type().map_err(failed)?;
    match (ty.kind(), value.address()) {
        (TypeKind::Pointer, _) => value.unsigned().map_err(failed),
        (_, Some(address)) => Ok(address),
        _ => Err(failed(format!("a value of type {} has no address", value.ty()))),
    }
}

/// The value as C, or else for people: what `print` shows of it.
fn show(value: &Value) -> mlua::Result<Vec<u8>> {
    if points_to_text(value) {
        return text(value, TEXT);
    }
    let ty = value.resolved_type().map_err(failed)?;
    let lines = matches!(ty.kind(), TypeKind::Struct | TypeKind::Union | TypeKind::Array);
    value.show(&Format { lines, ..Format::default() }).map(String::into_bytes).map_err(failed)
}

/// The number in an integer of Lua or in a pointer.
pub(super) fn number(object: &Object) -> mlua::Result<u64> {
    match object {
        Object::Integer(number) => Ok(*number as u64),
        Object::Number(number) if number.fract() == 0.0 => Ok(*number as i64 as u64),
        Object::Nil => Ok(0),
        Object::Boolean(value) => Ok(u64::from(*value)),
        Object::UserData(data) => address(&data.borrow::<Datum>()?.0),
        other => Err(failed(format!("an address was expected, not a {}", other.type_name()))),
    }
}

impl Datum {
    fn index(&self, lua: &Lua, key: &Object) -> mlua::Result<Object> {
        let value = &self.0;
        match key {
            Object::String(name) => object(lua, value.field(&name.to_str()?).map_err(failed)?),
            Object::Integer(index) => {
                let ty = value.resolved_type().map_err(failed)?;
                if let Some(count) = ty.count().filter(|count| *count > 1)
                    && u64::try_from(*index).map_or(true, |index| index >= count)
                {
                    let last = count - 1;
                    return Err(failed(format!("{} has elements 0 to {last}, and no element {index}", value.ty())));
                }
                object(lua, value.element((*index).into()).map_err(failed)?)
            }
            other => Err(failed(format!("a field's name or an index was expected, not a {}", other.type_name()))),
        }
    }

    /// Number of elements of an array.
    fn count(&self) -> mlua::Result<u64> {
        let ty = self.0.resolved_type().map_err(failed)?;
        match ty.kind() {
            TypeKind::Array => Ok(ty.count().unwrap_or(0)),
            _ => Err(failed(format!("{} is not an array: it has no length", self.0.ty()))),
        }
    }

    /// Names of the members of a structure, or of the one a pointer points to.
    fn names(&self) -> mlua::Result<Vec<String>> {
        let mut ty = self.0.resolved_type().map_err(failed)?;
        if ty.kind() == TypeKind::Pointer {
            ty = self.0.deref().and_then(|value| value.resolved_type()).map_err(failed)?;
        }
        let mut names = Vec::new();
        members(&ty, 0, &mut names)?;
        Ok(names)
    }

    fn shifted(&self, lua: &Lua, by: i64) -> mlua::Result<Object> {
        let value = &self.0;
        if value.resolved_type().map_err(failed)?.kind() != TypeKind::Pointer {
            return Err(failed(format!("{} is not a pointer or number", value.ty())));
        }
        let target = value.element(by.into()).and_then(|element| element.address_of()).map_err(failed)?;
        object(lua, target.cast(value.ty()).map_err(failed)?)
    }

    /// Bytes between two pointers in elements.
    fn distance(&self, other: &Self) -> mlua::Result<i64> {
        let size = self.0.element(0).and_then(|element| element.resolved_type()?.size()).map_err(failed)?;
        let bytes = address(&self.0)?.wrapping_sub(address(&other.0)?) as i64;
        bytes.checked_div(i64::try_from(size).unwrap_or(0)).ok_or_else(|| failed("the elements have no size"))
    }
}

/// Names of members, those of anonymous structures and unions among them.
pub(super) fn members(ty: &Type, depth: u32, names: &mut Vec<String>) -> mlua::Result<()> {
    /// Anonymous structures within one another.
    const DEEP: u32 = 16;
    for field in ty.fields().map_err(failed)? {
        match field.name.is_empty() {
            true if depth < DEEP => members(&field.ty, depth + 1, names)?,
            true => {}
            false => names.push(field.name),
        }
    }
    Ok(())
}

impl UserData for Datum {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |lua, this, key: Object| this.index(lua, &key));
        methods.add_meta_method(MetaMethod::NewIndex, |_, _, (_, _): (Object, Object)| -> mlua::Result<()> {
            Err(failed("a dump cannot be changed"))
        });
        methods.add_meta_method(MetaMethod::Len, |_, this, ()| this.count());
        methods.add_meta_method(MetaMethod::ToString, |lua, this, ()| lua.create_string(show(&this.0)?));
        methods.add_meta_function(MetaMethod::Concat, |lua, (left, right): (Object, Object)| {
            let mut joined = Vec::new();
            for side in [left, right] {
                match side {
                    Object::UserData(data) => joined.extend(show(&data.borrow::<Datum>()?.0)?),
                    other => joined.extend_from_slice(&lua.coerce_string(other.clone())?.map_or_else(
                        || Err(failed(format!("a {} cannot be joined to a text", other.type_name()))),
                        |text| Ok(text.as_bytes().to_vec()),
                    )?),
                }
            }
            lua.create_string(joined)
        });
        methods.add_meta_function(MetaMethod::Eq, |_, (left, right): (Object, Object)| {
            Ok(matches!((number(&left), number(&right)), (Ok(left), Ok(right)) if left == right))
        });
        methods.add_meta_function(MetaMethod::Lt, |_, (left, right): (Object, Object)| {
            Ok(number(&left)? < number(&right)?)
        });
        methods.add_meta_function(MetaMethod::Le, |_, (left, right): (Object, Object)| {
            Ok(number(&left)? <= number(&right)?)
        });
        methods.add_meta_function(MetaMethod::Add, |lua, sides: (Object, Object)| match sides {
            (Object::UserData(data), Object::Integer(by)) | (Object::Integer(by), Object::UserData(data)) => {
                data.borrow::<Datum>()?.shifted(lua, by)
            }
            _ => Err(failed("only an integer can be added to a pointer")),
        });
        methods.add_meta_function(MetaMethod::Sub, |lua, sides: (Object, Object)| match sides {
            (Object::UserData(data), Object::Integer(by)) => data.borrow::<Datum>()?.shifted(lua, by.wrapping_neg()),
            (Object::UserData(left), Object::UserData(right)) => {
                left.borrow::<Datum>()?.distance(&*right.borrow::<Datum>()?)?.into_lua(lua)
            }
            _ => Err(failed("only an integer or a pointer can be taken from a pointer")),
        });
        for (operation, of) in [
            (MetaMethod::BAnd, (|a, b| a & b) as fn(u64, u64) -> u64),
            (MetaMethod::BOr, |a, b| a | b),
            (MetaMethod::BXor, |a, b| a ^ b),
        ] {
            methods.add_meta_function(operation, move |_, (left, right): (Object, Object)| {
                Ok(of(number(&left)?, number(&right)?) as i64)
            });
        }
        // Elements of arrays with their indices, members of structures with their names.
        methods.add_meta_method(MetaMethod::Pairs, |lua, this, ()| {
            let keys: Vec<Object> = match this.0.resolved_type().map_err(failed)?.kind() {
                TypeKind::Array => {
                    (0..this.count()?.min(TEXT as u64)).map(|index| Object::Integer(index as i64)).collect()
                }
                _ => {
                    let names = this.names()?;
                    names.into_iter().map(|name| name.into_lua(lua)).collect::<mlua::Result<_>>()?
                }
            };
            let (datum, mut keys) = (this.clone(), keys.into_iter());
            lua.create_function_mut(move |lua, _: mlua::MultiValue| match keys.next() {
                Some(key) => {
                    // A member that Lua has no value for does not end the walk.
                    let value = datum.index(lua, &key).or_else(|error| super::told::sentence(&error).into_lua(lua))?;
                    Ok((key, value))
                }
                None => Ok((Object::Nil, Object::Nil)),
            })
        });
    }
}
