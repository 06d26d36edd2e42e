//! Shapes of the structural schemas of custom kinds.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{FieldShape, Form, ListKind, MAX_REQUEST_BYTES, ObjectShape, Shape, escape};

/// The longest text in a request: the quotes count too.
const MAX_TEXT: u64 = MAX_REQUEST_BYTES - 2;

impl Shape {
    /// The shape of an `openAPIV3Schema` or a part of one; `None` if expressions cannot see such values.
    ///
    /// `name` becomes the name of the type, `root` tells that the schema is of a whole resource, whose `apiVersion`,
    /// `kind`, `metadata.name` and `metadata.generateName` can always be asked for.
    pub fn structural(schema: &Value, name: &str, root: bool) -> Option<Arc<Shape>> {
        let (shape, exposed) = shape(schema, name, root);
        exposed.then_some(shape)
    }
}

fn number(schema: &Value, key: &str) -> Option<u64> {
    let value = &schema[key];
    value
        .as_u64()
        .or_else(|| value.as_i64().map(|_| 0))
        .or_else(|| value.as_f64().map(|value| value.max(0.0) as u64))
}

/// The shape, and whether expressions may see it.
fn shape(schema: &Value, name: &str, root: bool) -> (Arc<Shape>, bool) {
    let (mut shape, exposed) = form(schema, name, root);
    shape.nullable = schema["nullable"] == true;
    (Arc::new(shape), exposed)
}

fn embedded(schema: &Value) -> bool {
    schema["x-kubernetes-embedded-resource"] == true
}

fn form(schema: &Value, name: &str, root: bool) -> (Shape, bool) {
    if schema["x-kubernetes-int-or-string"] == true {
        let max = number(schema, "maxLength").map_or(MAX_TEXT, |max| max.saturating_mul(4));
        return (Shape::new(Form::IntOrString, max, 1), true);
    }
    match schema["type"].as_str() {
        Some("array") => list(schema, name),
        Some("object") => object(schema, name, root),
        Some("string") => (string(schema), true),
        Some("boolean") => (Shape::new(Form::Bool, 0, 4), true),
        Some("number") => (Shape::new(Form::Double, 0, 1), true),
        Some("integer") => (Shape::new(Form::Int, 0, 1), true),
        _ => (Shape::new(Form::Hidden, 0, 1), false),
    }
}

fn list(schema: &Value, name: &str) -> (Shape, bool) {
    let items = &schema["items"];
    let (items, exposed) = shape(items, &format!("{name}.@idx"), embedded(items));
    let max = number(schema, "maxItems").unwrap_or((MAX_REQUEST_BYTES - 2) / (items.min_size + 1));
    let kind = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            ListKind::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => ListKind::Atomic,
    };
    (Shape::new(Form::List { items, kind }, max, 2), exposed)
}

fn object(schema: &Value, name: &str, root: bool) -> (Shape, bool) {
    let additional = &schema["additionalProperties"];
    if additional.is_object() {
        let (values, exposed) = shape(additional, &format!("{name}.@elem"), embedded(additional));
        let max = number(schema, "maxProperties").unwrap_or((MAX_REQUEST_BYTES - 2) / (values.min_size + 6));
        return (Shape::new(Form::Map(values), max, 2), exposed);
    }
    let mut known = schema["properties"].as_object().cloned().unwrap_or_default();
    if root {
        with_metadata(&mut known);
    }
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut min_size = 2;
    let mut fields = std::collections::BTreeMap::new();
    for (field, of) in &known {
        let escaped = escape(field);
        let type_name = format!("{name}.{}", escaped.as_deref().unwrap_or(field));
        let (shape, exposed) = shape(of, &type_name, embedded(of));
        if exposed && required.contains(&field.as_str()) && of.get("default").is_none() {
            min_size += field.len() as u64 + shape.min_size + 4;
        }
        fields.insert(field.clone(), FieldShape { shape, exposed: exposed && escaped.is_some() });
    }
    (Shape::new(Form::Object(Arc::new(ObjectShape { name: name.into(), fields })), 0, min_size), true)
}

/// Adds what every resource has, unless the schema says all of it.
fn with_metadata(known: &mut Map<String, Value>) {
    let is = |value: &Value, of: &str| value["type"] == of;
    let at = |name: &str| known.get(name).unwrap_or(&Value::Null);
    let metadata = &at("metadata")["properties"];
    let complete = is(at("kind"), "string")
        && is(at("apiVersion"), "string")
        && is(at("metadata"), "object")
        && is(&metadata["name"], "string")
        && is(&metadata["generateName"], "string");
    if complete {
        return;
    }
    let text = serde_json::json!({"type": "string"});
    known.insert("kind".into(), text.clone());
    known.insert("apiVersion".into(), text.clone());
    let metadata = serde_json::json!({"type": "object", "properties": {"name": text, "generateName": text}});
    known.insert("metadata".into(), metadata);
}

fn string(schema: &Value) -> Shape {
    let max = number(schema, "maxLength");
    match schema["format"].as_str() {
        Some("byte") => Shape::new(Form::Bytes, max.unwrap_or(MAX_TEXT), 2),
        Some("duration") => Shape::new(Form::Duration, 32, 3),
        Some("date") => Shape::new(Form::Date, 12, 12),
        Some("date-time") => Shape::new(Form::DateTime, 32, 21),
        _ => {
            let longest = schema["enum"].as_array().filter(|allowed| !allowed.is_empty()).map(|allowed| {
                allowed.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0) as u64
            });
            let max = max.map(|max| max.saturating_mul(4)).or(longest).unwrap_or(MAX_TEXT);
            Shape::new(Form::String, max, 2)
        }
    }
}
