//! Presenting values as kube-apiserver does: zeros dropped or added, quantities and times in
//! their canonical form. Idempotent.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::is_zero;
use crate::Object;
use crate::quantity;
use crate::schema::{Presence, Schema, Shape};

/// Normalises an object in place.
pub fn normalise(schema: &Schema, object: &mut Object) {
    match (&schema.shape, object) {
        (Shape::Object(fields), Value::Object(map)) => {
            for (name, field) in &fields.known {
                match field.presence {
                    Presence::Always => {
                        let slot = map.entry(name.clone()).or_insert(Value::Null);
                        if slot.is_null() {
                            *slot = zero(&field.schema);
                        }
                        normalise(&field.schema, slot);
                    }
                    Presence::Null => {
                        normalise(&field.schema, map.entry(name.clone()).or_insert(Value::Null));
                    }
                    presence => {
                        let Some(value) = map.get_mut(name) else { continue };
                        normalise(&field.schema, value);
                        let dropped = match presence {
                            Presence::OmitZero => is_zero(value),
                            _ => value.is_null() && !field.schema.nullable,
                        };
                        if dropped {
                            map.remove(name);
                        }
                    }
                }
            }
        }
        (Shape::Map(values), Value::Object(map)) => {
            map.values_mut().for_each(|value| normalise(values, value))
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|value| normalise(items, value));
        }
        (Shape::Either(_), value) => {
            if let Some(fits) = schema.shape.of(value) {
                normalise(fits, value);
            }
        }
        (Shape::Quantity, value) => match &*value {
            Value::String(text) => {
                if let Some(text) = quantity::canonical(text) {
                    *value = text.into();
                }
            }
            Value::Number(number) => {
                if let Some(text) = quantity::canonical(&number.to_string()) {
                    *value = text.into();
                }
            }
            _ => {}
        },
        (Shape::String { format, .. }, value) => {
            let Some(text) = value.as_str() else { return };
            let canonical = match format.as_str() {
                "date-time" => time(text, "%Y-%m-%dT%H:%M:%SZ"),
                "date-time-micro" => time(text, "%Y-%m-%dT%H:%M:%S%.6fZ"),
                _ => None,
            };
            if let Some(canonical) = canonical.filter(|canonical| canonical != text) {
                *value = canonical.into();
            }
        }
        _ => {}
    }
}

fn time(text: &str, format: &str) -> Option<String> {
    text.parse::<Timestamp>().ok().map(|time| time.strftime(format).to_string())
}

/// What Go shows for a field that was never set.
fn zero(schema: &Schema) -> Value {
    match &schema.shape {
        Shape::Object(_) => Value::Object(Map::new()),
        Shape::String { format, .. } if !format.starts_with("date-time") && format != "byte" => "".into(),
        Shape::Integer { .. } | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Boolean => false.into(),
        Shape::Quantity => "0".into(),
        _ => Value::Null,
    }
}
