//! JSON and tables.

use mlua::{Error, Lua, Value as Object};
use serde_json::{Map, Number, Value};

/// Tables within one another.
const DEEP: u32 = 64;

/// A table as JSON: sequences are arrays, and what is nothing that JSON has is text. Integers are exact.
pub(super) fn of_object(object: &Object, depth: u32) -> mlua::Result<Value> {
    if depth > DEEP {
        return Err(Error::runtime("the table is too deep for JSON, or leads back to itself"));
    }
    Ok(match object {
        Object::Nil => Value::Null,
        Object::Boolean(value) => Value::Bool(*value),
        Object::Integer(number) => Value::from(*number),
        Object::Number(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Object::String(text) => Value::String(text.to_string_lossy()),
        Object::Table(table) => {
            let length = table.raw_len();
            let mut fields = Map::new();
            if length > 0 {
                let items = (1..=length).map(|index| of_object(&table.raw_get::<Object>(index)?, depth + 1));
                return items.collect::<mlua::Result<_>>().map(Value::Array);
            }
            for pair in table.pairs::<Object, Object>() {
                let (key, value) = pair?;
                fields.insert(key.to_string()?, of_object(&value, depth + 1)?);
            }
            Value::Object(fields)
        }
        other => Value::String(other.to_string()?),
    })
}

/// JSON as a table.
pub(super) fn to_object(lua: &Lua, value: &Value) -> mlua::Result<Object> {
    Ok(match value {
        Value::Null => Object::Nil,
        Value::Bool(value) => Object::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Object::Integer(number),
            (_, Some(number)) => Object::Integer(number as i64),
            _ => Object::Number(number.as_f64().unwrap_or(0.0)),
        },
        Value::String(text) => Object::String(lua.create_string(text)?),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_object(lua, item)).collect::<mlua::Result<Vec<_>>>()?;
            Object::Table(lua.create_sequence_from(items)?)
        }
        Value::Object(fields) => {
            let table = lua.create_table()?;
            for (name, value) in fields {
                table.raw_set(name.as_str(), to_object(lua, value)?)?;
            }
            Object::Table(table)
        }
    })
}
