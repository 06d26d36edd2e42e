//! Objects to messages. Bytes are upstream's: fields by ascending number, values that are no
//! pointers in Go always, maps by key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Error;
use super::wire::Writer;
use crate::schema::{Field, Layout, Presence, Schema, Shape, Slot};

/// Writes the fields of a message, without a tag of its own.
pub fn message(out: &mut Writer, schema: &Schema, object: &Value) -> Result<(), Error> {
    let none = Map::new();
    let map = object.as_object().unwrap_or(&none);
    match &schema.shape {
        Shape::Object(fields) => fields_of(out, fields.layout(), map),
        _ => Ok(()),
    }
}

fn fields_of(out: &mut Writer, layout: &Layout, map: &Map<String, Value>) -> Result<(), Error> {
    for (number, slot) in layout.iter().rev() {
        match slot {
            Slot::Inlined(inner) => {
                let start = out.mark();
                fields_of(out, inner, map)?;
                out.close(number, start);
            }
            Slot::Field(name, field) => {
                let given = map.get(name).unwrap_or(&Value::Null);
                set(out, number, field, given).map_err(|error| match error {
                    Error::Unfit(path) if path.is_empty() => Error::Unfit(name.clone()),
                    Error::Unfit(path) => Error::Unfit(format!("{name}.{path}")),
                    other => other,
                })?;
            }
        }
    }
    Ok(())
}

fn set(out: &mut Writer, number: u32, field: &Field, given: &Value) -> Result<(), Error> {
    let pointer = matches!(field.presence, Presence::AsGiven | Presence::Null);
    match (&field.schema.shape, given) {
        (Shape::List { .. } | Shape::Map(_), Value::Null) => Ok(()),
        (_, Value::Null) if pointer => Ok(()),
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter().rev().try_for_each(|item| value(out, number, items, item))
        }
        (Shape::Map(values), Value::Object(map)) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, item) in entries.into_iter().rev() {
                let start = out.mark();
                map_value(out, values, item)?;
                out.bytes(1, key.as_bytes());
                out.close(number, start);
            }
            Ok(())
        }
        _ => value(out, number, &field.schema, given),
    }
}

fn map_value(out: &mut Writer, schema: &Schema, item: &Value) -> Result<(), Error> {
    match (&schema.shape, item) {
        (Shape::List { items, .. }, Value::Array(list)) => {
            let start = out.mark();
            for item in list.iter().rev() {
                value(out, 1, items, item)?;
            }
            out.close(2, start);
            Ok(())
        }
        _ => value(out, 2, schema, item),
    }
}

/// One value with its tag; `null` is the zero of its type.
fn value(out: &mut Writer, number: u32, schema: &Schema, given: &Value) -> Result<(), Error> {
    let unfit = || Error::Unfit(String::new());
    match (&schema.shape, given) {
        (Shape::String { format, .. }, _) if format.starts_with("date-time") => {
            let start = out.mark();
            if let Some(text) = given.as_str().filter(|text| !text.is_empty()) {
                let time: Timestamp = text.parse().map_err(|_| unfit())?;
                let nanos = if format == "date-time" { 0 } else { time.subsec_nanosecond() / 1000 * 1000 };
                // A time before the epoch has its seconds rounded down.
                let (mut seconds, mut nanos) = (time.as_second(), i64::from(nanos));
                if time.subsec_nanosecond() < 0 {
                    seconds -= 1;
                    nanos = if nanos < 0 { nanos + 1_000_000_000 } else { nanos };
                }
                out.number(2, nanos.cast_unsigned());
                out.number(1, seconds.cast_unsigned());
            }
            out.close(number, start);
        }
        // A slice of bytes that is nil is not sent.
        (Shape::String { format, .. }, Value::Null) if format == "byte" => {}
        (Shape::String { format, .. }, Value::String(text)) if format == "byte" => {
            out.bytes(number, &STANDARD.decode(text).map_err(|_| unfit())?);
        }
        (Shape::String { .. }, Value::Null) => out.bytes(number, b""),
        (Shape::String { .. }, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Shape::Integer { .. }, Value::Null) | (Shape::Boolean, Value::Null | Value::Bool(false)) => {
            out.number(number, 0);
        }
        (Shape::Integer { .. }, Value::Number(_)) => {
            out.number(number, given.as_i64().ok_or_else(unfit)?.cast_unsigned());
        }
        (Shape::Boolean, Value::Bool(true)) => out.number(number, 1),
        (Shape::Number, Value::Null | Value::Number(_)) => {
            out.fixed(number, given.as_f64().unwrap_or(0.0).to_bits());
        }
        (Shape::Quantity, Value::Null | Value::String(_) | Value::Number(_)) => {
            let start = out.mark();
            match given {
                Value::String(text) => out.bytes(1, text.as_bytes()),
                Value::Number(amount) => out.bytes(1, amount.to_string().as_bytes()),
                _ => out.bytes(1, b"0"),
            }
            out.close(number, start);
        }
        (Shape::IntOrString, Value::Null | Value::String(_) | Value::Number(_)) => {
            let start = out.mark();
            out.bytes(3, given.as_str().unwrap_or_default().as_bytes());
            out.number(2, given.as_i64().unwrap_or(0).cast_unsigned());
            out.number(1, u64::from(given.is_string()));
            out.close(number, start);
        }
        (Shape::Either(alternatives), _) => {
            let start = out.mark();
            let fits = schema.shape.of(given);
            for (number, schema) in alternatives.iter().rev() {
                match (&schema.shape, given) {
                    // Beside another alternative it says that the other is there.
                    (Shape::Boolean, _) => out.number(*number, u64::from(*given != Value::Bool(false))),
                    _ if !fits.is_some_and(|fits| fits.same(schema)) => {}
                    (Shape::List { items, .. }, Value::Array(list)) => {
                        list.iter().rev().try_for_each(|item| value(out, *number, items, item))?;
                    }
                    _ => value(out, *number, schema, given)?,
                }
            }
            out.close(number, start);
        }
        (Shape::Any, _) => {
            let start = out.mark();
            if !given.is_null() {
                out.bytes(1, given.to_string().as_bytes());
            }
            out.close(number, start);
        }
        (Shape::Object(_), Value::Null | Value::Object(_)) => {
            let start = out.mark();
            message(out, schema, given)?;
            out.close(number, start);
        }
        _ => return Err(unfit()),
    }
    Ok(())
}
