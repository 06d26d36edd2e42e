//! Checking values against a schema: required fields, types, enums, formats.

use serde_json::Value;

use crate::Object;
use crate::quantity::{self, Quantity};
use crate::schema::{Schema, Shape};
use crate::status::{FieldError, Problem};

/// Every mistake that the schema alone can tell. `path` is where the object stands, empty for a
/// whole one.
pub fn check(schema: &Schema, object: &Object, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, object, &mut path.to_owned(), &mut errors);
    errors
}

fn walk(schema: &Schema, value: &Value, path: &mut String, errors: &mut Vec<FieldError>) {
    let length = path.len();
    if value.is_null() {
        return;
    }
    match (&schema.shape, value) {
        (Shape::Any, _) => {}
        (Shape::Either(_), _) => {
            if let Some(fits) = schema.shape.of(value) {
                walk(fits, value, path, errors);
            }
        }
        (Shape::Object(fields), Value::Object(map)) => {
            for (name, field) in &fields.known {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                match map.get(name) {
                    Some(value) => walk(&field.schema, value, path, errors),
                    None if field.required => errors.push(FieldError::required(path.clone(), "")),
                    None => {}
                }
                path.truncate(length);
            }
        }
        (Shape::Map(values), Value::Object(map)) => {
            for (name, value) in map {
                path.push_str(&format!("[{name}]"));
                walk(values, value, path, errors);
                path.truncate(length);
            }
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(items, value, path, errors);
                path.truncate(length);
            }
        }
        (Shape::String { allowed, .. }, Value::String(text)) => {
            if !allowed.is_empty() && !text.is_empty() && !allowed.contains(text) {
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                errors.push(FieldError::not_supported(path.clone(), text.as_str(), &allowed));
            }
        }
        (Shape::Quantity, Value::String(text)) => {
            if Quantity::parse(text).is_none() {
                errors.push(FieldError::invalid(path.clone(), text.as_str(), quantity::FORMAT_WRONG));
            }
        }
        (Shape::Integer { .. }, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
        (Shape::Number | Shape::IntOrString | Shape::Quantity, Value::Number(_))
        | (Shape::IntOrString, Value::String(_))
        | (Shape::Boolean, Value::Bool(_)) => {}
        (shape, value) => {
            let (given, wanted) = (super::decode::sort(value), wanted(shape));
            let detail = format!("{path} in body must be of type {wanted}: {given:?}");
            errors.push(FieldError::new(Problem::TypeInvalid, path.clone(), given.into(), detail));
        }
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Any | Shape::Either(_) => "any",
        Shape::Object(_) | Shape::Map(_) => "object",
        Shape::List { .. } => "array",
        Shape::String { .. } | Shape::Quantity => "string",
        Shape::Integer { .. } => "integer",
        Shape::Number => "number",
        Shape::Boolean => "boolean",
        Shape::IntOrString => "integer,string",
    }
}
