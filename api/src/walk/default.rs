//! Filling in what was left out.

use serde_json::{Map, Value};

use super::{conditional, is_zero};
use crate::Object;
use crate::schema::{Presence, Schema, Shape};

/// Sets defaults, from the top down: a default that is an object gets its own defaults.
pub fn default(schema: &Schema, object: &mut Object) {
    match (&schema.shape, object) {
        (Shape::Object(fields), Value::Object(map)) => {
            for (name, field) in &fields.known {
                let given = map.get(name).unwrap_or(&Value::Null);
                // A zero that JSON would not show counts as absent.
                let pointer = matches!(field.presence, Presence::AsGiven | Presence::Null);
                let absent = given.is_null() || (!pointer && is_zero(given));
                if absent && let Some(value) = &field.default {
                    map.insert(name.clone(), value.clone());
                } else if given.is_null()
                    && field.presence == Presence::Always
                    && matches!(field.schema.shape, Shape::Object(_))
                {
                    map.insert(name.clone(), Value::Object(Map::new()));
                }
            }
            if let Some(complete) = conditional::of(&schema.definition) {
                complete(map);
            }
            for (name, field) in &fields.known {
                if let Some(value) = map.get_mut(name) {
                    default(&field.schema, value);
                }
            }
        }
        (Shape::Map(values), Value::Object(map)) => map.values_mut().for_each(|value| item(values, value)),
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|value| item(items, value))
        }
        (Shape::Either(_), value) => {
            if let Some(fits) = schema.shape.of(value) {
                default(fits, value);
            }
        }
        _ => {}
    }
}

/// An item that is null is the empty object, as it is in Go.
fn item(schema: &Schema, value: &mut Value) {
    if value.is_null() && !schema.nullable && matches!(schema.shape, Shape::Object(_)) {
        *value = Value::Object(Map::new());
    }
    default(schema, value);
}
