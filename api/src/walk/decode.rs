//! What upstream's decoder says when a value does not fit a Go type.

use jiff::Timestamp;
use serde_json::Value;

use crate::Object;
use crate::quantity::{self, Quantity};
use crate::schema::{Schema, Shape};
use crate::status::Status;

/// The first value that cannot be decoded, as a 400.
pub fn decode_error(kind: &str, version: &str, schema: &Schema, object: &Object) -> Option<Status> {
    let why = walk(schema, object, "", "")?;
    Some(Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}")))
}

/// JSON's name of a value's sort, as Go's decoder gives it.
pub fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn walk(schema: &Schema, value: &Value, owner: &str, path: &str) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match (&schema.shape, value) {
        (Shape::Any, _) => None,
        (Shape::Either(alternatives), _) => match schema.shape.of(value) {
            Some(fits) => walk(fits, value, owner, path),
            // Upstream's decoders of these types drop what they do not expect, but for this one.
            None => alternatives
                .iter()
                .any(|(_, schema)| matches!(schema.shape, Shape::Boolean))
                .then(|| "boolean or JSON schema expected".into()),
        },
        (Shape::Object(fields), Value::Object(map)) => {
            let owner = schema.definition.rsplit('.').next().unwrap_or_default();
            map.iter().find_map(|(name, value)| {
                let field = fields.known.get(name)?;
                walk(&field.schema, value, owner, &super::join(path, name))
            })
        }
        (Shape::Map(values), Value::Object(map)) => {
            map.values().find_map(|value| walk(values, value, owner, path))
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter().find_map(|value| walk(items, value, owner, path))
        }
        (Shape::String { format, .. }, Value::String(text)) => match format.as_str() {
            "date-time" | "date-time-micro" => {
                let bad = !text.is_empty() && text.parse::<Timestamp>().is_err();
                bad.then(|| {
                    format!(
                        "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                    )
                })
            }
            "byte" => {
                let bad = text.bytes().position(|c| !(c.is_ascii_alphanumeric() || b"+/=\r\n".contains(&c)));
                let ragged = text.bytes().filter(|c| !b"\r\n".contains(c)).count() % 4 != 0;
                let at = bad.or(ragged.then_some(text.len()));
                at.map(|at| format!("illegal base64 data at input byte {at}"))
            }
            _ => None,
        },
        (Shape::Quantity, Value::String(text)) => {
            (Quantity::parse(text).is_none()).then(|| quantity::FORMAT_WRONG.to_owned())
        }
        (Shape::Integer { bits }, Value::Number(number)) => {
            let fits = number.as_i64().is_some_and(|value| *bits != 32 || i32::try_from(value).is_ok());
            (!fits).then(|| mismatch(&format!("number {number}"), owner, path, &go_type(schema)))
        }
        (Shape::Number | Shape::Quantity, Value::Number(_)) | (Shape::Boolean, Value::Bool(_)) => None,
        (Shape::IntOrString, Value::String(_)) => None,
        (Shape::IntOrString, Value::Number(number))
            if number.as_i64().is_some_and(|v| i32::try_from(v).is_ok()) =>
        {
            None
        }
        (_, value) => Some(mismatch(sort(value), owner, path, &go_type(schema))),
    }
}

fn mismatch(given: &str, owner: &str, path: &str, wanted: &str) -> String {
    if path.is_empty() {
        format!("json: cannot unmarshal {given} into Go value of type {wanted}")
    } else {
        format!("json: cannot unmarshal {given} into Go struct field {owner}.{path} of type {wanted}")
    }
}

/// The Go type of a schema, such as `[]v1.Container`.
fn go_type(schema: &Schema) -> String {
    if !schema.definition.is_empty() && !matches!(schema.shape, Shape::Any) {
        let mut parts = schema.definition.rsplit('.');
        let (name, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{version}.{name}");
    }
    match &schema.shape {
        Shape::Any | Shape::Either(_) => "interface {}".into(),
        Shape::Object(_) => "struct".into(),
        Shape::Map(values) => format!("map[string]{}", go_type(values)),
        Shape::List { items, .. } => format!("[]{}", go_type(items)),
        Shape::String { format, .. } if format == "byte" => "[]uint8".into(),
        Shape::String { .. } => "string".into(),
        Shape::Integer { bits } => format!("int{bits}"),
        Shape::Number => "float64".into(),
        Shape::Boolean => "bool".into(),
        Shape::IntOrString => "intstr.IntOrString".into(),
        Shape::Quantity => "resource.Quantity".into(),
    }
}
