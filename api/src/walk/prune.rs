//! Dropping what the schema does not know.

use serde_json::Value;

use crate::Object;
use crate::schema::{Schema, Shape};

/// Drops unknown fields; returns their paths, such as `spec.containers[0].nmae`.
pub fn prune(schema: &Schema, object: &mut Object) -> Vec<String> {
    let mut dropped = Vec::new();
    walk(schema, object, &mut String::new(), &mut dropped);
    dropped
}

fn walk(schema: &Schema, value: &mut Value, path: &mut String, dropped: &mut Vec<String>) {
    let length = path.len();
    match (&schema.shape, value) {
        (Shape::Object(fields), Value::Object(map)) => {
            let mut unknown = Vec::new();
            for (name, value) in map.iter_mut() {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                match fields.known.get(name) {
                    Some(field) => walk(&field.schema, value, path, dropped),
                    None if fields.preserve_unknown => {}
                    None => {
                        dropped.push(path.clone());
                        unknown.push(name.clone());
                    }
                }
                path.truncate(length);
            }
            for name in unknown {
                map.remove(&name);
            }
        }
        (Shape::Map(values), Value::Object(map)) => {
            for (name, value) in map {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                walk(values, value, path, dropped);
                path.truncate(length);
            }
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            for (index, value) in list.iter_mut().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(items, value, path, dropped);
                path.truncate(length);
            }
        }
        // Upstream decodes these types apart, and does not tell what it drops there.
        (Shape::Either(_), value) => match schema.shape.of(value) {
            Some(fits) => walk(fits, value, path, &mut Vec::new()),
            None => *value = Value::Null,
        },
        _ => {}
    }
}
