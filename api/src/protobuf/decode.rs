//! Messages to objects.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::wire::{Fields, Wire, text};
use super::{Error, MAGIC};
use crate::schema::{Field, Layout, Schema, Shape, Slot};

/// Reads a message of that schema.
pub fn message(schema: &Schema, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let mut map = Map::new();
    if let Shape::Object(fields) = &schema.shape {
        fill(fields.layout(), bytes, depth, &mut map)?;
    }
    Ok(map.into())
}

fn fill(layout: &Layout, bytes: &[u8], depth: usize, map: &mut Map<String, Value>) -> Result<(), Error> {
    let depth = depth.checked_sub(1).ok_or(Error::Malformed("nested too deep"))?;
    for part in Fields(bytes) {
        let (number, wire) = part?;
        match (layout.get(number), wire) {
            (Some(Slot::Field(name, field)), wire) => set(map, name, field, wire, depth)?,
            (Some(Slot::Inlined(inner)), Wire::Bytes(bytes)) => fill(inner, bytes, depth, map)?,
            _ => {}
        }
    }
    Ok(())
}

fn set(
    map: &mut Map<String, Value>,
    name: &str,
    field: &Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), Error> {
    match (&field.schema.shape, wire) {
        (Shape::List { items, .. }, wire) => {
            let item = value(items, wire, depth)?;
            if let Value::Array(list) = map.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(item);
            }
        }
        (Shape::Map(values), Wire::Bytes(entry)) => {
            let (mut key, mut item) = (String::new(), None);
            for part in Fields(entry) {
                match part? {
                    (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                    (2, wire) => item = Some(map_value(values, wire, depth)?),
                    _ => {}
                }
            }
            if let Value::Object(map) = map.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                map.insert(key, item.unwrap_or(Value::Null));
            }
        }
        (_, wire) => {
            map.insert(name.into(), value(&field.schema, wire, depth)?);
        }
    }
    Ok(())
}

/// A list inside a map is a message of its own (`ExtraValue`).
fn map_value(schema: &Schema, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    match (&schema.shape, wire) {
        (Shape::List { items, .. }, Wire::Bytes(bytes)) => {
            Fields(bytes).map(|part| value(items, part?.1, depth)).collect()
        }
        (_, wire) => value(schema, wire, depth),
    }
}

fn value(schema: &Schema, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match (&schema.shape, wire) {
        (Shape::String { format, .. }, Wire::Bytes(bytes)) => match format.as_str() {
            "date-time" | "date-time-micro" => time(bytes, format)?,
            "byte" => STANDARD.encode(bytes).into(),
            _ => text(bytes)?.into(),
        },
        // Signed numbers are sent as their two's complement.
        (Shape::Integer { .. }, Wire::Number(number)) => number.cast_signed().into(),
        (Shape::Number, Wire::Number(bits)) => f64::from_bits(bits).into(),
        (Shape::Boolean, Wire::Number(number)) => (number != 0).into(),
        (Shape::Quantity, Wire::Bytes(bytes)) => match Fields(bytes).next() {
            Some(part) => match part?.1 {
                Wire::Bytes(bytes) => text(bytes)?.into(),
                Wire::Number(_) => Value::Null,
            },
            None => "0".into(),
        },
        (Shape::IntOrString, Wire::Bytes(bytes)) => {
            let (mut given, mut number, mut is_text) = (String::new(), 0, false);
            for part in Fields(bytes) {
                match part? {
                    (1, Wire::Number(sort)) => is_text = sort == 1,
                    (2, Wire::Number(value)) => number = value.cast_signed(),
                    (3, Wire::Bytes(bytes)) => given = text(bytes)?,
                    _ => {}
                }
            }
            if is_text { given.into() } else { number.into() }
        }
        (Shape::Either(alternatives), Wire::Bytes(bytes)) => either(alternatives, bytes, depth)?,
        (Shape::Any, Wire::Bytes(bytes)) => match Fields(bytes).next() {
            Some(Ok((1, Wire::Bytes(inner)))) if inner.starts_with(MAGIC) => super::decode(inner)?,
            Some(Ok((1, Wire::Bytes(inner)))) => {
                serde_json::from_slice(inner).map_err(|_| Error::Malformed("a raw extension is not JSON"))?
            }
            _ => Value::Null,
        },
        (_, Wire::Bytes(bytes)) => message(schema, bytes, depth)?,
        _ => Value::Null,
    })
}

/// One of several: a boolean beside another alternative says only that the other is there.
fn either(alternatives: &[(u32, Schema)], bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let depth = depth.checked_sub(1).ok_or(Error::Malformed("nested too deep"))?;
    let mut found = Value::Null;
    for part in Fields(bytes) {
        let (number, wire) = part?;
        let Some((_, schema)) = alternatives.iter().find(|(at, _)| *at == number) else { continue };
        match (&schema.shape, &mut found) {
            (Shape::List { items, .. }, Value::Array(list)) => list.push(value(items, wire, depth)?),
            (Shape::List { items, .. }, found) => *found = vec![value(items, wire, depth)?].into(),
            (Shape::Boolean, Value::Object(_)) => {}
            (_, found) => *found = value(schema, wire, depth)?,
        }
    }
    Ok(found)
}

fn time(bytes: &[u8], format: &str) -> Result<Value, Error> {
    let (mut seconds, mut nanos) = (None, 0);
    for part in Fields(bytes) {
        match part? {
            (1, Wire::Number(number)) => seconds = Some(number.cast_signed()),
            (2, Wire::Number(number)) => nanos = i32::try_from(number.cast_signed()).unwrap_or(0),
            _ => {}
        }
    }
    // The zero time of Go is sent as an empty message.
    let Some(seconds) = seconds else { return Ok(Value::Null) };
    let time = Timestamp::new(seconds, nanos).map_err(|_| Error::Malformed("a time is out of range"))?;
    let pattern = if format == "date-time" { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
    Ok(time.strftime(pattern).to_string().into())
}
